"""What happens beside the messages: to links, to sessions, and by the hands of operators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from gateway.denials import Denials
from gateway.turns import Turns
from storage import records
from storage.log import EvidenceLog
from storage.records import encode
from storage.seal import Sealer

if TYPE_CHECKING:
    from gateway.config import AccountConfig, CarrierConfig
    from gateway.downstream import Link
    from gateway.upstream import Application

logger = structlog.get_logger()


class Journal:
    """Records it and says it."""

    def __init__(self, turns: Turns, log: EvidenceLog, sealer: Sealer) -> None:
        self.denials = Denials(log, sealer, turns.now)
        self._turns = turns
        self._log = log

    def operator_action(self, who: str, action: str, reason: str, numbers: list[int]) -> None:
        """Record what a person did by command, and say it."""
        logger.info("operator", who=who, action=action, reason=reason, parts=len(numbers))
        self._log.append(encode(records.OperatorAction(self._turns.now_us, who, action, reason, numbers)))
        self._turns.schedule()

    def configured(self, accounts: Iterable[AccountConfig], carriers: Iterable[CarrierConfig]) -> None:
        """Record what the accounts are for and whom the carrier accounts serve."""
        categories: list[tuple[str, str]] = [(account.system_id, account.category) for account in accounts]
        networks: list[tuple[str, str]] = [(carrier.name, carrier.network) for carrier in carriers]
        self._log.append(encode(records.Configured(self._turns.now_us, categories, networks)))
        self._turns.schedule()

    def link_event(self, link: Link, event: str, detail: str) -> None:
        """Record what happened to a carrier link, and say it."""
        say = logger.info if event == "bound" else logger.warning
        say("link", link=link.name, state=event, detail=detail)
        now_us = self._turns.now_us
        self._log.append(encode(records.LinkEvent(now_us, link.carrier_name, link.index, event, detail)))
        self._turns.schedule()

    def session_event(self, application: Application, event: str, detail: str) -> None:
        """Record what happened to an application's session, and say it.

        Refusals share the bound of denials: whoever tries passwords in a loop must not fill the disk.
        """
        if event == "refused" and not self.denials.may_record(self._turns.now):
            return
        say = logger.warning if event == "refused" else logger.info
        say(
            "session",
            account=application.name,
            session=application.number,
            peer=application.connection.peer_name,
            state=event,
            detail=detail,
        )
        self._log.append(
            encode(
                records.SessionEvent(
                    self._turns.now_us,
                    application.name,
                    application.number,
                    application.connection.peer_name,
                    event,
                    detail,
                )
            )
        )
        self._turns.schedule()
