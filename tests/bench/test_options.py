"""What a person is told who writes the options of a process of the bench."""

from __future__ import annotations

import pytest

from bench.carrier_options import CarrierOptions
from bench.load_options import LoadOptions
from bench.options import parsed


def test_each_argument_is_one() -> None:
    assert parsed("carrier", CarrierOptions, ['{"name": "a"}', '{"name": "b", "port": 7}']) == [
        CarrierOptions(name="a"),
        CarrierOptions(name="b", port=7),
    ]


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ('{"name": "a", "prt": 1}', "unknown field `prt`"),
        ('{"name": "a"', "truncated"),
        ('{"name": "a", "port": -1}', ">= 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(argument: str, told: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("carrier", CarrierOptions, [argument])
    said = str(ended.value)
    assert said.startswith(f"python -m bench carrier: {argument}: ")
    assert told in said
    assert "\n" not in said


def test_whoever_asks_is_told_the_keys() -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("load", LoadOptions, ["--help"])
    lines = str(ended.value).splitlines()
    assert lines[0] == "python -m bench load '{\"key\": value, …}'"
    assert "  port: has to be given" in lines
    assert "  sessions: 4" in lines
