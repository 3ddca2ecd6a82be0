"""TLVs (3.4: optional parameters): the stream at the end of a PDU, and what each tag holds.

Decoding a PDU splits the stream and nothing more: unknown tags, tags in a PDU that should not have them, and
values of a wrong length are kept as they are, so that a relay passes on what it got and no message is refused
over a TLV that nobody reads. Whoever needs a value asks for it (`Pdu.tlv_integer`, `Pdu.tlv_octets`), and
only then a wrong length is an error.
"""

from enum import Enum
from struct import Struct
from typing import NamedTuple

from protocol.smpp.codes import CommandId, CommandStatus, TlvTag, tlv_name
from protocol.smpp.errors import FieldError, LocalError
from protocol.smpp.limits import TLV_HEADER_OCTETS, TLV_VALUE_OCTETS

_HEADER = Struct(">HH")
assert _HEADER.size == TLV_HEADER_OCTETS


class TlvKind(Enum):
    """How the octets of a value are read."""

    INTEGER = "unsigned, big-endian"
    C_STRING = "ends with a NUL, which is no part of the value"
    OCTETS = "as they are"


class TlvRow(NamedTuple):
    """One tag: name, kind, the lengths allowed (NUL included) and the PDUs that list it (either version)."""

    name: str
    kind: TlvKind
    octets_min: int
    octets_max: int
    pdus: frozenset[CommandId]


_BIND_RESP = {CommandId.BIND_RECEIVER_RESP, CommandId.BIND_TRANSMITTER_RESP, CommandId.BIND_TRANSCEIVER_RESP}
_SUBMIT = {CommandId.SUBMIT_SM, CommandId.SUBMIT_MULTI}
_DATA = {CommandId.DATA_SM}
_DELIVER = {CommandId.DELIVER_SM}
_ALERT = {CommandId.ALERT_NOTIFICATION}
_REPLACE = {CommandId.REPLACE_SM}
_SUBMIT_RESP = {CommandId.SUBMIT_SM_RESP, CommandId.SUBMIT_MULTI_RESP, CommandId.DATA_SM_RESP}
_DELIVER_RESP = {CommandId.DELIVER_SM_RESP, CommandId.DATA_SM_RESP}
_BROADCAST = {CommandId.BROADCAST_SM}
_BROADCAST_RESP = {CommandId.BROADCAST_SM_RESP}
_BROADCAST_QUERY = {CommandId.QUERY_BROADCAST_SM}
_BROADCAST_QUERY_RESP = {CommandId.QUERY_BROADCAST_SM_RESP}
_BROADCAST_CANCEL = {CommandId.CANCEL_BROADCAST_SM}
_OUT = _SUBMIT | _DATA
_BOTH_WAYS = _OUT | _DELIVER
# Any response may say how busy its sender is (SMPP 5.0 §4.8.4.18).
_EVERY_RESP = {command_id for command_id in CommandId if command_id.name.endswith("_RESP")}


def _row(tag: TlvTag, kind: TlvKind, octets: tuple[int, int], pdus: set[CommandId]) -> tuple[int, TlvRow]:
    return int(tag), TlvRow(tlv_name(tag), kind, *octets, frozenset(pdus))


_1, _2, _4 = (1, 1), (2, 2), (4, 4)
_INT, _C, _RAW = TlvKind.INTEGER, TlvKind.C_STRING, TlvKind.OCTETS

# Lengths: SMPP 3.4 §5.3.2 and 5.0 §4.8.4; where the versions differ, from the smaller to the larger.
TLVS: dict[int, TlvRow] = dict(
    (
        _row(TlvTag.DEST_ADDR_SUBUNIT, _INT, _1, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.DEST_NETWORK_TYPE, _INT, _1, _OUT),
        _row(TlvTag.DEST_BEARER_TYPE, _INT, _1, _OUT),
        _row(TlvTag.DEST_TELEMATICS_ID, _INT, _2, _OUT),
        _row(TlvTag.SOURCE_ADDR_SUBUNIT, _INT, _1, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.SOURCE_NETWORK_TYPE, _INT, _1, _OUT),
        _row(TlvTag.SOURCE_BEARER_TYPE, _INT, _1, _OUT),
        # One octet by the specification, two where a codec made it like dest_telematics_id.
        _row(TlvTag.SOURCE_TELEMATICS_ID, _INT, (1, 2), _OUT),
        _row(TlvTag.QOS_TIME_TO_LIVE, _INT, _4, _OUT),
        _row(TlvTag.PAYLOAD_TYPE, _INT, _1, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.ADDITIONAL_STATUS_INFO_TEXT, _C, (1, 256), _SUBMIT_RESP | _DELIVER_RESP),
        _row(TlvTag.RECEIPTED_MESSAGE_ID, _C, (1, 65), _DELIVER | _DATA),
        _row(TlvTag.MS_MSG_WAIT_FACILITIES, _INT, _1, _OUT),
        _row(TlvTag.PRIVACY_INDICATOR, _INT, _1, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.SOURCE_SUBADDRESS, _RAW, (2, 23), _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.DEST_SUBADDRESS, _RAW, (2, 23), _BOTH_WAYS | _BROADCAST),
        _row(
            TlvTag.USER_MESSAGE_REFERENCE,
            _INT,
            _2,
            _BOTH_WAYS | _BROADCAST | _BROADCAST_QUERY | _BROADCAST_QUERY_RESP | _BROADCAST_CANCEL,
        ),
        _row(TlvTag.USER_RESPONSE_CODE, _INT, _1, _BOTH_WAYS),
        _row(TlvTag.SOURCE_PORT, _INT, _2, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.DEST_PORT, _INT, _2, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.SAR_MSG_REF_NUM, _INT, _2, _BOTH_WAYS),
        _row(TlvTag.LANGUAGE_INDICATOR, _INT, _1, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.SAR_TOTAL_SEGMENTS, _INT, _1, _BOTH_WAYS),
        _row(TlvTag.SAR_SEGMENT_SEQNUM, _INT, _1, _BOTH_WAYS),
        _row(TlvTag.SC_INTERFACE_VERSION, _INT, _1, _BIND_RESP),
        _row(TlvTag.CALLBACK_NUM_PRES_IND, _INT, _1, _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.CALLBACK_NUM_ATAG, _RAW, (0, 65), _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.NUMBER_OF_MESSAGES, _INT, _1, _OUT),
        _row(TlvTag.CALLBACK_NUM, _RAW, (4, 19), _BOTH_WAYS | _BROADCAST),
        _row(TlvTag.DPF_RESULT, _INT, _1, _DELIVER | _SUBMIT_RESP),
        _row(TlvTag.SET_DPF, _INT, _1, _OUT),
        _row(TlvTag.MS_AVAILABILITY_STATUS, _INT, _1, _ALERT),
        _row(TlvTag.NETWORK_ERROR_CODE, _RAW, (3, 3), _DELIVER | _DATA | _SUBMIT_RESP | _DELIVER_RESP),
        _row(
            TlvTag.MESSAGE_PAYLOAD,
            _RAW,
            (0, TLV_VALUE_OCTETS),
            _BOTH_WAYS | _REPLACE | _BROADCAST,
        ),
        _row(TlvTag.DELIVERY_FAILURE_REASON, _INT, _1, _SUBMIT_RESP | _DELIVER_RESP),
        _row(TlvTag.MORE_MESSAGES_TO_SEND, _INT, _1, _OUT),
        _row(TlvTag.MESSAGE_STATE, _INT, _1, _DELIVER | _DATA | _BROADCAST_QUERY_RESP),
        _row(TlvTag.CONGESTION_STATE, _INT, _1, _EVERY_RESP),
        _row(TlvTag.USSD_SERVICE_OP, _INT, _1, _SUBMIT | _DELIVER),
        _row(TlvTag.BROADCAST_CHANNEL_INDICATOR, _INT, _1, _BROADCAST),
        _row(TlvTag.BROADCAST_CONTENT_TYPE, _RAW, (3, 3), _BROADCAST | _BROADCAST_CANCEL),
        _row(TlvTag.BROADCAST_CONTENT_TYPE_INFO, _RAW, (1, 255), _BROADCAST),
        _row(TlvTag.BROADCAST_MESSAGE_CLASS, _INT, _1, _BROADCAST),
        _row(TlvTag.BROADCAST_REP_NUM, _INT, _2, _BROADCAST),
        _row(TlvTag.BROADCAST_FREQUENCY_INTERVAL, _RAW, (3, 3), _BROADCAST),
        # A format octet and at most 100 octets of area (SMPP 5.0 §4.8.4.4.1).
        _row(
            TlvTag.BROADCAST_AREA_IDENTIFIER,
            _RAW,
            (1, 101),
            _BROADCAST | _BROADCAST_RESP | _BROADCAST_QUERY_RESP,
        ),
        _row(TlvTag.BROADCAST_ERROR_STATUS, _INT, _4, _BROADCAST_RESP),
        _row(TlvTag.BROADCAST_AREA_SUCCESS, _INT, _1, _BROADCAST_QUERY_RESP),
        # A time is 16 characters and a NUL (§4.7.23.4), but §4.8.4.9 gives it 16 octets.
        _row(TlvTag.BROADCAST_END_TIME, _RAW, (16, 17), _BROADCAST_QUERY_RESP),
        _row(TlvTag.BROADCAST_SERVICE_GROUP, _RAW, (1, 255), _BROADCAST),
        _row(TlvTag.BILLING_IDENTIFICATION, _RAW, (1, 1024), _OUT),
        _row(TlvTag.SOURCE_NETWORK_ID, _C, (7, 65), _BOTH_WAYS),
        _row(TlvTag.DEST_NETWORK_ID, _C, (7, 65), _BOTH_WAYS),
        _row(TlvTag.SOURCE_NODE_ID, _RAW, (6, 6), _BOTH_WAYS),
        _row(TlvTag.DEST_NODE_ID, _RAW, (6, 6), _BOTH_WAYS),
        _row(TlvTag.DEST_ADDR_NP_RESOLUTION, _INT, _1, _BOTH_WAYS),
        _row(TlvTag.DEST_ADDR_NP_INFORMATION, _RAW, (10, 10), _BOTH_WAYS),
        _row(TlvTag.DEST_ADDR_NP_COUNTRY, _RAW, (1, 5), _BOTH_WAYS),
        _row(TlvTag.DISPLAY_TIME, _INT, _1, _OUT | _BROADCAST),
        _row(TlvTag.SMS_SIGNAL, _INT, _2, _OUT | _BROADCAST),
        # One octet in 3.4; in 5.0 a behaviour, and with the last of them a unit and a count.
        _row(TlvTag.MS_VALIDITY, _RAW, (1, 4), _OUT | _BROADCAST),
        # Its presence is the message in 3.4; 5.0 adds an octet that may say how.
        _row(TlvTag.ALERT_ON_MESSAGE_DELIVERY, _RAW, (0, 1), _OUT | _BROADCAST),
        _row(TlvTag.ITS_REPLY_TYPE, _INT, _1, _BOTH_WAYS),
        _row(TlvTag.ITS_SESSION_INFO, _RAW, (2, 2), _BOTH_WAYS),
    )
)
"""Tag to row, for every TLV of both versions."""

assert TLVS.keys() == {int(tag) for tag in TlvTag}


def decode_tlv_stream(frame: bytes, offset: int) -> tuple[tuple[int, bytes], ...]:
    """Split `frame` from `offset` to its end into (tag, value octets), in order.

    Raises FieldError with ESME_RINVTLVSTREAM when the octets are no whole number of TLVs (SMPP 5.0 §4.7.6).
    """
    end = len(frame)
    tlvs: list[tuple[int, bytes]] = []
    while offset < end:
        if end - offset < TLV_HEADER_OCTETS:
            raise FieldError(CommandStatus.ESME_RINVTLVSTREAM, f"{end - offset} octets left, no TLV fits")
        tag, length = _HEADER.unpack_from(frame, offset)
        offset += TLV_HEADER_OCTETS
        if length > end - offset:
            raise FieldError(
                CommandStatus.ESME_RINVTLVSTREAM,
                f"{tlv_name(tag)} announces {length} octets, {end - offset} follow",
            )
        tlvs.append((tag, frame[offset : offset + length]))
        offset += length
    return tuple(tlvs)


def encode_tlv_stream(tlvs: tuple[tuple[int, bytes], ...]) -> bytes:
    """The octets of all `tlvs`. Values are written as they are. Raises LocalError."""
    octets: list[bytes] = []
    for tag, value in tlvs:
        if not 0 <= tag <= 0xFFFF:
            raise LocalError(f"a TLV tag is {tag}, allowed are 16 bits")
        if len(value) > TLV_VALUE_OCTETS:
            raise LocalError(f"{tlv_name(tag)} has {len(value)} octets, at most {TLV_VALUE_OCTETS} fit")
        octets += (_HEADER.pack(tag, len(value)), value)
    return b"".join(octets)


def decode_tlv_value(tag: int, value: bytes) -> int | bytes:
    """What the octets of a TLV mean: a number for an INTEGER tag, else octets; those of an unknown tag as is.

    A C-octet string ends at its first NUL; many peers leave the NUL out, and that is read as if it were
    there. Raises FieldError with ESME_RINVTLVLEN for a length that the tag's row does not allow.
    """
    row = TLVS.get(tag)
    if row is None:
        return value
    if row.kind is TlvKind.C_STRING:
        text, _, _ = value.partition(b"\0")
        if not row.octets_min <= len(text) + 1 <= row.octets_max:
            raise FieldError(CommandStatus.ESME_RINVTLVLEN, f"{row.name} has {len(value)} octets")
        return text
    if not row.octets_min <= len(value) <= row.octets_max:
        raise FieldError(CommandStatus.ESME_RINVTLVLEN, f"{row.name} has {len(value)} octets")
    return int.from_bytes(value, "big") if row.kind is TlvKind.INTEGER else value


def encode_tlv_value(tag: int, value: int | bytes) -> bytes:
    """The octets of a TLV; for a known tag `decode_tlv_value` gives `value` back.

    An integer takes the fewest octets that its row allows and that hold it; a C-octet string gets its NUL.
    Raises LocalError for a value that the row does not allow, and for an integer under an unknown tag.
    """
    row = TLVS.get(tag)
    if row is None:
        if isinstance(value, int):
            raise LocalError(f"{tlv_name(tag)} has no row that says how many octets an integer takes")
        return value
    if isinstance(value, int):
        if row.kind is not TlvKind.INTEGER:
            raise LocalError(f"{row.name} takes octets, not an integer")
        octets = max(row.octets_min, (value.bit_length() + 7) // 8)
        if value < 0 or octets > row.octets_max:
            raise LocalError(f"{row.name} is {value}, which {row.octets_max} octets cannot hold")
        return value.to_bytes(octets, "big")
    if row.kind is TlvKind.INTEGER:
        raise LocalError(f"{row.name} takes an integer, not octets")
    if row.kind is TlvKind.C_STRING:
        if 0 in value:
            raise LocalError(f"{row.name} contains a NUL")
        value += b"\0"
    if not row.octets_min <= len(value) <= row.octets_max:
        bounds = f"{row.octets_min} to {row.octets_max}"
        raise LocalError(f"{row.name} has {len(value)} octets, allowed are {bounds}")
    return value
