"""`jingxin evidence search` and `export`: messages found by what is known of them, for a reason that stays.

What is looked for is recorded by the running gateway before anything is shown (gateway/recorded_actions.py):
who, why, by which criteria. The ledger is asked, which holds neither numbers nor texts: a number is
looked for by its keyed hash, which takes the master key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from gateway.commands.evidence import number_of, with_segments
from gateway.commands.operator import operator
from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.result import show
from gateway.config import Tables, master_key_file, read
from gateway.config_table import is_credential
from gateway.control_client import ControlError, request
from gateway.number_plan import mask, normalise
from storage.errors import KeyFileError
from storage.ledger.search import Found, Wanted
from storage.ledger.standing import Standing

if TYPE_CHECKING:
    from gateway.recorded_actions import Action
    from storage.keys import Keyring

ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="What for; it stands in the evidence.")
]
NumberOption = Annotated[
    str | None, typer.Option("--number", metavar="NUMBER", help="The subscriber's, as people write it.")
]
MessageOption = Annotated[
    str | None, typer.Option("--message", metavar="ID", help="A message id, or the index of an acceptance.")
]
AccountOption = Annotated[str | None, typer.Option("--account", metavar="NAME", help="Of an application.")]
CarrierOption = Annotated[
    str | None, typer.Option("--carrier", metavar="NAME", help="The carrier account that it ended with.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help='Accepted from "2026-11-26 09:30" in Shanghai on, or a day.'
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Accepted before that time, or to the end of that day."),
]
StateOption = Annotated[
    Standing | None, typer.Option("--state", help="What became of it, by all that is known.")
]

# What an export holds at most: the parts of half an hour at full load, some 300 MB.
EXPORT_PARTS_MAX: Final = 100_000
# A table of more is no table that somebody reads.
SEARCH_PARTS_MAX: Final = 10_000

SearchLimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=SEARCH_PARTS_MAX, help="The newest so many.")
]
ExportLimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=EXPORT_PARTS_MAX, help="The newest so many.")
]

# The ledger takes in what is durable each second.
_BEHIND_S: Final = 5.0

_DAY_US: Final = 86_400_000_000

# Names have 64 characters at most, ids 16, times 19.
_CRITERION_CHARACTERS_MAX: Final = 64


class Criteria(NamedTuple):
    """What to look for. shown: the same in words, the number masked. subscriber: the number, or empty."""

    wanted: Wanted
    shown: Mapping[str, str]
    subscriber: bytes


class Result(NamedTuple):
    """What was found, newest first. more: there are more than were asked for."""

    found: list[Found]
    more: bool


def search(
    config: ConfigOption,
    reason: ReasonOption,
    number: NumberOption = None,
    message: MessageOption = None,
    account: AccountOption = None,
    carrier: CarrierOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    state: StateOption = None,
    limit: SearchLimitOption = 100,
    json: JsonOption = False,
) -> None:
    """Finds messages, newest first, by all that is given; the search is recorded. Numbers and texts are not
    shown."""
    from gateway.commands.found_rows import message_ids, row_of

    reason = _reason(reason)
    tables = read(config)
    criteria = _criteria(tables, number, message, account, carrier, since, until, state)
    ids = message_ids(tables.gateway.evidence_dir)
    _check_ledger(tables)
    _record(tables, "search", reason, criteria)
    result = _find(tables, criteria.wanted, limit)
    rows = [row_of(found, ids) for found in result.found]
    if json:
        show({"messages": rows, "more": result.more}, as_json=True)
    else:
        show({"messages": _for_a_table(rows)}, as_json=False)
    _say_what_is_not_shown(tables, criteria.wanted, result)


def export(
    config: ConfigOption,
    reason: ReasonOption,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where to; there must be none of that name.")
    ],
    number: NumberOption = None,
    message: MessageOption = None,
    account: AccountOption = None,
    carrier: CarrierOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    state: StateOption = None,
    limit: ExportLimitOption = EXPORT_PARTS_MAX,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="With numbers and texts; it takes the master key.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Writes what was found, every record of it and its proofs into a directory; the export is recorded."""
    from gateway.commands.export_directory import Contents, Purpose, check_free, write

    reason = _reason(reason)
    check_free(output)
    tables = read(config)
    criteria = _criteria(tables, number, message, account, carrier, since, until, state)
    keyring = _keyring(tables, "--reveal") if reveal else None
    _check_ledger(tables)
    record = _record(tables, "export revealed" if reveal else "export", reason, criteria)
    result = _find(tables, criteria.wanted, limit)
    purpose = Purpose(reason, operator(), record, criteria.shown, complete=not result.more)
    facts = write(output, tables, result.found, purpose, Contents.of(tables, keyring, criteria.subscriber))
    show({"directory": str(output), **facts}, as_json=json)
    _say_what_is_not_shown(tables, criteria.wanted, result)


# -- what is looked for --------------------------------------------------------------------------------------


def _criteria(
    tables: Tables,
    number: str | None,
    message: str | None,
    account: str | None,
    carrier: str | None,
    since: str | None,
    until: str | None,
    state: Standing | None,
) -> Criteria:
    """Raises BadParameter, NoSuchRecord for an id that is none of this gateway, KeyFileError."""
    subscriber = b"" if number is None else _subscriber(number)
    given = {
        "number": mask(subscriber) if subscriber else None,
        "message": message,
        "account": account,
        "carrier": carrier,
        "since": since,
        "until": until,
        "state": state,
    }
    shown = {
        name: _text(f"--{name}", str(value), _CRITERION_CHARACTERS_MAX)
        for name, value in given.items()
        if value is not None
    }
    if not shown:
        raise typer.BadParameter(f"give one of {', '.join(f'--{name}' for name in given)} at least")
    directory = with_segments(tables.gateway.evidence_dir)
    since_us = _time_us("--since", since, 0) if since else 0
    until_us = _time_us("--until", until, _DAY_US) if until else 0
    if until and until_us <= since_us:
        raise typer.BadParameter(f"allowed is a time after --since, {since}", param_hint="'--until'")
    wanted = Wanted(
        message=number_of(directory, message) if message else 0,
        number_hash=_keyring(tables, "--number").number_hash(subscriber) if subscriber else b"",
        account=account or "",
        carrier=carrier or "",
        state=state,
        since_us=since_us,
        until_us=until_us,
    )
    return Criteria(wanted, shown, subscriber)


def _subscriber(text: str) -> bytes:
    number = normalise(os.fsencode(text))
    if not number:
        raise typer.BadParameter(
            "allowed is a Chinese mobile number such as 13812345678 or +86 138-1234-5678",
            param_hint="'--number'",
        )
    return number


def _time_us(option: str, text: str, day_us: int) -> int:
    """A time of somebody in Shanghai; of a day alone its midnight, or `day_us` later."""
    from gateway.register_forms import day
    from storage.settlement.calendar import day_us as midnight_us
    from storage.settlement.calendar import moment_us

    try:
        return moment_us(text)
    except ValueError:
        try:
            return midnight_us(day(text)) + day_us
        except ValueError:
            raise typer.BadParameter(
                'allowed is a time in Shanghai such as "2026-11-26 09:30", or a day such as 2026-11-26',
                param_hint=f"'{option}'",
            ) from None


def _text(option: str, text: str, characters_max: int) -> str:
    """A text that may stand in the evidence. Raises BadParameter."""
    from gateway.recorded_actions import ONE_LINE

    if not text.strip() or len(text) > characters_max or not ONE_LINE.fullmatch(text):
        raise typer.BadParameter(
            f"allowed is a text of 1 to {characters_max} characters on one line, in UTF-8",
            param_hint=f"'{option}'",
        )
    return text


def _keyring(tables: Tables, option: str) -> Keyring:
    """Raises KeyFileError: this is for whoever may read the master key."""
    from storage.keys import Keyring, read_master_key

    file = master_key_file(tables)
    try:
        return Keyring(
            tables.gateway.evidence_dir / "keys", read_master_key(file, guarded=is_credential(file))
        )
    except (KeyFileError, PermissionError) as failure:
        if isinstance(failure, PermissionError) or isinstance(failure.__cause__, PermissionError):
            raise KeyFileError(f"{option} is for those who may read the master key, {file}") from failure
        raise


# -- recorded, then found ------------------------------------------------------------------------------------


def _reason(text: str) -> str:
    """Raises BadParameter."""
    from gateway.logs import mask_numbers
    from gateway.register_forms import TEXT_CHARACTERS_MAX

    return mask_numbers(_text("--reason", text, TEXT_CHARACTERS_MAX))


def _record(tables: Tables, action: Action, reason: str, criteria: Criteria) -> int:
    """Has the gateway record it; the index of the record, which is durable. Raises ControlError."""
    by = ", ".join(f"{name} {value}" for name, value in criteria.shown.items())
    asked = {"who": operator(), "action": action, "reason": f"{reason} ({by})"}
    try:
        return int(request(tables.gateway.control_socket, "record_action", asked)["record"])
    except ControlError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            raise ControlError(f"it is recorded first, so the gateway has to run: {error}") from error
        raise


def _check_ledger(tables: Tables) -> None:
    """Raises DatabaseError where there is none: nothing is recorded then."""
    from gateway.commands.ledger_reach import reach

    reach(tables.gateway)


def _find(tables: Tables, wanted: Wanted, limit: int) -> Result:
    """In the ledger, or in the evidence itself where a message is named that the ledger does not have yet."""
    from storage.database import one_line
    from storage.ledger.ledger import LEDGER_NAME, applied_index, read_ledger
    from storage.ledger.schema import KIND
    from storage.ledger.search import ledger_of_one
    from storage.ledger.search import search as search_ledger
    from storage.show import show as records_of

    path = tables.gateway.state_dir / LEDGER_NAME
    if wanted.message > applied_index(path):
        connection = ledger_of_one(records_of(tables.gateway.evidence_dir, wanted.message))
    else:
        connection = read_ledger(path)
    with one_line(path, KIND), closing(connection):
        found = list(search_ledger(connection, wanted, limit + 1))
    return Result(found[:limit], more=len(found) > limit)


def _say_what_is_not_shown(tables: Tables, wanted: Wanted, result: Result) -> None:
    from gateway.commands.ledger_reach import reach
    from storage.segment import FIRST_INDEX

    if not result.found:
        # Not refused: it may have been there once.
        for what, name, known in (
            ("account", wanted.account, [table.system_id for table in tables.account_tables]),
            ("carrier", wanted.carrier, [table.name for table in tables.carrier_tables]),
        ):
            if name and name not in known:
                typer.echo(
                    f"jingxin: no {what} {name!r} is configured: there are {', '.join(known) or 'none'}",
                    err=True,
                )
    if result.more:
        typer.echo(
            f"jingxin: there are more than these {len(result.found):,}, which are the newest", err=True
        )
    begins, detached = _missing(tables)
    if begins > FIRST_INDEX:
        typer.echo(
            f"jingxin: the ledger begins with record {begins}: what is older is not searched", err=True
        )
    if detached:
        typer.echo(f"jingxin: moved out of the ledger, and not searched: {', '.join(detached)}", err=True)
    reached = reach(tables.gateway)
    if reached.behind_s > _BEHIND_S:
        typer.echo(f"jingxin: {reached.sentence}", err=True)


def _missing(tables: Tables) -> tuple[int, list[str]]:
    """The record with which the ledger begins, and the months that were moved out of it."""
    from storage.ledger.detach import begins_with, detached_months
    from storage.ledger.ledger import LEDGER_NAME, read_ledger

    with closing(read_ledger(tables.gateway.state_dir / LEDGER_NAME)) as connection:
        return begins_with(connection), [month.name for month in detached_months(connection)]


def _for_a_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Without a column that nothing stands in."""
    empty = {"part"} if not any(row["part"] for row in rows) else set()
    return [{name: value for name, value in row.items() if name not in empty} for row in rows]
