"""The Merkle tree over the records, its tiles and its checkpoints (evidence-format.md, "Proofs")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tests.auditor.notes import Checkpoint, Key, from_base64
from tests.auditor.segments import Log
from tests.auditor.wrong import Wrong, demand

WIDTH = 256


def leaf_hash(record: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """All full subtrees over the leaves: `levels[n][i]` is that over leaves i * 2**n and on."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.levels: list[list[bytes]] = [list(leaves)]
        while len(below := self.levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self.levels.append([node_hash(left, right) for left, right in pairs])

    @property
    def size(self) -> int:
        """How many leaves."""
        return len(self.levels[0])

    def root(self, size: int) -> bytes:
        """The root over the first leaves (RFC 6962 section 2.1)."""
        demand(size <= self.size, f"a tree of {size} leaves, of which {self.size} are here")
        if size == 0:
            return hashlib.sha256(b"").digest()
        root = None
        for level, hashes in enumerate(self.levels):
            if size >> level & 1:
                left = hashes[(size >> level) - 1]
                root = left if root is None else node_hash(left, root)
        assert root is not None
        return root

    def tile(self, level: int, place: int, width: int) -> bytes:
        """The hashes of a tile."""
        demand(8 * level < len(self.levels), f"a tile of level {level} over {self.size} leaves")
        hashes = self.levels[8 * level][place * WIDTH : place * WIDTH + width]
        demand(len(hashes) == width, f"a tile {level}/{place} of {width} hashes over {self.size} leaves")
        return b"".join(hashes)


def read_place(pieces: Sequence[str]) -> int:
    """The number that a tile's path stands for, in its one canonical form."""
    digits = ""
    for at, piece in enumerate(pieces):
        mark = "x" if at < len(pieces) - 1 else ""
        demand(re.fullmatch(mark + "[0-9]{3}", piece) is not None, f"no path of a tile: {'/'.join(pieces)}")
        digits += piece[len(mark) :]
    demand(len(pieces) == 1 or int(pieces[0][1:]) > 0, f"a path longer than its tile: {'/'.join(pieces)}")
    return int(digits)


def tiles(proofs: Path) -> list[tuple[int, int, int, bytes]]:
    """Every tile on disk: level, place, width and what it holds."""
    found = []
    for path in sorted((proofs / "tile").rglob("*")):
        if path.is_dir():
            continue
        pieces = path.relative_to(proofs / "tile").parts
        width = WIDTH
        if pieces[-2].endswith(".p"):
            demand(
                pieces[-1].isdecimal() and str(int(pieces[-1])) == pieces[-1], f"no width of a tile: {path}"
            )
            width = int(pieces[-1])
            demand(1 <= width < WIDTH, f"no width of a part of a tile: {path}")
            pieces = (*pieces[:-2], pieces[-2][:-2])
        demand(pieces[0].isdecimal() and str(int(pieces[0])) == pieces[0], f"no level of a tile: {path}")
        data = path.read_bytes()
        demand(len(data) == 32 * width, f"{path.relative_to(proofs)}: {len(data)} octets")
        found.append((int(pieces[0]), read_place(pieces[1:]), width, data))
    return found


def tree_of(log: Log, proofs: Path) -> Tree:
    """The tree over all leaves. Those whose records were taken away stand in tiles."""
    on_disk = tiles(proofs)
    leaves: list[bytes] = []
    missing = log.first - 1
    if missing:
        lowest: dict[int, bytes] = {}
        for level, place, _, data in on_disk:
            if level == 0 and len(data) > len(lowest.get(place, b"")):
                lowest[place] = data
        for index in range(missing):
            hashes = lowest.get(index // WIDTH, b"")
            place = 32 * (index % WIDTH)
            demand(len(hashes) >= place + 32, f"neither record {index + 1} nor its hash is here")
            leaves.append(hashes[place : place + 32])
    leaves.extend(leaf_hash(record) for record in log.records)
    tree = Tree(leaves)
    for level, place, width, data in on_disk:
        demand(data == tree.tile(level, place, width), f"tile {level}/{place} of {width} is not of this log")
    return tree


@dataclass(frozen=True)
class Signed:
    """A checkpoint and the day in whose file it stands."""

    day: date
    checkpoint: Checkpoint


def day_files(proofs: Path) -> list[tuple[date, Path]]:
    """The files of the days, oldest first."""
    found = []
    for path in sorted((proofs / "checkpoints").glob("*")):
        try:
            demand(re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", path.name) is not None, f"no day: {path.name}")
            found.append((date.fromisoformat(path.name), path))
        except ValueError as trouble:
            raise Wrong(f"no day: {path.name}") from trouble
    return found


def checkpoints(proofs: Path, key: Key, tree: Tree) -> list[Signed]:
    """Every checkpoint, oldest first; each must be of this log, and the chain of the files unbroken."""
    found: list[Signed] = []
    chain: bytes | None = None
    size = 0
    for day, path in day_files(proofs):
        data = path.read_bytes()
        texts = data.split(b"\n\n")
        try:
            demand(len(texts) > 1, "not even a chain")
            begins = from_base64(texts[0].decode("ascii", "replace"))
            demand(len(begins) == 32, "a chain has 32 octets")
            demand(chain in (None, begins), "continues another chain")
            chain = begins
            closed, rest = texts[1:-1], texts[-1]
            while len(closed) >= 3:
                note = closed[0] + b"\n\n" + closed[1] + b"\n"
                checkpoint = Checkpoint.read(note, key)
                demand(checkpoint.size >= size, f"{checkpoint.size} records after {size}")
                demand(checkpoint.root == tree.root(checkpoint.size), f"another root at {checkpoint.size}")
                chain = hashlib.sha256(chain + note).digest()
                demand(
                    from_base64(closed[2].decode("ascii", "replace")) == chain,
                    f"the chain is broken at {checkpoint.size}",
                )
                size = checkpoint.size
                found.append(Signed(day, checkpoint))
                closed = closed[3:]
            tail = b"\n\n".join([*closed, rest])
            name = key.name.encode() + b"\n"
            demand(tail.startswith(name) or name.startswith(tail), "something else behind the last chain")
        except Wrong as trouble:
            raise Wrong(f"checkpoints/{path.name}: {trouble}") from trouble
    return found


def newest(proofs: Path, key: Key, signed: Sequence[Signed], tree: Tree) -> Checkpoint | None:
    """`checkpoint`, which must stand in the files of the days."""
    path = proofs / "checkpoint"
    if not path.exists():
        demand(not signed, "no `checkpoint`, but the days have some")
        return None
    try:
        checkpoint = Checkpoint.read(path.read_bytes(), key)
    except Wrong as trouble:
        raise Wrong(f"checkpoint: {trouble}") from trouble
    demand(checkpoint.root == tree.root(checkpoint.size), f"checkpoint: another root at {checkpoint.size}")
    demand(
        any(one.checkpoint.octets == checkpoint.octets for one in signed),
        "checkpoint: it stands in no file of a day",
    )
    return checkpoint


def cosigned(proofs: Path, key: Key, witnesses: Sequence[Key], tree: Tree) -> dict[str, int]:
    """What each witness has cosigned: its name, and the size. Its signatures must be right."""
    sizes: dict[str, int] = {}
    for path in sorted((proofs / "cosigned").rglob("*")):
        if path.is_dir():
            continue
        try:
            checkpoint = Checkpoint.read(path.read_bytes(), key)
            demand(checkpoint.root == tree.root(checkpoint.size), f"another root at {checkpoint.size}")
            signers = {(name, identity) for name, identity, _ in checkpoint.note.signatures}
            for witness in witnesses:
                if (witness.name, witness.identity) in signers:
                    checkpoint.note.require(witness)
                    sizes[witness.name] = max(checkpoint.size, sizes.get(witness.name, 0))
        except Wrong as trouble:
            raise Wrong(f"{path.relative_to(proofs)}: {trouble}") from trouble
    return sizes
