"""Clients that others wrote bind to the gateway and are served."""

from __future__ import annotations

import asyncio
import itertools

import aiosmpplib
import pytest
import smpp34
import smpplib.client
import smpplib.consts
import smpplib.exceptions

from protocol import udh
from protocol.smpp.codec import decode
from protocol.smpp.codes import TlvTag
from protocol.smpp.pdu import SubmitSm
from tests.integration.application import TEXT
from tests.integration.witnesses import (
    QUIET,
    Form,
    Hook,
    Task,
    Witness,
    with_aiosmpplib,
    with_smpp34,
    with_smpplib,
)
from tests.integration.world import HOST, PASSWORD, SOURCE, SYSTEM_ID, World

# Two parts of 67 characters at most, and still as much as smpplib puts into message_payload.
LONG = (TEXT * 10)[:120]

WITNESSES = [with_smpplib, with_aiosmpplib, with_smpp34]
FORMS: list[tuple[Form, str, int]] = [("short", TEXT, 1), ("header", LONG, 2), ("payload", LONG, 1)]

_numbers = itertools.count(13_800_138_000)


@pytest.mark.parametrize("witness", WITNESSES)
@pytest.mark.parametrize(("form", "text", "parts"), FORMS, ids=["short", "header", "payload"])
async def test_submit_and_receipt(
    shared_world: World, witness: Witness, form: Form, text: str, parts: int
) -> None:
    await exchange(shared_world, witness, form, text, parts)


@pytest.mark.parametrize(("form", "text", "parts"), FORMS, ids=["short", "header", "payload"])
async def test_receipts_on_a_receiver_of_its_own(
    shared_world: World, form: Form, text: str, parts: int
) -> None:
    await exchange(shared_world, with_smpplib, form, text, parts, pair=True)


async def exchange(
    world: World, witness: Witness, form: Form, text: str, parts: int, *, pair: bool = False
) -> None:
    destination = str(next(_numbers))
    seen = await witness(world.port, Task(text, form, destination, receipts=parts, pair=pair))
    assert len(seen.ids) == len(set(seen.ids)) == parts
    assert sorted(seen.receipts) == sorted((message_id, "DELIVRD") for message_id in seen.ids)
    assert text_at_the_carrier(world, destination) == text


def text_at_the_carrier(world: World, destination: str) -> str:
    """What a handset would show: the parts put together by their headers."""
    pieces: dict[int, bytes] = {}
    for frame in world.carrier.kept(destination):
        pdu = decode(frame)
        assert isinstance(pdu, SubmitSm)
        assert (pdu.source_addr, pdu.destination_addr) == (SOURCE.encode(), destination.encode())
        part = udh.part_of(pdu.esm_class, pdu.short_message, pdu.tlvs)
        if part is None:
            pieces[0] = pdu.short_message or pdu.tlv(int(TlvTag.MESSAGE_PAYLOAD)) or b""
        else:
            pieces[part.sequence] = udh.parse_header(pdu.short_message)[1]
            assert part.total == 2
    return b"".join(octets for _, octets in sorted(pieces.items())).decode("utf-16-be")


@pytest.mark.parametrize("witness", WITNESSES)
async def test_a_reply_waits_for_its_application(shared_world: World, witness: Witness) -> None:
    subscriber = str(next(_numbers))
    shared_world.carrier.reply(subscriber, SOURCE + "7", "收到，谢谢！")
    seen = await witness(shared_world.port, Task("", "short", "", receipts=0, replies=1))
    assert seen.replies == [(subscriber, "收到，谢谢！")]


async def test_a_refused_bind_is_read_as_what_it_is(shared_world: World) -> None:
    port = shared_world.port
    wrong = "wrong"

    def bind_with_smpplib() -> None:
        client = smpplib.client.Client(HOST, port, allow_unknown_opt_params=True)
        client.connect()
        try:
            client.bind_transmitter(system_id=SYSTEM_ID, password=wrong)
        finally:
            client.disconnect()

    with pytest.raises(smpplib.exceptions.PDUError) as smpplib_error:
        await asyncio.to_thread(bind_with_smpplib)
    assert smpplib_error.value.args[1] == smpplib.consts.SMPP_ESME_RINVPASWD

    # smpp34 tells no status of a refused bind to its user: it closes, and calls it a time-out.
    with pytest.raises(smpp34.SmppError, match="bind timed out"):
        await smpp34.Client(HOST, port, SYSTEM_ID, wrong, bind_type="TX", connect_timeout_ms=300).connect()

    # aiosmpplib decodes the body before it looks at the status, so a refused bind has an empty system_id.
    hook = Hook()
    client = aiosmpplib.ESME(HOST, port, SYSTEM_ID, wrong, hook=hook, **QUIET)
    with pytest.raises(aiosmpplib.state.SmppError):
        await client.connect()
    assert hook.refusals == ["ESME_RINVPASWD"]
    client._writer.close()
    await client._writer.wait_closed()


def test_smpplib_asks_what_became_of_a_message(shared_world: World) -> None:
    answers: list[tuple[bytes, int]] = []
    ids: list[bytes] = []
    receipts: list[object] = []
    client = smpplib.client.Client(HOST, shared_world.port, allow_unknown_opt_params=True)
    client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id))
    client.set_message_received_handler(lambda pdu: receipts.append(pdu))
    client.set_query_resp_handler(lambda pdu: answers.append((pdu.message_id, pdu.message_state)))
    client.connect()
    client.bind_transceiver(system_id=SYSTEM_ID, password=PASSWORD)
    source = {"source_addr_ton": 1, "source_addr_npi": 1, "source_addr": SOURCE}
    client.send_message(
        **source, destination_addr="13800138000", short_message=b"Hello", registered_delivery=True
    )
    while not receipts:
        client.read_once(auto_send_enquire_link=False)
    client.query_message(message_id=ids[0].decode(), **source)
    while not answers:
        client.read_once(auto_send_enquire_link=False)
    assert answers == [(ids[0], smpplib.consts.SMPP_MESSAGE_STATE_DELIVERED)]
    client.unbind()
    client.disconnect()
