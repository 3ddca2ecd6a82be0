"""Lanes: what goes first when not everything can go at once.

A carrier account has a queue for each lane, and a part leaves only when the lanes before its own are empty.
The account of an application says which lanes it may use; among these `priority_flag` chooses, whose four
values (SMPP 3.4 §5.2.14: bulk, normal, urgent, very urgent) ask for the four lanes in order.  Who may not use
the lane that it asks for gets the next lower one that it may use.

The first lane, for emergencies, has a slot of every window and a share of every rate for itself, so it need
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

# Of each window one sixteenth is kept for emergencies, and at least one slot; but of a window of one nothing,
# since nothing else could leave by it.
_RESERVE_WINDOW_SHARE: Final = 16
# One twentieth of a contract rate may be used by emergencies when the others have used up all of it: 10 a
# second at 200.  They are paid for by those behind, so the rate over time is kept.
_URGENT_SHARE: Final = 20
_URGENT_MIN: Final = 0.5

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
    return max(1, window // _RESERVE_WINDOW_SHARE) if window > 1 else 0


def urgent_share(of: float) -> float:
    """Of a rate, or of a burst, what the first lane has for itself; at least one part in two seconds."""
    return max(_URGENT_MIN, of / _URGENT_SHARE)


class LaneQueues:
    """What waits for one carrier account, a queue for each lane, in the order of leaving.

    A part that leaves from the middle stays where it stands, since to look for it would cost a look at all
    that wait: its number is among the strays, and it is passed over when it comes up.  Should it come to wait
    here again before, it has its place again.
    """

    __slots__ = ("lanes", "strays")

    def __init__(self) -> None:
        self.lanes: tuple[deque[Part], ...] = tuple(deque() for _ in Lane)
        self.strays: set[int] = set()  # numbers of parts that stand here, each once, and do not wait here

    def __len__(self) -> int:
        first, second, third, fourth = self.lanes
        return len(first) + len(second) + len(third) + len(fourth)

    def __iter__(self) -> Iterator[Part]:
        """All that stand here but the strays."""
        for lane in self.lanes:
            yield from (part for part in lane if part.number not in self.strays) if self.strays else lane

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

    def waits(self, part: Part) -> bool:
        """Whether a part that stands here waits here."""
        return part.state == QUEUED and part.number not in self.strays

    def leave(self, part: Part) -> None:
        """A part that stands here, or will when the returned are put back, waits here no more."""
        self.strays.add(part.number)

    def come_back(self, part: Part) -> bool:
        """Whether a part that comes to wait here still stands here: it has its place again then, which is
        that of its age, and must not get a second one, or it would leave twice."""
        if part.number not in self.strays:
            return False
        self.strays.remove(part.number)
        return True

    def drop_first(self, lane: deque[Part]) -> None:
        """Drop the first of a lane, which does not wait."""
        self.strays.discard(lane.popleft().number)

    def drop_dead(self) -> None:
        """Drop what does not wait; looks at every part."""
        for lane in self.lanes:
            alive = [part for part in lane if self.waits(part)]
            if len(alive) < len(lane):
                if self.strays:
                    self.strays.difference_update([part.number for part in lane if not self.waits(part)])
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
                    if not self.waits(part) or not leaves(part):
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
