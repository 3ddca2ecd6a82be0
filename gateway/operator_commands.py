"""What the control socket answers: a running gateway seen and steered by its operators."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog

from gateway import __version__
from gateway.account import Account
from gateway.admission import Admission
from gateway.carrier import Carrier
from gateway.control import CommandError, Handler
from gateway.dispatch import Dispatch
from gateway.logs import mask_numbers
from gateway.message import UNCERTAIN, MessageIds, Part
from gateway.number_plan import mask
from gateway.open_parts import OpenParts
from gateway.pipeline import Pipeline
from gateway.turns import Turns
from protocol.smpp.times import SHANGHAI
from storage.log import EvidenceLog

logger = structlog.get_logger()


class _List(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 100


class _Steering(msgspec.Struct, forbid_unknown_fields=True):
    who: str = ""


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[str]
    reason: str
    who: str = ""


class OperatorCommands:
    """Handlers by command name."""

    def __init__(
        self,
        name: str,
        turns: Turns,
        log: EvidenceLog,
        accounts: Mapping[str, Account],
        dispatch: Dispatch,
        open_parts: OpenParts,
        admission: Admission,
        pipeline: Pipeline,
        message_ids: MessageIds,
    ) -> None:
        self._name = name
        self._turns = turns
        self._log = log
        self._accounts = accounts
        self._dispatch = dispatch
        self._open = open_parts
        self._admission = admission
        self._pipeline = pipeline
        self._message_ids = message_ids
        self._started = turns.now
        self.handlers: dict[str, Handler] = {
            "status": self._status,
            "drain": self._drain,
            "resume": self._resume,
            "uncertain_list": self._uncertain_list,
            "uncertain_resend": self._uncertain_resend,
            "uncertain_close": self._uncertain_close,
        }

    # -- see ------------------------------------------------------------------------------------------------

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "gateway": self._name,
            "version": __version__,
            "up_s": round(self._turns.now - self._started),
            "draining": self._admission.draining,
            "evidence_has_room": self._log.has_room,
            "evidence_records": self._log.durable_index,
            "open_parts": len(self._open.open),
            "uncertain_parts": sum(carrier.correlation.uncertain for carrier in self._carriers()),
            "unrouted_replies": self._pipeline.unrouted_replies,
            "accounts": {account.name: _account_row(account) for account in self._accounts.values()},
            "carriers": {carrier.name: _carrier_row(carrier) for carrier in self._carriers()},
            "links": [
                {
                    "link": link.name,
                    "state": link.state,
                    "in_flight": len(link.in_flight()),
                    "detail": link.detail,
                }
                for carrier in self._carriers()
                for link in carrier.links
            ],
        }

    def _carriers(self) -> list[Carrier]:
        return list(self._dispatch.carriers.values())

    # -- steer ----------------------------------------------------------------------------------------------

    def _drain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        who = _convert(arguments, _Steering).who
        self._admission.draining = True
        self._pipeline.operator_action(who, "drain", "", [])
        return {"draining": True, "open_parts": len(self._open.open)}

    def _resume(self, arguments: dict[str, Any]) -> dict[str, Any]:
        who = _convert(arguments, _Steering).who
        self._admission.draining = False
        self._pipeline.operator_action(who, "resume", "", [])
        return {"draining": False}

    # -- uncertain parts ------------------------------------------------------------------------------------

    def _uncertain_list(self, arguments: dict[str, Any]) -> dict[str, Any]:
        limit = _convert(arguments, _List).limit
        parts = sorted(
            (part for carrier in self._carriers() for part in carrier.correlation.uncertain_parts()),
            key=lambda part: part.number,
        )
        return {"total": len(parts), "parts": [self._part_row(part) for part in parts[:limit]]}

    def _part_row(self, part: Part) -> dict[str, Any]:
        return {
            "id": self._message_ids.text(part.number).decode(),
            "account": part.account.name,
            "carrier": part.carrier.name,
            "link": part.link,
            "destination": mask(part.destination),
            "accepted": _time(part.accepted_us),
            "dispatched": _time(part.dispatched_us),
            "attempts": part.attempts,
        }

    def _uncertain_resend(self, arguments: dict[str, Any]) -> dict[str, Any]:
        decision = _convert(arguments, _Decision)
        parts = self._decided(decision)
        self._pipeline.resend(parts, decision.who, decision.reason)
        return {"resent": len(parts)}

    def _uncertain_close(self, arguments: dict[str, Any]) -> dict[str, Any]:
        decision = _convert(arguments, _Decision)
        parts = self._decided(decision)
        self._pipeline.close(parts, decision.who, decision.reason)
        return {"closed": len(parts)}

    def _decided(self, decision: _Decision) -> list[Part]:
        """The parts a decision names, each once; all of them must be uncertain, or nothing is done."""
        if not decision.reason.strip():
            raise CommandError("a reason is needed: it stands in the evidence")
        decision.reason = mask_numbers(decision.reason)  # facts never hold a full number
        parts: dict[int, Part] = {}
        for text in decision.parts:
            number = self._message_ids.number(text.encode())
            part = None if number is None else self._open.get(number)
            if part is None:
                raise CommandError(f"no part {text} is open here: `uncertain list` shows those that are")
            if part.state != UNCERTAIN:
                raise CommandError(f"part {text} is not uncertain any more: nothing was done")
            parts[part.number] = part
        return list(parts.values())


def _time(time_us: int) -> str:
    """As `evidence show` writes it: Asia/Shanghai, milliseconds."""
    return datetime.fromtimestamp(time_us / 1e6, SHANGHAI).isoformat(timespec="milliseconds")


def _account_row(account: Account) -> dict[str, Any]:
    return {
        "sessions": len(account.sessions),
        "accepted": account.accepted,
        "refused": sum(account.refused.values()),
        "reported": account.reported[0],
        "outbox": len(account.outbox),
    }


def _carrier_row(carrier: Carrier) -> dict[str, Any]:
    return {
        "network": carrier.network,
        "bound": sum(link.state == "bound" for link in carrier.links),
        "queue": len(carrier.queue),
        "answered": carrier.answered,
        "answered_per_s": round(carrier.answered_per_s, 1),
        "refused": sum(carrier.refused.values()),
        "receipts": sum(carrier.receipts.values()),
        "waiting_receipts": carrier.correlation.waiting,
    }


def _convert(arguments: dict[str, Any], into: type[Any]) -> Any:
    try:
        return msgspec.convert(arguments, into)
    except msgspec.ValidationError as error:
        raise CommandError(str(error)) from error
