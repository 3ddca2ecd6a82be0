"""What the ledger process watches beside its work: carriers that nobody is bound to, and thresholds.

A carrier account without a link is a fault by the contract (四.1), whose clocks run from the alarm: the
running gateway is asked to enter it in the register of incidents, and its restoration; not while planned work
is going on. Thresholds are written to a file, from which the gateway shows them in its status and metrics.

It is a thread of its own: to count a period takes half a minute, and a checkpoint is signed every second.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from gateway.alarm_file import write_alarms
from gateway.control_client import ControlError, request
from gateway.settlement_inputs import inputs_of
from storage.database import DatabaseError
from storage.ledger.ledger import LEDGER_NAME, read_ledger
from storage.settlement.alarms import alarms, links_down
from storage.settlement.counts import Cut
from storage.settlement.errors import SettlementError
from storage.settlement.quality import links_now
from storage.settlement.registers import BEGAN, ENDED, INCIDENT, MAINTENANCE, RESTORED, Entry, entries

if TYPE_CHECKING:
    import sqlite3

    from gateway.config import Tables

logger = structlog.get_logger()

# An incident has an hour for the first response: ten seconds of it are nothing.
LOOK_S: Final = 10.0

# Shares of days and periods move slowly, and each count costs the machine.
COUNT_S: Final = 3600.0

_END_S: Final = 5.0  # for a look that is on the way; a count is not waited for
_WHO: Final = "ledger"


class Watch:
    """Looks, from entry to exit."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._asked: dict[str, int] = {}  # by carrier: entries that the ledger may not have yet
        self._counted_s = -COUNT_S
        self._said = ""
        self._alarms: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look(time.time_ns() // 1000, time.monotonic())
                self._said = ""
            except (DatabaseError, SettlementError, ControlError, OSError) as error:
                if str(error) != self._said:  # once, not every ten seconds
                    self._said = str(error)
                    logger.warning("the watch cannot look", reason=self._said)

    def look(self, now_us: int, now_s: float) -> None:
        """Once. Raises what stands in the way: the ledger is not there yet, the gateway does not answer."""
        gateway = self._tables.gateway
        with closing(read_ledger(gateway.state_dir / LEDGER_NAME)) as ledger:
            if now_s - self._counted_s >= COUNT_S:
                self._count(ledger, now_us)
                self._counted_s = now_s
            self._enter(ledger, now_us)

    # -- thresholds -----------------------------------------------------------------------------------------

    def _count(self, ledger: sqlite3.Connection, now_us: int) -> None:
        # Read anew each time: a renewal, or a row of a province's codes, needs no restart.
        inputs = inputs_of(self._tables)
        found = alarms(ledger, inputs.contract, inputs.cause_of, now_us)
        for alarm in found:
            if alarm.name not in self._alarms:
                logger.warning("alarm", alarm=alarm.name, detail=alarm.detail)
        self._alarms = {alarm.name for alarm in found}
        write_alarms(self._tables.gateway.state_dir, found)

    # -- faults ---------------------------------------------------------------------------------------------

    def _enter(self, ledger: sqlite3.Connection, now_us: int) -> None:
        running = {
            each.fact("what"): each
            for each in entries(ledger, INCIDENT, Cut((1 << 63) - 1, now_us + 1))
            if each.fact("by") == "alarm" and not each.when(RESTORED)
        }
        links = links_now(ledger)
        down = {} if _is_planned(ledger, now_us) else links_down(links, now_us)
        for carrier, since_us in down.items():
            if _what(carrier) not in running and carrier not in self._asked:
                answer = self._ask(
                    "register_open",
                    register=INCIDENT,
                    facts={"what": _what(carrier), "by": "alarm"},
                    at_us=since_us // 1_000_000 * 1_000_000,
                )
                self._asked[carrier] = int(answer["entry"])
                logger.error("a fault was entered", carrier=carrier, entry=answer["entry"])
        for carrier, (bound, _) in links.items():
            if bound and (_what(carrier) in running or carrier in self._asked):
                self._restored(carrier, running.get(_what(carrier)))

    def _restored(self, carrier: str, entry: Entry | None) -> None:
        number = self._asked.pop(carrier, 0) if entry is None else entry.number
        self._asked.pop(carrier, None)
        self._ask(
            "register_event",
            register=INCIDENT,
            entry=number,
            event=RESTORED,
            facts={"what": f"{carrier}: a link is bound again"},
        )
        logger.info("a fault was restored", carrier=carrier, entry=number)

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        gateway = self._tables.gateway
        return request(gateway.control_socket, command, {"who": _WHO, **arguments})


def _what(carrier: str) -> str:
    return f"{carrier}: no link is bound"


def _is_planned(ledger: sqlite3.Connection, now_us: int) -> bool:
    cut = Cut((1 << 63) - 1, now_us + 1)
    return any(each.when(BEGAN) and not each.when(ENDED) for each in entries(ledger, MAINTENANCE, cut))
