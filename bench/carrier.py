"""A simulated carrier: an SMPP server that takes messages and sends receipts, as fast or as badly as it is told.

It shares one core with the load generator and must not be what is measured, so the two PDUs that make up
nearly all traffic are read in place and answered from prepared octets; whatever else comes goes through the
codec.  All work of a chunk leaves in one write, and nothing has a task or a timer of its own.

A receipt is kept until it is answered.  When the session it left on is lost, or none is bound, it goes out again
after the next bind, as a message centre does.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter, deque
from collections.abc import Callable
from time import time
from typing import Any, Final, cast

import msgspec
import uvloop

from bench.carrier_ledger import UNMAPPED, CarrierLedger, CarrierReport
from bench.carrier_options import CarrierOptions
from bench.dialogue import calm_collector, listen, say
from bench.message_ids import id_writer
from bench.messages import TOKENS_MAX, UCS2, destination_of, token_at
from bench.shares import Draw, happens
from bench.wheel import Wheel
from protocol.smpp.codec import HEADER, REFUSAL_BODIES, decode, encode, encode_body
from protocol.smpp.codes import RESPONSE_BIT, CommandId, CommandStatus, MessageState, TlvTag, status_name
from protocol.smpp.errors import PduError
from protocol.smpp.limits import FRAME_LENGTH_MAX, HEADER_OCTETS, SEQUENCE_NUMBER_MAX
from protocol.smpp.operations import BIND_STATES, BindState
from protocol.smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter, DataSm, DeliverSm, GenericNack, SubmitSm
from protocol.smpp.receipt import message_state_of
from protocol.smpp.times import format_receipt_date

_SUBMIT_SM: Final = int(CommandId.SUBMIT_SM)
_SUBMIT_SM_RESP: Final = int(CommandId.SUBMIT_SM_RESP)
_DELIVER_SM: Final = int(CommandId.DELIVER_SM)
_DELIVER_SM_RESP: Final = int(CommandId.DELIVER_SM_RESP)
_ENQUIRE_LINK: Final = int(CommandId.ENQUIRE_LINK)
_UNBIND: Final = int(CommandId.UNBIND)
_GENERIC_NACK: Final = int(CommandId.GENERIC_NACK)
_ROK: Final = int(CommandStatus.ESME_ROK)

_unpack = HEADER.unpack_from
_pack = HEADER.pack

# TON, NPI, address and NUL (SMPP 3.4 §5.2.8); what is longer is left to the codec, which knows the status.
_ADDRESS_FIELD_OCTETS: Final = 23

# protocol_id, priority_flag, schedule_delivery_time, validity_period, registered_delivery,
# replace_if_present_flag, data_coding, sm_default_msg_id.
_ZEROS: Final = bytes(8)
_RECEIPT_FIELDS: Final = b"\x04" + _ZEROS  # esm_class: delivery receipt (SMPP 3.4 §5.2.12)

# What a carrier writes into `err` beside its own words.
_ERRORS: Final = {b"DELIVRD": b"000", b"UNDELIV": b"001", b"EXPIRED": b"002", b"REJECTD": b"003"}
_OTHER_ERROR: Final = b"099"

# A receipt that the gateway could not take now is offered again after so long.
_AGAIN_S: Final = 0.5

# How long after the receipt the subscriber has read and answered.
_READING_S: Final = 0.05

Delivery = tuple[int, bool, bytes]
"""A deliver_sm that waits for its answer: token (-1: of no message of ours), whether it is a receipt, body."""


class Stat(msgspec.Struct, frozen=True):
    """One kind of receipt, prepared."""

    word: bytes
    state: int  # for the ledger
    delivered: bytes  # dlvrd
    end: bytes  # of the text
    tlv: bytes  # message_state


def _stat(word: bytes) -> Stat:
    state = message_state_of(word)
    delivered = state == MessageState.DELIVERED
    tlv_state = state or int(MessageState.UNDELIVERABLE)
    return Stat(
        word,
        state or UNMAPPED,
        b"001" if delivered else b"000",
        b" stat:%b err:%b text:" % (word, _ERRORS.get(word, _OTHER_ERROR)),
        HEADER_OCTETS_OF_TLV.pack(TlvTag.MESSAGE_STATE, 1) + bytes((tlv_state,)),
    )


class Carrier:
    """One account of a simulated carrier on one port.  Owned by the event loop."""

    def __init__(self, options: CarrierOptions, wheel: Wheel) -> None:
        self.options = options
        self.ledger = CarrierLedger()
        self.port = options.port
        self.sessions: list[CarrierSession] = []
        self.orphans: deque[Delivery] = deque()  # deliveries that no session could take
        self.next_ids = id_writer(options.ids)
        seed = options.seed
        self.random = random.Random(seed)
        refusals = {int(CommandStatus[name]): share for name, share in options.refusals.items()}
        self.refusals: Draw[int] = Draw(refusals, _ROK, seed)
        stats = {_stat(word.encode()): share for word, share in options.stats.items()}
        self.stats: Draw[Stat] = Draw(stats, _stat(b"DELIVRD"), seed + 1)
        self.unanswered = happens(options.unanswered, seed + 2)
        self.receipts_first = happens(options.receipts_first, seed + 3)
        self.duplicates = happens(options.duplicates, seed + 4)
        self.replies = happens(options.replies, seed + 5)
        # Whether every message gets its response and its receipt alike: most carriers of a benchmark.
        self.plain = not (
            any((*refusals.values(), options.rate_per_s, options.unanswered, options.receipts_first))
            or any((options.duplicates, options.replies, options.cut_after_pdus))
            or any((options.response_jitter_s, options.receipt_jitter_s, options.kept_max))
        )
        self.tokens = float(options.rate_per_s)
        self.tokens_at = 0.0
        self.wheel = wheel
        self._turn = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; `port` says where. OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        options = self.options
        self._server = await loop.create_server(lambda: CarrierSession(self), options.host, options.port)
        self.port = self._server.sockets[0].getsockname()[1]
        if options.cut_mean_s:
            self._cut_at_random(None)

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._server is not None:
            self._server.close()
            for session in list(self.sessions):
                session.abort()
            await self._server.wait_closed()
            self._server = None

    # -- deliveries -----------------------------------------------------------------------------------------

    def receiver(self, origin: CarrierSession | None) -> CarrierSession | None:
        """The session that a delivery goes out on; None while no receiver is bound."""
        wanted = self.options.receipt_session
        if wanted == "same" and origin is not None and origin.receives:
            return origin
        sessions = [session for session in self.sessions if session.receives]
        if wanted == "other" and len(sessions) > 1:
            sessions = [session for session in sessions if session is not origin]
        if not sessions:
            return None
        self._turn += 1
        return sessions[self._turn % len(sessions)]

    def deliver(self, waiting: tuple[CarrierSession | None, list[Delivery]]) -> None:
        """Send deliveries whose time has come."""
        origin, deliveries = waiting
        if self.options.receipt_session == "any" and len(deliveries) > 1:
            for delivery in deliveries:
                self.deliver((origin, [delivery]))
            return
        session = self.receiver(origin)
        if session is None:
            self.orphans.extend(deliveries)
        else:
            session.queue.extend(deliveries)
            session.flush()

    def resend(self) -> None:
        """A receiver has bound: what had no session goes out."""
        while self.orphans:
            session = self.receiver(None)
            if session is None:
                return
            # All to one session would leave the others idle; each takes a window's worth in turn.
            for _ in range(min(len(self.orphans), self.options.window)):
                session.queue.append(self.orphans.popleft())
            session.flush()

    def reply(self, subscriber: bytes, destination: bytes, text: str) -> None:
        """A subscriber sends a message to the application at `destination` (上行)."""
        deliver_sm = DeliverSm(
            source_addr_ton=1,
            source_addr_npi=1,
            source_addr=subscriber,
            destination_addr=destination,
            data_coding=UCS2,
            short_message=text.encode("utf-16-be"),
        )
        self.ledger.replies_sent += 1
        self.deliver((None, [(-1, False, encode_body(deliver_sm))]))

    # -- faults ---------------------------------------------------------------------------------------------

    def cut(self) -> int:
        """Abort all sessions; returns how many there were."""
        sessions = list(self.sessions)
        for session in sessions:
            self.ledger.cuts += 1
            session.abort()
        return len(sessions)

    def _cut_at_random(self, _: None) -> None:
        self.cut()
        self.wheel.after(self.random.expovariate(1 / self.options.cut_mean_s), self._cut_at_random, None)

    def over_rate(self, now: float) -> bool:
        """Whether one part more would be more than `rate_per_s`, which is also the burst."""
        rate = self.options.rate_per_s
        self.tokens = min(rate, self.tokens + (now - self.tokens_at) * rate)
        self.tokens_at = now
        if self.tokens < 1:
            return True
        self.tokens -= 1
        return False

    # -- report ---------------------------------------------------------------------------------------------

    def report(self) -> CarrierReport:
        """The ledger as it stands."""
        ledger = self.ledger
        used = len(ledger.taken.rstrip(b"\0"))
        waiting = len(self.orphans) + sum(len(each.queue) + len(each.in_flight) for each in self.sessions)
        return CarrierReport(
            name=self.options.name,
            port=self.port,
            submits=ledger.submits,
            accepted=ledger.accepted,
            refused=_by_name(ledger.refused),
            taken_twice=ledger.taken_twice,
            misdirected=ledger.misdirected,
            foreign=ledger.foreign,
            receipts_sent=ledger.receipts_sent,
            receipts_acknowledged=ledger.receipts_acknowledged,
            receipts_refused=_by_name(ledger.receipts_refused),
            receipts_waiting=waiting,
            replies_sent=ledger.replies_sent,
            replies_acknowledged=ledger.replies_acknowledged,
            binds=ledger.binds,
            binds_refused=ledger.binds_refused,
            cuts=ledger.cuts,
            lost_sessions=ledger.lost_sessions,
            states={word.decode(): count for word, count in sorted(ledger.states.items())},
            kept=[frame.hex() for frame in ledger.kept],
            taken=bytes(ledger.taken[:used]),
            outcome=bytes(ledger.outcome[:used]),
            acknowledged=bytes(ledger.acknowledged[:used]),
        )


def _by_name(counts: Counter[int]) -> dict[str, int]:
    return {status_name(status): count for status, count in sorted(counts.items())}
