"""Which numbers are served by another network than their prefix says (携号转网), in memory.

A prefix tells who was allotted a number; since November 2019 its subscriber may have taken it elsewhere.
There is no public look-up. What is known comes from lists that operators import, and from deliveries: a
carrier's code says that the number has left it, but never whereto, so nothing is learned from that alone; the
part goes to another network once (`Routes.elsewhere`), and if that delivers, the number is there. Facts of
both kinds lie in the register (`storage.register`), and here for the loop.

The newest fact wins, wherever it comes from. A list may be a month old and the delivery is of this second, so
a list that always won would send every message to the wrong carrier first until the next list; and a list
imported today is a person's decision about all that was learned before. Whichever is wrong costs one refusal,
and is then corrected by the delivery that follows; where no carrier of another network is in service none
follows, and the next message is refused again.

One dict from number hash to a `Ported` that all numbers with the same network, end and source share: 106
octets a number with a million of them (a fact of its own for each: 187), of which 64 are the hash. A look-up
among a million costs 0.4 µs for a number that is not there, as most are not, and 0.9 for one that is; among
none 0.1. A sorted array of half the hash, with a byte for the fact, would take 9 octets and 2.3 µs: the way
to go if the tens of millions that are ported in the whole country had to be held.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from storage.register import PortedNumber
from storage.seal import next_midnight_us

# 212 MB. Tens of millions are ported in the whole country, so a province has one million or two.
PORTED_MAX: Final = 2_000_000

# Ports must lie 120 days apart (a condition of the carriers' 2019 rules), so the subscriber of a number that
# has just been refused may at the latest then go on, or back. A fact that outlives its truth costs a refusal
# at each message until it is corrected; one that ends too early costs one refusal, and is learned again.
LEARNED_EXPIRES_DAYS: Final = 120
_DAY_US: Final = 86_400_000_000

# Different facts that are shared: four carriers with five codes each over 120 days are 2,400, and a list with
# an end of its own for each number shares nothing, however many are kept.
SHARED_MAX: Final = 10_000

_NEVER_US: Final = 2**63 - 1

# Satellites, virtual operators and things stay where they are (2019 rules of the three carriers). All numbers
# of 13 digits are things.
_UNPORTABLE: Final = (
    *(b"1349", b"174"),
    *(b"162", b"165", b"167", b"170", b"171"),
    *(b"1064", b"140", b"141", b"142", b"143", b"144", b"146", b"148", b"149"),
)
_PORTABLE_DIGITS: Final = 11


def portable(number: bytes) -> bool:
    """Whether a number in the form of `number_plan.normalise` may have left its carrier at all."""
    return len(number) == _PORTABLE_DIGITS and not number.startswith(_UNPORTABLE)


def learned_expires_us(now_us: int) -> int:
    """The end of a fact learned now: a midnight in Asia/Shanghai, so that the facts of a day are shared."""
    return next_midnight_us(now_us) + LEARNED_EXPIRES_DAYS * _DAY_US


class Ported(msgspec.Struct, frozen=True, gc=False):
    """Who serves a number. expires_us: as in the register, 0 is never."""

    network: str
    expires_us: int
    source: str


class Table:
    """What `Portability` holds."""

    __slots__ = ("_shared", "entries", "left_out", "next_expiry_us")

    def __init__(self) -> None:
        self.entries: dict[bytes, Ported] = {}
        self.next_expiry_us = _NEVER_US  # no fact ends before
        self.left_out = 0  # facts of the register that found no room
        self._shared: dict[Ported, Ported] = {}

    def put(self, number_hash: bytes, network: str, source: str, expires_us: int) -> None:
        ported = Ported(network, expires_us, source)
        if len(self._shared) < SHARED_MAX:
            ported = self._shared.setdefault(ported, ported)
        else:
            ported = self._shared.get(ported, ported)
        self.entries[number_hash] = ported
        if 0 < expires_us < self.next_expiry_us:
            self.next_expiry_us = expires_us


def table_of(facts: Iterable[PortedNumber], entries_max: int, now_us: int) -> Table:
    """The table of all facts that have not expired, at most `entries_max`.

    Touches nothing else, so a thread beside the loop can do it: a million facts take 3 s. Raises what the
    iterator of the register raises, DatabaseError.
    """
    table = Table()
    for fact in facts:
        if 0 < fact.expires_us <= now_us:
            continue
        if len(table.entries) < entries_max:
            table.put(fact.number_hash, fact.network, fact.source, fact.expires_us)
        else:
            table.left_out += 1
    return table


class Portability:
    """Owned by the loop."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._table = Table()
        self.entries = self._table.entries

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def left_out(self) -> int:
        """Facts of the register that found no room."""
        return self._table.left_out

    def network_of(self, number_hash: bytes, now_us: int) -> str | None:
        """The network that serves a number, if it is known to be ported. Who has not hashed the number yet
        asks first whether anything is known at all: `if portability:`."""
        if not self.entries:
            return None
        ported = self.entries.get(number_hash)
        if ported is None:
            return None
        if 0 < ported.expires_us <= now_us:
            del self.entries[number_hash]
            return None
        return ported.network

    def learn(self, number_hash: bytes, network: str, source: str, expires_us: int) -> bool:
        """Takes a fact in place of what was known; False if there is no room for one more number."""
        if len(self.entries) >= self._entries_max and number_hash not in self.entries:
            return False
        self._table.put(number_hash, network, source, expires_us)
        return True

    def load_due(self, now_us: int) -> bool:
        """Whether a new table would have more room: this one is full, and some of it has expired. To look
        through all of it takes 0.1 s for a million numbers, which the loop does not have."""
        return len(self.entries) >= self._entries_max and self._table.next_expiry_us <= now_us

    def load(self, table: Table) -> None:
        """Goes on with this table. The caller learns again what is not in the register yet."""
        self._table = table
        self.entries = table.entries

    def forget(self, number_hash: bytes) -> None:
        self.entries.pop(number_hash, None)
