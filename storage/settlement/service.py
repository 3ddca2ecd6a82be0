"""Whether the service was as agreed, and what is taken off the bill where it was not (四.12).

Two indicators: the share of messages that succeeded, and the complaints in 12 consecutive months. Where they
do not hold as the contract combines them, the bill is reduced by what the successful messages cost, times the
share that failed. All of it is exact arithmetic on whole numbers; nothing is rounded but the sum of money.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final, Literal

from msgspec import Struct

from storage.settlement.amounts import cut_decimal, rounded
from storage.settlement.calendar import Month, day_of, moment_us
from storage.settlement.contract import Contract
from storage.settlement.counts import CauseOf, Count, Counts, Cut, count
from storage.settlement.registers import (
    BEGAN,
    ENDED,
    FORCE_MAJEURE,
    MAINTENANCE,
    PROOF,
    PROOF_DAYS,
    Entry,
    announced_end,
    announced_us,
    complaints,
    touching,
)
from storage.settlement.terms import Terms

# Causes that lie with the handset or its owner (用户终端问题): off, out of reach, in arrears; no such number.
TERMINAL_CAUSES: Final = frozenset({"terminal", "invalid"})

_HOUR_US: Final = 3_600_000_000

RateName = Literal["literal", "without_terminal"]


class Rate(Struct, frozen=True, kw_only=True):
    """A share of messages that succeeded. rate: with SHARE_DECIMALS, cut; "" where there were none."""

    name: RateName
    successful: int
    total: int
    rate: str


class Reduction(Struct, frozen=True, kw_only=True):
    """The reduction with its arithmetic: fee_of_successful * failed / total, then rounded. Money is in 0.0001
    yuan; exact: the product in yuan with 6 decimals, cut."""

    fee_of_successful: int
    failed: int
    total: int
    exact: str
    amount: int


class Exemption(Struct, frozen=True, kw_only=True):
    """An entry of a register that the contract exempts; of planned work what lies within its announcement.
    Times in microseconds, 0: none yet. written_us: when its begin was entered, last_written_us: its last
    line, however long after what they tell."""

    register: str
    entry: int
    began_us: int
    ended_us: int
    proven_us: int
    written_us: int
    last_written_us: int


class Service(Struct, frozen=True, kw_only=True):
    """One window of months: its two indicators, and what follows from them. Days are inclusive."""

    first_month: str
    last_month: str
    rates: tuple[Rate, ...]  # both, always
    contractual: RateName
    rate_min: str
    rate_met: bool
    left_out: int  # units that are in no rate: accepted while something ran that the contract exempts
    exempt: tuple[Exemption, ...]  # what that was
    complaints: int
    complaints_attributed: int  # of these to party B
    complaints_withdrawn: int  # beside these: entered by mistake
    complaints_from: str
    complaints_to: str
    complaints_max: int
    complaints_met: bool
    combine: Literal["any", "all"]
    met: bool
    reduction: Reduction


def judge(
    connection: sqlite3.Connection,
    contract: Contract,
    terms: Terms,
    months: Sequence[Month],
    counts: Counts,
    cut: Cut,
    cause_of: CauseOf,
) -> Service:
    """The service in these months, of which `counts` has the lines."""
    sla = terms.sla
    names = {str(month) for month in months}
    whole = Tally(each for each in counts.items() if each[0].month in names)
    span_us = months[0].start_us, months[-1].end_us
    exemptions = exemptions_in(connection, terms, *span_us, cut)
    exempt = exempted(connection, terms, *span_us, cut, cause_of, exemptions)
    rates = tuple(rate_of(name, terms, whole, exempt) for name in ("literal", "without_terminal"))
    contractual: RateName = "without_terminal" if sla.exclude_terminal else "literal"
    rate = next(each for each in rates if each.name == contractual)
    rate_met = not rate.total or Fraction(rate.successful, rate.total) >= sla.success_rate_min
    most = complaints(
        connection,
        cut,
        months[0].first_day,
        months[-1].last_day,
        attributed_only=sla.complaint_count == "attributed",
        years_from=contract.start if sla.complaint_window == "contract_year" else None,
    )
    complaints_met = most.count <= sla.complaints_max
    met = (rate_met or complaints_met) if sla.combine == "any" else (rate_met and complaints_met)
    return Service(
        first_month=str(months[0]),
        last_month=str(months[-1]),
        rates=rates,
        contractual=contractual,
        rate_min=cut_decimal(sla.success_rate_min),
        rate_met=rate_met,
        left_out=exempt.accepted + exempt.replies,
        exempt=tuple(exemptions),
        complaints=most.count,
        complaints_attributed=most.attributed,
        complaints_withdrawn=most.withdrawn,
        complaints_from=most.first_day.isoformat(),
        complaints_to=most.last_day.isoformat(),
        complaints_max=sla.complaints_max,
        complaints_met=complaints_met,
        combine=sla.combine,
        met=met,
        reduction=_reduction(terms, whole, rate, met=met),
    )


class Tally:
    """Units of several lines together, messages and replies apart."""

    def __init__(self, lines: Iterable[tuple[object, Count]]) -> None:
        self.accepted = 0
        self.delivered = 0
        self.cancelled = 0
        self.not_known = 0
        self.terminal = 0
        self.replies = 0
        self.add(lines)

    def add(self, lines: Iterable[tuple[Any, Count]]) -> None:
        for line, counted in lines:
            if line.direction == "mo":
                self.replies += counted.accepted
                continue
            self.accepted += counted.accepted
            self.delivered += counted.delivered
            self.cancelled += counted.cancelled
            self.not_known += counted.unknown + counted.uncertain
            self.terminal += sum(counted.failed[cause] for cause in TERMINAL_CAUSES)


def rate_of(name: RateName, terms: Terms, whole: Tally, exempt: Tally | None = None) -> Rate:
    """What was cancelled by its sender is no success and no failure; `exempt` is left out of `whole`."""
    sla = terms.sla
    exempt = exempt or Tally(())
    successful = whole.delivered - exempt.delivered
    total = whole.accepted - whole.cancelled - exempt.accepted + exempt.cancelled
    if sla.unknown == "excluded":
        total -= whole.not_known - exempt.not_known
    if name == "without_terminal":
        total -= whole.terminal - exempt.terminal
    if sla.include_mo:
        successful += whole.replies - exempt.replies
        total += whole.replies - exempt.replies
    rate = cut_decimal(Fraction(successful, total)) if total else ""
    return Rate(name=name, successful=successful, total=total, rate=rate)


def _reduction(terms: Terms, whole: Tally, rate: Rate, *, met: bool) -> Reduction:
    """减免费用 = 本期实际成功收发短信费用 × 本期短信收发失败率 (四.12)."""
    billing = terms.billing
    fee = whole.delivered * billing.price_mt + whole.replies * billing.price_mo
    failed = rate.total - rate.successful
    exact = Fraction(fee * failed, rate.total) if rate.total else Fraction(0)
    amount = 0 if met else rounded(exact, terms.reduction.to, terms.reduction.rounding)
    return Reduction(
        fee_of_successful=fee,
        failed=failed,
        total=rate.total,
        exact=cut_decimal(exact / 10_000),
        amount=amount,
    )


def exempted(
    connection: sqlite3.Connection,
    terms: Terms,
    start_us: int,
    end_us: int,
    cut: Cut,
    cause_of: CauseOf,
    exemptions: Iterable[Exemption],
) -> Tally:
    """What was accepted in a span of time while something ran that the contract exempts: it is in no rate."""
    tally = Tally(())
    for from_us, to_us in _merged(exemptions, start_us, end_us):
        spared = count(
            connection, from_us, to_us, cut, terms.billing.unit, terms.recon.carrier_basis, cause_of
        )
        tally.add(spared.items())
    return tally


def exemptions_in(
    connection: sqlite3.Connection, terms: Terms, start_us: int, end_us: int, cut: Cut
) -> list[Exemption]:
    """Planned work and force majeure, as far as the contract exempts them, in a span of time."""
    found: list[tuple[Entry, int, int]] = []
    if terms.sla.exclude_planned:
        for entry in touching(connection, MAINTENANCE, cut, start_us, end_us):
            began_us, ended_us = _as_announced(entry, terms)
            if max(began_us, start_us) < min(ended_us, end_us):
                found.append((entry, began_us, ended_us))
    found += [
        (entry, entry.when(BEGAN), entry.when(ENDED))
        for entry in prevented(connection, terms, start_us, end_us, cut)
    ]
    return [
        Exemption(
            register=entry.register,
            entry=entry.number,
            began_us=began_us,
            ended_us=ended_us,
            proven_us=entry.when(PROOF),
            written_us=next(each.time_us for each in entry.events if each.event == BEGAN),
            last_written_us=entry.events[-1].time_us,
        )
        for entry, began_us, ended_us in found
    ]


def _as_announced(entry: Entry, terms: Terms) -> tuple[int, int]:
    """Of planned work the time within its announcement; nothing where that came too late (四.7)."""
    to_us = announced_end(entry)
    if not to_us:
        return 0, 0
    from_us = moment_us(entry.fact("from"))
    if from_us - announced_us(entry) < terms.maintenance.min_notice_hours * _HOUR_US:
        return 0, 0
    return max(entry.when(BEGAN), from_us), min(entry.when(ENDED) or to_us, to_us)


def prevented(
    connection: sqlite3.Connection, terms: Terms, start_us: int, end_us: int, cut: Cut
) -> list[Entry]:
    """Force majeure in a span of time, as far as the contract exempts it (九.2)."""
    if not terms.sla.exclude_force_majeure:
        return []
    found = touching(connection, FORCE_MAJEURE, cut, start_us, end_us)
    return [each for each in found if _is_proven(each) or not terms.sla.force_majeure_needs_proof]


def _is_proven(entry: Entry) -> bool:
    """In time (九.2)."""
    proven_us = entry.when(PROOF)
    return proven_us > 0 and (day_of(proven_us) - day_of(entry.when(BEGAN))).days <= PROOF_DAYS


def _merged(found: Iterable[Exemption], start_us: int, end_us: int) -> list[tuple[int, int]]:
    """What they cover of a span of time, as spans that do not overlap, in order."""
    covered: list[tuple[int, int]] = []
    for from_us, to_us in sorted((each.began_us, each.ended_us or end_us) for each in found):
        from_us = max(from_us, start_us, covered[-1][1] if covered else start_us)
        to_us = min(to_us, end_us)
        if from_us < to_us:
            covered.append((from_us, to_us))
    return covered
