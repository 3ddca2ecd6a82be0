"""Everything that concerns one message, straight from the evidence: for an operator, or the other side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from storage.errors import NoSuchRecord
from storage.reader import LogReader
from storage.records import (
    Accepted,
    AnyRecord,
    Dispatched,
    Matched,
    OperatorAction,
    Outcome,
    Postponed,
    Receipt,
    Refused,
    Replaced,
    Reported,
    Sent,
    Uncertain,
    Withdrawn,
    decode,
)
from storage.segment import Frame

# How long after the final outcome of all its parts `show` still looks for records of a message: late and
# duplicate receipts and reports. Carriers send status reports for up to 48 hours; a day more for the outbox.
SHOW_AFTER_END_US: Final = 72 * 3_600_000_000

# A search for an octet string goes through 2 GB/s, and the decoding of all records through 200 MB/s or less.
_NEEDLES_MAX: Final = 32


def show(directory: Path, number: int) -> list[tuple[int, AnyRecord]]:
    """(index, record) of everything that concerns a message, in order, from its acceptance on.

    `number` is a part; when it is the first of a message, the other parts (Accepted.message == number) come
    too. Included are records that name a part, receipts matched later, and reports of any of these. The scan
    ends at the durable end of the log, or SHOW_AFTER_END_US after all parts had ended, whichever is first: a
    receipt later than that is found by the ledger. Raises NoSuchRecord when `number` is not an accepted part,
    CorruptEvidence.
    """
    with LogReader(directory) as reader:
        (indexes,) = indexes_of(reader, [number]).values()
        return [(index, decode(reader.find(index))) for index in indexes]


def indexes_of(reader: LogReader, numbers: Iterable[int]) -> dict[int, list[int]]:
    """Where the records stand that `show` finds, for many messages in one pass of the log.

    Some 2 KB of memory a message. Raises as `show`.
    """
    waiting = sorted(set(numbers), reverse=True)
    for number in reversed(waiting):
        first = decode(reader.find(number))
        if not isinstance(first, Accepted):
            raise NoSuchRecord(f"record {number} is a {type(first).__name__}, not an accepted part")
    following = _Following(waiting)
    while waiting:
        for frame in reader.frames(waiting[-1]):
            begins = bool(waiting) and waiting[-1] < frame.first_index + frame.count
            if not begins and following.is_over(frame.time_us):
                break  # nothing is to be found before the next message, if there is one
            while waiting and waiting[-1] < frame.first_index + frame.count:
                waiting.pop()
            if begins or following.may_be_named(frame.data, frame.body, frame.stop):
                following.take(frame)
    return following.found()


class _Message(msgspec.Struct, eq=False):
    """What is known of one so far. last_us: when a part of it ended last."""

    found: set[int] = msgspec.field(default_factory=set)
    parts: set[int] = msgspec.field(default_factory=set)
    ended: set[int] = msgspec.field(default_factory=set)
    last_us: int = 0

    @property
    def open(self) -> bool:
        return not self.ended >= self.parts


class _Following:
    """Messages that are followed through the log, from the first record of each."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._messages = {number: _Message() for number in numbers}
        # By the indexes whose mention makes a record theirs: the parts, and what may be reported of them.
        self._named = {number: [message] for number, message in self._messages.items()}
        # A record that names an index contains its encoding: by a search for octets whole frames are passed
        # over, as long as there are few of them.
        self._needles = {number: msgspec.msgpack.encode(number) for number in self._messages}
        self._open: set[_Message] = set()
        self._last_us = 0

    def found(self) -> dict[int, list[int]]:
        """Indexes in order, by message."""
        return {number: sorted(message.found) for number, message in sorted(self._messages.items())}

    def is_over(self, time_us: int) -> bool:
        """Whether all that have begun have ended, so long ago that nothing of them is looked for."""
        return not self._open and time_us > self._last_us + SHOW_AFTER_END_US

    def may_be_named(self, octets: bytes, start: int = 0, stop: int | None = None) -> bool:
        """Whether there may be a record in these octets that is theirs."""
        if len(self._needles) > _NEEDLES_MAX:
            return True
        return any(octets.find(needle, start, stop) >= 0 for needle in self._needles.values())

    def take(self, frame: Frame) -> None:
        for index, octets in enumerate(frame.records(), frame.first_index):
            if index in self._messages or self.may_be_named(octets):
                self._take(index, decode(octets), frame.time_us)

    def _take(self, index: int, record: AnyRecord, time_us: int) -> None:
        mentioned = _mentioned(record)
        if isinstance(record, Accepted):
            messages = self._accepted(index, record)
        else:
            messages = [each for number in mentioned for each in self._named.get(number, ())]
            messages = [each for each in messages if self._is_followed(each, time_us)]
        if not messages:
            return
        for message in messages:
            message.found.add(index)
            if isinstance(record, Matched):
                message.found.add(record.receipt)
            if _ends_part(record):
                message.ended.update(mentioned)
                message.last_us = max(message.last_us, time_us)
                self._last_us = max(self._last_us, time_us)
            if message.open:
                self._open.add(message)
            else:
                self._open.discard(message)
        if isinstance(record, Accepted | Receipt | Matched | Refused | Outcome):
            self._named[index] = messages
            self._needles[index] = msgspec.msgpack.encode(index)

    def _accepted(self, index: int, record: Accepted) -> list[_Message]:
        """Whose part it is: of the message that begins with it, or that it names; of both, if both are
        followed."""
        messages = [self._messages[each] for each in (index, record.message) if each in self._messages]
        for message in messages:
            message.parts.add(index)
        return messages

    def _is_followed(self, message: _Message, time_us: int) -> bool:
        return message.open or time_us <= message.last_us + SHOW_AFTER_END_US


def others_than_of_one_message(records: Sequence[tuple[int, AnyRecord]]) -> list[int]:
    """Of records in the order of the log those that do not concern the message of the first, by their index;
    also the first, if it accepts none."""
    (number, first), *rest = records
    if not isinstance(first, Accepted):
        return [number]
    # A receipt that was matched later names no part: the match names it.
    matched = {record.receipt for _, record in rest if isinstance(record, Matched) and record.number}
    named = {number}
    strangers = []
    for index, record in rest:
        if isinstance(record, Accepted):
            ours = record.message == number
        elif isinstance(record, Receipt) and not record.number:
            ours = index in matched
        else:
            ours = bool(named & set(_mentioned(record)))
        if ours:
            named.add(index)
        else:
            strangers.append(index)
    return strangers


def _mentioned(record: AnyRecord) -> Iterable[int]:
    """The indices by which a record refers to parts or, for a report, to what was reported."""
    match record:
        case Sent() | Refused() | Receipt() | Matched() | Outcome() | Replaced() | Postponed():
            return (record.number,)
        case Uncertain() | Withdrawn() | OperatorAction():
            return record.numbers
        case Dispatched():
            return [number for _, _, numbers in record.intents for number in numbers]
        case Reported():
            return (record.record,)
        case _:
            return ()


def _ends_part(record: AnyRecord) -> bool:
    return isinstance(record, Outcome) or (isinstance(record, Refused | Receipt | Matched) and record.final)
