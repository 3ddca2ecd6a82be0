"""The two paths of a message, each written out from top to bottom; upstream and downstream meet only here.

Out:  submit -> admission -> `accepted` -> queue -> `dispatched` -> durable -> the answer and the PDU leave
      -> answered -> `sent`, `refused` or `uncertain`.
Back: delivered -> correlation -> `receipt` or `reply` -> durable -> the carrier is answered
      -> outbox -> the application answers -> `reported`.

Nothing here waits.  What may only happen once a record is on disk is handed to the commitment
(gateway/commitment.py), which carries it out when the batch that the record is in is durable.
"""

from __future__ import annotations

from math import inf
from typing import Final

import structlog

from gateway.account import Account
from gateway.admission import Admission, Admitted, Refusal, expiry, units_of
from gateway.carrier import Carrier
from gateway.commitment import Commitment
from gateway.connection import Connection
from gateway.correlation import MISMATCH, UNCERTAIN_DESTINATION, WaitingReceipt, receipt_in
from gateway.denials import Denials
from gateway.dispatch import INTENTS_MAX, Dispatch
from gateway.downstream import Link
from gateway.histogram import Histogram
from gateway.message import DISPATCHED, FINAL, UNCERTAIN, MessageIds, Part, address_fields
from gateway.number_plan import normalise
from gateway.open_parts import OpenParts
from gateway.outbox import Report
from gateway.reports import Reports, wanted
from gateway.turns import Turns
from gateway.upstream import Application
from protocol.smpp.codec import HEADER
from protocol.smpp.codec import decode as decode_pdu
from protocol.smpp.codec import encode as encode_pdu
from protocol.smpp.codec_fast import submit_body_with_registered_delivery
from protocol.smpp.codes import CommandId, CommandStatus, MessageState, TlvTag
from protocol.smpp.errors import LocalError, PduError
from protocol.smpp.pdu import DataSm, DeliverSm, ReplaceSm, SubmitSm
from protocol.smpp.receipt import Receipt, is_final
from storage import records
from storage.log import EvidenceLog
from storage.records import encode
from storage.seal import Sealer

logger = structlog.get_logger()

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)
_ROK: Final = int(CommandStatus.ESME_ROK)
_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)

# esm_class of a deliver_sm (SMPP 3.4 §5.2.12): bits 5-2 are the type of message.  Only these are receipts,
# whatever the text looks like (field lesson 11).
_MESSAGE_TYPE: Final = 0x3C
_RECEIPT_TYPES: Final = frozenset({0x04, 0x20})  # delivery receipt, intermediate notification

# The two low bits of registered_delivery: a final receipt is always asked of the carrier, since the contract
# wants the status of every message; whether the application hears of it is its own wish.
_FINAL_RECEIPT: Final = 0x01
_FINAL_RECEIPT_BITS: Final = 0x03

# A carrier that answers with one of these is busy: the part is tried again (field lesson 19).
_BUSY: Final = frozenset({int(CommandStatus.ESME_RTHROTTLED), int(CommandStatus.ESME_RMSGQFUL)})
# An application that answers a report with one of these wants it again later.
_LATER: Final = _BUSY | {int(CommandStatus.ESME_RSYSERR), int(CommandStatus.ESME_RX_T_APPN)}

# How long a part rests before it is sent again by itself: once for each time that may happen.  A carrier that
# gave no response thrice will not give one, and each attempt may be one more copy to one citizen; so after
# three, for whatever reason each was made, the part waits for a receipt or a person.  The first rest keeps a
# part that breaks a link from breaking the next one in the same moment.
RESEND_WAITS_S: Final = (1.0, 10.0)
ATTEMPTS_MAX: Final = 1 + len(RESEND_WAITS_S)

# A `reported` record with this session says that nobody answered, and that we have stopped to try.
NO_SESSION: Final = 0
_DELIVERY_FAILURE: Final = int(CommandStatus.ESME_RDELIVERYFAILURE)
_HOUR_US: Final = 3_600_000_000

_UNDELIVERABLE: Final = int(MessageState.UNDELIVERABLE)
_REJECTED: Final = int(MessageState.REJECTED)
_EXPIRED: Final = int(MessageState.EXPIRED)
_UNKNOWN: Final = int(MessageState.UNKNOWN)


class Pipeline:
    """Carries messages between applications, the evidence log and carriers."""

    def __init__(
        self,
        turns: Turns,
        log: EvidenceLog,
        commitment: Commitment,
        sealer: Sealer,
        open_parts: OpenParts,
        accounts: dict[str, Account],
        admission: Admission,
        dispatch: Dispatch,
        message_ids: MessageIds,
    ) -> None:
        self.message_ids = message_ids
        self.reports = Reports(message_ids)
        self.denials = Denials(log, sealer, turns.now)
        self.unrouted_replies = 0
        self.refused_replies = 0
        self.dispatch_to_response = Histogram()
        self.submit_to_receipt = Histogram()
        self.receipt_to_report = Histogram()
        self._turns = turns
        self._log = log
        self._commitment = commitment
        self._sealer = sealer
        self._open = open_parts
        self._accounts = accounts
        self._admission = admission
        self._dispatch = dispatch
        commitment.parts = self

    # == out: from the application to the disk ==============================================================

    def submit(self, application: Application, pdu: SubmitSm, frame: bytes) -> None:
        """A submit_sm: judge it, record it, answer it once the record is durable."""
        turns = self._turns
        admitted = self._admission.admit(application.account, pdu, turns.now, turns.now_us)
        if isinstance(admitted, Refusal):
            self.deny(
                application, _SUBMIT_SM, pdu.sequence_number, admitted, frame[16:], pdu.destination_addr
            )
            return
        number = self.accept(application, pdu, frame, admitted)
        self.answer(application, _SUBMIT_SM, pdu.sequence_number, self.message_ids.text(number) + b"\0")

    def accept(
        self,
        application: Application,
        pdu: SubmitSm,
        frame: bytes,
        admitted: Admitted,
        message: int = 0,
        flags: int = 0,
    ) -> int:
        """Record an admitted part and queue it; returns its number.

        message: number of the first part of the same message, 0 if this is the first or only one.
        """
        log = self._log
        now_us = self._turns.now_us
        account = application.account
        carrier = admitted.carrier
        registered_delivery = pdu.registered_delivery
        body = frame[16:]
        number = log.next_index
        log.append(
            encode(
                records.Accepted(
                    now_us,
                    account.name,
                    application.number,
                    message,
                    carrier.name,
                    self._sealer.number_hash(admitted.destination),
                    admitted.units,
                    registered_delivery,
                    flags,
                    admitted.expires_us,
                    self._sealer.seal(number, body),
                )
            )
        )
        source_field, destination_field = address_fields(pdu, body)
        part = Part(
            number,
            message or number,
            account,
            carrier,
            admitted.destination,
            source_field,
            destination_field,
            body_for_carrier(pdu, frame),
            registered_delivery,
            admitted.units,
            now_us,
            admitted.expires_us,
        )
        self._open.add(part)
        carrier.queue.append(part)
        account.accepted += 1
        return number

    def answer(self, application: Application, command_id: int, sequence_number: int, body: bytes) -> None:
        """Answer positively, once everything recorded so far is durable."""
        self._commitment.answer(application.connection, command_id, sequence_number, body)

    def deny(
        self,
        application: Application,
        command_id: int,
        sequence_number: int,
        refusal: Refusal,
        body: bytes,
        destination: bytes,
    ) -> None:
        """Answer negatively, at once: that promises nothing."""
        account = application.account
        account.refused[refusal.command_status] += 1
        self.denials.note(
            account.name, application.number, refusal, body, normalise(destination), self._turns
        )
        application.connection.session.respond(command_id, sequence_number, refusal.command_status)

    # == out: what does not leave after all =================================================================

    def withdraw(self, link: Link, parts: list[Part]) -> None:
        """The link went down between intent and effect: these parts certainly did not leave."""
        # A late response to an earlier attempt may have told the fate of one meanwhile.
        parts = [part for part in parts if part.state == DISPATCHED]
        if not parts:
            return
        numbers = [part.number for part in parts]
        self._log.append(encode(records.Withdrawn(self._turns.now_us, numbers, f"{link.name} is down")))
        for part in parts:
            self._requeue(part)

    def _requeue(self, part: Part) -> None:
        self._open.requeued(part)
        part.carrier.returned.append(part)

    def expire(self, part: Part) -> None:
        """The validity of a part ended while it was queued; one of which an attempt is uncertain may have
        been delivered all the same."""
        if part.doubtful:
            self.finish(part, _UNKNOWN, "gateway", "validity ended before it could be sent again", "")
        else:
            self.finish(part, _EXPIRED, "gateway", "validity ended before it could be sent", "")

    # == out: from the carrier's answer to the disk =========================================================

    def answered(
        self, link: Link, part: Part, command_status: int, carrier_id: bytes, *, late: bool = False
    ) -> None:
        """A carrier answered a submit_sm.  late: after the time for it had passed."""
        now_us = self._turns.now_us
        carrier = part.carrier
        if command_status == _ROK:
            carrier.took()
            self.dispatch_to_response.observe((now_us - part.dispatched_us) * 1e-6)
            self._log.append(encode(records.Sent(part.number, now_us, link.index, carrier_id)))
            self._open.sent(part, carrier_id)
            correlation = carrier.correlation
            if correlation.waiting:
                for waiting, how in (
                    correlation.waiting_for(part)
                    if carrier_id
                    else correlation.waiting_for_unnamed(part, carrier.in_flight)
                ):
                    self._match(part, waiting, how)
            return
        carrier.refused.count(command_status)
        busy = command_status in _BUSY
        # A late refusal may speak of an attempt that is not the part's last one, or come when the carrier is
        # known to have the part.
        moot = part.state != (UNCERTAIN if late else DISPATCHED)
        final = not (busy or moot)
        index = self._log.append(
            encode(records.Refused(part.number, now_us, link.index, command_status, final, moot))
        )
        if final:
            self._end(part, _REJECTED, b"%03X" % command_status, index)
        elif not moot:
            carrier.pause(self._turns.now)
            self._requeue(part)

    def unanswered(self, link: Link, parts: list[Part], reason: str) -> None:
        """No response came for these parts: the carrier may have them or not (field lesson 13)."""
        parts = [part for part in parts if part.state == DISPATCHED]
        if not parts:
            return
        numbers = [part.number for part in parts]
        self._log.append(encode(records.Uncertain(self._turns.now_us, numbers, link.index, reason)))
        for part in parts:
            self.make_uncertain(part)

    def make_uncertain(self, part: Part) -> None:
        """Wait for the fate of a part to show, or send it again, as its account wishes."""
        self._open.uncertain(part)
        self.look_again(part)
        self._resend_as_configured(part)

    def _resend_as_configured(self, part: Part) -> None:
        """Send a part that is uncertain again if its account wishes it so, after a rest and not for ever."""
        if part.state != UNCERTAIN or part.account.config.uncertain != "resend":
            return
        if part.attempts < ATTEMPTS_MAX:
            self._open.requeued(part)
            part.carrier.rest(part, self._turns.now + RESEND_WAITS_S[part.attempts - 1])

    def look_again(self, part: Part) -> None:
        """See whether a waiting receipt can only be this part's: one that could have been another's, while
        that one was open, may be so by now."""
        carrier = part.carrier
        for waiting, how in carrier.correlation.waiting_for_unnamed(part, carrier.in_flight):
            self._match(part, waiting, how)

    def replace(self, part: Part, pdu: ReplaceSm) -> Refusal | None:
        """Put another text, and what else replace_sm names, in the place of a part that is still queued; or
        say why that makes no message."""
        now_us = self._turns.now_us
        expires = expiry(pdu.schedule_delivery_time, pdu.validity_period, now_us)
        if isinstance(expires, Refusal):
            return expires
        submit = submit_of_body(part.body)
        # SMPP 3.4 §4.10.1: an empty time keeps the old one.
        submit.schedule_delivery_time = pdu.schedule_delivery_time or submit.schedule_delivery_time
        submit.validity_period = pdu.validity_period or submit.validity_period
        submit.registered_delivery = pdu.registered_delivery
        submit.sm_default_msg_id = pdu.sm_default_msg_id
        submit.short_message = pdu.short_message
        kept = tuple(tlv for tlv in submit.tlvs if tlv[0] != _MESSAGE_PAYLOAD)
        submit.tlvs = kept + tuple(tlv for tlv in pdu.tlvs if tlv[0] == _MESSAGE_PAYLOAD)
        units = units_of(submit, part.carrier)
        if isinstance(units, Refusal):
            return units
        try:
            frame = encode_pdu(submit)
        except LocalError as error:  # with the TLVs that are kept it is longer than a PDU may be
            return Refusal(CommandStatus.ESME_RREPLACEFAIL, str(error))
        index = self._log.next_index
        sealed = self._sealer.seal(index, frame[16:])
        wish, expires_us = pdu.registered_delivery, expires or part.expires_us
        self._log.append(encode(records.Replaced(part.number, now_us, sealed, wish, expires_us, units)))
        self._open.replaced(part, body_for_carrier(submit, frame))
        part.registered_delivery, part.expires_us, part.units = wish, expires_us, units
        return None

    def finish(self, part: Part, message_state: int, source: str, reason: str, who: str) -> None:
        """End a part by the gateway's, an operator's or the application's decision."""
        now_us = self._turns.now_us
        index = self._log.append(
            encode(records.Outcome(part.number, now_us, message_state, b"", source, reason, who))
        )
        self._end(part, message_state, b"", index)

    def _end(self, part: Part, message_state: int, error: bytes, index: int) -> None:
        """The end of a part without a receipt, of which the application hears in the gateway's name."""
        now_us = self._turns.now_us
        self._open.finish(part, message_state, error, now_us)
        if wanted(part.registered_delivery, message_state, final=True):
            report = self.reports.of_own(part, message_state, error, index, now_us)
            self._commitment.report(part.account, report)

    # == out: what people decide of uncertain parts =========================================================

    def resend(self, parts: list[Part], who: str, reason: str) -> None:
        """Send uncertain parts again, at the risk that the carrier has them."""
        self.operator_action(who, "resend", reason, [part.number for part in parts])
        for part in parts:
            self._requeue(part)

    def close(self, parts: list[Part], who: str, reason: str) -> None:
        """End uncertain parts as unknown."""
        self.operator_action(who, "close", reason, [part.number for part in parts])
        for part in parts:
            self.finish(part, _UNKNOWN, "operator", reason, who)

    def cut_off(self, parts: list[Part]) -> None:
        """At the start: these parts were dispatched, and the process ended before their response."""
        by_link: dict[tuple[str, int], list[Part]] = {}
        for part in parts:
            by_link.setdefault((part.carrier.name, part.link), []).append(part)
        for (_, link), cut in by_link.items():
            for start in range(0, len(cut), INTENTS_MAX):
                numbers = [part.number for part in cut[start : start + INTENTS_MAX]]
                self._log.append(
                    encode(records.Uncertain(self._turns.now_us, numbers, link, "the gateway was stopped"))
                )
            for part in cut:
                self.make_uncertain(part)

    def resend_as_configured(self) -> None:
        """At the start: send the uncertain parts again whose accounts wish it so."""
        for carrier in self._dispatch.carriers.values():
            for part in carrier.correlation.uncertain_parts():
                self._resend_as_configured(part)

    def reroute(self, gone: Carrier) -> None:
        """At the start: find another way for what was queued for a carrier that is not configured now."""
        gone.wake(inf)  # the restart was rest enough
        gone.take_back()
        while gone.queue:
            part = gone.queue.popleft()
            carrier = self._admission.carrier_of(part.destination)
            if carrier is None:
                reason = f"carrier {gone.name} is not configured any more, and no other serves the number"
                self.finish(part, _UNDELIVERABLE, "gateway", reason, "")
            else:
                part.carrier = carrier
                carrier.queue.append(part)

    # == back: from the carrier to the disk =================================================================

    def delivered(self, link: Link, connection: Connection, pdu: DeliverSm | DataSm, frame: bytes) -> None:
        """A deliver_sm or data_sm from a carrier: record it, answer it once the record is durable."""
        if pdu.esm_class & _MESSAGE_TYPE in _RECEIPT_TYPES:
            self._receipt(link, pdu, receipt_in(pdu), frame)
        else:
            try:
                self._reply(link, pdu, frame)
            except PduError as error:
                self.refused_replies += 1
                logger.warning("reply refused", link=link.name, reason=error.reason)
                connection.session.respond(pdu.command_id, pdu.sequence_number, error.command_status)
                return
        self._commitment.answer(connection, pdu.command_id, pdu.sequence_number, b"\0")

    def _receipt(self, link: Link, pdu: DeliverSm | DataSm, receipt: Receipt | None, frame: bytes) -> None:
        carrier = self._dispatch.carriers[link.carrier_name]
        correlation = carrier.correlation
        addresses: tuple[bytes, ...] = (normalise(pdu.source_addr),)
        if receipt is None:
            self._record_receipt(link, None, Receipt(b""), addresses[0], frame, ends=False)
            return
        part, how = correlation.find(receipt, addresses)
        if part is None:  # some carriers write the subscriber into the destination
            addresses += (normalise(pdu.destination_addr),)
            part, how = correlation.find(receipt, addresses)
        if part is None and how != MISMATCH:
            part = correlation.find_unnamed(receipt, addresses, carrier.in_flight)
            how = UNCERTAIN_DESTINATION
        final = is_final(receipt)
        ends = final and part is not None and part.state != FINAL
        index = self._record_receipt(link, part, receipt, addresses[0], frame, ends=ends)
        if part is not None:
            self._apply(part, receipt, index, final=final)
        elif how != MISMATCH:
            correlation.wait(WaitingReceipt(index, self._turns.now_us, receipt, addresses, final))

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
                    self._sealer.number_hash(subscriber) if part is None else b"",
                    self._sealer.seal(index, frame),
                )
            )
        )

    def _match(self, part: Part, waiting: WaitingReceipt, how: str) -> None:
        """A receipt that had matched nothing has found its part."""
        ends = waiting.final and part.state != FINAL
        index = self._log.append(
            encode(records.Matched(self._turns.now_us, waiting.index, part.number, how, ends))
        )
        self._apply(part, waiting.receipt, index, final=waiting.final)

    def _apply(self, part: Part, receipt: Receipt, index: int, *, final: bool) -> None:
        """Let a receipt change the state of its part; states only move forward (field lesson 8)."""
        state = receipt.message_state
        part.carrier.receipts[state] += 1
        if not part.carrier_id or part.state in (DISPATCHED, UNCERTAIN):  # the receipt brings the id
            self._open.sent(part, receipt.message_id)
        if part.state == FINAL:
            return  # a duplicate, or an afterthought: it is in the evidence, and the application has heard
        now_us = self._turns.now_us
        if final:
            self._open.finish(part, state, receipt.err or receipt.network_error_code, now_us)
            self.submit_to_receipt.observe((now_us - part.accepted_us) * 1e-6)
        if wanted(part.registered_delivery, state, final=final):
            report = self.reports.of_receipt(part, receipt, index, now_us, final=final)
            self._commitment.report(part.account, report)

    def _reply(self, link: Link, pdu: DeliverSm | DataSm, frame: bytes) -> None:
        """A message from a subscriber: to the account whose source prefix it was sent to, longest first.

        Raises PduError, before anything is recorded, for one that no application could be sent.
        """
        now_us = self._turns.now_us
        account = self._account_of(pdu.destination_addr)
        index = self._log.next_index
        report = self.reports.of_reply(pdu, frame, index, now_us)
        subscriber = self._sealer.number_hash(normalise(pdu.source_addr))
        sealed = self._sealer.seal(index, frame)
        name = "" if account is None else account.name
        self._log.append(
            encode(records.Reply(now_us, name, link.carrier_name, link.index, subscriber, sealed))
        )
        if account is None:
            self.unrouted_replies += 1
            return
        self._commitment.report(account, report)

    def _account_of(self, destination: bytes) -> Account | None:
        matching = [
            (len(source), account)
            for account in self._accounts.values()
            for source in account.sources
            if destination.startswith(source)
        ]
        return max(matching, key=lambda match: match[0])[1] if matching else None

    # == back: from the outbox to the application ===========================================================

    def receiving(self, account: Account) -> None:
        """A session of the account can take reports now."""
        self._commitment.offer(account)

    def reported(self, application: Application, report: Report, command_status: int) -> None:
        """An application answered a report."""
        account = application.account
        self._commitment.offer(account)
        account.reported.count(command_status)
        if command_status in _LATER:
            account.outbox.delay(report, self._turns.now)
            return
        if account.outbox.answered(report):
            now_us = self._turns.now_us
            self.receipt_to_report.observe((now_us - report.recorded_us) * 1e-6)
            self._log.append(
                encode(
                    records.Reported(report.index, now_us, account.name, application.number, command_status)
                )
            )

    def give_up_stale_reports(self, account: Account) -> None:
        """Stop keeping reports for an application that has been away for longer than its retention."""
        stale_us = self._turns.now_us - account.config.report_retention_h * _HOUR_US
        ready = account.outbox.ready
        while ready and ready[0].recorded_us < stale_us:
            report = ready.popleft()
            if not report.answered:
                self.give_up_report(account, report.index)

    def give_up_report(self, account: Account, index: int) -> None:
        """Stop keeping a report: nobody takes it, or none can be made of its record."""
        now_us = self._turns.now_us
        self._log.append(encode(records.Reported(index, now_us, account.name, NO_SESSION, _DELIVERY_FAILURE)))

    def report_timed_out(self, application: Application, report: Report) -> None:
        """An application did not answer a report in time: it is offered again later."""
        application.account.outbox.delay(report, self._turns.now)
        self._commitment.offer(application.account)

    def unreported(self, application: Application, reports: list[Report]) -> None:
        """A session ended with reports in flight: another session, or the next one, gets them."""
        application.account.outbox.give_back(reports)
        self._commitment.offer(application.account)

    # == events beside the paths ============================================================================

    def operator_action(self, who: str, action: str, reason: str, numbers: list[int]) -> None:
        """Record what a person did by command."""
        self._log.append(encode(records.OperatorAction(self._turns.now_us, who, action, reason, numbers)))
        self._turns.schedule()

    def link_event(self, link: Link, event: str, detail: str) -> None:
        """Record what happened to a carrier link, and say it."""
        say = logger.info if event == "bound" else logger.warning
        say("link", link=link.name, state=event, detail=detail)
        now_us = self._turns.now_us
        self._log.append(encode(records.LinkEvent(now_us, link.carrier_name, link.index, event, detail)))
        self._turns.schedule()

    def session_event(self, application: Application, event: str, detail: str) -> None:
        """Record what happened to an application's session, and say it.

        Refusals share the bound of denials: whoever tries passwords in a loop must not fill the disk.
        """
        if event == "refused" and not self.denials.may_record(self._turns.now):
            return
        say = logger.warning if event == "refused" else logger.info
        say(
            "session",
            account=application.name,
            session=application.number,
            peer=application.connection.peer_name,
            state=event,
            detail=detail,
        )
        self._log.append(
            encode(
                records.SessionEvent(
                    self._turns.now_us,
                    application.name,
                    application.number,
                    application.connection.peer_name,
                    event,
                    detail,
                )
            )
        )
        self._turns.schedule()


def submit_of_body(body: bytes) -> SubmitSm:
    """The submit_sm of a body that was accepted before."""
    pdu = decode_pdu(HEADER.pack(16 + len(body), _SUBMIT_SM, 0, 0) + body)
    assert isinstance(pdu, SubmitSm)
    return pdu


def body_for_carrier(pdu: SubmitSm, frame: bytes) -> bytes:
    """The submit_sm body as it goes to the carrier: untouched, but for asking for a final receipt."""
    registered_delivery = pdu.registered_delivery
    if registered_delivery & _FINAL_RECEIPT_BITS == _FINAL_RECEIPT:
        return frame[16:]
    asked = registered_delivery & ~_FINAL_RECEIPT_BITS | _FINAL_RECEIPT
    return submit_body_with_registered_delivery(frame, pdu, asked)
