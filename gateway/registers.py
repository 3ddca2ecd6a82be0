"""The registers that the contract asks for, as a running gateway keeps them: lines in the evidence.

The gateway is the only writer of the evidence, so a person who enters a complaint or a fault asks it to, over
the control socket. Nothing of the registers is in memory: what an entry is of, and when it was opened, is
read from the record that opened it, whose index is the entry's number. So a restart changes nothing, and a
line that follows years later costs one look into the evidence. Whether the lines of an entry stand in a
sensible order is for those to see who read them: each says when it happened and when it was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final

import msgspec
import structlog
from msgspec import Meta

from gateway.control import CommandError, Handler
from gateway.durable_answers import Who, until_durable
from gateway.number_plan import normalise
from gateway.register_forms import FORMS, WITH_SUBSCRIBER, Filled, WrongEntry, filled
from gateway.turns import Turns
from storage import records
from storage.errors import EvidenceError, NoSuchRecord
from storage.log import EvidenceLog
from storage.reader import LogReader
from storage.records import Noted
from storage.seal import Sealer
from storage.settlement.calendar import day_us, moment
from storage.settlement.registers import HOLD, OPENED, REPORTED
from storage.settlement.terms import YEAR_MIN

logger = structlog.get_logger()

# A person's clock, or that of another host, may be ahead of ours by so much.
AHEAD_MAX_US: Final = 60_000_000

# No time before it is meant: it is a slip of the keyboard.
_EARLIEST_US: Final = day_us(date(YEAR_MIN, 1, 1))


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """at_us: when it happened; 0: now, of one that comes with an opening at the same time as that."""

    event: str
    facts: dict[str, str] = {}
    at_us: int = 0


class _Opening(msgspec.Struct, forbid_unknown_fields=True):
    """then: what is entered with it, all of it or nothing. number: of the subscriber, as people write it."""

    register: str
    who: Who
    facts: dict[str, str] = {}
    at_us: int = 0
    number: str | None = None
    then: Annotated[list[_Line], Meta(max_length=len(FORMS))] = []


class _Further(msgspec.Struct, forbid_unknown_fields=True):
    register: str
    entry: Annotated[int, Meta(ge=1)]
    event: str
    who: Who
    facts: dict[str, str] = {}
    at_us: int = 0


class SealedNote(msgspec.Struct, frozen=True):
    """What a line keeps sealed, as JSON. number: 11 or 13 digits, or empty. text: its texts as they were
    typed, one a line, where a number was masked in them; or empty."""

    number: str
    text: str


class Registers:
    """Handlers by command name; owned by the event loop."""

    def __init__(self, turns: Turns, log: EvidenceLog, sealer: Sealer) -> None:
        self._turns = turns
        self._log = log
        self._sealer = sealer
        self.handlers: Mapping[str, Handler] = {
            "register_open": self._open,
            "register_event": self._go_on,
        }

    async def _open(self, arguments: dict[str, Any]) -> dict[str, Any]:
        opening = msgspec.convert(arguments, _Opening)
        register, who = opening.register, opening.who
        first = _filled(register, OPENED, opening.facts)
        subscriber = _subscriber(register, opening.number)
        at_us = self._when(opening.at_us)
        lines: list[tuple[str, int, Filled]] = []
        for line in opening.then:
            if line.event == OPENED:
                raise CommandError(f"{register}: it is opened once: nothing was entered")
            then_us = self._when(line.at_us or at_us)
            _check_order(then_us, at_us, "it was opened")
            lines.append((line.event, then_us, _filled(register, line.event, line.facts)))
        # No await from here to the last line: an entry is in the evidence whole, in one batch.
        entry = last = self._append(register, 0, OPENED, at_us, who, first, subscriber)
        for event, then_us, further in lines:
            last = self._append(register, entry, event, then_us, who, further)
        await until_durable(self._log, last)
        return {"entered": register, "entry": entry, "event": OPENED, "at": moment(at_us)}

    async def _go_on(self, arguments: dict[str, Any]) -> dict[str, Any]:
        further = msgspec.convert(arguments, _Further)
        register, entry, event = further.register, further.entry, further.event
        line = _filled(register, event, further.facts)
        if event == OPENED:
            raise CommandError(f"entry {entry} is opened already: nothing was entered")
        # A look into a segment that nobody has read lately takes as long as its frame headers.
        opened_us = await asyncio.to_thread(self._opened_us, register, entry)
        at_us = self._when(further.at_us)
        if event != REPORTED:  # A may have said it before the alarm rang, and the earlier of both counts
            _check_order(at_us, opened_us, f"entry {entry} was opened")
        last = self._append(register, entry, event, at_us, further.who, line)
        await until_durable(self._log, last)
        return {"entered": register, "entry": entry, "event": event, "at": moment(at_us)}

    def _opened_us(self, register: str, entry: int) -> int:
        """When the entry was opened. Runs in a thread; raises CommandError where there is no such entry."""
        listed = "evidence holds" if register == HOLD else f"{register.replace(' ', '-')} list"
        see = f"`jingxin {listed}` shows those that there are"
        try:
            with LogReader(self._log.directory) as reader:
                record = records.decode(reader.find(entry))
        except NoSuchRecord:
            raise CommandError(f"there is no entry {entry}: {see}") from None
        except EvidenceError as error:
            raise CommandError(f"entry {entry} cannot be read: {error}") from error
        if not isinstance(record, Noted):
            raise CommandError(f"record {entry} is no entry of a register: {see}")
        if record.entry:
            raise CommandError(f"record {entry} is a line of entry {record.entry}: name that one")
        if record.register != register:
            raise CommandError(f"entry {entry} is of the register {record.register!r}, not {register!r}")
        return record.at_us

    def _when(self, at_us: int) -> int:
        """at_us, or for 0 now, in whole seconds: what an answer shows of it can be given back to us. Raises
        CommandError."""
        now_us = self._turns.now_us
        if not at_us:
            return now_us - now_us % 1_000_000
        if at_us < _EARLIEST_US:
            raise CommandError(f"when it happened: allowed is a time from {YEAR_MIN} on")
        if at_us > now_us + AHEAD_MAX_US:
            raise CommandError(f"when it happened: allowed is a time up to now, which is {moment(now_us)}")
        return at_us

    def _append(
        self,
        register: str,
        entry: int,
        event: str,
        at_us: int,
        who: str,
        line: Filled,
        subscriber: bytes = b"",
    ) -> int:
        """Put a line into the open batch, and say it; returns its index."""
        index = self._log.next_index
        content = b""
        if subscriber or line.text:
            sealed = SealedNote(subscriber.decode("ascii"), line.text)
            content = self._sealer.seal(index, msgspec.json.encode(sealed))
        noted = Noted(
            time_us=self._turns.now_us,
            register=register,
            entry=entry,
            event=event,
            at_us=at_us,
            who=who,
            facts=line.facts,
            number_hash=self._sealer.number_hash(subscriber) if subscriber else b"",
            content=content,
        )
        appended = self._log.append(records.encode(noted))
        assert appended == index, "the content is sealed for this record"
        logger.info("register", register=register, entry=entry or index, action=event, who=who)
        self._turns.schedule()
        return index


def _filled(register: str, event: str, facts: Mapping[str, str]) -> Filled:
    try:
        return filled(register, event, facts)
    except WrongEntry as error:
        raise CommandError(str(error)) from None


def _subscriber(register: str, number: str | None) -> bytes:
    """The subscriber concerned, in the one form of a number; empty for none."""
    if number is None:
        return b""
    if register not in WITH_SUBSCRIBER:
        raise CommandError(f"{register}: an entry of it concerns no subscriber: leave the number out")
    subscriber = normalise(number.encode())
    if not subscriber:
        raise CommandError("no Chinese mobile number: 11 digits, or 13 of a thing")
    return subscriber


def _check_order(at_us: int, opened_us: int, what: str) -> None:
    if at_us < opened_us:
        raise CommandError(f"{moment(at_us)} is before {what}, {moment(opened_us)}")
