"""The hand-written functions and the rows say the same: of every frame, sound or not, and of every PDU."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.smpp import codec_fast
from protocol.smpp.codec import HEADER, decode, decode_by_row, encode, encode_body, encode_body_by_row
from protocol.smpp.errors import LocalError, PduError
from protocol.smpp.fields import CString, Octet
from protocol.smpp.pdu import PDU_CLASSES, DeliverSm, DeliverSmResp, Pdu, SubmitSm, SubmitSmResp
from tests.protocol.smpp.pdus import pdus_of, shown
from tests.vectors.smpp_pdus import VECTORS

FAST: tuple[type[Pdu], ...] = (SubmitSm, SubmitSmResp, DeliverSm, DeliverSmResp)
COMMAND_IDS = {int(pdu_class.command_id) for pdu_class in FAST}
FRAMES = [vector.frame for vector in VECTORS if vector.pdu.command_id in COMMAND_IDS]

fast_pdus = st.one_of(*(pdus_of(pdu_class) for pdu_class in FAST))


def outcome_by_row(frame: bytes) -> object:
    _, command_id, command_status, sequence_number = HEADER.unpack_from(frame)
    try:
        return shown(decode_by_row(PDU_CLASSES[command_id], frame, command_status, sequence_number))
    except PduError as error:
        return error.args


def outcome(frame: bytes) -> object:
    try:
        return shown(decode(frame))
    except PduError as error:
        return error.args


def with_length(frame: bytes) -> bytes:
    """`frame` with a true command_length, so that the fault is where it was put."""
    return len(frame).to_bytes(4, "big") + frame[4:]


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """A frame of a fast PDU, with up to four octets changed, taken out or put in, and perhaps cut short."""
    frame = bytearray(encode(draw(fast_pdus)))
    for _ in range(draw(st.integers(0, 4))):
        if len(frame) == 16:
            break
        at = draw(st.integers(16, len(frame) - 1))
        match draw(st.integers(0, 2)):
            case 0:
                frame[at] = draw(st.integers(0, 255))
            case 1:
                del frame[at]
            case 2:
                frame.insert(at, draw(st.integers(0, 255)))
    if draw(st.booleans()):
        del frame[draw(st.integers(16, len(frame))) :]
    return with_length(bytes(frame))


@settings(deadline=None, max_examples=300)
@given(damaged_frames())
def test_decoding_agrees(frame: bytes) -> None:
    assert outcome(frame) == outcome_by_row(frame)


@pytest.mark.parametrize("frame", FRAMES, ids=[str(number) for number in range(len(FRAMES))])
def test_decoding_agrees_with_any_octet_changed_and_at_any_length(frame: bytes) -> None:
    for at in range(16, len(frame)):
        for value in (0x00, 0x01, 0x30, 0xFF):
            changed = frame[:at] + bytes((value,)) + frame[at + 1 :]
            assert outcome(changed) == outcome_by_row(changed)
        cut = with_length(frame[:at])
        assert outcome(cut) == outcome_by_row(cut)


@pytest.mark.parametrize("pdu_class", FAST, ids=lambda pdu_class: pdu_class.__name__)
def test_the_fast_function_serves_what_is_sound(pdu_class: type[Pdu]) -> None:
    """Agreement would also hold if every frame fell back to the row: here it may not."""
    served = {
        SubmitSm: codec_fast.decode_submit_sm,
        SubmitSmResp: codec_fast.decode_submit_sm_resp,
        DeliverSm: codec_fast.decode_deliver_sm,
        DeliverSmResp: codec_fast.decode_deliver_sm_resp,
    }[pdu_class]
    for vector in VECTORS:
        if type(vector.pdu) is pdu_class:
            pdu = vector.pdu
            assert shown(served(vector.frame, pdu.command_status, pdu.sequence_number)) == shown(pdu)


@pytest.mark.parametrize(
    ("pdu_class", "field"),
    [(pdu_class, field) for pdu_class in FAST for field in pdu_class.FIELDS if isinstance(field, CString)],
    ids=lambda value: value.__name__ if isinstance(value, type) else value.name,
)
def test_strings_at_their_bound(pdu_class: type[Pdu], field: CString) -> None:
    """Everything else in the frame is sound, so nothing but the bound can refuse it."""

    def frame_with(octets: int) -> bytes:
        fields = [bytes(1) if other is not field else b"1" * octets + b"\0" for other in pdu_class.FIELDS]
        return with_length(HEADER.pack(0, pdu_class.command_id, 0, 7) + b"".join(fields))

    longest = decode(frame_with(field.octets_max - 1))
    assert getattr(longest, field.name) == b"1" * (field.octets_max - 1)
    assert encode(longest) == frame_with(field.octets_max - 1)
    with pytest.raises(PduError) as caught:
        decode(frame_with(field.octets_max))
    assert caught.value.command_status == field.command_status


@settings(deadline=None, max_examples=200)
@given(fast_pdus)
@example(SubmitSmResp(1, 0x58))
@example(DeliverSmResp(1, 0x58))
def test_encoding_agrees(pdu: Pdu) -> None:
    assert encode_body(pdu) == encode_body_by_row(pdu)


any_octets = st.one_of(st.binary(max_size=30), st.binary(min_size=60, max_size=70), st.just(bytes(256)))
any_integer = st.integers(-2, 258)
any_message_values = st.tuples(
    st.just(1),
    st.just(0),
    *(any_integer if isinstance(field, Octet) else any_octets for field in SubmitSm.FIELDS),
)
any_tag = st.sampled_from([-1, 0, 0x1401, 65535, 65536])
any_tlvs = st.lists(st.tuples(any_tag, any_octets), max_size=2).map(tuple)


def encoded(pdu: Pdu, by_row: bool) -> object:
    try:
        return encode_body_by_row(pdu) if by_row else encode_body(pdu)
    except LocalError as error:
        return str(error)


@settings(deadline=None, max_examples=200)
@given(any_message_values, any_tlvs, any_octets)
def test_mistakes_agree(
    values: tuple[object, ...], tlvs: tuple[tuple[int, bytes], ...], message_id: bytes
) -> None:
    message: list[Callable[..., Pdu]] = [SubmitSm, DeliverSm]
    response: list[Callable[..., Pdu]] = [SubmitSmResp, DeliverSmResp]
    pdus = [construct(*values, tlvs) for construct in message]
    pdus += [construct(1, 0, message_id, tlvs) for construct in response]
    for pdu in pdus:
        assert encoded(pdu, by_row=False) == encoded(pdu, by_row=True)


# --- relaying a message as it came ------------------------------------------------------------


@settings(deadline=None)
@given(pdus_of(SubmitSm), st.integers(0, 255))
def test_registered_delivery_is_the_only_octet_that_changes(pdu: Pdu, registered_delivery: int) -> None:
    assert isinstance(pdu, SubmitSm)
    frame = encode(pdu)
    body = codec_fast.submit_body_with_registered_delivery(frame, pdu, registered_delivery)
    pdu.registered_delivery = registered_delivery
    assert body == encode_body(pdu)


@pytest.mark.parametrize("registered_delivery", [-1, 256])
def test_registered_delivery_must_be_an_octet(registered_delivery: int) -> None:
    pdu = SubmitSm(1)
    with pytest.raises(LocalError, match="allowed are 0 to 255"):
        codec_fast.submit_body_with_registered_delivery(encode(pdu), pdu, registered_delivery)


def test_frame_and_pdu_must_belong_together() -> None:
    frame = encode(SubmitSm(1, registered_delivery=1))
    with pytest.raises(AssertionError):
        codec_fast.submit_body_with_registered_delivery(frame, SubmitSm(1, registered_delivery=2), 0)
