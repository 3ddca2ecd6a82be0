"""Which part a receipt speaks of.

Ids are opaque octets, kept raw.  A receipt's id is looked for exactly; only when that fails are the other
notations of the same number tried (hexadecimal or decimal, case, leading zeros: field lesson 2).  Whatever
way a part was found, the destination must agree, or the receipt is somebody's forgery (lesson 11).

Most carriers write the same id twice, so the index of the other notations is built at the first receipt
whose id is unknown, and kept up from then on.

A receipt that matches nothing waits: its response may still come (lesson 1), or its part may turn out to be
uncertain.  A receipt whose id nobody knows belongs to an uncertain part of this account, or to one that the
carrier took without naming an id, if the destination agrees and there is only one such part that it can be.
Where several attempts of that part may have reached the carrier, only a delivery is taken for it.

A receipt never speaks of a part that was accepted after it came: the index of its record is compared with
the part's number, which no set clock can turn round.  So the record of a receipt that is matched later always
lies behind the part's own, and a restart that reads the part reads its receipt too.
"""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from gateway.message import DISPATCHED, SENT, UNCERTAIN, Part
from protocol.smpp.codes import MessageState
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.smpp.receipt import (
    ERR_LENGTH_MAX,
    MESSAGE_ID_LENGTH_MAX,
    STAT_LENGTH_MAX,
    Receipt,
    canonical_id,
    id_candidates,
    is_final,
    read_receipt,
)
from protocol.smpp.times import TimeFormatError, parse_receipt_date

Item = TypeVar("Item")

# How a receipt was matched, for evidence.
EXACT: Final = "exact"
DERIVED: Final = "derived"
UNCERTAIN_DESTINATION: Final = "uncertain"
# The id is known, but it went to another number: forged, or another carrier's business.  Never matched later.
MISMATCH: Final = "mismatch"
UNKNOWN: Final = ""

_DELIVERED: Final = int(MessageState.DELIVERED)
_UNDELIVERABLE: Final = int(MessageState.UNDELIVERABLE)

# What is kept of a carrier's words; the sealed frame has the rest.  Ids, `stat` and `err` are as long as SMPP
# and a report of ours allow.  Counts have three digits, and a date with dashes and a zone has some 25.
_COUNT_LENGTH_MAX: Final = 8
_DATE_LENGTH_MAX: Final = 32

# A carrier's clock may be two minutes behind ours, and its dates are cut to the minute.
_SUBMITTED_EARLIER_MAX_US: Final = 180_000_000


def receipt_in(pdu: DeliverSm | DataSm) -> Receipt | None:
    """What a PDU that is marked as a receipt says, each word within its bound and without the text of the
    message; None if it names no message."""
    receipt = read_receipt(pdu.short_message if isinstance(pdu, DeliverSm) else b"", pdu.tlvs)
    if receipt is None:
        return None
    if not receipt.message_state and is_final(receipt):
        receipt.message_state = _UNDELIVERABLE  # a carrier's own code is its reason for not delivering
    receipt.message_id = receipt.message_id[:MESSAGE_ID_LENGTH_MAX]
    receipt.stat = receipt.stat[:STAT_LENGTH_MAX]
    receipt.err = receipt.err[:ERR_LENGTH_MAX]
    receipt.sub = receipt.sub[:_COUNT_LENGTH_MAX]
    receipt.dlvrd = receipt.dlvrd[:_COUNT_LENGTH_MAX]
    receipt.submit_date = receipt.submit_date[:_DATE_LENGTH_MAX]
    receipt.done_date = receipt.done_date[:_DATE_LENGTH_MAX]
    receipt.text = b""
    return receipt


class WaitingReceipt(msgspec.Struct, gc=False):
    """A receipt that matched nothing yet.  index: of its record.  addresses: those of its PDU, normalised."""

    index: int
    recorded_us: int
    receipt: Receipt
    addresses: tuple[bytes, ...]
    final: bool


class Correlation:
    """The open and the recently finished parts of one carrier account, by every key a receipt may bring."""

    def __init__(self, waiting_max: int) -> None:
        """waiting_max: receipts that may wait for their part.  A carrier that sends more unknown ids is
        broken or hostile; the oldest then waits no more, and stays in the evidence like every other."""
        self._waiting_max = waiting_max
        self._by_id: dict[bytes, Part] = {}
        self._by_canonical_id: dict[bytes, list[Part]] | None = None
        self._unnamed: dict[bytes, list[Part]] = {}  # by destination
        self._waiting: OrderedDict[int, WaitingReceipt] = OrderedDict()
        self._waiting_ids: dict[bytes, list[int]] = {}
        self._waiting_addresses: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def waiting(self) -> int:
        """Receipts that have matched nothing yet."""
        return len(self._waiting)

    @property
    def uncertain(self) -> int:
        """How many parts there are whose fate is unknown."""
        return len(self.uncertain_parts())

    def uncertain_parts(self) -> list[Part]:
        """The parts whose fate is unknown, in no order."""
        unnamed = self._unnamed.copy()  # metrics ask from another thread
        return [part for parts in unnamed.values() for part in parts if part.state == UNCERTAIN]

    # -- parts ----------------------------------------------------------------------------------------------

    def learn(self, part: Part, carrier_id: bytes) -> None:
        """The carrier's id of ``part`` is known now.  Another part with the same id takes the key over:
        the carrier has begun to reuse its ids, and receipts speak of the newer one."""
        self._by_id[carrier_id] = part
        if self._by_canonical_id is not None:
            self._by_canonical_id.setdefault(canonical_id(carrier_id), []).append(part)

    def forget(self, part: Part, carrier_id: bytes) -> None:
        """Drop an id of a finished part."""
        if self._by_id.get(carrier_id) is part:
            del self._by_id[carrier_id]
        if self._by_canonical_id is not None:
            _remove(self._by_canonical_id, canonical_id(carrier_id), part)

    def add_unnamed(self, part: Part) -> None:
        """The carrier may have ``part``, and has told us no id of it: only its destination can tell its
        receipt from others."""
        self._unnamed.setdefault(part.destination, []).append(part)

    def remove_unnamed(self, part: Part) -> None:
        """The id of ``part`` or its end is known, or it is to be sent again."""
        _remove(self._unnamed, part.destination, part)

    # -- receipts -------------------------------------------------------------------------------------------

    def find(self, receipt: Receipt, addresses: tuple[bytes, ...]) -> tuple[Part | None, str]:
        """The part that ``receipt`` speaks of, and how it was found; None with MISMATCH or UNKNOWN.

        addresses: the normalised numbers in the receipt's PDU, either of which may be the subscriber's.
        """
        part = self._by_id.get(receipt.message_id)
        if part is not None:
            return (part, EXACT) if part.destination in addresses else (None, MISMATCH)
        return self._find_derived(receipt, addresses)

    def _find_derived(self, receipt: Receipt, addresses: tuple[bytes, ...]) -> tuple[Part | None, str]:
        if self._by_canonical_id is None:
            index: dict[bytes, list[Part]] = {}
            for carrier_id, part in self._by_id.items():
                index.setdefault(canonical_id(carrier_id), []).append(part)
            self._by_canonical_id = index
        for candidate in id_candidates(receipt.message_id):
            for part in self._by_canonical_id.get(canonical_id(candidate), ()):
                if part.destination in addresses:
                    return part, DERIVED
        return None, UNKNOWN

    def find_unnamed(
        self, receipt: Receipt, addresses: tuple[bytes, ...], in_flight: Callable[[], list[Part]]
    ) -> Part | None:
        """The one part whose id is missing and that ``receipt``, which has just come, can speak of.

        in_flight: gives the parts of this account that wait for their response.  If one of them goes to the
        same number the receipt may be its own, come early, and nothing is concluded.
        """
        part = self._only_unnamed(addresses, in_flight)
        return part if part is not None and _concludes(receipt, part) else None

    def _only_unnamed(self, addresses: tuple[bytes, ...], in_flight: Callable[[], list[Part]]) -> Part | None:
        if not self._unnamed:
            return None
        candidates = [part for address in addresses for part in self._unnamed.get(address, ())]
        if len(candidates) != 1:
            return None
        destination = candidates[0].destination
        if any(part.destination == destination and part.state == DISPATCHED for part in in_flight()):
            return None
        return candidates[0]

    def wait(self, waiting: WaitingReceipt) -> None:
        """Keep a receipt that matched nothing, until a response or a finished attempt explains it."""
        self._waiting[waiting.index] = waiting
        for key in _keys(waiting.receipt.message_id):
            self._waiting_ids.setdefault(key, []).append(waiting.index)
        for address in set(waiting.addresses):
            self._waiting_addresses.setdefault(address, []).append(waiting.index)
        if len(self._waiting) > self._waiting_max:
            self._drop(next(iter(self._waiting.values())))

    def waiting_for(self, part: Part, exact: bytes) -> list[tuple[WaitingReceipt, str]]:
        """Take the waiting receipts that belong to ``part``, whose id ``exact`` has just become known; oldest
        first."""
        if not self._waiting:
            return []
        indexes = {index for key in _keys(exact) for index in self._waiting_ids.get(key, ())}
        found = [self._waiting[index] for index in sorted(indexes) if index > part.number]
        found = [waiting for waiting in found if part.destination in waiting.addresses]
        for waiting in found:
            self._drop(waiting)
        return [(waiting, EXACT if waiting.receipt.message_id == exact else DERIVED) for waiting in found]

    def waiting_for_unnamed(
        self, part: Part, in_flight: Callable[[], list[Part]]
    ) -> list[tuple[WaitingReceipt, str]]:
        """Take the waiting receipts of the only message id that can be ``part``'s; its own is not known, and
        no response will tell it."""
        # First what costs one look, since every sweep asks this of every part without an id.
        indexes = self._waiting_addresses.get(part.destination)
        if indexes is None or indexes[-1] < part.number:
            return []
        if self._only_unnamed((part.destination,), in_flight) is not part:
            return []
        newer = [self._waiting[index] for index in indexes[bisect(indexes, part.number) :]]
        found = [waiting for waiting in newer if _concludes(waiting.receipt, part)]
        if len({waiting.receipt.message_id for waiting in found}) != 1:
            return []
        for waiting in found:
            self._drop(waiting)
        return [(waiting, UNCERTAIN_DESTINATION) for waiting in found]

    def oldest_waiting(self) -> int | None:
        """The index of the oldest receipt that still waits."""
        return next(iter(self._waiting), None)

    def give_up_waiting(self, before_us: int) -> None:
        """Stop waiting for the parts of receipts recorded before this time; their records remain."""
        while self._waiting and (oldest := next(iter(self._waiting.values()))).recorded_us < before_us:
            self._drop(oldest)

    def _drop(self, waiting: WaitingReceipt) -> None:
        del self._waiting[waiting.index]
        for key in _keys(waiting.receipt.message_id):
            _remove(self._waiting_ids, key, waiting.index)
        for address in set(waiting.addresses):
            _remove(self._waiting_addresses, address, waiting.index)


def is_stale(message_id: bytes, carrier_id: bytes, earlier_ids: Iterable[tuple[object, bytes]]) -> bool:
    """Whether a receipt with this id speaks of an earlier attempt of a part; ``carrier_id``: of its last."""
    keys = _keys(message_id)
    if canonical_id(carrier_id) in keys:
        return False
    return any(canonical_id(earlier) in keys for _, earlier in earlier_ids)


def _concludes(receipt: Receipt, part: Part) -> bool:
    """Whether a receipt with an unknown id tells the fate of the only part that it can be of.  While several
    of its attempts may have reached the carrier, a failure of one says nothing of the others: only a delivery
    counts."""
    if part.doubts + (part.state == SENT) > 1 and receipt.message_state != _DELIVERED:
        return False
    return _may_be_of(receipt, part)


def _may_be_of(receipt: Receipt, part: Part) -> bool:
    """False if the receipt says that its message was submitted clearly before ``part`` was accepted."""
    try:
        submitted_us = parse_receipt_date(receipt.submit_date) * 1_000_000
    except TimeFormatError:
        return True  # it says nothing that could be compared
    return submitted_us + _SUBMITTED_EARLIER_MAX_US > part.accepted_us


def _keys(message_id: bytes) -> set[bytes]:
    """Every canonical notation of an id."""
    return {canonical_id(candidate) for candidate in id_candidates(message_id)}


def _remove(index: dict[bytes, list[Item]], key: bytes, item: Item) -> None:
    items = index.get(key)
    if items is None or item not in items:
        return
    items.remove(item)
    if not items:
        del index[key]
