"""One case table, read whole, octet by octet, and with a tail."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.smpp.errors import StreamError
from protocol.smpp.framing import FrameBuffer


def frame_of(length: int, fill: int = 0) -> bytes:
    return length.to_bytes(4, "big") + bytes((fill,)) * (length - 4)


CASES: list[list[bytes]] = [
    [],
    [frame_of(16)],
    [frame_of(16, 1), frame_of(17, 2), frame_of(200, 3)],
    [frame_of(65536, 1)],
    [frame_of(65536, 1), frame_of(16, 2), frame_of(65536, 3)],
    [frame_of(200, number) for number in range(20)],
]
cases = pytest.mark.parametrize("frames", CASES, ids=lambda frames: f"{len(frames)} frames")


def read(buffer: FrameBuffer, limit: int = 1000) -> list[bytes]:
    frames: list[bytes] = []
    while buffer.ready:
        frames += buffer.take(limit)
    assert buffer.take(limit) == []
    return frames


@cases
@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_whole(frames: list[bytes], limit: int) -> None:
    buffer = FrameBuffer()
    buffer.feed(b"".join(frames))
    assert buffer.pending_octets == sum(map(len, frames))
    assert read(buffer, limit) == frames
    assert (buffer.ready, buffer.pending_octets) == (False, 0)


@cases
@pytest.mark.parametrize("octets", [1, 3, 1000])
def test_piece_by_piece(frames: list[bytes], octets: int) -> None:
    buffer = FrameBuffer()
    stream = b"".join(frames)
    seen: list[bytes] = []
    for start in range(0, len(stream), octets):
        buffer.feed(stream[start : start + octets])
        if buffer.ready:
            seen += read(buffer)
    assert seen == frames
    assert buffer.pending_octets == 0


@cases
@pytest.mark.parametrize("tail", [b"\0", b"\0\0\0\x10", frame_of(16)[:15]])
def test_with_a_tail(frames: list[bytes], tail: bytes) -> None:
    buffer = FrameBuffer()
    buffer.feed(b"".join(frames) + tail)
    assert read(buffer) == frames
    assert buffer.pending_octets == len(tail)
    rest = frame_of(16)[len(tail) :]
    buffer.feed(rest[:1] if len(tail) == 1 else rest)
    assert read(buffer) == ([] if len(tail) == 1 else [frame_of(16)])


@settings(deadline=None)
@given(
    st.lists(st.integers(16, 300), max_size=20), st.lists(st.integers(1, 400), min_size=1), st.integers(1, 5)
)
def test_any_cut(lengths: list[int], cuts: list[int], limit: int) -> None:
    frames = [frame_of(length, number) for number, length in enumerate(lengths)]
    stream = b"".join(frames)
    buffer = FrameBuffer()
    seen: list[bytes] = []
    fed = 0
    for number in range(len(stream)):
        if fed == len(stream):
            break
        piece = stream[fed : fed + cuts[number % len(cuts)]]
        buffer.feed(piece)
        fed += len(piece)
        taken = buffer.take(limit)
        assert len(taken) <= limit
        seen += taken
        assert sum(map(len, seen)) + buffer.pending_octets == fed
    assert seen + read(buffer) == frames


@pytest.mark.parametrize(
    ("head", "announced"),
    [
        (b"\0\0\0\0", 0),
        (b"\0\0\0\x0f", 15),
        (b"\0\x01\0\x01", 65537),
        (b"GET ", 0x47455420),
        (b"\x16\x03\x01\x02", 0x16030102),  # the first octets of a TLS handshake
        (b"\xff\xff\xff\xff", 0xFFFFFFFF),
    ],
)
def test_a_length_is_judged_from_four_octets(head: bytes, announced: int) -> None:
    buffer = FrameBuffer()
    buffer.feed(head[:3])
    assert not buffer.ready
    assert buffer.take(10) == []
    buffer.feed(head[3:])
    for _ in range(2):  # and it stays lost
        assert buffer.ready
        with pytest.raises(StreamError) as caught:
            buffer.take(10)
        assert caught.value.reason == f"a PDU announces {announced} octets"
    buffer.feed(frame_of(16))
    with pytest.raises(StreamError):
        buffer.take(10)


def test_frames_before_a_lost_stream_are_given_out() -> None:
    buffer = FrameBuffer()
    buffer.feed(frame_of(16, 1) + frame_of(17, 2) + b"GET / HTTP/1.1\r\n")
    assert buffer.take(1) == [frame_of(16, 1)]
    assert buffer.take(10) == [frame_of(17, 2)]
    with pytest.raises(StreamError):
        buffer.take(10)


def test_a_limit_of_none_takes_nothing() -> None:
    buffer = FrameBuffer()
    buffer.feed(frame_of(16))
    assert buffer.take(0) == []
    assert buffer.ready


def test_nothing_fed() -> None:
    buffer = FrameBuffer()
    buffer.feed(b"")
    assert (buffer.ready, buffer.take(10), buffer.pending_octets) == (False, [], 0)
    buffer.feed(frame_of(16)[:5])
    buffer.feed(b"")
    buffer.feed(frame_of(16)[5:])
    assert buffer.take(10) == [frame_of(16)]
