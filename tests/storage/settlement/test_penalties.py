"""What lateness costs over reports that follow each other: nothing is lost between them, nothing comes twice,
and the cap is over all. The arithmetic is in the comments; money in 0.0001 yuan."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from storage.records import Noted
from storage.settlement.contract import Contract, shipped_contract
from storage.settlement.penalties import Penalties, cap
from tests.storage.settlement.story import Story, at
from tests.storage.settlement.test_report import report_of

HALF_YEARS = ("2025-12..2026-05", "2026-06..2026-11")

# 10,000 yuan; a day of it costs 100 yuan.
AMOUNT = "100000000"
DAY = 1_000_000


def late_since(story: Story, due: str, written: str, amount: str = AMOUNT) -> int:
    return story.at(written).entered("delay", service="portal", due=due, amount=amount)


def noted_at(story: Story, register: str, event: str, entry: int, when: str) -> None:
    """Written now, of another time."""
    story.write(Noted(story.now_us, register, entry, event, at(when), "zhang", []))


def of(story: Story, months: str, contract: Contract | None = None) -> Penalties:
    return report_of(story, months, contract).penalties


def days(found: Penalties) -> list[tuple[int, int]]:
    return [(each.days, each.days_before) for each in found.late]


def test_a_delay_over_the_end_of_the_months_is_in_both_reports(tmp_path: Path) -> None:
    # Due on 30 May, done on 30 June: 31 days, one of them in May.
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        entry = late_since(story, "2026-05-30", "2026-05-31 09:00:00")
        story.at("2026-06-30 09:00:00").noted("delay", "done", entry)
        story.at("2026-12-10").deliver()
        first, second = (of(story, months) for months in HALF_YEARS)
        assert (days(first), first.penalty, first.due) == ([(1, 0)], DAY, DAY)
        assert (days(second), second.penalty, second.due) == ([(31, 1)], 30 * DAY, 30 * DAY)
        assert second.before == second.due_before == DAY
        both = of(story, "2025-12..2026-11")
        assert (days(both), both.due) == ([(31, 0)], 31 * DAY)


def test_a_delay_that_is_over_is_in_no_later_report(tmp_path: Path) -> None:
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        entry = late_since(story, "2026-05-20", "2026-05-21 09:00:00")
        story.at("2026-05-30 09:00:00").noted("delay", "done", entry)
        story.at("2026-12-10").deliver()
        assert [len(of(story, months).late) for months in HALF_YEARS] == [1, 0]


@pytest.mark.parametrize(
    ("written", "reports"),
    # The report on the months up to May is final with what was known by 4 June, 00:00.
    [("2026-06-03 23:59:59", [10 * DAY, 0]), ("2026-06-04 00:00:00", [0, 10 * DAY])],
)
def test_what_is_entered_too_late_for_a_report_is_in_the_next(
    written: str, reports: list[int], tmp_path: Path
) -> None:
    # Due on 20 May, done on the 30th: ten days.
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        entry = late_since(story, "2026-05-20", written)
        noted_at(story, "delay", "done", entry, "2026-05-30 09:00:00")
        story.at("2026-12-10").deliver()
        assert [of(story, months).due for months in HALF_YEARS] == reports


def test_the_cap_is_over_all_reports(tmp_path: Path) -> None:
    # The contract is about 10,000 yuan. 80 days of 100 yuan in each half: 8,000 and 2,000 more.
    contract = msgspec.structs.replace(shipped_contract(), amount=100_000_000)
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        for due, done in (("2026-01-10", "2026-03-31"), ("2026-07-10", "2026-09-28")):
            entry = late_since(story, due, f"{due[:-2]}11 09:00:00")
            story.at(f"{done} 09:00:00").noted("delay", "done", entry)
        story.at("2026-12-10").deliver()
        first, second = (of(story, months, contract) for months in HALF_YEARS)
        assert (first.penalty, first.due) == (80 * DAY, 80 * DAY)
        assert (second.penalty, second.due_before, second.due) == (80 * DAY, 80 * DAY, 20 * DAY)
        assert of(story, "2025-12..2026-11", contract).due == 100 * DAY
        assert cap(contract, at("2026-12-01 00:00:00")) == 100 * DAY
        assert cap(shipped_contract(), at("2026-12-01 00:00:00")) is None


def test_what_was_entered_by_mistake_is_given_back(tmp_path: Path) -> None:
    # Due on 20 May: 11 days up to the end of May.
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        entry = late_since(story, "2026-05-20", "2026-05-21 09:00:00")
        story.at("2026-07-01 09:00:00").noted("delay", "withdrawn", entry)
        story.at("2026-12-10").deliver()
        first, second = (of(story, months) for months in HALF_YEARS)
        assert (days(first), first.due) == ([(11, 0)], 11 * DAY)
        assert (days(second), second.due) == ([(0, 11)], -11 * DAY)
        assert of(story, "2025-12..2026-11").late == ()


def test_what_was_done_earlier_than_was_known_is_given_back(tmp_path: Path) -> None:
    # In July somebody enters that it was done on 25 May: 5 days instead of 11.
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        entry = late_since(story, "2026-05-20", "2026-05-21 09:00:00")
        story.at("2026-07-01 09:00:00")
        noted_at(story, "delay", "done", entry, "2026-05-25 09:00:00")
        story.at("2026-12-10").deliver()
        first, second = (of(story, months) for months in HALF_YEARS)
        assert (days(first), days(second)) == ([(11, 0)], [(5, 11)])
        assert first.due + second.due == 5 * DAY


@pytest.mark.parametrize(("exempt", "spared"), [(True, 3), (False, 0)])
def test_days_of_force_majeure_are_no_days_of_delay(exempt: bool, spared: int, tmp_path: Path) -> None:
    # Late from 2 to 10 June, 9 days; force majeure from the 4th at noon to the 6th at noon: three of them.
    contract = shipped_contract()
    sla = msgspec.structs.replace(contract.signed.sla, exclude_force_majeure=exempt)
    signed = msgspec.structs.replace(contract.signed, sla=sla)
    with Story(tmp_path) as story:
        entry = late_since(story, "2026-06-01", "2026-06-02 09:00:00")
        storm = story.at("2026-06-04 12:00:00").noted("force majeure")
        story.noted("force majeure", "began", storm)
        story.at("2026-06-06 12:00:00").noted("force majeure", "ended", storm)
        story.at("2026-06-10 09:00:00").noted("delay", "done", entry)
        found = of(story, "2026-06..2026-06", msgspec.structs.replace(contract, signed=signed))
    (late,) = found.late
    assert (late.days, late.days_spared, late.penalty) == (9 - spared, spared, (9 - spared) * DAY)


def test_each_month_alone_adds_up_to_all_of_them(tmp_path: Path) -> None:
    # 1,000.01 yuan, 1 % a day is 10.0001: the fen of each sum, never the sum of rounded months.
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        entry = late_since(story, "2026-01-20", "2026-01-21 09:00:00", "10000100")
        story.at("2026-05-15 09:00:00").noted("delay", "done", entry)
        story.at("2026-12-10").deliver()
        months = [of(story, f"2026-0{month}..2026-0{month}").due for month in range(1, 7)]
        assert len([due for due in months if due]) == 5
        # 115 days: 1,150.0115 yuan.
        assert sum(months) == of(story, HALF_YEARS[0]).due == 11_500_100


def test_what_is_due_is_whole_fen(tmp_path: Path) -> None:
    # Rounded to 0.0001 yuan: 1,000.01 yuan, 1 % for 29 days of June: 290.0029 yuan, of which 290.00 are due.
    contract = shipped_contract()
    reduction = msgspec.structs.replace(contract.signed.reduction, to=1)
    signed = msgspec.structs.replace(contract.signed, reduction=reduction)
    with Story(tmp_path) as story:
        late_since(story, "2026-06-01", "2026-06-02 09:00:00", "10000100")
        story.at("2026-07-10").deliver()
        found = of(story, "2026-06..2026-06", msgspec.structs.replace(contract, signed=signed))
    assert (found.penalty, found.due) == (2_900_029, 2_900_000)


def test_force_majeure_entered_too_late_for_a_report_is_in_the_next(tmp_path: Path) -> None:
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        story.at("2026-06-10 09:00:00")
        begun = at("2026-05-10 10:00:00")
        flood = story.write(Noted(story.now_us, "force majeure", 0, "opened", begun, "li", []))
        for event, when in (("began", "2026-05-10 10:00:00"), ("ended", "2026-05-11 10:00:00")):
            noted_at(story, "force majeure", event, flood, when)
        story.at("2026-12-10").deliver()
        found = [[each.entry for each in report_of(story, months).force_majeure] for months in HALF_YEARS]
    assert found == [[], [flood]]


def test_a_fault_entered_too_late_for_a_report_is_in_the_next(tmp_path: Path) -> None:
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        story.at("2026-06-05 09:00:00")
        fault = story.write(Noted(story.now_us, "incident", 0, "opened", at("2026-05-31 10:00:00"), "li", []))
        story.at("2026-06-10 09:00:00").noted("incident", "restored", fault)
        story.at("2026-12-10").deliver()
        found = [[each.entry for each in report_of(story, months).incidents] for months in HALF_YEARS]
    assert found == [[], [fault]]
