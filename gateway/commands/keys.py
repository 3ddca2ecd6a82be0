"""`jingxin keys …`"""

from __future__ import annotations

import typer

from gateway.commands.options import ConfigOption
from gateway.config import master_key_file, read

app = typer.Typer(no_args_is_help=True, help="Keys of the evidence.")


@app.callback()
def keys() -> None:
    """Keys of the evidence."""


@app.command("init")
def init(config: ConfigOption) -> None:
    """Makes the master key, mode 0600. An existing one is never overwritten."""
    from storage.keys import initialise_master_key  # its cryptography takes a while to import

    path = master_key_file(read(config))
    initialise_master_key(path)
    typer.echo(f"made {path}: keep a copy in another safe place; without it no content can be read again")
