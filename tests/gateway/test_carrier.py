"""What waits for a carrier account, and leaves from the midst: by a late answer, another time, a cancel."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from gateway.carrier import Carrier
from gateway.dispatch import Dispatch
from gateway.message import FINAL, QUEUED, SENT, Part
from protocol.smpp.pdu import CancelSm, ReplaceSm
from storage.seal import Sealer
from tests.gateway.waiting import links_of, numbers, standing, waiting
from tests.gateway.world import MOBILE, World

SOURCE = b"10639110"
IN_AN_HOUR = b"000000010000000R"


class Unsearched(deque[Part]):
    """A queue in which nothing may be looked for, since as many wait as may."""

    def __contains__(self, _: object) -> bool:
        raise AssertionError("searched")

    __iter__ = remove = __contains__  # type: ignore[assignment]


def in_its_lane(owner: Carrier, part: Part) -> None:
    owner.queues.append(part)


def among_the_returned(owner: Carrier, part: Part) -> None:
    owner.give_back(part)


def at_rest(owner: Carrier, part: Part) -> None:
    owner.rest(part, 3.0)


def without_its_body(owner: Carrier, part: Part) -> None:
    part.body = b""
    owner.bodiless.append((part, part.postponed))


def filled_at(owner: Carrier, now: float) -> list[int]:
    """The numbers of the parts that leave at some time."""
    departures = Dispatch([owner]).fill(now, round(now * 1e6), lambda part: None)
    for link, parts in departures:
        link.reserved = 0
        for part in parts:
            part.state = SENT
    return [part.number for _, parts in departures for part in parts]


@pytest.mark.parametrize("place", [in_its_lane, among_the_returned, at_rest, without_its_body])
def test_what_was_taken_by_a_late_answer_and_is_tried_again_leaves_once_and_in_its_time(place: Any) -> None:
    owner = standing("a")
    owner.queues.lanes = tuple(Unsearched() for _ in owner.queues.lanes)
    taken, other = waiting(1, at=owner, attempts=1), waiting(2, at=owner)
    place(owner, taken)
    owner.drop(taken)
    taken.state, taken.body = SENT, b""
    assert filled_at(owner, 1.0) == []
    # A receipt says that it failed: it rests, its body is read, and it waits.
    taken.state, taken.postponed = QUEUED, 1
    owner.rest(taken, 5.0)
    owner.queues.append(other)
    assert (owner.rests_until(taken), filled_at(owner, 4.9)) == (5.0, [2])
    assert filled_at(owner, 5.0) == []
    assert [part.number for part, retry in owner.bodiless if retry == taken.postponed] == [1]
    taken.body = b"body"
    owner.give_back(taken)
    assert (filled_at(owner, 5.0), filled_at(owner, 9.0)) == ([1], [])


def test_what_is_tried_again_while_it_still_stands_in_the_queue_leaves_once_and_in_its_order() -> None:
    owner = standing("a")
    parts = [waiting(number, at=owner) for number in (1, 2, 3)]
    links_of(owner)[0].slots = 0
    for part in parts:
        owner.queues.append(part)
    owner.drop(parts[1])
    owner.rest(parts[1], 5.0)
    assert (filled_at(owner, 4.9), numbers(owner.parts())) == ([], [1, 3, 2])
    assert (filled_at(owner, 5.0), numbers(owner.parts())) == ([], [1, 2, 3])
    links_of(owner)[0].slots = 10
    assert filled_at(owner, 6.0) == [1, 2, 3]


def test_what_rests_at_another_carrier_does_not_leave_where_it_stood() -> None:
    owner, other = standing("a"), standing("b")
    part = waiting(1, at=owner)
    owner.queues.append(part)
    owner.drop(part)
    part.carrier = other
    other.rest(part, 2.0)
    assert (filled_at(owner, 1.0), owner.queues.strays) == ([], set())
    part.attempts = 1
    assert (filled_at(owner, 2.0), filled_at(other, 2.0)) == ([], [1])


def test_what_leaves_a_carrier_that_is_gone_waits_there() -> None:
    owner = standing("a")
    kept, dropped, resting, unrested, bodiless, taken = (waiting(number, at=owner) for number in range(6))
    for part in (kept, dropped):
        owner.queues.append(part)
    for part in (resting, unrested):
        owner.rest(part, 7.0)
    for part in (bodiless, taken):
        without_its_body(owner, part)
    taken.state = SENT
    owner.drop(dropped)
    owner.drop(unrested)
    assert [(part.number, until) for part, until in owner.take_out(9)] == [(0, 0.0), (4, 0.0), (2, 7.0)]
    assert (owner.resting_parts, owner.queues.strays, len(owner.queues)) == (0, set(), 0)


@pytest.mark.parametrize("times", [1, 2, 5, 40])
def test_a_part_may_be_given_another_time_as_often_as_one_likes(times: int) -> None:
    owner = standing("a")
    first, part = waiting(1, at=owner), waiting(2, at=owner)
    owner.rest(first, 50.0)
    for _ in range(times):
        owner.rest(part, 60.0)
        owner.drop(part)
    owner.rest(part, 60.0)
    assert len(owner.resting) <= 2 * owner.resting_parts == 4
    assert (filled_at(owner, 59.0), filled_at(owner, 60.0), owner.resting) == ([1], [2], [])


@pytest.mark.parametrize("way", ["cancelled", "expired", "given another time"])
def test_messages_whose_rest_ends_early_are_not_kept_until_their_time(way: str, sealer: Sealer) -> None:
    world = World(sealer)
    application = world.application()
    owner = world.dispatch.carriers["cmcc"]
    ids = [application.submit(MOBILE, schedule_delivery_time=IN_AN_HOUR) for _ in range(9)]
    for message_id in ids[2:]:
        part = world.part(message_id)
        if way == "cancelled":
            wish = CancelSm(message_id=message_id, source_addr=SOURCE)
            assert application.ask(wish).command_status == 0
        elif way == "expired":
            world.pipeline.expire(part)
            world.turns.schedule()
        else:
            change = ReplaceSm(
                message_id=message_id,
                source_addr=SOURCE,
                schedule_delivery_time=b"000000003000000R",
                short_message=b"x",
            )
            assert application.ask(change).command_status == 0
        assert (part.state == QUEUED) == (way == "given another time") != (part.state == FINAL)
    assert owner.resting_parts == (9 if way == "given another time" else 2)
    assert len(owner.resting) <= 2 * owner.resting_parts
    world.settle()
