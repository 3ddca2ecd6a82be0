"""The ledger process: follows the evidence and signs how far it has come.  Nothing is decided here.

It shares files with the gateway and nothing else: it reads what is durable, and the gateway runs with it or
without it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Final

import structlog

from gateway import __version__, logs
from gateway.config_table import is_credential
from storage.errors import EvidenceError
from storage.notary import STEP_RECORDS, Notary
from storage.note import LOG
from storage.signing_key import read_signing_key

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Tables

logger = structlog.get_logger()

# A checkpoint is signed every second in which records came.
STEP_S: Final = 1.0

# Where gateway and ledger share a core, messages go first.
NICE: Final = 10


class LedgerDaemon:
    """Runs the notary until it is told to stop."""

    def __init__(self, tables: Tables, signing_key: Path) -> None:
        """Raises KeyFileError, LogInUse."""
        name = tables.gateway.name
        signer = read_signing_key(signing_key, LOG, guarded=is_credential(signing_key))
        self._stopped = threading.Event()
        self._notary = Notary(tables.gateway.evidence_dir, tables.gateway.proofs_dir, name, signer)

    def stop(self, *_: int | FrameType | None) -> None:
        self._stopped.set()

    def run(self) -> None:
        """Raises EvidenceError when there is nothing that can be signed any more."""
        with self._notary as notary:
            notary.recover()
            signed = 0 if notary.signed is None else notary.signed.size
            logger.info("ledger", version=__version__, signed=signed, behind=notary.behind)
            while not self._stopped.is_set():
                notary.step(_now_us())
                if notary.behind < STEP_RECORDS:
                    self._stopped.wait(STEP_S)
            notary.step(_now_us())  # what came since the last look
        logger.info("ledger stopped", signed=notary.size)


def _now_us() -> int:
    return time.time_ns() // 1000


def run(tables: Tables, signing_key: Path) -> int:
    """Run the ledger in the foreground until SIGTERM or SIGINT; returns the exit status."""
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    log_writer = logs.start(sys.stderr.fileno(), "info", console=sys.stderr.isatty())
    try:
        daemon = LedgerDaemon(tables, signing_key)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, daemon.stop)
        daemon.run()
    except EvidenceError as error:
        logger.critical("the ledger cannot go on", reason=str(error))
        return 1
    finally:
        log_writer.close()
    return 0
