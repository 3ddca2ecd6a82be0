"""The ledger process: follows the evidence and signs how far it has come.  Nothing is decided here.

It shares files with the gateway and nothing else: it reads what is durable, and the gateway runs with it or
without it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
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
        with Notary(gateway.evidence_dir, gateway.proofs_dir, gateway.name, signer) as notary:
            _follow(notary)
    except EvidenceError as error:
        logger.critical("the ledger cannot go on", reason=str(error))
        return 1
    finally:
        log_writer.close()
    return 0


def _follow(notary: Notary) -> None:
    """Sign what becomes durable. Raises EvidenceError when there is nothing that can be signed any more."""
    notary.recover()
    signed = 0 if notary.signed is None else notary.signed.size
    logger.info("ledger", version=__version__, signed=signed, behind=notary.behind)
    stopped = False
    while not stopped:
        notary.step(time.time_ns() // 1000)
        stopped = _told_to_stop(STEP_S if notary.behind < STEP_RECORDS else 0.0)
    notary.step(time.time_ns() // 1000)  # what came since the last look
    logger.info("ledger stopped", signed=notary.size)


def _told_to_stop(within_s: float) -> bool:
    """Wait so long for the signal to stop; whether it came."""
    return signal.sigtimedwait(_STOPS, within_s) is not None
