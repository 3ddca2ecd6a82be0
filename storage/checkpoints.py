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
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from storage.checkpoint import Checkpoint
from storage.durable import DISK, make_directory
from storage.errors import CorruptEvidence, NoSuchRecord
from storage.note import Note, NoteError
from storage.seal import day_of

CHECKPOINT_NAME: Final = "checkpoint"
CHECKPOINTS_NAME: Final = "checkpoints"
COSIGNED_NAME: Final = "cosigned"  # what witnesses have given back, a file for each

_CHAIN_START: Final = bytes(32)
_END: Final = b"\n\n"


class Entry(msgspec.Struct, frozen=True):
    """A checkpoint as it stands in the file of its day. chain: up to it and with it."""

    path: Path
    offset: int
    note: Note
    chain: bytes


def day_paths(directory: Path) -> list[Path]:
    """The files of all days, oldest first. `directory`: that of the proofs."""
    return sorted((directory / CHECKPOINTS_NAME).glob("????-??-??"))


def extent(directory: Path) -> list[tuple[Path, int]]:
    """The files of all days and their octets, as they are now: a ledger may go on writing."""
    return [(path, path.stat().st_size) for path in day_paths(directory)]


def signed(days: Sequence[tuple[Path, int]]) -> Iterator[Entry]:
    """Every checkpoint that was signed, in that order, as far as an `extent` goes; one that is cut short at
    the very end was seen by nobody, and is left out. Raises CorruptEvidence.

    Files of the first days may be gone; those of later days may not.
    """
    chain: bytes | None = None
    for number, (path, octets) in enumerate(days, 1):
        day = _Day(path, chain, octets)
        yield from day.entries()
        if day.cut_short and number < len(days):
            raise CorruptEvidence(path, day.end, "a checkpoint is cut short, and later ones follow")
        chain = day.chain


def published(directory: Path) -> Note:
    """The newest checkpoint. Raises NoSuchRecord where there is none yet, CorruptEvidence."""
    path = directory / CHECKPOINT_NAME
    try:
        return Note.parse(path.read_bytes())
    except FileNotFoundError:
        raise NoSuchRecord(f"{path}: nothing is signed yet: `jingxin ledger` does that") from None
    except NoteError as error:
        raise CorruptEvidence(path, 0, str(error)) from error


def signed_records(directory: Path) -> int:
    """How many records the newest checkpoint speaks of; 0 where there is none, or none that can be read."""
    try:
        return Checkpoint.parse(published(directory).text).size
    except (NoSuchRecord, CorruptEvidence, NoteError, OSError):
        return 0


def newest_with(directory: Path, index: int) -> tuple[Note, int]:
    """The checkpoint by which to prove a record, and its size: the newest one that a witness has seen, if the
    record is in it, else the newest of all. Raises NoSuchRecord where it is in none."""
    notes = [published(directory)]
    notes += [Note.parse(path.read_bytes()) for path in sorted((directory / COSIGNED_NAME).glob("*"))]
    sized = [(len(note.signatures), Checkpoint.parse(note.text).size, note) for note in notes]
    able = [each for each in sized if each[1] >= index]
    if not able:
        raise NoSuchRecord(f"record {index} is in no checkpoint yet: the ledger signs every second")
    _, size, note = max(able, key=lambda each: each[:2])
    return note, size


class _Day:
    """The file of one day, read from its beginning."""

    def __init__(self, path: Path, chain: bytes | None, octets: int | None = None) -> None:
        """`chain`: that it has to continue; None: whichever it says. `octets`: to read; None: all."""
        self.path = path
        self._octets = path.read_bytes()[:octets]
        self.chain = chain or _CHAIN_START
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
            yield Entry(self.path, offset, note, chain)


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

    def recover(self) -> Note | None:
        """The newest note; what a crash left unfinished behind it is cut off. Raises CorruptEvidence."""
        newest: Note | None = None
        # From the newest day that has any; a crash may have left the mere beginning of a file behind it.
        for path in reversed(day_paths(self.directory)):
            day = _Day(path, None)
            for entry in day.entries():
                newest = entry.note
            self._chain = day.chain
            self._open(path)
            if day.cut_short:
                os.ftruncate(self._descriptor, day.end)
                DISK.sync_data(path, self._descriptor)
                self._offset = day.end
            if day.end:
                break
        published = self.directory / CHECKPOINT_NAME
        if newest is None and published.exists():
            raise CorruptEvidence(published, 0, "the checkpoints before it are gone")
        if newest is not None:
            self._publish(newest)
        return newest

    def append(self, note: Note, now_us: int) -> None:
        """Keep a note for good, then let it be seen. Raises DurabilityLost, NoRoom."""
        path = self.directory / CHECKPOINTS_NAME / day_of(now_us)
        if (
            self._descriptor < 0 or path > self._path
        ):  # where the clock goes back, the order of signing counts
            self._open(path)
        written = note.encode()
        chain = sha256(self._chain + written).digest()
        octets = b"" if self._offset else _line(self._chain)
        octets += written + b"\n" + _line(chain)
        DISK.write_at(self._path, self._descriptor, (octets,), self._offset)
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
        part.write_bytes(note.encode())
        os.replace(part, target)
