"""One carrier account: its queues, rate, links and open parts.

Everything that belongs to the account rather than to one bind of it is here, since receipts come back on
any link of the account (field lesson 4) and the contract rate counts all of them together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from gateway.breaker import Breaker
from gateway.correlation import Correlation
from gateway.lanes import LaneQueues, urgent_share, window_reserve
from gateway.message import QUEUED
from gateway.profile import Observed, Profile
from gateway.tally import Tally
from gateway.throttle import TokenBucket

if TYPE_CHECKING:
    from gateway.config import CarrierConfig
    from gateway.downstream import Link
    from gateway.message import Part

    Rest = tuple[float, int, Part]

# Least time between two looks through a whole queue: at its limit of 200,000 parts one takes ten
# milliseconds, and a full queue is asked for each message that it refuses.
PURGE_EVERY_S = 1.0


class Carrier:
    """The state of one carrier account.  Owned by the event loop."""

    def __init__(self, config: CarrierConfig, receipts_waiting_max: int, now: float) -> None:
        self.name = config.name
        self.bucket = TokenBucket(config.rate_per_s, config.burst, now)
        self.urgent = TokenBucket(*self._urgent_rate(config), now)  # what emergencies have beside it
        self.queues = LaneQueues()
        self.links: list[Link] = []
        self.retired: list[Link] = []  # that are being drained, since a reload took them away
        self.observed = Observed(config.name, Profile.of(config))
        self.configure(config, now)
        self.correlation = Correlation(receipts_waiting_max)
        self.returned: list[Part] = []  # parts that go back to the heads of their queues, in no order
        self.sifted = 0  # how far what waits has been looked through for another way
        # A heap of the parts that are returned when their time has come; what rests no longer stays in it
        # until it comes up, or until more than half of it is of that kind.
        self.resting: list[Rest] = []
        self._rests: dict[int, Rest] = {}  # those of it that count, by number
        # Parts to be sent again whose bodies are in the evidence alone, each with the number of its retry:
        # one that was taken since waits no more, and comes here again for a later one only.
        self.bodiless: list[tuple[Part, int]] = []
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
        self.urgent.set_rate(*self._urgent_rate(config), now)
        self.window_reserve = window_reserve(config.window)
        for link in self.links:
            link.configure(config, now)

    @staticmethod
    def _urgent_rate(config: CarrierConfig) -> tuple[float, float]:
        return urgent_share(config.rate_per_s), max(1.0, urgent_share(config.burst))

    def take_urgent(self, parts: int, now: float) -> bool:
        """Whether parts of an emergency may leave by the contract rate: where that is used up, by their own
        share of it, and those behind pay for them."""
        if self.bucket.take(parts, now):
            return True
        if not self.urgent.take(parts, now):
            return False
        self.bucket.owe(parts, now)
        return True

    def rate_wait_s(self, parts: int, now: float, *, urgent: bool) -> float:
        """Seconds until parts may leave by the contract rate."""
        wait_s = self.bucket.wait_s(parts, now)
        return min(wait_s, self.urgent.wait_s(parts, now)) if urgent else wait_s

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

    def give_back(self, part: Part) -> None:
        """A part that has been sent before, or comes from another carrier, waits among those of its age."""
        if not self.queues.come_back(part):
            self.returned.append(part)

    def rest(self, part: Part, until: float) -> None:
        """A part that waits nowhere is to be sent, and not before ``until``."""
        rest = self._rests[part.number] = (until, part.number, part)
        heappush(self.resting, rest)

    def rests_until(self, part: Part) -> float | None:
        """Until when a part rests; None if it does not."""
        rest = self._rests.get(part.number)
        return None if rest is None else rest[0]

    def end_rest(self, part: Part) -> bool:
        """A part rests no longer; whether it did."""
        if self._rests.pop(part.number, None) is None:
            return False
        if 2 * len(self._rests) < len(self.resting):
            self.resting = list(self._rests.values())
            heapify(self.resting)
        return True

    @property
    def resting_parts(self) -> int:
        return len(self._rests)

    def drop(self, part: Part) -> None:
        """A part that waits here, wherever that is, waits no more, since somebody else tells its fate or its
        application has set it another time."""
        if not self.end_rest(part) and part.body:
            self.queues.leave(part)

    def parts(self) -> Iterator[Part]:
        """What stands in a queue, then what rests; each part once."""
        yield from self.queues
        for _, _, part in self._rests.values():
            yield part

    def wake(self, now: float, now_us: int) -> None:
        """Queue the parts that have rested: one that has left before goes back to its place, and has its body
        fetched where that is not kept; one whose time was set by its application begins to wait."""
        while self.resting and self.resting[0][0] <= now:
            part = self._next_rest()
            if part is not None:
                part.queued_us = now_us
                if not part.body:
                    self.bodiless.append((part, part.postponed))
                elif part.attempts:
                    self.give_back(part)
                elif not self.queues.come_back(part):
                    self.queues.append(part)

    def _next_rest(self) -> Part | None:
        """Take the first out of the heap; None if it rests no longer."""
        rest = heappop(self.resting)
        part = rest[2]
        if self._rests.get(part.number) is not rest:
            return None
        del self._rests[part.number]
        return part

    def take_out(self, limit: int) -> list[tuple[Part, float]]:
        """Take out what waits, ``limit`` parts at most, each with the time until which it rests, 0 if it does
        not."""
        self.take_back()
        taken: list[tuple[Part, float]] = []
        for lane in self.queues.lanes:
            while lane and len(taken) < limit:
                if self.queues.waits(lane[0]):
                    taken.append((lane.popleft(), 0.0))
                else:
                    self.queues.drop_first(lane)
        while self.bodiless and len(taken) < limit:
            part, retry = self.bodiless.pop()
            if part.state == QUEUED and part.postponed == retry:
                taken.append((part, 0.0))
        while self.resting and len(taken) < limit:
            until = self.resting[0][0]
            rested = self._next_rest()
            if rested is not None:
                taken.append((rested, until))
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

    def freest_link(self, now: float, but: tuple[Link, ...] = (), *, urgent: bool) -> Link | None:
        """The link with the most free window slots that may send now, but for some; None if there is none.
        urgent: those that are kept for emergencies count too."""
        best: Link | None = None
        most = 0 if urgent else self.window_reserve
        for link in self._speaking():
            room = link.room
            if room <= most or link in but:
                continue
            if not (link.congestion.limited and link.congestion.wait_s(now, urgent=urgent) > 0):
                best, most = link, room
        return best

    def congestion_wait_s(self, now: float, *, urgent: bool) -> float:
        """Seconds until a link with free window slots may send by its controller, 0.0 if one may now; inf if
        nothing but a response can help."""
        reserve = 0 if urgent else self.window_reserve
        return min(
            (
                link.congestion.wait_s(now, urgent=urgent) if link.congestion.limited else 0.0
                for link in self._speaking()
                if link.room > reserve
            ),
            default=inf,
        )
