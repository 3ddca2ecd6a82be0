"""The commands as people meet them: what they print, one line for what went wrong, and the exit status."""
# ruff: noqa: E501  (a row of the case table holds a whole error line)

import asyncio
import io
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from gateway.cli import run
from gateway.config import read
from gateway.control import SOCKET_NAME, CommandError, ControlServer
from gateway.password import hash_password, verify

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "var"
[evidence]
master_key_file = "secrets/master"
[[account]]
system_id = "hukou"
password_file = "secrets/hukou"
networks = ["127.0.0.1/32"]
[[carrier]]
name = "cmcc"
network = "mobile"
host = "127.0.0.1"
port = 12775
system_id = "gw"
password_file = "secrets/cmcc"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gw.toml"
    path.write_text(CONFIG)
    return path


def typed(monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(octets)))


def test_from_nothing_to_a_configuration_that_checks(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = config.parent / "secrets"
    assert run(["keys", "init", "-c", str(config)]) == 0
    made = (
        f"made {secrets}/master: keep a copy in another safe place; without it no content can be read again\n"
    )
    said = capsys.readouterr().out
    assert said.startswith(f"{made}made {secrets}/signing: give the other party its verifier key, hn-gw-1+")
    assert (secrets / "master").stat().st_mode & 0o777 == 0o600

    typed(monkeypatch, b"secret\n")
    assert run(["account", "hash"]) == 0
    line = capsys.readouterr().out
    assert verify(line.removesuffix("\n"), b"secret")
    (secrets / "hukou").write_text(line)
    (secrets / "cmcc").write_text("carrier secret")
    (secrets / "cmcc").chmod(0o600)

    assert run(["check", "--config", str(config)]) == 0
    assert capsys.readouterr().out == (
        "OK\n"
        f"gateway   hn-gw-1, state in {config.parent}/var\n"
        "listener  127.0.0.1 port 2775, at most 256 sessions\n"
        "http      127.0.0.1 port 9464\n"
        "account   hukou: from 127.0.0.1/32 as no source; 100 parts/s, at most 8 sessions, window 100\n"
        "carrier   cmcc: mobile at 127.0.0.1 port 12775 as gw; 100 parts/s, 1 sessions, window 16\n"
        "warning: no carrier for unicom, telecom, broadnet: their numbers go to mobile\n"
        "warning: account hukou: without sources nothing may be sent\n"
    )

    (secrets / "master").chmod(0o644)
    assert run(["check", "-c", str(config)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"jingxin: {config}: evidence.master_key_file: {secrets}/master")
    assert f"chmod 600 {secrets}/master" in error
    assert error.count("\n") == 1


def test_check_reads_the_contract(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "init", "-c", str(config)]) == 0
    for name, text in (("hukou", hash_password(b"secret")), ("cmcc", "secret")):
        path = config.parent / "secrets" / name
        path.touch(0o600)
        path.write_text(text)
    config.write_text(f'{CONFIG}[settlement]\ncontract_file = "contract.toml"\n')
    capsys.readouterr()
    assert run(["statement", "contract"]) == 0
    contract = config.parent / "contract.toml"
    contract.write_text(capsys.readouterr().out)
    assert run(["check", "-c", str(config)]) == 0
    assert (
        "\ncontract  河南省公安厅购买短信服务项目合同（包1） until 2026-11-30, no amount\n"
        in capsys.readouterr().out
    )
    contract.write_text(contract.read_text().replace("price_mt = 300", "price_mt = 0.03"))
    assert run(["check", "-c", str(config)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"jingxin: {contract}: billing.price_mt: allowed is a whole number of 0.0001 yuan"
    )
    assert error.count("\n") == 1


def test_check_reads_the_table_of_outcomes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "init", "-c", str(config)]) == 0
    for name, text in (("hukou", hash_password(b"secret")), ("cmcc", "secret")):
        path = config.parent / "secrets" / name
        path.touch(0o600)
        path.write_text(text)
    config.write_text(f'{CONFIG}[outcomes]\nfile = "codes.csv"\n')
    capsys.readouterr()
    assert run(["check", "-c", str(config)]) == 1
    assert capsys.readouterr().err == (
        f"jingxin: {config}: outcomes.file: {config.parent}/codes.csv: no such file: make it, or correct its name\n"
    )


@pytest.mark.parametrize(
    ("octets", "password"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b" two words \n", b" two words "),
        (b"x" * 64, b"x" * 64),
    ],
)
def test_account_hash_takes_one_final_newline_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], octets: bytes, password: bytes
) -> None:
    typed(monkeypatch, octets)
    assert run(["account", "hash"]) == 0
    assert verify(capsys.readouterr().out.removesuffix("\n"), password)


# arguments, standard input, exit status, the error line without "jingxin: "
WRONG: list[tuple[list[str], bytes, int, str]] = [
    (["account", "hash"], b"", 1, "the password is empty: give 1 to 64 octets"),
    (["account", "hash"], b"x" * 65 + b"\n", 1, "the password has 65 octets: give at most 64"),
    (["check"], b"", 2, "Missing option '-c' / '--config': see `jingxin check --help`"),
    (["chek"], b"", 2, "No such command 'chek'. Did you mean 'check': see `jingxin --help`"),
    (["status", "-c", "nowhere.toml"], b"", 1, "nowhere.toml: no such file: name the configuration with -c FILE"),
    (["check", "-c", "{config}"], b"", 1, "{config}: account[hukou].password_file: {directory}/secrets/hukou: no such file: make it, or correct password_file"),
    (["gateway", "-c", "nowhere.toml"], b"", 1, "nowhere.toml: no such file: name the configuration with -c FILE"),
    (["status", "-c", "{config}"], b"", 1, "{directory}/var/control.sock: no gateway runs here: start it with `jingxin run`"),
    (["drain", "-c", "{config}"], b"", 1, "{directory}/var/control.sock: no gateway runs here: start it with `jingxin run`"),
    (["resume", "-c", "{config}"], b"", 1, "{directory}/var/control.sock: no gateway runs here: start it with `jingxin run`"),
    (["reload", "-c", "{config}"], b"", 1, "{directory}/var/control.sock: no gateway runs here: start it with `jingxin run`"),
    (["route", "explain", "-c", "{config}", "13800138000"], b"", 1, "{directory}/var/control.sock: no gateway runs here: start it with `jingxin run`"),
    (["route", "explain", "-c", "{config}"], b"", 2, "Missing argument 'NUMBER': see `jingxin route explain --help`"),
    (["uncertain", "list", "-c", "{config}"], b"", 1, "{directory}/var/control.sock: no gateway runs here: start it with `jingxin run`"),
    (["uncertain", "close", "-c", "{config}", "7"], b"", 2, "Missing option '--reason': see `jingxin uncertain close --help`"),
    (["uncertain", "close", "-c", "{config}", "7", "--reason", " "], b"", 2, "Invalid value: say why with --reason: see `jingxin uncertain close --help`"),
    (["uncertain", "resend", "-c", "{config}", "--reason", "asked"], b"", 2, "Missing argument 'ID...': see `jingxin uncertain resend --help`"),
    (["evidence", "show", "-c", "{config}", "7"], b"", 1, "{directory}/var/evidence: no evidence here: look at gateway.state_dir"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "octets", "status", "error"), WRONG)
def test_what_went_wrong_is_one_line(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    octets: bytes,
    status: int,
    error: str,
) -> None:
    typed(monkeypatch, octets)
    places = {"config": config, "directory": config.parent}
    assert run([argument.format(**places) for argument in arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"jingxin: {error.format(**places)}\n"


def test_a_master_key_is_never_overwritten(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "init", "-c", str(config)]) == 0
    key = (config.parent / "secrets/master").read_bytes()
    capsys.readouterr()
    assert run(["keys", "init", "-c", str(config)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"jingxin: {config.parent}/secrets/master exists already")
    assert error.count("\n") == 1
    assert (config.parent / "secrets/master").read_bytes() == key


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["uncertain"], 2), (["--help"], 0)])
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str], status: int) -> None:
    assert run(arguments) == status
    captured = capsys.readouterr()
    assert "Usage: jingxin" in captured.out
    assert captured.err == ""


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "gateway", "--version"], capture_output=True, check=True)
    assert done.stdout.decode() == f"jingxin {__version__}\n"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m gateway --help | true"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True)
    assert done.stderr == b""


ASKED: list[tuple[list[str], str, dict[str, Any]]] = [
    (["status"], "status", {}),
    (["drain"], "drain", {"target": "all", "who": "wang"}),
    (["drain", "cmcc#0"], "drain", {"target": "cmcc#0", "who": "wang"}),
    (["resume"], "resume", {"target": "all", "who": "wang"}),
    (["resume", "account:hukou"], "resume", {"target": "account:hukou", "who": "wang"}),
    (["reload"], "reload", {"path": "{config}", "who": "wang"}),
    (["route", "explain", "13800138000"], "route_explain", {"number": "13800138000"}),
    (["uncertain", "list"], "uncertain_list", {"limit": 100}),
    (["uncertain", "list", "--limit", "5"], "uncertain_list", {"limit": 5}),
    (
        ["uncertain", "resend", "7", "9", "--reason", " alarm "],
        "uncertain_resend",
        {"parts": ["7", "9"], "reason": "alarm", "who": "wang"},
    ),
    (
        ["uncertain", "close", "7", "--reason", "asked"],
        "uncertain_close",
        {"parts": ["7"], "reason": "asked", "who": "wang"},
    ),
]


@pytest.mark.parametrize(("arguments", "command", "sent"), ASKED)
async def test_a_command_asks_the_running_gateway(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    command: str,
    sent: dict[str, Any],
) -> None:
    monkeypatch.setenv("SUDO_USER", "wang")
    asked: list[Mapping[str, Any]] = []

    def handler(arguments: dict[str, Any]) -> object:
        asked.append(arguments)
        return {"parts": 3}

    server = await serving(config, {command: handler})
    try:
        status = await asyncio.to_thread(run, [*arguments, "-c", str(config), "--json"])
    finally:
        await server.stop()
    meant = {key: str(config) if value == "{config}" else value for key, value in sent.items()}
    assert (status, asked) == (0, [meant])
    assert capsys.readouterr().out == '{"parts":3}\n'


async def test_what_the_gateway_refuses_is_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def handler(arguments: dict[str, Any]) -> object:
        raise CommandError("no part 7 is uncertain: look at `jingxin uncertain list`")

    server = await serving(config, {"uncertain_close": handler})
    try:
        arguments = ["uncertain", "close", "-c", str(config), "7", "--reason", "asked"]
        assert await asyncio.to_thread(run, arguments) == 1
    finally:
        await server.stop()
    assert capsys.readouterr().err == "jingxin: no part 7 is uncertain: look at `jingxin uncertain list`\n"


async def test_an_answer_on_a_terminal(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = {
        "state": "serving",
        "open_parts": 12345,
        "draining": False,
        "carriers": {"cmcc": {"links": 2, "queue": 0}, "cucc": {"links": 0, "queue": 17}},
        "links": [{"link": "cmcc/0", "bound": True}],
        "accounts": [],
    }
    server = await serving(config, {"status": lambda arguments: result})
    try:
        assert await asyncio.to_thread(run, ["status", "-c", str(config)]) == 0
    finally:
        await server.stop()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["state", "serving"],
        ["open", "parts", "12,345"],
        ["draining", "no"],
    ]
    assert [line.split() for line in lines[3:] if line.strip(" ─")] == [
        ["carriers"],
        ["name", "links", "queue"],
        ["cmcc", "2", "0"],
        ["cucc", "0", "17"],
        ["links"],
        ["link", "bound"],
        ["cmcc/0", "yes"],
        ["accounts:", "none"],
    ]


async def serving(config: Path, handlers: Mapping[str, Any]) -> ControlServer:
    state_dir = read(config).gateway.state_dir
    state_dir.mkdir()
    server = ControlServer(state_dir, handlers)
    await server.start()
    return server


def test_both_sides_name_the_same_socket(config: Path) -> None:
    assert read(config).gateway.control_socket.name == SOCKET_NAME


def test_an_answer_that_is_none_of_ours(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Something else listens in the state directory."""
    path = read(config).gateway.control_socket
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with subprocess.Popen(
            [sys.executable, "-m", "gateway", "status", "-c", str(config)], stderr=subprocess.PIPE
        ) as asking:
            peer, _ = listener.accept()
            with peer:
                assert json.loads(peer.recv(1000)) == {"command": "status", "arguments": {}}
                peer.sendall(b"220 mail.example\n")
            _, error = asking.communicate(timeout=10)
    assert asking.returncode == 1
    assert error.decode() == (
        f"jingxin: {path}: an answer that is none of ours (Expected `object`, got `int`):"
        " is it a gateway of this version\n"
    )
