"""What an application hears of its messages, octet by octet, and whether it asked to."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from gateway.reports import wanted
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
    assert world.pipeline.unrouted_replies == (not heard_by)


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
