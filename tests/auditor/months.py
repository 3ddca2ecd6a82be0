"""Months and days of Asia/Shanghai, which is UTC+8."""

from __future__ import annotations

from datetime import date, timedelta

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def day_of(time_us: int) -> date:
    """The day of a time."""
    return date(1970, 1, 1) + timedelta(days=(time_us + 8 * HOUR_US) // DAY_US)


def month_of(time_us: int) -> str:
    """The month of a time, as `2026-06`."""
    return day_of(time_us).isoformat()[:7]


def begin_us(day: date) -> int:
    """When a day begins."""
    return (day - date(1970, 1, 1)).days * DAY_US - 8 * HOUR_US


def time_us(clock: str) -> int:
    """The time that a clock shows, as `2026-06-10 09:30:00`."""
    day, hours, minutes, seconds = date.fromisoformat(clock[:10]), *map(int, clock[11:].split(":"))
    return begin_us(day) + (hours * 3600 + minutes * 60 + seconds) * 1_000_000


def first_day(month: str) -> date:
    """The first day of a month."""
    return date.fromisoformat(month + "-01")


def later(day: date, months: int) -> date:
    """The same day so many months later, or the last of a shorter month."""
    at = day.year * 12 + day.month - 1 + months
    for number in range(day.day, 0, -1):
        try:
            return date(at // 12, at % 12 + 1, number)
        except ValueError:
            continue
    raise AssertionError("a month has days")


def months_between(first: str, last: str) -> list[str]:
    """The months from the first to the last."""
    months = [first]
    while months[-1] < last:
        months.append(later(first_day(months[-1]), 1).isoformat()[:7])
    return months


def day_after_month(month: str) -> date:
    """The first day behind a month."""
    return later(first_day(month), 1)


def shown(time_us: int) -> str:
    """A time to the second, with its zone."""
    second = time_us // 1_000_000 + 8 * 3600
    clock = second % 86_400
    day = day_of(time_us).isoformat()
    return f"{day}T{clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}+08:00"
