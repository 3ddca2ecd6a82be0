"""One carrier account: its queues, rate, links and open parts.

Everything that belongs to the account rather than to one bind of it is here, since receipts come back on
any link of the account (field lesson 4) and the contract rate counts all of them together.
"""

from __future__ import annotations

from collections import Counter
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from gateway.breaker import Breaker
from gateway.correlation import Correlation
from gateway.lanes import LaneQueues, rate_reserve, window_reserve
from gateway.message import QUEUED
from gateway.profile import Observed, Profile
from gateway.tally import Tally
from gateway.throttle import TokenBucket

if TYPE_CHECKING:
    from gateway.config import CarrierConfig
    from gateway.downstream import Link
    from gateway.message import Part

# Least time between two looks through a whole queue: at its limit of 200,000 parts one takes ten
# milliseconds, and a full queue is asked for each message that it refuses.
PURGE_EVERY_S = 1.0


class Carrier:
    """The state of one carrier account.  Owned by the event loop."""

    def __init__(self, config: CarrierConfig, receipts_waiting_max: int, now: float) -> None:
        self.name = config.name
        self.bucket = TokenBucket(config.rate_per_s, config.burst, now)
        self.queues = LaneQueues()
        self.links: list[Link] = []
        self.retired: list[Link] = []  # that are being drained, since a reload took them away
        self.observed = Observed(config.name, Profile.of(config))
        self.configure(config, now)
        self.correlation = Correlation(receipts_waiting_max)
        self.returned: list[Part] = []  # parts that go back to the heads of their queues, in no order
        self.sifted = 0  # how far what waits has been looked through for another way
        self.resting: list[tuple[float, int, Part]] = []  # a heap: they are returned when their time has come
        self.bodiless: list[Part] = []  # parts to be sent again whose bodies are in the evidence alone
        self.breaker = Breaker()
        self.out_since: float | None = now  # since when it has been out of service; None: it is in
        self.window_bound = False  # the window, not the rate, held the queue back when it was last looked at
        self.answered = 0
        self.answered_per_s = 0.0
        self.refused = Tally()
        self.receipts: Counter[int] = Counter()
        self._answered_before = 0
        self._measured = now
        self._purge_after = now

    def configure(self, config: CarrierConfig, now: float) -> None:
        """Go on with another configuration of the same account, also under the links that are bound."""
        self.config = config
        self.network = config.network
        self.profile = Profile.of(config)
        self.observed.configure(self.profile)
        self.default_alphabet = self.profile.alphabet
        self.bucket.set_rate(config.rate_per_s, config.burst, now)
        self.rate_reserve = rate_reserve(config.burst)  # tokens that only the first lane may take
        self.window_reserve = window_reserve(config.window)
        for link in self.links:
            link.configure(config, now)

    @property
    def bound(self) -> bool:
        """Whether at least one link can take parts now."""
        return any(link.can_send for link in self.links)

    def in_service(self, now: float) -> bool:
        """Whether messages that have another way may be sent this one."""
        return any(link.can_send and not link.silent for link in self.links) and not self.breaker.open(now)

    def took(self) -> None:
        """The carrier took a part."""
        self.answered += 1
        if self.breaker.failures:
            self.breaker.succeeded()

    def take_back(self) -> None:
        """Put returned parts back into their queues, before whatever is younger."""
        self.queues.put_back(self.returned)
        self.returned.clear()

    def rest(self, part: Part, until: float) -> None:
        """A part is to be sent again, and not before ``until``."""
        heappush(self.resting, (until, part.number, part))

    def rests_until(self, part: Part) -> float | None:
        """Until when a part rests; None if it does not."""
        return next((until for until, _, resting in self.resting if resting is part), None)

    def drop(self, part: Part) -> None:
        """A part that waits here, wherever that is, waits no more.

        It must leave when somebody else tells its fate: should it come to wait once more, it would stand here
        twice, and leave twice.
        """
        self.queues.remove(part)
        for waiting in (self.returned, self.bodiless):
            if part in waiting:
                waiting.remove(part)
        if self.rests_until(part) is not None:
            self.resting = [rest for rest in self.resting if rest[2] is not part]
            heapify(self.resting)

    def wake(self, now: float, now_us: int) -> None:
        """Queue the parts that have rested: one that has left before goes back to its place, and has its body
        fetched where that is not kept; one whose time was set by its application begins to wait."""
        while self.resting and self.resting[0][0] <= now:
            part = heappop(self.resting)[2]
            if part.state == QUEUED:
                part.queued_us = now_us
                if not part.body:
                    self.bodiless.append(part)
                elif part.attempts:
                    self.returned.append(part)
                else:
                    self.queues.append(part)

    def take_out(self, limit: int) -> list[tuple[Part, float]]:
        """Take out what waits, ``limit`` parts at most, each with the time until which it rests, 0 if it does
        not."""
        self.take_back()
        taken: list[tuple[Part, float]] = []
        for lane in self.queues.lanes:
            while lane and len(taken) < limit:
                taken.append((lane.popleft(), 0.0))
        while self.bodiless and len(taken) < limit:
            taken.append((self.bodiless.pop(), 0.0))
        while self.resting and len(taken) < limit:
            until, _, part = heappop(self.resting)
            taken.append((part, until))
        return taken

    def full(self, waiting_max: float, now: float) -> bool:
        """Whether as many parts wait as may.  Those that ended while they waited do not count: they leave
        the queue here, at most once in PURGE_EVERY_S."""
        if len(self.queues) < waiting_max:
            return False
        if now >= self._purge_after:
            self._purge_after = now + PURGE_EVERY_S
            self.queues.drop_dead()
        return len(self.queues) >= waiting_max

    def in_flight(self) -> list[Part]:
        """The parts that wait for their response on any link."""
        return [part for link in (*self.links, *self.retired) for part in link.in_flight()]

    def look(self, now: float) -> None:
        """Measure the throughput since the last call, and note whether the account is in service."""
        elapsed_s = now - self._measured
        if elapsed_s > 0:
            self.answered_per_s = (self.answered - self._answered_before) / elapsed_s
        self._answered_before = self.answered
        self._measured = now
        if self.in_service(now):
            self.out_since = None
        elif self.out_since is None:
            self.out_since = now

    def _speaking(self) -> list[Link]:
        """The links that may be sent to: not those that are silent, while there are others."""
        return [link for link in self.links if link.can_send and not link.silent] or self.links

    def freest_link(self, reserve: int, now: float, but: tuple[Link, ...] = ()) -> Link | None:
        """The link with the most free window slots beyond ``reserve`` that may send now, but for some; None
        if there is none."""
        best: Link | None = None
        most = reserve
        for link in self._speaking():
            room = link.room
            if room <= most or link in but:
                continue
            if not (link.congestion.limited and link.congestion.wait_s(now) > 0):
                best, most = link, room
        return best

    def congestion_wait_s(self, reserve: int, now: float) -> float:
        """Seconds until a link with free window slots beyond ``reserve`` may send by its controller, 0.0 if
        one may now; inf if nothing but a response can help."""
        return min(
            (
                link.congestion.wait_s(now) if link.congestion.limited else 0.0
                for link in self._speaking()
                if link.room > reserve
            ),
            default=inf,
        )
