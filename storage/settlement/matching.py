"""Matches the rows of a bill with what a carrier took by the ledger; what is left or differs is a finding.

The rules are those of `reconcile`, and all of it happens in its temporary database. Money is in 0.0001 yuan,
time in microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal, get_args

from msgspec import Struct

from protocol.cmpp_msg_id import msg_id_of
from protocol.smpp.receipt import canonical_id, id_candidates
from storage.database import transaction
from storage.ledger.schema import table
from storage.settlement.bill_layout import Layout
from storage.settlement.calendar import Period
from storage.settlement.comparison import attached
from storage.settlement.counts import Cut
from storage.settlement.pairing import Point, nearest_pairs
from storage.settlement.terms import Unit

FindingKind = Literal[
    "missing_there",  # ours, and no row of the bill
    "missing_here",  # a row within the months, and nothing of ours
    "status_differs",
    "parts_differ",
    "billed_twice",  # a second row for what another row stands for
    "amount_differs",  # from parts times price
    "other_months",  # a row outside the months: nothing of ours that it could be, or its time is far off
]
FINDING_KINDS: Final[tuple[FindingKind, ...]] = get_args(FindingKind)

How = Literal["id", "notation", "number"]

# A part that was sent before the months may be billed in them, and the reverse: by clocks that differ, and
# where bills go by delivery, by the three days that a report may take. What is matched there is no finding.
MARGIN_US: Final = 3 * 86_400_000_000


class Task(Struct, frozen=True, kw_only=True):
    """What is compared, and by which rules.

    carrier: as it was asked for; accounts: what that comes to. unit: by "message" a text that the gateway
    cut counts once. delivered_only: what is not delivered costs nothing. cut: what of the ledger counts.
    """

    carrier: str
    accounts: tuple[str, ...]
    period: Period
    cut: Cut
    tolerance_us: int
    price_mt: int
    price_mo: int
    unit: Unit = "part"
    delivered_only: bool = False


# What a bill goes by of a part whose end is known.
_KNOWN_END: Final = "part.ended != 0 AND part.ended <= :last AND part.ended_us < :before"
_TAKEN: Final = "status = 0 AND answered != 0 AND answered <= :last AND answered_us < :before"
_OF_CARRIER: Final = "IN (SELECT name FROM account)"

# As statements judge (docs/statement-format.md), by what this carrier and the gateway said.
_STATE: Final = f"""CASE
    WHEN outcome.id IS NULL OR (outcome.kind != 'outcome' AND owner.carrier NOT {_OF_CARRIER}) THEN 'unknown'
    ELSE outcome.standing END"""

_FREE_OURS: Final = "NOT EXISTS (SELECT 1 FROM matched WHERE matched.ours = ours.id)"
_FREE_ROW: Final = """NOT EXISTS (SELECT 1 FROM matched WHERE matched.place = billed.place)
    AND NOT EXISTS (SELECT 1 FROM twice WHERE twice.place = billed.place)"""

# A row of the bill with what it stands for.  units: without a number of parts those of our part, or one.
_CHARGED: Final = """CREATE VIEW charged AS SELECT billed.place, billed.direction, billed.carrier_id,
        billed.number_hash, billed.time_us, billed.state, billed.units AS units_said, billed.amount,
        ours.id AS ours, ours.time_us AS our_time_us, ours.state AS our_state, ours.units AS our_units,
        CASE WHEN billed.units THEN billed.units ELSE coalesce(ours.units, 1) END AS units
    FROM billed LEFT JOIN matched USING (place) LEFT JOIN ours ON ours.id = matched.ours"""
_PRICE: Final = "(CASE direction WHEN 'mo' THEN :price_mo ELSE :price_mt END)"


def _price(*states: str) -> str:
    """Of a unit that is in one of these states, by the contract."""
    return (
        f"(CASE WHEN :delivered_only AND 'delivered' NOT IN ({', '.join(states)}) THEN 0 ELSE {_PRICE} END)"
    )


OUR_COST: Final = f"units * {_price('state')}"
_SAID_STATE: Final = "coalesce(nullif(state, ''), our_state, 'delivered')"
_EXPECTED: Final = f"units * {_price(_SAID_STATE)}"
CHARGE: Final = f"(CASE WHEN amount >= 0 THEN amount ELSE {_EXPECTED} END)"


class Matching:
    """One comparison, once `billed` is filled: `load_ours`, then `match`."""

    def __init__(self, connection: sqlite3.Connection, task: Task, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        self._tolerance_us = task.tolerance_us
        self._accounts = task.accounts
        start_us, end_us = task.period.start_us, task.period.end_us
        self._values = {
            "last": task.cut.last,
            "before": task.cut.before_us,
            "start": start_us,
            "end": end_us,
            "from": start_us - MARGIN_US,
            "until": end_us + MARGIN_US,
            "by_done": layout.time_is == "done",
            **prices(task),
        }

    def load_ours(self, ledger: Path) -> None:
        """In one transaction, so that all of it is of one moment. Raises DatabaseError."""
        with attached(self._connection, ledger), transaction(self._connection):
            self._load_ours()

    def match(self) -> None:
        with transaction(self._connection):
            self._match_ids()
            self._match_notations()
            self._find_twice()
            self._match_numbers()
            self._conclude()

    def _execute(self, statement: str) -> sqlite3.Cursor:
        return self._connection.execute(statement, self._values)

    # -- ours -----------------------------------------------------------------------------------------------

    def _load_ours(self) -> None:
        self._connection.executemany("INSERT INTO account VALUES (?)", ((name,) for name in self._accounts))
        self._execute("INSERT INTO ending SELECT id, stat, err FROM ledger.outcome")
        months = [name for (name,) in self._execute("SELECT name FROM ledger.month ORDER BY first_index")]
        for month in months:
            self._execute(
                f"""INSERT OR REPLACE INTO replaced SELECT number, units
                FROM ledger.{table("replacement", month)}
                WHERE idx <= :last AND time_us < :before ORDER BY idx"""
            )
        # Every month: what was scheduled may have been accepted any time before it was sent.
        for month in months:
            self._load_parts(month)
            if self._layout.has_replies:
                self._load_replies(month)
        for month in months:
            self._load_ids_of_receipts(month)

    def _load_parts(self, month: str) -> None:
        attempt, part = f"ledger.{table('attempt', month)}", f"ledger.{table('part', month)}"
        (loaded,) = self._execute("SELECT coalesce(max(id), 0) FROM ours").fetchone()
        self._execute(
            f"""INSERT INTO ours SELECT NULL, 'mt', part.number, owner.account, part.number_hash, first_us,
                CASE WHEN :by_done AND outcome.kind = 'receipt' THEN part.ended_us ELSE first_us END,
                CASE WHEN :by_message THEN part.first = part.number
                    WHEN part.replaced THEN coalesce(
                    (SELECT units FROM replaced WHERE number = part.number), part.units)
                    ELSE part.units END,
                {_STATE}, coalesce(outcome.id, 0), taken_us IS NOT NULL,
                first_us >= :start AND first_us < :end
            FROM (
                SELECT number, min(answered_us) FILTER (WHERE {_TAKEN}) AS taken_us,
                    coalesce(min(answered_us) FILTER (WHERE {_TAKEN}), max(dispatched_us)) AS first_us
                FROM {attempt}
                WHERE carrier {_OF_CARRIER} AND withdrawn = 0 AND dispatched <= :last
                GROUP BY number HAVING first_us >= :from AND first_us < :until
            ) AS tried
            CROSS JOIN {part} AS part USING (number)
            CROSS JOIN ledger.owner AS owner ON owner.id = part.owner
            LEFT JOIN ledger.outcome AS outcome ON outcome.id = part.outcome AND {_KNOWN_END}
            WHERE taken_us IS NOT NULL OR (outcome.kind = 'receipt' AND owner.carrier {_OF_CARRIER})
            ORDER BY part.number"""
        )
        self._connection.execute(
            f"""INSERT OR IGNORE INTO our_id SELECT attempt.carrier_id, ours.number_hash, ours.id
            FROM ours CROSS JOIN {attempt} AS attempt USING (number)
            WHERE ours.id > :loaded AND ours.direction = 'mt' AND attempt.carrier {_OF_CARRIER}
                AND {_TAKEN} AND withdrawn = 0 AND attempt.carrier_id != x''""",
            {**self._values, "loaded": loaded},
        )

    def _load_replies(self, month: str) -> None:
        """But for those that came again."""
        self._execute(
            f"""INSERT INTO ours SELECT NULL, 'mo', idx, account, number_hash, time_us, time_us, 1,
                'delivered', 0, 1, time_us >= :start AND time_us < :end
            FROM ledger.{table("reply", month)}
            WHERE carrier {_OF_CARRIER} AND idx <= :last AND time_us >= :from AND time_us < :until
                AND NOT (repeats = 1 AND assembled != 0 AND assembled <= :last)
            ORDER BY idx"""
        )

    def _load_ids_of_receipts(self, month: str) -> None:
        """Of parts that no answer named an id for: of a part sent last month the receipt may be in this."""
        self._execute(
            f"""INSERT OR IGNORE INTO our_id SELECT receipt.carrier_id, ours.number_hash, ours.id
            FROM ours CROSS JOIN ledger.{table("receipt", month)} AS receipt ON receipt.number = ours.number
            WHERE ours.direction = 'mt' AND ours.taken = 0 AND receipt.carrier {_OF_CARRIER}
                AND receipt.idx <= :last AND receipt.carrier_id != x''"""
        )

    # -- matching -------------------------------------------------------------------------------------------

    def _match_ids(self) -> None:
        execute = self._connection.execute
        execute("CREATE INDEX billed_by_id ON billed (carrier_id, number_hash) WHERE carrier_id != x''")
        ours = f"""SELECT carrier_id, {{}}, ours.time_us, 0, ours.id
            FROM our_id CROSS JOIN ours ON ours.id = our_id.ours WHERE {_FREE_OURS}"""
        theirs = f"""SELECT carrier_id, number_hash, time_us, 1, place
            FROM billed
            WHERE direction = 'mt' AND carrier_id != x'' AND number_hash {{}} x'' AND {_FREE_ROW}"""
        self._match("id", ours.format("our_id.number_hash"), theirs.format("!="))
        self._match("id", ours.format("x''"), theirs.format("="))

    def _match_notations(self) -> None:
        """The other notations of the ids of what is left; a row without a number has none (10 may be ten or
        sixteen)."""
        theirs = self._connection.execute(
            f"""SELECT carrier_id, number_hash, place FROM billed
            WHERE direction = 'mt' AND carrier_id != x'' AND number_hash != x'' AND {_FREE_ROW}"""
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO their_notation VALUES (?, ?, ?)",
            (
                (canonical_id(candidate), number_hash, place)
                for carrier_id, number_hash, place in theirs
                for candidate in _notations(carrier_id)
            ),
        )
        self._connection.execute("CREATE INDEX their_notation_by_place ON their_notation (place)")
        ours = self._connection.execute(
            "SELECT carrier_id, number_hash, ours FROM our_id WHERE EXISTS (SELECT 1 FROM their_notation)"
        )
        self._connection.executemany(
            """INSERT OR IGNORE INTO our_notation SELECT ?1, ?2, ?3 WHERE EXISTS (
                SELECT 1 FROM their_notation WHERE notation = ?1 AND number_hash = ?2)""",
            (
                (canonical_id(_text_of(carrier_id)), number_hash, each)
                for carrier_id, number_hash, each in ours
            ),
        )
        self._match(
            "notation",
            f"""SELECT notation, our_notation.number_hash, ours.time_us, 0, ours.id
            FROM our_notation CROSS JOIN ours ON ours.id = our_notation.ours WHERE {_FREE_OURS}""",
            """SELECT notation, billed.number_hash, billed.time_us, 1, billed.place
            FROM their_notation CROSS JOIN billed USING (place)""",
        )

    def _find_twice(self) -> None:
        """Before numbers are compared: a second row of an id must not be taken for another message."""
        self._connection.execute(
            f"""INSERT INTO twice SELECT place FROM billed
            WHERE direction = 'mt' AND carrier_id != x'' AND {_FREE_ROW} AND (
                EXISTS (
                    SELECT 1 FROM billed AS other
                    WHERE other.carrier_id = billed.carrier_id AND other.carrier_id != x''
                        AND other.number_hash = billed.number_hash AND other.direction = 'mt'
                        AND (other.place < billed.place
                            OR EXISTS (SELECT 1 FROM matched WHERE matched.place = other.place))
                        AND other.place != billed.place
                ) OR EXISTS (
                    SELECT 1 FROM our_id CROSS JOIN matched ON matched.ours = our_id.ours
                    WHERE our_id.carrier_id = billed.carrier_id
                        AND billed.number_hash IN (x'', our_id.number_hash)
                ) OR EXISTS (
                    SELECT 1 FROM our_notation CROSS JOIN matched ON matched.ours = our_notation.ours
                    WHERE our_notation.number_hash = billed.number_hash AND our_notation.notation IN (
                        SELECT notation FROM their_notation WHERE their_notation.place = billed.place)
                )
            )"""
        )

    def _match_numbers(self) -> None:
        self._match(
            "number",
            f"SELECT direction, number_hash, time_us, 0, id FROM ours WHERE {_FREE_OURS}",
            f"""SELECT direction, number_hash, time_us, 1, place FROM billed
            WHERE number_hash != x'' AND {_FREE_ROW}""",
            self._tolerance_us,
        )

    def _match(self, how: How, ours: str, theirs: str, within_us: int | None = None) -> None:
        """ours, theirs: queries for two keys, which have to agree, and a Point."""
        rows = self._connection.execute(f"{ours} UNION ALL {theirs} ORDER BY 1, 2, 3, 4, 5")
        self._connection.executemany("INSERT INTO paired VALUES (?, ?)", self._pairs(rows, within_us))
        self._connection.execute(
            "INSERT INTO matched SELECT place, ours, ? FROM paired ORDER BY place", (how,)
        )
        self._connection.execute("DELETE FROM paired")

    def _pairs(self, rows: Iterable[tuple[Any, ...]], within_us: int | None) -> Iterator[tuple[int, int]]:
        # A part with several ids, and a row with several notations, is in several groups.
        paired = [bytearray(self._largest("ours", "id") + 1), bytearray(self._largest("billed", "place") + 1)]
        for _, group in groupby(rows, itemgetter(0, 1)):
            points = [Point._make(row[2:]) for row in group]
            if len(points) == 1:
                continue
            free = [point for point in points if not paired[point.side][point.identity]]
            for ours, place in nearest_pairs(free, within_us):
                paired[0][ours] = paired[1][place] = True
                yield ours, place

    def _largest(self, name: str, column: str) -> int:
        (largest,) = self._connection.execute(f"SELECT coalesce(max({column}), 0) FROM {name}").fetchone()
        return int(largest)

    # -- findings -------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        self._connection.execute(_CHARGED)
        self._find("missing_there", f"id, 0, units, {OUR_COST}", f"ours WHERE inside = 1 AND {_FREE_OURS}")
        unmatched = "charged WHERE ours IS NULL AND"
        again = "EXISTS (SELECT 1 FROM twice WHERE twice.place = charged.place)"
        inside = "(time_us >= :start AND time_us < :end)"
        theirs = f"place, units, {CHARGE}"
        # What the other row of the same id was matched with.
        other = """coalesce((
            SELECT matched.ours FROM billed AS other CROSS JOIN matched USING (place)
            WHERE other.carrier_id = charged.carrier_id AND other.carrier_id != x''
                AND other.number_hash = charged.number_hash
            ORDER BY other.place LIMIT 1), 0)"""
        self._find("missing_here", f"0, {theirs}", f"{unmatched} NOT {again} AND {inside}")
        self._find("billed_twice", f"{other}, {theirs}", f"{unmatched} {again}")
        self._find("other_months", f"0, {theirs}", f"{unmatched} NOT {again} AND NOT {inside}")
        self._find(
            "other_months",
            f"ours, {theirs}",
            "charged WHERE ours IS NOT NULL AND NOT (time_us >= :from AND time_us < :until)",
        )
        self._find(
            "status_differs",
            f"ours, place, units, units * {_price('state', 'our_state')}",
            "charged WHERE ours IS NOT NULL AND state NOT IN ('', our_state)",
        )
        self._find(
            "parts_differ",
            f"ours, place, abs(units_said - our_units), abs(units_said - our_units) * {_price('our_state')}",
            "charged WHERE ours IS NOT NULL AND units_said NOT IN (0, our_units)",
        )
        self._find(
            "amount_differs",
            f"ours, place, units, abs(amount - {_EXPECTED})",
            f"charged WHERE ours IS NOT NULL AND amount NOT IN (-1, {_EXPECTED})",
        )
        # What the dispute file asks for.
        self._connection.execute("CREATE INDEX finding_by_kind ON finding (kind)")
        self._connection.execute("CREATE INDEX our_id_by_ours ON our_id (ours)")

    def _find(self, kind: FindingKind, columns: str, source: str) -> None:
        self._execute(f"INSERT INTO finding SELECT '{kind}', {columns} FROM {source}")


def _notations(billed_id: bytes) -> tuple[bytes, ...]:
    """What an id of a bill may stand for: as ids of receipts, and one that may be CMPP's in print."""
    cmpp = msg_id_of(billed_id)
    printed = () if cmpp is None else id_candidates(b"%016x" % cmpp)
    return (*id_candidates(billed_id), *printed)


def _text_of(carrier_id: bytes) -> bytes:
    """An id as a bill can have it: one that is no text, as of CMPP and SMGP, in hexadecimal."""
    return (
        carrier_id
        if carrier_id.isascii() and carrier_id.decode().isprintable()
        else carrier_id.hex().encode()
    )


def prices(task: Task) -> dict[str, int]:
    """What the contract says of money, as values of queries."""
    return {
        "by_message": task.unit == "message",
        "price_mt": task.price_mt,
        "price_mo": task.price_mo,
        "delivered_only": task.delivered_only,
    }
