"""Reading the log from outside the writer: a tail that follows it, a range, one record by its index.

A reader must not run ahead of the disk: a batch that is written but not yet synced can still vanish with the
power, and a checkpoint signed over it would be a lie. So the writer leaves word in a small file, the mark,
how far the log is durable. The mark itself is never synced; it is set after the sync, so it can be late but
never early. An archive has no mark; there the log ends where its valid frames end.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from storage.durable import DISK
from storage.errors import CorruptEvidence, NoSuchRecord
from storage.segment import (
    FIRST_INDEX,
    SEGMENT_HEADER_OCTETS,
    BadFrame,
    Frame,
    SegmentReader,
    segment_path,
    segment_paths,
)

# Open segments of a reader. Its tail needs one, look-ups of recent messages a few; each costs a descriptor, a
# window of at most 1 MiB and 16 octets a frame.
_OPEN_SEGMENTS_MAX: Final = 8

# The next index, and its complement: the two are not written in one indivisible step, and must agree.
_MARK: Final = struct.Struct("<QQ")
_ALL_ONES: Final = (1 << 64) - 1


MARK_NAME: Final = "durable"


class DurableMark:
    """The file `durable`: the index that follows the last durable record. Set by the log, read by anybody."""

    def __init__(self, directory: Path, *, writable: bool) -> None:
        """Raises FileNotFoundError for a reader when there is no mark."""
        self.path = directory / MARK_NAME
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        self._descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o640)

    def set(self, next_index: int) -> None:
        DISK.write_at(self.path, self._descriptor, (_MARK.pack(next_index, next_index ^ _ALL_ONES),), 0)

    def get(self) -> int:
        """0: never set, or not readable as a mark."""
        for _ in range(3):  # a second look, should a write have come in between
            octets = os.pread(self._descriptor, _MARK.size, 0)
            if len(octets) == _MARK.size:
                next_index, complement = _MARK.unpack(octets)
                if next_index == complement ^ _ALL_ONES:
                    return int(next_index)
        return 0

    def close(self) -> None:
        os.close(self._descriptor)


class _Segment:
    """An open segment and the places of the frames in it that were met so far."""

    def __init__(self, path: Path) -> None:
        self.reader = SegmentReader(path)
        self._first_indices: list[int] = []
        self._offsets: list[int] = []
        # The first frame not met yet: its first record and its offset.
        self._next = (self.reader.header.first_index, SEGMENT_HEADER_OCTETS)

    def offset_of(self, index: int) -> int | None:
        """Offset of the frame that holds the record, going by frame headers; None: not in this segment."""
        while self._next[0] <= index:
            next_index, offset = self._next
            found = self.reader.skim(offset)
            if found is None or found[0] != next_index:
                return None
            self.met(next_index, offset, next_index + found[1], found[2])
        return self._offsets[bisect_right(self._first_indices, index) - 1]

    def met(self, first_index: int, offset: int, next_index: int, end: int) -> None:
        """A frame begins here and ends there."""
        if first_index == self._next[0]:
            self._first_indices.append(first_index)
            self._offsets.append(offset)
            self._next = (next_index, end)

    def frame_at(self, offset: int, ahead: int | None = None) -> Frame | BadFrame | None:
        """As SegmentReader.frame_at, looking again when what was read ahead is older than the frame."""
        arguments = (offset,) if ahead is None else (offset, ahead)
        frame = self.reader.frame_at(*arguments)
        if isinstance(frame, Frame):
            return frame
        self.reader.forget()
        return self.reader.frame_at(*arguments)


class LogReader:
    """Reads an evidence directory, also while a gateway writes to it. Never writes; for one thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mark: DurableMark | None = None
        self._first_indices: list[int] = []
        self._open: OrderedDict[int, _Segment] = OrderedDict()
        self._found: tuple[int, list[bytes]] = (
            0,
            [],
        )  # first index and records of the frame that find() read last
        self._list_segments()

    def close(self) -> None:
        for segment in self._open.values():
            segment.reader.close()
        self._open.clear()
        if self._mark is not None:
            self._mark.close()
            self._mark = None

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def first_index(self) -> int:
        """Index of the oldest record that is still here; 1 for an empty log."""
        return self._first_indices[0] if self._first_indices else FIRST_INDEX

    @property
    def identity(self) -> bytes:
        """Of the log; empty for an empty one."""
        if not self._first_indices:
            self._list_segments()
        return self._segment_with(self.first_index).reader.header.identity if self._first_indices else b""

    @property
    def next_index(self) -> int:
        """The index that follows the last durable record."""
        if self._mark is None:
            try:
                self._mark = DurableMark(self.directory, writable=False)
            except FileNotFoundError:
                return self._end_by_frames()
        return self._mark.get() or self._end_by_frames()

    def records(self, from_index: int, stop_index: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(index, record) from `from_index` up to the durable end as it is now, or to `stop_index` exclusive.

        Call again with the next index to follow the log. Raises NoSuchRecord when `from_index` is older than
        the oldest segment, CorruptEvidence when a durable record cannot be read.
        """
        for frame in self.frames(from_index, stop_index):
            first = max(from_index, frame.first_index)
            stop = frame.first_index + frame.count
            records = frame.records()
            if first > frame.first_index or (stop_index is not None and stop > stop_index):
                stop = stop if stop_index is None else min(stop, stop_index)
                records = records[first - frame.first_index : stop - frame.first_index]
            yield from zip(range(first, stop), records, strict=True)

    def frames(self, from_index: int, stop_index: int | None = None) -> Iterator[Frame]:
        """The batches that hold these records, whole; same bounds and errors as `records`."""
        end = self.next_index if stop_index is None else stop_index
        index = from_index
        while index < end:
            segment = self._segment_with(index)
            offset = segment.offset_of(index)
            while offset is not None and index < end:
                frame = segment.frame_at(offset)
                if not isinstance(frame, Frame):
                    break
                segment.met(frame.first_index, offset, frame.first_index + frame.count, frame.end)
                index = frame.first_index + frame.count
                offset = frame.end
                yield frame
            if index < end and not self._continues_in_another(segment, index):
                place = SEGMENT_HEADER_OCTETS if offset is None else offset
                raise CorruptEvidence(
                    segment.reader.path, place, f"record {index} was durable and cannot be read"
                )

    def find(self, index: int) -> bytes:
        """One record. Raises NoSuchRecord, CorruptEvidence."""
        first, records = self._found
        if not first <= index < first + len(records):
            segment = self._segment_with(index)
            offset = segment.offset_of(index)
            if offset is None or index >= self.next_index:
                raise NoSuchRecord(f"the log has no record {index}")
            skimmed = segment.reader.skim(offset)
            segment.reader.forget()
            frame = segment.frame_at(offset, ahead=skimmed[2] - offset if skimmed is not None else 0)
            if not isinstance(frame, Frame):
                raise CorruptEvidence(segment.reader.path, offset, f"record {index} cannot be read")
            first, records = self._found = (frame.first_index, frame.records())
        return records[index - first]

    def _continues_in_another(self, segment: _Segment, index: int) -> bool:
        self._list_segments()
        position = bisect_right(self._first_indices, index) - 1
        return self._first_indices[position] > segment.reader.header.first_index

    def _segment_with(self, index: int) -> _Segment:
        if not self._first_indices or index >= self._first_indices[-1]:
            self._list_segments()  # there may be newer ones
        position = bisect_right(self._first_indices, index) - 1
        if position < 0:
            raise NoSuchRecord(f"the log has no record {index}: it begins at {self.first_index}")
        first_index = self._first_indices[position]
        segment = self._open.get(first_index)
        if segment is None:
            segment = self._open[first_index] = _Segment(segment_path(self.directory, first_index))
            if len(self._open) > _OPEN_SEGMENTS_MAX:
                self._open.popitem(last=False)[1].reader.close()
        self._open.move_to_end(first_index)
        return segment

    def _list_segments(self) -> None:
        self._first_indices = [int(path.stem) for path in segment_paths(self.directory)]

    def _end_by_frames(self) -> int:
        self._list_segments()
        if not self._first_indices:
            return FIRST_INDEX
        index = self._first_indices[-1]
        with SegmentReader(segment_path(self.directory, index)) as reader:
            offset = SEGMENT_HEADER_OCTETS
            while isinstance(frame := reader.frame_at(offset), Frame):
                index = frame.first_index + frame.count
                offset = frame.end
        return index
