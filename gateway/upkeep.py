"""What happens by the clock rather than by a message: timers, expiry, refilling, the sign of life."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.commitment import PENDING_MAX, Commitment
from gateway.message import DISPATCHED, FINAL, QUEUED, Part
from gateway.open_parts import OpenParts
from gateway.pipeline import Pipeline
from gateway.rebuild import Rebuilder, Rebuilt
from gateway.turns import TICK_S, Turns
from gateway.upstream import Listener
from protocol.smpp.codes import MessageState
from storage.log import EvidenceLog

if TYPE_CHECKING:
    import asyncio

logger = structlog.get_logger()

_UNKNOWN = int(MessageState.UNKNOWN)
_HOUR_US = 3_600_000_000

# How long a receipt waits for its part.  A response comes within seconds, or minutes when a carrier is in
# trouble; what is still unknown after some hours belongs to somebody else.
WAITING_H = 6

# Open parts whose validity one tick looks at: a millisecond's worth, a million parts in under a minute.
SWEEP_PARTS = 5_000

# Reports read back from the evidence at a time, for one account: some 50 ms on the thread that does it.
REFILL_REPORTS = 500

# After the system refused to open or read a file (too many are open, a disk error) it is asked again.
REFILL_RETRY_S = 5.0

# How long a carrier is out of service before what waits for it goes another way: a link that is lost is often
# back within the first pause.
HAND_OVER_AFTER_S = 1.5

TICKS_A_SECOND = round(1 / TICK_S)


class Upkeep:
    """Ticks four times a second on the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turns: Turns,
        log: EvidenceLog,
        open_parts: OpenParts,
        accounts: Mapping[str, Account],
        carriers: Mapping[str, Carrier],
        commitment: Commitment,
        pipeline: Pipeline,
        listener: Listener,
        rebuilder: Rebuilder,
        keep_numbers: Callable[[int], None],
        alive: Callable[[], None],
    ) -> None:
        """accounts, carriers: also those that left the configuration while the evidence has open business of
        theirs; both may grow."""
        self._loop = loop
        self._turns = turns
        self._log = log
        self._open = open_parts
        self._accounts = accounts
        self._carriers = carriers
        self._commitment = commitment
        self._pipeline = pipeline
        self._listener = listener
        self._rebuilder = rebuilder
        self._keep_numbers = keep_numbers
        self._alive = alive
        self._threads = ThreadPoolExecutor(1, "rebuild")
        self._ticks = 0
        self._had_room = True
        self._closed = False
        self._sweep: Iterator[Part] = iter(())

    def tick(self) -> None:
        """Everything that is due now."""
        turns = self._turns
        now = turns.begin()
        self._ticks += 1
        self._listener.tick(now)
        for carrier in self._carriers.values():
            carrier.look(now)
            out_since = carrier.out_since
            if not carrier.links:  # it has left the configuration
                self._pipeline.detours.reroute(carrier)
            elif out_since is not None and now - out_since > HAND_OVER_AFTER_S and carrier.queues:
                self._pipeline.detours.hand_over(carrier)
            if carrier.bodiless:
                self._restock(carrier)
            for link in (*carrier.links, *carrier.retired):
                link.tick(now)
        self._refill()
        self._expire()
        self._listener.tell_congestion(self._congestion_state())
        if self._ticks % TICKS_A_SECOND == 0:
            self._each_second(now)
        turns.schedule()

    def close(self) -> None:
        self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._rebuilder.close()

    def _each_second(self, now: float) -> None:
        self._alive()
        self._log.tick()
        has_room = self._log.has_room
        if has_room != self._had_room:
            self._had_room = has_room
            logger.warning("room for evidence", has_room=has_room)
        if has_room:
            self._pipeline.journal.denials.flush(self._turns.now_us)
        self._commitment.low_water = self._low_water()
        self._pipeline.replies.look()
        self._keep_numbers(self._turns.now_us)
        for carrier in self._carriers.values():
            carrier.correlation.give_up_waiting(self._turns.now_us - WAITING_H * _HOUR_US)
        for account in self._accounts.values():
            account.outbox.wake(now)
            self._pipeline.reporting.give_up_stale_reports(account)
            if account.outbox.ready:
                self._commitment.offer(account)

    def _congestion_state(self) -> int:
        """As SMPP 5.0 §4.8.4.18 counts it: 0 idle, 100 congested."""
        behind = self._log.pending / PENDING_MAX
        fullness = self._pipeline.admission.fullness(self._carriers.values())
        return min(100, int(100 * max(behind, fullness)))

    def _low_water(self) -> int:
        """The oldest record that a restart needs: of an open part, a waiting receipt, or a report."""
        needed = [self._log.next_index, self._open.oldest(), self._commitment.oldest_unreleased()]
        needed += [account.outbox.oldest_needed() for account in self._accounts.values()]
        needed += [carrier.correlation.oldest_waiting() for carrier in self._carriers.values()]
        needed.append(self._pipeline.replies.oldest())
        return min(index for index in needed if index is not None)

    # -- reports that wait in the evidence ------------------------------------------------------------------

    def _refill(self) -> None:
        for account in self._accounts.values():
            self._refill_account(account)

    def _refill_account(self, account: Account) -> None:
        outbox = account.outbox
        indexes = outbox.next_behind(REFILL_REPORTS)
        if indexes and indexes[-1] <= self._log.durable_index:
            outbox.refilling = True
            future = self._threads.submit(self._rebuilder.rebuild, account, indexes)
            future.add_done_callback(self._on_rebuilt(account, len(indexes)))

    def _on_rebuilt(self, account: Account, taken: int) -> Callable[[Future[Rebuilt]], None]:
        def refill(rebuilt: Rebuilt) -> None:
            if self._closed:
                return  # the log may be closed too, and takes no `reported` record any more
            account.outbox.refilling = False
            account.outbox.refill(rebuilt.reports, taken)
            for index in rebuilt.impossible:
                self._pipeline.reporting.give_up_report(account, index)
            self._turns.schedule()
            self._commitment.offer(account)
            self._refill_account(account)

        def again() -> None:
            account.outbox.refilling = False

        def fail(error: BaseException) -> None:
            if not isinstance(error, OSError):
                raise error  # on the loop, where an error of ours, and corrupt evidence, end the process
            logger.error("the evidence cannot be read now", account=account.name, error=str(error))
            self._loop.call_later(REFILL_RETRY_S, again)

        def done(future: Future[Rebuilt]) -> None:
            if future.cancelled():
                return
            if (error := future.exception()) is not None:
                self._loop.call_soon_threadsafe(fail, error)
            else:
                self._loop.call_soon_threadsafe(refill, future.result())

        return done

    # -- bodies that are in the evidence alone ---------------------------------------------------------------

    def _restock(self, carrier: Carrier) -> None:
        """Read the bodies of parts that are to be sent again, some at a time."""
        parts = carrier.bodiless[:REFILL_REPORTS]
        del carrier.bodiless[:REFILL_REPORTS]

        def waiting() -> list[bool]:
            """By the time its body comes a part may have been taken after all, have failed, and be waiting
            for a later retry."""
            return [part.state == QUEUED and part.postponed == retry for part, retry in parts]

        def restock(found: list[bytes | None]) -> None:
            for (part, _), waits, body in zip(parts, waiting(), found, strict=True):
                if waits and body is not None:
                    self._pipeline.detours.restock(part, body)
                elif waits:
                    self._pipeline.finish(part, _UNKNOWN, "gateway", "its content cannot be read", "")
            self._turns.schedule()

        def again() -> None:
            for (part, retry), waits in zip(parts, waiting(), strict=True):
                if waits:
                    part.carrier.bodiless.append((part, retry))

        def end(future: Future[list[bytes | None]]) -> None:
            error = future.exception()
            if self._closed:
                return
            if isinstance(error, OSError):
                logger.error("the evidence cannot be read now", carrier=carrier.name, error=str(error))
                self._loop.call_later(REFILL_RETRY_S, again)
            else:
                restock(future.result())  # any other error ends the process, as for reports

        def done(future: Future[list[bytes | None]]) -> None:
            if not future.cancelled():
                self._loop.call_soon_threadsafe(end, future)

        contents = [part.content for part, _ in parts]
        self._threads.submit(self._rebuilder.bodies, contents).add_done_callback(done)

    # -- validity -------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """Look at some open parts; after the last one begin again with the first.  Those whose application
        waits for the carrier's answer are looked at each time: their time is a few seconds."""
        self._pipeline.expire_transactions()
        parts = list(islice(self._sweep, SWEEP_PARTS))
        for part in parts:
            if part.state != FINAL:
                self._expire_part(part)
        if len(parts) == SWEEP_PARTS:
            return
        self._sweep = iter(list(self._open.open.values()))

    def _expire_part(self, part: Part) -> None:
        now_us = self._turns.now_us
        patience_us = part.carrier.config.receipt_timeout_h * _HOUR_US
        if part.state == QUEUED:
            if now_us > (part.expires_us or part.accepted_us + patience_us):
                self._pipeline.expire(part)
            return
        if not part.carrier_id and part.state != DISPATCHED:
            self._pipeline.receipts.look_again(part)
        if part.state == FINAL:
            return
        if part.state != DISPATCHED and now_us > max(part.expires_us, part.accepted_us) + patience_us:
            reason = "neither response nor receipt came in time"
            self._pipeline.finish(part, _UNKNOWN, "gateway", reason, "")
