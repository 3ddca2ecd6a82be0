"""`jingxin numbers`: a list that is taken whole or not at all, and what it says of one number."""
# ruff: noqa: E501  (a row of the case table holds a whole error line)

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import run
from gateway.control import CommandError, ControlServer
from storage.keys import Keyring, initialise_master_key, read_master_key
from storage.register import PortedNumber, Register

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "var"
[evidence]
master_key_file = "secrets/master"
"""

NONE_RUNS = "none runs; it reads the numbers when it starts"
END_OF_2099_US = 4_102_416_000_000_000  # 2100-01-01 00:00 in Asia/Shanghai
END_OF_9999_US = 253_402_272_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    initialise_master_key(tmp_path / "secrets/master")
    path = tmp_path / "gw.toml"
    path.write_text(CONFIG)
    return path


def listed(config: Path, *lines: str) -> str:
    path = config.parent / "ported.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def known(config: Path, *numbers: bytes) -> list[tuple[str, str, int] | None]:
    """Network, source and end of each number in the register."""
    keyring = Keyring(config.parent / "var/evidence/keys", read_master_key(config.parent / "secrets/master"))
    register = Register.open(config.parent / "var/numbers.db")
    facts = [register.ported(keyring.number_hash(number)) for number in numbers]
    register.close()
    return [None if fact is None else (fact.network, fact.source, fact.expires_us) for fact in facts]


def test_a_list(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = listed(
        config,
        "\ufeffexpires,number,from,network",
        "2099-12-31,+86 138-1234-5678,mobile,unicom",
        ",１３９１２３４５６７８,mobile,telecom",
        "",
        "9999-12-31,13812345679,mobile,unicom",
        "2001-01-01,13812345670,mobile,unicom",
        ",13912345678,unicom,telecom",
        ',"18912345678",telecom,broadnet',
    )
    results = []
    for _ in range(2):
        assert run(["numbers", "import", "-c", str(config), file, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    result = {
        "imported": 4,
        "new": 4,
        "mobile": 0,
        "unicom": 2,
        "telecom": 1,
        "broadnet": 1,
        "expired_already": 1,
        "ignored_columns": "from",
        "gateway": NONE_RUNS,
    }
    assert results == [result, {**result, "new": 0}]
    source = "import ported.csv"
    assert known(config, b"13812345678", b"13912345678", b"13812345679", b"18912345678", b"13812345670") == [
        ("unicom", source, END_OF_2099_US),
        ("telecom", source, 0),
        ("unicom", source, END_OF_9999_US),
        ("broadnet", source, 0),
        None,
    ]


def test_a_list_on_a_terminal(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = listed(config, "number,from,to", "13812345678,mobile,unicom")
    assert run(["numbers", "import", "-c", str(config), file, "--network-column", "to"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "imported 1",
        "new 1",
        "mobile 0",
        "unicom 1",
        "telecom 0",
        "broadnet 0",
        "expired already 0",
        "ignored columns from",
        f"gateway {NONE_RUNS}",
    ]
    assert known(config, b"13812345678") == [("unicom", "import ported.csv", 0)]


HEADING = "number,network,expires"
GOOD = "13912345678,telecom,"
ALLOWED_HEADING = "allowed is a heading such as number,network,expires, the last one as you like"

WRONG: list[tuple[list[str], str]] = [
    ([], f"line 1: column number stands 0 times: {ALLOWED_HEADING}"),
    (["13912345678,telecom"], f"line 1: column number stands 0 times: {ALLOWED_HEADING}"),
    (["number,carrier"], f"line 1: column network stands 0 times: {ALLOWED_HEADING}"),
    (["number,network,network"], f"line 1: column network stands 2 times: {ALLOWED_HEADING}"),
    ([HEADING + ",expires"], f"line 1: column expires stands 2 times: {ALLOWED_HEADING}"),
    ([HEADING, GOOD, "13812345678,unicom"], "line 3: 2 columns, allowed is 3 as in the heading"),
    ([HEADING, "1381234567,unicom,"], "line 2: column number: allowed is a Chinese mobile number"),
    ([HEADING, GOOD, "1.38E+10,unicom,"], "line 3: column number: allowed is a Chinese mobile number"),
    (
        [HEADING, "17012345678,unicom,"],
        "line 2: 170****5678 is of a satellite, a virtual operator or a machine, whose numbers are never"
        " ported: take the line out",
    ),
    (
        [HEADING, GOOD, "13812345678,satnet,"],
        "line 3: column network: allowed is one of mobile, unicom, telecom, broadnet",
    ),
    (
        [HEADING, "13812345678,unicom,20991231"],
        "line 2: column expires: allowed is a day such as 2026-12-31, or nothing",
    ),
    (
        [HEADING, "13812345678,unicom,2099-02-29"],
        "line 2: column expires: allowed is a day such as 2026-12-31, or nothing",
    ),
    ([HEADING, GOOD, GOOD, "+8613912345678,unicom,"], "line 4: 139****5678 stands twice and not the same: allowed is once"),
    ([HEADING, GOOD, '"13812345678'], "line 3: unexpected end of data"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "error"), WRONG)
def test_a_list_with_an_error_changes_nothing(
    config: Path, capsys: pytest.CaptureFixture[str], lines: list[str], error: str
) -> None:
    file = listed(config, "number,network", "13912345678,broadnet")
    assert run(["numbers", "import", "-c", str(config), file]) == 0
    capsys.readouterr()
    file = listed(config, *lines)
    assert run(["numbers", "import", "-c", str(config), file]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"jingxin: {file}: {error}: nothing was imported\n")
    assert known(config, b"13912345678", b"13812345678") == [("broadnet", "import ported.csv", 0), None]


def test_a_list_in_another_encoding(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config.parent / "ported.csv"
    file.write_bytes("number,network,备注\n13812345678,unicom,转\n".encode("gb18030"))
    assert run(["numbers", "import", "-c", str(config), str(file)]) == 1
    assert capsys.readouterr().err == (
        f"jingxin: {file}: not UTF-8: save it as UTF-8: nothing was imported\n"
    )
    assert not (config.parent / "var/numbers.db").exists()


def test_a_name_in_another_encoding(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(listed(config, "number,network", "13812345678,unicom"))
    renamed = file.rename(os.fsdecode(bytes(config.parent) + b"/ported\xff.csv"))
    assert run(["numbers", "import", "-c", str(config), str(renamed)]) == 0
    capsys.readouterr()
    assert known(config, b"13812345678") == [("unicom", "import ported\ufffd.csv", 0)]


def test_a_list_beyond_the_limit(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gateway.portability.PORTED_MAX", 2)
    rows = [f"1381234567{digit},unicom" for digit in range(3)]
    # By itself, and together with what is known.
    file = listed(config, "number,network", *rows)
    assert run(["numbers", "import", "-c", str(config), file]) == 1
    assert (
        capsys.readouterr().err == f"jingxin: {file}: line 4: allowed are 2 numbers: nothing was imported\n"
    )
    assert run(["numbers", "import", "-c", str(config), listed(config, "number,network", *rows[:2])]) == 0
    capsys.readouterr()
    assert run(["numbers", "import", "-c", str(config), listed(config, "number,network", rows[2])]) == 1
    assert capsys.readouterr().err == (
        f"jingxin: {config.parent}/var/numbers.db: would hold 3 ported numbers, allowed are 2:"
        " import fewer; nothing was changed\n"
    )


def shown(config: Path, capsys: pytest.CaptureFixture[str], number: str) -> dict[str, Any]:
    assert run(["numbers", "show", "-c", str(config), number, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_one_number(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"number": "138****5678", "plan": "mobile", "kind": "public", "portable": True, "override": None}
    assert shown(config, capsys, "13812345678") == plain
    assert not (config.parent / "var").exists()  # to look makes nothing
    assert run(["numbers", "forget", "-c", str(config), "13812345678", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"number": "138****5678", "forgotten": False}
    assert not (config.parent / "var").exists()

    file = listed(config, HEADING, "13812345678,unicom,2099-12-31", "18912345678,mobile,")
    assert run(["numbers", "import", "-c", str(config), file]) == 0
    capsys.readouterr()
    first = shown(config, capsys, "+86 138-1234-5678")
    assert first.pop("learned").endswith("+08:00")
    assert first == {
        **plain,
        "override": "unicom",
        "source": "import ported.csv",
        "last_day": "2099-12-31",
    }
    second = shown(config, capsys, "18912345678")
    assert (second["plan"], second["override"], second["last_day"]) == ("telecom", "mobile", None)
    assert shown(config, capsys, "15412345678") == {
        "number": "154****5678",
        "plan": None,
        "kind": None,
        "portable": True,
        "override": None,
    }

    assert run(["numbers", "forget", "-c", str(config), "13812345678", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "number": "138****5678",
        "forgotten": True,
        "gateway": NONE_RUNS,
    }
    assert shown(config, capsys, "13812345678") == plain
    assert known(config, b"18912345678") == [("mobile", "import ported.csv", 0)]


def test_a_fact_that_has_expired_is_not_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keyring = Keyring(config.parent / "var/evidence/keys", read_master_key(config.parent / "secrets/master"))
    register = Register.open(config.parent / "var/numbers.db")
    register.apply(
        [PortedNumber(keyring.number_hash(b"13812345678"), "unicom", "delivered by cucc", 1, 2)], 3
    )
    register.close()
    assert shown(config, capsys, "13812345678")["override"] is None


MISUSED = [
    (["show", "10086"], 2, "Invalid value: allowed is a Chinese mobile number such as 13812345678 or +86 138-1234-5678: see `jingxin numbers show --help`"),
    (["forget", "x"], 2, "Invalid value: allowed is a Chinese mobile number such as 13812345678 or +86 138-1234-5678: see `jingxin numbers forget --help`"),
    (["import", "/nowhere.csv"], 2, "Invalid value for 'FILE': file '/nowhere.csv' does not exist: see `jingxin numbers import --help`"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "error"), MISUSED)
def test_wrong_use(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, error: str
) -> None:
    assert run(["numbers", *arguments, "-c", str(config)]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"jingxin: {error}\n")


def test_a_register_that_is_none(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.parent / "var/numbers.db"
    path.parent.mkdir()
    path.write_text("numbers")
    file = listed(config, "number,network", "13812345678,unicom")
    for arguments in (["import", file], ["show", "13812345678"], ["forget", "13812345678"]):
        assert run(["numbers", *arguments, "-c", str(config)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"jingxin: {path}: file is not a database: move it away: ")
        assert captured.err.count("\n") == 1
    assert path.read_text() == "numbers"


async def serving(config: Path, handlers: Mapping[str, Any]) -> ControlServer:
    state_dir = config.parent / "var"
    state_dir.mkdir()
    server = ControlServer(state_dir, handlers)
    await server.start()
    return server


async def test_a_running_gateway_is_told(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUDO_USER", "wang")
    told: list[object] = []

    def handler(arguments: dict[str, Any]) -> object:
        told.append((arguments, known(config, b"13812345678")))
        return {}

    file = listed(config, "number,network", "13812345678,unicom")
    server = await serving(config, {"numbers_reload": handler})
    try:
        for arguments in (["import", file], ["forget", "13812345678"], ["forget", "13812345678"]):
            command = ["numbers", *arguments, "-c", str(config), "--json"]
            assert await asyncio.to_thread(run, command) == 0
    finally:
        await server.stop()
    # Told when it is on disk, and only of a change.
    assert told == [
        ({"who": "wang", "reason": "import ported.csv: 1 numbers"}, [("unicom", "import ported.csv", 0)]),
        ({"who": "wang", "reason": "forget 138****5678"}, [None]),
    ]
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer.get("gateway") for answer in answers] == ["told", "told", None]


async def test_a_gateway_that_refuses_is_an_error_after_the_counts(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(arguments: dict[str, Any]) -> object:
        raise CommandError("the register cannot be read: look at the log")

    file = listed(config, "number,network", "13812345678,unicom")
    server = await serving(config, {"numbers_reload": handler})
    try:
        command = ["numbers", "import", file, "-c", str(config), "--json"]
        assert await asyncio.to_thread(run, command) == 1
    finally:
        await server.stop()
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["imported"], result["gateway"]) == (1, "not told")
    assert captured.err == (
        "jingxin: the change is on disk, but the gateway was not told:"
        " the register cannot be read: look at the log\n"
    )
    assert known(config, b"13812345678") == [("unicom", "import ported.csv", 0)]
