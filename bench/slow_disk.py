"""`python -m bench.slow_disk SECONDS ARGUMENT...`: `jingxin ARGUMENT...` on a disk whose sync takes longer.

Server disks take 1 to 3 ms where the machine of a benchmark takes 0.1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import sleep

from gateway.cli import run
from storage.durable import Disk


def slow_down(delay_s: float) -> None:
    """Every sync of evidence in this process takes `delay_s` seconds more from now on."""
    sync_data = Disk.sync_data

    def slow_sync_data(self: Disk, path: Path, descriptor: int) -> None:
        sleep(delay_s)
        sync_data(self, path, descriptor)

    Disk.sync_data = slow_sync_data  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down(float(sys.argv[1]))
    sys.exit(run(sys.argv[2:]))
