"""What a start makes of the files it finds: every crash, every torn tail, every flipped octet."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import CorruptEvidence, DurabilityLost, LogRefused
from storage.log import EvidenceLog
from storage.reader import DurableMark
from storage.records import TornTail, decode
from storage.recovery import examine
from storage.segment import SEGMENT_HEADER_OCTETS, SegmentReader, segment_path, segment_paths
from storage.verify import verify
from tests.storage.scaffold import MIB, CrashingDisk, LogDriver, record, recovered, stored

# Three segments of two batches of two records: 1 to 4, 5 to 8, 9 to 12.
RECORDS = [record(number) for number in range(1, 13)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log, closed; the zeros behind its end are cut short, so that reading it often costs little."""
    directory = tmp_path_factory.mktemp("written")
    with LogDriver(directory) as driver:
        driver.log.recover()
        for place in range(0, 12, 2):
            batch = RECORDS[place : place + 2]
            if place in (4, 8):
                driver.low_water = place + 1
                driver.turn(*batch)
            else:
                driver.write(*batch)
        driver.wait_for_spare()
    for path in segment_paths(directory):
        os.truncate(path, end_of(path) + 600)
    (directory / "spare.zeroed").unlink()
    return directory


@pytest.fixture
def log_copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "evidence"))


def frames_of(path: Path) -> list[tuple[int, int]]:
    """(offset, end) of the frames of a segment."""
    found = []
    with SegmentReader(path) as reader:
        offset = SEGMENT_HEADER_OCTETS
        while (frame := reader.skim(offset)) is not None:
            found.append((offset, frame[2]))
            offset = frame[2]
    return found


def end_of(path: Path) -> int:
    return frames_of(path)[-1][1]


def change(path: Path, offset: int, octets: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(octets)


def last_of(directory: Path) -> Path:
    return segment_paths(directory)[-1]


def test_the_low_water_mark_is_that_of_the_last_segment(log_copy: Path) -> None:
    with LogDriver(log_copy) as driver:
        assert driver.log.recover() == 5  # given with the batch before the last rotation
        assert [index for index, _ in driver.log.replay(5)] == list(range(5, 13))


def test_torn_at_every_octet_of_the_last_frame(written: Path, tmp_path: Path) -> None:
    path = last_of(written)
    offset, end = frames_of(path)[-1]
    frame = path.read_bytes()[offset:end]
    for length in range(len(frame)):
        directory = Path(shutil.copytree(written, tmp_path / str(length)))
        change(last_of(directory), offset, frame[:length] + bytes(len(frame) - length))
        DurableMark(directory, writable=True).set(11)  # as it stood when the frame was being written
        with LogDriver(directory) as driver:
            driver.log.recover()
            assert driver.log.next_index == (12 if length else 11)
            assert [octets for _, octets in driver.log.replay(1)] == RECORDS[:10]
            expected = TornTail(1_790_000_000_000_000, 9, offset, len(frame[:length].rstrip(b"\0")), 0)
            assert driver.log.torn == (expected if length else None)
            driver.write(record(99))
        after = [decode(octets) for octets in stored(directory)[10:]]
        assert after == ([expected] if length else []) + [decode(record(99))]
        assert verify(directory).sound
        shutil.rmtree(directory)


def test_an_end_that_was_durable_and_is_gone_is_counted(log_copy: Path) -> None:
    # A rotten last frame looks like an unfinished one; the mark knows better.
    offset, end = frames_of(last_of(log_copy))[-1]
    change(last_of(log_copy), end - 1, b"\xff")
    with LogDriver(log_copy) as driver:
        driver.log.recover()
        assert driver.log.torn == TornTail(1_790_000_000_000_000, 9, offset, end - offset, 2)


def test_a_log_that_is_gone_is_not_begun_anew(log_copy: Path) -> None:
    for path in segment_paths(log_copy):
        path.unlink()
    with LogDriver(log_copy) as driver:
        with pytest.raises(
            CorruptEvidence, match="the mark says 12 records were durable, and there is no segment"
        ):
            driver.log.recover()


def test_every_flipped_octet_is_refused_or_cut(log_copy: Path) -> None:
    """Only in the last frame, and in the zeros behind it, is a wrong octet taken for an unfinished write."""
    chance = random.Random(1)
    for path in segment_paths(log_copy):
        good = path.read_bytes()
        first_zero = end_of(path)
        last_frame = frames_of(path)[-1][0] if path == last_of(log_copy) else len(good)
        for place, octet in enumerate(good):
            change(path, place, bytes([octet ^ (1 << chance.randrange(8))]))
            if path == segment_path(log_copy, 1) and place >= SEGMENT_HEADER_OCTETS:
                # Below the low-water mark and not one of the last two: a start reads its header only.
                assert examine(log_copy) is not None
                damage = verify(log_copy).damage
                assert damage is not None
                assert damage.path == path
                assert damage.offset <= place
            elif place < last_frame:
                with pytest.raises(CorruptEvidence) as caught:
                    examine(log_copy)
                assert caught.value.path == path
                assert caught.value.offset <= place
            else:
                tail = examine(log_copy)
                assert tail is not None
                assert tail.torn is not None
                assert tail.torn.offset == (last_frame if place < first_zero else first_zero)
                assert tail.chain.next_index == (11 if place < first_zero else 13)
            change(path, place, bytes([octet]))
    tail = examine(log_copy)
    assert tail is not None
    assert (tail.torn, tail.chain.next_index) == (None, 13)


def test_a_refused_start_changes_nothing(log_copy: Path) -> None:
    change(segment_path(log_copy, 5), 5000, b"?")
    before = {path: path.read_bytes() for path in log_copy.iterdir()}
    for _ in range(2):
        with LogDriver(log_copy) as driver:
            with pytest.raises(CorruptEvidence) as caught:
                driver.log.recover()
            assert caught.value.path == segment_path(log_copy, 5)
            with pytest.raises(LogRefused):
                driver.log.append(record(1))
    assert {path: path.read_bytes() for path in log_copy.iterdir()} == before


def test_a_missing_segment_is_corruption_and_missing_old_ones_are_not(log_copy: Path) -> None:
    middle = segment_path(log_copy, 5)
    middle.rename(log_copy / "away")
    with pytest.raises(CorruptEvidence, match=r"the segment before it \(5\) is missing"):
        examine(log_copy)
    (log_copy / "away").rename(middle)
    segment_path(log_copy, 1).unlink()  # archived: below the low-water mark
    with LogDriver(log_copy) as driver:
        assert driver.log.recover() == 5
        assert [octets for _, octets in driver.log.replay(5)] == RECORDS[4:]
    middle.unlink()
    with pytest.raises(CorruptEvidence, match="a restart needs record 5"):
        examine(log_copy)


def test_a_segment_of_another_log_is_corruption(log_copy: Path, tmp_path: Path) -> None:
    with LogDriver(tmp_path / "other") as driver:
        driver.log.recover()
        for start in range(1, 9, 4):
            driver.write(*[record(number) for number in range(start, start + 4)])
        driver.turn(record(9))
    shutil.copy(segment_path(tmp_path / "other", 9), segment_path(log_copy, 9))
    with pytest.raises(CorruptEvidence, match="belongs to another log"):
        examine(log_copy)


def test_a_truncated_older_segment_is_corruption(log_copy: Path) -> None:
    path = segment_path(log_copy, 5)
    os.truncate(path, frames_of(path)[-1][0])  # at a frame's edge, where each frame by itself is right
    with pytest.raises(CorruptEvidence, match="records 7 to 8 are missing before this segment"):
        examine(log_copy)


# States of the directory between the steps of a rotation, made by hand from the log with the records 1 to 12.
def no_step(directory: Path) -> None:
    """(1) The spare lies ready."""
    (directory / "spare.zeroed").write_bytes(bytes(MIB))


def part_of_a_spare(directory: Path) -> None:
    """Before (1): the spare is being zeroed."""
    (directory / "spare.part").write_bytes(bytes(1000))


def torn_header(directory: Path) -> None:
    """In (2): some of the header has reached the spare."""
    (directory / "spare.zeroed").write_bytes(b"JXSG\x01\x01" + bytes(500) + b"torn" + bytes(MIB - 510))


def header_written(directory: Path) -> None:
    """After (2), or after (3) with the rename lost."""
    next_segment(directory).rename(directory / "spare.zeroed")


def renamed(directory: Path) -> None:
    """After (3) or (4): the new segment is empty, the old one still has its zeros."""
    next_segment(directory)


def both_names(directory: Path) -> None:
    """In (3), on a file system that renames in two steps."""
    os.link(next_segment(directory), directory / "spare.zeroed")


def torn_first_frame(directory: Path) -> None:
    """In (5): the first frame of the new segment is unfinished."""
    change(next_segment(directory), SEGMENT_HEADER_OCTETS, b"JXBF" + b"torn")


def next_segment(directory: Path) -> Path:
    with LogDriver(directory) as driver:
        driver.log.recover()
        driver.turn(record(13))
    path = segment_path(directory, 13)
    block = path.read_bytes()[:SEGMENT_HEADER_OCTETS]
    path.write_bytes(block + bytes(MIB - SEGMENT_HEADER_OCTETS))
    (directory / "spare.zeroed").unlink(missing_ok=True)
    DurableMark(directory, writable=True).set(13)
    return path


STATES = [part_of_a_spare, no_step, torn_header, header_written, renamed, both_names, torn_first_frame]


@pytest.mark.parametrize("state", STATES)
def test_a_crash_between_the_steps_of_a_rotation(log_copy: Path, state: object) -> None:
    assert callable(state)
    state(log_copy)
    torn = state is torn_first_frame
    for start in range(2):
        with LogDriver(log_copy) as driver:
            driver.log.recover()
            found = [octets for _, octets in driver.log.replay(1)]
            assert found[:12] == RECORDS
            assert len(found) == 12 + start * (2 + torn)
            assert (driver.log.torn is not None) == (torn and not start)
            driver.write(record(13))
            driver.turn(record(14))
            driver.wait_for_spare()
    assert verify(log_copy).sound


def run_until_failure(directory: Path, disk: CrashingDisk) -> list[bytes]:
    """A day of a log with two rotations, ended by a failing disk or closed; returns what was acknowledged."""
    driver = LogDriver(directory, disk=disk)
    acknowledged: list[bytes] = []
    with contextlib.suppress(LogRefused):
        driver.log.recover()
        start = driver.log.next_index
        for place in range(6):
            batch = [record(start + 2 * place, 700), record(start + 2 * place + 1, 700)]
            (driver.turn if place in (2, 4) else driver.write)(*batch)
            if driver.failures:
                break
            acknowledged += batch
    with contextlib.suppress(DurabilityLost):
        driver.log.close()
    return acknowledged


STEPS = 6 * 2 + 2 * 4


@pytest.mark.parametrize("kept", [False, True], ids=["failed and lost", "failed but kept"])
@pytest.mark.parametrize("fail_at", range(STEPS + 1))
def test_power_lost_at_every_step(tmp_path: Path, fail_at: int, kept: bool) -> None:
    """Whatever sectors reached the disk: what was acknowledged is there, in order, and service goes on."""
    for seed in range(4):
        directory = tmp_path / str(seed)
        disk = CrashingDisk(fail_at, kept=kept)
        acknowledged = run_until_failure(directory, disk)
        assert len(disk.steps) == min(fail_at + 1, STEPS)
        disk.crash(directory, random.Random(seed))
        found = recovered(directory)
        assert found[: len(acknowledged)] == acknowledged
        rest = found[len(acknowledged) :]
        assert rest in ([], [record(len(acknowledged) + 1, 700), record(len(acknowledged) + 2, 700)])
        assert verify(directory).sound
        # And again, from where it stands, without a fault.
        run_until_failure(directory, CrashingDisk(-1, kept=True))
        report = verify(directory)
        assert report.sound
        assert report.torn_tail is None


@pytest.mark.parametrize("kept", [False, True], ids=["failed and lost", "failed but kept"])
@pytest.mark.parametrize("fail_at", range(4))
def test_power_lost_at_every_step_of_a_recovery(log_copy: Path, fail_at: int, kept: bool) -> None:
    """Recovery writes the last frame again, zeroes the torn tail, syncs the file, then the directory."""
    path = last_of(log_copy)
    end = end_of(path)
    for seed in range(4):
        change(path, end, b"torn" * 100)
        disk = CrashingDisk(fail_at, kept=kept, thread="MainThread")
        with LogDriver(log_copy, disk=disk) as driver:
            with pytest.raises(DurabilityLost):
                driver.log.recover()
        assert disk.steps == ["write", "write", "sync", "sync directory"][: fail_at + 1]
        disk.crash(log_copy, random.Random(seed))
    assert recovered(log_copy) == RECORDS
    assert verify(log_copy).sound


WRITER = """
import queue, sys
from pathlib import Path
from storage.log import EvidenceLog
from tests.storage.scaffold import MIB, record
posted = queue.SimpleQueue()
log = EvidenceLog(
    Path(sys.argv[1]), None, MIB, lambda: log.next_index, posted.put, lambda last: print(last, flush=True),
    lambda failure: sys.exit(1)
)
log.recover()
print(0, flush=True)
while True:
    for _ in range(50):
        last = log.append(record(log.next_index, 400))
    log.commit(last)
    posted.get()()
"""


def test_kill_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    chance = random.Random(1)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randint(40, 60))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        process.wait()
        acknowledged = max([acknowledged, *(int(line) for line in lines if line.endswith("\n"))])
        with LogDriver(tmp_path) as driver:
            driver.log.recover()
            assert driver.log.next_index > acknowledged
            for index, octets in driver.log.replay(1):
                found = decode(octets)
                assert isinstance(found, TornTail) or octets == record(index, 400)
            driver.log.append(record(driver.log.next_index, 400))
    assert acknowledged > 5 * 39 * 50
    assert len(segment_paths(tmp_path)) > 2
    assert verify(tmp_path).damage is None


def test_recovery_keeps_its_hands_off_what_it_does_not_own(log_copy: Path) -> None:
    (log_copy / "notes.txt").write_text("of the operator")
    assert recovered(log_copy) == RECORDS
    assert (log_copy / "notes.txt").read_text() == "of the operator"


def test_the_log_is_given_back_when_recovery_fails(log_copy: Path) -> None:
    change(segment_path(log_copy, 9), 0, b"?")
    with LogDriver(log_copy) as driver:
        with pytest.raises(CorruptEvidence):
            driver.log.recover()
    EvidenceLog(
        log_copy, None, MIB, lambda: 1, lambda run: None, lambda effects: None, lambda failure: None
    ).close()
