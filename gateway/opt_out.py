"""Opt-out words (退订) in replies, and the register of who has opted out of what.

A reply is an opt-out only if it is the word and nothing else: "TD", "退订！", "ｔｄ". "我要退订吗" is a
question, and a person answers it. An opt-out holds for the account that the reply is routed to, as the access
number does; which accounts honour it is the caller's business, since notices of cases and documents go out
all the same.

The register is kept in memory, because it is asked for every message. It lives for years and the evidence
does not stay in reach so long: whoever owns it writes `entries` down, and notes them again at a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from string import punctuation
from typing import Final, Literal
from unicodedata import category, normalize

import structlog

logger = structlog.get_logger()

# What the carriers' customers are told to write, and write.
OPT_OUT_WORDS: Final = ("R", "T", "TD", "N", "QX", "退订", "退", "取消", "拒收", "0000")
OPT_IN_WORDS: Final = ("JS", "恢复", "订阅")

# A word with all its blanks and marks stays within one part; longer replies are not worth normalising.
_REPLY_LENGTH_MAX: Final = 70

# A province has some 100 million numbers: one in a hundred, for one account. 175 MB; a register that
# needs more belongs on a disk.
ENTRIES_MAX: Final = 1_000_000

# 12110 is the police's number for alarms by text (短信报警), alone or with the area code without its 0:
# 12110371 is Zhengzhou.
ALARM: Final = b"12110"

Verdict = Literal["out", "in", ""]
_OUT: Final[Verdict] = "out"
_IN: Final[Verdict] = "in"


class OptOutWords:
    """The words that opt out and those that opt in again; immutable."""

    def __init__(self, opt_out: Iterable[str] = OPT_OUT_WORDS, opt_in: Iterable[str] = OPT_IN_WORDS) -> None:
        """Words are normalised as replies are. ValueError for one of which nothing is left, which an empty
        reply would match, and for one in both lists."""
        self._verdicts: dict[str, Verdict] = {}
        for words, verdict in ((opt_out, _OUT), (opt_in, _IN)):
            for word in words:
                plain = _normalise(word)
                if not plain:
                    raise ValueError(f"{word!r} has no letter or digit, a word needs one")
                if self._verdicts.setdefault(plain, verdict) != verdict:
                    raise ValueError(f"{word!r} opts out and in, a word can do one of both")

    def judge(self, text: str) -> Verdict:
        """What a whole reply, its parts joined, says; "" if it is no such word.

        Never ask this of a reply to an alarm number (`is_alarm`).
        """
        if len(text) > _REPLY_LENGTH_MAX:
            return ""
        return self._verdicts.get(_normalise(text), "")


def _normalise(text: str) -> str:
    """NFKC (full-width to plain), upper case, and no blanks or punctuation at the ends."""
    text = normalize("NFKC", text).upper()
    start, end = 0, len(text)
    while start < end and _is_mark(text[start]):
        start += 1
    while start < end and _is_mark(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_mark(character: str) -> bool:
    """A blank, or punctuation: Unicode's, and that of ASCII of which Unicode makes symbols (`~`, `+`, `<`).

    Controls and format characters, such as the zero-width space of an input method, are blanks, too.
    """
    return character in punctuation or category(character)[0] in "PZ" or category(character) in ("Cc", "Cf")


def is_alarm(destination: bytes) -> bool:
    """Whether a reply is an alarm, and so is never read as an opt-out.

    Somebody in danger who types a lone T, or whose phone sends one, must be heard and must hear the police.
    Whatever follows 12110 counts, also no area code: nothing else is allotted behind it, and to take another
    message for an alarm does no harm.
    """
    return destination.startswith(ALARM)


class OptOuts:
    """Who has opted out of which account. Owned by the event loop.

    Nobody is forgotten to make room. An opt-out that does not fit closes its account, as filters fail: no
    number may be written to by it as far as it honours opt-outs, until a start with a larger `entries_max`.
    """

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._indexes: dict[tuple[bytes, str], int] = {}
        self._closed: set[str] = set()

    def __len__(self) -> int:
        return len(self._indexes)

    @property
    def closed(self) -> frozenset[str]:
        """Accounts with an opt-out that did not fit: a case for an alarm."""
        return frozenset(self._closed)

    def note(self, number_hash: bytes, account: str, out: bool, index: int) -> None:
        """A subscriber opted out of an account, or in again; index: of the record that says so. What is older
        than the opt-out that is known changes nothing."""
        indexes = self._indexes
        key = number_hash, account
        known = indexes.get(key)
        if known is not None and index < known:
            return
        if not out:
            indexes.pop(key, None)
        elif known is None and len(indexes) >= self._entries_max:
            if account not in self._closed:
                logger.error("an opt-out finds no room: the account may write to nobody", account=account)
            self._closed.add(account)
        else:
            indexes[key] = index

    def is_out(self, number_hash: bytes, account: str) -> bool:
        """Whether the account may not write to the subscriber. For the hot path: one look-up, and none
        while nobody has opted out."""
        indexes = self._indexes
        if not indexes and not self._closed:
            return False
        return (number_hash, account) in indexes or account in self._closed

    def entries(self) -> Iterator[tuple[bytes, str, int]]:
        """(number_hash, account, index) of every opt-out that holds, to be written down and noted again."""
        for (number_hash, account), index in self._indexes.items():
            yield number_hash, account, index
