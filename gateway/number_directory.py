"""What the gateway knows of numbers: the network that serves each, and who wants no messages.

The plan says to whom a prefix was allotted; a number that was ported away (携号转网) stands in the table of
those, which goes before the plan.  All tables are keyed by the keyed hash of a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from gateway.config import NumbersConfig
from gateway.number_plan import NumberPlan, mask
from gateway.opt_out import OptOuts
from gateway.portability import Portability
from storage import records
from storage.register import OptedIn, OptedOut, PortedNumber

Fact = PortedNumber | OptedOut | OptedIn

logger = structlog.get_logger()

# Kinds of number in the plan that belong to machines.
_THINGS: Final = frozenset({"iot", "m2m"})


class NumberDirectory:
    """Owned by the event loop."""

    def __init__(
        self,
        plan: NumberPlan,
        number_hash: Callable[[bytes], bytes],
        portability: Portability,
        opt_outs: OptOuts,
        config: NumbersConfig,
    ) -> None:
        self.number_hash = number_hash
        self.portability = portability
        self.opt_outs = opt_outs
        self.config = config
        # What was learned and is not in the register yet, with the index of its record, in their order.
        self.unwritten: list[tuple[int, Fact]] = []
        self.keeps_unwritten = True
        self._plan = plan
        self._warned: set[bytes] = set()

    def network(self, destination: bytes, number_hash: bytes, now_us: int) -> str | None:
        """The network that serves a normalised number; None for a number of a machine where those are
        refused."""
        if self.portability.entries:  # mostly there are none
            ported = self.portability.network_of(number_hash, now_us)
            if ported:  # empty where a record says that it is ported no longer
                return ported
        segment = self._plan.lookup(destination)
        if segment is None:
            self._warn_unknown(destination)
            return self.config.default_network
        if segment.kind in _THINGS and self.config.reject_iot:
            return None
        return segment.carrier

    def network_of_prefix(self, destination: bytes) -> str:
        """The network that a normalised number was allotted to, whoever serves it now."""
        segment = self._plan.lookup(destination)
        return self.config.default_network if segment is None else segment.carrier

    def explain(self, destination: bytes, number_hash: bytes, now_us: int) -> dict[str, str]:
        """What the plan says of a number, and the table of ported ones."""
        segment = self._plan.lookup(destination)
        return {
            "plan": "unknown prefix" if segment is None else f"{segment.carrier} ({segment.kind})",
            "ported_to": self.portability.network_of(number_hash, now_us) or "not known to be ported",
        }

    def note(self, index: int, record: records.Ported | records.OptedOut) -> None:
        """Take what a record says, in operation and at a restart."""
        number_hash = record.number_hash
        if isinstance(record, records.Ported):
            fact: Fact = PortedNumber(
                number_hash, record.network, record.source, record.time_us, record.expires_us
            )
            self.portability.learn(number_hash, record.network, record.source, record.expires_us)
        else:
            self.opt_outs.note(number_hash, record.account, record.out, index)
            fact = (
                OptedOut(number_hash, record.account, record.time_us, index)
                if record.out
                else OptedIn(number_hash, record.account, index)
            )
        if self.keeps_unwritten:
            self.unwritten.append((index, fact))

    def condense(self, durable_index: int) -> None:
        """Of what is unwritten and durable keep the last fact of each number, and of each with each account:
        it alone counts, once all of them are written at once.

        What is not durable yet may never be, and then the one before it counts.
        """
        last: dict[tuple[bool, bytes, str], tuple[int, Fact]] = {}
        rest: list[tuple[int, Fact]] = []
        for entry in self.unwritten:
            index, fact = entry
            if index > durable_index:
                rest.append(entry)
                continue
            ported = isinstance(fact, PortedNumber)
            key = (ported, fact.number_hash, "" if isinstance(fact, PortedNumber) else fact.account)
            last.pop(key, None)  # so that they stay in the order of their records
            last[key] = entry
        self.unwritten = [*last.values(), *rest]

    def stop_keeping_unwritten(self) -> None:
        """There are too many: the next start finds them in the evidence."""
        self.keeps_unwritten = False
        self.unwritten = []

    def learn_again(self) -> None:
        """After the table of ported numbers was read anew: what it does not hold yet."""
        for _, fact in self.unwritten:
            if isinstance(fact, PortedNumber):
                self.portability.learn(fact.number_hash, fact.network, fact.source, fact.expires_us)

    def _warn_unknown(self, destination: bytes) -> None:
        """Say once for each prefix that the plan does not know it; there are at most a thousand."""
        prefix = destination[:4]
        if prefix not in self._warned:
            self._warned.add(prefix)
            logger.warning("number prefix not in the plan", number=mask(destination))
