"""`jingxin account …`"""

from __future__ import annotations

import getpass
import sys

import typer

from gateway.password import PASSWORD_OCTETS_MAX, hash_password

app = typer.Typer(no_args_is_help=True, help="Accounts of applications.")


@app.callback()
def account() -> None:
    """Accounts of applications."""


@app.command("hash")
def hash_() -> None:
    """Reads a password from standard input and prints the line that password_file holds."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ").encode()
    else:
        # Two more than can pass: a final newline, and one octet to know that it is too long.
        password = sys.stdin.buffer.read(PASSWORD_OCTETS_MAX + 2).removesuffix(b"\n")
    typer.echo(hash_password(password))
