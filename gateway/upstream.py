"""Applications: the listener, and one :class:`Application` for each connection of theirs.

A bind passes four questions, cheapest first, and fails closed at each: is there such an account, may it bind
from this address, has it sessions left, is the password right.  The password is verified off the loop, since
scrypt takes fifty milliseconds by design.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from struct import Struct
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
    Pdu,
    SubmitSm,
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
    from gateway.config import ListenerConfig
    from gateway.journal import Journal
    from gateway.reporting import Reporting
    from gateway.turns import Turns

logger = structlog.get_logger()

# Password checks under way at one time, on as many threads, and those that may wait for one.  Twenty binds a
# second and core; beyond the line a bind is refused, and a client that was meant will try again.
VERIFICATIONS_AT_ONCE = 2
VERIFICATIONS_MAX = 64

# Binds with a wrong password to one account from one address before the next ones are refused unseen for a
# while.  By both: one application of a shared address must not lock out its neighbours.
FAILURES_MAX = 10
FAILURES_FORGOTTEN_S = 60.0

# Pairs of address and account whose failures are remembered, some 200 bytes each; then the oldest goes.  Two
# threads of scrypt look at 40 passwords a second, so it takes minutes to fill and a minute to be forgotten.
FAILURES_KEPT_MAX = 10_000

# Connections that have not bound.  They have seats of their own, so that strangers take none of the
# applications'; every application may come back at once, and the scrypt threads keep none for longer than
# the bind timer.
UNBOUND_MAX = 256

# Of these, those that a stranger may take, from an address in no account's networks: it is let in to be told
# ESME_RBINDFAIL, and cannot keep the seats from those who may bind.
STRANGERS_MAX = 64

# Times response_s without an answer to any report after which a session counts as dead (field lesson 21).
SILENT_ROUNDS_MAX = 3

# How long an application may take to answer a report or an enquire_link: a busy one takes a second.
RESPONSE_S = 10.0

# Connections wait here for accept(2); enough for every application to come back at the same moment.  The
# socket unit of systemd says the same, since they wait there too while no gateway runs.
BACKLOG = 512

# How long an account that is dismissed may take to hear the answers to what it has submitted, one in
# transaction mode being given up after eight seconds, and to take the reports that are ready for it, of which
# it hears the others when it comes back.
LAST_ANSWERS_S = 10.0
LAST_REPORTS_S = 3.0

_DELIVER_SM = int(CommandId.DELIVER_SM)
_BIND_RESPONSES: dict[type, type] = {
    BindTransmitter: BindTransmitterResp,
    BindReceiver: BindReceiverResp,
    BindTransceiver: BindTransceiverResp,
}
# What we speak, told in sc_interface_version to those who know TLVs.
_INTERFACE_VERSION = 0x50
_CONGESTION_TLV = Struct(">HHB")
_FIRST_VERSION_WITH_TLVS = 0x34


class ListenError(Exception):
    """The address of [listener] cannot be listened on.  The text names address, reason and remedy."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(
            f"[listener] cannot listen on {host} port {port}: {reason}: stop the process that has the port"
            " (`ss -ltnp`), or set [listener] host to an address of this machine and another port"
        )


# The address from which an account was tried, and its name.
Suspect = tuple[str, str]


def _suspect(application: Application) -> Suspect:
    return application.connection.peer_address, application.name


class Messages(Protocol):
    """Where what an application says goes on: the pipeline.

    reporting: what it makes of its reports.  journal: what happens to its sessions.
    """

    reporting: Reporting
    journal: Journal

    def submit(self, application: Application, pdu: SubmitSm, frame: bytes) -> None:
        """It submitted a message."""


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
        self.connection: Connection
        self._listener = listener
        self._pipeline = listener.pipeline
        self._bound = False
        self._receives = False
        self._takes_tlvs = True
        self._takes_congestion = False
        # What follows the message id in a response: its NUL, and for SMPP 5.0 the TLV congestion_state.
        self.end_of_answer = b"\0"
        self._silent_since = 0.0  # since when no report was answered; 0: the last one was

    @property
    def receives(self) -> bool:
        """Whether it was bound to take reports, and has not said that it leaves."""
        return self._receives

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

    def connected(self, connection: Connection) -> None:
        """Cut at once whoever could not bind anyway; it gets no answer to learn from."""
        unwelcome = self._listener.unwelcome(connection.peer_address)
        if unwelcome:
            connection.abort(unwelcome)

    def handle(self, pdu: Pdu | Notice, frame: bytes, context: object) -> None:
        kind = type(pdu)
        if kind is SubmitSm:
            self._pipeline.submit(self, pdu, frame)  # type: ignore[arg-type]
        elif kind is DeliverSmResp:
            self._silent_since = 0.0
            self._pipeline.reporting.reported(self, context, pdu.command_status)  # type: ignore[arg-type, union-attr]
        else:
            self._handle_rare(pdu, frame, context)

    def failed(self, context: object) -> None:
        """Whether a report was taken is unknown: it is offered again."""
        if isinstance(context, Report):
            self._pipeline.reporting.unreported(self, [context])

    def _handle_rare(self, pdu: object, frame: bytes, context: object) -> None:
        match pdu:
            case BindTransmitter() | BindReceiver() | BindTransceiver():
                self._listener.bind(self, pdu)
            case DataSmResp() | GenericNack() if isinstance(context, Report):
                self._pipeline.reporting.reported(self, context, pdu.command_status)
            case LateResponse(late) if isinstance(context, Report):
                self._silent_since = 0.0
                self._pipeline.reporting.reported(self, context, late.command_status)
            case ResponseUnreadable() if isinstance(context, Report):
                self._pipeline.reporting.unreported(self, [context])
            case RequestTimedOut() if isinstance(context, Report):
                self._pipeline.reporting.report_timed_out(self, context)
                self._note_silence()
            case Unbinding():
                self._receives = False
            case Unbound():
                self.connection.close("unbound")
            case Lost():
                self.connection.close(pdu.reason)
            case GenericNack():
                logger.warning("generic_nack from an application", account=self.name, session=self.number)
            case _:
                self._listener.other_operations.serve(self, pdu, frame)

    def tell_congestion(self, state: int) -> None:
        """From now on its responses say how busy the gateway is (SMPP 5.0 §4.8.4.18): 0 to 100."""
        if self._takes_congestion:
            self.end_of_answer = b"\0" + _CONGESTION_TLV.pack(TlvTag.CONGESTION_STATE, 1, state)

    def _note_silence(self) -> None:
        """End a session that lives and answers no report."""
        now = self._listener.turns.now
        self._silent_since = self._silent_since or now - RESPONSE_S
        limit_s = SILENT_ROUNDS_MAX * RESPONSE_S
        if now - self._silent_since >= limit_s:
            self.connection.close(f"no answer to any report for {limit_s:.0f} s")

    # -- bind and end ---------------------------------------------------------------------------------------

    def accept(self, account: Account, request: BindRequest) -> None:
        """The bind is granted."""
        session = self.connection.session
        self.account = account
        self._bound = True
        self._takes_tlvs = request.interface_version >= _FIRST_VERSION_WITH_TLVS
        self._takes_congestion = request.interface_version >= _INTERFACE_VERSION
        tlvs = ((int(TlvTag.SC_INTERFACE_VERSION), bytes((_INTERFACE_VERSION,))),) if self._takes_tlvs else ()
        response = _BIND_RESPONSES[type(request)](system_id=self._listener.system_id, tlvs=tlvs)
        session.unanswered_max = account.config.window
        session.window.size_max = account.config.report_window
        session.accept_bind(request, encode_body(response), self._listener.turns.begin())
        self._receives = session.state is not BindState.BOUND_TX
        account.sessions.append(self)
        self._listener.bound += 1
        self._pipeline.journal.session_event(self, "bound", type(request).__name__)
        self._pipeline.reporting.receiving(account)
        self.connection.flush()

    def refuse(self, request: BindRequest, command_status: int, reason: str) -> None:
        """The bind is not granted."""
        self._pipeline.journal.session_event(self, "refused", reason)
        self.connection.session.refuse_bind(request, command_status)
        self.connection.flush()

    def closed(self, reason: str) -> None:
        """The transport is gone: what it had not answered goes to another session."""
        self._listener.applications.discard(self)
        self._receives = False
        contexts = self.connection.session.close()
        if not self._bound:
            self._listener.note_unbound_end(self.connection.peer_name, reason)
            return
        self._bound = False
        self._listener.bound -= 1
        self.account.sessions.remove(self)
        self._pipeline.journal.session_event(self, "ended", reason)
        reports = [context for context in contexts if isinstance(context, Report)]
        if reports:
            self._pipeline.reporting.unreported(self, reports)


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
        self.bound = 0  # of the applications
        self._sessions = 0
        self._unbound_ends = 0  # connections that ended before a bind, since the last tick
        self._last_unbound_end = "", ""
        self._verifiers = ThreadPoolExecutor(VERIFICATIONS_AT_ONCE, "scrypt")
        self._verifying = 0
        self._failures: dict[Suspect, tuple[int, float]] = {}  # how many, and the last; oldest first
        self._leaving: dict[Account, float] = {}  # accounts that were dismissed, and since when

    @property
    def open(self) -> bool:
        """Whether applications can connect."""
        return self._server is not None and self._server.is_serving()

    @property
    def verifying(self) -> bool:
        """Whether the password of a bind is being looked at."""
        return self._verifying > 0

    async def start(self, inherited: socket.socket | None = None) -> None:
        """Listen; ListenError if the address cannot be had.

        `inherited`: a socket that listens there already, for whoever starts us (gateway/activation.py); it is
        the listener's from now on.
        """
        loop = asyncio.get_running_loop()
        if inherited is not None:
            self._server = await loop.create_server(self._make_connection, sock=inherited, backlog=BACKLOG)
            return
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
                response_s=RESPONSE_S,
                inactivity_s=config.inactivity_s,
            ),
        )
        connection = Connection(session, self.turns, carrier=False)
        connection.peer = application
        application.connection = connection
        self.applications.add(application)
        return connection

    def unwelcome(self, address: str) -> str:
        """The reason for which a new connection, counted already, is cut; empty if it may try to bind."""
        unbound = len(self.applications) - self.bound
        if unbound > UNBOUND_MAX:
            return "too many connections that have not bound"
        if unbound > STRANGERS_MAX and not self._knows(address):
            return "address in no account's networks"
        return ""

    def _knows(self, address: str) -> bool:
        return any(account.config.networks.admits(address) for account in self.accounts.values())

    def apply(self, account: Account) -> None:
        """The account's configuration has changed: let its sessions go on under it, or end where they may no
        longer be."""
        config = account.config
        for application in self._sessions_of(account):
            if not config.networks.admits(application.connection.peer_address):
                application.connection.close("address no longer in the account's networks")
                continue
            session = application.connection.session
            session.unanswered_max = config.window
            session.window.size_max = config.report_window

    def dismiss(self, account: Account) -> None:
        """Take nothing more of an account, and unbind its sessions: by a tick, once they have heard what is
        there for them.  What clears `account.draining` before that ends it."""
        account.draining = True
        self._leaving[account] = self.turns.begin()

    def is_leaving(self, account: Account) -> bool:
        """Whether an account that was dismissed still has a session."""
        return account in self._leaving

    def _see_off(self, account: Account, waited_s: float) -> None:
        """Unbind the sessions of an account if nothing is there for them, or they have had their time."""
        sessions = self._sessions_of(account)
        if not sessions or not account.draining:
            del self._leaving[account]
            return
        outbox = account.outbox
        unanswered = any(session.connection.session.unanswered for session in sessions)
        unread = (outbox.ready or outbox.in_flight) and any(session.receives for session in sessions)
        if (unanswered and waited_s < LAST_ANSWERS_S) or (unread and waited_s < LAST_REPORTS_S):
            return
        for session in sessions:
            if session.connection.session.bound:
                session.connection.session.unbind(self.turns.now)
                self.turns.write_later(session.connection)

    def _sessions_of(self, account: Account) -> list[Application]:
        return [each for each in self.applications if each in account.sessions]

    def tell_congestion(self, state: int) -> None:
        """How busy the gateway is, 0 to 100, for the responses to all who can read it."""
        for application in self.applications:
            application.tell_congestion(state)

    def note_unbound_end(self, peer: str, reason: str) -> None:
        """A connection ended before a bind.  Said once a tick: a flood of them must not fill the log."""
        self._unbound_ends += 1
        self._last_unbound_end = peer, reason

    def tick(self, now: float) -> None:
        """Let the sessions' timers run, and forget what is over."""
        for application in list(self.applications):
            application.connection.tick(now)
        for account, since in list(self._leaving.items()):
            self._see_off(account, now - since)
        while self._failures:
            suspect, (_, last) = next(iter(self._failures.items()))
            if now - last <= FAILURES_FORGOTTEN_S:
                break
            del self._failures[suspect]
        if self._unbound_ends:
            peer, reason = self._last_unbound_end
            logger.info("ended before a bind", connections=self._unbound_ends, last=peer, reason=reason)
            self._unbound_ends = 0

    # -- bind -----------------------------------------------------------------------------------------------

    def bind(self, application: Application, request: BindRequest) -> None:
        """Judge a bind request; the password last, and on another thread."""
        application.name = request.system_id.decode("ascii", "replace")
        account = self.accounts.get(application.name)
        refusal = self._refusal(account, application)
        if refusal is not None:
            application.refuse(request, *refusal)
        elif self._failures_of(_suspect(application)) >= FAILURES_MAX or self._verifying >= VERIFICATIONS_MAX:
            application.refuse(request, CommandStatus.ESME_RBINDFAIL, "not now")
        else:
            assert account is not None
            self._verifying += 1
            loop = asyncio.get_running_loop()
            line = account.config.password_hash
            future = self._verifiers.submit(password.verify, line, request.password)
            future.add_done_callback(
                lambda done: loop.call_soon_threadsafe(self._verified, application, line, request, done)
            )

    def _refusal(self, account: Account | None, application: Application) -> tuple[CommandStatus, str] | None:
        """Why a bind is refused whatever its password; None if that decides."""
        if self.bound >= self._config.sessions_max:
            return CommandStatus.ESME_RBINDFAIL, "the gateway has no session left"
        if account is None:
            return CommandStatus.ESME_RINVSYSID, "no such account"
        if account.draining:
            return CommandStatus.ESME_RBINDFAIL, "the account is drained"
        if not account.config.networks.admits(application.connection.peer_address):
            return CommandStatus.ESME_RBINDFAIL, "address not in the account's networks"
        if len(account.sessions) >= account.config.sessions_max:
            return CommandStatus.ESME_RALYBND, "the account has no session left"
        return None

    def _verified(
        self, application: Application, line: str, request: BindRequest, done: Future[bool]
    ) -> None:
        """``line``: the hash line that the password was compared with."""
        self._verifying -= 1
        if application.connection.session.state is not BindState.BINDING:
            return  # the connection ended while we looked
        if not done.result():
            self._note_failure(_suspect(application))
            application.refuse(
                request, CommandStatus.ESME_RINVPASWD, status_name(CommandStatus.ESME_RINVPASWD)
            )
            return
        # Meanwhile others came in, and the account may have been drained, changed or removed.
        account = self.accounts.get(application.name)
        refusal = self._refusal(account, application)
        if refusal is not None:
            application.refuse(request, *refusal)
            return
        assert account is not None
        if account.config.password_hash != line:
            self.bind(application, request)
            return
        self._failures.pop(_suspect(application), None)
        application.accept(account, request)

    def _note_failure(self, suspect: Suspect) -> None:
        count, _ = self._failures.pop(suspect, (0, 0.0))
        if len(self._failures) >= FAILURES_KEPT_MAX:
            del self._failures[next(iter(self._failures))]
        self._failures[suspect] = (count + 1, self.turns.begin())

    def _failures_of(self, suspect: Suspect) -> int:
        count, last = self._failures.get(suspect, (0, 0.0))
        return count if self.turns.now - last <= FAILURES_FORGOTTEN_S else 0

    # -- end ------------------------------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Take no new connection; those that are there stay.

        Our descriptor of the listening socket is closed at once, and not shut down.  Where that was the last
        one, the kernel refuses who comes next, and resets whom nobody has accepted.  Where systemd has
        another, both wait in the queue for the next gateway.
        """
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
