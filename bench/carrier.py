"""A simulated carrier: an SMPP server that takes messages and sends receipts, as fast or badly as it is told.

It shares one core with the load generator and must not be what is measured, so the two PDUs that make up
nearly all traffic are read in place and answered from prepared octets (bench/carrier_session.py); whatever
else comes goes through the codec.  All work of a chunk leaves in one write, and nothing has a task or a timer
of its own.

A receipt is kept until it is answered.  When the session it left on is lost, or none is bound, it goes out
again after the next bind, as a message centre does.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from time import monotonic, process_time
from typing import Any, Final

import msgspec
import uvloop

from bench.carrier_commands import (
    Command,
    Cut,
    Deliver,
    LongReplies,
    LongReply,
    Mark,
    Reply,
    Report,
    SetRate,
    Stall,
    read_command,
)
from bench.carrier_ledger import UNMAPPED, CarrierLedger, CarrierReport
from bench.carrier_options import CarrierOptions
from bench.carrier_session import RAW, CarrierSession, Delivery, Stat
from bench.dialogue import calm_collector, listen, say
from bench.message_ids import id_writer
from bench.messages import part_fails, part_number, parts_of
from bench.options import parsed
from bench.rate_limit import RateLimit
from bench.replies import part_bodies, reply_body, shuffled_parts
from bench.shares import Draw, happens
from bench.wheel import Wheel
from protocol.smpp.codes import CommandStatus, MessageState, status_name
from protocol.smpp.receipt import message_state_of

_ROK: Final = int(CommandStatus.ESME_ROK)

# What a carrier writes into `err` beside its own words.
_ERRORS: Final = {b"DELIVRD": b"000", b"UNDELIV": b"001", b"EXPIRED": b"002", b"REJECTD": b"003"}
_OTHER_ERROR: Final = b"099"

# Long replies leave in groups, so far apart that receipts leave between them: some 3,000 replies a second.
_GROUP_S: Final = 0.02


def _stat(word: bytes, *, in_text: bool) -> Stat:
    """in_text: whether receipts have a text, which alone can tell a carrier's own code."""
    state = message_state_of(word)
    delivered = b"001" if state == MessageState.DELIVERED else b"000"
    end = b" stat:%b err:%b text:" % (word, _ERRORS.get(word, _OTHER_ERROR))
    # A code of the carrier's own is its reason for not delivering.
    tlv_state = state or int(MessageState.UNDELIVERABLE)
    return Stat(word, (state or UNMAPPED) if in_text else tlv_state, delivered, end, tlv_state)


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
        in_text = options.receipt_form != "tlv"
        stats = {_stat(word.encode(), in_text=in_text): share for word, share in options.stats.items()}
        self.stats: Draw[Stat] = Draw(stats, _stat(b"DELIVRD", in_text=in_text), seed + 1)
        self._failed = _stat(b"UNDELIV", in_text=in_text)
        self.unanswered = happens(options.unanswered, seed + 2)
        self.receipts_first = happens(options.receipts_first, seed + 3)
        self.duplicates = happens(options.duplicates, seed + 4)
        self.replies = happens(options.replies, seed + 5)
        self._even = not (
            any((*refusals.values(), options.unanswered, options.receipts_first, options.watched))
            or any((options.duplicates, options.replies, options.cut_after_pdus))
            or any((options.response_jitter_s, options.receipt_jitter_s, options.kept_max))
        )
        self.plain = self._even and not options.rate_per_s
        """Whether every message gets its response and its receipt alike: most carriers of a benchmark."""
        self._rate_limit = RateLimit(options.rate_per_s, options.rate_burst, monotonic())
        self.stalled = False
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
        self._send_replies([reply_body(subscriber, destination, text.encode("utf-16-be"))])

    def long_reply(self, command: LongReply) -> None:
        """A subscriber sends a message in parts. ValueError for what cannot be cut so, and no such part."""
        bodies = part_bodies(
            command.subscriber.encode(),
            command.destination.encode(),
            command.text,
            command.reference,
            command.width,
        )
        if not all(1 <= sequence <= len(bodies) for sequence in command.order):
            raise ValueError(f"order {command.order}, but the text makes {len(bodies)} parts")
        self._send_replies([bodies[sequence - 1] for sequence in command.order])

    def long_replies(self, groups: Iterator[list[bytes]]) -> None:
        """Send the parts of the next group, each on another session, and the others after it."""
        group = next(groups, None)
        if group is None:
            return
        for body in group:
            self._send_replies([body])
        self.wheel.after(_GROUP_S, self.long_replies, groups)

    def _send_replies(self, bodies: list[bytes]) -> None:
        self.ledger.replies_sent += len(bodies)
        self.deliver((None, [(-1, False, body) for body in bodies]))

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

    def stall(self, *, stalled: bool) -> int:
        """Go dark or come back, as `carrier_commands.Stall` has it; returns how many sessions there are."""
        self.stalled = stalled
        for session in list(self.sessions):
            if stalled:
                session.stall()
            else:
                session.unstall()
        return len(self.sessions)

    def set_rate(self, rate_per_s: int, burst: int, now: float) -> None:
        """Throttle above another rate from now on; 0: never. burst 0: one second's worth."""
        self._rate_limit.set(rate_per_s, burst, now)
        self.plain = self._even and not rate_per_s

    # -- what a message gets --------------------------------------------------------------------------------

    def judge(self, now: float) -> int:
        """The status that the next message deserves; throttled above the rate, the burst too."""
        if not self._rate_limit.allows(now):
            return int(CommandStatus.ESME_RTHROTTLED)
        return self.refusals.draw()

    def stat_of_parts(self, token: int, sequences: Sequence[int], drawn: Stat) -> Stat:
        """What the receipt says of these parts of message `token`: that they failed, or what was drawn."""
        every = self.options.fail_every
        failed = any(part_fails(part_number(token, sequence), every) for sequence in sequences)
        return self._failed if failed else drawn

    def watches(self, source: bytes, priority_flag: int) -> bool:
        """Whether the message is one that the report says more of."""
        watched = self.options.watched.encode()
        return watched in (source, b"%d" % priority_flag)

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
            delivered_raw=_by_name(ledger.delivered_raw),
            watched=ledger.watched,
            kept=[frame.hex() for frame in ledger.kept],
            taken=bytes(ledger.taken[:used]),
            parts=bytes(ledger.parts).rstrip(b"\0"),
            outcome=bytes(ledger.outcome[:used]),
            acknowledged=bytes(ledger.acknowledged[:used]),
        )


def _by_name(counts: Counter[int]) -> dict[str, int]:
    return {status_name(status): count for status, count in sorted(counts.items())}


class Simulator:
    """Several carriers in one process."""

    def __init__(self, options: list[CarrierOptions], loop: asyncio.AbstractEventLoop) -> None:
        self.wheel = Wheel(loop)
        self.carriers = {each.name: Carrier(each, self.wheel) for each in options}
        if len(self.carriers) != len(options):
            raise ValueError("two carriers have the same name")
        self._marked_at_s = monotonic()

    async def start(self) -> None:
        """All carriers listen; OSError if a port is taken."""
        for carrier in self.carriers.values():
            await carrier.start()

    async def stop(self) -> None:
        """All carriers have closed."""
        self.wheel.stop()
        for carrier in self.carriers.values():
            await carrier.stop()

    def ports(self) -> dict[str, int]:
        return {name: carrier.port for name, carrier in self.carriers.items()}

    def report(self) -> dict[str, CarrierReport]:
        return {name: carrier.report() for name, carrier in self.carriers.items()}

    def command(self, line: dict[str, Any]) -> dict[str, Any]:
        """Carry out one line of bench/carrier_commands.py and give its answer, an event of the same name."""
        try:
            return {"event": line.get("command"), **self._carry_out(read_command(line))}
        except (msgspec.ValidationError, ValueError) as error:
            return {"event": "error", "error": f"{error}: {line}"}

    def _carry_out(self, command: Command) -> dict[str, Any]:
        """The rest of the answer. ValueError for what cannot be done, and then nothing has been."""
        match command:
            case Report():
                return {"carriers": self.report(), "cpu_s": process_time()}
            case Mark():
                now = monotonic()
                last, self._marked_at_s = self._marked_at_s, now
                phases = {name: carrier.ledger.mark() for name, carrier in self.carriers.items()}
                return {"elapsed_s": now - last, "carriers": phases}
            case Cut(carrier=""):
                return {"sessions": sum(each.cut() for each in self.carriers.values())}
        if command.carrier not in self.carriers:
            raise ValueError(f"no such carrier; there are {', '.join(self.carriers)}")
        carrier = self.carriers[command.carrier]
        match command:
            case Cut():
                return {"sessions": carrier.cut()}
            case SetRate(rate_per_s=rate_per_s, burst=burst):
                carrier.set_rate(rate_per_s, burst, monotonic())
            case Stall(stalled=stalled):
                return {"sessions": carrier.stall(stalled=stalled)}
            case Reply(subscriber=subscriber, destination=destination, text=text):
                carrier.reply(subscriber.encode(), destination.encode(), text)
            case LongReply():
                carrier.long_reply(command)
            case LongReplies(destination=destination, first=first, count=count, seed=seed):
                numbers = range(first, first + count)
                carrier.long_replies(shuffled_parts(numbers, destination.encode(), seed))
                return {"parts": sum(map(parts_of, numbers))}
            case Deliver(body=body):
                carrier.deliver((None, [(RAW, False, bytes.fromhex(body))]))
        return {}


async def _serve(options: list[CarrierOptions]) -> None:
    loop = asyncio.get_running_loop()
    simulator = Simulator(options, loop)
    await simulator.start()
    stopped = asyncio.Event()
    listen(loop, lambda line: say(simulator.command(line)), stopped.set)
    say({"event": "listening", "ports": simulator.ports()})
    calm_collector()
    await stopped.wait()
    say({"event": "result", "carriers": simulator.report(), "cpu_s": process_time()})
    await simulator.stop()


def run(arguments: list[str]) -> int:
    """`python -m bench carrier JSON...`: a CarrierOptions each.  Ends at SIGTERM or the end of its input."""
    options = parsed("carrier", CarrierOptions, arguments)
    uvloop.run(_serve(options or [CarrierOptions(name="carrier", port=2776)]))
    return 0
