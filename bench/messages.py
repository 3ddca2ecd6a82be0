"""The messages of the load generator: each can be recognised wherever it turns up.

A message has a token, a number that no other message of the run has. The token stands at the end of its text,
and its destination follows from it, so that whoever sees the message can tell whether text and number still
belong together. No two tokens share a destination before all numbers are used: 400 million messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocol.smpp.codec import HEADER
from protocol.smpp.codes import CommandId

NETWORKS: Final = ("mobile", "unicom", "telecom", "broadnet")
PREFIXES: Final = (b"138", b"186", b"189", b"192")
"""One prefix of each network (MIIT 2023); message n goes to network n modulo 4."""

assert len(PREFIXES) == len(NETWORKS) == 4

TOKENS_MAX: Final = 4 * 10**8

TEXT: Final = (
    "【政务服务】您申请的业务已受理，请于三个工作日内携带身份证到窗口办理。办理进度可在政务服务网查询。"
)
"""49 characters; with mark and token it is one part (70 characters of UCS-2)."""

_MARK: Final = "编号".encode("utf-16-be")
_DIGITS: Final = 10
_HIGH_OCTETS: Final = bytes(_DIGITS)
TAIL_OCTETS: Final = len(_MARK) + 2 * _DIGITS

# Odd and no multiple of five: multiplication permutes the numbers below 10**8, so that neighbours in time are
# no neighbours in the number plan, and can be undone.
_SCATTER: Final = 61803399
_NUMBERS: Final = 10**8
_GATHER: Final = pow(_SCATTER, -1, _NUMBERS)
_NETWORK_OF_PREFIX: Final = {prefix: network for network, prefix in enumerate(PREFIXES)}

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)
UCS2: Final = 8


def destination_of(token: int) -> bytes:
    """The eleven digits that message `token` goes to."""
    return b"%b%08d" % (PREFIXES[token & 3], (token >> 2) * _SCATTER % _NUMBERS)


def token_at(octets: bytes, end: int) -> int:
    """The token of the text that ends at `end` in `octets`; -1 if the text is none of ours."""
    digits = octets[end - 2 * _DIGITS + 1 : end : 2]
    if (
        octets[end - TAIL_OCTETS : end - 2 * _DIGITS] != _MARK
        or octets[end - 2 * _DIGITS : end : 2] != _HIGH_OCTETS
        or not digits.isdigit()
    ):
        return -1
    return int(digits)


def token_of_destination(destination: bytes) -> int:
    """The lowest token that goes to `destination`; -1 if none does."""
    network = _NETWORK_OF_PREFIX.get(destination[:3])
    if network is None or len(destination) != 11 or not destination.isdigit():
        return -1
    return int(destination[3:]) * _GATHER % _NUMBERS * 4 + network


def submit_writer(source: bytes, text: str = TEXT) -> Callable[[int, int], bytes]:
    """A function that gives the whole submit_sm for a sequence number and a token.

    Every frame has the same length, so all but three places is made once: 1 µs a frame.
    """
    before_destination = b"\0\0\0" + source + b"\0\1\1"
    # esm_class, protocol_id, priority_flag, no schedule, no validity, registered_delivery, replace,
    # coding, default message id.
    short_message = text.encode("utf-16-be") + _MARK
    length = len(short_message) + 2 * _DIGITS
    if length > 140:
        raise ValueError(f"a text of {length} octets is more than one part: at most 58 characters fit")
    after_destination = b"\0" + bytes(5) + b"\1\0" + bytes((UCS2, 0, length)) + short_message
    octets = 16 + len(before_destination) + 11 + len(after_destination) + 2 * _DIGITS
    head = HEADER.pack(octets, _SUBMIT_SM, 0, 0)[:12]

    def write(sequence_number: int, token: int) -> bytes:
        return b"".join(
            (
                head,
                sequence_number.to_bytes(4, "big"),
                before_destination,
                b"%b%08d" % (PREFIXES[token & 3], (token >> 2) * _SCATTER % _NUMBERS),
                after_destination,
                f"{token:010d}".encode("utf-16-be"),
            )
        )

    assert len(write(1, 0)) == octets
    return write
