"""An orderly stop and the next start: everything that was not finished goes on where it stood."""

from __future__ import annotations

import socket
import struct

import pytest

from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import BindReceiver, BindTransmitter, CancelSm, EnquireLink, QuerySm, ReplaceSm
from tests.integration.application import TEXT, Application, destination, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.world import CARRIER, HOST, SOURCE, START_S, World, until

ROK = CommandStatus.ESME_ROK
COUNT = 300


def carrier_facts(world: World) -> dict[str, int]:
    facts: dict[str, int] = world.status()["carriers"][CARRIER]
    return facts


def test_what_was_queued_goes_out_after_the_restart(make_world: MakeWorld) -> None:
    world = make_world(carrier_up=False)
    world.start(ready=False)
    with Application(world.port) as application:
        assert application.bind() == ROK
        ids = application.submit_all(submit_sm(number) for number in range(COUNT))
        application.unbind()
    assert carrier_facts(world)["queue"] == COUNT
    report = world.stop()
    assert (report.accepted, report.open) == (COUNT, COUNT)

    world.carrier.start()
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.await_deliveries(COUNT)
        assert sorted(application.receipts()) == sorted(ids)
        assert application.hears_nothing()
        application.unbind()
    taken = world.carrier.report()
    assert (taken.accepted, taken.receipts_acknowledged) == (COUNT, COUNT)
    report = world.stop()
    assert (report.accepted, report.open, report.outcomes) == (COUNT, 0, {"delivered": COUNT})


def test_open_messages_whose_keys_are_gone_are_not_left_out_silently(make_world: MakeWorld) -> None:
    world = make_world(carrier_up=False)
    world.start(ready=False)
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.submit_all(submit_sm(number) for number in range(3))
        application.unbind()
    world.stop()
    keys = world.state_dir / "evidence" / "keys"
    keys.rename(world.directory / "aside")
    end = world.run_to_its_end()
    assert (end.returncode, end.stderr.splitlines()[-1]) == (
        1,
        f"jingxin: {keys}: data keys are gone that 3 open messages and 0 reports to applications need: put"
        " the directory back from its copy (if there is none, `--give-up-lost` ends these messages, and"
        " reports nothing)",
    )
    # Put back beside what the failed start made, they are all there.
    for path in (world.directory / "aside").iterdir():
        path.rename(keys / path.name)
    world.start(ready=False)
    report = world.stop()
    assert (report.sound, report.open) == (True, 3)

    for path in keys.glob("*.key"):
        path.unlink()
    world.options = ("--give-up-lost",)
    world.start(ready=False)
    world.kill()
    said = [line for line in world.log().splitlines() if "a message is given up" in line]
    assert len(said) == 3
    # From then on nothing is missing.
    world.options = ()
    world.start(ready=False)
    with Application(world.port) as application:
        assert application.bind() == ROK
        assert application.hears_nothing()
    world.kill()
    report = world.verify()
    assert (report.open, report.outcomes, report.sound) == (0, {"unknown": 3}, False)
    assert "is gone, and no record says that" in report.faults[0].reason


def test_reports_whose_keys_are_gone_are_not_given_up_silently(world: World) -> None:
    with Application(world.port) as application:
        assert application.bind(BindTransmitter) == ROK
        application.submit_all(submit_sm(number) for number in range(3))
        application.unbind()
    until("all receipts are here", lambda: carrier_facts(world)["receipts"] == 3)
    world.stop()
    keys, aside = world.state_dir / "evidence" / "keys", world.directory / "aside"
    keys.rename(aside)
    end = world.run_to_its_end()
    assert "that 0 open messages and 3 reports to applications need: put the directory back" in end.stderr
    world.options = ("--give-up-lost",)
    world.start()
    with Application(world.port) as application:
        assert application.bind(BindReceiver) == ROK
        assert application.hears_nothing()
    world.kill()
    assert world.log().count("a report is given up: its data key is gone") == 3
    world.options = ()
    world.start()
    world.kill()
    for path in aside.iterdir():
        path.rename(keys / path.name)
    assert world.verify().sound


def test_receipts_wait_for_an_absent_application(world: World) -> None:
    with Application(world.port) as application:
        assert application.bind(BindTransmitter) == ROK
        ids = application.submit_all(submit_sm(number) for number in range(COUNT))
        application.unbind()
    until("all receipts are here", lambda: carrier_facts(world)["receipts"] == COUNT)
    world.stop()

    world.start()
    half = COUNT // 2
    with Application(world.port) as application:
        assert application.bind(BindReceiver) == ROK
        application.await_deliveries(half)
        heard = application.receipts()
        application.answers = False
        application.ask(EnquireLink())  # behind it, our answers have arrived
        # It goes without a word, and leaves the rest unanswered.
    world.stop()

    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        while not application.hears_nothing():
            pass
        again = application.receipts()
        application.unbind()
    world.stop()
    # Each receipt was answered exactly once: those of the first bind were not heard again.
    assert sorted(heard + again) == sorted(ids)

    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        assert application.hears_nothing()
        application.unbind()


def test_receipts_that_the_carrier_kept_meanwhile(make_world: MakeWorld) -> None:
    """While the gateway is down the carrier has nobody to deliver to, and delivers after its next bind."""
    world = make_world(carrier={"receipt_delay_s": 1.0})
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        ids = application.submit_all(submit_sm(number) for number in range(COUNT))
        application.unbind()
    until("all are with the carrier", lambda: world.carrier.report().accepted == COUNT)
    world.stop()
    until("the receipts wait there", lambda: world.carrier.report().receipts_waiting == COUNT)
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.await_deliveries(COUNT)
        assert sorted(application.receipts()) == sorted(ids)
        application.unbind()
    assert world.carrier.report().submits == COUNT


def test_stop_waits_for_what_is_in_flight(make_world: MakeWorld) -> None:
    world = make_world(carrier={"response_delay_s": 0.5})
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.submit_all(submit_sm(number) for number in range(64))
        until("they are under way", lambda: world.carrier.report().submits == 64)
        # SIGTERM meanwhile; the responses come after it, and so does our goodbye.
        world.terminate()
        assert application.closed_by_gateway()
    report = world.stop()
    assert (report.accepted, report.uncertain) == (64, [])


def test_stop_does_not_wait_for_ever(make_world: MakeWorld) -> None:
    """A carrier that answers nothing, and an application that does not listen."""
    world = make_world({"carrier": {"response_timeout_s": 1.0}}, carrier={"unanswered": 1.0})
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.submit_all([submit_sm(receipt=False)])
        report = world.stop()
    assert report.accepted == 1


@pytest.mark.parametrize("abruptly", [False, True])
def test_a_carrier_that_hangs_up_at_once(make_world: MakeWorld, abruptly: bool) -> None:
    world = make_world(carrier_up=False)
    calls = 0
    with socket.create_server((HOST, world.carrier.port)) as server:
        server.settimeout(START_S)
        world.start(ready=False)
        while calls < 8:
            connection, _ = server.accept()
            if abruptly:
                linger = struct.pack("ii", 1, 0)  # closing sends RST
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
            calls += 1
    world.stop()


def test_queued_messages_can_be_asked_for_changed_and_cancelled(make_world: MakeWorld) -> None:
    world = make_world(carrier_up=False)
    world.start(ready=False)
    source = SOURCE.encode()
    with Application(world.port) as application:
        assert application.bind() == ROK
        kept, changed, cancelled = application.submit_all(submit_sm(number) for number in range(3))
        foreign = QuerySm(message_id=kept, source_addr=b"106391101")
        assert application.ask(foreign).command_status == CommandStatus.ESME_RQUERYFAIL
        answer = application.ask(QuerySm(message_id=kept, source_addr=source))
        assert (answer.command_status, answer.message_state) == (ROK, 1)  # type: ignore[attr-defined]
        replace = ReplaceSm(
            message_id=changed,
            source_addr=source,
            registered_delivery=1,
            short_message="改".encode("utf-16-be"),
        )
        assert application.ask(replace).command_status == ROK
        cancel = CancelSm(message_id=cancelled, source_addr=source, destination_addr=destination(2))
        assert application.ask(cancel).command_status == ROK
        assert application.ask(cancel).command_status == CommandStatus.ESME_RCANCELFAIL
        application.await_deliveries(1)  # that of the cancelled one
        assert application.deliveries[0].tlv(int(TlvTag.MESSAGE_STATE)) == b"\4"  # DELETED
        application.unbind()
    world.stop()

    world.carrier.start()
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.await_deliveries(2)
        assert sorted(application.receipts()) == sorted([kept, changed])
        answer = application.ask(QuerySm(message_id=kept, source_addr=source))
        assert (answer.command_status, answer.message_state) == (ROK, 2)  # type: ignore[attr-defined]
        application.unbind()
    report = world.carrier.report()
    texts = [bytes.fromhex(frame) for frame in report.kept]
    assert report.submits == 2
    assert sum(frame.endswith("改".encode("utf-16-be")) for frame in texts) == 1
    assert sum(frame.endswith(TEXT.encode("utf-16-be")) for frame in texts) == 1


def test_kill_and_restart(make_world: MakeWorld) -> None:
    """The short form of the bench's scenario: SIGKILL with messages queued and receipts unheard."""
    world = make_world(carrier_up=False)
    world.start(ready=False)
    with Application(world.port) as application:
        assert application.bind() == ROK
        ids = application.submit_all(submit_sm(number) for number in range(COUNT))
        world.kill()
    world.carrier.start()
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.await_deliveries(COUNT)
        assert sorted(application.receipts()) == sorted(ids)
        application.unbind()
    assert world.carrier.report().submits == COUNT
