"""What the printed forms of a statement show: its lines added up, and its findings in sentences.

Nothing is computed here that decides about money. Sums are checked against the totals that the statement
carries, so that no table can say anything else than the statement does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec import Struct

from storage.settlement import wording
from storage.settlement.amounts import FEN, cut_decimal
from storage.settlement.calendar import moment
from storage.settlement.errors import SettlementError
from storage.settlement.registers import FORCE_MAJEURE
from storage.settlement.service import Exemption, Service
from storage.settlement.statement import Figures, Line, Statement

COLUMNS: Final = (
    ("提交", "submitted"),
    ("拒绝", "denied"),
    ("受理", "accepted"),
    ("取消", "cancelled"),
    ("送出", "sent"),
    ("成功", "delivered"),
    ("失败", "failed"),
    ("未知", "unknown"),
    ("不确定", "uncertain"),
    ("待发", "waiting"),
    ("重复回执", "duplicates"),
    ("计费条数", "billable"),
    ("金额", "amount"),
)
"""Heading and field of every figure, in the order of print; the amount is the last."""

CHARTED_MAX: Final = 12
"""Rows in a chart: a year of months; more names than that do not fit side by side on A4."""

_COUNTED: Final = tuple(field for _, field in COLUMNS)


class DoesNotAddUp(SettlementError):
    """The statement contradicts itself, and is not printed. The message is one line."""


class Row(Struct, frozen=True):
    """All lines that have something in common. rate: a share with six decimals, cut; "" of nothing."""

    name: str
    figures: Figures
    rate: str


class Summary(Struct, frozen=True):
    """The lines by one of their keys."""

    title: str
    heading: str
    rows: tuple[Row, ...]


class FailureRow(Struct, frozen=True):
    """Failures of one cause: by carrier, in the order of `Failures.carriers`, and together."""

    name: str
    units: tuple[int, ...]
    total: int


class Failures(Struct, frozen=True):
    carriers: tuple[str, ...]  # their names
    rows: tuple[FailureRow, ...]  # the most frequent first


class Finding(Struct, frozen=True):
    """One point of the judgement of the service."""

    point: str
    text: str


def check_sums(statement: Statement) -> None:
    """Raises DoesNotAddUp."""
    for name, said, directions in (
        ("total", statement.total, ("mt", "mo")),
        ("total_mt", statement.total_mt, ("mt",)),
        ("total_mo", statement.total_mo, ("mo",)),
    ):
        if summed(line for line in statement.lines if line.direction in directions) != said:
            raise DoesNotAddUp(f"{name} is not the sum of the lines")
    holding = [charge.amount for charge in statement.charges if charge.count_on == statement.count_on]
    if holding != [statement.amount] or statement.total.amount != statement.amount:
        raise DoesNotAddUp(f"amount is not what the lines cost, counted on {statement.count_on}")
    if sum(service.reduction.amount for service in statement.service) != statement.reduction:
        raise DoesNotAddUp("reduction is not the sum of the reductions")
    # It is rounded: how, stands among the terms.
    if abs(max(statement.amount - statement.reduction, 0) - statement.due) >= FEN:
        raise DoesNotAddUp("due is not amount less reduction")


def summed(lines: Iterable[Line]) -> Figures:
    causes: dict[str, int] = {}
    sums = dict.fromkeys(_COUNTED, 0)
    for line in lines:
        for field in _COUNTED:
            sums[field] += getattr(line.figures, field)
        for cause, units in line.figures.causes.items():
            causes[cause] = causes.get(cause, 0) + units
    return Figures(causes=causes, **sums)


def summaries(statement: Statement) -> tuple[Summary, ...]:
    """By carrier, account, category, month and direction."""
    lines = statement.lines
    accepted = {row: summed(each).accepted for row, each in _grouped(lines, lambda line: line.account)}
    return (
        _summary("按运营商", "运营商", lines, _carrier, ranked(wording.CARRIERS), wording.carrier_name),
        _summary("按账号", "账号", lines, lambda line: line.account, lambda key: -accepted[key], str),
        _summary(
            "按类别",
            "类别",
            lines,
            lambda line: line.category,
            ranked(statement.categories),
            lambda key: wording.category_name(statement, key),
        ),
        _summary("按月", "月份", lines, lambda line: line.month, lambda _: 0, wording.month_name),
        _summary(
            "按方向",
            "方向",
            lines,
            lambda line: line.direction,
            ranked(wording.DIRECTIONS),
            wording.DIRECTIONS.__getitem__,
        ),
    )


def total_row(statement: Statement) -> Row:
    return _row("合计", statement.total)


def failures(statement: Statement) -> Failures:
    by_carrier = [
        (carrier, summed(lines).causes)
        for carrier, lines in sorted(_grouped(statement.lines, _carrier), key=_carrier_order)
    ]
    by_carrier = [(carrier, causes) for carrier, causes in by_carrier if causes]
    ordered = sorted(statement.total.causes.items(), key=lambda each: (-each[1], each[0]))
    return Failures(
        tuple(wording.carrier_name(carrier) for carrier, _ in by_carrier),
        tuple(
            FailureRow(
                wording.cause_name(cause), tuple(causes.get(cause, 0) for _, causes in by_carrier), total
            )
            for cause, total in ordered
        ),
    )


def findings(statement: Statement, service: Service) -> tuple[Finding, ...]:
    """The two indicators and what follows, each figure with where it comes from."""
    verdict = wording.COMBINED[service.combine]
    outcome = f"{wording.MET[service.met]}{'，不减免' if service.met else '，应予减免'}"
    return (*indicators(service), *exemptions(service), Finding("结论", f"{verdict}；本期{outcome}"))


def indicators(service: Service) -> tuple[Finding, ...]:
    """The two indicators of 四.12, and what is left out of the first."""
    rate = next(rate for rate in service.rates if rate.name == service.contractual)
    withdrawn = f"；另有误登撤销 {service.complaints_withdrawn:,} 起" if service.complaints_withdrawn else ""
    return (
        Finding(
            "成功率指标",
            f"约定不低于 {wording.plain_percent(service.rate_min)}；约定口径成功率 "
            f"{wording.percent(rate.rate)}：{wording.MET[service.rate_met]}",
        ),
        Finding(
            "投诉指标",
            f"{service.complaints_from} 至 {service.complaints_to} 投诉 {service.complaints:,} 起"
            f"（其中乙方原因 {service.complaints_attributed:,} 起{withdrawn}），约定不超过"
            f" {service.complaints_max:,} 起：{wording.MET[service.complaints_met]}",
        ),
        Finding("剔除数量", f"约定免责时段内受理、不计入成功率的 {service.left_out:,} 条"),
    )


def exemptions(service: Service) -> tuple[Finding, ...]:
    """What was left out, entry by entry: whoever pays looks at each."""
    return tuple(
        Finding(
            f"免责时段（{number}）",
            f"{wording.REGISTERS[each.register]}（登记号 {each.entry}）：{moment(each.began_us)} 至 "
            f"{moment(each.ended_us) if each.ended_us else '未结束'}；{_written(each)}",
        )
        for number, each in enumerate(service.exempt, 1)
    )


def _written(exempt: Exemption) -> str:
    """When it was entered, and the proof of force majeure."""
    written = f"登记于 {moment(exempt.written_us)}，末条 {moment(exempt.last_written_us)}"
    if exempt.register != FORCE_MAJEURE:
        return written
    return f"{written}；证明文件 {moment(exempt.proven_us) if exempt.proven_us else '未登记'}"


def reduction_steps(statement: Statement, service: Service) -> tuple[str, ...]:
    """The arithmetic of the reduction, one step a line; none where there is nothing to reduce."""
    if service.met:
        return ()
    reduction = service.reduction
    rounding = wording.term_of(statement, "reduction.rounding") or "舍入"
    places = wording.term_of(statement, "reduction.to")
    rate_failed = cut_decimal(Fraction(reduction.failed, reduction.total)) if reduction.total else ""
    return (
        "减免费用 = 本期实际成功收发短信费用 × 本期短信收发失败率（合同四.12）",
        f"本期实际成功收发短信费用 = {_fee_arithmetic(statement, service)}",
        f"本期短信收发失败率 = {reduction.failed:,} ÷ {reduction.total:,} = {wording.percent(rate_failed)}"
        "（只列四位小数，计算用原分数）",
        f"减免费用 = {wording.money(reduction.fee_of_successful)} 元 × {reduction.failed:,} ÷"
        f" {reduction.total:,} = {Decimal(reduction.exact):,f} 元（六位小数以后不列）",
        f"{rounding}到 {places}：减免费用 = {wording.money(reduction.amount)} 元",
    )


def _fee_arithmetic(statement: Statement, service: Service) -> str:
    """Raises DoesNotAddUp where the lines do not come to the fee."""
    window = [line for line in statement.lines if service.first_month <= line.month <= service.last_month]
    sent = summed(line for line in window if line.direction == "mt").delivered
    replies = summed(line for line in window if line.direction == "mo").accepted
    fee = service.reduction.fee_of_successful
    if sent * statement.price_mt + replies * statement.price_mo != fee:
        raise DoesNotAddUp("fee_of_successful is not what the successful lines cost")
    price_mt, price_mo = (
        wording.shortest(wording.yuan(price)) for price in (statement.price_mt, statement.price_mo)
    )
    return f"下行 {sent:,} × {price_mt} 元 + 上行 {replies:,} × {price_mo} 元 = {wording.money(fee)} 元"


def _summary(
    title: str,
    heading: str,
    lines: Sequence[Line],
    key_of: Callable[[Line], str],
    rank: Callable[[str], int],
    name_of: Callable[[str], str],
) -> Summary:
    groups = sorted(_grouped(lines, key_of), key=lambda each: (rank(each[0]), each[0]))
    return Summary(title, heading, tuple(_row(name_of(key), summed(group)) for key, group in groups))


def _row(name: str, figures: Figures) -> Row:
    total = figures.accepted - figures.cancelled
    return Row(name, figures, cut_decimal(Fraction(figures.delivered, total)) if total else "")


def _grouped(lines: Iterable[Line], key_of: Callable[[Line], str]) -> list[tuple[str, list[Line]]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(key_of(line), []).append(line)
    return list(groups.items())


def ranked(names: Iterable[str]) -> Callable[[str], int]:
    """In the order of the names; what has none behind them, and "" at the very end."""
    ranks = {name: rank for rank, name in enumerate(names)}
    return lambda key: ranks.get(key, len(ranks) if key else len(ranks) + 1)


def _carrier(line: Line) -> str:
    return line.carrier


def _carrier_order(group: tuple[str, list[Line]]) -> tuple[int, str]:
    return ranked(wording.CARRIERS)(group[0]), group[0]
