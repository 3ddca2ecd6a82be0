"""Records of the evidence as plain facts, for people and for their programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from storage.records import AnyRecord


def time_text(time_us: int) -> str:
    """In Asia/Shanghai, with milliseconds and the zone."""
    from protocol.smpp.times import SHANGHAI

    when = datetime.fromtimestamp(time_us / 1_000_000, tz=UTC).astimezone(SHANGHAI)
    return when.isoformat(timespec="milliseconds")


def plain(index: int, record: AnyRecord) -> dict[str, Any]:
    """The facts of a record for people: times with their zone, octets as text, content only by its length."""
    facts: dict[str, Any] = {"index": index, "time": "", "type": type(record).__name__.lower()}
    for name, value in msgspec.structs.asdict(record).items():
        if name.endswith("_us"):
            shown: object = time_text(value) if value else "none"
            facts["time" if name == "time_us" else name.removesuffix("_us")] = shown
        elif name == "content":
            facts[name] = f"{len(value)} octets sealed"
        elif name.endswith("_hash"):
            facts[name] = value.hex()
        elif isinstance(value, bytes):
            facts[name] = value.decode("ascii", "backslashreplace")
        else:
            facts[name] = value
    return facts
