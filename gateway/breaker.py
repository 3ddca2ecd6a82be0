"""Whether a carrier account may be chosen for a message that has another way to go.

A bind that stands says little: a carrier may accept it, swallow a window of messages and go silent, again and
again.  So unanswered attempts and system errors in a row take the account out of service for a while, which
doubles each time; after that it is half open: one message is led there and decides.  Where there is no other
way the breaker is not asked: then the account is tried all the same.
"""

from __future__ import annotations

from typing import Final

# Failures in a row, with nothing taken in between: a whole window that is lost with one connection counts
# once, and three losses in a row are no accident.
FAILURES_MAX: Final = 3

# How long the account is out of service at first, and at most: about the time in which an operator at the
# carrier would have restarted something.
OPEN_FIRST_S: Final = 2.0
OPEN_MAX_S: Final = 60.0

# A message that was led to a half-open account and of which nothing is heard: another one is led there after
# so long.  It is a little more than the wait for a response.
TRIAL_S: Final = 15.0


class Breaker:
    """Of one carrier account.  Times are the caller's monotonic seconds.

    failures: in a row; while there are none, `succeeded` need not be called.
    """

    __slots__ = ("_open_s", "_trying", "_until", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self._open_s = OPEN_FIRST_S
        self._until = 0.0
        self._trying = False  # a message is there whose fate decides, and until then no other is led there

    def failed(self, now: float) -> bool:
        """An attempt failed by the carrier's fault; True if that took the account out of service."""
        self.failures += 1
        if self.failures < FAILURES_MAX or (now < self._until and not self._trying):
            return False
        self._trying = False
        self._until = now + self._open_s
        self._open_s = min(OPEN_MAX_S, self._open_s * 2)
        return True

    def succeeded(self) -> None:
        """The carrier took something."""
        self.failures = 0
        self._open_s = OPEN_FIRST_S
        self._until = 0.0
        self._trying = False

    def led(self, now: float) -> None:
        """A message is led to the account; need not be called while there are no failures."""
        if self.failures >= FAILURES_MAX and now >= self._until:
            self._trying = True
            self._until = now + TRIAL_S

    def open(self, now: float) -> bool:
        """Whether the account is out of service now."""
        return now < self._until

    def state(self, now: float) -> str:
        """In words for people: a breaker that is closed lets everything pass, and they read it as shut."""
        if self.failures < FAILURES_MAX:
            return "in service"
        return "out of service" if self.open(now) and not self._trying else "trying again"
