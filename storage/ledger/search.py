"""Looking for messages in the ledger: by subscriber, account, carrier, time and state."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, Literal, get_args

import msgspec

from storage.ledger.schema import table

State = Literal["delivered", "failed", "unknown", "uncertain", "waiting", "cancelled"]
STATES: Final = get_args(State)

# What became of a part, as statements have it (docs/statement-format.md), by all that is known today.
_STATE: Final = """CASE
    WHEN outcome.kind = 'refused' THEN 'failed'
    WHEN outcome.state = 2 THEN 'delivered'
    WHEN outcome.state = 7 THEN 'unknown'
    WHEN outcome.kind = 'outcome' AND outcome.state = 4 AND outcome.source = 'application' THEN 'cancelled'
    WHEN outcome.id IS NOT NULL THEN 'failed'
    WHEN part.sent != 0 THEN 'unknown'
    WHEN EXISTS (
        SELECT 1 FROM {attempt} AS attempt
        WHERE attempt.number = part.number AND withdrawn = 0 AND answered = 0
    ) THEN 'uncertain'
    ELSE 'waiting' END"""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; all that is given must agree. Times: accepted from since_us to before until_us."""

    number_hash: bytes = b""
    account: str = ""
    carrier: str = ""
    state: State | None = None
    since_us: int = 0
    until_us: int = 0  # 0: no end


class Found(msgspec.Struct, frozen=True):
    """A part. number: index of its acceptance, from which its message id follows; stat, err: of the receipt
    that ended it; status: of the refusal that did."""

    number: int
    message: int
    accepted_us: int
    account: str
    category: str
    carrier: str
    network: str
    number_hash: bytes
    units: int
    attempts: int
    sent_us: int
    ended_us: int
    state: str
    stat: bytes
    err: bytes
    status: int
    reason: str


def search(connection: sqlite3.Connection, wanted: Wanted, limit: int) -> Iterator[Found]:
    """The newest first, at most `limit`.

    By subscriber a month takes a fraction of a millisecond; by anything else its rows are looked at one by
    one, some 2 million a second.
    """
    months = connection.execute(
        "SELECT name, oldest_us, newest_us FROM month ORDER BY first_index DESC"
    ).fetchall()
    for name, oldest_us, newest_us in months:
        if limit <= 0:
            return
        if newest_us < wanted.since_us or (wanted.until_us and oldest_us >= wanted.until_us):
            continue
        for found in _in_month(connection, wanted, name, limit):
            limit -= 1
            yield found


def _in_month(connection: sqlite3.Connection, wanted: Wanted, month: str, limit: int) -> Iterator[Found]:
    state = _STATE.format(attempt=table("attempt", month))
    conditions: list[str] = []
    values: list[object] = []
    for condition, value in (
        ("part.number_hash = ?", wanted.number_hash),
        ("owner.account = ?", wanted.account),
        ("owner.carrier = ?", wanted.carrier),
        ("part.accepted_us >= ?", wanted.since_us),
        ("part.accepted_us < ?", wanted.until_us),
        (f"{state} = ?", wanted.state),
    ):
        if value:
            conditions.append(condition)
            values.append(value)
    rows = connection.execute(
        f"""SELECT part.number, part.message, part.accepted_us, owner.account, owner.category, owner.carrier,
            owner.network, part.number_hash, part.units, part.attempts, part.sent_us, part.ended_us, {state},
            coalesce(outcome.stat, x''), coalesce(outcome.err, x''), coalesce(outcome.status, 0),
            coalesce(outcome.reason, '')
        FROM {table("part", month)} AS part
            JOIN owner ON owner.id = part.owner LEFT JOIN outcome ON outcome.id = part.outcome
        WHERE {" AND ".join(conditions) or "1"} ORDER BY part.number DESC LIMIT ?""",
        (*values, limit),
    ).fetchall()
    for row in rows:
        yield Found(*row)
