"""Every checkpoint that was signed, and the newest of them for whoever wants to see it.

    checkpoints/YYYY-MM-DD   all of a day in Asia/Shanghai, oldest first
    checkpoint               the newest, a signed note

A day's file begins with a line that says which chain it continues.  Then for each checkpoint come its note
and a line with the hash over the chain so far and this note, each closed by an empty line; so none of them
can be taken out, put in or moved without a trace.  All hashes are SHA-256 in base64; the chain begins with
32 zero octets.

What is signed is written and synced here before anybody sees it.  So what a crash cut short at the end of the
last file was seen by nobody, and is taken away; any other octet that is wrong is damage.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from storage.durable import DISK, NO_ROOM_ERRORS, make_directory
from storage.errors import CorruptEvidence, DurabilityLost, NoRoom, NoSuchRecord
from storage.listing import listed
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.note import Note, NoteError, VerifierKey
from storage.seal import day_of

CHECKPOINT_NAME: Final = "checkpoint"
CHECKPOINTS_NAME: Final = "checkpoints"
COSIGNED_NAME: Final = "cosigned"  # what witnesses have given back, a file for each
COSIGNED_SUFFIX: Final = ".cosigned"

_DAY_NAME: Final = re.compile(r".{4}-.{2}-.{2}")
_CHAIN_START: Final = bytes(32)
_END: Final = b"\n\n"


class Entry(msgspec.Struct, frozen=True):
    """A checkpoint as it stands in the file of its day."""

    path: Path
    offset: int
    note: Note


def day_paths(directory: Path) -> list[Path]:
    """The files of all days, oldest first. `directory`: that of the proofs."""
    return sorted(path for path in listed(directory / CHECKPOINTS_NAME) if _DAY_NAME.fullmatch(path.name))


def extent(directory: Path) -> list[tuple[Path, int]]:
    """The files of all days and their octets, as they are now: a ledger may go on writing."""
    return [(path, path.stat().st_size) for path in day_paths(directory)]


def signed(days: Sequence[tuple[Path, int]], origin: str) -> Iterator[Entry]:
    """Every checkpoint that was signed, in that order, as far as an `extent` goes; one that is cut short at
    the very end was seen by nobody, and is left out. Raises CorruptEvidence.

    Files of the first days may be gone; those of later days may not. `origin`: of the log, whose checkpoints
    begin with it.
    """
    chain: bytes | None = None
    for number, (path, octets) in enumerate(days, 1):
        day = _Day(path, chain, octets)
        yield from day.entries()
        if day.cut_short and number < len(days):
            raise CorruptEvidence(path, day.end, "a checkpoint is cut short, and later ones follow")
        if not day.may_be_cut_short(origin):
            raise CorruptEvidence(path, day.end, "what stands here is not the beginning of a checkpoint")
        chain = day.chain


def published(directory: Path) -> Note:
    """The newest checkpoint. Raises NoSuchRecord where there is none yet, CorruptEvidence."""
    path = directory / CHECKPOINT_NAME
    try:
        return _read_note(path)
    except FileNotFoundError:
        raise NoSuchRecord(f"{path}: nothing is signed yet: `jingxin ledger` does that") from None


def check_key(directory: Path, log_key: VerifierKey) -> None:
    """Raises NoteError where the newest checkpoint names another key: whoever takes a wrong one should not
    hear that something is damaged. What cannot be read is for `verify` to find."""
    try:
        signatures = published(directory).signatures
    except (NoSuchRecord, CorruptEvidence, OSError):
        return
    if not any((each.name, each.key_id) == (log_key.name, log_key.key_id) for each in signatures):
        names = " and ".join(f"{each.name}+{each.key_id.hex()}" for each in signatures)
        raise NoteError(
            f"{directory / CHECKPOINT_NAME}: it is signed by {names}, not by"
            f" {log_key.name}+{log_key.key_id.hex()}: name the verifier key of this log"
        )


def _read_note(path: Path) -> Note:
    try:
        return Note.parse(path.read_bytes())
    except NoteError as error:
        raise CorruptEvidence(path, 0, str(error)) from error


def signed_records(directory: Path) -> int:
    """How many records the newest checkpoint speaks of; 0 where there is none, or none that can be read."""
    try:
        return Checkpoint.parse(published(directory).text).size
    except (NoSuchRecord, CorruptEvidence, NoteError, OSError):
        return 0


def cosigned_paths(directory: Path) -> list[Path]:
    """What witnesses have given back. `directory`: that of the proofs."""
    return sorted(path for path in listed(directory / COSIGNED_NAME) if path.suffix == COSIGNED_SUFFIX)


def newest_with(directory: Path, index: int) -> tuple[Note, int]:
    """The checkpoint by which to prove a record, and its size: the newest that a witness has seen, if the
    record is in it, else the newest of all. Raises NoSuchRecord where it is in none, CorruptEvidence."""
    witnessed = [_read_note(path) for path in cosigned_paths(directory)]
    for notes in (witnessed, [published(directory)]):
        sized = [(Checkpoint.parse(note.text).size, note) for note in notes]
        size, note = max(sized, key=lambda each: each[0], default=(0, None))
        if note is not None and size >= index:
            return note, size
    raise NoSuchRecord(f"record {index} is in no checkpoint yet: the ledger signs every second")


def newest_up_to(directory: Path, size: int) -> Checkpoint:
    """The newest that was signed of at most so many records. Raises NoSuchRecord, CorruptEvidence."""
    for path in reversed(day_paths(directory)):
        found = None
        for entry in _Day(path, None).entries():
            checkpoint = Checkpoint.parse(entry.note.text)
            if checkpoint.size > size:
                break
            found = checkpoint
        if found is not None:
            return found
    raise NoSuchRecord(f"{directory}: nothing of the first {size} records is signed: the ledger does that")


class _Day:
    """The file of one day, read from its beginning."""

    def __init__(self, path: Path, chain: bytes | None, octets: int | None = None) -> None:
        """`chain`: that it has to continue; None: whichever it says. `octets`: to read; None: all."""
        self.path = path
        self._octets = path.read_bytes()[:octets]
        self.chain = chain or _CHAIN_START
        self.count = 0  # entries that were read
        self.end = self._octets.find(_END) + len(_END)  # of what is whole
        if self.end < len(_END):
            self.end = 0
            return
        head = self._octets[: self.end]
        if chain is not None and head != _line(chain):
            raise CorruptEvidence(path, 0, "it does not continue the checkpoints of the day before")
        self.chain = _read_line(path, 0, head)

    @property
    def cut_short(self) -> bool:
        return self.end < len(self._octets)

    def may_be_cut_short(self, origin: str) -> bool:
        """Whether what stands behind the last whole checkpoint can be what a crash left of the next one."""
        rest = self._octets[self.end :]
        begins = f"{origin}\n".encode() if self.end else _line(self.chain)
        return rest.startswith(begins) or begins.startswith(rest)

    def entries(self) -> Iterator[Entry]:
        """Raises CorruptEvidence; stops where the file does, or where the last one is cut short."""
        octets = self._octets
        while self.end:
            offset = self.end
            text_end = octets.find(_END, offset)
            note_end = octets.find(_END, text_end + 2) + 1 if text_end >= 0 else 0
            end = octets.find(_END, note_end + 1) + len(_END) if note_end > 0 else 0
            if end < len(_END):
                return
            written = octets[offset:note_end]
            try:
                note = Note.parse(written)
            except NoteError as error:
                raise CorruptEvidence(self.path, offset, str(error)) from error
            chain = sha256(self.chain + written).digest()
            if octets[note_end + 1 : end] != _line(chain) or octets[note_end : note_end + 1] != b"\n":
                raise CorruptEvidence(self.path, note_end, "a checkpoint does not continue those before it")
            self.chain, self.end = chain, end
            self.count += 1
            yield Entry(self.path, offset, note)


def _line(chain: bytes) -> bytes:
    return base64.b64encode(chain) + _END


def _read_line(path: Path, offset: int, line: bytes) -> bytes:
    try:
        chain = base64.b64decode(line.removesuffix(_END), validate=True)
    except ValueError:
        chain = b""
    if len(chain) != len(_CHAIN_START) or _line(chain) != line:
        raise CorruptEvidence(path, offset, "no line of the chain")
    return chain


class Checkpoints:
    """Keeps what is signed. For one writer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_directory(directory / CHECKPOINTS_NAME)
        self._path = Path()
        self._descriptor = -1
        self._offset = 0
        self._chain = _CHAIN_START

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def newest(self) -> Note | None:
        """The newest that was signed, going by the files of the days. Changes nothing. Raises
        CorruptEvidence."""
        note: Note | None = None
        for day in self._last_days():
            for entry in day.entries():
                note = entry.note
        return note

    def shown(self) -> Iterator[tuple[Path, Note]]:
        """Checkpoints that were shown to somebody, as far as they can be read: none of them may be newer than
        the newest, or those before it are gone."""
        for path in (self.directory / CHECKPOINT_NAME, *cosigned_paths(self.directory)):
            try:
                yield path, Note.parse(path.read_bytes())
            except (OSError, NoteError):
                continue  # a checkpoint is shown without a sync: after a crash there may be anything

    def recover(self) -> None:
        """Go on behind the newest: what a crash left unfinished there is cut off, and it is shown again.

        Raises CorruptEvidence, DurabilityLost, NoRoom.
        """
        note: Note | None = None
        for day in self._last_days():
            for entry in day.entries():
                note = entry.note
            self._chain = day.chain
            self._open(day.path)
            if day.cut_short:
                os.ftruncate(self._descriptor, day.end)
                DISK.sync_data(day.path, self._descriptor)
                self._offset = day.end
        if note is not None:
            self._publish(note)

    def _last_days(self) -> Iterator[_Day]:
        """The newest day, and those before it until there is one with a checkpoint: of a file that was begun
        when a crash came there may be nothing."""
        for path in reversed(day_paths(self.directory)):
            day = _Day(path, None)
            yield day
            if day.count:
                return

    def append(self, note: Note, now_us: int) -> None:
        """Keep a note for good, then let it be seen. Raises DurabilityLost, NoRoom; after that it is of no
        use, and the next start finds what stands there."""
        path = self.directory / CHECKPOINTS_NAME / day_of(now_us)
        # Where the clock goes back, the order of signing counts.
        if self._descriptor < 0 or path > self._path:
            self._open(path)
        written = note.encode()
        chain = sha256(self._chain + written).digest()
        octets = b"" if self._offset else _line(self._chain)
        octets += written + b"\n" + _line(chain)
        try:
            DISK.write_at(self._path, self._descriptor, (octets,), self._offset)
        except DurabilityLost as failure:
            if failure.errno in NO_ROOM_ERRORS:
                raise NoRoom(f"{self._path}: no disk space for a checkpoint") from failure
            raise
        # The moment of commitment: from here on nothing else may ever be signed that does not extend this.
        DISK.sync_data(self._path, self._descriptor)
        self._offset += len(octets)
        self._chain = chain
        self._publish(note)

    def _open(self, path: Path) -> None:
        self.close()
        made = not path.exists()
        self._descriptor = DISK.create(path, os.O_RDWR, 0o640)
        self._path = path
        self._offset = os.fstat(self._descriptor).st_size
        if made:
            DISK.sync_directory(path.parent)

    def _publish(self, note: Note) -> None:
        """Put the note where others look. It is not synced: `recover` puts the newest there again."""
        target = self.directory / CHECKPOINT_NAME
        part = target.with_name(f"{CHECKPOINT_NAME}.part")
        try:
            part.write_bytes(note.encode())
            os.replace(part, target)
        except OSError as failure:
            if failure.errno in NO_ROOM_ERRORS:
                raise NoRoom(f"{target}: no disk space for a checkpoint") from failure
            raise DurabilityLost(target, "write", failure) from failure
