"""The register of numbers: what facts do to it, what it refuses to open, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.database import DatabaseError
from storage.register import OptedIn, OptedOut, PortedNumber, Register

A, B, C = (bytes([letter]) * 16 for letter in b"ABC")
LIST = "import list.csv"
DELIVERY = "delivered by cucc"
MOVE_AWAY = "move it away: what was learned is made again from the evidence, imports must be repeated"

Fact = PortedNumber | OptedOut | OptedIn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "numbers.db"


@pytest.fixture
def register(path: Path) -> Iterator[Register]:
    register = Register.open(path)
    yield register
    register.close()


def contents(register: Register) -> tuple[int, list[PortedNumber], list[OptedOut]]:
    loaded = register.load()
    return loaded.applied_index, list(loaded.ported), list(loaded.opted_out)


APPLIED: dict[str, tuple[list[Fact], list[PortedNumber], list[OptedOut]]] = {
    "in the order of the hash": (
        [PortedNumber(B, "unicom", DELIVERY, 5, 0), PortedNumber(A, "telecom", DELIVERY, 6, 99)],
        [PortedNumber(A, "telecom", DELIVERY, 6, 99), PortedNumber(B, "unicom", DELIVERY, 5, 0)],
        [],
    ),
    "the one learned later stays": (
        [PortedNumber(A, "unicom", DELIVERY, 5, 0), PortedNumber(A, "telecom", LIST, 6, 99)],
        [PortedNumber(A, "telecom", LIST, 6, 99)],
        [],
    ),
    "also when it comes first": (
        [PortedNumber(A, "telecom", LIST, 6, 99), PortedNumber(A, "unicom", DELIVERY, 5, 0)],
        [PortedNumber(A, "telecom", LIST, 6, 99)],
        [],
    ),
    "of equals the last": (
        [PortedNumber(A, "telecom", LIST, 6, 99), PortedNumber(A, "unicom", DELIVERY, 6, 0)],
        [PortedNumber(A, "unicom", DELIVERY, 6, 0)],
        [],
    ),
    "opted out of each account by itself, and the earlier reply stays": (
        [OptedOut(A, "oa", 7, 70), OptedOut(A, "hukou", 8, 80), OptedOut(A, "oa", 9, 90)],
        [],
        [OptedOut(A, "hukou", 8, 80), OptedOut(A, "oa", 7, 70)],
    ),
    "opted in again": (
        [OptedOut(A, "oa", 7, 70), OptedOut(B, "oa", 7, 71), OptedIn(A, "oa", 72), OptedIn(B, "hukou", 73)],
        [],
        [OptedOut(B, "oa", 7, 71)],
    ),
    "and out once more": (
        [OptedOut(A, "oa", 7, 70), OptedIn(A, "oa", 72), OptedOut(A, "oa", 9, 90), OptedIn(A, "oa", 72)],
        [],
        [OptedOut(A, "oa", 9, 90)],
    ),
}


@pytest.mark.parametrize(("facts", "ported", "opted_out"), APPLIED.values(), ids=APPLIED)
def test_facts_in_the_order_of_the_evidence(
    path: Path,
    register: Register,
    facts: list[Fact],
    ported: list[PortedNumber],
    opted_out: list[OptedOut],
) -> None:
    assert contents(register) == (0, [], [])
    for _ in range(2):  # to repeat it changes nothing
        register.apply(facts, 100)
        assert contents(register) == (100, ported, opted_out)
    register.apply([], 90)
    assert contents(register) == (100, ported, opted_out)
    register.close()
    again = Register.open(path)
    assert contents(again) == (100, ported, opted_out)
    again.close()


def test_an_import_replaces_what_was_known_and_drops_what_has_expired(register: Register) -> None:
    register.apply(
        [
            PortedNumber(A, "unicom", DELIVERY, 2000, 9000),
            PortedNumber(B, "unicom", DELIVERY, 500, 1000),
            PortedNumber(C, "unicom", DELIVERY, 500, 1001),
        ],
        7,
    )
    # The clock was set back since A was learned: a person's word counts all the same.
    added = register.import_ported([(b"Z" * 16, "mobile", 0), (A, "broadnet", 5000)], LIST, 1000, 3)
    assert added == 1
    assert contents(register)[:2] == (
        7,
        [
            PortedNumber(A, "broadnet", LIST, 1000, 5000),
            PortedNumber(C, "unicom", DELIVERY, 500, 1001),
            PortedNumber(b"Z" * 16, "mobile", LIST, 1000, 0),
        ],
    )


def test_a_register_made_again_from_the_evidence_keeps_a_newer_import(register: Register) -> None:
    register.import_ported([(A, "broadnet", 0)], LIST, 1000, 10)
    register.apply([PortedNumber(A, "unicom", DELIVERY, 999, 0)], 7)
    assert contents(register)[1] == [PortedNumber(A, "broadnet", LIST, 1000, 0)]


def test_an_import_that_is_too_large_changes_nothing(path: Path, register: Register) -> None:
    register.import_ported([(A, "unicom", 1000), (B, "unicom", 0)], LIST, 10, 2)
    before = contents(register)
    with pytest.raises(DatabaseError) as caught:
        register.import_ported([(B, "mobile", 0), (C, "mobile", 0), (b"Z" * 16, "mobile", 0)], LIST, 1000, 2)
    assert str(caught.value) == (
        f"{path}: would hold 3 ported numbers, allowed are 2: import fewer; nothing was changed"
    )
    assert contents(register) == before


def test_single_numbers(register: Register) -> None:
    fact = PortedNumber(A, "unicom", DELIVERY, 5, 1000)
    register.apply([fact, PortedNumber(B, "unicom", DELIVERY, 5, 0), OptedOut(A, "oa", 7, 70)], 70)
    assert (register.ported(A), register.ported(C)) == (fact, None)
    assert [register.drop_expired(now_us) for now_us in (999, 1000, 1001)] == [0, 1, 0]
    assert (register.ported(A), register.forget(A), register.forget(B)) == (None, False, True)
    assert contents(register) == (70, [], [OptedOut(A, "oa", 7, 70)])


def test_facts_that_fail_halfway_change_nothing(register: Register) -> None:
    def facts() -> Iterator[PortedNumber]:
        yield PortedNumber(A, "unicom", DELIVERY, 5, 0)
        raise KeyError

    with pytest.raises(KeyError):
        register.apply(facts(), 9)
    assert contents(register) == (0, [], [])
    register.apply([PortedNumber(B, "unicom", DELIVERY, 5, 0)], 9)
    assert contents(register) == (9, [PortedNumber(B, "unicom", DELIVERY, 5, 0)], [])


def test_a_gateway_and_a_command_at_once(path: Path, register: Register) -> None:
    register.apply([PortedNumber(A, "unicom", DELIVERY, 5, 0)], 9)
    reading = register.load()
    assert next(reading.ported) == PortedNumber(A, "unicom", DELIVERY, 5, 0)
    command = Register.open(path)
    command.import_ported([(B, "mobile", 0)], LIST, 10, 10)
    command.close()
    assert list(reading.ported) == []  # what began to read sees the state it began with
    assert [fact.network for fact in register.load().ported] == ["unicom", "mobile"]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    if os.geteuid() == 0:  # as with sudo: the directory belongs to the gateway's user
        os.chown(directory, 1234, 1235)
    register = Register.open(directory / "numbers.db")
    register.apply([], 1)
    owner = directory.stat()
    found = {entry.name: entry.stat() for entry in directory.iterdir()}
    register.close()
    assert sorted(found) == ["numbers.db", "numbers.db-shm", "numbers.db-wal"]
    assert {status.st_mode & 0o777 for status in found.values()} == {0o600}
    assert {(status.st_uid, status.st_gid) for status in found.values()} == {(owner.st_uid, owner.st_gid)}


def text(path: Path) -> None:
    path.write_bytes(b"number,network\n13812345678,unicom\n" * 40)


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE message (id)")
    connection.close()


def newer(path: Path) -> None:
    Register.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()


def cut(path: Path) -> None:
    filled(path)
    os.truncate(path, path.stat().st_size - 4096)


def overwritten(path: Path) -> None:
    """A page in the middle of the table."""
    filled(path)
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)


def filled(path: Path) -> None:
    register = Register.open(path)
    register.import_ported(((b"%016d" % number, "unicom", 0) for number in range(1000)), LIST, 1, 1000)
    register.close()
    assert path.stat().st_size > 8 * 4096


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (text, f"file is not a database: {MOVE_AWAY}"),
    (foreign, f"a database of another program: {MOVE_AWAY}"),
    (newer, f"version 2 of the register, allowed is 1: {MOVE_AWAY}"),
    (cut, f"database disk image is malformed: {MOVE_AWAY}"),
    (overwritten, f"damaged: {MOVE_AWAY}"),
    (Path.mkdir, "unable to open database file: let the gateway's user read and write it"),
]


@pytest.mark.parametrize(("make", "error"), REFUSED)
def test_what_is_no_register_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], error: str
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(DatabaseError) as caught:
        Register.open(path)
    assert str(caught.value) == f"{path}: {error}"
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert [entry.name for entry in path.parent.iterdir()] == ["numbers.db"]


KILLED = """
import sys
from pathlib import Path
from storage.register import PortedNumber, Register

def facts():
    for number in range(60_000):
        yield PortedNumber(b"%016d" % number, "mobile", "new", 2, 0)
    print("halfway", flush=True)
    sys.stdin.read()

Register.open(Path(sys.argv[1])).apply(facts(), 60_000)
"""


def test_a_kill_within_apply_leaves_the_state_before(path: Path) -> None:
    register = Register.open(path)
    old = [PortedNumber(b"%016d" % number, "unicom", "old", 1, 0) for number in range(100)]
    register.apply(old, 100)
    register.close()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"halfway\n"
        finally:
            process.kill()
            process.wait(timeout=20)
    assert process.returncode == -signal.SIGKILL
    # More than SQLite keeps in memory: a part of the transaction is on the disk.
    assert path.with_name("numbers.db-wal").stat().st_size > 100_000
    register = Register.open(path)
    assert contents(register) == (100, old, [])
    register.apply([PortedNumber(b"%016d" % number, "mobile", "new", 2, 0) for number in range(200)], 200)
    register.close()
    register = Register.open(path)
    applied_index, ported, _ = contents(register)
    register.close()
    assert (applied_index, len(ported), {fact.network for fact in ported}) == (200, 200, {"mobile"})
