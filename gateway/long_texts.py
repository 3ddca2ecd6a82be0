"""Texts that are longer than one part: which parts belong together, and how a whole one is cut.

Parts that an application made itself pass untouched.  All that is known of them is their header or their SAR
TLVs; by these they are led one way, since a phone puts together only what comes from one message centre
(field lesson 16).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.message import Group
from protocol.alphabet import Alphabet, alphabet_of
from protocol.smpp.codec import encode
from protocol.smpp.codes import EsmClass, TlvTag
from protocol.smpp.pdu import SubmitSm
from protocol.udh import HeaderError, part_of, split

if TYPE_CHECKING:
    from gateway.carrier import Carrier

# How long the parts of one text may be apart.  An application sends them within seconds; references of one
# octet come again after 256 texts to one number, which takes longer.
TOGETHER_S: Final = 600.0

# Texts that are remembered, some 400 octets each; the oldest is forgotten first.
TEXTS_MAX: Final = 50_000

_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)
_SAR_REFERENCE: Final = int(TlvTag.SAR_MSG_REF_NUM)
_UDHI: Final = int(EsmClass.UDHI)


class _Known(msgspec.Struct, gc=False):
    group: Group
    until: float


class LongTexts:
    """The texts whose parts came lately, by account, addresses and reference."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], _Known] = OrderedDict()

    def group_of(
        self, account: str, pdu: SubmitSm, destination: bytes, now: float
    ) -> tuple[Group | None, int]:
        """The group of a part that an application made, and the bit for it in ``came``, which whoever accepts
        it sets; None and 0 if its header names no other part.

        A part that came before belongs to the next text, since some applications give all of theirs one
        reference.  A new group has no carrier yet: who routes its first part says so.
        """
        try:
            place = part_of(pdu.esm_class, pdu.short_message, pdu.tlvs)
        except HeaderError:
            return None, 0  # it is passed on, and the phone decides
        if place is None or place.total == 1:
            return None, 0
        bit = 1 << place.sequence
        key = (account, pdu.source_addr, destination, place.kind, place.reference, place.total)
        known = self._known.get(key)
        if known is None or now > known.until or known.group.came & bit:
            carrier = None if known is None else _carrier_again(known, place.total, now)
            known = self._known[key] = _Known(Group(carrier), 0.0)
            if len(self._known) > TEXTS_MAX:
                self._known.popitem(last=False)
        known.until = now + TOGETHER_S
        self._known.move_to_end(key)
        return known.group, bit

    def forget(self, gone: Carrier) -> None:
        """A carrier is not configured any more: what comes next of its texts goes another way.

        Their parts that wait have a carrier all the same, and are taken from there (gateway/detours.py).
        """
        for key in [key for key, known in self._known.items() if known.group.carrier is gone]:
            del self._known[key]


def _carrier_again(known: _Known, total: int, now: float) -> Carrier | None:
    """The carrier for a part that came before: while others of its text are still to come its application may
    have lost the answer, and the phone needs the rest by the same way."""
    carrier, group = known.group.carrier, known.group
    complete = group.came == (1 << total + 1) - 2  # sequence numbers begin with 1
    stays = carrier is not None and not complete and now <= known.until and carrier.in_service(now)
    return carrier if stays else None


def may_be_a_part(pdu: SubmitSm) -> bool:
    """Whether a submit_sm may be a part of a longer text; one look at nearly all of them."""
    return bool(pdu.esm_class & _UDHI) or (bool(pdu.tlvs) and pdu.tlv(_SAR_REFERENCE) is not None)


def can_be_cut(pdu: SubmitSm) -> bool:
    """Whether a submit_sm that is longer than one part may be cut: its text brings no header of its own, and
    no TLV says that it is a part already."""
    return not may_be_a_part(pdu)


def cut(pdu: SubmitSm, default_alphabet: Alphabet, reference: int) -> list[tuple[SubmitSm, bytes]]:
    """The parts of a submit_sm that is longer than one, each with its frame; they have concatenation headers
    with an 8-bit reference, and no character is cut in two.

    The text of ``pdu`` has no header of its own, and makes 2 to 255 parts.
    """
    text = pdu.short_message or pdu.tlv(_MESSAGE_PAYLOAD) or b""
    pieces = split(text, alphabet_of(pdu.data_coding, default_alphabet), reference & 0xFF)
    assert len(pieces) > 1
    tlvs = tuple(tlv for tlv in pdu.tlvs if tlv[0] != _MESSAGE_PAYLOAD)
    parts = []
    for piece in pieces:
        part = msgspec.structs.replace(pdu, esm_class=pdu.esm_class | _UDHI, short_message=piece, tlvs=tlvs)
        parts.append((part, encode(part)))
    return parts
