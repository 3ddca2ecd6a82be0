"""The ledger beside the gateway, for `jingxin run`: started with it, kept up, and ended after it.

It is a process of its own, so that nothing it does or fails at delays a message. Under systemd each has a
unit instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Final, Self

import structlog

logger = structlog.get_logger()

# Waits before the ledger is started again: what ended it may be a full disk, or evidence that a person has to
# look at.
RESTART_FIRST_S: Final = 1.0
RESTART_MAX_S: Final = 60.0

# A ledger that has run for so long had nothing wrong with it at its start.
SETTLED_S: Final = 60.0

# How long it may take to sign what has come last.
STOP_S: Final = 10.0


class Companion:
    """Keeps `jingxin ledger` running, from entry to exit."""

    def __init__(self, config: Path, signing_key: Path) -> None:
        """`config`: of both. `signing_key`: without this file there is no ledger, and a warning instead."""
        self._signing_key = signing_key
        ledger = [sys.executable, "-m", "gateway", "ledger", "-c", str(config.absolute())]
        # It ends when this process is gone, however that happens.
        self._command = [sys.executable, "-m", "gateway.leash", str(os.getpid()), "", "", *ledger]
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_up, name="ledger", daemon=True)

    def __enter__(self) -> Self:
        if self._signing_key.exists():
            self._thread.start()
        else:
            logger.warning(
                "nothing is signed: `jingxin keys init` makes the key", missing=str(self._signing_key)
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.terminate()
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                process.kill()

    def _keep_up(self) -> None:
        wait_s = RESTART_FIRST_S
        while not self._stopping.is_set():
            started_s = monotonic()
            try:
                status: int | str = self._run()
            except OSError as failure:
                status = failure.strerror or str(failure)
            if self._stopping.is_set():
                return
            if monotonic() - started_s > SETTLED_S:
                wait_s = RESTART_FIRST_S
            logger.error("the ledger has ended", status=status, again_in_s=wait_s)
            self._stopping.wait(wait_s)
            wait_s = min(2 * wait_s, RESTART_MAX_S)

    def _run(self) -> int:
        """Start a process and wait for its end; returns its exit status."""
        with self._lock:
            if self._stopping.is_set():
                return 0
            # A session of its own: an interrupt from the terminal is the gateway's, which ends first.
            self._process = subprocess.Popen(self._command, start_new_session=True)
        return self._process.wait()
