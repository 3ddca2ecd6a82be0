"""`jingxin complaint`, `incident` and the other registers: what is sent to the gateway, what lists show."""
# ruff: noqa: E501  (a row of a case table holds a whole error line)

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from gateway.cli import run
from gateway.commands.operator import operator
from gateway.commands.register_lists import VIEWS, copied, notice
from gateway.control import ControlServer
from storage.ledger.ledger import LEDGER_NAME, Ledger
from storage.seal import Sealer
from storage.settlement import contract as contract_module
from storage.settlement.calendar import moment_us
from storage.settlement.contract import shipped_contract
from storage.settlement.registers import Entry, Event
from tests.gateway.test_registers import Desk, opened

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "var"
[evidence]
master_key_file = "secrets/master"
"""
CONTRACT = shipped_contract()
MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
WRITTEN = {"written": ANY, "who": operator(), "withdrawn": None}  # of every row


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gw.toml"
    path.write_text(CONFIG)
    (tmp_path / "var").mkdir()
    return path


# -- what is sent --------------------------------------------------------------------------------------------

MORNING_US = moment_us("2026-10-05 09:30")


def opening(register: str, facts: dict[str, str], **more: Any) -> tuple[str, dict[str, Any]]:
    sent = {"register": register, "facts": facts, "at_us": 0, "number": None, "then": [], "who": "wang"}
    return "register_open", {**sent, **more}


def line(register: str, event: str, facts: dict[str, str], at_us: int = 0) -> tuple[str, dict[str, Any]]:
    sent = {"register": register, "entry": 17, "event": event, "facts": facts, "at_us": at_us, "who": "wang"}
    return "register_event", sent


AT = ["--at", "2026-10-05 09:30"]
SENT: list[tuple[list[str], tuple[str, dict[str, Any]]]] = [
    (["complaint", "add", "--cause", "x"], opening("complaint", {"cause": "x"})),
    (["complaint", "add", "--cause", "x", "--owner", "li"], opening("complaint", {"cause": "x", "owner": "li"})),
    (
        ["complaint", "add", "--cause", "x", "--number", "138 0013 8000", "--attributed", "b", *AT],
        opening("complaint", {"cause": "x", "attributed": "b"}, number="138 0013 8000", at_us=MORNING_US),
    ),
    (["complaint", "close", "17", "--result", "x"], line("complaint", "closed", {"result": "x"})),
    (
        ["complaint", "close", "17", "--result", "x", "--attributed", "none", *AT],
        line("complaint", "closed", {"result": "x", "attributed": "none"}, MORNING_US),
    ),
    (["incident", "open", "--what", "x", "--by", "alarm"], opening("incident", {"what": "x", "by": "alarm"})),
    (["incident", "respond", "17", "--what", "x"], line("incident", "responded", {"what": "x"})),
    (["incident", "restore", "17", "--what", "x", *AT], line("incident", "restored", {"what": "x"}, MORNING_US)),
    (
        ["incident", "close", "17", "--result", "x", "--subcontractor", "y"],
        line("incident", "closed", {"result": "x", "subcontractor": "y"}),
    ),
    (["maintenance", "begin", "17"], line("maintenance", "began", {})),
    (["maintenance", "end", "17", *AT], line("maintenance", "ended", {}, MORNING_US)),
    (
        ["force-majeure", "begin", "--what", "x", *AT],
        opening("force majeure", {"what": "x"}, at_us=MORNING_US, then=[{"event": "began"}]),
    ),
    (["force-majeure", "proof", "17", "--document", "x"], line("force majeure", "proof", {"document": "x"})),
    (["force-majeure", "end", "17"], line("force majeure", "ended", {})),
    (
        ["delay", "add", "--service", "x", "--due", "2026-10-01", "--amount", "12000.00"],
        opening("delay", {"service": "x", "due": "2026-10-01", "amount": "120000000"}, at_us=moment_us("2026-10-02 00:00")),
    ),
    (
        ["delay", "add", "--service", "x", "--due", "2026-10-01", "--amount", "0.0001", "--done", "2026-10-02"],
        opening(
            "delay",
            {"service": "x", "due": "2026-10-01", "amount": "1"},
            at_us=moment_us("2026-10-02 00:00"),
            then=[{"event": "done", "at_us": moment_us("2026-10-02 00:00")}],
        ),
    ),
    (["delay", "done", "17", *AT], line("delay", "done", {}, MORNING_US)),
    (
        ["rating", "add", "--year", "3", "--support", "0", "--satisfaction", "100", "--note", "x"],
        opening("rating", {"year": "3", "support": "0", "satisfaction": "100", "note": "x"}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "sent"), SENT)
async def test_a_command_asks_the_running_gateway(
    arguments: list[str],
    sent: tuple[str, dict[str, Any]],
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SUDO_USER", "wang")
    asked: list[dict[str, Any]] = []

    def handler(arguments: dict[str, Any]) -> object:
        asked.append(arguments)
        return {"entered": "complaint", "entry": 1234, "event": "opened", "at": "2026-10-05 09:30:00"}

    server = ControlServer(config.parent / "var", {sent[0]: handler})
    await server.start()
    try:
        assert await asyncio.to_thread(run, [*arguments, "-c", str(config), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["entry"] == 1234
        assert await asyncio.to_thread(run, [*arguments, "-c", str(config)]) == 0
        assert "1234\n" in capsys.readouterr().out.replace(" ", "")
    finally:
        await server.stop()
    assert asked == [sent[1], sent[1]]


A_TIME = 'allowed is a time in Shanghai such as "2026-11-26 09:30"'
ADD = ["delay", "add", "--service", "x", "--due", "2026-10-01", "--amount", "1"]
MISUSED: list[tuple[list[str], str]] = [
    (["complaint", "add"], "Missing option '--cause'"),
    (["complaint", "add", "--cause", "x", "--attributed", "c"], "Invalid value for '--attributed': Value error, 'c' is not one of 'a', 'b', 'none'"),
    (["complaint", "add", "--cause", "x", "--at", "yesterday"], f"Invalid value for '--at': {A_TIME}"),
    (["complaint", "add", "--cause", "x", "--at", ""], f"Invalid value for '--at': {A_TIME}"),
    (["complaint", "add", "--cause", "\udce4"], "Invalid value: allowed is text in UTF-8"),
    (["complaint", "add", "--cause", "x", "--number", "\udce4"], "Invalid value: allowed is text in UTF-8"),
    (["complaint", "close", "0", "--result", "x"], "Invalid value for 'ENTRY': Input should be greater than or equal to 1"),
    (["maintenance", "announce", "--what", "x", "--from", "1", "--to", "2026-11-28 05:00"], f"Invalid value for '--from': {A_TIME}"),
    (["maintenance", "announce", "--what", "x", "--from", "2026-11-28 05:00", "--to", "1"], f"Invalid value for '--to': {A_TIME}"),
    ([*ADD, "--due", "1 Oct"], "Invalid value for '--due': allowed is a day such as 2026-10-01"),
    ([*ADD, "--due", "2099-12-31"], "Invalid value for '--due': it is not late before that day is over: enter it on the day after"),
    ([*ADD, "--done", "2026-10-01"], "Invalid value for '--done': allowed is a day after 2026-10-01"),
    ([*ADD, "--amount", "1.00001"], "Invalid value for '--amount': allowed are yuan above 0 with at most 4 decimals, such as 12000.00"),
    ([*ADD, "--amount", "0.00"], "Invalid value for '--amount': allowed are yuan above 0 with at most 4 decimals, such as 12000.00"),
    (["rating", "add", "--year", "3", "--support", "101", "--satisfaction", "1"], "Invalid value for '--support': Input should be less than or equal to 100"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error"), MISUSED)
def test_wrong_use(
    arguments: list[str], error: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "-c", str(config)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        f"jingxin: {error}: see `jingxin {' '.join(arguments[:2])} --help`\n",
    )


@pytest.mark.parametrize(
    "register", ["complaint", "incident", "maintenance", "force-majeure", "delay", "rating"]
)
def test_a_list_without_a_ledger(register: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([register, "list", "-c", str(config)]) == 1
    assert capsys.readouterr().err == (
        f"jingxin: {config.parent}/var/ledger.db: there is no ledger yet: `jingxin run` makes it\n"
    )


# -- from the command to the list ----------------------------------------------------------------------------


class Office:
    """A gateway with its registers behind a control socket, and a ledger that follows when it is told to."""

    def __init__(self, config: Path, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self.desk = desk
        self._capsys = capsys

    async def run(self, *arguments: str) -> str:
        assert await asyncio.to_thread(run, [*arguments, "-c", str(self.config)]) == 0
        return self._capsys.readouterr().out

    async def ask(self, *arguments: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(await self.run(*arguments, "--json"))
        return result

    async def refused(self, *arguments: str) -> str:
        assert await asyncio.to_thread(run, [*arguments, "-c", str(self.config)]) == 1
        return self._capsys.readouterr().err

    def catch_up(self) -> None:
        state_dir = self.config.parent / "var"
        with Ledger.open(state_dir / LEDGER_NAME, state_dir / "evidence") as ledger:
            while ledger.step():
                pass


@pytest.fixture
def serving(config: Path, sealer: Sealer, capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    @asynccontextmanager
    async def office() -> AsyncIterator[Office]:
        state_dir = config.parent / "var"
        async with opened(state_dir / "evidence", sealer, lambda: time.time_ns() // 1000) as desk:
            server = ControlServer(state_dir, desk.handlers)
            await server.start()
            capsys.readouterr()
            try:
                yield Office(config, desk, capsys)
            finally:
                await server.stop()

    return office


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of the log would stand among those of the commands."""
    monkeypatch.setattr("gateway.registers.logger.info", lambda *_, **__: None, raising=False)


async def test_an_entry_that_is_closed_after_a_restart(serving: Callable[[], Any]) -> None:
    async with serving() as office:
        entry = (
            await office.ask(
                "complaint",
                "add",
                "--cause",
                "no code",
                "--number",
                "13800138000",
                "--at",
                "2026-01-05 09:00",
            )
        )["entry"]
        other = (await office.ask("complaint", "add", "--cause", "too many", "--at", "2026-01-06 09:00"))[
            "entry"
        ]
        office.catch_up()
        shown = await office.ask("complaint", "list")
        assert (shown["applied_index"], shown["durable_index"]) == (other, other)
        assert [row["entry"] for row in shown["complaints"]] == [entry, other]
    async with serving() as office:
        await office.ask(
            "complaint",
            "close",
            str(entry),
            "--result",
            "a full inbox",
            "--owner",
            "li",
            "--attributed",
            "none",
            "--at",
            "2026-01-05 10:00",
        )
        behind = await office.run("complaint", "list")
        last = office.desk.log.durable_index
        assert (
            behind.splitlines()[0]
            == f"the ledger has come to record {other} of {last}: what is newer is not shown"
        )
        assert "a full inbox" not in behind
        office.catch_up()
        assert "the ledger" not in await office.run("complaint", "list")
        shown = await office.ask("complaint", "list")
        assert shown["complaints"][0] == {
            "entry": entry,
            "at": "2026-01-05 09:00:00",
            "cause": "no code",
            "owner": "li",
            "attributed": "none",
            "closed": "2026-01-05 10:00:00",
            "result": "a full inbox",
            **WRITTEN,
        }
        still_open = (await office.ask("complaint", "list", "--open"))["complaints"]
        assert [row["entry"] for row in still_open] == [other]
        corrected = ["--result", "switched off", "--at", "2026-01-07 10:00"]
        await office.ask("complaint", "close", str(entry), *corrected)
        mistaken = ["--reason", "entered twice", "--at", "2026-01-08 10:00"]
        await office.ask("complaint", "withdraw", str(other), *mistaken)
        office.catch_up()
        first, second = (await office.ask("complaint", "list"))["complaints"]
        assert (first["closed"], first["result"]) == ("2026-01-07 10:00:00", "switched off")
        assert (first["withdrawn"], second["withdrawn"]) == (None, "entered twice")
        assert (await office.ask("complaint", "list", "--open"))["complaints"] == []
        assert await office.refused("incident", "close", str(entry), "--result", "x") == (
            f"jingxin: entry {entry} is of the register 'complaint', not 'incident'\n"
        )


async def test_every_register_from_its_first_line_to_its_list(serving: Callable[[], Any]) -> None:
    async with serving() as office:

        async def entered(*arguments: str) -> str:
            return str((await office.ask(*arguments))["entry"])

        fault = await entered(
            "incident", "open", "--what", "cmcc down", "--by", "alarm", "--at", "2026-01-05 09:00"
        )
        await office.ask("incident", "respond", fault, "--what", "called", "--at", "2026-01-05 10:00")
        await office.ask("incident", "restore", fault, "--what", "bound", "--at", "2026-01-05 17:00:01")
        await office.ask(
            "incident",
            "close",
            fault,
            "--result",
            "a cable",
            "--subcontractor",
            "Zhong",
            "--at",
            "2026-01-06 09:00",
        )
        work = await entered(
            "maintenance",
            "announce",
            "--what",
            "a patch",
            "--from",
            "2026-01-08 01:00",
            "--to",
            "2026-01-08 03:00",
            "--at",
            "2026-01-05 01:00",
        )
        await office.ask("maintenance", "begin", work, "--at", "2026-01-08 01:05")
        await office.ask("maintenance", "end", work, "--at", "2026-01-08 02:00")
        flood = await entered("force-majeure", "begin", "--what", "a flood", "--at", "2026-01-10 12:00")
        await office.ask(
            "force-majeure", "proof", flood, "--document", "豫气〔2026〕7号", "--at", "2026-02-09 23:59:59"
        )
        late = await entered(
            "delay",
            "add",
            "--service",
            "portal",
            "--due",
            "2026-02-01",
            "--amount",
            "12000.50",
            "--done",
            "2026-02-05",
        )
        rated = await entered(
            "rating",
            "add",
            "--year",
            "3",
            "--support",
            "90",
            "--satisfaction",
            "88",
            "--at",
            "2026-03-01 09:00",
        )
        office.catch_up()

        async def listed(*arguments: str) -> Any:
            (rows,) = [
                rows for rows in (await office.ask(*arguments, "list")).values() if isinstance(rows, list)
            ]
            return rows

        assert await listed("incident") == [
            {
                "entry": int(fault),
                "at": "2026-01-05 09:00:00",
                "by": "alarm",
                "what": "cmcc down",
                "respond_minutes": 60,
                "responded": "in time",
                "restore_minutes": 481,
                "restored": "late",
                "closed": "2026-01-06 09:00:00",
                "result": "a cable",
                "subcontractor": "Zhong",
                **WRITTEN,
            }
        ]
        assert await listed("maintenance") == [
            {
                "entry": int(work),
                "announced": "2026-01-05 01:00:00",
                "what": "a patch",
                "from": "2026-01-08 01:00:00",
                "to": "2026-01-08 03:00:00",
                "notice_hours": 72.0,
                "notice": "in time",
                "began": "2026-01-08 01:05:00",
                "ended": "2026-01-08 02:00:00",
                **WRITTEN,
            }
        ]
        assert await listed("force-majeure") == [
            {
                "entry": int(flood),
                "began": "2026-01-10 12:00:00",
                "ended": None,
                "what": "a flood",
                "proof_due": "2026-02-09",
                "proof": "in time",
                "document": "豫气〔2026〕7号",
                **WRITTEN,
            }
        ]
        assert await listed("delay") == [
            {
                "entry": int(late),
                "service": "portal",
                "due": "2026-02-01",
                "done": "2026-02-05",
                "days_late": 4,
                "amount_yuan": "12000.50",
                **WRITTEN,
            }
        ]
        assert await listed("rating") == [
            {
                "entry": int(rated),
                "at": "2026-03-01 09:00:00",
                "year": 3,
                "support": 90,
                "satisfaction": 88,
                "note": None,
                **WRITTEN,
            }
        ]
        assert (await office.ask("delay", "list", "--open"))["delays"] == []
        for register, entry in (("incident", fault), ("force-majeure", flood), ("rating", rated)):
            answer = await office.ask(register, "withdraw", entry, "--reason", "a mistake")
            assert (answer["event"], answer["entry"]) == ("withdrawn", int(entry))
        office.catch_up()
        assert (await listed("incident"))[0]["withdrawn"] == "a mistake"
        assert rated in (await office.run("rating", "list")).split()


ANNOUNCED: list[tuple[str, float, str | None]] = [
    ("2026-01-05 01:00", 72.0, None),
    ("2026-01-05 01:01", 71.9, "announced 71.9 h before: 72 h are asked for"),
    ("2026-01-08 02:00", -1.0, "announced -1 h before: 72 h are asked for"),
]


@pytest.mark.parametrize(("at", "hours", "warning"), ANNOUNCED)
async def test_planned_work_says_how_long_ahead_it_is(
    at: str, hours: float, warning: str | None, serving: Callable[[], Any]
) -> None:
    async with serving() as office:
        planned = ["--what", "x", "--from", "2026-01-08 01:00", "--to", "2026-01-08 03:00"]
        answer = await office.ask("maintenance", "announce", *planned, "--at", at)
        assert (answer["entered"], answer["notice_hours"], answer.get("warning")) == (
            "maintenance",
            hours,
            warning,
        )


@pytest.fixture
def sooner(config: Path) -> None:
    """A contract that asks for another notice."""
    shipped = Path(contract_module.__file__).with_name("contract.toml").read_text()
    assert shipped.count("min_notice_hours = 72") == 1
    terms = shipped.replace("min_notice_hours = 72", "min_notice_hours = 24")
    (config.parent / "terms.toml").write_text(terms)
    config.write_text(f'{CONFIG}[settlement]\ncontract_file = "terms.toml"\n')


@pytest.mark.usefixtures("sooner")
async def test_the_contract_is_the_one_of_the_configuration(serving: Callable[[], Any]) -> None:
    async with serving() as office:
        planned = ["--what", "x", "--from", "2026-01-08 01:00", "--to", "2026-01-08 03:00"]
        await office.ask("maintenance", "announce", *planned, "--at", "2026-01-07 01:00")
        answer = await office.ask("maintenance", "announce", *planned, "--at", "2026-01-07 02:00")
        assert answer["warning"] == "announced 23 h before: 24 h are asked for"
        office.catch_up()
        rows = (await office.ask("maintenance", "list"))["planned_work"]
        assert [row["notice"] for row in rows] == ["in time", "short"]


# -- clocks --------------------------------------------------------------------------------------------------


def entry(*events: tuple[str, int], **facts: str) -> Entry:
    """Of which everything is known with the opening; times are minutes after the morning."""
    lines = [
        Event(7 + place, 0, event, MORNING_US + minutes * MINUTE_US, "wang", {} if place else facts)
        for place, (event, minutes) in enumerate(events)
    ]
    return Entry(7, "", lines)


CLOCKS: list[tuple[list[tuple[str, int]], int, tuple[int, str, int, str]]] = [
    ([], 0, (0, "running", 0, "running")),
    ([], 60 * MINUTE_US, (60, "running", 60, "running")),
    ([], 60 * MINUTE_US + 1, (61, "late", 61, "running")),
    ([], 480 * MINUTE_US + 1, (481, "late", 481, "late")),
    ([("responded", 60)], 480 * MINUTE_US, (60, "in time", 480, "running")),
    ([("responded", 61)], 480 * MINUTE_US, (61, "late", 480, "running")),
    ([("responded", 5), ("restored", 480)], DAY_US, (5, "in time", 480, "in time")),
    ([("restored", 30)], DAY_US, (30, "in time", 30, "in time")),
    ([("closed", 40)], DAY_US, (40, "in time", 40, "in time")),
    ([("restored", 481), ("responded", 500)], DAY_US, (481, "late", 481, "late")),
]


@pytest.mark.parametrize(("events", "passed_us", "clocks"), CLOCKS)
def test_the_clocks_of_an_incident(
    events: list[tuple[str, int]], passed_us: int, clocks: tuple[int, str, int, str]
) -> None:
    row = VIEWS["incident"].row(entry(("opened", 0), *events, what="x"), CONTRACT, MORNING_US + passed_us)
    names = ("respond_minutes", "responded", "restore_minutes", "restored")
    assert tuple(row[name] for name in names) == clocks


def test_the_clocks_are_those_of_the_contract() -> None:
    incident = msgspec.structs.replace(CONTRACT.signed.incident, respond_minutes=30)
    maintenance = msgspec.structs.replace(CONTRACT.signed.maintenance, min_notice_hours=24)
    signed = msgspec.structs.replace(CONTRACT.signed, incident=incident, maintenance=maintenance)
    other = msgspec.structs.replace(CONTRACT, signed=signed)
    fault = entry(("opened", 0), ("responded", 31))
    assert VIEWS["incident"].row(fault, CONTRACT, MORNING_US)["responded"] == "in time"
    assert VIEWS["incident"].row(fault, other, MORNING_US)["responded"] == "late"
    assert notice(MORNING_US, MORNING_US + DAY_US, other) == (24.0, "")
    assert (
        notice(MORNING_US, MORNING_US + DAY_US - 1, other)[1] == "announced 23.9 h before: 24 h are asked for"
    )


MIDNIGHT_US = moment_us("2026-11-05 00:00")  # the day after the 30th: force majeure began on 5 October


@pytest.mark.parametrize(
    ("proof_us", "now_us", "shown"),
    [
        (0, MIDNIGHT_US - 1, "running"),
        (0, MIDNIGHT_US, "late"),
        (MIDNIGHT_US - MINUTE_US, MIDNIGHT_US + DAY_US, "in time"),
        (MIDNIGHT_US, MIDNIGHT_US + DAY_US, "late"),
    ],
)
def test_the_proof_of_force_majeure_has_thirty_days(proof_us: int, now_us: int, shown: str) -> None:
    proven = [("proof", (proof_us - MORNING_US) // MINUTE_US)] if proof_us else []
    flood = entry(("opened", 0), ("began", 0), *proven, what="x")
    row = VIEWS["force majeure"].row(flood, CONTRACT, now_us)
    assert (row["proof_due"], row["proof"]) == ("2026-11-04", shown)


@pytest.mark.parametrize(
    ("amount", "now", "days", "yuan"),
    [
        ("120000000", "2026-10-02 00:00", 1, "12000.00"),
        ("1", "2026-10-12 23:59", 11, "0.0001"),
        ("125000", "2026-10-02 00:00", 1, "12.50"),
    ],
)
def test_days_late_begin_with_the_day_after(amount: str, now: str, days: int, yuan: str) -> None:
    late = entry(("opened", 0), service="x", due="2026-10-01", amount=amount)
    row = VIEWS["delay"].row(late, CONTRACT, moment_us(now))
    assert (row["days_late"], row["amount_yuan"], row["done"]) == (days, yuan, None)


def test_numbers_of_entries_are_copied_without_commas() -> None:
    assert copied({"entry": 1234567, "year": 3, "support": 90}) == {
        "entry": "1234567",
        "year": "3",
        "support": 90,
    }
