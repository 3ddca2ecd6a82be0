"""What can be wrong with what a person gives a settlement to work with."""

from __future__ import annotations


class SettlementError(ValueError):
    """A contract, period, bill or font that cannot be used. One line: what is wrong, what is allowed."""
