"""The control socket: how `jingxin status`, `drain`, `resume`, `uncertain` … speak to a running gateway.

    → {"command": "drain", "arguments": {"who": "zhang"}} ← {"ok": true, "result": {"draining": true, …}}
    or     ← {"ok": false, "error": "no command 'stop'; there are drain, …"}

JSON objects, one a line, any number of them on a connection, answered in order. Who may open the socket may
do everything: it has mode 0600 in the state directory, and the kernel is the only gatekeeper. It is off the
path of messages, so asyncio's streams and a task for each connection are right here.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog

SOCKET_NAME: Final = "control.sock"
LOCK_NAME: Final = "control.lock"

# A request names a command and some ids; a list of a thousand message ids has 40 KiB.
REQUEST_OCTETS_MAX: Final = 64 * 1024

# A list of a hundred thousand open parts has some 10 MiB. What is larger is asked for in pages.
ANSWER_OCTETS_MAX: Final = 16 * 1024 * 1024

# Operators, a watch script and a monitoring check, each with a connection; a loop that leaks them is stopped
# here.
CONNECTIONS_MAX: Final = 16

# A person who types into the socket has time to think; a forgotten connection does not keep its place.
REQUEST_WAIT_S: Final = 60.0

# Every command there is answers at once, a drain too: it tells how many parts are still open, and `status`
# tells it again. What takes two minutes is stuck.
COMMAND_WAIT_S: Final = 120.0

# For a client that does not read its answer.
ANSWER_WAIT_S: Final = 10.0

# How long `stop` lets commands finish, above all the one that asked for the stop.
STOP_WAIT_S: Final = 2.0

Handler = Callable[[dict[str, Any]], object | Awaitable[object]]
"""Takes the arguments, gives a result that msgspec can write as JSON, or raises CommandError. Arguments come
from outside: the handler judges them, and `msgspec.convert(arguments, Struct)` does it with an error that we
answer."""

_log = structlog.get_logger()


class CommandError(Exception):
    """The command cannot be done; the text is for the operator and names the remedy."""


class ControlSocketError(Exception):
    """The control socket cannot be opened; the text names path, reason and remedy."""


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    command: str
    arguments: dict[str, Any] = {}


class ControlServer:
    """The server side, from `start` to `stop`, in the event loop that runs both."""

    def __init__(self, state_dir: Path, handlers: Mapping[str, Handler]) -> None:
        self._path: Final = state_dir / SOCKET_NAME
        self._lock_path: Final = state_dir / LOCK_NAME
        self._handlers: Final = handlers
        self._decoder: Final = msgspec.json.Decoder(_Request)
        # Each connection's task, and whether it is within a command.
        self._connections: dict[asyncio.Task[None], bool] = {}
        self._stopping = False

    async def start(self) -> None:
        """Opens the socket. Raises ControlSocketError, above all where another gateway has this directory.

        A socket file that a killed process left behind is replaced: whoever holds the lock beside it owns
        the file, and the kernel frees the lock of a dead process. Trying to connect would not tell a dead
        gateway from one that stands still, nor two that start at the same moment.
        """
        self._lock_fd = self._take_lock()
        try:
            listener = self._listen()
        except OSError as error:
            os.close(self._lock_fd)
            raise ControlSocketError(
                f"{self._path}: {error.strerror or error}. Is state_dir writable, and its path short enough "
                "for a socket (107 octets)?"
            ) from error
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_OCTETS_MAX)

    async def stop(self) -> None:
        """Closes the socket and its file. Commands that run have STOP_WAIT_S to finish and answer."""
        self._stopping = True
        self._server.close()
        self._path.unlink(missing_ok=True)
        me = asyncio.current_task()
        for task, busy in self._connections.items():
            if not busy and task is not me:
                task.cancel()
        others = self._connections.keys() - {me}
        if others:
            _, late = await asyncio.wait(others, timeout=STOP_WAIT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        os.close(self._lock_fd)

    def _take_lock(self) -> int:
        try:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ControlSocketError(
                f"{self._lock_path}: {error.strerror}. Is state_dir there, and writable?"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ControlSocketError(
                f"{self._lock_path} is locked: a gateway runs in this state_dir. Stop it, or set another."
            ) from None
        return fd

    def _listen(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise FileExistsError(None, "a file that is no socket stands there; move it away")
            self._path.unlink()
        listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        # The mode is given at birth: a chmod afterwards leaves a moment in which others may connect.
        umask = os.umask(0o177)
        try:
            listener.bind(os.fspath(self._path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(umask)
        return listener

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from accept to close."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        # `drain` is to wait for the last octet, so that nothing is left to a client that does not read.
        writer.transport.set_write_buffer_limits(0)
        full = len(self._connections) >= CONNECTIONS_MAX
        self._connections[task] = False
        try:
            if full:
                await self._send(writer, _failure(f"{CONNECTIONS_MAX} control connections are open already"))
            else:
                await self._converse(task, reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            # The client has gone, or is silent, or reads nothing, or we stop: nobody is there to answer.
            writer.transport.abort()
        except Exception:  # noqa: BLE001 - the connection's edge: a broken command must not stop the gateway
            _log.exception("control_command_failed")
            writer.write(_failure("the command failed; the gateway's log says why") + b"\n")
        finally:
            del self._connections[task]
            writer.close()

    async def _converse(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while not self._stopping:
            try:
                async with asyncio.timeout(REQUEST_WAIT_S):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await self._send(writer, _failure(f"a request has at most {REQUEST_OCTETS_MAX} octets"))
                return
            self._connections[task] = True
            await self._send(writer, await self._answer(line))
            self._connections[task] = False

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _failure(f"no request: {error}")
        handler = self._handlers.get(request.command)
        if handler is None:
            return _failure(f"no command {request.command!r}; there are {', '.join(sorted(self._handlers))}")
        try:
            async with asyncio.timeout(COMMAND_WAIT_S):
                result = handler(request.arguments)
                if isinstance(result, Awaitable):
                    result = await result
        except (CommandError, msgspec.ValidationError) as error:
            return _failure(str(error))
        except TimeoutError:
            return _failure(f"{request.command} took longer than {COMMAND_WAIT_S:.0f} s and was given up")
        answer = msgspec.json.encode({"ok": True, "result": result})
        if len(answer) > ANSWER_OCTETS_MAX:
            return _failure(
                f"the answer has {len(answer)} octets, {ANSWER_OCTETS_MAX} are allowed: ask for less"
            )
        return answer

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(answer + b"\n")
        async with asyncio.timeout(ANSWER_WAIT_S):
            await writer.drain()


def _failure(text: str) -> bytes:
    return msgspec.json.encode({"ok": False, "error": text})
