"""The table of operations against the specification's, and a session in every state against every command."""

import pytest

from protocol.smpp.codes import RESPONSE_BIT, CommandId, CommandStatus
from protocol.smpp.errors import LocalError
from protocol.smpp.operations import (
    BIND_STATES,
    BOUND,
    OPERATIONS,
    RECEIVABLE,
    SENDABLE,
    UNANSWERED,
    BindState,
    Role,
)
from protocol.smpp.pdu import GenericNack, Pdu
from protocol.smpp.session import Session, Unbound
from tests.protocol.smpp.dialogue import BINDS, LEGAL, NOW, hear, legal, said, sample, session_in

REQUESTS = [command for command in CommandId if not command & RESPONSE_BIT]

roles = pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
states = pytest.mark.parametrize("state", BindState, ids=lambda state: state.value)


def test_the_table_names_every_request_and_generic_nack() -> None:
    assert set(OPERATIONS) == set(LEGAL) == {*REQUESTS, CommandId.GENERIC_NACK}


@roles
def test_each_operation_is_legal_where_the_specification_says(role: Role) -> None:
    for command in LEGAL:
        found = {state for state in BindState if command in SENDABLE[role, state]}
        assert found == legal(role, command), command.name


@roles
def test_what_one_side_may_receive_is_what_the_other_may_send(role: Role) -> None:
    assert role.peer.peer is role
    for state in BindState:
        assert RECEIVABLE[role, state] == SENDABLE[role.peer, state]


def test_nothing_is_legal_once_the_session_is_closed() -> None:
    assert all(not SENDABLE[role, BindState.CLOSED] for role in Role)


def test_a_bind_leads_to_the_state_of_its_kind() -> None:
    assert BIND_STATES == {
        CommandId.BIND_RECEIVER: BindState.BOUND_RX,
        CommandId.BIND_TRANSMITTER: BindState.BOUND_TX,
        CommandId.BIND_TRANSCEIVER: BindState.BOUND_TRX,
    }
    assert set(BIND_STATES.values()) == BOUND


def _wanted_answer(role: Role, command: CommandId) -> Pdu:
    """How a request that is illegal now is refused: by its own response if it has one."""
    status = CommandStatus.ESME_RINVBNDSTS
    if command in BIND_STATES and role is Role.MC:
        status = CommandStatus.ESME_RALYBND
    if command in UNANSWERED:
        return GenericNack(9, status)
    answer = sample(CommandId(command | RESPONSE_BIT))
    answer.command_status = status
    return answer


@roles
@states
@pytest.mark.parametrize("command", REQUESTS, ids=lambda command: command.name)
def test_a_session_serves_what_is_legal_and_refuses_the_rest(
    role: Role, state: BindState, command: CommandId
) -> None:
    session = session_in(state, role)
    pdu = sample(command)
    events = [event for event, _, _ in hear(session, pdu)]
    if state is BindState.CLOSED:
        assert (events, said(session)) == ([], [])
    elif state not in legal(role.peer, command):
        assert (events, said(session)) == ([], [_wanted_answer(role, command)])
        assert session.state is state
    elif command is CommandId.ENQUIRE_LINK:
        assert (events, said(session)) == ([], [sample(CommandId.ENQUIRE_LINK_RESP)])
    elif command is CommandId.UNBIND:
        assert (events, said(session)) == ([Unbound()], [sample(CommandId.UNBIND_RESP)])
        assert session.state is BindState.CLOSED
    else:
        assert (events, said(session)) == ([pdu], [])


def _ask(session: Session, command: CommandId) -> None:
    """Send ``command`` the way its kind is sent."""
    pdu = sample(command)
    if command in BIND_STATES:
        session.bind(BINDS[BIND_STATES[command]][0], NOW)
    elif command is CommandId.UNBIND:
        session.unbind(NOW)
    elif command in UNANSWERED:
        session.notify(pdu)
    else:
        session.send(pdu, None, NOW)


@roles
@states
@pytest.mark.parametrize("command", REQUESTS, ids=lambda command: command.name)
def test_a_session_sends_what_is_legal_and_raises_for_the_rest(
    role: Role, state: BindState, command: CommandId
) -> None:
    session = session_in(state, role)
    # After its unbind a session asks for nothing more: it could not count on the answer.
    counted_on = state is not BindState.UNBINDING or command in UNANSWERED
    if state in legal(role, command) and counted_on:
        _ask(session, command)
        assert [pdu.command_id for pdu in said(session)] == [command]
    else:
        with pytest.raises(LocalError):
            _ask(session, command)
        assert said(session) == []
