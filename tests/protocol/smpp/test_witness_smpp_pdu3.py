"""An independent codec, smpp.pdu3, reads what we write and writes what we read.

Where it departs from the specification:
- It cannot read or write submit_multi, submit_multi_resp and replace_sm at all, and knows nothing of 5.0.
- It drops TLVs of tags it does not know. 3.4 §3.3.1 has a receiver ignore them; a relay passes them on.
- It writes TLVs in an order of its own; their order is free (5.0 §4.8).
- It turns a vendor command_status (3.4 §5.1.3: 0x400 to 0x4FF) into a name, and loses the number.
- It refuses a message_id in deliver_sm_resp, which 3.4 §4.6.2 leaves unused, and which some peers fill.
- It stops short_message at 254 octets (5.0 §4.7.28: 255), and passwords at 8, as 3.4 §5.2.2 has it.
"""

from io import BytesIO

import msgspec
import pytest
from smpp.pdu.pdu_encoding import PDUEncoder

from protocol.smpp.codec import decode, encode
from protocol.smpp.codes import CommandId, TlvTag, command_name
from protocol.smpp.pdu import PDU_CLASSES, Pdu
from protocol.smpp.tlv import TLVS
from tests.protocol.smpp.pdus import shown
from tests.vectors.smpp_pdus import VECTORS, Vector

UNKNOWN_TO_THE_WITNESS = {
    CommandId.SUBMIT_MULTI,
    CommandId.SUBMIT_MULTI_RESP,
    CommandId.REPLACE_SM,
    CommandId.BROADCAST_SM,
    CommandId.BROADCAST_SM_RESP,
    CommandId.QUERY_BROADCAST_SM,
    CommandId.QUERY_BROADCAST_SM_RESP,
    CommandId.CANCEL_BROADCAST_SM,
    CommandId.CANCEL_BROADCAST_SM_RESP,
}
DROPPED_BY_THE_WITNESS = {TlvTag.CONGESTION_STATE}

known = [
    vector
    for vector in VECTORS
    if vector.pdu.command_id in PDU_CLASSES
    and vector.pdu.command_id not in UNKNOWN_TO_THE_WITNESS
    and not 0x400 <= vector.pdu.command_status < 0x500
]


def as_the_witness_keeps_it(pdu: Pdu) -> Pdu:
    """Known TLVs only, by tag."""
    kept = sorted(
        (tag, value) for tag, value in pdu.tlvs if tag in TLVS and tag not in DROPPED_BY_THE_WITNESS
    )
    return msgspec.structs.replace(pdu, tlvs=tuple(kept))


@pytest.mark.parametrize("vector", known, ids=lambda vector: vector.name)
def test_witness(vector: Vector) -> None:
    pdu = vector.pdu
    theirs = PDUEncoder().decode(BytesIO(encode(pdu)))
    assert theirs.commandId.name == command_name(pdu.command_id)
    assert theirs.seqNum == pdu.sequence_number

    # Field by field: under our name the witness has what makes the octets that we write for it.
    encoders = PDUEncoder().getRequiredParamEncoders(theirs)
    for field in pdu.FIELDS:
        if field.name in theirs.params:
            value = theirs.params[field.name]
            assert encoders[field.name].encode(value) == field.encode(getattr(pdu, field.name)), field.name
        else:
            assert pdu.command_status != 0, f"{field.name} may be missing in a refusal only"

    # A fresh encoder: the witness keeps the length of the last TLV it read.
    written = PDUEncoder().encode(theirs)
    assert shown(as_the_witness_keeps_it(decode(written))) == shown(as_the_witness_keeps_it(pdu))


def test_every_pdu_that_the_witness_knows_is_among_them() -> None:
    seen = {vector.pdu.command_id for vector in known}
    assert set(CommandId) - seen == UNKNOWN_TO_THE_WITNESS
