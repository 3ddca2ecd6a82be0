"""The records of many messages in one pass are those of each by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import show as show_module
from storage.errors import NoSuchRecord
from storage.reader import LogReader
from storage.records import Reported
from storage.show import SHOW_AFTER_END_US, indexes_of, show
from tests.storage.settlement.story import Story


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Story(tmp_path) as story:
        yield story


def live(story: Story, chance: random.Random, turns: int) -> list[int]:
    """Messages that go every way, some days apart, and what comes late; returns the numbers of all parts."""
    numbers: list[int] = []
    open_numbers: list[int] = []
    for _ in range(turns):
        story.now_us += chance.choice((1, 1_000_000, 3_600_000_000, SHOW_AFTER_END_US, SHOW_AFTER_END_US + 1))
        accepted = chance.choice((lambda: [story.accept()], lambda: story.accept_cut(3), list))()
        numbers += accepted
        open_numbers += accepted
        story.dispatch(*accepted)
        for number in [each for each in open_numbers if chance.random() < 0.4]:
            match chance.randrange(6):
                case 0:
                    story.sent(number)
                case 1:
                    story.refused(number)
                    open_numbers.remove(number)
                case 2:
                    receipt = story.receipt(number)
                    story.write(Reported(receipt, story.now_us, "hukou", 1, 0))
                    open_numbers.remove(number)
                case 3:
                    story.matched(story.receipt(0, final=False), number)
                    open_numbers.remove(number)
                case 4:
                    story.uncertain(number)
                case 5:
                    story.outcome(number, 3)
                    open_numbers.remove(number)
        if numbers:
            story.receipt(chance.choice(numbers), final=False)
    return numbers


@pytest.mark.parametrize("needles_max", [0, 4, 10_000])
@pytest.mark.parametrize("seed", range(4))
def test_many_in_one_pass_as_each_by_itself(
    seed: int, needles_max: int, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    numbers = live(story, chance, 40)
    alone = {number: [index for index, _ in show(story.evidence, number)] for number in numbers}
    assert max(map(len, alone.values())) > 4
    monkeypatch.setattr(show_module, "_NEEDLES_MAX", needles_max)
    some = chance.sample(numbers, len(numbers) // 3)
    with LogReader(story.evidence) as reader:
        for wanted in (numbers, some, numbers[-1:], []):
            assert indexes_of(reader, wanted) == {number: alone[number] for number in sorted(wanted)}


def test_one_that_is_no_message_is_refused_among_others(story: Story) -> None:
    number = story.accept()
    with LogReader(story.evidence) as reader:
        for other, reason in ((1, "record 1 is a Configured"), (99, "no record 99")):
            with pytest.raises(NoSuchRecord, match=reason):
                indexes_of(reader, [number, other])
