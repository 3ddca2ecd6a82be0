"""The keys that sign: the log's own, and a witness's, each a line in a file that nobody else may read.

The line is the one that other tools for signed notes write: `PRIVATE+KEY+name+id+base64 of kind and seed`.
Beside it, under the same name with `.pub`, stands the verifier key for everybody.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Final

from storage.durable import create_file_durably, make_directory, write_file_durably
from storage.errors import KeyFileError
from storage.keys import read_secret
from storage.proofs.note import LOG, WITNESS, NoteError, Signer, VerifierKey

_PREFIX: Final = "PRIVATE+KEY+"
_SEED_OCTETS: Final = 32


def public_path(path: Path) -> Path:
    """Where the verifier key to a private one stands."""
    return path.with_name(f"{path.name}.pub")


def make_signing_key(path: Path, name: str, kind: int) -> VerifierKey:
    """Make a key, and put its public half beside it.

    Raises KeyFileError when either file exists, since what was signed by it could not be continued, and for a
    name that no key can have.
    """
    if not path.exists() and public_path(path).exists():
        raise KeyFileError(
            f"{public_path(path)} stands without its private key: put that back from its copy; if it is lost,"
            " move the .pub away, and begin proofs anew with a key that you give to the other party"
        )
    seed = os.urandom(_SEED_OCTETS)
    try:
        verifier = Signer(name, kind, seed).verifier
    except NoteError as error:
        raise KeyFileError(str(error)) from error
    line = f"{_PREFIX}{name}+{verifier.key_id.hex()}+{base64.b64encode(bytes((kind,)) + seed).decode()}\n"
    make_directory(path.parent, 0o700)
    try:
        create_file_durably(path, line.encode(), 0o600)
    except FileExistsError as taken:
        raise KeyFileError(
            f"{path} exists already and is never overwritten; remove it yourself if you mean to"
        ) from taken
    write_public_key(path, verifier)
    return verifier


def write_public_key(path: Path, verifier: VerifierKey) -> None:
    """Put the public half beside a key; `path`: of the private one."""
    write_file_durably(public_path(path), f"{verifier}\n".encode(), 0o644)


def read_signing_key(path: Path, kind: int, *, guarded: bool = False) -> Signer:
    """Raises KeyFileError: missing, readable by others (`guarded`: as in keys.read_master_key), no key, or
    one for another purpose."""
    try:
        text = read_secret(path, guarded=guarded).decode("ascii")
        name, key_id, encoded = text.removeprefix(_PREFIX).split("+", 2)
        octets = base64.b64decode(encoded, validate=True)
        if not text.startswith(_PREFIX) or len(octets) != 1 + _SEED_OCTETS:
            raise ValueError
        signer = Signer(name, octets[0] if octets[0] in (LOG, WITNESS) else kind, octets[1:])
    except (ValueError, NoteError):
        raise KeyFileError(
            f"{path}: wants one line {_PREFIX}name+id+key; `jingxin keys init` makes one"
        ) from None
    if octets[0] != kind:
        wanted = "a log" if kind == LOG else "a witness"
        raise KeyFileError(f"{path}: the key is not one of {wanted}")
    if signer.verifier.key_id.hex() != key_id:
        raise KeyFileError(f"{path}: the key has another id than the line says: it is damaged")
    return signer


def read_verifier_key(path: Path) -> VerifierKey:
    """The verifier key in a file. Raises KeyFileError."""
    try:
        return VerifierKey.parse(path.read_text("utf-8"))
    except OSError as failure:
        raise KeyFileError(f"{path}: {failure.strerror}") from failure
    except (NoteError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: {error}") from error
