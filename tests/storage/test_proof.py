"""A message's proof is read by whoever has the keys, and no octet of it can be another."""

from __future__ import annotations

import base64

import msgspec
import pytest

from storage.checkpoint import Checkpoint
from storage.merkle import ProofError, leaf_hash, root_of
from storage.note import LOG, WITNESS, Note, NoteError, Signer
from storage.proof import MessageProof, ProvenRecord, prove
from tests.storage.scaffold import record

LOG_SIGNER = Signer("hn-gw-1", LOG, bytes(range(32)))
WITNESS_SIGNER = Signer("party-a", WITNESS, bytes(range(1, 33)))
KEYS = (LOG_SIGNER.verifier, WITNESS_SIGNER.verifier)
RECORDS = [record(number) for number in range(1, 14)]
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
    assert again.check(KEYS) == (CHECKPOINT, {KEYS[0]: 0, KEYS[1]: 1_790_000_000})
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
    whole = MessageProof.parse(octets).check(KEYS)
    for place in range(len(octets)):
        for bit in (1, 2, 4, 8, 16, 32, 64, 128):
            wrong = bytes([*octets[:place], octets[place] ^ bit, *octets[place + 1 :]])
            try:
                found = MessageProof.parse(wrong).check(KEYS)
            except (ProofError, NoteError):
                continue
            # The name or id in the line of one signer is another: that line is nobody's then.
            assert found != whole
            assert len(found[1]) == 1


@pytest.mark.parametrize("length", range(0, len(proof_of(3, 5).encode()) - 140, 11))
def test_a_proof_that_is_cut_short_proves_nothing(length: int) -> None:
    with pytest.raises((ProofError, NoteError)):
        MessageProof.parse(proof_of(3, 5).encode()[:length]).check(KEYS)


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
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_proof_proves_nothing(forged: MessageProof) -> None:
    with pytest.raises(ProofError):
        MessageProof.parse(forged.encode()).check(KEYS)


def test_a_proof_that_nobody_known_signed_proves_nothing() -> None:
    stranger = Signer("hn-gw-1", LOG, bytes(32)).verifier
    with pytest.raises(NoteError, match="none of the keys"):
        proof_of(3).check((stranger,))


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
