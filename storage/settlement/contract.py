"""The contract as data: one TOML file into frozen structs, or the one line that says what is wrong with it.

A file that decides what the text leaves open must say which document it stands on (`[[origin]]`), because the
other party will ask. What the parties change later is an `[[amendment]]`, with the day from which it holds: a
period that has been settled keeps the terms it was settled under, so an amendment begins with a settlement
period. `contract.toml` beside this module is the contract that the gateway was made for, every key written
out.

Days are those of Asia/Shanghai, the last of a span inclusive; money is whole numbers of 0.0001 yuan.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import resources
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from storage.settlement.calendar import Month, Period, WrongPeriod, settlement_period_of
from storage.settlement.errors import SettlementError
from storage.settlement.terms import (
    PRICE_MT,
    Alarms,
    Amount,
    Assessment,
    Day,
    FirstOfMonth,
    Settlement,
    Terms,
    Text,
    TextOrEmpty,
)
from storage.settlement.values import WrongValue, allowed_by, converted, shown_key


class ContractError(SettlementError):
    """The contract cannot be used. The message is one line: file, key, what is wrong, what is allowed."""


class Origin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[origin]]: what a parameter stands on."""

    key: Text  # such as billing.price_mt
    clause: Text  # such as 二.2; empty for a default alone
    document: Text  # such as 合同正文; `default` where the file leaves the key out
    note: TextOrEmpty = ""


class Renewal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[renewal]]: a document that extends the term (十三.9, 十一.3)."""

    end: Day  # the new last day of the term
    document: Text


class AmendmentTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[amendment]]: a document that changes terms (十三.5: the later one prevails), as the file has it."""

    effective: Day  # the first day of a settlement period
    document: Text
    clause: Text


class Amendment(AmendmentTable, frozen=True, kw_only=True):
    """An amendment and what it comes to."""

    changed: frozenset[str]  # keys, such as billing.price_mt
    terms: Terms  # all of them, as in force from that day


class Agreement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[contract]: who agreed, and for how long."""

    title: Text
    number: TextOrEmpty = ""
    party_a: Text  # 甲方, who pays
    party_b: Text  # 乙方, who sends
    start: Day
    end: Day  # the last day, before any renewal
    amount: Amount = None  # None: the text names none, and the cap of 十三.4 is unknown


class Contract(Agreement, frozen=True, kw_only=True):
    """One contract, with everything that was agreed about it later."""

    digest: bytes  # SHA-256 of the file's octets: a statement says which file it was made with
    renewals: tuple[Renewal, ...]  # in the order of their ends
    settlement: Settlement
    signed: Terms  # before any amendment
    assessment: Assessment
    alarms: Alarms
    categories: Mapping[str, str]  # what may be sent (二.1): key to Chinese name
    origins: Mapping[str, Origin]  # by key, of those that the file gives
    amendments: tuple[Amendment, ...]  # in the order of their days

    @property
    def term_end(self) -> date:
        """The last day of the term, renewals included."""
        return self.renewals[-1].end if self.renewals else self.end

    def terms(self, day: date) -> Terms:
        """The terms in force on the day: as signed, with every amendment that was effective by then."""
        return next(
            (amendment.terms for amendment in reversed(self.amendments) if amendment.effective <= day),
            self.signed,
        )

    def terms_of(self, period: Period) -> Terms:
        """The terms in force in all of these months. Raises ContractError where they change within."""
        (_, terms), *others = self.stretches(period)
        for months, _ in others:
            raise ContractError(f"{period}: the terms change with {months.first}: settle the months apart")
        return terms

    def stretches(self, period: Period) -> list[tuple[Period, Terms]]:
        """The months cut where the terms change."""
        found: list[tuple[Period, Terms]] = []
        for month in period.months():
            terms = self.terms(month.first_day)
            if found and found[-1][1] == terms:
                found[-1] = Period(0, found[-1][0].first, month), terms
            else:
                found.append((Period(0, month, month), terms))
        return found

    def origin(self, key: str, day: date | None = None) -> Origin:
        """What a parameter, such as `billing.price_mt`, stands on: as signed, or as in force on a day."""
        assert key in PARAMETERS, key
        for amendment in reversed(self.amendments):
            if day is not None and amendment.effective <= day and key in amendment.changed:
                return Origin(key=key, clause=amendment.clause, document=amendment.document)
        return self.origins.get(key, Origin(key=key, clause="", document="default"))


_TERMS: Final[dict[str, type[Struct]]] = {field.name: field.type for field in msgspec.structs.fields(Terms)}
_STRUCTS: Final[dict[str, type[Struct]]] = {
    "contract": Agreement,
    "settlement": Settlement,
    **_TERMS,
    "assessment": Assessment,
    "alarms": Alarms,
}
_TABLES: Final = (*_STRUCTS, "categories", "renewal", "origin", "amendment")
_ORIGIN_REQUIRED: Final = ("billing", "settlement", "sla", "reduction", "penalty")  # they decide about money

PARAMETERS: Final = frozenset(
    f"{table}.{key}" for table, struct in _STRUCTS.items() for key in struct.__struct_fields__
) | {"categories"}
"""Every key that can have an origin; the categories are one."""

# A proof is in time on the thirtieth day after the begin (九.2), and the day of that is over.
_PROOF_HOURS: Final = 31 * 24

_PRICES: Final = {"billing.price_mt", "billing.price_mo"}

_CATEGORIES: Final = {"office": "内部办公", "convenience": "便民服务", "document": "证件办理"}  # 二.1
_CATEGORY_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

Table = TypeVar("Table", bound=Struct)


def read_contract(path: Path) -> Contract:
    """The contract in the file. Raises ContractError, and OSError of the file itself."""
    octets = path.read_bytes()
    reader = _Reader(path, _parse(path, octets))
    return reader.contract(hashlib.sha256(octets).digest())


def shipped_contract() -> Contract:
    """The contract that the gateway was made for (`storage/settlement/contract.toml`)."""
    file = resources.files("storage.settlement").joinpath("contract.toml")
    with resources.as_file(file) as path:
        return read_contract(path)


def shipped_text() -> str:
    """The file of that contract, to begin one's own with."""
    return resources.files("storage.settlement").joinpath("contract.toml").read_text(encoding="utf-8")


class _Reader:
    """Turns the parsed file at `path` into a contract, key by key, so that every error can name its key."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self._path = path
        self._document = document

    def contract(self, digest: bytes) -> Contract:
        self._refuse_unknown("", self._document, _TABLES, "table")
        agreement = self._table(Agreement, "contract", self._content("contract"))
        settlement = self._table(Settlement, "settlement", self._content("settlement"))
        signed = {name: self._values(struct, name, self._content(name)) for name, struct in _TERMS.items()}
        contract = Contract(
            **msgspec.structs.asdict(agreement),
            digest=digest,
            renewals=tuple(
                self._table(Renewal, where, content) for where, content in self._entries("renewal", "end")
            ),
            settlement=settlement,
            signed=_terms(signed),
            assessment=self._table(Assessment, "assessment", self._content("assessment")),
            alarms=self._table(Alarms, "alarms", self._content("alarms")),
            categories=self._categories(),
            origins=self._origins(),
            amendments=self._amendments(signed),
        )
        self._check_together(contract)
        return contract

    def _categories(self) -> Mapping[str, str]:
        content = self._content("categories", _CATEGORIES)
        for key in content:
            if not _CATEGORY_KEY.fullmatch(key):
                raise self._wrong(
                    f"categories.{shown_key(key)}",
                    "allowed as a key are 1 to 32 small letters, digits and _, a letter first",
                )
        if not content:
            raise self._wrong("categories", "it is empty: allowed is one category or more")
        return MappingProxyType(
            {key: self._value(f"categories.{key}", Text, name) for key, name in content.items()}
        )

    def _origins(self) -> Mapping[str, Origin]:
        given = {f"{table}.{key}" for table in _STRUCTS for key in self._content(table)}
        if "categories" in self._document:
            given.add("categories")
        origins: dict[str, Origin] = {}
        for where, content in self._entries("origin", "key"):
            origin = self._table(Origin, where, content)
            if origin.key not in given:
                raise self._wrong(f"{where}.key", "allowed is TABLE.KEY of a key that this file gives")
            if origin.key in origins:
                raise self._wrong(f"{where}.key", "it has an origin already: allowed is one")
            origins[origin.key] = origin
        for table in _ORIGIN_REQUIRED:
            for key in self._content(table):
                if f"{table}.{key}" not in origins:
                    raise self._wrong(
                        f"{table}.{key}",
                        f'no origin: give an [[origin]] with key = "{table}.{key}", clause and document,'
                        " which says what it stands on",
                    )
        return MappingProxyType(origins)

    def _amendments(self, signed: Mapping[str, Mapping[str, Any]]) -> tuple[Amendment, ...]:
        amendments: list[Amendment] = []
        values = signed
        for where, content in self._entries("amendment", "effective"):
            head_keys = AmendmentTable.__struct_fields__
            self._refuse_unknown(where, content, (*head_keys, *_TERMS), "key")
            head = self._table(
                AmendmentTable, where, {key: content[key] for key in head_keys if key in content}
            )
            changes = {
                name: self._values(struct, f"{where}.{name}", content[name])
                for name, struct in _TERMS.items()
                if name in content
            }
            changed = frozenset(f"{name}.{key}" for name, change in changes.items() for key in change)
            if not changed:
                raise self._wrong(where, f"it changes nothing: allowed are keys of {', '.join(_TERMS)}")
            values = {name: {**values[name], **changes.get(name, {})} for name in _TERMS}
            amendments.append(
                Amendment(**msgspec.structs.asdict(head), changed=changed, terms=_terms(values))
            )
        return tuple(amendments)

    def _check_together(self, contract: Contract) -> None:
        """What no single key can tell."""
        self._check_term(contract)
        self._check_anchor(contract.settlement.anchor, contract.start)
        self._check_amendments(contract)
        self._check_proof(contract)
        assessment = contract.assessment
        weights = (assessment.faults, assessment.resolution, assessment.support, assessment.satisfaction)
        if sum(weights) != 100:
            raise self._wrong(
                "assessment",
                f"faults, resolution, support and satisfaction sum to {sum(weights)}: allowed is 100",
            )
        for earlier, later in pairwise(contract.alarms.term_end_days):
            if later >= earlier:
                raise self._wrong(
                    "alarms.term_end_days", f"{later} after {earlier}: allowed is the largest first"
                )

    def _check_proof(self, contract: Contract) -> None:
        """A statement must not be final before a proof that is in time can be there."""
        hours = contract.settlement.cutoff_hours
        terms = (contract.signed, *(amendment.terms for amendment in contract.amendments))
        if hours < _PROOF_HOURS and any(each.sla.force_majeure_needs_proof for each in terms):
            raise self._wrong(
                "settlement.cutoff_hours",
                f"with sla.force_majeure_needs_proof allowed is {_PROOF_HOURS} or more, not {hours}",
            )

    def _check_term(self, contract: Contract) -> None:
        if contract.end < contract.start:
            raise self._wrong("contract.end", f"allowed is a day from {contract.start}, not {contract.end}")
        for earlier, later in pairwise((contract.end, *(renewal.end for renewal in contract.renewals))):
            if later <= earlier:
                raise self._wrong(f"renewal[{later}].end", f"allowed is a day after {earlier}")

    def _check_anchor(self, anchor: date, start: date) -> None:
        if anchor.day != 1:
            raise self._wrong("settlement.anchor", f"allowed is {allowed_by(FirstOfMonth)}, not {anchor}")
        if anchor > start:
            # The days before it would be paid for in no period.
            raise self._wrong(
                "settlement.anchor", f"allowed is a day up to contract.start, {start}, not {anchor}"
            )

    def _check_amendments(self, contract: Contract) -> None:
        for amendment in contract.amendments:
            self._check_effective(contract.settlement, amendment.effective)
        for earlier, later in pairwise(contract.amendments):
            if later.effective <= earlier.effective:
                raise self._wrong(
                    f"amendment[{later.effective}].effective",
                    f"allowed is a day after {earlier.effective}, of the amendment before it",
                )
        own_price = "price_mo" in self._content("billing")
        for amendment in contract.amendments:
            own_price = own_price or "billing.price_mo" in amendment.changed
            if own_price and amendment.changed & _PRICES == {"billing.price_mt"}:
                raise self._wrong(
                    f"amendment[{amendment.effective}].billing.price_mt",
                    f"replies have a price of their own, {amendment.terms.billing.price_mo}, which does not"
                    " follow: give price_mo as well",
                )

    def _check_effective(self, settlement: Settlement, effective: date) -> None:
        where = f"amendment[{effective}].effective"
        try:
            period = settlement_period_of(settlement, Month(effective.year, effective.month))
        except WrongPeriod as error:
            raise self._wrong(where, str(error)) from error
        if effective != period.first_day:
            following = period.last.next().first_day
            raise self._wrong(
                where,
                "allowed is the first day of a settlement period, here"
                f" {period.first_day} or {following}, not {effective}",
            )

    def _content(self, name: str, absent: Mapping[str, Any] = MappingProxyType({})) -> Mapping[str, Any]:
        """The keys and values of [name]."""
        return self._keys(name, self._document.get(name, absent))

    def _entries(self, name: str, identity: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The [[name]] tables, each with what errors call it: its key `identity`, or else its place."""
        entries = self._document.get(name, [])
        if not isinstance(entries, list):
            raise self._wrong(name, f"allowed are tables that begin with [[{name}]]")
        named = []
        for number, entry in enumerate(entries, 1):
            label = entry.get(identity) if isinstance(entry, dict) else None
            usable = type(label) is date or (
                isinstance(label, str) and label.isprintable() and 0 < len(label) <= 64
            )
            where = f"{name}[{label if usable else number}]"
            named.append((where, self._keys(where, entry)))
        return named

    def _keys(self, where: str, content: object) -> Mapping[str, Any]:
        if not isinstance(content, Mapping):
            raise self._wrong(where, "allowed is a table of keys and values")
        return content

    def _table(self, struct: type[Table], where: str, content: object) -> Table:
        values = self._values(struct, where, content)
        for field in msgspec.structs.fields(struct):
            if field.required and field.name not in values:
                raise self._wrong(f"{where}.{field.name}", f"missing: allowed is {allowed_by(field.type)}")
        return struct(**values)

    def _values(self, struct: type[Struct], where: str, content: object) -> dict[str, Any]:
        """The values of the keys that are there, in the types of the struct."""
        keys = self._keys(where, content)
        self._refuse_unknown(where, keys, struct.__struct_fields__, "key")
        return {
            field.name: self._value(f"{where}.{field.name}", field.type, keys[field.name])
            for field in msgspec.structs.fields(struct)
            if field.name in keys
        }

    def _value(self, where: str, wanted: Any, value: object) -> Any:
        try:
            return converted(value, wanted)
        except WrongValue as error:
            raise self._wrong(where, str(error)) from error

    def _refuse_unknown(
        self, where: str, content: Mapping[str, Any], allowed: Sequence[str], noun: str
    ) -> None:
        for key in content:
            if key not in allowed:
                name = f"{where}.{shown_key(key)}" if where else shown_key(key)
                raise self._wrong(name, f"unknown {noun}: allowed are {', '.join(allowed)}")

    def _wrong(self, where: str, wrong: str) -> ContractError:
        return ContractError(f"{self._path}: {where}: {wrong}")


def _terms(values: Mapping[str, Mapping[str, Any]]) -> Terms:
    """The terms of the values that are given, by table and key; defaults for the rest."""
    # Until somebody agrees on a price of replies, it follows every change of the other.
    billing = {"price_mo": values["billing"].get("price_mt", PRICE_MT), **values["billing"]}
    filled = {**values, "billing": billing}
    tables: dict[str, Any] = {name: struct(**filled[name]) for name, struct in _TERMS.items()}
    return Terms(**tables)


def _parse(path: Path, octets: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(octets.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ContractError(f"{path}: not UTF-8 at octet {error.start}: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{path}: not TOML: {error}") from error
    except ValueError as error:  # of a number: int() takes no more than some thousand digits
        raise ContractError(f"{path}: a number with too many digits: none needs more than 15") from error
    except RecursionError as error:
        raise ContractError(f"{path}: nested too deeply: tables hold values and lists of them") from error
