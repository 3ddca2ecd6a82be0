"""The one way in which the auditor says that something is not as the documents want it."""

from __future__ import annotations


class Wrong(Exception):
    """What is wrong, in one line."""


def demand(holds: bool, reason: str) -> None:
    """Go on only if it holds."""
    if not holds:
        raise Wrong(reason)
