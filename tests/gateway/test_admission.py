"""Whether a submission may pass: a table of rules, their order, and what the evidence keeps of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from gateway import outbox
from gateway.admission import BODY_OCTETS_MAX, Admitted, Refusal, period_of
from gateway.config import AccountConfig, CarrierConfig, LanesConfig, LimitsConfig, NumbersConfig
from gateway.denials import OWN_RECORDS_BURST
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import CancelSm, SubmitSmResp
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, submit_sm
from tests.gateway.world import MOBILE, START_US, UNICOM, World, account, carrier

THING = b"1064812345678"
PAYLOAD = int(TlvTag.MESSAGE_PAYLOAD)
Fields = dict[str, Any]


def nothing(world: World) -> None:
    pass


def no_room(world: World) -> None:
    world.log.has_room = False


def draining(world: World) -> None:
    world.admission.draining = True


def too_many_octets(world: World) -> None:
    world.open_parts.body_octets = BODY_OCTETS_MAX


def one_waits(world: World) -> None:
    world.application().submit(MOBILE)


def one_has_waited(world: World) -> None:
    world.application().submit(MOBILE)
    world.loop.now += 1_800.1


def opted_out(world: World) -> None:
    number_hash = world.directory.number_hash(MOBILE)
    world.directory.note(1, records.OptedOut(START_US, number_hash, "hukou", True, 1))


def outbox_full(world: World) -> None:
    world.accounts["hukou"].outbox.put_behind(1, 1)


class Rule(NamedTuple):
    name: str
    status: CommandStatus
    reason: str
    fields: Fields
    before: Callable[[World], None] = nothing
    destination: bytes = MOBILE
    limits: LimitsConfig | None = None
    numbers: NumbersConfig | None = None
    accounts: tuple[AccountConfig, ...] = ()
    carriers: tuple[CarrierConfig, ...] = ()


def payload(text: bytes, data_coding: int = 0) -> Fields:
    return {"short_message": b"", "data_coding": data_coding, "tlvs": ((PAYLOAD, text),)}


SYSERR, FULL = CommandStatus.ESME_RSYSERR, CommandStatus.ESME_RMSGQFUL
SOURCE_REASON = "source address not allowed for this account"
NO_MOBILE = "destination is no Chinese mobile number"
LONG = "the message makes more than 255 parts"
HEADER = "a message with a user data header does not fit into one part"
VALIDITY = "validity_period is no SMPP time, or has passed"
RULES = [
    Rule("no room", SYSERR, "the evidence log has no room on its disk", {}, no_room),
    Rule("draining", SYSERR, "draining", {}, draining),
    Rule("open", FULL, "too many open messages", {}, one_waits, limits=LimitsConfig(parts_open_max=1)),
    Rule("octets", FULL, "the open messages hold too many octets", {}, too_many_octets),
    Rule("outbox", FULL, "too many receipts wait for this account", {}, outbox_full),
    Rule("source", CommandStatus.ESME_RINVSRCADR, SOURCE_REASON, {"source_addr": b"95555"}),
    Rule("empty source", CommandStatus.ESME_RINVSRCADR, SOURCE_REASON, {"source_addr": b""}),
    Rule("no sources", CommandStatus.ESME_RINVSRCADR, SOURCE_REASON, {}, accounts=(account(sources=()),)),
    Rule("landline", CommandStatus.ESME_RINVDSTADR, NO_MOBILE, {}, destination=b"01012345678"),
    Rule("no number", CommandStatus.ESME_RINVDSTADR, NO_MOBILE, {}, destination=b""),
    Rule(
        "thing",
        CommandStatus.ESME_RINVDSTADR,
        "destination is a number for machines (物联网号段)",
        {},
        destination=THING,
    ),
    Rule(
        "no carrier",
        CommandStatus.ESME_RINVDSTADR,
        "no carrier serves the destination's network",
        {},
        carriers=(carrier("cucc", "unicom"),),
    ),
    Rule(
        "queue", FULL, "the carrier's queue is full", {}, one_waits, limits=LimitsConfig(carrier_queue_max=1)
    ),
    Rule(
        "schedule",
        CommandStatus.ESME_RINVSCHED,
        "schedule_delivery_time is no SMPP time",
        {"schedule_delivery_time": b"tomorrow"},
    ),
    Rule(
        "far schedule",
        CommandStatus.ESME_RINVSCHED,
        "schedule_delivery_time is more than seven days away",
        {"schedule_delivery_time": b"000007000001000R"},
    ),
    Rule(
        "opted out",
        CommandStatus.ESME_RINVDSTADR,
        "the subscriber has opted out of this service (退订)",
        {},
        opted_out,
        accounts=(account(category="convenience"),),
    ),
    Rule(
        "late",
        CommandStatus.ESME_RTHROTTLED,
        "what waits in the lane has waited too long already",
        {},
        one_has_waited,
    ),
    Rule("too long", CommandStatus.ESME_RINVMSGLEN, LONG, payload(b"a" * (255 * 153 + 1))),
    Rule("too many parts", CommandStatus.ESME_RINVMSGLEN, LONG, payload(b"\x4f\x60" * (255 * 67 + 1), 8)),
    Rule("no header", CommandStatus.ESME_RINVMSGLEN, HEADER, {"short_message": b"", "esm_class": 0x40}),
    Rule(
        "header beyond the text",
        CommandStatus.ESME_RINVMSGLEN,
        HEADER,
        {"short_message": b"\5\0\3\1\2", "esm_class": 0x40},
    ),
    Rule(
        "header and 135 octets",
        CommandStatus.ESME_RINVMSGLEN,
        HEADER,
        {"short_message": b"\5\0\3\1\2\1" + b"a" * 135, "esm_class": 0x40, "data_coding": 4},
    ),
    Rule(
        "header and 154 septets",
        CommandStatus.ESME_RINVMSGLEN,
        HEADER,
        {"short_message": b"\5\0\3\1\2\1" + b"a" * 154, "esm_class": 0x40},
    ),
    Rule(
        "header and 60 KB",
        CommandStatus.ESME_RINVMSGLEN,
        HEADER,
        {**payload(b"\5\0\3\1\2\1" + b"a" * 60_000), "esm_class": 0x40},
    ),
    Rule("validity", CommandStatus.ESME_RINVEXPIRY, VALIDITY, {"validity_period": b"for ever"}),
    Rule("past", CommandStatus.ESME_RINVEXPIRY, VALIDITY, {"validity_period": b"260101000000000+"}),
    Rule(
        "rate",
        CommandStatus.ESME_RTHROTTLED,
        "over the account's rate",
        {},
        one_waits,
        accounts=(account(rate_per_s=1),),
    ),
]
TRANSIENT = {"no room", "draining", "open", "octets", "outbox", "queue", "late", "rate"}


@pytest.fixture(autouse=True)
def _one_report_is_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BEHIND_MAX", 1)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_refusal_has_its_status_at_once_and_its_reason_in_the_evidence(rule: Rule, sealer: Sealer) -> None:
    world = World(
        sealer, limits=rule.limits, numbers=rule.numbers, accounts=rule.accounts, carriers=rule.carriers
    )
    application = world.application()
    rule.before(world)
    start = world.log.next_index
    refused = submit_sm(rule.destination, **rule.fields)
    number = application.say(refused)
    world.turn()  # it promises nothing, so it waits for no disk
    assert application.heard == [SubmitSmResp(number, rule.status)]
    assert world.accounts["hukou"].refused == {rule.status: 1}
    world.log.has_room = True
    world.pipeline.journal.denials.flush(world.turns.now_us)
    ((_, denied),) = enumerate(world.log.read(start))
    assert isinstance(denied, records.Denied)
    assert (denied.account, denied.command_status, denied.reason) == ("hukou", rule.status, rule.reason)
    if rule.name in TRANSIENT:
        assert (denied.count, denied.number_hash, denied.content) == (1, b"", b"")
    else:
        assert rule.destination in sealer.unseal(start, denied.content)
        hashed = sealer.number_hash(rule.destination) if rule.destination in (MOBILE, THING) else b""
        assert denied.number_hash == hashed


BY_NAME = {rule.name: rule for rule in RULES}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("no room", "draining"),
        ("draining", "open"),
        ("open", "octets"),
        ("octets", "outbox"),
        ("outbox", "source"),
        ("source", "landline"),
        ("landline", "opted out"),
        ("opted out", "schedule"),
        ("schedule", "validity"),
        ("validity", "queue"),
        ("validity", "late"),
        ("late", "no header"),
        ("no header", "rate"),
    ],
)
def test_of_two_reasons_the_earlier_rule_counts(earlier: str, later: str, sealer: Sealer) -> None:
    rules = BY_NAME[earlier], BY_NAME[later]
    first, second = rules
    world = World(
        sealer,
        limits=first.limits or second.limits,
        accounts=first.accounts or second.accounts,
        carriers=first.carriers or second.carriers,
    )
    application = world.application()
    for rule in sorted(rules, key=lambda rule: rule.before not in (one_waits, one_has_waited)):
        rule.before(world)
    destination = first.destination if first.destination != MOBILE else second.destination
    answer = application.ask(submit_sm(destination, **{**second.fields, **first.fields}))
    assert answer.command_status == first.status


@pytest.mark.parametrize(
    ("destination", "numbers", "carriers", "expected"),
    [
        (MOBILE, NumbersConfig(), ("mobile", "unicom"), "mobile"),
        (b"+86" + MOBILE, NumbersConfig(), ("mobile", "unicom"), "mobile"),
        (UNICOM, NumbersConfig(), ("mobile", "unicom"), "unicom"),
        (UNICOM, NumbersConfig(), ("mobile",), "mobile"),  # the default network serves what nobody else does
        (
            b"15400000000",
            NumbersConfig(default_network="unicom"),
            ("mobile", "unicom"),
            "unicom",
        ),
        (THING, NumbersConfig(reject_iot=False), ("mobile", "unicom"), "mobile"),
    ],
)
def test_where_a_message_goes(
    destination: bytes, numbers: NumbersConfig, carriers: tuple[str, ...], expected: str, sealer: Sealer
) -> None:
    world = World(sealer, carriers=tuple(carrier(name, name) for name in carriers), numbers=numbers)
    world.application().submit(destination)
    (part,) = world.open_parts.open.values()
    assert part.carrier.name == expected
    assert part.destination == destination.removeprefix(b"+86")


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({"short_message": b""}, 1),
        ({"short_message": b"a" * 140}, 1),
        ({"short_message": b"a" * 160}, 1),
        ({"short_message": b"a" * 161}, 2),
        ({"short_message": b"\x4f\x60" * 70, "data_coding": 8}, 1),
        ({"short_message": b"\x4f\x60" * 71, "data_coding": 8}, 2),
        ({"short_message": b"\5\0\3\1\2\1" + b"a" * 153, "esm_class": 0x40}, 1),  # split already
        ({"short_message": b"\5\0\3\1\2\1" + b"a" * 134, "esm_class": 0x40, "data_coding": 4}, 1),
        (payload(b"a" * (255 * 153)), 255),
        (payload(b"\x4f\x60" * (255 * 67), 8), 255),
        ({"short_message": b"", "data_coding": 8, "tlvs": ((PAYLOAD, b"\x4f\x60" * 300),)}, 5),
    ],
)
def test_the_account_is_counted_the_parts_that_the_carrier_will_charge(
    fields: Fields, units: int, world: World
) -> None:
    pdu = submit_sm(MOBILE, **fields)
    owner = world.accounts["hukou"]
    admitted = world.admission.admit(owner, pdu, world.turns.now, world.turns.now_us)
    assert isinstance(admitted, Admitted)
    assert admitted.units == units
    assert owner.bucket.level(world.turns.now) == 10_000 - units


HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@pytest.mark.parametrize(
    ("schedule", "validity", "period"),
    [
        (b"", b"000000020000000R", (0, START_US + 2 * HOUR_US)),
        (b"", b"260922001320000+", (0, START_US + 10 * HOUR_US)),  # 00:13:20 UTC of the next day
        (b"", b"260922001320032+", (0, START_US + 2 * HOUR_US)),  # the same by the clocks of Shanghai
        (b"000000010000000R", b"000000020000000R", (START_US + HOUR_US, START_US + 3 * HOUR_US)),
        (b"260921231320032+", b"260922001320032+", (START_US + HOUR_US, START_US + 2 * HOUR_US)),
        (b"260101000000000+", b"000000020000000R", (0, START_US + 2 * HOUR_US)),  # a start in the past is now
        (b"000000010000000R", b"", (START_US + HOUR_US, START_US + HOUR_US + 3 * DAY_US)),
        (b"260101000000000+", b"", (0, 0)),
        (b"000007000000000R", b"", (START_US + 7 * DAY_US, START_US + 10 * DAY_US)),
        (b"000008000000000R", b"", CommandStatus.ESME_RINVSCHED),
        (b"", b"000007000000000R", (0, START_US + 7 * DAY_US)),
        (b"", b"000008000000000R", (0, START_US + 7 * DAY_US)),  # nothing is held longer
        (b"", b"991231235959000+", (0, START_US + 7 * DAY_US)),
        (b"", b"260921141320000+", CommandStatus.ESME_RINVEXPIRY),  # this very moment
        (b"000000020000000R", b"260921231320032+", CommandStatus.ESME_RINVEXPIRY),  # before it may leave
    ],
)
def test_when_a_message_may_leave_and_when_its_validity_ends(
    schedule: bytes, validity: bytes, period: object
) -> None:
    found = period_of(schedule, validity, START_US)
    assert (found.command_status if isinstance(found, Refusal) else found) == period


def test_refusals_of_the_moment_share_one_record_a_second(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(rate_per_s=1),))
    application = world.application()
    for _ in range(5):
        application.say(submit_sm(MOBILE))
    world.settle()
    world.wait(1.0)
    denied = [record for record in world.log.read() if isinstance(record, records.Denied)]
    assert [(record.count, record.reason) for record in denied] == [(4, "over the account's rate")]


def test_refusals_beyond_what_a_person_can_read_are_counted_too(world: World) -> None:
    refusal = Refusal(CommandStatus.ESME_RINVSRCADR, SOURCE_REASON)
    for _ in range(OWN_RECORDS_BURST + 7):
        world.pipeline.journal.denials.note("hukou", 1, refusal, b"body", MOBILE, world.turns)
    world.pipeline.journal.denials.flush(world.turns.now_us)
    counts = [record.count for record in world.log.read() if isinstance(record, records.Denied)]
    assert counts == [1] * OWN_RECORDS_BURST + [7]


def test_a_submission_refused_for_its_rate_costs_no_rate(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(rate_per_s=2, burst=2),))
    application = world.application()
    long: Fields = {"short_message": b"\x4f\x60" * 100, "data_coding": 8}
    statuses = [application.ask(submit_sm(MOBILE, **fields)).command_status for fields in ({}, long, {}, {})]
    throttled = CommandStatus.ESME_RTHROTTLED
    assert statuses == [0, throttled, 0, throttled]


def test_room_for_evidence_is_asked_of_the_log_though_the_disk_is_at_work(world: World) -> None:
    application = world.application()
    application.say(submit_sm(MOBILE))
    world.turn()
    assert world.log.busy
    world.log.has_room = False
    number = application.say(submit_sm(MOBILE))
    world.turn()
    assert application.heard == [SubmitSmResp(number, SYSERR)]


def test_parts_that_ended_while_they_waited_take_no_place_in_the_queue(sealer: Sealer) -> None:
    world = World(sealer, limits=LimitsConfig(carrier_queue_max=3))
    application = world.application()
    kept = application.submit(MOBILE)
    for _ in range(2):
        application.submit(MOBILE, validity_period=b"000000000500000R")
    assert application.ask(submit_sm(MOBILE)).command_status == FULL
    world.wait(600.0)
    assert [application.ask(submit_sm(MOBILE)).command_status for _ in range(3)] == [0, 0, FULL]
    assert world.part(kept) is world.dispatch.carriers["cmcc"].queues.lanes[2][0]


def test_the_octets_of_bodies_are_counted_while_they_are_held(world: World) -> None:
    peer, application = world.connect(), world.application()
    short, long = application.submit(MOBILE), application.submit(MOBILE, short_message=b"a" * 140)
    held = [len(world.part(message_id).body) for message_id in (short, long)]
    assert world.open_parts.body_octets == sum(held)
    first, second = peer.taken()
    peer.answer(first, b"17")
    assert world.open_parts.body_octets == held[1]
    peer.answer(second, command_status=CommandStatus.ESME_RSUBMITFAIL)
    assert world.open_parts.body_octets == 0


# -- lanes -------------------------------------------------------------------------------------------------

FOUR_LANES = account(lanes=("emergency", "interactive", "notice", "bulk"))
BULK, NOTICE, INTERACTIVE, EMERGENCY = range(4)  # as priority_flag asks for them


def until_refused(world: World, priority_flag: int, **fields: Any) -> tuple[int, int]:
    """How many messages of a priority are taken, and the status of the next one."""
    application = world.application()
    taken = 0
    while not (
        answer := application.ask(submit_sm(MOBILE, priority_flag=priority_flag, **fields))
    ).command_status:
        taken += 1
    return taken, answer.command_status


@pytest.mark.parametrize(
    "limits",
    [LimitsConfig(parts_open_max=20), LimitsConfig(carrier_queue_max=20)],
    ids=["open parts", "queue"],
)
def test_when_little_room_is_left_the_last_lanes_are_refused_first(
    limits: LimitsConfig, sealer: Sealer
) -> None:
    world = World(sealer, accounts=(FOUR_LANES,), limits=limits)
    for priority_flag, more in ((BULK, 16), (NOTICE, 2), (INTERACTIVE, 1), (EMERGENCY, 1), (BULK, 0)):
        assert until_refused(world, priority_flag) == (more, FULL), priority_flag


def test_what_is_first_in_its_lane_finds_room_whatever_waits_in_the_others(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,), limits=LimitsConfig(carrier_queue_max=5))
    taken = [until_refused(world, each)[0] for each in (BULK, EMERGENCY, INTERACTIVE, NOTICE)]
    assert taken == [4, 1, 1, 1]


def test_when_the_bodies_hold_too_much_the_last_lanes_are_refused_first(sealer: Sealer) -> None:
    world = World(sealer, accounts=(FOUR_LANES,))
    application = world.application()
    statuses = []
    for share in (0.79, 0.81, 0.91, 0.96, 1.0):
        world.open_parts.body_octets = int(share * BODY_OCTETS_MAX)
        statuses.append(
            [application.ask(submit_sm(MOBILE, priority_flag=each)).command_status for each in range(4)]
        )
    assert statuses == [
        [0, 0, 0, 0],
        [FULL, 0, 0, 0],
        [FULL, FULL, 0, 0],
        [FULL, FULL, FULL, 0],
        [FULL, FULL, FULL, FULL],
    ]


@pytest.mark.parametrize(
    ("priority_flag", "age_max_s"), [(EMERGENCY, 5.0), (INTERACTIVE, 10.0), (NOTICE, 20.0), (BULK, 40.0)]
)
def test_a_lane_whose_head_has_waited_too_long_takes_nothing_more(
    priority_flag: int, age_max_s: float, sealer: Sealer
) -> None:
    """Early, and the other lanes are not concerned; until what waited has left."""
    ages = LanesConfig(
        emergency_age_max_s=5.0, interactive_age_max_s=10.0, notice_age_max_s=20.0, bulk_age_max_s=40.0
    )
    world = World(sealer, accounts=(FOUR_LANES,), lanes=ages)
    application = world.application()
    own = submit_sm(MOBILE, priority_flag=priority_flag)
    other = submit_sm(MOBILE, priority_flag=(priority_flag + 1) % 4)
    assert application.ask(own).command_status == 0
    world.loop.now += age_max_s
    assert application.ask(own).command_status == 0
    world.loop.now += 0.1
    throttled = CommandStatus.ESME_RTHROTTLED
    assert [application.ask(each).command_status for each in (own, other)] == [throttled, 0]
    world.connect()
    assert application.ask(own).command_status == 0


def test_what_was_cancelled_while_it_waited_makes_no_lane_old(sealer: Sealer) -> None:
    """Also where the lanes before it keep its queue from being looked at."""
    world = World(sealer, accounts=(FOUR_LANES,))
    application = world.application()
    old = application.submit(MOBILE, priority_flag=BULK)
    world.loop.now += 14_400.1
    application.submit(MOBILE, priority_flag=INTERACTIVE)
    again = submit_sm(MOBILE, priority_flag=BULK)
    assert application.ask(again).command_status == CommandStatus.ESME_RTHROTTLED
    application.ask(CancelSm(message_id=old, source_addr=SOURCE))
    assert application.ask(again).command_status == 0


@pytest.mark.parametrize(
    ("lanes", "lane_of_each"),
    [
        (("emergency", "interactive", "notice", "bulk"), [3, 2, 1, 0, 0]),
        (("interactive", "notice"), [2, 2, 1, 1, 1]),
        (("bulk",), [3, 3, 3, 3, 3]),
    ],
)
def test_the_priority_flag_chooses_among_the_lanes_of_the_account(
    lanes: tuple[str, ...], lane_of_each: list[int], sealer: Sealer
) -> None:
    world = World(sealer, accounts=(account(lanes=lanes),))
    application = world.application()
    for priority_flag, lane in zip((0, 1, 2, 3, 255), lane_of_each, strict=True):
        message_id = application.submit(MOBILE, priority_flag=priority_flag)
        assert world.part(message_id).lane == lane
        (accepted,) = world.log.read()[-1:]
        assert isinstance(accepted, records.Accepted)
        assert accepted.lane == lane


@pytest.mark.parametrize(
    ("prefix", "source", "lane"),
    [
        ("12110", b"12110", 0),
        ("12110", b"12110371", 0),
        ("12110", b"106391101", 3),
        ("12110", b"1211", None),
        ("1211", b"12110371", 0),
        ("1211", b"1211", 3),
    ],
)
def test_what_comes_from_the_alarm_number_is_an_emergency(
    prefix: str, source: bytes, lane: int | None, sealer: Sealer
) -> None:
    """Whatever its priority, and whatever lanes its account has."""
    world = World(sealer, accounts=(account(lanes=("bulk",), sources=(prefix, "10639110")),))
    application = world.application()
    answer = application.ask(submit_sm(MOBILE, source_addr=source))
    assert isinstance(answer, SubmitSmResp)
    if lane is None:
        assert answer.command_status == CommandStatus.ESME_RINVSRCADR
    else:
        assert world.part(answer.message_id).lane == lane


# -- what applications of SMPP 5.0 are told ----------------------------------------------------------------


def told(answer: Any) -> bytes | None:
    found: bytes | None = answer.tlv(TlvTag.CONGESTION_STATE)
    return found


@pytest.mark.parametrize(("version", "tells"), [(0x33, False), (0x34, False), (0x50, True)])
def test_responses_say_how_busy_the_gateway_is_to_whoever_bound_with_5_0(
    version: int, tells: bool, sealer: Sealer
) -> None:
    world = World(sealer, accounts=(account(rate_per_s=4),))
    peer, application = world.connect(), world.application(version=version)
    assert told(application.ask(submit_sm(MOBILE))) is None  # nobody has looked yet
    world.listener.tell_congestion(42)
    state = b"\x2a" if tells else None
    assert told(application.ask(submit_sm(MOBILE))) == state
    assert told(application.ask(submit_sm(b"no number"))) is None  # it is wrong whenever it comes
    transaction = application.say(submit_sm(MOBILE, esm_class=2))
    world.settle()
    for request in peer.taken():
        peer.answer(request, b"%d" % request.sequence_number)
    (answer,) = (pdu for pdu in application.heard if pdu.sequence_number == transaction)
    assert (answer.command_status, told(answer)) == (0, state)
    assert told(application.ask(submit_sm(MOBILE))) == state
    throttled = application.ask(submit_sm(MOBILE))
    assert (throttled.command_status, told(throttled)) == (CommandStatus.ESME_RTHROTTLED, state)


def test_the_fullest_limit_counts(sealer: Sealer) -> None:
    world = World(sealer, limits=LimitsConfig(parts_open_max=20, carrier_queue_max=80))
    application = world.application(version=0x50)
    states = []
    for _ in range(3):
        world.wait(0.0)
        states.append(told(application.ask(submit_sm(MOBILE))))
    assert states == [b"\x00", b"\x05", b"\x0a"]
