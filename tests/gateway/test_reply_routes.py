"""Who hears a reply: the owner of the number, then whoever wrote last, then the default, then nobody."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.reply_routes import SLICES, ReplyRoutes

HOUR_US = 3_600_000_000
NOW_US = 1_790_000_000_000_000
LI, WANG, ZHAO = b"l" * 16, b"w" * 16, b"z" * 16  # subscribers

SOURCES = {
    "oa": (b"10639110",),
    "hukou": (b"1063911001", b"1063911001"),  # said twice
    "jiaoguan": (b"1063911002", b"10639110"),
    "fangzhen": (b"10639110", b"12110"),
    "office": (b"95",),
    "silent": (),
}
# The last message to each subscriber by each account, in hours before NOW_US, in the order of their sending.
WROTE = [
    ("fangzhen", LI, 71.0),
    ("jiaoguan", LI, 70.0),
    ("hukou", LI, 2.0),
    ("jiaoguan", WANG, 73.0),
    ("silent", WANG, 72.0),
]


def routes(default_account: str = "") -> ReplyRoutes:
    made = ReplyRoutes(SOURCES, default_account, 72.0, 1000)
    for account, number_hash, hours in WROTE:
        made.sent(number_hash, account, NOW_US - round(hours * HOUR_US))
    return made


class Choice(NamedTuple):
    destination: bytes
    number_hash: bytes
    default_account: str
    chosen: tuple[str, str]


CHOICES = [
    # One owner, whoever wrote last.
    Choice(b"1063911001", WANG, "", ("hukou", "prefix")),
    Choice(b"1063911001", LI, "", ("hukou", "prefix")),
    Choice(b"10639110010042", WANG, "oa", ("hukou", "prefix")),
    Choice(b"1063911002", LI, "", ("jiaoguan", "prefix")),
    Choice(b"10639110020000000000", LI, "", ("jiaoguan", "prefix")),  # 20 digits
    Choice(b"12110371", LI, "oa", ("fangzhen", "prefix")),
    Choice(b"95", ZHAO, "oa", ("office", "prefix")),
    # Three owners: whoever of them wrote last; hukou wrote after them, and is none of them.
    Choice(b"10639110", LI, "", ("jiaoguan", "last message")),
    Choice(b"1063911009", LI, "oa", ("jiaoguan", "last message")),
    Choice(b"106391100", LI, "oa", ("jiaoguan", "last message")),
    # Three owners, none of whom wrote within 72 hours.
    Choice(b"10639110", WANG, "fangzhen", ("fangzhen", "default")),
    Choice(b"10639110", WANG, "hukou", ("oa", "prefix")),
    Choice(b"10639110", WANG, "", ("oa", "prefix")),
    # No owner.
    Choice(b"1063911", LI, "oa", ("hukou", "last message")),
    Choice(b"9", LI, "", ("hukou", "last message")),
    Choice(b"10086", WANG, "", ("silent", "last message")),
    Choice(b"", WANG, "oa", ("silent", "last message")),
    Choice(b"10086", ZHAO, "silent", ("silent", "default")),
    Choice(b"10086", ZHAO, "", ("", "unrouted")),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_who_hears_a_reply(choice: Choice) -> None:
    made = routes(choice.default_account)
    assert made.choose(choice.destination, choice.number_hash, NOW_US) == choice.chosen


@pytest.mark.parametrize(("later_us", "chosen"), [(0, ("silent", "last message")), (1, ("", "unrouted"))])
def test_the_hours_are_kept_to_the_microsecond(later_us: int, chosen: tuple[str, str]) -> None:
    assert routes().choose(b"10086", WANG, NOW_US + later_us) == chosen


def test_a_newer_message_counts_where_an_older_slice_knows_one_too() -> None:
    made = ReplyRoutes({"a": (), "b": ()}, "", 72.0, SLICES)  # one entry a slice
    for later_us, account in enumerate(("a", "b", "b", "a", "b")):
        made.sent(LI, account, NOW_US + later_us)
        assert made.choose(b"1", LI, NOW_US + later_us) == (account, "last message")


def test_the_oldest_is_forgotten_first_and_whoever_is_written_to_again_is_not() -> None:
    made = ReplyRoutes({"a": ()}, "", 72.0, 2 * SLICES)  # two entries a slice
    numbers = [b"%016d" % number for number in range(1000)]
    for index, number in enumerate(numbers):
        made.sent(number, "a", NOW_US)
        if index % 10 == 0:
            made.sent(LI, "a", NOW_US)
        assert len(made) <= 2 * SLICES
        assert made.choose(b"1", LI, NOW_US) == ("a", "last message")
    remembered = [made.choose(b"1", number, NOW_US)[0] == "a" for number in numbers]
    oldest = remembered.index(True)
    assert all(remembered[oldest:])
    # 15 full slices, two or three entries of which are the one subscriber.
    assert len(numbers) - oldest in range(2 * (SLICES - 1) - 3, 2 * SLICES)


def test_another_configuration_keeps_what_is_remembered() -> None:
    made = routes()
    made.configure({"hukou": (), "new": (b"10639110",), "oa": (b"95",)}, "oa", 72.0)
    assert made.choose(b"10639110", LI, NOW_US) == ("new", "prefix")
    assert made.choose(b"10086", LI, NOW_US) == ("hukou", "last message")
    assert made.choose(b"10086", WANG, NOW_US) == ("oa", "default")  # silent is no account now
    made.configure({"new": (), "oa": ()}, "", 72.0)
    assert made.choose(b"10086", LI, NOW_US) == ("", "unrouted")
    made.configure(SOURCES, "", 1.5)
    assert made.choose(b"10086", LI, NOW_US) == ("", "unrouted")
    made.configure(SOURCES, "", 2.0)
    assert made.choose(b"10086", LI, NOW_US) == ("hukou", "last message")


def test_a_removed_account_that_still_sends_disturbs_nobody() -> None:
    made = routes()
    made.configure({"new": ()}, "", 72.0)
    made.sent(LI, "hukou", NOW_US)
    assert made.choose(b"10086", LI, NOW_US) == ("", "unrouted")
    made.sent(LI, "new", NOW_US)
    assert made.choose(b"10086", LI, NOW_US) == ("new", "last message")


def test_of_equal_times_the_first_in_the_configuration_wins() -> None:
    made = ReplyRoutes({"a": (b"1",), "b": (b"1",)}, "", 72.0, 100)
    for account in ("b", "a"):
        made.sent(LI, account, NOW_US)
    assert made.choose(b"1", LI, NOW_US) == ("a", "last message")
