"""One bind to a simulated carrier, from its first octet to its last."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from time import monotonic, time
from typing import TYPE_CHECKING, Final, cast

import msgspec

from bench.carrier_ledger import Watched
from bench.messages import TOKENS_MAX, UCS2, destination_of, read_parts, token_at
from protocol.alphabet import PART_OCTETS
from protocol.smpp.codec import HEADER, REFUSAL_BODIES, decode, encode_body
from protocol.smpp.codes import RESPONSE_BIT, CommandId, CommandStatus, TlvTag
from protocol.smpp.errors import PduError
from protocol.smpp.limits import FRAME_LENGTH_MAX, HEADER_OCTETS, SEQUENCE_NUMBER_MAX
from protocol.smpp.operations import BIND_STATES, BindState
from protocol.smpp.pdu import (
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    SubmitSm,
)
from protocol.smpp.times import format_receipt_date

if TYPE_CHECKING:
    from bench.carrier import Carrier

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)
_SUBMIT_SM_RESP: Final = int(CommandId.SUBMIT_SM_RESP)
_DELIVER_SM: Final = int(CommandId.DELIVER_SM)
_DELIVER_SM_RESP: Final = int(CommandId.DELIVER_SM_RESP)
_ENQUIRE_LINK: Final = int(CommandId.ENQUIRE_LINK)
_UNBIND: Final = int(CommandId.UNBIND)
_GENERIC_NACK: Final = int(CommandId.GENERIC_NACK)
_ROK: Final = int(CommandStatus.ESME_ROK)

_unpack = HEADER.unpack_from
_pack = HEADER.pack

_BIND_RESPONSES: Final = {
    BindTransmitter: BindTransmitterResp,
    BindReceiver: BindReceiverResp,
    BindTransceiver: BindTransceiverResp,
}

# TON, NPI, address and NUL (SMPP 3.4 §5.2.8); what is longer is left to the codec, which knows the status.
_ADDRESS_FIELD_OCTETS: Final = 23

# esm_class of a receipt (SMPP 3.4 §5.2.12), then protocol_id, priority_flag, schedule_delivery_time,
# validity_period, registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id.
_RECEIPT_FIELDS: Final = b"\x04" + bytes(8)

# The TLVs receipted_message_id (§5.3.2.12) and message_state (§5.3.2.35), but for their values.
_RECEIPT_TLVS: Final = b"".join(
    (
        b"%b",
        TlvTag.RECEIPTED_MESSAGE_ID.to_bytes(2, "big"),
        b"\0%c%b\0",
        TlvTag.MESSAGE_STATE.to_bytes(2, "big"),
        b"\0\1%c",
    )
)

# registered_delivery, its two low bits (SMPP 3.4 §5.2.17).
_RECEIPT, _ON_FAILURE, _ON_SUCCESS = 1, 2, 3

# A receipt that the gateway could not take now is offered again after so long.
_AGAIN_S: Final = 0.5

# How long after the receipt the subscriber has read and answered.
_READING_S: Final = 0.05

# By so much at least a receipt that leaves before its response is ahead of it.
_AHEAD_S: Final = 0.002

Delivery = tuple[int, bool, bytes]
"""A deliver_sm that waits for its answer: token (-1: none of ours), whether it is a receipt, body."""

RAW: Final = -2
"""Stands for the token of a deliver_sm that a command has sent: its answer counts, whatever it is."""


class Stat(msgspec.Struct, frozen=True):
    """One kind of receipt: `stat`, state for the ledger, `dlvrd`, end of the text, state in the TLV."""

    word: bytes
    state: int
    delivered: bytes
    end: bytes
    tlv_state: int


class CarrierSession(asyncio.Protocol):
    """Serves one connection."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.transmits = False  # the gateway may submit
        self.receives = False  # we may deliver
        self.queue: deque[Delivery] = deque()
        self.in_flight: dict[int, Delivery] = {}
        self._ledger = carrier.ledger
        self._transport: asyncio.Transport
        self._rest = b""
        self._out: list[bytes] = []
        self._responses: list[bytes] = []  # of the chunk that is being served
        self._receipts: list[Delivery] = []
        self._sequence_number = 0
        self._submits = 0
        self._writable = True
        self._open = False
        self._unbound = False
        self._stalled = False
        self._minute = 0
        self._dates = b""

    # -- called by the event loop ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open = True
        self.carrier.sessions.append(self)
        if self.carrier.stalled:
            self.stall()

    def pause_writing(self) -> None:
        # Who does not read our responses is not read from either.
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if self._open and not self._stalled:
            self._transport.resume_reading()
            self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._close()
        carrier = self.carrier
        carrier.sessions.remove(self)
        if not self._unbound:
            self._ledger.lost_sessions += 1
        carrier.orphans.extendleft(reversed([*self.in_flight.values(), *self.queue]))
        carrier.orphans.extend(self._receipts)
        self.in_flight.clear()
        self.queue.clear()
        carrier.resend()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if self._stalled:
            # Only the first octets of a connection: some event loops begin to read after connection_made.
            self._rest = data
            return
        if (minute := int(time() / 60)) != self._minute:
            self._minute = minute
            self._dates = self._format_dates()
        end = len(data)
        offset = 0
        in_flight = self.in_flight
        while end - offset >= HEADER_OCTETS:
            length, command_id, command_status, sequence_number = _unpack(data, offset)
            if not HEADER_OCTETS <= length <= FRAME_LENGTH_MAX:
                self.abort()
                return
            stop = offset + length
            if stop > end:
                break
            if command_id == _SUBMIT_SM and self.transmits:
                self._submit(data, offset, stop, sequence_number)
            elif command_id == _DELIVER_SM_RESP:
                delivery = in_flight.pop(sequence_number, None)
                if delivery is not None:
                    self._delivered(delivery, command_status)
            else:
                self._serve_rare(data[offset:stop], command_id, command_status, sequence_number)
            if not self._open:
                return
            offset = stop
        self._rest = data[offset:]
        self._end_chunk()

    # -- messages of the gateway ----------------------------------------------------------------------------

    def _submit(self, data: bytes, offset: int, stop: int, sequence_number: int) -> None:
        """Take, refuse or throttle one submit_sm, read in place."""
        carrier, ledger = self.carrier, self._ledger
        index = data.index
        try:
            source = index(0, offset + HEADER_OCTETS, stop) + 1
            destination = index(0, source + 2, stop) + 1
            esm_class = index(0, destination + 2, stop) + 1
            validity = index(0, esm_class + 3, stop) + 1
            registered_delivery = index(0, validity, stop) + 1
            text = registered_delivery + 5
            text_end = text + data[text - 1]
        except (ValueError, IndexError):
            self._refuse_unreadable(data[offset:stop], sequence_number)
            return
        if (
            text_end > stop
            or destination - source > _ADDRESS_FIELD_OCTETS
            or esm_class - destination > _ADDRESS_FIELD_OCTETS
        ):
            self._refuse_unreadable(data[offset:stop], sequence_number)
            return
        ledger.submits += 1
        plain = carrier.plain
        if not plain:
            status = carrier.judge(monotonic())
            if status != _ROK:
                ledger.refused[status] += 1
                self._responses.append(_pack(HEADER_OCTETS, _SUBMIT_SM_RESP, status, sequence_number))
                return
        ledger.accepted += 1
        stat = carrier.stats.draw()
        sequences: Sequence[int] = ()
        # What has no TLVs is part of a long message only if it is full; a full short one is told apart there.
        if text_end != stop or text_end - text == PART_OCTETS:
            token, sequences = self._read_parts(data[offset:stop])
        else:
            token = token_at(data, text_end) if data[text - 3] == UCS2 else -1
        if 0 <= token < TOKENS_MAX:
            taken = ledger.taken
            if token >= len(taken):
                ledger.grow(token)
            if sequences:
                stat = carrier.stat_of_parts(token, sequences, stat)
                ledger.take_parts(token, sequences, stat.state)
            else:
                if taken[token] < 255:
                    taken[token] += 1
                ledger.outcome[token] = stat.state
            if data[destination + 2 : esm_class - 1] != destination_of(token):
                ledger.misdirected += 1
        else:
            token = -1
            ledger.foreign += 1
        response_id, receipt_id = carrier.next_ids()
        length = HEADER_OCTETS + 1 + len(response_id)
        response = _pack(length, _SUBMIT_SM_RESP, _ROK, sequence_number) + response_id + b"\0"
        asked = data[registered_delivery] & 3
        delivery = None
        if (
            asked == _RECEIPT
            or (asked == _ON_FAILURE and stat.delivered == b"000")
            or (asked == _ON_SUCCESS and stat.delivered == b"001")
        ):
            ledger.states[stat.word] += 1
            addresses = data[destination:esm_class] + data[source:destination]
            delivery = (token, True, self._receipt_body(stat, receipt_id, addresses))
        if plain:
            self._responses.append(response)
            if delivery is not None:
                self._receipts.append(delivery)
        else:
            if carrier.options.watched and carrier.watches(
                data[source + 2 : destination - 1], data[esm_class + 2]
            ):
                ledger.watch(Watched(token, monotonic(), response_id.decode(), receipt_id.decode()))
            self._take_oddly(data[offset:stop], response, delivery, data[destination:esm_class])

    def _read_parts(self, frame: bytes) -> tuple[int, Sequence[int]]:
        """Token and parts of what has a header or TLVs; what the codec cannot read is none of ours."""
        try:
            return read_parts(cast(SubmitSm, decode(frame)))
        except PduError:
            return -1, ()

    def _receipt_body(self, stat: Stat, receipt_id: bytes, addresses: bytes) -> bytes:
        """The body of a receipt; addresses: those of the message, the destination first, as on the wire."""
        form = self.carrier.options.receipt_form
        text = b""
        if form != "tlv":
            text = b"id:%b sub:001 dlvrd:%b%b%b" % (receipt_id, stat.delivered, self._dates, stat.end)
        body = b"\0%b%b%c%b" % (addresses, _RECEIPT_FIELDS, len(text), text)
        if form == "text":
            return body
        return _RECEIPT_TLVS % (body, len(receipt_id) + 1, receipt_id, stat.tlv_state)

    def _format_dates(self) -> bytes:
        """As receipts of this minute have them; they count in minutes (SMPP 3.4 Appendix B)."""
        now = time()
        submitted = format_receipt_date(now)
        done = format_receipt_date(now + self.carrier.options.receipt_delay_s)
        return b" submit date:%b done date:%b" % (submitted, done)

    def _take_oddly(
        self, frame: bytes, response: bytes, delivery: Delivery | None, destination_field: bytes
    ) -> None:
        """What else may happen to a message that was taken, each after its own delay."""
        carrier = self.carrier
        options = carrier.options
        after = carrier.wheel.after
        response_s = options.response_delay_s + carrier.random.random() * options.response_jitter_s
        receipt_s = options.receipt_delay_s + carrier.random.random() * options.receipt_jitter_s
        if carrier.receipts_first.draw():
            receipt_s = 0.0
            response_s = max(response_s, _AHEAD_S)
        if delivery is not None:
            deliveries = [delivery, delivery] if carrier.duplicates.draw() else [delivery]
            if receipt_s:
                after(receipt_s, carrier.deliver, (self, deliveries))
            else:
                self._receipts += deliveries
        if not carrier.unanswered.draw():
            if response_s:
                after(response_s, self._respond, response)
            else:
                self._responses.append(response)
        if carrier.replies.draw():
            pdu = cast(SubmitSm, decode(frame))
            reply = (pdu.destination_addr, pdu.source_addr, "收到")
            after(receipt_s + _READING_S, lambda waiting: carrier.reply(*waiting), reply)
        if len(self._ledger.kept) < options.kept_max:
            self._ledger.kept.append(frame)
        self._submits += 1
        if self._submits == options.cut_after_pdus:
            self._ledger.cuts += 1
            self.abort()

    def _refuse_unreadable(self, frame: bytes, sequence_number: int) -> None:
        try:
            decode(frame)
            status = int(CommandStatus.ESME_RSYSERR)
        except PduError as error:
            status = error.command_status
        self._ledger.refused[status] += 1
        self._responses.append(_pack(HEADER_OCTETS, _SUBMIT_SM_RESP, status, sequence_number))

    def _respond(self, responses: bytes) -> None:
        if self._open:
            self._out.append(responses)
            self.flush()

    # -- answers of the gateway -----------------------------------------------------------------------------

    def _delivered(self, delivery: Delivery, command_status: int) -> None:
        token, is_receipt, _ = delivery
        ledger = self._ledger
        if is_receipt and command_status == _ROK:
            ledger.receipts_acknowledged += 1
            acknowledged = ledger.acknowledged
            if token >= 0 and acknowledged[token] < 255:
                acknowledged[token] += 1
        elif token == RAW:
            ledger.delivered_raw[command_status] += 1
        elif command_status != _ROK:
            ledger.receipts_refused[command_status] += 1
            self.carrier.wheel.after(_AGAIN_S, self.carrier.deliver, (self, [delivery]))
        else:
            ledger.replies_acknowledged += 1

    # -- everything else ------------------------------------------------------------------------------------

    def _serve_rare(self, frame: bytes, command_id: int, command_status: int, sequence_number: int) -> None:
        out = self._out
        if command_id == _ENQUIRE_LINK:
            out.append(_pack(HEADER_OCTETS, _ENQUIRE_LINK | RESPONSE_BIT, _ROK, sequence_number))
        elif command_id == _UNBIND:
            out.append(_pack(HEADER_OCTETS, _UNBIND | RESPONSE_BIT, _ROK, sequence_number))
            self._unbound = True
            self.flush()
            self._transport.close()
            self._close()
        elif command_id == _GENERIC_NACK:
            delivery = self.in_flight.pop(sequence_number, None)
            if delivery is not None:
                self._delivered(delivery, command_status or int(CommandStatus.ESME_RSYSERR))
        elif command_id in BIND_STATES:
            self._bind(frame, command_id, sequence_number)
        elif not command_id & RESPONSE_BIT:
            known = command_id | RESPONSE_BIT in REFUSAL_BODIES
            bound = self.transmits or self.receives
            status = CommandStatus.ESME_RINVCMDID if bound else CommandStatus.ESME_RINVBNDSTS
            response = command_id | RESPONSE_BIT if known else _GENERIC_NACK
            body = REFUSAL_BODIES.get(response, b"")
            out.append(_pack(HEADER_OCTETS + len(body), response, status, sequence_number) + body)

    def _bind(self, frame: bytes, command_id: int, sequence_number: int) -> None:
        carrier, options = self.carrier, self.carrier.options
        status = CommandStatus.ESME_ROK
        body = b""
        try:
            request = decode(frame)
        except PduError as error:
            status = CommandStatus(error.command_status)
        else:
            assert isinstance(request, BindTransmitter | BindReceiver | BindTransceiver)
            others = sum(each.transmits or each.receives for each in carrier.sessions)
            if self.transmits or self.receives or others >= options.sessions_max:
                status = CommandStatus.ESME_RALYBND
            elif request.system_id != options.system_id.encode():
                status = CommandStatus.ESME_RINVSYSID
            elif options.password and request.password != options.password.encode():
                status = CommandStatus.ESME_RINVPASWD
            else:
                state = BIND_STATES[command_id]
                self.transmits = state in (BindState.BOUND_TX, BindState.BOUND_TRX)
                self.receives = state in (BindState.BOUND_RX, BindState.BOUND_TRX)
                body = encode_body(_BIND_RESPONSES[type(request)](system_id=options.name[:15].encode()))
        if status == _ROK:
            self._ledger.binds += 1
        else:
            self._ledger.binds_refused += 1
        self._out.append(
            _pack(HEADER_OCTETS + len(body), command_id | RESPONSE_BIT, status, sequence_number) + body
        )
        self.flush()
        if self.receives:
            carrier.resend()

    # -- octets out, end ------------------------------------------------------------------------------------

    def _end_chunk(self) -> None:
        """Send what the chunk brought about, or put it on the wheel for later."""
        carrier, options = self.carrier, self.carrier.options
        if self._responses:
            if options.response_delay_s:
                carrier.wheel.after(options.response_delay_s, self._respond, b"".join(self._responses))
            else:
                self._out.extend(self._responses)
            self._responses.clear()
        if self._receipts:
            receipts, self._receipts = self._receipts, []
            if carrier.plain and options.receipt_delay_s:
                carrier.wheel.after(options.receipt_delay_s, carrier.deliver, (self, receipts))
            else:
                carrier.deliver((self, receipts))
        self.flush()

    def flush(self) -> None:
        """Write the responses, and as many deliveries as the window takes."""
        if self._stalled:
            return
        out, queue = self._out, self.queue
        if queue and self._writable:
            in_flight = self.in_flight
            number = self._sequence_number
            for _ in range(min(len(queue), self.carrier.options.window - len(in_flight))):
                delivery = queue.popleft()
                number = number % SEQUENCE_NUMBER_MAX + 1
                in_flight[number] = delivery
                body = delivery[2]
                out.append(_pack(HEADER_OCTETS + len(body), _DELIVER_SM, _ROK, number))
                out.append(body)
                if delivery[1]:
                    self._ledger.receipts_sent += 1
            self._sequence_number = number
        if out:
            self._transport.write(b"".join(out))
            out.clear()

    def stall(self) -> None:
        """Read and write nothing until `unstall`.

        What was read has been served, so every message of it is taken or refused; what its answers still are
        is held. What comes meanwhile waits in the sockets, and is not taken.
        """
        self._stalled = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def unstall(self) -> None:
        """Go on with what has gathered on both sides."""
        self._stalled = False
        if self._transport.is_closing():
            return
        self.data_received(b"")
        if self._writable and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close without another octet; what is in flight stays with the carrier."""
        if self._open:
            self._close()
            self._transport.abort()

    def _close(self) -> None:
        self._open = self.transmits = self.receives = False
