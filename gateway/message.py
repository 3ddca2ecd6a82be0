"""A message and its parts, as the gateway holds them while they are open.

A message is what an application submitted; a part is one PDU of it on the air and the unit of charging.  One
submit_sm is one part; a submit_multi is one part for each destination, all answering to the same message id.
Parts of one long text that must take one way, whoever cut it, share a group.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from protocol.smpp.pdu import SubmitSm

if TYPE_CHECKING:
    from gateway.account import Account
    from gateway.carrier import Carrier

# Octets of the log's identity that begin each message id, so that ids of two gateways never meet.
IDENTITY_OCTETS = 3

_HEXADECIMAL = frozenset(b"0123456789abcdef")


# Modes of a message: the two low bits of esm_class (SMPP 3.4 §5.2.12).  The default is the carrier's, which
# is store and forward with all of them.
MODE_MASK = 0x03
DATAGRAM, TRANSACTION = 1, 2


class PartState(IntEnum):
    """Where a part stands.  It only moves forward, except that a certain failure to send, or a decision to
    resend, puts it back into the queue."""

    QUEUED = 0
    DISPATCHED = 1
    UNCERTAIN = 2
    SENT = 3
    FINAL = 4


# Plain integers for the hot path: reading a member of an IntEnum costs three times a global.
QUEUED, DISPATCHED, UNCERTAIN, SENT, FINAL = (int(state) for state in PartState)


class Group(msgspec.Struct, gc=False, eq=False):
    """The parts of one long text: they take one way (field lesson 16).

    carrier: theirs, once the first is routed.  begun: how many of them have been dispatched, whom the others
    follow.  came: those that were accepted, where the application cut it, a bit for each.
    first: the number of the first, where the gateway cut the text, and has one report for all; 0 where the
    application cut it, and hears of each.  cut_into: how many these are; delivered: those that are.
    reported: the one report has been made.
    """

    carrier: Carrier | None = None
    begun: int = 0
    came: int = 0
    first: int = 0
    cut_into: int = 1
    delivered: int = 0
    reported: bool = False

    def settles(self, *, delivered: bool) -> bool:
        """Whether the end of one part is that of the text: the first failure, or the last delivery."""
        if self.reported:
            return False
        self.delivered += delivered
        self.reported = not delivered or self.delivered == self.cut_into
        return self.reported


class Part(msgspec.Struct, gc=False, eq=False):
    """An open part.

    number: the index of its `accepted` record.  message: the number whose id the application knows.
    destination: normalised digits.  source_field, destination_field: TON, NPI, address and NUL, as submitted.
    body: the submit_sm body for the carrier, kept until the carrier has taken the part.  content: the index
    of the record that holds the body as it was submitted.
    carrier: to which it goes or went.  carrier_id: of the last attempt that was answered, and earlier_ids: of
    those before, with the carriers that gave them.
    doubts: how many attempts of it were uncertain and not answered after that, so the carrier may have it
    even while it is queued again.
    rerouted: it was sent another way because a carrier said so; that happens once.  ported: and what the
    carrier said was that the number has been ported.
    registered_delivery: as the application asked.  units: chargeable parts in this PDU.
    mode: of esm_class (SMPP 3.4 §5.2.12).  queued_us: since when it waits.  left: when it left last, in the
    monotonic seconds of this process.
    postponed: how often a retry of it was scheduled.  refused: the last attempt was refused for good, while
    an earlier one is in doubt: it is not sent again by itself.
    message_state: SMPP message_state once FINAL, otherwise 0.
    """

    number: int
    message: int
    account: Account
    carrier: Carrier
    destination: bytes
    source_field: bytes
    destination_field: bytes
    body: bytes
    registered_delivery: int
    units: int
    accepted_us: int
    expires_us: int
    lane: int
    mode: int
    queued_us: int
    content: int
    group: Group | None = None
    state: int = QUEUED
    attempts: int = 0
    postponed: int = 0
    doubts: int = 0
    refused: bool = False
    rerouted: bool = False
    ported: bool = False
    link: int = 0
    dispatched_us: int = 0
    left: float = 0.0
    carrier_id: bytes = b""
    earlier_ids: tuple[tuple[Carrier, bytes], ...] = ()
    message_state: int = 0
    final_us: int = 0
    error: bytes = b""

    @property
    def oldest(self) -> int:
        """The oldest record that a restart needs for it: its own, or, where it was cut from a longer text,
        that of the text's first part, since they have one outcome together."""
        return self.number if self.group is None else self.group.first or self.number

    @property
    def can_be_recalled(self) -> bool:
        """Whether the carrier has certainly never had it, so that it can be cancelled or replaced."""
        return self.state == QUEUED and not self.doubts and not self.postponed


def address_fields(pdu: SubmitSm, body: bytes) -> tuple[bytes, bytes]:
    """The source and destination of ``body`` as they stand on the wire: TON, NPI, address, NUL."""
    source_at = len(pdu.service_type) + 1
    destination_at = source_at + len(pdu.source_addr) + 3
    return body[source_at:destination_at], body[
        destination_at : destination_at + len(pdu.destination_addr) + 3
    ]


class MessageIds:
    """Message ids as applications see them: six hexadecimal digits of the log's identity, then the message
    number in ten; sixteen lower-case characters, within the 64 of SMPP 3.4 §5.2.23."""

    def __init__(self, log_identity: bytes) -> None:
        self._prefix = log_identity[:IDENTITY_OCTETS].hex()
        self._form = self._prefix.encode() + b"%010x"

    def text(self, number: int) -> bytes:
        """The id of message ``number`` (below 2**40)."""
        return self._form % number

    def number(self, text: bytes) -> int | None:
        """The number in a message id of this gateway; None for any other text."""
        prefix = self._prefix.encode()
        digits = text[len(prefix) :].lower()
        if text[: len(prefix)].lower() != prefix or len(digits) != 10:
            return None
        if not _HEXADECIMAL.issuperset(digits):  # int() takes signs, blanks and underscores too
            return None
        return int(digits, 16)
