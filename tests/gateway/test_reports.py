"""What an application hears of its messages, octet by octet, and whether it asked to."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from gateway.message import Group, MessageIds
from gateway.reassembly import Reassembly, ReplyPart
from gateway.replies import key_of
from gateway.reports import Reports, is_reported, wanted
from protocol.smpp.codec import encode
from protocol.smpp.codes import CommandStatus, MessageState, TlvTag
from protocol.smpp.pdu import DataSm, DeliverSm, SmeAddress, SubmitMulti
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, receipt
from tests.gateway.world import MOBILE, MOBILE_2, World, account

RECEIPTED, STATE = int(TlvTag.RECEIPTED_MESSAGE_ID), int(TlvTag.MESSAGE_STATE)
NETWORK_ERROR, PAYLOAD = int(TlvTag.NETWORK_ERROR_CODE), int(TlvTag.MESSAGE_PAYLOAD)
DELIVERED, UNDELIVERABLE, EXPIRED = 2, 5, 3

WISHES = [  # registered_delivery: (an intermediate one, delivered, anything else that is final)
    (0x00, (False, False, False)),
    (0x01, (False, True, True)),
    (0x02, (False, False, True)),
    (0x03, (False, True, False)),
    (0x10, (True, False, False)),
    (0x11, (True, True, True)),
    (0x12, (True, False, True)),
    (0x0C, (False, False, False)),  # acknowledgements of users are none of a receipt's business
]


@pytest.mark.parametrize(("wish", "heard"), WISHES)
def test_who_hears_of_what(wish: int, heard: tuple[bool, bool, bool]) -> None:
    intermediate, delivered, failed = heard
    for state in (MessageState.ENROUTE, MessageState.ACCEPTED, 0):
        assert wanted(wish, state, final=False) is intermediate
    assert wanted(wish, DELIVERED, final=True) is delivered
    for state in (EXPIRED, 4, UNDELIVERABLE, 7, 8):
        assert wanted(wish, state, final=True) is failed


@pytest.mark.parametrize(("wish", "heard"), WISHES)
def test_an_application_hears_what_it_asked_for(
    wish: int, heard: tuple[bool, bool, bool], world: World
) -> None:
    peer, application = world.connect(), world.application()
    for stat, final in ((b"DELIVRD", heard[1]), (b"UNDELIV", heard[2])):
        application.submit(MOBILE, registered_delivery=wish)
        peer.take_one(stat)
        peer.deliver(receipt(stat, MOBILE, b"ENROUTE", esm_class=0x20))
        peer.deliver(receipt(stat, MOBILE, stat))
        classes = [report.esm_class for report in application.take(DeliverSm)]
        assert classes == [0x20] * heard[0] + [0x04] * final


class End(NamedTuple):
    """The end of a part, and whether its application hears of it."""

    wish: int
    state: int
    delivered: int = 0  # parts of the same text before it, of three
    cut: bool = True  # by the gateway; else the application has its own parts, and hears of each
    reported: bool = False  # the text's one report was made before
    unsent: bool = False
    heard: bool = True


ENDS = {
    "of an application's own part": End(1, DELIVERED, cut=False),
    "the first of three delivered": End(1, DELIVERED, heard=False),
    "the second": End(1, DELIVERED, delivered=1, heard=False),
    "the last": End(1, DELIVERED, delivered=2),
    "the last, of which only failures are wanted": End(2, DELIVERED, delivered=2, heard=False),
    "the first failure": End(1, UNDELIVERABLE),
    "the first failure, behind two": End(2, UNDELIVERABLE, delivered=2),
    "the first failure, of which nothing is wanted": End(0, UNDELIVERABLE, heard=False),
    "a second failure": End(1, UNDELIVERABLE, reported=True, heard=False),
    "a delivery after a failure": End(1, DELIVERED, delivered=2, reported=True, heard=False),
    "a refusal that the response told": End(1, 8, cut=False, unsent=True, heard=False),
    "the same of a part of a text": End(1, 8, unsent=True, heard=False),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_end_of_a_text_is_reported_once(end: End) -> None:
    first = 7 if end.cut else 0
    group = Group(first=first, cut_into=3 if end.cut else 1, delivered=end.delivered, reported=end.reported)
    assert is_reported(end.wish, end.state, group, unsent=end.unsent) is end.heard
    if not end.cut:
        assert is_reported(end.wish, end.state, None, unsent=end.unsent) is end.heard
        assert (group.delivered, group.reported) == (0, False)


# -- the octets of a report --------------------------------------------------------------------------------

ID = b"a1b2c30000000004"
OURS = b"id:" + ID + b" sub:001 "


class Told(NamedTuple):
    """The carrier's receipt for part 4, accepted at 22:13:20 in Shanghai, and what the application hears."""

    name: str
    text: bytes
    heard: bytes
    state: int
    tlvs: tuple[tuple[int, bytes], ...] = ()
    heard_tlvs: tuple[tuple[int, bytes], ...] = ()


TOLD = [
    Told(
        "the carrier's own words",
        b"id:17 sub:003 dlvrd:002 submit date:2601010203 done date:260101020304 stat:UNDELIV err:0104 text:",
        b"id:"
        + ID
        + b" sub:003 dlvrd:002 submit date:2601010203 done date:260101020304 stat:UNDELIV err:0104 text:",
        UNDELIVERABLE,
    ),
    Told(
        "a code of its own",
        b"id:17 sub:001 dlvrd:000 submit date:2601010203 done date:2601010204 stat:MK:0001 err:045 text:",
        OURS + b"dlvrd:000 submit date:2601010203 done date:2601010204 stat:MK:0001 err:045 text:",
        UNDELIVERABLE,
    ),
    Told(
        "little",
        b"id:17 stat:DELIVRD",
        OURS + b"dlvrd:001 submit date:2609212213 done date:2609212213 stat:DELIVRD err:000 text:",
        DELIVERED,
    ),
    Told(
        "dates that no application reads",
        b"id:17 submit date:2026-01-01 02:03:04 done date:0 stat:EXPIRED err:27",
        OURS + b"dlvrd:000 submit date:2609212213 done date:2609212213 stat:EXPIRED err:27 text:",
        EXPIRED,
    ),
    Told(
        "nothing but TLVs",
        b"",
        OURS + b"dlvrd:000 submit date:2609212213 done date:2609212213 stat:UNDELIV err:000 text:",
        UNDELIVERABLE,
        ((RECEIPTED, b"17\0"), (STATE, b"\5"), (NETWORK_ERROR, b"\3\0\x21")),
        ((NETWORK_ERROR, b"\3\0\x21"),),
    ),
    Told(
        "a TLV against the text",
        b"id:17 stat:DELIVRD err:000",
        OURS + b"dlvrd:000 submit date:2609212213 done date:2609212213 stat:DELIVRD err:000 text:",
        UNDELIVERABLE,
        ((STATE, b"\5"),),
    ),
]


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.name)
def test_a_report_says_what_the_carrier_said_under_our_id(told: Told, world: World) -> None:
    peer, application = world.connect(), world.application()
    fields: dict[str, Any] = {"source_addr_ton": 5, "source_addr_npi": 9, "dest_addr_ton": 1}
    assert application.submit(MOBILE, dest_addr_npi=1, **fields) == ID
    peer.take_one(b"17")
    peer.deliver(
        DeliverSm(
            source_addr=MOBILE,
            destination_addr=SOURCE,
            esm_class=4,
            short_message=told.text,
            tlvs=told.tlvs,
        )
    )
    (report,) = application.take(DeliverSm)
    assert report == DeliverSm(
        report.sequence_number,
        source_addr_ton=1,
        source_addr_npi=1,
        source_addr=MOBILE,
        dest_addr_ton=5,
        dest_addr_npi=9,
        destination_addr=SOURCE,
        esm_class=4,
        short_message=told.heard,
        tlvs=((RECEIPTED, ID + b"\0"), (STATE, bytes((told.state,))), *told.heard_tlvs),
    )


def test_a_report_that_the_gateway_made_says_so(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.submit(MOBILE)
    (request,) = peer.taken()
    world.loop.now += 60.0
    peer.answer(request, command_status=CommandStatus.ESME_RINVDSTADR)
    (report,) = application.take(DeliverSm)
    assert report.short_message == (
        OURS + b"dlvrd:000 submit date:2609212213 done date:2609212214 stat:REJECTD err:00B"
        b" text:made by the gateway"
    )
    assert report.tlvs == ((RECEIPTED, ID + b"\0"), (STATE, b"\x08"))


def test_every_part_of_a_message_reports_under_the_id_of_the_message(world: World) -> None:
    peer, application = world.connect(), world.application()
    addresses = tuple(SmeAddress(0, 0, number) for number in (MOBILE, MOBILE_2))
    application.ask(
        SubmitMulti(
            source_addr=SOURCE, dest_address=addresses, registered_delivery=1, short_message=b"to all"
        )
    )
    for request in peer.taken():
        peer.answer(request, request.destination_addr)
        peer.deliver(receipt(request.destination_addr, request.destination_addr))
    reports = application.take(DeliverSm)
    assert [report.source_addr for report in reports] == [MOBILE, MOBILE_2]
    assert {report.tlv(RECEIPTED) for report in reports} == {ID + b"\0"}


# -- replies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "heard_by"),
    [
        (b"10639110", "hukou"),
        (b"1063911088", "hukou"),
        (b"10639110123", "jiaoguan"),  # the longest prefix wins, whoever stands first
        (b"1063911012", "jiaoguan"),
        (b"1063911", ""),
        (b"95555", ""),
        (b"", ""),
    ],
)
def test_a_reply_goes_to_the_account_with_the_longest_prefix(
    destination: bytes, heard_by: str, sealer: Sealer
) -> None:
    accounts = account("hukou", "10639110"), account("jiaoguan", "1063911012"), account("oa", "1", sources=())
    world = World(sealer, accounts=accounts)
    peer = world.connect()
    applications = {config.system_id: world.application(config.system_id) for config in accounts}
    reply = DeliverSm(
        source_addr=MOBILE,
        destination_addr=destination,
        data_coding=8,
        short_message="知道了".encode("utf-16-be"),
        tlvs=((0x1401, b"vendor"),),
    )
    peer.deliver(reply)
    for name, application in applications.items():
        heard = application.take(DeliverSm)
        for pdu in heard:
            pdu.sequence_number = reply.sequence_number
        assert heard == ([reply] if name == heard_by else [])
    (record,) = (record for record in world.log.read() if isinstance(record, records.Reply))
    assert (record.account, record.carrier, record.link) == (heard_by, "cmcc", 0)
    assert record.number_hash == sealer.number_hash(MOBILE)
    assert world.replies.unrouted == (not heard_by)


def test_a_reply_keeps_its_octets_in_the_evidence(world: World) -> None:
    peer = world.connect()
    reply = DeliverSm(1, source_addr=MOBILE, destination_addr=SOURCE, short_message=b"yes")
    peer.deliver(reply)
    (index,) = (
        index for index, record in enumerate(world.log.read(), 1) if isinstance(record, records.Reply)
    )
    record = world.log.read(index)[0]
    assert isinstance(record, records.Reply)
    assert world.sealer.unseal(index, record.content) == encode(reply)


def test_a_reply_that_came_as_data_sm_goes_on_as_deliver_sm(world: World) -> None:
    peer, application = world.connect(), world.application()
    tlvs = ((PAYLOAD, b"a long one"), (0x1401, b"vendor"))
    peer.ask(DataSm(source_addr=MOBILE, destination_addr=SOURCE, data_coding=4, tlvs=tlvs))
    (heard,) = application.take(DeliverSm)
    assert heard == DeliverSm(
        heard.sequence_number, source_addr=MOBILE, destination_addr=SOURCE, data_coding=4, tlvs=tlvs
    )


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"source_addr": b"1" * 20}, CommandStatus.ESME_ROK),
        ({"source_addr": b"1" * 21}, CommandStatus.ESME_RINVSRCADR),
        ({"destination_addr": SOURCE + b"1" * 13}, CommandStatus.ESME_RINVDSTADR),
        ({"tlvs": ((PAYLOAD, bytes(65_480)),)}, CommandStatus.ESME_ROK),
        ({"tlvs": ((PAYLOAD, bytes(65_487)),)}, CommandStatus.ESME_RINVMSGLEN),
    ],
)
def test_a_reply_that_no_deliver_sm_can_carry_is_refused_and_leaves_no_record(
    fields: dict[str, Any], status: int, world: World
) -> None:
    peer, application = world.connect(), world.application()
    before = len(world.log.entries)
    fits = status == CommandStatus.ESME_ROK
    answer = peer.ask(DataSm(**{"source_addr": MOBILE, "destination_addr": SOURCE, **fields}))
    assert answer.command_status == status
    assert len(application.take(DeliverSm)) == fits
    assert len(world.log.entries) == before + fits
    assert world.pipeline.refused_replies == (not fits)


@pytest.mark.parametrize(
    ("total", "flag"), [(2, b""), (3, b"\x21\x10\0\1\1")], ids=["complete", "one part missing"]
)
def test_the_report_of_a_reply_in_parts(total: int, flag: bytes) -> None:
    """It says what the first part in the text says, and needs the record of the one that came first."""
    fields: dict[str, Any] = {"source_addr": MOBILE, "destination_addr": SOURCE, "esm_class": 0x40}
    reassembly = Reassembly(60.0, 1)
    pdus = {}
    for index, sequence, text in ((5, 2, b"cd"), (9, 1, b"ab")):
        header = bytes((5, 0, 3, 7, total, sequence))
        pdu = DeliverSm(
            **fields, short_message=header + text, source_addr_ton=2 - sequence, source_addr_npi=1
        )
        if sequence == 1:
            pdu.tlvs = ((0x1401, b"vendor"),)
        pdus[index] = pdu
        key, place, text = key_of("cmcc", pdu)
        whole = reassembly.add(key, place.total, ReplyPart(index, 0, place.sequence, text), 0.0)
    assembly = whole or reassembly.overdue(60.0)[0]
    report = Reports(MessageIds(b"abc")).of_assembly(assembly, pdus[assembly.head.index], 12, 1_000)
    assert (report.index, report.number, report.recorded_us) == (12, 5, 1_000)
    mandatory = b"\0\1\x0113800138000\0\0\0" + SOURCE + b"\0" + bytes(9) + b"\4abcd"
    assert report.body == mandatory + b"\x14\1\0\6vendor" + flag
    assert report.tlvs_at == len(mandatory)
