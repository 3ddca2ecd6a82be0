"""The user data header and the parts of long messages."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.alphabet import Alphabet, AlphabetError, ReferenceWidth, decode, encode
from protocol.udh import (
    Concatenation,
    ConcatenationKind,
    Elements,
    HeaderError,
    Tlvs,
    build_header,
    concatenation_header,
    message_payload_tlvs,
    parse_header,
    part_of,
    sar_tlvs,
    split,
    split_sar,
)

GSM, ASCII, LATIN_1, UCS_2, GBK, OCTETS = Alphabet
UDH_8, UDH_16, SAR = ConcatenationKind
DATA_CODINGS = {GSM: 0, ASCII: 1, LATIN_1: 3, UCS_2: 8, OCTETS: 4, GBK: 15}
UDHI = 0x40


@pytest.mark.parametrize(
    ("header", "elements"),
    [
        ("00", ()),
        ("05 00 03 7f 03 02", ((0x00, b"\x7f\x03\x02"),)),
        ("06 08 04 12 34 03 02", ((0x08, b"\x12\x34\x03\x02"),)),
        # Ports before the concatenation, a language behind it, an element that nobody knows, an empty one.
        ("0b 05 04 23 f4 00 00 00 03 01 02 01", ((0x05, b"\x23\xf4\x00\x00"), (0x00, b"\x01\x02\x01"))),
        ("08 00 03 01 02 01 24 01 03", ((0x00, b"\x01\x02\x01"), (0x24, b"\x03"))),
        ("04 e0 02 ab cd", ((0xE0, b"\xab\xcd"),)),
        ("02 70 00", ((0x70, b""),)),
    ],
)
@pytest.mark.parametrize("text", [b"", b"text", b"\x05\x00\x03\x01\x02\x01"])
def test_header(header: str, elements: Elements, text: bytes) -> None:
    octets = bytes.fromhex(header)
    assert parse_header(octets + text) == (elements, text)
    assert build_header(elements) == octets


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("", "no user data, hence no header"),
        ("05", "header of 5 octets, but 0 follow its length"),
        ("05 00 03 7f 03", "header of 5 octets, but 4 follow its length"),
        ("ff 00 03 7f 03 01", "header of 255 octets, but 5 follow its length"),
        ("01 00 41", "element 0x00 at octet 1 has no length"),
        ("06 00 03 7f 03 02 08 41", "element 0x08 at octet 6 has no length"),
        ("05 00 04 7f 03 02 41", "element 0x00 at octet 1 of 4 octets, but 3 follow"),
        ("07 00 03 7f 03 02 24 01 41", "element 0x24 at octet 6 of 1 octets, but 0 follow"),
        ("04 00 02 03 02", "concatenation 0x00 of 2 octets, it has 3"),
        ("05 08 03 7f 03 02", "concatenation 0x08 of 3 octets, it has 4"),
        ("02 00 00", "concatenation 0x00 of 0 octets, it has 3"),
    ],
)
def test_malformed_header(octets: str, message: str) -> None:
    with pytest.raises(HeaderError, match=f"^{re.escape(message)}$"):
        part_of(UDHI, bytes.fromhex(octets), ())
    # Without the bit in esm_class the same octets are text.
    assert part_of(0, bytes.fromhex(octets), ()) is None


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (((0x100, b""),), "element identifier 256 is not one octet"),
        (((0x24, b"\0" * 138),), "header of 140 octets, at most 139 fit a message"),
        (((0x24, b"\0" * 300),), "header of 302 octets, at most 139 fit a message"),
    ],
)
def test_header_that_cannot_be_built(elements: Elements, message: str) -> None:
    with pytest.raises(HeaderError, match=f"^{message}$"):
        build_header(elements)


SAR_2_OF_3: Tlvs = ((0x020C, b"\x12\x34"), (0x020E, b"\x03"), (0x020F, b"\x02"))


@pytest.mark.parametrize(
    ("esm_class", "short_message", "tlvs", "part"),
    [
        (0x00, b"text", (), None),
        (0x04, b"id:77", ((0x001E, b"77\0"),), None),
        (0x40, b"\x05\x00\x03\x7f\x03\x02text", (), Concatenation(0x7F, 3, 2, UDH_8)),
        (0x43, b"\x05\x00\x03\x7f\x03\x02text", (), Concatenation(0x7F, 3, 2, UDH_8)),
        (0xC0, b"\x05\x00\x03\x00\x01\x01", (), Concatenation(0, 1, 1, UDH_8)),
        (0x40, b"\x05\x00\x03\xff\xff\xff", (), Concatenation(255, 255, 255, UDH_8)),
        (0x40, b"\x06\x08\x04\x12\x34\x03\x01text", (), Concatenation(0x1234, 3, 1, UDH_16)),
        (0x40, b"\x06\x08\x04\x00\x7f\x03\x02", (), Concatenation(0x7F, 3, 2, UDH_16)),
        (0x40, b"\x0b\x05\x04\x23\xf4\x00\x00\x00\x03\x01\x02\x01", (), Concatenation(1, 2, 1, UDH_8)),
        # Of two the last counts; one that names no part does not.
        (0x40, b"\x0a\x00\x03\x01\x02\x01\x00\x03\x09\x02\x02", (), Concatenation(9, 2, 2, UDH_8)),
        (0x40, b"\x0a\x00\x03\x01\x02\x01\x00\x03\x09\x02\x03", (), Concatenation(1, 2, 1, UDH_8)),
        (0x40, b"\x05\x00\x03\x7f\x03\x00", (), None),
        (0x40, b"\x05\x00\x03\x7f\x00\x00", (), None),
        (0x40, b"\x05\x00\x03\x7f\x03\x04", (), None),
        (0x40, b"\x06\x05\x04\x23\xf4\x00\x00text", (), None),
        # The header stands at the start of the text, wherever the text stands.
        (0x40, b"", ((0x0424, b"\x05\x00\x03\x7f\x03\x02text"),), Concatenation(0x7F, 3, 2, UDH_8)),
        (0x00, b"text", SAR_2_OF_3, Concatenation(0x1234, 3, 2, SAR)),
        (0x00, b"text", (*SAR_2_OF_3[::-1], (0x0204, b"\0\1")), Concatenation(0x1234, 3, 2, SAR)),
        (0x00, b"text", SAR_2_OF_3[:2], None),
        (0x00, b"text", SAR_2_OF_3[1:], None),
        (0x00, b"text", (SAR_2_OF_3[0], SAR_2_OF_3[2]), None),
        (0x00, b"text", (*SAR_2_OF_3[:2], (0x020F, b"\x04")), None),
        (0x00, b"text", (*SAR_2_OF_3[:2], (0x020F, b"")), None),
        (0x00, b"text", (SAR_2_OF_3[0], (0x020E, b"\1\1"), SAR_2_OF_3[2]), None),
        # Ports in the header, the place in TLVs; both: the header, which the handset will see.
        (0x40, b"\x06\x05\x04\x23\xf4\x00\x00text", SAR_2_OF_3, Concatenation(0x1234, 3, 2, SAR)),
        (0x40, b"\x05\x00\x03\x7f\x02\x02text", SAR_2_OF_3, Concatenation(0x7F, 2, 2, UDH_8)),
    ],
)
def test_part_of(esm_class: int, short_message: bytes, tlvs: Tlvs, part: Concatenation | None) -> None:
    assert part_of(esm_class, short_message, tlvs) == part


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda rest: bytes((len(rest),)) + rest))
def test_any_octets_give_a_header_or_the_error(octets: bytes) -> None:
    try:
        elements, text = parse_header(octets)
    except HeaderError:
        return
    assert build_header(elements) + text == octets


def test_split_with_an_8_bit_reference() -> None:
    assert split("户" * 66 + "𠮷" + "籍" * 66, UCS_2, 0x7F) == (
        b"\x05\x00\x03\x7f\x03\x01" + b"\x62\x37" * 66,
        b"\x05\x00\x03\x7f\x03\x02" + b"\xd8\x42\xdf\xb7" + b"\x7c\x4d" * 65,
        b"\x05\x00\x03\x7f\x03\x03" + b"\x7c\x4d",
    )


def test_split_with_a_16_bit_reference() -> None:
    assert split("a" * 151 + "€" + "b" * 10, GSM, 0x1234, 16) == (
        b"\x06\x08\x04\x12\x34\x02\x01" + b"a" * 151,
        b"\x06\x08\x04\x12\x34\x02\x02" + b"\x1b\x65" + b"b" * 10,
    )


@pytest.mark.parametrize(
    ("text", "alphabet"),
    [("户" * 70, UCS_2), ("€" * 80, GSM), ("户" * 70, GBK), ("é" * 140, LATIN_1), ("", UCS_2)],
)
def test_what_fits_has_no_header(text: str, alphabet: Alphabet) -> None:
    octets = encode(text, alphabet)
    assert split(text, alphabet, 1) == (octets,)
    assert split(octets, alphabet, 1) == (octets,)
    assert split_sar(octets, alphabet, 1) == ((octets, 1, 1, 1),)


def test_split_for_sar() -> None:
    octets = "户".encode("utf-16-be") * 135
    assert split_sar(octets, UCS_2, 0x1234) == (
        (octets[:134], 0x1234, 3, 1),
        (octets[134:268], 0x1234, 3, 2),
        (octets[268:], 0x1234, 3, 3),
    )
    assert [len(octets) for octets, *_ in split_sar(octets, UCS_2, 0x1234, 16)] == [132, 132, 6]
    assert sar_tlvs(0x1234, 3, 2) == SAR_2_OF_3


def test_message_payload() -> None:
    assert message_payload_tlvs(b"text") == ((0x0424, b"text"),)


def test_no_more_parts_than_a_header_can_count() -> None:
    assert len(split(b"\0" * (255 * 134), OCTETS, 0)) == 255
    for cut in (split, split_sar):
        with pytest.raises(HeaderError, match=r"^34171 octets make 256 parts, a header counts to 255$"):
            cut(b"\0" * (255 * 134 + 1), OCTETS, 0)


def test_a_text_beyond_the_alphabet_is_not_split() -> None:
    with pytest.raises(AlphabetError, match=r"^character 1 of 2 is not in gsm$"):
        split("a户", GSM, 0)


@pytest.mark.parametrize(
    ("reference", "total", "sequence", "width"),
    [(256, 2, 1, 8), (65536, 2, 1, 16), (-1, 2, 1, 8), (0, 2, 3, 8), (0, 2, 0, 8), (0, 256, 1, 8)],
)
def test_numbers_that_no_caller_may_give(
    reference: int, total: int, sequence: int, width: ReferenceWidth
) -> None:
    with pytest.raises(AssertionError):
        concatenation_header(reference, total, sequence, width)


characters = {
    GSM: st.sampled_from("a@€{Ω"),
    ASCII: st.characters(codec="ascii"),
    LATIN_1: st.characters(codec="latin-1"),
    UCS_2: st.sampled_from("a户籍𠮷😀"),
    GBK: st.sampled_from("a1户籍【"),
}
alphabets = st.sampled_from([GSM, ASCII, LATIN_1, UCS_2, GBK])


def octets_on_the_air(piece: bytes, header_octets: int, alphabet: Alphabet) -> int:
    if alphabet in (GSM, ASCII):
        # Septets begin at the next boundary of seven bits behind the header.
        header_septets = -(-header_octets * 8 // 7)
        return -(-(header_septets + len(piece)) * 7 // 8)
    return header_octets + len(piece)


@given(
    alphabet=alphabets,
    width_and_reference=st.sampled_from([(8, 0), (8, 255), (16, 0), (16, 65535)]),
    data=st.data(),
)
def test_parts_fit_are_whole_and_join(
    alphabet: Alphabet, width_and_reference: tuple[ReferenceWidth, int], data: st.DataObject
) -> None:
    width, reference = width_and_reference
    # A few characters, repeated: long texts of the right kinds, at the price of short ones.
    shifted = data.draw(st.text(characters[alphabet], max_size=5))
    text = shifted + data.draw(st.text(characters[alphabet], min_size=1, max_size=7)) * data.draw(
        st.integers(0, 120)
    )
    data_coding = DATA_CODINGS[alphabet]

    parts = split(text, alphabet, reference, width)
    pieces = list(parts)
    if len(parts) > 1:
        kind = {8: UDH_8, 16: UDH_16}[width]
        for sequence, part in enumerate(parts, 1):
            assert part_of(UDHI, part, ()) == Concatenation(reference, len(parts), sequence, kind)
        pieces = [parse_header(part)[1] for part in parts]
    for part, piece in zip(parts, pieces, strict=True):
        assert octets_on_the_air(piece, len(part) - len(piece), alphabet) <= 140
        assert len(piece) > 0 or text == ""
    # Each part is a text of its own: no pair is broken.
    assert "".join(decode(piece, data_coding, GSM) for piece in pieces) == text

    for sequence, (piece, *place) in enumerate(split_sar(text, alphabet, reference, width), 1):
        assert piece == pieces[sequence - 1]
        assert place == [reference, len(parts), sequence]
        assert part_of(0, piece, sar_tlvs(*place)) == Concatenation(reference, len(parts), sequence, SAR)
