"""The segment ahead: zeroed in the background, so that the log does not wait and meets a full disk early.

    spare.part     being filled with zeros; removed at the next start
    spare.zeroed   full of synced zeros behind its first page, which may hold the header of an unfinished
    rotation N.seg          in use

Real zeros, not fallocate: unwritten extents would have to be converted at each sync (0.7 against 1.5 µs a
record). A disk is full when no spare can be made; `roomy` says so while the rest of the current segment is
still free for the outcomes of what was accepted. A try each second finds out when there is room again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from storage.durable import NO_ROOM_ERRORS, Disk
from storage.errors import DurabilityLost, EvidenceError, NoRoom
from storage.segment import SEGMENT_OCTETS_MIN

# A spare takes at most this share of the free space, so that segments shrink as the disk fills up and the
# ledger beside the log is not starved.
_FREE_SHARE: Final = 8
# Zeros written between two syncs. The log's own syncs queue behind ours on most file systems; 2 MiB is 10 ms
# even at 200 MB/s.
_CHUNK: Final = bytes(2 << 20)
_RETRY_S: Final = 1.0


class Spares:
    """Keeps one zeroed segment ready. The writer thread calls `wait`, `taken`, `trim`; the owner the rest."""

    def __init__(
        self, directory: Path, cap_octets: int, disk: Disk, on_failure: Callable[[BaseException], None]
    ) -> None:
        """`on_failure` is called from the thread when the disk fails (not when it is merely full)."""
        assert cap_octets >= SEGMENT_OCTETS_MIN
        self.roomy = True  # False: the last try to make a spare found no room
        self._directory = directory
        self._cap_octets = cap_octets
        self._disk = disk
        self._on_failure = on_failure
        self._part = directory / "spare.part"
        self.path = directory / "spare.zeroed"  # of the spare, when `ready`
        self._part.unlink(missing_ok=True)
        if self.path.exists() and self.path.stat().st_nlink > 1:
            # A crash amid a rename, on a file system without a journal: the segment has this file too.
            self.path.unlink()
        self._changed = threading.Condition()
        self._ready = self.path.exists()  # left over: its zeros were synced before it got this name
        self._to_trim: list[tuple[Path, int]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="evidence-spare", daemon=True)

    @property
    def ready(self) -> bool:
        return self._ready

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; `wait` ends too. A spare begun is left to the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self) -> bool:
        """Returns when a spare is ready; False: it never will be, `stop` was called."""
        with self._changed:
            while not self._ready and not self._stopping:
                self._changed.wait()
            return self._ready

    def taken(self) -> None:
        """The spare has its new name: make the next one."""
        with self._changed:
            self._ready = False
            self._changed.notify_all()

    def trim(self, path: Path, octets: int) -> None:
        """Give back the zeros behind the end of a finished segment, some time soon."""
        with self._changed:
            self._to_trim.append((path, octets))
            self._changed.notify_all()

    def make(self, octets_max: int) -> None:
        """Make a spare of min(cap, `octets_max`, free / 8) octets now. Raises NoRoom, DurabilityLost."""
        free = self._disk.free_octets(self._directory)
        octets = min(self._cap_octets, octets_max, free // _FREE_SHARE)
        if octets < SEGMENT_OCTETS_MIN:
            wanted = SEGMENT_OCTETS_MIN * _FREE_SHARE
            raise NoRoom(f"{self._directory}: {free} octets free, a new segment wants {wanted}")
        try:
            self._zero(octets)
        except DurabilityLost as failure:
            # Whether in the write or, with delayed allocation, in the sync: the file is given up, never
            # synced again.
            self._part.unlink(missing_ok=True)
            if failure.errno in NO_ROOM_ERRORS:
                raise NoRoom(f"{self._directory}: the disk filled up while zeroing a segment") from failure
            raise
        if self._stopping:
            return
        self._disk.rename(self._part, self.path)
        self._disk.sync_directory(self._directory)
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def _zero(self, octets: int) -> None:
        descriptor = self._disk.create(self._part, os.O_WRONLY | os.O_TRUNC, 0o640)
        try:
            offset = 0
            while offset < octets and not self._stopping:
                chunk = _CHUNK[: octets - offset]
                self._disk.write_at(self._part, descriptor, (chunk,), offset)
                self._disk.sync_data(self._part, descriptor)
                offset += len(chunk)
        finally:
            os.close(descriptor)

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._trim_all()
                if not self._ready:
                    self._try_to_make()
            self._trim_all()
        except (EvidenceError, OSError) as failure:
            self._on_failure(failure)
        except (
            BaseException
        ) as fault:  # ours: no segment will follow this one, so the owner must know of it too
            self._on_failure(fault)
            raise

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not self._stopping and self._ready and not self._to_trim:
                self._changed.wait()
            return not self._stopping

    def _trim_all(self) -> None:
        while self._to_trim:
            path, octets = self._to_trim.pop()
            # Without a sync: a segment that keeps its zeros is as good, only larger.
            os.truncate(path, octets)

    def _try_to_make(self) -> None:
        try:
            self.make(self._cap_octets)
            self.roomy = True
        except NoRoom:
            self.roomy = False
            with self._changed:
                if not self._stopping:
                    self._changed.wait(_RETRY_S)
