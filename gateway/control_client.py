"""Asks a running gateway over its control socket.

One line of JSON each way over a unix stream socket in `state_dir`: `{"command": …, "arguments": {…}}`, and
`{"ok": true, "result": {…}}` or `{"ok": false, "error": "…"}` in answer. Whoever may open the socket may
command; its mode is the gateway's business.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

# A list of 10,000 uncertain parts is 2 MB; more than this is no answer of ours.
ANSWER_OCTETS_MAX: Final = 16 * 2**20
# The server gives a command 120 s and then says so; only a stuck process says nothing for longer.
TIMEOUT_S: Final = 130.0


class ControlError(Exception):
    """The gateway could not be asked, or refused. The message is one line with the remedy."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ok: bool
    result: dict[str, Any] = {}
    error: str = ""


def request(
    socket_path: Path,
    command: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """The result of `command`. Raises ControlError, also when the gateway says no."""
    line = msgspec.json.encode({"command": command, "arguments": dict(arguments or {})}) + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(socket_path))
            connection.sendall(line)
            octets = _read_line(connection)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            # Refused: the file is there, left behind by a process that was killed.
            raise ControlError(f"{socket_path}: no gateway runs here: start it with `jingxin run`") from error
        except PermissionError as error:
            raise ControlError(f"{socket_path}: permission denied: run this as the gateway's user") from error
        except TimeoutError as error:
            raise ControlError(
                f"{socket_path}: no answer within {timeout_s:g} s: look at the gateway's log"
            ) from error
        except OSError as error:
            raise ControlError(f"{socket_path}: {error.strerror}: look at the gateway's log") from error
    try:
        answer = msgspec.json.decode(octets, type=Answer)
    except msgspec.DecodeError as error:
        raise ControlError(
            f"{socket_path}: an answer that is none of ours ({error}): is it a gateway of this version?"
        ) from error
    if not answer.ok:
        raise ControlError(answer.error)
    return answer.result


def _read_line(connection: socket.socket) -> bytes:
    chunks: list[bytes] = []
    octets = 0
    while octets <= ANSWER_OCTETS_MAX:
        chunk = connection.recv(65536)
        if not chunk:
            break
        chunks.append(chunk)
        octets += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return b"".join(chunks)
