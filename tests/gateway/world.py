"""A gateway without sockets, threads or clocks: the test is the event loop, the disk and both peers.

Everything between the octets of an application and those of a carrier is the real thing; what is played here
is the loop (callbacks run when the test says so), the evidence log (a batch is durable when the test says
so), the wires (what one side writes the other hears), and the two peers at their ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, cast

from gateway.account import Account
from gateway.admission import Admission
from gateway.ancillary import Ancillary
from gateway.carrier import Carrier
from gateway.commitment import Commitment, Effects
from gateway.config import (
    AccountConfig,
    CarrierConfig,
    LanesConfig,
    LimitsConfig,
    ListenerConfig,
    NumbersConfig,
    RepliesConfig,
    RouteTable,
)
from gateway.connection import Connection
from gateway.dispatch import Dispatch
from gateway.downstream import Link
from gateway.message import MessageIds, Part
from gateway.number_directory import NumberDirectory
from gateway.number_plan import NumberPlan
from gateway.open_parts import OpenParts
from gateway.opt_out import OptOuts
from gateway.outcomes import OutcomeTable
from gateway.password import Password
from gateway.pipeline import Pipeline
from gateway.portability import Portability
from gateway.rebuild import Rebuilder
from gateway.recovery import Fold, Restoration
from gateway.replies import Replies
from gateway.reports import Reports
from gateway.routes import Routes
from gateway.turns import Turns
from gateway.upkeep import TICKS_A_SECOND, Upkeep
from gateway.upstream import Listener
from protocol.smpp.pdu import DeliverSm
from protocol.smpp.session import BindRequest
from storage import records
from storage.history import History, VerifyReport
from storage.keys import Keyring
from storage.log import EvidenceLog
from storage.reader import LogReader
from storage.seal import Sealer
from tests.gateway.peers import ApplicationPeer, CarrierPeer, Peer, Wire

START_S: Final = 1000.0
START_US: Final = 1_790_000_000_000_000  # 2026-09-21T22:13:20 in Shanghai
IDENTITY: Final = bytes.fromhex("a1b2c3") + bytes(13)
PLAN: Final = NumberPlan.load()
OUTCOMES: Final = OutcomeTable.load()

# Numbers that the plan gives to China Mobile and to China Unicom.
MOBILE: Final = b"13800138000"
MOBILE_2: Final = b"13900139000"
UNICOM: Final = b"13000130000"


class Timer:
    """A callback that waits for its time."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Runs callbacks when the test says so; the methods of an event loop that the gateway calls."""

    def __init__(self) -> None:
        self.now = START_S
        self._soon: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._later: list[Timer] = []

    def call_soon(self, call: Callable[..., None], *arguments: object) -> None:
        self._soon.append((call, arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.now + delay_s, call)
        self._later.append(timer)
        return timer

    def run(self) -> None:
        """Run what is due, and what that makes due."""
        due = [timer for timer in self._later if timer.at <= self.now and not timer.cancelled]
        self._later = [timer for timer in self._later if timer.at > self.now]
        self._soon += [(timer.call, ()) for timer in due]
        while self._soon:
            calls, self._soon = self._soon, []
            for call, arguments in calls:
                call(*arguments)

    @property
    def next_timer(self) -> float | None:
        return min((timer.at for timer in self._later if not timer.cancelled), default=None)


class ScriptedTurns(Turns):
    """Turns by the clock of the test."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(cast(asyncio.AbstractEventLoop, loop))
        self._clock = loop
        self.begin()

    def begin(self) -> float:
        self.now = self._clock.now
        self.now_us = START_US + round((self.now - START_S) * 1e6)
        return self.now


class ScriptedLog:
    """An evidence log in memory: a batch is durable when the test releases it."""

    def __init__(self, found: Iterable[bytes] = ()) -> None:
        self.entries = list(found)
        self.busy = False
        self.has_room = True
        self.durable_index = len(self.entries)
        self.identity = IDENTITY
        self.sync_s = 0.0
        self.batch_records = 0
        self.on_durable: Callable[[object], None]
        self.on_append: Callable[[], None] = lambda: None  # called before each append
        self.effects: object = None  # of the batch at the disk
        self._committed = len(self.entries)

    @property
    def next_index(self) -> int:
        return len(self.entries) + 1

    @property
    def pending(self) -> int:
        return len(self.entries) - self._committed

    def append(self, record: bytes) -> int:
        self.on_append()
        self.entries.append(record)
        return len(self.entries)

    def commit(self, effects: object) -> None:
        assert not self.busy
        assert self.pending
        self.busy = True
        self._committed = len(self.entries)
        self.effects = effects

    def release(self) -> None:
        """The disk has the batch."""
        assert self.busy
        self.busy = False
        self.durable_index = self._committed
        effects, self.effects = self.effects, None
        self.on_durable(effects)

    def tick(self) -> None:
        pass

    def find(self, index: int) -> bytes:
        return self.entries[index - 1]

    def read(self, start: int = 1) -> list[records.AnyRecord]:
        """The records from an index on."""
        return [records.decode(entry) for entry in self.entries[start - 1 :]]

    def faults(self) -> list[tuple[int, str]]:
        """What `evidence verify` would say against these records."""
        report = VerifyReport()
        history = History(report)
        history.add(1, self.read())
        return [(fault.index, fault.reason) for fault in report.faults]


class SameThread(ThreadPoolExecutor):
    """Does at once what others do beside the loop."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*arguments, **named))
        return future


class OpenListener(Listener):
    """Grants every bind of a known account at once: passwords have their own tests."""

    def unwelcome(self, address: str) -> str:
        return ""

    def bind(self, application: Any, request: BindRequest) -> None:
        application.name = request.system_id.decode()
        application.accept(self.accounts[application.name], request)


class ScriptedRebuilder(Rebuilder):
    """Reads the scripted log."""

    def __init__(self, log: ScriptedLog, world: World) -> None:
        super().__init__(Path(), world.sealer, world.pipeline.reports)
        self._reported = self._accepted = cast(LogReader, log)


def account(system_id: str = "hukou", source: str = "10639110", **settings: Any) -> AccountConfig:
    """An account that may do all it likes from one source prefix."""
    defaults = {"rate_per_s": 10_000, "sources": (source,), "report_window": 10}
    return AccountConfig(
        system_id=system_id, password_file=Path(), password_hash="", **{**defaults, **settings}
    )


def carrier(name: str = "cmcc", network: str = "mobile", **settings: Any) -> CarrierConfig:
    """A carrier with one link, a window of 10, and no rate to speak of."""
    defaults = {"rate_per_s": 10_000, "window": 10, "host": "mc", "port": 1, "system_id": "gw"}
    return CarrierConfig(
        name=name,
        network=network,  # type: ignore[arg-type]
        password_file=Path(),
        password=Password(b"secret"),
        **{**defaults, **settings},
    )


def new_sealer(directory: Path) -> Sealer:
    """A sealer with a key of its own; making one costs some syncs, so a test makes it once."""
    return Sealer(Keyring(directory / "keys", bytes(32)))


class World:
    """One gateway and its peers.  `found`: the evidence it finds at its start, none for a new one."""

    def __init__(
        self,
        sealer: Sealer,
        *,
        accounts: Iterable[AccountConfig] = (),
        carriers: Iterable[CarrierConfig] = (),
        limits: LimitsConfig | None = None,
        numbers: NumbersConfig | None = None,
        lanes: LanesConfig | None = None,
        replies: RepliesConfig | None = None,
        routes: Iterable[RouteTable] = (),
        found: Iterable[bytes] = (),
        now: float = START_S,
    ) -> None:
        self.limits = limits or LimitsConfig()
        self.sealer = sealer
        self.loop = Loop()
        self.loop.now = now
        self.turns = ScriptedTurns(self.loop)
        self.log = ScriptedLog(found)
        self.open_parts = OpenParts()
        self.accounts = {
            config.system_id: Account(config, self.limits.outbox_memory_max, now)
            for config in (tuple(accounts) or (account(),))
        }
        self.dispatch = Dispatch(
            Carrier(config, self.limits.receipts_pending_max, now)
            for config in (tuple(carriers) or (carrier(),))
        )
        numbers = numbers or NumbersConfig()
        self.directory = NumberDirectory(PLAN, sealer.number_hash, Portability(1_000), OptOuts(), numbers)
        self.routes = Routes(self.dispatch.carriers, routes, numbers.default_network)
        self.admission = Admission(
            cast(EvidenceLog, self.log),
            self.open_parts,
            self.directory,
            self.routes,
            self.limits,
            lanes or LanesConfig(),
        )
        self.message_ids = MessageIds(IDENTITY)
        self.commitment = Commitment(
            cast(asyncio.AbstractEventLoop, self.loop),
            self.turns,
            cast(EvidenceLog, self.log),
            self.open_parts,
            self.dispatch,
        )
        self.replies = Replies(
            self.turns,
            cast(EvidenceLog, self.log),
            self.commitment,
            sealer,
            self.accounts,
            self.directory,
            Reports(self.message_ids),
            replies or RepliesConfig(),
        )
        self.pipeline = Pipeline(
            self.turns,
            cast(EvidenceLog, self.log),
            self.commitment,
            sealer,
            self.open_parts,
            self.admission,
            self.dispatch,
            self.directory,
            OUTCOMES,
            self.replies,
            self.message_ids,
        )
        self.turns.flow = self.commitment
        self.log.on_durable = self.commitment.release
        self.ancillary = Ancillary(self.admission, self.open_parts, self.turns, self.pipeline)
        self.listener = OpenListener(
            ListenerConfig(), "gw", self.accounts, self.pipeline, self.ancillary, self.turns
        )
        for owner in self.dispatch.carriers.values():
            owner.links = [
                Link(owner, index, self.pipeline, self.turns) for index in range(owner.config.sessions)
            ]
        self.rebuilder = ScriptedRebuilder(self.log, self)
        self.upkeep = Upkeep(
            cast(asyncio.AbstractEventLoop, self.loop),
            self.turns,
            cast(EvidenceLog, self.log),
            self.open_parts,
            self.accounts,
            self.dispatch.carriers,
            self.commitment,
            self.pipeline,
            self.listener,
            self.rebuilder,
            lambda now_us: None,
            lambda: None,
        )
        self.upkeep._threads = SameThread()
        if not self.log.entries:
            self.log.append(records.encode(sealer.open_key(self.turns.now_us)))
        self.fold = Fold()
        self.on_still: Callable[[], None] = lambda: None  # called after each turn

    def restore(self) -> list[Part]:
        """Read what was found, as the daemon does at its start; the parts that were cut off."""
        self.fold.read(enumerate(self.log.entries, 1))
        for index, record in self.fold.learned:
            self.directory.note(index, record)
        restoration = Restoration(
            self.fold,
            self.sealer,
            self.open_parts,
            self.accounts.__getitem__,
            self.dispatch.carriers.__getitem__,
            self.replies,
            self.admission.long_texts,
            self.turns,
        )
        return restoration.restore()

    # -- peers ----------------------------------------------------------------------------------------------

    def application(
        self, system_id: str = "hukou", *, bind: str = "transceiver", version: int = 0x34
    ) -> ApplicationPeer:
        """An application that has bound; what led there is on disk."""
        peer = ApplicationPeer(self.loop, self.settle)
        self._connect(peer, self.listener._make_connection())
        peer.bind(system_id, bind, version)
        self.settle()
        assert peer.session.bound
        peer.heard = [pdu for pdu in peer.heard if isinstance(pdu, DeliverSm)]
        return peer

    def connect(self, name: str = "cmcc", index: int = 0) -> CarrierPeer:
        """A carrier to which the link of that index has bound; what led there is on disk."""
        link = self.dispatch.carriers[name].links[index]
        peer = CarrierPeer(self.loop, self.settle)
        link.state = "connecting"
        self._connect(peer, link._make_connection())
        self.settle()
        assert link.state == "bound"
        return peer

    def _connect(self, peer: Peer, connection: Connection) -> None:
        wire = Wire(connection, peer, self.loop)
        peer.wire = wire
        connection.connection_made(wire)

    # -- time and disk --------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Let the gateway do all it can without the disk."""
        self.loop.run()
        self.on_still()

    def durable(self) -> None:
        """The disk has the batch it was given; the gateway does all it can until it needs the disk again."""
        self.log.release()
        self.turn()

    def settle(self) -> None:
        """Turns and batches until nothing moves any more."""
        self.turn()
        while self.log.busy:
            self.durable()
        assert not self.log.pending
        assert not self.log.faults()

    def hold(self, name: str, seconds: float) -> None:
        """The rate of a carrier is used up for so long."""
        bucket = self.dispatch.carriers[name].bucket
        bucket._level, bucket._updated = -seconds * bucket.rate_per_s, self.loop.now

    def wait(self, seconds: float) -> None:
        """Time passes, and what it brings comes to rest."""
        self.tick(seconds)
        self.settle()

    def tick(self, seconds: float) -> None:
        """Time passes; at its end everything rings that rings within a second, and a turn is due."""
        self.loop.now += seconds
        for _ in range(TICKS_A_SECOND):
            self.upkeep.tick()

    # -- what can be seen -----------------------------------------------------------------------------------

    @property
    def kinds(self) -> list[str]:
        """The types of all records in order, without those of binds and keys."""
        quiet = (records.KeyOpened, records.LinkEvent, records.SessionEvent)
        return [type(record).__name__ for record in self.log.read() if not isinstance(record, quiet)]

    def part(self, message_id: bytes) -> Part:
        """The part with the id that its application knows."""
        number = self.message_ids.number(message_id)
        assert number is not None
        part = self.open_parts.get(number)
        assert part is not None
        return part

    def unreleased(self) -> list[Effects]:
        """The effects of batches that are not durable yet."""
        at_disk = [self.log.effects] if self.log.busy else []
        return [cast(Effects, effects) for effects in (*at_disk, self.commitment._effects)]
