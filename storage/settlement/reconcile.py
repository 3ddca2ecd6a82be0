"""A carrier's bill against the ledger (核对, 四.1): what one has and the other has not, and what differs.

Ours is what the carrier took: a part with a Sent of one of its accounts, by the time of the first; and a part
of which it reported the end though its answer never came. Where the bill has replies, ours are those that
came from the carrier. Theirs is a row of the bill.

Both are matched one to one, in three passes over what is still free: by the carrier's id as it stands; by
other notations of it (hexadecimal or decimal, case, leading zeros, CMPP's print), where the number agrees; by
number and time within a tolerance. Wherever both sides have a number it has to agree: carriers use their ids
again. Within a pass the nearest in time are matched first. So nothing depends on the order of the bill.

Money is in 0.0001 yuan, time in microseconds.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from storage.database import transaction
from storage.settlement.bill_layout import Layout
from storage.settlement.calendar import AHEAD_OF_UTC_US, DAY_US, day_of
from storage.settlement.errors import SettlementError
from storage.settlement.matching import (
    CHARGE,
    FINDING_KINDS,
    OUR_COST,
    FindingKind,
    How,
    Matching,
    Task,
    prices,
)
from storage.settlement.statement import Source

FORMAT: Final = "jingxin-reconciliation-1"

SKEW_MAX_US: Final = 60_000_000
"""A median beyond this is a clock that somebody should set; bills to the minute alone make 30 s of it."""


_OUR_TOTALS: Final = f"""SELECT direction, state, count(*), sum(units), sum({OUR_COST})
    FROM ours WHERE inside = 1 GROUP BY 1, 2 ORDER BY 1, 2"""
_THEIR_TOTALS: Final = f"""SELECT direction, state, count(*), sum(units), sum({CHARGE})
    FROM charged GROUP BY 1, 2 ORDER BY 1, 2"""


class Total(Struct, frozen=True, kw_only=True):
    """state: "" where the bill says none."""

    direction: Literal["mt", "mo"]
    state: str
    rows: int
    units: int
    amount: int


class Finding(Struct, frozen=True, kw_only=True):
    """units: of parts_differ by how many they differ. at_stake: units times price; of a row that nothing of
    ours stands for what it charges, and of amount_differs the difference."""

    kind: FindingKind
    rows: int
    units: int
    at_stake: int


class Matched(Struct, frozen=True, kw_only=True):
    """Rows, by how they were matched."""

    id: int
    notation: int
    number: int


class Skew(Struct, frozen=True, kw_only=True):
    """Their time less ours over matched rows: nearest ranks, so that each is a difference that occurred.
    day: of ours, in Shanghai; "" of all."""

    day: str
    rows: int
    minimum_us: int
    p5_us: int
    median_us: int
    p95_us: int
    maximum_us: int

    @property
    def is_wide(self) -> bool:
        return abs(self.median_us) > SKEW_MAX_US


class Reconciliation(Struct, frozen=True, kw_only=True):
    """What came of it. The same ledger up to the cut, the same bill and the same rules give the same."""

    format: str
    carrier: str
    accounts: tuple[str, ...]
    first_month: str
    last_month: str
    records: int
    known_before_us: int
    time_is: Literal["submit", "done"]
    tolerance_us: int
    price_mt: int
    price_mo: int
    sources: tuple[Source, ...]
    ours: tuple[Total, ...]
    theirs: tuple[Total, ...]
    matched: Matched
    findings: tuple[Finding, ...]  # one of each kind
    skew: tuple[Skew, ...]  # of all, then by day; () where nothing was matched
    clock_warning: bool  # a median, of all or of a day, is beyond SKEW_MAX_US

    def encode(self) -> bytes:
        """Canonical JSON: keys in the order of their octets, no spaces, UTF-8, and a newline at the end."""
        return msgspec.json.encode(self, order="sorted") + b"\n"


class Detail(Struct, frozen=True, kw_only=True):
    """One finding with both sides. our_time_us, line: 0 where that side has nothing. amount: -1 where the
    bill says none. shown: the number as the bill's reader lets it be seen."""

    kind: FindingKind
    direction: str
    shown: str
    number_hash: bytes
    number: int
    account: str
    our_id: bytes
    our_time_us: int
    our_state: str
    stat: bytes
    err: bytes
    our_units: int
    line: int
    their_id: bytes
    their_time_us: int
    their_state: str
    word: str
    their_units: int
    amount: int
    how: str
    units: int
    at_stake: int


def accounts_of(ledger: sqlite3.Connection, name: str) -> tuple[tuple[str, ...], str]:
    """The carrier accounts of that name or, if there is none, of that network, and which network it is.
    Raises SettlementError."""
    networks = dict(
        ledger.execute("SELECT name, value FROM configured WHERE what = 'carrier' ORDER BY idx").fetchall()
    )
    if name in networks:
        return (name,), networks[name]
    accounts = tuple(sorted(account for account, network in networks.items() if network == name))
    if not accounts:
        known = ", ".join([*networks, *sorted(set(networks.values()))])
        raise SettlementError(f"no carrier {name!r} in the ledger: there are {known or 'none'}")
    return accounts, name


def reconcile(
    connection: sqlite3.Connection,
    ledger: Path,
    task: Task,
    layout: Layout,
    load: Callable[[], bytes],
    sources: Iterable[Source] = (),
) -> Reconciliation:
    """Compares within a `comparison`. load: makes the table `billed` there and returns the bill's SHA-256.

    Raises what `load` does, DatabaseError.
    """
    with transaction(connection):
        bill_digest = load()
    matching = Matching(connection, task, layout)
    matching.load_ours(ledger)
    matching.match()
    skew = tuple(_skew(connection))
    return Reconciliation(
        format=FORMAT,
        carrier=task.carrier,
        accounts=task.accounts,
        first_month=str(task.period.first),
        last_month=str(task.period.last),
        records=task.cut.last,
        known_before_us=task.cut.before_us,
        time_is=layout.time_is,
        tolerance_us=task.tolerance_us,
        price_mt=task.price_mt,
        price_mo=task.price_mo,
        sources=(
            Source(name="bill", sha256=bill_digest.hex()),
            Source(name="layout", sha256=layout.digest.hex()),
            *sources,
        ),
        ours=_totals(connection, _OUR_TOTALS, task),
        theirs=_totals(connection, _THEIR_TOTALS, task),
        matched=_matched(connection),
        findings=_findings(connection),
        skew=skew,
        clock_warning=any(each.is_wide for each in skew),
    )


def details(connection: sqlite3.Connection, kind: FindingKind) -> Iterator[Detail]:
    """The findings of a kind, in the order of time, after `reconcile`."""
    rows = connection.execute(
        """SELECT coalesce(ours.direction, billed.direction), coalesce(billed.shown, ''),
            coalesce(ours.number_hash, billed.number_hash), coalesce(ours.number, 0),
            coalesce(ours.account, ''),
            coalesce((SELECT carrier_id FROM our_id WHERE our_id.ours = ours.id ORDER BY 1 LIMIT 1), x''),
            coalesce(ours.time_us, 0), coalesce(ours.state, ''), coalesce(ending.stat, x''),
            coalesce(ending.err, x''), coalesce(ours.units, 0), coalesce(billed.line, 0),
            coalesce(billed.carrier_id, x''), coalesce(billed.time_us, 0), coalesce(billed.state, ''),
            coalesce(billed.word, ''), coalesce(billed.units, 0), coalesce(billed.amount, -1),
            coalesce(matched.how, ''), finding.units, finding.at_stake
        FROM finding LEFT JOIN ours ON ours.id = finding.ours LEFT JOIN ending ON ending.id = ours.outcome
            LEFT JOIN billed ON billed.place = finding.place
            LEFT JOIN matched ON matched.place = finding.place AND matched.ours = finding.ours
        WHERE finding.kind = ?
        ORDER BY coalesce(ours.time_us, billed.time_us), finding.ours, finding.place""",
        (kind,),
    )
    names = Detail.__struct_fields__[1:]
    for row in rows:
        yield Detail(kind=kind, **dict(zip(names, row, strict=True)))


def _totals(connection: sqlite3.Connection, query: str, task: Task) -> tuple[Total, ...]:
    rows = connection.execute(query, prices(task))
    return tuple(
        Total(direction=direction, state=state, rows=count, units=units, amount=amount)
        for direction, state, count, units, amount in rows
    )


def _matched(connection: sqlite3.Connection) -> Matched:
    counts = dict(connection.execute("SELECT how, count(*) FROM matched GROUP BY how").fetchall())
    return Matched(**{how: counts.get(how, 0) for how in get_args(How)})


def _findings(connection: sqlite3.Connection) -> tuple[Finding, ...]:
    sums = {
        kind: sums
        for kind, *sums in connection.execute(
            "SELECT kind, count(*), sum(units), sum(at_stake) FROM finding GROUP BY kind"
        )
    }
    found = []
    for kind in FINDING_KINDS:
        rows, units, at_stake = sums.get(kind, (0, 0, 0))
        found.append(Finding(kind=kind, rows=rows, units=units, at_stake=at_stake))
    return tuple(found)


def _skew(connection: sqlite3.Connection) -> Iterator[Skew]:
    """Of all matched rows, then of each day; 8 octets of memory a row."""
    matched = "FROM charged WHERE ours IS NOT NULL"
    every = array(
        "q", (each for (each,) in connection.execute(f"SELECT time_us - our_time_us {matched} ORDER BY 1"))
    )
    if not every:
        return
    yield _skew_of("", every)
    rows = connection.execute(
        f"""SELECT (our_time_us + {AHEAD_OF_UTC_US}) / {DAY_US}, time_us - our_time_us {matched}
        ORDER BY 1, 2"""
    )
    for day, group in groupby(rows, itemgetter(0)):
        day_us = day * DAY_US - AHEAD_OF_UTC_US
        yield _skew_of(day_of(day_us).isoformat(), array("q", (difference for _, difference in group)))


def _skew_of(day: str, ordered: Sequence[int]) -> Skew:
    def rank(percent: int) -> int:
        return ordered[-(-percent * len(ordered) // 100) - 1]

    return Skew(
        day=day,
        rows=len(ordered),
        minimum_us=ordered[0],
        p5_us=rank(5),
        median_us=rank(50),
        p95_us=rank(95),
        maximum_us=ordered[-1],
    )
