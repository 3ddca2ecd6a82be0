"""The notary: follows the evidence, grows the tree over its records, and signs how far it has come.

It reads durable records only, and signs a checkpoint only if the tree extends the last one that it signed:
at the start the tree is taken up where that one left it, and its root must be the one that was signed; from
there it only grows.  Where tiles are missing or are not those of that root, they are built anew from the
records, and if the records lead to another root, nothing is signed any more, since the evidence is not the
one that was signed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from storage.durable import make_directory
from storage.errors import CorruptEvidence, EvidenceError, KeyFileError, LogInUse
from storage.lock import lock_file
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import CHECKPOINTS_NAME, Checkpoints
from storage.proofs.merkle import leaf_hashes
from storage.proofs.note import Note, NoteError, Signer
from storage.proofs.tiles import StoredTree, TileMissing
from storage.reader import LogReader
from storage.segment import FIRST_INDEX

TILE_NAME: Final = "tile"
LOCK_NAME: Final = "lock"

# Records that one step takes, about a second of work: a checkpoint is signed after each, also while it
# catches up.
STEP_RECORDS: Final = 200_000


class EvidenceChanged(EvidenceError):
    """The evidence is not the one that was signed: records are gone, or others stand in their place."""


class Notary:
    """Grows the tree and signs checkpoints. One process at a time; `proofs/lock` sees to it."""

    def __init__(self, evidence: Path, proofs: Path, origin: str, signer: Signer) -> None:
        """Raises LogInUse where another process does the same, KeyFileError for the key of another log."""
        if signer.verifier.name != origin:
            raise KeyFileError(
                f"the signing key is that of {signer.verifier.name}, and this log is called {origin}:"
                " name the key that was made for it, or call the gateway as before"
            )
        make_directory(proofs)
        try:
            self._lock = lock_file(proofs / LOCK_NAME)
        except BlockingIOError:
            raise LogInUse(f"{proofs}: another ledger process signs here") from None
        self.origin = origin
        self._signer = signer
        self._tiles = proofs / TILE_NAME
        self._checkpoints = Checkpoints(proofs)
        self._reader = LogReader(evidence)
        self._tree = StoredTree(self._tiles)
        self.signed: Checkpoint | None = None  # the last one

    def close(self) -> None:
        self._reader.close()
        self._checkpoints.close()
        os.close(self._lock)

    def __enter__(self) -> Notary:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Records in the tree."""
        return self._tree.size

    @property
    def behind(self) -> int:
        """Durable records that are not in the tree yet."""
        return self._reader.next_index - FIRST_INDEX - self._tree.size

    def recover(self) -> None:
        """Take up the tree where the last checkpoint left it.

        Raises EvidenceChanged, CorruptEvidence, DurabilityLost; then nothing was changed.
        """
        note = self._checkpoints.newest()
        self.signed = None if note is None else self._own(note)
        self._check_shown()
        if self.signed is not None:
            self._take_up(self.signed)
        self._checkpoints.recover()

    def _check_shown(self) -> None:
        """Nobody was shown a checkpoint that is newer than the last one, or another."""
        size = 0 if self.signed is None else self.signed.size
        for path, note in self._checkpoints.shown():
            try:
                ours = note.signed_by((self._signer.verifier,))
                shown = Checkpoint.parse(note.text)
            except NoteError:
                continue  # what a crash left of it
            if ours and (shown.size > size or (shown.size == size and shown != self.signed)):
                raise EvidenceChanged(
                    f"{path}: a checkpoint of {shown.size} records was shown, and the last one that is kept"
                    f" here is of {size}: restore {CHECKPOINTS_NAME} from a copy"
                )

    def _take_up(self, signed: Checkpoint) -> None:
        if self._reader.next_index - FIRST_INDEX < signed.size:
            raise EvidenceChanged(
                f"{self._reader.directory}: records {self._reader.next_index} to {signed.size} were signed"
                " and are gone: restore the segments from a copy; or, where these are whole and the file"
                " `durable` is an older copy, start the gateway, which sets it"
            )
        try:
            self._tree = StoredTree.load(self._tiles, signed.size)
            whole = self._tree.root() == signed.root
        except TileMissing:
            whole = False
        if not whole:
            self._build_anew(signed)

    def _own(self, note: Note) -> Checkpoint:
        """The checkpoint in a note of our own."""
        try:
            if not note.signed_by((self._signer.verifier,)):
                raise EvidenceChanged(
                    f"the last checkpoint was not signed by {self._signer.verifier}: give this log the key"
                    " that it was begun with"
                )
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise EvidenceChanged(f"the last checkpoint is damaged: {error}") from error
        return checkpoint

    def _build_anew(self, signed: Checkpoint) -> None:
        """Make the tiles from the records, as far as they were signed."""
        if self._reader.first_index != FIRST_INDEX:
            raise EvidenceChanged(
                f"{self._tiles}: tiles are missing or wrong, and segments that they could be made from are"
                " not here: restore the tiles, or the segments, from a copy"
            )
        self._tree = StoredTree(self._tiles)
        self._grow(signed.size)
        if self._tree.root() != signed.root:
            raise EvidenceChanged(
                f"{self._reader.directory}: the first {signed.size} records are not those that were signed"
            )
        self._tree.save()

    def step(self, now_us: int) -> bool:
        """Take up what has become durable, at most STEP_RECORDS, and sign; whether there was anything.

        Raises CorruptEvidence, EvidenceChanged, DurabilityLost, NoRoom.
        """
        durable = self._reader.next_index - FIRST_INDEX
        if durable < self._tree.size:
            raise EvidenceChanged(
                f"{self._reader.directory}: it ends with record {durable}, and {self._tree.size} are signed"
            )
        self._grow(min(durable, self._tree.size + STEP_RECORDS))
        if self._tree.size == (self.signed.size if self.signed else 0):
            return False
        self._tree.save()
        checkpoint = Checkpoint(self.origin, self._tree.size, self._tree.root())
        text = checkpoint.text()
        self._checkpoints.append(Note(text, (self._signer.sign(text),)), now_us)
        self.signed = checkpoint
        return True

    def _grow(self, size: int) -> None:
        """Let the tree have so many leaves."""
        tree = self._tree
        if tree.size == size:
            return
        for frame in self._reader.frames(FIRST_INDEX + tree.size, FIRST_INDEX + size):
            try:
                records = frame.records()
            except ValueError as failure:
                raise CorruptEvidence(self._reader.directory, frame.offset, str(failure)) from failure
            skipped = FIRST_INDEX + tree.size - frame.first_index
            assert 0 <= skipped < frame.count, "the reader gives the frames that hold these records"
            tree.extend(leaf_hashes(records[skipped : FIRST_INDEX + size - frame.first_index]))
