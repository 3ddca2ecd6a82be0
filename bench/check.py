"""Compares what the application, the carriers and the gateway say about every message of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from bench.carrier_ledger import CarrierReport
from bench.load_ledger import ACCEPTED, REFUSED, UNANSWERED, LoadLedgerFile
from bench.messages import NETWORKS

_EXAMPLES_MAX = 5


class Findings(msgspec.Struct, kw_only=True):
    """How many messages, by what is to be said of them.  The first group must be zero whatever failed.

    taken_twice: a carrier took it more than once.  misdirected: text and destination did not belong together.
    taken_though_refused: the application was told no, and a carrier took it.
    unfinished: accepted, no receipt at the application, and not in the list of uncertain parts.
    receipts_lost: the gateway answered the carrier's receipt, and the application never got one.
    contradictory: the application's receipt says something else than the carrier's.
    uncertain: in the list; of these, uncertain_taken were with a carrier, and their receipt is still to come.
    unanswered: the session ended before the answer; carriers took unanswered_taken of these, and receipts
    came for resolved.
    examples: tokens of the first group.
    """

    taken_twice: int = 0
    misdirected: int = 0
    taken_though_refused: int = 0
    unfinished: int = 0
    receipts_lost: int = 0
    contradictory: int = 0

    accepted: int = 0
    finished: int = 0
    unanswered: int = 0
    unanswered_taken: int = 0
    resolved: int = 0
    uncertain: int = 0
    uncertain_taken: int = 0
    examples: dict[str, list[int]] = {}

    @property
    def broken(self) -> list[str]:
        """What must not be, in words."""
        return [
            f"{name}: {count}"
            for name in (
                "taken_twice",
                "misdirected",
                "taken_though_refused",
                "unfinished",
                "receipts_lost",
                "contradictory",
            )
            if (count := getattr(self, name))
        ]


def check_anywhere(
    load: LoadLedgerFile, carriers: Sequence[CarrierReport], uncertain_ids: Collection[str]
) -> Findings:
    """The findings where a message may have gone to any carrier: all of them count as one."""
    octets = max(len(carrier.taken) for carrier in carriers)
    columns = [
        bytes(min(255, sum(each[token] for each in column if token < len(each))) for token in range(octets))
        for column in (
            [carrier.taken for carrier in carriers],
            [carrier.outcome for carrier in carriers],
            [carrier.acknowledged for carrier in carriers],
        )
    ]
    together = CarrierReport(
        name="all",
        port=0,
        misdirected=sum(carrier.misdirected for carrier in carriers),
        taken=columns[0],
        outcome=columns[1],
        acknowledged=columns[2],
    )
    return check(load, [together] * len(NETWORKS), uncertain_ids)


def check(
    load: LoadLedgerFile, carriers: Sequence[CarrierReport], uncertain_ids: Collection[str]
) -> Findings:
    """The findings after the run has come to rest."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[int]] = {}
    uncertain = {token for message_id, token in load.open.items() if message_id in uncertain_ids}

    def found(what: str, token: int) -> None:
        counts[what] += 1
        first = examples.setdefault(what, [])
        if len(first) < _EXAMPLES_MAX:
            first.append(token + load.first)

    for place, (state, outcome) in enumerate(zip(load.states, load.outcomes, strict=True)):
        token = place + load.first
        carrier = carriers[token & 3]
        taken = carrier.taken[token] if token < len(carrier.taken) else 0
        said = carrier.outcome[token] if taken else 0
        acknowledged = carrier.acknowledged[token] if taken else 0
        if taken > 1:
            found("taken_twice", place)
        if taken and state == REFUSED:
            found("taken_though_refused", place)
        if state == ACCEPTED:
            counts["accepted"] += 1
            if outcome:
                counts["finished"] += 1
            elif place in uncertain:
                counts["uncertain"] += 1
                counts["uncertain_taken"] += taken > 0
            else:
                found("unfinished", place)
        elif state == UNANSWERED:
            counts["unanswered"] += 1
            counts["unanswered_taken"] += taken > 0
            counts["resolved"] += outcome > 0
        if acknowledged and not outcome and state in (ACCEPTED, UNANSWERED):
            found("receipts_lost", place)
        if said and outcome and said != outcome:
            found("contradictory", place)
    misdirected = sum({id(carrier): carrier.misdirected for carrier in carriers}.values())
    return Findings(**counts, misdirected=misdirected, examples=examples)
