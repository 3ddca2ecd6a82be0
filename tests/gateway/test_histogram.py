"""Counts by bucket."""

import math

import pytest

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
