"""The token bucket: exact over hours of simulated time, generous to a burst, never stuck."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.throttle import TokenBucket


def test_a_script_of_takes() -> None:
    bucket = TokenBucket(10, 5, now=100.0)
    # (time, parts, taken, level after)
    script = [
        (100.0, 5, True, 0.0),  # the burst at once
        (100.0, 1, False, 0.0),
        (100.05, 1, False, 0.5),
        (100.1, 1, True, 0.0),
        (100.3, 3, False, 2.0),  # three parts are three tokens, all or none
        (100.3, 2, True, 0.0),
        (200.0, 6, True, -1.0),  # idle for long: full at 5, no more; larger than the burst
        (200.05, 1, False, -0.5),
        (200.19, 1, False, 0.9),
        (200.2, 1, True, 0.0),
        (200.1, 1, False, -1.0),  # a clock read a little earlier takes nothing and spoils nothing
        (200.3, 1, True, 0.0),
    ]
    for now, parts, taken, level in script:
        assert bucket.take(parts, now) == taken, now
        assert bucket.level(now) == pytest.approx(level, abs=1e-6), now


@pytest.mark.parametrize(
    ("parts", "now", "wait_s"),
    [
        (1, 0.0, 0.1),
        (3, 0.0, 0.3),
        (5, 0.0, 0.5),
        (9, 0.0, 0.5),
        (1, 0.05, 0.05),
        (1, 0.1, 0.0),
        (9, 60.0, 0.0),
    ],
)
def test_wait_of_an_empty_bucket(parts: int, now: float, wait_s: float) -> None:
    bucket = TokenBucket(10, 5, now=0.0)
    assert bucket.take(5, 0.0)
    assert bucket.wait_s(parts, now) == pytest.approx(wait_s)


@given(
    rate_per_s=st.floats(0.001, 10_000),
    burst=st.integers(1, 10_000),
    start=st.floats(0, 1e8),
    parts=st.integers(1, 20_000),
    spent=st.integers(0, 20_000),
)
def test_who_waits_as_long_as_told_is_served(
    rate_per_s: float, burst: int, start: float, parts: int, spent: int
) -> None:
    bucket = TokenBucket(rate_per_s, burst, start)
    assert bucket.take(spent, start)
    wait_s = bucket.wait_s(parts, start)
    assert bucket.take(parts, start) if wait_s == 0.0 else bucket.take(parts, start + wait_s)


@pytest.mark.parametrize(
    ("rate_per_s", "burst", "start", "step_s"),
    [
        (1000, 1000, 0.0, 0.0001),  # asked ten times as often as it gives
        (1000, 1, 1e7, 0.0001),  # the clock of a machine up for four months
        (333, 10, 1e5, 0.00077),
        (0.7, 1, 1e5, 0.013),
        (3000, 50, 1e5, 0.0017),  # slow turns
    ],
)
def test_the_rate_is_exact_over_a_long_run(
    rate_per_s: float, burst: int, start: float, step_s: float
) -> None:
    """Two hundred thousand turns of a loop that takes what it gets, one to three parts at a time."""
    # The burst covers a turn and the largest message: what overflows a full bucket is lost by intent.
    bucket = TokenBucket(rate_per_s, max(burst, rate_per_s * step_s + 3), start)
    assert bucket.take(int(bucket.burst), start)
    chance = random.Random(19)
    taken = 0
    now = start
    for turn in range(1, 200_001):
        now = start + turn * step_s
        while bucket.take(parts := chance.randint(1, 3), now):
            taken += parts
    expected = rate_per_s * (now - start)
    assert taken == pytest.approx(expected, rel=0.001, abs=4)


def test_a_burst_does_not_grow_beyond_what_it_is() -> None:
    bucket = TokenBucket(1, 100, now=0.0)
    taken = sum(bucket.take(1, 3600.0) for _ in range(1000))
    assert taken == 100


def test_set_rate_keeps_level_and_debt() -> None:
    bucket = TokenBucket(10, 10, now=0.0)
    assert bucket.take(10, 0.0)
    bucket.set_rate(100, 50, now=0.5)
    assert (bucket.rate_per_s, bucket.burst) == (100, 50)
    assert bucket.level(0.5) == pytest.approx(5.0)  # gained at the old rate
    assert bucket.level(0.6) == pytest.approx(15.0)
    bucket.set_rate(1, 2, now=0.6)
    assert bucket.level(0.6) == pytest.approx(2.0)  # cut to the new burst
    assert bucket.take(10, 0.6)
    bucket.set_rate(4, 2, now=0.6)
    assert bucket.level(0.6) == pytest.approx(-8.0)
    assert bucket.wait_s(1, 0.6) == pytest.approx(9 / 4)


@pytest.mark.parametrize(
    ("rate_per_s", "burst", "text"),
    [
        (0, 10, "rate_per_s is 0, it must be above 0"),
        (-1, 10, "rate_per_s is -1, it must be above 0"),
        (float("nan"), 10, "rate_per_s is nan"),
        (float("inf"), 10, "rate_per_s is inf"),
        (10, 0, "burst is 0, it must be at least one part"),
        (10, 0.5, "burst is 0.5, it must be at least one part"),
        (10, float("inf"), "burst is inf"),
    ],
)
def test_a_rate_of_nothing_is_refused(rate_per_s: float, burst: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TokenBucket(rate_per_s, burst, now=0.0)
    bucket = TokenBucket(10, 5, now=0.0)
    with pytest.raises(ValueError, match=text):
        bucket.set_rate(rate_per_s, burst, now=1.0)
    assert (bucket.rate_per_s, bucket.burst, bucket.level(1.0)) == (10, 5, 5.0)


def test_what_is_owed_is_paid_by_those_who_come_next() -> None:
    bucket = TokenBucket(10, 5, now=0.0)
    bucket.owe(8, 0.0)
    assert bucket.level(0.0) == -3.0
    assert not bucket.take(1, 0.3)
    assert bucket.wait_s(1, 0.3) == pytest.approx(0.1)
    assert bucket.take(1, 0.4)
