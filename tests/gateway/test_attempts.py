"""Whether a part is tried again, when and by whom; and that the evidence has every attempt, the application
only the end."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

import pytest

from gateway.attempts import RETRY_WAITS_S, Retry, retry_after_receipt, retry_after_refusal
from gateway.config import RouteTable
from gateway.message import DATAGRAM, FINAL, QUEUED, SENT, TRANSACTION, Group
from gateway.outcomes import Action, Cause, Verdict
from gateway.routes import Routes
from protocol.smpp.codes import CommandStatus, MessageState
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import receipt
from tests.gateway.waiting import standing, waiting
from tests.gateway.world import MOBILE, MOBILE_2, START_US, World, account, carrier

LATER, OTHER, PARK, NEVER = Action.LATER, Action.OTHER_ROUTE, Action.PARK, Action.FINAL
GATEWAY, ROUTE, PORTED, TERMINAL = Cause.GATEWAY, Cause.ROUTE, Cause.PORTED, Cause.TERMINAL
NOW = 10.0
# Texts of which this part alone has left, and of which another one has too; the gateway cut them, or their
# application did.
CUT, CUT_BEGUN = Group(first=1, cut_into=3, begun=1), Group(first=1, cut_into=3, begun=2)
OWN, OWN_BEGUN = Group(begun=1), Group(begun=2)


class Case(NamedTuple):
    action: Action
    cause: Cause
    refused: tuple[str, float] | None  # carrier and wait of the next attempt after a negative response
    failed: tuple[str, float] | None  # after a receipt that reports a failure
    part: dict[str, Any] = {}  # noqa: RUF012 - a row of a table, which nobody changes


CASES = [
    # What the carrier is to blame for is tried again by schedule, until that ends or the validity does.
    *(
        Case(LATER, GATEWAY, ("a", wait_s), ("a", wait_s), {"postponed": postponed})
        for postponed, wait_s in enumerate((5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0))
    ),
    Case(LATER, GATEWAY, None, None, {"postponed": 6}),
    Case(LATER, GATEWAY, ("a", 5.0), ("a", 5.0), {"expires_us": START_US + 5_000_001}),
    Case(LATER, GATEWAY, None, None, {"expires_us": START_US + 5_000_000}),
    Case(LATER, GATEWAY, ("a", 5.0), ("a", 5.0), {"group": CUT_BEGUN}),
    Case(LATER, GATEWAY, None, None, {"mode": DATAGRAM}),
    Case(LATER, GATEWAY, None, None, {"mode": TRANSACTION}),
    Case(LATER, Cause.THROTTLED, ("a", 5.0), ("a", 5.0)),
    # A phone that is off was tried by its carrier for days.
    Case(LATER, TERMINAL, ("a", 5.0), None),
    Case(LATER, Cause.EXPIRED, ("a", 5.0), None),
    # Another way: by the same network, or, for a number that was ported, by another one; once.
    Case(OTHER, ROUTE, ("b", 0.0), ("b", 0.0)),
    Case(OTHER, PORTED, ("u", 0.0), ("u", 0.0)),
    Case(OTHER, ROUTE, None, None, {"rerouted": True}),
    Case(OTHER, PORTED, ("u", 0.0), ("u", 0.0), {"group": CUT}),
    Case(OTHER, PORTED, None, None, {"group": CUT_BEGUN}),
    Case(OTHER, ROUTE, None, None, {"group": OWN_BEGUN}),
    Case(OTHER, PORTED, ("u", 0.0), ("u", 0.0), {"group": OWN}),
    Case(OTHER, PORTED, None, None, {"units": 2}),  # u takes parts only
    Case(OTHER, Cause.POLICY, ("b", 0.0), None),
    Case(OTHER, ROUTE, None, None, {"mode": TRANSACTION}),
    # The link is parked, and the account's next one tries.
    Case(PARK, GATEWAY, ("a", 0.0), None),
    Case(PARK, GATEWAY, None, None, {"mode": DATAGRAM}),
    # What is final ends.
    Case(NEVER, GATEWAY, None, None),
    Case(NEVER, Cause.INVALID, None, None),
]


@pytest.mark.parametrize("case", CASES)
def test_what_follows_from_a_failure(case: Case) -> None:
    a, b = standing("a"), standing("b")
    u = standing("u", "unicom", message_payload=False)
    found = Routes({"a": a, "b": b, "u": u}, (), "mobile")
    verdict = Verdict(case.action, case.cause, "", "high", "", "", "")
    for judge, expected in ((retry_after_refusal, case.refused), (retry_after_receipt, case.failed)):
        part = waiting(1, at=a, **case.part)
        retry = judge(part, verdict, "mobile", found, NOW, START_US)
        assert (retry and (retry.carrier.name, retry.wait_s)) == expected


def test_nobody_is_asked_who_is_out_of_service() -> None:
    a, b = standing("a"), standing("b")
    found = Routes({"a": a, "b": b}, (), "mobile")
    b.links[0].can_send = False
    verdict = Verdict(OTHER, ROUTE, "", "high", "", "", "")
    assert retry_after_refusal(waiting(1, at=a), verdict, "mobile", found, NOW, START_US) is None
    b.links[0].can_send = True
    assert retry_after_refusal(waiting(1, at=a), verdict, "mobile", found, NOW, START_US) == Retry(b, 0.0)


# -- played through ----------------------------------------------------------------------------------------

SYSTEM_ERROR = CommandStatus.ESME_RSYSERR


def test_every_attempt_is_recorded_and_the_application_hears_of_the_last_one(world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    for wait_s in RETRY_WAITS_S:
        (request,) = peer.taken()
        peer.answer(request, command_status=SYSTEM_ERROR)
        until_us = world.turns.now_us + round(wait_s * 1e6)
        assert world.log.read()[-1] == records.Postponed(
            *(world.part(message_id).number, world.turns.now_us, until_us, "cmcc"),
            "gateway: system error (SMPP 3.4 §5.1.3)",
        )
        assert world.loop.next_timer == world.loop.now + wait_s
        world.wait(wait_s - 0.1)
        assert (peer.taken(), application.reports()) == ([], [])
        world.wait(0.1)
    (request,) = peer.taken()
    peer.answer(request, command_status=SYSTEM_ERROR)
    assert application.reports() == [(message_id, MessageState.REJECTED, b"008")]
    tries = len(RETRY_WAITS_S)
    assert world.kinds == [
        "Accepted",
        *["Dispatched", "Refused", "Postponed"] * tries,
        *("Dispatched", "Refused", "Reported"),
    ]
    assert (world.part(message_id).attempts, world.part(message_id).postponed) == (tries + 1, tries)


class Failing(NamedTuple):
    """A failing receipt for the first attempt, and where the second one goes."""

    stat: bytes
    network: str  # of the second carrier
    again: str  # the carrier that gets it; empty: nobody
    wait_s: float = 0.0


FAILING = {
    "system error": Failing(b"MB:0008", "unicom", "cmcc", 5.0),
    "congestion": Failing(b"MB:1070", "unicom", "cmcc", 5.0),
    "ported": Failing(b"MB:1049", "unicom", "other"),
    "ported, and nobody else": Failing(b"MB:1049", "mobile", ""),
    "no route": Failing(b"MB:1044", "mobile", "other"),
    "no route, and nobody else": Failing(b"MB:1044", "unicom", ""),
    "switched off": Failing(b"MK:0024", "mobile", ""),
    "empty number": Failing(b"MK:0001", "mobile", ""),
    "a bare word": Failing(b"UNDELIV", "mobile", ""),
}


@pytest.mark.parametrize("case", FAILING.values(), ids=FAILING)
def test_a_receipt_that_reports_a_failure_may_lead_to_another_attempt(case: Failing, sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier("cmcc"), carrier("other", case.network)))
    peers = {name: world.connect(name) for name in ("cmcc", "other")}
    application = world.application()
    if case.network == "mobile":
        world.routes.ways["mobile"][1].weight = 0  # so that the first one has the first attempt
    message_id = application.submit(MOBILE)
    first = peers["cmcc"].take_one(b"17")
    peers["cmcc"].deliver(receipt(b"17", MOBILE, case.stat))
    part = world.part(message_id)
    assert part.state == (QUEUED if case.again else FINAL)
    if case.wait_s:
        world.wait(case.wait_s - 0.1)
        assert [peer.taken() for peer in peers.values()] == [[], []]
        world.wait(0.1)
    for _ in range(2):
        world.wait(0.0)  # the body of what was taken already is read from the evidence
    again = {name: peer.taken() for name, peer in peers.items()}
    assert [name for name, requests in again.items() if requests] == ([case.again] if case.again else [])
    reports = application.reports()
    if case.again:
        (second,) = again[case.again]
        assert reports == []
        assert second == first.__class__(**{**_fields(first), "sequence_number": second.sequence_number})
        assert (part.rerouted, part.postponed) == (case.again == "other", 1)
    else:
        assert [(each[0], each[1]) for each in reports] == [(message_id, MessageState.UNDELIVERABLE)]


@pytest.mark.parametrize("restart", [False, True], ids=["", "and a restart"])
@pytest.mark.parametrize(
    ("stat", "learned"), [(b"MB:1049", ["unicom"]), (b"MB:1044", [])], ids=["ported", "no route"]
)
def test_a_number_is_ported_only_if_a_carrier_said_so(
    stat: bytes, learned: list[str], restart: bool, sealer: Sealer
) -> None:
    """Though the account that stands by, and delivers, is one of another network."""
    ways = RouteTable(network="mobile", carriers=("cmcc", "other"), weights=(1, 0))
    start: dict[str, Any] = {"carriers": (carrier("cmcc"), carrier("other", "unicom")), "routes": (ways,)}
    world = World(sealer, **start)
    first, second = world.connect("cmcc"), world.connect("other")
    world.application().submit(MOBILE)
    first.take_one(b"17")
    first.deliver(receipt(b"17", MOBILE, stat))
    if restart:
        world = World(sealer, **start, found=world.log.entries, now=world.loop.now)
        world.restore()
        second = world.connect("other")
    for _ in range(2):
        world.wait(0.0)
    second.take_one(b"18")
    second.deliver(receipt(b"18", MOBILE))
    facts = [record for record in world.log.read() if isinstance(record, records.Ported)]
    assert [fact.network for fact in facts] == learned


def _fields(pdu: Any) -> dict[str, Any]:
    return {name: getattr(pdu, name) for name in pdu.__struct_fields__}


class Late(NamedTuple):
    """What comes for the first attempt (id 17) once the second one (id 18) is under way or taken."""

    taken: bool  # the second attempt, before the receipts
    receipts: list[tuple[bytes, bytes]]  # (id, stat)
    state: int
    reports: list[int]


LATE = {
    "the first is delivered after all": Late(True, [(b"17", b"DELIVRD")], FINAL, [2]),
    "while the second is in flight": Late(False, [(b"17", b"DELIVRD")], FINAL, [2]),
    "the first fails once more": Late(True, [(b"17", b"UNDELIV")], SENT, []),
    "then the second is delivered": Late(True, [(b"17", b"UNDELIV"), (b"18", b"DELIVRD")], FINAL, [2]),
    "both are delivered": Late(True, [(b"18", b"DELIVRD"), (b"17", b"DELIVRD")], FINAL, [2]),
    "the second fails for good": Late(True, [(b"18", b"MK:0001")], FINAL, [5]),
    "and the first is delivered": Late(True, [(b"18", b"MK:0001"), (b"17", b"DELIVRD")], FINAL, [5]),
}


@pytest.mark.parametrize("case", LATE.values(), ids=LATE)
def test_what_comes_late_for_an_older_attempt(case: Late, world: World) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE, b"MB:0008"))
    world.wait(5.0)
    world.wait(0.0)
    (second,) = peer.taken()
    if case.taken:
        peer.answer(second, b"18")
    for carrier_id, stat in case.receipts:
        peer.deliver(receipt(carrier_id, MOBILE, stat))
    if not case.taken:
        peer.answer(second, b"18")
        peer.deliver(receipt(b"18", MOBILE, b"UNDELIV"))
    assert world.part(message_id).state == case.state
    assert [state for _, state, _ in application.reports()] == case.reports
    world.wait(10_000.0)
    assert peer.taken() == []


def test_a_part_that_was_taken_while_it_waited_is_not_sent_by_its_old_place(sealer: Sealer) -> None:
    """It stood in the queue to be sent again when the late answer came; then its failure makes it wait once
    more, and it must not leave before its time, nor without its body, nor twice."""
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    application.submit(MOBILE_2)  # stands before it
    message_id = application.submit(MOBILE)
    _, second = peer.taken()
    world.wait(10.0)
    world.hold("cmcc", 2.0)
    world.wait(1.0)
    queues = world.dispatch.carriers["cmcc"].queues
    assert len(queues) == 2
    peer.answer(second, b"17")
    peer.deliver(receipt(b"17", MOBILE, b"MB:0008"))
    assert world.part(message_id) not in queues
    world.wait(2.0)
    peer.take_one(b"18")
    world.wait(2.9)
    assert peer.taken() == []
    world.wait(0.1)
    world.wait(0.0)
    (again,) = peer.taken()
    assert (again.short_message, again.destination_addr) == (b"hello", MOBILE)
    peer.answer(again, b"19")
    for _ in range(20):
        world.wait(1.0)
    assert peer.taken() == []


def test_a_body_that_cannot_be_read_now_is_read_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE, b"MB:0008"))

    def bodies(_: list[int]) -> list[bytes | None]:
        raise OSError(24, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(world.upkeep._threads, "submit", _failing(bodies))
        world.wait(5.0)
        world.wait(0.0)
    assert (peer.taken(), world.part(message_id).state) == ([], QUEUED)
    world.wait(5.0)
    world.wait(0.0)
    assert len(peer.taken()) == 1


def test_a_body_that_comes_when_its_part_waits_for_a_later_attempt_does_not_wake_it(
    sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it was read the first attempt was answered after all, and failed too."""
    world = World(sealer, accounts=(account(uncertain="resend"),))
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    (first,) = peer.taken()
    world.wait(10.0)
    world.wait(1.0)
    peer.take_one(b"18")
    peer.deliver(receipt(b"18", MOBILE, b"MB:0008"))
    reading: Future[Any] = Future()
    with monkeypatch.context() as patch:
        patch.setattr(world.upkeep._threads, "submit", lambda *_: reading)
        world.wait(5.0)
        world.wait(0.0)
    peer.answer(first, b"17")
    peer.deliver(receipt(b"17", MOBILE, b"MB:0008"))
    part = world.part(message_id)
    assert (part.state, part.postponed) == (QUEUED, 2)
    reading.set_result(world.rebuilder.bodies([part.content]))
    for _ in range(29):
        world.wait(1.0)
    assert peer.taken() == []
    world.wait(1.0)
    world.wait(0.0)
    assert len(peer.taken()) == 1


def test_a_body_that_can_never_be_read_ends_its_part(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, application = world.connect(), world.application()
    message_id = application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE, b"MB:0008"))
    monkeypatch.setattr(world.rebuilder, "bodies", lambda contents: [None for _ in contents])
    world.wait(5.0)
    world.wait(0.0)
    assert peer.taken() == []
    assert application.reports() == [(message_id, MessageState.UNKNOWN, b"000")]


def _failing(call: Any) -> Any:
    def submit(_: object, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments))
        except OSError as error:
            future.set_exception(error)
        return future

    return submit


# -- who is to blame ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "in_service"),
    [
        (CommandStatus.ESME_RSYSERR, False),
        (CommandStatus.ESME_RX_T_APPN, False),
        (CommandStatus.ESME_RSUBMITFAIL, True),  # carriers use it for any refusal
        (CommandStatus.ESME_RINVDSTADR, True),
        (CommandStatus.ESME_RTHROTTLED, True),  # the controller of the link sees to that
        (0x4FF, True),
    ],
)
def test_refusals_that_are_the_carriers_fault_take_it_out_of_service(
    status: int, in_service: bool, world: World
) -> None:
    peer, application = world.connect(), world.application()
    for _ in range(3):
        application.submit(MOBILE)
    for request in peer.taken():
        peer.answer(request, command_status=status)
    assert world.dispatch.carriers["cmcc"].in_service(world.turns.now) is in_service


def test_a_window_that_is_lost_with_its_link_counts_once(world: World) -> None:
    owner = world.dispatch.carriers["cmcc"]
    application = world.application()
    for losses in range(1, 4):
        peer = world.connect()
        for _ in range(5):
            application.submit(MOBILE)
        peer.cut()
        assert owner.breaker.open(world.turns.now) is (losses == 3)


def test_an_account_that_a_carrier_bars_is_left_alone_and_loses_nothing(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(sessions=2, window=1),))
    first, second = world.connect(index=0), world.connect(index=1)
    application = world.application()
    message_id = application.submit(MOBILE)
    (request,) = first.taken()
    first.answer(request, command_status=CommandStatus.ESME_RINVSYSID)
    link = world.dispatch.carriers["cmcc"].links[0]
    assert (link.can_send, world.part(message_id).postponed) == (False, 0)
    assert len(second.taken()) == 1  # the other link tries at once
    assert application.reports() == []
