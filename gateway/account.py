"""One account: an application's identity, its live sessions, its rate and its outbox."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from gateway.lanes import EMERGENCY, lanes_by_priority
from gateway.opt_out import ALARM, is_alarm
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
        self.name = config.system_id
        self.bucket = TokenBucket(config.rate_per_s, config.burst, now)
        self.configure(config, now)
        self.draining = False
        self.sessions: list[Receiver] = []
        self.outbox = Outbox(self.name, outbox_ready_max)
        self.accepted = 0
        self.refused: Counter[int] = Counter()
        self.reported = Tally()
        self._turn = 0

    def configure(self, config: AccountConfig, now: float) -> None:
        """Go on with another configuration of the same account."""
        self.config = config
        self.sources = tuple(prefix.encode() for prefix in config.sources)
        self.honours_opt_outs = config.category == "convenience"
        self.lanes = lanes_by_priority(config.lanes)
        # Messages of the police's SMS alarm are emergencies, whatever else the account sends (china: 3.4).
        self.alarms = any(is_alarm(prefix) or ALARM.startswith(prefix) for prefix in self.sources)
        self.bucket.set_rate(config.rate_per_s, config.burst, now)

    def lane(self, source: bytes, priority_flag: int) -> int:
        """The lane of a message from this source with this priority_flag."""
        if self.alarms and is_alarm(source):
            return EMERGENCY
        return self.lanes[priority_flag]

    def receiver_with_room(self) -> Receiver | None:
        """A session that can take one more receipt or reply; each in its turn."""
        sessions = self.sessions
        for _ in sessions:
            self._turn = (self._turn + 1) % len(sessions)
            session = sessions[self._turn]
            if session.can_receive:
                return session
        return None
