"""The ledger: rows by record, the same however it was made, and whole whenever it was killed."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from storage.database import DatabaseError
from storage.durable import DISK
from storage.errors import DurabilityLost, LogInUse
from storage.ledger import ledger as ledger_module
from storage.ledger.ledger import LEDGER_NAME, Ledger, applied_index, dump, read_ledger, rebuild
from storage.records import (
    Configured,
    LinkEvent,
    OperatorAction,
    OptedOut,
    Ported,
    Reported,
    SessionEvent,
    Started,
)
from tests.storage.settlement.story import Story, at


def digest_of(path: Path) -> str:
    digest = sha256()
    with closing(read_ledger(path)) as connection:
        for line in dump(connection):
            digest.update(line)
    return digest.hexdigest()


def everything(story: Story) -> None:
    """Something of each kind, over three months, with what comes late."""
    story.write(Started(story.now_us, "hn-gw-1", "0.1.0", bytes(32), "host 1"))
    story.at("2026-06-30 23:59:58")
    story.deliver(3)
    late = story.accept()
    story.dispatch(late)
    unmatched = story.receipt(0, final=False)
    parts = story.accept_cut(2)
    story.replaced(parts[0], 1)
    story.at("2026-07-01 00:00:01")
    story.matched(unmatched, late)
    story.dispatch(*parts, link=1)
    story.uncertain(parts[0])
    story.withdrawn(parts[1])
    story.dispatch(parts[1], carrier="cucc")
    story.refused(parts[1], final=False)
    story.outcome(parts[1], 3)
    first, second = story.reply(waits=True), story.reply(waits=True)
    story.at("2026-08-02 10:00:00")
    story.assembled(first, second)
    story.sent(parts[0], link=1)
    last = story.receipt(parts[0])
    story.receipt(parts[0], final=False)
    story.deny(3)
    story.write(
        Reported(last, story.now_us, "hukou", 1, 0),
        LinkEvent(story.now_us, "cmcc", 0, "lost", "closed by peer"),
        SessionEvent(story.now_us, "hukou", 1, "127.0.0.1:5000", "bound", "transceiver"),
        OperatorAction(story.now_us, "zhang", "close", "asked", [late]),
        Ported(story.now_us, b"n" * 16, "unicom", "delivered by cucc", 0),
        OptedOut(story.now_us, b"n" * 16, "jiaojing", True, first),
        Configured(story.now_us, [("hukou", "office")], [("cmcc", "mobile")]),
    )
    story.noted("complaint", attributed="b")
    story.deliver()


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A directory with the evidence of `everything`."""
    with Story(tmp_path) as story:
        everything(story)
        story.project()
    return tmp_path


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(read_ledger(path / LEDGER_NAME)) as connection:
        return connection.execute(query).fetchall()


def test_rows_by_month(told: Path) -> None:
    assert rows(told, "SELECT name FROM month ORDER BY name") == [("2026-06",), ("2026-07",), ("2026-08",)]
    parts = "SELECT carrier, network, attempts, sent != 0, ended != 0, replaced, category"
    assert rows(told, f"{parts} FROM part_202606 JOIN owner ON owner = id ORDER BY number") == [
        *[("cmcc", "mobile", 1, 1, 1, 0, "document")] * 3,
        ("cmcc", "mobile", 1, 0, 1, 0, "document"),  # by a receipt that was matched in the next month
        ("cmcc", "mobile", 1, 1, 1, 1, "document"),
        ("cucc", "unicom", 2, 0, 1, 0, "document"),
    ]
    assert rows(told, "SELECT count(*) FROM part_202607") == [(0,)]
    assert rows(told, "SELECT account, category FROM part_202608 JOIN owner ON owner = id") == [
        ("hukou", "office")
    ]
    attempts = (
        "SELECT carrier, link, uncertain_us != 0, answered != 0, status, withdrawn != 0 FROM attempt_202606"
    )
    assert rows(told, attempts)[4:] == [
        ("cmcc", 1, 1, 1, 0, 0),  # answered late
        ("cmcc", 1, 0, 0, 0, 1),
        ("cucc", 0, 0, 1, 0x45, 0),
    ]


def test_rows_of_what_came_back(told: Path) -> None:
    assert rows(told, "SELECT number != 0, final, repeats, matched != 0 FROM receipt_202606") == [
        *[(1, 1, 0, 0)] * 3,
        (1, 1, 0, 1),
    ]
    assert rows(told, "SELECT final, repeats FROM receipt_202608") == [(1, 0), (0, 1), (1, 0)]
    assert rows(told, "SELECT assembled != 0, leads, repeats FROM reply_202607") == [(1, 1, 0), (1, 0, 0)]
    assert rows(told, "SELECT account, status FROM report_202608") == [("hukou", 0)]
    assert rows(told, "SELECT status, count FROM denial_202608") == [(0x58, 3)]
    assert rows(told, "SELECT kind, state, status, stat, reason FROM outcome ORDER BY id") == [
        ("receipt", 2, 0, b"DELIVRD", ""),
        ("outcome", 3, 0, b"", "expired"),
    ]


def test_rows_beside_the_messages(told: Path) -> None:
    events = "SELECT kind, name, event, detail FROM event_202608"
    assert rows(told, events) == [
        ("link", "cmcc", "lost", "closed by peer"),
        ("session", "hukou", "bound", "127.0.0.1:5000 transceiver"),
    ]
    assert rows(told, "SELECT kind, who, action, reason FROM audit_202608") == [
        ("operator", "zhang", "close", "asked"),
        ("number", "", "unicom", "delivered by cucc"),
        ("opt-out", "jiaojing", "out", ""),
    ]
    noted = "SELECT register, entry, event, at_us, facts FROM noted"
    assert rows(told, noted) == [("complaint", 0, "opened", at("2026-08-02 10:00:00"), '{"attributed":"b"}')]


@pytest.mark.parametrize("batch", [0, 1, 3, 7, 1000])
def test_the_same_rows_however_the_records_are_grouped(
    batch: int, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `batch` records and the rest of a frame a transaction, with nothing in memory from one to the next.
    monkeypatch.setattr(ledger_module, "BATCH_RECORDS", batch)
    path = told / "other" / LEDGER_NAME
    path.parent.mkdir()
    steps = 0
    while True:
        with Ledger.open(path, told / "evidence") as ledger:
            if not ledger.step():
                break
            steps += 1
    assert steps == (1 if batch == 1000 else steps)
    assert steps > 5 or batch >= 7
    assert digest_of(path) == digest_of(told / LEDGER_NAME)


def test_made_anew_it_is_the_same(told: Path) -> None:
    path = told / LEDGER_NAME
    before = digest_of(path)
    progress: list[tuple[int, int]] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM part_202606")
        connection.commit()
    assert digest_of(path) != before
    last = rebuild(path, told / "evidence", lambda done, total: progress.append((done, total)))
    assert digest_of(path) == before
    assert progress[-1] == (last, last)
    assert applied_index(path) == last
    left = {file.name for file in told.iterdir() if not file.name.startswith(f"{LEDGER_NAME}-")}
    assert left == {"evidence", LEDGER_NAME, "ledger.lock"}


def test_an_old_ledger_is_whole_until_the_new_one_takes_its_name(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = told / LEDGER_NAME
    before = digest_of(path)

    def cut_short(source: Path, target: Path) -> None:
        raise DurabilityLost(source, "rename", OSError(5, "Input/output error"))

    monkeypatch.setattr(DISK, "rename", cut_short)
    with pytest.raises(DurabilityLost):
        rebuild(path, told / "evidence")
    assert digest_of(path) == before


_CHILD = """
import sys
from pathlib import Path
from storage.ledger import ledger
ledger.BATCH_RECORDS = 20
print("up", flush=True)
with ledger.Ledger.open(Path(sys.argv[1]), Path(sys.argv[2])) as each:
    while each.step():
        print(each.applied_index, flush=True)
"""


def test_killed_at_random_moments_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(4)
    with Story(tmp_path) as story:
        for _ in range(40):
            everything(story)
            story.at("2026-06-01")
    path, evidence = tmp_path / "killed" / LEDGER_NAME, tmp_path / "evidence"
    path.parent.mkdir()
    kills = 0
    while True:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path), str(evidence)], stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            for _ in range(chance.randrange(1, 4)):
                child.stdout.readline()
            time.sleep(chance.random() * 0.004)  # somewhere in a transaction
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read()
        if child.returncode == 0:
            break
        kills += 1
        assert kills < 500, rest
    assert kills >= 20
    whole = tmp_path / LEDGER_NAME
    rebuild(whole, evidence)
    assert digest_of(path) == digest_of(whole)


def _scribble(path: Path) -> None:
    path.write_bytes(b"no database" * 100)


def _pragma(path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {pragma}")


AGAIN = "make it again by `jingxin ledger rebuild`"
REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (_scribble, f"file is not a database: {AGAIN}"),
    (lambda path: _pragma(path, "application_id = 1"), f"a database of another program: {AGAIN}"),
    (lambda path: _pragma(path, "user_version = 9"), f"version 9 of the ledger, allowed is 2: {AGAIN}"),
]


@pytest.mark.parametrize(("damage", "reason"), REFUSED)
def test_a_file_that_is_no_ledger_is_refused(damage: Callable[[Path], None], reason: str, told: Path) -> None:
    path = told / LEDGER_NAME
    for file in told.glob(f"{LEDGER_NAME}-*"):
        file.unlink()
    damage(path)
    with pytest.raises(DatabaseError) as caught:
        Ledger.open(path, told / "evidence")
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(DatabaseError):
        read_ledger(path)
    assert applied_index(path) == 0
    rebuild(path, told / "evidence")  # the remedy helps
    assert applied_index(path) > 0


def test_the_ledger_of_another_log_is_refused(told: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    with Story(other) as story:
        everything(story)
    with pytest.raises(DatabaseError, match="the ledger of another log: make it again by"):
        Ledger.open(told / LEDGER_NAME, other / "evidence")


def test_evidence_that_is_shorter_is_refused(told: Path) -> None:
    with closing(sqlite3.connect(told / LEDGER_NAME)) as connection:
        connection.execute("UPDATE progress SET applied_index = applied_index + 1000")
        connection.commit()
    with pytest.raises(DatabaseError, match="and the evidence ends with"):
        Ledger.open(told / LEDGER_NAME, told / "evidence")


def test_one_process_writes(told: Path) -> None:
    with Ledger.open(told / LEDGER_NAME, told / "evidence"):
        with pytest.raises(LogInUse):
            Ledger.open(told / LEDGER_NAME, told / "evidence")
        with pytest.raises(LogInUse):
            rebuild(told / LEDGER_NAME, told / "evidence")
        assert digest_of(told / LEDGER_NAME)  # others read meanwhile
