"""Where a restart finds everything: the open parts, the waiting receipts, the unreported reports.

The evidence since the low-water mark is folded into what each part came to; then the parts that are still
open (and the last finished ones, so that their duplicates are known) pass through the same methods that
change states in operation.  A part that was dispatched and has no answer in the evidence is `uncertain`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from gateway.account import Account
from gateway.admission import Refusal, period_of
from gateway.bodies import body_for_carrier, submit_of_body
from gateway.carrier import Carrier
from gateway.correlation import MISMATCH, WaitingReceipt, is_stale, receipt_in
from gateway.long_texts import LongTexts, may_be_a_part
from gateway.message import (
    DISPATCHED,
    FINAL,
    MODE_MASK,
    QUEUED,
    SENT,
    TRANSACTION,
    UNCERTAIN,
    Group,
    Part,
    address_fields,
)
from gateway.number_plan import normalise
from gateway.open_parts import FINISHED_MAX, OpenParts
from gateway.outcomes import Cause
from gateway.replies import Replies
from gateway.reports import is_reported, wanted
from gateway.turns import Turns
from protocol.smpp.codec import decode
from protocol.smpp.codes import MessageState
from protocol.smpp.errors import PduError
from protocol.smpp.pdu import DataSm, DeliverSm, SubmitSm
from protocol.smpp.receipt import Receipt, is_final
from storage import records
from storage.errors import ContentErased, KeyFileError
from storage.keys import KEY_REFERENCE_OCTETS
from storage.reader import LogReader
from storage.seal import Sealer

logger = structlog.get_logger()

_REJECTED = int(MessageState.REJECTED)

# How far a start looks back for who wrote to whom last, which takes 0.6 s.  A message makes three to five
# records, so these are most of the 100,000 subscribers that are remembered if the configuration says nothing;
# a reply to what stands further back goes by the other rules.
WARM_RECORDS: Final = 300_000


def _beginnings(kind: type[records.Record]) -> tuple[bytes, ...]:
    """How the records of a kind begin, with all fields or without some of those that have a default: the head
    of a msgpack array, then the tag."""
    required = sum(field.required for field in msgspec.structs.fields(kind))
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int)
    return tuple(
        bytes((0x90 | length, tag)) if length < 16 else bytes((0xDC, 0, length, tag))
        for length in range(1 + required, 2 + len(kind.__struct_fields__))
    )


_ACCEPTED: Final = _beginnings(records.Accepted)


def recall_writers(directory: Path, replies: Replies) -> None:
    """Let the replies know again who wrote to whom last, from the end of the evidence in this directory.

    To be called before the restoration, which may have to find an account for a reply.

    Raises CorruptEvidence and OSError.
    """
    with LogReader(directory) as reader:
        start = max(reader.first_index, reader.next_index - WARM_RECORDS)
        found = (
            records.decode(octets) for _, octets in reader.records(start) if octets.startswith(_ACCEPTED)
        )
        replies.recall(record for record in found if isinstance(record, records.Accepted))


class Fate(msgspec.Struct, gc=False):
    """What the evidence says of one part so far."""

    accepted: records.Accepted
    carrier: str  # to which it was dispatched last, or routed
    group: Group | None = None
    state: int = QUEUED
    link: int = 0
    attempts: int = 0
    postponed: int = 0
    until_us: int = 0  # it is not sent before
    rerouted: bool = False
    ported: bool = False
    dispatched_us: int = 0
    taken: bool = False  # by the carrier of its last attempt
    carrier_id: bytes = b""
    earlier_ids: tuple[tuple[str, bytes], ...] = ()
    message_state: int = 0
    error: bytes = b""
    final_us: int = 0
    registered_delivery: int = 0
    expires_us: int = 0
    units: int = 1
    doubts: int = 0  # attempts that were uncertain, and not answered after that
    refused: bool = False  # for good, while one of these is in doubt
    content: bytes = b""  # sealed; of the Accepted, or of the last Replaced
    content_index: int = 0
    content_us: int = 0  # when it came: relative times in it count from there

    def answered_after_all(self, *, late: bool = False) -> None:
        """As OpenParts.answered_after_all; a part that is to be sent again by itself is uncertain here."""
        if self.doubts and (self.state in (QUEUED, UNCERTAIN) or (late and self.state == DISPATCHED)):
            self.doubts -= 1

    @property
    def unsent(self) -> bool:
        """Whether its application was told in a response that no carrier took it."""
        return bool(self.accepted.flags & records.FLAG_TRANSACTION) and not self.taken


class Unreported(NamedTuple):
    """A report that its application has not answered. oldest: the first of the records that it is made of;
    keys: references of the data keys that these are sealed under."""

    account: str
    oldest: int
    keys: tuple[bytes, ...]


class Fold:
    """Reads records in order and keeps what a restart needs."""

    def __init__(self) -> None:
        self.open: dict[int, Fate] = {}
        self.finished: OrderedDict[int, Fate] = OrderedDict()
        self.waiting: dict[int, records.Receipt] = {}
        self.replies: dict[int, records.Reply] = {}  # parts of longer ones that are not together yet
        self.learned: list[tuple[int, records.Ported | records.OptedOut]] = []
        self._groups: dict[int, Group] = {}  # by the number of their first part
        self.ways: dict[int, str] = {}  # which carrier a part of each was dispatched to last
        self.unreported: dict[int, Unreported] = {}  # by the index of the record that is reported
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
            records.Postponed: self._postponed,
            records.Assembled: self._assembled,
            records.Ported: self._learned,
            records.OptedOut: self._learned,
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
        group = None
        if record.first:
            group = self._groups.get(record.first)
            if group is None:
                group = Group(first=record.first, cut_into=record.cut_into)
                self._groups[record.first] = group
        self.open[index] = Fate(
            record,
            record.carrier,
            group,
            registered_delivery=record.registered_delivery,
            expires_us=record.expires_us,
            units=record.parts,
            content=record.content,
            content_index=index,
            content_us=record.time_us,
        )

    def _dispatched(self, _: int, record: records.Dispatched) -> None:
        for carrier, link, numbers in record.intents:
            for number in numbers:
                if fate := self.open.get(number):
                    fate.state, fate.taken = DISPATCHED, False
                    fate.carrier, fate.link = carrier, link
                    fate.attempts += 1
                    fate.dispatched_us = record.time_us
                    if fate.group is not None:
                        self.ways[fate.group.first] = carrier

    def _withdrawn(self, _: int, record: records.Withdrawn) -> None:
        for number in record.numbers:
            if fate := self.open.get(number):
                fate.state = QUEUED

    def _sent(self, _: int, record: records.Sent) -> None:
        if fate := self._fate(record.number):
            self._learn(fate, record.carrier or fate.carrier, record.carrier_id)

    def _learn(self, fate: Fate, carrier: str, carrier_id: bytes) -> None:
        """As OpenParts.sent."""
        fate.answered_after_all()
        if fate.state != FINAL:
            fate.state = SENT
            if not fate.carrier_id:
                fate.carrier = carrier
        fate.taken = True
        if carrier_id and fate.carrier == carrier:
            if fate.carrier_id:
                fate.earlier_ids += ((carrier, fate.carrier_id),)
            fate.carrier_id = carrier_id
        elif carrier_id:
            fate.earlier_ids += ((carrier, carrier_id),)

    def _postponed(self, _: int, record: records.Postponed) -> None:
        """As OpenParts.postponed."""
        if fate := self.open.get(record.number):
            if fate.carrier_id:
                fate.earlier_ids += ((fate.carrier, fate.carrier_id),)
                fate.carrier_id = b""
            if record.carrier != fate.carrier:
                if fate.group is not None:
                    self.ways[fate.group.first] = record.carrier
                fate.rerouted, fate.ported = True, record.reason.startswith(f"{Cause.PORTED}:")
            fate.carrier = record.carrier
            fate.state, fate.taken = QUEUED, False
            fate.postponed += 1
            fate.until_us = record.until_us

    def _refused(self, index: int, record: records.Refused) -> None:
        fate = self.open.get(record.number)
        if fate is None:
            return
        fate.answered_after_all(late=record.moot)  # of a part in flight nothing else is moot
        if record.final:
            self._finish(
                index, record.number, fate, _REJECTED, b"%03X" % record.command_status, record.time_us
            )
        elif record.in_doubt:
            fate.state, fate.refused = UNCERTAIN, True
        elif not record.moot:
            fate.state = QUEUED

    def _uncertain(self, _: int, record: records.Uncertain) -> None:
        for number in record.numbers:
            if fate := self.open.get(number):
                fate.state = UNCERTAIN
                fate.doubts += 1

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
        stale = bool(fate.earlier_ids) and (
            record.carrier != fate.carrier or is_stale(record.carrier_id, fate.carrier_id, fate.earlier_ids)
        )
        if not stale and (fate.state in (DISPATCHED, UNCERTAIN) or not fate.carrier_id):
            self._learn(fate, record.carrier, record.carrier_id)
        if ends:
            self._finish(index, number, fate, record.message_state, record.err, time_us, record.content)
        elif (
            not stale
            and not is_final(_receipt_of(record))
            and wanted(fate.registered_delivery, record.message_state, final=False)
        ):
            self._report(index, number, fate, record.content)

    def _finish(
        self,
        index: int,
        number: int,
        fate: Fate,
        message_state: int,
        error: bytes,
        time_us: int,
        receipt: bytes = b"",
    ) -> None:
        """receipt: the sealed one that says so, if one does."""
        del self.open[number]
        fate.state = FINAL
        fate.message_state, fate.error, fate.final_us = message_state, error, time_us
        self.finished[number] = fate
        if len(self.finished) > FINISHED_MAX:
            self.finished.popitem(last=False)
        if is_reported(fate.registered_delivery, message_state, fate.group, unsent=fate.unsent):
            self._report(index, number, fate, receipt)

    def _report(self, index: int, number: int, fate: Fate, receipt: bytes) -> None:
        accepted = fate.accepted
        keys = _keys(accepted.content, receipt)
        self.unreported[index] = Unreported(accepted.account, accepted.first or number, keys)

    def _reply(self, index: int, record: records.Reply) -> None:
        if record.waits:
            self.replies[index] = record
        elif record.account:
            self.unreported[index] = Unreported(record.account, index, _keys(record.content))

    def _assembled(self, index: int, record: records.Assembled) -> None:
        parts = [part for reply in record.replies if (part := self.replies.pop(reply, None))]
        if record.account:
            keys = _keys(*(part.content for part in parts))
            self.unreported[index] = Unreported(record.account, min(record.replies), keys)

    def _outcome(self, index: int, record: records.Outcome) -> None:
        if fate := self.open.get(record.number):
            self._finish(index, record.number, fate, record.message_state, record.err, record.time_us)

    def _replaced(self, index: int, record: records.Replaced) -> None:
        if fate := self.open.get(record.number):
            fate.content, fate.content_index, fate.content_us = record.content, index, record.time_us
            fate.registered_delivery, fate.expires_us = record.registered_delivery, record.expires_us
            fate.units = record.parts

    def _learned(self, index: int, record: records.Ported | records.OptedOut) -> None:
        self.learned.append((index, record))

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
        replies: Replies,
        long_texts: LongTexts,
        turns: Turns,
        *,
        give_up_lost: bool = False,
    ) -> None:
        """give_up_lost: what is open, and sealed under a data key that is gone, does not keep it from
        starting."""
        # Open parts of that kind, which the caller ends; and reports, which it gives up, by their records.
        self.lost: list[tuple[int, Fate]] = []
        self.lost_reports: list[tuple[int, str]] = []
        self._give_up_lost = give_up_lost
        self._fold = fold
        self._long_texts = long_texts
        self._replies = replies
        self._turns = turns
        self._sealer = sealer
        self._open = open_parts
        self._account_of = account_of
        self._carrier_of = carrier_of

    def restore(self) -> list[Part]:
        """Returns the parts whose attempt was cut off by the end of the last process, oldest first.

        The caller makes them uncertain, in a record and in fact. Raises KeyFileError where open parts or
        reports need data keys that are gone: no erasure takes those (gateway/retention.py).
        """
        fold, open_parts = self._fold, self._open
        cut_off = []
        # As they were accepted: which part belongs to which text depends on that.
        for number, fate in sorted({**fold.finished, **fold.open}.items()):
            part = self._restore_part(number, fate)
            if part is not None and part.state == DISPATCHED:
                cut_off.append(part)
        for index, record in fold.waiting.items():
            self._restore_waiting(index, record)
        for index, reply in sorted(fold.replies.items()):
            self._restore_reply(index, reply)
        keys = {key for each in fold.unreported.values() for key in each.keys}
        gone = {key for key in keys if not self._sealer.has_key(key)}
        for index, report in sorted(fold.unreported.items()):
            if gone.intersection(report.keys):
                self.lost_reports.append((index, report.account))
            else:
                self._account_of(report.account).outbox.put_behind(index, report.oldest)
        if (self.lost or self.lost_reports) and not self._give_up_lost:
            raise KeyFileError(
                f"{self._sealer.keys_directory}: data keys are gone that {len(self.lost):,} open messages and"
                f" {len(self.lost_reports):,} reports to applications need: put the directory back from its"
                " copy (if there is none, `--give-up-lost` ends these messages, and reports nothing)"
            )
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
            # Its data key is gone: nobody can send it, or compare its number. One that is final waits for
            # nothing but duplicates.
            if fate.state != FINAL:
                self.lost.append((number, fate))
            return None
        pdu = submit_of_body(body)
        source_field, destination_field = address_fields(pdu, body)
        carrier = self._carrier_of(fate.carrier)
        account = self._account_of(accepted.account)
        group = fate.group
        if group is not None:
            group.carrier = self._carrier_of(self._fold.ways.get(group.first, fate.carrier))
        elif may_be_a_part(pdu):
            group, bit = self._long_texts.group_of(
                accepted.account, pdu, normalise(pdu.destination_addr), self._turns.now
            )
            if group is not None:
                group.came |= bit
                if group.carrier is None or fate.attempts:  # where one has left the others follow
                    group.carrier = carrier
        if group is not None and fate.state == QUEUED and not fate.attempts:
            assert group.carrier is not None
            carrier = group.carrier  # its text was handed over
        part = Part(
            number,
            accepted.message or number,
            account,
            carrier,
            normalise(pdu.destination_addr),
            source_field,
            destination_field,
            body_for_carrier(pdu, bytes(16) + body, fate.expires_us),
            fate.registered_delivery,
            fate.units,
            accepted.time_us,
            fate.expires_us,
            accepted.lane,
            pdu.esm_class & MODE_MASK,
            accepted.time_us,
            fate.content_index,
            group,
        )
        part.postponed, part.rerouted, part.ported = fate.postponed, fate.rerouted, fate.ported
        part.refused = fate.refused
        self._open.add(part)
        for name, carrier_id in fate.earlier_ids:
            earlier = self._carrier_of(name)
            part.earlier_ids += ((earlier, carrier_id),)
            earlier.correlation.learn(part, carrier_id)
        if fate.attempts:
            self._open.dispatched(part, fate.link, fate.dispatched_us)
            part.attempts = fate.attempts
        if fate.taken:
            self._open.sent(part, carrier, fate.carrier_id)
        if fate.state == FINAL:
            self._open.finish(part, fate.message_state, fate.error, fate.final_us)
        elif fate.state == UNCERTAIN:
            self._open.uncertain(part)
        elif fate.state == QUEUED:
            self._open.requeued(part)
            self._queue(part, pdu, fate)
        part.doubts = fate.doubts  # the last one among them, which has just been counted
        return part

    def _queue(self, part: Part, pdu: SubmitSm, fate: Fate) -> None:
        """Let a part wait, behind those of its lane, or until its time has come."""
        until_us = fate.until_us
        if pdu.schedule_delivery_time and part.mode != TRANSACTION:  # there it waits for nothing
            period = period_of(pdu.schedule_delivery_time, b"", fate.content_us)
            assert not isinstance(period, Refusal)  # it was read when the part was accepted
            until_us = max(until_us, period[0])
        if until_us > self._turns.now_us:
            part.carrier.rest(part, self._turns.now + (until_us - self._turns.now_us) * 1e-6)
        else:
            part.queued_us = max(part.queued_us, until_us)
            part.carrier.queues.append(part)

    def _restore_reply(self, index: int, record: records.Reply) -> None:
        try:
            pdu = decode(self._sealer.unseal(index, record.content))
        except (ContentErased, PduError):
            return
        assert isinstance(pdu, DeliverSm | DataSm)
        self._replies.restore(self._carrier_of(record.carrier), index, record, pdu)

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


def _keys(*sealed: bytes) -> tuple[bytes, ...]:
    """References of the data keys, each once, of what is sealed; of nothing there is none."""
    return tuple(dict.fromkeys(each[:KEY_REFERENCE_OCTETS] for each in sealed if each))


def _receipt_of(record: records.Receipt) -> Receipt:
    """What a record says of its receipt, as far as its finality goes."""
    return Receipt(record.carrier_id, record.stat, message_state=record.message_state)
