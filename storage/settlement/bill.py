"""A carrier's bill, CSV or XLSX, into rows of a temporary database: all of it, or the one line that is wrong.

Numbers are hashed as they are read, with the key of the evidence, and of their digits only what may be shown
is kept. Cells that a spreadsheet has spoilt are refused: a number of which Excel shows 1.38001E+10, or an id
that it has cut to 15 digits, looks like another's.

The rows are put in the order of their content, so that nothing depends on the order of the file.
"""

from __future__ import annotations

import csv
import hashlib
import re
import sqlite3
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import ParseError

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from protocol.smpp.limits import MESSAGE_ID_OCTETS
from protocol.smpp.times import SHANGHAI
from storage.settlement.bill_layout import ANY_WORD, Layout
from storage.settlement.errors import SettlementError
from storage.settlement.terms import YEAR_MAX, YEAR_MIN

ROWS_MAX: Final = 20_000_000
"""Above a year of the traffic that one carrier gets; they take some 4 GB of temporary space."""

# units 0: the bill does not say; amount -1: it does not say.
_COLUMNS: Final = """line INTEGER NOT NULL,
    direction TEXT NOT NULL,
    carrier_id BLOB NOT NULL,
    number_hash BLOB NOT NULL,
    shown TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    word TEXT NOT NULL,
    state TEXT NOT NULL,
    units INTEGER NOT NULL,
    amount INTEGER NOT NULL"""
_CONTENT: Final = "direction, time_us, carrier_id, number_hash, state, word, units, amount, line"

# An XLSX of a million rows unpacks to a tenth of this.
_UNPACKED_MAX: Final = 4 << 30
_XLSX_BEGINS: Final = b"PK\x03\x04"
_XLS_BEGINS: Final = b"\xd0\xcf\x11\xe0"

# What Excel writes into a CSV for a number that is too wide. No id has a plus, so none is taken for it.
_SPOILT: Final = re.compile(r"[0-9]+(\.[0-9]+)?[eE]\+[0-9]+|[0-9]+\.[0-9]+")
_SPOILT_ADVICE: Final = (
    "a spreadsheet has made a floating-point number of it: make the column text there and export it again"
)
_DIGITS_EXACT: Final = 15  # of a number in a spreadsheet; what is behind them is lost
# Some exports put one of these before digits, so that spreadsheets leave them alone.
_TEXT_MARKS: Final = "'`"

_NUMBER: Final = re.compile(r"\+?[0-9]{3,20}")
_PARTS: Final = re.compile(r"[0-9]{1,3}")
_PARTS_MAX: Final = 255  # one octet counts them in a long text's header
_AMOUNT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,4}0*)?")
_WORD_LENGTH_MAX: Final = 64

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
# Of each column; some 10 MB.
_CELLS_KEPT: Final = 65_536


class BillError(SettlementError):
    """The bill cannot be used. One line: file, row, column, what is allowed. It quotes no cell, since that
    might be a number."""


class _WrongRow(ValueError):
    """What is wrong with a row, and what is allowed."""


class Numbers(NamedTuple):
    """How numbers are written, hashed and shown.

    normalise: the one form of a subscriber's number; b"" of what is none. number_hash: of that form. shown:
    of that form, masked unless whoever asked may see it.
    """

    normalise: Callable[[bytes], bytes]
    number_hash: Callable[[bytes], bytes]
    shown: Callable[[bytes], str]


def load_bill(connection: sqlite3.Connection, path: Path, layout: Layout, numbers: Numbers) -> bytes:
    """Makes the table `billed` of the bill's rows; returns the SHA-256 of the file.

    Within the caller's transaction. 10 million rows take some minutes and some 2 GB of the database, and of
    memory as much as one row. Raises BillError, OSError.
    """
    connection.execute(f"CREATE TABLE loaded ({_COLUMNS}) STRICT")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0)
        begins = file.read(4)
    if begins == _XLS_BEGINS:
        raise BillError(f"{path}: the old format of Excel: save it as .xlsx")
    with warnings.catch_warnings():
        # Of styles and extensions that openpyxl does not know, and that hold nothing of a bill.
        warnings.simplefilter("ignore", UserWarning)
        rows = _xlsx_rows(path, layout) if begins == _XLSX_BEGINS else _csv_rows(path, layout)
        connection.executemany(
            f"INSERT INTO loaded VALUES ({', '.join('?' * 10)})", _read_rows(path, rows, layout, numbers)
        )
    connection.execute(f"CREATE TABLE billed (place INTEGER PRIMARY KEY, {_COLUMNS}) STRICT")
    connection.execute(f"INSERT INTO billed SELECT NULL, * FROM loaded ORDER BY {_CONTENT}")
    connection.execute("DROP TABLE loaded")
    return digest


def _read_rows(
    path: Path, rows: Iterator[Sequence[Any]], layout: Layout, numbers: Numbers
) -> Iterator[tuple[Any, ...]]:
    """The rows below the heading as rows of `loaded`."""
    row_number = layout.header_row
    try:
        heading = next(islice(rows, layout.header_row - 1, None), None)
        if heading is None:
            raise _WrongRow("the file ends above it: allowed is a row with the headings of the columns")
        reader = _RowReader([_text(cell).removeprefix("\ufeff") for cell in heading], layout, numbers)
        for row_number, cells in enumerate(rows, layout.header_row + 1):
            if not any(cells) and all(cell in (None, "") for cell in cells):
                continue
            if row_number > ROWS_MAX:
                raise _WrongRow(f"allowed are {ROWS_MAX:,} rows: cut the bill in two")
            yield (row_number, *reader.read(cells))
    except _WrongRow as error:
        raise BillError(f"{path}: row {row_number}: {error}") from error
    except csv.Error as error:
        raise BillError(f"{path}: after row {row_number}: not CSV: {error}") from error


def _csv_rows(path: Path, layout: Layout) -> Iterator[Sequence[Any]]:
    try:
        with path.open(encoding=layout.encoding, newline="") as text:
            yield from csv.reader(text, delimiter=layout.delimiter, strict=True)
    except UnicodeDecodeError as error:
        raise BillError(
            f"{path}: not {layout.encoding}: name its encoding in the layout: utf-8-sig or gb18030"
        ) from error


def _xlsx_rows(path: Path, layout: Layout) -> Iterator[Sequence[Any]]:
    book = _open_book(path)
    try:
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        sheet = sheets.get(layout.sheet or next(iter(sheets), ""))
        if sheet is None:
            raise BillError(f"{path}: no sheet {layout.sheet!r}: there are {_listed(sheets)}")
        sheet.reset_dimensions()  # some programs write ones that are too small, and rows would be missing
        yield from _whole(path, sheet.iter_rows(values_only=True))
    finally:
        book.close()


def _open_book(path: Path) -> Any:
    """The workbook, read as it goes."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked <= _UNPACKED_MAX:
            return load_workbook(path, read_only=True, data_only=True)
    except _BROKEN as error:
        raise BillError(f"{path}: no XLSX that can be read: save it again, or as CSV") from error
    raise BillError(f"{path}: {unpacked:,} octets unpacked: allowed are {_UNPACKED_MAX:,}")


def _whole(path: Path, rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    try:
        yield from rows
    except _BROKEN as error:
        raise BillError(f"{path}: damaged within: save it again, or as CSV") from error


# What openpyxl, and what it reads with, raise of a file that is no workbook or a broken one.
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, InvalidFileException, KeyError, ValueError, ParseError)


class _RowReader:
    """Reads cells by the layout, once it has found the columns in the heading."""

    def __init__(self, headings: list[str], layout: Layout, numbers: Numbers) -> None:
        self._layout = layout
        self._numbers = numbers
        self._width = len(headings)
        self._readers: dict[str, tuple[int, Callable[[Any], Any]]] = {
            name: (_place(headings, heading), read)
            for name, read in (
                ("carrier_id", _carrier_id),
                ("number", self._number),
                ("time", _kept(self._time_us)),
                ("status", _kept(self._status)),
                ("parts", _kept(_units)),
                ("amount", _kept(_amount)),
                ("direction", _kept(self._direction)),
            )
            if (heading := getattr(layout.columns, name))
        }

    def read(self, cells: Sequence[Any]) -> tuple[Any, ...]:
        """What stands in `loaded`, without the number of the row."""
        if len(cells) > self._width and any(cell not in (None, "") for cell in cells[self._width :]):
            raise _WrongRow(f"{len(cells)} columns, allowed are {self._width} as in the heading")
        carrier_id = self._column("carrier_id", cells, b"")
        number = self._column("number", cells, b"")
        if not carrier_id and not number:
            raise _WrongRow("neither an id nor a number: allowed is a row for a message: take others out")
        word, state = self._column("status", cells, ("", ""))
        return (
            self._column("direction", cells, "mt"),
            carrier_id,
            self._numbers.number_hash(number) if number else b"",
            self._numbers.shown(number) if number else "",
            self._column("time", cells, 0),
            word,
            state,
            self._column("parts", cells, 0),
            self._column("amount", cells, -1),
        )

    def _column(self, name: str, cells: Sequence[Any], absent: Any) -> Any:
        if name not in self._readers:
            return absent
        place, read = self._readers[name]
        try:
            return read(cells[place] if place < len(cells) else None)
        except _WrongRow as error:
            raise _WrongRow(f"column {getattr(self._layout.columns, name)}: {error}") from None

    def _number(self, cell: Any) -> bytes:
        text = _digits_text(cell)
        if not text:
            return b""
        if number := self._numbers.normalise(text.encode()):
            return number
        if not _NUMBER.fullmatch(text):
            raise _WrongRow(
                "allowed is a number in digits, or nothing; where all are masked leave the column out"
            )
        return text.encode()  # of no mobile phone here: nothing of ours will match it

    def _time_us(self, cell: Any) -> int:
        try:
            if not isinstance(cell, datetime):
                cell = datetime.strptime(_text(cell), self._layout.time_format)  # noqa: DTZ007 (see there)
            return _microseconds(cell)
        except ValueError:
            raise _WrongRow(
                f"allowed is a time of the form {self._layout.time_format}, {YEAR_MIN} to {YEAR_MAX}"
            ) from None

    def _status(self, cell: Any) -> tuple[str, str]:
        word = _text(cell)
        statuses = self._layout.statuses
        state = statuses.get(word) or (statuses.get(ANY_WORD) if word else "")
        if state is None:
            raise _WrongRow(f"allowed are the words of {self._layout.name}.statuses: {_listed(statuses)}")
        return word[:_WORD_LENGTH_MAX], state

    def _direction(self, cell: Any) -> str:
        directions = self._layout.directions
        direction = directions.get(_text(cell)) or directions.get(ANY_WORD)
        if direction is None:
            raise _WrongRow(f"allowed are the words of {self._layout.name}.directions: {_listed(directions)}")
        return direction


def _kept(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What was read lately, where few cells differ: times that stand together, words, amounts."""
    return lru_cache(_CELLS_KEPT, typed=True)(read)  # 1, 1.0 and True are not one cell


def _place(headings: list[str], heading: str) -> int:
    if headings.count(heading) != 1:
        raise _WrongRow(
            f"column {heading} stands {headings.count(heading)} times: allowed is once: change the heading"
            " here or in the layout"
        )
    return headings.index(heading)


def _text(cell: Any) -> str:
    """Of any cell, without blanks around it; a floating-point number that is whole without its point."""
    match cell:
        case None:
            return ""
        case float() if cell.is_integer():
            return str(int(cell))
        case _:
            return str(cell).strip()


def _digits_text(cell: Any) -> str:
    """Of an id or a number, which a spreadsheet must not have taken for a figure and spoilt."""
    if isinstance(cell, float) or (isinstance(cell, int) and len(str(cell)) > _DIGITS_EXACT):
        raise _WrongRow(_SPOILT_ADVICE)
    text = _text(cell).lstrip(_TEXT_MARKS)
    if _SPOILT.fullmatch(text):
        raise _WrongRow(_SPOILT_ADVICE)
    return text


def _carrier_id(cell: Any) -> bytes:
    octets = _digits_text(cell).encode()
    if len(octets) >= MESSAGE_ID_OCTETS:
        raise _WrongRow(f"allowed is an id of at most {MESSAGE_ID_OCTETS - 1} octets")
    return octets


def _microseconds(moment: datetime) -> int:
    """Since the epoch; without a zone it is by the clock of Shanghai. Raises ValueError."""
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(moment.year)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=SHANGHAI)
    return (moment - _EPOCH) // _US


def _units(cell: Any) -> int:
    text = _text(cell)
    if not text:
        return 0
    if not _PARTS.fullmatch(text) or not 1 <= int(text) <= _PARTS_MAX:
        raise _WrongRow(f"allowed is a whole number of parts from 1 to {_PARTS_MAX}, or nothing")
    return int(text)


def _amount(cell: Any) -> int:
    """In 0.0001 yuan; -1 of an empty cell."""
    # A spreadsheet keeps 15 digits, and shows the rest of the binary fraction to nobody.
    text = f"{Decimal(f'{cell:.12g}'):f}" if isinstance(cell, float) else _text(cell)
    if not text:
        return -1
    if not _AMOUNT.fullmatch(text):
        raise _WrongRow("allowed are yuan with at most four decimals, such as 0.03, or nothing")
    return int(Decimal(text).scaleb(4))


def _listed(words: Any) -> str:
    return ", ".join(map(repr, words))
