"""How often a peer answered with each status.

A status has 32 bits, and vendors invent their own.  The first hundred are counted by themselves, since an
operator wants to see a carrier's own codes; what comes later is counted together, so that no peer can fill
the memory or the metrics by inventing more.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

# SMPP 5.0 names 87 statuses; a carrier uses a dozen, with its own.
STATUSES_MAX: Final = 100

# Stands for every further status; no status is negative.
OTHER: Final = -1


class Tally(Counter[int]):
    """Statuses by number."""

    def count(self, status: int) -> None:
        """One more of ``status``."""
        self[status if status in self or len(self) < STATUSES_MAX else OTHER] += 1
