"""A carrier link through connects that hang, stand too late or are cut, and a carrier that falls silent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from gateway.carrier import Carrier
from gateway.connection import Connection
from gateway.downstream import IN_FLIGHT_S, PARKED_S, Link
from gateway.message import SENT, UNCERTAIN
from gateway.turns import Turns
from protocol.smpp.pdu import AlertNotification, Unbind, UnbindResp
from storage import records
from tests.gateway.peers import CarrierPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, World, carrier


class NoPipeline:
    """Notes what happens to the link."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.journal = self

    def link_event(self, link: Link, event: str, detail: str) -> None:
        self.events.append((event, detail))


def attempt(connect: Any) -> tuple[Link, NoPipeline]:
    """One attempt of a link whose connect goes as `connect(link)` says, and a stop once it hangs."""

    async def run() -> tuple[Link, NoPipeline]:
        loop = asyncio.get_running_loop()
        pipeline = NoPipeline()
        owner = Carrier(carrier(connect_timeout_s=60.0), 1, 0.0)
        link = Link(owner, 0, pipeline, Turns(loop))  # type: ignore[arg-type]

        async def create_connection(make: Any, *_: object) -> None:
            await connect(link, make)

        loop.create_connection = create_connection  # type: ignore[assignment]
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(link.run(), name="link")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            link.tick(1e9)
            await link.stop()
        return link, pipeline

    return asyncio.run(run())


async def _hang(_link: Link, make: Any) -> None:
    make()  # as the event loop does it: the protocol first
    await asyncio.Event().wait()


async def _refuse(_link: Link, make: Any) -> None:
    make()
    raise ConnectionRefusedError("refused")


@pytest.mark.parametrize(
    ("connect", "expected"),
    [
        (_hang, [("drained", "cannot connect to mc:1: timeout")]),
        (_refuse, [("down", "cannot connect to mc:1: refused"), ("drained", "stopped")]),
    ],
)
def test_a_connect_that_never_stands_is_ended_by_a_stop(
    connect: Any, expected: list[tuple[str, str]]
) -> None:
    link, pipeline = attempt(connect)
    assert pipeline.events == expected
    assert link.state == "drained"


def test_the_time_for_a_bind_starts_when_the_connection_stands(world: World) -> None:
    link = world.dispatch.carriers["cmcc"].links[0]
    connection: Connection = link._make_connection()
    assert link.window_used == 0
    world.wait(10 * link.config.response_timeout_s)
    link.tick(world.turns.now)
    assert connection.session.data_to_send() == b""
    world._connect(CarrierPeer(world.loop, world.settle), connection)
    world.settle()
    assert link.state == "bound"


def test_a_stalled_link_is_cut_once_and_the_next_connection_is_a_new_start(world: World) -> None:
    peer = world.connect()
    application = world.application()
    link = world.dispatch.carriers["cmcc"].links[0]
    application.submit(MOBILE)
    world.wait(link.config.response_timeout_s)
    world.wait(2 * link.config.response_timeout_s)
    assert peer.wire.closing
    assert (link.state, link._unanswered_since) == ("down", 0.0)
    world.wait(100.0)
    link.closed("again")
    again = world.connect()
    world.wait(1.0)
    assert (link.state, again.wire.closing) == ("bound", False)


def test_a_carrier_that_unbinds_gets_its_answers_first_and_no_more_messages(world: World) -> None:
    peer = world.connect()
    application = world.application()
    message = application.submit(MOBILE)
    peer.take_one(b"77")
    peer.say(receipt(b"77", MOBILE))
    peer.say(Unbind())
    world.turn()
    link = world.dispatch.carriers["cmcc"].links[0]
    assert (link.can_send, peer.wire.closing, peer.take(UnbindResp)) == (False, False, [])
    application.say(submit_sm(MOBILE))
    world.settle()
    assert [type(pdu).__name__ for pdu in peer.heard] == ["DeliverSmResp", "UnbindResp"]
    assert peer.wire.closing
    assert [report[0] for report in application.reports()] == [message]


# -- silence -----------------------------------------------------------------------------------------------


class Moment(NamedTuple):
    """What happens at a time, and whether the link counts as silent after the tick then."""

    at_s: float
    happens: str  # "submit", "answer", "enquire": the carrier says something else; or nothing
    silent: bool


SILENCES = {
    "nothing is owed": [Moment(60.0, "", False)],
    "an answer is owed": [
        *(Moment(0.0, "submit", False), Moment(2.0, "", False), Moment(2.1, "", True)),
        *(Moment(9.0, "", True), Moment(9.5, "answer", False), Moment(20.0, "", False)),
    ],
    "it speaks, though it answers nothing": [
        *(Moment(0.0, "submit", False), Moment(1.5, "enquire", False), Moment(3.0, "enquire", False)),
        *(Moment(5.0, "", False), Moment(5.1, "", True), Moment(6.0, "enquire", False)),
    ],
    "it was quiet before": [
        *(Moment(9.0, "", False), Moment(9.0, "submit", False), Moment(11.0, "", False)),
        Moment(11.1, "", True),
    ],
    "the time for the answer is over": [
        *(Moment(0.0, "submit", False), Moment(2.1, "", True), Moment(10.0, "", True)),
        *(Moment(12.0, "", True), Moment(12.5, "enquire", False), Moment(15.0, "", False)),
    ],
}


@pytest.mark.parametrize("moments", SILENCES.values(), ids=SILENCES)
def test_a_link_that_owes_answers_and_says_nothing_is_silent(moments: list[Moment], world: World) -> None:
    peer, application = world.connect(), world.application()
    owner = world.dispatch.carriers["cmcc"]
    (link,) = owner.links
    began = world.loop.now
    for at_s, happens, silent in moments:
        world.wait(began + at_s - world.loop.now)
        match happens:
            case "submit":
                application.submit(MOBILE)
            case "answer":
                peer.answer(peer.taken()[0], b"17")
            case "enquire":
                peer.session.notify(AlertNotification())
                peer.flush()
                world.settle()
        world.wait(0.0)
        assert (link.silent, owner.in_service(world.turns.now)) == (silent, not silent), at_s


def test_an_answer_ends_the_silence_at_once(world: World) -> None:
    peer, application = world.connect(), world.application()
    (link,) = world.dispatch.carriers["cmcc"].links
    application.submit(MOBILE)
    world.wait(3.0)
    assert link.silent
    peer.answer(peer.taken()[0], b"17")
    assert not link.silent


def events(world: World) -> list[tuple[str, str]]:
    """Of links, by the evidence."""
    found = [record for record in world.log.read() if isinstance(record, records.LinkEvent)]
    return [(event.event, event.detail) for event in found]


# -- parked ------------------------------------------------------------------------------------------------


def test_a_link_that_is_parked_lets_what_is_in_flight_be_answered_and_stays_down(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (request,) = peer.taken()
    (link,) = world.dispatch.carriers["cmcc"].links
    link.park("our account is barred")
    link.park("again")
    assert (link.can_send, link.room) == (False, 0)
    peer.respond(request, body=b"17\0")
    world.settle()
    assert (link.state, link.detail, peer.wire.closing) == ("parked", "our account is barred", True)
    assert world.part(message_id).state == SENT
    assert events(world)[1:] == [
        ("parked", "our account is barred"),
        ("down", "unbound"),
    ]
    assert link._backoff_s(0) == PARKED_S
    application.submit(MOBILE)
    link.resume()
    assert link._backoff_s(0) <= 1.0
    assert len(world.connect().taken()) == 1


def test_a_link_without_a_connection_cannot_be_parked(world: World) -> None:
    (link,) = world.dispatch.carriers["cmcc"].links
    link.park("too late")
    assert (link.state, link._backoff_s(0) < PARKED_S) == ("down", True)


def test_a_bind_that_is_granted_ends_the_parking(world: World) -> None:
    (link,) = world.dispatch.carriers["cmcc"].links
    world.connect()
    link.park("our account is barred")
    world.settle()
    world.connect()
    assert (link.state, link.can_send, link._backoff_s(0) < PARKED_S) == ("bound", True, True)


@pytest.mark.parametrize(
    ("failures", "already_bound", "wait_s"),
    [
        (0, False, 1.0),
        (1, False, 2.0),
        (5, False, 32.0),
        (6, False, 60.0),
        (99, False, 60.0),
        (0, True, 15.0),
        (5, True, 32.0),
    ],
)
def test_pauses_between_attempts_grow(
    failures: int, already_bound: bool, wait_s: float, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    (link,) = world.dispatch.carriers["cmcc"].links
    link._already_bound = already_bound
    assert link._backoff_s(failures) == wait_s


# -- drained -----------------------------------------------------------------------------------------------


def drain(world: World, while_it_waits: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Link:
    """Drain the only link; each time it waits for what is in flight, 50 ms pass, and something happens."""
    (link,) = world.dispatch.carriers["cmcc"].links
    a_turn_of_the_loop = asyncio.sleep

    async def sleep(seconds: float) -> None:
        world.loop.now += seconds
        world.turns.begin()
        while_it_waits()
        world.settle()
        await a_turn_of_the_loop(0)

    async def run() -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(link.drain("drained by zhang"), name="drain")
            while link.state != "drained":
                await a_turn_of_the_loop(0)
                world.settle()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(run())
    return link


def test_a_link_that_is_drained_takes_nothing_more_and_is_answered_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (request,) = peer.taken()
    waits = 0

    def happen() -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            application.say(submit_sm(MOBILE))
        elif waits == 3:
            assert not peer.wire.closing
            peer.respond(request, body=b"17\0")

    link = drain(world, happen, monkeypatch)
    assert events(world) == [("bound", "192.0.2.1:1234"), ("drained", "unbound")]
    assert (waits, peer.wire.closing, peer.taken()) == (3, True, [])
    assert (link.state, link.drained) == ("drained", True)
    assert world.part(message_id).state == SENT
    link.resume()
    assert not link.drained
    assert len(world.connect().taken()) == 1


def test_a_link_that_is_down_says_once_that_it_is_drained(world: World) -> None:
    (link,) = world.dispatch.carriers["cmcc"].links
    world.connect().cut()
    world.settle()
    for reason in ("drained", "again"):
        asyncio.run(link.drain(reason))
    assert [event for event, _ in events(world)] == ["bound", "down", "drained"]
    link.resume()
    world.connect().cut()
    world.settle()
    assert [event for event, _ in events(world)][3:] == ["bound", "down"]


def test_a_drain_waits_no_longer_than_a_response_may_take(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    assert len(peer.taken()) == 1
    began = world.loop.now
    drain(world, lambda: None, monkeypatch)
    assert world.loop.now == pytest.approx(began + IN_FLIGHT_S, abs=0.1)
    assert world.part(message_id).state == UNCERTAIN


def test_a_link_that_was_drained_does_not_send_though_its_bind_is_granted(world: World) -> None:
    """The connection stood, and the answer to its bind was under way."""
    (link,) = world.dispatch.carriers["cmcc"].links
    connection = link._make_connection()
    peer = CarrierPeer(world.loop, world.settle)
    world._connect(peer, connection)
    link._wanted.clear()
    world.settle()
    world.application().submit(MOBILE)
    assert (link.state, link.can_send, peer.taken()) == ("bound", False, [])


def test_a_connection_that_stands_after_a_drain_is_given_up(world: World) -> None:
    (link,) = world.dispatch.carriers["cmcc"].links
    link.hold("drained before the start")
    peer = CarrierPeer(world.loop, world.settle)
    world._connect(peer, link._make_connection())
    world.settle()
    assert (peer.wire.closing, link.state, peer.heard) == (True, "drained", [])
