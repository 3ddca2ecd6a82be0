"""SQLite files of ours: how one is made, opened, changed in one piece, and what is said when it cannot be.

A file belongs to one kind (its application id) and one version of its tables. WAL lets a command read while a
process writes; of two that write one waits BUSY_S.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from storage.durable import create_file_durably, make_directory
from storage.errors import DurabilityLost, EvidenceError, NoRoom

# An import of a million numbers holds the register for some 10 s, on a slow disk longer.
BUSY_S: Final = 60.0

_REMEDIES: Final = {
    sqlite3.SQLITE_BUSY: "another process is writing to it: try again",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_IOERR: "look at the disk and at the log of the system",
    sqlite3.SQLITE_CANTOPEN: "let the gateway's user read and write it",
    sqlite3.SQLITE_READONLY: "let the gateway's user read and write it",
    sqlite3.SQLITE_PERM: "let the gateway's user read and write it",
}
_DAMAGES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DatabaseError(EvidenceError):
    """A database cannot be used. One line: which file, what is wrong, what to do. Nothing was changed."""


class Kind(NamedTuple):
    """A kind of file: `name` for people, what file(1) shows of it, its version, the statements that make its
    tables, and what to do with one that is damaged or foreign."""

    name: str
    application_id: int
    version: int
    schema: Sequence[str]
    remedy: str


@contextmanager
def one_line(path: Path, kind: Kind) -> Iterator[None]:
    """SQLite's errors as DatabaseError."""
    try:
        yield
    except sqlite3.Error as failure:
        # The low octet is the kind, the rest its detail (sqlite.org/rescode.html); what the module itself
        # has found wrong, such as text that is not UTF-8, has no code.
        code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        remedy = _REMEDIES.get(code, "look at the disk and at the log of the system")
        raise DatabaseError(f"{path}: {failure}: {kind.remedy if code in _DAMAGES else remedy}") from failure


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is done within, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has ended it itself after some failures, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def open_database(path: Path, kind: Kind, *, synchronous: str) -> sqlite3.Connection:
    """Opens the file, and makes it (mode 0600) where there is none; for one thread at a time.

    Raises DatabaseError: of another program or version, or not to be read and written by this user. Such a
    file is left as it is.
    """
    assert synchronous in ("FULL", "NORMAL", "OFF")
    with one_line(path, kind):
        _make(path)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            # Whose file it is comes first: to switch it to WAL is to write to it.
            if _is_new(connection):
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            with transaction(connection):
                # Within the transaction: another process may have made the tables meanwhile.
                if _is_new(connection):
                    for statement in kind.schema:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {kind.application_id}")
                    connection.execute(f"PRAGMA user_version = {kind.version}")
            _check_identity(path, connection, kind)
        except BaseException:
            connection.close()
            raise
    return connection


def open_to_read(path: Path, kind: Kind, *, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """Opens a file that is there, to read it only; busy_s: how long it waits for a process that has it to
    itself. Raises DatabaseError, also where there is none."""
    with one_line(path, kind):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_s, isolation_level=None
        )
        try:
            _check_identity(path, connection, kind)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_identity(path: Path, connection: sqlite3.Connection, kind: Kind) -> None:
    application_id, version = _identity(connection)
    if application_id != kind.application_id:
        raise DatabaseError(f"{path}: a database of another program: {kind.remedy}")
    if version != kind.version:
        raise DatabaseError(
            f"{path}: version {version} of the {kind.name}, allowed is {kind.version}: {kind.remedy}"
        )


def _is_new(connection: sqlite3.Connection) -> bool:
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return _identity(connection) == (0, 0) and not tables


def _identity(connection: sqlite3.Connection) -> tuple[int, int]:
    application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return application_id, version


def _make(path: Path) -> None:
    """An empty file where there is none, which SQLite takes for an empty database: so mode and owner are ours
    to choose, and the files beside it (-wal, -shm) take them over."""
    try:
        make_directory(path.parent)
        with suppress(FileExistsError):
            create_file_durably(path, b"", 0o600)
            if os.geteuid() == 0:
                # A command under sudo comes before the gateway's own user has been here.
                owner = path.parent.stat()
                os.chown(path, owner.st_uid, owner.st_gid)
    except (NoRoom, DurabilityLost) as failure:
        raise DatabaseError(f"{failure}: make room, or let the gateway's user write there") from failure
