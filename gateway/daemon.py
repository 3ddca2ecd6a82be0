"""The gateway process: puts its pieces together, starts them, stops them.  Nothing is decided here."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from gateway import __version__, logs
from gateway.account import Account
from gateway.activation import smpp_socket
from gateway.admission import Admission
from gateway.ancillary import Ancillary
from gateway.carrier import Carrier
from gateway.clock import SystemClock
from gateway.commitment import Commitment
from gateway.config import AccountConfig, CarrierConfig, Config
from gateway.config_table import ConfigError, is_credential
from gateway.control import ControlServer
from gateway.dispatch import Dispatch
from gateway.downstream import Link
from gateway.http import Condition, Heartbeat, HttpServer
from gateway.instruments import register
from gateway.ledger_progress import LedgerProgress
from gateway.message import MessageIds
from gateway.metrics import Metrics
from gateway.notify import Notifier
from gateway.number_directory import NumberDirectory
from gateway.number_keeper import NumberKeeper
from gateway.number_plan import NumberPlan
from gateway.open_parts import OpenParts
from gateway.operator_commands import OperatorCommands
from gateway.opt_out import OptOuts
from gateway.password import Password
from gateway.pipeline import Pipeline
from gateway.portability import PORTED_MAX, Portability
from gateway.rebuild import Rebuilder
from gateway.recovery import Fold, Restoration, recall_writers
from gateway.registers import Registers
from gateway.reload import Reload, load_outcomes
from gateway.replies import Replies
from gateway.reports import Reports, is_reported
from gateway.retention import Retention
from gateway.routes import Routes
from gateway.turns import TICK_S, Turns, every
from gateway.upkeep import Upkeep
from gateway.upstream import Listener
from protocol.smpp.codes import MessageState
from storage import records
from storage.errors import CorruptEvidence
from storage.keys import Keyring, read_master_key
from storage.log import EvidenceLog
from storage.proofs import checkpoints
from storage.register import REGISTER_NAME
from storage.seal import Sealer

if TYPE_CHECKING:
    from gateway.logs import LogWriter

logger = structlog.get_logger()

_UNKNOWN: Final = int(MessageState.UNKNOWN)

# The collector looks for cycles; the hot path makes none (its structs are outside of the collector), so it
# may look rarely.  With the defaults its full passes cost 57 to 81 ms at p99 under load.
GC_THRESHOLDS = (50_000, 20, 100)

# How long the loop may keep the interpreter from the evidence writer.  The default of 5 ms would be the
# latency of a commit at full load.
SWITCH_INTERVAL_S = 0.0005

# How long an orderly stop may take in all; systemd's TimeoutStopSec is longer.
STOP_S = 20.0

# How long applications may take to hear what is left in their outboxes, and to answer our unbind.
FAREWELL_S = 3.0


class Daemon:
    """One gateway, from start to stop."""

    def __init__(
        self,
        config: Config,
        log_writer: LogWriter,
        beside: AbstractContextManager[object],
        *,
        give_up_lost: bool,
    ) -> None:
        """`beside`: what runs from the moment the evidence is read until everything is recorded.
        `give_up_lost`: see Restoration."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._config = config
        self._log_writer = log_writer
        self._beside = beside
        self._give_up_lost = give_up_lost
        self._stop = asyncio.Event()
        loop.set_exception_handler(self._callback_failed)

        # Time and state.
        self.turns = Turns(loop)
        now = self.turns.now
        self.open_parts = OpenParts()
        limits = config.limits
        self.accounts = {
            account.system_id: Account(account, limits.outbox_memory_max, now) for account in config.accounts
        }
        self.dispatch = Dispatch(
            Carrier(carrier, limits.receipts_pending_max, now) for carrier in config.carriers
        )
        # With those that left the configuration while the evidence has open business of theirs.
        self._known_accounts = dict(self.accounts)
        self._known_carriers = dict(self.dispatch.carriers)

        # Evidence.
        evidence = config.gateway.evidence_dir
        key_file = config.evidence.master_key_file
        master_key = read_master_key(key_file, guarded=is_credential(key_file))
        self.keyring = Keyring(evidence / "keys", master_key)
        self.sealer = Sealer(self.keyring)
        self.log = EvidenceLog(
            evidence,
            self.sealer,
            config.evidence.segment_mib << 20,
            lambda: self.commitment.low_water,
            self._post,
            lambda effects: self.commitment.release(effects),
            self._evidence_failed,
        )
        self._low_water = self.log.recover()

        # What is known: of numbers, of routes, of carriers' statuses.
        self.directory = NumberDirectory(
            NumberPlan.load(),
            self.sealer.number_hash,
            Portability(PORTED_MAX),
            OptOuts(),
            config.numbers,
        )
        self.keeper = NumberKeeper(config.gateway.state_dir / REGISTER_NAME, self.directory, self.log, loop)
        routes = Routes(self.dispatch.carriers, config.routes, config.numbers.default_network)
        outcomes = load_outcomes(config)

        # The two paths.
        self.message_ids = MessageIds(self.log.identity)
        self.admission = Admission(self.log, self.open_parts, self.directory, routes, limits, config.lanes)
        self.commitment = Commitment(loop, self.turns, self.log, self.open_parts, self.dispatch)
        self.replies = Replies(
            self.turns,
            self.log,
            self.commitment,
            self.sealer,
            self.accounts,
            self.directory,
            Reports(self.message_ids),
            config.replies,
        )
        self.pipeline = Pipeline(
            self.turns,
            self.log,
            self.commitment,
            self.sealer,
            self.open_parts,
            self.admission,
            self.dispatch,
            self.directory,
            outcomes,
            self.replies,
            self.message_ids,
        )
        self.commitment.low_water = self._low_water
        self.turns.flow = self.commitment
        self.ancillary = Ancillary(self.admission, self.open_parts, self.turns, self.pipeline)
        self.listener = Listener(
            config.listener, config.gateway.name, self.accounts, self.pipeline, self.ancillary, self.turns
        )
        for carrier in self.dispatch.carriers.values():
            carrier.links = [
                Link(carrier, index, self.pipeline, self.turns) for index in range(carrier.config.sessions)
            ]

        # What watches and steers.
        self.notifier = Notifier.from_environment(os.environ, os.getpid())
        self.heartbeat = Heartbeat(SystemClock())
        ledger = LedgerProgress(config.gateway.proofs_dir, config.gateway.state_dir)
        self.metrics = Metrics()
        register(
            self.metrics,
            self.accounts,
            self.dispatch,
            self.open_parts,
            self.commitment,
            self.pipeline,
            self.log,
            ledger,
        )
        self.upkeep = Upkeep(
            loop,
            self.turns,
            self.log,
            self.open_parts,
            self._known_accounts,
            self._known_carriers,
            self.commitment,
            self.pipeline,
            self.listener,
            Rebuilder(evidence, self.sealer, self.pipeline.reports),
            self.keeper.tick,
            self._alive,
        )
        self.reload = Reload(
            config,
            self.turns,
            self.accounts,
            self._known_accounts,
            self.dispatch.carriers,
            self._known_carriers,
            self.listener,
            self.admission,
            self.directory,
            self.replies,
            self.pipeline,
        )
        self.commands = OperatorCommands(
            config.gateway.name,
            self.turns,
            self.log,
            self.accounts,
            self.dispatch,
            self._known_carriers,
            self.open_parts,
            self.admission,
            self.pipeline,
            self.message_ids,
            self.listener,
            self.reload,
            self.keeper,
            ledger,
        )
        self.registers = Registers(self.turns, self.log, self.sealer)
        self.retention = Retention(self.turns, self.log, lambda: self.commitment.low_water)

    # -- life -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Restore, serve until a signal, stop in order."""
        self._loop.add_signal_handler(signal.SIGHUP, self.reload.by_signal)
        try:
            self._restore()
            with self._beside:
                await self._serve()
                await self._end("stopped by a signal")
                self.keeper.settle()
        finally:
            self.keeper.close()
            self.log.close()  # where the start failed: its threads must not outlive the loop

    async def _serve(self) -> None:
        config = self._config
        http = HttpServer(
            config.http.host, config.http.port, self.heartbeat, self.metrics.exposition, self._conditions
        )
        handlers = {**self.commands.handlers, **self.registers.handlers, **self.retention.handlers}
        control = ControlServer(config.gateway.state_dir, handlers)
        try:
            await control.start()
            host, port = config.listener.host, config.listener.port
            await self.listener.start(smpp_socket(os.environ, os.getpid(), host, port))
            for signal_number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(signal_number, self._stop.set)
            cancel_ticks = every(self._loop, TICK_S, self.upkeep.tick)
            async with asyncio.TaskGroup() as tasks:
                self.reload.begin(lambda run, name: tasks.create_task(run, name=name))
                for link in self._links():
                    tasks.create_task(link.run(), name=f"link {link.name}")
                _tune_interpreter()
                self.notifier.ready("serving")
                logger.info("serving", host=config.listener.host, port=config.listener.port)
                await self._stop.wait()
                self.reload.end()
                self.notifier.stopping("stopping")
                logger.info("stopping")
                try:
                    async with asyncio.timeout(STOP_S):
                        await self._wind_down()
                except TimeoutError:
                    logger.warning("no orderly end in time", limit_s=STOP_S)
                # Whoever has not said goodbye by now is waited for no more. The ends are recorded too.
                for link in self._links():
                    link.abort("stopped")
                self.listener.close()
                await self._until(lambda: not self.listener.applications, FAREWELL_S)
            cancel_ticks()
            await control.stop()
        finally:
            self.upkeep.close()
            http.stop()

    def _restore(self) -> None:
        self._refuse_to_fork()
        if self.log.torn is not None:
            lost = self.log.torn.lost
            say = logger.error if lost else logger.warning
            say("cut a torn tail", octets=self.log.torn.octets, durable_records_lost=lost)
        self.keeper.load(self.turns.now_us)
        fold = Fold()
        fold.read(self.log.replay(min(self._low_water, self.keeper.applied_index + 1)))
        for index, record in fold.learned:
            if index > self.keeper.applied_index:
                self.directory.note(index, record)
        restoration = Restoration(
            fold,
            self.sealer,
            self.open_parts,
            self._account_of,
            self._carrier_of,
            self.replies,
            self.admission.long_texts,
            self.turns,
            give_up_lost=self._give_up_lost,
        )
        recall_writers(self._config.gateway.evidence_dir, self.replies)
        cut_off = restoration.restore()
        started = records.Started(
            self.turns.now_us,
            self._config.gateway.name,
            __version__,
            bytes.fromhex(self._config.digest),
            f"{socket.gethostname()} {os.getpid()}",
        )
        self.log.append(records.encode(started))
        self.pipeline.journal.configured(self._config.accounts, self._config.carriers)
        self._give_up(restoration)
        self.pipeline.cut_off(cut_off)
        self.pipeline.resend_as_configured()
        for name, carrier in self._known_carriers.items():
            if name not in self.dispatch.carriers:
                self.pipeline.detours.reroute(carrier)
        self.turns.schedule()

    def _give_up(self, restoration: Restoration) -> None:
        """What is sealed under a data key that is gone ends, and nobody can be told: the addresses are sealed
        too. Here it is said of each, so that a person can tell the application."""
        give_up_report = self.pipeline.reporting.give_up_report
        for number, fate in restoration.lost:
            name = fate.accepted.account
            logger.error("a message is given up: its data key is gone", number=number, account=name)
            ended = records.Outcome(number, self.turns.now_us, _UNKNOWN, b"", "gateway", "content lost", "")
            index = self.log.append(records.encode(ended))
            if is_reported(fate.registered_delivery, _UNKNOWN, fate.group, unsent=fate.unsent):
                give_up_report(self._account_of(name), index)
        for index, name in restoration.lost_reports:
            logger.error("a report is given up: its data key is gone", record=index, account=name)
            give_up_report(self._account_of(name), index)

    def _refuse_to_fork(self) -> None:
        """Indexes that were signed are never given again: evidence that was put back from an older copy is no
        evidence to go on from."""
        last = self.log.recovered_index
        signed = checkpoints.signed_records(self._config.gateway.proofs_dir)
        if last < signed:
            gateway = self._config.gateway
            raise CorruptEvidence(
                gateway.evidence_dir,
                0,
                f"records {last + 1} to {signed} were signed and are gone (if they are for good, move"
                f" {gateway.proofs_dir} away, and tell the other party)",
            )

    def _account_of(self, name: str) -> Account:
        """The account; one that has left the configuration stays known, and nobody can bind to it."""
        limits = self._config.limits
        account = self._known_accounts.get(name)
        if account is None:
            logger.warning(
                "the evidence has open business of an account that is not configured", account=name
            )
            config = AccountConfig(system_id=name, password_file=Path(), password_hash="")
            account = self._known_accounts[name] = Account(config, limits.outbox_memory_max, self.turns.now)
        return account

    def _carrier_of(self, name: str) -> Carrier:
        """The carrier; one that is no longer configured has no link, and its parts end by their validity."""
        limits = self._config.limits
        carrier = self._known_carriers.get(name)
        if carrier is None:
            logger.warning("the evidence has open parts of a carrier that is not configured", carrier=name)
            config = CarrierConfig(
                name=name,
                network="mobile",
                host="",
                port=0,
                system_id="",
                password_file=Path(),
                password=Password(),
            )
            carrier = self._known_carriers[name] = Carrier(
                config, limits.receipts_pending_max, self.turns.now
            )
        return carrier

    async def _wind_down(self) -> None:
        """Take nothing more, let what is in flight be answered, say goodbye on both sides."""
        self.listener.stop_accepting()
        self.admission.draining = True
        await asyncio.gather(*(link.stop() for link in self._links()))
        await self._until(lambda: not any(account.outbox.ready for account in self._reachable()), FAREWELL_S)
        await self._until(
            lambda: not any(account.outbox.in_flight for account in self._reachable()), FAREWELL_S
        )
        # Whoever was let in hears what became of it: answers wait for the disk, binds for their password.
        await self._until(
            lambda: not (self.log.busy or self.log.pending or self.listener.verifying), FAREWELL_S
        )
        self.listener.unbind_all()
        await self._until(lambda: not self.listener.applications, FAREWELL_S)

    def _links(self) -> list[Link]:
        """All of them, with those that a reload has taken away and that are not gone yet."""
        carriers = self._known_carriers.values()
        return [link for carrier in carriers for link in (*carrier.links, *carrier.retired)]

    def _reachable(self) -> list[Account]:
        return [account for account in self.accounts.values() if account.sessions]

    async def _until(self, done: Callable[[], bool], limit_s: float) -> None:
        deadline = self._loop.time() + limit_s
        while not done() and self._loop.time() < deadline:  # noqa: ASYNC110 — the end is not the hot path
            await asyncio.sleep(0.02)

    async def _end(self, reason: str) -> None:
        """The last record, and the last sync."""
        await self._until(lambda: not self.log.busy, STOP_S)
        self.pipeline.journal.denials.flush(self.turns.now_us)
        self.log.append(records.encode(records.Stopped(self.turns.now_us, reason)))
        self.log.close()
        logger.info("stopped", reason=reason)

    # -- what watches ---------------------------------------------------------------------------------------

    def _alive(self) -> None:
        self.heartbeat.beat()
        if self.notifier.watchdog_interval_s is not None:
            self.notifier.watchdog()

    def _conditions(self) -> Sequence[Condition]:
        """What readiness means; called by the threads of the HTTP server."""
        log, carriers = self.log, list(self.dispatch.carriers.values())
        links = [link for carrier in carriers for link in carrier.links]
        bound, total = sum(link.state == "bound" for link in links), len(links)
        return (
            Condition("evidence", log.has_room, "room for new messages" if log.has_room else "disk full"),
            Condition("listener", self.listener.open, f"port {self._config.listener.port}"),
            Condition("links", bound > 0, f"{bound} of {total} links bound"),
            Condition(
                "taking", not self.admission.draining, "draining" if self.admission.draining else "yes"
            ),
        )

    def _post(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the loop; called by the evidence writer's thread."""
        self._loop.call_soon_threadsafe(call)

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """An error that no one caught.  Of a transport it is the network's; any other is ours, and what it
        interrupted may have been a release: the process ends, and recovery knows what happened."""
        error = context.get("exception")
        if isinstance(error, OSError) and ("transport" in context or "protocol" in context):
            logger.warning("transport failed", error=str(error))
            return
        logger.critical("internal error", message=context.get("message"), exc_info=error)
        self._log_writer.close()
        os._exit(1)

    def _evidence_failed(self, error: BaseException) -> None:
        """The disk failed under the evidence.  Nothing may be answered any more, and a sync is never tried
        again: the process ends here, and recovery decides what is on disk."""
        logger.critical("evidence cannot be written", error=str(error))
        self._log_writer.close()
        os._exit(1)


def _tune_interpreter() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def run(config: Config, beside: AbstractContextManager[object], *, give_up_lost: bool = False) -> None:
    """Run the gateway in the foreground until SIGTERM or SIGINT, and ``beside`` while it serves.

    Raises EvidenceError, ControlSocketError, HttpListenError or OSError if it cannot start; each says why.
    """
    try:
        config.gateway.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{config.path}: gateway.state_dir: cannot make {config.gateway.state_dir}: {error.strerror}:"
            " name a directory that this user may write to"
        ) from error
    log_writer = logs.start(sys.stderr.fileno(), "info", console=sys.stderr.isatty())

    async def main() -> None:
        await Daemon(config, log_writer, beside, give_up_lost=give_up_lost).run()

    try:
        uvloop.run(main())
    finally:
        log_writer.close()
