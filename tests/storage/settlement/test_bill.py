"""Bills of every form into rows, and what is refused of them, in one line."""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from storage.settlement.bill import BillError, load_bill
from storage.settlement.bill_layout import Layout, LayoutError, shipped_layout
from tests.storage.settlement.billing import (
    HEADING,
    LAN,
    LAYOUT,
    MEI,
    NUMBERS,
    csv_bill,
    hashed,
    layout_of,
    row,
    xlsx_bill,
)
from tests.storage.settlement.story import at

EIGHT = at("2026-06-01 08:00:00")


def rows_of(path: Path, layout: Layout) -> list[tuple[Any, ...]]:
    """line, direction, carrier_id, number_hash, shown, time_us, word, state, units, amount"""
    with closing(sqlite3.connect(":memory:")) as connection:
        load_bill(connection, path, layout, NUMBERS)
        return [found[1:] for found in connection.execute("SELECT * FROM billed ORDER BY place")]


LAN_ROW = (2, "mt", b"A1", hashed(LAN), "138****5678", EIGHT, "ok", "delivered", 1, 300)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv(tmp_path: Path, encoding: str) -> None:
    path = csv_bill(
        tmp_path / "bill.csv",
        [
            HEADING,
            row("A1"),
            (),
            row(" A2\t", "+86 139-0000-0001", "2026-06-01 07:59:59", "?", 3, "0.0901", "up"),
            row("'0001", "", status="", parts="", amount=""),
        ],
        encoding,
    )
    # In the order of direction and time; what is empty is 0 parts and an amount of -1: not said.
    assert rows_of(path, layout_of(tmp_path)) == [
        (4, "mo", b"A2", hashed(MEI), "139****0001", EIGHT - 1_000_000, "?", "unknown", 3, 901),
        (5, "mt", b"0001", b"", "", EIGHT, "", "", 0, -1),
        LAN_ROW,
    ]


def test_csv_of_a_chinese_excel(tmp_path: Path) -> None:
    layout = layout_of(
        tmp_path,
        """\
[bill.cmcc]
encoding = "gb18030"
delimiter = ";"
header_row = 3
time_format = "%y%m%d%H%M"
[bill.cmcc.columns]
number = "接收号码"
time = "时间"
status = "状态"
[bill.cmcc.statuses]
"成功" = "delivered"
"*" = "failed"
""",
    )
    path = tmp_path / "bill.csv"
    rows = ("状态;接收号码;备注;时间", f"成功;{LAN};;2606010800", f"空号;{LAN};;2606010801")
    path.write_bytes("\r\n".join(("账单", "二〇二六年六月", *rows)).encode("gb18030"))
    assert [found[5:8] for found in rows_of(path, layout)] == [
        (EIGHT, "成功", "delivered"),
        (EIGHT + 60_000_000, "空号", "failed"),
    ]


def test_xlsx_with_text(tmp_path: Path) -> None:
    path = xlsx_bill(tmp_path / "bill.xlsx", [HEADING, row("A1")])
    assert rows_of(path, layout_of(tmp_path)) == [LAN_ROW]


def test_xlsx_with_figures_and_dates(tmp_path: Path) -> None:
    # A number of 11 digits is exact in a spreadsheet; amounts are, to the 15 digits that it keeps.
    moment = datetime(2026, 6, 1, 8, 0, 0)  # noqa: DTZ001 (a spreadsheet knows no zones)
    cells = (1234, int(LAN), moment, "ok", 2.0, 0.1 + 0.2, "down")
    path = xlsx_bill(tmp_path / "bill.xlsx", [HEADING, cells, (None,) * 7])
    assert rows_of(path, layout_of(tmp_path)) == [
        (2, "mt", b"1234", hashed(LAN), "138****5678", EIGHT, "ok", "delivered", 2, 3_000)
    ]


def test_a_sheet_by_name(tmp_path: Path) -> None:
    path = xlsx_bill(tmp_path / "bill.xlsx", [HEADING, row("A1")], "明细")
    named = LAYOUT.replace("[bill.cmcc]\n", '[bill.cmcc]\nsheet = "明细"\n')
    assert rows_of(path, layout_of(tmp_path, named)) == [LAN_ROW]
    other = layout_of(tmp_path, LAYOUT.replace("[bill.cmcc]\n", '[bill.cmcc]\nsheet = "June"\n'))
    with pytest.raises(BillError, match=r"bill\.xlsx: no sheet 'June': there are '明细'$"):
        rows_of(path, other)


def test_a_number_of_no_mobile_phone(tmp_path: Path) -> None:
    path = csv_bill(tmp_path / "bill.csv", [HEADING, row("A1", "037165881234")])
    assert rows_of(path, layout_of(tmp_path))[0][3:5] == (hashed("037165881234"), "****")


def test_a_time_with_a_zone(tmp_path: Path) -> None:
    layout = layout_of(
        tmp_path, LAYOUT.replace("[bill.cmcc]\n", '[bill.cmcc]\ntime_format = "%Y-%m-%dT%H:%M:%S%z"\n')
    )
    path = csv_bill(tmp_path / "bill.csv", [HEADING, row("A1", time="2026-06-01T00:00:00+0000")])
    assert rows_of(path, layout)[0][5] == EIGHT


SPOILT = (
    "a spreadsheet has made a floating-point number of it: make the column text there and export it again"
)
TIME = "column time: allowed is a time of the form %Y-%m-%d %H:%M:%S, 2000 to 2099"
AMOUNT = "column amount: allowed are yuan with at most four decimals, such as 0.03, or nothing"
PARTS = "column parts: allowed is a whole number of parts from 1 to 255, or nothing"
NUMBER = "column number: allowed is a number in digits, or nothing; where all are masked leave the column out"

REFUSED: list[tuple[Sequence[object], str]] = [
    (row(number="1.38001E+10"), f"column number: {SPOILT}"),
    (row(number="13812345678.0"), f"column number: {SPOILT}"),
    (row("1.23457E+17"), f"column id: {SPOILT}"),
    (row("A" * 65), "column id: allowed is an id of at most 64 octets"),
    (row(number="138****5678"), NUMBER),
    (row(number="合计"), NUMBER),
    (row("", ""), "neither an id nor a number: allowed is a row for a message: take others out"),
    (row(time=""), TIME),
    (row(time="2026-06-31 08:00:00"), TIME),
    (row(time="1999-12-31 23:59:59"), TIME),
    (row(status="done"), "column status: allowed are the words of cmcc.statuses: 'ok', 'failed', '?'"),
    (row(direction=""), "column direction: allowed are the words of cmcc.directions: 'down', 'up'"),
    (row(parts="0"), PARTS),
    (row(parts="1.5"), PARTS),
    (row(parts="256"), PARTS),
    (row(amount="-0.03"), AMOUNT),
    (row(amount="0.03001"), AMOUNT),
    (row(amount="￥0.03"), AMOUNT),
    ((*row(), "more"), "8 columns, allowed are 7 as in the heading"),
    ((*row(time="2026-06-01")[:3], "ok", 1, "", "down"), TIME),
    (("A1", LAN, *row()[2:6]), "column direction: allowed are the words of cmcc.directions: 'down', 'up'"),
]


@pytest.mark.parametrize(("cells", "wrong"), REFUSED)
def test_a_row_that_is_refused(tmp_path: Path, cells: Sequence[object], wrong: str) -> None:
    path = csv_bill(tmp_path / "bill.csv", [HEADING, row("A1"), cells])
    with pytest.raises(BillError) as raised:
        rows_of(path, layout_of(tmp_path))
    assert str(raised.value) == f"{path}: row 3: {wrong}"


@pytest.mark.parametrize(
    ("cells", "column"),
    [((1.38001e10, LAN), "id"), (("A1", 13812345678.5), "number"), ((1234567890123456, LAN), "id")],
)
def test_a_figure_that_a_spreadsheet_has_spoilt(
    tmp_path: Path, cells: tuple[object, object], column: str
) -> None:
    path = xlsx_bill(tmp_path / "bill.xlsx", [HEADING, (*cells, *row()[2:])])
    if cells[0] == 1.38001e10:  # Excel writes a wide number so; openpyxl writes its digits
        rewrite(path, b"13800100000", b"1.38001E+10")
    with pytest.raises(BillError) as raised:
        rows_of(path, layout_of(tmp_path))
    assert str(raised.value) == f"{path}: row 2: column {column}: {SPOILT}"


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """The sheet as another program writes it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = members["xl/worksheets/sheet1.xml"]
    assert old in sheet
    members["xl/worksheets/sheet1.xml"] = sheet.replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, octets in members.items():
            archive.writestr(name, octets)


def test_a_sheet_that_says_it_is_smaller(tmp_path: Path) -> None:
    path = xlsx_bill(tmp_path / "bill.xlsx", [HEADING, row("A1")])
    rewrite(path, b'<dimension ref="A1:G2"', b'<dimension ref="A1:B1"')
    assert rows_of(path, layout_of(tmp_path)) == [LAN_ROW]


def test_a_sheet_that_is_damaged(tmp_path: Path) -> None:
    path = xlsx_bill(tmp_path / "bill.xlsx", [HEADING, row("A1")])
    rewrite(path, b"</sheetData>", b"</sheet>")
    with pytest.raises(BillError, match=r"bill\.xlsx: damaged within: save it again, or as CSV$"):
        rows_of(path, layout_of(tmp_path))


HEADED: list[tuple[Sequence[object], str]] = [
    (("id", "number"), "row 1: column time stands 0 times: allowed is once: change the heading here or in"),
    ((*HEADING, "id"), "row 1: column id stands 2 times: allowed is once: change the heading here or in the"),
]


@pytest.mark.parametrize(("heading", "wrong"), HEADED)
def test_a_heading_that_is_refused(tmp_path: Path, heading: Sequence[object], wrong: str) -> None:
    path = csv_bill(tmp_path / "bill.csv", [heading, row()])
    with pytest.raises(BillError) as raised:
        rows_of(path, layout_of(tmp_path))
    assert str(raised.value).startswith(f"{path}: {wrong}")


FILES: list[tuple[bytes, str]] = [
    (b"", "row 1: the file ends above it: allowed is a row with the headings of the columns"),
    ("编号".encode("gb18030"), "not utf-8-sig: name its encoding in the layout: utf-8-sig or gb18030"),
    (b"PK\x03\x04 and no more", "no XLSX that can be read: save it again, or as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "the old format of Excel: save it as .xlsx"),
    (b'id,number\n"A', "after row 1: not CSV: unexpected end of data"),
]


@pytest.mark.parametrize(("octets", "wrong"), FILES)
def test_a_file_that_is_refused(tmp_path: Path, octets: bytes, wrong: str) -> None:
    path = tmp_path / "bill.csv"
    path.write_bytes(octets)
    layout = layout_of(tmp_path, '[bill.cmcc.columns]\ntime = "number"\ncarrier_id = "id"\n')
    with pytest.raises(BillError) as raised:
        rows_of(path, layout)
    assert str(raised.value) == f"{path}: {wrong}"


# -- layouts ---------------------------------------------------------------------------------------------

COLUMN = '[bill.cmcc.columns]\ntime = "t"\n'
BOTH = COLUMN + 'number = "n"\n'
LAYOUTS: list[tuple[str, str]] = [
    ("", "allowed are tables such as [bill.cmcc] and nothing else"),
    ("a = 1\n" + BOTH, "allowed are tables such as [bill.cmcc] and nothing else"),
    ("[bill.unicom.columns]", "no table [bill.cmcc] and no [bill.mobile]: there are unicom"),
    ("[bill", "not TOML: Expected"),
    ("[bill]\ncmcc = 1", "bill.cmcc: allowed is a table of keys and values"),
    ("[bill.cmcc]\nzone = 8\n" + BOTH, "bill.cmcc.zone: unknown key: allowed are encoding, delimiter,"),
    ("[bill.cmcc.columns]", "bill.cmcc.columns.time: missing: allowed is the heading of a column,"),
    (COLUMN, "bill.cmcc.columns: neither carrier_id nor number: allowed is one of them, or both"),
    (BOTH + 'parts = "n"', "bill.cmcc.columns: two keys with one heading: allowed is a column for each"),
    (BOTH + 'status = "s"', "bill.cmcc.statuses: allowed is a table of words with its column, or neither"),
    (BOTH + '[bill.cmcc.statuses]\nok = "delivered"', "bill.cmcc.statuses: allowed is a table of words with"),
    (
        BOTH + 'status = "s"\n[bill.cmcc.statuses]\nok = "fine"',
        "bill.cmcc.statuses.ok: allowed is one of delivered, failed, unknown, not 'fine'",
    ),
    (
        '[bill.cmcc]\nencoding = "gbk"\n' + BOTH,
        "bill.cmcc.encoding: allowed is one of utf-8-sig, gb18030, not 'gbk'",
    ),
    ('[bill.cmcc]\ndelimiter = "||"\n' + BOTH, "bill.cmcc.delimiter: allowed is one character such as"),
    ("[bill.cmcc]\nheader_row = 0\n" + BOTH, "bill.cmcc.header_row: allowed is a whole number from 1 to 100"),
    ('[bill.cmcc]\ntime_format = "%Y-%m-%d"\n' + BOTH, "bill.cmcc.time_format: allowed is a format such as"),
]


@pytest.mark.parametrize(("text", "wrong"), LAYOUTS)
def test_a_layout_that_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(LayoutError) as raised:
        layout_of(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path}/bills.toml: {wrong}")
    assert "\n" not in str(raised.value)


def test_an_account_comes_before_its_network(tmp_path: Path) -> None:
    text = BOTH + BOTH.replace("cmcc", "mobile")
    assert layout_of(tmp_path, text).name == "cmcc"
    assert layout_of(tmp_path, text, "cmcc2").name == "mobile"


@pytest.mark.parametrize("network", ["mobile", "unicom", "telecom", "broadnet"])
def test_the_examples_that_ship(network: str) -> None:
    assert shipped_layout("other", network).name == network


def test_the_shipped_example_of_mobile(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    lines = (
        "消息标识,接收号码,提交时间,状态报告,计费条数,费用（元）,上下行",
        f"A1,{LAN},20260601080000,MK:0012,2,0.06,下行",
    )
    path.write_bytes("\r\n".join(lines).encode("gb18030"))
    assert [found[1:] for found in rows_of(path, shipped_layout("cmcc", "mobile"))] == [
        ("mt", b"A1", hashed(LAN), "138****5678", EIGHT, "MK:0012", "failed", 2, 600)
    ]
