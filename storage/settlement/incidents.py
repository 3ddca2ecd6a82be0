"""The clocks that the contract runs on a fault (四.1)."""

from __future__ import annotations

from math import ceil
from typing import Final, Literal

from msgspec import Struct

from storage.settlement.registers import CLOSED, OPENED, REPORTED, RESPONDED, RESTORED, Entry
from storage.settlement.terms import Incident

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
