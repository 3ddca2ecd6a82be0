"""Capital numerals: the examples that the rules print, and every place in which a 零 may or may not stand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.settlement.capital import FEN_MAX, capital

DIGITS = "零壹贰叁肆伍陆柒捌玖"

CASES = [
    # 《支付结算办法》附一 (one of two forms where it prints two; it leaves 整 after 角 open)
    ("1409.50", "壹仟肆佰零玖元伍角整"),
    ("6007.14", "陆仟零柒元壹角肆分"),
    ("1680.32", "壹仟陆佰捌拾元零叁角贰分"),
    ("107000.53", "壹拾万柒仟元零伍角叁分"),
    ("16409.02", "壹万陆仟肆佰零玖元零贰分"),
    ("325.04", "叁佰贰拾伍元零肆分"),
    # Less than a yuan
    ("0.00", "零元整"),
    ("0.01", "壹分"),
    ("0.10", "壹角整"),
    ("0.15", "壹角伍分"),
    # Around the point
    ("1.00", "壹元整"),
    ("1.01", "壹元零壹分"),
    ("1.10", "壹元壹角整"),
    ("10.00", "壹拾元整"),
    ("10.05", "壹拾元零伍分"),
    ("10.50", "壹拾元零伍角整"),
    ("100.50", "壹佰元零伍角整"),
    ("1234.56", "壹仟贰佰叁拾肆元伍角陆分"),
    # Zeros within a group
    ("11.00", "壹拾壹元整"),
    ("101.00", "壹佰零壹元整"),
    ("110.00", "壹佰壹拾元整"),
    ("1001.00", "壹仟零壹元整"),
    ("1010.00", "壹仟零壹拾元整"),
    # Zeros between groups
    ("10000.00", "壹万元整"),
    ("10001.00", "壹万零壹元整"),
    ("10010.01", "壹万零壹拾元零壹分"),
    ("15000.00", "壹万伍仟元整"),
    ("100500.00", "壹拾万零伍佰元整"),
    ("1205000.00", "壹佰贰拾万伍仟元整"),
    ("100000000.00", "壹亿元整"),
    ("100000001.00", "壹亿零壹元整"),
    ("100005000.00", "壹亿零伍仟元整"),
    ("100100000.00", "壹亿零壹拾万元整"),
    ("1020304050.60", "壹拾亿贰仟零叁拾万肆仟零伍拾元零陆角整"),
    ("1000000000000.00", "壹万亿元整"),
    ("1000100000000.00", "壹万零壹亿元整"),
    ("1000000000001.00", "壹万亿零壹元整"),
    ("99999999999999.99", "玖拾玖万玖仟玖佰玖拾玖亿玖仟玖佰玖拾玖万玖仟玖佰玖拾玖元玖角玖分"),
]


@pytest.mark.parametrize(("yuan", "expected"), CASES)
def test_an_amount_reads_as_the_rules_write_it(yuan: str, expected: str) -> None:
    assert capital(int(yuan.replace(".", ""))) == expected


@pytest.mark.parametrize("amount_fen", [-1, FEN_MAX + 1])
def test_an_amount_out_of_bounds_is_the_callers_error(amount_fen: int) -> None:
    with pytest.raises(AssertionError):
        capital(amount_fen)


@given(st.integers(0, FEN_MAX))
def test_the_amount_can_be_read_back_and_has_no_zero_too_many(amount_fen: int) -> None:
    text = capital(amount_fen)
    assert value_fen(text) == amount_fen
    assert "零零" not in text
    assert not re.search("零[万亿角分整]", text)
    assert text.endswith(("整", "分"))


def value_fen(text: str) -> int:
    """What a person reads: 亿 stands over all before it, 万 over what is since 亿, a place over its digit."""
    below = text.partition("元")[2] if "元" in text else text
    whole = text.partition("元")[0] if "元" in text else ""
    above, _, rest = whole.rpartition("亿")
    fen = _value(above) * 10**10 + _value(rest) * 100
    for digit, unit in re.findall("(.)([角分])", below):
        fen += DIGITS.index(digit) * {"角": 10, "分": 1}[unit]
    return fen


def _value(text: str) -> int:
    above, _, rest = text.rpartition("万")
    return (
        10_000 * _value(above) + _value(rest)
        if above
        else sum(
            DIGITS.index(digit) * {"仟": 1000, "佰": 100, "拾": 10, "": 1}[place]
            for digit, place in re.findall("([壹贰叁肆伍陆柒捌玖])([仟佰拾]?)", rest)
        )
    )
