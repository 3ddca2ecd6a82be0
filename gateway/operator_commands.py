"""What the control socket answers: a running gateway seen and steered by its operators."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog

from gateway import __version__
from gateway.account import Account
from gateway.admission import Admission
from gateway.carrier import Carrier
from gateway.config_table import ConfigError
from gateway.control import CommandError, Handler
from gateway.dispatch import Dispatch
from gateway.downstream import Link
from gateway.ledger_progress import LedgerProgress
from gateway.logs import mask_numbers
from gateway.message import UNCERTAIN, MessageIds, Part
from gateway.number_keeper import NumberKeeper
from gateway.number_plan import mask, normalise
from gateway.open_parts import OpenParts
from gateway.pipeline import Pipeline
from gateway.recorded_actions import RecordedActions
from gateway.reload import Reload
from gateway.turns import Turns
from gateway.upstream import Listener
from protocol.smpp.times import SHANGHAI
from storage.log import EvidenceLog

logger = structlog.get_logger()


class _List(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 100


class _Steering(msgspec.Struct, forbid_unknown_fields=True):
    target: str = "all"
    who: str = ""
    reason: str = ""


class _Reloading(msgspec.Struct, forbid_unknown_fields=True):
    path: str = ""  # of the file that is meant; empty: whichever the gateway runs from
    who: str = ""


class _Number(msgspec.Struct, forbid_unknown_fields=True):
    number: str


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[str]
    reason: str
    who: str = ""


class OperatorCommands:
    """Handlers by command name.

    known_carriers: with those that have left the configuration and still have open business.
    """

    def __init__(
        self,
        name: str,
        turns: Turns,
        log: EvidenceLog,
        accounts: Mapping[str, Account],
        dispatch: Dispatch,
        known_carriers: Mapping[str, Carrier],
        open_parts: OpenParts,
        admission: Admission,
        pipeline: Pipeline,
        message_ids: MessageIds,
        listener: Listener,
        reload: Reload,
        keeper: NumberKeeper,
        ledger: LedgerProgress,
    ) -> None:
        self._name = name
        self._listener = listener
        self._reload = reload
        self._keeper = keeper
        self._ledger = ledger
        self._turns = turns
        self._log = log
        self._accounts = accounts
        self._dispatch = dispatch
        self._known_carriers = known_carriers
        self._open = open_parts
        self._admission = admission
        self._pipeline = pipeline
        self._message_ids = message_ids
        self._started = turns.now
        self.handlers: dict[str, Handler] = {
            "status": self._status,
            "drain": self._drain,
            "resume": self._resume,
            "reload": self._reload_file,
            "numbers_reload": self._numbers_reload,
            "route_explain": self._route_explain,
            "uncertain_list": self._uncertain_list,
            "uncertain_resend": self._uncertain_resend,
            "uncertain_close": self._uncertain_close,
            **RecordedActions(pipeline.journal, log).handlers,
        }

    # -- see ------------------------------------------------------------------------------------------------

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        # In a thread: they are files, and one of them a database that another process writes to.
        signed, tabled, alarms = await asyncio.to_thread(
            lambda: (self._ledger.signed(), self._ledger.tabled(), self._ledger.alarms())
        )
        return {
            "gateway": self._name,
            "version": __version__,
            "up_s": round(self._turns.now - self._started),
            "draining": self._admission.draining,
            "evidence_has_room": self._log.has_room,
            "evidence_records": self._log.durable_index,
            "signed_records": signed,
            "ledger_records": tabled,
            "alarms": [alarm.detail for alarm in alarms],
            "open_parts": len(self._open.open),
            "uncertain_parts": sum(
                carrier.correlation.uncertain for carrier in self._known_carriers.values()
            ),
            "unrouted_replies": self._pipeline.replies.unrouted,
            "ported_left_out": self._pipeline.directory.portability.left_out,
            "opt_outs_closed": sorted(self._pipeline.directory.opt_outs.closed),
            "accounts": {account.name: _account_row(account) for account in self._accounts.values()},
            "carriers": {
                carrier.name: _carrier_row(carrier, self._turns.now) for carrier in self._carriers()
            },
            "differs": [
                {"carrier": carrier.name, "differs": sentence}
                for carrier in self._carriers()
                for sentence in carrier.observed.sentences()
            ],
            "links": [
                {
                    "link": link.name,
                    "state": link.state,
                    "rate": link.congestion.state,
                    "rate_per_s": round(link.congestion.rate_per_s, 1),
                    "in_flight": len(link.in_flight()),
                    "detail": link.detail,
                }
                for carrier in self._carriers()
                for link in carrier.links
            ],
        }

    def _carriers(self) -> list[Carrier]:
        return list(self._dispatch.carriers.values())

    def _route_explain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Which way a message to a number would go now, and why."""
        number = normalise(_convert(arguments, _Number).number.encode())
        if not number:
            raise CommandError("no Chinese mobile number: 11 digits, or 13 of a thing")
        turns, directory = self._turns, self._pipeline.directory
        number_hash = directory.number_hash(number)
        explained = directory.explain(number, number_hash, turns.now_us)
        network = directory.network(number, number_hash, turns.now_us)
        routes = self._admission.routes
        chosen = None if network is None else routes.choose(network, turns.now, peek=True)
        return {
            "number": mask(number),
            **explained,
            "network": network or "none: numbers of machines are refused",
            "carrier": "none" if chosen is None else chosen.name,
            "because": routes.why(network, chosen, turns.now) if network else "machines are refused",
            "opted_out_of": [
                name
                for name, account in self._accounts.items()
                if account.honours_opt_outs and directory.opt_outs.is_out(number_hash, name)
            ],
            "ways": [
                {
                    "carrier": way.carrier.name,
                    "weight": way.weight,
                    "in_service": way.carrier.in_service(turns.now),
                    "queue": len(way.carrier.queues),
                }
                for way in (routes.ways_to(network) if network else ())
            ],
        }

    # -- steer ----------------------------------------------------------------------------------------------

    async def _drain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        steering = _convert(arguments, _Steering)
        target = self._target(steering.target)
        self._pipeline.journal.operator_action(steering.who, "drain", steering.target, [])
        match target:
            case Account():
                self._listener.dismiss(target)
                while self._listener.is_leaving(target):  # noqa: ASYNC110 - ticks see it off
                    await asyncio.sleep(0.05)
            case list():
                await asyncio.gather(*(link.drain("drained") for link in target))
            case None:
                self._admission.draining = True
        return {
            "drained": steering.target,
            "draining": self._admission.draining,
            "open_parts": len(self._open.open),
        }

    def _resume(self, arguments: dict[str, Any]) -> dict[str, Any]:
        steering = _convert(arguments, _Steering)
        target = self._target(steering.target)
        match target:
            case Account():
                target.draining = False
            case list():
                for link in target:
                    link.resume()
            case None:
                self._admission.draining = False
        self._pipeline.journal.operator_action(steering.who, "resume", steering.target, [])
        return {"resumed": steering.target, "draining": self._admission.draining}

    def _target(self, name: str) -> Account | list[Link] | None:
        """What a drain or resume names: an account, the links of a carrier, one link; None for all."""
        if name == "all":
            return None
        links = {link.name: [link] for carrier in self._carriers() for link in carrier.links}
        links.update({carrier.name: carrier.links for carrier in self._carriers()})
        found = [each for each in (links.get(name), self._accounts.get(name)) if each is not None]
        if name.startswith("account:"):
            found = [each for each in (self._accounts.get(name.removeprefix("account:")),) if each]
        if name.startswith("carrier:"):
            found = [each for each in (links.get(name.removeprefix("carrier:")),) if each]
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandError(f"{name} is an account and a carrier: say account:{name} or carrier:{name}")
        raise CommandError(
            f"nothing is called {name!r}: there are all, {', '.join((*self._accounts, *links))}"
        )

    async def _reload_file(self, arguments: dict[str, Any]) -> dict[str, Any]:
        reloading = _convert(arguments, _Reloading)
        if not self._reload.reads(reloading.path):
            raise CommandError(
                f"this gateway runs from {self._reload.path}, not from {reloading.path}: nothing was changed"
            )
        try:
            return dict(await self._reload.reload(reloading.who))
        except ConfigError as error:
            raise CommandError(str(error)) from error

    def _numbers_reload(self, arguments: dict[str, Any]) -> dict[str, Any]:
        steering = _convert(arguments, _Steering)
        self._keeper.reload(self._turns.now_us)
        self._pipeline.journal.operator_action(steering.who, "numbers", mask_numbers(steering.reason), [])
        return {"reading": True}

    # -- uncertain parts ------------------------------------------------------------------------------------

    def _uncertain_list(self, arguments: dict[str, Any]) -> dict[str, Any]:
        limit = _convert(arguments, _List).limit
        parts = sorted(
            (
                part
                for carrier in self._known_carriers.values()
                for part in carrier.correlation.uncertain_parts()
            ),
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
        "draining": account.draining,
        "accepted": account.accepted,
        "refused": sum(account.refused.values()),
        "reported": account.reported[0],
        "outbox": len(account.outbox),
    }


def _carrier_row(carrier: Carrier, now: float) -> dict[str, Any]:
    return {
        "network": carrier.network,
        "bound": sum(link.state == "bound" for link in carrier.links),
        "service": _service(carrier, now),
        "queue": len(carrier.queues),
        "resting": carrier.resting_parts,
        "answered": carrier.answered,
        "answered_per_s": round(carrier.answered_per_s, 1),
        "refused": sum(carrier.refused.values()),
        "receipts": sum(carrier.receipts.values()),
        "waiting_receipts": carrier.correlation.waiting,
    }


def _service(carrier: Carrier, now: float) -> str:
    if carrier.bound:
        return carrier.breaker.state(now)
    drained = carrier.links and all(link.drained for link in carrier.links)
    return "drained" if drained else "down"


def _convert(arguments: dict[str, Any], into: type[Any]) -> Any:
    try:
        return msgspec.convert(arguments, into)
    except msgspec.ValidationError as error:
        raise CommandError(str(error)) from error
