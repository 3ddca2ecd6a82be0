"""What the simulator can be told while it runs: a line of JSON each, such as {"command": "cut"}."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bench.messages import TOKENS_MAX
from bench.replies import Form

Address = Annotated[str, Meta(pattern="^[0-9]{1,20}$")]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class _Command(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="command"):
    """What all commands have: nothing that is not written here."""


class Report(_Command, tag="report"):
    """The ledgers of all carriers."""


class Mark(_Command, tag="mark"):
    """What came since the last mark, or since the start, and how long that is: of all carriers."""


class Cut(_Command, tag="cut"):
    """Abort all sessions of a carrier; without a name, of all of them."""

    carrier: str = ""


class SetRate(_Command, tag="set"):
    """Another rate above which the carrier throttles; 0: none.  burst 0: one second's worth."""

    carrier: str
    rate_per_s: Count
    burst: Count = 0


class Stall(_Command, tag="stall"):
    """Go dark, or come back: connections stay, and nothing is read from them or written to them.

    Every message that was read before is taken or refused, and its answers are held; what comes while the
    carrier is dark is not taken.  When it comes back it goes on with all of that.
    """

    carrier: str
    stalled: bool


class Reply(_Command, tag="reply"):
    """A subscriber sends a message of one part."""

    carrier: str
    subscriber: Address
    destination: Address
    text: str


class LongReply(_Command, tag="long_reply"):
    """A subscriber sends a message in parts, `order` being theirs: from 1, any of them left out or repeated.

    All go out on one session; with receipt_session `any`, on each in its turn.
    """

    carrier: str
    subscriber: Address
    destination: Address
    text: str
    reference: int
    width: Form
    order: list[int]


class LongReplies(_Command, tag="long_replies"):
    """Long replies from number `first` on (bench/replies.py), parts mixed by `seed`, on all sessions in turn.

    The seed decides the order, not the pace: they leave over some time.
    """

    carrier: str
    destination: Address
    count: Count
    seed: int
    first: Annotated[int, Meta(ge=0, lt=TOKENS_MAX - 1_000_000)] = 0


class Deliver(_Command, tag="deliver"):
    """Send a deliver_sm with this body, in hexadecimal, once: whatever it is answered with is counted."""

    carrier: str
    body: str


Command = Report | Mark | Cut | SetRate | Stall | Reply | LongReply | LongReplies | Deliver


def read_command(line: dict[str, Any]) -> Command:
    """msgspec.ValidationError for what is none, and says why."""
    command: Command = msgspec.convert(line, Command)
    return command
