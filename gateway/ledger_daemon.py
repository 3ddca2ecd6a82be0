"""The ledger process: follows the evidence, signs how far it has come, and keeps the tables of it.

It shares files with the gateway and nothing else: it reads what is durable, and the gateway runs with it or
without it.  Signing comes first: a database that cannot be used is said, and tried again later.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final, Self

import structlog

from gateway import __version__, logs
from gateway.config_table import is_credential
from gateway.watch import Watch
from storage.errors import EvidenceError
from storage.ledger.ledger import LEDGER_NAME, Ledger
from storage.proofs.notary import STEP_RECORDS, Notary
from storage.proofs.note import LOG
from storage.proofs.signing_key import read_signing_key

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Tables

logger = structlog.get_logger()

# A checkpoint is signed every second in which records came.
STEP_S: Final = 1.0

# While messages come, the tables get so much of each second: the disk, the memory and its caches are shared
# even where the cores are not. It is enough for 3,000 messages a second, each of which takes 65 to 120 µs; a
# burst is caught up with when it is over.
TABLES_S: Final = 0.4

# How long a database that cannot be used is left alone: somebody has to make room, or make it anew.
DATABASE_RETRY_S: Final = 60.0

# Where gateway and ledger share a core, messages go first.
NICE: Final = 10


# Asked for in between steps and not handled in the middle of one: a handler would run inside whatever the
# process is just doing, such as waiting for a lock that it needs itself.
_STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT})


def run(tables: Tables, signing_key: Path) -> int:
    """Run the ledger in the foreground until SIGTERM or SIGINT; returns the exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    log_writer = logs.start(sys.stderr.fileno(), "info", console=sys.stderr.isatty())
    try:
        signer = read_signing_key(signing_key, LOG, guarded=is_credential(signing_key))
        gateway = tables.gateway
        with (
            Notary(gateway.evidence_dir, gateway.proofs_dir, gateway.name, signer) as notary,
            Bookkeeper(gateway.state_dir / LEDGER_NAME, gateway.evidence_dir) as bookkeeper,
            Watch(tables),
        ):
            _follow(notary, bookkeeper)
    except EvidenceError as error:
        logger.critical("the ledger cannot go on", reason=str(error))
        return 1
    finally:
        log_writer.close()
    return 0


class Bookkeeper:
    """Fills the tables while they can be used."""

    def __init__(self, path: Path, evidence: Path) -> None:
        self._path = path
        self._evidence = evidence
        self._ledger: Ledger | None = None
        self._again_s = 0.0  # by the monotonic clock: not opened before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def work(self, limit_s: float) -> bool:
        """Take in what is durable, for so long at most; whether there is nothing more to do for now. What
        stands in the way is said, and tried again later: whether anything is wrong with the evidence itself,
        the notary finds out.
        """
        begun_s = time.monotonic()
        if begun_s < self._again_s:
            return True
        try:
            if self._ledger is None:
                self._ledger = Ledger.open(self._path, self._evidence)
            while self._ledger.step():
                if time.monotonic() - begun_s > limit_s:
                    return False
        except EvidenceError as error:
            logger.error("the ledger's tables are not kept", reason=str(error), again_in_s=DATABASE_RETRY_S)
            self._close()
            self._again_s = time.monotonic() + DATABASE_RETRY_S
        return True

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


def _follow(notary: Notary, bookkeeper: Bookkeeper) -> None:
    """Sign what becomes durable. Raises EvidenceError when there is nothing that can be signed any more."""
    notary.recover()
    signed = 0 if notary.signed is None else notary.signed.size
    logger.info("ledger", version=__version__, signed=signed, behind=notary.behind)
    stopped = False
    while not stopped:
        busy = notary.step(time.time_ns() // 1000)
        caught_up = bookkeeper.work(TABLES_S if busy else STEP_S)
        if notary.behind >= STEP_RECORDS:
            rest_s = 0.0
        elif caught_up:
            rest_s = STEP_S
        else:
            rest_s = STEP_S - TABLES_S if busy else 0.0
        stopped = _told_to_stop(rest_s)
    notary.step(time.time_ns() // 1000)  # what came since the last look
    logger.info("ledger stopped", signed=notary.size)


def _told_to_stop(within_s: float) -> bool:
    """Wait so long for the signal to stop; whether it came."""
    return signal.sigtimedwait(_STOPS, within_s) is not None
