"""The order and the bounds of a turn: carriers first, nobody for too long, one write each."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gateway.commitment import PENDING_MAX
from gateway.connection import BUFFER_MAX, Connection
from gateway.turns import APPLICATION_FRAMES, CARRIER_FRAMES, PRESSURE_RETRY_S, every
from protocol.smpp.codec import encode
from protocol.smpp.operations import BindState, Role
from protocol.smpp.pdu import (
    BindTransceiver,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    Pdu,
    SubmitSm,
    SubmitSmResp,
    Unbind,
)
from protocol.smpp.session import Notice, Unbinding, Unbound
from protocol.smpp.timers import TimerSettings
from tests.gateway.peers import Peer, Wire, submit_sm
from tests.gateway.world import MOBILE, START_S, Loop, ScriptedTurns, World
from tests.protocol.smpp.dialogue import session_in


class Flow:
    """A pipeline that only says whether applications may be read, and notes the end of each turn."""

    def __init__(self, diary: list[str]) -> None:
        self.open = True
        self._diary = diary

    def may_read_applications(self) -> bool:
        return self.open

    def end_turn(self) -> None:
        self._diary.append("end")


class Owner:
    """Notes how many events it gets in a row; answers them if it is told to, and fails at some."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.answers = False
        self.poison: frozenset[int] = frozenset()  # sequence numbers
        self.handled: list[Pdu | Notice] = []
        self.failures: list[object] = []
        self.connection: Connection
        self._diary = diary

    def connected(self, connection: Connection) -> None:
        self.connection = connection

    def handle(self, pdu: Pdu | Notice, frame: bytes, context: object) -> None:
        last = self._diary[-1].split() if self._diary else []
        if last[:1] == [self.name] and last[1].isdecimal():
            self._diary[-1] = f"{self.name} {int(last[1]) + 1}"
        else:
            self._diary.append(f"{self.name} 1")
        self.handled.append(pdu)
        if isinstance(pdu, Pdu) and pdu.sequence_number in self.poison:
            raise ZeroDivisionError
        if self.answers and isinstance(pdu, SubmitSm):
            self.connection.session.respond(pdu.command_id, pdu.sequence_number, 0, b"1\0")

    def failed(self, context: object) -> None:
        self.failures.append(context)

    def closed(self, reason: str) -> None:
        self._diary.append(f"{self.name} closed: {reason}")


class Ear(Peer):
    """Counts the writes that reach it."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(Role.ESME, loop, lambda: None)
        self.writes: list[int] = []

    def receive(self, data: Any) -> None:
        self.writes.append(len(data))


class Scene:
    """Turns over connections whose owners keep one diary."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.loop = Loop()
        self.turns = ScriptedTurns(self.loop)
        self.flow = Flow(self.diary)
        self.turns.flow = self.flow

    def connect(
        self,
        name: str,
        *,
        carrier: bool = False,
        unanswered_max: int = 10_000,
        state: BindState = BindState.BOUND_TRX,
    ) -> tuple[Connection, Owner, Ear]:
        session = session_in(state, Role.MC, unanswered_max=unanswered_max)
        connection, owner, ear = (
            Connection(session, self.turns, carrier=carrier),
            Owner(name, self.diary),
            Ear(self.loop),
        )
        connection.peer = owner
        ear.wire = Wire(connection, ear, self.loop)
        connection.connection_made(ear.wire)
        return connection, owner, ear

    def written(self) -> list[str]:
        """The diary since the last time."""
        diary = list(self.diary)
        self.diary.clear()
        return diary


def submits(count: int) -> bytes:
    return b"".join(encode(SubmitSm(number)) for number in range(1, count + 1))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_carriers_come_before_applications_whoever_was_first(scene: Scene) -> None:
    application, _, _ = scene.connect("application")
    carrier, _, _ = scene.connect("carrier", carrier=True)
    application.data_received(submits(1))
    carrier.data_received(submits(2))
    scene.loop.run()
    assert scene.written() == ["carrier 2", "application 1", "end"]


def test_nobody_is_served_more_than_his_frames_before_the_others_had_theirs(scene: Scene) -> None:
    greedy, _, _ = scene.connect("greedy")
    carrier, _, _ = scene.connect("carrier", carrier=True)
    modest, _, _ = scene.connect("modest")
    greedy.data_received(submits(APPLICATION_FRAMES + 50))
    carrier.data_received(submits(CARRIER_FRAMES + 1))
    modest.data_received(submits(1))
    scene.loop.run()
    assert scene.written() == [
        "carrier 400",
        "greedy 200",
        "modest 1",
        "end",
        "carrier 1",
        "greedy 50",
        "end",
    ]


def test_applications_wait_while_the_flow_is_pressed_and_carriers_do_not(scene: Scene) -> None:
    application, _, _ = scene.connect("application")
    carrier, _, _ = scene.connect("carrier", carrier=True)
    scene.flow.open = False
    application.data_received(submits(1))
    carrier.data_received(submits(1))
    scene.loop.run()
    assert scene.written() == ["carrier 1", "end"]
    assert scene.loop.next_timer == START_S + PRESSURE_RETRY_S
    scene.loop.now += PRESSURE_RETRY_S
    scene.loop.run()
    assert scene.written() == ["end"]
    scene.flow.open = True
    scene.loop.now += PRESSURE_RETRY_S
    scene.loop.run()
    assert scene.written() == ["application 1", "end"]
    assert scene.loop.next_timer is None


def test_a_turn_writes_once_to_each(scene: Scene) -> None:
    connection, owner, ear = scene.connect("application")
    owner.answers = True
    connection.data_received(submits(3))
    connection.data_received(submits(3))
    scene.loop.run()
    assert (scene.written(), ear.writes) == (
        ["application 6", "end"],
        [6 * len(encode(SubmitSmResp(1, 0, b"1")))],
    )


def test_a_peer_that_is_owed_its_maximum_is_served_again_once_it_was_answered(scene: Scene) -> None:
    connection, owner, _ = scene.connect("application", unanswered_max=2)
    connection.data_received(submits(3))
    scene.loop.run()
    assert scene.written() == ["application 2", "end"]
    owner.connection.session.respond(SubmitSm.command_id, 1, 0, b"1\0")
    scene.turns.write_later(connection)
    scene.turns.schedule()
    scene.loop.run()
    assert scene.written() == ["end", "application 1", "end"]


def test_a_peer_that_does_not_read_is_not_served_until_it_does(scene: Scene) -> None:
    connection, _, ear = scene.connect("application")
    connection.data_received(submits(APPLICATION_FRAMES + 1))
    connection.pause_writing()
    scene.loop.run()
    assert (scene.written(), ear.wire.reading) == (["end"], False)
    connection.data_received(submits(1))
    scene.loop.run()
    assert scene.written() == []
    connection.resume_writing()
    scene.loop.run()
    assert (scene.written(), ear.wire.reading) == (["application 200", "end", "application 2", "end"], True)


def test_who_does_not_read_and_has_sent_too_much_is_read_when_both_are_over(scene: Scene) -> None:
    connection, _, ear = scene.connect("application")
    scene.flow.open = False
    connection.data_received(submits(BUFFER_MAX // len(encode(SubmitSm(1))) + 1))
    connection.pause_writing()
    connection.resume_writing()
    assert not ear.wire.reading
    connection.pause_writing()
    connection.serve(scene.turns.now, 100_000)
    assert not ear.wire.reading
    connection.resume_writing()
    connection.serve(scene.turns.now, 100_000)
    assert ear.wire.reading


def test_silence_is_no_offence_while_we_do_not_read(scene: Scene) -> None:
    connection, _, ear = scene.connect("application")
    scene.flow.open = False
    connection.data_received(submits(BUFFER_MAX // len(encode(SubmitSm(1))) + 1))
    connection.session._timer_settings = TimerSettings(enquire_link_s=30.0, response_s=10.0)
    for _ in range(20):
        scene.loop.now += 20.0
        connection.tick(scene.turns.begin())
    assert (connection.open, ear.writes) == (True, [])


@pytest.mark.parametrize("stall", ["blocked", "pressed"])
def test_what_makes_no_work_passes_the_requests_that_wait(scene: Scene, stall: str) -> None:
    """A stalled disk or carrier must not make an application that answers look dead (field lesson 21)."""
    connection, owner, ear = scene.connect("application", unanswered_max=0 if stall == "blocked" else 10)
    scene.flow.open = stall == "blocked"
    number = connection.session.request(DeliverSm.command_id, b"", "report", scene.turns.now)
    connection.flush()
    ear.writes.clear()
    connection.data_received(
        submits(2) + encode(EnquireLink(9)) + encode(DeliverSmResp(number)) + encode(Unbind(10))
    )
    scene.loop.run()
    assert owner.handled == [DeliverSmResp(number)]
    assert ear.writes == [16]
    scene.flow.open = True
    owner.answers = True
    connection.session.unanswered_max = 10
    scene.turns.enqueue(connection)
    scene.loop.now += PRESSURE_RETRY_S
    scene.loop.run()
    assert owner.handled[1:] == [SubmitSm(1), SubmitSm(2), Unbinding(), Unbound()]
    assert ear.writes == [16, 2 * 18, 16]


def test_a_bind_and_an_unbind_are_served_while_the_flow_is_pressed(scene: Scene) -> None:
    stranger, binder, _ = scene.connect("stranger", state=BindState.OPEN)
    leaver, goer, ear = scene.connect("leaver")
    scene.flow.open = False
    stranger.data_received(encode(BindTransceiver(1)))
    leaver.data_received(encode(Unbind(1)))
    scene.loop.run()
    assert (binder.handled, goer.handled, ear.writes) == ([BindTransceiver(1)], [Unbound()], [16])
    assert scene.loop.next_timer is None


def test_a_peer_that_sends_too_much_is_not_read_until_half_of_it_is_served(scene: Scene) -> None:
    connection, owner, ear = scene.connect("application")
    owner.answers = True
    scene.flow.open = False
    frame = encode(submit_sm(MOBILE, short_message=b"a" * 200))
    for _ in range(BUFFER_MAX // len(frame)):
        connection.data_received(frame)
    assert ear.wire.reading
    connection.data_received(frame)
    assert not ear.wire.reading
    scene.flow.open = True
    while connection.session.buffered > BUFFER_MAX // 2:
        assert not ear.wire.reading
        connection.serve(scene.turns.now, 10)
    assert ear.wire.reading


def test_an_error_while_serving_a_peer_costs_only_that_peer_its_connection(scene: Scene) -> None:
    broken, owner, _ = scene.connect("broken")
    sound, _, _ = scene.connect("sound")
    owner.poison = frozenset({2, 3})
    broken.data_received(submits(4))
    sound.data_received(submits(1))
    with capture_logs() as logs:
        scene.loop.run()
    assert [entry["event"] for entry in logs] == ["serving a peer failed"]
    assert scene.written() == ["broken 4", "sound 1", "end", "broken closed: internal error"]


def test_an_event_that_fails_gives_its_context_back_and_costs_no_other_its_own(scene: Scene) -> None:
    connection, owner, _ = scene.connect("application")
    numbers = [
        connection.session.request(DeliverSm.command_id, b"", f"report {n}", scene.turns.now)
        for n in range(3)
    ]
    owner.poison = frozenset(numbers[1:2])
    connection.data_received(b"".join(encode(DeliverSmResp(number)) for number in numbers))
    with capture_logs():
        scene.loop.run()
    assert owner.handled == [DeliverSmResp(number) for number in numbers]
    assert owner.failures == ["report 1"]


@pytest.mark.parametrize(
    ("peername", "address", "name"),
    [
        (("192.0.2.1", 2775), "192.0.2.1", "192.0.2.1:2775"),
        (("::1", 2775, 0, 0), "::1", "[::1]:2775"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::1%eth0", "[fe80::1%eth0]:1"),
        (None, "", "unknown"),
    ],
)
def test_the_name_of_a_peer(
    scene: Scene, peername: tuple[object, ...] | None, address: str, name: str
) -> None:
    connection = Connection(session_in(BindState.OPEN, Role.MC), scene.turns, carrier=False)
    connection.peer = Owner("application", scene.diary)
    wire = Wire(connection, Ear(scene.loop), scene.loop, peername)
    connection.connection_made(wire)
    assert (connection.peer_address, connection.peer_name) == (address, name)


def test_what_comes_after_the_end_of_a_session_is_not_served(scene: Scene) -> None:
    connection, _, ear = scene.connect("application")
    connection.data_received(encode(Unbind(1)) + submits(2))
    scene.loop.run()
    assert scene.written() == ["application 1", "end"]
    assert ear.writes == [16]
    connection.close("unbound")
    connection.close("again")
    connection.connection_lost(None)
    scene.loop.run()
    connection.data_received(submits(1))
    scene.loop.run()
    assert [entry for entry in scene.written() if entry != "end"] == ["application closed: unbound"]


def test_every_calls_until_it_is_cancelled() -> None:
    loop = Loop()
    calls: list[float] = []
    cancel = every(cast(asyncio.AbstractEventLoop, loop), 0.25, lambda: calls.append(loop.now))
    for _ in range(3):
        loop.now += 0.25
        loop.run()
    assert calls == [START_S + 0.25, START_S + 0.5, START_S + 0.75]
    cancel()
    loop.now += 1.0
    loop.run()
    assert len(calls) == 3


@pytest.mark.parametrize("pending", [PENDING_MAX - 1, PENDING_MAX])
def test_applications_are_not_read_while_the_disk_is_behind(pending: int, world: World) -> None:
    application = world.application()
    for _ in range(pending):
        world.log.append(world.log.entries[0])
    assert world.commitment.may_read_applications() is (pending < PENDING_MAX)
    world.log.busy = True
    application.say(submit_sm(MOBILE))
    world.turn()
    assert len(world.log.entries) - world.log.durable_index == pending + (pending < PENDING_MAX)
