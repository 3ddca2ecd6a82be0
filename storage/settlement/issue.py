"""Statements on disk: which checkpoint one is tied to, its versions, and the note that signs each.

    statements/2026-06..2026-11/v1/statement.json   what counts
                                   statement.note   the log's signature over the hashes of all the others
                                   contract.toml …  copies of what it follows from besides the evidence
                                   …                the same for people

A version is never changed or removed: another one is made beside it where the figures are others, and its
note names the one before. What a crash leaves of one in the making (`.part`) was seen by nobody.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from storage.durable import DISK, create_file_durably, make_directory
from storage.errors import CorruptEvidence, EvidenceError
from storage.listing import listed
from storage.lock import lock_file
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import CHECKPOINTS_NAME, extent, published, signed
from storage.proofs.note import Note, NoteError, Signer, VerifierKey, from_base64
from storage.reader import LogReader
from storage.seal import day_of
from storage.settlement.statement import Statement

STATEMENTS_NAME: Final = "statements"
STATEMENT_NAME: Final = "statement.json"
NOTE_NAME: Final = "statement.note"
LOCK_NAME: Final = "lock"

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

    def read(self) -> Statement:
        """Raises StatementError where the octets are no statement."""
        try:
            return Statement.decode(self.statement)
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            where = self.directory / STATEMENT_NAME
            raise StatementError(f"{where}: not as a statement is written: {error}") from error


class Checked(NamedTuple):
    """A version that is whole and signed. former: the hash of the version before, or nothing for the first;
    files: what stands beside statement and note, by name."""

    statement: Statement
    former: bytes
    files: Mapping[str, bytes]


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


def note_text(
    log: str, period: str, version: int, digest: bytes, former: bytes, files: Mapping[str, bytes]
) -> str:
    """What is signed; files: the hashes of the others by name. Its second line is no number, so that it can
    never be taken for a checkpoint."""
    lines = (
        f"{log}/statement",
        f"{period} version {version}",
        _base64(digest),
        _base64(former) if former else _NO_FORMER,
        *(f"{name} {_base64(files[name])}" for name in sorted(files)),
    )
    return "".join(f"{line}\n" for line in lines)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def period_of(statement: Statement) -> str:
    """The name of the directory in which its versions stand."""
    return f"{statement.first_month}..{statement.last_month}"


def versions(directory: Path, period: str) -> list[Issued]:
    """The versions of a period's statement, the first one first, each about its own statement and made after
    the one before. No signature is checked. Raises StatementError."""
    found = _beside(directory / period)
    if [issued.version for issued in found] != list(range(1, len(found) + 1)):
        raise StatementError(f"{directory / period}: a version is missing: restore it from a copy")
    _check_chain(found, period)
    return found


def _beside(directory: Path) -> list[Issued]:
    """Every version in the directory of a period, by number."""
    found = [read_version(path) for path in listed(directory) if _VERSION.fullmatch(path.name)]
    return sorted(found, key=lambda issued: issued.version)


def read_version(directory: Path) -> Issued:
    """What stands in the directory of a version. Raises StatementError."""
    match = _VERSION.fullmatch(directory.resolve().name)
    if match is None:
        beside = [path for path in listed(directory) if _VERSION.fullmatch(path.name)]
        newest = max(beside, key=lambda path: int(path.name[1:]), default=None)
        wanted = "its directory is called v1, v2 …" if newest is None else f"name one, such as {newest}"
        raise StatementError(f"{directory}: no version of a statement: {wanted}")
    try:
        octets = (directory / STATEMENT_NAME).read_bytes()
        note = Note.parse((directory / NOTE_NAME).read_bytes())
    except (OSError, NoteError) as error:
        raise StatementError(f"{directory}: {error}: restore it from a copy") from error
    return Issued(directory, int(match[1]), octets, note)


def issue(
    directory: Path, statement: Statement, signer: Signer, inputs: Mapping[str, bytes], render: Render
) -> tuple[Issued, bool]:
    """Put a statement in place for good, with copies of what it follows from (inputs, by name of the file);
    returns it, and whether it is a new version.

    The same figures make no new version. Raises NoRoom, DurabilityLost, and StatementError: also where
    another statement has some of these months, as after a change of the contract's anchor.
    """
    with _alone(directory):
        _check_apart(directory, statement)
        return _issue(directory, statement, signer, inputs, render)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two at once would write into one `.part`, and call different figures by one number."""
    make_directory(directory)
    try:
        descriptor = lock_file(directory / LOCK_NAME)
    except BlockingIOError as error:
        raise StatementError("another statement is being made: try again") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _check_apart(directory: Path, statement: Statement) -> None:
    for path in listed(directory):
        first, dots, last = path.name.partition("..")
        if not dots or path.name == period_of(statement):
            continue
        overlaps = first <= statement.last_month and statement.first_month <= last
        if overlaps and any(_VERSION.fullmatch(each.name) for each in listed(path)):
            raise StatementError(
                f"{path}: months of {period_of(statement)} have a statement, and would be paid twice: were"
                " settlement.anchor or settlement.months changed? (if that is agreed, move it out of this"
                " directory)"
            )


def _issue(
    directory: Path, statement: Statement, signer: Signer, inputs: Mapping[str, bytes], render: Render
) -> tuple[Issued, bool]:
    period = period_of(statement)
    octets = statement.encode()
    before = versions(directory, period)
    if before and before[-1].statement == octets:
        return before[-1], False
    version = len(before) + 1
    digest = sha256(octets).digest()
    others = {**inputs, **render(version, digest.hex())}
    former = before[-1].digest if before else b""
    text = note_text(statement.evidence.log, period, version, digest, former, _digests(others))
    note = Note(text, (signer.sign(text),))
    target = directory / period / f"v{version}"
    part = target.with_suffix(".part")
    make_directory(part.parent)
    shutil.rmtree(part, ignore_errors=True)
    make_directory(part)
    for name, content in {STATEMENT_NAME: octets, NOTE_NAME: note.encode(), **others}.items():
        create_file_durably(part / name, content, 0o640)
    # The moment of commitment: from here on this version is there, and never changes.
    DISK.rename(part, target)
    DISK.sync_directory(target.parent)
    return Issued(target, version, octets, note), True


def _digests(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: sha256(content).digest() for name, content in files.items()}


def check_version(issued: Issued, log_key: VerifierKey) -> Checked:
    """What stands in a version, once it is known to be what the log signed.

    Where other versions of its period stand beside it, in the directory that is called as the period, it has
    to fit in with them; those that are not there are not missed. Raises StatementError.
    """
    statement = issued.read()
    said = _said(issued, statement)
    where = issued.directory / NOTE_NAME
    try:
        if not issued.note.signed_by((log_key,)):
            raise StatementError(f"{where}: not signed by {log_key}")
    except NoteError as error:
        raise StatementError(f"{where}: {error}") from error
    files = _check_files(issued.directory, said.files)
    place, period = issued.directory.resolve().parent, period_of(statement)
    if place.name == period:
        beside = (each for each in _beside(place) if each.version != issued.version)
        _check_chain(sorted((issued, *beside), key=lambda each: each.version), period)
    return Checked(statement, said.former, files)


class _Said(NamedTuple):
    """What a note says of other files: the hash of the version before, and hashes by name."""

    former: bytes
    files: Mapping[str, bytes]


def _said(issued: Issued, statement: Statement) -> _Said:
    """Raises StatementError where the note is not over this statement."""
    lines = issued.note.text.split("\n")[3:-1]
    former = b""
    files: dict[str, bytes] = {}
    with suppress(ValueError):  # then the text below is another one
        if lines and lines[0] != _NO_FORMER:
            former = from_base64(lines[0])
        for line in lines[1:]:
            name, _, encoded = line.partition(" ")
            files[name] = from_base64(encoded)
    period = period_of(statement)
    expected = note_text(statement.evidence.log, period, issued.version, issued.digest, former, files)
    if issued.note.text != expected or bool(former) != (issued.version > 1):
        raise StatementError(
            f"{issued.directory}: {STATEMENT_NAME} is not the one that {NOTE_NAME} signs, or that is the note"
            " of another version: restore both from a copy"
        )
    return _Said(former, files)


def _check_files(directory: Path, digests: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files beside statement and note, which are those that the note names, and nothing else."""
    there = {path.name: path for path in directory.iterdir()}
    for name in sorted(there.keys() - digests.keys() - {STATEMENT_NAME, NOTE_NAME}):
        raise StatementError(f"{there[name]}: not of this version: remove it")
    files = {}
    for name, digest in digests.items():
        if name not in there or not there[name].is_file():  # to open a pipe would wait for ever
            raise StatementError(f"{directory / name}: missing: restore it from a copy")
        files[name] = there[name].read_bytes()
        if sha256(files[name]).digest() != digest:
            raise StatementError(f"{directory / name}: not the file that was signed: restore it from a copy")
    return files


def _check_chain(found: list[Issued], period: str) -> None:
    """Each is about its own statement, and the next was made after it. By number; gaps are passed over."""
    formers = {}
    for issued in found:
        statement = issued.read()
        if period_of(statement) != period:
            raise StatementError(
                f"{issued.directory}: a statement of {period_of(statement)}, not of {period}"
            )
        formers[issued.version] = _said(issued, statement).former
    for before, after in pairwise(found):
        if after.version == before.version + 1 and formers[after.version] != before.digest:
            raise StatementError(
                f"{before.directory}: not the statement that v{after.version} was made after: restore it from"
                " a copy"
            )
