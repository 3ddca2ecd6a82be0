"""Work in turns: one pass of the event loop serves every connection that has something, within bounds.

Carriers come before applications, so that at saturation receipts are not starved by submits; no connection
has more than a fixed number of frames served before the others have had theirs; and when the evidence log or
a carrier's window falls behind, no message of an application is taken until it has caught up: only what makes
no work is served, so that nobody is cut for a silence that is ours.  Everything a turn produced leaves at its
end, in one write for each connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, time_ns
from typing import Protocol

# Frames of one connection that a turn serves.  A carrier's may be twice as many: each application message
# comes back as a response and a receipt.
APPLICATION_FRAMES = 200
CARRIER_FRAMES = 400

# How long a turn may be late before /healthz calls the loop stuck is decided there; this is how often it is
# told that the loop lives, and how often session timers run.  A quarter of a second is a twentieth of the
# shortest timer (bind, 5 s).
TICK_S = 0.25

# When applications have to wait for a carrier's window, they are looked at again after so long.
PRESSURE_RETRY_S = 0.002


class Served(Protocol):
    """A connection, as its turns see it.  queued, dirty: whether it stands in a list of the turn."""

    carrier: bool
    queued: bool
    dirty: bool

    @property
    def servable(self) -> bool:
        """Whether a frame of it could be served now."""

    @property
    def unsorted(self) -> bool:
        """Whether it has frames that no turn has looked at."""

    def serve(self, now: float, limit: int, *, requests: bool = True) -> None:
        """Serve at most `limit` frames; without `requests` only those that make no work."""

    def flush(self) -> None:
        """Write what it has to say."""


class Flow(Protocol):
    """What a turn drives: the pipeline."""

    def may_read_applications(self) -> bool:
        """Whether the log and the carriers' windows have kept up."""

    def end_turn(self) -> None:
        """Commit what the turn recorded, and hand out what may go."""


class Turns:
    """Schedules the turns.  `now` and `now_us` are the times of the turn: monotonic seconds, and microseconds
    since the epoch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = monotonic()
        self.now_us = time_ns() // 1000
        self.flow: Flow
        self._loop = loop
        self._carriers: list[Served] = []
        self._applications: list[Served] = []
        self._pressed: dict[Served, None] = {}  # their requests wait until the flow has caught up
        self._dirty: list[Served] = []
        self._scheduled = False
        self._retrying = False

    def enqueue(self, connection: Served) -> None:
        """``connection`` has something to serve."""
        if connection in self._pressed and not connection.unsorted:
            return  # its turn comes with the end of the pressure
        if not connection.queued:
            connection.queued = True
            (self._carriers if connection.carrier else self._applications).append(connection)
        self.schedule()

    def write_later(self, connection: Served) -> None:
        """``connection`` has something to write at the end of the turn."""
        if not connection.dirty:
            connection.dirty = True
            self._dirty.append(connection)

    def schedule(self) -> None:
        """See to it that a turn comes."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def begin(self) -> float:
        """Look at the clocks; once a turn, since reading them for each message costs more than it tells."""
        self.now = monotonic()
        self.now_us = time_ns() // 1000
        return self.now

    def _turn(self) -> None:
        self._scheduled = False
        self.begin()
        carriers, self._carriers = self._carriers, []
        self._serve(carriers, CARRIER_FRAMES)
        if self._applications or self._pressed:
            if self.flow.may_read_applications():
                applications = [waiting for waiting in self._pressed if not waiting.queued]
                applications += self._applications
                self._applications = []
                self._pressed.clear()
                self._serve(applications, APPLICATION_FRAMES)
            else:
                self._serve_under_pressure()
        self.end()

    def _serve_under_pressure(self) -> None:
        """Let pass what makes no work; each connection is looked at once, however long the pressure lasts."""
        applications, self._applications = self._applications, []
        for connection in applications:
            connection.queued = False
            connection.serve(self.now, APPLICATION_FRAMES, requests=False)
            if connection.unsorted:
                self.enqueue(connection)
            elif connection.servable:
                self._pressed[connection] = None
        if not self._retrying and (self._pressed or self._applications):
            self._retrying = True
            self._loop.call_later(PRESSURE_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        self.schedule()

    def _serve(self, connections: list[Served], limit: int) -> None:
        """Serve each once; those that have more stand in line for the next turn."""
        for connection in connections:
            connection.queued = False
            connection.serve(self.now, limit)
            if connection.servable:
                self.enqueue(connection)

    def end(self) -> None:
        """Commit, and write what was produced."""
        self.flow.end_turn()
        self.write()

    def write(self) -> None:
        """One write for each connection that has something to say."""
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()


def every(loop: asyncio.AbstractEventLoop, interval_s: float, call: Callable[[], None]) -> Callable[[], None]:
    """Call ``call`` on the loop every ``interval_s`` until the returned function is called."""
    handle: asyncio.TimerHandle

    def run() -> None:
        nonlocal handle
        handle = loop.call_later(interval_s, run)
        call()

    handle = loop.call_later(interval_s, run)
    return lambda: handle.cancel()
