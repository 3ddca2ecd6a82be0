"""How far the other process has come, from the files that it leaves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from gateway.alarm_file import read_alarms
from storage.ledger.ledger import LEDGER_NAME, applied_index
from storage.proofs.checkpoints import signed_records
from storage.settlement.alarms import Alarm

# Whoever asks for the status or the metrics waits for nobody who has the tables to himself.
_BUSY_S: Final = 0.5


class LedgerProgress(msgspec.Struct, frozen=True):
    """Of the ledger of one gateway. Reads files: not for the hot path."""

    proofs_dir: Path
    state_dir: Path

    def signed(self) -> int:
        """Records that the newest checkpoint speaks of."""
        return signed_records(self.proofs_dir)

    def tabled(self) -> int:
        """Records that are in its tables. Opens a database."""
        return applied_index(self.state_dir / LEDGER_NAME, busy_s=_BUSY_S)

    def alarms(self) -> list[Alarm]:
        """Thresholds that are near, as they were found last."""
        return read_alarms(self.state_dir, time.time_ns() // 1000)
