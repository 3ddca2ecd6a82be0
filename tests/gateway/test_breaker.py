"""A carrier account that goes out of service after failures in a row, and comes back half open."""

from __future__ import annotations

import pytest

from gateway.breaker import FAILURES_MAX, OPEN_FIRST_S, OPEN_MAX_S, Breaker

# (when, what happens: f fails, F fails and opens, s succeeds, . nothing; the state then)
Step = tuple[float, str, str]

HISTORIES: dict[str, list[Step]] = {
    "three in a row": [
        (0, "f", "in service"),
        (0, "f", "in service"),
        (0, "F", "out of service"),
        (1.9, ".", "out of service"),
    ],
    "never in a row": [
        *((0, "f", "in service"), (0, "f", "in service"), (0, "s", "in service")),
        *((0, "f", "in service"), (0, "f", "in service"), (0, "s", "in service")),
    ],
    "half open after a while": [
        *((0, "f", "in service"), (0, "f", "in service"), (0, "F", "out of service")),
        *((2.0, ".", "trying again"), (9.0, "s", "in service")),
        *(
            (9.0, "f", "in service"),
            (9.0, "f", "in service"),
            (9.0, "F", "out of service"),
            (11.0, ".", "trying again"),
        ),
    ],
    "longer each time": [
        *((0, "f", "in service"), (0, "f", "in service"), (0, "F", "out of service")),
        *((2.0, "F", "out of service"), (5.9, ".", "out of service"), (6.0, ".", "trying again")),
        *((6.0, "F", "out of service"), (13.9, ".", "out of service"), (14.0, ".", "trying again")),
    ],
    "what fails while it is open counts once": [
        *((0, "f", "in service"), (0, "f", "in service"), (0, "F", "out of service")),
        *((0.1, "f", "out of service"), (1.9, "f", "out of service"), (2.0, ".", "trying again")),
    ],
    "one that is taken ends it at once": [
        *(
            (0, "f", "in service"),
            (0, "f", "in service"),
            (0, "F", "out of service"),
            (0.5, "s", "in service"),
        ),
    ],
}


@pytest.mark.parametrize("steps", HISTORIES.values(), ids=HISTORIES)
def test_a_breaker_through_its_states(steps: list[Step]) -> None:
    breaker = Breaker()
    for at, event, state in steps:
        if event in "fF":
            assert breaker.failed(at) is (event == "F"), at
        elif event == "s":
            breaker.succeeded()
        assert breaker.state(at) == state, at
        assert breaker.open(at) is (state == "out of service"), at


@pytest.mark.parametrize("decides", ["taken", "failed", "never heard of"])
def test_of_one_that_is_half_open_a_single_message_decides(decides: str) -> None:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        breaker.led(0.0)
        breaker.failed(0.0)
    assert breaker.open(1.9)
    assert not breaker.open(2.0)
    breaker.led(2.0)
    assert (breaker.open(2.0), breaker.state(2.0)) == (True, "trying again")
    match decides:
        case "taken":
            breaker.succeeded()
            assert (breaker.open(2.5), breaker.state(2.5)) == (False, "in service")
        case "failed":
            assert breaker.failed(2.5)
            assert (breaker.open(6.4), breaker.state(6.4)) == (True, "out of service")
            assert not breaker.open(6.5)
        case _:
            assert breaker.open(16.9)
            assert not breaker.open(17.0)


def test_it_is_never_open_for_longer_than_its_maximum() -> None:
    breaker, now = Breaker(), 0.0
    waits: list[float] = []
    for _ in range(FAILURES_MAX - 1):
        breaker.failed(now)
    while len(waits) < 8:
        assert breaker.failed(now)
        wait_s = 0.0
        while breaker.open(now + wait_s):
            wait_s += 1.0
        waits.append(wait_s)
        now += wait_s
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert (waits[0], waits[-1]) == (OPEN_FIRST_S, OPEN_MAX_S)
