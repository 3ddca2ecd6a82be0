"""One SMPP session, for both roles, without sockets, clock or tasks.

Octets and the time go in (:meth:`Session.receive_data`, :meth:`Session.events`, :meth:`Session.tick`); events
and octets come out (:meth:`Session.data_to_send`).  Whoever owns the transport carries out what this decided.

Three kinds of trouble, by their remedy:
  our caller erred       -> LocalError is raised and nothing is sent;
  this PDU is wrong      -> it is answered with the status it deserves, and the session lives on;
  the stream is lost     -> a Lost event; the owner closes the transport.

The session itself answers enquire_link, unbind, and every PDU that cannot be served.  Everything else reaches
the owner as an event `(pdu or notice, frame, context)`: the frame as it came for a request of the peer, the
context given to :meth:`Session.request` for a response.
"""

from __future__ import annotations

from collections import deque
from math import inf
from struct import Struct
from typing import Final

import msgspec

from protocol.smpp import timers
from protocol.smpp.codec import HEADER, REFUSAL_BODIES, decode_body, encode_body
from protocol.smpp.codes import RESPONSE_BIT, CommandId, CommandStatus
from protocol.smpp.errors import LocalError, PduError, StreamError
from protocol.smpp.framing import FrameBuffer
from protocol.smpp.operations import (
    BIND_STATES,
    BOUND,
    RECEIVABLE,
    SENDABLE,
    UNANSWERED,
    BindState,
    Role,
)
from protocol.smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter, GenericNack, Pdu
from protocol.smpp.timers import Duty, Timers, TimerSettings
from protocol.smpp.window import Window

# PDUs in a row that had to be refused before the peer counts as no SMPP peer at all.  An honest client that
# retries a refused operation stops long before; a fuzzer or a port scanner does not.
OFFENCES_MAX = 1000


class RequestTimedOut(msgspec.Struct, gc=False):
    """No response in time; the slot is free again, and the response may still come (LateResponse)."""

    command_id: int
    sequence_number: int


class LateResponse(msgspec.Struct, gc=False):
    """The response to a request that had timed out."""

    pdu: Pdu


class ResponseUnreadable(msgspec.Struct, gc=False):
    """The response to a request could not be decoded: the request is closed, its result unknown."""

    command_id: int
    sequence_number: int
    command_status: int
    reason: str


class Unbinding(msgspec.Struct, gc=False):
    """The peer asked to unbind while requests of its wait for our answer; send it no more.  It is answered,
    and Unbound follows, when they have been."""


class Unbound(msgspec.Struct, gc=False):
    """The peer asked to unbind, or answered our unbind; close once the data is sent."""


class Lost(msgspec.Struct, gc=False):
    """The session cannot go on; send what is left and close the transport."""

    reason: str


Notice = RequestTimedOut | LateResponse | ResponseUnreadable | Unbinding | Unbound | Lost
Event = tuple[Pdu | Notice, bytes, object]
BindRequest = BindTransmitter | BindReceiver | BindTransceiver

_KEEP_ALIVE: Final = object()
_BIND: Final = object()
_UNBIND: Final = object()

_ENQUIRE_LINK = int(CommandId.ENQUIRE_LINK)
_ENQUIRE_LINK_RESP = int(CommandId.ENQUIRE_LINK_RESP)
_GENERIC_NACK = int(CommandId.GENERIC_NACK)
_UNBIND_ID = int(CommandId.UNBIND)
_ROK = int(CommandStatus.ESME_ROK)
_UNKNOWN_ERROR = int(CommandStatus.ESME_RUNKNOWNERR)

# What a peer may still ask once it has asked to unbind; any other request is refused.
_LEAVING: Final = frozenset({_ENQUIRE_LINK, _GENERIC_NACK})

# By name for the hot path: to read a member of an enum costs as much as to unpack a header.
_CLOSED: Final[BindState] = BindState.CLOSED
_OPEN: Final[BindState] = BindState.OPEN
_UNBINDING: Final[BindState] = BindState.UNBINDING
_unpack_header: Final = HEADER.unpack_from
_pack_header: Final = HEADER.pack
_unpack_command_id: Final = Struct(">I").unpack_from
_RESPONSE_OCTET: Final = RESPONSE_BIT >> 24  # of a command_id, whose first octet is the fifth of a frame


class Session:
    """A session from connection to close.

    window_max: our message requests that may be unanswered at one time.
    unanswered_max: message requests of the peer that we have not answered yet; beyond it no further request
    comes out until :meth:`respond` made room (field lesson 22: the owner stops reading meanwhile).  Responses
    and enquire_link go past the requests that wait (field lesson 21).
    """

    __slots__ = (
        "_frames",
        "_heard",
        "_leaving",
        "_offences",
        "_out",
        "_receivable",
        "_sendable",
        "_timer_settings",
        "_timers",
        "_waiting",
        "_waiting_octets",
        "bound",
        "role",
        "state",
        "unanswered",
        "unanswered_max",
        "window",
    )

    def __init__(
        self,
        role: Role,
        now: float,
        *,
        window_max: int,
        unanswered_max: int,
        timer_settings: TimerSettings,
    ) -> None:
        self.role = role
        self.window = Window(window_max)
        self.unanswered = 0
        self.unanswered_max = unanswered_max
        self._timer_settings = timer_settings
        self._timers = Timers(opened=now, heard=now, useful=now)
        self._heard = False  # octets came since the last look at the time
        self._leaving = 0, b""  # sequence number and frame of an unbind that waits for our answers
        self._frames = FrameBuffer()
        self._waiting: deque[bytes] = deque()  # requests that others have passed, oldest first
        self._waiting_octets = 0
        self._out: list[bytes] = []
        self._offences = 0
        self._enter(_OPEN)

    def _enter(self, state: BindState) -> None:
        self.state = state
        self.bound = state in BOUND
        self._sendable = SENDABLE[self.role, state]
        self._receivable = RECEIVABLE[self.role, state]

    @property
    def heard(self) -> float:
        """When the peer was last heard, by the time of the turn or tick that noticed it."""
        return self._timers.heard

    # -- octets in, events out ------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Buffer what the transport read; :meth:`events` serves it."""
        self._heard = True
        self._frames.feed(data)

    @property
    def unsorted(self) -> bool:
        """Whether a complete frame, or a wrong length, waits that nobody has looked at."""
        return self._frames.ready and self.state is not _CLOSED

    @property
    def backlog(self) -> bool:
        """Whether :meth:`events` has something to do."""
        if (
            self._frames.ready
            or (self._waiting and not self.blocked)
            or (self._leaving[1] and not self.unanswered)
        ):
            return self.state is not _CLOSED
        return False

    @property
    def buffered(self) -> int:
        """Octets that wait to be served."""
        return self._frames.pending_octets + self._waiting_octets

    @property
    def blocked(self) -> bool:
        """Whether the peer has as many unanswered requests as it may."""
        return self.unanswered >= self.unanswered_max

    def events(self, now: float, limit: int, *, requests: bool = True) -> list[Event]:
        """Serve at most ``limit`` buffered frames, oldest first.

        requests: whether requests that make work may be served now.  When they may not, and when the peer has
        as many unanswered as it may, responses, enquire_link, and a bind or unbind that has no request before
        it are served past them.
        """
        events: list[Event] = []
        if self.state is _CLOSED:
            return events
        if self._leaving[1] and not self.unanswered:
            self._agree_to_unbind(events)
            return events
        if self._waiting and requests:
            limit = self._serve_waiting(now, limit, events)
            if self.state is _CLOSED:
                return events
        try:
            frames = self._frames.take(limit)
        except StreamError as error:
            self._lose(events, error.reason)
            return events
        if not frames:
            return events
        self._heard = False
        self._timers.heard = now
        if not requests or self._waiting or self.unanswered_max - self.unanswered < limit:
            self._serve_past_requests(frames, now, events, requests=requests)
            return events
        for frame in frames:
            if frame[4] & _RESPONSE_OCTET:
                self._serve_response(frame, now, events)
            else:
                self._serve_request(frame, now, events)
            if self.state is _CLOSED:
                break
        return events

    def _serve_waiting(self, now: float, limit: int, events: list[Event]) -> int:
        """Serve requests that had to wait; returns what is left of ``limit``."""
        waiting = self._waiting
        while waiting and limit > 0 and not self.blocked and self.state is not _CLOSED:
            frame = waiting.popleft()
            self._waiting_octets -= len(frame)
            self._serve_request(frame, now, events)
            limit -= 1
        return limit

    def _serve_past_requests(
        self, frames: list[bytes], now: float, events: list[Event], *, requests: bool
    ) -> None:
        for frame in frames:
            if self.state is _CLOSED:
                break
            if frame[4] & _RESPONSE_OCTET:
                self._serve_response(frame, now, events)
            elif (requests and self.unanswered < self.unanswered_max and not self._waiting) or self._may_pass(
                frame
            ):
                self._serve_request(frame, now, events)
            else:
                self._waiting.append(frame)
                self._waiting_octets += len(frame)

    def _may_pass(self, frame: bytes) -> bool:
        """Whether a request is served although message requests may not be."""
        (command_id,) = _unpack_command_id(frame, 4)
        if command_id == _ENQUIRE_LINK:
            return True
        return not self._waiting and (command_id == _UNBIND_ID or self.state is _OPEN)

    def _serve_request(self, frame: bytes, now: float, events: list[Event]) -> None:
        _, command_id, command_status, sequence_number = _unpack_header(frame)
        if command_id not in self._receivable:
            self._refuse_illegal(command_id, sequence_number, events)
            return
        try:
            pdu = decode_body(frame, command_id, command_status, sequence_number)
        except PduError as error:
            self._refuse(command_id, sequence_number, error.command_status, events)
            return
        if command_id == _ENQUIRE_LINK:
            self._out.append(_pack_header(16, _ENQUIRE_LINK_RESP, _ROK, sequence_number))
            return
        self._offences = 0
        self._timers.useful = now
        if command_id == _UNBIND_ID:
            self._leaving = sequence_number, frame
            if self.unanswered:
                self._receivable = _LEAVING
                events.append((Unbinding(), frame, None))
            else:
                self._agree_to_unbind(events)
            return
        if command_id in BIND_STATES:
            self._enter(BindState.BINDING)
        if command_id not in UNANSWERED:
            self.unanswered += 1
        events.append((pdu, frame, None))

    def _agree_to_unbind(self, events: list[Event]) -> None:
        """The peer has an answer to each of its requests: let it go."""
        sequence_number, frame = self._leaving
        self._out.append(_pack_header(16, _UNBIND_ID | RESPONSE_BIT, _ROK, sequence_number))
        self._enter(_CLOSED)
        events.append((Unbound(), frame, None))

    def _serve_response(self, frame: bytes, now: float, events: list[Event]) -> None:
        _, command_id, command_status, sequence_number = _unpack_header(frame)
        entry = self.window.take(sequence_number)
        late = entry is None
        if entry is None:
            entry = self.window.take_late(sequence_number)
            if entry is None:
                return  # a stray: answers nothing of ours, or something we no longer know
        requested, context, _ = entry
        if command_id not in (requested | RESPONSE_BIT, _GENERIC_NACK):
            notice = ResponseUnreadable(
                requested, sequence_number, command_status, "response of another command"
            )
            events.append((notice, frame, context))
            return
        try:
            pdu = decode_body(frame, command_id, command_status, sequence_number)
        except PduError as error:
            if command_status == _ROK:
                unreadable = ResponseUnreadable(requested, sequence_number, command_status, error.reason)
                events.append((unreadable, frame, context))
                return
            # A refusal is clear from its header, whatever is wrong behind it.
            pdu = GenericNack(sequence_number, command_status)
        if command_id == _GENERIC_NACK and command_status == _ROK:
            pdu.command_status = _UNKNOWN_ERROR  # a nack says no, whatever else it says
        if context is _KEEP_ALIVE:
            self._timers.enquired = inf
        elif context is _UNBIND:
            self._enter(_CLOSED)
            events.append((Unbound(), frame, None))
        elif context is _BIND:
            accepted = command_status == _ROK and command_id != _GENERIC_NACK
            self._enter(BIND_STATES[requested] if accepted else _OPEN)
            events.append((pdu, frame, None))
        elif late:
            events.append((LateResponse(pdu), frame, context))
        else:
            self._timers.useful = now
            events.append((pdu, frame, context))

    def _refuse_illegal(self, command_id: int, sequence_number: int, events: list[Event]) -> None:
        """A request that this state or role does not allow (SMPP 3.4 §5.1.3, table 5-2)."""
        if command_id in BIND_STATES and self.role is Role.MC:
            status = CommandStatus.ESME_RALYBND
        elif any(command_id in legal for legal in SENDABLE.values()):
            status = CommandStatus.ESME_RINVBNDSTS
        else:
            status = CommandStatus.ESME_RINVCMDID
        self._refuse(command_id, sequence_number, status, events)

    def _refuse(self, command_id: int, sequence_number: int, status: int, events: list[Event]) -> None:
        """Answer a request that cannot be served; one with no response of its own gets generic_nack."""
        known = any(command_id in legal for legal in SENDABLE.values())
        response = command_id | RESPONSE_BIT if known and command_id not in UNANSWERED else _GENERIC_NACK
        if command_id != _GENERIC_NACK:  # a nack of a nack would go round for ever
            body = REFUSAL_BODIES.get(response, b"")
            self._out.append(_pack_header(16 + len(body), response, status, sequence_number) + body)
        self._offences += 1
        if self._offences > OFFENCES_MAX:
            self._lose(events, f"{OFFENCES_MAX} PDUs in a row that could not be served")

    def _lose(self, events: list[Event], reason: str) -> None:
        self._enter(_CLOSED)
        events.append((Lost(reason), b"", None))

    # -- requests and responses of ours ---------------------------------------------------------------------

    def request(self, command_id: int, body: bytes, context: object, now: float) -> int:
        """Send a message request; ``body`` is the PDU without its header.  Returns the sequence number.

        The response, the timeout or the close gives ``context`` back.  LocalError if the operation is illegal
        in this state or the window is full.
        """
        window = self.window
        if command_id not in self._sendable or self.state is _UNBINDING:
            raise LocalError(f"{CommandId(command_id).name.lower()} is illegal in state {self.state.value}")
        if len(window.entries) >= window.size_max:
            raise LocalError(f"window full: {window.size_max} requests are unanswered")
        sequence_number = window.next_sequence_number()
        window.entries[sequence_number] = (command_id, context, now + self._timer_settings.response_s)
        self._timers.useful = now
        self._out.append(_pack_header(16 + len(body), command_id, 0, sequence_number) + body)
        return sequence_number

    def send(self, pdu: Pdu, context: object, now: float) -> int:
        """:meth:`request` for a PDU that is not encoded yet; its sequence number is chosen here."""
        return self.request(pdu.command_id, encode_body(pdu), context, now)

    def respond(
        self, command_id: int, sequence_number: int, command_status: int, body: bytes | None = None
    ) -> None:
        """Answer a message request of the peer; ``command_id`` is the request's.

        body: None stands for the body that belongs to a refusal, which for most commands is none.
        """
        self.unanswered -= 1
        if body is None:
            body = REFUSAL_BODIES.get(command_id | RESPONSE_BIT, b"")
        self._out.append(
            _pack_header(16 + len(body), command_id | RESPONSE_BIT, command_status, sequence_number) + body
        )

    def notify(self, pdu: Pdu) -> None:
        """Send a PDU that has no response (alert_notification, outbind)."""
        if pdu.command_id not in self._sendable or pdu.command_id not in UNANSWERED:
            raise LocalError(f"{type(pdu).__name__} is illegal in state {self.state.value}")
        body = encode_body(pdu)
        self._out.append(
            _pack_header(16 + len(body), pdu.command_id, 0, self.window.next_sequence_number()) + body
        )

    # -- bind and unbind ------------------------------------------------------------------------------------

    def bind(self, pdu: BindRequest, now: float) -> None:
        """As an ESME: ask to bind.  The answer comes as its response PDU; `bound` tells the result."""
        if pdu.command_id not in self._sendable:
            raise LocalError(f"bind is illegal in state {self.state.value}")
        self._enter(BindState.BINDING)
        self._ask(pdu.command_id, encode_body(pdu), _BIND, now)

    def accept_bind(self, pdu: BindRequest, body: bytes, now: float) -> None:
        """As an MC: the bind is granted; ``body`` is that of the bind response."""
        if self.state is not BindState.BINDING:
            raise LocalError(f"there is no bind to accept in state {self.state.value}")
        self._enter(BIND_STATES[pdu.command_id])
        self._timers.heard = self._timers.useful = now
        self.respond(pdu.command_id, pdu.sequence_number, _ROK, body)

    def refuse_bind(self, pdu: BindRequest, command_status: int) -> None:
        """As an MC: the bind is refused, and the peer may try again on this connection."""
        if self.state is not BindState.BINDING:
            raise LocalError(f"there is no bind to refuse in state {self.state.value}")
        self._enter(_OPEN)
        # An empty system_id: clients that decode the body before they look at the status stumble over none.
        self.respond(pdu.command_id, pdu.sequence_number, command_status, b"\0")

    def unbind(self, now: float) -> None:
        """Ask to unbind; what is in flight may still be answered until the peer agrees or time is up."""
        if self.state not in BOUND:
            raise LocalError(f"unbind is illegal in state {self.state.value}")
        self._enter(_UNBINDING)
        self._timers.unbinding = now
        self._ask(_UNBIND_ID, b"", _UNBIND, now)

    def _ask(self, command_id: int, body: bytes, context: object, now: float) -> None:
        sequence_number = self.window.next_sequence_number()
        deadline = now + self._timer_settings.response_s
        self.window.housekeeping[sequence_number] = (command_id, context, deadline)
        self._out.append(_pack_header(16 + len(body), command_id, 0, sequence_number) + body)

    # -- time, octets out, end ------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Event]:
        """Do what the timers ask for: enquire, expire requests, give up."""
        events: list[Event] = []
        if self.state is _CLOSED:
            return events
        if self._heard:
            self._heard = False
            self._timers.heard = now
        for sequence_number, (command_id, context, _) in self.window.expire(now):
            events.append((RequestTimedOut(command_id, sequence_number), b"", context))
        duty = timers.due(self._timer_settings, self._timers, now, bound=self.bound)
        if duty is Duty.ENQUIRE:
            self._timers.enquired = now
            self._ask(_ENQUIRE_LINK, b"", _KEEP_ALIVE, now)
        elif duty is Duty.END_INACTIVE:
            self.unbind(now)
        elif duty is not Duty.NOTHING:
            self._lose(events, duty.value)
        return events

    def stand(self, now: float) -> None:
        """The transport stands only now: the timers run from here."""
        self._timers = Timers(opened=now, heard=now, useful=now)

    def excuse_silence(self, now: float) -> None:
        """The owner does not read from the peer: its silence says nothing."""
        self._timers.heard = now
        self._timers.enquired = inf

    def next_deadline(self) -> float:
        """The time by which :meth:`tick` wants to be called."""
        deadline = timers.next_deadline(self._timer_settings, self._timers, bound=self.bound)
        oldest = next(iter(self.window.entries.values()), None)
        return deadline if oldest is None else min(deadline, oldest[2])

    def data_to_send(self) -> bytes:
        """Everything to be written to the transport, in order; it counts as sent from here on."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def close(self) -> list[object]:
        """The transport is gone.  Returns the contexts of all requests that were in flight, oldest first."""
        self._enter(_CLOSED)
        return [context for _, context, _ in self.window.drain()]
