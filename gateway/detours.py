"""Parts that do not go straight: withdrawn, postponed, handed over to another carrier, sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from gateway.admission import Admission
from gateway.attempts import Retry, RetryJudge
from gateway.bodies import body_after_waiting, body_for_carrier, submit_of_body
from gateway.carrier import Carrier
from gateway.downstream import Link
from gateway.message import DISPATCHED, QUEUED, Part
from gateway.number_directory import NumberDirectory
from gateway.open_parts import OpenParts
from gateway.outcomes import Cause, OutcomeTable, Verdict
from gateway.turns import Turns
from protocol.smpp.codes import MessageState
from storage import records
from storage.log import EvidenceLog
from storage.records import encode

logger = structlog.get_logger()

# Parts that one tick hands over to another carrier: a few milliseconds' worth, 20,000 a second.
HAND_OVER_PARTS: Final = 5_000

_UNDELIVERABLE: Final = int(MessageState.UNDELIVERABLE)
_UNKNOWN: Final = int(MessageState.UNKNOWN)

# part, message_state, source, reason, who: as Pipeline.finish.
Finish = Callable[[Part, int, str, str, str], None]


class Detours:
    """Puts parts where their next attempt is made."""

    def __init__(
        self,
        turns: Turns,
        log: EvidenceLog,
        open_parts: OpenParts,
        admission: Admission,
        directory: NumberDirectory,
        outcomes: OutcomeTable,
        finish: Finish,
    ) -> None:
        self.outcomes = outcomes
        self._turns = turns
        self._log = log
        self._open = open_parts
        self._admission = admission
        self._directory = directory
        self._finish = finish

    def withdraw(self, link: Link, parts: list[Part]) -> None:
        """The link went down between intent and effect: these parts certainly did not leave."""
        # A late response to an earlier attempt may have told the fate of one meanwhile.
        parts = [part for part in parts if part.state == DISPATCHED]
        if not parts:
            return
        numbers = [part.number for part in parts]
        self._log.append(encode(records.Withdrawn(self._turns.now_us, numbers, f"{link.name} is down")))
        for part in parts:
            self.requeue(part)

    def taken(self, part: Part, carrier: Carrier, carrier_id: bytes) -> None:
        """A carrier has the part, as its response or a receipt says."""
        if part.state == QUEUED:
            part.carrier.drop(part)  # it was to be sent again
        self._open.sent(part, carrier, carrier_id)

    def requeue(self, part: Part) -> None:
        """Put a part back to the head of its queue."""
        self._open.requeued(part)
        part.carrier.give_back(part)

    def refresh(self, part: Part) -> None:
        """A part with a validity leaves after it has waited."""
        self._open.restocked(part, body_after_waiting(part))

    def retry_after(self, judge: RetryJudge, part: Part, verdict: Verdict) -> Retry | None:
        """What a verdict means for a part, as ``judge`` sees it (gateway/attempts.py)."""
        turns, directory = self._turns, self._directory
        number_hash = directory.number_hash(part.destination)
        network = directory.network(part.destination, number_hash, turns.now_us) or part.carrier.network
        return judge(part, verdict, network, self._admission.routes, turns.now, turns.now_us)

    def postpone(self, part: Part, retry: Retry, verdict: Verdict) -> None:
        """Try a part again, later or elsewhere; its body may be in the evidence alone by now."""
        turns = self._turns
        until_us = turns.now_us + int(retry.wait_s * 1e6) if retry.wait_s else 0
        reason = f"{verdict.cause}: {verdict.meaning}"
        self._log.append(
            encode(records.Postponed(part.number, turns.now_us, until_us, retry.carrier.name, reason))
        )
        self._open.postponed(part, retry.carrier, ported=verdict.cause is Cause.PORTED)
        retry.carrier.rest(part, turns.now + retry.wait_s)

    def hand_over(self, carrier: Carrier) -> None:
        """A carrier is out of service: what waits for it and has another way takes that.

        A text of which a part has left stays together, here or where the part went (field lesson 16).
        """
        turns, directory = self._turns, self._directory
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
                other = self._admission.routes.another(network or carrier.network, part, turns.now)
            if other is None:
                return False
            part.carrier = other
            if group is not None:
                group.carrier = other
            other.give_back(part)  # among those that came there after it
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
        part.carrier.give_back(part)

    def reroute(self, gone: Carrier) -> None:
        """Find another way for what waits for a carrier that is not configured any more, some at a time."""
        for part, until in gone.take_out(HAND_OVER_PARTS):
            if part.state != QUEUED:
                continue
            carrier = self._way_without(gone, part)
            if carrier is None or not carrier.profile.takes(part.units):
                reason = f"carrier {gone.name} is not configured any more, and no other can take the message"
                state = _UNKNOWN if part.doubts else _UNDELIVERABLE
                self._finish(part, state, "gateway", reason, "")
                continue
            part.carrier = carrier
            if until > self._turns.now:
                carrier.rest(part, until)
            elif part.body:
                carrier.give_back(part)
            else:
                carrier.bodiless.append((part, part.postponed))

    def _way_without(self, gone: Carrier, part: Part) -> Carrier | None:
        """The carrier for a part that was to go to one that has left; parts of one text stay together."""
        group = part.group
        if group is not None and group.carrier is not None and group.carrier is not gone:
            return group.carrier
        carrier = self._admission.carrier_of(part.destination, self._turns.now, self._turns.now_us)
        if group is not None and carrier is not None:
            group.carrier = carrier
        return carrier
