"""What stands in a directory that this user may not be allowed to look into."""

from __future__ import annotations

import os
from pathlib import Path


def listed(directory: Path) -> list[Path]:
    """What stands in a directory, in no order; nothing where there is no directory.

    Path.glob finds nothing in one that it may not read, and "nothing is there" would be a false statement:
    this raises PermissionError, as any OSError but that the directory is missing.
    """
    try:
        return [directory / name for name in os.listdir(directory)]
    except FileNotFoundError:
        return []
