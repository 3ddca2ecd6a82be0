"""What a running gateway says to the erasure of content: that it is not needed, and who asked for it.

The keys are destroyed by the command that asks (gateway/commands/retention.py). It does so only after the
records that say so are on disk, and after a look for legal holds up to there: so the order in the evidence
decides between a hold and an erasure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
import structlog
from msgspec import Meta

from gateway.control import CommandError, Handler
from gateway.durable_answers import Who, until_durable
from gateway.logs import mask_numbers
from gateway.recorded_actions import ONE_LINE
from gateway.register_forms import TEXT_CHARACTERS_MAX, day
from gateway.turns import Turns
from storage import records
from storage.history import ERASE
from storage.log import EvidenceLog
from storage.retention import FLOOR_MONTHS, allowed_from
from storage.settlement.calendar import day_of

logger = structlog.get_logger()

# Of one request, which has at most 64 KiB: a day takes 60 octets of it at the most.
ERASED_DAYS_MAX: Final = 500


class _Day(msgspec.Struct, forbid_unknown_fields=True):
    """All that the keys of the day have sealed is of no later day than last_day, and stands before this
    index."""

    day: str
    last_day: str
    sealed_before: Annotated[int, Meta(ge=1)]


class _Erasure(msgspec.Struct, forbid_unknown_fields=True):
    who: Who
    reason: Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX)]
    days: Annotated[list[_Day], Meta(min_length=1, max_length=ERASED_DAYS_MAX)]


class Retention:
    """Handlers by command name; owned by the event loop. low_water: index of the oldest record that a restart
    or a report that waits still needs."""

    def __init__(self, turns: Turns, log: EvidenceLog, low_water: Callable[[], int]) -> None:
        self._turns = turns
        self._log = log
        self._low_water = low_water
        self.handlers: Mapping[str, Handler] = {"erase": self._erase}

    async def _erase(self, arguments: dict[str, Any]) -> dict[str, Any]:
        asked = msgspec.convert(arguments, _Erasure)
        if not asked.reason.strip() or not ONE_LINE.fullmatch(asked.reason):
            raise CommandError("a reason is needed, on one line: it stands in the evidence")
        for each in asked.days:
            self._check(each)
        # No await from here to the last record: they are in the evidence all, in one batch.
        reason = mask_numbers(asked.reason)  # facts never hold a full number
        for each in asked.days:
            logger.info("operator", who=asked.who, action=ERASE, day=each.day, reason=reason)
            action = records.OperatorAction(self._turns.now_us, asked.who, ERASE, f"{each.day}: {reason}", [])
            last = self._log.append(records.encode(action))
        self._turns.schedule()
        await until_durable(self._log, last)
        return {"recorded": ERASE, "record": last}

    def _check(self, asked: _Day) -> None:
        """Raises CommandError where content of the day must stay."""
        try:
            allowed = allowed_from(max(day(asked.day), day(asked.last_day)))
        except ValueError as error:
            raise CommandError(f"{asked.day} to {asked.last_day}: {error}") from None
        if day_of(self._turns.now_us) < allowed:
            raise CommandError(
                f"content of {asked.day} is kept for {FLOOR_MONTHS} months by law: it may be erased from"
                f" {allowed} on"
            )
        low_water = self._low_water()
        if low_water < asked.sealed_before:
            raise CommandError(
                f"content of {asked.day} is still needed: a part is open or a report waits since record"
                f" {low_water}: see `jingxin status` and `jingxin uncertain list`, end it, and try again"
            )
