"""Bills for the tests: layouts, files, and a comparison with what a story left in the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook

from gateway.number_plan import mask, normalise
from storage.ledger.ledger import LEDGER_NAME
from storage.settlement.bill import Numbers, load_bill
from storage.settlement.bill_layout import Layout, read_layout
from storage.settlement.calendar import parse_period
from storage.settlement.comparison import comparison
from storage.settlement.contract import shipped_contract
from storage.settlement.counts import Cut
from storage.settlement.matching import FINDING_KINDS, FindingKind, Task
from storage.settlement.reconcile import Detail, Reconciliation, details, reconcile
from tests.storage.settlement.story import Story, at

HEADING = ("id", "number", "time", "status", "parts", "amount", "direction")
LAYOUT = """\
[bill.cmcc]
[bill.cmcc.columns]
carrier_id = "id"
number = "number"
time = "time"
status = "status"
parts = "parts"
amount = "amount"
direction = "direction"
[bill.cmcc.statuses]
ok = "delivered"
failed = "failed"
"?" = "unknown"
[bill.cmcc.directions]
down = "mt"
up = "mo"
"""
LAN, MEI, ZHU = "13812345678", "13900000001", "13900000002"


def number_hash(number: bytes) -> bytes:
    return hashlib.blake2b(number, digest_size=16).digest()


def hashed(number: str) -> bytes:
    """As a story's parts have it."""
    return number_hash(number.encode())


NUMBERS = Numbers(normalise, number_hash, mask)


def layout_of(directory: Path, text: str = LAYOUT, account: str = "cmcc", network: str = "mobile") -> Layout:
    path = directory / "bills.toml"
    path.write_text(text, encoding="utf-8")
    return read_layout(path, account, network)


def row(
    carrier_id: str = "",
    number: str = LAN,
    time: str = "2026-06-01 08:00:00",
    status: str = "ok",
    parts: object = 1,
    amount: str = "0.03",
    direction: str = "down",
) -> tuple[object, ...]:
    return (carrier_id, number, time, status, parts, amount, direction)


def csv_bill(path: Path, rows: Sequence[Sequence[object]], encoding: str = "utf-8-sig") -> Path:
    lines = [",".join(map(str, cells)) for cells in rows]
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode(encoding))
    return path


def xlsx_bill(path: Path, rows: Sequence[Sequence[Any]], sheet: str = "Sheet1") -> Path:
    book = Workbook()
    assert book.active is not None
    book.active.title = sheet
    for cells in rows:
        book.active.append(list(cells))
    book.save(path)
    return path


class Office:
    """What a carrier took by the evidence, and the bills that it sends. Prices are 300 a part either way."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layout = layout_of(directory)
        self.story = Story(directory).at("2026-06-01 08:00:00")
        self.found: dict[FindingKind, list[Detail]] = {}

    def took(
        self, carrier_id: str, number: str = LAN, stat: bytes | None = b"DELIVRD", units: int = 1
    ) -> int:
        """A part that cmcc takes now, and reports within the second unless `stat` is None."""
        part = self.story.accept(number_hash=hashed(number), units=units)
        self.story.dispatch(part)
        self.story.sent(part, carrier_id=carrier_id.encode())
        if stat is not None:
            self.story.receipt(part, stat, carrier_id=carrier_id.encode())
        return part

    def compare(
        self,
        *rows: Sequence[object],
        months: str = "2026-06..2026-11",
        accounts: tuple[str, ...] = ("cmcc",),
        change: Callable[[dict[str, Any]], None] = lambda facts: None,
    ) -> Reconciliation:
        """With a bill of these rows; `found` has the details then."""
        self.story.project()
        bill = csv_bill(self.directory / "bill.csv", [HEADING, *rows])
        period = parse_period(months, shipped_contract().settlement)
        facts: dict[str, Any] = {
            "carrier": "cmcc",
            "accounts": accounts,
            "period": period,
            "cut": Cut(1 << 40, at("2026-12-04 00:00:00")),
            "tolerance_us": 600_000_000,
            "price_mt": 300,
            "price_mo": 300,
        }
        change(facts)
        with comparison() as connection:
            result = reconcile(
                connection,
                self.directory / LEDGER_NAME,
                Task(**facts),
                self.layout,
                lambda: load_bill(connection, bill, self.layout, NUMBERS),
            )
            self.found = {kind: list(details(connection, kind)) for kind in FINDING_KINDS}
        return result


def shown(result: Reconciliation) -> dict[str, tuple[int, int, int]]:
    """Rows, units and money at stake of the kinds of which there is any."""
    return {each.kind: (each.rows, each.units, each.at_stake) for each in result.findings if each.rows}
