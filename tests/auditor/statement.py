"""The statement from raw records, by statement-format.md alone."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from tests.auditor import causes, contract, months
from tests.auditor.contract import six_decimals
from tests.auditor.records import Record

STATES = ("delivered", "failed", "unknown", "uncertain", "waiting", "cancelled")
WORST_FIRST = ("failed", "uncertain", "unknown", "waiting", "cancelled", "delivered")
COUNTS = ("accepted", "delivered", "submitted")
YUAN = 10_000
TERMINAL = ("terminal", "invalid")


@dataclass
class Attempt:
    """A part was dispatched."""

    index: int
    carrier: str
    link: int
    known: bool
    withdrawn: bool = False
    answer: Record | None = None


@dataclass
class Part:
    """What the records say of a part."""

    accepted: Record
    chargeable: int
    attempts: list[Attempt] = field(default_factory=list)
    end: Record | None = None
    end_known: bool = False
    sent: bool = False
    late: int = 0  # known receipts that came when it had ended


@dataclass(frozen=True)
class Unit:
    """Units in a line: the line, when they were accepted, how many, and what became of them."""

    line: tuple[str, str, str, str, str]
    time_us: int
    count: int
    state: str
    sent: bool
    cause: str = ""


@dataclass
class Line:
    """Figures of a line, but for those that follow from others."""

    figures: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)


class Setting:
    """What the Configured records say, at any index. What one does not name stays as it was."""

    def __init__(self) -> None:
        self.accounts: dict[str, list[tuple[int, str]]] = {}
        self.carriers: dict[str, list[tuple[int, str]]] = {}

    def take(self, record: Record) -> None:
        """From here on."""
        for name, said in (("accounts", self.accounts), ("carriers", self.carriers)):
            for account, value in record[name]:
                said.setdefault(account, []).append((record.index, value))

    def category(self, account: str, index: int) -> str:
        """Of an account, by the last Configured before the index that names it."""
        return before(self.accounts.get(account, []), index)

    def network(self, account: str, index: int) -> str:
        """Of a carrier account, by the last Configured before the index that names it."""
        return before(self.carriers.get(account, []), index)


def before(said: Sequence[tuple[int, str]], index: int) -> str:
    """The last that was said before the index."""
    at = bisect_left(said, (index, ""))
    return said[at - 1][1] if at else ""


@dataclass(frozen=True)
class Cut:
    """Which records count, and what was known."""

    records: int
    known_before_us: int

    def known(self, record: Record) -> bool:
        """Whether the record is known."""
        return record.index <= self.records and record.time_us < self.known_before_us


class Projection:
    """One walk through the records of the cut, and all figures from it."""

    def __init__(
        self, records: Sequence[Record], cut: Cut, terms: contract.Terms, rows: Sequence[causes.Row]
    ) -> None:
        self.cut = cut
        self.terms = terms
        self.rows = rows
        self.setting = Setting()
        self.parts: dict[int, Part] = {}
        self.receipts: dict[int, Record] = {}
        self.replies: dict[int, Record] = {}
        self.assembled: list[Record] = []
        self.denied: list[Record] = []
        self.notes: list[Record] = []
        for record in records:
            if record.index <= cut.records:
                self.take(record)

    # ---- What the records say ----

    def take(self, record: Record) -> None:
        """One more record of the cut."""
        known = self.cut.known(record)
        match record.kind:
            case "Configured":
                self.setting.take(record)
            case "Accepted":
                self.parts[record.index] = Part(record, record["parts"])
            case "Replaced" if known:
                self.parts[record["number"]].chargeable = record["parts"]
            case "Dispatched":
                for carrier, link, numbers in record["intents"]:
                    for number in numbers:
                        attempt = Attempt(record.index, carrier, link, known)
                        self.parts[number].attempts.append(attempt)
            case "Withdrawn" if known:
                for number in record["numbers"]:
                    if self.parts[number].attempts:
                        self.parts[number].attempts[-1].withdrawn = True
            case "Sent" if known:
                self.parts[record["number"]].sent = True
                self.answer(record, record["carrier"])
            case "Refused":
                if known:
                    self.answer(record, "")
                self.ends(record, record["number"], known)
            case "Receipt":
                self.receipts[record.index] = record
                if record["number"]:
                    self.receive(record, known)
            case "Matched":
                self.receive(record, known and self.cut.known(self.receipts[record["receipt"]]))
            case "Outcome":
                self.ends(record, record["number"], known, final=True)
            case "Reply":
                self.replies[record.index] = record
            case "Assembled":
                self.assembled.append(record)
            case "Denied":
                self.denied.append(record)
            case "Noted" if known:
                self.notes.append(record)

    def receive(self, record: Record, known: bool) -> None:
        """A receipt of a part: one that came when it had ended is a duplicate."""
        part = self.parts[record["number"]]
        if part.end is not None and known:
            part.late += 1
        self.ends(record, record["number"], self.cut.known(record))

    def ends(self, record: Record, number: int, known: bool, *, final: bool = False) -> None:
        """Perhaps the record ends the part; the first that does, counts."""
        part = self.parts[number]
        if part.end is None and (final or record["final"]):
            part.end, part.end_known = record, known

    def answer(self, record: Record, carrier: str) -> None:
        """A Sent or Refused: find the attempt that it answers."""
        attempts = self.parts[record["number"]].attempts
        fitting = [
            attempt
            for attempt in attempts
            if attempt.link == record["link"]
            and not attempt.withdrawn
            and (not carrier or attempt.carrier == carrier)
        ]
        unanswered = [attempt for attempt in fitting if attempt.answer is None]
        for candidates in (unanswered, fitting, attempts):
            if candidates:
                candidates[-1].answer = record
                return

    # ---- What became of a part, and whose it is ----

    def state(self, part: Part) -> str:
        """What became of it."""
        end = part.end
        if end is not None and part.end_known:
            if end.kind == "Refused":
                return "failed"
            message_state = (
                end["message_state"] if end.kind != "Matched" else self.receipt(end)["message_state"]
            )
            if end.kind == "Outcome" and message_state == 4 and end["source"] == "application":
                return "cancelled"
            return {2: "delivered", 7: "unknown"}.get(message_state, "failed")
        if part.sent:
            return "unknown"
        tried = [attempt for attempt in part.attempts if attempt.known and not attempt.withdrawn]
        if any(attempt.answer is None for attempt in tried):
            return "uncertain"
        return "waiting"

    def had(self, part: Part) -> bool:
        """Whether a carrier had it, as far as it is known."""
        ended = part.end is not None and part.end_known and part.end.kind in ("Receipt", "Matched")
        return part.sent or ended

    def receipt(self, end: Record) -> Record:
        """The Receipt by which a part ended."""
        return self.receipts[end["receipt"]] if end.kind == "Matched" else end

    def account_of(self, part: Part) -> tuple[str, str]:
        """The carrier account that had it, and the account's network."""
        end = part.end if part.end_known else None
        if end is None:
            tried = [attempt for attempt in part.attempts if attempt.known and not attempt.withdrawn]
            account = tried[-1].carrier if tried else part.accepted["carrier"]
            return account, self.setting.network(account, self.cut.records + 1)
        if end.kind in ("Receipt", "Matched"):
            account = self.receipt(end)["carrier"]
            return account, self.setting.network(account, end.index)
        before = [attempt for attempt in part.attempts if attempt.index < end.index]
        account = before[-1].carrier if before else part.accepted["carrier"]
        index = before[-1].index if before else part.accepted.index
        return account, self.setting.network(account, index)

    def cause(self, part: Part) -> str:
        """Why it failed."""
        end = part.end
        assert end is not None
        if end.kind == "Outcome":
            return "expired" if end["message_state"] == 3 else "gateway"
        account, network = self.account_of(part)
        if end.kind == "Refused":
            return causes.of_refused(self.rows, account, network, end["command_status"])
        receipt = self.receipt(end)
        return causes.of_receipt(
            self.rows, account, network, receipt["message_state"], receipt["stat"], receipt["err"]
        )

    def line_of(self, part: Part) -> tuple[str, str, str, str, str]:
        """The line in which a part stands."""
        accepted = part.accepted
        if self.terms.recon["carrier_basis"] == "prefix":
            carrier = accepted["network"]
        else:
            carrier = self.account_of(part)[1]
        account = accepted["account"]
        category = self.setting.category(account, accepted.index)
        return months.month_of(accepted.time_us), "mt", carrier, account, category

    # ---- Units ----

    def units_of_parts(self) -> Iterable[Unit]:
        """The units of what was sent."""
        by_message = self.terms.billing["unit"] == "message"
        groups: dict[int, list[Part]] = {}
        for number, part in self.parts.items():
            group = number
            if by_message and part.accepted["cut_into"]:
                group = part.accepted["first"] or number
            groups.setdefault(group, []).append(part)
        for members in groups.values():
            worst = min(members, key=lambda part: WORST_FIRST.index(self.state(part)))
            state = self.state(worst)
            yield Unit(
                self.line_of(worst),
                worst.accepted.time_us,
                1 if by_message else worst.chargeable,
                state,
                self.had(worst),
                self.cause(worst) if state == "failed" else "",
            )

    def line_of_reply(self, reply: Record) -> tuple[str, str, str, str, str]:
        """The line in which a reply stands."""
        carrier = self.setting.network(reply["carrier"], reply.index)
        category = self.setting.category(reply["account"], reply.index)
        return months.month_of(reply.time_us), "mo", carrier, reply["account"], category

    def split_replies(self) -> tuple[list[Record], list[Record]]:
        """Replies that are a unit, and those that repeat another."""
        repeats: set[int] = set()
        joined: set[int] = set()
        for record in self.assembled:
            count = len(record["replies"]) - record["repeats"]
            repeats.update(record["replies"][count:])
            if self.terms.billing["unit"] == "message":
                joined.update(sorted(record["replies"][:count])[1:])
        single = [
            reply for index, reply in self.replies.items() if index not in repeats and index not in joined
        ]
        return single, [self.replies[index] for index in sorted(repeats)]

    def units(self) -> list[Unit]:
        """All units, also of months outside the period."""
        replies = [
            Unit(self.line_of_reply(reply), reply.time_us, 1, "delivered", True)
            for reply in self.split_replies()[0]
        ]
        return [*self.units_of_parts(), *replies]

    def lines(self, units: Iterable[Unit]) -> dict[tuple[str, str, str, str, str], Line]:
        """The figures by line, also of months outside the period."""
        lines: dict[tuple[str, str, str, str, str], Line] = {}

        def at(key: tuple[str, str, str, str, str]) -> Line:
            return lines.setdefault(key, Line())

        for unit in units:
            line = at(unit.line)
            line.figures["accepted"] += unit.count
            line.figures[unit.state] += unit.count
            if unit.sent:
                line.figures["sent"] += unit.count
            if unit.cause:
                line.causes[unit.cause] += unit.count
        for part in self.parts.values():
            if part.late:
                at(self.line_of(part)).figures["duplicates"] += part.late
        for reply in self.split_replies()[1]:
            at(self.line_of_reply(reply)).figures["duplicates"] += 1
        for record in self.denied:
            category = self.setting.category(record["account"], record.index)
            key = (months.month_of(record.time_us), "mt", "", record["account"], category)
            at(key).figures["denied"] += record["count"]
        return lines

    # ---- What it costs ----

    def billable(self, figures: Counter[str], count_on: str) -> int:
        """How many units are to be paid for."""
        if count_on == "delivered":
            return figures["delivered"]
        count = figures["accepted"] + (figures["denied"] if count_on == "submitted" else 0)
        return count if self.terms.billing["cancelled"] == "charged" else count - figures["cancelled"]

    def price(self, direction: str) -> int:
        """Of one unit."""
        return self.terms.price_mt if direction == "mt" else self.terms.price_mo

    def row(self, figures: Counter[str], fails: Counter[str], direction: str) -> dict[str, Any]:
        """A line with what follows from its figures."""
        billable = self.billable(figures, self.terms.billing["count_on"])
        row: dict[str, Any] = {name: figures[name] for name in ("accepted", "denied", "sent", *STATES)}
        row["submitted"] = figures["accepted"] + figures["denied"]
        row["causes"] = {cause: count for cause, count in sorted(fails.items()) if count}
        row["duplicates"] = figures["duplicates"]
        row["billable"] = billable
        row["amount"] = billable * self.price(direction)
        return row


def total(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sums of all figures."""
    names = ("accepted", "denied", "submitted", "sent", *STATES, "duplicates", "billable", "amount")
    summed: dict[str, Any] = dict.fromkeys(names, 0)
    fails: Counter[str] = Counter()
    for row in rows:
        for name in names:
            summed[name] += row[name]
        fails.update(row["causes"])
    summed["causes"] = dict(sorted(fails.items()))
    return summed


# ---- Service level ----


@dataclass(frozen=True)
class Window:
    """A span of months that has a rate of its own."""

    months: tuple[str, ...]

    @property
    def first(self) -> date:
        """The first day."""
        return months.first_day(self.months[0])

    @property
    def last(self) -> date:
        """The last day."""
        return months.day_after_month(self.months[-1]) - timedelta(days=1)


@dataclass(frozen=True)
class Rate:
    """How much succeeded of how much."""

    successful: int
    total: int

    @property
    def failed(self) -> int:
        """The rest."""
        return self.total - self.successful

    def shown(self, name: str) -> dict[str, Any]:
        """As a statement shows it."""
        rate = six_decimals(Fraction(self.successful, self.total)) if self.total else ""
        return {"name": name, "successful": self.successful, "total": self.total, "rate": rate}


class Service:
    """Rates, complaints and reductions."""

    def __init__(self, projection: Projection, units: Sequence[Unit]) -> None:
        self.projection = projection
        self.units = units
        self.terms = projection.terms

    def withdrawn(self) -> set[int]:
        """The entries that were made by mistake."""
        return {
            record["entry"] or record.index
            for record in self.projection.notes
            if record["event"] == "withdrawn"
        }

    def entries(self, register: str) -> list[dict[str, Any]]:
        """Entries of a register that have begun and were not withdrawn, as a statement names them."""
        began: dict[int, int] = {}
        ended: dict[int, int] = {}
        proven: dict[int, int] = {}
        written: dict[int, int] = {}
        last: dict[int, int] = {}
        order: dict[int, None] = {}
        for record in self.projection.notes:
            if record["register"] != register:
                continue
            entry = record["entry"] or record.index
            order.setdefault(entry)
            last[entry] = record["time_us"]
            if record["event"] == "began":
                began.setdefault(entry, record["at_us"])
                written.setdefault(entry, record["time_us"])
            elif record["event"] == "ended":
                ended.setdefault(entry, record["at_us"])
            elif record["event"] == "proof":
                proven.setdefault(entry, record["at_us"])
        withdrawn = self.withdrawn()
        return [
            {
                "register": register,
                "entry": entry,
                "began_us": began[entry],
                "ended_us": ended.get(entry, 0),
                "proven_us": proven.get(entry, 0),
                "written_us": written[entry],
                "last_written_us": last[entry],
            }
            for entry in order
            if entry in began and entry not in withdrawn
            if entry not in ended or ended[entry] > began[entry]
        ]

    def planned(self) -> list[dict[str, Any]]:
        """Planned work as far as it was announced, and in time."""
        opened: dict[int, int] = {}
        announced: dict[int, tuple[int, int]] = {}
        for record in self.projection.notes:
            entry, facts = record["entry"] or record.index, dict(record["facts"])
            if record["event"] == "opened":
                opened.setdefault(entry, max(record["at_us"], record["time_us"]))
            if record["register"] == "maintenance" and "to" in facts:
                announced[entry] = months.time_us(facts["from"]), months.time_us(facts["to"])
        notice_us = self.terms.maintenance["min_notice_hours"] * months.HOUR_US
        found = []
        for each in self.entries("maintenance"):
            begin, end = announced.get(each["entry"], (0, 0))
            if begin - opened.get(each["entry"], 0) >= notice_us:
                begin, end = max(begin, each["began_us"]), min(end, each["ended_us"] or end)
                if begin < end:
                    found.append({**each, "began_us": begin, "ended_us": end})
        return found

    def exemptions(self) -> list[dict[str, Any]]:
        """Everything that the contract exempts."""
        found: list[dict[str, Any]] = []
        if self.terms.sla["exclude_planned"]:
            found += self.planned()
        if self.terms.sla["exclude_force_majeure"]:
            for entry in self.entries("force majeure"):
                begun = months.day_of(entry["began_us"])
                proven = entry["proven_us"] and months.day_of(entry["proven_us"])
                if not self.terms.sla["force_majeure_needs_proof"] or (
                    proven and proven - begun <= timedelta(days=30)
                ):
                    found.append(entry)
        return found

    def exempt(self, window: Window) -> list[dict[str, Any]]:
        """What of it touches the window."""
        begin, end = months.begin_us(window.first), months.begin_us(window.last + timedelta(days=1))
        return [
            each
            for each in self.exemptions()
            if each["began_us"] < end and (not each["ended_us"] or each["ended_us"] > begin)
        ]

    def excluded(self) -> Callable[[int], bool]:
        """Whether what was accepted at this time is left out."""
        spans = [(each["began_us"], each["ended_us"]) for each in self.exemptions()]
        return lambda time_us: any(begin <= time_us and (not end or time_us < end) for begin, end in spans)

    def rate(self, window: Window, *, without_terminal: bool) -> Rate:
        """The rate of a window."""
        excluded = self.excluded()
        successful = whole = 0
        for unit in self.units:
            if unit.line[0] not in window.months or excluded(unit.time_us):
                continue
            if unit.line[1] == "mo":
                if self.terms.sla["include_mo"]:
                    successful += unit.count
                    whole += unit.count
                continue
            if unit.state == "cancelled":
                continue
            if unit.state in ("unknown", "uncertain") and self.terms.sla["unknown"] == "excluded":
                continue
            if without_terminal and unit.state == "failed" and unit.cause in TERMINAL:
                continue
            whole += unit.count
            successful += unit.count if unit.state == "delivered" else 0
        return Rate(successful, whole)

    def left_out(self, window: Window) -> int:
        """How many units were accepted in such a span."""
        excluded = self.excluded()
        return sum(
            unit.count for unit in self.units if unit.line[0] in window.months and excluded(unit.time_us)
        )

    def complaint_days(self, count: str) -> list[date]:
        """The days of all complaints, of those that are attributed to the other party, or of those that
        were withdrawn, which count in neither."""
        opened: dict[int, date] = {}
        attributed: dict[int, str] = {}
        withdrawn = self.withdrawn()
        for record in self.projection.notes:
            if record["register"] != "complaint":
                continue
            entry = record["entry"] or record.index
            if record["event"] == "opened":
                opened.setdefault(entry, months.day_of(record["at_us"]))
            for name, value in record["facts"]:
                if name == "attributed":
                    attributed[entry] = value
        if count == "withdrawn":
            return sorted(day for entry, day in opened.items() if entry in withdrawn)
        counted = {entry: day for entry, day in opened.items() if entry not in withdrawn}
        if count == "attributed":
            return sorted(day for entry, day in counted.items() if attributed.get(entry) == "b")
        return sorted(counted.values())

    def twelve_months(self, window: Window) -> list[tuple[date, date]]:
        """All that have to be looked at."""
        spans: list[tuple[date, date]] = []
        if self.terms.sla["complaint_window"] == "contract_year":
            begin, years = self.terms.start, 0
            while begin <= window.last:
                years += 1
                end = months.later(self.terms.start, 12 * years) - timedelta(days=1)
                if end >= window.first:
                    spans.append((begin, min(end, window.last)))
                begin = end + timedelta(days=1)
        else:
            last = window.first
            while last <= window.last:
                spans.append((months.later(last + timedelta(days=1), -12), last))
                last += timedelta(days=1)
        return spans

    def complaints(self, window: Window) -> tuple[int, date, date]:
        """How many, and the first and last day of the span that has most."""
        days = self.complaint_days(self.terms.sla["complaint_count"])
        spans = self.twelve_months(window)
        best = max(spans, key=lambda span: (sum(span[0] <= day <= span[1] for day in days), span[1]))
        return sum(best[0] <= day <= best[1] for day in days), *best

    def fee(self, window: Window) -> int:
        """Of what was successful, nothing left out."""
        return sum(
            unit.count * self.projection.price(unit.line[1])
            for unit in self.units
            if unit.line[0] in window.months and unit.state == "delivered"
        )

    def rounded(self, sum_of_money: Fraction, to: int) -> int:
        """To a multiple, as the contract rounds."""
        steps = sum_of_money / to
        whole = steps.numerator // steps.denominator
        rest = steps - whole
        rounding = self.terms.reduction["rounding"]
        half = Fraction(1, 2)
        if rounding == "half_up":
            whole += rest >= half
        elif rounding == "half_even":
            whole += rest > half or (rest == half and whole % 2 == 1)
        return whole * to

    def judge(self, window: Window) -> dict[str, Any]:
        """All of one window."""
        sla = self.terms.sla
        literal = self.rate(window, without_terminal=False)
        without = self.rate(window, without_terminal=True)
        ruling = without if sla["exclude_terminal"] else literal
        complaints, begin, end = self.complaints(window)
        spans = self.twelve_months(window)
        rate_met = not ruling.total or Fraction(ruling.successful, ruling.total) >= self.terms.rate_min
        complaints_met = complaints <= sla["complaints_max"]
        met = (all if sla["combine"] == "all" else any)((rate_met, complaints_met))
        fee = self.fee(window)
        exact = Fraction(fee * ruling.failed, ruling.total) if ruling.total else Fraction(0)
        return {
            "first_month": window.months[0],
            "last_month": window.months[-1],
            "rates": [literal.shown("literal"), without.shown("without_terminal")],
            "contractual": "without_terminal" if sla["exclude_terminal"] else "literal",
            "rate_min": six_decimals(self.terms.rate_min),
            "rate_met": rate_met,
            "left_out": self.left_out(window),
            "exempt": self.exempt(window),
            "complaints": complaints,
            "complaints_attributed": sum(begin <= day <= end for day in self.complaint_days("attributed")),
            "complaints_withdrawn": sum(
                min(spans)[0] <= day <= max(end for _, end in spans)
                for day in self.complaint_days("withdrawn")
            ),
            "complaints_from": begin.isoformat(),
            "complaints_to": end.isoformat(),
            "complaints_max": sla["complaints_max"],
            "complaints_met": complaints_met,
            "combine": sla["combine"],
            "met": met,
            "reduction": {
                "fee_of_successful": fee,
                "failed": ruling.failed,
                "total": ruling.total,
                "exact": six_decimals(exact / YUAN),
                "amount": 0 if met else self.rounded(exact, self.terms.reduction["to"]),
            },
        }


def make(
    records: Sequence[Record],
    cut: Cut,
    terms: contract.Terms,
    rows: Sequence[causes.Row],
    first_month: str,
    last_month: str,
) -> dict[str, Any]:
    """All figures of a statement."""
    period = months.months_between(first_month, last_month)
    projection = Projection(records, cut, terms, rows)
    units = projection.units()
    lines: list[dict[str, Any]] = []
    found = projection.lines(units)
    charges: dict[str, dict[str, Any]] = {
        name: {"count_on": name, "units_mt": 0, "units_mo": 0, "amount": 0} for name in COUNTS
    }
    for key in sorted(found):
        month, direction, carrier, account, category = key
        if month not in period:
            continue
        line = found[key]
        lines.append(
            {
                "month": month,
                "direction": direction,
                "carrier": carrier,
                "account": account,
                "category": category,
                "figures": projection.row(line.figures, line.causes, direction),
            }
        )
        for name, charge in charges.items():
            billable = projection.billable(line.figures, name)
            charge["units_" + direction] += billable
            charge["amount"] += billable * projection.price(direction)
    windows = [Window(tuple(period))]
    if terms.sla["rate_window"] == "month":
        windows = [Window((month,)) for month in period]
    service = Service(projection, units)
    judged = [service.judge(window) for window in windows]
    reduction = sum(one["reduction"]["amount"] for one in judged)
    whole = total(line["figures"] for line in lines)
    return {
        "first_month": first_month,
        "last_month": last_month,
        "lines": lines,
        "total": whole,
        "total_mt": total(line["figures"] for line in lines if line["direction"] == "mt"),
        "total_mo": total(line["figures"] for line in lines if line["direction"] == "mo"),
        "count_on": terms.billing["count_on"],
        "charges": list(charges.values()),
        "amount": whole["amount"],
        "service": judged,
        "reduction": reduction,
        "due": service.rounded(Fraction(max(whole["amount"] - reduction, 0)), 100),
    }
