"""What the records of a log say together, as `verify` gathers it: counts, outcomes, and contradictions.

Intent before effect, one final outcome a part, references that lead somewhere, sealed content under opened
keys. A contradiction is listed and the check goes on.

Memory: one octet a record, at the end two, and a little for each unmatched receipt; 10 million records take
20 MB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from storage.keys import KEY_REFERENCE_OCTETS
from storage.records import (
    Accepted,
    AnyRecord,
    Assembled,
    Denied,
    Dispatched,
    KeyOpened,
    Matched,
    Noted,
    OperatorAction,
    Outcome,
    Postponed,
    Receipt,
    Record,
    Refused,
    Replaced,
    Reply,
    Reported,
    Sent,
    TornTail,
    Uncertain,
    Withdrawn,
)
from storage.segment import FIRST_INDEX, NO_HASH

# What an OperatorAction calls the erasure of a day's content; the day stands first in its reason.
ERASE: Final = "erase"

_FAULTS_LISTED_MAX: Final = 1000  # enough to see what kind of fault it is; all of them are counted

# Names of SMPP 3.4 §5.2.28 as they stand in the report.
_STATE_NAMES: Final = {
    1: "enroute",
    2: "delivered",
    3: "expired",
    4: "deleted",
    5: "undeliverable",
    6: "accepted",
    7: "unknown",
    8: "rejected",
}

# What is remembered of a record, one octet by index: of a part its history, of others what may refer to them.
_ACCEPTED: Final = 0x80
_DISPATCHED: Final = 0x01  # at least once
_INTENT_OPEN: Final = 0x02  # and nothing is known of the last intent yet
_SENT: Final = 0x04
_UNCERTAIN: Final = 0x08
_FINAL: Final = 0x10
_REPORTABLE: Final = 0x20  # of a receipt, match, reply, refusal or outcome
_OPENS_ENTRY: Final = 0x40  # of a register

_TRIED: Final = _ACCEPTED | _DISPATCHED
_UNCERTAIN_MARKS: Final = bytes(int(state & _UNCERTAIN != 0) for state in range(256))  # for bytes.translate


class Fault(msgspec.Struct, frozen=True):
    """A record that contradicts others; `index` is the record's own."""

    index: int
    reason: str


class Damage(msgspec.Struct, frozen=True):
    """The first octets that are wrong."""

    path: Path
    offset: int
    reason: str


class Proven(msgspec.Struct):
    """What the checkpoints prove. size: records in the last of them; witnessed: by the name of a witness, the
    most records that it has seen, and when it signed that, in seconds since the epoch."""

    checkpoints: int = 0
    size: int = 0
    tiles: int = 0
    witnessed: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)


class VerifyReport(msgspec.Struct):
    """What a check found. Everything counts only what stands before `damage`, if there is any."""

    segments: int = 0
    frames: int = 0
    octets: int = 0  # of frames, without the zeros behind
    records: int = 0
    first_index: int = (
        FIRST_INDEX  # above 1: older segments were taken away, and references to them are not judged
    )
    next_index: int = FIRST_INDEX
    identity: bytes = b""  # of the log
    last_hash: bytes = NO_HASH  # of the last batch: equal on both sides when both have the same log
    counts: dict[str, int] = msgspec.field(default_factory=dict)  # records by type
    accepted: int = 0  # PDUs
    accepted_parts: int = 0  # chargeable units in them
    outcomes: dict[str, int] = msgspec.field(default_factory=dict)  # parts by final state
    open: int = 0  # parts without a final outcome
    uncertain: list[int] = msgspec.field(default_factory=list)  # their numbers, ascending
    unmatched_receipts: int = 0
    keys: int = 0  # data keys opened
    erased_days: list[str] = msgspec.field(default_factory=list)  # days of which a key is gone
    torn_tail: tuple[Path, int, int] | None = None  # unfinished write at the end: path, offset, octets
    proven: Proven | None = None  # by the checkpoints; None: they were not looked at
    damage: Damage | None = None
    fault_count: int = 0
    faults: list[Fault] = msgspec.field(default_factory=list)  # the first of them

    @property
    def sound(self) -> bool:
        """Nothing is wrong. A torn tail is not: it is what a crash leaves, and the next start cuts it."""
        return self.damage is None and not self.fault_count


class History:
    """What the records so far say together."""

    def __init__(self, report: VerifyReport) -> None:
        self.report = report
        self.opened: dict[bytes, tuple[int, KeyOpened]] = {}  # by key reference
        self.erasures: set[str] = set()  # days of which content was erased, by record
        self._references = {b""}  # with which content may begin; b"": there is none
        self._first = FIRST_INDEX
        self._text = (0, 0, 0)  # the last that was cut: its first part, how many, when
        self._text_next = 0  # the index of its next part; 0: there is none
        self._states = bytearray()
        self._counts: Counter[type[Record]] = Counter()
        self._unmatched: dict[int, int] = {}  # index of a Receipt that matched nothing → its message_state
        self._ended: Counter[int | None] = Counter()  # parts by message_state; None: refused
        self._steps: dict[type[Record], Callable[[int, object], None]] = {
            kind: getattr(self, f"_on_{kind.__name__.lower()}")
            for kind in (
                Accepted,
                Assembled,
                Denied,
                Dispatched,
                KeyOpened,
                Matched,
                Noted,
                OperatorAction,
                Outcome,
                Postponed,
                Receipt,
                Refused,
                Replaced,
                Reply,
                Reported,
                Sent,
                TornTail,
                Uncertain,
                Withdrawn,
            )
        }

    def begin(self, first_index: int) -> None:
        self._first = first_index

    def add(self, index: int, records: list[AnyRecord]) -> None:
        """The records of one batch, the first of which has this index."""
        kinds = list(map(type, records))
        self._counts.update(kinds)
        self._states += bytes(len(records))
        for number, step, record in zip(count(index), map(self._steps.get, kinds), records, strict=False):
            if step is not None:
                step(number, record)

    def close(self) -> None:
        report = self.report
        report.counts = {kind.__name__: count for kind, count in sorted(self._counts.items(), key=_name_of)}
        report.accepted = self._counts[Accepted]
        report.outcomes = dict(sorted((_outcome_name(state), parts) for state, parts in self._ended.items()))
        report.open = report.accepted - self._ended.total()
        report.uncertain = self._uncertain()
        report.unmatched_receipts = len(self._unmatched)
        report.keys = len(self.opened)

    def _uncertain(self) -> list[int]:
        """The numbers of the parts that are uncertain, ascending."""
        marks = self._states.translate(_UNCERTAIN_MARKS)
        numbers = []
        place = marks.find(1)
        while place >= 0:
            numbers.append(place + self._first)
            place = marks.find(1, place + 1)
        return numbers

    def fault(self, index: int, reason: str) -> None:
        self.report.fault_count += 1
        if len(self.report.faults) < _FAULTS_LISTED_MAX:
            self.report.faults.append(Fault(index, reason))

    def _state(self, number: int) -> int:
        """What is remembered of a record, or 0 for one that is not there."""
        place = number - self._first
        return self._states[place] if 0 <= place < len(self._states) else 0

    def _part(self, index: int, number: int, what: str) -> int | None:
        """The history of a part that a record names; None, and mostly a fault, when it is not there."""
        place = number - self._first
        if 0 <= place < index - self._first:
            state = self._states[place]
            if state & _ACCEPTED:
                return state
            self.fault(index, f"{what} names {number}, which is not an accepted part")
        elif number >= index or number < FIRST_INDEX:
            self.fault(index, f"{what} names {number}, which does not stand before it")
        return None

    def _set(self, number: int, state: int) -> None:
        self._states[number - self._first] = state

    def _end(self, index: int, number: int, state: int, message_state: int | None) -> None:
        if state & _FINAL:
            self.fault(index, f"a second final outcome of {number}")
            return
        self._states[number - self._first] = (state | _FINAL) & ~(_UNCERTAIN | _INTENT_OPEN)
        self._ended[message_state] += 1

    def _sealed(self, index: int, content: bytes) -> None:
        if content[:KEY_REFERENCE_OCTETS] in self._references:
            return
        # A log without any key was never sealed (tests); where its beginning is gone the key may be there.
        if self.opened and self._first == FIRST_INDEX:
            self.fault(index, "content is sealed under a key that no record opened")

    def _on_keyopened(self, index: int, record: KeyOpened) -> None:
        reference = record.key_id[:KEY_REFERENCE_OCTETS]
        self.opened[reference] = (index, record)
        self._references.add(reference)

    def _on_accepted(self, index: int, record: Accepted) -> None:
        self._states[index - self._first] = _ACCEPTED
        self.report.accepted_parts += record.parts
        self._sealed(index, record.content)
        if record.parts < 1:
            self.fault(index, f"an accepted part counts {record.parts} units")
        if record.message:
            self._part(index, record.message, "the message of a part")
        if record.first or record.cut_into != 1:
            self._check_cut(index, record)

    def _check_cut(self, index: int, record: Accepted) -> None:
        """The parts of a text that the gateway cut follow each other, accepted at one time: so they count as
        one message, or as so many parts, whoever counts."""
        if 0 < record.first < self._first:
            return  # its beginning is gone
        if record.first == index and record.cut_into > 1:
            self._text = (index, record.cut_into, record.time_us)
        elif (record.first, record.cut_into, record.time_us) != self._text or index != self._text_next:
            self.fault(index, f"it is said to be a part of what was cut from {record.first} on, and is none")
            return
        self._text_next = index + 1 if index + 1 < record.first + record.cut_into else 0

    def _on_denied(self, index: int, record: Denied) -> None:
        self._sealed(index, record.content)

    def _on_dispatched(self, index: int, record: Dispatched) -> None:
        for _carrier, _link, numbers in record.intents:
            for number in numbers:
                state = self._part(index, number, "a dispatch")
                if state is None:
                    continue
                if state & _FINAL:
                    self.fault(index, f"{number} is dispatched after its final outcome")
                elif state & (_INTENT_OPEN | _SENT):
                    self.fault(
                        index, f"{number} is dispatched again, though its last intent was not given up"
                    )
                self._states[number - self._first] = (state | _DISPATCHED | _INTENT_OPEN) & ~_UNCERTAIN

    def _on_withdrawn(self, index: int, record: Withdrawn) -> None:
        for number in record.numbers:
            state = self._dispatched_part(index, number, "a withdrawal")
            if state is not None:
                if not state & (_INTENT_OPEN | _UNCERTAIN | _FINAL):
                    self.fault(index, f"{number} is withdrawn, though no intent was open")
                self._set(number, state & ~(_INTENT_OPEN | _UNCERTAIN))

    def _on_sent(self, index: int, record: Sent) -> None:
        number = record.number
        state = self._dispatched_part(index, number, "a positive response")
        if state is not None:
            self._states[number - self._first] = (state | _SENT) & ~(_INTENT_OPEN | _UNCERTAIN)

    def _on_refused(self, index: int, record: Refused) -> None:
        self._set(index, _REPORTABLE)
        state = self._dispatched_part(index, record.number, "a refusal")
        if state is not None and not record.moot:
            state &= ~(_INTENT_OPEN | _UNCERTAIN)
            if record.in_doubt:
                state |= _UNCERTAIN
            self._set(record.number, state)
            if record.final:
                self._end(index, record.number, state, None)

    def _on_uncertain(self, index: int, record: Uncertain) -> None:
        for number in record.numbers:
            state = self._dispatched_part(index, number, "an uncertainty")
            if state is None or state & _FINAL:
                continue
            if not state & _INTENT_OPEN:
                self.fault(index, f"{number} is uncertain, though no intent was open")
            self._set(number, (state | _UNCERTAIN) & ~_INTENT_OPEN)

    def _on_receipt(self, index: int, record: Receipt) -> None:
        self._states[index - self._first] = _REPORTABLE
        self._sealed(index, record.content)
        if record.number:
            state = self._dispatched_part(index, record.number, "a receipt")
            if state is not None and record.final:
                self._end(index, record.number, state, record.message_state)
        else:
            self._unmatched[index] = record.message_state
            if record.final:
                self.fault(index, "a receipt that matched nothing is marked final")

    def _on_matched(self, index: int, record: Matched) -> None:
        self._set(index, _REPORTABLE)
        message_state = self._unmatched.pop(record.receipt, None)
        if message_state is None and record.receipt >= self._first:
            self.fault(index, f"a match names {record.receipt}, which is not an unmatched receipt before it")
        state = self._dispatched_part(index, record.number, "a match")
        if state is not None and record.final:
            self._end(index, record.number, state, 0 if message_state is None else message_state)

    def _on_reply(self, index: int, record: Reply) -> None:
        self._set(index, _REPORTABLE)
        self._sealed(index, record.content)

    def _on_noted(self, index: int, record: Noted) -> None:
        self._sealed(index, record.content)
        if not record.entry:
            self._set(index, _OPENS_ENTRY)
        elif record.entry >= self._first and not (
            record.entry < index and self._state(record.entry) & _OPENS_ENTRY
        ):
            self.fault(index, f"a register names entry {record.entry}, which no record before it opened")

    def _on_operatoraction(self, _: int, record: OperatorAction) -> None:
        if record.action == ERASE:
            self.erasures.add(record.reason.partition(":")[0])

    def _on_assembled(self, index: int, record: Assembled) -> None:
        self._set(index, _REPORTABLE)
        for reply in record.replies:
            if reply >= self._first and not (reply < index and self._state(reply) & _REPORTABLE):
                self.fault(index, f"a joined reply names {reply}, which is no reply before it")

    def _on_postponed(self, index: int, record: Postponed) -> None:
        state = self._dispatched_part(index, record.number, "a postponement")
        if state is not None:
            if state & _FINAL:
                self.fault(index, f"{record.number} is postponed after its final outcome")
            self._set(record.number, state & ~(_INTENT_OPEN | _SENT | _UNCERTAIN))

    def _on_torntail(self, index: int, record: TornTail) -> None:
        if record.lost:
            self.fault(index, f"{record.lost} records that had been durable were gone at this start")

    def _on_outcome(self, index: int, record: Outcome) -> None:
        self._set(index, _REPORTABLE)
        state = self._part(index, record.number, "an outcome")
        if state is not None:
            self._end(index, record.number, state, record.message_state)

    def _on_replaced(self, index: int, record: Replaced) -> None:
        self._sealed(index, record.content)
        state = self._part(index, record.number, "a replacement")
        if state is not None and state & _FINAL:
            self.fault(index, f"{record.number} is replaced after its final outcome")

    def _on_reported(self, index: int, record: Reported) -> None:
        reported = record.record
        if not FIRST_INDEX <= reported < index:
            self.fault(index, f"a report names {reported}, which does not stand before it")
        elif reported >= self._first and not self._states[reported - self._first] & _REPORTABLE:
            self.fault(index, f"a report names {reported}, which is nothing that is reported")

    def _dispatched_part(self, index: int, number: int, what: str) -> int | None:
        place = number - self._first
        if 0 <= place < index - self._first:  # as it should be, without a further call
            state = self._states[place]
            if state & _TRIED == _TRIED:
                return state
        part = self._part(index, number, what)
        if part is not None:
            self.fault(index, f"{what} names {number}, which was never dispatched")
        return part


def _outcome_name(message_state: int | None) -> str:
    if message_state is None:
        return "refused"
    return _STATE_NAMES.get(message_state, f"state {message_state}")


def _name_of(item: tuple[type[Record], int]) -> str:
    return item[0].__name__
