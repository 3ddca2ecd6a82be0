"""Message ids as carriers write them (field lesson 2)."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Final

from bench.carrier_options import IdForm

Ids = tuple[bytes, bytes]
"""What stands in the response, and what stands in the receipt."""

# A carrier that starts again must not give out the ids of its former life, so each starts elsewhere.
_FIRST_MIN: Final = 100_000_000
_FIRST_MAX: Final = 3_000_000_000


def _decimal(number: int) -> Ids:
    text = b"%d" % number
    return text, text


def _hex(number: int) -> Ids:
    text = b"%x" % number
    return text, text


def _hex_decimal(number: int) -> Ids:
    return b"%X" % number, b"%d" % number


def _zero_padded(number: int) -> Ids:
    return b"%016d" % number, b"%d" % number


def _uuid(number: int) -> Ids:
    text = str(uuid.UUID(int=number << 64 | (0x9E3779B97F4A7C15 * number & (1 << 64) - 1))).encode()
    return text, text


def _twenty_digits(number: int) -> Ids:
    # Above 63 bits: what breaks whoever reads ids as integers of a machine.
    text = b"%d" % (18_000_000_000_000_000_000 + number)
    return text, text


def _mixed_case(number: int) -> Ids:
    # The letter in front keeps it from being a number: only the case differs.
    return b"mSg-%x" % number, b"MSG-%X" % number


_FORMS: Final[dict[IdForm, Callable[[int], Ids]]] = {
    "decimal": _decimal,
    "hex": _hex,
    "hex_decimal": _hex_decimal,
    "zero_padded": _zero_padded,
    "uuid": _uuid,
    "twenty_digits": _twenty_digits,
    "mixed_case": _mixed_case,
}


def id_writer(form: IdForm) -> Callable[[], Ids]:
    """A function that gives the next id each time it is called."""
    write = _FORMS[form]
    number = random.SystemRandom().randint(_FIRST_MIN, _FIRST_MAX)

    def next_ids() -> Ids:
        nonlocal number
        number += 1
        return write(number)

    return next_ids
