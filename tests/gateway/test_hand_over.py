"""What waits for a carrier that is out of service goes another way, and nothing leaves twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from gateway import detours
from gateway.config import RouteTable
from gateway.downstream import SILENT_S
from gateway.message import FINAL, QUEUED, SENT, UNCERTAIN
from gateway.routes import Routes
from gateway.upkeep import HAND_OVER_AFTER_S
from protocol.smpp.codes import CommandStatus, MessageState
from protocol.smpp.pdu import SubmitSm
from storage.seal import Sealer
from tests.gateway.histories_of_attempts import LONG, own_part
from tests.gateway.peers import ApplicationPeer, CarrierPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, World, account, carrier

TELECOM = b"13300133000"
# Carrier a is used while it is in service, then b.
FIRST_A = RouteTable(network="mobile", carriers=("a", "b"), weights=(1, 0))


class Scene:
    """Two carriers of one network: of the first, whose window has one slot, b takes over."""

    def __init__(self, sealer: Sealer, *, routes: Iterable[RouteTable] = (FIRST_A,), **settings: Any) -> None:
        carriers = carrier("a", window=1), carrier("b", **settings.pop("b", {}))
        self.world = World(sealer, carriers=carriers, routes=tuple(routes), **settings)
        self.first, self.second = self.world.connect("a"), self.world.connect("b")
        self.application = self.world.application()
        self.world.wait(0.0)  # both are known to be in service

    def say(self, *messages: SubmitSm) -> None:
        """Submit some in one turn."""
        for message in messages:
            self.application.say(message)
        self.world.settle()

    def texts(self) -> list[list[bytes]]:
        """What came to each carrier since the last time."""
        return [[request.short_message for request in peer.taken()] for peer in (self.first, self.second)]

    def lose_first(self) -> None:
        """The first carrier is gone, and that is noticed."""
        self.first.cut()
        self.world.wait(0.0)

    def tick(self, seconds: float) -> None:
        """Time passes, and one tick rings."""
        self.world.loop.now += seconds
        self.world.upkeep.tick()
        self.world.settle()


def numbered(texts: Iterable[int], destination: bytes = MOBILE) -> list[SubmitSm]:
    return [submit_sm(destination, short_message=b"%d" % text) for text in texts]


def text_of(sequence: int) -> bytes:
    return own_part(sequence, 3).short_message


# -- when --------------------------------------------------------------------------------------------------


def goes_down(scene: Scene) -> None:
    scene.first.cut()


def unbinds(scene: Scene) -> None:
    scene.first.session.unbind(scene.world.turns.now)
    scene.first.flush()
    scene.world.settle()


def breaks(scene: Scene) -> None:
    for _ in range(3):
        scene.world.dispatch.carriers["a"].breaker.failed(scene.world.turns.now)


def falls_silent(scene: Scene) -> None:
    scene.world.wait(SILENT_S + 0.1)


def bars_us(scene: Scene) -> None:
    scene.world.dispatch.carriers["a"].links[0].park("our password is refused")
    scene.world.settle()


@pytest.mark.parametrize("happens", [goes_down, unbinds, breaks, falls_silent, bars_us])
def test_what_waits_goes_the_other_way_after_a_while(
    happens: Callable[[Scene], None], sealer: Sealer
) -> None:
    scene = Scene(sealer)
    scene.say(*numbered(range(4)))
    assert scene.texts() == [[b"0"], []]
    happens(scene)
    scene.world.wait(0.0)
    scene.world.wait(HAND_OVER_AFTER_S)
    assert scene.texts() == [[], []]
    scene.world.wait(0.1)
    assert scene.texts() == [[], [b"1", b"2", b"3"]]
    for _ in range(20):
        scene.world.wait(1.0)
    assert scene.texts() == [[], []]  # what was in flight is uncertain, and its account waits


def test_a_carrier_that_is_back_within_its_first_pause_keeps_what_waits(sealer: Sealer) -> None:
    scene = Scene(sealer)
    scene.say(*numbered(range(2)))
    scene.lose_first()
    scene.texts()
    scene.world.wait(1.0)
    scene.first = scene.world.connect("a")
    scene.world.wait(HAND_OVER_AFTER_S)
    assert scene.texts() == [[b"1"], []]


def test_what_is_accepted_meanwhile_goes_the_other_way_at_once(sealer: Sealer) -> None:
    scene = Scene(sealer)
    scene.lose_first()
    scene.say(*numbered(range(2)))
    assert scene.texts() == [[], [b"0", b"1"]]


def test_what_has_no_other_way_waits(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("a"), carrier("u", "unicom")))
    other, application = world.connect("u"), world.application()
    message_id = application.submit(MOBILE)
    world.wait(10.0)
    assert (other.taken(), world.part(message_id).carrier.name) == ([], "a")
    assert len(world.connect("a").taken()) == 1


# -- which, and in what order ------------------------------------------------------------------------------


def test_what_moves_stands_by_its_age_among_what_waits_there(
    sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at a time, and never a younger one before an older one of its lane."""
    monkeypatch.setattr(detours, "HAND_OVER_PARTS", 2)
    scene = Scene(sealer, routes=(), accounts=(account(lanes=("interactive", "bulk")),))
    scene.world.hold("b", 100.0)
    messages = numbered(range(12))
    for number, message in enumerate(messages):
        message.destination_addr = b"138001380%02d" % number  # what goes to one number waits at one account
    for message in messages[::4]:
        message.priority_flag = 2
    scene.say(*messages)
    waiting = [[part.number for part in each.queues] for each in scene.world.dispatch.carriers.values()]
    assert list(map(len, waiting)) == [5, 6]
    scene.lose_first()
    assert scene.texts() == [[b"0"], []]
    for _ in range(4):
        scene.tick(1.0)
    scene.world.hold("b", 0.0)
    scene.world.wait(1.0)
    assert scene.texts()[1] == [b"4", b"8", *(b"%d" % each for each in (1, 2, 3, 5, 6, 7, 9))]


def test_what_cannot_move_does_not_keep_what_stands_behind_it(
    sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detours, "HAND_OVER_PARTS", 2)
    scene = Scene(sealer, routes=(FIRST_A, RouteTable(network="telecom", carriers=("a",))))
    scene.say(*numbered(range(6), TELECOM), *numbered([6]))
    scene.lose_first()
    assert scene.texts() == [[b"0"], []]
    scene.tick(2.0)
    scene.tick(0.25)
    assert scene.texts() == [[], []]
    scene.tick(0.25)
    assert scene.texts() == [[], [b"6"]]
    scene.first = scene.world.connect("a")
    assert scene.texts() == [[b"1"], []]


def test_a_long_text_does_not_move_to_a_carrier_that_takes_parts_only(sealer: Sealer) -> None:
    """It cannot be cut any more."""
    scene = Scene(sealer, b={"message_payload": False})
    scene.say(*numbered([0]), submit_sm(MOBILE, **LONG), *numbered([2]))
    scene.lose_first()
    scene.world.wait(2.0)
    assert scene.texts() == [[b"0"], [b"2"]]
    (request,) = scene.world.connect("a").taken()
    assert request.tlvs == LONG["tlvs"]


def test_what_was_rerouted_stays_where_it_was_sent(sealer: Sealer) -> None:
    carriers = carrier("a"), carrier("u", "unicom"), carrier("v", "unicom")
    world = World(sealer, carriers=carriers)
    mobile, unicom, other = (world.connect(each.name) for each in carriers)
    application = world.application()
    message_id = application.submit(MOBILE)
    (request,) = mobile.taken()
    world.hold("u", 100.0)
    mobile.answer(request, b"17")
    mobile.deliver(receipt(b"17", MOBILE, b"MB:1049"))
    for _ in range(2):
        world.wait(0.0)
    assert world.part(message_id).carrier.name == "u"
    unicom.cut()
    for _ in range(5):
        world.wait(1.0)
    assert (mobile.taken(), other.taken(), world.part(message_id).state) == ([], [], QUEUED)


# -- texts -------------------------------------------------------------------------------------------------


def test_the_parts_of_a_text_move_together(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the first have left already when it is the others' turn; and what comes later follows."""
    monkeypatch.setattr(detours, "HAND_OVER_PARTS", 1)
    scene = Scene(sealer)
    scene.say(*numbered([0]), own_part(1, 3), own_part(2, 3))
    scene.lose_first()
    scene.tick(2.0)
    assert scene.texts() == [[b"0"], [text_of(1)]]
    scene.tick(0.25)
    assert scene.texts() == [[], [text_of(2)]]
    scene.first = scene.world.connect("a")
    scene.say(own_part(3, 3))
    assert scene.texts() == [[], [text_of(3)]]


def test_a_part_that_is_left_behind_follows_its_text(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first carrier is back before the rest of the text has moved."""
    monkeypatch.setattr(detours, "HAND_OVER_PARTS", 1)
    scene = Scene(sealer)
    scene.say(*numbered([0]), own_part(1, 3), own_part(2, 3), own_part(3, 3))
    scene.lose_first()
    scene.tick(2.0)
    assert scene.texts() == [[b"0"], [text_of(1)]]
    scene.first = scene.world.connect("a")
    scene.world.wait(0.0)
    assert scene.texts() == [[], [text_of(2), text_of(3)]]


def test_a_part_that_follows_to_a_carrier_that_had_its_turn_is_not_left_there(sealer: Sealer) -> None:
    """Carrier a is asked before b: what b gives up for it must not wait for the next tick."""
    scene = Scene(sealer, routes=(RouteTable(network="mobile", carriers=("b", "a"), weights=(1, 0)),))
    scene.world.hold("b", 100.0)
    scene.say(own_part(1, 3))
    (part,) = scene.world.dispatch.carriers["b"].queues
    assert part.group is not None
    part.group.carrier = scene.world.dispatch.carriers["a"]
    scene.world.turns.schedule()
    scene.world.settle()
    assert scene.world.loop.next_timer == scene.world.loop.now + 0.001
    scene.world.loop.now += 0.001
    scene.world.settle()
    assert scene.texts() == [[text_of(1)], []]


@pytest.mark.parametrize("cut", [False, True], ids=["cut by the application", "cut by the gateway"])
def test_a_text_of_which_a_part_has_left_stays_together(cut: bool, sealer: Sealer) -> None:
    scene = Scene(sealer)
    if cut:
        a = scene.world.dispatch.carriers["a"]
        a.configure(carrier("a", window=1, message_payload=False), scene.world.turns.now)
        scene.say(submit_sm(MOBILE, **LONG), *numbered([9]))
    else:
        scene.say(own_part(1, 3), own_part(2, 3), own_part(3, 3), *numbered([9]))
    (begun,) = scene.texts()[0]
    scene.lose_first()
    for _ in range(3):
        scene.world.wait(1.0)
    assert scene.texts() == [[], [b"9"]]
    again = scene.world.connect("a")
    rest = []
    for _ in range(2):
        (request,) = again.taken()
        rest.append(request.short_message)
        again.answer(request, request.short_message[:6].hex().encode())
    assert [part[5] for part in (begun, *rest)] == [1, 2, 3]  # in the header that they all have


def test_a_restart_leaves_a_text_where_it_was_handed_over(sealer: Sealer) -> None:
    """One part has left there; the others wait, and nothing in the evidence says so of them."""
    carriers = tuple(carrier(name, window=1, message_payload=False) for name in ("a", "b"))
    world = World(sealer, carriers=carriers, routes=(FIRST_A,))
    first, second, application = world.connect("a"), world.connect("b"), world.application()
    world.wait(0.0)
    world.hold("a", 100.0)
    application.submit(MOBILE, **LONG)
    first.cut()
    for _ in range(3):
        world.wait(1.0)
    assert len(second.taken()) == 1
    after = World(sealer, carriers=carriers, routes=(FIRST_A,), found=world.log.entries, now=world.loop.now)
    after.restore()
    a, b = after.dispatch.carriers.values()
    assert (len(a.queues), len(b.queues)) == (0, 2)


def test_one_of_two_ways_goes_dark(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No FIN, no answer, not even to enquire_link: messages go on by the other one, the link is given up
    within two periods, what was in flight is uncertain, and nothing leaves twice."""
    carriers = carrier("a", enquire_link_s=8.0), carrier("b")
    world = World(sealer, carriers=carriers)
    first, second, application = world.connect("a"), world.connect("b"), world.application()
    link = world.dispatch.carriers["a"].links[0]
    monkeypatch.setattr(first, "receive", lambda data: None)
    dark_since, given_up_s = world.loop.now, 0.0
    ids, texts = [], []
    for tick in range(4 * 20):
        ids.append(application.submit(MOBILE, short_message=b"%d" % tick))
        world.loop.now += 0.25
        world.upkeep.tick()
        world.settle()
        for request in second.taken():
            texts.append(request.short_message)
            second.answer(request, request.short_message)
        if link.state == "down" and not given_up_s:
            given_up_s = world.loop.now - dark_since
    assert 8.0 < given_up_s <= 16.0
    # Half of what came before it was seen to be silent, after two seconds and a tick.
    lost = [each for each in ids if world.part(each).state == UNCERTAIN]
    assert lost == ids[0:10:2]
    assert [world.part(each).state for each in ids if each not in lost] == [SENT] * 75
    assert texts == [b"%d" % tick for tick in range(80) if ids[tick] not in lost]


# -- what comes from the one before ------------------------------------------------------------------------


def resent_elsewhere(sealer: Sealer) -> tuple[Scene, SubmitSm, bytes]:
    """An attempt at the first carrier is uncertain; the account resends, and the second one is to do it."""
    scene = Scene(sealer, accounts=(account(uncertain="resend"),))
    message_id = scene.application.submit(MOBILE)
    (request,) = scene.first.taken()
    scene.world.hold("a", 100.0)
    scene.world.hold("b", 14.0)
    for seconds in (10.0, 1.0, 1.0):
        scene.world.wait(seconds)
    part = scene.world.part(message_id)
    assert (part.state, part.carrier.name, part.attempts) == (QUEUED, "b", 1)
    return scene, request, message_id


def test_a_late_answer_takes_a_part_out_of_the_other_carriers_queue(sealer: Sealer) -> None:
    scene, request, message_id = resent_elsewhere(sealer)
    scene.first.answer(request, b"17")
    part = scene.world.part(message_id)
    assert (part.state, part.carrier.name, part.carrier_id) == (SENT, "a", b"17")
    scene.world.wait(10.0)
    assert scene.texts() == [[], []]
    scene.first.deliver(receipt(b"17", MOBILE))
    assert scene.application.reports() == [(message_id, MessageState.DELIVERED, b"000")]


def test_a_late_refusal_of_the_one_before_changes_nothing(sealer: Sealer) -> None:
    scene, request, message_id = resent_elsewhere(sealer)
    scene.first.answer(request, command_status=CommandStatus.ESME_RINVDSTADR)
    assert scene.world.part(message_id).state == QUEUED
    scene.world.wait(3.0)
    assert scene.texts() == [[], [b"hello"]]


@pytest.mark.parametrize("late_first", [False, True])
def test_both_carriers_ids_are_known(late_first: bool, sealer: Sealer) -> None:
    """Whichever comes first; and a delivery by either of them is one, and the end."""
    for carrier_name in ("a", "b"):
        scene, request, message_id = resent_elsewhere(sealer)
        scene.world.wait(3.0)
        (again,) = scene.second.taken()
        answers: list[tuple[CarrierPeer, SubmitSm]] = [(scene.second, again), (scene.first, request)]
        for peer, each in answers[:: -1 if late_first else 1]:
            peer.answer(each, b"17")  # their ids have nothing to do with each other
        part = scene.world.part(message_id)
        carriers = scene.world.dispatch.carriers
        for owner in carriers.values():
            assert owner.correlation._by_id == {b"17": part}
        assert (part.state, part.carrier.name) == (SENT, "a" if late_first else "b")
        peer = scene.first if carrier_name == "a" else scene.second
        peer.deliver(receipt(b"17", MOBILE))
        assert part.state == FINAL
        assert scene.application.reports() == [(message_id, MessageState.DELIVERED, b"000")]


# -- a carrier that has left the configuration -------------------------------------------------------------


def reroute(world: World) -> ApplicationPeer:
    """Carrier a is not configured any more."""
    gone = world.dispatch.carriers["a"]
    world.routes.ways["mobile"] = [way for way in world.routes.ways["mobile"] if way.carrier is not gone]
    world.pipeline.detours.reroute(gone)
    world.turns.schedule()
    world.settle()
    return world.application()


def test_what_waits_for_a_carrier_that_has_left_goes_elsewhere_in_its_time(sealer: Sealer) -> None:
    scene = Scene(sealer)
    an_hour = submit_sm(MOBILE, short_message=b"later", schedule_delivery_time=b"000000010000000R")
    scene.say(*numbered([0]), own_part(1, 3), own_part(2, 3), an_hour, *numbered([4]))
    assert scene.texts() == [[b"0"], []]
    scene.first.cut()
    reroute(scene.world)
    assert scene.texts() == [[], [text_of(1), text_of(2), b"4"]]
    scene.world.wait(3_599.0)
    assert scene.texts() == [[], []]
    scene.world.wait(1.0)
    assert scene.texts() == [[], [b"later"]]


def test_what_nobody_else_can_take_ends(sealer: Sealer) -> None:
    scene = Scene(sealer, b={"message_payload": False})
    scene.world.hold("a", 100.0)
    long = scene.application.submit(MOBILE, **LONG)
    short = scene.application.submit(MOBILE_2)
    scene.first.cut()
    reroute(scene.world)
    assert scene.application.reports() == [(long, MessageState.UNDELIVERABLE, b"000")]
    assert (scene.texts(), scene.world.part(short).carrier.name) == ([[], [b"hello"]], "b")


def test_a_text_has_a_carrier_even_if_nobody_can_take_it(sealer: Sealer) -> None:
    """Others of its parts may be looked at, wherever they wait."""
    scene = Scene(sealer)
    scene.world.hold("a", 100.0)
    scene.say(own_part(1, 3))
    gone = scene.world.dispatch.carriers["a"]
    (part,) = gone.queues
    scene.world.admission.routes = Routes({}, (), "mobile")
    reroute(scene.world)
    assert part.group is not None
    assert (part.state, part.group.carrier) == (FINAL, gone)


def test_what_is_uncertain_at_a_carrier_that_has_left_stays_so(sealer: Sealer) -> None:
    scene = Scene(sealer)
    message_id = scene.application.submit(MOBILE)
    scene.first.cut()
    reroute(scene.world)
    assert scene.world.part(message_id).state == UNCERTAIN
    assert scene.texts() == [[b"hello"], []]
