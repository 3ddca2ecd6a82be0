"""The two paths of a message, step by step: what has left when, and what stands in the evidence by then."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.message import DISPATCHED, FINAL, QUEUED, SENT, UNCERTAIN
from gateway.pipeline import ATTEMPTS_MAX, RESEND_WAITS_S
from protocol.smpp.codec import HEADER
from protocol.smpp.codes import CommandStatus, MessageState
from protocol.smpp.pdu import DeliverSm, DeliverSmResp, GenericNack, SubmitSm, SubmitSmResp
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import CarrierPeer, receipt, submit_sm
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
    "late, refused": Answer(refused(8), True, ["Uncertain", "Refused"], FINAL, ((REJECTED, b"008"),)),
    "late, nacked": Answer(GenericNack(2, 8), True, ["Uncertain", "Refused"], FINAL, ((REJECTED, b"008"),)),
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
    "refused, then taken": Earlier(refused(8), DISPATCHED, taken(), SENT, ["Refused", "Sent"]),
    "refused, then refused": Earlier(refused(8), DISPATCHED, refused(8), FINAL, ["Refused", "Refused"]),
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


def test_a_late_answer_takes_a_part_out_of_the_queue(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (first,) = peer.taken()
    world.dispatch.carriers["cmcc"].paused_until = world.turns.now + 60.0
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
