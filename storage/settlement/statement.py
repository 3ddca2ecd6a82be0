"""A statement (结算清单): what one period costs, and everything it follows from.

It is a pure function of the evidence up to a checkpoint, of the contract and of the table that says what a
carrier's code means; each of these is named in it by its hash. It holds whole numbers and texts only, and
`encode` writes it in one way, so that both parties get the same octets on any machine.

Money is in 0.0001 yuan throughout.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from protocol.smpp.times import SHANGHAI
from storage.proofs.checkpoint import Checkpoint
from storage.settlement.amounts import FEN, cut_decimal, rounded
from storage.settlement.calendar import Period
from storage.settlement.contract import Contract
from storage.settlement.counts import CauseOf, Count, Counts, Cut, count
from storage.settlement.service import Service, judge
from storage.settlement.terms import CountOn, Terms, Unit

FORMAT: Final = "jingxin-statement-1"

_HOUR_US: Final = 3_600_000_000


class Figures(Struct, frozen=True, kw_only=True):
    """Units of one line or of a total, but for `submitted` and `denied`, which count submissions that were
    refused as one each, and `duplicates`, which counts receipts."""

    submitted: int  # accepted and denied
    denied: int
    accepted: int
    cancelled: int
    sent: int
    delivered: int
    failed: int
    causes: dict[str, int]  # of the failures; each above 0
    unknown: int
    uncertain: int
    waiting: int
    duplicates: int
    billable: int
    amount: int


class Line(Struct, frozen=True, kw_only=True):
    """What is alike in all of these. carrier: "" where none is known."""

    month: str
    direction: Literal["mt", "mo"]
    carrier: str
    account: str
    category: str
    figures: Figures


class Charge(Struct, frozen=True, kw_only=True):
    """What there is to pay when units are counted in this way."""

    count_on: CountOn
    units_mt: int
    units_mo: int
    amount: int


class Term(Struct, frozen=True, kw_only=True):
    """A parameter of the contract as it was in force, and where it stands."""

    key: str
    value: str
    clause: str
    document: str
    note: str


class Source(Struct, frozen=True, kw_only=True):
    """A file that the figures follow from. sha256: in hexadecimal."""

    name: str
    sha256: str


class Evidence(Struct, frozen=True, kw_only=True):
    """The log, and how much of it counted: the first `records` records, under the root that was signed, and
    of them what was known before a time."""

    log: str  # its name in checkpoints
    identity: str  # of its segments, in hexadecimal
    records: int
    root: str  # base64, as in the checkpoint
    known_before: str
    known_before_us: int


class Statement(Struct, frozen=True, kw_only=True):
    """All of it. final: the log goes on beyond `known_before`, so that these figures will not change."""

    format: str
    final: bool
    period: int  # of the contract; 0: other months than one of its periods
    first_month: str
    last_month: str
    party_a: str
    party_b: str
    contract: str  # its title
    contract_number: str
    categories: dict[str, str]  # their names
    unit: Unit
    price_mt: int
    price_mo: int
    tax_included: bool
    evidence: Evidence
    sources: tuple[Source, ...]
    terms: tuple[Term, ...]
    lines: tuple[Line, ...]
    total: Figures
    total_mt: Figures
    total_mo: Figures
    count_on: CountOn
    charges: tuple[Charge, ...]  # one for each way of counting; `count_on` says which one holds
    amount: int  # by that one
    service: tuple[Service, ...]  # one for each window of months that is judged
    reduction: int
    due: int  # amount less reduction, at least 0, to the fen

    def encode(self) -> bytes:
        """Canonical JSON: keys in the order of their octets, no spaces, UTF-8, and a newline at the end."""
        return msgspec.json.encode(self, order="sorted") + b"\n"

    @classmethod
    def decode(cls, octets: bytes) -> Statement:
        """Raises ValueError where the octets are no statement, or not as `encode` writes it."""
        statement = msgspec.json.decode(octets, type=cls)
        if statement.format != FORMAT or statement.encode() != octets:
            raise ValueError(f"no canonical JSON of {FORMAT}")
        return statement


def cut_of(contract: Contract, period: Period, records: int) -> Cut:
    """Where knowledge ends for the statement of a period made from so many records."""
    return Cut(records, period.end_us + contract.settlement.cutoff_hours * _HOUR_US)


def evidence_of(checkpoint: Checkpoint, identity: bytes, before_us: int) -> Evidence:
    """The log of the checkpoint, as far as that goes and as it was known before a time."""
    return Evidence(
        log=checkpoint.origin,
        identity=identity.hex(),
        records=checkpoint.size,
        root=base64.b64encode(checkpoint.root).decode(),
        known_before=_moment(before_us),
        known_before_us=before_us,
    )


def make_statement(
    connection: sqlite3.Connection,
    contract: Contract,
    period: Period,
    checkpoint: Checkpoint,
    identity: bytes,
    *,
    final: bool,
    causes: Sequence[Source],
    cause_of: CauseOf,
) -> Statement:
    """The statement of a period from a ledger that holds the records of the checkpoint, and maybe more."""
    terms = contract.terms_of(period)
    billing = terms.billing
    cut = cut_of(contract, period, checkpoint.size)
    counts = count(
        connection,
        period.start_us,
        period.end_us,
        cut,
        billing.unit,
        terms.recon.carrier_basis,
        cause_of,
    )
    months = period.months()
    windows = [months] if terms.sla.rate_window == "settlement" else [[month] for month in months]
    service = tuple(judge(connection, contract, terms, window, counts, cut, cause_of) for window in windows)
    charges = tuple(_charge(counts, way, terms) for way in ("accepted", "delivered", "submitted"))
    amount = next(charge.amount for charge in charges if charge.count_on == billing.count_on)
    reduction = sum(each.reduction.amount for each in service)
    return Statement(
        format=FORMAT,
        final=final,
        period=period.number,
        first_month=str(period.first),
        last_month=str(period.last),
        party_a=contract.party_a,
        party_b=contract.party_b,
        contract=contract.title,
        contract_number=contract.number,
        categories=dict(contract.categories),
        unit=billing.unit,
        price_mt=billing.price_mt,
        price_mo=billing.price_mo,
        tax_included=billing.tax_included,
        evidence=evidence_of(checkpoint, identity, cut.before_us),
        sources=(Source(name="contract", sha256=contract.digest.hex()), *causes),
        terms=tuple(_terms(contract, terms, period)),
        lines=tuple(
            Line(
                month=line.month,
                direction=line.direction,
                carrier=line.network,
                account=line.account,
                category=line.category,
                figures=_figures([(line.direction, counted)], terms),
            )
            for line, counted in sorted(counts.items(), key=lambda each: each[0])
        ),
        total=_total(counts, terms, ("mt", "mo")),
        total_mt=_total(counts, terms, ("mt",)),
        total_mo=_total(counts, terms, ("mo",)),
        count_on=billing.count_on,
        charges=charges,
        amount=amount,
        service=service,
        reduction=reduction,
        due=_due(amount - reduction, terms),
    )


def _due(amount: int, terms: Terms) -> int:
    """What can be paid: whole fen, rounded as a reduction is."""
    return rounded(Fraction(max(amount, 0)), FEN, terms.reduction.rounding)


def _total(counts: Counts, terms: Terms, directions: tuple[str, ...]) -> Figures:
    return _figures(
        [(line.direction, counted) for line, counted in counts.items() if line.direction in directions],
        terms,
    )


def _figures(counted: Iterable[tuple[str, Count]], terms: Terms) -> Figures:
    causes: dict[str, int] = {}
    sums = dict.fromkeys(_SUMMED, 0)
    billable = amount = 0
    for direction, each in counted:
        for name in _SUMMED:
            sums[name] += getattr(each, name)
        for cause, units in each.failed.items():
            causes[cause] = causes.get(cause, 0) + units
        units = _billable(each, terms.billing.count_on, terms)
        billable += units
        amount += units * _price(direction, terms)
    return Figures(
        submitted=sums["accepted"] + sums["denied"],
        failed=sum(causes.values()),
        causes=causes,
        billable=billable,
        amount=amount,
        **sums,
    )


# What a line has from its count as it is.
_SUMMED: Final = (
    "accepted",
    "cancelled",
    "delivered",
    "denied",
    "duplicates",
    "sent",
    "uncertain",
    "unknown",
    "waiting",
)


def _charge(counts: Counts, count_on: CountOn, terms: Terms) -> Charge:
    units = {"mt": 0, "mo": 0}
    for line, counted in counts.items():
        units[line.direction] += _billable(counted, count_on, terms)
    amount = sum(number * _price(direction, terms) for direction, number in units.items())
    return Charge(count_on=count_on, units_mt=units["mt"], units_mo=units["mo"], amount=amount)


def _billable(counted: Count, count_on: CountOn, terms: Terms) -> int:
    """Units to be paid for (四.15). A unit counts once, however often it was tried or reported."""
    match count_on:
        case "delivered":
            return counted.delivered
        case "accepted":
            units = counted.accepted
        case "submitted":
            units = counted.accepted + counted.denied
    return units - counted.cancelled if terms.billing.cancelled == "free" else units


def _price(direction: str, terms: Terms) -> int:
    return terms.billing.price_mt if direction == "mt" else terms.billing.price_mo


def _terms(contract: Contract, terms: Terms, period: Period) -> Iterable[Term]:
    """The parameters that the figures depend on."""
    tables: tuple[tuple[str, Struct], ...] = (
        ("settlement", contract.settlement),
        ("billing", terms.billing),
        ("sla", terms.sla),
        ("reduction", terms.reduction),
        ("maintenance", terms.maintenance),
        ("recon", terms.recon),
    )
    for name, table in tables:
        for field in table.__struct_fields__:
            key = f"{name}.{field}"
            origin = contract.origin(key, period.first_day)
            yield Term(
                key=key,
                value=_plain(getattr(table, field)),
                clause=origin.clause,
                document=origin.document,
                note=origin.note,
            )


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Fraction():
            return cut_decimal(value)
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _moment(time_us: int) -> str:
    when = datetime.fromtimestamp(time_us / 1_000_000, UTC).astimezone(SHANGHAI)
    return when.isoformat(timespec="seconds")
