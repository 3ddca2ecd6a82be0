"""The log in operation: batches, rotation, room, days, failure, closing."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from storage.durable import DISK, Disk
from storage.errors import DurabilityLost, LogInUse, LogRefused, NoRoom
from storage.keys import Keyring
from storage.records import KeyOpened, decode
from storage.seal import Sealer, next_midnight_us
from storage.segment import SEGMENT_HEADER_OCTETS, SegmentReader, segment_paths
from storage.spare import Spares
from tests.storage.scaffold import MIB, NOON_US, FailingDisk, LogDriver, eventually, record, recovered, stored


def test_indices_are_given_at_once_and_effects_come_when_durable(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        log = driver.log
        assert log.recover() == 1
        assert (log.next_index, log.pending, log.busy, log.durable_index, log.has_room) == (
            1,
            0,
            False,
            0,
            True,
        )
        assert [log.append(record(number)) for number in (1, 2, 3)] == [1, 2, 3]
        assert (log.next_index, log.pending, log.durable_index) == (4, 3, 0)
        log.commit("first")
        assert (log.pending, log.busy, driver.durable) == (0, True, [])
        assert log.append(record(4)) == 4  # gathers while the writer works
        driver.step()
        assert (log.pending, log.busy, log.durable_index, driver.durable) == (1, False, 3, ["first"])
        log.commit("second")
        driver.step()
        assert (log.durable_index, driver.durable) == (4, ["first", "second"])
        assert stored(tmp_path) == [record(number) for number in (1, 2, 3, 4)]


def test_a_commit_may_follow_in_the_callback(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.log.append(record(1))
        driver.log.commit("first")
        driver.log.append(record(2))
        driver.log._on_durable = lambda effects: driver.log.commit(f"after {effects}")
        driver.step()
        driver.log._on_durable = driver.durable.append
        driver.step()
        assert (driver.durable, driver.log.durable_index) == (["after first"], 2)


def test_a_restart_goes_on_where_the_log_ended(tmp_path: Path) -> None:
    for run in range(4):
        with LogDriver(tmp_path) as driver:
            driver.log.recover()
            assert driver.log.next_index == 2 * run + 1
            assert list(driver.log.replay(1)) == [(index, record(index)) for index in range(1, 2 * run + 1)]
            assert list(driver.log.replay(max(1, 2 * run))) == ([(2 * run, record(2 * run))] if run else [])
            driver.write(record(2 * run + 1), record(2 * run + 2))
            assert driver.log.torn is None


def test_segments_follow_each_other_when_full(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        records = [record(number, 30_000) for number in range(1, 101)]
        for start in range(0, 100, 10):
            driver.write(*records[start : start + 10])
            driver.low_water = start + 1
        paths = segment_paths(tmp_path)
        assert len(paths) == 3
        assert stored(tmp_path) == records
        headers = []
        for path in paths:
            with SegmentReader(path) as reader:
                headers.append(reader.header)
        assert {header.identity for header in headers} == {headers[0].identity}
        assert [header.previous_first_index for header in headers] == [0, 1, headers[1].first_index]
        assert [header.first_index for header in headers] == [1, 35, 69]
        # Record 35 is in the batch from 31, record 69 in the one from 61. Their headers may count only on
        # what was durable by then, so they hold what was given with the batch before.
        assert [header.low_water for header in headers] == [1, 11, 41]
    # The zeros behind the end of a finished segment are given back.
    assert all(path.stat().st_size < MIB for path in paths[:-1])
    assert recovered(tmp_path) == records


def test_a_batch_larger_than_segments_is_written_in_pieces(tmp_path: Path) -> None:
    records = [record(number, 100_000) for number in range(1, 60)]
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(0))
        driver.write(*records, effects="all")
        assert driver.durable == [None, "all"]
        assert len(segment_paths(tmp_path)) == 6
    assert recovered(tmp_path) == [record(0), *records]


def test_a_batch_larger_than_a_frame_is_written_in_pieces(tmp_path: Path) -> None:
    records = [record(number, 120_000) for number in range(1, 100)]
    with LogDriver(tmp_path, cap_octets=16 * MIB) as driver:
        driver.log.recover()
        driver.write(*records)
    assert recovered(tmp_path) == records
    assert len(segment_paths(tmp_path)) == 1


def test_rotation_on_request(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.log.rotate()
        driver.write(record(1))  # an empty segment is not left empty
        driver.turn(record(2))
        driver.turn(record(3), record(4))
        driver.write(record(5))
    assert [int(path.stem) for path in segment_paths(tmp_path)] == [1, 2, 3]
    assert recovered(tmp_path) == [record(number) for number in (1, 2, 3, 4, 5)]


def test_midnight_brings_a_new_key_and_a_new_segment(tmp_path: Path) -> None:
    now_us = NOON_US
    sealer = Sealer(Keyring(tmp_path / "keys", bytes(32)))
    with LogDriver(tmp_path, sealer=sealer, clock_us=lambda: now_us) as driver:
        log = driver.log
        log.recover()
        assert log.pending == 1
        first_index = log.next_index
        first = sealer.seal(first_index, b"before midnight")
        driver.write(record(1, 50))
        now_us = next_midnight_us(NOON_US) - 1
        log.tick()
        assert log.pending == 0
        now_us += 1
        log.tick()
        log.tick()
        assert log.pending == 1
        second = sealer.seal(log.next_index, b"after midnight")
        assert first[:8] != second[:8]
        assert sealer.unseal(first_index, first) == b"before midnight"
        driver.wait_for_spare()
        driver.write(record(2))
        opened = [decode(octets) for octets in stored(tmp_path)]
    days = [found.day for found in opened if isinstance(found, KeyOpened)]
    assert days == ["2026-09-21", "2026-09-22"]
    assert [int(path.stem) for path in segment_paths(tmp_path)] == [1, 3]


def test_a_start_on_a_later_day_begins_a_segment(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(1))
        driver.wait_for_spare()
    with LogDriver(tmp_path, clock_us=lambda: NOON_US + 86_400_000_000) as driver:
        driver.log.recover()
        driver.write(record(2))
    assert [int(path.stem) for path in segment_paths(tmp_path)] == [1, 2]


def test_a_key_that_has_no_room_at_midnight_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_us = NOON_US
    sealer = Sealer(Keyring(tmp_path / "keys", bytes(32)))
    with LogDriver(tmp_path, sealer=sealer, clock_us=lambda: now_us) as driver:
        driver.log.recover()
        driver.write(record(1))
        now_us = next_midnight_us(NOON_US)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", opens_nothing_new)
            driver.log.tick()
        assert driver.log.pending == 0
        assert sealer.unseal(9, sealer.seal(9, b"x")) == b"x"
        driver.log.tick()
        assert driver.log.pending == 1


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        with pytest.raises(LogInUse):
            LogDriver(tmp_path)
        driver.write(record(1))
    assert recovered(tmp_path) == [record(1)]


def test_nothing_is_taken_before_recovery_or_after_closing(tmp_path: Path) -> None:
    driver = LogDriver(tmp_path)
    for _ in range(2):
        with pytest.raises(LogRefused):
            driver.log.append(record(1))
        with pytest.raises(LogRefused):
            driver.log.commit(None)
        assert not driver.log.has_room
        driver.log.close()


def test_closing_writes_what_is_pending(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.log.append(record(1))
        driver.log.commit(None)
        driver.log.append(record(2))
    assert driver.durable == []
    assert stored(tmp_path) == [record(1), record(2)]


_open = os.open


def opens_nothing_new(path: Path, flags: int, mode: int = 0o777) -> int:
    """os.open where the directory has no room for one more name."""
    if flags & os.O_CREAT:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return _open(path, flags, mode)


class FillingDisk(Disk):
    """A disk on which only so much is free, as it says itself; a larger file meets ENOSPC."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.limit: int | None = None  # offset at which writes to a spare fail
        self.spare_failure = errno.ENOSPC

    def free_octets(self, directory: Path) -> int:
        return self.free

    def write_at(self, path: Path, descriptor: int, buffers: Sequence[bytes], offset: int) -> None:
        if path.name == "spare.part" and self.limit is not None and offset + len(buffers[0]) > self.limit:
            raise DurabilityLost(path, "write", OSError(self.spare_failure, os.strerror(self.spare_failure)))
        super().write_at(path, descriptor, buffers, offset)


SIZES = [(1000 * MIB, 2 * MIB), (16 * MIB, 2 * MIB), (12 * MIB, 12 * MIB // 8), (8 * MIB, MIB)]


@pytest.mark.parametrize(("free", "octets"), SIZES)
def test_segments_shrink_as_the_disk_fills(tmp_path: Path, free: int, octets: int) -> None:
    with LogDriver(tmp_path, cap_octets=2 * MIB, disk=FillingDisk(free)) as driver:
        driver.log.recover()
        assert segment_paths(tmp_path)[0].stat().st_size == octets


def test_without_room_for_the_first_segment_there_is_no_start(tmp_path: Path) -> None:
    with LogDriver(tmp_path, disk=FillingDisk(8 * MIB - 1)) as driver:
        with pytest.raises(NoRoom, match="a new segment wants 8388608"):
            driver.log.recover()
    assert segment_paths(tmp_path) == []


@pytest.mark.parametrize("how", ["free space", "write"])
def test_a_full_disk_refuses_new_messages_and_keeps_the_rest_for_outcomes(tmp_path: Path, how: str) -> None:
    disk = FillingDisk(100 * MIB)
    with LogDriver(tmp_path, disk=disk) as driver:
        log = driver.log
        log.recover()
        driver.wait_for_spare()
        if how == "write":
            disk.limit = 0
        else:
            disk.free = 0
        assert log.has_room  # a spare lies ready
        first = [record(number, 100_000) for number in range(10)]
        driver.write(*first)
        driver.write(*first)  # takes the spare
        assert eventually(lambda: not log.has_room)
        assert not (tmp_path / "spare.part").exists()
        driver.write(record(50), effects="an outcome")
        assert driver.durable[-1] == "an outcome"
        # Now more than the segment holds: nothing is answered, nothing is lost, and the loop goes on
        # gathering.
        for octets in first:
            log.append(octets)
        log.commit("too much")
        log.append(record(60))
        assert driver.posted.empty()
        assert (log.busy, log.has_room, driver.failures) == (True, False, [])
        disk.free, disk.limit = 100 * MIB, None
        driver.step()
        assert driver.durable == [None, None, "an outcome", "too much"]
        assert eventually(lambda: log.has_room)
        log.commit("later")
        driver.step()
        assert driver.durable == [None, None, "an outcome", "too much", "later"]
    assert recovered(tmp_path) == [*first, *first, record(50), *first, record(60)]


def test_closing_on_a_full_disk_says_what_could_not_be_written(tmp_path: Path) -> None:
    disk = FillingDisk(100 * MIB)
    driver = LogDriver(tmp_path, disk=disk)
    driver.log.recover()
    driver.wait_for_spare()
    disk.free = 0
    first = [record(number, 100_000) for number in range(10)]
    driver.write(*first)
    driver.write(*first)
    for octets in first:
        driver.log.append(octets)
    with pytest.raises(NoRoom, match=r"records from 2\d on could not be written"):
        driver.log.close()
    # What fitted of the last batch is there, unanswered; it is a beginning of it, and nothing else.
    found = recovered(tmp_path)
    assert found == [*first, *first, *first][: len(found)]
    assert len(found) >= 20


def test_a_slow_spare_closes_the_door_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()

    class SlowDisk(Disk):
        def sync_data(self, path: Path, descriptor: int) -> None:
            if path.name == "spare.part" and threading.current_thread().name == "evidence-spare":
                held.wait(20)
            super().sync_data(path, descriptor)

    with LogDriver(tmp_path, disk=SlowDisk()) as driver:
        driver.log.recover()
        rooms = []
        for number in range(10):
            driver.write(record(number, 100_000))
            rooms.append(driver.log.has_room)
        assert rooms == [True] * 9 + [False]
        held.set()
        assert eventually(lambda: driver.log.has_room)


def test_a_directory_without_room_for_a_spare_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spares = Spares(tmp_path, MIB, DISK, lambda failure: None)
    monkeypatch.setattr(os, "open", opens_nothing_new)
    with pytest.raises(NoRoom, match=r"spare\.part: no disk space for a new file"):
        spares.make(MIB)


def test_a_spare_that_the_disk_fails_on_ends_use(tmp_path: Path) -> None:
    disk = FillingDisk(100 * MIB)
    disk.limit, disk.spare_failure = MIB - 1, errno.EIO
    (tmp_path / "spare.zeroed").write_bytes(bytes(MIB))  # the first segment needs no new one
    with LogDriver(tmp_path, disk=disk) as driver:
        driver.log.recover()
        driver.step()
        assert [str(failure) for failure in driver.failures] == [
            f"{tmp_path}/spare.part: write failed: Input/output error"
        ]
        with pytest.raises(LogRefused, match="Input/output error"):
            driver.log.append(record(1))


# A batch is write, sync; a rotation before it is write, sync, rename, sync directory.
BATCH = ["write", "sync"]
TURN = ["write", "sync", "rename", "sync directory"]


@pytest.mark.parametrize("kept", [False, True], ids=["failed and lost", "failed but kept"])
@pytest.mark.parametrize("fail_at", range(12))
def test_a_failed_step_ends_all_use(tmp_path: Path, fail_at: int, kept: bool) -> None:
    disk = FailingDisk(fail_at, kept=kept)
    driver = LogDriver(tmp_path, disk=disk)
    log = driver.log
    log.recover()
    numbers = iter(range(1, 100))
    acknowledged = 0
    for turn in (False, False, True, False):
        if turn:
            driver.wait_for_spare()
            log.rotate()
        batch = [record(next(numbers)), record(next(numbers))]
        driver.write(*batch, effects=len(batch))
        if driver.failures:
            break
        acknowledged += len(batch)
    assert sum(effects for effects in driver.durable if isinstance(effects, int)) == acknowledged
    assert disk.steps == (BATCH + BATCH + TURN + BATCH + BATCH)[: fail_at + 1]
    assert [type(failure) for failure in driver.failures] == [DurabilityLost]
    assert (log.busy, log.has_room, log.durable_index) == (True, False, acknowledged)
    with pytest.raises(LogRefused, match="failed: Input/output error"):
        log.append(record(0))
    with pytest.raises(LogRefused):
        log.commit(None)
    log.close()
    assert driver.posted.empty()
    assert len(driver.failures) == 1
    # What was acknowledged is there. The batch whose step failed may be there too, whole, and never in part.
    found = recovered(tmp_path)
    assert found == [record(number) for number in range(1, len(found) + 1)]
    assert len(found) in (acknowledged, acknowledged + 2)


def test_the_header_is_not_overwritten_by_frames() -> None:
    assert SEGMENT_HEADER_OCTETS % os.sysconf("SC_PAGE_SIZE") == 0
