"""What somebody should hear of before the contract makes it dear: thresholds that are near.

An alarm is a fact of the moment, made anew each time; what it rests on is in the evidence.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Final

from msgspec import Struct

from storage.proofs.cosigned import last_signed_s
from storage.proofs.note import VerifierKey
from storage.settlement.amounts import cut_decimal
from storage.settlement.calendar import Month, WrongPeriod, day_of, day_us, moment, settlement_period_of
from storage.settlement.contract import Contract
from storage.settlement.counts import CauseOf, Cut, count
from storage.settlement.errors import SettlementError
from storage.settlement.incidents import clocks
from storage.settlement.registers import (
    BEGAN,
    CLOSED,
    ENDED,
    FORCE_MAJEURE,
    INCIDENT,
    MAINTENANCE,
    OPENED,
    PROOF,
    PROOF_DAYS,
    RESPONDED,
    RESTORED,
    Entry,
    announced_end,
    complaints,
    entries,
)
from storage.settlement.service import Tally, exempted, exemptions_in, rate_of
from storage.settlement.terms import Terms

_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US

# Below so many messages a day a share says nothing.
SAMPLE_MIN: Final = 1_000

# Receipts come within minutes; where after an hour more than this share is missing, and twice as many as in
# the week before, a carrier has stopped sending them.
SILENT_SHARE: Final = Fraction(2, 100)
_SILENT_GROWTH: Final = 2

# Witnesses sign daily; two hours for whoever carries the files to and fro.
_WITNESS_SILENT_S: Final = 26 * 3_600

# So many days before the proof of force majeure is due somebody is told.
_PROOF_WARNED_DAYS: Final = 7

# A carrier may restart, and its links are bound again within seconds: only then is it a fault.
LINKS_DOWN_US: Final = 60_000_000


class Alarm(Struct, frozen=True):
    """name: "success", "complaints", "receipts", "term", "incident", "maintenance", "force-majeure",
    "witness", "ledger" or "watch", and of what, behind a colon; detail: one sentence."""

    name: str
    detail: str


def alarms(connection: sqlite3.Connection, contract: Contract, cause_of: CauseOf, now_us: int) -> list[Alarm]:
    """Those of this moment. It counts a period: half a minute for ten million messages. What cannot be
    counted is an alarm too, and hides none of the others."""
    found = [
        *_term(contract, now_us),
        *_complaints(connection, contract, now_us),
        *_planned(connection, now_us),
        *_prevented(connection, now_us),
    ]
    try:
        if contract.start <= day_of(now_us):
            found += _success(connection, contract, cause_of, now_us)
        found += _receipts(connection, contract, cause_of, now_us)
    except SettlementError as error:
        found.append(Alarm("ledger", str(error)))
    return found


def open_faults(connection: sqlite3.Connection, now_us: int) -> list[Entry]:
    """Those that are neither restored nor closed."""
    found = entries(connection, INCIDENT, Cut.until(now_us))
    return [entry for entry in found if not entry.first(RESTORED, CLOSED)]


def faults_running(faults: Iterable[Entry], contract: Contract, now_us: int) -> list[Alarm]:
    """Of open faults those of which half of a clock is over (四.1): nobody has responded, or it is not
    restored."""
    found = []
    for entry in faults:
        terms = contract.terms(day_of(entry.when(OPENED))).incident
        passed = clocks(entry, terms, now_us)
        late = [
            f"{state} for {minutes} minutes of {limit}"
            for state, minutes, limit, is_over in (
                ("not responded to", passed.respond_minutes, terms.respond_minutes, entry.when(RESPONDED)),
                ("not restored", passed.restore_minutes, terms.restore_minutes, 0),
            )
            if 2 * minutes >= limit and not is_over
        ]
        if late:
            what = entry.events[0].facts.get("what", "")
            detail = f"fault {entry.number}, {what}: {', '.join(late)}"
            found.append(Alarm(f"incident:{entry.number}", detail))
    return found


def links_down(
    links: Mapping[str, tuple[bool, int]], now_us: int, planned_until_us: int = 0
) -> dict[str, int]:
    """Of what `quality.links_now` found the carrier accounts of which no link is bound for LINKS_DOWN_US, and
    since when; what was planned until then is not counted."""
    down = {
        carrier: max(since_us, planned_until_us) for carrier, (bound, since_us) in links.items() if not bound
    }
    return {carrier: since_us for carrier, since_us in down.items() if now_us - since_us >= LINKS_DOWN_US}


def planned_until(connection: sqlite3.Connection, now_us: int) -> int:
    """When the last planned work that has begun was over, or will be: at its end, or as it was announced if
    that is earlier, however short the notice was. 0: there was none."""
    ends = (
        min(entry.when(ENDED) or announced_us, announced_us)
        for entry in entries(connection, MAINTENANCE, Cut.until(now_us))
        if entry.when(BEGAN) and (announced_us := announced_end(entry))
    )
    return max(ends, default=0)


def silent_witnesses(proofs: Path, witness_keys: Iterable[VerifierKey], now_us: int) -> Iterator[Alarm]:
    """Those of which no cosignature of the last day is kept: the other party could be shown another log."""
    for key in witness_keys:
        signed_s = last_signed_s(proofs, key)
        if now_us // 1_000_000 - signed_s > _WITNESS_SILENT_S:
            since = f"since {moment(signed_s * 1_000_000)}" if signed_s else "yet"
            yield Alarm(
                f"witness:{key.name}",
                f"{key.name} has not cosigned {since}: let it, and keep what it gives back",
            )


def _term(contract: Contract, now_us: int) -> Iterator[Alarm]:
    left = (contract.term_end - day_of(now_us)).days
    if left < 0:
        yield Alarm("term:over", f"the term ended on {contract.term_end}: no renewal is in the contract file")
    elif steps := [days for days in contract.alarms.term_end_days if left <= days]:
        # The step is in the name: each is a new alarm, which is said again.
        yield Alarm(f"term:{steps[-1]}", f"the term ends on {contract.term_end}, in {left} days")


def _complaints(connection: sqlite3.Connection, contract: Contract, now_us: int) -> Iterator[Alarm]:
    today = day_of(now_us)
    sla = contract.terms(today).sla
    most = complaints(
        connection,
        Cut.until(now_us),
        today,
        today,
        attributed_only=sla.complaint_count == "attributed",
        years_from=contract.start if sla.complaint_window == "contract_year" else None,
    )
    if most.count >= contract.alarms.complaints_at:
        yield Alarm(
            "complaints", f"{most.count} complaints since {most.first_day}: {sla.complaints_max} are allowed"
        )


def _planned(connection: sqlite3.Connection, now_us: int) -> Iterator[Alarm]:
    """Work that should be over."""
    for entry in entries(connection, MAINTENANCE, Cut.until(now_us)):
        until_us = announced_end(entry)
        if entry.when(BEGAN) and not entry.when(ENDED) and until_us < now_us:
            yield Alarm(
                f"maintenance:{entry.number}",
                f"planned work {entry.number}, {entry.fact('what')}, was announced to end at"
                f" {moment(until_us)}: enter its end",
            )


def _prevented(connection: sqlite3.Connection, now_us: int) -> Iterator[Alarm]:
    """Force majeure that nobody has ended, or of which the proof will be late (九.2)."""
    for entry in entries(connection, FORCE_MAJEURE, Cut.until(now_us)):
        began_us = entry.when(BEGAN)
        days = (day_of(now_us) - day_of(began_us)).days
        wanted = []
        if not entry.when(PROOF) and days >= PROOF_DAYS - _PROOF_WARNED_DAYS:
            due = day_of(began_us) + timedelta(days=PROOF_DAYS)
            wanted.append(f"its proof {'is' if days <= PROOF_DAYS else 'was'} due by {due}")
        if not entry.when(ENDED) and days > PROOF_DAYS:
            wanted.append("if it is over, enter its end: until then nothing counts for the success rate")
        if began_us and wanted:
            yield Alarm(
                f"force-majeure:{entry.number}",
                f"force majeure {entry.number}, {entry.fact('what')}, since {moment(began_us)}:"
                f" {'; '.join(wanted)}",
            )


def _success(
    connection: sqlite3.Connection, contract: Contract, cause_of: CauseOf, now_us: int
) -> Iterator[Alarm]:
    """Of what is judged at the end (sla.rate_window) so far, and of the last week: a period of months hides
    for long what is wrong since yesterday. Both without what is too young to be decided."""
    month = Month.of(now_us)
    try:
        period = settlement_period_of(contract.settlement, month)
    except WrongPeriod:
        return
    terms = contract.terms(period.first_day)
    decided_us = now_us - terms.report.unknown_after_hours * _HOUR_US
    start_us = month.start_us if terms.sla.rate_window == "month" else period.start_us
    week_us = day_us(day_of(decided_us))  # its end, so that it is days that people can count again
    spans = (("success", start_us, decided_us), ("success:week", week_us - 7 * _DAY_US, week_us))
    for name, from_us, to_us in spans:
        if from_us < to_us:
            yield from _rate(connection, contract, terms, cause_of, name, from_us, to_us, now_us)


def _rate(
    connection: sqlite3.Connection,
    contract: Contract,
    terms: Terms,
    cause_of: CauseOf,
    name: str,
    start_us: int,
    end_us: int,
    now_us: int,
) -> Iterator[Alarm]:
    whole = _tally(connection, terms, cause_of, start_us, end_us, now_us)
    cut = Cut.until(now_us)
    found = exemptions_in(connection, terms, start_us, end_us, cut)
    exempt = exempted(connection, terms, start_us, end_us, cut, cause_of, found)
    rate = rate_of("without_terminal" if terms.sla.exclude_terminal else "literal", terms, whole, exempt)
    if rate.total < SAMPLE_MIN:
        return
    share = Fraction(rate.successful, rate.total)
    agreed = terms.sla.success_rate_min
    if share < 1 and share < agreed + contract.alarms.success_margin:
        yield Alarm(
            name,
            f"{rate.successful:,} of {rate.total:,} from {moment(start_us)} to {moment(end_us)}: {rate.rate},"
            f" {'below' if share < agreed else 'near'} the {cut_decimal(agreed)} that are agreed",
        )


def _receipts(
    connection: sqlite3.Connection, contract: Contract, cause_of: CauseOf, now_us: int
) -> Iterator[Alarm]:
    """Of the last day but its last hour, against the week before."""
    terms = contract.terms(day_of(now_us))
    until_us = now_us - _HOUR_US
    day = _tally(connection, terms, cause_of, until_us - _DAY_US, until_us, now_us)
    if day.accepted < SAMPLE_MIN or Fraction(day.not_known, day.accepted) <= SILENT_SHARE:
        return
    week = _tally(connection, terms, cause_of, until_us - 8 * _DAY_US, until_us - _DAY_US, now_us)
    before = Fraction(week.not_known, week.accepted) if week.accepted else Fraction(0)
    if Fraction(day.not_known, day.accepted) > _SILENT_GROWTH * before:
        yield Alarm(
            "receipts",
            f"of {day.accepted:,} messages of a day {day.not_known:,} have no outcome after an hour",
        )


def _tally(
    connection: sqlite3.Connection, terms: Terms, cause_of: CauseOf, start_us: int, end_us: int, now_us: int
) -> Tally:
    counts = count(
        connection,
        start_us,
        end_us,
        Cut.until(now_us),
        terms.billing.unit,
        terms.recon.carrier_basis,
        cause_of,
    )
    return Tally(counts.items())
