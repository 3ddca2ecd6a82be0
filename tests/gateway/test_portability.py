"""Who serves a ported number: facts and their ends, the limit, and which numbers cannot be ported."""

import pytest

from gateway.number_plan import NumberPlan
from gateway.portability import (
    LEARNED_EXPIRES_DAYS,
    Portability,
    Table,
    learned_expires_us,
    portable,
    table_of,
)
from storage.register import PortedNumber

A, B, C = (bytes([letter]) * 16 for letter in b"ABC")
DAY_US = 86_400_000_000
NOW_US = 1_795_000_000_123_456  # 2026-11-18 19:06:40 in Asia/Shanghai
MIDNIGHT_US = 1_795_017_600_000_000
LIST, DELIVERY = "import list.csv", "delivered by cucc"


def test_a_script_of_facts() -> None:
    portability = Portability(entries_max=2)
    assert (len(portability), bool(portability), portability.network_of(A, NOW_US)) == (0, False, None)
    # (number, network, end, taken, then how many there are)
    script = [
        (A, "unicom", 0, True, 1),
        (B, "telecom", NOW_US + 10, True, 2),
        (C, "telecom", 0, False, 2),  # full
        (A, "broadnet", NOW_US + 20, True, 2),  # but a known number may change: the newest fact wins
    ]
    for number_hash, network, expires_us, taken, count in script:
        assert portability.learn(number_hash, network, DELIVERY, expires_us) == taken
        assert len(portability) == count
    # (number, time, network, then how many there are)
    questions = [
        (A, NOW_US, "broadnet", 2),
        (B, NOW_US + 9, "telecom", 2),
        (C, NOW_US + 9, None, 2),
        (B, NOW_US + 10, None, 1),  # expired, and dropped
        (B, NOW_US, None, 1),
        (A, NOW_US + 19, "broadnet", 1),
        (A, NOW_US + 20, None, 0),
    ]
    for number_hash, now_us, answer, count in questions:
        assert (portability.network_of(number_hash, now_us), len(portability)) == (answer, count)
    assert portability.learn(C, "telecom", DELIVERY, 0)
    assert portability.network_of(C, 2**63 - 1) == "telecom"  # 0 is never
    portability.forget(C)
    portability.forget(C)
    assert (portability.network_of(C, NOW_US), len(portability)) == (None, 0)


def test_a_table_from_the_register() -> None:
    facts = [
        PortedNumber(A, "unicom", LIST, 1, 0),
        PortedNumber(B, "unicom", LIST, 1, NOW_US),  # expired
        PortedNumber(C, "telecom", DELIVERY, 2, NOW_US + 1),
        PortedNumber(b"D" * 16, "telecom", DELIVERY, 3, NOW_US + 2),
    ]
    tables = [table_of(facts, entries_max, NOW_US) for entries_max in (2, 3)]
    assert [(list(table.entries), table.left_out) for table in tables] == [
        ([A, C], 1),
        ([A, C, b"D" * 16], 0),
    ]
    portability = Portability(entries_max=3)
    portability.learn(B, "mobile", DELIVERY, 0)
    portability.load(tables[1])
    assert [portability.network_of(number_hash, NOW_US) for number_hash in (A, B, C)] == [
        "unicom",
        None,
        "telecom",
    ]
    assert portability.learn(A, "mobile", DELIVERY, 0)
    assert (portability.network_of(A, NOW_US), len(portability)) == ("mobile", 3)


def test_a_full_table_asks_to_be_loaded_anew_once_some_of_it_has_expired() -> None:
    facts = [PortedNumber(A, "unicom", LIST, 1, 0), PortedNumber(B, "unicom", DELIVERY, 1, NOW_US + 5)]
    portability = Portability(entries_max=3)
    portability.load(table_of(facts, 3, NOW_US))
    assert not portability.load_due(NOW_US + 5)  # there is room
    portability.learn(C, "telecom", DELIVERY, NOW_US + 3)
    assert [portability.load_due(NOW_US + late_us) for late_us in (2, 3, 5)] == [False, True, True]
    facts.append(PortedNumber(C, "telecom", DELIVERY, 1, NOW_US + 3))
    portability.load(table_of(facts, 3, NOW_US + 3))
    assert portability.learn(b"D" * 16, "telecom", DELIVERY, 0)
    assert [portability.load_due(NOW_US + late_us) for late_us in (3, 4, 5)] == [False, False, True]
    # Nothing in it ever ends.
    portability = Portability(entries_max=1)
    portability.learn(A, "unicom", LIST, 0)
    assert not portability.load_due(2**62)


def test_equal_facts_are_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.portability.SHARED_MAX", 2)
    table = Table()
    # The third fact finds no place among the shared ones, and is kept for each number.
    facts = [("unicom", LIST, 0), ("unicom", LIST, 5), ("telecom", LIST, 0)]
    for place, (network, source, expires_us) in enumerate(facts * 2):
        table.put(bytes([place]) * 16, network, source, expires_us)
    entries = list(table.entries.values())
    assert entries[:3] == entries[3:]
    assert [first is second for first, second in zip(entries[:3], entries[3:], strict=True)] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("now_us", [NOW_US, MIDNIGHT_US - DAY_US, MIDNIGHT_US - 1])
def test_what_is_learned_on_a_day_ends_at_one_midnight(now_us: int) -> None:
    assert LEARNED_EXPIRES_DAYS == 120
    assert learned_expires_us(now_us) == MIDNIGHT_US + 120 * DAY_US
    assert learned_expires_us(MIDNIGHT_US) == MIDNIGHT_US + 121 * DAY_US


def test_every_prefix_that_cannot_be_ported() -> None:
    stuck = {
        (prefix.decode(), length)
        for prefix, length in NumberPlan.load().segments
        if not portable(prefix.ljust(length, b"2"))
    }
    satellites = {"1349", *(f"174{rest:02}" for rest in range(13)), "1749"}
    virtual = {"162", "165", "167", *(f"170{rest}" for rest in range(10)), "171"}
    things = {("146", 11), ("148", 11), ("149", 11)} | {
        (prefix, 13) for prefix in ("1410", "1440", "1441", "146", "148", "10646", "10647", "10648", "10649")
    }
    assert stuck == {(prefix, 11) for prefix in satellites | virtual} | things


PORTABLE = {
    b"13812345678": True,
    b"13482345678": True,
    b"13492345678": False,
    b"19212345678": True,
    b"15412345678": True,  # not allotted yet
    b"14012345678": False,
    b"14412345678": False,
    b"14512345678": True,
    b"14712345678": True,
    b"10641234567": False,
    b"1381234567890": False,
    b"": False,
}


@pytest.mark.parametrize(("number", "answer"), PORTABLE.items())
def test_portable(number: bytes, answer: bool) -> None:
    assert portable(number) is answer
