"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from tests.auditor import ed25519
from tests.auditor.wrong import Wrong, demand

BY_LOG = 1
BY_WITNESS = 4
DASH = "— "


def from_base64(text: str) -> bytes:
    """Octets of base64 in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as trouble:
        raise Wrong(f"no base64: {text[:40]!r}") from trouble
    demand(base64.b64encode(data).decode() == text, f"base64 with stray bits: {text[:40]!r}")
    return data


@dataclass(frozen=True)
class Key:
    """A public key as it is handed out: NAME+HASH+BASE64, the last of the type and the key."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def read(cls, text: str) -> Key:
        """A key from its text."""
        pieces = text.strip().split("+", 2)
        demand(len(pieces) == 3 and bool(pieces[0]), "no key of the form NAME+HASH+BASE64")
        name, identity, encoded = pieces
        data = from_base64(encoded)
        demand(len(data) == 33 and data[0] in (BY_LOG, BY_WITNESS), "a key of an unknown type")
        key = cls(name, data[0], data[1:])
        demand(key.identity.hex() == identity, "the key is not the one its hash names")
        return key

    @property
    def identity(self) -> bytes:
        """Four octets before each signature."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def signs(self, text: str, signature: bytes) -> bool:
        """Whether what stands behind the four octets is this key's signature of the text."""
        if self.kind == BY_LOG:
            return ed25519.verifies(self.public, text.encode(), signature)
        if len(signature) != 72:
            return False
        seen = int.from_bytes(signature[:8], "big")
        message = f"cosignature/v1\ntime {seen}\n{text}"
        return ed25519.verifies(self.public, message.encode(), signature[8:])


@dataclass(frozen=True)
class Note:
    """A text, which ends in a newline, and the signatures under it: who, key, octets."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def read(cls, whole: str) -> Note:
        """A note; nothing may stand behind its last signature."""
        text, middle, below = whole.rpartition("\n\n")
        demand(bool(middle) and bool(text) and below.endswith("\n"), "no signed note")
        signatures = []
        for line in below[:-1].split("\n"):
            demand(line.startswith(DASH), "no line of a signature")
            name, space, encoded = line[len(DASH) :].partition(" ")
            data = from_base64(encoded)
            demand(bool(name) and bool(space) and len(data) > 4, "no signature in its line")
            signatures.append((name, data[:4], data[4:]))
        return cls(text + "\n", tuple(signatures))

    def require(self, key: Key) -> None:
        """One signature at least must be this key's, and none of its may be bad."""
        mine = [
            data for name, identity, data in self.signatures if (name, identity) == (key.name, key.identity)
        ]
        demand(bool(mine), f"not signed by {key.name}")
        demand(all(key.signs(self.text, data) for data in mine), f"the signature of {key.name} is wrong")


@dataclass(frozen=True)
class Checkpoint:
    """So many records have this root."""

    note: Note
    octets: bytes
    size: int
    root: bytes

    @classmethod
    def read(cls, data: bytes, key: Key) -> Checkpoint:
        """A checkpoint with the log's signature."""
        try:
            note = Note.read(data.decode())
        except UnicodeDecodeError as trouble:
            raise Wrong("a checkpoint that is not UTF-8") from trouble
        lines = note.text.split("\n")
        demand(len(lines) == 4, "a checkpoint has three lines")
        name, size, root = lines[:3]
        demand(name == key.name, f"a checkpoint of {name!r}, not of {key.name!r}")
        demand(
            size.isascii() and size.isdecimal() and str(int(size)) == size, f"a checkpoint of size {size!r}"
        )
        note.require(key)
        octets = from_base64(root)
        demand(len(octets) == 32, "a root has 32 octets")
        return cls(note, data, int(size), octets)
