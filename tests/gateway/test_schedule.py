"""Times that an application sets: kept by the gateway, and what is left of a validity told to the carrier."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.message import QUEUED
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import CancelSm, ReplaceSm
from storage.seal import Sealer
from tests.gateway.peers import SOURCE
from tests.gateway.world import MOBILE, MOBILE_2, World, account, carrier

# The worlds begin at 2026-09-21T22:13:20 in Shanghai, 14:13:20 UTC.
IN_AN_HOUR = b"000000010000000R"
HOUR_S = 3_600.0


class Case(NamedTuple):
    schedule: bytes
    validity: bytes
    leaves_s: float  # after so many seconds
    told: bytes  # the validity that the carrier reads


CASES = {
    "relative": Case(IN_AN_HOUR, b"", HOUR_S, b"260924231320032+"),  # three days, as carriers try
    "absolute, by UTC": Case(b"260921151320000+", b"", HOUR_S, b"260924231320032+"),
    "absolute, by Shanghai": Case(b"260921231320032+", b"", HOUR_S, b"260924231320032+"),
    "with a validity from then on": Case(IN_AN_HOUR, b"000000003000000R", HOUR_S, b"260921234320032+"),
    "with an absolute validity": Case(IN_AN_HOUR, b"260922000000032+", HOUR_S, b"260922000000032+"),
    "in a tenth of a second": Case(b"260921221320132+", b"", 0.1, b"260924221320132+"),
    "in a week": Case(b"000007000000000R", b"", 7 * 24 * HOUR_S, b"261001221320032+"),
    "in the past": Case(b"260101000000032+", b"", 0.0, b""),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_message_leaves_at_its_time(case: Case, world: World) -> None:
    """It says no time to the carrier any more, and the end of its validity in the absolute form."""
    peer, application = world.connect(), world.application()
    application.submit(MOBILE, schedule_delivery_time=case.schedule, validity_period=case.validity)
    if case.leaves_s:
        assert world.loop.next_timer == pytest.approx(world.loop.now + case.leaves_s, abs=1e-4)
        world.wait(case.leaves_s - 0.05)
        assert peer.taken() == []
        world.wait(0.06)
    (request,) = peer.taken()
    assert (request.schedule_delivery_time, request.validity_period) == (b"", case.told)
    assert (request.short_message, request.registered_delivery) == (b"hello", 1)


def test_a_message_with_a_time_takes_no_place_in_the_queue(world: World) -> None:
    application = world.application()
    application.submit(MOBILE, schedule_delivery_time=IN_AN_HOUR)
    application.submit(MOBILE)
    assert len(world.dispatch.carriers["cmcc"].queues) == 1
    world.wait(HOUR_S)
    texts = [request.short_message for request in world.connect().taken()]
    assert len(texts) == 2


def test_what_is_due_begins_to_wait_behind_what_waits_already(sealer: Sealer) -> None:
    """Its age counts from its time, so it makes its lane no older."""
    world = World(sealer, accounts=(account(lanes=("interactive",)),))
    application = world.application()
    due = application.submit(MOBILE, schedule_delivery_time=IN_AN_HOUR, short_message=b"due")
    world.wait(HOUR_S - 1.0)
    application.submit(MOBILE, short_message=b"before")
    world.wait(1.0)
    application.submit(MOBILE, short_message=b"after")
    world.wait(58.0)
    application.submit(MOBILE, short_message=b"last")
    assert world.part(due).queued_us == world.turns.now_us - 58_000_000
    texts = [request.short_message for request in world.connect().taken()]
    assert texts == [b"before", b"due", b"after", b"last"]


def test_a_validity_that_ends_before_its_carrier_is_there_is_the_end(world: World) -> None:
    application = world.application()
    message_id = application.submit(
        MOBILE, schedule_delivery_time=IN_AN_HOUR, validity_period=b"000000001000000R"
    )
    world.wait(HOUR_S + 599.0)
    assert application.reports() == []
    world.wait(2.0)
    assert application.reports() == [(message_id, 3, b"000")]
    assert world.connect().taken() == []


@pytest.mark.parametrize(
    ("validity", "waits_s", "told"),
    [
        (b"000000020000000R", 0.0, b"000000020000000R"),  # at once: untouched
        (b"000000020000000R", 1.0, b"000000020000000R"),
        (b"000000020000000R", 1.5, b"260922001320032+"),
        (b"000000020000000R", 600.0, b"260922001320032+"),
        (b"260922001320032+", 600.0, b"260922001320032+"),
        (
            b"260921161320000+",
            600.0,
            b"260921161320000+",
        ),  # an absolute one says the same whenever it is read
        (b"", 600.0, b""),
    ],
)
def test_what_is_left_of_a_validity_is_told_when_a_message_has_waited(
    validity: bytes, waits_s: float, told: bytes, world: World
) -> None:
    application = world.application()
    message_id = application.submit(MOBILE, validity_period=validity)
    world.loop.now += waits_s
    peer = world.connect()
    (request,) = peer.taken()
    assert request.validity_period == told
    assert world.open_parts.body_octets == len(world.part(message_id).body)
    peer.answer(request, b"17")
    assert world.open_parts.body_octets == 0


def test_what_is_left_of_a_validity_is_told_at_a_later_attempt(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.submit(MOBILE, validity_period=b"000000020000000R")
    (request,) = peer.taken()
    assert request.validity_period == b"000000020000000R"
    peer.answer(request, command_status=CommandStatus.ESME_RSYSERR)
    world.wait(5.0)
    (request,) = peer.taken()
    assert request.validity_period == b"260922001320032+"


@pytest.mark.parametrize("schedule", [IN_AN_HOUR, b"260921231320032+"])
@pytest.mark.parametrize(("down_s", "left_s"), [(600.0, 3_000.0), (HOUR_S, 0.0), (2 * HOUR_S, 0.0)])
def test_a_restart_keeps_the_time(schedule: bytes, down_s: float, left_s: float, sealer: Sealer) -> None:
    before = World(sealer)
    message_id = before.application().submit(MOBILE, schedule_delivery_time=schedule)
    after = World(sealer, found=before.log.entries, now=before.loop.now + down_s)
    after.restore()
    after.turns.schedule()
    peer = after.connect()
    if left_s:
        after.wait(left_s - 0.1)
        assert peer.taken() == []
        after.wait(0.1)
    assert len(peer.taken()) == 1
    part = after.part(message_id)
    assert part.queued_us == part.accepted_us + HOUR_S * 1_000_000  # it waits since its time


# -- replace_sm and cancel_sm ------------------------------------------------------------------------------


class Replacement(NamedTuple):
    """replace_sm ten minutes after the submission."""

    schedule: bytes  # of the submission
    validity: bytes
    new_schedule: bytes
    new_validity: bytes
    leaves_s: float  # after the replacement
    told: bytes


REPLACEMENTS = {
    "the time is kept": Replacement(IN_AN_HOUR, b"", b"", b"", 3_000.0, b"260924231320032+"),
    "with its validity": Replacement(
        *(IN_AN_HOUR, b"000000003000000R", b"", b"", 3_000.0), b"260921234320032+"
    ),
    "and a new validity counts from it": Replacement(
        *(IN_AN_HOUR, b"", b"", b"000000003000000R", 3_000.0), b"260921234320032+"
    ),
    "another time": Replacement(IN_AN_HOUR, b"", IN_AN_HOUR, b"", HOUR_S, b"260924231320032+"),
    "another time, beyond the validity": Replacement(
        *(IN_AN_HOUR, b"000000003000000R", b"000000020000000R", b"", 2 * HOUR_S), b"260925002320032+"
    ),
    "another time and validity": Replacement(
        *(IN_AN_HOUR, b"", b"000000020000000R", b"000000010000000R", 2 * HOUR_S), b"260922012320032+"
    ),
    "a time that is over": Replacement(IN_AN_HOUR, b"", b"260921221400032+", b"", 0.0, b"260924231320032+"),
    "a time for what had none": Replacement(b"", b"", IN_AN_HOUR, b"", HOUR_S, b"260924232320032+"),
    "no time at all": Replacement(b"", b"", b"", b"", 0.0, b""),
    "a validity for what had none": Replacement(
        *(b"", b"", b"", b"000000003000000R", 0.0), b"260921225320032+"
    ),
}


@pytest.mark.parametrize("crash", [False, True], ids=["", "and a restart"])
@pytest.mark.parametrize("case", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_a_replacement_may_set_other_times(case: Replacement, crash: bool, sealer: Sealer) -> None:
    world = World(sealer)
    application = world.application()
    message_id = application.submit(
        MOBILE, schedule_delivery_time=case.schedule, validity_period=case.validity
    )
    world.wait(600.0)
    wish = ReplaceSm(
        message_id=message_id,
        source_addr=SOURCE,
        schedule_delivery_time=case.new_schedule,
        validity_period=case.new_validity,
        registered_delivery=1,
        short_message=b"another text",
    )
    assert application.ask(wish).command_status == 0
    if crash:
        world = World(sealer, found=world.log.entries, now=world.loop.now)
        world.restore()
        world.turns.schedule()
    peer = world.connect()
    if case.leaves_s:
        world.wait(case.leaves_s - 0.2)
        assert peer.taken() == []
        world.wait(0.2)
    (request,) = peer.taken()
    assert request.short_message == b"another text"
    # What is kept across a replacement is written in tenths of a second.
    assert (request.schedule_delivery_time, request.validity_period) == (b"", case.told)
    world.wait(10 * HOUR_S)
    assert peer.taken() == []


@pytest.mark.parametrize(
    ("schedule", "validity", "status"),
    [
        (b"tomorrow", b"", CommandStatus.ESME_RINVSCHED),
        (b"000008000000000R", b"", CommandStatus.ESME_RINVSCHED),
        (b"", b"for ever", CommandStatus.ESME_RINVEXPIRY),
        (b"000000020000000R", b"260921231320032+", CommandStatus.ESME_RINVEXPIRY),
        (b"", b"260921230000032+", CommandStatus.ESME_RINVEXPIRY),  # before the time that is kept
    ],
)
def test_a_replacement_with_impossible_times_changes_nothing(
    schedule: bytes, validity: bytes, status: int, world: World
) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, schedule_delivery_time=IN_AN_HOUR)
    wish = ReplaceSm(
        message_id=message_id,
        source_addr=SOURCE,
        schedule_delivery_time=schedule,
        validity_period=validity,
        short_message=b"another text",
    )
    assert application.ask(wish).command_status == status
    world.wait(HOUR_S)
    assert [request.short_message for request in peer.taken()] == [b"hello"]


@pytest.mark.parametrize("by_id", [True, False])
def test_what_waits_for_its_time_can_be_cancelled(by_id: bool, sealer: Sealer) -> None:
    """Also without an id, whichever of two carriers it was led to."""
    world = World(sealer, carriers=(carrier("a"), carrier("b")))
    application = world.application()
    world.connect("a"), world.connect("b")
    ids = [application.submit(MOBILE, schedule_delivery_time=IN_AN_HOUR) for _ in range(2)]
    kept = application.submit(MOBILE_2, schedule_delivery_time=IN_AN_HOUR)
    assert {world.part(each).carrier.name for each in ids} == {"a", "b"}
    wishes = [CancelSm(message_id=each, source_addr=SOURCE) for each in ids]
    if not by_id:
        wishes = [CancelSm(source_addr=SOURCE, destination_addr=MOBILE)]
    for wish in wishes:
        assert application.ask(wish).command_status == 0
    assert sorted(application.reports()) == [(each, 4, b"000") for each in ids]
    assert world.part(kept).state == QUEUED
