"""The window of requests that wait for their response.

Sequence numbers run from 1 to 0x7FFFFFFF and wrap (SMPP 3.4 §3.2); one that is still open is skipped, so a
response can never complete a request other than its own.  All requests have the same time to be answered,
hence the oldest stands first and one look finds what has expired.
"""

from __future__ import annotations

from collections import OrderedDict

from protocol.smpp.limits import SEQUENCE_NUMBER_MAX

# What is kept of an open request: its command_id, its owner's context, the time by which it must be answered.
Entry = tuple[int, object, float]

# Requests whose time has passed and whose response may still come (field lesson 13).  The oldest is forgotten
# first: by then its message is `uncertain` and finds its outcome by its receipt.  4,096 covers forty full
# windows of 100, which is more than a carrier swallows before the stalled session is given up.
LATE_MAX = 4096


class Window:
    """Open requests of one side of one session; `entries` are messages, `housekeeping` are bind, unbind and
    enquire_link, which never wait for a message slot (field lesson 21)."""

    __slots__ = ("_last", "_late", "entries", "housekeeping", "size_max")

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self.entries: dict[int, Entry] = {}
        self.housekeeping: dict[int, Entry] = {}
        self._late: OrderedDict[int, Entry] = OrderedDict()
        self._last = 0

    @property
    def free(self) -> int:
        """Message requests that may still be sent now."""
        return self.size_max - len(self.entries)

    def next_sequence_number(self) -> int:
        """Take the next number that no open or late request bears."""
        number = self._last
        while True:
            number = number + 1 if number < SEQUENCE_NUMBER_MAX else 1
            if number not in self.entries and number not in self._late and number not in self.housekeeping:
                self._last = number
                return number

    def take(self, sequence_number: int) -> Entry | None:
        """Close the open request with this number; None if there is none."""
        entry = self.entries.pop(sequence_number, None)
        return entry if entry is not None else self.housekeeping.pop(sequence_number, None)

    def take_late(self, sequence_number: int) -> Entry | None:
        """Close a request that had timed out before its response came."""
        return self._late.pop(sequence_number, None)

    def expire(self, now: float) -> list[tuple[int, Entry]]:
        """Move every message request whose deadline has passed to the late ones; oldest first."""
        expired: list[tuple[int, Entry]] = []
        for sequence_number, entry in self.entries.items():
            if entry[2] > now:
                break
            expired.append((sequence_number, entry))
        for sequence_number, entry in expired:
            del self.entries[sequence_number]
            self._late[sequence_number] = entry
            if len(self._late) > LATE_MAX:
                self._late.popitem(last=False)
        return expired

    def drain(self) -> list[Entry]:
        """Take every open message request, oldest first; the session has ended (field lesson 17)."""
        drained = list(self.entries.values())
        self.entries.clear()
        self.housekeeping.clear()
        self._late.clear()
        return drained
