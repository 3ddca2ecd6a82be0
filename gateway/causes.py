"""The cause of each failure in a statement, by the table of outcomes.

The table is not the evidence's: an operator's rows change. So a statement names both files by their hashes,
and is the same for everybody who has them.
"""

from __future__ import annotations

from hashlib import sha256
from importlib import resources
from typing import Final

from gateway.outcomes import Cause, OutcomeTable
from protocol.smpp.codes import MessageState
from protocol.smpp.receipt import UNMAPPED
from storage.settlement.counts import CauseOf, Ending
from storage.settlement.statement import Source


def cause_by(table: OutcomeTable) -> CauseOf:
    """What the table says of how a part ended that failed."""

    def cause_of(carrier: str, network: str, ending: Ending) -> str:
        match ending.kind:
            case "refused":
                cause = table.of_status(carrier, network, ending.status).cause
            case "receipt":
                # A state that SMPP does not know is no reason to know no figure.
                state = ending.state if ending.state in _STATES else int(MessageState.UNDELIVERABLE)
                cause = table.of_receipt(carrier, network, ending.stat, ending.err, state).cause
            case _:
                cause = _OF_OUTCOMES.get(ending.state, Cause.GATEWAY)
        return Cause.UNKNOWN if cause is Cause.OK else cause  # of what failed it says nothing

    return cause_of


_STATES: Final = frozenset({UNMAPPED, *map(int, MessageState)})

# Of those that the gateway or a person decided: anything but the end of the validity lies with the gateway.
_OF_OUTCOMES: Final = {int(MessageState.EXPIRED): Cause.EXPIRED}


# What a statement calls the files of the table.
SHIPPED_CODES: Final = "status codes"
OPERATOR_CODES: Final = "status codes of the operator"


def sources(operator: bytes | None, shipped: bytes | None = None) -> tuple[Source, ...]:
    """The files of the table, as a statement names them. shipped: of another version than this program's."""
    if shipped is None:
        shipped = resources.files("gateway.data").joinpath("status_codes.csv").read_bytes()
    found = [Source(name=SHIPPED_CODES, sha256=sha256(shipped).hexdigest())]
    if operator is not None:
        found.append(Source(name=OPERATOR_CODES, sha256=sha256(operator).hexdigest()))
    return tuple(found)
