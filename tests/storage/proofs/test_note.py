"""Signed notes: the example of the specification, what is no note, and what was signed by nobody we know."""

from __future__ import annotations

import pytest

from storage.proofs.checkpoint import Checkpoint
from storage.proofs.note import LOG, WITNESS, Note, NoteError, Signer, VerifierKey

# From the text of C2SP signed-note.
PUBLISHED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PUBLISHED_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1"
    "Yu72IneyaQM=\n"
)

LOG_SIGNER = Signer("hn-gw-1", LOG, bytes(range(32)))
WITNESS_SIGNER = Signer("party-a", WITNESS, bytes(range(1, 33)))
TEXT = Checkpoint("hn-gw-1", 7, bytes(32)).text()
NOTE = Note(TEXT, (LOG_SIGNER.sign(TEXT), WITNESS_SIGNER.sign(TEXT, 1_790_000_000)))
KEYS = (LOG_SIGNER.verifier, WITNESS_SIGNER.verifier)


def test_the_published_note_is_signed_by_the_published_key() -> None:
    key = VerifierKey.parse(PUBLISHED_KEY)
    note = Note.parse(PUBLISHED_NOTE.encode())
    assert (str(key), note.encode().decode()) == (PUBLISHED_KEY, PUBLISHED_NOTE)
    assert note.signed_by((key,)) == {key: 0}


def test_a_log_and_a_witness_sign_the_same_text() -> None:
    assert Note.parse(NOTE.encode()) == NOTE
    assert NOTE.signed_by(KEYS) == {KEYS[0]: 0, KEYS[1]: 1_790_000_000}
    assert NOTE.signed_by(KEYS[:1]) == {KEYS[0]: 0}
    assert [VerifierKey.parse(str(key)) for key in KEYS] == list(KEYS)


def test_a_second_signature_of_a_key_takes_the_place_of_the_first() -> None:
    again = NOTE.signed_also(WITNESS_SIGNER.sign(TEXT, 1_790_000_001))
    assert [each.name for each in again.signatures] == ["hn-gw-1", "party-a"]
    assert again.signed_by(KEYS)[KEYS[1]] == 1_790_000_001


def test_no_octet_of_a_note_can_be_another() -> None:
    octets = NOTE.encode()
    for place in range(len(octets)):
        for bit in range(8):
            wrong = bytes([*octets[:place], octets[place] ^ 1 << bit, *octets[place + 1 :]])
            try:
                signed = Note.parse(wrong).signed_by(KEYS)
            except NoteError:
                continue
            # The name or the id of a line is another: then it is nobody's line.
            assert signed != NOTE.signed_by(KEYS)
            assert len(signed) == 1


@pytest.mark.parametrize("length", range(len(NOTE.encode())))
def test_a_note_that_is_cut_short_is_not_signed_by_both(length: int) -> None:
    try:
        signed = Note.parse(NOTE.encode()[:length]).signed_by(KEYS)
    except NoteError:
        return
    assert set(signed) == {KEYS[0]}


NO_NOTES = {
    "nothing": (b"", "a note ends with an empty line"),
    "no signature": (TEXT.encode(), "a note ends with an empty line"),
    "no UTF-8": (b"\xff\n\n\xe2\x80\x94 a b\n", "a note is text in UTF-8"),
    "a control character": (b"a\tb\n\n\xe2\x80\x94 a AAAAAAAA\n", "a note holds no control characters"),
    "another dash": (b"a\n\n- a AAAAAAAA\n", "'- a AAAAAAAA' is no line of a signature"),
    "no base64": (b"a\n\n\xe2\x80\x94 a *\n", "the signature of a is no base64"),
    "another spelling": (b"a\n\n\xe2\x80\x94 a AAAAAAB=\n", "another spelling"),
    "too short": (b"a\n\n\xe2\x80\x94 a AAAA\n", "the signature of a is too short"),
    "a name with a plus": (b"a\n\n\xe2\x80\x94 a+b AAAAAAAA\n", "'a.b' is no name of a key"),
    "too long": (bytes(65_537), "a note of 65537 octets"),
}


@pytest.mark.parametrize(("octets", "reason"), NO_NOTES.values(), ids=NO_NOTES)
def test_what_is_no_note(octets: bytes, reason: str) -> None:
    with pytest.raises(NoteError, match=reason):
        Note.parse(octets)


NO_KEYS = {
    "nothing": ("", "is no verifier key"),
    "two fields": ("a+b", "is no verifier key"),
    "another id": (PUBLISHED_KEY.replace("530d903a", "530d903b"), "has the id 530d903a, not 530d903b"),
    "another kind": ("a+00000000+Au4yeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "is no Ed25519 key"),
    "too short": ("a+00000000+AekyeQ==", "is no Ed25519 key"),
    "no base64": ("a+00000000+*", "is no verifier key"),
}


@pytest.mark.parametrize(("text", "reason"), NO_KEYS.values(), ids=NO_KEYS)
def test_what_is_no_verifier_key(text: str, reason: str) -> None:
    with pytest.raises(NoteError, match=reason):
        VerifierKey.parse(text)


CHECKPOINTS = {
    "two lines": ("a\n1\n", "at least three lines"),
    "an empty line": ("a\n\n" + TEXT.split("\n")[2] + "\n", "at least three lines"),
    "no newline at the end": (TEXT[:-1], "at least three lines"),
    "a size with a sign": (TEXT.replace("\n7\n", "\n+7\n"), "the size of a checkpoint is"),
    "a size with a zero": (TEXT.replace("\n7\n", "\n07\n"), "leading zeros"),
    "a size beyond all": (TEXT.replace("\n7\n", f"\n{10**19}\n"), "the size of a checkpoint is"),
    "a root of 31 octets": ("a\n1\n" + "A" * 40 + "AA==\n", "no hash of 32 octets"),
    "a root that is no base64": ("a\n1\n*\n", "no base64"),
}


@pytest.mark.parametrize(("text", "reason"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_what_is_no_checkpoint(text: str, reason: str) -> None:
    with pytest.raises(NoteError, match=reason):
        Checkpoint.parse(text)


def test_further_lines_of_a_checkpoint_are_passed_over() -> None:
    assert Checkpoint.parse(TEXT + "more\n") == Checkpoint("hn-gw-1", 7, bytes(32))
