"""Where the beginning of the evidence was archived nothing is settled as if it were all there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.archive import archive, detach
from storage.database import DatabaseError
from storage.ledger.detach import begins_with
from storage.ledger.ledger import LEDGER_NAME, Ledger, dump, durable_index, read_ledger, rebuild
from storage.segment import segment_paths
from storage.settlement.alarms import alarms
from storage.settlement.check import check_statement
from storage.settlement.contract import shipped_contract
from storage.settlement.errors import SettlementError
from storage.settlement.issue import StatementError, issue
from tests.storage.settlement.story import CAUSES, SIGNER, Story, at, cause_of


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """Period 6, of which June stands in a segment of its own."""
    with Story(tmp_path) as teller:
        teller.at("2026-06-05 08:00:00").deliver(10)
        teller.project()
        shutil.copy(tmp_path / LEDGER_NAME, tmp_path / "old.db")
        teller.deliver(10)
        teller.next_segment()
        teller.at("2026-07-05 08:00:00").deliver(5)
        teller.next_segment()
        teller.settle()
        teller.project()
        yield teller


def detach_june(story: Story, directory: Path) -> None:
    first = int(segment_paths(story.evidence)[1].stem)
    archive(story.evidence, story.proofs, SIGNER.verifier, directory / "archive", first)
    assert detach(story.evidence, directory / "archive", SIGNER.verifier, []).segments == 1


def test_the_ledger_that_followed_still_has_everything(story: Story, tmp_path: Path) -> None:
    before = story.statement("6")
    detach_june(story, tmp_path)
    assert story.statement("6") == before
    assert before.total.accepted == 25


def test_a_ledger_that_begins_later_settles_nothing(story: Story, tmp_path: Path) -> None:
    detach_june(story, tmp_path)
    first = int(segment_paths(story.evidence)[0].stem)
    rebuild(tmp_path / LEDGER_NAME, story.evidence)
    with closing(read_ledger(tmp_path / LEDGER_NAME)) as connection:
        assert begins_with(connection) == first
    with pytest.raises(SettlementError, match=f"the ledger begins with record {first}, and what came before"):
        story.statement("6")


def test_what_needs_no_count_is_still_an_alarm(story: Story, tmp_path: Path) -> None:
    detach_june(story, tmp_path)
    rebuild(tmp_path / LEDGER_NAME, story.evidence)
    with closing(read_ledger(tmp_path / LEDGER_NAME)) as connection:
        found = alarms(connection, shipped_contract(), cause_of, at("2026-11-10"))
    assert [each.name.partition(":")[0] for each in found] == ["term", "ledger"]
    assert "restore the archived segments" in found[1].detail


def test_a_ledger_that_somebody_reads_is_not_replaced(story: Story, tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with closing(read_ledger(path)) as connection:
        before = list(dump(connection))  # reads, and so holds what stands beside it
        story.deliver(3)
        story.project()
        with pytest.raises(DatabaseError, match="somebody reads it: try again when that is over"):
            rebuild(path, story.evidence)
    with closing(read_ledger(path)) as connection:
        assert len(list(dump(connection))) > len(before)
    rebuild(path, story.evidence)


def test_a_ledger_that_is_older_than_the_evidence_does_not_jump(story: Story, tmp_path: Path) -> None:
    detach_june(story, tmp_path)
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"{LEDGER_NAME}{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.db", tmp_path / LEDGER_NAME)
    with (
        Ledger.open(tmp_path / LEDGER_NAME, story.evidence) as ledger,
        pytest.raises(DatabaseError, match="restore the archived segments between them"),
    ):
        ledger.step()


def test_the_other_party_is_told_that_it_lacks_something(story: Story, tmp_path: Path) -> None:
    issued, _ = issue(tmp_path / "statements", story.statement("6"), SIGNER, {}, lambda version, digest: {})

    def check() -> object:
        contract = shipped_contract()
        return check_statement(issued, story.evidence, story.proven(), contract, CAUSES, cause_of)

    check()
    detach_june(story, tmp_path)
    with pytest.raises(StatementError, match="the figures follow from all of it"):
        check()


def test_how_far_a_ledger_certainly_is(story: Story, tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with closing(read_ledger(path)) as connection:
        (applied,) = connection.execute("SELECT applied_index FROM progress").fetchone()
    assert durable_index(path) == applied > 0
    assert durable_index(tmp_path / "none.db") == 0
