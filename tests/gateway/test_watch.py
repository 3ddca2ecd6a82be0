"""The watch of the ledger process: faults are entered once, restored once, and thresholds left for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway import watch as watch_module
from gateway.alarm_file import ALARMS_NAME, read_alarms, write_alarms
from gateway.config import read
from gateway.control_client import ControlError
from gateway.watch import COUNT_S, Watch
from storage.records import LinkEvent, Noted, Started, Stopped
from storage.settlement.alarms import Alarm
from tests.storage.settlement.story import NAME, NETWORKS, Story, at

FILE = f"""
[gateway]
name = "{NAME}"
state_dir = "."
[evidence]
master_key_file = "master"
"""


class World:
    """A ledger that a story fills, and a gateway that notes what it is asked."""

    def __init__(self, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
        self.story = story
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers = True
        file = story.directory / "gateway.toml"
        file.write_text(FILE)
        self.watch = Watch(read(file))
        self.now_s = 0.0
        monkeypatch.setattr(watch_module, "request", self.request)

    def request(self, _path: Path, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self.answers:
            raise ControlError("no gateway runs here")
        self.asked.append((command, arguments))
        return {"entered": True, "entry": 77}

    def link(self, event: str, carrier: str, place: int = 0) -> None:
        self.story.write(LinkEvent(self.story.now_us, carrier, place, event, ""))

    def look(self, when: str) -> list[tuple[str, dict[str, Any]]]:
        """What is asked of the gateway now."""
        self.story.project()
        self.asked.clear()
        self.now_s += 10
        self.watch.look(at(when), self.now_s)
        return list(self.asked)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    story = Story(tmp_path, "2026-06-10 08:00:00")
    story.write(Started(story.now_us, NAME, "0.1.0", bytes(32), "host 1"))
    world = World(story, monkeypatch)
    story.at("2026-06-10 08:00:01")
    for carrier in NETWORKS:
        world.link("bound", carrier)
    return world


def test_a_carrier_without_a_link_is_a_fault_until_it_is_bound_again(world: World) -> None:
    world.link("bound", "cmcc", 1)
    world.story.at("2026-06-10 10:00:00")
    world.link("down", "cmcc", 0)
    assert world.look("2026-06-10 11:00:00") == []  # the other is still there
    world.story.at("2026-06-10 11:00:00")
    world.link("parked", "cmcc", 1)
    assert world.look("2026-06-10 11:00:59") == []
    opened = {
        "who": "ledger",
        "register": "incident",
        "facts": {"what": "cmcc: no link is bound", "by": "alarm"},
        "at_us": at("2026-06-10 11:00:00"),
    }
    assert world.look("2026-06-10 11:01:00") == [("register_open", opened)]
    assert world.look("2026-06-10 11:01:10") == []  # it is on its way into the ledger
    facts = list(opened["facts"].items())  # type: ignore[attr-defined]
    entry = world.story.write(Noted(at("2026-06-10 11:01:00"), "incident", 0, "opened", 1, "ledger", facts))
    assert world.look("2026-06-10 11:01:20") == []
    world.story.at("2026-06-10 11:30:00")
    world.link("bound", "cmcc", 0)
    restored = {
        "who": "ledger",
        "register": "incident",
        "entry": entry,
        "event": "restored",
        "facts": {"what": "cmcc: a link is bound again"},
    }
    assert world.look("2026-06-10 11:30:10") == [("register_event", restored)]
    world.story.write(Noted(world.story.now_us, "incident", entry, "restored", 2, "ledger", []))
    assert world.look("2026-06-10 11:30:20") == []
    # The next one is another fault.
    world.link("down", "cmcc", 0)
    assert [command for command, _ in world.look("2026-06-10 12:00:00")] == ["register_open"]


def test_an_entry_of_before_a_restart_is_known(world: World) -> None:
    world.link("down", "cucc")
    facts = [("what", "cucc: no link is bound"), ("by", "alarm")]
    world.story.write(Noted(world.story.now_us, "incident", 0, "opened", 1, "ledger", facts))
    assert world.look("2026-06-10 12:00:00") == []
    # One that a person has opened in the same words is not the watch's.
    world.link("down", "ctcc")
    by_hand = [("what", "ctcc: no link is bound"), ("by", "a")]
    world.story.write(Noted(world.story.now_us, "incident", 0, "opened", 1, "zhang", by_hand))
    assert [command for command, _ in world.look("2026-06-10 12:00:10")] == ["register_open"]


def test_carriers_that_never_bound_since_the_start(world: World) -> None:
    world.story.at("2026-06-10 20:00:00")
    world.story.write(Started(world.story.now_us, NAME, "0.1.0", bytes(32), "host 1"))
    world.link("bound", "cmcc")
    down = {arguments["facts"]["what"] for _, arguments in world.look("2026-06-10 20:01:00")}
    assert down == {f"{carrier}: no link is bound" for carrier in ("cucc", "ctcc", "cbn")}


def test_what_is_planned_or_stopped_is_no_fault(world: World) -> None:
    world.link("down", "cmcc")
    work = world.story.noted("maintenance")
    world.story.noted("maintenance", "began", work)
    assert world.look("2026-06-10 12:00:00") == []
    world.story.noted("maintenance", "ended", work)
    world.story.write(Stopped(world.story.now_us, "upgrade"))
    assert world.look("2026-06-10 12:10:00") == []


def test_a_gateway_that_does_not_answer_is_asked_again(world: World) -> None:
    world.link("down", "cmcc")
    world.answers = False
    with pytest.raises(ControlError):
        world.look("2026-06-10 12:00:00")
    world.answers = True
    assert [command for command, _ in world.look("2026-06-10 12:00:10")] == ["register_open"]


def test_thresholds_are_counted_every_hour_and_left_in_a_file(world: World) -> None:
    world.story.at("2026-06-10 08:30:00").complain(8)
    world.look("2026-06-10 09:00:00")
    state_dir = world.story.directory
    names = ["complaints"]
    assert [alarm.name for alarm in read_alarms(state_dir)] == names
    write_alarms(state_dir, [])
    world.look("2026-06-10 09:30:00")
    assert read_alarms(state_dir) == []
    world.now_s += COUNT_S
    world.look("2026-06-10 10:00:00")
    assert [alarm.name for alarm in read_alarms(state_dir)] == names


def test_a_file_that_is_missing_or_damaged_says_nothing(tmp_path: Path) -> None:
    assert read_alarms(tmp_path) == []
    write_alarms(tmp_path, [Alarm("term", "soon")])
    assert read_alarms(tmp_path) == [Alarm("term", "soon")]
    (tmp_path / ALARMS_NAME).write_bytes(b"[{")
    assert read_alarms(tmp_path) == []
