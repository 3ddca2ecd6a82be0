"""A report read back from the evidence, when the outbox kept only the index of its record.

Runs on a thread of its own with readers of its own, since it reads files.
"""

from __future__ import annotations

from math import inf
from pathlib import Path

import msgspec
import structlog

from gateway.account import Account
from gateway.bodies import submit_of_body
from gateway.correlation import receipt_in
from gateway.message import address_fields
from gateway.outbox import Report
from gateway.reassembly import Reassembly, ReplyPart
from gateway.replies import key_of
from gateway.reports import Reports
from protocol.smpp.codec import decode
from protocol.smpp.codes import MessageState, command_name
from protocol.smpp.errors import SmppError
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.smpp.receipt import is_final
from storage import records
from storage.errors import ContentDamaged, ContentErased, KeyFileError, NoSuchRecord
from storage.reader import LogReader
from storage.seal import Sealer

logger = structlog.get_logger()

# Why a report cannot be made of its record, now and ever after; ValueError is `write_receipt`'s.
# CorruptEvidence and OSError are not among them: of those the disk, and not the record, is the reason.
_NEVER = (ContentErased, ContentDamaged, KeyFileError, NoSuchRecord, SmppError, ValueError)


class NoReport(SmppError):
    """A record does not say what a report needs."""


class ReadBack(msgspec.Struct, gc=False):
    """The origin of a report, read from its `accepted` record."""

    oldest: int
    message: int
    source_field: bytes
    destination_field: bytes
    accepted_us: int


class Rebuilt(msgspec.Struct, frozen=True):
    """reports: in the order of their records.  impossible: the records of which no report can be made."""

    reports: list[Report]
    impossible: list[int]


class Rebuilder:
    """Makes reports of records.  Used by one thread at a time.

    Two readers, because what is reported and the acceptances it answers lie in two places of the log which
    both move forward: each reader then finds its next record near the last one.
    """

    def __init__(self, directory: Path, sealer: Sealer, reports: Reports) -> None:
        self._sealer = sealer
        self._reports = reports
        self._reported = LogReader(directory)
        self._accepted = LogReader(directory)

    def close(self) -> None:
        """Close the files."""
        self._reported.close()
        self._accepted.close()

    def rebuild(self, account: Account, indexes: list[int]) -> Rebuilt:
        """The reports of these records.  Raises CorruptEvidence and OSError, and nothing because of what a
        single record says: it would do so again at each start."""
        reports, impossible = [], []
        for index in indexes:
            try:
                reports.append(self._report(index))
            except _NEVER as error:
                logger.error("no report can be made", record=index, account=account.name, error=str(error))
                impossible.append(index)
        return Rebuilt(reports, impossible)

    def _report(self, index: int) -> Report:
        record = records.decode(self._reported.find(index))
        match record:
            case records.Receipt():
                return self._of_receipt(index, index, record, record.number, record.time_us)
            case records.Matched():
                receipt = records.decode(self._reported.find(record.receipt))
                if not isinstance(receipt, records.Receipt):
                    raise NoReport(f"record {record.receipt} is no receipt but {type(receipt).__name__}")
                return self._of_receipt(index, record.receipt, receipt, record.number, record.time_us)
            case records.Refused():
                origin = self._origin(record.number)
                error = b"%03X" % record.command_status
                return self._reports.of_own(origin, int(MessageState.REJECTED), error, index, record.time_us)
            case records.Outcome():
                origin = self._origin(record.number)
                return self._reports.of_own(origin, record.message_state, record.err, index, record.time_us)
            case records.Reply():
                frame = self._sealer.unseal(index, record.content)
                return self._reports.of_reply(_delivered(frame), frame, index, record.time_us)
            case records.Assembled():
                return self._of_assembly(index, record)
            case _:
                raise NoReport(f"record {index} is no report but {type(record).__name__}")

    def _of_receipt(
        self,
        index: int,
        receipt_index: int,
        record: records.Receipt,
        number: int,
        time_us: int,
    ) -> Report:
        receipt = receipt_in(_delivered(self._sealer.unseal(receipt_index, record.content)))
        if receipt is None:
            raise NoReport(f"the receipt in record {receipt_index} names no message")
        origin = self._origin(number)
        return self._reports.of_receipt(origin, receipt, index, time_us, final=is_final(receipt))

    def _of_assembly(self, index: int, record: records.Assembled) -> Report:
        """The parts are joined as they were when they came."""
        reassembly = Reassembly(inf, 1)
        pdus: dict[int, DeliverSm | DataSm] = {}
        whole = None
        for reply in sorted(record.replies):
            part = records.decode(self._accepted.find(reply))
            if not isinstance(part, records.Reply):
                raise NoReport(f"record {reply} is no reply but {type(part).__name__}")
            pdus[reply] = pdu = _delivered(self._sealer.unseal(reply, part.content))
            key, place, text = key_of(part.carrier, pdu)
            whole = reassembly.add(
                key, place.total, ReplyPart(reply, part.time_us, place.sequence, text), 0.0
            )
        if whole is None:
            (whole,) = reassembly.overdue(inf)
        return self._reports.of_assembly(whole, pdus[whole.head.index], index, record.time_us)

    def bodies(self, contents: list[int]) -> list[bytes | None]:
        """The submit_sm bodies in these records, each an Accepted or a Replaced; None for one that cannot be
        read now and ever after.  Raises as `rebuild`."""
        found: list[bytes | None] = []
        for content in contents:
            try:
                found.append(self._body(content))
            except _NEVER as error:
                logger.error("a submission cannot be read", record=content, error=str(error))
                found.append(None)
        return found

    def _body(self, content: int) -> bytes:
        record = records.decode(self._accepted.find(content))
        if not isinstance(record, records.Accepted | records.Replaced):
            raise NoReport(f"record {content} holds no submission but is {type(record).__name__}")
        return self._sealer.unseal(content, record.content)

    def _origin(self, number: int) -> ReadBack:
        accepted = records.decode(self._accepted.find(number))
        if not isinstance(accepted, records.Accepted):
            raise NoReport(f"record {number} accepts no part but is {type(accepted).__name__}")
        body = self._sealer.unseal(number, accepted.content)
        source_field, destination_field = address_fields(submit_of_body(body), body)
        oldest, message = accepted.first or number, accepted.message or number
        return ReadBack(oldest, message, source_field, destination_field, accepted.time_us)


def _delivered(frame: bytes) -> DeliverSm | DataSm:
    pdu = decode(frame)
    if not isinstance(pdu, DeliverSm | DataSm):
        raise NoReport(f"a carrier delivers no {command_name(pdu.command_id)}")
    return pdu
