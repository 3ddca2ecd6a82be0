"""A message's proof is read by whoever has the keys, and no octet of it can be another."""

from __future__ import annotations

import base64

import msgspec
import pytest

from storage.proofs.checkpoint import Checkpoint
from storage.proofs.merkle import ProofError, leaf_hash, root_of
from storage.proofs.note import LOG, WITNESS, Note, NoteError, Signer, VerifierKey
from storage.proofs.proof import Checked, MessageProof, ProvenRecord, prove
from storage.records import Accepted, AnyRecord, Receipt, Sent, encode
from tests.storage.scaffold import NOON_US, record

LOG_SIGNER = Signer("hn-gw-1", LOG, bytes(range(32)))
WITNESS_SIGNER = Signer("party-a", WITNESS, bytes(range(1, 33)))
KEYS = (LOG_SIGNER.verifier, WITNESS_SIGNER.verifier)
TRUST = (KEYS[0], KEYS[1:])
MESSAGE: list[AnyRecord] = [
    Accepted(NOON_US, "hukou", 1, 0, "cmcc", bytes(16), 1, 1, 0, 0, b""),
    Sent(3, NOON_US, 0, b"17"),
    Receipt(NOON_US, 3, "cmcc", 0, b"17", 2, b"DELIVRD", b"000", b"", b"", True, b"", b""),
]
RECORDS = [record(number) for number in range(1, 14)]
for place, each in zip((3, 5, 13), MESSAGE, strict=True):
    RECORDS[place - 1] = encode(each)
LEAVES = [leaf_hash(octets) for octets in RECORDS]
CHECKPOINT = Checkpoint("hn-gw-1", len(RECORDS), root_of(LEAVES))
TEXT = CHECKPOINT.text()
NOTE = Note(TEXT, (LOG_SIGNER.sign(TEXT), WITNESS_SIGNER.sign(TEXT, 1_790_000_000)))


def subtree(height: int, place: int) -> bytes:
    return root_of(LEAVES[place << height : (place + 1) << height])


def proof_of(*indexes: int) -> MessageProof:
    return prove({index: RECORDS[index - 1] for index in indexes}, NOTE, subtree)


def test_a_proof_is_read_back_and_shows_who_signed() -> None:
    proof = proof_of(3, 5, 13)
    again = MessageProof.parse(proof.encode())
    assert again == proof
    assert again.check(*TRUST) == Checked(
        CHECKPOINT, {KEYS[0]: 0, KEYS[1]: 1_790_000_000}, list(zip((3, 5, 13), MESSAGE, strict=True))
    )
    assert [(each.index, each.record) for each in again.records] == [
        (3, RECORDS[2]),
        (5, RECORDS[4]),
        (13, RECORDS[12]),
    ]


def test_the_file_has_the_form_that_the_specification_gives_it() -> None:
    first_line, extra, index, *rest = proof_of(3, 5).encode().decode().split("\n")
    assert (first_line, extra[:6], index) == ("c2sp.org/tlog-proof@v1", "extra ", "index 2")
    path = [base64.b64encode(each).decode() for each in proof_of(3).records[0].path]
    assert "\n".join(rest) == "\n".join([*path, "", NOTE.encode().decode()])


def test_no_bit_of_a_proof_can_be_another() -> None:
    octets = proof_of(3, 5).encode()
    for place in range(len(octets)):
        for bit in (1, 2, 4, 8, 16, 32, 64, 128):
            wrong = bytes([*octets[:place], octets[place] ^ bit, *octets[place + 1 :]])
            with pytest.raises((ProofError, NoteError)):
                MessageProof.parse(wrong).check(*TRUST)


@pytest.mark.parametrize("length", range(0, len(proof_of(3, 5).encode()), 11))
def test_a_proof_that_is_cut_short_proves_nothing(length: int) -> None:
    with pytest.raises((ProofError, NoteError)):
        MessageProof.parse(proof_of(3, 5).encode()[:length]).check(*TRUST)


def bent(*records: ProvenRecord) -> MessageProof:
    return MessageProof(list(records), NOTE)


THIRD, FIFTH = proof_of(3, 5).records

FORGERIES = {
    "another record": bent(ProvenRecord(3, record(99), THIRD.path)),
    "another index": bent(ProvenRecord(4, THIRD.record, THIRD.path)),
    "an index beyond the log": bent(ProvenRecord(14, THIRD.record, THIRD.path)),
    "the index 0": bent(ProvenRecord(0, THIRD.record, THIRD.path)),
    "a second record that is not there": bent(THIRD, ProvenRecord(5, record(99), FIFTH.path)),
    "another order": bent(FIFTH, THIRD),
    "the same record twice": bent(THIRD, THIRD),
    "the way of another": bent(ProvenRecord(3, THIRD.record, FIFTH.path)),
    "a record of no message": proof_of(3, 6),
    "nothing of a message": proof_of(1, 2),
    "no acceptance": proof_of(5, 13),
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_proof_proves_nothing(forged: MessageProof) -> None:
    with pytest.raises(ProofError):
        MessageProof.parse(forged.encode()).check(*TRUST)


def test_what_is_no_record_proves_nothing() -> None:
    leaves = [leaf_hash(b"no record")]
    text = Checkpoint("hn-gw-1", 1, root_of(leaves)).text()
    proof = MessageProof([ProvenRecord(1, b"no record", [])], Note(text, (LOG_SIGNER.sign(text),)))
    with pytest.raises(ProofError, match="record 1: "):
        proof.check(KEYS[0])


STRANGER = Signer("hn-gw-1", LOG, bytes(32)).verifier
UNTRUSTED = {
    "another log's key": (STRANGER, []),
    "a witness that has not signed": (KEYS[0], [Signer("party-c", WITNESS, bytes(32)).verifier]),
    "the witness's key for the log's": (KEYS[1], []),
}


@pytest.mark.parametrize(("log_key", "witnesses"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_everybody_who_is_asked_for_has_to_have_signed(
    log_key: VerifierKey, witnesses: list[VerifierKey]
) -> None:
    with pytest.raises(NoteError, match=r"is not signed by|and the key of"):
        proof_of(3).check(log_key, witnesses)


def test_nothing_is_proved_from_tiles_that_are_wrong() -> None:
    with pytest.raises(ProofError, match="`jingxin evidence verify` names the first that is wrong"):
        prove({3: RECORDS[2]}, NOTE, lambda height, place: bytes(32))


NO_PROOFS = {
    "nothing": b"",
    "no UTF-8": b"\xff\n\n",
    "another first line": proof_of(3).encode().replace(b"@v1", b"@v2"),
    "no records": MessageProof([THIRD], NOTE)
    .encode()
    .replace(base64.b64encode(msgspec.json.encode([THIRD])), base64.b64encode(b"[]")),
    "no JSON": MessageProof([THIRD], NOTE)
    .encode()
    .replace(base64.b64encode(msgspec.json.encode([THIRD])), base64.b64encode(b"{")),
    "an index with a zero": proof_of(3).encode().replace(b"index 2", b"index 02"),
    "an index with a sign": proof_of(3).encode().replace(b"index 2", b"index -2"),
}


@pytest.mark.parametrize("octets", NO_PROOFS.values(), ids=NO_PROOFS)
def test_what_is_no_proof(octets: bytes) -> None:
    with pytest.raises(ProofError):
        MessageProof.parse(octets)
