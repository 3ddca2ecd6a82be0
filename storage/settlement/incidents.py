"""The clocks that the contract runs on a fault (四.1), and what lateness costs (十三.3, 十三.4)."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from math import ceil
from typing import Final, Literal

from msgspec import Struct

from storage.settlement.amounts import cut_decimal, rounded
from storage.settlement.calendar import day_of
from storage.settlement.registers import CLOSED, DONE, OPENED, REPORTED, RESPONDED, RESTORED, Entry
from storage.settlement.terms import Incident, Penalty, Terms

_MINUTE_US: Final = 60_000_000

Verdict = Literal["in time", "late", "running"]


class Clocks(Struct, frozen=True):
    """Whole minutes from the opening, one that has begun counts; up to now where the clock still runs."""

    respond_minutes: int
    responded: Verdict
    restore_minutes: int
    restored: Verdict


def clocks(entry: Entry, terms: Incident, now_us: int) -> Clocks:
    """Both run from the alarm, from A's report, or from whichever came first (incident.clock_start). A fault
    that is restored was responded to before, and one that is closed was restored before, whether anybody
    wrote it down or not."""
    start_us = _start(entry, terms)
    responded = _clock(start_us, entry.first(RESPONDED, RESTORED, CLOSED), terms.respond_minutes, now_us)
    restored = _clock(start_us, entry.first(RESTORED, CLOSED), terms.restore_minutes, now_us)
    return Clocks(*responded, *restored)


def _start(entry: Entry, terms: Incident) -> int:
    """Of what did not happen the other stands in its place."""
    opened_us = entry.when(OPENED)
    if entry.fact("by") != "alarm":
        return opened_us
    reported_us = entry.when(REPORTED) or opened_us
    match terms.clock_start:
        case "alarm":
            return opened_us
        case "report":
            return reported_us
        case "earliest":
            return min(opened_us, reported_us)


def _clock(start_us: int, end_us: int, limit_minutes: int, now_us: int) -> tuple[int, Verdict]:
    """The limit itself is in time (以内); without an end the clock runs as long as it could still be."""
    passed_us = (end_us or now_us) - start_us
    late = passed_us > limit_minutes * _MINUTE_US
    return ceil(passed_us / _MINUTE_US), "late" if late else "in time" if end_us else "running"


class Late(Struct, frozen=True, kw_only=True):
    """A service that came after its day. Money in 0.0001 yuan: amount is that of this service, penalty what
    it costs by itself, before the cap over all of them: amount * days * per_day, rounded."""

    entry: int
    service: str
    due: str
    done: str  # empty: not yet
    days: int
    per_day: str  # a share with six decimals
    amount: int
    penalty: int


def late_service(entry: Entry, terms: Terms, now_us: int) -> Late:
    """For each day after the due day, the day on which it is done included, a share of the amount of that
    service."""
    due = date.fromisoformat(entry.fact("due"))
    done_us = entry.when(DONE)
    days = max(0, (day_of(done_us or now_us) - due).days)
    amount = int(entry.fact("amount"))
    per_day = terms.penalty.per_day
    return Late(
        entry=entry.number,
        service=entry.fact("service"),
        due=due.isoformat(),
        done=day_of(done_us).isoformat() if done_us else "",
        days=days,
        per_day=cut_decimal(per_day),
        amount=amount,
        penalty=rounded(Fraction(amount) * days * per_day, terms.reduction.to, terms.reduction.rounding),
    )


def cap(contract_amount: int | None, terms: Penalty) -> int | None:
    """The most that all damages together may be (十三.4); None where the contract names no amount."""
    return None if contract_amount is None else int(contract_amount * terms.cap)
