"""Which operation is legal in which session state, for which role (SMPP 3.4 §2.3 table 2-1, SMPP 5.0 §2.4).

One table serves both roles: what one side may receive is what the other side may send.  Responses do not
stand in it, since a response is legal exactly when it answers a request that is open.
"""

from __future__ import annotations

from enum import Enum

from protocol.smpp.codes import CommandId


class Role(Enum):
    """The side of a session: ESME is the client (an application, or us towards a carrier), MC the server."""

    ESME = "esme"
    MC = "mc"

    @property
    def peer(self) -> Role:
        return Role.MC if self is Role.ESME else Role.ESME


class BindState(Enum):
    """Session states of SMPP 5.0 §2.3; BINDING lies between a bind request and its answer.

    OUTBOUND is none of ours: a peer that has seen outbind is free to bind, as it was before.
    """

    OPEN = "open"
    BINDING = "binding"
    BOUND_TX = "bound_tx"
    BOUND_RX = "bound_rx"
    BOUND_TRX = "bound_trx"
    UNBINDING = "unbinding"
    CLOSED = "closed"


_TX = frozenset({BindState.BOUND_TX, BindState.BOUND_TRX})
_RX = frozenset({BindState.BOUND_RX, BindState.BOUND_TRX})
BOUND = _TX | _RX
_OPENING = frozenset({BindState.OPEN})
# After we asked to unbind, the peer may still finish what it began: its messages are served until it answers.
_ANY_BOUND = BOUND | {BindState.UNBINDING}
# SMPP 5.0 §2.4 allows these two in every state; 3.4 peers do not mind.
_ALWAYS = frozenset(BindState) - {BindState.CLOSED}
_NEVER: frozenset[BindState] = frozenset()

# command: (states in which an ESME may send it, states in which an MC may send it)
OPERATIONS: dict[int, tuple[frozenset[BindState], frozenset[BindState]]] = {
    CommandId.BIND_RECEIVER: (_OPENING, _NEVER),
    CommandId.BIND_TRANSMITTER: (_OPENING, _NEVER),
    CommandId.BIND_TRANSCEIVER: (_OPENING, _NEVER),
    CommandId.OUTBIND: (_NEVER, frozenset({BindState.OPEN})),
    CommandId.UNBIND: (_ANY_BOUND, _ANY_BOUND),
    CommandId.SUBMIT_SM: (_TX, _NEVER),
    CommandId.SUBMIT_MULTI: (_TX, _NEVER),
    CommandId.DATA_SM: (_TX, _RX),
    CommandId.DELIVER_SM: (_NEVER, _RX),
    CommandId.QUERY_SM: (_TX, _NEVER),
    CommandId.CANCEL_SM: (_TX, _NEVER),
    CommandId.REPLACE_SM: (_TX, _NEVER),
    CommandId.BROADCAST_SM: (_TX, _NEVER),
    CommandId.QUERY_BROADCAST_SM: (_TX, _NEVER),
    CommandId.CANCEL_BROADCAST_SM: (_TX, _NEVER),
    CommandId.ALERT_NOTIFICATION: (_NEVER, _RX),
    CommandId.ENQUIRE_LINK: (_ALWAYS, _ALWAYS),
    CommandId.GENERIC_NACK: (_ALWAYS, _ALWAYS),
}

BIND_STATES: dict[int, BindState] = {
    CommandId.BIND_RECEIVER: BindState.BOUND_RX,
    CommandId.BIND_TRANSMITTER: BindState.BOUND_TX,
    CommandId.BIND_TRANSCEIVER: BindState.BOUND_TRX,
}

# Requests to which the specification gives no response PDU.
UNANSWERED = frozenset({CommandId.OUTBIND, CommandId.ALERT_NOTIFICATION, CommandId.GENERIC_NACK})


def _sendable(role: Role, state: BindState) -> frozenset[int]:
    side = 0 if role is Role.ESME else 1
    legal = {int(command) for command, states in OPERATIONS.items() if state in states[side]}
    # While we wait for unbind_resp the peer may not know yet: its side of the session is still bound.
    if state is BindState.UNBINDING:
        legal |= {int(command) for command, states in OPERATIONS.items() if states[side] & BOUND}
    return frozenset(legal)


SENDABLE: dict[tuple[Role, BindState], frozenset[int]] = {
    (role, state): _sendable(role, state) for role in Role for state in BindState
}
RECEIVABLE: dict[tuple[Role, BindState], frozenset[int]] = {
    (role, state): SENDABLE[role.peer, state] for role in Role for state in BindState
}
