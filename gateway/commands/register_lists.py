"""The registers as people see them: a row for each entry, with the clocks that the contract runs on it.

They are read from the ledger, which follows the evidence: what was entered a moment ago may not be in it yet,
and then a line says how far it has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import typer

from gateway.commands.ledger_reach import reach
from gateway.commands.result import show
from gateway.register_forms import day
from storage.ledger.ledger import LEDGER_NAME, read_ledger
from storage.settlement.calendar import day_of, moment, moment_us
from storage.settlement.counts import Cut
from storage.settlement.incidents import clocks
from storage.settlement.registers import (
    ATTRIBUTED,
    BEGAN,
    CLOSED,
    COMPLAINT,
    DELAY,
    DONE,
    ENDED,
    FORCE_MAJEURE,
    INCIDENT,
    MAINTENANCE,
    OPENED,
    PROOF,
    PROOF_DAYS,
    RATING,
    Entry,
    all_entries,
)

if TYPE_CHECKING:
    from gateway.config import GatewayConfig
    from storage.settlement.contract import Contract

_HOUR_US: Final = 3_600_000_000
_END_OF_TIME_US: Final = (1 << 63) - 1

Row = dict[str, Any]


class View(NamedTuple):
    """How a register is shown. title: what its rows are called; ended: the events that end an entry."""

    title: str
    ended: tuple[str, ...]
    row: Callable[[Entry, Contract, int], Row]


def list_entries(
    gateway: GatewayConfig, register: str, contract: Contract, *, open_only: bool, as_json: bool
) -> None:
    """Prints a register. Raises DatabaseError where there is no ledger."""
    reached = reach(gateway)
    with closing(read_ledger(gateway.state_dir / LEDGER_NAME)) as connection:
        found = all_entries(connection, register, Cut(reached.applied_index, _END_OF_TIME_US))
    view = VIEWS[register]
    now_us = time.time_ns() // 1000
    rows = [
        view.row(entry, contract, now_us) | _written(entry)
        for entry in found
        if not (open_only and (entry.withdrawn or any(map(entry.when, view.ended))))
    ]
    if as_json:
        progress = {"applied_index": reached.applied_index, "durable_index": reached.durable_index}
        show({**progress, view.title.replace(" ", "_"): rows}, as_json=True)
        return
    if reached.applied_index < reached.durable_index:
        typer.echo(reached.sentence)
    show({view.title: [copied(row) for row in rows]}, as_json=False)


def _written(entry: Entry) -> Row:
    """When it was entered, who wrote its lines, and why it counts no more."""
    taken_back = entry.withdrawn
    return {
        "written": moment(entry.events[0].time_us),
        "who": ", ".join(dict.fromkeys(each.who for each in entry.events)),
        "withdrawn": taken_back and taken_back.facts.get("reason", ""),
    }


def copied(row: Mapping[str, Any]) -> Row:
    """A row for a terminal: the number of an entry is there to be copied, without commas."""
    return {name: str(value) if name in ("entry", "year") else value for name, value in row.items()}


def notice(announced_us: int, from_us: int, contract: Contract) -> tuple[float, str]:
    """Hours from the announcement of planned work to its begin, cut to a tenth and negative where it came
    afterwards; and the warning where they are too few (四.7), or empty."""
    hours = (from_us - announced_us) // (_HOUR_US // 10) / 10
    least = contract.terms(day_of(announced_us)).maintenance.min_notice_hours
    short = from_us - announced_us < least * _HOUR_US
    return hours, f"announced {hours:g} h before: {least} h are asked for" if short else ""


# -- rows ----------------------------------------------------------------------------------------------------


def _complaint(entry: Entry, contract: Contract, now_us: int) -> Row:
    return {
        "entry": entry.number,
        "at": _at(entry, OPENED),
        "cause": entry.fact("cause"),
        "owner": entry.fact("owner") or None,
        "attributed": entry.fact(ATTRIBUTED) or None,
        "closed": _last(entry, CLOSED),  # with the result that was said then
        "result": entry.fact("result") or None,
    }


def _incident(entry: Entry, contract: Contract, now_us: int) -> Row:
    shown = clocks(entry, contract.terms(day_of(entry.when(OPENED))).incident, now_us)
    return {
        "entry": entry.number,
        "at": _at(entry, OPENED),
        "by": entry.fact("by") or None,
        "what": entry.events[0].facts.get("what"),
        **msgspec.structs.asdict(shown),
        "closed": _last(entry, CLOSED),
        "result": entry.fact("result") or None,
        "subcontractor": entry.fact("subcontractor") or None,
    }


def _maintenance(entry: Entry, contract: Contract, now_us: int) -> Row:
    hours, short = notice(entry.when(OPENED), moment_us(entry.fact("from")), contract)
    return {
        "entry": entry.number,
        "announced": _at(entry, OPENED),
        "what": entry.fact("what"),
        "from": entry.fact("from"),
        "to": entry.fact("to"),
        "notice_hours": hours,
        "notice": "short" if short else "in time",
        "began": _at(entry, BEGAN),
        "ended": _at(entry, ENDED),
    }


def _force_majeure(entry: Entry, contract: Contract, now_us: int) -> Row:
    due = day_of(entry.when(BEGAN)) + timedelta(days=PROOF_DAYS)
    proof_us = entry.when(PROOF)
    late = day_of(proof_us or now_us) > due
    return {
        "entry": entry.number,
        "began": _at(entry, BEGAN),
        "ended": _at(entry, ENDED),
        "what": entry.fact("what"),
        "proof_due": due.isoformat(),
        "proof": "late" if late else "in time" if proof_us else "running",
        "document": entry.fact("document") or None,
    }


def _delay(entry: Entry, contract: Contract, now_us: int) -> Row:
    """Days late are those after the due day (十三.3), up to that on which it was done or to today."""
    due = day(entry.fact("due"))
    done_us = entry.when(DONE)
    return {
        "entry": entry.number,
        "service": entry.fact("service"),
        "due": due.isoformat(),
        "done": day_of(done_us).isoformat() if done_us else None,
        "days_late": max(0, (day_of(done_us or now_us) - due).days),
        "amount_yuan": _yuan(int(entry.fact("amount"))),
    }


def _rating(entry: Entry, contract: Contract, now_us: int) -> Row:
    return {
        "entry": entry.number,
        "at": _at(entry, OPENED),
        "year": int(entry.fact("year")),
        "support": int(entry.fact("support")),
        "satisfaction": int(entry.fact("satisfaction")),
        "note": entry.fact("note") or None,
    }


def _at(entry: Entry, event: str) -> str | None:
    at_us = entry.when(event)
    return moment(at_us) if at_us else None


def _last(entry: Entry, event: str) -> str | None:
    at_us = entry.last(event)
    return moment(at_us) if at_us else None


def _yuan(amount: int) -> str:
    """Of 0.0001 yuan: with two decimals, or as many as it needs."""
    whole, rest = divmod(amount, 10_000)
    decimals = f"{rest:04d}".rstrip("0")
    return f"{whole}.{decimals:0<2}"


VIEWS: Final[Mapping[str, View]] = {
    COMPLAINT: View("complaints", (CLOSED,), _complaint),
    INCIDENT: View("incidents", (CLOSED,), _incident),
    MAINTENANCE: View("planned work", (ENDED,), _maintenance),
    FORCE_MAJEURE: View("force majeure", (ENDED,), _force_majeure),
    DELAY: View("delays", (DONE,), _delay),
    RATING: View("ratings", (), _rating),
}
