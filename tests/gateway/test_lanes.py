"""Lanes: who gets which, what is kept for the first, and the order in which parts leave their queues."""

from __future__ import annotations

import pytest

from gateway.lanes import (
    LANE_NAMES,
    SHARES,
    LaneQueues,
    lanes_by_priority,
    urgent_share,
    window_reserve,
)
from gateway.message import DISPATCHED, FINAL, Part
from tests.gateway.waiting import numbers, waiting

EMERGENCY, INTERACTIVE, NOTICE, BULK = range(4)


@pytest.mark.parametrize(
    ("allowed", "by_priority"),
    [  # the lanes of priority_flag 0 to 3
        (("emergency", "interactive", "notice", "bulk"), (BULK, NOTICE, INTERACTIVE, EMERGENCY)),
        (("interactive", "notice"), (NOTICE, NOTICE, INTERACTIVE, INTERACTIVE)),
        (("notice",), (NOTICE, NOTICE, NOTICE, NOTICE)),
        (("bulk",), (BULK, BULK, BULK, BULK)),
        (("emergency",), (EMERGENCY, EMERGENCY, EMERGENCY, EMERGENCY)),
        (("bulk", "emergency"), (BULK, BULK, BULK, EMERGENCY)),
        (("notice", "bulk"), (BULK, NOTICE, NOTICE, NOTICE)),
        (("bulk", "interactive"), (BULK, BULK, INTERACTIVE, INTERACTIVE)),
    ],
)
def test_the_lane_of_a_priority_is_the_most_urgent_that_may_be_had(
    allowed: tuple[str, ...], by_priority: tuple[int, ...]
) -> None:
    found = lanes_by_priority(allowed)
    assert found[:4] == by_priority
    assert found[4:] == by_priority[3:] * 252  # what is beyond SMPP's four asks for the first lane too


@pytest.mark.parametrize(
    ("window", "slots"), [(1, 0), (2, 1), (3, 1), (16, 1), (31, 1), (32, 2), (100, 6), (10_000, 625)]
)
def test_slots_of_a_window_that_are_kept(window: int, slots: int) -> None:
    assert window_reserve(window) == slots


@pytest.mark.parametrize(("of", "share"), [(1, 0.5), (10, 0.5), (20, 1.0), (200, 10.0), (999, 49.95)])
def test_what_emergencies_have_of_a_rate_for_themselves(of: int, share: float) -> None:
    assert urgent_share(of) == share


def test_the_later_a_lane_the_less_it_may_use_up() -> None:
    assert SHARES == (1.0, 0.95, 0.9, 0.8)
    assert LANE_NAMES == ("emergency", "interactive", "notice", "bulk")


def filled(*parts: Part) -> LaneQueues:
    queues = LaneQueues()
    for part in parts:
        queues.append(part)
    return queues


def test_parts_leave_lane_by_lane_and_within_a_lane_as_they_came() -> None:
    queues = filled(*(waiting(number, lane) for number, lane in ((1, 3), (2, 0), (3, 2), (4, 0), (5, 3))))
    assert (numbers(queues), len(queues)) == ([2, 4, 3, 1, 5], 5)
    assert numbers(queues.heads()) == [2, 3, 1]


@pytest.mark.parametrize(
    ("stood", "back", "order"),
    [
        ([], [], []),
        ([], [3, 1, 2], [1, 2, 3]),
        ([5, 6], [4, 3], [3, 4, 5, 6]),
        ([5, 6], [4], [4, 5, 6]),
        ([4, 7, 8], [6, 5], [4, 5, 6, 7, 8]),  # one came back before
        ([4, 6, 8], [9, 5, 7], [4, 5, 6, 7, 8, 9]),  # as old as what waits here
        ([9, 3, 4], [8], [8, 9, 3, 4]),  # what was scheduled for now stands behind what came before it
    ],
)
def test_what_comes_back_stands_before_whatever_is_younger(
    stood: list[int], back: list[int], order: list[int]
) -> None:
    queues = filled(*map(waiting, stood))
    queues.put_back([waiting(number) for number in back])
    assert numbers(queues) == order


def test_what_comes_back_goes_to_its_own_lane() -> None:
    queues = filled(waiting(5, NOTICE), waiting(6, BULK))
    queues.put_back([waiting(2, BULK), waiting(1, EMERGENCY), waiting(7, NOTICE)])
    assert [numbers(lane) for lane in queues.lanes] == [[1], [], [5, 7], [2, 6]]


def test_a_window_that_is_refused_answer_by_answer_keeps_its_order() -> None:
    queues = filled(waiting(6), waiting(7))
    for number in (3, 5, 4, 2):
        queues.put_back([waiting(number)])
    assert numbers(queues) == [2, 3, 4, 5, 6, 7]


def test_a_part_that_leaves_from_the_middle_has_its_place_again_when_it_comes_back() -> None:
    parts = [waiting(number) for number in range(4)]
    queues = filled(*parts)
    queues.leave(parts[2])
    assert (numbers(queues), queues.waits(parts[2])) == ([0, 1, 3], False)
    assert (queues.come_back(parts[2]), queues.come_back(parts[2])) == (True, False)
    assert numbers(queues) == [0, 1, 2, 3]


@pytest.mark.parametrize("way", ["as the first", "with all that are dead"])
def test_a_part_that_left_and_is_dropped_stands_nowhere(way: str) -> None:
    parts = [waiting(number) for number in range(3)]
    queues = filled(*parts)
    queues.leave(parts[0])
    if way == "as the first":
        queues.drop_first(queues.lanes[NOTICE])
    else:
        queues.drop_dead()
    assert (numbers(queues), queues.strays, queues.come_back(parts[0])) == ([1, 2], set(), False)


def test_what_ended_or_left_meanwhile_is_dropped() -> None:
    queues = filled(waiting(1), waiting(2, state=FINAL), waiting(3, BULK, state=DISPATCHED), waiting(4))
    queues.drop_dead()
    assert numbers(queues) == [1, 4]


@pytest.mark.parametrize(
    ("place", "limit", "seen", "place_after"),
    [
        (0, 10, [1, 2, 3, 4, 5, 6], 0),  # all of them
        (0, 2, [1, 2], 1),  # 1 leaves, so what was third is second now
        (1, 2, [2, 3], 2),
        (2, 2, [3, 4], 3),
        (0, 3, [1, 2, 3], 1),
        (3, 2, [4, 5], 4),
        (4, 1, [5], 4),
        (4, 2, [5, 6], 0),
        (5, 1, [6], 0),
        (6, 1, [], 0),  # the queues have become shorter
        (99, 9, [], 0),
    ],
)
def test_a_sieve_goes_on_from_where_it_stopped(
    place: int, limit: int, seen: list[int], place_after: int
) -> None:
    """Of six parts in three lanes the odd ones leave."""
    queues = filled(*(waiting(number, lane) for number, lane in enumerate((0, 0, 2, 2, 3, 3), 1)))
    found = []

    def leaves(part: Part) -> bool:
        found.append(part.number)
        return part.number % 2 == 1

    assert queues.sift(place, limit, leaves) == place_after
    assert found == seen
    left = [number for number in seen if number % 2 == 1]
    assert numbers(queues) == [number for number in range(1, 7) if number not in left]


def test_a_sieve_asks_for_nothing_that_does_not_wait() -> None:
    queues = filled(waiting(1, state=FINAL), waiting(2))
    assert queues.sift(0, 10, lambda part: True) == 0
    assert numbers(queues) == [1]
