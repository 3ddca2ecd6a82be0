"""Whether a part that a carrier did not take, or did not deliver, is tried again: when, and by whom.

What the carrier's status means stands in the table of outcomes; here stands what follows from it.  Congestion
is no matter of the part: it goes back to the head of its queue, and the link's controller decides when that
moves.  Everything else waits by a schedule, goes another way once, or ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gateway.carrier import Carrier
from gateway.message import DATAGRAM, TRANSACTION, Part
from gateway.outcomes import Action, Cause, Verdict
from gateway.routes import Routes

# The waits before the second attempt and those after it: a message centre that restarts is back within
# seconds, one that is repaired within the hour; after that the application should hear the truth.
RETRY_WAITS_S: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)

# Causes that lie with the carrier and not with the phone: a failure that a receipt reports is tried again for
# these alone.  A phone that is off was tried by the carrier for days already, and its owner is not helped by
# a message from the week before.
_CARRIERS_OWN: Final = frozenset({Cause.THROTTLED, Cause.GATEWAY, Cause.ROUTE, Cause.PORTED})


class Retry(msgspec.Struct, frozen=True, gc=False):
    """The part goes into the queue of ``carrier``, ``wait_s`` from now."""

    carrier: Carrier
    wait_s: float


RetryJudge = Callable[[Part, Verdict, str, Routes, float, int], Retry | None]


def retry_after_refusal(
    part: Part, verdict: Verdict, network: str, routes: Routes, now: float, now_us: int
) -> Retry | None:
    """What follows from a negative response that is no congestion; None: the part ends.

    network: the one that serves the number, as far as the gateway knows.
    """
    if part.mode in (DATAGRAM, TRANSACTION):  # tried once: the application wanted it so
        return None
    if verdict.action is Action.PARK:
        # The link is out of service now, and the part goes by another one.
        return Retry(part.carrier, 0.0)
    return _retry(part, verdict, network, routes, now, now_us)


def retry_after_receipt(
    part: Part, verdict: Verdict, network: str, routes: Routes, now: float, now_us: int
) -> Retry | None:
    """What follows from a receipt that reports a failure; None: the part ends."""
    if part.mode in (DATAGRAM, TRANSACTION) or verdict.cause not in _CARRIERS_OWN:
        return None
    return _retry(part, verdict, network, routes, now, now_us)


def _retry(
    part: Part, verdict: Verdict, network: str, routes: Routes, now: float, now_us: int
) -> Retry | None:
    if verdict.action is Action.OTHER_ROUTE:
        if part.rerouted or (part.group is not None and part.group.begun > 1):
            return None  # one reroute, and none away from what else has left of its text
        if verdict.cause is Cause.PORTED:
            other = routes.elsewhere(part, now)
        else:
            other = routes.another(network, part, now)
        return None if other is None else Retry(other, 0.0)
    if verdict.action is not Action.LATER or part.postponed >= len(RETRY_WAITS_S):
        return None
    wait_s = RETRY_WAITS_S[part.postponed]
    if part.expires_us and now_us + wait_s * 1e6 >= part.expires_us:
        return None
    return Retry(part.carrier, wait_s)
