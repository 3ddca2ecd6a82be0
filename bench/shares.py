"""Which of several things happens to a message, in given shares and in an order that a seed decides."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

# A share is right within one in 4,096, and exactly so after every 4,096 draws.
_PLACES: Final = 4096


class Draw(Generic[Value]):
    """Draws without chance: a shuffled deck of 4,096 cards, gone through again and again."""

    def __init__(self, shares: Mapping[Value, float], rest: Value, seed: int) -> None:
        """`rest` fills up what the shares leave. Raises ValueError when they are more than the whole."""
        total = sum(shares.values())
        if total > 1 + 1e-9 or any(share < 0 for share in shares.values()):
            raise ValueError(f"shares {dict(shares)} are negative, or more than 1 together")
        deck = [value for value, share in shares.items() for _ in range(round(share * _PLACES))]
        deck = deck[:_PLACES] + [rest] * (_PLACES - len(deck))
        random.Random(seed).shuffle(deck)
        self._deck = deck
        self._next = 0
        self.constant: Final = deck.count(deck[0]) == _PLACES
        """Whether every draw gives the same."""

    def draw(self) -> Value:
        place = self._next
        self._next = (place + 1) % _PLACES
        return self._deck[place]


def happens(share: float, seed: int) -> Draw[bool]:
    """Draws True in `share` of all cases."""
    return Draw({True: share}, False, seed)
