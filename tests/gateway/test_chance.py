"""Two carriers, four subscribers and chance: whatever happens, every message ends once, and nothing leaves
twice that may not.

What happens is drawn from a seed: submissions in all modes and lengths, answers of every kind, receipts that
are early, late, doubled or failing, links that break and come back, time.  After each step the evidence
contradicts nothing (`World.settle`), and a restart at some of them would find the same.  In the end carriers
and applications behave, and what is still open must come to its end.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from gateway.config import RouteTable
from gateway.message import DATAGRAM, DISPATCHED, FINAL, QUEUED, TRANSACTION
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import CancelSm, ReplaceSm, SubmitSm, SubmitSmResp
from storage import records
from storage.seal import Sealer
from tests.gateway.histories_of_attempts import LONG, own_part
from tests.gateway.peers import SOURCE, ApplicationPeer, CarrierPeer, receipt, submit_sm
from tests.gateway.test_recovery import held_by, knowledge_of_parts, knowledge_of_places, parts_of
from tests.gateway.world import World, account, carrier

STEPS = 60
SUBSCRIBERS = (b"13800138000", b"13900139000", b"13800138001", b"13000130000")  # the last one is Unicom's
STATUSES = (0,) * 8 + (
    CommandStatus.ESME_RTHROTTLED,
    CommandStatus.ESME_RMSGQFUL,
    CommandStatus.ESME_RSYSERR,
    CommandStatus.ESME_RX_T_APPN,
    CommandStatus.ESME_RINVDSTADR,
    CommandStatus.ESME_RSUBMITFAIL,
)
STATS = (b"DELIVRD",) * 4 + (
    b"UNDELIV",
    b"MB:0008",
    b"MB:1049",
    b"MB:1044",
    b"MK:0001",
    b"ENROUTE",
    b"MB:1070",
)
# What the gateway itself may say.
REFUSALS = (CommandStatus.ESME_RTHROTTLED, CommandStatus.ESME_RMSGQFUL, CommandStatus.ESME_RINVEXPIRY)
WAITS_S = (0.0, 0.1, 0.25, 1.0, 2.5, 5.0, 11.0, 35.0)


class Play:
    """One world, and what is drawn for it."""

    def __init__(self, sealer: Sealer, seed: int, uncertain: str) -> None:
        self.chance = random.Random(seed)
        self.sealer = sealer
        self.settings: dict[str, Any] = {
            "accounts": (account(uncertain=uncertain, lanes=("emergency", "interactive", "bulk")),),
            "carriers": (
                carrier("a", window=self.chance.choice((2, 5)), sessions=2, message_payload=seed % 2 == 0),
                carrier("b", "unicom", window=4, message_payload=False),
            ),
            "routes": (
                RouteTable(network="mobile", carriers=("a", "b"), weights=(2, 1)),
                RouteTable(network="unicom", carriers=("b",)),
            ),
        }
        self.world = World(sealer, **self.settings)
        self.peers: dict[tuple[str, int], CarrierPeer] = {}
        self.requests: list[tuple[tuple[str, int], SubmitSm]] = []  # that no carrier has answered
        self.taken: list[tuple[str, bytes, bytes]] = []  # carrier, its id, the subscriber
        self.ids = 0
        self.asked: dict[int, SubmitSm] = {}  # by sequence number
        self.messages: list[bytes] = []
        self.heard: Counter[bytes] = Counter()  # final reports by message id
        self.application = self._bind()
        for place in (("a", 0), ("a", 1), ("b", 0)):
            self._connect(place)

    def _bind(self) -> ApplicationPeer:
        return self.world.application()

    def _connect(self, place: tuple[str, int]) -> None:
        if place not in self.peers:
            self.peers[place] = self.world.connect(*place)

    # -- what may happen ------------------------------------------------------------------------------------

    def submit(self) -> None:
        chance = self.chance
        for _ in range(chance.randint(1, 3)):
            fields: dict[str, Any] = {
                "priority_flag": chance.choice((0, 0, 2, 3)),
                "esm_class": chance.choice((0, 0, 0, 0, DATAGRAM, TRANSACTION)),
                "validity_period": chance.choice((b"", b"", b"000000000100000R")),
                "schedule_delivery_time": chance.choice((b"", b"", b"", b"000000000020000R")),
            }
            subscriber = chance.choice(SUBSCRIBERS)
            if chance.random() < 0.2:
                pdu = submit_sm(subscriber, **{**fields, **LONG})
            elif chance.random() < 0.2:
                pdu = own_part(chance.randint(1, 3), 3, chance.randint(0, 3), subscriber)
            else:
                pdu = submit_sm(subscriber, **fields)
            self.asked[self.application.say(pdu)] = pdu
        self.world.settle()

    def answer(self) -> None:
        for _ in range(min(len(self.requests), self.chance.randint(1, 4))):
            place, request = self.requests.pop(self.chance.randrange(len(self.requests)))
            self._answer(place, request, self.chance.choice(STATUSES))

    def _answer(self, place: tuple[str, int], request: SubmitSm, status: int) -> None:
        self.ids += 1
        carrier_id = b"%d" % self.ids if self.chance.random() < 0.9 else b""
        if not status and carrier_id:
            self.taken.append((place[0], carrier_id, request.destination_addr))
            doubtful = any(part.doubts for part in self.world.open_parts.open.values())
            if self.chance.random() < 0.1 and not doubtful:  # which might be taken for its part
                self._deliver(*self.taken[-1])  # before the response
        peer = self.peers.get(place)
        if peer is not None and not peer.wire.closing:
            peer.answer(request, carrier_id, status)

    def deliver(self) -> None:
        for _ in range(min(len(self.taken), self.chance.randint(1, 3))):
            self._deliver(*self.chance.choice(self.taken))

    def _deliver(self, name: str, carrier_id: bytes, subscriber: bytes, stat: bytes = b"") -> None:
        places = [place for place in self.peers if place[0] == name]
        if places:
            pdu = receipt(carrier_id, subscriber, stat or self.chance.choice(STATS))
            self.peers[self.chance.choice(places)].deliver(pdu)

    def lose(self) -> None:
        if self.peers:
            place = self.chance.choice(sorted(self.peers))
            self._collect()
            self.peers.pop(place).cut()
            self.requests = [each for each in self.requests if each[0] != place]

    def come_back(self) -> None:
        self._connect(self.chance.choice((("a", 0), ("a", 1), ("b", 0))))

    def pass_time(self) -> None:
        self.world.wait(self.chance.choice(WAITS_S))

    def recall(self) -> None:
        if self.messages:
            wish: Any = CancelSm(message_id=self.chance.choice(self.messages), source_addr=SOURCE)
            if self.chance.random() < 0.5:
                wish = ReplaceSm(
                    message_id=wish.message_id,
                    source_addr=SOURCE,
                    registered_delivery=1,
                    short_message=b"new",
                )
            self.application.ask(wish)

    # -- after each step ------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Take what has come to everybody."""
        for place, peer in list(self.peers.items()):
            if peer.wire.closing:
                del self.peers[place]
                self.requests = [each for each in self.requests if each[0] != place]
                continue
            self.requests += [(place, request) for request in peer.taken()]
        for response in self.application.take(SubmitSmResp):
            pdu = self.asked.pop(response.sequence_number)  # one response each, or this raises
            if not response.command_status:
                self.messages.append(response.message_id)
            elif response.command_status not in REFUSALS:
                assert pdu.esm_class & 3 == TRANSACTION  # the status of a carrier, or that there is none
        for message_id, state, _ in self.application.reports():
            self.heard[message_id] += state not in (0, 1)

    def step(self) -> None:
        happens = self.chance.choice(
            (self.submit,) * 3
            + (self.answer,) * 4
            + (self.deliver,) * 3
            + (self.pass_time,) * 3
            + (self.lose, self.come_back, self.come_back, self.recall)
        )
        happens()
        self._collect()
        self.world.settle()

    def check_restart(self) -> None:
        """A gateway that finds this evidence knows what this one knows."""
        found = World(self.sealer, found=self.world.log.entries, now=self.world.turns.now, **self.settings)
        cut_off = {part.number for part in found.restore()}
        found.pipeline.resend_as_configured()
        ours, theirs = facts(self.world), facts(found)
        assert theirs == ours
        assert cut_off == {
            part.number for part in self.world.open_parts.open.values() if part.state == DISPATCHED
        }

    def behave(self) -> None:
        """From now on everybody does what they should, and time goes on until all has ended."""
        for place in (("a", 0), ("a", 1), ("b", 0)):
            self._connect(place)
        for wait_s in (0.0, *(1.0,) * 40, *(60.0,) * 20, *(21_600.0,) * 30):
            self.world.wait(wait_s)
            for place in (("a", 0), ("a", 1), ("b", 0)):
                self._connect(place)
            self._collect()
            while self.requests:
                place, request = self.requests.pop()
                self._answer(place, request, 0)
                if self.taken and self.taken[-1][1] == b"%d" % self.ids:
                    self._deliver(*self.taken[-1], stat=b"DELIVRD")
                self._collect()


def facts(world: World) -> dict[str, Any]:
    """What two gateways must agree on: after a hand-over a part is at its new carrier in the evidence when it
    leaves, and not before."""
    known = knowledge_of_parts(world)
    places = knowledge_of_places(world)
    for part in parts_of(world):
        if part.state == QUEUED or (part.state == FINAL and not part.carrier_id):
            del known[f"part {part.number}"]["carrier"]
    for name in world.dispatch.carriers:
        del places[f"queue of {name}"]
    queued = [
        part.number
        for owner in world.dispatch.carriers.values()
        for part in held_by(owner)
        if part.state == QUEUED
    ]
    return {**known, **places, "queued": sorted(queued)}


def check_evidence(world: World, *, resends: bool) -> None:
    """Nothing left again of which an attempt was uncertain, unless its account wishes so; nothing that a
    carrier has."""
    doubtful: set[int] = set()
    ends: Counter[int] = Counter()
    for record in world.log.read():
        match record:
            case records.Dispatched(intents=intents):
                numbers = [number for _, _, each in intents for number in each]
                assert len(numbers) == len(set(numbers))
                assert resends or not doubtful & set(numbers)
            case records.Uncertain(numbers=numbers):
                doubtful.update(numbers)
            case (
                records.Refused(number=number, moot=False, in_doubt=False) | records.Postponed(number=number)
            ):
                doubtful.discard(number)
        match record:
            case records.Refused(number=number, final=True) | records.Outcome(number=number):
                ends[number] += 1
            case records.Receipt(number=number, final=True) | records.Matched(number=number, final=True):
                ends[number] += 1
    assert set(ends.values()) <= {1}
    accepted = [index for index, each in enumerate(world.log.read(), 1) if isinstance(each, records.Accepted)]
    assert sorted(ends) == accepted


@pytest.mark.parametrize("uncertain", ["wait", "resend"])
@pytest.mark.parametrize("seed", range(12))
def test_every_message_ends_once_and_none_leaves_twice(seed: int, uncertain: str, sealer: Sealer) -> None:
    play = Play(sealer, seed, uncertain)
    for step in range(STEPS):
        play.step()
        if step % 6 == 0:
            play.check_restart()
    assert play.messages
    play.behave()
    world = play.world
    assert world.open_parts.open == {}
    assert world.open_parts.body_octets == 0
    check_evidence(world, resends=uncertain == "resend")
    assert play.asked == {}  # each request has been answered, and once
    for message_id in play.messages:
        assert play.heard[message_id] == 1, message_id
    assert set(play.heard) <= set(play.messages) | transactions_without_an_answer(world)
    for owner in world.dispatch.carriers.values():
        assert [part.state for part in held_by(owner) if part.state == QUEUED] == []
        assert [link.reserved for link in owner.links] == [0] * len(owner.links)


def transactions_without_an_answer(world: World) -> set[bytes]:
    """Ids of messages that were taken after all, though their application was told that nobody knows."""
    return {
        world.message_ids.text(index)
        for index, record in enumerate(world.log.read(), 1)
        if isinstance(record, records.Accepted) and record.flags & records.FLAG_TRANSACTION
    }
