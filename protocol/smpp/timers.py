"""The timers of a session as a value: times go in, the next duty comes out (SMPP 3.4 §2.9, §7.2).

The session asks :func:`due` at each tick; nothing here reads a clock.
"""

from __future__ import annotations

from enum import Enum
from math import inf

import msgspec

# A peer that went dark is found out within two enquire_link_s: after one it is asked, and it has three
# quarters of another to say a word; the rest is for the ticks of the owner.
ENQUIRY_SHARE = 0.75


class TimerSettings(msgspec.Struct, frozen=True):
    """Durations in seconds.  ``inf`` switches a timer off.

    bind_s: from the connection to a successful bind (session_init_timer).
    enquire_link_s: silence after which the peer is asked whether it lives (enquire_link_timer).
    response_s: a request unanswered for so long has timed out (response_timer).
    inactivity_s: no message operation for so long ends the session (inactivity_timer).
    """

    bind_s: float = 5.0  # long enough for a slow peer, short enough that idle sockets do not gather
    enquire_link_s: float = 30.0
    response_s: float = 10.0
    inactivity_s: float = inf


class Timers(msgspec.Struct):
    """When things last happened, in the caller's monotonic seconds."""

    opened: float
    heard: float  # any octet from the peer
    useful: float  # a message operation in either direction
    enquired: float = inf  # our enquire_link that is still unanswered
    unbinding: float = inf  # our unbind that is still unanswered


class Duty(Enum):
    """What a tick must do."""

    NOTHING = "nothing"
    ENQUIRE = "enquire"
    GIVE_UP_BIND = "no bind in time"
    GIVE_UP_ENQUIRY = "enquire_link not answered"
    GIVE_UP_UNBIND = "unbind not answered"
    END_INACTIVE = "no message for too long"


def deadlines(settings: TimerSettings, timers: Timers, *, bound: bool) -> tuple[tuple[float, Duty], ...]:
    """Every running timer with the duty that falls due at its end."""
    if timers.unbinding < inf:
        return ((timers.unbinding + settings.response_s, Duty.GIVE_UP_UNBIND),)
    if not bound:
        return ((timers.opened + settings.bind_s, Duty.GIVE_UP_BIND),)
    liveness = (
        (
            timers.enquired + min(settings.response_s, ENQUIRY_SHARE * settings.enquire_link_s),
            Duty.GIVE_UP_ENQUIRY,
        )
        if timers.enquired < inf
        else (timers.heard + settings.enquire_link_s, Duty.ENQUIRE)
    )
    return liveness, (timers.useful + settings.inactivity_s, Duty.END_INACTIVE)


def due(settings: TimerSettings, timers: Timers, now: float, *, bound: bool) -> Duty:
    """The most pressing duty at ``now``."""
    at, duty = min(deadlines(settings, timers, bound=bound), key=lambda deadline: deadline[0])
    return duty if at <= now else Duty.NOTHING


def next_deadline(settings: TimerSettings, timers: Timers, *, bound: bool) -> float:
    """The time at which :func:`due` next has something to do."""
    return min(at for at, _ in deadlines(settings, timers, bound=bound))
