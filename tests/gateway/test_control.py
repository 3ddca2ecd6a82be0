"""The control socket as a client sees it, on both event loops."""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import uvloop

from gateway import control
from gateway.control import CommandError, ControlServer, ControlSocketError

Script = Callable[[ControlServer, Path], Awaitable[None]]


class LinkArguments(msgspec.Struct, forbid_unknown_fields=True):
    link: str


async def _forever(_: dict[str, Any]) -> None:
    await asyncio.Event().wait()


async def _drain(arguments: dict[str, Any]) -> dict[str, Any]:
    link = msgspec.convert(arguments, LinkArguments).link
    if link != "cmcc/0":
        raise CommandError(f"no link {link}; there is cmcc/0")
    return {"open_parts": 12}


HANDLERS: dict[str, control.Handler] = {
    "status": lambda arguments: {"name": "hn-gw-1", "arguments": arguments},
    "drain": _drain,
    "forever": _forever,
    "broken": lambda arguments: arguments["missing"],
    "unwritable": lambda _: object(),
    "long": lambda arguments: "x" * arguments["octets"],
}


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Script], None]:
    """Runs a script against a server in `tmp_path`."""

    async def scene(script: Script) -> None:
        async with serving(tmp_path, HANDLERS) as server:
            await script(server, tmp_path)

    def run(script: Script) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(scene(script))

    return run


@contextlib.asynccontextmanager
async def serving(state_dir: Path, handlers: dict[str, control.Handler]) -> AsyncIterator[ControlServer]:
    server = ControlServer(state_dir, handlers)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def until(reached: Callable[[], bool]) -> None:
    """Waits for another task, five seconds at most."""
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - what is waited for is the server's own, and has no event
            await asyncio.sleep(0.001)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, state_dir: Path) -> "Client":
        return cls(*await asyncio.open_unix_connection(state_dir / control.SOCKET_NAME, limit=1 << 26))

    async def ask(self, line: bytes) -> Any:
        self.writer.write(line)
        return msgspec.json.decode(await self.reader.readline())

    async def ended(self) -> bool:
        return await self.reader.read() == b""

    def close(self) -> None:
        self.writer.close()


CONVERSATION: list[tuple[bytes, dict[str, Any]]] = [
    (b'{"command": "status"}\n', {"ok": True, "result": {"name": "hn-gw-1", "arguments": {}}}),
    (
        b'{"command": "status", "arguments": {"of": "links"}}\n',
        {"ok": True, "result": {"name": "hn-gw-1", "arguments": {"of": "links"}}},
    ),
    (b'{"command":"drain","arguments":{"link":"cmcc/0"}}\n', {"ok": True, "result": {"open_parts": 12}}),
    (
        b'{"command":"drain","arguments":{"link":"cmcc/9"}}\n',
        {"ok": False, "error": "no link cmcc/9; there is cmcc/0"},
    ),
    (b'{"command":"drain"}\n', {"ok": False, "error": "Object missing required field `link`"}),
    (
        b'{"command":"reboot"}\n',
        {
            "ok": False,
            "error": "no command 'reboot'; there are broken, drain, forever, long, status, unwritable",
        },
    ),
    (b"\n", {"ok": False, "error": "no request: Input data was truncated"}),
    (b"status\n", {"ok": False, "error": "no request: JSON is malformed: invalid character (byte 0)"}),
    (b"[]\n", {"ok": False, "error": "no request: Expected `object`, got `array`"}),
    (b"{}\n", {"ok": False, "error": "no request: Object missing required field `command`"}),
    (
        b'{"command":"status","args":{}}\n',
        {"ok": False, "error": "no request: Object contains unknown field `args`"},
    ),
    (
        b'{"command":"status","arguments":[]}\n',
        {"ok": False, "error": "no request: Expected `object`, got `array` - at `$.arguments`"},
    ),
    (b'{"command":"\xff"}\n', {"ok": False}),
    (b'{"command":"long","arguments":{"octets":1000000}}\n', {"ok": True, "result": "x" * 1_000_000}),
    (
        b'{"command":"long","arguments":{"octets":16777216}}\n',
        {"ok": False, "error": "the answer has 16777239 octets, 16777216 are allowed: ask for less"},
    ),
]


def test_a_conversation(play: Callable[[Script], None]) -> None:
    async def script(server: ControlServer, state_dir: Path) -> None:
        client = await Client.open(state_dir)
        for line, answer in CONVERSATION:
            given = await client.ask(line)
            assert {name: given[name] for name in answer} == answer
        # Several in one write are answered in order.
        client.writer.write(b"".join(line for line, _ in CONVERSATION[:3]))
        for _, answer in CONVERSATION[:3]:
            assert msgspec.json.decode(await client.reader.readline()) == answer
        client.close()

    play(script)


@pytest.mark.parametrize(
    ("command", "error"),
    [("broken", "KeyError: 'missing'"), ("unwritable", "TypeError: Encoding objects of type object")],
)
def test_a_broken_command_is_logged_once_and_closes_its_connection(
    play: Callable[[Script], None], command: str, error: str
) -> None:
    async def script(server: ControlServer, state_dir: Path) -> None:
        client, other = await Client.open(state_dir), await Client.open(state_dir)
        with structlog.testing.capture_logs() as logs:
            answer = await client.ask(b'{"command":"%s"}\n' % command.encode())
        assert answer == {"ok": False, "error": "the command failed; the gateway's log says why"}
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [
            ("control_command_failed", "error")
        ]
        assert await client.ended()
        assert (await other.ask(b'{"command":"status"}\n'))["ok"]
        client.close()
        other.close()

    play(script)


def test_a_line_has_a_limit(play: Callable[[Script], None]) -> None:
    async def script(server: ControlServer, state_dir: Path) -> None:
        client = await Client.open(state_dir)
        padding = b" " * (control.REQUEST_OCTETS_MAX - len(b'{"command":"status"}') - 1)
        assert (await client.ask(b'{"command":"status"}' + padding + b"\n"))["ok"]
        assert await client.ask(b"x" * (control.REQUEST_OCTETS_MAX + 2)) == {
            "ok": False,
            "error": "a request has at most 65536 octets",
        }
        client.close()

    play(script)


def test_the_seventeenth_connection_is_refused_until_one_closes(play: Callable[[Script], None]) -> None:
    async def script(server: ControlServer, state_dir: Path) -> None:
        clients = [await Client.open(state_dir) for _ in range(control.CONNECTIONS_MAX)]
        for client in clients:
            assert (await client.ask(b'{"command":"status"}\n'))["ok"]
        refused = await Client.open(state_dir)
        assert await refused.ask(b"") == {"ok": False, "error": "16 control connections are open already"}
        assert await refused.ended()
        clients.pop().close()
        refused.close()
        await until(lambda: len(server._connections) < control.CONNECTIONS_MAX)
        again = await Client.open(state_dir)
        assert (await again.ask(b'{"command":"status"}\n'))["ok"]
        for client in [*clients, again]:
            client.close()

    play(script)


def test_limits_of_time(play: Callable[[Script], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_WAIT_S", 0.1)
    monkeypatch.setattr(control, "COMMAND_WAIT_S", 0.05)
    monkeypatch.setattr(control, "ANSWER_WAIT_S", 0.1)

    async def script(server: ControlServer, state_dir: Path) -> None:
        silent, slow = await Client.open(state_dir), await Client.open(state_dir)
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(state_dir / control.SOCKET_NAME))
        deaf.sendall(b'{"command":"long","arguments":{"octets":10000000}}\n')
        assert await slow.ask(b'{"command":"forever"}\n') == {
            "ok": False,
            "error": "forever took longer than 0 s and was given up",
        }
        assert await silent.ended()
        # The deaf client gets what the kernel had taken before it was cut, and no more.
        await until(lambda: not server._connections)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while octets := len(deaf.recv(1 << 20)):
                received += octets
        assert 0 < received < 10_000_000
        silent.close()
        slow.close()
        deaf.close()

    play(script)


def test_stop_lets_a_running_command_answer_and_removes_the_socket(play: Callable[[Script], None]) -> None:
    async def script(_: ControlServer, state_dir: Path) -> None:
        inner = state_dir / "inner"
        inner.mkdir()
        began, finish = asyncio.Event(), asyncio.Event()

        async def finishing(_: dict[str, Any]) -> str:
            began.set()
            await finish.wait()
            return "done"

        async with serving(inner, {"finish": finishing}):
            idle, busy = await Client.open(inner), await Client.open(inner)
            asking = asyncio.gather(busy.ask(b'{"command":"finish"}\n'))
            await began.wait()
            asyncio.get_running_loop().call_soon(finish.set)
        assert (await asking)[0] == {"ok": True, "result": "done"}
        assert await idle.ended()
        assert await busy.ended()
        assert not (inner / control.SOCKET_NAME).exists()
        idle.close()
        busy.close()
        async with serving(inner, {}):
            assert (inner / control.SOCKET_NAME).exists()

    play(script)


def test_stop_ends_a_command_that_does_not_finish(
    play: Callable[[Script], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "STOP_WAIT_S", 0.05)

    async def script(_: ControlServer, state_dir: Path) -> None:
        inner = state_dir / "inner"
        inner.mkdir()
        async with serving(inner, HANDLERS) as server:
            client = await Client.open(inner)
            client.writer.write(b'{"command":"forever"}\n')
            await until(lambda: True in server._connections.values())
        assert await client.ended()
        client.close()

    play(script)


def test_the_socket_is_the_owners_alone_from_birth(play: Callable[[Script], None]) -> None:
    async def script(server: ControlServer, state_dir: Path) -> None:
        umask = os.umask(0)
        os.umask(umask)
        assert umask != 0o177  # that of the process is as before
        assert stat.S_IMODE((state_dir / control.SOCKET_NAME).stat().st_mode) == 0o600
        assert stat.S_IMODE((state_dir / control.LOCK_NAME).stat().st_mode) == 0o600

    play(script)


def test_a_second_gateway_is_refused_and_the_first_goes_on(play: Callable[[Script], None]) -> None:
    async def script(server: ControlServer, state_dir: Path) -> None:
        with pytest.raises(ControlSocketError, match="is locked: a gateway runs in this state_dir"):
            await ControlServer(state_dir, HANDLERS).start()
        client = await Client.open(state_dir)
        assert (await client.ask(b'{"command":"status"}\n'))["ok"]
        client.close()

    play(script)


def test_the_socket_of_a_killed_gateway_is_replaced(tmp_path: Path) -> None:
    victim = (
        "import asyncio, os, pathlib, sys\n"
        "from gateway.control import ControlServer\n"
        "async def main():\n"
        "    await ControlServer(pathlib.Path(sys.argv[1]), {}).start()\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    killed = subprocess.run([sys.executable, "-c", victim, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert (tmp_path / control.SOCKET_NAME).is_socket()

    async def scene() -> None:
        async with serving(tmp_path, HANDLERS):
            client = await Client.open(tmp_path)
            assert (await client.ask(b'{"command":"status"}\n'))["ok"]
            client.close()

    asyncio.run(scene())


def _a_file(state_dir: Path) -> Path:
    (state_dir / control.SOCKET_NAME).write_text("evidence")
    return state_dir


def _a_long_path(state_dir: Path) -> Path:
    deep = state_dir / ("d" * 110)
    deep.mkdir()
    return deep


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (_a_file, r"control\.sock: a file that is no socket stands there; move it away"),
        (
            _a_long_path,
            r"control\.sock: AF_UNIX path too long\. .* its path short enough for a socket \(107 octets\)",
        ),
        (
            lambda state_dir: state_dir / "missing",
            r"control\.lock: No such file or directory\. Is state_dir there",
        ),
    ],
)
def test_a_socket_that_cannot_be_opened(tmp_path: Path, prepare: Callable[[Path], Path], text: str) -> None:
    state_dir = prepare(tmp_path)
    for _ in range(2):  # the refusal leaves no lock behind
        with pytest.raises(ControlSocketError, match=text):
            asyncio.run(ControlServer(state_dir, HANDLERS).start())


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ControlSocketError):
        asyncio.run(ControlServer(_a_file(tmp_path), HANDLERS).start())
    assert (tmp_path / control.SOCKET_NAME).read_text() == "evidence"


def test_a_client_that_leaves_in_the_middle_of_a_line_harms_nobody(play: Callable[[Script], None]) -> None:
    async def script(server: ControlServer, state_dir: Path) -> None:
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(state_dir / control.SOCKET_NAME))
            rude.sendall(b'{"command":"sta')
        client = await Client.open(state_dir)
        assert (await client.ask(b'{"command":"status"}\n'))["ok"]
        client.close()

    play(script)
