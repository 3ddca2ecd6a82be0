"""Days, months and settlement periods of Shanghai, and the moments at which they begin and end."""

from datetime import UTC, date, datetime

import pytest

from storage.settlement.calendar import (
    Month,
    Period,
    WrongPeriod,
    day_of,
    day_us,
    months_before,
    parse_period,
    settlement_period,
    settlement_period_of,
)
from storage.settlement.terms import Settlement

DAY_US = 86_400_000_000
SIX_MONTHS = Settlement()


def moment_us(year: int, month: int, day: int, hour: int) -> int:
    """The moment at which clocks in UTC show that hour."""
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(1970, 1, 1), -28_800_000_000),
        (date(1970, 1, 2), 57_600_000_000),
        (date(2023, 12, 1), moment_us(2023, 11, 30, 16)),
        (date(2026, 11, 30), moment_us(2026, 11, 29, 16)),
        (date(2024, 2, 29), moment_us(2024, 2, 28, 16)),
    ],
)
def test_a_day_begins_eight_hours_before_utc(day: date, expected: int) -> None:
    assert day_us(day) == expected
    assert day_of(expected) == day
    assert day_of(expected + DAY_US - 1) == day
    assert day_us(day_of(expected - 1)) == expected - DAY_US


@pytest.mark.parametrize(
    ("month", "start_us", "days"),
    [
        (Month(2023, 12), moment_us(2023, 11, 30, 16), 31),
        (Month(2024, 2), moment_us(2024, 1, 31, 16), 29),
        (Month(2025, 2), moment_us(2025, 1, 31, 16), 28),
        (Month(2000, 2), moment_us(2000, 1, 31, 16), 29),
        (Month(2026, 11), moment_us(2026, 10, 31, 16), 30),
        (Month(2099, 12), moment_us(2099, 11, 30, 16), 31),
    ],
)
def test_a_month_has_its_first_moment_and_not_its_last(month: Month, start_us: int, days: int) -> None:
    assert (month.start_us, month.end_us) == (start_us, start_us + days * DAY_US)
    assert month.next().start_us == month.end_us
    assert Month.of(month.start_us) == month
    assert Month.of(month.end_us - 1) == month
    assert Month.of(month.end_us) == month.next()
    assert Month.of(month.start_us - 1) == month.later(-1)
    assert Month.parse(str(month)) == month


def test_months_are_in_the_order_of_time() -> None:
    months = [Month(2023, 12), Month(2024, 1), Month(2024, 2), Month(2025, 1)]
    assert sorted([months[3], months[1], months[0], months[2]]) == months
    assert [str(month) for month in months] == ["2023-12", "2024-01", "2024-02", "2025-01"]
    assert [month.months_since(months[1]) for month in months] == [-1, 0, 1, 12]
    assert [months[1].later(by) for by in (-13, -1, 0, 11, 12)] == [
        *(Month(2022, 12), Month(2023, 12), Month(2024, 1), Month(2024, 12), Month(2025, 1))
    ]


@pytest.mark.parametrize("number", [0, 13, -1])
def test_there_are_twelve_months(number: int) -> None:
    with pytest.raises(AssertionError):
        Month(2024, number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-6",
        "2026-00",
        "2026-13",
        "1999-12",
        "2100-01",
        " 2026-06",
        "2026-06\n",
        "２０２６-06",
    ],
)
def test_a_month_is_four_digits_and_two(text: str) -> None:
    with pytest.raises(WrongPeriod) as error:
        Month.parse(text)
    assert str(error.value) == f"no month {text!r}: allowed is YYYY-MM from 2000-01 to 2099-12"


PERIODS = [
    (1, "2023-12..2024-05", date(2023, 12, 1), date(2024, 5, 31)),
    (2, "2024-06..2024-11", date(2024, 6, 1), date(2024, 11, 30)),
    (3, "2024-12..2025-05", date(2024, 12, 1), date(2025, 5, 31)),
    (4, "2025-06..2025-11", date(2025, 6, 1), date(2025, 11, 30)),
    (5, "2025-12..2026-05", date(2025, 12, 1), date(2026, 5, 31)),
    (6, "2026-06..2026-11", date(2026, 6, 1), date(2026, 11, 30)),
]


@pytest.mark.parametrize(("number", "name", "first_day", "last_day"), PERIODS)
def test_the_six_periods_of_the_contract(number: int, name: str, first_day: date, last_day: date) -> None:
    period = settlement_period(SIX_MONTHS, number)
    assert (period.number, str(period)) == (number, name)
    assert (period.first_day, period.last_day) == (first_day, last_day)
    assert (period.start_us, period.end_us) == (day_us(first_day), day_us(last_day) + DAY_US)
    assert settlement_period(SIX_MONTHS, number + 1).start_us == period.end_us
    months = period.months()
    assert (len(months), months[0], months[-1]) == (6, period.first, period.last)
    assert all(settlement_period_of(SIX_MONTHS, month) == period for month in months)


@pytest.mark.parametrize(
    ("settlement", "number", "name"),
    [
        (Settlement(months=1), 3, "2024-02..2024-02"),
        (Settlement(months=12), 2, "2024-12..2025-11"),
        (Settlement(months=5, anchor=date(2024, 2, 1)), 3, "2024-12..2025-04"),
        (Settlement(months=1, anchor=date(2000, 1, 1)), 1200, "2099-12..2099-12"),
    ],
)
def test_periods_of_other_contracts(settlement: Settlement, number: int, name: str) -> None:
    period = settlement_period(settlement, number)
    assert (period.number, str(period)) == (number, name)
    assert settlement_period_of(settlement, period.first) == period
    assert settlement_period_of(settlement, period.last) == period


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6", Period(6, Month(2026, 6), Month(2026, 11))),
        ("06", Period(6, Month(2026, 6), Month(2026, 11))),
        ("152", Period(152, Month(2099, 6), Month(2099, 11))),
        ("2026-06", Period(6, Month(2026, 6), Month(2026, 11))),
        ("2026-11", Period(6, Month(2026, 6), Month(2026, 11))),
        ("2026-12", Period(7, Month(2026, 12), Month(2027, 5))),
        ("2026-06..2026-11", Period(6, Month(2026, 6), Month(2026, 11))),
        # Exactly these months, which are no settlement period.
        ("2026-06..2026-06", Period(0, Month(2026, 6), Month(2026, 6))),
        ("2026-05..2026-10", Period(0, Month(2026, 5), Month(2026, 10))),
        ("2023-12..2026-11", Period(0, Month(2023, 12), Month(2026, 11))),
        # Half a year before the anchor.
        ("2023-06..2023-11", Period(0, Month(2023, 6), Month(2023, 11))),
    ],
)
def test_what_people_call_a_period(text: str, expected: Period) -> None:
    assert parse_period(text, SIX_MONTHS) == expected


def test_a_range_is_the_months_in_it() -> None:
    assert parse_period("2023-11..2024-02", SIX_MONTHS).months() == [
        *(Month(2023, 11), Month(2023, 12), Month(2024, 1), Month(2024, 2))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "no settlement period 0: allowed is a number from 1 to 152"),
        ("153", "no settlement period 153: allowed is a number from 1 to 152"),
        ("2026", "no settlement period 2026: allowed is a number from 1 to 152"),
        ("2023-11", "no settlement period contains 2023-11: allowed is a month from 2023-12"),
        ("2099-12", "no settlement period 153: allowed is a number from 1 to 152"),
        (
            "2026-06..2026-05",
            "2026-05 is before 2026-06: allowed is FIRST..LAST with the earlier month first",
        ),
        ("2026-06..", "no month '': allowed is YYYY-MM from 2000-01 to 2099-12"),
        ("6..7", "no month '6': allowed is YYYY-MM from 2000-01 to 2099-12"),
        (
            "last\nyear",
            "no period 'last\\nyear': allowed are a number such as 6, a month such as 2026-06, and months"
            " such as 2026-06..2026-11",
        ),
        (
            "-1",
            "no period '-1': allowed are a number such as 6, a month such as 2026-06, and months"
            " such as 2026-06..2026-11",
        ),
    ],
)
def test_every_wrong_period_says_what_is_allowed(text: str, expected: str) -> None:
    with pytest.raises(WrongPeriod) as error:
        parse_period(text, SIX_MONTHS)
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2026, 11, 30), 0, date(2026, 11, 30)),
        (date(2026, 11, 30), 12, date(2025, 11, 30)),
        (date(2026, 1, 15), 1, date(2025, 12, 15)),
        (date(2026, 5, 31), 1, date(2026, 4, 30)),
        (date(2026, 5, 31), 3, date(2026, 2, 28)),
        (date(2024, 5, 31), 3, date(2024, 2, 29)),
        (date(2024, 2, 29), 12, date(2023, 2, 28)),
        (date(2024, 2, 29), 48, date(2020, 2, 29)),
    ],
)
def test_civil_months_before(day: date, months: int, expected: date) -> None:
    assert months_before(day, months) == expected
