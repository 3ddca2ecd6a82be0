"""The only file that touches transports: one SMPP session on one TCP connection.

A connection buffers what it reads and waits for its turn (gateway/turns.py); it writes once a turn.  A peer
that does not read what we write, or that has as much in our buffer as it may, is not read from until it has
caught up: backpressure by not reading.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

import structlog

from protocol.smpp.session import Event, Lost, Session

if TYPE_CHECKING:
    from gateway.turns import Turns

logger = structlog.get_logger()

# Octets that may wait in our buffer for one connection: four reads of the event loop (64 KiB each on Linux
# defaults), a few hundred messages, which is what a turn may serve.
BUFFER_MAX = 256 * 1024

# Octets that a peer may leave unread before we stop serving it.  The same size, for the same reason.
WRITE_HIGH = 256 * 1024
WRITE_LOW = 64 * 1024

# How long a peer may take to read what was left for it when we closed; a dead one would take for ever.
CLOSE_S = 5.0


class Peer(Protocol):
    """Who owns a connection: an application's session or a carrier link."""

    def handle(self, events: list[Event]) -> None:
        """Carry out what the session decided."""

    def closed(self, reason: str) -> None:
        """The connection has ended; called once."""


class Connection(asyncio.Protocol):
    """Moves octets between a transport and a session, when it is its turn."""

    def __init__(self, session: Session, turns: Turns, *, carrier: bool) -> None:
        self.session = session
        self.carrier = carrier
        self.peer: Peer
        self.peer_name = ""
        self.queued = False  # in the turn's list of connections to serve
        self.dirty = False  # in the turn's list of connections to write
        self.writable = True
        self.unwelcome = ""  # the reason for which the connection is cut as soon as it stands
        self._turns = turns
        self._transport: asyncio.Transport
        self._reading = True
        self._closing_since = 0.0  # when we closed it; 0: we have not
        self._closed = False
        self._reason = "closed by the peer"

    # -- called by the event loop ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        tcp = transport.get_extra_info("socket")
        if tcp is not None and tcp.family != socket.AF_UNIX:
            # Nagle against delayed acknowledgement costs 20 to 50 ms a message.
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = transport.get_extra_info("peername")
        self.peer_name = f"{name[0]}:{name[1]}" if name else "unknown"
        if self.unwelcome:
            self.abort(self.unwelcome)

    def data_received(self, data: bytes) -> None:
        self.session.receive_data(data)
        if not self.queued:
            self._turns.enqueue(self)
        if self._reading and self.session.buffered > BUFFER_MAX:
            self._reading = False
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._turns.enqueue(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        if error is not None:
            self._reason = f"connection lost: {error}"
        self.peer.closed(self._reason)

    @property
    def open(self) -> bool:
        """Whether what is written now still goes out."""
        return not self._closing_since and not self._closed

    # -- called by the turn ---------------------------------------------------------------------------------

    @property
    def servable(self) -> bool:
        """Whether a turn could serve a frame of this connection now."""
        return self.session.backlog and self.writable and not self.session.blocked and self.open

    def serve(self, now: float, limit: int) -> None:
        """Serve at most ``limit`` frames."""
        events = self.session.events(now, limit)
        if events:
            self.carry_out(events)
        else:
            self._turns.write_later(self)
        if not self._reading and self.session.buffered <= BUFFER_MAX // 2 and not self._closed:
            self._reading = True
            self._transport.resume_reading()

    def carry_out(self, events: list[Event]) -> None:
        """Hand events to the owner.  The one broad catch: an error while serving a peer costs that peer its
        connection, and nobody else anything."""
        self._turns.write_later(self)
        try:
            self.peer.handle(events)
        except Exception:
            logger.exception("serving a peer failed", peer=self.peer_name)
            self.close("internal error")

    def tick(self, now: float) -> None:
        """Let the session's timers run; cut a peer that does not take what is left for it."""
        if self._closing_since:
            if now - self._closing_since > CLOSE_S:
                self.abort(self._reason)
            return
        events = self.session.tick(now)
        if events:
            self.carry_out(events)
        self._turns.write_later(self)

    def flush(self) -> None:
        """Write what the session has to send."""
        self.dirty = False
        data = self.session.data_to_send()
        if data and self.open:
            self._transport.write(data)
        if self.servable:  # answering made room for more of its requests
            self._turns.enqueue(self)

    def close(self, reason: str) -> None:
        """Send what is left and close; the owner hears of it once the transport is gone."""
        if not self.open:
            return
        self.flush()
        self._closing_since = self._turns.now
        self._reason = reason
        self._transport.close()

    def abort(self, reason: str) -> None:
        """Close at once, without sending what is left."""
        if not self._closed:
            self._closing_since = self._turns.now
            self._reason = reason
            self._transport.abort()


def lost(events: list[Event]) -> str | None:
    """The reason for which the session in ``events`` cannot go on, if there is one."""
    notice = events[-1][0] if events else None
    return notice.reason if isinstance(notice, Lost) else None
