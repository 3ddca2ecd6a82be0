"""What an account has still to hear: kept, offered, offered again, heard once."""

from __future__ import annotations

import pytest

from gateway import outbox as module
from gateway.config import LimitsConfig
from gateway.outbox import Outbox, Report
from gateway.reporting import NO_SESSION
from protocol.smpp.codes import CommandStatus
from protocol.smpp.operations import BindState
from protocol.smpp.pdu import DeliverSm, EnquireLink
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, CarrierPeer
from tests.gateway.world import MOBILE, World, account, carrier

# -- the outbox alone --------------------------------------------------------------------------------------


def report(index: int, number: int = 0, *, alarm: bool = False) -> Report:
    return Report(index, number or index, b"body", 4, 0, alarm)


def indexes(outbox: Outbox) -> list[int]:
    return [each.index for each in outbox.ready]


def test_what_does_not_fit_is_kept_by_index_and_read_back_in_order() -> None:
    outbox = Outbox("hukou", 3)
    for index in (1, 2, 3, 4, 5):
        outbox.put(report(index))
    assert (indexes(outbox), outbox.next_behind(10), len(outbox)) == ([1, 2, 3], [], 5)
    outbox.ready.popleft()
    outbox.put(report(6))  # a new one does not wait for what must be read back
    outbox.put(report(7))
    assert (indexes(outbox), outbox.next_behind(10), len(outbox)) == ([2, 3, 6], [], 6)
    outbox.ready.clear()
    assert outbox.next_behind(2) == [4, 5]
    outbox.refilling = True
    assert outbox.next_behind(2) == []
    outbox.refilling = False
    outbox.refill([report(4), report(5)], 2)
    assert (indexes(outbox), outbox.next_behind(10)) == ([4, 5], [])
    outbox.ready.clear()
    assert outbox.next_behind(10) == [7]
    outbox.refill([], 1)  # its content has been erased
    assert (indexes(outbox), len(outbox)) == ([], 0)


def test_an_alarm_is_heard_before_all_that_waits_and_alarms_keep_their_order() -> None:
    outbox = Outbox("police", 3)
    for index in (1, 2, 3, 4):
        outbox.put(report(index))
    for index in (5, 6, 7, 8):
        outbox.put(report(index, alarm=True))
    assert indexes(outbox) == [5, 6, 7, 1, 2, 3]  # as many alarms again as anything else, and then no more
    outbox.ready.clear()
    outbox.put(report(9))
    assert outbox.next_behind(10) == [4, 8]
    outbox.refill([report(4), report(8, alarm=True)], 2)
    assert indexes(outbox) == [8, 9, 4]


def test_what_was_in_flight_comes_back_to_the_head_in_order_unless_it_was_answered() -> None:
    outbox = Outbox("hukou", 10)
    flying = [report(index) for index in (1, 2, 3)]
    outbox.put(report(4))
    for each in flying:
        outbox.sent(each)
    assert outbox.answered(flying[1])
    assert not outbox.answered(flying[1])
    outbox.give_back(flying)
    assert (indexes(outbox), outbox.in_flight) == ([1, 3, 4], {})


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(0, 1.0), (1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (7, 60.0), (5000, 60.0)]
)
def test_a_refused_report_waits_twice_as_long_each_time_up_to_a_minute(attempts: int, wait_s: float) -> None:
    outbox = Outbox("hukou", 10)
    busy = report(1)
    busy.attempts = attempts
    outbox.sent(busy)
    outbox.delay(busy, 100.0)
    assert (len(outbox), outbox.in_flight, busy.attempts) == (1, {}, attempts + 1)
    outbox.wake(100.0 + wait_s - 0.001)
    assert indexes(outbox) == []
    outbox.wake(100.0 + wait_s)
    assert (indexes(outbox), len(outbox)) == ([1], 1)


def test_a_report_that_was_answered_while_it_waited_is_not_offered_again() -> None:
    outbox = Outbox("hukou", 10)
    late = report(1)
    outbox.delay(late, 100.0)
    assert outbox.answered(late)
    outbox.wake(200.0)
    assert (indexes(outbox), len(outbox)) == ([], 0)


def test_the_oldest_record_that_is_needed_wherever_a_report_waits() -> None:
    outbox = Outbox("hukou", 1)
    assert outbox.oldest_needed() is None
    flying, delayed = report(50, 40), report(51, 30)
    outbox.sent(flying)
    assert outbox.oldest_needed() == 40
    outbox.delay(delayed, 0.0)
    assert outbox.oldest_needed() == 30
    outbox.put(report(52, 20))
    assert outbox.oldest_needed() == 20
    outbox.put(report(53, 45))
    outbox.put(report(54, 10))
    assert outbox.oldest_needed() == 10


def test_it_is_full_when_too_many_are_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEHIND_MAX", 2)
    outbox = Outbox("hukou", 1)
    for index in (1, 2):
        outbox.put(report(index))
    assert not outbox.full
    outbox.put(report(3))
    assert outbox.full


# -- the outbox between a carrier and sessions -------------------------------------------------------------


def reply(carrier_peer: CarrierPeer, number: int) -> None:
    carrier_peer.deliver(DeliverSm(source_addr=MOBILE, destination_addr=SOURCE, short_message=b"%d" % number))


def texts(reports: list[DeliverSm]) -> list[bytes]:
    return [each.short_message for each in reports]


def reported(world: World) -> list[tuple[int, int]]:
    """(session, command_status) of the `reported` records."""
    found = (record for record in world.log.read() if isinstance(record, records.Reported))
    return [(record.session, record.command_status) for record in found]


def test_reports_wait_for_a_session_that_receives_and_fill_its_window(world: World) -> None:
    peer = world.connect()
    for number in range(12):
        reply(peer, number)
    world.application(bind="transmitter")
    receiver = world.application(bind="receiver")
    first = receiver.take(DeliverSm)
    assert texts(first) == [b"%d" % number for number in range(10)]
    receiver.respond(first[0], body=b"\0")
    receiver.respond(first[1], body=b"\0")
    world.settle()
    assert texts(receiver.take(DeliverSm)) == [b"10", b"11"]
    assert reported(world) == [(2, 0), (2, 0)]


def test_sessions_of_an_account_take_turns_and_one_takes_over_for_another(world: World) -> None:
    peer = world.connect()
    a, b = world.application(), world.application()
    for number in range(4):
        reply(peer, number)
    assert (len(a.heard), len(b.heard)) == (2, 2)
    missed = texts(a.take(DeliverSm))
    b.take(DeliverSm)
    a.cut()
    assert texts(b.take(DeliverSm)) == missed


LATER = (
    CommandStatus.ESME_RTHROTTLED,
    CommandStatus.ESME_RMSGQFUL,
    CommandStatus.ESME_RSYSERR,
    CommandStatus.ESME_RX_T_APPN,
)
NEVER = (
    CommandStatus.ESME_ROK,
    CommandStatus.ESME_RX_P_APPN,
    CommandStatus.ESME_RX_R_APPN,
    CommandStatus.ESME_RUNKNOWNERR,
)


@pytest.mark.parametrize("status", [*LATER, *NEVER], ids=lambda status: status.name)
def test_an_answer_ends_a_report_or_asks_for_it_again_later(world: World, status: CommandStatus) -> None:
    peer, application = world.connect(), world.application()
    reply(peer, 1)
    (deliver,) = application.take(DeliverSm)
    application.respond(deliver, status, b"\0")
    world.settle()
    assert reported(world) == ([] if status in LATER else [(1, status)])
    world.wait(1.0)
    again = application.take(DeliverSm)
    assert texts(again) == ([b"1"] if status in LATER else [])
    for each in again:
        application.respond(each, body=b"\0")
    world.settle()
    assert reported(world) == ([(1, 0)] if status in LATER else [(1, status)])
    assert len(world.accounts["hukou"].outbox) == 0


def test_no_answer_in_time_means_again_and_the_late_one_counts_once(world: World) -> None:
    peer, application = world.connect(), world.application()
    reply(peer, 1)
    (first,) = application.take(DeliverSm)
    world.wait(10.0)
    assert application.take(DeliverSm) == []  # not at once: it may be busy
    world.wait(1.0)
    (second,) = application.take(DeliverSm)
    assert second.short_message == first.short_message
    application.respond(first, body=b"\0")
    application.respond(second, body=b"\0")
    world.settle()
    assert reported(world) == [(1, 0)]
    assert len(world.accounts["hukou"].outbox) == 0


def test_a_session_that_unbinds_gets_no_more_and_what_waits_is_kept(sealer: Sealer) -> None:
    """Field lesson 10: the answer and the unbind come in one chunk, while more reports wait."""
    world = World(sealer, accounts=(account(report_window=1),))
    peer, application = world.connect(), world.application()
    for number in range(3):
        reply(peer, number)
    (deliver,) = application.take(DeliverSm)
    application.session.respond(deliver.command_id, deliver.sequence_number, 0, b"\0")
    application.session.unbind(world.turns.now)
    application.flush()
    world.settle()
    assert application.session.state is BindState.CLOSED
    assert application.heard == []
    assert reported(world) == [(1, 0)]
    again = world.application()
    assert texts(again.take(DeliverSm)) == [b"1"]


def test_a_session_that_we_ask_to_unbind_gets_no_more(world: World) -> None:
    peer, application = world.connect(), world.application()
    (owner,) = world.listener.applications
    owner.connection.session.unbind(world.turns.now)
    reply(peer, 1)
    application.say(EnquireLink())
    world.settle()
    assert application.take(DeliverSm) == []
    assert len(world.accounts["hukou"].outbox.ready) == 1


def test_a_peer_older_than_tlvs_gets_none(world: World) -> None:
    peer = world.connect()
    old, new = world.application(bind="transmitter"), world.application(version=0x33)
    old.submit(MOBILE)
    request = peer.take_one(b"17")
    assert request.registered_delivery == 1
    from_carrier = DeliverSm(
        source_addr=MOBILE, destination_addr=SOURCE, esm_class=4, short_message=b"id:17 stat:DELIVRD"
    )
    peer.deliver(from_carrier)
    (deliver,) = new.take(DeliverSm)
    assert deliver.tlvs == ()
    assert deliver.short_message.startswith(b"id:a1b2c3")


def test_what_is_kept_by_index_is_read_back_in_order_and_heard_once(sealer: Sealer) -> None:
    world = World(sealer, limits=LimitsConfig(outbox_memory_max=4), carriers=(carrier(window=100),))
    peer = world.connect()
    for number in range(10):
        reply(peer, number)
    outbox = world.accounts["hukou"].outbox
    assert (len(outbox.ready), len(outbox)) == (4, 10)
    application = world.application()
    heard: list[DeliverSm] = []
    for _ in range(5):
        reports = application.take(DeliverSm)
        heard += reports
        for each in reports:
            application.respond(each, body=b"\0")
        world.wait(0.25)
    assert texts(heard) == [b"%d" % number for number in range(10)]
    assert reported(world) == [(1, 0)] * 10
    assert len(outbox) == 0


def test_a_report_is_given_up_after_its_retention_and_the_evidence_says_so(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(report_retention_h=1),))
    peer = world.connect()
    reply(peer, 1)
    world.wait(3600.0)
    assert reported(world) == []
    world.wait(0.01)
    assert reported(world) == [(NO_SESSION, CommandStatus.ESME_RDELIVERYFAILURE)]
    assert world.application().take(DeliverSm) == []
