"""How fast one link may send, as its carrier shows it: a controller below the contract rate (lesson 19).

While the carrier is content the controller is out of the way: window and contract rate decide.  When the
carrier throttles, it paces the link a little below what the carrier has lately taken, which is the best
estimate of its limit, and looks for more from time to time: first a little above the limit, where a carrier
that has not changed refuses one part, and only if that passes in ever larger steps, so that a carrier which
has room again is used within seconds.

    open ──throttled──▶ paused ──▶ probing ──taken──▶ limited ──nothing refused──▶ open
                          ▲           │                  │
                          ├──refused──┘                  ├─ refused just above the limit: a moment's rest
                          └──── refused below it, or far above ────┘

Answers to what was dispatched before the last cut belong to the same episode, and cut no further.  A carrier
that says that it is congested (congestion_state), or answers far more slowly than it used to, is treated like
one that throttles.

The constants were found by simulation (tests/gateway/test_congestion.py): carriers with a bucket of a second,
with a bucket of five parts, and with a count for each second of the clock.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from math import inf
from typing import Final

from gateway.throttle import TokenBucket

OPEN: Final = "open"
LIMITED: Final = "limited"
PAUSED: Final = "paused"
PROBING: Final = "probing"

# The share of the limit at which the link goes on: carriers count in their own way, and a pace exactly at the
# limit is refused by whoever counts a little differently.
_KEEP: Final = 0.98
# How long it goes on so before it looks for more; each look may cost a refused part.
HOLD_S: Final = 1.5
# Shares of the limit, one for each tick of a quarter of a second: to stay just above it for more than a
# second tells a carrier that counts by the second from one that has more room.  Behind the last, each tick is
# half as much again.
_LOOKS: Final = (*(1.02,) * 5, 1.05, 1.1, 1.25)
_LOOK_MIN_PER_S: Final = 2.0  # at a low limit a share of it would be no part within a second
_RAMP: Final = 1.5
# A refusal within so many steps is one just above the limit, where it was to be expected: it confirms the
# limit but for a hair, and costs a moment's rest, in which most carriers answer what is in flight.
_BRUSHES: Final = 5
_BRUSH: Final = 0.995
_BRUSH_S: Final = 0.05
# A refusal below the limit takes away so much at most, and one far above it leaves a quarter at least: one
# estimate may be wrong.
_YIELD: Final = 0.6
_CUT_MAX: Final = 0.25

# What the carrier takes is estimated over so long: carriers count by the second.
_ESTIMATE_S: Final = 1.0
_TICK_S: Final = 0.25

# A pause doubles with each probe that is refused, up to this: a carrier that is back is found in half a
# minute.
PAUSE_MAX_S: Final = 30.0

# A probe whose fate nobody tells (its part was cancelled before it left, say) is given up after so long.
_PROBE_S: Final = 15.0
# An emergency does not wait for the end of a pause, but for so long after the last probe.
_URGENT_PROBE_S: Final = 0.25
# A limit that nothing has come near to for so long is none any more.
_FORGET_S: Final = 60.0

# A limited link may send what so much time brings at once: a spacing carrier refuses bursts, and the timers
# of the event loop count milliseconds.
_BURST_S: Final = 0.002

# congestion_state (SMPP 5.0 §4.8.4.18) from here on is "nearing congestion".
CONGESTED_MIN: Final = 90
# Response times count as risen above a second and above four times the usual: our own saturation stays below.
_SLOW_S: Final = 1.0
_SLOW_TIMES: Final = 4.0
# The usual response time follows slowly: a carrier that becomes slower for good is forgiven in minutes.
_USUAL_SHARE: Final = 0.02

# Timers may ring a hair early.
_EARLY_S: Final = 1e-4

_Mark = tuple[float, int]


class Congestion:
    """The controller of one link.  Times are the caller's monotonic seconds; what is counted is parts (条).

    limited: whether `take` has to be asked at all before parts leave.
    """

    __slots__ = (
        "_answers",
        "_brushed",
        "_bucket",
        "_ceiling",
        "_fresh_from",
        "_limited_since",
        "_looks",
        "_marks",
        "_pause_s",
        "_paused_until",
        "_phase",
        "_probed",
        "_probes",
        "_rate_max",
        "_rate_per_s",
        "_refused",
        "_taken",
        "_usual_s",
        "_waited_s",
        "_wanted",
        "_wanted_at",
        "limited",
    )

    def __init__(self, rate_max_per_s: float, pause_s: float, now: float) -> None:
        """rate_max_per_s: the contract rate of the account.  pause_s: the first pause."""
        self.limited = False
        self._phase = OPEN
        self._rate_max = rate_max_per_s
        self._rate_per_s = self._ceiling = rate_max_per_s
        self._pause_s = pause_s
        self._bucket = TokenBucket(rate_max_per_s, 1.0, now)
        self._taken = 0
        self._marks: deque[_Mark] = deque([(now, 0)], maxlen=5)  # at the last ticks: a second and a quarter
        self._waited_s = 0.0
        self._answers = 0
        self._usual_s = inf
        self._limited_since = self._fresh_from = self._paused_until = now
        self._brushed = False  # the last cut was for a refusal just above the limit
        self._probed = self._wanted_at = now  # when the last probe left; when something last had to wait
        self._probes = False  # the pause ends with a probe
        self._refused = 0  # probes in a row
        self._looks = 0  # steps beyond the limit since the last cut
        self._wanted = False  # something had to wait since the last tick

    @property
    def state(self) -> str:
        """OPEN, LIMITED, PAUSED or PROBING."""
        return self._phase

    @property
    def rate_per_s(self) -> float:
        """What it allows when no pause is on; the contract rate while it is open."""
        return self._rate_per_s

    @property
    def _given_up(self) -> bool:
        """Whether the last probe was given up, so that its answer may still come."""
        return self._phase is PAUSED and self._refused > 0

    # -- before a part leaves -------------------------------------------------------------------------------

    def take(self, parts: int, now: float, *, urgent: bool = False) -> bool:
        """Whether parts may leave now; if so, they count.  Only asked while `limited`.

        urgent: parts of an emergency keep to no pace, and need not wait for the end of a pause: one of them
        is its probe.
        """
        if self._phase is PROBING:
            return False
        if self._phase is PAUSED:
            if self.wait_s(now, urgent=urgent) > 0:
                return False
            self._fresh_from = now
            if self._probes or self._paused_until - now > _EARLY_S:
                self._phase = PROBING
                self._probed = now
                return True
            self._go_on(now)
        if self._bucket.take(parts, now):
            return True
        self._wanted = True
        if urgent:
            self._bucket.owe(parts, now)
        return urgent

    def wait_s(self, now: float, *, urgent: bool = False) -> float:
        """Seconds until `take(1, …)` may say True; inf while a probe is out, whose answer decides."""
        if self._phase is PROBING:
            return inf
        if self._phase is PAUSED:
            until = min(self._paused_until, self._probed + _URGENT_PROBE_S) if urgent else self._paused_until
            left_s = until - now
            return left_s if left_s > _EARLY_S else 0.0
        return 0.0 if urgent else self._bucket.wait_s(1, now)

    # -- what the carrier says ------------------------------------------------------------------------------

    def took(self, parts: int, dispatched: float, now: float) -> None:
        """The carrier took parts that were dispatched at that time."""
        self._taken += parts
        self._answers += 1
        self._waited_s += now - dispatched
        if self.limited and dispatched >= self._probed and (self._phase is PROBING or self._given_up):
            self._refused = 0
            self._go_on(now)

    def throttled(self, parts: int, dispatched: float, now: float) -> None:
        """The carrier refused parts for its load: ESME_RTHROTTLED or ESME_RMSGQFUL."""
        if dispatched < self._fresh_from or self._phase is PAUSED:
            return  # of an episode that is over
        if self._phase is PROBING:
            self._probe_failed(now)
        else:
            self._cut(now)

    def congested(self, congestion_state: int, now: float) -> None:
        """The carrier says how busy it is, 0 to 100 (SMPP 5.0 §4.8.4.18)."""
        if congestion_state >= CONGESTED_MIN and now >= self._fresh_from and self._phase in (OPEN, LIMITED):
            self._cut(now)
            # It took what it answers now, so nothing that is in flight speaks of another episode.
            self._fresh_from = now + _ESTIMATE_S

    def unanswered(self, now: float) -> None:
        """Something was not answered; it may have been the probe."""
        if self._phase is PROBING:
            self._probe_failed(now)

    # -- time and change ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Look at the response times, and look for more; call it four times a second."""
        self._marks.append((now, self._taken))
        answers, waited_s = self._answers, self._waited_s
        self._answers, self._waited_s = 0, 0.0
        if answers and self._phase in (OPEN, LIMITED) and self._slow(waited_s / answers, now):
            self._cut(now)
            self._fresh_from = now + _ESTIMATE_S  # the answers that are under way are as slow
        elif self._phase is PROBING and now - self._probed > _PROBE_S:
            self._probe_failed(now)
        elif self._phase is LIMITED and self._wanted:
            self._wanted = False
            self._wanted_at = now
            if now - self._limited_since >= HOLD_S:
                self._look(now)
        elif self._phase is LIMITED and now - max(self._limited_since, self._wanted_at) > _FORGET_S:
            self._open(now)

    def reset(self, now: float) -> None:
        """A new bind: nothing is in flight.  A pause and its probe are over; what was learned of the rate
        stays, since the carrier is the same, and more is looked for as ever."""
        self._fresh_from = now
        if self._phase in (PAUSED, PROBING):
            self._refused = 0
            self._go_on(now)

    def set_rate_max(self, rate_max_per_s: float, now: float) -> None:
        """The contract rate has changed."""
        self._rate_max = rate_max_per_s
        if not self.limited or self._rate_per_s >= rate_max_per_s:
            self._open(now)

    # -- states ---------------------------------------------------------------------------------------------

    def _cut(self, now: float) -> None:
        """Go below what the carrier has lately taken."""
        ceiling = self._ceiling
        gentle = self._phase is LIMITED and self._looks <= _BRUSHES
        if not gentle:  # far above the limit, or nobody knew of one
            ceiling = max(self._rate_per_s * _CUT_MAX, min(self._rate_per_s * _KEEP, self._peak(now)))
        elif self._looks:  # just above it
            ceiling *= _BRUSH
        elif self._brushed and now - self._limited_since < _TICK_S:
            gentle = False  # a carrier that counts by the clock's second refuses for the rest of it
        else:  # below it: the carrier takes less than it did
            ceiling = max(ceiling * _YIELD, min(ceiling, self._mean(now)))
            gentle = now - self._limited_since > _ESTIMATE_S
        self._brushed = gentle
        self._ceiling = max(1.0, ceiling)
        self._rate_per_s = max(1.0, ceiling * _KEEP)
        self.limited = True
        self._looks = 0
        self._pause(now, _BRUSH_S if gentle else self._pause_s, probes=not gentle)

    def _mean(self, now: float) -> float:
        """Parts a second that the carrier took over the last second or so."""
        at, taken = self._marks[0]
        return (self._taken - taken) / max(now - at, _ESTIMATE_S)

    def _peak(self, now: float) -> float:
        """Parts a second that the carrier took in the best of the last ticks, while the rate was rising."""
        marks = [*self._marks, (now, self._taken)]
        return max(
            (later[1] - earlier[1]) / max(later[0] - earlier[0], _TICK_S)
            for earlier, later in pairwise(marks[-3:])
        )

    def _pause(self, now: float, pause_s: float, *, probes: bool) -> None:
        self._phase = PAUSED
        self._paused_until = self._fresh_from = now + pause_s
        self._probes = probes

    def _probe_failed(self, now: float) -> None:
        self._refused += 1
        self._pause(now, min(PAUSE_MAX_S, self._pause_s * 2**self._refused), probes=True)

    def _go_on(self, now: float) -> None:
        """The pause is over: pace the link, from an empty bucket."""
        self._phase = LIMITED
        self._limited_since = now
        self._wanted = False
        burst = 1.0 + self._rate_per_s * _BURST_S
        self._bucket = TokenBucket(self._rate_per_s, burst, now)
        self._bucket.take(round(burst), now)

    def _look(self, now: float) -> None:
        """Allow a little more than the limit, then more and more."""
        step = self._looks
        self._looks += 1
        if step < len(_LOOKS):
            rate = max(self._ceiling * _LOOKS[step], self._ceiling + _LOOK_MIN_PER_S)
        else:
            rate = self._rate_per_s * _RAMP
        if rate >= self._rate_max:
            self._open(now)
        else:
            self._rate_per_s = rate
            self._bucket.set_rate(rate, 1.0 + rate * _BURST_S, now)

    def _open(self, now: float) -> None:
        self._phase = OPEN
        self.limited = False
        self._rate_per_s = self._rate_max
        self._fresh_from = now

    def _slow(self, mean_s: float, now: float) -> bool:
        """Whether response times have risen far above the usual; learns what is usual."""
        slow = mean_s > max(_SLOW_S, _SLOW_TIMES * self._usual_s) and now >= self._fresh_from
        if self._usual_s is inf or mean_s < self._usual_s:
            self._usual_s = mean_s
        else:
            self._usual_s += (mean_s - self._usual_s) * _USUAL_SHARE
        return slow
