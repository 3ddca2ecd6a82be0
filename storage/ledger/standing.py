"""What became of a part (docs/statement-format.md): the one place that says so, for statements, search and
reconciliation alike.

What a part ended with decides by itself (`standing_at_end`), and stands in the table `outcome`. The standing
of a part that has not ended follows from its answers and attempts (`standing_while_open`, and the same in
SQL).
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


def standing_while_open(*, sent: bool, in_doubt: bool) -> Standing:
    """sent: the carrier has answered that it took it; in_doubt: an attempt was neither answered nor
    withdrawn."""
    return "unknown" if sent else "uncertain" if in_doubt else "waiting"


def open_standing(*, sent: str, in_doubt: str) -> str:
    """As standing_while_open, of two conditions in SQL."""
    return f"CASE WHEN {sent} THEN 'unknown' WHEN {in_doubt} THEN 'uncertain' ELSE 'waiting' END"
