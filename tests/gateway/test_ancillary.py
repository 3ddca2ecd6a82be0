"""Every operation besides submit_sm, answered from the gateway's own state (field lesson 29)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from gateway.message import QUEUED
from protocol.smpp.codes import RESPONSE_BIT, CommandStatus, TlvTag
from protocol.smpp.pdu import (
    BroadcastSm,
    CancelBroadcastSm,
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    DistributionList,
    EnquireLink,
    EnquireLinkResp,
    Pdu,
    QueryBroadcastSm,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    SmeAddress,
    SubmitMulti,
    SubmitMultiResp,
    UnsuccessfulDelivery,
)
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, ApplicationPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, UNICOM, World, account, carrier

PAYLOAD = int(TlvTag.MESSAGE_PAYLOAD)
OK = CommandStatus.ESME_ROK
ENROUTE, DELIVERED, DELETED, REJECTED = 1, 2, 4, 8


def accepted(world: World) -> list[records.Accepted]:
    return [record for record in world.log.read() if isinstance(record, records.Accepted)]


# -- more ways to submit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "inline", "units"), [(b"", True, 1), (b"a" * 254, True, 2), (b"a" * 255, False, 2)]
)
def test_a_data_sm_becomes_a_submit_sm(payload: bytes, inline: bool, units: int, world: World) -> None:
    peer, application = world.connect(), world.application()
    tlvs = ((0x1401, b"vendor"), (PAYLOAD, payload))
    asked = DataSm(
        service_type=b"CMT", source_addr=SOURCE, destination_addr=MOBILE, registered_delivery=1, tlvs=tlvs
    )
    answer = application.ask(asked)
    (record,) = accepted(world)
    message_id = world.message_ids.text(4)
    assert answer == DataSmResp(answer.sequence_number, message_id=message_id)
    assert (record.flags, record.parts) == (records.FLAG_DATA_SM, units)
    (request,) = peer.taken()
    assert request == submit_sm(
        MOBILE,
        sequence_number=request.sequence_number,
        service_type=b"CMT",
        short_message=payload if inline else b"",
        tlvs=tlvs[:1] if inline else tlvs,
    )
    peer.answer(request, b"17")
    peer.deliver(receipt(b"17", MOBILE))
    assert application.reports() == [(message_id, DELIVERED, b"000")]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"destination_addr": b"1" * 21}, CommandStatus.ESME_RINVDSTADR),
        ({"destination_addr": b"95555"}, CommandStatus.ESME_RINVDSTADR),
        ({"source_addr": b"95555"}, CommandStatus.ESME_RINVSRCADR),
    ],
)
def test_a_data_sm_is_refused_like_a_submit_sm(
    fields: dict[str, Any], status: CommandStatus, world: World
) -> None:
    application = world.application()
    defaults = {"source_addr": SOURCE, "destination_addr": MOBILE}
    answer = application.ask(DataSm(**{**defaults, **fields}))
    assert (type(answer), answer.command_status) == (DataSmResp, status)
    assert (accepted(world), world.kinds) == ([], ["Denied"])
    assert world.accounts["hukou"].refused == {status: 1}


def multi(*destinations: bytes, **fields: Any) -> SubmitMulti:
    addresses = tuple(SmeAddress(1, 1, number) for number in destinations)
    defaults = {"source_addr": SOURCE, "dest_address": addresses, "short_message": b"to all"}
    return SubmitMulti(**{**defaults, **fields})


def test_a_submit_multi_is_a_part_for_each_destination_under_one_id(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("cmcc"), carrier("cucc", "unicom")))
    mobile, unicom, application = world.connect("cmcc"), world.connect("cucc"), world.application()
    start = world.log.next_index
    answer = application.ask(multi(MOBILE, b"95555", UNICOM, MOBILE_2))
    refused = UnsuccessfulDelivery(1, 1, b"95555", CommandStatus.ESME_RINVDSTADR)
    assert answer == SubmitMultiResp(
        answer.sequence_number, message_id=world.message_ids.text(start), unsuccess_sme=(refused,)
    )
    assert [(record.message, record.flags) for record in accepted(world)] == [(0, 1), (start, 1), (start, 1)]
    assert [request.destination_addr for request in mobile.taken()] == [MOBILE, MOBILE_2]
    assert [request.destination_addr for request in unicom.taken()] == [UNICOM]
    assert "Denied" in world.kinds
    assert world.accounts["hukou"].refused == {CommandStatus.ESME_RINVDSTADR: 1}


@pytest.mark.parametrize(
    ("pdu", "status"),
    [
        (multi(b"95555", b"1"), CommandStatus.ESME_RINVDSTADR),
        (multi(MOBILE, source_addr=b"1"), CommandStatus.ESME_RINVSRCADR),
        (multi(dest_address=(DistributionList(b"all"),)), CommandStatus.ESME_RCNTSUBDL),
        (
            multi(dest_address=(SmeAddress(1, 1, MOBILE), DistributionList(b"all"))),
            CommandStatus.ESME_RCNTSUBDL,
        ),
    ],
)
def test_a_submit_multi_of_which_nothing_passes_is_refused(
    pdu: SubmitMulti, status: CommandStatus, world: World
) -> None:
    answer = world.application().ask(pdu)
    assert (type(answer), answer.command_status) == (SubmitMultiResp, status)
    assert (accepted(world), set(world.kinds)) == ([], {"Denied"})
    assert world.accounts["hukou"].refused == {status: len(world.kinds)}


# -- what became of it -------------------------------------------------------------------------------------


def queued(world: World) -> None:
    pass


def in_flight(world: World) -> None:
    world.connect()


def taken(world: World) -> None:
    world.connect().take_one(b"17")


def delivered(world: World) -> None:
    peer = world.connect()
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))


def undeliverable(world: World) -> None:
    peer = world.connect()
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE, b"UNDELIV", err=b"069"))


def refused(world: World) -> None:
    peer = world.connect()
    (request,) = peer.taken()
    peer.answer(request, command_status=CommandStatus.ESME_RSUBMITFAIL)


def uncertain(world: World) -> None:
    world.connect().cut()


class Fate(NamedTuple):
    """Where a part stands, and what the operations on it say."""

    bring: Callable[[World], None]
    message_state: int
    error_code: int = 0
    changeable: bool = False


FATES = [
    Fate(queued, ENROUTE, changeable=True),
    Fate(in_flight, ENROUTE),
    Fate(uncertain, ENROUTE),
    Fate(taken, ENROUTE),
    Fate(delivered, DELIVERED),
    Fate(undeliverable, 5, 69),
    Fate(refused, REJECTED, 45),
]
fates = pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.bring.__name__)


@fates
def test_query_sm_tells_the_state(fate: Fate, world: World) -> None:
    application = world.application()
    message_id = application.submit(MOBILE, registered_delivery=0)
    fate.bring(world)
    answer = application.ask(QuerySm(message_id=message_id, source_addr=SOURCE))
    assert answer == QuerySmResp(
        answer.sequence_number,
        message_id=message_id,
        final_date=b"" if fate.message_state == ENROUTE else b"260921141320000+",
        message_state=fate.message_state,
        error_code=fate.error_code,
    )


@fates
def test_cancel_sm_takes_back_what_no_carrier_has(fate: Fate, world: World) -> None:
    application = world.application()
    message_id = application.submit(MOBILE)
    fate.bring(world)
    application.reports()
    number = application.say(CancelSm(message_id=message_id, source_addr=SOURCE))
    world.turn()
    if not fate.changeable:
        assert application.heard == [CancelSmResp(number, CommandStatus.ESME_RCANCELFAIL)]
        return
    assert application.heard == []  # not before the disk has it
    world.settle()
    assert application.take(CancelSmResp) == [CancelSmResp(number)]
    assert application.reports() == [(message_id, DELETED, b"000")]
    assert world.connect().taken() == []


@fates
def test_replace_sm_changes_what_no_carrier_has(fate: Fate, world: World) -> None:
    application = world.application()
    message_id = application.submit(MOBILE, validity_period=b"000000010000000R", data_coding=8)
    fate.bring(world)
    application.reports()
    wish = ReplaceSm(
        message_id=message_id, source_addr=SOURCE, short_message=b"\x4f\x60", registered_delivery=0
    )
    number = application.say(wish)
    world.turn()
    if not fate.changeable:
        assert application.heard == [ReplaceSmResp(number, CommandStatus.ESME_RREPLACEFAIL)]
        return
    assert application.heard == []  # not before the disk has it
    world.settle()
    assert application.take(ReplaceSmResp) == [ReplaceSmResp(number)]
    peer = world.connect()
    request = peer.take_one(b"17")
    assert request == submit_sm(
        MOBILE,
        sequence_number=request.sequence_number,
        validity_period=b"000000010000000R",
        data_coding=8,
        short_message=b"\x4f\x60",
    )
    peer.deliver(receipt(b"17", MOBILE))
    assert application.reports() == []


def test_replace_sm_puts_another_payload_and_another_end(world: World) -> None:
    application = world.application()
    message_id = application.submit(MOBILE, short_message=b"", tlvs=((PAYLOAD, b"long"), (0x1401, b"v")))
    for validity, status in ((b"nonsense", CommandStatus.ESME_RINVEXPIRY), (b"000000000500000R", OK)):
        wish = ReplaceSm(
            message_id=message_id,
            source_addr=SOURCE,
            validity_period=validity,
            registered_delivery=1,
            tlvs=((PAYLOAD, b"longer"),),
        )
        assert application.ask(wish).command_status == status
    assert world.part(message_id).expires_us == world.turns.now_us + 300_000_000
    (request,) = world.connect().taken()
    assert (request.validity_period, request.tlvs) == (
        b"000000000500000R",
        ((0x1401, b"v"), (PAYLOAD, b"longer")),
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"\x4f\x60" * 10_000, CommandStatus.ESME_RREPLACEFAIL),  # with what is kept: more than 64 KiB
        (b"a" * 60_000, CommandStatus.ESME_RINVMSGLEN),
    ],
)
def test_replace_sm_that_makes_no_message_changes_nothing_and_the_session_lives(
    text: bytes, status: CommandStatus, world: World
) -> None:
    application = world.application()
    message_id = application.submit(MOBILE, data_coding=8, tlvs=((0x1401, b"v" * 60_000),))
    body = world.part(message_id).body
    wish = ReplaceSm(message_id=message_id, source_addr=SOURCE, tlvs=((PAYLOAD, text),))
    assert application.ask(wish).command_status == status
    assert (world.part(message_id).body, world.kinds) == (body, ["Accepted"])
    assert isinstance(application.ask(EnquireLink()), EnquireLinkResp)


def test_what_the_carrier_may_have_is_neither_cancelled_nor_replaced(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(uncertain="resend"),))
    application = world.application()
    message_id = application.submit(MOBILE)
    uncertain(world)
    assert world.part(message_id).state == QUEUED
    for pdu, status in (
        (CancelSm(message_id=message_id, source_addr=SOURCE), CommandStatus.ESME_RCANCELFAIL),
        (ReplaceSm(message_id=message_id, source_addr=SOURCE), CommandStatus.ESME_RREPLACEFAIL),
    ):
        assert application.ask(pdu).command_status == status


def test_cancel_sm_without_an_id_takes_back_all_between_two_addresses(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(), account("jiaoguan", sources=("10639110",))))
    application, stranger = world.application(), world.application("jiaoguan")
    ids = [application.submit(MOBILE), application.submit(MOBILE)]
    kept = [
        application.submit(MOBILE_2),
        application.submit(MOBILE, source_addr=SOURCE + b"1"),
        stranger.submit(MOBILE),
    ]
    answer = application.ask(CancelSm(source_addr=SOURCE, destination_addr=b"+86" + MOBILE))
    assert answer.command_status == OK
    assert [message_id for message_id, _, _ in application.reports()] == ids
    assert [world.part(message_id).state for message_id in kept] == [QUEUED] * 3
    for nobody in (MOBILE, b"13700137000", b"no number", b""):
        answer = application.ask(CancelSm(source_addr=SOURCE, destination_addr=nobody))
        assert answer.command_status == CommandStatus.ESME_RCANCELFAIL


def _query(message_id: bytes, source: bytes) -> Pdu:
    return QuerySm(message_id=message_id, source_addr=source)


def _cancel(message_id: bytes, source: bytes) -> Pdu:
    return CancelSm(message_id=message_id, source_addr=source)


def _replace(message_id: bytes, source: bytes) -> Pdu:
    return ReplaceSm(message_id=message_id, source_addr=source)


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (_query, CommandStatus.ESME_RQUERYFAIL),
        (_cancel, CommandStatus.ESME_RCANCELFAIL),
        (_replace, CommandStatus.ESME_RREPLACEFAIL),
    ],
)
def test_nobody_sees_or_changes_what_is_not_his(
    ask: Callable[[bytes, bytes], Pdu], status: CommandStatus, sealer: Sealer
) -> None:
    world = World(sealer, accounts=(account(), account("jiaoguan", sources=("10639110",))))
    owner, other = world.application(), world.application("jiaoguan")
    message_id = owner.submit(MOBILE)
    tries: list[tuple[ApplicationPeer, bytes, bytes]] = [
        (other, message_id, SOURCE),
        (owner, message_id, SOURCE + b"1"),
        (owner, b"a1b2c300000fffff", SOURCE),
        (owner, b"17", SOURCE),
    ]
    for application, wanted, source in tries:
        assert application.ask(ask(wanted, source)).command_status == status
    assert world.part(message_id).state == QUEUED


# -- what is not offered -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pdu", "status"),
    [
        (BroadcastSm(), CommandStatus.ESME_RBCASTFAIL),
        (QueryBroadcastSm(), CommandStatus.ESME_RBCASTQUERYFAIL),
        (CancelBroadcastSm(), CommandStatus.ESME_RBCASTCANCELFAIL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_broadcast_is_refused_with_its_own_status_and_the_session_lives(
    pdu: Pdu, status: CommandStatus, world: World
) -> None:
    application = world.application()
    answer = application.ask(pdu)
    assert (answer.command_id, answer.command_status) == (pdu.command_id | RESPONSE_BIT, status)
    assert isinstance(application.ask(EnquireLink()), EnquireLinkResp)
    (session,) = world.listener.applications
    assert session.connection.session.unanswered == 0
