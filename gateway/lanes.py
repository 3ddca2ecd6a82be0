"""Lanes: what goes first when not everything can go at once.

A carrier account has a queue for each lane, and a part leaves only when the lanes before its own are empty.
The account of an application says which lanes it may use; among these `priority_flag` chooses, whose four
values (SMPP 3.4 §5.2.14: bulk, normal, urgent, very urgent) ask for the four lanes in order.  Who may not use
the lane that it asks for gets the next lower one that it may use.

The first lane, for emergencies, has slots of every window and a share of every rate for itself, so it need
not wait for what left before.  When queues fill up the last lane is refused first, and a queue whose head has
waited for too long takes nothing more: a refusal now is worth more to an application than a message that
comes too late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import IntEnum
from typing import Final

from gateway.message import QUEUED, Part


class Lane(IntEnum):
    """Lanes, first served first."""

    EMERGENCY = 0
    INTERACTIVE = 1
    NOTICE = 2
    BULK = 3


LANE_NAMES: Final = tuple(lane.name.lower() for lane in Lane)
EMERGENCY: Final = int(Lane.EMERGENCY)

# By priority_flag.
_ASKED_BY_PRIORITY: Final = (Lane.BULK, Lane.NOTICE, Lane.INTERACTIVE, Lane.EMERGENCY)

_PRIORITY_FLAGS: Final = 256  # one octet

# The share of a limit on what may wait that each lane may use up: bulk is refused when four fifths are taken,
# so that there is always room for what is more urgent.
SHARES: Final = (1.0, 0.95, 0.9, 0.8)

# Of a window that is wide enough to give up a slot, one sixteenth and at least one is kept for emergencies; a
# window of three that gave up one would lose a third of its throughput for a message a week.
_RESERVE_WINDOW_MIN: Final = 4
_RESERVE_WINDOW_SHARE: Final = 16
# Of a burst, one twentieth: 10 messages at once at 200 a second.  Less than a whole token helps nobody.
_RESERVE_BURST_SHARE: Final = 20

assert len(SHARES) == len(_ASKED_BY_PRIORITY) == len(Lane)


def lanes_by_priority(allowed: Collection[str]) -> tuple[int, ...]:
    """The lane for each priority_flag from 0 to 255, of an account that may use the lanes named, one or more;
    what is above 3 asks for the first lane too."""
    usable = sorted(LANE_NAMES.index(name) for name in allowed)
    lanes = []
    for asked in _ASKED_BY_PRIORITY:
        # The most urgent of those that are not more urgent than what was asked for.
        lower = [lane for lane in usable if lane >= asked]
        lanes.append(lower[0] if lower else usable[-1])
    return (*lanes, *lanes[-1:] * (_PRIORITY_FLAGS - len(lanes)))


def window_reserve(window: int) -> int:
    """Slots of a window that are kept for the first lane."""
    return max(1, window // _RESERVE_WINDOW_SHARE) if window >= _RESERVE_WINDOW_MIN else 0


def rate_reserve(burst: int) -> float:
    """Tokens of a bucket that are kept for the first lane."""
    return float(burst // _RESERVE_BURST_SHARE)


class LaneQueues:
    """What waits for one carrier account, a queue for each lane, in the order of leaving."""

    __slots__ = ("lanes",)

    def __init__(self) -> None:
        self.lanes: tuple[deque[Part], ...] = tuple(deque() for _ in Lane)

    def __len__(self) -> int:
        first, second, third, fourth = self.lanes
        return len(first) + len(second) + len(third) + len(fourth)

    def __iter__(self) -> Iterator[Part]:
        for lane in self.lanes:
            yield from lane

    def append(self, part: Part) -> None:
        """Put a part behind those of its lane."""
        self.lanes[part.lane].append(part)

    def put_back(self, parts: Iterable[Part]) -> None:
        """Put parts, which come in no order, before whatever is younger in their lanes.

        Mostly that is everything; but of a window that is refused the parts come back one by one, and what
        another account hands over is as old as what waits here.
        """
        for number, lane in enumerate(self.lanes):
            back = sorted((part for part in parts if part.lane == number), key=_age)
            if not back:
                continue
            youngest = back[-1].number
            older = []
            while lane and lane[0].number < youngest:
                older.append(lane.popleft())
            lane.extendleft(reversed(sorted(older + back, key=_age) if older else back))

    def remove(self, part: Part) -> None:
        """Take out a part, wherever it stands, if it is here; looks at every part of its lane."""
        lane = self.lanes[part.lane]
        if part in lane:
            lane.remove(part)

    def drop_dead(self) -> None:
        """Drop all of it; looks at every part."""
        for lane in self.lanes:
            alive = [part for part in lane if part.state == QUEUED]
            if len(alive) < len(lane):
                lane.clear()
                lane.extend(alive)

    def sift(self, place: int, limit: int, leaves: Callable[[Part], bool]) -> int:
        """Look at ``limit`` parts from a place on, most urgent lane first, and take out those that leave.

        Returns the place to go on from; 0 when all have been seen.
        """
        passed = 0  # parts of the lanes before
        for lane in self.lanes:
            start = place - passed
            if start < len(lane):
                lane.rotate(-start)
                stay = []
                for _ in range(min(limit, len(lane) - start)):
                    part = lane.popleft()
                    limit -= 1
                    if part.state != QUEUED or not leaves(part):
                        stay.append(part)
                lane.extendleft(reversed(stay))
                lane.rotate(start)
                place += len(stay)
                if not limit:
                    return place if place < len(self) else 0
            passed += len(lane)
        return 0

    def heads(self) -> Iterator[Part]:
        """The first part of each lane that has one, most urgent lane first."""
        return (lane[0] for lane in self.lanes if lane)


def _age(part: Part) -> int:
    return part.number
