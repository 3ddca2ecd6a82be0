"""A message centre that others wrote: the gateway binds to the server of smpp34."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import smpp34

from protocol.smpp.codes import CommandStatus, TlvTag
from tests.integration.application import TEXT, Application, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.world import CARRIER, HOST, World, until

TIMES_REFUSED_AS_BUSY = 2


class Smpp34Carrier:
    """Takes what comes, but for the numbers that `judge` knows, and sends receipts as most carriers do."""

    def __init__(self, port: int) -> None:
        self.server = smpp34.Server(HOST, port, system_id="smpp34")
        self.taken: list[tuple[str, str, str]] = []  # destination, text, id
        self.busy = TIMES_REFUSED_AS_BUSY
        self.receipts_answered = 0
        self._sessions: dict[str, smpp34.Esme] = {}

    async def serve(self) -> None:
        while True:
            event = await self.server.next()
            match event:
                case smpp34.Esme():
                    self._sessions[event.session_id] = event
                case smpp34.Unbound():
                    self._sessions.pop(event.session_id, None)
                case smpp34.SubmitSmEvent():
                    await self._judge(event)

    async def _judge(self, event: smpp34.SubmitSmEvent) -> None:
        if event.destination_addr.endswith("1"):
            event.reject(int(CommandStatus.ESME_RINVDSTADR))
        elif event.destination_addr.endswith("2") and self.busy:
            self.busy -= 1
            event.reject(int(CommandStatus.ESME_RTHROTTLED))
        else:
            number = len(self.taken) + 1
            message_id = f"{0xABC000 + number:X}"
            self.taken.append((event.destination_addr, event.short_message.decode("utf-16-be"), message_id))
            event.accept(message_id)
            # It answers in hexadecimal and reports in decimal, as carriers do.
            await self._report(event, 0xABC000 + number)

    async def _report(self, event: smpp34.SubmitSmEvent, message_id: int) -> None:
        text = (
            f"id:{message_id:010} sub:001 dlvrd:001 submit date:2611231200 done date:2611231201"
            " stat:DELIVRD err:000 text:"
        )
        response = await self._sessions[event.session_id].deliver_sm(
            event.source_addr, text.encode(), source_addr=event.destination_addr, esm_class=0x04
        )
        self.receipts_answered += response.is_success


@asynccontextmanager
async def smpp34_carrier(port: int) -> AsyncIterator[Smpp34Carrier]:
    carrier = Smpp34Carrier(port)
    await carrier.server.start()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(carrier.serve(), name="smpp34 carrier")
        yield carrier
        serving.cancel()
    await carrier.server.stop()


async def test_smpp34_is_the_carrier(make_world: MakeWorld) -> None:
    world = make_world({"carrier": {"throttle_pause_s": 0.1}}, carrier_up=False)
    async with smpp34_carrier(world.carrier.port) as carrier:
        await asyncio.to_thread(_three_messages, world, carrier)
        await asyncio.to_thread(world.stop)


def _three_messages(world: World, carrier: Smpp34Carrier) -> None:
    world.start()
    until("both links are bound", lambda: world.status()["carriers"][CARRIER]["bound"] == 2)
    with Application(world.port) as application:
        assert application.bind() == CommandStatus.ESME_ROK
        ids = application.submit_all(submit_sm(number) for number in range(3))
        application.await_deliveries(3)
        assert sorted(application.receipts()) == sorted(ids)
        states = {
            pdu.source_addr: (pdu.tlv(int(TlvTag.MESSAGE_STATE)), pdu.short_message)
            for pdu in application.deliveries
        }
        application.unbind()
    assert {address: state for address, (state, _) in states.items()} == {
        b"13800000000": b"\2",  # DELIVERED
        b"13800000001": b"\x08",  # REJECTED: the carrier took nothing
        b"13800000002": b"\2",  # at the third attempt
    }
    assert b" stat:REJECTD err:00B " in states[b"13800000001"][1]
    assert sorted((number, text) for number, text, _ in carrier.taken) == [
        ("13800000000", TEXT),
        ("13800000002", TEXT),
    ]
    assert carrier.busy == 0
    # The application may hear of a receipt before the carrier's task has read our answer to it.
    until("both receipts are answered", lambda: carrier.receipts_answered == 2)
