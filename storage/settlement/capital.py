"""A sum of money in Chinese capital numerals (人民币大写), as cheques and settlements have it.

The rules are those of 《支付结算办法》附一《正确填写票据和结算凭证的基本规定》. Where they leave a choice
about 零, the first form that they print is taken (万位 0 and 千位 not: none; 元位 0 and 角位 not: one); 整
stands after 角 too, so that nothing can be added behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FEN_MAX: Final = 10**16 - 1
"""Below one hundred million million yuan, a hundred times the largest contract amount."""

_DIGITS: Final = "零壹贰叁肆伍陆柒捌玖"
_PLACES: Final = ("仟", "佰", "拾", "")


def capital(amount_fen: int) -> str:
    """The amount, from 0 to FEN_MAX fen, without 人民币 before it."""
    assert 0 <= amount_fen <= FEN_MAX, amount_fen
    yuan, below = divmod(amount_fen, 100)
    jiao, fen = divmod(below, 10)
    if not below:
        return f"{_whole(yuan) or '零'}元整"
    text = f"{_whole(yuan)}元" if yuan else ""
    if jiao:
        text += "零" if yuan and yuan % 10 == 0 else ""
        text += f"{_DIGITS[jiao]}角"
    elif yuan:
        text += "零"
    return text + (f"{_DIGITS[fen]}分" if fen else "整")


def _whole(yuan: int) -> str:
    """Whole yuan; "" for 0."""
    return _joined(yuan, "亿", 10**8, lambda part: _joined(part, "万", 10**4, _group))


def _joined(number: int, name: str, size: int, written: Callable[[int], str]) -> str:
    """What is above a size, its name, and what is below, with 零 where digits are left out between them."""
    above, below = divmod(number, size)
    if not above:
        return written(below)
    zero = "零" if 0 < below < size // 10 else ""
    return f"{written(above)}{name}{zero}{written(below)}"


def _group(group: int) -> str:
    """0 to 9999, "" for 0; one 零 for zeros between digits, none for those at its ends."""
    text = ""
    skipped = False
    for digit, place in zip(f"{group:04d}", _PLACES, strict=True):
        if digit == "0":
            skipped = bool(text)
            continue
        text += ("零" if skipped else "") + _DIGITS[int(digit)] + place
        skipped = False
    return text
