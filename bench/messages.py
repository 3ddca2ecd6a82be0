"""The messages of the load generator: each can be recognised wherever it turns up.

A message has a token, a number that no other message of the run has. The token stands at the end of its text,
and its destination follows from it, so that whoever sees the message can tell whether text and number still
belong together. No two tokens share a destination before all numbers are used: 400 million messages.

A long message has two to five parts, by its token, and is made of as many blocks. A block fills one part to
its last unit, says which one of how many it is, and ends with the token as a short text does. So the token
can be read off every part, and whoever cuts the text cuts at the ends of the blocks, or wrongly.

The parts of all long messages are numbered too, as messages are by their tokens: what an application submits
part by part has a part's number wherever a short message has its token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from protocol.alphabet import HEADER_OCTETS, PART_OCTETS
from protocol.smpp.codec import HEADER, encode
from protocol.smpp.codes import CommandId, EsmClass, TlvTag
from protocol.smpp.pdu import SubmitSm, Tlvs
from protocol.udh import HeaderError, concatenation_header, message_payload_tlvs, parse_header, part_of

NETWORKS: Final = ("mobile", "unicom", "telecom", "broadnet")
PREFIXES: Final = (b"138", b"186", b"189", b"192")
"""One prefix of each network (MIIT 2023); message n goes to network n modulo 4."""

assert len(PREFIXES) == len(NETWORKS) == 4

TOKENS_MAX: Final = 4 * 10**8

TEXT: Final = (
    "【政务服务】您申请的业务已受理，请于三个工作日内携带身份证到窗口办理。办理进度可在政务服务网查询。"
)
"""49 characters; with mark and token it is one part (70 characters of UCS-2)."""

_MARK_TEXT: Final = "编号"
MARK: Final = _MARK_TEXT.encode("utf-16-be")
_DIGITS: Final = 10
_HIGH_OCTETS: Final = bytes(_DIGITS)
TAIL_OCTETS: Final = len(MARK) + 2 * _DIGITS

# Tokens with as many parts stand together in fours, one for each network, and the numbers of their parts go
# round the networks too: token and number modulo 4 are the same.
_FOURS: Final = (2, 3, 4, 5)
_FOUR_STARTS: Final = tuple(accumulate((4 * parts for parts in _FOURS[:-1]), initial=0))
_CYCLE_TOKENS: Final = 4 * len(_FOURS)
_CYCLE_PARTS: Final = 4 * sum(_FOURS)
PARTS_MAX: Final = max(_FOURS)

# Odd and no multiple of five: multiplication permutes the numbers below 10**8, so that neighbours in time are
# no neighbours in the number plan, and can be undone.
_SCATTER: Final = 61803399
_NUMBERS: Final = 10**8
_GATHER: Final = pow(_SCATTER, -1, _NUMBERS)
_NETWORK_OF_PREFIX: Final = {prefix: network for network, prefix in enumerate(PREFIXES)}

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)
_UDHI: Final = int(EsmClass.UDHI)
UCS2: Final = 8

Writer = Callable[[int, int], bytes]
"""Gives the whole submit_sm for a sequence number and a token, or the number of a part."""


def destination_of(token: int) -> bytes:
    """The eleven digits that message `token` goes to."""
    return b"%b%08d" % (PREFIXES[token & 3], (token >> 2) * _SCATTER % _NUMBERS)


def token_at(octets: bytes, end: int) -> int:
    """The token of the text that ends at `end` in `octets`; -1 if the text is none of ours."""
    digits = octets[end - 2 * _DIGITS + 1 : end : 2]
    if (
        octets[end - TAIL_OCTETS : end - 2 * _DIGITS] != MARK
        or octets[end - 2 * _DIGITS : end : 2] != _HIGH_OCTETS
        or not digits.isdigit()
    ):
        return -1
    return int(digits)


def token_of_destination(destination: bytes) -> int:
    """The lowest token that goes to `destination`; -1 if none does."""
    network = _NETWORK_OF_PREFIX.get(destination[:3])
    if network is None or len(destination) != 11 or not destination.isdigit():
        return -1
    return int(destination[3:]) * _GATHER % _NUMBERS * 4 + network


def submit_writer(
    source: bytes, text: str = TEXT, *, priority_flag: int = 0, registered_delivery: int = 1
) -> Writer:
    """Writes short messages. ValueError for a text that is more than one part.

    Every frame has the same length, so all but three places is made once: 1 µs a frame.
    """
    before_destination = b"\0\0\0" + source + b"\0\1\1"
    # esm_class, protocol_id, priority_flag, no schedule, no validity, registered_delivery, replace,
    # coding, default message id.
    short_message = text.encode("utf-16-be") + MARK
    length = len(short_message) + 2 * _DIGITS
    if length > 140:
        raise ValueError(f"a text of {length} octets is more than one part: at most 58 characters fit")
    fields = bytes((0, 0, priority_flag, 0, 0, registered_delivery, 0, UCS2, 0, length))
    after_destination = b"\0" + fields + short_message
    octets = 16 + len(before_destination) + 11 + len(after_destination) + 2 * _DIGITS
    head = HEADER.pack(octets, _SUBMIT_SM, 0, 0)[:12]

    def write(sequence_number: int, token: int) -> bytes:
        return b"".join(
            (
                head,
                sequence_number.to_bytes(4, "big"),
                before_destination,
                b"%b%08d" % (PREFIXES[token & 3], (token >> 2) * _SCATTER % _NUMBERS),
                after_destination,
                f"{token:010d}".encode("utf-16-be"),
            )
        )

    assert len(write(1, 0)) == octets
    return write


# -- long messages ------------------------------------------------------------------------------------------


def parts_of(token: int) -> int:
    """How many parts long message `token` has: two to five, evenly in every sixteen tokens."""
    return _FOURS[token >> 2 & 3]


def part_number(token: int, sequence: int) -> int:
    """The number of part `sequence` (from 1) of message `token` among the parts of all long messages.

    The parts of one message do not stand side by side: four messages, one for each network, take turns.
    """
    assert 1 <= sequence <= parts_of(token)
    start = token // _CYCLE_TOKENS * _CYCLE_PARTS + _FOUR_STARTS[token >> 2 & 3]
    return start + 4 * (sequence - 1) + (token & 3)


def part_at(number: int) -> tuple[int, int]:
    """Token and sequence of the part with that number: what `part_number` was made from."""
    cycle, place = divmod(number, _CYCLE_PARTS)
    four = bisect_right(_FOUR_STARTS, place) - 1
    turn, network = divmod(place - _FOUR_STARTS[four], 4)
    return cycle * _CYCLE_TOKENS + 4 * four + network, turn + 1


def part_fails(number: int, every: int) -> bool:
    """Whether the carrier cannot deliver the part with that number: each `every`-th; 0: none.

    An odd `every` falls on all networks alike, an even one on some of them only.
    """
    return every > 0 and number % every == every - 1


def message_fails(token: int, every: int) -> bool:
    """Whether a part of long message `token` fails, which fails the message."""
    sequences = range(1, parts_of(token) + 1)
    return any(part_fails(part_number(token, sequence), every) for sequence in sequences)


def block(number: int, sequence: int, text: str = TEXT) -> str:
    """What part `sequence` of long message `number` says; 67 units with a text of 49."""
    return f"（{sequence}/{parts_of(number)}）：{text}{_MARK_TEXT}{number:010d}"


def long_text(number: int, text: str = TEXT) -> str:
    """The whole of long message `number`: its blocks."""
    return "".join(block(number, sequence, text) for sequence in range(1, parts_of(number) + 1))


def _octets(text: str) -> bytes:
    return text.encode("utf-16-be")


# A part with an 8-bit reference holds a block and nothing else, so that a cut falls nowhere but at its end.
assert len(_octets(block(0, 1))) == PART_OCTETS - HEADER_OCTETS[8]


def part_writer(source: bytes, *, priority_flag: int = 0, registered_delivery: int = 1) -> Writer:
    """Writes long messages as an application that cuts them itself: a frame for each number of a part."""

    def write(sequence_number: int, number: int) -> bytes:
        token, sequence = part_at(number)
        # No other message goes to the same number, so the reference need not tell many apart.
        header = concatenation_header(token >> 2 & 0xFF, parts_of(token), sequence)
        pdu = _submit_sm(sequence_number, token, source, priority_flag, registered_delivery)
        pdu.esm_class = _UDHI
        pdu.short_message = header + _octets(block(token, sequence))
        return encode(pdu)

    return write


def payload_writer(source: bytes, *, priority_flag: int = 0, registered_delivery: int = 1) -> Writer:
    """Writes long messages whole, in message_payload: whoever takes them has to cut them."""

    def write(sequence_number: int, token: int) -> bytes:
        tlvs = message_payload_tlvs(_octets(long_text(token)))
        return encode(_submit_sm(sequence_number, token, source, priority_flag, registered_delivery, tlvs))

    return write


def _submit_sm(
    sequence_number: int,
    token: int,
    source: bytes,
    priority_flag: int,
    registered_delivery: int,
    tlvs: Tlvs = (),
) -> SubmitSm:
    return SubmitSm(
        sequence_number,
        source_addr=source,
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr=destination_of(token),
        priority_flag=priority_flag,
        registered_delivery=registered_delivery,
        data_coding=UCS2,
        tlvs=tlvs,
    )


def read_parts(pdu: SubmitSm) -> tuple[int, Sequence[int]]:
    """The token of a submit_sm with a header or TLVs, and which parts of the message it holds.

    Of a short message there are no parts. The token is -1 for what is none of ours, and for a part that does
    not hold its block: cut elsewhere, in another order, or of another message than its header says.
    """
    text = pdu.short_message or pdu.tlv(TlvTag.MESSAGE_PAYLOAD) or b""
    try:
        part = part_of(pdu.esm_class, pdu.short_message, pdu.tlvs)
        if pdu.esm_class & _UDHI:
            text = parse_header(text)[1]
    except HeaderError:
        return -1, ()
    token = token_at(text, len(text)) if pdu.data_coding == UCS2 else -1
    if token < 0:
        return -1, ()
    if part is not None:
        ours = part.total == parts_of(token) and text == _octets(block(token, part.sequence))
        return (token, (part.sequence,)) if ours else (-1, ())
    if text == _octets(long_text(token)):
        return token, range(1, parts_of(token) + 1)
    # Neither a part nor the whole: a short message, or blocks that have lost others.
    return (token, ()) if len(text) <= PART_OCTETS else (-1, ())
