"""`python -m gateway.leash STARTER CORES SOCKET COMMAND...`: becomes the command, and ends when whoever
started it is gone.

STARTER is the id of that process, which may be gone already.  CORES are numbers with commas between them, or
nothing for all.  SOCKET is the number of a descriptor that listens, or nothing: the command finds it as
systemd would hand it over (sd_listen_fds(3)).  A process of its own does this because between fork and exec
of a process with threads no Python may run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # prctl(2); it stays over exec


_FIRST_HANDED_OVER: Final = 3


def main(starter: str, cores: str, listening: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(starter):
        sys.exit(1)  # it was killed before the line above
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    if listening:
        os.dup2(int(listening), _FIRST_HANDED_OVER)
        os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="smpp", LISTEN_PID=str(os.getpid()))
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(*sys.argv[1:])
