"""A crash after every record of every history: what a restart finds is what operation had.

A history is played once, and what the gateway knows is noted after each turn and before each further record
of a turn.  Then, for every number of records from none to all, a new gateway is given so many, and must come
to know the same: the parts, where they wait, by which ids they are known, and which reports are owed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from gateway.carrier import Carrier
from gateway.message import DISPATCHED, FINAL, QUEUED, SENT, UNCERTAIN, Group, Part
from gateway.recovery import Fold
from gateway.reporting import NO_SESSION
from gateway.routes import Routes
from gateway.upkeep import REFILL_RETRY_S
from protocol.smpp.codec import encode
from protocol.smpp.codes import MessageState
from protocol.smpp.pdu import DataSm, EnquireLink
from storage import records
from storage.seal import Sealer
from tests.gateway.histories import HISTORIES as HISTORIES_OF_MESSAGES
from tests.gateway.histories import History
from tests.gateway.histories_of_attempts import HISTORIES_OF_ATTEMPTS
from tests.gateway.histories_of_replies import HISTORIES_OF_REPLIES, knowledge_of_replies
from tests.gateway.peers import SOURCE, receipt
from tests.gateway.world import MOBILE, World
from tests.gateway.world import account as account_config
from tests.gateway.world import carrier as carrier_config

Knowledge = dict[str, Any]
HISTORIES = (*HISTORIES_OF_MESSAGES, *HISTORIES_OF_ATTEMPTS, *HISTORIES_OF_REPLIES)

histories = pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name)


def parts_of(world: World) -> list[Part]:
    return sorted(
        (*world.open_parts.open.values(), *world.open_parts._finished.values()), key=lambda part: part.number
    )


def held_by(carrier: Carrier) -> list[Part]:
    """What waits for a carrier, wherever that is."""
    returned = filter(carrier.queues.waits, carrier.returned)
    bodiless = [part for part, retry in carrier.bodiless if part.postponed == retry]
    return [*carrier.parts(), *returned, *bodiless]


def group_facts(group: Group | None) -> object:
    """What is known of a text that the gateway cut; the way of one that an application cut is not in the
    evidence."""
    if group is None or not group.first:
        return None
    return group.first, group.cut_into, group.delivered, group.reported


def knowledge_of_parts(world: World) -> Knowledge:
    """Every fact about every part."""
    known: Knowledge = {}
    for part in parts_of(world):
        facts = msgspec.structs.asdict(part)
        facts.update(account=part.account.name, carrier=part.carrier.name)
        facts["earlier_ids"] = [(carrier.name, carrier_id) for carrier, carrier_id in part.earlier_ids]
        facts["group"] = group_facts(part.group)
        facts["begun"] = part.group.begun if part.group is not None else 0
        if part.expires_us:  # it is written anew when the part leaves, with what is left of its validity
            facts["body"] = bool(part.body)
        if part.state == QUEUED and part.postponed:  # it may have been taken, and be in the evidence alone
            del facts["body"]
        del facts["queued_us"]  # after a restart a part waits since it was accepted, or had rested
        del facts["left"]  # by the clock of a process that is gone
        known[f"part {part.number}"] = facts
    return known


def knowledge_of_places(world: World) -> Knowledge:
    """Where parts wait (in no order: a restart restores it) and are found; which receipts wait for a part;
    which reports are owed, be they on their way to the disk still."""
    known: Knowledge = knowledge_of_replies(world)
    for carrier in world.dispatch.carriers.values():
        correlation = carrier.correlation
        waiting = [part.number for part in held_by(carrier) if part.state == QUEUED]
        known[f"queue of {carrier.name}"] = sorted(waiting)
        known[f"uncertain at {carrier.name}"] = sorted(part.number for part in correlation.uncertain_parts())
        known[f"ids of {carrier.name}"] = {key: part.number for key, part in correlation._by_id.items()}
        known[f"receipts waiting at {carrier.name}"] = {
            each.index: msgspec.structs.asdict(each) for each in correlation._waiting.values()
        }
    for account in world.accounts.values():
        outbox = account.outbox
        owed = {report.index for report in (*outbox.ready, *outbox.in_flight.values()) if not report.answered}
        owed |= {report.index for _, _, report in outbox._delayed} | set(outbox._behind)
        for effects in world.unreleased():
            owed |= {report.index for owner, report in effects.reports if owner is account}
        known[f"owed to {account.name}"] = owed
    return known


def facts_of(fold: Fold) -> Knowledge:
    """What a fold says of open parts."""
    return {
        str(number): {**msgspec.structs.asdict(fate), "group": group_facts(fate.group)}
        for number, fate in fold.open.items()
    }


class Witness:
    """What was known when so many records were written."""

    def __init__(self, world: World) -> None:
        self.parts: dict[int, Knowledge] = {}
        self.places: dict[int, Knowledge] = {}
        self.low_water: dict[int, int] = {}  # the highest
        self.bodies: dict[int, tuple[bytes, int]] = {}  # of the reports, by the index of their record
        self._world = world
        world.on_still = self._still
        world.log.on_append = self._append

    def _append(self) -> None:
        self.parts.setdefault(len(self._world.log.entries), knowledge_of_parts(self._world))

    def _still(self) -> None:
        written = len(self._world.log.entries)
        self.parts[written] = knowledge_of_parts(self._world)
        self.places[written] = knowledge_of_places(self._world)
        self.low_water[written] = max(self.low_water.get(written, 1), self._world.upkeep._low_water())
        for effects in self._world.unreleased():
            self.bodies.update((report.index, (report.body, report.tlvs_at)) for _, report in effects.reports)


def crashes(history: History, sealer: Sealer) -> Iterator[tuple[int, Witness, World]]:
    """For every prefix of the history's records: its length, what was known, and a gateway that finds it."""
    world = history.world(sealer)
    witness = Witness(world)
    history.script(world)
    assert not world.log.faults()
    for written in range(1, len(world.log.entries) + 1):
        yield written, witness, history.world(sealer, found=world.log.entries[:written], now=world.turns.now)


@histories
def test_a_restart_knows_what_operation_knew(history: History, sealer: Sealer) -> None:
    for written, witness, world in crashes(history, sealer):
        cut_off = world.restore()
        assert cut_off == [part for part in parts_of(world) if part.state == DISPATCHED]
        found = knowledge_of_parts(world)
        world.pipeline.resend_as_configured()  # which operation does before its turn ends, without a record
        if written in witness.places:
            assert knowledge_of_parts(world) == witness.parts[written], written
            assert knowledge_of_places(world) == witness.places[written], written
        else:
            assert witness.parts[written] in (found, knowledge_of_parts(world)), written


@histories
def test_a_restart_rebuilds_the_reports_octet_by_octet(history: History, sealer: Sealer) -> None:
    rebuilt = set()
    for _, witness, world in crashes(history, sealer):
        world.restore()
        for account in world.accounts.values():
            for report in world.rebuilder.rebuild(account, account.outbox.next_behind(1000)).reports:
                assert (report.body, report.tlvs_at) == witness.bodies[report.index]
                rebuilt.add(report.index)
    assert rebuilt == set(witness.bodies)


@histories
def test_a_restart_goes_on_and_ends_every_part_once(history: History, sealer: Sealer) -> None:
    """What was cut off is uncertain or on its way again, also in the evidence; nothing is in two places."""
    for written, _, world in crashes(history, sealer):
        cut_off = world.restore()
        world.pipeline.cut_off(cut_off)
        world.pipeline.resend_as_configured()
        world.turns.schedule()
        world.settle()
        for part in cut_off:  # a receipt that waited may have told the fate of some
            resends = part.account.config.uncertain == "resend"
            assert part.state in (QUEUED if resends else UNCERTAIN, SENT, FINAL), written
        waiting = [
            part.number
            for carrier in world.dispatch.carriers.values()
            for part in held_by(carrier)
            if part.state == QUEUED
        ]
        assert sorted(waiting) == [part.number for part in parts_of(world) if part.state == QUEUED]
        for name in world.dispatch.carriers:
            if any(carrier.queues for carrier in world.dispatch.carriers.values()):
                for request in world.connect(name).taken():
                    assert request.short_message


@histories
def test_what_stands_before_the_low_water_mark_is_not_needed(history: History, sealer: Sealer) -> None:
    for written, witness, world in crashes(history, sealer):
        if written in witness.low_water:
            start = witness.low_water[written]
            world.restore()
            fold = Fold()
            fold.read(enumerate(world.log.entries[start - 1 :], start))
            assert facts_of(fold) == facts_of(world.fold), written
            assert fold.unreported == world.fold.unreported, written
            assert fold.replies == world.fold.replies, written
            for name in world.dispatch.carriers:
                waiting = witness.places[written][f"receipts waiting at {name}"]
                assert set(waiting) <= set(fold.waiting), written


def test_a_second_crash_finds_what_the_first_restart_wrote(sealer: Sealer) -> None:
    """Recovery writes through the same records as operation, so it may be cut off like operation."""
    for history in HISTORIES:
        for written, _, world in crashes(history, sealer):
            world.pipeline.cut_off(world.restore())
            world.pipeline.resend_as_configured()
            world.turns.schedule()
            world.settle()
            again = history.world(sealer, found=world.log.entries, now=world.turns.now)
            assert again.restore() == [], written
            again.pipeline.resend_as_configured()
            assert knowledge_of_parts(again) == knowledge_of_parts(world), written
            assert knowledge_of_places(again) == knowledge_of_places(world), written


def test_a_fold_skips_what_belongs_to_parts_that_it_does_not_know(world: World) -> None:
    """A restart begins at the low-water mark: records behind it may speak of parts before it."""
    strangers = [
        records.Dispatched(1, [("cmcc", 0, [99])]),
        records.Withdrawn(1, [99], "down"),
        records.Sent(99, 1, 0, b"17"),
        records.Refused(99, 1, 0, 0x58, True),
        records.Uncertain(1, [99], 0, "down"),
        records.Receipt(1, 99, "cmcc", 0, b"17", 2, b"", b"", b"", b"", True, b"", b""),
        records.Matched(1, 98, 99, "exact", True),
        records.Outcome(99, 1, 3, b"", "gateway", "expired", ""),
        records.Replaced(99, 1, b""),
        records.Reported(98, 1, "hukou", 1, 0),
        records.OperatorAction(1, "zhang", "resend", "", [99]),
    ]
    world.fold.read(enumerate((records.encode(record) for record in strangers), 100))
    assert (world.fold.open, world.fold.finished, world.fold.waiting, world.fold.unreported) == (
        {},
        {},
        {},
        {},
    )


def test_what_was_queued_for_a_carrier_that_is_gone_goes_another_way(sealer: Sealer) -> None:
    """And stays there: its receipt is found after one more restart."""
    carriers = carrier_config("new"), carrier_config("old")
    before = World(sealer, carriers=carriers[1:])
    before.application().submit(MOBILE)
    both = World(sealer, carriers=carriers, found=before.log.entries)
    both.restore()
    both.pipeline.detours.reroute(both.dispatch.carriers["old"])
    both.turns.schedule()
    both.connect("new").take_one(b"17")
    after = World(sealer, carriers=carriers, found=both.log.entries)
    after.restore()
    after.connect("new").deliver(receipt(b"17", MOBILE))
    assert [part.message_state for part in parts_of(after)] == [MessageState.DELIVERED]


def test_what_was_queued_for_a_carrier_that_is_gone_ends_when_there_is_no_other_way(sealer: Sealer) -> None:
    old, new = carrier_config("old"), carrier_config("new", "unicom")
    before = World(sealer, carriers=(old, new))
    message_id = before.application().submit(MOBILE)
    after = World(sealer, carriers=(old, new), found=before.log.entries)
    after.restore()
    after.admission.routes = Routes({}, (), "mobile")
    after.pipeline.detours.reroute(after.dispatch.carriers["old"])
    after.turns.schedule()
    after.settle()
    application = after.application()
    after.wait(1.0)
    assert application.reports() == [(message_id, MessageState.UNDELIVERABLE, b"000")]


# -- reports that are read back ----------------------------------------------------------------------------


def owed_to_nobody(sealer: Sealer) -> World:
    """A gateway that found one report whose application is away."""
    before = World(sealer)
    application, peer = before.application(bind="transmitter"), before.connect()
    application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))
    return before


def test_a_record_of_which_no_report_can_be_made_is_given_up(sealer: Sealer) -> None:
    log = owed_to_nobody(sealer).log.entries
    long_address = encode(DataSm(source_addr=b"1" * 30, destination_addr=SOURCE))
    contents = [  # of three replies
        sealer.seal(len(log) + 1, long_address),
        sealer.seal(len(log) + 2, encode(EnquireLink())),
        sealer.seal(1, long_address),  # does not open where it stands
    ]
    log += [records.encode(records.Reply(1, "hukou", "cmcc", 0, bytes(16), content)) for content in contents]
    world = World(sealer, found=log)
    world.restore()
    world.wait(1.0)
    given_up = [record for record in world.log.read(len(log) + 1) if isinstance(record, records.Reported)]
    assert [record.record for record in given_up] == [len(log) - 2, len(log) - 1, len(log)]
    assert {record.session for record in given_up} == {NO_SESSION}
    assert len(world.application().reports()) == 1
    again = World(sealer, found=world.log.entries)
    again.restore()
    assert again.fold.unreported == {}


def test_what_cannot_be_read_now_is_read_later(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(sealer, found=owed_to_nobody(sealer).log.entries)
    world.restore()

    def submit(*_: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(OSError(errno.EMFILE, "too many open files"))
        return future

    with monkeypatch.context() as patch:
        patch.setattr(world.upkeep._threads, "submit", submit)
        world.wait(0.0)
    application = world.application()
    assert application.reports() == []
    world.wait(REFILL_RETRY_S)
    world.wait(0.0)
    assert len(application.reports()) == 1


def test_what_an_account_is_owed_is_kept_while_it_is_not_configured(sealer: Sealer) -> None:
    before = owed_to_nobody(sealer)
    world = World(sealer, accounts=(account_config("jiaoguan", "95555"),), found=before.log.entries)
    world.upkeep._accounts = {**world.accounts, "hukou": before.accounts["hukou"]}
    world.wait(1.0)
    accepted = before.accounts["hukou"].outbox.oldest_needed()
    assert world.commitment.low_water == accepted
    world.wait(24 * 3600.0 * 31)
    assert records.decode(world.log.entries[-1]).__class__ is records.Reported
