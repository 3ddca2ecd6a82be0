"""The service of a span of months, for people: rates, receipts, links, faults, complaints, what was late."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from storage.proofs.checkpoint import Checkpoint
from storage.reader import LogReader
from storage.settlement.calendar import Month, Period, day_of, day_us, moment, moment_us, months_before
from storage.settlement.contract import Contract
from storage.settlement.counts import CauseOf, Counts, Cut, count, evidence_begins
from storage.settlement.errors import SettlementError
from storage.settlement.incidents import Clocks, clocks
from storage.settlement.penalties import Known, Penalties, penalties
from storage.settlement.quality import (
    Availability,
    Coverage,
    Delays,
    availability,
    coverage,
    report_delays,
)
from storage.settlement.registers import (
    BEGAN,
    ENDED,
    FORCE_MAJEURE,
    HOLD,
    INCIDENT,
    MAINTENANCE,
    OPENED,
    PROOF,
    RATING,
    REGISTERS,
    Entry,
    Event,
    all_entries,
    announced_us,
    entries,
    touching,
)
from storage.settlement.service import Service, Tally, judge, rate_of
from storage.settlement.statement import Evidence, Source, cut_of, evidence_of
from storage.settlement.terms import Terms

FORMAT: Final = "jingxin-report-1"

_HOUR_US: Final = 3_600_000_000


class MonthlyRate(Struct, frozen=True, kw_only=True):
    """Messages of one month and carrier; carrier "" stands for all of them together."""

    month: str
    carrier: str
    accepted: int
    delivered: int
    rate: str  # by the letter, six decimals, cut; "" without messages
    rate_without_terminal: str


class Stretch(Struct, frozen=True, kw_only=True):
    """Months in which the same terms hold, and what these decide. reports: to applications, of which `late`
    took longer than the limit."""

    first_month: str
    last_month: str
    rates: tuple[MonthlyRate, ...]
    service: Service
    report_limit_minutes: int
    reports: Delays


class Incident(Struct, frozen=True, kw_only=True):
    """A fault and its clocks, with what each may take at most."""

    entry: int
    opened: str
    written: str  # when the opening was entered, and below its last line: however long after it happened
    last_written: str
    by: str
    what: str
    clocks: Clocks
    respond_limit_minutes: int
    restore_limit_minutes: int
    subcontractor: str


class Announcement(Struct, frozen=True, kw_only=True):
    """Planned work. notice_hours: from the announcement, as it was said and written down, to the planned
    begin, cut."""

    entry: int
    what: str
    announced: str
    written: str  # when the announcement was entered
    began: str
    ended: str
    notice_hours: int
    notice_min_hours: int


class Prevention(Struct, frozen=True, kw_only=True):
    """Force majeure."""

    entry: int
    what: str
    began: str
    ended: str
    written: str  # when the begin was entered, and below its last line
    last_written: str
    proven: str  # when the proof came; "" if it did not


class Withdrawal(Struct, frozen=True, kw_only=True):
    """An entry that was taken back, and counts for nothing here."""

    register: str
    entry: int
    what: str
    opened: str
    withdrawn: str  # when that was written
    who: str
    reason: str


class Report(Struct, frozen=True, kw_only=True):
    """All of it. Of months that are not over it is what there was so far. incidents, maintenance: of these
    months, and of earlier ones what was entered too late for the report on them."""

    format: str
    final: bool  # the months are over, and the time after them for late receipts, as in a statement
    known_until: str  # clocks that still run, run to this
    evidence: Evidence
    sources: tuple[Source, ...]
    first_month: str
    last_month: str
    party_a: str
    party_b: str
    contract: str
    stretches: tuple[Stretch, ...]  # one, unless the contract was amended within these months
    coverage: tuple[Coverage, ...]
    links: tuple[Availability, ...]
    incidents: tuple[Incident, ...]
    maintenance: tuple[Announcement, ...]
    force_majeure: tuple[Prevention, ...]
    penalties: Penalties
    withdrawals: tuple[Withdrawal, ...]

    def encode(self) -> bytes:
        """As a statement is encoded."""
        return msgspec.json.encode(self, order="sorted") + b"\n"


def make_report(
    connection: sqlite3.Connection,
    contract: Contract,
    period: Period,
    evidence: Evidence,
    causes: Sequence[Source],
    cause_of: CauseOf,
) -> Report:
    """The service in whole months, from a ledger that holds that much of the evidence, and maybe more.

    Every month, fault, notice and delay is judged by the terms of its own day. What was known after the time
    for late receipts counts no more than in a statement, so that a final report does not change. Raises
    SettlementError for months of which there is nothing to say.
    """
    start_us, end_us = period.start_us, period.end_us
    closed_us = cut_of(contract, period, evidence.records).before_us
    cut = Cut(evidence.records, min(evidence.known_before_us, closed_us))
    now_us = min(cut.before_us, end_us)
    month_before = period.first.later(-1)
    cut_before = cut_of(contract, Period(0, month_before, month_before), evidence.records)

    check_months(connection, contract, period, evidence.known_before_us)

    def of(register: str, event: str = OPENED) -> list[Entry]:
        """Entries of which this happened in the span, and earlier ones that no report could have before."""
        return [
            each
            for each in entries(connection, register, cut)
            if 0 < each.when(event) < end_us
            and (each.when(event) >= start_us or each.events[0].time_us >= cut_before.before_us)
        ]

    prevented = {
        each.number: each
        for each in (
            *touching(connection, FORCE_MAJEURE, cut, start_us, end_us),
            *of(FORCE_MAJEURE, BEGAN),
        )
    }

    return Report(
        format=FORMAT,
        final=cut.before_us == closed_us,
        known_until=moment(now_us - 1),
        evidence=evidence,
        sources=(Source(name="contract", sha256=contract.digest.hex()), *causes),
        first_month=str(period.first),
        last_month=str(period.last),
        party_a=contract.party_a,
        party_b=contract.party_b,
        contract=contract.title,
        stretches=tuple(
            _stretch(connection, contract, months, terms, cut, cause_of)
            for months, terms in contract.stretches(period)
        ),
        coverage=tuple(coverage(connection, start_us, end_us, cut)),
        links=tuple(availability(connection, start_us, now_us, cut)),
        incidents=tuple(_incident(each, contract, now_us) for each in of(INCIDENT)),
        maintenance=tuple(_announcement(each, contract) for each in of(MAINTENANCE)),
        force_majeure=tuple(
            Prevention(
                entry=each.number,
                what=each.fact("what"),
                began=moment(each.when(BEGAN)),
                ended=_moment_or_empty(each.when(ENDED)),
                written=moment(next(line.time_us for line in each.events if line.event == BEGAN)),
                last_written=moment(each.events[-1].time_us),
                proven=_moment_or_empty(each.when(PROOF)),
            )
            for _, each in sorted(prevented.items())
        ),
        penalties=penalties(connection, contract, Known(start_us, cut_before), Known(now_us, cut)),
        withdrawals=tuple(_withdrawals(connection, period, cut, cut_at(evidence))),
    )


def check_months(
    connection: sqlite3.Connection, contract: Contract, period: Period, known_before_us: int
) -> None:
    """Raises SettlementError for months of which there is nothing to say."""
    if period.last_day < contract.start or period.first_day > contract.term_end:
        raise SettlementError(
            f"{period} is outside of the term, {contract.start} to {contract.term_end}: name other months, or"
            " put the renewal into the contract file"
        )
    if known_before_us <= period.start_us:
        known = moment(known_before_us)
        raise SettlementError(f"the evidence goes to {known}: there is nothing to say of {period} yet")
    begins = evidence_begins(connection)
    if begins > str(period.last):
        raise SettlementError(f"the evidence begins in {begins}: there is nothing to say of {period}")


def evidence_at(reader: LogReader, checkpoint: Checkpoint) -> Evidence:
    """All that the checkpoint speaks of, as it was known when the last of it was written: clocks that still
    run, run to that."""
    last = next(iter(reader.frames(checkpoint.size)))
    return evidence_of(checkpoint, reader.identity, last.time_us + 1)


def cut_at(evidence: Evidence) -> Cut:
    """Where knowledge ends."""
    return Cut(evidence.records, evidence.known_before_us)


def _stretch(
    connection: sqlite3.Connection,
    contract: Contract,
    months: Period,
    terms: Terms,
    cut: Cut,
    cause_of: CauseOf,
) -> Stretch:
    span = months.start_us, months.end_us
    counts = count(connection, *span, cut, terms.billing.unit, terms.recon.carrier_basis, cause_of)
    limit_minutes = terms.report.max_delay_minutes
    return Stretch(
        first_month=str(months.first),
        last_month=str(months.last),
        rates=tuple(_rates(terms, months.months(), counts)),
        service=judge(connection, contract, terms, months.months(), counts, cut, cause_of),
        report_limit_minutes=limit_minutes,
        reports=report_delays(connection, *span, cut, limit_minutes),
    )


def _rates(terms: Terms, months: Sequence[Month], counts: Counts) -> list[MonthlyRate]:
    """For each month one of each carrier and one of all; replies are nobody's, and in that of all."""
    rows = []
    for month in months:
        name = str(month)
        lines = [(line, counted) for line, counted in counts.items() if line.month == name]
        carriers = sorted({line.network for line, _ in lines if line.network})
        for carrier in (*carriers, ""):
            tally = Tally((line, counted) for line, counted in lines if carrier in ("", line.network))
            literal, without = (rate_of(each, terms, tally) for each in ("literal", "without_terminal"))
            rows.append(
                MonthlyRate(
                    month=name,
                    carrier=carrier,
                    accepted=tally.accepted,
                    delivered=tally.delivered,
                    rate=literal.rate,
                    rate_without_terminal=without.rate,
                )
            )
    return rows


def _incident(entry: Entry, contract: Contract, now_us: int) -> Incident:
    terms = contract.terms(day_of(entry.when(OPENED))).incident
    return Incident(
        entry=entry.number,
        opened=moment(entry.when(OPENED)),
        written=moment(entry.events[0].time_us),
        last_written=moment(entry.events[-1].time_us),
        by=entry.fact("by"),
        what=entry.events[0].facts.get("what", ""),
        clocks=clocks(entry, terms, now_us),
        respond_limit_minutes=terms.respond_minutes,
        restore_limit_minutes=terms.restore_minutes,
        subcontractor=entry.fact("subcontractor"),
    )


def _withdrawals(
    connection: sqlite3.Connection, period: Period, cut: Cut, cut_of_ratings: Cut
) -> Iterator[Withdrawal]:
    """Of all that the report may have looked at: complaints of the 12 months before, and ratings, which are
    entered when a year is over."""
    from_us = day_us(months_before(period.first_day, 12))
    for register in REGISTERS:
        if register == HOLD:
            continue
        known = cut_of_ratings if register == RATING else cut
        for entry in all_entries(connection, register, known):
            taken_back = entry.withdrawn
            if taken_back is None or taken_back.time_us < from_us:
                continue
            if register == RATING or entry.when(OPENED) < period.end_us:
                yield _withdrawal(entry, taken_back)


def _withdrawal(entry: Entry, line: Event) -> Withdrawal:
    facts = entry.events[0].facts
    return Withdrawal(
        register=entry.register,
        entry=entry.number,
        what=next((facts[name] for name in ("what", "cause", "service", "note") if name in facts), ""),
        opened=moment(entry.when(OPENED)),
        withdrawn=moment(line.time_us),
        who=line.who,
        reason=line.facts.get("reason", ""),
    )


def _announcement(entry: Entry, contract: Contract) -> Announcement:
    planned_us = moment_us(entry.fact("from"))
    min_hours = contract.terms(day_of(planned_us)).maintenance.min_notice_hours
    return Announcement(
        entry=entry.number,
        what=entry.fact("what"),
        announced=moment(entry.when(OPENED)),
        written=moment(entry.events[0].time_us),
        began=_moment_or_empty(entry.when(BEGAN)),
        ended=_moment_or_empty(entry.when(ENDED)),
        notice_hours=(planned_us - announced_us(entry)) // _HOUR_US,
        notice_min_hours=min_hours,
    )


def _moment_or_empty(time_us: int) -> str:
    return moment(time_us) if time_us else ""
