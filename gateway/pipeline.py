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

import structlog

from gateway.admission import Admission, Admitted, Refusal, period_of, units_of
from gateway.attempts import Retry, retry_after_refusal
from gateway.bodies import absolute_time, body_for_carrier, submit_of_body
from gateway.carrier import Carrier
from gateway.commitment import Commitment
from gateway.connection import Connection
from gateway.detours import Detours
from gateway.dispatch import INTENTS_MAX, Dispatch
from gateway.downstream import Link
from gateway.histogram import Histogram
from gateway.journal import Journal
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
from gateway.outcomes import Action, Cause, OutcomeTable
from gateway.profile import SAMPLE_MASK
from gateway.receipts import Receipts
from gateway.replies import Replies
from gateway.reporting import Reporting
from gateway.reports import is_reported
from gateway.turns import Turns
from gateway.upstream import Application
from protocol.smpp.codec import encode as encode_pdu
from protocol.smpp.codes import CommandId, CommandStatus, MessageState, TlvTag, status_name
from protocol.smpp.errors import LocalError, PduError
from protocol.smpp.pdu import DataSm, DeliverSm, ReplaceSm, SubmitSm
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

_TOO_LONG_IN_PLACE: Final = Refusal(
    CommandStatus.ESME_RREPLACEFAIL, "the new text makes more parts than the carrier takes in one message"
)

_NOT_TAKEN: Final = "another part of its text was not taken, of which its application was told"

# How long a part rests before it is sent again by itself: once for each time that may happen.  A carrier that
# gave no response thrice will not give one, and each attempt may be one more copy to one citizen; so after
# three, for whatever reason each was made, the part waits for a receipt or a person.  The first rest keeps a
# part that breaks a link from breaking the next one in the same moment.
RESEND_WAITS_S: Final = (1.0, 10.0)
ATTEMPTS_MAX: Final = 1 + len(RESEND_WAITS_S)

_DELIVERED: Final = int(MessageState.DELIVERED)
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
        admission: Admission,
        dispatch: Dispatch,
        directory: NumberDirectory,
        outcomes: OutcomeTable,
        replies: Replies,
        message_ids: MessageIds,
    ) -> None:
        self.message_ids = message_ids
        self.replies = replies
        self.reports = replies.reports
        self._remember_writer = replies.routes.sent  # without a call between: it is on the hot path
        self.journal = Journal(turns, log, sealer)
        self.reporting = Reporting(turns, log, commitment)
        self.detours = Detours(turns, log, open_parts, admission, directory, outcomes, self.finish)
        self.receipts = Receipts(
            turns, log, commitment, sealer, open_parts, directory, self.detours, replies.reports
        )
        self.refused_replies = 0
        self.dispatch_to_response = Histogram()
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
        commitment.expire = self.expire
        commitment.detours = self.detours

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
                    admitted.network,
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
        self.journal.denials.note(
            account.name, application.number, refusal, body, normalise(destination), self._turns
        )
        # A client of SMPP 5.0 reads the TLV behind an empty message id; others get no body with a refusal.
        told = application.end_of_answer if refusal.transient and len(application.end_of_answer) > 1 else None
        application.connection.session.respond(command_id, sequence_number, refusal.command_status, told)

    def expire(self, part: Part) -> None:
        """The validity of a part ended while it was queued; one of which an attempt is uncertain may have
        been delivered all the same."""
        if part.doubts:
            self.finish(part, _UNKNOWN, "gateway", "validity ended before it could be sent again", "")
        else:
            self.finish(part, _EXPIRED, "gateway", "validity ended before it could be sent", "")

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
        self.detours.taken(part, carrier, carrier_id)
        if part.mode == TRANSACTION:
            self._answer_transaction(part, _ROK)
        correlation = carrier.correlation
        if correlation.waiting:
            for waiting, how in (
                correlation.waiting_for(part, carrier_id)
                if carrier_id
                else correlation.waiting_for_unnamed(part, carrier.in_flight)
            ):
                self.receipts.match(carrier, part, waiting, how)

    def _refused(self, link: Link, part: Part, command_status: int, *, late: bool) -> None:
        """A carrier said no: what its status means decides whether the part ends."""
        turns = self._turns
        now, now_us = turns.now, turns.now_us
        carrier = link.carrier
        carrier.refused.count(command_status)
        carrier.observed.refusal(command_status, part.body, now_us)
        verdict = self.detours.outcomes.of_status(carrier.name, carrier.network, command_status)
        congested = verdict.cause is Cause.THROTTLED and verdict.action is Action.LATER
        if congested:
            link.congestion.throttled(part.units, part.left, now)
        else:
            link.congestion.took(part.units, part.left, now)  # it was not for the carrier's load
        if verdict.action is Action.PARK:
            link.park(f"{status_name(command_status)}: {verdict.meaning}")
        elif verdict.cause is Cause.GATEWAY and verdict.action is Action.LATER:
            self._breaker_failed(carrier)  # a failure for good may be the message's own
        if part.doubts:
            self._open.answered_after_all(part, late=late)
        # A late refusal may speak of one of several attempts, or come when the carrier is known to have the
        # part: only that of the last attempt in doubt tells its fate.
        moot = (
            part.state != (UNCERTAIN if late else DISPATCHED)
            or carrier is not part.carrier
            or (late and part.doubts > 0)
        )
        retry = None
        if congested and part.mode not in (DATAGRAM, TRANSACTION):
            retry = Retry(carrier, 0.0)
        elif not moot:
            retry = self.detours.retry_after(retry_after_refusal, part, verdict)
        ends = retry is None and not moot
        in_doubt = ends and part.doubts > 0  # the carrier may have it from an attempt before this one
        final = ends and not in_doubt
        index = self._log.append(
            encode(records.Refused(part.number, now_us, link.index, command_status, final, moot, in_doubt))
        )
        if in_doubt:
            self._open.refused_in_doubt(part)
            self.receipts.look_again(part)
        elif final:
            self._end(part, _REJECTED, b"%03X" % command_status, index, command_status)
        elif retry is not None and not moot:
            if retry.carrier is carrier and not retry.wait_s:
                self.detours.requeue(part)  # to the head of its queue
            else:
                self._open.requeued(part)
                self.detours.postpone(part, retry, verdict)

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
        self.receipts.look_again(part)
        self._resend_as_configured(part)

    def expire_transactions(self) -> None:
        """Answer the applications whose patience is at its end; what has not left by then does not.

        There are as many at the most as their sessions have slots, so all are looked at.
        """
        now_us = self._turns.now_us
        for number in list(self._transactions):
            first = self._open.get(number)
            for part in () if first is None else self._open.text_of(first):
                if part.state == QUEUED and 0 < part.expires_us < now_us:
                    self.expire(part)

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
        if part.state == FINAL:
            self._end_rest(part)
        application, command_id, sequence_number = waiting
        if not application.connection.open:
            return
        if command_status == _ROK:
            answer = self.message_ids.text(part.message) + application.end_of_answer
            self.answer(application, command_id, sequence_number, answer)
        else:
            application.connection.session.respond(command_id, sequence_number, command_status)
            self._turns.write_later(application.connection)

    def _end_rest(self, part: Part) -> None:
        """A part of a text ended before a carrier took it, and so the text has for its application: what has
        certainly not left of it is neither sent nor charged."""
        for each in self._open.text_of(part):
            if each.can_be_recalled:
                self.finish(each, _REJECTED, "gateway", _NOT_TAKEN, "")

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
        if is_reported(part.registered_delivery, message_state, part.group, unsent=unsent):
            report = self.reports.of_own(part, message_state, error, index, now_us)
            self._commitment.report(part.account, report)
        if part.mode == TRANSACTION:
            self._answer_transaction(part, command_status)

    # == out: what people decide of uncertain parts =========================================================

    def resend(self, parts: list[Part], who: str, reason: str) -> None:
        """Send uncertain parts again, at the risk that the carrier has them."""
        self.journal.operator_action(who, "resend", reason, [part.number for part in parts])
        for part in parts:
            self.detours.requeue(part)

    def close(self, parts: list[Part], who: str, reason: str) -> None:
        """End uncertain parts as unknown."""
        self.journal.operator_action(who, "close", reason, [part.number for part in parts])
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

    def _resend_as_configured(self, part: Part) -> None:
        """Send a part that is uncertain again if its account wishes it so, after a rest and not for ever."""
        if part.state != UNCERTAIN or part.refused or part.account.config.uncertain != "resend":
            return
        if part.attempts < ATTEMPTS_MAX and part.mode not in (DATAGRAM, TRANSACTION):
            self._open.requeued(part)
            part.carrier.rest(part, self._turns.now + RESEND_WAITS_S[part.attempts - 1])

    # == back: from the carrier to the disk =================================================================

    def delivered(self, link: Link, connection: Connection, pdu: DeliverSm | DataSm, frame: bytes) -> None:
        """A deliver_sm or data_sm from a carrier: record it, answer it once the record is durable."""
        if pdu.esm_class & _MESSAGE_TYPE in _RECEIPT_TYPES:
            self.receipts.take(link, pdu, frame)
        else:
            try:
                self.replies.take(link, pdu, frame)
            except PduError as error:
                self.refused_replies += 1
                logger.warning("reply refused", link=link.name, reason=error.reason)
                connection.session.respond(pdu.command_id, pdu.sequence_number, error.command_status)
                return
        self._commitment.answer(connection, pdu.command_id, pdu.sequence_number, b"\0")
