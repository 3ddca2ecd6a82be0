"""Old segments leave the host: archived with their proofs, then detached, and restored when they are wanted.

    archive   copy the segments and all that is needed to check them alone into DESTINATION.part → sync it →
              check the copy → rename it to DESTINATION → sync. A crash leaves what was not renamed, which has
              to be removed.
    detach    check the archive, all of it → sync the names in the evidence → for each of its segments, oldest
              first: it is the same octet by octet, and nothing keeps it → unlink → sync. A crash leaves the
              archive, and the segments from some one on: the evidence never has a gap, and what is missing
              from it is in the archive.
    restore   check the archive → for each segment that is missing in front, newest first: copy, sync, rename,
              sync. A crash leaves the evidence whole from some segment on.

Both of the latter go on where they were when they are repeated. The log, its readers and the ledger may run
meanwhile: what detach removes is nothing that they need.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from storage.archive_directory import (
    EVIDENCE_NAME,
    KEY_NAME,
    MANIFEST_NAME,
    PROOFS_NAME,
    VERSION,
    ArchiveError,
    Extent,
    Manifest,
    NewDirectory,
    check_archive,
    check_content,
    chunks_of,
    extent_of,
    sha256_of,
    write_new_file,
)
from storage.archive_proofs import Covering, copy_proofs, covering
from storage.durable import DISK, Disk
from storage.errors import CorruptEvidence, LogInUse
from storage.lock import lock_file
from storage.proofs.note import VerifierKey
from storage.reader import LogReader
from storage.retention import Survey
from storage.seal import day_of
from storage.segment import SEGMENT_HEADER_OCTETS, SegmentReader, segment_path, segment_paths

# One detach or restore at a time; in the evidence directory.
LOCK_NAME: Final = "archive.lock"
# A segment that is being put back; whoever looks for segments passes it over.
_PART_NAME: Final = "restore.part"

# The log turns to a new segment with the first tick after midnight, and a tick comes each second; so much of
# a day may stand in the last segment of the day before.
_TURN_US: Final = 5_000_000

Progress = Callable[[int, int], None]


class Needed(NamedTuple):
    """Somebody needs the records from this index on."""

    first_index: int
    who: str


class Detached(NamedTuple):
    """segments: taken away now. first_index: of the oldest record that is still here. kept: why the next
    segment of the archive stays, or empty where all of them are gone."""

    segments: int
    first_index: int
    kept: str


def index_of_day(evidence: Path, day_start_us: int) -> int:
    """The first index of the first segment that goes on into the day that begins then, or begins later: what
    stands before it is older. `archive` takes it as its bound. Raises CorruptEvidence."""
    paths = segment_paths(evidence)
    for path in paths[:-1]:
        found = extent_of(path)
        if found.last_us >= day_start_us + _TURN_US:
            return found.header.first_index
    return int(paths[-1].stem) if paths else 0


def archive(
    evidence: Path,
    proofs: Path,
    key: VerifierKey,
    destination: Path,
    before_index: int,
    progress: Progress | None = None,
    disk: Disk = DISK,
) -> Manifest:
    """Copy the finished segments that hold only records before `before_index`, with their proofs, and check
    the copy. The evidence is left as it is.

    `key`: of the log; `progress`: as of `verify`. Raises ArchiveError where there is nothing to be archived,
    where no checkpoint covers it, or where something stands at the destination; NoRoom, CorruptEvidence,
    TileMissing, DurabilityLost. Whatever is raised, nothing has the name of the destination.
    """
    chosen = list(
        takewhile(lambda each: each.last_index < before_index, map(extent_of, segment_paths(evidence)[:-1]))
    )
    if not chosen:
        finished = segment_paths(evidence)[:-1]
        ends = f"the oldest ends with record {extent_of(finished[0]).last_index}; " if finished else ""
        raise ArchiveError(
            f"{evidence}: nothing to archive: none of {len(finished)} finished segments ends before the"
            f" bound; {ends}the newest is never archived"
        )
    found = covering(proofs, key.name, chosen[-1].last_index)
    if found is None:
        raise ArchiveError(
            f"{proofs}: record {chosen[-1].last_index} is in no checkpoint yet: `jingxin ledger` signs it"
        )
    target = NewDirectory(destination, disk)
    try:
        manifest = _fill(target, evidence, proofs, key, chosen, found)
        target.sync()
        check_content(target.part, manifest, key, progress)
        target.finish()
    except BaseException:
        shutil.rmtree(target.part, ignore_errors=True)
        raise
    return manifest


def _fill(
    target: NewDirectory,
    evidence: Path,
    proofs: Path,
    key: VerifierKey,
    chosen: Sequence[Extent],
    found: Covering,
) -> Manifest:
    for each in chosen:
        target.write(f"{EVIDENCE_NAME}/{each.path.name}", chunks_of(each.path))
    first, last = chosen[0], chosen[-1]
    behind = segment_path(evidence, last.last_index + 1)
    with SegmentReader(behind) as reader:
        chain_out = reader.header.chain
    for path, octets in _reach(evidence, last.last_index + 1, found.size):
        target.write(f"{EVIDENCE_NAME}/{path.name}", chunks_of(path, octets))
    copy_proofs(proofs, found, target, PROOFS_NAME)
    target.write(KEY_NAME, (f"{key}\n".encode(),))
    manifest = Manifest(
        VERSION,
        key.name,
        first.header.identity.hex(),
        first.header.first_index,
        last.last_index,
        day_of(first.first_us),
        day_of(last.last_us),
        first.header.chain.hex(),
        chain_out.hex(),
        found.size,
        [each.path.name for each in chosen],
        dict(target.sha256),
    )
    target.write(MANIFEST_NAME, (msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n",))
    return manifest


def _reach(evidence: Path, index: int, size: int) -> Iterator[tuple[Path, int]]:
    """(segment, octets of it) from the segment that begins with this index up to the batch that holds the
    record `size`: a checkpoint can be checked only where all of its records are.

    They are durable, since they were signed.
    """
    while index <= size:
        path = segment_path(evidence, index)
        with SegmentReader(path) as reader:
            offset = SEGMENT_HEADER_OCTETS
            while index <= size and (skimmed := reader.skim(offset)) is not None:
                index, offset = skimmed[0] + skimmed[1], skimmed[2]
        if offset == SEGMENT_HEADER_OCTETS:
            raise CorruptEvidence(path, offset, f"record {index} was signed and cannot be read")
        yield path, offset


def detach(
    evidence: Path,
    archived: Path,
    key: VerifierKey,
    needed: Sequence[Needed],
    progress: Progress | None = None,
    disk: Disk = DISK,
) -> Detached:
    """Remove from the evidence, oldest first, the segments that the archive has, while nothing keeps them.

    A segment is kept that is the newest one, that a restart of the gateway needs, that `needed` names records
    of, that is on legal hold or opened one that is open, or that is not the same in the archive; and whatever
    stands behind it. `key`: of the log; `progress`: as of `verify`, of the archive.

    Raises ArchiveError for the archive of another log and where the first segment is kept already;
    CorruptEvidence, LogInUse, DurabilityLost.
    """
    manifest = check_archive(archived, key, progress)
    with _alone(evidence):
        _check_identity(evidence, manifest)
        # The names too by which we judge: after a crash the newest segment must not be an older one.
        disk.sync_directory(evidence)
        paths = segment_paths(evidence)
        keeper = _Keeper(evidence, paths[-1], needed, manifest)
        removed = 0
        kept = ""
        for path in paths:
            if path.name not in manifest.segments:
                break
            if kept := keeper.why_kept(path):
                break
            # The moment of commitment. Each removal is on disk before the next: no crash can leave a gap.
            path.unlink()
            disk.sync_directory(evidence)
            removed += 1
        if kept and not removed:
            raise ArchiveError(kept)
        return Detached(removed, int(segment_paths(evidence)[0].stem), kept)


class _Keeper:
    """What keeps segments of one evidence directory in their place."""

    def __init__(self, evidence: Path, newest: Path, needed: Sequence[Needed], manifest: Manifest) -> None:
        self._newest = newest
        self._manifest = manifest
        with SegmentReader(newest) as reader:
            restart = Needed(reader.header.low_water, "a restart of the gateway")
        self._needed = min((restart, *needed))
        self._survey = Survey(evidence)
        self._survey.read()

    def why_kept(self, path: Path) -> str:
        """In one line with the remedy; empty: nothing keeps it."""
        if path == self._newest:
            return f"{path}: the newest segment stays"
        found = extent_of(path)
        needed = self._needed
        if found.last_index >= needed.first_index:
            return (
                f"{path}: {needed.who} needs records from {needed.first_index} on, and this segment ends with"
                f" {found.last_index}: try again later"
            )
        if held := self._why_held(found):
            return f"{path}: {held}"
        if sha256_of(path) != self._manifest.sha256[f"{EVIDENCE_NAME}/{path.name}"]:
            return f"{path}: the archive has other octets under this name: check both by `evidence verify`"
        return ""

    def _why_held(self, found: Extent) -> str:
        first, last = day_of(found.first_us), day_of(found.last_us)
        if hold := self._survey.holding(min(first, last), max(first, last)):
            return hold.sentence
        for hold in self._survey.holds:
            if found.header.first_index <= hold.entry <= found.last_index:
                return f"the record that opened a hold stays with it: {hold.sentence}"
        return ""


def restore(
    archived: Path, evidence: Path, key: VerifierKey, progress: Progress | None = None, disk: Disk = DISK
) -> int:
    """Put back the segments of an archive that are missing in front of the evidence; returns how many.

    Raises ArchiveError for the archive of another log, and for one that does not end where the evidence
    begins; CorruptEvidence, NoRoom, LogInUse, DurabilityLost.
    """
    manifest = check_archive(archived, key, progress)
    with _alone(evidence):
        _check_identity(evidence, manifest)
        missing = _missing(evidence, manifest)
        part = evidence / _PART_NAME
        for name in reversed(missing):
            part.unlink(missing_ok=True)
            source = archived / EVIDENCE_NAME / name
            if write_new_file(part, chunks_of(source), disk) != manifest.sha256[f"{EVIDENCE_NAME}/{name}"]:
                raise CorruptEvidence(source, 0, "it has changed while it was copied")
            disk.rename(part, evidence / name)
            disk.sync_directory(evidence)
        return len(missing)


def _missing(evidence: Path, manifest: Manifest) -> list[str]:
    """The segments to be put back, oldest first. Raises ArchiveError unless they join what is there."""
    oldest = segment_paths(evidence)[0]
    missing = [name for name in manifest.segments if name < oldest.name]
    if not missing or len(missing) < len(manifest.segments):
        return missing  # the rest of them is there: they are of one log, and were one behind the other
    with SegmentReader(oldest) as reader:
        header = reader.header
    if header.first_index != manifest.last_index + 1 or header.chain.hex() != manifest.chain_out:
        raise ArchiveError(
            f"{evidence} begins with record {header.first_index}, and the archive ends with"
            f" {manifest.last_index}: restore the archives in between first, the newest of them at first"
        )
    return missing


def _check_identity(evidence: Path, manifest: Manifest) -> None:
    if not segment_paths(evidence):
        raise ArchiveError(f"{evidence}: no evidence here: look at gateway.state_dir")
    with LogReader(evidence) as reader:
        if reader.identity.hex() != manifest.identity:
            raise ArchiveError(f"{evidence}: the archive is of another log, {manifest.log}: name its own")


@contextmanager
def _alone(evidence: Path) -> Iterator[None]:
    """Raises LogInUse while another process detaches or restores."""
    if not evidence.is_dir():
        raise ArchiveError(f"{evidence}: no evidence here: look at gateway.state_dir")
    try:
        lock = lock_file(evidence / LOCK_NAME)
    except BlockingIOError:
        raise LogInUse(f"{evidence}: another process detaches or restores segments") from None
    try:
        yield
    finally:
        os.close(lock)
