"""What the ledger process watches beside its work: carriers that nobody is bound to, and thresholds.

A carrier account without a link is a fault by the contract (四.1), whose clocks run from the alarm: the
running gateway is asked to enter it in the register of incidents, and its restoration; not while planned work
is going on. Thresholds are written to a file, from which the gateway shows them in its status and metrics.

It is judged by the ledger, which may be hours behind: what was down then may long be up. So faults are left
alone until the ledger knows the present, and all that was entered before this watch began.

It is a thread of its own: to count a period takes half a minute, and a checkpoint is signed every second.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from msgspec.structs import replace

from gateway.alarm_file import Found, read_found, write_found
from gateway.config import read
from gateway.control_client import request
from gateway.settlement_inputs import inputs_of
from storage.ledger.ledger import LEDGER_NAME, progress_of, read_ledger
from storage.proofs.note import VerifierKey
from storage.reader import LogReader
from storage.settlement.alarms import (
    Alarm,
    alarms,
    faults_running,
    links_down,
    open_faults,
    planned_until,
    silent_witnesses,
)
from storage.settlement.counts import Cut
from storage.settlement.quality import links_now
from storage.settlement.registers import INCIDENT, RESTORED, entries

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection

    from gateway.config import Tables

logger = structlog.get_logger()

# An incident has an hour for the first response: ten seconds of it are nothing.
LOOK_S: Final = 10.0

# Shares of days and periods move slowly, and each count costs the machine.
COUNT_S: Final = 3600.0

# The ledger is some seconds behind while it keeps up; what it says of half a minute ago is as good as now.
LAG_US: Final = 30_000_000

_END_S: Final = 5.0  # for a look that is on the way; a count is not waited for
_WHO: Final = "ledger"


class Watch:
    """Looks, from entry to exit."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._began_at = -1  # the last durable record when it looked first; -1: it has not
        # What the gateway was asked to enter, until the ledger shows it.
        self._opened: dict[str, int] = {}  # entries, by carrier
        self._restored: set[int] = set()  # entries
        self._counted_s = -COUNT_S
        self._said: dict[str, str] = {}  # what stands in the way, by what is looked at
        self._found = read_found(tables.gateway.state_dir)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look(time.time_ns() // 1000, time.monotonic())

    def look(self, now_us: int, now_s: float) -> None:
        """Once. Faults come first, and what stands in the way of one look does not keep the others."""
        self._try("faults", lambda: self._look_at_faults(now_us))
        self._try("clocks", lambda: self._look_at_clocks(now_us))
        self._try("thresholds", lambda: self._look_at_thresholds(now_us, now_s))

    def _try(self, what: str, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - the edge of the thread, which nobody would miss if it ended
            reason = f"{type(error).__name__}: {error}"
            if reason not in self._said.values():  # once, not every ten seconds
                logger.warning("the watch cannot look", at=what, reason=reason)
            self._said[what] = reason
        else:
            self._said.pop(what, None)

    def _ledger(self) -> closing[sqlite3.Connection]:
        return closing(read_ledger(self._tables.gateway.state_dir / LEDGER_NAME))

    # -- thresholds -----------------------------------------------------------------------------------------

    def _look_at_thresholds(self, now_us: int, now_s: float) -> None:
        if now_s - self._counted_s < COUNT_S:
            return
        # Read anew each time: what a reload brings, or a renewal in the contract's file, needs no restart.
        tables = read(self._tables.path)
        inputs = inputs_of(tables)
        witness_keys = [VerifierKey.parse(key) for key in tables.evidence.witnesses]
        with self._ledger() as ledger:
            self._counted_s = now_s  # before it counts: what fails after half a minute waits its hour, too
            found = (
                *alarms(ledger, inputs.contract, inputs.cause_of, now_us),
                *silent_witnesses(self._tables.gateway.proofs_dir, witness_keys, now_us),
            )
        _say_new(self._found.thresholds, found)
        self._leave(replace(self._found, made_us=now_us, thresholds=found))

    def _leave(self, found: Found) -> None:
        self._found = found  # first: what was said is not said again where the disk is full
        write_found(self._tables.gateway.state_dir, found)

    # -- faults ---------------------------------------------------------------------------------------------

    def _look_at_clocks(self, now_us: int) -> None:
        with self._ledger() as ledger:
            if self._known_us(ledger, now_us) is None:
                return
            faults = open_faults(ledger, now_us)
        found: tuple[Alarm, ...] = ()
        if faults:  # the contract takes its time to read
            contract = inputs_of(read(self._tables.path)).contract
            found = tuple(faults_running(faults, contract, now_us))
        _say_new(self._found.faults, found)
        self._leave(replace(self._found, faults_us=now_us, faults=found))

    def _known_us(self, ledger: sqlite3.Connection, now_us: int) -> int | None:
        """Up to when the ledger knows everything; None where that is too long ago to say what is so now."""
        progress = progress_of(ledger)  # the first look into it: from here on it stands still
        with LogReader(self._tables.gateway.evidence_dir) as reader:
            last = reader.next_index - 1
        if self._began_at < 0:
            self._began_at = last
        if last <= progress.applied_index:
            return now_us
        if progress.applied_index < self._began_at or now_us - progress.applied_us > LAG_US:
            return None
        return min(progress.applied_us, now_us)

    def _look_at_faults(self, now_us: int) -> None:
        with self._ledger() as ledger:
            known_us = self._known_us(ledger, now_us)
            if known_us is None:
                return
            applied = progress_of(ledger).applied_index
            running = {
                each.events[0].facts.get("what", ""): each.number
                for each in entries(ledger, INCIDENT, Cut.until(now_us))
                if each.fact("by") == "alarm" and not each.when(RESTORED)
            }
            links = links_now(ledger)
            down = links_down(links, known_us, planned_until(ledger, now_us))
        # An entry is called by the index of its record.
        self._opened = {carrier: entry for carrier, entry in self._opened.items() if entry > applied}
        self._restored &= {*running.values(), *self._opened.values()}
        numbers = {
            carrier: running.get(_what(carrier)) or self._opened.get(carrier) for carrier in (*links, *down)
        }
        for carrier, since_us in down.items():
            if numbers[carrier] is None:
                self._open(carrier, since_us)
        for carrier, (bound, _) in links.items():
            entry = numbers[carrier]
            if bound and entry is not None and entry not in self._restored:
                self._restore(carrier, entry)

    def _open(self, carrier: str, since_us: int) -> None:
        answer = self._ask(
            "register_open",
            register=INCIDENT,
            facts={"what": _what(carrier), "by": "alarm"},
            at_us=since_us // 1_000_000 * 1_000_000,
        )
        self._opened[carrier] = int(answer["entry"])
        logger.error("a fault was entered", carrier=carrier, entry=answer["entry"])

    def _restore(self, carrier: str, entry: int) -> None:
        self._ask(
            "register_event",
            register=INCIDENT,
            entry=entry,
            event=RESTORED,
            facts={"what": f"{carrier}: a link is bound again"},
        )
        self._restored.add(entry)
        logger.info("a fault was restored", carrier=carrier, entry=entry)

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        gateway = self._tables.gateway
        return request(gateway.control_socket, command, {"who": _WHO, **arguments})


def _what(carrier: str) -> str:
    return f"{carrier}: no link is bound"


def _say_new(before: Collection[Alarm], now: Collection[Alarm]) -> None:
    """An alarm that was there before has been said; it is known by its name, since the figures move."""
    said = {alarm.name for alarm in before}
    for alarm in now:
        if alarm.name not in said:
            logger.warning("alarm", alarm=alarm.name, detail=alarm.detail)
