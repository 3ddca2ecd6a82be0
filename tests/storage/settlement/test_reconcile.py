"""Bills against evidence, each finding by hand. A part costs 300 (0.03 yuan), and rows charge it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storage.records import Reply
from storage.settlement.counts import Cut
from storage.settlement.errors import SettlementError
from storage.settlement.pairing import Point, nearest_pairs
from storage.settlement.reconcile import Matched, Reconciliation, accounts_of
from tests.storage.settlement.billing import LAN, LAYOUT, MEI, ZHU, Office, hashed, layout_of, row, shown
from tests.storage.settlement.story import at


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    with office.story:
        yield office


def test_a_bill_that_agrees(office: Office) -> None:
    office.took("A1")
    office.took("A2", MEI, b"MK:0012")
    office.took("A3", ZHU, None, units=3)
    result = office.compare(
        row("A1"), row("A2", MEI, status="failed"), row("A3", ZHU, status="?", parts=3, amount="0.09")
    )
    assert shown(result) == {}
    assert result.matched == Matched(id=3, notation=0, number=0)
    # delivered 1 * 300, failed 1 * 300, unknown 3 * 300
    totals = [("mt", "delivered", 1, 1, 300), ("mt", "failed", 1, 1, 300), ("mt", "unknown", 1, 3, 900)]
    assert [msgspec.structs.astuple(total) for total in result.ours] == totals
    assert [msgspec.structs.astuple(total) for total in result.theirs] == totals
    assert not result.clock_warning


# -- each kind of finding --------------------------------------------------------------------------------


def test_what_they_do_not_bill(office: Office) -> None:
    office.took("A1")
    part = office.took("A2", MEI, units=2)
    result = office.compare(row("A1"))
    assert shown(result) == {"missing_there": (1, 2, 600)}  # 2 parts * 300
    (found,) = office.found["missing_there"]
    assert (found.number, found.account, found.our_id, found.our_state, found.stat, found.err) == (
        *(part, "hukou", b"A2"),
        *("delivered", b"DELIVRD", b"000"),
    )
    assert (found.number_hash, found.shown, found.line) == (hashed(MEI), "", 0)


def test_what_we_do_not_have(office: Office) -> None:
    office.took("A1")
    # By what the rows charge: 0.05 yuan = 500, and where nothing is said 2 parts * 300.
    result = office.compare(
        row("A1"), row("B1", MEI, amount="0.05"), row("B2", MEI, "2026-06-02 08:00:00", parts=2, amount="")
    )
    assert shown(result) == {"missing_here": (2, 3, 1_100)}
    assert [(found.line, found.their_id, found.shown) for found in office.found["missing_here"]] == [
        (3, b"B1", "139****0001"),
        (4, b"B2", "139****0001"),
    ]


def test_another_number_is_another_message(office: Office) -> None:
    # Ids come round again: the same id of another number is not what we sent.
    office.took("A1", LAN)
    assert shown(office.compare(row("A1", MEI))) == {
        "missing_there": (1, 1, 300),
        "missing_here": (1, 1, 300),
    }


def test_a_status_that_differs(office: Office) -> None:
    office.took("A1", LAN, b"MK:0012")
    office.took("A2", MEI, None, units=2)
    office.took("A3", ZHU, b"UNKNOWN")
    result = office.compare(row("A1"), row("A2", MEI, parts=2, amount="0.06"), row("A3", ZHU, status="?"))
    assert shown(result) == {"status_differs": (2, 3, 900)}  # (1 + 2) * 300
    assert [(found.our_state, found.their_state, found.word) for found in office.found["status_differs"]] == [
        ("failed", "delivered", "ok"),
        ("unknown", "delivered", "ok"),
    ]


def test_a_number_of_parts_that_differs(office: Office) -> None:
    office.took("A1", units=3)
    office.took("A2", MEI, units=2)
    result = office.compare(row("A1", parts=4, amount="0.12"), row("A2", MEI, parts=1))
    assert shown(result) == {"parts_differ": (2, 2, 600)}  # |4 - 3| + |1 - 2| = 2, * 300
    assert [(found.our_units, found.their_units) for found in office.found["parts_differ"]] == [
        (3, 4),
        (2, 1),
    ]


def test_a_row_without_parts_stands_for_all_of_them(office: Office) -> None:
    office.took("A1", units=3)
    result = office.compare(row("A1", parts="", amount=""))
    assert shown(result) == {}
    assert [(total.units, total.amount) for total in result.theirs] == [(3, 900)]


def test_an_amount_that_differs(office: Office) -> None:
    office.took("A1", units=3)
    office.took("A2", MEI)
    # 3 parts are 900 and 1,000 is charged; 1 part is 300 and 100 is charged.
    result = office.compare(row("A1", parts=3, amount="0.1"), row("A2", MEI, amount="0.0100"))
    assert shown(result) == {"amount_differs": (2, 4, 300)}  # 100 + 200


def test_what_failed_costs_nothing_where_only_the_delivered_counts(office: Office) -> None:
    office.took("A1", LAN, b"MK:0012")
    office.took("A2", MEI)

    def delivered_only(facts: dict[str, Any]) -> None:
        facts["delivered_only"] = True

    result = office.compare(
        row("A1", status="failed", amount="0"), row("A2", MEI, amount="0"), change=delivered_only
    )
    assert shown(result) == {"amount_differs": (1, 1, 300)}
    assert [found.their_id for found in office.found["amount_differs"]] == [b"A2"]


def test_what_costs_nothing_is_not_at_stake_where_only_the_delivered_counts(office: Office) -> None:
    # Ours: one delivered, 300, and one failed, nothing. Theirs without amounts: the same.
    office.took("A1", LAN, b"MK:0012")
    office.took("A2", MEI)
    office.took("A3", ZHU, b"MK:0012")

    def delivered_only(facts: dict[str, Any]) -> None:
        facts["delivered_only"] = True

    result = office.compare(
        row("A1", status="failed", amount=""), row("A2", MEI, amount=""), change=delivered_only
    )
    assert shown(result) == {"missing_there": (1, 1, 0)}
    assert [(total.state, total.rows, total.amount) for total in result.ours] == [
        ("delivered", 1, 300),
        ("failed", 2, 0),
    ]
    assert [(total.state, total.amount) for total in result.theirs] == [("delivered", 300), ("failed", 0)]
    # The parts of what failed cost nothing, and whether it failed or is unknown neither.
    result = office.compare(
        row("A1", status="failed", parts=3, amount="0"),
        row("A2", MEI, amount=""),
        row("A3", ZHU, status="?", amount="0"),
        change=delivered_only,
    )
    assert shown(result) == {"status_differs": (1, 1, 0), "parts_differ": (1, 2, 0)}


def test_a_text_counts_once_where_messages_are_paid_for(office: Office) -> None:
    # Three units that the application sent as one are one message; of two parts that we cut the first is.
    def by_message(facts: dict[str, Any]) -> None:
        facts["unit"] = "message"

    office.took("A1", units=3)
    cut = office.story.accept_cut(2)
    office.story.dispatch(*cut)
    for number in cut:
        office.story.sent(number, carrier_id=b"B%d" % number)
        office.story.receipt(number)
    result = office.compare(row("A1", parts=1, amount="0.03"), change=by_message)
    assert [(total.rows, total.units, total.amount) for total in result.ours] == [(3, 2, 600)]
    assert shown(result) == {"missing_there": (2, 1, 300)}
    result = office.compare(row("A1", parts=3, amount="0.09"), change=by_message)
    assert shown(result) == {"missing_there": (2, 1, 300), "parts_differ": (1, 2, 600)}


def test_billed_twice(office: Office) -> None:
    # The nearer of two rows with one id is it. The other is not taken for the second message to the number,
    # which they do not bill, though it is near enough.
    part = office.took("A1")
    office.story.at("2026-06-01 08:00:30")
    office.took("A2")
    result = office.compare(row("A1"), row("A1", LAN, "2026-06-01 08:00:20"))
    assert shown(result) == {"missing_there": (1, 1, 300), "billed_twice": (1, 1, 300)}
    (found,) = office.found["billed_twice"]
    assert (found.line, found.number) == (3, part)


def test_billed_twice_in_two_notations(office: Office) -> None:
    office.took("00ff")
    assert shown(office.compare(row("00ff"), row("255"))) == {"billed_twice": (1, 1, 300)}


def test_billed_twice_and_unknown_to_us(office: Office) -> None:
    office.took("A1")
    result = office.compare(row("A1"), row("B1", MEI), row("B1", MEI), row("B1", MEI))
    assert shown(result) == {"missing_here": (1, 1, 300), "billed_twice": (2, 2, 600)}


def test_a_message_that_was_sent_again_is_one(office: Office) -> None:
    # The first answer was late: the carrier has the part twice, under two ids, and charges both.
    part = office.story.accept(number_hash=hashed(LAN))
    office.story.dispatch(part)
    office.story.uncertain(part)
    office.story.dispatch(part, link=1)
    office.story.sent(part, carrier_id=b"A1", link=1)
    office.story.sent(part, carrier_id=b"A0", link=0)
    office.story.receipt(part)
    result = office.compare(row("A0"), row("A1"))
    assert shown(result) == {"billed_twice": (1, 1, 300)}
    assert [(total.rows, total.units) for total in result.ours] == [(1, 1)]


# -- how rows are found ----------------------------------------------------------------------------------

NOTATIONS = [
    ("00ff", "FF"),
    ("00ff", "255"),
    ("255", "00FF"),
    ("0000123", "123"),
    ("AbC-9", "aBc-9"),
    ("7ebc414090ed0201", "9132245889965687297"),
    ("7EBC414090ED0201", "0729150405003710100513"),  # CMPP's print
    ("9132245889965687297", "0729150405003710100513"),
    ("729150405003710100513", "0729150405003710100513"),
]


@pytest.mark.parametrize(("ours", "theirs"), NOTATIONS)
def test_ids_in_another_notation(office: Office, ours: str, theirs: str) -> None:
    office.took(ours)
    result = office.compare(row(theirs, time="2026-06-01 12:00:00"))  # far beyond the tolerance
    assert shown(result) == {}
    assert result.matched == Matched(id=0, notation=1, number=0)


def test_an_id_of_octets_in_hexadecimal(office: Office) -> None:
    part = office.story.accept(number_hash=hashed(LAN))
    office.story.dispatch(part)
    office.story.sent(part, carrier_id=bytes.fromhex("9bd88980f32d1c3e"))
    office.story.receipt(part)
    assert office.compare(row("9BD88980F32D1C3E", time="2026-06-01 12:00:00")).matched.notation == 1


def test_another_notation_counts_with_the_number_alone(office: Office) -> None:
    office.took("00ff")
    result = office.compare(row("255", ""))
    assert shown(result) == {"missing_there": (1, 1, 300), "missing_here": (1, 1, 300)}


def test_an_id_without_a_number(office: Office) -> None:
    office.took("A1")
    result = office.compare(row("A1", ""), row("A1", ""))
    assert shown(result) == {"billed_twice": (1, 1, 300)}
    assert result.matched == Matched(id=1, notation=0, number=0)


def test_the_same_number_several_times_within_the_tolerance(office: Office) -> None:
    # 08:00:00, 08:01:00 and 08:02:00; their rows have no ids, and one of them is at none of these.
    # Nearest first: 08:02:01 (1 s), then 08:00:50 with 08:01:00 (10 s), then 08:05:00 with 08:00:00 (300 s).
    parts = []
    for minute in ("08:00:00", "08:01:00", "08:02:00"):
        office.story.at(f"2026-06-01 {minute}")
        parts.append(office.took(minute.replace(":", "x")))
    times = ("08:05:00", "08:00:50", "08:02:01", "08:30:00")
    result = office.compare(*(row(time=f"2026-06-01 {time}", parts=2, amount="0.06") for time in times))
    # Each of the three differs by one part; the last is beyond ten minutes of anything: 2 parts.
    assert shown(result) == {"missing_here": (1, 2, 600), "parts_differ": (3, 3, 900)}
    assert [(found.number, found.line, found.how) for found in office.found["parts_differ"]] == [
        (parts[0], 2, "number"),
        (parts[1], 3, "number"),
        (parts[2], 4, "number"),
    ]


@pytest.mark.parametrize(("seconds", "matched"), [(600, 1), (601, 0)])
def test_the_tolerance(office: Office, seconds: int, matched: int) -> None:
    office.took("A1")
    time = f"2026-06-01 08:{seconds // 60:02d}:{seconds % 60:02d}"
    assert office.compare(row("", time=time)).matched.number == matched


def test_the_order_of_the_bill_does_not_matter(office: Office) -> None:
    choice = random.Random(7)
    rows = []
    for second in range(40):
        office.story.at(f"2026-06-01 08:00:{second:02d}")
        number = choice.choice([LAN, MEI])
        office.took(f"A{choice.randrange(20)}", number)
        carrier_id = choice.choice(["", f"A{choice.randrange(25)}"])
        status = choice.choice(["ok", "failed"])
        rows.append(row(carrier_id, number, f"2026-06-01 08:00:{choice.randrange(60):02d}", status))
    results = set()
    for _ in range(5):
        choice.shuffle(rows)
        result = office.compare(*rows)
        results.add(msgspec.structs.replace(result, sources=()).encode())
    assert len(results) == 1
    assert result.encode() == office.compare(*rows).encode()


# -- what is ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stat", "state"), [(b"DELIVRD", "delivered"), (b"MK:0001", "failed")])
def test_a_part_that_was_reported_on_though_uncertain(stat: bytes, state: str, office: Office) -> None:
    told, silent = (office.story.accept(number_hash=hashed(number)) for number in (LAN, MEI))
    office.story.dispatch(told, silent)
    office.story.uncertain(told, silent)
    office.story.receipt(told, stat, carrier_id=b"A1")
    result = office.compare(row("A1", time="2026-06-01 12:00:00"))
    assert {kind for kind in shown(result) if kind != "status_differs"} == set()
    assert [(total.state, total.rows) for total in result.ours] == [(state, 1)]


def test_what_the_carrier_did_not_take(office: Office) -> None:
    refused, waiting, other = (office.story.accept(number_hash=hashed(LAN)) for _ in range(3))
    office.story.dispatch(refused)
    office.story.refused(refused)
    office.story.dispatch(other, carrier="cucc")
    office.story.sent(other, carrier="cucc")
    office.story.receipt(other, carrier="cucc")
    assert waiting
    assert office.compare().ours == ()


def test_a_network_with_several_accounts(office: Office) -> None:
    office.took("A1")
    other = office.story.accept(carrier="cucc", number_hash=hashed(MEI))
    office.story.dispatch(other, carrier="cucc")
    office.story.sent(other, carrier_id=b"A2")
    result = office.compare(row("A1"), row("A2", MEI, status="?"), accounts=("cmcc", "cucc"))
    assert shown(result) == {}


def test_accounts_by_name_and_network(office: Office) -> None:
    connection = office.story.ledger()
    assert accounts_of(connection, "cmcc") == (("cmcc",), "mobile")
    assert accounts_of(connection, "unicom") == (("cucc",), "unicom")
    with pytest.raises(SettlementError, match=r"^no carrier 'cmc' in the ledger: there are cbn, cmcc,"):
        accounts_of(connection, "cmc")
    connection.close()


def test_another_carrier_took_over(office: Office) -> None:
    # cmcc took it and said nothing; cucc delivered it. For cmcc its outcome is unknown.
    part = office.story.accept(number_hash=hashed(LAN))
    office.story.dispatch(part)
    office.story.sent(part, carrier_id=b"A1")
    office.story.dispatch(part, carrier="cucc")
    office.story.sent(part, carrier="cucc", carrier_id=b"U1")
    office.story.receipt(part, carrier="cucc", carrier_id=b"U1")
    states = [
        [(total.state, total.rows) for total in office.compare(accounts=(carrier,)).ours]
        for carrier in ("cmcc", "cucc")
    ]
    assert states == [[("unknown", 1)], [("delivered", 1)]]


def test_a_text_that_was_replaced(office: Office) -> None:
    part = office.story.accept(number_hash=hashed(LAN))
    office.story.replaced(part, 3)
    office.story.dispatch(part)
    office.story.sent(part, carrier_id=b"A1")
    office.story.receipt(part)
    assert shown(office.compare(row("A1", parts=3, amount="0.09"))) == {}


def test_the_edges_of_the_months(office: Office) -> None:
    # Sent in the last minute of May and of June; their clock is 40 s ahead.
    office.story.at("2026-06-30 23:59:30")
    office.took("A1")
    office.story.at("2026-07-15 08:00:00")
    office.took("A2")
    rows = (row("A1", time="2026-07-01 00:00:10"), row("A2", time="2026-07-15 08:00:40"))
    # Of June: July's message is theirs and ours, but of another month.
    assert shown(office.compare(*rows, months="2026-06..2026-06")) == {"other_months": (1, 1, 300)}
    # Of July: A1 was sent in June, and is known; nothing is missing.
    result = office.compare(*rows, months="2026-07..2026-07")
    assert shown(result) == {}
    assert [total.rows for total in result.ours] == [1]


def test_a_known_id_at_a_time_that_is_far_off(office: Office) -> None:
    part = office.took("A1")
    result = office.compare(row("A1", time="2026-10-26 08:00:00"), months="2026-06..2026-06")
    assert shown(result) == {"other_months": (1, 1, 300)}
    (found,) = office.found["other_months"]
    assert (found.number, found.how, found.their_time_us) == (part, "id", at("2026-10-26 08:00:00"))


def test_what_became_known_after_the_cut(office: Office) -> None:
    office.took("A1", LAN, None)
    office.story.at("2026-12-04 00:00:00")
    office.story.receipt(2, carrier_id=b"A1")
    assert shown(office.compare(row("A1"))) == {"status_differs": (1, 1, 300)}

    def later(facts: dict[str, Any]) -> None:
        facts["cut"] = Cut(1 << 40, at("2026-12-05 00:00:00"))

    assert shown(office.compare(row("A1"), change=later)) == {}


def test_replies(office: Office) -> None:
    for number in (LAN, MEI):
        office.story.write(Reply(at("2026-06-01 09:00:00"), "oa", "cmcc", 0, hashed(number), b"", "", False))
    result = office.compare(
        *(row("", number, "2026-06-01 09:00:10", direction="up") for number in (LAN, ZHU))
    )
    assert shown(result) == {"missing_there": (1, 1, 300), "missing_here": (1, 1, 300)}
    missing = [found.number_hash for findings in office.found.values() for found in findings]
    assert missing == [hashed(MEI), hashed(ZHU)]
    assert [msgspec.structs.astuple(total) for total in result.ours] == [("mo", "delivered", 2, 2, 600)]
    # The same time and number the other way is another message.
    assert office.compare(row("", LAN, "2026-06-01 09:00:10")).matched.number == 0
    # A bill without replies says nothing about them.
    columns, _ = LAYOUT.split("[bill.cmcc.directions]")
    office.layout = layout_of(office.directory, columns.replace('direction = "direction"\n', ""))
    assert office.compare().ours == ()


# -- clocks ----------------------------------------------------------------------------------------------


def test_a_clock_that_is_ahead(office: Office) -> None:
    # 20 messages of 1 June, billed 61 to 80 s later; nearest ranks of 20: the 1st, 10th, 19th and last.
    # One of 2 June, 10 s earlier: rank 11 of 21 in the order of the differences is 70.
    rows = []
    for number in range(20):
        office.story.at(f"2026-06-01 08:{number:02d}:00")
        office.took(f"A{number}")
        rows.append(row(f"A{number}", time=f"2026-06-01 08:{number + 1:02d}:{number + 1:02d}"))
    office.story.at("2026-06-02 08:00:00")
    office.took("B")
    rows.append(row("B", time="2026-06-02 07:59:50"))
    result = office.compare(*rows)
    seconds = [
        (each.day, each.rows, *(us // 1_000_000 for us in (each.p5_us, each.median_us, each.p95_us)))
        for each in result.skew
    ]
    assert seconds == [("", 21, 61, 70, 79), ("2026-06-01", 20, 61, 70, 79), ("2026-06-02", 1, -10, -10, -10)]
    assert [each.maximum_us for each in result.skew] == [80_000_000, 80_000_000, -10_000_000]
    assert [each.minimum_us for each in result.skew] == [-10_000_000, 61_000_000, -10_000_000]
    assert result.clock_warning


@pytest.mark.parametrize(("time", "warns"), [("08:01:00", False), ("08:01:01", True), ("07:58:59", True)])
def test_a_clock_is_warned_of_beyond_a_minute(office: Office, time: str, warns: bool) -> None:
    office.took("A1")
    assert office.compare(row("A1", time=f"2026-06-01 {time}")).clock_warning is warns


def test_a_bill_by_time_of_delivery(office: Office) -> None:
    office.layout = layout_of(
        office.directory, LAYOUT.replace("[bill.cmcc]\n", '[bill.cmcc]\ntime_is = "done"\n')
    )
    part = office.took("A1", LAN, None)
    office.story.at("2026-06-01 09:00:00")
    office.story.receipt(part)
    result = office.compare(row("", time="2026-06-01 09:00:05"))
    assert shown(result) == {}
    assert [each.median_us for each in result.skew] == [5_000_000, 5_000_000]


def test_canonical_json(office: Office) -> None:
    result = office.compare()
    octets = result.encode()
    assert octets.startswith(b'{"accounts":["cmcc"],"carrier":"cmcc","clock_warning":false,"findings":[')
    assert msgspec.json.decode(octets, type=Reconciliation) == result
    assert result.skew == ()


# -- pairs -----------------------------------------------------------------------------------------------


def greedy(points: list[Point], within_us: int) -> list[tuple[int, int]]:
    """Nearest first, by looking at all pairs again and again."""
    left = set(points)
    pairs: list[tuple[int, int]] = []
    while True:
        near = [
            (abs(ours.time_us - theirs.time_us), ours, theirs)
            for ours in left
            for theirs in left
            if ours.side < theirs.side and abs(ours.time_us - theirs.time_us) <= within_us
        ]
        if not near:
            return pairs
        _, ours, theirs = min(near)
        left -= {ours, theirs}
        pairs.append((ours.identity, theirs.identity))


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 1)), max_size=16))
def test_pairs_are_the_nearest_first(drawn: list[tuple[int, int]]) -> None:
    points = sorted(Point(time, side, identity) for identity, (time, side) in enumerate(drawn))
    distances = [abs(one.time_us - other.time_us) for one, other in combinations(points, 2)]
    assume(len(set(distances)) == len(distances))  # of equal ones there is more than one right answer
    assert list(nearest_pairs(points, 10**11)) == greedy(points, 10**11)


def test_many_messages_to_one_number() -> None:
    # 20,000 on either side within 20 s: all pairs would be 400 million.
    points = sorted(Point(number * 1_000 + side, side, number) for number in range(20_000) for side in (0, 1))
    assert sorted(nearest_pairs(points)) == [(number, number) for number in range(20_000)]


def test_of_pairs_equally_near_the_earlier() -> None:
    points = [Point(0, 0, 1), Point(10, 1, 7), Point(20, 0, 2)]
    assert list(nearest_pairs(points)) == [(1, 7)]
