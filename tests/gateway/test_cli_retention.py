"""`jingxin evidence archive`, `detach`, `restore`, `erase`, `hold`, `release`, `holds`: what leaves, what stays."""
# ruff: noqa: E501  (a row of a case table holds a whole error line)

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import durable_answers
from gateway.cli import run
from gateway.commands import retention as commands
from gateway.control import ControlServer
from gateway.register_forms import WrongEntry, filled
from gateway.retention import Retention
from storage import records
from storage.errors import ContentErased
from storage.keys import Keyring, days_with_keys
from storage.ledger.ledger import LEDGER_NAME, Ledger
from storage.proofs.notary import Notary
from storage.reader import LogReader
from storage.records import Accepted, Dispatched, KeyOpened, OperatorAction, Outcome, encode
from storage.register import REGISTER_NAME, Register
from storage.retention import FLOOR_MONTHS, KeyUse, Survey, allowed_from
from storage.seal import Sealer
from storage.segment import segment_paths
from storage.settlement.calendar import moment_us
from tests.gateway.test_registers import Desk, opened
from tests.storage.proofs.test_verify_tree import SIGNER
from tests.storage.scaffold import LogDriver

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "var"
[evidence]
master_key_file = "secrets/master"
"""
KEY = ["--key", str(SIGNER.verifier)]
DAYS = ("2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02")
NOW_US = moment_us("2026-09-02 12:00")  # from that day on content of DAYS[2] may be erased


class House:
    """A state directory whose evidence has a message of each of DAYS, signed and in the ledger, and a gateway
    that runs on at NOW_US. low_water: what it still needs."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "gw.toml"
        self.state = directory / "var"
        self.evidence = self.state / "evidence"
        self.keys = self.evidence / "keys"
        self.config.write_text(CONFIG)
        self.keyring = Keyring(self.keys, bytes(32))
        self.sealer = Sealer(self.keyring)
        self.contents = {day: self._write(day) for day in DAYS}
        self.low_water = self._end()

    def _write(self, day: str) -> tuple[int, bytes]:
        """A message of the day in a segment of its own: its number, and what is sealed of it."""
        now_us = moment_us(f"{day} 10:00")
        with LogDriver(self.evidence, sealer=self.sealer, clock_us=lambda: now_us) as driver:
            driver.log.recover()
            number = driver.log.next_index
            sealed = self.sealer.seal(number, b"text of " + day.encode())
            accepted = Accepted(now_us, "hukou", 1, 0, "cmcc", bytes(16), 1, 0, 0, 0, sealed)
            driver.low_water = driver.log.next_index
            driver.wait_for_spare()
            driver.write(
                encode(accepted),
                encode(Dispatched(now_us, [("cmcc", 0, [number])])),
                encode(Outcome(number, now_us, 3, b"", "gateway", "expired", "")),
            )
            driver.low_water = driver.log.next_index
        return number, sealed

    def _end(self) -> int:
        """A segment by which a restart needs nothing of these days."""
        now_us = moment_us("2026-03-03 10:00")
        with LogDriver(self.evidence, sealer=self.sealer, clock_us=lambda: now_us) as driver:
            driver.log.recover()
            driver.low_water = driver.log.next_index
            driver.write(encode(records.Started(now_us, "hn-gw-1", "0.1.0", bytes(32), "host 1")))
            driver.turn(encode(records.Stopped(now_us, "")))
            return driver.log.next_index

    def follow(self) -> None:
        """Sign all there is, and take it into the other files."""
        with Notary(self.evidence, self.state / "proofs", "hn-gw-1", SIGNER) as notary:
            notary.recover()
            while notary.step(NOW_US):
                pass
        with Ledger.open(self.state / LEDGER_NAME, self.evidence) as ledger:
            while ledger.step():
                pass
            register = Register.open(self.state / REGISTER_NAME)
            register.apply([], ledger.applied_index)
            register.close()

    def run(self, *arguments: str) -> int:
        return run(["evidence", arguments[0], "-c", str(self.config), *arguments[1:]])

    async def ask(self, *arguments: str) -> int:
        """While the gateway runs."""
        return await asyncio.to_thread(self.run, *arguments)

    def readable(self) -> list[str]:
        """The days whose content can be read."""
        days = []
        for day, (number, sealed) in self.contents.items():
            try:
                assert self.sealer.unseal(number, sealed) == b"text of " + day.encode()
                days.append(day)
            except ContentErased:
                pass
        return days

    def actions(self) -> list[tuple[str, str, str]]:
        with LogReader(self.evidence) as reader:
            found = [records.decode(octets) for _, octets in reader.records(reader.first_index)]
        return [(each.who, each.action, each.reason) for each in found if isinstance(each, OperatorAction)]

    @asynccontextmanager
    async def gateway(self, spoil: Callable[[Desk], None] = lambda desk: None) -> AsyncIterator[Desk]:
        # Log lines would stand between what commands print.
        with capture_logs():
            async with opened(self.evidence, self.sealer, lambda: NOW_US) as desk:
                spoil(desk)
                handlers = Retention(desk.turns, desk.log, lambda: self.low_water).handlers
                server = ControlServer(self.state, {**desk.handlers, **handlers})
                await server.start()
                try:
                    yield desk
                finally:
                    await server.stop()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("SUDO_USER", "wang")
    monkeypatch.setattr(time, "time_ns", lambda: NOW_US * 1000)
    return House(tmp_path)


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    captured = capsys.readouterr()
    assert captured.err == ""
    found: dict[str, Any] = json.loads(captured.out)
    return found


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jingxin: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("jingxin: ").strip()


# -- archives ------------------------------------------------------------------------------------------------


def test_archived_detached_and_restored(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house.follow()
    before = {path.name: path.read_bytes() for path in segment_paths(house.evidence)}
    out = tmp_path / "archive"
    assert house.run("archive", "--before", "2026-03-01", "-o", str(out), *KEY, "--json") == 0
    made = answer(capsys)
    assert (made["segments"], made["first_day"], made["last_day"]) == (2, "2026-02-27", "2026-02-28")
    assert not list(out.rglob("*.key"))
    assert (out / "log.pub").read_text() == f"{SIGNER.verifier}\n"

    assert house.run("detach", str(out), *KEY, "--json") == 0
    assert answer(capsys) == {"segments_detached": 2, "first_index": made["last_index"] + 1}
    alone = ["--evidence", str(out / "evidence"), "--proofs", str(out / "proofs")]
    assert run(["evidence", "verify", *alone, "--key", str(out / "log.pub"), "--json"]) == 0
    assert answer(capsys)["records"] >= made["last_index"]
    assert house.run("verify", *KEY, "--json") == 0
    assert answer(capsys)["first_index"] == made["last_index"] + 1

    assert house.run("restore", str(out), *KEY, "--json") == 0
    assert answer(capsys) == {"segments_restored": 2, "first_index": 1}
    assert {path.name: path.read_bytes() for path in segment_paths(house.evidence)} == before
    assert house.run("verify", *KEY) == 0


def test_what_other_files_have_not_taken_in_is_not_detached(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house.follow()
    out = str(tmp_path / "archive")
    assert house.run("archive", "--before", "5", "-o", out, *KEY) == 0
    capsys.readouterr()
    for name in (REGISTER_NAME, LEDGER_NAME):
        (house.state / name).rename(house.state / f"{name}.away")
        assert house.run("detach", out, *KEY) == 1
        assert refusal(capsys).endswith(
            f"{name} needs records from 1 on, and this segment ends with 4: try again later"
        )
        (house.state / f"{name}.away").rename(house.state / name)


MISUSED: list[tuple[list[str], int, str]] = [
    (["archive", "--before", "yesterday", "-o", "x"], 2, "Invalid value for '--before': allowed is a day such as 2026-10-01"),
    (["archive", "--before", "2026-03-01", "-o", "/nowhere/x"], 2, "Invalid value for '--output': /nowhere is no directory"),
    (["detach", "/nowhere"], 1, "/nowhere is no archive: name a directory with a manifest.json"),
    (["restore", "/nowhere"], 1, "/nowhere is no archive: name a directory with a manifest.json"),
    (["hold", "--from", "1", "--to", "2026-03-01", "--reason", "x"], 2, "Invalid value for '--from': allowed is a day such as 2026-10-01"),
    (["hold", "--from", "2026-03-01", "--to", "2026-03-01", "--reason", " "], 2, "Invalid value for '--reason': allowed is a text of 1 to 500 characters on one line, in UTF-8"),
    (["release", "17", "--reason", "\udce4"], 2, "Invalid value for '--reason': allowed is a text of 1 to 500 characters on one line, in UTF-8"),
    (["erase", "--reason", "x"], 2, "Invalid value: give one of --day and --before"),
    (["erase", "--reason", "x", "--day", "2026-03-01", "--before", "2026-03-01"], 2, "Invalid value: give one of --day and --before"),
    (["erase", "--reason", "x", "--day", "March"], 2, "Invalid value for '--day': allowed is a day such as 2026-10-01"),
    (["erase", "--reason", "x", "--day", "2026-03-02"], 1, "content of 2026-03-02 is kept for 6 months by law: it may be erased from 2026-09-03 on"),
    (["erase", "--reason", "x", "--before", "2026-03-03"], 1, "content of 2026-03-02 is kept for 6 months by law: it may be erased from 2026-09-03 on"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "error"), MISUSED)
def test_wrong_use(
    arguments: list[str], status: int, error: str, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    more = KEY if arguments[0] in ("archive", "detach", "restore") else []
    assert house.run(*arguments, *more) == status
    assert refusal(capsys).removesuffix(f": see `jingxin evidence {arguments[0]} --help`") == error
    assert house.readable() == list(DAYS)


def test_without_a_gateway_nothing_is_erased_or_held(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["erase", "--day", DAYS[0], "--reason", "x"],
        ["hold", "--from", DAYS[0], "--to", DAYS[0], "--reason", "x"],
        ["release", "17", "--reason", "x"],
    ):
        assert house.run(*arguments) == 1
        assert "no gateway runs here" in refusal(capsys)
    assert house.readable() == list(DAYS)


# -- erasure -------------------------------------------------------------------------------------------------

FLOORS = [
    ("2026-03-01", "2026-09-02"),
    ("2026-03-31", "2026-10-01"),  # 30 September is the last day of the term
    ("2026-08-28", "2027-03-01"),
    ("2026-08-31", "2027-03-01"),  # February has no 31st
    ("2026-12-31", "2027-07-01"),
]


@pytest.mark.parametrize(("day", "allowed"), FLOORS)
def test_the_floor(day: str, allowed: str) -> None:
    assert FLOOR_MONTHS == 6
    assert allowed_from(date.fromisoformat(day)).isoformat() == allowed


async def test_a_day_is_erased_for_good_and_its_facts_stay(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house.gateway():
        assert await house.ask("erase", "--day", DAYS[1], "--reason", "term is over", "--json") == 0
        assert answer(capsys) == {"days_erased": [DAYS[1]], "keys_destroyed": 1, "days_on_hold": []}
        assert house.readable() == [DAYS[0], DAYS[2], DAYS[3]]
        assert house.actions() == [("wang", "erase", f"{DAYS[1]}: term is over")]
        # Repeated, there is nothing left to be done, and nothing is recorded.
        assert await house.ask("erase", "--day", DAYS[1], "--reason", "again", "--json") == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["days_erased"] == []
        assert said.err.endswith("/keys has no data keys of such days: nothing was to be erased\n")
    house.follow()
    assert house.run("verify", *KEY, "--json") == 0
    report = answer(capsys)
    assert (report["sound"], report["erased_days"]) == (True, [DAYS[1]])


async def test_all_days_before_one(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    async with house.gateway():
        assert await house.ask("erase", "--before", DAYS[3], "--reason", "term is over", "--json") == 0
        assert answer(capsys)["days_erased"] == list(DAYS[:3])
    assert house.readable() == [DAYS[3]]
    assert [reason for _, _, reason in house.actions()] == [f"{day}: term is over" for day in DAYS[:3]]


async def test_a_number_in_the_reason_is_masked(house: House) -> None:
    async with house.gateway():
        assert await house.ask("erase", "--day", DAYS[0], "--reason", "asked by 13812345678") == 0
    ((_, _, reason),) = house.actions()
    assert "13812345678" not in reason


async def test_content_that_is_still_needed_stays(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.low_water = house.contents[DAYS[1]][0]
    async with house.gateway():
        assert await house.ask("erase", "--day", DAYS[1], "--reason", "x") == 1
        assert refusal(capsys).startswith(
            f"content of {DAYS[1]} is still needed: a part is open or a report waits since record {house.low_water}: "
        )
        assert house.actions() == []
        assert await house.ask("erase", "--before", DAYS[2], "--reason", "x") == 1
        capsys.readouterr()
        assert house.readable() == list(DAYS)
        # The key of the day before was in use up to the first record of this one's segment.
        assert await house.ask("erase", "--day", DAYS[0], "--reason", "x") == 0


async def test_the_gateway_judges_by_its_own_clock(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: (NOW_US + 400 * 86_400_000_000) * 1000)
    async with house.gateway():
        assert await house.ask("erase", "--day", DAYS[3], "--reason", "x") == 1
        assert (
            refusal(capsys)
            == f"content of {DAYS[3]} is kept for 6 months by law: it may be erased from 2026-09-03 on"
        )
    assert house.readable() == list(DAYS)


async def test_keys_are_destroyed_only_when_the_record_is_durable(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(durable_answers, "DURABLE_WAIT_S", 0.05)

    def hold_back(desk: Desk) -> None:
        desk.holding = True

    async with house.gateway(hold_back):
        assert await house.ask("erase", "--day", DAYS[0], "--reason", "x") == 1
        assert "the disk has not taken record" in refusal(capsys)
        assert house.readable() == list(DAYS)


async def test_a_crash_amid_the_destruction_is_made_good_by_the_same_command(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    (half,) = house.keys.glob(f"{DAYS[0]}-*.key")
    half.write_bytes(bytes(half.stat().st_size))  # overwritten, not removed
    assert DAYS[0] in days_with_keys(house.keys)
    async with house.gateway():
        assert await house.ask("erase", "--day", DAYS[0], "--reason", "x", "--json") == 0
        assert answer(capsys)["keys_destroyed"] == 1
    assert house.readable() == list(DAYS[1:])


def test_a_key_that_is_in_use_stays(house: House) -> None:
    survey = Survey(house.evidence)
    survey.read()
    starts = [number for number, _ in house.contents.values()]
    keys_opened = [number - 1 for number in starts[1:]]
    assert [survey.use_of(day) for day in DAYS[:3]] == list(map(KeyUse, keys_opened, DAYS))
    assert survey.use_of("2026-03-03") is None
    assert survey.use_of("2026-02-01") == KeyUse(1, DAYS[0])  # of what is detached


# The time of what was sealed last under a key of 1 March, and the day that counts.
LAST = [
    ("2026-03-01 23:59:59", "2026-03-01"),
    ("2026-03-02 00:00:01", "2026-03-02"),
    ("2026-03-04 10:00", "2026-03-04"),
]


@pytest.mark.parametrize("in_one_batch", [False, True])
@pytest.mark.parametrize(("last", "last_day"), LAST)
def test_what_a_key_has_sealed_after_its_day_counts(
    last: str, last_day: str, in_one_batch: bool, tmp_path: Path
) -> None:
    begin_us, last_us, end_us = (moment_us(each) for each in ("2026-03-01 10:00", last, "2026-03-04 12:00"))
    now_us = [begin_us]
    with LogDriver(tmp_path, clock_us=lambda: now_us[0]) as driver:
        driver.log.recover()
        driver.write(encode(KeyOpened(begin_us, "2026-03-01", bytes(32))))
        batch = [encode(records.Stopped(last_us, "")), encode(KeyOpened(end_us, "2026-03-04", bytes(32)))]
        if in_one_batch:
            now_us[0] = end_us
            driver.write(*batch)
        else:
            now_us[0] = last_us
            driver.write(batch[0])
            now_us[0] = end_us
            driver.write(batch[1])
    survey = Survey(tmp_path)
    survey.read()
    assert survey.use_of("2026-03-01") == KeyUse(3, last_day)


async def test_a_hold_of_the_day_after_stops_the_erasure_of_a_key_that_went_on(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_of = Survey.use_of

    def went_on(survey: Survey, day: str) -> KeyUse | None:
        use = use_of(survey, day)
        return use and use._replace(last_day=DAYS[DAYS.index(day) + 1])

    monkeypatch.setattr(Survey, "use_of", went_on)
    async with house.gateway():
        # Of the day after, the term is not over.
        assert await house.ask("erase", "--day", DAYS[2], "--reason", "x") == 1
        assert (
            refusal(capsys)
            == f"content of {DAYS[2]} is kept for 6 months by law: it may be erased from 2026-09-03 on"
        )
        assert await house.ask("hold", "--from", DAYS[1], "--to", DAYS[1], "--reason", "case 17") == 0
        capsys.readouterr()
        assert await house.ask("erase", "--day", DAYS[0], "--reason", "x") == 1
        assert f"content of {DAYS[0]} stays: entry" in refusal(capsys)
    assert house.readable() == list(DAYS)


# -- holds ---------------------------------------------------------------------------------------------------


async def test_a_hold_stops_erasure_until_it_is_released(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house.gateway():
        assert (
            await house.ask("hold", "--from", DAYS[1], "--to", DAYS[2], "--reason", "case 17", "--json") == 0
        )
        entry = answer(capsys)["entry"]
        assert await house.ask("erase", "--day", DAYS[1], "--reason", "x") == 1
        assert refusal(capsys) == (
            f"content of {DAYS[1]} stays: entry {entry} holds {DAYS[1]} to {DAYS[2]} (case 17):"
            f" `jingxin evidence release {entry}` ends that"
        )
        assert house.actions() == []
        assert await house.ask("erase", "--before", DAYS[3], "--reason", "x", "--json") == 0
        assert answer(capsys) == {
            "days_erased": [DAYS[0]],
            "keys_destroyed": 1,
            "days_on_hold": [DAYS[1], DAYS[2]],
        }
        assert house.readable() == list(DAYS[1:])
        assert await house.ask("release", str(entry), "--reason", "settled", "--json") == 0
        assert answer(capsys)["event"] == "released"
        assert await house.ask("erase", "--day", DAYS[1], "--reason", "x") == 0
    assert house.readable() == [DAYS[2], DAYS[3]]


async def test_holds_are_listed_by_the_evidence_alone(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house.gateway():
        for reason in ("case 17", "case 18"):
            assert (
                await house.ask("hold", "--from", DAYS[0], "--to", "2027-12-31", "--reason", reason, "--json")
                == 0
            )
        first = json.loads(capsys.readouterr().out.splitlines()[0])["entry"]
        assert await house.ask("release", str(first), "--reason", "settled") == 0
        capsys.readouterr()
    # There is no ledger, and no gateway runs.
    assert house.run("holds", "--json") == 0
    (row,) = answer(capsys)["holds"]
    assert (row["entry"], row["from"], row["to"], row["reason"]) == (
        first + 1,
        DAYS[0],
        "2027-12-31",
        "case 18",
    )
    assert house.run("holds") == 0
    assert "case 18" in capsys.readouterr().out


async def test_a_hold_that_comes_before_the_erasure_is_recorded_wins(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = commands._record_erasure

    def held_meanwhile(*arguments: Any) -> None:
        assert house.run("hold", "--from", DAYS[0], "--to", DAYS[0], "--reason", "case 17") == 0
        recorded(*arguments)

    monkeypatch.setattr(commands, "_record_erasure", held_meanwhile)
    async with house.gateway():
        assert await house.ask("erase", "--day", DAYS[0], "--reason", "x") == 1
    assert "holds 2026-02-27 to 2026-02-27 (case 17)" in capsys.readouterr().err
    assert house.readable() == list(DAYS)
    assert house.actions() == [("wang", "erase", f"{DAYS[0]}: x")]  # it was asked for, and not done


async def test_what_is_no_hold_is_not_released(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    async with house.gateway():
        assert await house.ask("release", "1", "--reason", "x") == 1
        assert refusal(capsys) == (
            "record 1 is no entry of a register: `jingxin evidence holds` shows those that there are"
        )


def test_a_hold_ends_on_no_day_before_it_begins() -> None:
    facts = {"from": "2026-03-02", "to": "2026-03-01", "reason": "x"}
    with pytest.raises(WrongEntry, match="to: allowed is a day from 2026-03-02 on"):
        filled("hold", "opened", facts)


def test_a_hold_without_days_is_of_all_days(tmp_path: Path) -> None:
    noted = records.Noted(NOW_US, "hold", 0, "opened", NOW_US, "wang", [], b"", b"")
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(encode(noted))
    survey = Survey(tmp_path)
    survey.read()
    hold = survey.holding("1999-01-01", "1999-01-01")
    assert hold is not None
    assert hold.entry == 1


def test_a_torn_hold_was_answered_to_nobody(tmp_path: Path) -> None:
    """What a survey reads is what is durable: no hold that was answered is missing, whatever comes after."""
    noted = records.Noted(NOW_US, "hold", 0, "opened", NOW_US, "wang", [], b"", b"")
    survey = Survey(tmp_path)
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(encode(records.Stopped(NOW_US, "")))
        driver.log.append(encode(noted))
        survey.read()
        assert survey.holds == []
        driver.log.commit(None)
        driver.step()
        survey.read()
        assert [hold.entry for hold in survey.holds] == [2]
