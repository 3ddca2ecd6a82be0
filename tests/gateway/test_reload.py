"""A changed file under a running gateway: all of it or nothing, and nobody else notices."""
# ruff: noqa: E501  (a row of a case table holds a whole error line)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from gateway.config_table import ConfigError
from gateway.message import QUEUED
from gateway.password import hash_password
from gateway.upstream import Listener
from protocol.smpp.codes import CommandStatus, MessageState
from protocol.smpp.pdu import BindTransceiverResp, SubmitSm, SubmitSmResp, Unbind
from storage.seal import Sealer
from tests.gateway.office import CMCC, FILE, HASH, JIAOGUAN, ROUTE, Office, opened
from tests.gateway.peers import ApplicationPeer, CarrierPeer, receipt, submit_sm
from tests.gateway.world import MOBILE, MOBILE_2, UNICOM, OpenListener

Edit = tuple[str, str]

ROK = CommandStatus.ESME_ROK
SLOW: Final = ("rate_per_s = 1000\nreconnect", "rate_per_s = 2\nreconnect")
CUCC_ONLY: Final = ((CMCC, ""), ('["cmcc", "cucc"]\nweights = [1, 0]', '["cucc"]'))
CUCC: Final = FILE[FILE.index('[[carrier]]\nname = "cucc"') : FILE.index(ROUTE)]
THING: Final = b"1064812345678"


@pytest.fixture
async def office(tmp_path: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    async with opened(tmp_path, sealer, monkeypatch) as office:
        yield office


# -- a file that cannot be used ------------------------------------------------------------------------------

# edit, the error without the path of the file in front
REFUSED: list[tuple[Edit, str]] = [
    (("[gateway]", "[gateway"), "not TOML: Expected ']' at the end of a table declaration (at line 1, column 9)"),
    (('state_dir = "state"', 'state_dir = "state"\nplace = 1'), "gateway.place: unknown key: allowed are name, state_dir"),
    (('password_file = "cucc"', 'password_file = "gone"'), "carrier[cucc].password_file: {directory}/gone: no such file: make it, or correct password_file"),
    (('["cmcc", "cucc"]', '["cmcc", "cbn"]'), "route[mobile].carriers: no carrier 'cbn': allowed are cmcc, cucc"),
    (("[evidence]", '[outcomes]\nfile = "codes.csv"\n[evidence]'), "outcomes.file: {directory}/codes.csv: line 2: retry 'never', allowed are no, later, now, alt, park"),
    (("[evidence]", '[settlement]\ncontract_file = "contract.toml"\n[evidence]'), "settlement.contract_file: {directory}/contract.toml: No such file or directory"),
    (("[evidence]", '[settlement]\ncontract_file = "codes.csv"\n[evidence]'), "settlement.contract_file: {directory}/codes.csv: not TOML: Expected '=' after a key in a key/value pair (at line 1, column 8)"),
    (('name = "gw-1"', 'name = "gw-2"'), "gateway.name: gw-2 instead of gw-1 needs a restart: nothing was changed"),
    (("[evidence]", "[listener]\nport = 2776\n[evidence]"), "listener.port: 2776 instead of 2775 needs a restart: nothing was changed"),
    (("[evidence]", "[http]\nport = 9465\n[evidence]"), "http.port: 9465 instead of 9464 needs a restart: nothing was changed"),
    (("[evidence]", "[evidence]\nsegment_mib = 8"), "evidence.segment_mib: 8 instead of 256 needs a restart: nothing was changed"),
    (("[evidence]", '[evidence]\nsigning_key_file = "other"'), "evidence.signing_key_file: {directory}/other instead of none needs a restart: nothing was changed"),
    (("[evidence]", "[limits]\noutbox_memory_max = 9000\n[evidence]"), "limits.outbox_memory_max: 9000 instead of 10000 needs a restart: nothing was changed"),
    (("[evidence]", "[replies]\npart_timeout_s = 9\n[evidence]"), "replies.part_timeout_s: 9.0 instead of 300.0 needs a restart: nothing was changed"),
]  # fmt: skip


def everything(office: Office) -> tuple[object, ...]:
    """What a reload may change."""
    world = office.world
    carriers = list(world.dispatch.carriers.values())
    return (
        [(account.name, account.config, account.bucket.rate_per_s) for account in world.accounts.values()],
        [(carrier.name, carrier.config, carrier.links, carrier.retired) for carrier in carriers],
        world.admission.routes,
        world.pipeline.detours.outcomes,
        world.directory.config,
        len(world.log.entries),
        office.running(),
    )


@pytest.mark.parametrize(("edit", "error"), REFUSED)
async def test_a_file_that_cannot_be_used_changes_nothing(edit: Edit, error: str, office: Office) -> None:
    directory = office.file.parent
    (directory / "codes.csv").write_text(
        "carrier,code,class,sub,retry,conf,meaning\ncmcc,ESME_RSYSERR,gateway,,never,high,\n"
    )
    before = everything(office)
    with pytest.raises(ConfigError) as refusal:
        await office.apply(("rate_per_s = 1000\nwindow", "rate_per_s = 1\nwindow"), edit)
    assert str(refusal.value) == f"{office.file}: {error.format(directory=directory)}"
    await office.settle()
    assert everything(office) == before
    assert await office.apply((edit[1], edit[0])) == {"accounts_changed": ["hukou"]}


async def test_what_a_signal_brings_about_stands_in_the_log(office: Office) -> None:
    with capture_logs() as logs:
        office.reload.by_signal()
        office.edit('sources = ["10639120"]', 'sources = ["10639129"]')
        await finished(office, "reload")
        office.edit("[gateway]", "[gateway")
        office.reload.by_signal()
        await finished(office, "reload")
        office.reload.end()
        office.reload.by_signal()
    told = [
        (entry["log_level"], entry["event"], entry.get("error", ""))
        for entry in logs
        if entry["event"] != "operator"
    ]
    assert told == [
        ("info", "reloaded", ""),
        (
            "error",
            "not reloaded",
            f"{office.file}: not TOML: Expected ']' at the end of a table declaration (at line 1, column 9)",
        ),
        ("warning", "not reloaded", "the gateway is starting or stopping"),
    ]
    assert [entry["accounts_changed"] for entry in logs if entry["event"] == "reloaded"] == [["jiaoguan"]]
    assert [(who, action) for who, action, _ in office.actions()] == [("SIGHUP", "reload")]


async def test_an_error_of_ours_in_reading_changes_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(office)
    monkeypatch.setattr("gateway.reload.load", lambda path: 1 // 0)
    with capture_logs() as logs:
        office.reload.by_signal()
        await finished(office, "reload")
    assert [(entry["log_level"], entry["event"], entry["error"]) for entry in logs] == [
        ("error", "not reloaded", "integer division or modulo by zero")
    ]
    assert (everything(office), office.actions()) == (before, [])


async def test_an_error_in_applying_is_not_survived(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office.reload, "_apply", lambda config, outcomes: 1 // 0)
    office.reload.by_signal()
    with pytest.raises(ZeroDivisionError):
        await finished(office, "reload")
    office.tasks.pop()


async def finished(office: Office, name: str) -> None:
    for task in office.tasks:
        if task.get_name() == name:
            await task


async def test_two_at_once_come_one_after_the_other(office: Office) -> None:
    office.edit(JIAOGUAN, "")
    first, second = await asyncio.gather(office.reload.reload("zhang"), office.reload.reload("li"))
    assert (first["accounts_removed"], second["accounts_removed"]) == (["jiaoguan"], [])
    assert [(who, action) for who, action, _ in office.actions()] == [("zhang", "reload"), ("li", "reload")]


async def test_a_gateway_that_stops_while_the_file_is_read_applies_nothing(office: Office) -> None:
    before = everything(office)
    office.edit(JIAOGUAN, "")

    async def stop() -> None:
        office.reload.end()

    reloaded, _ = await asyncio.gather(office.reload.reload("zhang"), stop(), return_exceptions=True)
    assert isinstance(reloaded, ConfigError)
    assert str(reloaded) == f"{office.file}: the gateway is starting or stopping: nothing was changed"
    assert everything(office) == before


# -- accounts ------------------------------------------------------------------------------------------------


def statuses(application: ApplicationPeer, *requests: SubmitSm) -> list[CommandStatus]:
    return [CommandStatus(application.ask(request).command_status) for request in requests]


async def test_another_rate_counts_at_once_and_the_session_stays(office: Office) -> None:
    application, number = office.application(), office.world.accounts["hukou"].sessions[0].number
    changed = await office.apply(("rate_per_s = 1000\nwindow", "rate_per_s = 1\nwindow"))
    assert changed == {"accounts_changed": ["hukou"]}
    message = submit_sm(MOBILE)
    assert statuses(application, message, message) == [ROK, CommandStatus.ESME_RTHROTTLED]
    await office.wait(1.0)
    assert statuses(application, message, message) == [ROK, CommandStatus.ESME_RTHROTTLED]
    assert [session.number for session in office.world.accounts["hukou"].sessions] == [number]


async def test_other_sources_and_windows_count_for_the_sessions_that_stand(office: Office) -> None:
    application = office.application()
    await office.apply(
        ('sources = ["10639110"]', 'sources = ["10639111"]\nreport_window = 3'), ("window = 50", "window = 4")
    )
    assert statuses(
        application, submit_sm(MOBILE), submit_sm(MOBILE, source_addr=b"106391112"), submit_sm(MOBILE)
    ) == [CommandStatus.ESME_RINVSRCADR, ROK, CommandStatus.ESME_RINVSRCADR]
    (session,) = (each.connection.session for each in office.world.listener.applications)
    assert (session.unanswered_max, session.window.size_max) == (4, 3)


async def test_sessions_end_where_the_account_may_no_longer_bind_from(office: Office) -> None:
    narrowed, other = office.application(), office.application("jiaoguan")
    networks = 'networks = ["192.0.2.0/24"]\nsources = ["10639110"]'
    await office.apply((networks, networks.replace("192.0.2.0/24", "198.51.100.0/24")))
    assert (narrowed.wire.closing, other.wire.closing) == (True, False)
    assert len(office.world.accounts["hukou"].sessions) == 0


async def test_an_account_that_leaves_hears_what_is_left_and_finds_the_rest_when_it_comes_back(
    office: Office,
) -> None:
    application, (peer, _) = office.application(), office.carriers.at("cmcc")
    first, second = application.submit(MOBILE), application.submit(MOBILE_2)
    peer.take_one(b"17")
    office.carriers.at("cmcc")[1].take_one(b"18")
    peer.say(receipt(b"17", MOBILE))
    hukou = office.file.read_text().partition("[[account]]\n")[2].partition("[[account]]")[0]
    assert await office.apply(("[[account]]\n" + hukou, "")) == {"accounts_removed": ["hukou"]}
    assert statuses(application, submit_sm(MOBILE)) == [CommandStatus.ESME_RSYSERR]
    await office.wait(0.25)
    assert application.take(Unbind) == []  # it has a receipt to answer
    assert application.reports() == [(first, MessageState.DELIVERED, b"000")]
    await office.wait(0.25)
    assert application.wire.closing
    peer.deliver(receipt(b"18", MOBILE_2))
    assert await office.apply(("[[account]]", "[[account]]\n" + hukou + "[[account]]")) == {
        "accounts_added": ["hukou"]
    }
    assert list(office.world.accounts) == ["hukou", "jiaoguan"]
    assert office.application().reports() == [(second, MessageState.DELIVERED, b"000")]


def leaves(office: Office) -> None:
    office.edit(JIAOGUAN, "")


def narrowed(office: Office) -> None:
    office.edit(JIAOGUAN, JIAOGUAN.replace("192.0.2.0/24", "198.51.100.0/24"))


def dismissed(office: Office) -> None:
    office.world.listener.dismiss(office.world.accounts["jiaoguan"])


def with_another_password(office: Office) -> None:
    office.write_secret("jiaoguan", OTHER_HASH)


OTHER_HASH: Final = hash_password(b"other")

# What becomes of an account while the password of a bind is compared with its line, the lines that it is
# compared with, and the answer.
MEANWHILE: Final[list[tuple[Callable[[Office], None], list[str], CommandStatus]]] = [
    (lambda office: None, [HASH], ROK),
    (leaves, [HASH], CommandStatus.ESME_RINVSYSID),
    (narrowed, [HASH], CommandStatus.ESME_RBINDFAIL),
    (dismissed, [HASH], CommandStatus.ESME_RBINDFAIL),
    (with_another_password, [HASH, OTHER_HASH], ROK),
]


class Verifiers:
    """Threads that verify when the test says so.  lines: those that a password was compared with."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._waiting: list[Future[bool]] = []

    def submit(self, verify: object, line: str, password: bytes) -> Future[bool]:
        self.lines.append(line)
        self._waiting.append(Future())
        return self._waiting[-1]

    def approve(self) -> None:
        self._waiting.pop().set_result(True)


@pytest.mark.parametrize(("change", "lines", "status"), MEANWHILE)
async def test_what_an_account_becomes_while_its_password_is_verified_counts(
    change: Callable[[Office], None],
    lines: list[str],
    status: CommandStatus,
    office: Office,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OpenListener, "bind", Listener.bind)
    world, verifiers = office.world, Verifiers()
    monkeypatch.setattr(world.listener, "_verifiers", verifiers)
    application = ApplicationPeer(world.loop, world.settle)
    world._connect(application, world.listener._make_connection())
    application.bind("jiaoguan", "transceiver", 0x34)
    await office.settle()
    change(office)
    await office.apply()
    for _ in lines:
        assert application.heard == []
        verifiers.approve()
        await office.settle()
    (answer,) = application.take(BindTransceiverResp) or application.heard
    assert (verifiers.lines, answer.command_status) == (lines, status)


# -- carriers that stay bound --------------------------------------------------------------------------------

IN_PLACE: Final[list[Edit]] = [
    SLOW,
    ("rate_per_s = 1000\nreconnect", "rate_per_s = 1000\nburst = 5\nreconnect"),
    ("window = 10", "window = 20"),
    ("window = 10", "window = 10\nthrottle_pause_s = 3"),
    ("window = 10", "window = 10\nconnect_timeout_s = 1"),
    ("window = 10", "window = 10\nreceipt_timeout_h = 1"),
    ("window = 10", "window = 10\nmessage_payload = false"),
    ("window = 10", 'window = 10\ndefault_alphabet = "latin1"'),
    ("reconnect_min_s = 60", "reconnect_min_s = 30"),
]
BOUND: Final = ["cmcc.example", "cmcc.example", "cucc.example"]


@pytest.mark.parametrize("edit", IN_PLACE)
async def test_what_changes_under_a_bind(edit: Edit, office: Office) -> None:
    peers = office.carriers.at("cmcc")
    assert await office.apply(edit) == {"carriers_changed": ["cmcc"]}
    carrier = office.world.dispatch.carriers["cmcc"]
    assert office.carriers.connects == BOUND
    assert office.carriers.at("cmcc") == peers
    assert [link.config for link in carrier.links] == [carrier.config] * 2
    assert [link._connection.session.window.size_max for link in carrier.links if link._connection] == [
        carrier.config.window
    ] * 2
    assert (carrier.bucket.rate_per_s, carrier.bucket.burst) == (
        carrier.config.rate_per_s,
        carrier.config.burst,
    )


def took(office: Office, name: str) -> list[bytes]:
    """The destinations of what a carrier has taken from its sockets since the last time."""
    return [request.destination_addr for peer in office.carriers.at(name) for request in peer.taken()]


async def test_another_rate_or_window_of_a_carrier_counts_for_what_waits(office: Office) -> None:
    application = office.application()
    await office.apply(SLOW)
    for _ in range(5):
        application.submit(MOBILE)
    assert len(took(office, "cmcc")) == 2
    await office.wait(1.0)
    assert len(took(office, "cmcc")) == 2
    await office.apply((SLOW[1], SLOW[0]), ("window = 10", "window = 1"))
    await office.wait(1.0)
    assert len(took(office, "cmcc")) == 0  # both windows are full
    await office.apply(("window = 1\n", "window = 10\n"))
    assert len(took(office, "cmcc")) == 1


@pytest.mark.parametrize(
    ("edits", "seen"),
    [
        ([("weights = [1, 0]", "weights = [0, 1]")], [b"", b"+"]),
        ([(ROUTE, "")], [b"+", b""]),
        ([("[evidence]", "[lanes]\ninteractive_age_max_s = 1\n[evidence]")], [b"+", b""]),
    ],
)
async def test_another_route_counts_from_the_next_message(
    edits: list[Edit], seen: list[bytes], office: Office
) -> None:
    await office.apply(*edits)
    office.application().submit(MOBILE)
    assert [b"+" * len(took(office, name)) for name in ("cmcc", "cucc")] == seen
    assert office.carriers.connects == BOUND


async def test_other_tables_count_from_the_next_message(office: Office) -> None:
    application, world = office.application(), office.world
    (office.file.parent / "codes.csv").write_text(
        "carrier,code,class,sub,retry,conf,meaning\ncmcc,ESME_RSUBMITFAIL,content,,no,high,a word\n"
    )
    assert statuses(application, submit_sm(THING)) == [CommandStatus.ESME_RINVDSTADR]
    assert world.replies.routes.choose(b"1", bytes(16), world.turns.now_us) == ("", "unrouted")
    witness = "auditor+1a2b3c4d+BBNqrW0yRcMJTZfYXFVSv7T0gKpMCR1Jm6LUpcFMvTYq"
    tables = (
        '[outcomes]\nfile = "codes.csv"\n[numbers]\nreject_iot = false\n[replies]\ndefault_account = "hukou"\n'
        "[lanes]\ninteractive_age_max_s = 1\n[limits]\nparts_open_max = 1000\n"
    )
    assert await office.apply(("[evidence]", f'{tables}[evidence]\nwitnesses = ["{witness}"]')) == {
        "tables_changed": [
            "evidence",
            "numbers",
            "lanes",
            "outcomes",
            "replies",
            "limits",
            "rows of outcomes",
        ]
    }
    assert statuses(application, submit_sm(THING)) == [ROK]
    assert world.replies.routes.choose(b"1", bytes(16), world.turns.now_us) == ("hukou", "default")
    assert world.pipeline.detours.outcomes.of_status("cmcc", "mobile", 0x45).meaning == "a word"
    world.hold("cmcc", 60.0)
    urgent = submit_sm(MOBILE, priority_flag=2)
    assert statuses(application, urgent) == [ROK]
    await office.wait(2.0)
    assert statuses(application, urgent) == [CommandStatus.ESME_RTHROTTLED]


# -- carriers that come and go -------------------------------------------------------------------------------


def take_all(peer: CarrierPeer) -> list[bytes]:
    """The destinations of what has come, all answered well."""
    requests = peer.taken()
    for request in requests:
        peer.answer(request, b"%d" % (1000 + request.sequence_number))
    return [request.destination_addr for request in requests]


async def test_a_carrier_that_comes_is_bound_and_used(office: Office) -> None:
    added = CMCC.replace("cmcc", "cbn").replace("mobile", "broadnet").replace("sessions = 2\n", "")
    office.write_secret("cbn", "secret")
    changed = await office.apply((CMCC, added + CMCC), ('["cmcc", "cucc"]', '["cbn", "cmcc"]'))
    assert changed == {"carriers_added": ["cbn"], "tables_changed": ["routes"]}
    assert list(office.world.dispatch.carriers) == ["cbn", "cmcc", "cucc"]
    assert office.carriers.connects == [*BOUND, "cbn.example"]
    office.application().submit(MOBILE)
    assert took(office, "cbn") == [MOBILE]


async def test_a_carrier_that_leaves_answers_first_while_the_rest_goes_another_way(office: Office) -> None:
    application, peers = office.application(), office.carriers.at("cmcc")
    ids = [application.submit(number) for number in (MOBILE, MOBILE_2, UNICOM)]
    ids += [application.submit(MOBILE), application.submit(MOBILE_2)]
    office.world.hold("cmcc", 60.0)
    ids.append(application.submit(b"13700137000"))
    assert await office.apply(*CUCC_ONLY) == {"carriers_removed": ["cmcc"], "tables_changed": ["routes"]}
    (cucc,) = office.carriers.at("cucc")
    assert take_all(cucc) == [UNICOM, b"13700137000"]
    (first, third), (second, fourth) = (peer.taken() for peer in peers)
    # A receipt while others are in flight counts; a refusal for the moment is tried elsewhere.
    peers[0].answer(first, b"17")
    peers[0].deliver(receipt(b"17", MOBILE))
    assert application.reports() == [(ids[0], MessageState.DELIVERED, b"000")]
    peers[0].answer(third, command_status=CommandStatus.ESME_RTHROTTLED)
    await office.settle()
    assert [peer.wire.closing for peer in peers] == [True, False]
    await office.wait(0.25)
    assert take_all(cucc) == [third.destination_addr]
    # One that is answered when its time is over was uncertain, and is not any more.
    peers[1].answer(second, b"18")
    await office.wait(10.0)
    uncertain = await office.ask("uncertain_list")
    assert [part["id"].encode() for part in uncertain["parts"]] == [ids[4]]
    peers[1].answer(fourth, b"19")
    peers[1].receive(b"")  # now it agrees to the unbind, too
    await office.settle()
    assert (await office.ask("uncertain_list"))["total"] == 0
    assert [peer.wire.closing for peer in peers] == [True, True]
    assert (office.known_carriers["cmcc"].retired, office.running()) == ([], ["link cucc#0"])


async def test_what_has_no_other_way_ends_and_says_why(office: Office) -> None:
    application = office.application()
    office.world.hold("cmcc", 60.0)
    message = application.submit(MOBILE)
    await office.apply((CMCC, ""), (ROUTE, ""))
    assert application.reports() == [(message, MessageState.UNDELIVERABLE, b"000")]
    (outcome,) = (record for record in office.world.log.read() if type(record).__name__ == "Outcome")
    assert outcome.reason == (  # type: ignore[union-attr]
        "carrier cmcc is not configured any more, and no other can take the message"
    )


async def test_what_is_scheduled_keeps_its_time_on_another_way(office: Office) -> None:
    office.application().submit(MOBILE, schedule_delivery_time=b"000000010000000R")
    await office.apply(*CUCC_ONLY)
    await office.wait(3599.0)
    assert took(office, "cucc") == []
    await office.wait(1.0)
    assert took(office, "cucc") == [MOBILE]


async def test_a_part_between_intent_and_effect_does_not_stay_behind(office: Office) -> None:
    application = office.application()
    application.say(submit_sm(MOBILE))
    office.world.turn()
    assert office.world.log.busy
    for old, new in CUCC_ONLY:
        office.edit(old, new)
    await office.reload.reload("zhang")
    await asyncio.sleep(0)  # the links begin to drain
    await office.settle()
    await office.wait(0.25)
    assert took(office, "cucc") == [MOBILE]
    assert [type(pdu) for pdu in application.heard] == [SubmitSmResp]


async def test_the_rest_of_a_text_follows_when_its_carrier_has_left(office: Office) -> None:
    application = office.application()
    texts = [b"\x05\0\3\7\2%c" % part + b"hello" for part in (1, 2)]
    application.submit(MOBILE, esm_class=0x40, short_message=texts[0])
    assert took(office, "cmcc") == [MOBILE]
    await office.apply(*CUCC_ONLY)
    application.submit(MOBILE, esm_class=0x40, short_message=texts[1])
    await office.wait(0.25)
    assert took(office, "cucc") == [MOBILE]


async def test_what_comes_of_a_text_whose_carrier_has_left_goes_where_the_rest_went(office: Office) -> None:
    """Though by now another one would be chosen first."""
    application = office.application()
    texts = [b"\x05\0\3\7\2%c" % part + b"hello" for part in (1, 2)]
    office.world.hold("cmcc", 60.0)
    application.submit(MOBILE, esm_class=0x40, short_message=texts[0])
    added = CMCC.replace("cmcc", "cbn").replace("mobile", "broadnet").replace("sessions = 2\n", "")
    office.write_secret("cbn", "secret")
    await office.apply((CMCC, added), ('["cmcc", "cucc"]\nweights = [1, 0]', '["cbn", "cucc"]'))
    application.submit(MOBILE, esm_class=0x40, short_message=texts[1])
    await office.wait(0.25)
    assert [took(office, name) for name in ("cbn", "cucc")] == [[], [MOBILE, MOBILE]]


async def test_a_part_whose_text_went_to_a_carrier_that_has_left_goes_on_by_another(office: Office) -> None:
    """It is found to go after the rest of its text when that carrier is gone already."""
    application, peer = office.application(), office.carriers.at("cmcc")[0]
    texts = [b"\x05\0\3\7\2%c" % part + b"hello" for part in (1, 2)]
    application.submit(MOBILE, esm_class=0x40, short_message=texts[0])
    peer.take_one(b"17")
    office.world.hold("cmcc", 30.0)
    application.submit(MOBILE_2)  # stands before the second part, and must wait
    second = office.world.part(application.submit(MOBILE, esm_class=0x40, short_message=texts[1]))
    peer.deliver(receipt(b"17", MOBILE, b"MB:1044"))
    for _ in range(2):
        await office.wait(0.25)
    assert took(office, "cucc") == [MOBILE]
    await office.apply((CUCC, ""), ('["cmcc", "cucc"]\nweights = [1, 0]', '["cmcc"]'))
    assert (second.carrier.name, second.state) == ("cmcc", QUEUED)
    await office.wait(30.0)
    await office.wait(0.25)
    assert sorted(took(office, "cmcc")) == sorted([MOBILE, MOBILE_2])


async def test_a_carrier_that_comes_back_waits_for_its_old_binds(office: Office) -> None:
    application, (busy, idle) = office.application(), office.carriers.at("cmcc")
    application.submit(MOBILE)
    await office.apply(*CUCC_ONLY)
    assert await office.apply(("[[carrier]]", CMCC + "[[carrier]]")) == {"carriers_added": ["cmcc"]}
    assert (busy.wire.closing, idle.wire.closing) == (False, True)
    assert office.states() == {"cmcc#0": "down", "cmcc#1": "bound", "cucc#0": "bound"}
    busy.take_one(b"17")
    await office.settle()
    assert busy.wire.closing
    assert office.states() == {"cmcc#0": "bound", "cmcc#1": "bound", "cucc#0": "bound"}


# -- carriers that bind anew ---------------------------------------------------------------------------------

ANEW: Final[list[Edit]] = [
    ("port = 1", "port = 3"),
    ('system_id = "gw"', 'system_id = "gw2"'),
    ('password_file = "cmcc"', 'password_file = "other"'),
    ("window = 10", 'window = 10\nsystem_type = "VMA"'),
    ("window = 10", "window = 10\ninterface_version = 0x50"),
    ("window = 10", "window = 10\nresponse_timeout_s = 5"),
    ("window = 10", "window = 10\nenquire_link_s = 5"),
]


@pytest.mark.parametrize("edit", ANEW)
async def test_what_a_bind_is_made_of(edit: Edit, office: Office) -> None:
    office.write_secret("other", "other")
    before = office.carriers.at("cmcc")
    assert await office.apply(edit) == {"carriers_changed": ["cmcc"]}
    assert office.carriers.connects == [*BOUND, "cmcc.example", "cmcc.example"]
    assert [peer.wire.closing for peer in before] == [True, True]
    assert set(office.states().values()) == {"bound"}


async def test_a_carrier_with_another_address_binds_there_and_what_waits_stays(office: Office) -> None:
    application, (busy, _) = office.application(), office.carriers.at("cmcc")
    first = application.submit(MOBILE)
    office.world.hold("cmcc", 1.0)
    application.submit(MOBILE_2)
    await office.apply(('host = "cmcc.example"', 'host = "new.example"'))
    assert office.carriers.connects == [*BOUND, "new.example"]
    assert office.states() == {"cmcc#0": "down", "cmcc#1": "bound", "cucc#0": "bound"}
    busy.take_one(b"17")
    await office.settle()
    assert office.carriers.connects == [*BOUND, "new.example", "new.example"]
    await office.wait(1.1)  # the first lane has a share of the rate for itself
    assert took(office, "new") == [MOBILE_2]
    office.carriers.at("new")[1].deliver(receipt(b"17", MOBILE))
    assert application.reports() == [(first, MessageState.DELIVERED, b"000")]


async def test_fewer_and_more_sessions(office: Office) -> None:
    first, second = office.carriers.at("cmcc")
    await office.apply(("sessions = 2", "sessions = 1"))
    assert (first.wire.closing, second.wire.closing) == (False, True)
    assert office.states() == {"cmcc#0": "bound", "cucc#0": "bound"}
    await office.apply(("sessions = 1", "sessions = 3"))
    assert office.states() == {"cmcc#0": "bound", "cmcc#1": "bound", "cmcc#2": "bound", "cucc#0": "bound"}
    assert office.carriers.connects == [*BOUND, "cmcc.example", "cmcc.example"]
    assert not first.wire.closing


@pytest.mark.parametrize(
    ("target", "edit", "states"),
    [
        ("cmcc#1", ("port = 1", "port = 3"), ["bound", "drained"]),
        ("cmcc", ("sessions = 2", "sessions = 3"), ["drained", "drained", "drained"]),
        ("cmcc#1", ("sessions = 2", "sessions = 3"), ["bound", "drained", "bound"]),
        ("cmcc", ("window = 10", "window = 9"), ["drained", "drained"]),
    ],
)
async def test_what_was_drained_stays_so(target: str, edit: Edit, states: list[str], office: Office) -> None:
    await office.ask("drain", target=target)
    await office.apply(edit)
    assert [link.state for link in office.world.dispatch.carriers["cmcc"].links] == states
    await office.ask("resume", target=target)
    assert set(office.states().values()) == {"bound"}


# -- links that are not bound when they are taken away -------------------------------------------------------


async def _cut(office: Office) -> None:
    for peer in office.carriers.at("cmcc"):
        peer.cut()
    await office.settle()


async def connecting(office: Office) -> None:
    office.carriers.hanging.add("cmcc.example")
    await _cut(office)
    for link in office.world.dispatch.carriers["cmcc"].links:
        link.resume()
    await office.settle()


async def down(office: Office) -> None:
    office.carriers.refusing.add("cmcc.example")
    await _cut(office)


async def parked(office: Office) -> None:
    for link in office.world.dispatch.carriers["cmcc"].links:
        link.park("barred")
    await office.settle()


async def drained(office: Office) -> None:
    await office.ask("drain", target="cmcc")


async def draining(office: Office) -> None:
    application = office.application()
    application.submit(MOBILE)
    application.submit(MOBILE)
    await office.begin("drain", target="cmcc")


@pytest.mark.parametrize("into", [connecting, down, parked, drained, draining])
@pytest.mark.parametrize("edits", [CUCC_ONLY, [('host = "cmcc.example"', 'host = "new.example"')]])
async def test_a_link_in_any_state_can_be_taken_away(
    into: Callable[[Office], Any], edits: list[Edit], office: Office
) -> None:
    await into(office)
    links = office.world.dispatch.carriers["cmcc"].links
    assert [link.state for link in links] == [into.__name__] * 2
    await office.apply(*edits)
    for peer in office.carriers.at("cmcc"):
        take_all(peer)
    await office.settle()
    assert [link.state for link in links] == ["drained"] * 2
    assert office.known_carriers["cmcc"].retired == []
    new = office.world.dispatch.carriers.get("cmcc")
    if new is not None:
        expected = "drained" if into in (drained, draining) else "bound"
        assert [link.state for link in new.links] == [expected] * 2
    assert office.carriers.at("cmcc") == []
    left = [name for name in office.running() if "cmcc" in name]
    assert left == ([] if new is None else ["link cmcc#0", "link cmcc#1"])
