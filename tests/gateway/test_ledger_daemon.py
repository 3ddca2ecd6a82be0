"""The ledger process keeps its tables while they can be used, and goes on signing while they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import ledger_daemon
from gateway.ledger_daemon import Bookkeeper
from storage.ledger import ledger as ledger_module
from storage.ledger.ledger import LEDGER_NAME, Ledger, applied_index
from tests.storage.settlement.story import Story


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    with Story(tmp_path) as story:
        story.deliver(20)
    return tmp_path / "evidence"


def test_what_is_durable_is_taken_in(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = evidence.parent / LEDGER_NAME
    with Bookkeeper(path, evidence) as bookkeeper:
        assert bookkeeper.work(1.0)
        assert applied_index(path) == 62
    # A little at a time, so that a checkpoint is signed in between.
    path.unlink()
    monkeypatch.setattr(ledger_module, "BATCH_RECORDS", 1)
    with Bookkeeper(path, evidence) as bookkeeper:
        turns = 0
        while not bookkeeper.work(0.0):
            turns += 1
        assert turns > 10
        assert applied_index(path) == 62


def test_a_database_that_cannot_be_used_is_left_alone_for_a_minute(
    evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("gateway.ledger_daemon.time.monotonic", lambda: now_s[0])
    path = evidence.parent / LEDGER_NAME
    path.write_bytes(b"no database" * 100)
    with Bookkeeper(path, evidence) as bookkeeper:
        assert bookkeeper.work(1.0)  # nothing to do for now, as far as anybody can tell
        path.unlink()
        now_s[0] += 59.0
        assert bookkeeper.work(1.0)
        assert not path.exists()
        now_s[0] += 1.0
        assert bookkeeper.work(1.0)
        assert applied_index(path) == 62


def test_a_ledger_that_another_process_writes_is_waited_for(
    evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_daemon, "DATABASE_RETRY_S", 0.0)
    path = evidence.parent / LEDGER_NAME
    with Bookkeeper(path, evidence) as bookkeeper:
        with Ledger.open(path, evidence):
            assert bookkeeper.work(1.0)
            assert applied_index(path) == 0
        assert bookkeeper.work(1.0)
        assert applied_index(path) == 62
