"""A message and its parts, as the gateway holds them while they are open.

A message is what an application submitted; a part is one PDU of it on the air and the unit of charging.  One
submit_sm is one part; a submit_multi is one part for each destination, all answering to the same message id.
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


class Part(msgspec.Struct, gc=False, eq=False):
    """An open part.

    number: the index of its `accepted` record.  message: the number whose id the application knows.
    destination: normalised digits.  source_field, destination_field: TON, NPI, address and NUL, as submitted.
    body: the submit_sm body for the carrier, kept until the carrier has taken the part.
    carrier_id: of the last attempt that was answered; earlier_ids: of those before.
    doubtful: an attempt of it was uncertain, so the carrier may have it even while it is queued again.
    registered_delivery: as the application asked.  units: chargeable parts in this PDU.
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
    state: int = QUEUED
    attempts: int = 0
    doubtful: bool = False
    link: int = 0
    dispatched_us: int = 0
    carrier_id: bytes = b""
    earlier_ids: tuple[bytes, ...] = ()
    message_state: int = 0
    final_us: int = 0
    error: bytes = b""


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
