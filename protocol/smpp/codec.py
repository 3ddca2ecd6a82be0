"""Frame to PDU and PDU to frame.

The general path walks the row of the PDU (`Pdu.FIELDS`), then the TLV stream. Four PDUs make up nearly all
traffic and have hand-written functions in `codec_fast`. Those know only sound PDUs: at anything unusual they
give up, and the row judges, so that one place decides which field is wrong and which status that is.

What is tolerated, and why:
- Any sequence_number of 32 bits, any command_status, also in a request.
- A response without a body, whatever its status; its fields are empty. An error needs none (SMPP 3.4 §4.4.2).
  Some peers leave it out of a success as well, and then the message was taken: refusing to read the response
  would not untake it.
- Any TLV anywhere, whatever its length (see `tlv`).
"""

from collections.abc import Callable
from functools import partial
from struct import Struct
from struct import error as struct_error
from typing import Any

from protocol.smpp import codec_fast
from protocol.smpp.codes import RESPONSE_BIT, CommandStatus, command_name
from protocol.smpp.errors import FieldError, LocalError, PduError, StreamError
from protocol.smpp.limits import FRAME_LENGTH_MAX, HEADER_OCTETS
from protocol.smpp.pdu import PDU_CLASSES, DeliverSm, DeliverSmResp, Pdu, SubmitSm, SubmitSmResp, UnknownPdu
from protocol.smpp.tlv import decode_tlv_stream, encode_tlv_stream

HEADER = Struct(">IIII")
"""command_length, command_id, command_status, sequence_number (SMPP 3.4 §3.2)."""

assert HEADER.size == HEADER_OCTETS
_unpack_header = HEADER.unpack_from
_pack_header = HEADER.pack


def decode_by_row(pdu_class: type[Pdu], frame: bytes, command_status: int, sequence_number: int) -> Pdu:
    """The PDU of a whole `frame`, as its row says. Raises PduError with the status of the wrong field."""
    construct: Callable[..., Pdu] = pdu_class
    if len(frame) == HEADER_OCTETS and pdu_class.command_id & RESPONSE_BIT:
        return construct(sequence_number, command_status)
    values: list[Any] = []
    offset = HEADER_OCTETS
    try:
        for field in pdu_class.FIELDS:
            value, offset = field.decode(frame, offset)
            values.append(value)
        tlvs = decode_tlv_stream(frame, offset)
    except FieldError as error:
        raise PduError(error.command_status, pdu_class.command_id, sequence_number, error.reason) from error
    return construct(sequence_number, command_status, *values, tlvs)


def encode_body_by_row(pdu: Pdu) -> bytes:
    """The body of `pdu` as its row says. Raises LocalError; asserts that it would be read as `pdu` again."""
    values = [getattr(pdu, field.name) for field in pdu.FIELDS]
    refused = pdu.command_status != CommandStatus.ESME_ROK
    if refused and not pdu.body_when_refused and not any((*values, pdu.tlvs)):
        return b""
    octets = [field.encode(value) for field, value in zip(pdu.FIELDS, values, strict=True)]
    octets.append(encode_tlv_stream(pdu.tlvs))
    body = b"".join(octets)
    # The header is not looked at here, so that any sixteen octets do.
    again = decode_by_row(type(pdu), bytes(HEADER_OCTETS) + body, pdu.command_status, pdu.sequence_number)
    assert again == pdu
    return body


def _encode_unknown_body(pdu: UnknownPdu) -> bytes:
    if pdu.command_id in PDU_CLASSES:
        raise LocalError(f"{command_name(pdu.command_id)} has a struct of its own")
    return pdu.body


# The keys are plain integers (see PDU_CLASSES), as the header gives them.
_DECODERS: dict[int, Callable[[bytes, int, int], Pdu]] = {
    command_id: partial(decode_by_row, pdu_class) for command_id, pdu_class in PDU_CLASSES.items()
}
_DECODERS[SubmitSm.command_id] = codec_fast.decode_submit_sm
_DECODERS[SubmitSmResp.command_id] = codec_fast.decode_submit_sm_resp
_DECODERS[DeliverSm.command_id] = codec_fast.decode_deliver_sm
_DECODERS[DeliverSmResp.command_id] = codec_fast.decode_deliver_sm_resp

_BODY_ENCODERS: dict[type[Pdu], Callable[[Any], bytes]] = {
    **dict.fromkeys(PDU_CLASSES.values(), encode_body_by_row),
    UnknownPdu: _encode_unknown_body,
    SubmitSm: codec_fast.encode_message_body,
    SubmitSmResp: codec_fast.encode_submit_sm_resp_body,
    DeliverSm: codec_fast.encode_message_body,
    DeliverSmResp: codec_fast.encode_deliver_sm_resp_body,
}


def decode(frame: bytes) -> Pdu:
    """The PDU of one whole frame, as a `FrameBuffer` gives it.

    A command_id of neither version gives an UnknownPdu. Raises PduError when the body is not what its row
    says, with the command_status to answer; StreamError when `frame` is not as long as it announces.
    """
    try:
        length, command_id, command_status, sequence_number = _unpack_header(frame)
    except struct_error:
        raise StreamError(f"{len(frame)} octets are no PDU") from None
    if length != len(frame):
        raise StreamError(f"a PDU of {len(frame)} octets announces {length}")
    return decode_body(frame, command_id, command_status, sequence_number)


def decode_body(frame: bytes, command_id: int, command_status: int, sequence_number: int) -> Pdu:
    """`decode` for whoever has unpacked the header already, and knows the length to be right."""
    decoder = _DECODERS.get(command_id)
    if decoder is None:
        return UnknownPdu(sequence_number, command_status, command_id, frame[HEADER_OCTETS:])
    try:
        return decoder(frame, command_status, sequence_number)
    except codec_fast.UNUSUAL:
        pass
    return decode_by_row(PDU_CLASSES[command_id], frame, command_status, sequence_number)


def encode_body(pdu: Pdu) -> bytes:
    """What follows the header. Raises LocalError when a field does not fit: then nothing was encoded."""
    try:
        return _BODY_ENCODERS[type(pdu)](pdu)
    except LocalError:
        raise
    except codec_fast.UNUSUAL:
        pass
    return encode_body_by_row(pdu)


def encode(pdu: Pdu) -> bytes:
    """The whole frame of `pdu`. Raises LocalError when a field or the whole does not fit."""
    body = encode_body(pdu)
    length = HEADER_OCTETS + len(body)
    if length > FRAME_LENGTH_MAX:
        raise LocalError(f"a PDU of {length} octets, at most {FRAME_LENGTH_MAX} fit")
    try:
        return _pack_header(length, pdu.command_id, pdu.command_status, pdu.sequence_number) + body
    except struct_error:
        raise LocalError("command_id, command_status or sequence_number is no number of 32 bits") from None


REFUSAL_BODIES: dict[int, bytes] = {
    command_id: encode_body(pdu_class(command_status=CommandStatus.ESME_RSYSERR))
    for command_id, pdu_class in PDU_CLASSES.items()
    if command_id & RESPONSE_BIT
}
"""command_id of a response to the body that goes with an error: none for submit_sm_resp and the binds', a NUL
for deliver_sm_resp, and so on. Strict peers refuse a deliver_sm_resp without its message_id (SMPP 3.4
§4.6.2)."""
