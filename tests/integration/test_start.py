"""A gateway that cannot start says so in one line with the remedy, and its exit status is not 0."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from storage.keys import initialise_master_key
from storage.segment import segment_paths
from tests.integration.application import Application, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.mounts import mounted
from tests.integration.world import HOST, World

Spoil = Callable[[World], object]


def refused(world: World) -> str:
    """The one line that a start which must fail says."""
    end = world.run_to_its_end()
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
    return lambda world: world.tables[table].pop(key)


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


@pytest.mark.parametrize(
    ("spoil", "says"), [case[1:] for case in CONFIGURATIONS], ids=[case[0] for case in CONFIGURATIONS]
)
def test_configuration(make_world: MakeWorld, spoil: Spoil, says: str) -> None:
    world = make_world(carrier_up=False)
    spoil(world)
    assert_says(refused(world), says)
    assert not (world.state_dir / "evidence").exists(), "nothing was begun"


def assert_says(line: str, pattern: str) -> None:
    assert re.search(pattern, line), line


# -- what the host or an earlier life left behind ------------------------------------------------------------


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else listens on `port`."""
    with socket.create_server((HOST, port)):
        yield


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("listener", "127.0.0.1 port {port}: Address already in use: stop the process that has the port .*"),
        ("http", r"\[http\] cannot listen on 127.0.0.1 port {port}: .*Another process may have the port"),
    ],
)
def test_port_in_use(make_world: MakeWorld, which: str, says: str) -> None:
    world = make_world(carrier_up=False)
    port = {"listener": world.port, "http": world.http_port}[which]
    with taken(port):
        assert_says(refused(world), says.replace("{port}", str(port)))
    # What the failed start left behind is in nobody's way.
    world.start(ready=False)


def test_an_address_of_another_host(make_world: MakeWorld) -> None:
    world = make_world({"listener": {"host": "192.0.2.1"}}, carrier_up=False)
    assert_says(
        refused(world),
        r"192.0.2.1 port .*: Cannot assign .*set \[listener\] host to an address of this machine",
    )


def test_a_second_gateway_on_the_same_state(make_world: MakeWorld) -> None:
    world = make_world()
    world.start()
    second = make_world(
        {"evidence": {"master_key_file": str(world.directory / "secrets" / "master")}},
        state_dir=world.state_dir,
        carrier_up=False,
    )
    assert_says(refused(second), f"{world.state_dir}.*in use by another process: stop the other process, or")
    with Application(world.port) as application:
        assert application.bind() == 0, "the first one is served on"
        application.submit_all([submit_sm(receipt=False)])
        application.unbind()


def test_the_state_directory_is_a_file(make_world: MakeWorld) -> None:
    world = make_world(carrier_up=False)
    world.state_dir.write_text("")
    assert_says(
        refused(world), f"gateway.state_dir: cannot make {world.state_dir}: File exists: name a directory "
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system read-only, which only root may")
def test_the_state_directory_cannot_be_written(make_world: MakeWorld) -> None:
    world = make_world(carrier_up=False)
    world.state_dir.mkdir()
    with mounted(world.state_dir, "ro"):
        assert_says(refused(world), f"{world.state_dir}.*on a writable file system")


# -- evidence and its keys ----------------------------------------------------------------------------------


@pytest.fixture
def used(make_world: MakeWorld) -> World:
    """A world whose gateway has served and stopped."""
    world: World = make_world()
    world.start()
    with Application(world.port) as application:
        assert application.bind() == 0
        application.submit_all(submit_sm(number) for number in range(20))
        application.await_deliveries(20)
        application.unbind()
    world.stop()
    return world


def test_another_master_key(used: World) -> None:
    (used.directory / "secrets" / "master").unlink()
    initialise_master_key(used.directory / "secrets" / "master")
    assert_says(refused(used), "is not the one .*: name the key it was begun with")


def test_corrupt_evidence(used: World) -> None:
    path = segment_paths(used.state_dir / "evidence")[0]
    octets = bytearray(path.read_bytes())
    octets[5000] ^= 1  # in an early frame, with valid ones behind it
    path.write_bytes(octets)
    line = refused(used)
    assert_says(line, rf"{path}: at octet \d+: .*: restore the file from a copy$")
    end = used.run_to_its_end("check")
    assert (end.returncode, end.stderr) == (0, ""), "the configuration itself is right"
    assert path.read_bytes() == octets, "nothing was changed"


def test_a_torn_tail_is_no_trouble(used: World) -> None:
    path = segment_paths(used.state_dir / "evidence")[-1]
    with path.open("r+b") as file:
        file.seek(len(path.read_bytes().rstrip(b"\0")))
        file.write(b"\xa5" * 100)
    used.start()
    assert used.stop().sound


def test_evidence_that_is_missing(used: World) -> None:
    for path in segment_paths(used.state_dir / "evidence"):
        path.unlink()
    assert_says(refused(used), "there is no segment: restore")
