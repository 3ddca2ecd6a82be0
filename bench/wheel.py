"""Things to be done later, by the millisecond: one timer of the event loop for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

TICK_S: Final = 0.001
"""The resolution of the event loop's own timers."""


class Wheel:
    """Calls functions with one argument when their time has come; a delay is never cut short."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[tuple[Callable[[Any], None], Any]]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def after(self, delay_s: float, call: Callable[[Any], None], argument: Any) -> None:
        """Call `call(argument)` in `delay_s` seconds."""
        tick = int((self._loop.time() + delay_s) / TICK_S) + 1
        slot = self._slots.get(tick)
        if slot is not None:
            slot.append((call, argument))
            return
        self._slots[tick] = [(call, argument)]
        heappush(self._ticks, tick)
        if self._timer is None or tick < self._timer_tick:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ticks:
            self._timer_tick = self._ticks[0]
            self._timer = self._loop.call_at(self._timer_tick * TICK_S, self._turn)

    def _turn(self) -> None:
        self._timer = None
        # The loop's timers may be early by a fraction of their resolution.
        now_tick = max(int(self._loop.time() / TICK_S), self._timer_tick)
        while self._ticks and self._ticks[0] <= now_tick:
            for call, argument in self._slots.pop(heappop(self._ticks)):
                call(argument)
        self._arm()

    def stop(self) -> None:
        """Forget everything."""
        self._slots.clear()
        self._ticks.clear()
        self._arm()
