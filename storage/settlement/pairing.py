"""Which of two kinds of points on a line of time belong together: the nearest first, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import NamedTuple


class Point(NamedTuple):
    """side: 0 ours, 1 theirs; identity: within its side."""

    time_us: int
    side: int
    identity: int


_side = attrgetter("side")


def nearest_pairs(points: Sequence[Point], within_us: int | None = None) -> Iterator[tuple[int, int]]:
    """Pairs of identities (ours, theirs), at most `within_us` apart. points: in their order as tuples.

    The two of different sides that are nearest are a pair; then of those that are left the nearest, and so
    on; of pairs equally near the one that comes first in the order. What lies between the two of a nearest
    pair would be nearer to one of them, so that only neighbours need be looked at: n log n steps, however
    many messages one number got within a minute.
    """
    end = len(points)
    if end == 2:  # as nearly all are: ten times as fast
        distance_us = points[1].time_us - points[0].time_us
        if points[0].side != points[1].side and (within_us is None or distance_us <= within_us):
            ours, theirs = sorted(points, key=_side)
            yield ours.identity, theirs.identity
        return
    before = list(range(-1, end - 1))
    after = list(range(1, end + 1))
    free = [True] * end
    nearest = [
        (points[place + 1].time_us - points[place].time_us, place, place + 1)
        for place in range(end - 1)
        if points[place].side != points[place + 1].side
    ]
    heapify(nearest)
    while nearest:
        distance_us, left, right = heappop(nearest)
        if within_us is not None and distance_us > within_us:
            return
        if not (free[left] and free[right]):
            continue
        free[left] = free[right] = False
        ours, theirs = sorted((points[left], points[right]), key=_side)
        yield ours.identity, theirs.identity
        outer_left, outer_right = before[left], after[right]
        if outer_left >= 0:
            after[outer_left] = outer_right
        if outer_right < end:
            before[outer_right] = outer_left
        if outer_left >= 0 and outer_right < end and points[outer_left].side != points[outer_right].side:
            distance_us = points[outer_right].time_us - points[outer_left].time_us
            heappush(nearest, (distance_us, outer_left, outer_right))
