"""What the gateway does not allow, each with the status that tells the application what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from protocol.smpp.codec import HEADER
from protocol.smpp.codes import CommandId, CommandStatus
from protocol.smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    BroadcastSm,
    CancelSm,
    EnquireLink,
    Pdu,
    QuerySm,
    ReplaceSm,
    SubmitSm,
)
from storage import records
from storage.reader import LogReader
from tests.integration.application import Application, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.world import PASSWORD, SOURCE, World

ROK = CommandStatus.ESME_ROK
BindKind = type[BindTransceiver | BindTransmitter | BindReceiver]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as world:
        world.add_account("elsewhere", PASSWORD, networks=["10.0.0.0/8"])
        world.add_account("nowhere", PASSWORD, networks=[])
        world.add_account("single", PASSWORD, sessions_max=1)
        world.add_account("slow", PASSWORD, rate_per_s=1, burst=2)
        world.add_account("silent", PASSWORD, sources=[])
        world.start()
        yield world


@pytest.fixture
def application(world: World) -> Iterator[Application]:
    with Application(world.port) as application:
        yield application


@pytest.mark.parametrize("kind", [BindTransceiver, BindTransmitter, BindReceiver])
@pytest.mark.parametrize(
    ("system_id", "password", "status"),
    [
        ("hukou", PASSWORD, ROK),
        ("hukou", "Secret", CommandStatus.ESME_RINVPASWD),
        ("hukou", "", CommandStatus.ESME_RINVPASWD),
        ("hukou", "s" * 64, CommandStatus.ESME_RINVPASWD),
        ("huko", PASSWORD, CommandStatus.ESME_RINVSYSID),
        ("", PASSWORD, CommandStatus.ESME_RINVSYSID),
        ("elsewhere", PASSWORD, CommandStatus.ESME_RBINDFAIL),
        ("nowhere", PASSWORD, CommandStatus.ESME_RBINDFAIL),
    ],
)
def test_bind(
    application: Application, kind: BindKind, system_id: str, password: str, status: CommandStatus
) -> None:
    assert application.bind(kind, system_id=system_id, password=password) == status
    if status != ROK:
        assert application.bind(kind) == ROK, "the same connection may try again"
    application.unbind()


def test_a_password_longer_than_any(application: Application) -> None:
    body = b"hukou\0" + b"s" * 65 + b"\0\0\x34\0\0\0"
    application.socket.sendall(HEADER.pack(16 + len(body), CommandId.BIND_TRANSCEIVER, 0, 77) + body)
    assert application.receive().command_status == CommandStatus.ESME_RINVPASWD
    assert application.bind() == ROK
    application.unbind()


def test_an_account_has_so_many_sessions(world: World) -> None:
    with Application(world.port) as first, Application(world.port) as second:
        assert first.bind(system_id="single") == ROK
        assert second.bind(system_id="single") == CommandStatus.ESME_RALYBND
        first.unbind()
        assert second.bind(system_id="single") == ROK
        second.unbind()


@pytest.mark.parametrize(
    ("pdu", "status"),
    [
        (submit_sm(1), ROK),
        (submit_sm(1, source=SOURCE + "0123"), ROK),
        (submit_sm(1, source="10639111"), CommandStatus.ESME_RINVSRCADR),
        (submit_sm(1, source=SOURCE[:-1]), CommandStatus.ESME_RINVSRCADR),
        (submit_sm(1, source=""), CommandStatus.ESME_RINVSRCADR),
        (b"12345678901", CommandStatus.ESME_RINVDSTADR),
        (b"1380013800", CommandStatus.ESME_RINVDSTADR),
        (b"", CommandStatus.ESME_RINVDSTADR),
        (b"4915112345678", CommandStatus.ESME_RINVDSTADR),
        (b"1064812345678", CommandStatus.ESME_RINVDSTADR),  # 物联网
        (b"8613800138000", ROK),
        (b"+8613800138000", ROK),
        ((b"nonsense", b""), CommandStatus.ESME_RINVSCHED),
        ((b"", b"nonsense"), CommandStatus.ESME_RINVEXPIRY),
        ((b"", b"200101000000000+"), CommandStatus.ESME_RINVEXPIRY),  # it has passed
        ((b"", b"000001000000000R"), ROK),
    ],
    ids=repr,
)
def test_submit(application: Application, pdu: SubmitSm | bytes | tuple[bytes, bytes], status: int) -> None:
    match pdu:
        case bytes(address):
            pdu = submit_sm(1)
            pdu.destination_addr = address
        case (schedule, validity):
            pdu = submit_sm(1)
            pdu.schedule_delivery_time, pdu.validity_period = schedule, validity
    assert isinstance(pdu, SubmitSm)
    pdu.registered_delivery = 0
    assert application.bind() == ROK
    response = application.submit(pdu)
    assert (response.command_status, bool(response.message_id)) == (status, status == ROK)
    assert application.submit(submit_sm(2, receipt=False)).command_status == ROK, "the session lives on"
    application.unbind()


def test_an_account_without_sources_sends_nothing(application: Application) -> None:
    assert application.bind(system_id="silent") == ROK
    assert application.submit(submit_sm()).command_status == CommandStatus.ESME_RINVSRCADR
    application.unbind()


def test_over_the_rate(application: Application) -> None:
    assert application.bind(system_id="slow") == ROK
    statuses = [application.submit(submit_sm(3, receipt=False)).command_status for _ in range(4)]
    assert statuses == [ROK, ROK, CommandStatus.ESME_RTHROTTLED, CommandStatus.ESME_RTHROTTLED]
    application.unbind()


QUERY_SM = QuerySm(message_id=b"1", source_addr=SOURCE.encode())
OPERATIONS: list[tuple[Pdu, CommandStatus]] = [
    (QUERY_SM, CommandStatus.ESME_RQUERYFAIL),
    (CancelSm(message_id=b"1", source_addr=SOURCE.encode()), CommandStatus.ESME_RCANCELFAIL),
    (ReplaceSm(message_id=b"1", source_addr=SOURCE.encode()), CommandStatus.ESME_RREPLACEFAIL),
    (BroadcastSm(), CommandStatus.ESME_RBCASTFAIL),
]


@pytest.mark.parametrize(("request_", "status"), OPERATIONS)
def test_operations_that_find_nothing(application: Application, request_: Pdu, status: CommandStatus) -> None:
    assert application.bind() == ROK
    assert application.ask(request_).command_status == status
    application.unbind()


@pytest.mark.parametrize("request_", [submit_sm(), *(operation for operation, _ in OPERATIONS)])
def test_nothing_before_a_bind(application: Application, request_: Pdu) -> None:
    assert application.ask(request_).command_status == CommandStatus.ESME_RINVBNDSTS
    assert application.ask(EnquireLink()).command_status == ROK
    assert application.bind() == ROK
    application.unbind()


def test_a_receiver_submits_nothing(application: Application) -> None:
    assert application.bind(BindReceiver) == ROK
    assert application.submit(submit_sm()).command_status == CommandStatus.ESME_RINVBNDSTS
    assert application.bind() == CommandStatus.ESME_RALYBND
    application.unbind()


def test_a_command_that_nobody_knows(application: Application) -> None:
    assert application.bind() == ROK
    application.socket.sendall(HEADER.pack(20, 0x00010203, 0, 55) + b"what")
    answer = application.receive()
    assert (answer.command_id, answer.command_status, answer.sequence_number) == (
        CommandId.GENERIC_NACK,
        CommandStatus.ESME_RINVCMDID,
        55,
    )
    assert application.submit(submit_sm(4, receipt=False)).command_status == ROK
    application.unbind()


def test_ten_wrong_passwords_and_none_is_looked_at(make_world: MakeWorld) -> None:
    world = make_world()
    world.start()
    with Application(world.port) as application:
        statuses = [application.bind(password=f"guess{number}") for number in range(12)]
        assert statuses == [CommandStatus.ESME_RINVPASWD] * 10 + [CommandStatus.ESME_RBINDFAIL] * 2
        assert application.bind() == CommandStatus.ESME_RBINDFAIL, "the right one neither, for a while"


def test_refusals_are_in_the_evidence(make_world: MakeWorld) -> None:
    world = make_world({"account": {"rate_per_s": 1, "burst": 1}})
    world.start()
    with Application(world.port) as application:
        assert application.bind() == ROK
        wrong = [submit_sm(source="95598"), submit_sm(), *(submit_sm() for _ in range(5))]
        for pdu in wrong:
            application.submit(pdu)
        application.unbind()
    world.stop()
    denied = Counter[tuple[int, bool]]()
    with LogReader(world.state_dir / "evidence") as reader:
        for _, octets in reader.records(1, reader.next_index):
            record = records.decode(octets)
            if isinstance(record, records.Denied):
                denied[record.command_status, bool(record.content)] += record.count
    # What is wrong with the message is kept with its content; what was only too fast is counted.
    assert denied == {
        (CommandStatus.ESME_RINVSRCADR, True): 1,
        (CommandStatus.ESME_RTHROTTLED, False): 5,
    }
