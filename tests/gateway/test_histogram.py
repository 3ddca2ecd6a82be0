"""Counts by bucket, and what is read out of them."""

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.histogram import BOUNDS_S, Histogram


def test_the_bounds_are_the_1_2_5_series_from_10_microseconds_to_100_seconds() -> None:
    assert BOUNDS_S[:5] == (0.00001, 0.00002, 0.00005, 0.0001, 0.0002)
    assert BOUNDS_S[-4:] == (10.0, 20.0, 50.0, 100.0)
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
    assert len(BOUNDS_S) == 22


@pytest.mark.parametrize(
    ("seconds", "le"),
    [
        (0.0, "1e-05"),
        (-0.001, "1e-05"),
        (0.00001, "1e-05"),  # a bound belongs to its own bucket, as Prometheus has it
        (0.0000101, "2e-05"),
        (0.001, "0.001"),
        (0.0011, "0.002"),
        (100.0, "100.0"),
        (100.1, "+Inf"),
        (math.inf, "+Inf"),
    ],
)
def test_the_bucket_of_a_duration(seconds: float, le: str) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    buckets = histogram.buckets()
    first = next(label for label, count in buckets if count)
    assert first == le
    assert buckets[-1] == ("+Inf", 1)
    assert (histogram.count, histogram.sum_s) == (1, seconds)


@given(st.lists(st.floats(0, 1000)))
def test_observe_many_is_observe_many_times(durations_s: list[float]) -> None:
    one, many = Histogram(), Histogram()
    for seconds in durations_s:
        one.observe(seconds)
    many.observe_many(durations_s)
    assert one.buckets() == many.buckets()
    assert one.count == many.count == len(durations_s)
    assert one.sum_s == pytest.approx(many.sum_s)


@pytest.mark.parametrize(
    ("durations_s", "q", "expected"),
    [
        ([0.0015] * 10, 1.0, 0.002),
        ([0.0015] * 10, 0.5, 0.0015),  # interpolated in (0.001, 0.002]
        ([0.0015] * 10, 0.0, 0.001),
        ([0.0015] * 99 + [3.0], 0.99, 0.002),
        ([0.0015] * 99 + [3.0], 0.995, 3.5),  # half way into (2, 5]
        ([0.000001], 0.5, 0.000005),  # the first bucket begins at 0
        ([1000.0], 0.5, 100.0),  # above the last bound there is nothing to interpolate
    ],
)
def test_quantile(durations_s: list[float], q: float, expected: float) -> None:
    histogram = Histogram()
    histogram.observe_many(durations_s)
    assert histogram.quantile(q) == pytest.approx(expected)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(durations_s: list[float], q: float) -> None:
    histogram = Histogram()
    histogram.observe_many(durations_s)
    true = sorted(durations_s)[max(0, math.ceil(q * len(durations_s)) - 1)]
    upper = BOUNDS_S[bisect_left(BOUNDS_S, true)]
    lower = BOUNDS_S[bisect_left(BOUNDS_S, true) - 1] if true > BOUNDS_S[0] else 0.0
    assert lower <= histogram.quantile(q) <= upper * 1.000001


def test_a_quantile_of_nothing_is_no_number() -> None:
    assert math.isnan(Histogram().quantile(0.5))
    with pytest.raises(AssertionError):
        Histogram().quantile(99)
