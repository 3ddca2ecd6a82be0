"""Scripted histories of what subscribers write: long replies, opt-outs and alarms, told step by step.

Each behaviour has its test in test_replies.py; here they are material for the crash after every record.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from protocol.smpp.codes import TlvTag
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.udh import concatenation_header, sar_tlvs
from tests.gateway.histories import History
from tests.gateway.peers import SOURCE, ApplicationPeer
from tests.gateway.world import MOBILE, MOBILE_2, World, account, carrier

Notation = Literal["8 bits", "16 bits", "SAR"]
NOTATIONS: Final[tuple[Notation, ...]] = ("8 bits", "16 bits", "SAR")

PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)
UDHI: Final = 0x40
UCS_2: Final = 8
ALARM: Final = b"12110371"


def reply(text: bytes, subscriber: bytes = MOBILE, destination: bytes = SOURCE, **fields: Any) -> DeliverSm:
    """A reply that stands alone."""
    return DeliverSm(source_addr=subscriber, destination_addr=destination, short_message=text, **fields)


def part(
    sequence: int,
    total: int,
    text: bytes,
    notation: Notation = "8 bits",
    *,
    reference: int = 7,
    subscriber: bytes = MOBILE,
    destination: bytes = SOURCE,
    **fields: Any,
) -> DeliverSm:
    """One part of a longer reply."""
    if notation == "SAR":
        return reply(text, subscriber, destination, tlvs=sar_tlvs(reference, total, sequence), **fields)
    header = concatenation_header(reference, total, sequence, 8 if notation == "8 bits" else 16)
    return reply(header + text, subscriber, destination, esm_class=UDHI, **fields)


def as_data_sm(pdu: DeliverSm) -> DataSm:
    """The same in a data_sm, as some carriers send what is long."""
    return DataSm(
        source_addr=pdu.source_addr,
        destination_addr=pdu.destination_addr,
        esm_class=pdu.esm_class,
        data_coding=pdu.data_coding,
        tlvs=((PAYLOAD, pdu.short_message), *pdu.tlvs),
    )


def hear(application: ApplicationPeer) -> list[DeliverSm]:
    """What the application heard since the last time; all answered."""
    heard = application.take(DeliverSm)
    for pdu in heard:
        application.respond(pdu, body=b"\0")
    application._settle()
    return heard


def knowledge_of_replies(world: World) -> dict[str, Any]:
    """Which parts wait for which others, and what was learned of numbers."""
    waiting = {
        (*msgspec.structs.astuple(key), total): (
            *(assembly.indexes, assembly.head.index, assembly.joined(), assembly.source, assembly.held),
        )
        for (key, total), assembly in world.replies._reassembly._open.items()
    }
    return {
        "replies waiting": waiting,
        "what they take": world.replies._reassembly._held,
        "opted out": sorted(world.directory.opt_outs.entries()),
        "learned": list(world.directory.unwritten),
    }


# -- the scripts ---------------------------------------------------------------------------------------------


def in_parts(world: World) -> None:
    """Three replies of three notations, their parts in turns and in no order."""
    carrier, application = world.connect(), world.application()
    for sequence in (3, 1, 2):
        for notation in NOTATIONS:
            text = b"<%d of %b>" % (sequence, notation.encode())
            carrier.deliver(part(sequence, 3, text, notation, source_addr_ton=sequence))
    hear(application)


def in_parts_as_data_sm(world: World) -> None:
    carrier, application = world.connect(), world.application()
    carrier.ask(as_data_sm(part(2, 2, b"b" * 130, "SAR")))
    carrier.ask(as_data_sm(part(1, 2, b"a" * 130, "SAR")))
    hear(application)


def parts_again_and_again(world: World) -> None:
    """Repeated while the others are missing, all of it again when it is whole, and a reference used anew."""
    carrier, application = world.connect(), world.application()
    for sequence, text in ((2, b"b"), (2, b"b"), (1, b"a"), (2, b"b"), (3, b"c")):
        carrier.deliver(part(sequence, 3, text))
    for sequence, text in ((1, b"a"), (2, b"b"), (1, b"A"), (3, b"C"), (2, b"B")):
        carrier.deliver(part(sequence, 3, text))
    hear(application)


def parts_that_never_come(world: World) -> None:
    """One that comes after the time begins anew, and is alone."""
    carrier, application = world.connect(), world.application()
    carrier.deliver(part(3, 4, b"c"))
    carrier.deliver(part(1, 4, b"a"))
    carrier.deliver(part(1, 4, b"a"))
    world.wait(200.0)
    carrier.deliver(part(1, 2, b"x", reference=8))
    world.wait(100.0)
    carrier.deliver(part(2, 4, b"b"))
    for wait_s in (200.0, 100.0):
        hear(application)
        world.wait(wait_s)
    hear(application)


def part_over_another_link(world: World) -> None:
    first, second = world.connect(), world.connect(index=1)
    application = world.application()
    second.deliver(part(2, 2, b"b"))
    first.deliver(part(2, 2, b"y", subscriber=MOBILE_2))
    first.deliver(part(1, 2, b"a"))
    second.deliver(part(1, 2, b"x", subscriber=MOBILE_2))
    hear(application)


def long_reply_to_whoever_wrote_last(world: World) -> None:
    """Another account writes between the parts: the one of the first part in the text hears all of them."""
    carrier = world.connect()
    hukou, jiaoguan = world.application(), world.application("jiaoguan")
    hukou.submit(MOBILE)
    carrier.take_one(b"1")
    carrier.deliver(part(1, 2, b"a"))
    jiaoguan.submit(MOBILE)
    carrier.take_one(b"2")
    carrier.deliver(part(2, 2, b"b"))
    carrier.deliver(reply(b"and you?"))
    carrier.deliver(reply(b"anybody?", destination=b"95555", subscriber=b"10086"))
    hear(hukou)
    hear(jiaoguan)


def opted_out_and_in(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.submit(MOBILE)
    carrier.take_one(b"1")
    carrier.deliver(reply(b"td!"))
    application.ask(DataSm(source_addr=SOURCE, destination_addr=MOBILE, tlvs=((PAYLOAD, b"hello"),)))
    carrier.deliver(part(1, 2, b"Q", subscriber=MOBILE_2))
    carrier.deliver(part(2, 2, b"X", subscriber=MOBILE_2))
    carrier.deliver(reply("恢复".encode("utf-16-be"), data_coding=UCS_2))
    carrier.deliver(reply(b"T", subscriber=b"10086"))
    application.submit(MOBILE)
    hear(application)


def alarms(world: World) -> None:
    carrier, application = world.connect(), world.application()
    carrier.deliver(part(2, 2, b"help", destination=ALARM))
    carrier.deliver(reply(b"T", destination=ALARM))
    hear(application)


_CONVENIENCE: Final = (account(category="convenience"),)

HISTORIES_OF_REPLIES: Final = (
    History(in_parts),
    History(in_parts_as_data_sm),
    History(parts_again_and_again),
    History(parts_that_never_come),
    History(part_over_another_link, carriers=(carrier(sessions=2),)),
    History(long_reply_to_whoever_wrote_last, (account(), account("jiaoguan"))),
    History(opted_out_and_in, _CONVENIENCE),
    History(alarms, (account(sources=(SOURCE.decode(), "12110")),)),
)
