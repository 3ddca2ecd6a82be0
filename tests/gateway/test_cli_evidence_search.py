"""`jingxin evidence search` and `export`: recorded before they show anything, and what they show."""
# ruff: noqa: E501  (a row of a case table holds a whole error line)

from __future__ import annotations

import asyncio
import csv
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway import durable_answers
from gateway.cli import run
from gateway.commands import evidence_search, export_directory
from gateway.commands.export_directory import cell, text_of
from gateway.control import CommandError, ControlServer, Handler
from gateway.journal import Journal
from gateway.message import MessageIds
from gateway.recorded_actions import RecordedActions
from protocol.alphabet import Alphabet
from protocol.smpp.codec import encode as encode_pdu
from protocol.udh import concatenation_header
from storage import records
from storage.keys import Keyring, destroy_day
from storage.ledger.ledger import LEDGER_NAME, Ledger
from storage.proofs.notary import Notary
from storage.proofs.proof import MessageProof
from storage.reader import LogReader
from storage.records import (
    Accepted,
    Dispatched,
    OperatorAction,
    Receipt,
    Record,
    Refused,
    Replaced,
    Sent,
    encode,
)
from storage.seal import Sealer, day_of
from tests.gateway.peers import submit_sm
from tests.gateway.test_registers import Desk, opened
from tests.storage.scaffold import LogDriver
from tests.storage.settlement.story import NAME, SIGNER

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "var"
[evidence]
master_key_file = "secrets/master"
[[carrier]]
name = "cmcc"
network = "mobile"
host = "127.0.0.1"
port = 12775
system_id = "gw"
password_file = "secrets/cmcc"
default_alphabet = "latin1"
"""
MASTER_KEY = bytes(range(32))
LI, WU = b"13800138000", b"13900139000"
HOUR_US = 3_600_000_000

# What is told below happened an hour ago.
THEN_US = time.time_ns() // 1000 - HOUR_US


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gw.toml"
    path.write_text(CONFIG)
    (tmp_path / "var").mkdir()
    (tmp_path / "secrets").mkdir()
    key = tmp_path / "secrets" / "master"
    key.write_text(MASTER_KEY.hex())
    key.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of the log would stand among those of the commands."""
    monkeypatch.setattr("gateway.journal.logger.info", lambda *_, **__: None, raising=False)
    monkeypatch.setenv("SUDO_USER", "wang")


class Gateway:
    """The files of one, and the commands that read them."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self.state = config.parent / "var"
        self.evidence = self.state / "evidence"
        self.output = config.parent / "out"
        self.sealer = Sealer(Keyring(self.evidence / "keys", MASTER_KEY))
        self._capsys = capsys

    # -- what happened ------------------------------------------------------------------------------------

    def tell(self) -> None:
        """To Li: one that was delivered, and one of another account that waits. To Wu: one that was refused."""
        with LogDriver(self.evidence, sealer=self.sealer, clock_us=lambda: THEN_US) as driver:
            driver.log.recover()

            def write(*new: Record) -> int:
                return driver.write(*map(encode, new))

            self.delivered = self._accept(write, driver, LI, "验证码 1234".encode("utf-16-be"), data_coding=8)
            self.refused = self._accept(write, driver, WU, b'=HYPERLINK("http://x")', data_coding=1)
            self.waiting = self._accept(write, driver, LI, "naïve".encode("latin-1"), account="oa")
            write(Dispatched(THEN_US, [("cmcc", 0, [self.delivered, self.refused])]))
            write(Sent(self.delivered, THEN_US, 0, b"A1"), Refused(self.refused, THEN_US, 0, 0x58, True))
            receipt = Receipt(
                THEN_US + 1, self.delivered, "cmcc", 0, b"A1", 2, b"DELIVRD", b"000", b"", b"", True, b"", b""
            )
            write(receipt)

    def _accept(
        self,
        write: Callable[..., int],
        driver: LogDriver,
        number: bytes,
        text: bytes,
        account: str = "hukou",
        **fields: Any,
    ) -> int:
        return write(self.accepted(driver.log.next_index, number, text, account, **fields))

    def accepted(
        self, index: int, number: bytes, text: bytes, account: str = "hukou", **fields: Any
    ) -> Accepted:
        body = encode_pdu(submit_sm(number, short_message=text, **fields))[16:]
        content = self.sealer.seal(index, body)
        number_hash = self.sealer.number_hash(number)
        return Accepted(THEN_US, account, 1, 0, "cmcc", number_hash, 1, 1, 0, 0, content, network="mobile")

    def project(self) -> None:
        with Ledger.open(self.state / LEDGER_NAME, self.evidence) as ledger:
            while ledger.step():
                pass

    def sign(self) -> None:
        with Notary(self.evidence, self.state / "proofs", NAME, SIGNER) as notary:
            notary.recover()
            notary.step(THEN_US)

    def id(self, number: int) -> str:
        with LogReader(self.evidence) as reader:
            return MessageIds(reader.identity).text(number).decode()

    def did(self) -> list[tuple[str, str, str]]:
        with LogReader(self.evidence) as reader:
            found = [records.decode(octets) for _, octets in reader.records(1)]
        return [(each.who, each.action, each.reason) for each in found if isinstance(each, OperatorAction)]

    # -- commands -----------------------------------------------------------------------------------------

    async def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        command = ["evidence", *arguments, "-c", str(self.config)]
        found = await asyncio.to_thread(run, command)
        out, err = self._capsys.readouterr()
        assert found == status, (out, err)
        return out, err

    async def search(self, *arguments: str, reason: str = "case 7") -> list[dict[str, Any]]:
        out, _ = await self.run("search", "--reason", reason, "--json", *arguments)
        rows: list[dict[str, Any]] = json.loads(out)["messages"]
        return rows

    async def export(self, *arguments: str, reason: str = "case 7") -> dict[str, Any]:
        """Returns the manifest."""
        await self.run("export", "--reason", reason, "-o", str(self.output), *arguments)
        manifest: dict[str, Any] = json.loads((self.output / "manifest.json").read_text())
        return manifest

    async def refused_with(self, *arguments: str, status: int = 1) -> str:
        out, err = await self.run(*arguments, "--reason", "case 7", status=status)
        assert (out, err.count("\n"), err[:9]) == ("", 1, "jingxin: ")
        return err[9:-1]

    def rows(self) -> list[dict[str, str]]:
        octets = (self.output / "messages.csv").read_bytes()
        assert octets.startswith(b"\xef\xbb\xbf")
        return list(csv.DictReader(octets.decode("utf-8-sig").splitlines()))


Serving = Callable[..., Any]


@pytest.fixture
def serving(config: Path, capsys: pytest.CaptureFixture[str]) -> Serving:
    """A gateway that runs; its log and what it records are the real ones. signed, tabled: what was told is."""

    @asynccontextmanager
    async def gateway(*, signed: bool = True, tabled: bool = True) -> AsyncIterator[Gateway]:
        one = Gateway(config, capsys)
        one.tell()
        if signed:
            one.sign()
        if tabled:
            one.project()
        async with opened(one.evidence, one.sealer, lambda: time.time_ns() // 1000) as desk:
            async with listening(one, recorded(desk, one.sealer)):
                if tabled:
                    one.project()  # the key of the new start too
                yield one

    return gateway


def recorded(desk: Desk, sealer: Sealer) -> Handler:
    handler = RecordedActions(Journal(desk.turns, desk.log, sealer), desk.log).handlers["record_action"]

    def record(arguments: dict[str, Any]) -> object:
        desk.turns.now_us = time.time_ns() // 1000
        return handler(arguments)

    return record


@asynccontextmanager
async def listening(gateway: Gateway, handler: Handler) -> AsyncIterator[None]:
    server = ControlServer(gateway.state, {"record_action": handler})
    await server.start()
    try:
        yield
    finally:
        await server.stop()


# -- recorded first ------------------------------------------------------------------------------------------


async def test_a_search_is_in_the_evidence_with_its_criteria(serving: Serving) -> None:
    async with serving() as gateway:
        await gateway.search(
            "--number", "+86 138-0013-8000", "--state", "delivered", reason="13800138000 asks"
        )
        await gateway.search("--account", "oa", "--since", "2026-01-01", "--until", "2027-01-01 08:00")
        await gateway.export("--message", gateway.id(gateway.refused))
        await gateway.run(
            "export", "--reveal", "--carrier", "cmcc", "--reason", "公函 12 号", "-o", f"{gateway.output}2"
        )
        assert gateway.did() == [
            ("wang", "search", "138****8000 asks (number 138****8000, state delivered)"),
            ("wang", "search", "case 7 (account oa, since 2026-01-01, until 2027-01-01 08:00)"),
            ("wang", "export", f"case 7 (message {gateway.id(gateway.refused)})"),
            ("wang", "export revealed", "公函 12 号 (carrier cmcc)"),
        ]


COMMANDS = [["search"], ["search", "--json"], ["export"], ["export", "--reveal"]]


@pytest.mark.parametrize("command", COMMANDS)
async def test_nothing_is_shown_before_it_is_recorded(
    command: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = Gateway(config, capsys)
    gateway.tell()
    gateway.project()
    seen: list[tuple[str, list[str]]] = []

    def handler(arguments: dict[str, Any]) -> object:
        seen.append((capsys.readouterr().out, sorted(path.name for path in config.parent.iterdir())))
        raise CommandError("the disk is full")

    place = ["-o", str(gateway.output)] if command[0] == "export" else []
    async with listening(gateway, handler):
        assert await gateway.refused_with(*command, *place, "--account", "hukou") == "the disk is full"
    assert seen == [("", ["gw.toml", "secrets", "var"])]
    assert not gateway.output.exists()


@pytest.mark.parametrize("command", COMMANDS)
async def test_without_a_gateway_there_is_no_search(
    command: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = Gateway(config, capsys)
    gateway.tell()
    gateway.project()
    place = ["-o", str(gateway.output)] if command[0] == "export" else []
    assert await gateway.refused_with(*command, *place, "--account", "hukou") == (
        f"it is recorded first, so the gateway has to run: {gateway.state}/control.sock: no gateway runs here:"
        " start it with `jingxin run`"
    )
    assert not gateway.output.exists()


RECORDED: list[tuple[dict[str, Any], str]] = [
    ({"action": "drain"}, "Invalid enum value 'drain' - at `$.action`"),
    ({"who": ""}, "Expected `str` of length >= 1 - at `$.who`"),
    ({"reason": " "}, "a reason is needed, on one line: it stands in the evidence"),
    ({"reason": "a\nb"}, "a reason is needed, on one line: it stands in the evidence"),
    ({"reason": "x" * 1201}, "Expected `str` of length <= 1200 - at `$.reason`"),
    ({"numbers": [1]}, "Object contains unknown field `numbers`"),
]


@pytest.mark.parametrize(("arguments", "error"), RECORDED)
async def test_what_the_gateway_does_not_record(
    arguments: dict[str, Any], error: str, tmp_path: Path, sealer: Sealer
) -> None:
    async with opened(tmp_path, sealer) as desk:
        handler = RecordedActions(Journal(desk.turns, desk.log, sealer), desk.log).handlers["record_action"]
        with pytest.raises((CommandError, ValueError)) as caught:
            await handler({"who": "wang", "action": "search", "reason": "x", **arguments})  # type: ignore[misc]
        assert str(caught.value) == error
        assert desk.log.pending == 1  # the key of the day


async def test_an_answer_waits_for_the_disk(
    tmp_path: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, sealer) as desk:
        desk.holding = True
        handler = recorded(desk, sealer)
        asked = {"who": "wang", "action": "search", "reason": "ring 13800138000"}
        monkeypatch.setattr(durable_answers, "DURABLE_WAIT_S", 0.0)
        with pytest.raises(CommandError, match="the disk has not taken record 2 within 0 s, and still may"):
            await handler(asked)  # type: ignore[misc]
        monkeypatch.undo()
        desk.holding = False
        assert await handler(asked) == {"recorded": "search", "record": 3}  # type: ignore[misc]
        assert desk.log.durable_index == 3


# -- what a search shows -------------------------------------------------------------------------------------


async def test_each_criterion_on_the_command_line(serving: Serving) -> None:
    async with serving() as gateway:
        day = day_of(THEN_US)
        everything = [gateway.waiting, gateway.refused, gateway.delivered]
        cases: list[tuple[list[str], list[int]]] = [
            (["--number", "138 0013 8000"], [gateway.waiting, gateway.delivered]),
            (["--number", "13700137000"], []),
            (["--message", gateway.id(gateway.refused)], [gateway.refused]),
            (["--message", str(gateway.refused)], [gateway.refused]),
            (["--account", "oa"], [gateway.waiting]),
            (["--carrier", "cmcc"], everything),
            (["--state", "failed"], [gateway.refused]),
            (["--since", day], everything),
            (["--until", day], everything),
            (["--since", "2026-01-01", "--until", f"{day} 00:00"], []),
            (["--since", "2099-01-01"], []),
            (["--number", "13800138000", "--account", "hukou"], [gateway.delivered]),
            (["--carrier", "cmcc", "--limit", "2"], everything[:2]),
        ]
        for arguments, numbers in cases:
            found = [row["id"] for row in await gateway.search(*arguments)]
            assert found == [gateway.id(number) for number in numbers], arguments


async def test_a_name_that_is_not_configured_is_said_where_nothing_was_found(serving: Serving) -> None:
    async with serving() as gateway:
        for arguments, said in [
            (["--account", "hukuo"], "jingxin: no account 'hukuo' is configured: there are none\n"),
            (["--carrier", "CMCC"], "jingxin: no carrier 'CMCC' is configured: there are cmcc\n"),
            (["--carrier", "cmcc", "--since", "2099-01-01"], ""),
            (["--number", "13700137000"], ""),
        ]:
            out, err = await gateway.run("search", "--reason", "case 7", "--json", *arguments)
            assert (json.loads(out)["messages"], err) == ([], said)


async def test_a_row(serving: Serving) -> None:
    async with serving() as gateway:
        refused, delivered = await gateway.search("--account", "hukou")
        accepted = delivered.pop("accepted")
        assert delivered == {
            "id": gateway.id(gateway.delivered),
            "part": None,
            "account": "hukou",
            "carrier": "cmcc",
            "state": "delivered",
            "code": "DELIVRD/000",
            "sent": accepted,
            "ended": accepted,
            "units": 1,
        }
        assert (refused["state"], refused["code"], refused["sent"]) == ("failed", "ESME_RTHROTTLED", None)
        out, err = await gateway.run("search", "--reason", "x", "--number", LI.decode())
        assert [line.split()[0] for line in out.splitlines() if gateway.id(0)[:6] in line] == [
            gateway.id(gateway.waiting),
            gateway.id(gateway.delivered),
        ]
        assert "DELIVRD/000" in out
        assert " part " not in out
        assert LI.decode() not in out + err
        assert "138****8000" not in out
        assert err == ""


async def test_what_is_not_shown_is_said(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as gateway:
        out, err = await gateway.run("search", "--reason", "x", "--carrier", "cmcc", "--limit", "2")
        assert err == "jingxin: there are more than these 2, which are the newest\n"
        assert (
            json.loads(
                (await gateway.run("search", "--reason", "x", "--carrier", "cmcc", "--limit", "3", "--json"))[
                    0
                ]
            )["more"]
            is False
        )
        # The records of the searches themselves are not in the ledger, and nobody is told so at once.
        monkeypatch.setattr(evidence_search, "_BEHIND_S", 0.0)
        out, err = await gateway.run("search", "--reason", "x", "--since", "2099-01-01")
        assert out == "messages: none\n"
        assert err.startswith("jingxin: the ledger has come to record ")
        assert err.endswith(": what is newer is not shown\n")


async def test_a_message_that_the_ledger_does_not_have_yet(serving: Serving, tmp_path: Path) -> None:
    async with serving(tabled=False) as gateway:
        named = ["search", "--message", gateway.id(gateway.delivered), "--reason", "x"]
        _, err = await gateway.run(*named, status=1)
        assert err == f"jingxin: {gateway.state}/ledger.db: there is no ledger yet: `jingxin run` makes it\n"
        assert gateway.did() == []
        Ledger.open(gateway.state / LEDGER_NAME, gateway.evidence).close()  # which has nothing yet
        out, err = await gateway.run(*named, "--json")
        (row,) = json.loads(out)["messages"]
        assert (row["id"], row["state"], row["code"]) == (
            gateway.id(gateway.delivered),
            "delivered",
            "DELIVRD/000",
        )
        assert err.startswith("jingxin: the ledger has come to record 0 of ")
        assert await gateway.search("--message", gateway.id(gateway.delivered), "--account", "oa") == []
        assert await gateway.search("--account", "hukou") == []
        manifest = await gateway.export("--message", gateway.id(gateway.delivered))
        assert (manifest["messages"], manifest["records"]) == (1, 4)
        missing = await gateway.refused_with("search", "--message", "999")
        assert missing == "the log has no record 999"


A_TIME = 'allowed is a time in Shanghai such as "2026-11-26 09:30", or a day such as 2026-11-26'
A_TEXT = "characters on one line, in UTF-8"
MISUSED: list[tuple[list[str], str]] = [
    (["search", "--account", "x"], "Missing option '--reason'"),
    (["search", "--reason", "x"], "Invalid value: give one of --number, --message, --account, --carrier, --since, --until, --state at least"),
    (["search", "--reason", " ", "--account", "x"], f"Invalid value for '--reason': allowed is a text of 1 to 500 {A_TEXT}"),
    (["search", "--reason", "a\nb", "--account", "x"], f"Invalid value for '--reason': allowed is a text of 1 to 500 {A_TEXT}"),
    (["search", "--reason", "\udce4", "--account", "x"], f"Invalid value for '--reason': allowed is a text of 1 to 500 {A_TEXT}"),
    (["search", "--reason", "x", "--account", "\udce4"], f"Invalid value for '--account': allowed is a text of 1 to 64 {A_TEXT}"),
    (["search", "--reason", "x", "--account", "a" * 65], f"Invalid value for '--account': allowed is a text of 1 to 64 {A_TEXT}"),
    (["search", "--reason", "x", "--carrier", ""], f"Invalid value for '--carrier': allowed is a text of 1 to 64 {A_TEXT}"),
    (["search", "--reason", "x", "--number", "12345"], "Invalid value for '--number': allowed is a Chinese mobile number such as 13812345678 or +86 138-1234-5678"),
    (["search", "--reason", "x", "--since", "noon"], f"Invalid value for '--since': {A_TIME}"),
    (["search", "--reason", "x", "--until", "2026-13-01"], f"Invalid value for '--until': {A_TIME}"),
    (["search", "--reason", "x", "--since", "2026-11-26", "--until", "2026-11-25"], "Invalid value for '--until': allowed is a time after --since, 2026-11-26"),
    (["search", "--reason", "x", "--since", "2026-11-26", "--until", "2026-11-26 00:00"], "Invalid value for '--until': allowed is a time after --since, 2026-11-26"),
    (["search", "--reason", "x", "--account", "x", "--limit", "0"], "Invalid value for '--limit': Input should be greater than or equal to 1"),
    (["search", "--reason", "x", "--account", "x", "--limit", "10001"], "Invalid value for '--limit': Input should be less than or equal to 10000"),
    (["export", "--reason", "x", "--account", "x"], "Missing option '-o' / '--output'"),
    (["export", "--reason", "x", "--account", "x", "-o", "y", "--limit", "100001"], "Invalid value for '--limit': Input should be less than or equal to 100000"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error"), MISUSED)
async def test_wrong_use(
    arguments: list[str], error: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = Gateway(config, capsys)
    gateway.tell()
    gateway.project()
    out, err = await gateway.run(*arguments, status=2)
    assert (out, err) == ("", f"jingxin: {error}: see `jingxin evidence {arguments[0]} --help`\n")


async def test_an_id_of_another_gateway(serving: Serving) -> None:
    async with serving() as gateway:
        assert await gateway.refused_with("search", "--message", "hukou") == (
            "hukou: no message id of this gateway: give it as submit_sm_resp had it"
        )
        assert gateway.did() == []


# -- what an export holds ------------------------------------------------------------------------------------


async def test_an_export_is_whole_and_proves_itself(serving: Serving) -> None:
    async with serving() as gateway:
        manifest = await gateway.export("--account", "hukou")
        output = gateway.output
        assert output.stat().st_mode & 0o777 == 0o700
        assert not output.with_name("out.part").exists()
        ids = [gateway.id(gateway.delivered), gateway.id(gateway.refused)]
        files = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
        assert files == [
            "manifest.json",
            "messages.csv",
            *(f"proofs/{message_id}.tlog-proof" for message_id in ids),
            "records.jsonl",
        ]
        assert manifest["sha256"] == {
            name: sha256((output / name).read_bytes()).hexdigest()
            for name in files
            if name != "manifest.json"
        }
        lines = [json.loads(line) for line in (output / "records.jsonl").read_bytes().splitlines()]
        assert [(line["id"], line["type"]) for line in lines] == [
            *((ids[0], kind) for kind in ("accepted", "dispatched", "sent", "receipt")),
            *((ids[1], kind) for kind in ("accepted", "dispatched", "refused")),
        ]
        for message_id in ids:
            proof = MessageProof.parse((output / "proofs" / f"{message_id}.tlog-proof").read_bytes())
            proven = [index for index, _ in proof.check(SIGNER.verifier).records]
            assert proven == [line["index"] for line in lines if line["id"] == message_id]
        with LogReader(gateway.evidence) as reader:
            assert manifest["log"] == {"gateway": "hn-gw-1", "identity": reader.identity.hex()}
            action = records.decode(reader.find(manifest["recorded_as"]))
        assert isinstance(action, OperatorAction)
        assert manifest["checkpoint"] == (gateway.state / "proofs" / "checkpoint").read_text()
        assert (manifest["reason"], manifest["who"], manifest["criteria"]) == (
            "case 7",
            "wang",
            {"account": "hukou"},
        )
        assert (manifest["complete"], manifest["revealed"], manifest["not_signed_yet"]) == (True, False, [])
        assert (manifest["messages"], manifest["parts"], manifest["records"]) == (2, 2, 7)


async def test_without_the_role_there_is_no_text_and_no_whole_number(serving: Serving) -> None:
    async with serving() as gateway:
        manifest = await gateway.export("--number", LI.decode(), reason="13800138000 asks")
        rows = gateway.rows()
        assert [(row["id"], row["number"], row["text"]) for row in rows] == [
            (gateway.id(gateway.delivered), "138****8000", ""),
            (gateway.id(gateway.waiting), "138****8000", ""),
        ]
        assert (manifest["criteria"], manifest["reason"]) == ({"number": "138****8000"}, "138****8000 asks")
        everything = b"".join(path.read_bytes() for path in gateway.output.rglob("*") if path.is_file())
        assert LI not in everything
        assert "验证码".encode() not in everything


async def test_a_number_that_was_not_asked_for_is_not_even_masked(serving: Serving) -> None:
    async with serving() as gateway:
        await gateway.export("--account", "hukou")
        assert [(row["number"], row["text"]) for row in gateway.rows()] == [("", ""), ("", "")]


async def test_with_the_role_numbers_and_texts_are_there(serving: Serving) -> None:
    async with serving() as gateway:
        manifest = await gateway.export("--carrier", "cmcc", "--reveal")
        assert [(row["number"], row["text"]) for row in gateway.rows()] == [
            (LI.decode(), "验证码 1234"),
            (WU.decode(), '\'=HYPERLINK("http://x")'),
            (LI.decode(), "naïve"),  # by what data_coding 0 means to this carrier
        ]
        assert manifest["revealed"] is True
        assert "验证码".encode() not in (gateway.output / "records.jsonl").read_bytes()


async def test_who_may_not_read_the_master_key_sees_no_text(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as gateway:
        key = gateway.config.parent / "secrets" / "master"
        open_file = os.open

        def refusing(path: Any, *arguments: Any, **options: Any) -> int:
            if os.fspath(path) == os.fspath(key):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return open_file(path, *arguments, **options)

        monkeypatch.setattr("storage.keys.os.open", refusing)
        place = ["-o", str(gateway.output)]
        assert await gateway.refused_with("export", "--account", "oa", "--reveal", *place) == (
            f"--reveal is for those who may read the master key, {key}"
        )
        assert await gateway.refused_with("search", "--number", "13800138000") == (
            f"--number is for those who may read the master key, {key}"
        )
        assert not gateway.output.exists()
        assert gateway.did() == []
        await gateway.export("--account", "oa")
        monkeypatch.undo()
        key.unlink()
        missing = await gateway.refused_with(
            "export", "--account", "oa", "--reveal", "-o", f"{gateway.output}2"
        )
        assert missing.startswith(f"{key}: No such file or directory: put it back from its copy")


async def test_what_is_erased_says_so(serving: Serving) -> None:
    async with serving() as gateway:
        destroy_day(gateway.evidence / "keys", day_of(THEN_US))
        await gateway.export("--number", LI.decode(), "--reveal")
        assert {(row["number"], row["text"]) for row in gateway.rows()} == {("erased", "erased")}


async def test_the_text_is_the_last_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = Gateway(config, capsys)
    gateway.tell()
    async with opened(gateway.evidence, gateway.sealer, lambda: time.time_ns() // 1000) as desk:
        index = desk.log.next_index
        body = encode_pdu(submit_sm(LI, short_message=b"second", data_coding=1))[16:]
        desk.log.append(encode(Replaced(gateway.waiting, THEN_US, gateway.sealer.seal(index, body))))
        async with listening(gateway, recorded(desk, gateway.sealer)):
            await gateway_catches_up(gateway, desk)
            manifest = await gateway.export("--account", "oa", "--reveal")
    assert [(row["text"], row["state"]) for row in gateway.rows()] == [("second", "waiting")]
    assert manifest["not_signed_yet"] == [gateway.id(gateway.waiting)]
    assert manifest["checkpoint"] is None
    assert list((gateway.output / "proofs").iterdir()) == []


async def gateway_catches_up(gateway: Gateway, desk: Desk) -> None:
    desk.turns.schedule()
    await durable_answers.until_durable(desk.log, desk.log.next_index - 1)
    gateway.project()


async def test_a_message_that_is_not_signed_yet_is_noted(serving: Serving) -> None:
    async with serving(signed=False) as gateway:
        manifest = await gateway.export("--account", "hukou")
        assert manifest["not_signed_yet"] == [gateway.id(gateway.delivered), gateway.id(gateway.refused)]
        out, _ = await gateway.run(
            "export", "--reason", "x", "--account", "hukou", "-o", f"{gateway.output}2", "--json"
        )
        assert json.loads(out) == {
            "directory": f"{gateway.output}2",
            "messages": 2,
            "parts": 2,
            "records": 7,
            "proofs": 0,
            "not_signed_yet": 2,
        }


async def test_an_export_that_is_not_complete_says_so(serving: Serving) -> None:
    async with serving() as gateway:
        manifest = await gateway.export("--carrier", "cmcc", "--limit", "1")
        assert (manifest["complete"], manifest["parts"]) == (False, 1)
        assert [row["id"] for row in gateway.rows()] == [gateway.id(gateway.waiting)]


async def test_that_nothing_was_found_is_an_export_too(serving: Serving) -> None:
    async with serving() as gateway:
        manifest = await gateway.export("--account", "nobody")
        assert (manifest["messages"], manifest["records"], gateway.rows()) == (0, 0, [])


async def test_a_directory_that_is_there_is_left_alone(serving: Serving) -> None:
    async with serving() as gateway:
        export = ["export", "--account", "oa", "-o"]
        hint = "Invalid value for '--output'"
        gateway.output.mkdir()
        assert await gateway.refused_with(*export, str(gateway.output), status=2) == (
            f"{hint}: {gateway.output} exists: name another: see `jingxin evidence export --help`"
        )
        other = gateway.output.with_name("other")
        other.with_name("other.part").mkdir()
        assert await gateway.refused_with(*export, str(other), status=2) == (
            f"{hint}: {other}.part exists: remove what an export has left there: see `jingxin evidence export --help`"
        )
        assert await gateway.refused_with(*export, f"{other}/further", status=2) == (
            f"{hint}: {other} is no directory: see `jingxin evidence export --help`"
        )
        assert gateway.did() == []


async def test_of_an_export_that_fails_nothing_is_left(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as gateway:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device", "manifest.json")

        monkeypatch.setattr(export_directory, "_digests", full)
        place = ["-o", str(gateway.output)]
        assert await gateway.refused_with("export", "--account", "oa", "--reveal", *place) == (
            "manifest.json: No space left on device: make room on the disk"
        )
        assert [path.name for path in gateway.output.parent.glob("out*")] == []


# -- cells and texts -----------------------------------------------------------------------------------------

CELLS: list[tuple[object, str]] = [
    (None, ""),
    (12, "12"),
    ("plain = text", "plain = text"),
    ("=1+1", "'=1+1"),
    ("+8613800138000", "'+8613800138000"),
    ("-1", "'-1"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("\t=1", "'\t=1"),
    ("＝1", "'＝1"),
    ("", ""),
]


@pytest.mark.parametrize(("value", "text"), CELLS)
def test_no_cell_is_a_formula(value: object, text: str) -> None:
    assert cell(value) == text


GREETING = "你好".encode("utf-16-be")
TEXTS: list[tuple[dict[str, Any], str]] = [
    ({"short_message": b"hi"}, "hi"),
    ({"short_message": GREETING, "data_coding": 8}, "你好"),
    ({"short_message": "你好".encode("gbk"), "data_coding": 15}, "你好"),
    ({"short_message": b"", "tlvs": ((0x0424, GREETING),), "data_coding": 8}, "你好"),
    (
        {"short_message": concatenation_header(7, 2, 1) + GREETING, "data_coding": 8, "esm_class": 0x40},
        "你好",
    ),
    ({"short_message": b"\xff", "esm_class": 0x40}, "octets ff"),
    ({"short_message": b"\x01\x02", "data_coding": 4}, "octets 0102"),
    ({"short_message": b"\x00", "data_coding": 8}, "octets 00"),
    ({"short_message": b""}, ""),
]


@pytest.mark.parametrize(("fields", "text"), TEXTS)
def test_what_a_submission_says(fields: dict[str, Any], text: str) -> None:
    assert text_of(submit_sm(LI, **fields), Alphabet.GSM) == text
