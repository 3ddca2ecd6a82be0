"""Parts of replies in any order, by any of the three notations, and the one deliver_sm that they become."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reassembly import (
    COMPLETE,
    CROWDED,
    OPEN,
    OVERDUE,
    OVERSIZE,
    PARTS_MISSING_TLV,
    REPEATS_MAX,
    REUSED,
    TEXT_OCTETS_MAX,
    Assembly,
    Reassembly,
    ReplyKey,
    ReplyPart,
    Source,
    part_in,
    whole_of,
)
from protocol.alphabet import Alphabet
from protocol.smpp.codec import decode, encode
from protocol.smpp.codes import TlvTag
from protocol.smpp.limits import FRAME_LENGTH_MAX
from protocol.smpp.pdu import DataSm, DeliverSm, Tlvs
from protocol.udh import Concatenation, ConcatenationKind, Elements, sar_tlvs, split, split_sar

UDH_8, UDH_16, SAR = ConcatenationKind.UDH_8, ConcatenationKind.UDH_16, ConcatenationKind.SAR
PAYLOAD, LANGUAGE = int(TlvTag.MESSAGE_PAYLOAD), int(TlvTag.LANGUAGE_INDICATOR)
VENDOR: Tlvs = ((0x1400, b"v"),)
TIMEOUT_S = 600.0


def key(reference: int = 7, **other: Any) -> ReplyKey:
    fields: dict[str, Any] = {
        "carrier": "cmcc",
        "subscriber": b"13812345678",
        "destination": b"10639110",
        "kind": UDH_8,
        "reference": reference,
    }
    return ReplyKey(**fields | other)


def part(index: int, sequence: int, text: bytes = b"") -> ReplyPart:
    return ReplyPart(index, index * 1000, sequence, text or b"<%d>" % sequence)


Told = tuple[str, bytes, tuple[int, ...], list[int]]


def told(assembly: Assembly) -> Told:
    """(why it ended, text, missing sequences, indexes of records)."""
    return assembly.ended, assembly.joined(), assembly.missing, assembly.indexes


# -- a script -----------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """At `now` a part comes, the index of its record being the step's; what is told, and what is needed then.

    complete: of `add`. given_up: of `overdue` in the same turn. oldest: the lowest index still needed.
    """

    now: float
    reference: int
    sequence: int
    total: int
    text: bytes
    complete: Told | None
    given_up: list[Told]
    oldest: int | None


SCRIPTS: dict[str, list[Step]] = {
    "one part is complete at once": [
        Step(0.0, 7, 1, 1, b"a", (COMPLETE, b"a", (), [1]), [], None),
    ],
    "in order": [
        Step(0.0, 7, 1, 2, b"a", None, [], 1),
        Step(1.0, 7, 2, 2, b"b", (COMPLETE, b"ab", (), [1, 2]), [], None),
    ],
    "the last part first": [
        Step(0.0, 7, 3, 3, b"c", None, [], 1),
        Step(1.0, 7, 1, 3, b"a", None, [], 1),
        Step(2.0, 7, 2, 3, b"b", (COMPLETE, b"abc", (), [1, 2, 3]), [], None),
    ],
    "two messages in turns": [
        Step(0.0, 7, 1, 2, b"a", None, [], 1),
        Step(0.0, 8, 2, 2, b"y", None, [], 1),
        Step(0.0, 7, 2, 2, b"b", (COMPLETE, b"ab", (), [1, 3]), [], 2),
        Step(0.0, 8, 1, 2, b"x", (COMPLETE, b"xy", (), [2, 4]), [], None),
    ],
    "another total is another message": [
        Step(0.0, 7, 1, 2, b"a", None, [], 1),
        Step(0.0, 7, 2, 3, b"y", None, [], 1),
        Step(0.0, 7, 2, 2, b"b", (COMPLETE, b"ab", (), [1, 3]), [], 2),
    ],
    "a part that comes again changes nothing, and its record goes along": [
        Step(0.0, 7, 1, 2, b"a", None, [], 1),
        Step(1.0, 7, 1, 2, b"a", None, [], 1),
        Step(2.0, 7, 2, 2, b"b", (COMPLETE, b"ab", (), [1, 2, 3]), [], None),
    ],
    "another text in the same place is another message": [
        Step(0.0, 7, 1, 3, b"a", None, [], 1),
        Step(1.0, 7, 3, 3, b"c", None, [], 1),
        Step(2.0, 7, 1, 3, b"A", None, [(REUSED, b"ac", (2,), [1, 2])], 3),
        Step(3.0, 7, 2, 3, b"B", None, [], 3),
        Step(4.0, 7, 3, 3, b"C", (COMPLETE, b"ABC", (), [3, 4, 5]), [], None),
    ],
    "the time counts from the first part": [
        Step(0.0, 7, 2, 3, b"b", None, [], 1),
        Step(599.9, 7, 3, 3, b"c", None, [], 1),
        Step(600.0, 8, 1, 2, b"x", None, [(OVERDUE, b"bc", (1,), [1, 2])], 3),
        Step(600.5, 7, 1, 3, b"a", None, [], 3),
        Step(1200.5, 9, 1, 1, b".", (COMPLETE, b".", (), [5]),
             [(OVERDUE, b"x", (2,), [3]), (OVERDUE, b"a", (2, 3), [4])], None),
    ],
    "of four, the oldest gives its place": [
        Step(0.0, 1, 1, 2, b"a", None, [], 1),
        Step(1.0, 2, 1, 2, b"b", None, [], 1),
        Step(2.0, 3, 1, 2, b"c", None, [], 1),
        Step(3.0, 9, 1, 1, b".", (COMPLETE, b".", (), [4]), [], 1),  # needs no place
        Step(4.0, 4, 1, 2, b"d", None, [(CROWDED, b"a", (2,), [1])], 2),
        Step(5.0, 2, 2, 2, b"B", (COMPLETE, b"bB", (), [2, 6]), [], 3),
        Step(6.0, 1, 2, 2, b"A", None, [], 3),
    ],
    "reused, crowded and overdue in one turn, oldest first": [
        Step(0.0, 1, 1, 2, b"a", None, [], 1),
        Step(1.0, 2, 1, 2, b"b", None, [], 1),
        Step(2.0, 3, 1, 2, b"c", None, [], 1),
        Step(601.0, 3, 1, 2, b"C", None,
             [(OVERDUE, b"a", (2,), [1]), (OVERDUE, b"b", (2,), [2]), (REUSED, b"c", (2,), [3])], 4),
    ],
    "longer than a message can be": [
        Step(0.0, 7, 1, 3, b"a" * TEXT_OCTETS_MAX, None, [], 1),
        Step(1.0, 7, 2, 3, b"b", None, [(OVERSIZE, b"a" * TEXT_OCTETS_MAX, (2, 3), [1])], 2),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_parts(name: str) -> None:
    reassembly = Reassembly(TIMEOUT_S, open_max=3)
    for index, step in enumerate(SCRIPTS[name], 1):
        coming = ReplyPart(index, index * 1000, step.sequence, step.text)
        complete = reassembly.add(key(step.reference), step.total, coming, step.now)
        assert (None if complete is None else told(complete)) == step.complete, index
        assert [told(each) for each in reassembly.overdue(step.now)] == step.given_up, index
        assert reassembly.oldest() == step.oldest, index
        assert bool(reassembly) is (step.oldest is not None), index


@pytest.mark.parametrize(
    "other",
    [
        {"carrier": "cucc"},
        {"subscriber": b"13912345678"},
        {"destination": b"106391101"},
        {"kind": UDH_16},
        {"kind": SAR},
        {"reference": 8},
    ],
)
def test_what_differs_in_anything_is_another_message(other: dict[str, Any]) -> None:
    reassembly = Reassembly(TIMEOUT_S, open_max=10)
    assert reassembly.add(key(), 2, part(1, 1), 0.0) is None
    assert reassembly.add(key(**other), 2, part(2, 2), 0.0) is None
    complete = reassembly.add(key(), 2, part(3, 2), 0.0)
    assert complete is not None
    assert complete.indexes == [1, 3]
    assert len(reassembly) == 1


def test_what_gave_way_is_needed_until_it_is_handed_over_once() -> None:
    reassembly = Reassembly(TIMEOUT_S, open_max=1)
    reassembly.add(key(1), 2, part(1, 1), 0.0)
    reassembly.add(key(2), 2, part(2, 2), 0.0)
    assert (len(reassembly), reassembly.oldest()) == (1, 1)
    assert [each.ended for each in reassembly.overdue(0.0)] == [CROWDED]
    assert (reassembly.overdue(0.0), reassembly.oldest()) == ([], 2)


def test_an_assembly_remembers_when_it_began() -> None:
    reassembly = Reassembly(TIMEOUT_S, open_max=1)
    reassembly.add(key(), 3, part(4, 3), 17.5)
    assert reassembly.overdue(617.4) == []
    reassembly.add(key(), 3, part(5, 2), 617.4)
    (assembly,) = reassembly.overdue(617.5)
    assert (assembly.key, assembly.total, assembly.started) == (key(), 3, 17.5)
    assert (assembly.head, assembly.oldest) == (part(5, 2), 4)


def test_repetitions_end() -> None:
    reassembly = Reassembly(TIMEOUT_S, open_max=1)
    for index in range(1, REPEATS_MAX + 2):
        assert reassembly.add(key(), 2, part(index, 1), 0.0) is None
    assert reassembly.overdue(0.0) == []
    reassembly.add(key(), 2, part(REPEATS_MAX + 2, 1), 0.0)
    (assembly,) = reassembly.overdue(0.0)
    assert (assembly.ended, assembly.indexes) == (REUSED, list(range(1, REPEATS_MAX + 2)))
    assert reassembly.oldest() == REPEATS_MAX + 2


def source(octets: int) -> Source:
    return Source("hukou", Alphabet.GSM, DeliverSm(tlvs=((0x1500, bytes(octets)),)))


def test_of_all_parts_the_pdu_of_the_first_is_kept() -> None:
    reassembly = Reassembly(TIMEOUT_S, open_max=1)
    sources = {sequence: source(60_000 + sequence) for sequence in (3, 2, 4)}
    for index, sequence in enumerate((3, 2, 4, 4, 2), 1):
        reassembly.add(key(), 5, part(index, sequence), 0.0, sources.get(sequence))
    (assembly,) = reassembly.overdue(TIMEOUT_S)
    assert assembly.source is sources[2]
    assert assembly.held == 2_000 + 3 * (300 + 3) + 2 * 40 + 150 + 60_002


@pytest.mark.parametrize(
    ("octets", "ended"),
    [  # of the second reply; the first one takes 3453
        (0, []),
        (1_094, []),
        (1_095, [(1, CROWDED)]),
        (9_000, [(1, CROWDED), (2, CROWDED)]),
    ],
)
def test_what_waits_has_room_together(octets: int, ended: list[tuple[int, str]]) -> None:
    reassembly = Reassembly(TIMEOUT_S, open_max=9, held_max=7_000)
    reassembly.add(key(1), 3, part(1, 1), 0.0, source(1_000))
    reassembly.add(key(2), 3, part(2, 1), 0.0, source(octets))
    assert [(each.oldest, each.ended) for each in reassembly.overdue(0.0)] == ended
    for number in (1, 2):
        for sequence in (1, 2, 3):
            reassembly.add(key(number), 3, part(9, sequence), 0.0, source(0))
    reassembly.overdue(TIMEOUT_S)
    assert reassembly._held == 0


# -- what a PDU brings --------------------------------------------------------------------------------------


class Brought(NamedTuple):
    """A PDU, and what `part_in` says of it."""

    name: str
    esm_class: int
    short_message: bytes
    tlvs: Tlvs
    concatenation: Concatenation | None
    text: bytes
    elements: Elements = ()


HEADER_8, HEADER_16 = bytes.fromhex("0500032a0302"), bytes.fromhex("060804 1234 0302")
PORTS = bytes.fromhex("0504 15 81 0000")  # application ports, 16 bits
BROUGHT = [
    Brought("alone", 0, b"text", VENDOR, None, b"text"),
    Brought("empty", 0, b"", (), None, b""),
    Brought("8 bits", 0x40, HEADER_8 + b"text", (), Concatenation(42, 3, 2, UDH_8), b"text"),
    Brought("16 bits", 0x40, HEADER_16 + b"text", (), Concatenation(0x1234, 3, 2, UDH_16), b"text"),
    Brought("SAR", 0, b"text", (*VENDOR, *sar_tlvs(0x1234, 3, 2)), Concatenation(0x1234, 3, 2, SAR), b"text"),
    Brought("8 bits, payload", 0x40, b"", ((PAYLOAD, HEADER_8 + b"text"),), Concatenation(42, 3, 2, UDH_8),
            b"text"),
    Brought("SAR, payload", 0, b"", ((PAYLOAD, b"text"), *sar_tlvs(9, 3, 2)), Concatenation(9, 3, 2, SAR),
            b"text"),
    Brought("with ports", 0x40, b"\x0b" + HEADER_8[1:] + b"\x05\x04\x15\x81\0\0" + b"text", (),
            Concatenation(42, 3, 2, UDH_8), b"text", ((0x05, b"\x15\x81\0\0"),)),
    Brought("ports, and SAR", 0x40, b"\x06\x05\x04\x15\x81\0\0" + b"text", sar_tlvs(9, 3, 2),
            Concatenation(9, 3, 2, SAR), b"text", ((0x05, b"\x15\x81\0\0"),)),
    Brought("ports only", 0x40, b"\x06\x05\x04\x15\x81\0\0" + b"text", (), None, b"text",
            ((0x05, b"\x15\x81\0\0"),)),
    Brought("part 4 of 3", 0x40, bytes.fromhex("0500032a0304") + b"text", (), None, b"text"),
    Brought("header that is no header", 0x40, b"\x40text", sar_tlvs(9, 3, 2), None, b"\x40text"),
    Brought("header promised, nothing there", 0x40, b"", (), None, b""),
    Brought("header without the bit", 0, HEADER_8 + b"text", (), None, HEADER_8 + b"text"),
    Brought("two of three SAR TLVs", 0, b"text", sar_tlvs(9, 3, 2)[:2], None, b"text"),
    Brought("as long as a message", 0, b"", ((PAYLOAD, b"a" * TEXT_OCTETS_MAX), *sar_tlvs(9, 3, 2)),
            Concatenation(9, 3, 2, SAR), b"a" * TEXT_OCTETS_MAX),
    Brought("longer", 0, b"", ((PAYLOAD, b"a" * (TEXT_OCTETS_MAX + 1)), *sar_tlvs(9, 3, 2)), None,
            b"a" * (TEXT_OCTETS_MAX + 1)),
    Brought("header of a whole part", 0x40, b"\x8b" + HEADER_8[1:] + b"\x70\x84" + b"a" * 132, (),
            Concatenation(42, 3, 2, UDH_8), b"", ((0x70, b"a" * 132),)),
    Brought("header longer than a part", 0x40, b"\x8c" + HEADER_8[1:] + b"\x70\x85" + b"a" * 133, (), None,
            b"", ((0x70, b"a" * 133),)),
]  # fmt: skip


@pytest.mark.parametrize("brought", BROUGHT, ids=lambda brought: brought.name)
def test_what_a_pdu_brings(brought: Brought) -> None:
    expected = brought.concatenation, brought.text, brought.elements
    esm_class, short_message, tlvs = brought.esm_class, brought.short_message, brought.tlvs
    assert part_in(DeliverSm(esm_class=esm_class, short_message=short_message, tlvs=tlvs)) == expected
    if short_message:  # a data_sm says the same in its payload
        tlvs = ((PAYLOAD, short_message), *tlvs)
    assert part_in(DataSm(esm_class=esm_class, tlvs=tlvs)) == expected


# -- the one deliver_sm -------------------------------------------------------------------------------------


class Whole(NamedTuple):
    """The PDU of the head, the texts of the parts by sequence, and what the whole has beside ADDRESSED."""

    name: str
    pdu: DeliverSm | DataSm
    total: int
    texts: dict[int, bytes]
    esm_class: int
    short_message: bytes
    tlvs: Tlvs


ADDRESSED: dict[str, Any] = {
    "service_type": b"CMT",
    "source_addr_ton": 1,
    "source_addr_npi": 2,
    "source_addr": b"13812345678",
    "dest_addr_ton": 3,
    "dest_addr_npi": 4,
    "destination_addr": b"10639110",
    "registered_delivery": 5,
    "data_coding": 8,
}
ONLY_OF_A_DELIVER_SM: dict[str, Any] = {"protocol_id": 6, "priority_flag": 2, "sm_default_msg_id": 3}
A, B = b"a" * 134, b"b" * 120
WHOLES = [
    Whole("short", DeliverSm(9, 1, **ADDRESSED, esm_class=0x40, short_message=HEADER_8 + A, tlvs=VENDOR),
          2, {1: A, 2: B}, 0, A + B, VENDOR),
    Whole("an octet longer", DeliverSm(**ADDRESSED, esm_class=0x40, short_message=HEADER_8 + A),
          2, {1: A, 2: B + b"c"}, 0, b"", ((PAYLOAD, A + B + b"c"),)),
    Whole("by SAR", DeliverSm(**ADDRESSED, esm_class=0x80, tlvs=(*sar_tlvs(9, 2, 1), *VENDOR, (PAYLOAD, A))),
          2, {2: b"b", 1: A}, 0x80, A + b"b", VENDOR),
    Whole("with ports", DeliverSm(**ADDRESSED, esm_class=0xC3,
          short_message=b"\x0b" + HEADER_8[1:] + PORTS[:2] + PORTS[2:] + A),
          2, {1: A, 2: b"b"}, 0xC3, b"\x06" + PORTS + A + b"b", ()),
    Whole("with ports, long", DeliverSm(**ADDRESSED, esm_class=0x40,
          short_message=b"\x0b" + HEADER_8[1:] + PORTS + A),
          2, {1: A, 2: B}, 0x40, b"", ((PAYLOAD, b"\x06" + PORTS + A + B),)),
    Whole("as data_sm", DataSm(9, **ADDRESSED, esm_class=0x40, tlvs=(*VENDOR, (PAYLOAD, HEADER_8 + A))),
          2, {1: A, 2: b"b"}, 0, A + b"b", VENDOR),
    Whole("one part missing", DeliverSm(**ADDRESSED, esm_class=0x40, short_message=HEADER_8 + A, tlvs=VENDOR),
          3, {1: A, 3: b"b"}, 0, A + b"b", (*VENDOR, (PARTS_MISSING_TLV, b"\1"))),
    Whole("254 missing, long", DeliverSm(**ADDRESSED, tlvs=(*sar_tlvs(9, 255, 200), (PAYLOAD, b"a" * 255))),
          255, {200: b"a" * 255}, 0, b"", ((PAYLOAD, b"a" * 255), (PARTS_MISSING_TLV, b"\xfe"))),
    Whole("a flag that is not ours", DeliverSm(**ADDRESSED, short_message=b"a",
          tlvs=((PARTS_MISSING_TLV, b"\1"), *sar_tlvs(9, 2, 1))),
          2, {1: b"a", 2: b"b"}, 0, b"ab", ()),
    Whole("as much as a frame holds", DeliverSm(**ADDRESSED, short_message=b"a",
          tlvs=((0x1400, b"v" * 24_673), *sar_tlvs(9, 2, 1))),
          2, {1: b"a", 2: b"b" * (TEXT_OCTETS_MAX - 1)}, 0, b"",
          ((0x1400, b"v" * 24_673), (PAYLOAD, b"a" + b"b" * (TEXT_OCTETS_MAX - 1)))),
    Whole("other TLVs have no room", DeliverSm(**ADDRESSED, short_message=b"a",
          tlvs=((0x1400, b"v" * 24_674), *sar_tlvs(9, 2, 1))),
          2, {1: b"a", 2: b"b" * (TEXT_OCTETS_MAX - 1)}, 0, b"",
          ((PAYLOAD, b"a" + b"b" * (TEXT_OCTETS_MAX - 1)),)),
]  # fmt: skip


def assembly_of(total: int, texts: dict[int, bytes]) -> Assembly:
    """Complete or given up."""
    reassembly = Reassembly(TIMEOUT_S, open_max=1)
    for index, (sequence, text) in enumerate(texts.items(), 1):
        complete = reassembly.add(key(), total, ReplyPart(index, 0, sequence, text), 0.0)
        if complete is not None:
            return complete
    (given_up,) = reassembly.overdue(TIMEOUT_S)
    return given_up


@pytest.mark.parametrize("whole", WHOLES, ids=lambda whole: whole.name)
def test_the_one_deliver_sm(whole: Whole) -> None:
    made = whole_of(assembly_of(whole.total, whole.texts), whole.pdu)
    assert made == DeliverSm(
        **ADDRESSED, esm_class=whole.esm_class, short_message=whole.short_message, tlvs=whole.tlvs
    )
    assert decode(encode(made)) == made
    assert len(encode(made)) <= FRAME_LENGTH_MAX


def test_what_only_a_deliver_sm_says_stays() -> None:
    head = DeliverSm(**ADDRESSED, **ONLY_OF_A_DELIVER_SM, esm_class=0x40, short_message=HEADER_8 + b"a")
    made = whole_of(assembly_of(2, {1: b"a", 2: b"b"}), head)
    assert made == DeliverSm(**ADDRESSED, **ONLY_OF_A_DELIVER_SM, short_message=b"ab")
    assert head.short_message == HEADER_8 + b"a"


def test_the_largest_assembly_fits_a_frame_without_other_tlvs() -> None:
    texts = {1: b"", 2: b"b" * TEXT_OCTETS_MAX}
    header = b"\x8b" + HEADER_8[1:] + b"\x70\x84" + b"a" * 132
    fields = {**ADDRESSED, "source_addr": b"1" * 20, "destination_addr": b"1" * 20, "service_type": b"12345"}
    head = DeliverSm(**fields, esm_class=0x40, tlvs=((PAYLOAD, header), (0x1400, b"v" * 65_000)))
    made = whole_of(assembly_of(3, texts), head)
    assert [tag for tag, _ in made.tlvs] == [PAYLOAD, PARTS_MISSING_TLV]
    assert len(encode(made)) < FRAME_LENGTH_MAX


def test_a_surrogate_pair_that_was_cut_is_whole_again() -> None:
    octets = ("警" * 66 + "𠮷" + "信" * 3).encode("utf-16-be")
    texts = {2: octets[134:], 1: octets[:134]}
    made = whole_of(assembly_of(2, texts), DeliverSm(esm_class=0x40, short_message=HEADER_8 + octets[:134]))
    assert made.short_message.decode("utf-16-be") == "警" * 66 + "𠮷" + "信" * 3


@given(
    text=st.text(st.characters(codec="utf-16-be"), min_size=141, max_size=600),
    kind=st.sampled_from(["8", "16", "sar", "payload"]),
    data=st.data(),
)
def test_whatever_order_the_parts_take_the_text_comes_back(text: str, kind: str, data: st.DataObject) -> None:
    pdus: list[DeliverSm | DataSm] = []
    if kind == "sar":
        for octets, reference, total, sequence in split_sar(text, Alphabet.UCS_2, 300):
            pdus.append(DeliverSm(short_message=octets, tlvs=sar_tlvs(reference, total, sequence)))
    else:
        for octets in split(text, Alphabet.UCS_2, 42, 16 if kind == "16" else 8):
            if kind == "payload":
                pdus.append(DataSm(esm_class=0x40, tlvs=((PAYLOAD, octets),)))
            else:
                pdus.append(DeliverSm(esm_class=0x40, short_message=octets))
    order = data.draw(st.permutations(range(len(pdus))))
    reassembly = Reassembly(TIMEOUT_S, open_max=1)
    for index in order:
        concatenation, octets, _ = part_in(pdus[index])
        assert concatenation is not None
        coming = ReplyPart(index, 0, concatenation.sequence, octets)
        complete = reassembly.add(key(concatenation.reference), concatenation.total, coming, 0.0)
        assert (complete is None) == (index != order[-1])
    assert complete is not None
    assert (complete.ended, reassembly.oldest(), len(reassembly)) == (COMPLETE, None, 0)
    made = whole_of(complete, pdus[complete.head.index])
    assert made == DeliverSm(short_message=made.short_message, tlvs=made.tlvs)
    assert part_in(made) == (None, text.encode("utf-16-be"), ())


def test_an_assembly_in_the_making_is_open() -> None:
    assembly = Assembly(key(), 3, 0.0, None, {2: part(1, 2)})
    assert told(assembly) == (OPEN, b"<2>", (1, 3), [1])
