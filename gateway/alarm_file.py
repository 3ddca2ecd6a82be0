"""The file in which the ledger process leaves what it found near a threshold, for the gateway to show."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from storage.settlement.alarms import Alarm
from storage.settlement.calendar import moment

ALARMS_NAME: Final = "alarms.json"

# Thresholds are counted every hour: of what has been left out three times nothing is known any more.
OLD_US: Final = 3 * 3_600_000_000


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """made_us: when thresholds were counted, or 0; faults_us: when the clocks of faults were looked at."""

    made_us: int = 0
    thresholds: tuple[Alarm, ...] = ()
    faults_us: int = 0
    faults: tuple[Alarm, ...] = ()


def write_found(state_dir: Path, found: Found) -> None:
    """Whole or not at all; it is made anew all the time, so it is not synced."""
    path = state_dir / ALARMS_NAME
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(found))
    part.replace(path)


def read_found(state_dir: Path) -> Found:
    """What was left last; nothing where nobody has looked."""
    try:
        return msgspec.json.decode((state_dir / ALARMS_NAME).read_bytes(), type=Found)
    except (OSError, msgspec.DecodeError):
        return Found()


def read_alarms(state_dir: Path, now_us: int) -> list[Alarm]:
    """What holds now; of what is too old to hold that alone is said."""
    found = read_found(state_dir)
    alarms: list[Alarm] = []
    if found.made_us and now_us - found.made_us > OLD_US:
        alarms.append(Alarm("watch", f"nobody has looked at thresholds since {moment(found.made_us)}"))
    else:
        alarms += found.thresholds
    if now_us - found.faults_us <= OLD_US:
        alarms += found.faults
    return alarms
