"""`python -m gateway.leash CORES COMMAND...`: becomes the command, and ends when whoever started it is gone.

CORES are numbers with commas between them, or nothing for all. A process of its own does this because between
fork and exec of a process with threads no Python may run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # prctl(2); it stays over exec


def main(cores: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(*sys.argv[1:])
