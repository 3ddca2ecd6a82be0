"""The log as octets: segments, frames and the chain of their hashes (evidence-format.md, "A segment")."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from tests.auditor.wrong import Wrong, demand

BLOCK = 4096
HEAD = 72
PAYLOAD_MAX = 8_388_608
RECORD_MAX = 131_072
NO_HASH = bytes(32)

SEGMENT_FIELDS = struct.Struct(">4sBBHII16s32sQQQQ")
FRAME_FIELDS = struct.Struct(">4sBBHIIQQ32sII")


@dataclass(frozen=True)
class Frame:
    """Records that became durable together: the first, how many, and when the frame was written."""

    first: int
    count: int
    written_us: int


@dataclass
class Log:
    """All records of a log. `first` is 1 unless segments were taken away from the front."""

    identity: bytes = b""
    first: int = 1
    records: list[bytes] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    torn: int = 0

    @property
    def last(self) -> int:
        """Index of the last record, or of the one before the first if there is none."""
        return self.first + len(self.records) - 1

    def written_us(self, index: int) -> int:
        """When the frame that holds the record was written."""
        low, high = 0, len(self.frames)
        while high - low > 1:
            middle = (low + high) // 2
            if self.frames[middle].first <= index:
                low = middle
            else:
                high = middle
        frame = self.frames[low]
        demand(frame.first <= index < frame.first + frame.count, f"record {index} stands in no frame")
        return frame.written_us


@dataclass(frozen=True)
class Head:
    """The header block of a segment."""

    identity: bytes
    chain: bytes
    first: int
    before: int


def read(directory: Path) -> Log:
    """The whole log; Wrong where a document's rule is broken."""
    log = Log()
    expected = 0  # index of the next record; 0 before the first segment
    named = 0  # first index of the segment before
    chain = NO_HASH
    paths = sorted(directory.glob("*.seg"))
    for path in paths:
        data = path.read_bytes()
        head = read_head(path.name, data)
        if not expected:
            log.identity, log.first = head.identity, head.first
            if head.before == 0:
                demand(head.first == 1, f"{path.name}: the first segment begins with {head.first}")
                demand(head.chain == NO_HASH, f"{path.name}: the first segment continues a chain")
        else:
            demand(head.identity == log.identity, f"{path.name}: of another log")
            demand(head.before == named, f"{path.name}: names another segment before it")
            demand(head.first == expected, f"{path.name}: begins with {head.first}, not {expected}")
            demand(head.chain == chain, f"{path.name}: continues another chain")
        named, expected, chain = head.first, head.first, head.chain
        expected, chain = walk(path.name, data, head, log, last=path == paths[-1])
    read_mark(directory / "durable", log)
    return log


def read_head(name: str, data: bytes) -> Head:
    """The header block; no octet of it may be wrong."""
    demand(len(data) >= BLOCK, f"{name}: no whole header block")
    fields = SEGMENT_FIELDS.unpack_from(data)
    magic, version, algorithm, flags, size, nothing, identity, chain, first, before, _, low_water = fields
    demand(zlib.crc32(data[: BLOCK - 4]) == int.from_bytes(data[BLOCK - 4 : BLOCK], "big"), f"{name}: CRC")
    demand(magic == b"JXSG" and version == 1 and algorithm == 1 and flags == 0, f"{name}: unknown format")
    demand(size == BLOCK and nothing == 0, f"{name}: fields of the header block")
    demand(not any(data[SEGMENT_FIELDS.size : BLOCK - 4]), f"{name}: reserved octets")
    demand(
        len(name) == 24 and name[:20].isdecimal() and int(name[:20]) == first, f"{name}: begins with {first}"
    )
    demand(first >= 1 and before < first, f"{name}: first index {first} after {before}")
    demand(low_water <= first, f"{name}: the low-water index is above the first")
    return Head(identity, chain, first, before)


def whole_frame(data: bytes, place: int, identity: bytes) -> tuple[bytes, bytes] | None:
    """Header and payload of a frame that is right by itself, if one begins here."""
    header = data[place : place + HEAD]
    if len(header) < HEAD or header[:5] != b"JXBF\x01":
        return None
    if zlib.crc32(header[:68], zlib.crc32(identity)) != int.from_bytes(header[68:], "big"):
        return None
    octets = int.from_bytes(header[8:12], "big")
    payload = data[place + HEAD : place + HEAD + octets]
    if len(payload) != octets or zlib.crc32(payload) != int.from_bytes(header[64:68], "big"):
        return None
    return header, payload


def walk(name: str, data: bytes, head: Head, log: Log, *, last: bool) -> tuple[int, bytes]:
    """Take the frames of one segment; gives the next index and the hash of the last frame."""
    place, expected, chain = BLOCK, head.first, head.chain
    while (found := whole_frame(data, place, head.identity)) is not None:
        header, payload = found
        _, _, size, flags, octets, count, first, written_us, before, _, _ = FRAME_FIELDS.unpack(header)
        here = f"{name} at {place}"
        demand(size == HEAD and flags == 0, f"{here}: unknown kind of frame")
        demand(octets <= PAYLOAD_MAX and count >= 1, f"{here}: size of the frame")
        demand(first == expected, f"{here}: frame of record {first}, not {expected}")
        demand(before == chain, f"{here}: names another frame before it")
        log.frames.append(Frame(first, count, written_us))
        log.records.extend(split(here, payload, count))
        chain = hashlib.sha256(header + payload).digest()
        place += HEAD + octets
        expected += count
    rest = data[place:]
    if rest.strip(b"\0"):
        demand(last, f"{name} at {place}: no frame and no end")
        later = data.find(b"JXBF", place + 1)
        while later >= 0:
            demand(
                whole_frame(data, later, head.identity) is None, f"{name} at {place}: damage before a frame"
            )
            later = data.find(b"JXBF", later + 1)
        log.torn = len(rest.rstrip(b"\0"))
    return expected, chain


def split(here: str, payload: bytes, count: int) -> list[bytes]:
    """The records of a payload, which they fill exactly."""
    records: list[bytes] = []
    place = 0
    while place < len(payload):
        demand(place + 4 <= len(payload), f"{here}: a record's length is cut")
        octets = int.from_bytes(payload[place : place + 4], "big")
        demand(octets <= RECORD_MAX, f"{here}: a record of {octets} octets")
        place += 4
        demand(place + octets <= len(payload), f"{here}: a record is cut")
        records.append(payload[place : place + octets])
        place += octets
    demand(len(records) == count, f"{here}: {len(records)} records, not {count}")
    return records


def read_mark(path: Path, log: Log) -> None:
    """The mark is never ahead of the log."""
    if not path.exists():
        return
    data = path.read_bytes()
    if len(data) < 16:
        return
    index, complement = struct.unpack_from("<QQ", data)
    if index ^ complement != 0xFFFF_FFFF_FFFF_FFFF:
        return
    if index > log.last + 1:
        raise Wrong(f"durable up to {index - 1}, but the log ends with {log.last}")
