"""The end of a turn, and the disk: what was recorded is committed, and what depends on it happens after that.

Paths of messages never act on a record themselves.  They append it to the evidence log and hand its effects
(a response, a report) to the open batch here.  At the end of a turn the batch goes to the writer; when it is
durable, :meth:`Commitment.release` carries out its effects and commits what has gathered meanwhile.  While a
batch is at the disk the next one gathers, so batches clock themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from gateway.account import Account
from gateway.connection import Connection
from gateway.dispatch import Departures, Dispatch
from gateway.downstream import Link
from gateway.histogram import BOUNDS_RECORDS, Histogram
from gateway.message import Part
from gateway.open_parts import OpenParts
from gateway.outbox import Report
from gateway.turns import Turns
from protocol.smpp.codes import CommandStatus
from storage import records
from storage.log import EvidenceLog
from storage.records import encode

_ROK: Final = int(CommandStatus.ESME_ROK)

# Records that may wait for the disk before applications are no longer read: some forty batches, a tenth of a
# second at full load.
PENDING_MAX: Final = 8_000

# The shortest sleep for a queue that waits for its rate; a timer of the loop is no finer.
WAKE_MIN_S: Final = 0.001

# A part that has waited for longer than this tells the carrier what is left of its validity: times of SMPP
# count in tenths of a second, and validities in minutes.
WAITED_US: Final = 1_000_000

# Carriers that are behind keep applications unread no longer than this at a stretch.  At saturation it takes
# milliseconds; a carrier that comes back to a long queue takes minutes, and nobody's session may die of it.
PRESSED_MAX_S: Final = 1.0


class Effects:
    """What happens once a batch is durable.

    answers: positive responses, to applications and to carriers: connection, command_id of the request, its
    sequence number, the body, and when the request was served.
    """

    __slots__ = ("answers", "departures", "reports")

    def __init__(self) -> None:
        self.answers: list[tuple[Connection, int, int, bytes, float]] = []
        self.departures: Departures = []
        self.reports: list[tuple[Account, Report]] = []


class Detours(Protocol):
    """Where parts go that do not leave as they were to: gateway/detours.py."""

    def withdraw(self, link: Link, parts: list[Part]) -> None:
        """The link went down between intent and effect."""

    def refresh(self, part: Part) -> None:
        """It has waited, and a validity of it counts."""


class Commitment:
    """The open batch, the one at the disk, and the effects of both.

    low_water: the oldest record that a restart needs, kept up by gateway/upkeep.py.
    """

    expire: Callable[[Part], None]  # what becomes of a part whose validity ends while it is queued
    detours: Detours

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turns: Turns,
        log: EvidenceLog,
        open_parts: OpenParts,
        dispatch: Dispatch,
    ) -> None:
        self.low_water = 1
        self.submit_to_response = Histogram()
        self.commit_to_release = Histogram()
        self.sync = Histogram()
        self.batch_records = Histogram(BOUNDS_RECORDS)
        self._loop = loop
        self._turns = turns
        self._log = log
        self._open = open_parts
        self._dispatch = dispatch
        self._effects = Effects()
        self._at_disk: Effects | None = None
        self._to_offer: set[Account] = set()
        self._committed = 0.0
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._unread_since: float | None = None

    # -- what paths hand in ---------------------------------------------------------------------------------

    def answer(self, connection: Connection, command_id: int, sequence_number: int, body: bytes) -> None:
        """Answer a request positively, once everything recorded so far is durable."""
        self._effects.answers.append((connection, command_id, sequence_number, body, self._turns.now))

    def report(self, account: Account, report: Report) -> None:
        """Put a report into the account's outbox, once its record is durable."""
        self._effects.reports.append((account, report))

    def offer(self, account: Account) -> None:
        """The account may be able to take reports: offer them at the end of the turn."""
        self._to_offer.add(account)
        self._turns.schedule()

    def oldest_unreleased(self) -> int | None:
        """The oldest record that a restart needs for a report which is in no outbox yet, since the batch that
        it stands in is not durable."""
        unreleased = (self._at_disk, self._effects)
        return min(
            (report.number for effects in unreleased if effects for _, report in effects.reports),
            default=None,
        )

    # -- the turn -------------------------------------------------------------------------------------------

    def may_read_applications(self) -> bool:
        """Whether the disk and the carriers' windows have kept up with what was accepted; a turn is granted
        all the same once applications have waited PRESSED_MAX_S for carriers."""
        if self._log.pending >= PENDING_MAX:
            return False
        now = self._turns.now
        if self._dispatch.pressed():
            if self._unread_since is None:
                self._unread_since = now
            if now - self._unread_since < PRESSED_MAX_S:
                return False
        self._unread_since = None
        return True

    def end_turn(self) -> None:
        """Send reports to applications, and commit what was recorded."""
        if self._to_offer:
            accounts, self._to_offer = self._to_offer, set()
            for account in accounts:
                self._send_reports(account)
        if not self._log.busy:
            self._commit()

    def _send_reports(self, account: Account) -> None:
        outbox = account.outbox
        ready = outbox.ready
        now = self._turns.now
        while ready:
            receiver = account.receiver_with_room()
            if receiver is None:
                return
            report = ready.popleft()
            if not report.answered:
                outbox.sent(report)
                receiver.send_report(report, now)

    def _commit(self) -> None:
        turns, log = self._turns, self._log
        departures = self._dispatch.fill(turns.now, turns.now_us, self.expire)
        if departures:
            intents = [
                (link.carrier_name, link.index, [part.number for part in parts]) for link, parts in departures
            ]
            log.append(encode(records.Dispatched(turns.now_us, intents)))
            dispatched = self._open.dispatched
            waited_us = turns.now_us - WAITED_US
            for link, parts in departures:
                for part in parts:
                    if part.expires_us and part.accepted_us < waited_us:
                        self.detours.refresh(part)
                    dispatched(part, link.index, turns.now_us)
        if not log.pending:
            self._set_wake()
            self._answer_at_once()
            return
        self._at_disk = effects = self._effects
        self._effects = Effects()
        effects.departures = departures
        self._committed = turns.now
        # The moment of commitment: when this batch is on disk, release() carries out its effects; if the
        # process dies before, none of them has happened.
        log.commit(effects)

    def _answer_at_once(self) -> None:
        """Answers to questions that needed no record: everything they speak of is durable."""
        answers, self._effects.answers = self._effects.answers, []
        for connection, command_id, sequence_number, body, _ in answers:
            connection.session.respond(command_id, sequence_number, _ROK, body)
            self._turns.write_later(connection)

    def _set_wake(self) -> None:
        """Nothing is going on, yet something may wait for its rate or pause: look again when that is over."""
        wait_s = self._dispatch.next_wake_s(self._turns.now)
        if wait_s is None:
            return
        wait_s = max(wait_s, WAKE_MIN_S)
        wake_at = self._turns.now + wait_s
        if self._wake is not None:
            if self._wake_at <= wake_at:
                return
            self._wake.cancel()

        def wake() -> None:
            self._wake = None
            self._turns.schedule()

        self._wake_at = wake_at
        self._wake = self._loop.call_later(wait_s, wake)

    # -- the disk -------------------------------------------------------------------------------------------

    def release(self, batch: object) -> None:
        """The batch is durable: answer, send, report; then commit what has gathered meanwhile."""
        assert isinstance(batch, Effects)
        self._at_disk = None
        turns = self._turns
        now = turns.begin()
        self.commit_to_release.observe(now - self._committed)
        self.sync.observe(self._log.sync_s)
        self.batch_records.observe(self._log.batch_records)
        write_later = turns.write_later
        observe = self.submit_to_response.observe
        for connection, command_id, sequence_number, body, began in batch.answers:
            connection.session.respond(command_id, sequence_number, _ROK, body)
            if not connection.dirty:
                write_later(connection)
            if not connection.carrier:
                observe(now - began)
        for link, parts in batch.departures:
            if not link.transmit(parts, now):
                self.detours.withdraw(link, parts)
        for account, report in batch.reports:
            account.outbox.put(report)
            self._to_offer.add(account)
        turns.end()
        turns.schedule()
