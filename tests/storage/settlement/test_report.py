"""The service of a span: delays, links, faults and lateness, each with figures computed by hand."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from storage.records import Configured, LinkEvent, Noted, Reported, Started, Stopped
from storage.settlement.assessment import Assessment, assess, assessment_period
from storage.settlement.calendar import parse_period
from storage.settlement.contract import Amendment, Contract, shipped_contract
from storage.settlement.quality import Availability, Delays
from storage.settlement.report import Report, make_report
from storage.settlement.statement import Evidence
from tests.storage.settlement.story import CAUSES, NAME, Story, at, cause_of

END = (1 << 63) - 1


def evidence(known_before_us: int) -> Evidence:
    """All of it, as it was known then."""
    return Evidence(
        log=NAME, identity="", records=END, root="", known_before="", known_before_us=known_before_us
    )


def report_of(story: Story, months: str, contract: Contract | None = None, known_at: int = END) -> Report:
    contract = contract or shipped_contract()
    with closing(story.ledger()) as connection:
        period = parse_period(months, contract.settlement)
        return make_report(connection, contract, period, evidence(known_at), CAUSES, cause_of)


def assessment_of(story: Story, year: int) -> Assessment:
    contract = shipped_contract()
    with closing(story.ledger()) as connection:
        period = assessment_period(contract, year)
        report = make_report(connection, contract, period, evidence(END), CAUSES, cause_of)
        return assess(connection, contract, year, report)


def test_delays_of_receipts_and_reports(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10 10:00:00")
        numbers = [story.accept() for _ in range(100)]
        story.dispatch(*numbers)
        for number in numbers[:99]:  # one is refused for good: no carrier took it
            story.sent(number)
        story.refused(numbers[99])
        receipts = []
        for seconds, some in ((2, numbers[:50]), (30, numbers[50:94]), (600, numbers[94:98])):
            story.now_us = at("2026-06-10 10:00:00") + seconds * 1_000_000
            receipts += [story.receipt(number) for number in some]
        # Reports: 97 within a second, one after six minutes.
        story.now_us += 1_000_000
        story.write(*(Reported(index, story.now_us, "hukou", 1, 0) for index in receipts[:97]))
        story.now_us += 360_000_000
        story.write(Reported(receipts[97], story.now_us, "hukou", 1, 0))
        report = report_of(story, "2026-06..2026-06")
    (covered,) = report.coverage
    # 99 taken, 98 with a receipt. The 49th of 98 came after 2 s, the 94th after 30 s, the 98th after 600 s.
    assert (covered.carrier, covered.network, covered.sent, covered.reported) == ("cmcc", "mobile", 99, 98)
    assert covered.receipt == Delays(98, 2.0, 30.0, 600.0, 600.0, 0)
    # The first 50 were reported 599 s after they came, the next 44 after 571 s, three after 1 s, one after
    # 361 s: 95 are later than the 5 minutes.
    assert report.stretches[0].reports == Delays(98, 599.0, 599.0, 599.0, 599.0, 95)


def link(story: Story, place: int, event: str, carrier: str = "cmcc") -> LinkEvent:
    return LinkEvent(story.now_us, carrier, place, event, "")


def test_links_over_a_month(tmp_path: Path) -> None:
    # June has 720 hours. Bound from the 1st at 01:00, one of two lost for a while, both from the 10th 00:00
    # to 12:00, then a crash on the 20th, an hour after the last record, started at 07:00 and bound at 08:00.
    with Story(tmp_path, "2026-06-01 00:00:00") as story:
        story.at("2026-06-01 01:00:00").write(link(story, 0, "bound"), link(story, 1, "bound"))
        story.at("2026-06-05").write(link(story, 1, "down"))
        story.at("2026-06-06").write(link(story, 1, "bound"))
        story.at("2026-06-10").write(link(story, 0, "down"), link(story, 1, "parked"))
        story.at("2026-06-10 12:00:00").write(link(story, 0, "bound"))
        story.at("2026-06-20 05:00:00").write(link(story, 2, "bound", "cucc"))
        story.at("2026-06-20 06:00:00").deliver()
        story.at("2026-06-20 07:00:00").write(Started(story.now_us, NAME, "0.1.0", bytes(32), "host 1"))
        story.at("2026-06-20 08:00:00").write(link(story, 0, "bound"))
        story.at("2026-06-30 12:00:00").write(Stopped(story.now_us, "by hand"))
        story.at("2026-07-02").write(link(story, 0, "bound"))
        links = {each.carrier: each for each in report_of(story, "2026-06..2026-06").links}
    # cmcc: 9 days less 1 h = 215 h, 9 days 18 h = 234 h, 10 days 4 h = 244 h: 693 of 720 h.
    assert links["cmcc"] == Availability("cmcc", 693 * 1_000_000 // 720, 3, 12 * 3600)
    # cucc was bound for the hour before the last record: 1 of 720 h, without before for 19 days and 5 h.
    assert links["cucc"] == Availability("cucc", 1_000_000 // 720, 1, 461 * 3600)
    assert links["ctcc"] == Availability("ctcc", 0, 0, 720 * 3600)


def test_links_of_a_carrier_that_is_configured_for_a_while(tmp_path: Path) -> None:
    # new: from the 11th to the 21st, 240 h, bound for all of them but the first.
    with Story(tmp_path, "2026-06-01 00:00:00") as story:
        story.at("2026-06-11")
        story.write(Configured(story.now_us, [], [("cmcc", "mobile"), ("new", "unicom")]))
        story.at("2026-06-11 01:00:00").write(link(story, 0, "bound", "new"))
        story.at("2026-06-21").write(link(story, 0, "down", "new"))
        story.write(Configured(story.now_us, [], [("cmcc", "mobile")]))
        links = {each.carrier: each for each in report_of(story, "2026-06..2026-06").links}
        assert links["new"] == Availability("new", 239 * 1_000_000 // 240, 0, 3600)
        assert links["cmcc"].longest_s == 720 * 3600
        assert links["cucc"].longest_s == 240 * 3600  # of those ten days
        july = {each.carrier for each in report_of(story, "2026-07..2026-07").links}
        assert july == {"cmcc"}


@pytest.mark.parametrize(
    ("responded", "restored", "verdicts"),
    [
        # 1小时之内, 8小时内: the limit itself is in time.
        ("11:00:00", "18:00:00", (60, "in time", 480, "in time")),
        ("11:00:01", "18:00:01", (61, "late", 481, "late")),
        # What was restored was responded to before.
        ("", "10:30:00", (30, "in time", 30, "in time")),
        # Nobody did anything by the end of the month.
        ("", "", (29_640, "late", 29_640, "late")),
    ],
)
def test_the_clocks_of_a_fault(
    responded: str, restored: str, verdicts: tuple[object, ...], tmp_path: Path
) -> None:
    with Story(tmp_path) as story:
        entry = story.at("2026-06-10 10:00:00").noted("incident")
        if responded:
            story.at(f"2026-06-10 {responded}").noted("incident", "responded", entry)
        if restored:
            story.at(f"2026-06-10 {restored}").noted("incident", "restored", entry)
        (incident,) = report_of(story, "2026-06..2026-06").incidents
    assert msgspec.structs.astuple(incident.clocks) == verdicts


@pytest.mark.parametrize(
    ("by", "clock_start", "minutes"),
    # Entered at 10:00, by an alarm reported by A at 10:20 too, restored at 10:30.
    [
        ("alarm", "earliest", 30),
        ("alarm", "alarm", 30),
        ("alarm", "report", 10),
        ("a", "report", 30),
        ("a", "alarm", 30),
    ],
)
def test_from_when_the_clocks_run(by: str, clock_start: str, minutes: int, tmp_path: Path) -> None:
    contract = shipped_contract()
    incident = msgspec.structs.replace(contract.signed.incident, clock_start=clock_start)
    signed = msgspec.structs.replace(contract.signed, incident=incident)
    with Story(tmp_path) as story:
        entry = story.at("2026-06-10 10:00:00").entered("incident", what="cmcc", by=by)
        if by == "alarm":
            story.at("2026-06-10 10:20:00").noted("incident", "reported", entry)
        story.at("2026-06-10 10:30:00").noted("incident", "restored", entry)
        report = report_of(story, "2026-06..2026-06", msgspec.structs.replace(contract, signed=signed))
    assert report.incidents[0].clocks.restore_minutes == minutes


def test_what_still_runs_runs_to_the_last_record(tmp_path: Path) -> None:
    # Half an hour into a fault, a day after the day on which something was due, a link bound since 09:30.
    with Story(tmp_path, "2026-06-10 09:30:00") as story:
        story.write(link(story, 0, "bound"))
        story.entered("delay", service="portal", due="2026-06-09", amount="1000000")
        story.at("2026-06-10 10:00:00").noted("incident")
        report = report_of(story, "6", known_at=at("2026-06-10 10:30:00"))
    (incident,) = report.incidents
    assert msgspec.structs.astuple(incident.clocks) == (30, "running", 30, "running")
    assert [(late.days, late.penalty) for late in report.penalties.late] == [(1, 10_000)]
    assert report.links[1] == Availability("cmcc", 1_000_000, 0, 0)


def test_what_lateness_costs(tmp_path: Path) -> None:
    # 12,000 yuan, due on 1 June, done on the 5th: 4 days, 4 % of it, 480 yuan. 1,000.01 yuan, due on the 28th
    # and not done by the end of June: the 29th and 30th, 2 % of it: 20.0002 yuan, to the fen 20.00.
    with Story(tmp_path) as story:
        story.at("2026-06-01 09:00:00")
        first = story.entered("delay", service="portal", due="2026-06-01", amount="120000000")
        story.at("2026-06-05 18:00:00").noted("delay", "done", first)
        story.at("2026-06-28").entered("delay", service="page", due="2026-06-28", amount="10000100")
        report = report_of(story, "2026-06..2026-06")
        found = report.penalties
        assert [(late.service, late.days, late.penalty) for late in found.late] == [
            ("portal", 4, 4_800_000),
            ("page", 2, 200_000),
        ]
        assert (found.penalty, found.cap, found.due) == (5_000_000, None, 5_000_000)
        # 十三.4: no more than the amount of the contract, here 300 yuan.
        small = msgspec.structs.replace(shipped_contract(), amount=3_000_000)
        found = report_of(story, "2026-06..2026-06", small).penalties
        assert (found.penalty, found.cap, found.due) == (5_000_000, 3_000_000, 3_000_000)


def test_each_month_fault_and_delay_has_the_terms_of_its_day(tmp_path: Path) -> None:
    # From June 2026 on: 98 % instead of 99, 4 hours instead of 8, 10 minutes instead of 5, 2 % a day instead
    # of 1, one message instead of each part, at the most half of the contract.
    contract = shipped_contract()
    signed = contract.signed
    replace = msgspec.structs.replace
    terms = replace(
        signed,
        sla=replace(signed.sla, success_rate_min=Fraction(98, 100)),
        incident=replace(signed.incident, restore_minutes=240),
        report=replace(signed.report, max_delay_minutes=10),
        penalty=replace(signed.penalty, per_day=Fraction(2, 100), cap=Fraction(1, 2)),
        billing=replace(signed.billing, unit="message"),
    )
    amendment = Amendment(
        effective=date(2026, 6, 1),
        document="second supplement",
        clause="1",
        changed=frozenset({"sla.success_rate_min"}),
        terms=terms,
    )
    amended = replace(contract, amount=10_000_000, amendments=(amendment,))
    with Story(tmp_path, "2025-12-01 00:00:00") as story:
        for day in ("2026-01-10", "2026-07-10"):
            story.at(f"{day} 10:00:00").deliver()
            number = story.accept(units=3)
            story.dispatch(number)
            story.sent(number)
            fault = story.noted("incident")
            story.at(f"{day} 15:00:00").noted("incident", "restored", fault)  # after 5 hours
            delay = story.entered("delay", service="portal", due=day, amount="1000000")
            next_day = f"{day[:-1]}{int(day[-1]) + 1}"
            story.at(f"{next_day} 09:00:00").noted("delay", "done", delay)
        report = report_of(story, "2025-12..2026-11", amended)
    before, after = report.stretches
    assert (before.first_month, before.last_month) == ("2025-12", "2026-05")
    assert (after.first_month, after.last_month) == ("2026-06", "2026-11")
    assert (before.service.rate_min, after.service.rate_min) == ("0.990000", "0.980000")
    assert (before.report_limit_minutes, after.report_limit_minutes) == (5, 10)
    # One delivered beside three parts of which nothing is known, then beside one message of that kind.
    assert [each.accepted for each in before.rates if not each.carrier] == [0, 4, 0, 0, 0, 0]
    assert [each.accepted for each in after.rates if not each.carrier] == [0, 2, 0, 0, 0, 0]
    assert [(each.clocks.restored, each.restore_limit_minutes) for each in report.incidents] == [
        ("in time", 480),
        ("late", 240),
    ]
    assert [(each.per_day, each.penalty) for each in report.penalties.late] == [
        ("0.010000", 10_000),
        ("0.020000", 20_000),
    ]
    assert (report.penalties.cap_share, report.penalties.cap) == ("0.500000", 5_000_000)


def test_rates_by_month_and_carrier(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10").deliver(3)
        story.deliver(1, b"MK:0012")
        story.deliver(2, carrier="cucc")
        story.reply()
        story.at("2026-07-10").deliver(1, b"ID:0318")
        rates = report_of(story, "2026-06..2026-07").stretches[0].rates
    assert [
        (r.month, r.carrier, r.accepted, r.delivered, r.rate, r.rate_without_terminal) for r in rates
    ] == [
        ("2026-06", "mobile", 4, 3, "0.800000", "1.000000"),  # with the reply 4 of 5, and 4 of 4
        ("2026-06", "unicom", 2, 2, "1.000000", "1.000000"),
        ("2026-06", "", 6, 5, "0.857142", "1.000000"),
        ("2026-07", "mobile", 1, 0, "0.000000", "0.000000"),
        ("2026-07", "", 1, 0, "0.000000", "0.000000"),
    ]


def test_planned_work_and_force_majeure_are_listed(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-01 00:00:00")
        times = {"from": "2026-06-03 01:00:00", "to": "2026-06-03 03:00:00"}
        work = story.entered("maintenance", what="patch", **times)
        story.at("2026-06-03 01:10:00").noted("maintenance", "began", work)
        story.at("2026-06-03 02:00:00").noted("maintenance", "ended", work)
        flood = story.at("2026-06-20").entered("force majeure", what="flood")
        story.noted("force majeure", "began", flood)
        report = report_of(story, "2026-06..2026-06")
    (planned,) = report.maintenance
    assert (planned.what, planned.notice_hours, planned.notice_min_hours) == ("patch", 49, 72)
    assert (planned.began, planned.ended) == ("2026-06-03 01:10:00", "2026-06-03 02:00:00")
    (prevented,) = report.force_majeure
    assert (prevented.what, prevented.began, prevented.ended) == ("flood", "2026-06-20 00:00:00", "")


def test_what_was_taken_back_is_told(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-10 10:00:00")
        fault = story.entered("incident", what="cmcc", by="alarm")
        story.entered("incident", what="cucc", by="b")
        story.at("2026-06-20 10:00:00").noted("incident", "withdrawn", fault)
        report = report_of(story, "2026-06..2026-06")
    assert [each.what for each in report.incidents] == ["cucc"]
    (taken_back,) = report.withdrawals
    assert (taken_back.register, taken_back.entry, taken_back.what) == ("incident", fault, "cmcc")
    assert (taken_back.opened, taken_back.withdrawn) == ("2026-06-10 10:00:00", "2026-06-20 10:00:00")
    assert taken_back.who == "zhang"


def test_everything_that_may_have_counted_is_told_when_taken_back(tmp_path: Path) -> None:
    # A flood begun in May, a complaint of May, a rating entered when the year was over.
    with Story(tmp_path, "2026-01-01") as story:
        flood = story.at("2026-05-31").entered("force majeure", what="flood")
        story.noted("force majeure", "began", flood)
        complaint = story.at("2026-05-31").noted("complaint")
        story.at("2026-06-11").noted("complaint", "withdrawn", complaint)
        story.noted("force majeure", "withdrawn", flood)
        rating = story.at("2027-01-10").entered("rating", year="3", support="10", satisfaction="10")
        story.noted("rating", "withdrawn", rating)
        report = report_of(story, "2026-06..2026-06")
    assert [(each.register, each.entry) for each in report.withdrawals] == [
        ("complaint", complaint),
        ("force majeure", flood),
        ("rating", rating),
    ]


def test_a_final_report_does_not_change(tmp_path: Path) -> None:
    # June is over, and 72 hours after it nothing counts any more, however far the evidence has gone.
    with Story(tmp_path) as story:
        fault = story.at("2026-06-10 10:00:00").noted("incident")
        story.deliver(1)
        draft = report_of(story, "2026-06..2026-06", known_at=at("2026-07-03 23:59:59"))
        first = report_of(story, "2026-06..2026-06", known_at=at("2026-07-04 00:00:00"))
        story.at("2026-07-05").noted("incident", "restored", fault)
        second = report_of(story, "2026-06..2026-06")
    assert (draft.final, first.final, second.final) == (False, True, True)
    assert msgspec.structs.replace(second, evidence=first.evidence) == first


def test_when_it_was_written_is_told_beside_when_it_was(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        fault = story.at("2026-06-10 10:00:00").noted("incident")
        story.at("2026-06-29 10:00:00")
        restored_us = at("2026-06-10 10:05:00")
        story.write(Noted(story.now_us, "incident", fault, "restored", restored_us, "wang", []))
        (incident,) = report_of(story, "2026-06..2026-06").incidents
    assert incident.clocks.restored == "in time"
    assert (incident.written, incident.last_written) == ("2026-06-10 10:00:00", "2026-06-29 10:00:00")


def test_the_yearly_assessment(tmp_path: Path) -> None:
    # Year 3 is December 2025 to November 2026. Two faults: 100 - 2 * 5 = 90; one of two in time: 50. Rated 80
    # and 70 (the last word). (90 + 50 + 80 + 70) / 4 = 72.5, cut to 72, above 60.
    with Story(tmp_path, "2025-12-01") as story:
        story.at("2026-01-10 10:00:00")
        good, bad = story.noted("incident"), story.noted("incident")
        story.at("2026-01-10 10:30:00").noted("incident", "restored", good)
        story.at("2026-01-11 10:30:00").noted("incident", "restored", bad)
        unrated = assessment_of(story, 3)
        assert (unrated.score, unrated.passed) == (None, None)
        story.at("2026-11-01").entered("rating", year="3", support="10", satisfaction="10")
        story.at("2026-11-20").entered("rating", year="3", support="80", satisfaction="70")
        story.entered("rating", year="2", support="1", satisfaction="1")
        year = assessment_of(story, 3)
    assert [(each.name, each.weight, each.score) for each in year.headings] == [
        ("faults", 25, 90),
        ("resolution", 25, 50),
        ("support", 25, 80),
        ("satisfaction", 25, 70),
    ]
    assert (year.score, year.passed, year.pass_score) == (72, True, 60)
    assert (year.report.first_month, year.report.last_month) == ("2025-12", "2026-11")
    assert msgspec.json.decode(year.encode())["report"]["evidence"]["records"] == END
