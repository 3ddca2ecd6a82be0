"""What an application hears: the deliver_sm for a receipt or a reply, and whether it asked for it.

A report of a receipt keeps the carrier's own words (its state, error and dates: field lesson 7) under our
message id.  One that the gateway makes itself, for a part that it or the carrier's refusal ended, says so in
its text (lesson 9).
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from gateway.message import Group, MessageIds
from gateway.opt_out import is_alarm
from gateway.outbox import Report
from gateway.reassembly import Assembly, deliver_sm_of, whole_of
from protocol.smpp.codec import encode_body
from protocol.smpp.codes import CommandStatus, MessageState, TlvTag
from protocol.smpp.errors import PduError
from protocol.smpp.limits import ADDRESS_OCTETS, FRAME_LENGTH_MAX, HEADER_OCTETS
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.smpp.receipt import ERR_LENGTH_MAX, STAT_LENGTH_MAX, Receipt, stat_of, write_receipt
from protocol.smpp.times import format_receipt_date

DELIVERED: Final = int(MessageState.DELIVERED)

# registered_delivery (SMPP 3.4 §5.2.17): the low two bits ask for the final receipt, bit 4 for others.
_ALWAYS, _ON_FAILURE, _ON_SUCCESS = 1, 2, 3
_INTERMEDIATE = 0x10

# esm_class 4 (receipt) or 0x20 (intermediate), then protocol_id, priority_flag, schedule_delivery_time,
# validity_period, registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id: all zero.
_RECEIPT_FIELDS = b"\x04" + bytes(8)
_INTERMEDIATE_FIELDS = b"\x20" + bytes(8)

_TLV = struct.Struct(">HH")
_STATE_TLV = struct.Struct(">HHB")
_RECEIPTED_MESSAGE_ID: Final = int(TlvTag.RECEIPTED_MESSAGE_ID)
_MESSAGE_STATE: Final = int(TlvTag.MESSAGE_STATE)
_NETWORK_ERROR_CODE: Final = int(TlvTag.NETWORK_ERROR_CODE)

# The text of a receipt that the gateway itself made, in the place where a carrier puts the message's first
# twenty characters.
_OWN_TEXT = b"made by the gateway"


def wanted(registered_delivery: int, message_state: int, *, final: bool) -> bool:
    """Whether an application that asked for ``registered_delivery`` is to hear of ``message_state``."""
    if not final:
        return bool(registered_delivery & _INTERMEDIATE)
    asked = registered_delivery & 3
    if asked == _ALWAYS:
        return True
    if asked == _ON_FAILURE:
        return message_state != DELIVERED
    return asked == _ON_SUCCESS and message_state == DELIVERED


def is_reported(registered_delivery: int, message_state: int, group: Group | None, *, unsent: bool) -> bool:
    """Whether the application hears of the end of a part.

    group: of a part that was cut from a text, whose end may be that of the text or not.  unsent: no carrier
    took it, and its application was told so in its response.
    """
    if group is not None and group.first and not group.settles(delivered=message_state == DELIVERED):
        return False
    return not unsent and wanted(registered_delivery, message_state, final=True)


def _date(carrier_date: bytes, ours_us: int) -> bytes:
    """The carrier's date if an application can read it, otherwise ours."""
    if len(carrier_date) in (10, 12) and carrier_date.isdigit():
        return carrier_date
    return format_receipt_date(ours_us / 1e6)


def _printable(value: bytes, length_max: int) -> bytes:
    """``value`` without what may not stand in a receipt's field."""
    return bytes(octet for octet in value if 0x20 < octet < 0x7F)[:length_max]


def _deliver_sm_body(pdu: DataSm) -> bytes:
    """The body of the deliver_sm that says the same as a data_sm; the text stays in its message_payload.

    Raises PduError: the addresses and the length of a data_sm have bounds that a deliver_sm has not.
    """
    for address, status in (
        (pdu.source_addr, CommandStatus.ESME_RINVSRCADR),
        (pdu.destination_addr, CommandStatus.ESME_RINVDSTADR),
    ):
        if len(address) >= ADDRESS_OCTETS:
            raise _unfit(pdu, status, f"an address of {len(address)} octets")
    body = encode_body(deliver_sm_of(pdu))
    if HEADER_OCTETS + len(body) > FRAME_LENGTH_MAX:
        raise _unfit(pdu, CommandStatus.ESME_RINVMSGLEN, f"a body of {len(body)} octets")
    return body


def _unfit(pdu: DataSm, status: int, what: str) -> PduError:
    return PduError(status, pdu.command_id, pdu.sequence_number, f"no deliver_sm can carry {what}")


class Origin(Protocol):
    """The part that a report speaks of, as far as the report needs it: an open part, or one read back."""

    message: int
    source_field: bytes
    destination_field: bytes
    accepted_us: int

    @property
    def oldest(self) -> int:
        """The oldest record that a restart needs for it."""


class Reports:
    """Writes the reports of one gateway."""

    def __init__(self, message_ids: MessageIds) -> None:
        self._message_ids = message_ids

    def of_receipt(
        self, part: Origin, receipt: Receipt, index: int, recorded_us: int, *, final: bool
    ) -> Report:
        """The report of a carrier's receipt, whose record is ``index``."""
        state = receipt.message_state
        message_id = self._message_ids.text(part.message)
        try:
            text = write_receipt(
                message_id,
                receipt.sub,
                receipt.dlvrd,
                receipt.submit_date,
                receipt.done_date,
                receipt.stat,
                receipt.err,
            )
        except ValueError:  # something is missing, or has a form that no application would expect
            text = write_receipt(
                message_id,
                b"001",
                b"001" if state == DELIVERED else b"000",
                _date(receipt.submit_date, part.accepted_us),
                _date(receipt.done_date, recorded_us),
                _printable(receipt.stat, STAT_LENGTH_MAX) or stat_of(state) or stat_of(MessageState.UNKNOWN),
                _printable(receipt.err, ERR_LENGTH_MAX) or b"000",
            )
        return self._report(
            part, message_id, text, state, receipt.network_error_code, index, recorded_us, final=final
        )

    def of_own(self, part: Origin, message_state: int, error: bytes, index: int, recorded_us: int) -> Report:
        """The report of an outcome that the gateway made, whose record is ``index``."""
        message_id = self._message_ids.text(part.message)
        text = write_receipt(
            message_id,
            b"001",
            b"000",
            format_receipt_date(part.accepted_us / 1e6),
            format_receipt_date(recorded_us / 1e6),
            stat_of(message_state),
            error or b"000",
            _OWN_TEXT,
        )
        return self._report(part, message_id, text, message_state, b"", index, recorded_us, final=True)

    def of_reply(self, pdu: DeliverSm | DataSm, frame: bytes, index: int, recorded_us: int) -> Report:
        """A reply goes on as it came; a data_sm goes on as the deliver_sm that says the same.

        Raises PduError, with the status for the carrier, if there is no such deliver_sm.
        """
        if isinstance(pdu, DeliverSm):
            body = frame[16:]
        else:
            body = _deliver_sm_body(pdu)
        tlvs_octets = sum(4 + len(value) for _, value in pdu.tlvs)
        alarm = is_alarm(pdu.destination_addr)
        return Report(index, index, body, len(body) - tlvs_octets, recorded_us, alarm)

    def of_assembly(
        self, assembly: Assembly, pdu: DeliverSm | DataSm, index: int, recorded_us: int
    ) -> Report:
        """The report of a reply that came in parts; pdu: that of the part which comes first in its text."""
        whole = whole_of(assembly, pdu)
        body = encode_body(whole)
        tlvs_octets = sum(4 + len(value) for _, value in whole.tlvs)
        return Report(index, assembly.oldest, body, len(body) - tlvs_octets, recorded_us)

    def _report(
        self,
        part: Origin,
        message_id: bytes,
        text: bytes,
        state: int,
        network_error: bytes,
        index: int,
        recorded_us: int,
        *,
        final: bool,
    ) -> Report:
        # Back from the subscriber to whoever sent the message; service_type is empty.
        fields = _RECEIPT_FIELDS if final else _INTERMEDIATE_FIELDS
        mandatory = b"\0%b%b%b%c%b" % (part.destination_field, part.source_field, fields, len(text), text)
        tlvs = _TLV.pack(_RECEIPTED_MESSAGE_ID, len(message_id) + 1) + message_id + b"\0"
        if state:
            tlvs += _STATE_TLV.pack(_MESSAGE_STATE, 1, state)
        if len(network_error) == 3:
            tlvs += _TLV.pack(_NETWORK_ERROR_CODE, 3) + network_error
        return Report(index, part.oldest, mandatory + tlvs, len(mandatory), recorded_us)
