"""What systemd is told: ready, stopping, alive (`sd_notify(3)`).

One datagram a call on the socket that `NOTIFY_SOCKET` names; nothing where it is unset, so that the same
gateway runs under systemd, in a container and from a terminal. A datagram that cannot be sent is not an
error of the gateway: the answer says so, and systemd acts on what it misses by its own time-outs.
"""

import socket
from collections.abc import Mapping
from typing import Final, Self

# systemd reads datagrams of up to a page; a status is a line for people.
STATUS_CHARACTERS_MAX: Final = 256


class Notifier:
    """The line to systemd, from READY=1 to STOPPING=1. Never blocks."""

    def __init__(self, address: str | None, watchdog_interval_s: float | None) -> None:
        """`address`: path, "\\0name" for the abstract name space, or None for nobody.

        `watchdog_interval_s`: how often `watchdog` is to be called; None where systemd does not watch.
        """
        self._address: Final = address
        self.watchdog_interval_s: Final = watchdog_interval_s
        self._socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], process_id: int) -> Self:
        """From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as `sd_notify(3)` and `sd_watchdog_enabled(3)`.

        The interval is half of what systemd waits, as it recommends. Raises ValueError for what systemd
        never sets.
        """
        address = environment.get("NOTIFY_SOCKET")
        if address is not None:
            if address[:1] not in ("/", "@"):
                raise ValueError(
                    f"NOTIFY_SOCKET is {address!r}, it must be a path from / or an abstract name with @"
                )
            if address.startswith("@"):
                address = "\0" + address[1:]
        timeout_us = environment.get("WATCHDOG_USEC")
        # The variables are inherited: without this question, a child would answer for its parent.
        watched = timeout_us is not None and environment.get("WATCHDOG_PID", str(process_id)) == str(
            process_id
        )
        if timeout_us is None or not watched:
            return cls(address, None)
        if not (timeout_us.isascii() and timeout_us.isdigit() and int(timeout_us) > 0):
            raise ValueError(f"WATCHDOG_USEC is {timeout_us!r}, it must be a number of microseconds above 0")
        return cls(address, int(timeout_us) / 2 / 1_000_000)

    def ready(self, status: str) -> bool:
        """The gateway listens. True if systemd was told, as from all of these."""
        return self._send(f"READY=1\nSTATUS={_line(status)}")

    def stopping(self, status: str) -> bool:
        """The gateway has begun to stop."""
        return self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def watchdog(self) -> bool:
        """The gateway is alive: due every `watchdog_interval_s`, and only from a loop that makes progress."""
        return self._send("WATCHDOG=1")

    def close(self) -> None:
        self._socket.close()

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            return False  # nobody listens, or systemd is behind and its buffer is full
        return True


def _line(text: str) -> str:
    """A newline would begin an assignment of its own."""
    return " ".join(text.split())[:STATUS_CHARACTERS_MAX]
