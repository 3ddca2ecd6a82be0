"""To which account a reply goes.

The subscriber answers to a number, and who owns the number owns the answer: the account with the longest
source prefix of the destination. Where accounts share that prefix the phone shows one conversation, and the
subscriber answers what came last in it; so of these accounts the one that last wrote to the subscriber
hears it. Only if none of them has, somebody has to: the default account if it is one of them, since whoever
configured it said who reads what nobody claims, otherwise the first in the order of the configuration, so
that the choice is the same each time. An account without the prefix is never chosen while there is one with
it, however recently it wrote.

A destination that nobody owns goes to whoever last wrote to the subscriber, then to the default account,
then to nobody, which the caller records (field lesson 15).

Memory holds keyed hashes of numbers and no numbers. An entry is one of (subscriber, account) and not of the
subscriber alone: the last writer of all may not be among those who share the prefix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Literal

How = Literal["prefix", "last message", "default", "unrouted"]
"""Which rule named the account in the end."""

# Memory is forgotten by slices: the newest dict is written, and when it is full, the oldest one goes. So a
# message costs one store, a subscriber who is written to again moves to the newest slice by itself, and the
# loop is held up for freeing or growing one slice only: 4 ms of a million entries, where one dict takes 26 ms
# and more.
SLICES: Final = 16

_HOUR_US: Final = 3_600_000_000
_TAG_OCTETS: Final = 2  # names an account in a key; 65,536 in the life of a process are out of reach


class ReplyRoutes:
    """Accounts by source prefix, and who wrote to whom. Owned by the event loop."""

    def __init__(
        self,
        sources: Mapping[str, tuple[bytes, ...]],
        default_account: str,
        remembered_h: float,
        remembered_max: int,
    ) -> None:
        """sources: the prefixes of every account, also of one that has none; in the order of configuration.
        default_account: one of them, or "" for none.

        remembered_max: pairs of subscriber and account, at least SLICES; between 15/16 of it and all of it
        are remembered, whatever remembered_h is. By tracemalloc, a pair of a million takes 95 octets, and 34
        more if no other message shares its turn.
        """
        assert remembered_max >= SLICES
        self._slice_max = remembered_max // SLICES
        self._current: dict[bytes, int] = {}
        self._slices: deque[dict[bytes, int]] = deque([self._current], maxlen=SLICES)  # newest first
        self._tags: dict[str, bytes] = {}
        self.configure(sources, default_account, remembered_h)

    def __len__(self) -> int:
        """Entries in memory; a pair that was written to in several slices counts in each."""
        return sum(map(len, self._slices))

    def configure(
        self, sources: Mapping[str, tuple[bytes, ...]], default_account: str, remembered_h: float
    ) -> None:
        """Go on with other accounts, another default or other hours; what is remembered stays."""
        assert not default_account or default_account in sources
        by_prefix: dict[bytes, list[str]] = {}
        for account, prefixes in sources.items():
            # A tag is never given to a second account: a key would speak of the wrong one.
            self._tags.setdefault(account, len(self._tags).to_bytes(_TAG_OCTETS, "big"))
            for prefix in dict.fromkeys(prefixes):
                by_prefix.setdefault(prefix, []).append(account)
        self._accounts = tuple(sources)
        self._by_prefix = by_prefix
        self._lengths = sorted({len(prefix) for prefix in by_prefix}, reverse=True)
        self._default_account = default_account
        self._remembered_us = round(remembered_h * _HOUR_US)

    def sent(self, number_hash: bytes, account: str, now_us: int) -> None:
        """`account`, one that has been configured, wrote to this subscriber. At a restart, too, oldest first.

        number_hash: 16 octets. The time is kept as it is, and all messages of a turn share one.
        """
        current = self._current
        current[number_hash + self._tags[account]] = now_us
        if len(current) >= self._slice_max:
            self._current = {}
            self._slices.appendleft(self._current)

    def choose(self, destination: bytes, number_hash: bytes, now_us: int) -> tuple[str, How]:
        """The account that a reply to `destination` goes to, "" for none, and which rule said so."""
        owners = self._owners(destination)
        if len(owners) == 1:
            return owners[0], "prefix"
        account = self._last_writer(owners or self._accounts, number_hash, now_us)
        if account:
            return account, "last message"
        if self._default_account and (not owners or self._default_account in owners):
            return self._default_account, "default"
        return (owners[0], "prefix") if owners else ("", "unrouted")

    def _owners(self, destination: bytes) -> list[str]:
        """The accounts with the longest prefix of a destination; at most one look a length in use."""
        for length in self._lengths:
            owners = self._by_prefix.get(destination[:length])
            if owners is not None:
                return owners
        return []

    def _last_writer(self, accounts: Iterable[str], number_hash: bytes, now_us: int) -> str:
        """Of these accounts the one that wrote last to a subscriber and within the hours; "" if none did."""
        last, last_us = "", now_us - self._remembered_us - 1
        for account in accounts:
            key = number_hash + self._tags[account]
            for entries in self._slices:
                sent_us = entries.get(key)
                if sent_us is not None:
                    if sent_us > last_us:
                        last, last_us = account, sent_us
                    break  # older slices know nothing newer
        return last
