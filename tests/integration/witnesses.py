"""Three SMPP clients that others wrote, made to do the same: bind, submit, and hear what comes back.

Each splits a long text in its own way where it has one. What they saw is told in their own reading of the
PDUs, so that two parsers must agree about every octet.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import aiosmpplib
import msgspec
import smpp34
import smpplib.client
import smpplib.consts
import smpplib.gsm

from protocol import udh
from protocol.alphabet import Alphabet
from protocol.smpp.codes import TlvTag
from tests.integration.world import HOST, PASSWORD, SOURCE, SYSTEM_ID

Form = Literal["short", "header", "payload"]
"""How a text is sent: in one part, in parts with user data headers, whole in message_payload."""

UCS2: Final = 8
_UDHI: Final = 0x40
_RECEIPT: Final = 0x04
_WAIT_S: Final = 10.0


class Task(msgspec.Struct, frozen=True):
    """Submit `text` to `destination` and ask for receipts; an empty text: submit nothing.
    Then read until `receipts` and `replies` have come."""

    text: str
    form: Form
    destination: str
    receipts: int
    replies: int = 0
    pair: bool = False  # a transmitter and a receiver in place of a transceiver


class Seen(msgspec.Struct):
    """ids: of the submit_sm_resp, in order.  receipts: (id, stat).  replies: (from, text)."""

    ids: list[str] = []
    receipts: list[tuple[str, str]] = []
    replies: list[tuple[str, str]] = []

    def complete(self, task: Task) -> bool:
        return len(self.receipts) >= task.receipts and len(self.replies) >= task.replies


QUIET: Final = {"log_level": "CRITICAL", "log_handler": logging.NullHandler()}
"""Arguments that keep aiosmpplib from writing to the standard output."""

Witness = Callable[[int, Task], Awaitable[Seen]]


# -- smpplib ------------------------------------------------------------------------------------------------


async def with_smpplib(port: int, task: Task) -> Seen:
    return await asyncio.to_thread(_smpplib, port, task)


def _smpplib(port: int, task: Task) -> Seen:
    seen = Seen()

    def received(pdu: smpplib.command.DeliverSM) -> int:
        if pdu.esm_class & _RECEIPT:
            stat = pdu.short_message.decode().partition(" stat:")[2][:7]
            seen.receipts.append((pdu.receipted_message_id.decode(), stat))
        else:
            seen.replies.append((pdu.source_addr.decode(), pdu.short_message.decode("utf-16-be")))
        return int(smpplib.consts.SMPP_ESME_ROK)

    def connected() -> smpplib.client.Client:
        client = smpplib.client.Client(HOST, port, timeout=_WAIT_S, allow_unknown_opt_params=True)
        client.set_message_received_handler(received)
        client.set_message_sent_handler(lambda pdu: seen.ids.append(pdu.message_id.decode()))
        client.connect()
        return client

    sender = connected()
    if task.pair:
        sender.bind_transmitter(system_id=SYSTEM_ID, password=PASSWORD)
        hearer = connected()
        hearer.bind_receiver(system_id=SYSTEM_ID, password=PASSWORD)
    else:
        sender.bind_transceiver(system_id=SYSTEM_ID, password=PASSWORD)
        hearer = sender
    parts: list[dict[str, object]] = []
    if task.form == "payload":
        parts = [{"short_message": b"", "message_payload": task.text.encode("utf-16-be")}]
    elif task.text:
        texts, _, esm_class = smpplib.gsm.make_parts(task.text, smpplib.consts.SMPP_ENCODING_ISO10646)
        parts = [{"short_message": text, "esm_class": esm_class} for text in texts]
    for part in parts:
        sender.send_message(
            source_addr_ton=smpplib.consts.SMPP_TON_INTL,
            source_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
            source_addr=SOURCE,
            dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
            dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
            destination_addr=task.destination,
            data_coding=smpplib.consts.SMPP_ENCODING_ISO10646,
            registered_delivery=True,
            **part,
        )
    deadline = time.monotonic() + _WAIT_S
    while len(seen.ids) < len(parts):
        assert time.monotonic() < deadline
        sender.read_once(auto_send_enquire_link=False)
    while not seen.complete(task):
        assert time.monotonic() < deadline
        hearer.read_once(auto_send_enquire_link=False)
    for client in {sender, hearer}:
        client.unbind()
        client.disconnect()
    return seen


# -- aiosmpplib ---------------------------------------------------------------------------------------------


class Hook(aiosmpplib.AbstractHook):  # type: ignore[misc]
    """Reads every PDU itself, since the client shows only the last response of a message in parts."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.refusals: list[str] = []  # statuses of responses that were not ESME_ROK
        self.failures: list[Exception] = []

    async def sending(self, smpp_message: object, pdu: bytes, client_id: str) -> None:
        pass

    async def received(self, smpp_message: object, pdu: bytes, client_id: str) -> None:
        header = aiosmpplib.SmppMessage.parse_header(pdu)
        if header.command_status != aiosmpplib.SmppCommandStatus.ESME_ROK:
            self.refusals.append(header.command_status.name)
            return
        match header.smpp_command:
            case aiosmpplib.SmppCommand.SUBMIT_SM_RESP:
                self.seen.ids.append(aiosmpplib.SubmitSmResp.from_pdu(pdu, header).message_id)
            case aiosmpplib.SmppCommand.DELIVER_SM:
                message = aiosmpplib.DeliverSm.from_pdu(pdu, header, "gsm0338")
                if message.is_receipt():
                    receipt = message.parse_receipt()
                    self.seen.receipts.append((receipt["id"], receipt["stat"]))
                else:
                    self.seen.replies.append((message.source.number, message.short_message))

    async def send_error(self, smpp_message: object, error: Exception, client_id: str) -> None:
        self.failures.append(error)


async def with_aiosmpplib(port: int, task: Task) -> Seen:
    hook = Hook()
    client = aiosmpplib.ESME(HOST, port, SYSTEM_ID, PASSWORD, hook=hook, **QUIET)
    international = (aiosmpplib.TON.INTERNATIONAL, aiosmpplib.NPI.ISDN)
    if task.text:
        forms: dict[Form, dict[str, object]] = {
            "short": {"short_message": task.text},
            "header": {"short_message": task.text, "esm_class": _UDHI, "auto_message_payload": False},
            "payload": {"message_payload": task.text},
        }
        message = aiosmpplib.SubmitSm(
            source=aiosmpplib.PhoneNumber(SOURCE, *international),
            destination=aiosmpplib.PhoneNumber(task.destination, *international),
            encoding="ucs2",
            **forms[task.form],
        )
        await client.broker.enqueue(message)
    async with asyncio.timeout(_WAIT_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.start(), name="aiosmpplib")
        while not hook.seen.complete(task):
            assert [*hook.failures, *hook.refusals] == []
            await asyncio.sleep(0.01)
        writer = client._writer
        await client.stop()
        running.cancel()
        writer.close()  # the client forgets it, and leaves it to the collector
        await writer.wait_closed()
    return hook.seen


# -- smpp34 -------------------------------------------------------------------------------------------------


async def with_smpp34(port: int, task: Task) -> Seen:
    seen = Seen()
    client = smpp34.Client(HOST, port, SYSTEM_ID, PASSWORD, bind_type="TRX")
    async with asyncio.timeout(_WAIT_S):
        session = await client.connect()
        for short_message, esm_class, tlvs in _smpp34_parts(task):
            response = await session.submit_sm(
                task.destination,
                short_message,
                source_addr=SOURCE,
                source_addr_ton=1,
                source_addr_npi=1,
                dest_addr_ton=1,
                dest_addr_npi=1,
                esm_class=esm_class,
                registered_delivery=1,
                data_coding=UCS2,
                tlvs=tlvs,
            )
            assert response.is_success
            seen.ids.append(str(response.message_id))
        while not seen.complete(task):
            event = await session.next()
            assert isinstance(event, smpp34.DeliverSmEvent), event
            if event.esm_class & _RECEIPT:
                ids = [tlv.as_string() for tlv in event.tlvs if tlv.tag == TlvTag.RECEIPTED_MESSAGE_ID]
                stat = event.short_message.decode().partition(" stat:")[2][:7]
                seen.receipts.append((str(ids[0]), stat))
            else:
                seen.replies.append((event.source_addr, event.short_message.decode("utf-16-be")))
        await session.unbind()
        await client.stop()
    return seen


def _smpp34_parts(task: Task) -> list[tuple[bytes, int, list[smpp34.Tlv]]]:
    """smpp34 splits nothing itself: its users bring the parts."""
    if not task.text:
        return []
    if task.form == "payload":
        return [(b"", 0, [smpp34.Tlv(int(TlvTag.MESSAGE_PAYLOAD), task.text.encode("utf-16-be"))])]
    parts = udh.split(task.text, Alphabet.UCS_2, 0x2A)
    return [(part, _UDHI if len(parts) > 1 else 0, []) for part in parts]
