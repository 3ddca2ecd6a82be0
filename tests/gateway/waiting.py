"""Parts and carriers by themselves, for tests of what waits where and goes which way."""

from __future__ import annotations

from typing import Any

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.congestion import Congestion
from gateway.message import Part
from tests.gateway.world import MOBILE, account, carrier

OWNER = Account(account(), 1000, 0.0)
NOWHERE = Carrier(carrier("nowhere"), 1000, 0.0)


class StandingLink:
    """A link as far as a carrier asks it: it stands, and has so many free window slots."""

    def __init__(self) -> None:
        self.can_send = True
        self.silent = False
        self.slots = 10
        self.reserved = 0
        self.congestion: Any = Congestion(1_000, 1.0, 0.0)

    @property
    def room(self) -> int:
        return self.slots - self.reserved


def standing(name: str, network: str = "mobile", links: int = 1, **settings: Any) -> Carrier:
    """A carrier account with links that stand."""
    owner = Carrier(carrier(name, network, **settings), 1000, 0.0)
    owner.links = [StandingLink() for _ in range(links)]  # type: ignore[misc]
    return owner


def links_of(owner: Carrier) -> list[StandingLink]:
    """The links of a carrier that :func:`standing` made."""
    return owner.links  # type: ignore[return-value]


def waiting(number: int, lane: int = 2, at: Carrier = NOWHERE, **fields: Any) -> Part:
    """A part with that number, which waits in that lane."""
    part = Part(
        *(number, number, OWNER, at, MOBILE, b"source", b"destination", b"body", 1, 1, 5, 0),
        *(lane, 0, 5, number),
    )
    for name, value in fields.items():
        setattr(part, name, value)
    return part


def numbers(parts: Any) -> list[int]:
    """The numbers of some parts, in their order."""
    return [part.number for part in parts]
