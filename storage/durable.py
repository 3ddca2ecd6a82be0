"""Everything that touches the disk for keeps: every write of evidence, sync, rename and removal.

Two rules, both from the ways disks really fail:

* A failed sync is never retried. After a failed fsync the kernel may mark the pages clean, so that a second
  fsync succeeds although the octets are lost. Every failure here raises DurabilityLost, and the process ends.
* A file's name is durable only when its directory is synced too.

The log takes these functions as one object (`Disk`), so that tests put a failing disk in its place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from storage.errors import DurabilityLost, NoRoom

# What the operating system says when space, quota or the file size limit is used up: more room mends it.
NO_ROOM_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """The steps from which durability is made, one system call each. Stateless; safe from any thread."""

    def create(self, path: Path, flags: int, mode: int) -> int:
        """Make the file and open it; returns its descriptor. `flags`: besides O_CREAT and O_CLOEXEC.

        Raises NoRoom when the directory cannot grow (nothing was made), FileExistsError, DurabilityLost.
        """
        try:
            return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode)
        except FileExistsError:
            raise
        except OSError as failure:
            if failure.errno in NO_ROOM_ERRORS:
                raise NoRoom(f"{path}: no disk space for a new file") from failure
            raise DurabilityLost(path, "creation", failure) from failure

    def write_at(self, path: Path, descriptor: int, buffers: Sequence[bytes], offset: int) -> None:
        """Write all of `buffers`, one behind the other, at `offset`. Not durable before `sync_data`.

        Raises DurabilityLost; some of it may then stand in the file.
        """
        total = sum(map(len, buffers))
        try:
            written = os.pwritev(descriptor, buffers, offset)
            # The kernel may write less than asked (a signal, a limit); what is left is a new write, not a
            # retry.
            while written < total:
                rest = memoryview(b"".join(buffers))[written:]
                written += os.pwrite(descriptor, rest, offset + written)
        except OSError as failure:
            raise DurabilityLost(path, "write", failure) from failure

    def sync_data(self, path: Path, descriptor: int) -> None:
        """Returns when the file's octets, and what is needed to find them, are on disk."""
        try:
            os.fdatasync(descriptor)
        except OSError as failure:
            raise DurabilityLost(path, "sync", failure) from failure

    def rename(self, source: Path, target: Path) -> None:
        """Give the file its new name; durable only after `sync_directory`."""
        try:
            os.rename(source, target)
        except OSError as failure:
            raise DurabilityLost(source, "rename", failure) from failure

    def sync_directory(self, directory: Path) -> None:
        """Returns when names made, changed or removed in the directory are on disk."""
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as failure:
            raise DurabilityLost(directory, "sync of the directory", failure) from failure

    def free_octets(self, directory: Path) -> int:
        """Room that this process may use on the directory's file system."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize


DISK: Final = Disk()


def make_directory(path: Path, mode: int = 0o750) -> None:
    """Make the directory, and its parents, durably. One that exists is left as it is."""
    if path.is_dir():
        return
    if path.parent != path:
        make_directory(path.parent, mode)
    path.mkdir(mode=mode, exist_ok=True)
    DISK.sync_directory(path.parent)


def write_file_durably(path: Path, data: bytes, mode: int) -> None:
    """Put a whole file in place: after a crash there is the former one or this one, never a part.

    Raises NoRoom when the disk is full (nothing changed), DurabilityLost for any other failure.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
    except OSError as failure:
        raise DurabilityLost(temporary, "removal", failure) from failure
    _write_new_file(temporary, data, mode)
    DISK.rename(temporary, path)
    DISK.sync_directory(path.parent)


def create_file_durably(path: Path, data: bytes, mode: int) -> None:
    """As write_file_durably, but raises FileExistsError when the name is taken. Never overwrites."""
    _write_new_file(path, data, mode)
    DISK.sync_directory(path.parent)


def _write_new_file(path: Path, data: bytes, mode: int) -> None:
    descriptor = DISK.create(path, os.O_WRONLY | os.O_EXCL, mode)
    try:
        DISK.write_at(path, descriptor, (data,), 0)
        DISK.sync_data(path, descriptor)
    except DurabilityLost as failure:
        path.unlink(missing_ok=True)  # a part of a file must not stand under its name
        if failure.errno in NO_ROOM_ERRORS:
            raise NoRoom(f"{path}: no disk space for {len(data)} octets") from failure
        raise
    finally:
        os.close(descriptor)


def remove_durably(paths: Sequence[Path], directory: Path) -> None:
    """Overwrite the files of `directory` with zeros and remove them, for good when this returns.

    The overwriting is a help on disks that write in place; on others, and for copies elsewhere, it is none.
    """
    for path in paths:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            DISK.write_at(path, descriptor, (bytes(path.stat().st_size),), 0)
            DISK.sync_data(path, descriptor)
        finally:
            os.close(descriptor)
        path.unlink()
    DISK.sync_directory(directory)
