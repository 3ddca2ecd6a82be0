"""The dispute file: every finding with what either side has, for the carrier and for whoever argues with it.

    reconciliation.json   totals, findings and clocks; canonical, for machines
    disputes.xlsx         a summary, the clocks by day, and a sheet for each kind of finding
    disputes.csv          all findings, as text

Texts are written as texts, never as formulas: ids and words are the carrier's, who may write what it likes.
"""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import xlsxwriter

from storage.csv_cells import defused
from storage.durable import DISK, make_directory
from storage.settlement import wording
from storage.settlement.calendar import moment
from storage.settlement.errors import SettlementError
from storage.settlement.matching import FINDING_KINDS, FindingKind
from storage.settlement.reconcile import Detail, Reconciliation, Skew, Total, details

RECONCILIATION_NAME: Final = "reconciliation.json"
XLSX_NAME: Final = "disputes.xlsx"
CSV_NAME: Final = "disputes.csv"

KINDS: Final[dict[FindingKind, str]] = {
    "missing_there": "对方缺单",
    "missing_here": "我方缺单",
    "status_differs": "状态不一致",
    "parts_differ": "条数不一致",
    "billed_twice": "重复计费",
    "amount_differs": "金额不一致",
    "other_months": "账期外",
}
_MEANINGS: Final[dict[FindingKind, str]] = {
    "missing_there": "我方证据显示该运营商已接收，账单无此记录",
    "missing_here": "账单有此记录，我方证据无对应短信",
    "status_differs": "双方记录的状态不同",
    "parts_differ": "双方记录的计费条数不同",
    "billed_twice": "同一短信在账单中再次出现",
    "amount_differs": "账单金额不等于条数乘以合同单价",
    "other_months": "账单时间不在核对月份内：无对应短信，或与我方时间不符",
}
_STATES: Final = {
    "delivered": "成功",
    "failed": "失败",
    "unknown": "未知",
    "cancelled": "取消",
    "": "（未注明）",
}
_HOW: Final = {"id": "标识一致", "notation": "标识写法不同", "number": "号码与时间"}
_TIMES: Final = {"submit": "提交时间", "done": "完成时间"}

_COLUMNS: Final = (
    *(("方向", 6), ("号码", 14), ("号码哈希", 34), ("匹配方式", 13)),
    *(("我方记录号", 11), ("我方账号", 12), ("我方消息标识", 22), ("我方时间", 20), ("我方状态", 9)),
    *(("状态码", 10), ("错误码", 9), ("我方条数", 9)),
    *(("账单行号", 9), ("账单消息标识", 22), ("账单时间", 20), ("账单状态", 10), ("账单原状态", 12)),
    *(("账单条数", 9), ("账单金额（元）", 14), ("时差（秒）", 12), ("涉及条数", 9), ("涉及金额（元）", 14)),
)
_ROWS_MAX: Final = 1_048_576  # of a sheet, the heading among them

Cell = str | int | Decimal


def write_disputes(connection: sqlite3.Connection, result: Reconciliation, directory: Path) -> None:
    """All files into a directory that is not there yet, or is empty; whole, or not at all.

    Mode 0700: number hashes are in it, and numbers where whoever asked may see them. Memory: some MB, however
    many findings there are. Raises SettlementError, OSError, NoRoom, DurabilityLost.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise SettlementError(f"{directory}: there is something already: allowed is a new directory")
    directory = directory.absolute()  # `.` has no name
    make_directory(directory.parent)
    part = Path(mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    try:
        (part / RECONCILIATION_NAME).write_bytes(result.encode())
        _write_csv(connection, part / CSV_NAME)
        _Disputes(part / XLSX_NAME, result).write(connection)
        os.rename(part, directory)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    DISK.sync_directory(directory.parent)


def _cells(found: Detail) -> tuple[Cell, ...]:
    """In the order of _COLUMNS; "" where a side has nothing."""
    ours, theirs = bool(found.our_time_us), bool(found.line)
    both = ours and theirs
    return (
        wording.DIRECTIONS[found.direction],
        found.shown,
        found.number_hash.hex(),
        _HOW.get(found.how, ""),
        found.number if ours else "",
        found.account,
        _id(found.our_id),
        moment(found.our_time_us) if ours else "",
        _STATES[found.our_state] if ours else "",
        _id(found.stat),
        _id(found.err),
        found.our_units if ours else "",
        found.line if theirs else "",
        _id(found.their_id),
        moment(found.their_time_us) if theirs else "",
        _STATES[found.their_state] if theirs else "",
        found.word,
        found.their_units or "",
        wording.yuan(found.amount) if found.amount >= 0 else "",
        Decimal(found.their_time_us - found.our_time_us).scaleb(-6) if both else "",
        found.units,
        wording.yuan(found.at_stake),
    )


def _id(octets: bytes) -> str:
    """As it stands, or in hexadecimal where it is no text."""
    text = octets.decode("utf-8", "replace")
    return text if text.isprintable() and "\ufffd" not in text else f"0x{octets.hex()}"


# -- CSV ----------------------------------------------------------------------------------------------------


def _write_csv(connection: sqlite3.Connection, path: Path) -> None:
    """With a mark of UTF-8 at its beginning, without which Excel shows Chinese as rubbish."""
    with path.open("x", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("类别", *(heading for heading, _ in _COLUMNS)))
        for kind in FINDING_KINDS:
            for found in details(connection, kind):
                writer.writerow((KINDS[kind], *map(_defused, _cells(found))))


def _defused(cell: Cell) -> Cell:
    """A text that no spreadsheet computes."""
    return defused(cell) if isinstance(cell, str) else cell


# -- XLSX ---------------------------------------------------------------------------------------------------


class _Disputes:
    """The workbook, written row by row and forgotten."""

    def __init__(self, path: Path, result: Reconciliation) -> None:
        self._result = result
        self._book = xlsxwriter.Workbook(path, {"constant_memory": True})
        # A reconciliation has no time of its own: what counts was known before this one.
        made = datetime.fromtimestamp(result.known_before_us // 1_000_000, UTC).replace(tzinfo=None)
        self._book.set_properties({"title": "短信核对", "created": made})
        plain = {"font_name": "宋体", "font_size": 10, "border": 1, "border_color": "#BFBFBF"}
        self._plain = self._book.add_format({**plain, "text_wrap": True, "valign": "top"})
        self._bold = self._book.add_format({**plain, "bold": True, "bg_color": "#DAE3F0"})
        self._count = self._book.add_format({**plain, "num_format": "#,##0"})
        self._decimal = self._book.add_format({**plain, "num_format": "#,##0.0000"})

    def write(self, connection: sqlite3.Connection) -> None:
        with self._book:
            self._write_summary()
            self._write_clocks()
            for kind in FINDING_KINDS:
                self._write_kind(KINDS[kind], map(_cells, details(connection, kind)))

    def _write_kind(self, name: str, rows: Iterator[tuple[Cell, ...]]) -> None:
        """Onto as many sheets as it takes."""
        row = next(rows, None)
        number = 0
        while row is not None or number == 0:
            number += 1
            sheet = self._sheet(name if number == 1 else f"{name}-{number}", [width for _, width in _COLUMNS])
            self._put(sheet, 0, [heading for heading, _ in _COLUMNS], self._bold)
            sheet.freeze_panes(1, 0)
            for place in range(1, _ROWS_MAX):
                if row is None:
                    break
                self._put(sheet, place, row)
                row = next(rows, None)

    def _write_summary(self) -> None:
        sheet = self._sheet("核对汇总", (26, 18, 14, 14, 18, 44))
        for place, cells in enumerate(self._summary()):
            self._put(sheet, place, cells, self._bold if len(cells) == 1 else None)

    def _summary(self) -> Iterator[Sequence[Cell]]:
        """The rows of the summary; one cell alone is a heading."""
        result = self._result
        yield ("短信核对汇总（合同四.1）",)
        carrier = wording.CARRIERS.get(result.carrier, result.carrier)
        yield "运营商", f"{carrier}（通道：{'、'.join(result.accounts)}）"
        yield "核对月份", wording.months_name(result.first_month, result.last_month)
        yield "证据记录数", result.records
        yield "只计此前已知的状态", moment(result.known_before_us)
        yield "账单时间口径", _TIMES[result.time_is]
        yield "号码匹配容差（秒）", result.tolerance_us // 1_000_000
        yield "单价（元/条）", "下行", wording.yuan(result.price_mt), "上行", wording.yuan(result.price_mo)
        for source in result.sources:
            yield f"来源 {source.name} SHA-256", source.sha256
        yield ("一、双方数量",)
        yield "一方", "方向", "状态", "记录数", "条数", "金额（元）"
        for side, totals in (("我方", result.ours), ("账单", result.theirs)):
            yield from ((side, *_total_cells(total)) for total in totals)
        yield ("二、匹配",)
        yield from zip(_HOW.values(), _matched_by(result), strict=True)
        yield ("三、差异",)
        yield "类别", "记录数", "条数", "涉及金额（元）", "", "含义"
        for found in result.findings:
            at_stake = wording.yuan(found.at_stake)
            yield KINDS[found.kind], found.rows, found.units, at_stake, "", _MEANINGS[found.kind]
        yield ("四、时钟",)
        yield "结论", _clock_finding(result)

    def _write_clocks(self) -> None:
        """Their time less ours, in seconds."""
        sheet = self._sheet("时钟偏差", (14, 12, 16, 16, 14, 14, 16, 10))
        headings = ("日期", "记录数", "最小（秒）", "5%", "中位数", "95%", "最大", "提示")
        self._put(sheet, 0, headings, self._bold)
        for place, each in enumerate(self._result.skew, 1):
            self._put(sheet, place, (each.day or "全部", each.rows, *_seconds(each), "偏差" * each.is_wide))

    def _sheet(self, name: str, widths: Iterable[int]) -> Any:
        sheet = self._book.add_worksheet(name)
        sheet.set_paper(9)  # A4
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)
        sheet.set_footer("&L&A&R第 &P 页 共 &N 页")
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        return sheet

    def _put(self, sheet: Any, row: int, cells: Sequence[Cell], style: Any = None) -> None:
        for column, cell in enumerate(cells):
            match cell:
                case "":
                    pass
                case str():
                    sheet.write_string(row, column, cell, style or self._plain)
                case int():
                    sheet.write_number(row, column, cell, style or self._count)
                case Decimal():
                    sheet.write_number(row, column, cell, style or self._decimal)


def _total_cells(total: Total) -> tuple[Cell, ...]:
    direction, state = wording.DIRECTIONS[total.direction], _STATES[total.state]
    return direction, state, total.rows, total.units, wording.yuan(total.amount)


def _matched_by(result: Reconciliation) -> tuple[int, int, int]:
    return result.matched.id, result.matched.notation, result.matched.number


def _seconds(skew: Skew) -> tuple[Decimal, ...]:
    ranks = (skew.minimum_us, skew.p5_us, skew.median_us, skew.p95_us, skew.maximum_us)
    return tuple(Decimal(us).scaleb(-6) for us in ranks)


def _clock_finding(result: Reconciliation) -> str:
    if not result.skew:
        return "无匹配记录，无法比较"
    if not result.clock_warning:
        return "各日中位数均在60秒以内"
    days = [each.day for each in result.skew if each.day and each.is_wide]
    return f"中位数超过60秒，共{len(days)}日，首日{days[0]}" if days else "全部记录的中位数超过60秒"
