"""What operators see of a running gateway, how they steer it, and what they decide of uncertain parts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway import instruments
from gateway.control import CommandError
from gateway.downstream import IN_FLIGHT_S
from gateway.ledger_progress import LedgerProgress
from gateway.message import FINAL, QUEUED, UNCERTAIN
from gateway.metrics import Metrics
from gateway.portability import table_of
from gateway.upkeep import HAND_OVER_AFTER_S
from gateway.upstream import LAST_ANSWERS_S, LAST_REPORTS_S, RESPONSE_S
from protocol.smpp.codes import CommandStatus, MessageState
from protocol.smpp.operations import BindState
from protocol.smpp.pdu import DeliverSm, SubmitSmResp, Unbind
from storage import records
from storage.database import open_database
from storage.ledger.ledger import LEDGER_NAME
from storage.ledger.schema import KIND
from storage.register import PortedNumber
from storage.seal import Sealer
from tests.gateway.office import Office, opened
from tests.gateway.peers import ApplicationPeer, CarrierPeer, receipt, submit_sm
from tests.gateway.test_metrics import read_back
from tests.gateway.world import MOBILE, MOBILE_2, START_US

ROK = CommandStatus.ESME_ROK
RSYSERR = CommandStatus.ESME_RSYSERR


@pytest.fixture
async def office(tmp_path: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """Two accounts and two carriers; all links are bound."""
    async with opened(tmp_path, sealer, monkeypatch) as office:
        yield office


class Desk:
    """An operator with two uncertain parts; the links of their carrier are down."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.world = office.world
        self.ask = office.ask
        self.application = office.application()
        self.ids = [self.application.submit(MOBILE), self.application.submit(MOBILE_2)]
        for peer in office.carriers.at("cmcc"):
            peer.cut()

    async def connect(self) -> CarrierPeer:
        """The carrier's end of the first link, which binds again."""
        self.office.link("cmcc#0").resume()
        await self.office.settle()
        return self.office.carriers.at("cmcc")[0]

    def states(self) -> list[int]:
        return [self.world.part(message_id).state for message_id in self.ids]

    def texts(self) -> list[str]:
        return [message_id.decode() for message_id in self.ids]


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


# -- uncertain parts -----------------------------------------------------------------------------------------


async def test_uncertain_parts_are_listed_oldest_first_without_the_whole_number(desk: Desk) -> None:
    listed = await desk.ask("uncertain_list", limit=1)
    assert listed["total"] == 2
    (row,) = listed["parts"]
    assert (row["id"], row["destination"], row["attempts"]) == (desk.texts()[0], "138****8000", 1)
    assert [part["id"] for part in (await desk.ask("uncertain_list"))["parts"]] == desk.texts()


async def test_each_part_is_sent_again_once_however_often_it_is_named(desk: Desk) -> None:
    first, second = desk.texts()
    parts = [first, first.upper(), second, first]
    assert await desk.ask("uncertain_resend", parts=parts, reason="lost", who="zhang") == {"resent": 2}
    assert desk.states() == [QUEUED, QUEUED]
    peer = await desk.connect()
    assert [request.destination_addr for request in peer.taken()] == [MOBILE, MOBILE_2]
    action = next(record for record in desk.world.log.read() if isinstance(record, records.OperatorAction))
    numbers = [desk.world.part(message_id).number for message_id in desk.ids]
    assert (action.who, action.action, action.reason, action.numbers) == ("zhang", "resend", "lost", numbers)


async def test_each_part_is_closed_once_however_often_it_is_named(desk: Desk) -> None:
    (first, _), (message_id, _) = desk.texts(), desk.ids
    assert await desk.ask("uncertain_close", parts=[first, first], reason="old") == {"closed": 1}
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
async def test_a_decision_that_is_not_clear_changes_nothing(
    command: str, change: dict[str, Any], refusal: str, desk: Desk
) -> None:
    peer = await desk.connect()
    final = desk.application.submit(MOBILE).decode()
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))
    first = desk.texts()[0]
    arguments: dict[str, Any] = {"parts": [first], "reason": "lost", **change}
    if isinstance(arguments["parts"], list):
        arguments["parts"] = [each.format(first, final=final) for each in arguments["parts"]]
    before = len(desk.world.log.entries)
    with pytest.raises(CommandError, match=refusal):
        await desk.ask(command, **arguments)
    assert desk.states() == [UNCERTAIN, UNCERTAIN]
    assert len(desk.world.log.entries) == before


# -- see -----------------------------------------------------------------------------------------------------


async def test_the_status_counts_what_there_is(desk: Desk) -> None:
    status = await desk.ask("status")
    assert (status["open_parts"], status["uncertain_parts"], status["draining"]) == (2, 2, False)
    assert status["evidence_records"] == len(desk.world.log.entries)
    assert (status["signed_records"], status["ledger_records"]) == (7, 5)
    assert status["alarms"] == ["the term ends on 2026-11-30, in 4 days"]
    assert (status["ported_left_out"], status["opt_outs_closed"]) == (0, [])
    assert status["accounts"]["hukou"] == {
        "sessions": 1,
        "draining": False,
        "accepted": 2,
        "refused": 0,
        "reported": 0,
        "outbox": 0,
    }
    assert [(link["link"], link["state"]) for link in status["links"]] == [
        ("cmcc#0", "down"),
        ("cmcc#1", "down"),
        ("cucc#0", "bound"),
    ]


def test_the_status_waits_for_nobody_who_has_the_ledger_to_himself(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with closing(open_database(path, KIND, synchronous="OFF")) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        began_s = time.monotonic()
        assert LedgerProgress(tmp_path, tmp_path).tabled() == 0
        assert time.monotonic() - began_s < 5.0  # others wait a minute


async def test_the_status_says_which_tables_of_numbers_are_full(desk: Desk) -> None:
    directory, metrics = desk.world.directory, Metrics()
    learned = PortedNumber(bytes(16), "unicom", "import", START_US, 0)
    directory.portability.load(table_of([learned, learned], 1, START_US))
    directory.opt_outs._entries_max = 0
    for account in ("jiaoguan", "hukou", "hukou"):
        directory.opt_outs.note(bytes(16), account, True, 1)
    status = await desk.ask("status")
    assert (status["ported_left_out"], status["opt_outs_closed"]) == (1, ["hukou", "jiaoguan"])
    instruments._numbers(metrics, directory)
    assert read_back(metrics)[1] == {
        ("jingxin_ported_left_out", frozenset()): 1.0,
        ("jingxin_opt_outs_closed", frozenset()): 2.0,
    }


WAYS = [
    {"carrier": "cmcc", "weight": 1, "in_service": True, "queue": 0},
    {"carrier": "cucc", "weight": 0, "in_service": True, "queue": 0},
]


@pytest.mark.parametrize(
    ("number", "explained"),
    [
        ("+86 138-0013-8000", ("138****8000", "mobile (public)", "mobile", "cmcc", WAYS)),
        ("13000130000", ("130****0000", "unicom (public)", "unicom", "cucc", [{**WAYS[1], "weight": 1}])),
        (
            "1064812345678",
            ("10648****5678", "mobile (m2m)", "none: numbers of machines are refused", "none", []),
        ),
    ],
)
async def test_a_way_is_explained_and_nobody_loses_a_turn(
    number: str, explained: tuple[object, ...], office: Office
) -> None:
    credits = [way.credit for way in office.world.admission.routes.ways_to("mobile")]
    answer = await office.ask("route_explain", number=number)
    assert tuple(answer[key] for key in ("number", "plan", "network", "carrier", "ways")) == explained
    assert (answer["ported_to"], answer["opted_out_of"]) == ("not known to be ported", [])
    assert [way.credit for way in office.world.admission.routes.ways_to("mobile")] == credits


async def test_a_way_to_no_number_is_refused(office: Office) -> None:
    with pytest.raises(CommandError, match="no Chinese mobile number: 11 digits, or 13 of a thing"):
        await office.ask("route_explain", number="110")


# -- drain and resume: all -----------------------------------------------------------------------------------


def status_of(application: ApplicationPeer) -> int:
    return application.ask(submit_sm(MOBILE)).command_status


async def test_draining_refuses_what_is_new_and_ends_with_resume(office: Office) -> None:
    application = office.application()
    application.submit(MOBILE)
    drained = {"drained": "all", "draining": True, "open_parts": 1}
    assert await office.ask("drain", who="zhang") == drained
    assert status_of(application) == RSYSERR
    assert await office.ask("resume") == {"resumed": "all", "draining": False}
    assert status_of(application) == ROK
    assert office.actions() == [("zhang", "drain", "all"), ("", "resume", "all")]
    assert set(office.states().values()) == {"bound"}


NAMES = "there are all, hukou, jiaoguan, cmcc#0, cmcc#1, cucc#0, cmcc, cucc"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("nobody", f"nothing is called 'nobody': {NAMES}"),
        ("account:cmcc", f"nothing is called 'account:cmcc': {NAMES}"),
        ("carrier:hukou", f"nothing is called 'carrier:hukou': {NAMES}"),
        ("cmcc#2", f"nothing is called 'cmcc#2': {NAMES}"),
        ("twin", "twin is an account and a carrier: say account:twin or carrier:twin"),
    ],
)
@pytest.mark.parametrize("command", ["drain", "resume"])
async def test_a_target_that_is_not_clear_steers_nothing(
    command: str, target: str, error: str, office: Office
) -> None:
    if target == "twin":
        await office.apply(
            ('system_id = "jiaoguan"', 'system_id = "twin"'),
            ('name = "cucc"', 'name = "twin"'),
            ('["cmcc", "cucc"]', '["cmcc", "twin"]'),
        )
    before = len(office.world.log.entries)
    with pytest.raises(CommandError) as refusal:
        await office.ask(command, target=target)
    assert str(refusal.value) == error
    assert len(office.world.log.entries) == before


@pytest.mark.parametrize("command", ["drain", "resume"])
async def test_an_argument_that_nobody_knows_steers_nothing(command: str, office: Office) -> None:
    office.world.admission.draining = before = command == "resume"
    with pytest.raises(CommandError, match="unknown field `link`"):
        await office.ask(command, link="cmcc#0")
    assert office.world.admission.draining is before


# -- drain and resume: links ---------------------------------------------------------------------------------


async def test_a_link_answers_what_is_in_flight_and_stays_down_until_it_is_resumed(office: Office) -> None:
    application, (busy, other) = office.application(), office.carriers.at("cmcc")
    application.submit(MOBILE)
    drain = await office.begin("drain", target="cmcc#0", who="zhang")
    assert office.states() == {"cmcc#0": "draining", "cmcc#1": "bound", "cucc#0": "bound"}
    application.submit(MOBILE_2)
    assert [request.destination_addr for request in other.taken()] == [MOBILE_2]
    assert (drain.done(), busy.take(Unbind), busy.wire.closing) == (False, [], False)
    busy.take_one(b"17")
    await office.settle()
    assert drain.result() == {"drained": "cmcc#0", "draining": False, "open_parts": 2}
    assert (busy.session.bound, busy.wire.closing) == (False, True)
    await office.wait(1000.0)
    assert office.link("cmcc#0").state == "drained"
    assert await office.ask("resume", target="cmcc#0", who="li") == {"resumed": "cmcc#0", "draining": False}
    assert set(office.states().values()) == {"bound"}
    assert office.actions() == [("zhang", "drain", "cmcc#0"), ("li", "resume", "cmcc#0")]


async def test_a_link_waits_for_answers_only_so_long(office: Office) -> None:
    application, (silent, _) = office.application(), office.carriers.at("cmcc")
    application.submit(MOBILE)
    drain = await office.begin("drain", target="cmcc#0")
    assert len(silent.taken()) == 1  # of which it says nothing
    await office.wait(IN_FLIGHT_S)
    assert (await office.ask("uncertain_list"))["total"] == 1
    assert not drain.done()  # it has not agreed to our unbind
    silent.cut()
    await office.settle()
    assert drain.done()


async def test_two_may_drain_a_link_at_the_same_time(office: Office) -> None:
    application, (busy, _) = office.application(), office.carriers.at("cmcc")
    application.submit(MOBILE)
    drains = [await office.begin("drain", target=target) for target in ("cmcc#0", "carrier:cmcc", "cmcc")]
    busy.take_one(b"17")
    await office.settle()
    assert [drain.result()["drained"] for drain in drains] == ["cmcc#0", "carrier:cmcc", "cmcc"]
    assert (office.link("cmcc#0").state, office.link("cmcc#0").detail) == ("drained", "unbound")


async def test_a_link_that_is_resumed_while_it_drains_binds_anew(office: Office) -> None:
    application, (busy, _) = office.application(), office.carriers.at("cmcc")
    application.submit(MOBILE)
    drain = await office.begin("drain", target="cmcc#0")
    await office.ask("resume", target="cmcc#0")
    busy.take_one(b"17")
    await office.settle()
    assert (drain.done(), busy.wire.closing, office.link("cmcc#0").state) == (True, True, "bound")
    assert office.carriers.connects.count("cmcc.example") == 3


async def test_a_resume_of_a_link_that_is_bound_changes_nothing(office: Office) -> None:
    await office.ask("resume", target="cmcc#0")
    office.carriers.refusing.add("cmcc.example")
    office.carriers.at("cmcc")[0].cut()
    await office.settle()
    assert office.states()["cmcc#0"] == "down"  # and it waits before it tries again
    assert office.carriers.connects.count("cmcc.example") == 2


async def test_a_link_that_connects_or_rests_is_drained_at_once_and_twice(office: Office) -> None:
    office.carriers.hanging.add("cmcc.example")
    for peer in office.carriers.at("cmcc"):
        peer.cut()
    office.link("cmcc#0").resume()
    await office.settle()
    assert [office.link(name).state for name in ("cmcc#0", "cmcc#1")] == ["connecting", "down"]
    once, twice = [await office.ask("drain", target="cmcc") for _ in range(2)]
    assert once == twice
    assert [office.link(name).state for name in ("cmcc#0", "cmcc#1")] == ["drained", "drained"]
    office.carriers.hanging.clear()
    await office.ask("resume", target="cmcc")
    assert set(office.states().values()) == {"bound"}


async def test_a_parked_link_is_brought_back(office: Office) -> None:
    office.link("cmcc#0").park("ESME_RINVSYSTYP: barred")
    await office.settle()
    assert (office.link("cmcc#0").state, office.link("cmcc#0").detail) == (
        "parked",
        "ESME_RINVSYSTYP: barred",
    )
    await office.ask("resume", target="cmcc")
    assert set(office.states().values()) == {"bound"}


async def test_what_waits_for_a_carrier_that_is_drained_is_handed_over(office: Office) -> None:
    office.world.hold("cmcc", 60.0)
    office.application().submit(MOBILE)
    await office.ask("drain", target="cmcc")
    await office.wait(1.0)  # since when it is out of service
    assert office.carriers.at("cucc")[0].taken() == []
    await office.wait(HAND_OVER_AFTER_S + 1.0)
    assert [request.destination_addr for request in office.carriers.at("cucc")[0].taken()] == [MOBILE]


# -- drain and resume: accounts ------------------------------------------------------------------------------


async def bind(office: Office, system_id: str) -> CommandStatus:
    """How a bind is answered whose password is not asked for."""
    listener = office.world.listener
    application = ApplicationPeer(office.world.loop, office.world.settle)
    office.world._connect(application, listener._make_connection())
    (candidate,) = (each for each in listener.applications if each.connection is application.wire.connection)
    refusal = listener._refusal(listener.accounts.get(system_id), candidate)
    application.wire.close()
    await office.settle()
    return ROK if refusal is None else refusal[0]


async def test_an_account_hears_its_answers_and_reports_before_it_is_unbound(office: Office) -> None:
    application, (peer, _) = office.application(), office.carriers.at("cmcc")
    message = application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))
    drain = await office.begin("drain", target="hukou", who="zhang")
    await office.wait(0.25)
    assert (application.session.bound, drain.done()) == (True, False)  # it has not answered the receipt
    assert status_of(application) == RSYSERR
    assert application.reports() == [(message, MessageState.DELIVERED, b"000")]
    await office.wait(0.25)
    assert application.wire.closing
    await office.wait(0.25)
    assert drain.result() == {"drained": "hukou", "draining": False, "open_parts": 0}
    assert await bind(office, "hukou") == CommandStatus.ESME_RBINDFAIL
    assert await bind(office, "jiaoguan") == ROK
    await office.ask("resume", target="account:hukou", who="zhang")
    assert await bind(office, "hukou") == ROK
    assert office.actions() == [("zhang", "drain", "hukou"), ("zhang", "resume", "account:hukou")]


async def test_an_account_that_takes_no_reports_is_unbound_all_the_same(office: Office) -> None:
    application, (peer, _) = office.application(), office.carriers.at("cmcc")
    application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))
    drain = await office.begin("drain", target="hukou")
    await office.wait(LAST_REPORTS_S - 0.25)
    (session,) = (each.connection.session for each in office.world.listener.applications)
    assert (session.bound, len(application.take(DeliverSm))) == (True, 1)
    await office.wait(0.25)
    assert session.state is BindState.UNBINDING
    await office.wait(RESPONSE_S)  # and it does not answer that, either
    assert (application.wire.closing, drain.done()) == (True, False)
    await office.wait(0.25)
    assert drain.done()
    assert len(office.world.accounts["hukou"].outbox) == 1


async def test_a_transmitter_is_not_kept_for_reports(office: Office) -> None:
    application, (peer, _) = office.application(bind="transmitter"), office.carriers.at("cmcc")
    application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))
    await office.begin("drain", target="hukou")
    await office.wait(0.25)
    assert application.wire.closing


async def test_one_in_transaction_mode_hears_the_carriers_answer(office: Office) -> None:
    application, (peer, _) = office.application(), office.carriers.at("cmcc")
    application.say(submit_sm(MOBILE, esm_class=2))
    await office.settle()
    await office.begin("drain", target="hukou")
    await office.wait(LAST_ANSWERS_S - 3.0)
    assert application.session.bound
    peer.take_one(b"17")
    assert [pdu.command_status for pdu in application.take(SubmitSmResp)] == [ROK]
    await office.wait(0.25)
    assert application.wire.closing


async def test_an_account_that_is_resumed_while_it_leaves_stays(office: Office) -> None:
    application, (peer, _) = office.application(), office.carriers.at("cmcc")
    application.submit(MOBILE)
    peer.take_one(b"17")
    peer.deliver(receipt(b"17", MOBILE))
    drain = await office.begin("drain", target="hukou")
    await office.wait(0.25)
    await office.ask("resume", target="hukou")
    await office.wait(60.0)
    assert drain.done()
    assert application.session.bound
    assert status_of(application) == ROK


# -- reload and numbers --------------------------------------------------------------------------------------


async def test_a_reload_says_what_changed_or_what_is_wrong(office: Office) -> None:
    office.edit("window = 10", "window = 9")
    assert await (await office.begin("reload", who="zhang")) == {
        "accounts_added": [],
        "accounts_removed": [],
        "accounts_changed": [],
        "carriers_added": [],
        "carriers_removed": [],
        "carriers_changed": ["cmcc"],
        "tables_changed": [],
        "warnings": ["no carrier for telecom, broadnet: their numbers go to mobile"],
    }
    with pytest.raises(CommandError, match=r"this gateway runs from .*, not from /another\.toml"):
        await (await office.begin("reload", who="zhang", path="/another.toml"))
    office.edit("window = 9", "window = 0")
    with pytest.raises(CommandError) as refusal:
        await (await office.begin("reload", who="zhang"))
    assert str(refusal.value) == (
        f"{office.file}: carrier[cmcc].window: allowed is a whole number from 1 to 10000, not 0"
    )
    digest = hashlib.sha256(office.file.read_bytes().replace(b"window = 0", b"window = 9")).hexdigest()
    assert office.actions() == [("zhang", "reload", f"configuration {digest}")]


async def test_a_change_of_the_numbers_is_read_and_recorded_without_a_number(office: Office) -> None:
    assert await office.ask("numbers_reload", who="zhang", reason="import 13800138000") == {"reading": True}
    assert office.keeper.reloads == 1
    assert office.actions() == [("zhang", "numbers", "import 138****8000")]
