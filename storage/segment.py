"""Segment files: their bytes, and the one way to read them.

A segment is a header block and, right behind it, batch frames without gaps; then zeros to the end of the
file. The header is durable before the file gets its name, and a frame is durable before the next one is
written. From these two orders follows everything that reading can conclude:

* the header of a named segment is never torn: a bad one is corruption;
* only the last frame of the last segment can be torn: a bad frame with nothing valid behind it, there, is an
  unfinished write that nobody was told about; anywhere else, or with a valid frame behind it, it is
  corruption.

What this cannot tell apart: an unfinished last frame, and a last frame that was durable and has rotted since.
A signed checkpoint of the ledger can.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from storage.errors import CorruptEvidence
from storage.listing import listed

# docs/evidence-format.md has both layouts field by field; the structs here are their definition in code.
_SEGMENT_HEAD: Final = struct.Struct(">4sBBHII16s32sQQQQ")
_SEGMENT_MAGIC: Final = b"JXSG"
# A whole page, so that no frame shares a page with the header and no torn write can reach it.
SEGMENT_HEADER_OCTETS: Final = 4096
_FRAME_HEAD: Final = struct.Struct(">4sBBHIIQQ32sI")
_FRAME_MAGIC: Final = b"JXBF"
_CRC: Final = struct.Struct(">I")
FRAME_HEADER_OCTETS: Final = _FRAME_HEAD.size + _CRC.size
_SEGMENT_NAME: Final = re.compile(r"[0-9]{20}\.seg")
LENGTH: Final = struct.Struct(">I")  # before each record
VERSION: Final = 1
SHA_256: Final = 1  # hash algorithm; 2 is kept for SM3
HASH_OCTETS: Final = 32
NO_HASH: Final = bytes(HASH_OCTETS)  # what the first batch of a log follows

# A frame is read whole, so its size bounds a reader's memory. 8 MiB is 30,000 records, a second of full load.
PAYLOAD_OCTETS_MAX: Final = 8 << 20
# Smallest segment worth having: a few frames of a busy moment, and 1/4 % of header.
SEGMENT_OCTETS_MIN: Final = 1 << 20
FIRST_INDEX: Final = 1  # of the first record of a log; 0 stands for "none" in records
_WINDOW_OCTETS: Final = 1 << 20  # read at once: some 50 frames; larger brings nothing

assert FRAME_HEADER_OCTETS == 72
assert PAYLOAD_OCTETS_MAX < 1 << 32


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment says about itself. Indices count records from 1, 0 is none; times are µs UTC."""

    identity: bytes  # of the log: 16 random octets, the same in all its segments
    chain: bytes  # hash of the last batch before this segment
    first_index: int
    previous_first_index: int  # name of the segment before; 0 in the first one
    created_us: int
    low_water: int  # a restart needs records from this index on


def segment_path(directory: Path, first_index: int) -> Path:
    return directory / f"{first_index:020d}.seg"


def segment_paths(directory: Path) -> list[Path]:
    """All segments of an evidence directory, oldest first. Raises Unreadable."""
    return sorted(path for path in listed(directory) if _SEGMENT_NAME.fullmatch(path.name))


def encode_segment_header(header: SegmentHeader) -> bytes:
    head = _SEGMENT_HEAD.pack(
        _SEGMENT_MAGIC,
        VERSION,
        SHA_256,
        0,
        SEGMENT_HEADER_OCTETS,
        0,
        header.identity,
        header.chain,
        header.first_index,
        header.previous_first_index,
        header.created_us,
        header.low_water,
    )
    block = head.ljust(SEGMENT_HEADER_OCTETS - _CRC.size, b"\0")
    return block + _CRC.pack(zlib.crc32(block))


def decode_segment_header(path: Path, block: bytes) -> SegmentHeader:
    """Raises CorruptEvidence for anything that `encode_segment_header` could not have made for this path."""
    if len(block) != SEGMENT_HEADER_OCTETS:
        raise CorruptEvidence(path, 0, "the segment header is cut short")
    body = block[: -_CRC.size]
    if _CRC.unpack(block[-_CRC.size :])[0] != zlib.crc32(body):
        raise CorruptEvidence(path, 0, "the segment header's checksum is wrong")
    magic, version, algorithm, flags, octets, reserved, *fields = _SEGMENT_HEAD.unpack_from(body)
    if (magic, version, algorithm, flags, octets, reserved) != (
        _SEGMENT_MAGIC,
        VERSION,
        SHA_256,
        0,
        SEGMENT_HEADER_OCTETS,
        0,
    ):
        raise CorruptEvidence(path, 0, f"not a segment of version {VERSION} with SHA-256")
    header = SegmentHeader(*fields)
    if path.name != segment_path(path.parent, header.first_index).name:
        raise CorruptEvidence(path, 0, f"the file is named {path.name}, its header says {header.first_index}")
    if not FIRST_INDEX <= header.low_water <= header.first_index:
        raise CorruptEvidence(path, 0, f"impossible low-water index {header.low_water}")
    return header


def frame_seed(identity: bytes) -> int:
    """Where the checksum of frame headers starts, so that frames of another log do not pass for ours."""
    return zlib.crc32(identity)


def encode_frame_header(
    seed: int,
    count: int,
    first_index: int,
    time_us: int,
    previous: bytes,
    payload_octets: int,
    payload_crc: int,
) -> bytes:
    head = _FRAME_HEAD.pack(
        _FRAME_MAGIC,
        VERSION,
        FRAME_HEADER_OCTETS,
        0,
        payload_octets,
        count,
        first_index,
        time_us,
        previous,
        payload_crc,
    )
    return head + _CRC.pack(zlib.crc32(head, seed))


class Frame(msgspec.Struct, gc=False):
    """A batch as read and checksummed. In `data` its header is at `start`, its payload at `body`:`stop`."""

    offset: int  # in the file
    first_index: int
    count: int
    time_us: int
    previous: bytes
    data: bytes
    start: int
    body: int
    stop: int

    @property
    def end(self) -> int:
        """Offset in the file of what follows."""
        return self.offset + self.stop - self.start

    def hash(self) -> bytes:
        """Batch hash: SHA-256 of the whole frame, header and payload."""
        return hashlib.sha256(memoryview(self.data)[self.start : self.stop]).digest()

    def records(self) -> list[bytes]:
        """The records, in order. Raises ValueError when the lengths do not fill the payload exactly."""
        data = self.data
        unpack = LENGTH.unpack_from
        position, stop = self.body, self.stop
        last = stop - LENGTH.size
        records = []
        while position <= last:
            begin = position + 4
            (octets,) = unpack(data, position)
            position = begin + octets
            records.append(data[begin:position])
        if position != stop or len(records) != self.count:
            raise ValueError(f"{len(records)} records where the frame says {self.count}")
        return records


class BadFrame(msgspec.Struct, frozen=True):
    """There is no valid frame at this offset, and the file is not simply at its end."""

    offset: int
    reason: str


class TornTail(msgspec.Struct, frozen=True):
    """An unfinished write at the end of the log: `octets` from `offset` to the last one that is not zero."""

    offset: int
    octets: int


class SegmentReader:
    """One segment file, open for reading. Raises CorruptEvidence for a bad header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._window = b""
        self._window_offset = 0
        try:
            self.header = decode_segment_header(path, os.pread(self._descriptor, SEGMENT_HEADER_OCTETS, 0))
        except CorruptEvidence:
            self.close()
            raise
        self._seed = frame_seed(self.header.identity)

    @property
    def size(self) -> int:
        """Octets of the file, zeros at its end included."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def forget(self) -> None:
        """Drop what was read ahead: the file has grown since."""
        self._window = b""

    def skim(self, offset: int) -> tuple[int, int, int] | None:
        """(first index, count, end offset) of the frame at `offset`, by its header; None: no valid one."""
        head = os.pread(self._descriptor, FRAME_HEADER_OCTETS, offset)
        if len(head) < FRAME_HEADER_OCTETS or _CRC.unpack_from(head, _FRAME_HEAD.size)[0] != zlib.crc32(
            head[: _FRAME_HEAD.size], self._seed
        ):
            return None
        _, _, _, _, octets, count, first_index, _, _, _ = _FRAME_HEAD.unpack_from(head)
        return first_index, count, offset + FRAME_HEADER_OCTETS + octets

    def frame_at(self, offset: int, ahead: int = _WINDOW_OCTETS) -> Frame | BadFrame | None:
        """The frame at `offset`; None where zeros or the end of the file stand instead of a frame header.

        Checks everything a frame says about itself but the lengths inside the payload, and not its place in
        the chain. Reads `ahead` octets at once, for the frames that follow.
        """
        start = self._load(offset, FRAME_HEADER_OCTETS, ahead)
        data = self._window
        if len(data) - start < FRAME_HEADER_OCTETS:
            return (
                BadFrame(offset, "a frame is cut short by the end of the file") if any(data[start:]) else None
            )
        magic, version, head_octets, flags, octets, count, first_index, time_us, previous, payload_crc = (
            _FRAME_HEAD.unpack_from(data, start)
        )
        body = start + FRAME_HEADER_OCTETS
        if magic != _FRAME_MAGIC:
            if any(data[start:body]):
                return BadFrame(offset, "no frame begins here")
            return None
        if _CRC.unpack_from(data, body - _CRC.size)[0] != zlib.crc32(
            data[start : body - _CRC.size], self._seed
        ):
            return BadFrame(offset, "the frame header's checksum is wrong")
        if (version, head_octets, flags) != (VERSION, FRAME_HEADER_OCTETS, 0):
            return BadFrame(offset, f"a frame of unknown version {version} or flags {flags:#x}")
        if octets > PAYLOAD_OCTETS_MAX or not 0 < count <= octets:
            return BadFrame(offset, f"a frame of impossible size ({count} records in {octets} octets)")
        if len(data) - body < octets:
            start = self._load(offset, FRAME_HEADER_OCTETS + octets, ahead)
            data = self._window
            body = start + FRAME_HEADER_OCTETS
            if len(data) - body < octets:
                return BadFrame(offset, "a frame is cut short by the end of the file")
        stop = body + octets
        if zlib.crc32(memoryview(data)[body:stop]) != payload_crc:
            return BadFrame(offset, "the checksum of the frame's records is wrong")
        return Frame(offset, first_index, count, time_us, previous, data, start, body, stop)

    def torn_tail(self, offset: int, *, last: bool) -> TornTail | None:
        """Judge what stands from `offset`, where the valid frames end, to the end of the file.

        None: only zeros. Raises CorruptEvidence unless it can be an unfinished write: in the last segment,
        and with no valid frame behind it.
        """
        tail = self._octets_from(offset)
        significant = tail.rstrip(b"\0")
        if not significant:
            return None
        found = self.frame_at(offset)
        reason = found.reason if isinstance(found, BadFrame) else "zeros where a frame should begin"
        if not last:
            raise CorruptEvidence(self.path, offset, f"{reason}, and later segments follow")
        at = significant.find(_FRAME_MAGIC, 1)
        while at >= 0:
            if isinstance(self.frame_at(offset + at), Frame):
                raise CorruptEvidence(
                    self.path, offset, f"{reason}, and a valid frame follows at {offset + at}"
                )
            at = significant.find(_FRAME_MAGIC, at + 1)
        return TornTail(offset, len(significant))

    def _octets_from(self, offset: int) -> bytes:
        # Up to the last window with anything in it: the zeros behind may be a whole segment.
        kept: list[bytes] = []
        zeros = 0
        while window := os.pread(self._descriptor, _WINDOW_OCTETS, offset):
            offset += len(window)
            if window.count(0) == len(window):
                zeros += len(window)
            else:
                kept += [bytes(zeros), window]
                zeros = 0
        return b"".join(kept)

    def _load(self, offset: int, octets: int, ahead: int) -> int:
        """Have `octets` from `offset` in the window, as far as the file goes; returns their place in it."""
        start = offset - self._window_offset
        if start < 0 or start + octets > len(self._window):
            self._window = os.pread(self._descriptor, max(octets, ahead), offset)
            self._window_offset = offset
            return 0
        return start


def check_neighbours(path: Path, header: SegmentHeader, previous: SegmentHeader) -> None:
    """Two segments follow each other, going by their headers. Raises CorruptEvidence."""
    if header.identity != previous.identity:
        raise CorruptEvidence(path, 0, "this segment belongs to another log")
    if header.previous_first_index != previous.first_index:
        raise CorruptEvidence(path, 0, f"the segment before it ({header.previous_first_index}) is missing")


class Chain:
    """Where a log stands: the index its next record has, and the hash its next batch must name."""

    def __init__(self, next_index: int, last_hash: bytes) -> None:
        self.next_index = next_index
        self.last_hash = last_hash

    def check_header(self, path: Path, header: SegmentHeader) -> None:
        """A segment follows the one that was walked to its end. Raises CorruptEvidence."""
        if header.first_index != self.next_index:
            raise CorruptEvidence(
                path,
                0,
                f"records {self.next_index} to {header.first_index - 1} are missing before this segment",
            )
        if header.chain != self.last_hash:
            raise CorruptEvidence(path, 0, "the segment does not continue the chain of the one before")

    def walk(self, reader: SegmentReader) -> Iterator[Frame]:
        """The valid frames of a segment in order, each checked against the chain. Raises CorruptEvidence.

        Ends where no valid frame stands; `SegmentReader.torn_tail` then judges the rest.
        """
        offset = SEGMENT_HEADER_OCTETS
        while isinstance(frame := reader.frame_at(offset), Frame):
            if frame.first_index != self.next_index:
                raise CorruptEvidence(
                    reader.path,
                    offset,
                    f"a batch from record {frame.first_index}, expected {self.next_index}",
                )
            if frame.previous != self.last_hash:
                raise CorruptEvidence(
                    reader.path, offset, "the batch does not name the hash of the one before"
                )
            self.next_index += frame.count
            self.last_hash = frame.hash()
            offset = frame.end
            yield frame
