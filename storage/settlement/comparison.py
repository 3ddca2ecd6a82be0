"""The temporary database in which a bill and the ledger are compared.

It has what the ledger says the carrier took (`ours`), the rows of the bill (`billed`, which `load_bill`
makes), which of them were matched, and what was found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from storage.database import Kind, one_line
from storage.ledger.ledger import read_ledger

_CACHE_KIB: Final = 262_144

_KIND: Final = Kind(
    "comparison",
    0x4A58434D,  # "JXCM"
    1,
    (
        "CREATE TABLE account (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
        # number: of the part, or the index of the reply's record.  time_us: what bills say, sent or done.
        # taken: its carrier answered.  inside: sent within the months.
        """CREATE TABLE ours (
            id INTEGER PRIMARY KEY,
            direction TEXT NOT NULL,
            number INTEGER NOT NULL,
            account TEXT NOT NULL,
            number_hash BLOB NOT NULL,
            sent_us INTEGER NOT NULL,
            time_us INTEGER NOT NULL,
            units INTEGER NOT NULL,
            state TEXT NOT NULL,
            outcome INTEGER NOT NULL,
            taken INTEGER NOT NULL,
            inside INTEGER NOT NULL
        ) STRICT""",
        # The ids of all attempts; `notation`: as canonical_id has them.
        """CREATE TABLE our_id (
            carrier_id BLOB NOT NULL,
            number_hash BLOB NOT NULL,
            ours INTEGER NOT NULL,
            PRIMARY KEY (carrier_id, number_hash, ours)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE our_notation (
            notation BLOB NOT NULL,
            number_hash BLOB NOT NULL,
            ours INTEGER NOT NULL,
            PRIMARY KEY (notation, number_hash, ours)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE their_notation (
            notation BLOB NOT NULL,
            number_hash BLOB NOT NULL,
            place INTEGER NOT NULL,
            PRIMARY KEY (notation, number_hash, place)
        ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE paired (ours INTEGER NOT NULL, place INTEGER NOT NULL) STRICT",
        """CREATE TABLE matched (
            place INTEGER PRIMARY KEY,
            ours INTEGER NOT NULL UNIQUE,
            how TEXT NOT NULL
        ) STRICT""",
        "CREATE TABLE twice (place INTEGER PRIMARY KEY) STRICT",
        # ours, place: 0 where that side has nothing
        """CREATE TABLE finding (
            kind TEXT NOT NULL,
            ours INTEGER NOT NULL,
            place INTEGER NOT NULL,
            units INTEGER NOT NULL,
            at_stake INTEGER NOT NULL
        ) STRICT""",
        "CREATE TABLE replaced (number INTEGER PRIMARY KEY, units INTEGER NOT NULL) STRICT",
        "CREATE TABLE ending (id INTEGER PRIMARY KEY, stat BLOB NOT NULL, err BLOB NOT NULL) STRICT",
    ),
    "run the command again",
)


@contextmanager
def comparison() -> Iterator[sqlite3.Connection]:
    """A database that is gone afterwards. Raises DatabaseError, also of what is done within.

    It stands where temporary files do (TMPDIR): a million rows of a bill take some 500 MB.
    """
    with TemporaryDirectory(prefix="jingxin-reconcile-") as directory:
        path = Path(directory) / "comparison.db"
        with one_line(path, _KIND), closing(_new_database(path)) as connection:
            yield connection


def _new_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path.as_uri(), uri=True, isolation_level=None)
    for pragma in ("journal_mode = MEMORY", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")
    for statement in _KIND.schema:
        connection.execute(statement)
    return connection


@contextmanager
def attached(connection: sqlite3.Connection, ledger: Path) -> Iterator[None]:
    """With the tables of the ledger as `ledger.NAME`, for reading. Raises DatabaseError."""
    read_ledger(ledger).close()  # it is one of ours, of this version
    connection.execute("ATTACH DATABASE ? AS ledger", (f"{ledger.absolute().as_uri()}?mode=ro",))
    try:
        yield
    finally:
        connection.execute("DETACH DATABASE ledger")
