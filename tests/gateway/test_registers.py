"""The registers of a running gateway: what is entered, what is refused, and what stands in the evidence."""
# ruff: noqa: E501  (a row of a case table holds a whole error line)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway import durable_answers
from gateway.control import CommandError
from gateway.register_forms import (
    FORMS,
    TEXT_CHARACTERS_MAX,
    WrongEntry,
    day,
    filled,
)
from gateway.registers import AHEAD_MAX_US, Registers, SealedNote
from gateway.turns import Turns
from storage import records
from storage.errors import CorruptEvidence
from storage.history import History, VerifyReport
from storage.log import EvidenceLog
from storage.reader import LogReader
from storage.records import Noted
from storage.seal import Sealer
from storage.settlement.calendar import moment, moment_us
from tests.gateway.world import START_US

NOW = "2026-09-21 22:13:20"  # START_US in Shanghai
MIB = 1 << 20


class Desk:
    """A log on disk, the turns that commit to it, and the registers. clock_us: what time it is. holding:
    nothing is committed."""

    def __init__(self, directory: Path, sealer: Sealer, clock_us: Callable[[], int]) -> None:
        loop = asyncio.get_running_loop()
        self.holding = False
        self.turns = Turns(loop)
        self.turns.begin = self._begin  # type: ignore[method-assign]
        self.turns.flow = self
        self.clock_us = clock_us
        self._begin()
        self.log = EvidenceLog(
            directory,
            sealer,
            MIB,
            lambda: 1,
            lambda call: cast("None", loop.call_soon_threadsafe(call)),
            lambda effects: self.turns.schedule(),
            lambda error: pytest.fail(str(error)),
        )
        self.log.recover()
        self.handlers = Registers(self.turns, self.log, sealer).handlers

    def _begin(self) -> float:
        self.turns.now_us = self.clock_us()
        return 0.0

    def may_read_applications(self) -> bool:
        return True

    def end_turn(self) -> None:
        if self.log.pending and not self.log.busy and not self.holding:
            self.log.commit(None)

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        self._begin()
        return await cast("Awaitable[dict[str, Any]]", self.handlers[command]({"who": "wang", **arguments}))

    async def open(self, register: str = "complaint", **arguments: Any) -> dict[str, Any]:
        facts = {"complaint": {"cause": "no code came"}}.get(register, {"what": "no link is bound"})
        return await self.ask("register_open", **{"register": register, "facts": facts, **arguments})

    async def go_on(self, entry: int, event: str = "closed", **arguments: Any) -> dict[str, Any]:
        facts = {"result": "solved"} if event == "closed" else {}
        defaults = {"register": "complaint", "entry": entry, "event": event, "facts": facts}
        return await self.ask("register_event", **{**defaults, **arguments})

    def noted(self) -> list[tuple[int, Noted]]:
        """The durable lines, after a look at all records for what contradicts them."""
        with LogReader(self.log.directory) as reader:
            found = [(index, records.decode(octets)) for index, octets in reader.records(1)]
        history = History(report := VerifyReport())
        history.begin(1)
        history.add(1, [record for _, record in found])
        assert report.faults == []
        return [(index, record) for index, record in found if isinstance(record, Noted)]


@asynccontextmanager
async def opened(
    directory: Path, sealer: Sealer, clock_us: Callable[[], int] = lambda: START_US
) -> AsyncIterator[Desk]:
    desk = Desk(directory, sealer, clock_us)
    try:
        yield desk
    finally:
        desk.log.close()


@pytest.fixture
async def desk(tmp_path: Path, sealer: Sealer) -> AsyncIterator[Desk]:
    async with opened(tmp_path, sealer) as desk:
        yield desk


# -- what is entered -----------------------------------------------------------------------------------------


async def test_an_entry_is_lines_that_name_the_first(desk: Desk) -> None:
    answer = await desk.open("incident", at_us=START_US - 7_000_000, facts={"what": "down", "by": "a"})
    entry = answer["entry"]
    assert answer == {"entered": "incident", "entry": entry, "event": "opened", "at": "2026-09-21 22:13:13"}
    answer = await desk.go_on(entry, "responded", register="incident", facts={"what": "called"}, who="li")
    assert answer == {"entered": "incident", "entry": entry, "event": "responded", "at": NOW}
    assert desk.noted() == [
        (
            entry,
            Noted(START_US, "incident", 0, "opened", START_US - 7_000_000, "wang", [("what", "down"), ("by", "a")]),
        ),
        (entry + 1, Noted(START_US, "incident", entry, "responded", START_US, "li", [("what", "called")])),
    ]  # fmt: skip


async def test_a_subscriber_is_hashed_in_the_clear_and_whole_where_it_is_sealed(
    desk: Desk, sealer: Sealer
) -> None:
    typed = "+86 138-0013-8000 calls again, ring １３９００１３９０００"
    entry = (await desk.open(number="＋86 138 0013 8000", facts={"cause": typed}))["entry"]
    await desk.go_on(entry, facts={"result": "13800138000 is well"})
    await desk.open()
    await desk.open(number="13800138000")
    with_both, text_alone, neither, number_alone = desk.noted()
    assert with_both[1].facts == [("cause", "+86 138****8000 calls again, ring 139****9000")]
    assert text_alone[1].facts == [("result", "138****8000 is well")]
    known = sealer.number_hash(b"13800138000")
    assert [noted.number_hash for _, noted in desk.noted()] == [known, b"", b"", known]
    assert [
        msgspec.json.decode(sealer.unseal(index, noted.content), type=SealedNote)
        for index, noted in (with_both, text_alone, number_alone)
    ] == [
        SealedNote("13800138000", typed),
        SealedNote("", "13800138000 is well"),
        SealedNote("13800138000", ""),
    ]
    assert neither[1].content == b""
    assert b"138001" not in b"".join(path.read_bytes() for path in desk.log.directory.glob("*.log"))


async def test_what_comes_with_an_opening_is_entered_with_it(desk: Desk) -> None:
    at_us = START_US - 3_000_000
    answer = await desk.open("force majeure", at_us=at_us, then=[{"event": "began"}])
    entry = answer["entry"]
    lines = [(index, noted.entry, noted.event, noted.at_us) for index, noted in desk.noted()]
    assert lines == [(entry, 0, "opened", at_us), (entry + 1, entry, "began", at_us)]


async def test_an_answer_waits_for_the_disk(desk: Desk) -> None:
    desk.holding = True
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(desk.open(), name="open")
        for _ in range(20):
            await asyncio.sleep(0)
        assert desk.log.pending == 2  # the key of the day, and the line
        assert (asked.done(), desk.noted()) == (False, [])
        desk.holding = False
        desk.turns.schedule()
    assert [index for index, _ in desk.noted()] == [asked.result()["entry"]]


async def test_a_disk_that_takes_nothing_is_no_success(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable_answers, "DURABLE_WAIT_S", 0.0)
    desk.holding = True
    with pytest.raises(CommandError, match="the disk has not taken record 2 within 0 s, and still may"):
        await desk.open()


async def test_an_entry_is_known_after_a_restart(tmp_path: Path, sealer: Sealer) -> None:
    async with opened(tmp_path, sealer) as desk:
        entry = (await desk.open())["entry"]
    async with opened(tmp_path, sealer, lambda: START_US + 86_400_000_000 * 400) as desk:
        with pytest.raises(CommandError, match=f"there is no entry {entry + 9}"):
            await desk.go_on(entry + 9)
        await desk.go_on(entry)
        opening, closing = desk.noted()
        assert (opening[0], closing[1].entry, closing[1].event) == (entry, entry, "closed")
        assert moment(closing[1].at_us) == "2027-10-26 22:13:20"


# -- what is refused -----------------------------------------------------------------------------------------

OPENINGS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"register": "gossip"}, "no register 'gossip': there are complaint, incident, maintenance, force majeure, delay, rating, hold"),
    ({"facts": {}}, "complaint, opened: cause is missing"),
    ({"at_us": START_US + AHEAD_MAX_US + 1}, f"when it happened: allowed is a time up to now, which is {NOW}"),
    ({"at_us": moment_us("2000-01-01 00:00") - 1}, "when it happened: allowed is a time from 2000 on"),
    ({"at_us": -1}, "when it happened: allowed is a time from 2000 on"),
    ({"number": ""}, "no Chinese mobile number: 11 digits, or 13 of a thing"),
    ({"number": "10086"}, "no Chinese mobile number: 11 digits, or 13 of a thing"),
    ({"register": "incident", "number": "13800138000"}, "incident: an entry of it concerns no subscriber: leave the number out"),
    ({"then": [{"event": "closed", "facts": {}}]}, "complaint, closed: result is missing"),
    ({"then": [{"event": "opened", "facts": {"cause": "x"}}]}, "complaint: it is opened once: nothing was entered"),
    ({"then": [{"event": "closed", "facts": {"result": "x"}, "at_us": START_US - 1_000_000}]}, f"2026-09-21 22:13:19 is before it was opened, {NOW}"),
    ({"who": ""}, "Expected `str` of length >= 1 - at `$.who`"),
    ({"entry": 7}, "Object contains unknown field `entry`"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error"), OPENINGS_REFUSED)
async def test_an_opening_that_is_refused_enters_nothing(
    arguments: dict[str, Any], error: str, desk: Desk
) -> None:
    before = desk.log.next_index
    with pytest.raises((CommandError, msgspec.ValidationError)) as refusal:
        await desk.open(**arguments)
    assert (str(refusal.value), desk.log.next_index) == (error, before)


# {key}: a record that is none of a register; {entry}: a complaint that was opened a minute ago; {line}: one
# that goes on with it; {next}: the record that follows.
SEE = "`jingxin complaint list` shows those that there are"
LINES_REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("next", {}, f"there is no entry {{next}}: {SEE}"),
    ("key", {}, f"record {{key}} is no entry of a register: {SEE}"),
    ("line", {}, "record {line} is a line of entry {entry}: name that one"),
    ("entry", {"register": "incident"}, "entry {entry} is of the register 'complaint', not 'incident'"),
    ("next", {"register": "force majeure", "event": "ended", "facts": {}}, "there is no entry {next}: `jingxin force-majeure list` shows those that there are"),
    ("entry", {"event": "restored"}, "complaint: no event 'restored': there are opened, closed, withdrawn"),
    ("entry", {"event": "opened", "facts": {"cause": "x"}}, "entry {entry} is opened already: nothing was entered"),
    ("entry", {"facts": {"result": "x", "note": "y"}}, "complaint, closed: no fact 'note': allowed are result, owner, attributed"),
    ("entry", {"at_us": START_US - 60_000_001}, "2026-09-21 22:12:19 is before entry {entry} was opened, 2026-09-21 22:12:20"),
    ("entry", {"at_us": START_US + AHEAD_MAX_US + 1}, f"when it happened: allowed is a time up to now, which is {NOW}"),
    ("entry", {"number": "13800138000"}, "Object contains unknown field `number`"),
    ("zero", {}, "Expected `int` >= 1 - at `$.entry`"),
    ("huge", {}, "there is no entry {huge}: " + SEE),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "error"), LINES_REFUSED)
async def test_a_line_that_is_refused_enters_nothing(
    name: str, arguments: dict[str, Any], error: str, desk: Desk
) -> None:
    entry = (await desk.open(at_us=START_US - 60_000_000))["entry"]
    await desk.go_on(entry, facts={"result": "premature"})
    before = desk.log.next_index
    places = {"key": 1, "entry": entry, "line": entry + 1, "next": before, "zero": 0, "huge": (1 << 63) - 1}
    with pytest.raises((CommandError, msgspec.ValidationError)) as refusal:
        await desk.go_on(places[name], **arguments)
    assert (str(refusal.value), desk.log.next_index) == (error.format(**places), before)


async def test_evidence_that_cannot_be_read_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(reader: LogReader, index: int) -> bytes:
        raise CorruptEvidence(Path("7.log"), 64, "torn")

    entry = (await desk.open())["entry"]
    monkeypatch.setattr(LogReader, "find", find)
    with pytest.raises(CommandError, match=f"entry {entry} cannot be read: 7.log: at octet 64: torn"):
        await desk.go_on(entry)


@pytest.mark.parametrize("at_us", [START_US - 60_000_000, START_US + AHEAD_MAX_US])
async def test_the_times_at_the_bounds_are_taken(at_us: int, desk: Desk) -> None:
    entry = (await desk.open(at_us=START_US - 60_000_000))["entry"]
    assert (await desk.go_on(entry, at_us=at_us))["at"] == moment(at_us)


# -- facts ---------------------------------------------------------------------------------------------------

LONGEST = "长" * TEXT_CHARACTERS_MAX
PLANNED = {"what": "x", "from": "2026-11-28 01:00", "to": "2026-11-28 05:00"}
LATE = {"service": "x", "due": "2026-10-01", "amount": "120000000"}
RATED = {"year": "3", "support": "0", "satisfaction": "100"}
A_TEXT = "allowed is a text of 1 to 500 characters on one line"

FILLED: list[tuple[str, str, dict[str, str], list[tuple[str, str]], str]] = [
    ("complaint", "opened", {"attributed": "none", "cause": LONGEST}, [("cause", LONGEST), ("attributed", "none")], ""),
    ("complaint", "closed", {"result": "　好 "}, [("result", "　好 ")], ""),
    ("incident", "closed", {"result": "13800138000", "subcontractor": "x"}, [("result", "138****8000"), ("subcontractor", "x")], "13800138000\nx"),
    ("maintenance", "opened", PLANNED, [("what", "x"), ("from", "2026-11-28 01:00:00"), ("to", "2026-11-28 05:00:00")], ""),
    ("maintenance", "began", {}, [], ""),
    ("force majeure", "proof", {"document": "豫气〔2026〕7号"}, [("document", "豫气〔2026〕7号")], ""),
    ("delay", "opened", LATE, [("service", "x"), ("due", "2026-10-01"), ("amount", "120000000")], ""),
    ("rating", "opened", RATED, [("year", "3"), ("support", "0"), ("satisfaction", "100")], ""),
]  # fmt: skip


@pytest.mark.parametrize(("register", "event", "facts", "kept", "text"), FILLED)
def test_facts_that_are_kept(
    register: str, event: str, facts: dict[str, str], kept: list[tuple[str, str]], text: str
) -> None:
    assert filled(register, event, facts) == (kept, text)


WRONG: list[tuple[str, str, dict[str, str], str]] = [
    ("complaint", "opened", {"cause": LONGEST + "。"}, f"cause: {A_TEXT}"),
    ("complaint", "opened", {"cause": " 　"}, f"cause: {A_TEXT}"),
    ("complaint", "opened", {"cause": "a\nb"}, f"cause: {A_TEXT}"),
    ("complaint", "opened", {"cause": "a\u2028b"}, f"cause: {A_TEXT}"),
    ("complaint", "opened", {"cause": "\x1b[2J"}, f"cause: {A_TEXT}"),
    ("complaint", "opened", {"cause": "x", "attributed": "c"}, "attributed: allowed is one of a, b, none"),
    ("incident", "opened", {"what": "x", "by": "c"}, "by: allowed is one of alarm, a, b"),
    ("incident", "restored", {}, "what is missing"),
    ("maintenance", "opened", {**PLANNED, "from": "2026-11-28"}, 'from: allowed is a time in Shanghai such as "2026-11-26 09:30"'),
    ("maintenance", "opened", {**PLANNED, "to": PLANNED["from"]}, "to: allowed is a time after 2026-11-28 01:00:00"),
    ("maintenance", "began", {"what": "x"}, "no fact 'what': allowed are none"),
    ("delay", "opened", {**LATE, "due": "2026-02-29"}, "due: allowed is a day such as 2026-10-01"),
    ("delay", "opened", {**LATE, "amount": "0"}, "amount: allowed is a whole number of 0.0001 yuan from 1 to 100000000000000"),
    ("delay", "opened", {**LATE, "amount": "1.5"}, "amount: allowed is a whole number of 0.0001 yuan from 1 to 100000000000000"),
    ("rating", "opened", {**RATED, "year": "0"}, "year: allowed is a year of the contract from 1 to 99"),
    ("rating", "opened", {**RATED, "support": "101"}, "support: allowed is a whole number from 0 to 100"),
    ("rating", "opened", {**RATED, "support": "-1"}, "support: allowed is a whole number from 0 to 100"),
    ("rating", "opened", {**RATED, "support": "５"}, "support: allowed is a whole number from 0 to 100"),
]  # fmt: skip


@pytest.mark.parametrize(("register", "event", "facts", "error"), WRONG)
def test_facts_that_are_refused(register: str, event: str, facts: dict[str, str], error: str) -> None:
    with pytest.raises(WrongEntry) as refusal:
        filled(register, event, facts)
    assert str(refusal.value) == f"{register}, {event}: {error}"


def test_the_largest_line_fits_into_a_record() -> None:
    facts = [(fact.name, "\U0001f4f5" * TEXT_CHARACTERS_MAX) for form in FORMS.values() for fact in form]
    noted = Noted(1 << 62, "x" * 32, 1 << 62, "x" * 32, 1 << 62, "x" * 64, facts, bytes(16), bytes(4096))
    assert len(records.encode(noted)) < records.RECORD_OCTETS_MAX


def test_times_as_people_write_them() -> None:
    assert moment_us(NOW) == START_US
    assert moment(START_US + 999_999) == NOW
    assert moment_us("2026-11-26 09:30") == moment_us("2026-11-26 09:30:00")
    for text in (
        "2026-11-26",
        "2026-11-26T09:30",
        "2026-11-31 09:30",
        "2026-11-26 24:00",
        "1999-11-26 09:30",
        " ",
    ):
        with pytest.raises(ValueError, match="allowed is a time in Shanghai"):
            moment_us(text)
    assert day("2026-02-28").isoformat() == "2026-02-28"
    for text in ("20260228", "2026-02-30", "1999-01-01", ""):
        with pytest.raises(ValueError, match="allowed is a day such as"):
            day(text)
