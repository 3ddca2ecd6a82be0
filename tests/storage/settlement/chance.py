"""Histories by chance that keep to what must hold between records, for the auditor and the product to read.

Each part has a state of its own and takes a step that is open to it, at a time that is drawn; all parts run
side by side, on one clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from storage.records import (
    Accepted,
    Assembled,
    Configured,
    Denied,
    Dispatched,
    LinkEvent,
    Matched,
    Noted,
    OperatorAction,
    OptedOut,
    Outcome,
    Ported,
    Postponed,
    Receipt,
    Record,
    Refused,
    Replaced,
    Reply,
    Reported,
    Sent,
    SessionEvent,
    Uncertain,
    Withdrawn,
)
from storage.settlement.calendar import moment
from tests.storage.settlement.story import Story, at

SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR
ACCOUNTS: Final = ("hukou", "oa", "jiaojing", "nobody")
CARRIERS: Final = ("cmcc", "cucc", "ctcc", "cbn", "stranger")
NETWORKS: Final = ("mobile", "unicom", "telecom", "broadnet", "")
CATEGORIES: Final = ("document", "office", "convenience", "")
EDGES: Final = ("2026-06-01", "2026-07-01", "2026-09-01", "2026-12-01", "2026-12-04")
STATUSES: Final = (0x45, 0x58, 0x0B, 0x14, 0x08, 0x65, 0x13, 0x400, 0x4FF, 0x1234, 0xC4, 0x103, 0xFF, 0x0E)

# What carriers write: the state, `stat` and `err`.
RECEIPTS: Final = (
    (5, b"UNDELIV", b"000"),
    (5, b"UNDELIV", b"601"),
    (5, b"UNDELIV", b"1"),
    (5, b"UNDELIV", b"005"),
    (5, b"UNDELIV", b"27"),
    (5, b"undeliv", b"0069"),
    (5, b"UNDELIV", b"MK:0005"),
    (5, b"UNDELIV", b"ID:0318"),
    (5, b"MK:0001", b"000"),
    (5, b"MK00001", b"000"),
    (5, b"MK0012", b""),
    (5, b"mk:0024 ", b"001"),
    (5, b"MK:9999", b"601"),
    (3, b"MI:0013", b"000"),
    (3, b"EXPIRED", b"000"),
    (3, b"EXPIRED", b"760"),
    (3, b"MI:0000", b"0"),
    (8, b"REJECTD", b"000"),
    (8, b"REJECTD", b"706"),
    (8, b"MN:0044", b"\0\0"),
    (8, b"KEYWORD", b"000"),
    (8, b"MBBLACK", b"DB:0145"),
    (4, b"DELETED", b""),
    (4, b"MJ:0003", b"12"),
    (6, b"ACCEPTD", b"000"),
    (6, b"ML:0005", b"000"),
    (5, b"2:-75", b"0"),
    (5, b"2:27", b"000"),
    (5, b"SGIP:56", b"000"),
    (5, b"SGIP:-10", b"3"),
    (5, b"UNDELIV_601", b"000"),
    (5, b"UNDELIV_003", b"000"),
    (5, b"UNDELIV_27", b"0"),
    (5, b"WHATEVER", b"zzz"),
    (5, b"", b"000"),
    (5, b"", b"999"),
    (5, b"\xff\xfe", b"\xe9"),
    (5, b"CB:0007", b"000"),
    (5, b"DB:0142", b"000"),
    (5, b"NP:0001", b"000"),
    (5, b"IC:0001", b"000"),
    (5, b"SKIPPED", b"000"),
    (5, b"ENROUTE", b"869"),
    (5, b"DELIVRD", b"000"),
    (5, b"DELIVRD", b"SGIP:29"),
    (5, b"UNKNOWN", b"055"),
    (0, b"XX", b"010"),
    (0, b"", b""),
    (1, b"ENROUTE", b"000"),
)


@dataclass
class Try:
    """An attempt, as the one who sent it remembers it."""

    carrier: str
    link: int
    open: bool = True  # neither answered nor withdrawn


@dataclass
class Part:
    """Where a part stands."""

    number: int
    account: str
    carrier: str
    tries: list[Try] = field(default_factory=list)
    free: bool = True  # it may be dispatched
    refused: bool = False  # by the carrier that had it last, but not for good
    open_receipt: bool = False  # a receipt that ended nothing came since the last dispatch
    answered: bool = False
    held: bool = False  # a carrier accepted it: only what is postponed leaves again
    ended: bool = False
    receipts: list[int] = field(default_factory=list)  # of it, but matched to nothing yet


class Chance:
    """One history."""

    def __init__(self, seed: int, story: Story) -> None:
        self.random = Random(seed)
        self.story = story
        self.begins_us = story.now_us
        self.now_us = story.now_us
        ends = ("2026-12-02 10:00:00", "2026-12-15", "2026-12-15", "2027-01-20")
        self.ends_us = at(self.random.choice(ends))
        self.agenda: list[tuple[int, int, Callable[[], None]]] = []
        self.turn = 0
        self.next_index = story.write(self.line()) + 1
        self.batch: list[Record] = []
        self.reported: list[int] = []
        self.entries: dict[str, list[int]] = {}

    # ---- The clock, and what is written ----

    def later(self, time_us: int, act: Callable[[], None]) -> None:
        """Do this then, if the history goes on so long."""
        if time_us < self.ends_us:
            self.turn += 1
            heapq.heappush(self.agenda, (time_us, self.turn, act))

    def wait(self, act: Callable[[], None], *, at_most_us: int = 5 * DAY) -> None:
        """Do this after some time: mostly soon, at times after days."""
        span = self.random.choice((SECOND, 60 * SECOND, 3600 * SECOND, at_most_us))
        self.later(self.now_us + self.random.randrange(span), act)

    def write(self, record: Record) -> int:
        """One record more of the batch; returns its index."""
        self.batch.append(record)
        self.next_index += 1
        return self.next_index - 1

    def flush(self) -> None:
        """What was gathered becomes durable."""
        if self.batch:
            self.story.now_us = self.now_us
            self.story.write(*self.batch)
            self.batch = []

    def run(self, parts: int) -> None:
        """Tell it all, and sign it now and then."""
        for _ in range(parts):
            self.later(self.moment(), self.begin)
        for _ in range(parts // 3):
            other = self.random.choice((self.answer, self.deny, self.reconfigure, self.note))
            self.later(self.moment(), other)
        for _ in range(parts // 6):
            self.later(self.moment(), self.chatter)
        for text in ("2026-06-01 00:00:01", "2026-12-01", "2026-12-03 23:59:59", "2026-12-04", "2026-12-08"):
            self.later(at(text), self.sign)
        self.later(self.moment(), self.sign)
        while self.agenda:
            self.now_us, _, act = heapq.heappop(self.agenda)
            act()
            if self.random.random() < 0.35:
                self.flush()
        self.sign()

    def sign(self) -> None:
        """All that is durable so far."""
        self.flush()
        self.story.now_us = self.now_us
        self.story.sign()

    def moment(self) -> int:
        """A time of the history: often close to the end of a month."""
        if self.random.random() < 0.5:
            edge = at(self.random.choice(EDGES))
            return edge + self.random.choice((-1, 0, 1, self.random.randrange(-60 * SECOND, 60 * SECOND)))
        return self.random.randrange(self.begins_us, at("2026-12-04"))

    # ---- Parts ----

    def begin(self) -> None:
        """A message: of one part, or cut into several."""
        random = self.random
        account, carrier = random.choice(ACCOUNTS), random.choice(CARRIERS)
        count = random.choice((1, 1, 1, 2, 3, 4))
        first = self.next_index if count > 1 else 0
        parts = []
        for place in range(count):
            number = self.write(
                Accepted(
                    self.now_us,
                    account,
                    1,
                    first if place else 0,
                    carrier,
                    b"n" * 16,
                    random.choice((1, 1, 2, 3)) if count == 1 else 1,
                    1,
                    0,
                    0,
                    b"",
                    first=first,
                    cut_into=count,
                    network=random.choice(NETWORKS),
                )
            )
            parts.append(Part(number, account, carrier))
        if random.random() < 0.7:
            self.dispatch(parts)
        for part in parts:
            self.wait(lambda part=part: self.step(part))  # type: ignore[misc]  # each its own

    def dispatch(self, parts: Sequence[Part]) -> None:
        """They leave, over one or two links."""
        intents: dict[tuple[str, int], list[int]] = {}
        for part in parts:
            carrier = part.carrier if self.random.random() < 0.7 else self.random.choice(CARRIERS)
            link = self.random.randrange(2)
            part.tries.append(Try(carrier, link))
            part.free = part.answered = part.open_receipt = part.refused = False
            intents.setdefault((carrier, link), []).append(part.number)
        self.write(Dispatched(self.now_us, [(*key, numbers) for key, numbers in intents.items()]))

    def step(self, part: Part) -> None:
        """One thing that may happen to it now."""
        ways: list[Callable[[Part], None]] = []
        if part.tries:
            ways += [self.receipt, self.receipt, self.receipt_of_nothing]
        is_open = any(attempt.open for attempt in part.tries)
        if is_open:
            ways += [self.sent, self.sent, self.moot]
        if part.receipts:
            ways += [self.match, self.match]
        if not part.ended:
            ways += [self.outcome, self.replace]
            if part.tries:
                if is_open:
                    ways += [self.refuse, self.in_doubt]
                if part.tries[-1].open and not part.answered:
                    ways += [self.uncertain, self.uncertain, self.withdraw, self.withdraw]
                if part.refused or part.open_receipt:
                    ways += [self.postpone]
            if part.free:
                ways += [lambda part: self.dispatch([part])] * 4
        if ways:
            self.random.choice(ways)(part)
        if self.random.random() < (0.25 if part.ended else 0.8):
            self.wait(lambda: self.step(part))

    def of_any_try(self, part: Part) -> tuple[str, int]:
        """The carrier and link of an attempt: mostly of the last."""
        attempt = part.tries[-1] if self.random.random() < 0.6 else self.random.choice(part.tries)
        return attempt.carrier, attempt.link

    def answered(self, part: Part) -> Try:
        """An attempt that is answered now, and by that no more: mostly the last."""
        still = [attempt for attempt in part.tries if attempt.open]
        attempt = still[-1] if self.random.random() < 0.6 else self.random.choice(still)
        attempt.open = False
        return attempt

    def sent(self, part: Part) -> None:
        attempt = self.answered(part)
        part.answered = part.held = True
        part.free = False
        named = attempt.carrier if self.random.random() < 0.5 else ""
        self.write(Sent(part.number, self.now_us, attempt.link, b"%d" % part.number, named))

    def refuse(self, part: Part) -> None:
        """By the carrier: for good, or the part is sent again."""
        final = self.random.random() < 0.5
        part.ended, part.free, part.refused = final, not final and not part.held, not final
        part.answered = True
        link = self.answered(part).link
        self.reported.append(
            self.write(Refused(part.number, self.now_us, link, self.random.choice(STATUSES), final))
        )

    def moot(self, part: Part) -> None:
        link = self.answered(part).link
        self.write(Refused(part.number, self.now_us, link, self.random.choice(STATUSES), False, moot=True))

    def in_doubt(self, part: Part) -> None:
        link = self.answered(part).link
        part.free, part.answered = not part.held, True
        self.write(Refused(part.number, self.now_us, link, 0x45, False, in_doubt=True))

    def uncertain(self, part: Part) -> None:
        part.free = not part.held
        part.answered = True
        self.write(Uncertain(self.now_us, [part.number], part.tries[-1].link, "link lost"))

    def withdraw(self, part: Part) -> None:
        part.free = not part.held
        part.answered, part.tries[-1].open = True, False
        self.write(Withdrawn(self.now_us, [part.number], "link lost before the write"))

    def received(self, part: Part, number: int, *, final: bool) -> int:
        """A receipt, of one of the carriers that had it."""
        state, stat, err = self.random.choice(RECEIPTS)
        if self.random.random() < 0.5:
            state, stat, err = 2, b"DELIVRD", b"000"
        elif self.random.random() < 0.1:
            state, stat, err = 7, b"UNKNOWN", b"000"
        carrier, link = self.of_any_try(part)
        return self.write(
            Receipt(
                self.now_us, number, carrier, link, b"id", state, stat, err, b"", b"", final, b"n" * 16, b""
            )
        )

    def ends(self, part: Part) -> bool:
        """Whether what is told ends the part."""
        if part.ended or self.random.random() < 0.3:
            part.open_receipt = True
            return False
        part.ended = True
        return True

    def receipt(self, part: Part) -> None:
        final = self.ends(part)
        self.reported.append(self.received(part, part.number, final=final))

    def receipt_of_nothing(self, part: Part) -> None:
        part.receipts.append(self.received(part, 0, final=False))

    def match(self, part: Part) -> None:
        receipt = part.receipts.pop(0)
        self.reported.append(
            self.write(Matched(self.now_us, receipt, part.number, "derived", self.ends(part)))
        )

    def postpone(self, part: Part) -> None:
        part.free, part.held, part.answered = True, False, True
        carrier = self.random.choice(CARRIERS)
        self.write(Postponed(part.number, self.now_us, self.now_us + SECOND, carrier, "later"))

    def outcome(self, part: Part) -> None:
        """The gateway, a person or the application ends it."""
        if self.random.random() < 0.5:
            return
        source = self.random.choice(("gateway", "gateway", "operator", "application"))
        state = 4 if source == "application" else self.random.choice((3, 3, 5, 8, 4, 7, 2))
        part.ended, part.free = True, False
        self.reported.append(self.write(Outcome(part.number, self.now_us, state, b"", source, "ended", "")))

    def replace(self, part: Part) -> None:
        self.write(Replaced(part.number, self.now_us, b"", parts=self.random.choice((1, 2, 4))))

    # ---- Everything else ----

    def answer(self) -> None:
        """Replies: single, or in parts that are put together, out of order and some of them twice."""
        random = self.random
        account, carrier = random.choice((*ACCOUNTS, "")), random.choice(CARRIERS)
        count = random.choice((1, 1, 2, 3))

        def reply() -> int:
            return self.write(Reply(self.now_us, account, carrier, 0, b"n" * 16, b"", "prefix", count > 1))

        if count == 1:
            self.reported.append(reply())
            return
        replies: list[int] = []
        repeats: list[int] = []

        def part() -> None:
            replies.append(reply())

        def again() -> None:
            repeats.append(reply())

        def join() -> None:
            random.shuffle(replies)
            if replies:
                missing = count - len(replies)
                index = self.write(
                    Assembled(self.now_us, account, [*replies, *repeats], missing, len(repeats))
                )
                self.reported.append(index)

        end_us = self.now_us + random.choice((SECOND, 3600 * SECOND, 2 * DAY))
        part()
        for _ in range(count - 1):
            self.later(random.randrange(self.now_us, end_us), part)
        for _ in range(random.choice((0, 0, 1, 2))):
            self.later(random.randrange(self.now_us, end_us), again)
        self.later(end_us, join)

    def deny(self) -> None:
        count = self.random.choice((1, 1, 5, 40))
        account = self.random.choice(ACCOUNTS)
        self.write(Denied(self.now_us, account, 1, 0x58, "rate", count, b"", b""))

    def line(self) -> Configured:
        """Categories and networks, some of them left out."""
        random = self.random
        accounts = [(name, random.choice(CATEGORIES)) for name in ACCOUNTS if random.random() < 0.8]
        networks = {"cmcc": "mobile", "cucc": "unicom", "ctcc": "telecom", "cbn": "broadnet"}
        if random.random() < 0.3:
            names = list(networks)
            random.shuffle(names)
            networks = dict(zip(names, networks.values(), strict=True))
        carriers = [(name, network) for name, network in networks.items() if random.random() < 0.9]
        return Configured(self.now_us, accounts, carriers)

    def reconfigure(self) -> None:
        if self.random.random() < 0.4:
            self.write(self.line())

    def note(self) -> None:
        """A line in a register: of a new entry, or of one that is open."""
        random = self.random
        register = random.choice(("complaint", "complaint", "complaint", "force majeure", "maintenance"))
        entries = self.entries.setdefault(register, [])
        entry = random.choice(entries) if entries and random.random() < 0.4 else 0
        at_us = self.now_us - random.choice((0, 0, DAY, 40 * DAY, -DAY))
        facts = []
        if register == "complaint":
            event = random.choice(("closed", "attributed", "opened", "withdrawn")) if entry else "opened"
            if random.random() < 0.7:
                facts.append(("attributed", random.choice("ab")))
        else:
            further = ("ended", "ended", "began", "proof", "proof", "withdrawn")
            event = random.choice(further if entry else ("began", "opened"))
            if register == "maintenance" and not entry and random.random() < 0.9:
                begins = at_us + random.choice((0, HOUR, 72 * HOUR, 80 * HOUR))
                ends = begins + random.choice((HOUR, 10 * DAY))
                facts += [("from", moment(begins)), ("to", moment(ends))]
        index = self.write(Noted(self.now_us, register, entry, event, at_us, "zhang", facts))
        if not entry:
            entries.append(index)
            if register != "complaint":
                self.wait(lambda: self.finish(register, index), at_most_us=30 * DAY)

    def finish(self, register: str, entry: int) -> None:
        """It is over."""
        self.write(Noted(self.now_us, register, entry, "ended", self.now_us, "zhang", []))

    def chatter(self) -> None:
        """What no statement counts."""
        time_us = self.now_us
        records: list[Record] = [
            LinkEvent(time_us, "cmcc", 0, "bound", ""),
            SessionEvent(time_us, "hukou", 1, "10.0.0.1", "bound", ""),
            OperatorAction(time_us, "zhang", "pause", "test", []),
            Ported(time_us, b"n" * 16, "unicom", "receipt", 0),
            OptedOut(time_us, b"n" * 16, "hukou", True, 0),
        ]
        if self.reported:
            records.append(Reported(self.random.choice(self.reported), time_us, "hukou", 1, 0))
        self.write(self.random.choice(records))
