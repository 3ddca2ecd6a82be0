"""What an account has still to hear: receipts and replies, in order, until it has answered each.

The outbox is durable because the evidence is: whatever was recorded and has no `reported` record belongs in
it.  In memory it keeps the next reports ready to send; of those behind them it keeps only the index of their
record, and they are read back from the evidence when their turn comes.  A restart puts everything among the
latter, so there is one way to rebuild a report (gateway/reports.py).  Alarms go before everything else.
"""

from __future__ import annotations

from array import array
from collections import deque
from heapq import heappop, heappush
from itertools import count

import msgspec

# Reports known only by index, for one account: 8 bytes each.  Beyond it the account's own submits are
# refused, since each of them would bring one more.
BEHIND_MAX = 5_000_000

# Waits before a report that the application refused for the moment is offered again.
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
_RETRY_DOUBLINGS = 6  # 64 s, which is beyond the maximum


class Report(msgspec.Struct, gc=False, eq=False):
    """One deliver_sm for an application.

    index: of the record it reports.  number: the oldest record needed to rebuild it.  body: the deliver_sm
    body; octets from `tlvs_at` on are TLVs, which a peer older than SMPP 3.4 does not get.  alarm: it is a
    subscriber's text to the police.
    """

    index: int
    number: int
    body: bytes
    tlvs_at: int
    recorded_us: int
    alarm: bool = False
    attempts: int = 0
    answered: bool = False


class Outbox:
    """The reports of one account."""

    def __init__(self, account: str, ready_max: int) -> None:
        """ready_max: reports kept ready to send, some 400 bytes each."""
        self.account = account
        self._ready_max = ready_max
        self.ready: deque[Report] = deque()
        self.in_flight: dict[int, Report] = {}
        self.refilling = False
        self._behind: array[int] = array("Q")  # record indexes, oldest first
        self._oldest_behind = 0  # at most the oldest record they need; it rises when none is left behind
        self._delayed: list[tuple[float, int, Report]] = []
        self._tie = count()

    def __len__(self) -> int:
        return len(self.ready) + len(self.in_flight) + len(self._behind) + len(self._delayed)

    @property
    def full(self) -> bool:
        return len(self._behind) >= BEHIND_MAX

    def put(self, report: Report) -> None:
        """A report has become durable.  It does not wait for those behind: what is read back from the
        evidence comes more slowly than receipts do at full load, and no receipt depends on another."""
        if report.alarm and len(self.ready) < 2 * self._ready_max:
            self._put_first(report)
        elif len(self.ready) >= self._ready_max:
            self.put_behind(report.index, report.number)
        else:
            self.ready.append(report)

    def _put_first(self, alarm: Report) -> None:
        """Behind the alarms that are the first already, and before everything else."""
        place = 0
        for report in self.ready:
            if not report.alarm:
                break
            place += 1
        self.ready.insert(place, alarm)

    def put_behind(self, index: int, number: int) -> None:
        """Remember a report by its record."""
        if not self._behind:
            self._oldest_behind = number
        self._behind.append(index)
        self._oldest_behind = min(self._oldest_behind, number)

    def next_behind(self, limit: int) -> list[int]:
        """The record indexes to be rebuilt next; empty while enough reports are ready."""
        if self.refilling or len(self.ready) > self._ready_max // 2:
            return []
        return self._behind[:limit].tolist()

    def refill(self, reports: list[Report], taken: int) -> None:
        """The first `taken` of those behind have been rebuilt."""
        for report in reports:
            if report.alarm:
                self._put_first(report)
            else:
                self.ready.append(report)
        del self._behind[:taken]

    def sent(self, report: Report) -> None:
        self.in_flight[report.index] = report

    def answered(self, report: Report) -> bool:
        """The application has answered; False if it had done so before."""
        self.in_flight.pop(report.index, None)
        first = not report.answered
        report.answered = True
        return first

    def give_back(self, reports: list[Report]) -> None:
        """Reports that were in flight when their session ended, oldest first."""
        for report in reversed(reports):
            self.in_flight.pop(report.index, None)
            if not report.answered:
                self.ready.appendleft(report)

    def delay(self, report: Report, now: float) -> None:
        """Offer the report again later: the application is busy."""
        self.in_flight.pop(report.index, None)
        wait_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(report.attempts, _RETRY_DOUBLINGS))
        report.attempts += 1
        heappush(self._delayed, (now + wait_s, next(self._tie), report))

    def wake(self, now: float) -> None:
        """Make the delayed reports ready whose wait is over."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, report = heappop(self._delayed)
            if not report.answered:
                self.ready.appendleft(report)

    def oldest_needed(self) -> int | None:
        """The oldest record that a restart needs to rebuild what is here."""
        waiting = [report.number for report in self.ready]
        waiting += [report.number for report in self.in_flight.values()]
        waiting += [report.number for _, _, report in self._delayed]
        if self._behind:
            waiting.append(self._oldest_behind)
        return min(waiting, default=None)
