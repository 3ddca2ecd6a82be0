"""What operators see of a running gateway, and what they decide of uncertain parts."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.control import CommandError
from gateway.message import FINAL, QUEUED, UNCERTAIN
from gateway.operator_commands import OperatorCommands
from protocol.smpp.codes import CommandStatus, MessageState
from storage import records
from storage.log import EvidenceLog
from tests.gateway.peers import ApplicationPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, UNICOM, World


class Desk:
    """An operator at a world with two uncertain parts."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._commands = OperatorCommands(
            "gw-1",
            world.turns,
            cast(EvidenceLog, world.log),
            world.accounts,
            world.dispatch,
            world.open_parts,
            world.admission,
            world.pipeline,
            world.message_ids,
        )
        peer = world.connect()
        self.application: ApplicationPeer = world.application()
        self.ids = [self.application.submit(MOBILE), self.application.submit(MOBILE_2)]
        peer.cut()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        answer = self._commands.handlers[command](arguments)
        self.world.settle()
        assert isinstance(answer, dict)
        return answer

    def states(self) -> list[int]:
        return [self.world.part(message_id).state for message_id in self.ids]

    def texts(self) -> list[str]:
        return [message_id.decode() for message_id in self.ids]


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_uncertain_parts_are_listed_oldest_first_without_the_whole_number(desk: Desk) -> None:
    listed = desk.ask("uncertain_list", limit=1)
    assert listed["total"] == 2
    (row,) = listed["parts"]
    assert (row["id"], row["destination"], row["attempts"]) == (desk.texts()[0], "138****8000", 1)
    assert [part["id"] for part in desk.ask("uncertain_list")["parts"]] == desk.texts()


def test_each_part_is_sent_again_once_however_often_it_is_named(desk: Desk) -> None:
    first, second = desk.texts()
    parts = [first, first.upper(), second, first]
    assert desk.ask("uncertain_resend", parts=parts, reason="lost", who="zhang") == {"resent": 2}
    assert desk.states() == [QUEUED, QUEUED]
    peer = desk.world.connect()
    assert [request.destination_addr for request in peer.taken()] == [MOBILE, MOBILE_2]
    action = next(record for record in desk.world.log.read() if isinstance(record, records.OperatorAction))
    numbers = [desk.world.part(message_id).number for message_id in desk.ids]
    assert (action.who, action.action, action.reason, action.numbers) == ("zhang", "resend", "lost", numbers)


def test_each_part_is_closed_once_however_often_it_is_named(desk: Desk) -> None:
    (first, _), (message_id, _) = desk.texts(), desk.ids
    assert desk.ask("uncertain_close", parts=[first, first], reason="old") == {"closed": 1}
    assert desk.states() == [FINAL, UNCERTAIN]
    assert desk.application.reports() == [(message_id, MessageState.UNKNOWN, b"000")]


@pytest.mark.parametrize("command", ["uncertain_resend", "uncertain_close"])
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"reason": " "}, "a reason is needed"),
        ({"parts": ["{0}", "a1b2c300000fffff"]}, "no part a1b2c300000fffff is open here"),
        ({"parts": ["{0}", "nonsense"]}, "no part nonsense is open here"),
        ({"parts": ["{0}", "{final}"]}, "is not uncertain any more: nothing was done"),
        ({"parts": "{0}"}, "Expected `array`"),
        ({"force": True}, "unknown field"),
    ],
)
def test_a_decision_that_is_not_clear_changes_nothing(
    command: str, change: dict[str, Any], refusal: str, desk: Desk
) -> None:
    peer = desk.world.connect()
    final = desk.application.submit(UNICOM).decode()
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", UNICOM))
    first = desk.texts()[0]
    arguments: dict[str, Any] = {"parts": [first], "reason": "lost", **change}
    if isinstance(arguments["parts"], list):
        arguments["parts"] = [each.format(first, final=final) for each in arguments["parts"]]
    before = len(desk.world.log.entries)
    with pytest.raises(CommandError, match=refusal):
        desk.ask(command, **arguments)
    assert desk.states() == [UNCERTAIN, UNCERTAIN]
    assert len(desk.world.log.entries) == before


def test_draining_refuses_what_is_new_and_ends_with_resume(desk: Desk) -> None:
    assert desk.ask("drain", who="zhang") == {"draining": True, "open_parts": 2}
    assert desk.application.ask(submit_sm(MOBILE)).command_status == CommandStatus.ESME_RSYSERR
    assert desk.ask("resume") == {"draining": False}
    assert desk.application.ask(submit_sm(MOBILE)).command_status == CommandStatus.ESME_ROK
    actions = [record for record in desk.world.log.read() if isinstance(record, records.OperatorAction)]
    assert [(action.who, action.action) for action in actions] == [("zhang", "drain"), ("", "resume")]


@pytest.mark.parametrize("command", ["drain", "resume"])
def test_an_argument_that_nobody_knows_steers_nothing(command: str, desk: Desk) -> None:
    desk.world.admission.draining = before = command == "resume"
    with pytest.raises(CommandError, match="unknown field `link`"):
        desk.ask(command, link="cmcc#0")
    assert desk.world.admission.draining is before


def test_the_status_counts_what_there_is(desk: Desk) -> None:
    status = desk.ask("status")
    assert (status["open_parts"], status["uncertain_parts"], status["draining"]) == (2, 2, False)
    assert status["evidence_records"] == len(desk.world.log.entries)
    assert status["accounts"]["hukou"] == {
        "sessions": 1,
        "accepted": 2,
        "refused": 0,
        "reported": 0,
        "outbox": 0,
    }
    assert [(link["link"], link["state"]) for link in status["links"]] == [("cmcc#0", "down")]
