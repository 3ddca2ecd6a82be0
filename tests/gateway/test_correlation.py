"""Which part a receipt speaks of, in whatever notation, order and company it comes."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.correlation import Correlation, WaitingReceipt, receipt_in
from gateway.message import DISPATCHED, FINAL, SENT, UNCERTAIN, Part
from protocol.smpp.codes import CommandStatus, MessageState, TlvTag
from protocol.smpp.pdu import DataSm, DataSmResp, DeliverSm
from protocol.smpp.receipt import Receipt
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, CarrierPeer, receipt
from tests.gateway.world import MOBILE, MOBILE_2, UNICOM, World, account, carrier

DELIVERED = int(MessageState.DELIVERED)
UUID = b"6F9619FF-8B86-D011-B42D-00CF4FC964FF"


def matches(world: World) -> list[str]:
    """How receipts that had waited were matched."""
    return [record.how for record in world.log.read() if isinstance(record, records.Matched)]


# -- ids ---------------------------------------------------------------------------------------------------

NOTATIONS = [  # (the carrier's response, its receipt, whether they are the same)
    (b"17", b"17", True),
    (b"0001A2B3", b"107187", True),  # hexadecimal, then decimal
    (b"107187", b"1A2B3", True),
    (b"1a2b3", b"0001A2B3", True),
    (b"0000000042", b"42", True),
    (b"42", b"0000000042", True),
    (UUID, UUID.lower(), True),
    (UUID, b"0" + UUID, False),
    (b"MSG-0042", b"msg-0042", True),
    (b"MSG-0042", b"MSG-42", False),
    (b"9223372036854775808123", b"1F4000000000000007B", True),  # beyond 63 bits
    (b"17", b"18", False),
]


@pytest.mark.parametrize("early", [False, True], ids=["after the response", "before it"])
@pytest.mark.parametrize(("told", "written", "same"), NOTATIONS)
def test_an_id_is_found_in_any_notation(
    told: bytes, written: bytes, same: bool, early: bool, world: World
) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (request,) = peer.taken()
    if early:
        peer.deliver(receipt(written, MOBILE))
        peer.answer(request, told)
        assert matches(world) == ([] if not same else ["exact" if told == written else "derived"])
    else:
        peer.answer(request, told)
        peer.deliver(receipt(written, MOBILE))
    assert application.reports() == ([(message_id, DELIVERED, b"000")] if same else [])
    assert world.dispatch.carriers["cmcc"].correlation.waiting == (0 if same else 1)


def test_the_exact_id_wins_over_another_notation(world: World) -> None:
    peer, application = world.connect(), world.application()
    ids = [application.submit(MOBILE), application.submit(MOBILE)]
    for request, told in zip(peer.taken(), (b"16", b"10"), strict=True):
        peer.answer(request, told)
    peer.deliver(receipt(b"10", MOBILE))  # 16 in hexadecimal, too
    assert application.reports() == [(ids[1], DELIVERED, b"000")]


def test_an_id_that_is_used_again_speaks_of_the_newer_part(world: World) -> None:
    peer, application = world.connect(), world.application()
    application.submit(MOBILE)
    peer.take_one(b"17")
    newer = application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))
    assert application.reports() == [(newer, DELIVERED, b"000")]


# -- forgeries ---------------------------------------------------------------------------------------------


class Forgery(NamedTuple):
    """What comes instead of the receipt of the part that went to MOBILE with id 17."""

    name: str
    pdu: DeliverSm
    kind: str
    waits: int


FORGERIES = [
    Forgery("typed on a handset", receipt(b"17", MOBILE, esm_class=0), "Reply", 0),
    Forgery("typed on a handset, with UDH", receipt(b"17", MOBILE, esm_class=0x40), "Reply", 0),
    Forgery("an acknowledgement of a user", receipt(b"17", MOBILE, esm_class=0x08), "Reply", 0),
    Forgery("of another subscriber", receipt(b"17", MOBILE_2), "Receipt", 0),
    Forgery("of another subscriber, in decimal", receipt(b"23", MOBILE_2), "Receipt", 1),
    Forgery("of an unknown id", receipt(b"99", MOBILE), "Receipt", 1),
    Forgery(
        "without an id", DeliverSm(source_addr=MOBILE, destination_addr=SOURCE, esm_class=4), "Receipt", 0
    ),
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_what_only_looks_like_a_receipt_is_recorded_and_changes_nothing(
    forgery: Forgery, world: World
) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(forgery.pdu)
    assert world.kinds[3] == forgery.kind
    assert world.part(message_id).state == SENT
    correlation = world.dispatch.carriers["cmcc"].correlation
    assert correlation.waiting == forgery.waits
    peer.deliver(receipt(b"17", MOBILE))
    assert world.part(message_id).message_state == DELIVERED


def test_another_carrier_cannot_speak_of_a_part(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("cmcc"), carrier("cucc", "unicom")))
    mobile, unicom, application = world.connect("cmcc"), world.connect("cucc"), world.application()
    message_id = application.submit(MOBILE)
    mobile.take_one(b"17")
    unicom.deliver(receipt(b"17", MOBILE))
    assert world.part(message_id).state == SENT
    assert world.dispatch.carriers["cucc"].correlation.waiting == 1


def test_a_receipt_comes_back_on_any_link_with_the_subscriber_at_either_end(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(sessions=2, bind="transceiver"),))
    a, b, application = world.connect(index=0), world.connect(index=1), world.application()
    ids = [application.submit(MOBILE), application.submit(MOBILE_2)]
    for peer in (a, b):
        for request in peer.taken():
            peer.answer(request, request.destination_addr[-4:])
    b.deliver(receipt(b"8000", b"+86" + MOBILE))
    a.deliver(receipt(b"9000", SOURCE, destination_addr=MOBILE_2))
    assert [each for each, _, _ in application.reports()] == ids


# -- more than one, and other forms ------------------------------------------------------------------------


def test_a_duplicate_is_recorded_and_not_reported(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"17")
    for stat in (b"DELIVRD", b"DELIVRD", b"UNDELIV", b"ENROUTE"):
        peer.deliver(receipt(b"17", MOBILE, stat))
    assert application.reports() == [(message_id, DELIVERED, b"000")]
    kept = [record for record in world.log.read() if isinstance(record, records.Receipt)]
    assert [(record.number, record.message_state, record.final) for record in kept] == [
        (world.part(message_id).number, 2, True),
        (world.part(message_id).number, 2, False),
        (world.part(message_id).number, 5, False),
        (world.part(message_id).number, 1, False),
    ]


def test_a_receipt_may_come_as_data_sm(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"17")
    tlvs = ((int(TlvTag.RECEIPTED_MESSAGE_ID), b"17\0"), (int(TlvTag.MESSAGE_STATE), b"\2"))
    answer = peer.ask(DataSm(source_addr=MOBILE, destination_addr=SOURCE, esm_class=4, tlvs=tlvs))
    assert isinstance(answer, DataSmResp)
    assert answer.command_status == 0
    assert application.reports() == [(message_id, DELIVERED, b"000")]


def test_a_carriers_own_code_ends_a_part_as_undeliverable(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE, b"MK:0001"))
    assert application.reports() == [(message_id, MessageState.UNDELIVERABLE, b"000")]


# -- receipts of parts whose id nobody told ----------------------------------------------------------------


def uncertain_to(world: World, *destinations: bytes) -> tuple[CarrierPeer, list[bytes]]:
    """Parts that were cut off; (the carrier, bound again, their message ids)."""
    peer, application = world.connect(), world.application()
    ids = [application.submit(destination) for destination in destinations]
    peer.cut()
    return world.connect(), ids


def states(world: World, ids: list[bytes]) -> list[int]:
    return [world.part(message_id).state for message_id in ids]


def test_the_only_uncertain_part_to_a_number_is_found_by_it(world: World) -> None:
    peer, ids = uncertain_to(world, MOBILE, MOBILE_2)
    peer.deliver(receipt(b"17", MOBILE, b"ENROUTE"))
    assert states(world, ids) == [SENT, UNCERTAIN]
    peer.deliver(receipt(b"17", MOBILE))
    assert states(world, ids) == [FINAL, UNCERTAIN]


def test_of_two_uncertain_parts_to_a_number_none_is_guessed(world: World) -> None:
    peer, ids = uncertain_to(world, MOBILE, MOBILE)
    peer.deliver(receipt(b"17", MOBILE))
    assert states(world, ids) == [UNCERTAIN, UNCERTAIN]
    assert world.dispatch.carriers["cmcc"].correlation.waiting == 1


def test_a_part_in_flight_to_the_same_number_may_be_meant(world: World) -> None:
    peer, ids = uncertain_to(world, MOBILE)
    ids.append(world.application().submit(MOBILE))
    peer.deliver(receipt(b"17", MOBILE))
    assert states(world, ids) == [UNCERTAIN, DISPATCHED]
    peer.take_one(b"17")  # it was
    assert states(world, ids) == [UNCERTAIN, FINAL]


@pytest.mark.parametrize(
    ("receipts", "expected", "how"),
    [
        ([(b"17", MOBILE, b"DELIVRD")], FINAL, ["uncertain"]),
        ([(b"17", MOBILE, b"ACCEPTD"), (b"17", MOBILE, b"DELIVRD")], FINAL, ["uncertain", "uncertain"]),
        ([(b"17", MOBILE, b"DELIVRD"), (b"18", MOBILE, b"DELIVRD")], UNCERTAIN, []),  # whose is which?
        ([(b"17", UNICOM, b"DELIVRD")], UNCERTAIN, []),
    ],
)
def test_receipts_that_came_before_the_cut_explain_it_if_they_can(
    receipts: list[tuple[bytes, bytes, bytes]], expected: int, how: list[str], world: World
) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    for told, subscriber, stat in receipts:
        peer.deliver(receipt(told, subscriber, stat))
    peer.cut()
    assert world.part(message_id).state == expected
    assert matches(world) == how


class Attempts(NamedTuple):
    """Receipts for one part of which two attempts were made: (id, stat)."""

    receipts: list[tuple[bytes, bytes]]
    state: int
    reports: list[int] = []  # noqa: RUF012 - a row of a table, which nobody changes
    waiting: int = 0
    second: bytes | None = None  # how the second attempt was answered; None: not at all


FAILED, LATER = (b"17", b"UNDELIV"), (b"18", b"DELIVRD")
UNDELIVERABLE = int(MessageState.UNDELIVERABLE)
ATTEMPTS = {
    "one fails": Attempts([FAILED], UNCERTAIN, waiting=1),
    "one fails, and says so twice": Attempts([FAILED, FAILED], UNCERTAIN, waiting=2),
    "both fail": Attempts([FAILED, (b"18", b"UNDELIV")], UNCERTAIN, waiting=2),
    "one is on its way": Attempts([(b"17", b"ENROUTE")], UNCERTAIN, waiting=1),
    "one is delivered": Attempts([LATER], FINAL, [DELIVERED]),
    "one fails, the other is delivered": Attempts([FAILED, LATER], FINAL, [DELIVERED], waiting=1),
    "one is delivered, the other fails": Attempts([LATER, FAILED], FINAL, [DELIVERED], waiting=1),
    "the second was taken without an id, and one fails": Attempts([FAILED], SENT, waiting=1, second=b""),
    "the second was taken without an id, and one is delivered": Attempts(
        [FAILED, LATER], FINAL, [DELIVERED], waiting=1, second=b""
    ),
    "the second was taken, and the first fails": Attempts([FAILED], SENT, waiting=1, second=b"18"),
    "the second was taken, and fails": Attempts([FAILED], FINAL, [UNDELIVERABLE], second=b"17"),
}


@pytest.mark.parametrize("early", [False, True], ids=["after the cut", "before it"])
@pytest.mark.parametrize("case", ATTEMPTS.values(), ids=ATTEMPTS)
def test_of_two_attempts_in_doubt_only_a_delivery_tells_the_fate(
    case: Attempts, early: bool, world: World
) -> None:
    """Also when all is looked through again."""
    peer, (message_id,) = uncertain_to(world, MOBILE)
    part = world.part(message_id)
    world.pipeline.resend([part], "zhang", "asked by the sender")
    world.settle()
    (request,) = peer.taken()
    if early:
        for carrier_id, stat in case.receipts:
            peer.deliver(receipt(carrier_id, MOBILE, stat))
        assert part.state == DISPATCHED
    if case.second is not None:
        peer.answer(request, case.second)
    peer.cut()
    if not early:
        peer = world.connect()
        for carrier_id, stat in case.receipts:
            peer.deliver(receipt(carrier_id, MOBILE, stat))
    application = world.application()
    for _ in range(2):
        assert part.state == case.state
        assert world.dispatch.carriers["cmcc"].correlation.waiting == case.waiting
        world.wait(600.0)
    assert [state for _, state, _ in application.reports()] == case.reports


def test_a_failure_is_of_the_attempt_that_was_not_refused(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (first,) = peer.taken()
    world.wait(10.0)
    world.pipeline.resend([world.part(message_id)], "zhang", "asked by the sender")
    world.settle()
    world.wait(10.0)
    peer.answer(first, command_status=CommandStatus.ESME_RINVDSTADR)
    peer.deliver(receipt(b"17", MOBILE, b"UNDELIV"))
    assert application.reports() == [(message_id, UNDELIVERABLE, b"000")]


def test_a_part_taken_without_an_id_is_found_by_its_number(world: World) -> None:
    peer, application = world.connect(), world.application()
    late, early = application.submit(MOBILE), application.submit(MOBILE_2)
    peer.deliver(receipt(b"18", MOBILE_2))
    for request in peer.taken():
        peer.answer(request, b"")
    assert states(world, [late, early]) == [SENT, FINAL]
    peer.deliver(receipt(b"17", MOBILE))
    assert states(world, [late, early]) == [FINAL, FINAL]
    assert world.dispatch.carriers["cmcc"].correlation.uncertain == 0


def test_a_receipt_speaks_of_no_part_that_was_accepted_after_it_came(world: World) -> None:
    peer, application = world.connect(), world.application()
    peer.deliver(receipt(b"17", MOBILE))
    peer.deliver(receipt(b"18", MOBILE_2))
    world.wait(3600.0)
    ids = [application.submit(MOBILE), application.submit(MOBILE_2)]
    first, _ = peer.taken()
    peer.answer(first, b"17")  # the carrier uses its ids again
    peer.cut()
    assert states(world, ids) == [SENT, UNCERTAIN]
    assert (matches(world), application.reports()) == ([], [])


@pytest.mark.parametrize(
    ("submit_date", "state"),
    [  # the part is accepted at 22:23:20
        (b"2609212223", FINAL),
        (b"2609212221", FINAL),  # the carrier's clock is two minutes behind
        (b"2609212220", UNCERTAIN),
        (b"260921222021", FINAL),
        (b"260921222020", UNCERTAIN),
        (b"2609222223", FINAL),  # tomorrow: of that clock nothing is known
        (b"0000000000", FINAL),
        (b"", FINAL),
    ],
)
@pytest.mark.parametrize("early", [False, True], ids=["after the cut", "before it"])
def test_a_receipt_of_what_was_submitted_earlier_is_of_another_part(
    submit_date: bytes, state: int, early: bool, world: World
) -> None:
    peer, application = world.connect(), world.application()
    world.wait(600.0)
    message_id = application.submit(MOBILE)
    text = b"id:17 submit date:%b stat:DELIVRD" % submit_date
    told = DeliverSm(source_addr=MOBILE, destination_addr=SOURCE, esm_class=4, short_message=text)
    if early:
        peer.deliver(told)
        peer.cut()
    else:
        peer.cut()
        world.connect().deliver(told)
    assert world.part(message_id).state == state


def test_a_sweep_looks_at_the_links_only_where_a_receipt_waits_for_the_number(world: World) -> None:
    peer, _ = uncertain_to(world, MOBILE, MOBILE_2, MOBILE_2)
    peer.deliver(receipt(b"17", MOBILE_2))
    asked: list[Part] = []

    def in_flight() -> list[Part]:
        asked.append(part)
        return []

    correlation = world.dispatch.carriers["cmcc"].correlation
    for part in world.open_parts.open.values():
        assert correlation.waiting_for_unnamed(part, in_flight) == []
    assert asked == []  # to MOBILE none waits, and to MOBILE_2 there are two parts


# -- a carrier's words -------------------------------------------------------------------------------------


def test_of_a_carriers_words_no_more_is_kept_than_has_a_meaning(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"7" * 64)
    words = b"id:%b sub:%b dlvrd:%b submit date:%b done date:%b stat:%b err:%b text:%b" % (
        *(b"7" * octets for octets in (64, 9, 9, 33, 33)),
        b"S" * 17,
        b"9" * 60_000,
        b"the text",
    )
    told = DeliverSm(
        source_addr=MOBILE,
        destination_addr=SOURCE,
        esm_class=4,
        tlvs=((int(TlvTag.MESSAGE_PAYLOAD), words),),
    )
    assert receipt_in(told) == Receipt(
        b"7" * 64, b"S" * 16, b"9" * 8, b"7" * 32, b"7" * 32, b"7" * 8, b"7" * 8, b"", 5
    )
    peer.deliver(told)
    assert len(world.log.entries[-1]) < 60_000 + 1000
    assert application.reports() == [(message_id, MessageState.UNDELIVERABLE, b"9" * 8)]


# -- the index alone ---------------------------------------------------------------------------------------


def waiting(index: int, message_id: bytes = b"17", recorded_us: int = 0) -> WaitingReceipt:
    return WaitingReceipt(index, recorded_us, Receipt(message_id), (MOBILE,), True)


def test_only_so_many_receipts_wait_and_the_oldest_gives_way() -> None:
    correlation = Correlation(2)
    for index in (5, 6, 7):
        correlation.wait(waiting(index))
    assert (correlation.waiting, correlation.oldest_waiting()) == (2, 6)
    part = Part(
        *(1, 1, Account(account(), 1, 0.0), Carrier(carrier(), 1, 0.0), MOBILE, b"", b"", b"", 1, 1, 0, 0),
        *(2, 0, 0, 1),
    )
    assert [each.index for each, _ in correlation.waiting_for(part, b"17")] == [6, 7]
    assert correlation.waiting_for(part, b"17") == []


def test_a_receipt_waits_for_hours_not_for_ever() -> None:
    correlation = Correlation(10)
    for index in (5, 6, 7):
        correlation.wait(waiting(index, recorded_us=index * 100))
    correlation.give_up_waiting(600)
    assert (correlation.waiting, correlation.oldest_waiting()) == (2, 6)
    correlation.give_up_waiting(10_000)
    assert (correlation.waiting, correlation.oldest_waiting()) == (0, None)
