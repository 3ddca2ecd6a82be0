"""What was learned of numbers outlives the process: when it is written, and what a start finds.

The thread of the register is played: a job runs when the test says so, and so does what follows on the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, cast

import pytest
from structlog.testing import capture_logs

from gateway import number_keeper as module
from gateway.config import NumbersConfig
from gateway.number_directory import NumberDirectory
from gateway.number_keeper import NumberKeeper
from gateway.opt_out import OptOuts
from gateway.portability import Portability
from gateway.recovery import Fold
from storage import records
from storage.database import DatabaseError
from storage.log import EvidenceLog
from storage.register import OptedOut, PortedNumber, Register
from tests.gateway.world import PLAN, START_US, Loop, ScriptedLog

LI, WANG, ZHAO = (letter * 16 for letter in (b"l", b"w", b"z"))
DAY_US: Final = 86_400_000_000


class Thread(ThreadPoolExecutor):
    """One job after the other, each when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs: deque[tuple[Future[Any], Callable[..., Any]]] = deque()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: call(*arguments, **named)))
        return future

    def run(self) -> None:
        """Do the next job; what follows it waits on the loop."""
        future, call = self.jobs.popleft()
        try:
            future.set_result(call())
        except DatabaseError as error:
            future.set_exception(error)


class Keeping:
    """A keeper over one file and one log, as a process has it; `again` is the process after it."""

    def __init__(self, path: Path, log: ScriptedLog, *, entries_max: int = 100) -> None:
        self.path, self.log = path, log
        self.loop = Loop()
        self.directory = NumberDirectory(PLAN, bytes, Portability(entries_max), OptOuts(), NumbersConfig())
        self.keeper = NumberKeeper(
            path, self.directory, cast(EvidenceLog, log), cast(asyncio.AbstractEventLoop, self.loop)
        )
        self.keeper._thread.shutdown()
        self.thread = self.keeper._thread = Thread()

    def again(self) -> Keeping:
        """A crash, and what the next start finds, as the daemon does it."""
        self.keeper._register.close()
        log = ScriptedLog(self.log.entries[: self.log.durable_index])
        found = Keeping(self.path, log)
        found.keeper.load(START_US)
        fold = Fold()
        fold.read(enumerate(log.entries, 1))
        for index, record in fold.learned:
            if index > found.keeper.applied_index:
                found.directory.note(index, record)
        return found

    def learn(self, record: records.Ported | records.OptedOut) -> None:
        self.directory.note(self.log.append(records.encode(record)), record)

    def durable(self) -> None:
        self.log._committed = self.log.durable_index = len(self.log.entries)

    def tick(self) -> None:
        self.keeper.tick(START_US)

    def finish(self) -> None:
        """The thread does its jobs, and the loop hears of it."""
        while self.thread.jobs:
            self.thread.run()
            self.loop.run()

    def known(self) -> tuple[dict[bytes, str], list[tuple[bytes, str, int]]]:
        """(networks of ported numbers, opt-outs) in memory."""
        entries = self.directory.portability.entries
        networks = {number_hash: ported.network for number_hash, ported in entries.items()}
        return networks, sorted(self.directory.opt_outs.entries())

    def written(self) -> tuple[int, list[PortedNumber], list[OptedOut]]:
        contents = self.keeper._register.load()
        return contents.applied_index, list(contents.ported), list(contents.opted_out)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "numbers.db"


@pytest.fixture
def keeping(path: Path) -> Iterator[Keeping]:
    keeping = Keeping(path, ScriptedLog())
    keeping.keeper.load(START_US)
    yield keeping
    keeping.keeper.close()


def ported(number_hash: bytes, network: str = "telecom", time_us: int = START_US) -> records.Ported:
    return records.Ported(time_us, number_hash, network, "delivered by cucc", 0)


def opted(number_hash: bytes, *, out: bool = True) -> records.OptedOut:
    return records.OptedOut(START_US, number_hash, "hukou", out, 1)


def test_facts_are_written_when_they_are_durable_and_stay_listed_until_then(keeping: Keeping) -> None:
    keeping.learn(ported(LI))
    keeping.learn(opted(WANG))
    keeping.tick()
    assert not keeping.thread.jobs  # nothing is durable
    keeping.durable()
    keeping.learn(opted(ZHAO))
    keeping.tick()
    assert len(keeping.thread.jobs) == 1
    keeping.tick()
    assert len(keeping.thread.jobs) == 1  # one at a time
    keeping.thread.run()
    assert [index for index, _ in keeping.directory.unwritten] == [1, 2, 3]  # the loop has not heard of it
    keeping.loop.run()
    assert [index for index, _ in keeping.directory.unwritten] == [3]
    assert keeping.keeper.applied_index == 2
    told = (
        [PortedNumber(LI, "telecom", "delivered by cucc", START_US, 0)],
        [OptedOut(WANG, "hukou", START_US, 2)],
    )
    assert keeping.written() == (2, *told)


def test_the_index_moves_on_without_facts_once_a_minute(keeping: Keeping) -> None:
    for count, seconds, applied in ((3, 0, 3), (4, 59, 3), (4, 60, 4), (4, 200, 4), (5, 201, 5), (6, 202, 5)):
        while len(keeping.log.entries) < count:
            keeping.log.append(records.encode(records.Stopped(START_US, "")))
        keeping.durable()
        keeping.keeper.tick(START_US + seconds * 1_000_000)
        keeping.finish()
        assert (keeping.keeper.applied_index, keeping.written()[0]) == (applied, applied)
    keeping.keeper.settle()
    assert keeping.written()[0] == 6


SCRIPT: Final[tuple[records.Ported | records.OptedOut, ...]] = (
    opted(LI),
    ported(WANG),
    opted(ZHAO),
    opted(LI, out=False),
    ported(WANG, "unicom", START_US + 1),
    opted(LI),
)


@pytest.mark.parametrize("written", range(len(SCRIPT) + 1))
@pytest.mark.parametrize("heard", [False, True], ids=["before the loop has heard", "after it"])
def test_a_start_knows_what_was_known_wherever_the_register_stands(
    written: int, *, heard: bool, keeping: Keeping
) -> None:
    for place, record in enumerate(SCRIPT, 1):
        keeping.learn(record)
        if place == written:
            keeping.durable()
            keeping.tick()
            keeping.thread.run()
            if heard:
                keeping.loop.run()
    keeping.durable()
    found = keeping.again()
    assert found.known() == keeping.known()
    assert found.keeper.applied_index == written
    assert [index for index, _ in found.directory.unwritten] == list(range(written + 1, len(SCRIPT) + 1))
    found.tick()
    found.finish()
    assert found.directory.unwritten == []
    twice = found.again()
    assert (twice.known(), twice.keeper.applied_index) == (keeping.known(), len(SCRIPT))
    twice.keeper.close()


def test_what_is_not_durable_is_not_known_after_a_crash(keeping: Keeping) -> None:
    keeping.learn(opted(LI))
    keeping.durable()
    keeping.learn(opted(WANG))
    keeping.tick()
    keeping.finish()
    found = keeping.again()
    assert found.known() == ({}, [(LI, "hukou", 1)])
    found.keeper.close()


def test_the_register_of_another_log_is_refused(keeping: Keeping, path: Path) -> None:
    keeping.learn(opted(LI))
    keeping.learn(opted(WANG))
    keeping.durable()
    keeping.tick()
    keeping.finish()
    keeping.keeper._register.close()
    other = Keeping(path, ScriptedLog([b""]))
    with pytest.raises(DatabaseError) as caught:
        other.keeper.load(START_US)
    assert str(caught.value) == (
        f"{path}: goes up to record 2 of a log that ends with 1: it belongs to another one: move it away"
    )
    other.keeper.close()


# -- when the file has changed -------------------------------------------------------------------------------


def imports(path: Path, network: str, *number_hashes: bytes, expires_us: int = 0) -> None:
    """A command writes to the register."""
    register = Register.open(path)
    rows = [(number_hash, network, expires_us) for number_hash in number_hashes]
    register.import_ported(rows, "import list.csv", START_US + 1, 1000)
    register.close()


def test_an_import_is_known_when_the_gateway_is_told(keeping: Keeping, path: Path) -> None:
    keeping.learn(ported(LI))  # not durable, and so not in the register
    imports(path, "unicom", WANG)
    imports(path, "broadnet", ZHAO, expires_us=START_US)
    keeping.keeper.reload(START_US)
    keeping.finish()
    assert keeping.known() == ({WANG: "unicom", LI: "telecom"}, [])
    assert keeping.written()[1:] == ([PortedNumber(WANG, "unicom", "import list.csv", START_US + 1, 0)], [])


def test_an_import_waits_for_the_thread_and_takes_nothing_off_the_list(keeping: Keeping, path: Path) -> None:
    """Two jobs at once would each take off the list what the other one has written."""
    keeping.learn(opted(LI))
    keeping.durable()
    keeping.tick()
    imports(path, "unicom", WANG)
    keeping.keeper.reload(START_US)
    keeping.learn(opted(ZHAO))
    keeping.durable()
    assert len(keeping.thread.jobs) == 1
    for applied in (1, 1, 3):  # the facts, the import, the facts since
        if applied == 3:
            keeping.learn(ported(ZHAO))
            keeping.durable()
        keeping.tick()
        keeping.tick()
        assert len(keeping.thread.jobs) == 1
        keeping.finish()
        assert keeping.keeper.applied_index == applied
    assert (keeping.directory.unwritten, keeping.known()[0]) == ([], {WANG: "unicom", ZHAO: "telecom"})
    assert [fact.number_hash for fact in keeping.written()[2]] == [LI, ZHAO]


def test_an_import_during_the_reading_of_another_is_read_too(keeping: Keeping, path: Path) -> None:
    imports(path, "unicom", LI)
    keeping.keeper.reload(START_US)
    keeping.thread.run()
    imports(path, "telecom", WANG)
    keeping.keeper.reload(START_US)
    keeping.loop.run()
    assert keeping.known()[0] == {LI: "unicom"}
    keeping.tick()
    keeping.finish()
    assert keeping.known()[0] == {LI: "unicom", WANG: "telecom"}
    keeping.tick()
    assert not keeping.thread.jobs


def test_a_full_table_is_read_anew_when_some_of_it_has_expired(path: Path) -> None:
    imports(path, "unicom", LI, expires_us=START_US + DAY_US)
    imports(path, "unicom", WANG)
    keeping = Keeping(path, ScriptedLog(), entries_max=2)
    keeping.keeper.load(START_US)
    keeping.tick()
    assert not keeping.thread.jobs
    keeping.keeper.tick(START_US + DAY_US)
    keeping.finish()
    assert keeping.known()[0] == {WANG: "unicom"}
    keeping.keeper.tick(START_US + DAY_US)
    assert not keeping.thread.jobs
    keeping.keeper.close()


# -- when the file cannot be used ----------------------------------------------------------------------------


class Locked:
    """A register that another process holds for as long as the test says."""

    def __init__(self, register: Register) -> None:
        self.held = True
        self._register = register

    def __getattr__(self, name: str) -> Any:
        if self.held and name != "close":
            raise DatabaseError("numbers.db: database is locked: try again")
        return getattr(self._register, name)


def test_what_cannot_be_written_now_is_written_later(keeping: Keeping) -> None:
    locked = Locked(keeping.keeper._register)
    keeping.keeper._register = cast(Register, locked)
    keeping.learn(opted(LI))
    keeping.durable()
    with capture_logs() as said:
        for _ in range(2):
            keeping.tick()
            keeping.finish()
    assert [line["error"] for line in said] == ["numbers.db: database is locked: try again"] * 2
    assert ([index for index, _ in keeping.directory.unwritten], keeping.keeper.applied_index) == ([1], 0)
    locked.held = False
    keeping.tick()
    keeping.finish()
    assert (keeping.directory.unwritten, keeping.written()[0]) == ([], 1)


def locked_out(keeping: Keeping) -> Locked:
    """The register has just failed for the first time."""
    locked = Locked(keeping.keeper._register)
    keeping.keeper._register = cast(Register, locked)
    keeping.learn(opted(LI))
    keeping.durable()
    keeping.tick()
    keeping.finish()
    return locked


def test_what_is_said_again_and_again_is_kept_once_while_it_cannot_be_written(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is durable: the last word may be lost, and then the one before it counts."""
    keeping.keeper._condense_at = 5
    locked = locked_out(keeping)
    for record in (ported(LI), opted(WANG), opted(LI, out=False), ported(LI, "unicom"), opted(LI)):
        keeping.learn(record)
    keeping.durable()
    keeping.learn(opted(WANG, out=False))  # 7
    keeping.tick()
    keeping.finish()
    assert [index for index, _ in keeping.directory.unwritten] == [3, 5, 6, 7]
    known = keeping.again()  # the last one was not durable
    assert known.known() == ({LI: "unicom"}, [(LI, "hukou", 6), (WANG, "hukou", 3)])
    known.keeper.close()
    keeping.keeper._register = Register.open(keeping.path)
    keeping.tick()
    keeping.finish()
    assert keeping.written()[0] == 6
    assert [(fact.number_hash, fact.record) for fact in keeping.written()[2]] == [(LI, 6), (WANG, 3)]
    assert [index for index, _ in keeping.directory.unwritten] == [7]
    assert locked.held


def test_a_register_that_stays_locked_is_left_to_the_next_start(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNWRITTEN_MAX", 3)
    keeping.keeper._condense_at = 1
    locked = locked_out(keeping)
    for number in range(4):
        keeping.learn(opted(bytes([number]) * 16))
    keeping.durable()
    with capture_logs() as said:
        keeping.tick()
    assert [line["event"] for line in said] == ["the register of numbers is left alone until the next start"]
    locked.held = False
    keeping.learn(opted(ZHAO))
    keeping.durable()
    keeping.keeper.reload(START_US)
    assert (keeping.thread.jobs, keeping.directory.unwritten, keeping.written()[0]) == (deque(), [], 0)
    known = keeping.known()
    assert len(known[1]) == 6
    found = keeping.again()
    assert (found.known(), found.keeper.applied_index) == (known, 0)
    found.tick()
    found.finish()
    assert found.written()[0] == 6
    found.keeper.close()


def test_what_cannot_be_read_now_is_read_later(keeping: Keeping, path: Path) -> None:
    locked = Locked(keeping.keeper._register)
    keeping.keeper._register = cast(Register, locked)
    imports(path, "unicom", LI)
    keeping.keeper.reload(START_US)
    keeping.finish()
    assert keeping.known()[0] == {}
    locked.held = False
    keeping.tick()
    keeping.finish()
    assert keeping.known()[0] == {LI: "unicom"}
    keeping.tick()
    assert not keeping.thread.jobs
