"""Months and settlement periods in Shanghai, and the moments at which they begin and end.

A moment is whole microseconds since 1970 in UTC, as in the evidence. A span has its first moment and not its
last (`start_us <= moment < end_us`), so that neighbours share no message and lose none; days, which people
read, are inclusive at both ends.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import Final

from msgspec import Struct

from protocol.smpp.times import SHANGHAI
from storage.settlement.errors import SettlementError
from storage.settlement.terms import YEAR_MAX, YEAR_MIN, Settlement

DAY_US: Final = timedelta(days=1) // timedelta(microseconds=1)
AHEAD_OF_UTC_US: Final = SHANGHAI.utcoffset(None) // timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()

_MONTH: Final = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])")
_MOMENT: Final = re.compile(r"(20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2})(:[0-9]{2})?")
_NUMBER: Final = re.compile(r"[0-9]{1,4}")  # 1,200 periods of one month fill the century


class WrongPeriod(SettlementError):
    """No month or settlement period of that name. The message is one line: what is wrong, what is allowed."""


class Month(Struct, frozen=True, order=True):
    """A civil month, in the order of time. `str()` is YYYY-MM."""

    year: int
    number: int  # 1 to 12

    def __post_init__(self) -> None:
        assert 1 <= self.number <= 12, self.number

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    @classmethod
    def of(cls, time_us: int) -> Month:
        """The month of a moment."""
        day = day_of(time_us)
        return cls(day.year, day.month)

    @classmethod
    def parse(cls, text: str) -> Month:
        """The month that YYYY-MM names. Raises WrongPeriod."""
        match = _MONTH.fullmatch(text)
        if match is None:
            raise WrongPeriod(f"no month {text!r}: allowed is YYYY-MM from {YEAR_MIN}-01 to {YEAR_MAX}-12")
        return cls(int(match[1]), int(match[2]))

    @property
    def first_day(self) -> date:
        return date(self.year, self.number, 1)

    @property
    def last_day(self) -> date:
        return date(self.year, self.number, monthrange(self.year, self.number)[1])

    @property
    def start_us(self) -> int:
        return day_us(self.first_day)

    @property
    def end_us(self) -> int:
        """Exclusive."""
        return day_us(self.last_day) + DAY_US

    def next(self) -> Month:
        return self.later(1)

    def later(self, months: int) -> Month:
        """So many months later, or earlier where that is negative."""
        year, number = divmod(self.year * 12 + self.number - 1 + months, 12)
        return Month(year, number + 1)

    def months_since(self, first: Month) -> int:
        """Months from `first` to this one, negative where this one is earlier."""
        return (self.year - first.year) * 12 + self.number - first.number


class Period(Struct, frozen=True):
    """Whole months, first and last inclusive. `str()` is 2023-12..2024-05."""

    number: int  # of the settlement period, from 1; 0: these months are none
    first: Month
    last: Month

    def __post_init__(self) -> None:
        assert self.first <= self.last, self

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"

    @property
    def first_day(self) -> date:
        return self.first.first_day

    @property
    def last_day(self) -> date:
        """Inclusive."""
        return self.last.last_day

    @property
    def start_us(self) -> int:
        return self.first.start_us

    @property
    def end_us(self) -> int:
        """Exclusive."""
        return self.last.end_us

    def months(self) -> list[Month]:
        return [self.first.later(passed) for passed in range(self.last.months_since(self.first) + 1)]


def settlement_period(settlement: Settlement, number: int) -> Period:
    """The settlement period of that number; 1 begins on the anchor. Raises WrongPeriod."""
    anchor = _anchor_month(settlement)
    number_max = (Month(YEAR_MAX, 12).months_since(anchor) + 1) // settlement.months
    if not 1 <= number <= number_max:
        raise WrongPeriod(f"no settlement period {number}: allowed is a number from 1 to {number_max}")
    first = anchor.later((number - 1) * settlement.months)
    return Period(number, first, first.later(settlement.months - 1))


def settlement_period_of(settlement: Settlement, month: Month) -> Period:
    """The settlement period that contains the month. Raises WrongPeriod before the first one."""
    anchor = _anchor_month(settlement)
    if month < anchor:
        raise WrongPeriod(f"no settlement period contains {month}: allowed is a month from {anchor}")
    return settlement_period(settlement, month.months_since(anchor) // settlement.months + 1)


def parse_period(text: str, settlement: Settlement) -> Period:
    """What a person calls a period. Raises WrongPeriod.

    `6` is the settlement period of that number, `2026-06` the settlement period that contains the month,
    `2026-06..2026-11` exactly those months, whether they are a settlement period or not.
    """
    if _NUMBER.fullmatch(text):
        return settlement_period(settlement, int(text))
    if _MONTH.fullmatch(text):
        return settlement_period_of(settlement, Month.parse(text))
    first_text, dots, last_text = text.partition("..")
    if not dots:
        raise WrongPeriod(
            f"no period {text!r}: allowed are a number such as 6, a month such as 2026-06, and months such as"
            " 2026-06..2026-11"
        )
    first, last = Month.parse(first_text), Month.parse(last_text)
    if last < first:
        raise WrongPeriod(f"{last} is before {first}: allowed is FIRST..LAST with the earlier month first")
    return Period(_number_of(settlement, first, last), first, last)


def parse_months(text: str, settlement: Settlement) -> Period:
    """As parse_period, but a month stands for itself, and not for the period that contains it."""
    return parse_period(f"{text}..{text}" if _MONTH.fullmatch(text) else text, settlement)


def day_us(day: date) -> int:
    """The moment at which the day begins in Shanghai."""
    return (day.toordinal() - _EPOCH_ORDINAL) * DAY_US - AHEAD_OF_UTC_US


def day_of(time_us: int) -> date:
    """The day in Shanghai to which the moment belongs."""
    return date.fromordinal(_EPOCH_ORDINAL + (time_us + AHEAD_OF_UTC_US) // DAY_US)


def moment_us(text: str) -> int:
    """The moment that a person writes by the clock of Shanghai, with seconds or without. Raises ValueError:
    what is allowed."""
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        written = f"{match[1]}{match[2] or ':00'} +0800"
        return (datetime.strptime(written, "%Y-%m-%d %H:%M:%S %z") - _EPOCH) // timedelta(microseconds=1)
    except ValueError:
        raise ValueError('allowed is a time in Shanghai such as "2026-11-26 09:30"') from None


def moment(time_us: int) -> str:
    """As `moment_us` reads it, with seconds; microseconds are cut."""
    return f"{datetime.fromtimestamp(time_us // 1_000_000, SHANGHAI):%Y-%m-%d %H:%M:%S}"


def months_before(day: date, months: int) -> date:
    """The same day so many months earlier, later where that is negative; the last of the month where that
    month is shorter (31 May minus three months is 28 or 29 February)."""
    month = Month(day.year, day.month).later(-months)
    return month.last_day.replace(day=min(day.day, month.last_day.day))


def _anchor_month(settlement: Settlement) -> Month:
    assert settlement.anchor.day == 1, settlement.anchor
    return Month(settlement.anchor.year, settlement.anchor.month)


def _number_of(settlement: Settlement, first: Month, last: Month) -> int:
    """The number of the settlement period that is exactly these months; 0 if none is."""
    passed, offset = divmod(first.months_since(_anchor_month(settlement)), settlement.months)
    whole = offset == 0 and last.months_since(first) + 1 == settlement.months
    return passed + 1 if whole and passed >= 0 else 0
