"""A disk that is full at the start, and one that fills up while the gateway runs (a small tmpfs)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.smpp.codes import CommandStatus
from tests.integration.application import Application, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.mounts import mounted
from tests.integration.world import World, until

ROK = CommandStatus.ESME_ROK
RSYSERR = CommandStatus.ESME_RSYSERR
MIB = 1 << 20

# A new segment takes an eighth of the free space, and at least 1 MiB.
DISK_MIB = 24

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs, which only root may")


class Disk:
    """A small file system, and the ballast in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    @property
    def free_octets(self) -> int:
        facts = os.statvfs(self.directory)
        return facts.f_bavail * facts.f_frsize

    def fill(self, leave_octets: int = 0) -> None:
        with self._ballast.open("ab") as file:
            while (missing := self.free_octets - leave_octets) > 0:
                try:
                    file.write(bytes(min(missing, MIB)))
                    file.flush()
                except OSError:
                    return  # somebody else was quicker: it is full

    def clear(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    directory = tmp_path / "disk"
    directory.mkdir()
    with mounted(directory, f"size={DISK_MIB}m"):
        yield Disk(directory)


@pytest.fixture
def world(disk: Disk, make_world: MakeWorld) -> World:
    """Its state lies on the small disk."""
    return make_world({"evidence": {"segment_mib": 1}}, state_dir=disk.directory / "state")


@pytest.mark.parametrize("leave_octets", [0, 4096, 2 * MIB])
def test_too_little_room_to_start(disk: Disk, world: World, leave_octets: int) -> None:
    disk.fill(leave_octets)
    end = world.run_to_its_end()
    assert end.returncode == 1
    assert [line[:9] for line in end.stderr.splitlines()] == ["jingxin: "], end.stderr
    assert end.stderr.endswith(": make room on the disk\n"), end.stderr
    disk.clear()
    world.start()


def test_the_disk_fills_up_while_it_runs(disk: Disk, world: World) -> None:
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        ids = application.submit_all(submit_sm(number) for number in range(100))
        disk.fill()

        # The current segment is written on, until there is no room for the next.
        accepted_when_full = 0
        while (response := application.submit(submit_sm(1))).command_status == ROK:
            ids.append(response.message_id)
            accepted_when_full += 1
            assert accepted_when_full < 50_000
        assert response.command_status == RSYSERR
        ready, conditions = world.readiness()
        assert (ready, conditions["evidence"], conditions["links"]) == (False, False, True)

        # What was accepted goes on to its end: the rest of the segment is kept for that.
        application.await_deliveries(len(ids))
        assert sorted(application.receipts()) == sorted(ids)
        for _ in range(100):
            assert application.submit(submit_sm(1)).command_status == RSYSERR
        assert world.status()["open_parts"] == 0

        disk.clear()
        until("there is room again", lambda: world.readiness()[0])
        until(
            "submits are taken again",
            lambda: application.submit(submit_sm(1, receipt=False)).command_status == ROK,
        )
        more = application.submit_all(submit_sm(number) for number in range(500))
        application.await_deliveries(len(ids) + len(more))
        assert sorted(application.receipts()) == sorted(ids + more)
        application.unbind()
    report = world.stop()
    assert (report.open, report.uncertain) == (0, [])
    assert report.accepted == len(ids) + len(more) + 1


def test_a_burst_into_a_full_disk_and_a_stop(disk: Disk, world: World) -> None:
    """Everything at once, then SIGTERM while it is full: nothing that was answered is missing afterwards."""
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.submit_all(submit_sm(number) for number in range(100))
        disk.fill()
        ids, refused = application.submit_until_refused(submit_sm(number) for number in range(50_000))
        assert refused
    world.stop()
    disk.clear()
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.submit_all(submit_sm(number, receipt=False) for number in range(100))
        until("all is done", lambda: world.status()["open_parts"] == 0)
        application.unbind()
    report = world.stop()
    assert (report.open, report.uncertain) == (0, [])
    assert report.accepted == 200 + len(ids)


def test_more_receipts_than_there_is_room_for(disk: Disk, make_world: MakeWorld) -> None:
    """They stay with the carrier, unanswered, until they can be kept."""
    count = 10_000
    world = make_world(
        {"evidence": {"segment_mib": 1}}, carrier={"receipt_delay_s": 1.0}, state_dir=disk.directory / "state"
    )
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        ids = application.submit_all((submit_sm(number) for number in range(count)), window=100)
        disk.fill()
        until("the log is full", lambda: not world.readiness()[0])
        until("no more receipts are taken", lambda: _standstill(world))
        assert application.submit(submit_sm(1)).command_status == RSYSERR
        disk.clear()
        application.await_deliveries(count)
        assert sorted(application.receipts()) == sorted(ids)
        application.unbind()
    assert world.carrier.report().receipts_acknowledged == count
    report = world.stop()
    assert (report.accepted, report.open, report.uncertain) == (count, 0, [])


def _standstill(world: World) -> bool:
    """Whether the carrier waits for answers, and none comes."""
    before = world.carrier.report()
    time.sleep(0.2)
    after = world.carrier.report()
    return 0 < before.receipts_waiting == after.receipts_waiting
