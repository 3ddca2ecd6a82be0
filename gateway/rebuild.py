"""A report read back from the evidence, when the outbox kept only the index of its record.

Runs on a thread of its own with readers of its own, since it reads files.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from gateway.account import Account
from gateway.correlation import receipt_in
from gateway.message import Part, address_fields
from gateway.number_plan import normalise
from gateway.outbox import Report
from gateway.pipeline import submit_of_body
from gateway.reports import Reports
from protocol.smpp.codec import decode
from protocol.smpp.codes import MessageState
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.smpp.receipt import is_final
from storage import records
from storage.errors import ContentErased
from storage.reader import LogReader
from storage.seal import Sealer

logger = structlog.get_logger()


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

    def rebuild(self, account: Account, indexes: list[int]) -> list[Report]:
        """The reports of these records, in order; one whose content has been erased is left out."""
        reports = []
        for index in indexes:
            try:
                reports.append(self._report(account, index))
            except ContentErased:
                logger.warning("content erased; the report is left out", record=index, account=account.name)
        return reports

    def _report(self, account: Account, index: int) -> Report:
        record = records.decode(self._reported.find(index))
        match record:
            case records.Receipt():
                return self._of_receipt(account, index, index, record, record.number, record.time_us)
            case records.Matched():
                receipt = records.decode(self._reported.find(record.receipt))
                assert isinstance(receipt, records.Receipt)
                return self._of_receipt(
                    account, index, record.receipt, receipt, record.number, record.time_us
                )
            case records.Refused():
                part = self._part(account, record.number)
                error = b"%03X" % record.command_status
                return self._reports.of_own(part, int(MessageState.REJECTED), error, index, record.time_us)
            case records.Outcome():
                part = self._part(account, record.number)
                return self._reports.of_own(part, record.message_state, record.err, index, record.time_us)
            case records.Reply():
                frame = self._sealer.unseal(index, record.content)
                pdu = decode(frame)
                assert isinstance(pdu, DeliverSm | DataSm)
                return self._reports.of_reply(pdu, frame, index, record.time_us)
            case _:
                raise AssertionError(f"record {index} is no report but {type(record).__name__}")

    def _of_receipt(
        self,
        account: Account,
        index: int,
        receipt_index: int,
        record: records.Receipt,
        number: int,
        time_us: int,
    ) -> Report:
        pdu = decode(self._sealer.unseal(receipt_index, record.content))
        assert isinstance(pdu, DeliverSm | DataSm)
        receipt = receipt_in(pdu)
        assert receipt is not None
        part = self._part(account, number)
        return self._reports.of_receipt(part, receipt, index, time_us, final=is_final(receipt))

    def _part(self, account: Account, number: int) -> Part:
        accepted = records.decode(self._accepted.find(number))
        assert isinstance(accepted, records.Accepted)
        body = self._sealer.unseal(number, accepted.content)
        pdu = submit_of_body(body)
        source_field, destination_field = address_fields(pdu, body)
        return Part(
            number,
            accepted.message or number,
            account,
            None,  # type: ignore[arg-type]  # a report names no carrier
            normalise(pdu.destination_addr),
            source_field,
            destination_field,
            b"",
            accepted.registered_delivery,
            accepted.parts,
            accepted.time_us,
            accepted.expires_us,
        )
