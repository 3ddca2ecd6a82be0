"""What a simulated carrier remembers: the truth that a checker compares the gateway's story with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from bench.messages import PARTS_MAX, TOKENS_MAX
from protocol.smpp.codes import CommandStatus, MessageState

UNMAPPED = 255
"""Stands for the state of a receipt whose `stat` is none of the specification's words."""

_THROTTLED: Final = int(CommandStatus.ESME_RTHROTTLED)
_DELIVERED: Final = int(MessageState.DELIVERED)

# Each watched message is a line in the report; a hundred times what a scenario tries.
_WATCHED_MAX: Final = 20_000

assert PARTS_MAX <= 8, "a message's parts are the bits of an octet"


class Watched(msgspec.Struct, frozen=True):
    """A watched message (token -1: none of ours), when it was taken by CLOCK_MONOTONIC, which is one for all
    processes of a host, and its id as the response has it and as its receipts do."""

    token: int
    taken_at_s: float
    message_id: str
    receipt_id: str


class Phase(msgspec.Struct, frozen=True):
    """What came between two marks."""

    submits: int
    accepted: int
    throttled: int


class CarrierReport(msgspec.Struct, kw_only=True):
    """The ledger of one carrier.

    taken, outcome, acknowledged have an octet for each token: how often the message was taken, the
    message_state of its receipt (0 none, 255 a carrier's own code), how many of its receipts were answered.
    A message in parts is taken once, and once more for each part that came again; its outcome is the first
    that is no delivery.  parts: which parts of it were taken, part 1 being the lowest bit; 0 for a short one.
    foreign: neither messages nor parts as the load generator makes them.
    delivered_raw: answers to what the command `deliver` sent, by status.
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
    delivered_raw: dict[str, int] = {}
    watched: list[Watched] = []
    kept: list[str] = []
    taken: bytes = b""
    parts: bytes = b""
    outcome: bytes = b""
    acknowledged: bytes = b""


class CarrierLedger:
    """Grows with the tokens it sees; four octets a message."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.parts = bytearray()
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
        self.delivered_raw: Counter[int] = Counter()
        self.watched: list[Watched] = []
        self.kept: list[bytes] = []
        self._marked = Phase(0, 0, 0)

    def grow(self, token: int) -> None:
        """Make room for `token`, which is below TOKENS_MAX."""
        assert 0 <= token < TOKENS_MAX
        # Half as much again, so that growing costs nothing; the dump cuts what was never used.
        octets = max(token + 1, len(self.taken) * 3 // 2, 1 << 16) - len(self.taken)
        for column in (self.taken, self.parts, self.outcome, self.acknowledged):
            column.extend(bytes(octets))

    def take_parts(self, token: int, sequences: Sequence[int], state: int) -> None:
        """Parts of message `token` were taken, and `state` is what their receipt will say."""
        bits = sum(1 << sequence - 1 for sequence in sequences)
        if (not self.parts[token] or self.parts[token] & bits) and self.taken[token] < 255:
            self.taken[token] += 1
        self.parts[token] |= bits
        if self.outcome[token] in (0, _DELIVERED):
            self.outcome[token] = state

    def watch(self, watched: Watched) -> None:
        """Keep what is known of a watched message."""
        if len(self.watched) < _WATCHED_MAX:
            self.watched.append(watched)

    def mark(self) -> Phase:
        """What came since the last mark, or the beginning; the next phase begins."""
        last, self._marked = self._marked, Phase(self.submits, self.accepted, self.refused[_THROTTLED])
        return Phase(
            self._marked.submits - last.submits,
            self._marked.accepted - last.accepted,
            self._marked.throttled - last.throttled,
        )

    @property
    def taken_twice(self) -> int:
        """Messages taken more than once."""
        return sum(times > 1 for times in self.taken)
