"""The modes of esm_class: transaction answers with the carrier's own response, datagram is tried once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from gateway.message import DATAGRAM, DISPATCHED, FINAL, SENT, TRANSACTION, UNCERTAIN
from protocol.smpp.codec import HEADER, encode
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import DataSm, DataSmResp, Pdu, SmeAddress, SubmitMulti, SubmitMultiResp, SubmitSmResp
from storage import records
from storage.records import FLAG_DATA_SM, FLAG_TRANSACTION
from storage.seal import Sealer
from tests.gateway.histories_of_attempts import LONG, PAYLOAD
from tests.gateway.peers import SOURCE, ApplicationPeer, CarrierPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, START_S, World, account, carrier

OK, BAD_NUMBER, THROTTLED = 0, CommandStatus.ESME_RINVDSTADR, CommandStatus.ESME_RTHROTTLED
SYSTEM_ERROR, UNKNOWN_ERROR = CommandStatus.ESME_RSYSERR, CommandStatus.ESME_RUNKNOWNERR
BY_DATA_SM = DataSm(
    source_addr=SOURCE,
    destination_addr=MOBILE,
    esm_class=TRANSACTION,
    registered_delivery=1,
    tlvs=((PAYLOAD, b"hello"),),
)
BY_SUBMIT_SM = submit_sm(MOBILE, esm_class=TRANSACTION)

Happening = Callable[[World, CarrierPeer], None]


def answers(message_id: bytes, status: int = 0) -> Happening:
    def happen(_: World, peer: CarrierPeer) -> None:
        (request,) = peer.taken()
        peer.answer(request, message_id, status)

    return happen


def answers_too_late(world: World, peer: CarrierPeer) -> None:
    (request,) = peer.taken()
    world.wait(10.0)
    peer.answer(request, b"17")


def is_cut_off(_: World, peer: CarrierPeer) -> None:
    assert len(peer.taken()) == 1
    peer.cut()


def says_nothing(world: World, peer: CarrierPeer) -> None:
    assert len(peer.taken()) == 1
    world.wait(10.0)


def answers_what_cannot_be_read(world: World, peer: CarrierPeer) -> None:
    (request,) = peer.taken()
    peer.wire.connection.data_received(HEADER.pack(18, 0x80000004, 0, request.sequence_number) + b"no")
    world.settle()


class Case(NamedTuple):
    happens: Happening
    status: int  # of the response
    state: int  # of the part
    reports: int = 0  # of the end, when there is one


CASES = {
    "taken": Case(answers(b"17"), OK, SENT),
    "taken without an id": Case(answers(b""), OK, SENT),
    "refused": Case(answers(b"", BAD_NUMBER), BAD_NUMBER, FINAL),
    "refused for now": Case(answers(b"", SYSTEM_ERROR), SYSTEM_ERROR, FINAL),
    "throttled": Case(answers(b"", THROTTLED), THROTTLED, FINAL),
    "refused by a vendor's status": Case(answers(b"", 0x4FF), 0x4FF, FINAL),
    "unanswered": Case(says_nothing, UNKNOWN_ERROR, UNCERTAIN),
    "answered too late": Case(answers_too_late, UNKNOWN_ERROR, SENT),
    "cut off": Case(is_cut_off, UNKNOWN_ERROR, UNCERTAIN),
    "unreadable": Case(answers_what_cannot_be_read, UNKNOWN_ERROR, UNCERTAIN),
}


@pytest.mark.parametrize("request_pdu", [BY_SUBMIT_SM, BY_DATA_SM], ids=["submit_sm", "data_sm"])
@pytest.mark.parametrize("uncertain", ["wait", "resend"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_response_is_the_carriers_own(
    case: Case, uncertain: str, request_pdu: Pdu, sealer: Sealer
) -> None:
    world = World(sealer, accounts=(account(uncertain=uncertain),))
    peer, application = world.connect(), world.application()
    number = application.say(request_pdu)
    world.settle()
    (part,) = world.open_parts.open.values()
    assert (part.state, application.heard) == (DISPATCHED, [])
    case.happens(world, peer)
    message_id = world.message_ids.text(part.number) if case.status == OK else b""
    response = DataSmResp if isinstance(request_pdu, DataSm) else SubmitSmResp
    assert application.take(response) == [response(number, case.status, message_id=message_id)]
    assert part.state == case.state
    world.wait(100.0)
    assert (peer.taken(), world.connect().taken()) == ([], [])  # it was tried once
    assert application.reports() == []  # the response said it all


def test_nothing_is_answered_before_the_carriers_response_is_durable(world: World) -> None:
    peer, application = world.connect(), world.application()
    number = application.say(BY_SUBMIT_SM)
    world.settle()
    (request,) = peer.taken()
    peer.respond(request, body=b"17\0")
    world.turn()
    assert (world.kinds, application.heard) == (["Accepted", "Dispatched", "Sent"], [])
    world.durable()
    (part,) = world.open_parts.open.values()
    assert application.heard == [SubmitSmResp(number, message_id=world.message_ids.text(part.number))]


@pytest.mark.parametrize(
    ("request_pdu", "flags"),
    [(BY_SUBMIT_SM, FLAG_TRANSACTION), (BY_DATA_SM, FLAG_TRANSACTION | FLAG_DATA_SM)],
)
def test_the_evidence_says_how_it_was_submitted(request_pdu: Pdu, flags: int, world: World) -> None:
    world.application().say(request_pdu)
    world.settle()
    (accepted,) = (record for record in world.log.read() if isinstance(record, records.Accepted))
    assert accepted.flags == flags


IN_AN_HOUR, TWO_HOURS = b"000000010000000R", b"000000020000000R"


@pytest.mark.parametrize("validity", [b"", TWO_HOURS, b"260922000000032+"])
def test_a_time_that_is_over_leaves_the_validity_as_it_is(validity: bytes, world: World) -> None:
    times = {"schedule_delivery_time": b"260101000000032+", "validity_period": validity}
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE, esm_class=TRANSACTION, **times))
    world.settle()
    (request,) = peer.taken()
    assert (request.schedule_delivery_time, request.validity_period) == (b"", validity)


def test_a_restart_lets_nothing_wait_for_a_time(sealer: Sealer) -> None:
    """Whoever accepted it with one: nobody waits for the answer any more, and its own end is near."""
    before = World(sealer)
    before.application().say(BY_SUBMIT_SM)
    before.settle()
    found = list(before.log.entries)
    accepted = records.decode(found[-1])
    assert isinstance(accepted, records.Accepted)
    body = encode(submit_sm(MOBILE, esm_class=TRANSACTION, schedule_delivery_time=IN_AN_HOUR))[16:]
    found[-1] = records.encode(
        msgspec.structs.replace(accepted, content=sealer.seal(len(found), body), flags=FLAG_TRANSACTION)
    )
    world = World(sealer, found=found, now=before.loop.now)
    world.restore()
    (request,) = world.connect().taken()
    assert request.schedule_delivery_time == b""


@pytest.mark.parametrize("stat", [b"DELIVRD", b"UNDELIV"])
def test_what_was_taken_is_reported(stat: bytes, world: World) -> None:
    peer, application = world.connect(), world.application()
    application.say(BY_SUBMIT_SM)
    world.settle()
    peer.take_one(b"17")
    (response,) = application.take(SubmitSmResp)
    peer.deliver(receipt(b"17", MOBILE, stat))
    assert [report[0] for report in application.reports()] == [response.message_id]


def test_what_was_taken_without_an_id_is_reported_when_its_time_is_over(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(receipt_timeout_h=1),))
    peer, application = world.connect(), world.application()
    application.say(BY_SUBMIT_SM)
    world.settle()
    peer.take_one(b"")
    (response,) = application.take(SubmitSmResp)
    world.wait(3_700.0)
    assert application.reports() == [(response.message_id, 7, b"000")]


def test_what_waits_for_too_long_is_throttled_and_does_not_leave(world: World) -> None:
    application = world.application()
    number = application.say(BY_SUBMIT_SM)
    world.settle()
    world.wait(7.9)
    assert application.heard == []
    world.wait(0.2)
    assert application.take(SubmitSmResp) == [SubmitSmResp(number, THROTTLED)]
    assert (world.connect().taken(), application.reports()) == ([], [])
    assert world.kinds == ["Accepted", "Outcome"]


def test_the_time_for_an_answer_is_kept_however_many_parts_are_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are looked at one by one."""
    monkeypatch.setattr("gateway.upkeep.SWEEP_PARTS", 1)
    application = world.application()
    for _ in range(100):
        application.submit(MOBILE)
    number = application.say(BY_SUBMIT_SM)
    world.settle()
    world.wait(7.9)
    assert application.heard == []
    world.wait(0.2)
    assert application.take(SubmitSmResp) == [SubmitSmResp(number, THROTTLED)]


def test_an_application_that_is_gone_is_not_answered(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.say(BY_SUBMIT_SM)
    application.say(BY_SUBMIT_SM)
    world.settle()
    taken, refused = peer.taken()
    application.cut()
    peer.answer(taken, b"17")
    peer.answer(refused, command_status=BAD_NUMBER)
    assert world.kinds == ["Accepted", "Accepted", "Dispatched", "Sent", "Refused"]
    assert world.pipeline._transactions == {}


def test_the_validity_that_the_carrier_reads_is_not_our_patience(world: World) -> None:
    validity = b"000000020000000R"
    world.application().say(submit_sm(MOBILE, esm_class=TRANSACTION, validity_period=validity))
    world.settle()
    world.wait(5.0)
    (request,) = world.connect().taken()
    assert request.validity_period == validity


def test_the_mode_goes_on_to_the_carrier(world: World) -> None:
    peer, application = world.connect(), world.application()
    for mode in (0, DATAGRAM, TRANSACTION, 3):
        application.say(submit_sm(MOBILE, esm_class=mode))
    world.settle()
    assert [request.esm_class for request in peer.taken()] == [0, DATAGRAM, TRANSACTION, 3]


def test_one_response_cannot_speak_for_many_destinations(world: World) -> None:
    peer, application = world.connect(), world.application()
    addresses = (SmeAddress(1, 1, MOBILE), SmeAddress(1, 1, MOBILE_2))
    request = SubmitMulti(
        source_addr=SOURCE,
        dest_address=addresses,
        esm_class=TRANSACTION,
        registered_delivery=1,
        short_message=b"to all",
    )
    answer = application.ask(request)
    assert isinstance(answer, SubmitMultiResp)
    first, second = peer.taken()
    assert (first.esm_class, second.esm_class) == (0, 0)
    for each in (first, second):
        peer.answer(each, command_status=BAD_NUMBER)
    assert application.reports() == [(answer.message_id, 8, b"00B")] * 2


# -- texts that are cut ------------------------------------------------------------------------------------


class Text(NamedTuple):
    """The statuses with which the three parts of a text are answered, None for not at all; what the
    application is told, and after how many of them."""

    statuses: tuple[int | None, ...]
    status: int
    after: int
    reports: int  # once every part that was taken is delivered


TEXTS = {
    "taken": Text((0, 0, 0), OK, 3, 1),
    "refused at first": Text((BAD_NUMBER, 0, 0), BAD_NUMBER, 1, 0),
    "refused at last": Text((0, 0, BAD_NUMBER), BAD_NUMBER, 3, 0),
    "refused twice": Text((0, THROTTLED, BAD_NUMBER), THROTTLED, 2, 0),
    "unanswered": Text((0, None, 0), UNKNOWN_ERROR, 4, 0),
}


@pytest.mark.parametrize("case", TEXTS.values(), ids=TEXTS)
def test_a_text_is_taken_when_all_of_it_is(case: Text, sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(message_payload=False),))
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE, esm_class=TRANSACTION, **LONG))
    world.settle()
    heard: list[int] = []
    for number, (request, status) in enumerate(zip(peer.taken(), case.statuses, strict=True)):
        if status is not None:
            peer.answer(request, b"4%d" % number, status)
        heard += [number + 1] * len(_statuses(application, case.status))
    world.wait(10.0)
    heard += [4] * len(_statuses(application, case.status))
    assert heard == [case.after]
    for number, status in enumerate(case.statuses):
        if status == OK:
            peer.deliver(receipt(b"4%d" % number, MOBILE))
    assert len(application.reports()) == case.reports


class Refused(NamedTuple):
    """What a carrier with one slot answers to the parts of a text in their order, how many of them it gets,
    and how those that are left ended."""

    statuses: tuple[int, ...]
    got: int
    states: list[int]
    reports: int = 0


REFUSED = {
    "the first": Refused((BAD_NUMBER,), 1, [8, 8, 8]),
    "the second": Refused((OK, BAD_NUMBER), 2, [0, 8, 8]),
    "the last": Refused((OK, OK, BAD_NUMBER), 3, [0, 0, 8]),
    "for now": Refused((THROTTLED,), 1, [8, 8, 8]),
    "none": Refused((OK, OK, OK), 3, [0, 0, 0], 1),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("gone", [False, True])
def test_the_rest_of_a_text_that_was_refused_is_not_sent(case: Refused, gone: bool, sealer: Sealer) -> None:
    """Its application is told that nothing was taken, and would pay for it."""
    world = World(sealer, carriers=(carrier(message_payload=False, window=1),))
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE, esm_class=TRANSACTION, **LONG))
    world.settle()
    parts = list(world.open_parts.open.values())
    if gone:
        application.cut()
    got = 0
    while requests := peer.taken():
        (request,) = requests
        peer.answer(request, b"4%d" % got, (*case.statuses, OK, OK)[got])
        got += 1
    assert (got, [part.message_state for part in parts]) == (case.got, case.states)
    if not gone:
        assert _statuses(application, case.statuses[-1]) == [case.statuses[-1]]
        for number, part in enumerate(parts):
            if part.state == SENT:
                peer.deliver(receipt(b"4%d" % number, MOBILE))
        assert len(application.reports()) == case.reports


def test_the_rest_of_a_text_that_may_have_been_taken_is_sent(sealer: Sealer) -> None:
    """Without it what the carrier may have would be worth nothing."""
    world = World(sealer, carriers=(carrier(message_payload=False, window=1),))
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE, esm_class=TRANSACTION, **LONG))
    world.settle()
    peer.cut()
    assert _statuses(application, UNKNOWN_ERROR) == [UNKNOWN_ERROR]
    again = world.connect()
    for message_id in (b"41", b"42"):
        again.take_one(message_id)
    assert [part.state for part in world.open_parts.open.values()] == [UNCERTAIN, SENT, SENT]


def test_what_left_before_a_part_was_refused_is_waited_for(sealer: Sealer) -> None:
    """The second part is on its way, the third waits: only that has certainly not left."""
    world = World(sealer, carriers=(carrier(message_payload=False),))
    peer, application = world.connect(), world.application()
    bucket = world.dispatch.carriers["cmcc"].bucket
    bucket._level, bucket._updated = 2.0, world.loop.now
    application.say(submit_sm(MOBILE, esm_class=TRANSACTION, **LONG))
    world.settle()
    first, _ = peer.taken()
    peer.answer(first, command_status=BAD_NUMBER)
    assert [part.state for part in world.open_parts.open.values()] == [DISPATCHED]
    assert (peer.taken(), _statuses(application, BAD_NUMBER)) == ([], [BAD_NUMBER])
    outcome = world.log.read()[-1]
    assert isinstance(outcome, records.Outcome)
    assert outcome.reason == "another part of its text was not taken, of which its application was told"


def _statuses(application: ApplicationPeer, expected: int) -> list[int]:
    statuses: list[Any] = [response.command_status for response in application.take(SubmitSmResp)]
    assert set(statuses) <= {expected}
    return statuses


# -- datagrams ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reports"),
    [(OK, []), (THROTTLED, [(8, b"058")]), (SYSTEM_ERROR, [(8, b"008")]), (BAD_NUMBER, [(8, b"00B")])],
)
def test_a_datagram_is_tried_once(status: int, reports: list[tuple[int, bytes]], world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, esm_class=DATAGRAM)  # answered at once, as all that is stored
    (request,) = peer.taken()
    peer.answer(request, b"17", status)
    assert application.reports() == [(message_id, state, error) for state, error in reports]
    world.wait(100.0)
    assert peer.taken() == []


def test_a_datagram_that_is_not_answered_is_not_sent_again(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, esm_class=DATAGRAM)
    peer.cut()
    world.wait(100.0)
    assert world.connect().taken() == []
    assert (world.part(message_id).state, application.reports()) == (UNCERTAIN, [])
    assert world.loop.now == START_S + 100.0


def test_a_datagram_that_did_not_leave_with_its_link_leaves_with_the_next(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE, esm_class=DATAGRAM))
    world.turn()
    peer.cut()
    assert world.kinds == ["Accepted", "Dispatched", "Withdrawn"]
    assert len(world.connect().taken()) == 1
