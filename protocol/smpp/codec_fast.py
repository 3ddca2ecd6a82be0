"""submit_sm, deliver_sm and their responses by hand: nearly all traffic, at a fraction of the cost of the
row.

The functions here know sound PDUs only. Whatever is unusual makes them raise one of `UNUSUAL`, and the caller
(the `codec`) walks the row, which either copes or names the field and its status. So the two cannot disagree
about an error, and they must not disagree about a success: `tests/protocol/smpp/test_codec_fast.py` holds
them together.

Three habits keep them sound. `bytes.index` with an upper bound finds the NUL and checks the length in one
step; where it succeeded, the octets before the NUL exist, and need no check. A slice past the end is short
without a word, so the offset behind the last TLV is compared with the end of the frame. And an encoder adds
up what it is about to write before it writes, and compares.
"""

from collections.abc import Callable
from struct import Struct
from struct import error as struct_error
from typing import TypeVar

from protocol.smpp.errors import LocalError
from protocol.smpp.limits import (
    ADDRESS_OCTETS,
    HEADER_OCTETS,
    MESSAGE_ID_OCTETS,
    SERVICE_TYPE_OCTETS,
    SHORT_MESSAGE_OCTETS,
    TIME_OCTETS,
    TLV_HEADER_OCTETS,
)
from protocol.smpp.pdu import DeliverSm, DeliverSmResp, SubmitSm, SubmitSmResp, Tlvs

UNUSUAL = (ValueError, IndexError, OverflowError, struct_error)
"""Raised by every function here that decodes or encodes, and meant for the codec alone: ask the row."""

_SERVICE_TYPE_END = HEADER_OCTETS + SERVICE_TYPE_OCTETS
# From the NUL of one string: past ton and npi (2) to the next address, and to the first octet it may not
# reach.
_ADDRESS_START = 3
_ADDRESS_END = _ADDRESS_START + ADDRESS_OCTETS
# From the NUL of the destination: past esm_class, protocol_id and priority_flag.
_SCHEDULE_START = 4
_SCHEDULE_END = _SCHEDULE_START + TIME_OCTETS
_VALIDITY_END = 1 + TIME_OCTETS
# registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id, sm_length
_FLAGS = Struct("BBBBB")
_FLAGS_UNPACK = _FLAGS.unpack_from
_TLV = Struct(">HH")
_TLV_UNPACK = _TLV.unpack_from
_MESSAGE_ID_END = HEADER_OCTETS + MESSAGE_ID_OCTETS

# Octets of a message body that are no string, no text and no TLV: five NULs; two tons and two npis;
# esm_class, protocol_id, priority_flag; the flags.
_MESSAGE_FIXED_OCTETS = 5 + 4 + 3 + _FLAGS.size
# The same up to registered_delivery.
_BEFORE_REGISTERED_DELIVERY = HEADER_OCTETS + 5 + 4 + 3

# Every string with its NUL, every integer as `%c`, which raises OverflowError beyond one octet.
_MESSAGE_FORMAT = b"%b\0%c%c%b\0%c%c%b\0%c%c%c%b\0%b\0%c%c%c%c%c%b%b"


def _decode_tlvs(frame: bytes, offset: int) -> Tlvs:
    end = len(frame)
    tlvs = []
    while offset < end:
        tag, length = _TLV_UNPACK(frame, offset)
        start = offset + TLV_HEADER_OCTETS
        offset = start + length
        tlvs.append((tag, frame[start:offset]))
    if offset != end:
        raise ValueError
    return tuple(tlvs)


def _encode_tlvs(tlvs: Tlvs) -> bytes:
    pack = _TLV.pack
    if len(tlvs) == 1:
        tag, value = tlvs[0]
        return pack(tag, len(value)) + value
    return b"".join([pack(tag, len(value)) + value for tag, value in tlvs])


_Message = TypeVar("_Message", SubmitSm, DeliverSm)
_Response = TypeVar("_Response", SubmitSmResp, DeliverSmResp)


def _message_decoder(message: type[_Message]) -> Callable[[bytes, int, int], _Message]:
    def decode(frame: bytes, command_status: int, sequence_number: int) -> _Message:
        index = frame.index
        service = index(0, HEADER_OCTETS, _SERVICE_TYPE_END)
        source = index(0, service + _ADDRESS_START, service + _ADDRESS_END)
        destination = index(0, source + _ADDRESS_START, source + _ADDRESS_END)
        schedule = destination + _SCHEDULE_START
        if frame[schedule] == frame[schedule + 1] == 0:  # nearly always: no time is given
            validity = schedule + 1
        else:
            schedule = index(0, schedule, destination + _SCHEDULE_END)
            validity = index(0, schedule + 1, schedule + _VALIDITY_END)
        registered_delivery, replace_if_present, data_coding, default_message, length = _FLAGS_UNPACK(
            frame, validity + 1
        )
        text = validity + 1 + _FLAGS.size
        end = text + length
        return message(
            sequence_number,
            command_status,
            frame[HEADER_OCTETS:service],
            frame[service + 1],
            frame[service + 2],
            frame[service + 3 : source],
            frame[source + 1],
            frame[source + 2],
            frame[source + 3 : destination],
            frame[destination + 1],
            frame[destination + 2],
            frame[destination + 3],
            frame[destination + 4 : schedule],
            frame[schedule + 1 : validity],
            registered_delivery,
            replace_if_present,
            data_coding,
            default_message,
            frame[text:end],
            () if end == len(frame) else _decode_tlvs(frame, end),
        )

    return decode


def _response_decoder(response: type[_Response]) -> Callable[[bytes, int, int], _Response]:
    def decode(frame: bytes, command_status: int, sequence_number: int) -> _Response:
        if len(frame) == HEADER_OCTETS:
            return response(sequence_number, command_status)
        end = frame.index(0, HEADER_OCTETS, _MESSAGE_ID_END)
        message_id = frame[HEADER_OCTETS:end]
        end += 1
        if end == len(frame):
            return response(sequence_number, command_status, message_id)
        return response(sequence_number, command_status, message_id, _decode_tlvs(frame, end))

    return decode


decode_submit_sm = _message_decoder(SubmitSm)
decode_deliver_sm = _message_decoder(DeliverSm)
decode_submit_sm_resp = _response_decoder(SubmitSmResp)
decode_deliver_sm_resp = _response_decoder(DeliverSmResp)


def encode_message_body(pdu: SubmitSm | DeliverSm) -> bytes:
    """The body of a submit_sm or a deliver_sm. Raises one of UNUSUAL."""
    service_type = pdu.service_type
    source_addr = pdu.source_addr
    destination_addr = pdu.destination_addr
    schedule = pdu.schedule_delivery_time
    validity = pdu.validity_period
    short_message = pdu.short_message
    if (
        len(service_type) >= SERVICE_TYPE_OCTETS
        or len(source_addr) >= ADDRESS_OCTETS
        or len(destination_addr) >= ADDRESS_OCTETS
        or len(short_message) > SHORT_MESSAGE_OCTETS
        or 0 in service_type
        or 0 in source_addr
        or 0 in destination_addr
        or (schedule and (len(schedule) >= TIME_OCTETS or 0 in schedule))
        or (validity and (len(validity) >= TIME_OCTETS or 0 in validity))
    ):
        raise ValueError
    tlvs = _encode_tlvs(pdu.tlvs) if pdu.tlvs else b""
    announced = (
        _MESSAGE_FIXED_OCTETS
        + len(service_type)
        + len(source_addr)
        + len(destination_addr)
        + len(schedule)
        + len(validity)
        + len(short_message)
        + len(tlvs)
    )
    body = _MESSAGE_FORMAT % (
        service_type,
        pdu.source_addr_ton,
        pdu.source_addr_npi,
        source_addr,
        pdu.dest_addr_ton,
        pdu.dest_addr_npi,
        destination_addr,
        pdu.esm_class,
        pdu.protocol_id,
        pdu.priority_flag,
        schedule,
        validity,
        pdu.registered_delivery,
        pdu.replace_if_present_flag,
        pdu.data_coding,
        pdu.sm_default_msg_id,
        len(short_message),
        short_message,
        tlvs,
    )
    assert len(body) == announced
    return body


def encode_submit_sm_resp_body(pdu: SubmitSmResp) -> bytes:
    """The body of a submit_sm_resp, none when it is an error without a message_id. Raises one of UNUSUAL."""
    message_id = pdu.message_id
    if len(message_id) >= MESSAGE_ID_OCTETS or 0 in message_id:
        raise ValueError
    tlvs = pdu.tlvs
    if tlvs:
        return message_id + b"\0" + _encode_tlvs(tlvs)
    return message_id + b"\0" if message_id or pdu.command_status == 0 else b""


def encode_deliver_sm_resp_body(pdu: DeliverSmResp) -> bytes:
    """The body of a deliver_sm_resp, which is there also in an error. Raises one of UNUSUAL."""
    message_id = pdu.message_id
    if len(message_id) >= MESSAGE_ID_OCTETS or 0 in message_id:
        raise ValueError
    return message_id + b"\0" + _encode_tlvs(pdu.tlvs) if pdu.tlvs else message_id + b"\0"


def submit_body_with_registered_delivery(frame: bytes, pdu: SubmitSm, registered_delivery: int) -> bytes:
    """The body of `frame` with one octet replaced: a message that no rule touches leaves as it came.

    `frame` is the whole frame that `pdu` was decoded from. Raises LocalError when `registered_delivery` is no
    octet; asserts that the octet to be replaced is the one that `pdu` holds.
    """
    if not 0 <= registered_delivery <= 0xFF:
        raise LocalError(f"registered_delivery is {registered_delivery}, allowed are 0 to 255")
    offset = (
        _BEFORE_REGISTERED_DELIVERY
        + len(pdu.service_type)
        + len(pdu.source_addr)
        + len(pdu.destination_addr)
        + len(pdu.schedule_delivery_time)
        + len(pdu.validity_period)
    )
    assert frame[offset] == pdu.registered_delivery
    return b"%b%c%b" % (frame[HEADER_OCTETS:offset], registered_delivery, frame[offset + 1 :])
