"""One account: an application's identity, its live sessions, its rate and its outbox."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from gateway.outbox import Outbox, Report
from gateway.tally import Tally
from gateway.throttle import TokenBucket

if TYPE_CHECKING:
    from gateway.config import AccountConfig


class Receiver(Protocol):
    """A session of the account, as far as receipts and replies concern it."""

    number: int

    @property
    def can_receive(self) -> bool:
        """Whether one more report may be sent on it now."""

    def send_report(self, report: Report, now: float) -> None:
        """Send a receipt or reply."""


class Account:
    """The state of one account.  Owned by the event loop.

    Counts of sessions are derived from the live set, so a refused bind cannot leak one (field lesson 25).
    """

    def __init__(self, config: AccountConfig, outbox_ready_max: int, now: float) -> None:
        self.config = config
        self.name = config.system_id
        self.sources = tuple(prefix.encode() for prefix in config.sources)
        self.bucket = TokenBucket(config.rate_per_s, config.burst, now)
        self.sessions: list[Receiver] = []
        self.outbox = Outbox(self.name, outbox_ready_max)
        self.accepted = 0
        self.refused: Counter[int] = Counter()
        self.reported = Tally()
        self._turn = 0

    def receiver_with_room(self) -> Receiver | None:
        """A session that can take one more receipt or reply; each in its turn."""
        sessions = self.sessions
        for _ in sessions:
            self._turn = (self._turn + 1) % len(sessions)
            session = sessions[self._turn]
            if session.can_receive:
                return session
        return None
