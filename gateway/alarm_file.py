"""The file in which the ledger process leaves what it found near a threshold, for the gateway to show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from storage.settlement.alarms import Alarm

ALARMS_NAME: Final = "alarms.json"


def write_alarms(state_dir: Path, alarms: Sequence[Alarm]) -> None:
    """Whole or not at all; it is made anew every hour, so it is not synced."""
    path = state_dir / ALARMS_NAME
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(alarms))
    part.replace(path)


def read_alarms(state_dir: Path) -> list[Alarm]:
    """What was found last; nothing where nobody has looked."""
    try:
        return msgspec.json.decode((state_dir / ALARMS_NAME).read_bytes(), type=list[Alarm])
    except (OSError, msgspec.DecodeError):
        return []
