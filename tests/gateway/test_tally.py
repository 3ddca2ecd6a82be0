"""How often a peer answered with each status, however many it invents."""

from __future__ import annotations

from gateway.tally import OTHER, STATUSES_MAX, Tally


def test_a_peer_that_invents_statuses_ends_in_one_number() -> None:
    tally = Tally()
    for status in range(STATUSES_MAX + 50):
        tally.count(status)
    tally.count(0)
    tally.count(2**32 - 1)
    assert len(tally) == STATUSES_MAX + 1
    assert (tally[0], tally[STATUSES_MAX - 1], tally[OTHER]) == (2, 1, 51)
