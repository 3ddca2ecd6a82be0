"""Checking the tree offline: that tiles and checkpoints are those of the records, and who signed them.

It grows a tree of its own over the records as they are read, compares each tile on disk with it, and its root
with each checkpoint at the size that this one speaks of.  Thereby any two of them are consistent: both are
of one growing tree.  Nothing is taken over from whoever wrote the files, except where the first segments have
been taken away: there the tree begins with the tiles of what is gone, and every checkpoint after that shows
whether these were right.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from storage.checkpoint import Checkpoint
from storage.checkpoints import CHECKPOINT_NAME, COSIGNED_NAME, Entry, extent, signed
from storage.errors import CorruptEvidence
from storage.merkle import HASH_OCTETS, tree_root
from storage.notary import TILE_NAME
from storage.note import Note, NoteError, VerifierKey
from storage.segment import FIRST_INDEX
from storage.tiles import (
    HEIGHT,
    WIDTH,
    GrowingTree,
    TileMissing,
    Tiles,
    levels_of,
    partial_tiles,
    partial_widths,
    place_of,
    tile_path,
)


class Proofs:
    """The proofs of a log as they were when this was made: take them before the end of the log is looked at,
    since a ledger may go on signing. log_key, witness_keys: of those who are believed."""

    def __init__(
        self, directory: Path, log_key: VerifierKey, witness_keys: Sequence[VerifierKey] = ()
    ) -> None:
        self.directory = directory
        self.log_key = log_key
        self.witness_keys = tuple(witness_keys)
        self.days = extent(directory)

    @property
    def have_grown(self) -> bool:
        """Whether more was signed since."""
        return extent(self.directory) != self.days


class Proven(msgspec.Struct):
    """What the checkpoints prove. size: records in the last of them; witnessed: by the name of a witness, the
    most records that it has seen, and when it signed that, in seconds since the epoch."""

    checkpoints: int = 0
    size: int = 0
    tiles: int = 0
    witnessed: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)


class TreeCheck(GrowingTree):
    """The tree over the records of a log, compared with its proofs. Raises CorruptEvidence."""

    def __init__(self, proofs: Proofs, first_index: int) -> None:
        """`first_index`: of the first record that is still here."""
        size = first_index - FIRST_INDEX
        self._proofs = proofs
        self._tile_directory = proofs.directory / TILE_NAME
        self.proven = Proven()
        self._entries = signed(proofs.days)
        self._last: Entry | None = None
        self._next: tuple[Entry, Checkpoint] | None = None
        self._cosigned = sorted(self._read_cosigned(), key=lambda each: each[1].size)
        # Leaves since the last root that was right: if the next one is not, the wrong one is among them.
        self._since: list[bytes] = []
        # By level: the widths in which the tile that is not full yet stood under a checkpoint.
        self._widths: defaultdict[int, set[int]] = defaultdict(set)
        try:
            tiles = Tiles(self._tile_directory, size)
            super().__init__(size, [tiles.edge(level) for level in range(levels_of(size))])
            self._advance()
            self._check_before(tiles)
        except TileMissing as missing:
            raise CorruptEvidence(self._tile_directory, 0, str(missing)) from missing

    def add(self, records: Sequence[bytes]) -> None:
        """The next records of the log."""
        # As merkle.leaf_hash, without a call for each.
        leaves = [sha256(b"\0" + record).digest() for record in records]
        start = 0
        while (size := self._next_size()) is not None and size <= self.size + len(leaves) - start:
            stop = start + size - self.size
            self._take(leaves[start:stop])
            start = stop
            self._check_root()
        self._take(leaves[start:] if start else leaves)

    def finish(self) -> None:
        """The log ends here."""
        if self._next is not None:
            entry, checkpoint = self._next
            raise CorruptEvidence(
                entry.path,
                entry.offset,
                f"records {self.size + FIRST_INDEX} to {checkpoint.size} were signed and are gone",
            )
        if self._cosigned:
            path, checkpoint, _ = self._cosigned[0]
            raise CorruptEvidence(
                path,
                0,
                f"a witness has seen {checkpoint.size} records, and {self.proven.size} are signed here",
            )
        for level, place, hashes in self.edges():
            self._check_partial(level, place, hashes)
        if not self._proofs.have_grown:
            self._check_published()
            self._check_nothing_else()

    # -- records --------------------------------------------------------------------------------------------

    def _take(self, leaves: list[bytes]) -> None:
        self._since += leaves
        self.extend(leaves)

    def _next_size(self) -> int | None:
        return None if self._next is None else self._next[1].size

    # -- checkpoints ----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Read the next checkpoint: it is signed by the log, and larger than the one before."""
        before = 0 if self._next is None else self._next[1].size
        entry = next(self._entries, None)
        if entry is None:
            self._next = None
            return
        self._last = entry
        checkpoint = self._checkpoint(entry.path, entry.offset, entry.note)
        if checkpoint.size <= before:
            raise CorruptEvidence(
                entry.path, entry.offset, f"a checkpoint of {checkpoint.size} records after one of {before}"
            )
        self._next = entry, checkpoint

    def _checkpoint(self, path: Path, offset: int, note: Note) -> Checkpoint:
        try:
            if not note.signed_by((self._proofs.log_key,)):
                raise CorruptEvidence(path, offset, f"the checkpoint is not signed by {self._proofs.log_key}")
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise CorruptEvidence(path, offset, str(error)) from error
        if checkpoint.origin != self._proofs.log_key.name:
            raise CorruptEvidence(path, offset, f"the checkpoint is of {checkpoint.origin}")
        return checkpoint

    def _check_before(self, tiles: Tiles) -> None:
        """Checkpoints of records that have been taken away: the tiles speak for those."""
        while self._next is not None and self._next[1].size <= self.size:
            self._check_that(tree_root(self._next[1].size, tiles.subtree))

    def _check_root(self) -> None:
        self._check_that(self.root())
        self._since.clear()

    def _check_that(self, root: bytes) -> None:
        """The next checkpoint names this root."""
        assert self._next is not None
        entry, checkpoint = self._next
        if root != checkpoint.root:
            raise self._blame(entry, checkpoint)
        self.proven.checkpoints += 1
        self.proven.size = checkpoint.size
        for level in range(levels_of(checkpoint.size)):
            self._widths[level].add((checkpoint.size >> HEIGHT * level) % WIDTH)
        while self._cosigned and self._cosigned[0][1].size <= checkpoint.size:
            self._check_cosigned(*self._cosigned.pop(0), checkpoint)
        self._advance()

    def _blame(self, entry: Entry, checkpoint: Checkpoint) -> CorruptEvidence:
        """Which record is the first that is not as it was signed, as far as the tiles know it."""
        first = self.size - len(self._since)
        tiles = Tiles(self._tile_directory, self.size)
        try:
            for index, leaf in enumerate(self._since, first):
                if tiles.subtree(0, index) != leaf:
                    return CorruptEvidence(
                        entry.path,
                        entry.offset,
                        f"record {index + FIRST_INDEX} is not the one that was signed in the checkpoint of"
                        f" {checkpoint.size} records",
                    )
        except TileMissing:
            pass
        return CorruptEvidence(
            entry.path,
            entry.offset,
            f"the checkpoint of {checkpoint.size} records is not of these records: from record"
            f" {first + FIRST_INDEX} on they are others than were signed",
        )

    def _check_published(self) -> None:
        path = self._proofs.directory / CHECKPOINT_NAME
        last = b"" if self._last is None else self._last.note.encode()
        published = path.read_bytes() if path.exists() else b""
        if published != last:
            raise CorruptEvidence(path, 0, "it is not the last of the checkpoints that were signed")

    # -- witnesses ------------------------------------------------------------------------------------------

    def _read_cosigned(self) -> Iterator[tuple[Path, Checkpoint, Note]]:
        for path in sorted((self._proofs.directory / COSIGNED_NAME).glob("*")):
            try:
                note = Note.parse(path.read_bytes())
            except NoteError as error:
                raise CorruptEvidence(path, 0, str(error)) from error
            yield path, self._checkpoint(path, 0, note), note

    def _check_cosigned(self, path: Path, seen: Checkpoint, note: Note, checkpoint: Checkpoint) -> None:
        """What a witness has signed is one of the checkpoints."""
        if seen != checkpoint:
            raise CorruptEvidence(path, 0, "what the witness has seen is none of the checkpoints")
        try:
            witnesses = note.signed_by(self._proofs.witness_keys)
        except NoteError as error:
            raise CorruptEvidence(path, 0, str(error)) from error
        for key, time_s in witnesses.items():
            self.proven.witnessed[key.name] = seen.size, time_s

    # -- tiles ----------------------------------------------------------------------------------------------

    def _full(self, level: int, place: int, hashes: list[bytes], saved: int) -> None:
        path = tile_path(self._tile_directory, level, place)
        self._compare(path, level, place, hashes)
        self._check_partial(level, place, hashes)

    def _check_partial(self, level: int, place: int, hashes: list[bytes]) -> None:
        """What was written of a tile before it was full; as long as that is not there, whatever a checkpoint
        was made of."""
        full = tile_path(self._tile_directory, level, place)
        widths = partial_widths(full)
        missing = self._widths.pop(level, set()) - {0, *widths}
        if missing and not full.exists():
            raise CorruptEvidence(partial_tiles(full) / str(min(missing)), 0, "the tile is missing")
        for width in widths:
            path = partial_tiles(full) / str(width)
            if not 0 < width < WIDTH:
                raise CorruptEvidence(path, 0, "no tile is so wide")
            if width <= len(hashes):
                self._compare(path, level, place, hashes[:width])
            elif len(hashes) < WIDTH:
                raise CorruptEvidence(path, 0, "the tile is wider than the log is long")

    def _check_nothing_else(self) -> None:
        """There are no other tiles than those of the tree, which have all been compared."""
        for directory, _, names in os.walk(self._tile_directory):
            for name in names:
                path = Path(directory, name)
                place = place_of(path.relative_to(self._tile_directory))
                if name.endswith(".part"):
                    continue  # what a crash has left
                if place is None or (place[1] * WIDTH + place[2]) << HEIGHT * place[0] > self.size:
                    raise CorruptEvidence(path, 0, "the tree has no such tile")

    def _compare(self, path: Path, level: int, place: int, hashes: list[bytes]) -> None:
        expected = b"".join(hashes)
        try:
            octets = path.read_bytes()
        except FileNotFoundError:
            if (place * WIDTH + len(hashes)) << HEIGHT * level > self._signed_to():
                return  # the notary had not come so far
            raise CorruptEvidence(path, 0, "the tile is missing") from None
        self.proven.tiles += 1
        if octets == expected:
            return
        for number, each in enumerate(hashes):
            if octets[number * HASH_OCTETS : (number + 1) * HASH_OCTETS] != each:
                index = ((place * WIDTH + number) << HEIGHT * level) + FIRST_INDEX
                of = f"record {index}" if not level else f"the records from {index} on"
                raise CorruptEvidence(path, number * HASH_OCTETS, f"the tile has another hash of {of}")
        raise CorruptEvidence(path, len(expected), "the tile is longer than it may be")

    def _signed_to(self) -> int:
        """The largest size that a checkpoint read so far speaks of."""
        return self.proven.size if self._next is None else self._next[1].size
