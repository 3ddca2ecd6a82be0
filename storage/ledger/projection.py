"""Records into rows: what each kind of record changes in the tables.

Batches come in, `apply` changes rows in memory, and `flush` writes them within the caller's transaction. What
stands in the tables after a record does not depend on how the records were grouped, nor on where the process
was stopped in between: a row that is not in memory is read back.

A part that is open is kept in memory, since most of what concerns it follows within seconds.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from storage.ledger.schema import month_statements, table
from storage.ledger.standing import EndKind, standing_at_end
from storage.records import (
    Accepted,
    AnyRecord,
    Assembled,
    Configured,
    Denied,
    Dispatched,
    KeyOpened,
    LinkEvent,
    Matched,
    Noted,
    OperatorAction,
    OptedOut,
    Outcome,
    Ported,
    Receipt,
    Refused,
    Replaced,
    Reply,
    Reported,
    Sent,
    SessionEvent,
    Started,
    Stopped,
    TornTail,
    Uncertain,
    Withdrawn,
)

# 0.5 KB each with their attempts: 100 MB. At 3,000 messages a second those of the last minute.
OPEN_PARTS_MAX: Final = 200_000


class PartRow(msgspec.Struct, gc=False):
    """The columns of `part`, in their order."""

    number: int
    accepted_us: int
    owner: int
    message: int
    first: int
    cut_into: int
    lane: int
    number_hash: bytes
    units: int
    replaced: int
    routed: str
    attempts: int = 0
    sent: int = 0
    sent_us: int = 0
    ended: int = 0
    ended_us: int = 0
    outcome: int = 0


class Owner(NamedTuple):
    """The columns of `owner` behind the id."""

    account: str
    category: str
    prefix: str
    carrier: str
    network: str


class AttemptRow(msgspec.Struct, gc=False):
    """The columns of `attempt`, in their order."""

    number: int
    dispatched: int
    dispatched_us: int
    carrier: str
    link: int
    uncertain_us: int = 0
    answered: int = 0
    answered_us: int = 0
    status: int = 0
    carrier_id: bytes = b""
    withdrawn: int = 0
    withdrawn_us: int = 0


class ReceiptRow(msgspec.Struct, gc=False):
    """The columns of `receipt`, in their order."""

    idx: int
    time_us: int
    number: int
    carrier: str
    link: int
    carrier_id: bytes
    state: int
    stat: bytes
    err: bytes
    submit_date: bytes
    done_date: bytes
    final: int
    repeats: int
    matched: int
    matched_us: int
    number_hash: bytes


class Month(msgspec.Struct):
    """The columns of `month`."""

    name: str
    first_index: int
    oldest_us: int = 0
    newest_us: int = 0


_WIDTHS: Final = {
    "part": len(PartRow.__struct_fields__),
    "attempt": len(AttemptRow.__struct_fields__),
    "receipt": len(ReceiptRow.__struct_fields__),
    "report": 6,
    "reply": 12,
    "denial": 9,
    "replacement": 4,
    "event": 7,
    "audit": 8,
    "configured": 5,
    "start": 3,
    "noted": 10,
    "outcome": 9,
    "owner": 6,
}


class Projection:
    """The tables of one open ledger, and what of them is in memory."""

    def __init__(self, connection: sqlite3.Connection, applied_us: int) -> None:
        """applied_us: when the last batch was written that is in the tables; 0: there is none."""
        self._connection = connection
        self._before_us = applied_us
        self.months = [
            Month(*row)
            for row in connection.execute(
                "SELECT name, first_index, oldest_us, newest_us FROM month ORDER BY first_index"
            )
        ]
        self._firsts = [month.first_index for month in self.months]
        self._new_months: list[Month] = []
        self._outcomes: dict[tuple[object, ...], int] = {
            row[1:-1]: row[0] for row in connection.execute("SELECT * FROM outcome")
        }
        self._owners = [Owner(*row[1:]) for row in connection.execute("SELECT * FROM owner ORDER BY id")]
        self._owner_ids = {owner: place for place, owner in enumerate(self._owners, 1)}
        configured = "SELECT name, value FROM configured WHERE what = ? ORDER BY idx"
        self._categories = dict(connection.execute(configured, ("account",)).fetchall())
        self._networks = dict(connection.execute(configured, ("carrier",)).fetchall())
        self._parts: dict[int, PartRow] = {}
        self._attempts: dict[int, list[AttemptRow]] = {}
        self._receipts: dict[int, ReceiptRow] = {}
        self._changed: set[int] = set()  # numbers of parts
        self._tried: set[int] = set()  # numbers of parts whose attempts changed
        self._rows: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)  # by table and month
        self._joined: list[tuple[int, int, int, int]] = []  # (assembled, leads, repeats, reply)
        self._apply: dict[type, Callable[[int, Any], None]] = {
            Accepted: self._accepted,
            Assembled: self._assembled,
            Configured: self._configured,
            Denied: self._denied,
            Dispatched: self._dispatched,
            KeyOpened: self._key_opened,
            LinkEvent: self._link_event,
            Matched: self._matched,
            Noted: self._noted,
            OperatorAction: self._operator_action,
            OptedOut: self._opted_out,
            Outcome: self._outcome,
            Ported: self._ported,
            Receipt: self._receipt,
            Refused: self._refused,
            Replaced: self._replaced,
            Reply: self._reply,
            Reported: self._reported,
            Sent: self._sent,
            SessionEvent: self._session_event,
            Started: self._started,
            Stopped: self._stopped,
            TornTail: self._torn_tail,
            Uncertain: self._uncertain,
            Withdrawn: self._withdrawn,
        }

    # -- in and out -----------------------------------------------------------------------------------------

    def apply(self, first_index: int, time_us: int, month: str, records: list[AnyRecord]) -> None:
        """The records of one batch, which was written at this time, in this month ("YYYY-MM",
        Asia/Shanghai)."""
        if not self.months or month > self.months[-1].name:
            begun = Month(month, first_index)
            self.months.append(begun)
            self._firsts.append(first_index)
            self._new_months.append(begun)
        steps = self._apply
        for index, record in enumerate(records, first_index):
            step = steps.get(type(record))
            if step is not None:
                step(index, record)
        self._before_us = time_us

    def flush(self) -> None:
        """Write what has changed."""
        execute = self._connection.execute
        for month in self._new_months:
            for statement in month_statements(month.name):
                execute(statement)
        self._new_months = []
        for month in self.months:
            execute("INSERT OR REPLACE INTO month VALUES (?, ?, ?, ?)", msgspec.structs.astuple(month))
        astuple = msgspec.structs.astuple
        rows = self._rows
        for number in sorted(self._changed):
            rows["part", self._month(number)].append(astuple(self._parts[number]))
        for number in sorted(self._tried):
            rows["attempt", self._month(number)] += map(astuple, self._attempts[number])
        for idx, receipt in self._receipts.items():
            rows["receipt", self._month(idx)].append(astuple(receipt))
        for (name, month_name), each in rows.items():
            own = table(name, month_name) if month_name else name
            marks = ", ".join("?" * _WIDTHS[name])
            self._connection.executemany(f"INSERT OR REPLACE INTO {own} VALUES ({marks})", each)
        for joined in self._joined:
            own = table("reply", self._month(joined[-1]))
            execute(f"UPDATE {own} SET assembled = ?, leads = ?, repeats = ? WHERE idx = ?", joined)
        rows.clear()
        self._joined.clear()
        self._receipts.clear()
        self._changed.clear()
        self._tried.clear()
        self._forget()

    def _forget(self) -> None:
        """Keep the newest of the parts that are open."""
        ended = [number for number, part in self._parts.items() if part.ended]
        for number in ended:
            del self._parts[number]
        surplus = len(self._parts) - OPEN_PARTS_MAX
        if surplus > 0:
            for number in sorted(self._parts)[:surplus]:
                del self._parts[number]
        for number in [number for number in self._attempts if number not in self._parts]:
            del self._attempts[number]

    def _month(self, index: int) -> str:
        """Whose tables hold what belongs to a record. The index must not be before the first month."""
        return self.months[bisect_right(self._firsts, index) - 1].name

    def _part(self, number: int) -> PartRow | None:
        """The row of a part; None for one whose acceptance was archived before the ledger was made."""
        part = self._parts.get(number)
        if part is None and self._firsts and number >= self._firsts[0]:
            own = table("part", self._month(number))
            row = self._connection.execute(f"SELECT * FROM {own} WHERE number = ?", (number,)).fetchone()
            if row is not None:
                part = self._parts[number] = PartRow(*row)
        return part

    def _attempts_of(self, number: int) -> list[AttemptRow]:
        """The attempts of a part that is in memory."""
        attempts = self._attempts.get(number)
        if attempts is None:
            own = table("attempt", self._month(number))
            query = f"SELECT * FROM {own} WHERE number = ? ORDER BY dispatched"
            rows = self._connection.execute(query, (number,)) if self._parts[number].attempts else ()
            attempts = self._attempts[number] = [AttemptRow(*row) for row in rows]
        return attempts

    def _outcome_id(
        self, kind: EndKind, state: int, status: int, stat: bytes, err: bytes, source: str, reason: str
    ) -> int:
        codes = (kind, state, status, stat, err, source, reason)
        known = self._outcomes.get(codes)
        if known is None:
            known = self._outcomes[codes] = len(self._outcomes) + 1
            self._rows["outcome", ""].append((known, *codes, standing_at_end(kind, state, source)))
        return known

    def _owner_id(self, owner: Owner) -> int:
        known = self._owner_ids.get(owner)
        if known is None:
            self._owners.append(owner)
            known = self._owner_ids[owner] = len(self._owners)
            self._rows["owner", ""].append((known, *owner))
        return known

    def _belongs_to(self, part: PartRow, carrier: str) -> None:
        """From here on, whatever network that serves now."""
        owner = self._owners[part.owner - 1]
        network = self._networks.get(carrier, "")
        if owner.carrier != carrier or owner.network != network:
            part.owner = self._owner_id(owner._replace(carrier=carrier, network=network))

    # -- messages -------------------------------------------------------------------------------------------

    def _accepted(self, index: int, record: Accepted) -> None:
        account, carrier = record.account, record.carrier
        category, network = self._categories.get(account, ""), self._networks.get(carrier, "")
        self._parts[index] = PartRow(
            index,
            record.time_us,
            self._owner_id(Owner(account, category, record.network, carrier, network)),
            record.message or index,
            record.first or index,
            record.cut_into,
            record.lane,
            record.number_hash,
            record.parts,
            0,
            carrier,
        )
        self._attempts[index] = []
        self._changed.add(index)
        month = self.months[-1]
        if record.time_us > month.newest_us:
            month.newest_us = record.time_us
        if record.time_us < month.oldest_us or not month.oldest_us:
            month.oldest_us = record.time_us

    def _denied(self, index: int, record: Denied) -> None:
        self._rows["denial", self.months[-1].name].append(
            (
                index,
                record.time_us,
                record.account,
                self._categories.get(record.account, ""),
                record.session,
                record.command_status,
                record.reason,
                record.count,
                record.number_hash,
            )
        )

    def _dispatched(self, index: int, record: Dispatched) -> None:
        for carrier, link, numbers in record.intents:
            for number in numbers:
                part = self._part(number)
                if part is None:
                    continue
                self._attempts_of(number).append(AttemptRow(number, index, record.time_us, carrier, link))
                self._tried.add(number)
                part.attempts += 1
                if not part.ended:
                    self._belongs_to(part, carrier)
                self._changed.add(number)

    def _answered(self, number: int, link: int, carrier: str) -> tuple[PartRow, AttemptRow] | None:
        """The part, and which of its attempts was answered: the last that went that way and has no answer,
        else the last that went that way, else the last. One that has an answer keeps it."""
        part = self._part(number)
        if part is None:
            return None
        attempts = self._attempts_of(number)
        if not attempts:
            return None
        ways = [
            attempt
            for attempt in attempts
            if attempt.link == link and carrier in ("", attempt.carrier) and not attempt.withdrawn
        ]
        unanswered = [attempt for attempt in ways if not attempt.answered]
        attempt = (unanswered or ways or attempts)[-1]
        self._tried.add(number)
        return part, attempt

    def _sent(self, index: int, record: Sent) -> None:
        found = self._answered(record.number, record.link, record.carrier)
        if found is None:
            return
        part, attempt = found
        if not attempt.answered:
            attempt.answered, attempt.answered_us = index, record.time_us
            attempt.carrier_id = record.carrier_id
        if not part.sent:
            part.sent, part.sent_us = index, record.time_us
            self._changed.add(part.number)

    def _refused(self, index: int, record: Refused) -> None:
        found = self._answered(record.number, record.link, "")
        if found is None:
            return
        part, attempt = found
        if not attempt.answered:
            attempt.answered, attempt.answered_us = index, record.time_us
            attempt.status = record.command_status
        if record.final:
            self._end(part, index, record.time_us, "refused", status=record.command_status)

    def _uncertain(self, index: int, record: Uncertain) -> None:
        for number in record.numbers:
            found = self._answered(number, record.link, "")
            if found is not None and not found[1].answered:
                found[1].uncertain_us = record.time_us

    def _withdrawn(self, index: int, record: Withdrawn) -> None:
        for number in record.numbers:
            part = self._part(number)
            attempts = self._attempts_of(number) if part is not None else []
            if attempts:
                attempts[-1].withdrawn, attempts[-1].withdrawn_us = index, record.time_us
                self._tried.add(number)

    def _receipt(self, index: int, record: Receipt) -> None:
        part = self._part(record.number) if record.number else None
        repeats = part is not None and part.ended > 0
        self._receipts[index] = ReceiptRow(
            index,
            record.time_us,
            record.number,
            record.carrier,
            record.link,
            record.carrier_id,
            record.message_state,
            record.stat,
            record.err,
            record.submit_date,
            record.done_date,
            record.final,
            repeats,
            0,
            0,
            record.number_hash,
        )
        if record.final and part is not None:
            self._end_by_receipt(part, index, record.time_us, self._receipts[index])

    def _matched(self, index: int, record: Matched) -> None:
        receipt = self._receipts.get(record.receipt)
        if receipt is None and self._firsts and record.receipt >= self._firsts[0]:
            own = table("receipt", self._month(record.receipt))
            row = self._connection.execute(f"SELECT * FROM {own} WHERE idx = ?", (record.receipt,)).fetchone()
            receipt = ReceiptRow(*row) if row is not None else None
        if receipt is None:
            return
        self._receipts[record.receipt] = receipt
        part = self._part(record.number)
        receipt.number, receipt.matched, receipt.matched_us = record.number, index, record.time_us
        receipt.final = record.final
        receipt.repeats = part is not None and part.ended > 0
        if record.final and part is not None:
            self._end_by_receipt(part, index, record.time_us, receipt)

    def _end_by_receipt(self, part: PartRow, index: int, time_us: int, receipt: ReceiptRow) -> None:
        if not part.ended:
            self._belongs_to(part, receipt.carrier)
        self._end(part, index, time_us, "receipt", state=receipt.state, stat=receipt.stat, err=receipt.err)

    def _outcome(self, index: int, record: Outcome) -> None:
        part = self._part(record.number)
        if part is not None:
            self._end(
                part,
                index,
                record.time_us,
                "outcome",
                state=record.message_state,
                err=record.err,
                source=record.source,
                reason=record.reason,
            )

    def _end(
        self,
        part: PartRow,
        index: int,
        time_us: int,
        kind: EndKind,
        *,
        state: int = 0,
        status: int = 0,
        stat: bytes = b"",
        err: bytes = b"",
        source: str = "",
        reason: str = "",
    ) -> None:
        if part.ended:
            return  # the evidence contradicts itself, which `evidence verify` names; the first word counts
        part.ended, part.ended_us = index, time_us
        part.outcome = self._outcome_id(kind, state, status, stat, err, source, reason)
        self._changed.add(part.number)

    def _replaced(self, index: int, record: Replaced) -> None:
        part = self._part(record.number)
        if part is None:
            return
        part.replaced = 1
        self._changed.add(part.number)
        row = (index, record.time_us, record.number, record.parts)
        self._rows["replacement", self.months[-1].name].append(row)

    def _reported(self, index: int, record: Reported) -> None:
        row = (index, record.time_us, record.record, record.account, record.session, record.command_status)
        self._rows["report", self.months[-1].name].append(row)

    def _reply(self, index: int, record: Reply) -> None:
        self._rows["reply", self.months[-1].name].append(
            (
                index,
                record.time_us,
                record.account,
                self._categories.get(record.account, ""),
                record.carrier,
                self._networks.get(record.carrier, ""),
                record.number_hash,
                record.how,
                record.waits,
                0,
                0,
                0,
            )
        )

    def _assembled(self, index: int, record: Assembled) -> None:
        parts = len(record.replies) - record.repeats
        leader = min(record.replies[:parts], default=0)
        for place, reply in enumerate(record.replies):
            if self._firsts and reply >= self._firsts[0]:
                self._joined.append((index, int(reply == leader), int(place >= parts), reply))

    # -- what happens beside them ---------------------------------------------------------------------------

    def _configured(self, index: int, record: Configured) -> None:
        # What has left the configuration stays known: its receipts still come.
        self._categories.update(record.accounts)
        self._networks.update(record.carriers)
        rows = self._rows["configured", ""]
        rows += [(index, record.time_us, "account", name, value) for name, value in record.accounts]
        rows += [(index, record.time_us, "carrier", name, value) for name, value in record.carriers]

    def _noted(self, index: int, record: Noted) -> None:
        facts = msgspec.json.encode(dict(record.facts)).decode()
        self._rows["noted", ""].append(
            (
                index,
                record.time_us,
                record.register,
                record.entry,
                record.event,
                record.at_us,
                record.who,
                facts,
                record.number_hash,
                bool(record.content),
            )
        )

    def _event(
        self, index: int, time_us: int, kind: str, name: str, place: int, event: str, detail: str
    ) -> None:
        self._rows["event", self.months[-1].name].append((index, time_us, kind, name, place, event, detail))

    def _link_event(self, index: int, record: LinkEvent) -> None:
        self._event(index, record.time_us, "link", record.carrier, record.link, record.event, record.detail)

    def _session_event(self, index: int, record: SessionEvent) -> None:
        detail = f"{record.peer} {record.detail}".rstrip()
        self._event(index, record.time_us, "session", record.account, record.session, record.event, detail)

    def _started(self, index: int, record: Started) -> None:
        detail = f"version {record.version} on {record.host}, configuration {record.config_digest.hex()}"
        self._event(index, record.time_us, "gateway", record.gateway, 0, "started", detail)
        self._rows["start", ""].append((index, record.time_us, self._before_us))

    def _stopped(self, index: int, record: Stopped) -> None:
        self._event(index, record.time_us, "gateway", "", 0, "stopped", record.reason)

    def _torn_tail(self, index: int, record: TornTail) -> None:
        detail = f"{record.octets} octets at {record.offset} of segment {record.segment}, {record.lost} lost"
        self._event(index, record.time_us, "log", "", record.lost, "torn tail", detail)

    def _key_opened(self, index: int, record: KeyOpened) -> None:
        self._event(index, record.time_us, "log", record.day, 0, "key opened", record.key_id.hex())

    def _audit(
        self,
        index: int,
        time_us: int,
        kind: str,
        who: str,
        action: str,
        reason: str,
        numbers: list[int],
        number_hash: bytes,
    ) -> None:
        listed = msgspec.json.encode(numbers).decode()
        row = (index, time_us, kind, who, action, reason, listed, number_hash)
        self._rows["audit", self.months[-1].name].append(row)

    def _operator_action(self, index: int, record: OperatorAction) -> None:
        facts = (record.who, record.action, record.reason, record.numbers, b"")
        self._audit(index, record.time_us, "operator", *facts)

    def _ported(self, index: int, record: Ported) -> None:
        what = record.network or "no longer ported"
        self._audit(index, record.time_us, "number", "", what, record.source, [], record.number_hash)

    def _opted_out(self, index: int, record: OptedOut) -> None:
        what = "out" if record.out else "in again"
        replies = [record.reply] if record.reply else []
        self._audit(index, record.time_us, "opt-out", record.account, what, "", replies, record.number_hash)
