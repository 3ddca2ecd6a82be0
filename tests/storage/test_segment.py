"""The bytes of a segment: what is accepted as a header or a frame, and how a bad end is judged."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest

from storage.errors import CorruptEvidence
from storage.segment import (
    FRAME_HEADER_OCTETS,
    NO_HASH,
    SEGMENT_HEADER_OCTETS,
    BadFrame,
    Chain,
    Frame,
    SegmentHeader,
    SegmentReader,
    TornTail,
    decode_segment_header,
    encode_frame_header,
    encode_segment_header,
    frame_seed,
    segment_path,
    segment_paths,
)

IDENTITY = bytes(range(16))
HEADER = SegmentHeader(IDENTITY, NO_HASH, 1, 0, 1_790_000_000_000_000, 1)


def frame(first_index: int, records: list[bytes], previous: bytes, identity: bytes = IDENTITY) -> bytes:
    payload = b"".join(len(octets).to_bytes(4, "big") + octets for octets in records)
    seed = frame_seed(identity)
    head = encode_frame_header(
        seed, len(records), first_index, 1_790_000_000_000_001, previous, len(payload), zlib.crc32(payload)
    )
    return head + payload


ONE = frame(1, [b"first", b"second"], NO_HASH)
TWO = frame(3, [b"third"], hashlib.sha256(ONE).digest())
THREE = frame(4, [b"4", b"5", b"6"], hashlib.sha256(TWO).digest())


def segment(directory: Path, *parts: bytes, header: SegmentHeader = HEADER) -> Path:
    path = segment_path(directory, header.first_index)
    path.write_bytes(encode_segment_header(header) + b"".join(parts))
    return path


def test_layout_of_the_segment_header() -> None:
    block = encode_segment_header(SegmentHeader(IDENTITY, b"c" * 32, 300, 200, 1_790_000_000_000_000, 250))
    assert len(block) == SEGMENT_HEADER_OCTETS
    assert block[:16] == b"JXSG\x01\x01\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00"
    assert block[16:64] == IDENTITY + b"c" * 32
    assert [int.from_bytes(block[place : place + 8], "big") for place in (64, 72, 80, 88)] == [
        300,
        200,
        1_790_000_000_000_000,
        250,
    ]
    assert block[96:4092] == bytes(3996)
    assert block[4092:] == zlib.crc32(block[:4092]).to_bytes(4, "big")


def test_layout_of_a_frame() -> None:
    assert ONE[:8] == b"JXBF\x01\x48\x00\x00"
    assert ONE[8:16] == (19).to_bytes(4, "big") + (2).to_bytes(4, "big")
    assert ONE[16:32] == (1).to_bytes(8, "big") + (1_790_000_000_000_001).to_bytes(8, "big")
    assert ONE[32:64] == NO_HASH
    assert ONE[64:68] == zlib.crc32(ONE[72:]).to_bytes(4, "big")
    assert ONE[68:72] == zlib.crc32(ONE[:68], zlib.crc32(IDENTITY)).to_bytes(4, "big")
    assert ONE[72:] == b"\0\0\0\x05first\0\0\0\x06second"


def test_every_flipped_octet_of_a_header_is_corruption(tmp_path: Path) -> None:
    path = segment_path(tmp_path, 1)
    block = encode_segment_header(HEADER)
    assert decode_segment_header(path, block) == HEADER
    for place in range(len(block)):
        with pytest.raises(CorruptEvidence) as caught:
            decode_segment_header(path, block[:place] + bytes([block[place] ^ 0x10]) + block[place + 1 :])
        assert (caught.value.path, caught.value.offset) == (path, 0)
    for length in (0, 1, 96, 4095):
        with pytest.raises(CorruptEvidence, match="cut short"):
            decode_segment_header(path, block[:length])


HEADERS = [
    (SegmentHeader(IDENTITY, NO_HASH, 2, 0, 0, 1), "is named"),
    (SegmentHeader(IDENTITY, NO_HASH, 1, 0, 0, 2), "low-water"),
    (SegmentHeader(IDENTITY, NO_HASH, 1, 0, 0, 0), "low-water"),
]


@pytest.mark.parametrize(("header", "reason"), HEADERS)
def test_headers_that_contradict_themselves(tmp_path: Path, header: SegmentHeader, reason: str) -> None:
    with pytest.raises(CorruptEvidence, match=reason):
        decode_segment_header(segment_path(tmp_path, 1), encode_segment_header(header))


def test_only_numbered_segments_are_segments(tmp_path: Path) -> None:
    for name in (
        "00000000000000000010.seg",
        "00000000000000000009.seg",
        "9.seg",
        "x.seg",
        "spare.zeroed",
        "lock",
    ):
        (tmp_path / name).touch()
    assert [path.name for path in segment_paths(tmp_path)] == [
        "00000000000000000009.seg",
        "00000000000000000010.seg",
    ]


@pytest.mark.parametrize("zeros", [0, 1, 71, 72, 5000])
def test_frames_are_walked_to_the_end(tmp_path: Path, zeros: int) -> None:
    path = segment(tmp_path, ONE, TWO, THREE, bytes(zeros))
    with SegmentReader(path) as reader:
        chain = Chain(1, NO_HASH)
        walked = list(chain.walk(reader))
        assert [record for found in walked for record in found.records()] == [
            b"first",
            b"second",
            b"third",
            b"4",
            b"5",
            b"6",
        ]
        assert (chain.next_index, chain.last_hash) == (7, hashlib.sha256(THREE).digest())
        assert reader.torn_tail(walked[-1].end, last=False) is None


def test_frames_across_the_edge_of_what_is_read_at_once(tmp_path: Path) -> None:
    frames, records, index, previous = [], [], 1, NO_HASH
    for octets in (1_048_000, 400, 3_000_000, 72, 1_048_504, 9):
        records.append(bytes([index]) * octets)
        frames.append(frame(index, records[-1:], previous))
        index, previous = index + 1, hashlib.sha256(frames[-1]).digest()
    with SegmentReader(segment(tmp_path, *frames, bytes(3_000_000))) as reader:
        chain = Chain(1, NO_HASH)
        assert [found.records()[0] for found in chain.walk(reader)] == records
        end = SEGMENT_HEADER_OCTETS + sum(map(len, frames))
        assert reader.torn_tail(end, last=True) is None


CHAINS = [
    ([ONE, THREE], "a batch from record 4, expected 3", len(ONE)),
    ([ONE, frame(3, [b"third"], NO_HASH)], "does not name the hash", len(ONE)),
    ([TWO], "a batch from record 3, expected 1", 0),
]


@pytest.mark.parametrize(("frames", "reason", "offset"), CHAINS)
def test_a_broken_chain_is_corruption(tmp_path: Path, frames: list[bytes], reason: str, offset: int) -> None:
    with SegmentReader(segment(tmp_path, *frames)) as reader:
        with pytest.raises(CorruptEvidence, match=reason) as caught:
            list(Chain(1, NO_HASH).walk(reader))
    assert caught.value.offset == SEGMENT_HEADER_OCTETS + offset


AT = SEGMENT_HEADER_OCTETS + len(ONE)
# What stands behind frame ONE in the last segment: an unfinished write of so many octets, or corruption.
TAILS = [
    ("nothing", b"", None),
    ("zeros", bytes(300), None),
    ("half a header", TWO[:30], 30),
    ("a header alone", TWO[:72] + bytes(50), 72),
    ("half a payload", TWO[:-1], len(TWO) - 1),
    ("payload without header", bytes(72) + TWO[72:], len(TWO)),
    ("holes", TWO[:20] + bytes(20) + TWO[40:], len(TWO)),
    ("frame of another log", frame(3, [b"third"], NO_HASH, bytes(16)), 81),
    ("garbage", b"\xff" * 5000, 5000),
    ("garbage far behind", bytes(2_000_000) + b"x" + bytes(10), 2_000_001),
    ("magic in garbage", b"xxJXBFxxJXBF" + bytes(100), 12),
    ("a bad frame before a good one", TWO[:-1] + b"\0" + THREE, "a valid frame follows at 4268"),
    (
        "zeros before a good one",
        bytes(len(TWO)) + THREE,
        "zeros where a frame should begin, and a valid frame",
    ),
    ("one octet before a good one", b"x" + TWO, "no frame begins here, and a valid frame follows at 4188"),
    ("garbage, and a good one far behind", b"x" + bytes(2_000_000) + THREE, "a valid frame follows"),
]


@pytest.mark.parametrize(("tail", "expected"), [case[1:] for case in TAILS], ids=[case[0] for case in TAILS])
def test_how_the_end_of_the_last_segment_is_judged(
    tmp_path: Path, tail: bytes, expected: int | str | None
) -> None:
    with SegmentReader(segment(tmp_path, ONE, tail)) as reader:
        assert [found.offset for found in Chain(1, NO_HASH).walk(reader)] == [SEGMENT_HEADER_OCTETS]
        if isinstance(expected, str):
            with pytest.raises(CorruptEvidence, match=expected) as caught:
                reader.torn_tail(AT, last=True)
            assert caught.value.offset == AT
        else:
            assert reader.torn_tail(AT, last=True) == (None if expected is None else TornTail(AT, expected))
        if expected is not None:
            with pytest.raises(CorruptEvidence) as caught:
                reader.torn_tail(AT, last=False)
            assert caught.value.offset == AT


def test_every_flipped_octet_of_a_frame_is_noticed(tmp_path: Path) -> None:
    for place in range(len(ONE)):
        flipped = ONE[:place] + bytes([ONE[place] ^ 0x01]) + ONE[place + 1 :]
        with SegmentReader(segment(tmp_path, flipped, bytes(100))) as reader:
            assert isinstance(reader.frame_at(SEGMENT_HEADER_OCTETS), BadFrame)
            assert (reader.skim(SEGMENT_HEADER_OCTETS) is None) == (place < FRAME_HEADER_OCTETS)


LENGTHS = [b"\0\0\0\x05first\0\0\0\x06secon", b"\0\0\0\x0ffirst\0\0\0\x06second", b"\0\0\0\x05first\0\0\0"]


@pytest.mark.parametrize("payload", LENGTHS)
def test_record_lengths_must_fill_the_payload(tmp_path: Path, payload: bytes) -> None:
    head = encode_frame_header(frame_seed(IDENTITY), 2, 1, 0, NO_HASH, len(payload), zlib.crc32(payload))
    with SegmentReader(segment(tmp_path, head, payload)) as reader:
        found = reader.frame_at(SEGMENT_HEADER_OCTETS)
        assert isinstance(found, Frame)
        with pytest.raises(ValueError, match="records where the frame says 2"):
            found.records()


SIZES = [(0, 0), (1, 0), (0, 9), (10, 9), (1, (8 << 20) + 1)]


@pytest.mark.parametrize(("count", "octets"), SIZES)
def test_impossible_sizes_are_refused(tmp_path: Path, count: int, octets: int) -> None:
    head = encode_frame_header(frame_seed(IDENTITY), count, 1, 0, NO_HASH, octets, 0)
    with SegmentReader(segment(tmp_path, head, bytes(100))) as reader:
        assert isinstance(reader.frame_at(SEGMENT_HEADER_OCTETS), BadFrame)
