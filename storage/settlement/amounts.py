"""Exact shares and sums as people agree to write them: shares cut, sums rounded."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from storage.settlement.terms import Rounding

# The smallest sum that is paid, in 0.0001 yuan.
FEN: Final = 100

# Decimals of a share in print. It is cut, not rounded: 98.99999 % must not read as 99 %.
SHARE_DECIMALS: Final = 6


def cut_decimal(value: Fraction) -> str:
    """A number from 0 on with SHARE_DECIMALS, cut."""
    assert value >= 0, value
    scaled = value.numerator * 10**SHARE_DECIMALS // value.denominator
    return f"{scaled // 10**SHARE_DECIMALS}.{scaled % 10**SHARE_DECIMALS:0{SHARE_DECIMALS}d}"


def rounded(amount: Fraction, to: int, rounding: Rounding) -> int:
    """The multiple of `to` that the amount, at least 0 and in the same unit, is rounded to.

    A rest of exactly half goes up by `half_up` (四舍五入), to the even multiple by `half_even`; `down` cuts.
    """
    assert amount >= 0, amount
    assert to > 0, to
    multiple, rest = divmod(amount, to)
    half = Fraction(to, 2)
    match rounding:
        case "half_up":
            up = rest >= half
        case "half_even":
            up = rest > half or (rest == half and multiple % 2 == 1)
        case "down":
            up = False
    return (multiple + up) * to
