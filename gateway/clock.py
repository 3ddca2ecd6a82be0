"""The time, as something that is passed in: a test passes its own numbers, and nothing sleeps."""

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never go back, from an unknown start; on Linux what `loop.time()` says too."""
        ...


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()
