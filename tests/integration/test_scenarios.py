"""The short forms of the scenarios: whatever happens to processes, connections and disks, nothing is lost
and nothing goes out twice.

Speed is measured by the long forms (`make bench`), on a machine that does nothing else.
"""

from __future__ import annotations

import pytest

from bench import full_disk, ledger_scenarios, link_scenarios, scenarios
from bench.__main__ import Scenario


@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.throughput,
        scenarios.kill,
        scenarios.cut,
        full_disk.disk,
        link_scenarios.throttle,
        link_scenarios.lanes,
        link_scenarios.dark,
        link_scenarios.long,
        link_scenarios.reload,
        link_scenarios.restart,
        ledger_scenarios.ledger,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_nothing_is_lost_and_nothing_twice(scenario: Scenario) -> None:
    outcome = scenario(short=True)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.broken == []
    assert outcome.ok
    assert outcome.figures
