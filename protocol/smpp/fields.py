"""The kinds of mandatory field, and the fields themselves.

A field reads its value from a frame and writes it back; `pdu` strings fields together into the row of a PDU,
and the codec walks that row. A value that does not fit is a `FieldError` with the field's own command_status
when it came from the peer, and a `LocalError` when it came from us.

Two faults are told apart in a C-octet string without its NUL: when the frame goes on past the longest legal
length the field is too long, and its own status says which field; when the frame ends before that, the PDU is
truncated (ESME_RINVCMDLEN).
"""

from dataclasses import dataclass
from struct import Struct
from typing import Any, Protocol

import msgspec

from protocol.smpp.codes import CommandStatus, DestinationFlag
from protocol.smpp.errors import FieldError, LocalError
from protocol.smpp.limits import (
    ADDRESS_OCTETS,
    ADDRESS_RANGE_OCTETS,
    DESTINATIONS_MAX,
    DISTRIBUTION_LIST_NAME_OCTETS,
    LONG_ADDRESS_OCTETS,
    MESSAGE_ID_OCTETS,
    PASSWORD_OCTETS,
    SERVICE_TYPE_OCTETS,
    SHORT_MESSAGE_OCTETS,
    SYSTEM_ID_OCTETS,
    SYSTEM_TYPE_OCTETS,
    TIME_OCTETS,
    UNSUCCESSFUL_MAX,
)


class Field(Protocol):
    """One or more octets of a PDU body that make up one attribute of its struct."""

    @property
    def name(self) -> str: ...

    @property
    def private(self) -> bool:
        """True where the value is a secret or personal: `repr` shows its length only."""

    def decode(self, frame: bytes, offset: int) -> tuple[Any, int]:
        """The value at `offset` and the offset behind it. Raises FieldError."""

    def encode(self, value: Any) -> bytes:
        """The octets of `value`. Raises LocalError."""


@dataclass(frozen=True, slots=True)
class Octet:
    """An unsigned integer of one octet. Every value is taken: reserved ones are a matter of policy."""

    name: str
    private: bool = False

    def decode(self, frame: bytes, offset: int) -> tuple[int, int]:
        if offset >= len(frame):
            raise FieldError(CommandStatus.ESME_RINVCMDLEN, f"the PDU ends before {self.name}")
        return frame[offset], offset + 1

    def encode(self, value: int) -> bytes:
        if not 0 <= value <= 0xFF:
            raise LocalError(f"{self.name} is {value}, allowed are 0 to 255")
        return bytes((value,))


@dataclass(frozen=True, slots=True)
class CString:
    """At most `octets_max` octets, NUL included; the value is what stands before the NUL."""

    name: str
    octets_max: int
    command_status: CommandStatus
    private: bool = False

    def decode(self, frame: bytes, offset: int) -> tuple[bytes, int]:
        end = frame.find(0, offset, offset + self.octets_max)
        if end >= 0:
            return frame[offset:end], end + 1
        if len(frame) - offset >= self.octets_max:
            raise FieldError(self.command_status, f"{self.name} is longer than {self.octets_max - 1} octets")
        raise FieldError(CommandStatus.ESME_RINVCMDLEN, f"the PDU ends inside {self.name}")

    def encode(self, value: bytes) -> bytes:
        if len(value) >= self.octets_max:
            raise LocalError(f"{self.name} has {len(value)} octets, at most {self.octets_max - 1} fit")
        if 0 in value:
            raise LocalError(f"{self.name} contains a NUL")
        return value + b"\0"


@dataclass(frozen=True, slots=True)
class ShortMessage:
    """sm_length and short_message, which is one attribute: the length is what the octets say."""

    name: str = "short_message"
    private: bool = True

    def decode(self, frame: bytes, offset: int) -> tuple[bytes, int]:
        if offset >= len(frame):
            raise FieldError(CommandStatus.ESME_RINVCMDLEN, "the PDU ends before sm_length")
        start = offset + 1
        end = start + frame[offset]
        if end > len(frame):
            raise FieldError(
                CommandStatus.ESME_RINVMSGLEN,
                f"sm_length is {frame[offset]}, but {len(frame) - start} octets follow",
            )
        return frame[start:end], end

    def encode(self, value: bytes) -> bytes:
        if len(value) > SHORT_MESSAGE_OCTETS:
            raise LocalError(f"short_message has {len(value)} octets, at most {SHORT_MESSAGE_OCTETS} fit")
        return bytes((len(value),)) + value


SERVICE_TYPE = CString("service_type", SERVICE_TYPE_OCTETS, CommandStatus.ESME_RINVSERTYP)
SOURCE_ADDR_TON = Octet("source_addr_ton")
SOURCE_ADDR_NPI = Octet("source_addr_npi")
SOURCE_ADDR = CString("source_addr", ADDRESS_OCTETS, CommandStatus.ESME_RINVSRCADR, private=True)
LONG_SOURCE_ADDR = CString("source_addr", LONG_ADDRESS_OCTETS, CommandStatus.ESME_RINVSRCADR, private=True)
DEST_ADDR_TON = Octet("dest_addr_ton")
DEST_ADDR_NPI = Octet("dest_addr_npi")
DESTINATION_ADDR = CString("destination_addr", ADDRESS_OCTETS, CommandStatus.ESME_RINVDSTADR, private=True)
LONG_DESTINATION_ADDR = CString(
    "destination_addr", LONG_ADDRESS_OCTETS, CommandStatus.ESME_RINVDSTADR, private=True
)
ESME_ADDR_TON = Octet("esme_addr_ton")
ESME_ADDR_NPI = Octet("esme_addr_npi")
ESME_ADDR = CString("esme_addr", LONG_ADDRESS_OCTETS, CommandStatus.ESME_RINVDSTADR, private=True)
ESM_CLASS = Octet("esm_class")
PROTOCOL_ID = Octet("protocol_id")
PRIORITY_FLAG = Octet("priority_flag")
# Times are bounded here and understood in `times`: peers write forms that the specification does not have,
# and a receipt is not lost over one of them.
SCHEDULE_DELIVERY_TIME = CString("schedule_delivery_time", TIME_OCTETS, CommandStatus.ESME_RINVSCHED)
VALIDITY_PERIOD = CString("validity_period", TIME_OCTETS, CommandStatus.ESME_RINVEXPIRY)
# A response is never answered, so no status says "final_date": 3.4's "Invalid Parameter Length" is the
# nearest.
FINAL_DATE = CString("final_date", TIME_OCTETS, CommandStatus.ESME_RINVPARLEN)
REGISTERED_DELIVERY = Octet("registered_delivery")
REPLACE_IF_PRESENT_FLAG = Octet("replace_if_present_flag")
DATA_CODING = Octet("data_coding")
SM_DEFAULT_MSG_ID = Octet("sm_default_msg_id")
SHORT_MESSAGE = ShortMessage()
MESSAGE_ID = CString("message_id", MESSAGE_ID_OCTETS, CommandStatus.ESME_RINVMSGID)
MESSAGE_STATE = Octet("message_state")
ERROR_CODE = Octet("error_code")
SYSTEM_ID = CString("system_id", SYSTEM_ID_OCTETS, CommandStatus.ESME_RINVSYSID)
PASSWORD = CString("password", PASSWORD_OCTETS, CommandStatus.ESME_RINVPASWD, private=True)
SYSTEM_TYPE = CString("system_type", SYSTEM_TYPE_OCTETS, CommandStatus.ESME_RINVSYSTYP)
INTERFACE_VERSION = Octet("interface_version")
ADDR_TON = Octet("addr_ton")
ADDR_NPI = Octet("addr_npi")
# Neither version has a status for a bad address_range; it stands in binds only, so "Bind Failed" it is.
ADDRESS_RANGE = CString("address_range", ADDRESS_RANGE_OCTETS, CommandStatus.ESME_RBINDFAIL)
DL_NAME = CString("dl_name", DISTRIBUTION_LIST_NAME_OCTETS, CommandStatus.ESME_RINVDLNAME, private=True)


class SmeAddress(msgspec.Struct, gc=False):
    """One destination of a submit_multi (SMPP 3.4 §4.5.1.1)."""

    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: bytes = b""


class DistributionList(msgspec.Struct, gc=False):
    """A list of destinations that the message centre keeps under a name (SMPP 3.4 §4.5.1.2)."""

    dl_name: bytes = b""


class UnsuccessfulDelivery(msgspec.Struct, gc=False):
    """A destination of a submit_multi that was refused, and why (SMPP 3.4 §4.5.2.1)."""

    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: bytes = b""
    error_status_code: int = 0


@dataclass(frozen=True, slots=True)
class Destinations:
    """number_of_dests and the dest_address entries, each led by its dest_flag."""

    name: str = "dest_address"
    private: bool = True

    def decode(self, frame: bytes, offset: int) -> tuple[tuple[SmeAddress | DistributionList, ...], int]:
        if offset >= len(frame):
            raise FieldError(CommandStatus.ESME_RINVCMDLEN, "the PDU ends before number_of_dests")
        count = frame[offset]
        if count == 0:
            raise FieldError(CommandStatus.ESME_RINVNUMDESTS, "number_of_dests is 0")
        offset += 1
        destinations: list[SmeAddress | DistributionList] = []
        for _ in range(count):
            if offset >= len(frame):
                raise FieldError(CommandStatus.ESME_RINVCMDLEN, "the PDU ends before a dest_flag")
            flag = frame[offset]
            if flag == DestinationFlag.SME_ADDRESS:
                ton, offset = DEST_ADDR_TON.decode(frame, offset + 1)
                npi, offset = DEST_ADDR_NPI.decode(frame, offset)
                address, offset = DESTINATION_ADDR.decode(frame, offset)
                destinations.append(SmeAddress(ton, npi, address))
            elif flag == DestinationFlag.DISTRIBUTION_LIST:
                name, offset = DL_NAME.decode(frame, offset + 1)
                destinations.append(DistributionList(name))
            else:
                raise FieldError(CommandStatus.ESME_RINVDESTFLAG, f"dest_flag is {flag}, known are 1 and 2")
        return tuple(destinations), offset

    def encode(self, value: tuple[SmeAddress | DistributionList, ...]) -> bytes:
        if not 1 <= len(value) <= DESTINATIONS_MAX:
            raise LocalError(f"number_of_dests is {len(value)}, allowed are 1 to {DESTINATIONS_MAX}")
        octets = [bytes((len(value),))]
        for destination in value:
            if isinstance(destination, SmeAddress):
                octets += (
                    bytes((DestinationFlag.SME_ADDRESS,)),
                    DEST_ADDR_TON.encode(destination.dest_addr_ton),
                    DEST_ADDR_NPI.encode(destination.dest_addr_npi),
                    DESTINATION_ADDR.encode(destination.destination_addr),
                )
            else:
                octets += (bytes((DestinationFlag.DISTRIBUTION_LIST,)), DL_NAME.encode(destination.dl_name))
        return b"".join(octets)


_ERROR_STATUS_CODE = Struct(">I")


@dataclass(frozen=True, slots=True)
class UnsuccessfulDeliveries:
    """no_unsuccess and the unsuccess_sme entries."""

    name: str = "unsuccess_sme"
    private: bool = True

    def decode(self, frame: bytes, offset: int) -> tuple[tuple[UnsuccessfulDelivery, ...], int]:
        if offset >= len(frame):
            raise FieldError(CommandStatus.ESME_RINVCMDLEN, "the PDU ends before no_unsuccess")
        count = frame[offset]
        offset += 1
        deliveries: list[UnsuccessfulDelivery] = []
        for _ in range(count):
            ton, offset = DEST_ADDR_TON.decode(frame, offset)
            npi, offset = DEST_ADDR_NPI.decode(frame, offset)
            address, offset = DESTINATION_ADDR.decode(frame, offset)
            if offset + _ERROR_STATUS_CODE.size > len(frame):
                raise FieldError(CommandStatus.ESME_RINVCMDLEN, "the PDU ends inside an error_status_code")
            (error_status_code,) = _ERROR_STATUS_CODE.unpack_from(frame, offset)
            offset += _ERROR_STATUS_CODE.size
            deliveries.append(UnsuccessfulDelivery(ton, npi, address, error_status_code))
        return tuple(deliveries), offset

    def encode(self, value: tuple[UnsuccessfulDelivery, ...]) -> bytes:
        if len(value) > UNSUCCESSFUL_MAX:
            raise LocalError(f"no_unsuccess is {len(value)}, allowed are 0 to {UNSUCCESSFUL_MAX}")
        octets = [bytes((len(value),))]
        for delivery in value:
            if not 0 <= delivery.error_status_code <= 0xFFFFFFFF:
                raise LocalError(f"error_status_code is {delivery.error_status_code}, allowed are 32 bits")
            octets += (
                DEST_ADDR_TON.encode(delivery.dest_addr_ton),
                DEST_ADDR_NPI.encode(delivery.dest_addr_npi),
                DESTINATION_ADDR.encode(delivery.destination_addr),
                _ERROR_STATUS_CODE.pack(delivery.error_status_code),
            )
        return b"".join(octets)


DEST_ADDRESS = Destinations()
UNSUCCESS_SME = UnsuccessfulDeliveries()
