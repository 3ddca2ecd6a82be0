"""What people do with the evidence outside of the gateway, entered in it before they may: searches, exports.

Such a command reads files by itself. It first asks the gateway, the only writer, to record who does it and
why, and shows nothing before that is on disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from gateway.control import CommandError, Handler
from gateway.durable_answers import Who, until_durable
from gateway.journal import Journal
from gateway.logs import mask_numbers
from storage.log import EvidenceLog

Action = Literal["search", "export", "export revealed"]

# A text of 500 characters, as in the registers, and behind it seven criteria of 64 with their names.
REASON_CHARACTERS_MAX: Final = 1200

# No text may end the line that it stands in, and every text must be one in UTF-8.
ONE_LINE: Final = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class _Recorded(msgspec.Struct, forbid_unknown_fields=True):
    who: Who
    action: Action
    reason: Annotated[str, Meta(max_length=REASON_CHARACTERS_MAX)]


class RecordedActions:
    """Handlers by command name; owned by the event loop."""

    def __init__(self, journal: Journal, log: EvidenceLog) -> None:
        self._journal = journal
        self._log = log
        self.handlers: Mapping[str, Handler] = {"record_action": self._record}

    async def _record(self, arguments: dict[str, Any]) -> dict[str, Any]:
        asked = msgspec.convert(arguments, _Recorded)
        if not asked.reason.strip() or not ONE_LINE.fullmatch(asked.reason):
            raise CommandError("a reason is needed, on one line: it stands in the evidence")
        # Facts never hold a full number.
        self._journal.operator_action(asked.who, asked.action, mask_numbers(asked.reason), [])
        index = self._log.next_index - 1
        await until_durable(self._log, index)
        return {"recorded": asked.action, "record": index}
