"""The window: numbers that wrap and skip, requests that expire in order, what a close gives back."""

from __future__ import annotations

import pytest

from protocol.smpp.limits import SEQUENCE_NUMBER_MAX
from protocol.smpp.window import LATE_MAX, Entry, Window


def entry(name: str, deadline: float = 10.0) -> Entry:
    return (4, name, deadline)


@pytest.mark.parametrize(
    ("last", "taken", "late", "housekeeping", "next_ones"),
    [
        (0, (), (), (), [1, 2, 3]),
        (0, (1, 3), (), (), [2, 4, 5]),
        (0, (1,), (2,), (3,), [4, 5, 6]),
        (SEQUENCE_NUMBER_MAX - 1, (), (), (), [SEQUENCE_NUMBER_MAX, 1, 2]),
        (SEQUENCE_NUMBER_MAX, (), (), (), [1, 2, 3]),
        (SEQUENCE_NUMBER_MAX - 1, (SEQUENCE_NUMBER_MAX, 1), (2,), (3,), [4, 5, 6]),
    ],
)
def test_numbers_run_to_the_maximum_then_wrap_and_skip_what_is_open(
    last: int,
    taken: tuple[int, ...],
    late: tuple[int, ...],
    housekeeping: tuple[int, ...],
    next_ones: list[int],
) -> None:
    window = Window(10)
    window._last = last
    window.entries = dict.fromkeys(late, entry("late", deadline=0.0))
    window.expire(1.0)
    window.entries = dict.fromkeys(taken, entry("open"))
    window.housekeeping = dict.fromkeys(housekeeping, entry("bind"))
    assert [window.next_sequence_number() for _ in next_ones] == next_ones


def test_housekeeping_takes_no_slot_of_the_messages() -> None:
    window = Window(2)
    window.entries[1] = entry("a")
    window.housekeeping[2] = entry("enquire")
    assert window.free == 1
    assert window.take(2) == entry("enquire")
    assert window.take(1) == entry("a")
    assert window.take(1) is None
    assert window.free == 2


def test_requests_expire_oldest_first_and_answer_late_once() -> None:
    window = Window(3)
    window.entries = {7: entry("a", 10.0), 8: entry("b", 10.5), 9: entry("c", 11.0)}
    assert window.expire(9.9) == []
    assert window.expire(10.5) == [(7, entry("a", 10.0)), (8, entry("b", 10.5))]
    assert window.free == 2
    assert window.take(7) is None
    assert window.take_late(7) == entry("a", 10.0)
    assert window.take_late(7) is None
    assert window.take_late(9) is None


def test_late_requests_are_forgotten_oldest_first() -> None:
    window = Window(LATE_MAX + 1)
    window.entries = {number: entry("late", 1.0) for number in range(1, LATE_MAX + 2)}
    assert len(window.expire(2.0)) == LATE_MAX + 1
    assert window.take_late(1) is None
    assert window.take_late(2) is not None
    assert window.take_late(LATE_MAX + 1) is not None


def test_a_drain_gives_the_messages_in_order_and_forgets_the_rest() -> None:
    window = Window(3)
    window.entries = {5: entry("first", 1.0)}
    window.expire(2.0)
    window.entries = {9: entry("second"), 2: entry("third")}
    window.housekeeping = {3: entry("enquire")}
    assert window.drain() == [entry("second"), entry("third")]
    assert (window.entries, window.housekeeping, window.take_late(5)) == ({}, {}, None)
    assert window.drain() == []
