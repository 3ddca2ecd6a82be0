"""`jingxin uncertain …`: parts whose fate at the carrier is unknown, for people to decide."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.operator import operator
from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.result import show
from gateway.config import read
from gateway.control_client import request

app = typer.Typer(no_args_is_help=True, help="Parts whose response never came.")

IdArgument = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Parts, as `uncertain list` names them.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stands in the evidence.")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=10_000, help="At most so many, oldest first.")
]


@app.command("list")
def list_(config: ConfigOption, limit: LimitOption = 100, json: JsonOption = False) -> None:
    """Lists uncertain parts, oldest first."""
    show(request(read(config).gateway.control_socket, "uncertain_list", {"limit": limit}), as_json=json)


@app.command()
def resend(config: ConfigOption, parts: IdArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Sends the parts again, at the risk that the carrier had them."""
    _decide(config, "uncertain_resend", parts, reason, as_json=json)


@app.command()
def close(config: ConfigOption, parts: IdArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Ends the parts with the outcome `unknown`."""
    _decide(config, "uncertain_close", parts, reason, as_json=json)


def _decide(config: ConfigOption, command: str, parts: list[str], reason: str, *, as_json: bool) -> None:
    if not reason.strip():
        raise typer.BadParameter("say why with --reason")
    arguments = {"parts": parts, "reason": reason.strip(), "who": operator()}
    show(request(read(config).gateway.control_socket, command, arguments), as_json=as_json)
