"""Finding the end of the log at a start, changing nothing.

What is checked is what the restart will lean on: from the segment of the low-water index on, and at least the
last two, whole; of the older ones the header, and that none is missing in between. `verify` checks
everything.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import msgspec

from storage.errors import CorruptEvidence
from storage.segment import (
    SEGMENT_HEADER_OCTETS,
    Chain,
    Frame,
    SegmentHeader,
    SegmentReader,
    TornTail,
    check_neighbours,
    segment_paths,
)


class Tail(msgspec.Struct):
    """Where recovery found the end of the log."""

    header: SegmentHeader  # of the last segment
    chain: Chain
    offset: int
    size: int
    last_frame: Frame | None  # None: the last segment is empty
    torn: TornTail | None


def examine(directory: Path) -> Tail | None:
    """Check what a restart needs; None: an empty directory. Raises CorruptEvidence."""
    paths = segment_paths(directory)
    if not paths:
        return None
    headers: list[SegmentHeader] = []
    for path in paths:
        with SegmentReader(path) as reader:
            headers.append(reader.header)
        if len(headers) > 1:
            check_neighbours(path, reader.header, headers[-2])
    last = headers[-1]
    needed = bisect_right([header.first_index for header in headers], last.low_water) - 1
    if needed < 0:
        reason = f"a restart needs record {last.low_water}, and the segment that holds it is missing"
        raise CorruptEvidence(paths[0], 0, reason)
    begin = min(needed, max(0, len(paths) - 2))
    chain = Chain(headers[begin].first_index, headers[begin].chain)
    for position in range(begin, len(paths)):
        if position > begin:
            chain.check_header(paths[position], headers[position])
        with SegmentReader(paths[position]) as reader:
            frame, offset, size = None, SEGMENT_HEADER_OCTETS, reader.size
            for frame in chain.walk(reader):
                offset = frame.end
            torn = reader.torn_tail(offset, last=headers[position] is last)
    return Tail(last, chain, offset, size, frame, torn)
