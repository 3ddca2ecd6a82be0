"""What is known of single numbers: who serves a ported one (携号转网), who has opted out of what (退订).

One SQLite file, `numbers.db` in the state directory. A number stands in it as its keyed hash only, so without
the master key it names nobody. It is a projection: what the gateway has learned stands in the evidence, and
`applied_index` says up to which record of it the file goes. The index is written in the same transaction as
the facts, so after a crash the caller goes on behind it, and a file that is gone is made again from the first
record. Only imports stand nowhere else.

Every change is one transaction, durable when the call returns: WAL and synchronous=FULL. WAL also lets the
gateway's thread and a command have the file open at once; one of them writes, the other waits BUSY_S.
Nothing here may be called from the event loop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import msgspec

from storage.database import DatabaseError, Kind, one_line, open_database, transaction
from storage.keys import NUMBER_HASH_OCTETS

REGISTER_NAME: Final = "numbers.db"

# By number hash and without a rowid: the hash is the only key that is ever asked for.
_SCHEMA: Final = (
    """CREATE TABLE ported (
        number_hash BLOB PRIMARY KEY,
        network TEXT NOT NULL,
        source TEXT NOT NULL,
        learned_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE opted_out (
        number_hash BLOB,
        account TEXT,
        since_us INTEGER NOT NULL,
        record INTEGER NOT NULL,
        PRIMARY KEY (number_hash, account)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE progress (row INTEGER PRIMARY KEY CHECK (row = 1), applied_index INTEGER NOT NULL) STRICT",
    "INSERT INTO progress VALUES (1, 0)",
)
_KIND: Final = Kind(
    "register",
    0x4A584E52,  # "JXNR"; file(1) shows it, and no other program's file has it
    1,
    _SCHEMA,
    "move it away: what was learned is made again from the evidence, imports must be repeated",
)

_UPDATE: Final = (
    "INSERT INTO ported VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET network = excluded.network,"
    " source = excluded.source, learned_us = excluded.learned_us, expires_us = excluded.expires_us"
)
# When the file is made again from the evidence, old facts come after a newer import.
_UPDATE_BY_NEWER: Final = f"{_UPDATE} WHERE excluded.learned_us >= learned_us"
_OPT_OUT: Final = "INSERT INTO opted_out VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_OPT_IN: Final = "DELETE FROM opted_out WHERE number_hash = ? AND account = ? AND record < ?"
_DROP_EXPIRED: Final = "DELETE FROM ported WHERE expires_us > 0 AND expires_us <= ?"
_PORTED: Final = "SELECT number_hash, network, source, learned_us, expires_us FROM ported"
_OPTED_OUT: Final = "SELECT number_hash, account, since_us, record FROM opted_out"


class PortedNumber(msgspec.Struct, frozen=True, gc=False):
    """`network` serves the number, whatever its prefix says. expires_us: from then on it says nothing more;
    0: never. source: for people, such as "import 2026-11.csv" or "delivered by cucc"."""

    number_hash: bytes
    network: str
    source: str
    learned_us: int
    expires_us: int


class OptedOut(msgspec.Struct, frozen=True, gc=False):
    """The subscriber wants no messages of the account. record: index of the reply that says so."""

    number_hash: bytes
    account: str
    since_us: int
    record: int


class OptedIn(msgspec.Struct, frozen=True, gc=False):
    """The subscriber wants them again: takes back an OptedOut with an earlier record."""

    number_hash: bytes
    account: str
    record: int


class Contents(msgspec.Struct, frozen=True):
    """All of a register. The iterators read the file as they go, and raise DatabaseError."""

    applied_index: int
    ported: Iterator[PortedNumber]
    opted_out: Iterator[OptedOut]


class Register:
    """An open register, for one thread at a time; made by `open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the file, and makes it (mode 0600) where there is none. All of it is checked: half a second
        for a million numbers.

        Raises DatabaseError: damaged, of another program or version, or not to be read and written by this
        user. Such a file is left as it is.
        """
        connection = open_database(path, _KIND, synchronous="FULL")
        try:
            with one_line(path, _KIND):
                if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise DatabaseError(f"{path}: damaged: {_KIND.remedy}")
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        with one_line(self._path, _KIND):
            self._connection.close()

    # -- read -----------------------------------------------------------------------------------------------

    def load(self) -> Contents:
        """Everything, expired facts too.

        The index is read before the facts: another process may write in between, and then there are facts
        from beyond the index, which are applied once more. The reverse would lose them.
        """
        with one_line(self._path, _KIND):
            applied_index: int = self._connection.execute("SELECT applied_index FROM progress").fetchone()[0]
        return Contents(applied_index, self._ported(), self._opted_out())

    def _ported(self) -> Iterator[PortedNumber]:
        with one_line(self._path, _KIND):
            for row in self._connection.execute(_PORTED):
                yield PortedNumber(*row)

    def _opted_out(self) -> Iterator[OptedOut]:
        with one_line(self._path, _KIND):
            for row in self._connection.execute(_OPTED_OUT):
                yield OptedOut(*row)

    def ported(self, number_hash: bytes) -> PortedNumber | None:
        """What is known of one number, expired or not."""
        with one_line(self._path, _KIND):
            row = self._connection.execute(f"{_PORTED} WHERE number_hash = ?", (number_hash,)).fetchone()
        return None if row is None else PortedNumber(*row)

    # -- change ---------------------------------------------------------------------------------------------

    def apply(self, facts: Iterable[PortedNumber | OptedOut | OptedIn], applied_index: int) -> None:
        """Takes facts of durable records, in the order of the evidence; `applied_index`: up to this record no
        fact is missing now. All or nothing, and to repeat it changes nothing.

        Of two facts about who serves a number the one learned later stays; of two opt-outs the earlier.
        """
        with self._transaction() as connection:
            for fact in facts:
                assert len(fact.number_hash) == NUMBER_HASH_OCTETS
                match fact:
                    case PortedNumber():
                        connection.execute(_UPDATE_BY_NEWER, msgspec.structs.astuple(fact))
                    case OptedOut():
                        connection.execute(_OPT_OUT, msgspec.structs.astuple(fact))
                    case OptedIn():
                        connection.execute(_OPT_IN, msgspec.structs.astuple(fact))
            connection.execute("UPDATE progress SET applied_index = max(applied_index, ?)", (applied_index,))

    def import_ported(
        self, rows: Iterable[tuple[bytes, str, int]], source: str, learned_us: int, entries_max: int
    ) -> int:
        """Takes (number hash, network, expires_us) from a list that a person vouches for at `learned_us`:
        they replace whatever is known of these numbers. Returns how many were not known before.

        Drops what has expired by then. Raises DatabaseError when there would be more than `entries_max`.
        """
        # In the order of the key, so that the pages of the table are filled one after the other: a quarter
        # less time for half a million numbers.
        ordered = sorted(rows)
        assert all(len(number_hash) == NUMBER_HASH_OCTETS for number_hash, _, _ in ordered)
        with self._transaction() as connection:
            connection.execute(_DROP_EXPIRED, (learned_us,))
            before = self._count()
            connection.executemany(
                _UPDATE,
                (
                    (number_hash, network, source, learned_us, expires_us)
                    for number_hash, network, expires_us in ordered
                ),
            )
            after = self._count()
            if after > entries_max:
                raise DatabaseError(
                    f"{self._path}: would hold {after:,} ported numbers, allowed are {entries_max:,}:"
                    " import fewer; nothing was changed"
                )
        return after - before

    def forget(self, number_hash: bytes) -> bool:
        """Drops what is known of who serves a number; False if nothing was."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM ported WHERE number_hash = ?", (number_hash,)).rowcount > 0

    def drop_expired(self, now_us: int) -> int:
        """Returns how many ported numbers were dropped. It reads the whole table: once a day is enough."""
        with self._transaction() as connection:
            return connection.execute(_DROP_EXPIRED, (now_us,)).rowcount

    def _count(self) -> int:
        count: int = self._connection.execute("SELECT count(*) FROM ported").fetchone()[0]
        return count

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with one_line(self._path, _KIND), transaction(self._connection):
            yield self._connection
