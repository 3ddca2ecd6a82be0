"""Sessions in any state, brought there by octets; pairs of them back to back; and what stands in octets."""

from __future__ import annotations

from math import inf
from typing import Final

from protocol.smpp.codec import HEADER, decode, encode, encode_body
from protocol.smpp.codes import CommandId
from protocol.smpp.framing import FrameBuffer
from protocol.smpp.operations import BindState, Role
from protocol.smpp.pdu import (
    PDU_CLASSES,
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    DeliverSm,
    Pdu,
    SmeAddress,
    SubmitMulti,
    SubmitSm,
)
from protocol.smpp.session import BindRequest, Event, Notice, Session
from protocol.smpp.timers import TimerSettings

NOW: Final = 100.0
NO_TIMERS: Final = TimerSettings(bind_s=inf, enquire_link_s=inf, response_s=10.0)

BINDS: Final[dict[BindState, tuple[BindRequest, Pdu]]] = {
    BindState.BOUND_TX: (BindTransmitter(1, system_id=b"hukou"), BindTransmitterResp(1, system_id=b"gw")),
    BindState.BOUND_RX: (BindReceiver(1, system_id=b"hukou"), BindReceiverResp(1, system_id=b"gw")),
    BindState.BOUND_TRX: (BindTransceiver(1, system_id=b"hukou"), BindTransceiverResp(1, system_id=b"gw")),
}

# Who may send what when: SMPP 3.4 table 2-1 and SMPP 5.0 table 2-1, typed in from there and not from the
# code.  The states: o open, b binding, t bound_tx, r bound_rx, x bound_trx, u unbinding.
LETTERS: Final = dict(zip("obtrxuc", BindState, strict=True))
_EVER: Final = "obtrxu"
LEGAL: Final[dict[CommandId, tuple[str, str]]] = {  # (an ESME may send it in, an MC may send it in)
    CommandId.BIND_RECEIVER: ("o", ""),
    CommandId.BIND_TRANSMITTER: ("o", ""),
    CommandId.BIND_TRANSCEIVER: ("o", ""),
    CommandId.OUTBIND: ("", "o"),
    CommandId.UNBIND: ("trxu", "trxu"),
    CommandId.SUBMIT_SM: ("txu", ""),
    CommandId.SUBMIT_MULTI: ("txu", ""),
    CommandId.DATA_SM: ("txu", "rxu"),
    CommandId.DELIVER_SM: ("", "rxu"),
    CommandId.QUERY_SM: ("txu", ""),
    CommandId.CANCEL_SM: ("txu", ""),
    CommandId.REPLACE_SM: ("txu", ""),
    CommandId.BROADCAST_SM: ("txu", ""),
    CommandId.QUERY_BROADCAST_SM: ("txu", ""),
    CommandId.CANCEL_BROADCAST_SM: ("txu", ""),
    CommandId.ALERT_NOTIFICATION: ("", "rxu"),
    CommandId.ENQUIRE_LINK: (_EVER, _EVER),
    CommandId.GENERIC_NACK: (_EVER, _EVER),
}


SUBMIT: Final = SubmitSm(9, source_addr=b"10639110", destination_addr=b"13800138000", short_message=b"hello")
DELIVER: Final = DeliverSm(9, source_addr=b"13800138000", destination_addr=b"10639110")
BIND: Final = BindTransceiver(1, system_id=b"hukou", password=b"secret")


def legal(role: Role, command: CommandId) -> set[BindState]:
    """The states in which ``role`` may send ``command``."""
    return {LETTERS[letter] for letter in LEGAL[command][0 if role is Role.ESME else 1]}


def sample(command: CommandId, sequence_number: int = 9) -> Pdu:
    """A sound PDU of that command."""
    if command is CommandId.SUBMIT_MULTI:
        return SubmitMulti(sequence_number, dest_address=(SmeAddress(0, 0, b"13800138000"),))
    return PDU_CLASSES[command](sequence_number)


def new_session(
    role: Role,
    timer_settings: TimerSettings = NO_TIMERS,
    *,
    window_max: int = 10,
    unanswered_max: int = 100,
) -> Session:
    """A session that was opened at NOW."""
    return Session(
        role, NOW, window_max=window_max, unanswered_max=unanswered_max, timer_settings=timer_settings
    )


def session_in(
    state: BindState,
    role: Role,
    timer_settings: TimerSettings = NO_TIMERS,
    *,
    window_max: int = 10,
    unanswered_max: int = 100,
) -> Session:
    """A session that a dialogue brought into ``state``; nothing is left to send or to serve."""
    session = new_session(role, timer_settings, window_max=window_max, unanswered_max=unanswered_max)
    if state is BindState.CLOSED:
        session.close()
    elif state is not BindState.OPEN:
        request, response = BINDS.get(state, BINDS[BindState.BOUND_TRX])
        if role is Role.ESME:
            session.bind(request, NOW)
            if state is not BindState.BINDING:
                hear(session, response)
        else:
            hear(session, request)
            if state is not BindState.BINDING:
                session.accept_bind(request, encode_body(response), NOW)
        if state is BindState.UNBINDING:
            session.unbind(NOW)
    said(session)
    assert session.state is state
    return session


def hear(session: Session, *pdus: Pdu | bytes, now: float = NOW) -> list[Event]:
    """What the session makes of these PDUs, or of raw octets."""
    session.receive_data(b"".join(pdu if isinstance(pdu, bytes) else encode(pdu) for pdu in pdus))
    return serve(session, now)


def notices(events: list[Event]) -> list[Pdu | Notice]:
    """What the events say, without frames and contexts."""
    return [event for event, _, _ in events]


def framed(command_id: int, sequence_number: int, body: bytes, command_status: int = 0) -> bytes:
    """A frame with any body."""
    return HEADER.pack(16 + len(body), command_id, command_status, sequence_number) + body


def serve(session: Session, now: float = NOW) -> list[Event]:
    """All events of what is buffered."""
    events = session.events(now, 100)
    while session.backlog and not session.blocked:
        events += session.events(now, 100)
    return events


def said(session: Session) -> list[Pdu]:
    """What the session had to send."""
    frames = FrameBuffer()
    frames.feed(session.data_to_send())
    pdus = [decode(frame) for frame in frames.take(100_000)]
    assert frames.pending_octets == 0
    return pdus


class Pair:
    """An ESME and an MC, bound as transceiver, with nothing but octets between them."""

    def __init__(self, timer_settings: TimerSettings = NO_TIMERS, *, window_max: int = 10) -> None:
        self.esme = session_in(BindState.BOUND_TRX, Role.ESME, timer_settings, window_max=window_max)
        self.mc = session_in(BindState.BOUND_TRX, Role.MC, timer_settings, window_max=window_max)

    def exchange(self, now: float = NOW) -> tuple[list[Event], list[Event]]:
        """Carry octets to and fro until neither has any; (events of the ESME, events of the MC)."""
        heard: tuple[list[Event], list[Event]] = ([], [])
        while (to_mc := self.esme.data_to_send()) + (to_esme := self.mc.data_to_send()):
            self.mc.receive_data(to_mc)
            self.esme.receive_data(to_esme)
            heard[0].extend(serve(self.esme, now))
            heard[1].extend(serve(self.mc, now))
        return heard
