"""Every checkpoint that was signed, and the newest of them for whoever wants to see it.

    checkpoints/YYYY-MM-DD   all of a day in Asia/Shanghai, oldest first, each a signed note and an empty line
    checkpoint               the newest

What is signed is written and synced here before anybody sees it.  So a note that a crash cut short at the end
of the last file was seen by nobody, and is taken away; any other octet that is wrong is damage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from storage.durable import DISK, make_directory
from storage.errors import CorruptEvidence
from storage.note import Note, NoteError
from storage.seal import day_of

CHECKPOINT_NAME: Final = "checkpoint"
CHECKPOINTS_NAME: Final = "checkpoints"


def read_day(path: Path, *, last: bool) -> tuple[list[tuple[int, Note]], int]:
    """The notes of a day, each with its offset, and the octets that they take.

    `last`: it is the newest day, whose last note may be cut short; that is left out. Raises CorruptEvidence.
    """
    octets = path.read_bytes()
    notes: list[tuple[int, Note]] = []
    offset = 0
    while offset < len(octets):
        # The text and the lines of signatures each end with an empty line.
        text_end = octets.find(b"\n\n", offset)
        end = octets.find(b"\n\n", text_end + 2) if text_end >= 0 else -1
        if end < 0:
            if last:
                break
            raise CorruptEvidence(path, offset, "a checkpoint is cut short, and later ones follow")
        try:
            notes.append((offset, Note.parse(octets[offset : end + 1])))
        except NoteError as error:
            raise CorruptEvidence(path, offset, str(error)) from error
        offset = end + 2
    return notes, offset


def day_paths(directory: Path) -> list[Path]:
    """The files of all days, oldest first. `directory`: that of the proofs."""
    return sorted((directory / CHECKPOINTS_NAME).glob("????-??-??"))


def signed_notes(directory: Path) -> Iterator[tuple[Path, int, Note]]:
    """Every note in the order of signing, with its file and offset. Raises CorruptEvidence."""
    paths = day_paths(directory)
    for path in paths:
        notes, _ = read_day(path, last=path is paths[-1])
        for offset, note in notes:
            yield path, offset, note


class Checkpoints:
    """Keeps what is signed. For one writer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_directory(directory / CHECKPOINTS_NAME)
        self._path = Path()
        self._descriptor = -1
        self._offset = 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def recover(self) -> Note | None:
        """The newest note; what a crash left unfinished behind it is cut off. Raises CorruptEvidence."""
        newest: Note | None = None
        for path in reversed(day_paths(self.directory)):
            notes, octets = read_day(path, last=True)
            if octets < path.stat().st_size:
                if newest is not None:
                    raise CorruptEvidence(path, octets, "a checkpoint is cut short, and later ones follow")
                self._open(path)
                os.ftruncate(self._descriptor, octets)
                DISK.sync_data(path, self._descriptor)
                self.close()
            if notes:
                newest = notes[-1][1]
                break
        published = self.directory / CHECKPOINT_NAME
        if newest is None and published.exists():
            raise CorruptEvidence(
                published, 0, "the checkpoints before it are gone: restore them from a copy"
            )
        if newest is not None:
            self._publish(newest)
        return newest

    def append(self, note: Note, now_us: int) -> None:
        """Keep a note for good, then let it be seen. Raises DurabilityLost, NoRoom."""
        path = self.directory / CHECKPOINTS_NAME / day_of(now_us)
        if path != self._path or self._descriptor < 0:
            newer = [other for other in day_paths(self.directory) if other > path]
            self._open(newer[-1] if newer else path)  # the clock went back: the order of signing counts
        octets = note.encode() + b"\n"
        DISK.write_at(self._path, self._descriptor, (octets,), self._offset)
        # The moment of commitment: from here on nothing else may ever be signed that does not extend this.
        DISK.sync_data(self._path, self._descriptor)
        self._offset += len(octets)
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
