"""Which carrier account a message goes to: for each network a list of accounts, in order, with weights.

Of the accounts that are in service the one with the least to do for its weight is chosen, and where nothing
waits they take turns by weight.  But a message never overtakes another one of its lane to the same number:
while that waits, it stands behind it (`Routes.lead`).  An account of weight 0 stands by: it is used when none
of those before it is in service.  When none is at all, a message waits at the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from gateway.carrier import Carrier
from gateway.config import RouteTable
from gateway.message import Part

# Numbers share so many places by chance in the memory of who was led where, some 200 octets each; those that
# share one are led the same way, which does no harm.
_LED_MAX: Final = 16_384


class Way(msgspec.Struct, gc=False):
    """A carrier account in a route.  credit: what it has gained by its weight and not yet used."""

    carrier: Carrier
    weight: int
    credit: float = 0.0


class Routes:
    """The ways of all networks."""

    def __init__(
        self, carriers: Mapping[str, Carrier], tables: Iterable[RouteTable], default_network: str
    ) -> None:
        """carriers: by name, in the order of the configuration.  A network without a table is served by the
        accounts that name it, and one that no account names by those of ``default_network``."""
        self.carriers = tuple(carriers.values())
        ways: dict[str, list[Way]] = {}
        for carrier in carriers.values():
            ways.setdefault(carrier.network, []).append(Way(carrier, 1))
        for table in tables:
            weights = table.weights or (1,) * len(table.carriers)
            ways[table.network] = [
                Way(carriers[name], weight) for name, weight in zip(table.carriers, weights, strict=True)
            ]
        self.ways = ways
        self._default = ways.get(default_network, [])
        self._led: dict[
            int, tuple[str, Carrier, int]
        ] = {}  # the network, the account, and when in microseconds

    def ways_to(self, network: str) -> list[Way]:
        """The ways to a network, in order; empty if none leads there."""
        return self.ways.get(network, self._default)

    def choose(self, network: str, now: float, *, peek: bool = False) -> Carrier | None:
        """The account for the next message to ``network``; None if no route leads there.

        peek: only tell; it is nobody's turn.
        """
        ways = self.ways.get(network, self._default)
        if len(ways) == 1:
            return ways[0].carrier
        if not ways:
            return None
        # In service by its links and its breaker; if there is none, a link that stands is better than none.
        usable = [way for way in ways if way.carrier.in_service(now)] or [
            way for way in ways if way.carrier.bound
        ]
        if not usable:
            return ways[0].carrier
        sharing = [way for way in usable if way.weight]
        chosen = _by_weight(sharing, peek=peek) if sharing else usable[0].carrier
        if chosen.breaker.failures and not peek:
            chosen.breaker.led(now)
        return chosen

    def lead(self, network: str, destination: bytes, lane: int, now: float, now_us: int) -> Carrier | None:
        """The account for a message to a number of ``network``; None if no route leads there.

        While the last message of its lane to that number may still wait at an account that is in service, it
        is the same one.
        """
        ways = self.ways.get(network, self._default)
        if len(ways) == 1:
            return ways[0].carrier
        place = hash((destination, lane)) % _LED_MAX
        chosen: Carrier | None
        last_network, chosen, last_us = self._led.get(place, ("", None, 0))
        if (
            chosen is None
            or last_network != network
            or not chosen.in_service(now)
            or not (queue := chosen.queues.lanes[lane])
            or queue[0].queued_us > last_us
        ):
            chosen = self.choose(network, now)
        if chosen is not None:
            self._led[place] = network, chosen, now_us
        return chosen

    def why(self, network: str, chosen: Carrier | None, now: float) -> str:
        """Why a message to ``network`` would go to ``chosen``, in words for people."""
        if chosen is None:
            return f"no route leads to {network}: messages are refused with ESME_RINVDSTADR"
        reasons = []
        if network not in self.ways:
            reasons.append(f"no carrier of its own serves {network}: it goes the way of the default network")
        if not chosen.in_service(now):
            reasons.append("none is in service: messages wait there")
        elif len(self.ways_to(network)) > 1:
            reasons.append("of those in service it has the least to do for its weight")
        else:
            reasons.append("it is the only way")
        return "; ".join(reasons)

    def another(self, network: str, part: Part, now: float) -> Carrier | None:
        """The first account for ``network`` besides the part's own that is in service and takes the part as
        it is; None if there is none."""
        return next(
            (
                way.carrier
                for way in self.ways_to(network)
                if way.carrier is not part.carrier
                and way.carrier.profile.takes(part.units)
                and way.carrier.in_service(now)
            ),
            None,
        )

    def elsewhere(self, part: Part, now: float) -> Carrier | None:
        """An account, as `another` finds one, whose network is not that of the part's own: for a number that
        has been ported away, nobody says whereto."""
        return next(
            (
                carrier
                for carrier in self._all()
                if carrier.network != part.carrier.network
                and carrier.profile.takes(part.units)
                and carrier.in_service(now)
            ),
            None,
        )

    def _all(self) -> Iterator[Carrier]:
        return (way.carrier for ways in self.ways.values() for way in ways)


def _by_weight(ways: list[Way], *, peek: bool) -> Carrier:
    """The one with the shortest queue for its weight; of those that are alike, each in its turn.

    Only these gain credit: an account that was behind for an hour would else have an hour's messages to come.
    """
    loads = [len(way.carrier.queues) / way.weight for way in ways]
    least = min(loads)
    alike = [way for way, load in zip(ways, loads, strict=True) if load == least]
    best = max(alike, key=lambda way: way.credit + way.weight)  # of equals the first
    if not peek:
        for way in alike:
            way.credit += way.weight
        best.credit -= sum(way.weight for way in alike)
    return best.carrier
