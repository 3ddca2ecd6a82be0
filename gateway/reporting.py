"""The last part of the way back: from an account's outbox to the application's answer, and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.account import Account
from gateway.commitment import Commitment
from gateway.histogram import Histogram
from gateway.outbox import Report
from gateway.turns import Turns
from protocol.smpp.codes import CommandStatus
from storage import records
from storage.log import EvidenceLog
from storage.records import encode

if TYPE_CHECKING:
    from gateway.upstream import Application

# An application that answers a report with one of these wants it again later.
_LATER: Final = frozenset(
    int(status)
    for status in (
        CommandStatus.ESME_RTHROTTLED,
        CommandStatus.ESME_RMSGQFUL,
        CommandStatus.ESME_RSYSERR,
        CommandStatus.ESME_RX_T_APPN,
    )
)

# A `reported` record with this session says that nobody answered, and that we have stopped to try.
NO_SESSION: Final = 0
_DELIVERY_FAILURE: Final = int(CommandStatus.ESME_RDELIVERYFAILURE)
_HOUR_US: Final = 3_600_000_000


class Reporting:
    """Hears what applications make of their reports."""

    def __init__(self, turns: Turns, log: EvidenceLog, commitment: Commitment) -> None:
        self.receipt_to_report = Histogram()
        self._turns = turns
        self._log = log
        self._commitment = commitment

    def receiving(self, account: Account) -> None:
        """A session of the account can take reports now."""
        self._commitment.offer(account)

    def reported(self, application: Application, report: Report, command_status: int) -> None:
        """An application answered a report."""
        account = application.account
        self._commitment.offer(account)
        account.reported.count(command_status)
        if command_status in _LATER:
            account.outbox.delay(report, self._turns.now)
            return
        if account.outbox.answered(report):
            now_us = self._turns.now_us
            self.receipt_to_report.observe((now_us - report.recorded_us) * 1e-6)
            self._log.append(
                encode(
                    records.Reported(report.index, now_us, account.name, application.number, command_status)
                )
            )

    def give_up_stale_reports(self, account: Account) -> None:
        """Stop keeping reports for an application that has been away for longer than its retention."""
        stale_us = self._turns.now_us - account.config.report_retention_h * _HOUR_US
        ready = account.outbox.ready
        while ready and ready[0].recorded_us < stale_us:
            report = ready.popleft()
            if not report.answered:
                self.give_up_report(account, report.index)

    def give_up_report(self, account: Account, index: int) -> None:
        """Stop keeping a report: nobody takes it, or none can be made of its record."""
        now_us = self._turns.now_us
        self._log.append(encode(records.Reported(index, now_us, account.name, NO_SESSION, _DELIVERY_FAILURE)))

    def report_timed_out(self, application: Application, report: Report) -> None:
        """An application did not answer a report in time: it is offered again later."""
        application.account.outbox.delay(report, self._turns.now)
        self._commitment.offer(application.account)

    def unreported(self, application: Application, reports: list[Report]) -> None:
        """A session ended with reports in flight: another session, or the next one, gets them."""
        application.account.outbox.give_back(reports)
        self._commitment.offer(application.account)
