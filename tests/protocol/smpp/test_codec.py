"""The codec by its table: golden octets, what each wrong field is answered with, and what is tolerated."""

import msgspec
import pytest
from hypothesis import given, settings

from protocol.smpp.codec import HEADER, REFUSAL_BODIES, decode, encode, encode_body
from protocol.smpp.codes import RESPONSE_BIT, CommandId, CommandStatus
from protocol.smpp.errors import LocalError, PduError, StreamError
from protocol.smpp.fields import DistributionList, SmeAddress, UnsuccessfulDelivery
from protocol.smpp.pdu import (
    PDU_CLASSES,
    BindReceiver,
    BindTransceiver,
    BindTransceiverResp,
    BroadcastSm,
    CancelSm,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    Outbind,
    Pdu,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    UnknownPdu,
)
from tests.protocol.smpp.pdus import pdus, shown
from tests.vectors.smpp_pdus import VECTORS, Vector, octets


def framed(command_id: int, body: bytes, command_status: int = 0, sequence_number: int = 7) -> bytes:
    return HEADER.pack(16 + len(body), command_id, command_status, sequence_number) + body


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_golden_octets(vector: Vector) -> None:
    assert encode(vector.pdu).hex(" ") == vector.frame.hex(" ")
    assert encode_body(vector.pdu) == vector.frame[16:]
    assert shown(decode(vector.frame)) == shown(vector.pdu)


def test_there_is_a_vector_for_every_pdu() -> None:
    assert {vector.pdu.command_id for vector in VECTORS} >= {int(command_id) for command_id in CommandId}
    assert len({vector.name for vector in VECTORS}) == len(VECTORS)


@settings(deadline=None)
@given(pdus)
def test_round_trip(pdu: Pdu) -> None:
    frame = encode(pdu)
    assert int.from_bytes(frame[:4], "big") == len(frame)
    assert shown(decode(frame)) == shown(pdu)


# --- what the peer may do ----------


@pytest.mark.parametrize("command_status", [CommandStatus.ESME_ROK, CommandStatus.ESME_RTHROTTLED, 0x0401])
@pytest.mark.parametrize(
    "pdu_class",
    [pdu_class for command_id, pdu_class in PDU_CLASSES.items() if command_id & RESPONSE_BIT],
    ids=lambda pdu_class: pdu_class.__name__,
)
def test_a_response_may_lack_its_body(pdu_class: type[Pdu], command_status: int) -> None:
    pdu = decode(framed(pdu_class.command_id, b"", command_status))
    assert shown(pdu) == shown(pdu_class(7, command_status))


@pytest.mark.parametrize(
    ("frame", "pdu"),
    [
        (framed(0x04, bytes(17), 0x58, 0xFFFFFFFF), SubmitSm(0xFFFFFFFF, 0x58)),
        (framed(0x15, b"", 0, 0), EnquireLink(0)),
        (framed(0x15, octets("1401 0001 2A")), EnquireLink(7, 0, ((0x1401, b"\x2a"),))),
        (framed(0x04, bytes(17) + octets("0427 0002 0000")), SubmitSm(7, tlvs=((0x0427, b"\0\0"),))),
        (framed(0x04, bytes(16) + b"\xff" + bytes(255)), SubmitSm(7, short_message=bytes(255))),
        (framed(0x09, b"a\0" + b"p" * 64 + bytes(6)), BindTransceiver(7, 0, b"a", b"p" * 64, b"", 0)),
        (framed(0x80000009, b"\0", 0x0E), BindTransceiverResp(7, 0x0E)),
        (framed(0x80000021, b"8\0\0", 0), SubmitMultiResp(7, 0, b"8")),
        (framed(0x0000ABCD, b"\xff", 0x0401), UnknownPdu(7, 0x0401, 0xABCD, b"\xff")),
        (framed(0x8000ABCD, b""), UnknownPdu(7, 0, 0x8000ABCD)),
    ],
)
def test_tolerance(frame: bytes, pdu: Pdu) -> None:
    assert shown(decode(frame)) == shown(pdu)


# --- what the peer is told ----------

MESSAGE_START = b"\0" + b"\0\0\0" + b"\0\0\0" + b"\0\0\0"
"""A submit_sm up to and with priority_flag."""
MULTI_START = b"\0" + b"\0\0\0"
"""A submit_multi up to and with source_addr."""


@pytest.mark.parametrize(
    ("command_id", "body", "command_status", "reason"),
    [
        # A string too long, in the order of its status.
        (0x04, b"C" * 6 + bytes(16), "ESME_RINVSERTYP", "service_type is longer than 5 octets"),
        (0x04, b"\0\0\0" + b"1" * 21 + bytes(20), "ESME_RINVSRCADR", "source_addr is longer than 20 octets"),
        (0x05, b"\0\0\0" + b"1" * 21 + bytes(20), "ESME_RINVSRCADR", "source_addr is longer than 20 octets"),
        (0x103, b"\0\0\0" + b"1" * 65 + bytes(20), "ESME_RINVSRCADR", "source_addr is longer than 64 octets"),
        (
            0x04,
            b"\0" + b"\0\0\0" + b"\0\0" + b"1" * 21 + bytes(20),
            "ESME_RINVDSTADR",
            "destination_addr is longer than 20 octets",
        ),
        (
            0x04,
            MESSAGE_START + b"2" * 17 + bytes(20),
            "ESME_RINVSCHED",
            "schedule_delivery_time is longer than 16 octets",
        ),
        (
            0x04,
            MESSAGE_START + b"\0" + b"2" * 17 + bytes(20),
            "ESME_RINVEXPIRY",
            "validity_period is longer than 16 octets",
        ),
        (0x80000004, b"7" * 65, "ESME_RINVMSGID", "message_id is longer than 64 octets"),
        (0x80000005, b"7" * 66 + b"\0", "ESME_RINVMSGID", "message_id is longer than 64 octets"),
        (0x03, b"7" * 70, "ESME_RINVMSGID", "message_id is longer than 64 octets"),
        (0x01, b"s" * 16, "ESME_RINVSYSID", "system_id is longer than 15 octets"),
        (0x09, b"s\0" + b"p" * 65, "ESME_RINVPASWD", "password is longer than 64 octets"),
        (0x02, b"s\0p\0" + b"t" * 13, "ESME_RINVSYSTYP", "system_type is longer than 12 octets"),
        (0x02, bytes(6) + b"r" * 41, "ESME_RBINDFAIL", "address_range is longer than 40 octets"),
        (0x80000003, b"7\0" + b"2" * 17, "ESME_RINVPARLEN", "final_date is longer than 16 octets"),
        (0x21, MULTI_START + b"\1\2" + b"l" * 21, "ESME_RINVDLNAME", "dl_name is longer than 20 octets"),
        (
            0x21,
            MULTI_START + b"\1\1\0\0" + b"1" * 21,
            "ESME_RINVDSTADR",
            "destination_addr is longer than 20 octets",
        ),
        (0x102, bytes(5) + b"1" * 65, "ESME_RINVDSTADR", "esme_addr is longer than 64 octets"),
        # Counts, flags and lengths.
        (0x21, MULTI_START + b"\0", "ESME_RINVNUMDESTS", "number_of_dests is 0"),
        (0x21, MULTI_START + b"\1\3", "ESME_RINVDESTFLAG", "dest_flag is 3, known are 1 and 2"),
        (0x04, bytes(16) + b"\3ab", "ESME_RINVMSGLEN", "sm_length is 3, but 2 octets follow"),
        (0x07, bytes(8) + b"\1", "ESME_RINVMSGLEN", "sm_length is 1, but 0 octets follow"),
        # Truncated.
        (0x04, b"", "ESME_RINVCMDLEN", "the PDU ends inside service_type"),
        (0x04, b"CMT", "ESME_RINVCMDLEN", "the PDU ends inside service_type"),
        (0x04, b"\0", "ESME_RINVCMDLEN", "the PDU ends before source_addr_ton"),
        (0x04, b"\0\0", "ESME_RINVCMDLEN", "the PDU ends before source_addr_npi"),
        (0x04, b"\0\0\0" + b"1" * 20, "ESME_RINVCMDLEN", "the PDU ends inside source_addr"),
        (0x04, bytes(15), "ESME_RINVCMDLEN", "the PDU ends before sm_default_msg_id"),
        (0x04, bytes(16), "ESME_RINVCMDLEN", "the PDU ends before sm_length"),
        (0x09, b"a\0", "ESME_RINVCMDLEN", "the PDU ends inside password"),
        (0x21, MULTI_START, "ESME_RINVCMDLEN", "the PDU ends before number_of_dests"),
        (0x21, MULTI_START + b"\2\2duty\0", "ESME_RINVCMDLEN", "the PDU ends before a dest_flag"),
        (0x80000021, b"8\0", "ESME_RINVCMDLEN", "the PDU ends before no_unsuccess"),
        (0x80000021, b"8\0\1\0\0\0\0", "ESME_RINVCMDLEN", "the PDU ends inside an error_status_code"),
        (0x80000004, b"7", "ESME_RINVCMDLEN", "the PDU ends inside message_id"),
        # Behind the mandatory part.
        (0x04, bytes(17) + b"\0", "ESME_RINVTLVSTREAM", "1 octets left, no TLV fits"),
        (
            0x04,
            bytes(17) + b"\x04\x24\0\5abc",
            "ESME_RINVTLVSTREAM",
            "message_payload announces 5 octets, 3 follow",
        ),
        (0x80000004, b"7\0\0", "ESME_RINVTLVSTREAM", "1 octets left, no TLV fits"),
        (0x15, b"\0", "ESME_RINVTLVSTREAM", "1 octets left, no TLV fits"),
    ],
)
def test_refusals(command_id: int, body: bytes, command_status: str, reason: str) -> None:
    with pytest.raises(PduError) as caught:
        decode(framed(command_id, body))
    assert caught.value.args == (CommandStatus[command_status], command_id, 7, reason)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_truncated_anywhere(vector: Vector) -> None:
    """Every prefix is refused, or is a PDU with less to say: fewer TLVs, or a response without its body."""
    statuses = set()
    for length in range(16, len(vector.frame)):
        try:
            pdu = decode(framed(vector.pdu.command_id, vector.frame[16:length]))
        except PduError as error:
            statuses.add(error.command_status)
            continue
        assert pdu.tlvs == vector.pdu.tlvs[: len(pdu.tlvs)]
    assert statuses <= {
        CommandStatus.ESME_RINVCMDLEN,
        CommandStatus.ESME_RINVMSGLEN,
        CommandStatus.ESME_RINVTLVSTREAM,
    }


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "0 octets are no PDU"),
        (bytes(15), "15 octets are no PDU"),
        (HEADER.pack(17, 0x15, 0, 1), "a PDU of 16 octets announces 17"),
        (HEADER.pack(16, 0x15, 0, 1) + b"\0", "a PDU of 17 octets announces 16"),
    ],
)
def test_octets_that_are_no_frame(frame: bytes, reason: str) -> None:
    with pytest.raises(StreamError) as caught:
        decode(frame)
    assert caught.value.reason == reason


# --- what our own caller is told ----------


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (SubmitSm(service_type=b"LONGER"), "service_type has 6 octets, at most 5 fit"),
        (SubmitSm(source_addr=b"1" * 21), "source_addr has 21 octets, at most 20 fit"),
        (SubmitSm(destination_addr=b"1\x002"), "destination_addr contains a NUL"),
        (SubmitSm(schedule_delivery_time=b"2" * 17), "schedule_delivery_time has 17 octets, at most 16 fit"),
        (SubmitSm(validity_period=b"\0"), "validity_period contains a NUL"),
        (SubmitSm(short_message=bytes(256)), "short_message has 256 octets, at most 255 fit"),
        (SubmitSm(esm_class=256), "esm_class is 256, allowed are 0 to 255"),
        (SubmitSm(data_coding=-1), "data_coding is -1, allowed are 0 to 255"),
        (SubmitSm(tlvs=((0x0424, bytes(65536)),)), "message_payload has 65536 octets, at most 65535 fit"),
        (SubmitSm(tlvs=((0x0424, bytes(65535)),)), "a PDU of 65572 octets, at most 65536 fit"),
        (SubmitSm(sequence_number=1 << 32), "no number of 32 bits"),
        (SubmitSm(command_status=-1), "no number of 32 bits"),
        (SubmitSmResp(message_id=b"7" * 65), "message_id has 65 octets, at most 64 fit"),
        (DeliverSm(source_addr=b"\0"), "source_addr contains a NUL"),
        (DeliverSmResp(message_id=b"\0"), "message_id contains a NUL"),
        (BindReceiver(password=b"p" * 65), "password has 65 octets, at most 64 fit"),
        (Outbind(system_id=b"s" * 16), "system_id has 16 octets, at most 15 fit"),
        (DataSm(source_addr=b"1" * 65), "source_addr has 65 octets, at most 64 fit"),
        (SubmitMulti(), "number_of_dests is 0, allowed are 1 to 255"),
        (SubmitMulti(dest_address=(DistributionList(b"d"),) * 256), "number_of_dests is 256"),
        (SubmitMulti(dest_address=(SmeAddress(1, 1, b"1" * 21),)), "destination_addr has 21 octets"),
        (SubmitMulti(dest_address=(DistributionList(b"d" * 21),)), "dl_name has 21 octets"),
        (SubmitMultiResp(unsuccess_sme=(UnsuccessfulDelivery(),) * 256), "no_unsuccess is 256"),
        (SubmitMultiResp(unsuccess_sme=(UnsuccessfulDelivery(0, 0, b"", -1),)), "error_status_code is -1"),
        (QuerySmResp(final_date=b"2" * 17), "final_date has 17 octets, at most 16 fit"),
        (EnquireLink(tlvs=((-1, b""),)), "a TLV tag is -1, allowed are 16 bits"),
        (UnknownPdu(command_id=0x04), "submit_sm has a struct of its own"),
        (UnknownPdu(command_id=1 << 32), "no number of 32 bits"),
        (UnknownPdu(command_id=0xABCD, body=bytes(65521)), "a PDU of 65537 octets, at most 65536 fit"),
    ],
)
def test_mistakes_of_ours(pdu: Pdu, reason: str) -> None:
    with pytest.raises(LocalError, match=reason):
        encode(pdu)


def test_the_largest_pdu() -> None:
    largest = UnknownPdu(1, 0, 0xABCD, bytes(65520))
    assert decode(encode(largest)) == largest


@pytest.mark.parametrize(
    ("pdu", "body"),
    [
        # SMPP 3.4 §4.4.2 and §4.1: no body with an error; the others keep theirs.
        (SubmitSmResp(1, 0x58), b""),
        (SubmitSmResp(1, 0), b"\0"),
        (BindTransceiverResp(1, 0x0E), b""),
        (BindTransceiverResp(1, 0), b"\0"),
        (DeliverSmResp(1, 0x58), b"\0"),
        (DataSmResp(1, 0xFE), b"\0"),
        (QuerySmResp(1, 0x67), b"\0\0\0\0"),
        # An error that has something to say says it.
        (SubmitSmResp(1, 0x58, b"", ((0x0428, b"\x63"),)), b"\0\x04\x28\0\1\x63"),
    ],
)
def test_body_of_a_refusal(pdu: Pdu, body: bytes) -> None:
    assert encode_body(pdu) == body
    if pdu.command_status and not pdu.tlvs:
        assert REFUSAL_BODIES[pdu.command_id] == body


def test_there_is_a_refusal_for_every_response() -> None:
    assert REFUSAL_BODIES.keys() == {int(command_id) for command_id in CommandId if command_id & RESPONSE_BIT}


# --- what a log may see ----------


@pytest.mark.parametrize(
    "pdu",
    [
        BindTransceiver(1, 0, b"hukou", b"hunter2"),
        Outbind(1, 0, b"hukou", b"hunter2"),
        SubmitSm(1, source_addr=b"hunter2", destination_addr=b"hunter2", short_message=b"hunter2"),
        SubmitSm(1, tlvs=((0x0424, b"hunter2"),)),
        SubmitMulti(1, dest_address=(SmeAddress(0, 0, b"hunter2"), DistributionList(b"hunter2"))),
        SubmitMultiResp(1, unsuccess_sme=(UnsuccessfulDelivery(0, 0, b"hunter2"),)),
        DataSm(1, destination_addr=b"hunter2"),
        QuerySm(1, source_addr=b"hunter2"),
        CancelSm(1, destination_addr=b"hunter2"),
        ReplaceSm(1, short_message=b"hunter2"),
        BroadcastSm(1, source_addr=b"hunter2"),
        UnknownPdu(1, 0, 0xABCD, b"hunter2"),
    ],
    ids=lambda pdu: type(pdu).__name__,
)
def test_repr_hides_what_is_private(pdu: Pdu) -> None:
    assert "hunter2" not in repr(pdu)
    assert "hunter2" not in str(msgspec.structs.replace(pdu))


def test_repr_shows_the_rest() -> None:
    pdu = SubmitSmResp(9, 0x58, b"7", ((0x0428, b"\x5a"), (0x1401, b"")))
    assert repr(pdu) == (
        "submit_sm_resp(sequence_number=9, command_status=0x00000058, message_id=b'7', "
        "congestion_state=<1>, 0x1401=<0>)"
    )
