"""A message that was found, as a row for people: of the ledger, so without number and text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.message import MessageIds
from protocol.smpp.codes import status_name
from storage.ledger.search import Found
from storage.reader import LogReader
from storage.settlement.calendar import moment


def message_ids(evidence: Path) -> MessageIds:
    """The ids that the gateway of this evidence gives."""
    with LogReader(evidence) as reader:
        return MessageIds(reader.identity)


def row_of(found: Found, ids: MessageIds) -> dict[str, Any]:
    """Times in Asia/Shanghai. part: the id of this part, where it is not the first of its message."""
    return {
        "id": ids.text(found.message).decode(),
        "part": ids.text(found.number).decode() if found.number != found.message else None,
        "accepted": moment(found.accepted_us),
        "account": found.account,
        "carrier": found.carrier,
        "state": found.state,
        "code": code_of(found),
        "sent": moment(found.sent_us) if found.sent_us else None,
        "ended": moment(found.ended_us) if found.ended_us else None,
        "units": found.units,
    }


def code_of(found: Found) -> str | None:
    """What ended it, in the words of whoever did: stat and err of a receipt, the name of a status, or the
    gateway's reason."""
    stat, err = (each.decode("ascii", "backslashreplace") for each in (found.stat, found.err))
    if found.status:
        return status_name(found.status)
    if found.reason:
        return f"{found.reason}/{err}" if err else found.reason
    return f"{stat}/{err}" if err else stat or None
