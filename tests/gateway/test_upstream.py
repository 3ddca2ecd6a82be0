"""The listener's seats, the memory for failed passwords, and applications that answer no report."""

from __future__ import annotations

from gateway.networks import Networks
from gateway.upstream import (
    FAILURES_FORGOTTEN_S,
    FAILURES_KEPT_MAX,
    FAILURES_MAX,
    RESPONSE_S,
    SILENT_ROUNDS_MAX,
    STRANGERS_MAX,
    UNBOUND_MAX,
    Listener,
)
from protocol.smpp.pdu import DeliverSm
from tests.gateway.peers import CarrierPeer, receipt
from tests.gateway.world import MOBILE, START_S, World, account


def test_failed_passwords_are_counted_by_address_and_account_and_forgotten(world: World) -> None:
    listener = world.listener
    for _ in range(FAILURES_MAX):
        listener._note_failure(("192.0.2.1", "hukou"))
    assert listener._failures_of(("192.0.2.1", "hukou")) == FAILURES_MAX
    assert listener._failures_of(("192.0.2.1", "jiaoguan")) == 0
    assert listener._failures_of(("192.0.2.2", "hukou")) == 0
    listener.tick(START_S + FAILURES_FORGOTTEN_S)
    assert len(listener._failures) == 1
    listener.tick(START_S + FAILURES_FORGOTTEN_S + 1)
    assert len(listener._failures) == 0


def test_the_memory_for_failed_passwords_is_bounded(world: World) -> None:
    listener = world.listener
    for number in range(FAILURES_KEPT_MAX + 1):
        listener._note_failure((str(number), "hukou"))
    assert len(listener._failures) == FAILURES_KEPT_MAX
    assert listener._failures_of(("0", "hukou")) == 0
    assert listener._failures_of((str(FAILURES_KEPT_MAX), "hukou")) == 1


def test_strangers_take_few_seats_and_who_has_not_bound_takes_none_of_who_has(sealer: object) -> None:
    world = World(sealer, accounts=[account(networks=Networks(["192.0.2.0/24"]))])  # type: ignore[arg-type]
    world.application()
    listener = world.listener
    assert Listener.unwelcome(listener, "192.0.2.9") == ""
    assert Listener.unwelcome(listener, "198.51.100.1") == ""  # it is told so in a bind response
    for _ in range(STRANGERS_MAX + 1):
        listener._make_connection()
    assert Listener.unwelcome(listener, "198.51.100.1") == "address in no account's networks"
    assert Listener.unwelcome(listener, "") == "address in no account's networks"
    for _ in range(UNBOUND_MAX - STRANGERS_MAX - 1):
        listener._make_connection()
    assert Listener.unwelcome(listener, "192.0.2.9") == ""
    listener._make_connection()
    assert Listener.unwelcome(listener, "192.0.2.9") == "too many connections that have not bound"
    assert (listener.bound, len(listener.applications)) == (1, UNBOUND_MAX + 2)


def reported(world: World, carrier: CarrierPeer) -> None:
    carrier.take_one(b"77")
    carrier.deliver(receipt(b"77", MOBILE))


def test_a_report_without_an_answer_is_offered_later_and_then_the_session_ends(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    reported(world, carrier)
    assert len(application.take(DeliverSm)) == 1
    world.wait(RESPONSE_S)
    assert application.take(DeliverSm) == []
    world.wait(1.0)
    assert len(application.take(DeliverSm)) == 1
    offers = 0
    for _ in range(int(SILENT_ROUNDS_MAX * RESPONSE_S) + 10):
        if application.wire.closing:
            break
        world.wait(1.0)
        offers += len(application.take(DeliverSm))
    assert application.wire.closing
    assert offers == SILENT_ROUNDS_MAX - 2
    again = world.application()
    world.wait(5.0)
    assert len(again.reports()) == 1
