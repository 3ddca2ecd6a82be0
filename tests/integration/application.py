"""An application for tests: one socket, and one PDU after another in plain sight.

What the gateway asks is answered, whenever something is read, and what it delivers is kept.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from typing import TypeVar

from protocol.smpp.codec import decode, encode
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.framing import FrameBuffer
from protocol.smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    Pdu,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
)
from tests.integration.world import HOST, PASSWORD, SOURCE, SYSTEM_ID

UCS2 = 8
TEXT = "您好，您的身份证已办好，请携带户口簿领取。"

Kind = TypeVar("Kind", bound=Pdu)


def destination(number: int) -> bytes:
    """A number of China Mobile."""
    return b"138%08d" % number


def submit_sm(number: int = 0, text: str = TEXT, *, receipt: bool = True, source: str = SOURCE) -> SubmitSm:
    """A message that the gateway would take."""
    return SubmitSm(
        source_addr_ton=1,
        source_addr_npi=1,
        source_addr=source.encode(),
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr=destination(number),
        registered_delivery=int(receipt),
        data_coding=UCS2,
        short_message=text.encode("utf-16-be"),
    )


class Application:
    """Owned by one thread. Every wait has an end, after which TimeoutError is raised."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection((HOST, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.deliveries: list[DeliverSm] = []
        self.answers = True  # whether deliver_sm is answered
        self._timeout_s = timeout_s
        self._frames = FrameBuffer()
        self._read: list[bytes] = []
        self._sequence_number = 0

    # -- single PDUs ----------------------------------------------------------------------------------------

    def send(self, pdu: Pdu) -> int:
        """Send a request; returns its sequence number."""
        self._sequence_number += 1
        pdu.sequence_number = self._sequence_number
        self.socket.sendall(encode(pdu))
        return self._sequence_number

    def receive(self) -> Pdu:
        """The next PDU. ConnectionError if the gateway has closed."""
        while not self._read:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("closed by the gateway")
            self._frames.feed(data)
            self._read = self._frames.take(1000)
        pdu = decode(self._read.pop(0))
        if isinstance(pdu, DeliverSm):
            self.deliveries.append(pdu)
            if self.answers:
                self.socket.sendall(encode(DeliverSmResp(pdu.sequence_number)))
        elif isinstance(pdu, EnquireLink):
            self.socket.sendall(encode(EnquireLinkResp(pdu.sequence_number)))
        elif isinstance(pdu, Unbind):
            self.socket.sendall(encode(UnbindResp(pdu.sequence_number)))
        return pdu

    def ask(self, request: Pdu) -> Pdu:
        """The response to `request`."""
        sequence_number = self.send(request)
        while True:
            pdu = self.receive()
            if pdu.command_id >> 31 and pdu.sequence_number == sequence_number:
                return pdu

    # -- what tests do --------------------------------------------------------------------------------------

    def bind(
        self,
        kind: type[BindTransceiver | BindTransmitter | BindReceiver] = BindTransceiver,
        *,
        system_id: str = SYSTEM_ID,
        password: str = PASSWORD,
    ) -> CommandStatus:
        request = kind(system_id=system_id.encode(), password=password.encode(), interface_version=0x34)
        return CommandStatus(self.ask(request).command_status)

    def submit(self, pdu: SubmitSm) -> SubmitSmResp:
        response = self.ask(pdu)
        assert isinstance(response, SubmitSmResp)
        return response

    def submit_all(self, pdus: Iterable[SubmitSm], window: int = 50) -> list[bytes]:
        """Submit with at most `window` unanswered; returns the message ids in order. All must be ESME_ROK."""
        ids: dict[int, bytes] = {}
        unanswered: set[int] = set()
        for pdu in pdus:
            unanswered.add(self.send(pdu))
            while len(unanswered) >= window:
                self._take_response(ids, unanswered)
        while unanswered:
            self._take_response(ids, unanswered)
        return [ids[sequence_number] for sequence_number in sorted(ids)]

    def _take_response(self, ids: dict[int, bytes], unanswered: set[int]) -> None:
        pdu = self.receive()
        if isinstance(pdu, SubmitSmResp):
            assert pdu.command_status == CommandStatus.ESME_ROK, CommandStatus(pdu.command_status)
            unanswered.remove(pdu.sequence_number)
            ids[pdu.sequence_number] = pdu.message_id

    def submit_until_refused(self, pdus: Iterable[SubmitSm], window: int = 50) -> tuple[list[bytes], int]:
        """Submit until the first refusal; returns the ids of what was taken, and the number of refusals."""
        ids: list[bytes] = []
        unanswered = refused = 0
        for pdu in pdus:
            if refused:
                break
            self.send(pdu)
            unanswered += 1
            while unanswered >= window:
                taken = self._take_any_response(ids)
                unanswered -= taken is not None
                refused += taken is False
        while unanswered:
            taken = self._take_any_response(ids)
            unanswered -= taken is not None
            refused += taken is False
        return ids, refused

    def _take_any_response(self, ids: list[bytes]) -> bool | None:
        """Whether the next PDU is an acceptance; None for a PDU that is no response to a submit_sm."""
        pdu = self.receive()
        if not isinstance(pdu, SubmitSmResp):
            return None
        if pdu.command_status == CommandStatus.ESME_ROK:
            ids.append(pdu.message_id)
            return True
        return False

    def await_deliveries(self, count: int, timeout_s: float = 10.0) -> None:
        """Read until `count` deliver_sm have come since the connection."""
        deadline = time.monotonic() + timeout_s
        while len(self.deliveries) < count:
            assert time.monotonic() < deadline, f"{len(self.deliveries)} of {count} deliveries"
            self.receive()

    def hears_nothing(self, for_s: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        self.socket.settimeout(for_s)
        try:
            self.receive()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(self._timeout_s)
        return False

    def receipts(self) -> list[bytes]:
        """The message ids of the receipts that came, in order; text and TLV must agree."""
        ids = []
        for pdu in self.deliveries:
            if pdu.esm_class == 0x04:
                message_id = (pdu.tlv(int(TlvTag.RECEIPTED_MESSAGE_ID)) or b"").removesuffix(b"\0")
                assert pdu.short_message.startswith(b"id:" + message_id + b" ")
                ids.append(message_id)
        return ids

    def closed_by_gateway(self) -> bool:
        """Whether the gateway closes the connection, whatever it says before."""
        try:
            while True:
                self.receive()
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def unbind(self) -> None:
        self.ask(Unbind())
        self.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
