"""The bodies of submit_sm: as an application submitted them, and as a carrier gets them."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.message import MODE_MASK, TRANSACTION, Part
from protocol.smpp.codec import HEADER, decode, encode
from protocol.smpp.codec_fast import submit_body_with_registered_delivery
from protocol.smpp.codes import CommandId
from protocol.smpp.pdu import SubmitSm
from protocol.smpp.times import format_absolute

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)

# The two low bits of registered_delivery: a final receipt is always asked of the carrier, since the contract
# wants the status of every message; whether the application hears of it is its own wish.
_FINAL_RECEIPT: Final = 0x01
_FINAL_RECEIPT_BITS: Final = 0x03

_QUARTERS_OF_SHANGHAI: Final = 32  # its offset from UTC in quarters of an hour, as SMPP writes it


def submit_of_body(body: bytes) -> SubmitSm:
    """The submit_sm of a body that was accepted before."""
    pdu = decode(HEADER.pack(16 + len(body), _SUBMIT_SM, 0, 0) + body)
    assert isinstance(pdu, SubmitSm)
    return pdu


def body_for_carrier(pdu: SubmitSm, frame: bytes, expires_us: int) -> bytes:
    """The submit_sm body as it goes to the carrier: untouched, but for asking for a final receipt; and what
    the gateway itself keeps until its time comes says no time any more, and when its validity ends."""
    registered_delivery = pdu.registered_delivery
    asked = registered_delivery & ~_FINAL_RECEIPT_BITS | _FINAL_RECEIPT
    if pdu.schedule_delivery_time:
        validity = absolute_time(expires_us) if expires_us else b""
        if pdu.esm_class & MODE_MASK == TRANSACTION:  # the end that we know is that of our own patience
            validity = pdu.validity_period
        due = msgspec.structs.replace(
            pdu,
            schedule_delivery_time=b"",
            validity_period=validity,
            registered_delivery=asked,
        )
        return encode(due)[16:]
    if registered_delivery == asked:
        return frame[16:]
    return submit_body_with_registered_delivery(frame, pdu, asked)


def absolute_time(time_us: int) -> bytes:
    """A moment in SMPP's absolute form, in the local time that Chinese carriers write."""
    return format_absolute(time_us / 1e6, _QUARTERS_OF_SHANGHAI)


def body_after_waiting(part: Part) -> bytes:
    """The body of a part that has waited: a relative validity would begin anew with the carrier.

    In transaction mode the end that we know is our own, and the wait one of seconds.
    """
    if part.mode == TRANSACTION:
        return part.body
    pdu = submit_of_body(part.body)
    if not pdu.validity_period.endswith(b"R"):
        return part.body
    return encode(msgspec.structs.replace(pdu, validity_period=absolute_time(part.expires_us)))[16:]
