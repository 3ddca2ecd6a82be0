"""What is due when: one table of (what has happened, now, the duty, the next deadline)."""

from math import inf

import pytest

from protocol.smpp.timers import ENQUIRY_SHARE, Duty, Timers, TimerSettings, due, next_deadline

SETTINGS = TimerSettings(bind_s=5.0, enquire_link_s=30.0, response_s=10.0, inactivity_s=300.0)
# An enquire_link may take less time than a message: three quarters of the 8 s after which it is asked.
WATCHFUL = TimerSettings(bind_s=5.0, enquire_link_s=8.0, response_s=10.0)
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
        (WATCHFUL, Timers(100, 200, 200), True, 208.0, Duty.ENQUIRE, 208),
        (WATCHFUL, Timers(100, 200, 200, enquired=208), True, 213.9, Duty.NOTHING, 214),
        (WATCHFUL, Timers(100, 200, 200, enquired=208), True, 214.0, Duty.GIVE_UP_ENQUIRY, 214),
        (WATCHFUL, Timers(100, 200, 200, unbinding=208), True, 214.0, Duty.NOTHING, 218),
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


@pytest.mark.parametrize("enquire_link_s", [1.0, 5.0, 13.0, 14.0, 30.0])
def test_a_peer_that_went_dark_is_found_out_within_two_periods(enquire_link_s: float) -> None:
    """By an owner that ticks four times a second, whenever in a period it was heard last."""
    settings = TimerSettings(enquire_link_s=enquire_link_s, response_s=10.0)
    for offset in range(4):
        heard = now = 100.0 + offset / 16
        timers = Timers(90.0, heard, heard)
        tick = 100.25
        while (duty := due(settings, timers, now, bound=True)) is not Duty.GIVE_UP_ENQUIRY:
            if duty is Duty.ENQUIRE:
                timers.enquired = now
            now, tick = tick, tick + 0.25
        assert now - heard <= 2 * enquire_link_s
        assert now - heard >= enquire_link_s + min(10.0, ENQUIRY_SHARE * enquire_link_s)
