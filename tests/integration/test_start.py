"""A gateway that cannot start says so in one line with the remedy, and its exit status is not 0."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.keys import initialise_master_key
from storage.segment import segment_paths
from tests.integration.application import Application, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.world import HOST, World

Spoil = Callable[[World], None]


def refused(world: World, command: str = "run") -> str:
    """The one line that a start which must fail says."""
    end = world.run_to_its_end(command)
    assert end.returncode == 1, end
    assert end.stdout == ""
    lines = end.stderr.splitlines()
    assert [line for line in lines if line.startswith("jingxin: ")] == lines[-1:], end.stderr
    # Whatever stands before is the log, one JSON object a line, and no traceback.
    assert all(line.startswith("{") and "Traceback" not in line for line in lines[:-1]), end.stderr
    return lines[-1].removeprefix("jingxin: ")


# -- configuration, keys, passwords -------------------------------------------------------------------------


def _key(table: str, key: str, value: object) -> Spoil:
    def spoil(world: World) -> None:
        world.tables.setdefault(table, {})[key] = value

    return spoil


def _without(table: str, key: str) -> Spoil:
    return lambda world: world.tables[table].pop(key) and None


def _mode(name: str, mode: int) -> Spoil:
    return lambda world: (world.directory / "secrets" / name).chmod(mode)


def _secret(name: str, text: str) -> Spoil:
    return lambda world: world.write_secret(name, text)


def _no_secret(name: str) -> Spoil:
    return lambda world: (world.directory / "secrets" / name).unlink()


CONFIGURATIONS: list[tuple[str, Spoil, str]] = [
    ("unknown key", _key("listener", "prot", 1), r"jingxin.toml: listener.prot: unknown key: allowed are "),
    ("unknown table", _key("listner", "port", 1), r"jingxin.toml: listner: unknown table: allowed are "),
    ("missing key", _without("account", "password_file"), r"account\[hukou\].password_file: .*missing"),
    ("port above all", _key("listener", "port", 65536), r"listener.port: .*from 1 to 65535"),
    ("wrong type", _key("account", "rate_per_s", "many"), r"account\[hukou\].rate_per_s: .*from 1 to 100000"),
    ("host bits", _key("account", "networks", ["10.0.0.1/8"]), r"account\[hukou\].networks: 10.0.0.1/8 has"),
    ("unknown network", _key("carrier", "network", "moon"), r"carrier\[cmcc\].network: .*mobile, unicom"),
    ("no password", _no_secret("hukou"), r"account\[hukou\].password_file: .*no such file: make it"),
    ("clear password", _secret("hukou", "secret\n"), r"account\[hukou\].*`jingxin account hash`"),
    ("open password", _mode("cmcc", 0o644), r"carrier\[cmcc\].password_file: .*`chmod 600 .*/cmcc`"),
    ("empty password", _secret("cmcc", ""), r"carrier\[cmcc\].*empty: give 1 to 64 octets"),
    ("no key", _no_secret("master"), r"secrets/master: .*`jingxin keys init"),
    ("open key", _mode("master", 0o640), r"secrets/master.*chmod 600"),
    ("no key at all", _secret("master", "secret\n"), r"secrets/master"),
]


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("spoil", "says"), [case[1:] for case in CONFIGURATIONS], ids=[case[0] for case in CONFIGURATIONS]
)
def test_configuration(make_world: MakeWorld, command: str, spoil: Spoil, says: str) -> None:
    world = make_world(carrier_up=False)
    spoil(world)
    assert_says(refused(world, command), says)
    assert not (world.state_dir / "evidence").exists(), "nothing was begun"


def assert_says(line: str, pattern: str) -> None:
    assert pytest.importorskip("re").search(pattern, line), line
