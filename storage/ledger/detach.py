"""The oldest month of a ledger, moved into a file of its own.

Such a file is a ledger as well, with the tables of one month and what these refer to, so whatever reads a
ledger reads it. In the ledger the month then is as one whose evidence was archived before the ledger was
made: what still comes for a part of it is of an unknown part, and `month` does not name it. A table
`detached`, which is made with the first such month, says that there was one.

A detached month is a matter of this file and not of the evidence: a ledger that is made again has all months
whose evidence is there, and no `detached`. What is equal after that is the dump of each of its tables and
that of the same table in the ledger or in the month's file.

    copy into DESTINATION.part → sync → rename → sync → compare all rows → in one transaction: drop the
    tables, and say so

A crash before the last step leaves the ledger as it was, and perhaps the file, which a repetition compares
and takes.

Whoever counts or looks for something in a ledger has to ask `detached_months` and `begins_with` first: in the
other tables there is no trace of what these months held.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from storage.database import DatabaseError, one_line, open_database, open_to_read, transaction
from storage.durable import DISK
from storage.ledger.ledger import dump_table, lock_ledger
from storage.ledger.schema import KIND, MONTHLY_NAMES, month_statements, table

# Tables that have no month, and whose rows parts refer to by a column of the same name.
_NAMED_BY_PARTS: Final = ("owner", "outcome")

_DETACHED: Final = """CREATE TABLE IF NOT EXISTS detached (
    name TEXT PRIMARY KEY,
    first_index INTEGER NOT NULL,
    oldest_us INTEGER NOT NULL,
    newest_us INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID"""


class DetachedMonth(NamedTuple):
    """The columns of `detached`. first_index: its tables hold from there on; oldest_us, newest_us: of the
    parts' acceptances in it; rows, sha256: of the dump of its tables, and of the owners and outcomes of its
    parts."""

    name: str
    first_index: int
    oldest_us: int
    newest_us: int
    rows: int
    sha256: str


def detach_month(path: Path, month: str, destination: Path) -> DetachedMonth:
    """Move the oldest month ("2026-12") of a ledger into a file that is not there yet, or that a crash has
    left whole; nobody else may write to the ledger meanwhile.

    The room that it took is used again, and the file of the ledger stays as large as it was. Raises
    DatabaseError where it is not the oldest month, or the only one, or where the file holds another;
    LogInUse, DurabilityLost. Then the ledger is as it was.
    """
    lock = lock_ledger(path)
    try:
        with _opened(path) as connection:
            row = _oldest(path, connection, month)
            rows, digest = _digest(connection, month)
            if not destination.exists():
                _copy(path, month, destination)
            with closing(open_to_read(destination, KIND)) as copy, one_line(destination, KIND):
                if not _has_tables(copy, month) or _digest(copy, month) != (rows, digest):
                    raise DatabaseError(
                        f"{destination}: it does not hold {month} of {path}: name another file"
                    )
            detached = DetachedMonth(*row, rows, digest)
            _drop(connection, detached)
            return detached
    finally:
        os.close(lock)


def detached_months(connection: sqlite3.Connection) -> list[DetachedMonth]:
    """What was moved out of a ledger, oldest first."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'detached'").fetchone():
        return []
    rows = connection.execute("SELECT * FROM detached ORDER BY name")
    return [DetachedMonth(*row) for row in rows]


def begins_with(connection: sqlite3.Connection) -> int:
    """The index of the first record that a ledger knew, detached months included; 0 where it has none.

    Above 1 it was made of evidence whose beginning was archived, and what is counted in it may be too little.
    """
    begins: list[int] = [row[0] for row in connection.execute("SELECT first_index FROM month")]
    begins += [month.first_index for month in detached_months(connection)]
    return min(begins, default=0)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger that is there, to write to it."""
    open_to_read(path, KIND).close()  # it is none that would be made now
    connection = open_database(path, KIND, synchronous="FULL")
    try:
        with one_line(path, KIND):
            yield connection
    finally:
        connection.close()


def _oldest(path: Path, connection: sqlite3.Connection, month: str) -> tuple[str, int, int, int]:
    """The row of the month. Raises DatabaseError unless it is the oldest of several."""
    months = connection.execute(
        "SELECT name, first_index, oldest_us, newest_us FROM month ORDER BY first_index"
    ).fetchall()
    if not months or months[0][0] != month:
        there = f"the oldest is {months[0][0]}" if months else "it has none"
        raise DatabaseError(f"{path}: months are detached from the oldest on, and {there}: name that one")
    if len(months) == 1:
        raise DatabaseError(f"{path}: {month} is the only month, which goes on: nothing can be detached")
    name, first_index, oldest_us, newest_us = months[0]
    return name, first_index, oldest_us, newest_us


def _copy(path: Path, month: str, destination: Path) -> None:
    part = destination.with_name(f"{destination.name}.part")
    for suffix in ("", "-wal", "-shm"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)
    with closing(open_database(part, KIND, synchronous="FULL")) as copy, one_line(part, KIND):
        copy.execute("ATTACH ? AS ledger", (str(path),))
        with transaction(copy):
            for statement in month_statements(month):
                copy.execute(statement)
            for name in MONTHLY_NAMES:
                own = table(name, month)
                copy.execute(f"INSERT INTO main.{own} SELECT * FROM ledger.{own}")
            for name in _NAMED_BY_PARTS:
                where = _named_by_parts(name, month)
                copy.execute(f"INSERT INTO main.{name} SELECT * FROM ledger.{name} WHERE {where}")
            copy.execute("INSERT INTO main.month SELECT * FROM ledger.month WHERE name = ?", (month,))
            copy.execute(
                "UPDATE main.progress SET (applied_index, applied_us, identity) ="
                " (SELECT applied_index, applied_us, identity FROM ledger.progress)"
            )
        copy.execute("DETACH ledger")
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        DISK.sync_data(part, descriptor)
    finally:
        os.close(descriptor)
    DISK.rename(part, destination)
    DISK.sync_directory(destination.parent)


def _drop(connection: sqlite3.Connection, detached: DetachedMonth) -> None:
    # The moment of commitment: from here on the month is in its own file only.
    with transaction(connection):
        connection.execute(_DETACHED)
        for name in MONTHLY_NAMES:
            connection.execute(f"DROP TABLE {table(name, detached.name)}")
        connection.execute("DELETE FROM month WHERE name = ?", (detached.name,))
        connection.execute("INSERT OR REPLACE INTO detached VALUES (?, ?, ?, ?, ?, ?)", detached)


def _has_tables(connection: sqlite3.Connection, month: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM month WHERE name = ?", (month,)).fetchone())


def _digest(connection: sqlite3.Connection, month: str) -> tuple[int, str]:
    """Rows and SHA-256 of the dump of the month's tables, then of the owners and outcomes of its parts."""
    digest = sha256()
    rows = 0
    of_parts = [(name, _named_by_parts(name, month)) for name in _NAMED_BY_PARTS]
    for name, where in [*((table(name, month), "1") for name in MONTHLY_NAMES), *of_parts]:
        for line in dump_table(connection, name, where):
            digest.update(line)
            rows += 1
    return rows, digest.hexdigest()


def _named_by_parts(name: str, month: str) -> str:
    """The condition for the rows of a common table that parts of the month refer to."""
    return f"id IN (SELECT {name} FROM {table('part', month)})"
