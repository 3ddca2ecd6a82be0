"""What a carrier wants reaches it in its own form, whichever way a part comes to it; what it does otherwise
is counted and said, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config import RouteTable
from gateway.profile import SAMPLE_MASK, Observed, Profile
from gateway.routes import Routes
from protocol.smpp.codec import HEADER as PDU_HEADER
from protocol.smpp.codec import decode, encode_body
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import BindTransceiver, BindTransceiverResp, DeliverSm, Pdu, ReplaceSm, SubmitSm
from storage.seal import Sealer
from tests.gateway import world as world_module
from tests.gateway.peers import SOURCE, CarrierPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, START_US, World, carrier

PAYLOAD = int(TlvTag.MESSAGE_PAYLOAD)
PORT = int(TlvTag.SOURCE_PORT)
SAR = (
    (int(TlvTag.SAR_MSG_REF_NUM), b"\x12\x34"),
    (int(TlvTag.SAR_TOTAL_SEGMENTS), b"\x03"),
    (int(TlvTag.SAR_SEGMENT_SEQNUM), b"\x02"),
)
UUID = b"6F9619FF-8B86-D011-B42D-00CF4FC964FF"


def profile(**settings: Any) -> Profile:
    return Profile.of(carrier(**settings))


# -- the form of a part ------------------------------------------------------------------------------------

HEADER = b"\x05\x00\x03\x34\x03\x02"  # part 2 of 3, with the low octet of the reference in SAR
UDH = b"\x05\x00\x03\x09\x02\x01"

# The profile, a submit_sm, and in what it leaves otherwise.
FORMS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"source_ton": 5, "source_npi": 0}, {}, {"source_addr_ton": 5, "source_addr_npi": 0}),
    ({"destination_ton": 1, "destination_npi": 255}, {}, {"dest_addr_ton": 1, "dest_addr_npi": 255}),
    ({"source_ton": 0}, {"tlvs": ((PORT, b"\0\1"),)}, {"source_addr_ton": 0}),
    # TLVs
    ({"tlvs": False}, {"tlvs": ((PORT, b"\0\1"), (0x1401, b"own"))}, {"tlvs": ()}),
    (
        {"tlvs": False},
        {"short_message": b"", "tlvs": ((PORT, b"\0\1"), (PAYLOAD, b"long"))},
        {"tlvs": ((PAYLOAD, b"long"),)},
    ),
    # SAR
    (
        {"tlvs": False},
        {"short_message": b"x" * 153, "tlvs": SAR},
        {"esm_class": 0x43, "short_message": HEADER + b"x" * 153, "tlvs": ()},
    ),
    ({"tlvs": False}, {"short_message": b"x" * 154, "tlvs": SAR}, {"tlvs": ()}),
    (
        {"tlvs": False, "default_alphabet": "latin1"},
        {"short_message": b"x" * 134, "tlvs": SAR},
        {"esm_class": 0x43, "short_message": HEADER + b"x" * 134, "tlvs": ()},
    ),
    ({"tlvs": False}, {"data_coding": 8, "short_message": b"x" * 136, "tlvs": SAR}, {"tlvs": ()}),
    ({"tlvs": False}, {"esm_class": 0x40, "short_message": UDH + b"x", "tlvs": SAR}, {"tlvs": ()}),
    ({"tlvs": False}, {"tlvs": SAR[:2]}, {"tlvs": ()}),
    ({"tlvs": False}, {"short_message": b"", "tlvs": SAR}, {"tlvs": ()}),
    (
        {"tlvs": False},
        {"short_message": b"", "tlvs": (*SAR, (PAYLOAD, b"part"))},
        {"esm_class": 0x43, "short_message": HEADER + b"part", "tlvs": ()},
    ),
    # message_payload
    (
        {"message_payload": False},
        {"short_message": b"", "tlvs": ((PAYLOAD, b"x" * 254), (PORT, b"\0\1"))},
        {"short_message": b"x" * 254, "tlvs": ((PORT, b"\0\1"),)},
    ),
    ({"message_payload": False}, {"short_message": b"", "tlvs": ((PAYLOAD, b"x" * 255),)}, {}),
    ({"message_payload": False}, {"tlvs": ((PAYLOAD, b"both"),)}, {}),
    (
        {"message_payload": False, "tlvs": False},
        {"short_message": b"", "tlvs": (*SAR, (PAYLOAD, b"part"))},
        {"esm_class": 0x43, "short_message": HEADER + b"part", "tlvs": ()},
    ),
]  # fmt: skip


def submitted(**fields: Any) -> SubmitSm:
    defaults = {
        "service_type": b"CMT",
        "source_addr_ton": 3,
        "source_addr_npi": 9,
        "dest_addr_ton": 2,
        "dest_addr_npi": 8,
        "esm_class": 0x03,
        "validity_period": b"000000010000000R",
    }
    return submit_sm(MOBILE, **{**defaults, **fields})


@pytest.mark.parametrize(("settings", "fields", "changes"), FORMS)
def test_a_part_leaves_in_the_form_of_its_carrier(
    settings: dict[str, Any], fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    pdu = submitted(**fields)
    wanted = msgspec.structs.replace(pdu, **changes)
    assert profile(**settings).as_sent(encode_body(pdu)) == encode_body(wanted)


def test_a_profile_without_wishes_gives_the_octets_back() -> None:
    body = encode_body(submitted(tlvs=SAR))
    assert profile().rewrites is False
    assert profile().as_sent(body) is body


@given(
    octets=st.tuples(*[st.integers(0, 255)] * 4),
    text=st.binary(max_size=254),
    tlvs=st.lists(st.tuples(st.sampled_from([PORT, PAYLOAD, 0x1401, *dict(SAR)]), st.binary(max_size=300))),
    esm_class=st.integers(0, 255),
    data_coding=st.integers(0, 255),
    takes=st.tuples(st.booleans(), st.booleans()),
)
def test_whatever_was_accepted_can_be_sent_and_keeps_its_text(
    octets: tuple[int, int, int, int],
    text: bytes,
    tlvs: list[tuple[int, bytes]],
    esm_class: int,
    data_coding: int,
    takes: tuple[bool, bool],
) -> None:
    keys = ("source_ton", "source_npi", "destination_ton", "destination_npi")
    wishes = profile(**dict(zip(keys, octets, strict=True)), tlvs=takes[0], message_payload=takes[1])
    pdu = submitted(short_message=text, tlvs=tuple(tlvs), esm_class=esm_class, data_coding=data_coding)
    sent = _decoded(wishes.as_sent(encode_body(pdu)))
    assert (sent.source_addr_ton, sent.source_addr_npi, sent.dest_addr_ton, sent.dest_addr_npi) == octets
    assert (sent.short_message or sent.tlv(PAYLOAD) or b"").endswith(text or pdu.tlv(PAYLOAD) or b"")
    assert takes[0] or {tag for tag, _ in sent.tlvs} <= {PAYLOAD}
    assert sent.destination_addr == MOBILE


def _decoded(body: bytes) -> SubmitSm:
    pdu = decode(PDU_HEADER.pack(16 + len(body), SubmitSm.command_id, 0, 0) + body)
    assert isinstance(pdu, SubmitSm)
    return pdu


@pytest.mark.parametrize(
    ("settings", "units", "taken"),
    [
        ({}, 255, True),
        ({"parts_max": 4}, 4, True),
        ({"parts_max": 4}, 5, False),
        ({"message_payload": False}, 1, True),
        ({"message_payload": False}, 2, False),
    ],
)
def test_which_texts_a_carrier_takes_whole(settings: dict[str, Any], units: int, *, taken: bool) -> None:
    assert profile(**settings).takes(units) is taken


@pytest.mark.parametrize(
    ("settings", "text", "status"),
    [
        ({}, "\u4f60" * 67 * 4, CommandStatus.ESME_ROK),
        ({"parts_max": 3}, "\u4f60" * 67 * 3, CommandStatus.ESME_ROK),
        ({"parts_max": 3}, "\u4f60" * (67 * 3 + 1), CommandStatus.ESME_RINVMSGLEN),
        ({"parts_max": 3, "message_payload": False}, "\u4f60" * (67 * 3 + 1), CommandStatus.ESME_RINVMSGLEN),
        ({"parts_max": 1}, "\u4f60" * 70, CommandStatus.ESME_ROK),
        ({"parts_max": 1}, "\u4f60" * 71, CommandStatus.ESME_RINVMSGLEN),
    ],
)
def test_a_text_of_more_parts_than_the_carrier_takes_is_refused(
    settings: dict[str, Any], text: str, status: int, sealer: Sealer
) -> None:
    world = World(sealer, carriers=(carrier(**settings),))
    payload = ((PAYLOAD, text.encode("utf-16-be")),)
    answer = world.application().ask(submit_sm(MOBILE, data_coding=8, short_message=b"", tlvs=payload))
    assert answer.command_status == status


# -- on its way --------------------------------------------------------------------------------------------

TON_5: Final[dict[str, Any]] = {"source_ton": 5, "tlvs": False}
WITH_PORT: Final[dict[str, Any]] = {"source_addr_ton": 3, "tlvs": ((PORT, b"\0\1"),)}


def form(request: SubmitSm) -> tuple[int, int, int]:
    return request.source_addr_ton, request.source_addr_npi, len(request.tlvs)


def two_ways(sealer: Sealer, **settings: Any) -> World:
    """Carrier `a`, and `b`, which stands by and has these settings."""
    return World(
        sealer,
        carriers=(carrier("a", source_npi=7), carrier("b", "unicom", **settings)),
        routes=(RouteTable(network="mobile", carriers=("a", "b"), weights=(1, 0)),),
    )


def lost(world: World, **fields: Any) -> CarrierPeer:
    """A part has waited for `a`, which is lost.  This and the next two return the peer of `b`."""
    first, application = world.connect("a"), world.application()
    world.hold("a", 100.0)
    application.submit(MOBILE, **fields)
    second = world.connect("b")
    first.cut()
    world.wait(1.0)
    world.wait(1.0)
    return second


def ported(world: World, **fields: Any) -> CarrierPeer:
    """`a` took a part and reports that the number has moved: its body is in the evidence alone by then."""
    first, second, application = world.connect("a"), world.connect("b"), world.application()
    application.submit(MOBILE, **fields)
    first.take_one(b"17")
    first.deliver(receipt(b"17", MOBILE, b"MB:1049"))
    world.wait(1.0)
    return second


def removed(world: World, **fields: Any) -> CarrierPeer:
    """A part has waited for `a`, which is not configured any more."""
    world.application().submit(MOBILE, **fields)
    carriers = world.dispatch.carriers
    world.admission.routes = Routes({"b": carriers["b"]}, (), "unicom")
    world.pipeline.detours.reroute(carriers["a"])
    world.turns.schedule()
    world.settle()
    return world.connect("b")


def test_what_its_carrier_wants_the_application_does_not_see(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(**TON_5),))
    peer, application = world.connect(), world.application()
    application.submit(MOBILE, **WITH_PORT)
    assert form(peer.take_one(b"17")) == (5, 0, 0)
    peer.deliver(receipt(b"17", MOBILE))
    (report,) = application.take(DeliverSm)
    assert (report.destination_addr, report.dest_addr_ton) == (SOURCE, 3)


@pytest.mark.parametrize("way", [lost, ported, removed])
def test_a_part_that_goes_another_way_takes_the_form_of_that_carrier(
    way: Callable[..., CarrierPeer], sealer: Sealer
) -> None:
    (request,) = way(two_ways(sealer, **TON_5), **WITH_PORT).taken()
    assert form(request) == (5, 0, 0)


@pytest.mark.parametrize("way", [lost, ported, removed])
def test_a_long_text_goes_no_way_that_cannot_take_it(way: Callable[..., CarrierPeer], sealer: Sealer) -> None:
    world = two_ways(sealer, message_payload=False)
    peer = way(world, short_message=b"", tlvs=((PAYLOAD, b"x" * 400),))
    assert peer.taken() == []


def test_a_part_that_waits_over_a_restart_takes_the_form_that_is_wanted_then(sealer: Sealer) -> None:
    before = World(sealer, carriers=(carrier(source_ton=6),))
    before.application().submit(MOBILE, **WITH_PORT)
    after = World(sealer, carriers=(carrier(**TON_5),), found=before.log.entries)
    after.restore()
    assert form(after.connect().taken()[0]) == (5, 0, 0)


def test_the_form_that_a_reload_wants_holds_for_what_waits(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(source_ton=6),))
    world.application().submit(MOBILE, **WITH_PORT)
    world.dispatch.carriers["cmcc"].configure(carrier(**TON_5), world.turns.now)
    assert form(world.connect().taken()[0]) == (5, 0, 0)


def test_a_text_is_not_replaced_by_one_that_its_carrier_cannot_take_whole(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(message_payload=False),))
    application = world.application()
    message_id = application.submit(MOBILE)
    wish = ReplaceSm(message_id=message_id, source_addr=SOURCE, short_message=b"x" * 161)
    assert application.ask(wish).command_status == CommandStatus.ESME_RREPLACEFAIL
    wish.short_message = b"x" * 160
    assert application.ask(wish).command_status == CommandStatus.ESME_ROK
    assert world.connect().taken()[0].short_message == b"x" * 160


# -- what differs ------------------------------------------------------------------------------------------

Look = Callable[[Observed, int], None]


def response(carrier_id: bytes) -> Look:
    return lambda observed, now_us: observed.response_id(carrier_id, now_us)


def a_receipt(message_id: bytes, stat: bytes, *tlvs: tuple[int, bytes]) -> Look:
    return lambda observed, now_us: observed.receipt(message_id, stat, tlvs, now_us)


def match(message_id: bytes, *how: str) -> Look:
    derived, by_destination = "derived" in how, "by destination" in how
    return lambda observed, now_us: observed.match(
        message_id, derived=derived, by_destination=by_destination, now_us=now_us
    )


def code(stat: bytes, err: bytes) -> Look:
    return lambda observed, now_us: observed.unknown_code(stat, err, now_us)


def refusal(command_status: int, body: bytes) -> Look:
    return lambda observed, now_us: observed.refusal(command_status, body, now_us)


def bind(interface_version: bytes | None) -> Look:
    return lambda observed, now_us: observed.bind_answer(interface_version, now_us)


FACT = (int(TlvTag.RECEIPTED_MESSAGE_ID), b"17\0")
BODY = encode_body(submitted())
PAYLOAD_BODY = encode_body(submitted(short_message=b"", tlvs=((PAYLOAD, b"x" * 300),)))
PORT_BODY = encode_body(submitted(short_message=b"", tlvs=((PAYLOAD, b"x" * 300), (PORT, b"\0\1"))))
STATUS = CommandStatus

DERIVED = "receipts write ids in another notation than responses"
SUBSCRIBER = "receipts have the subscriber in the destination address"
UNKNOWN_CODES = "receipts have codes that no table knows"
NO_PAYLOAD = "texts in message_payload are refused, the profile says that they are taken"
TLV_REFUSED = "messages are refused for a TLV that they have or lack"
OLD_VERSION = "the interface version is 0x33, the profile says 0x34"


class Row(NamedTuple):
    """What is seen against a profile; a statement, how often, and the example of each difference."""

    settings: dict[str, Any]
    looks: list[Look]
    said: list[tuple[str, str, str]]


OBSERVATIONS = [
    # ids in responses
    Row({}, [response(b"0A1B2C3D"), response(b"")], []),
    Row({"ids": "decimal"}, [response(b"0123456789")], []),
    Row(
        {"ids": "decimal"},
        [response(b"0A1B2C3D"), response(b"17"), response(b"0a1b2c4d")],
        [("ids in responses are hexadecimal, the profile says decimal", "at least 2 times", "0a1b2c…")],
    ),
    Row(
        {"ids": "decimal"},
        [response(b"")],
        [("ids in responses are missing, the profile says decimal", "at least once", "")],
    ),
    Row(
        {"ids": "decimal"},
        [response(UUID)],
        [("ids in responses are uuid, the profile says decimal", "at least once", "6F9619…")],
    ),
    Row({"ids": "hexadecimal"}, [response(b"17"), response(b"0A1B2C3D")], []),
    Row(
        {"ids": "hexadecimal"},
        [response(b"MSG-42")],
        [("ids in responses are no number, the profile says hexadecimal", "at least once", "MSG-42")],
    ),
    Row({"ids": "uuid"}, [response(UUID), response(UUID.replace(b"-", b""))], []),
    Row(
        {"ids": "uuid"},
        [response(UUID.replace(b"-", b"", 1)), response(b"17")],
        [("ids in responses are decimal, the profile says uuid", "at least 2 times", "17")],
    ),
    # receipts
    Row({"ids": "decimal"}, [a_receipt(b"0A", b"DELIVRD")], []),
    Row(
        {"receipt_ids": "decimal"},
        [a_receipt(b"\xff0A", b"")],
        [("ids in receipts are no number, the profile says decimal", "at least once", "?0A")],
    ),
    Row({"receipts": "text"}, [a_receipt(b"17", b"DELIVRD", FACT)], []),
    Row(
        {"receipts": "text"},
        [a_receipt(b"17", b"", FACT)],
        [("receipts come without text, the profile says text", "at least once", "17")],
    ),
    Row({"receipts": "tlv"}, [a_receipt(b"17", b"", FACT)], []),
    Row(
        {"receipts": "tlv"},
        [a_receipt(b"17", b"DELIVRD", (PORT, b"\0\1"))],
        [("receipts come without TLVs, the profile says tlv", "at least once", "17")],
    ),
    # how they find their parts
    Row({}, [match(b"17")], []),
    Row({}, [match(b"17", "derived"), match(b"18", "derived")], [(DERIVED, "2 times", "18")]),
    Row({"ids": "decimal", "receipt_ids": "hexadecimal"}, [match(b"17", "derived")], []),
    Row({"ids": "decimal", "receipt_ids": "decimal"}, [match(b"017", "derived")], [(DERIVED, "once", "017")]),
    Row(
        {"receipt_ids": "decimal"},
        [match(b"17", "derived", "by destination")],
        [(DERIVED, "once", "17"), (SUBSCRIBER, "once", "17")],
    ),
    # codes
    Row({}, [code(b"ZZ:9999", b"000"), code(b"WEIRD", b"")], [(UNKNOWN_CODES, "2 times", "WEIRD")]),
    Row({}, [code(b"+86" + MOBILE + b"\n", b"9")], [(UNKNOWN_CODES, "once", "+…? 9")]),
    # refusals
    Row({}, [refusal(STATUS.ESME_RINVMSGLEN, BODY), refusal(STATUS.ESME_RTHROTTLED, b"")], []),
    Row(
        {},
        [refusal(STATUS.ESME_RINVMSGLEN, PORT_BODY), refusal(STATUS.ESME_RTLVNOTALLWD, PAYLOAD_BODY)],
        [(NO_PAYLOAD, "2 times", "ESME_RTLVNOTALLWD")],
    ),
    *(
        Row({}, [refusal(status, body)], [(TLV_REFUSED, "once", status.name)])
        for status, body in (
            (STATUS.ESME_RINVTLVSTREAM, PORT_BODY),
            (STATUS.ESME_RTLVNOTALLWD, PORT_BODY),
            (STATUS.ESME_RINVTLVLEN, b""),
            (STATUS.ESME_RMISSINGTLV, PAYLOAD_BODY),
            (STATUS.ESME_RINVTLVVAL, BODY),
        )
    ),
    Row(
        {"tlvs": False},
        [refusal(STATUS.ESME_RTLVNOTALLWD, PORT_BODY)],  # the port was not sent
        [(NO_PAYLOAD, "once", "ESME_RTLVNOTALLWD")],
    ),
    Row({"message_payload": False}, [refusal(STATUS.ESME_RINVMSGLEN, PAYLOAD_BODY)], []),
    # binds
    Row({}, [bind(each) for each in (None, b"", b"\x34", b"\x50", b"\x33\x33")], []),
    Row({}, [bind(b"\x33")], [(OLD_VERSION, "once", "")]),
]


@pytest.mark.parametrize("row", OBSERVATIONS)
def test_what_differs_is_counted_and_said(row: Row) -> None:
    observed = Observed("cmcc", profile(**row.settings))
    with capture_logs() as lines:
        for number, look in enumerate(row.looks):
            look(observed, START_US + number)
    assert observed.sentences() == [
        f"{statement} ({times} since 2026-09-21 22:13{last and f', last {last}'})"
        for statement, times, last in row.said
    ]
    assert len(lines) == len(row.said)


def test_whatever_a_carrier_invents_makes_one_entry_and_one_line() -> None:
    observed = Observed("cmcc", profile(ids="decimal"))
    with capture_logs() as lines:
        for number in range(1204):
            observed.response_id(b"%08X" % (0xA1B2C000 + number), START_US + number)
    assert observed.sentences() == [
        "ids in responses are hexadecimal, the profile says decimal"
        " (at least 1,204 times since 2026-09-21 22:13, last A1B2C4…)"
    ]
    assert [(line["carrier"], line["kind"], line["example"]) for line in lines] == [
        ("cmcc", "response_ids", "A1B2C0…")
    ]


def test_another_profile_forgets_what_was_seen_against_the_keys_that_changed() -> None:
    observed = Observed("cmcc", profile(ids="decimal", receipts="tlv"))
    observed.response_id(b"0A", START_US)
    observed.receipt(b"0A", b"DELIVRD", (), START_US)
    observed.match(b"10", derived=True, by_destination=True, now_us=START_US)
    observed.configure(profile(ids="decimal", receipts="tlv", parts_max=3))
    assert len(observed.sentences()) == 4
    observed.configure(profile(ids="hexadecimal", receipts="tlv"))
    assert [sentence[: sentence.index(" (")] for sentence in observed.sentences()] == [
        "receipts come without TLVs, the profile says tlv",
        "receipts have the subscriber in the destination address",
    ]


# -- where it is seen --------------------------------------------------------------------------------------


def differs(world: World) -> list[str]:
    """What is said of the carrier, without how often and since when."""
    sentences = world.dispatch.carriers["cmcc"].observed.sentences()
    return [sentence[: sentence.index(" (")] for sentence in sentences]


def test_one_response_and_one_receipt_of_many_are_looked_at(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(ids="decimal", receipt_ids="decimal"),))
    peer, application = world.connect(), world.application()
    for number in range(SAMPLE_MASK + 2):
        message_id = b"A%d" % number
        application.submit(MOBILE)
        peer.take_one(message_id)
        peer.deliver(receipt(message_id, MOBILE))
    assert world.dispatch.carriers["cmcc"].observed.sentences() == [
        f"ids in {where} are hexadecimal, the profile says decimal"
        " (at least 2 times since 2026-09-21 22:13, last A64)"
        for where in ("responses", "receipts")
    ]


def test_a_reload_that_mends_the_profile_ends_the_difference(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(ids="decimal"),))
    peer, application = world.connect(), world.application()
    application.submit(MOBILE)
    peer.take_one(b"0A")
    assert differs(world) == ["ids in responses are hexadecimal, the profile says decimal"]
    world.dispatch.carriers["cmcc"].configure(carrier(ids="hexadecimal"), world.turns.now)
    assert differs(world) == []


def derived(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE)
    peer.take_one(b"1F")
    peer.deliver(receipt(b"31", MOBILE))


def derived_and_early(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE)
    (request,) = peer.taken()
    peer.deliver(receipt(b"31", MOBILE))
    peer.answer(request, b"1F")


def the_other_way_round(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", SOURCE, destination_addr=MOBILE))


def the_other_way_round_and_early(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE)
    (request,) = peer.taken()
    peer.deliver(receipt(b"17", SOURCE, destination_addr=MOBILE))
    peer.answer(request, b"17")


def early(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE)
    (request,) = peer.taken()
    peer.deliver(receipt(b"17", MOBILE))
    peer.answer(request, b"17")


def unknown_code(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE, b"ZQ-99"))


def known_codes(world: World, peer: CarrierPeer) -> None:
    application = world.application()
    for stat in (b"UNDELIV", b"MK:0001", b"EXPIRED"):
        application.submit(MOBILE)
        peer.take_one(stat)
        peer.deliver(receipt(stat, MOBILE, stat))


def payload_refused(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE, short_message=b"", tlvs=((PAYLOAD, b"x" * 300),))
    (request,) = peer.taken()
    peer.answer(request, command_status=CommandStatus.ESME_RINVMSGLEN)


def forged(world: World, peer: CarrierPeer) -> None:
    world.application().submit(MOBILE)
    peer.take_one(b"1F")
    peer.deliver(receipt(b"31", MOBILE_2))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (derived, [DERIVED]),
        (derived_and_early, [DERIVED]),
        (the_other_way_round, [SUBSCRIBER]),
        (the_other_way_round_and_early, [SUBSCRIBER]),
        (early, []),
        (unknown_code, [UNKNOWN_CODES]),
        (known_codes, []),
        (payload_refused, [NO_PAYLOAD]),
        (forged, []),
    ],
)
def test_what_a_carrier_does_otherwise_is_noticed(
    script: Callable[[World, CarrierPeer], None], expected: list[str], world: World
) -> None:
    script(world, world.connect())
    assert differs(world) == expected


class OldCarrier(CarrierPeer):
    """Answers a bind as one of SMPP 3.3."""

    def hear(self, pdu: Pdu) -> None:
        if isinstance(pdu, BindTransceiver):
            version = ((int(TlvTag.SC_INTERFACE_VERSION), b"\x33"),)
            body = encode_body(BindTransceiverResp(system_id=b"mc", tlvs=version))
            self.session.accept_bind(pdu, body, self._loop.now)
        else:
            super().hear(pdu)


def test_a_carrier_of_an_older_version_is_bound_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world_module, "CarrierPeer", OldCarrier)
    world.connect()
    assert differs(world) == [OLD_VERSION]
