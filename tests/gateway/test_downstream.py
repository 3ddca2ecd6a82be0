"""A carrier link through connects that hang, stand too late or are cut, and a carrier that falls silent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.connection import Connection
from gateway.downstream import Link
from gateway.turns import Turns
from protocol.smpp.pdu import Unbind, UnbindResp
from tests.gateway.peers import CarrierPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, World, carrier


class NoPipeline:
    """Notes what happens to the link."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def link_event(self, link: Link, event: str, detail: str) -> None:
        self.events.append((event, detail))


def attempt(connect: Any) -> tuple[Link, NoPipeline]:
    """One attempt of a link whose connect goes as `connect(link)` says, and a stop once it hangs."""

    async def run() -> tuple[Link, NoPipeline]:
        loop = asyncio.get_running_loop()
        pipeline = NoPipeline()
        link = Link(carrier(connect_timeout_s=60.0), 0, pipeline, Turns(loop))  # type: ignore[arg-type]

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


@pytest.mark.parametrize(("connect", "detail"), [(_hang, "timeout"), (_refuse, "refused")])
def test_a_connect_that_never_stands_is_ended_by_a_stop(connect: Any, detail: str) -> None:
    link, pipeline = attempt(connect)
    assert pipeline.events == [("down", f"cannot connect to mc:1: {detail}")]
    assert link.state == "down"


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
