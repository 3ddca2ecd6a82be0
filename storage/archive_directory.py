"""The directory of an archive: its files, their digests, and whether all of it is as it was made.

    evidence/NNN.seg     whole segments, octet by octet; then perhaps the beginning of the next one, up to the
                         batch that the last checkpoint ends with: without it nobody could check that one
    proofs/              the tiles and checkpoints up to there, laid out as those of the log
    log.pub              the verifier key of the log
    manifest.json        which log, which records, and the SHA-256 of every other file

There are no keys in it: whoever destroys the keys of a day has erased its content here as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from storage.durable import NO_ROOM_ERRORS, Disk
from storage.errors import CorruptEvidence, DurabilityLost, EvidenceError, NoRoom
from storage.proofs.note import VerifierKey
from storage.proofs.verify_tree import Proofs
from storage.segment import SEGMENT_HEADER_OCTETS, Frame, SegmentHeader, SegmentReader, segment_paths
from storage.verify import verify

EVIDENCE_NAME: Final = "evidence"
PROOFS_NAME: Final = "proofs"
KEY_NAME: Final = "log.pub"
MANIFEST_NAME: Final = "manifest.json"

VERSION: Final = 1

# Read and written at once.
_CHUNK_OCTETS: Final = 1 << 20


class ArchiveError(EvidenceError):
    """Nothing can be archived, taken away or put back. One line with the remedy."""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What an archive is of. Hashes are in hexadecimal. first_index, last_index, segments: of the whole
    segments. chain_in, chain_out: the hash of the last batch before them, and of their last one. signed: the
    size that the last checkpoint speaks of, from last_index on. sha256: by path within the directory."""

    version: int
    log: str
    identity: str
    first_index: int
    last_index: int
    first_day: str
    last_day: str
    chain_in: str
    chain_out: str
    signed: int
    segments: list[str]
    sha256: dict[str, str]


class Extent(Struct, frozen=True):
    """A segment as its frames have it. Times: when its first and its last batch were written."""

    path: Path
    header: SegmentHeader
    last_index: int
    first_us: int
    last_us: int


def extent_of(path: Path) -> Extent:
    """Going by frame headers. Raises CorruptEvidence, also for a segment without a batch: of a log only the
    last one may have none."""
    with SegmentReader(path) as reader:
        offset = last = SEGMENT_HEADER_OCTETS
        next_index = reader.header.first_index
        while (found := reader.skim(offset)) is not None:
            last, offset = offset, found[2]
            next_index = found[0] + found[1]
        first_us, last_us = (_time_us(reader, place) for place in (SEGMENT_HEADER_OCTETS, last))
        return Extent(path, reader.header, next_index - 1, first_us, last_us)


def _time_us(reader: SegmentReader, offset: int) -> int:
    """When the batch there was written."""
    frame = reader.frame_at(offset)
    if not isinstance(frame, Frame):
        raise CorruptEvidence(reader.path, offset, "no batch can be read here")
    return frame.time_us


class NewDirectory:
    """A directory that is filled under another name and has its own once it is whole and on disk."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Raises ArchiveError where something stands there already."""
        self.part = path.with_name(f"{path.name}.part")
        self.sha256: dict[str, str] = {}
        self._path = path
        self._disk = disk
        for taken, remedy in ((path, "name another"), (self.part, "remove what was left unfinished there")):
            if os.path.lexists(taken):
                raise ArchiveError(f"{taken} exists: {remedy}")
        self.part.mkdir(mode=0o750)

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """A file, on disk when this returns; its directories are made. Raises NoRoom, DurabilityLost."""
        path = self.part / name
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.sha256[name] = write_new_file(path, chunks, self._disk)

    def finish(self) -> None:
        """Give it its name. The moment of commitment: from here on there is this archive."""
        self._disk.rename(self.part, self._path)
        self._disk.sync_directory(self._path.parent)

    def sync(self) -> None:
        """All names in it are on disk when this returns."""
        for directory, _, _ in os.walk(self.part, topdown=False):
            self._disk.sync_directory(Path(directory))


def write_new_file(path: Path, chunks: Iterable[bytes], disk: Disk) -> str:
    """Write and sync a file that is not there yet; returns its SHA-256. Its name is durable only when the
    directory is synced. Raises NoRoom, DurabilityLost."""
    digest = hashlib.sha256()
    descriptor = disk.create(path, os.O_WRONLY | os.O_EXCL, 0o640)
    offset = 0
    try:
        for chunk in chunks:
            disk.write_at(path, descriptor, (chunk,), offset)
            digest.update(chunk)
            offset += len(chunk)
        disk.sync_data(path, descriptor)
    except DurabilityLost as failure:
        if failure.errno in NO_ROOM_ERRORS:
            raise NoRoom(f"{path}: no disk space for it") from failure
        raise
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def chunks_of(path: Path, octets: int | None = None) -> Iterator[bytes]:
    """The octets of a file, the first so many of them, or all."""
    with path.open("rb") as file:
        left = path.stat().st_size if octets is None else octets
        while left and (chunk := file.read(min(left, _CHUNK_OCTETS))):
            left -= len(chunk)
            yield chunk


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(archive: Path) -> Manifest:
    """Raises ArchiveError where there is none, CorruptEvidence."""
    path = archive / MANIFEST_NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise ArchiveError(f"{archive} is no archive: name a directory with a {MANIFEST_NAME}") from None
    except msgspec.DecodeError as error:
        raise CorruptEvidence(path, 0, str(error)) from error
    named = [f"{EVIDENCE_NAME}/{name}" for name in manifest.segments]
    if manifest.version != VERSION or not named or not manifest.sha256.keys() >= set(named):
        raise CorruptEvidence(path, 0, f"no archive of version {VERSION}")
    return manifest


def check_archive(
    archive: Path, key: VerifierKey, progress: Callable[[int, int], None] | None = None
) -> Manifest:
    """The manifest of an archive that is as it was made, and of which every record was signed by the log.

    progress: as of `verify`. Contradictions between records are no damage: they are evidence too. Raises
    ArchiveError, CorruptEvidence.
    """
    manifest = read_manifest(archive)
    for name, digest in manifest.sha256.items():
        path = archive / name
        if not path.is_file():
            raise CorruptEvidence(path, 0, f"it is missing, and {MANIFEST_NAME} names it")
        if sha256_of(path) != digest:
            raise CorruptEvidence(path, 0, f"it has not the SHA-256 that {MANIFEST_NAME} names")
    check_content(archive, manifest, key, progress)
    return manifest


def check_content(
    directory: Path, manifest: Manifest, key: VerifierKey, progress: Callable[[int, int], None] | None = None
) -> None:
    """That segments and proofs are sound, and are those that the manifest speaks of. Raises
    CorruptEvidence."""
    evidence = directory / EVIDENCE_NAME
    report = verify(evidence, progress, proofs=Proofs(directory / PROOFS_NAME, key))
    if report.damage is not None:
        raise CorruptEvidence(report.damage.path, report.damage.offset, report.damage.reason)
    if report.torn_tail is not None:
        raise CorruptEvidence(*report.torn_tail[:2], "the segment ends within a batch")
    signed = 0 if report.proven is None else report.proven.size
    paths = segment_paths(evidence)
    whole = [path for path in paths if path.name in manifest.segments]
    if not whole:
        raise CorruptEvidence(evidence, 0, f"it has none of the segments that {MANIFEST_NAME} names")
    first, last = extent_of(whole[0]), extent_of(whole[-1])
    found = (
        report.identity.hex(),
        [path.name for path in whole],
        (first.header.first_index, last.last_index),
        (first.header.chain.hex(), _chain_behind(paths, len(whole), report.last_hash).hex()),
        signed,
    )
    said = (
        manifest.identity,
        manifest.segments,
        (manifest.first_index, manifest.last_index),
        (manifest.chain_in, manifest.chain_out),
        manifest.signed,
    )
    if found != said or signed < manifest.last_index:
        raise CorruptEvidence(directory / MANIFEST_NAME, 0, "it does not speak of the records that are here")


def _chain_behind(paths: list[Path], whole: int, last_hash: bytes) -> bytes:
    """The hash of the last batch of the whole segments: what stands behind them names it."""
    if whole == len(paths):
        return last_hash
    with SegmentReader(paths[whole]) as reader:
        return reader.header.chain
