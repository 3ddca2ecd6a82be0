"""What the simulated carrier can be told while it runs, and what a peer sees of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest
import uvloop

from bench.carrier_ledger import Phase
from bench.messages import destination_of
from bench.replies import Form, reply_text
from protocol.smpp.codec import encode
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import BindTransceiver, DeliverSm, DeliverSmResp, EnquireLink, EnquireLinkResp
from protocol.udh import ConcatenationKind, parse_header, part_of
from tests.bench.carrier_world import ANSWER_S, ROK, SUBMIT, Bench, Peer, bench


async def cut(world: Bench, peer: Peer) -> None:
    assert world.simulator.command({"command": "cut", "carrier": "cmcc"}) == {"event": "cut", "sessions": 1}
    await peer.ended()


async def reply(world: Bench, peer: Peer) -> None:
    answer = world.simulator.command(
        {
            "command": "reply",
            "carrier": "cmcc",
            "subscriber": "13800138000",
            "destination": "10639110001",
            "text": "收到",
        }
    )
    assert answer == {"event": "reply"}
    pdu = await peer.receive()
    assert isinstance(pdu, DeliverSm)
    assert (pdu.esm_class, pdu.data_coding, pdu.source_addr) == (0, 8, b"13800138000")
    assert pdu.short_message.decode("utf-16-be") == "收到"
    peer.send(DeliverSmResp(pdu.sequence_number))
    await world.until(lambda: world.carrier.ledger.replies_acknowledged == 1)


@pytest.mark.parametrize("dialogue", [cut, reply])
async def test_commands(dialogue: Callable[[Bench, Peer], Awaitable[None]]) -> None:
    async with bench() as world:
        await dialogue(world, await world.peer())


LONG_REPLY = {"subscriber": "13800138000", "destination": "10639110001", "text": "字" * 100, "reference": 7}

WRONG: list[dict[str, Any]] = [
    {},
    {"command": "nothing", "carrier": "cmcc"},
    {"command": "cut", "carrier": "nobody"},
    {"command": "set", "carrier": "cmcc", "rate_per_s": -1},
    {"command": "set", "carrier": "cmcc", "rate_per_s": 1, "burts": 1},
    {"command": "stall", "carrier": "cmcc"},
    {"command": "deliver", "carrier": "cmcc", "body": "0"},
    {"command": "long_reply", "carrier": "cmcc", "width": 8, "order": [0], **LONG_REPLY},
    {"command": "long_reply", "carrier": "cmcc", "width": 8, "order": [1, 3], **LONG_REPLY},
    {"command": "long_reply", "carrier": "cmcc", "width": 7, "order": [1], **LONG_REPLY},
    {"command": "long_reply", "carrier": "cmcc", "width": 8, "order": [1], **LONG_REPLY, "reference": 256},
    {"command": "long_reply", "carrier": "cmcc", "width": 8, "order": [1], **LONG_REPLY, "text": "\ud800"},
]


@pytest.mark.parametrize("line", WRONG)
async def test_a_wrong_command_is_said_to_be_one_and_does_nothing(line: dict[str, Any]) -> None:
    async with bench() as world:
        peer = await world.peer()
        assert world.simulator.command(line)["event"] == "error"
        peer.send(EnquireLink(2))
        assert await peer.receive() == EnquireLinkResp(2)


# -- rates --------------------------------------------------------------------------------------------------

THROTTLED = CommandStatus.ESME_RTHROTTLED

# Seconds after the start: what is told then, a rate and a burst, or how many messages come and how many are
# allowed.
Step = tuple[float, tuple[int, int] | None, tuple[int, int]]
RATES: list[tuple[int, int, list[Step]]] = [
    (50, 0, [(0.0, None, (60, 50)), (0.02, None, (2, 1)), (0.05, None, (2, 1)), (0.06, None, (1, 1))]),
    (50, 5, [(0.0, None, (6, 5)), (0.02, None, (2, 1)), (10.0, None, (9, 5))]),
    # What the old rate had gathered is kept up to the new burst, and the new rate counts from the change on.
    (50, 5, [(0.0, None, (5, 5)), (0.02, (500, 10), (2, 1)), (0.022, None, (2, 1)), (1.0, None, (20, 10))]),
    (500, 0, [(0.0, None, (100, 100)), (0.0, (50, 0), (60, 50)), (0.02, None, (2, 1))]),
    (0, 0, [(0.0, None, (999, 999)), (3.0, (50, 5), (9, 5)), (3.02, (0, 0), (999, 999))]),
]


@pytest.mark.parametrize(("rate_per_s", "burst", "steps"), RATES)
async def test_rates(rate_per_s: int, burst: int, steps: list[Step]) -> None:
    async with bench(rate_per_s=rate_per_s, rate_burst=burst) as world:
        began = monotonic() + 1.0  # after the carrier's own start, so that its bucket is full
        for at, told, (come, allowed) in steps:
            if told is not None:
                world.carrier.set_rate(*told, began + at)
            statuses = [world.carrier.judge(began + at) for _ in range(come)]
            assert statuses == [ROK] * allowed + [THROTTLED] * (come - allowed)


async def test_a_rate_is_set_at_run_time_and_what_came_since_a_mark_is_counted() -> None:
    async with bench(receipt_delay_s=60) as world:
        peer = await world.peer()
        phases = []
        for rate, count in ((None, 3), (2, 4), (0, 2)):
            if rate is not None:
                assert world.tell("set", rate_per_s=rate) == {"event": "set"}
            peer.send(*(SUBMIT(token + 2, token) for token in range(count)))
            for _ in range(count):
                await peer.receive()
            answer = world.simulator.command({"command": "mark"})
            assert answer["event"] == "mark"
            assert 0 < answer["elapsed_s"] < ANSWER_S
            phases.append(answer["carriers"])
        assert phases == [{"cmcc": Phase(*counts)} for counts in ((3, 3, 0), (4, 2, 2), (2, 2, 0))]


# -- going dark ---------------------------------------------------------------------------------------------


async def dark_and_back() -> None:
    async with bench(response_delay_s=0.02, receipt_delay_s=60) as world:
        peer = await world.peer()
        # Taken before the carrier goes dark; the response is due when it is.
        peer.send(SUBMIT(2, 0))
        await world.until(lambda: world.carrier.ledger.accepted == 1)
        assert world.tell("stall", stalled=True) == {"event": "stall", "sessions": 1}
        peer.send(SUBMIT(3, 1), EnquireLink(4))
        late = await world.peer(bound=False)
        late.send(BindTransceiver(1, system_id=b"gw"))
        await world.until(lambda: len(world.carrier.sessions) == 2)
        for each in (peer, late):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(each.reader.readexactly(1), 0.05)
        report = world.carrier.report()
        assert (report.taken, report.submits, report.binds) == (b"\1", 1, 1)
        assert world.tell("stall", stalled=False) == {"event": "stall", "sessions": 2}
        assert (await late.receive()).command_status == ROK
        assert {(await peer.receive()).sequence_number for _ in range(3)} == {2, 3, 4}
        assert world.carrier.report().taken == b"\1\1"


async def dark_to_the_end() -> None:
    """Whoever gives the connection up meanwhile is missed when the carrier is back."""
    async with bench() as world:
        peer = await world.peer()
        await peer.submit(2, 0)
        await peer.receipt(answer=None)
        world.tell("stall", stalled=True)
        peer.writer.close()
        world.tell("stall", stalled=False)
        await world.until(lambda: not world.carrier.sessions)
        report = world.carrier.report()
        assert (report.taken, report.receipts_waiting, report.lost_sessions) == (b"\1", 1, 1)


@pytest.mark.parametrize("dialogue", [dark_and_back, dark_to_the_end])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_carrier_goes_dark_without_closing_anything(
    run: Callable[[Awaitable[None]], None], dialogue: Callable[[], Awaitable[None]]
) -> None:
    run(dialogue())


# -- replies and forged receipts ----------------------------------------------------------------------------

REPLY = "".join(f"第{number:02d}" for number in range(60))  # 180 characters
FORMS: list[tuple[Form, ConcatenationKind, int, list[int]]] = [
    (8, ConcatenationKind.UDH_8, 255, [3, 1, 2]),
    (16, ConcatenationKind.UDH_16, 65535, [2, 3, 1, 3]),
    ("sar", ConcatenationKind.SAR, 65535, [1, 3]),
]


@pytest.mark.parametrize(("form", "kind", "reference", "order"), FORMS)
async def test_a_long_reply(form: Form, kind: ConcatenationKind, reference: int, order: list[int]) -> None:
    async with bench() as world:
        peer = await world.peer()
        values = {**LONG_REPLY, "text": REPLY, "reference": reference, "width": form, "order": order}
        assert world.tell("long_reply", **values) == {"event": "long_reply"}
        pieces = {}
        for sequence in order:
            pdu = await peer.receive()
            assert (pdu.source_addr, pdu.destination_addr) == (b"13800138000", b"10639110001")
            assert pdu.data_coding == 8
            part = part_of(pdu.esm_class, pdu.short_message, pdu.tlvs)
            assert part is not None
            assert (part.kind, part.reference, part.total, part.sequence) == (kind, reference, 3, sequence)
            pieces[sequence] = text_of(pdu)
        whole = "".join(pieces.get(sequence, "") for sequence in (1, 2, 3))
        cut = 66 if form == 16 else 67
        assert whole == (REPLY if 2 in order else REPLY[:cut] + REPLY[2 * cut :])
        assert world.carrier.report().replies_sent == len(order)


def text_of(pdu: DeliverSm) -> str:
    text = pdu.short_message
    return (parse_header(text)[1] if pdu.esm_class & 0x40 else text).decode("utf-16-be")


async def long_replies(seed: int) -> list[tuple[bytes, int]]:
    """Subscriber and sequence of each part in the order in which they come; all parts make whole replies."""
    async with bench() as world:
        peer = await world.peer()
        values = {"first": 16, "count": 80, "seed": seed, "destination": "10639110001"}
        assert world.tell("long_replies", **values) == {"event": "long_replies", "parts": 280}
        order = []
        kinds = set()
        texts: defaultdict[bytes, dict[int, str]] = defaultdict(dict)
        for _ in range(280):
            pdu = await peer.receive()
            peer.send(DeliverSmResp(pdu.sequence_number))
            part = part_of(pdu.esm_class, pdu.short_message, pdu.tlvs)
            assert part is not None
            order.append((pdu.source_addr, part.sequence))
            kinds.add(part.kind)
            texts[pdu.source_addr][part.sequence] = text_of(pdu)
        assert kinds == set(ConcatenationKind)
        assert {
            subscriber: "".join(parts[sequence] for sequence in sorted(parts))
            for subscriber, parts in texts.items()
        } == {destination_of(number): reply_text(number) for number in range(16, 96)}
        await world.until(lambda: world.carrier.ledger.replies_acknowledged == 280)
        return order


async def test_long_replies_come_in_an_order_that_the_seed_decides() -> None:
    first, again, other = [await long_replies(seed) for seed in (1, 1, 2)]
    assert first == again != other
    # Parts of one reply neither stand together nor in their order.
    assert first != sorted(first)
    assert len({subscriber for subscriber, _ in first[:10]}) > 5


async def test_any_deliver_sm_can_be_sent_and_its_answer_counts() -> None:
    forged = DeliverSm(
        source_addr=b"13900139000",
        destination_addr=b"10639110001",
        esm_class=0,
        short_message=b"id:1 sub:001 dlvrd:001 stat:DELIVRD err:000 text:",
    )
    body = encode(forged)[16:]
    async with bench() as world:
        peer = await world.peer()
        for status in (ROK, CommandStatus.ESME_RX_R_APPN, CommandStatus.ESME_RX_R_APPN):
            assert world.tell("deliver", body=body.hex()) == {"event": "deliver"}
            pdu = await peer.receive()
            assert encode(pdu)[16:] == body
            peer.send(DeliverSmResp(pdu.sequence_number, status))
        await world.until(lambda: sum(world.carrier.ledger.delivered_raw.values()) == 3)
        report = world.carrier.report()
        assert report.delivered_raw == {"ESME_ROK": 1, "ESME_RX_R_APPN": 2}
        assert (report.receipts_refused, report.receipts_sent, report.replies_sent) == ({}, 0, 0)
        assert report.receipts_waiting == 0
