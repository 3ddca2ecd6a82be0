"""What a simulated carrier remembers: the truth that a checker compares the gateway's story with."""

from __future__ import annotations

from collections import Counter

import msgspec

from bench.messages import TOKENS_MAX

UNMAPPED = 255
"""Stands for the state of a receipt whose `stat` is none of the specification's words."""


class CarrierReport(msgspec.Struct, kw_only=True):
    """The ledger of one carrier.

    taken, outcome, acknowledged have an octet for each token: how often the message was taken, the
    message_state of its receipt (0 none, 255 a carrier's own code), how many of its receipts were answered.
    cuts: sessions this carrier cut.  lost_sessions: those that ended without unbind, whoever ended them.
    """

    name: str
    port: int
    submits: int = 0
    accepted: int = 0
    refused: dict[str, int] = {}
    taken_twice: int = 0
    misdirected: int = 0
    foreign: int = 0
    receipts_sent: int = 0
    receipts_acknowledged: int = 0
    receipts_refused: dict[str, int] = {}
    receipts_waiting: int = 0
    replies_sent: int = 0
    replies_acknowledged: int = 0
    binds: int = 0
    binds_refused: int = 0
    cuts: int = 0
    lost_sessions: int = 0
    states: dict[str, int] = {}
    kept: list[str] = []
    taken: bytes = b""
    outcome: bytes = b""
    acknowledged: bytes = b""


class CarrierLedger:
    """Grows with the tokens it sees; three octets a message."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.outcome = bytearray()
        self.acknowledged = bytearray()
        self.submits = 0
        self.accepted = 0
        self.misdirected = 0
        self.foreign = 0
        self.refused: Counter[int] = Counter()
        self.receipts_sent = 0
        self.receipts_acknowledged = 0
        self.receipts_refused: Counter[int] = Counter()
        self.replies_sent = 0
        self.replies_acknowledged = 0
        self.binds = 0
        self.binds_refused = 0
        self.cuts = 0
        self.lost_sessions = 0
        self.states: Counter[bytes] = Counter()
        self.kept: list[bytes] = []

    def grow(self, token: int) -> None:
        """Make room for `token`, which is below TOKENS_MAX."""
        assert 0 <= token < TOKENS_MAX
        # Half as much again, so that growing costs nothing; the dump cuts what was never used.
        octets = max(token + 1, len(self.taken) * 3 // 2, 1 << 16) - len(self.taken)
        for column in (self.taken, self.outcome, self.acknowledged):
            column.extend(bytes(octets))

    @property
    def taken_twice(self) -> int:
        """Messages taken more than once."""
        return sum(times > 1 for times in self.taken)
