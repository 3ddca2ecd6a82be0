"""How far the ledger has come, for the commands that read it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from storage.ledger.ledger import LEDGER_NAME, applied_index, check_there
from storage.reader import LogReader

if TYPE_CHECKING:
    from gateway.config import GatewayConfig


class Reach(NamedTuple):
    """Of the ledger and of the evidence. behind_s: how long ago the first record was written that the ledger
    does not have; 0 where it has all."""

    applied_index: int
    durable_index: int
    behind_s: float

    @property
    def sentence(self) -> str:
        return (
            f"the ledger has come to record {self.applied_index} of {self.durable_index}:"
            " what is newer is not shown"
        )


def reach(gateway: GatewayConfig) -> Reach:
    """Raises DatabaseError where there is no ledger, CorruptEvidence."""
    path = gateway.state_dir / LEDGER_NAME
    check_there(path)
    applied = applied_index(path)
    with LogReader(gateway.evidence_dir) as reader:
        durable = reader.next_index - 1
        missing = next(reader.frames(max(applied + 1, reader.first_index)), None)
    behind_us = 0 if missing is None else time.time_ns() // 1000 - missing.time_us
    return Reach(applied, durable, behind_us / 1e6)
