"""The Msg_Id of CMPP, as carriers print it (CMPP 2.0/3.0, Msg_Id of CMPP_SUBMIT_RESP)."""

from __future__ import annotations

import re
from typing import Final

# Month, day, hour, minute, second, gateway, sequence: digits in print and bits in the number, from the left.
_FIELDS: Final = ((2, 4), (2, 5), (2, 5), (2, 6), (2, 6), (7, 22), (5, 16))

_PRINTED: Final = re.compile(rb"[0-9]{22}")


def msg_id_of(printed: bytes) -> int | None:
    """The 64-bit number of MMDDHHMMSS, gateway (7 digits) and sequence (5); None where it is no such print.

    Whether the digits are a time is not asked: some gateways put something else there.
    """
    if not _PRINTED.fullmatch(printed):
        return None
    number = 0
    for digits, bits in _FIELDS:
        value = int(printed[:digits])
        if value >> bits:
            return None
        number = number << bits | value
        printed = printed[digits:]
    return number
