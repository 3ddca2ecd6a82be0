"""What stands in a directory that this user may not be allowed to look into."""

from __future__ import annotations

import os
from pathlib import Path

from storage.errors import Unreadable


def listed(directory: Path) -> list[Path]:
    """What stands in a directory, in no order; nothing where there is no directory.

    Path.glob finds nothing in one that it may not read, and "nothing is there" would be a false statement:
    this raises Unreadable, which says what to do.
    """
    try:
        return [directory / name for name in os.listdir(directory)]
    except FileNotFoundError:
        return []
    except PermissionError as failure:
        raise Unreadable(f"{directory}: {failure.strerror}: let this user read it") from failure
    except NotADirectoryError as failure:
        raise Unreadable(f"{directory}: {failure.strerror}: name a directory") from failure
    except OSError as failure:
        raise Unreadable(f"{directory}: {failure.strerror or failure}: look at the disk") from failure
