"""Every operation of an application besides submit_sm, answered from our own state (field lesson 29).

data_sm and submit_multi become submit_sm parts and take the same path.  query_sm, cancel_sm and replace_sm
speak of parts that the gateway holds; what a carrier already has cannot be cancelled or replaced any more.
Broadcast is not offered by any of the carriers, and is refused with the status of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import structlog

from gateway.admission import Admission, Admitted, Refusal
from gateway.message import FINAL, MODE_MASK, TRANSACTION, Part
from gateway.number_plan import normalise
from gateway.open_parts import OpenParts
from protocol.smpp.codec import encode, encode_body
from protocol.smpp.codes import CommandStatus, MessageState, TlvTag
from protocol.smpp.errors import LocalError
from protocol.smpp.fields import DistributionList, SmeAddress, UnsuccessfulDelivery
from protocol.smpp.pdu import (
    BroadcastSm,
    CancelBroadcastSm,
    CancelSm,
    DataSm,
    Pdu,
    QueryBroadcastSm,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
)
from protocol.smpp.times import format_absolute
from storage.records import FLAG_DATA_SM, FLAG_SUBMIT_MULTI

if TYPE_CHECKING:
    from gateway.pipeline import Pipeline
    from gateway.turns import Turns
    from gateway.upstream import Application

logger = structlog.get_logger()

_MESSAGE_PAYLOAD = int(TlvTag.MESSAGE_PAYLOAD)
_ENROUTE = int(MessageState.ENROUTE)
_DELIVERED = int(MessageState.DELIVERED)
_DELETED = int(MessageState.DELETED)

# What short_message may hold (SMPP 3.4 §5.2.22); a longer text of a data_sm stays in its message_payload.
_SHORT_MESSAGE_OCTETS = 254

# Parts that one cancel_sm without a message id may look at, so that it cannot hold the loop for long.
_CANCEL_SCAN_MAX = 20_000

_NO_LISTS = Refusal(CommandStatus.ESME_RCNTSUBDL, "the gateway keeps no distribution lists")
_TOO_LONG_FOR_SUBMIT = Refusal(CommandStatus.ESME_RINVDSTADR, "an address is too long for submit_sm")


class Ancillary:
    """Serves the operations of bound applications."""

    def __init__(self, admission: Admission, open_parts: OpenParts, turns: Turns, pipeline: Pipeline) -> None:
        self._admission = admission
        self._open = open_parts
        self._turns = turns
        self._pipeline = pipeline
        self._serve: dict[type, Callable[[Application, Any, bytes], None]] = {
            DataSm: self._data_sm,
            SubmitMulti: self._submit_multi,
            QuerySm: self._query_sm,
            CancelSm: self._cancel_sm,
            ReplaceSm: self._replace_sm,
            BroadcastSm: self._refuser(CommandStatus.ESME_RBCASTFAIL),
            QueryBroadcastSm: self._refuser(CommandStatus.ESME_RBCASTQUERYFAIL),
            CancelBroadcastSm: self._refuser(CommandStatus.ESME_RBCASTCANCELFAIL),
        }

    def serve(self, application: Application, pdu: object, frame: bytes) -> None:
        """Serve any request that the session let through and nobody else takes."""
        serve = self._serve.get(type(pdu))
        if serve is not None:
            serve(application, pdu, frame)
        else:
            logger.warning("unexpected PDU", account=application.name, pdu=type(pdu).__name__)

    def _refuser(self, command_status: int) -> Callable[[Application, Any, bytes], None]:
        def refuse(application: Application, pdu: Pdu, _: bytes) -> None:
            _respond(application, pdu, command_status)

        return refuse

    # -- more ways to submit --------------------------------------------------------------------------------

    def _data_sm(self, application: Application, pdu: DataSm, frame: bytes) -> None:
        payload = pdu.tlv(_MESSAGE_PAYLOAD) or b""
        inline = len(payload) <= _SHORT_MESSAGE_OCTETS
        tlvs = tuple(tlv for tlv in pdu.tlvs if not (inline and tlv[0] == _MESSAGE_PAYLOAD))
        submit = SubmitSm(
            service_type=pdu.service_type,
            source_addr_ton=pdu.source_addr_ton,
            source_addr_npi=pdu.source_addr_npi,
            source_addr=pdu.source_addr,
            dest_addr_ton=pdu.dest_addr_ton,
            dest_addr_npi=pdu.dest_addr_npi,
            destination_addr=pdu.destination_addr,
            esm_class=pdu.esm_class,
            registered_delivery=pdu.registered_delivery,
            data_coding=pdu.data_coding,
            short_message=payload if inline else b"",
            tlvs=tlvs,
        )
        try:
            submit_frame = encode(submit)
        except LocalError as error:  # an address of up to 64 octets fits data_sm, and no submit_sm
            logger.warning("data_sm cannot become submit_sm", account=application.name, reason=str(error))
            self._deny(application, pdu, _TOO_LONG_FOR_SUBMIT, frame)
            return
        turns = self._turns
        admitted = self._admission.admit(application.account, submit, turns.now, turns.now_us)
        if isinstance(admitted, Refusal):
            self._pipeline.deny(
                application,
                pdu.command_id,
                pdu.sequence_number,
                admitted,
                submit_frame[16:],
                pdu.destination_addr,
            )
            return
        if admitted.mode == TRANSACTION:
            self._pipeline.accept_transaction(application, pdu, submit, submit_frame, admitted, FLAG_DATA_SM)
            return
        number = self._pipeline.accept(application, submit, submit_frame, admitted, 0, FLAG_DATA_SM)
        answer = self._pipeline.message_ids.text(number) + b"\0"
        self._pipeline.answer(application, pdu.command_id, pdu.sequence_number, answer)

    def _submit_multi(self, application: Application, pdu: SubmitMulti, frame: bytes) -> None:
        """One part a destination, all under the id of the first; the others go on when one is refused."""
        if any(isinstance(address, DistributionList) for address in pdu.dest_address):
            self._deny(application, pdu, _NO_LISTS, frame)
            return
        turns, pipeline = self._turns, self._pipeline
        first = 0
        refused: list[tuple[SmeAddress, Refusal]] = []
        for address in pdu.dest_address:
            assert isinstance(address, SmeAddress)
            submit = _submit_of(pdu, address)
            submit_frame = encode(submit)
            admitted = self._admission.admit(application.account, submit, turns.now, turns.now_us)
            if isinstance(admitted, Admitted):
                number = pipeline.accept(
                    application, submit, submit_frame, admitted, first, FLAG_SUBMIT_MULTI
                )
                first = first or number
            else:
                refused.append((address, admitted))
                application.account.refused[admitted.command_status] += 1
                destination = normalise(address.destination_addr)
                pipeline.journal.denials.note(
                    application.account.name,
                    application.number,
                    admitted,
                    submit_frame[16:],
                    destination,
                    turns,
                )
        if not first:
            status = refused[0][1].command_status if refused else CommandStatus.ESME_RINVNUMDESTS
            _respond(application, pdu, status)
            return
        response = SubmitMultiResp(
            message_id=pipeline.message_ids.text(first),
            unsuccess_sme=tuple(
                UnsuccessfulDelivery(
                    address.dest_addr_ton,
                    address.dest_addr_npi,
                    address.destination_addr,
                    refusal.command_status,
                )
                for address, refusal in refused
            ),
        )
        pipeline.answer(application, pdu.command_id, pdu.sequence_number, encode_body(response))

    def _deny(self, application: Application, pdu: Pdu, refusal: Refusal, frame: bytes) -> None:
        """Refuse what cannot become a submit_sm; the evidence has it as it came."""
        self._pipeline.deny(application, pdu.command_id, pdu.sequence_number, refusal, frame[16:], b"")

    # -- what became of it ----------------------------------------------------------------------------------

    def _query_sm(self, application: Application, pdu: QuerySm, frame: bytes) -> None:
        part = self._own_part(application, pdu.message_id, pdu.source_addr)
        if part is None:
            _respond(application, pdu, CommandStatus.ESME_RQUERYFAIL)
            return
        part = self._decisive(part)
        response = QuerySmResp(
            message_id=pdu.message_id,
            final_date=format_absolute(part.final_us / 1e6) if part.state == FINAL else b"",
            message_state=part.message_state if part.state == FINAL else _ENROUTE,
            error_code=int(part.error) & 0xFF if part.error.isdigit() else 0,
        )
        # Not before what it says is durable.
        self._pipeline.answer(application, pdu.command_id, pdu.sequence_number, encode_body(response))

    def _cancel_sm(self, application: Application, pdu: CancelSm, frame: bytes) -> None:
        if pdu.message_id:
            part = self._own_part(application, pdu.message_id, pdu.source_addr)
            parts = [] if part is None else self._open.text_of(part)
        else:
            parts = self._queued_like(application, pdu)
        parts = [part for part in parts if self._can_be_recalled(part)]
        if not parts:
            _respond(application, pdu, CommandStatus.ESME_RCANCELFAIL)
            return
        for part in parts:
            self._pipeline.finish(part, _DELETED, "application", "cancelled", application.account.name)
        self._pipeline.answer(application, pdu.command_id, pdu.sequence_number, b"")

    def _decisive(self, part: Part) -> Part:
        """Of a text that the gateway cut the part whose state is that of the text: the first that failed,
        else one that is open; else all are delivered."""
        text = self._open.text_of(part)
        failed = (each for each in text if each.state == FINAL and each.message_state != _DELIVERED)
        still_open = (each for each in text if each.state != FINAL)
        return next(failed, None) or next(still_open, part)

    def _can_be_recalled(self, part: Part) -> bool:
        """Of a text that the gateway cut, all of it or nothing."""
        return all(each.can_be_recalled for each in self._open.text_of(part))

    def _queued_like(self, application: Application, pdu: CancelSm) -> list[Part]:
        """SMPP 3.4 §4.9.1: without a message id, all that match source and destination."""
        destination = normalise(pdu.destination_addr)
        carriers = self._admission.routes.carriers  # it may have been led or handed over to any of them
        waiting = (carrier.parts() for carrier in carriers)
        return [
            part
            for part in islice(chain.from_iterable(waiting), _CANCEL_SCAN_MAX)
            if part.destination == destination
            and part.account is application.account
            and part.source_field[2:-1] == pdu.source_addr
        ]

    def _replace_sm(self, application: Application, pdu: ReplaceSm, frame: bytes) -> None:
        part = self._own_part(application, pdu.message_id, pdu.source_addr)
        if part is None or not part.can_be_recalled or part.group is not None:
            _respond(application, pdu, CommandStatus.ESME_RREPLACEFAIL)
            return
        refusal = self._pipeline.replace(part, pdu)
        if refusal is not None:
            _respond(application, pdu, refusal.command_status)
            return
        self._pipeline.answer(application, pdu.command_id, pdu.sequence_number, b"")

    def _own_part(self, application: Application, message_id: bytes, source: bytes) -> Part | None:
        """The part with this id, if it is this account's and was sent from ``source`` (SMPP 3.4 §4.8.1)."""
        number = self._pipeline.message_ids.number(message_id)
        part = None if number is None else self._open.get(number)
        if part is None or part.account is not application.account or part.source_field[2:-1] != source:
            return None
        return part


def _respond(application: Application, pdu: Pdu, command_status: int) -> None:
    application.connection.session.respond(pdu.command_id, pdu.sequence_number, command_status)


def _submit_of(pdu: SubmitMulti, address: SmeAddress) -> SubmitSm:
    return SubmitSm(
        service_type=pdu.service_type,
        source_addr_ton=pdu.source_addr_ton,
        source_addr_npi=pdu.source_addr_npi,
        source_addr=pdu.source_addr,
        dest_addr_ton=address.dest_addr_ton,
        dest_addr_npi=address.dest_addr_npi,
        destination_addr=address.destination_addr,
        # Not transaction mode: there is one response, and each destination has an answer of its own.
        esm_class=pdu.esm_class & ~MODE_MASK if pdu.esm_class & MODE_MASK == TRANSACTION else pdu.esm_class,
        protocol_id=pdu.protocol_id,
        priority_flag=pdu.priority_flag,
        schedule_delivery_time=pdu.schedule_delivery_time,
        validity_period=pdu.validity_period,
        registered_delivery=pdu.registered_delivery,
        replace_if_present_flag=pdu.replace_if_present_flag,
        data_coding=pdu.data_coding,
        sm_default_msg_id=pdu.sm_default_msg_id,
        short_message=pdu.short_message,
        tlvs=pdu.tlvs,
    )
