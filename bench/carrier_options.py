"""How a simulated carrier behaves."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
IdForm = Literal["decimal", "hex", "hex_decimal", "zero_padded", "uuid", "twenty_digits", "mixed_case"]


class CarrierOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated carrier: one account on one port. As it stands here, a carrier without any fault.

    refusals: command_status by name to share, such as {"ESME_RSUBMITFAIL": 0.01}.
    stats: `stat` of the receipts to share, such as {"DELIVRD": 0.97, "MK:0001": 0.02}; the rest is DELIVRD.
    ids: how they are written; `hex_decimal` gives hexadecimal in the response and decimal in the receipt.
    receipt_session: the session that the message came on, another one of the account, or each in its turn.
    fail_every: of the parts of long messages each n-th, by its number, gets UNDELIV (`messages.part_fails`).
    watched: a source address, or one digit for a priority_flag: the report says when each message with it
    was taken, and under which id.
    """

    name: str
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0  # 0: a free one
    system_id: str = "gw"
    password: str = ""  # empty: any
    sessions_max: Annotated[int, Meta(ge=1)] = 64

    response_delay_s: Seconds = 0.0
    response_jitter_s: Seconds = 0.0  # up to so much more, evenly
    unanswered: Share = 0.0  # taken, a receipt comes, a response never
    refusals: dict[str, Share] = {}
    rate_per_s: Annotated[int, Meta(ge=0)] = 0  # above it ESME_RTHROTTLED; 0: no bound
    rate_burst: Annotated[int, Meta(ge=0)] = 0  # so many at once; 0: one second's worth

    receipt_delay_s: Seconds = 0.0
    receipt_jitter_s: Seconds = 0.0
    stats: dict[str, Share] = {}
    fail_every: Annotated[int, Meta(ge=0)] = 0  # 0: none
    ids: IdForm = "decimal"
    receipt_form: Literal["text_tlv", "text", "tlv"] = "text_tlv"
    receipt_session: Literal["same", "other", "any"] = "same"
    receipts_first: Share = 0.0  # the receipt leaves before the response
    duplicates: Share = 0.0  # the receipt leaves twice
    replies: Share = 0.0  # the subscriber answers 收到 after the receipt
    # Unanswered deliver_sm a session: more than a gateway answers between two commits.
    window: Annotated[int, Meta(ge=1)] = 400

    cut_after_pdus: Annotated[int, Meta(ge=0)] = 0  # a session is cut after so many submit_sm; 0: never
    cut_mean_s: Seconds = 0.0  # all sessions are cut at random, so many seconds apart in the mean; 0: never
    watched: str = ""  # empty: none
    kept_max: Annotated[int, Meta(ge=0)] = 0  # the first submit_sm are kept whole, for tests
    seed: int = 1
