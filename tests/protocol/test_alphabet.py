"""Alphabets and the number of parts. 户 is one UTF-16 unit, 𠮷 (a surname's rare form) is two."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.alphabet import (
    Alphabet,
    AlphabetError,
    ReferenceWidth,
    alphabet_of,
    cuts,
    decode,
    encode,
    encode_smallest,
    length,
    part_count,
    text_part_count,
)

GSM, ASCII, LATIN_1, UCS_2, GBK, OCTETS = Alphabet

# All of GSM 03.38 §6.2.1, row by row as the specification's columns have them, without the escape.
DEFAULT_TABLE = [
    (0x00, "@£$¥èéùìòÇ\nØø\rÅå"),
    (0x10, "Δ_ΦΓΛΩΠΨΣΘΞ"),
    (0x1C, "ÆæßÉ"),
    (0x20, " !\"#¤%&'()*+,-./"),
    (0x30, "0123456789:;<=>?"),
    (0x40, "¡ABCDEFGHIJKLMNO"),
    (0x50, "PQRSTUVWXYZÄÖÑÜ§"),
    (0x60, "¿abcdefghijklmno"),
    (0x70, "pqrstuvwxyzäöñüà"),
]
EXTENSIONS = "\f^{}\\[~]|€"


@pytest.mark.parametrize(("first", "characters"), DEFAULT_TABLE)
def test_gsm_default_table(first: int, characters: str) -> None:
    octets = bytes(range(first, first + len(characters)))
    assert decode(octets, 0, GSM) == characters
    assert encode(characters, GSM) == octets


@pytest.mark.parametrize(
    ("text", "alphabet", "octets"),
    [
        (EXTENSIONS, GSM, bytes.fromhex("1b0a 1b14 1b28 1b29 1b2f 1b3c 1b3d 1b3e 1b40 1b65")),
        ("a€b", GSM, b"a\x1b\x65b"),
        ("", GSM, b""),
        ("user@host", GSM, b"user\x00host"),
        ("Hello", ASCII, b"Hello"),
        ("Ñandú", LATIN_1, b"\xd1and\xfa"),
        ("户", UCS_2, b"\x62\x37"),
        ("𠮷", UCS_2, b"\xd8\x42\xdf\xb7"),
        ("户A", GBK, b"\xbb\xa7A"),
    ],
)
def test_encoded_and_decoded(text: str, alphabet: Alphabet, octets: bytes) -> None:
    assert encode(text, alphabet) == octets
    assert decode(octets, 0, alphabet) == text


@pytest.mark.parametrize(
    ("octets", "data_coding", "text"),
    [
        # An escape with nothing, with another escape, with a code that has no extension character.
        (b"a\x1b", 0, "a "),
        (b"\x1b\x1b\x65", 0, " e"),
        (b"\x1b\x41b", 0, "Ab"),
        (b"\x1b\x00", 0, "@"),
        (b"`@", 1, "`@"),
        (b"\xe9", 3, "é"),
        (b"\x62\x37", 8, "户"),
        (b"\xbb\xa7", 15, "户"),
        # GB18030, four octets
        (b"\x95\x32\x82\x36", 15, "𠀀"),
        # The groups of GSM 03.38 §4: flash messages, message waiting, message classes.
        (b"\x00", 0x10, "@"),
        (b"\x62\x37", 0x18, "户"),
        (b"\x62\x37", 0x48, "户"),
        (b"\x00", 0xC8, "@"),
        (b"\x62\x37", 0xE8, "户"),
        (b"\x00", 0xF1, "@"),
    ],
)
def test_decoded_by_data_coding(octets: bytes, data_coding: int, text: str) -> None:
    assert decode(octets, data_coding, GSM) == text


@pytest.mark.parametrize(("default", "text"), [(GSM, "@Δ"), (LATIN_1, "\x00\x10"), (ASCII, "\x00\x10")])
def test_the_default_alphabet_is_a_setting(default: Alphabet, text: str) -> None:
    assert decode(b"\x00\x10", 0, default) == text
    assert alphabet_of(0, default) is default


def test_every_data_coding_has_an_alphabet() -> None:
    counted = dict.fromkeys(Alphabet, 0)
    for data_coding in range(256):
        counted[alphabet_of(data_coding, GSM)] += 1
    assert counted == {
        GSM: 1 + 3 * 4 + 32 + 8,
        ASCII: 1,
        LATIN_1: 1,
        UCS_2: 1 + 3 * 4 + 16,
        GBK: 1,
        OCTETS: 171,
    }


@pytest.mark.parametrize(
    ("octets", "data_coding", "message"),
    [
        (b"ab\x80", 0, "not gsm at octet 2"),
        (b"a\x1b\x65b\x80", 0, "not gsm at octet 4"),
        (b"\x1b\xff", 0, "not gsm at octet 1"),
        (b"ab\xe9", 1, "not ascii at octet 2 of 3"),
        (b"\x62\x37\x62", 8, "not ucs-2 at octet 2 of 3"),
        (b"\x62\x37\xd8\x42", 8, "not ucs-2 at octet 2 of 4"),
        (b"\xdf\xb7\x62\x37", 8, "not ucs-2 at octet 0 of 4"),
        (b"A\xbb", 15, "not gbk at octet 1 of 2"),
        (b"\x00", 2, "data_coding 2 holds octets, not text that can be read"),
        (b"\x00", 4, "data_coding 4 holds octets"),
        (b"\x00", 5, "data_coding 5 holds octets"),
        (b"\x00", 0x14, "data_coding 20 holds octets"),
        (b"\x00", 0x20, "data_coding 32 holds octets"),
        (b"\x00", 0x80, "data_coding 128 holds octets"),
        (b"\x00", 0xF4, "data_coding 244 holds octets"),
    ],
)
def test_not_decoded(octets: bytes, data_coding: int, message: str) -> None:
    with pytest.raises(AlphabetError, match=f"^{re.escape(message)}"):
        decode(octets, data_coding, GSM)


@pytest.mark.parametrize(
    ("text", "alphabet", "message"),
    [
        ("ab户", GSM, "character 2 of 3 is not in gsm"),
        ("`", GSM, "character 0 of 1 is not in gsm"),
        ("\x1b", GSM, "character 0 of 1 is not in gsm"),
        ("\ufffe", GSM, "character 0 of 1 is not in gsm"),
        ("é", ASCII, "character 0 of 1 is not in ascii"),
        ("€", LATIN_1, "character 0 of 1 is not in latin-1"),
        ("a\ud842", UCS_2, "character 1 of 2 is not in ucs-2"),
        ("𠮷", GBK, "character 0 of 1 is not in gbk"),
        ("a", OCTETS, "octets are no alphabet to write a text in"),
    ],
)
def test_not_encoded(text: str, alphabet: Alphabet, message: str) -> None:
    with pytest.raises(AlphabetError, match=f"^{message}$"):
        encode(text, alphabet)


@pytest.mark.parametrize(
    ("text", "default", "data_coding", "octets"),
    [
        ("Hi {}", GSM, 0, b"Hi \x1b(\x1b)"),
        ("Hi `", GSM, 8, b"\0H\0i\0 \0`"),
        ("Hi {}`", LATIN_1, 0, b"Hi {}`"),
        ("é", LATIN_1, 0, b"\xe9"),
        ("é", ASCII, 8, b"\0\xe9"),
        ("户", GSM, 8, b"\x62\x37"),
        ("户", LATIN_1, 8, b"\x62\x37"),
        ("", GSM, 0, b""),
    ],
)
def test_smallest_coding(text: str, default: Alphabet, data_coding: int, octets: bytes) -> None:
    assert encode_smallest(text, default) == (data_coding, octets)


def test_half_a_pair_has_no_coding() -> None:
    with pytest.raises(AlphabetError, match=r"^character 0 of 1 is not in ucs-2$"):
        encode_smallest("\ud842", GSM)


@pytest.mark.parametrize(
    ("text", "alphabet", "units"),
    [("a€", GSM, 3), ("户籍", UCS_2, 2), ("𠮷a", UCS_2, 3), ("户a", GBK, 3), ("é", LATIN_1, 1)],
)
def test_length(text: str, alphabet: Alphabet, units: int) -> None:
    assert length(encode(text, alphabet), alphabet) == units


PARTS: list[tuple[str, Alphabet, int, int]] = [
    # text, alphabet, parts with an 8-bit reference, parts with a 16-bit one
    ("", UCS_2, 1, 1),
    ("户" * 70, UCS_2, 1, 1),
    ("户" * 71, UCS_2, 2, 2),
    ("户" * 132, UCS_2, 2, 2),
    ("户" * 133, UCS_2, 2, 3),
    ("户" * 134, UCS_2, 2, 3),
    ("户" * 135, UCS_2, 3, 3),
    ("户" * 160, UCS_2, 3, 3),
    ("户" * 201, UCS_2, 3, 4),
    # A pair across the 67th unit leaves 66 in the first part, so that 134 units are 3 parts and not 2.
    ("户" * 66 + "𠮷" + "户" * 65, UCS_2, 2, 3),
    ("户" * 66 + "𠮷" + "户" * 66, UCS_2, 3, 3),
    ("𠮷" * 35, UCS_2, 1, 1),
    ("𠮷" * 66, UCS_2, 2, 2),
    ("𠮷" * 67, UCS_2, 3, 3),
    ("a" * 160, GSM, 1, 1),
    ("a" * 161, GSM, 2, 2),
    ("a" * 304, GSM, 2, 2),
    ("a" * 305, GSM, 2, 3),
    ("a" * 306, GSM, 2, 3),
    ("a" * 307, GSM, 3, 3),
    ("€" * 80, GSM, 1, 1),
    ("€" * 81, GSM, 2, 2),
    # An escape in the 153rd place moves to the next part: 306 septets are 3 parts and not 2.
    ("a" * 152 + "€" + "a" * 152, GSM, 3, 3),
    ("a" * 152 + "€" + "a" * 151, GSM, 2, 3),
    ("€" * 152, GSM, 2, 2),
    ("€" * 153, GSM, 3, 3),
    ("a" * 160, ASCII, 1, 1),
    ("a" * 161, ASCII, 2, 2),
    ("é" * 140, LATIN_1, 1, 1),
    ("é" * 141, LATIN_1, 2, 2),
    ("é" * 266, LATIN_1, 2, 2),
    ("é" * 267, LATIN_1, 2, 3),
    ("é" * 268, LATIN_1, 2, 3),
    ("é" * 269, LATIN_1, 3, 3),
    ("户" * 70, GBK, 1, 1),
    ("户" * 71, GBK, 2, 2),
    ("户" * 134, GBK, 2, 3),
    ("户" * 135, GBK, 3, 3),
    # An odd octet in front moves a pair across the cut: 268 octets are 3 parts and not 2.
    ("a" + "户" * 133, GBK, 2, 3),
    ("a" + "户" * 133 + "a", GBK, 3, 3),
    ("a" + "户" * 132, GBK, 2, 2),
    # A signature counts with its brackets.
    ("【河南公安】" + "户" * 64, UCS_2, 1, 1),
    ("【河南公安】" + "户" * 65, UCS_2, 2, 2),
]
DATA_CODINGS = {GSM: 0, ASCII: 1, LATIN_1: 3, UCS_2: 8, GBK: 15}


@pytest.mark.parametrize(("text", "alphabet", "parts_8", "parts_16"), PARTS)
def test_part_count(text: str, alphabet: Alphabet, parts_8: int, parts_16: int) -> None:
    assert text_part_count(text, alphabet) == parts_8
    assert text_part_count(text, alphabet, 16) == parts_16
    payload, data_coding = encode(text, alphabet), DATA_CODINGS[alphabet]
    assert part_count(payload, data_coding, GSM) == parts_8
    assert part_count(payload, data_coding, GSM, 16) == parts_16


@pytest.mark.parametrize(
    ("payload", "data_coding", "default", "parts"),
    [
        (b"\0" * 140, 4, GSM, 1),
        (b"\0" * 141, 4, GSM, 2),
        (b"\0" * 268, 4, GSM, 2),
        (b"\0" * 269, 4, GSM, 3),
        (b"\0" * 160, 0, GSM, 1),
        (b"\0" * 160, 0, ASCII, 1),
        (b"\0" * 160, 0, LATIN_1, 2),
        (b"\0" * 160, 0x18, GSM, 2),
        (b"\0" * 65535, 8, GSM, 490),
        # Octets that are no text are cut all the same: odd UCS-2, half pairs, runs of escapes, half of GBK.
        (b"\0" * 141, 8, GSM, 2),
        (b"\xd8\x00" * 134, 8, GSM, 2),
        (b"\xdc\x00" * 134, 8, GSM, 2),
        (b"\x1b" * 306, 0, GSM, 3),
        (b"\xff" * 268, 15, GSM, 2),
        (b"\xff0" * 134, 15, GSM, 3),
    ],
)
def test_part_count_of_octets(payload: bytes, data_coding: int, default: Alphabet, parts: int) -> None:
    assert part_count(payload, data_coding, default) == parts


@pytest.mark.parametrize(
    ("text", "alphabet", "width", "ends"),
    [
        ("户" * 66 + "𠮷" + "户" * 66, UCS_2, 8, [132, 266, 268]),
        ("户" * 65 + "𠮷" + "户" * 67, UCS_2, 16, [130, 262, 268]),
        ("a" * 152 + "€" + "a" * 152, GSM, 8, [152, 305, 306]),
        ("a" * 151 + "€" + "a" * 152, GSM, 16, [151, 303, 305]),
        ("a" + "户" * 133, GBK, 8, [133, 267]),
    ],
)
def test_cuts(text: str, alphabet: Alphabet, width: ReferenceWidth, ends: list[int]) -> None:
    assert cuts(encode(text, alphabet), alphabet, width) == ends


characters = {
    GSM: st.sampled_from("".join(row for _, row in DEFAULT_TABLE) + EXTENSIONS * 8),
    ASCII: st.characters(codec="ascii"),
    LATIN_1: st.characters(codec="latin-1"),
    UCS_2: st.characters(codec="utf-8") | st.sampled_from("户𠮷😀"),
    # Some of each kind: hypothesis takes seconds to list the codec itself.
    GBK: st.sampled_from("户籍一丁啊齄【】，。　…—·“”aZ0 ~"),
}
alphabets = st.sampled_from([GSM, ASCII, LATIN_1, UCS_2, GBK])


@given(alphabet=alphabets, data=st.data())
def test_a_text_survives(alphabet: Alphabet, data: st.DataObject) -> None:
    text = data.draw(st.text(characters[alphabet], max_size=60))
    assert decode(encode(text, alphabet), DATA_CODINGS[alphabet], GSM) == text


@given(
    octets=st.binary(max_size=60),
    data_coding=st.integers(0, 255),
    default=st.sampled_from([GSM, ASCII, LATIN_1]),
)
def test_any_octets_give_a_text_or_the_error(octets: bytes, data_coding: int, default: Alphabet) -> None:
    try:
        text = decode(octets, data_coding, default)
    except AlphabetError:
        return
    assert len(text) <= len(octets)


@given(payload=st.binary(max_size=900), alphabet=st.sampled_from(Alphabet), width=st.sampled_from([8, 16]))
def test_any_octets_are_cut_into_parts_that_fit(
    payload: bytes, alphabet: Alphabet, width: ReferenceWidth
) -> None:
    ends = cuts(payload, alphabet, width)
    assert ends[-1] == len(payload)
    sizes = [end - start for start, end in pairwise([0, *ends])]
    if len(ends) == 1:
        assert len(payload) <= (160 if alphabet in (GSM, ASCII) else 140)
    else:
        room = {8: 134, 16: 133}[width]
        assert max(sizes) <= (room * 8 // 7 if alphabet in (GSM, ASCII) else room)
        assert min(sizes) > 0
