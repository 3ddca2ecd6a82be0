"""A statement as an XLSX workbook for a finance department: figures that can be filtered and added up again.

Totals are formulas, and each carries its value beside it, so that it reads the same before and after a
program computes it. The same statement gives the same octets.

XlsxWriter writes it: openpyxl cannot store the value of a formula.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Final

import xlsxwriter
from xlsxwriter.utility import xl_col_to_name

from storage.settlement import wording
from storage.settlement.service import Service
from storage.settlement.sheets import GREY, Book, Column, Kind, Sheet, Value
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

_FIELDS: Final = tuple(field for _, field in COLUMNS)
_FIGURES: Final = tuple(
    Column(f"{heading}（元）", "money") if field == "amount" else Column(heading, "count")
    for heading, field in COLUMNS
)
_KEYS: Final = tuple(Column(heading, "cell") for heading in ("月份", "方向", "运营商", "账号", "类别"))
_DIRECTION_COLUMN: Final = 1


def workbook(statement: Statement, version: int, digest: str) -> bytes:
    """The octets of the XLSX file. digest: SHA-256 of the statement's JSON, in hexadecimal.

    Raises DoesNotAddUp where the statement contradicts itself.
    """
    check_sums(statement)
    octets = io.BytesIO()
    with xlsxwriter.Workbook(octets, {"in_memory": True}) as file:
        made = datetime.fromtimestamp(statement.evidence.known_before_us // 1_000_000, UTC)
        file.set_properties(
            {
                "title": f"{wording.TITLE} {wording.period_name(statement)}",
                "comments": f"{wording.version_name(statement, version)}，JSON 清单 SHA-256 {digest}",
                "created": made.replace(tzinfo=None),
            }
        )
        book = Book(
            file,
            f"{wording.TITLE}　{wording.period_name(statement)}　第{version}版",
            f"SHA-256 {digest[:16]}",
            draft=not statement.final,
        )
        _write_overview(book, statement, version, digest)
        _write_lines(book, statement)
        for summary in summaries(statement):
            _write_summary(book, statement, summary)
        _write_failures(book, statement)
        _write_terms(book, statement)
        _write_evidence(book, statement, version, digest)
    return octets.getvalue()


# -- the overview -------------------------------------------------------------------------------------------


def _write_overview(book: Book, statement: Statement, version: int, digest: str) -> None:
    sheet = book.sheet("结算汇总", wording.TITLE, [36, 20, 20, 22, 18], landscape=False)
    sheet.pairs(
        (
            ("合同名称", statement.contract),
            ("合同编号", statement.contract_number or "（合同文本未载）"),
            ("甲方", statement.party_a),
            ("乙方", statement.party_b),
            ("结算期", wording.period_name(statement)),
            ("清单版本", wording.version_name(statement, version)),
            ("JSON 清单 SHA-256", digest),
            ("计费单位", wording.UNITS[statement.unit]),
            ("单价", wording.prices(statement)),
        )
    )
    sheet.heading("一、应付金额")
    _write_amounts(sheet, statement)
    sheet.heading("二、三种计费口径（合同四.15）")
    _write_charges(sheet, statement)
    for service in statement.service:
        months = wording.months_name(service.first_month, service.last_month)
        sheet.heading(f"三、服务质量（合同四.12），{months}")
        _write_service(sheet, statement, service)
    sheet.heading("四、双方确认")
    _write_seals(sheet)


def _write_amounts(sheet: Sheet, statement: Statement) -> None:
    sheet.cells(("项目", "下行", "上行", "合计", "依据"), "header")
    rows: tuple[tuple[str, str, Kind, str], ...] = (
        ("计费条数", "billable", "count", wording.COUNTED_ON[statement.count_on]),
        ("应付金额（元）", "amount", "total", "合同二.2、二.3"),
    )
    for name, field, kind, basis in rows:
        sheet.text(0, name)
        for column, (direction, total) in enumerate(
            (("下行", statement.total_mt), ("上行", statement.total_mo))
        ):
            formula = _sum_of_lines(statement, field, direction)
            sheet.formula(1 + column, formula, getattr(total, field), kind)
        sheet.formula(3, f"=B{sheet.row + 1}+C{sheet.row + 1}", getattr(statement.total, field), kind)
        sheet.text(4, basis)
        sheet.row += 1
    sheet.text(0, "减免（元）")
    sheet.merged(1, 2, "")
    sheet.number(3, statement.reduction, "total")
    sheet.text(4, "合同四.12")
    sheet.row += 1
    sheet.text(0, "实付（元）", bold=True)
    sheet.merged(1, 2, "")
    sheet.formula(3, f"=D{sheet.row - 1}-D{sheet.row}", statement.due, "total", bold=True, bg_color=GREY)
    sheet.text(4, "应付 － 减免")
    sheet.row += 1
    sheet.pairs((("实付金额（大写）", wording.capitals(statement.due)),))


def _sum_of_lines(statement: Statement, field: str, direction: str) -> str:
    """Of a figure in one direction, whether lines are filtered or not."""
    first = _first_row_of_lines(statement) + 1
    last = max(first, first + len(statement.lines) - 1)
    names, values = (
        f"明细!${column}${first}:${column}${last}"
        for column in (
            xl_col_to_name(_DIRECTION_COLUMN),
            xl_col_to_name(len(_KEYS) + _FIELDS.index(field)),
        )
    )
    return f'=SUMIF({names},"{direction}",{values})'


def _write_charges(sheet: Sheet, statement: Statement) -> None:
    sheet.cells(("口径", "下行条数", "上行条数", "金额（元）", "是否采用"), "header")
    for charge in statement.charges:
        holds = charge.count_on == statement.count_on
        sheet.text(0, wording.COUNTED_ON[charge.count_on], bold=holds)
        sheet.number(1, charge.units_mt, "count", bold=holds)
        sheet.number(2, charge.units_mo, "count", bold=holds)
        sheet.number(3, charge.amount, "total", bold=holds)
        sheet.text(4, "采用" if holds else "仅供对照", bold=holds, align="center", indent=0)
        sheet.row += 1


def _write_service(sheet: Sheet, statement: Statement, service: Service) -> None:
    sheet.cells(("成功率口径", "成功", "总数", "成功率", "是否采用"), "header")
    for rate in service.rates:
        holds = rate.name == service.contractual
        sheet.text(0, wording.RATES[rate.name], bold=holds)
        sheet.number(1, rate.successful, "count", bold=holds)
        sheet.number(2, rate.total, "count", bold=holds)
        sheet.share(3, "B{0}", "C{0}", rate.rate, bold=holds)
        sheet.text(4, "约定口径" if holds else "仅供对照", bold=holds, align="center", indent=0)
        sheet.row += 1
    sheet.pairs((finding.point, finding.text) for finding in findings(statement, service))
    steps = reduction_steps(statement, service)
    sheet.pairs((f"减免计算（{number}）", step) for number, step in enumerate(steps, 1))


def _write_seals(sheet: Sheet) -> None:
    for height, left, right in (
        (96, "甲方（盖章）", "乙方（盖章）"),
        (30, "经办人（签字）：", "经办人（签字）："),
        (30, "日期：　　　　年　　月　　日", "日期：　　　　年　　月　　日"),
    ):
        sheet.space(height)
        sheet.merged(0, 1, left, valign="top")
        sheet.merged(2, 4, right, valign="top")
        sheet.row += 1


# -- the tables ---------------------------------------------------------------------------------------------


def _write_lines(book: Book, statement: Statement) -> None:
    sheet = book.sheet("明细", "结算明细", landscape=True)
    columns = (*_KEYS, *_FIGURES)
    rows = [_line(statement, line) for line in statement.lines]
    total: tuple[Value, ...] = ("合计", "", "", "", "", *_values(statement.total))
    sheet.table(columns, rows, total, "SUBTOTAL(109,{})", filtered=True)
    assert sheet.first_row == _first_row_of_lines(statement), sheet.first_row
    sheet.note("筛选时合计只含可见行；未筛选时与“结算汇总”一致。")


def _first_row_of_lines(statement: Statement) -> int:
    """Below the title, the mark of a draft and the header of 明细, counted from 0."""
    return 2 if statement.final else 3


def _line(statement: Statement, line: Line) -> tuple[Value, ...]:
    return (
        line.month,
        wording.DIRECTIONS[line.direction],
        wording.carrier_name(line.carrier),
        line.account,
        wording.category_name(statement, line.category),
        *_values(line.figures),
    )


def _write_summary(book: Book, statement: Statement, summary: Summary) -> None:
    sheet = book.sheet(summary.title, f"{summary.title}汇总", landscape=True)
    columns = (Column(summary.heading, "cell"), *_FIGURES, _RATE)
    rows = [_summary_row(row) for row in summary.rows]
    sheet.table(columns, rows, _summary_row(total_row(statement)), "SUM({})")
    sheet.note(wording.RATE_NOTE)
    if rows:
        charted = min(len(rows), CHARTED_MAX)
        title = f"{summary.title}：受理数量（条）与成功率"
        sheet.volume_chart(title, 1 + _FIELDS.index("accepted"), len(columns) - 1, charted)


def _summary_row(row: Row) -> tuple[Value, ...]:
    return (row.name, *_values(row.figures), row.rate)


_RATE: Final = Column(
    "成功率",
    "rate",
    part="{}{{0}}".format(xl_col_to_name(1 + _FIELDS.index("delivered"))),
    whole="({}{{0}}-{}{{0}})".format(
        *(xl_col_to_name(1 + _FIELDS.index(field)) for field in ("accepted", "cancelled"))
    ),
)


def _values(figures: Figures) -> tuple[int, ...]:
    return tuple(getattr(figures, field) for field in _FIELDS)


def _write_failures(book: Book, statement: Statement) -> None:
    found = failures(statement)
    sheet = book.sheet("失败原因", "失败原因（条）", landscape=False)
    columns = (
        Column("原因", "cell"),
        *(Column(name, "count") for name in found.carriers),
        Column("合计", "count"),
    )
    rows: list[tuple[Value, ...]] = [(row.name, *row.units, row.total) for row in found.rows]
    by_carrier = [sum(row.units[index] for row in found.rows) for index in range(len(found.carriers))]
    sheet.table(columns, rows, ("合计", *by_carrier, statement.total.failed), "SUM({})")
    if rows:
        sheet.bar_chart("失败原因（条）", len(columns) - 1, len(rows))


# -- what the figures stand on ------------------------------------------------------------------------------


def _write_terms(book: Book, statement: Statement) -> None:
    sheet = book.sheet("合同参数", "合同参数及其依据", landscape=True)
    widths = (("参数", 28), ("名称", 22), ("取值", 26), ("条款", 9), ("文件", 12), ("说明", 52))
    sheet.table(
        [Column(heading, "cell", width) for heading, width in widths],
        [
            (
                term.key,
                wording.term_name(term.key),
                wording.term_value(term),
                term.clause,
                term.document,
                term.note,
            )
            for term in statement.terms
        ],
    )


def _write_evidence(book: Book, statement: Statement, version: int, digest: str) -> None:
    evidence = statement.evidence
    sheet = book.sheet("证据", "证据与校验", [28, 90], landscape=True)
    sheet.pairs(
        (
            ("清单格式", statement.format),
            ("清单版本", wording.version_name(statement, version)),
            ("JSON 清单 SHA-256", digest),
            ("证据日志", evidence.log),
            ("日志标识", evidence.identity),
            ("计入记录数", f"{evidence.records:,}"),
            ("签名检查点的根", evidence.root),
            ("只计此前已知的状态", evidence.known_before),
            *((f"来源 {source.name} SHA-256", source.sha256) for source in statement.sources),
            *((f"校验方法（{number}）", step) for number, step in enumerate(wording.VERIFYING, 1)),
        )
    )
