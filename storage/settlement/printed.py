"""A statement as a PDF to be printed, signed and sealed.

The signature page comes before the tables that it stands for; every page names the statement by the first
digits of its digest, so that no page of another one can be put between. The font is embedded: the file looks
the same on a machine without Chinese fonts. The same statement and font give the same octets.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from reportlab.platypus import Flowable, KeepTogether, NextPageTemplate, PageBreak, Spacer, Table

from storage.settlement import wording
from storage.settlement.charts import failures_chart, volume_chart
from storage.settlement.fonts import register_font
from storage.settlement.paper import (
    ACROSS,
    TOTAL,
    WIDTH,
    WIDTH_ACROSS,
    Blocks,
    Edges,
    NumberedCanvas,
    new_document,
)
from storage.settlement.service import Service
from storage.settlement.statement import Figures, Line, Statement
from storage.settlement.tables import (
    CHARTED_MAX,
    COLUMNS,
    Row,
    Summary,
    check_sums,
    failures,
    findings,
    reduction_steps,
    summaries,
    total_row,
)

# Columns of a summary and of the lines: their widths in points, of which the first are texts.
_SUMMARY_WIDTHS: Final = (78, 47, 32, 47, 32, 47, 38, 38, 47, 60, 48)
_LINE_WIDTHS: Final = (36, 24, 42, 72, 44, 46, 36, 46, 34, 46, 46, 40, 36, 36, 32, 40, 46, 60)
assert sum(_SUMMARY_WIDTHS) <= WIDTH, sum(_SUMMARY_WIDTHS)
assert sum(_LINE_WIDTHS) <= WIDTH_ACROSS, sum(_LINE_WIDTHS)


def printed(statement: Statement, version: int, digest: str, font: Path | None = None) -> bytes:
    """The octets of the PDF. digest: SHA-256 of the statement's JSON, in hexadecimal. font: a TrueType file,
    or one of the usual places.

    Raises FontMissing, and DoesNotAddUp where the statement contradicts itself.
    """
    check_sums(statement)
    name = register_font(font)
    octets = io.BytesIO()
    document = new_document(
        octets,
        name,
        title=f"{wording.TITLE} {wording.period_name(statement)}",
        author=statement.party_b,
        subject=f"SHA-256 {digest}",
    )
    edges = Edges(
        font=name,
        left=f"{wording.TITLE}　{wording.period_name(statement)}　{wording.version_name(statement, version)}",
        right=f"摘要 {digest[:16]}",
        draft=not statement.final,
    )
    story = _Story(statement, version, digest, name)
    document.build(story.flowables(), canvasmaker=partial(NumberedCanvas, edges))
    return octets.getvalue()


# -- what is told -------------------------------------------------------------------------------------------


class _Story:
    """The parts of the document."""

    def __init__(self, statement: Statement, version: int, digest: str, font: str) -> None:
        self._statement = statement
        self._version = version
        self._digest = digest
        self._font = font
        self._blocks = Blocks(font)

    def flowables(self) -> list[Flowable]:
        return [
            *self._overview(),
            PageBreak(),
            *self._service_and_seals(),
            PageBreak(),
            *self._summaries(),
            *self._failures(),
            PageBreak(),
            *self._terms(),
            PageBreak(),
            *self._evidence(),
            NextPageTemplate(ACROSS),
            PageBreak(),
            *self._lines(),
        ]

    # -- the pages that are signed --------------------------------------------------------------------------

    def _overview(self) -> Iterable[Flowable]:
        statement = self._statement
        yield self._blocks.title(wording.TITLE)
        if not statement.final:
            yield self._blocks.warning(wording.DRAFT_REASON)
        yield self._blocks.pairs(
            (
                ("合同名称", statement.contract),
                ("合同编号", statement.contract_number or "（合同文本未载）"),
                ("甲方", statement.party_a),
                ("乙方", statement.party_b),
                ("结算期", wording.period_name(statement)),
                ("清单版本", wording.version_name(statement, self._version)),
                ("JSON 清单 SHA-256", self._digest),
                ("计费单位", wording.UNITS[statement.unit]),
                ("单价", wording.prices(statement)),
            )
        )
        yield self._blocks.section("一、应付金额（元）")
        yield self._amounts()
        yield self._blocks.section("二、三种计费口径（合同四.15）")
        yield self._charges()

    def _amounts(self) -> Table:
        statement = self._statement
        mt, mo, both = statement.total_mt, statement.total_mo, statement.total
        table = self._blocks.table(
            ("项目", "下行", "上行", "合计"),
            [
                ("计费条数", f"{mt.billable:,}", f"{mo.billable:,}", f"{both.billable:,}"),
                ("应付金额", wording.money(mt.amount), wording.money(mo.amount), wording.money(both.amount)),
                ("减免（合同四.12）", "", "", wording.money(statement.reduction)),
                ("实付金额", "", "", wording.money(statement.due)),
                ("实付金额（大写）", wording.capitals(statement.due), "", ""),
            ],
            (126, 130, 130, 130),
            size=9,
        )
        table.setStyle(
            [
                ("SPAN", (1, 5), (3, 5)),
                ("ALIGN", (1, 5), (3, 5), "LEFT"),
                ("BACKGROUND", (0, 4), (-1, 5), TOTAL),
                ("FONTSIZE", (0, 4), (-1, 5), 11),
                ("TOPPADDING", (0, 4), (-1, 5), 5),
                ("BOTTOMPADDING", (0, 4), (-1, 5), 6),
            ]
        )
        return table

    def _charges(self) -> Table:
        statement = self._statement
        table = self._blocks.table(
            ("口径", "下行条数", "上行条数", "金额（元）", "是否采用"),
            [
                (
                    wording.COUNTED_ON[charge.count_on],
                    f"{charge.units_mt:,}",
                    f"{charge.units_mo:,}",
                    wording.money(charge.amount),
                    "采用" if charge.count_on == statement.count_on else "仅供对照",
                )
                for charge in statement.charges
            ],
            (126, 100, 100, 110, 80),
            size=9,
        )
        holding = [charge.count_on for charge in statement.charges].index(statement.count_on) + 1
        table.setStyle(
            [("BACKGROUND", (0, holding), (-1, holding), TOTAL), ("ALIGN", (4, 1), (4, -1), "CENTER")]
        )
        return table

    def _service_and_seals(self) -> Iterable[Flowable]:
        for service in self._statement.service:
            months = wording.months_name(service.first_month, service.last_month)
            heading = self._blocks.section(f"三、服务质量（合同四.12），{months}")
            yield KeepTogether([heading, *self._service(service)])
        yield KeepTogether(list(self._seals()))

    def _service(self, service: Service) -> Iterable[Flowable]:
        yield rates_table(self._blocks, service)
        yield Spacer(0, 4)
        yield self._blocks.pairs((each.point, each.text) for each in findings(self._statement, service))
        steps = reduction_steps(self._statement, service)
        if steps:
            yield Spacer(0, 4)
            yield self._blocks.pairs((f"减免计算（{number}）", step) for number, step in enumerate(steps, 1))

    def _seals(self) -> Iterable[Flowable]:
        yield self._blocks.section("四、双方确认")
        statement = self._statement
        yield self._blocks.sentence(
            f"双方确认本清单（{wording.version_name(statement, self._version)}）及其附表，本期实付金额"
            f" {wording.money(statement.due)} 元，{wording.capitals(statement.due)}。"
        )
        yield self._blocks.sentence(f"JSON 清单 SHA-256：{self._digest}")
        yield Spacer(0, 6)
        yield self._blocks.seals()

    # -- the tables that belong to it -----------------------------------------------------------------------

    def _summaries(self) -> Iterable[Flowable]:
        yield self._blocks.section("附表一　分类汇总")
        yield self._blocks.note(f"{wording.RATE_NOTE}无结果 = 未知 + 不确定 + 待发。")
        for number, summary in enumerate(summaries(self._statement), 1):
            yield KeepTogether(list(self._summary(number, summary)))

    def _summary(self, number: int, summary: Summary) -> Iterable[Flowable]:
        yield self._blocks.section(f"（{number}）{summary.title}")
        yield self._summary_table(summary)
        if summary.rows:
            yield Spacer(0, 6)
            yield volume_chart(self._font, summary.rows, WIDTH)
        if len(summary.rows) > CHARTED_MAX:
            yield self._blocks.note(f"图中只列前 {CHARTED_MAX} 项。")

    def _summary_table(self, summary: Summary) -> Table:
        headings = (
            "提交",
            "拒绝",
            "受理",
            "取消",
            "成功",
            "失败",
            "无结果",
            "计费条数",
            "金额（元）",
            "成功率",
        )
        rows = [self._summary_row(row) for row in (*summary.rows, total_row(self._statement))]
        return self._blocks.table((summary.heading, *headings), rows, _SUMMARY_WIDTHS, total=True)

    def _summary_row(self, row: Row) -> Sequence[str]:
        figures = row.figures
        open_ended = figures.unknown + figures.uncertain + figures.waiting
        units = (
            figures.submitted,
            figures.denied,
            figures.accepted,
            figures.cancelled,
            figures.delivered,
            figures.failed,
            open_ended,
            figures.billable,
        )
        counts = (f"{each:,}" for each in units)
        return (row.name, *counts, wording.money(figures.amount), wording.percent(row.rate))

    def _failures(self) -> Iterable[Flowable]:
        found = failures(self._statement)
        yield self._blocks.section("附表二　失败原因（条）")
        columns = 1 + len(found.carriers)
        together = [sum(row.units[index] for row in found.rows) for index in range(len(found.carriers))]
        rows = [(row.name, (*row.units, row.total)) for row in found.rows]
        rows.append(("合计", (*together, self._statement.total.failed)))
        yield self._blocks.table(
            ("原因", *found.carriers, "合计"),
            [(name, *(f"{units:,}" for units in counts)) for name, counts in rows],
            (110, *([(WIDTH - 110) / columns] * columns)),
            total=True,
        )
        if found.rows:
            yield Spacer(0, 6)
            yield failures_chart(self._font, found, WIDTH)

    def _terms(self) -> Iterable[Flowable]:
        yield self._blocks.section("附表三　合同参数及其依据")
        yield self._blocks.table(
            ("参数", "名称", "取值", "条款", "文件", "说明"),
            [
                (
                    term.key,
                    wording.term_name(term.key),
                    wording.term_value(term),
                    term.clause,
                    term.document,
                    term.note,
                )
                for term in self._statement.terms
            ],
            (106, 94, 98, 36, 46, 136),
            texts=6,
        )

    def _evidence(self) -> Iterable[Flowable]:
        evidence = self._statement.evidence
        yield self._blocks.section("附表四　证据与校验")
        yield self._blocks.pairs(
            (
                ("清单格式", self._statement.format),
                ("清单版本", wording.version_name(self._statement, self._version)),
                ("JSON 清单 SHA-256", self._digest),
                ("证据日志", evidence.log),
                ("日志标识", evidence.identity),
                ("计入记录数", f"{evidence.records:,}"),
                ("签名检查点的根", evidence.root),
                ("只计此前已知的状态", evidence.known_before),
                *((f"来源 {source.name} SHA-256", source.sha256) for source in self._statement.sources),
            )
        )
        yield self._blocks.section("另一方如何重新计算")
        for number, step in enumerate(wording.VERIFYING, 1):
            yield self._blocks.sentence(f"{number}. {step}")

    def _lines(self) -> Iterable[Flowable]:
        yield self._blocks.section("附表五　结算明细")
        headings = ("月份", "方向", "运营商", "账号", "类别", *(heading for heading, _ in COLUMNS[:-1]))
        total = ("合计", "", "", "", "", *_figures(self._statement.total, wording.money))
        yield self._blocks.table(
            (*headings, "金额（元）"),
            [*(self._line(line) for line in self._statement.lines), total],
            _LINE_WIDTHS,
            texts=5,
            size=7,
            total=True,
        )

    def _line(self, line: Line) -> Sequence[str]:
        return (
            line.month,
            wording.DIRECTIONS[line.direction],
            wording.carrier_name(line.carrier),
            line.account,
            wording.category_name(self._statement, line.category),
            *_figures(line.figures, wording.money_of_line),
        )


def _figures(figures: Figures, money: Callable[[int], str]) -> Sequence[str]:
    *counts, amount = (getattr(figures, field) for _, field in COLUMNS)
    return (*(f"{units:,}" for units in counts), money(amount))


def rates_table(blocks: Blocks, service: Service) -> Table:
    """Both rates of a window of months; the one that is agreed on has a ground."""
    table = blocks.table(
        ("成功率口径", "成功", "总数", "成功率", "是否采用"),
        [
            (
                wording.RATES[rate.name],
                f"{rate.successful:,}",
                f"{rate.total:,}",
                wording.percent(rate.rate),
                "约定口径" if rate.name == service.contractual else "仅供对照",
            )
            for rate in service.rates
        ],
        (186, 90, 90, 80, 70),
        size=9,
    )
    contractual = [rate.name for rate in service.rates].index(service.contractual) + 1
    table.setStyle(
        [
            ("BACKGROUND", (0, contractual), (-1, contractual), TOTAL),
            ("ALIGN", (4, 1), (4, -1), "CENTER"),
        ]
    )
    return table
