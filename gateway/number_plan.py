"""Chinese mobile numbers: one written form, and the carrier that a prefix was allotted to.

Applications write a number as they please (`+86 138-1234-5678`, `013812345678`, full-width digits from an
input method); `normalise` makes it the 11 digits of a handset or the 13 of a thing (物联网) that the rest of
the gateway trusts. `NumberPlan` then names the carrier by prefix, longest prefix first. Numbers are portable
between carriers since November 2019 (携号转网), so a prefix says who was allotted the number, not who serves
it: it chooses a route and is no fact about the subscriber. A prefix that the plan does not know is a number
nevertheless: the Ministry opens new ones every year, and the caller decides by its default route.
"""

import csv
import re
from collections.abc import Iterable
from importlib import resources
from typing import Final, Literal, Self, get_args

import msgspec

CarrierName = Literal["mobile", "unicom", "telecom", "broadnet", "satnet", "other"]
SegmentKind = Literal["public", "mvno", "data", "iot", "m2m", "satellite", "emergency"]

HANDSET_DIGITS: Final = 11
THING_DIGITS: Final = 13

# The finest split in the Ministry's table is five digits (17400 to 17412), and every prefix is expanded to
# that.
PREFIX_DIGITS_MAX: Final = 5

# An SMPP address has at most 20 octets (SMPP 3.4 §5.2.9); eleven full-width digits with a country code and
# blanks in UTF-8 need 60. Longer input is no number, and is not worth decoding.
ADDRESS_OCTETS_MAX: Final = 64

# The country code is part of the pattern and not optional after a plus or 00: `+138…` is a number in North
# America. A trunk 0 may stand before the number, with or without the country code: people write both. 13
# digits are accepted where things live (1064 and 14x) only: 1069… are access numbers of applications.
_WRITTEN: Final = re.compile(rb"(?:\+86|0086|86)?0?(1[3-9][0-9]{9}|1064[0-9]{9}|14[0-9]{11})")

# What people and input methods put between the digits. The invisible marks come with numbers copied from the
# contact list of a phone (U+202D … U+202C around them).
_SEPARATORS: Final = (
    " \t\u00a0\u2002\u2003\u2009\u202f\u3000"  # blanks
    "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"  # dashes
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
_TO_PLAIN: Final = str.maketrans(
    dict.fromkeys(_SEPARATORS) | {chr(0xFF10 + digit): str(digit) for digit in range(10)} | {"\uff0b": "+"}
)


class NumberPlanError(ValueError):
    """The table of segments cannot be used; the text names the line and what is allowed."""


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One row of the plan: who was allotted the numbers that begin with `prefix`, and what for."""

    carrier: CarrierName
    kind: SegmentKind
    prefix: bytes


def normalise(address: bytes) -> bytes:
    """The one form of a Chinese mobile number: 11 digits, or 13 for a thing; b"" if `address` is none.

    Accepts the country code as `+86`, `86` or `0086`, a trunk `0`, blanks, dashes, and full-width digits in
    UTF-8 or GB 18030. Never raises. Type of number and numbering plan (TON, NPI) are not asked: applications
    set them wrongly more often than they write a number wrongly.
    """
    # Nearly every address is eleven plain digits. The comparison says: the first two are 13 to 19.
    if len(address) == 11 and address.isdigit() and b"13" <= address < b"2":
        return address
    written = _WRITTEN.fullmatch(address)
    if written is None:
        written = _WRITTEN.fullmatch(_plain(address))
        if written is None:
            return b""
    return written[1]


def _plain(address: bytes) -> bytes:
    """`address` without separators and with ASCII digits; b"" where it cannot be read as a number at all."""
    if len(address) > ADDRESS_OCTETS_MAX:
        return b""
    # UTF-8 first: text in GB 18030 with a full-width digit (A3 Bx) is never valid UTF-8, the reverse may be.
    for encoding in ("utf-8", "gb18030"):
        try:
            return address.decode(encoding).translate(_TO_PLAIN).encode("ascii")
        except UnicodeError:
            continue
    return b""


def mask(number: bytes) -> str:
    """`138****5678`: a number for logs and pages, without the four digits before the last four.

    The number may be in any form that `normalise` takes; what is no mobile number is `****` altogether.
    """
    digits = normalise(number).decode("ascii")
    return f"{digits[:-8]}****{digits[-4:]}"


class NumberPlan:
    """Carrier and kind by prefix; immutable, so one instance serves every thread."""

    __slots__ = ("_handsets", "_things", "segments")

    def __init__(self, segments: dict[tuple[bytes, int], Segment]) -> None:
        """`segments` by (prefix, number of digits of the whole number)."""
        self.segments: Final = segments
        self._handsets: Final = _expand(segments, HANDSET_DIGITS)
        self._things: Final = _expand(segments, THING_DIGITS)

    @classmethod
    def load(cls) -> Self:
        """The plan that ships with the gateway (`gateway/data/msisdn_segments.csv`)."""
        text = resources.files("gateway.data").joinpath("msisdn_segments.csv").read_text(encoding="utf-8")
        return cls.from_csv(text.splitlines())

    @classmethod
    def from_csv(cls, lines: Iterable[str]) -> Self:
        """A plan from lines of CSV with a heading. Raises NumberPlanError, which names the line."""
        rows = csv.reader(lines)
        heading = next(rows, [])
        if heading != ["prefix", "length", "carrier", "kind", "source"]:
            raise NumberPlanError(f"line 1: {heading}, allowed is prefix,length,carrier,kind,source")
        segments: dict[tuple[bytes, int], Segment] = {}
        for row in rows:
            try:
                key, segment = _segment(row)
            except NumberPlanError as error:
                raise NumberPlanError(f"line {rows.line_num}: {error}") from None
            if key in segments:
                raise NumberPlanError(f"line {rows.line_num}: {row[0]} with {row[1]} digits stands twice")
            segments[key] = segment
        return cls(segments)

    def lookup(self, number: bytes) -> Segment | None:
        """The segment of a number in the form of `normalise`; None where the plan has no prefix for it."""
        if len(number) == 11:
            return self._handsets.get(number[:5])
        if len(number) == 13:
            return self._things.get(number[:5])
        return None


def _segment(row: list[str]) -> tuple[tuple[bytes, int], Segment]:
    if len(row) != 5:
        raise NumberPlanError(f"{len(row)} columns, allowed is 5")
    prefix, length, carrier, kind, _source = row
    if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= PREFIX_DIGITS_MAX):
        raise NumberPlanError(f"prefix {prefix!r}, allowed are 1 to {PREFIX_DIGITS_MAX} digits")
    if length not in (str(HANDSET_DIGITS), str(THING_DIGITS)):
        raise NumberPlanError(f"length {length!r}, allowed are {HANDSET_DIGITS} and {THING_DIGITS}")
    try:
        segment = msgspec.convert(
            {"carrier": carrier, "kind": kind, "prefix": prefix.encode()}, Segment, builtin_types=(bytes,)
        )
    except msgspec.ValidationError:
        raise NumberPlanError(
            f"{carrier!r}, {kind!r}, allowed are {get_args(CarrierName)} and {get_args(SegmentKind)}"
        ) from None
    return (segment.prefix, int(length)), segment


def _expand(segments: dict[tuple[bytes, int], Segment], length: int) -> dict[bytes, Segment]:
    """One entry for each five digits, some 7,000, so that a look-up is one, not a search by length."""
    table: dict[bytes, Segment] = {}
    # Shorter prefixes first, so that a longer one overwrites its part of the shorter.
    for (prefix, digits), segment in sorted(segments.items(), key=lambda item: len(item[0][0])):
        if digits == length:
            free = PREFIX_DIGITS_MAX - len(prefix)
            for rest in range(10**free):
                table[prefix + (b"%0*d" % (free, rest) if free else b"")] = segment
    return table
