"""Long replies (上行): what subscribers send in several parts, and how to tell that one has come whole.

A long reply has a number, and everything follows from it: its text, which ends with the number, how many
parts it has, and the subscriber who sent it. No two numbers have the same subscriber.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from bench.messages import MARK, TEXT, UCS2, destination_of, long_text, parts_of, token_at
from protocol.alphabet import PART_OCTETS, Alphabet, ReferenceWidth, text_part_count
from protocol.smpp.codec import encode_body
from protocol.smpp.codes import EsmClass
from protocol.smpp.pdu import DeliverSm, Tlvs
from protocol.udh import sar_tlvs, split, split_sar

Form = ReferenceWidth | Literal["sar"]
"""How a part says where it belongs: a header with a reference of so many bits, or TLVs."""

_WIDTHS: Final[tuple[ReferenceWidth, ...]] = (8, 16)
_FORMS: Final[tuple[Form, ...]] = (*_WIDTHS, "sar")

# Blocks of 66 units: whether 66 or 67 fit into a part, there are as many parts as blocks.
_TEXT: Final = TEXT[:-1]

# So many replies are under way at a time, their parts in any order: what a busy hour has, and few enough for
# whoever joins them to keep.
_TOGETHER: Final = 64

NOT_NUMBERED: Final = -2
BROKEN: Final = -1


def reply_text(number: int) -> str:
    """What long reply `number` says, in `messages.parts_of(number)` parts however it is cut."""
    return long_text(number, _TEXT)


assert all(
    text_part_count(reply_text(number), Alphabet.UCS_2, width) == parts_of(number)
    for number in (0, 4, 8, 12)
    for width in _WIDTHS
)


def reply_number(subscriber: bytes, octets: bytes) -> int:
    """The number of the long reply that these octets are, whole and from the right subscriber.

    BROKEN for a long reply that is not, NOT_NUMBERED for any other text.
    """
    number = token_at(octets, len(octets))
    if number >= 0 and octets == reply_text(number).encode("utf-16-be"):
        return number if subscriber == destination_of(number) else BROKEN
    return BROKEN if MARK in octets else NOT_NUMBERED


def reply_body(
    subscriber: bytes, destination: bytes, octets: bytes, *, esm_class: int = 0, tlvs: Tlvs = ()
) -> bytes:
    """The deliver_sm, without its header, that brings a reply in UCS-2 to an application."""
    return encode_body(
        DeliverSm(
            source_addr_ton=1,
            source_addr_npi=1,
            source_addr=subscriber,
            destination_addr=destination,
            esm_class=esm_class,
            data_coding=UCS2,
            short_message=octets,
            tlvs=tlvs,
        )
    )


def part_bodies(subscriber: bytes, destination: bytes, text: str, reference: int, form: Form) -> list[bytes]:
    """The bodies of the parts of a reply, in their order; a text of one part has no reference.

    ValueError for a reference that does not fit its form, or for more than 255 parts.
    """
    bits = 16 if form == "sar" else form
    if not 0 <= reference < 1 << bits:
        raise ValueError(f"reference {reference} has more than {bits} bits")
    octets = text.encode("utf-16-be")
    if len(octets) <= PART_OCTETS:
        return [reply_body(subscriber, destination, octets)]
    if form == "sar":
        return [
            reply_body(subscriber, destination, piece, tlvs=sar_tlvs(*place))
            for piece, *place in split_sar(octets, Alphabet.UCS_2, reference)
        ]
    return [
        reply_body(subscriber, destination, user_data, esm_class=EsmClass.UDHI)
        for user_data in split(octets, Alphabet.UCS_2, reference, form)
    ]


def shuffled_parts(numbers: Sequence[int], destination: bytes, seed: int) -> Iterator[list[bytes]]:
    """The parts of these long replies, those of some replies at a time in a random order; forms are mixed."""
    chance = random.Random(seed)
    for start in range(0, len(numbers), _TOGETHER):
        bodies: list[bytes] = []
        for number in numbers[start : start + _TOGETHER]:
            subscriber = destination_of(number)
            reference = chance.randrange(256)
            bodies += part_bodies(
                subscriber, destination, reply_text(number), reference, chance.choice(_FORMS)
            )
        chance.shuffle(bodies)
        yield bodies
