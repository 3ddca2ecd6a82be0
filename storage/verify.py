"""Checking a log offline, by anybody who has the files: the octets first, then what the records say together.

Octets: segment headers, frame checksums, the hash chain within and across segments, record counts and
lengths, and that each record decodes. The first place that is wrong is reported and ends the check, since
nothing behind it can be trusted to be where it seems. Meaning: see history.

A log in use is checked up to its durable end at the beginning; what comes after that is still being written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from storage.errors import ContentErased, CorruptEvidence, KeyFileError
from storage.history import Damage, History, VerifyReport
from storage.keys import Keyring, key_file_name, read_key_file
from storage.lock import is_locked
from storage.proofs.verify_tree import Proofs, TreeCheck
from storage.reader import MARK_NAME, DurableMark, LogReader
from storage.records import AnyRecord, decode
from storage.segment import (
    FIRST_INDEX,
    FRAME_HEADER_OCTETS,
    LENGTH,
    NO_HASH,
    SEGMENT_HEADER_OCTETS,
    Chain,
    Frame,
    SegmentHeader,
    SegmentReader,
    check_neighbours,
    segment_paths,
)


def verify(
    directory: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    keys_directory: Path | None = None,
    keyring: Keyring | None = None,
    proofs: Proofs | None = None,
) -> VerifyReport:
    """Check a whole evidence directory, without writing to it. Never raises for what it finds there, but
    Unreadable where it may not look.

    `progress(octets done, octets of all files)` is called after each segment. `keys_directory` (default:
    `keys` in the evidence): where the data key files are compared with the KeyOpened records; `keyring`:
    opens them as well. `proofs`: tiles, checkpoints and cosignatures are checked too.
    """
    report = VerifyReport()
    history = History(report)
    marked = _marked(directory)  # before the segments: a log in use goes on growing
    try:
        _verify_segments(directory, report, history, proofs, progress or (lambda done, total: None))
    except CorruptEvidence as found:
        report.damage = Damage(found.path, found.offset, found.reason)
    history.close()
    if report.damage is None and marked > report.next_index:
        reason = f"records {report.next_index} to {marked - 1} had been durable and are gone"
        report.damage = Damage(directory / MARK_NAME, 0, reason)
    _verify_keys(history, keys_directory or directory / "keys", keyring)
    return report


def _verify_segments(
    directory: Path,
    report: VerifyReport,
    history: History,
    proofs: Proofs | None,
    progress: Callable[[int, int], None],
) -> None:
    paths = segment_paths(directory)
    total = sum(path.stat().st_size for path in paths)
    done = 0
    stop = _end_in_use(directory)
    previous: SegmentHeader | None = None
    chain = Chain(FIRST_INDEX, NO_HASH)
    tree: TreeCheck | None = None
    if proofs is not None and not paths:
        tree = TreeCheck(proofs, FIRST_INDEX)
    for path in paths:
        with SegmentReader(path) as reader:
            header = reader.header
            if previous is None:
                chain = Chain(header.first_index, header.chain)
                if header.first_index == FIRST_INDEX and header.chain != NO_HASH:
                    raise CorruptEvidence(path, 0, "the first segment continues a chain")
                report.first_index = report.next_index = header.first_index
                report.identity = header.identity
                history.begin(header.first_index)
                if proofs is not None:
                    tree = TreeCheck(proofs, header.first_index)
                    report.proven = tree.proven
            else:
                check_neighbours(path, header, previous)
                chain.check_header(path, header)
            previous = header
            report.segments += 1
            offset = SEGMENT_HEADER_OCTETS
            for frame in chain.walk(reader):
                _verify_frame(path, frame, report, history, tree)
                report.last_hash = chain.last_hash
                offset = frame.end
                if chain.next_index == stop:
                    break
            if chain.next_index == stop:
                break
            torn = reader.torn_tail(offset, last=path is paths[-1])
            if torn is not None:
                report.torn_tail = (path, torn.offset, torn.octets)
            done += reader.size
        progress(done, total)
    if tree is not None:
        tree.finish(paths[-1] if paths else directory)


def _marked(directory: Path) -> int:
    """The index that followed the last durable record, 0 if nothing says so.  The mark is set after each
    sync, so it never runs ahead of what the disk was made to keep."""
    try:
        with closing(DurableMark(directory, writable=False)) as mark:
            return mark.get()
    except FileNotFoundError:
        return 0


def _end_in_use(directory: Path) -> int | None:
    """The index that follows the durable end, while a gateway has the log open; None: nobody writes to it."""
    if not is_locked(directory / "lock"):
        return None
    with LogReader(directory) as reader:
        return reader.next_index


def _verify_frame(
    path: Path, frame: Frame, report: VerifyReport, history: History, tree: TreeCheck | None
) -> None:
    try:
        records = frame.records()
    except ValueError as failure:
        raise CorruptEvidence(path, frame.offset, str(failure)) from failure
    decoded: list[AnyRecord] = []
    try:
        decoded.extend(map(decode, records))
    except msgspec.DecodeError as failure:
        offset = frame.offset + FRAME_HEADER_OCTETS
        offset += sum(LENGTH.size + len(record) for record in records[: len(decoded)])
        raise CorruptEvidence(path, offset, f"not a record of this version: {failure}") from failure
    history.add(frame.first_index, decoded)
    if tree is not None:
        tree.add(records)
    report.frames += 1
    report.octets += frame.end - frame.offset
    report.records += frame.count
    report.next_index = frame.first_index + frame.count


def _verify_keys(history: History, directory: Path, keyring: Keyring | None) -> None:
    if not directory.is_dir():
        return  # whoever has no keys was given none, and cannot tell which are left
    erased = set()
    for reference, (index, record) in history.opened.items():
        path = directory / key_file_name(record.day, record.key_id)
        try:
            _day, key_id, _octets = read_key_file(path)
            if key_id != record.key_id:
                history.fault(index, f"{path} holds another key than this record opened")
            elif keyring is not None:
                keyring.key(reference)  # opens it, and checks that its id commits to it
        except (FileNotFoundError, ContentErased):
            if record.day in history.erasures:
                erased.add(record.day)
            else:
                history.fault(index, f"{path} is gone, and no record says that {record.day} was erased")
        except KeyFileError as failure:
            history.fault(index, str(failure))
    history.report.erased_days = sorted(erased)
