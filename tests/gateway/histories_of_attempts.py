"""Scripted histories of attempts, ways and times: what is tried again, goes elsewhere, is cut, or waits.

Each behaviour has its own test elsewhere; here they are material for the crash after every record.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.config import RouteTable
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import CancelSm, DataSm, DeliverSm, ReplaceSm, SubmitSm
from protocol.udh import concatenation_header
from tests.gateway.histories import History
from tests.gateway.peers import SOURCE, ApplicationPeer, CarrierPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, World, account, carrier

PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)
UDHI: Final = 0x40
UCS_2: Final = 8
TRANSACTION: Final = 2

# 150 characters of Chinese: three parts.
LONG: Final[dict[str, Any]] = {
    "short_message": b"",
    "data_coding": UCS_2,
    "tlvs": ((PAYLOAD, b"\x4f\x60" * 150),),
}


def own_part(sequence: int, total: int, reference: int = 7, destination: bytes = MOBILE) -> SubmitSm:
    """One part of a text that an application has cut itself."""
    text = concatenation_header(reference, total, sequence) + b"part %d" % sequence
    return submit_sm(destination, esm_class=UDHI, short_message=text)


# -- again, later and elsewhere ----------------------------------------------------------------------------


def postponed_and_delivered(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    (request,) = carrier.taken()
    carrier.answer(request, command_status=CommandStatus.ESME_RSYSERR)
    world.wait(4.9)
    assert carrier.taken() == []
    world.wait(0.1)
    carrier.take_one(b"18")
    carrier.deliver(receipt(b"18", MOBILE))
    application.reports()


def postponed_until_it_is_too_late(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE, validity_period=b"000000000030000R")
    for wait_s in (5.0, 0.0):
        (request,) = carrier.taken()
        carrier.answer(request, command_status=CommandStatus.ESME_RX_T_APPN)
        world.wait(wait_s)
    application.reports()


def failed_and_tried_later(world: World) -> None:
    """The body of the second attempt is in the evidence alone."""
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.take_one(b"17")
    carrier.deliver(receipt(b"17", MOBILE, b"MB:0008"))
    carrier.deliver(receipt(b"17", MOBILE, b"MB:0008"))  # a duplicate says nothing of the next attempt
    world.wait(5.0)
    world.wait(0.0)
    carrier.take_one(b"18")
    carrier.deliver(receipt(b"17", MOBILE, b"MB:0008"))
    carrier.deliver(receipt(b"18", MOBILE))
    application.reports()


def rerouted(world: World) -> tuple[CarrierPeer, CarrierPeer, ApplicationPeer]:
    """Mobile has taken a message and says then that the number was ported; Unicom gets it."""
    mobile, unicom, application = world.connect("cmcc"), world.connect("cucc"), world.application()
    application.submit(MOBILE)
    mobile.take_one(b"17")
    mobile.deliver(receipt(b"17", MOBILE, b"MB:1049"))
    world.wait(0.0)
    world.wait(0.0)
    return mobile, unicom, application


def rerouted_and_the_first_fails_late(world: World) -> None:
    mobile, unicom, application = rerouted(world)
    unicom.take_one(b"17")  # the ids of two carriers have nothing to do with each other
    mobile.deliver(receipt(b"17", MOBILE, b"UNDELIV"))
    unicom.deliver(receipt(b"17", MOBILE))
    mobile.deliver(receipt(b"17", MOBILE, b"MB:1049"))
    application.reports()
    application.submit(MOBILE)  # the number is known to be Unicom's now
    unicom.take_one(b"18")


def rerouted_and_the_first_is_delivered_late(world: World) -> None:
    mobile, unicom, application = rerouted(world)
    (request,) = unicom.taken()
    mobile.deliver(receipt(b"17", MOBILE))
    unicom.answer(request, b"u1")
    unicom.deliver(receipt(b"u1", MOBILE, b"UNDELIV"))
    application.reports()


def rerouted_once_only(world: World) -> None:
    _, unicom, application = rerouted(world)
    unicom.take_one(b"u1")
    unicom.deliver(receipt(b"u1", MOBILE, b"MB:1049"))
    application.reports()


def rerouted_for_no_route(world: World) -> None:
    """The account that stands by is one of another network; the number is where it was."""
    mobile, unicom, application = world.connect("cmcc"), world.connect("cucc"), world.application()
    application.submit(MOBILE)
    mobile.take_one(b"17")
    mobile.deliver(receipt(b"17", MOBILE, b"MB:1044"))
    for _ in range(2):
        world.wait(0.0)
    unicom.take_one(b"u1")
    unicom.deliver(receipt(b"u1", MOBILE))
    application.reports()


def taken_after_all_while_it_waits_to_be_tried_later(world: World) -> None:
    """The part is taken out of its rest; its failure, which comes later, begins another one."""
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    (first,) = carrier.taken()
    world.wait(10.0)
    carrier.answer(first, b"17")
    carrier.deliver(receipt(b"17", MOBILE, b"MB:0008"))
    world.wait(4.0)
    assert carrier.taken() == []
    world.wait(1.0)
    world.wait(0.0)
    carrier.take_one(b"18")
    carrier.deliver(receipt(b"18", MOBILE))
    application.reports()


def _rerouted_with_the_rest(world: World, *text: SubmitSm) -> None:
    """The first part alone had left, and its carrier says that it has no way."""
    first, second, application = world.connect("a"), world.connect("b"), world.application()
    bucket = world.dispatch.carriers["a"].bucket
    bucket._level, bucket._updated = 1.0, world.loop.now
    for pdu in text:
        application.say(pdu)
    world.settle()
    first.take_one(b"17")
    first.deliver(receipt(b"17", MOBILE, b"MB:1044"))
    world.wait(0.0)
    world.wait(0.0)
    for number, request in enumerate(second.taken()):
        second.answer(request, b"2%d" % number)
        second.deliver(receipt(b"2%d" % number, MOBILE))
    application.reports()


def rerouted_with_the_rest_of_a_text_that_was_cut(world: World) -> None:
    _rerouted_with_the_rest(world, submit_sm(MOBILE, **LONG))


def rerouted_with_the_rest_of_an_applications_text(world: World) -> None:
    _rerouted_with_the_rest(world, own_part(1, 2), own_part(2, 2))


# -- texts that are cut ------------------------------------------------------------------------------------


def cut_and_delivered(world: World) -> None:
    carrier, application = world.connect(), world.application(bind="transmitter")
    application.submit(MOBILE, **LONG)
    for number, request in enumerate(carrier.taken()):
        carrier.answer(request, b"4%d" % number)
    for number in (1, 0, 2):
        carrier.deliver(receipt(b"4%d" % number, MOBILE))
    world.wait(1.0)
    world.application().reports()


def cut_and_the_second_fails(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE, **LONG)
    for number, request in enumerate(carrier.taken()):
        carrier.answer(request, b"4%d" % number)
    for number, stat in enumerate((b"DELIVRD", b"UNDELIV", b"MK:0001")):
        carrier.deliver(receipt(b"4%d" % number, MOBILE, stat))
    application.reports()


def cut_and_one_is_open(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE, **LONG)
    first, second, _ = carrier.taken()
    carrier.answer(first, b"40")
    carrier.deliver(receipt(b"40", MOBILE))
    carrier.answer(second, command_status=CommandStatus.ESME_RSYSERR)
    world.wait(5.0)
    carrier.take_one(b"41")
    carrier.deliver(receipt(b"41", MOBILE))


def cut_and_cancelled(world: World) -> None:
    application = world.application()
    cancelled = application.submit(MOBILE, **LONG)
    kept = application.submit(MOBILE_2, **LONG)
    application.ask(CancelSm(message_id=cancelled, source_addr=SOURCE))
    application.reports()
    carrier = world.connect()
    (first, *_) = carrier.taken()
    carrier.answer(first, b"50")
    application.ask(CancelSm(message_id=kept, source_addr=SOURCE))


def transaction_of_which_the_first_part_is_refused(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE, esm_class=TRANSACTION, **LONG))
    world.settle()
    (request,) = carrier.taken()
    carrier.answer(request, command_status=CommandStatus.ESME_RINVDSTADR)
    application.reports()


# -- times -------------------------------------------------------------------------------------------------


def scheduled(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE, schedule_delivery_time=b"000000010000000R")
    application.submit(
        MOBILE_2, schedule_delivery_time=b"260921234320032+", validity_period=b"000000003000000R"
    )
    world.wait(3_599.0)
    assert carrier.taken() == []
    world.wait(1.0)
    carrier.take_one(b"17")
    world.wait(1_800.0)
    carrier.take_one(b"18")
    application.reports()


def scheduled_and_replaced(world: World) -> None:
    application = world.application()
    kept = application.submit(MOBILE, schedule_delivery_time=b"000000010000000R")
    moved = application.submit(MOBILE, schedule_delivery_time=b"000000010000000R")
    queued = application.submit(MOBILE_2)
    times = {kept: b"", moved: b"000000020000000R", queued: b"000000003000000R"}
    for message_id, schedule in times.items():
        wish = ReplaceSm(
            message_id=message_id,
            source_addr=SOURCE,
            schedule_delivery_time=schedule,
            registered_delivery=1,
            short_message=b"other " + message_id,
        )
        application.ask(wish)
    carrier = world.connect()
    for number, wait_s in enumerate((1_800.0, 1_800.0, 3_600.0)):
        world.wait(wait_s)
        carrier.take_one(b"%d" % number)


# -- modes -------------------------------------------------------------------------------------------------


def transactions(world: World) -> None:
    """Taken, refused, by data_sm, unanswered; and one that is cut off at the end."""
    carrier, application = world.connect(), world.application()
    payload = ((PAYLOAD, b"hello"),)
    by_data_sm = DataSm(
        source_addr=SOURCE,
        destination_addr=MOBILE,
        esm_class=TRANSACTION,
        registered_delivery=1,
        tlvs=payload,
    )
    for pdu in (
        submit_sm(MOBILE, esm_class=TRANSACTION),
        submit_sm(MOBILE_2, esm_class=TRANSACTION),
        by_data_sm,
    ):
        application.say(pdu)
    world.settle()
    taken, refused, failed = carrier.taken()
    carrier.answer(taken, b"17")
    carrier.answer(refused, command_status=CommandStatus.ESME_RINVDSTADR)
    carrier.answer(failed, b"")
    carrier.deliver(receipt(b"17", MOBILE, b"UNDELIV"))
    application.say(submit_sm(MOBILE_2, esm_class=TRANSACTION))
    world.settle()
    world.wait(10.0)
    carrier.cut()
    application.say(submit_sm(MOBILE_2, esm_class=TRANSACTION))
    world.settle()
    world.wait(8.1)
    world.connect()
    application.say(submit_sm(MOBILE_2, esm_class=TRANSACTION))
    world.settle()
    application.reports()


def transaction_that_is_cut(world: World) -> None:
    carrier, application = world.connect(), world.application()
    for destination in (MOBILE, MOBILE_2):
        application.say(submit_sm(destination, esm_class=TRANSACTION, **LONG))
    world.settle()
    for number, request in enumerate(carrier.taken()):
        refused = CommandStatus.ESME_RINVDSTADR if request.destination_addr == MOBILE_2 else 0
        carrier.answer(request, b"4%d" % number, refused)
    for number, stat in enumerate((b"DELIVRD", b"UNDELIV", b"DELIVRD")):
        carrier.deliver(receipt(b"4%d" % number, MOBILE, stat))
    application.reports()


# -- ways --------------------------------------------------------------------------------------------------


def parts_of_one_text_take_one_way(world: World) -> None:
    first, second, application = world.connect("a"), world.connect("b"), world.application()
    for sequence in (1, 2):
        application.say(own_part(sequence, 3))
        application.say(own_part(sequence, 3, reference=8))
    world.settle()
    application.say(own_part(3, 3))
    application.say(own_part(3, 3, reference=8))
    world.settle()
    for peer, base in ((first, 100), (second, 200)):
        for number, request in enumerate(peer.taken()):
            peer.answer(request, b"%d" % (base + number))
    first.deliver(receipt(b"100", MOBILE))
    second.deliver(receipt(b"201", MOBILE, b"UNDELIV"))
    application.reports()


def handed_over(world: World) -> None:
    """What waits for a carrier that is lost goes the other way; what it had is still its own."""
    first, application = world.connect("a"), world.application()
    application.submit(MOBILE)
    first.take_one(b"17")
    world.hold("a", 100.0)
    for destination in (MOBILE_2, MOBILE):
        application.submit(destination)
    application.submit(MOBILE, **LONG)
    first.cut()
    second = world.connect("b")
    world.wait(1.0)
    assert second.taken() == []
    world.wait(1.0)
    for number, request in enumerate(second.taken()):
        second.answer(request, b"2%d" % number)
    second.deliver(receipt(b"20", MOBILE_2))
    again = world.connect("a")
    again.deliver(receipt(b"17", MOBILE))
    application.reports()


def answered_late_by_the_one_before(world: World) -> None:
    """One carrier falls silent, the other takes the part, and then the first one answers after all."""
    first, second, application = world.connect("a"), world.connect("b"), world.application()
    application.submit(MOBILE)
    (request,) = first.taken()
    world.hold("a", 100.0)
    world.wait(10.0)  # uncertain, and to be sent again
    world.wait(1.0)
    world.wait(1.0)
    second.take_one(b"17")
    first.answer(request, b"17")
    first.deliver(receipt(b"17", MOBILE, b"UNDELIV"))
    second.deliver(receipt(b"17", MOBILE))
    application.reports()


# -- refusals ----------------------------------------------------------------------------------------------


def opted_out(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.take_one(b"17")
    carrier.deliver(DeliverSm(source_addr=MOBILE, destination_addr=SOURCE, short_message=b"T"))
    application.ask(submit_sm(MOBILE))
    application.submit(MOBILE_2)


_RESENDS: Final = (account(uncertain="resend"),)
_TWO_NETWORKS: Final = (carrier("cmcc"), carrier("cucc", "unicom"))
_PARTS_ONLY: Final = (carrier(message_payload=False),)
_TWO_WAYS: Final = (carrier("a", message_payload=False), carrier("b", message_payload=False))
_FIRST_A: Final = (RouteTable(network="mobile", carriers=("a", "b"), weights=(1, 0)),)

_UNICOM_STANDS_BY: Final = (RouteTable(network="mobile", carriers=("cmcc", "cucc"), weights=(1, 0)),)

HISTORIES_OF_ATTEMPTS: Final = (
    History(postponed_and_delivered),
    History(postponed_until_it_is_too_late),
    History(failed_and_tried_later),
    History(rerouted_and_the_first_fails_late, carriers=_TWO_NETWORKS),
    History(rerouted_and_the_first_is_delivered_late, carriers=_TWO_NETWORKS),
    History(rerouted_once_only, carriers=_TWO_NETWORKS),
    History(rerouted_for_no_route, carriers=_TWO_NETWORKS, routes=_UNICOM_STANDS_BY),
    History(taken_after_all_while_it_waits_to_be_tried_later, _RESENDS),
    History(rerouted_with_the_rest_of_a_text_that_was_cut, carriers=_TWO_WAYS, routes=_FIRST_A),
    History(rerouted_with_the_rest_of_an_applications_text, carriers=_TWO_WAYS, routes=_FIRST_A),
    History(cut_and_delivered, carriers=_PARTS_ONLY),
    History(cut_and_the_second_fails, carriers=_PARTS_ONLY),
    History(cut_and_one_is_open, carriers=_PARTS_ONLY),
    History(cut_and_cancelled, carriers=(carrier(message_payload=False, window=1),)),
    History(scheduled),
    History(scheduled_and_replaced),
    History(transactions),
    History(transaction_that_is_cut, carriers=_PARTS_ONLY),
    History(
        transaction_of_which_the_first_part_is_refused, carriers=(carrier(message_payload=False, window=1),)
    ),
    History(parts_of_one_text_take_one_way, carriers=(carrier("a"), carrier("b"))),
    History(handed_over, carriers=_TWO_WAYS, routes=_FIRST_A),
    History(answered_late_by_the_one_before, _RESENDS, _TWO_WAYS, _FIRST_A),
    History(opted_out, (account(category="convenience"),)),
)
