"""Texts of several parts: which belong together, how a whole one is cut, and what an application hears."""

from __future__ import annotations

from itertools import permutations
from typing import Any, NamedTuple

import pytest

from gateway import long_texts
from gateway.config import RouteTable
from gateway.long_texts import TOGETHER_S, LongTexts, can_be_cut, cut
from gateway.message import FINAL, SENT, Group, Part
from protocol.alphabet import Alphabet
from protocol.smpp.codec import decode
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import CancelSm, QuerySm, QuerySmResp, ReplaceSm, SubmitMulti, SubmitSm
from protocol.smpp.pdu import SmeAddress as Address
from protocol.udh import concatenation_header, sar_tlvs
from storage import records
from storage.seal import Sealer
from tests.gateway.histories_of_attempts import LONG, PAYLOAD, UCS_2, UDHI
from tests.gateway.peers import SOURCE, receipt, submit_sm
from tests.gateway.waiting import standing
from tests.gateway.world import MOBILE, MOBILE_2, World, account, carrier

SAR_REFERENCE = int(TlvTag.SAR_MSG_REF_NUM)
CHARACTER = b"\x4f\x60"


def headed(sequence: int, total: int = 3, reference: int = 7, **fields: Any) -> SubmitSm:
    text = concatenation_header(reference, total, sequence) + b"part"
    return submit_sm(MOBILE, **{"esm_class": UDHI, "short_message": text, **fields})


def by_sar(sequence: int, total: int = 3, reference: int = 7) -> SubmitSm:
    return submit_sm(MOBILE, tlvs=sar_tlvs(reference, total, sequence))


# -- which belong together ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (("hukou", headed(1), MOBILE, 0.0), ("hukou", headed(2), MOBILE, 0.0), True),
        (("hukou", headed(3), MOBILE, 0.0), ("hukou", headed(1), MOBILE, TOGETHER_S), True),
        (("hukou", headed(1), MOBILE, 0.0), ("hukou", headed(2), MOBILE, TOGETHER_S + 0.1), False),
        (("hukou", headed(1), MOBILE, 0.0), ("jiaoguan", headed(2), MOBILE, 0.0), False),
        (("hukou", headed(1), MOBILE, 0.0), ("hukou", headed(2), MOBILE_2, 0.0), False),
        (("hukou", headed(1), MOBILE, 0.0), ("hukou", headed(2, reference=8), MOBILE, 0.0), False),
        (("hukou", headed(1), MOBILE, 0.0), ("hukou", headed(2, total=2), MOBILE, 0.0), False),
        (("hukou", headed(1), MOBILE, 0.0), ("hukou", headed(2, source_addr=b"1"), MOBILE, 0.0), False),
        (("hukou", by_sar(1), MOBILE, 0.0), ("hukou", by_sar(3), MOBILE, 0.0), True),
        (("hukou", by_sar(1), MOBILE, 0.0), ("hukou", headed(2), MOBILE, 0.0), False),
    ],
)
def test_parts_with_one_reference_belong_together_for_a_while(
    first: tuple[str, SubmitSm, bytes, float], second: tuple[str, SubmitSm, bytes, float], together: bool
) -> None:
    texts = LongTexts()
    (group, _), (other, _) = texts.group_of(*first), texts.group_of(*second)
    assert group is not None
    assert other is not None
    assert (group is other) is together
    assert (group.carrier, group.first, group.cut_into) == (None, 0, 1)


def test_after_a_restart_the_rest_of_a_text_takes_the_way_of_its_beginning(sealer: Sealer) -> None:
    two = (carrier("a"), carrier("b"))
    before = World(sealer, carriers=two)
    before.connect("a"), before.connect("b")
    application = before.application()
    application.ask(headed(1))
    (way,) = {record.carrier for record in before.log.read() if isinstance(record, records.Accepted)}
    after = World(sealer, carriers=two, found=before.log.entries)
    after.restore()
    peers = {name: after.connect(name) for name in ("a", "b")}
    application = after.application()
    for sequence in (2, 3):
        application.ask(headed(sequence))
    assert {name: len(peer.taken()) for name, peer in peers.items()} == {"a": 0, "b": 0, way: 2}


def test_after_a_restart_the_rest_of_a_text_goes_where_a_part_of_it_was_sent_instead(sealer: Sealer) -> None:
    """The first part has its time still; the second has left, and its carrier had no way."""
    ways = RouteTable(network="mobile", carriers=("a", "b"), weights=(1, 0))
    carriers = carrier("a"), carrier("b")
    before = World(sealer, carriers=carriers, routes=(ways,))
    first, second, application = before.connect("a"), before.connect("b"), before.application()
    application.ask(headed(1, total=2, schedule_delivery_time=b"000000010000000R"))
    application.ask(headed(2, total=2))
    first.take_one(b"17")
    first.deliver(receipt(b"17", MOBILE, b"MB:1044"))
    for _ in range(2):
        before.wait(0.0)
    second.take_one(b"18")
    after = World(sealer, carriers=carriers, routes=(ways,), found=before.log.entries, now=before.loop.now)
    after.restore()
    after.wait(3_600.0)
    peers = after.connect("a"), after.connect("b")
    assert [len(peer.taken()) for peer in peers] == [0, 1]


def test_after_a_restart_each_text_has_its_own_parts(sealer: Sealer) -> None:
    """Though they have one reference, and of each the first part is final and the second one open."""
    before = World(sealer)
    peer, application = before.connect(), before.application()
    for text in range(2):
        for sequence in (1, 2):
            application.ask(headed(sequence, total=2))
        for number, request in enumerate(peer.taken()):
            peer.answer(request, b"%d%d" % (text, number))
        peer.deliver(receipt(b"%d0" % text, MOBILE))
    after = World(sealer, found=before.log.entries)
    after.restore()
    parts = sorted((*after.open_parts.open.values(), *after.open_parts._finished.values()), key=_number)
    first, second = parts[0].group, parts[2].group
    assert [part.state for part in parts] == [FINAL, SENT, FINAL, SENT]
    assert [part.group for part in parts] == [first, first, second, second]
    assert first is not second


def _number(part: Part) -> int:
    return part.number


@pytest.mark.parametrize(("leaves", "stays"), [("b", True), ("a", False)])
def test_of_a_text_whose_carrier_leaves_only_what_comes_then_is_led_anew(
    leaves: str, stays: bool, sealer: Sealer
) -> None:
    """The parts that wait know the group, and by its carrier where they are looked for."""
    a, b = standing("a"), standing("b")
    texts = LongTexts()
    group, _ = texts.group_of("hukou", headed(1), MOBILE, 0.0)
    assert group is not None
    group.carrier = a
    texts.forget({"a": a, "b": b}[leaves])
    later, _ = texts.group_of("hukou", headed(2), MOBILE, 0.0)
    assert (later is group, group.carrier) == (stays, a)


class Coming(NamedTuple):
    """Sequence numbers of parts of three with one reference, in order, each with the number of the text that
    it is taken for; and whether a carrier that is in service is kept from one text to the next."""

    parts: tuple[int, ...]
    texts: tuple[int, ...]
    kept: bool = False
    refused: tuple[int, ...] = ()  # places in ``parts``: these are not accepted


@pytest.mark.parametrize(
    "case",
    [
        Coming((1, 2, 3), (0, 0, 0)),
        Coming((1, 2, 3, 1, 2, 3, 1), (0, 0, 0, 1, 1, 1, 2)),
        Coming((3, 1, 2, 2, 1, 3), (0, 0, 0, 1, 1, 1)),
        # Said again when the answer was lost: the rest must follow the first way.
        Coming((1, 2, 2, 3), (0, 0, 1, 1), kept=True),
        Coming((1, 1, 1), (0, 1, 2), kept=True),
        Coming((1, 2, 2, 3), (0, 0, 0, 0), refused=(1,)),
    ],
)
@pytest.mark.parametrize("in_service", [True, False])
def test_a_part_that_came_before_is_of_the_next_text(case: Coming, in_service: bool) -> None:
    """Some applications have one reference for all their texts: these must not follow the first for ever."""
    way = standing("a", links=int(in_service))
    texts = LongTexts()
    groups: list[Group] = []
    for place, sequence in enumerate(case.parts):
        group, bit = texts.group_of("hukou", headed(sequence), MOBILE, 0.0)
        assert group is not None
        assert bit == 1 << sequence
        if group not in groups:
            assert group.carrier is (way if groups and case.kept and in_service else None)
            groups.append(group)
            group.carrier = way
        assert groups.index(group) == case.texts[place]
        if place not in case.refused:
            group.came |= bit


def test_a_text_does_not_go_to_the_dark_carrier_of_the_last_one(sealer: Sealer) -> None:
    """Its application gives all its texts one reference, and writes before ten minutes are over."""
    way = RouteTable(network="mobile", carriers=("a", "b"), weights=(1, 0))
    world = World(sealer, carriers=(carrier("a"), carrier("b")), routes=(way,))
    first, second, application = world.connect("a"), world.connect("b"), world.application()
    for sequence in (1, 2):
        application.ask(headed(sequence, total=2))
    assert len(first.taken()) == 2
    first.cut()
    for _ in range(2):
        world.wait(TOGETHER_S - 1.0)
        for sequence in (1, 2):
            application.ask(headed(sequence, total=2))
        assert len(second.taken()) == 2


def test_a_part_that_is_refused_and_comes_again_takes_the_way_of_its_text(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("a"), carrier("b")), accounts=(account(rate_per_s=1, burst=2),))
    peers, application = (world.connect("a"), world.connect("b")), world.application()
    statuses = []
    for sequence in (1, 2, 3, 3):
        statuses.append(application.ask(headed(sequence)).command_status)
        if statuses[-1]:
            world.wait(1.0)
    assert statuses == [0, 0, CommandStatus.ESME_RTHROTTLED, 0]
    assert sorted(len(peer.taken()) for peer in peers) == [0, 3]


@pytest.mark.parametrize(
    "pdu",
    [
        submit_sm(MOBILE),
        headed(1, total=1),
        headed(1, short_message=b"\5\0\3\7\2\3text"),  # part 3 of 2: a phone takes it for no part
        headed(1, short_message=b"\x7fno header"),
        headed(1, short_message=b"\6\5\4\x0b\x84\x23\xf0text"),  # ports, and no parts
        submit_sm(MOBILE, tlvs=((SAR_REFERENCE, b"\0\7"),)),  # the other two TLVs are missing
    ],
)
def test_what_names_no_other_part_stands_alone(pdu: SubmitSm) -> None:
    assert LongTexts().group_of("hukou", pdu, MOBILE, 0.0) == (None, 0)


def test_the_text_that_is_longest_unheard_of_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_texts, "TEXTS_MAX", 2)
    texts = LongTexts()
    one, two = (texts.group_of("hukou", headed(1, reference=each), MOBILE, 0.0)[0] for each in (1, 2))
    assert texts.group_of("hukou", headed(2, reference=1), MOBILE, 0.0)[0] is one
    texts.group_of("hukou", headed(1, reference=3), MOBILE, 0.0)
    assert texts.group_of("hukou", headed(3, reference=1), MOBILE, 0.0)[0] is one
    assert texts.group_of("hukou", headed(2, reference=2), MOBILE, 0.0)[0] is not two


# -- how one is cut ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pdu", "may"),
    [
        (submit_sm(MOBILE, short_message=b"a" * 200), True),
        (headed(1), False),
        (by_sar(1), False),
        (submit_sm(MOBILE, **LONG), True),
    ],
)
def test_what_is_a_part_already_is_not_cut(pdu: SubmitSm, may: bool) -> None:
    assert can_be_cut(pdu) is may


@pytest.mark.parametrize(
    ("text", "data_coding", "alphabet", "pieces"),
    [
        (b"a" * 161, 0, Alphabet.GSM, [b"a" * 153, b"a" * 8]),
        (b"a" * 152 + b"\x1b\x65" + b"a" * 10, 0, Alphabet.GSM, [b"a" * 152, b"\x1b\x65" + b"a" * 10]),
        (b"a" * 161, 0, Alphabet.LATIN_1, [b"a" * 134, b"a" * 27]),
        (CHARACTER * 71, UCS_2, Alphabet.GSM, [CHARACTER * 67, CHARACTER * 4]),
        (
            CHARACTER * 66 + b"\xd8\x3d\xde\x00" + CHARACTER * 5,
            UCS_2,
            Alphabet.GSM,
            [CHARACTER * 66, b"\xd8\x3d\xde\x00" + CHARACTER * 5],
        ),
        (bytes(141), 4, Alphabet.GSM, [bytes(134), bytes(7)]),
    ],
)
def test_a_text_is_cut_between_its_characters(
    text: bytes, data_coding: int, alphabet: Alphabet, pieces: list[bytes]
) -> None:
    """Whether it comes in short_message or in message_payload; all else stays."""
    kept = ((0x1401, b"vendor"),)
    fields = {"data_coding": data_coding, "esm_class": 2, "service_type": b"CMT", "priority_flag": 1}
    ways = (
        submit_sm(MOBILE, short_message=text, tlvs=kept, **fields),
        submit_sm(MOBILE, short_message=b"", tlvs=(*kept, (PAYLOAD, text)), **fields),
    )
    for whole in ways:
        parts = cut(whole, alphabet, 0x1234)
        expected = [
            submit_sm(
                MOBILE,
                short_message=concatenation_header(0x34, len(pieces), sequence) + piece,
                tlvs=kept,
                **{**fields, "esm_class": 2 | UDHI},
            )
            for sequence, piece in enumerate(pieces, 1)
        ]
        assert [part for part, _ in parts] == expected
        assert [decode(frame) for _, frame in parts] == expected


# -- on their way ------------------------------------------------------------------------------------------


def test_a_carrier_that_takes_long_texts_gets_them_whole(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, **LONG)
    (request,) = peer.taken()
    assert (request.short_message, request.tlvs) == (b"", LONG["tlvs"])
    assert (world.part(message_id).units, world.part(message_id).group) == (3, None)


@pytest.fixture
def parts_only(sealer: Sealer) -> World:
    return World(sealer, carriers=(carrier(message_payload=False),))


def test_another_one_gets_parts_that_are_recorded_one_by_one(parts_only: World) -> None:
    world = parts_only
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, **LONG)
    first = world.part(message_id).number
    requests = peer.taken()
    reference = first & 0xFF
    assert [request.short_message for request in requests] == [
        concatenation_header(reference, 3, 1) + CHARACTER * 67,
        concatenation_header(reference, 3, 2) + CHARACTER * 67,
        concatenation_header(reference, 3, 3) + CHARACTER * 16,
    ]
    assert {(request.esm_class, request.data_coding) for request in requests} == {(UDHI, UCS_2)}
    accepted = [record for record in world.log.read() if isinstance(record, records.Accepted)]
    assert [(each.message, each.parts, each.first, each.cut_into) for each in accepted] == [
        (0, 1, first, 3),
        (first, 1, first, 3),
        (first, 1, first, 3),
    ]
    assert world.accounts["hukou"].bucket.level(world.turns.now) == 10_000 - 3


def test_a_short_text_is_not_cut(parts_only: World) -> None:
    peer, application = parts_only.connect(), parts_only.application()
    application.submit(MOBILE, short_message=b"a" * 160)
    application.submit(MOBILE, short_message=CHARACTER * 70, data_coding=UCS_2)
    assert [len(request.short_message) for request in peer.taken()] == [160, 140]


def test_each_destination_of_one_text_has_its_own_parts_and_report(parts_only: World) -> None:
    world = parts_only
    peer, application = world.connect(), world.application()
    addresses = tuple(Address(1, 1, number) for number in (MOBILE, MOBILE_2))
    application.ask(SubmitMulti(source_addr=SOURCE, dest_address=addresses, registered_delivery=1, **LONG))
    requests = peer.taken()
    assert [request.destination_addr for request in requests] == [MOBILE] * 3 + [MOBILE_2] * 3
    for number, request in enumerate(requests):
        peer.answer(request, b"%d" % number)
        peer.deliver(
            receipt(b"%d" % number, request.destination_addr, b"UNDELIV" if number == 4 else b"DELIVRD")
        )
    first = min(part.message for part in world.open_parts._finished.values())
    message_id = world.message_ids.text(first)
    assert application.reports() == [(message_id, 2, b"000"), (message_id, 5, b"000")]


# -- what an application hears -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("failing", [None, 0, 1, 2])
def test_there_is_one_report_for_what_the_gateway_cut(
    order: tuple[int, ...], failing: int | None, parts_only: World
) -> None:
    """All delivered, when the last one is; or the first failure, when that comes."""
    world = parts_only
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, **LONG)
    for number, request in enumerate(peer.taken()):
        peer.answer(request, b"4%d" % number)
    heard = []
    for number in order:
        stat = b"UNDELIV" if number == failing else b"DELIVRD"
        peer.deliver(receipt(b"4%d" % number, MOBILE, stat, err=b"%03d" % number))
        heard.append(application.reports())
    expected: list[list[tuple[bytes, int, bytes]]] = [[], [], []]
    if failing is None:
        expected[2] = [(message_id, 2, b"%03d" % order[2])]
    else:
        expected[order.index(failing)] = [(message_id, 5, b"%03d" % failing)]
    assert heard == expected


class Ends(NamedTuple):
    """How the parts of a text end: answered with a status, told by a receipt, or not at all."""

    statuses: tuple[int, int, int]
    stats: tuple[bytes, ...]
    reports: list[int]


ENDS = {
    "refused": Ends((0, 0x0B, 0), (b"DELIVRD", b"DELIVRD"), [8]),
    "refused all": Ends((0x0B, 0x0B, 0x0B), (), [8]),
    "one refused, one failed": Ends((0, 0x0B, 0), (b"UNDELIV",), [8]),
    "one is open": Ends((0, 0, 0), (b"DELIVRD", b"DELIVRD"), []),
    "two fail": Ends((0, 0, 0), (b"UNDELIV", b"MK:0001", b"DELIVRD"), [5]),
}


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_the_first_failure_is_the_end_of_a_text(case: Ends, parts_only: World) -> None:
    peer, application = parts_only.connect(), parts_only.application()
    application.submit(MOBILE, **LONG)
    for number, (request, status) in enumerate(zip(peer.taken(), case.statuses, strict=True)):
        peer.answer(request, b"4%d" % number, status)
    taken = [number for number, status in enumerate(case.statuses) if not status]
    for number, stat in zip(taken, case.stats, strict=False):
        peer.deliver(receipt(b"4%d" % number, MOBILE, stat))
    assert [state for _, state, _ in application.reports()] == case.reports


@pytest.mark.parametrize(
    ("wish", "failed", "heard"), [(0, True, 0), (2, True, 1), (2, False, 0), (3, False, 1)]
)
def test_a_text_is_reported_to_whoever_asked_for_it(
    wish: int, failed: bool, heard: int, parts_only: World
) -> None:
    peer, application = parts_only.connect(), parts_only.application()
    application.submit(MOBILE, registered_delivery=wish, **LONG)
    for number, request in enumerate(peer.taken()):
        peer.answer(request, b"4%d" % number)
        peer.deliver(receipt(b"4%d" % number, MOBILE, b"UNDELIV" if failed else b"DELIVRD"))
    assert len(application.reports()) == heard


def test_of_what_an_application_cut_it_hears_part_by_part(world: World) -> None:
    peer, application = world.connect(), world.application()
    ids = []
    for sequence in (1, 2, 3):
        ids.append(application.submit(MOBILE, esm_class=UDHI, short_message=headed(sequence).short_message))
        (request,) = peer.taken()
        assert request.short_message == headed(sequence).short_message
        peer.answer(request, b"4%d" % sequence)
        peer.deliver(receipt(b"4%d" % sequence, MOBILE, b"UNDELIV" if sequence == 2 else b"DELIVRD"))
    assert application.reports() == [(each, 5 if each == ids[1] else 2, b"000") for each in ids]


def test_a_report_that_is_owed_keeps_the_whole_text_in_reach_of_a_restart(sealer: Sealer) -> None:
    carriers = (carrier(message_payload=False),)
    world = World(sealer, carriers=carriers)
    peer, application = world.connect(), world.application(bind="transmitter")
    message_id = application.submit(MOBILE, **LONG)
    first = world.part(message_id).number
    for number, request in enumerate(peer.taken()):
        peer.answer(request, b"4%d" % number)
        peer.deliver(receipt(b"4%d" % number, MOBILE))
    world.wait(1.0)
    assert (world.open_parts.open, world.commitment.low_water) == ({}, first)
    after = World(sealer, carriers=carriers, found=world.log.entries)
    after.restore()
    after.wait(1.0)
    assert after.commitment.low_water == first
    assert after.application().reports() == [(message_id, 2, b"000")]


# -- what an application asks ------------------------------------------------------------------------------


def ask_state(world: World, application: Any, message_id: bytes) -> int:
    answer = application.ask(QuerySm(message_id=message_id, source_addr=SOURCE))
    assert isinstance(answer, QuerySmResp)
    return answer.message_state


def test_a_text_is_delivered_when_all_of_it_is(parts_only: World) -> None:
    world = parts_only
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, **LONG)
    for number, request in enumerate(peer.taken()):
        assert ask_state(world, application, message_id) == 1
        peer.answer(request, b"4%d" % number)
        peer.deliver(receipt(b"4%d" % number, MOBILE))
    assert ask_state(world, application, message_id) == 2


def test_a_text_has_failed_when_one_part_has(parts_only: World) -> None:
    world = parts_only
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, **LONG)
    for number, request in enumerate(peer.taken()):
        peer.answer(request, b"4%d" % number)
    peer.deliver(receipt(b"42", MOBILE, b"UNDELIV"))
    assert ask_state(world, application, message_id) == 5


def test_a_text_is_cancelled_as_a_whole_or_not_at_all(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(message_payload=False, window=1),))
    application = world.application()
    whole, begun = application.submit(MOBILE, **LONG), application.submit(MOBILE_2, **LONG)
    assert application.ask(CancelSm(message_id=whole, source_addr=SOURCE)).command_status == 0
    assert application.reports() == [(whole, 4, b"000")]
    assert len(world.connect().taken()) == 1
    ways = (
        CancelSm(message_id=begun, source_addr=SOURCE),
        CancelSm(source_addr=SOURCE, destination_addr=MOBILE_2),
    )
    for way in ways:
        assert application.ask(way).command_status == CommandStatus.ESME_RCANCELFAIL
    assert application.reports() == []


def test_a_text_that_was_cut_is_not_replaced(parts_only: World) -> None:
    application = parts_only.application()
    cut_text, short = application.submit(MOBILE, **LONG), application.submit(MOBILE)
    fails = CommandStatus.ESME_RREPLACEFAIL
    for message_id, text, status in (
        (cut_text, b"short", fails),
        (short, b"a" * 161, fails),
        (short, b"a" * 160, 0),
    ):
        wish = ReplaceSm(message_id=message_id, source_addr=SOURCE, short_message=text)
        assert application.ask(wish).command_status == status


def test_what_a_carrier_took_whole_is_counted_by_its_units(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE, **LONG)
    peer.take_one(b"17")
    assert (world.part(message_id).state, world.part(message_id).units) == (SENT, 3)
