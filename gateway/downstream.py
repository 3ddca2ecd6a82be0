"""Carrier links: one bind to a carrier each, kept up by one task each.

A link connects, binds, moves parts and receipts, and when it is lost tries again: one attempt in flight,
exponential backoff with jitter, a longer wait when the carrier says that we are bound already (field lesson
24).  Whatever was in flight when a link ends is handed to the pipeline, which knows what an unanswered part
means.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Protocol

import structlog

from gateway.congestion import Congestion
from gateway.connection import Connection
from gateway.message import DISPATCHED, Part
from protocol.smpp.codes import CommandId, CommandStatus, TlvTag, status_name
from protocol.smpp.errors import LocalError
from protocol.smpp.operations import BindState, Role
from protocol.smpp.pdu import (
    AlertNotification,
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    DataSm,
    DeliverSm,
    GenericNack,
    Outbind,
    Pdu,
    SubmitSmResp,
)
from protocol.smpp.session import (
    BindRequest,
    LateResponse,
    Lost,
    Notice,
    RequestTimedOut,
    ResponseUnreadable,
    Session,
    Unbinding,
    Unbound,
)
from protocol.smpp.timers import TimerSettings

if TYPE_CHECKING:
    from gateway.carrier import Carrier
    from gateway.config import CarrierConfig
    from gateway.journal import Journal
    from gateway.turns import Turns

logger = structlog.get_logger()

# Receipts and replies of a carrier that may be unanswered before we stop reading from it: two turns' worth.
# They are answered at each commit, so a carrier with a window of its own never meets this.
UNANSWERED_MAX = 800

# A carrier that says "already bound" still holds our lost socket; asking again within seconds keeps it so.
ALREADY_BOUND_WAIT_S = 15.0

# How long a bind must have lasted for the next failure to count as the first again.
STABLE_S = 10.0

# How long an orderly end waits for responses. They take a second; what misses after ten will not come.
IN_FLIGHT_S = 10.0

# Requests that wait, and not a word from the carrier, for so long: what has another way takes that.  It is
# far beyond a carrier's usual answer and far below the enquire_link period, which decides whether the link is
# lost.
SILENT_S = 2.0

# How long a link rests that the carrier has refused to serve: an account that was barred or has run out is
# mended by people, and asking every minute only fills both logs.
PARKED_S = 300.0

# How long an orderly unbind may take before the socket is closed all the same.
UNBIND_S = 3.0

_SUBMIT_SM = int(CommandId.SUBMIT_SM)
_CONGESTION_STATE = int(TlvTag.CONGESTION_STATE)
_SC_INTERFACE_VERSION = int(TlvTag.SC_INTERFACE_VERSION)
_BIND_REQUESTS: dict[str, type[BindRequest]] = {
    "transceiver": BindTransceiver,
    "transmitter": BindTransmitter,
    "receiver": BindReceiver,
}


class Messages(Protocol):
    """Where what a carrier says goes on: the pipeline.  journal: where a link's own events are kept."""

    journal: Journal

    def answered(
        self, link: Link, part: Part, command_status: int, carrier_id: bytes, *, late: bool = False
    ) -> None:
        """It answered a submit_sm; late: after the time for that."""

    def unanswered(self, link: Link, parts: list[Part], reason: str) -> None:
        """It left parts unanswered."""

    def delivered(self, link: Link, connection: Connection, pdu: DeliverSm | DataSm, frame: bytes) -> None:
        """It brought a receipt or a reply."""


class Link:
    """One bind to a carrier account.  Owned by the event loop; `run` is its task."""

    def __init__(self, carrier: Carrier, index: int, pipeline: Messages, turns: Turns) -> None:
        config = carrier.config
        self.config = config
        self.carrier = carrier
        self.carrier_name = carrier.name
        self.index = index
        self.name = f"{config.name}#{index}"
        self.reserved = 0  # window slots promised to parts whose `dispatched` record is being committed
        self.congestion = Congestion(config.rate_per_s, config.throttle_pause_s, turns.now)
        self._paced = False  # the carrier throttles, and it has been said
        self.can_send = False
        self.silent = False  # it owes answers, and says nothing
        self.state = "down"
        self.detail = "not connected yet"
        self.bound_since = 0.0
        self._connection: Connection | None = None
        self._pipeline = pipeline
        self._turns = turns
        self._attempt: asyncio.Timeout | None = None  # of the connect that is under way
        self._gone = asyncio.Event()
        self._stopping = asyncio.Event()
        self._wanted = asyncio.Event()  # it is to be kept up; cleared: it is drained
        self._wanted.set()
        self._interrupted = asyncio.Event()  # the rest before the next attempt is over early
        self._parked = ""  # why the carrier does not serve us
        self._unanswered_since = 0.0
        self._already_bound = False

    def configure(self, config: CarrierConfig, now: float) -> None:
        """Go on with another configuration whose bind is the same."""
        if config.throttle_pause_s == self.config.throttle_pause_s:
            self.congestion.set_rate_max(config.rate_per_s, now)
        else:  # the controller learns anew what the carrier takes
            self.congestion = Congestion(config.rate_per_s, config.throttle_pause_s, now)
        self.config = config
        if self._connection is not None:
            self._connection.session.window.size_max = config.window

    # -- what dispatch asks and gives -----------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Window slots that neither a request nor a promise holds."""
        connection = self._connection
        if not self.can_send or connection is None or not connection.open:
            return 0
        return connection.session.window.free - self.reserved

    @property
    def window_used(self) -> int:
        """Requests that the carrier has not answered."""
        return 0 if self._connection is None else len(self._connection.session.window.entries)

    def in_flight(self) -> list[Part]:
        """The parts that wait for their response on this link."""
        if self._connection is None:
            return []
        entries = self._connection.session.window.entries.values()
        return [context for _, context, _ in entries if isinstance(context, Part)]

    def transmit(self, parts: list[Part], now: float) -> bool:
        """Send parts whose `dispatched` record is durable; False, with nothing sent, if the link is down."""
        self.reserved -= len(parts)
        connection = self._connection
        if not self.can_send or connection is None or not connection.open:
            return False
        request = connection.session.request
        profile = self.carrier.profile
        rewrites = profile.rewrites
        for part in parts:
            if part.state != DISPATCHED:  # a late response has told its fate meanwhile
                self.congestion.unanswered(now)  # nobody will answer, and it may have been the probe
                continue
            part.left = now
            request(_SUBMIT_SM, profile.as_sent(part.body) if rewrites else part.body, part, now)
        self._turns.write_later(connection)
        return True

    # -- the task -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the link up until :meth:`stop`."""
        failures = 0
        while True:
            await self._wanted.wait()
            if self._stopping.is_set():
                return
            self._interrupted.clear()
            bound_at = await self._session()
            if bound_at and self._turns.now - bound_at > STABLE_S:
                failures = 0
            wait_s = self._backoff_s(failures)
            failures += 1
            try:
                await asyncio.wait_for(self._interrupted.wait(), wait_s)
            except TimeoutError:
                continue
            failures = 0

    def _backoff_s(self, failures: int) -> float:
        config = self.config
        ceiling = min(config.reconnect_max_s, config.reconnect_min_s * 2 ** min(failures, 16))
        if self._parked:
            return PARKED_S
        if self._already_bound:
            ceiling = max(ceiling, min(ALREADY_BOUND_WAIT_S, config.reconnect_max_s))
        # Half of the wait is fixed, half is chance: gateways that lost a carrier together come back apart.
        return float(ceiling * random.uniform(0.5, 1.0))

    async def _session(self) -> float:
        """One connection from its attempt to its end; returns when it was bound, 0 if never."""
        config = self.config
        self._gone.clear()
        self._already_bound = False
        self.bound_since = 0.0
        self.state = "connecting"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(config.connect_timeout_s) as self._attempt:
                await loop.create_connection(self._make_connection, config.host, config.port)
        except (OSError, TimeoutError) as error:
            if self._connection is None:
                self._down(f"cannot connect to {config.host}:{config.port}: {str(error) or 'timeout'}")
                return 0.0
            self._connection.abort("connected too late")  # it stood at the moment at which time was up
        finally:
            self._attempt = None
        await self._gone.wait()
        return self.bound_since

    def connected(self, connection: Connection) -> None:
        """The connection stands: bind, before anything else can happen to it."""
        self._connection = connection
        if not self._kept_up:
            connection.abort("drained")
            return
        config = self.config
        request = _BIND_REQUESTS[config.bind](
            system_id=config.system_id.encode(),
            password=config.password,
            system_type=config.system_type.encode(),
            interface_version=config.interface_version,
        )
        try:
            connection.session.bind(request, self._turns.now)
        except LocalError as error:
            connection.close(f"cannot bind: {error}")
            return
        connection.flush()

    def _make_connection(self) -> Connection:
        """Called by the event loop before it connects."""
        config = self.config
        session = Session(
            Role.ESME,
            self._turns.begin(),
            window_max=config.window,
            unanswered_max=UNANSWERED_MAX,
            timer_settings=TimerSettings(
                bind_s=config.response_timeout_s,
                enquire_link_s=config.enquire_link_s,
                response_s=config.response_timeout_s,
            ),
        )
        connection = Connection(session, self._turns, carrier=True)
        connection.peer = self
        return connection

    def tick(self, now: float) -> None:
        """Let the timers run, and end a link that is alive and does nothing (field lesson 21)."""
        if self._connection is None:
            return
        self.congestion.tick(now)
        self._say_pace()
        session = self._connection.session
        oldest = next(iter(session.window.entries.values()), None)
        if now - session.heard <= SILENT_S:
            self.silent = False
        elif oldest is not None and now - (oldest[2] - self.config.response_timeout_s) > SILENT_S:
            self.silent = True  # until it says something, though the request has timed out by then
        stalled_s = 2 * self.config.response_timeout_s
        if self._unanswered_since and now - self._unanswered_since > stalled_s:
            self._connection.abort(f"no response to any message for {stalled_s:.0f} s")
        else:
            self._connection.tick(now)

    @property
    def drained(self) -> bool:
        """Whether it goes down, or is down, until :meth:`resume`."""
        return not self._wanted.is_set()

    @property
    def _kept_up(self) -> bool:
        return self._wanted.is_set() and not self._stopping.is_set()

    def hold(self, reason: str) -> None:
        """Before :meth:`run`: stay down until :meth:`resume`."""
        self._wanted.clear()
        self._rest_drained(reason)

    def _say_pace(self) -> None:
        """Say once when the carrier begins to throttle, and when that is over."""
        limited = self.congestion.limited
        if limited is not self._paced:
            self._paced = limited
            say = logger.warning if limited else logger.info
            rate_per_s = round(self.congestion.rate_per_s, 1)
            say(
                "paced by the carrier" if limited else "paced no longer",
                link=self.name,
                rate_per_s=rate_per_s,
            )

    async def stop(self) -> None:
        """Drain, for good."""
        self._stopping.set()
        await self.drain("stopped")
        self._wanted.set()

    async def drain(self, reason: str) -> None:
        """Take no more parts, let those in flight be answered, unbind, close; down until :meth:`resume`.

        Returns when the connection is gone.  Several may ask for it at the same time.
        """
        self._wanted.clear()
        self._interrupted.set()
        self.can_send = False
        if self._attempt is not None and not self._attempt.expired():
            self._attempt.reschedule(0.0)  # nobody waits for a carrier that takes its time
        connection = self._connection
        if connection is None:
            if self.state != "drained" and self._attempt is None:  # which says so itself when it ends
                # It was down, which was a fault until now, and is the operator's will from here on.
                self._pipeline.journal.link_event(self, "drained", reason)
            self._rest_drained(reason)
            return
        session = connection.session
        if session.bound:
            self.state = "draining"
        deadline = self._turns.now + min(self.config.response_timeout_s, IN_FLIGHT_S)
        while session.bound and self.in_flight() and self._turns.now < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # the end is not the hot path, and an event for it would be on it
        if session.bound:
            session.unbind(self._turns.begin())
            connection.flush()
        if session.state is BindState.UNBINDING:
            try:
                await asyncio.wait_for(self._gone.wait(), UNBIND_S)
            except TimeoutError:
                logger.warning("carrier did not answer unbind", link=self.name)
        connection.close(reason)
        if self._connection is connection:
            await self._gone.wait()  # ticks cut a carrier that does not read what is left for it

    def _rest_drained(self, reason: str) -> None:
        self.state = "drained"
        self.detail = reason

    def resume(self) -> None:
        """Bind again after a drain, or at once after a loss or having been parked."""
        self._parked = ""
        self._wanted.set()
        if self._connection is None:
            self._interrupted.set()

    def park(self, reason: str) -> None:
        """The carrier refuses to serve us: leave it alone until a person or time has mended that."""
        connection = self._connection
        if self._parked or connection is None:
            return
        self._parked = reason
        self.can_send = False
        self._pipeline.journal.link_event(self, "parked", reason)
        if connection.session.bound:
            connection.session.unbind(self._turns.now)  # what is in flight may still be answered
            self._turns.write_later(connection)

    def abort(self, reason: str) -> None:
        """End the connection at once; what is in flight is uncertain then."""
        if self._connection is not None:
            self._connection.abort(reason)

    # -- events ---------------------------------------------------------------------------------------------

    def handle(self, pdu: Pdu | Notice, frame: bytes, context: object) -> None:
        kind = type(pdu)
        if kind is SubmitSmResp:
            self._unanswered_since = 0.0
            self.silent = False
            if pdu.tlvs:  # type: ignore[union-attr]
                self._note_congestion(pdu)  # type: ignore[arg-type]
            self._pipeline.answered(self, context, pdu.command_status, pdu.message_id)  # type: ignore[arg-type, union-attr]
        elif kind is DeliverSm:
            self._pipeline.delivered(self, self._connection, pdu, frame)  # type: ignore[arg-type]
        else:
            self._handle_rare(pdu, frame, context)

    def _note_congestion(self, response: SubmitSmResp) -> None:
        """What a carrier of SMPP 5.0 says of its own load (§4.8.4.18)."""
        value = response.tlv(_CONGESTION_STATE)
        if value is not None and len(value) == 1:
            self.congestion.congested(value[0], self._turns.now)

    def failed(self, context: object) -> None:
        """What a response meant for its part is unknown."""
        if isinstance(context, Part):
            self._pipeline.unanswered(self, [context], "internal error")

    def _handle_rare(self, pdu: object, frame: bytes, context: object) -> None:
        connection = self._connection
        assert connection is not None
        now = self._turns.now
        match pdu:
            case DataSm():
                self._pipeline.delivered(self, connection, pdu, frame)
            case GenericNack() if isinstance(context, Part):
                self._pipeline.answered(self, context, pdu.command_status, b"")
            case RequestTimedOut() if isinstance(context, Part):
                self._unanswered_since = self._unanswered_since or now - self.config.response_timeout_s
                self._pipeline.unanswered(self, [context], "no response in time")
            case LateResponse(late) if isinstance(context, Part):
                self._unanswered_since = 0.0
                carrier_id = late.message_id if isinstance(late, SubmitSmResp) else b""
                self._pipeline.answered(self, context, late.command_status, carrier_id, late=True)
            case ResponseUnreadable() if isinstance(context, Part):
                self._pipeline.unanswered(self, [context], f"unreadable response: {pdu.reason}")
            case BindTransceiverResp() | BindTransmitterResp() | BindReceiverResp() | GenericNack():
                self._bind_answered(pdu)
            case Unbinding():
                self.can_send = False
            case Unbound():
                self.can_send = False
                connection.close("unbound")
            case Lost():
                self.can_send = False
                connection.close(pdu.reason)
            case Outbind() | AlertNotification():
                pass  # neither has an answer, and neither tells us anything that we act on
            case _:
                logger.warning("unexpected PDU from a carrier", link=self.name, pdu=type(pdu).__name__)

    def _bind_answered(self, answer: Pdu) -> None:
        connection = self._connection
        assert connection is not None
        if not connection.session.bound:
            self._already_bound = answer.command_status == CommandStatus.ESME_RALYBND
            connection.close(f"bind refused: {status_name(answer.command_status)}")
            return
        self.carrier.observed.bind_answer(answer.tlv(_SC_INTERFACE_VERSION), self._turns.now_us)
        self.state = "bound"
        self.detail = connection.peer_name
        self.bound_since = self._turns.now
        self._unanswered_since = 0.0
        self._parked = ""
        self.silent = False
        self.congestion.reset(self._turns.now)
        self.can_send = connection.session.state is not BindState.BOUND_RX and self._kept_up
        self._pipeline.journal.link_event(self, "bound", connection.peer_name)
        self._turns.schedule()

    def closed(self, reason: str) -> None:
        """The transport is gone: whatever was in flight is uncertain now (field lesson 17)."""
        connection = self._connection
        if connection is None:
            return
        parts = [context for context in connection.session.close() if isinstance(context, Part)]
        self._connection = None
        self._unanswered_since = 0.0
        self._down(reason)
        if parts:
            self._pipeline.unanswered(self, parts, reason)
        self._gone.set()
        self._turns.schedule()

    def _down(self, reason: str) -> None:
        self.can_send = False
        self.silent = False
        if self._kept_up:
            self.state = "parked" if self._parked else "down"
            self.detail = self._parked or reason
            self._pipeline.journal.link_event(self, "down", reason)
        else:
            self._rest_drained(reason)
            self._pipeline.journal.link_event(self, "drained", reason)
