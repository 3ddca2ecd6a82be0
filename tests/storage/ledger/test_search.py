"""Looking for messages: each criterion, all of them together, the order, and every state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage.ledger.search import Found, Wanted, ledger_of_one, search
from storage.ledger.standing import STANDINGS
from storage.settlement.counts import Cut, count
from storage.show import show
from tests.storage.settlement.chance import Chance
from tests.storage.settlement.story import Story, at, cause_of

LI, WU = b"l" * 16, b"w" * 16
EVERYTHING = 1000


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Story(tmp_path) as story:
        yield story


def found(story: Story, limit: int = EVERYTHING, **wanted: Any) -> list[Found]:
    with closing(story.ledger()) as connection:
        return list(search(connection, Wanted(**wanted), limit))


def numbers(story: Story, limit: int = EVERYTHING, **wanted: Any) -> list[int]:
    return [each.number for each in found(story, limit, **wanted)]


# -- what became of it ---------------------------------------------------------------------------------------


def dispatched(story: Story) -> int:
    number = story.accept()
    story.dispatch(number)
    return number


def refused(story: Story) -> int:
    number = dispatched(story)
    story.refused(number)
    return number


def sent(story: Story) -> int:
    number = dispatched(story)
    story.sent(number)
    return number


def reported(stat: bytes) -> Callable[[Story], int]:
    return lambda story: story.deliver(stat=stat)[0]


def ended(state: int, source: str) -> Callable[[Story], int]:
    def end(story: Story) -> int:
        number = story.accept()
        story.outcome(number, state, source, "cancelled" if state == 4 else "expired")
        return number

    return end


def uncertain(story: Story) -> int:
    number = dispatched(story)
    story.uncertain(number)
    return number


def withdrawn(story: Story) -> int:
    number = dispatched(story)
    story.withdrawn(number)
    return number


def refused_for_now(story: Story) -> int:
    number = dispatched(story)
    story.refused(number, final=False)
    return number


def tried_again(story: Story) -> int:
    number = withdrawn(story)
    story.dispatch(number, carrier="cucc")
    return number


BECAME: list[tuple[str, Callable[[Story], int], tuple[bytes, bytes, int, str]]] = [
    ("delivered", reported(b"DELIVRD"), (b"DELIVRD", b"000", 0, "")),
    ("failed", reported(b"MK:0001"), (b"MK:0001", b"000", 0, "")),
    ("failed", reported(b"MI:0000"), (b"MI:0000", b"000", 0, "")),
    ("failed", refused, (b"", b"", 0x45, "")),
    ("failed", ended(3, "gateway"), (b"", b"", 0, "expired")),
    ("failed", ended(4, "operator"), (b"", b"", 0, "cancelled")),
    ("unknown", reported(b"UNKNOWN"), (b"UNKNOWN", b"000", 0, "")),
    ("unknown", sent, (b"", b"", 0, "")),
    ("uncertain", uncertain, (b"", b"", 0, "")),
    ("uncertain", dispatched, (b"", b"", 0, "")),
    ("uncertain", tried_again, (b"", b"", 0, "")),
    ("waiting", Story.accept, (b"", b"", 0, "")),
    ("waiting", withdrawn, (b"", b"", 0, "")),
    ("waiting", refused_for_now, (b"", b"", 0, "")),
    ("cancelled", ended(4, "application"), (b"", b"", 0, "cancelled")),
]


def test_every_state_is_found_by_its_name_and_by_no_other(story: Story) -> None:
    expected: dict[str, list[int]] = {state: [] for state in STANDINGS}
    codes = {}
    for state, tell, code in BECAME:
        number = tell(story)
        expected[state].insert(0, number)
        codes[number] = (state, *code)
    assert all(expected.values()), "each state has a row above"
    assert {state: numbers(story, state=state) for state in STANDINGS} == expected
    assert {
        each.number: (each.state, each.stat, each.err, each.status, each.reason) for each in found(story)
    } == codes


@pytest.mark.parametrize(("state", "tell", "code"), BECAME)
def test_a_message_by_its_records_alone_is_what_the_ledger_says(
    state: str, tell: Callable[[Story], int], code: tuple[bytes, bytes, int, str], story: Story
) -> None:
    story.deliver(2)
    number = tell(story)
    story.dispatch(story.accept(), number, carrier="ctcc")  # together with one that is not known here
    with closing(ledger_of_one(show(story.evidence, number))) as connection:
        (alone,) = search(connection, Wanted(message=number), EVERYTHING)
    (tabled,) = found(story, message=number)
    # What the configuration says does not stand among the records of a message.
    assert (alone.category, alone.network, tabled.category) == ("", "", "document")
    for field in Found.__struct_fields__:
        if field not in ("category", "network"):
            assert getattr(alone, field) == getattr(tabled, field)


def test_a_receipt_that_came_before_the_message_was_known(story: Story) -> None:
    early = story.receipt(0, final=False)
    number = sent(story)
    story.matched(early, number)
    with closing(ledger_of_one(show(story.evidence, number))) as connection:
        (alone,) = search(connection, Wanted(message=number), EVERYTHING)
    assert (alone.state, alone.stat) == ("delivered", b"DELIVRD")


# -- criteria ------------------------------------------------------------------------------------------------


class Told:
    """Messages over three months, by what they differ in."""

    def __init__(self, story: Story) -> None:
        story.at("2026-06-30 23:59:59")
        (self.june,) = story.deliver(number_hash=LI)
        story.at("2026-07-01 00:00:00")
        (self.july,) = story.deliver(account="oa", number_hash=WU)
        (self.failed,) = story.deliver(account="oa", number_hash=LI, stat=b"MK:0001")
        self.moved = story.accept(carrier="cmcc")
        story.dispatch(self.moved, carrier="cucc")
        story.at("2026-08-15 12:00:00")
        (self.august,) = story.deliver(carrier="cucc", number_hash=LI)


@pytest.fixture
def told(story: Story) -> Told:
    return Told(story)


JULY_US, AUGUST_US = at("2026-07-01"), at("2026-08-15 12")
CRITERIA: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["august", "moved", "failed", "july", "june"]),
    ({"number_hash": LI}, ["august", "failed", "june"]),
    ({"number_hash": WU}, ["july"]),
    ({"number_hash": b"x" * 16}, []),
    ({"account": "oa"}, ["failed", "july"]),
    ({"account": "o"}, []),
    ({"carrier": "cucc"}, ["august", "moved"]),
    ({"carrier": "cmcc"}, ["failed", "july", "june"]),
    ({"since_us": JULY_US}, ["august", "moved", "failed", "july"]),
    ({"since_us": JULY_US + 1}, ["august"]),
    ({"until_us": JULY_US}, ["june"]),
    ({"until_us": JULY_US + 1}, ["moved", "failed", "july", "june"]),
    ({"since_us": JULY_US, "until_us": AUGUST_US}, ["moved", "failed", "july"]),
    ({"since_us": AUGUST_US, "until_us": AUGUST_US}, []),
    ({"since_us": AUGUST_US + 1}, []),
    ({"until_us": JULY_US - 1_000_000}, []),
    ({"account": "oa", "state": "failed"}, ["failed"]),
    ({"account": "hukou", "state": "failed"}, []),
    ({"number_hash": LI, "account": "hukou", "carrier": "cucc"}, ["august"]),
    ({"number_hash": LI, "since_us": JULY_US, "until_us": AUGUST_US, "state": "failed"}, ["failed"]),
]


@pytest.mark.parametrize(("wanted", "names"), CRITERIA)
def test_all_that_is_given_agrees(wanted: dict[str, Any], names: list[str], told: Told, story: Story) -> None:
    assert numbers(story, **wanted) == [getattr(told, name) for name in names]


@pytest.mark.parametrize(
    ("limit", "names"),
    [(0, []), (1, ["august"]), (2, ["august", "moved"]), (4, ["august", "moved", "failed", "july"])],
)
def test_the_newest_so_many_over_the_months(limit: int, names: list[str], told: Told, story: Story) -> None:
    assert numbers(story, limit) == [getattr(told, name) for name in names]


def test_a_limit_goes_on_from_one_month_to_the_next(told: Told, story: Story) -> None:
    assert numbers(story, 2, number_hash=LI) == [told.august, told.failed]
    assert numbers(story, 3, number_hash=LI) == [told.august, told.failed, told.june]


def test_what_is_found_says_all_that_the_ledger_has(told: Told, story: Story) -> None:
    (july,) = found(story, message=told.july)
    assert july == Found(
        number=told.july,
        message=told.july,
        accepted_us=JULY_US,
        account="oa",
        category="office",
        carrier="cmcc",
        network="mobile",
        number_hash=WU,
        units=1,
        attempts=1,
        sent_us=JULY_US,
        ended_us=JULY_US,
        state="delivered",
        stat=b"DELIVRD",
        err=b"000",
        status=0,
        reason="",
    )


# -- messages of parts ---------------------------------------------------------------------------------------


def test_a_message_is_found_with_its_parts_and_a_part_alone(story: Story) -> None:
    before = story.accept()
    first, second, third = story.accept_cut(3)
    story.deliver()
    assert numbers(story, message=first) == [third, second, first]
    assert [each.message for each in found(story, message=first)] == [first] * 3
    assert numbers(story, message=second) == [second]
    assert numbers(story, message=before) == [before]
    assert numbers(story, message=first, account="oa") == []
    assert numbers(story, message=third + 100) == []


def test_other_records_may_stand_between_the_parts(story: Story) -> None:
    first = story.accept()
    story.deny()
    other = story.accept()
    second = story.accept(message=first)
    assert numbers(story, message=first) == [second, first]
    assert numbers(story, message=other) == [other]


def test_parts_end_each_for_itself(story: Story) -> None:
    parts = story.accept_cut(2)
    story.dispatch(*parts)
    story.sent(parts[0])
    story.receipt(parts[0])
    assert [(each.number, each.state) for each in found(story, message=parts[0])] == [
        (parts[1], "uncertain"),
        (parts[0], "delivered"),
    ]
    assert numbers(story, message=parts[0], state="delivered") == [parts[0]]


@pytest.mark.parametrize("seed", range(4))
def test_states_are_those_of_statements(seed: int, tmp_path: Path) -> None:
    # The same rule stands in SQL here, and in Python where what was known at a time is asked for. Units of a
    # replaced text are those of the new one there, so single parts are compared: each by a span of its own.
    everything = Cut((1 << 63) - 1, (1 << 63) - 1)
    with Story(tmp_path, "2026-05-20") as story:
        Chance(seed, story).run(12)
        with closing(story.ledger()) as connection:
            found = list(search(connection, Wanted(), 100_000))
            for each in found:
                span = (each.accepted_us, each.accepted_us + 1)
                counts = count(connection, *span, everything, "part", "reported", cause_of)
                at_once = {other.state for other in found if other.accepted_us == each.accepted_us}
                states = {
                    state
                    for line, counted in counts.items()
                    if line.direction == "mt"
                    for state in STANDINGS
                    if getattr(counted, state)
                }
                assert states == at_once
    assert len(found) >= 10
