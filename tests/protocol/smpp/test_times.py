"""The time formats of SMPP and the dates in receipts. NOW is 2026-11-23 01:12 in UTC, 09:12 in Shanghai."""

import contextlib
import re
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.smpp.times import (
    SHANGHAI,
    AbsoluteTime,
    RelativeTime,
    TimeFormatError,
    format_absolute,
    format_receipt_date,
    format_relative,
    parse_receipt_date,
    parse_time,
    resolve,
)

NOW = 1795396320
DAY = 86400


@pytest.mark.parametrize(
    ("octets", "offset_quarters", "epoch_s"),
    [
        (b"261123011200000+", 0, NOW),
        (b"261123011200000-", 0, NOW),
        (b"261123011200700+", 0, NOW + 0.7),
        # Shanghai is 32 quarter hours ahead of UTC.
        (b"261123091200032+", 32, NOW),
        (b"261123091200932+", 32, NOW + 0.9),
        # Newfoundland is 14 behind.
        (b"261122214200014-", -14, NOW),
        (b"261123131200048+", 48, NOW),
        (b"261122131200048-", -48, NOW),
        (b"000101000000000+", 0, 946684800),
        (b"991231235959900+", 0, 4102444799.9),
        (b"280229120000032+", 32, 1835409600),
    ],
)
def test_absolute(octets: bytes, offset_quarters: int, epoch_s: float) -> None:
    time = parse_time(octets)
    assert time == AbsoluteTime(round(epoch_s * 10), offset_quarters)
    assert resolve(time, 0.0) == epoch_s
    # Of the two ways to say UTC we write the one with the plus.
    assert format_absolute(epoch_s, offset_quarters) == octets.replace(b"00-", b"00+")


@pytest.mark.parametrize(
    ("octets", "time", "duration_s"),
    [
        (b"000000000000000R", RelativeTime(), 0),
        (b"000000000001000R", RelativeTime(seconds=1), 1),
        (b"000000003000000R", RelativeTime(minutes=30), 1800),
        (b"000002000000000R", RelativeTime(days=2), 2 * DAY),
        (b"000000480000000R", RelativeTime(hours=48), 2 * DAY),
        (b"000000009999000R", RelativeTime(minutes=99, seconds=99), 6039),
        (b"000100000000000R", RelativeTime(months=1), 30 * DAY),
        (b"010000000000000R", RelativeTime(years=1), 365 * DAY),
        # The example of SMPP 3.4 §7.1.1.2.
        (
            b"020610233429000R",
            RelativeTime(years=2, months=6, days=10, hours=23, minutes=34, seconds=29),
            (2 * 365 + 6 * 30 + 10) * DAY + 84869,
        ),
    ],
)
def test_relative(octets: bytes, time: RelativeTime, duration_s: int) -> None:
    assert parse_time(octets) == time
    assert time.duration_s() == duration_s
    assert resolve(time, NOW + 0.25) == NOW + 0.25 + duration_s


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "b'' has 0 octets, a time has 16"),
        (b"261123011200000", "has 15 octets, a time has 16"),
        (b"261123011200000+\0", "has 17 octets, a time has 16"),
        (b"261123011200000Z", "is not fifteen digits and one of + - R"),
        (b"261123011200000r", "is not fifteen digits and one of + - R"),
        (b"2611230112000 0+", "is not fifteen digits and one of + - R"),
        (b"261123011200049+", "is more than 48 quarter hours from UTC"),
        (b"261123011200049-", "is more than 48 quarter hours from UTC"),
        (b"260023011200000+", "b'260023011200000+': month must be in 1..12"),
        (b"261323011200000+", "month must be in 1..12"),
        (b"260230011200000+", "day is out of range for month"),
        (b"270229011200000+", "day is out of range for month"),
        (b"261123241200000+", "hour must be in 0..23"),
        (b"261123016000000+", "minute must be in 0..59"),
        (b"261123010060000+", "second must be in 0..59"),
        (b"000000010000001R", "is relative and does not end in 000R"),
        (b"000000010000100R", "is relative and does not end in 000R"),
    ],
)
def test_refused(octets: bytes, message: str) -> None:
    with pytest.raises(TimeFormatError, match=re.escape(message)):
        parse_time(octets)


@pytest.mark.parametrize(
    ("duration_s", "octets"),
    [
        (0, b"000000000000000R"),
        (59, b"000000000059000R"),
        (3600, b"000000010000000R"),
        (2 * DAY + 3723, b"000002010203000R"),
        (31 * DAY, b"000031000000000R"),
        (100 * DAY - 1, b"000099235959000R"),
    ],
)
def test_relative_written(duration_s: int, octets: bytes) -> None:
    assert format_relative(duration_s) == octets
    assert resolve(parse_time(octets), 0.0) == duration_s


@pytest.mark.parametrize(
    ("epoch_s", "octets"),
    [
        (NOW + 0.3, b"261123011200300+"),
        (NOW + 0.04, b"261123011200000+"),
        (NOW + 0.99, b"261123011200900+"),
    ],
)
def test_absolute_written_in_tenths(epoch_s: float, octets: bytes) -> None:
    assert format_absolute(epoch_s) == octets


def test_what_the_forms_cannot_hold() -> None:
    for duration_s in (-1, 100 * DAY):
        with pytest.raises(TimeFormatError, match=f"{duration_s} s is not within 0 and 100 days"):
            format_relative(duration_s)
    for offset_quarters in (-49, 49):
        with pytest.raises(TimeFormatError, match=f"{offset_quarters} quarter hours is not within 48 of UTC"):
            format_absolute(NOW, offset_quarters)
    for epoch_s, year in ((946684799, 1999), (4102444800, 2100)):
        with pytest.raises(TimeFormatError, match=f"the year {year} cannot be said in two digits"):
            format_absolute(epoch_s)
    with pytest.raises(TimeFormatError, match="1000000000000000 s since 1970 is no date"):
        format_receipt_date(1e15)


@given(tenths=st.integers(9466848000 + 432000, 41024447999 - 432000), quarters=st.integers(-48, 48))
def test_absolute_round_trip(tenths: int, quarters: int) -> None:
    assert parse_time(format_absolute(tenths / 10, quarters)) == AbsoluteTime(tenths, quarters)


@given(st.integers(0, 100 * DAY - 1))
def test_relative_round_trip(duration_s: int) -> None:
    assert resolve(parse_time(format_relative(duration_s)), NOW) == NOW + duration_s


@given(st.binary(max_size=18) | st.from_regex(rb"[0-9]{15}[-+R]", fullmatch=True))
def test_any_octets_give_a_time_or_the_error(octets: bytes) -> None:
    with contextlib.suppress(TimeFormatError):
        assert isinstance(parse_time(octets), AbsoluteTime | RelativeTime)


@pytest.mark.parametrize(
    ("octets", "zone", "epoch_s"),
    [
        (b"2611230912", SHANGHAI, NOW),
        (b"261123091205", SHANGHAI, NOW + 5),
        (b"2611230112", UTC, NOW),
        (b"2611222142", timezone(-timedelta(hours=3, minutes=30)), NOW),
        (b"2607010300", ZoneInfo("Europe/Berlin"), 1782867600),
        (b"2601010000", SHANGHAI, 1767196800),
    ],
)
def test_receipt_dates(octets: bytes, zone: tzinfo, epoch_s: int) -> None:
    assert parse_receipt_date(octets, zone) == epoch_s
    assert format_receipt_date(epoch_s + 0.9, zone, seconds=len(octets) == 12) == octets


def test_receipt_dates_are_of_shanghai_unless_said() -> None:
    assert parse_receipt_date(b"2611230912") == NOW
    assert format_receipt_date(NOW) == b"2611230912"


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "b'' is neither YYMMDDhhmm nor YYMMDDhhmmss"),
        (b"26112309", "is neither YYMMDDhhmm nor YYMMDDhhmmss"),
        (b"26112309120", "is neither YYMMDDhhmm nor YYMMDDhhmmss"),
        (b"2026-11-23", "is neither YYMMDDhhmm nor YYMMDDhhmmss"),
        (b"20261123091200", "is neither YYMMDDhhmm nor YYMMDDhhmmss"),
        (b"0000000000", "b'0000000000': month must be in 1..12"),
        (b"2611232400", "hour must be in 0..23"),
    ],
)
def test_refused_receipt_dates(octets: bytes, message: str) -> None:
    with pytest.raises(TimeFormatError, match=re.escape(message)):
        parse_receipt_date(octets)
