"""The parameters of a contract that a statement needs (contract.toml, by its own comments)."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

DEFAULTS: dict[str, dict[str, Any]] = {
    "billing": {
        "unit": "part",
        "count_on": "accepted",
        "price_mt": 300,
        "tax_included": True,
        "cancelled": "free",
    },
    "settlement": {"months": 6, "cutoff_hours": 72},
    "reduction": {"rounding": "half_up", "to": 100},
    "maintenance": {"min_notice_hours": 72},
    "recon": {"carrier_basis": "reported"},
    "sla": {
        "success_rate_min": "0.99",
        "complaints_max": 10,
        "combine": "any",
        "complaint_window": "rolling_12m",
        "complaint_count": "all",
        "include_mo": True,
        "exclude_terminal": False,
        "unknown": "failure",
        "exclude_planned": False,
        "exclude_force_majeure": True,
        "force_majeure_needs_proof": False,
        "rate_window": "settlement",
    },
}

ORDER = {
    **{name: tuple(values) for name, values in DEFAULTS.items()},
    "settlement": ("months", "anchor", "cutoff_hours"),
    "billing": ("unit", "count_on", "price_mt", "price_mo", "tax_included", "cancelled"),
}


def six_decimals(value: Fraction) -> str:
    """Six decimals, cut."""
    millionths = value.numerator * 1_000_000 // value.denominator
    return f"{millionths // 1_000_000}.{millionths % 1_000_000:06}"


@dataclass(frozen=True)
class Terms:
    """What is in force on a day."""

    billing: dict[str, Any]
    settlement: dict[str, Any]
    reduction: dict[str, Any]
    maintenance: dict[str, Any]
    recon: dict[str, Any]
    sla: dict[str, Any]
    written: dict[str, Any]
    amended: dict[str, dict[str, Any]]  # by key, the amendment that names it last
    digest: bytes

    @property
    def start(self) -> date:
        """The first day of the contract."""
        day: date = self.written["contract"]["start"]
        return day

    @property
    def price_mt(self) -> int:
        """Of what is sent."""
        price: int = self.billing["price_mt"]
        return price

    @property
    def price_mo(self) -> int:
        """Of a reply: as what is sent, where no other is named."""
        price: int = self.billing.get("price_mo", self.price_mt)
        return price

    @property
    def rate_min(self) -> Fraction:
        """The least rate that is promised."""
        return Fraction(self.sla["success_rate_min"])

    def period(self, first_month: str, last_month: str) -> int:
        """The number of the settlement period that has these months."""
        anchor: date = self.settlement["anchor"]
        begins = date.fromisoformat(first_month + "-01")
        behind = (begins.year - anchor.year) * 12 + begins.month - anchor.month
        return behind // int(self.settlement["months"]) + 1

    def shown(self) -> list[dict[str, Any]]:
        """Every term with what it stands on."""
        origins = {origin["key"]: origin for origin in self.written.get("origin", [])}
        rows = []
        for name in ("settlement", "billing", "sla", "reduction", "maintenance", "recon"):
            table = getattr(self, name)
            for field in ORDER[name]:
                key = f"{name}.{field}"
                value = self.price_mo if field == "price_mo" else table[field]
                origin = self.amended.get(key) or origins.get(key) or {"clause": "default", "document": ""}
                row = {part: origin.get(part, "") for part in ("clause", "document", "note")}
                rows.append({"key": key, "value": plain(field, value), **row})
        return rows


def plain(field: str, value: Any) -> str:
    """A value as a statement shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if field == "success_rate_min":
        return six_decimals(Fraction(value))
    return str(value)


def read(path: Path, day: date) -> Terms:
    """The contract as it stands on this day."""
    data = path.read_bytes()
    written = tomllib.loads(data.decode())
    tables = {name: {**values, **written.get(name, {})} for name, values in DEFAULTS.items()}
    tables["settlement"].setdefault("anchor", written["contract"]["start"])
    amended: dict[str, dict[str, Any]] = {}
    for amendment in sorted(written.get("amendment", []), key=lambda one: one["effective"]):
        if amendment["effective"] <= day:
            for name in tables:
                tables[name].update(amendment.get(name, {}))
                amended.update({f"{name}.{field}": amendment for field in amendment.get(name, {})})
    return Terms(**tables, written=written, amended=amended, digest=hashlib.sha256(data).digest())
