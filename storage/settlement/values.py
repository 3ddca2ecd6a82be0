"""One value of the contract's file into its type, or the words that say what is allowed there.

The type is at once the bounds and the wording: a description in `msgspec.Meta` is used as it stands, bounds
and choices describe themselves.
"""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from storage.settlement.terms import YEAR_MAX, YEAR_MIN

_SHARE: Final = re.compile(r"0(\.[0-9]{1,6})?|1(\.0{1,6})?")


class WrongValue(ValueError):
    """What is wrong with one value, in the words of the error line."""


def converted(value: object, wanted: Any) -> Any:
    """The value in the type `wanted`. Raises WrongValue."""
    try:
        # TOML has days of its own: one in quotes is a text.
        result = msgspec.convert(value, wanted, dec_hook=_share, builtin_types=(date,))
    except msgspec.ValidationError as error:
        raise WrongValue(f"allowed is {allowed_by(wanted)}, not {_shown(value)}") from error
    if isinstance(result, date) and not YEAR_MIN <= result.year <= YEAR_MAX:
        raise WrongValue(f"allowed is {allowed_by(wanted)}, not {_shown(value)}")
    return result


def allowed_by(wanted: Any) -> str:
    """What a type allows, in words."""
    if get_origin(wanted) is Literal:
        # In the order of the type, which msgspec's own account of it does not keep.
        return "one of " + ", ".join(map(str, get_args(wanted)))
    match msgspec.inspect.type_info(wanted):
        case msgspec.inspect.Metadata(extra_json_schema={"description": str(description)}):
            return description
        case msgspec.inspect.IntType(ge=least, le=most):
            return f"a whole number from {least} to {most}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case info:
            raise AssertionError(f"a key of the contract has a type without wording: {info}")


def shown_key(key: str) -> str:
    """A quoted key of TOML may hold a line end; the error stays one line."""
    return key if key.isprintable() else repr(key)


def _share(wanted: type, value: object) -> Fraction:
    """A decimal in quotes: TOML's own are binary, and 0.99 of them is not 99 %."""
    assert wanted is Fraction, wanted
    if not isinstance(value, str) or not _SHARE.fullmatch(value):
        raise ValueError(value)
    return Fraction(value)


def _shown(value: object) -> str:
    """The value on one line, as TOML writes it where that is short, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = str(value) if isinstance(value, date) else repr(value)
    except ValueError:  # int is not written with more than some thousand digits; TOML reads them as 0x…
        return "a number with too many digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
