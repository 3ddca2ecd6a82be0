"""The commands that start, check and steer a gateway."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.operator import operator
from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.result import show
from gateway.commands.verifier import verifier_key
from gateway.config import AccountConfig, CarrierConfig, Config, load, read, signing_key_file, warnings_of
from gateway.config_table import ConfigError, is_credential
from gateway.control_client import request

TargetArgument = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="all, an account, a carrier, or a link such as cmcc#0."),
]

LostOption = Annotated[
    bool,
    typer.Option(
        "--give-up-lost",
        help="Start though data keys are gone for good: end open messages as unknown, and report nothing of"
        " them.",
    ),
]


class NotStarted(Exception):
    """The gateway cannot start. The message is one line with the remedy."""


def run(config: ConfigOption, give_up_lost: LostOption = False) -> None:
    """Runs everything this host needs, in the foreground: the gateway, and the ledger beside it."""
    from gateway.companion import Companion

    _start(config, Companion(config, signing_key_file(read(config))), give_up_lost=give_up_lost)


def gateway(config: ConfigOption, give_up_lost: LostOption = False) -> None:
    """Runs the gateway alone, in the foreground."""
    _start(config, nullcontext(), give_up_lost=give_up_lost)


def check(config: ConfigOption) -> None:
    """Validates the configuration and the files that it names, without starting."""
    from gateway.reload import load_outcomes
    from storage.errors import KeyFileError
    from storage.keys import Keyring, read_master_key
    from storage.proofs.note import NoteError

    loaded = load(config)
    outcomes = load_outcomes(loaded)
    try:
        key_file = loaded.evidence.master_key_file
        master_key = read_master_key(key_file, guarded=is_credential(key_file))
        if (keys := loaded.gateway.evidence_dir / "keys").exists():
            Keyring(keys, master_key)  # evidence that stands already was begun with some key: with this one?
    except KeyFileError as error:
        raise ConfigError(f"{config}: evidence.master_key_file: {error}") from error
    signing_key = signing_key_file(loaded)
    try:
        if signing_key.exists():
            _check_signing_key(signing_key, loaded.gateway.name)
    except KeyFileError as error:
        raise ConfigError(f"{config}: evidence.signing_key_file: {error}") from error
    for witness in loaded.evidence.witnesses:
        try:
            verifier_key(witness)
        except (NoteError, KeyFileError) as error:
            raise ConfigError(f"{config}: evidence.witnesses: {error}") from error
    names = {carrier.name for carrier in loaded.carriers}
    strangers = sorted(outcomes.accounts - names)
    warnings = [f"warning: outcomes.file has rows of {name}, which is no carrier here" for name in strangers]
    if not signing_key.exists():
        warnings.append(f"warning: {signing_key} is missing: nothing is signed")
    typer.echo("\n".join(("OK", *summary(loaded), *_contract(loaded), *warnings)))


def _contract(config: Config) -> list[str]:
    """A line for a contract of its own. Raises ContractError."""
    from storage.settlement.contract import read_contract

    file = config.settlement.contract_file
    if file is None:
        return []
    contract = read_contract(file)
    amount = "no amount" if contract.amount is None else f"{contract.amount / 10_000:,.2f} yuan"
    return [f"contract  {contract.title} until {contract.term_end}, {amount}"]


def _check_signing_key(path: Path, log: str) -> None:
    from storage.errors import KeyFileError
    from storage.proofs.note import LOG
    from storage.proofs.signing_key import read_signing_key

    name = read_signing_key(path, LOG, guarded=is_credential(path)).verifier.name
    if name != log:
        raise KeyFileError(f"{path}: it is the key of {name}, and the gateway is called {log}")


def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Stay up for others to bind to.")] = False,
) -> None:
    """Shows the gateway at work with four simulated carriers and an application."""
    from gateway.demo import run as run_demo

    raise typer.Exit(run_demo(serve=serve))


def status(config: ConfigOption, json: JsonOption = False) -> None:
    """What the running gateway is doing."""
    show(_ask(config, "status", {}), as_json=json)


def drain(config: ConfigOption, target: TargetArgument = "all", json: JsonOption = False) -> None:
    """Stops in order: the whole gateway, an account, a carrier or one link of it.

    The gateway takes no new messages, and what was accepted goes on to its end. An account is unbound and
    cannot bind. A link takes no more parts, is unbound when those in flight are answered, and stays down.
    """
    show(_ask(config, "drain", {"target": target, "who": operator()}), as_json=json)


def resume(config: ConfigOption, target: TargetArgument = "all", json: JsonOption = False) -> None:
    """Undoes a drain, and brings back a link that was parked."""
    show(_ask(config, "resume", {"target": target, "who": operator()}), as_json=json)


def reload(config: ConfigOption, json: JsonOption = False) -> None:
    """Applies the changed configuration to the running gateway, all of it or nothing."""
    show(_ask(config, "reload", {"path": str(config.absolute()), "who": operator()}), as_json=json)


COMMANDS = (run, gateway, check, demo, status, drain, resume, reload)


def summary(config: Config) -> list[str]:
    """The configuration in a line for each thing that people would look up, warnings last."""
    listener, http = config.listener, config.http
    return [
        f"gateway   {config.gateway.name}, state in {config.gateway.state_dir}",
        f"listener  {listener.host} port {listener.port}, at most {listener.sessions_max} sessions",
        f"http      {http.host} port {http.port}",
        *map(_account, config.accounts),
        *map(_carrier, config.carriers),
        *(f"warning: {warning}" for warning in warnings_of(config)),
    ]


def _account(account: AccountConfig) -> str:
    networks = ", ".join(map(str, account.networks.networks)) or "nowhere"
    sources = ", ".join(account.sources) or "no source"
    return (
        f"account   {account.system_id}: from {networks} as {sources}; {account.rate_per_s} parts/s,"
        f" at most {account.sessions_max} sessions, window {account.window}"
    )


def _carrier(carrier: CarrierConfig) -> str:
    return (
        f"carrier   {carrier.name}: {carrier.network} at {carrier.host} port {carrier.port} as"
        f" {carrier.system_id}; {carrier.rate_per_s} parts/s,"
        f" {carrier.sessions} sessions, window {carrier.window}"
    )


def _start(config: Path, beside: AbstractContextManager[object], *, give_up_lost: bool) -> None:
    loaded = load(config)
    # A wrong configuration is told before the whole gateway is imported.
    from gateway.control import ControlSocketError
    from gateway.daemon import run as run_daemon
    from gateway.http import HttpListenError
    from gateway.upstream import ListenError

    try:
        run_daemon(loaded, beside, give_up_lost=give_up_lost)
    except (ControlSocketError, HttpListenError, ListenError) as error:
        raise NotStarted(str(error)) from error


def _ask(config: Path, command: str, arguments: dict[str, str]) -> dict[str, object]:
    return request(read(config).gateway.control_socket, command, arguments)
