"""The ledger as a whole: opened, brought up to the evidence, made anew, dumped.

Each batch of records is one transaction, and the index it goes up to stands in it: whenever the process is
killed, the file holds all of the records up to that index, once, and none behind it. So the file is synced
only now and then (synchronous=NORMAL): what a power cut takes is made again from the evidence.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from protocol.smpp.times import SHANGHAI
from storage.database import BUSY_S, DatabaseError, one_line, open_database, open_to_read, transaction
from storage.durable import DISK
from storage.errors import CorruptEvidence, LogInUse
from storage.ledger.projection import Projection
from storage.ledger.schema import KIND
from storage.lock import lock_file
from storage.reader import LogReader
from storage.records import decode
from storage.segment import Frame

LEDGER_NAME: Final = "ledger.db"
LOCK_NAME: Final = "ledger.lock"

# Records of one transaction: a second of work or less, and some 30 MB of rows in memory.
BATCH_RECORDS: Final = 20_000

# Pages in memory, in KiB: the index of a month's numbers, 1.7 million of 30 octets, stays there.
_CACHE_KIB: Final = 131_072

# Of the file beside the database; beyond it the pages are written back.
_WAL_PAGES: Final = 16_384


class Ledger:
    """An open ledger that takes in records. One process at a time; `ledger.lock` beside it sees to it."""

    def __init__(self, path: Path, evidence: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._reader = LogReader(evidence)
        self.applied_index, self._applied_us, self._identity = progress_of(connection)
        self._projection = Projection(connection, self._applied_us)

    @classmethod
    def open(cls, path: Path, evidence: Path, *, synchronous: str = "NORMAL") -> Self:
        """Raises DatabaseError, LogInUse, and CorruptEvidence where the evidence is another than the ledger's
        or shorter."""
        lock = lock_ledger(path)
        try:
            connection = open_database(path, KIND, synchronous=synchronous)
        except BaseException:
            os.close(lock)
            raise
        try:
            with one_line(path, KIND):
                connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
                ledger = cls(path, evidence, connection, lock)
        except BaseException:
            connection.close()
            os.close(lock)
            raise
        try:
            ledger._check_evidence()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        self._reader.close()
        self._connection.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def behind(self) -> int:
        """Durable records that are not in the ledger yet."""
        return self._reader.next_index - 1 - self.applied_index

    def step(self, stop_index: int | None = None) -> bool:
        """Take in what is durable, BATCH_RECORDS or a little more at most; whether there was anything.

        Only whole batches of the log are taken. stop_index: exclusive, for all that the log goes on.
        Raises CorruptEvidence, DatabaseError.
        """
        stop = self._reader.next_index if stop_index is None else stop_index
        begin = max(self.applied_index + 1, self._reader.first_index)
        if begin >= stop:
            return False
        if self.applied_index and begin > self.applied_index + 1:
            raise DatabaseError(
                f"{self.path}: it has {self.applied_index} records, and the evidence begins with {begin}:"
                " restore the archived segments between them"
            )
        applied = self.applied_index
        for frame in self._reader.frames(begin, stop):
            applied = self._take(frame, begin, stop)
            if applied - begin >= BATCH_RECORDS:
                break
        try:
            with one_line(self.path, KIND), transaction(self._connection):
                self._projection.flush()
                self._connection.execute(
                    "UPDATE progress SET applied_index = ?, applied_us = ?, identity = ?",
                    (applied, self._applied_us, self._identity or self._reader.identity),
                )
        except OverflowError as failure:
            # SQLite counts to 2**63; no gateway of ours writes such a number.
            raise CorruptEvidence(
                self._reader.directory, 0, f"records {begin} to {applied}: {failure}"
            ) from failure
        self._identity = self._identity or self._reader.identity
        self.applied_index = applied
        return True

    def settle(self) -> None:
        """Everything into the one file, and that on disk."""
        with one_line(self.path, KIND):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            DISK.sync_data(self.path, descriptor)
        finally:
            os.close(descriptor)

    def _take(self, frame: Frame, begin: int, stop: int) -> int:
        """Returns the index of the last record that was taken."""
        try:
            records = [decode(octets) for octets in frame.records()]
        except (ValueError, msgspec.DecodeError) as failure:
            raise CorruptEvidence(
                self._reader.directory, frame.offset, f"records {frame.first_index} on: {failure}"
            ) from failure
        first = max(begin, frame.first_index)
        end = min(stop, frame.first_index + frame.count)
        wanted = records[first - frame.first_index : end - frame.first_index]
        with one_line(self.path, KIND):  # rows are read back
            month = _month_of(frame.time_us // 3_600_000_000)
            self._projection.apply(first, frame.time_us, month, wanted)
        self._applied_us = frame.time_us
        return end - 1

    def _check_evidence(self) -> None:
        if self._identity and self._identity != self._reader.identity:
            raise DatabaseError(f"{self.path}: the ledger of another log: {KIND.remedy}")
        if self.behind < 0:
            raise DatabaseError(
                f"{self.path}: it has {self.applied_index} records, and the evidence ends with"
                f" {self._reader.next_index - 1}: restore the segments from a copy, or {KIND.remedy}"
            )


def rebuild(path: Path, evidence: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Make the ledger from nothing, beside the old one, and put it in its place; returns its last record.

    progress(records done, records in all). The old ledger stays until the new one takes its name; before that
    it is given what stands beside it (-wal), which must never meet the new one. Raises DatabaseError (also
    where somebody reads the old one then), LogInUse, CorruptEvidence, DurabilityLost.
    """
    fresh = path.with_suffix(".new")
    lock = lock_ledger(path)
    try:
        _remove(fresh)
        with Ledger.open(fresh, evidence, synchronous="OFF") as ledger:
            total = ledger.behind
            while ledger.step(total + 1):
                if progress is not None:
                    progress(ledger.applied_index, total)
            ledger.settle()
        _hand_on(path)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        DISK.rename(fresh, path)
        DISK.sync_directory(path.parent)
        return ledger.applied_index
    finally:
        _remove(fresh)  # what is left of it would take the room of the next segment
        os.close(lock)


def _hand_on(path: Path) -> None:
    """What stands beside an old ledger (-wal) into it. Raises DatabaseError while somebody reads it."""
    if not path.exists():
        return
    try:
        connection = open_database(path, KIND, synchronous="FULL")
    except DatabaseError:
        return  # it may be anything
    with closing(connection), one_line(path, KIND):
        connection.execute("PRAGMA busy_timeout = 0")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise DatabaseError(f"{path}: somebody reads it: try again when that is over")


def dump(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Every row of every table as a line of JSON, in one order: equal for equal ledgers, whatever their files
    look like."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    for (name,) in names:
        yield from dump_table(connection, name)


def dump_table(connection: sqlite3.Connection, name: str, where: str = "1") -> Iterator[bytes]:
    """As `dump`, of one table, or of those of its rows for which the condition holds."""
    columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
    keys = ", ".join(column[1] for column in sorted(columns, key=lambda each: each[5]) if column[5])
    for row in connection.execute(f"SELECT * FROM {name} WHERE {where} ORDER BY {keys}"):
        plain = [value.hex() if isinstance(value, bytes) else value for value in row]
        yield msgspec.json.encode([name, *plain]) + b"\n"


def check_there(path: Path) -> None:
    """Raises DatabaseError where there is no ledger."""
    if not path.exists():
        raise DatabaseError(f"{path}: there is no ledger yet: `jingxin run` makes it")


def read_ledger(path: Path) -> sqlite3.Connection:
    """The ledger as it is when it is first asked, until the connection is closed: it may go on meanwhile, and
    then its file beside (-wal) grows, so nobody should keep it open for long. Raises DatabaseError.
    """
    check_there(path)
    connection = open_to_read(path, KIND)
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("BEGIN")
    return connection


class Progress(NamedTuple):
    """How far a ledger has come: its last record, and when the batch of it was written."""

    applied_index: int
    applied_us: int
    identity: bytes


def progress_of(connection: sqlite3.Connection) -> Progress:
    row = connection.execute("SELECT applied_index, applied_us, identity FROM progress").fetchone()
    return Progress(*row)


def applied_index(path: Path, *, busy_s: float = BUSY_S) -> int:
    """How far a ledger goes; 0 where there is none that can be read, or where another process has it to
    itself for longer than busy_s."""
    try:
        with one_line(path, KIND), closing(open_to_read(path, KIND, busy_s=busy_s)) as connection:
            return progress_of(connection).applied_index
    except DatabaseError:
        return 0


def durable_index(path: Path) -> int:
    """As `applied_index`, of what is on disk for certain: what is committed may wait in the file beside
    (-wal) until a power cut takes it back. Raises DurabilityLost."""
    applied = applied_index(path)
    for each in (path.with_name(f"{path.name}-wal"), path):  # in this order what one hands on is in the other
        try:
            descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            DISK.sync_data(each, descriptor)
        finally:
            os.close(descriptor)
    return applied


def lock_ledger(path: Path) -> int:
    """The descriptor that holds the lock of a ledger's one writer. Raises LogInUse."""
    try:
        return lock_file(path.with_name(LOCK_NAME if path.name == LEDGER_NAME else f"{path.name}.lock"))
    except BlockingIOError:
        raise LogInUse(f"{path}: another process writes to the ledger") from None
    except OSError as failure:
        raise DatabaseError(
            f"{path}: its lock: {failure.strerror}: let the gateway's user read and write it"
        ) from failure


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@lru_cache(maxsize=16)
def _month_of(hour: int) -> str:
    """The month in Asia/Shanghai, which is whole hours from UTC, of an hour since the epoch."""
    return f"{datetime.fromtimestamp(hour * 3600, UTC).astimezone(SHANGHAI):%Y-%m}"
