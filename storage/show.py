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

# How long after the final outcome of all its parts `show` still looks for records of a message: late and
# duplicate receipts and reports. Carriers send status reports for up to 48 hours; a day more for the outbox.
SHOW_AFTER_END_US: Final = 72 * 3_600_000_000


def show(directory: Path, number: int) -> list[tuple[int, AnyRecord]]:
    """(index, record) of everything that concerns a message, in order, from its acceptance on.

    `number` is a part; when it is the first of a message, the other parts (Accepted.message == number) come
    too. Included are records that name a part, receipts matched later, and reports of any of these. The scan
    ends at the durable end of the log, or SHOW_AFTER_END_US after all parts had ended, whichever is first: a
    receipt later than that is found by the ledger. Raises NoSuchRecord when `number` is not an accepted part,
    CorruptEvidence.
    """
    with LogReader(directory) as reader:
        first = decode(reader.find(number))
        if not isinstance(first, Accepted):
            raise NoSuchRecord(f"record {number} is a {type(first).__name__}, not an accepted part")
        return _follow(reader, number)


def _follow(reader: LogReader, number: int) -> list[tuple[int, AnyRecord]]:
    found: dict[int, AnyRecord] = {}
    parts: set[int] = set()
    ended: set[int] = set()
    named = {number}  # indices whose mention makes a record ours: the parts, and what may be reported of them
    # A record that names an index contains its encoding, so whole frames are passed over by a search for
    # octets.
    needles = {number: msgspec.msgpack.encode(number)}
    last_us = 0
    for frame in reader.frames(number):
        if parts and ended >= parts and frame.time_us > last_us + SHOW_AFTER_END_US:
            break
        if frame.first_index > number and not any(
            frame.data.find(needle, frame.body, frame.stop) >= 0 for needle in needles.values()
        ):
            continue
        for index, octets in enumerate(frame.records(), frame.first_index):
            if index < number or (
                not any(needle in octets for needle in needles.values()) and index != number
            ):
                continue
            record = decode(octets)
            mentioned = set(_mentioned(record))
            if isinstance(record, Accepted):
                if index != number and record.message != number:
                    continue
                parts.add(index)
            elif not mentioned & named:
                continue
            found[index] = record
            if isinstance(record, Matched):
                found[record.receipt] = decode(reader.find(record.receipt))
            if isinstance(record, Accepted | Receipt | Matched | Refused | Outcome):
                named.add(index)
                needles[index] = msgspec.msgpack.encode(index)
            if _ends_part(record):
                ended |= mentioned
                last_us = max(last_us, frame.time_us)
    return sorted(found.items())


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
