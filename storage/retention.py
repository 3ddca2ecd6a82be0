"""What may leave, and when: the legal floor, legal holds, and until where a day's keys were in use.

A hold is an entry of the register "hold" (storage/settlement/registers.py), so it stands in the evidence, and
there alone it is looked for: the ledger may be behind, or be made anew, and the gateway may not run. A hold
that somebody was told of is durable, so a survey that begins afterwards finds it. And its record stays:
`detach` (storage/archive.py) leaves all segments from the one on that opened the oldest open hold.

A survey passes over frames in which no such record can be: it costs the reading of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from storage.errors import CorruptEvidence, EvidenceError
from storage.reader import LogReader
from storage.records import AnyRecord, KeyOpened, Noted, decode
from storage.seal import day_of
from storage.segment import Frame
from storage.settlement.calendar import months_before
from storage.settlement.registers import HOLD, OPENED, RELEASED

# The content of messages from a service number is kept for 5 months (通信短信息服务管理规定, order 31 of the
# MIIT, 2015), logs of the network for 6 (网络安全法, article 21(3) in the text of 2017). The content stands
# in the log, so both apply, and the longer one counts.
_MESSAGE_MONTHS: Final = 5
_LOG_MONTHS: Final = 6
FLOOR_MONTHS: Final = max(_MESSAGE_MONTHS, _LOG_MONTHS)

# Without a first or last day, which the gateway always writes, a hold is of all days: it fails closed.
_FIRST_DAY: Final = "0000-00-00"
_LAST_DAY: Final = "9999-99-99"

# How a text "hold", and one of ten characters from "20" on, as a day is, stand in a record (msgpack).
_NEEDLES: Final = (b"\xa4hold", b"\xaa20")


class RetentionRefused(EvidenceError):
    """Something must not leave, or not yet. One line with the remedy; nothing was changed."""


def allowed_from(day: date) -> date:
    """The first day on which content of this day may be erased.

    A term of months does not count the day itself, and ends with the day of the same number, or with the last
    of a month that has none such (民法典, articles 201 and 202).
    """
    return months_before(day, -FLOOR_MONTHS) + timedelta(days=1)


class Hold(NamedTuple):
    """One that is open. entry: index of the record that opened it; days are "YYYY-MM-DD", both included."""

    entry: int
    opened_us: int
    first_day: str
    last_day: str
    reason: str

    def covers(self, first_day: str, last_day: str) -> bool:
        """Whether any of these days is held."""
        return self.first_day <= last_day and first_day <= self.last_day

    @property
    def sentence(self) -> str:
        return (
            f"entry {self.entry} holds {self.first_day} to {self.last_day} ({self.reason}):"
            f" `jingxin evidence release {self.entry}` ends that"
        )


class KeyUse(NamedTuple):
    """What the data keys of a day have sealed stands before this index, and is of no later day than this one.

    A key is in use until the first tick after midnight, and longer where the disk was full then; so the day
    after is often the last one.
    """

    sealed_before: int
    last_day: str


class _KeyOpened(NamedTuple):
    """before_us: when the record before it was written; of the first record that is here, its own time."""

    record: int
    day: str
    before_us: int


class Survey:
    """The open holds and the data keys that an evidence directory speaks of, as far as it was read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.next_index = 0  # 0: nothing was read yet
        self._holds: dict[int, Hold] = {}
        self._opened: list[_KeyOpened] = []
        self._last_us = 0  # when the last batch that was read was written

    @property
    def holds(self) -> list[Hold]:
        """Those that are open, oldest first."""
        return list(self._holds.values())

    def read(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Go on to the durable end as it is now; progress(records done, records in all).

        Raises CorruptEvidence.
        """
        with LogReader(self._directory) as reader:
            begin = max(self.next_index, reader.first_index)
            end = reader.next_index
            for frame in reader.frames(begin, end):
                if any(frame.data.find(needle, frame.body, frame.stop) >= 0 for needle in _NEEDLES):
                    self._look_into(frame)
                self._last_us = frame.time_us
                progress(frame.first_index + frame.count - begin, end - begin)
            self.next_index = end

    def holding(self, first_day: str, last_day: str) -> Hold | None:
        """The oldest open hold on any of these days."""
        return next((hold for hold in self._holds.values() if hold.covers(first_day, last_day)), None)

    def use_of(self, day: str) -> KeyUse | None:
        """What the data keys of this day have sealed, as far as it is here; None: one is still in use."""
        following = (*self._opened[1:], None)
        ends = [later for own, later in zip(self._opened, following, strict=True) if own.day == day]
        if not ends:  # what they have sealed stands before the first record here, or right behind that
            ends = [next((each for each in self._opened if each.day > day), None)]
        last_day = day
        for end in ends:
            if end is None:
                return None
            last_day = max(last_day, day_of(end.before_us))
            sealed_before = end.record
        return KeyUse(sealed_before, last_day)

    def _look_into(self, frame: Frame) -> None:
        try:
            records = [decode(octets) for octets in frame.records()]
        except (ValueError, msgspec.DecodeError) as failure:
            reason = f"records {frame.first_index} on: {failure}"
            raise CorruptEvidence(self._directory, frame.offset, reason) from failure
        before_us = self._last_us
        for index, record in enumerate(records, frame.first_index):
            if index >= self.next_index:
                self._take(index, record, before_us or record.time_us)
            before_us = record.time_us

    def _take(self, index: int, record: AnyRecord, before_us: int) -> None:
        if isinstance(record, KeyOpened):
            self._opened.append(_KeyOpened(index, record.day, before_us))
        elif isinstance(record, Noted) and record.register == HOLD:
            if record.event == OPENED:
                facts = dict(record.facts)
                first, last = facts.get("from", _FIRST_DAY), facts.get("to", _LAST_DAY)
                self._holds[index] = Hold(index, record.time_us, first, last, facts.get("reason", ""))
            elif record.event == RELEASED:
                self._holds.pop(record.entry, None)
