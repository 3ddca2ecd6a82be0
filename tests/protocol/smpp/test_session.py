"""The session as a dialogue: octets in, events and octets out, however the octets are cut."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from protocol.smpp.codec import encode, encode_body
from protocol.smpp.codes import CommandStatus
from protocol.smpp.errors import LocalError
from protocol.smpp.limits import SEQUENCE_NUMBER_MAX
from protocol.smpp.operations import BindState, Role
from protocol.smpp.pdu import (
    BindTransceiver,
    BindTransceiverResp,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Outbind,
    Pdu,
    QuerySm,
    QuerySmResp,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
    UnknownPdu,
)
from protocol.smpp.session import (
    Event,
    Lost,
    Notice,
    Unbinding,
    Unbound,
)
from protocol.smpp.timers import TimerSettings
from tests.protocol.smpp.dialogue import (
    BIND,
    DELIVER,
    NOW,
    SUBMIT,
    Pair,
    framed,
    hear,
    notices,
    said,
    serve,
    session_in,
)

OPEN, BOUND_TRX = BindState.OPEN, BindState.BOUND_TRX
BINDING, UNBINDING, CLOSED = BindState.BINDING, BindState.UNBINDING, BindState.CLOSED
ESME, MC = Role.ESME, Role.MC
OK = CommandStatus.ESME_ROK

ALL_TIMERS = TimerSettings(bind_s=5.0, enquire_link_s=30.0, response_s=10.0, inactivity_s=300.0)


class Dialogue(NamedTuple):
    """What a session in ``state`` hears; what it tells its owner, and what it answers by itself."""

    name: str
    role: Role
    state: BindState
    heard: tuple[Pdu | bytes, ...]
    events: tuple[Pdu | Notice, ...]
    answers: tuple[Pdu, ...]
    after: BindState


DIALOGUES = [
    Dialogue("a submit_sm", MC, BOUND_TRX, (SUBMIT,), (SUBMIT,), (), BOUND_TRX),
    Dialogue("sequence number 0", MC, BOUND_TRX, (SubmitSm(0),), (SubmitSm(0),), (), BOUND_TRX),
    Dialogue(
        "all 32 bits of a sequence number",
        MC,
        BOUND_TRX,
        (SubmitSm(0xFFFFFFFF), EnquireLink(0xFFFFFFFE)),
        (SubmitSm(0xFFFFFFFF),),
        (EnquireLinkResp(0xFFFFFFFE),),
        BOUND_TRX,
    ),
    Dialogue("a keep-alive", MC, BOUND_TRX, (EnquireLink(7),), (), (EnquireLinkResp(7),), BOUND_TRX),
    Dialogue("a keep-alive before the bind", MC, OPEN, (EnquireLink(7),), (), (EnquireLinkResp(7),), OPEN),
    Dialogue("a bind", MC, OPEN, (BIND,), (BIND,), (), BINDING),
    Dialogue(
        "a second bind",
        MC,
        BOUND_TRX,
        (BindTransceiver(8), SUBMIT),
        (SUBMIT,),
        (BindTransceiverResp(8, CommandStatus.ESME_RALYBND),),
        BOUND_TRX,
    ),
    Dialogue(
        "an outbind", ESME, OPEN, (Outbind(3, system_id=b"mc"),), (Outbind(3, system_id=b"mc"),), (), OPEN
    ),
    Dialogue(
        "a message before the bind",
        MC,
        OPEN,
        (SUBMIT,),
        (),
        (SubmitSmResp(9, CommandStatus.ESME_RINVBNDSTS),),
        OPEN,
    ),
    Dialogue(
        "a command for the other role",
        MC,
        BOUND_TRX,
        (DELIVER, SUBMIT),
        (SUBMIT,),
        (DeliverSmResp(9, CommandStatus.ESME_RINVBNDSTS),),
        BOUND_TRX,
    ),
    Dialogue(
        "an unknown command",
        MC,
        BOUND_TRX,
        (UnknownPdu(5, 0, 0x0000ABCD, b"vendor"), SUBMIT),
        (SUBMIT,),
        (GenericNack(5, CommandStatus.ESME_RINVCMDID),),
        BOUND_TRX,
    ),
    Dialogue(
        "a field that is too long",
        MC,
        BOUND_TRX,
        (framed(4, 5, b"toolongservice\0"), SUBMIT),
        (SUBMIT,),
        (SubmitSmResp(5, CommandStatus.ESME_RINVSERTYP),),
        BOUND_TRX,
    ),
    Dialogue(
        "a body that ends too early",
        MC,
        BOUND_TRX,
        (framed(4, 5, b"\0\1\1"), SUBMIT),
        (SUBMIT,),
        (SubmitSmResp(5, CommandStatus.ESME_RINVCMDLEN),),
        BOUND_TRX,
    ),
    Dialogue(
        "a broken stream of TLVs",
        ESME,
        BOUND_TRX,
        (framed(5, 5, encode_body(DELIVER) + b"\x04\x24\0\x09abc"), DELIVER),
        (DELIVER,),
        (DeliverSmResp(5, CommandStatus.ESME_RINVTLVSTREAM),),
        BOUND_TRX,
    ),
    Dialogue("a stray response", MC, BOUND_TRX, (DeliverSmResp(77), SUBMIT), (SUBMIT,), (), BOUND_TRX),
    Dialogue("a stray generic_nack", MC, BOUND_TRX, (GenericNack(77, 3), SUBMIT), (SUBMIT,), (), BOUND_TRX),
    Dialogue(
        "an unbind, and what follows it",
        MC,
        BOUND_TRX,
        (Unbind(10), SubmitSm(11)),
        (Unbound(),),
        (UnbindResp(10),),
        CLOSED,
    ),
    Dialogue(
        "an unbind behind a request, and what follows it",
        MC,
        BOUND_TRX,
        (SUBMIT, Unbind(10), SubmitSm(11), EnquireLink(12)),
        (SUBMIT, Unbinding()),
        (SubmitSmResp(11, CommandStatus.ESME_RINVBNDSTS), EnquireLinkResp(12)),
        BOUND_TRX,
    ),
    Dialogue(
        "an unbind before the bind",
        MC,
        OPEN,
        (Unbind(2),),
        (),
        (UnbindResp(2, CommandStatus.ESME_RINVBNDSTS),),
        OPEN,
    ),
    Dialogue(
        "HTTP",
        MC,
        OPEN,
        (b"GET / HTTP/1.1\r\n\r\n",),
        (Lost("a PDU announces 1195725856 octets"),),
        (),
        CLOSED,
    ),
    Dialogue(
        "TLS",
        MC,
        OPEN,
        (b"\x16\x03\x01\x02\x00\x01\x00",),
        (Lost("a PDU announces 369295618 octets"),),
        (),
        CLOSED,
    ),
    Dialogue(
        "a length below the header's",
        MC,
        BOUND_TRX,
        (SUBMIT, b"\0\0\0\x0f"),
        (SUBMIT, Lost("a PDU announces 15 octets")),
        (),
        CLOSED,
    ),
]


@pytest.mark.parametrize("reading", ["whole", "octet by octet", "with a tail"])
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue.name)
def test_a_dialogue_gives_the_same_however_it_is_cut(dialogue: Dialogue, reading: str) -> None:
    session = session_in(dialogue.state, dialogue.role)
    octets = b"".join(pdu if isinstance(pdu, bytes) else encode(pdu) for pdu in dialogue.heard)
    tail = encode(SUBMIT)[:-1] if reading == "with a tail" else b""
    events: list[Event] = []
    if reading == "octet by octet":
        for octet in octets:
            events += hear(session, bytes((octet,)))
    else:
        events = hear(session, octets + tail)
    assert notices(events) == list(dialogue.events)
    assert said(session) == list(dialogue.answers)
    assert session.state is dialogue.after
    if dialogue.after is not CLOSED:
        assert (session.buffered, session.backlog) == (len(tail), False)


def test_requests_come_with_their_frame_and_responses_with_their_context() -> None:
    pair = Pair()
    question = pair.esme.send(QuerySm(message_id=b"17"), "question", NOW)
    _, at_mc = pair.exchange()
    query = QuerySm(question, message_id=b"17")
    assert at_mc == [(query, encode(query), None)]
    answer = QuerySmResp(question, message_id=b"17", message_state=2)
    pair.mc.respond(query.command_id, question, OK, encode_body(answer))
    assert pair.exchange() == ([(answer, encode(answer), "question")], [])


def test_events_are_given_out_in_portions() -> None:
    session = session_in(BOUND_TRX, MC)
    session.receive_data(b"".join(encode(SubmitSm(number)) for number in range(1, 6)))
    portions = []
    while session.backlog:
        portions.append([pdu.sequence_number for pdu, _, _ in session.events(NOW, 2) if isinstance(pdu, Pdu)])
    assert portions == [[1, 2], [3, 4], [5]]


# -- windows ------------------------------------------------------------------------------------------------


def test_keep_alive_has_a_slot_of_its_own_beside_a_full_window() -> None:
    session = session_in(BOUND_TRX, ESME, ALL_TIMERS, window_max=2)
    first = session.send(SUBMIT, "first", NOW + 29)
    second = session.send(SUBMIT, "second", NOW + 29)
    with pytest.raises(LocalError, match="window full: 2 requests"):
        session.send(SUBMIT, "third", NOW + 29)
    said(session)
    assert session.tick(NOW + 30) == []
    assert said(session) == [EnquireLink(second + 1)]
    assert hear(session, EnquireLinkResp(second + 1), now=NOW + 31) == []
    assert hear(session, SubmitSmResp(first, message_id=b"1"))[0][2] == "first"
    assert session.window.free == 1


def test_a_peer_that_is_owed_too_much_is_not_served_until_it_is_answered() -> None:
    session = session_in(BOUND_TRX, MC, unanswered_max=2)
    session.receive_data(b"".join(encode(SubmitSm(number)) for number in (1, 2, 3, 4)))
    assert len(serve(session)) == 2
    assert (session.blocked, session.backlog) == (True, False)
    assert session.buffered == 2 * len(encode(SubmitSm(3)))
    session.respond(SubmitSm.command_id, 1, OK, b"17\0")
    assert session.backlog
    assert [event[0] for event in serve(session)] == [SubmitSm(3)]
    assert said(session) == [SubmitSmResp(1, message_id=b"17")]


def test_responses_and_keep_alives_pass_the_requests_of_a_peer_that_is_owed_too_much() -> None:
    session = session_in(BOUND_TRX, MC, unanswered_max=1)
    number = session.send(DELIVER, "report", NOW)
    said(session)
    heard = hear(session, SUBMIT, SubmitSm(10), Unbind(11), EnquireLink(12), DeliverSmResp(number))
    assert notices(heard) == [SUBMIT, DeliverSmResp(number)]
    assert said(session) == [EnquireLinkResp(12)]
    session.respond(SUBMIT.command_id, 9, OK, b"17\0")
    assert notices(serve(session)) == [SubmitSm(10)]
    session.respond(SUBMIT.command_id, 10, OK, b"18\0")
    assert notices(serve(session)) == [Unbound()]
    assert [type(pdu) for pdu in said(session)] == [SubmitSmResp, SubmitSmResp, UnbindResp]


def test_octets_that_nobody_could_serve_yet_count_as_heard() -> None:
    session = session_in(BOUND_TRX, MC, ALL_TIMERS, unanswered_max=0)
    session.receive_data(encode(SUBMIT)[:5])
    assert session.tick(NOW + 30) == []
    assert said(session) == []
    assert session.tick(NOW + 60) == []
    assert said(session) == [EnquireLink(1)]


def test_an_unbind_is_answered_when_everything_before_it_is() -> None:
    session = session_in(BOUND_TRX, MC)
    hear(session, SUBMIT, Unbind(10))
    assert (said(session), session.backlog, session.bound) == ([], False, True)
    session.respond(SUBMIT.command_id, 9, OK, b"17\0")
    assert session.backlog
    assert notices(serve(session)) == [Unbound()]
    assert said(session) == [SubmitSmResp(9, message_id=b"17"), UnbindResp(10)]
    assert session.state is CLOSED


def test_the_numbers_wrap_and_skip_a_request_that_is_still_open() -> None:
    session = session_in(BOUND_TRX, ESME)
    session.window._last = SEQUENCE_NUMBER_MAX - 1
    assert session.send(SUBMIT, "a", NOW) == SEQUENCE_NUMBER_MAX
    assert session.send(SUBMIT, "b", NOW) == 1
    session.window._last = SEQUENCE_NUMBER_MAX - 1
    assert session.send(SUBMIT, "c", NOW) == 2
    assert hear(session, SubmitSmResp(1))[0][2] == "b"
