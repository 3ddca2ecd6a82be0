"""Checkpoints (C2SP tlog-checkpoint): how large the log is and what its root is, as a text to be signed."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from storage.proofs.merkle import HASH_OCTETS
from storage.proofs.note import NoteError, from_base64

_SIZE_DIGITS_MAX: Final = 19  # a tree of 2**63 leaves is as large as any may be


class Checkpoint(msgspec.Struct, frozen=True):
    """The state of a log.  origin: its name; size: its records; root: the hash over all of them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises NoteError. Lines behind the third, which others may add, are passed over."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise NoteError("a checkpoint has at least three lines, and none of them is empty")
        origin, digits, encoded = lines[:3]
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _SIZE_DIGITS_MAX):
            raise NoteError(f"the size of a checkpoint is {digits[:40]!r}")
        if digits != str(int(digits)):
            raise NoteError(f"the size of a checkpoint has leading zeros: {digits}")
        try:
            root = from_base64(encoded)
        except ValueError as error:
            raise NoteError(f"the root of a checkpoint {error}") from None
        if len(root) != HASH_OCTETS:
            raise NoteError("the root of a checkpoint is no hash of 32 octets")
        return cls(origin, int(digits), root)
