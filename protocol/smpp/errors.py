"""Three kinds of trouble, named by remedy; and what a field says before the codec knows whose it is.

No `reason` holds text, addresses or passwords of a PDU: it names fields, lengths and numbers, so it may be
logged.
"""

from protocol.smpp.codes import command_name, status_name


class SmppError(Exception):
    """Whatever goes wrong with SMPP."""


class PduError(SmppError):
    """This PDU cannot be served; the stream is sound and the session lives on.

    Remedy for a request: answer it with `command_status` (generic_nack when `command_id` has no response). A
    response cannot be answered: whoever waits under `sequence_number` has to be told.
    """

    def __init__(self, command_status: int, command_id: int, sequence_number: int, reason: str) -> None:
        super().__init__(command_status, command_id, sequence_number, reason)
        self.command_status = command_status
        self.command_id = command_id
        self.sequence_number = sequence_number
        self.reason = reason

    def __str__(self) -> str:
        name = command_name(self.command_id)
        return f"{name} {self.sequence_number}: {self.reason} ({status_name(self.command_status)})"


class StreamError(SmppError):
    """The boundaries of the PDUs are lost. Remedy: close the connection."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LocalError(SmppError, ValueError):
    """Our own caller erred; nothing was encoded, nothing was sent. Remedy: correct the caller."""


class FieldError(SmppError):
    """One field or TLV value is not valid. The codec and `Pdu` know whose it is and raise a `PduError`."""

    def __init__(self, command_status: int, reason: str) -> None:
        super().__init__(command_status, reason)
        self.command_status = command_status
        self.reason = reason
