"""The Merkle tree on disk: tiles of 256 hashes, laid out as C2SP tlog-tiles has it.

    tile/LEVEL/NNN           a full tile: 256 hashes, 8192 octets, never changed
    tile/LEVEL/NNN.p/WIDTH   one that is not full yet, as it was when a checkpoint was made

A tile of level 0 holds leaf hashes; a hash of a higher level is the root of a full tile below.  Numbers above
999 have a directory for every three digits: `x001/x234/067`.

Tiles are synced before a checkpoint speaks of them, once for all that were written since the last one. What
a crash leaves behind them is written again, since a restart goes on from the last checkpoint; and as long as
the records are there, all of it can be made anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from storage.durable import DISK, NO_ROOM_ERRORS, make_directory
from storage.errors import DurabilityLost, EvidenceError, NoRoom
from storage.proofs.merkle import EMPTY_ROOT, HASH_OCTETS, node_hash, root_of

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT

# A tree of 2**64 leaves has so many levels of tiles, and no tile of it a longer name.
_LEVELS_MAX: Final = 8
_NAME_LENGTH_MAX: Final = 64

# Tiles kept by one reader, 8 KiB each: a proof reads one of each level, and neighbours share most of them.
_KEPT_MAX: Final = 256


class TileMissing(EvidenceError):
    """A tile that a tree of this size needs is not there, or is too short."""


def tile_name(level: int, place: int, width: int = WIDTH) -> str:
    """The path, below the directory of tiles, of the tile at this place of its level; `width`: hashes in it,
    WIDTH when it is full."""
    groups = f"{place % 1000:03d}"
    while place := place // 1000:
        groups = f"x{place % 1000:03d}/{groups}"
    return f"{level}/{groups}" if width == WIDTH else f"{level}/{groups}.p/{width}"


def place_of(name: str) -> tuple[int, int, int] | None:
    """(level, place, width) of the tile of this name; None if it is no tile's."""
    if len(name) > _NAME_LENGTH_MAX:
        return None
    full, _, width = name.partition(".p/")
    level, _, groups = full.partition("/")
    numbers = (level, groups.replace("/", "").replace("x", ""), width or str(WIDTH))
    if not all(each.isascii() and each.isdigit() for each in numbers):
        return None
    found = int(numbers[0]), int(numbers[1]), int(numbers[2])
    whole = found[0] < _LEVELS_MAX and 0 < found[2] <= WIDTH and tile_name(*found) == name
    return found if whole else None


def tile_path(directory: Path, level: int, place: int, width: int = WIDTH) -> Path:
    """Where the tile stands; `directory`: that of the tiles."""
    return directory / tile_name(level, place, width)


def partial_tiles(full: str | Path) -> str:
    """The directory of what was written of a tile before it was full."""
    return f"{full}.p"


def partial_widths(full: str | Path) -> list[int]:
    """The widths in which a tile was written before it was full."""
    try:
        names = os.listdir(partial_tiles(full))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


class Tiles:
    """Reads the tiles of a tree over `size` leaves."""

    def __init__(self, directory: Path, size: int) -> None:
        """`directory`: the one named `tile`."""
        self.directory = directory
        self.size = size
        self._kept: dict[tuple[int, int], bytes] = {}  # oldest first

    def edge(self, level: int) -> list[bytes]:
        """The hashes of the tile of this level that is not full; none if there is none."""
        count = self.size >> HEIGHT * level
        width = count % WIDTH
        return _split(self._tile(level, count // WIDTH)[: width * HASH_OCTETS]) if width else []

    def full(self, level: int, place: int) -> list[bytes]:
        """The hashes of a full tile. Raises TileMissing."""
        return _split(self._tile(level, place))

    def subtree(self, height: int, place: int) -> bytes:
        """The hash of a complete subtree (storage/proofs/merkle.py). Raises TileMissing."""
        level, above = divmod(height, HEIGHT)
        first = place << above  # of the hashes at this level that it covers
        tile, start = divmod(first, WIDTH)
        octets = self._tile(level, tile)
        return root_of(_split(octets[start * HASH_OCTETS : (start + (1 << above)) * HASH_OCTETS]))

    def _tile(self, level: int, place: int) -> bytes:
        octets = self._kept.get((level, place))
        if octets is None:
            octets = self._kept[level, place] = self._read(level, place)
            if len(self._kept) > _KEPT_MAX:
                del self._kept[next(iter(self._kept))]
        return octets

    def _read(self, level: int, place: int) -> bytes:
        """A tile as wide as the tree needs it, from whichever file holds so much: it has grown since."""
        width = min(WIDTH, (self.size >> HEIGHT * level) - place * WIDTH)
        assert width > 0, "no tree of this size has such a tile"
        exact = tile_path(self.directory, level, place, width)
        for path in self._holders(exact, level, place):
            try:
                octets = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as failure:
                raise TileMissing(f"{path}: {failure.strerror}") from failure
            if len(octets) >= width * HASH_OCTETS and len(octets) % HASH_OCTETS == 0:
                return octets[: width * HASH_OCTETS]
            raise TileMissing(f"{path}: {len(octets)} octets, {width} hashes are needed")
        raise TileMissing(f"{exact} is missing")

    def _holders(self, exact: Path, level: int, place: int) -> Iterator[Path]:
        """The files that may hold so much of a tile."""
        yield exact
        full = tile_path(self.directory, level, place)
        if full != exact:
            yield full
            yield from (Path(partial_tiles(full), str(width)) for width in reversed(partial_widths(full)))
            yield full  # it has become full meanwhile, and what there was of it is gone


class _Edge:
    """What there is of the tile of one level that is not full: its hashes, and what `root` needs of them."""

    __slots__ = ("_folded", "_roots", "hashes", "saved")

    def __init__(self, hashes: list[bytes]) -> None:
        self.hashes = hashes
        self.saved = len(hashes)  # how many of them stand in a file
        self._folded = 0  # how many are in the roots
        self._roots: list[bytes] = []  # of complete subtrees, the largest first

    def roots(self) -> list[bytes]:
        """The roots of the complete subtrees that all its hashes make; what was folded once stays so."""
        roots = self._roots
        for place in range(self._folded, len(self.hashes)):
            roots.append(self.hashes[place])
            while place & 1:
                right = roots.pop()
                roots[-1] = node_hash(roots[-1], right)
                place >>= 1
        self._folded = len(self.hashes)
        return roots

    def drop(self, count: int) -> None:
        """The first tile of it, or the first tiles, are full and leave."""
        del self.hashes[:count]
        self.saved = self._folded = 0
        self._roots.clear()


class GrowingTree:
    """A tree that grows by leaves and gives its tiles away as they become full.

    For one owner. A root costs as many hashes as the tree is high, and two a leaf at the most.
    """

    def __init__(self, size: int = 0, edges: Sequence[list[bytes]] = ()) -> None:
        """`edges`: of a tree of `size` that is there already, its `Tiles.edge` from level 0 up."""
        self.size = size
        self._edges = [_Edge(list(edge)) for edge in edges] or [_Edge([])]

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes."""
        self.size += len(leaves)
        edge = self._edges[0]
        edge.hashes.extend(leaves)
        if len(edge.hashes) >= WIDTH:
            self._carry(0)

    def _carry(self, level: int) -> None:
        """Give away the tiles of a level that are full, and carry their roots up."""
        edge = self._edges[level]
        tiles = len(edge.hashes) // WIDTH
        place = (self.size >> HEIGHT * level) // WIDTH - tiles
        if level + 1 == len(self._edges):
            self._edges.append(_Edge([]))
        above = self._edges[level + 1].hashes
        for start in range(0, tiles * WIDTH, WIDTH):
            tile = edge.hashes[start : start + WIDTH]
            self._full(level, place, tile, edge.saved if not start else 0)
            above.append(root_of(tile))
            place += 1
        edge.drop(tiles * WIDTH)
        if len(above) >= WIDTH:
            self._carry(level + 1)

    def _full(self, level: int, place: int, hashes: list[bytes], saved: int) -> None:
        """A tile has become full, of which `saved` hashes stood in a file before."""

    def root(self) -> bytes:
        """The root over all leaves so far."""
        root = b""
        for edge in self._edges:  # what is not full of the level below stands last in the one above
            for complete in reversed(edge.roots()):
                root = node_hash(complete, root) if root else complete
        return root or EMPTY_ROOT

    def edges(self) -> Iterator[tuple[int, int, list[bytes]]]:
        """(level, place, hashes) of the tiles that are not full, from the lowest level up."""
        for level, edge in enumerate(self._edges):
            if edge.hashes:
                yield level, (self.size >> HEIGHT * level) // WIDTH, edge.hashes


class StoredTree(GrowingTree):
    """A tree whose tiles are written: full ones at once, those at the right edge by `save`.

    Raises NoRoom, DurabilityLost; it is of no use after that, and the next start loads what was saved.
    """

    def __init__(self, directory: Path, size: int = 0, edges: Sequence[list[bytes]] = ()) -> None:
        super().__init__(size, edges)
        self.directory = directory
        self._unsynced: list[Path] = []

    @classmethod
    def load(cls, directory: Path, size: int) -> StoredTree:
        """Go on with the tree of this size. Raises TileMissing."""
        tiles = Tiles(directory, size)
        return cls(directory, size, [tiles.edge(level) for level in range(levels_of(size))])

    def save(self) -> None:
        """Write the tiles at the right edge as they are now, and have all that was written durable: before a
        checkpoint speaks of them."""
        for level, place, hashes in self.edges():
            self._write(tile_path(self.directory, level, place, len(hashes)), hashes)
            self._edges[level].saved = len(hashes)
        written, self._unsynced = self._unsynced, []
        for path in written:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # it was a part of a tile that has become full since
            try:
                DISK.sync_data(path, descriptor)
            finally:
                os.close(descriptor)
        for directory in {path.parent for path in written}:
            if directory.is_dir():
                DISK.sync_directory(directory)

    def _full(self, level: int, place: int, hashes: list[bytes], saved: int) -> None:
        path = tile_path(self.directory, level, place)
        self._write(path, hashes)
        if saved:  # what was written of it before has served its time
            shutil.rmtree(partial_tiles(path), ignore_errors=True)

    def _write(self, path: Path, hashes: list[bytes]) -> None:
        """Put a tile in its place, whole: a reader finds all of it or nothing."""
        part = path.with_name(f"{path.name}.part")
        octets = b"".join(hashes)
        try:
            try:
                part.write_bytes(octets)
            except FileNotFoundError:
                make_directory(path.parent)
                part.write_bytes(octets)
            os.replace(part, path)
        except OSError as failure:
            if failure.errno in NO_ROOM_ERRORS:
                raise NoRoom(f"{path}: no disk space for a tile") from failure
            raise DurabilityLost(path, "write", failure) from failure
        self._unsynced.append(path)


def levels_of(size: int) -> int:
    """Levels of tiles that a tree of this size has."""
    levels = 1
    while size >> HEIGHT * levels:
        levels += 1
    return levels


def _split(octets: bytes) -> list[bytes]:
    return [octets[start : start + HASH_OCTETS] for start in range(0, len(octets), HASH_OCTETS)]
