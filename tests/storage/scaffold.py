"""An evidence log without a loop, and disks that fail or crash: what all tests of the log stand on."""

from __future__ import annotations

import errno
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from storage.durable import DISK, Disk
from storage.errors import DurabilityLost
from storage.log import EvidenceLog
from storage.reader import LogReader
from storage.records import LinkEvent, encode
from storage.seal import Sealer

MIB = 1 << 20
NOON_US = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z, 22:13:20 in Shanghai


def record(number: int, octets: int = 8) -> bytes:
    """A record that can be told from any other, and contradicts none."""
    return encode(LinkEvent(NOON_US + number, "cmcc", 0, "bound", str(number).rjust(octets)))


class LogDriver:
    """Runs an EvidenceLog; the test is the loop: what the log posts runs when the test steps."""

    def __init__(
        self,
        directory: Path,
        *,
        cap_octets: int = MIB,
        sealer: Sealer | None = None,
        disk: Disk = DISK,
        clock_us: Callable[[], int] = lambda: NOON_US,
    ) -> None:
        self.low_water = 1
        self.durable: list[object] = []
        self.failures: list[BaseException] = []
        self.posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.log = EvidenceLog(
            directory,
            sealer,
            cap_octets,
            lambda: self.low_water,
            self.posted.put,
            self.durable.append,
            self.failures.append,
            clock_us=clock_us,
            disk=disk,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.log.close()

    def step(self) -> None:
        """Run the next thing the log posts, waiting for it."""
        self.posted.get(timeout=20)()

    def write(self, *records: bytes, effects: object = None) -> int:
        """One batch, written and synced (or failed); returns the index of its first record."""
        first = self.log.next_index
        for octets in records:
            self.log.append(octets)
        self.log.commit(effects)
        self.step()
        return first

    def wait_for_spare(self) -> None:
        """Returns when a rotation would find its spare."""
        assert eventually(lambda: self.log._spares.ready)

    def turn(self, *records: bytes) -> int:
        """As write, into a new segment."""
        self.wait_for_spare()
        self.log.rotate()
        return self.write(*records)


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    """Whether a condition that another thread brings about came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def recovered(directory: Path) -> list[bytes]:
    """What a restart finds, without what it appends itself."""
    with LogDriver(directory) as driver:
        driver.log.recover()
        return [octets for _, octets in driver.log.replay(1)]


def stored(directory: Path) -> list[bytes]:
    """What a reader finds."""
    with LogReader(directory) as reader:
        return [octets for _, octets in reader.records(1)]


class FailingDisk(Disk):
    """Fails at one step of one thread, and at all later ones of any; `kept`: that step still took effect."""

    def __init__(self, fail_at: int, *, kept: bool, thread: str = "evidence-writer") -> None:
        self.fail_at = fail_at
        self.kept = kept
        self.thread = thread
        self.steps: list[str] = []  # of that thread
        self.dead = False

    def _step(self, operation: str, path: Path, act: Callable[[], None]) -> None:
        failure = DurabilityLost(path, operation, OSError(errno.EIO, os.strerror(errno.EIO)))
        if self.dead:
            raise failure
        if threading.current_thread().name == self.thread:
            self.dead = len(self.steps) == self.fail_at
            self.steps.append(operation)
        if not self.dead:
            act()
            return
        if self.kept:
            act()
        raise failure

    def write_at(self, path: Path, descriptor: int, buffers: Sequence[bytes], offset: int) -> None:
        self._step("write", path, lambda: self._write(path, descriptor, b"".join(buffers), offset))

    def sync_data(self, path: Path, descriptor: int) -> None:
        self._step("sync", path, lambda: self._sync(path, descriptor))

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename", source, lambda: self._rename(source, target))

    def sync_directory(self, directory: Path) -> None:
        self._step("sync directory", directory, lambda: self._sync_directory(directory))

    def _write(self, path: Path, descriptor: int, octets: bytes, offset: int) -> None:
        super().write_at(path, descriptor, (octets,), offset)

    # The scenario's files live as long as the test: real syncs would only cost time.
    def _sync(self, path: Path, descriptor: int) -> None: ...

    def _rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)

    def _sync_directory(self, directory: Path) -> None: ...


class CrashingDisk(FailingDisk):
    """A FailingDisk that forgets: at `crash`, a sector not yet synced may or may not be on the disk."""

    _SECTOR = 512

    def __init__(self, fail_at: int, *, kept: bool, thread: str = "evidence-writer") -> None:
        super().__init__(fail_at, kept=kept, thread=thread)
        self._unsynced: list[tuple[int, int, bytes]] = []  # (inode, offset, octets that stood there before)
        self._renamed: list[tuple[Path, Path]] = []

    def _write(self, path: Path, descriptor: int, octets: bytes, offset: int) -> None:
        if (
            path.name != "spare.part"
        ):  # one that is lost is made again; remembering its zeros would only cost time
            before = os.pread(descriptor, len(octets), offset).ljust(len(octets), b"\0")
            self._unsynced.append((os.fstat(descriptor).st_ino, offset, before))
        super()._write(path, descriptor, octets, offset)

    def _sync(self, path: Path, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        self._unsynced = [entry for entry in self._unsynced if entry[0] != inode]

    def _rename(self, source: Path, target: Path) -> None:
        super()._rename(source, target)
        self._renamed.append((source, target))

    def _sync_directory(self, directory: Path) -> None:
        self._renamed.clear()

    def crash(self, directory: Path, chance: random.Random) -> None:
        """The power goes. The log must be closed already."""
        inodes = {path.stat().st_ino: path for path in directory.iterdir() if path.is_file()}
        for inode, offset, before in reversed(self._unsynced):
            with inodes[inode].open("r+b") as file:
                for start in range(0, len(before), self._SECTOR):
                    if chance.random() < 0.5:
                        file.seek(offset + start)
                        file.write(before[start : start + self._SECTOR])
        for source, target in reversed(self._renamed):
            if chance.random() < 0.5:
                target.rename(source)
        if chance.random() < 0.5:
            (directory / "durable").unlink()  # the mark is never synced
