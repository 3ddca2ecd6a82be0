"""A statement as one half-year of a police department might come to, made of its structs alone.

The figures come from one seed. Its sums are taken here, apart from the code that the tests are about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from random import Random
from typing import Final

import msgspec

from storage.settlement.amounts import cut_decimal
from storage.settlement.contract import shipped_contract
from storage.settlement.service import Rate, Reduction, Service
from storage.settlement.statement import (
    FORMAT,
    Charge,
    Evidence,
    Figures,
    Line,
    Source,
    Statement,
    Term,
)

MONTHS: Final = tuple(f"2026-{number:02d}" for number in range(6, 12))
CARRIERS: Final = {"mobile": 0.62, "unicom": 0.2, "telecom": 0.16, "broadnet": 0.02}
ACCOUNTS: Final = {  # category and messages a month
    "hukou": ("document", 182_000),
    "churujing": ("document", 64_500),
    "jiaojing": ("convenience", 911_000),
    "jw-tixing-02": ("convenience", 37_300),
    "oa": ("office", 12_400),
}
CAUSES: Final = {
    "terminal": 0.0092,
    "invalid": 0.0041,
    "content": 0.0007,
    "blacklist": 0.0004,
    "policy": 0.0002,
    "route": 0.0003,
    "gateway": 0.0011,
    "throttled": 0.0005,
    "expired": 0.0013,
    "ported": 0.0002,
    "param": 0.0001,
    "unknown": 0.0003,
}
PRICE: Final = 300
DIGEST: Final = "9f2c4be01d7a83565e10c7b2a4986f3d0b1e52c8a7f4936d18e05bca2f7d6410"


def sample_statement(*, final: bool = True, complaints: int = 11) -> Statement:
    """Above 10 complaints the service is not as agreed, for the rate never is."""
    random = Random(4_12)
    lines = tuple(sorted(_lines(random), key=lambda line: (line.month, line.direction, line.carrier)))
    total = added(lines)
    total_mt = added([line for line in lines if line.direction == "mt"])
    total_mo = added([line for line in lines if line.direction == "mo"])
    charges = (
        _charge("accepted", total_mt.accepted - total_mt.cancelled, total_mo.accepted),
        _charge("delivered", total_mt.delivered, total_mo.delivered),
        _charge("submitted", total_mt.submitted - total_mt.cancelled, total_mo.submitted),
    )
    service = _service(total_mt, total_mo, complaints)
    return Statement(
        format=FORMAT,
        final=final,
        period=6,
        first_month=MONTHS[0],
        last_month=MONTHS[-1],
        party_a="河南省公安厅",
        party_b="中国移动通信集团河南有限公司",
        contract="河南省公安厅购买短信服务项目合同（包1）",
        contract_number="",
        categories={"convenience": "便民服务", "document": "证件办理", "office": "内部办公"},
        unit="part",
        price_mt=PRICE,
        price_mo=PRICE,
        tax_included=True,
        evidence=Evidence(
            log="hn-gw-1",
            identity="3b" * 16,
            records=41_907_332,
            root="mJ8m0Hq2c7nq1TzQ3sYH0J2dV4bq8kq7cY5mQe0Zl2E=",
            known_before="2026-12-04T00:00:00+08:00",
            known_before_us=1_796_313_600_000_000,
        ),
        sources=(
            Source(name="contract", sha256="5d" * 32),
            Source(name="outcomes.csv", sha256="a7" * 32),
        ),
        terms=_terms(),
        lines=lines,
        total=total,
        total_mt=total_mt,
        total_mo=total_mo,
        count_on="accepted",
        charges=charges,
        amount=charges[0].amount,
        service=(service,),
        reduction=service.reduction.amount,
        due=charges[0].amount - service.reduction.amount,
    )


def empty_statement() -> Statement:
    """Of a period in which nothing was sent."""
    nothing = added([])
    sample = sample_statement(complaints=0)
    rates = tuple(Rate(name=rate.name, successful=0, total=0, rate="") for rate in sample.service[0].rates)
    none = Reduction(fee_of_successful=0, failed=0, total=0, exact="0.000000", amount=0)
    service = msgspec.structs.replace(sample.service[0], rates=rates, rate_met=True, reduction=none)
    return msgspec.structs.replace(
        sample,
        lines=(),
        total=nothing,
        total_mt=nothing,
        total_mo=nothing,
        charges=tuple(_charge(charge.count_on, 0, 0) for charge in sample.charges),
        amount=0,
        service=(service,),
        reduction=0,
        due=0,
    )


def with_account(statement: Statement, old: str, new: str) -> Statement:
    """The same with an account of another name."""
    lines = tuple(
        msgspec.structs.replace(line, account=new) if line.account == old else line
        for line in statement.lines
    )
    return msgspec.structs.replace(statement, lines=lines)


def with_many_accounts(statement: Statement) -> Statement:
    """The same with another account in each line."""
    lines = tuple(
        msgspec.structs.replace(line, account=f"account-{number:08d}")
        for number, line in enumerate(statement.lines)
    )
    return msgspec.structs.replace(statement, lines=lines)


def only_denied(statement: Statement) -> Statement:
    """A period in which every submission was refused."""
    lines = tuple(line for line in statement.lines if line.figures.denied)
    return msgspec.structs.replace(empty_statement(), lines=lines, total=added(lines), total_mt=added(lines))


def monthly(statement: Statement) -> Statement:
    """The same, judged month by month."""
    services = []
    for month in MONTHS:
        lines = [line for line in statement.lines if line.month == month]
        total_mt = added([line for line in lines if line.direction == "mt"])
        total_mo = added([line for line in lines if line.direction == "mo"])
        service = _service(total_mt, total_mo, 11)
        services.append(msgspec.structs.replace(service, first_month=month, last_month=month))
    reduction = sum(service.reduction.amount for service in services)
    return msgspec.structs.replace(
        statement, service=tuple(services), reduction=reduction, due=statement.amount - reduction
    )


def added(lines: Sequence[Line]) -> Figures:
    counter: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    for line in lines:
        row = msgspec.structs.asdict(line.figures)
        causes.update(row.pop("causes"))
        counter.update(row)
    fields = [field for field in Figures.__struct_fields__ if field != "causes"]
    return Figures(causes=dict(causes), **{field: counter[field] for field in fields})


def _lines(random: Random) -> list[Line]:
    lines = []
    for month in MONTHS:
        for account, (category, volume) in ACCOUNTS.items():
            for carrier, share in CARRIERS.items():
                units = int(volume * share * random.uniform(0.8, 1.2))
                figures = _sent(random, units)
                lines.append(_line(month, "mt", carrier, account, category, figures))
                if account in ("hukou", "jiaojing"):
                    figures = _received(units // random.randint(60, 90))
                    lines.append(_line(month, "mo", carrier, account, category, figures))
            lines.append(_line(month, "mt", "", account, category, _denied(random.randint(3, 400))))
    return lines


def _line(month: str, direction: str, carrier: str, account: str, category: str, figures: Figures) -> Line:
    return Line(
        month=month,
        direction="mt" if direction == "mt" else "mo",
        carrier=carrier,
        account=account,
        category=category,
        figures=figures,
    )


def _sent(random: Random, accepted: int) -> Figures:
    causes = {
        cause: units
        for cause, share in CAUSES.items()
        if (units := int(accepted * share * random.uniform(0.7, 1.3)))
    }
    cancelled, waiting = accepted // 4_000, accepted // 60_000
    unknown, uncertain = accepted // 900, accepted // 20_000
    failed = sum(causes.values())
    return Figures(
        submitted=accepted,
        denied=0,
        accepted=accepted,
        cancelled=cancelled,
        sent=accepted - cancelled - waiting - uncertain - causes.get("gateway", 0),
        delivered=accepted - cancelled - waiting - unknown - uncertain - failed,
        failed=failed,
        causes=causes,
        unknown=unknown,
        uncertain=uncertain,
        waiting=waiting,
        duplicates=accepted // 5_000,
        billable=accepted - cancelled,
        amount=(accepted - cancelled) * PRICE,
    )


def _received(units: int) -> Figures:
    return Figures(
        submitted=units,
        denied=0,
        accepted=units,
        cancelled=0,
        sent=units,
        delivered=units,
        failed=0,
        causes={},
        unknown=0,
        uncertain=0,
        waiting=0,
        duplicates=units // 700,
        billable=units,
        amount=units * PRICE,
    )


def _denied(denied: int) -> Figures:
    return msgspec.structs.replace(added([]), submitted=denied, denied=denied)


def _charge(count_on: str, units_mt: int, units_mo: int) -> Charge:
    amount = (units_mt + units_mo) * PRICE
    return msgspec.convert(
        {"count_on": count_on, "units_mt": units_mt, "units_mo": units_mo, "amount": amount}, Charge
    )


def _service(total_mt: Figures, total_mo: Figures, complaints: int) -> Service:
    successful = total_mt.delivered + total_mo.accepted
    total = total_mt.accepted - total_mt.cancelled + total_mo.accepted
    spared = total_mt.causes["terminal"] + total_mt.causes["invalid"]
    exact = Fraction(successful * PRICE * (total - successful), total)
    met = complaints <= 10
    return Service(
        first_month=MONTHS[0],
        last_month=MONTHS[-1],
        rates=(
            Rate(
                name="literal",
                successful=successful,
                total=total,
                rate=cut_decimal(Fraction(successful, total)),
            ),
            Rate(
                name="without_terminal",
                successful=successful,
                total=total - spared,
                rate=cut_decimal(Fraction(successful, total - spared)),
            ),
        ),
        contractual="literal",
        rate_min="0.990000",
        rate_met=False,
        left_out=0,
        exempt=(),
        complaints=complaints,
        complaints_attributed=min(complaints, 9),
        complaints_withdrawn=0,
        complaints_from="2025-12-01",
        complaints_to="2026-11-30",
        complaints_max=10,
        complaints_met=met,
        combine="any",
        met=met,
        reduction=Reduction(
            fee_of_successful=successful * PRICE,
            failed=total - successful,
            total=total,
            exact=cut_decimal(exact / 10_000),
            amount=0 if met else int((exact + 50) / 100) * 100,
        ),
    )


def _terms() -> tuple[Term, ...]:
    """Those of the contract that ships."""
    contract = shipped_contract()
    signed = contract.signed
    tables = {
        "settlement": contract.settlement,
        "billing": signed.billing,
        "sla": signed.sla,
        "reduction": signed.reduction,
        "recon": signed.recon,
    }
    terms = []
    for name, table in tables.items():
        for field, value in msgspec.structs.asdict(table).items():
            origin = contract.origin(f"{name}.{field}")
            terms.append(
                Term(
                    key=origin.key,
                    value=_plain(value),
                    clause=origin.clause,
                    document=origin.document,
                    note=origin.note,
                )
            )
    return tuple(terms)


def _plain(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Fraction():
            return cut_decimal(value)
        case date():
            return value.isoformat()
        case _:
            return str(value)
