"""A simulated carrier account: links with windows and controllers on one side, a limiter on the other.

A discrete-event simulation: a part leaves, is judged when it arrives, and its answer comes back.  The sender
always has more to send, so what a run shows is the controllers' doing.  Nothing is random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import ceil
from typing import Protocol

from gateway.congestion import Congestion
from gateway.throttle import TokenBucket

TICK_S = 0.25
# Timers of the gateway's event loop fire on whole milliseconds, never early.
TIMER_S = 0.001


class Limiter(Protocol):
    """How a carrier decides."""

    def takes(self, now: float) -> bool:
        """Whether it takes a part that arrives now."""

    def set_rate(self, rate_per_s: float, now: float) -> None:
        """Its limit changes."""


class Bucket:
    """A token bucket whose burst is a time at its rate, or a number of parts: the larger of both."""

    def __init__(self, rate_per_s: float, *, burst_s: float = 0.0, burst: float = 1.0) -> None:
        self._rate_per_s, self._burst_s, self._burst = rate_per_s, burst_s, burst
        self._level = max(burst, burst_s * rate_per_s)
        self._updated = 0.0

    def takes(self, now: float) -> bool:
        depth = max(self._burst, self._burst_s * self._rate_per_s)
        self._level = min(depth, self._level + (now - self._updated) * self._rate_per_s)
        self._updated = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True

    def set_rate(self, rate_per_s: float, now: float) -> None:
        self._rate_per_s = rate_per_s


class Windows:
    """So many parts in each second of the clock."""

    def __init__(self, rate_per_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._second = -1
        self._taken = 0

    def takes(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return self._taken <= self._rate_per_s

    def set_rate(self, rate_per_s: float, now: float) -> None:
        self._rate_per_s = rate_per_s


@dataclass
class Answers:
    """What was answered in one second."""

    taken: int = 0
    throttled: int = 0


@dataclass
class SimulatedLink:
    """One link: its controller, what is in flight, and its answers by the second."""

    congestion: Congestion
    in_flight: int = 0
    seconds: dict[int, Answers] = field(default_factory=dict)
    lost: int = 0

    def between(self, start_s: int, end_s: int) -> Answers:
        """The sum of the answers of these seconds."""
        seconds = [self.seconds.get(second, Answers()) for second in range(start_s, end_s)]
        return Answers(sum(each.taken for each in seconds), sum(each.throttled for each in seconds))


class Account:
    """A carrier account under simulation, from time 0 on.

    changes: (time, limit of the carrier).  verdict: overrides the limiter; "take", "throttle", "lose" (no
    answer ever) or "" for what the limiter says.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        contract_per_s: float = 1000.0,
        links: int = 1,
        window: int = 64,
        delay_s: float = 0.02,
        pause_s: float = 0.1,
        changes: tuple[tuple[float, float], ...] = (),
        verdict: Callable[[float], str] = lambda now: "",
        unanswered_after_s: float = 10.0,
        timer_s: float = TIMER_S,
    ) -> None:
        self.limiter = limiter
        self.links = [SimulatedLink(Congestion(contract_per_s, pause_s, 0.0)) for _ in range(links)]
        self._bucket = TokenBucket(contract_per_s, contract_per_s, 0.0)
        self._window = window
        self._delay_s = delay_s
        self._verdict = verdict
        self._unanswered_after_s = unanswered_after_s
        self._timer_s = timer_s
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._wake_at = float("inf")
        for time, rate_per_s in changes:
            self._at(time, partial(limiter.set_rate, rate_per_s))
        self._at(TICK_S, self._tick)
        self._at(0.0, self._send)

    def run(self, until: float) -> None:
        """Let it go on until this time."""
        while self._events and self._events[0][0] < until:
            now, _, happen = heappop(self._events)
            happen(now)

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heappush(self._events, (time, next(self._order), happen))

    def _tick(self, now: float) -> None:
        for link in self.links:
            link.congestion.tick(now)
        self._at(now + TICK_S, self._tick)
        self._send(now)

    def _wake(self, now: float) -> None:
        self._wake_at = float("inf")
        self._send(now)

    def _send(self, now: float) -> None:
        """What the gateway does at the end of each turn: take what may go, and set a timer for the rest."""
        waiting = {id(link): link for link in self.links if link.in_flight < self._window}
        while waiting and self._bucket.wait_s(1, now) == 0.0:
            link = min(waiting.values(), key=lambda each: each.in_flight)
            if link.congestion.limited and not link.congestion.take(1, now):
                del waiting[id(link)]
                continue
            self._bucket.take(1, now)
            link.in_flight += 1
            self._at(now + self._delay_s / 2, partial(self._judge, link, now))
            if link.in_flight >= self._window:
                del waiting[id(link)]
        waits = [
            link.congestion.wait_s(now) if link.congestion.limited else 0.0
            for link in self.links
            if link.in_flight < self._window
        ]
        if waits:
            wait_s = max(min(waits), self._bucket.wait_s(1, now))
            wake_at = now + wait_s
            if self._timer_s and wake_at != float("inf"):
                wake_at = ceil(wake_at / self._timer_s - 1e-9) * self._timer_s
            if wake_at < self._wake_at:
                self._wake_at = max(wake_at, now)
                self._at(self._wake_at, self._wake)

    def _judge(self, link: SimulatedLink, sent: float, now: float) -> None:
        verdict = self._verdict(now) or ("take" if self.limiter.takes(now) else "throttle")
        if verdict == "lose":
            link.lost += 1
            self._at(sent + self._unanswered_after_s, lambda at: self._unanswered(link, at))
        else:
            took = verdict == "take"
            self._at(now + self._delay_s / 2, lambda at: self._answered(link, took, sent, at))

    def _answered(self, link: SimulatedLink, took: bool, sent: float, now: float) -> None:
        answers = link.seconds.setdefault(int(now), Answers())
        link.in_flight -= 1
        if took:
            answers.taken += 1
            link.congestion.took(1, sent, now)
        else:
            answers.throttled += 1
            link.congestion.throttled(1, sent, now)
        self._send(now)

    def _unanswered(self, link: SimulatedLink, now: float) -> None:
        link.in_flight -= 1
        link.congestion.unanswered(now)
        self._send(now)
