"""Checking the tree offline: that tiles and checkpoints are those of the records, and who signed them.

It grows a tree of its own over the records as they are read, compares each tile on disk with it, and its root
with each checkpoint at the size that this one speaks of.  Thereby any two of them are consistent: both are
of one growing tree.  Where the first segments have been taken away, the tree begins with the tiles of what is
gone; these must lead to each other, and every checkpoint shows whether they were right.

A ledger may be at work meanwhile.  What it signed before the check began is checked; of what it goes on to
write nothing is expected.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from storage.errors import CorruptEvidence
from storage.history import Proven
from storage.lock import is_locked
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import CHECKPOINT_NAME, Entry, cosigned_paths, extent, signed
from storage.proofs.merkle import HASH_OCTETS, leaf_hashes, root_of, tree_root
from storage.proofs.notary import LOCK_NAME, TILE_NAME
from storage.proofs.note import Note, NoteError, VerifierKey
from storage.proofs.tiles import (
    HEIGHT,
    WIDTH,
    GrowingTree,
    TileMissing,
    Tiles,
    levels_of,
    partial_tiles,
    partial_widths,
    place_of,
    tile_name,
    tile_path,
)
from storage.segment import FIRST_INDEX


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
        self._was_in_use = is_locked(directory / LOCK_NAME)

    @property
    def in_use(self) -> bool:
        """Whether a ledger has been at work since, or is."""
        self._was_in_use = (
            self._was_in_use or is_locked(self.directory / LOCK_NAME) or extent(self.directory) != self.days
        )
        return self._was_in_use


class _Seen(NamedTuple):
    """A checkpoint that a witness has signed."""

    size: int
    path: Path
    checkpoint: Checkpoint
    note: Note


class TreeCheck(GrowingTree):
    """The tree over the records of a log, compared with its proofs. Raises CorruptEvidence."""

    def __init__(self, proofs: Proofs, first_index: int) -> None:
        """`first_index`: of the first record that is still here."""
        size = first_index - FIRST_INDEX
        self._proofs = proofs
        self._tile_directory = proofs.directory / TILE_NAME
        self.proven = Proven()
        self._entries = signed(proofs.days, proofs.log_key.name)
        self._next: tuple[Entry, Checkpoint] | None = None
        self._published = self._read_published()
        self._published_seen = False
        self._seen = sorted(self._read_cosigned(), key=lambda each: each.size)
        # Leaves since the last root that was right: if the next one is not, the wrong one is among them.
        self._since: list[bytes] = []
        # By level: the widths in which the tile that is not full yet stood under a checkpoint.
        self._widths: defaultdict[int, set[int]] = defaultdict(set)
        try:
            tiles = Tiles(self._tile_directory, size)
            super().__init__(size, [tiles.edge(level) for level in range(levels_of(size))])
            self._check_gone(tiles)
            self._advance()
            while (stop := self._stop()) is not None and stop <= size:
                self._check_at(stop, tree_root(stop, tiles.subtree))
        except TileMissing as missing:
            raise CorruptEvidence(self._tile_directory, 0, str(missing)) from missing

    def add(self, records: Sequence[bytes]) -> None:
        """The next records of the log."""
        leaves = leaf_hashes(records)
        start = 0
        while (size := self._stop()) is not None and size <= self.size + len(leaves) - start:
            stop = start + size - self.size
            self._take(leaves[start:stop])
            start = stop
            self._check_at(size, self.root())
            self._since.clear()
        self._take(leaves[start:] if start else leaves)

    def finish(self, end: Path) -> None:
        """The log ends here, in this file."""
        first = self.size + FIRST_INDEX
        if self._next is not None:
            last = self._next[1].size
            for entry in self._entries:
                last = Checkpoint.parse(entry.note.text).size
            raise CorruptEvidence(end, 0, f"records {first} to {last} were signed and are gone")
        if self._seen:
            last = self._seen[-1].size
            raise CorruptEvidence(end, 0, f"records {first} to {last} were seen by a witness and are gone")
        for name, (size, _) in self.proven.witnessed.items():
            if size > self.proven.size:
                raise CorruptEvidence(
                    self._proofs.directory,
                    0,
                    f"{name} has seen {size} records, and {self.proven.size} are signed here: the checkpoints"
                    " after that are gone",
                )
        for level, place, hashes in self.edges():
            self._check_partial(level, place, hashes)
        if not self._proofs.in_use:
            self._check_published()
            self._check_nothing_else()

    # -- records --------------------------------------------------------------------------------------------

    def _take(self, leaves: list[bytes]) -> None:
        if self._next is not None:
            self._since += leaves
        self.extend(leaves)

    def _stop(self) -> int | None:
        """The size at which the root has to be looked at next."""
        if self._next is None:
            return self._seen[0].size if self._seen else None
        size = self._next[1].size
        return min(size, self._seen[0].size) if self._seen else size

    # -- checkpoints ----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Read the next checkpoint: it is signed by the log, and larger than the one before."""
        before = 0 if self._next is None else self._next[1].size
        entry = next(self._entries, None)
        if entry is None:
            self._next = None
            return
        self._published_seen = self._published_seen or entry.note.encode() == self._published
        checkpoint = self._checkpoint(entry.path, entry.offset, entry.note)
        if checkpoint.size <= before:
            raise CorruptEvidence(
                entry.path, entry.offset, f"a checkpoint of {checkpoint.size} records after one of {before}"
            )
        self._next = entry, checkpoint

    def _checkpoint(self, path: Path, offset: int, note: Note) -> Checkpoint:
        key = self._proofs.log_key
        try:
            if not note.signed_by((key,)):
                raise CorruptEvidence(path, offset, f"it is not signed by {key}: is that the log's key?")
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise CorruptEvidence(path, offset, str(error)) from error
        if checkpoint.origin != key.name:
            raise CorruptEvidence(path, offset, f"the checkpoint is of {checkpoint.origin}")
        return checkpoint

    def _check_at(self, size: int, root: bytes) -> None:
        """What was signed at this size names this root."""
        while self._seen and self._seen[0].size == size:
            self._check_seen(self._seen.pop(0), root)
        if self._next is None or self._next[1].size != size:
            return
        entry, checkpoint = self._next
        if root != checkpoint.root:
            raise self._blame(entry, checkpoint)
        self.proven.checkpoints += 1
        self.proven.size = size
        for level in range(levels_of(size)):
            place, width = divmod(size >> HEIGHT * level, WIDTH)
            if place == self.size >> HEIGHT * (level + 1):  # else it was full before the first record here
                self._widths[level].add(width)
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

    def _read_published(self) -> bytes:
        try:
            return (self._proofs.directory / CHECKPOINT_NAME).read_bytes()
        except OSError:
            return b""

    def _check_published(self) -> None:
        """The newest that is shown is one that was signed; after a crash it may be an older one, until the
        ledger starts again."""
        if not self._published_seen and self.proven.checkpoints:
            path = self._proofs.directory / CHECKPOINT_NAME
            what = "none of the checkpoints that were signed" if self._published else "missing"
            raise CorruptEvidence(path, 0, f"it is {what} (the next start of `jingxin ledger` writes it)")

    # -- witnesses ------------------------------------------------------------------------------------------

    def _read_cosigned(self) -> Iterator[_Seen]:
        for path in cosigned_paths(self._proofs.directory):
            try:
                note = Note.parse(path.read_bytes())
            except NoteError as error:
                raise CorruptEvidence(path, 0, str(error)) from error
            except OSError as failure:
                raise CorruptEvidence(path, 0, failure.strerror or str(failure)) from failure
            checkpoint = self._checkpoint(path, 0, note)
            yield _Seen(checkpoint.size, path, checkpoint, note)

    def _check_seen(self, seen: _Seen, root: bytes) -> None:
        """What a witness has signed is the log as it stands here."""
        if seen.checkpoint.root != root:
            raise CorruptEvidence(
                seen.path, 0, f"the log of {seen.size} records that a witness has seen is another one"
            )
        try:
            witnesses = seen.note.signed_by(self._proofs.witness_keys)
        except NoteError as error:
            raise CorruptEvidence(seen.path, 0, str(error)) from error
        for key, time_s in witnesses.items():
            self.proven.witnessed[key.name] = seen.size, time_s

    # -- tiles ----------------------------------------------------------------------------------------------

    def _full(self, level: int, place: int, hashes: list[bytes], saved: int) -> None:
        self._compare(level, place, hashes)
        self._check_partial(level, place, hashes)

    def _check_gone(self, tiles: Tiles) -> None:
        """Full tiles of records that have been taken away lead to each other."""
        for level in range(levels_of(tiles.size) - 1):
            for place in range(tiles.size >> HEIGHT * (level + 1)):
                hashes = tiles.full(level, place)
                if root_of(hashes) != tiles.subtree(HEIGHT * (level + 1), place):
                    path = tile_path(self._tile_directory, level, place)
                    raise CorruptEvidence(path, 0, "the tile does not lead to the one above it")
                self.proven.tiles += 1

    def _check_partial(self, level: int, place: int, hashes: list[bytes]) -> None:
        """What was written of a tile before it was full; as long as that is not there, whatever a checkpoint
        was made of."""
        full = f"{self._tile_directory}/{tile_name(level, place)}"
        widths = partial_widths(full)
        missing = self._widths.pop(level, set()) - {0, *widths}
        if missing and not os.path.exists(full):
            raise CorruptEvidence(Path(partial_tiles(full), str(min(missing))), 0, "the tile is missing")
        for width in widths:
            if not 0 < width < WIDTH:
                raise CorruptEvidence(Path(partial_tiles(full), str(width)), 0, "no tile is so wide")
            if width <= len(hashes):
                self._compare(level, place, hashes[:width])
            elif len(hashes) < WIDTH and not self._proofs.in_use:
                reason = "the tile is wider than the log is long"
                raise CorruptEvidence(Path(partial_tiles(full), str(width)), 0, reason)

    def _check_nothing_else(self) -> None:
        """There are no other tiles than those of the tree, which have all been compared."""
        skipped = len(f"{self._tile_directory}/")
        for directory, _, names in os.walk(self._tile_directory):
            for name in names:
                path = f"{directory}/{name}"
                if name.endswith(".part"):
                    continue  # what a crash has left
                found = place_of(path[skipped:])
                if found is None or (found[1] * WIDTH + found[2]) << HEIGHT * found[0] > self.size:
                    raise CorruptEvidence(Path(path), 0, "the tree has no such tile")

    def _compare(self, level: int, place: int, hashes: list[bytes]) -> None:
        """A tile, in the width of `hashes`, is as the tree has it. Where it stands costs as much to put
        together as to read, unless it stays text."""
        expected = b"".join(hashes)
        file = f"{self._tile_directory}/{tile_name(level, place, len(hashes))}"
        try:
            with open(file, "rb", buffering=0) as tile:
                octets = tile.read()
        except FileNotFoundError:
            if (place * WIDTH + len(hashes)) << HEIGHT * level > self._signed_to():
                return  # the notary had not come so far
            if len(hashes) < WIDTH and self._proofs.in_use:
                return  # the tile has become full
            raise CorruptEvidence(Path(file), 0, "the tile is missing") from None
        except OSError as failure:
            raise CorruptEvidence(Path(file), 0, failure.strerror or str(failure)) from failure
        self.proven.tiles += 1
        if octets == expected:
            return
        for number, each in enumerate(hashes):
            if octets[number * HASH_OCTETS : (number + 1) * HASH_OCTETS] != each:
                index = ((place * WIDTH + number) << HEIGHT * level) + FIRST_INDEX
                of = f"record {index}" if not level else f"the records from {index} on"
                raise CorruptEvidence(Path(file), number * HASH_OCTETS, f"the tile has another hash of {of}")
        raise CorruptEvidence(Path(file), len(expected), "the tile is longer than it may be")

    def _signed_to(self) -> int:
        """The largest size that a checkpoint read so far speaks of."""
        return self.proven.size if self._next is None else self._next[1].size
