"""The controller of a link: its states one by one, and what it reaches with simulated carriers."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from gateway.congestion import CONGESTED_MIN, HOLD_S, LIMITED, OPEN, PAUSE_MAX_S, PAUSED, PROBING, Congestion
from tests.gateway.congestion_world import Account, Bucket, Limiter, Windows

CONTRACT = 1000.0


def throttled_at(now: float, taken: int = 0) -> Congestion:
    """A controller whose carrier took so many in the last quarter of a second, and has just throttled."""
    congestion = Congestion(CONTRACT, 0.1, now - 1.0)
    congestion.tick(now - 0.25)
    congestion.took(taken, now - 0.2, now - 0.1)
    congestion.throttled(1, now - 0.2, now)
    return congestion


def gone_on_at(now: float, taken: int = 100) -> Congestion:
    """The same, after its pause and a probe that was taken."""
    congestion = throttled_at(now - 0.2, taken)
    assert congestion.take(1, now - 0.1)
    congestion.took(1, now - 0.1, now)
    return congestion


# -- the states ---------------------------------------------------------------------------------------------


def test_while_the_carrier_is_content_it_is_out_of_the_way() -> None:
    congestion = Congestion(CONTRACT, 0.1, 0.0)
    for tick in range(100):
        congestion.took(1000, tick - 0.1, float(tick))
        congestion.tick(float(tick))
    assert (congestion.limited, congestion.state, congestion.rate_per_s) == (False, OPEN, CONTRACT)


def test_a_throttled_link_pauses_probes_with_one_and_goes_on_below_what_was_taken() -> None:
    congestion = throttled_at(10.0, taken=75)
    assert (congestion.limited, congestion.state) == (True, PAUSED)
    assert congestion.rate_per_s == pytest.approx(0.98 * 300)
    assert congestion.wait_s(10.0) == pytest.approx(0.1)
    assert not congestion.take(1, 10.05)
    assert congestion.take(1, 10.1)
    assert (congestion.state, congestion.wait_s(10.1)) == (PROBING, inf)
    assert not congestion.take(1, 10.2)
    congestion.took(1, 10.1, 10.2)
    assert congestion.state == LIMITED
    assert 0 < congestion.wait_s(10.2) <= 2 / 294


@pytest.mark.parametrize("ends", ["refused", "never answered"])
def test_each_probe_that_fails_doubles_the_pause_up_to_half_a_minute(ends: str) -> None:
    congestion = throttled_at(10.0)
    now, waits = 10.0, []
    for _ in range(11):
        waits.append(round(congestion.wait_s(now), 3))
        now += waits[-1]
        assert congestion.take(1, now)
        if ends == "refused":
            congestion.throttled(1, now, now)
        else:
            congestion.unanswered(now)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, PAUSE_MAX_S, PAUSE_MAX_S]


def test_an_emergency_keeps_to_no_pace_but_those_behind_pay_for_it() -> None:
    congestion = gone_on_at(10.0)
    while congestion.take(1, 10.0):
        pass
    waits_s = congestion.wait_s(10.0)
    assert (congestion.wait_s(10.0, urgent=True), congestion.take(4, 10.0, urgent=True)) == (0.0, True)
    assert congestion.wait_s(10.0) == pytest.approx(waits_s + 4 / congestion.rate_per_s)


def test_an_emergency_probes_before_the_pause_ends_but_a_quarter_of_a_second_after_the_last_probe() -> None:
    congestion = throttled_at(10.0)
    now = 10.0
    for _ in range(4):
        now += congestion.wait_s(now)
        assert congestion.take(1, now)
        congestion.throttled(1, now, now)
    assert congestion.wait_s(now) == pytest.approx(1.6)
    assert congestion.wait_s(now, urgent=True) == pytest.approx(0.25)
    assert not congestion.take(1, now + 0.24, urgent=True)
    assert not congestion.take(1, now + 0.25)
    assert congestion.take(1, now + 0.25, urgent=True)
    assert congestion.state == PROBING
    assert not congestion.take(1, now + 0.25, urgent=True)  # one is enough to know
    congestion.took(1, now + 0.25, now + 0.3)
    assert congestion.state == LIMITED


def test_answers_to_what_left_before_a_cut_cut_no_further() -> None:
    congestion = throttled_at(10.0, taken=75)
    for _ in range(50):
        congestion.throttled(1, 9.99, 10.05)
    assert congestion.rate_per_s == pytest.approx(294)
    assert congestion.take(1, 10.1)
    congestion.throttled(1, 9.99, 10.11)  # not the probe's answer
    congestion.took(1, 9.99, 10.11)
    assert congestion.state == PROBING


def test_a_probe_that_is_answered_late_counts_all_the_same() -> None:
    congestion = throttled_at(10.0, taken=75)
    assert congestion.take(1, 10.1)
    congestion.unanswered(20.1)
    congestion.took(1, 10.1, 20.15)
    assert congestion.state == LIMITED


def test_a_probe_that_never_left_is_given_up() -> None:
    congestion = throttled_at(10.0, taken=75)
    assert congestion.take(1, 10.1)
    congestion.tick(25.0)
    assert congestion.state == PROBING
    congestion.tick(25.25)
    assert congestion.state == PAUSED
    assert congestion.wait_s(25.25) == pytest.approx(0.2)


def test_a_limit_that_nothing_came_near_to_is_forgotten() -> None:
    congestion = gone_on_at(10.0)
    congestion.take(1000, 20.0)
    assert not congestion.take(1, 20.0)
    congestion.tick(20.0)
    congestion.tick(80.0)
    assert congestion.state == LIMITED
    congestion.tick(80.25)
    assert congestion.state == OPEN


def test_it_looks_for_more_only_while_something_waits() -> None:
    idle, busy = gone_on_at(10.0), gone_on_at(10.0)
    start = busy.rate_per_s
    for tick in range(1, 9):
        now = 10.0 + tick / 4
        busy.take(100, now)  # more than it has
        idle.tick(now)
        busy.tick(now)
    assert idle.rate_per_s == start
    assert busy.rate_per_s == pytest.approx(start / 0.98 * 1.02)


def test_it_opens_when_nothing_is_refused_for_long_enough() -> None:
    congestion = gone_on_at(10.0)
    now = 10.0
    while congestion.limited:
        now += 0.25
        congestion.take(1000, now)
        congestion.tick(now)
        assert now < 10.0 + HOLD_S + 5.0
    assert (congestion.state, congestion.rate_per_s) == (OPEN, CONTRACT)


def test_a_refusal_just_above_the_limit_confirms_it() -> None:
    congestion = gone_on_at(10.0)
    start = congestion.rate_per_s
    now = 10.0
    while congestion.rate_per_s == start:
        now += 0.25
        congestion.take(1000, now)
        congestion.tick(now)
    congestion.throttled(1, now, now + 0.01)
    assert congestion.rate_per_s == pytest.approx(start * 0.995)
    assert congestion.wait_s(now + 0.01) == pytest.approx(0.05)
    assert not congestion.take(1000, now + 0.07)
    assert congestion.state == LIMITED  # no probe


@pytest.mark.parametrize(
    ("congestion_state", "state"), [(0, OPEN), (CONGESTED_MIN - 1, OPEN), (CONGESTED_MIN, PAUSED)]
)
def test_a_carrier_may_say_that_it_is_congested(congestion_state: int, state: str) -> None:
    congestion = Congestion(CONTRACT, 0.1, 0.0)
    congestion.congested(congestion_state, 1.0)
    assert congestion.state == state
    rate_per_s = congestion.rate_per_s
    congestion.congested(congestion_state, 1.1)
    assert congestion.rate_per_s == rate_per_s  # said again within a second, it is the same


@pytest.mark.parametrize(
    ("usual_s", "then_s", "state"),
    [(0.01, 0.9, OPEN), (0.01, 1.1, PAUSED), (0.4, 1.5, OPEN), (0.4, 1.7, PAUSED), (3.0, 11.0, OPEN)],
)
def test_response_times_far_above_the_usual_cut_too(usual_s: float, then_s: float, state: str) -> None:
    congestion = Congestion(CONTRACT, 0.1, 0.0)
    for tick in range(1, 20):
        congestion.took(1, tick - usual_s, float(tick))
        congestion.tick(float(tick))
    congestion.took(1, 30.0 - then_s, 30.0)
    congestion.tick(30.0)
    assert congestion.state == state


def test_a_new_bind_ends_a_pause_and_keeps_what_was_learned() -> None:
    congestion = throttled_at(10.0, taken=75)
    congestion.reset(10.01)
    assert congestion.state == LIMITED
    assert congestion.rate_per_s == pytest.approx(294)
    congestion.throttled(1, 10.0, 10.02)  # of the bind before
    assert congestion.state == LIMITED


@pytest.mark.parametrize(
    ("limited", "rate_max", "rate_per_s"),
    [(False, 2000.0, 2000.0), (True, 2000.0, 392.0), (True, 50.0, 50.0)],
)
def test_another_contract_rate(limited: bool, rate_max: float, rate_per_s: float) -> None:
    congestion = gone_on_at(10.0) if limited else Congestion(CONTRACT, 0.1, 10.0)
    congestion.set_rate_max(rate_max, 10.0)
    assert congestion.rate_per_s == pytest.approx(rate_per_s)


# -- what it reaches ----------------------------------------------------------------------------------------

LIMITERS: dict[str, Callable[[float], Limiter]] = {
    "a bucket of a second": lambda rate_per_s: Bucket(rate_per_s, burst_s=1.0),
    "a bucket of five": lambda rate_per_s: Bucket(rate_per_s, burst=5),
    "a count each second": Windows,
}
SCHEDULES = {"up": (50.0, 500.0), "down": (500.0, 50.0), "constant": (200.0, 200.0)}


@pytest.mark.parametrize("limiter", LIMITERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("delay_s", [0.005, 0.02])
def test_nearly_all_that_a_carrier_takes_is_sent_and_little_more(
    limiter: str, schedule: str, delay_s: float
) -> None:
    """From five seconds after each change on.  A carrier that counts by the clock's second gives up to two
    seconds' worth at its border, so that its limit is hardest to find: there a little less is reached."""
    first, second = SCHEDULES[schedule]
    account = Account(LIMITERS[limiter](first), delay_s=delay_s, changes=((30.0, second),))
    account.run(60.0)
    by_the_clock = limiter == "a count each second"
    for start_s, limit in ((5, first), (35, second)):
        (answers,) = (link.between(start_s, start_s + 25) for link in account.links)
        goodput = answers.taken / (25 * limit)
        throttled = answers.throttled / (answers.taken + answers.throttled)
        assert goodput >= (0.93 if by_the_clock else 0.95)
        assert throttled <= (0.025 if by_the_clock else 0.02)


def test_two_links_share_a_limit_and_none_starves() -> None:
    account = Account(Bucket(200, burst_s=1.0), links=2, delay_s=0.01)
    account.run(60.0)
    first, second = (link.between(5, 60) for link in account.links)
    assert first.taken + second.taken >= 0.95 * 55 * 200
    assert first.throttled + second.throttled <= 0.02 * (first.taken + second.taken)
    assert min(first.taken, second.taken) >= 0.2 * (first.taken + second.taken)


def test_a_stray_refusal_costs_little() -> None:
    strays = iter([5.0])
    due = next(strays)

    def verdict(now: float) -> str:
        nonlocal due
        if now >= due:
            due = next(strays, inf)
            return "throttle"
        return "take"

    account = Account(Bucket(10_000, burst_s=1.0), delay_s=0.01, verdict=verdict)
    account.run(20.0)
    (answers,) = (link.between(5, 15) for link in account.links)
    assert answers.throttled == 1
    assert answers.taken >= 0.85 * 10 * CONTRACT
    assert not account.links[0].congestion.limited


def test_a_carrier_that_refuses_everything_is_asked_ever_more_rarely_and_used_soon_when_it_is_back() -> None:
    account = Account(
        Bucket(10_000, burst_s=1.0), delay_s=0.01, verdict=lambda now: "throttle" if now < 60.0 else ""
    )
    account.run(110.0)
    (link,) = account.links
    assert link.between(5, 60).throttled <= 8
    assert link.between(100, 110).taken >= 0.95 * 10 * CONTRACT


def test_a_probe_whose_answer_is_lost_hangs_nothing() -> None:
    account = Account(
        Bucket(10_000, burst_s=1.0),
        delay_s=0.01,
        verdict=lambda now: "lose" if 5.0 < now < 20.0 else "",
        window=16,
    )
    account.links[0].congestion.throttled(1, 0.0, 0.0)
    account.run(60.0)
    assert account.links[0].between(50, 60).taken >= 0.95 * 10 * CONTRACT
