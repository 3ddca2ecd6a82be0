"""`jingxin evidence archive`, `detach`, `restore`, `erase`, `hold`, `release`, `holds`: what leaves, and what
may not.

Archives are made, taken away and put back by the command itself, beside a gateway that runs or does not.
Holds and erasures are entered by the running gateway, since it alone writes the evidence.
"""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.evidence import with_segments
from gateway.commands.operator import operator
from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.progress import progress_bar
from gateway.commands.result import show
from gateway.commands.verifier import KeyOption, log_key
from gateway.config import GatewayConfig, read
from gateway.control_client import request

if TYPE_CHECKING:
    from storage.archive import Needed
    from storage.retention import Survey

ArchiveArgument = Annotated[
    Path, typer.Argument(metavar="ARCHIVE", help="The directory that `evidence archive` made.")
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the evidence.")
]


# -- archives ------------------------------------------------------------------------------------------------


def archive(
    config: ConfigOption,
    before: Annotated[
        str, typer.Option("--before", metavar="DAY", help="Segments that end before it; or before an index.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where to; there must be none of that name.")
    ],
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Copies old segments with their proofs, without keys, into a directory that is verified alone."""
    from storage.archive import archive as archive_segments
    from storage.archive import index_of_day
    from storage.settlement.calendar import day_us

    tables = read(config)
    evidence = with_segments(tables.gateway.evidence_dir)
    if before.isascii() and before.isdigit():
        index = int(before)
    else:
        index = index_of_day(evidence, day_us(_day("--before", before)))
    if not output.parent.is_dir():
        raise typer.BadParameter(f"{output.parent} is no directory", param_hint="'--output'")
    with progress_bar("checking the copy") as progress:
        made = archive_segments(
            evidence, tables.gateway.proofs_dir, log_key(tables, key), output, index, progress
        )
    answer = {
        "archive": str(output),
        "segments": len(made.segments),
        "first_index": made.first_index,
        "last_index": made.last_index,
        "first_day": made.first_day,
        "last_day": made.last_day,
        "signed": made.signed,
    }
    show(answer, as_json=json)


def detach(
    config: ConfigOption, archive: ArchiveArgument, key: KeyOption = "", json: JsonOption = False
) -> None:
    """Removes the segments that are in an archive, oldest first, once all of the archive was checked."""
    from storage.archive import detach as detach_segments

    tables = read(config)
    evidence = with_segments(tables.gateway.evidence_dir)
    with progress_bar("checking the archive") as progress:
        done = detach_segments(evidence, archive, log_key(tables, key), _needed(tables.gateway), progress)
    answer = {"segments_detached": done.segments, "first_index": done.first_index}
    show({**answer, **({"kept": done.kept} if done.kept else {})}, as_json=json)


def restore(
    config: ConfigOption, archive: ArchiveArgument, key: KeyOption = "", json: JsonOption = False
) -> None:
    """Puts the segments of an archive back in front of the evidence."""
    from storage.archive import restore as restore_segments
    from storage.segment import segment_paths

    tables = read(config)
    evidence = with_segments(tables.gateway.evidence_dir)
    with progress_bar("checking the archive") as progress:
        count = restore_segments(archive, evidence, log_key(tables, key), progress)
    first = int(segment_paths(evidence)[0].stem)
    show({"segments_restored": count, "first_index": first}, as_json=json)


def _needed(gateway: GatewayConfig) -> list[Needed]:
    """Until where the other files that follow the evidence have come: what they have not taken in stays.

    Raises DatabaseError.
    """
    from storage.archive import Needed
    from storage.ledger.ledger import LEDGER_NAME, durable_index
    from storage.register import REGISTER_NAME, Register

    ledger, numbers = gateway.state_dir / LEDGER_NAME, gateway.state_dir / REGISTER_NAME
    known = 0
    if numbers.exists():
        register = Register.open(numbers)
        known = register.load().applied_index
        register.close()
    return [Needed(durable_index(ledger) + 1, LEDGER_NAME), Needed(known + 1, REGISTER_NAME)]


# -- erasure -------------------------------------------------------------------------------------------------


def erase(
    config: ConfigOption,
    reason: ReasonOption,
    day: Annotated[
        str | None, typer.Option("--day", metavar="DAY", help="Whose content is erased, 2026-03-01.")
    ] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="DAY", help="All days before it that are not on hold.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Destroys the data keys of days: texts and numbers are gone for good, the facts stay and stay provable.

    Copies of the key files elsewhere, such as backups, have to be destroyed there.
    """
    from storage.keys import destroy_day
    from storage.retention import Survey

    if (day is None) == (before is None):
        raise typer.BadParameter("give one of --day and --before")
    gateway = read(config).gateway
    keys = gateway.evidence_dir / "keys"
    days = _days_to_erase(keys, day, before)
    survey = Survey(with_segments(gateway.evidence_dir))
    with progress_bar("looking for holds", octets=False) as progress:
        survey.read(progress)
    days, held = _not_held(survey, days, refuse=day is not None)
    destroyed = 0
    if days:
        _record_erasure(gateway, survey, days, _text(reason))
        # What was held meanwhile, and stands before or behind our records, stays too.
        survey.read()
        days, held_since = _not_held(survey, days, refuse=day is not None)
        held += held_since
        for each in days:
            destroyed += destroy_day(keys, each)
    show({"days_erased": days, "keys_destroyed": destroyed, "days_on_hold": sorted(held)}, as_json=json)
    if not days and not held:
        typer.echo(f"jingxin: {keys} has no data keys of such days: nothing was to be erased", err=True)


def _days_to_erase(keys: Path, day: str | None, before: str | None) -> list[str]:
    """The days that still have keys. Raises RetentionRefused below the floor."""
    from storage.keys import days_with_keys

    there = days_with_keys(keys)
    if day is not None:
        wanted = _day("--day", day)
        _check_floor(wanted)
        return [wanted.isoformat()] if wanted.isoformat() in there else []
    assert before is not None
    bound = _day("--before", before)
    _check_floor(date.fromordinal(bound.toordinal() - 1))
    return [each for each in there if each < bound.isoformat()]


def _check_floor(day: date) -> None:
    from storage.retention import FLOOR_MONTHS, RetentionRefused, allowed_from
    from storage.settlement.calendar import day_of

    allowed = allowed_from(day)
    if day_of(time.time_ns() // 1000) < allowed:
        raise RetentionRefused(
            f"content of {day} is kept for {FLOOR_MONTHS} months by law: it may be erased from {allowed} on"
        )


def _not_held(survey: Survey, days: list[str], *, refuse: bool) -> tuple[list[str], list[str]]:
    """The days whose keys have sealed nothing on hold, and the others; with `refuse` these raise
    RetentionRefused."""
    from storage.retention import RetentionRefused

    free: list[str] = []
    held: list[str] = []
    for each in days:
        use = survey.use_of(each)
        hold = survey.holding(each, each if use is None else use.last_day)
        if hold is not None and refuse:
            raise RetentionRefused(f"content of {each} stays: {hold.sentence}")
        (free if hold is None else held).append(each)
    return free, held


def _record_erasure(gateway: GatewayConfig, survey: Survey, days: list[str], reason: str) -> None:
    """Have the running gateway agree and record it. Raises ControlError, RetentionRefused."""
    from gateway.retention import ERASED_DAYS_MAX
    from storage.retention import RetentionRefused

    asked: list[dict[str, Any]] = []
    for each in days:
        use = survey.use_of(each)
        if use is None:
            raise RetentionRefused(f"the data key of {each} is in use: a restart of the gateway ends that")
        asked.append({"day": each, **use._asdict()})
    for start in range(0, len(asked), ERASED_DAYS_MAX):
        batch = asked[start : start + ERASED_DAYS_MAX]
        request(gateway.control_socket, "erase", {"who": operator(), "reason": reason, "days": batch})


# -- holds ---------------------------------------------------------------------------------------------------


def hold(
    config: ConfigOption,
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="The first day that is held.")],
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="The last one; it may be to come.")],
    reason: ReasonOption,
    json: JsonOption = False,
) -> None:
    """Holds days for a dispute (十.3): nothing of them is detached or erased before `evidence release`."""
    facts = {
        "from": _day("--from", first).isoformat(),
        "to": _day("--to", last).isoformat(),
        "reason": _text(reason),
    }
    arguments = {"register": "hold", "facts": facts, "at_us": 0, "number": None, "then": []}
    _enter(config, "register_open", arguments, as_json=json)


def release(
    config: ConfigOption,
    entry: Annotated[int, typer.Argument(metavar="ENTRY", min=1, help="As `evidence hold` answered it.")],
    reason: ReasonOption,
    json: JsonOption = False,
) -> None:
    """Ends a hold."""
    arguments = {"register": "hold", "entry": entry, "event": "released", "facts": {"reason": _text(reason)}}
    _enter(config, "register_event", {**arguments, "at_us": 0}, as_json=json)


def holds(config: ConfigOption, json: JsonOption = False) -> None:
    """Lists the holds that are open, by the evidence itself."""
    from storage.retention import Survey
    from storage.settlement.calendar import moment

    survey = Survey(with_segments(read(config).gateway.evidence_dir))
    with progress_bar("looking for holds", octets=False) as progress:
        survey.read(progress)
    rows = [
        {
            "entry": each.entry if json else str(each.entry),
            "opened": moment(each.opened_us),
            "from": each.first_day,
            "to": each.last_day,
            "reason": each.reason,
        }
        for each in survey.holds
    ]
    show({"holds": rows}, as_json=json)


def _enter(config: Path, command: str, arguments: dict[str, Any], *, as_json: bool) -> None:
    answer = request(read(config).gateway.control_socket, command, {**arguments, "who": operator()})
    if not as_json:
        answer["entry"] = str(answer["entry"])  # it is there to be copied, without commas
    show(answer, as_json=as_json)


def _text(reason: str) -> str:
    """A reason that may stand in the evidence. Raises BadParameter."""
    from gateway.recorded_actions import ONE_LINE
    from gateway.register_forms import TEXT_CHARACTERS_MAX

    if not reason.strip() or len(reason) > TEXT_CHARACTERS_MAX or not ONE_LINE.fullmatch(reason):
        raise typer.BadParameter(
            f"allowed is a text of 1 to {TEXT_CHARACTERS_MAX} characters on one line, in UTF-8",
            param_hint="'--reason'",
        )
    return reason


def _day(option: str, text: str) -> date:
    from gateway.register_forms import day

    try:
        return day(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from error


def add_to(app: typer.Typer) -> None:
    """Put the commands among those of `jingxin evidence`."""
    for command in (archive, detach, restore, erase, hold, release, holds):
        app.command()(command)
