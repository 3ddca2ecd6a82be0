"""What is due when: one table of (what has happened, now, the duty, the next deadline)."""

from math import inf

import pytest

from protocol.smpp.timers import Duty, Timers, TimerSettings, due, next_deadline

SETTINGS = TimerSettings(bind_s=5.0, enquire_link_s=30.0, response_s=10.0, inactivity_s=300.0)
UNHURRIED = TimerSettings(bind_s=inf, enquire_link_s=inf, response_s=10.0)


@pytest.mark.parametrize(
    ("settings", "timers", "bound", "now", "duty", "deadline"),
    [
        # Before the bind only the bind counts.
        (SETTINGS, Timers(100, 100, 100), False, 104.9, Duty.NOTHING, 105),
        (SETTINGS, Timers(100, 100, 100), False, 105.0, Duty.GIVE_UP_BIND, 105),
        (SETTINGS, Timers(100, 104, 104), False, 105.0, Duty.GIVE_UP_BIND, 105),
        # Bound: silence is asked about, then given up.
        (SETTINGS, Timers(100, 200, 200), True, 229.9, Duty.NOTHING, 230),
        (SETTINGS, Timers(100, 200, 200), True, 230.0, Duty.ENQUIRE, 230),
        (SETTINGS, Timers(100, 200, 200, enquired=230), True, 239.9, Duty.NOTHING, 240),
        (SETTINGS, Timers(100, 200, 200, enquired=230), True, 240.0, Duty.GIVE_UP_ENQUIRY, 240),
        # A peer that is alive and does nothing.
        (SETTINGS, Timers(100, 499, 200), True, 499.9, Duty.NOTHING, 500),
        (SETTINGS, Timers(100, 499, 200), True, 500.0, Duty.END_INACTIVE, 500),
        # Of two that are due the older one.
        (SETTINGS, Timers(100, 460, 200), True, 600.0, Duty.ENQUIRE, 490),
        (SETTINGS, Timers(100, 480, 200), True, 600.0, Duty.END_INACTIVE, 500),
        # An unbind silences everything but its own time.
        (SETTINGS, Timers(100, 100, 100, unbinding=150), False, 159.9, Duty.NOTHING, 160),
        (SETTINGS, Timers(100, 100, 100, unbinding=150), False, 160.0, Duty.GIVE_UP_UNBIND, 160),
        (SETTINGS, Timers(100, 100, 100, enquired=101, unbinding=150), False, 155, Duty.NOTHING, 160),
        # Timers that are switched off never ring.
        (UNHURRIED, Timers(100, 100, 100), False, 1e9, Duty.NOTHING, inf),
        (UNHURRIED, Timers(100, 100, 100), True, 1e9, Duty.NOTHING, inf),
    ],
)
def test_due_and_next_deadline(
    settings: TimerSettings, timers: Timers, bound: bool, now: float, duty: Duty, deadline: float
) -> None:
    assert due(settings, timers, now, bound=bound) is duty
    assert next_deadline(settings, timers, bound=bound) == deadline
