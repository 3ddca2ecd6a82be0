"""Statements computed by hand, a case for each thing that the contract leaves open.

Prices are 300 (0.03 yuan) a unit, so 10,000 units are 300 yuan. The arithmetic of each case is written beside
it; figures are (accepted, delivered, failed, unknown, uncertain, waiting, cancelled, billable).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from storage.records import Accepted, Noted
from storage.settlement.contract import Contract, shipped_contract
from storage.settlement.statement import Figures, Statement
from storage.settlement.tables import check_sums
from storage.settlement.terms import Terms
from tests.storage.settlement.story import Story, at


def agreed(**tables: dict[str, object]) -> Contract:
    """The contract with other parameters, such as billing={"unit": "message"}."""
    contract = shipped_contract()
    changed = {
        name: msgspec.structs.replace(getattr(contract.signed, name), **values)
        for name, values in tables.items()
        if name in Terms.__struct_fields__
    }
    settlement = msgspec.structs.replace(contract.settlement, **tables.get("settlement", {}))
    signed = msgspec.structs.replace(contract.signed, **changed)
    return msgspec.structs.replace(contract, signed=signed, settlement=settlement)


def shown(figures: Figures) -> tuple[int, ...]:
    return (
        figures.accepted,
        figures.delivered,
        figures.failed,
        figures.unknown,
        figures.uncertain,
        figures.waiting,
        figures.cancelled,
        figures.billable,
    )


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Statement]:
    """The statement of period 6 (2026-06..2026-11) after a story, which goes on beyond the cut."""

    def tell(story: Callable[[Story], None], contract: Contract | None = None) -> Statement:
        with Story(tmp_path / str(len(list(tmp_path.iterdir())))) as teller:
            teller.at("2026-06-01 08:00:00")
            story(teller)
            teller.settle()
            return teller.statement("6", contract)

    return tell


Tell = Callable[..., Statement]


# -- what is a 条 -----------------------------------------------------------------------------------------


def long_texts(story: Story) -> None:
    story.deliver(units=3)  # handed over whole, three parts on the air
    parts = story.accept_cut(4)
    story.dispatch(*parts)
    for part in parts[:3]:
        story.sent(part)
        story.receipt(part)
    story.sent(parts[3])
    story.receipt(parts[3], b"MK:0012")
    story.deliver()


def test_each_part_of_a_long_text_is_charged(told: Tell) -> None:
    # Units: 3 + 4 + 1 = 8; delivered 3 + 3 + 1 = 7, failed 1. 8 * 300 = 2,400 = 0.24 yuan.
    statement = told(long_texts)
    assert shown(statement.total) == (8, 7, 1, 0, 0, 0, 0, 8)
    assert (statement.amount, statement.due) == (2_400, 2_400)


def test_a_long_text_is_one_where_messages_are_charged(told: Tell) -> None:
    # Three messages; the one of which a part failed has failed. 3 * 300 = 900.
    statement = told(long_texts, agreed(billing={"unit": "message"}))
    assert shown(statement.total) == (3, 2, 1, 0, 0, 0, 0, 3)
    assert statement.amount == 900


def test_a_text_that_was_replaced_counts_as_what_was_sent(told: Tell) -> None:
    # Accepted with one part, replaced by a text of three before it left, delivered: 3 * 300 = 900.
    def story(story: Story) -> None:
        number = story.accept()
        story.replaced(number, 3)
        story.dispatch(number)
        story.sent(number)
        story.receipt(number)

    statement = told(story)
    assert shown(statement.total) == (3, 3, 0, 0, 0, 0, 0, 3)
    assert statement.amount == 900


# -- which of them are paid for --------------------------------------------------------------------------


def three_ways(story: Story) -> None:
    story.deliver(6)
    story.deliver(2, b"MK:0012")
    story.deliver(1, b"UNKNOWN")
    cancelled = story.accept()
    story.outcome(cancelled, 4, "application", "cancelled")
    story.deny(5)
    story.reply()


@pytest.mark.parametrize(
    ("count_on", "units_mt", "amount"),
    [
        # Accepted 10, one of them cancelled by its sender: 9 messages and 1 reply, 10 * 300 = 3,000.
        ("accepted", 9, 3_000),
        # Delivered 6, and 1 reply: 7 * 300 = 2,100.
        ("delivered", 6, 2_100),
        # Submitted 15, of which 5 were refused and 1 was cancelled: 14 and 1 reply, 15 * 300 = 4,500.
        ("submitted", 14, 4_500),
    ],
)
def test_what_is_counted(count_on: str, units_mt: int, amount: int, told: Tell) -> None:
    statement = told(three_ways, agreed(billing={"count_on": count_on}))
    charges = {
        charge.count_on: (charge.units_mt, charge.units_mo, charge.amount) for charge in statement.charges
    }
    assert charges == {"accepted": (9, 1, 3_000), "delivered": (6, 1, 2_100), "submitted": (14, 1, 4_500)}
    assert (charges[statement.count_on][0], statement.amount) == (units_mt, amount)
    assert (statement.total.submitted, statement.total.denied) == (16, 5)  # the reply was accepted too


def test_what_was_cancelled_is_charged_where_that_is_agreed(told: Tell) -> None:
    # 10 accepted and 1 reply: 11 * 300 = 3,300.
    assert told(three_ways, agreed(billing={"cancelled": "charged"})).amount == 3_300


def test_what_is_due_is_whole_fen(told: Tell) -> None:
    # 16 messages and a reply at 0.028 yuan: 17 * 280 = 4,760, which is 47.6 fen: 48 fen are paid, or 47.
    def story(story: Story) -> None:
        story.deliver(16)
        story.reply()

    price: dict[str, object] = {"price_mt": 280, "price_mo": 280}
    statement = told(story, agreed(billing=price))
    assert (statement.amount, statement.due) == (4_760, 4_800)
    assert told(story, agreed(billing=price, reduction={"rounding": "down"})).due == 4_700


# -- replies ---------------------------------------------------------------------------------------------


def replies(story: Story) -> None:
    story.deliver(2)
    story.reply()
    first, second = story.reply(waits=True), story.reply(waits=True)
    again = story.reply(waits=True)
    story.assembled(first, second, again, repeats=1)
    story.reply(account="", carrier="cucc")  # to no account


def test_each_part_of_a_reply_is_charged_once(told: Tell) -> None:
    # Replies: 1 + 2 parts + 1 unrouted = 4; the part that came again is a duplicate. (2 + 4) * 300 = 1,800.
    statement = told(replies)
    assert shown(statement.total_mo) == (4, 4, 0, 0, 0, 0, 0, 4)
    assert (statement.total_mo.duplicates, statement.total_mo.amount) == (1, 1_200)
    assert statement.amount == 1_800
    assert [
        (line.carrier, line.account, line.figures.accepted)
        for line in statement.lines
        if line.direction == "mo"
    ] == [
        ("mobile", "hukou", 3),
        ("unicom", "", 1),
    ]


def test_a_reply_is_one_where_messages_are_charged(told: Tell) -> None:
    # Replies: 1 + 1 text of two parts + 1 unrouted = 3. (2 + 3) * 300 = 1,500.
    statement = told(replies, agreed(billing={"unit": "message"}))
    assert (statement.total_mo.billable, statement.amount) == (3, 1_500)


def test_replies_have_a_price_of_their_own(told: Tell) -> None:
    # 2 * 300 + 4 * 150 = 1,200; free replies: 600.
    assert told(replies, agreed(billing={"price_mo": 150})).amount == 1_200


def test_free_replies(told: Tell) -> None:
    assert told(replies, agreed(billing={"price_mo": 0})).amount == 600


# -- attempts --------------------------------------------------------------------------------------------


def attempts(story: Story) -> None:
    throttled = story.accept()
    story.dispatch(throttled)
    story.refused(throttled, status=0x58, final=False)
    story.dispatch(throttled)
    story.sent(throttled)
    story.receipt(throttled)
    detoured = story.accept()  # refused by one carrier, delivered by another
    story.dispatch(detoured)
    story.refused(detoured, status=0x0B, final=False)
    story.dispatch(detoured, carrier="cucc")
    story.sent(detoured)
    story.receipt(detoured, carrier="cucc")
    refused = story.accept()
    story.dispatch(refused)
    story.refused(refused)


def test_an_attempt_is_no_message(told: Tell) -> None:
    # Three messages in five attempts: 3 * 300 = 900. The second is Unicom's, who delivered it.
    statement = told(attempts)
    assert shown(statement.total) == (3, 2, 1, 0, 0, 0, 0, 3)
    assert statement.amount == 900
    assert statement.total.causes == {"gateway": 1}
    assert {line.carrier: line.figures.accepted for line in statement.lines} == {"mobile": 2, "unicom": 1}


def test_by_prefix_a_number_stays_with_its_first_network(told: Tell) -> None:
    statement = told(attempts, agreed(recon={"carrier_basis": "prefix"}))
    assert {line.carrier: line.figures.accepted for line in statement.lines} == {"mobile": 3}


# -- what is not known -----------------------------------------------------------------------------------


def not_known(story: Story) -> None:
    story.deliver(4)
    silent = story.accept()  # taken, no receipt
    story.dispatch(silent)
    story.sent(silent)
    doubtful = story.accept()  # sent, never answered
    story.dispatch(doubtful)
    story.uncertain(doubtful)
    resolved = story.accept()  # never answered, and a receipt after all
    story.dispatch(resolved)
    story.uncertain(resolved)
    story.matched(story.receipt(0, final=False), resolved)
    withdrawn = story.accept()  # certainly not sent, and still waiting
    story.dispatch(withdrawn)
    story.withdrawn(withdrawn)
    story.deliver(1, b"UNKNOWN")


def test_what_nobody_knows_is_told_apart(told: Tell) -> None:
    # 9 accepted: 5 delivered, unknown 2 (one by the carrier's word), uncertain 1, waiting 1. 9 * 300 = 2,700.
    statement = told(not_known)
    assert shown(statement.total) == (9, 5, 0, 2, 1, 1, 0, 9)
    assert statement.amount == 2_700
    # Rates: 5 of 9, by the letter and without terminal causes alike.
    assert [(rate.successful, rate.total, rate.rate) for rate in statement.service[0].rates] == [
        (5, 9, "0.555555"),
        (5, 9, "0.555555"),
    ]


def test_what_nobody_knows_may_be_left_out_of_the_rate(told: Tell) -> None:
    # 9 accepted less 3 that nobody knows: 5 of 6.
    statement = told(not_known, agreed(sla={"unknown": "excluded"}))
    assert statement.service[0].rates[0].rate == "0.833333"


def test_a_receipt_that_comes_again_changes_nothing(told: Tell) -> None:
    # One message, delivered, 300; then the same receipt again, and one that says the opposite.
    def story(story: Story) -> None:
        (number,) = story.deliver()
        story.receipt(number, final=False)
        story.receipt(number, b"MK:0012", final=False)

    statement = told(story)
    assert shown(statement.total) == (1, 1, 0, 0, 0, 0, 0, 1)
    assert (statement.total.duplicates, statement.amount) == (2, 300)


# -- the end of a period ---------------------------------------------------------------------------------


def at_the_end(story: Story) -> None:
    story.at("2026-11-30 23:59:59")
    numbers = [story.accept() for _ in range(4)]
    story.dispatch(*numbers)
    for number in numbers:
        story.sent(number)
    story.at("2026-12-01 00:00:00").deliver()  # of the next period
    story.receipt(numbers[0])
    story.at("2026-12-03 23:59:59").receipt(numbers[1])  # within 72 hours
    story.at("2026-12-04 00:00:00").receipt(numbers[2])  # one moment too late


def test_a_receipt_after_the_end_of_a_period_counts_for_72_hours(told: Tell) -> None:
    # Accepted in the last second: 4, of which 2 are known to be delivered in time. 4 * 300 = 1,200.
    statement = told(at_the_end)
    assert shown(statement.total) == (4, 2, 0, 2, 0, 0, 0, 4)
    assert (statement.final, statement.amount) == (True, 1_200)
    assert {line.month for line in statement.lines} == {"2026-11"}


def test_where_nothing_counts_after_the_end(told: Tell) -> None:
    statement = told(at_the_end, agreed(settlement={"cutoff_hours": 0}))
    assert shown(statement.total) == (4, 0, 0, 4, 0, 0, 0, 4)


def test_what_comes_later_does_not_change_a_final_statement(tmp_path: Path) -> None:
    with Story(tmp_path) as story:
        at_the_end(story)
        (late,) = [story.accept()]
        story.settle()
        first = story.statement()
        story.receipt(late)
        story.at("2026-12-20").deliver(3)
        story.sign()
        assert story.statement().encode() == first.encode()


# -- the two indicators ----------------------------------------------------------------------------------


def of_a_hundred(delivered: int, complaints: int) -> Callable[[Story], None]:
    def story(story: Story) -> None:
        story.deliver(delivered)
        story.deliver(100 - delivered, b"MK:0012")
        story.complain(complaints)

    return story


@pytest.mark.parametrize(
    ("delivered", "complaints", "combine", "met", "reduction"),
    [
        # Exactly 99 %: 达到99%以上 includes it.
        (99, 11, "any", True, 0),
        (99, 0, "all", True, 0),
        # 98 %, and exactly 10 complaints: 不超过10起 includes it, and 或者 wants one of the two.
        (98, 10, "any", True, 0),
        # Both wanted: 98 * 300 = 29,400 of success, times 2/100 = 588, which is 5.88 fen: 6 fen are 600.
        (98, 10, "all", False, 600),
        # 98 % and 11 complaints: neither holds.
        (98, 11, "any", False, 600),
        # 99 % and 11 complaints, both wanted: 99 * 300 = 29,700, times 1/100 = 297, 2.97 fen: 3 fen.
        (99, 11, "all", False, 300),
        # Nothing was successful: nothing is taken off by this formula, whatever failed.
        (0, 11, "any", False, 0),
    ],
)
def test_when_the_bill_is_reduced(
    delivered: int, complaints: int, combine: str, met: bool, reduction: int, told: Tell
) -> None:
    statement = told(of_a_hundred(delivered, complaints), agreed(sla={"combine": combine}))
    (service,) = statement.service
    assert (service.rate_met, service.complaints) == (delivered >= 99, complaints)
    assert (service.complaints_met, service.met) == (complaints <= 10, met)
    assert service.rates[0].rate == f"0.{delivered:02d}0000"
    assert (statement.reduction, statement.due) == (reduction, 30_000 - reduction)


def test_one_in_ten_thousand_below_is_below(told: Tell) -> None:
    # 989 of 1,000 is not 99 %, though it rounds to it. Fee 989 * 300 = 296,700; * 11/1000 = 3,263.7: 33 fen.
    def story(story: Story) -> None:
        story.deliver(989)
        story.deliver(11, b"MK:0012")
        story.complain(11)

    (service,) = told(story).service
    assert (service.rate_met, service.rates[0].rate) == (False, "0.989000")
    assert (service.reduction.fee_of_successful, service.reduction.failed, service.reduction.total) == (
        296_700,
        11,
        1_000,
    )
    assert (service.reduction.exact, service.reduction.amount) == ("0.326370", 3_300)


def test_handsets_count_by_the_letter_and_both_rates_are_shown(told: Tell) -> None:
    # 96 delivered, 2 handsets off, 1 number that does not exist, 1 refused for its text: 96 of 100 by the
    # letter; without what lies with the handset 96 of 97.
    def story(story: Story) -> None:
        story.deliver(96)
        story.deliver(2, b"MK:0012")
        story.deliver(1, b"MK:0001")
        story.deliver(1, b"ID:0318")
        story.complain(11)

    statement = told(story)
    (service,) = statement.service
    assert [(rate.name, rate.successful, rate.total, rate.rate) for rate in service.rates] == [
        ("literal", 96, 100, "0.960000"),
        ("without_terminal", 96, 97, "0.989690"),
    ]
    assert (service.contractual, service.rate_met) == ("literal", False)
    assert statement.total.causes == {"content": 1, "invalid": 1, "terminal": 2}
    # 96 * 300 = 28,800, times 4/100 = 1,152: 11.52 fen are 12.
    assert statement.reduction == 1_200


def test_handsets_do_not_count_where_that_is_agreed(told: Tell) -> None:
    def story(story: Story) -> None:
        story.deliver(96)
        story.deliver(3, b"MK:0012")
        story.deliver(1, b"ID:0318")
        story.complain(11)

    (service,) = told(story, agreed(sla={"exclude_terminal": True})).service
    # 96 of 97; 28,800 * 1/97 = 296.9: 2.97 fen are 3.
    assert (service.contractual, service.rate_met, service.reduction.amount) == (
        "without_terminal",
        False,
        300,
    )
    assert service.reduction.exact == "0.029690"


def test_replies_are_in_the_rate_or_not(told: Tell) -> None:
    def story(story: Story) -> None:
        story.deliver(98)
        story.deliver(2, b"MK:0012")
        for _ in range(100):
            story.reply()
        story.complain(11)

    # 198 of 200 is 99 %.
    assert told(story).service[0].rate_met
    (service,) = told(story, agreed(sla={"include_mo": False})).service
    # 98 of 100. The fee of what succeeded is that of both: 198 * 300 = 59,400; * 2/100 = 1,188: 12 fen.
    assert (service.rate_met, service.reduction.amount) == (False, 1_200)


@pytest.mark.parametrize(
    ("rounding", "amount"),
    # 75 of 76 delivered: 75 * 300 * 1/76 = 296.05: 2.96 fen.
    [("half_up", 300), ("half_even", 300), ("down", 200)],
)
def test_rounding_to_fen(rounding: str, amount: int, told: Tell) -> None:
    def story(story: Story) -> None:
        story.deliver(75)
        story.deliver(1, b"MK:0012")
        story.complain(11)

    assert told(story, agreed(reduction={"rounding": rounding})).reduction == amount


@pytest.mark.parametrize(
    ("rounding", "amount"),
    # 1 of 2 delivered at 300: 300 * 1/2 = 150, which is 1.5 fen: exactly half.
    [("half_up", 200), ("half_even", 200), ("down", 100)],
)
def test_rounding_of_exactly_half_a_fen(rounding: str, amount: int, told: Tell) -> None:
    def story(story: Story) -> None:
        story.deliver(1)
        story.deliver(1, b"MK:0012")
        story.complain(11)

    assert told(story, agreed(reduction={"rounding": rounding})).reduction == amount


def test_complaints_of_twelve_months_in_a_row(tmp_path: Path) -> None:
    # 6 on 15 December 2025 and 5 on 14 December 2026 are within 12 months (15 December to 14 December), as
    # period 7 sees; in period 6, which ends on 30 November, the most are the first 6.
    with Story(tmp_path, "2025-12-01") as story:
        story.at("2025-12-15 12:00:00").complain(6)
        story.at("2026-06-01 08:00:00").deliver()
        story.at("2026-12-14 12:00:00").complain(5)
        story.settle("2027-06-05")
        sixth = story.statement("6").service[0]
        assert (sixth.complaints, sixth.complaints_met) == (6, True)
        seventh = story.statement("7").service[0]
        assert (seventh.complaints, seventh.complaints_met) == (11, False)
        assert (seventh.complaints_from, seventh.complaints_to) == ("2025-12-15", "2026-12-14")
        by_year = agreed(sla={"complaint_window": "contract_year"})
        assert story.statement("7", by_year).service[0].complaints == 5


def test_complaints_may_count_by_whose_doing_they_are(told: Tell) -> None:
    def story(story: Story) -> None:
        story.deliver(1, b"MK:0012")
        story.complain(6, attributed="b")
        story.complain(5, attributed="a")
        entry = story.noted("complaint")
        story.noted("complaint", "closed", entry, attributed="b")

    (service,) = told(story).service
    assert (service.complaints, service.complaints_attributed, service.complaints_met) == (12, 7, False)
    (service,) = told(story, agreed(sla={"complaint_count": "attributed"})).service
    assert (service.complaints, service.complaints_met) == (7, True)


def test_what_was_entered_by_mistake_counts_no_more(told: Tell) -> None:
    # 11 complaints, of which one was withdrawn: 10, which 不超过10起 allows. An hour of flood in which all of
    # 10 fail was none: 90 of 100 were delivered.
    def story(story: Story) -> None:
        story.deliver(90)
        flood = story.noted("force majeure")
        story.noted("force majeure", "began", flood)
        story.deliver(10, b"MK:0012")
        story.noted("force majeure", "ended", flood)
        story.noted("force majeure", "withdrawn", flood)
        story.complain(10)
        story.noted("complaint", "withdrawn", story.noted("complaint", attributed="b"))

    (service,) = told(story).service
    assert (service.complaints, service.complaints_attributed, service.complaints_withdrawn) == (10, 0, 1)
    assert (service.complaints_met, service.left_out) == (True, 0)
    assert (service.rates[0].successful, service.rates[0].total) == (90, 100)


def test_complaints_that_were_taken_back_are_counted_wherever_they_were(told: Tell) -> None:
    # 11 of October 2025, all taken back: the 12 months with the most are others then, and say so still.
    def story(story: Story) -> None:
        for _ in range(11):
            complaint = story.at("2025-10-10").noted("complaint")
            story.at("2026-11-29").noted("complaint", "withdrawn", complaint)
        story.at("2026-11-30").deliver(1)

    (service,) = told(story).service
    assert (service.complaints, service.complaints_withdrawn) == (0, 11)


def test_force_majeure_may_need_its_proof_in_time(told: Tell) -> None:
    # Three hours without success, one failure each: proven within 30 days, a day later, and not at all.
    def story(story: Story) -> None:
        story.deliver(97)
        for day, proof in (("2026-07-01", "2026-07-31"), ("2026-08-01", "2026-09-01"), ("2026-10-01", "")):
            flood = story.at(f"{day} 10:00:00").noted("force majeure")
            story.noted("force majeure", "began", flood)
            story.deliver(1, b"MK:0012")
            story.at(f"{day} 11:00:00").noted("force majeure", "ended", flood)
            if proof:
                story.at(f"{proof} 12:00:00").noted("force majeure", "proof", flood)

    (service,) = told(story).service
    assert (service.rates[0].successful, service.rates[0].total, service.left_out) == (97, 97, 3)
    assert [(each.register, each.began_us, each.proven_us) for each in service.exempt] == [
        ("force majeure", at("2026-07-01 10:00:00"), at("2026-07-31 12:00:00")),
        ("force majeure", at("2026-08-01 10:00:00"), at("2026-09-01 12:00:00")),
        ("force majeure", at("2026-10-01 10:00:00"), 0),
    ]
    (service,) = told(story, agreed(sla={"force_majeure_needs_proof": True})).service
    assert (service.rates[0].successful, service.rates[0].total, service.left_out) == (97, 99, 1)
    assert [each.ended_us for each in service.exempt] == [at("2026-07-01 11:00:00")]


@pytest.mark.parametrize(
    ("announced", "left_out"),
    [
        ("2026-06-27 01:00:00", 3),  # 72 hours ahead: what was accepted from 01:00 to 03:00
        ("2026-06-27 01:00:01", 0),  # a second less is no notice
    ],
)
def test_planned_work_is_exempt_as_it_was_announced(announced: str, left_out: int, told: Tell) -> None:
    # Announced from 01:00 to 03:00, and in fact from 00:30 to 05:00. One failure each hour and half hour.
    def story(story: Story) -> None:
        story.at("2026-06-02").deliver(100)
        work = story.at(announced).announced("2026-06-30 01:00:00", "2026-06-30 03:00:00")
        story.at("2026-06-30 00:30:00").noted("maintenance", "began", work)
        for clock in ("00:30:00", "01:00:00", "02:00:00", "02:59:59", "03:00:00", "04:00:00"):
            story.at(f"2026-06-30 {clock}").deliver(1, b"MK:0012")
        story.at("2026-06-30 05:00:00").noted("maintenance", "ended", work)

    (service,) = told(story).service
    assert (service.rates[0].total, service.left_out, service.exempt) == (106, 0, ())
    (service,) = told(story, agreed(sla={"exclude_planned": True})).service
    assert (service.rates[0].total, service.left_out) == (106 - left_out, left_out)
    spans = [(at("2026-06-30 01:00:00"), at("2026-06-30 03:00:00"))] if left_out else []
    assert [(each.began_us, each.ended_us) for each in service.exempt] == spans


def test_planned_work_that_was_written_down_afterwards_is_not_exempt(told: Tell) -> None:
    # Said to have been announced on the 5th for the 10th; entered on the 20th.
    def story(story: Story) -> None:
        story.at("2026-06-10 02:00:00").deliver(1, b"MK:0012")
        story.at("2026-06-20 09:00:00")
        facts = [("from", "2026-06-10 01:00:00"), ("to", "2026-06-10 03:00:00")]
        line = ("maintenance", 0, "opened", at("2026-06-05 09:00:00"), "li", facts)
        work = story.write(Noted(story.now_us, *line))
        story.write(Noted(story.now_us, "maintenance", work, "began", at("2026-06-10 01:00:00"), "li", []))

    (service,) = told(story, agreed(sla={"exclude_planned": True})).service
    assert (service.rates[0].total, service.left_out, service.exempt) == (1, 0, ())


def test_planned_work_without_an_end_is_exempt_to_its_announced_one(told: Tell) -> None:
    def story(story: Story) -> None:
        work = story.at("2026-06-02").announced("2026-06-10 01:00:00", "2026-06-10 03:00:00")
        story.at("2026-06-10 02:00:00").noted("maintenance", "began", work)
        story.deliver(1, b"MK:0012")
        story.at("2026-06-11").deliver(1, b"MK:0012")

    (service,) = told(story, agreed(sla={"exclude_planned": True})).service
    assert (service.rates[0].total, service.left_out) == (1, 1)
    (exempt,) = service.exempt
    assert (exempt.began_us, exempt.ended_us) == (at("2026-06-10 02:00:00"), at("2026-06-10 03:00:00"))


@pytest.mark.parametrize(
    ("to", "reduction", "due"),
    # 49 of 50, 12 complaints: 14,700 * 1/50 = 294. To the yuan that is nothing, to 0.0001 yuan 294 of 15,000:
    # 14,706, of which 1.47 yuan can be paid.
    [(10_000, 0, 15_000), (100, 300, 14_700), (1, 294, 14_700)],
)
def test_what_is_due_is_whole_fen_however_a_reduction_is_rounded(
    to: int, reduction: int, due: int, told: Tell
) -> None:
    def story(story: Story) -> None:
        story.deliver(49)
        story.deliver(1, b"MK:0012")
        story.complain(12)

    statement = told(story, agreed(reduction={"to": to}))
    assert (statement.amount, statement.reduction, statement.due) == (15_000, reduction, due)
    check_sums(statement)  # it can be printed


def test_a_reduction_that_is_rounded_up_never_asks_for_money_back(told: Tell) -> None:
    # 17 of 1,000, counted on delivered: 5,100 * 983/1000 = 5,013.3, to the yuan 10,000, above the amount.
    def story(story: Story) -> None:
        story.deliver(17)
        story.deliver(983, b"MK:0012")
        story.complain(12)

    statement = told(story, agreed(reduction={"to": 10_000}, billing={"count_on": "delivered"}))
    assert (statement.amount, statement.reduction, statement.due) == (5_100, 10_000, 0)
    check_sums(statement)


def test_what_a_carrier_reported_on_was_sent_though_its_answer_never_came(told: Tell) -> None:
    # Three without an answer: one reported as delivered, one as failed, of one nothing is known.
    def story(story: Story) -> None:
        numbers = [story.accept() for _ in range(3)]
        story.dispatch(*numbers)
        story.uncertain(*numbers)
        story.receipt(numbers[0])
        story.receipt(numbers[1], b"MK:0012")

    total = told(story).total_mt
    assert (total.sent, total.delivered, total.failed) == (2, 1, 1)
    assert (total.uncertain, total.accepted) == (1, 3)


def test_a_text_on_both_sides_of_midnight_is_one_message(tmp_path: Path) -> None:
    # Accepted in the last microsecond of June; the second of its two parts was written in July.
    with Story(tmp_path) as story:
        story.at("2026-06-30 23:59:59").now_us += 999_999
        accepted_us = story.now_us
        for message in (0, 2):
            facts = ("hukou", 1, message, "cmcc", b"n" * 16, 1, 1, 0, 0, b"")
            last = story.write(Accepted(accepted_us, *facts, first=2, cut_into=2))
            story.now_us += 1
        assert last == 3
        story.settle()
        for unit, units in (("message", 1), ("part", 2)):
            statement = story.statement("6", agreed(billing={"unit": unit}))
            assert [(line.month, line.figures.accepted) for line in statement.lines] == [("2026-06", units)]


def test_what_is_withdrawn_after_the_cut_still_counted(tmp_path: Path) -> None:
    # The period ends on 30 November; what is known later than 72 hours after it changes nothing.
    with Story(tmp_path) as story:
        story.at("2026-06-01 08:00:00").complain(11)
        entry = story.noted("complaint")
        story.at("2026-12-04 00:00:00").noted("complaint", "withdrawn", entry)
        story.settle()
        (service,) = story.statement("6").service
    assert (service.complaints, service.complaints_withdrawn) == (12, 0)


def test_force_majeure_is_left_out_of_the_rate_and_charged_all_the_same(told: Tell) -> None:
    # 90 delivered; in an hour of flood 10 fail: left out, 90 of 90. All 100 are charged: 30,000.
    def story(story: Story) -> None:
        story.deliver(90)
        story.complain(11)
        story.at("2026-07-20 10:00:00")
        entry = story.noted("force majeure", "began")
        story.deliver(10, b"MK:0012")
        story.at("2026-07-20 11:00:00").noted("force majeure", "ended", entry)

    (service,) = (statement := told(story)).service
    assert (service.left_out, service.rates[0].rate, service.met) == (10, "1.000000", True)
    assert (statement.amount, statement.reduction) == (30_000, 0)


def test_months_may_be_judged_one_by_one(told: Tell) -> None:
    # June: 98 of 100, 29,400 * 2/100 = 588, 6 fen. July: 100 of 100. All in all 198 of 200, which is 99 %.
    def story(story: Story) -> None:
        story.deliver(98)
        story.deliver(2, b"MK:0012")
        story.complain(11)
        story.at("2026-07-01").deliver(100)

    assert told(story).reduction == 0
    statement = told(story, agreed(sla={"rate_window": "month"}))
    assert [service.met for service in statement.service] == [False, True, True, True, True, True]
    assert (statement.reduction, statement.due) == (600, 60_000 - 600)
