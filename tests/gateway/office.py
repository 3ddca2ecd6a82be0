"""A gateway of which an operator has the file and the commands: a world whose links run by themselves.

Links run as tasks of the test's own event loop, and connect to carriers of the world; to poll takes a pass of
that loop and no time.  Time is that of the world, and moves when the test says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.config import load
from gateway.control import Handler
from gateway.downstream import Link
from gateway.ledger_progress import LedgerProgress
from gateway.number_keeper import NumberKeeper
from gateway.operator_commands import OperatorCommands
from gateway.password import hash_password
from gateway.reload import Reload
from storage import records
from storage.log import EvidenceLog
from storage.seal import Sealer
from storage.settlement.alarms import Alarm
from tests.gateway.peers import ApplicationPeer, CarrierPeer
from tests.gateway.world import World

FILE: Final = """\
[gateway]
name = "gw-1"
state_dir = "state"
[evidence]
master_key_file = "master"
[[account]]
system_id = "hukou"
password_file = "hukou"
networks = ["192.0.2.0/24"]
sources = ["10639110"]
rate_per_s = 1000
window = 50
[[account]]
system_id = "jiaoguan"
password_file = "jiaoguan"
networks = ["192.0.2.0/24"]
sources = ["10639120"]
[[carrier]]
name = "cmcc"
network = "mobile"
host = "cmcc.example"
port = 1
system_id = "gw"
password_file = "cmcc"
sessions = 2
window = 10
rate_per_s = 1000
reconnect_min_s = 60
[[carrier]]
name = "cucc"
network = "unicom"
host = "cucc.example"
port = 2
system_id = "jingxin"
password_file = "cucc"
[[route]]
network = "mobile"
carriers = ["cmcc", "cucc"]
weights = [1, 0]
"""

# Tables that tests take out of the file or put into it, whole.
CMCC: Final = FILE[FILE.index('[[carrier]]\nname = "cmcc"') : FILE.index('[[carrier]]\nname = "cucc"')]
ROUTE: Final = FILE[FILE.index("[[route]]") :]
JIAOGUAN: Final = FILE[FILE.index('[[account]]\nsystem_id = "jiaoguan"') : FILE.index("[[carrier]]")]

HASH: Final = hash_password(b"secret")

# Passes of the event loop after which nothing goes on by itself: a drain takes five.
_PASSES: Final = 20

_FILES_S: Final = 5.0  # real ones; a command that waits for time of the world fails after them

_sleep = asyncio.sleep


class FarLedger(LedgerProgress, frozen=True):
    """A ledger that has signed 7 records, and has 5 in its tables. No event loop may wait for it."""

    def signed(self) -> int:
        self._read()
        return 7

    def tabled(self) -> int:
        self._read()
        return 5

    def _read(self) -> None:
        assert threading.current_thread() is not threading.main_thread(), "the event loop waits for files"

    def alarms(self) -> list[Alarm]:
        self._read()
        return [Alarm("term", "the term ends on 2026-11-30, in 4 days")]


class Carriers:
    """Where links connect to.  hanging: hosts that answer no connect; refusing: those that refuse each."""

    def __init__(self, world: World) -> None:
        self.connects: list[str] = []  # hosts, in order
        self.hanging: set[str] = set()
        self.refusing: set[str] = set()
        self._peers: list[tuple[str, CarrierPeer]] = []
        self._world = world

    async def connect(self, make: Callable[[], Any], host: str, port: int) -> None:
        """In place of `create_connection` of the event loop."""
        self.connects.append(host)
        connection = make()  # as the event loop does it: the protocol first
        if host in self.hanging:
            await asyncio.Event().wait()
        if host in self.refusing:
            raise ConnectionRefusedError("refused")
        peer = CarrierPeer(self._world.loop, self._world.settle)
        self._peers.append((host, peer))
        self._world._connect(peer, connection)

    def at(self, host: str) -> list[CarrierPeer]:
        """The carrier's ends of the connections that stand, oldest first."""
        return [peer for at, peer in self._peers if at == f"{host}.example" and not peer.wire.closing]


class Office:
    """See above.  tasks: those of links, by name."""

    def __init__(self, directory: Path, sealer: Sealer) -> None:
        self.file = directory / "gw.toml"
        self.file.write_text(FILE)
        for name in ("hukou", "jiaoguan", "cmcc", "cucc"):
            self.write_secret(name, HASH if name in FILE[: FILE.index("[[carrier]]")] else "secret")
        config = load(self.file)
        self.world = World(
            sealer,
            accounts=config.accounts,
            carriers=config.carriers,
            limits=config.limits,
            numbers=config.numbers,
            lanes=config.lanes,
            replies=config.replies,
            routes=config.routes,
        )
        world = self.world
        known_accounts: dict[str, Account] = dict(world.accounts)
        self.known_carriers: dict[str, Carrier] = dict(world.dispatch.carriers)
        world.upkeep._accounts, world.upkeep._carriers = known_accounts, self.known_carriers
        self.carriers = Carriers(world)
        self.tasks: list[asyncio.Task[None]] = []
        self.commands: list[asyncio.Task[dict[str, Any]]] = []
        self.reload = Reload(
            config,
            world.turns,
            world.accounts,
            known_accounts,
            world.dispatch.carriers,
            self.known_carriers,
            world.listener,
            world.admission,
            world.directory,
            world.replies,
            world.pipeline,
        )
        self.keeper = KeeperThatCounts()
        commands = OperatorCommands(
            "gw-1",
            world.turns,
            cast(EvidenceLog, world.log),
            world.accounts,
            world.dispatch,
            self.known_carriers,
            world.open_parts,
            world.admission,
            world.pipeline,
            world.message_ids,
            world.listener,
            self.reload,
            cast(NumberKeeper, self.keeper),
            FarLedger(Path(), Path()),
        )
        self._handlers: dict[str, Handler] = commands.handlers

    def write_secret(self, name: str, text: str) -> None:
        path = self.file.parent / name
        path.touch(0o600)
        path.write_text(text)

    def start(self, run: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(run, name=name))

    async def open(self) -> None:
        """Begin to serve: all links bind."""
        self.world.turns.schedule()
        self.reload.begin(self.start)
        for carrier in self.world.dispatch.carriers.values():
            for link in carrier.links:
                self.start(link.run(), f"link {link.name}")
        await self.settle()

    async def close(self) -> None:
        """End what still runs; a task of a link that failed before fails the test."""
        for task in (*self.tasks, *self.commands):
            task.cancel()
        await asyncio.gather(*self.commands, return_exceptions=True)
        ends = await asyncio.gather(*self.tasks, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, asyncio.CancelledError | None)] == []

    # -- time -----------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Everything happens that needs no time."""
        for _ in range(_PASSES):
            self.world.settle()
            await _sleep(0)

    async def wait(self, seconds: float) -> None:
        """Time passes, and what it brings comes to rest."""
        self.world.wait(seconds)
        await self.settle()

    # -- the operator ---------------------------------------------------------------------------------------

    def edit(self, old: str, new: str) -> None:
        """Change the file; what is changed stands in it once."""
        text = self.file.read_text()
        assert text.count(old) == 1, old
        self.file.write_text(text.replace(old, new))

    async def apply(self, *edits: tuple[str, str]) -> dict[str, list[str]]:
        """Edit the file and reload it; returns what changed, without what did not, and without warnings."""
        for old, new in edits:
            self.edit(old, new)
        changed = await self.reload.reload("zhang")
        await self.settle()
        return {what: names for what, names in changed.items() if names and what != "warnings"}

    async def begin(self, command: str, **arguments: Any) -> asyncio.Task[dict[str, Any]]:
        """Give a command, and let everything happen that needs no time; its answer may come later."""

        async def answer() -> dict[str, Any]:
            result = self._handlers[command](arguments)
            return cast(dict[str, Any], await result if isinstance(result, Awaitable) else result)

        task = asyncio.get_running_loop().create_task(answer(), name=command)
        self.commands.append(task)
        await self.settle()
        return task

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give a command that is answered within no time, or as soon as a thread has read its files."""
        task = await self.begin(command, **arguments)
        await asyncio.wait((task,), timeout=_FILES_S)
        assert task.done()
        return task.result()

    # -- what can be seen -----------------------------------------------------------------------------------

    def application(self, system_id: str = "hukou", **bind: Any) -> ApplicationPeer:
        return self.world.application(system_id, **bind)

    def link(self, name: str) -> Link:
        carrier, index = name.split("#")
        return self.world.dispatch.carriers[carrier].links[int(index)]

    def states(self) -> dict[str, str]:
        """Of all links that are configured."""
        carriers = self.world.dispatch.carriers.values()
        return {link.name: link.state for carrier in carriers for link in carrier.links}

    def running(self) -> list[str]:
        """The tasks that have not ended."""
        return sorted(task.get_name() for task in self.tasks if not task.done())

    def actions(self) -> list[tuple[str, str, str]]:
        """Who did what, and with what, by the evidence."""
        return [
            (record.who, record.action, record.reason)
            for record in self.world.log.read()
            if isinstance(record, records.OperatorAction)
        ]


class KeeperThatCounts:
    """In place of the register: how often it was to be read again."""

    def __init__(self) -> None:
        self.reloads = 0

    def reload(self, now_us: int) -> None:
        self.reloads += 1


@asynccontextmanager
async def opened(directory: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """An office whose links are all bound."""
    office = Office(directory, sealer)
    monkeypatch.setattr(asyncio, "sleep", lambda delay: _sleep(0))
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", office.carriers.connect)
    await office.open()
    assert set(office.states().values()) == {"bound"}
    try:
        yield office
    finally:
        await office.close()
