"""How well the service ran: receipts and how soon they came, reports to applications, links.

Delays are counted in tenths of a second, by the time at which the gateway learnt of each thing. All of it
follows from the ledger as it was at a cut.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import groupby
from operator import itemgetter
from typing import Final

from msgspec import Struct

from storage.ledger.schema import table
from storage.settlement.counts import Cut

_TENTH_US: Final = 100_000
_MINUTE_US: Final = 60_000_000

# Events of links that change what can be said of them; after any other one a link is down.
_BOUND: Final = "bound"
_DRAINED: Final = "drained"
_DOWN: Final = "down"


class Delays(Struct, frozen=True):
    """Seconds within which half, 95 and 99 of a hundred came; 0.0 where there were none. late: above the
    limit."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float
    longest_s: float
    late: int


class Coverage(Struct, frozen=True):
    """Parts that a carrier took, by its answer or because it reported on them, and those of which a receipt
    with an outcome came."""

    carrier: str
    network: str
    sent: int
    reported: int
    receipt: Delays  # from the carrier's response to its final receipt


class Availability(Struct, frozen=True):
    """One carrier account over a span. bound: the share of the span in which a link was bound, in
    millionths; lost: how often none was left; longest_s: the longest time without any."""

    carrier: str
    bound: int
    lost: int
    longest_s: int


def coverage(connection: sqlite3.Connection, start_us: int, end_us: int, cut: Cut) -> list[Coverage]:
    """By carrier account, of parts accepted in the span. What was reported without an answer before has no
    delay."""
    sent: dict[tuple[str, str], int] = defaultdict(int)
    reported: dict[tuple[str, str], int] = defaultdict(int)
    delays: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    answered = "(sent != 0 AND sent <= :last AND sent_us < :before)"
    ended = "(ended != 0 AND ended <= :last AND ended_us < :before AND outcome.kind = 'receipt')"
    for month in _months(connection, start_us, end_us):
        rows = connection.execute(
            f"""SELECT carrier, network, {answered}, {ended}, CASE WHEN {answered} AND {ended}
                THEN max(ended_us - sent_us, 0) / {_TENTH_US} ELSE -1 END AS tenths, count(*)
            FROM {table("part", month)} AS part JOIN owner ON owner.id = part.owner
                LEFT JOIN outcome ON outcome.id = part.outcome
            WHERE accepted_us >= :start AND accepted_us < :end AND number <= :last
                AND ({answered} OR {ended})
            GROUP BY 1, 2, 3, 4, 5""",
            {"start": start_us, "end": end_us, "last": cut.last, "before": cut.before_us},
        )
        for carrier, network, _, is_reported, tenths, count in rows:
            sent[carrier, network] += count
            reported[carrier, network] += count if is_reported else 0
            if tenths >= 0:
                delays[carrier, network][tenths] += count
    return [
        Coverage(*key, count, reported[key], _delays(delays[key], None))
        for key, count in sorted(sent.items())
    ]


def report_delays(
    connection: sqlite3.Connection, start_us: int, end_us: int, cut: Cut, max_minutes: int
) -> Delays:
    """From the receipts that came in the span to the first answer of the application to each (四.15)."""
    tenths: dict[int, int] = defaultdict(int)
    months = [name for (name,) in connection.execute("SELECT name FROM month ORDER BY name").fetchall()]
    for place, month in enumerate(months):
        # Applications are offered a report for days (account.report_retention_h): it stands in the month of
        # its receipt or in the next.
        answers = [
            f"""(SELECT min(time_us) FROM {table("report", later)} AS report
                WHERE report.record = CASE matched WHEN 0 THEN receipt.idx ELSE matched END
                AND status = 0 AND report.idx <= :last AND time_us < :before)"""
            for later in months[place : place + 2]
        ]
        rows = connection.execute(
            f"""SELECT max(coalesce({", ".join(answers)}, -1) - receipt.time_us, 0) / {_TENTH_US} AS tenths,
                count(*)
            FROM {table("receipt", month)} AS receipt
            WHERE receipt.time_us >= :start AND receipt.time_us < :end AND receipt.idx <= :last
                AND coalesce({", ".join(answers)}, -1) >= 0
            GROUP BY tenths""",
            {"start": start_us, "end": end_us, "last": cut.last, "before": cut.before_us},
        )
        for delay, count in rows:
            tenths[delay] += count
    return _delays(tenths, max_minutes * _MINUTE_US // _TENTH_US)


def availability(connection: sqlite3.Connection, start_us: int, end_us: int, cut: Cut) -> list[Availability]:
    """Of each carrier account that was configured in the span, for as long as it was, from the events of its
    links.

    A start of the gateway finds no link bound: after a crash they were lost with the last batch of records
    before it.
    """
    spans = _configured_spans(connection, start_us, end_us, cut)
    carriers = {name: _Links(*span) for name, span in spans.items()}
    for kind, name, place, event, time_us in _link_events(connection, end_us, cut):
        if kind == "gateway":
            for links in carriers.values():
                links.all_down(time_us)
        elif name in carriers:
            carriers[name].note(place, time_us, bound=event == "bound")
    return [links.sum_up(name) for name, links in carriers.items()]


def _configured_spans(
    connection: sqlite3.Connection, start_us: int, end_us: int, cut: Cut
) -> dict[str, tuple[int, int]]:
    """From the first configuration that named a carrier account to the one that names it no more."""
    since: dict[str, int] = {}
    until: dict[str, int] = {}
    rows = connection.execute(
        """SELECT time_us, name FROM configured WHERE what = 'carrier' AND idx <= ? AND time_us < ?
        ORDER BY idx""",
        cut,
    )
    for time_us, group in groupby(rows, itemgetter(0)):
        named = {name for _, name in group}
        for name in named:
            since.setdefault(name, time_us)
            until.pop(name, None)
        for name in since.keys() - named:
            until.setdefault(name, time_us)
    spans = {
        name: (max(since[name], start_us), min(until.get(name, end_us), end_us)) for name in sorted(since)
    }
    return {name: (from_us, to_us) for name, (from_us, to_us) in spans.items() if from_us < to_us}


def links_now(connection: sqlite3.Connection) -> dict[str, tuple[bool, int]]:
    """Of each carrier account that the last configuration named: whether a link is bound, and since when that
    is so. One of which an operator has drained every link that is not bound is neither up nor down, and is
    left out. Without a gateway that serves nothing is known, and it is empty."""
    events = _since_last_start(connection)
    if not events or events[-1][0] == "gateway":
        return {}
    (configured,) = connection.execute("SELECT max(idx) FROM configured").fetchone()
    names = connection.execute(
        "SELECT name FROM configured WHERE what = 'carrier' AND idx = ?", (configured,)
    )
    last: dict[str, dict[int, str]] = {name: {} for (name,) in names}  # events of links, by place
    since = dict.fromkeys(last, (_DOWN, events[0][4]))
    for kind, name, place, event, time_us in events:
        if kind != "link" or name not in last:
            continue
        last[name][place] = event
        state = _state_of(last[name].values())
        if state != since[name][0]:
            since[name] = state, time_us
    return {name: (state == _BOUND, time_us) for name, (state, time_us) in since.items() if state != _DRAINED}


def _state_of(events: Collection[str]) -> str:
    """Of a carrier account, by the last event of each of its links that had one."""
    if _BOUND in events:
        return _BOUND
    return _DRAINED if set(events) == {_DRAINED} else _DOWN


def _since_last_start(connection: sqlite3.Connection) -> list[tuple[str, str, int, str, int]]:
    """The events of links and the gateway from its last start on, the start first."""
    found: list[tuple[str, str, int, str, int]] = []
    for (month,) in connection.execute("SELECT name FROM month ORDER BY name DESC").fetchall():
        own = table("event", month)
        (start,) = connection.execute(
            f"SELECT coalesce(max(idx), 0) FROM {own} WHERE kind = 'gateway' AND event = 'started'"
        ).fetchone()
        found[:0] = connection.execute(
            f"""SELECT kind, name, place, event, time_us FROM {own}
            WHERE kind IN ('link', 'gateway') AND idx >= ? ORDER BY idx""",
            (start,),
        ).fetchall()
        if start:
            return found
    return []


def _link_events(
    connection: sqlite3.Connection, end_us: int, cut: Cut
) -> Iterable[tuple[str, str, int, str, int]]:
    """(kind, name, place, event, time_us) in the order of the records; of a start the time is that at which
    everything before it was lost."""
    for (month,) in connection.execute("SELECT name FROM month ORDER BY name").fetchall():
        yield from connection.execute(
            f"""SELECT kind, name, place, event, coalesce(start.last_us, event.time_us)
            FROM {table("event", month)} AS event LEFT JOIN start USING (idx)
            WHERE kind IN ('link', 'gateway') AND idx <= ? AND event.time_us < ? AND event.time_us < ?
            ORDER BY idx""",
            (*cut, end_us),
        )


class _Links:
    """The links of one carrier account as time goes by."""

    def __init__(self, start_us: int, end_us: int) -> None:
        self._start_us, self._end_us = start_us, end_us
        self._bound: set[int] = set()
        self._since_us = start_us  # since when at least one is bound, or none is
        self._bound_us = 0
        self._lost = 0
        self._longest_us = 0

    def note(self, place: int, time_us: int, *, bound: bool) -> None:
        was_up = bool(self._bound)
        if bound:
            self._bound.add(place)
        else:
            self._bound.discard(place)
        if was_up != bool(self._bound):
            self._turn(time_us, was_up=was_up)

    def all_down(self, time_us: int) -> None:
        if self._bound:
            self._bound.clear()
            self._turn(time_us, was_up=True)

    def _turn(self, time_us: int, *, was_up: bool) -> None:
        now_us = min(max(time_us, self._start_us), self._end_us)
        passed_us = max(now_us - self._since_us, 0)
        if was_up:
            self._bound_us += passed_us
            self._lost += self._start_us <= time_us < self._end_us
        else:
            self._longest_us = max(self._longest_us, passed_us)
        self._since_us = max(now_us, self._since_us)

    def sum_up(self, name: str) -> Availability:
        self._turn(self._end_us, was_up=bool(self._bound))
        share = self._bound_us * 1_000_000 // (self._end_us - self._start_us)
        return Availability(name, share, self._lost, self._longest_us // 1_000_000)


def _delays(tenths: dict[int, int], limit: int | None) -> Delays:
    """Of numbers of things by their delay."""
    total = sum(tenths.values())
    if not total:
        return Delays(0, 0.0, 0.0, 0.0, 0.0, 0)
    wanted = [max(1, -(-total * share // 100)) for share in (50, 95, 99)]
    found: list[int] = []
    passed = 0
    for delay in sorted(tenths):
        passed += tenths[delay]
        while len(found) < len(wanted) and passed >= wanted[len(found)]:
            found.append(delay)
    late = sum(count for delay, count in tenths.items() if limit is not None and delay > limit)
    p50, p95, p99 = found
    return Delays(total, p50 / 10, p95 / 10, p99 / 10, max(tenths) / 10, late)


def _months(connection: sqlite3.Connection, start_us: int, end_us: int) -> list[str]:
    """Of which the parts were accepted in the span."""
    rows = connection.execute(
        "SELECT name FROM month WHERE oldest_us < ? AND newest_us >= ? ORDER BY first_index",
        (end_us, start_us),
    ).fetchall()
    return [name for (name,) in rows]
