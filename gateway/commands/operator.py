"""Who gives a command, for the evidence."""

from __future__ import annotations

import getpass
import os


def operator() -> str:
    """The person's login name: behind sudo stands a person, and the evidence names them and not root."""
    return os.environ.get("SUDO_USER") or getpass.getuser()
