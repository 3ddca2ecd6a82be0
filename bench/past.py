"""The evidence of half a year of messages, written as fast as the log takes it: what a ledger has to read.

Messages go in groups, each accepted, sent, reported and heard of within seconds; days and hours are spread
evenly over the months of a period.
"""

from __future__ import annotations

import hashlib
import queue
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from storage.log import EvidenceLog
from storage.records import (
    Accepted,
    Configured,
    Denied,
    Dispatched,
    Receipt,
    Record,
    Refused,
    Reply,
    Reported,
    Sent,
    encode,
)
from storage.settlement.calendar import Period

CARRIERS: Final = (("cmcc", "mobile"), ("cucc", "unicom"), ("ctcc", "telecom"), ("cbn", "broadnet"))
ACCOUNTS: Final = (
    *(("hukou", "document"), ("churujing", "document"), ("jiaoguan", "convenience")),
    *(("bianmin", "convenience"), ("oa", "office"), ("jingqing", "office")),
)
SUBSCRIBERS: Final = 2_000_000

# Of a thousand messages, what becomes of them; the rest is delivered.
_FAILED_AT: Final = frozenset({17, 111, 222, 333, 444, 555, 666, 777})
_EXPIRED_AT: Final = frozenset({50, 950})
_REFUSED_AT: Final = frozenset({60})
_SILENT_AT: Final = frozenset({70, 170, 270, 370, 470})

_GROUP: Final = 1_000
_CONTENT: Final = bytes(180)  # a sealed notice of 50 Chinese characters with its addresses


class Written(msgspec.Struct):
    """What the evidence holds, as a ledger and a statement must find it."""

    records: int = 0
    parts: int = 0
    receipts: int = 0
    reports: int = 0
    replies: int = 0
    denied: int = 0
    states: Counter[str] = msgspec.field(default_factory=Counter)


def number_hash(subscriber: int) -> bytes:
    return hashlib.blake2b(b"%d" % subscriber, digest_size=16).digest()


class Past:
    """Writes an evidence directory whose clock the caller moves."""

    def __init__(self, directory: Path) -> None:
        self.now_us = 0
        self.written = Written()
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._failures: list[BaseException] = []
        self._log = EvidenceLog(
            directory,
            None,
            256 << 20,
            lambda: self._log.durable_index + 1,
            self._posted.put,
            lambda effects: None,
            self._failures.append,
            clock_us=lambda: self.now_us,
        )

    def write(self, period: Period, messages: int) -> Written:
        """So many messages in the months of a period, and a record some days after its end."""
        self.now_us = period.start_us
        self._log.recover()
        self._commit([Configured(self.now_us, list(ACCOUNTS), list(CARRIERS))])
        step_us = (period.end_us - period.start_us) // (messages // _GROUP + 1)
        for group in range(messages // _GROUP):
            self.now_us = period.start_us + group * step_us
            self._write_group(group)
        self.now_us = period.end_us + 5 * 86_400_000_000
        self._commit([Denied(self.now_us, "oa", 1, 0x58, "rate", 1, b"", b"")])
        self.written.records = self._log.durable_index
        self._log.close()
        return self.written

    def _write_group(self, group: int) -> None:
        carrier, network = CARRIERS[group % len(CARRIERS)]
        account, _ = ACCOUNTS[group % len(ACCOUNTS)]
        written, now_us = self.written, self.now_us
        first = self._log.next_index
        hashes = [number_hash((group * _GROUP + place) * 7919 % SUBSCRIBERS) for place in range(_GROUP)]
        records: list[Record] = [
            Accepted(now_us, account, 1, 0, carrier, subscriber, 1, 1, 0, 0, _CONTENT, network=network)
            for subscriber in hashes
        ]
        records.append(Dispatched(now_us, [(carrier, 0, list(range(first, first + _GROUP)))]))
        self._commit(records)
        self.now_us = now_us + 400_000
        self._commit(
            [
                Refused(first + place, self.now_us, 0, 0x0B, True)
                if place in _REFUSED_AT
                else Sent(first + place, self.now_us, 0, b"%016d" % (first + place))
                for place in range(_GROUP)
            ]
        )
        self.now_us = now_us + 3_000_000
        begin = self._log.next_index
        receipts: list[Record] = []
        for place in range(_GROUP):
            if place in _SILENT_AT or place in _REFUSED_AT:
                continue
            state, stat = 2, b"DELIVRD"
            if place in _FAILED_AT:
                state, stat = 5, b"MK:0012"
            elif place in _EXPIRED_AT:
                state, stat = 3, b"EXPIRED"
            receipts.append(
                Receipt(
                    self.now_us,
                    first + place,
                    carrier,
                    0,
                    b"%016d" % (first + place),
                    state,
                    stat,
                    b"000",
                    b"2606011200",
                    b"2606011200",
                    True,
                    hashes[place],
                    b"",
                )
            )
        receipts += [
            Reply(self.now_us, account, carrier, 0, hashes[place], b"", "prefix") for place in range(10)
        ]
        self._commit(receipts)
        self.now_us = now_us + 3_100_000
        count = len(receipts)
        self._commit([Reported(index, self.now_us, account, 1, 0) for index in range(begin, begin + count)])
        written.parts += _GROUP
        written.receipts += count - 10
        written.replies += 10
        written.reports += count
        written.states["unknown"] += len(_SILENT_AT)
        written.states["failed"] += len(_FAILED_AT) + len(_EXPIRED_AT) + len(_REFUSED_AT)
        written.states["delivered"] += _GROUP - len(_SILENT_AT | _FAILED_AT | _EXPIRED_AT | _REFUSED_AT)

    def _commit(self, records: list[Record]) -> None:
        for record in records:
            self._log.append(encode(record))
        self._log.commit(None)
        self._posted.get(timeout=60)()
        if self._failures:
            raise self._failures[0]
