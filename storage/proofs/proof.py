"""One message's way through the log as a file that proves itself (C2SP tlog-proof).

A proof holds the record, where it stands, the hashes that lead from it to the root, and the checkpoint that
names this root with all who signed it.  A message has several records.  The proof is of the one that
accepted it, as the format has it; the others, and what each contains, stand in its line `extra`, each with a
way of its own to the same root.  So one file shows what became of a message to somebody who has nothing but
public keys; what came later than the checkpoint it cannot show.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from storage.proofs.checkpoint import Checkpoint
from storage.proofs.merkle import ProofError, Subtree, check_inclusion, inclusion_proof, leaf_hash
from storage.proofs.note import Note, NoteError, VerifierKey, from_base64
from storage.records import AnyRecord, decode
from storage.segment import FIRST_INDEX
from storage.show import others_than_of_one_message

_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
_INDEX_DIGITS_MAX: Final = 19

# A message has at most some dozens of records of a few hundred octets, and forty hashes for each.
PROOF_OCTETS_MAX: Final = 16 * 2**20


class ProvenRecord(msgspec.Struct, frozen=True):
    """A record, its index (from 1, as everywhere in the evidence), and its way to the root."""

    index: int
    record: bytes
    path: list[bytes]


class MessageProof(msgspec.Struct, frozen=True):
    """The records of one message, that of its acceptance first, and the checkpoint that they lead to."""

    records: list[ProvenRecord]
    note: Note

    def encode(self) -> bytes:
        first = self.records[0]
        extra = base64.b64encode(msgspec.json.encode(self.records)).decode()
        path = "".join(f"{base64.b64encode(each).decode()}\n" for each in first.path)
        head = f"{_FIRST_LINE}\nextra {extra}\nindex {first.index - FIRST_INDEX}\n{path}\n"
        return head.encode() + self.note.encode()

    @classmethod
    def parse(cls, octets: bytes) -> MessageProof:
        """Raises ProofError, NoteError. Nothing is proved by this: see `check`."""
        if len(octets) > PROOF_OCTETS_MAX:
            raise ProofError(f"a proof of {len(octets)} octets, at most {PROOF_OCTETS_MAX} are read")
        head, _, note = octets.partition(b"\n\n")
        try:
            first_line, extra, index, *path = head.decode().split("\n")
        except (UnicodeDecodeError, ValueError):
            raise ProofError("not the lines of a proof") from None
        if first_line != _FIRST_LINE:
            raise ProofError(f"the first line is not {_FIRST_LINE}")
        try:
            records = msgspec.json.decode(_line(extra, "extra"), type=list[ProvenRecord])
        except msgspec.DecodeError as error:
            raise ProofError(f"the line extra does not hold records: {error}") from error
        digits = index.removeprefix("index ")
        sound = digits.isascii() and digits.isdigit() and len(digits) <= _INDEX_DIGITS_MAX
        if not index.startswith("index ") or not sound or digits != str(int(digits)):
            raise ProofError(f"{index[:60]!r} names no index")
        if not records or records[0].index != int(digits) + FIRST_INDEX:
            raise ProofError("the first record in the line extra is not the one at the index")
        if records[0].path != [_decoded(each) for each in path]:
            raise ProofError("the way of the first record is not the one in the line extra")
        proof = cls(records, Note.parse(note))
        if proof.encode() != octets:
            raise ProofError("the same proof is spelt in another way here than it was made")
        return proof

    def check(self, log_key: VerifierKey, witness_keys: Sequence[VerifierKey] = ()) -> Checked:
        """What the file proves. Raises ProofError, NoteError: where the log or one of these witnesses has not
        signed, and for records that are of no message, or not all of one.

        It cannot show that the message has no further records: those may have come after the checkpoint.
        """
        keys = (log_key, *witness_keys)
        signed = self.note.signed_by(keys)
        if missing := [key for key in keys if key not in signed]:
            raise NoteError(f"the checkpoint is not signed by {missing[0]}")
        checkpoint = Checkpoint.parse(self.note.text)
        if checkpoint.origin != log_key.name:
            raise NoteError(f"the checkpoint is of {checkpoint.origin}, and the key of {log_key.name}")
        indexes = [each.index for each in self.records]
        if indexes != sorted(set(indexes)):
            raise ProofError("the records do not stand in the order of the log, each once")
        records = []
        for each in self.records:
            leaf = leaf_hash(each.record)
            try:
                check_inclusion(leaf, each.index - FIRST_INDEX, checkpoint.size, each.path, checkpoint.root)
                records.append((each.index, decode(each.record)))
            except (ProofError, msgspec.DecodeError) as error:
                raise ProofError(f"record {each.index}: {error}") from error
        if strangers := others_than_of_one_message(records):
            raise ProofError(f"record {strangers[0]} is not of the message that the first one began")
        return Checked(checkpoint, signed, records)


class Checked(msgspec.Struct, frozen=True):
    """What a proof proves: that these records, by index, are in the log of this checkpoint, and who signed
    it (`Note.signed_by`)."""

    checkpoint: Checkpoint
    signed: dict[VerifierKey, int]
    records: list[tuple[int, AnyRecord]]


def prove(records: Mapping[int, bytes], note: Note, subtree: Subtree) -> MessageProof:
    """The proof of these records by index, all of which are in the checkpoint of the note. Raises ProofError,
    TileMissing."""
    checkpoint = Checkpoint.parse(note.text)
    proven = []
    for index, record in sorted(records.items()):
        leaf = index - FIRST_INDEX
        path = inclusion_proof(leaf, checkpoint.size, subtree)
        try:
            check_inclusion(leaf_hash(record), leaf, checkpoint.size, path, checkpoint.root)
        except ProofError as error:
            raise ProofError(
                f"record {index}: {error}: the tiles or the record are not those that were signed:"
                " `jingxin evidence verify` names the first that is wrong"
            ) from error
        proven.append(ProvenRecord(index, record, path))
    return MessageProof(proven, note)


def _line(line: str, word: str) -> bytes:
    if not line.startswith(f"{word} "):
        raise ProofError(f"{line[:60]!r} is not the line {word}")
    return _decoded(line.removeprefix(f"{word} "))


def _decoded(text: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError as error:
        raise ProofError(f"{text[:60]!r} {error}") from None
