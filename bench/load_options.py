"""What the load generator does."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bench.messages import TEXT, TOKENS_MAX

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Octet = Annotated[int, Meta(ge=0, le=255)]


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the load generator.

    form: short messages, or long ones (bench/messages.py): in parts, a submit_sm each, or whole, in the TLV
    message_payload.  In parts, whatever counts messages in the report counts parts; `text` is for short ones.
    registered_delivery: who asks for no receipt has all messages reported as `missing`, `quiet_s` later.
    rate_per_s: submit_sm a second, sent when they are due whatever became of those before; 0: as fast as the
    windows allow.
    first: the token of the first message, so that two runs against one gateway do not meet.
    replies: so many are waited for, as receipts are; to see that none comes twice, ask for one more.
    fail_every: what the carriers' option says, so that receipts of long messages can be compared with it.
    bind: transceivers, or of each two sessions one transmitter and one receiver.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)]
    system_id: str
    password: str
    source: str = "10639110001"
    form: Literal["short", "parts", "payload"] = "short"
    text: str = TEXT
    priority_flag: Octet = 0
    registered_delivery: Octet = 1
    sessions: Annotated[int, Meta(ge=1, le=1000)] = 4
    window: Annotated[int, Meta(ge=1, le=10_000)] = 100
    bind: Literal["transceiver", "separate"] = "transceiver"
    rate_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0
    count: Annotated[int, Meta(ge=0, lt=TOKENS_MAX)] = 1000
    first: Annotated[int, Meta(ge=0, lt=TOKENS_MAX)] = 0

    replies: Annotated[int, Meta(ge=0)] = 0
    fail_every: Annotated[int, Meta(ge=0)] = 0  # 0: nothing is compared

    reconnect: bool = False  # go on when a session is lost
    resubmit: bool = False  # a message without response is sent again, as a new one
    # How long to wait for further receipts, from the last one or the last response on.
    quiet_s: Seconds = 5.0
    # How long to go on without any session before the run counts as failed.
    give_up_s: Seconds = 30.0
    progress_s: Seconds = 0.0  # a line of progress so often; 0: none
    ledger: str = ""  # a file for what became of each message; empty: none
    timed: bool = False  # the file says when each message left, for runs of some thousands

    def __post_init__(self) -> None:
        if self.fail_every and self.form == "short":
            raise ValueError("fail_every is about long messages")
        if self.form == "parts":
            if self.first % 4 or self.count % 4:
                # The numbers of their parts would leave gaps (messages.part_number).
                raise ValueError("first and count of messages in parts must be multiples of 4")
            if self.resubmit:
                raise ValueError("a part cannot be sent again as a new message: no resubmit")
