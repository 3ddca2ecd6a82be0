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
from protocol.smpp.pdu import SubmitSm, SubmitSmResp, Unbind
from protocol.smpp.session import Event
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
    """Notes how many events it gets; answers them if it is told to."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.answers = False
        self.connection: Connection
        self._diary = diary

    def handle(self, events: list[Event]) -> None:
        self._diary.append(f"{self.name} {len(events)}")
        if self.name == "broken":
            raise ZeroDivisionError
        for event, _, _ in events:
            if self.answers and isinstance(event, SubmitSm):
                self.connection.session.respond(event.command_id, event.sequence_number, 0, b"1\0")

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
        self, name: str, *, carrier: bool = False, unanswered_max: int = 10_000
    ) -> tuple[Connection, Owner, Ear]:
        session = session_in(BindState.BOUND_TRX, Role.MC, unanswered_max=unanswered_max)
        connection, owner, ear = (
            Connection(session, self.turns, carrier=carrier),
            Owner(name, self.diary),
            Ear(self.loop),
        )
        connection.peer = owner
        owner.connection = connection
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
    connection, _, _ = scene.connect("application")
    connection.data_received(submits(APPLICATION_FRAMES + 1))
    connection.pause_writing()
    scene.loop.run()
    assert scene.written() == ["application 200", "end"]
    connection.resume_writing()
    scene.loop.run()
    assert scene.written() == ["application 1", "end"]


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
    broken, _, _ = scene.connect("broken")
    sound, _, _ = scene.connect("sound")
    broken.data_received(submits(1))
    sound.data_received(submits(1))
    with capture_logs() as logs:
        scene.loop.run()
    assert [entry["event"] for entry in logs] == ["serving a peer failed"]
    assert scene.written() == ["broken 1", "sound 1", "end", "broken closed: internal error"]


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
