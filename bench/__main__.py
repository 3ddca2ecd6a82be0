"""`python -m bench`: runs the standard scenarios and prints one line of JSON for each.

    python -m bench [--short] [SCENARIO...]     throughput saturation latency kill cut memory disk
                                                throttle lanes dark long reload restart ledger verify
                                                settlement
    python -m bench carrier JSON...             simulated carriers, each a CarrierOptions
    python -m bench load JSON                   the load generator, a LoadOptions

Exit status 1 when a bound was broken or a scenario could not be carried through.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from bench import (
    carrier,
    full_disk,
    ledger_scenarios,
    link_scenarios,
    load,
    scenarios,
    settlement_scenarios,
)
from bench.dialogue import say
from bench.outcome import Outcome
from gateway.trial import TrialError


class Scenario(Protocol):
    def __call__(self, *, short: bool) -> Outcome: ...


SCENARIOS: Final[dict[str, Scenario]] = {
    "throughput": scenarios.throughput,
    "saturation": scenarios.saturation,
    "latency": scenarios.latency,
    "kill": scenarios.kill,
    "cut": scenarios.cut,
    "memory": scenarios.memory,
    "disk": full_disk.disk,
    "throttle": link_scenarios.throttle,
    "lanes": link_scenarios.lanes,
    "dark": link_scenarios.dark,
    "long": link_scenarios.long,
    "reload": link_scenarios.reload,
    "restart": link_scenarios.restart,
    "ledger": ledger_scenarios.ledger,
    "verify": ledger_scenarios.verification,
    "settlement": settlement_scenarios.settlement,
}

_PROCESSES: Final[dict[str, Callable[[list[str]], int]]] = {"carrier": carrier.run, "load": load.run}


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in _PROCESSES:
        return _PROCESSES[arguments[0]](arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m bench", description="The standard scenarios.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=" ".join(SCENARIOS))
    parser.add_argument(
        "--short", action="store_true", help="minutes instead of an hour; speed is not judged"
    )
    chosen = parser.parse_args(arguments)
    names = chosen.scenarios or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    machine = f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    failed = False
    for name in names:
        # Before the first scenario it tells whether somebody else is at work, and the figures are theirs too.
        load_before = round(os.getloadavg()[0], 2)
        try:
            outcome = SCENARIOS[name](short=chosen.short)
        except TrialError as error:
            outcome = Outcome(scenario=name, short=chosen.short, ok=False, broken=[str(error)])
        say({**msgspec.structs.asdict(outcome), "machine": machine, "load_before": load_before})
        failed = failed or not outcome.ok
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
