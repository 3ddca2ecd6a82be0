"""How fast parts may flow: a token bucket for each account and each carrier link.

A token is one part (条), since parts are what carriers limit and charge. The bucket gains `rate_per_s`
tokens a second up to `burst`, and time is a number that the caller passes in. Limiters that space messages
evenly refuse the bursts in which applications send, and a rate of 0 divides by zero; so a burst is allowed,
and 0 is refused.

The state is the level at one moment. It is computed afresh from that moment and not added up at every
refusal, so neither refusals nor small steps of time lose tokens, and a `now` that steps back a little only
lowers the level for as long.
"""

import math

# Float arithmetic may put the level a hair below a whole part at the very moment that `wait_s` named, and a
# caller who waits for that hair wakes up again and again. The tolerance is lent, not given: the level goes
# below zero by it, so the rate stays exact. A thousandth of a part covers clocks up to 10^8 s at 10,000
# parts a second.
_TOLERANCE_PARTS = 0.001


class TokenBucket:
    """A full bucket of `burst` parts at the time `now`, in seconds of any monotonic clock.

    Owned by one thread. Raises ValueError for a rate that is not a positive number or a burst below one part.
    """

    __slots__ = ("_burst", "_level", "_rate_per_s", "_updated")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        _check(rate_per_s, burst)
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._level = float(burst)
        self._updated = now

    @property
    def rate_per_s(self) -> float:
        return self._rate_per_s

    @property
    def burst(self) -> float:
        return self._burst

    def take(self, parts: int, now: float) -> bool:
        """Takes `parts` tokens and says True, or takes nothing and says False.

        More parts than the burst pass when the bucket is full, and leave it negative. The parts of one
        message go out together or not at all; a message of five parts could otherwise never leave through a
        bucket of three. The debt is paid before the next part leaves, so the rate over time is kept.
        """
        level = self._level + (now - self._updated) * self._rate_per_s
        if level > self._burst:
            level = self._burst
        if level + _TOLERANCE_PARTS < parts and level + _TOLERANCE_PARTS < self._burst:
            return False
        self._level = level - parts
        self._updated = now
        return True

    def owe(self, parts: int, now: float) -> None:
        """Takes `parts` tokens that need not be there: whoever comes next waits until they are paid."""
        self._level = self.level(now) - parts
        self._updated = now

    def wait_s(self, parts: int, now: float) -> float:
        """Seconds until `take(parts, …)` will say True if nobody else takes; 0.0 if it would now."""
        level = self.level(now)
        needed = min(parts, self._burst)
        return 0.0 if level + _TOLERANCE_PARTS >= needed else (needed - level) / self._rate_per_s

    def level(self, now: float) -> float:
        """Tokens in the bucket: at most `burst`, negative while a large message is being paid for."""
        return min(self._burst, self._level + (now - self._updated) * self._rate_per_s)

    def set_rate(self, rate_per_s: float, burst: float, now: float) -> None:
        """Goes on with another rate and burst from `now`; until then the old rate counts.

        The level stays, debt included, and is cut to the new burst. Raises ValueError as the constructor
        does, and then nothing has changed.
        """
        _check(rate_per_s, burst)
        self._level = min(self.level(now), burst)
        self._updated = now
        self._rate_per_s = rate_per_s
        self._burst = burst


def _check(rate_per_s: float, burst: float) -> None:
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise ValueError(f"rate_per_s is {rate_per_s}, it must be above 0; to stop the traffic, drain it")
    if not (math.isfinite(burst) and burst >= 1):
        raise ValueError(f"burst is {burst}, it must be at least one part")
