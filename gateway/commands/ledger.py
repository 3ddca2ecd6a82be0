"""`jingxin ledger`: the second process, and its database by hand."""

from __future__ import annotations

import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.progress import progress_bar
from gateway.commands.result import show
from gateway.config import read, signing_key_file

app = typer.Typer(help="Follows the evidence, signs it, keeps the tables for searches and statements.")


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="FILE", help="The configuration.")
    ] = None,
) -> None:
    """Runs the ledger alone, in the foreground: it follows the evidence, signs it and fills the tables."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise typer.BadParameter("name the configuration with -c FILE")
    from gateway.ledger_daemon import run as run_ledger  # its cryptography takes a while to import

    tables = read(config)
    raise typer.Exit(run_ledger(tables, signing_key_file(tables)))


@app.command()
def rebuild(config: ConfigOption, json: JsonOption = False) -> None:
    """Makes the database from nothing out of the evidence; the running ledger has to be stopped for it."""
    from storage.ledger.ledger import LEDGER_NAME, dump, read_ledger
    from storage.ledger.ledger import rebuild as rebuild_ledger

    gateway = read(config).gateway
    path = gateway.state_dir / LEDGER_NAME
    with progress_bar("rebuilding", octets=False) as progress:
        records = rebuild_ledger(path, gateway.evidence_dir, progress)
    digest = sha256()
    rows = 0
    with closing(read_ledger(path)) as connection:
        for line in dump(connection):
            digest.update(line)
            rows += 1
    # Equal for equal evidence, wherever and however often it is made.
    show({"records": records, "rows": rows, "sha256_of_dump": digest.hexdigest()}, as_json=json)


@app.command()
def detach(
    config: ConfigOption,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="The oldest one that is there: 2023-12.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to; a ledger of that month.")
    ],
    json: JsonOption = False,
) -> None:
    """Moves the oldest month into a file of its own; the running ledger has to be stopped for it.

    Nothing is settled or reconciled from the ledger any more that reaches back into this month.
    """
    from storage.ledger.detach import detach_month
    from storage.ledger.ledger import LEDGER_NAME

    detached = detach_month(read(config).gateway.state_dir / LEDGER_NAME, month, output)
    show({"month": detached.name, "rows": detached.rows, "sha256_of_dump": detached.sha256}, as_json=json)


@app.command()
def dump(config: ConfigOption) -> None:
    """Prints every row of the database as a line of JSON, in an order that is always the same.

    Into a file or a program that reads on, not into a pager: as long as it is open, what the ledger writes
    stays in the file beside the database.
    """
    from storage.ledger.ledger import LEDGER_NAME, read_ledger
    from storage.ledger.ledger import dump as dump_ledger

    with closing(read_ledger(read(config).gateway.state_dir / LEDGER_NAME)) as connection:
        for line in dump_ledger(connection):
            sys.stdout.buffer.write(line)
