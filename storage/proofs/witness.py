"""The witness: the other party of the contract, who has seen how the log grew and signs that it did.

It remembers the last checkpoint of each log that it cosigned.  A new one is cosigned only if a proof shows
that it extends that one, and only after it has been written down durably: should the log ever show somebody
else another history, two checkpoints with one witness's name cannot both exist.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Self

from storage.durable import make_directory, write_file_durably
from storage.errors import EvidenceError, LogInUse
from storage.lock import lock_file
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.merkle import ProofError, Subtree, check_consistency, consistency_proof, tree_root
from storage.proofs.note import Note, NoteError, Signer, VerifierKey


class WitnessRefused(EvidenceError):
    """The witness does not sign; the text says what it has seen before, and what it sees now."""


class Witness:
    """Cosigns the checkpoints of logs. Its directory belongs to one process at a time, until `close`."""

    def __init__(self, directory: Path, signer: Signer) -> None:
        """`directory`: what it remembers, a file for each log; its loss is the loss of its memory. Raises
        LogInUse."""
        make_directory(directory)
        try:
            self._lock = lock_file(directory / "lock")
        except BlockingIOError:
            raise LogInUse(f"{directory}: another witness is at work here") from None
        self.directory = directory
        self._signer = signer

    def close(self) -> None:
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def seen(self, origin: str) -> Note | None:
        """What was last cosigned of this log. Raises WitnessRefused where the file is something else."""
        path = self._path(origin)
        try:
            octets = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            note = Note.parse(octets)
            ours = note.signed_by((self._signer.verifier,))
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise WitnessRefused(f"{path}: {error}: restore it from a copy") from error
        if not ours or checkpoint.origin != origin:
            raise WitnessRefused(f"{path}: it is not what this witness wrote: restore it from a copy")
        return note

    def cosign(self, note: Note, log_key: VerifierKey, subtree: Subtree, time_s: int) -> Note:
        """The note with the witness's line.

        `subtree`: the complete subtrees of the tree that the note speaks of, from wherever they come: they
        are believed only as far as they lead to the two roots.  Raises WitnessRefused.
        """
        try:
            if not note.signed_by((log_key,)):
                raise WitnessRefused(f"the checkpoint is not signed by {log_key}")
            new = Checkpoint.parse(note.text)
        except NoteError as error:
            raise WitnessRefused(f"the checkpoint is no sound note: {error}") from error
        if new.origin != log_key.name:
            raise WitnessRefused(f"the checkpoint is of {new.origin}, and the key of {log_key.name}")
        before = self.seen(new.origin)
        if before is not None:
            self._check_extends(Checkpoint.parse(before.text), new, subtree)
        elif tree_root(new.size, subtree) != new.root:
            raise WitnessRefused(f"the tiles do not lead to the root of the checkpoint of {new.size} records")
        cosigned = note.signed_also(self._signer.sign(note.text, time_s))
        # The moment of commitment: from here on this witness has seen so much.
        write_file_durably(self._path(new.origin), cosigned.encode(), 0o640)
        return cosigned

    def _check_extends(self, old: Checkpoint, new: Checkpoint, subtree: Subtree) -> None:
        if new.size < old.size:
            raise WitnessRefused(
                f"the log has {new.size} records, and had {old.size} when it was cosigned last: records are"
                " gone. Keep the files as they are, and ask whoever keeps the log"
            )
        proof = consistency_proof(old.size, new.size, subtree)
        try:
            check_consistency(old.size, old.root, new.size, new.root, proof)
        except ProofError as error:
            raise WitnessRefused(
                f"the log of {new.size} records does not extend the one of {old.size} that was cosigned last"
                f" ({error}). Keep the files as they are, and ask whoever keeps the log"
            ) from error

    def _path(self, origin: str) -> Path:
        return self.directory / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.checkpoint"
