"""Where a restart finds everything: the open parts, the waiting receipts, the unreported reports.

The evidence since the low-water mark is folded into what each part came to; then the parts that are still
open (and the last finished ones, so that their duplicates are known) pass through the same methods that
change states in operation.  A part that was dispatched and has no answer in the evidence is `uncertain`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.correlation import MISMATCH, WaitingReceipt, receipt_in
from gateway.message import DISPATCHED, FINAL, QUEUED, SENT, UNCERTAIN, Part, address_fields
from gateway.number_plan import normalise
from gateway.open_parts import FINISHED_MAX, OpenParts
from gateway.pipeline import body_for_carrier, submit_of_body
from gateway.reports import wanted
from protocol.smpp.codec import decode
from protocol.smpp.codes import MessageState
from protocol.smpp.errors import PduError
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.smpp.receipt import is_final
from storage import records
from storage.errors import ContentErased
from storage.seal import Sealer

logger = structlog.get_logger()

_REJECTED = int(MessageState.REJECTED)


class Fate(msgspec.Struct, gc=False):
    """What the evidence says of one part so far."""

    accepted: records.Accepted
    carrier: str  # to which it was dispatched last, or routed
    state: int = QUEUED
    link: int = 0
    attempts: int = 0
    dispatched_us: int = 0
    carrier_ids: tuple[bytes, ...] = ()
    message_state: int = 0
    error: bytes = b""
    final_us: int = 0
    registered_delivery: int = 0
    expires_us: int = 0
    units: int = 1
    doubtful: bool = False  # an attempt of it was uncertain
    content: bytes = b""  # sealed; of the Accepted, or of the last Replaced
    content_index: int = 0


class Fold:
    """Reads records in order and keeps what a restart needs."""

    def __init__(self) -> None:
        self.open: dict[int, Fate] = {}
        self.finished: OrderedDict[int, Fate] = OrderedDict()
        self.waiting: dict[int, records.Receipt] = {}
        # Record index -> (account, number of the oldest record needed to rebuild the report).
        self.unreported: dict[int, tuple[str, int]] = {}
        self.records = 0
        self._apply: dict[type, Callable[[int, Any], None]] = {
            records.Accepted: self._accepted,
            records.Dispatched: self._dispatched,
            records.Withdrawn: self._withdrawn,
            records.Sent: self._sent,
            records.Refused: self._refused,
            records.Uncertain: self._uncertain,
            records.Receipt: self._receipt,
            records.Matched: self._matched,
            records.Reply: self._reply,
            records.Outcome: self._outcome,
            records.Replaced: self._replaced,
            records.Reported: self._reported,
            records.OperatorAction: self._operator_action,
        }

    def read(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Fold every record of ``entries``."""
        for index, octets in entries:
            self.records += 1
            record = records.decode(octets)
            apply = self._apply.get(type(record))
            if apply is not None:
                apply(index, record)

    def _fate(self, number: int) -> Fate | None:
        return self.open.get(number) or self.finished.get(number)

    def _accepted(self, index: int, record: records.Accepted) -> None:
        self.open[index] = Fate(
            record,
            record.carrier,
            registered_delivery=record.registered_delivery,
            expires_us=record.expires_us,
            units=record.parts,
            content=record.content,
            content_index=index,
        )

    def _dispatched(self, _: int, record: records.Dispatched) -> None:
        for carrier, link, numbers in record.intents:
            for number in numbers:
                if fate := self.open.get(number):
                    fate.state = DISPATCHED
                    fate.carrier, fate.link = carrier, link
                    fate.attempts += 1
                    fate.dispatched_us = record.time_us

    def _withdrawn(self, _: int, record: records.Withdrawn) -> None:
        for number in record.numbers:
            if fate := self.open.get(number):
                fate.state = QUEUED

    def _sent(self, _: int, record: records.Sent) -> None:
        if fate := self._fate(record.number):
            self._learn(fate, record.carrier_id)

    def _learn(self, fate: Fate, carrier_id: bytes) -> None:
        if fate.state != FINAL:
            fate.state = SENT
        fate.carrier_ids += (carrier_id,)

    def _refused(self, index: int, record: records.Refused) -> None:
        fate = self.open.get(record.number)
        if fate is None:
            return
        if record.final:
            self._finish(
                index, record.number, fate, _REJECTED, b"%03X" % record.command_status, record.time_us
            )
        elif not record.moot:
            fate.state = QUEUED

    def _uncertain(self, _: int, record: records.Uncertain) -> None:
        for number in record.numbers:
            if fate := self.open.get(number):
                fate.state = UNCERTAIN
                fate.doubtful = True

    def _receipt(self, index: int, record: records.Receipt) -> None:
        if record.number == 0:
            if record.carrier_id:
                self.waiting[index] = record
        else:
            self._settle(index, record.number, record, record.time_us, ends=record.final)

    def _matched(self, index: int, record: records.Matched) -> None:
        # The receipt came after the part was accepted (gateway/correlation.py): where it stands before the
        # replayed range, so does the part.
        receipt = self.waiting.pop(record.receipt, None)
        if receipt is not None:
            self._settle(index, record.number, receipt, record.time_us, ends=record.final)

    def _settle(self, index: int, number: int, record: records.Receipt, time_us: int, *, ends: bool) -> None:
        fate = self.open.get(number)
        if fate is None:
            return  # finished before: a duplicate
        if fate.state in (DISPATCHED, UNCERTAIN) or not any(fate.carrier_ids):
            self._learn(fate, record.carrier_id)
        if ends:
            self._finish(index, number, fate, record.message_state, record.err, time_us)
        elif wanted(fate.registered_delivery, record.message_state, final=False):
            self.unreported[index] = (fate.accepted.account, number)

    def _finish(
        self, index: int, number: int, fate: Fate, message_state: int, error: bytes, time_us: int
    ) -> None:
        del self.open[number]
        fate.state = FINAL
        fate.message_state, fate.error, fate.final_us = message_state, error, time_us
        self.finished[number] = fate
        if len(self.finished) > FINISHED_MAX:
            self.finished.popitem(last=False)
        if wanted(fate.registered_delivery, message_state, final=True):
            self.unreported[index] = (fate.accepted.account, number)

    def _reply(self, index: int, record: records.Reply) -> None:
        if record.account:
            self.unreported[index] = (record.account, index)

    def _outcome(self, index: int, record: records.Outcome) -> None:
        if fate := self.open.get(record.number):
            self._finish(index, record.number, fate, record.message_state, record.err, record.time_us)

    def _replaced(self, index: int, record: records.Replaced) -> None:
        if fate := self.open.get(record.number):
            fate.content, fate.content_index = record.content, index
            fate.registered_delivery, fate.expires_us = record.registered_delivery, record.expires_us
            fate.units = record.parts

    def _reported(self, _: int, record: records.Reported) -> None:
        self.unreported.pop(record.record, None)

    def _operator_action(self, _: int, record: records.OperatorAction) -> None:
        if record.action == "resend":
            for number in record.numbers:
                if fate := self.open.get(number):
                    fate.state = QUEUED


class Restoration:
    """Puts what a fold found back into operation."""

    def __init__(
        self,
        fold: Fold,
        sealer: Sealer,
        open_parts: OpenParts,
        account_of: Callable[[str], Account],
        carrier_of: Callable[[str], Carrier],
    ) -> None:
        self._fold = fold
        self._sealer = sealer
        self._open = open_parts
        self._account_of = account_of
        self._carrier_of = carrier_of

    def restore(self) -> list[Part]:
        """Returns the parts whose attempt was cut off by the end of the last process, oldest first.

        The caller makes them uncertain, in a record and in fact.
        """
        fold, open_parts = self._fold, self._open
        for number, fate in fold.finished.items():
            self._restore_part(number, fate)
        cut_off = []
        for number, fate in sorted(fold.open.items()):
            part = self._restore_part(number, fate)
            if part is not None and part.state == DISPATCHED:
                cut_off.append(part)
        for index, record in fold.waiting.items():
            self._restore_waiting(index, record)
        for index, (account, number) in sorted(fold.unreported.items()):
            self._account_of(account).outbox.put_behind(index, number)
        logger.info(
            "recovered",
            records=fold.records,
            open_parts=len(open_parts.open),
            cut_off=len(cut_off),
            unreported=len(fold.unreported),
            waiting_receipts=len(fold.waiting),
        )
        return cut_off

    def _restore_part(self, number: int, fate: Fate) -> Part | None:
        accepted = fate.accepted
        try:
            body = self._sealer.unseal(fate.content_index, fate.content)
        except ContentErased:
            # Its day's key is gone: nobody can send it or compare its number any more.
            logger.warning("content erased; the part is left out", number=number)
            return None
        pdu = submit_of_body(body)
        source_field, destination_field = address_fields(pdu, body)
        carrier = self._carrier_of(fate.carrier)
        part = Part(
            number,
            accepted.message or number,
            self._account_of(accepted.account),
            carrier,
            normalise(pdu.destination_addr),
            source_field,
            destination_field,
            body_for_carrier(pdu, bytes(16) + body),
            fate.registered_delivery,
            fate.units,
            accepted.time_us,
            fate.expires_us,
        )
        part.doubtful = fate.doubtful
        self._open.add(part)
        if fate.attempts:
            self._open.dispatched(part, fate.link, fate.dispatched_us)
            part.attempts = fate.attempts
        for carrier_id in fate.carrier_ids:
            self._open.sent(part, carrier_id)
        if fate.state == FINAL:
            self._open.finish(part, fate.message_state, fate.error, fate.final_us)
        elif fate.state == UNCERTAIN:
            self._open.uncertain(part)
        elif fate.state == QUEUED:
            self._open.requeued(part)
            carrier.queue.append(part)
        return part

    def _restore_waiting(self, index: int, record: records.Receipt) -> None:
        try:
            frame = self._sealer.unseal(index, record.content)
            pdu = decode(frame)
        except (ContentErased, PduError):
            return
        assert isinstance(pdu, DeliverSm | DataSm)
        receipt = receipt_in(pdu)
        assert receipt is not None
        addresses = (normalise(pdu.source_addr), normalise(pdu.destination_addr))
        correlation = self._carrier_of(record.carrier).correlation
        if correlation.find(receipt, addresses)[1] != MISMATCH:
            correlation.wait(WaitingReceipt(index, record.time_us, receipt, addresses, is_final(receipt)))
