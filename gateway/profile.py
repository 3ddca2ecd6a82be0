"""What a carrier account wants and writes, as its configuration says, and what it was seen to do instead.

A profile is data: type of number and numbering plan of the addresses, TLVs, the longest text, the notation of
message ids, where receipts have their facts.  Bodies of parts are kept as they were accepted, and take the
form that a carrier wants when they leave for it; so a part that goes another way needs nothing done to it.

Nothing that is observed changes what the gateway does: it reads ids and receipts in whatever form they come.
But a profile that is wrong is worth knowing, so each kind of difference is counted, said once in the log, and
shown by `jingxin status` with its last example.  An example never holds a subscriber's number or text: of an
id it is the beginning, of a code the code.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec
import structlog

from gateway.bodies import submit_of_body
from gateway.config import AS_SUBMITTED
from protocol.alphabet import Alphabet, part_room
from protocol.smpp.codec import encode_body
from protocol.smpp.codes import CommandId, CommandStatus, EsmClass, TlvTag, status_name
from protocol.smpp.pdu import SubmitSm, Tlvs
from protocol.smpp.times import SHANGHAI
from protocol.udh import concatenation_header, part_of

if TYPE_CHECKING:
    from gateway.config import CarrierConfig

logger = structlog.get_logger()

# Of 64 ids in responses, and of 64 receipts, one is looked at: what a carrier does otherwise it does always,
# and the first of each is among them.
SAMPLE_MASK: Final = 63

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)
_UDHI: Final = int(EsmClass.UDHI)
_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)
# Each says by itself that a receipt has its facts in TLVs.
_RECEIPT_TAGS: Final = frozenset((int(TlvTag.RECEIPTED_MESSAGE_ID), int(TlvTag.MESSAGE_STATE)))

# What short_message may hold (SMPP 3.4 §5.2.22).
_SHORT_MESSAGE_OCTETS: Final = 254

_INVALID_LENGTH: Final = int(CommandStatus.ESME_RINVMSGLEN)
_MISSING_TLV: Final = int(CommandStatus.ESME_RMISSINGTLV)
_TLV_STATUSES: Final = frozenset(
    int(status)
    for status in (
        CommandStatus.ESME_RINVTLVSTREAM,
        CommandStatus.ESME_RTLVNOTALLWD,
        CommandStatus.ESME_RINVTLVLEN,
        CommandStatus.ESME_RMISSINGTLV,
        CommandStatus.ESME_RINVTLVVAL,
    )
)
assert _MISSING_TLV in _TLV_STATUSES

_ALPHABETS: Final = {"gsm0338": Alphabet.GSM, "ascii": Alphabet.ASCII, "latin1": Alphabet.LATIN_1}


class Profile(msgspec.Struct, frozen=True, gc=False):
    """How one carrier account wants its PDUs, and how it writes its own.  Field by field as the keys of
    [[carrier]]; alphabet: what data_coding 0 means there; rewrites: `as_sent` may change a body."""

    alphabet: Alphabet
    source_ton: int
    source_npi: int
    destination_ton: int
    destination_npi: int
    tlvs: bool
    message_payload: bool
    parts_max: int
    interface_version: int
    ids: str
    receipt_ids: str
    receipts: str
    rewrites: bool

    @classmethod
    def of(cls, config: CarrierConfig) -> Self:
        octets = (config.source_ton, config.source_npi, config.destination_ton, config.destination_npi)
        return cls(
            _ALPHABETS[config.default_alphabet],
            *octets,
            config.tlvs,
            config.message_payload,
            config.parts_max,
            config.interface_version,
            config.ids,
            config.receipt_ids,
            config.receipts,
            any(octet != AS_SUBMITTED for octet in octets) or not (config.tlvs and config.message_payload),
        )

    def takes(self, units: int) -> bool:
        """Whether the carrier takes one PDU with a text of so many parts, which cannot be cut any more."""
        return units == 1 or (self.message_payload and units <= self.parts_max)

    def as_sent(self, body: bytes) -> bytes:
        """The body of a submit_sm that was accepted, as it leaves for this carrier.

        Where it takes no message_payload, a text that fits goes into short_message.  Where it takes no other
        TLVs, these are left out; but a part that says by SAR TLVs which one it is says so by a header then,
        or the phone could not put it together.
        """
        if not self.rewrites:
            return body
        # In place: to decode and encode a body takes several times as long, and few have TLVs.
        source_at = body.index(0) + 1
        destination_at = body.index(0, source_at + 2) + 1
        octets = bytearray(body)
        for at, octet in (
            (source_at, self.source_ton),
            (source_at + 1, self.source_npi),
            (destination_at, self.destination_ton),
            (destination_at + 1, self.destination_npi),
        ):
            if octet != AS_SUBMITTED:
                octets[at] = octet
        if (self.tlvs and self.message_payload) or not _has_tlvs(body, destination_at):
            return bytes(octets)
        pdu = submit_of_body(bytes(octets))
        if not self.message_payload:
            _put_payload_into_text(pdu)
        if not self.tlvs:
            self._leave_out_tlvs(pdu)
        return encode_body(pdu)

    def _leave_out_tlvs(self, pdu: SubmitSm) -> None:
        place = None if pdu.esm_class & _UDHI else part_of(0, b"", pdu.tlvs)
        if place is not None:
            _put_payload_into_text(pdu)
        if place is not None and pdu.short_message:
            # An 8-bit reference, as in the parts that the gateway cuts; the same one for all parts of a text.
            header = concatenation_header(place.reference & 0xFF, place.total, place.sequence)
            text = header + pdu.short_message
            if len(text) <= part_room(len(header), pdu.data_coding, self.alphabet):
                pdu.esm_class |= _UDHI
                pdu.short_message = text
        pdu.tlvs = tuple(tlv for tlv in pdu.tlvs if tlv[0] == _MESSAGE_PAYLOAD)


def _has_tlvs(body: bytes, destination_at: int) -> bool:
    """Whether anything follows short_message; destination_at: where the destination's TON stands."""
    schedule_at = body.index(0, destination_at + 2) + 4  # past esm_class, protocol_id, priority_flag
    validity_end = body.index(0, body.index(0, schedule_at) + 1)
    length_at = validity_end + 5  # past registered_delivery to sm_default_msg_id
    return length_at + 1 + body[length_at] < len(body)


def _put_payload_into_text(pdu: SubmitSm) -> None:
    payload = pdu.tlv(_MESSAGE_PAYLOAD)
    if payload is not None and not pdu.short_message and len(payload) <= _SHORT_MESSAGE_OCTETS:
        pdu.short_message = payload
        pdu.tlvs = tuple(tlv for tlv in pdu.tlvs if tlv[0] != _MESSAGE_PAYLOAD)


# -- what differs --------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """In what a carrier differs from its profile, or from what the gateway knows."""

    RESPONSE_IDS = "response_ids"
    RECEIPT_IDS = "receipt_ids"
    DERIVED_IDS = "derived_ids"
    RECEIPTS = "receipts"
    CODES = "codes"
    SUBSCRIBER = "subscriber"
    MESSAGE_PAYLOAD = "message_payload"
    TLVS = "tlvs"
    INTERFACE_VERSION = "interface_version"


class _Row(NamedTuple):
    """What is said of a kind; keys: of the profile, which it is about.  sampled: only some are looked at."""

    text: str
    keys: tuple[str, ...] = ()
    sampled: bool = False


_ROWS: Final = {
    Kind.RESPONSE_IDS: _Row(
        "ids in responses are {seen}, the profile says {profile.ids}", ("ids",), sampled=True
    ),
    Kind.RECEIPT_IDS: _Row(
        "ids in receipts are {seen}, the profile says {profile.receipt_ids}", ("receipt_ids",), sampled=True
    ),
    Kind.DERIVED_IDS: _Row("receipts write ids in another notation than responses", ("ids", "receipt_ids")),
    Kind.RECEIPTS: _Row(
        "receipts come without {seen}, the profile says {profile.receipts}", ("receipts",), sampled=True
    ),
    Kind.CODES: _Row("receipts have codes that no table knows"),
    Kind.SUBSCRIBER: _Row("receipts have the subscriber in the destination address"),
    Kind.MESSAGE_PAYLOAD: _Row(
        "texts in message_payload are refused, the profile says that they are taken", ("message_payload",)
    ),
    Kind.TLVS: _Row("messages are refused for a TLV that they have or lack", ("tlvs",)),
    Kind.INTERFACE_VERSION: _Row(
        "the interface version is {seen}, the profile says {profile.interface_version:#x}",
        ("interface_version",),
    ),
}


class Difference(msgspec.Struct, gc=False):
    """How often it was seen since when; seen: what, where the text of its kind says so; last: an example."""

    first_us: int
    count: int = 0
    seen: str = ""
    last: str = ""


class Observed:
    """What one carrier account does otherwise than its profile says.  Owned by the event loop.

    There is one entry for each kind at most, so nothing a carrier writes makes it grow.  Times are in
    microseconds since the epoch.
    """

    def __init__(self, carrier: str, profile: Profile) -> None:
        self.differences: dict[Kind, Difference] = {}
        self.receipts = 0  # that came; who counts them shows one of SAMPLE_MASK + 1 to `receipt`
        self._carrier = carrier
        self._profile = profile

    def configure(self, profile: Profile) -> None:
        """Go on with another profile: what was seen against a key that has changed is forgotten."""
        before, self._profile = self._profile, profile
        for kind, row in _ROWS.items():
            if any(getattr(before, key) != getattr(profile, key) for key in row.keys):
                self.differences.pop(kind, None)

    def sentences(self) -> list[str]:
        """What differs, a sentence each, in the order in which it was first seen."""
        return [self._sentence(kind, difference) for kind, difference in self.differences.items()]

    # -- what the paths of messages show --------------------------------------------------------------------

    def response_id(self, carrier_id: bytes, now_us: int) -> None:
        """An id in a positive response."""
        seen = _other_form(carrier_id, self._profile.ids)
        if seen:
            self._note(Kind.RESPONSE_IDS, now_us, _beginning(carrier_id), seen)

    def receipt(self, message_id: bytes, stat: bytes, tlvs: Tlvs, now_us: int) -> None:
        """A receipt, with the id and the word that were read from it."""
        seen = _other_form(message_id, self._profile.receipt_ids)
        if seen:
            self._note(Kind.RECEIPT_IDS, now_us, _beginning(message_id), seen)
        form = self._profile.receipts
        if form == "text" and not stat:
            self._note(Kind.RECEIPTS, now_us, _beginning(message_id), "text")
        elif form == "tlv" and not any(tag in _RECEIPT_TAGS for tag, _ in tlvs):
            self._note(Kind.RECEIPTS, now_us, _beginning(message_id), "TLVs")

    def match(self, message_id: bytes, *, derived: bool, by_destination: bool, now_us: int) -> None:
        """A receipt found its part.  derived: by another notation of the id.  by_destination: the subscriber
        stood in its destination address."""
        profile = self._profile
        said = profile.ids != profile.receipt_ids and "any" not in (profile.ids, profile.receipt_ids)
        if derived and not said:
            self._note(Kind.DERIVED_IDS, now_us, _beginning(message_id))
        if by_destination:
            self._note(Kind.SUBSCRIBER, now_us, _beginning(message_id))

    def unknown_code(self, stat: bytes, err: bytes, now_us: int) -> None:
        """A receipt reports a failure with codes that no table has."""
        self._note(Kind.CODES, now_us, " ".join(filter(None, (_code(stat), _code(err)))))

    def refusal(self, command_status: int, body: bytes, now_us: int) -> None:
        """A part was refused.  body: as it was accepted; may be empty, where it is not kept any more."""
        if command_status != _INVALID_LENGTH and command_status not in _TLV_STATUSES:
            return
        tags = {tag for tag, _ in submit_of_body(self._profile.as_sent(body)).tlvs} if body else set()
        if command_status == _INVALID_LENGTH:
            of_payload = _MESSAGE_PAYLOAD in tags
        else:
            of_payload = tags == {_MESSAGE_PAYLOAD} and command_status != _MISSING_TLV
        if of_payload and self._profile.message_payload:
            self._note(Kind.MESSAGE_PAYLOAD, now_us, status_name(command_status))
        elif not of_payload and command_status != _INVALID_LENGTH:
            # The length of a short text is the application's fault, and says nothing of the profile.
            self._note(Kind.TLVS, now_us, status_name(command_status))

    def bind_answer(self, interface_version: bytes | None, now_us: int) -> None:
        """A bind was granted.  interface_version: the value of sc_interface_version.

        Many carriers leave it out whatever they speak, so that says nothing.
        """
        if interface_version is None or len(interface_version) != 1:
            return
        if interface_version[0] < self._profile.interface_version:
            self._note(Kind.INTERFACE_VERSION, now_us, "", f"{interface_version[0]:#x}")

    # -- what is kept of it ---------------------------------------------------------------------------------

    def _note(self, kind: Kind, now_us: int, last: str, seen: str = "") -> None:
        difference = self.differences.get(kind)
        if difference is None:
            difference = self.differences[kind] = Difference(now_us)
        difference.count += 1
        difference.seen = seen
        difference.last = last
        if difference.count == 1:
            logger.warning(
                "carrier differs from its profile",
                carrier=self._carrier,
                kind=kind.value,
                difference=self._statement(kind, difference),
                example=last,
            )

    def _statement(self, kind: Kind, difference: Difference) -> str:
        return _ROWS[kind].text.format(seen=difference.seen, profile=self._profile)

    def _sentence(self, kind: Kind, difference: Difference) -> str:
        times = "once" if difference.count == 1 else f"{difference.count:,} times"
        if _ROWS[kind].sampled:
            times = f"at least {times}"
        since = datetime.fromtimestamp(difference.first_us // 1_000_000, SHANGHAI)
        last = f", last {difference.last}" if difference.last else ""
        return f"{self._statement(kind, difference)} ({times} since {since:%Y-%m-%d %H:%M}{last})"


# -- ids and codes -------------------------------------------------------------------------------------------

# A number of decimal digits is a hexadecimal one too, and 32 digits may be a UUID without its dashes.
_FORMS: Final = {
    "decimal": re.compile(rb"[0-9]+"),
    "uuid": re.compile(rb"[0-9A-Fa-f]{8}(-?)[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{12}"),
    "hexadecimal": re.compile(rb"[0-9A-Fa-f]+"),
}

# How much of an id is shown: enough to see its form, and no number of a subscriber is as short.
_ID_SHOWN: Final = 6
_DIGITS: Final = re.compile(r"[0-9]{7,}")


def _other_form(message_id: bytes, form: str) -> str:
    """The form of an id that is not as the profile says; empty if it is."""
    if form == "any" or _FORMS[form].fullmatch(message_id):
        return ""
    if not message_id:
        return "missing"
    return next((name for name, pattern in _FORMS.items() if pattern.fullmatch(message_id)), "no number")


def _beginning(message_id: bytes) -> str:
    text = _printable(message_id)
    return text if len(text) <= _ID_SHOWN else f"{text[:_ID_SHOWN]}…"


def _code(octets: bytes) -> str:
    """A carrier's word or code; no code has seven digits in a row, and a number has."""
    return _DIGITS.sub("…", _printable(octets))


def _printable(octets: bytes) -> str:
    text = octets.decode("ascii", "replace")
    return "".join(
        character if character.isascii() and character.isprintable() else "?" for character in text
    )
