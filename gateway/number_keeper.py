"""Keeps what was learned of numbers beyond the life of the process: the register on disk, and its thread.

The evidence is the truth.  The register is a projection that spares a start from reading all of it: facts go
into it when their records are durable, together with the index up to which none is missing.  What stands
behind that index is read from the evidence, through the same fold as everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from gateway.number_directory import Fact, NumberDirectory
from gateway.portability import PORTED_MAX, Table, table_of
from storage.database import DatabaseError
from storage.log import EvidenceLog
from storage.register import Register

logger = structlog.get_logger()

# So long after it was written last, the index is written again, also where no fact has come: no start reads
# more than that for nothing, and segments of the evidence can be taken away.
ADVANCE_US: Final = 60_000_000

# Facts that wait for a register that cannot be written, at some 250 octets each: 25 MB.  Subscribers opt out
# a few hundred times a day.  Beyond it the evidence keeps them for the next start.
UNWRITTEN_MAX: Final = 100_000
# From so many on, and whenever they have doubled, it is looked whether they say the same again and again.
_CONDENSE_MIN: Final = 1_000


class NumberKeeper:
    """Owned by the event loop; the register is used by one thread of its own."""

    def __init__(
        self, path: Path, directory: NumberDirectory, log: EvidenceLog, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Opens the register, and makes it where there is none.  Raises DatabaseError."""
        self._path = path
        self._directory = directory
        self._log = log
        self._loop = loop
        self._register = Register.open(path)
        self._thread = ThreadPoolExecutor(1, "register")
        self._busy = False
        self._outdated = False  # the ported numbers in memory are to be read anew
        self._failed = False  # the register could not be used last time
        self._condense_at = _CONDENSE_MIN
        self._advance_at_us = 0
        self.applied_index = 0

    def load(self, now_us: int) -> None:
        """At the start: everything that the register knows.  Raises DatabaseError."""
        contents = self._register.load()
        if contents.applied_index > self._log.durable_index:
            raise DatabaseError(
                f"{self._path}: goes up to record {contents.applied_index} of a log that ends with"
                f" {self._log.durable_index}: it belongs to another one: move it away"
            )
        self.applied_index = contents.applied_index
        self._directory.portability.load(table_of(contents.ported, PORTED_MAX, now_us))
        for fact in contents.opted_out:
            self._directory.opt_outs.note(fact.number_hash, fact.account, True, fact.record)

    def tick(self, now_us: int) -> None:
        """Write what has become durable; call once a second."""
        if self._busy:
            return
        if self._failed:
            self._bound_unwritten()
        if not self._directory.keeps_unwritten:
            return  # a register with a later index, or read anew, would lack facts
        if self._outdated or self._directory.portability.load_due(now_us):
            self._read_anew(now_us)
            return
        durable = self._log.durable_index
        facts = self._facts_up_to(durable)
        if facts or (durable > self.applied_index and now_us >= self._advance_at_us):
            self._advance_at_us = now_us + ADVANCE_US
            self._run(
                lambda: self._apply(facts, durable),
                lambda _: self._applied(len(facts), durable),
                spoils_nothing=not facts,
            )

    def settle(self) -> None:
        """At an orderly end, when the log has ended: what is durable is written, and nothing of the evidence
        has to wait for the next start."""
        if self._busy or self._failed or not self._directory.keeps_unwritten:
            return
        durable = self._log.durable_index
        facts = self._facts_up_to(durable)
        self._thread.shutdown(wait=True)
        try:
            self._apply(facts, durable)
        except DatabaseError as error:
            _say_unused(error, spoils_nothing=not facts)

    def _facts_up_to(self, index: int) -> list[Fact]:
        return [fact for at, fact in self._directory.unwritten if at <= index]

    def _bound_unwritten(self) -> None:
        directory = self._directory
        if len(directory.unwritten) < self._condense_at:
            return
        directory.condense(self._log.durable_index)
        self._condense_at = max(_CONDENSE_MIN, 2 * len(directory.unwritten))
        if len(directory.unwritten) > UNWRITTEN_MAX:
            directory.stop_keeping_unwritten()
            logger.error("the register of numbers is left alone until the next start", path=str(self._path))

    def reload(self, now_us: int) -> None:
        """A command has changed the register: read the ported numbers anew, when the thread is free."""
        self._outdated = True
        self.tick(now_us)

    def _read_anew(self, now_us: int) -> None:
        def read() -> Table:
            self._register.drop_expired(now_us)
            return table_of(self._register.load().ported, PORTED_MAX, now_us)

        self._outdated = False
        self._run(read, self._take, self._outdate)

    def _outdate(self) -> None:
        self._outdated = True

    def close(self) -> None:
        """What is not written yet stands in the evidence."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._register.close()

    def _apply(self, facts: list[Fact], applied_index: int) -> None:
        self._register.apply(facts, applied_index)

    def _applied(self, count: int, applied_index: int) -> None:
        del self._directory.unwritten[:count]
        self.applied_index = applied_index

    def _take(self, table: object) -> None:
        assert isinstance(table, Table)
        self._directory.portability.load(table)
        self._directory.learn_again()

    def _run(
        self,
        work: Callable[[], object],
        then: Callable[[object], None],
        otherwise: Callable[[], None] = lambda: None,
        *,
        spoils_nothing: bool = False,
    ) -> None:
        """Do ``work`` on the thread and ``then`` on the loop; one at a time, since each begins with what the
        one before has left.  After an error the next tick tries again: nothing was taken off the list."""
        assert not self._busy
        self._busy = True

        def finish(future: Future[object]) -> None:
            self._busy = False
            error = future.exception()
            self._failed = error is not None
            if error is None:
                then(future.result())
            elif isinstance(error, DatabaseError):
                _say_unused(error, spoils_nothing=spoils_nothing)
                otherwise()
            else:
                raise error

        def done(future: Future[object]) -> None:
            if not future.cancelled():
                self._loop.call_soon_threadsafe(finish, future)

        self._thread.submit(work).add_done_callback(done)


def _say_unused(error: DatabaseError, *, spoils_nothing: bool) -> None:
    """Where only the index would have moved on, as on a full disk, the next start reads some more."""
    say = logger.warning if spoils_nothing else logger.error
    say("the register of numbers cannot be used", error=str(error))
