"""An answer of the gateway on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints `result` as one line of JSON, or as single values and then a table for each list or mapping.

    Texts are shown as they are: what stands in brackets is no markup.
    """
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    console = Console()
    if not console.is_terminal:
        # A pipe has no width; this keeps a row on a line.
        console = Console(width=200)
    single = {key: value for key, value in result.items() if not isinstance(value, list | dict)}
    if single:
        grid = Table.grid(padding=(0, 2))
        for key, value in single.items():
            grid.add_row(_words(key), Text(_text(value)))
        console.print(grid)
    for key, value in result.items():
        if not isinstance(value, list | dict):
            continue
        if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
            _print_names(console, key, value)
            continue
        if rows := _rows(value):
            console.print(_table(key, rows))
        else:
            console.print(f"{_words(key)}: none")


def _print_names(console: Console, key: str, names: list[str]) -> None:
    """Short names on one line, sentences one to a line."""
    if any(" " in name for name in names):
        console.print(f"{_words(key)}:")
        for name in names:
            console.print(f"  {name}", markup=False)
    else:
        console.print(f"{_words(key)}: {', '.join(names)}", markup=False)


def _rows(value: list[Any] | dict[str, Any]) -> list[dict[str, Any]]:
    """A mapping gives a row for each key, which is its first column: accounts, carriers."""
    if isinstance(value, dict):
        return [{"name": name, **_row(entry)} for name, entry in value.items()]
    return [_row(entry) for entry in value]


def _row(entry: object) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {"value": entry}


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    # Without upright lines nine columns fit into the 80 characters of a terminal.
    table = Table(
        title=_words(title), title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )
    columns = dict.fromkeys(key for row in rows for key in row)
    for column in columns:
        numeric = all(type(row.get(column, 0)) in (int, float) for row in rows)
        heading = _words(column)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        longest_word = max(map(len, heading.split()))
        # An id is there to be copied: it is never folded.
        whole = column in ("id", "link")
        table.add_column(heading, justify=justify, overflow="fold", min_width=longest_word, no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(_text(row.get(column, ""))) for column in columns))
    return table


def _words(key: str) -> str:
    return key.replace("_", " ")


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "-"
        case float():
            return f"{value:,.3f}".rstrip("0").rstrip(".")
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(_text, value))
        case dict():
            return ", ".join(f"{_words(key)} {_text(entry)}" for key, entry in value.items())
        case _:
            return str(value)
