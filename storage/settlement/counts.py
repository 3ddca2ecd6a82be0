"""What there was to pay for: the messages of a span of time, counted from the ledger as it was at a moment.

A message belongs to the span in which the gateway accepted it, a reply to that in which it came. What became
of a message is judged by a *cut*: only records up to an index count, and only what was known before a time.
So the figures do not change any more once the evidence has gone past the cut, and everybody who has the
records up to that index counts the same.

Every unit ends in exactly one standing (storage/ledger/standing.py):

    delivered   a receipt says so
    failed      refused for good, reported as failed, or its validity ended; by cause
    unknown     the carrier took it, and no outcome is known
    uncertain   it was sent, no answer came, and no outcome is known
    waiting     it has not left, or was refused and waits to be tried again
    cancelled   the application took it back
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from storage.ledger.detach import begins_with, detached_months
from storage.ledger.projection import Owner
from storage.ledger.schema import table
from storage.ledger.standing import Standing, open_standing, standing_while_open
from storage.segment import FIRST_INDEX
from storage.settlement.calendar import AHEAD_OF_UTC_US, DAY_US, Month
from storage.settlement.errors import SettlementError
from storage.settlement.terms import Unit

Direction = Literal["mt", "mo"]
CarrierBasis = Literal["reported", "prefix"]

# The standing of a text from those of its parts: the first of these that one of them has.
_WORST_FIRST: Final[tuple[Standing, ...]] = (
    "failed",
    "uncertain",
    "unknown",
    "waiting",
    "cancelled",
    "delivered",
)

_LAST_INDEX: Final = (1 << 63) - 1  # of SQLite's integers


class Cut(NamedTuple):
    """Where knowledge ends: with the record of this index, and before this time."""

    last: int
    before_us: int

    @classmethod
    def until(cls, time_us: int) -> Cut:
        """Whatever was known up to this time, itself included."""
        return cls(_LAST_INDEX, time_us + 1)


class Line(NamedTuple):
    """Whose units these are. network: "" where none is known, as of a submission that was refused."""

    month: str
    direction: Direction
    network: str
    account: str
    category: str


class Ending(NamedTuple):
    """How a part ended, by the record that says so: "receipt", "refused" or "outcome" (kind), with what of
    the rest that record has. reason: in the words of the record."""

    kind: str
    state: int
    status: int
    stat: bytes
    err: bytes
    source: str
    reason: str


# The cause of a failure, by carrier account, its network and the ending: a class of the table of outcomes.
CauseOf = Callable[[str, str, Ending], str]


class Count:
    """Units of one line, and beside them what is no unit: submissions that were refused, receipts that came
    again."""

    __slots__ = (
        "accepted",
        "cancelled",
        "delivered",
        "denied",
        "duplicates",
        "failed",
        "sent",
        "uncertain",
        "unknown",
        "waiting",
    )

    def __init__(self) -> None:
        self.denied = 0  # submissions, each of which counts one
        self.accepted = 0
        self.sent = 0  # of these the carrier took so many
        self.delivered = 0
        self.failed: Counter[str] = Counter()  # by cause
        self.unknown = 0
        self.uncertain = 0
        self.waiting = 0
        self.cancelled = 0
        self.duplicates = 0  # receipts of parts that had ended; of replies, parts that came again

    def add(self, standing: Standing, cause: str, sent: bool, units: int) -> None:
        self.accepted += units
        if sent:
            self.sent += units
        if standing == "failed":
            self.failed[cause] += units
        else:
            setattr(self, standing, getattr(self, standing) + units)


Counts = dict[Line, Count]


class _Span(NamedTuple):
    """What of the ledger is counted, by the names that the queries give it: accepted from start_us to before
    end_us, as known at the cut."""

    start_us: int
    end_us: int
    last: int
    before_us: int


_ACCEPTED: Final = "accepted_us >= :start_us AND accepted_us < :end_us AND number <= :last"
_CAME: Final = "time_us >= :start_us AND time_us < :end_us AND idx <= :last"


def _known(record: str) -> str:
    """Whether the cut knows a record, by the columns of its index and time."""
    return f"{record} != 0 AND {record} <= :last AND {record}_us < :before_us"


class _Part(NamedTuple):
    """What is known of a part at the cut."""

    number: int
    first: int
    accepted_us: int
    owner: Owner
    units: int
    standing: Standing
    cause: str
    sent: bool


def count(
    connection: sqlite3.Connection,
    start_us: int,
    end_us: int,
    cut: Cut,
    unit: Unit,
    basis: CarrierBasis,
    cause_of: CauseOf,
) -> Counts:
    """What was accepted, refused and received from start_us (inclusive) to end_us (exclusive), by line.
    Raises SettlementError where the ledger does not hold all of it.

    Memory: some KB a line; 10 million messages take half a minute. What has to be judged part by part takes
    ten times as long: replaced texts, those that were tried again and have no outcome yet, and with the unit
    "message" those that the gateway cut.
    """
    check_all_there(connection, start_us)
    return _Counting(connection, cut, unit, basis, cause_of).run(start_us, end_us)


def check_all_there(connection: sqlite3.Connection, start_us: int) -> None:
    """Raises SettlementError where something of what came from this time on was moved out of the ledger, and
    where its beginning is missing: who accounts are, and what was registered, stands there."""
    begins = begins_with(connection)
    if begins > FIRST_INDEX:
        raise SettlementError(
            f"the ledger begins with record {begins}, and what came before would be missing: restore the"
            " archived segments, then `jingxin ledger rebuild`"
        )
    for month in detached_months(connection):
        if month.newest_us >= start_us or month.name >= str(Month.of(start_us)):
            raise SettlementError(
                f"{month.name} was moved out of the ledger, and its messages would be missing: restore its"
                " segments, then `jingxin ledger rebuild`"
            )


def evidence_begins(connection: sqlite3.Connection) -> str:
    """The month of the first record in the ledger, YYYY-MM; "" of an empty one."""
    (month,) = connection.execute("SELECT coalesce(min(name), '') FROM month").fetchone()
    return str(month)


class _Counting:
    def __init__(
        self,
        connection: sqlite3.Connection,
        cut: Cut,
        unit: Unit,
        basis: CarrierBasis,
        cause_of: CauseOf,
    ) -> None:
        self._connection = connection
        self._cut = cut
        self._unit = unit
        self._by_prefix = basis == "prefix"
        self._cause_of = cause_of
        self._endings: dict[int, tuple[Ending, Standing]] = {
            row[0]: (Ending(*row[1:-1]), row[-1]) for row in connection.execute("SELECT * FROM outcome")
        }
        self._owners = {row[0]: Owner(*row[1:]) for row in connection.execute("SELECT * FROM owner")}
        self._networks = dict(
            connection.execute(
                "SELECT name, value FROM configured WHERE what = 'carrier' AND idx <= ? ORDER BY idx",
                (cut.last,),
            ).fetchall()
        )
        self._counts: Counts = defaultdict(Count)

    def run(self, start_us: int, end_us: int) -> Counts:
        months = self._connection.execute(
            "SELECT name, first_index, oldest_us, newest_us FROM month ORDER BY first_index"
        ).fetchall()
        months = [each for each in months if each[1] <= self._cut.last]
        names = [name for name, *_ in months]
        for month, begin_us, stop_us in _pieces(start_us, end_us):
            span = _Span(begin_us, stop_us, *self._cut)
            touched = [
                name
                for name, _, oldest_us, newest_us in months
                if oldest_us < stop_us and newest_us >= begin_us
            ]
            for name in touched:
                self._add_ended(name, month, span)
                self._add_open(name, month, span)
            self._add_single(touched, month, span)
            for name in names:
                self._add_denials(name, month, span)
                self._add_replies(name, month, span)
        for place, name in enumerate(names):
            self._add_duplicates(name, names[: place + 1], start_us, end_us)
        return dict(self._counts)

    # -- messages -------------------------------------------------------------------------------------------

    @property
    def _grouped(self) -> str:
        """Which parts can be counted in groups: of the units they were accepted with, and each a message by
        itself where messages are counted."""
        return "replaced = 0" if self._unit == "part" else "replaced = 0 AND cut_into = 1"

    @property
    def _units(self) -> str:
        return "sum(units)" if self._unit == "part" else "count(*)"

    def _add_ended(self, name: str, month: str, span: _Span) -> None:
        # One number to group by: with several columns it takes three times as long.
        rows = self._connection.execute(
            f"""SELECT (owner << 32) + (outcome << 1) + ({_known("sent")}) AS fate, {self._units}
            FROM {table("part", name)} AS part
            WHERE {_ACCEPTED} AND {self._grouped} AND {_known("ended")}
            GROUP BY fate""",
            span._asdict(),
        )
        for fate, units in rows:
            owner, outcome = self._owners[fate >> 32], fate >> 1 & 0x7FFFFFFF
            standing, cause = self._judge(owner, outcome)
            sent = bool(fate & 1) or self._reported(outcome)
            self._counts[self._line(month, owner)].add(standing, cause, sent, units)

    def _add_open(self, name: str, month: str, span: _Span) -> None:
        """Those that were tried once, or not at all, and have not ended."""
        tried = f"({_known('dispatched')} AND NOT ({_known('withdrawn')}))"
        standing = open_standing(sent=_known("sent"), in_doubt=f"{tried} AND NOT ({_known('answered')})")
        rows = self._connection.execute(
            f"""SELECT owner, CASE WHEN {tried} THEN attempt.carrier ELSE routed END, {standing},
                {_known("sent")}, {self._units}
            FROM {table("part", name)} AS part LEFT JOIN {table("attempt", name)} AS attempt USING (number)
            WHERE {_ACCEPTED} AND {self._grouped} AND attempts <= 1 AND NOT ({_known("ended")})
            GROUP BY 1, 2, 3, 4""",
            span._asdict(),
        )
        for owner_id, carrier, standing, sent, units in rows:
            owner = self._open_owner(owner_id, carrier)
            self._counts[self._line(month, owner)].add(standing, "", bool(sent), units)

    def _add_single(self, names: Sequence[str], month: str, span: _Span) -> None:
        """Those that are judged one by one. A text that was cut may stand on both sides of the end of a month
        in the ledger."""
        parts = chain.from_iterable(self._single(name, span) for name in names)
        for part in _messages(parts) if self._unit == "message" else parts:
            self._counts[self._line(month, part.owner)].add(part.standing, part.cause, part.sent, part.units)

    def _single(self, name: str, span: _Span) -> Iterator[_Part]:
        rows = self._connection.execute(
            f"""SELECT number, first, accepted_us, owner, units, replaced, routed,
                sent, sent_us, ended, ended_us, outcome,
                dispatched, dispatched_us, attempt.carrier, answered, answered_us, withdrawn, withdrawn_us
            FROM {table("part", name)} AS part LEFT JOIN {table("attempt", name)} AS attempt USING (number)
            WHERE {_ACCEPTED} AND NOT ({self._grouped} AND (attempts <= 1 OR ({_known("ended")})))
            ORDER BY number, dispatched""",
            span._asdict(),
        )
        for _, group in groupby(rows, itemgetter(0)):
            yield self._as_of(list(group))

    def _line(self, month: str, owner: Owner) -> Line:
        network = owner.prefix if self._by_prefix else owner.network
        return Line(month, "mt", network, owner.account, owner.category)

    def _open_owner(self, owner_id: int, carrier: str) -> Owner:
        """Whose a part is that has not ended, and is with this carrier account."""
        return self._owners[owner_id]._replace(carrier=carrier, network=self._networks.get(carrier, ""))

    def _as_of(self, rows: list[tuple[Any, ...]]) -> _Part:
        """A part with a row for each of its attempts; without any, one row has None in their place."""
        number, first, accepted_us, owner_id, units, replaced, routed = rows[0][:7]
        sent, sent_us, ended, ended_us, outcome = rows[0][7:12]
        if replaced:
            units = self._units_of(number, units)
        if self._unit == "message":
            units = 1
        taken = self._knows(sent, sent_us)
        if self._knows(ended, ended_us):
            owner = self._owners[owner_id]
            standing, cause = self._judge(owner, outcome)
            taken = taken or self._reported(outcome)
        else:
            carrier, in_doubt = routed, False
            for row in rows:
                dispatched, dispatched_us, carrier_tried, answered, answered_us, *withdrawn = row[12:]
                if not dispatched or not self._knows(dispatched, dispatched_us):
                    continue
                if self._knows(*withdrawn):
                    continue  # it certainly did not leave
                carrier = carrier_tried
                in_doubt = in_doubt or not self._knows(answered, answered_us)
            owner = self._open_owner(owner_id, carrier)
            standing, cause = standing_while_open(sent=taken, in_doubt=in_doubt), ""
        return _Part(number, first, accepted_us, owner, units, standing, cause, taken)

    def _units_of(self, number: int, units: int) -> int:
        """Of a part whose text was replaced."""
        for (name,) in self._connection.execute("SELECT name FROM month ORDER BY name").fetchall():
            for idx, time_us, replaced in self._connection.execute(
                f"SELECT idx, time_us, units FROM {table('replacement', name)} WHERE number = ? ORDER BY idx",
                (number,),
            ).fetchall():
                if self._knows(idx, time_us):
                    units = replaced
        return units

    def _knows(self, index: int, time_us: int) -> bool:
        return 0 < index <= self._cut.last and time_us < self._cut.before_us

    def _judge(self, owner: Owner, outcome: int) -> tuple[Standing, str]:
        """Standing and cause of what has ended."""
        ending, standing = self._endings[outcome]
        cause = self._cause_of(owner.carrier, owner.network, ending) if standing == "failed" else ""
        return standing, cause

    def _reported(self, outcome: int) -> bool:
        """The carrier had it, whether its answer came or not: it has reported its end."""
        return self._endings[outcome][0].kind == "receipt"

    def _add_duplicates(self, name: str, months: Sequence[str], start_us: int, end_us: int) -> None:
        """Receipts that came after the end of their part, in the line of that part, which stands in the same
        month or an earlier one."""
        for of_part in months:
            rows = self._connection.execute(
                f"""SELECT part.owner, (accepted_us + {AHEAD_OF_UTC_US}) / {DAY_US} AS day, count(*)
                FROM {table("receipt", name)} AS receipt JOIN {table("part", of_part)} AS part USING (number)
                WHERE receipt.repeats = 1 AND receipt.idx <= ? AND receipt.time_us < ?
                    AND receipt.matched <= ? AND receipt.matched_us < ?
                    AND accepted_us >= ? AND accepted_us < ?
                GROUP BY 1, 2""",
                (*self._cut, *self._cut, start_us, end_us),
            )
            for owner, day, duplicates in rows:
                month = str(Month.of(day * DAY_US - AHEAD_OF_UTC_US))
                self._counts[self._line(month, self._owners[owner])].duplicates += duplicates

    # -- what is no message ---------------------------------------------------------------------------------

    def _add_denials(self, name: str, month: str, span: _Span) -> None:
        rows = self._connection.execute(
            f"""SELECT account, category, sum(count) FROM {table("denial", name)}
            WHERE {_CAME} GROUP BY 1, 2""",
            span._asdict(),
        )
        for account, category, denied in rows:
            self._counts[Line(month, "mt", "", account, category)].denied += denied

    def _add_replies(self, name: str, month: str, span: _Span) -> None:
        """Each part that came is a unit, but for those that came again; or each text, as far as its parts
        are known to be one."""
        joined = "assembled != 0 AND assembled <= :last"
        again = f"repeats = 1 AND {joined}"
        counted = f"NOT ({again})"
        if self._unit == "message":
            counted += f" AND (leads = 1 OR NOT ({joined}))"
        for condition in (counted, again):
            rows = self._connection.execute(
                f"""SELECT account, category, network, count(*) FROM {table("reply", name)}
                WHERE {_CAME} AND {condition} GROUP BY 1, 2, 3""",
                span._asdict(),
            )
            for account, category, network, units in rows:
                count = self._counts[Line(month, "mo", network, account, category)]
                if condition == again:
                    count.duplicates += units
                else:
                    count.add("delivered", "", True, units)


def _messages(parts: Iterable[_Part]) -> Iterator[_Part]:
    """The parts of each text that the gateway cut, which follow each other, as one: delivered when all are,
    else as the part that stands worst."""
    for _, group in groupby(parts, lambda part: part.first):
        worst = min(group, key=lambda part: _WORST_FIRST.index(part.standing))
        yield worst


def _pieces(start_us: int, end_us: int) -> Iterator[tuple[str, int, int]]:
    """The span cut at the beginnings of months: (month, from, to)."""
    while start_us < end_us:
        month = Month.of(start_us)
        stop_us = min(end_us, month.end_us)
        yield str(month), start_us, stop_us
        start_us = stop_us
