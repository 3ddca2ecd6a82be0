"""Thresholds of the contract: when somebody hears of them, and when not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path

import msgspec
import pytest

from storage.settlement import alarms as alarms_module
from storage.settlement.alarms import LINKS_DOWN_US, Alarm, alarms, links_down
from storage.settlement.contract import Contract, Renewal, shipped_contract
from tests.storage.settlement.story import Story, at, cause_of


@pytest.fixture(autouse=True)
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms_module, "SAMPLE_MIN", 50)


def long_contract() -> Contract:
    """Of which the term is far from over."""
    renewal = Renewal(end=date(2029, 11, 30), document="续签合同")
    return msgspec.structs.replace(shipped_contract(), renewals=(renewal,))


def found(story: Story, now: str, contract: Contract | None = None) -> list[Alarm]:
    with closing(story.ledger()) as connection:
        return alarms(connection, contract or long_contract(), cause_of, at(now))


def names(story: Story, now: str) -> list[str]:
    return [alarm.name for alarm in found(story, now)]


@pytest.mark.parametrize(
    ("today", "detail"),
    [
        ("2026-08-31", None),
        ("2026-09-01", "the term ends on 2026-11-30, in 90 days"),
        ("2026-11-26", "the term ends on 2026-11-30, in 4 days"),
        ("2026-11-30", "the term ends on 2026-11-30, in 0 days"),
        ("2026-12-01", "the term ended on 2026-11-30: no renewal is in the contract file"),
    ],
)
def test_the_end_of_the_term(today: str, detail: str | None, tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.deliver()
        expected = [] if detail is None else [Alarm("term", detail)]
        assert found(story, today, shipped_contract()) == expected
        assert found(story, today) == []


@pytest.mark.parametrize(("count", "heard"), [(7, False), (8, True), (10, True)])
def test_complaints_at_eight_of_ten(count: int, heard: bool, tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10").complain(count)
        detail = f"{count} complaints since 2025-07-01: 10 are allowed"
        assert found(story, "2026-06-30") == ([Alarm("complaints", detail)] if heard else [])
        assert names(story, "2027-06-11") == []  # a year later they are forgotten


def test_a_period_that_falls_below_what_is_agreed(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10").deliver(98)
        story.deliver(2, b"MK:0012")
        assert names(story, "2026-06-12") == []  # receipts may still come
        (alarm,) = found(story, "2026-06-14")
        assert alarm == Alarm(
            "success", "98 of 100 since 2026-06-01 00:00:00: 0.980000, at least 0.990000 are agreed"
        )
        story.at("2026-06-15").deliver(100)
        assert names(story, "2026-06-20") == []  # 198 of 200


def silent(count: int) -> Callable[[Story], None]:
    def tell(story: Story) -> None:
        numbers = [story.accept() for _ in range(count)]
        story.dispatch(*numbers)
        for number in numbers:
            story.sent(number)

    return tell


def test_receipts_that_stop_coming(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10 12:00:00").deliver(97)
        silent(3)(story)
        assert names(story, "2026-06-10 12:30:00") == []  # they may still come
        (alarm,) = found(story, "2026-06-10 14:00:00")
        assert alarm == Alarm("receipts", "of 100 messages of a day 3 have no outcome after an hour")
        # The same share for a week is no news; the period is judged by `success`.
        for day in range(11, 19):
            story.at(f"2026-06-{day} 12:00:00").deliver(97)
            silent(3)(story)
        assert names(story, "2026-06-18 14:00:00") == ["success"]


def test_links_are_down_after_a_minute() -> None:
    since_us = at("2026-06-10 12:00:00")
    links = {"cmcc": (False, since_us), "cucc": (True, since_us)}
    assert links_down(links, since_us + LINKS_DOWN_US - 1) == {}
    assert links_down(links, since_us + LINKS_DOWN_US) == {"cmcc": since_us}
