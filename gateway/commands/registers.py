"""`jingxin complaint`, `incident`, `maintenance`, `force-majeure`, `delay`, `rating`: the registers that the
contract asks for.

A line is entered by the running gateway, since it alone writes the evidence; lists are read from the ledger.
The gateway judges what is entered; here is judged only what it would have to guess.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from gateway.commands.operator import operator
from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.result import show
from gateway.config import Tables, read
from gateway.control_client import request

if TYPE_CHECKING:
    from storage.settlement.contract import Contract

complaint = typer.Typer(no_args_is_help=True, help="Complaints of subscribers (四.5, 四.12).")
incident = typer.Typer(no_args_is_help=True, help="Faults, and how soon they were seen to (四.1).")
maintenance = typer.Typer(no_args_is_help=True, help="Planned work, announced ahead (四.7).")
force_majeure = typer.Typer(no_args_is_help=True, help="Force majeure, and its proof (九.2).")
delay = typer.Typer(no_args_is_help=True, help="Services that came late (十三.3).")
rating = typer.Typer(no_args_is_help=True, help="Support and satisfaction, once a year (三.9).")
APPS: Final = {
    "complaint": complaint,
    "incident": incident,
    "maintenance": maintenance,
    "force-majeure": force_majeure,
    "delay": delay,
    "rating": rating,
}

EntryArgument = Annotated[int, typer.Argument(metavar="ENTRY", min=1, help="As `list` names it.")]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help='When it was, "2026-11-26 09:30" in Shanghai.', show_default="now"
    ),
]
WhatOption = Annotated[str, typer.Option("--what", metavar="TEXT", help="What happens or was done.")]
ResultOption = Annotated[str, typer.Option("--result", metavar="TEXT", help="What came of it.")]
Attributed = Literal["a", "b", "none"]
OwnerOption = Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Who sees to it.")]
AttributedOption = Annotated[
    Attributed | None, typer.Option("--attributed", help="To which party the cause belongs.")
]
ScoreOption = Annotated[int, typer.Option(min=0, max=100, help="Of 100.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Only those that have not ended.")]

# Yuan with as much as evidence keeps of them.
_YUAN: Final = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,4}))?")

_DAY_US: Final = 86_400_000_000


# -- complaints ----------------------------------------------------------------------------------------------


@complaint.command("add")
def complaint_add(
    config: ConfigOption,
    cause: Annotated[str, typer.Option("--cause", metavar="TEXT", help="What it is about.")],
    number: Annotated[
        str | None, typer.Option("--number", metavar="NUMBER", help="The subscriber's; kept sealed.")
    ] = None,
    owner: OwnerOption = None,
    attributed: AttributedOption = None,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Enters a complaint."""
    facts = {"cause": cause, "owner": owner, "attributed": attributed}
    _open(config, "complaint", facts, _at(at), number=number, as_json=json)


@complaint.command("close")
def complaint_close(
    config: ConfigOption,
    entry: EntryArgument,
    result: ResultOption,
    owner: OwnerOption = None,
    attributed: AttributedOption = None,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Closes a complaint, and says anew whose doing it was where that has turned out."""
    facts = {"result": result, "owner": owner, "attributed": attributed}
    _go_on(config, "complaint", entry, "closed", facts, _at(at), as_json=json)


@complaint.command("list")
def complaint_list(config: ConfigOption, open_only: OpenOption = False, json: JsonOption = False) -> None:
    """Lists complaints, oldest first."""
    _list(config, "complaint", open_only=open_only, as_json=json)


# -- incidents -----------------------------------------------------------------------------------------------


@incident.command("open")
def incident_open(
    config: ConfigOption,
    what: WhatOption,
    by: Annotated[Literal["alarm", "a", "b"] | None, typer.Option("--by", help="Who saw it first.")] = None,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Enters a fault; its clocks run from the time given."""
    _open(config, "incident", {"what": what, "by": by}, _at(at), as_json=json)


@incident.command("report")
def incident_report(
    config: ConfigOption, entry: EntryArgument, at: AtOption = None, json: JsonOption = False
) -> None:
    """Enters that party A has reported a fault that an alarm had opened."""
    _go_on(config, "incident", entry, "reported", {}, _at(at), as_json=json)


@incident.command("respond")
def incident_respond(
    config: ConfigOption,
    entry: EntryArgument,
    what: WhatOption,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Enters that somebody sees to the fault."""
    _go_on(config, "incident", entry, "responded", {"what": what}, _at(at), as_json=json)


@incident.command("restore")
def incident_restore(
    config: ConfigOption,
    entry: EntryArgument,
    what: WhatOption,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Enters that the service is back."""
    _go_on(config, "incident", entry, "restored", {"what": what}, _at(at), as_json=json)


@incident.command("close")
def incident_close(
    config: ConfigOption,
    entry: EntryArgument,
    result: ResultOption,
    subcontractor: Annotated[
        str | None, typer.Option("--subcontractor", metavar="NAME", help="Whose doing it was, of B's.")
    ] = None,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Closes a fault, with what was found."""
    facts = {"result": result, "subcontractor": subcontractor}
    _go_on(config, "incident", entry, "closed", facts, _at(at), as_json=json)


@incident.command("list")
def incident_list(config: ConfigOption, open_only: OpenOption = False, json: JsonOption = False) -> None:
    """Lists faults, oldest first, with the minutes until somebody responded and until it was over."""
    _list(config, "incident", open_only=open_only, as_json=json)


# -- planned work --------------------------------------------------------------------------------------------


@maintenance.command("announce")
def maintenance_announce(
    config: ConfigOption,
    what: WhatOption,
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="When it is to begin.")],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="When it is to end.")],
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Enters planned work as announced, and says how long ahead that is."""
    from gateway.commands.register_lists import notice

    announced_us = _at(at)
    from_us = _moment("--from", from_)
    _moment("--to", to)
    hours, short = notice(announced_us or time.time_ns() // 1000, from_us, _contract(read(config)))
    beside = {"notice_hours": hours, **({"warning": short} if short else {})}
    facts = {"what": what, "from": from_, "to": to}
    _open(config, "maintenance", facts, announced_us, beside=beside, as_json=json)


@maintenance.command("begin")
def maintenance_begin(
    config: ConfigOption, entry: EntryArgument, at: AtOption = None, json: JsonOption = False
) -> None:
    """Enters that the work has begun."""
    _go_on(config, "maintenance", entry, "began", {}, _at(at), as_json=json)


@maintenance.command("end")
def maintenance_end(
    config: ConfigOption, entry: EntryArgument, at: AtOption = None, json: JsonOption = False
) -> None:
    """Enters that the work is over."""
    _go_on(config, "maintenance", entry, "ended", {}, _at(at), as_json=json)


@maintenance.command("list")
def maintenance_list(config: ConfigOption, open_only: OpenOption = False, json: JsonOption = False) -> None:
    """Lists planned work, oldest first."""
    _list(config, "maintenance", open_only=open_only, as_json=json)


# -- force majeure -------------------------------------------------------------------------------------------


@force_majeure.command("begin")
def force_majeure_begin(
    config: ConfigOption, what: WhatOption, at: AtOption = None, json: JsonOption = False
) -> None:
    """Enters force majeure from the time given; its proof is due within 30 days."""
    began = [{"event": "began"}]
    _open(config, "force majeure", {"what": what}, _at(at), then=began, as_json=json)


@force_majeure.command("proof")
def force_majeure_proof(
    config: ConfigOption,
    entry: EntryArgument,
    document: Annotated[str, typer.Option("--document", metavar="TEXT", help="Who issued it, its number.")],
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Enters the document that proves it."""
    _go_on(config, "force majeure", entry, "proof", {"document": document}, _at(at), as_json=json)


@force_majeure.command("end")
def force_majeure_end(
    config: ConfigOption, entry: EntryArgument, at: AtOption = None, json: JsonOption = False
) -> None:
    """Enters that it is over."""
    _go_on(config, "force majeure", entry, "ended", {}, _at(at), as_json=json)


@force_majeure.command("list")
def force_majeure_list(config: ConfigOption, open_only: OpenOption = False, json: JsonOption = False) -> None:
    """Lists force majeure, oldest first."""
    _list(config, "force majeure", open_only=open_only, as_json=json)


# -- delays --------------------------------------------------------------------------------------------------


@delay.command("add")
def delay_add(
    config: ConfigOption,
    service: Annotated[str, typer.Option("--service", metavar="TEXT", help="What was to be completed.")],
    due: Annotated[str, typer.Option("--due", metavar="DAY", help="By when, 2026-10-01.")],
    amount: Annotated[str, typer.Option("--amount", metavar="YUAN", help="Its part of the contract amount.")],
    done: Annotated[str | None, typer.Option("--done", metavar="DAY", help="When it was, if it is.")] = None,
    json: JsonOption = False,
) -> None:
    """Enters a service that is late, as of the day after it was due."""
    late_us = _day_us("--due", due) + _DAY_US
    if late_us > time.time_ns() // 1000:
        raise typer.BadParameter(
            "it is not late before that day is over: enter it on the day after", param_hint="'--due'"
        )
    then: list[dict[str, Any]] = []
    if done is not None:
        done_us = _day_us("--done", done)
        if done_us < late_us:
            raise typer.BadParameter(f"allowed is a day after {due}", param_hint="'--done'")
        then.append({"event": "done", "at_us": done_us})
    facts = {"service": service, "due": due, "amount": str(_amount(amount))}
    _open(config, "delay", facts, late_us, then=then, as_json=json)


@delay.command("done")
def delay_done(
    config: ConfigOption, entry: EntryArgument, at: AtOption = None, json: JsonOption = False
) -> None:
    """Enters that the service is completed."""
    _go_on(config, "delay", entry, "done", {}, _at(at), as_json=json)


@delay.command("list")
def delay_list(config: ConfigOption, open_only: OpenOption = False, json: JsonOption = False) -> None:
    """Lists services that came late, oldest first."""
    _list(config, "delay", open_only=open_only, as_json=json)


# -- ratings -------------------------------------------------------------------------------------------------


@rating.command("add")
def rating_add(
    config: ConfigOption,
    year: Annotated[int, typer.Option("--year", min=1, max=99, help="Of the contract; its first is 1.")],
    support: ScoreOption,
    satisfaction: ScoreOption,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why.")] = None,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Enters how the support was, and how satisfied one is with the service."""
    scores = {"year": str(year), "support": str(support), "satisfaction": str(satisfaction)}
    _open(config, "rating", {**scores, "note": note}, _at(at), as_json=json)


@rating.command("list")
def rating_list(config: ConfigOption, json: JsonOption = False) -> None:
    """Lists ratings, oldest first; the last one of a year counts."""
    _list(config, "rating", open_only=False, as_json=json)


# -- what they share -----------------------------------------------------------------------------------------


def _withdrawal(register: str) -> Callable[..., None]:
    def withdraw(
        config: ConfigOption,
        entry: EntryArgument,
        reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="What was wrong with it.")],
        at: AtOption = None,
        json: JsonOption = False,
    ) -> None:
        """Takes back an entry that was made by mistake: it stays in the evidence, and counts no more."""
        _go_on(config, register, entry, "withdrawn", {"reason": reason}, _at(at), as_json=json)

    return withdraw


for _name, _app in APPS.items():
    _app.command("withdraw")(_withdrawal(_name.replace("-", " ")))


def _open(
    config: Path,
    register: str,
    facts: Mapping[str, str | None],
    at_us: int,
    *,
    number: str | None = None,
    then: Sequence[Mapping[str, Any]] = (),
    beside: Mapping[str, Any] | None = None,
    as_json: bool,
) -> None:
    """then: lines that are entered with the opening. beside: what is shown beside the answer."""
    arguments = {"register": register, "facts": facts, "at_us": at_us, "number": number, "then": then}
    _enter(config, "register_open", arguments, beside or {}, as_json=as_json)


def _go_on(
    config: Path,
    register: str,
    entry: int,
    event: str,
    facts: Mapping[str, str | None],
    at_us: int,
    *,
    as_json: bool,
) -> None:
    arguments = {"register": register, "entry": entry, "event": event, "facts": facts, "at_us": at_us}
    _enter(config, "register_event", arguments, {}, as_json=as_json)


def _enter(
    config: Path, command: str, arguments: Mapping[str, Any], beside: Mapping[str, Any], *, as_json: bool
) -> None:
    facts = {name: value for name, value in arguments["facts"].items() if value is not None}
    for value in (*facts.values(), arguments.get("number") or ""):
        # A shell hands on octets in any encoding.
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise typer.BadParameter("allowed is text in UTF-8")
    asked = {**arguments, "facts": facts, "who": operator()}
    answer = {**request(read(config).gateway.control_socket, command, asked), **beside}
    if not as_json:
        answer["entry"] = str(answer["entry"])  # it is there to be copied, without commas
    show(answer, as_json=as_json)


def _list(config: Path, register: str, *, open_only: bool, as_json: bool) -> None:
    from gateway.commands.register_lists import list_entries

    tables = read(config)
    list_entries(tables.gateway, register, _contract(tables), open_only=open_only, as_json=as_json)


def _contract(tables: Tables) -> Contract:
    """By whose terms clocks are shown."""
    from storage.settlement.contract import read_contract, shipped_contract

    file = tables.settlement.contract_file
    return shipped_contract() if file is None else read_contract(file)


def _at(text: str | None) -> int:
    """0: now, by the clock of the gateway."""
    return 0 if text is None else _moment("--at", text)


def _moment(option: str, text: str) -> int:
    from storage.settlement.calendar import moment_us

    try:
        return moment_us(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from error


def _day_us(option: str, text: str) -> int:
    from gateway.register_forms import day
    from storage.settlement.calendar import day_us

    try:
        return day_us(day(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from error


def _amount(text: str) -> int:
    """In 0.0001 yuan."""
    match = _YUAN.fullmatch(text)
    amount = int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0")) if match else 0
    if not amount:
        raise typer.BadParameter(
            "allowed are yuan above 0 with at most 4 decimals, such as 12000.00", param_hint="'--amount'"
        )
    return amount
