"""The checker: for each thing that may go wrong with a message, the finding that names it."""

from __future__ import annotations

import pytest

from bench.carrier_ledger import CarrierReport
from bench.check import check
from bench.load_ledger import ACCEPTED, REFUSED, UNANSWERED, UNSENT, LoadLedgerFile

# At the application: state, outcome, and whether it is listed as uncertain.  At the carrier: times taken,
# outcome, times its receipt was answered.  And what is found.
CASES: list[tuple[tuple[int, int, bool], tuple[int, int, int], dict[str, int]]] = [
    ((UNSENT, 0, False), (0, 0, 0), {}),
    ((REFUSED, 0, False), (0, 0, 0), {}),
    ((ACCEPTED, 2, False), (1, 2, 1), {"accepted": 1, "finished": 1}),
    ((ACCEPTED, 2, False), (1, 2, 2), {"accepted": 1, "finished": 1}),  # a repeated receipt
    ((ACCEPTED, 8, False), (0, 0, 0), {"accepted": 1, "finished": 1}),  # refused by the carrier
    ((ACCEPTED, 0, True), (0, 0, 0), {"accepted": 1, "uncertain": 1}),
    ((ACCEPTED, 0, True), (1, 2, 0), {"accepted": 1, "uncertain": 1, "uncertain_taken": 1}),
    ((UNANSWERED, 0, False), (0, 0, 0), {"unanswered": 1}),
    ((UNANSWERED, 2, False), (1, 2, 1), {"unanswered": 1, "unanswered_taken": 1, "resolved": 1}),
    # What must not be.
    ((ACCEPTED, 2, False), (2, 2, 2), {"accepted": 1, "finished": 1, "taken_twice": 1}),
    ((REFUSED, 0, False), (1, 2, 0), {"taken_though_refused": 1}),
    ((ACCEPTED, 0, False), (0, 0, 0), {"accepted": 1, "unfinished": 1}),
    ((ACCEPTED, 0, False), (1, 2, 0), {"accepted": 1, "unfinished": 1}),
    ((ACCEPTED, 0, False), (1, 2, 1), {"accepted": 1, "unfinished": 1, "receipts_lost": 1}),
    (
        (ACCEPTED, 0, True),
        (1, 2, 1),
        {"accepted": 1, "uncertain": 1, "uncertain_taken": 1, "receipts_lost": 1},
    ),
    ((UNANSWERED, 0, False), (1, 2, 1), {"unanswered": 1, "unanswered_taken": 1, "receipts_lost": 1}),
    ((ACCEPTED, 2, False), (1, 5, 1), {"accepted": 1, "finished": 1, "contradictory": 1}),
]
HARMLESS = {
    "accepted",
    "finished",
    "unanswered",
    "unanswered_taken",
    "resolved",
    "uncertain",
    "uncertain_taken",
}


@pytest.mark.parametrize("first", [0, 6])
@pytest.mark.parametrize(("application", "carrier", "found"), CASES)
def test_findings(
    application: tuple[int, int, bool], carrier: tuple[int, int, int], found: dict[str, int], first: int
) -> None:
    state, outcome, uncertain = application
    taken, said, answered = carrier
    is_open = state == ACCEPTED and not outcome
    load = LoadLedgerFile(
        first=first, states=bytes((state,)), outcomes=bytes((outcome,)), open={"id": 0} if is_open else {}
    )
    carriers = [CarrierReport(name=str(number), port=0) for number in range(4)]
    carriers[first & 3] = CarrierReport(
        name="x",
        port=0,
        taken=bytes(first) + bytes((taken,)),
        outcome=bytes(first) + bytes((said,)),
        acknowledged=bytes(first) + bytes((answered,)),
    )
    findings = check(load, carriers, {"id"} if uncertain else set())
    assert {name: value for name in HARMLESS if (value := getattr(findings, name))} == {
        name: value for name, value in found.items() if name in HARMLESS
    }
    wrong = {name: value for name, value in found.items() if name not in HARMLESS}
    assert findings.broken == [
        f"{name}: 1" for name in sorted(wrong, key=list(type(findings).__struct_fields__).index)
    ]
    assert findings.examples == {name: [first] for name in wrong}


def test_a_misdirected_message_is_a_finding_of_the_carrier() -> None:
    load = LoadLedgerFile(first=0, states=b"", outcomes=b"", open={})
    carriers = [CarrierReport(name=str(number), port=0, misdirected=number) for number in range(4)]
    assert check(load, carriers, set()).broken == ["misdirected: 6"]
