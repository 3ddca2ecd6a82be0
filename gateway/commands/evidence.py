"""`jingxin evidence …`: reads the evidence, also while a gateway writes it, and never changes it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.commands.options import ConfigOption, JsonOption
from gateway.config import read
from storage.errors import NoSuchRecord

if TYPE_CHECKING:
    from storage.history import VerifyReport
    from storage.records import AnyRecord

app = typer.Typer(no_args_is_help=True, help="The append-only evidence of every message.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A message id, or the index of an acceptance.")]

# A thousand are kept by the check; a screen of them shows what kind of fault it is.
_FAULTS_SHOWN_MAX = 20


@app.command()
def verify(config: ConfigOption, json: JsonOption = False) -> None:
    """Checks frames, chain, counts and what the records say together; exits 1 when anything is wrong."""
    from storage.verify import verify as verify_evidence

    directory = _directory(config)
    # The bar is for people and goes to stderr; where that is no terminal, nothing is drawn.
    console = Console(stderr=True)
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("verifying", total=None)
        report = verify_evidence(
            directory, lambda done, total: progress.update(bar, completed=done, total=total)
        )
    if json:
        typer.echo(msgspec.json.encode({"sound": report.sound, **_report(report)}).decode())
    else:
        typer.echo("\n".join(_summary(report)))
    if report.damage is not None:
        damage = report.damage
        typer.echo(
            f"jingxin: {damage.path}: at octet {damage.offset}: {damage.reason}:"
            " restore the file from a copy",
            err=True,
        )
    elif report.fault_count:
        fault = report.faults[0]
        typer.echo(
            f"jingxin: {directory}: {report.fault_count} contradictions, the first in record {fault.index}:"
            f" {fault.reason}: keep the files as they are and report it",
            err=True,
        )
    if not report.sound:
        raise typer.Exit(1)


@app.command()
def show(config: ConfigOption, message: IdArgument, json: JsonOption = False) -> None:
    """Shows the records of one message in order; texts and full numbers stay sealed."""
    from storage.show import show as records_of

    directory = _directory(config)
    records = [_plain(index, record) for index, record in records_of(directory, _number(directory, message))]
    if json:
        typer.echo(msgspec.json.encode(records).decode())
        return
    for facts in records:
        head = f"{facts.pop('index'):>12}  {facts.pop('time'):<29}  {facts.pop('type'):<10}"
        typer.echo(f"{head}  {'  '.join(f'{name}={value}' for name, value in facts.items())}")


def _directory(config: Path) -> Path:
    """The evidence directory, with something in it."""
    from storage.segment import segment_paths

    directory = read(config).gateway.evidence_dir
    if not segment_paths(directory):
        raise NoSuchRecord(f"{directory}: no evidence here: look at gateway.state_dir")
    return directory


def _number(directory: Path, text: str) -> int:
    """The number of a message from its id as applications know it, or from plain digits."""
    from gateway.message import MessageIds
    from storage.segment import SegmentReader, segment_paths

    with SegmentReader(segment_paths(directory)[0]) as reader:
        number = MessageIds(reader.header.identity).number(text.encode())
    if number is None and text.isascii() and text.isdigit():
        number = int(text)
    if number is None:
        raise NoSuchRecord(f"{text}: no message id of this gateway: give it as submit_sm_resp had it")
    return number


def _summary(report: VerifyReport) -> list[str]:
    outcomes = ", ".join(f"{count:,} {state}" for state, count in report.outcomes.items()) or "none"
    first = "" if report.first_index == 1 else f" from {report.first_index:,} on"
    lines = [
        "sound" if report.sound else "NOT SOUND",
        f"log       {report.identity.hex()}, {report.segments:,} segments, {report.octets:,} octets",
        f"records   {report.records:,}{first} in {report.frames:,} batches",
        f"last hash {report.last_hash.hex()}",
        f"messages  {report.accepted:,} accepted ({report.accepted_parts:,} parts), {report.open:,} open",
        f"outcomes  {outcomes}",
        f"uncertain {len(report.uncertain):,}",
        f"receipts  {report.unmatched_receipts:,} match nothing",
    ]
    if report.erased_days:
        lines.append(f"erased    content of {', '.join(report.erased_days)}")
    if report.torn_tail is not None:
        path, offset, octets = report.torn_tail
        lines.append(f"torn tail {path}: {octets:,} octets at {offset:,}, which the next start cuts")
    lines += [
        f"fault     record {fault.index}: {fault.reason}" for fault in report.faults[:_FAULTS_SHOWN_MAX]
    ]
    return lines


def _report(report: VerifyReport) -> dict[str, Any]:
    facts = msgspec.structs.asdict(report)
    facts["identity"], facts["last_hash"] = report.identity.hex(), report.last_hash.hex()
    if report.damage is not None:
        facts["damage"] = {**msgspec.structs.asdict(report.damage), "path": str(report.damage.path)}
    if report.torn_tail is not None:
        path, offset, octets = report.torn_tail
        facts["torn_tail"] = {"path": str(path), "offset": offset, "octets": octets}
    return facts


def _plain(index: int, record: AnyRecord) -> dict[str, Any]:
    """The facts of a record for people: times with their zone, octets as text, content only by its length."""
    from protocol.smpp.times import SHANGHAI

    facts: dict[str, Any] = {"index": index, "time": "", "type": type(record).__name__.lower()}
    for name, value in msgspec.structs.asdict(record).items():
        if name.endswith("_us"):
            when = datetime.fromtimestamp(value / 1_000_000, tz=UTC).astimezone(SHANGHAI)
            shown: object = when.isoformat(timespec="milliseconds") if value else "none"
            facts["time" if name == "time_us" else name.removesuffix("_us")] = shown
        elif name == "content":
            facts[name] = f"{len(value)} octets sealed"
        elif name.endswith("_hash"):
            facts[name] = value.hex()
        elif isinstance(value, bytes):
            facts[name] = value.decode("ascii", "backslashreplace")
        else:
            facts[name] = value
    return facts
