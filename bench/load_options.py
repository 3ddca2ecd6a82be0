"""What the load generator does."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bench.messages import TEXT, TOKENS_MAX

Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the load generator.

    rate_per_s: messages a second, sent when they are due whatever became of those before; 0: as fast as the
    windows allow.
    first: the token of the first message, so that two runs against one gateway do not meet.
    bind: transceivers, or of each two sessions one transmitter and one receiver.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)]
    system_id: str
    password: str
    source: str = "10639110001"
    text: str = TEXT
    sessions: Annotated[int, Meta(ge=1, le=1000)] = 4
    window: Annotated[int, Meta(ge=1, le=10_000)] = 100
    bind: Literal["transceiver", "separate"] = "transceiver"
    rate_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0
    count: Annotated[int, Meta(ge=0, lt=TOKENS_MAX)] = 1000
    first: Annotated[int, Meta(ge=0, lt=TOKENS_MAX)] = 0

    reconnect: bool = False  # go on when a session is lost
    resubmit: bool = False  # a message without response is sent again, as a new one
    # How long to wait for further receipts, from the last one or the last response on.
    quiet_s: Seconds = 5.0
    # How long to go on without any session before the run counts as failed.
    give_up_s: Seconds = 30.0
    progress_s: Seconds = 0.0  # a line of progress so often; 0: none
    ledger: str = ""  # a file for what became of each message; empty: none
