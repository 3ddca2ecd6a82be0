"""Which part leaves when, by which carrier account and link."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import pytest

from gateway.carrier import Carrier
from gateway.dispatch import QUEUE_SOFT_MIN, Dispatch
from gateway.message import Part
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import CancelSm
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, ApplicationPeer, CarrierPeer, submit_sm
from tests.gateway.waiting import links_of, numbers, standing, waiting
from tests.gateway.world import MOBILE, MOBILE_2, START_S, UNICOM, World, account, carrier


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

    def choose(network: str) -> Carrier | None:
        return world.routes.choose(network, world.turns.now)

    a, b, c = world.dispatch.carriers.values()
    assert choose("mobile") is a  # nobody is bound: it waits at the first
    assert choose("unicom") is a  # nobody serves it: it goes where unknown numbers go
    world.connect("b")
    assert choose("mobile") is b
    world.connect("c")
    queue: list[Part | None] = [None]
    b.queues.lanes[2].extend(queue)  # type: ignore[arg-type]
    assert choose("mobile") is c


def test_the_windows_of_all_links_are_filled_evenly(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(sessions=2, window=4),))
    links = world.connect(index=0), world.connect(index=1)
    submit_many(world, 8)
    assert taken(*links) == [[b"0", b"1", b"2"], [b"3", b"4", b"5"]]
    assert [len(world.dispatch.carriers["cmcc"].queues), world.dispatch.carriers["cmcc"].window_bound] == [
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


# -- the controllers of links ------------------------------------------------------------------------------


class ScriptedController:
    """The controller of a link as the test says, and what it was told."""

    def __init__(self, *, limited: bool = False, tokens: int = 0, wait_s: float = 0.0) -> None:
        self.limited = limited
        self.tokens = tokens
        self.waits_s = wait_s  # for the next part, once the tokens are used up
        self.asked_urgent: bool | None = None  # whether the last question was for an emergency
        self.told: list[tuple[object, ...]] = []

    def take(self, parts: int, now: float, *, urgent: bool = False) -> bool:
        self.asked_urgent = urgent
        if self.tokens < parts:
            return False
        self.tokens -= parts
        return True

    def wait_s(self, now: float, *, urgent: bool = False) -> float:
        self.asked_urgent = urgent
        return 0.0 if self.tokens else self.waits_s

    def took(self, parts: int, dispatched: float, now: float) -> None:
        self.told.append(("took", parts, dispatched, now))

    def throttled(self, parts: int, dispatched: float, now: float) -> None:
        self.told.append(("throttled", parts, dispatched, now))

    def congested(self, state: int, now: float) -> None:
        self.told.append(("congested", state, now))

    def unanswered(self, now: float) -> None:
        self.told.append(("unanswered", now))

    def reset(self, now: float) -> None:
        pass

    def tick(self, now: float) -> None:
        pass


def control(world: World, controller: ScriptedController, index: int = 0) -> ScriptedController:
    world.dispatch.carriers["cmcc"].links[index].congestion = controller  # type: ignore[assignment]
    return controller


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, "took"),
        (CommandStatus.ESME_RTHROTTLED, "throttled"),
        (CommandStatus.ESME_RMSGQFUL, "throttled"),
        # Whatever else is wrong, it was not for the carrier's load: a probe that is answered so has passed.
        (CommandStatus.ESME_RINVDSTADR, "took"),
        (CommandStatus.ESME_RSYSERR, "took"),
        (0x4FF, "took"),
    ],
)
def test_a_controller_hears_of_every_answer_and_when_its_part_left(
    status: int, told: str, world: World
) -> None:
    peer, application = world.connect(), world.application()
    controller = control(world, ScriptedController())
    application.say(submit_sm(MOBILE, short_message=b"\x4f\x60" * 100, data_coding=8))
    world.turn()
    world.loop.now += 0.25  # the disk takes its time
    world.settle()
    (request,) = peer.taken()
    world.loop.now += 0.5
    peer.answer(request, b"17", status)
    assert controller.told == [(told, 2, START_S + 0.25, START_S + 0.75)]


def test_a_controller_hears_of_what_is_not_answered(world: World) -> None:
    peer, application = world.connect(), world.application()
    controller = control(world, ScriptedController())
    application.submit(MOBILE)
    world.wait(10.0)
    assert controller.told == [("unanswered", START_S + 10.0)]
    application.submit(MOBILE)
    peer.cut()
    assert controller.told[1:] == [("unanswered", START_S + 10.0)]


def test_a_controller_hears_of_a_part_that_did_not_leave_after_all(sealer: Sealer) -> None:
    """A late answer came between intent and effect; had the part been a probe, nobody would answer it."""
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    controller = control(world, ScriptedController())
    application.submit(MOBILE)
    (request,) = peer.taken()
    world.wait(10.0)
    world.tick(1.0)
    world.turn()
    peer.respond(request, body=b"17\0")
    world.settle()
    assert [told[0] for told in controller.told] == ["unanswered", "took", "unanswered"]
    assert peer.taken() == []


def test_a_carrier_of_smpp_5_tells_its_load(world: World) -> None:
    peer, application = world.connect(), world.application()
    controller = control(world, ScriptedController())
    application.submit(MOBILE)
    (request,) = peer.taken()
    peer.respond(request, body=b"17\0\x04\x28\x00\x01\x5a")
    world.settle()
    assert controller.told == [("congested", 90, START_S), ("took", 1, START_S, START_S)]


@pytest.mark.parametrize("status", [CommandStatus.ESME_RTHROTTLED, CommandStatus.ESME_RMSGQFUL])
def test_what_a_busy_carrier_refuses_waits_for_the_controller(status: int, world: World) -> None:
    peer = world.connect()
    controller = control(world, ScriptedController())
    submit_many(world, 2)
    first, second = peer.taken()
    controller.limited, controller.waits_s = True, 1.0
    peer.answer(first, command_status=status)
    peer.answer(second, command_status=status)
    assert world.loop.next_timer == START_S + 1.0
    world.loop.now += 1.0
    controller.tokens = 1
    world.settle()
    assert taken(peer) == [[b"0"]]
    world.loop.now += 1.0
    controller.tokens = 1
    world.settle()
    assert taken(peer) == [[b"1"]]


def test_a_window_that_is_refused_answer_by_answer_keeps_its_order(world: World) -> None:
    peer = world.connect()
    controller = control(world, ScriptedController())
    submit_many(world, 6)
    controller.limited, controller.waits_s = True, 1.0
    requests = peer.taken()
    for place in (2, 3, 0, 5, 1, 4):
        peer.answer(requests[place], command_status=CommandStatus.ESME_RTHROTTLED)
    controller.tokens = 6
    world.loop.now += 1.0
    world.settle()
    assert taken(peer) == [[b"%d" % number for number in range(6)]]


class Wake(NamedTuple):
    """Two links, each with its free window slots and its controller; what waits; and when that may go on."""

    first: tuple[int, ScriptedController]
    second: tuple[int, ScriptedController]
    lane: int
    wake_s: float | None
    level: float = 20.0  # of the bucket: 20 a second
    urgent_level: float = 0.0  # of what the first lane has beside it: one a second


def _free() -> ScriptedController:
    return ScriptedController()


def _pauses(wait_s: float) -> ScriptedController:
    return ScriptedController(limited=True, wait_s=wait_s)


def _was_limited(wait_s: float) -> ScriptedController:
    return ScriptedController(limited=False, wait_s=wait_s)


WAKES = {
    "both windows are full": Wake((0, _free()), (0, _free()), 2, None),
    "what is free is kept": Wake((1, _free()), (1, _free()), 2, None),
    "for what is first": Wake((1, _free()), (0, _free()), 0, 0.0),
    "one pauses, one is full": Wake((5, _pauses(1.0)), (0, _free()), 2, 1.0),
    "one pauses, of one the reserve is left": Wake((5, _pauses(1.0)), (1, _free()), 2, 1.0),
    "both pause": Wake((5, _pauses(2.0)), (5, _pauses(1.5)), 2, 1.5),
    "one probes, one is full": Wake((5, _pauses(inf)), (0, _free()), 2, None),
    "one probes, one pauses": Wake((5, _pauses(inf)), (5, _pauses(3.0)), 2, 3.0),
    "one pauses, one may": Wake((5, _pauses(1.0)), (5, _free()), 2, 0.0),
    "none is limited any more": Wake((5, _was_limited(1.0)), (0, _free()), 2, 0.0),
    "the rate": Wake((5, _free()), (5, _free()), 2, 0.05, 0.0),
    "the rate, for what is first": Wake((5, _free()), (5, _free()), 0, 0.05, 0.0),
    "the share of the rate, for what is first": Wake((5, _free()), (5, _free()), 0, 0.25, -4.0, 0.75),
    "which the others do not have": Wake((5, _free()), (5, _free()), 3, 0.25, -4.0, 1.0),
    "and which is there whatever the others used up": Wake((5, _free()), (5, _free()), 0, 0.0, -254.0, 1.0),
    "the rate lasts longer than the pause": Wake((5, _pauses(0.05)), (0, _free()), 2, 0.1, -1.0),
    "the pause lasts longer than the rate": Wake((5, _pauses(0.5)), (0, _free()), 2, 0.5, 0.0),
}


@pytest.mark.parametrize("case", WAKES.values(), ids=WAKES)
def test_a_queue_is_looked_at_again_when_it_may_go_on(case: Wake) -> None:
    owner = standing("a", links=2, rate_per_s=20, burst=20, window=10)
    for link, (slots, controller) in zip(links_of(owner), (case.first, case.second), strict=True):
        link.slots, link.congestion = slots, controller
    owner.bucket._level, owner.urgent._level = case.level, case.urgent_level
    dispatch = Dispatch([owner])
    assert dispatch.next_wake_s(0.0) is None
    owner.queues.append(waiting(1, case.lane, owner))
    wake_s = dispatch.next_wake_s(0.0)
    assert wake_s == (None if case.wake_s is None else pytest.approx(case.wake_s))
    for controller in (case.first[1], case.second[1]):
        assert controller.asked_urgent in (None, case.lane == 0)
    # And then it goes on, or what it waited for is not what it is looked at for.
    left = dispatch.fill(0.0, 0, _never)
    assert bool(left) == (case.wake_s == 0.0)


def _never(part: Part) -> None:
    raise AssertionError("nothing has expired")


def test_a_queue_whose_links_are_down_is_not_looked_at() -> None:
    owner = standing("a")
    owner.queues.append(waiting(1, at=owner))
    owner.links[0].can_send = False
    assert Dispatch([owner]).next_wake_s(0.0) is None


def test_what_rests_is_looked_at_when_its_time_has_come() -> None:
    owner = standing("a")
    owner.rest(waiting(1, at=owner), 7.5)
    owner.rest(waiting(2, at=owner), 5.0)
    dispatch = Dispatch([owner])
    assert dispatch.next_wake_s(1.0) == 4.0
    links_of(owner)[0].slots = 0
    assert dispatch.fill(5.0, 5_000_000, _never) == []
    assert (numbers(owner.queues), dispatch.next_wake_s(5.0)) == ([2], 2.5)


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [  # free slots, limited, tokens; what leaves by each link of the parts 1 to 5, of which 3 has four units
        ((10, False, 0), (10, False, 0), ([1, 2, 3, 4, 5], [])),
        ((3, False, 0), (10, False, 0), ([], [1, 2, 3, 4, 5])),
        ((10, True, 2), (3, False, 0), ([1, 2], [3, 4])),
        ((10, True, 0), (3, False, 0), ([], [1, 2])),
        ((10, True, 3), (0, False, 0), ([1, 2], [])),  # one token is left, and the next one needs four
        ((10, True, 3), (3, False, 0), ([1, 2], [3, 4])),
        ((10, True, 3), (3, True, 3), ([1, 2], [])),
        ((10, True, 0), (10, True, 0), ([], [])),
        ((1, False, 0), (1, False, 0), ([], [])),
    ],
)
def test_what_leaves_by_which_link_and_that_it_ends(
    first: tuple[int, bool, int], second: tuple[int, bool, int], left: tuple[list[int], list[int]]
) -> None:
    owner = standing("a", links=2, window=10)
    for link, (slots, limited, tokens) in zip(links_of(owner), (first, second), strict=True):
        link.slots = slots
        link.congestion = ScriptedController(limited=limited, tokens=tokens, wait_s=1.0)
    for number in range(1, 6):
        owner.queues.append(waiting(number, at=owner, units=4 if number == 3 else 1))
    departures = Dispatch([owner]).fill(0.0, 0, _never)
    by_link = [
        [n for each, parts in departures if each is link for n in numbers(parts)] for link in owner.links
    ]
    assert by_link == list(left)
    assert [link.reserved for link in owner.links] == [len(each) for each in left]


def test_a_silent_link_gets_nothing_while_another_one_speaks() -> None:
    owner = standing("a", links=2)
    silent, speaking = links_of(owner)
    silent.silent = True
    speaking.slots = 2
    assert owner.freest_link(0.0, urgent=True) is owner.links[1]
    speaking.slots = 0
    assert owner.freest_link(0.0, urgent=True) is None
    speaking.can_send = False
    assert owner.freest_link(0.0, urgent=True) is owner.links[0]  # it is all there is


# -- lanes -------------------------------------------------------------------------------------------------

FOUR_LANES = account(lanes=("emergency", "interactive", "notice", "bulk"))
BULK, NOTICE, INTERACTIVE, EMERGENCY = range(4)  # as priority_flag asks for them


def say(world: World, application: ApplicationPeer, *wishes: tuple[bytes, int]) -> None:
    for text, priority_flag in wishes:
        application.say(submit_sm(MOBILE, short_message=text, priority_flag=priority_flag))
    world.settle()


def test_what_is_more_urgent_leaves_first_and_each_lane_keeps_its_order(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,))
    application = world.application()
    wishes = [(b"b1", BULK), (b"n1", NOTICE), (b"e1", EMERGENCY), (b"b2", BULK), (b"i1", INTERACTIVE)]
    say(world, application, *wishes, (b"n2", NOTICE), (b"e2", EMERGENCY))
    assert taken(world.connect()) == [[b"e1", b"e2", b"i1", b"n1", b"n2", b"b1", b"b2"]]


def test_a_slot_of_each_window_is_kept_for_emergencies(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,), carriers=(carrier(sessions=2, window=4),))
    links = world.connect(index=0), world.connect(index=1)
    application = world.application()
    say(world, application, *((b"%d" % number, BULK + number % 3) for number in range(9)))
    first, second = (peer.taken() for peer in links)
    assert (len(first), len(second)) == (3, 3)
    say(world, application, (b"e1", EMERGENCY), (b"e2", EMERGENCY), (b"e3", EMERGENCY))
    assert sorted(text for texts in taken(*links) for text in texts) == [b"e1", b"e2"]
    links[0].answer(first[0], b"17")
    assert taken(*links) == [[b"e3"], []]
    links[0].answer(first[1], b"18")  # what is free now is the slot that is kept
    assert taken(*links) == [[], []]
    links[0].answer(first[2], b"19")
    assert sum(map(len, taken(*links))) == 1


def test_emergencies_have_a_share_of_the_rate_for_which_the_others_pay(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,), carriers=(carrier(rate_per_s=20, window=100),))
    peer, application = world.connect(), world.application()
    say(world, application, *((b"%d" % number, BULK) for number in range(30)))
    assert len(peer.taken()) == 20
    assert world.loop.next_timer == pytest.approx(START_S + 0.05)
    say(world, application, (b"e1", EMERGENCY))
    assert taken(peer) == [[b"e1"]]
    say(world, application, (b"e2", EMERGENCY))
    assert taken(peer) == [[]]
    world.loop.now += 0.1  # two parts' worth, of which the first is owed for e1
    world.turns.schedule()
    world.settle()
    assert taken(peer) == [[b"e2"]]  # before all bulk
    assert world.loop.next_timer == pytest.approx(START_S + 0.15)
    world.loop.now += 0.05
    world.settle()
    assert taken(peer) == [[b"20"]]


def test_an_emergency_does_not_wait_until_a_message_of_255_parts_is_paid(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,), carriers=(carrier(rate_per_s=20, burst=1, window=400),))
    peer, application = world.connect(), world.application()
    owner = world.dispatch.carriers["cmcc"]
    owner.bucket.owe(255, world.loop.now)
    say(world, application, (b"b", BULK), (b"e", EMERGENCY))
    assert taken(peer) == [[b"e"]]


def test_an_emergency_probes_a_link_that_pauses(sealer: Sealer) -> None:
    """It needs not wait for the end of the pause; its answer tells whether the others may go on."""
    world = World(sealer, accounts=(FOUR_LANES,))
    peer, application = world.connect(), world.application()
    (link,) = world.dispatch.carriers["cmcc"].links
    now = world.loop.now
    for _ in range(6):  # it pauses for longer than a second by now
        link.congestion.throttled(1, now, now)
        now = link.congestion._paused_until
        assert link.congestion.take(1, now)
    link.congestion.throttled(1, now, now)
    world.loop.now = now + 0.3
    assert link.congestion.wait_s(world.loop.now) > 1.0
    say(world, application, (b"b", BULK))
    assert taken(peer) == [[]]
    say(world, application, (b"e1", EMERGENCY), (b"e2", EMERGENCY))
    (probe,) = peer.taken()
    assert probe.short_message == b"e1"
    peer.answer(probe, b"17")
    assert b"e2" in taken(peer)[0]


def test_an_emergency_overtakes_a_hundred_thousand_that_wait(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,), carriers=(carrier(rate_per_s=200, window=100),))
    peer, application = world.connect(), world.application()
    owner = world.dispatch.carriers["cmcc"]
    for number in range(100_000):
        owner.queues.append(waiting(number, 3, owner))
    world.hold("cmcc", 0.0)
    say(world, application, (b"e1", EMERGENCY))
    assert taken(peer) == [[b"e1"]]


def test_a_message_of_many_parts_is_not_overtaken_by_those_behind(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,), carriers=(carrier(rate_per_s=2, burst=4),))
    peer, application = world.connect(), world.application()
    world.hold("cmcc", 0.0)
    long = submit_sm(MOBILE, short_message=b"\x4f\x60" * 100, data_coding=8, priority_flag=INTERACTIVE)
    application.say(long)
    say(world, application, (b"b", BULK))
    assert world.loop.next_timer == START_S + 1.0
    world.loop.now += 0.5
    world.settle()
    assert taken(peer) == [[]]
    world.loop.now += 0.5
    world.settle()
    assert [len(text) for text in taken(peer)[0]] == [200]
    world.loop.now += 0.5
    world.settle()
    assert taken(peer) == [[b"b"]]


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
    behind.queues.lanes[2].extend(queue)  # type: ignore[arg-type]
    behind.window_bound, behind.answered_per_s = window_bound, answered_per_s
    other.answered_per_s = others_per_s
    assert world.dispatch.pressed() is pressed


def test_a_cancelled_part_leaves_the_queue_of_a_carrier_that_is_down(world: World) -> None:
    application = world.application()
    message_id = application.submit(MOBILE)
    kept = application.submit(MOBILE_2)
    application.ask(CancelSm(message_id=message_id, source_addr=SOURCE))
    assert list(world.dispatch.carriers["cmcc"].queues) == [world.part(kept)]


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
