"""Joins the parts of a long reply, so that an application hears a subscriber once and in order.

Parts come in any order, the last one first included, over any link of a carrier account, and some never
come (field lesson 14). They belong together when carrier account, subscriber, destination, kind of
concatenation, reference and total agree; their texts are octets and are only put one behind the other, so a
surrogate pair that the phone cut between two parts is whole again.

Nothing is dropped here. An assembly leaves complete, or incomplete with the reason why nobody waits for the
rest: its time is up, its reference came again with another text, others need its place, or it would grow
longer than a message can be. What comes for it afterwards begins an assembly of its own.

Phones count references from 0 to 255 and begin again, so a reference alone says little; within the timeout
the same subscriber hardly sends 256 long messages to one destination.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from protocol.alphabet import PART_OCTETS, PART_SEPTETS, Alphabet
from protocol.smpp.codec import encode_body
from protocol.smpp.codes import EsmClass, TlvTag
from protocol.smpp.limits import FRAME_LENGTH_MAX, HEADER_OCTETS
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.udh import (
    CONCATENATION_8_BIT,
    CONCATENATION_16_BIT,
    Concatenation,
    ConcatenationKind,
    Elements,
    HeaderError,
    build_header,
    message_payload_tlvs,
    parse_header,
    part_of,
)

# TLV of the gateway in the deliver_sm of an incomplete reply: how many of its parts are missing, one octet, 1
# to 254. Tags from 0x1400 to 0x3FFF are a message centre's own (SMPP 3.4 §5.3.2), and clients skip a tag that
# they do not know. It stands inside the range, since carriers number theirs from the range's beginning.
PARTS_MISSING_TLV: Final = 0x2110

# Why an assembly is not open any more; for evidence.
OPEN: Final = ""
COMPLETE: Final = "complete"
OVERDUE: Final = "overdue"
REUSED: Final = "reference used again"
CROWDED: Final = "too many open"
OVERSIZE: Final = "too long"

# 255 parts of 160 characters, unpacked: no longer message can be on the air. It bounds an assembly, and the
# joined text fits a frame whatever the other fields are.
TEXT_OCTETS_MAX: Final = 255 * PART_SEPTETS
_OTHER_FIELDS_OCTETS_MAX: Final = 1024  # mandatory fields 110, a user data header 140, our TLVs 9
assert TEXT_OCTETS_MAX + _OTHER_FIELDS_OCTETS_MAX < FRAME_LENGTH_MAX

# A carrier repeats a part whose response it missed, a few times. Whoever repeats one more often does not wait
# for a response, and the list of the repetitions must end.
REPEATS_MAX: Final = 255

# All that waits at a time, in octets of memory: of three parts a reply takes some 3 KiB, so that this is as
# much as ten thousand of them. A carrier may put TLVs of 60 kB into each part; only those of one part are
# kept, and still two thousand replies would take 120 MB, or 4 GB if the TLVs were short ones.
HELD_OCTETS_MAX: Final = 32 * 1024 * 1024
# What the objects take around the octets that they hold (CPython, 64 bits).
_ASSEMBLY_OVERHEAD_OCTETS: Final = 2_000
_PART_OVERHEAD_OCTETS: Final = 300
_TLV_OVERHEAD_OCTETS: Final = 150
_REPEAT_OCTETS: Final = 40

# SMPP 3.4 §5.2.21; 5.0 allows 255, which a client of 3.4 need not read.
_SHORT_MESSAGE_OCTETS_MAX: Final = 254

_UDHI: Final = int(EsmClass.UDHI)
_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)
_CONCATENATION_ELEMENTS: Final = frozenset({CONCATENATION_8_BIT, CONCATENATION_16_BIT})
# What describes one part only; and our own flag, which nobody else may raise.
_TLVS_OF_A_PART: Final = frozenset(
    {
        int(TlvTag.SAR_MSG_REF_NUM),
        int(TlvTag.SAR_TOTAL_SEGMENTS),
        int(TlvTag.SAR_SEGMENT_SEQNUM),
        _MESSAGE_PAYLOAD,
        PARTS_MISSING_TLV,
    }
)


class ReplyKey(msgspec.Struct, frozen=True, gc=False):
    """Whose message a part belongs to; with the total, which message.

    subscriber: any form that is the same for all parts and differs from that of others. The hash of a number
    that could not be normalised is none: it is the same for all of them.
    """

    carrier: str
    subscriber: bytes
    destination: bytes
    kind: ConcatenationKind
    reference: int


class ReplyPart(msgspec.Struct, gc=False):
    """One part. index: of its `Reply` record. sequence: from 1. text: as `part_in` gives it."""

    index: int
    recorded_us: int
    sequence: int
    text: bytes


class Source(msgspec.Struct, gc=False):
    """What the report of a reply is made of besides its text: the PDU of its head, for which account it came,
    and what data_coding 0 means to its carrier."""

    account: str
    alphabet: Alphabet
    pdu: DeliverSm | DataSm

    @property
    def octets(self) -> int:
        """What it takes in memory, roughly."""
        short = self.pdu.short_message if isinstance(self.pdu, DeliverSm) else b""
        return len(short) + sum(_TLV_OVERHEAD_OCTETS + len(value) for _, value in self.pdu.tlvs)


class Assembly(msgspec.Struct, eq=False, gc=False):
    """The parts of one reply, as far as they have come.

    started: when the first came, in seconds of a monotonic clock. source: of its head.
    repeats: indexes of records that brought a part again. ended: OPEN, or why it is not open any more.
    octets: of its text; held: what it takes in memory, roughly.
    """

    key: ReplyKey
    total: int
    started: float
    source: Source | None = None
    parts: dict[int, ReplyPart] = {}
    repeats: list[int] = []
    octets: int = 0
    held: int = _ASSEMBLY_OVERHEAD_OCTETS
    ended: str = OPEN

    def take(self, part: ReplyPart, source: Source | None) -> None:
        """A part that has not come before."""
        self.parts[part.sequence] = part
        self.octets += len(part.text)
        self.held += len(part.text) + _PART_OVERHEAD_OCTETS
        if self.head is part:
            self.held -= 0 if self.source is None else self.source.octets
            self.held += 0 if source is None else source.octets
            self.source = source

    @property
    def missing(self) -> tuple[int, ...]:
        """Sequences that have not come; empty when the reply is complete."""
        return tuple(sequence for sequence in range(1, self.total + 1) if sequence not in self.parts)

    @property
    def head(self) -> ReplyPart:
        """The part of the lowest sequence that came; its PDU is what `whole_of` takes."""
        return self.parts[min(self.parts)]

    @property
    def oldest(self) -> int:
        """The lowest record index: that of the part which came first."""
        return next(iter(self.parts.values())).index

    @property
    def indexes(self) -> list[int]:
        """The indexes of all records that this reply stands for, repetitions included, ascending."""
        return sorted([*(part.index for part in self.parts.values()), *self.repeats])

    def joined(self) -> bytes:
        """The text in the order of the sequence; nothing stands in place of what is missing."""
        return b"".join(self.parts[sequence].text for sequence in sorted(self.parts))


class Reassembly:
    """The replies that are still to be completed. Owned by the event loop.

    Records are added in the order of their indexes, in operation and at a restart.
    """

    def __init__(self, timeout_s: float, open_max: int, held_max: int = HELD_OCTETS_MAX) -> None:
        """timeout_s: how long to wait for the rest of a reply, counted from the part that came first. Were it
        counted from the latest one, a part a minute could withhold the others for hours, and with them the
        low-water mark of recovery; a part that comes later still reaches the application, flagged.

        open_max: incomplete replies at a time; held_max: octets that they may take together. A carrier that
        loses parts would let them grow until the timeout; beyond a limit the oldest goes on as it is.
        """
        assert timeout_s > 0
        assert open_max > 0
        self._timeout_s = timeout_s
        self._open_max = open_max
        self._held_max = held_max
        self._held = 0  # by those that are open
        # In the order in which they began, which is the order in which their time is up.
        self._open: OrderedDict[tuple[ReplyKey, int], Assembly] = OrderedDict()
        self._ended: list[Assembly] = []

    def __len__(self) -> int:
        """Replies that wait for parts."""
        return len(self._open)

    def add(
        self, key: ReplyKey, total: int, part: ReplyPart, now: float, source: Source | None = None
    ) -> Assembly | None:
        """Take a part of a reply of `total` parts; the complete reply, or None while parts are missing.

        source: is kept while no part of a lower sequence has come.

        Another reply may have had to give way: call `overdue` after it, in the same turn. At a restart `now`
        is as long ago as the record is old.
        """
        assert 1 <= part.sequence <= total
        assert len(part.text) <= TEXT_OCTETS_MAX
        slot = key, total
        assembly = self._open.get(slot)
        if assembly is not None:
            held = assembly.parts.get(part.sequence)
            if held is None:
                if assembly.octets + len(part.text) > TEXT_OCTETS_MAX:
                    self._end(assembly, OVERSIZE)
                    assembly = None
            elif held.text == part.text and len(assembly.repeats) < REPEATS_MAX:
                assembly.repeats.append(part.index)
                assembly.held += _REPEAT_OCTETS
                self._held += _REPEAT_OCTETS
                self._make_room()
                return None
            else:
                self._end(assembly, REUSED)
                assembly = None
        if assembly is None:
            assembly = Assembly(key, total, now)
        else:
            self._held -= assembly.held
        assembly.take(part, source)
        if len(assembly.parts) == total:
            self._open.pop(slot, None)
            assembly.ended = COMPLETE
            return assembly
        if slot not in self._open:
            if len(self._open) >= self._open_max:
                self._end(next(iter(self._open.values())), CROWDED)
            self._open[slot] = assembly
        self._held += assembly.held
        self._make_room()
        return None

    def _make_room(self) -> None:
        while self._held > self._held_max:
            self._end(next(iter(self._open.values())), CROWDED)

    def overdue(self, now: float) -> list[Assembly]:
        """Give up the incomplete replies whose time is up, and hand over all that had to give way since the
        last call; oldest first. Costs one look where there are none."""
        while self._open and now - (first := next(iter(self._open.values()))).started >= self._timeout_s:
            self._end(first, OVERDUE)
        if not self._ended:
            return []
        ended, self._ended = self._ended, []
        ended.sort(key=lambda assembly: assembly.oldest)
        return ended

    def oldest(self) -> int | None:
        """The lowest record index that is still needed here; None if none is."""
        held = [assembly.oldest for assembly in self._ended]
        if self._open:
            held.append(next(iter(self._open.values())).oldest)
        return min(held, default=None)

    def _end(self, assembly: Assembly, reason: str) -> None:
        del self._open[assembly.key, assembly.total]
        self._held -= assembly.held
        assembly.ended = reason
        self._ended.append(assembly)


def part_in(pdu: DeliverSm | DataSm) -> tuple[Concatenation | None, bytes, Elements]:
    """Which part of which message a PDU is; its text without header; the header's other elements.

    None if it stands alone, and then it goes on as it came: also when its header cannot be read (the text is
    all octets then), and when text or header are longer than any part on the air can make them.
    """
    octets = pdu.short_message if isinstance(pdu, DeliverSm) else b""
    octets = octets or pdu.tlv(_MESSAGE_PAYLOAD) or b""
    elements: Elements = ()
    text = octets
    try:
        concatenation = part_of(pdu.esm_class, octets, pdu.tlvs)
        if pdu.esm_class & _UDHI:
            elements, text = parse_header(octets)
    except HeaderError:
        return None, octets, ()
    if len(text) > TEXT_OCTETS_MAX or len(octets) - len(text) > PART_OCTETS:
        concatenation = None
    return concatenation, text, tuple(each for each in elements if each[0] not in _CONCATENATION_ELEMENTS)


def whole_of(assembly: Assembly, pdu: DeliverSm | DataSm) -> DeliverSm:
    """The one deliver_sm of an assembly. pdu: that of `assembly.head`, which gives all other fields.

    The text stands in short_message up to 254 octets, beyond in message_payload. An incomplete one bears
    PARTS_MISSING_TLV. Its sequence_number is 0. It fits a frame, and any deliver_sm if `pdu` is one; the
    addresses of a data_sm may be longer than a deliver_sm can say (LocalError), which is to be refused when
    the data_sm comes.
    """
    _, _, elements = part_in(pdu)
    text = (build_header(elements) if elements else b"") + assembly.joined()
    short = len(text) <= _SHORT_MESSAGE_OCTETS_MAX
    missing = len(assembly.missing)
    ours = () if short else message_payload_tlvs(text)
    if missing:
        ours += ((PARTS_MISSING_TLV, bytes((missing,))),)
    whole = msgspec.structs.replace(
        pdu if isinstance(pdu, DeliverSm) else deliver_sm_of(pdu),
        sequence_number=0,
        command_status=0,
        esm_class=pdu.esm_class | _UDHI if elements else pdu.esm_class & ~_UDHI,
        short_message=text if short else b"",
        tlvs=tuple(tlv for tlv in pdu.tlvs if tlv[0] not in _TLVS_OF_A_PART) + ours,
    )
    if HEADER_OCTETS + len(encode_body(whole)) > FRAME_LENGTH_MAX:
        # Other TLVs of some 20 KiB, which no honest carrier sends: the text matters, and evidence has them.
        whole.tlvs = ours
    return whole


def deliver_sm_of(pdu: DataSm) -> DeliverSm:
    """The deliver_sm that says the same as a data_sm; the text stays in its message_payload.

    It may be none that can be encoded: addresses of a data_sm may be longer than a deliver_sm can say, and
    the mandatory fields of a deliver_sm take seven octets more of the frame.
    """
    return DeliverSm(
        service_type=pdu.service_type,
        source_addr_ton=pdu.source_addr_ton,
        source_addr_npi=pdu.source_addr_npi,
        source_addr=pdu.source_addr,
        dest_addr_ton=pdu.dest_addr_ton,
        dest_addr_npi=pdu.dest_addr_npi,
        destination_addr=pdu.destination_addr,
        esm_class=pdu.esm_class,
        registered_delivery=pdu.registered_delivery,
        data_coding=pdu.data_coding,
        tlvs=pdu.tlvs,
    )
