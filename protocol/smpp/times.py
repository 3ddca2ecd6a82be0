"""The two time formats of SMPP (3.4 §7.1.1, 5.0 §4.7.23.4) and the dates inside receipts (3.4 Appendix B).

    YYMMDDhhmmsstnnp   absolute: tenths of a second, quarter hours from UTC, `+` (ahead of it) or `-`
    YYMMDDhhmmss000R   relative to the moment at which the message centre takes the message
    YYMMDDhhmm[ss]     in a receipt: local time of the carrier, and nothing says which that is

Both formats of SMPP are sixteen octets here; the NUL that ends them on the wire is the codec's. An empty
field means "now" or "the default" and is no time: who has the field asks for that first.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

import msgspec

# Without daylight saving since 1991, hence an offset, and no dependence on a host's zone database.
SHANGHAI: Final = timezone(timedelta(hours=8), "Asia/Shanghai")

# YY says no century; SMPP is younger than 2000 in every network that still speaks it.
_CENTURY: Final = 2000
_QUARTERS_MAX: Final = 48  # SMPP 3.4 §7.1.1.1: 00-48, twelve hours either way
_TENTHS_A_QUARTER: Final = 15 * 60 * 10

# A relative time counts 365 days a year and 30 days a month. Calendar arithmetic would need a time zone that
# the format does not name, has no answer for one month after 31 January, and would let the same octets mean
# another span each day; two parties that recompute an expiry from evidence must agree on it to the second.
_DAYS_A_YEAR: Final = 365
_DAYS_A_MONTH: Final = 30

_SHAPE: Final = re.compile(rb"[0-9]{15}[+\-R]")
_RELATIVE_TAIL: Final = b"000R"


class TimeFormatError(ValueError):
    """Octets that are no time of the expected form, or a time that the form cannot hold; it says which."""


class AbsoluteTime(msgspec.Struct, frozen=True, gc=False):
    """A moment: tenths of a second since 1970 in UTC; and its writer's offset from UTC in quarter hours."""

    epoch_tenths: int
    offset_quarters: int = 0


class RelativeTime(msgspec.Struct, frozen=True, gc=False):
    """A span in the units in which it was written, each 0 to 99."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: int = 0

    def duration_s(self) -> int:
        """Seconds, at 365 days a year and 30 days a month."""
        days = self.years * _DAYS_A_YEAR + self.months * _DAYS_A_MONTH + self.days
        return ((days * 24 + self.hours) * 60 + self.minutes) * 60 + self.seconds


def parse_time(octets: bytes) -> AbsoluteTime | RelativeTime:
    """Reads schedule_delivery_time, validity_period or final_date; TimeFormatError for what is neither form.

    In a relative time every unit may run to 99: `000000480000000R` is how many clients say 48 hours.
    """
    if len(octets) != 16:
        raise TimeFormatError(f"{octets!r} has {len(octets)} octets, a time has 16")
    if not _SHAPE.fullmatch(octets):
        raise TimeFormatError(f"{octets!r} is not fifteen digits and one of + - R")
    numbers = [int(octets[at : at + 2]) for at in range(0, 12, 2)]
    if octets[15:] == b"R":
        if octets[12:] != _RELATIVE_TAIL:
            raise TimeFormatError(f"{octets!r} is relative and does not end in 000R")
        return RelativeTime(*numbers)
    quarters = int(octets[13:15])
    if quarters > _QUARTERS_MAX:
        raise TimeFormatError(f"{octets!r} is more than {_QUARTERS_MAX} quarter hours from UTC")
    if octets[15:] == b"-":
        quarters = -quarters
    local_tenths = _epoch_s(octets, numbers, UTC) * 10 + octets[12] - ord("0")
    # `+` says that the local time is ahead of UTC.
    return AbsoluteTime(local_tenths - quarters * _TENTHS_A_QUARTER, quarters)


def resolve(time: AbsoluteTime | RelativeTime, now_s: float) -> float:
    """Seconds since 1970 in UTC; `now_s` is when the message was taken, in the same scale."""
    if isinstance(time, AbsoluteTime):
        return time.epoch_tenths / 10
    return now_s + time.duration_s()


def format_absolute(epoch_s: float, offset_quarters: int = 0) -> bytes:
    """YYMMDDhhmmsstnnp, cut to the tenth of a second, in the local time of the given offset (-48 to 48)."""
    if not -_QUARTERS_MAX <= offset_quarters <= _QUARTERS_MAX:
        raise TimeFormatError(f"{offset_quarters} quarter hours is not within {_QUARTERS_MAX} of UTC")
    # Rounded to the millisecond first: 0.3 s is a little less than three tenths in binary.
    tenths = round(epoch_s * 1000) // 100 + offset_quarters * _TENTHS_A_QUARTER
    digits = _digits(tenths // 10, UTC)
    sign = b"-" if offset_quarters < 0 else b"+"
    return b"%b%d%02d%b" % (digits, tenths % 10, abs(offset_quarters), sign)


def format_relative(duration_s: int) -> bytes:
    """YYMMDDhhmmss000R in days and smaller, so that every reader takes it for the same span.

    At most 99 days, 23:59:59: a month or a year would depend on who counts.
    """
    days, rest_s = divmod(duration_s, 86400)
    if not 0 <= days <= 99:
        raise TimeFormatError(f"{duration_s} s is not within 0 and 100 days")
    return b"0000%02d%02d%02d%02d000R" % (days, rest_s // 3600, rest_s // 60 % 60, rest_s % 60)


def parse_receipt_date(octets: bytes, zone: tzinfo = SHANGHAI) -> int:
    """Seconds since 1970 in UTC of a receipt's YYMMDDhhmm or YYMMDDhhmmss, in the carrier's local time.

    TimeFormatError for anything else, also for the zeros that some carriers write for "not yet".
    """
    if len(octets) not in (10, 12) or not octets.isdigit():
        raise TimeFormatError(f"{octets!r} is neither YYMMDDhhmm nor YYMMDDhhmmss")
    numbers = [int(octets[at : at + 2]) for at in range(0, len(octets), 2)]
    return _epoch_s(octets, numbers, zone)


def format_receipt_date(epoch_s: float, zone: tzinfo = SHANGHAI, *, seconds: bool = False) -> bytes:
    """YYMMDDhhmm, or YYMMDDhhmmss with `seconds`, in the local time of the zone; what is below is cut."""
    digits = _digits(int(epoch_s), zone)
    return digits if seconds else digits[:10]


def _epoch_s(octets: bytes, numbers: list[int], zone: tzinfo) -> int:
    """Seconds since 1970 of the calendar fields YY MM DD hh mm [ss] in a zone."""
    year, month, day, hour, minute, second = (*numbers, 0)[:6]
    try:
        moment = datetime(_CENTURY + year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError as error:
        raise TimeFormatError(f"{octets!r}: {error}") from None
    return int(moment.timestamp())


def _digits(epoch_s: int, zone: tzinfo) -> bytes:
    """YYMMDDhhmmss of a moment in a zone."""
    try:
        moment = datetime.fromtimestamp(epoch_s, zone)
    except (ValueError, OverflowError, OSError):  # beyond the years 1 to 9999, by how much decides which
        raise TimeFormatError(f"{epoch_s} s since 1970 is no date") from None
    if not _CENTURY <= moment.year < _CENTURY + 100:
        raise TimeFormatError(f"the year {moment.year} cannot be said in two digits")
    return moment.strftime("%y%m%d%H%M%S").encode()
