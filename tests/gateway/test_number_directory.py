"""Which network serves a number, by the plan and by what is known of it; and what records say of numbers."""

from __future__ import annotations

from typing import Final, NamedTuple

import pytest
from structlog.testing import capture_logs

from gateway.config import NumbersConfig
from gateway.number_directory import Fact, NumberDirectory
from gateway.opt_out import OptOuts
from gateway.portability import Portability
from storage import records
from storage.register import OptedIn, OptedOut, PortedNumber
from tests.gateway.world import MOBILE, PLAN, START_US, UNICOM

BROADNET, UNKNOWN = b"19212345678", b"15412345678"
SIM_OF_A_MACHINE, MACHINE = b"14612345678", b"1064712345678"


def number_hash(number: bytes) -> bytes:
    """Any function that tells numbers apart will do."""
    return number.rjust(16)


def directory(config: NumbersConfig | None = None) -> NumberDirectory:
    return NumberDirectory(PLAN, number_hash, Portability(100), OptOuts(), config or NumbersConfig())


def ported(number: bytes, network: str, expires_us: int = 0) -> records.Ported:
    return records.Ported(START_US, number_hash(number), network, "delivered by ctcc", expires_us)


class Served(NamedTuple):
    """A number, what was learned of it and until when, and who serves it."""

    number: bytes
    network: str | None
    learned: tuple[tuple[str, int], ...] = ()
    config: NumbersConfig = NumbersConfig()


LATER_US: Final = START_US + 1
SERVED = {
    "by its prefix": Served(MOBILE, "mobile"),
    "by its prefix, another": Served(UNICOM, "unicom"),
    "broadnet": Served(BROADNET, "broadnet"),
    "ported for good": Served(MOBILE, "telecom", (("telecom", 0),)),
    "ported until later": Served(MOBILE, "telecom", (("telecom", LATER_US),)),
    "ported until now": Served(MOBILE, "mobile", (("telecom", START_US),)),
    "ported on": Served(MOBILE, "unicom", (("telecom", 0), ("unicom", 0))),
    "ported back": Served(MOBILE, "mobile", (("telecom", 0), ("mobile", 0))),
    "ported no longer": Served(MOBILE, "mobile", (("telecom", 0), ("", 0))),
    "no known prefix": Served(UNKNOWN, "mobile"),
    "no known prefix, another default": Served(
        UNKNOWN, "telecom", (), NumbersConfig(default_network="telecom")
    ),
    "no known prefix, but ported": Served(UNKNOWN, "unicom", (("unicom", 0),)),
    "of a machine": Served(MACHINE, None),
    "of a machine, with the digits of a phone": Served(SIM_OF_A_MACHINE, None),
    "of a machine, which may hear": Served(MACHINE, "mobile", (), NumbersConfig(reject_iot=False)),
}


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_who_serves_a_number(served: Served) -> None:
    known = directory(served.config)
    for index, (network, expires_us) in enumerate(served.learned, 1):
        known.note(index, ported(served.number, network, expires_us))
    assert known.network(served.number, number_hash(served.number), START_US) == served.network


def test_a_prefix_that_the_plan_does_not_know_is_said_once() -> None:
    known = directory()
    with capture_logs() as said:
        for number in (UNKNOWN, UNKNOWN, b"15498765432", b"15512345678", b"15522345678", b"17922345678"):
            known.network(number, number_hash(number), START_US)
    assert [(line["event"], line["number"]) for line in said] == [
        ("number prefix not in the plan", "154****5678"),
        ("number prefix not in the plan", "154****5432"),
        ("number prefix not in the plan", "179****5678"),
    ]


def test_what_records_say_is_known_at_once_and_kept_for_the_register_in_their_order() -> None:
    known = directory()
    li, wang = number_hash(MOBILE), number_hash(UNICOM)
    script: list[tuple[int, records.Ported | records.OptedOut, Fact]] = [
        (
            4,
            ported(MOBILE, "telecom", LATER_US),
            PortedNumber(li, "telecom", "delivered by ctcc", START_US, LATER_US),
        ),
        (6, records.OptedOut(START_US, li, "hukou", True, 5), OptedOut(li, "hukou", START_US, 6)),
        (8, records.OptedOut(START_US + 2, wang, "hukou", True, 7), OptedOut(wang, "hukou", START_US + 2, 8)),
        (10, records.OptedOut(START_US + 3, li, "hukou", False, 9), OptedIn(li, "hukou", 10)),
    ]
    out = [set(), {li}, {li, wang}, {wang}]
    for place, (index, record, _) in enumerate(script):
        known.note(index, record)
        assert {each for each in (li, wang) if known.opt_outs.is_out(each, "hukou")} == out[place]
    assert known.portability.network_of(li, START_US) == "telecom"
    assert known.unwritten == [(index, fact) for index, _, fact in script]


def test_what_is_not_in_the_register_yet_is_learned_again() -> None:
    known = directory()
    known.note(4, ported(MOBILE, "telecom"))
    known.note(5, records.OptedOut(START_US, number_hash(MOBILE), "hukou", True, 3))
    known.portability.forget(number_hash(MOBILE))
    known.learn_again()
    assert known.network(MOBILE, number_hash(MOBILE), START_US) == "telecom"
