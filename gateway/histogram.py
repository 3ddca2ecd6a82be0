"""How long something took, counted in fixed buckets.

An observation is one binary search in C and two additions, cheap enough for every message. The bounds follow
the 1-2-5 series, so a bucket's upper bound is at most 2.5 times its lower one, and a quantile is no better
than that: good for graphs and alarms, never for a settlement.
"""

from bisect import bisect_left
from typing import Final

# From a turn of the event loop (10 µs) over a commit (0.15 to 30 ms) and a carrier's answer (5 ms to 60 s)
# to 100 s, which is beyond every time-out for a response: 22 bounds.
BOUNDS_S: Final[tuple[float, ...]] = (
    *(mantissa * 10**exponent / 1_000_000 for exponent in range(1, 8) for mantissa in (1, 2, 5)),
    100.0,
)

# Records a batch: one when nothing else goes on, some hundreds at full load, thousands behind a slow disk.
BOUNDS_RECORDS: Final[tuple[float, ...]] = tuple(float(2**power) for power in range(14))


class Histogram:
    """Counts of durations in seconds, or of sizes where other bounds are given. Written by one thread; any
    other may read.

    The number of observations is the sum of the counts and is not kept apart, so a reader in another thread
    sees buckets and count that agree; the sum of seconds may be one observation ahead or behind.
    """

    __slots__ = ("_bounds", "_counts", "_sum_s")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS_S) -> None:
        # Bucket i holds what is above bounds[i - 1] and at most bounds[i]; the last one everything longer.
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one duration; a negative one, from clock readings in the wrong order, as the shortest."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum_s += seconds

    @property
    def count(self) -> int:
        return sum(self._counts)

    @property
    def sum_s(self) -> float:
        return self._sum_s

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound (`le`), as the Prometheus exposition wants them, `+Inf` last."""
        cumulative: list[tuple[str, float]] = []
        total = 0
        labels = (*map(repr, self._bounds), "+Inf")
        for label, count in zip(labels, list(self._counts), strict=True):
            total += count
            cumulative.append((label, total))
        return cumulative
