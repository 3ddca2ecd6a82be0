"""One carrier account: its queue, rate, links and open parts.

Everything that belongs to the account rather than to one bind of it is here, since receipts come back on
any link of the account (field lesson 4) and the contract rate counts all of them together.
"""

from __future__ import annotations

from collections import Counter, deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from gateway.correlation import Correlation
from gateway.message import QUEUED
from gateway.tally import Tally
from gateway.throttle import TokenBucket
from protocol.alphabet import Alphabet

if TYPE_CHECKING:
    from gateway.config import CarrierConfig
    from gateway.downstream import Link
    from gateway.message import Part

# The longest that a busy carrier is left alone; the first pause is the carrier's throttle_pause_s, and each
# further refusal doubles it.
PAUSE_MAX_S = 30.0

# Least time between two looks through a whole queue: at its limit of 200,000 parts one takes ten
# milliseconds, and a full queue is asked for each message that it refuses.
PURGE_EVERY_S = 1.0

_ALPHABETS = {"gsm0338": Alphabet.GSM, "ascii": Alphabet.ASCII, "latin1": Alphabet.LATIN_1}


class Carrier:
    """The state of one carrier account.  Owned by the event loop."""

    def __init__(self, config: CarrierConfig, receipts_waiting_max: int, now: float) -> None:
        self.config = config
        self.name = config.name
        self.network = config.network
        self.bucket = TokenBucket(config.rate_per_s, config.burst, now)
        self.queue: deque[Part] = deque()
        self.links: list[Link] = []
        self.correlation = Correlation(receipts_waiting_max)
        self.default_alphabet = _ALPHABETS[config.default_alphabet]
        self.returned: list[Part] = []  # parts that go back to the head of the queue, in no order
        self.resting: list[tuple[float, int, Part]] = []  # a heap: they are returned when their time has come
        self.paused_until = 0.0
        self._pause_s = 0.0
        self.window_bound = False  # the window, not the rate, held the queue back when it was last looked at
        self.answered = 0
        self.answered_per_s = 0.0
        self.refused = Tally()
        self.receipts: Counter[int] = Counter()
        self._answered_before = 0
        self._measured = now
        self._purge_after = now

    @property
    def bound(self) -> bool:
        """Whether at least one link can take parts now."""
        return any(link.can_send for link in self.links)

    def pause(self, now: float) -> None:
        """The carrier is busy: leave it alone, twice as long each time until it takes something again."""
        if now >= self.paused_until:
            self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2 or self.config.throttle_pause_s)
            self.paused_until = now + self._pause_s

    def took(self) -> None:
        """The carrier took a part."""
        self.answered += 1
        self._pause_s = 0.0

    def take_back(self) -> None:
        """Put returned parts at the head of the queue, oldest first."""
        self.returned.sort(key=lambda part: part.number, reverse=True)
        self.queue.extendleft(self.returned)
        self.returned.clear()

    def rest(self, part: Part, until: float) -> None:
        """A part is to be sent again, and not before ``until``."""
        heappush(self.resting, (until, part.number, part))

    def wake(self, now: float) -> None:
        """Return the parts that have rested."""
        while self.resting and self.resting[0][0] <= now:
            self.returned.append(heappop(self.resting)[2])

    def drop_dead_heads(self) -> None:
        """Drop what was cancelled, or told its fate, while it waited at the head of the queue."""
        queue = self.queue
        while queue and queue[0].state != QUEUED:
            queue.popleft()

    def full(self, queue_max: int, now: float) -> bool:
        """Whether as many parts wait as may.  Those that ended while they waited do not count: they leave
        the queue here, at most once in PURGE_EVERY_S."""
        if len(self.queue) < queue_max:
            return False
        if now >= self._purge_after:
            self._purge_after = now + PURGE_EVERY_S
            self.queue = deque(part for part in self.queue if part.state == QUEUED)
        return len(self.queue) >= queue_max

    def in_flight(self) -> list[Part]:
        """The parts that wait for their response on any link."""
        return [part for link in self.links for part in link.in_flight()]

    def measure(self, now: float) -> None:
        """Measure the throughput since the last call."""
        elapsed_s = now - self._measured
        if elapsed_s > 0:
            self.answered_per_s = (self.answered - self._answered_before) / elapsed_s
        self._answered_before = self.answered
        self._measured = now

    def link_with_most_room(self) -> Link | None:
        """The link with the most free window slots; None if there is none at all."""
        best: Link | None = None
        most = 0
        for link in self.links:
            room = link.room
            if room > most:
                best, most = link, room
        return best
