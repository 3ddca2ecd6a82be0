"""`jingxin route …`: which way messages go."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.result import show
from gateway.config import read
from gateway.control_client import request

app = typer.Typer(no_args_is_help=True, help="Which way messages go.")

NumberArgument = Annotated[
    str, typer.Argument(metavar="NUMBER", help="A mobile number, in any form that applications use.")
]


@app.callback()
def route() -> None:
    """Keeps `explain` a command of its own, whatever else there is."""


@app.command()
def explain(number: NumberArgument, config: ConfigOption, json: JsonOption = False) -> None:
    """Says which carrier a message to a number would go to now, and why."""
    show(request(read(config).gateway.control_socket, "route_explain", {"number": number}), as_json=json)
