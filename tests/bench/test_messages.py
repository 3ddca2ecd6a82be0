"""Long messages, replies and their numbers; and what the carrier makes of parts and of watched messages."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pytest

from bench.messages import (
    destination_of,
    long_text,
    message_fails,
    part_at,
    part_fails,
    part_number,
    part_writer,
    parts_of,
    payload_writer,
    read_parts,
    submit_writer,
    token_at,
)
from bench.replies import BROKEN, NOT_NUMBERED, reply_number, reply_text
from protocol.alphabet import Alphabet, cuts
from protocol.smpp.codec import decode, encode
from protocol.smpp.codes import TlvTag
from protocol.smpp.pdu import SubmitSm
from protocol.udh import sar_tlvs, split
from tests.bench.carrier_world import ROK, SOURCE, SUBMIT, bench

PART = part_writer(SOURCE)
PAYLOAD = payload_writer(SOURCE)


# -- numbers and texts --------------------------------------------------------------------------------------

# The first sixteen messages, one network after the other: how many parts, and the number of the first part.
NUMBERS = [
    *((2, 0), (2, 1), (2, 2), (2, 3), (3, 8), (3, 9), (3, 10), (3, 11)),
    *((4, 20), (4, 21), (4, 22), (4, 23), (5, 36), (5, 37), (5, 38), (5, 39)),
]


@pytest.mark.parametrize("cycle", [0, 1, 7_000_000])
def test_the_numbers_of_parts(cycle: int) -> None:
    tokens = range(16 * cycle, 16 * cycle + 16)
    assert [(parts_of(token), part_number(token, 1) - 56 * cycle) for token in tokens] == NUMBERS
    parts = [(token, sequence) for token in tokens for sequence in range(1, parts_of(token) + 1)]
    numbers = [part_number(*part) for part in parts]
    assert sorted(numbers) == list(range(56 * cycle, 56 * cycle + 56))
    assert [part_at(number) for number in numbers] == parts
    assert all(number % 4 == token % 4 for number, (token, _) in zip(numbers, parts, strict=True))


@pytest.mark.parametrize(
    ("every", "parts", "messages"), [(0, 0, 0), (1, 56, 16), (2, 28, 8), (3, 18, 14), (56, 1, 1), (57, 0, 0)]
)
def test_which_parts_fail(every: int, parts: int, messages: int) -> None:
    assert sum(part_fails(number, every) for number in range(56)) == parts
    assert sum(message_fails(token, every) for token in range(16)) == messages
    for token in range(16):
        numbers = [part_number(token, sequence) for sequence in range(1, parts_of(token) + 1)]
        assert message_fails(token, every) == any(part_fails(number, every) for number in numbers)


@pytest.mark.parametrize("token", [0, 5, 10, 15, 399_999_999])
def test_whoever_cuts_a_long_message_finds_the_token_in_each_part(token: int) -> None:
    octets = long_text(token).encode("utf-16-be")
    ends = cuts(octets, Alphabet.UCS_2, 8)
    assert ends == [134 * sequence for sequence in range(1, parts_of(token) + 1)]
    assert [token_at(octets, end) for end in ends] == [token] * len(ends)
    frames = [PART(7, part_number(token, sequence)) for sequence in range(1, parts_of(token) + 1)]
    pdus = [decode(frame) for frame in frames]
    assert tuple(pdu.short_message for pdu in pdus if isinstance(pdu, SubmitSm)) == split(
        octets, Alphabet.UCS_2, token >> 2 & 0xFF
    )
    whole = decode(payload_writer(SOURCE, priority_flag=3, registered_delivery=2)(7, token))
    assert isinstance(whole, SubmitSm)
    assert (whole.short_message, whole.tlv(TlvTag.MESSAGE_PAYLOAD)) == (b"", octets)
    assert (whole.priority_flag, whole.registered_delivery, whole.data_coding) == (3, 2, 8)
    assert (whole.source_addr, whole.destination_addr) == (SOURCE, destination_of(token))
    assert read_parts(whole) == (token, range(1, parts_of(token) + 1))


def reply(number: int) -> bytes:
    return reply_text(number).encode("utf-16-be")


REPLIES: list[tuple[bytes, int]] = [
    (reply(7), 7),
    ("收到".encode("utf-16-be"), NOT_NUMBERED),
    (b"", NOT_NUMBERED),
    (reply(7)[:-2], BROKEN),
    (reply(7)[132:], BROKEN),  # a part is missing
    (reply(7)[132:264] + reply(7)[:132] + reply(7)[264:], BROKEN),
    (reply(7) + reply(7), BROKEN),
    (reply(7)[:132] + reply(6)[132:], BROKEN),
    (b"\5\0\3\1\3\1" + reply(7), BROKEN),
    (reply(8), BROKEN),  # from another subscriber
    (long_text(7).encode("utf-16-be"), BROKEN),
]


@pytest.mark.parametrize(("octets", "number"), REPLIES)
def test_a_long_reply_is_known_by_its_whole_text(octets: bytes, number: int) -> None:
    assert parts_of(7) == 3
    assert reply_number(destination_of(7), octets) == number


# -- long messages ------------------------------------------------------------------------------------------


def sar_part(sequence_number: int, token: int, sequence: int) -> bytes:
    pdu = decode(PART(sequence_number, part_number(token, sequence)))
    assert isinstance(pdu, SubmitSm)
    pdu.esm_class = 0
    pdu.tlvs = sar_tlvs(9, 3, sequence)
    pdu.short_message = pdu.short_message[6:]
    return encode(pdu)


def header(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda frame: frame.replace(b"\5\0\3\1", octets, 1)


# Message 4 has three parts. Frames; then how often it was taken, its parts, its outcome, and how many frames
# are none of ours.
PARTS: list[tuple[list[bytes], tuple[int, int, int, int]]] = [
    ([PART(2, part_number(4, 1))], (1, 0b001, 2, 0)),
    ([PART(2, part_number(4, 3)), PART(3, part_number(4, 1))], (1, 0b101, 2, 0)),
    ([PART(2, part_number(4, each)) for each in (2, 1, 3)], (1, 0b111, 5, 0)),
    ([PART(2, part_number(4, each)) for each in (1, 1, 3, 1)], (3, 0b101, 2, 0)),
    ([sar_part(2, 4, 1), sar_part(3, 4, 3)], (1, 0b101, 2, 0)),
    ([PAYLOAD(2, 4)], (1, 0b111, 5, 0)),
    ([PAYLOAD(2, 4), PART(2, part_number(4, 2))], (2, 0b111, 5, 0)),
    # A header that names another part, another total, or is none; a text that was cut elsewhere.
    ([header(b"\5\0\3\1\3\2")(PART(2, part_number(4, 1)).replace(b"\3\1", b"\3\2"))], (0, 0, 0, 1)),
    ([PART(2, part_number(4, 1)).replace(b"\5\0\3\1\3", b"\5\0\3\1\4")], (0, 0, 0, 1)),
    ([PART(2, part_number(4, 1)).replace(b"\5\0\3\1\3", b"\5\0\4\1\3")], (0, 0, 0, 1)),
    ([PART(2, part_number(4, 1)).replace("（1".encode("utf-16-be"), b"\0A\0B")], (0, 0, 0, 1)),
]


@pytest.mark.parametrize(("frames", "found"), PARTS)
async def test_the_parts_of_a_long_message(frames: list[bytes], found: tuple[int, int, int, int]) -> None:
    # Its numbers are 8, 12 and 16: the second one fails.
    async with bench(receipt_delay_s=60, fail_every=13) as world:
        peer = await world.peer()
        peer.send(*frames)
        for _ in frames:
            assert (await peer.receive()).command_status == ROK
        report = world.carrier.report()
        seen = (report.taken[4:], report.parts[4:], report.outcome[4:])
        assert (*(column[0] if column else 0 for column in seen), report.foreign) == found
        assert report.misdirected == 0


async def test_every_third_part_fails() -> None:
    async with bench(fail_every=3) as world:
        peer = await world.peer()
        states = []
        for number in range(56, 112):
            peer.send(PART(2, number))
            response = await peer.receive()
            _, receipt = await peer.receipt()
            assert receipt.message_id == response.message_id
            states.append((receipt.stat, receipt.err))
        expected = [
            (b"UNDELIV", b"001") if part_fails(number, 3) else (b"DELIVRD", b"000")
            for number in range(56, 112)
        ]
        assert states == expected
        assert states.count((b"UNDELIV", b"001")) == 19


# -- watched messages ---------------------------------------------------------------------------------------

WATCHED: list[tuple[str, list[int]]] = [
    ("10639110119", [1, 2]),
    ("3", [2, 3]),
    ("10639110", []),
    ("", []),
]


@pytest.mark.parametrize(("watched", "tokens"), WATCHED)
async def test_watched_messages_are_told_with_time_and_ids(watched: str, tokens: list[int]) -> None:
    emergency = b"10639110119"
    frames = [
        SUBMIT(2, 0),
        submit_writer(emergency)(3, 1),
        submit_writer(emergency, priority_flag=3)(4, 2),
        submit_writer(SOURCE, priority_flag=3)(5, 3),
    ]
    async with bench(watched=watched, ids="hex_decimal", receipt_delay_s=60) as world:
        peer = await world.peer()
        began = monotonic()
        peer.send(*frames)
        responses = [await peer.receive() for _ in frames]
        ended = monotonic()
        found = world.carrier.report().watched
        assert [each.token for each in found] == tokens
        assert [each.message_id for each in found] == [
            responses[token].message_id.decode() for token in tokens
        ]
        assert [each.receipt_id for each in found] == [str(int(each.message_id, 16)) for each in found]
        assert all(began < each.taken_at_s < ended for each in found)
