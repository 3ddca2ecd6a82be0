"""When a part leaves, and by which link of its carrier account.

Every accepted part passes through a queue of its carrier, if only for the rest of the turn.  Just before a
batch of evidence is committed, :meth:`Dispatch.fill` takes as many parts as rate and windows allow; their
`dispatched` record goes into that batch, and they leave when it is durable.  So a part that can go at once
shares the commit of its acceptance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import inf

from gateway.carrier import Carrier
from gateway.downstream import Link
from gateway.lanes import EMERGENCY
from gateway.message import QUEUED, Group, Part

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

    def fill(self, now: float, now_us: int, expire: Callable[[Part], None]) -> Departures:
        """Take from the queues what may go now, and reserve its window slots.

        A part whose validity has ended is given to ``expire`` instead.
        """
        departures: Departures = []
        left = INTENTS_MAX
        for carrier in self.carriers.values():
            if carrier.resting:
                carrier.wake(now, now_us)
            if carrier.returned:
                carrier.take_back()
            urgent = True  # the first lane
            for queue in carrier.queues.lanes:
                if queue and left:
                    left -= self._fill_from(
                        queue, carrier, departures, left, now, now_us, expire, urgent=urgent
                    )
                    if queue:
                        break  # what the lanes behind could have, this one needs
                urgent = False
        return departures

    def _fill_from(
        self,
        queue: deque[Part],
        carrier: Carrier,
        departures: Departures,
        left: int,
        now: float,
        now_us: int,
        expire: Callable[[Part], None],
        *,
        urgent: bool,
    ) -> int:
        """Take at most ``left`` parts of one lane; returns how many were taken.

        urgent: it is the first lane, which has slots and a rate that the others have not.
        """
        take = carrier.take_urgent if urgent else carrier.bucket.take
        reserve = 0 if urgent else carrier.window_reserve
        strays = carrier.queues.strays
        taken = 0
        refusing: tuple[Link, ...] = ()  # their controllers have too little left for what is first
        while queue and taken < left:
            part = queue[0]
            # Cancelled while it waited, or a late response told its fate.
            if part.state != QUEUED or (strays and part.number in strays):
                carrier.queues.drop_first(queue)
                continue
            link = carrier.freest_link(now, refusing, urgent=urgent)
            if link is None:
                carrier.window_bound = not refusing
                return taken
            room = min(link.room - reserve, left - taken)
            controller = link.congestion if link.congestion.limited else None
            parts: list[Part] = []
            within_rate = True
            while queue and room:
                part = queue[0]
                if part.state != QUEUED or (strays and part.number in strays):
                    carrier.queues.drop_first(queue)
                elif part.group is not None and part.group.carrier is not carrier:
                    queue.popleft()
                    _follow(part, part.group)
                elif part.expires_us and part.expires_us <= now_us:
                    queue.popleft()
                    expire(part)
                elif controller is not None and carrier.rate_wait_s(part.units, now, urgent=urgent) > 0:
                    within_rate = False
                    break  # before the controller is asked, whose probe must not be taken in vain
                elif controller is not None and not controller.take(part.units, now, urgent=urgent):
                    break  # another link may have something left
                elif take(part.units, now):
                    parts.append(queue.popleft())
                    room -= 1
                else:
                    within_rate = False
                    break
            if parts:
                taken += len(parts)
                link.reserved += len(parts)
                departures.append((link, parts))
            if not within_rate:
                break
            if controller is not None and not parts:
                refusing += (link,)
        carrier.window_bound = False
        return taken

    def next_wake_s(self, now: float) -> float | None:
        """Seconds until a queue that waits for its rate, or a part that rests, may go on; None if none
        does."""
        waits = []
        for carrier in self.carriers.values():
            if carrier.returned:
                waits.append(0.0)  # what followed its text here, when this carrier had had its turn
            if carrier.resting:
                waits.append(max(0.0, carrier.resting[0][0] - now))
            head = next(carrier.queues.heads(), None)
            if head is None or not carrier.bound:
                continue
            urgent = head.lane == EMERGENCY
            wait_s = carrier.congestion_wait_s(now, urgent=urgent)
            if wait_s == inf:
                continue  # a response will come, and a turn with it
            waits.append(max(wait_s, carrier.rate_wait_s(head.units, now, urgent=urgent)))
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
            if carrier.window_bound and len(carrier.queues) > max(QUEUE_SOFT_MIN, per_s * QUEUE_SOFT_S):
                behind += per_s
        return behind >= PRESSED_MIN_PER_S and 2 * behind >= total


def _follow(part: Part, group: Group) -> None:
    """The text that a part belongs to goes another way by now (field lesson 16)."""
    assert group.carrier is not None, "whoever routes the first part of a text says where it goes"
    part.carrier = group.carrier
    part.carrier.give_back(part)
