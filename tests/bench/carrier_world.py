"""A running simulator with one carrier, and peers that talk with it over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from bench.carrier import Carrier, Simulator
from bench.carrier_options import CarrierOptions
from bench.messages import submit_writer
from protocol.smpp.codec import decode, encode
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import BindTransceiver, DeliverSm, DeliverSmResp, Pdu
from protocol.smpp.receipt import Receipt, read_receipt

ANSWER_S = 5.0
SOURCE = b"10639110001"
SUBMIT = submit_writer(SOURCE)
ROK = CommandStatus.ESME_ROK


class Peer:
    """The gateway's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *pdus: Pdu | bytes) -> None:
        self.writer.write(b"".join(pdu if isinstance(pdu, bytes) else encode(pdu) for pdu in pdus))

    async def receive(self) -> Any:
        async with asyncio.timeout(ANSWER_S):
            head = await self.reader.readexactly(4)
            return decode(head + await self.reader.readexactly(int.from_bytes(head, "big") - 4))

    async def ended(self) -> None:
        """Return when the carrier has closed, with or without ceremony; what it still said is dropped."""
        async with asyncio.timeout(ANSWER_S):
            with suppress(ConnectionError):
                await self.reader.read()

    async def bind(self, request: Pdu | None = None) -> Any:
        self.send(request or BindTransceiver(1, system_id=b"gw"))
        return await self.receive()

    async def submit(self, sequence_number: int, token: int) -> Any:
        self.send(SUBMIT(sequence_number, token))
        return await self.receive()

    async def receipt(self, *, answer: int | None = ROK) -> tuple[DeliverSm, Receipt]:
        """The next receipt, answered with a status, or not."""
        pdu = await self.receive()
        assert isinstance(pdu, DeliverSm)
        if answer is not None:
            self.send(DeliverSmResp(pdu.sequence_number, answer))
        receipt = read_receipt(pdu.short_message, pdu.tlvs)
        assert receipt is not None
        return pdu, receipt


class Bench:
    """A running simulator with one carrier, and its peers."""

    def __init__(self, simulator: Simulator, carrier: Carrier) -> None:
        self.simulator = simulator
        self.carrier = carrier
        self.peers: list[Peer] = []

    async def peer(self, *, bound: bool = True) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.carrier.port))
        self.peers.append(peer)
        if bound:
            assert (await peer.bind()).command_status == ROK
        return peer

    def tell(self, command: str, **values: Any) -> dict[str, Any]:
        """The carrier's answer to a command."""
        return self.simulator.command({"command": command, "carrier": "cmcc", **values})

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for what the carrier does without an answer."""
        async with asyncio.timeout(ANSWER_S):
            while not true():  # noqa: ASYNC110 - the carrier has no event for its tests
                await asyncio.sleep(0.001)


@asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    simulator = Simulator([CarrierOptions(name="cmcc", **options)], asyncio.get_running_loop())
    await simulator.start()
    made = Bench(simulator, simulator.carriers["cmcc"])
    try:
        yield made
    finally:
        await simulator.stop()
        for peer in made.peers:
            peer.writer.transport.abort()
