"""The simulated carrier as a peer sees it: dialogues over loopback, read with the codec of the protocol."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from bench.carrier import Simulator
from bench.carrier_options import CarrierOptions, IdForm
from protocol.smpp.codec import HEADER, decode, encode
from protocol.smpp.codes import CommandId, CommandStatus, TlvTag
from protocol.smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Pdu,
    QuerySm,
    QuerySmResp,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
)
from protocol.smpp.receipt import id_candidates, read_receipt
from tests.bench.carrier_world import ROK, SUBMIT, bench

# -- binding and what is no message -------------------------------------------------------------------------

BINDS: list[tuple[dict[str, Any], Pdu, CommandStatus]] = [
    ({}, BindTransceiver(1, system_id=b"gw"), CommandStatus.ESME_ROK),
    ({}, BindTransmitter(1, system_id=b"gw", password=b"any"), CommandStatus.ESME_ROK),
    ({}, BindReceiver(1, system_id=b"gw"), CommandStatus.ESME_ROK),
    ({}, BindTransceiver(1, system_id=b"other"), CommandStatus.ESME_RINVSYSID),
    ({"password": "secret"}, BindTransceiver(1, system_id=b"gw"), CommandStatus.ESME_RINVPASWD),
    (
        {"password": "secret"},
        BindTransceiver(1, system_id=b"gw", password=b"secret"),
        CommandStatus.ESME_ROK,
    ),
]


@pytest.mark.parametrize(("options", "request_", "status"), BINDS)
async def test_bind(options: dict[str, Any], request_: Pdu, status: CommandStatus) -> None:
    async with bench(**options) as world:
        peer = await world.peer(bound=False)
        answer = await peer.bind(request_)
        assert answer.command_id == request_.command_id | 0x80000000
        assert (answer.command_status, answer.sequence_number) == (status, 1)
        report = world.carrier.report()
        assert (report.binds, report.binds_refused) == ((1, 0) if status == ROK else (0, 1))


async def test_no_more_sessions_than_allowed_and_none_twice() -> None:
    async with bench(sessions_max=1) as world:
        peer = await world.peer()
        other = await world.peer(bound=False)
        assert (await peer.bind()).command_status == CommandStatus.ESME_RALYBND
        assert (await other.bind()).command_status == CommandStatus.ESME_RALYBND


def unknown(sequence_number: int) -> bytes:
    return HEADER.pack(16, 0x0000ABCD, 0, sequence_number)


ANSWERS: list[tuple[bool, Pdu | bytes, Pdu]] = [
    (True, EnquireLink(7), EnquireLinkResp(7)),
    (False, EnquireLink(7), EnquireLinkResp(7)),
    (True, unknown(9), GenericNack(9, CommandStatus.ESME_RINVCMDID)),
    (True, QuerySm(3, message_id=b"1"), QuerySmResp(3, CommandStatus.ESME_RINVCMDID)),
    (False, SUBMIT(5, 0), SubmitSmResp(5, CommandStatus.ESME_RINVBNDSTS)),
    (
        True,
        HEADER.pack(19, CommandId.SUBMIT_SM, 0, 6) + b"\0\1\1",
        SubmitSmResp(6, CommandStatus.ESME_RINVCMDLEN),
    ),
]


@pytest.mark.parametrize(("bound", "sent", "answer"), ANSWERS)
async def test_what_is_no_message(bound: bool, sent: Pdu | bytes, answer: Pdu) -> None:
    async with bench() as world:
        peer = await world.peer(bound=bound)
        peer.send(sent)
        assert await peer.receive() == answer


async def test_unbind_ends_the_session_in_order() -> None:
    async with bench() as world:
        peer = await world.peer()
        peer.send(Unbind(2))
        assert await peer.receive() == UnbindResp(2)
        await peer.ended()
        await world.until(lambda: not world.carrier.sessions)
        assert world.carrier.report().lost_sessions == 0


@pytest.mark.parametrize("length", [0, 15, 65537, 0x47455420])
async def test_a_wrong_length_ends_the_session(length: int) -> None:
    async with bench() as world:
        peer = await world.peer()
        peer.send(length.to_bytes(4, "big") + bytes(12))
        await peer.ended()


# -- messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_a_message_and_its_receipt_however_the_stream_is_cut(step: int) -> None:
    async with bench() as world:
        peer = await world.peer(bound=False)
        stream = encode(BindTransceiver(1, system_id=b"gw")) + SUBMIT(2, 40) + SUBMIT(3, 41)
        for start in range(0, len(stream), step):
            peer.send(stream[start : start + step])
            await peer.writer.drain()
        assert isinstance(await peer.receive(), BindTransceiverResp)
        first: list[Any] = []
        while len(first) < 4:
            pdu = await peer.receive()
            if isinstance(pdu, DeliverSm):
                peer.send(DeliverSmResp(pdu.sequence_number))
            first.append(pdu)
        responses = [pdu for pdu in first if isinstance(pdu, SubmitSmResp)]
        receipts = [pdu for pdu in first if isinstance(pdu, DeliverSm)]
        assert [(pdu.sequence_number, pdu.command_status) for pdu in responses] == [(2, 0), (3, 0)]
        submitted = decode(SUBMIT(2, 40))
        assert isinstance(submitted, SubmitSm)
        assert receipts[0].esm_class == 4
        assert receipts[0].source_addr == submitted.destination_addr
        assert receipts[0].destination_addr == b"10639110001"
        read = [read_receipt(pdu.short_message, pdu.tlvs) for pdu in receipts]
        assert [receipt and receipt.message_id for receipt in read] == [pdu.message_id for pdu in responses]
        await world.until(lambda: world.carrier.ledger.receipts_acknowledged == 2)
        report = world.carrier.report()
        assert (report.taken, report.outcome, report.acknowledged) == (
            bytes(40) + b"\1\1",
            bytes(40) + b"\2\2",
            bytes(40) + b"\1\1",
        )
        assert (report.submits, report.accepted, report.misdirected, report.foreign) == (2, 2, 0, 0)


IDS: list[tuple[IdForm, bytes, bytes]] = [
    ("decimal", rb"[1-9]\d{8,9}", rb"[1-9]\d{8,9}"),
    ("hex", rb"[0-9a-f]{7,8}", rb"[0-9a-f]{7,8}"),
    ("hex_decimal", rb"[0-9A-F]{7,8}", rb"\d{9,10}"),
    ("zero_padded", rb"0{6,7}\d{9,10}", rb"[1-9]\d{8,9}"),
    ("uuid", rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", rb"[0-9a-f-]{36}"),
    ("twenty_digits", rb"1800000000\d{10}", rb"1800000000\d{10}"),
    ("mixed_case", rb"mSg-[0-9a-f]{7,8}", rb"MSG-[0-9A-F]{7,8}"),
]


@pytest.mark.parametrize(("form", "in_response", "in_receipt"), IDS)
async def test_ids(form: IdForm, in_response: bytes, in_receipt: bytes) -> None:
    async with bench(ids=form) as world:
        peer = await world.peer()
        message_id = (await peer.submit(2, 0)).message_id
        _, receipt = await peer.receipt()
        assert re.fullmatch(in_response, message_id)
        assert re.fullmatch(in_receipt, receipt.message_id)
        # The gateway's rules find one from the other, with the destination for company.
        ours = {candidate.lower() for candidate in id_candidates(message_id)}
        assert ours & {candidate.lower() for candidate in id_candidates(receipt.message_id)}


RECEIPTS: list[tuple[dict[str, Any], bytes, bytes, int, int]] = [
    # options, stat and err in the text, message_state of the TLV, the state in the ledger
    ({}, b"DELIVRD", b"000", 2, 2),
    ({"stats": {"UNDELIV": 1.0}}, b"UNDELIV", b"001", 5, 5),
    ({"stats": {"MK:0001": 1.0}}, b"MK:0001", b"099", 5, 255),
    ({"receipt_form": "text"}, b"DELIVRD", b"000", 0, 2),
    ({"receipt_form": "tlv"}, b"", b"", 2, 2),
    ({"receipt_form": "tlv", "stats": {"MK:0001": 1.0}}, b"", b"", 5, 5),
]


@pytest.mark.parametrize(("options", "stat", "err", "state", "in_ledger"), RECEIPTS)
async def test_receipts(options: dict[str, Any], stat: bytes, err: bytes, state: int, in_ledger: int) -> None:
    async with bench(**options) as world:
        peer = await world.peer()
        message_id = (await peer.submit(2, 0)).message_id
        pdu, receipt = await peer.receipt()
        assert (receipt.message_id, receipt.stat, receipt.err) == (message_id, stat, err)
        assert pdu.tlv(TlvTag.MESSAGE_STATE) == (bytes((state,)) if state else None)
        assert pdu.tlv(TlvTag.RECEIPTED_MESSAGE_ID) == (message_id + b"\0" if state else None)
        assert world.carrier.report().outcome == bytes((in_ledger,))


REGISTERED: list[tuple[int, str, bool]] = [
    (0, "DELIVRD", False),
    (1, "DELIVRD", True),
    (1, "UNDELIV", True),
    (2, "DELIVRD", False),
    (2, "UNDELIV", True),
    (3, "DELIVRD", True),
    (3, "UNDELIV", False),
]


@pytest.mark.parametrize(("registered_delivery", "stat", "comes"), REGISTERED)
async def test_a_receipt_only_for_who_asked(registered_delivery: int, stat: str, comes: bool) -> None:
    async with bench(stats={stat: 1.0}) as world:
        peer = await world.peer()
        message = SubmitSm(
            2,
            source_addr=b"10639110001",
            destination_addr=b"13800138000",
            registered_delivery=registered_delivery,
            short_message=b"hello",
        )
        peer.send(message, EnquireLink(3))
        kinds = [type(await peer.receive()) for _ in range(2 + comes)]
        assert kinds.count(DeliverSm) == comes
        assert world.carrier.report().foreign == 1


REFUSALS: list[tuple[dict[str, Any], list[CommandStatus]]] = [
    ({"refusals": {"ESME_RSUBMITFAIL": 1.0}}, [CommandStatus.ESME_RSUBMITFAIL] * 3),
    ({"rate_per_s": 2}, [ROK, ROK, CommandStatus.ESME_RTHROTTLED]),
    (
        {"rate_per_s": 1, "refusals": {"ESME_RMSGQFUL": 1.0}},
        [CommandStatus.ESME_RMSGQFUL, *[CommandStatus.ESME_RTHROTTLED] * 2],
    ),
]


@pytest.mark.parametrize(("options", "statuses"), REFUSALS)
async def test_refusals(options: dict[str, Any], statuses: list[CommandStatus]) -> None:
    async with bench(receipt_delay_s=60, **options) as world:
        peer = await world.peer()
        peer.send(*(SUBMIT(token + 2, token) for token in range(3)))
        assert [(await peer.receive()).command_status for _ in range(3)] == statuses
        assert sum(world.carrier.report().taken) == statuses.count(ROK)


async def test_a_message_that_comes_twice_and_one_for_somebody_else_are_found() -> None:
    async with bench(receipt_delay_s=60) as world:
        peer = await world.peer()
        wrong = SUBMIT(4, 8).replace(b"138", b"139", 1)
        peer.send(SUBMIT(2, 5), SUBMIT(3, 5), wrong)
        assert [(await peer.receive()).command_status for _ in range(3)] == [ROK] * 3
        report = world.carrier.report()
        assert (report.taken_twice, report.misdirected) == (1, 1)
        assert report.taken == bytes(5) + b"\2\0\0\1"


async def test_messages_are_kept_for_tests() -> None:
    async with bench(kept_max=1) as world:
        peer = await world.peer()
        await peer.submit(2, 0)
        await peer.receipt()
        await peer.submit(3, 1)
        assert world.carrier.report().kept == [SUBMIT(2, 0).hex()]


# -- order, sessions, faults --------------------------------------------------------------------------------


async def test_a_receipt_may_leave_before_its_response() -> None:
    async with bench(receipts_first=1.0) as world:
        peer = await world.peer()
        peer.send(SUBMIT(2, 0))
        _, receipt = await peer.receipt()
        response = await peer.receive()
        assert (response.sequence_number, response.message_id) == (2, receipt.message_id)


async def test_a_response_may_never_come_and_the_receipt_does() -> None:
    async with bench(unanswered=1.0) as world:
        peer = await world.peer()
        peer.send(SUBMIT(2, 0), EnquireLink(3))
        kinds = {type(await peer.receive()) for _ in range(2)}
        assert kinds == {DeliverSm, EnquireLinkResp}


async def test_a_receipt_may_leave_twice() -> None:
    async with bench(duplicates=1.0) as world:
        peer = await world.peer()
        peer.send(SUBMIT(2, 0))
        pdus = [await peer.receive() for _ in range(3)]
        texts = [pdu.short_message for pdu in pdus if isinstance(pdu, DeliverSm)]
        assert len(texts) == 2
        assert texts[0] == texts[1]


SESSIONS = [("same", [2, 0]), ("other", [0, 2]), ("any", [1, 1])]


@pytest.mark.parametrize(("policy", "receipts"), SESSIONS)
async def test_the_session_of_a_receipt(policy: str, receipts: list[int]) -> None:
    async with bench(receipt_session=policy) as world:
        peers = [await world.peer(), await world.peer()]
        peers[0].send(SUBMIT(2, 0), SUBMIT(3, 4))
        # Two responses on the first session, and the receipts wherever they go.
        first = [await peers[0].receive() for _ in range(2 + receipts[0])]
        second = [await peers[1].receive() for _ in range(receipts[1])]
        assert (
            sorted(type(pdu).__name__ for pdu in first) == ["DeliverSm"] * receipts[0] + ["SubmitSmResp"] * 2
        )
        assert [type(pdu) for pdu in second] == [DeliverSm] * receipts[1]
        assert world.carrier.report().receipts_sent == 2


async def test_an_unanswered_receipt_comes_again_after_the_next_bind() -> None:
    async with bench() as world:
        peer = await world.peer()
        message_id = (await peer.submit(2, 0)).message_id
        _, receipt = await peer.receipt(answer=None)
        peer.writer.transport.abort()
        await world.until(lambda: not world.carrier.sessions)
        assert world.carrier.report().receipts_waiting == 1
        again = await world.peer()
        _, repeated = await again.receipt()
        assert receipt.message_id == repeated.message_id == message_id
        await world.until(lambda: world.carrier.report().receipts_waiting == 0)
        report = world.carrier.report()
        assert (report.receipts_sent, report.acknowledged, report.lost_sessions) == (2, b"\1", 1)


async def test_a_receipt_that_was_refused_comes_again() -> None:
    async with bench() as world:
        peer = await world.peer()
        await peer.submit(2, 0)
        await peer.receipt(answer=CommandStatus.ESME_RSYSERR)
        await peer.receipt()
        await world.until(lambda: world.carrier.ledger.receipts_acknowledged == 1)
        assert world.carrier.report().receipts_refused == {"ESME_RSYSERR": 1}


async def test_no_more_receipts_than_the_window() -> None:
    async with bench(window=2) as world:
        peer = await world.peer()
        peer.send(*(SUBMIT(token + 2, token) for token in range(5)), EnquireLink(9))
        pdus = [await peer.receive() for _ in range(8)]
        deliveries = [pdu for pdu in pdus if isinstance(pdu, DeliverSm)]
        assert len(deliveries) == 2
        peer.send(DeliverSmResp(deliveries[0].sequence_number))
        assert isinstance(await peer.receive(), DeliverSm)


async def test_a_session_is_cut_after_so_many_messages() -> None:
    async with bench(cut_after_pdus=2, response_delay_s=60) as world:
        peer = await world.peer()
        peer.send(SUBMIT(2, 0), SUBMIT(3, 1), SUBMIT(4, 2))
        await peer.ended()
        report = world.carrier.report()
        assert (report.taken, report.cuts) == (b"\1\1", 1)


async def test_a_subscriber_replies_by_itself() -> None:
    async with bench(replies=1.0) as world:
        peer = await world.peer()
        await peer.submit(2, 0)
        await peer.receipt()
        pdu = await peer.receive()
        assert isinstance(pdu, DeliverSm)
        assert (pdu.esm_class, pdu.destination_addr) == (0, b"10639110001")


def test_two_carriers_of_one_name_are_refused() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(ValueError, match="same name"):
            Simulator([CarrierOptions(name="a"), CarrierOptions(name="a")], loop)
    finally:
        loop.close()
