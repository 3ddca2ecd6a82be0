"""Delivery receipts: recorded, matched with their parts, weighed, and made what the application hears.

Every receipt is recorded before anything is concluded from it, whatever it says and whomever it speaks of
(field lessons 1 to 11).
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.attempts import Retry, retry_after_receipt
from gateway.carrier import Carrier
from gateway.commitment import Commitment
from gateway.correlation import (
    DERIVED,
    EXACT,
    MISMATCH,
    UNCERTAIN_DESTINATION,
    WaitingReceipt,
    is_stale,
    receipt_in,
)
from gateway.detours import Detours
from gateway.downstream import Link
from gateway.histogram import Histogram
from gateway.message import DISPATCHED, FINAL, UNCERTAIN, Part
from gateway.number_directory import NumberDirectory
from gateway.number_plan import normalise
from gateway.open_parts import OpenParts
from gateway.outcomes import Verdict
from gateway.portability import learned_expires_us, portable
from gateway.profile import SAMPLE_MASK
from gateway.reports import Reports, is_reported, wanted
from gateway.turns import Turns
from protocol.smpp.codes import MessageState
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.smpp.receipt import Receipt, is_final, message_state_of
from storage import records
from storage.log import EvidenceLog
from storage.records import encode
from storage.seal import Sealer

_DELIVERED: Final = int(MessageState.DELIVERED)


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a receipt says of its part: whether it ends it, is final at all, speaks of an earlier attempt, and
    what follows from a failure that the carrier's own code explains."""

    ends: bool
    final: bool
    stale: bool
    retry: Retry | None
    verdict: Verdict | None


# What nearly every receipt says.
_DELIVERY: Final = Said(True, True, False, None, None)


class Receipts:
    """Takes what carriers say of parts that they had."""

    def __init__(
        self,
        turns: Turns,
        log: EvidenceLog,
        commitment: Commitment,
        sealer: Sealer,
        open_parts: OpenParts,
        directory: NumberDirectory,
        detours: Detours,
        reports: Reports,
    ) -> None:
        self.submit_to_receipt = Histogram()
        self._turns = turns
        self._log = log
        self._commitment = commitment
        self._sealer = sealer
        self._open = open_parts
        self._directory = directory
        self._detours = detours
        self._reports = reports

    def take(self, link: Link, pdu: DeliverSm | DataSm, frame: bytes) -> None:
        """A receipt came from a carrier: record it, and let it change its part, if that can be found."""
        receipt = receipt_in(pdu)
        carrier = link.carrier
        correlation, observed = carrier.correlation, carrier.observed
        addresses: tuple[bytes, ...] = (normalise(pdu.source_addr),)
        if receipt is None:
            self._record_receipt(link, None, Receipt(b""), addresses[0], frame, ends=False)
            return
        observed.receipts += 1
        if observed.receipts & SAMPLE_MASK == 1:
            observed.receipt(receipt.message_id, receipt.stat, pdu.tlvs, self._turns.now_us)
        part, how = correlation.find(receipt, addresses)
        if part is None:  # some carriers write the subscriber into the destination
            addresses += (normalise(pdu.destination_addr),)
            part, how = correlation.find(receipt, addresses)
        if part is None and how != MISMATCH:
            part = correlation.find_unnamed(receipt, addresses, carrier.in_flight)
            how = UNCERTAIN_DESTINATION
        final = is_final(receipt)
        if part is None:
            index = self._record_receipt(link, None, receipt, addresses[0], frame, ends=False)
            if how != MISMATCH:
                correlation.wait(WaitingReceipt(index, self._turns.now_us, receipt, addresses, final))
            return
        if how != EXACT or len(addresses) > 1:
            self._observe_match(carrier, part, receipt, addresses, how)
        said = self._weigh(carrier, part, receipt, final=final)
        index = self._record_receipt(link, part, receipt, addresses[0], frame, ends=said.ends)
        self._apply(carrier, part, receipt, index, said)

    def _record_receipt(
        self,
        link: Link,
        part: Part | None,
        receipt: Receipt,
        subscriber: bytes,
        frame: bytes,
        *,
        ends: bool,
    ) -> int:
        index = self._log.next_index
        return self._log.append(
            encode(
                records.Receipt(
                    self._turns.now_us,
                    0 if part is None else part.number,
                    link.carrier_name,
                    link.index,
                    receipt.message_id,
                    receipt.message_state,
                    receipt.stat,
                    receipt.err or receipt.network_error_code,
                    receipt.submit_date,
                    receipt.done_date,
                    ends,
                    self._sealer.number_hash(subscriber) if part is None and subscriber else b"",
                    self._sealer.seal(index, frame),
                )
            )
        )

    def match(self, carrier: Carrier, part: Part, waiting: WaitingReceipt, how: str) -> None:
        """A receipt that had matched nothing has found its part."""
        self._observe_match(carrier, part, waiting.receipt, waiting.addresses, how)
        said = self._weigh(carrier, part, waiting.receipt, final=waiting.final)
        index = self._log.append(
            encode(records.Matched(self._turns.now_us, waiting.index, part.number, how, said.ends))
        )
        self._apply(carrier, part, waiting.receipt, index, said)

    def _observe_match(
        self, carrier: Carrier, part: Part, receipt: Receipt, addresses: tuple[bytes, ...], how: str
    ) -> None:
        carrier.observed.match(
            receipt.message_id,
            derived=how == DERIVED,
            by_destination=part.destination != addresses[0],
            now_us=self._turns.now_us,
        )

    def _observe_code(self, carrier: Carrier, receipt: Receipt, verdict: Verdict) -> None:
        """A receipt has a code, and no word: if its state says as much alone, no table knows the code."""
        alone = self._detours.outcomes.of_receipt(
            carrier.name, carrier.network, b"", b"", receipt.message_state
        )
        if verdict == alone:
            carrier.observed.unknown_code(receipt.stat, receipt.err, self._turns.now_us)

    def _weigh(self, carrier: Carrier, part: Part, receipt: Receipt, *, final: bool) -> Said:
        """What a receipt says of its part: of an attempt before the last one only a delivery counts, and a
        failure that is the carrier's own may be tried again."""
        stale = bool(part.earlier_ids) and (
            carrier is not part.carrier or is_stale(receipt.message_id, part.carrier_id, part.earlier_ids)
        )
        if part.state == FINAL or not final:
            return Said(False, final, stale, None, None)
        if receipt.message_state == _DELIVERED:
            return Said(True, True, True, None, None) if stale else _DELIVERY
        if stale:
            return Said(False, True, True, None, None)
        state = receipt.message_state
        verdict = self._detours.outcomes.of_receipt(
            carrier.name, carrier.network, receipt.stat, receipt.err, state
        )
        if receipt.stat and not message_state_of(receipt.stat):
            self._observe_code(carrier, receipt, verdict)
        retry = self._detours.retry_after(retry_after_receipt, part, verdict)
        return Said(retry is None, True, False, retry, verdict)

    def _apply(self, carrier: Carrier, part: Part, receipt: Receipt, index: int, said: Said) -> None:
        """Let a receipt change the state of its part; states only move forward (field lesson 8)."""
        state = receipt.message_state
        carrier.receipts[state] += 1
        if not said.stale and (not part.carrier_id or part.state in (DISPATCHED, UNCERTAIN)):
            self._detours.taken(part, carrier, receipt.message_id)  # the receipt brings the id
        if part.state == FINAL or (said.stale and not said.ends):
            return  # a duplicate, or an afterthought: it is in the evidence, and the application has heard
        now_us = self._turns.now_us
        if said.retry is not None and said.verdict is not None:
            self._detours.postpone(part, said.retry, said.verdict)
            return
        if not said.final:
            if wanted(part.registered_delivery, state, final=False):
                report = self._reports.of_receipt(part, receipt, index, now_us, final=False)
                self._commitment.report(part.account, report)
            return
        self._open.finish(part, state, receipt.err or receipt.network_error_code, now_us)
        self.submit_to_receipt.observe((now_us - part.accepted_us) * 1e-6)
        if part.ported and state == _DELIVERED:
            self._learn_network(carrier, part)
        if is_reported(part.registered_delivery, state, part.group, unsent=False):
            report = self._reports.of_receipt(part, receipt, index, now_us, final=True)
            self._commitment.report(part.account, report)

    def _learn_network(self, carrier: Carrier, part: Part) -> None:
        """A carrier has said that the number has left its network, and another network has delivered to it:
        it has been ported there."""
        directory, now_us = self._directory, self._turns.now_us
        number_hash = directory.number_hash(part.destination)
        known = directory.network(part.destination, number_hash, now_us)
        if known == carrier.network or not portable(part.destination):
            return
        expires_us = learned_expires_us(now_us)
        source = f"delivered by {carrier.name}"
        record = records.Ported(now_us, number_hash, carrier.network, source, expires_us)
        directory.note(self._log.append(encode(record)), record)

    def look_again(self, part: Part) -> None:
        """See whether a waiting receipt can only be this part's: one that could have been another's, while
        that one was open, may be so by now."""
        carrier = part.carrier
        for waiting, how in carrier.correlation.waiting_for_unnamed(part, carrier.in_flight):
            self.match(carrier, part, waiting, how)
