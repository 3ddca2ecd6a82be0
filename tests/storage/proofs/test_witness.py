"""The witness signs only what extends the last it signed, and remembers it before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import DurabilityLost, LogInUse
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.merkle import Subtree, leaf_hash, root_of
from storage.proofs.note import LOG, WITNESS, Note, Signer, VerifierKey
from storage.proofs.witness import Witness, WitnessRefused
from tests.storage.scaffold import record

LOG_SIGNER = Signer("hn-gw-1", LOG, bytes(range(32)))
WITNESS_SIGNER = Signer("party-a", WITNESS, bytes(range(1, 33)))
NOW_S = 1_790_000_000

LEAVES = [leaf_hash(record(number)) for number in range(600)]
# A history in which record 5 is another one.
OTHER_LEAVES = [*LEAVES[:5], leaf_hash(b"another"), *LEAVES[6:]]


def note(
    size: int, leaves: list[bytes] = LEAVES, origin: str = "hn-gw-1", signer: Signer = LOG_SIGNER
) -> Note:
    text = Checkpoint(origin, size, root_of(leaves[:size])).text()
    return Note(text, (signer.sign(text),))


def tree(leaves: list[bytes]) -> Subtree:
    return lambda height, place: root_of(leaves[place << height : (place + 1) << height])


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    with Witness(tmp_path / "witness", WITNESS_SIGNER) as each:
        yield each


def cosign(
    witness: Witness, given: Note, leaves: list[bytes] = LEAVES, key: VerifierKey = LOG_SIGNER.verifier
) -> Note:
    return witness.cosign(given, key, tree(leaves), NOW_S)


def test_it_signs_a_log_that_grows(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "witness", WITNESS_SIGNER)
    for size in (1, 1, 7, 256, 300, 600):
        given = note(size)
        signed = cosign(witness, given)
        assert signed.text == given.text
        assert signed.signed_by((LOG_SIGNER.verifier, WITNESS_SIGNER.verifier)) == {
            LOG_SIGNER.verifier: 0,
            WITNESS_SIGNER.verifier: NOW_S,
        }
        assert witness.seen("hn-gw-1") == signed
    witness.close()
    with Witness(tmp_path / "witness", WITNESS_SIGNER) as again:
        assert again.seen("hn-gw-1") == signed


def test_two_at_once_cannot_sign_two_histories(witness: Witness, tmp_path: Path) -> None:
    with pytest.raises(LogInUse, match="another witness is at work here"):
        Witness(tmp_path / "witness", WITNESS_SIGNER)


REFUSED = {
    "a log that has become shorter": (note(6), LEAVES, "records are gone"),
    "another history, as long": (note(7, OTHER_LEAVES), OTHER_LEAVES, "does not extend the one of 7"),
    "another history, longer": (note(300, OTHER_LEAVES), OTHER_LEAVES, "does not extend the one of 7"),
    "tiles of another history": (note(300), OTHER_LEAVES, "does not extend the one of 7"),
    "a checkpoint of nobody": (
        note(300, signer=Signer("hn-gw-1", LOG, bytes(32))),
        LEAVES,
        "is not signed by hn-gw-1",
    ),
    "a text that was changed": (
        Note(note(300).text.replace("300", "301"), note(300).signatures),
        LEAVES,
        "is not of this text",
    ),
    "another log": (note(300, origin="hn-gw-2"), LEAVES, "is of hn-gw-2, and the key of hn-gw-1"),
}


@pytest.mark.parametrize(("given", "leaves", "reason"), REFUSED.values(), ids=REFUSED)
def test_it_signs_nothing_else(given: Note, leaves: list[bytes], reason: str, witness: Witness) -> None:
    before = cosign(witness, note(7))
    with pytest.raises(WitnessRefused, match=reason):
        cosign(witness, given, leaves)
    assert witness.seen("hn-gw-1") == before


def test_at_first_sight_the_tiles_have_to_lead_to_the_root(witness: Witness) -> None:
    with pytest.raises(WitnessRefused, match="the tiles do not lead to the root"):
        cosign(witness, note(300), OTHER_LEAVES)
    assert witness.seen("hn-gw-1") is None


def test_each_log_is_remembered_by_itself(witness: Witness) -> None:
    cosign(witness, note(300))
    other = Signer("hn-gw-2", LOG, bytes(range(3, 35)))
    given = note(7, origin="hn-gw-2", signer=other)
    assert cosign(witness, given, key=other.verifier).text == given.text
    seen = witness.seen("hn-gw-1")
    assert seen is not None
    assert Checkpoint.parse(seen.text).size == 300


def test_nothing_is_signed_that_is_not_remembered(
    witness: Witness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = cosign(witness, note(7))

    def fail(*_: object) -> None:
        raise DurabilityLost(tmp_path, "sync", OSError(5, "the disk is gone"))

    monkeypatch.setattr("storage.durable.Disk.sync_data", fail)
    with pytest.raises(DurabilityLost):
        cosign(witness, note(300))
    monkeypatch.undo()
    assert witness.seen("hn-gw-1") == before


@pytest.mark.parametrize("change", ["flipped", "cut", "of another witness", "of another log"])
def test_a_memory_that_is_not_its_own_is_no_memory(change: str, witness: Witness, tmp_path: Path) -> None:
    cosign(witness, note(7))
    [path] = (tmp_path / "witness").glob("*.checkpoint")
    octets = path.read_bytes()
    match change:
        case "flipped":
            path.write_bytes(octets.replace(b"\n7\n", b"\n6\n"))
        case "cut":
            path.write_bytes(octets[:-3])
        case "of another witness":
            other = Signer("party-c", WITNESS, bytes(range(5, 37)))
            path.write_bytes(note(7).signed_also(other.sign(note(7).text, NOW_S)).encode())
        case "of another log":
            text = Checkpoint("hn-gw-2", 7, bytes(32)).text()
            path.write_bytes(Note(text, (WITNESS_SIGNER.sign(text, NOW_S),)).encode())
    with pytest.raises(WitnessRefused, match="restore it from a copy"):
        cosign(witness, note(300))
