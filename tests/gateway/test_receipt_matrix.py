"""However a carrier writes an id, and whenever and wherever its receipt comes, it finds the right part, once.

The notations of ids times the ways of receipts, each cell with neighbours that a wrong match would hit: a
part to the same number, parts to other numbers, and one at another carrier that gave it the very same id.
Beside it the forgeries, which change nothing and are no receipts to any application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from gateway.message import DISPATCHED, FINAL, SENT, UNCERTAIN, Part, PartState
from protocol.smpp.codes import MessageState, TlvTag
from protocol.smpp.pdu import DeliverSm, SubmitSm
from protocol.smpp.receipt import Receipt, read_receipt
from storage import records
from storage.seal import Sealer
from tests.gateway.peers import SOURCE, ApplicationPeer, CarrierPeer, receipt
from tests.gateway.world import MOBILE, MOBILE_2, UNICOM, World, carrier

DELIVERED, UNDELIVERABLE = int(MessageState.DELIVERED), int(MessageState.UNDELIVERABLE)


class Notation(NamedTuple):
    """An id as the carrier's response writes it, and as its receipt does."""

    response: bytes
    receipt: bytes


UUID: Final = b"f47ac10b-58cc-4372-a567-0e02b2c3d479"
NOTATIONS: Final = {
    "decimal": Notation(b"107187", b"107187"),
    "hexadecimal": Notation(b"1a2b3", b"1a2b3"),
    "hexadecimal, then decimal": Notation(b"1a2b3", b"107187"),
    "decimal, then hexadecimal": Notation(b"107187", b"1A2B3"),
    "padded hexadecimal, then decimal": Notation(b"0001A2B3", b"107187"),
    "mixed case": Notation(b"0aB1C2d3", b"0Ab1c2D3"),
    "then zero-padded": Notation(b"107187", b"0000107187"),
    "zero-padded, then not": Notation(b"0000107187", b"107187"),
    "UUID": Notation(UUID, UUID),
    "UUID, then in capitals": Notation(UUID, UUID.upper()),
    "20 digits": Notation(b"18446744073709551615", b"18446744073709551615"),
    "20 digits, then hexadecimal": Notation(b"18446744073709551615", b"FFFFFFFFFFFFFFFF"),
}
notations = pytest.mark.parametrize("notation", NOTATIONS.values(), ids=NOTATIONS)


class Stage:
    """A gateway with two carriers of two links each, a part that awaits its receipt, and its neighbours."""

    def __init__(self, sealer: Sealer, notation: Notation) -> None:
        self.notation = notation
        carriers = carrier("cmcc", sessions=2), carrier("cucc", "unicom", sessions=2)
        self.world = World(sealer, carriers=carriers)
        self.links = [self.world.connect("cmcc", index) for index in (0, 1)]
        self.cucc = self.world.connect("cucc")
        self.application: ApplicationPeer = self.world.application()
        # One to the same number before it, and one behind it; one to another number.
        neighbours = [self._sent(MOBILE, b"600001"), self._sent(MOBILE_2, b"600002")]
        self.message_id = self.application.submit(MOBILE)
        self.part = self.world.part(self.message_id)
        (self._place, self._request) = self._taken()
        neighbours.append(self._sent(MOBILE, b"600003"))
        self.at_cucc = self._sent(UNICOM, notation.response, at=self.cucc)
        self.neighbours = [self.world.part(each) for each in (*neighbours, self.at_cucc)]

    def _sent(self, destination: bytes, carrier_id: bytes, at: CarrierPeer | None = None) -> bytes:
        """Submit a message, and let its carrier take it under that id."""
        message_id = self.application.submit(destination)
        if at is None:
            place, request = self._taken()
            self.links[place].answer(request, carrier_id)
        else:
            at.take_one(carrier_id)
        return message_id

    def _taken(self) -> tuple[int, SubmitSm]:
        """The message that came over one of the links, and over which."""
        (taken,) = [(place, request) for place in (0, 1) for request in self.links[place].taken()]
        return taken

    @property
    def link(self) -> CarrierPeer:
        """The link over which the part left."""
        return self.links[self._place]

    @property
    def other_link(self) -> CarrierPeer:
        """The other one of the same carrier account."""
        return self.links[1 - self._place]

    def answer(self) -> None:
        """The carrier takes the part, and says so."""
        self.link.answer(self._request, self.notation.response)

    def reconnect(self) -> None:
        """The link is lost, and stands again."""
        self.link.cut()
        self.links[self._place] = self.world.connect("cmcc", self._place)

    def receipt(self, **fields: Any) -> DeliverSm:
        """The part's receipt, as carriers write it: in the text and in TLVs."""
        pdu = receipt(self.notation.receipt, MOBILE, **fields)
        return msgspec.structs.replace(pdu, tlvs=pdu.tlvs or self.tlvs())

    def tlvs(self) -> tuple[tuple[int, bytes], ...]:
        """(receipted_message_id, message_state)."""
        message_id = self.notation.receipt + b"\0"
        return (int(TlvTag.RECEIPTED_MESSAGE_ID), message_id), (int(TlvTag.MESSAGE_STATE), b"\2")

    def facts(self) -> list[tuple[int, int, bytes, tuple[object, ...], bytes, int]]:
        """What a receipt could change of any part."""

        def of(part: Part) -> tuple[int, int, bytes, tuple[object, ...], bytes, int]:
            return (
                part.state,
                part.message_state,
                part.carrier_id,
                part.earlier_ids,
                part.error,
                part.final_us,
            )

        return [of(part) for part in (self.part, *self.neighbours)]

    def heard(self) -> list[tuple[bytes, int, bytes, bytes]]:
        """(message id, state, stat, err) of all the application heard since the last time."""
        told = []
        for pdu in self.application.take(DeliverSm):
            read = read_receipt(pdu.short_message, pdu.tlvs)
            assert isinstance(read, Receipt)
            assert pdu.esm_class == 4
            told.append((read.message_id, read.message_state, read.stat, read.err))
            self.application.respond(pdu, body=b"\0")
        self.world.settle()
        return told


# -- the ways of receipts -----------------------------------------------------------------------------------


def before_the_response(stage: Stage) -> None:
    stage.link.deliver(stage.receipt())
    assert stage.part.state == DISPATCHED
    stage.answer()


def before_the_response_over_another_link(stage: Stage) -> None:
    stage.other_link.deliver(stage.receipt())
    assert stage.part.state == DISPATCHED
    stage.answer()


def after_the_response(stage: Stage) -> None:
    stage.answer()
    stage.link.deliver(stage.receipt())


def over_another_link(stage: Stage) -> None:
    stage.answer()
    stage.other_link.deliver(stage.receipt())


def twice(stage: Stage) -> None:
    stage.answer()
    stage.link.deliver(stage.receipt())
    stage.other_link.deliver(stage.receipt())


def twice_before_the_response(stage: Stage) -> None:
    stage.link.deliver(stage.receipt())
    stage.other_link.deliver(stage.receipt())
    stage.answer()


def on_both_sides_of_the_response(stage: Stage) -> None:
    stage.link.deliver(stage.receipt())
    stage.answer()
    stage.link.deliver(stage.receipt())


def after_a_reconnect(stage: Stage) -> None:
    stage.answer()
    stage.reconnect()
    stage.link.deliver(stage.receipt())


def the_response_was_lost_with_the_link(stage: Stage) -> None:
    stage.reconnect()
    assert stage.part.state == UNCERTAIN
    stage.link.deliver(stage.receipt())


def before_the_response_that_was_lost_with_the_link(stage: Stage) -> None:
    stage.other_link.deliver(stage.receipt())
    stage.reconnect()


def the_response_was_late(stage: Stage) -> None:
    stage.world.wait(10.0)
    assert stage.part.state == UNCERTAIN
    stage.answer()
    stage.link.deliver(stage.receipt())


def in_tlvs_only(stage: Stage) -> None:
    stage.answer()
    fields = {"source_addr": MOBILE, "destination_addr": SOURCE, "esm_class": 4}
    stage.link.deliver(DeliverSm(**fields, tlvs=stage.tlvs()))  # type: ignore[arg-type]


def in_the_text_only(stage: Stage) -> None:
    stage.answer()
    stage.link.deliver(receipt(stage.notation.receipt, MOBILE))


def with_the_subscriber_in_the_destination(stage: Stage) -> None:
    stage.answer()
    stage.link.deliver(stage.receipt(source_addr=SOURCE, destination_addr=b"86" + MOBILE))


def behind_one_that_says_it_is_on_its_way(stage: Stage) -> None:
    stage.answer()
    enroute = receipt(stage.notation.receipt, MOBILE, b"ENROUTE", esm_class=0x20)
    stage.link.deliver(enroute)
    stage.link.deliver(stage.receipt())


def with_a_code(stat: bytes) -> Callable[[Stage], None]:
    def deliver(stage: Stage) -> None:
        stage.answer()
        stage.link.deliver(receipt(stage.notation.receipt, MOBILE, stat, err=b"012"))

    return deliver


class Way(NamedTuple):
    """How a receipt comes, and what the application hears: (state, stat, err)."""

    script: Callable[[Stage], None]
    heard: tuple[int, bytes, bytes] = (DELIVERED, b"DELIVRD", b"000")


_SCRIPTS: Final = (
    before_the_response,
    before_the_response_over_another_link,
    after_the_response,
    over_another_link,
    twice,
    twice_before_the_response,
    on_both_sides_of_the_response,
    after_a_reconnect,
    the_response_was_lost_with_the_link,
    before_the_response_that_was_lost_with_the_link,
    the_response_was_late,
    in_tlvs_only,
    in_the_text_only,
    with_the_subscriber_in_the_destination,
    behind_one_that_says_it_is_on_its_way,
)
WAYS: Final = {script.__name__.replace("_", " "): Way(script) for script in _SCRIPTS} | {
    stat.decode(): Way(with_a_code(stat), (UNDELIVERABLE, stat, b"012"))
    for stat in (b"MK:0012", b"SGIP:25", b"UNDELIV_601")
}


@notations
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_receipt_finds_its_part_and_is_heard_once(way: Way, notation: Notation, sealer: Sealer) -> None:
    stage = Stage(sealer, notation)
    untouched = stage.facts()[1:]
    way.script(stage)
    assert (stage.part.state, stage.part.message_state) == (FINAL, way.heard[0])
    assert stage.heard() == [(stage.message_id, *way.heard)]
    stage.world.wait(1.0)
    assert (stage.heard(), stage.facts()[1:]) == ([], untouched)
    told = [
        record for record in stage.world.log.read() if isinstance(record, records.Receipt | records.Matched)
    ]
    numbers = [record.number for record in told if record.number]
    received = sum(isinstance(record, records.Receipt) for record in told)
    assert numbers == [stage.part.number] * received  # each is kept, and each belongs to this part
    assert sum(record.final for record in told) == 1
    # The neighbour at the other carrier, whose id is the same, hears of its own.
    stage.cucc.deliver(receipt(notation.receipt, UNICOM))
    assert stage.heard() == [(stage.at_cucc, DELIVERED, b"DELIVRD", b"000")]


# -- forgeries ----------------------------------------------------------------------------------------------


class Forgery(NamedTuple):
    """What somebody sends, and over whose link."""

    pdu: Callable[[Stage], DeliverSm]
    peer: Callable[[Stage], CarrierPeer] = lambda stage: stage.link
    heard_as_reply: bool = False
    states: tuple[int, ...] = (DISPATCHED, SENT, UNCERTAIN)  # of the part


FORGERIES: Final = {
    "typed by a subscriber": Forgery(lambda stage: stage.receipt(esm_class=0), heard_as_reply=True),
    "typed, and a reply is asked for": Forgery(
        lambda stage: stage.receipt(esm_class=0x80), heard_as_reply=True
    ),
    "the number of a neighbour": Forgery(lambda stage: stage.receipt(source_addr=MOBILE_2)),
    "a number of nobody": Forgery(lambda stage: stage.receipt(source_addr=b"13700137000")),
    "no number": Forgery(lambda stage: stage.receipt(source_addr=b"", destination_addr=b"")),
    "of another carrier, where the id is a neighbour's": Forgery(
        lambda stage: stage.receipt(), lambda stage: stage.cucc
    ),
    "of another carrier, where nobody has the id": Forgery(
        lambda stage: receipt(b"600003", MOBILE), lambda stage: stage.cucc
    ),
    # Where the part is uncertain it is no forgery: no rule can tell it from the carrier's own receipt.
    "an id that nobody knows": Forgery(lambda stage: receipt(b"600009", MOBILE), states=(DISPATCHED, SENT)),
    "no id": Forgery(
        lambda stage: msgspec.structs.replace(stage.receipt(), short_message=b"stat:DELIVRD", tlvs=())
    ),
}


def bring_to(stage: Stage, state: int) -> None:
    """The part, which is in flight, comes to this state."""
    if state == SENT:
        stage.answer()
    elif state == UNCERTAIN:
        stage.reconnect()
    assert stage.part.state == state


CELLS: Final = {
    f"{name}, {PartState(state).name}": (forgery, state)
    for name, forgery in FORGERIES.items()
    for state in forgery.states
}


@notations
@pytest.mark.parametrize(("forgery", "state"), CELLS.values(), ids=CELLS)
def test_a_forgery_changes_nothing_and_is_no_receipt(
    forgery: Forgery, state: int, notation: Notation, sealer: Sealer
) -> None:
    stage = Stage(sealer, notation)
    bring_to(stage, state)
    before = stage.facts()
    pdu = forgery.pdu(stage)
    forgery.peer(stage).deliver(pdu)
    heard = stage.application.take(DeliverSm)
    assert [(each.esm_class, each.short_message) for each in heard] == (
        [(pdu.esm_class, pdu.short_message)] if forgery.heard_as_reply else []
    )
    stage.world.wait(1.0)
    assert stage.facts() == before
    if state == DISPATCHED:  # nor does the response bring it to anything
        stage.answer()
        assert (stage.part.state, stage.heard()) == (SENT, [])
    # What was true all the time still is.
    stage.link.deliver(stage.receipt())
    assert stage.heard() == [(stage.message_id, DELIVERED, b"DELIVRD", b"000")]
    assert stage.facts()[1:] == before[1:]
