"""The registers that the contract asks for, as the evidence has them: complaints, faults, planned work.

An entry is a sequence of `Noted` records: one opens it, the others name that one. When something happened is
what the record says (`at_us`); when it was written is in the record too, so nothing can be entered after the
fact without showing it.
"""

from __future__ import annotations

import sqlite3
from datetime import date
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from storage.settlement.calendar import day_of, day_us, moment_us, months_before
from storage.settlement.counts import Cut

COMPLAINT: Final = "complaint"
INCIDENT: Final = "incident"
MAINTENANCE: Final = "maintenance"
FORCE_MAJEURE: Final = "force majeure"
DELAY: Final = "delay"  # of a service that was to be completed (十三.3)
RATING: Final = "rating"  # satisfaction and support, once a year (三.9)
HOLD: Final = "hold"  # days of which nothing may be taken away or erased (十.3; storage/retention.py)
REGISTERS: Final = (COMPLAINT, INCIDENT, MAINTENANCE, FORCE_MAJEURE, DELAY, RATING, HOLD)

# Events of entries. A span of planned work or force majeure goes from BEGAN to ENDED.
OPENED: Final = "opened"
REPORTED: Final = "reported"  # of a fault that an alarm has opened: A says so too
RESPONDED: Final = "responded"
RESTORED: Final = "restored"
BEGAN: Final = "began"
ENDED: Final = "ended"
CLOSED: Final = "closed"
PROOF: Final = "proof"  # of force majeure: a document of somebody in authority (九.2)
DONE: Final = "done"  # a service that was late is there (十三.3)
RELEASED: Final = "released"  # of a hold
WITHDRAWN: Final = "withdrawn"  # it was entered by mistake, and counts for nothing from then on

# The proof of force majeure is due within so many days (九.2), counted from the day after.
PROOF_DAYS: Final = 30

# Fact of a complaint: whose doing it is, as it was judged last.
ATTRIBUTED: Final = "attributed"
TO_B: Final = "b"

_DAY_US: Final = 86_400_000_000


class Event(NamedTuple):
    """One record of an entry."""

    record: int  # its index
    time_us: int  # when it was written
    event: str
    at_us: int  # when it happened
    who: str
    facts: dict[str, str]


class Entry(NamedTuple):
    """One complaint, fault …; `number` is the index of the record that opened it."""

    number: int
    register: str
    events: list[Event]

    def when(self, event: str) -> int:
        """When it happened first, or 0."""
        return next((each.at_us for each in self.events if each.event == event), 0)

    def first(self, *events: str) -> int:
        """When the first of these happened, or 0."""
        return min((at_us for event in events if (at_us := self.when(event))), default=0)

    @property
    def withdrawn(self) -> Event | None:
        """The line that took it back, the first if there are several."""
        return next((each for each in self.events if each.event == WITHDRAWN), None)

    def last(self, event: str) -> int:
        """When it happened by the line that was written last, or 0."""
        return next((each.at_us for each in reversed(self.events) if each.event == event), 0)

    def fact(self, name: str) -> str:
        """As it was said last, or empty."""
        return next((each.facts[name] for each in reversed(self.events) if name in each.facts), "")


def entries(connection: sqlite3.Connection, register: str, cut: Cut) -> list[Entry]:
    """The entries of a register that count, as `all_entries`."""
    return [entry for entry in all_entries(connection, register, cut) if entry.withdrawn is None]


def all_entries(connection: sqlite3.Connection, register: str, cut: Cut) -> list[Entry]:
    """The entries of a register in the order in which they were opened, as they are known at the cut; also
    those that were withdrawn."""
    found: dict[int, Entry] = {}
    rows = connection.execute(
        "SELECT idx, entry, time_us, event, at_us, who, facts FROM noted"
        " WHERE register = ? AND idx <= ? AND time_us < ? ORDER BY idx",
        (register, *cut),
    )
    for index, opened_by, time_us, event, at_us, who, facts in rows:
        entry = found.setdefault(opened_by or index, Entry(opened_by or index, register, []))
        entry.events.append(Event(index, time_us, event, at_us, who, msgspec.json.decode(facts)))
    return list(found.values())


def touching(
    connection: sqlite3.Connection, register: str, cut: Cut, start_us: int, end_us: int
) -> list[Entry]:
    """The entries that something of a span of time belongs to: begun before its end, and not ended before its
    beginning, or theirs."""
    return [
        entry
        for entry in entries(connection, register, cut)
        if 0 < entry.when(BEGAN) < end_us and (entry.when(ENDED) or end_us) > max(start_us, entry.when(BEGAN))
    ]


def announced_end(entry: Entry) -> int:
    """When planned work is to be over; 0 where no announcement says so."""
    return moment_us(entry.fact("to")) if entry.fact("to") else 0


def announced_us(entry: Entry) -> int:
    """When planned work was announced: not before it was written down."""
    return max(entry.when(OPENED), entry.events[0].time_us)


class Complaints(Struct, frozen=True):
    """The most complaints in any 12 months, and which those are; both days are included."""

    count: int
    attributed: int  # of these to party B
    withdrawn: int  # beside these, of all the 12 months that were looked at: entered by mistake
    first_day: date
    last_day: date


def complaints(
    connection: sqlite3.Connection,
    cut: Cut,
    first_day: date,
    last_day: date,
    *,
    attributed_only: bool,
    years_from: date | None = None,
) -> Complaints:
    """Complaints in 12 consecutive months (四.12): of all that end within the days given, the 12 months with
    the most, of several the latest. years_from: count by years of the contract instead, which begin on this
    day; of those that touch the days given, up to the last of these.
    """
    days: list[tuple[date, bool]] = []
    withdrawn: list[date] = []
    for entry in all_entries(connection, COMPLAINT, cut):
        day = day_of(entry.when(OPENED))
        if entry.withdrawn is not None:
            withdrawn.append(day)
        else:
            days.append((day, entry.fact(ATTRIBUTED) == TO_B))
    windows = _twelve_months(first_day, last_day, years_from)
    # Of all that was looked at: the window with the most is another one without them.
    earliest, latest = min(begin for begin, _ in windows), max(end for _, end in windows)
    mistakes = sum(earliest <= day <= latest for day in withdrawn)
    best: Complaints | None = None
    for begin, end in windows:
        within = [to_b for day, to_b in days if begin <= day <= end]
        counted = sum(within) if attributed_only else len(within)
        if best is None or counted > best.count:
            best = Complaints(counted, sum(within), mistakes, begin, end)
    assert best is not None, "there is a last day at least"
    return best


def _twelve_months(first_day: date, last_day: date, years_from: date | None) -> list[tuple[date, date]]:
    if years_from is None:
        ends = [
            date.fromordinal(ordinal)
            for ordinal in range(last_day.toordinal(), first_day.toordinal() - 1, -1)
        ]
        return [(_day_after(months_before(end, 12)), end) for end in ends]
    years = []
    number = 0
    while (begin := months_before(years_from, -12 * number)) <= last_day:
        end = date.fromordinal(months_before(years_from, -12 * (number + 1)).toordinal() - 1)
        if end >= first_day:
            years.append((begin, min(end, last_day)))
        number += 1
    return years[::-1] or [(first_day, last_day)]


def _day_after(day: date) -> date:
    return day_of(day_us(day) + _DAY_US)
