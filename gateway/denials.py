"""The record of what was not taken.

A refusal that speaks of the message (a wrong source, an unknown number) has a record of its own with the
sealed content, since nothing may pass unrecorded.  One that speaks of the moment (throttled, queue full) says
nothing that the next try does not change, so those of a second share one record: a client in a loop must not
fill the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.throttle import TokenBucket
from storage import records
from storage.log import EvidenceLog
from storage.records import encode
from storage.seal import Sealer

if TYPE_CHECKING:
    from gateway.admission import Refusal
    from gateway.turns import Turns

# Denials that get a record of their own, all accounts together.  A person can read none of more than these,
# and 100 a second are 5 GB a day at worst.
OWN_RECORDS_PER_S = 100
OWN_RECORDS_BURST = 1_000

Key = tuple[str, int, int, str]


class Denials:
    """Writes `denied` records, one by one or gathered by second."""

    def __init__(self, log: EvidenceLog, sealer: Sealer, now: float) -> None:
        self._log = log
        self._sealer = sealer
        self._bucket = TokenBucket(OWN_RECORDS_PER_S, OWN_RECORDS_BURST, now)
        self._gathered: dict[Key, int] = {}

    def may_record(self, now: float) -> bool:
        """Whether one more refusal may have a record of its own; takes the right to it."""
        return self._log.has_room and self._bucket.take(1, now)

    def note(
        self, account: str, session: int, refusal: Refusal, body: bytes, destination: bytes, turns: Turns
    ) -> None:
        """A submission was refused.  body: the submit_sm body.  destination: normalised, may be empty."""
        if refusal.transient or not self.may_record(turns.now):
            key = (account, session, refusal.command_status, refusal.reason)
            self._gathered[key] = self._gathered.get(key, 0) + 1
            return
        index = self._log.next_index
        number_hash = self._sealer.number_hash(destination) if destination else b""
        self._log.append(
            encode(
                records.Denied(
                    turns.now_us,
                    account,
                    session,
                    refusal.command_status,
                    refusal.reason,
                    1,
                    number_hash,
                    self._sealer.seal(index, body),
                )
            )
        )

    def flush(self, now_us: int) -> None:
        """Write the gathered ones; call once a second."""
        gathered, self._gathered = self._gathered, {}
        for (account, session, command_status, reason), count in gathered.items():
            self._log.append(
                encode(records.Denied(now_us, account, session, command_status, reason, count, b"", b""))
            )
