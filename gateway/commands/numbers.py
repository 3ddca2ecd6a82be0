"""`jingxin numbers …`: which network serves a number, where its prefix does not tell (携号转网)."""

from __future__ import annotations

import csv
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import msgspec
import typer

from gateway.commands.operator import operator
from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.result import show as show_result
from gateway.config import Network, Tables, master_key_file, read
from gateway.config_table import is_credential
from gateway.control_client import ControlError, request
from gateway.number_plan import NumberPlan, mask, normalise
from protocol.smpp.times import SHANGHAI

if TYPE_CHECKING:
    from storage.keys import Keyring

app = typer.Typer(no_args_is_help=True, help="Numbers that were ported to another network (携号转网).")

FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, help="CSV in UTF-8: number,network[,expires]."
    ),
]
NetworkColumnOption = Annotated[
    str, typer.Option("--network-column", metavar="NAME", help="The column with the network today.")
]
NumberArgument = Annotated[str, typer.Argument(metavar="NUMBER", help="A number, as people write it.")]

_NETWORKS: Final = get_args(Network)
_NUMBER_COLUMN: Final = "number"
_EXPIRES_COLUMN: Final = "expires"
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_S: Final = 86_400

# It stands with each number in the register.
_SOURCE_LENGTH_MAX: Final = 80


class WrongFile(ValueError):
    """What is wrong with the list, in one line: file, line, what is allowed."""


class _WrongLine(ValueError):
    """What is wrong with the line that was read last, and what is allowed."""


class PortedList(msgspec.Struct):
    """A list that is right from its first line to its last. rows: network and expires_us by number hash."""

    rows: dict[bytes, tuple[str, int]]
    expired: int = 0  # numbers that the list itself says are over; they are not in `rows`
    ignored_columns: tuple[str, ...] = ()


@app.command("import")
def import_(
    config: ConfigOption,
    file: FileArgument,
    network_column: NetworkColumnOption = "network",
    json: JsonOption = False,
) -> None:
    """Takes a list of ported numbers: all of it, or nothing when a line is wrong.

    Networks are mobile, unicom, telecom and broadnet. `expires` is the last day on which the line holds,
    YYYY-MM-DD in Asia/Shanghai, or empty.
    """
    from gateway.portability import PORTED_MAX
    from storage.register import REGISTER_NAME, Register

    tables = read(config)
    now_us = time.time_ns() // 1000
    try:
        ported = read_list(file, network_column, PORTED_MAX, _keyring(tables), now_us)
    except WrongFile as error:
        typer.echo(f"jingxin: {error}: nothing was imported", err=True)
        raise typer.Exit(1) from error
    # A name in another encoding than UTF-8 has octets that SQLite would not take.
    name = os.fsencode(file.name).decode("utf-8", "replace")
    source = f"import {name}"[:_SOURCE_LENGTH_MAX]
    rows = ((number_hash, *row) for number_hash, row in ported.rows.items())
    with closing(Register.open(tables.gateway.state_dir / REGISTER_NAME)) as register:
        added = register.import_ported(rows, source, now_us, PORTED_MAX)
    networks = Counter(network for network, _ in ported.rows.values())
    _finish(
        tables,
        f"{source}: {len(ported.rows)} numbers",
        {
            "imported": len(ported.rows),
            "new": added,
            **{network: networks[network] for network in _NETWORKS},
            "expired_already": ported.expired,
            "ignored_columns": ", ".join(ported.ignored_columns) or None,
        },
        as_json=json,
    )


@app.command()
def show(config: ConfigOption, number: NumberArgument, json: JsonOption = False) -> None:
    """Shows the network of a number by the number plan, and what is known beyond that."""
    from gateway.portability import portable
    from storage.register import REGISTER_NAME, Register
    from storage.seal import day_of

    subscriber = _subscriber(number)
    tables = read(config)
    path = tables.gateway.state_dir / REGISTER_NAME
    ported = None
    if path.exists():
        with closing(Register.open(path)) as register:
            ported = register.ported(_keyring(tables).number_hash(subscriber))
    if ported is not None and 0 < ported.expires_us <= time.time_ns() // 1000:
        ported = None
    segment = NumberPlan.load().lookup(subscriber)
    result: dict[str, Any] = {
        "number": mask(subscriber),
        "plan": None if segment is None else segment.carrier,
        "kind": None if segment is None else segment.kind,
        "portable": portable(subscriber),
        "override": None,
    }
    if ported is not None:
        result |= {
            "override": ported.network,
            "source": ported.source,
            "learned": _time(ported.learned_us),
            "last_day": day_of(ported.expires_us - 1) if ported.expires_us else None,
        }
    show_result(result, as_json=json)


@app.command()
def forget(config: ConfigOption, number: NumberArgument, json: JsonOption = False) -> None:
    """Drops what is known of a number: its prefix counts again."""
    from storage.register import REGISTER_NAME, Register

    subscriber = _subscriber(number)
    tables = read(config)
    path = tables.gateway.state_dir / REGISTER_NAME
    forgotten = False
    if path.exists():
        with closing(Register.open(path)) as register:
            forgotten = register.forget(_keyring(tables).number_hash(subscriber))
    result = {"number": mask(subscriber), "forgotten": forgotten}
    if forgotten:
        _finish(tables, f"forget {mask(subscriber)}", result, as_json=json)
    else:
        show_result(result, as_json=json)


def read_list(file: Path, network_column: str, rows_max: int, keyring: Keyring, now_us: int) -> PortedList:
    """The list in `file`, numbers hashed. Raises WrongFile, which quotes no cell: it may be a number."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True)
            try:
                return _read_lines(lines, network_column, rows_max, keyring, now_us)
            except (_WrongLine, csv.Error) as error:
                raise WrongFile(f"{file}: line {max(lines.line_num, 1)}: {error}") from error
    except UnicodeDecodeError as error:
        raise WrongFile(f"{file}: not UTF-8: save it as UTF-8") from error


def _read_lines(
    lines: Iterator[list[str]], network_column: str, rows_max: int, keyring: Keyring, now_us: int
) -> PortedList:
    from gateway.portability import portable

    columns = next(lines, [])
    for name in (_NUMBER_COLUMN, network_column, _EXPIRES_COLUMN):
        least = 0 if name == _EXPIRES_COLUMN else 1
        if not least <= columns.count(name) <= 1:
            raise _WrongLine(
                f"column {name} stands {columns.count(name)} times: allowed is a heading such as"
                f" {_NUMBER_COLUMN},{network_column},{_EXPIRES_COLUMN}, the last one as you like"
            )
    known = (_NUMBER_COLUMN, network_column, _EXPIRES_COLUMN)
    ported = PortedList({}, ignored_columns=tuple(name for name in columns if name not in known))
    for cells in lines:
        if not cells:  # a blank line
            continue
        if len(cells) != len(columns):
            raise _WrongLine(f"{len(cells)} columns, allowed is {len(columns)} as in the heading")
        row = dict(zip(columns, cells, strict=True))
        number = normalise(row[_NUMBER_COLUMN].encode())
        if not number:
            raise _WrongLine(f"column {_NUMBER_COLUMN}: allowed is a Chinese mobile number")
        if not portable(number):
            raise _WrongLine(
                f"{mask(number)} is of a satellite, a virtual operator or a machine, whose numbers are never"
                " ported: take the line out"
            )
        network = row[network_column]
        if network not in _NETWORKS:
            raise _WrongLine(f"column {network_column}: allowed is one of {', '.join(_NETWORKS)}")
        expires_us = 0
        if last_day := row.get(_EXPIRES_COLUMN):
            expires_us = _end_us(last_day)
            if expires_us <= now_us:
                ported.expired += 1
                continue
        number_hash = keyring.number_hash(number)
        if ported.rows.setdefault(number_hash, (network, expires_us)) != (network, expires_us):
            raise _WrongLine(f"{mask(number)} stands twice and not the same: allowed is once")
        if len(ported.rows) > rows_max:
            raise _WrongLine(f"allowed are {rows_max:,} numbers")
    return ported


def _end_us(last_day: str) -> int:
    """The midnight in Asia/Shanghai at which a day ends."""
    try:
        # fromisoformat alone takes 20261231 and week dates too.
        day = date.fromisoformat(last_day) if _DAY.fullmatch(last_day) else None
    except ValueError:
        day = None
    if day is None:
        raise _WrongLine(f"column {_EXPIRES_COLUMN}: allowed is a day such as 2026-12-31, or nothing")
    # Added to the number and not to the date: lists write 9999-12-31, which has no next day.
    return int(datetime(day.year, day.month, day.day, tzinfo=SHANGHAI).timestamp() + _DAY_S) * 1_000_000


def _keyring(tables: Tables) -> Keyring:
    from storage.keys import Keyring, read_master_key

    key_file = master_key_file(tables)
    master_key = read_master_key(key_file, guarded=is_credential(key_file))
    return Keyring(tables.gateway.evidence_dir / "keys", master_key)


def _subscriber(text: str) -> bytes:
    number = normalise(os.fsencode(text))  # as the terminal sent it: `normalise` knows its encodings
    if not number:
        raise typer.BadParameter(
            "allowed is a Chinese mobile number such as 13812345678 or +86 138-1234-5678"
        )
    return number


def _finish(tables: Tables, change: str, result: dict[str, Any], *, as_json: bool) -> None:
    """Tells a running gateway of a change that is on disk, and prints the result. Raises ControlError when
    one runs and was not told."""
    failure: ControlError | None = None
    try:
        request(tables.gateway.control_socket, "numbers_reload", {"who": operator(), "reason": change})
        result["gateway"] = "told"
    except ControlError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            result["gateway"] = "none runs; it reads the numbers when it starts"
        else:
            result["gateway"] = "not told"
            failure = error
    show_result(result, as_json=as_json)
    if failure is not None:
        raise ControlError(f"the change is on disk, but the gateway was not told: {failure}") from failure


def _time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, SHANGHAI).isoformat()
