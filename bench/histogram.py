"""Latencies in buckets that grow with the value: any quantile is right within one part in 128.

Each octave of microseconds is divided into 64 equal buckets (as HdrHistogram does), and a quantile is the
middle of its bucket. One minute needs 1,700 buckets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

_BITS: Final = 6
_SUB_BUCKETS: Final = 1 << _BITS
LONGEST_US: Final = 1 << 36
"""Nineteen hours; what is longer counts as that."""


class Quantiles(msgspec.Struct, frozen=True):
    """In milliseconds; all zero when nothing was observed."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float


class LatencyHistogram:
    """Counts of durations."""

    __slots__ = ("_counts", "_max_us")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._max_us = 0

    def observe(self, seconds: float) -> None:
        """Count one duration; a negative one counts as zero."""
        us = int(seconds * 1e6)
        if us > self._max_us:
            self._max_us = min(us, LONGEST_US)
            us = self._max_us
        elif us < 0:
            us = 0
        shift = us.bit_length() - _BITS - 1
        bucket = us if shift <= 0 else (shift << _BITS) + (us >> shift)
        counts = self._counts
        counts[bucket] = counts.get(bucket, 0) + 1

    def add(self, other: LatencyHistogram) -> None:
        """Count everything that `other` has counted."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self._max_us = max(self._max_us, other._max_us)

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def quantile(self, share: float) -> float:
        """The duration in seconds that `share` (0 to 1) of all does not exceed; 0 without any."""
        rank = share * self.count
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min(_middle_us(bucket), float(self._max_us)) * 1e-6
        return self._max_us * 1e-6

    def quantiles(self) -> Quantiles:
        p50, p99, p999 = (round(self.quantile(share) * 1e3, 3) for share in (0.5, 0.99, 0.999))
        return Quantiles(self.count, p50, p99, p999, round(self._max_us * 1e-3, 3))


def _middle_us(bucket: int) -> float:
    if bucket < 2 * _SUB_BUCKETS:
        return bucket
    shift = (bucket >> _BITS) - 1
    lowest = (bucket - (shift << _BITS)) << shift
    return lowest + ((1 << shift) - 1) / 2


def merged(histograms: Iterable[LatencyHistogram]) -> LatencyHistogram:
    """One histogram of everything that `histograms` counted."""
    total = LatencyHistogram()
    for histogram in histograms:
        total.add(histogram)
    return total
