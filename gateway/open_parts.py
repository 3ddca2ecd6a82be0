"""The parts that are not finished, and those that finished lately; every change of state passes here.

The pipeline changes state through these methods while messages pass, and recovery changes it through the same
methods while it reads the evidence: what a restart finds is what operation would have left.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.message import DISPATCHED, FINAL, QUEUED, SENT, UNCERTAIN, Part

if TYPE_CHECKING:
    from gateway.carrier import Carrier

# Finished parts that are still known by their id: a duplicate receipt is recognised as such, and query_sm
# is answered.  50,000 at some 600 bytes are 30 MB; at 500 messages a second that is a hundred seconds,
# far beyond the second or two within which carriers repeat a receipt.
FINISHED_MAX = 50_000


class OpenParts:
    """All parts of all carriers, by number."""

    def __init__(self) -> None:
        self.open: dict[int, Part] = {}
        self.body_octets = 0  # of all bodies that are kept for carriers
        self._finished: OrderedDict[int, Part] = OrderedDict()

    def get(self, number: int) -> Part | None:
        """The part, open or lately finished."""
        return self.open.get(number) or self._finished.get(number)

    def oldest(self) -> int | None:
        """The oldest record that the open parts need."""
        part = next(iter(self.open.values()), None)  # numbers only grow, and a dict keeps the order
        return None if part is None else part.oldest

    def text_of(self, part: Part) -> list[Part]:
        """The parts that the gateway has cut from the same text, as far as they are known; else the part
        alone."""
        group = part.group
        if group is None or not group.first:
            return [part]
        found = (self.get(number) for number in range(group.first, group.first + group.cut_into))
        return [each for each in found if each is not None]

    def add(self, part: Part) -> None:
        """A part was accepted."""
        self.open[part.number] = part
        self.body_octets += len(part.body)

    def replaced(self, part: Part, body: bytes) -> None:
        """The application has put another body in the place of a queued one."""
        self.body_octets += len(body) - len(part.body)
        part.body = body

    def dispatched(self, part: Part, link: int, now_us: int) -> None:
        """An intent to send names the part."""
        if part.state == UNCERTAIN:
            part.carrier.correlation.remove_unnamed(part)
        part.state = DISPATCHED
        if part.group is not None and not part.attempts:
            part.group.begun += 1
        part.link = link
        part.attempts += 1
        part.dispatched_us = now_us

    def requeued(self, part: Part) -> None:
        """The part is certainly not with the carrier (withdrawn, refused for now), or is to be sent again."""
        if part.state == UNCERTAIN:
            part.carrier.correlation.remove_unnamed(part)
        part.state = QUEUED

    def postponed(self, part: Part, carrier: Carrier, *, ported: bool) -> None:
        """The carrier has refused the part, or reported that it failed, and it is tried again by ``carrier``.

        ported: because its number is not there any more.

        Whatever comes for its earlier attempts still finds it.
        """
        if part.state == UNCERTAIN or (part.state == SENT and not part.carrier_id):
            part.carrier.correlation.remove_unnamed(part)
        if part.carrier_id:
            part.earlier_ids += ((part.carrier, part.carrier_id),)
            part.carrier_id = b""
        if carrier is not part.carrier:
            part.rerouted, part.ported = True, ported
            part.carrier = carrier
            if part.group is not None:
                part.group.carrier = carrier
        part.state = QUEUED
        part.postponed += 1

    def restocked(self, part: Part, body: bytes) -> None:
        """The body of a part that is to be sent again has been read from the evidence."""
        self.body_octets += len(body) - len(part.body)
        part.body = body

    def sent(self, part: Part, carrier: Carrier, carrier_id: bytes) -> None:
        """``carrier`` has taken the part.  A later id of the same part (a resent one) is known beside the
        earlier one, so that a receipt for either finds it.

        A carrier may answer well and name no id: then only the destination can tell the part's receipt from
        others, as if it were uncertain; but it is never sent again.
        """
        if part.state == UNCERTAIN or (part.state == SENT and not part.carrier_id):
            part.carrier.correlation.remove_unnamed(part)
        if part.doubts:
            self.answered_after_all(part)
        if part.state != FINAL:
            part.state = SENT
            if not part.carrier_id:
                part.carrier = carrier  # a late answer may come from the one before
            self.body_octets -= len(part.body)
            part.body = b""
        if not carrier_id:
            if part.state == SENT and not part.carrier_id:
                part.carrier.correlation.add_unnamed(part)
            return
        if self.get(part.number) is not part:
            return  # forgotten meanwhile: nobody would ever take its id out of the index again
        if part.carrier is carrier:
            if part.carrier_id:
                part.earlier_ids += ((carrier, part.carrier_id),)
            part.carrier_id = carrier_id
        else:
            part.earlier_ids += ((carrier, carrier_id),)
        carrier.correlation.learn(part, carrier_id)

    def answered_after_all(self, part: Part, *, late: bool = False) -> None:
        """An attempt of a part of which some are in doubt was answered: one of those, unless the part is in
        flight, when it is one of those only if the answer was late."""
        if part.state in (QUEUED, UNCERTAIN) or (late and part.state == DISPATCHED):
            part.doubts -= 1

    def uncertain(self, part: Part) -> None:
        """No response came; nobody knows whether the carrier has the part."""
        part.state = UNCERTAIN
        part.doubts += 1
        part.carrier.correlation.add_unnamed(part)

    def refused_in_doubt(self, part: Part) -> None:
        """An attempt was refused for good, and an earlier one was not answered."""
        part.state = UNCERTAIN
        part.refused = True
        part.carrier.correlation.add_unnamed(part)

    def finish(self, part: Part, message_state: int, error: bytes, now_us: int) -> None:
        """The part has its final outcome; it stays known for a while."""
        if part.state == UNCERTAIN or not part.carrier_id:
            part.carrier.correlation.remove_unnamed(part)
        if part.state == QUEUED:
            part.carrier.end_rest(part)
        part.state = FINAL
        self.body_octets -= len(part.body)
        part.body = b""
        part.message_state = message_state
        part.error = error
        part.final_us = now_us
        del self.open[part.number]
        self._finished[part.number] = part
        if len(self._finished) > FINISHED_MAX:
            _, oldest = self._finished.popitem(last=False)
            oldest.carrier.correlation.forget(oldest, oldest.carrier_id)
            for carrier, carrier_id in oldest.earlier_ids:
                carrier.correlation.forget(oldest, carrier_id)
