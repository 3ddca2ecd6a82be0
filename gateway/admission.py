"""Whether a submission may pass, and where it goes: account rules, number plan, rate, limits.

Every refusal carries the SMPP status that tells the application what to do, and a reason for the evidence.
Everything here fails closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.config import LanesConfig, LimitsConfig
from gateway.lanes import SHARES
from gateway.long_texts import LongTexts, may_be_a_part
from gateway.message import MODE_MASK, QUEUED, TRANSACTION, Group
from gateway.number_directory import NumberDirectory
from gateway.number_plan import normalise
from gateway.open_parts import OpenParts
from gateway.opt_out import is_alarm
from gateway.routes import Routes
from protocol.alphabet import PART_OCTETS, PART_SEPTETS, part_count, part_room
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import SubmitSm
from protocol.smpp.times import TimeFormatError, parse_time, resolve
from storage.log import EvidenceLog

_MESSAGE_PAYLOAD = int(TlvTag.MESSAGE_PAYLOAD)
_UDH_INDICATOR = 0x40

# The concatenation header counts parts in one octet (3GPP TS 23.040 §9.2.3.24.1): nobody can put a longer
# message together.  So a body has at most 40 KB, however much a message_payload could hold.
PARTS_MAX: Final = 255
_PAYLOAD_OCTETS_MAX: Final = PARTS_MAX * PART_SEPTETS  # more is refused before it is cut into parts

# Octets of bodies that are held for carriers, over all of them.  A million open parts of the usual 200
# octets are 200 MB; only long messages by the thousand come to this before they come to parts_open_max.
BODY_OCTETS_MAX: Final = 512 * 2**20

# Beyond this much from now a validity holds a part, and the evidence it stands in, no longer: message centres
# keep a message three days, some seven.  What the carrier reads is untouched; only our own patience ends.
VALIDITY_MAX_US: Final = 7 * 86_400_000_000

# How long a scheduled message without a validity is tried: as long as carriers try.
SCHEDULED_VALIDITY_US: Final = 3 * 86_400_000_000

# An application that asked for transaction mode waits for the carrier's own answer: SMPP clients give up
# after ten seconds, and what is answered later has been sent again by then.
TRANSACTION_MAX_US: Final = 8_000_000


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why a submission is not taken.  transient: it says nothing of the message, only of the moment, so
    many of them share one record."""

    command_status: int
    reason: str
    transient: bool = False


class Admitted(msgspec.Struct, gc=False):
    """A submission that may pass.

    destination: normalised; number_hash: its keyed hash.  units: chargeable parts.  starts_us: when it may
    leave, 0 for now.  expires_us: end of validity, at most VALIDITY_MAX_US behind the start; 0 if the
    application named neither.  group: of the long text that it is a part of.  network: by the prefix.
    """

    carrier: Carrier
    destination: bytes
    number_hash: bytes
    units: int
    lane: int
    mode: int
    starts_us: int
    expires_us: int
    group: Group | None
    network: str


NO_ROOM: Final = Refusal(
    CommandStatus.ESME_RSYSERR, "the evidence log has no room on its disk", transient=True
)
DRAINING: Final = Refusal(CommandStatus.ESME_RSYSERR, "draining", transient=True)
TOO_MANY_OPEN: Final = Refusal(CommandStatus.ESME_RMSGQFUL, "too many open messages", transient=True)
BODIES_FULL: Final = Refusal(
    CommandStatus.ESME_RMSGQFUL, "the open messages hold too many octets", transient=True
)
QUEUE_FULL: Final = Refusal(CommandStatus.ESME_RMSGQFUL, "the carrier's queue is full", transient=True)
QUEUE_LATE: Final = Refusal(
    CommandStatus.ESME_RTHROTTLED, "what waits in the lane has waited too long already", transient=True
)
OUTBOX_FULL: Final = Refusal(
    CommandStatus.ESME_RMSGQFUL, "too many receipts wait for this account", transient=True
)
OVER_RATE: Final = Refusal(CommandStatus.ESME_RTHROTTLED, "over the account's rate", transient=True)
BAD_SOURCE: Final = Refusal(CommandStatus.ESME_RINVSRCADR, "source address not allowed for this account")
BAD_DESTINATION: Final = Refusal(CommandStatus.ESME_RINVDSTADR, "destination is no Chinese mobile number")
THING: Final = Refusal(CommandStatus.ESME_RINVDSTADR, "destination is a number for machines (物联网号段)")
NO_CARRIER: Final = Refusal(CommandStatus.ESME_RINVDSTADR, "no carrier serves the destination's network")
TOO_LONG: Final = Refusal(CommandStatus.ESME_RINVMSGLEN, f"the message makes more than {PARTS_MAX} parts")
TOO_LONG_FOR_CARRIER: Final = Refusal(
    CommandStatus.ESME_RINVMSGLEN, "the message makes more parts than its carrier takes"
)
BAD_HEADER: Final = Refusal(
    CommandStatus.ESME_RINVMSGLEN, "a message with a user data header does not fit into one part"
)
BAD_SCHEDULE: Final = Refusal(CommandStatus.ESME_RINVSCHED, "schedule_delivery_time is no SMPP time")
FAR_SCHEDULE: Final = Refusal(
    CommandStatus.ESME_RINVSCHED, "schedule_delivery_time is more than seven days away"
)
SCHEDULED_TRANSACTION: Final = Refusal(
    CommandStatus.ESME_RINVSCHED, "nobody waits for the carrier's response until a scheduled time"
)
OPTED_OUT: Final = Refusal(
    CommandStatus.ESME_RINVDSTADR, "the subscriber has opted out of this service (退订)"
)
BAD_VALIDITY: Final = Refusal(CommandStatus.ESME_RINVEXPIRY, "validity_period is no SMPP time, or has passed")


class Admission:
    """The rules, applied in the order: can we take anything, may this account, where to, how fast."""

    def __init__(
        self,
        log: EvidenceLog,
        open_parts: OpenParts,
        directory: NumberDirectory,
        routes: Routes,
        limits: LimitsConfig,
        lanes: LanesConfig,
    ) -> None:
        self.draining = False
        self._log = log
        self._open_parts = open_parts
        self._directory = directory
        self.long_texts = LongTexts()
        self.configure(routes, limits, lanes)

    def configure(self, routes: Routes, limits: LimitsConfig, lanes: LanesConfig) -> None:
        """Other routes and limits, from the next message on."""
        self.routes = routes
        # By lane: when little room is left, the last lanes are refused first.
        self._open_max = tuple(share * limits.parts_open_max for share in SHARES)
        self._octets_max = tuple(share * BODY_OCTETS_MAX for share in SHARES)
        self._queue_max = tuple(share * limits.carrier_queue_max for share in SHARES)
        self._age_max_us = tuple(
            int(age_s * 1e6)
            for age_s in (
                lanes.emergency_age_max_s,
                lanes.interactive_age_max_s,
                lanes.notice_age_max_s,
                lanes.bulk_age_max_s,
            )
        )

    def admit(self, account: Account, pdu: SubmitSm, now: float, now_us: int) -> Admitted | Refusal:
        """Judge one submit_sm; takes its units from the account's rate if it passes."""
        if not self._log.has_room:
            return NO_ROOM
        if self.draining or account.draining:
            return DRAINING
        lane = (
            account.lane(pdu.source_addr, pdu.priority_flag)
            if account.alarms
            else account.lanes[pdu.priority_flag]
        )
        if len(self._open_parts.open) >= self._open_max[lane]:
            return TOO_MANY_OPEN
        if self._open_parts.body_octets >= self._octets_max[lane]:
            return BODIES_FULL
        if account.outbox.full:
            return OUTBOX_FULL
        if not pdu.source_addr.startswith(account.sources):
            return BAD_SOURCE
        destination = normalise(pdu.destination_addr)
        if not destination:
            return BAD_DESTINATION
        number_hash = self._directory.number_hash(destination)
        if (
            account.honours_opt_outs
            and self._directory.opt_outs.is_out(number_hash, account.name)
            and not is_alarm(pdu.source_addr)
        ):
            return OPTED_OUT
        network = self._directory.network(destination, number_hash, now_us)
        if network is None:
            return THING
        mode = pdu.esm_class & MODE_MASK
        starts_us = expires_us = 0
        if pdu.validity_period or pdu.schedule_delivery_time:
            period = period_of(pdu.schedule_delivery_time, pdu.validity_period, now_us)
            if isinstance(period, Refusal):
                return period
            starts_us, expires_us = period
        if mode == TRANSACTION:
            if starts_us:
                return SCHEDULED_TRANSACTION
            # The application waits for the carrier's answer, and not for long.
            expires_us = now_us + TRANSACTION_MAX_US
        group = None
        if may_be_a_part(pdu):
            group, bit = self.long_texts.group_of(account.name, pdu, destination, now)
        if group is not None and group.carrier is not None:
            carrier = group.carrier
        else:
            chosen = self.routes.lead(network, destination, lane, now, now_us)
            if chosen is None:
                return NO_CARRIER
            carrier = chosen
            if group is not None:
                group.carrier = carrier
        queues = carrier.queues
        queue = queues.lanes[lane]
        while queue and (queue[0].state != QUEUED or (queues.strays and queue[0].number in queues.strays)):
            queues.drop_first(queue)  # it was cancelled, or its fate told, while it waited
        if queue:  # what is first in its lane finds room, whatever waits in the others
            if carrier.full(self._queue_max[lane], now):
                return QUEUE_FULL
            if now_us - queue[0].queued_us > self._age_max_us[lane]:
                return QUEUE_LATE
        units = units_of(pdu, carrier)
        if isinstance(units, Refusal):
            return units
        if not account.bucket.take(units, now):
            return OVER_RATE
        if group is not None:
            group.came |= bit
        if self._directory.portability.entries:
            network = self._directory.network_of_prefix(destination)
        return Admitted(
            carrier, destination, number_hash, units, lane, mode, starts_us, expires_us, group, network
        )

    def fullness(self, carriers: Iterable[Carrier]) -> float:
        """How much of what may be open and waiting is, from 0 to 1: the fullest limit counts, and of the
        carriers all together, since one that is down is no sign of the gateway's own load."""
        waiting = [len(carrier.queues) / self._queue_max[0] for carrier in carriers]
        return max(
            len(self._open_parts.open) / self._open_max[0],
            self._open_parts.body_octets / self._octets_max[0],
            sum(waiting) / len(waiting) if waiting else 0.0,
        )

    def carrier_of(self, destination: bytes, now: float, now_us: int) -> Carrier | None:
        """The carrier account to which a normalised number would go now."""
        network = self._directory.network(destination, self._directory.number_hash(destination), now_us)
        return None if network is None else self.routes.choose(network, now)


def units_of(pdu: SubmitSm, carrier: Carrier) -> int | Refusal:
    """Chargeable parts that one submit_sm makes on the air.  One with a user data header is one part, and
    must fit into it: nobody cuts what brings a header of its own."""
    text = pdu.short_message
    headed = pdu.esm_class & _UDH_INDICATOR
    if text and len(text) <= PART_OCTETS and not headed:
        return 1
    text = text or pdu.tlv(_MESSAGE_PAYLOAD) or b""
    if headed:
        header_octets = 1 + text[0] if text else 1
        if header_octets > min(len(text), PART_OCTETS):
            return BAD_HEADER
        room = part_room(header_octets, pdu.data_coding, carrier.default_alphabet)
        return 1 if len(text) <= room else BAD_HEADER
    if len(text) > _PAYLOAD_OCTETS_MAX:
        return TOO_LONG
    parts = part_count(text, pdu.data_coding, carrier.default_alphabet)
    if parts > carrier.profile.parts_max:
        return TOO_LONG if parts > PARTS_MAX else TOO_LONG_FOR_CARRIER
    return parts


def period_of(
    schedule_delivery_time: bytes, validity_period: bytes, now_us: int
) -> tuple[int, int] | Refusal:
    """When a message may leave and when its validity ends, in microseconds since the epoch (SMPP 3.4 §7.1.1);
    0 for at once, and for no end.

    A relative validity counts from the scheduled time.  What is scheduled and names no validity ends
    SCHEDULED_VALIDITY_US after its time.
    """
    now_s = now_us / 1e6
    start_s = now_s
    if schedule_delivery_time:
        try:
            start_s = max(now_s, resolve(parse_time(schedule_delivery_time), now_s))
        except TimeFormatError:
            return BAD_SCHEDULE
        if start_s - now_s > VALIDITY_MAX_US / 1e6:
            return FAR_SCHEDULE
    starts_us = int(start_s * 1e6) if start_s > now_s else 0
    if not validity_period:
        return starts_us, starts_us and starts_us + SCHEDULED_VALIDITY_US
    try:
        end_s = resolve(parse_time(validity_period), start_s)
    except TimeFormatError:
        return BAD_VALIDITY
    if end_s <= start_s:
        return BAD_VALIDITY
    return starts_us, min(int(end_s * 1e6), int(start_s * 1e6) + VALIDITY_MAX_US)
