"""What became of a part (docs/statement-format.md): the one place that says so, for statements, search and
reconciliation alike.

What a part ended with decides by itself (`standing_at_end`), and stands in the table `outcome`. The standing
of a part that has not ended follows from its answers and attempts (`OPEN`).
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Standing = Literal["delivered", "failed", "unknown", "uncertain", "waiting", "cancelled"]
STANDINGS: Final[tuple[Standing, ...]] = get_args(Standing)

EndKind = Literal["receipt", "refused", "outcome"]

# SMPP 3.4 §5.2.28
_DELIVERED: Final = 2
_DELETED: Final = 4
_UNKNOWN: Final = 7


def standing_at_end(kind: EndKind, state: int, source: str) -> Standing:
    """By the record that ended the part: its kind, message_state, and who decided (of an outcome)."""
    if kind != "refused":
        if state == _DELIVERED:
            return "delivered"
        if state == _UNKNOWN:
            return "unknown"
        if kind == "outcome" and state == _DELETED and source == "application":
            return "cancelled"
    return "failed"


def open_standing(*, sent: str, in_doubt: str) -> str:
    """In SQL, of a part that has not ended, by two conditions: the carrier has answered that it took it; an
    attempt of it was neither answered nor withdrawn."""
    return f"CASE WHEN {sent} THEN 'unknown' WHEN {in_doubt} THEN 'uncertain' ELSE 'waiting' END"
