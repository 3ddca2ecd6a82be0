"""Which carrier account a message goes to: order, weights, who stands by, and where a second try goes."""

from __future__ import annotations

import pytest

from gateway.breaker import FAILURES_MAX
from gateway.carrier import Carrier
from gateway.config import RouteTable
from gateway.lanes import Lane
from gateway.routes import Routes
from tests.gateway.waiting import standing, waiting

NOW = 100.0


def table(*carriers: str, weights: tuple[int, ...] = (), network: str = "mobile") -> RouteTable:
    return RouteTable(network=network, carriers=carriers, weights=weights)  # type: ignore[arg-type]


def routes(*carriers: Carrier, tables: tuple[RouteTable, ...] = (), default: str = "mobile") -> Routes:
    return Routes({carrier.name: carrier for carrier in carriers}, tables, default)


def put_out(carrier: Carrier, how: str) -> None:
    """Take a carrier out of service."""
    (link,) = carrier.links
    match how:
        case "down":
            link.can_send = False
        case "silent":
            link.silent = True
        case "breaker":
            for _ in range(FAILURES_MAX):
                carrier.breaker.failed(NOW)


def load(carrier: Carrier, parts: int) -> None:
    for number in range(parts):
        carrier.queues.append(waiting(number, Lane.BULK))


def chosen(found: Routes, times: int, network: str = "mobile") -> str:
    """The accounts of so many messages, one after the other."""
    names = []
    for _ in range(times):
        carrier = found.choose(network, NOW)
        assert carrier is not None
        names.append(carrier.name)
    return " ".join(names)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((), "a b a b a b"),
        ((1, 1), "a b a b a b"),
        ((2, 1), "a b a a b a"),
        ((3, 1), "a a b a a a"),
        ((1, 0), "a a a a a a"),
        ((0, 1), "b b b b b b"),
    ],
)
def test_accounts_take_turns_by_weight(weights: tuple[int, ...], expected: str) -> None:
    found = routes(standing("a"), standing("b"), tables=(table("a", "b", weights=weights),))
    assert chosen(found, 6) == expected


@pytest.mark.parametrize(
    ("waits", "weights", "expected"),
    [
        ((1, 0), (1, 1), "b b b"),
        ((0, 1), (1, 1), "a a a"),
        ((2, 1), (2, 1), "a b a"),  # as much to do for their weights
        ((3, 1), (2, 1), "b b b"),
        ((3, 2), (2, 1), "a a a"),
    ],
)
def test_the_account_with_the_least_to_do_for_its_weight_is_chosen(
    waits: tuple[int, int], weights: tuple[int, int], expected: str
) -> None:
    carriers = standing("a"), standing("b")
    for carrier, parts in zip(carriers, waits, strict=True):
        load(carrier, parts)
    assert chosen(routes(*carriers, tables=(table("a", "b", weights=weights),)), 3) == expected


def test_an_account_that_was_behind_has_no_turns_to_come() -> None:
    a, b = standing("a"), standing("b")
    found = routes(a, b, tables=(table("a", "b"),))
    load(a, 1)
    assert chosen(found, 1_000) == " ".join("b" * 1_000)
    a.queues.lanes[Lane.BULK].clear()
    assert chosen(found, 6) == "a b a b a b"


@pytest.mark.parametrize("how", ["down", "silent", "breaker"])
def test_what_is_out_of_service_is_passed_over(how: str) -> None:
    a, b, c = standing("a"), standing("b"), standing("c")
    found = routes(a, b, c, tables=(table("a", "b", "c", weights=(1, 1, 0)),))
    put_out(a, how)
    assert chosen(found, 2) == "b b"
    put_out(b, how)
    assert chosen(found, 2) == "c c"  # it stood by
    put_out(c, how)
    # A link that stands is better than none, and where there is none messages wait at the first.
    assert chosen(found, 3) == ("a a a" if how == "down" else "a b a")


def test_to_one_that_is_half_open_a_single_message_goes_until_its_fate_is_known() -> None:
    a, b = standing("a"), standing("b")
    found = routes(a, b, tables=(table("a", "b"),))
    for _ in range(FAILURES_MAX):
        a.breaker.failed(NOW - 10.0)
    peeked = found.choose("mobile", NOW, peek=True)
    assert peeked is a  # which tries nothing
    assert chosen(found, 4) == "a b b b"
    a.took()
    assert sorted(chosen(found, 4).split()) == ["a", "a", "b", "b"]


def test_an_account_without_another_is_never_passed_over() -> None:
    only = standing("a")
    found = routes(only)
    put_out(only, "breaker")
    put_out(only, "down")
    assert chosen(found, 1) == "a"


def test_a_look_is_nobodys_turn() -> None:
    found = routes(standing("a"), standing("b"))
    for _ in range(3):
        peeked = found.choose("mobile", NOW, peek=True)
        assert peeked is not None
        assert peeked.name == "a"
    assert chosen(found, 2) == "a b"


@pytest.mark.parametrize(
    ("tables", "default", "network", "ways"),
    [
        ((), "mobile", "mobile", ["a", "b"]),  # those that name it
        ((), "mobile", "unicom", ["u"]),
        ((), "mobile", "telecom", ["a", "b"]),  # nobody does: the default network's
        ((), "broadnet", "telecom", []),
        ((table("u", "b"),), "mobile", "mobile", ["u", "b"]),
        ((table("u", "b"),), "mobile", "telecom", ["u", "b"]),
        ((table("b", network="telecom"),), "mobile", "telecom", ["b"]),
    ],
)
def test_the_ways_to_a_network(
    tables: tuple[RouteTable, ...], default: str, network: str, ways: list[str]
) -> None:
    found = routes(standing("a"), standing("b"), standing("u", "unicom"), tables=tables, default=default)
    assert [way.carrier.name for way in found.ways_to(network)] == ways
    assert [carrier.name for carrier in found.carriers] == ["a", "b", "u"]
    choice = found.choose(network, NOW)
    assert (choice is None) == (not ways)


@pytest.mark.parametrize(
    ("out", "units", "another", "elsewhere"),
    [
        ("", 1, "b", "u"),
        ("b", 1, "c", "u"),
        ("b c", 1, None, "u"),
        ("u", 1, "b", "t"),
        ("u t", 1, "b", None),
        ("", 3, "c", "t"),  # b and u take no long texts, and this one cannot be cut any more
        ("c t", 3, None, None),
        ("a", 1, "b", "u"),
    ],
)
def test_where_a_second_try_goes(out: str, units: int, another: str | None, elsewhere: str | None) -> None:
    a, c, t = standing("a"), standing("c"), standing("t", "telecom")
    b, u = standing("b", message_payload=False), standing("u", "unicom", message_payload=False)
    found = routes(a, b, c, u, t)
    for carrier in (a, b, c, u, t):
        if carrier.name in out.split():
            put_out(carrier, "down")
    part = waiting(1, at=a, units=units)
    by_network, by_other = found.another("mobile", part, NOW), found.elsewhere(part, NOW)
    assert (by_network and by_network.name, by_other and by_other.name) == (another, elsewhere)


LI, WANG = b"13800138000", b"13800138001"
NOTICE, BULK = int(Lane.NOTICE), int(Lane.BULK)


def led(found: Routes, number: bytes, now_us: int, lane: int = NOTICE, network: str = "mobile") -> str:
    carrier = found.lead(network, number, lane, NOW, now_us)
    assert carrier is not None
    return carrier.name


def test_a_message_stands_behind_the_last_one_to_its_number_while_that_waits() -> None:
    a, b = standing("a"), standing("b")
    found = routes(a, b, tables=(table("a", "b"),))
    assert led(found, LI, 10) == "a"
    a.queues.append(waiting(1, NOTICE, a, queued_us=10))
    assert led(found, WANG, 11) == "b"  # which has less to do
    assert led(found, LI, 12) == "a"
    a.queues.append(waiting(2, NOTICE, a, queued_us=12))
    a.queues.lanes[NOTICE].popleft()
    assert led(found, LI, 13) == "a"  # the second one waits still
    a.queues.lanes[NOTICE].popleft()
    a.queues.append(waiting(3, NOTICE, a, queued_us=14))  # somebody else's
    assert led(found, LI, 15) == "b"


@pytest.mark.parametrize(
    ("lane", "network", "out", "expected"),
    [
        (NOTICE, "mobile", "", "a"),
        (BULK, "mobile", "", "b"),  # order is kept within a lane
        (NOTICE, "broadnet", "", "b"),  # the number has been ported meanwhile
        (NOTICE, "mobile", "down", "b"),
        (NOTICE, "mobile", "silent", "b"),
        (NOTICE, "mobile", "breaker", "b"),
    ],
)
def test_who_does_not_stand_behind_the_last_one(lane: int, network: str, out: str, expected: str) -> None:
    a, b = standing("a"), standing("b")
    found = routes(a, b, tables=(table("a", "b"), table("a", "b", network="broadnet")))
    assert led(found, LI, 10) == "a"
    a.queues.append(waiting(1, NOTICE, a, queued_us=10))
    put_out(a, out)
    assert led(found, LI, 12, lane, network) == expected


def test_of_countless_numbers_the_memory_stays_small() -> None:
    found = routes(standing("a"), standing("b"))
    for number in range(40_000):
        led(found, b"%d" % number, number)
    assert len(found._led) <= 16_384
