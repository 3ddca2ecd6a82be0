"""The printed Msg_Id of CMPP, by a published pair."""

from __future__ import annotations

import pytest

from protocol.cmpp_msg_id import msg_id_of


@pytest.mark.parametrize(
    ("printed", "number"),
    [
        (b"0729150405003710100513", 0x7EBC_4140_90ED_0201),
        (b"0" * 22, 0),
        (b"1531316363419430365535", (1 << 64) - 1),  # every field as large as its bits allow
        (b"1631316363419430365535", None),  # a month of five bits
        (b"0729150405003710165536", None),
        (b"072915040500371010051", None),
        (b"07291504050037101005130", None),
        (b"072915040500371010051a", None),
        (b"", None),
    ],
)
def test_a_printed_id(printed: bytes, number: int | None) -> None:
    assert msg_id_of(printed) == number
