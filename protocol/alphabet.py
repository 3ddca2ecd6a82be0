"""Alphabets of short messages, and how many parts a text or a payload makes on the air.

Octets are as SMPP carries them: characters of GSM 03.38 stand one to an octet, unpacked, those of its
extension table as two octets, escape first. On the air 160 of them fit into the 140 octets of one part, since
they are packed to seven bits there; everything else takes its octets as they are.

A long message gives up room for the header that joins its parts: six octets with an 8-bit reference, seven
with a 16-bit one. And a part may stay shorter than its room, where the next character would be cut in two: a
surrogate pair, an escape and what it escapes, two octets of GBK. So the number of parts is found by walking
from cut to cut and never by division; that costs a step a part, not a step a character (GBK apart).
"""

import re
from codecs import charmap_decode, charmap_encode
from enum import StrEnum
from typing import Final, Literal

PART_OCTETS: Final = 140  # 3GPP TS 23.040 §9.2.3.24: user data of one short message
PART_SEPTETS: Final = PART_OCTETS * 8 // 7

# Octets of the concatenation header with its length octet, by the width of the reference
# (3GPP TS 23.040 §9.2.3.24.1 and §9.2.3.24.8).
HEADER_OCTETS: Final = {8: 6, 16: 7}
ReferenceWidth = Literal[8, 16]

DATA_CODING_DEFAULT: Final = 0
DATA_CODING_UCS_2: Final = 8

_ESCAPE: Final = 0x1B


class AlphabetError(ValueError):
    """Octets that are no text of their alphabet, or a text that the alphabet cannot say.

    Names offset and kind, never the text: that is content, and this may be logged.
    """


class Alphabet(StrEnum):
    """What the octets of a message mean. `OCTETS` are no text: binary, or a coding that we do not read."""

    GSM = "gsm"
    ASCII = "ascii"
    LATIN_1 = "latin-1"
    UCS_2 = "ucs-2"
    GBK = "gbk"
    OCTETS = "octets"


# In Python's names. UCS-2 is read as UTF-16, since phones write surrogate pairs; GBK is read as its superset.
_DECODERS: Final = {
    Alphabet.ASCII: "ascii",
    Alphabet.LATIN_1: "latin-1",
    Alphabet.UCS_2: "utf-16-be",
    Alphabet.GBK: "gb18030",
}
_ENCODERS: Final = {**_DECODERS, Alphabet.GBK: "gbk"}

# Alphabets that a carrier packs to seven bits. Latin-1 is none of them: it goes out in eight, or as UCS-2.
_PACKED: Final = frozenset({Alphabet.GSM, Alphabet.ASCII})

# GSM 03.38 §6.2.1; U+FFFE is Python's mark for "no character", and stands where the escape is.
_GSM: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\ufffeÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# GSM 03.38 §6.2.1.1
_GSM_EXTENSION: Final = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
_GSM_ENCODING: Final[dict[int, int | bytes | None]] = {
    ord(character): code for code, character in enumerate(_GSM) if code != _ESCAPE
}
_GSM_ENCODING.update({ord(character): bytes((_ESCAPE, code)) for code, character in _GSM_EXTENSION.items()})
_GSM_RUN_OR_ESCAPED: Final = re.compile(rb"[^\x1b]+|\x1b[\x00-\xff]?")

assert len(_GSM) == 128
assert len(_GSM_ENCODING) == 127 + len(_GSM_EXTENSION)


def _alphabets() -> tuple[Alphabet | None, ...]:
    """Alphabet by data_coding; None is the default alphabet, a setting of the carrier (field lesson 34)."""
    alphabets: list[Alphabet | None] = [Alphabet.OCTETS] * 256
    # SMPP 3.4 §5.2.19; 15 is GBK with the Chinese carriers, as in CMPP, SGIP and SMGP.
    alphabets[0] = None
    alphabets[1] = Alphabet.ASCII
    alphabets[3] = Alphabet.LATIN_1
    alphabets[8] = Alphabet.UCS_2
    alphabets[15] = Alphabet.GBK
    # Above, the groups of GSM 03.38 §4, which clients pass through: 0x18 is a UCS-2 flash message. SMPP
    # itself names only those from 0xC0. Compressed texts (bit 5 below 0x80) and 0x80 to 0xBF stay unread.
    for code in (*range(0x10, 0x20), *range(0x40, 0x60)):
        alphabets[code] = (None, Alphabet.OCTETS, Alphabet.UCS_2, Alphabet.OCTETS)[code >> 2 & 3]
    for code in range(0xC0, 0xE0):
        alphabets[code] = None
    for code in range(0xE0, 0xF0):
        alphabets[code] = Alphabet.UCS_2
    for code in range(0xF0, 0x100):
        alphabets[code] = Alphabet.OCTETS if code & 4 else None
    return tuple(alphabets)


_ALPHABETS: Final = _alphabets()


def alphabet_of(data_coding: int, default_alphabet: Alphabet) -> Alphabet:
    """The alphabet of a data_coding (0 to 255); what the default alphabet is, the link's setting says."""
    return _ALPHABETS[data_coding] or default_alphabet


def decode(octets: bytes, data_coding: int, default_alphabet: Alphabet) -> str:
    """The text of a payload without its user data header; AlphabetError where the octets are no such text."""
    alphabet = _ALPHABETS[data_coding] or default_alphabet
    if alphabet is Alphabet.OCTETS:
        raise AlphabetError(f"data_coding {data_coding} holds octets, not text that can be read")
    try:
        if alphabet is Alphabet.GSM:
            return _decode_gsm(octets)
        return octets.decode(_DECODERS[alphabet])
    except UnicodeDecodeError as error:
        raise AlphabetError(f"not {alphabet.value} at octet {error.start} of {len(octets)}") from None


def encode(text: str, alphabet: Alphabet) -> bytes:
    """The octets of a text; AlphabetError for a character that it lacks, or for half a surrogate pair."""
    if alphabet is Alphabet.OCTETS:
        raise AlphabetError("octets are no alphabet to write a text in")
    try:
        if alphabet is Alphabet.GSM:
            return charmap_encode(text, "strict", _GSM_ENCODING)[0]
        return text.encode(_ENCODERS[alphabet])
    except UnicodeEncodeError as error:
        raise AlphabetError(f"character {error.start} of {len(text)} is not in {alphabet.value}") from None


def encode_smallest(text: str, default_alphabet: Alphabet) -> tuple[int, bytes]:
    """data_coding and octets: the link's default alphabet if it can say the text, else UCS-2.

    AlphabetError only for half a surrogate pair, which is no text.
    """
    try:
        return DATA_CODING_DEFAULT, encode(text, default_alphabet)
    except AlphabetError:
        return DATA_CODING_UCS_2, encode(text, Alphabet.UCS_2)


def length(octets: bytes, alphabet: Alphabet) -> int:
    """In what the alphabet counts: UTF-16 units, septets (an extension character is two), or octets."""
    return len(octets) // 2 if alphabet is Alphabet.UCS_2 else len(octets)


def part_count(
    payload: bytes, data_coding: int, default_alphabet: Alphabet, reference_width: ReferenceWidth = 8
) -> int:
    """Parts that a payload makes on the air, at least one; the unit of charging and of rates.

    `payload` is short_message or message_payload without a user data header: a PDU that brings the header of
    a concatenation is one part, whatever its length.
    """
    if len(payload) <= PART_OCTETS:
        return 1
    return len(cuts(payload, _ALPHABETS[data_coding] or default_alphabet, reference_width))


def part_room(header_octets: int, data_coding: int, default_alphabet: Alphabet) -> int:
    """Octets of a payload of one part that begins with a user data header of ``header_octets`` (1 to 140,
    its length octet included): 140, or where text is packed to septets behind the header, up to 159."""
    assert 1 <= header_octets <= PART_OCTETS
    room = PART_OCTETS - header_octets
    packed = (_ALPHABETS[data_coding] or default_alphabet) in _PACKED
    return header_octets + (room * 8 // 7 if packed else room)


def text_part_count(text: str, alphabet: Alphabet, reference_width: ReferenceWidth = 8) -> int:
    """Parts that a text makes in an alphabet. UCS-2: 70 units, or 67 a part (66 with a 16-bit reference).

    A tariff that counts Latin text like Chinese asks for UCS-2, whatever goes on the air.
    """
    return len(cuts(encode(text, alphabet), alphabet, reference_width))


def cuts(payload: bytes, alphabet: Alphabet, reference_width: ReferenceWidth) -> list[int]:
    """Offsets at which the parts of a payload end, the last one being its length.

    One, if the payload fits without a header: 160 septets, 70 units, 140 octets. Otherwise parts hold at most
    153 septets, 67 units, 134 octets with an 8-bit reference and 152, 66, 133 with a 16-bit one.
    """
    size = len(payload)
    packed = alphabet in _PACKED
    if size <= (PART_SEPTETS if packed else PART_OCTETS):
        return [size]
    room = PART_OCTETS - HEADER_OCTETS[reference_width]
    if packed:
        room = room * 8 // 7
    elif alphabet is Alphabet.UCS_2:
        room -= room % 2
    ends = []
    start = 0
    while size - start > room:
        start = _character_start(payload, start, start + room, alphabet)
        ends.append(start)
    ends.append(size)
    return ends


def _character_start(payload: bytes, start: int, end: int, alphabet: Alphabet) -> int:
    """`end`, or the start of the character that a cut there would break; the part begins at `start`."""
    if alphabet is Alphabet.UCS_2:
        # High surrogate before the cut, low one behind it; half a pair alone is broken already, and stays.
        if payload[end - 2] & 0xFC == 0xD8 and payload[end] & 0xFC == 0xDC:
            return end - 2
    elif alphabet is Alphabet.GSM:
        # An escape may itself be escaped: of a run of them, an odd last one opens a pair.
        escapes = end
        while escapes > start and payload[escapes - 1] == _ESCAPE:
            escapes -= 1
        return end - (end - escapes) % 2
    elif alphabet is Alphabet.GBK:
        # Second octets look like first ones: only a walk from the start knows which is which.
        at = start
        while at < end:
            width = 1
            if payload[at] > 0x80:
                # GB18030: a digit in second place makes four.
                width = 4 if payload[at + 1 : at + 2].isdigit() else 2
            if at + width > end:
                return at
            at += width
    return end


def _decode_gsm(octets: bytes) -> str:
    if _ESCAPE not in octets:
        return charmap_decode(octets, "strict", _GSM)[0]
    text = []
    for match in _GSM_RUN_OR_ESCAPED.finditer(octets):
        run = match[0]
        if run[0] != _ESCAPE:
            text.append(_decode_run(run, match.start()))
        elif len(run) == 1 or run[1] == _ESCAPE:
            text.append(" ")  # GSM 03.38 §6.2.1.1 note 1: an escape to a table that does not exist yet
        else:
            # A code without extension character is shown as the default table has it (§6.2.1.1).
            text.append(_GSM_EXTENSION.get(run[1]) or _decode_run(run[1:], match.start() + 1))
    return "".join(text)


def _decode_run(run: bytes, offset: int) -> str:
    try:
        return charmap_decode(run, "strict", _GSM)[0]
    except UnicodeDecodeError as error:
        at = offset + error.start
        raise AlphabetError(f"not {Alphabet.GSM.value} at octet {at}") from None
