"""Whether a submission may pass, and where it goes: account rules, number plan, rate, limits.

Every refusal carries the SMPP status that tells the application what to do, and a reason for the evidence.
Everything here fails closed.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.config import LimitsConfig, NumbersConfig
from gateway.dispatch import Dispatch
from gateway.number_plan import NumberPlan, mask, normalise
from gateway.open_parts import OpenParts
from protocol.alphabet import PART_OCTETS, PART_SEPTETS, part_count, part_room
from protocol.smpp.codes import CommandStatus, TlvTag
from protocol.smpp.pdu import SubmitSm
from protocol.smpp.times import TimeFormatError, parse_time, resolve
from storage.log import EvidenceLog

logger = structlog.get_logger()

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

# Kinds of number in the plan that belong to machines.
_THINGS = frozenset({"iot", "m2m"})


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why a submission is not taken.  transient: it says nothing of the message, only of the moment, so
    many of them share one record."""

    command_status: int
    reason: str
    transient: bool = False


class Admitted(msgspec.Struct, gc=False):
    """A submission that may pass.  destination: normalised.  units: chargeable parts.  expires_us: end of
    validity, at most VALIDITY_MAX_US away; 0 if the application named none."""

    carrier: Carrier
    destination: bytes
    units: int
    expires_us: int


NO_ROOM: Final = Refusal(
    CommandStatus.ESME_RSYSERR, "the evidence log has no room on its disk", transient=True
)
DRAINING: Final = Refusal(CommandStatus.ESME_RSYSERR, "draining", transient=True)
TOO_MANY_OPEN: Final = Refusal(CommandStatus.ESME_RMSGQFUL, "too many open messages", transient=True)
BODIES_FULL: Final = Refusal(
    CommandStatus.ESME_RMSGQFUL, "the open messages hold too many octets", transient=True
)
QUEUE_FULL: Final = Refusal(CommandStatus.ESME_RMSGQFUL, "the carrier's queue is full", transient=True)
OUTBOX_FULL: Final = Refusal(
    CommandStatus.ESME_RMSGQFUL, "too many receipts wait for this account", transient=True
)
OVER_RATE: Final = Refusal(CommandStatus.ESME_RTHROTTLED, "over the account's rate", transient=True)
BAD_SOURCE: Final = Refusal(CommandStatus.ESME_RINVSRCADR, "source address not allowed for this account")
BAD_DESTINATION: Final = Refusal(CommandStatus.ESME_RINVDSTADR, "destination is no Chinese mobile number")
THING: Final = Refusal(CommandStatus.ESME_RINVDSTADR, "destination is a number for machines (物联网号段)")
NO_CARRIER: Final = Refusal(CommandStatus.ESME_RINVDSTADR, "no carrier serves the destination's network")
TOO_LONG: Final = Refusal(CommandStatus.ESME_RINVMSGLEN, f"the message makes more than {PARTS_MAX} parts")
BAD_HEADER: Final = Refusal(
    CommandStatus.ESME_RINVMSGLEN, "a message with a user data header does not fit into one part"
)
BAD_SCHEDULE: Final = Refusal(CommandStatus.ESME_RINVSCHED, "schedule_delivery_time is no SMPP time")
BAD_VALIDITY: Final = Refusal(CommandStatus.ESME_RINVEXPIRY, "validity_period is no SMPP time, or has passed")


class Admission:
    """The rules, applied in the order: can we take anything, may this account, where to, how fast."""

    def __init__(
        self,
        log: EvidenceLog,
        dispatch: Dispatch,
        open_parts: OpenParts,
        plan: NumberPlan,
        limits: LimitsConfig,
        numbers: NumbersConfig,
    ) -> None:
        self.draining = False
        self._log = log
        self._dispatch = dispatch
        self._open_parts = open_parts
        self._plan = plan
        self._limits = limits
        self._numbers = numbers
        self._warned: set[bytes] = set()

    def admit(self, account: Account, pdu: SubmitSm, now: float, now_us: int) -> Admitted | Refusal:
        """Judge one submit_sm; takes its units from the account's rate if it passes."""
        if not self._log.has_room:
            return NO_ROOM
        if self.draining:
            return DRAINING
        if len(self._open_parts.open) >= self._limits.parts_open_max:
            return TOO_MANY_OPEN
        if self._open_parts.body_octets >= BODY_OCTETS_MAX:
            return BODIES_FULL
        if account.outbox.full:
            return OUTBOX_FULL
        if not pdu.source_addr.startswith(account.sources):
            return BAD_SOURCE
        destination = normalise(pdu.destination_addr)
        if not destination:
            return BAD_DESTINATION
        carrier = self._route(destination)
        if isinstance(carrier, Refusal):
            return carrier
        if carrier.full(self._limits.carrier_queue_max, now):
            return QUEUE_FULL
        expires_us = 0
        if pdu.validity_period or pdu.schedule_delivery_time:
            expires = expiry(pdu.schedule_delivery_time, pdu.validity_period, now_us)
            if isinstance(expires, Refusal):
                return expires
            expires_us = expires
        units = units_of(pdu, carrier)
        if isinstance(units, Refusal):
            return units
        if not account.bucket.take(units, now):
            return OVER_RATE
        return Admitted(carrier, destination, units, expires_us)

    def carrier_of(self, destination: bytes) -> Carrier | None:
        """The carrier account to which a normalised number would go now."""
        carrier = self._route(destination)
        return None if isinstance(carrier, Refusal) else carrier

    def _route(self, destination: bytes) -> Carrier | Refusal:
        network: str
        segment = self._plan.lookup(destination)
        if segment is None:
            self._warn_unknown(destination)
            network = self._numbers.default_network
        elif segment.kind in _THINGS and self._numbers.reject_iot:
            return THING
        else:
            network = segment.carrier
        carrier = self._dispatch.choose(network)
        if carrier is None and network != self._numbers.default_network:
            carrier = self._dispatch.choose(self._numbers.default_network)
        return carrier or NO_CARRIER

    def _warn_unknown(self, destination: bytes) -> None:
        """Say once for each prefix that the plan does not know it; there are at most a thousand."""
        prefix = destination[:4]
        if prefix not in self._warned:
            self._warned.add(prefix)
            logger.warning("number prefix not in the plan", number=mask(destination))


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
    return parts if parts <= PARTS_MAX else TOO_LONG


def expiry(schedule_delivery_time: bytes, validity_period: bytes, now_us: int) -> int | Refusal:
    """The end of validity in microseconds since the epoch, at most VALIDITY_MAX_US from now; 0 if none is
    named (SMPP 3.4 §7.1.1)."""
    now_s = now_us / 1e6
    start_s = now_s
    if schedule_delivery_time:
        try:
            start_s = max(now_s, resolve(parse_time(schedule_delivery_time), now_s))
        except TimeFormatError:
            return BAD_SCHEDULE
    if not validity_period:
        return 0
    try:
        end_s = resolve(parse_time(validity_period), start_s)
    except TimeFormatError:
        return BAD_VALIDITY
    return min(int(end_s * 1e6), now_us + VALIDITY_MAX_US) if end_s > now_s else BAD_VALIDITY
