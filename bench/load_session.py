"""One bind of the load generator: it submits what is due, and answers receipts at once."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from bench.load_ledger import OTHER_STATE
from protocol.smpp.codec import HEADER, REFUSAL_BODIES, decode, encode
from protocol.smpp.codes import RESPONSE_BIT, CommandId, CommandStatus, TlvTag, status_name
from protocol.smpp.limits import FRAME_LENGTH_MAX, HEADER_OCTETS
from protocol.smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter, DeliverSm
from protocol.smpp.receipt import message_state_of, read_receipt

if TYPE_CHECKING:
    from bench.load import Load

_SUBMIT_SM_RESP: Final = int(CommandId.SUBMIT_SM_RESP)
_DELIVER_SM: Final = int(CommandId.DELIVER_SM)
_DELIVER_SM_RESP: Final = int(CommandId.DELIVER_SM_RESP)
_ENQUIRE_LINK: Final = int(CommandId.ENQUIRE_LINK)
_UNBIND: Final = int(CommandId.UNBIND)
_GENERIC_NACK: Final = int(CommandId.GENERIC_NACK)
_ROK: Final = int(CommandStatus.ESME_ROK)
_BIND_RESPONSES: Final = {
    int(command_id)
    for command_id in (
        CommandId.BIND_TRANSCEIVER_RESP,
        CommandId.BIND_TRANSMITTER_RESP,
        CommandId.BIND_RECEIVER_RESP,
    )
}

_unpack = HEADER.unpack_from

# A positive deliver_sm_resp up to its sequence number; behind that stands only an empty message_id.
_DELIVER_SM_RESP_HEAD: Final = HEADER.pack(HEADER_OCTETS + 1, _DELIVER_SM_RESP, _ROK, 0)[:12]

# What bits 5-2 of esm_class say: delivery receipt (SMPP 3.4 §5.2.12).
_MESSAGE_TYPE: Final = 0x3C
_RECEIPT: Final = 0x04

# From the start of schedule_delivery_time, when it and the validity are absent: the length of the text.
_TO_LENGTH: Final = 6

BindRequest = BindTransceiver | BindTransmitter | BindReceiver


class LoadSession(asyncio.Protocol):
    """Serves one connection."""

    def __init__(self, load: Load, request: BindRequest) -> None:
        self.bound = False
        self.transmits = False
        self.refusal = ""  # why the bind was refused
        self.in_flight: dict[int, int] = {}  # sequence number to token, counted from the first
        self.ended = asyncio.Event()
        self._load = load
        self._request = request
        self._ledger = load.ledger
        self._window = load.options.window
        self._transport: asyncio.Transport
        self._rest = b""
        self._out: list[bytes] = []
        self._sequence_number = 1
        self._writable = True

    # -- called by the event loop ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.write(encode(self._request))

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.fill(monotonic(), self._window)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.session_ended(self)
        self.bound = self.transmits = False
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        now = monotonic()
        if self._rest:
            data = self._rest + data
        end = len(data)
        offset = 0
        ledger, in_flight, out = self._ledger, self.in_flight, self._out
        while end - offset >= HEADER_OCTETS:
            length, command_id, command_status, sequence_number = _unpack(data, offset)
            if not HEADER_OCTETS <= length <= FRAME_LENGTH_MAX:
                self._transport.abort()
                return
            stop = offset + length
            if stop > end:
                break
            if command_id == _SUBMIT_SM_RESP:
                token = in_flight.pop(sequence_number, -1)
                if token >= 0:
                    ledger.answered(token, command_status, data[offset + HEADER_OCTETS : stop - 1], now)
            elif command_id == _DELIVER_SM:
                self._deliver(data, offset, stop, now)
                out.append(b"%b%b\0" % (_DELIVER_SM_RESP_HEAD, data[offset + 12 : offset + HEADER_OCTETS]))
            else:
                self._serve_rare(data[offset:stop], command_id, command_status, sequence_number)
            offset = stop
        self._rest = data[offset:]
        self.fill(now, self._window)

    # -- receipts -------------------------------------------------------------------------------------------

    def _deliver(self, data: bytes, offset: int, stop: int, now: float) -> None:
        """A receipt as nearly everybody writes it is read in place, others by the protocol's reader."""
        index = data.index
        try:
            source = index(0, offset + HEADER_OCTETS, stop) + 1
            destination = index(0, source + 2, stop) + 1
            esm_class = index(0, destination + 2, stop) + 1
            text = esm_class + 3 + _TO_LENGTH + 1
            message_id_end = index(b" ", text, stop)
            stat = index(b" stat:", message_id_end, stop) + 6
            stat_end = index(b" ", stat, stop)
        except ValueError:
            self._deliver_oddly(data[offset:stop], now)
            return
        if (
            data[esm_class] & _MESSAGE_TYPE != _RECEIPT
            or data[esm_class + 3 : esm_class + 5] != b"\0\0"
            or data[text : text + 3] != b"id:"
        ):
            self._deliver_oddly(data[offset:stop], now)
            return
        state = message_state_of(data[stat:stat_end]) or OTHER_STATE
        self._ledger.receipt(data[text + 3 : message_id_end], state, data[source + 2 : destination - 1], now)

    def _deliver_oddly(self, frame: bytes, now: float) -> None:
        pdu = cast(DeliverSm, decode(frame))
        if pdu.esm_class & _MESSAGE_TYPE != _RECEIPT:
            text = pdu.short_message or pdu.tlv(TlvTag.MESSAGE_PAYLOAD) or b""
            self._ledger.reply(pdu.source_addr, text, now)
            return
        receipt = read_receipt(pdu.short_message, pdu.tlvs)
        if receipt is not None:
            # The word in the text, as in the usual case: a carrier's own code has a state in the TLV alone.
            state = message_state_of(receipt.stat) if receipt.stat else receipt.message_state
            self._ledger.receipt(receipt.message_id, state or OTHER_STATE, pdu.source_addr, now)

    # -- everything else ------------------------------------------------------------------------------------

    def _serve_rare(self, frame: bytes, command_id: int, command_status: int, sequence_number: int) -> None:
        if command_id in _BIND_RESPONSES:
            if command_status != _ROK:
                self.refusal = f"bind refused: {status_name(command_status)}"
                self._transport.close()
                return
            self.bound = True
            self.transmits = not isinstance(self._request, BindReceiver)
            self._load.session_bound(self)
        elif command_id == _ENQUIRE_LINK:
            self._out.append(HEADER.pack(HEADER_OCTETS, _ENQUIRE_LINK | RESPONSE_BIT, _ROK, sequence_number))
        elif command_id == _UNBIND:
            self._out.append(HEADER.pack(HEADER_OCTETS, _UNBIND | RESPONSE_BIT, _ROK, sequence_number))
            self.fill(0.0, 0)
            self._transport.close()
        elif command_id == _UNBIND | RESPONSE_BIT:
            self._transport.close()
        elif command_id == _GENERIC_NACK:
            token = self.in_flight.pop(sequence_number, -1)
            if token >= 0:
                self._ledger.answered(token, command_status, b"", monotonic())
        elif not command_id & RESPONSE_BIT:
            known = command_id | RESPONSE_BIT in REFUSAL_BODIES
            response = command_id | RESPONSE_BIT if known else _GENERIC_NACK
            body = REFUSAL_BODIES.get(response, b"")
            status = CommandStatus.ESME_RINVCMDID
            self._out.append(HEADER.pack(HEADER_OCTETS + len(body), response, status, sequence_number) + body)

    # -- octets out -----------------------------------------------------------------------------------------

    def fill(self, now: float, limit: int) -> None:
        """Submit what is due and the window takes, at most `limit`, and write everything."""
        out = self._out
        if self.transmits and self._writable:
            room = min(self._window - len(self.in_flight), limit)
            if room > 0:
                number = self._sequence_number
                in_flight = self.in_flight
                write, first = self._load.write, self._load.first
                for token in self._load.take_due(now, room):
                    # Numbers stay below 2**31: a run has at most 400 million messages.
                    number += 1
                    in_flight[number] = token
                    out.append(write(number, first + token))
                self._sequence_number = number
        if out:
            self._transport.write(b"".join(out))
            out.clear()

    def unbind(self) -> None:
        """Ask to unbind; the session ends when the peer agrees."""
        self._sequence_number += 1
        self.transmits = False
        self._transport.write(HEADER.pack(HEADER_OCTETS, _UNBIND, _ROK, self._sequence_number))

    def abort(self) -> None:
        self._transport.abort()
