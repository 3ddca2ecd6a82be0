"""Sheets of an XLSX workbook as a finance department prints them: A4, fit to the width, titles on every page.

A sheet is written from top to bottom. Numbers are given as the statement has them and written from Decimal,
so that the file has these digits and no others. What is text is written as text, never as a formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, Literal
from unicodedata import east_asian_width

import msgspec
from msgspec import Struct
from xlsxwriter import Workbook
from xlsxwriter.utility import xl_col_to_name

from storage.settlement import wording

BLUE: Final = "#1F4E79"
GREY: Final = "#D9E2EC"
_LIGHT_BLUE: Final = "#9DC3E6"
_ORANGE: Final = "#C55A11"
_RED: Final = "#C00000"

# On every Windows, and what WPS falls back to elsewhere.
_FONT: Final = "宋体"
_PAPER_A4: Final = 9
# Spreadsheets keep 15 significant digits: of 0.0001 yuan, a hundred thousand million yuan.
_NUMBER_MAX: Final = 10**15
_ROWS_MAX: Final = 1_048_576
_CHART_FONT: Final = {"name": _FONT, "size": 9}

# total is money with two decimals.
Kind = Literal["text", "cell", "header", "count", "money", "total", "rate"]
Value = str | int


class Column(Struct, frozen=True):
    """width: in characters; 0: as wide as its content. part, whole: of a rate, the formulas that it is the
    quotient of, with {0} for the number of the row."""

    heading: str
    kind: Kind
    width: int = 0
    part: str = ""
    whole: str = ""


_NUMBER: Final = {"border": 1, "align": "right"}
_GRID: Final = {"visible": True, "line": {"color": "#D9D9D9"}}
_KINDS: Final[dict[Kind, dict[str, Any]]] = {
    "text": {},
    "cell": {"border": 1, "text_wrap": True, "align": "left", "indent": 1},
    "header": {
        "border": 1,
        "bold": True,
        "align": "center",
        "text_wrap": True,
        "bg_color": BLUE,
        "font_color": "white",
    },
    "count": {**_NUMBER, "num_format": "#,##0"},
    "money": {**_NUMBER, "num_format": "#,##0.0000"},
    "total": {**_NUMBER, "num_format": "#,##0.00"},
    "rate": {**_NUMBER, "num_format": "0.0000%"},
}


class Book:
    """The workbook, with what all of its sheets share: their formats, and the lines at the edges of pages."""

    def __init__(self, book: Workbook, header_left: str, header_right: str, *, draft: bool) -> None:
        self._book = book
        self._header = header_left, header_right
        self._draft = draft
        self._formats: dict[tuple[tuple[str, Any], ...], Any] = {}

    def sheet(self, name: str, title: str, widths: Sequence[int] = (), *, landscape: bool) -> Sheet:
        """A new sheet with its title, and the mark of a draft below it."""
        sheet = self._book.add_worksheet(name)
        sheet.set_paper(_PAPER_A4)
        sheet.set_margins(left=0.3, right=0.3, top=0.8, bottom=0.7)
        sheet.fit_to_pages(1, 0)
        sheet.center_horizontally()
        sheet.hide_gridlines(2)
        if landscape:
            sheet.set_landscape()
        self._set_edges(sheet)
        if self._draft:
            sheet.set_tab_color(_RED)
        made = Sheet(self, sheet, name, widths)
        made.title(title, draft=self._draft)
        return made

    def _set_edges(self, sheet: Any) -> None:
        left, right = self._header
        font = f'&"{_FONT}"&8'
        mark = f'&C&"{_FONT}"&14&K{_RED[1:]}{wording.DRAFT}' if self._draft else ""
        sheet.set_header(f"&L{font}{left}{mark}&R{font}{right}")
        sheet.set_footer(f"&L{font}&A&C{font}第 &P 页 共 &N 页")

    def format(self, kind: Kind = "text", **more: Any) -> Any:
        """Excel holds each kind of cell once, however many have it."""
        wanted = {"font_name": _FONT, "font_size": 10, "valign": "vcenter", **_KINDS[kind], **more}
        key = tuple(sorted(wanted.items()))
        if key not in self._formats:
            self._formats[key] = self._book.add_format(wanted)
        return self._formats[key]

    def chart(self, kind: str) -> Any:
        return self._book.add_chart({"type": kind})


class Sheet:
    """A sheet and the row that is written next, counted from 0."""

    def __init__(self, book: Book, sheet: Any, name: str, widths: Sequence[int]) -> None:
        self.row = 0
        self.first_row = 0  # of its table
        self._book = book
        self._sheet = sheet
        self._name = name
        self._widths = widths
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)

    # -- cells ----------------------------------------------------------------------------------------------

    def text(self, column: int, text: str, kind: Kind = "cell", **more: Any) -> None:
        self._sheet.write_string(self.row, column, text, self._book.format(kind, **more))

    def number(self, column: int, value: int, kind: Kind, **more: Any) -> None:
        self._sheet.write_number(self.row, column, *self._number(value, kind, more))

    def formula(self, column: int, formula: str, value: int, kind: Kind, **more: Any) -> None:
        number, style = self._number(value, kind, more)
        self._sheet.write_formula(self.row, column, formula, style, number)

    def share(self, column: int, part: str, whole: str, share: str, **more: Any) -> None:
        """A quotient, cut to six decimals; of nothing, a dash. Its formula goes by way of whole
        numbers, which spreadsheets divide without surprises."""
        part, whole = (each.format(self.row + 1) for each in (part, whole))
        formula = f'=IF({whole}=0,"{wording.NO_SHARE}",INT({part}*1000000/{whole})/1000000)'
        style = self._book.format("rate", **more)
        self._sheet.write_formula(
            self.row, column, formula, style, Decimal(share) if share else wording.NO_SHARE
        )

    def _number(self, value: int, kind: Kind, more: dict[str, Any]) -> tuple[int | Decimal, Any]:
        """Money has its four decimals in a total too where two would not be exact."""
        assert 0 <= value < _NUMBER_MAX, value
        if kind == "total" and not wording.is_whole_fen(value):
            kind = "money"
        style = self._book.format(kind, **more)
        return (value if kind == "count" else wording.yuan(value)), style

    # -- blocks ---------------------------------------------------------------------------------------------

    def title(self, text: str, *, draft: bool) -> None:
        self._sheet.set_row(self.row, 28)
        self.text(0, text, "text", bold=True, font_size=16, font_color=BLUE)
        self.row += 1
        if draft:
            self._sheet.set_row(self.row, 20)
            self.text(0, wording.DRAFT_REASON, "text", bold=True, font_size=12, font_color=_RED)
            self.row += 1

    def heading(self, text: str) -> None:
        self.row += 1
        self._sheet.set_row(self.row, 22)
        self.text(0, text, "text", bold=True, font_size=12, font_color=BLUE)
        self.row += 1

    def note(self, text: str) -> None:
        self.text(0, text, "text", font_color="#595959")
        self.row += 1

    def cells(self, texts: Iterable[str], kind: Kind) -> None:
        for column, text in enumerate(texts):
            self.text(column, text, kind)
        self.row += 1

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """A name, and beside it a text over all other columns, as high as it needs."""
        last = len(self._widths) - 1
        for name, text in pairs:
            lines = max(_lines_of(name, self._widths[0]), _lines_of(text, sum(self._widths[1:])))
            self._sheet.set_row(self.row, _height(lines))
            self.text(0, name, bg_color="#F2F2F2")
            self.merged(1, last, text)
            self.row += 1

    def merged(self, first: int, last: int, text: str, **more: Any) -> None:
        """One cell over several columns."""
        style = self._book.format("cell", **more)
        if first < last:
            self._sheet.merge_range(self.row, first, self.row, last, "", style)
        self._sheet.write_string(self.row, first, text, style)

    def space(self, height: int) -> None:
        """The height, in points, of the row that is written next."""
        self._sheet.set_row(self.row, height)

    def table(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[Value]],
        total: Sequence[Value] = (),
        total_formula: str = "",
        *,
        filtered: bool = False,
    ) -> None:
        """Header, rows, and totals by a formula with {} for their cells. The header stays in sight, and on
        every printed page."""
        self._set_widths(columns, [*rows, total] if total else rows)
        self._sheet.set_row(self.row, 20)
        self._sheet.repeat_rows(0, self.row)
        self.cells((column.heading for column in columns), "header")
        self._sheet.freeze_panes(self.row, 1)
        self.first_row = self.row
        assert self.first_row + len(rows) < _ROWS_MAX, len(rows)
        for row in rows:
            self._sheet.set_row(self.row, _height(_lines_of_row(columns, row)))
            for index, (column, value) in enumerate(zip(columns, row, strict=True)):
                self._cell(index, column, value)
            self.row += 1
        if filtered:
            self._sheet.autofilter(self.first_row - 1, 0, self.row - 1, len(columns) - 1)
        if total:
            self._write_total(columns, total, total_formula)

    def _write_total(self, columns: Sequence[Column], values: Sequence[Value], formula: str) -> None:
        style = {"bold": True, "bg_color": GREY}
        empty = self.row == self.first_row
        for index, (column, value) in enumerate(zip(columns, values, strict=True)):
            kind: Kind = "total" if column.kind == "money" else column.kind
            if empty or kind in ("cell", "rate"):
                self._cell(index, msgspec.structs.replace(column, kind=kind), value, **style)
            else:
                name = xl_col_to_name(index)
                cells = f"{name}{self.first_row + 1}:{name}{self.row}"
                self.formula(index, f"={formula.format(cells)}", int(value), kind, **style)
        self._sheet.set_row(self.row, 18)
        self.row += 1

    def _cell(self, index: int, column: Column, value: Value, **more: Any) -> None:
        match column.kind:
            case "rate":
                self.share(index, column.part, column.whole, str(value), **more)
            case "cell":
                self.text(index, str(value), **more)
            case kind:
                self.number(index, int(value), kind, **more)

    def _set_widths(self, columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> None:
        for index, column in enumerate(columns):
            # Three more than the heading: the arrow of a filter covers as much of it.
            shown = (_width(_shown(column.kind, row[index])) + 2 for row in rows)
            self._sheet.set_column(index, index, column.width or max(_width(column.heading) + 3, *shown, 8))

    # -- charts ---------------------------------------------------------------------------------------------

    def volume_chart(self, title: str, volume: int, rate: int, rows: int) -> None:
        """Columns of units, and on an axis of its own the share that succeeded, of the first rows."""
        columns, line = self._book.chart("column"), self._book.chart("line")
        columns.add_series({**self._series(volume, rows), "fill": {"color": _LIGHT_BLUE}, "gap": 80})
        point = {"fill": {"color": _ORANGE}, "border": {"color": _ORANGE}}
        line.add_series(
            {
                **self._series(rate, rows),
                "y2_axis": True,
                "line": {"color": _ORANGE},
                "marker": {"type": "circle", "size": 6, **point},
                "data_labels": {
                    "value": True,
                    "num_format": "0.0000%",
                    "position": "above",
                    "font": _CHART_FONT,
                },
            }
        )
        columns.combine(line)
        columns.set_title({"name": title, "name_font": {"name": _FONT, "size": 12}})
        columns.set_x_axis({"num_font": _CHART_FONT})
        columns.set_y_axis({**_axis("#,##0"), "major_gridlines": _GRID})
        line.set_y2_axis(_axis("0.00%"))
        columns.set_legend({"position": "bottom", "font": _CHART_FONT})
        columns.set_size({"width": 1_000, "height": 360})
        self._sheet.insert_chart(self.row + 1, 0, columns)

    def bar_chart(self, title: str, column: int, rows: int) -> None:
        """A bar for each of the first rows, the first on top."""
        chart = self._book.chart("bar")
        label = {"value": True, "num_format": "#,##0", "font": _CHART_FONT}
        chart.add_series(
            {**self._series(column, rows), "fill": {"color": _LIGHT_BLUE}, "data_labels": label, "gap": 60}
        )
        chart.set_title({"name": title, "name_font": {"name": _FONT, "size": 12}})
        chart.set_x_axis({"visible": False, "major_gridlines": {"visible": False}})
        chart.set_y_axis({"num_font": _CHART_FONT, "reverse": True})
        chart.set_legend({"none": True})
        chart.set_size({"width": 620, "height": 60 + 26 * rows})
        self._sheet.insert_chart(self.row + 1, 0, chart)

    def _series(self, column: int, rows: int) -> dict[str, Any]:
        first, last = self.first_row, self.first_row + rows - 1
        return {
            "name": [self._name, first - 1, column],
            "categories": [self._name, first, 0, last, 0],
            "values": [self._name, first, column, last, column],
        }


def _axis(number: str) -> dict[str, Any]:
    return {"num_font": _CHART_FONT, "num_format": number}


def _shown(kind: Kind, value: Value) -> str:
    match kind:
        case "count":
            return f"{value:,}"
        case "money" | "total":
            return wording.money_of_line(int(value))
        case "rate":
            return "100.0000%"
        case _:
            return str(value)


def _width(text: str) -> int:
    """In characters as wide as a digit: Chinese ones are two."""
    return sum(2 if east_asian_width(character) in "WFA" else 1 for character in text)


def _lines_of_row(columns: Sequence[Column], row: Sequence[Value]) -> int:
    lines = (
        _lines_of(str(value), column.width)
        for column, value in zip(columns, row, strict=True)
        if column.width
    )
    return max(lines, default=1)


def _lines_of(text: str, width: int) -> int:
    """One less than the column holds: a wide character is not cut in two."""
    return max(1, -(-_width(text) // (width - 2)))


def _height(lines: int) -> float:
    """Points of a row of so many lines of 10 points."""
    return 4 + 14.0 * lines
