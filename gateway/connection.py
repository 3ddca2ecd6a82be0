"""The only file that touches transports: one SMPP session on one TCP connection.

A connection buffers what it reads and waits for its turn (gateway/turns.py); it writes once a turn.  A peer
that does not read what we write, or that has as much in our buffer as it may, is not read from until it has
caught up: backpressure by not reading.

The owner hears of its connection when that stands, not when it is attempted: the event loop asks for the
protocol first and connects then.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

import structlog

from protocol.smpp.pdu import Pdu
from protocol.smpp.session import Event, Notice, Session

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

    def connected(self, connection: Connection) -> None:
        """The connection stands."""

    def handle(self, pdu: Pdu | Notice, frame: bytes, context: object) -> None:
        """Carry out one event of the session."""

    def failed(self, context: object) -> None:
        """An event with this context could not be carried out; the connection is about to end."""

    def closed(self, reason: str) -> None:
        """The connection has ended; called once, and only if it has stood."""


class Connection(asyncio.Protocol):
    """Moves octets between a transport and a session, when it is its turn."""

    def __init__(self, session: Session, turns: Turns, *, carrier: bool) -> None:
        self.session = session
        self.carrier = carrier
        self.peer: Peer
        self.peer_address = ""
        self.peer_name = ""  # address and port
        self.queued = False  # in the turn's list of connections to serve
        self.dirty = False  # in the turn's list of connections to write
        self.writable = True
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
        if name:
            self.peer_address = name[0]
            self.peer_name = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        else:
            self.peer_name = "unknown"
        self.session.stand(self._turns.begin())
        self.peer.connected(self)

    def data_received(self, data: bytes) -> None:
        self.session.receive_data(data)
        if not self.queued and self.servable:
            self._turns.enqueue(self)
        self._read_or_not()

    def pause_writing(self) -> None:
        self.writable = False
        self._read_or_not()

    def resume_writing(self) -> None:
        self.writable = True
        self._read_or_not()
        if self.servable:
            self._turns.enqueue(self)

    def _read_or_not(self) -> None:
        """Read from a peer that reads too and has room in our buffer; once that was full, half of it."""
        if not self.open:
            return
        limit = BUFFER_MAX if self._reading else BUFFER_MAX // 2
        reading = self.writable and self.session.buffered <= limit
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

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
        return self.session.backlog and self.writable and self.open

    @property
    def unsorted(self) -> bool:
        """Whether there are frames that no turn has looked at."""
        return self.session.unsorted and self.writable and self.open

    def serve(self, now: float, limit: int, *, requests: bool = True) -> None:
        """Serve at most ``limit`` frames; without ``requests`` only those that make no work."""
        if not self.writable or not self.open:
            return
        events = self.session.events(now, limit, requests=requests)
        if events:
            self.carry_out(events)
        else:
            self._turns.write_later(self)
        if not self._reading:
            self._read_or_not()

    def carry_out(self, events: list[Event]) -> None:
        """Hand events to the owner.  The one broad catch: an error while serving a peer costs that peer its
        connection, and nobody else anything; nor is any other event of the peer lost by it, since each may
        be the only word of a message's fate."""
        self._turns.write_later(self)
        handle = self.peer.handle
        failures = 0
        for pdu, frame, context in events:
            try:
                handle(pdu, frame, context)
            except Exception:
                if not failures:
                    logger.exception("serving a peer failed", peer=self.peer_name)
                failures += 1
                self.peer.failed(context)
        if failures:
            self.close("internal error")

    def tick(self, now: float) -> None:
        """Let the session's timers run; cut a peer that does not take what is left for it."""
        if self._closing_since:
            if now - self._closing_since > CLOSE_S:
                self.abort(self._reason)
            return
        if not self._reading and self.writable:
            self.session.excuse_silence(now)
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
