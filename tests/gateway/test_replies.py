"""What becomes of messages of subscribers: who hears them, when the carrier is answered, how parts become one
report, and what a restart finds in the middle of it."""

from __future__ import annotations

import random
from itertools import permutations
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from gateway import recovery
from gateway.config import RepliesConfig
from gateway.reassembly import PARTS_MISSING_TLV
from gateway.recovery import recall_writers
from protocol.smpp.codes import CommandStatus
from protocol.smpp.pdu import DataSm, DeliverSm, DeliverSmResp, Pdu
from storage import records
from storage.seal import Sealer
from tests.gateway.histories_of_replies import (
    ALARM,
    HISTORIES_OF_REPLIES,
    NOTATIONS,
    PAYLOAD,
    UCS_2,
    Notation,
    as_data_sm,
    hear,
    part,
    reply,
)
from tests.gateway.peers import submit_sm
from tests.gateway.test_recovery import crashes
from tests.gateway.world import MOBILE, MOBILE_2, START_US, World, account, carrier
from tests.storage.scaffold import LogDriver

HOUR_S: Final = 3600.0
FOREIGN: Final = b"85212345678"  # no number that a message could go to


def recorded(world: World, kind: type[records.Record]) -> list[Any]:
    return [record for record in world.log.read() if type(record) is kind]


def same(pdu: DeliverSm, other: DeliverSm) -> bool:
    """Whether two PDUs say the same; the sequence number is the session's."""
    return msgspec.structs.replace(pdu, sequence_number=other.sequence_number) == other


# -- who hears a reply --------------------------------------------------------------------------------------


class Routed(NamedTuple):
    """Who wrote to the subscriber, in which order and how many hours before; to where he replies; who hears
    it, and why."""

    wrote: tuple[tuple[str, float], ...]
    destination: bytes
    default_account: str
    heard_by: str
    how: str


SOURCES: Final = {"hukou": "10639110", "oa": "10639110", "jiaoguan": "1063911001"}
ROUTED = {
    "the longest prefix, whoever wrote": Routed((("hukou", 0),), b"106391100142", "oa", "jiaoguan", "prefix"),
    "two with one prefix: who wrote last": Routed(
        (("hukou", 2), ("oa", 1)), b"10639110", "", "oa", "last message"
    ),
    "the other way round": Routed((("oa", 2), ("hukou", 1)), b"10639110", "", "hukou", "last message"),
    "one without the prefix wrote last": Routed(
        (("oa", 2), ("jiaoguan", 1)), b"1063911009", "", "oa", "last message"
    ),
    "nobody wrote: the default, which has the prefix": Routed((), b"10639110", "oa", "oa", "default"),
    "nobody wrote: the first with the prefix": Routed((), b"10639110", "jiaoguan", "hukou", "prefix"),
    "no prefix: who wrote last": Routed(
        (("hukou", 2), ("jiaoguan", 1)), b"95555", "oa", "jiaoguan", "last message"
    ),
    "just within the hours": Routed((("hukou", 72),), b"95555", "oa", "hukou", "last message"),
    "no more within the hours": Routed((("hukou", 72.001),), b"95555", "oa", "oa", "default"),
    "nobody at all": Routed((("hukou", 72.001),), b"95555", "", "", "unrouted"),
}


@pytest.mark.parametrize("case", ROUTED.values(), ids=ROUTED)
@pytest.mark.parametrize("anew", [False, True], ids=["in operation", "after a restart"])
def test_who_hears_a_reply(case: Routed, *, anew: bool, sealer: Sealer) -> None:
    start: dict[str, Any] = {
        "accounts": tuple(account(name, source) for name, source in SOURCES.items()),
        "replies": RepliesConfig(default_account=case.default_account),
    }
    world = World(sealer, **start)
    world.connect()
    began = world.loop.now
    end = began + 100 * HOUR_S
    for name, hours in case.wrote:
        world.loop.now = end - hours * HOUR_S
        world.application(name).submit(MOBILE, source_addr=SOURCES[name].encode())
    if anew:
        world = World(sealer, **start, found=world.log.entries, now=end)
        world.replies.recall(recorded(world, records.Accepted))
    world.loop.now = end
    peer = world.connect()
    applications = {name: world.application(name) for name in SOURCES}
    peer.deliver(reply(b"yes", MOBILE, case.destination))
    heard = {name: len(hear(application)) for name, application in applications.items()}
    assert heard == {name: int(name == case.heard_by) for name in SOURCES}
    (record,) = recorded(world, records.Reply)
    assert (record.account, record.how, record.waits) == (case.heard_by, case.how, False)
    assert world.replies.unrouted == (not case.heard_by)


def test_a_message_to_one_subscriber_says_nothing_of_another(sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(), account("oa")))
    peer, oa, hukou = world.connect(), world.application("oa"), world.application()
    oa.submit(MOBILE)
    peer.deliver(reply(b"yes", MOBILE_2))
    peer.deliver(reply(b"yes", b"+86 " + MOBILE))  # however the carrier writes him
    assert (len(hear(hukou)), len(hear(oa))) == (1, 1)


def test_what_is_unrouted_is_kept_counted_and_answered(world: World) -> None:
    peer, application = world.connect(), world.application()
    for pdu in (reply(b"lost", destination=b"95555"), part(1, 2, b"lost", destination=b"95555")):
        peer.deliver(pdu)
    assert (world.replies.unrouted, hear(application)) == (2, [])
    kept = [(record.account, record.how, record.waits) for record in recorded(world, records.Reply)]
    assert kept == [("", "unrouted", False)] * 2  # nobody waits for the rest: it is as good as it came
    assert world.replies.oldest() is None


@pytest.mark.parametrize(
    ("source", "hashed"),
    [
        (MOBILE, MOBILE),
        (b"+86" + MOBILE, MOBILE),
        (b"106575", b""),
        (FOREIGN, b""),
        (b"police", b""),
        (b"", b""),
    ],
)
def test_only_numbers_are_hashed(source: bytes, hashed: bytes, world: World) -> None:
    """The hash of no number at all would be one for all who have none."""
    peer, application = world.connect(), world.application()
    peer.deliver(reply(b"T", source))
    (record,) = recorded(world, records.Reply)
    assert record.number_hash == (world.sealer.number_hash(hashed) if hashed else b"")
    assert len(recorded(world, records.OptedOut)) == bool(hashed)
    assert [pdu.source_addr for pdu in hear(application)] == [source]


# -- what is answered, and when -----------------------------------------------------------------------------


def test_each_part_is_answered_when_it_is_durable_and_the_application_hears_of_all(world: World) -> None:
    peer, application = world.connect(), world.application()
    asked = peer.say(part(2, 2, b"b"))
    world.turn()
    assert (world.kinds, peer.heard) == (["Reply"], [])
    world.durable()
    assert peer.take(DeliverSmResp) == [DeliverSmResp(asked)]

    asked = peer.say(part(1, 2, b"a"))
    world.turn()
    assert (world.kinds, world.log.pending) == (["Reply", "Reply", "Assembled"], 0)
    assert (peer.heard, application.heard) == ([], [])
    world.durable()
    assert peer.take(DeliverSmResp) == [DeliverSmResp(asked)]
    (heard,) = application.take(DeliverSm)
    assert same(heard, reply(b"ab"))

    found = World(world.sealer, found=world.log.entries)
    found.restore()
    for each in (world, found):  # the first part's, until the application has answered
        assert each.upkeep._low_water() == 4
    application.respond(heard, body=b"\0")
    world.settle()
    assert world.kinds[3:] == ["Reported"]
    (reported,) = recorded(world, records.Reported)
    assert reported.record == 6
    assert world.upkeep._low_water() == world.log.next_index


def test_a_data_sm_that_cannot_go_on_is_refused_also_as_a_part(world: World) -> None:
    peer, application = world.connect(), world.application()
    long_source = as_data_sm(part(1, 2, b"a", subscriber=b"1" * 21))
    assert peer.ask(long_source).command_status == CommandStatus.ESME_RINVSRCADR
    assert (world.kinds, world.replies.oldest(), hear(application)) == ([], None, [])


# -- parts --------------------------------------------------------------------------------------------------

TEXT: Final = "您的身份证已经办好" * 20
TEXTS: Final = tuple(TEXT[start : start + 60].encode("utf-16-be") for start in (0, 60, 120))


@pytest.mark.parametrize("order", tuple(permutations((1, 2, 3))), ids=str)
@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("form", [DeliverSm, DataSm], ids=["deliver_sm", "data_sm"])
def test_parts_become_one_in_whatever_order_and_over_any_link(
    form: type[Pdu], notation: Notation, order: tuple[int, ...], sealer: Sealer
) -> None:
    world = World(sealer, carriers=(carrier(sessions=2),))
    links, application = (world.connect(), world.connect(index=1)), world.application()
    for place, sequence in enumerate(order):
        assert hear(application) == []
        pdu = part(sequence, 3, TEXTS[sequence - 1], notation, data_coding=UCS_2, source_addr_ton=sequence)
        links[place % 2].ask(pdu if form is DeliverSm else as_data_sm(pdu))
    (heard,) = hear(application)
    whole = reply(b"", data_coding=UCS_2, source_addr_ton=0 if form is DataSm else 1)
    whole.tlvs = ((PAYLOAD, b"".join(TEXTS)),)
    assert same(heard, whole)
    (assembled,) = recorded(world, records.Assembled)
    first = next(index for index, record in enumerate(world.log.read(), 1) if type(record) is records.Reply)
    in_order = [first + order.index(sequence) for sequence in (1, 2, 3)]
    assert assembled == records.Assembled(START_US, "hukou", in_order, 0)
    assert {record.waits for record in recorded(world, records.Reply)} == {True}
    assert (world.replies.oldest(), world.replies.incomplete) == (None, 0)


def test_many_replies_in_random_order_are_right_to_the_part(sealer: Sealer) -> None:
    """500 replies of two to five parts from 40 phones, of three notations, over two links; every seventh part
    comes twice."""
    chance = random.Random(5)
    told, parts = {}, []
    for number in range(500):
        total = chance.randint(2, 5)
        subscriber = b"138%08d" % (number % 40)
        texts = [b"%d: %d/%d;" % (number, sequence, total) for sequence in range(1, total + 1)]
        told[b"".join(texts)] = subscriber
        notation = chance.choice(NOTATIONS)
        reference = number // 40 * 3 + NOTATIONS.index(notation)
        parts += [
            part(sequence, total, text, notation, reference=reference, subscriber=subscriber)
            for sequence, text in enumerate(texts, 1)
        ]
    chance.shuffle(parts)
    world = World(sealer, carriers=(carrier(sessions=2),), accounts=(account(report_window=1000),))
    links, application = (world.connect(), world.connect(index=1)), world.application()
    for place, pdu in enumerate(parts):
        for _ in range(1 + (place % 7 == 0)):
            links[place % 2].say(msgspec.structs.replace(pdu))
        if place % 10 == 0:
            world.settle()
    world.settle()
    heard = hear(application)
    again = (len(parts) + 6) // 7
    assert {pdu.short_message: pdu.source_addr for pdu in heard} == told
    assert len(heard) == 500
    for link in links:
        assert {answer.command_status for answer in link.take(DeliverSmResp)} == {0}
    assert len(recorded(world, records.Reply)) == len(parts) + again
    assembled = recorded(world, records.Assembled)
    assert (len(assembled), {record.missing for record in assembled}) == (500, {0})
    # What was repeated before its reply was whole went along, what came later waits for the rest in vain.
    late = len(parts) + again - sum(len(record.replies) for record in assembled)
    assert 0 < late < again
    world.wait(300.0)
    assert len(hear(application)) == world.replies.incomplete == len(recorded(world, records.Assembled)) - 500
    assert sum(len(record.replies) for record in recorded(world, records.Assembled)) == len(parts) + again


class Came(NamedTuple):
    """The parts of a reply of three that came, in this order; what is heard of it, how many are missing."""

    sequences: tuple[int, ...]
    text: bytes
    missing: int
    order: tuple[int, ...]  # in the Assembled record: which of those that came


@pytest.mark.parametrize(
    "case",
    [
        Came((1,), b"<1>", 2, (0,)),
        Came((3, 1), b"<1><3>", 1, (1, 0)),
        Came((2, 2, 1, 2), b"<1><2>", 1, (2, 0, 1, 3)),
    ],
)
def test_what_does_not_come_in_time_is_not_waited_for(case: Came, sealer: Sealer) -> None:
    world = World(sealer, replies=RepliesConfig(part_timeout_s=60.0))
    peer, application = world.connect(), world.application()
    first = world.log.next_index
    for sequence in case.sequences:
        peer.deliver(part(sequence, 3, b"<%d>" % sequence))
    world.wait(59.0)
    assert (hear(application), world.replies.oldest()) == ([], first)
    world.wait(1.0)
    (heard,) = hear(application)
    flagged = reply(case.text, tlvs=((PARTS_MISSING_TLV, bytes((case.missing,))),))
    assert same(heard, flagged)
    (assembled,) = recorded(world, records.Assembled)
    assert assembled.replies == [first + place for place in case.order]
    assert (assembled.missing, world.replies.incomplete) == (case.missing, 1)
    peer.deliver(part(2, 3, b"<2>"))  # late, and so on its own
    world.wait(60.0)
    (late,) = hear(application)
    assert (late.short_message, late.tlv(PARTS_MISSING_TLV)) == (b"<2>", b"\2")


def test_a_reference_that_is_used_again_ends_the_reply_before(world: World) -> None:
    peer, application = world.connect(), world.application()
    for sequence, text in ((1, b"a"), (1, b"A"), (2, b"B")):
        peer.deliver(part(sequence, 2, text))
    assert [(pdu.short_message, pdu.tlv(PARTS_MISSING_TLV)) for pdu in hear(application)] == [
        (b"a", b"\1"),
        (b"AB", None),
    ]


def test_parts_of_nobody_are_not_joined(world: World) -> None:
    peer, application = world.connect(), world.application()
    sent = [part(sequence, 2, b"?", subscriber=b"") for sequence in (1, 2)]
    for pdu in sent:
        peer.deliver(msgspec.structs.replace(pdu))
    assert all(map(same, hear(application), sent))
    assert world.kinds == ["Reply", "Reply", "Reported", "Reported"]


def test_one_part_of_one_goes_on_as_it_came(world: World) -> None:
    peer, application = world.connect(), world.application()
    peer.deliver(part(1, 1, b"all"))
    (heard,) = hear(application)
    assert same(heard, part(1, 1, b"all"))


# -- words --------------------------------------------------------------------------------------------------


class Word(NamedTuple):
    """What the subscriber writes, in which alphabet, and whether messages still go to him."""

    text: bytes
    data_coding: int
    out: bool


WORDS = {
    "TD": Word(b"TD", 0, True),
    "t!": Word(b" t!", 0, True),
    "ASCII": Word(b"QX", 1, True),
    "Chinese": Word("退订。".encode("utf-16-be"), UCS_2, True),
    "full width": Word("ＴＤ".encode("utf-16-be"), UCS_2, True),
    "a question": Word("我要退订吗".encode("utf-16-be"), UCS_2, False),
    "a sentence": Word(b"T is my answer", 0, False),
    "half a character": Word(b"\x90\x00\x8b", UCS_2, False),
    "octets": Word(b"TD", 4, False),
}


@pytest.mark.parametrize("case", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("category", ["convenience", "office", "document"])
def test_who_has_opted_out_hears_no_more_of_convenience_services(
    case: Word, category: str, sealer: Sealer
) -> None:
    world = World(sealer, accounts=(account(category=category),))
    peer, application = world.connect(), world.application()
    peer.deliver(reply(case.text, data_coding=case.data_coding))
    index = world.log.next_index - (2 if case.out else 1)
    assert [pdu.short_message for pdu in hear(application)] == [case.text]  # it is heard all the same
    told = [
        (record.account, record.out, record.reply, record.number_hash)
        for record in recorded(world, records.OptedOut)
    ]
    assert told == ([("hukou", True, index, sealer.number_hash(MOBILE))] if case.out else [])
    refused = case.out and category == "convenience"
    expected = CommandStatus.ESME_RINVDSTADR if refused else CommandStatus.ESME_ROK
    assert application.ask(submit_sm(MOBILE)).command_status == expected
    assert application.ask(submit_sm(MOBILE_2)).command_status == CommandStatus.ESME_ROK
    if refused:
        (denied,) = recorded(world, records.Denied)
        assert denied.reason == "the subscriber has opted out of this service (退订)"


def test_an_opt_out_is_for_one_account_and_can_be_taken_back(sealer: Sealer) -> None:
    accounts = tuple(
        account(name, source, category="convenience") for name, source in (("a", "1"), ("b", "2"))
    )
    world = World(sealer, accounts=accounts)
    peer = world.connect()
    applications = {b"1": world.application("a"), b"2": world.application("b")}

    def statuses() -> list[int]:
        return [
            application.ask(submit_sm(MOBILE, source_addr=source)).command_status
            for source, application in applications.items()
        ]

    script = [
        (b"TD", b"2", [0, 0x0B]),
        (b"R", b"1", [0x0B, 0x0B]),
        (b"JS", b"2", [0x0B, 0]),
        (b"JS", b"1", [0, 0]),
    ]
    for text, destination, expected in script:
        peer.deliver(reply(text, destination=destination))
        assert statuses() == expected


@pytest.mark.parametrize(
    ("texts", "total", "out"),
    [
        ((b"Q", b"X"), 2, True),
        ((b"T", b" is my answer"), 2, False),
        ((b"T",), 2, False),
        ((b"Q", b"X"), 3, False),
    ],
    ids=["the word in two parts", "a sentence", "only its beginning came", "two of three"],
)
def test_a_word_in_parts_counts_when_all_have_come(
    texts: tuple[bytes, ...], total: int, *, out: bool, world: World
) -> None:
    peer = world.connect()
    first = world.log.next_index
    for sequence, text in enumerate(texts, 1):
        peer.deliver(part(sequence, total, text))
    world.wait(300.0)
    assert [record.reply for record in recorded(world, records.OptedOut)] == ([first] if out else [])
    assert len(recorded(world, records.Assembled)) == 1


# -- alarms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("destination", [b"12110", ALARM])
def test_alarms_are_neither_joined_nor_read(destination: bytes, sealer: Sealer) -> None:
    world = World(sealer, accounts=(account(), account("police", "12110", category="convenience")))
    peer, police, hukou = world.connect(), world.application("police"), world.application()
    sent = [
        part(2, 3, b"help", destination=destination),
        reply(b"T", destination=destination),
        part(1, 2, b"TD", "SAR", destination=destination),
    ]
    for pdu in sent:
        peer.deliver(msgspec.structs.replace(pdu))
        assert all(map(same, hear(police), [pdu]))
    assert hear(hukou) == []
    assert set(world.kinds) == {"Reply", "Reported"}
    assert {(record.how, record.waits) for record in recorded(world, records.Reply)} == {("prefix", False)}
    assert police.ask(submit_sm(MOBILE, source_addr=destination)).command_status == CommandStatus.ESME_ROK


def test_an_alarm_overtakes_the_replies_that_its_application_has_not_taken_yet(sealer: Sealer) -> None:
    police = account("police", "12110", sources=("12110", "10639110"), report_window=1)
    world = World(sealer, accounts=(police,))
    peer, application = world.connect(), world.application("police")
    for text, destination in (
        (b"1", b"10639110"),
        (b"2", b"10639110"),
        (b"3", b"10639110"),
        (b"help", ALARM),
    ):
        peer.deliver(reply(text, destination=destination))
    assert [pdu.short_message for _ in range(4) for pdu in hear(application)] == [b"1", b"help", b"2", b"3"]


def test_who_has_opted_out_still_hears_what_answers_an_alarm(sealer: Sealer) -> None:
    """An account may have other numbers beside the one for alarms, and 退订 is for those."""
    police = account("police", "12110", sources=("12110", "10639110"), category="convenience")
    world = World(sealer, accounts=(police,))
    peer, application = world.connect(), world.application("police")
    peer.deliver(reply(b"T", destination=b"10639110"))
    assert len(recorded(world, records.OptedOut)) == 1
    statuses = [
        application.ask(submit_sm(MOBILE, source_addr=source)).command_status
        for source in (b"10639110", b"12110", ALARM)
    ]
    assert statuses == [CommandStatus.ESME_RINVDSTADR, CommandStatus.ESME_ROK, CommandStatus.ESME_ROK]


# -- accounts that come and go ------------------------------------------------------------------------------


def without(world: World, name: str, replies: RepliesConfig) -> None:
    """Another configuration lacks the account."""
    del world.accounts[name]
    world.replies.configure(replies)


@pytest.mark.parametrize("default_account", ["oa", ""])
@pytest.mark.parametrize("anew", [False, True], ids=["by a reload", "by a restart"])
def test_the_account_of_a_long_reply_leaves_before_all_parts_have_come(
    default_account: str, *, anew: bool, sealer: Sealer
) -> None:
    oa, hukou = account("oa", "95555"), account()
    replies = RepliesConfig(default_account=default_account)
    world = World(sealer, accounts=(hukou, oa), replies=replies)
    peer = world.connect()
    peer.deliver(part(1, 2, b"a"))
    if anew:
        world = World(sealer, accounts=(oa,), replies=replies, found=world.log.entries)
        world.restore()
        peer = world.connect()
    else:
        without(world, "hukou", replies)
    application = world.application("oa")
    peer.deliver(part(2, 2, b"b"))
    kept = [(record.account, record.waits) for record in recorded(world, records.Reply)]
    # The second part finds nobody where the first one did; with a default they meet there.
    assert kept == [("hukou", True), (default_account, bool(default_account))]
    world.wait(300.0)
    heard = [(pdu.short_message, pdu.tlv(PARTS_MISSING_TLV)) for pdu in hear(application)]
    assert heard == ([(b"ab", None)] if default_account else [])
    assert world.replies.unrouted == (0 if default_account else 2)
    assert [record.account for record in recorded(world, records.Assembled)] == [default_account]
    assert world.replies.oldest() is None


def test_an_account_that_only_the_routes_still_know_hears_nothing(world: World) -> None:
    peer = world.connect()
    del world.accounts["hukou"]
    peer.deliver(reply(b"anybody?"))
    (record,) = recorded(world, records.Reply)
    assert (record.account, record.how, world.replies.unrouted) == ("", "unrouted", 1)


# -- restarts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_restart_in_the_middle_of_a_long_reply_goes_on_with_it(notation: Notation, sealer: Sealer) -> None:
    """The carrier sends again what was not answered; the application hears the reply once, and whole, except
    where its answer was lost with the process."""
    sent = [part(sequence, 3, b"<%d>" % sequence, notation) for sequence in (3, 1, 2)]
    world = World(sealer)
    peer, application = world.connect(), world.application()
    for pdu in sent:
        peer.deliver(msgspec.structs.replace(pdu))
    hear(application)
    total = len(world.log.entries)
    assert world.kinds[-2:] == ["Assembled", "Reported"]
    for written in range(1, total + 1):
        found = World(sealer, found=world.log.entries[:written])
        found.restore()
        found.turns.schedule()
        peer = found.connect()
        for pdu in sent[found.kinds.count("Reply") :]:
            peer.deliver(msgspec.structs.replace(pdu))
        application = found.application()
        found.wait(1.0)
        heard = hear(application)
        assert len(heard) == (written < total)
        assert all(same(pdu, reply(b"<1><2><3>")) for pdu in heard)
        assert len(recorded(found, records.Assembled)) == 1
        assert found.replies.oldest() is None
        assert found.upkeep._low_water() == found.log.next_index


def test_parts_that_are_overdue_after_a_long_stop_go_on_together(sealer: Sealer) -> None:
    world = World(sealer)
    peer = world.connect()
    for sequence in (3, 1):
        peer.deliver(part(sequence, 3, b"<%d>" % sequence))
    found = World(sealer, found=world.log.entries, now=world.loop.now + HOUR_S)
    found.restore()
    found.wait(1.0)
    application = found.application()
    assert [(pdu.short_message, pdu.tlv(PARTS_MISSING_TLV)) for pdu in hear(application)] == [
        (b"<1><3>", b"\1")
    ]


def test_the_time_of_parts_goes_on_over_a_restart(sealer: Sealer) -> None:
    world = World(sealer)
    world.connect().deliver(part(1, 2, b"a"))
    found = World(sealer, found=world.log.entries, now=world.loop.now + 200.0)
    found.restore()
    application = found.application()
    found.wait(99.0)
    assert hear(application) == []
    found.wait(1.0)
    assert [pdu.short_message for pdu in hear(application)] == [b"a"]


def test_every_history_ends_with_nothing_that_waits(sealer: Sealer) -> None:
    """Whenever the process dies: after the time for parts all that came has been heard, or is unrouted."""
    for history in HISTORIES_OF_REPLIES:
        for written, _, world in crashes(history, sealer):
            world.pipeline.cut_off(world.restore())
            world.turns.schedule()
            for _ in range(2):
                world.wait(300.0)
            applications = [world.application(name) for name in world.accounts]
            for application in applications:
                hear(application)
            parts = {
                index
                for index, record in enumerate(world.log.read(), 1)
                if isinstance(record, records.Reply) and record.waits
            }
            joined = [index for record in recorded(world, records.Assembled) for index in record.replies]
            assert (sorted(joined), world.replies.oldest()) == (sorted(parts), None), (history.name, written)
            assert world.upkeep._low_water() == world.log.next_index or world.open_parts.open


# -- who wrote last, from the evidence ----------------------------------------------------------------------


def accepted(name: str, number_hash: bytes, hours: float) -> records.Accepted:
    time_us = START_US - round(hours * HOUR_S * 1e6)
    return records.Accepted(time_us, name, 1, 0, "cmcc", number_hash, 1, 0, 0, 0, b"")


def test_the_end_of_the_evidence_says_who_wrote_last(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the records that are read, of accounts that there are; also in the form that records had before
    they named a lane."""
    monkeypatch.setattr(recovery, "WARM_RECORDS", 6)
    hashes = [bytes((number,)) * 16 for number in range(6)]
    older = msgspec.msgpack.decode(records.encode(accepted("hukou", hashes[1], 10.0)))[:12]
    written = [
        records.encode(accepted("hukou", hashes[0], 20.0)),  # too far back
        msgspec.msgpack.encode(older),
        records.encode(records.Sent(1, START_US, 0, b"17")),
        records.encode(accepted("hukou", hashes[2], 72.0)),
        records.encode(accepted("hukou", hashes[3], 72.001)),
        records.encode(accepted("gone", hashes[4], 1.0)),
        records.encode(records.Denied(START_US, "hukou", 1, 0x0B, "no", 1, hashes[5], b"")),
    ]
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(*written)
    recall_writers(tmp_path, world.replies)
    chosen = [world.replies.routes.choose(b"95555", each, world.turns.now_us)[0] for each in hashes]
    assert chosen == ["", "hukou", "hukou", "", "", ""]
