"""The two paths of a message, each written out from top to bottom; upstream and downstream meet only here.

Out:  submit -> admission -> `accepted` -> queue -> `dispatched` -> durable -> the answer and the PDU leave
      -> answered -> `sent`, `refused` or `uncertain`.
Back: delivered -> correlation -> `receipt` or `reply` -> durable -> the carrier is answered
      -> outbox -> the application answers -> `reported`.

Nothing here waits.  What may only happen once a record is on disk is handed to the commitment
(gateway/commitment.py), which carries it out when the batch that the record is in is durable.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from gateway.account import Account
from gateway.admission import Admission, Admitted, Refusal, period_of, units_of
from gateway.attempts import Retry, RetryJudge, retry_after_receipt, retry_after_refusal
from gateway.carrier import Carrier
from gateway.commitment import Commitment
from gateway.connection import Connection
from gateway.correlation import (
    DERIVED,
    EXACT,
    MISMATCH,
    UNCERTAIN_DESTINATION,
    WaitingReceipt,
    is_stale,
    receipt_in,
)
from gateway.denials import Denials
from gateway.dispatch import INTENTS_MAX, Dispatch
from gateway.downstream import Link
from gateway.histogram import Histogram
from gateway.long_texts import can_be_cut, cut
from gateway.message import (
    DATAGRAM,
    DISPATCHED,
    FINAL,
    QUEUED,
    SENT,
    TRANSACTION,
    UNCERTAIN,
    Group,
    MessageIds,
    Part,
    address_fields,
)
from gateway.number_directory import NumberDirectory
from gateway.number_plan import normalise
from gateway.open_parts import OpenParts
from gateway.outbox import Report
from gateway.outcomes import Action, Cause, OutcomeTable, Verdict
from gateway.portability import learned_expires_us, portable
from gateway.profile import SAMPLE_MASK
from gateway.replies import Replies
from gateway.reports import is_reported, wanted
from gateway.turns import Turns
from gateway.upstream import Application
from protocol.smpp.codec import HEADER
from protocol.smpp.codec import decode as decode_pdu
from protocol.smpp.codec import encode as encode_pdu
from protocol.smpp.codec_fast import submit_body_with_registered_delivery
from protocol.smpp.codes import CommandId, CommandStatus, MessageState, TlvTag, status_name
from protocol.smpp.errors import LocalError, PduError
from protocol.smpp.pdu import DataSm, DeliverSm, ReplaceSm, SubmitSm
from protocol.smpp.receipt import Receipt, is_final, message_state_of
from protocol.smpp.times import format_absolute
from storage import records
from storage.log import EvidenceLog
from storage.records import FLAG_TRANSACTION, encode
from storage.seal import Sealer

logger = structlog.get_logger()

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)
_ROK: Final = int(CommandStatus.ESME_ROK)
_RTHROTTLED: Final = int(CommandStatus.ESME_RTHROTTLED)
_UNKNOWN_ERROR: Final = int(CommandStatus.ESME_RUNKNOWNERR)
_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)

# esm_class of a deliver_sm (SMPP 3.4 §5.2.12): bits 5-2 are the type of message.  Only these are receipts,
# whatever the text looks like (field lesson 11).
_MESSAGE_TYPE: Final = 0x3C
_RECEIPT_TYPES: Final = frozenset({0x04, 0x20})  # delivery receipt, intermediate notification

# The two low bits of registered_delivery: a final receipt is always asked of the carrier, since the contract
# wants the status of every message; whether the application hears of it is its own wish.
_FINAL_RECEIPT: Final = 0x01
_FINAL_RECEIPT_BITS: Final = 0x03

# An application that answers a report with one of these wants it again later.
_LATER: Final = frozenset(
    int(status)
    for status in (
        CommandStatus.ESME_RTHROTTLED,
        CommandStatus.ESME_RMSGQFUL,
        CommandStatus.ESME_RSYSERR,
        CommandStatus.ESME_RX_T_APPN,
    )
)

_TOO_LONG_IN_PLACE: Final = Refusal(
    CommandStatus.ESME_RREPLACEFAIL, "the new text makes more parts than the carrier takes in one message"
)

# How long a part rests before it is sent again by itself: once for each time that may happen.  A carrier that
# gave no response thrice will not give one, and each attempt may be one more copy to one citizen; so after
# three, for whatever reason each was made, the part waits for a receipt or a person.  The first rest keeps a
# part that breaks a link from breaking the next one in the same moment.
RESEND_WAITS_S: Final = (1.0, 10.0)
ATTEMPTS_MAX: Final = 1 + len(RESEND_WAITS_S)

# Parts that one tick hands over to another carrier: a few milliseconds' worth, 20,000 a second.
HAND_OVER_PARTS: Final = 5_000

# A `reported` record with this session says that nobody answered, and that we have stopped to try.
NO_SESSION: Final = 0
_DELIVERY_FAILURE: Final = int(CommandStatus.ESME_RDELIVERYFAILURE)
_HOUR_US: Final = 3_600_000_000
_QUARTERS_OF_SHANGHAI: Final = 32  # its offset from UTC in quarters of an hour, as SMPP writes it

_DELIVERED: Final = int(MessageState.DELIVERED)
_UNDELIVERABLE: Final = int(MessageState.UNDELIVERABLE)
_REJECTED: Final = int(MessageState.REJECTED)
_EXPIRED: Final = int(MessageState.EXPIRED)
_UNKNOWN: Final = int(MessageState.UNKNOWN)


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


class Pipeline:
    """Carries messages between applications, the evidence log and carriers."""

    def __init__(
        self,
        turns: Turns,
        log: EvidenceLog,
        commitment: Commitment,
        sealer: Sealer,
        open_parts: OpenParts,
        admission: Admission,
        dispatch: Dispatch,
        directory: NumberDirectory,
        outcomes: OutcomeTable,
        replies: Replies,
        message_ids: MessageIds,
    ) -> None:
        self.message_ids = message_ids
        self.outcomes = outcomes
        self.replies = replies
        self.reports = replies.reports
        self._remember_writer = replies.routes.sent  # without a call between: it is on the hot path
        self.denials = Denials(log, sealer, turns.now)
        self.refused_replies = 0
        self.dispatch_to_response = Histogram()
        self.submit_to_receipt = Histogram()
        self.receipt_to_report = Histogram()
        self._turns = turns
        self._log = log
        self._commitment = commitment
        self._sealer = sealer
        self._open = open_parts
        self.admission = admission
        self._dispatch = dispatch
        self.directory = directory
        # Submissions in transaction mode whose carrier has not answered, by number, with the command_id and
        # sequence number of their requests; bounded by the windows of their sessions, since each keeps a slot
        # until it is answered.
        self._transactions: dict[int, tuple[Application, int, int]] = {}
        commitment.parts = self

    # == out: from the application to the disk ==============================================================

    def submit(self, application: Application, pdu: SubmitSm, frame: bytes) -> None:
        """A submit_sm: judge it, record it, answer it once the record is durable."""
        turns = self._turns
        admitted = self.admission.admit(application.account, pdu, turns.now, turns.now_us)
        if isinstance(admitted, Refusal):
            self.deny(
                application, _SUBMIT_SM, pdu.sequence_number, admitted, frame[16:], pdu.destination_addr
            )
            return
        if admitted.mode == TRANSACTION:
            self.accept_transaction(application, pdu, pdu, frame, admitted)
            return
        number = self.accept(application, pdu, frame, admitted)
        answer = self.message_ids.text(number) + application.end_of_answer
        self.answer(application, _SUBMIT_SM, pdu.sequence_number, answer)

    def accept(
        self,
        application: Application,
        pdu: SubmitSm,
        frame: bytes,
        admitted: Admitted,
        message: int = 0,
        flags: int = 0,
    ) -> int:
        """Record an admitted message and queue it; returns its number.

        message: number of the first part of the same message, 0 if this is the first or only one.
        """
        self._remember_writer(admitted.number_hash, application.account.name, self._turns.now_us)
        if admitted.units > 1 and not admitted.carrier.config.message_payload and can_be_cut(pdu):
            return self._accept_cut(application, pdu, admitted, message, flags)
        return self._accept_part(application, pdu, frame, admitted, message, flags, admitted.units)

    def accept_transaction(
        self,
        application: Application,
        request: SubmitSm | DataSm,
        pdu: SubmitSm,
        frame: bytes,
        admitted: Admitted,
        flags: int = 0,
    ) -> None:
        """Record and queue what ``request`` submits; the carrier's response is the answer to it."""
        number = self.accept(application, pdu, frame, admitted, flags=flags | FLAG_TRANSACTION)
        self._transactions[number] = application, request.command_id, request.sequence_number
        self._turns.schedule()

    def _accept_cut(
        self, application: Application, pdu: SubmitSm, admitted: Admitted, message: int, flags: int
    ) -> int:
        """Accept a long text for a carrier that takes parts only; they have one outcome together."""
        first = self._log.next_index
        parts = cut(pdu, admitted.carrier.default_alphabet, first)
        admitted.group = Group(admitted.carrier, first=first, cut_into=len(parts))
        for part, frame in parts:
            self._accept_part(application, part, frame, admitted, message, flags, 1)
            message = message or first
        return first

    def _accept_part(
        self,
        application: Application,
        pdu: SubmitSm,
        frame: bytes,
        admitted: Admitted,
        message: int,
        flags: int,
        units: int,
    ) -> int:
        log = self._log
        now_us = self._turns.now_us
        account = application.account
        carrier, group = admitted.carrier, admitted.group
        first, cut_into = (0, 1) if group is None else (group.first, group.cut_into)
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
                    admitted.number_hash,
                    units,
                    registered_delivery,
                    flags,
                    admitted.expires_us,
                    self._sealer.seal(number, body),
                    admitted.lane,
                    first,
                    cut_into,
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
            body_for_carrier(pdu, frame, admitted.expires_us),
            registered_delivery,
            units,
            now_us,
            admitted.expires_us,
            admitted.lane,
            admitted.mode,
            now_us,
            number,
            group,
        )
        self._open.add(part)
        if admitted.starts_us:
            carrier.rest(part, self._turns.now + (admitted.starts_us - now_us) * 1e-6)
        else:
            carrier.queues.lanes[admitted.lane].append(part)
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
        # A client of SMPP 5.0 reads the TLV behind an empty message id; others get no body with a refusal.
        told = application.end_of_answer if refusal.transient and len(application.end_of_answer) > 1 else None
        application.connection.session.respond(command_id, sequence_number, refusal.command_status, told)

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

    def refresh(self, part: Part) -> None:
        """A part with a validity leaves after it has waited."""
        self._open.restocked(part, body_after_waiting(part))

    # == out: from the carrier's answer to the disk =========================================================

    def answered(
        self, link: Link, part: Part, command_status: int, carrier_id: bytes, *, late: bool = False
    ) -> None:
        """A carrier answered a submit_sm.  late: after the time for it had passed."""
        if command_status != _ROK:
            self._refused(link, part, command_status, late=late)
            return
        turns = self._turns
        now_us = turns.now_us
        carrier = link.carrier
        carrier.took()
        if carrier.answered & SAMPLE_MASK == 1:
            carrier.observed.response_id(carrier_id, now_us)
        link.congestion.took(part.units, part.left, turns.now)
        self.dispatch_to_response.observe((now_us - part.dispatched_us) * 1e-6)
        other = "" if carrier is part.carrier else carrier.name
        self._log.append(encode(records.Sent(part.number, now_us, link.index, carrier_id, other)))
        self._sent(part, carrier, carrier_id)
        if part.mode == TRANSACTION:
            self._answer_transaction(part, _ROK)
        correlation = carrier.correlation
        if correlation.waiting:
            for waiting, how in (
                correlation.waiting_for(part, carrier_id)
                if carrier_id
                else correlation.waiting_for_unnamed(part, carrier.in_flight)
            ):
                self._match(carrier, part, waiting, how)

    def _sent(self, part: Part, carrier: Carrier, carrier_id: bytes) -> None:
        """A carrier has the part, as its response or a receipt says."""
        if part.state == QUEUED:
            part.carrier.drop(part)  # it was to be sent again
        self._open.sent(part, carrier, carrier_id)

    def _refused(self, link: Link, part: Part, command_status: int, *, late: bool) -> None:
        """A carrier said no: what its status means decides whether the part ends."""
        turns = self._turns
        now, now_us = turns.now, turns.now_us
        carrier = link.carrier
        carrier.refused.count(command_status)
        carrier.observed.refusal(command_status, part.body, now_us)
        verdict = self.outcomes.of_status(carrier.name, carrier.network, command_status)
        congested = verdict.cause is Cause.THROTTLED and verdict.action is Action.LATER
        if congested:
            link.congestion.throttled(part.units, part.left, now)
        else:
            link.congestion.took(part.units, part.left, now)  # it was not for the carrier's load
        if verdict.action is Action.PARK:
            link.park(f"{status_name(command_status)}: {verdict.meaning}")
        elif verdict.cause is Cause.GATEWAY and verdict.action is Action.LATER:
            self._breaker_failed(carrier)  # a failure for good may be the message's own
        # A late refusal may speak of an attempt that is not the part's last one, or come when the carrier is
        # known to have the part.
        moot = part.state != (UNCERTAIN if late else DISPATCHED) or carrier is not part.carrier
        retry = None
        if congested and part.mode not in (DATAGRAM, TRANSACTION):
            retry = Retry(carrier, 0.0)
        elif not moot:
            retry = self._retry_after(retry_after_refusal, part, verdict)
        final = retry is None and not moot
        index = self._log.append(
            encode(records.Refused(part.number, now_us, link.index, command_status, final, moot))
        )
        if final:
            self._end(part, _REJECTED, b"%03X" % command_status, index, command_status)
        elif retry is not None and not moot:
            if retry.carrier is carrier and not retry.wait_s:
                self._requeue(part)  # to the head of its queue
            else:
                self._open.requeued(part)
                self._postpone(part, retry, verdict)

    def _retry_after(self, judge: RetryJudge, part: Part, verdict: Verdict) -> Retry | None:
        turns, directory = self._turns, self.directory
        number_hash = directory.number_hash(part.destination)
        network = directory.network(part.destination, number_hash, turns.now_us) or part.carrier.network
        return judge(part, verdict, network, self.admission.routes, turns.now, turns.now_us)

    def _postpone(self, part: Part, retry: Retry, verdict: Verdict) -> None:
        """Try a part again, later or elsewhere; its body may be in the evidence alone by now."""
        turns = self._turns
        until_us = turns.now_us + int(retry.wait_s * 1e6) if retry.wait_s else 0
        reason = f"{verdict.cause}: {verdict.meaning}"
        self._log.append(
            encode(records.Postponed(part.number, turns.now_us, until_us, retry.carrier.name, reason))
        )
        self._open.postponed(part, retry.carrier)
        retry.carrier.rest(part, turns.now + retry.wait_s)

    def unanswered(self, link: Link, parts: list[Part], reason: str) -> None:
        """No response came for these parts: the carrier may have them or not (field lesson 13)."""
        link.congestion.unanswered(self._turns.now)
        parts = [part for part in parts if part.state == DISPATCHED]
        if not parts:
            return
        self._breaker_failed(link.carrier)
        numbers = [part.number for part in parts]
        self._log.append(encode(records.Uncertain(self._turns.now_us, numbers, link.index, reason)))
        for part in parts:
            self.make_uncertain(part)

    def _breaker_failed(self, carrier: Carrier) -> None:
        if carrier.breaker.failed(self._turns.now):
            logger.warning("carrier out of service for a while", carrier=carrier.name)

    def make_uncertain(self, part: Part) -> None:
        """Wait for the fate of a part to show, or send it again, as its account wishes."""
        self._open.uncertain(part)
        if part.mode == TRANSACTION:
            self._answer_transaction(part, _UNKNOWN_ERROR)
        self.look_again(part)
        self._resend_as_configured(part)

    def _answer_transaction(self, part: Part, command_status: int) -> None:
        """Give an application that asked for transaction mode the carrier's response, or say that there is
        none; a positive one when its record is durable.  A text that was cut is taken when all of it is, and
        refused with its first part."""
        waiting = self._transactions.get(part.oldest)
        if waiting is None:
            return  # answered before, or by the process before this one
        if command_status == _ROK and any(each.state < SENT for each in self._open.text_of(part)):
            return
        del self._transactions[part.oldest]
        application, command_id, sequence_number = waiting
        if not application.connection.open:
            return
        if command_status == _ROK:
            answer = self.message_ids.text(part.message) + application.end_of_answer
            self.answer(application, command_id, sequence_number, answer)
        else:
            application.connection.session.respond(command_id, sequence_number, command_status)
            self._turns.write_later(application.connection)

    def _resend_as_configured(self, part: Part) -> None:
        """Send a part that is uncertain again if its account wishes it so, after a rest and not for ever."""
        if part.state != UNCERTAIN or part.account.config.uncertain != "resend":
            return
        if part.attempts < ATTEMPTS_MAX and part.mode not in (DATAGRAM, TRANSACTION):
            self._open.requeued(part)
            part.carrier.rest(part, self._turns.now + RESEND_WAITS_S[part.attempts - 1])

    def look_again(self, part: Part) -> None:
        """See whether a waiting receipt can only be this part's: one that could have been another's, while
        that one was open, may be so by now."""
        carrier = part.carrier
        for waiting, how in carrier.correlation.waiting_for_unnamed(part, carrier.in_flight):
            self._match(carrier, part, waiting, how)

    def replace(self, part: Part, pdu: ReplaceSm) -> Refusal | None:
        """Put another text, and what else replace_sm names, in the place of a part that is still queued; or
        say why that makes no message."""
        now_us = self._turns.now_us
        # SMPP 3.4 §4.10.1: an empty time keeps the old one.
        schedule = pdu.schedule_delivery_time or self._schedule_of(part)
        period = period_of(schedule, pdu.validity_period, now_us)
        if isinstance(period, Refusal):
            return period
        starts_us, expires_us = period
        if not pdu.validity_period and part.expires_us > starts_us:
            expires_us = part.expires_us
        submit = submit_of_body(part.body)
        submit.schedule_delivery_time = schedule
        submit.validity_period = pdu.validity_period or submit.validity_period
        submit.registered_delivery = pdu.registered_delivery
        submit.sm_default_msg_id = pdu.sm_default_msg_id
        submit.short_message = pdu.short_message
        kept = tuple(tlv for tlv in submit.tlvs if tlv[0] != _MESSAGE_PAYLOAD)
        submit.tlvs = kept + tuple(tlv for tlv in pdu.tlvs if tlv[0] == _MESSAGE_PAYLOAD)
        units = units_of(submit, part.carrier)
        if isinstance(units, Refusal):
            return units
        if not part.carrier.profile.takes(units):
            return _TOO_LONG_IN_PLACE
        try:
            frame = encode_pdu(submit)
        except LocalError as error:  # with the TLVs that are kept it is longer than a PDU may be
            return Refusal(CommandStatus.ESME_RREPLACEFAIL, str(error))
        index = self._log.next_index
        sealed = self._sealer.seal(index, frame[16:])
        wish = pdu.registered_delivery
        self._log.append(encode(records.Replaced(part.number, now_us, sealed, wish, expires_us, units)))
        self._open.replaced(part, body_for_carrier(submit, frame, expires_us))
        part.registered_delivery, part.expires_us, part.units = wish, expires_us, units
        part.content = index
        if pdu.schedule_delivery_time:
            part.carrier.drop(part)
            part.carrier.rest(part, self._turns.now + max(0, starts_us - now_us) * 1e-6)
        return None

    def _schedule_of(self, part: Part) -> bytes:
        """The time that the application has set for a part, in its absolute form; empty if it is over, or
        there was none."""
        until = part.carrier.rests_until(part)
        if until is None:
            return b""
        return absolute_time(self._turns.now_us + round((until - self._turns.now) * 1e6))

    def finish(self, part: Part, message_state: int, source: str, reason: str, who: str) -> None:
        """End a part by the gateway's, an operator's or the application's decision."""
        now_us = self._turns.now_us
        index = self._log.append(
            encode(records.Outcome(part.number, now_us, message_state, b"", source, reason, who))
        )
        self._end(part, message_state, b"", index)

    def _end(
        self, part: Part, message_state: int, error: bytes, index: int, command_status: int = _RTHROTTLED
    ) -> None:
        """The end of a part without a receipt, of which the application hears in the gateway's name.

        command_status: the answer to one who still waits for the carrier's; its part never left otherwise.
        """
        now_us = self._turns.now_us
        unsent = part.mode == TRANSACTION and part.state != SENT
        self._open.finish(part, message_state, error, now_us)
        if part.mode == TRANSACTION:
            self._answer_transaction(part, command_status)
        if is_reported(part.registered_delivery, message_state, part.group, unsent=unsent):
            report = self.reports.of_own(part, message_state, error, index, now_us)
            self._commitment.report(part.account, report)

    def hand_over(self, carrier: Carrier) -> None:
        """A carrier is out of service: what waits for it and has another way takes that.

        A text of which a part has left stays together, here or where the part went (field lesson 16).
        """
        turns, directory = self._turns, self.directory
        moved = 0

        def moves(part: Part) -> bool:
            nonlocal moved
            group = part.group
            if group is not None and group.carrier is not carrier:
                other = group.carrier
            elif part.rerouted or (group is not None and group.begun):
                return False
            else:
                network = directory.network(
                    part.destination, directory.number_hash(part.destination), turns.now_us
                )
                other = self.admission.routes.another(network or carrier.network, part, turns.now)
            if other is None:
                return False
            part.carrier = other
            if group is not None:
                group.carrier = other
            other.returned.append(part)  # among those that came there after it
            moved += 1
            return True

        carrier.sifted = carrier.queues.sift(carrier.sifted, HAND_OVER_PARTS, moves)
        if moved:
            logger.warning("handed over", parts=moved, carrier=carrier.name)
            turns.schedule()

    def restock(self, part: Part, body: bytes) -> None:
        """The body of a part that is to be sent again has been read, as it was submitted."""
        pdu = submit_of_body(body)
        self._open.restocked(part, body_for_carrier(pdu, bytes(16) + body, part.expires_us))
        part.carrier.returned.append(part)

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
        for (_, link), of_link in by_link.items():
            for start in range(0, len(of_link), INTENTS_MAX):
                numbers = [part.number for part in of_link[start : start + INTENTS_MAX]]
                self._log.append(
                    encode(records.Uncertain(self._turns.now_us, numbers, link, "the gateway was stopped"))
                )
            for part in of_link:
                self.make_uncertain(part)

    def resend_as_configured(self) -> None:
        """At the start: send the uncertain parts again whose accounts wish it so."""
        for carrier in self._dispatch.carriers.values():
            for part in carrier.correlation.uncertain_parts():
                self._resend_as_configured(part)

    def reroute(self, gone: Carrier) -> None:
        """Find another way for what waits for a carrier that is not configured any more, some at a time."""
        for part, until in gone.take_out(HAND_OVER_PARTS):
            if part.state != QUEUED:
                continue
            carrier = self._way_without(gone, part)
            if carrier is None or not carrier.profile.takes(part.units):
                reason = f"carrier {gone.name} is not configured any more, and no other can take the message"
                state = _UNKNOWN if part.doubtful else _UNDELIVERABLE
                self.finish(part, state, "gateway", reason, "")
                continue
            part.carrier = carrier
            if until > self._turns.now:
                carrier.rest(part, until)
            elif part.body:
                carrier.returned.append(part)
            else:
                carrier.bodiless.append(part)

    def _way_without(self, gone: Carrier, part: Part) -> Carrier | None:
        """The carrier for a part that was to go to one that has left; parts of one text stay together."""
        group = part.group
        if group is not None and group.carrier is not None and group.carrier is not gone:
            return group.carrier
        carrier = self.admission.carrier_of(part.destination, self._turns.now, self._turns.now_us)
        if group is not None:
            group.carrier = carrier
        return carrier

    # == back: from the carrier to the disk =================================================================

    def delivered(self, link: Link, connection: Connection, pdu: DeliverSm | DataSm, frame: bytes) -> None:
        """A deliver_sm or data_sm from a carrier: record it, answer it once the record is durable."""
        if pdu.esm_class & _MESSAGE_TYPE in _RECEIPT_TYPES:
            self._receipt(link, pdu, receipt_in(pdu), frame)
        else:
            try:
                self.replies.take(link, pdu, frame)
            except PduError as error:
                self.refused_replies += 1
                logger.warning("reply refused", link=link.name, reason=error.reason)
                connection.session.respond(pdu.command_id, pdu.sequence_number, error.command_status)
                return
        self._commitment.answer(connection, pdu.command_id, pdu.sequence_number, b"\0")

    def _receipt(self, link: Link, pdu: DeliverSm | DataSm, receipt: Receipt | None, frame: bytes) -> None:
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

    def _match(self, carrier: Carrier, part: Part, waiting: WaitingReceipt, how: str) -> None:
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
        alone = self.outcomes.of_receipt(carrier.name, carrier.network, b"", b"", receipt.message_state)
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
        verdict = self.outcomes.of_receipt(carrier.name, carrier.network, receipt.stat, receipt.err, state)
        if receipt.stat and not message_state_of(receipt.stat):
            self._observe_code(carrier, receipt, verdict)
        retry = self._retry_after(retry_after_receipt, part, verdict)
        return Said(retry is None, True, False, retry, verdict)

    def _apply(self, carrier: Carrier, part: Part, receipt: Receipt, index: int, said: Said) -> None:
        """Let a receipt change the state of its part; states only move forward (field lesson 8)."""
        state = receipt.message_state
        carrier.receipts[state] += 1
        if not said.stale and (not part.carrier_id or part.state in (DISPATCHED, UNCERTAIN)):
            self._sent(part, carrier, receipt.message_id)  # the receipt brings the id
        if part.state == FINAL or (said.stale and not said.ends):
            return  # a duplicate, or an afterthought: it is in the evidence, and the application has heard
        now_us = self._turns.now_us
        if said.retry is not None and said.verdict is not None:
            self._postpone(part, said.retry, said.verdict)
            return
        if not said.final:
            if wanted(part.registered_delivery, state, final=False):
                report = self.reports.of_receipt(part, receipt, index, now_us, final=False)
                self._commitment.report(part.account, report)
            return
        self._open.finish(part, state, receipt.err or receipt.network_error_code, now_us)
        self.submit_to_receipt.observe((now_us - part.accepted_us) * 1e-6)
        if part.rerouted and state == _DELIVERED:
            self._learn_network(carrier, part)
        if is_reported(part.registered_delivery, state, part.group, unsent=False):
            report = self.reports.of_receipt(part, receipt, index, now_us, final=True)
            self._commitment.report(part.account, report)

    def _learn_network(self, carrier: Carrier, part: Part) -> None:
        """Another network than the prefix says has delivered to the number: it has been ported there."""
        directory, now_us = self.directory, self._turns.now_us
        number_hash = directory.number_hash(part.destination)
        known = directory.network(part.destination, number_hash, now_us)
        if known == carrier.network or not portable(part.destination):
            return
        expires_us = learned_expires_us(now_us)
        source = f"delivered by {carrier.name}"
        record = records.Ported(now_us, number_hash, carrier.network, source, expires_us)
        directory.note(self._log.append(encode(record)), record)

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


def body_for_carrier(pdu: SubmitSm, frame: bytes, expires_us: int) -> bytes:
    """The submit_sm body as it goes to the carrier: untouched, but for asking for a final receipt; and what
    the gateway itself keeps until its time comes says no time any more, and when its validity ends."""
    registered_delivery = pdu.registered_delivery
    asked = registered_delivery & ~_FINAL_RECEIPT_BITS | _FINAL_RECEIPT
    if pdu.schedule_delivery_time:
        due = msgspec.structs.replace(
            pdu,
            schedule_delivery_time=b"",
            validity_period=absolute_time(expires_us) if expires_us else b"",
            registered_delivery=asked,
        )
        return encode_pdu(due)[16:]
    if registered_delivery == asked:
        return frame[16:]
    return submit_body_with_registered_delivery(frame, pdu, asked)


def absolute_time(time_us: int) -> bytes:
    """A moment in SMPP's absolute form, in the local time that Chinese carriers write."""
    return format_absolute(time_us / 1e6, _QUARTERS_OF_SHANGHAI)


def body_after_waiting(part: Part) -> bytes:
    """The body of a part that has waited: a relative validity would begin anew with the carrier.

    In transaction mode the end that we know is our own, and the wait one of seconds.
    """
    if part.mode == TRANSACTION:
        return part.body
    pdu = submit_of_body(part.body)
    if not pdu.validity_period.endswith(b"R"):
        return part.body
    return encode_pdu(msgspec.structs.replace(pdu, validity_period=absolute_time(part.expires_us)))[16:]
