"""What happened, told record by record with times, and everything that follows: evidence, proofs, ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Self

from protocol.smpp.times import SHANGHAI
from storage.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from storage.proofs.notary import Notary
from storage.proofs.note import LOG, Signer
from storage.proofs.verify_tree import Proofs
from storage.reader import LogReader
from storage.records import (
    Accepted,
    Assembled,
    Configured,
    Denied,
    Dispatched,
    Matched,
    Noted,
    Outcome,
    Receipt,
    Record,
    Refused,
    Replaced,
    Reply,
    Sent,
    SessionEvent,
    Uncertain,
    Withdrawn,
    encode,
)
from storage.settlement.calendar import parse_period
from storage.settlement.contract import Contract, shipped_contract
from storage.settlement.counts import Ending
from storage.settlement.issue import tied_checkpoint
from storage.settlement.statement import Source, Statement, cut_of, make_statement
from tests.storage.scaffold import LogDriver

NAME = "hn-gw-1"
SIGNER = Signer(NAME, LOG, bytes(range(32)))
NETWORKS = {"cmcc": "mobile", "cucc": "unicom", "ctcc": "telecom", "cbn": "broadnet"}
CATEGORIES = {"hukou": "document", "oa": "office", "jiaojing": "convenience"}
CAUSES = (Source(name="table of the tests", sha256="00" * 32),)

# A cause for each code that the stories use.
_CAUSES = {b"MK:0001": "invalid", b"MI:0000": "expired", b"MK:0012": "terminal", b"ID:0318": "content"}


def cause_of(carrier: str, network: str, ending: Ending) -> str:
    if ending.kind == "refused":
        return "gateway"
    if ending.kind == "outcome":
        return "expired" if ending.state == 3 else "gateway"
    return _CAUSES.get(ending.stat, "unknown")


def at(text: str) -> int:
    """Microseconds of "2026-06-01 08:00:00" in Shanghai; of less, what is left out is zero."""
    pattern = "%Y-%m-%d %H:%M:%S"
    whole = text + "0000-00-00 00:00:00"[len(text) :]
    return int(datetime.strptime(whole, pattern).replace(tzinfo=SHANGHAI).timestamp()) * 1_000_000


class Story:
    """Writes to an evidence directory below `directory`. Each call is one batch at `now_us`."""

    def __init__(self, directory: Path, begins: str = "2026-06-01 00:00:00") -> None:
        self.directory = directory
        self.evidence = directory / "evidence"
        self.proofs = directory / "proofs"
        self.now_us = at(begins)
        self._driver = LogDriver(self.evidence, clock_us=lambda: self.now_us)
        self._driver.log.recover()
        self.write(Configured(self.now_us, list(CATEGORIES.items()), list(NETWORKS.items())))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._driver.__exit__(*exception)

    def at(self, text: str) -> Self:
        self.now_us = at(text)
        return self

    def write(self, *records: Record) -> int:
        """Returns the index of the first."""
        return self._driver.write(*map(encode, records))

    def next_segment(self) -> None:
        """What follows stands in another segment, and a restart needs nothing of what came before."""
        self._driver.low_water = self._driver.log.next_index
        self._driver.turn(encode(SessionEvent(self.now_us, "hukou", 1, "127.0.0.1:5000", "bound", "")))

    # -- messages -------------------------------------------------------------------------------------------

    def accept(
        self,
        *,
        account: str = "hukou",
        carrier: str = "cmcc",
        units: int = 1,
        prefix: str = "",
        message: int = 0,
        number_hash: bytes = b"n" * 16,
    ) -> int:
        """A part that waits; returns its number."""
        network = prefix or NETWORKS[carrier]
        return self.write(
            Accepted(
                self.now_us,
                account,
                1,
                message,
                carrier,
                number_hash,
                units,
                1,
                0,
                0,
                b"",
                network=network,
            )
        )

    def accept_cut(self, parts: int, *, account: str = "hukou", carrier: str = "cmcc") -> list[int]:
        """A long text that the gateway cuts; returns the numbers of its parts."""
        first = self._driver.log.next_index
        self.write(
            *(
                Accepted(
                    self.now_us,
                    account,
                    1,
                    0 if part == 0 else first,
                    carrier,
                    b"n" * 16,
                    1,
                    1,
                    0,
                    0,
                    b"",
                    first=first,
                    cut_into=parts,
                    network=NETWORKS[carrier],
                )
                for part in range(parts)
            )
        )
        return list(range(first, first + parts))

    def dispatch(self, *numbers: int, carrier: str = "cmcc", link: int = 0) -> None:
        self.write(Dispatched(self.now_us, [(carrier, link, list(numbers))]))

    def sent(self, number: int, *, carrier: str = "", link: int = 0, carrier_id: bytes = b"") -> None:
        self.write(Sent(number, self.now_us, link, carrier_id or b"%d" % number, carrier))

    def refused(self, number: int, *, status: int = 0x45, final: bool = True) -> None:
        self.write(Refused(number, self.now_us, 0, status, final))

    def uncertain(self, *numbers: int) -> None:
        self.write(Uncertain(self.now_us, list(numbers), 0, "link lost"))

    def withdrawn(self, *numbers: int) -> None:
        self.write(Withdrawn(self.now_us, list(numbers), "link lost before the write"))

    def receipt(
        self,
        number: int,
        stat: bytes = b"DELIVRD",
        *,
        state: int = 0,
        final: bool = True,
        carrier: str = "cmcc",
        carrier_id: bytes = b"",
    ) -> int:
        state = state or {b"DELIVRD": 2, b"UNKNOWN": 7, b"MI:0000": 3}.get(stat, 5)
        return self.write(
            Receipt(
                self.now_us,
                number,
                carrier,
                0,
                carrier_id or b"%d" % number,
                state,
                stat,
                b"000",
                b"",
                b"",
                final,
                b"n" * 16,
                b"",
            )
        )

    def matched(self, receipt: int, number: int, *, final: bool = True) -> None:
        self.write(Matched(self.now_us, receipt, number, "exact", final))

    def outcome(self, number: int, state: int, source: str = "gateway", reason: str = "expired") -> None:
        self.write(Outcome(number, self.now_us, state, b"", source, reason, ""))

    def replaced(self, number: int, units: int) -> None:
        self.write(Replaced(number, self.now_us, b"", parts=units))

    def deliver(self, count: int = 1, stat: bytes = b"DELIVRD", **facts: object) -> list[int]:
        """Messages that leave, are taken and reported within the second; returns their numbers."""
        carrier = str(facts.get("carrier", "cmcc"))
        numbers = [self.accept(**facts) for _ in range(count)]  # type: ignore[arg-type]
        self.dispatch(*numbers, carrier=carrier)
        for number in numbers:
            self.sent(number)
            self.receipt(number, stat, carrier=carrier)
        return numbers

    def deny(self, count: int = 1, *, account: str = "hukou") -> None:
        self.write(Denied(self.now_us, account, 1, 0x58, "rate", count, b"", b""))

    def reply(self, *, account: str = "hukou", carrier: str = "cmcc", waits: bool = False) -> int:
        return self.write(Reply(self.now_us, account, carrier, 0, b"n" * 16, b"", "prefix", waits))

    def assembled(self, *replies: int, repeats: int = 0, account: str = "hukou") -> None:
        self.write(Assembled(self.now_us, account, list(replies), 0, repeats))

    # -- registers ------------------------------------------------------------------------------------------

    def noted(self, register: str, event: str = "opened", entry: int = 0, attributed: str = "") -> int:
        facts = [("attributed", attributed)] if attributed else []
        return self.write(Noted(self.now_us, register, entry, event, self.now_us, "zhang", facts))

    def entered(self, register: str, **facts: str) -> int:
        """An entry with facts."""
        now_us = self.now_us
        return self.write(Noted(now_us, register, 0, "opened", now_us, "zhang", list(facts.items())))

    def announced(self, begins: str, ends: str) -> int:
        """Planned work, announced now."""
        return self.entered("maintenance", **{"what": "patch", "from": begins, "to": ends})

    def complain(self, count: int = 1, attributed: str = "") -> None:
        for _ in range(count):
            self.noted("complaint", attributed=attributed)

    # -- what follows ---------------------------------------------------------------------------------------

    def sign(self) -> None:
        """All that is durable so far."""
        with Notary(self.evidence, self.proofs, NAME, SIGNER) as notary:
            notary.recover()
            notary.step(self.now_us)

    def project(self) -> None:
        with Ledger.open(self.directory / LEDGER_NAME, self.evidence) as ledger:
            while ledger.step():
                pass

    def ledger(self) -> sqlite3.Connection:
        self.project()
        return read_ledger(self.directory / LEDGER_NAME)

    def proven(self) -> Proofs:
        return Proofs(self.proofs, SIGNER.verifier)

    def statement(self, period: str = "6", contract: Contract | None = None) -> Statement:
        """Of a period, tied as the rules say."""
        contract = contract or shipped_contract()
        span = parse_period(period, contract.settlement)
        with LogReader(self.evidence) as reader, closing(self.ledger()) as connection:
            before_us = cut_of(contract, span, 0).before_us
            checkpoint, final = tied_checkpoint(self.proofs, reader, SIGNER.verifier, before_us)
            return make_statement(
                connection,
                contract,
                span,
                checkpoint,
                reader.identity,
                final=final,
                causes=CAUSES,
                cause_of=cause_of,
            )

    def settle(self, after: str = "2026-12-04 00:00:10") -> None:
        """Life goes on beyond the cut, and that is signed."""
        self.at(after)
        self.deliver()
        self.sign()
