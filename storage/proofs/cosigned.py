"""What witnesses have given back: a cosigned checkpoint of each is kept among the proofs."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from storage.durable import make_directory, write_file_durably
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import COSIGNED_NAME, COSIGNED_SUFFIX, extent, signed
from storage.proofs.note import Note, NoteError, VerifierKey


def keep(
    proofs: Path, octets: bytes, log_key: VerifierKey, witness_keys: Sequence[VerifierKey]
) -> dict[str, int]:
    """Keep a cosigned note, if it is one of our checkpoints and some of these witnesses have signed it; where
    a newer one of a witness is there already, that stays.

    Returns the records that each of them has seen, by name. Raises NoteError, CorruptEvidence.
    """
    note = Note.parse(octets)
    if not note.signed_by((log_key,)):
        raise NoteError(f"the checkpoint is not signed by {log_key}")
    witnesses = note.signed_by(witness_keys)
    if not witnesses:
        raise NoteError("none of the witnesses in evidence.witnesses has signed it")
    size = Checkpoint.parse(note.text).size
    if not any(entry.note.text == note.text for entry in signed(extent(proofs), log_key.name)):
        raise NoteError("it is none of the checkpoints that were signed here")
    make_directory(proofs / COSIGNED_NAME)
    kept = {}
    for key in witnesses:
        path = _path(proofs, key)
        kept[key.name] = max(size, _size(path))
        if kept[key.name] == size:
            write_file_durably(path, octets, 0o640)
    return kept


def last_signed_s(proofs: Path, witness_key: VerifierKey) -> int:
    """When the witness signed what is kept of it, in seconds since the epoch; 0 if that is nothing."""
    try:
        note = Note.parse(_path(proofs, witness_key).read_bytes())
        return note.signed_by((witness_key,)).get(witness_key, 0)
    except (FileNotFoundError, NoteError):
        return 0


def _path(proofs: Path, witness_key: VerifierKey) -> Path:
    name = sha256(str(witness_key).encode()).hexdigest()[:32]
    return proofs / COSIGNED_NAME / f"{name}{COSIGNED_SUFFIX}"


def _size(path: Path) -> int:
    """How many records the witness has seen by what is kept of it; 0 if that is nothing."""
    try:
        return Checkpoint.parse(Note.parse(path.read_bytes()).text).size
    except (FileNotFoundError, NoteError):
        return 0
