"""`jingxin code …`: what carriers' statuses mean, by the tables that the gateway runs with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.commands.options import JsonOption
from gateway.config import read
from gateway.config_table import ConfigError

if TYPE_CHECKING:
    from gateway.outcomes import Explanation, OutcomeTable, Verdict

app = typer.Typer(no_args_is_help=True, help="What carriers' statuses mean.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A carrier of the configuration, or a network.")
]
CodeArgument = Annotated[
    str,
    typer.Argument(metavar="CODE", help="MK:0012, UNDELIV_601, SGIP:25, ESME_RTHROTTLED, 0x58 and the like."),
]
OptionalConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", help="The configuration; a network needs none."),
]


@app.command()
def explain(
    name: NameArgument, code: CodeArgument, config: OptionalConfigOption = None, json: JsonOption = False
) -> None:
    """Says what a code means and what is done about it, by which row, and what other rows say."""
    from gateway.outcomes import UnknownStatus

    table, networks = _table(config)
    if name not in networks:
        remedy = "" if config else "; for a carrier name the configuration with -c FILE"
        raise typer.BadParameter(f"{name!r}, allowed are {', '.join(networks)}{remedy}")
    try:
        explanation = table.explain(name, networks[name], code)
    except UnknownStatus as error:
        raise typer.BadParameter(str(error)) from error
    if json:
        facts = {"name": name, "network": networks[name], "code": code}
        typer.echo(msgspec.json.encode({**facts, **msgspec.structs.asdict(explanation)}).decode())
    else:
        typer.echo("\n".join(_lines(explanation)))


def _table(config: Path | None) -> tuple[OutcomeTable, dict[str, str]]:
    """The table, and the network of every name that may be asked for, the configured carriers first."""
    from gateway.outcomes import NETWORKS, OutcomeTable, OutcomeTableError

    file, names = None, {}
    if config is not None:
        tables = read(config)
        file = tables.outcomes.file
        names = {carrier.name: str(carrier.network) for carrier in tables.carrier_tables}
    for network in NETWORKS:
        names.setdefault(network, network)
    try:
        return OutcomeTable.load(file), names
    except OutcomeTableError as error:
        raise ConfigError(f"{config}: outcomes.file: {error}") from error


def _lines(explanation: Explanation) -> list[str]:
    verdict = explanation.verdict
    return [
        f"action      {verdict.action}",
        f"cause       {_cause(verdict)}",
        f"confidence  {verdict.confidence}",
        f"meaning     {verdict.meaning}",
        f"decided by  {_place(verdict)}",
        f"read as     {', '.join(explanation.codes) or 'no code'}",
        *(
            f"also        {_place(row)}: {row.action}, {_cause(row)}, {row.confidence}: {row.meaning}"
            for row in explanation.lower
        ),
    ]


def _cause(verdict: Verdict) -> str:
    return f"{verdict.cause} ({verdict.sub})" if verdict.sub else str(verdict.cause)


def _place(verdict: Verdict) -> str:
    return f"{verdict.row}, {verdict.source}" if verdict.row else verdict.source
