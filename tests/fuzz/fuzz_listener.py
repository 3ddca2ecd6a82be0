"""Promise: whatever octets come in, before a bind or after it, the listener answers or closes; it says no
traceback; and an honest application beside it is served as if it were alone.

Exactly: on a connection whose frames stay whole, every request gets one response, with its sequence number,
or the connection is closed; one whose framing is lost is closed. Every submit_sm of the honest application is
answered with ESME_ROK, and every one of its receipts comes, once. When all is over the gateway stops with
exit status 0, its log has no error in it, and its evidence verifies.

    python -m tests.fuzz.fuzz_listener --count 100000 --seed 1

The gateway is a process, the carrier another, the connections are real. A count and a seed repeat the octets
of every connection; how they arrive in time, nobody can repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from protocol.smpp.codec import HEADER, decode, encode
from protocol.smpp.codes import CommandId, CommandStatus, TlvTag, status_name
from protocol.smpp.errors import StreamError
from protocol.smpp.fields import SmeAddress
from protocol.smpp.framing import FrameBuffer
from protocol.smpp.pdu import (
    BindTransceiver,
    CancelSm,
    DataSm,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    QuerySm,
    ReplaceSm,
    SubmitMulti,
    SubmitSmResp,
    Unbind,
)
from tests.fuzz.fuzz_codec import mutate
from tests.integration.application import TEXT, submit_sm
from tests.integration.world import HOST, SOURCE, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FUZZ: Final = ("fuzz", "fuzz-pass")
HONEST: Final = ("honest", "not-in-the-corpus")  # where a bind as hukou is, with its password

# Who has not bound comes from here: wrong passwords close the door to an address for a while.
STRANGER: Final = "127.0.0.2"

CONNECTIONS: Final = 16
PDUS_A_CONNECTION: Final = 60

# How long a connection may go without a verdict: above the gateway's bind timer, and a busy machine.
VERDICT_S: Final = 20.0

HONEST_WINDOW: Final = 20

_RESPONSE_BIT: Final = 0x80000000
# What a gateway takes: mutations of these get further in than those of the codec's corpus.
_MANY = SubmitMulti(
    source_addr=SOURCE.encode(),
    dest_address=(SmeAddress(1, 1, b"13800138000"), SmeAddress(1, 1, b"13900139000")),
    registered_delivery=1,
    short_message=b"to two",
)
_IN_PAYLOAD = submit_sm(7, "")
_IN_PAYLOAD.tlvs = ((int(TlvTag.MESSAGE_PAYLOAD), (TEXT * 20).encode("utf-16-be")),)
_TIMED = submit_sm(8)
_TIMED.schedule_delivery_time, _TIMED.validity_period = b"000000000001000R", b"000000000100000R"
NEARLY_RIGHT: Final = tuple(
    map(
        encode,
        (
            submit_sm(6),
            _IN_PAYLOAD,
            _TIMED,
            _MANY,
            DataSm(
                source_addr=SOURCE.encode(),
                destination_addr=b"13800138009",
                registered_delivery=1,
                tlvs=((int(TlvTag.MESSAGE_PAYLOAD), b"data"),),
            ),
            QuerySm(message_id=b"0000000000000001", source_addr=SOURCE.encode()),
            CancelSm(source_addr=SOURCE.encode(), destination_addr=b"13800138000"),
            ReplaceSm(message_id=b"0000000000000001", source_addr=SOURCE.encode(), short_message=b"other"),
            DeliverSmResp(sequence_number=1),
            EnquireLink(),
        ),
    )
)


class Verdicts(msgspec.Struct):
    """What was sent, and what became of it."""

    pdus: int = 0
    connections: int = 0
    answered: int = 0  # connections that answered everything
    closed: int = 0  # connections that the gateway closed
    abandoned: int = 0  # connections that the bad peer reset in the middle
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    honest_submits: int = 0
    honest_slowest_s: float = 0.0
    rss_before_mib: float = 0.0
    rss_after_mib: float = 0.0

    def text(self) -> str:
        statuses = ", ".join(
            f"{status_name(status)} {count}" for status, count in self.statuses.most_common()
        )
        return (
            f"{self.pdus} PDUs and pieces over {self.connections} connections:"
            f" {self.answered} answered everything, {self.closed} were closed, {self.abandoned} abandoned\n"
            f"responses: {statuses}\n"
            f"honest application: {self.honest_submits} submits answered ESME_ROK and as many receipts,"
            f" slowest answer {self.honest_slowest_s * 1000:.0f} ms\n"
            f"memory of the gateway: {self.rss_before_mib:.0f} MiB before,"
            f" {self.rss_after_mib:.0f} MiB after\n"
        )


# -- octets -------------------------------------------------------------------------------------------------


def graft(source: random.Random) -> bytes:
    """A frame that the gateway would take, with a change or two behind its header."""
    frame = bytearray(source.choice(NEARLY_RIGHT))
    for _ in range(source.randint(0, 2)):
        at = source.randint(16, len(frame))
        match source.randrange(4):
            case 0:
                frame[at : at + 1] = source.randbytes(1)
            case 1:
                frame[at:at] = source.randbytes(source.randint(1, 30))
            case 2:
                del frame[at : at + source.randint(1, 4)]
            case 3:
                frame[at:] = mutate(source)[16:]
    frame[:4] = len(frame).to_bytes(4, "big")
    frame[12:16] = source.randbytes(4)
    return bytes(frame)


def pieces(source: random.Random, count: int) -> list[bytes]:
    """What one connection sends: frames more or less damaged, or plain noise."""
    kind = source.random()
    if kind < 0.05:
        return [source.randbytes(source.randint(1, 2000)) for _ in range(count)]
    if kind < 0.10:  # noise that looks like a frame
        return [
            HEADER.pack(16 + size, source.getrandbits(32), source.getrandbits(32), source.getrandbits(32))
            + source.randbytes(size)
            for size in (source.randint(0, 300) for _ in range(count))
        ]
    sound = source.random() < 0.9  # whether wrong lengths are put right, so that the damage behind is met
    made = []
    for _ in range(count):
        piece = mutate(source) if source.random() < 0.5 else graft(source)
        if sound and len(piece) >= 16:
            piece = len(piece).to_bytes(4, "big") + piece[4:]
        elif sound:
            piece = graft(source)
        if piece[4:8] == b"\0\0\0\6" and source.random() < 0.9:
            piece = piece[:4] + b"\0\0\0\4" + piece[8:]  # few connections are to end by unbind
        made.append(piece)
    return made


def retort(source: random.Random, frame: bytes) -> bytes:
    """What a bad application answers to a deliver_sm or an enquire_link of the gateway: often nothing."""
    command_id = int.from_bytes(frame[4:8], "big") | _RESPONSE_BIT
    sequence_number = int.from_bytes(frame[12:16], "big")
    match source.randrange(6):
        case 0:
            return HEADER.pack(17, command_id, 0, sequence_number) + b"\0"
        case 1:  # a refusal, some of which mean "later"
            status = source.choice((8, 0x14, 0x58, 0x64, 0x65, 0xFFFFFFFF))
            return HEADER.pack(16, command_id, status, sequence_number)
        case 2:
            return HEADER.pack(16, CommandId.GENERIC_NACK, 3, sequence_number)
        case 3:  # the response of another command
            return HEADER.pack(17, CommandId.SUBMIT_SM_RESP, 0, sequence_number) + b"\0"
        case 4:  # a body that ends nowhere
            return HEADER.pack(26, command_id, 0, sequence_number) + b"x" * 10
        case _:
            return b""


def chunks(source: random.Random, octets: bytes) -> Iterator[bytes]:
    """`octets` in pieces that have nothing to do with frames."""
    start = 0
    while start < len(octets):
        size = source.choice((1, 7, 16, 100, 1460, 20_000))
        yield octets[start : start + size]
        start += size


async def _bind(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, system_id: str, password: str
) -> None:
    request = BindTransceiver(
        system_id=system_id.encode(), password=password.encode(), interface_version=0x34
    )
    writer.write(encode(request))
    length, _, status, _ = HEADER.unpack(await reader.readexactly(16))
    await reader.readexactly(length - 16)
    assert status == CommandStatus.ESME_ROK, status_name(status)


# -- a bad peer ---------------------------------------------------------------------------------------------


async def attack(port: int, source: random.Random, count: int, verdicts: Verdicts) -> None:
    """One connection, from its first octet to its verdict. AssertionError if it stays without one."""
    bound = source.random() < 0.6
    abandon = source.random() < 0.05
    sent = pieces(source, count)
    octets = b"".join(sent)
    frames = FrameBuffer()
    frames.feed(octets)
    whole: list[bytes] = []
    lost = False
    try:
        while got := frames.take(1000):
            whole += got
    except StreamError:
        lost = True
    lost = lost or frames.pending_octets > 0
    requests = Counter(frame[12:16] for frame in whole if not frame[4] & 0x80)
    verdicts.pdus += count
    verdicts.connections += 1
    note = f"bound {bound}, {count} pieces, framing lost {lost}: {octets[:4000].hex()}"

    reader, writer = await asyncio.open_connection(HOST, port, local_addr=None if bound else (STRANGER, 0))
    try:
        async with asyncio.timeout(VERDICT_S):
            if bound:
                await _bind(reader, writer, *FUZZ)
            for chunk in chunks(source, octets):
                writer.write(chunk)
                await writer.drain()
            if abandon:
                writer.transport.abort()
                verdicts.abandoned += 1
                return
            if lost:
                writer.write_eof()  # the rest of a frame will never come
            heard = _hear(reader, None if lost else writer, source, requests, verdicts)
            closed = not await heard
    except TimeoutError as error:
        error.add_note(f"neither answered nor closed; unanswered {+requests}; {note}")
        raise
    except (OSError, asyncio.IncompleteReadError):
        closed = True
    finally:
        writer.close()
    if closed:
        verdicts.closed += 1
    else:
        verdicts.answered += 1
        assert not +requests, note
        assert not -requests, f"answered twice, or never asked: {-requests}; {note}"


async def _hear(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter | None,
    source: random.Random,
    requests: Counter[bytes],
    verdicts: Verdicts,
) -> bool:
    """Read until every request is answered; False if the gateway closes before.

    writer: takes the answers to what the gateway asks; None when nothing more can be sent, and the gateway
    must close.
    """
    frames = FrameBuffer()
    while writer is None or +requests:
        data = await reader.read(65536)
        if not data:
            return False
        frames.feed(data)
        for frame in frames.take(100_000):
            if frame[4] & 0x80:
                requests[frame[12:16]] -= 1
                verdicts.statuses[int.from_bytes(frame[8:12], "big")] += 1
            elif writer is not None:
                writer.write(retort(source, frame))
    return True


# -- the honest application ---------------------------------------------------------------------------------


class Honest:
    """Submits as fast as its window lets it, and hears its receipts."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verdicts: Verdicts
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._verdicts = verdicts
        self._sent: dict[int, float] = {}
        self._ids: set[bytes] = set()
        self._heard: Counter[bytes] = Counter()
        self._sequence_number = 0
        self.enough = False

    async def run(self) -> None:
        """Until `enough`, and then until every receipt is here."""
        frames = FrameBuffer()
        self._submit()
        while self._sent or len(self._heard) < len(self._ids):
            async with asyncio.timeout(VERDICT_S):
                data = await self._reader.read(65536)
            assert data, "the gateway closed the honest connection"
            frames.feed(data)
            for frame in frames.take(10_000):
                self._serve(frame)
            if not self.enough:
                self._submit()
        assert self._heard == Counter(self._ids), "a receipt came twice, or for nothing of ours"
        self._verdicts.honest_submits = len(self._ids)
        self._writer.write(encode(Unbind(sequence_number=self._sequence_number + 1)))

    def _submit(self) -> None:
        while len(self._sent) < HONEST_WINDOW:
            self._sequence_number += 1
            pdu = submit_sm(self._sequence_number)
            pdu.sequence_number = self._sequence_number
            self._sent[self._sequence_number] = time.monotonic()
            self._writer.write(encode(pdu))

    def _serve(self, frame: bytes) -> None:
        pdu = decode(frame)
        match pdu:
            case SubmitSmResp():
                assert pdu.command_status == CommandStatus.ESME_ROK, status_name(pdu.command_status)
                waited_s = time.monotonic() - self._sent.pop(pdu.sequence_number)
                self._verdicts.honest_slowest_s = max(self._verdicts.honest_slowest_s, waited_s)
                self._ids.add(pdu.message_id)
            case DeliverSm():
                message_id = (pdu.tlv(int(TlvTag.RECEIPTED_MESSAGE_ID)) or b"").removesuffix(b"\0")
                self._heard[message_id] += 1
                self._writer.write(encode(DeliverSmResp(pdu.sequence_number)))
            case EnquireLink():
                self._writer.write(HEADER.pack(16, CommandId.ENQUIRE_LINK_RESP, 0, pdu.sequence_number))


@asynccontextmanager
async def honest_application(port: int, verdicts: Verdicts) -> AsyncIterator[Honest]:
    reader, writer = await asyncio.open_connection(HOST, port)
    await _bind(reader, writer, *HONEST)
    try:
        yield Honest(reader, writer, verdicts)
    finally:
        writer.close()


# -- the run ------------------------------------------------------------------------------------------------


def make_world(directory: Path) -> World:
    world = World(
        directory,
        {"listener": {"bind_timeout_s": 3.0}, "account": {"networks": ["127.0.0.0/8"], "window": 50}},
        carrier={"kept_max": 0},
    )
    world.add_account(*FUZZ, sessions_max=2 * CONNECTIONS)
    world.add_account(*HONEST)
    return world


async def _run(port: int, count: int, seed: int, verdicts: Verdicts) -> None:
    source = random.Random(seed)
    plans = []
    while count > 0:
        size = min(count, source.randint(1, PDUS_A_CONNECTION))
        plans.append((source.getrandbits(64), size))
        count -= size
    waiting = iter(plans)

    async def work() -> None:
        for connection_seed, size in waiting:
            try:
                await attack(port, random.Random(connection_seed), size, verdicts)
            except BaseException as error:
                error.add_note(f"connection {connection_seed:#x} of seed {seed}")
                raise

    async with honest_application(port, verdicts) as honest, asyncio.TaskGroup() as tasks:
        tasks.create_task(honest.run(), name="honest")
        async with asyncio.TaskGroup() as attackers:
            for number in range(CONNECTIONS):
                attackers.create_task(work(), name=f"attacker {number}")
        honest.enough = True


def run(world: World, count: int, seed: int) -> Verdicts:
    """Keep the promise for `count` PDUs or pieces; starts the gateway of `world`, and stops it."""
    world.start()
    verdicts = Verdicts(rss_before_mib=world.rss_mib())
    asyncio.run(_run(world.port, count, seed, verdicts))
    verdicts.rss_after_mib = world.rss_mib()
    world.stop()
    return verdicts


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="PDUs and pieces of noise to send")
    parser.add_argument("--seed", type=int, default=1, help="repeats the octets of a run")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory, make_world(Path(directory)) as world:
        verdicts = run(world, options.count, options.seed)
        world.log_file.unlink()  # nothing in it that anybody must read
        sys.stdout.write(verdicts.text())


if __name__ == "__main__":
    main(sys.argv[1:])
