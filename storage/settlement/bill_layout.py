"""How a carrier's bill is laid out: which column holds what, and what its words mean, read from a TOML file.

Every carrier has a layout of its own, and none is published. `bills.toml` beside this module has examples,
and says which keys there are.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from storage.settlement.errors import SettlementError
from storage.settlement.values import WrongValue, allowed_by, converted, shown_key

State = Literal["delivered", "failed", "unknown"]
Direction = Literal["mt", "mo"]

ANY_WORD: Final = "*"
"""In a table of words: every word that is not listed."""

_Heading = Annotated[
    str, Meta(pattern=r"^[^\x00-\x1f]{1,200}\Z", description="the heading of a column, 1 to 200 characters")
]
_NoHeading = Annotated[
    str, Meta(pattern=r"^[^\x00-\x1f]{0,200}\Z", description="the heading of a column, or nothing")
]
_Delimiter = Annotated[
    str, Meta(pattern=r"^[\t -~]\Z", description=r'one character such as "," or ";" or "\t"')
]
# Excel's own bound of a sheet's name.
_SheetName = Annotated[str, Meta(max_length=31, description="the name of a sheet, at most 31 characters")]
_TimeFormat = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f]{1,40}\Z", description='a format such as "%Y-%m-%d %H:%M:%S" or "%y%m%d%H%M"'
    ),
]
_Row = Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")]

# Two digits of a year, and no seconds, are the least that bills are known to write (CMPP's YYMMDDHHMM).
_SAMPLE: Final = datetime(2026, 11, 27, 13, 58, tzinfo=UTC)


class Columns(Struct, frozen=True, kw_only=True):
    """[bill.NAME.columns]: headings; "" where the bill has no such column."""

    time: _Heading
    carrier_id: _NoHeading = ""
    number: _NoHeading = ""
    status: _NoHeading = ""
    parts: _NoHeading = ""
    amount: _NoHeading = ""
    direction: _NoHeading = ""


class Form(Struct, frozen=True, kw_only=True):
    """[bill.NAME]: how the file is written."""

    encoding: Literal["utf-8-sig", "gb18030"] = "utf-8-sig"
    delimiter: _Delimiter = ","
    sheet: _SheetName = ""
    header_row: _Row = 1
    time_format: _TimeFormat = "%Y-%m-%d %H:%M:%S"
    time_is: Literal["submit", "done"] = "submit"


class Layout(Form, frozen=True, kw_only=True):
    """One carrier's. name: of its table in the file; digest: SHA-256 of the file."""

    name: str
    digest: bytes
    columns: Columns
    statuses: Mapping[str, State]
    directions: Mapping[str, Direction]

    @property
    def has_replies(self) -> bool:
        return "mo" in self.directions.values()


class LayoutError(SettlementError):
    """The file of layouts cannot be used. One line: file, key, what is wrong, what is allowed."""


_Read = TypeVar("_Read", bound=Struct)


def read_layout(path: Path, account: str, network: str) -> Layout:
    """That of the carrier account, else that of its network. Raises LayoutError, and OSError of the file."""
    return _layout(path, path.read_bytes(), account, network)


def shipped_layout(account: str, network: str) -> Layout:
    """As `read_layout`, of the examples that ship. Raises LayoutError where there is none."""
    file = resources.files("storage.settlement").joinpath("bills.toml")
    return _layout(Path("bills.toml (shipped)"), file.read_bytes(), account, network)


def _layout(path: Path, octets: bytes, account: str, network: str) -> Layout:
    try:
        document = tomllib.loads(octets.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LayoutError(f"{path}: not UTF-8 at octet {error.start}: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise LayoutError(f"{path}: not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{path}: a number too long or tables too deep: allowed are texts") from error
    bills = document.get("bill")
    if not isinstance(bills, dict) or set(document) != {"bill"}:
        raise LayoutError(f"{path}: allowed are tables such as [bill.{account}] and nothing else")
    names = dict.fromkeys((account, network))  # the same where a whole network is asked for
    for name in names:
        if name in bills:
            return _Reader(path, f"bill.{name}").layout(name, bills[name], hashlib.sha256(octets).digest())
    known = ", ".join(map(shown_key, bills))
    missing = " and no ".join(f"[bill.{name}]" for name in names)
    raise LayoutError(f"{path}: no table {missing}: there are {known}")


class _Reader:
    """Reads one table of the file, so that every error can name file and key."""

    def __init__(self, path: Path, where: str) -> None:
        self._path = path
        self._where = where

    def layout(self, name: str, content: object, digest: bytes) -> Layout:
        keys = dict(self._mapping(self._where, content))
        below = {table: keys.pop(table, {}) for table in ("columns", "statuses", "directions")}
        form = self._struct(Form, self._where, keys)
        columns = self._struct(Columns, f"{self._where}.columns", below["columns"])
        layout = Layout(
            **msgspec.structs.asdict(form),
            name=name,
            digest=digest,
            columns=columns,
            statuses=self._words("statuses", below["statuses"], State),
            directions=self._words("directions", below["directions"], Direction),
        )
        self._check_together(layout)
        return layout

    def _check_together(self, layout: Layout) -> None:
        columns = layout.columns
        if not columns.carrier_id and not columns.number:
            raise self._wrong("columns", "neither carrier_id nor number: allowed is one of them, or both")
        headings = [heading for heading in msgspec.structs.astuple(columns) if heading]
        if len(set(headings)) != len(headings):
            raise self._wrong("columns", "two keys with one heading: allowed is a column for each")
        for words, heading in (("statuses", columns.status), ("directions", columns.direction)):
            if bool(heading) != bool(getattr(layout, words)):
                raise self._wrong(words, "allowed is a table of words with its column, or neither of them")
        if not _tells_the_minute(layout.time_format):
            raise self._wrong("time_format", f"allowed is {allowed_by(_TimeFormat)}, to the minute or finer")

    def _struct(self, struct: type[_Read], where: str, content: object) -> _Read:
        keys = self._mapping(where, content)
        allowed = struct.__struct_fields__
        if struct is Form:
            allowed = (*allowed, "columns", "statuses", "directions")
        for key in keys:
            if key not in allowed:
                raise LayoutError(
                    f"{self._path}: {where}.{shown_key(key)}: unknown key: allowed are {', '.join(allowed)}"
                )
        values = {}
        for field in msgspec.structs.fields(struct):
            if field.name in keys:
                values[field.name] = self._value(f"{where}.{field.name}", field.type, keys[field.name])
            elif field.required:
                raise LayoutError(
                    f"{self._path}: {where}.{field.name}: missing: allowed is {allowed_by(field.type)}"
                )
        return struct(**values)

    def _words(self, table: str, content: object, meaning: Any) -> dict[str, Any]:
        where = f"{self._where}.{table}"
        return {
            word: self._value(f"{where}.{shown_key(word)}", meaning, value)
            for word, value in self._mapping(where, content).items()
        }

    def _mapping(self, where: str, content: object) -> Mapping[str, Any]:
        if not isinstance(content, Mapping):
            raise LayoutError(f"{self._path}: {where}: allowed is a table of keys and values")
        return content

    def _value(self, where: str, wanted: Any, value: object) -> Any:
        try:
            return converted(value, wanted)
        except WrongValue as error:
            raise LayoutError(f"{self._path}: {where}: {error}") from error

    def _wrong(self, key: str, wrong: str) -> LayoutError:
        return LayoutError(f"{self._path}: {self._where}.{key}: {wrong}")


def _tells_the_minute(time_format: str) -> bool:
    """Whether a moment can be read back from it: strptime fills what a format lacks with 1900-01-01 00:00."""
    try:
        read = datetime.strptime(_SAMPLE.strftime(time_format), time_format)  # noqa: DTZ007 (compared as local)
    except ValueError:
        return False
    return read.replace(tzinfo=None) == _SAMPLE.replace(tzinfo=None)
