"""Quantiles against the sorted values themselves."""

from __future__ import annotations

import random

import pytest

from bench.histogram import LatencyHistogram, merged

random_ = random.Random(1)
SAMPLES: list[list[float]] = [
    [0.0],
    [0.000_001],
    [0.000_127, 0.000_128, 0.000_129],
    [0.5] * 1000 + [60.0],
    [random_.expovariate(1000) for _ in range(20_000)],
    [random_.lognormvariate(-5, 2) for _ in range(20_000)],
    [number / 1000 for number in range(1, 10_001)],
]


@pytest.mark.parametrize("values", SAMPLES, ids=range(len(SAMPLES)))
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999, 1.0])
def test_a_quantile_is_right_within_two_percent(values: list[float], share: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.observe(value)
    ordered = sorted(values)
    exact = ordered[max(0, -(-int(share * len(values) * 1000) // 1000) - 1)]
    # Two microseconds: the values are cut to whole ones.
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.02, abs=2e-6)
    assert histogram.quantiles().max == pytest.approx(max(values) * 1e3, abs=1e-3)


def test_nothing_and_what_is_out_of_range() -> None:
    histogram = LatencyHistogram()
    assert histogram.quantile(0.99) == 0.0
    histogram.observe(-1.0)
    histogram.observe(1e9)
    assert (histogram.count, histogram.quantile(0.5)) == (2, 0.0)
    assert histogram.quantiles().max == 2**36 / 1000


def test_merging_counts_everything() -> None:
    low, high = LatencyHistogram(), LatencyHistogram()
    low.observe(0.001)
    high.observe(1.0)
    total = merged([low, high])
    assert (total.count, low.count, high.count) == (2, 1, 1)
    assert total.quantile(1.0) == pytest.approx(1.0, rel=0.01)
