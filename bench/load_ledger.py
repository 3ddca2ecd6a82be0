"""What the application knows of each of its messages, and what it measured."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Final

import msgspec

from bench.histogram import LatencyHistogram, Quantiles, merged
from bench.messages import NETWORKS, message_fails, part_fails, part_number, parts_of, token_of_destination
from bench.replies import BROKEN, NOT_NUMBERED, reply_number
from protocol.smpp.codes import CommandStatus, MessageState, status_name

_ROK: Final = int(CommandStatus.ESME_ROK)

# What became of a message: an octet for each token.
UNSENT, SENT, ACCEPTED, REFUSED, UNANSWERED = range(5)

OTHER_STATE: Final = 255
"""Stands for the state of a receipt that names none of the specification's."""


class NetworkReport(msgspec.Struct):
    """The messages to one network."""

    submitted: int
    accepted: int
    delivered: int
    failed: int
    response_ms: Quantiles
    receipt_ms: Quantiles


class LoadReport(msgspec.Struct, kw_only=True):
    """The run in figures.

    unanswered: messages whose session was lost before their response.  missing: accepted, without a receipt.
    repeated: receipts that said once more what an earlier one had said.  contradictory: something else.
    unknown: receipts for an id that no response gave, though the message they name was answered with another.
    receipts_of_unanswered: receipts for messages whose response was lost.
    unexpected: messages whose receipt does not say what the option `fail_every` makes it say.
    replies: all of them.  Of the long ones of bench/replies.py: right, the first time; wrong: not the whole
    text, or from another subscriber; repeated: right once more.
    sessions_lost: that ended before the run did, an unbind by the gateway included.  connects_failed:
    attempts that were refused.
    """

    event: str
    submitted: int
    accepted: int
    refused: dict[str, int]
    unanswered: int
    receipts: int
    receipts_of_unanswered: int
    repeated: int
    contradictory: int
    unknown: int
    missing: int
    unexpected: int
    replies: int
    replies_right: int
    replies_wrong: int
    replies_repeated: int
    states: dict[str, int]
    sessions: int
    sessions_lost: int
    connects_failed: int
    elapsed_s: float
    submits_per_s: float
    messages_per_s: float
    cpu_s: float
    response_ms: Quantiles
    receipt_ms: Quantiles
    networks: dict[str, NetworkReport] = {}
    failure: str = ""


class LoadLedgerFile(msgspec.Struct, kw_only=True):
    """The ledger by message, for a checker; states and receipts have an octet for each token from `first` on.

    states: UNSENT, SENT, ACCEPTED, REFUSED, UNANSWERED.  outcomes: message_state of the receipt, 0 none.
    open: the id and token of each accepted message without a receipt.
    sent_s: when each message left, by CLOCK_MONOTONIC, in the order of the tokens; only of a `timed` run.
    Of messages in parts, numbers of parts (`messages.part_number`) stand for tokens throughout.
    """

    first: int
    states: bytes
    outcomes: bytes
    open: dict[str, int]
    sent_s: list[float] = []


class LoadLedger:
    """Grows with the messages; 10 octets each, and an entry while the receipt is open.

    fail_every: by what receipts of long messages are compared; 0: not at all.  timed: `left` will be told.
    """

    def __init__(self, first: int, count: int, *, fail_every: int = 0, timed: bool = False) -> None:
        self.first = first
        self.states = bytearray(count)
        self.outcomes = bytearray(count)
        self.intended = array("d", bytes(8 * count))
        self.open: dict[bytes, int] = {}
        self.early: dict[bytes, tuple[int, float, bytes]] = {}
        self.refused: Counter[int] = Counter()
        self.accepted = 0
        self.unanswered = 0
        self.receipts = 0
        self.repeated = 0
        self.contradictory = 0
        self.replies = 0
        self.replies_wrong = 0
        self.replies_repeated = 0
        self.response_s = [LatencyHistogram() for _ in NETWORKS]
        self.receipt_s = [LatencyHistogram() for _ in NETWORKS]
        self.last_response = 0.0
        self.last_receipt = 0.0
        self.last_reply = 0.0
        self._fail_every = fail_every
        self._sent = array("d") if timed else None
        self._replies_right: set[int] = set()

    def grow(self, count: int) -> None:
        """There are `count` messages more."""
        self.states.extend(bytes(count))
        self.outcomes.extend(bytes(count))
        self.intended.frombytes(bytes(8 * count))

    # -- what the sessions tell ----------------------------------------------------------------------------

    def answered(self, token: int, command_status: int, message_id: bytes, now: float) -> None:
        """The response to message `token` (counted from `first`) has come."""
        self.response_s[token & 3].observe(now - self.intended[token])
        self.last_response = now
        if command_status != _ROK:
            self.states[token] = REFUSED
            self.refused[command_status] += 1
            return
        self.states[token] = ACCEPTED
        self.accepted += 1
        early = self.early.pop(message_id, None) if self.early else None
        if early is None:
            self.open[message_id] = token
        else:
            state, received, _ = early
            self._match(token, state, received)

    def lost(self, tokens: list[int]) -> None:
        """The session of these messages ended before their responses came."""
        for token in tokens:
            self.states[token] = UNANSWERED
        self.unanswered += len(tokens)

    def receipt(self, message_id: bytes, state: int, subscriber: bytes, now: float) -> None:
        """A receipt for `message_id` has come from `subscriber`."""
        token = self.open.pop(message_id, -1)
        if token >= 0:
            self._match(token, state, now)
            return
        earlier = self.early.get(message_id)
        if earlier is not None:
            self._again(earlier[0], state)
            return
        token = self._finished(message_id, subscriber)
        if token >= 0:
            self._again(self.outcomes[token], state)
        else:
            self.early[message_id] = (state, now, subscriber)

    def left(self, stop: int, now: float) -> None:
        """All messages below `stop` that had not left before have left now."""
        assert self._sent is not None
        self._sent.extend([now] * (stop - len(self._sent)))

    def reply(self, subscriber: bytes, text: bytes, now: float) -> None:
        """A reply has come from `subscriber`; text: in octets, in UCS-2 if it is a long one."""
        self.replies += 1
        self.last_reply = now
        number = reply_number(subscriber, text)
        if number == BROKEN:
            self.replies_wrong += 1
        elif number in self._replies_right:
            self.replies_repeated += 1
        elif number != NOT_NUMBERED:
            self._replies_right.add(number)

    def _finished(self, message_id: bytes, subscriber: bytes) -> int:
        """The message of an id that is not open, if it has had its receipt; -1 if there is none."""
        token = self._token_of(subscriber)
        return token if token >= 0 and self.outcomes[token] else -1

    def _unanswered(self, subscriber: bytes) -> int:
        """A message to that number without response; -1 if there is none."""
        token = self._token_of(subscriber)
        return token if token >= 0 and self.states[token] in (UNANSWERED, SENT) else -1

    def _token_of(self, subscriber: bytes) -> int:
        token = token_of_destination(subscriber) - self.first
        return token if 0 <= token < len(self.outcomes) else -1

    def _match(self, token: int, state: int, received: float) -> None:
        self.outcomes[token] = state
        self.receipts += 1
        self.last_receipt = received
        self.receipt_s[token & 3].observe(received - self.intended[token])

    def _again(self, former: int, state: int) -> None:
        if former == state:
            self.repeated += 1
        else:
            self.contradictory += 1

    # -- at the end ----------------------------------------------------------------------------------------

    def settle_early(self) -> tuple[int, int]:
        """Receipts whose id no response gave: those of messages without response, and unknown ones."""
        of_unanswered = 0
        for state, _, subscriber in self.early.values():
            token = self._unanswered(subscriber)
            if token >= 0:
                of_unanswered += 1
                self.outcomes[token] = state
        return of_unanswered, len(self.early) - of_unanswered

    def unexpected(self) -> int:
        """Messages whose receipt does not say what it must."""
        if not self._fail_every:
            return 0
        states = {False: int(MessageState.DELIVERED), True: int(MessageState.UNDELIVERABLE)}
        return sum(
            outcome not in (0, states[self._must_fail(number)])
            for number, outcome in enumerate(self.outcomes, self.first)
        )

    def _must_fail(self, token: int) -> bool:
        return message_fails(token, self._fail_every)

    def networks(self) -> dict[str, NetworkReport]:
        """The figures of each network."""
        found: dict[str, NetworkReport] = {}
        for network, name in enumerate(NETWORKS):
            start = (network - self.first) % 4
            states, outcomes = self.states[start::4], self.outcomes[start::4]
            delivered = outcomes.count(int(MessageState.DELIVERED))
            found[name] = NetworkReport(
                len(states) - states.count(UNSENT),
                states.count(ACCEPTED),
                delivered,
                len(outcomes) - outcomes.count(0) - delivered,
                self.response_s[(network - self.first) & 3].quantiles(),
                self.receipt_s[(network - self.first) & 3].quantiles(),
            )
        return found

    def report(
        self,
        event: str,
        began: float,
        cpu_s: float,
        sessions: int,
        sessions_lost: int,
        connects_failed: int,
        failure: str,
    ) -> LoadReport:
        """The figures as they stand; `event` names the line, cpu_s is what the run has cost so far."""
        final = event == "result"
        of_unanswered, unknown = self.settle_early() if final else (0, 0)
        response_end = max(self.last_response - began, 1e-9)
        end = max(self.last_receipt, self.last_response) - began if self.receipts else response_end
        by_state = Counter(self.outcomes) if final else Counter()
        return LoadReport(
            event=event,
            submitted=len(self.states) - self.states.count(UNSENT),
            accepted=self.accepted,
            refused={status_name(status): count for status, count in sorted(self.refused.items())},
            unanswered=self.unanswered,
            receipts=self.receipts,
            receipts_of_unanswered=of_unanswered,
            repeated=self.repeated,
            contradictory=self.contradictory,
            unknown=unknown,
            missing=len(self.open),
            unexpected=self.unexpected() if final else 0,
            replies=self.replies,
            replies_right=len(self._replies_right),
            replies_wrong=self.replies_wrong,
            replies_repeated=self.replies_repeated,
            states={_state_name(state): count for state, count in sorted(by_state.items()) if state},
            sessions=sessions,
            sessions_lost=sessions_lost,
            connects_failed=connects_failed,
            elapsed_s=round(end, 3),
            submits_per_s=round(self.accepted / response_end, 1) if self.accepted else 0.0,
            messages_per_s=round(self.receipts / end, 1) if self.receipts else 0.0,
            cpu_s=round(cpu_s, 3),
            response_ms=merged(self.response_s).quantiles(),
            receipt_ms=merged(self.receipt_s).quantiles(),
            networks=self.networks() if final else {},
            failure=failure,
        )

    def file(self) -> LoadLedgerFile:
        """The ledger by message."""
        open_ids = {message_id.decode("ascii", "replace"): token for message_id, token in self.open.items()}
        return LoadLedgerFile(
            first=self.first,
            states=bytes(self.states),
            outcomes=bytes(self.outcomes),
            open=open_ids,
            sent_s=[] if self._sent is None else self._sent.tolist(),
        )


class PartLedger(LoadLedger):
    """The ledger of long messages that the application submits in parts.

    In place of tokens it has numbers of parts, and several of them go to one subscriber: what is finished is
    known by its id alone.
    """

    def __init__(self, first: int, count: int, *, fail_every: int = 0, timed: bool = False) -> None:
        super().__init__(first, count, fail_every=fail_every, timed=timed)
        self._numbers: dict[bytes, int] = {}

    def answered(self, token: int, command_status: int, message_id: bytes, now: float) -> None:
        super().answered(token, command_status, message_id, now)
        if command_status == _ROK:
            self._numbers[message_id] = token

    def _must_fail(self, token: int) -> bool:
        return part_fails(token, self._fail_every)

    def _finished(self, message_id: bytes, subscriber: bytes) -> int:
        return self._numbers.get(message_id, -1)

    def _unanswered(self, subscriber: bytes) -> int:
        """The first part to that number that has neither response nor outcome; -1 if there is none."""
        token = token_of_destination(subscriber)
        for sequence in range(1, parts_of(token) + 1 if token >= 0 else 1):
            place = part_number(token, sequence) - self.first
            if (
                0 <= place < len(self.states)
                and self.states[place] in (UNANSWERED, SENT)
                and not self.outcomes[place]
            ):
                return place
        return -1


def _state_name(state: int) -> str:
    return "other" if state == OTHER_STATE else MessageState(state).name.lower()
