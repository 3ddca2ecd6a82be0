"""The user data header (3GPP TS 23.040 §9.2.3.24), and the three ways in which SMPP says "part 2 of 3".

    user data header   05 00 03 ref total sequence   8-bit reference, esm_class bit UDHI
                       06 08 04 ref ref total seq    16-bit reference, esm_class bit UDHI
    SAR                three TLVs; the message centre makes the header (SMPP 3.4 §5.3.2.22 to 24)
    message_payload    the whole text in one TLV; the message centre cuts it (§5.3.2.32)

The header stands before the text, in the same octets, and its first octet is the length of the rest of it.
Elements that nobody knows here are kept, in their order.
"""

from enum import StrEnum
from typing import Final

import msgspec

from protocol.alphabet import HEADER_OCTETS, Alphabet, ReferenceWidth, cuts, encode
from protocol.smpp.codes import EsmClass, TlvTag

CONCATENATION_8_BIT: Final = 0x00
CONCATENATION_16_BIT: Final = 0x08

_UDHI: Final = int(EsmClass.UDHI)
_SAR_REFERENCE: Final = int(TlvTag.SAR_MSG_REF_NUM)
_SAR_TOTAL: Final = int(TlvTag.SAR_TOTAL_SEGMENTS)
_SAR_SEQUENCE: Final = int(TlvTag.SAR_SEGMENT_SEQNUM)
_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)

_PARTS_MAX: Final = 255  # total and sequence are one octet in all three forms
_HEADER_LENGTH_MAX: Final = 139  # of 140 octets, behind the length octet

# Identifier and data, as TLVs are tag and value.
Elements = tuple[tuple[int, bytes], ...]
Tlvs = tuple[tuple[int, bytes], ...]


class HeaderError(ValueError):
    """A header that cannot be read, or one that cannot be made; says what is wrong and at which octet."""


class ConcatenationKind(StrEnum):
    """Where a part's place is written. References of different kinds have nothing to do with each other."""

    UDH_8 = "udh-8"
    UDH_16 = "udh-16"
    SAR = "sar"


class Concatenation(msgspec.Struct, frozen=True, gc=False):
    """Part `sequence` (from 1) of `total` (1 to 255) of the message that the sender calls `reference`."""

    reference: int
    total: int
    sequence: int
    kind: ConcatenationKind


def parse_header(user_data: bytes) -> tuple[Elements, bytes]:
    """The elements of the header that `user_data` begins with, and the text behind it.

    Only for a message whose esm_class says that it has a header. HeaderError where lengths do not agree.
    """
    if not user_data:
        raise HeaderError("no user data, hence no header")
    end = 1 + user_data[0]
    if end > len(user_data):
        raise HeaderError(f"header of {user_data[0]} octets, but {len(user_data) - 1} follow its length")
    elements = []
    at = 1
    while at < end:
        identifier = user_data[at]
        if at + 2 > end:
            raise HeaderError(f"element 0x{identifier:02x} at octet {at} has no length")
        length = user_data[at + 1]
        next_at = at + 2 + length
        if next_at > end:
            raise HeaderError(
                f"element 0x{identifier:02x} at octet {at} of {length} octets, but {end - at - 2} follow"
            )
        elements.append((identifier, user_data[at + 2 : next_at]))
        at = next_at
    return tuple(elements), user_data[end:]


def build_header(elements: Elements) -> bytes:
    """The header with its length octet. HeaderError where an element or the whole is too long."""
    header = bytearray(1)
    for identifier, data in elements:
        if not 0 <= identifier <= 0xFF:
            raise HeaderError(f"element identifier {identifier} is not one octet")
        header.append(identifier)
        # Longer than an octet can say is longer than a header too, which is refused below.
        header.append(len(data) & 0xFF)
        header += data
    if len(header) - 1 > _HEADER_LENGTH_MAX:
        raise HeaderError(f"header of {len(header) - 1} octets, at most {_HEADER_LENGTH_MAX} fit a message")
    header[0] = len(header) - 1
    return bytes(header)


def concatenation_header(reference: int, total: int, sequence: int, width: ReferenceWidth = 8) -> bytes:
    """The header of one part: 6 octets with an 8-bit reference, 7 with a 16-bit one."""
    assert 0 <= reference < 1 << width, "the reference has to fit its width"
    assert 1 <= sequence <= total <= _PARTS_MAX
    if width == 8:
        return bytes((5, CONCATENATION_8_BIT, 3, reference, total, sequence))
    return bytes((6, CONCATENATION_16_BIT, 4, reference >> 8, reference & 0xFF, total, sequence))


assert all(len(concatenation_header(0, 1, 1, width)) == HEADER_OCTETS[width] for width in (8, 16))


def concatenation_of(elements: Elements) -> Concatenation | None:
    """What a header says about parts; None if nothing, or if its numbers name no part (0 of 3, 4 of 3).

    Such numbers make a receiver ignore the element (3GPP TS 23.040 §9.2.3.24.1); of several the last one
    counts (§9.2.3.24). HeaderError for an element of a length that it cannot have.
    """
    found = None
    for identifier, data in elements:
        if identifier == CONCATENATION_8_BIT:
            kind, length = ConcatenationKind.UDH_8, 3
        elif identifier == CONCATENATION_16_BIT:
            kind, length = ConcatenationKind.UDH_16, 4
        else:
            continue
        if len(data) != length:
            raise HeaderError(f"concatenation 0x{identifier:02x} of {len(data)} octets, it has {length}")
        part = _concatenation(int.from_bytes(data[:-2], "big"), data[-2], data[-1], kind)
        if part is not None:
            found = part
    return found


def part_of(esm_class: int, short_message: bytes, tlvs: Tlvs) -> Concatenation | None:
    """Which part of which message a PDU is, by its header or by its SAR TLVs; None if it stands alone.

    An empty short_message is looked for in the TLV message_payload. HeaderError if esm_class promises a
    header that cannot be read. SAR TLVs count only when all three are there (SMPP 3.4 §5.3.2.22).
    """
    if esm_class & _UDHI:
        user_data = short_message
        if not user_data:
            user_data = next((value for tag, value in tlvs if tag == _MESSAGE_PAYLOAD), b"")
        found = concatenation_of(parse_header(user_data)[0])
        if found is not None:
            return found
    if not tlvs:
        return None
    reference = total = sequence = None
    for tag, value in tlvs:
        if tag == _SAR_REFERENCE:
            reference = int.from_bytes(value, "big")
        elif tag == _SAR_TOTAL:
            total = int.from_bytes(value, "big")
        elif tag == _SAR_SEQUENCE:
            sequence = int.from_bytes(value, "big")
    if reference is None or total is None or sequence is None:
        return None
    return _concatenation(reference, total, sequence, ConcatenationKind.SAR)


def _concatenation(
    reference: int, total: int, sequence: int, kind: ConcatenationKind
) -> Concatenation | None:
    if 1 <= sequence <= total <= _PARTS_MAX:
        return Concatenation(reference, total, sequence, kind)
    return None


def split(
    content: str | bytes, alphabet: Alphabet, reference: int, width: ReferenceWidth = 8
) -> tuple[bytes, ...]:
    """Contents of short_message for each part, with their headers: esm_class of each needs the bit UDHI.

    One part only has no header and no need of the bit. `reference` fits `width` bits. No part is longer than
    140 octets on the air (the 153 septets of GSM 03.38 are 159 octets here), none begins or ends within a
    character. HeaderError for more than 255 parts, AlphabetError for a text that the alphabet cannot say.
    """
    pieces = _pieces(content, alphabet, width)
    if len(pieces) == 1:
        return pieces
    total = len(pieces)
    return tuple(
        concatenation_header(reference, total, sequence, width) + piece
        for sequence, piece in enumerate(pieces, 1)
    )


def split_sar(
    content: str | bytes, alphabet: Alphabet, reference: int, width: ReferenceWidth = 8
) -> tuple[tuple[bytes, int, int, int], ...]:
    """(octets, reference, total, sequence) for each part, for `sar_tlvs`; one part only needs none of them.

    The octets leave room for the header that the message centre will make, whose width is the carrier's.
    """
    assert 0 <= reference <= 0xFFFF, "sar_msg_ref_num is two octets"
    pieces = _pieces(content, alphabet, width)
    total = len(pieces)
    return tuple((piece, reference, total, sequence) for sequence, piece in enumerate(pieces, 1))


def sar_tlvs(reference: int, total: int, sequence: int) -> Tlvs:
    """The three TLVs of one part, SMPP 3.4 §5.3.2.22 to 24."""
    return (
        (_SAR_REFERENCE, reference.to_bytes(2, "big")),
        (_SAR_TOTAL, total.to_bytes(1, "big")),
        (_SAR_SEQUENCE, sequence.to_bytes(1, "big")),
    )


def message_payload_tlvs(octets: bytes) -> Tlvs:
    """The TLV that carries a whole message beside an empty short_message."""
    return ((_MESSAGE_PAYLOAD, octets),)


def _pieces(content: str | bytes, alphabet: Alphabet, width: ReferenceWidth) -> tuple[bytes, ...]:
    octets = encode(content, alphabet) if isinstance(content, str) else content
    ends = cuts(octets, alphabet, width)
    if len(ends) > _PARTS_MAX:
        raise HeaderError(f"{len(octets)} octets make {len(ends)} parts, a header counts to {_PARTS_MAX}")
    return tuple(octets[start:end] for start, end in zip([0, *ends], ends, strict=False))
