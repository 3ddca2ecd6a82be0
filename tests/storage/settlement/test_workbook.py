"""The workbook of a statement, read back by another library: the statement's figures, and no others."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import msgspec
import openpyxl
import pytest
from openpyxl.cell.cell import Cell
from openpyxl.worksheet.worksheet import Worksheet

from storage.settlement import wording
from storage.settlement.statement import Statement
from storage.settlement.tables import CHARTED_MAX, COLUMNS, DoesNotAddUp
from storage.settlement.workbook import workbook
from tests.storage.settlement.sample_statement import (
    DIGEST,
    added,
    empty_statement,
    sample_statement,
    with_account,
    with_many_accounts,
)

SHEETS = [
    "结算汇总",
    "明细",
    "按运营商",
    "按账号",
    "按类别",
    "按月",
    "按方向",
    "失败原因",
    "合同参数",
    "证据",
]
SAMPLE = sample_statement()
OCTETS = workbook(SAMPLE, 1, DIGEST)
FIELDS = [field for _, field in COLUMNS]
KEYS = 5  # columns of 明细 before its figures


@cache  # every test of a sheet reads it
def sheets(octets: bytes, *, values: bool = True) -> dict[str, Worksheet]:
    """By name: the values, stored ones where there are formulas, or the formulas."""
    book = openpyxl.load_workbook(io.BytesIO(octets), data_only=values)
    assert all(isinstance(sheet, Worksheet) for sheet in book)
    return {sheet.title: sheet for sheet in book.worksheets}


def exact(value: Any, field: str) -> int:
    """The whole number that a cell stands for: a count, or 0.0001 yuan."""
    scaled = Decimal(str(value)) * (10_000 if field == "amount" else 1)
    assert scaled == int(scaled), value
    return int(scaled)


def figures_of(row: list[Any]) -> dict[str, int]:
    return {field: exact(value, field) for field, value in zip(FIELDS, row, strict=True)}


def expected(figures: Any) -> dict[str, int]:
    return {field: getattr(figures, field) for field in FIELDS}


def rows_of(sheet: Worksheet) -> list[list[Any]]:
    """From below the header to the total, inclusive."""
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    first = next(number for number, row in enumerate(rows) if row[1] in ("提交", "方向")) + 1
    last = next(number for number, row in enumerate(rows) if row[0] == "合计")
    return rows[first : last + 1]


def beside(sheet: Worksheet, name: str, column: int = 1) -> Any:
    """The value in that column of the first row which begins with the name."""
    return next(row[column].value for row in sheet.iter_rows() if row[0].value == name)


def cells(octets: bytes, *, values: bool = True) -> Iterator[Cell]:
    for sheet in sheets(octets, values=values).values():
        for row in sheet.iter_rows():
            yield from (cell for cell in row if isinstance(cell, Cell))


def test_the_sheets_are_those_that_were_agreed() -> None:
    assert list(sheets(OCTETS)) == SHEETS


def test_the_same_statement_gives_the_same_octets() -> None:
    assert workbook(SAMPLE, 1, DIGEST) == OCTETS


def test_every_line_is_there_with_its_figures() -> None:
    *rows, total = rows_of(sheets(OCTETS)["明细"])
    assert [row[:KEYS] for row in rows] == [
        [
            line.month,
            {"mt": "下行", "mo": "上行"}[line.direction],
            wording.CARRIERS.get(line.carrier, "未归属"),
            line.account,
            SAMPLE.categories[line.category],
        ]
        for line in SAMPLE.lines
    ]
    assert [figures_of(row[KEYS:]) for row in rows] == [expected(line.figures) for line in SAMPLE.lines]
    assert figures_of(total[KEYS:]) == expected(SAMPLE.total)


@pytest.mark.parametrize("name", ["按运营商", "按账号", "按类别", "按月", "按方向"])
def test_a_summary_adds_up_to_the_total(name: str) -> None:
    *rows, total = rows_of(sheets(OCTETS)[name])
    sums = [figures_of(row[1:-1]) for row in rows]
    assert {field: sum(each[field] for each in sums) for field in FIELDS} == expected(SAMPLE.total)
    assert figures_of(total[1:-1]) == expected(SAMPLE.total)
    assert Decimal(str(total[-1])) == Decimal(SAMPLE.service[0].rates[0].rate)


def test_a_summary_has_the_lines_of_its_key() -> None:
    book = sheets(OCTETS)
    for name, key, shown in (("按运营商", "unicom", "中国联通"), ("按运营商", "", "未归属")):
        found = next(row for row in rows_of(book[name]) if row[0] == shown)
        lines = [line for line in SAMPLE.lines if line.carrier == key]
        assert figures_of(found[1:-1]) == expected(added(lines))
    assert [row[0] for row in rows_of(book["按月"])[:2]] == ["2026年6月", "2026年7月"]
    volumes = [row[1 + FIELDS.index("accepted")] for row in rows_of(book["按账号"])[:-1]]
    assert all(more >= less for more, less in pairwise(volumes))


def test_failures_by_cause_and_carrier_add_up() -> None:
    sheet = sheets(OCTETS)["失败原因"]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows() if row[0].value]
    header = next(row for row in rows if row[0] == "原因")
    by_name = {row[0]: row[1:] for row in rows[rows.index(header) + 1 :]}
    assert by_name["合计"][-1] == SAMPLE.total.failed
    assert {name: row[-1] for name, row in by_name.items() if name != "合计"} == {
        wording.CAUSES[cause]: units for cause, units in SAMPLE.total.causes.items()
    }
    mobile = added([line for line in SAMPLE.lines if line.carrier == "mobile"])
    assert by_name["终端原因"][header[1:].index("中国移动")] == mobile.causes["terminal"]


def test_totals_are_formulas_over_exactly_the_rows_above_them() -> None:
    formulas = sheets(OCTETS, values=False)
    lines = len(SAMPLE.lines)
    assert rows_of(formulas["明细"])[-1][KEYS] == f"=SUBTOTAL(109,F3:F{lines + 2})"
    assert rows_of(formulas["按月"])[-1][1] == "=SUM(B3:B8)"
    assert beside(formulas["结算汇总"], "应付金额（元）") == (
        f'=SUMIF(明细!$B$3:$B${lines + 2},"下行",明细!$R$3:$R${lines + 2})'
    )
    header = [cell.value for cell in formulas["明细"][2]]
    assert header.index("金额（元）") == "ABCDEFGHIJKLMNOPQR".index("R")


def test_the_overview_says_what_is_to_be_paid() -> None:
    sheet = sheets(OCTETS)["结算汇总"]
    amounts = {name: beside(sheet, name, 3) for name in ("应付金额（元）", "减免（元）", "实付（元）")}
    assert {name: exact(value, "amount") for name, value in amounts.items()} == {
        "应付金额（元）": SAMPLE.amount,
        "减免（元）": SAMPLE.reduction,
        "实付（元）": SAMPLE.due,
    }
    assert beside(sheet, "实付金额（大写）") == "人民币贰拾贰万零壹佰肆拾伍元捌角肆分"
    assert [beside(sheet, name, 4) for name in ("按受理数量", "按成功数量", "按提交数量")] == [
        "采用",
        "仅供对照",
        "仅供对照",
    ]
    assert exact(beside(sheet, "按提交数量", 3), "amount") == SAMPLE.charges[2].amount
    assert beside(sheet, "结论") == "两项指标达到其一即为达标；本期未达标，应予减免"
    assert beside(sheet, "减免计算（4）") == (
        "减免费用 = 220,063.29 元 × 143,456 ÷ 7,478,899 = 4,221.129250 元（六位小数以后不列）"
    )
    text = "".join(str(cell.value) for row in sheet.iter_rows() for cell in row)
    assert "甲方（盖章）" in text
    assert "乙方（盖章）" in text


def test_the_evidence_is_named() -> None:
    sheet = sheets(OCTETS)["证据"]
    assert beside(sheet, "JSON 清单 SHA-256") == DIGEST
    assert beside(sheet, "签名检查点的根") == SAMPLE.evidence.root
    assert beside(sheet, "计入记录数") == "41,907,332"
    assert beside(sheet, "来源 contract SHA-256") == SAMPLE.sources[0].sha256
    assert beside(sheet, "只计此前已知的状态") == SAMPLE.evidence.known_before


def test_every_term_has_its_words_and_its_basis() -> None:
    sheet = sheets(OCTETS)["合同参数"]
    shown = {str(row[0].value): [cell.value for cell in row] for row in sheet.iter_rows()}
    for term in SAMPLE.terms:
        assert wording.TERMS.keys() >= {term.key}
        assert shown[term.key][1:4] == [wording.TERMS[term.key].name, wording.term_value(term), term.clause]
    assert shown["billing.price_mt"][2] == "0.03 元/条"
    assert shown["sla.success_rate_min"][2] == "99%"


def test_stored_numbers_have_the_digits_of_the_statement() -> None:
    """What a program reads from the file, before it makes a binary number of it."""
    namespace = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    found = 0
    with zipfile.ZipFile(io.BytesIO(OCTETS)) as package:
        for name in package.namelist():
            if not name.startswith("xl/worksheets/sheet"):
                continue
            for cell in ElementTree.fromstring(package.read(name)).iter(f"{namespace}c"):  # noqa: S314 - our own
                if cell.get("t") is None and (value := cell.findtext(f"{namespace}v")) is not None:
                    assert re.fullmatch(r"[0-9]+(\.[0-9]{1,6})?", value), (name, cell.get("r"), value)
                    found += 1
    assert found > len(SAMPLE.lines) * len(FIELDS)


@pytest.mark.parametrize(
    "name", ["=1+1", "@SUM(A1)", "+86", "-1", "=cmd|' /C calc'!A0", "https://a.b", "007"]
)
def test_a_name_from_data_stays_a_name(name: str) -> None:
    octets = workbook(with_account(SAMPLE, "oa", name), 1, DIGEST)
    found = [cell for cell in cells(octets, values=False) if cell.value == name]
    assert len(found) == sum(line.account == "oa" for line in SAMPLE.lines) + 1
    assert {cell.data_type for cell in found} == {"s"}
    assert all(cell.hyperlink is None for cell in found)


def test_formats_are_those_of_a_finance_department() -> None:
    sheet = sheets(OCTETS)["明细"]
    units, amount = sheet.cell(3, KEYS + 1), sheet.cell(3, KEYS + len(FIELDS))
    total = sheet.cell(3 + len(SAMPLE.lines), KEYS + len(FIELDS))
    assert [cell.number_format for cell in (units, amount, total)] == ["#,##0", "#,##0.0000", "#,##0.00"]
    assert sheet.freeze_panes == "B3"
    assert sheet.auto_filter.ref == f"A2:R{len(SAMPLE.lines) + 2}"


@pytest.mark.parametrize("name", SHEETS)
def test_every_sheet_prints_on_a4(name: str) -> None:
    sheet = sheets(OCTETS)[name]
    assert sheet.page_setup.paperSize == 9
    assert sheet.sheet_properties.pageSetUpPr is not None
    assert sheet.sheet_properties.pageSetUpPr.fitToPage
    assert sheet.page_setup.fitToWidth in (None, 1)  # 1 is what its absence means
    assert sheet.page_setup.fitToHeight == 0
    assert "第 &P 页 共 &N 页" in str(sheet.HeaderFooter.oddFooter)
    assert DIGEST[:16] in str(sheet.HeaderFooter.oddHeader)
    if name not in ("结算汇总", "证据"):
        assert sheet.print_title_rows == "$1:$2"


@pytest.mark.parametrize("name", SHEETS)
def test_a_draft_says_so_on_every_sheet(name: str) -> None:
    sheet = sheets(workbook(sample_statement(final=False), 2, DIGEST))[name]
    assert str(sheet["A2"].value).startswith("未定稿")
    assert "未定稿" in str(sheet.HeaderFooter.oddHeader)


def test_what_is_final_says_nothing_of_a_draft() -> None:
    assert not [cell for cell in cells(OCTETS) if "未定稿" in str(cell.value)]


def test_a_draft_sums_its_lines_one_row_lower() -> None:
    formulas = sheets(workbook(sample_statement(final=False), 2, DIGEST), values=False)
    lines = len(SAMPLE.lines)
    assert beside(formulas["结算汇总"], "计费条数") == (
        f'=SUMIF(明细!$B$4:$B${lines + 3},"下行",明细!$Q$4:$Q${lines + 3})'
    )


def test_a_period_without_messages_has_its_workbook_too() -> None:
    book = sheets(workbook(empty_statement(), 1, DIGEST))
    assert beside(book["结算汇总"], "实付（元）", 3) == 0
    assert beside(book["结算汇总"], "实付金额（大写）") == "人民币零元整"
    assert rows_of(book["明细"]) == [["合计", "", "", "", "", *[0] * len(FIELDS)]]


def test_an_amount_below_a_fen_keeps_its_decimals() -> None:
    """2.8 fen each: what is due need not be whole fen unless the contract rounds it."""
    reduced = msgspec.structs.replace(
        SAMPLE.service[0].reduction, amount=SAMPLE.service[0].reduction.amount + 40
    )
    service = msgspec.structs.replace(SAMPLE.service[0], reduction=reduced)
    statement = msgspec.structs.replace(
        SAMPLE, service=(service,), reduction=SAMPLE.reduction + 40, due=SAMPLE.due - 40
    )
    sheet = sheets(workbook(statement, 1, DIGEST))["结算汇总"]
    due = next(row[3] for row in sheet.iter_rows() if row[0].value == "实付（元）")
    assert (exact(due.value, "amount"), due.number_format) == (SAMPLE.due - 40, "#,##0.0000")
    assert beside(sheet, "实付金额（大写）") == "人民币贰拾贰万零壹佰肆拾伍元捌角肆分（四舍五入到分）"


def test_a_chart_shows_no_more_than_it_can() -> None:
    octets = workbook(with_many_accounts(SAMPLE), 1, DIGEST)
    with zipfile.ZipFile(io.BytesIO(octets)) as package:
        charts = [package.read(name).decode() for name in package.namelist() if "/charts/chart" in name]
    assert len(charts) == 6
    assert sum(f"按账号!$A$3:$A${CHARTED_MAX + 2}" in chart for chart in charts) == 1


def wrong(statement: Statement, **changes: Any) -> Statement:
    return msgspec.structs.replace(statement, **changes)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (wrong(SAMPLE, lines=SAMPLE.lines[1:]), "total is not the sum of the lines"),
        (wrong(SAMPLE, total_mo=SAMPLE.total_mt), "total_mo is not the sum of the lines"),
        (
            wrong(SAMPLE, amount=SAMPLE.amount - 100, due=SAMPLE.due - 100),
            "amount is not what the lines cost, counted on accepted",
        ),
        (
            wrong(SAMPLE, reduction=0, due=SAMPLE.amount),
            "reduction is not the sum of the reductions",
        ),
        (wrong(SAMPLE, due=SAMPLE.due + 100), "due is not amount less reduction"),
        (
            wrong(SAMPLE, price_mt=SAMPLE.price_mt + 1),
            "fee_of_successful is not what the successful lines cost",
        ),
    ],
)
def test_a_statement_that_contradicts_itself_is_not_printed(statement: Statement, message: str) -> None:
    with pytest.raises(DoesNotAddUp, match=f"^{message}$"):
        workbook(statement, 1, DIGEST)
