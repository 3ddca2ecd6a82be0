import pytest

from protocol.smpp.codes import CommandId, CommandStatus, TlvTag
from protocol.smpp.errors import FieldError, LocalError, PduError
from protocol.smpp.pdu import DeliverSm
from protocol.smpp.tlv import (
    TLVS,
    TlvKind,
    decode_tlv_stream,
    decode_tlv_value,
    encode_tlv_stream,
    encode_tlv_value,
)

Tlvs = tuple[tuple[int, bytes], ...]


@pytest.mark.parametrize(
    ("octets", "tlvs"),
    [
        (b"", ()),
        (b"\x14\x01\x00\x00", ((0x1401, b""),)),
        (b"\x04\x26\x00\x01\x01\x04\x26\x00\x01\x00", ((0x0426, b"\x01"), (0x0426, b"\x00"))),
        (b"\x04\x24\x00\x03abc\x02\x04\x00\x02\x00\x01", ((0x0424, b"abc"), (0x0204, b"\x00\x01"))),
        (b"\xff\xff\x00\x01\x00", ((0xFFFF, b"\x00"),)),
    ],
)
def test_stream(octets: bytes, tlvs: Tlvs) -> None:
    assert decode_tlv_stream(b"head" + octets, 4) == tlvs
    assert encode_tlv_stream(tlvs) == octets


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"\x00", "1 octets left, no TLV fits"),
        (b"\x04\x24\x00", "3 octets left, no TLV fits"),
        (b"\x04\x24\x00\x02a", "message_payload announces 2 octets, 1 follow"),
        (b"\x04\x26\x00\x01\x01\x00\x00", "2 octets left, no TLV fits"),
        (b"\x14\x01\xff\xff", "0x1401 announces 65535 octets, 0 follow"),
    ],
)
def test_octets_that_are_no_stream(octets: bytes, reason: str) -> None:
    with pytest.raises(FieldError) as caught:
        decode_tlv_stream(octets, 0)
    assert (caught.value.command_status, caught.value.reason) == (CommandStatus.ESME_RINVTLVSTREAM, reason)


@pytest.mark.parametrize(
    ("tlvs", "reason"),
    [
        (((0x10000, b""),), "a TLV tag is 65536, allowed are 16 bits"),
        (((-1, b""),), "a TLV tag is -1, allowed are 16 bits"),
        (((0x0424, bytes(65536)),), "message_payload has 65536 octets, at most 65535 fit"),
    ],
)
def test_stream_that_is_not_written(tlvs: Tlvs, reason: str) -> None:
    with pytest.raises(LocalError, match=reason):
        encode_tlv_stream(tlvs)


@pytest.mark.parametrize(
    ("tag", "octets", "value"),
    [
        (TlvTag.MESSAGE_STATE, b"\x02", 2),
        (TlvTag.SAR_MSG_REF_NUM, b"\x01\x02", 0x0102),
        (TlvTag.QOS_TIME_TO_LIVE, b"\x00\x00\x0e\x10", 3600),
        (TlvTag.SOURCE_TELEMATICS_ID, b"\x07", 7),
        (TlvTag.SOURCE_TELEMATICS_ID, b"\x01\x07", 263),
        (TlvTag.RECEIPTED_MESSAGE_ID, b"0042\x00", b"0042"),
        (TlvTag.RECEIPTED_MESSAGE_ID, b"\x00", b""),
        (TlvTag.RECEIPTED_MESSAGE_ID, b"7" * 64 + b"\x00", b"7" * 64),
        (TlvTag.NETWORK_ERROR_CODE, b"\x03\x00\x01", b"\x03\x00\x01"),
        (TlvTag.MESSAGE_PAYLOAD, b"", b""),
        (TlvTag.ALERT_ON_MESSAGE_DELIVERY, b"", b""),
        (0x1401, b"any\x00thing", b"any\x00thing"),
    ],
)
def test_value_both_ways(tag: int, octets: bytes, value: int | bytes) -> None:
    assert decode_tlv_value(tag, octets) == value
    assert encode_tlv_value(tag, value) == octets


@pytest.mark.parametrize("octets", [b"0042", b"0042\x00", b"0042\x00\x00", b"0042\x00rest"])
def test_string_with_and_without_its_nul(octets: bytes) -> None:
    assert decode_tlv_value(TlvTag.RECEIPTED_MESSAGE_ID, octets) == b"0042"


@pytest.mark.parametrize(
    ("tag", "octets"),
    [
        (TlvTag.MESSAGE_STATE, b""),
        (TlvTag.MESSAGE_STATE, b"\x00\x02"),
        (TlvTag.SAR_MSG_REF_NUM, b"\x01"),
        (TlvTag.RECEIPTED_MESSAGE_ID, b"7" * 65),
        (TlvTag.NETWORK_ERROR_CODE, b"\x03\x00"),
        (TlvTag.CALLBACK_NUM, b"abc"),
    ],
)
def test_value_of_a_wrong_length(tag: int, octets: bytes) -> None:
    with pytest.raises(FieldError) as caught:
        decode_tlv_value(tag, octets)
    assert caught.value.command_status == CommandStatus.ESME_RINVTLVLEN


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (TlvTag.MESSAGE_STATE, 256, "message_state is 256, which 1 octets cannot hold"),
        (TlvTag.MESSAGE_STATE, -1, "message_state is -1, which 1 octets cannot hold"),
        (TlvTag.MESSAGE_STATE, b"\x01", "message_state takes an integer, not octets"),
        (TlvTag.MESSAGE_PAYLOAD, 1, "message_payload takes octets, not an integer"),
        (TlvTag.RECEIPTED_MESSAGE_ID, b"7" * 65, "receipted_message_id has 66 octets, allowed are 1 to 65"),
        (TlvTag.RECEIPTED_MESSAGE_ID, b"7\x007", "receipted_message_id contains a NUL"),
        (TlvTag.NETWORK_ERROR_CODE, b"\x03", "network_error_code has 1 octets, allowed are 3 to 3"),
        (0x1401, 1, "0x1401 has no row that says how many octets an integer takes"),
    ],
)
def test_value_that_is_not_written(tag: int, value: int | bytes, reason: str) -> None:
    with pytest.raises(LocalError, match=reason):
        encode_tlv_value(tag, value)


def test_rows_agree_with_themselves() -> None:
    for row in TLVS.values():
        assert 0 <= row.octets_min <= row.octets_max <= 65535, row
        assert row.pdus, row
        assert row.kind is not TlvKind.INTEGER or row.octets_max <= 4, row


def test_where_the_specification_lists_a_tag() -> None:
    assert TLVS[TlvTag.SC_INTERFACE_VERSION].pdus == {
        CommandId.BIND_RECEIVER_RESP,
        CommandId.BIND_TRANSMITTER_RESP,
        CommandId.BIND_TRANSCEIVER_RESP,
    }
    assert TLVS[TlvTag.RECEIPTED_MESSAGE_ID].pdus == {CommandId.DELIVER_SM, CommandId.DATA_SM}
    assert CommandId.SUBMIT_SM_RESP in TLVS[TlvTag.CONGESTION_STATE].pdus


RECEIPT = DeliverSm(
    5,
    tlvs=(
        (TlvTag.RECEIPTED_MESSAGE_ID, b"7\x00"),
        (TlvTag.MESSAGE_STATE, b"\x02"),
        (TlvTag.MESSAGE_STATE, b"\x05"),
        (TlvTag.SAR_MSG_REF_NUM, b"\x01"),
    ),
)


def test_typed_access_takes_the_first_of_a_tag() -> None:
    assert RECEIPT.tlv(TlvTag.RECEIPTED_MESSAGE_ID) == b"7\x00"
    assert RECEIPT.tlv_octets(TlvTag.RECEIPTED_MESSAGE_ID) == b"7"
    assert RECEIPT.tlv_integer(TlvTag.MESSAGE_STATE) == 2
    assert RECEIPT.tlv(TlvTag.USER_RESPONSE_CODE) is None
    assert RECEIPT.tlv_integer(TlvTag.USER_RESPONSE_CODE) is None


def test_a_wrong_length_is_an_error_only_where_the_value_is_needed() -> None:
    assert RECEIPT.tlv(TlvTag.SAR_MSG_REF_NUM) == b"\x01"
    with pytest.raises(PduError) as caught:
        RECEIPT.tlv_integer(TlvTag.SAR_MSG_REF_NUM)
    assert caught.value.args == (
        CommandStatus.ESME_RINVTLVLEN,
        CommandId.DELIVER_SM,
        5,
        "sar_msg_ref_num has 1 octets",
    )


def test_asking_for_the_wrong_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="receipted_message_id is no integer"):
        RECEIPT.tlv_integer(TlvTag.RECEIPTED_MESSAGE_ID)
    with pytest.raises(AssertionError, match="message_state is an integer"):
        RECEIPT.tlv_octets(TlvTag.MESSAGE_STATE)
