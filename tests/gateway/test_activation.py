"""Sockets as systemd would hand them over, and a listener that leaves its own to the next process."""

import asyncio
import configparser
import fcntl
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest
import uvloop

from gateway import activation
from gateway.activation import ActivationError, smpp_socket
from gateway.config_table import ConfigError
from gateway.upstream import BACKLOG, Listener
from tests.gateway.world import World

HOST = "127.0.0.1"
PROCESS_ID = 42
UNITS = Path(__file__).resolve().parents[2] / "systemd"

HandOver = Callable[[socket.socket | IO[bytes]], int]


def environment(**changes: str) -> dict[str, str]:
    """What systemd sets for one socket, but for `changes`."""
    return {"LISTEN_PID": str(PROCESS_ID), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smpp", **changes}


def listening(host: str = HOST) -> socket.socket:
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


@pytest.fixture
def hand_over(monkeypatch: pytest.MonkeyPatch) -> HandOver:
    """Makes another descriptor of what it is given, inheritable, the one that systemd passes first."""

    def hand_over(held: socket.socket | IO[bytes]) -> int:
        descriptor = fcntl.fcntl(held.fileno(), fcntl.F_DUPFD, 0)
        monkeypatch.setattr(activation, "FIRST_DESCRIPTOR", descriptor)  # pytest has the real number 3
        return descriptor

    return hand_over


@pytest.mark.parametrize(
    ("bound", "host"),
    [(HOST, HOST), ("0.0.0.0", "0.0.0.0"), ("::1", "::1"), ("::1", "0:0:0:0:0:0:0:1"), ("::", "::")],
)
def test_the_socket_that_systemd_holds(bound: str, host: str, hand_over: HandOver) -> None:
    variables = environment(PATH="/bin")
    with listening(bound) as held:
        descriptor = hand_over(held)
        inherited = smpp_socket(variables, PROCESS_ID, host, held.getsockname()[1])
        assert inherited is not None
        with inherited:
            assert (inherited.fileno(), inherited.getsockname()) == (descriptor, held.getsockname())
            assert os.get_inheritable(descriptor) is False
    assert variables == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "42"},
        {"LISTEN_PID": "43", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smpp"},
        {"LISTEN_PID": "", "LISTEN_FDS": "many"},
    ],
)
def test_who_was_not_meant_inherits_nothing(variables: dict[str, str]) -> None:
    assert smpp_socket(variables, PROCESS_ID, HOST, 2775) is None
    assert variables == {}


ONE_ADDRESS = "and [listener] is one address: give the service one socket unit, with one ListenStream="
NAMES = "and the gateway knows none but smpp: set FileDescriptorName=smpp in the socket unit"


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (
            environment(LISTEN_FDS="2", LISTEN_FDNAMES="smpp:smpp"),
            f"systemd hands over 2 sockets, {ONE_ADDRESS}",
        ),
        (environment(LISTEN_FDS="0"), f"systemd hands over 0 sockets, {ONE_ADDRESS}"),
        (
            environment(LISTEN_FDNAMES="jingxin-gateway.socket"),
            f"systemd hands over a socket named jingxin-gateway.socket, {NAMES}",
        ),
        (
            {"LISTEN_PID": "42", "LISTEN_FDS": "1"},
            f"systemd hands over a socket named unknown, {NAMES}",
        ),
    ],
)
def test_variables_that_do_not_fit(variables: dict[str, str], text: str) -> None:
    with pytest.raises(ActivationError) as refused:
        smpp_socket(variables, PROCESS_ID, HOST, 2775)
    assert str(refused.value) == text
    assert variables == {}


def no_socket() -> IO[bytes]:
    return Path(os.devnull).open("rb")


def datagram() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def local() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def deaf() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


NOT_A_SOCKET = (
    "systemd hands over descriptor {descriptor}, and it is no socket: Socket operation on non-socket:"
    " let nothing between systemd and the gateway close it, or unset LISTEN_FDS"
)
NOT_TCP = "systemd hands over a socket of %s, not of TCP: set ListenStream= to address and port"
DOES_NOT_LISTEN = "systemd hands over a socket that does not listen: set Accept=no in the socket unit"
DIFFERS = (
    "systemd listens on 127.0.0.1 port {port}, and [listener] says {host} port {said}:"
    " give ListenStream= and [listener] the same, as an address and not as a name"
)


@pytest.mark.parametrize(
    ("make", "host", "ports_away", "text"),
    [
        (no_socket, HOST, 0, NOT_A_SOCKET),
        (datagram, HOST, 0, NOT_TCP % "AF_INET, SOCK_DGRAM"),
        (local, HOST, 0, NOT_TCP % "AF_UNIX, SOCK_STREAM"),
        (deaf, HOST, 0, DOES_NOT_LISTEN),
        (listening, HOST, 1, DIFFERS),
        (listening, "127.0.0.2", 0, DIFFERS),
        (listening, "0.0.0.0", 0, DIFFERS),
        (listening, "::1", 0, DIFFERS),
        (listening, "::ffff:127.0.0.1", 0, DIFFERS),
        (listening, "localhost", 0, DIFFERS),
    ],
)
def test_sockets_that_do_not_fit(
    make: Callable[[], socket.socket | IO[bytes]],
    host: str,
    ports_away: int,
    text: str,
    hand_over: HandOver,
) -> None:
    with make() as held:
        port = 2775
        if make is listening and isinstance(held, socket.socket):
            port = held.getsockname()[1]
        said = port + ports_away
        descriptor = hand_over(held)
        with pytest.raises(ConfigError) as refused:  # which the command line makes one line
            smpp_socket(environment(), PROCESS_ID, host, said)
        assert str(refused.value) == text.format(descriptor=descriptor, port=port, host=host, said=said)
        if make is no_socket:
            os.close(descriptor)  # not ours to close
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_listener_that_stops_leaves_the_queue_to_the_next(
    make_loop: Callable[[], asyncio.AbstractEventLoop], world: World
) -> None:
    """Of those who connect, ten were accepted, ten come in the very turn that stops, and ten after it."""
    clients: list[socket.socket] = []
    with listening() as held, ExitStack() as stack, asyncio.Runner(loop_factory=make_loop) as runner:
        held.listen(BACKLOG)

        def connect() -> None:
            more = (socket.create_connection(held.getsockname(), 10) for _ in range(10))
            clients.extend(map(stack.enter_context, more))

        connect()
        runner.run(_live_once(world.listener, held.dup(), connect))
        assert [client.recv(1) for client in clients[:10]] == [b""] * 10
        held.setblocking(False)
        waiting = [stack.enter_context(held.accept()[0]) for _ in range(20)]
        assert [peer.getpeername() for peer in waiting] == [client.getsockname() for client in clients[10:]]
        with pytest.raises(BlockingIOError):
            held.accept()


async def _live_once(listener: Listener, inherited: socket.socket, connect: Callable[[], None]) -> None:
    await listener.start(inherited)
    assert listener.open
    await _until(lambda: [each.connection.peer_address for each in listener.applications] == [HOST] * 10)
    try:
        connect()
        listener.stop_accepting()
        assert not listener.open
        connect()
        listener.unbind_all()
    finally:
        listener.close()
        await _until(lambda: not listener.applications)


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 — what is waited for is the loop itself
            await asyncio.sleep(0)


def test_the_units_agree_with_the_program() -> None:
    socket_unit, service_unit = _read_unit("jingxin-gateway.socket"), _read_unit("jingxin-gateway.service")
    assert dict(socket_unit["Socket"]) == {
        "ListenStream": "127.0.0.1:2775",  # the defaults of [listener]
        "FileDescriptorName": activation.NAME,
        "Accept": "no",
        "Backlog": str(BACKLOG),
        "NoDelay": "yes",
        "BindIPv6Only": "ipv6-only",
        "FreeBind": "yes",
        "TriggerLimitIntervalSec": "0",
    }
    assert service_unit["Unit"]["Requires"] == "jingxin-gateway.socket"
    assert service_unit["Unit"]["After"] == "network-online.target jingxin-gateway.socket"
    assert service_unit["Service"]["Sockets"] == "jingxin-gateway.socket"
    assert service_unit["Install"]["Also"] == "jingxin-gateway.socket"


def _read_unit(name: str) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False)  # a directive may stand twice
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((UNITS / name).read_text())
    return unit
