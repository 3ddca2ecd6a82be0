"""What lateness costs (十三.3, 十三.4): for each day a share of the amount of the service, up to a cap.

A report has what came due in its months, and what became known too late for the report on the months before:
all that was due altogether by its end, as known at its own cut, less all that was due by its beginning, as
known at the cut of the months that ended there. So reports on months that follow each other add up to what
there is to pay altogether, under one cap, and one that is final stays so. What turns out to have been done
earlier, or was entered by mistake, is given back: then a penalty is below 0.

Days of force majeure are no days of delay (九.2), as far as the contract exempts it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from msgspec import Struct

from storage.settlement.amounts import FEN, cut_decimal, rounded
from storage.settlement.calendar import day_of, day_us
from storage.settlement.contract import Contract
from storage.settlement.counts import Cut
from storage.settlement.registers import BEGAN, DELAY, DONE, ENDED, Entry, entries
from storage.settlement.service import prevented
from storage.settlement.terms import Terms


class Late(Struct, frozen=True, kw_only=True):
    """A service that came after its day. Money in 0.0001 yuan: amount is that of this service, penalty what
    these months add, before the cap: amount * days * per_day less the same of days_before, each rounded."""

    entry: int
    service: str
    due: str
    done: str  # empty: not yet
    days: int  # up to the end of these months
    days_before: int  # of these those of earlier reports; above them where days are given back
    days_spared: int  # beside these: of force majeure
    per_day: str  # a share with six decimals
    amount: int
    penalty: int


class Penalties(Struct, frozen=True, kw_only=True):
    """before: penalties of earlier months, due_before: what there was to pay of them under the cap of then.
    cap: cap_share of the amount of the contract, None where that names none. due: `before` and `penalty`
    together under the cap, to the fen, less due_before."""

    late: tuple[Late, ...]
    penalty: int
    before: int
    due_before: int
    cap_share: str
    cap: int | None
    due: int


class Known(NamedTuple):
    """What had happened before a time, as it is known at a cut."""

    end_us: int
    cut: Cut


class _Delay(NamedTuple):
    """So far."""

    entry: Entry
    terms: Terms
    days: int
    spared: int
    penalty: int


def penalties(connection: sqlite3.Connection, contract: Contract, before: Known, now: Known) -> Penalties:
    """Of the time from `before` to `now`."""
    earlier, all_now = (_delays(connection, contract, known) for known in (before, now))
    late = tuple(_changes(earlier, all_now))
    penalty = sum(each.penalty for each in late)
    penalty_before = sum(each.penalty for each in earlier.values())
    due_before = _due(contract, penalty_before, before.end_us)
    return Penalties(
        late=late,
        penalty=penalty,
        before=penalty_before,
        due_before=due_before,
        cap_share=cut_decimal(_terms_before(contract, now.end_us).penalty.cap),
        cap=cap(contract, now.end_us),
        due=_due(contract, penalty_before + penalty, now.end_us) - due_before,
    )


def cap(contract: Contract, end_us: int) -> int | None:
    """The most that all damages together may be (十三.4), by the terms of the last day before a time; None
    where the contract names no amount."""
    if contract.amount is None:
        return None
    return int(contract.amount * _terms_before(contract, end_us).penalty.cap)


def _terms_before(contract: Contract, end_us: int) -> Terms:
    return contract.terms(day_of(end_us - 1))


def _due(contract: Contract, penalty: int, end_us: int) -> int:
    """Of all penalties up to then."""
    most = cap(contract, end_us)
    capped = penalty if most is None else min(penalty, most)
    return rounded(Fraction(capped), FEN, _terms_before(contract, end_us).reduction.rounding)


def _delays(connection: sqlite3.Connection, contract: Contract, known: Known) -> dict[int, _Delay]:
    """By the number of the entry, in the order in which they were entered."""
    last_day = day_of(known.end_us - 1)
    found = {}
    for entry in entries(connection, DELAY, known.cut):
        due = date.fromisoformat(entry.fact("due"))
        if due >= last_day:
            continue
        terms = contract.terms(due)
        done_us = entry.when(DONE)
        until = min(day_of(done_us), last_day) if done_us else last_day
        hindered = prevented(connection, terms, day_us(due), known.end_us, known.cut)
        spans = [
            (day_of(each.when(BEGAN)), day_of((each.when(ENDED) or known.end_us) - 1)) for each in hindered
        ]
        passed = [date.fromordinal(day) for day in range(due.toordinal() + 1, until.toordinal() + 1)]
        spared = sum(any(first <= day <= last for first, last in spans) for day in passed)
        days = len(passed) - spared
        exact = Fraction(entry.fact("amount")) * days * terms.penalty.per_day
        penalty = rounded(exact, terms.reduction.to, terms.reduction.rounding)
        found[entry.number] = _Delay(entry, terms, days, spared, penalty)
    return found


def _changes(earlier: Mapping[int, _Delay], now: Mapping[int, _Delay]) -> Sequence[Late]:
    """Of what is new, goes on, is over, or has been taken back."""
    rows = []
    for number in sorted(earlier.keys() | now.keys()):
        was, is_ = earlier.get(number), now.get(number)
        shown = is_ or was
        assert shown is not None
        if was is not None and is_ is not None and was.days == is_.days:
            continue
        done_us = shown.entry.when(DONE)
        rows.append(
            Late(
                entry=number,
                service=shown.entry.fact("service"),
                due=shown.entry.fact("due"),
                done=day_of(done_us).isoformat() if done_us else "",
                days=is_.days if is_ else 0,
                days_before=was.days if was else 0,
                days_spared=shown.spared,
                per_day=cut_decimal(shown.terms.penalty.per_day),
                amount=int(shown.entry.fact("amount")),
                penalty=(is_.penalty if is_ else 0) - (was.penalty if was else 0),
            )
        )
    return rows
