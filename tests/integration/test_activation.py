"""Restarts with a listening socket that whoever starts the gateway holds, as systemd: nobody is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from gateway.upstream import BACKLOG
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import BindTransceiver, Pdu, Unbind
from tests.integration.application import Application, submit_sm
from tests.integration.traffic import APPLICATIONS, Traffic
from tests.integration.world import HOST, PASSWORD, REPOSITORY, START_S, SYSTEM_ID, World, until

ROK = CommandStatus.ESME_ROK

RESTARTS: Final = 3
MESSAGES: Final = 200  # by all applications, between two restarts
SESSION_MESSAGES: Final = 10  # then it unbinds and comes again

# Between fork and exec systemd makes the socket number 3, and names the process that it is meant for.
_LAUNCHER: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class ActivatedWorld(World):
    """A world that listens for its gateway, from its construction to its end."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, {"account": {"sessions_max": 64}})
        self.held = socket.create_server((HOST, self.port), backlog=BACKLOG)

    def start(self, *, ready: bool = True) -> None:
        self.launch()
        until("the gateway is ready", lambda: self._alive() and self.readiness()[0 if ready else 1], START_S)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, without waiting."""
        self.write_config()
        descriptor = self.held.fileno()
        self._log = self.log_file.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, str(descriptor), *self._command("gateway")],
            cwd=REPOSITORY,
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smpp"},
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        return self._process

    def fail_to_start(self) -> int:
        """The exit status of a gateway that ends by itself."""
        status = self.launch().wait(START_S)
        self._forget()
        return status

    def end(self) -> None:
        with self.held:
            super().end()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ActivatedWorld]:
    world = ActivatedWorld(tmp_path)
    with world:
        yield world


# How a connection may end, as the application sees it. One that had not bound when the gateway stopped is
# closed, and comes again. Whoever is refused or reset, or waits for an answer in vain, is not among these.
UNBOUND: Final = "unbound"
UNBOUND_BY_GATEWAY: Final = "unbound by the gateway"
NOT_BOUND: Final = "no bind: closed by the gateway"


class Visitor(Application):
    """An application that says nothing more once it has been asked to unbind."""

    asked_to_unbind = False

    def receive(self) -> Pdu:
        pdu = super().receive()
        self.asked_to_unbind |= isinstance(pdu, Unbind)
        return pdu


class Visitors(Traffic):
    """They bind, submit, unbind and come again."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.binds = 0
        self.ends: Counter[str] = Counter()  # of connections

    def _work(self, number: int) -> None:
        while not self._stop.is_set():
            end = self._visit(number)
            with self._lock:
                self.ends[end] += 1

    def _visit(self, number: int) -> str:
        """One connection, from connect to close; returns how it ended."""
        doing = "connection"
        try:
            application = Visitor(self._port, START_S)
            with application:
                doing = "bind"
                if (status := application.bind()) != ROK:
                    return f"no bind: {status.name}"
                with self._lock:
                    self.binds += 1
                try:
                    doing = "answer"
                    return self._submit(application, number)
                finally:
                    with self._lock:
                        self.receipts.update(application.receipts())
        except OSError as error:
            return f"no {doing}: {error}"

    def _submit(self, application: Visitor, number: int) -> str:
        for _ in range(SESSION_MESSAGES):
            response = application.submit(submit_sm(number))
            if response.command_status == ROK:  # and not while the gateway drains
                with self._lock:
                    self.accepted.append(response.message_id)
            if application.asked_to_unbind:
                return UNBOUND_BY_GATEWAY if application.closed_by_gateway() else "not closed"
        application.send(Unbind())  # which that of the gateway may cross
        return UNBOUND if application.closed_by_gateway() else "not closed"


def test_restarts_under_traffic(world: ActivatedWorld) -> None:
    """Each message that was accepted is sent once and has its receipt, whichever gateway hears of it."""
    world.start()
    with Visitors(world.port) as traffic:
        for _ in range(RESTARTS):
            traffic.await_more(MESSAGES)
            world.stop()
            world.start()  # meanwhile all applications have come back, and wait
        traffic.await_more(MESSAGES)
    assert set(traffic.ends) <= {UNBOUND, UNBOUND_BY_GATEWAY, NOT_BOUND}
    assert traffic.ends[UNBOUND] + traffic.ends[UNBOUND_BY_GATEWAY] == traffic.binds
    accepted = set(traffic.accepted)
    assert len(traffic.accepted) == len(accepted)
    with Application(world.port) as application:  # hears what was left when the last of them unbound
        assert application.bind() == ROK
        while (heard := traffic.receipts.union(application.receipts())) < accepted:
            application.receive()
        assert heard == accepted
        application.unbind()
    assert world.carrier.report().submits == len(accepted)
    report = world.stop()
    assert (report.accepted, report.open) == (len(accepted), 0)
    assert report.outcomes == {"delivered": len(accepted)}


def test_who_comes_while_no_gateway_runs_is_served_by_the_next(world: ActivatedWorld) -> None:
    world.start()
    world.stop()
    bind = BindTransceiver(system_id=SYSTEM_ID.encode(), password=PASSWORD.encode(), interface_version=0x34)
    with ExitStack() as stack:
        applications = [stack.enter_context(Application(world.port, START_S)) for _ in range(APPLICATIONS)]
        for application in applications:
            application.send(bind)
        world.start()
        assert [application.receive().command_status for application in applications] == [ROK] * APPLICATIONS
        ids = [application.submit(submit_sm()).message_id for application in applications]
        assert len(set(ids)) == APPLICATIONS


def test_a_socket_elsewhere_than_configured_ends_the_start(world: ActivatedWorld) -> None:
    held, said = world.port, world.port + 1
    world.tables["listener"]["port"] = said
    assert world.fail_to_start() == 1
    assert world.log().splitlines()[-1] == (
        f"jingxin: systemd listens on {HOST} port {held}, and [listener] says {HOST} port {said}:"
        " give ListenStream= and [listener] the same, as an address and not as a name"
    )


def test_who_binds_while_it_stops_is_answered(world: ActivatedWorld) -> None:
    """Passwords take their time; whoever waits for his is told, and only then asked to go."""
    world.start()
    bind = BindTransceiver(system_id=SYSTEM_ID.encode(), password=PASSWORD.encode(), interface_version=0x34)
    with ExitStack() as stack:
        applications = [stack.enter_context(Application(world.port)) for _ in range(2 * APPLICATIONS)]
        for application in applications:
            application.send(bind)
        assert applications[0].receive().command_status == ROK
        world.terminate()
        for application in applications[1:]:
            assert application.receive().command_status == ROK
        # Together: each waits for the others.
        assert [type(application.receive()) for application in applications] == [Unbind] * len(applications)
    world.stop()
