import pytest

from protocol.smpp.codes import (
    RESPONSE_BIT,
    CommandId,
    CommandStatus,
    TlvTag,
    command_name,
    status_name,
    tlv_name,
)
from protocol.smpp.errors import LocalError, PduError, SmppError, StreamError


@pytest.mark.parametrize(
    ("command_id", "name"),
    [
        (0x00000004, "submit_sm"),
        (0x80000004, "submit_sm_resp"),
        (0x80000000, "generic_nack"),
        (0x00000102, "alert_notification"),
        (0x80000113, "cancel_broadcast_sm_resp"),
        (0x0000ABCD, "0x0000abcd"),
    ],
)
def test_command_name(command_id: int, name: str) -> None:
    assert command_name(command_id) == name


@pytest.mark.parametrize(
    ("command_status", "name"),
    [
        (0, "ESME_ROK"),
        (0x58, "ESME_RTHROTTLED"),
        (0xC0, "ESME_RINVTLVSTREAM"),
        (0x112, "ESME_RINVBCASTCHANIND"),
        (0x401, "0x00000401"),
        (0xFFFFFFFF, "0xffffffff"),
    ],
)
def test_status_name(command_status: int, name: str) -> None:
    assert status_name(command_status) == name


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (0x0424, "message_payload"),
        (0x020B, "dest_port"),
        (0x0606, "broadcast_area_identifier"),
        (0x1401, "0x1401"),
    ],
)
def test_tlv_name(tag: int, name: str) -> None:
    assert tlv_name(tag) == name


def test_names_of_3_4_are_aliases_of_those_of_5_0() -> None:
    aliases = {name: member.name for name, member in CommandStatus.__members__.items() if name != member.name}
    assert aliases == {
        "ESME_RINVOPTPARSTREAM": "ESME_RINVTLVSTREAM",
        "ESME_ROPTPARNOTALLWD": "ESME_RTLVNOTALLWD",
        "ESME_RINVPARLEN": "ESME_RINVTLVLEN",
        "ESME_RMISSINGOPTPARAM": "ESME_RMISSINGTLV",
        "ESME_RINVOPTPARAMVAL": "ESME_RINVTLVVAL",
    }
    aliases = {name: member.name for name, member in TlvTag.__members__.items() if name != member.name}
    assert aliases == {
        "DESTINATION_PORT": "DEST_PORT",
        "FAILED_BROADCAST_AREA_IDENTIFIER": "BROADCAST_AREA_IDENTIFIER",
    }


def test_every_request_but_outbind_and_alert_notification_has_a_response() -> None:
    requests = {command_id for command_id in CommandId if not command_id & RESPONSE_BIT}
    responses = {command_id for command_id in CommandId if command_id & RESPONSE_BIT}
    answered = {CommandId(response & ~RESPONSE_BIT) for response in responses - {CommandId.GENERIC_NACK}}
    assert requests - answered == {CommandId.OUTBIND, CommandId.ALERT_NOTIFICATION}


def test_errors_say_who_is_to_act() -> None:
    error = PduError(0x0B, 0x04, 7, "destination_addr is longer than 20 octets")
    assert str(error) == "submit_sm 7: destination_addr is longer than 20 octets (ESME_RINVDSTADR)"
    assert (error.command_status, error.command_id, error.sequence_number) == (0x0B, 0x04, 7)
    assert StreamError("lost").reason == "lost"
    assert issubclass(LocalError, ValueError)
    assert all(issubclass(kind, SmppError) for kind in (PduError, StreamError, LocalError))
