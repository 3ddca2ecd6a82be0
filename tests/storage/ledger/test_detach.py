"""A month leaves the ledger for a file of its own: nothing of it is lost, and the ledger goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage.database import DatabaseError
from storage.errors import LogInUse
from storage.ledger import detach as detach_module
from storage.ledger.detach import DetachedMonth, detach_month, detached_months
from storage.ledger.ledger import LEDGER_NAME, Ledger, dump, read_ledger, rebuild
from storage.ledger.schema import MONTHLY_NAMES, table
from storage.ledger.search import Wanted, search
from storage.records import Reported
from storage.settlement.errors import SettlementError
from tests.storage.ledger.test_ledger import digest_of, everything
from tests.storage.settlement.story import Story, at

MONTH = "2026-06"


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A directory with the evidence of `everything`, and the ledger of it."""
    with Story(tmp_path) as story:
        everything(story)
        story.project()
    return tmp_path


def lines_of(path: Path) -> set[bytes]:
    with closing(read_ledger(path)) as connection:
        return set(dump(connection))


def found_in(path: Path) -> list[int]:
    with closing(read_ledger(path)) as connection:
        return [found.number for found in search(connection, Wanted(), 1000)]


def detached_of(path: Path) -> list[DetachedMonth]:
    with closing(read_ledger(path)) as connection:
        return detached_months(connection)


def test_the_rows_of_a_month_move(told: Path) -> None:
    ledger, own = told / LEDGER_NAME, told / "2026-06.db"
    before, found = lines_of(ledger), found_in(ledger)
    assert detached_of(ledger) == []
    done = detach_month(ledger, MONTH, own)
    assert (done.name, done.first_index) == (MONTH, 1)
    assert done.oldest_us == at("2026-06-30 23:59:58")
    assert detached_of(ledger) == [done]

    of_month = {f'["{table(name, MONTH)}",'.encode() for name in MONTHLY_NAMES}
    moved = {line for line in before if any(line.startswith(head) for head in of_month)}
    left = {line for line in lines_of(ledger) if not line.startswith(b'["detached"')}
    assert moved <= lines_of(own)
    assert left == {line for line in before - moved if not line.startswith(b'["month","2026-06"')}
    assert found_in(ledger) + found_in(own) == found


def test_the_file_of_a_month_is_a_ledger(told: Path) -> None:
    ledger, own = told / LEDGER_NAME, told / "2026-06.db"
    with closing(read_ledger(ledger)) as connection:
        expected = list(search(connection, Wanted(until_us=at("2026-07-01")), 100))
    detach_month(ledger, MONTH, own)
    with closing(read_ledger(own)) as connection:
        assert list(search(connection, Wanted(), 100)) == expected
    assert not own.with_name("2026-06.db.part").exists()


def test_what_comes_late_for_a_detached_month_is_of_an_unknown_part(tmp_path: Path) -> None:
    ledger = tmp_path / LEDGER_NAME
    with Story(tmp_path) as story:
        story.at("2026-06-10 08:00:00")
        (ended,) = story.deliver()
        waits, cut = story.accept(), story.accept()
        story.dispatch(waits, cut)
        unmatched = story.receipt(0, final=False)
        reply = story.reply(waits=True)
        story.at("2026-07-10 08:00:00")
        story.deliver()
        story.project()
        detach_month(ledger, MONTH, tmp_path / "own.db")
        own = digest_of(tmp_path / "own.db")

        story.sent(waits)
        story.dispatch(waits)
        story.uncertain(waits)
        story.withdrawn(waits)
        story.refused(cut)
        late = story.receipt(waits)
        story.matched(unmatched, cut)
        story.replaced(waits, 2)
        story.outcome(waits, 3)
        story.assembled(reply)
        story.write(Reported(late, story.now_us, "hukou", 1, 0))
        story.receipt(ended, final=False)
        story.deliver()
        story.project()
    with closing(read_ledger(ledger)) as connection:
        assert connection.execute("SELECT count(*) FROM part_202607").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM attempt_202607").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM report_202607").fetchone() == (1,)
        late_rows = connection.execute("SELECT number, repeats FROM receipt_202607 ORDER BY idx").fetchall()
        assert late_rows[1:3] == [(waits, 0), (ended, 0)]
    assert digest_of(tmp_path / "own.db") == own


def test_made_anew_a_ledger_has_the_months_whose_evidence_is_there(told: Path) -> None:
    ledger = told / LEDGER_NAME
    before = digest_of(ledger)
    detach_month(ledger, MONTH, told / "2026-06.db")
    assert digest_of(ledger) != before
    rebuild(ledger, told / "evidence")
    assert digest_of(ledger) == before
    assert detached_of(ledger) == []
    # What had been detached before is the same again.
    assert detach_month(ledger, MONTH, told / "2026-06.db").name == MONTH


def test_month_after_month(told: Path) -> None:
    ledger = told / LEDGER_NAME
    for month in ("2026-06", "2026-07"):
        detach_month(ledger, month, told / f"{month}.db")
    assert [each.name for each in detached_of(ledger)] == ["2026-06", "2026-07"]
    with pytest.raises(DatabaseError, match="2026-08 is the only month, which goes on"):
        detach_month(ledger, "2026-08", told / "2026-08.db")
    with Ledger.open(ledger, told / "evidence") as each:
        assert not each.step()


@pytest.mark.parametrize("month", ["2026-07", "2026-05", "june"])
def test_another_month_than_the_oldest(month: str, told: Path) -> None:
    before = digest_of(told / LEDGER_NAME)
    with pytest.raises(DatabaseError, match="from the oldest on, and the oldest is 2026-06: name that one"):
        detach_month(told / LEDGER_NAME, month, told / "own.db")
    assert digest_of(told / LEDGER_NAME) == before
    assert not (told / "own.db").exists()


def test_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError):
        detach_month(tmp_path / LEDGER_NAME, MONTH, tmp_path / "own.db")
    assert not (tmp_path / LEDGER_NAME).exists()


def test_while_the_ledger_runs(told: Path) -> None:
    with Ledger.open(told / LEDGER_NAME, told / "evidence"), pytest.raises(LogInUse):
        detach_month(told / LEDGER_NAME, MONTH, told / "own.db")


def test_a_file_that_holds_something_else_is_left_and_refused(told: Path) -> None:
    ledger, own = told / LEDGER_NAME, told / "own.db"
    detach_month(ledger, MONTH, own)
    rebuild(ledger, told / "evidence")
    with closing(sqlite3.connect(own)) as connection:
        connection.execute(
            "UPDATE part_202606 SET units = units + 1 WHERE number = (SELECT min(number) FROM part_202606)"
        )
        connection.commit()
    changed, before = digest_of(own), digest_of(ledger)
    with pytest.raises(DatabaseError, match="it does not hold 2026-06 of"):
        detach_month(ledger, MONTH, own)
    with pytest.raises(DatabaseError, match="it does not hold 2026-06 of"):
        detach_month(ledger, MONTH, _july(told))
    assert (digest_of(own), digest_of(ledger)) == (changed, before)


def _july(told: Path) -> Path:
    """The file of another month."""
    other = told / "other" / LEDGER_NAME
    other.parent.mkdir()
    rebuild(other, told / "evidence")
    detach_month(other, MONTH, told / "other" / "june.db")
    detach_month(other, "2026-07", told / "other" / "july.db")
    return told / "other" / "july.db"


@pytest.mark.parametrize("step", ["_copy", "_drop"])
def test_a_crash_leaves_the_ledger_as_it_was_and_can_be_repeated(
    step: str, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, own = told / LEDGER_NAME, told / "own.db"
    before = digest_of(ledger)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(detach_module, step, crash)
        with pytest.raises(KeyboardInterrupt):
            detach_month(ledger, MONTH, own)
    assert digest_of(ledger) == before
    own.with_name("own.db.part").write_bytes(b"half")
    assert detach_month(ledger, MONTH, own).rows > 0
    assert digest_of(ledger) != before


def test_nothing_is_counted_that_reaches_into_a_month_that_is_gone(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10").deliver(2)
        story.at("2026-07-10").deliver(3)
        story.sign()
        story.project()
        detach_month(tmp_path / LEDGER_NAME, "2026-06", tmp_path / "june.db")
        with pytest.raises(SettlementError, match="2026-06 was moved out of the ledger"):
            story.statement("6")
        with pytest.raises(SettlementError, match="2026-06 was moved out of the ledger"):
            story.statement("2026-06..2026-06")
        assert story.statement("2026-07..2026-07").total.accepted == 3
