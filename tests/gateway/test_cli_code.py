"""`jingxin code explain`: what a code means, by which row, and what other rows say of it."""
# ruff: noqa: E501  (a row of a case table holds a whole line of output)

import json
from pathlib import Path

import pytest

from gateway.cli import run

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "var"
[evidence]
master_key_file = "secrets/master"
[outcomes]
file = "henan.csv"
"""

CARRIER = """\
[[carrier]]
name = "{name}"
network = "{network}"
host = "127.0.0.1"
port = 12775
system_id = "gw"
password_file = "secrets/{name}"
"""

ROWS = """\
carrier,code,class,sub,retry,conf,meaning
cmcc,MK:0012,content,province_block,no,high,blocked in Henan
cmcc,0x0000040[a-f],gateway,account,park,high,our account [red]stopped[/red]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "henan.csv").write_text(ROWS)
    path = tmp_path / "gw.toml"
    carriers = [("cmcc", "mobile"), ("telecom", "mobile")]  # the second has the name of another network
    path.write_text(CONFIG + "".join(CARRIER.format(name=name, network=net) for name, net in carriers))
    return path


# arguments; what is printed
EXPLAINED: list[tuple[list[str], list[str]]] = [
    (
        ["cmcc", "MK00012", "-c", "{config}"],
        [
            "action      final",
            "cause       content (province_block)",
            "confidence  high",
            "meaning     blocked in Henan",
            "decided by  cmcc MK:0012, henan.csv line 2",
            "read as     MK:0012",
            "also        mobile M[IKMN]:0012, shipped table line 107: final, invalid (empty_number), low: empty number; other list: illegal device or province block",
            "also        mobile MK:*, shipped table line 178: final, terminal, med: SMSC state UNDELIV with reason",
        ],
    ),
    (
        ["cmcc", "0x40b", "-c", "{config}"],
        [
            "action      park",
            "cause       gateway (account)",
            "confidence  high",
            "meaning     our account [red]stopped[/red]",
            "decided by  cmcc 0x0000040[a-f], henan.csv line 3",
            "read as     0x0000040B",
            "also        smpp 0x000004*, shipped table line 365: final, unknown (vendor), low: vendor range; its meaning stands in the carrier's own list (SMPP 3.4 §5.1.3)",
            "also        smpp 0x*, shipped table line 366: final, unknown (undefined), low: reserved or no answer to submit_sm (SMPP 3.4 §5.1.3)",
        ],
    ),
    # A network needs no configuration; with one, the operator's rows for others do not count.
    (
        ["mobile", "ESME_RTHROTTLED"],
        [
            "action      later",
            "cause       throttled (flow)",
            "confidence  high",
            "meaning     over the rate the carrier allows (SMPP 3.4 §5.1.3)",
            "decided by  smpp ESME_RTHROTTLED, shipped table line 321",
            "read as     ESME_RTHROTTLED, 0x00000058",
            "also        smpp 0x*, shipped table line 366: final, unknown (undefined), low: reserved or no answer to submit_sm (SMPP 3.4 §5.1.3)",
        ],
    ),
    (
        ["unicom", "2:21", "-c", "{config}"],
        [
            "action      other_route",
            "cause       route (unreachable)",
            "confidence  high",
            "meaning     destination node unavailable",
            "decided by  unicom SGIP:21, shipped table line 196",
            "read as     SGIP:21",
            "also        unicom SGIP:*, shipped table line 228: final, unknown, low: undefined by spec",
        ],
    ),
    (
        ["telecom", "601"],
        [
            "action      later",
            "cause       terminal (suspended_or_off)",
            "confidence  low",
            "meaning     suspended/off; other list: blacklist",
            "decided by  telecom *_601, shipped table line 240",
            "read as     UNDELIV_601, 601, UNDELIV",
            "also        telecom UNDELIV_*, shipped table line 253: final, terminal (unspecified), low: undeliverable",
            "also        any UNDELIV, shipped table line 279: final, terminal (unspecified), med: undeliverable; off/suspended/empty number",
        ],
    ),
    # The carrier that is called telecom is Mobile's.
    (
        ["telecom", "601", "-c", "{config}"],
        [
            "action      final",
            "cause       terminal (unspecified)",
            "confidence  med",
            "meaning     undeliverable; off/suspended/empty number",
            "decided by  any UNDELIV, shipped table line 279",
            "read as     UNDELIV_601, 601, UNDELIV",
        ],
    ),
    (
        ["mobile", "黑名单"],
        [
            "action      final",
            "cause       unknown",
            "confidence  low",
            "meaning     in no table: ask the carrier for its list",
            "decided by  no row",
            "read as     no code",
        ],
    ),
]


@pytest.mark.parametrize(("arguments", "lines"), EXPLAINED)
def test_explain(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], lines: list[str]
) -> None:
    assert run(["code", "explain", *(argument.format(config=config) for argument in arguments)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == lines
    assert captured.err == ""


def test_explain_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["code", "explain", "cmcc", "MK00012", "-c", str(config), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "name": "cmcc",
        "network": "mobile",
        "code": "MK00012",
        "codes": ["MK:0012"],
        "verdict": {
            "action": "final",
            "cause": "content",
            "sub": "province_block",
            "confidence": "high",
            "meaning": "blocked in Henan",
            "source": "henan.csv line 2",
            "row": "cmcc MK:0012",
        },
        "lower": [
            {
                "action": "final",
                "cause": "invalid",
                "sub": "empty_number",
                "confidence": "low",
                "meaning": "empty number; other list: illegal device or province block",
                "source": "shipped table line 107",
                "row": "mobile M[IKMN]:0012",
            },
            {
                "action": "final",
                "cause": "terminal",
                "sub": "",
                "confidence": "med",
                "meaning": "SMSC state UNDELIV with reason",
                "source": "shipped table line 178",
                "row": "mobile MK:*",
            },
        ],
    }


# arguments, exit status, the error line without "jingxin: "
WRONG: list[tuple[list[str], int, str]] = [
    (["cmcc", "MK:0012"], 2, "Invalid value: 'cmcc', allowed are mobile, unicom, telecom, broadnet; for a carrier name the configuration with -c FILE: see `jingxin code explain --help`"),
    (["cucc", "MK:0012", "-c", "{config}"], 2, "Invalid value: 'cucc', allowed are cmcc, telecom, mobile, unicom, broadnet: see `jingxin code explain --help`"),
    (["cmcc", "ESME_RTHROTLED", "-c", "{config}"], 2, "Invalid value: 'ESME_RTHROTLED', allowed are a name of SMPP 3.4 or 5.0 such as ESME_RTHROTTLED, or 0x and 1 to 8 hexadecimal digits: see `jingxin code explain --help`"),
    (["cmcc", "-c", "{config}"], 2, "Missing argument 'CODE': see `jingxin code explain --help`"),
    (["cmcc", "MK:0012", "-c", "nowhere.toml"], 1, "nowhere.toml: no such file: name the configuration with -c FILE"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "error"), WRONG)
def test_what_went_wrong_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, error: str
) -> None:
    assert run(["code", "explain", *(argument.format(config=config) for argument in arguments)]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"jingxin: {error}\n"


def test_an_operators_file_that_cannot_be_used(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config.parent / "henan.csv"
    arguments = ["code", "explain", "cmcc", "MK:0012", "-c", str(config)]
    file.write_text(ROWS.replace("park", "never"))
    assert run(arguments) == 1
    file.unlink()
    assert run(arguments) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"jingxin: {config}: outcomes.file: {file}: line 3: retry 'never', allowed are no, later, now, alt, park",
        f"jingxin: {config}: outcomes.file: {file}: no such file: make it, or correct its name",
    ]
