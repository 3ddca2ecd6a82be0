"""When a part leaves, and by which carrier account and link.

Every accepted part passes through its carrier's queue, if only for the rest of the turn.  Just before a batch
of evidence is committed, :meth:`Dispatch.fill` takes as many parts as rate and windows allow; their
`dispatched` record goes into that batch, and they leave when it is durable.  So a part that can go at once
shares the commit of its acceptance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.carrier import Carrier
from gateway.downstream import Link
from gateway.message import QUEUED, Part

# Parts that one `dispatched` record may name: their numbers take 9 octets each, so it stays well below the
# longest record.
INTENTS_MAX = 8_192

Departures = list[tuple[Link, list[Part]]]

# While a carrier's window is what limits it, it is behind once this much of its recent throughput is queued:
# a tenth of a second keeps submit-to-receipt well under one second at saturation.
QUEUE_SOFT_S = 0.1
# Below this many parts a queue is never called long: two full windows of two links.
QUEUE_SOFT_MIN = 256
# Carriers that are behind slow applications down from this throughput on: with windows of a hundred or two,
# their answers come within a tenth of a second, so what they wait for is this process.  A slower carrier is
# slow by itself; reading less would not help it, and would hold up the applications of all others.
PRESSED_MIN_PER_S = 1_000.0


class Dispatch:
    """The carriers and what waits for them."""

    def __init__(self, carriers: Iterable[Carrier]) -> None:
        self.carriers = {carrier.name: carrier for carrier in carriers}
        self._by_network: dict[str, list[Carrier]] = {}
        for carrier in self.carriers.values():
            self._by_network.setdefault(carrier.network, []).append(carrier)

    def choose(self, network: str) -> Carrier | None:
        """The carrier account for a message to ``network``: of those that are bound, the one with the
        shortest queue; if none is bound, the first, where the message waits."""
        carriers = self._by_network.get(network)
        if carriers is None:
            return None
        if len(carriers) == 1:
            return carriers[0]
        bound = [carrier for carrier in carriers if carrier.bound]
        return min(bound or carriers[:1], key=lambda carrier: len(carrier.queue))

    def fill(self, now: float, now_us: int, expire: Callable[[Part], None]) -> Departures:
        """Take from the queues what may go now, and reserve its window slots.

        A part whose validity has ended is given to ``expire`` instead.
        """
        departures: Departures = []
        left = INTENTS_MAX
        for carrier in self.carriers.values():
            if carrier.resting:
                carrier.wake(now)
            if carrier.returned:
                carrier.take_back()
            if carrier.queue:
                carrier.drop_dead_heads()
            if carrier.queue and now >= carrier.paused_until and left:
                left = self._fill_carrier(carrier, departures, left, now, now_us, expire)
        return departures

    def _fill_carrier(
        self,
        carrier: Carrier,
        departures: Departures,
        left: int,
        now: float,
        now_us: int,
        expire: Callable[[Part], None],
    ) -> int:
        """Take at most ``left`` parts; returns how many may still be taken."""
        queue = carrier.queue
        take = carrier.bucket.take
        while queue and left:
            link = carrier.link_with_most_room()
            if link is None:
                carrier.window_bound = True
                return left
            room = min(link.room, left)
            parts: list[Part] = []
            within_rate = True
            while queue and room:
                part = queue[0]
                if part.state != QUEUED:  # cancelled while it waited, or a late response told its fate
                    queue.popleft()
                elif part.expires_us and part.expires_us <= now_us:
                    queue.popleft()
                    expire(part)
                elif take(part.units, now):
                    parts.append(queue.popleft())
                    room -= 1
                else:
                    within_rate = False
                    break
            if parts:
                left -= len(parts)
                link.reserved += len(parts)
                departures.append((link, parts))
            if not within_rate:
                break
        carrier.window_bound = False
        return left

    def next_wake_s(self, now: float) -> float | None:
        """Seconds until a queue that waits for its rate or its pause may go on; None if none does."""
        waits = [
            max(carrier.paused_until - now, carrier.bucket.wait_s(carrier.queue[0].units, now))
            for carrier in self.carriers.values()
            if carrier.queue and carrier.bound and (now < carrier.paused_until or not carrier.window_bound)
        ]
        return min(waits, default=None)

    def pressed(self) -> bool:
        """Whether the gateway itself is so far behind that applications should be read more slowly: the
        carriers that are behind are fast, and half or more of all throughput is theirs.

        One that is held by its contract rate, that answers slowly or not at all, does not count: its queue
        may grow to its limit, where its messages are refused, and nobody else's messages wait for it.
        """
        behind = total = 0.0
        for carrier in self.carriers.values():
            per_s = carrier.answered_per_s
            total += per_s
            if carrier.window_bound and len(carrier.queue) > max(QUEUE_SOFT_MIN, per_s * QUEUE_SOFT_S):
                behind += per_s
        return behind >= PRESSED_MIN_PER_S and 2 * behind >= total
