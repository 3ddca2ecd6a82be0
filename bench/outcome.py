"""What a scenario found: its figures, and the bounds that were broken."""

from __future__ import annotations

from typing import Any

import msgspec

from bench.check import Findings
from bench.load_ledger import LoadReport


class Outcome(msgspec.Struct, kw_only=True):
    """One line of the bench. `broken` names each bound that was broken; `skipped` why nothing was done."""

    scenario: str
    short: bool
    ok: bool = True
    skipped: str = ""
    broken: list[str] = []
    figures: dict[str, Any] = {}


class Bounds:
    """Gathers what was broken."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def equal(self, name: str, value: float, wanted: float) -> None:
        if value != wanted:
            self.broken.append(f"{name}: {value}, must be {wanted}")

    def at_most(self, name: str, value: float, most: float) -> None:
        if value > most:
            self.broken.append(f"{name}: {value}, at most {most}")

    def at_least(self, name: str, value: float, least: float) -> None:
        if value < least:
            self.broken.append(f"{name}: {value}, at least {least}")

    def complete(self, load: LoadReport, count: int) -> None:
        """Every message accepted, and exactly one receipt each."""
        self.equal("accepted", load.accepted, count)
        self.equal("receipts", load.receipts, count)
        for name in ("missing", "repeated", "contradictory", "unknown", "unanswered"):
            self.equal(name, getattr(load, name), 0)

    def verified(self, verified: tuple[bool, str]) -> None:
        """The evidence verifies."""
        if not verified[0]:
            self.broken.append(f"evidence: {verified[1]}")

    def sound(self, findings: Findings, verified: tuple[bool, str]) -> None:
        """Nothing lost, nothing twice, and evidence that verifies."""
        self.broken += findings.broken
        self.verified(verified)


def figures_of(load: LoadReport) -> dict[str, Any]:
    return {
        "messages": load.submitted,
        "accepted": load.accepted,
        "receipts": load.receipts,
        "messages_per_s": load.messages_per_s,
        "response_ms": load.response_ms,
        "receipt_ms": load.receipt_ms,
        "load_cpu_us": round(load.cpu_s / max(1, load.submitted) * 1e6, 1),
    }


def outcome(scenario: str, *, short: bool, bounds: Bounds, figures: dict[str, Any]) -> Outcome:
    return Outcome(
        scenario=scenario, short=short, ok=not bounds.broken, broken=bounds.broken, figures=figures
    )
