"""Looking for messages in the ledger: by message, subscriber, account, carrier, time and state."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from storage.ledger.projection import Projection
from storage.ledger.schema import KIND, table
from storage.ledger.standing import Standing, open_standing
from storage.records import AnyRecord
from storage.seal import day_of

# An attempt of a part that nobody answered or withdrew, by all that is known today.
_IN_DOUBT: Final = """EXISTS (
    SELECT 1 FROM {attempt} AS attempt
    WHERE attempt.number = part.number AND withdrawn = 0 AND answered = 0)"""

# The parts of a message are accepted in one turn, at most 255 for each of 255 destinations; refusals may
# stand between them.
_MESSAGE_RECORDS_MAX: Final = 1 << 17


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; all that is given must agree. message: number of a message, or of a part of one.
    Times: accepted from since_us to before until_us."""

    message: int = 0
    number_hash: bytes = b""
    account: str = ""
    carrier: str = ""
    state: Standing | None = None
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
    in_doubt = _IN_DOUBT.format(attempt=table("attempt", month))
    state = f"coalesce(outcome.standing, {open_standing(sent='part.sent != 0', in_doubt=in_doubt)})"
    message = wanted.message
    conditions: list[str] = []
    values: list[object] = []
    for condition, *given in (
        # By the range alone it is no look at a whole month.
        ("part.number BETWEEN ? AND ?", message, message and message + _MESSAGE_RECORDS_MAX),
        ("? IN (part.number, part.message)", message),
        ("part.number_hash = ?", wanted.number_hash),
        ("owner.account = ?", wanted.account),
        ("owner.carrier = ?", wanted.carrier),
        ("part.accepted_us >= ?", wanted.since_us),
        ("part.accepted_us < ?", wanted.until_us),
        (f"{state} = ?", wanted.state),
    ):
        if all(given):
            conditions.append(condition)
            values += given
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


def ledger_of_one(records: Sequence[tuple[int, AnyRecord]]) -> sqlite3.Connection:
    """A ledger in memory with one message, by its records (storage.show): to look for a message that the
    ledger does not have yet, by the same rules. Categories and networks are empty in it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in KIND.schema:
        connection.execute(statement)
    first_index, first = records[0]
    month = day_of(first.time_us)[:7]
    projection = Projection(connection, 0)
    projection.apply(first_index, 0, month, [])
    projection.flush()  # the tables of the month, which are asked for the other parts of a dispatch
    for index, record in records:
        projection.apply(index, 0, month, [record])
    projection.flush()
    return connection
