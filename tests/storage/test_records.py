"""The encoding of records is a format that others read: tags, field order and octets are pinned."""

from __future__ import annotations

import msgspec
import pytest

from storage import records
from storage.records import AnyRecord, Record, decode, encode

HASH = bytes(range(16))
KEY_ID = bytes(range(32))
EXAMPLES: list[tuple[int, Record]] = [
    (1, records.Started(1, "hn-gw-1", "0.1.0", KEY_ID, "host 1")),
    (2, records.Stopped(1, "SIGTERM")),
    (3, records.TornTail(1, 1, 4096, 300, 0)),
    (4, records.KeyOpened(1, "2026-09-21", KEY_ID)),
    (5, records.Accepted(1, "hukou", 1, 0, "cmcc", HASH, 1, 1, 0, 0, b"sealed")),
    (6, records.Denied(1, "hukou", 1, 0x58, "rate", 3, b"", b"")),
    (7, records.Dispatched(1, [("cmcc", 0, [5, 6]), ("cucc", 1, [7])])),
    (8, records.Withdrawn(1, [5], "link lost before the write")),
    (9, records.Sent(5, 1, 0, b"0A1B")),
    (10, records.Refused(5, 1, 0, 0x58, False)),
    (11, records.Uncertain(1, [5, 6], 0, "link lost")),
    (
        12,
        records.Receipt(
            1, 5, "cmcc", 0, b"0A1B", 2, b"DELIVRD", b"000", b"2609212213", b"2609212214", True, HASH, b"x"
        ),
    ),
    (13, records.Matched(1, 12, 5, "exact", True)),
    (14, records.Reply(1, "hukou", "cmcc", 0, HASH, b"sealed")),
    (15, records.Outcome(5, 1, 3, b"", "gateway", "expired", "")),
    (16, records.Replaced(5, 1, b"sealed")),
    (17, records.Reported(12, 1, "hukou", 1, 0)),
    (18, records.LinkEvent(1, "cmcc", 0, "bound", "")),
    (19, records.SessionEvent(1, "hukou", 1, "127.0.0.1:5000", "bound", "transceiver")),
    (20, records.OperatorAction(1, "zhang", "close", "asked by the sender", [5])),
    (21, records.Postponed(5, 1, 2, "cucc", "ported: receiver ported out")),
    (22, records.Assembled(1, "hukou", [14, 13], 1)),
    (23, records.Ported(1, HASH, "unicom", "delivered by cucc", 0)),
    (24, records.OptedOut(1, HASH, "hukou", True, 14)),
    (25, records.Configured(1, [("hukou", "document")], [("cmcc", "mobile"), ("cucc", "unicom")])),
    (26, records.Noted(1, "complaint", 0, "opened", 1, "zhang", [("cause", "late")], HASH, b"sealed")),
]


@pytest.mark.parametrize(("tag", "example"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_each_record_keeps_its_tag_and_round_trips(tag: int, example: Record) -> None:
    octets = encode(example)
    assert msgspec.msgpack.decode(octets)[0] == tag
    assert decode(octets) == example
    assert len(octets) <= records.RECORD_OCTETS_MAX


def test_every_record_has_an_example() -> None:
    assert {type(example) for _, example in EXAMPLES} == set(AnyRecord.__args__)
    assert [tag for tag, _ in EXAMPLES] == list(range(1, 27))


GOLDEN = [
    (records.Sent(5, 1_790_000_000_000_000, 0, b"0A1B"), "960905cf00065bfeda25e00000c40430413142a0"),
    (records.Dispatched(1, [("cmcc", 0, [5, 200])]), "930701919" + "3a4636d63630092" + "05ccc8"),
    (records.Reported(12, 1, "hukou", 1, 88), "96110c01a568756b6f750158"),
]


@pytest.mark.parametrize(("record", "octets"), GOLDEN)
def test_octets_on_disk(record: Record, octets: str) -> None:
    assert encode(record).hex() == octets


FIELDS = {
    "Accepted": "time_us account session message carrier number_hash parts registered_delivery flags"
    " expires_us content lane first cut_into network",
    "Assembled": "time_us account replies missing repeats",
    "Configured": "time_us accounts carriers",
    "Denied": "time_us account session command_status reason count number_hash content",
    "Dispatched": "time_us intents",
    "KeyOpened": "time_us day key_id",
    "LinkEvent": "time_us carrier link event detail",
    "Matched": "time_us receipt number how final",
    "Noted": "time_us register entry event at_us who facts number_hash content",
    "OperatorAction": "time_us who action reason numbers",
    "OptedOut": "time_us number_hash account out reply",
    "Outcome": "number time_us message_state err source reason who",
    "Receipt": "time_us number carrier link carrier_id message_state stat err submit_date done_date"
    " final number_hash content",
    "Ported": "time_us number_hash network source expires_us",
    "Postponed": "number time_us until_us carrier reason",
    "Refused": "number time_us link command_status final moot in_doubt",
    "Replaced": "number time_us content registered_delivery expires_us parts",
    "Reply": "time_us account carrier link number_hash content how waits",
    "Reported": "record time_us account session command_status",
    "Sent": "number time_us link carrier_id carrier",
    "SessionEvent": "time_us account session peer event detail",
    "Started": "time_us gateway version config_digest host",
    "Stopped": "time_us reason",
    "TornTail": "time_us segment offset octets lost",
    "Uncertain": "time_us numbers link reason",
    "Withdrawn": "time_us numbers reason",
}


@pytest.mark.parametrize("kind", AnyRecord.__args__, ids=lambda kind: str(kind.__name__))
def test_field_order_is_fixed(kind: type[Record]) -> None:
    # Fields may be added at the end, with a default; then this table grows too.
    assert " ".join(kind.__struct_fields__) == FIELDS[kind.__name__]


def test_a_later_version_may_add_fields_at_the_end() -> None:
    assert decode(msgspec.msgpack.encode([2, 7, "SIGTERM", "a field to come"])) == records.Stopped(
        7, "SIGTERM"
    )


REFUSED = [
    b"",
    b"\xc0",
    b"\x90",
    msgspec.msgpack.encode([99, 1]),
    msgspec.msgpack.encode([2, "not a time", "x"]),
]


@pytest.mark.parametrize("octets", REFUSED)
def test_what_is_no_record_is_refused(octets: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(octets)
