"""The rate above which a simulated carrier throttles.

It shares nothing with the gateway's own throttle, which it judges.
"""

from __future__ import annotations

from typing import Final

# Sums of fractions may stay a hair below one at the very moment that a message is due.
_HAIR: Final = 1e-6


class RateLimit:
    """Allows `rate_per_s` messages a second, and `burst` at once when none has come for a while.

    It is full at `now`, in seconds of any clock that does not step back. burst 0: one second's worth;
    rate 0: no bound.
    """

    def __init__(self, rate_per_s: int, burst: int, now: float) -> None:
        self._now = now
        self._rate_per_s = rate_per_s
        self._burst = float(burst or rate_per_s)
        self._level = self._burst

    def set(self, rate_per_s: int, burst: int, now: float) -> None:
        """Another rate from now on. What the old one had gathered stays, up to the new burst."""
        bound_before = self._rate_per_s > 0
        self._refill(now)
        self._rate_per_s = rate_per_s
        self._burst = float(burst or rate_per_s)
        self._level = min(self._level, self._burst) if bound_before else self._burst

    def allows(self, now: float) -> bool:
        """Whether a message may come now; it counts if so."""
        if not self._rate_per_s:
            return True
        self._refill(now)
        if self._level + _HAIR < 1:
            return False
        self._level -= 1
        return True

    def _refill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._now) * self._rate_per_s)
        self._now = now
