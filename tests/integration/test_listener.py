"""Peers that are slow, mute, greedy, or speak another language, each beside an application that is served."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from protocol.smpp.codec import HEADER, encode
from protocol.smpp.codes import CommandId, CommandStatus
from protocol.smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter, EnquireLink
from tests.fuzz import fuzz_listener
from tests.integration.application import Application, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.world import HOST, PASSWORD, SYSTEM_ID, Table, World, until

ROK = CommandStatus.ESME_ROK
BIND_TIMEOUT_S = 0.8
# A tick of the gateway, and a machine that is busy.
SLACK_S = 3.0

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(64))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    changes: dict[str, Table] = {
        "listener": {"bind_timeout_s": BIND_TIMEOUT_S},
        "account": {"sessions_max": 16},
    }
    with World(tmp_path_factory.mktemp("world"), changes) as world:
        world.start()
        yield world


@pytest.fixture
def honest(world: World) -> Iterator[Application]:
    """Submits before and after, and must not notice what happens between."""
    with Application(world.port) as application:
        assert application.bind() == ROK
        ids = application.submit_all(submit_sm(number) for number in range(50))
        yield application
        ids += application.submit_all(submit_sm(number) for number in range(50))
        application.await_deliveries(100)
        assert sorted(application.receipts()) == sorted(ids)
        application.unbind()


@pytest.mark.parametrize("seed", [1, 2])
def test_mutations_and_noise(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """The short form of tests/fuzz/fuzz_listener.py, whose promise stands there."""
    with fuzz_listener.make_world(tmp_path_factory.mktemp("world")) as world:
        verdicts = fuzz_listener.run(world, 2500, seed)
    assert verdicts.honest_submits > 100
    assert verdicts.answered > verdicts.closed > 0


@pytest.mark.usefixtures("honest")
@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        TLS_HELLO,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        HEADER.pack(15, CommandId.ENQUIRE_LINK, 0, 1),
        HEADER.pack(0, CommandId.ENQUIRE_LINK, 0, 1),
        HEADER.pack(65_537, CommandId.SUBMIT_SM, 0, 1),
        b"\xff\xff\xff\xff",
        b"\x00\x01\x00\x01",  # four octets are enough to know
    ],
    ids=["http", "tls", "ssh", "length 15", "length 0", "length 65537", "all ones", "only a length"],
)
def test_another_language_is_closed_at_once(world: World, octets: bytes, bound: bool) -> None:
    with Application(world.port) as application:
        if bound:
            assert application.bind() == ROK
        began = time.monotonic()
        application.socket.sendall(octets)
        assert application.closed_by_gateway()
        assert time.monotonic() - began < BIND_TIMEOUT_S, "that was the bind timer"


@pytest.mark.usefixtures("honest")
@pytest.mark.parametrize(
    "octets",
    [b"", b"\0", b"\0\0\0", HEADER.pack(40, CommandId.BIND_TRANSCEIVER, 0, 1), encode(EnquireLink())],
    ids=["nothing", "an octet", "three octets", "half a bind", "an enquiry"],
)
def test_who_does_not_bind_is_closed_in_time(world: World, octets: bytes) -> None:
    with Application(world.port) as application:
        began = time.monotonic()
        application.socket.sendall(octets)
        assert application.closed_by_gateway()
        assert BIND_TIMEOUT_S <= time.monotonic() - began < BIND_TIMEOUT_S + SLACK_S


def drip(application: Application, octets: bytes, pause_s: float) -> None:
    for octet in octets:
        application.socket.sendall(bytes([octet]))
        time.sleep(pause_s)


@pytest.mark.usefixtures("honest")
def test_one_octet_at_a_time(world: World) -> None:
    bind = encode(BindTransceiver(1, 0, SYSTEM_ID.encode(), PASSWORD.encode(), interface_version=0x34))
    with Application(world.port) as application:
        # A bind that takes longer than the gateway waits for one.
        pause_s = 2 * BIND_TIMEOUT_S / len(bind)
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            drip(application, bind * 2, pause_s)
        assert time.monotonic() - began < BIND_TIMEOUT_S + SLACK_S
    with Application(world.port) as application:
        assert application.bind() == ROK
        pdu = submit_sm(9)
        pdu.sequence_number = 99
        drip(application, encode(pdu), 0.001)  # slow is no offence once somebody is known
        application.await_deliveries(1)
        assert len(application.receipts()) == 1
        application.unbind()


@pytest.mark.usefixtures("honest")
def test_a_peer_that_never_reads(world: World) -> None:
    """It sends as long as the gateway takes it: that must end soon, and cost little memory."""
    before_mib = world.rss_mib()
    with Application(world.port) as application:
        assert application.bind(BindTransmitter) == ROK
        application.socket.setblocking(False)
        # Refused, so that the gateway has no reason of its own to go slowly; a response has 17 octets.
        request = encode(submit_sm(1, source="1"))[:12]
        flood = b"".join(
            request + number.to_bytes(4, "big") + encode(submit_sm(1, source="1"))[16:]
            for number in range(2000)
        )
        sent = 0
        stalled_since = time.monotonic()
        while time.monotonic() - stalled_since < 0.5:
            try:
                sent += application.socket.send(flood[sent % len(flood) :])
                stalled_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            assert sent < 512 << 20, "the gateway reads on and on"
        assert world.rss_mib() - before_mib < 32
        with Application(world.port) as other:
            assert other.bind() == ROK
            other.submit_all([submit_sm(receipt=False)])
            other.unbind()


@pytest.mark.usefixtures("honest")
def test_a_peer_that_never_reads_and_takes_its_time(world: World) -> None:
    """Small writes with a pause between: each has a turn of its own, and none is answered for ever."""
    with Application(world.port) as application:
        assert application.bind(BindTransmitter) == ROK
        before_mib = world.rss_mib()
        application.socket.setblocking(False)
        chunk = encode(EnquireLink(7)) * 1024
        sent = 0
        stalled_since = time.monotonic()
        while time.monotonic() - stalled_since < 0.5:
            try:
                sent += application.socket.send(chunk[sent % len(chunk) :])
                stalled_since = time.monotonic()
            except BlockingIOError:
                pass
            time.sleep(0.001)
            assert sent < 64 << 20, "the gateway reads on and on"
        assert world.rss_mib() - before_mib < 16


def test_receipts_find_their_way_round_a_session_that_never_reads(world: World) -> None:
    with Application(world.port) as deaf, Application(world.port) as other:
        assert deaf.bind(BindReceiver) == ROK
        assert other.bind() == ROK
        ids = other.submit_all(submit_sm(number) for number in range(1000))
        # The deaf session holds a window of them, until it ends.
        other.await_deliveries(900)
        assert other.hears_nothing()
        deaf.close()
        other.await_deliveries(1000)
        assert sorted(other.receipts()) == sorted(ids)
        other.unbind()


def test_a_flood_of_connections(make_world: MakeWorld) -> None:
    world = make_world(
        {"listener": {"sessions_max": 5, "bind_timeout_s": BIND_TIMEOUT_S}, "account": {"sessions_max": 100}}
    )
    world.start()
    served = [Application(world.port) for _ in range(5)]
    assert [application.bind() for application in served] == [ROK] * 5
    with Application(world.port) as late:
        assert late.bind() == CommandStatus.ESME_RBINDFAIL
    flood: list[socket.socket] = []
    began = time.monotonic()
    while len(flood) < 1000:
        flood.append(socket.create_connection((HOST, world.port), timeout=5))
    for application in served:
        application.submit_all(submit_sm(number, receipt=False) for number in range(20))
    for stranger in flood:
        stranger.settimeout(SLACK_S)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
        stranger.close()
    assert time.monotonic() - began < 10
    served.pop().unbind()
    until("a place is free again", lambda: _binds(world))
    for application in served:
        application.close()


def _binds(world: World) -> bool:
    with Application(world.port) as application:
        if application.bind() != ROK:
            return False
        application.unbind()
        return True
