"""A session's answers, its beginning and its end; two sessions back to back; time as a number."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import pytest

from protocol.smpp.codec import encode, encode_body
from protocol.smpp.codes import CommandStatus
from protocol.smpp.errors import LocalError
from protocol.smpp.operations import BindState, Role
from protocol.smpp.pdu import (
    BindTransceiver,
    BindTransceiverResp,
    DeliverSmResp,
    EnquireLink,
    GenericNack,
    Pdu,
    SubmitSmResp,
    Unbind,
    UnknownPdu,
)
from protocol.smpp.session import (
    OFFENCES_MAX,
    Event,
    LateResponse,
    Lost,
    Notice,
    RequestTimedOut,
    ResponseUnreadable,
    Session,
    Unbound,
)
from protocol.smpp.timers import TimerSettings
from tests.protocol.smpp.dialogue import (
    BIND,
    DELIVER,
    NO_TIMERS,
    NOW,
    SUBMIT,
    Pair,
    framed,
    hear,
    new_session,
    notices,
    said,
    session_in,
)

OPEN, BOUND_TRX = BindState.OPEN, BindState.BOUND_TRX
BINDING, UNBINDING, CLOSED = BindState.BINDING, BindState.UNBINDING, BindState.CLOSED
ESME, MC = Role.ESME, Role.MC
OK = CommandStatus.ESME_ROK

ALL_TIMERS = TimerSettings(bind_s=5.0, enquire_link_s=30.0, response_s=10.0, inactivity_s=300.0)

BIND_BODY = encode_body(BindTransceiverResp(system_id=b"gw"))


# -- responses ----------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What comes back for a submit_sm with sequence number 2, and what the owner hears of it."""

    name: str
    octets: Pdu | bytes
    event: Pdu | Notice


NOT_READ = "response of another command"
ANSWERS = [
    Answer("taken", SubmitSmResp(2, message_id=b"17"), SubmitSmResp(2, message_id=b"17")),
    Answer("taken, without a body", framed(0x80000004, 2, b""), SubmitSmResp(2)),
    Answer("refused", SubmitSmResp(2, 0x58), SubmitSmResp(2, 0x58)),
    Answer("refused with an unknown status", SubmitSmResp(2, 0x4FF), SubmitSmResp(2, 0x4FF)),
    Answer("generic_nack completes it", GenericNack(2, 3), GenericNack(2, 3)),
    Answer("generic_nack that says yes", GenericNack(2, 0), GenericNack(2, 0xFF)),
    Answer("the answer to another question", DeliverSmResp(2), ResponseUnreadable(4, 2, 0, NOT_READ)),
    Answer("an unknown answer", UnknownPdu(2, 0, 0x8000ABCD), ResponseUnreadable(4, 2, 0, NOT_READ)),
    Answer("refused, its body broken", framed(0x80000004, 2, b"x", 0x58), GenericNack(2, 0x58)),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_whatever_bears_its_number_completes_a_request(answer: Answer) -> None:
    session = session_in(BOUND_TRX, ESME)
    assert session.send(SUBMIT, "context", NOW) == 2
    ((event, _, context),) = hear(session, answer.octets)
    assert (event, context) == (answer.event, "context")
    assert session.window.free == 10
    assert hear(session, answer.octets) == []


def test_a_positive_answer_that_cannot_be_read_leaves_the_result_unknown() -> None:
    session = session_in(BOUND_TRX, ESME)
    session.send(SUBMIT, "context", NOW)
    ((event, _, context),) = hear(session, framed(0x80000004, 2, b"no end"))
    assert isinstance(event, ResponseUnreadable)
    assert (event.command_id, event.sequence_number, event.command_status, context) == (4, 2, OK, "context")


def test_a_request_times_out_and_its_late_answer_still_finds_it() -> None:
    session = session_in(BOUND_TRX, ESME, window_max=2)
    session.send(SUBMIT, "slow", NOW)
    session.send(SUBMIT, "next", NOW + 4)
    assert session.next_deadline() == NOW + 10
    assert session.tick(NOW + 9.9) == []
    assert session.tick(NOW + 10) == [(RequestTimedOut(4, 2), b"", "slow")]
    assert (session.window.free, session.next_deadline()) == (1, NOW + 14)
    late = SubmitSmResp(2, message_id=b"17")
    assert hear(session, late, now=NOW + 12) == [(LateResponse(late), encode(late), "slow")]
    assert hear(session, late, now=NOW + 12) == []
    assert hear(session, GenericNack(3, 8), now=NOW + 12)[0][2] == "next"


def test_an_answer_after_a_reconnect_does_not_match_a_new_request() -> None:
    before, after = session_in(BOUND_TRX, ESME), session_in(BOUND_TRX, ESME)
    number = before.send(SUBMIT, "before", NOW)
    before.close()
    assert hear(before, SubmitSmResp(number)) == []
    assert hear(after, SubmitSmResp(number)) == []


# -- bind, unbind, end --------------------------------------------------------------------------------------


def test_a_bind_is_refused_then_tried_again_and_granted() -> None:
    esme, mc = new_session(ESME), new_session(MC, unanswered_max=1)
    esme.bind(BIND, NOW)
    with pytest.raises(LocalError, match="bind is illegal in state binding"):
        esme.bind(BIND, NOW)
    assert len(hear(mc, *said(esme))) == 1
    assert mc.blocked
    mc.refuse_bind(BIND, CommandStatus.ESME_RINVPASWD)
    assert notices(hear(esme, *said(mc))) == [BindTransceiverResp(1, CommandStatus.ESME_RINVPASWD)]
    assert (esme.state, mc.state, mc.unanswered) == (OPEN, OPEN, 0)
    esme.bind(BIND, NOW)
    ((again, _, _),) = hear(mc, *said(esme))
    assert isinstance(again, BindTransceiver)
    mc.accept_bind(again, BIND_BODY, NOW)
    assert notices(hear(esme, *said(mc))) == [BindTransceiverResp(2, system_id=b"gw")]
    assert (esme.bound, mc.bound, mc.unanswered) == (True, True, 0)
    with pytest.raises(LocalError, match="there is no bind to accept"):
        mc.accept_bind(again, BIND_BODY, NOW)
    with pytest.raises(LocalError, match="there is no bind to refuse"):
        mc.refuse_bind(again, CommandStatus.ESME_RBINDFAIL)


def test_a_bind_answered_with_generic_nack_is_refused() -> None:
    session = session_in(BINDING, ESME)
    assert notices(hear(session, GenericNack(1, 3))) == [GenericNack(1, 3)]
    assert session.state is OPEN


@pytest.mark.parametrize("role", Role)
def test_either_side_unbinds_and_what_is_in_flight_is_answered_first(role: Role) -> None:
    pair = Pair()
    asks, agrees = (pair.esme, pair.mc) if role is ESME else (pair.mc, pair.esme)
    message = DELIVER if role is ESME else SUBMIT
    asks.unbind(NOW)
    agrees.send(message, "in flight", NOW)  # it does not know yet
    ((served, _, _),) = hear(asks, agrees.data_to_send())
    assert isinstance(served, type(message))
    asks.respond(message.command_id, served.sequence_number, OK, b"\0")
    assert notices(hear(agrees, asks.data_to_send()))[0] == Unbound()
    assert notices(hear(asks, agrees.data_to_send())) == [Unbound()]
    assert (asks.state, agrees.state) == (CLOSED, CLOSED)
    assert agrees.close() == ["in flight"]  # its answer came behind the unbind


def test_a_close_gives_back_what_was_in_flight_oldest_first() -> None:
    session = session_in(BOUND_TRX, ESME, TimerSettings(bind_s=inf, enquire_link_s=1.0, response_s=10.0))
    for name in ("timed out", "first", "second", "third"):
        session.send(SUBMIT, name, NOW if name == "timed out" else NOW + 5)
    assert notices(session.tick(NOW + 10)) == [RequestTimedOut(4, 2)]
    hear(session, SubmitSmResp(4))
    assert session.close() == ["first", "third"]
    assert session.close() == []
    assert (session.events(NOW, 10), session.tick(1e9)) == ([], [])
    with pytest.raises(LocalError):
        session.send(SUBMIT, "fourth", NOW)


class Silence(NamedTuple):
    """A peer says nothing: at which times the session says what, and why it gives up at last."""

    state: BindState
    ticks: tuple[tuple[float, tuple[Pdu, ...]], ...]
    lost_after_s: float
    reason: str


SILENCES = [
    Silence(OPEN, (), 5.0, "no bind in time"),
    Silence(BINDING, (), 5.0, "no bind in time"),
    Silence(
        BOUND_TRX, ((29.9, ()), (30.0, (EnquireLink(2),)), (39.9, ())), 40.0, "enquire_link not answered"
    ),
    Silence(UNBINDING, ((9.9, ()),), 10.0, "unbind not answered"),
]


@pytest.mark.parametrize("silence", SILENCES, ids=lambda silence: silence.state.value)
def test_a_silent_peer_is_given_up(silence: Silence) -> None:
    session = session_in(silence.state, ESME, ALL_TIMERS)
    for after_s, sent in silence.ticks:
        assert session.tick(NOW + after_s) == []
        assert said(session) == list(sent)
    assert session.next_deadline() == NOW + silence.lost_after_s
    assert session.tick(NOW + silence.lost_after_s) == [(Lost(silence.reason), b"", None)]
    assert session.state is CLOSED


def test_a_peer_that_lives_and_does_nothing_useful_is_asked_to_unbind() -> None:
    session = session_in(BOUND_TRX, MC, ALL_TIMERS)
    for tens in range(1, 30):
        assert hear(session, EnquireLink(tens), now=NOW + 10 * tens) == []
        assert session.tick(NOW + 10 * tens) == []
    said(session)
    assert session.tick(NOW + 300) == []
    assert (said(session), session.state) == ([Unbind(1)], UNBINDING)


def _offend(session: Session, times: int) -> list[Event]:
    return hear(session, *(UnknownPdu(number, 0, 0x0000ABCD) for number in range(1, times + 1)))


def test_a_peer_that_only_offends_is_given_up_and_one_good_request_forgives() -> None:
    session = session_in(BOUND_TRX, MC)
    assert _offend(session, OFFENCES_MAX) == []
    assert len(hear(session, SUBMIT)) == 1
    assert _offend(session, OFFENCES_MAX) == []
    assert notices(_offend(session, 1)) == [Lost("1000 PDUs in a row that could not be served")]
    assert session.state is CLOSED


def test_a_session_without_timers_never_asks_to_be_ticked() -> None:
    assert session_in(BOUND_TRX, MC, NO_TIMERS).next_deadline() == inf
