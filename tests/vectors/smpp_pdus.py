"""Golden octets: every PDU of SMPP 3.4 and 5.0, put together by hand from the field tables of both.

Hexadecimal digits are octets, quoted text is ASCII, blanks separate fields. The first vector is the sample
PDU of SMPP 3.4 §3.2 (5.0 §3.2.2 has it too, with another interface_version). Those that smpp.pdu3 knows are
confirmed by it in test_witness_smpp_pdu3.py.
"""

import re
from typing import NamedTuple

from protocol.smpp.fields import DistributionList, SmeAddress, UnsuccessfulDelivery
from protocol.smpp.pdu import (
    AlertNotification,
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    BroadcastSm,
    BroadcastSmResp,
    CancelBroadcastSm,
    CancelBroadcastSmResp,
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Outbind,
    Pdu,
    QueryBroadcastSm,
    QueryBroadcastSmResp,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
    UnknownPdu,
)


class Vector(NamedTuple):
    """A PDU and the frame it stands for."""

    name: str
    pdu: Pdu
    frame: bytes


def octets(notation: str) -> bytes:
    """`00 04 "abc" 00` as octets."""
    parts = re.findall(r'"([^"]*)"|([0-9A-Fa-f]{2})', notation)
    return b"".join(text.encode("ascii") if not pair else bytes.fromhex(pair) for text, pair in parts)


VECTORS: tuple[Vector, ...] = tuple(
    Vector(name, pdu, octets(notation))
    for name, pdu, notation in (
        (
            "bind_transmitter of the specification",
            BindTransmitter(1, 0, b"SMPP3TEST", b"secret08", b"SUBMIT1", 0, 1, 1, b""),
            """0000002F 00000002 00000000 00000001 53 4D 50 50 33 54 45 53 54 00 73 65 63 72 65 74 30 38 00
            53 55 42 4D 49 54 31 00 00 01 01 00""",
        ),
        (
            "bind_receiver",
            BindReceiver(2, 0, b"hukou", b"secret", b"", 0x34, 0, 1, b"^1069"),
            '00000027 00000001 00000000 00000002 "hukou"00 "secret"00 00 34 00 01 "^1069"00',
        ),
        (
            "bind_transceiver",
            BindTransceiver(3, 0, b"hukou", b"", b"OA", 0x50, 0, 0, b""),
            '0000001E 00000009 00000000 00000003 "hukou"00 00 "OA"00 50 00 00 00',
        ),
        (
            "bind_receiver_resp",
            BindReceiverResp(2, 0, b"jingxin", ((0x0210, b"\x34"),)),
            '0000001D 80000001 00000000 00000002 "jingxin"00 0210 0001 34',
        ),
        (
            "bind_transmitter_resp",
            BindTransmitterResp(1, 0, b"jingxin", ()),
            '00000018 80000002 00000000 00000001 "jingxin"00',
        ),
        (
            "bind_transceiver_resp, refused without a body",
            BindTransceiverResp(3, 0x0E),
            "00000010 80000009 0000000E 00000003",
        ),
        (
            "outbind",
            Outbind(4, 0, b"jingxin", b"secret"),
            '0000001F 0000000B 00000000 00000004 "jingxin"00 "secret"00',
        ),
        ("unbind", Unbind(5), "00000010 00000006 00000000 00000005"),
        ("unbind_resp", UnbindResp(5), "00000010 80000006 00000000 00000005"),
        ("enquire_link", EnquireLink(0x7FFFFFFF), "00000010 00000015 00000000 7FFFFFFF"),
        ("enquire_link_resp", EnquireLinkResp(0xFFFFFFFF), "00000010 80000015 00000000 FFFFFFFF"),
        ("generic_nack", GenericNack(6, 3), "00000010 80000000 00000003 00000006"),
        (
            "alert_notification",
            AlertNotification(7, 0, 1, 1, b"8613800138000", 0, 0, b"hukou", ((0x0422, b"\x02"),)),
            """0000002D 00000102 00000000 00000007 01 01 "8613800138000"00 00 00 "hukou"00
            0422 0001 02""",
        ),
        (
            "submit_sm, nothing but zeros",
            SubmitSm(8),
            "00000021 00000004 00000000 00000008 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
        ),
        (
            "submit_sm in UCS-2 with validity, receipt and two TLVs",
            SubmitSm(
                9,
                0,
                b"CMT",
                0,
                1,
                b"10639110",
                1,
                1,
                b"8613800138000",
                3,
                0,
                2,
                b"",
                b"000001000000000R",
                1,
                0,
                8,
                0,
                b"\x8b\x66\x4f\xe1",
                ((0x0204, b"\x12\x34"), (0x0426, b"\x01")),
            ),
            """00000058 00000004 00000000 00000009 "CMT"00 00 01 "10639110"00 01 01 "8613800138000"00
            03 00 02 00 "000001000000000R"00 01 00 08 00 04 8B66 4FE1 0204 0002 1234 0426 0001 01""",
        ),
        (
            "submit_sm whose text is a message_payload, with a vendor TLV",
            SubmitSm(
                10,
                0,
                source_addr=b"10639110",
                destination_addr=b"13800138000",
                esm_class=0x40,
                schedule_delivery_time=b"250101080000032+",
                tlvs=((0x0424, b"long text"), (0x1401, b"")),
            ),
            """00000055 00000004 00000000 0000000A 00 00 00 "10639110"00 00 00 "13800138000"00
            40 00 00 "250101080000032+"00 00 00 00 00 00 00 0424 0009 "long text" 1401 0000""",
        ),
        (
            "submit_sm_resp",
            SubmitSmResp(9, 0, b"0123456789abcdef"),
            '00000021 80000004 00000000 00000009 "0123456789abcdef"00',
        ),
        (
            "submit_sm_resp with a congestion_state of 5.0",
            SubmitSmResp(9, 0, b"7", ((0x0428, b"\x5a"),)),
            '00000017 80000004 00000000 00000009 "7"00 0428 0001 5A',
        ),
        (
            "submit_sm_resp, throttled, without a body",
            SubmitSmResp(10, 0x58),
            "00000010 80000004 00000058 0000000A",
        ),
        (
            "submit_sm_resp with a vendor status and a message_id all the same",
            SubmitSmResp(10, 0x0401, b"7"),
            '00000012 80000004 00000401 0000000A "7"00',
        ),
        (
            "deliver_sm, a receipt",
            DeliverSm(
                11,
                0,
                b"",
                1,
                1,
                b"8613800138000",
                0,
                1,
                b"10639110",
                4,
                0,
                0,
                b"",
                b"",
                0,
                0,
                0,
                0,
                b"id:7 stat:DELIVRD err:000",
                ((0x001E, b"7\0"), (0x0427, b"\x02"), (0x0423, b"\x03\x00\x00")),
            ),
            """00000061 00000005 00000000 0000000B 00 01 01 "8613800138000"00 00 01 "10639110"00
            04 00 00 00 00 00 00 00 00 19 "id:7 stat:DELIVRD err:000"
            001E 0002 "7"00 0427 0001 02 0423 0003 03 0000""",
        ),
        (
            "deliver_sm, a reply with a user data header",
            DeliverSm(
                12,
                0,
                source_addr=b"13800138000",
                destination_addr=b"10639110",
                esm_class=0x40,
                data_coding=8,
                short_message=b"\x05\x00\x03\x2a\x02\x01\x59\x7d",
            ),
            """0000003C 00000005 00000000 0000000C 00 00 00 "13800138000"00 00 00 "10639110"00
            40 00 00 00 00 00 00 08 00 08 0500032A0201 597D""",
        ),
        ("deliver_sm_resp", DeliverSmResp(11), "00000011 80000005 00000000 0000000B 00"),
        ("deliver_sm_resp, refused", DeliverSmResp(12, 0x64), "00000011 80000005 00000064 0000000C 00"),
        (
            "submit_multi",
            SubmitMulti(
                13,
                0,
                b"CMT",
                0,
                1,
                b"10639110",
                (SmeAddress(1, 1, b"8613800138000"), DistributionList(b"duty"), SmeAddress(0, 0, b"110")),
                0,
                0,
                1,
                b"",
                b"",
                1,
                0,
                0,
                0,
                b"hi",
                ((0x0204, b"\x00\x07"),),
            ),
            """00000050 00000021 00000000 0000000D "CMT"00 00 01 "10639110"00
            03 01 01 01 "8613800138000"00 02 "duty"00 01 00 00 "110"00
            00 00 01 00 00 01 00 00 00 02 "hi" 0204 0002 0007""",
        ),
        (
            "submit_multi_resp",
            SubmitMultiResp(
                13,
                0,
                b"8",
                (
                    UnsuccessfulDelivery(1, 1, b"8613800138000", 0x0B),
                    UnsuccessfulDelivery(0, 0, b"110", 0x0401),
                ),
            ),
            """00000031 80000021 00000000 0000000D "8"00
            02 01 01 "8613800138000"00 0000000B 00 00 "110"00 00000401""",
        ),
        (
            "submit_multi_resp, everything accepted",
            SubmitMultiResp(13, 0, b"8"),
            '00000013 80000021 00000000 0000000D "8"00 00',
        ),
        (
            "data_sm",
            DataSm(
                14,
                0,
                b"",
                1,
                1,
                b"10639110",
                1,
                1,
                b"8613800138000",
                2,
                1,
                4,
                ((0x0424, b"\x01\x02"), (0x0017, b"\x00\x00\x0e\x10")),
            ),
            """0000003D 00000103 00000000 0000000E 00 01 01 "10639110"00 01 01 "8613800138000"00 02 01 04
            0424 0002 0102 0017 0004 00000E10""",
        ),
        (
            "data_sm_resp",
            DataSmResp(14, 0xFE, b"9", ((0x0425, b"\x01"), (0x001D, b"absent\0"))),
            '00000022 80000103 000000FE 0000000E "9"00 0425 0001 01 001D 0007 "absent"00',
        ),
        (
            "query_sm",
            QuerySm(15, 0, b"7", 0, 1, b"10639110"),
            '0000001D 00000003 00000000 0000000F "7"00 00 01 "10639110"00',
        ),
        (
            "query_sm_resp",
            QuerySmResp(15, 0, b"7", b"250101080000032+", 2, 5),
            '00000025 80000003 00000000 0000000F "7"00 "250101080000032+"00 02 05',
        ),
        (
            "cancel_sm",
            CancelSm(16, 0, b"CMT", b"7", 0, 1, b"10639110", 1, 1, b"8613800138000"),
            """00000031 00000008 00000000 00000010 "CMT"00 "7"00 00 01 "10639110"00
            01 01 "8613800138000"00""",
        ),
        ("cancel_sm_resp", CancelSmResp(16, 0x11), "00000010 80000008 00000011 00000010"),
        (
            "replace_sm",
            ReplaceSm(17, 0, b"7", 0, 1, b"10639110", b"", b"000000010000000R", 1, 0, b"new"),
            """00000035 00000007 00000000 00000011 "7"00 00 01 "10639110"00 00 "000000010000000R"00
            01 00 03 "new" """,
        ),
        ("replace_sm_resp", ReplaceSmResp(17), "00000010 80000007 00000000 00000011"),
        (
            "broadcast_sm",
            BroadcastSm(
                18,
                0,
                b"CBS",
                0,
                1,
                b"110",
                b"",
                1,
                b"",
                b"",
                0,
                8,
                0,
                ((0x0606, b"\x00cell"), (0x0606, b"\x00town"), (0x0601, b"\x01\x00\x02")),
            ),
            """0000003A 00000111 00000000 00000012 "CBS"00 00 01 "110"00 00 01 00 00 00 08 00
            0606 0005 00 "cell" 0606 0005 00 "town" 0601 0003 01 0002""",
        ),
        (
            "broadcast_sm_resp",
            BroadcastSmResp(18, 0, b"b1", ((0x0607, b"\x00\x00\x01\x0d"),)),
            '0000001B 80000111 00000000 00000012 "b1"00 0607 0004 0000010D',
        ),
        (
            "query_broadcast_sm",
            QueryBroadcastSm(19, 0, b"b1", 0, 1, b"110", ((0x0204, b"\x00\x01"),)),
            '0000001F 00000112 00000000 00000013 "b1"00 00 01 "110"00 0204 0002 0001',
        ),
        (
            "query_broadcast_sm_resp",
            QueryBroadcastSmResp(19, 0, b"b1", ((0x0427, b"\x02"), (0x0606, b"\x00cell"), (0x0608, b"\x64"))),
            '00000026 80000112 00000000 00000013 "b1"00 0427 0001 02 0606 0005 00 "cell" 0608 0001 64',
        ),
        (
            "cancel_broadcast_sm",
            CancelBroadcastSm(20, 0, b"CBS", b"b1", 0, 1, b"110"),
            '0000001D 00000113 00000000 00000014 "CBS"00 "b1"00 00 01 "110"00',
        ),
        ("cancel_broadcast_sm_resp", CancelBroadcastSmResp(20), "00000010 80000113 00000000 00000014"),
        (
            "a PDU of no version",
            UnknownPdu(21, 0x0500, 0x00010200, b"\x00\x01\x02"),
            "00000013 00010200 00000500 00000015 000102",
        ),
    )
)
"""At least one for every PDU; the names are unique."""
