"""Signed notes (C2SP signed-note): a text, an empty line, and under it one line for each who signed.

Two kinds of signature are known here.  A log signs the text itself (Ed25519, type 1).  A witness signs the
text and the time at which it saw it (Ed25519, type 4, C2SP tlog-cosignature).  A key is named by whose it is
and by four octets of a hash over its name, kind and value; lines of keys that nobody asked about are passed
over, so others may sign too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.errors import EvidenceError

LOG: Final = 0x01
WITNESS: Final = 0x04

# A note with a dozen signatures is one KB; what is longer is none of ours.
NOTE_OCTETS_MAX: Final = 65_536

_KEY_ID_OCTETS: Final = 4
_KEY_OCTETS: Final = 32
_SIGNATURE_OCTETS: Final = 64
_TIME_OCTETS: Final = 8
_TIME_MAX: Final = 2**63 - 1
_DASH: Final = "\u2014 "


class NoteError(EvidenceError):
    """A note, or a key for notes, is not what it has to be; the text says what is wrong with it."""


class VerifierKey(msgspec.Struct, frozen=True):
    """The public half of a key: `name+hexadecimal id+base64 of kind and key` in a file or configuration."""

    name: str
    kind: int  # LOG or WITNESS
    public: bytes  # 32 octets

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Raises NoteError."""
        if text.startswith("PRIVATE+KEY+"):
            raise NoteError("that is the private key: the verifier key stands beside it, in the file .pub")
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            octets = base64.b64decode(encoded, validate=True)
        except ValueError:
            # Whatever it is, it is not printed: somebody may have named a private key.
            raise NoteError("that is no verifier key, which has the form name+id+key") from None
        if len(octets) != 1 + _KEY_OCTETS or octets[0] not in (LOG, WITNESS):
            raise NoteError("the key is no Ed25519 key of a log or a witness")
        key = cls(name, octets[0], octets[1:])
        _check_name(name)
        if key.key_id.hex() != key_id:
            raise NoteError(f"the key of {name} has the id {key.key_id.hex()}, not {key_id}")
        return key

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes((self.kind,)) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @property
    def key_id(self) -> bytes:
        """Four octets that stand before each signature."""
        body = self.name.encode() + b"\n" + bytes((self.kind,)) + self.public
        return hashlib.sha256(body).digest()[:_KEY_ID_OCTETS]


class Signature(msgspec.Struct, frozen=True):
    """One line under a note.  octets: as they stand there, without the id of the key."""

    name: str
    key_id: bytes
    octets: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.octets).decode()}\n"


class Note(msgspec.Struct, frozen=True):
    """A text, which ends with a newline, and who has signed it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, octets: bytes) -> Note:
        """Raises NoteError for what is no signed note; says nothing of whether a signature is right."""
        if len(octets) > NOTE_OCTETS_MAX:
            raise NoteError(f"a note of {len(octets)} octets, at most {NOTE_OCTETS_MAX} are read")
        try:
            whole = octets.decode()
        except UnicodeDecodeError:
            raise NoteError("a note is text in UTF-8") from None
        if any(character < " " and character != "\n" for character in whole):
            raise NoteError("a note holds no control characters")
        text, empty, below = whole.rpartition("\n\n")
        if not empty or not below.endswith("\n"):
            raise NoteError("a note ends with an empty line and the lines of its signatures")
        return cls(text + "\n", tuple(_parse_line(line) for line in below[:-1].split("\n")))

    def encode(self) -> bytes:
        return (self.text + "\n" + "".join(each.line() for each in self.signatures)).encode()

    def signed_also(self, signature: Signature) -> Note:
        """The note with one more line; an earlier one of the same key goes."""
        others = [
            each for each in self.signatures if (each.name, each.key_id) != (signature.name, signature.key_id)
        ]
        return Note(self.text, (*others, signature))

    def signed_by(self, keys: Sequence[VerifierKey]) -> dict[VerifierKey, int]:
        """Of these keys those that have signed, with the time in seconds that a witness has signed too, else
        0.  Raises NoteError if a line of one of them is wrong: whoever made that line up, or whatever
        happened to the text, nothing here can be believed."""
        found: dict[VerifierKey, int] = {}
        for key in keys:
            for signature in self.signatures:
                if (signature.name, signature.key_id) == (key.name, key.key_id):
                    found[key] = _check(key, self.text, signature.octets)
        return found


def from_base64(text: str) -> bytes:
    """What `text` spells, if it is spelt as base64 gives it. Raises ValueError, whose text says of it what is
    wrong: "is no base64", or "has another spelling than base64 gives it"."""
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is no base64") from None
    if base64.b64encode(octets).decode() != text:
        raise ValueError("has another spelling than base64 gives it")
    return octets


def _parse_line(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH):
        raise NoteError(f"{line[:40]!r} is no line of a signature")
    _check_name(name)
    try:
        octets = from_base64(encoded)
    except ValueError as error:
        raise NoteError(f"the signature of {name} {error}") from None
    if len(octets) <= _KEY_ID_OCTETS:
        raise NoteError(f"the signature of {name} is too short")
    return Signature(name, octets[:_KEY_ID_OCTETS], octets[_KEY_ID_OCTETS:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise NoteError(f"{name!r} is no name of a key: it has no blanks and no plus")


def _check(key: VerifierKey, text: str, octets: bytes) -> int:
    """Raises NoteError unless this is the key's signature of the text; returns the time in it, or 0."""
    time_s = 0
    signed = text.encode()
    if key.kind == WITNESS:
        if len(octets) != _TIME_OCTETS + _SIGNATURE_OCTETS:
            raise NoteError(f"the cosignature of {key.name} has {len(octets)} octets")
        time_s = int.from_bytes(octets[:_TIME_OCTETS], "big")
        if time_s > _TIME_MAX:
            raise NoteError(f"the cosignature of {key.name} has an impossible time")
        signed, octets = _with_time(text, time_s), octets[_TIME_OCTETS:]
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(octets, signed)
    except InvalidSignature:
        raise NoteError(f"the signature of {key.name} is not of this text") from None
    return time_s


def _with_time(text: str, time_s: int) -> bytes:
    """What a witness signs (C2SP tlog-cosignature, Ed25519 signed message)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


class Signer:
    """The private half of a key."""

    def __init__(self, name: str, kind: int, secret: bytes) -> None:
        """`secret`: the seed, 32 octets.  Raises NoteError for a name that no key can have."""
        _check_name(name)
        assert kind in (LOG, WITNESS)
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.verifier = VerifierKey(name, kind, self._key.public_key().public_bytes_raw())

    def sign(self, text: str, time_s: int = 0) -> Signature:
        """`text` ends with a newline; `time_s`: when a witness saw it."""
        assert text.endswith("\n")
        key = self.verifier
        if key.kind == WITNESS:
            assert 0 < time_s <= _TIME_MAX
            octets = time_s.to_bytes(_TIME_OCTETS, "big") + self._key.sign(_with_time(text, time_s))
        else:
            octets = self._key.sign(text.encode())
        return Signature(key.name, key.key_id, octets)
