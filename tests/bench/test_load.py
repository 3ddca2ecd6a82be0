"""The load generator against the simulated carrier, which is an SMPP server like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest

from bench.carrier import Simulator
from bench.carrier_ledger import CarrierReport
from bench.carrier_options import CarrierOptions
from bench.load import Load
from bench.load_ledger import (
    ACCEPTED,
    REFUSED,
    UNANSWERED,
    LoadLedger,
    LoadLedgerFile,
    LoadReport,
    PartLedger,
)
from bench.load_options import LoadOptions
from bench.messages import (
    PREFIXES,
    destination_of,
    part_at,
    part_number,
    parts_of,
    submit_writer,
    token_at,
    token_of_destination,
)
from bench.replies import part_bodies, reply_body, reply_text
from gateway.number_plan import NumberPlan
from protocol.smpp.codec import decode
from protocol.smpp.codes import TlvTag
from protocol.smpp.pdu import SubmitSm

RUN_S = 20.0


async def run(
    load: dict[str, Any], *, before: Callable[[Simulator], None] = lambda _: None, **carrier: Any
) -> tuple[LoadReport, CarrierReport]:
    """One run of the load generator against one carrier; `before` is called when the carrier listens."""
    simulator = Simulator([CarrierOptions(name="cmcc", **carrier)], asyncio.get_running_loop())
    await simulator.start()
    before(simulator)
    options = {"port": simulator.ports()["cmcc"], "system_id": "gw", "password": "", **load}
    try:
        async with asyncio.timeout(RUN_S):
            report = await Load(msgspec.convert(options, LoadOptions)).run()
        return report, simulator.report()["cmcc"]
    finally:
        await simulator.stop()


COMPLETE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"count": 1}, {}),
    ({"count": 1000, "sessions": 1, "window": 1}, {}),
    ({"count": 2000, "sessions": 3, "window": 7}, {"ids": "uuid"}),
    ({"count": 2000, "first": 4321}, {"response_delay_s": 0.002, "receipt_delay_s": 0.01}),
    ({"count": 2000}, {"receipt_form": "tlv", "receipt_session": "any"}),
    ({"count": 2000}, {"receipts_first": 0.5, "receipt_session": "other"}),
    ({"count": 500, "rate_per_s": 2000}, {"receipt_delay_s": 0.05}),
    ({"count": 500, "bind": "separate"}, {"receipt_session": "any"}),
]


@pytest.mark.parametrize(("load", "carrier"), COMPLETE)
async def test_every_message_is_accepted_and_has_one_receipt(
    load: dict[str, Any], carrier: dict[str, Any]
) -> None:
    report, taken = await run(load, **carrier)
    count = load["count"]
    assert (report.submitted, report.accepted, report.receipts) == (count, count, count)
    assert (report.missing, report.repeated, report.contradictory, report.unknown) == (0, 0, 0, 0)
    assert (report.unanswered, report.refused, report.failure) == (0, {}, "")
    assert report.states == {"delivered": count}
    assert report.response_ms.count == report.receipt_ms.count == count
    assert sum(network.submitted for network in report.networks.values()) == count
    first = load.get("first", 0)
    assert taken.taken == bytes(first) + b"\1" * count
    assert (taken.misdirected, taken.taken_twice, taken.lost_sessions) == (0, 0, 0)


async def test_refusals_and_failures_are_counted_by_network() -> None:
    report, _ = await run({"count": 4096}, refusals={"ESME_RTHROTTLED": 0.25}, stats={"UNDELIV": 0.5})
    assert report.refused == {"ESME_RTHROTTLED": 1024}
    assert (report.accepted, report.receipts, report.missing) == (3072, 3072, 0)
    assert report.states.keys() == {"delivered", "undeliverable"}
    assert sum(network.delivered + network.failed for network in report.networks.values()) == 3072
    assert {network.submitted for network in report.networks.values()} == {1024}


async def test_repeated_receipts_are_counted() -> None:
    report, _ = await run({"count": 100}, duplicates=1.0)
    assert (report.receipts, report.repeated, report.contradictory, report.unknown) == (100, 100, 0, 0)


async def test_replies_are_answered_and_counted(tmp_path: Path) -> None:
    report, taken = await run({"count": 100, "quiet_s": 0.2}, replies=1.0, receipt_jitter_s=0.5)
    assert report.receipts == 100
    # Those that came before the last receipt; all were answered.
    assert report.replies == taken.replies_acknowledged > 0


async def test_messages_of_a_lost_session_are_unanswered_and_sent_again_as_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    report, taken = await run(
        {
            "count": 1000,
            "window": 20,
            "reconnect": True,
            "resubmit": True,
            "ledger": str(path),
            "quiet_s": 0.5,
        },
        cut_after_pdus=100,
        response_delay_s=0.005,
    )
    assert report.sessions_lost > 4
    assert report.unanswered > 0
    assert (report.accepted, report.submitted) == (1000, 1000 + report.unanswered)
    assert (report.missing, report.unknown, report.failure) == (0, 0, "")
    # The carrier took what the cut left without an answer, and told its fate after the next bind.
    assert report.receipts_of_unanswered > 0
    assert taken.taken_twice == 0
    ledger = msgspec.json.decode(path.read_bytes(), type=LoadLedgerFile)
    assert (ledger.states.count(ACCEPTED), ledger.states.count(UNANSWERED)) == (1000, report.unanswered)


# Options; then how many submit_sm they make of 64 messages, and how often each message is taken.
LONG: list[tuple[dict[str, Any], int]] = [
    ({"form": "parts"}, 224),
    ({"form": "parts", "first": 20}, 224),
    ({"form": "payload"}, 64),
    ({"form": "payload", "first": 21}, 64),
]


@pytest.mark.parametrize("every", [0, 3])
@pytest.mark.parametrize(("load", "count"), LONG)
async def test_long_messages(load: dict[str, Any], count: int, every: int) -> None:
    report, taken = await run(
        {"count": 64, "fail_every": every, **load}, fail_every=every, receipts_first=0.5, duplicates=1.0
    )
    assert (report.submitted, report.accepted, report.receipts) == (count, count, count)
    assert (report.missing, report.contradictory, report.unknown, report.unexpected) == (0, 0, 0, 0)
    assert report.states.keys() == ({"delivered", "undeliverable"} if every else {"delivered"})
    assert [network.submitted for network in report.networks.values()] == [count // 4] * 4
    first = load.get("first", 0)
    assert taken.taken == bytes(first) + b"\1" * 64
    parts = bytes((1 << parts_of(token)) - 1 for token in range(first, first + 64))
    assert taken.parts == bytes(first) + parts
    assert (taken.foreign, taken.misdirected) == (0, 0)


async def test_receipts_that_say_something_else_are_unexpected() -> None:
    report, _ = await run({"form": "payload", "count": 64, "fail_every": 3}, fail_every=0)
    # A part ought to have failed in all 48 of three parts and more, and in ten of the sixteen of two.
    assert (report.receipts, report.unexpected) == (64, 58)


@pytest.mark.parametrize("form", ["short", "parts", "payload"])
async def test_the_fields_of_a_message(form: str) -> None:
    values = {"form": form, "priority_flag": 3, "registered_delivery": 2, "source": "10639110119"}
    report, taken = await run({"count": 4, "quiet_s": 0.0, **values}, kept_max=1)
    pdu = decode(bytes.fromhex(taken.kept[0]))
    assert isinstance(pdu, SubmitSm)
    assert (pdu.priority_flag, pdu.registered_delivery, pdu.source_addr) == (3, 2, b"10639110119")
    assert (report.receipts, report.missing) == (0, report.accepted)


async def test_the_time_from_submit_to_arrival_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    began = monotonic()
    _, taken = await run(
        {"count": 20, "first": 7, "rate_per_s": 1000, "timed": True, "ledger": str(path)},
        watched="10639110001",
    )
    sent_s = msgspec.json.decode(path.read_bytes(), type=LoadLedgerFile).sent_s
    taken_s = {each.token: each.taken_at_s for each in taken.watched}
    assert len(sent_s) == 20
    assert taken_s.keys() == set(range(7, 27))
    assert sent_s == sorted(sent_s)
    assert began < sent_s[0]
    assert all(sent < taken_s[token] < sent + RUN_S for token, sent in enumerate(sent_s, 7))


BEYOND: list[dict[str, Any]] = [
    {"form": "parts", "first": 2},
    {"form": "parts", "count": 6},
    {"form": "parts", "count": 4, "resubmit": True},
    {"fail_every": 3},
    {"priority_flag": 256},
]


@pytest.mark.parametrize("options", BEYOND)
def test_options_that_go_ill_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"port": 1, "system_id": "x", "password": "", **options}, LoadOptions)


# -- replies ------------------------------------------------------------------------------------------------


def joined(number: int, text: str) -> dict[str, Any]:
    """A long reply as whoever has joined its parts hands it on."""
    payload = text.encode("utf-16-be")
    body = reply_body(destination_of(number), b"10639110001", b"", tlvs=((TlvTag.MESSAGE_PAYLOAD, payload),))
    return {"command": "deliver", "carrier": "cmcc", "body": body.hex()}


def part_of_reply(number: int) -> dict[str, Any]:
    body = part_bodies(destination_of(number), b"10639110001", reply_text(number), 1, 8)[0]
    return {"command": "deliver", "carrier": "cmcc", "body": body.hex()}


# What comes; then all replies, right, wrong and repeated ones.
REPLIES: list[tuple[list[dict[str, Any]], tuple[int, int, int, int]]] = [
    ([joined(1, reply_text(1)), joined(2, reply_text(2))], (2, 2, 0, 0)),
    ([joined(1, reply_text(1)), joined(1, reply_text(1)), joined(1, reply_text(1))], (3, 1, 0, 2)),
    ([joined(1, reply_text(2)), joined(2, reply_text(2)[66:]), part_of_reply(3)], (3, 0, 3, 0)),
    ([joined(1, "收到")], (1, 0, 0, 0)),
]


@pytest.mark.parametrize(("lines", "counts"), REPLIES)
async def test_replies_are_waited_for_and_judged(
    lines: list[dict[str, Any]], counts: tuple[int, int, int, int]
) -> None:
    def send(simulator: Simulator) -> None:
        for line in lines:
            assert simulator.command(line) == {"event": "deliver"}

    report, taken = await run({"count": 0, "replies": len(lines)}, before=send)
    assert (
        report.replies,
        report.replies_right,
        report.replies_wrong,
        report.replies_repeated,
    ) == counts
    assert report.failure == ""
    assert taken.delivered_raw == {"ESME_ROK": len(lines)}


async def test_replies_that_do_not_come_are_not_waited_for_longer_than_for_receipts() -> None:
    report, _ = await run({"count": 1, "replies": 1, "quiet_s": 0.05})
    assert (report.receipts, report.replies, report.failure) == (1, 0, "")


FAILURES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"password": "wrong"}, {"password": "right"}, "bind refused: ESME_RINVPASWD"),
    ({"system_id": "nobody"}, {}, "bind refused: ESME_RINVSYSID"),
    ({"sessions": 2}, {"sessions_max": 1, "cut_after_pdus": 10}, "bind refused: ESME_RALYBND"),
]


@pytest.mark.parametrize(("load", "carrier", "failure"), FAILURES)
async def test_a_run_that_cannot_be_carried_through_says_why(
    load: dict[str, Any], carrier: dict[str, Any], failure: str
) -> None:
    report, _ = await run({"count": 1000, "give_up_s": 1, **load}, **carrier)
    assert report.failure == failure


async def test_a_steady_rate_is_kept() -> None:
    report, _ = await run({"count": 400, "rate_per_s": 1000})
    # The last message is due after 399 ms.
    assert report.elapsed_s >= 0.399
    assert report.submits_per_s <= 1003


async def test_a_stall_is_seen_by_all_messages_that_were_due_meanwhile() -> None:
    # A window of one and an answer after 50 ms: due at 200 a second, message n waits n times 45 ms.
    report, _ = await run({"count": 10, "rate_per_s": 200, "sessions": 1, "window": 1}, response_delay_s=0.05)
    assert report.response_ms.p50 >= 200
    assert report.response_ms.max >= 450


# -- the ledger ---------------------------------------------------------------------------------------------


def ledger(first: int = 0) -> LoadLedger:
    """Four messages: two accepted as a and b, one refused, one whose session was lost."""
    made = LoadLedger(first, 4)
    made.answered(0, 0, b"a", 1.0)
    made.answered(1, 0, b"b", 1.0)
    made.answered(2, 0x58, b"", 1.0)
    made.lost([3])
    return made


Receipts = list[tuple[bytes, int, int]]

# id, message_state and token of the subscriber; then receipts, repeated, contradictory, of unanswered,
# unknown
LEDGERS: list[tuple[Receipts, tuple[int, int, int, int, int]]] = [
    ([], (0, 0, 0, 0, 0)),
    ([(b"a", 2, 0), (b"b", 5, 1)], (2, 0, 0, 0, 0)),
    ([(b"a", 2, 0), (b"a", 2, 0)], (1, 1, 0, 0, 0)),
    ([(b"a", 2, 0), (b"a", 5, 0)], (1, 0, 1, 0, 0)),
    ([(b"x", 2, 3)], (0, 0, 0, 1, 0)),
    ([(b"x", 2, 3), (b"x", 2, 3)], (0, 1, 0, 1, 0)),
    ([(b"x", 2, 3), (b"x", 5, 3)], (0, 0, 1, 1, 0)),
    ([(b"x", 2, 2)], (0, 0, 0, 0, 1)),
    ([(b"x", 2, 77)], (0, 0, 0, 0, 1)),
]


@pytest.mark.parametrize("first", [0, 1001])
@pytest.mark.parametrize(("receipts", "expected"), LEDGERS)
def test_receipts_in_the_ledger(
    receipts: Receipts, expected: tuple[int, int, int, int, int], first: int
) -> None:
    made = ledger(first)
    for message_id, state, token in receipts:
        made.receipt(message_id, state, destination_of(first + token), 2.0)
    report = made.report("result", 0.0, 0.0, 1, 1, 0, "")
    assert (
        report.receipts,
        report.repeated,
        report.contradictory,
        report.receipts_of_unanswered,
        report.unknown,
    ) == expected
    assert report.missing == 2 - report.receipts
    assert bytes(made.states) == bytes((ACCEPTED, ACCEPTED, REFUSED, UNANSWERED))


def test_a_receipt_may_come_before_its_response() -> None:
    made = LoadLedger(0, 1)
    made.receipt(b"a", 2, destination_of(0), 1.5)
    assert (made.receipts, made.open) == (0, {})
    made.answered(0, 0, b"a", 2.0)
    assert (made.receipts, made.open, bytes(made.outcomes)) == (1, {}, b"\2")
    assert made.receipt_s[0].quantile(0.5) == pytest.approx(1.5, rel=0.01)


# Of messages 4 and 5, three parts each: numbers 8 and 12 accepted as a and b, 9 refused, 16 unanswered.
def part_ledger() -> PartLedger:
    made = PartLedger(8, 12)
    made.answered(0, 0, b"a", 1.0)
    made.answered(4, 0, b"b", 1.0)
    made.answered(1, 0x58, b"", 1.0)
    made.lost([8])
    return made


# As above; all receipts are from the subscriber of message 4.
PART_LEDGERS: list[tuple[list[tuple[bytes, int]], tuple[int, int, int, int, int]]] = [
    ([(b"a", 2), (b"b", 5)], (2, 0, 0, 0, 0)),
    ([(b"a", 2), (b"a", 2), (b"b", 5), (b"b", 5)], (2, 2, 0, 0, 0)),
    ([(b"a", 2), (b"b", 5), (b"a", 5)], (2, 0, 1, 0, 0)),
    ([(b"a", 2), (b"x", 2)], (1, 0, 0, 1, 0)),
    ([(b"x", 2), (b"y", 2)], (0, 0, 0, 1, 1)),
]


@pytest.mark.parametrize(("receipts", "expected"), PART_LEDGERS)
def test_receipts_for_parts_in_the_ledger(
    receipts: list[tuple[bytes, int]], expected: tuple[int, int, int, int, int]
) -> None:
    assert [part_at(number) for number in (8, 12, 16, 9)] == [(4, 1), (4, 2), (4, 3), (5, 1)]
    assert part_number(4, 1) == 8
    made = part_ledger()
    for message_id, state in receipts:
        made.receipt(message_id, state, destination_of(4), 2.0)
    report = made.report("result", 0.0, 0.0, 1, 1, 0, "")
    assert (
        report.receipts,
        report.repeated,
        report.contradictory,
        report.receipts_of_unanswered,
        report.unknown,
    ) == expected


# -- the messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [0, 1, 2, 3, 4, 99_999, 123_456_789, 399_999_999])
def test_a_message_says_who_it_is(token: int) -> None:
    frame = submit_writer(b"10639110001")(7, token)
    pdu = decode(frame)
    assert isinstance(pdu, SubmitSm)
    assert (pdu.sequence_number, pdu.data_coding, pdu.registered_delivery) == (7, 8, 1)
    assert pdu.destination_addr == destination_of(token)
    assert pdu.short_message.decode("utf-16-be").endswith(f"编号{token:010d}")
    assert len(pdu.short_message) <= 140
    assert token_at(frame, len(frame)) == token
    assert token_of_destination(pdu.destination_addr) == token


def test_no_two_messages_go_to_one_number() -> None:
    assert len({destination_of(token) for token in range(100_000)}) == 100_000


@pytest.mark.parametrize(
    "text", ["", "编号", "编号012345678", "编号012345678x", "编码0123456789", "0123456789"]
)
def test_a_text_of_others_has_no_token(text: str) -> None:
    octets = text.encode("utf-16-be")
    assert token_at(octets, len(octets)) == -1


@pytest.mark.parametrize("number", [b"", b"1380013800", b"138001380000", b"13900138000", b"1380013800x"])
def test_a_number_of_others_has_no_token(number: bytes) -> None:
    assert token_of_destination(number) == -1


def test_the_prefixes_belong_to_the_four_networks() -> None:
    plan = NumberPlan.load()
    segments = [plan.lookup(prefix + b"00138000") for prefix in PREFIXES]
    assert [segment and (segment.carrier, segment.kind) for segment in segments] == [
        ("mobile", "public"),
        ("unicom", "public"),
        ("telecom", "public"),
        ("broadnet", "public"),
    ]


def test_a_text_that_is_more_than_one_part_is_refused() -> None:
    submit_writer(b"10639110001", "字" * 58)
    with pytest.raises(ValueError, match="at most 58 characters"):
        submit_writer(b"10639110001", "字" * 59)
