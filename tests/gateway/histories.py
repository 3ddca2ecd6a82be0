"""Scripted histories of a gateway: what may happen to messages, told step by step.

Each behaviour has its own test elsewhere; here they are material for the crash after every record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gateway.config import AccountConfig, CarrierConfig, RouteTable
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import (
    CancelSm,
    DataSm,
    DeliverSm,
    ReplaceSm,
    SmeAddress,
    SubmitMulti,
)
from tests.gateway.peers import SOURCE, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, World, account, carrier


def delivered(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.take_one(b"17")
    carrier.deliver(receipt(b"17", MOBILE))
    application.reports()


def queued_behind_a_window_of_one(world: World) -> None:
    carrier, application = world.connect(), world.application()
    for destination in (MOBILE, MOBILE_2, MOBILE):
        application.say(submit_sm(destination))
    world.settle()
    for message_id in (b"1", b"2", b"3"):
        carrier.take_one(message_id)
    for message_id, destination in ((b"2", MOBILE_2), (b"3", MOBILE), (b"1", MOBILE)):
        carrier.deliver(receipt(message_id, destination))
    application.reports()


def refused_and_throttled(world: World) -> None:
    carrier, application = world.connect(), world.application()
    for destination in (MOBILE, MOBILE_2):
        application.say(submit_sm(destination))
    world.settle()
    first, second = carrier.taken()
    carrier.answer(first, command_status=CommandStatus.ESME_RINVDSTADR)
    carrier.answer(second, command_status=CommandStatus.ESME_RTHROTTLED)
    world.wait(1.0)
    carrier.take_one(b"18")
    carrier.deliver(receipt(b"18", MOBILE_2, b"UNDELIV", err=b"0104"))
    application.reports()


def link_lost(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    application.submit(MOBILE_2)
    carrier.cut()
    carrier = world.connect()
    for request in carrier.taken():  # only an account that resends has any
        carrier.answer(request, b"2" + request.destination_addr[-4:])
    carrier.deliver(receipt(b"17", MOBILE))
    application.reports()


def late_answers(world: World) -> None:
    carrier, application = world.connect(), world.application()
    for destination in (MOBILE, MOBILE_2, MOBILE, MOBILE_2):
        application.say(submit_sm(destination))
    world.settle()
    taken, throttled, refused, nameless = carrier.taken()
    world.wait(10.0)
    again = carrier.taken()
    carrier.answer(taken, b"17")
    carrier.answer(throttled, command_status=CommandStatus.ESME_RMSGQFUL)
    carrier.answer(refused, command_status=CommandStatus.ESME_RINVDSTADR)
    carrier.answer(nameless, b"")
    world.wait(1.0)
    for number, request in enumerate(again + carrier.taken()):
        carrier.answer(request, b"4%d" % number)
    carrier.deliver(receipt(b"17", MOBILE))
    carrier.deliver(receipt(b"41", MOBILE_2))
    application.reports()


def late_answer_to_what_waits_to_be_resent(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    (request,) = carrier.taken()
    world.hold("cmcc", 100.0)
    world.wait(10.0)
    carrier.answer(request, b"17")
    world.wait(100.0)
    carrier.deliver(receipt(b"17", MOBILE))
    application.reports()


def late_answer_between_intent_and_effect(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    (request,) = carrier.taken()
    world.tick(10.0)
    world.turn()
    carrier.answer(request, b"17")
    carrier.deliver(receipt(b"17", MOBILE))
    application.reports()


def answered_without_an_id(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.take_one(b"")
    carrier.deliver(receipt(b"17", MOBILE))
    application.submit(MOBILE_2)
    carrier.take_one(b"")
    application.reports()


def receipt_before_response(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE, registered_delivery=0x11)
    (request,) = carrier.taken()
    carrier.deliver(receipt(b"0000001F", MOBILE, b"ENROUTE"))
    carrier.deliver(receipt(b"31", MOBILE))
    carrier.answer(request, b"1f")
    carrier.deliver(receipt(b"31", MOBILE))
    application.reports()


def forged_and_unreadable_receipts(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.take_one(b"17")
    carrier.deliver(receipt(b"17", MOBILE_2))  # the id is known, and went elsewhere
    carrier.deliver(receipt(b"99", MOBILE_2))  # an id that nobody knows
    carrier.deliver(receipt(b"17", MOBILE, esm_class=0))  # a reply that looks like one
    carrier.deliver(DeliverSm(source_addr=MOBILE, destination_addr=SOURCE, esm_class=4))
    carrier.deliver(receipt(b"17", MOBILE, b"MK:0001"))
    application.reports()


def two_candidates_for_a_receipt(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    application.submit(MOBILE)
    carrier.cut()
    carrier = world.connect()
    carrier.deliver(receipt(b"17", MOBILE))
    carrier.deliver(receipt(b"18", MOBILE))


def receipt_waits_for_what_becomes_uncertain(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.deliver(receipt(b"17", MOBILE, b"ACCEPTD"))
    carrier.deliver(receipt(b"17", MOBILE, b"EXPIRED", err=b"027"))
    carrier.cut()
    application.reports()


def replies(world: World) -> None:
    carrier, application = world.connect(), world.application()
    carrier.deliver(DeliverSm(source_addr=MOBILE, destination_addr=SOURCE + b"01", short_message=b"yes"))
    carrier.deliver(DeliverSm(source_addr=MOBILE, destination_addr=b"12345", short_message=b"lost?"))
    payload = ((int(TlvTag.MESSAGE_PAYLOAD), b"a long one"),)
    carrier.ask(DataSm(source_addr=MOBILE, destination_addr=SOURCE, tlvs=payload))
    for reply in application.take(DeliverSm):
        application.respond(reply, body=b"\0")
    world.settle()


def reports_again_and_again(world: World) -> None:
    carrier, application = world.connect(), world.application()
    for message_id, destination in ((b"1", MOBILE), (b"2", MOBILE_2)):
        application.submit(destination)
        carrier.take_one(message_id)
        carrier.deliver(receipt(message_id, destination))
    later, never = application.take(DeliverSm)
    application.respond(later, CommandStatus.ESME_RX_T_APPN, b"\0")
    application.respond(never, CommandStatus.ESME_RX_P_APPN, b"\0")
    world.settle()
    world.wait(1.0)
    application.cut()
    application = world.application()
    application.reports()


def replaced_and_cancelled(world: World) -> None:
    application = world.application()
    replaced = application.submit(MOBILE, registered_delivery=1)
    cancelled = application.submit(MOBILE_2)
    wish = ReplaceSm(
        message_id=replaced,
        source_addr=SOURCE,
        registered_delivery=0,
        validity_period=b"000000020000000R",
        short_message=b"another text",
    )
    application.ask(wish)
    application.ask(CancelSm(message_id=cancelled, source_addr=SOURCE))
    carrier = world.connect()
    carrier.take_one(b"17")
    carrier.deliver(receipt(b"17", MOBILE, b"UNDELIV"))
    application.reports()


def many_ways_to_submit(world: World) -> None:
    carrier, application = world.connect(), world.application()
    addresses = tuple(SmeAddress(1, 1, number) for number in (MOBILE, b"95555", MOBILE_2))
    application.ask(
        SubmitMulti(
            source_addr=SOURCE, dest_address=addresses, registered_delivery=1, short_message=b"to all"
        )
    )
    payload = ((int(TlvTag.MESSAGE_PAYLOAD), b"\x4f\x60" * 100),)
    application.ask(
        DataSm(
            source_addr=SOURCE, destination_addr=MOBILE, data_coding=8, registered_delivery=3, tlvs=payload
        )
    )
    application.ask(submit_sm(MOBILE, source_addr=b"95555"))
    for number, request in enumerate(carrier.taken()):
        carrier.answer(request, b"%d" % (50 + number))
    for number, destination in enumerate((MOBILE, MOBILE_2, MOBILE)):
        error = ((int(TlvTag.NETWORK_ERROR_CODE), b"\x03\x00\x21"), (int(TlvTag.MESSAGE_STATE), b"\2"))
        text = b"id:%d stat:DELIVRD" % (50 + number)
        carrier.deliver(
            DeliverSm(
                source_addr=destination, destination_addr=SOURCE, esm_class=4, short_message=text, tlvs=error
            )
        )
    application.reports()


def validity_ends(world: World) -> None:
    application = world.application()
    application.submit(MOBILE, validity_period=b"000000000010000R")
    application.submit(MOBILE_2, validity_period=b"000000010000000R")
    world.wait(700.0)
    carrier = world.connect()
    carrier.take_one(b"17")
    application.reports()


def operators_decide(world: World) -> None:
    carrier, application = world.connect(), world.application()
    resent, closed = application.submit(MOBILE), application.submit(MOBILE_2)
    carrier.cut()
    world.pipeline.resend([world.part(resent)], "zhang", "the carrier lost it")
    world.pipeline.close([world.part(closed)], "zhang", "nobody knows")
    world.settle()
    carrier = world.connect()
    carrier.take_one(b"18")
    application.reports()


def in_doubt_twice_and_refused(world: World) -> None:
    """A refusal tells the fate of a part when no other attempt of it is in doubt."""
    carrier, application = world.connect(), world.application()
    for destination in (MOBILE, MOBILE_2):
        application.submit(destination)
    requests = carrier.taken()
    world.wait(10.0)
    parts = list(world.open_parts.open.values())
    world.pipeline.resend(parts, "zhang", "asked by the sender")
    world.settle()
    requests += carrier.taken()
    world.wait(10.0)
    for request in requests:
        carrier.answer(request, command_status=CommandStatus.ESME_RINVDSTADR)
    application.reports()


def in_doubt_twice_and_one_is_delivered(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.cut()
    carrier = world.connect()
    world.pipeline.resend(list(world.open_parts.open.values()), "zhang", "asked by the sender")
    world.settle()
    carrier.cut()
    carrier = world.connect()
    carrier.deliver(receipt(b"17", MOBILE, b"UNDELIV"))
    carrier.deliver(receipt(b"18", MOBILE))
    application.reports()


def refused_while_an_earlier_attempt_is_in_doubt(world: World) -> None:
    carrier, application = world.connect(), world.application()
    for destination in (MOBILE, MOBILE_2):
        application.submit(destination)
    carrier.cut()
    carrier = world.connect()
    world.pipeline.resend(list(world.open_parts.open.values()), "zhang", "asked by the sender")
    world.settle()
    for request in carrier.taken():
        carrier.answer(request, command_status=CommandStatus.ESME_RINVDSTADR)
    carrier.deliver(receipt(b"17", MOBILE_2))
    application.reports()


def link_lost_between_intent_and_effect(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE))
    world.turn()
    carrier.cut()
    carrier = world.connect()
    carrier.take_one(b"17")


def wishes_for_receipts(world: World) -> None:
    carrier, application = world.connect(), world.application()
    wishes = (0x00, 0x01, 0x02, 0x03, 0x10, 0x12)
    for outcome, base in ((b"DELIVRD", 100), (b"REJECTD", 200)):
        for wish in wishes:
            application.submit(MOBILE, registered_delivery=wish)
            carrier.take_one(b"%d" % (base + wish))
            carrier.deliver(receipt(b"%d" % (base + wish), MOBILE, b"ENROUTE", esm_class=0x20))
            carrier.deliver(receipt(b"%d" % (base + wish), MOBILE, outcome))
    application.reports()


class History(NamedTuple):
    """A script and the gateway it is played in."""

    script: Callable[[World], None]
    accounts: tuple[AccountConfig, ...] = (account(),)
    carriers: tuple[CarrierConfig, ...] = (carrier(),)
    routes: tuple[RouteTable, ...] = ()

    @property
    def name(self) -> str:
        resends = self.accounts[0].uncertain == "resend"
        return self.script.__name__ + (" and resent" if resends else "")

    def world(self, sealer: Any, **start: Any) -> World:
        return World(sealer, accounts=self.accounts, carriers=self.carriers, routes=self.routes, **start)


_RESENDS: Final = (account(uncertain="resend"),)

HISTORIES: Final = (
    History(delivered),
    History(queued_behind_a_window_of_one, carriers=(carrier(window=1),)),
    History(refused_and_throttled),
    History(link_lost),
    History(link_lost, _RESENDS),
    History(late_answers),
    History(late_answers, _RESENDS),
    History(late_answer_to_what_waits_to_be_resent, _RESENDS),
    History(late_answer_between_intent_and_effect, _RESENDS),
    History(answered_without_an_id),
    History(answered_without_an_id, _RESENDS),
    History(receipt_before_response),
    History(forged_and_unreadable_receipts),
    History(two_candidates_for_a_receipt),
    History(receipt_waits_for_what_becomes_uncertain),
    History(receipt_waits_for_what_becomes_uncertain, _RESENDS),
    History(replies, (account(), account("jiaoguan", SOURCE.decode() + "01"))),
    History(reports_again_and_again),
    History(replaced_and_cancelled),
    History(many_ways_to_submit),
    History(validity_ends),
    History(operators_decide),
    History(in_doubt_twice_and_refused),
    History(in_doubt_twice_and_one_is_delivered),
    History(refused_while_an_earlier_attempt_is_in_doubt),
    History(link_lost_between_intent_and_effect),
    History(wishes_for_receipts),
)
