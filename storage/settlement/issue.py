"""Statements on disk: which checkpoint one is tied to, its versions, and the note that signs each.

    statements/2026-06..2026-11/v1/statement.json   what counts
                                   statement.note   the log's signature over its hash
                                   …                the same for people

A version is never changed or removed: another one is made beside it where the figures are others, and its
note names the one before. What a crash leaves of one in the making (`.part`) was seen by nobody.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from storage.checkpoint import Checkpoint
from storage.checkpoints import CHECKPOINTS_NAME, extent, published, signed
from storage.durable import DISK, create_file_durably, make_directory
from storage.errors import CorruptEvidence, EvidenceError
from storage.note import Note, NoteError, Signer, VerifierKey, from_base64
from storage.reader import LogReader
from storage.seal import day_of
from storage.settlement.statement import Statement

STATEMENTS_NAME: Final = "statements"
STATEMENT_NAME: Final = "statement.json"
NOTE_NAME: Final = "statement.note"

_VERSION: Final = re.compile(r"v([1-9][0-9]{0,5})")
_NO_FORMER: Final = "-"

# Renders a version for people: (version, SHA-256 in hexadecimal) to octets by the name of the file.
Render = Callable[[int, str], Mapping[str, bytes]]


class StatementError(EvidenceError):
    """A statement cannot be made, or is not what it has to be; one line says why."""


class Issued(NamedTuple):
    """A version on disk."""

    directory: Path
    version: int
    statement: bytes
    note: Note

    @property
    def digest(self) -> bytes:
        return sha256(self.statement).digest()


def tied_checkpoint(
    proofs: Path, reader: LogReader, log_key: VerifierKey, before_us: int
) -> tuple[Checkpoint, bool]:
    """The checkpoint that a statement is tied to, and whether it is final.

    It is the first, signed on a day that begins at `before_us` or later, whose last record was written at
    that time or later: the log has gone on beyond all that counts, and everybody finds the same one. Where
    there is none yet, it is the newest, and the statement is not final.

    Raises CorruptEvidence, NoSuchRecord where nothing was signed yet, StatementError for another's signature.
    """
    first_day = day_of(before_us)
    for path, octets in extent(proofs):
        if path.name < first_day:
            continue
        for entry in signed([(path, octets)], log_key.name):
            checkpoint = _own(entry.note, log_key, entry.path)
            frame = next(reader.frames(checkpoint.size, checkpoint.size + 1))
            if frame.time_us >= before_us:
                return checkpoint, True
    return _own(published(proofs), log_key, proofs / CHECKPOINTS_NAME), False


def _own(note: Note, log_key: VerifierKey, path: Path) -> Checkpoint:
    try:
        if not note.signed_by((log_key,)):
            raise StatementError(f"{path}: a checkpoint that {log_key} has not signed")
        return Checkpoint.parse(note.text)
    except NoteError as error:
        raise CorruptEvidence(path, 0, str(error)) from error


def note_text(log: str, period: str, version: int, digest: bytes, former: bytes) -> str:
    """What is signed. Its second line is no number, so that it can never be taken for a checkpoint."""
    lines = (
        f"{log}/statement",
        f"{period} version {version}",
        base64.b64encode(digest).decode(),
        base64.b64encode(former).decode() if former else _NO_FORMER,
    )
    return "".join(f"{line}\n" for line in lines)


def versions(directory: Path, period: str) -> list[Issued]:
    """The versions of a period's statement, the first one first. Raises StatementError."""
    found = []
    for path in (directory / period).glob("v*"):
        match = _VERSION.fullmatch(path.name)
        if match is not None:
            found.append(read_version(path, int(match[1])))
    found.sort(key=lambda issued: issued.version)
    if [issued.version for issued in found] != list(range(1, len(found) + 1)):
        raise StatementError(f"{directory / period}: a version is missing: restore it from a copy")
    return found


def read_version(path: Path, version: int) -> Issued:
    """What stands in the directory of a version. Raises StatementError."""
    try:
        octets = (path / STATEMENT_NAME).read_bytes()
        note = Note.parse((path / NOTE_NAME).read_bytes())
    except (FileNotFoundError, NoteError) as error:
        raise StatementError(f"{path}: {error}: restore it from a copy") from error
    return Issued(path, version, octets, note)


def issue(directory: Path, statement: Statement, signer: Signer, render: Render) -> tuple[Issued, bool]:
    """Put a statement in place for good; returns it, and whether it is a new version.

    The same figures make no new version. Raises StatementError, NoRoom, DurabilityLost.
    """
    period = f"{statement.first_month}..{statement.last_month}"
    octets = statement.encode()
    before = versions(directory, period)
    if before and before[-1].statement == octets:
        return before[-1], False
    version = len(before) + 1
    digest = sha256(octets).digest()
    text = note_text(statement.evidence.log, period, version, digest, before[-1].digest if before else b"")
    note = Note(text, (signer.sign(text),))
    target = directory / period / f"v{version}"
    part = target.with_suffix(".part")
    make_directory(part.parent)
    shutil.rmtree(part, ignore_errors=True)
    make_directory(part)
    files = {STATEMENT_NAME: octets, NOTE_NAME: note.encode(), **render(version, digest.hex())}
    for name, content in files.items():
        create_file_durably(part / name, content, 0o640)
    # The moment of commitment: from here on this version is there, and never changes.
    DISK.rename(part, target)
    DISK.sync_directory(target.parent)
    return Issued(target, version, octets, note), True


def check_note(issued: Issued, statement: Statement, log_key: VerifierKey) -> bytes:
    """The hash of the version before, or nothing for the first. Raises StatementError where the note is not
    over this statement, or not signed by the log."""
    lines = issued.note.text.split("\n")
    former = b""
    if len(lines) == 5 and lines[3] != _NO_FORMER:
        with suppress(ValueError):  # then the text below is another one
            former = from_base64(lines[3])
    period = f"{statement.first_month}..{statement.last_month}"
    expected = note_text(statement.evidence.log, period, issued.version, issued.digest, former)
    where = issued.directory / NOTE_NAME
    if issued.note.text != expected:
        raise StatementError(f"{where}: it is not about this statement and version")
    try:
        if not issued.note.signed_by((log_key,)):
            raise StatementError(f"{where}: not signed by {log_key}")
    except NoteError as error:
        raise StatementError(f"{where}: {error}") from error
    return former
