"""The watch of the ledger process: faults are entered once, restored once, and thresholds left for others."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import watch as watch_module
from gateway.alarm_file import ALARMS_NAME, OLD_US, Found, read_alarms, read_found, write_found
from gateway.config import read
from gateway.control_client import ControlError
from gateway.watch import COUNT_S, LAG_US, Watch
from storage.proofs.cosigned import keep
from storage.proofs.note import WITNESS, Note, Signer
from storage.records import LinkEvent, Noted, Started, Stopped
from storage.settlement.alarms import Alarm
from storage.settlement.calendar import moment
from storage.settlement.contract import shipped_text
from tests.storage.settlement.story import NAME, NETWORKS, SIGNER, Story, at

FILE = f"""
[gateway]
name = "{NAME}"
state_dir = "."
[evidence]
master_key_file = "master"
[settlement]
contract_file = "contract.toml"
"""

# Of which the term is far from over.
CONTRACT = f"""{shipped_text()}
[[renewal]]
end = 2029-11-30
document = "续签合同"
"""


class World:
    """A ledger that a story fills, and a gateway that notes what it is asked."""

    def __init__(self, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
        self.story = story
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers = True
        file = story.directory / "gateway.toml"
        file.write_text(FILE)
        self.contract = story.directory / "contract.toml"
        self.contract.write_text(CONTRACT)
        self.watch = Watch(read(file))
        self.now_s = 0.0
        monkeypatch.setattr(watch_module, "request", self.request)

    def request(self, _path: Path, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self.answers:
            raise ControlError("no gateway runs here")
        self.asked.append((command, arguments))
        return {"entered": True, "entry": self.story._driver.log.next_index}

    def link(self, event: str, carrier: str, place: int = 0) -> None:
        self.story.write(LinkEvent(self.story.now_us, carrier, place, event, ""))

    def enter(self, carrier: str) -> int:
        """What the gateway does that is asked to enter a fault."""
        facts = [("what", f"{carrier}: no link is bound"), ("by", "alarm")]
        return self.story.write(Noted(self.story.now_us, "incident", 0, "opened", 1, "ledger", facts))

    def restart(self) -> None:
        self.watch = Watch(self.watch._tables)

    def look(self, when: str, *, behind: bool = False) -> list[tuple[str, dict[str, Any]]]:
        """What is asked of the gateway now. behind: what was written since is not in the ledger yet."""
        if not behind:
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
    entry = world.enter("cmcc")
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
    assert world.look("2026-06-10 11:30:15") == []  # on its way, too
    world.story.write(Noted(world.story.now_us, "incident", entry, "restored", 2, "ledger", []))
    assert world.look("2026-06-10 11:30:20") == []
    # The next one is another fault.
    world.link("down", "cmcc", 0)
    assert [command for command, _ in world.look("2026-06-10 12:00:00")] == ["register_open"]


def test_an_entry_of_before_a_restart_is_known(world: World) -> None:
    world.link("down", "cucc")
    world.enter("cucc")
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
    work = world.story.announced("2026-06-10 08:00:00", "2026-06-10 13:00:00")
    world.story.noted("maintenance", "began", work)
    assert world.look("2026-06-10 12:00:00") == []
    world.story.noted("maintenance", "ended", work)
    world.story.write(Stopped(world.story.now_us, "upgrade"))
    assert world.look("2026-06-10 12:10:00") == []


@pytest.mark.parametrize(
    ("ended", "since"),
    # Announced to 13:00.
    [("2026-06-10 12:30:00", "2026-06-10 12:30:00"), ("", "2026-06-10 13:00:00")],
)
def test_what_is_still_down_after_planned_work_is_a_fault_from_its_end_on(
    ended: str, since: str, world: World
) -> None:
    work = world.story.announced("2026-06-10 11:00:00", "2026-06-10 13:00:00")
    world.story.at("2026-06-10 11:00:00").noted("maintenance", "began", work)
    world.story.at("2026-06-10 11:05:00")
    world.link("down", "cmcc")
    if ended:
        world.story.at(ended).noted("maintenance", "ended", work)
    since_us = at(since)
    assert world.look(moment(since_us + 59_000_000)) == []
    ((_, opened),) = world.look(moment(since_us + 60_000_000))
    assert opened["at_us"] == since_us


def test_a_witness_that_is_silent_for_a_day_is_an_alarm(world: World) -> None:
    witness = Signer("auditor", WITNESS, bytes(32))
    configuration = world.story.directory / "gateway.toml"
    configuration.write_text(
        FILE.replace("[settlement]", f'witnesses = ["{witness.verifier}"]\n[settlement]')
    )
    world.story.at("2026-06-10 09:00:00").sign()
    world.look("2026-06-10 09:00:00")
    (alarm,) = read_alarms(world.story.directory, at("2026-06-10 09:00:00"))
    assert (alarm.name, alarm.detail.split(":")[0]) == ("witness:auditor", "auditor has not cosigned yet")
    note = Note.parse((world.story.proofs / "checkpoint").read_bytes())
    signed_s = at("2026-06-10 09:00:00") // 1_000_000
    cosigned = note.signed_also(witness.sign(note.text, signed_s)).encode()
    assert keep(world.story.proofs, cosigned, SIGNER.verifier, [witness.verifier]) == {"auditor": 6}
    for when, names in (("2026-06-11 11:00:00", []), ("2026-06-11 12:00:01", ["witness:auditor"])):
        world.now_s += COUNT_S
        world.look(when)
        assert left(world, when) == names


def test_a_gateway_that_does_not_answer_is_asked_again(world: World) -> None:
    world.link("down", "cmcc")
    world.answers = False
    with capture_logs() as logs:
        assert world.look("2026-06-10 12:00:00") == world.look("2026-06-10 12:00:10") == []
    assert logs == [
        {
            "event": "the watch cannot look",
            "log_level": "warning",
            "at": "faults",
            "reason": "ControlError: no gateway runs here",
        }
    ]
    world.answers = True
    assert [command for command, _ in world.look("2026-06-10 12:00:20")] == ["register_open"]


# -- a ledger that is behind ---------------------------------------------------------------------------------


def test_a_ledger_that_is_hours_behind_says_nothing_of_now(world: World) -> None:
    world.look("2026-06-10 09:59:00")
    world.story.at("2026-06-10 10:00:00")
    world.link("down", "cmcc")
    world.story.at("2026-06-10 10:02:00")
    world.link("bound", "cucc", 1)
    world.story.project()
    world.story.at("2026-06-10 10:02:10")
    world.link("bound", "cmcc")
    assert world.look("2026-06-10 10:02:31", behind=True) == []
    assert world.look("2026-06-10 13:00:00", behind=True) == []
    assert world.look("2026-06-10 13:00:10") == []


def test_a_ledger_that_is_a_little_behind_is_judged_by_what_it_knows(world: World) -> None:
    world.look("2026-06-10 09:59:00")
    world.story.at("2026-06-10 10:00:00")
    world.link("down", "cmcc")
    world.story.project()
    assert LAG_US == 30_000_000
    world.story.at("2026-06-10 10:00:50")
    world.link("bound", "cucc", 1)
    world.story.project()
    world.link("bound", "cmcc")  # within the minute: no fault, but not known yet
    assert world.look("2026-06-10 10:01:10", behind=True) == []
    world.link("down", "cmcc")
    world.story.at("2026-06-10 10:01:50")
    world.link("down", "cucc", 1)
    world.story.project()
    world.story.at("2026-06-10 10:01:55")
    world.link("bound", "cucc", 1)
    opened = world.look("2026-06-10 10:02:00", behind=True)
    assert [(command, arguments["at_us"]) for command, arguments in opened] == [
        ("register_open", at("2026-06-10 10:00:50"))
    ]


def test_a_restart_within_the_lag_enters_nothing_twice(world: World) -> None:
    world.story.at("2026-06-10 10:00:00")
    world.link("down", "cmcc")
    world.story.at("2026-06-10 10:01:00")
    world.link("bound", "cucc", 1)
    assert [command for command, _ in world.look("2026-06-10 10:01:00")] == ["register_open"]
    world.enter("cmcc")
    world.restart()
    # The ledger is 10 s behind, and has not what the watch asked for before the restart.
    assert world.look("2026-06-10 10:01:10", behind=True) == []
    assert world.look("2026-06-10 10:01:20") == []


def test_a_fault_that_a_person_responds_to_is_still_the_same(world: World) -> None:
    world.link("down", "cmcc")
    entry = world.enter("cmcc")
    facts = [("what", "we have called them")]
    world.story.write(Noted(world.story.now_us, "incident", entry, "responded", 2, "zhang", facts))
    assert world.look("2026-06-10 12:00:00") == []


# -- drained -------------------------------------------------------------------------------------------------


def test_a_carrier_that_an_operator_drains_is_no_fault(world: World) -> None:
    world.link("bound", "cmcc", 1)
    world.story.at("2026-06-10 10:00:00")
    world.link("drained", "cmcc", 0)
    world.story.at("2026-06-10 10:30:00")
    world.link("drained", "cmcc", 1)
    assert world.look("2026-06-10 11:00:00") == []
    # One of them is to be kept up again, and does not come: since then it is a fault.
    world.story.at("2026-06-10 11:00:00")
    world.link("down", "cmcc", 0)
    assert world.look("2026-06-10 11:00:59") == []
    ((command, arguments),) = world.look("2026-06-10 11:01:00")
    assert (command, arguments["at_us"]) == ("register_open", at("2026-06-10 11:00:00"))
    entry = world.enter("cmcc")
    # To drain it mends nothing.
    world.link("drained", "cmcc", 0)
    assert world.look("2026-06-10 11:10:00") == []
    world.link("bound", "cmcc", 1)
    ((command, arguments),) = world.look("2026-06-10 11:20:00")
    assert (command, arguments["entry"]) == ("register_event", entry)


def test_a_link_that_is_lost_beside_one_that_is_drained_is_a_fault(world: World) -> None:
    world.link("drained", "cmcc", 1)
    world.story.at("2026-06-10 11:00:00")
    world.link("down", "cmcc", 0)
    ((_, arguments),) = world.look("2026-06-10 11:01:00")
    assert arguments["at_us"] == at("2026-06-10 11:00:00")


# -- thresholds ----------------------------------------------------------------------------------------------


def left(world: World, when: str) -> list[str]:
    return [alarm.name for alarm in read_alarms(world.story.directory, at(when))]


def test_thresholds_are_counted_every_hour_and_left_in_a_file(world: World) -> None:
    world.story.at("2026-06-10 08:30:00").complain(7)
    world.look("2026-06-10 09:00:00")
    assert read_found(world.story.directory).made_us == at("2026-06-10 09:00:00")
    world.story.at("2026-06-10 09:00:00").complain()
    world.look("2026-06-10 09:30:00")
    assert left(world, "2026-06-10 09:30:00") == []
    world.now_s += COUNT_S
    with capture_logs() as logs:
        world.look("2026-06-10 10:00:00")
        world.now_s += COUNT_S
        world.look("2026-06-10 11:00:00")
    assert left(world, "2026-06-10 11:00:00") == ["complaints"]
    assert [log["alarm"] for log in logs] == ["complaints"]  # once


def test_a_contract_that_cannot_be_read_keeps_no_fault_from_being_entered(world: World) -> None:
    world.link("down", "cmcc")
    world.contract.write_text("[contract")
    with capture_logs() as logs:
        assert [command for command, _ in world.look("2026-06-10 12:00:00")] == ["register_open"]
        world.look("2026-06-10 12:00:10")
    warnings = [log for log in logs if log["log_level"] == "warning"]
    assert [(log["at"], log["reason"].split(":")[0]) for log in warnings] == [("thresholds", "ContractError")]
    world.contract.write_text(CONTRACT)
    world.look("2026-06-10 12:00:20")  # it is read again at once
    assert read_found(world.story.directory).made_us == at("2026-06-10 12:00:20")


def test_a_contract_that_a_reload_has_named_counts_without_a_restart(world: World) -> None:
    (world.story.directory / "amended.toml").write_text(
        CONTRACT.replace("complaints_at = 8 ", "complaints_at = 7 ")
    )
    world.story.at("2026-06-10 08:30:00").complain(7)
    world.look("2026-06-10 09:00:00")
    assert left(world, "2026-06-10 09:00:00") == []
    (world.story.directory / "gateway.toml").write_text(FILE.replace("contract.toml", "amended.toml"))
    world.now_s += COUNT_S
    world.look("2026-06-10 10:00:00")
    assert left(world, "2026-06-10 10:00:00") == ["complaints"]


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("disk I/O error"), KeyError("cmcc"), OSError(28, "full")]
)
def test_what_fails_while_it_counts_is_said_once_and_waits_its_hour(
    error: Exception, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = 0

    def count(*_: object) -> list[Alarm]:
        nonlocal counts
        counts += 1
        raise error

    monkeypatch.setattr(watch_module, "alarms", count)
    with capture_logs() as logs:
        world.look("2026-06-10 12:00:00")
        world.look("2026-06-10 12:00:10")
        assert counts == 1
        world.now_s += COUNT_S
        world.look("2026-06-10 13:00:10")
    assert counts == 2
    assert {log["event"] for log in logs} == {"the watch cannot look"}
    assert read_found(world.story.directory).made_us == 0
    world.link("down", "cmcc")
    assert [command for command, _ in world.look("2026-06-10 14:00:00")] == ["register_open"]


def test_the_thread_outlives_whatever_goes_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = threading.Semaphore(0)

    def fail(*_: object) -> None:
        looks.release()
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(watch_module, "read_ledger", fail)
    monkeypatch.setattr(watch_module, "LOOK_S", 0.001)
    with capture_logs() as logs, world.watch:
        assert all(looks.acquire(timeout=5) for _ in range(7))  # three for each look
    assert [log["reason"] for log in logs] == ["OperationalError: disk I/O error"]


def test_a_full_disk_is_said_once_and_counts_no_more_often(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.story.at("2026-06-10 08:30:00").complain(8)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(watch_module, "write_found", full)
        world.look("2026-06-10 09:00:00")
        world.look("2026-06-10 09:00:10")
    assert [log["event"] for log in logs] == ["the watch cannot look", "alarm"]
    # What was found stands in the file as soon as there is room.
    world.look("2026-06-10 09:00:20")
    assert left(world, "2026-06-10 09:00:20") == ["complaints"]


def test_the_clocks_of_faults_are_looked_at_each_time(world: World) -> None:
    entry = world.story.at("2026-06-10 10:00:00").entered("incident", what="no receipts", by="a")
    world.look("2026-06-10 10:29:00")
    assert left(world, "2026-06-10 10:29:00") == []
    world.look("2026-06-10 10:29:10")
    assert left(world, "2026-06-10 10:29:10") == [f"incident:{entry}"]
    world.story.at("2026-06-10 10:29:30").noted("incident", "responded", entry)
    # Of a ledger that is behind nothing is said, and what was said stands.
    world.look("2026-06-10 10:40:00", behind=True)
    assert left(world, "2026-06-10 10:40:00") == [f"incident:{entry}"]
    world.look("2026-06-10 10:40:10")
    assert left(world, "2026-06-10 10:40:10") == []


def test_what_was_said_before_a_restart_is_not_said_again(world: World) -> None:
    world.story.at("2026-06-10 08:30:00").complain(8)
    with capture_logs() as logs:
        world.look("2026-06-10 09:00:00")
        world.restart()
        world.look("2026-06-10 09:01:00")
    assert [log["alarm"] for log in logs] == ["complaints"]


SOON = Alarm("term:7", "the term ends soon")
FAULT = Alarm("incident:7", "fault 7")
MADE_US = at("2026-06-10 09:00:00")


@pytest.mark.parametrize(
    ("found", "later_us", "expected"),
    [
        (Found(), OLD_US + 1, []),
        (Found(MADE_US, (SOON,), MADE_US, (FAULT,)), OLD_US, [SOON, FAULT]),
        (
            Found(MADE_US, (SOON,), MADE_US, (FAULT,)),
            OLD_US + 1,
            [Alarm("watch", "nobody has looked at thresholds since 2026-06-10 09:00:00")],
        ),
        (
            Found(MADE_US, (SOON,), MADE_US + 1, (FAULT,)),
            OLD_US + 1,
            [Alarm("watch", "nobody has looked at thresholds since 2026-06-10 09:00:00"), FAULT],
        ),
        (Found(0, (), MADE_US, (FAULT,)), 0, [FAULT]),
    ],
)
def test_what_is_old_is_not_shown(found: Found, later_us: int, expected: list[Alarm], tmp_path: Path) -> None:
    write_found(tmp_path, found)
    assert read_alarms(tmp_path, MADE_US + later_us) == expected


@pytest.mark.parametrize("octets", [None, b"[{", b'[{"name":"term","detail":"soon"}]'])
def test_a_file_that_is_missing_or_damaged_says_nothing(octets: bytes | None, tmp_path: Path) -> None:
    if octets is not None:
        (tmp_path / ALARMS_NAME).write_bytes(octets)
    assert read_alarms(tmp_path, MADE_US) == []
