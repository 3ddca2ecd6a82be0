"""The proofs that go with archived segments: what there would be if the log had ended with one checkpoint.

That is the first one that covers the last archived record. All tiles up to its size are taken, since those of
records before the archive lead to its root; of a tile that was not full then, what each checkpoint was made
of is cut out of what it has become since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from storage.errors import CorruptEvidence
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import (
    CHECKPOINT_NAME,
    CHECKPOINTS_NAME,
    COSIGNED_NAME,
    Entry,
    cosigned_paths,
    day_paths,
    extent,
    signed,
)
from storage.proofs.notary import TILE_NAME
from storage.proofs.note import Note, NoteError
from storage.proofs.tiles import HEIGHT, WIDTH, Tiles, levels_of, tile_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from storage.archive_directory import NewDirectory


class Covering(NamedTuple):
    """The first checkpoint that covers a record. end: where it ends in the file of its day. widths: by level,
    how wide the tile that was not full yet stood under a checkpoint since it was begun."""

    entry: Entry
    end: int
    size: int
    widths: list[set[int]]


def covering(proofs: Path, origin: str, index: int) -> Covering | None:
    """None: the record is in no checkpoint yet. Raises CorruptEvidence, as `signed` does."""
    places: list[int] = []
    widths: list[set[int]] = []
    entries = signed(extent(proofs), origin)
    for entry in entries:
        size = _size(entry.path, entry.offset, entry.note)
        for level in range(levels_of(size)):
            place, width = divmod(size >> HEIGHT * level, WIDTH)
            if level == len(places):
                places.append(place)
                widths.append(set())
            elif place != places[level]:
                places[level] = place
                widths[level] = set()
            widths[level].add(width)
        if size >= index:
            return Covering(entry, _end_of(entry), size, widths)
    return None


def copy_proofs(proofs: Path, found: Covering, target: NewDirectory, name: str) -> None:
    """Put them below `name` in the archive. Raises TileMissing, CorruptEvidence, NoRoom, DurabilityLost."""
    for path, octets in _tiles(proofs / TILE_NAME, found):
        target.write(f"{name}/{path.relative_to(proofs)}", (octets,))
    for path in day_paths(proofs):
        if path > found.entry.path:
            break
        octets = path.read_bytes()
        if path == found.entry.path:
            octets = octets[: found.end]
        target.write(f"{name}/{CHECKPOINTS_NAME}/{path.name}", (octets,))
    target.write(f"{name}/{CHECKPOINT_NAME}", (found.entry.note.encode(),))
    for path in cosigned_paths(proofs):
        octets = path.read_bytes()
        try:
            note = Note.parse(octets)
        except NoteError as error:
            raise CorruptEvidence(path, 0, str(error)) from error
        if _size(path, 0, note) <= found.size:
            target.write(f"{name}/{COSIGNED_NAME}/{path.name}", (octets,))


def _tiles(directory: Path, found: Covering) -> Iterator[tuple[Path, bytes]]:
    """The tiles of the tree of this size, and what was not full of it."""
    tiles = Tiles(directory, found.size)
    for level, widths in enumerate(found.widths):
        full = (found.size >> HEIGHT * level) // WIDTH
        for place in range(full):
            yield tile_path(directory, level, place), b"".join(tiles.full(level, place))
        edge = tiles.edge(level)
        for width in sorted(widths - {0}):
            yield tile_path(directory, level, full, width), b"".join(edge[:width])


def _size(path: Path, offset: int, note: Note) -> int:
    try:
        return Checkpoint.parse(note.text).size
    except NoteError as error:
        raise CorruptEvidence(path, offset, str(error)) from error


def _end_of(entry: Entry) -> int:
    """Where the line of the chain behind a checkpoint ends, in the file of its day."""
    octets = entry.path.read_bytes()
    note_end = entry.offset + len(entry.note.encode()) + 1
    return octets.index(b"\n\n", note_end) + 2
