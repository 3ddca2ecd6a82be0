"""Thresholds of the contract: when somebody hears of them, and when not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from storage.settlement import alarms as alarms_module
from storage.settlement.alarms import (
    LINKS_DOWN_US,
    Alarm,
    alarms,
    faults_running,
    links_down,
    open_faults,
)
from storage.settlement.contract import Contract, Renewal, shipped_contract
from storage.settlement.terms import Alarms
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
    ("today", "name", "detail"),
    [
        ("2026-08-31", "", ""),
        ("2026-09-01", "term:90", "the term ends on 2026-11-30, in 90 days"),
        ("2026-10-30", "term:90", "the term ends on 2026-11-30, in 31 days"),
        ("2026-10-31", "term:30", "the term ends on 2026-11-30, in 30 days"),
        ("2026-11-23", "term:7", "the term ends on 2026-11-30, in 7 days"),
        ("2026-11-30", "term:7", "the term ends on 2026-11-30, in 0 days"),
        ("2026-12-01", "term:over", "the term ended on 2026-11-30: no renewal is in the contract file"),
    ],
)
def test_the_end_of_the_term(today: str, name: str, detail: str, tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.deliver()
        expected = [Alarm(name, detail)] if name else []
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
        below = "0.980000, below the 0.990000 that are agreed"
        assert found(story, "2026-06-14 12:00:00") == [
            Alarm("success", f"98 of 100 from 2026-06-01 00:00:00 to 2026-06-11 12:00:00: {below}"),
            Alarm("success:week", f"98 of 100 from 2026-06-04 00:00:00 to 2026-06-11 00:00:00: {below}"),
        ]
        story.at("2026-06-15").deliver(100)
        near = Alarm(
            "success",
            "198 of 200 from 2026-06-01 00:00:00 to 2026-06-22 00:00:00: 0.990000, near the 0.990000 that are"
            " agreed",
        )
        assert found(story, "2026-06-25") == [near]  # and the week was a good one
        story.at("2026-06-25").deliver(50)
        assert names(story, "2026-07-10") == []  # 248 of 250


def with_sla(**changed: object) -> Contract:
    contract = long_contract()
    sla = msgspec.structs.replace(contract.signed.sla, **changed)
    return msgspec.structs.replace(contract, signed=msgspec.structs.replace(contract.signed, sla=sla))


@pytest.mark.parametrize(
    ("rate_min", "margin", "failed", "heard"),
    [
        ("0.99", "0.002", 2, "below"),
        ("0.99", "0.002", 1, "near"),
        ("0.99", "0", 1, ""),
        ("0.988", "0.002", 1, ""),  # 0.99 itself is far enough
        ("0.999", "0.002", 0, ""),  # nothing is better than all
    ],
)
def test_how_near_is_near(rate_min: str, margin: str, failed: int, heard: str, tmp_path: Path) -> None:
    contract = msgspec.structs.replace(
        with_sla(success_rate_min=Fraction(rate_min)), alarms=Alarms(success_margin=Fraction(margin))
    )
    with Story(tmp_path) as story:
        story.at("2026-06-10").deliver(100 - failed)
        story.deliver(failed, b"MK:0012")
        alarm = next(iter(found(story, "2026-06-30", contract)), None)
        assert (alarm.detail.split()[-6] if alarm else "") == heard


def test_the_month_is_judged_where_that_is_agreed(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10").deliver(900)
        story.at("2026-07-05").deliver(57)
        story.deliver(3, b"MK:0012")
        assert names(story, "2026-07-31") == []  # 957 of 960
        (alarm,) = found(story, "2026-07-31", with_sla(rate_window="month"))
        assert alarm.detail.startswith("57 of 60 from 2026-07-01 00:00:00 to 2026-07-28 00:00:00: 0.95")


def test_what_is_exempt_raises_no_alarm(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        for register in ("force majeure", "maintenance"):
            story.at("2026-06-07 08:00:00")
            begun = story.announced("2026-06-10 08:00:00", "2026-06-10 10:00:00")
            if register == "force majeure":
                begun = story.noted(register)
            story.at("2026-06-10 08:00:00").noted(register, "began", begun)
            story.at("2026-06-10 09:00:00").deliver(20, b"MK:0012")
            story.at("2026-06-10 10:00:00").noted(register, "ended", begun)
            story.at("2026-06-10 12:00:00").deliver(100)
            assert found(story, "2026-06-30", with_sla(exclude_planned=True)) == []
            agreed = with_sla(exclude_force_majeure=register == "maintenance")  # and nothing planned
            assert [alarm.name for alarm in found(story, "2026-06-30", agreed)] == (
                ["success"] if register == "force majeure" else []
            )


def test_work_that_should_be_over(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        work = story.at("2026-06-05").announced("2026-06-10 01:00:00", "2026-06-10 03:00:00")
        assert names(story, "2026-06-11") == []  # it never began
        story.at("2026-06-10 01:00:00").noted("maintenance", "began", work)
        assert names(story, "2026-06-10 03:00:00") == []
        (alarm,) = found(story, "2026-06-10 03:00:01")
        assert (alarm.name, alarm.detail) == (
            f"maintenance:{work}",
            f"planned work {work}, patch, was announced to end at 2026-06-10 03:00:00: enter its end",
        )
        story.at("2026-06-10 04:00:00").noted("maintenance", "ended", work)
        assert names(story, "2026-06-11") == []


def test_force_majeure_that_nobody_proves_or_ends(tmp_path: Path) -> None:
    # Its proof is due on 10 July, the thirtieth day.
    with Story(tmp_path) as story:
        flood = story.at("2026-06-10 10:00:00").entered("force majeure", what="flood")
        story.noted("force majeure", "began", flood)
        assert names(story, "2026-07-02") == []
        head = f"force majeure {flood}, flood, since 2026-06-10 10:00:00: "
        over = "if it is over, enter its end: until then nothing counts for the success rate"
        for day, said in (
            ("2026-07-03", "its proof is due by 2026-07-10"),
            ("2026-07-11", f"its proof was due by 2026-07-10; {over}"),
        ):
            (alarm,) = found(story, day)
            assert (alarm.name, alarm.detail) == (f"force-majeure:{flood}", head + said)
        story.at("2026-07-10").noted("force majeure", "proof", flood)
        (alarm,) = found(story, "2026-07-11")
        assert alarm.detail == head + over
        story.at("2026-07-11").noted("force majeure", "ended", flood)
        assert names(story, "2026-08-11") == []


def test_a_fault_that_has_used_half_of_its_time(tmp_path: Path) -> None:
    def running(now: str) -> list[Alarm]:
        with closing(story.ledger()) as connection:
            return faults_running(open_faults(connection, at(now)), long_contract(), at(now))

    with Story(tmp_path) as story:
        entry = story.at("2026-06-10 10:00:00").entered("incident", what="no receipts", by="a")
        name, fault = f"incident:{entry}", f"fault {entry}, no receipts:"
        assert running("2026-06-10 10:29:00") == []
        half = f"{fault} not responded to for 30 minutes of 60"
        assert running("2026-06-10 10:30:00") == [Alarm(name, half)]
        assert running("2026-06-10 14:00:00") == [
            Alarm(
                name, f"{fault} not responded to for 240 minutes of 60, not restored for 240 minutes of 480"
            )
        ]
        story.at("2026-06-10 14:00:00").noted("incident", "responded", entry)
        late = f"{fault} not restored for 241 minutes of 480"
        assert running("2026-06-10 14:01:00") == [Alarm(name, late)]
        story.at("2026-06-10 14:02:00").noted("incident", "restored", entry)
        assert running("2026-06-10 20:00:00") == []
        other = story.at("2026-06-11 10:00:00").entered("incident", what="again", by="a")
        assert [alarm.name for alarm in running("2026-06-11 11:00:00")] == [f"incident:{other}"]
        story.at("2026-06-11 11:00:00").noted("incident", "closed", other)
        assert running("2026-06-11 12:00:00") == []


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
        assert names(story, "2026-06-18 14:00:00") == ["success", "success:week"]


def test_links_are_down_after_a_minute() -> None:
    since_us = at("2026-06-10 12:00:00")
    links = {"cmcc": (False, since_us), "cucc": (True, since_us)}
    assert links_down(links, since_us + LINKS_DOWN_US - 1) == {}
    assert links_down(links, since_us + LINKS_DOWN_US) == {"cmcc": since_us}
