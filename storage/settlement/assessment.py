"""The yearly assessment of 三.9, which has four headings.

How often there were faults (故障次数), how they were dealt with (故障解决), support (技术支持服务) and
satisfaction (服务满意度). The first two follow from the register of incidents; the others are what a person
has entered in the register of ratings.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from storage.settlement.calendar import Month, Period, day_of
from storage.settlement.contract import Contract
from storage.settlement.registers import OPENED, RATING, Entry, entries
from storage.settlement.report import FORMAT, Report, cut_at

ASSESSMENT_FORMAT: Final = "jingxin-assessment-1"

_FULL: Final = 100


class FaultsCounted(Struct, frozen=True, tag="faults counted"):
    """So many points are taken off for each."""

    faults: int
    points_per_fault: int


class FaultsInTime(Struct, frozen=True, tag="faults in time"):
    """Of the faults so many were responded to and restored in time."""

    faults: int
    in_time: int


class Rated(Struct, frozen=True, tag="rated"):
    """By a person."""

    who: str
    day: str


class Unrated(Struct, frozen=True, tag="unrated"):
    """Not yet."""


Basis = FaultsCounted | FaultsInTime | Rated | Unrated


class Heading(Struct, frozen=True, kw_only=True):
    """One heading of the assessment. score: of 100, from its basis; None where nobody has rated it."""

    name: str
    weight: int
    score: int | None
    basis: Basis


class Assessment(Struct, frozen=True, kw_only=True):
    """One year of the contract. score: the weighted mean, cut; None until every heading has one."""

    format: str
    year: int
    headings: tuple[Heading, ...]
    score: int | None
    pass_score: int
    passed: bool | None
    report: Report

    def encode(self) -> bytes:
        """As a statement is encoded."""
        return msgspec.json.encode(self, order="sorted") + b"\n"


class _Named(Struct):
    format: str


def read_report(octets: bytes) -> Report | Assessment:
    """What `encode` of either has written. Raises ValueError."""
    kinds: dict[str, type[Report | Assessment]] = {FORMAT: Report, ASSESSMENT_FORMAT: Assessment}
    name = msgspec.json.decode(octets, type=_Named).format
    if name not in kinds:
        raise ValueError(f"it is of format {name!r}, not one of {', '.join(kinds)}")
    report = msgspec.json.decode(octets, type=kinds[name])
    if report.encode() != octets:
        raise ValueError(f"no canonical JSON of {name}")
    return report


def assessment_period(contract: Contract, year: int) -> Period:
    """The months of a year of the contract, from 1; the first begins with the month of its start."""
    months = contract.assessment.months
    first = Month(contract.start.year, contract.start.month).later((year - 1) * months)
    return Period(0, first, first.later(months - 1))


def assess(connection: sqlite3.Connection, contract: Contract, year: int, report: Report) -> Assessment:
    """The four headings for a year of the contract, of which `report` is."""
    cut = cut_at(report.evidence)
    weights = contract.assessment
    faults = len(report.incidents)
    kept = sum(
        each.clocks.responded == "in time" and each.clocks.restored == "in time" for each in report.incidents
    )
    rated = [each for each in entries(connection, RATING, cut) if each.fact("year") == str(year)]
    headings = (
        Heading(
            name="faults",
            weight=weights.faults,
            score=max(0, _FULL - faults * weights.points_per_fault),
            basis=FaultsCounted(faults, weights.points_per_fault),
        ),
        Heading(
            name="resolution",
            weight=weights.resolution,
            score=_FULL * kept // faults if faults else _FULL,
            basis=FaultsInTime(faults, kept),
        ),
        _rated("support", weights.support, rated),
        _rated("satisfaction", weights.satisfaction, rated),
    )
    scores = [heading.score for heading in headings if heading.score is not None]
    score = None
    if len(scores) == len(headings):
        score = sum(each.weight * (each.score or 0) for each in headings) // _FULL
    return Assessment(
        format=ASSESSMENT_FORMAT,
        year=year,
        headings=headings,
        score=score,
        pass_score=weights.pass_score,
        passed=None if score is None else score >= weights.pass_score,
        report=report,
    )


def _rated(name: str, weight: int, rated: Sequence[Entry]) -> Heading:
    """What a person has entered last."""
    if not rated:
        return Heading(name=name, weight=weight, score=None, basis=Unrated())
    last = rated[-1]
    basis = Rated(last.events[0].who, day_of(last.when(OPENED)).isoformat())
    return Heading(name=name, weight=weight, score=int(last.fact(name)), basis=basis)
