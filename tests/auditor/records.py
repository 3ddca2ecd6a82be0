"""Records: a msgpack reader, and the fields of every tag as evidence-format.md has them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from tests.auditor.wrong import Wrong, demand

# The table of the document: "u" a number, "t" a text, "b" octets, "f" yes or no, "[u]" an array of numbers,
# "[[a t, b u]]" an array of arrays with these fields.
TABLE = """
1 Started: time_us u, gateway t, version t, config_digest b, host t
2 Stopped: time_us u, reason t
3 TornTail: time_us u, segment u, offset u, octets u, lost u
4 KeyOpened: time_us u, day t, key_id b
5 Accepted: time_us u, account t, session u, message u, carrier t, number_hash b, parts u, \
registered_delivery u, flags u, expires_us u, content b, lane u, first u, cut_into u, network t
6 Denied: time_us u, account t, session u, command_status u, reason t, count u, number_hash b, content b
7 Dispatched: time_us u, intents [[carrier t, link u, numbers [u]]]
8 Withdrawn: time_us u, numbers [u], reason t
9 Sent: number u, time_us u, link u, carrier_id b, carrier t
10 Refused: number u, time_us u, link u, command_status u, final f, moot f, in_doubt f
11 Uncertain: time_us u, numbers [u], link u, reason t
12 Receipt: time_us u, number u, carrier t, link u, carrier_id b, message_state u, stat b, err b, \
submit_date b, done_date b, final f, number_hash b, content b
13 Matched: time_us u, receipt u, number u, how t, final f
14 Reply: time_us u, account t, carrier t, link u, number_hash b, content b, how t, waits f
15 Outcome: number u, time_us u, message_state u, err b, source t, reason t, who t
16 Replaced: number u, time_us u, content b, registered_delivery u, expires_us u, parts u
17 Reported: record u, time_us u, account t, session u, command_status u
18 LinkEvent: time_us u, carrier t, link u, event t, detail t
19 SessionEvent: time_us u, account t, session u, peer t, event t, detail t
20 OperatorAction: time_us u, who t, action t, reason t, numbers [u]
21 Postponed: number u, time_us u, until_us u, carrier t, reason t
22 Assembled: time_us u, account t, replies [u], missing u, repeats u
23 Ported: time_us u, number_hash b, network t, source t, expires_us u
24 OptedOut: time_us u, number_hash b, account t, out f, reply u
25 Configured: time_us u, accounts [[account t, category t]], carriers [[carrier t, network t]]
26 Noted: time_us u, register t, entry u, event t, at_us u, who t, facts [[name t, value t]], \
number_hash b, content b
"""


@dataclass(frozen=True)
class Record:
    """One record by the names of its fields."""

    index: int
    kind: str
    fields: dict[str, Any]

    def __getitem__(self, name: str) -> Any:  # a field is what the table says; its reader knows the type
        return self.fields[name]

    @property
    def time_us(self) -> int:
        """When the gateway learnt it."""
        time_us: int = self.fields["time_us"]
        return time_us


def split_fields(text: str) -> list[str]:
    """Cut at the commas that stand in no bracket."""
    pieces, depth, piece = [], 0, ""
    for letter in text:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += letter
    return [*pieces, piece.strip()]


def named(text: str) -> list[tuple[str, str]]:
    """Fields with their types."""
    fields = []
    for piece in split_fields(text):
        name, _, kind = piece.partition(" ")
        fields.append((name, kind))
    return fields


def read_table() -> dict[int, tuple[str, list[tuple[str, str]]]]:
    """The table by tag."""
    table = {}
    for line in TABLE.strip().splitlines():
        tag_and_name, _, fields = line.partition(": ")
        tag, _, name = tag_and_name.partition(" ")
        table[int(tag)] = (name, named(fields))
    return table


SHAPES = read_table()


class Reader:
    """msgpack, as far as records use it; anything else is Wrong."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def octets(self, count: int) -> bytes:
        """The next octets."""
        piece = self.data[self.place : self.place + count]
        demand(len(piece) == count, "msgpack: cut")
        self.place += count
        return piece

    def number(self, count: int) -> int:
        """A number of so many octets."""
        return int.from_bytes(self.octets(count), "big")

    def value(self, depth: int = 0) -> Any:
        """The next value."""
        demand(depth < 8, "msgpack: too deep")
        first = self.number(1)
        if first <= 0x7F:
            return first
        if first >= 0xE0:
            return first - 0x100
        if 0xA0 <= first <= 0xBF:
            return self.text(first & 0x1F)
        if 0x90 <= first <= 0x9F:
            return self.array(first & 0x0F, depth)
        if first in (0xC2, 0xC3):
            return first == 0xC3
        if first == 0xC0:
            return None
        if 0xC4 <= first <= 0xC6:
            return self.octets(self.number(1 << (first - 0xC4)))
        if 0xCC <= first <= 0xCF:
            return self.number(1 << (first - 0xCC))
        if 0xD0 <= first <= 0xD3:
            return int.from_bytes(self.octets(1 << (first - 0xD0)), "big", signed=True)
        if 0xD9 <= first <= 0xDB:
            return self.text(self.number(1 << (first - 0xD9)))
        if first in (0xDC, 0xDD):
            return self.array(self.number(2 << (first - 0xDC)), depth)
        if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
            count = first & 0x0F if first <= 0x8F else self.number(2 << (first - 0xDE))
            return {"map": [(self.value(depth + 1), self.value(depth + 1)) for _ in range(count)]}
        if first in (0xCA, 0xCB):
            return struct.unpack(">f" if first == 0xCA else ">d", self.octets(4 << (first - 0xCA)))[0]
        raise Wrong(f"msgpack: type {first:#x}")

    def text(self, count: int) -> str:
        """A text in UTF-8."""
        try:
            return self.octets(count).decode("utf-8")
        except UnicodeDecodeError as trouble:
            raise Wrong("msgpack: a text that is not UTF-8") from trouble

    def array(self, count: int, depth: int) -> list[Any]:
        """So many values."""
        demand(count <= len(self.data), "msgpack: an array longer than the record")
        return [self.value(depth + 1) for _ in range(count)]


def fits(value: Any, kind: str) -> Any:
    """The value, if it is of this kind: arrays of fields as tuples."""
    if kind == "u":
        demand(type(value) is int and 0 <= value < 1 << 64, f"{value!r} is no number")
    elif kind == "t":
        demand(isinstance(value, str), f"{value!r} is no text")
    elif kind == "b":
        demand(isinstance(value, bytes), f"{value!r} is not octets")
    elif kind == "f":
        demand(isinstance(value, bool), f"{value!r} is neither yes nor no")
    else:
        demand(isinstance(value, list), f"{value!r} is no array")
        inner = kind[1:-1]
        if inner == "u":
            return [fits(one, "u") for one in value]
        shape = named(inner[1:-1])
        rows = []
        for one in value:
            demand(isinstance(one, list) and len(one) >= len(shape), f"{one!r} has too few fields")
            rows.append(tuple(fits(part, of) for part, (_, of) in zip(one, shape, strict=False)))
        return rows
    return value


def decode(index: int, data: bytes) -> Record:
    """A record. One of an unknown tag is kept as such; fields behind the known ones are not looked at."""
    reader = Reader(data)
    try:
        value = reader.value()
        demand(reader.place == len(data), "octets behind the record")
        demand(isinstance(value, list) and bool(value), "no array")
        tag = fits(value[0], "u")
        if tag not in SHAPES:
            return Record(index, f"unknown {tag}", {"time_us": 0})
        kind, shape = SHAPES[tag]
        demand(len(value) - 1 >= len(shape), f"{kind} with too few fields")
        fields = {name: fits(one, of) for one, (name, of) in zip(value[1:], shape, strict=False)}
    except Wrong as trouble:
        raise Wrong(f"record {index}: {trouble}") from trouble
    return Record(index, kind, fields)
