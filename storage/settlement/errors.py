"""What can be wrong with what a person gives a settlement to work with."""

from __future__ import annotations


class SettlementError(ValueError):
    """A contract, a period, a bill or a font that cannot be used. One line: what is wrong, what is allowed."""
