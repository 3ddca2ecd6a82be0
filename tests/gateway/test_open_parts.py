"""Every change of state of a part: what it leaves in the part, the table and the index of its carrier."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from gateway import open_parts as module
from gateway.account import Account
from gateway.carrier import Carrier
from gateway.message import DISPATCHED, FINAL, QUEUED, SENT, UNCERTAIN, Group, Part
from gateway.open_parts import OpenParts
from protocol.smpp.receipt import Receipt
from tests.gateway.world import MOBILE, account, carrier

CARRIER, ACCOUNT = Carrier(carrier(), 1000, 0.0), Account(account(), 1000, 0.0)


def new_part(number: int, at: Carrier = CARRIER) -> Part:
    return Part(
        *(number, number, ACCOUNT, at, MOBILE, b"source", b"destination", b"body", 1, 1, 5, 0),
        *(2, 0, 5, number),
    )


Step = Callable[[OpenParts, Part], None]


def dispatched(parts: OpenParts, part: Part) -> None:
    parts.dispatched(part, 1, 17)


def requeued(parts: OpenParts, part: Part) -> None:
    parts.requeued(part)


def uncertain(parts: OpenParts, part: Part) -> None:
    parts.uncertain(part)


def sent(parts: OpenParts, part: Part) -> None:
    parts.sent(part, part.carrier, b"17")


def sent_again(parts: OpenParts, part: Part) -> None:
    parts.sent(part, part.carrier, b"18")


def sent_unnamed(parts: OpenParts, part: Part) -> None:
    parts.sent(part, part.carrier, b"")


def finished(parts: OpenParts, part: Part) -> None:
    parts.finish(part, 2, b"000", 99)


def postponed(parts: OpenParts, part: Part) -> None:
    parts.postponed(part, part.carrier, ported=False)


def restocked(parts: OpenParts, part: Part) -> None:
    parts.restocked(part, b"body")


class Case(NamedTuple):
    steps: tuple[Step, ...]
    state: int
    attempts: int = 0
    body: bytes = b"body"
    ids: tuple[bytes, ...] = ()  # by which the carrier's receipts find it
    unnamed: bool = False  # found by its destination
    uncertain: bool = False  # listed for operators


CASES = [
    Case((), QUEUED),
    Case((dispatched,), DISPATCHED, 1),
    Case((dispatched, requeued), QUEUED, 1),
    Case((dispatched, requeued, dispatched), DISPATCHED, 2),
    Case((dispatched, sent), SENT, 1, b"", (b"17",)),
    Case((dispatched, sent, finished), FINAL, 1, b"", (b"17",)),
    Case((dispatched, uncertain), UNCERTAIN, 1, unnamed=True, uncertain=True),
    Case((dispatched, uncertain, requeued), QUEUED, 1),
    Case((dispatched, uncertain, dispatched), DISPATCHED, 2),
    Case((dispatched, uncertain, sent), SENT, 1, b"", (b"17",)),
    Case((dispatched, uncertain, sent, sent_again), SENT, 1, b"", (b"17", b"18")),
    Case((dispatched, uncertain, finished), FINAL, 1, b""),
    Case((dispatched, uncertain, requeued, sent), SENT, 1, b"", (b"17",)),
    Case((dispatched, sent_unnamed), SENT, 1, b"", unnamed=True),
    Case((dispatched, sent_unnamed, sent_unnamed), SENT, 1, b"", unnamed=True),
    Case((dispatched, sent_unnamed, sent), SENT, 1, b"", (b"17",)),
    Case((dispatched, sent_unnamed, finished), FINAL, 1, b""),
    Case((dispatched, uncertain, sent_unnamed), SENT, 1, b"", unnamed=True),
    Case((dispatched, sent, sent_unnamed), SENT, 1, b"", (b"17",)),
    Case((dispatched, sent, finished, sent_again), FINAL, 1, b"", (b"17", b"18")),
    Case((finished,), FINAL, 0, b""),
    # Refused and tried later: nobody has it.
    Case((dispatched, postponed), QUEUED, 1),
    Case((dispatched, requeued, postponed), QUEUED, 1),
    Case((dispatched, uncertain, postponed), QUEUED, 1),
    Case((dispatched, postponed, dispatched, sent), SENT, 2, b"", (b"17",)),
    # Taken, failed and tried later: its receipts still find it, and it has no body until that is read.
    Case((dispatched, sent, postponed), QUEUED, 1, b"", (b"17",)),
    Case((dispatched, sent, postponed, restocked), QUEUED, 1, b"body", (b"17",)),
    Case((dispatched, sent, postponed, restocked, dispatched), DISPATCHED, 2, b"body", (b"17",)),
    Case((dispatched, sent, postponed, dispatched, sent_again), SENT, 2, b"", (b"17", b"18")),
    Case((dispatched, sent, postponed, dispatched, uncertain), UNCERTAIN, 2, b"", (b"17",), True, True),
    Case((dispatched, sent, postponed, dispatched, sent_unnamed), SENT, 2, b"", (b"17",), True),
    Case((dispatched, sent, postponed, finished), FINAL, 1, b"", (b"17",)),
    Case((dispatched, sent_unnamed, postponed), QUEUED, 1, b""),
    Case((dispatched, sent_unnamed, postponed, dispatched, finished), FINAL, 2, b""),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(step.__name__ for step in case.steps))
def test_a_part_passes_through_its_states(case: Case) -> None:
    at = Carrier(carrier(), 1000, 0.0)
    parts, part = OpenParts(), new_part(4, at)
    parts.add(part)
    for step in case.steps:
        step(parts, part)
    assert (part.state, part.attempts, part.body) == (case.state, case.attempts, case.body)
    found = [name for name in (b"17", b"18") if at.correlation.find(Receipt(name), (MOBILE,))[0] is part]
    assert tuple(found) == case.ids
    assert (at.correlation.find_unnamed(Receipt(b"99"), (MOBILE,), list) is part) == case.unnamed
    assert (at.correlation.uncertain_parts() == [part], at.correlation.uncertain) == (
        case.uncertain,
        int(case.uncertain),
    )
    assert parts.get(4) is part
    assert (4 in parts.open, parts.oldest()) == ((False, None) if case.state == FINAL else (True, 4))


def test_what_an_attempt_and_an_end_leave_in_the_part() -> None:
    parts, part = OpenParts(), new_part(4)
    parts.add(part)
    dispatched(parts, part)
    assert (part.link, part.dispatched_us) == (1, 17)
    finished(parts, part)
    assert (part.message_state, part.error, part.final_us) == (2, b"000", 99)


def test_the_oldest_open_part_is_the_first_that_has_not_ended() -> None:
    parts = OpenParts()
    for number in (4, 5, 9):
        parts.add(new_part(number))
    assert parts.oldest() == 4
    finished(parts, parts.open[4])
    assert parts.oldest() == 5
    finished(parts, parts.open[9])
    assert parts.oldest() == 5


def test_the_oldest_finished_part_is_forgotten_with_every_id_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINISHED_MAX", 2)
    at = Carrier(carrier(), 1000, 0.0)
    at.correlation.find(Receipt(b"unknown"), ())  # from now on there is a derived index too
    parts = OpenParts()
    for number in (4, 5, 6):
        part = new_part(number, at)
        parts.add(part)
        dispatched(parts, part)
        parts.sent(part, at, b"%d" % number)
        parts.sent(part, at, b"0A%d" % number)
        finished(parts, part)
    assert [parts.get(number) is not None for number in (4, 5, 6)] == [False, True, True]
    assert len(at.correlation) == 4
    for name in (b"4", b"0A4", b"a4"):
        assert at.correlation.find(Receipt(name), (MOBILE,)) == (None, "")
    assert at.correlation.find(Receipt(b"a5"), (MOBILE,)) == (parts.get(5), "derived")


def test_a_forgotten_part_leaves_an_id_that_is_in_use_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINISHED_MAX", 1)
    at = Carrier(carrier(), 1000, 0.0)
    parts = OpenParts()
    old, new, last = (new_part(number, at) for number in (4, 5, 6))
    for part in (old, new, last):
        parts.add(part)
        dispatched(parts, part)
    sent(parts, old)
    sent(parts, new)
    finished(parts, old)
    finished(parts, last)
    assert parts.get(4) is None
    assert at.correlation.find(Receipt(b"17"), (MOBILE,)) == (new, "exact")


def test_a_late_answer_to_a_forgotten_part_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINISHED_MAX", 1)
    at = Carrier(carrier(), 1000, 0.0)
    parts = OpenParts()
    for number in (4, 5):
        part = new_part(number, at)
        parts.add(part)
        dispatched(parts, part)
        finished(parts, part)
        if number == 4:
            forgotten = part
    sent(parts, forgotten)
    assert len(at.correlation) == 0


class Taken(NamedTuple):
    """Answers to one part, by carrier and id, and what is known of it then."""

    answers: tuple[tuple[str, bytes], ...]
    carrier: str
    carrier_id: bytes
    earlier_ids: tuple[tuple[str, bytes], ...]
    unnamed: str = ""  # the carrier whose receipts find it by its destination


TAKEN = [
    Taken((("a", b"17"),), "a", b"17", ()),
    Taken((("a", b"17"), ("a", b"18")), "a", b"18", (("a", b"17"),)),
    Taken((("b", b"17"),), "b", b"17", ()),  # a late answer of the one before
    # Who has given an id first keeps the part; the other one's id finds it too.
    Taken((("a", b"17"), ("b", b"18")), "a", b"17", (("b", b"18"),)),
    Taken((("b", b"17"), ("a", b"18")), "b", b"17", (("a", b"18"),)),
    Taken((("b", b"17"), ("a", b"18"), ("b", b"19")), "b", b"19", (("a", b"18"), ("b", b"17"))),
    Taken((("a", b"17"), ("b", b"17")), "a", b"17", (("b", b"17"),)),
    Taken((("a", b""),), "a", b"", (), "a"),
    Taken((("a", b""), ("b", b"18")), "b", b"18", ()),
    Taken((("a", b"17"), ("b", b"")), "a", b"17", ()),
    Taken((("b", b""), ("a", b"")), "a", b"", (), "a"),
]


@pytest.mark.parametrize("case", TAKEN)
@pytest.mark.parametrize("end", [False, True])
def test_two_carriers_may_have_taken_one_part(
    case: Taken, end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to go to a when the answers came; and when it is forgotten, it is so by both."""
    monkeypatch.setattr(module, "FINISHED_MAX", 1)
    carriers = {name: Carrier(carrier(name), 1000, 0.0) for name in ("a", "b")}
    parts, part = OpenParts(), new_part(4, carriers["a"])
    parts.add(part)
    dispatched(parts, part)
    for name, carrier_id in case.answers:
        parts.sent(part, carriers[name], carrier_id)
    assert (part.carrier.name, part.carrier_id) == (case.carrier, case.carrier_id)
    assert tuple((each.name, carrier_id) for each, carrier_id in part.earlier_ids) == case.earlier_ids
    for name, owner in carriers.items():
        ids = {carrier_id for carrier_name, carrier_id in case.answers if carrier_name == name and carrier_id}
        assert owner.correlation._by_id == dict.fromkeys(ids, part)
        found = owner.correlation.find_unnamed(Receipt(b"99"), (MOBILE,), list)
        assert (found is part) is (name == case.unnamed)
    if end:
        finished(parts, part)
        last = new_part(5, carriers["a"])
        parts.add(last)
        finished(parts, last)
        assert parts.get(4) is None
        for owner in carriers.values():
            assert (owner.correlation._by_id, owner.correlation._unnamed) == ({}, {})


def test_a_part_is_rerouted_with_its_text_and_its_ids_stay_where_they_were() -> None:
    a, b = Carrier(carrier("a"), 1000, 0.0), Carrier(carrier("b"), 1000, 0.0)
    parts, part = OpenParts(), new_part(4, a)
    part.group = Group(a)
    parts.add(part)
    dispatched(parts, part)
    sent(parts, part)
    assert part.group.begun == 1
    parts.postponed(part, a, ported=False)
    assert (part.rerouted, part.postponed, part.earlier_ids) == (False, 1, ((a, b"17"),))
    parts.postponed(part, b, ported=False)
    assert (part.rerouted, part.postponed, part.carrier_id) == (True, 2, b"")
    assert (part.carrier, part.group.carrier, part.earlier_ids) == (b, b, ((a, b"17"),))
    assert a.correlation.find(Receipt(b"17"), (MOBILE,)) == (part, "exact")
    assert len(b.correlation) == 0


def test_a_text_knows_how_many_of_its_parts_have_left() -> None:
    """However often each did."""
    parts, group = OpenParts(), Group()
    for number in (4, 5):
        part = new_part(number)
        part.group = group
        parts.add(part)
        dispatched(parts, part)
        requeued(parts, part)
        dispatched(parts, part)
    assert group.begun == 2


def test_a_restart_needs_a_text_from_its_first_part_on() -> None:
    parts, group = OpenParts(), Group(CARRIER, first=4, cut_into=3)
    text = [new_part(number) for number in (4, 5, 6)]
    for part in text:
        part.group = group
        parts.add(part)
    alone = new_part(7)
    parts.add(alone)
    assert [each.oldest for each in (*text, alone)] == [4, 4, 4, 7]
    finished(parts, text[0])
    finished(parts, text[1])
    assert (parts.oldest(), parts.text_of(text[2]), parts.text_of(alone)) == (4, text, [alone])
    finished(parts, text[2])
    assert parts.oldest() == 7
    own = new_part(8)
    own.group = Group(CARRIER)  # of parts that the application made: each is its own
    assert (own.oldest, parts.text_of(own)) == (8, [own])


def test_the_octets_of_a_body_are_counted_while_it_is_held() -> None:
    parts, part = OpenParts(), new_part(4)
    parts.add(part)
    counts = [parts.body_octets]
    for step in (dispatched, sent, postponed, restocked, dispatched, sent_again, sent, finished):
        step(parts, part)
        counts.append(parts.body_octets)
    assert counts == [4, 4, 0, 0, 4, 4, 0, 0, 0]
