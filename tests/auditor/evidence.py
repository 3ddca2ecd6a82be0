"""Evidence as an auditor holds it: the log, its records, the tree and all checkpoints, each checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.auditor import history, months, segments, tree
from tests.auditor.notes import Checkpoint, Key
from tests.auditor.records import Record, decode
from tests.auditor.statement import Cut
from tests.auditor.wrong import demand


@dataclass(frozen=True)
class Findings:
    """What an audit found, when it found nothing wrong."""

    records: int
    parts: int
    accepted_units: int
    units: int
    outcomes: dict[str, int]
    open: int
    unmatched: int
    torn: int
    checkpoints: int
    covered: int
    cosigned: dict[str, int]


@dataclass(frozen=True)
class Evidence:
    """A log that was checked against its proofs."""

    name: str
    log: segments.Log
    records: list[Record]
    signed: list[tree.Signed]
    newest: Checkpoint | None
    findings: Findings

    @classmethod
    def read(cls, evidence: Path, proofs: Path, key: str, witnesses: Sequence[str] = ()) -> Evidence:
        """Check everything."""
        own = Key.read(key)
        log = segments.read(evidence)
        records = [decode(log.first + place, data) for place, data in enumerate(log.records)]
        counts = history.follow(records, log.first)
        whole = tree.tree_of(log, proofs)
        signed = tree.checkpoints(proofs, own, whole)
        newest = tree.newest(proofs, own, signed, whole)
        cosigned = tree.cosigned(proofs, own, [Key.read(text) for text in witnesses], whole)
        findings = Findings(
            records=len(log.records),
            parts=counts.parts,
            accepted_units=counts.accepted_units,
            units=counts.units,
            outcomes=counts.outcomes,
            open=counts.open,
            unmatched=counts.unmatched,
            torn=log.torn,
            checkpoints=len(signed),
            covered=signed[-1].checkpoint.size if signed else 0,
            cosigned=cosigned,
        )
        return cls(own.name, log, records, signed, newest, findings)

    def cut(self, last_month: str, cutoff_hours: int) -> tuple[Cut, Checkpoint, bool]:
        """Which records a statement has, by which checkpoint, and whether it is final."""
        demand(bool(self.signed), "no checkpoint: no statement")
        known_before_us = months.begin_us(months.day_after_month(last_month)) + cutoff_hours * months.HOUR_US
        day = months.day_of(known_before_us)
        for one in self.signed:
            size = one.checkpoint.size
            if one.day >= day and size and self.log.written_us(size) >= known_before_us:
                return Cut(size, known_before_us), one.checkpoint, True
        newest = self.signed[-1].checkpoint
        return Cut(newest.size, known_before_us), newest, False
