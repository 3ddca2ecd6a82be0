"""What must hold between records, and what became of each part (evidence-format.md, "Records")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.auditor.records import Record
from tests.auditor.wrong import Wrong, demand

# SMPP 3.4 section 5.2.28.
STATES = {
    1: "enroute",
    2: "delivered",
    3: "expired",
    4: "deleted",
    5: "undeliverable",
    6: "accepted",
    7: "unknown",
    8: "rejected",
}
NEW, OUT, FREE, ENDED = "new", "out", "free", "ended"  # accepted; dispatched; may be dispatched again; ended


@dataclass
class Fate:
    """Where a part stands."""

    state: str = NEW
    dispatched: bool = False
    sent: bool = False  # a carrier accepted it, and it was not postponed since
    unended: bool = False  # a Receipt or Matched with final false came since it was dispatched
    chargeable: int = 0
    outcome: str = ""


@dataclass(frozen=True)
class Counts:
    """What a log holds: parts, their units as accepted and as last replaced, and how they ended."""

    parts: int
    accepted_units: int
    units: int
    outcomes: dict[str, int]
    open: int
    unmatched: int


class History:
    """Follows every part through the records, and refuses what must not be."""

    def __init__(self, first: int) -> None:
        self.first = first  # what was before it cannot be looked at
        self.kinds: dict[int, str] = {}
        self.parts: dict[int, Fate] = {}
        self.accepted_units = 0
        self.text = (0, 0, 0)  # the last that was cut: its first part, how many, when
        self.text_part = 0  # how many of them there were
        self.unmatched: dict[int, int] = {}  # message_state of each Receipt that belongs to no part yet

    def refers(self, record: Record, index: int, *kinds: str) -> bool:
        """Whether the record named is here; it must stand before and be of one of the kinds."""
        demand(0 < index < record.index, f"{record.kind} names {index}, which is not before it")
        if index < self.first:
            return False
        demand(self.kinds[index] in kinds, f"{record.kind} names {index}, which is {self.kinds[index]}")
        return True

    def part(self, record: Record, number: int, *, dispatched: bool = True) -> Fate | None:
        """The part named, which must have been accepted, and dispatched unless said otherwise."""
        if not self.refers(record, number, "Accepted"):
            return None
        fate = self.parts[number]
        demand(fate.dispatched or not dispatched, f"{record.kind} of {number}, which was never dispatched")
        return fate

    def take(self, record: Record) -> None:
        """One more record."""
        try:
            handler = getattr(self, "on_" + record.kind.lower(), None)
            if handler is not None:
                handler(record)
        except Wrong as trouble:
            raise Wrong(f"record {record.index}: {trouble}") from trouble
        self.kinds[record.index] = record.kind

    def end(self, number: int, fate: Fate | None, outcome: str | int) -> None:
        """A record ends a part, which no other has."""
        if fate is not None:
            demand(fate.state != ENDED, f"part {number} ends twice")
            fate.state = ENDED
            fate.outcome = outcome if isinstance(outcome, str) else STATES.get(outcome, f"state {outcome}")

    def on_accepted(self, record: Record) -> None:
        for name in ("message", "first"):
            if record[name] and record[name] != record.index:
                self.refers(record, record[name], "Accepted")
        cut = record["first"], record["cut_into"], record["time_us"]
        if record["first"] == record.index:
            demand(record["cut_into"] > 1, "what was cut has one part")
            self.text, self.text_part = cut, 1
        elif record["first"] >= self.first or record["cut_into"] != 1:
            demand(cut == self.text, "a part is of no text before it")
            demand(record.index == record["first"] + self.text_part < sum(cut[:2]), "parts are not together")
            self.text_part += 1
        self.parts[record.index] = Fate(chargeable=record["parts"])
        self.accepted_units += record["parts"]

    def on_dispatched(self, record: Record) -> None:
        for _, _, numbers in record["intents"]:
            for number in numbers:
                fate = self.part(record, number, dispatched=False)
                if fate is not None:
                    demand(fate.state in (NEW, FREE), f"part {number}, which is {fate.state}, is dispatched")
                    demand(not fate.sent, f"part {number}, which a carrier has, is dispatched again")
                    fate.state, fate.dispatched, fate.unended = OUT, True, False

    def free(self, record: Record, number: int) -> None:
        fate = self.part(record, number)
        if fate is not None and fate.state != ENDED:
            fate.state = FREE

    def on_withdrawn(self, record: Record) -> None:
        for number in record["numbers"]:
            self.free(record, number)

    def on_uncertain(self, record: Record) -> None:
        for number in record["numbers"]:
            self.free(record, number)

    def on_sent(self, record: Record) -> None:
        fate = self.part(record, record["number"])
        if fate is not None:
            fate.sent = True

    def on_refused(self, record: Record) -> None:
        fate = self.part(record, record["number"])
        if record["final"]:
            self.end(record["number"], fate, "refused")
        elif not record["moot"]:
            self.free(record, record["number"])

    def on_receipt(self, record: Record) -> None:
        if not record["number"]:
            demand(not record["final"], "a Receipt of no part ends one")
            self.unmatched[record.index] = record["message_state"]
            return
        self.told(record, self.part(record, record["number"]), record["message_state"])

    def on_matched(self, record: Record) -> None:
        state = 0
        if self.refers(record, record["receipt"], "Receipt"):
            demand(record["receipt"] in self.unmatched, f"Receipt {record['receipt']} belongs to a part")
            state = self.unmatched.pop(record["receipt"])
        self.told(record, self.part(record, record["number"]), state)

    def told(self, record: Record, fate: Fate | None, message_state: int) -> None:
        if record["final"]:
            self.end(record["number"], fate, message_state)
        elif fate is not None:
            fate.unended = True

    def on_outcome(self, record: Record) -> None:
        fate = self.part(record, record["number"], dispatched=False)
        self.end(record["number"], fate, record["message_state"])

    def on_replaced(self, record: Record) -> None:
        fate = self.part(record, record["number"], dispatched=False)
        if fate is not None:
            fate.chargeable = record["parts"]

    def on_postponed(self, record: Record) -> None:
        fate = self.part(record, record["number"])
        if fate is not None:
            demand(fate.state == FREE or fate.unended, f"part {record['number']} waits without a reason")
            fate.state, fate.sent = FREE, False

    def on_reported(self, record: Record) -> None:
        kinds = ("Receipt", "Matched", "Reply", "Assembled", "Refused", "Outcome")
        self.refers(record, record["record"], *kinds)

    def on_assembled(self, record: Record) -> None:
        for reply in record["replies"]:
            self.refers(record, reply, "Reply")
        demand(record["repeats"] <= len(record["replies"]), "more repeats than replies")

    def on_optedout(self, record: Record) -> None:
        if record["reply"]:
            self.refers(record, record["reply"], "Reply")

    def on_noted(self, record: Record) -> None:
        if record["entry"]:
            self.refers(record, record["entry"], "Noted")

    def counts(self) -> Counts:
        """What became of the parts."""
        outcomes = Counter(fate.outcome for fate in self.parts.values() if fate.state == ENDED)
        return Counts(
            parts=len(self.parts),
            accepted_units=self.accepted_units,
            units=sum(fate.chargeable for fate in self.parts.values()),
            outcomes=dict(sorted(outcomes.items())),
            open=sum(fate.state != ENDED for fate in self.parts.values()),
            unmatched=len(self.unmatched),
        )


def follow(records: Sequence[Record], first: int) -> Counts:
    """Check all records against each other."""
    history = History(first)
    for record in records:
        history.take(record)
    return history.counts()
