"""The two paths of a message, step by step: what has left when, and what stands in the evidence by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from gateway.config import RouteTable
from gateway.message import DISPATCHED, FINAL, QUEUED, SENT, UNCERTAIN
from gateway.pipeline import ATTEMPTS_MAX, RESEND_WAITS_S
from protocol.smpp.codec import HEADER
from protocol.smpp.codes import CommandStatus, MessageState
from protocol.smpp.pdu import DeliverSm, DeliverSmResp, GenericNack, SubmitSm, SubmitSmResp
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import ApplicationPeer, CarrierPeer, receipt, submit_sm
from tests.gateway.test_recovery import knowledge_of_parts, knowledge_of_places
from tests.gateway.world import MOBILE, MOBILE_2, World, account, carrier

THROTTLED, QUEUE_FULL = CommandStatus.ESME_RTHROTTLED, CommandStatus.ESME_RMSGQFUL
BAD_NUMBER = CommandStatus.ESME_RINVDSTADR


def test_out_and_back_nothing_leaves_before_its_record_is_durable(world: World) -> None:
    peer, application = world.connect(), world.application()
    asked = application.say(submit_sm(MOBILE))
    world.turn()
    assert world.kinds == ["Accepted", "Dispatched"]  # both in the batch that is at the disk
    assert (world.log.busy, world.log.pending) == (True, 0)
    assert (application.heard, peer.heard) == ([], [])
    world.durable()
    message_id = world.message_ids.text(4)
    assert application.take(SubmitSmResp) == [SubmitSmResp(asked, message_id=message_id)]
    (request,) = peer.taken()
    assert (request.destination_addr, request.short_message) == (MOBILE, b"hello")

    peer.respond(request, body=b"17\0")
    world.turn()
    assert world.kinds[2:] == ["Sent"]
    world.durable()
    assert (application.heard, peer.heard) == ([], [])

    told = peer.say(receipt(b"17", MOBILE))
    world.turn()
    assert world.kinds[3:] == ["Receipt"]
    assert (application.heard, peer.heard) == ([], [])
    world.durable()
    assert peer.take(DeliverSmResp) == [DeliverSmResp(told)]
    (report,) = application.take(DeliverSm)
    assert report.short_message.startswith(b"id:" + message_id)

    application.respond(report, body=b"\0")
    world.settle()
    assert world.kinds[4:] == ["Reported"]
    assert (application.heard, peer.heard) == ([], [])
    assert world.part(message_id).message_state == MessageState.DELIVERED


def test_what_comes_while_the_disk_is_busy_shares_the_next_batch(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE))
    world.turn()
    for text in (b"2", b"3"):
        application.say(submit_sm(MOBILE, short_message=text))
        world.turn()
    assert world.kinds == ["Accepted", "Dispatched", "Accepted", "Accepted"]
    world.durable()
    assert (len(application.take(SubmitSmResp)), len(peer.taken())) == (1, 1)
    assert world.kinds[4:] == ["Dispatched"]
    world.durable()
    assert (len(application.take(SubmitSmResp)), len(peer.taken())) == (2, 2)
    assert not world.log.busy


def test_a_process_that_dies_before_the_disk_has_said_nothing(world: World) -> None:
    application = world.application()
    application.say(submit_sm(MOBILE))
    application.say(submit_sm(b"no number"))
    world.turn()
    assert [pdu.command_status for pdu in application.heard] == [BAD_NUMBER]


def test_the_body_goes_on_as_it_came_but_asks_for_a_receipt(world: World) -> None:
    peer, application = world.connect(), world.application()
    odd = {"service_type": b"CMT", "protocol_id": 3, "priority_flag": 2, "tlvs": ((0x1401, b"vendor"),)}
    for wish, asked in ((0, 1), (1, 1), (2, 1), (3, 1), (0x10, 0x11), (0x1E, 0x1D)):
        application.submit(MOBILE, registered_delivery=wish, **odd)
        request = peer.take_one(b"%d" % wish)
        expected = submit_sm(MOBILE, registered_delivery=asked, **odd)
        expected.sequence_number = request.sequence_number
        assert request == expected


# -- what a carrier answers --------------------------------------------------------------------------------


class Answer(NamedTuple):
    """An answer to the only attempt, in time or late, and what it makes of the part."""

    pdu: SubmitSmResp | GenericNack
    late: bool
    kinds: list[str]
    state: int  # after the answer, before time goes on
    reports: tuple[tuple[int, bytes], ...] = ()  # (message_state, err)
    again: int = 0  # messages that the carrier gets a second later


def taken(message_id: bytes = b"17") -> SubmitSmResp:
    return SubmitSmResp(2, message_id=message_id)


def refused(status: int) -> SubmitSmResp:
    return SubmitSmResp(2, status)


DELIVERED = int(MessageState.DELIVERED)
REJECTED = int(MessageState.REJECTED)
ANSWERS = {
    "taken": Answer(taken(), False, ["Sent"], SENT),
    "taken without an id": Answer(taken(b""), False, ["Sent"], SENT),
    "refused": Answer(refused(BAD_NUMBER), False, ["Refused"], FINAL, ((REJECTED, b"00B"),)),
    "refused by a vendor's status": Answer(refused(0x4FF), False, ["Refused"], FINAL, ((REJECTED, b"4FF"),)),
    "refused by generic_nack": Answer(GenericNack(2, 3), False, ["Refused"], FINAL, ((REJECTED, b"003"),)),
    "throttled": Answer(refused(THROTTLED), False, ["Refused"], QUEUED, again=1),
    "queue full": Answer(refused(QUEUE_FULL), False, ["Refused"], QUEUED, again=1),
    "late, taken": Answer(taken(), True, ["Uncertain", "Sent"], SENT),
    "late, taken without an id": Answer(taken(b""), True, ["Uncertain", "Sent"], SENT),
    "late, refused": Answer(
        refused(BAD_NUMBER), True, ["Uncertain", "Refused"], FINAL, ((REJECTED, b"00B"),)
    ),
    "late, nacked": Answer(GenericNack(2, 3), True, ["Uncertain", "Refused"], FINAL, ((REJECTED, b"003"),)),
    "late, throttled": Answer(refused(THROTTLED), True, ["Uncertain", "Refused"], QUEUED, again=1),
}


@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_makes_of_a_part(case: Answer, world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (request,) = peer.taken()
    if case.late:
        world.wait(10.0)
        assert world.part(message_id).state == UNCERTAIN
    body = case.pdu.message_id + b"\0" if isinstance(case.pdu, SubmitSmResp) else b""
    head = HEADER.pack(16 + len(body), case.pdu.command_id, case.pdu.command_status, request.sequence_number)
    peer.wire.connection.data_received(head + body)
    world.settle()
    assert world.kinds[2:] == case.kinds
    assert world.part(message_id).state == case.state
    assert application.reports() == [(message_id, state, error) for state, error in case.reports]
    world.wait(1.0)
    assert len(peer.taken()) == case.again


def test_a_refusal_is_not_reported_to_whoever_did_not_ask(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.submit(MOBILE, registered_delivery=0)
    (request,) = peer.taken()
    peer.answer(request, command_status=BAD_NUMBER)
    assert application.reports() == []


def test_an_answer_that_cannot_be_read_leaves_the_part_uncertain(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (request,) = peer.taken()
    peer.wire.connection.data_received(HEADER.pack(18, 0x80000004, 0, request.sequence_number) + b"no")
    world.settle()
    assert (world.part(message_id).state, world.kinds[2:]) == (UNCERTAIN, ["Uncertain"])


# -- what nobody answers -----------------------------------------------------------------------------------


def lose_by_cut(world: World, peer: CarrierPeer) -> None:
    peer.cut()


def lose_by_unbind(world: World, peer: CarrierPeer) -> None:
    peer.session.unbind(world.turns.now)
    peer.flush()
    world.settle()


def lose_by_time(world: World, peer: CarrierPeer) -> None:
    world.wait(10.0)


@pytest.mark.parametrize("uncertain", ["wait", "resend"])
@pytest.mark.parametrize("lose", [lose_by_cut, lose_by_unbind, lose_by_time])
def test_an_unanswered_part_waits_or_is_sent_again_as_its_account_wishes(
    lose: object, uncertain: str, sealer: Sealer
) -> None:
    assert callable(lose)
    world = World(sealer, accounts=(account(uncertain=uncertain),))
    peer, application = world.connect(), world.application()
    ids = [application.submit(destination) for destination in (MOBILE, MOBILE_2)]
    assert len(peer.taken()) == 2
    lose(world, peer)
    if lose is not lose_by_time:
        assert {world.part(each).state for each in ids} == {UNCERTAIN if uncertain == "wait" else QUEUED}
        peer = world.connect()
    assert peer.taken() == []  # it rests before it is sent again
    world.wait(1.0)
    resent = [request.destination_addr for request in peer.taken()]
    assert resent == ([] if uncertain == "wait" else [MOBILE, MOBILE_2])
    lost = [record for record in world.log.read() if isinstance(record, records.Uncertain)]
    assert sum(len(record.numbers) for record in lost) == 2  # one record for a link that was lost
    assert len(lost) == (2 if lose is lose_by_time else 1)


def test_a_part_is_sent_again_by_itself_only_so_often_and_after_growing_rests(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    for rest_s in RESEND_WAITS_S:
        assert len(peer.taken()) == 1
        peer.cut()
        peer = world.connect()
        world.wait(rest_s / 2)
        assert (peer.taken(), world.part(message_id).state) == ([], QUEUED)
        world.wait(rest_s / 2)
    assert len(peer.taken()) == 1
    peer.cut()
    assert (world.part(message_id).attempts, world.part(message_id).state) == (ATTEMPTS_MAX, UNCERTAIN)
    found = World(
        sealer,
        accounts=(account(uncertain="resend"),),
        found=world.log.entries,
        now=world.turns.now,
    )
    for each in (world, found):
        if each is found:
            assert each.restore() == []
            each.pipeline.resend_as_configured()
        peer = each.connect()
        each.wait(60.0)
        assert (peer.taken(), each.part(message_id).state) == ([], UNCERTAIN)


class Earlier(NamedTuple):
    """The late answer to the first attempt, while the second is in flight; and what the second one brings."""

    pdu: SubmitSmResp
    state: int
    second: SubmitSmResp
    end: int
    kinds: list[str]


EARLIER = {
    "taken, then taken": Earlier(taken(), SENT, taken(b"18"), SENT, ["Sent", "Sent"]),
    "taken, then refused": Earlier(taken(), SENT, refused(BAD_NUMBER), SENT, ["Sent", "Refused"]),
    "taken, then throttled": Earlier(taken(), SENT, refused(THROTTLED), SENT, ["Sent", "Refused"]),
    "refused, then taken": Earlier(refused(BAD_NUMBER), DISPATCHED, taken(), SENT, ["Refused", "Sent"]),
    "refused, then refused": Earlier(
        refused(BAD_NUMBER), DISPATCHED, refused(BAD_NUMBER), FINAL, ["Refused", "Refused"]
    ),
    "throttled, then taken": Earlier(refused(THROTTLED), DISPATCHED, taken(), SENT, ["Refused", "Sent"]),
}


@pytest.mark.parametrize("case", EARLIER.values(), ids=EARLIER)
def test_a_late_answer_to_an_earlier_attempt_speaks_for_no_other(case: Earlier, sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (first,) = peer.taken()
    world.wait(10.0)
    world.wait(1.0)
    (second,) = peer.taken()
    start = len(world.kinds)
    peer.answer(first, case.pdu.message_id, case.pdu.command_status)
    assert world.part(message_id).state == case.state
    peer.answer(second, case.second.message_id, case.second.command_status)
    assert world.part(message_id).state == case.end
    assert world.kinds[start:] == case.kinds
    world.wait(60.0)
    assert peer.taken() == []


class Doubts(NamedTuple):
    """Late answers to two attempts that are both uncertain: (which attempt, its answer)."""

    answers: tuple[tuple[int, SubmitSmResp], ...]
    state: int
    moot: list[bool]  # of the refusals
    reports: tuple[tuple[int, bytes], ...] = ()
    again: int = 0  # messages that the carrier gets a second later


DOUBTS = {
    "the first is refused": Doubts(((0, refused(BAD_NUMBER)),), UNCERTAIN, [True]),
    "the first is throttled": Doubts(((0, refused(THROTTLED)),), UNCERTAIN, [True]),
    "the second is refused": Doubts(((1, refused(BAD_NUMBER)),), UNCERTAIN, [True]),
    "both are refused": Doubts(
        ((0, refused(BAD_NUMBER)), (1, refused(0x4FF))), FINAL, [True, False], ((REJECTED, b"4FF"),)
    ),
    "both are refused, the second before the first": Doubts(
        ((1, refused(BAD_NUMBER)), (0, refused(0x4FF))), FINAL, [True, False], ((REJECTED, b"4FF"),)
    ),
    "the first is refused, and the second throttled": Doubts(
        ((0, refused(BAD_NUMBER)), (1, refused(THROTTLED))), QUEUED, [True, False], again=1
    ),
    "the first is refused, and the second taken": Doubts(
        ((0, refused(BAD_NUMBER)), (1, taken())), SENT, [True]
    ),
    "the first is taken, and the second refused": Doubts(
        ((0, taken()), (1, refused(BAD_NUMBER))), SENT, [True]
    ),
}


@pytest.mark.parametrize("case", DOUBTS.values(), ids=DOUBTS)
def test_a_late_refusal_tells_the_fate_of_a_part_only_if_no_other_attempt_is_in_doubt(
    case: Doubts, world: World
) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    requests = peer.taken()
    world.wait(10.0)
    world.pipeline.resend([world.part(message_id)], "zhang", "asked by the sender")
    world.settle()
    requests += peer.taken()
    world.wait(10.0)
    for attempt, pdu in case.answers:
        peer.answer(requests[attempt], pdu.message_id, pdu.command_status)
    assert world.part(message_id).state == case.state
    assert [record.moot for record in world.log.read() if isinstance(record, records.Refused)] == case.moot
    assert application.reports() == [(message_id, state, error) for state, error in case.reports]
    world.wait(1.0)
    assert len(peer.taken()) == case.again


class Afterwards(NamedTuple):
    """What comes for the first attempt once the second was refused; the state then, and what is reported."""

    come: Callable[[CarrierPeer, SubmitSm], None]
    state: int
    reports: tuple[tuple[int, bytes], ...] = ()


AFTERWARDS = {
    "nothing": Afterwards(lambda peer, first: None, UNCERTAIN),
    "its receipt": Afterwards(
        lambda peer, first: peer.deliver(receipt(b"17", MOBILE)), FINAL, ((DELIVERED, b"000"),)
    ),
    "its positive response": Afterwards(lambda peer, first: peer.answer(first, b"17"), SENT),
    "its refusal": Afterwards(
        lambda peer, first: peer.answer(first, command_status=BAD_NUMBER), FINAL, ((REJECTED, b"00B"),)
    ),
}


@pytest.mark.parametrize("case", AFTERWARDS.values(), ids=AFTERWARDS)
@pytest.mark.parametrize("uncertain", ["wait", "resend"])
def test_a_refusal_for_good_ends_no_part_whose_earlier_attempt_is_in_doubt(
    uncertain: str, case: Afterwards, sealer: Sealer
) -> None:
    world = World(sealer, accounts=(account(uncertain=uncertain),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (first,) = peer.taken()
    world.wait(10.0)
    if uncertain == "wait":
        world.pipeline.resend([world.part(message_id)], "zhang", "asked by the sender")
        world.settle()
    else:
        world.wait(1.0)
    (second,) = peer.taken()
    peer.answer(second, command_status=BAD_NUMBER)
    assert (world.part(message_id).state, application.reports()) == (UNCERTAIN, [])
    case.come(peer, first)
    world.wait(60.0)
    assert world.part(message_id).state == case.state
    assert application.reports() == [(message_id, state, error) for state, error in case.reports]
    assert peer.taken() == []


def test_a_late_answer_takes_a_part_out_of_the_queue(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (first,) = peer.taken()
    world.hold("cmcc", 60.0)
    world.wait(10.0)
    assert world.part(message_id).state == QUEUED
    peer.answer(first, b"17")
    world.wait(60.0)
    assert (world.part(message_id).state, peer.taken()) == (SENT, [])


@pytest.mark.parametrize("down", [False, True], ids=["link up", "link down"])
def test_a_late_answer_keeps_a_part_from_leaving_whose_intent_is_at_the_disk(
    down: bool, sealer: Sealer
) -> None:
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (first,) = peer.taken()
    world.wait(10.0)
    world.tick(1.0)
    world.turn()
    assert world.part(message_id).state == DISPATCHED
    peer.respond(first, body=b"17\0")
    world.turn()
    if down:
        peer.cut(settle=False)
    world.settle()
    assert world.part(message_id).state == SENT
    assert world.kinds[2:] == ["Uncertain", "Dispatched", "Sent"]
    (link,) = world.dispatch.carriers["cmcc"].links
    assert (link.reserved, link.window_used) == (0, 0)


@pytest.mark.parametrize("lose", [lose_by_cut, lose_by_unbind])
def test_a_link_that_goes_down_between_intent_and_effect_gives_its_parts_back(
    lose: object, world: World
) -> None:
    assert callable(lose)
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE))
    world.turn()
    assert world.kinds == ["Accepted", "Dispatched"]
    lose(world, peer)
    assert world.kinds[2:] == ["Withdrawn"]
    assert (peer.taken(), len(application.take(SubmitSmResp))) == ([], 1)
    assert len(world.connect().taken()) == 1


def test_a_link_that_is_being_closed_takes_nothing_more(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE))
    world.turn()
    peer.wire.lingers = True
    peer.session.unbind(world.turns.now)
    peer.flush()
    world.settle()
    assert world.kinds == ["Accepted", "Dispatched", "Withdrawn"]
    assert len(application.take(SubmitSmResp)) == 1
    application.submit(MOBILE_2)
    assert world.kinds[3:] == ["Accepted"]


def test_a_link_that_unbinds_takes_nothing_more_in_the_same_turn(world: World) -> None:
    peer, application = world.connect(), world.application()
    peer.session.unbind(world.turns.now)
    application.say(submit_sm(MOBILE))
    peer.flush()
    world.settle()
    assert world.kinds == ["Accepted"]
    assert (len(application.take(SubmitSmResp)), peer.taken()) == (1, [])


# -- receipts of an attempt before the last one ------------------------------------------------------------

# A message centre says this where it cannot reach the number, and another account may (status_codes.csv).
NO_ROUTE = b"MB:1044"


class Tried:
    """A part that the first of two carriers could not deliver, and the second one was given.

    Both write the same ids, as small carriers do.
    """

    def __init__(self, sealer: Sealer, second_id: bytes) -> None:
        self.carriers = carrier("first"), carrier("second")
        self.routes = (RouteTable(network="mobile", carriers=("first", "second"), weights=(1, 0)),)
        self.world = world = World(sealer, carriers=self.carriers, routes=self.routes)
        self.first, self.second = world.connect("first"), world.connect("second")
        self.application: ApplicationPeer = world.application()
        self.second_id = second_id
        self.message_id = self.application.submit(MOBILE, registered_delivery=0x11)
        self.part = world.part(self.message_id)
        self.first.take_one(b"1")
        world.hold("second", 60.0)
        self.first.deliver(receipt(b"1", MOBILE, NO_ROUTE))
        assert (self.part.state, world.kinds[-2:]) == (QUEUED, ["Receipt", "Postponed"])
        world.wait(1.0)  # its body is read from the evidence meanwhile

    def bring_to(self, state: int) -> None:
        """The second attempt comes so far."""
        if state >= DISPATCHED:
            self.world.wait(60.0)
            (self.request,) = self.second.taken()
        if state >= SENT:
            self.second.answer(self.request, self.second_id)
        if state == FINAL:
            self.second.deliver(receipt(self.second_id, MOBILE, b"EXPIRED"))
        assert self.part.state == state

    def restarted(self, sealer: Sealer) -> World:
        found = World(
            sealer,
            carriers=self.carriers,
            routes=self.routes,
            found=self.world.log.entries,
            now=self.world.turns.now,
        )
        found.restore()
        return found


class Stale(NamedTuple):
    """How far the second attempt is, what the first carrier says then, and what that ends: only a delivery
    is true of the message whichever attempt it speaks of."""

    state: int
    stat: bytes
    ends: bool
    heard: tuple[int, ...] = ()  # message_state


EXPIRED = int(MessageState.EXPIRED)
STALE = [
    *(Stale(state, b"DELIVRD", True, (DELIVERED,)) for state in (QUEUED, DISPATCHED, SENT)),
    *(
        Stale(state, stat, False)
        for state in (QUEUED, DISPATCHED, SENT)
        for stat in (b"UNDELIV", b"EXPIRED", NO_ROUTE, b"ENROUTE")
    ),
    *(Stale(FINAL, stat, False, (EXPIRED,)) for stat in (b"DELIVRD", b"UNDELIV", b"ENROUTE")),
]


@pytest.mark.parametrize("second_id", [b"2", b"1"], ids=["another id", "the same id"])
@pytest.mark.parametrize("stale", STALE, ids=lambda stale: f"{stale.state} {stale.stat.decode()}")
def test_of_an_earlier_attempt_only_a_delivery_counts(stale: Stale, second_id: bytes, sealer: Sealer) -> None:
    tried = Tried(sealer, second_id)
    world = tried.world
    tried.bring_to(stale.state)
    start = len(world.kinds)
    tried.first.deliver(receipt(b"1", MOBILE, stale.stat))
    assert world.kinds[start:] == ["Receipt"]
    record = world.log.read()[-1]
    assert isinstance(record, records.Receipt)
    assert (record.number, record.final) == (tried.part.number, stale.ends)
    assert tried.part.state == (FINAL if stale.ends else stale.state)
    expected = [(tried.message_id, state, b"000") for state in stale.heard]
    assert tried.application.reports() == expected
    found = tried.restarted(sealer)
    assert knowledge_of_parts(found) == knowledge_of_parts(world)
    assert knowledge_of_places(found) == knowledge_of_places(world)
    # Whatever the second attempt still comes to is no news, unless nothing was known yet.
    if stale.state == QUEUED:
        world.wait(60.0)
        assert len(tried.second.taken()) == (not stale.ends)
    elif stale.state != FINAL:
        if stale.state == DISPATCHED:
            tried.second.answer(tried.request, second_id)
        tried.second.deliver(receipt(second_id, MOBILE, b"UNDELIV", err=b"027"))
        later = [(tried.message_id, int(MessageState.UNDELIVERABLE), b"027")]
        assert tried.application.reports() == ([] if stale.ends else later)


def test_a_late_answer_of_the_carrier_before_leaves_the_ids_of_both(sealer: Sealer) -> None:
    """Each id stays with the carrier that gave it, so that receipts of both find the part."""
    carriers = carrier("first"), carrier("second")
    routes = (RouteTable(network="mobile", carriers=("first", "second"), weights=(1, 0)),)
    start = {"accounts": (account(uncertain="resend"),), "carriers": carriers, "routes": routes}
    world = World(sealer, **start)  # type: ignore[arg-type]
    first, second, application = world.connect("first"), world.connect("second"), world.application()
    message_id = application.submit(MOBILE)
    (request,) = first.taken()
    world.wait(1.0)
    world.hold("first", 60.0)
    world.wait(9.0)  # the answer is late
    world.wait(1.0)  # the part has rested
    world.pipeline.detours.hand_over(world.dispatch.carriers["first"])
    world.settle()
    second.take_one(b"2")
    first.answer(request, b"1")
    part = world.part(message_id)
    assert (part.carrier.name, part.carrier_id) == ("second", b"2")
    assert [(each.name, carrier_id) for each, carrier_id in part.earlier_ids] == [("first", b"1")]
    found = World(sealer, **start, found=world.log.entries, now=world.turns.now)  # type: ignore[arg-type]
    found.restore()
    assert knowledge_of_parts(found) == knowledge_of_parts(world)
    first.deliver(receipt(b"1", MOBILE, b"UNDELIV"))  # of an earlier attempt: no failure of the message
    assert (part.state, application.reports()) == (SENT, [])
    second.deliver(receipt(b"2", MOBILE))
    assert application.reports() == [(message_id, DELIVERED, b"000")]


# -- what people and time decide ---------------------------------------------------------------------------


def test_operators_end_or_resend_uncertain_parts_with_a_reason(world: World) -> None:
    peer, application = world.connect(), world.application()
    ids = [application.submit(destination) for destination in (MOBILE, MOBILE_2)]
    peer.cut()
    world.pipeline.resend([world.part(ids[0])], "zhang", "the carrier was down")
    world.pipeline.close([world.part(ids[1])], "li", "too old")
    world.settle()
    action, _, outcome = world.log.read()[-3:]
    now_us, (resent, closed) = world.turns.now_us, [world.part(each).number for each in ids]
    assert action == records.OperatorAction(now_us, "zhang", "resend", "the carrier was down", [resent])
    assert outcome == records.Outcome(closed, now_us, 7, b"", "operator", "too old", "li")
    assert application.reports() == [(ids[1], MessageState.UNKNOWN, b"000")]
    assert [request.destination_addr for request in world.connect().taken()] == [MOBILE]


class Age(NamedTuple):
    """A part in a state for so long; receipt_timeout_h of its carrier is one hour."""

    state: int
    validity: bytes
    waited_s: float
    ends: int  # message_state, 0 if it goes on


AGES = [
    Age(QUEUED, b"000000001000000R", 599.9, 0),
    Age(QUEUED, b"000000001000000R", 600.1, MessageState.EXPIRED),
    Age(QUEUED, b"", 3599.9, 0),
    Age(QUEUED, b"", 3600.1, MessageState.EXPIRED),
    Age(UNCERTAIN, b"", 3599.9, 0),
    Age(UNCERTAIN, b"", 3600.1, MessageState.UNKNOWN),
    Age(UNCERTAIN, b"000000001000000R", 4199.9, 0),  # the carrier may try until then, and tell us later
    Age(UNCERTAIN, b"000000001000000R", 4200.1, MessageState.UNKNOWN),
    Age(SENT, b"", 3599.9, 0),
    Age(SENT, b"", 3600.1, MessageState.UNKNOWN),
]


@pytest.mark.parametrize("age", AGES)
def test_every_part_ends_in_time(age: Age, sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(receipt_timeout_h=1),))
    application = world.application()
    if age.state != QUEUED:
        peer = world.connect()
    message_id = application.submit(MOBILE, validity_period=age.validity)
    if age.state == SENT:
        peer.take_one(b"17")
    elif age.state == UNCERTAIN:
        peer.cut()
    assert world.part(message_id).state == age.state
    world.wait(age.waited_s)
    assert application.reports() == ([(message_id, age.ends, b"000")] if age.ends else [])


def test_a_message_without_a_carrier_waits_for_the_first_that_binds(world: World) -> None:
    application = world.application()
    application.submit(MOBILE)
    assert world.kinds == ["Accepted"]
    peer = world.connect()
    assert [type(pdu) for pdu in peer.heard] == [SubmitSm]
