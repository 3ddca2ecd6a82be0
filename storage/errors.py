"""What can go wrong with the evidence, named by remedy."""

from __future__ import annotations

from pathlib import Path


class EvidenceError(Exception):
    """Any trouble with the evidence, its keys or its files."""


class CorruptEvidence(EvidenceError):
    """Octets that were durable are wrong or missing. The start is refused; restore the file from a copy."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"{path}: at octet {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class DurabilityLost(EvidenceError):
    """A write, sync or rename failed: what is on disk is unknown. Never retried; the process must end.

    The next start reads what is really there.
    """

    def __init__(self, path: Path, operation: str, cause: OSError) -> None:
        super().__init__(f"{path}: {operation} failed: {cause.strerror or cause}")
        self.path = path
        self.operation = operation
        self.errno = cause.errno


class Unreadable(EvidenceError):
    """A directory cannot be looked into, so nobody knows what stands there; the message says what to do."""


class NoRoom(EvidenceError):
    """There is no disk space for a segment. Free some; nothing was lost."""


class LogInUse(EvidenceError):
    """Another process has this evidence directory open for writing."""


class LogRefused(EvidenceError):
    """The log has failed or is closed, and takes nothing more."""


class NoSuchRecord(EvidenceError, LookupError):
    """The log has no record with this index: not yet, no longer, or never."""


class ContentErased(EvidenceError):
    """The data key of this content is gone, so the content is too. The facts beside it remain."""


class ContentDamaged(EvidenceError):
    """The sealed octets do not authenticate under their key and record index."""


class KeyFileError(EvidenceError):
    """A master key or data key file is missing, malformed or readable by others; the message says more."""


class WrongMasterKey(KeyFileError):
    """The master key given is not the one this evidence directory was begun with."""
