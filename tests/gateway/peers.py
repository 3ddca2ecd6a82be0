"""The two ends of the gateway's wires: an application and a carrier, played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol, TypeVar

from gateway.connection import Connection
from protocol.smpp.codec import encode_body
from protocol.smpp.codes import CommandStatus
from protocol.smpp.operations import Role
from protocol.smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    DeliverSm,
    DeliverSmResp,
    Pdu,
    SubmitSm,
    SubmitSmResp,
)
from protocol.smpp.receipt import Receipt, read_receipt
from protocol.smpp.session import BindRequest, Session
from protocol.smpp.timers import TimerSettings

SOURCE: Final = b"10639110"
_BINDS: Final[dict[str, type[BindRequest]]] = {
    "transceiver": BindTransceiver,
    "transmitter": BindTransmitter,
    "receiver": BindReceiver,
}
_PATIENT: Final = TimerSettings(bind_s=inf, enquire_link_s=inf, response_s=inf)

PduType = TypeVar("PduType", bound=Pdu)


class Clock(Protocol):
    """The loop of the world, as far as a wire needs it."""

    now: float

    def call_soon(self, call: Callable[..., None], *arguments: object) -> None: ...


class Wire(asyncio.Transport):
    """Carries octets between a connection of the gateway and its peer; after its close it drops them."""

    def __init__(
        self,
        connection: Connection,
        peer: Peer,
        loop: Clock,
        peername: tuple[object, ...] | None = ("192.0.2.1", 1234),
    ) -> None:
        super().__init__({"peername": peername})
        self.connection = connection
        self.reading = True
        self.closing = False
        self.lingers = False  # after a close: there is something left to flush
        self._peer = peer
        self._loop = loop

    def write(self, data: Any) -> None:
        if not self.closing:
            self._peer.receive(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
        if not self.lingers:
            self._loop.call_soon(self.connection.connection_lost, None)

    abort = close


class Peer:
    """One end of a wire with a session of its own; keeps what it heard until the test takes it.

    settle: what the world does after the peer said something, unless the test wants to see each step.
    """

    def __init__(self, role: Role, loop: Clock, settle: Callable[[], None]) -> None:
        self.session = Session(
            role, loop.now, window_max=10_000, unanswered_max=10_000, timer_settings=_PATIENT
        )
        self.heard: list[Pdu] = []
        self.wire: Wire
        self._loop = loop
        self._settle = settle

    def receive(self, data: bytes) -> None:
        self.session.receive_data(data)
        for event, _, _ in self.session.events(self._loop.now, 100_000):
            if isinstance(event, Pdu):
                self.hear(event)
        self.flush()

    def hear(self, pdu: Pdu) -> None:
        self.heard.append(pdu)

    def flush(self) -> None:
        """Put what the session has to say on the wire."""
        data = self.session.data_to_send()
        if data and not self.wire.closing:
            self.wire.connection.data_received(data)

    def say(self, pdu: Pdu) -> int:
        """Send a request, and leave it to the test when it is served; returns its sequence number."""
        number = self.session.send(pdu, None, self._loop.now)
        self.flush()
        return number

    def ask(self, pdu: Pdu) -> Pdu:
        """Send a request and let the world settle; returns its answer."""
        number = self.say(pdu)
        self._settle()
        (answer,) = [pdu for pdu in self.heard if pdu.sequence_number == number and pdu.is_response]
        self.heard.remove(answer)
        return answer

    def take(self, kind: type[PduType]) -> list[PduType]:
        """The PDUs of a kind that came since the last time."""
        taken = [pdu for pdu in self.heard if isinstance(pdu, kind)]
        self.heard = [pdu for pdu in self.heard if not isinstance(pdu, kind)]
        return taken

    def respond(self, request: Pdu, command_status: int = 0, body: bytes | None = None) -> None:
        """Answer a request of the gateway, and leave it to the test when the answer is served."""
        self.session.respond(request.command_id, request.sequence_number, command_status, body)
        self.flush()

    def cut(self, *, settle: bool = True) -> None:
        """The connection breaks."""
        self.wire.closing = True
        self.wire.connection.connection_lost(ConnectionResetError("cut"))
        if settle:
            self._settle()


class ApplicationPeer(Peer):
    """An application."""

    def __init__(self, loop: Clock, settle: Callable[[], None]) -> None:
        super().__init__(Role.ESME, loop, settle)

    def bind(self, system_id: str, kind: str, version: int) -> None:
        request = _BINDS[kind](system_id=system_id.encode(), interface_version=version)
        self.session.bind(request, self._loop.now)
        self.flush()

    def submit(self, destination: bytes, **fields: Any) -> bytes:
        """Submit a message and let the world settle; returns its id."""
        answer = self.ask(submit_sm(destination, **fields))
        assert isinstance(answer, SubmitSmResp)
        assert answer.command_status == CommandStatus.ESME_ROK
        return answer.message_id

    def reports(self) -> list[tuple[bytes, int, bytes]]:
        """(message id, message_state, err) of the receipts that came since the last time; all answered."""
        read = []
        for report in self.take(DeliverSm):
            receipt = read_receipt(report.short_message, report.tlvs)
            assert isinstance(receipt, Receipt)
            read.append((receipt.message_id, receipt.message_state, receipt.err))
            self.respond(report, body=b"\0")
        self._settle()
        return read


class CarrierPeer(Peer):
    """A carrier's message centre; grants the bind."""

    def __init__(self, loop: Clock, settle: Callable[[], None]) -> None:
        super().__init__(Role.MC, loop, settle)

    def hear(self, pdu: Pdu) -> None:
        if isinstance(pdu, BindTransceiver):
            body = encode_body(BindTransceiverResp(system_id=b"mc"))
            self.session.accept_bind(pdu, body, self._loop.now)
        else:
            super().hear(pdu)

    def taken(self) -> list[SubmitSm]:
        """The submit_sm that came since the last time."""
        return self.take(SubmitSm)

    def answer(self, request: Pdu, message_id: bytes = b"", command_status: int = 0) -> None:
        """Answer a submit_sm and let the world settle."""
        self.respond(request, command_status, None if command_status else message_id + b"\0")
        self._settle()

    def take_one(self, message_id: bytes) -> SubmitSm:
        """Take the one message that came, and give it that id."""
        (request,) = self.taken()
        self.answer(request, message_id)
        return request

    def deliver(self, pdu: DeliverSm) -> None:
        """Send a receipt or a reply and let the world settle; the gateway must take it."""
        assert self.ask(pdu) == DeliverSmResp(self.session.window._last)


def submit_sm(destination: bytes, **fields: Any) -> SubmitSm:
    """A message that asks for a receipt."""
    defaults = {"source_addr": SOURCE, "registered_delivery": 1, "short_message": b"hello"}
    return SubmitSm(destination_addr=destination, **{**defaults, **fields})


def receipt(message_id: bytes, subscriber: bytes, stat: bytes = b"DELIVRD", **fields: Any) -> DeliverSm:
    """A carrier's delivery receipt."""
    text = (
        b"id:%b sub:001 dlvrd:001 submit date:2609212213 done date:2609212214 stat:%b err:%b text:hello"
        % (message_id, stat, fields.pop("err", b"000"))
    )
    defaults = {"source_addr": subscriber, "destination_addr": SOURCE, "esm_class": 4}
    return DeliverSm(short_message=text, **{**defaults, **fields})
