"""One struct and one row for each PDU of SMPP 3.4 and 5.0.

The row, `FIELDS`, lists the mandatory fields in the order of the wire; decoder and encoder walk it, so a new
PDU is a struct and a row. Attributes are the specification's names, as plain `int` and `bytes`. Lengths and
counts (sm_length, number_of_dests, no_unsuccess) are no attributes: the codec derives them.

Every PDU keeps the TLVs it came with, in order, as (tag, value octets), also those that its specification
does not list: a relay that dropped them would decide for the two ends. What a value means is in `tlv`.

`repr` names passwords, addresses, texts and TLV values by their length only, so that a PDU may be logged.
"""

from typing import ClassVar

import msgspec

from protocol.smpp import fields as f
from protocol.smpp.codes import INTERFACE_VERSION_3_4, RESPONSE_BIT, CommandId, command_name, tlv_name
from protocol.smpp.errors import FieldError, PduError

# Named again: these three are parts of the structs here, and whoever fills a struct looks for them beside it.
from protocol.smpp.fields import DistributionList as DistributionList
from protocol.smpp.fields import Field
from protocol.smpp.fields import SmeAddress as SmeAddress
from protocol.smpp.fields import UnsuccessfulDelivery as UnsuccessfulDelivery
from protocol.smpp.tlv import decode_tlv_value

Tlvs = tuple[tuple[int, bytes], ...]
"""(tag, value) in the order of the wire; a tag may come twice (broadcast_area_identifier does)."""


class Pdu(msgspec.Struct, gc=False):
    """What all PDUs have. `command_status` of a request means nothing, and is kept."""

    command_id: ClassVar[int]
    FIELDS: ClassVar[tuple[Field, ...]] = ()
    body_when_refused: ClassVar[bool] = True
    """False for a response whose body is left out when its status is no ESME_ROK."""

    sequence_number: int = 0
    command_status: int = 0

    @property
    def tlvs(self) -> Tlvs:
        """The optional parameters; a struct with such an attribute overrides this."""
        return ()

    @property
    def is_response(self) -> bool:
        """True also for generic_nack."""
        return bool(self.command_id & RESPONSE_BIT)

    def tlv(self, tag: int) -> bytes | None:
        """The octets of the first TLV with that tag, as they came, or None."""
        for number, value in self.tlvs:
            if number == tag:
                return value
        return None

    def tlv_integer(self, tag: int) -> int | None:
        """The first TLV with that tag as a number, or None where there is none.

        A PDU is decoded whatever its TLVs contain; here, where the value is needed, one of a length that its
        specification does not allow raises PduError with ESME_RINVTLVLEN. The tag must be one of an integer.
        """
        value = self._tlv_value(tag)
        assert value is None or isinstance(value, int), f"{tlv_name(tag)} is no integer"
        return value

    def tlv_octets(self, tag: int) -> bytes | None:
        """As `tlv_integer`, for a tag of octets or of a C-octet string, which loses its NUL."""
        value = self._tlv_value(tag)
        assert value is None or isinstance(value, bytes), f"{tlv_name(tag)} is an integer"
        return value

    def _tlv_value(self, tag: int) -> int | bytes | None:
        octets = self.tlv(tag)
        if octets is None:
            return None
        try:
            return decode_tlv_value(tag, octets)
        except FieldError as error:
            raise PduError(
                error.command_status, self.command_id, self.sequence_number, error.reason
            ) from error

    def __repr__(self) -> str:
        private = {field.name for field in self.FIELDS if field.private} | {"body"}
        shown = [f"sequence_number={self.sequence_number}", f"command_status=0x{self.command_status:08x}"]
        for name in self.__struct_fields__[2:]:
            value = getattr(self, name)
            if name == "tlvs":
                shown += (f"{tlv_name(tag)}=<{len(octets)}>" for tag, octets in self.tlvs)
            elif name in private:
                shown.append(f"{name}=<{len(value)}>")
            else:
                shown.append(f"{name}={value!r}")
        return f"{command_name(self.command_id)}({', '.join(shown)})"


class UnknownPdu(Pdu, gc=False):
    """A PDU of a command_id that neither version has; its body is kept as it came, 0 to 65,520 octets."""

    # Here the number belongs to the PDU, everywhere else to its class.
    command_id: int = 0  # type: ignore[misc]
    body: bytes = b""


# --- the session --------------------------------------------------------------------------------------------


class _Bind(Pdu, gc=False):
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SYSTEM_ID,
        f.PASSWORD,
        f.SYSTEM_TYPE,
        f.INTERFACE_VERSION,
        f.ADDR_TON,
        f.ADDR_NPI,
        f.ADDRESS_RANGE,
    )

    system_id: bytes = b""
    password: bytes = b""
    system_type: bytes = b""
    interface_version: int = INTERFACE_VERSION_3_4
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: bytes = b""
    tlvs: Tlvs = ()


class BindReceiver(_Bind, gc=False):
    """SMPP 3.4 §4.1.3."""

    command_id: ClassVar[int] = CommandId.BIND_RECEIVER


class BindTransmitter(_Bind, gc=False):
    """SMPP 3.4 §4.1.1."""

    command_id: ClassVar[int] = CommandId.BIND_TRANSMITTER


class BindTransceiver(_Bind, gc=False):
    """SMPP 3.4 §4.1.5."""

    command_id: ClassVar[int] = CommandId.BIND_TRANSCEIVER


class _BindResp(Pdu, gc=False):
    FIELDS: ClassVar[tuple[Field, ...]] = (f.SYSTEM_ID,)
    body_when_refused: ClassVar[bool] = False  # SMPP 3.4 §4.1.2, 4.1.4, 4.1.6

    system_id: bytes = b""
    tlvs: Tlvs = ()


class BindReceiverResp(_BindResp, gc=False):
    """SMPP 3.4 §4.1.4."""

    command_id: ClassVar[int] = CommandId.BIND_RECEIVER_RESP


class BindTransmitterResp(_BindResp, gc=False):
    """SMPP 3.4 §4.1.2."""

    command_id: ClassVar[int] = CommandId.BIND_TRANSMITTER_RESP


class BindTransceiverResp(_BindResp, gc=False):
    """SMPP 3.4 §4.1.6."""

    command_id: ClassVar[int] = CommandId.BIND_TRANSCEIVER_RESP


class Outbind(Pdu, gc=False):
    """SMPP 3.4 §4.1.7. Has no response."""

    command_id: ClassVar[int] = CommandId.OUTBIND
    FIELDS: ClassVar[tuple[Field, ...]] = (f.SYSTEM_ID, f.PASSWORD)

    system_id: bytes = b""
    password: bytes = b""
    tlvs: Tlvs = ()


class _HeaderOnly(Pdu, gc=False):
    tlvs: Tlvs = ()


class Unbind(_HeaderOnly, gc=False):
    """SMPP 3.4 §4.2.1."""

    command_id: ClassVar[int] = CommandId.UNBIND


class UnbindResp(_HeaderOnly, gc=False):
    """SMPP 3.4 §4.2.2."""

    command_id: ClassVar[int] = CommandId.UNBIND_RESP


class EnquireLink(_HeaderOnly, gc=False):
    """SMPP 3.4 §4.11.1."""

    command_id: ClassVar[int] = CommandId.ENQUIRE_LINK


class EnquireLinkResp(_HeaderOnly, gc=False):
    """SMPP 3.4 §4.11.2."""

    command_id: ClassVar[int] = CommandId.ENQUIRE_LINK_RESP


class GenericNack(_HeaderOnly, gc=False):
    """SMPP 3.4 §4.3.1. Answers the request with its sequence_number, or 0 where that was unreadable."""

    command_id: ClassVar[int] = CommandId.GENERIC_NACK


class AlertNotification(Pdu, gc=False):
    """SMPP 3.4 §4.12.1. Has no response."""

    command_id: ClassVar[int] = CommandId.ALERT_NOTIFICATION
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.LONG_SOURCE_ADDR,
        f.ESME_ADDR_TON,
        f.ESME_ADDR_NPI,
        f.ESME_ADDR,
    )

    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    esme_addr_ton: int = 0
    esme_addr_npi: int = 0
    esme_addr: bytes = b""
    tlvs: Tlvs = ()


# --- messages -----------------------------------------------------------------------------------------------


class _Message(Pdu, gc=False):
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SERVICE_TYPE,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.SOURCE_ADDR,
        f.DEST_ADDR_TON,
        f.DEST_ADDR_NPI,
        f.DESTINATION_ADDR,
        f.ESM_CLASS,
        f.PROTOCOL_ID,
        f.PRIORITY_FLAG,
        f.SCHEDULE_DELIVERY_TIME,
        f.VALIDITY_PERIOD,
        f.REGISTERED_DELIVERY,
        f.REPLACE_IF_PRESENT_FLAG,
        f.DATA_CODING,
        f.SM_DEFAULT_MSG_ID,
        f.SHORT_MESSAGE,
    )

    service_type: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: bytes = b""
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: bytes = b""
    validity_period: bytes = b""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Tlvs = ()


class SubmitSm(_Message, gc=False):
    """SMPP 3.4 §4.4.1. Decoded and encoded by hand in `codec_fast`, beside this row and equal to it."""

    command_id: ClassVar[int] = CommandId.SUBMIT_SM


class DeliverSm(_Message, gc=False):
    """SMPP 3.4 §4.6.1. Decoded and encoded by hand in `codec_fast`, beside this row and equal to it."""

    command_id: ClassVar[int] = CommandId.DELIVER_SM


class _MessageId(Pdu, gc=False):
    FIELDS: ClassVar[tuple[Field, ...]] = (f.MESSAGE_ID,)

    message_id: bytes = b""
    tlvs: Tlvs = ()


class SubmitSmResp(_MessageId, gc=False):
    """SMPP 3.4 §4.4.2, which leaves the body out when the status is an error."""

    command_id: ClassVar[int] = CommandId.SUBMIT_SM_RESP
    body_when_refused: ClassVar[bool] = False


class DeliverSmResp(_MessageId, gc=False):
    """SMPP 3.4 §4.6.2: message_id is unused, a lone NUL, whatever the status."""

    command_id: ClassVar[int] = CommandId.DELIVER_SM_RESP


class SubmitMulti(Pdu, gc=False):
    """SMPP 3.4 §4.5.1. 1 to 255 destinations, addresses and distribution lists mixed."""

    command_id: ClassVar[int] = CommandId.SUBMIT_MULTI
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SERVICE_TYPE,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.SOURCE_ADDR,
        f.DEST_ADDRESS,
        f.ESM_CLASS,
        f.PROTOCOL_ID,
        f.PRIORITY_FLAG,
        f.SCHEDULE_DELIVERY_TIME,
        f.VALIDITY_PERIOD,
        f.REGISTERED_DELIVERY,
        f.REPLACE_IF_PRESENT_FLAG,
        f.DATA_CODING,
        f.SM_DEFAULT_MSG_ID,
        f.SHORT_MESSAGE,
    )

    service_type: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    dest_address: tuple[SmeAddress | DistributionList, ...] = ()
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: bytes = b""
    validity_period: bytes = b""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Tlvs = ()


class SubmitMultiResp(Pdu, gc=False):
    """SMPP 3.4 §4.5.2."""

    command_id: ClassVar[int] = CommandId.SUBMIT_MULTI_RESP
    FIELDS: ClassVar[tuple[Field, ...]] = (f.MESSAGE_ID, f.UNSUCCESS_SME)

    message_id: bytes = b""
    unsuccess_sme: tuple[UnsuccessfulDelivery, ...] = ()
    tlvs: Tlvs = ()


class DataSm(Pdu, gc=False):
    """SMPP 3.4 §4.7.1. Its text is the TLV message_payload."""

    command_id: ClassVar[int] = CommandId.DATA_SM
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SERVICE_TYPE,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.LONG_SOURCE_ADDR,
        f.DEST_ADDR_TON,
        f.DEST_ADDR_NPI,
        f.LONG_DESTINATION_ADDR,
        f.ESM_CLASS,
        f.REGISTERED_DELIVERY,
        f.DATA_CODING,
    )

    service_type: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: bytes = b""
    esm_class: int = 0
    registered_delivery: int = 0
    data_coding: int = 0
    tlvs: Tlvs = ()


class DataSmResp(_MessageId, gc=False):
    """SMPP 3.4 §4.7.2."""

    command_id: ClassVar[int] = CommandId.DATA_SM_RESP


# --- messages already submitted -----------------------------------------------------------------------------


class QuerySm(Pdu, gc=False):
    """SMPP 3.4 §4.8.1."""

    command_id: ClassVar[int] = CommandId.QUERY_SM
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.MESSAGE_ID,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.SOURCE_ADDR,
    )

    message_id: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    tlvs: Tlvs = ()


class QuerySmResp(Pdu, gc=False):
    """SMPP 3.4 §4.8.2."""

    command_id: ClassVar[int] = CommandId.QUERY_SM_RESP
    FIELDS: ClassVar[tuple[Field, ...]] = (f.MESSAGE_ID, f.FINAL_DATE, f.MESSAGE_STATE, f.ERROR_CODE)

    message_id: bytes = b""
    final_date: bytes = b""
    message_state: int = 0
    error_code: int = 0
    tlvs: Tlvs = ()


class CancelSm(Pdu, gc=False):
    """SMPP 3.4 §4.9.1. Without a message_id: every message of that service, source and destination."""

    command_id: ClassVar[int] = CommandId.CANCEL_SM
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SERVICE_TYPE,
        f.MESSAGE_ID,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.SOURCE_ADDR,
        f.DEST_ADDR_TON,
        f.DEST_ADDR_NPI,
        f.DESTINATION_ADDR,
    )

    service_type: bytes = b""
    message_id: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: bytes = b""
    tlvs: Tlvs = ()


class CancelSmResp(_HeaderOnly, gc=False):
    """SMPP 3.4 §4.9.2."""

    command_id: ClassVar[int] = CommandId.CANCEL_SM_RESP


class ReplaceSm(Pdu, gc=False):
    """SMPP 3.4 §4.10.1."""

    command_id: ClassVar[int] = CommandId.REPLACE_SM
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.MESSAGE_ID,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.SOURCE_ADDR,
        f.SCHEDULE_DELIVERY_TIME,
        f.VALIDITY_PERIOD,
        f.REGISTERED_DELIVERY,
        f.SM_DEFAULT_MSG_ID,
        f.SHORT_MESSAGE,
    )

    message_id: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    schedule_delivery_time: bytes = b""
    validity_period: bytes = b""
    registered_delivery: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Tlvs = ()


class ReplaceSmResp(_HeaderOnly, gc=False):
    """SMPP 3.4 §4.10.2."""

    command_id: ClassVar[int] = CommandId.REPLACE_SM_RESP


# --- broadcast, SMPP 5.0 only -------------------------------------------------------------------------------


class BroadcastSm(Pdu, gc=False):
    """SMPP 5.0 §4.4.1. Area, content type, repetitions and interval are TLVs."""

    command_id: ClassVar[int] = CommandId.BROADCAST_SM
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SERVICE_TYPE,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.SOURCE_ADDR,
        f.MESSAGE_ID,
        f.PRIORITY_FLAG,
        f.SCHEDULE_DELIVERY_TIME,
        f.VALIDITY_PERIOD,
        f.REPLACE_IF_PRESENT_FLAG,
        f.DATA_CODING,
        f.SM_DEFAULT_MSG_ID,
    )

    service_type: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    message_id: bytes = b""
    priority_flag: int = 0
    schedule_delivery_time: bytes = b""
    validity_period: bytes = b""
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    tlvs: Tlvs = ()


class BroadcastSmResp(_MessageId, gc=False):
    """SMPP 5.0 §4.4.1."""

    command_id: ClassVar[int] = CommandId.BROADCAST_SM_RESP


class QueryBroadcastSm(Pdu, gc=False):
    """SMPP 5.0 §4.6.1."""

    command_id: ClassVar[int] = CommandId.QUERY_BROADCAST_SM
    FIELDS: ClassVar[tuple[Field, ...]] = QuerySm.FIELDS

    message_id: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    tlvs: Tlvs = ()


class QueryBroadcastSmResp(_MessageId, gc=False):
    """SMPP 5.0 §4.6.1."""

    command_id: ClassVar[int] = CommandId.QUERY_BROADCAST_SM_RESP


class CancelBroadcastSm(Pdu, gc=False):
    """SMPP 5.0 §4.6.2."""

    command_id: ClassVar[int] = CommandId.CANCEL_BROADCAST_SM
    FIELDS: ClassVar[tuple[Field, ...]] = (
        f.SERVICE_TYPE,
        f.MESSAGE_ID,
        f.SOURCE_ADDR_TON,
        f.SOURCE_ADDR_NPI,
        f.SOURCE_ADDR,
    )

    service_type: bytes = b""
    message_id: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    tlvs: Tlvs = ()


class CancelBroadcastSmResp(_HeaderOnly, gc=False):
    """SMPP 5.0 §4.6.2."""

    command_id: ClassVar[int] = CommandId.CANCEL_BROADCAST_SM_RESP


_CLASSES: tuple[type[Pdu], ...] = (
    BindReceiver,
    BindReceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    BindTransceiver,
    BindTransceiverResp,
    Outbind,
    Unbind,
    UnbindResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    AlertNotification,
    SubmitSm,
    SubmitSmResp,
    DeliverSm,
    DeliverSmResp,
    SubmitMulti,
    SubmitMultiResp,
    DataSm,
    DataSmResp,
    QuerySm,
    QuerySmResp,
    CancelSm,
    CancelSmResp,
    ReplaceSm,
    ReplaceSmResp,
    BroadcastSm,
    BroadcastSmResp,
    QueryBroadcastSm,
    QueryBroadcastSmResp,
    CancelBroadcastSm,
    CancelBroadcastSmResp,
)
PDU_CLASSES: dict[int, type[Pdu]] = {int(pdu_class.command_id): pdu_class for pdu_class in _CLASSES}
"""command_id to struct, for every PDU of both versions. Plain integers hash and compare fastest."""

assert PDU_CLASSES.keys() == {int(command_id) for command_id in CommandId}
for _pdu_class in _CLASSES:
    _names = ("sequence_number", "command_status", *(field.name for field in _pdu_class.FIELDS), "tlvs")
    assert _pdu_class.__struct_fields__ == _names, f"{_pdu_class.__name__} and its row disagree"
