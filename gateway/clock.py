"""The time, as something that is passed in: a test passes its own numbers, and nothing sleeps.

Two clocks that must not be mixed. `monotonic` measures (rates, time-outs) and means nothing outside the
process; `time_us` dates (records, validity) and may be set back by an operator or by NTP.
"""

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never go back, from an unknown start; on Linux what `loop.time()` says too."""
        ...

    def time_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The clocks of the machine."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def time_us(self) -> int:
        # From the integer: a float of seconds has no room for microseconds after a few more decades.
        return time.time_ns() // 1000
