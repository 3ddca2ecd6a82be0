"""`jingxin`: puts the commands together, and says in one line what went wrong.

Exit status: 0 done, 1 refused or failed, 2 wrong use, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from gateway import __version__
from gateway.commands import (
    account,
    code,
    evidence,
    evidence_search,
    keys,
    ledger,
    numbers,
    reconcile,
    registers,
    report,
    retention,
    route,
    service,
    statement,
    uncertain,
)
from gateway.config_table import ConfigError
from gateway.control_client import ControlError
from gateway.password import PasswordError
from storage.errors import (
    CorruptEvidence,
    DurabilityLost,
    EvidenceError,
    LogInUse,
    NoRoom,
    WrongMasterKey,
)
from storage.settlement.errors import SettlementError

# What the operating system says, and what to do about it where that can be known.
_REMEDIES: Final = {
    errno.EADDRINUSE: "stop the process that listens there, or change the port",
    errno.EADDRNOTAVAIL: "name an address of this host",
    errno.EACCES: "give this user the permission",
    errno.ENOENT: "name a file that is there",
    errno.ENOSPC: "make room on the disk",
    errno.EROFS: "name a directory on a writable file system",
    errno.EEXIST: "a file is in the place of a directory: move it, or name another place",
    errno.ENOTDIR: "a file is in the place of a directory: move it, or name another place",
}

# The evidence says what it found, and here stands what to do about it.
_EVIDENCE_REMEDIES: Final[dict[type[EvidenceError], str]] = {
    CorruptEvidence: "restore the file from a copy",
    DurabilityLost: "look at the disk and at the log of the system",
    LogInUse: "stop the other process, or give each a directory of its own",
    NoRoom: "make room on the disk",
    WrongMasterKey: "name the key it was begun with in evidence.master_key_file",
}

app = typer.Typer(
    name="jingxin",
    help="An SMPP gateway that keeps evidence of every message.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in service.COMMANDS:
    app.command()(command)
evidence.app.command()(evidence_search.search)
evidence.app.command()(evidence_search.export)
statement.app.command()(reconcile.reconcile)
retention.add_to(evidence.app)
app.add_typer(account.app, name="account")
app.add_typer(code.app, name="code")
app.add_typer(evidence.app, name="evidence")
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.add_typer(numbers.app, name="numbers")
app.add_typer(report.app, name="report")
app.add_typer(route.app, name="route")
app.add_typer(statement.app, name="statement")
app.add_typer(uncertain.app, name="uncertain")
for name, register in registers.APPS.items():
    app.add_typer(register, name=name)


@app.callback(invoke_without_command=True)
def jingxin(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"jingxin {__version__}")
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Carries out one command line; returns the exit status. What a person can mend is one line on stderr."""
    try:
        status = app(list(arguments), prog_name="jingxin", standalone_mode=False)
    except TyperException as error:
        # No message: the help itself was the answer to a command line without a command.
        if message := _one_line(error.format_message()):
            context = getattr(error, "ctx", None)  # of what was used wrongly; its class is private to typer
            command = "jingxin" if context is None else context.command_path
            typer.echo(f"jingxin: {message}: see `{command} --help`", err=True)
        return error.exit_code
    except (ConfigError, ControlError, PasswordError, SettlementError, service.NotStarted) as error:
        typer.echo(f"jingxin: {_one_line(str(error))}", err=True)
        return 1
    except EvidenceError as error:
        remedy = _EVIDENCE_REMEDIES.get(type(error))
        what = f"{error}: {remedy}" if remedy else str(error)
        typer.echo(f"jingxin: {_one_line(what)}", err=True)
        return 1
    except BrokenPipeError:
        # The reader went away, as `| head` does. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        typer.echo(f"jingxin: {_one_line(_os_error(error))}", err=True)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("jingxin: interrupted", err=True)
        return 130
    return status if isinstance(status, int) else 0


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def _os_error(error: OSError) -> str:
    # asyncio puts the address into the text of a failed bind, and no file name beside it.
    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "look at the log of the system")
    return f"{what}: {remedy}"


def _one_line(text: str) -> str:
    return " ".join(text.split("\n")).rstrip(".? ")
