"""Applications: the listener, and one :class:`Application` for each connection of theirs.

A bind passes four questions, cheapest first, and fails closed at each: is there such an account, may it bind
from this address, has it sessions left, is the password right.  The password is verified off the loop, since
scrypt takes fifty milliseconds by design.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import structlog

from gateway import password
from gateway.account import Account
from gateway.connection import Connection
from gateway.outbox import Report
from protocol.smpp.codec import encode_body
from protocol.smpp.codes import CommandId, CommandStatus, TlvTag, status_name
from protocol.smpp.operations import BindState, Role
from protocol.smpp.pdu import (
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    DataSmResp,
    DeliverSmResp,
    GenericNack,
    SubmitSm,
)
from protocol.smpp.session import (
    BindRequest,
    Event,
    LateResponse,
    Lost,
    RequestTimedOut,
    ResponseUnreadable,
    Session,
    Unbound,
)
from protocol.smpp.timers import TimerSettings

if TYPE_CHECKING:
    from gateway.config import ListenerConfig
    from gateway.turns import Turns

logger = structlog.get_logger()

# Password checks under way at one time, on as many threads, and those that may wait for one.  Twenty binds a
# second and core; beyond the line a bind is refused, and a client that was meant will try again.
VERIFICATIONS_AT_ONCE = 2
VERIFICATIONS_MAX = 64

# Binds with a wrong password from one address before the next ones are refused unseen for a while.
FAILURES_MAX = 10
FAILURES_FORGOTTEN_S = 60.0

# Connections above sessions_max that are let in, to be told so in a bind response; more are cut at once.
REFUSED_AT_ONCE_MAX = 64

# Connections wait here for accept(2); enough for every application to come back at the same moment.
BACKLOG = 512

_DELIVER_SM = int(CommandId.DELIVER_SM)
_BIND_RESPONSES: dict[type, type] = {
    BindTransmitter: BindTransmitterResp,
    BindReceiver: BindReceiverResp,
    BindTransceiver: BindTransceiverResp,
}
# What we speak, told in sc_interface_version to those who know TLVs.
_INTERFACE_VERSION = 0x50
_FIRST_VERSION_WITH_TLVS = 0x34


class ListenError(Exception):
    """The address of [listener] cannot be listened on.  The text names address, reason and remedy."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(
            f"[listener] cannot listen on {host} port {port}: {reason}: stop the process that has the port"
            " (`ss -ltnp`), or set [listener] host to an address of this machine and another port"
        )


class Messages(Protocol):
    """Where what an application says goes on: the pipeline."""

    def submit(self, application: Application, pdu: SubmitSm, frame: bytes) -> None:
        """It submitted a message."""

    def reported(self, application: Application, report: Report, command_status: int) -> None:
        """It answered a report."""

    def unreported(self, application: Application, reports: list[Report]) -> None:
        """It left reports unanswered."""

    def receiving(self, account: Account) -> None:
        """A session of the account can take reports now."""

    def session_event(self, application: Application, event: str, detail: str) -> None:
        """Something happened to its session."""


class OtherOperations(Protocol):
    """Who serves every request besides bind and submit_sm."""

    def serve(self, application: Application, pdu: object, frame: bytes) -> None:
        """Serve a request of a bound application."""


class Application:
    """One connection of an application, from its first octet to its last."""

    account: Account  # set by a successful bind; nothing but a bind reaches this object before

    def __init__(self, number: int, listener: Listener) -> None:
        self.number = number
        self.name = ""  # the system_id it claims
        self.can_bind = True
        self.connection: Connection
        self._listener = listener
        self._pipeline = listener.pipeline
        self._bound = False
        self._receives = False
        self._takes_tlvs = True

    @property
    def can_receive(self) -> bool:
        """Whether one more report may be sent on this session."""
        connection = self.connection
        session = connection.session
        return (
            self._receives
            and connection.open
            and connection.writable
            and session.bound
            and session.window.free > 0
        )

    def send_report(self, report: Report, now: float) -> None:
        """Send a receipt or reply; its answer comes back to the pipeline with `report`."""
        body = report.body if self._takes_tlvs else report.body[: report.tlvs_at]
        self.connection.session.request(_DELIVER_SM, body, report, now)
        self._listener.turns.write_later(self.connection)

    # -- events ---------------------------------------------------------------------------------------------

    def handle(self, events: list[Event]) -> None:
        pipeline = self._pipeline
        for pdu, frame, context in events:
            kind = type(pdu)
            if kind is SubmitSm:
                pipeline.submit(self, pdu, frame)  # type: ignore[arg-type]
            elif kind is DeliverSmResp:
                pipeline.reported(self, context, pdu.command_status)  # type: ignore[arg-type, union-attr]
            else:
                self._handle_rare(pdu, frame, context)

    def _handle_rare(self, pdu: object, frame: bytes, context: object) -> None:
        match pdu:
            case BindTransmitter() | BindReceiver() | BindTransceiver():
                self._listener.bind(self, pdu)
            case DataSmResp() | GenericNack() if isinstance(context, Report):
                self._pipeline.reported(self, context, pdu.command_status)
            case LateResponse(late) if isinstance(context, Report):
                self._pipeline.reported(self, context, late.command_status)
            case ResponseUnreadable() | RequestTimedOut() if isinstance(context, Report):
                self._pipeline.unreported(self, [context])
            case Unbound():
                self.connection.close("unbound")
            case Lost():
                self.connection.close(pdu.reason)
            case GenericNack():
                logger.warning("generic_nack from an application", account=self.name, session=self.number)
            case _:
                self._listener.other_operations.serve(self, pdu, frame)

    # -- bind and end ---------------------------------------------------------------------------------------

    def accept(self, account: Account, request: BindRequest) -> None:
        """The bind is granted."""
        session = self.connection.session
        self.account = account
        self._bound = True
        self._takes_tlvs = request.interface_version >= _FIRST_VERSION_WITH_TLVS
        tlvs = ((int(TlvTag.SC_INTERFACE_VERSION), bytes((_INTERFACE_VERSION,))),) if self._takes_tlvs else ()
        response = _BIND_RESPONSES[type(request)](system_id=self._listener.system_id, tlvs=tlvs)
        session.unanswered_max = account.config.window
        session.window.size_max = account.config.report_window
        session.accept_bind(request, encode_body(response), self._listener.turns.begin())
        self._receives = session.state is not BindState.BOUND_TX
        account.sessions.append(self)
        self._pipeline.session_event(self, "bound", type(request).__name__)
        self._pipeline.receiving(account)
        self.connection.flush()

    def refuse(self, request: BindRequest, command_status: int, reason: str) -> None:
        """The bind is not granted."""
        self._pipeline.session_event(self, "refused", reason)
        self.connection.session.refuse_bind(request, command_status)
        self.connection.flush()

    def closed(self, reason: str) -> None:
        """The transport is gone: what it had not answered goes to another session."""
        self._listener.applications.discard(self)
        self._receives = False
        contexts = self.connection.session.close()
        if not self._bound:
            logger.info("ended before a bind", peer=self.connection.peer_name, reason=reason)
            return
        self._bound = False
        self.account.sessions.remove(self)
        self._pipeline.session_event(self, "ended", reason)
        reports = [context for context in contexts if isinstance(context, Report)]
        if reports:
            self._pipeline.unreported(self, reports)


class Listener:
    """Accepts applications on one address."""

    def __init__(
        self,
        config: ListenerConfig,
        gateway_name: str,
        accounts: dict[str, Account],
        pipeline: Messages,
        other_operations: OtherOperations,
        turns: Turns,
    ) -> None:
        self.system_id = gateway_name[:15].encode()
        self.applications: set[Application] = set()
        self.accounts = accounts
        self.pipeline = pipeline
        self.other_operations = other_operations
        self.turns = turns
        self._config = config
        self._server: asyncio.Server | None = None
        self._sessions = 0
        self._verifiers = ThreadPoolExecutor(VERIFICATIONS_AT_ONCE, "scrypt")
        self._verifying = 0
        self._failures: dict[str, tuple[int, float]] = {}

    @property
    def open(self) -> bool:
        """Whether applications can connect."""
        return self._server is not None and self._server.is_serving()

    async def start(self) -> None:
        """Listen; ListenError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        host, port = self._config.host, self._config.port
        try:
            self._server = await loop.create_server(self._make_connection, host, port, backlog=BACKLOG)
        except OSError as error:
            raise ListenError(host, port, error) from error

    def _make_connection(self) -> Connection:
        self._sessions += 1
        application = Application(self._sessions, self)
        config = self._config
        session = Session(
            Role.MC,
            self.turns.begin(),
            window_max=1,
            unanswered_max=1,  # one bind at a time, until it is granted
            timer_settings=TimerSettings(
                bind_s=config.bind_timeout_s,
                enquire_link_s=config.enquire_link_s,
                inactivity_s=config.inactivity_s,
            ),
        )
        connection = Connection(session, self.turns, carrier=False)
        connection.peer = application
        application.connection = connection
        self.applications.add(application)
        if len(self.applications) > config.sessions_max + REFUSED_AT_ONCE_MAX:
            connection.unwelcome = "too many connections"
        elif len(self.applications) > config.sessions_max:
            application.can_bind = False
        return connection

    def tick(self, now: float) -> None:
        """Let the sessions' timers run."""
        for application in list(self.applications):
            application.connection.tick(now)

    # -- bind -----------------------------------------------------------------------------------------------

    def bind(self, application: Application, request: BindRequest) -> None:
        """Judge a bind request; the password last, and on another thread."""
        application.name = request.system_id.decode("ascii", "replace")
        account = self.accounts.get(application.name)
        address = application.connection.peer_name.rpartition(":")[0]
        if not application.can_bind:
            application.refuse(request, CommandStatus.ESME_RBINDFAIL, "the gateway has no session left")
        elif account is None:
            application.refuse(request, CommandStatus.ESME_RINVSYSID, "no such account")
        elif not account.config.networks.admits(address):
            application.refuse(request, CommandStatus.ESME_RBINDFAIL, "address not in the account's networks")
        elif len(account.sessions) >= account.config.sessions_max:
            application.refuse(request, CommandStatus.ESME_RALYBND, "the account has no session left")
        elif (
            account.draining
            or self._failures_of(address) >= FAILURES_MAX
            or self._verifying >= VERIFICATIONS_MAX
        ):
            application.refuse(request, CommandStatus.ESME_RBINDFAIL, "not now")
        else:
            self._verifying += 1
            loop = asyncio.get_running_loop()
            future = self._verifiers.submit(password.verify, account.config.password_hash, request.password)
            future.add_done_callback(
                lambda done: loop.call_soon_threadsafe(self._verified, application, account, request, done)
            )

    def _verified(
        self, application: Application, account: Account, request: BindRequest, done: Future[bool]
    ) -> None:
        self._verifying -= 1
        session = application.connection.session
        if session.state is not BindState.BINDING:
            return  # the connection ended while we looked
        address = application.connection.peer_name.rpartition(":")[0]
        if not done.result():
            count, _ = self._failures.get(address, (0, 0.0))
            self._failures[address] = (count + 1, self.turns.begin())
            application.refuse(
                request, CommandStatus.ESME_RINVPASWD, status_name(CommandStatus.ESME_RINVPASWD)
            )
        elif len(account.sessions) >= account.config.sessions_max:  # others came in meanwhile
            application.refuse(request, CommandStatus.ESME_RALYBND, "the account has no session left")
        else:
            self._failures.pop(address, None)
            application.accept(account, request)

    def _failures_of(self, address: str) -> int:
        count, last = self._failures.get(address, (0, 0.0))
        if count and self.turns.now - last > FAILURES_FORGOTTEN_S:
            del self._failures[address]
            return 0
        return count

    # -- end ------------------------------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Take no new connection; those that are there stay."""
        if self._server is not None:
            self._server.close()

    def unbind_all(self) -> None:
        """Ask every application to unbind."""
        now = self.turns.begin()
        for application in list(self.applications):
            if application.connection.session.bound:
                application.connection.session.unbind(now)
                application.connection.flush()
            else:
                application.connection.close("stopping")

    def close(self) -> None:
        """Close what is left; a peer that does not read would hold an orderly close for ever."""
        for application in list(self.applications):
            application.connection.abort("stopping")
        self._verifiers.shutdown(wait=False, cancel_futures=True)
