"""The load generator: an application with several sessions and far too much to say.

It is open-loop: message n is due at a time that does not depend on what became of the ones before, and
latencies count from there, so that a gateway that stalls cannot hide the messages that had to wait
(coordinated omission).  At rate 0 a message is due when a window has room for it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import msgspec
import uvloop

from bench.dialogue import calm_collector, listen, say
from bench.load_ledger import SENT, LoadLedger, LoadReport, PartLedger
from bench.load_options import LoadOptions
from bench.load_session import BindRequest, LoadSession
from bench.messages import part_number, part_writer, payload_writer, submit_writer
from bench.options import parsed
from protocol.smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter

# The resolution of the event loop's timers: at a steady rate messages leave up to so much late, which counts.
_TICK_S = 0.001

# Waits before a lost session is tried again: a gateway that was killed is back within a second.
_RECONNECT_FIRST_S = 0.02
_RECONNECT_MAX_S = 0.1

_UNBIND_S = 2.0

# How often the end is looked for.
_LOOK_S = 0.02


class Load:
    """One run.  Owned by the event loop."""

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self.first = options.first
        self.count = options.count
        self._prepare()
        self.sent = 0
        self.began = 0.0
        self._cpu_s = 0.0
        self._sessions: list[LoadSession] = []
        self._bound_ever = 0
        self._lost = 0
        self._refused = 0
        self._alive = 0.0  # when a session was last known to be bound
        self._last_bind = 0.0
        self._finishing = False  # nothing more is sent
        self._stopping = asyncio.Event()
        self._failure = ""

    def _prepare(self) -> None:
        """Make what the form of the messages decides: their numbers, the ledger, the writer."""
        options = self.options
        source = options.source.encode()
        fields = {
            "priority_flag": options.priority_flag,
            "registered_delivery": options.registered_delivery,
        }
        match options.form:
            case "short":
                self.write = submit_writer(source, options.text, **fields)
            case "payload":
                self.write = payload_writer(source, **fields)
            case "parts":
                self.write = part_writer(source, **fields)
                self.first = part_number(options.first, 1)
                self.count = part_number(options.first + options.count, 1) - self.first
        kind = PartLedger if options.form == "parts" else LoadLedger
        self.ledger = kind(self.first, self.count, fail_every=options.fail_every, timed=options.timed)

    # -- what the sessions ask and tell ---------------------------------------------------------------------

    def due(self, now: float) -> int:
        """How many messages are due and not sent."""
        rate = self.options.rate_per_s
        if self._finishing or not self.began:
            return 0
        if not rate:
            return self.count - self.sent
        return min(self.count, int((now - self.began) * rate) + 1) - self.sent

    def take_due(self, now: float, limit: int) -> range:
        """The next due messages, at most `limit`; they count as sent."""
        start = self.sent
        self.sent = stop = start + max(0, min(limit, self.due(now)))
        rate = self.options.rate_per_s
        states, intended = self.ledger.states, self.ledger.intended
        for token in range(start, stop):
            states[token] = SENT
            intended[token] = self.began + token / rate if rate else now
        if self.options.timed:
            self.ledger.left(stop, now)
        return range(start, stop)

    def session_bound(self, session: LoadSession) -> None:
        self._bound_ever += 1
        self._alive = self._last_bind = monotonic()

    def session_ended(self, session: LoadSession) -> None:
        """The connection is gone: its messages without response have an unknown fate."""
        tokens = list(session.in_flight.values())
        session.in_flight.clear()
        self.ledger.lost(tokens)
        if session in self._sessions:
            self._sessions.remove(session)
        if session.bound and not self._stopping.is_set():
            self._lost += 1
        if self.options.resubmit and tokens:
            self.count += len(tokens)
            self.ledger.grow(len(tokens))

    # -- the run --------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Send nothing more, and wait for what is still to come."""
        self._finishing = True

    def stop(self) -> None:
        """Come to an end at once."""
        self._finishing = True
        self._stopping.set()

    def report(self, event: str) -> LoadReport:
        """The figures as they stand."""
        return self.ledger.report(
            event,
            self.began,
            process_time() - self._cpu_s,
            self._bound_ever,
            self._lost,
            self._refused,
            self._failure,
        )

    async def run(self) -> LoadReport:
        """The whole run, from the first bind to the last receipt."""
        options = self.options
        async with asyncio.TaskGroup() as group:
            keepers = [
                group.create_task(self._keep(request), name=f"session {number}")
                for number, request in enumerate(self._requests())
            ]
            await self._first_binds(len(keepers))
            self._cpu_s = process_time()
            self.began = self._alive = monotonic()
            pace = group.create_task(self._pace(), name="pace")
            progress = group.create_task(self._progress(), name="progress")
            await self._finished()
            self.stop()
            for task in (pace, progress):
                task.cancel()
            for session in [each for each in self._sessions if each.bound]:
                session.unbind()
            await asyncio.wait(keepers, timeout=_UNBIND_S)
            for keeper in keepers:
                keeper.cancel()
        report = self.report("result")
        if options.ledger:
            Path(options.ledger).write_bytes(msgspec.json.encode(self.ledger.file()))  # noqa: ASYNC240
        return report

    def _requests(self) -> list[BindRequest]:
        system_id, password = self.options.system_id.encode(), self.options.password.encode()
        kinds: list[type[BindRequest]] = [BindTransceiver]
        if self.options.bind == "separate":
            kinds = [BindTransmitter, BindReceiver]
        return [
            kinds[number % len(kinds)](1, system_id=system_id, password=password, interface_version=0x34)
            for number in range(self.options.sessions)
        ]

    async def _keep(self, request: BindRequest) -> None:
        """Keep one session up."""
        loop = asyncio.get_running_loop()
        wait_s = _RECONNECT_FIRST_S
        while not self._stopping.is_set():
            try:
                _, session = await loop.create_connection(
                    lambda: LoadSession(self, request), self.options.host, self.options.port
                )
            except OSError as error:
                self._failure = str(error)
                self._refused += 1
            else:
                self._sessions.append(session)
                try:
                    await session.ended.wait()
                except asyncio.CancelledError:
                    session.abort()
                    raise
                if session.refusal:
                    self._failure = session.refusal
                else:
                    wait_s = _RECONNECT_FIRST_S
            if not self.options.reconnect:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(_RECONNECT_MAX_S, wait_s * 2)

    async def _first_binds(self, sessions: int) -> None:
        """Wait until every session is bound, or cannot be."""
        deadline = monotonic() + self.options.give_up_s
        while self._bound_ever < sessions and not self._stopping.is_set() and monotonic() < deadline:
            if not self.options.reconnect and self._failure:
                return
            await asyncio.sleep(_LOOK_S)

    async def _pace(self) -> None:
        """At a steady rate, hand what is due to the sessions; at rate 0 only to those that are idle."""
        turn = 0
        while True:
            now = monotonic()
            due = self.due(now)
            sessions = [session for session in self._sessions if session.transmits]
            if due > 0 and sessions:
                share = -(-due // len(sessions)) if self.options.rate_per_s else self.options.window
                for number in range(len(sessions)):
                    sessions[(turn + number) % len(sessions)].fill(now, share)
                turn += 1
            await asyncio.sleep(_TICK_S if self.options.rate_per_s else _LOOK_S)

    async def _progress(self) -> None:
        if not self.options.progress_s:
            return
        while True:
            say(self.report("progress"))
            await asyncio.sleep(self.options.progress_s)

    async def _finished(self) -> None:
        """Wait for the last receipt, or until none has come for `quiet_s`, or no session for `give_up_s`."""
        options, ledger = self.options, self.ledger
        while not self._stopping.is_set():
            now = monotonic()
            if any(session.bound for session in self._sessions):
                self._alive = now
            elif now - self._alive > (options.give_up_s if options.reconnect else 0.0):
                self._failure = self._failure or "all sessions are lost"
                return
            over = self._finishing or self.sent >= self.count
            if over and not any(session.in_flight for session in self._sessions):
                if not ledger.open and ledger.replies >= options.replies:
                    self._failure = ""
                    return
                last = max(ledger.last_receipt, ledger.last_response, ledger.last_reply, self._last_bind)
                if now - last > options.quiet_s:
                    self._failure = ""
                    return
            await asyncio.sleep(_LOOK_S)


async def _run(options: LoadOptions) -> LoadReport:
    load = Load(options)

    def command(line: dict[str, Any]) -> None:
        match line:
            case {"command": "report"}:
                say(load.report("report"))
            case {"command": "finish"}:
                load.finish()
            case _:
                say({"event": "error", "error": f"no such command: {line}"})

    listen(asyncio.get_running_loop(), command, load.stop)
    calm_collector()
    return await load.run()


def run(arguments: list[str]) -> int:
    """`python -m bench load JSON`: a LoadOptions.  Exit status 1 if the run could not be carried through."""
    options = parsed("load", LoadOptions, arguments[:1] or ["--help"])[0]
    report = uvloop.run(_run(options))
    say(report)
    return 1 if report.failure else 0
