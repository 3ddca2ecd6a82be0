"""Another configuration for a running gateway, all of it or nothing of it.

The file, every password file and the table of outcomes are read first, on a thread; whatever is wrong with
them is an error of one line, and nothing has changed.  Then everything is applied within one turn of the
loop, so that no message sees half of it.  A session or bind that the change does not touch does not notice.

An account that is gone hears what is left for it and is unbound.  A carrier that is gone takes no more parts,
answers what is in flight and is unbound, while what waits for it goes another way.  A carrier whose address
or credentials changed binds anew: each link as soon as the one before it is gone, since carriers count binds.
What an operator has drained stays so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from gateway.account import Account
from gateway.admission import Admission
from gateway.carrier import Carrier
from gateway.config import AccountConfig, CarrierConfig, Config, LimitsConfig, Tables, load, warnings_of
from gateway.config_table import ConfigError
from gateway.downstream import Link
from gateway.number_directory import NumberDirectory
from gateway.outcomes import OutcomeTable, OutcomeTableError
from gateway.pipeline import Pipeline
from gateway.replies import Replies
from gateway.routes import Routes
from gateway.turns import Turns
from gateway.upstream import Listener
from storage.settlement.contract import read_contract
from storage.settlement.errors import SettlementError

logger = structlog.get_logger()

# Tables whose changes are told by their name; accounts and carriers are told one by one.
_TABLES_ALIVE: Final = (
    "evidence",
    "numbers",
    "lanes",
    "outcomes",
    "replies",
    "routes",
    "limits",
    "settlement",
)

# Keys that sockets, files and memory were made from at the start, by table; none named: all of it.
_AT_START: Final[Mapping[str, tuple[str, ...]]] = {
    "gateway": (),
    "listener": (),
    "http": (),
    "evidence": ("master_key_file", "signing_key_file", "segment_mib"),
    "limits": ("outbox_memory_max", "receipts_pending_max"),
    "replies": ("remembered_max", "part_timeout_s"),
}

# What a bind to a carrier is made of; everything else of a carrier changes under its binds.
_BIND_KEYS: Final = (
    *("host", "port", "system_id", "password", "bind", "system_type", "interface_version"),
    *("response_timeout_s", "enquire_link_s"),  # a session has its timers from its beginning
)

Value = TypeVar("Value")
StartTask = Callable[[Coroutine[Any, Any, None], str], object]


def load_outcomes(tables: Tables) -> OutcomeTable:
    """The table of carriers' statuses with the operator's rows. Raises ConfigError."""
    try:
        return OutcomeTable.load(tables.outcomes.file)
    except OutcomeTableError as error:
        raise ConfigError(f"{tables.path}: outcomes.file: {error}") from error


class Reload:
    """Owned by the event loop.

    accounts, carriers: those that are configured; known_accounts, known_carriers: with those that have left
    the configuration and still have open business.  All four are changed in place.
    """

    def __init__(
        self,
        config: Config,
        turns: Turns,
        accounts: MutableMapping[str, Account],
        known_accounts: MutableMapping[str, Account],
        carriers: MutableMapping[str, Carrier],
        known_carriers: MutableMapping[str, Carrier],
        listener: Listener,
        admission: Admission,
        directory: NumberDirectory,
        replies: Replies,
        pipeline: Pipeline,
    ) -> None:
        self._config = config
        self._turns = turns
        self._accounts = accounts
        self._known_accounts = known_accounts
        self._carriers = carriers
        self._known_carriers = known_carriers
        self._listener = listener
        self._admission = admission
        self._directory = directory
        self._replies = replies
        self._pipeline = pipeline
        self._busy = asyncio.Lock()
        self._serving = False
        self._applying = False
        self._start_task: StartTask

    def begin(self, start_task: StartTask) -> None:
        """The gateway serves.  start_task: starts a task of a name for whoever owns those of links."""
        self._start_task = start_task
        self._serving = True

    def end(self) -> None:
        """The gateway stops: nothing is applied any more, whatever is being read."""
        self._serving = False

    def by_signal(self) -> None:
        """SIGHUP came: what becomes of it stands in the log."""
        if self._serving:
            self._start_task(self._by_signal(), "reload")
        else:
            logger.warning("not reloaded", error="the gateway is starting or stopping")

    async def _by_signal(self) -> None:
        try:
            await self.reload("SIGHUP")
        except ConfigError as error:
            say = logger.error if self._serving else logger.warning  # a stop came first: nobody erred
            say("not reloaded", error=str(error))
        except Exception as error:  # of ours, in reading a file: no reason to end a gateway that works
            if self._applying:
                raise  # nobody knows what is half done
            logger.exception("not reloaded", error=str(error))

    def reads(self, path: str) -> bool:
        """Whether ``path`` is the file that the gateway runs from; empty stands for it."""
        return not path or Path(path).resolve() == self._config.path.resolve()

    @property
    def path(self) -> Path:
        """The file that the gateway runs from."""
        return self._config.path.absolute()

    async def reload(self, who: str) -> dict[str, list[str]]:
        """Read the file again and apply it; returns what changed.  Raises ConfigError, with nothing done."""
        async with self._busy:
            path = self._config.path
            config, outcomes = await asyncio.to_thread(_read, path)
            # From here on nothing waits, and after these two nothing can fail.
            _refuse_what_needs_a_restart(self._config, config)
            if not self._serving:
                raise ConfigError(f"{path}: the gateway is starting or stopping: nothing was changed")
            self._turns.begin()
            self._applying = True
            changed = self._apply(config, outcomes)
            self._config = config
            self._applying = False
            self._pipeline.journal.operator_action(who, "reload", f"configuration {config.digest}", [])
            self._pipeline.journal.configured(config.accounts, config.carriers)
        logger.info("reloaded", **changed)
        return {**changed, "warnings": list(warnings_of(config))}

    # -- within one turn ------------------------------------------------------------------------------------

    def _apply(self, config: Config, outcomes: OutcomeTable) -> dict[str, list[str]]:
        before = self._config
        changed = {
            **self._apply_accounts(config.accounts, config.limits),
            **self._apply_carriers(config.carriers, config.limits),
            "tables_changed": [
                name for name in _TABLES_ALIVE if getattr(before, name) != getattr(config, name)
            ],
        }
        if outcomes.operator_lines != self._pipeline.detours.outcomes.operator_lines:
            changed["tables_changed"].append("rows of outcomes")
        numbers = config.numbers
        self._directory.config = numbers
        self._pipeline.detours.outcomes = outcomes
        routes = Routes(self._carriers, config.routes, numbers.default_network)
        self._admission.configure(routes, config.limits, config.lanes)
        self._replies.configure(config.replies)
        for name in changed["carriers_removed"]:
            # In this order: what comes next of a text whose parts have found another way follows them.
            self._pipeline.detours.reroute(self._known_carriers[name])
            self._admission.long_texts.forget(self._known_carriers[name])
        self._turns.schedule()
        return changed

    def _apply_accounts(
        self, configs: tuple[AccountConfig, ...], limits: LimitsConfig
    ) -> dict[str, list[str]]:
        now = self._turns.now
        wanted = {config.system_id: config for config in configs}
        added, removed, altered = [], [], []
        for name in [name for name in self._accounts if name not in wanted]:
            removed.append(name)
            self._listener.dismiss(self._accounts.pop(name))
        for name, config in wanted.items():
            account = self._accounts.get(name)
            if account is None:
                added.append(name)
                account = self._known_accounts.get(name) or Account(config, limits.outbox_memory_max, now)
                account.draining = False
                self._accounts[name] = self._known_accounts[name] = account
            elif account.config == config:
                continue
            else:
                altered.append(name)
            account.configure(config, now)
            self._listener.apply(account)
        _put_in_order(self._accounts, wanted)
        return {"accounts_added": added, "accounts_removed": removed, "accounts_changed": altered}

    def _apply_carriers(
        self, configs: tuple[CarrierConfig, ...], limits: LimitsConfig
    ) -> dict[str, list[str]]:
        now = self._turns.now
        wanted = {config.name: config for config in configs}
        added, removed, altered = [], [], []
        for name in [name for name in self._carriers if name not in wanted]:
            removed.append(name)
            self._retire(self._carriers.pop(name), 0)
        for name, config in wanted.items():
            carrier = self._carriers.get(name)
            if carrier is None:
                added.append(name)
                carrier = self._known_carriers.get(name) or Carrier(config, limits.receipts_pending_max, now)
                self._carriers[name] = self._known_carriers[name] = carrier
                carrier.configure(config, now)
                self._staff(carrier, ())
            elif carrier.config != config:
                altered.append(name)
                drained = _drained(carrier, config.sessions)
                anew = any(getattr(carrier.config, key) != getattr(config, key) for key in _BIND_KEYS)
                self._retire(carrier, 0 if anew else config.sessions)
                carrier.configure(config, now)
                self._staff(carrier, drained)
        _put_in_order(self._carriers, wanted)
        return {"carriers_added": added, "carriers_removed": removed, "carriers_changed": altered}

    def _staff(self, carrier: Carrier, drained: Collection[int]) -> None:
        """Give a carrier the links that it lacks; those of the indexes in ``drained`` wait to be resumed."""
        for index in range(len(carrier.links), carrier.config.sessions):
            link = Link(carrier, index, self._pipeline, self._turns)
            if index in drained:
                link.hold("drained")
            before = [retired for retired in carrier.retired if retired.index == index]
            carrier.links.append(link)
            self._start_task(_run_after(before, link), f"link {link.name}")

    def _retire(self, carrier: Carrier, keep: int) -> None:
        """Drain the links of a carrier beyond the first ``keep``; each goes when it is done."""
        retired, carrier.links = carrier.links[keep:], carrier.links[:keep]
        for link in retired:
            carrier.retired.append(link)
            self._start_task(_let_go(carrier, link), f"retire {link.name}")


async def _run_after(before: list[Link], link: Link) -> None:
    """Run a link once those that had its place are gone."""
    for retired in before:
        await retired.stop()
    await link.run()


async def _let_go(carrier: Carrier, link: Link) -> None:
    await link.stop()
    carrier.retired.remove(link)


def _drained(carrier: Carrier, sessions: int) -> set[int]:
    """The places of a carrier's links that stay drained; all of them where all were."""
    drained = {link.index for link in carrier.links if link.drained}
    return set(range(sessions)) if len(drained) == len(carrier.links) else drained


def _read(path: Path) -> tuple[Config, OutcomeTable]:
    config = load(path)
    file = config.settlement.contract_file
    if file is not None:  # the ledger process takes it up by itself
        try:
            read_contract(file)
        except SettlementError as error:
            raise ConfigError(f"{path}: settlement.contract_file: {error}") from error
        except OSError as error:
            raise ConfigError(f"{path}: settlement.contract_file: {file}: {error.strerror}") from error
    return config, load_outcomes(config)


def _refuse_what_needs_a_restart(before: Config, after: Config) -> None:
    for table, keys in _AT_START.items():
        old_table, new_table = getattr(before, table), getattr(after, table)
        for key in keys or old_table.__struct_fields__:
            old, new = getattr(old_table, key), getattr(new_table, key)
            if old != new:
                wanted, running = ("none" if each is None else each for each in (new, old))
                raise ConfigError(
                    f"{after.path}: {table}.{key}: {wanted} instead of {running} needs a restart:"
                    " nothing was changed"
                )


def _put_in_order(mapping: MutableMapping[str, Value], wanted: Iterable[str]) -> None:
    """Put what is configured into the order of the configuration.  Scrapes look at it from other threads, so
    it is never emptied."""
    if list(mapping) != list(wanted):
        for name in wanted:
            mapping[name] = mapping.pop(name)
