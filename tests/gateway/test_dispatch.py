"""Which part leaves when, by which carrier account and link."""

from __future__ import annotations

import pytest

from gateway.dispatch import QUEUE_SOFT_MIN
from gateway.message import Part
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import CancelSm
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, CarrierPeer, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, START_S, UNICOM, World, carrier


def taken(*carriers: CarrierPeer) -> list[list[bytes]]:
    """The texts that came to each."""
    return [[request.short_message for request in peer.taken()] for peer in carriers]


def submit_many(world: World, texts: int, **fields: object) -> None:
    application = world.application()
    for number in range(texts):
        application.say(submit_sm(MOBILE, short_message=b"%d" % number, **fields))
    world.settle()


def test_a_message_goes_to_the_network_of_its_number(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("cmcc"), carrier("cucc", "unicom")))
    mobile, unicom, application = world.connect("cmcc"), world.connect("cucc"), world.application()
    application.submit(MOBILE, short_message=b"m")
    application.submit(UNICOM, short_message=b"u")
    assert taken(mobile, unicom) == [[b"m"], [b"u"]]


def test_of_two_accounts_at_a_network_the_bound_one_with_the_shorter_queue_is_chosen(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("a"), carrier("b"), carrier("c")))
    choose = world.dispatch.choose
    assert [choose(network) for network in ("unicom", "telecom")] == [None, None]
    a, b, c = world.dispatch.carriers.values()
    assert choose("mobile") is a  # nobody is bound: it waits at the first
    world.connect("b")
    assert choose("mobile") is b
    world.connect("c")
    b.queue.append(None)  # type: ignore[arg-type]
    assert choose("mobile") is c


def test_the_windows_of_all_links_are_filled_evenly(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(sessions=2, window=3),))
    links = world.connect(index=0), world.connect(index=1)
    submit_many(world, 8)
    assert taken(*links) == [[b"0", b"1", b"2"], [b"3", b"4", b"5"]]
    assert [len(world.dispatch.carriers["cmcc"].queue), world.dispatch.carriers["cmcc"].window_bound] == [
        2,
        True,
    ]


def test_what_does_not_fit_the_window_leaves_in_a_later_batch(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(window=1),))
    peer = world.connect()
    submit_many(world, 3)
    assert world.kinds == ["Accepted"] * 3 + ["Dispatched"]
    (first,) = peer.taken()
    peer.respond(first, body=b"17\0")
    world.turn()
    assert world.kinds[4:] == ["Sent", "Dispatched"]
    assert taken(peer) == [[]]  # the intent is not durable yet
    world.durable()
    assert taken(peer) == [[b"1"]]


def test_a_promised_slot_is_not_promised_twice(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(window=2),))
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE))
    world.turn()  # the first intent is at the disk
    (link,) = world.dispatch.carriers["cmcc"].links
    assert (link.reserved, link.room) == (1, 1)
    world.durable()
    assert (link.reserved, link.room, link.window_used) == (0, 1, 1)
    peer.take_one(b"17")
    assert (link.reserved, link.room, link.window_used) == (0, 2, 0)


def test_the_rate_counts_parts_and_wakes_itself(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(rate_per_s=2, burst=3, window=100),))
    peer = world.connect()
    submit_many(world, 4, data_coding=8, esm_class=0)
    assert taken(peer) == [[b"0", b"1", b"2"]]
    assert world.loop.next_timer == START_S + 0.5
    world.loop.now += 0.5
    world.settle()
    assert taken(peer) == [[b"3"]]
    world.application().submit(MOBILE, short_message=b"\x4f\x60" * 100, data_coding=8)  # two units
    assert taken(peer) == [[]]
    assert world.loop.next_timer == START_S + 1.5
    world.loop.now += 1.0
    world.settle()
    assert taken(peer) == [[b"\x4f\x60" * 100]]


def test_a_part_whose_validity_ended_does_not_leave_and_its_application_hears_of_it(world: World) -> None:
    application = world.application()
    message_id = application.submit(MOBILE, validity_period=b"000000001000000R")
    application.submit(MOBILE_2, validity_period=b"000000001100000R")
    world.loop.now += 600.0
    peer = world.connect()
    assert [request.destination_addr for request in peer.taken()] == [MOBILE_2]
    assert application.reports() == [(message_id, 3, b"000")]
    assert world.kinds == ["Accepted", "Accepted", "Outcome", "Dispatched", "Reported"]


@pytest.mark.parametrize("status", [CommandStatus.ESME_RTHROTTLED, CommandStatus.ESME_RMSGQFUL])
def test_a_busy_carrier_is_left_alone_twice_as_long_each_time_until_it_takes_something(
    world: World, status: int
) -> None:
    peer = world.connect()
    submit_many(world, 1)
    for pause_s in (1.0, 2.0, 4.0):
        (request,) = peer.taken()
        peer.answer(request, command_status=status)
        assert world.loop.next_timer == world.loop.now + pause_s
        world.loop.now += pause_s / 2
        world.settle()
        assert peer.taken() == []
        world.loop.now += pause_s / 2
        world.settle()
    peer.take_one(b"17")
    submit_many(world, 1)
    (request,) = peer.taken()
    peer.answer(request, command_status=status)
    assert world.loop.next_timer == world.loop.now + 1.0


def test_a_pause_ends_by_itself_though_the_window_was_full_when_it_began(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(window=1),))
    peer = world.connect()
    submit_many(world, 2)
    (request,) = peer.taken()
    peer.answer(request, command_status=CommandStatus.ESME_RTHROTTLED)
    assert world.loop.next_timer == START_S + 1.0
    world.loop.now += 1.0
    world.settle()
    assert taken(peer) == [[b"0"]]  # what came back goes first


def test_returned_parts_go_to_the_head_of_the_queue_oldest_first(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(window=2),))
    peer = world.connect()
    submit_many(world, 4)
    for request in reversed(peer.taken()):
        peer.answer(request, command_status=CommandStatus.ESME_RMSGQFUL)
    world.wait(1.0)
    assert taken(peer) == [[b"0", b"1"]]


@pytest.mark.parametrize(
    ("window_bound", "answered_per_s", "waiting", "others_per_s", "pressed"),
    [
        (True, 2_000.0, QUEUE_SOFT_MIN + 1, 0.0, True),
        (True, 2_000.0, QUEUE_SOFT_MIN, 0.0, False),
        (True, 4_000.0, 401, 0.0, True),  # more than a tenth of a second
        (True, 4_000.0, 400, 0.0, False),
        (False, 2_000.0, QUEUE_SOFT_MIN + 1, 0.0, False),  # its rate holds it, not its window
        (True, 2.0, 100_000, 0.0, False),  # it is slow by itself
        (True, 999.0, 100_000, 0.0, False),
        (True, 0.0, 100_000, 0.0, False),  # it does not answer at all
        (True, 2_000.0, QUEUE_SOFT_MIN + 1, 2_000.0, True),
        (True, 2_000.0, QUEUE_SOFT_MIN + 1, 2_001.0, False),  # most of the traffic is elsewhere
    ],
)
def test_applications_are_slowed_down_only_when_the_gateway_itself_is_behind(
    window_bound: bool,
    answered_per_s: float,
    waiting: int,
    others_per_s: float,
    pressed: bool,
    sealer: Sealer,
) -> None:
    world = World(sealer, carriers=(carrier("cmcc"), carrier("cucc", "unicom")))
    behind, other = world.dispatch.carriers.values()
    queue: list[Part | None] = [None] * waiting
    behind.queue.extend(queue)  # type: ignore[arg-type]
    behind.window_bound, behind.answered_per_s = window_bound, answered_per_s
    other.answered_per_s = others_per_s
    assert world.dispatch.pressed() is pressed


def test_a_cancelled_part_leaves_the_queue_of_a_carrier_that_is_down(world: World) -> None:
    application = world.application()
    message_id = application.submit(MOBILE)
    kept = application.submit(MOBILE_2)
    application.ask(CancelSm(message_id=message_id, source_addr=SOURCE))
    assert list(world.dispatch.carriers["cmcc"].queue) == [world.part(kept)]


def test_an_intent_names_carrier_link_and_parts(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("cmcc", sessions=2, window=1), carrier("cucc", "unicom")))
    world.connect("cmcc", 0), world.connect("cmcc", 1), world.connect("cucc")
    application = world.application()
    start = world.log.next_index
    for destination in (MOBILE, UNICOM, MOBILE_2):
        application.say(submit_sm(destination))
    world.turn()
    (intent,) = (record for record in world.log.read(start) if isinstance(record, records.Dispatched))
    assert intent.intents == [
        ("cmcc", 0, [start]),
        ("cmcc", 1, [start + 2]),
        ("cucc", 0, [start + 1]),
    ]
