"""What may be entered in the registers of the contract: events, and the facts that stand beside each.

Facts are in the clear and stay as long as the evidence does, so no subscriber's number stands in them: it is
masked in every text, and what was typed is sealed beside the facts (gateway/registers.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, NamedTuple

from gateway.logs import mask_numbers
from storage.settlement.calendar import moment, moment_us
from storage.settlement.registers import (
    ATTRIBUTED,
    BEGAN,
    CLOSED,
    COMPLAINT,
    DELAY,
    DONE,
    ENDED,
    FORCE_MAJEURE,
    HOLD,
    INCIDENT,
    MAINTENANCE,
    OPENED,
    PROOF,
    RATING,
    REGISTERS,
    RELEASED,
    REPORTED,
    RESPONDED,
    RESTORED,
    WITHDRAWN,
)

# Registers whose entries may concern a subscriber.
WITH_SUBSCRIBER: Final = frozenset({COMPLAINT})

# An entry is a line of a list and of a statement; what needs more is a document that the line names.
TEXT_CHARACTERS_MAX: Final = 500

# Ten thousand million yuan, as for the amount of a contract.
_AMOUNT_MAX: Final = 10**14

# As in statements: no text may end the line that it stands in.
_TEXT: Final = re.compile(rf"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{{1,{TEXT_CHARACTERS_MAX}}}")
_DAY: Final = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,14}")


class WrongEntry(ValueError):
    """What is wrong with an entry, in one line: register, event, fact, what is allowed."""


class Filled(NamedTuple):
    """The facts of an event as they are kept. text: free texts as they were typed, one a line, where masking
    took something out of them; empty where it did not."""

    facts: list[tuple[str, str]]
    text: str


# -- times ---------------------------------------------------------------------------------------------------


def day(text: str) -> date:
    """Raises ValueError: what is allowed."""
    try:
        if not _DAY.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("allowed is a day such as 2026-10-01") from None


# -- facts ---------------------------------------------------------------------------------------------------

Kept = Callable[[str], str]
"""The form in which a value is kept. Raises ValueError: what is allowed."""


def _text(value: str) -> str:
    if not value.strip() or not _TEXT.fullmatch(value):
        raise ValueError(f"allowed is a text of 1 to {TEXT_CHARACTERS_MAX} characters on one line")
    return mask_numbers(value)


def _one_of(*names: str) -> Kept:
    def kept(value: str) -> str:
        if value not in names:
            raise ValueError(f"allowed is one of {', '.join(names)}")
        return value

    return kept


def _whole(least: int, most: int, what: str) -> Kept:
    def kept(value: str) -> str:
        if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
            raise ValueError(f"allowed is {what} from {least} to {most}")
        return value

    return kept


def _moment(value: str) -> str:
    return moment(moment_us(value))


def _day(value: str) -> str:
    return day(value).isoformat()


class Fact(NamedTuple):
    name: str
    kept: Kept
    required: bool = True


_AMOUNT: Final = _whole(1, _AMOUNT_MAX, "a whole number of 0.0001 yuan")
_SCORE: Final = _whole(0, 100, "a whole number")
_YEAR: Final = _whole(1, 99, "a year of the contract")
_ATTRIBUTED: Final = Fact(ATTRIBUTED, _one_of("a", "b", "none"), required=False)

FORMS: Final[Mapping[tuple[str, str], tuple[Fact, ...]]] = {
    # owner: who sees to it (四.5)
    (COMPLAINT, OPENED): (Fact("cause", _text), Fact("owner", _text, required=False), _ATTRIBUTED),
    (COMPLAINT, CLOSED): (Fact("result", _text), Fact("owner", _text, required=False), _ATTRIBUTED),
    # by: who saw it first (四.1)
    (INCIDENT, OPENED): (Fact("what", _text), Fact("by", _one_of("alarm", "a", "b"), required=False)),
    (INCIDENT, RESPONDED): (Fact("what", _text),),
    (INCIDENT, REPORTED): (),
    (INCIDENT, RESTORED): (Fact("what", _text),),
    # subcontractor: B answers for its own (四.2, 四.3, 四.14)
    (INCIDENT, CLOSED): (Fact("result", _text), Fact("subcontractor", _text, required=False)),
    (MAINTENANCE, OPENED): (Fact("what", _text), Fact("from", _moment), Fact("to", _moment)),
    (MAINTENANCE, BEGAN): (),
    (MAINTENANCE, ENDED): (),
    (FORCE_MAJEURE, OPENED): (Fact("what", _text),),
    (FORCE_MAJEURE, BEGAN): (),
    (FORCE_MAJEURE, PROOF): (Fact("document", _text),),
    (FORCE_MAJEURE, ENDED): (),
    (DELAY, OPENED): (Fact("service", _text), Fact("due", _day), Fact("amount", _AMOUNT)),
    (DELAY, DONE): (),
    (RATING, OPENED): (
        Fact("year", _YEAR),
        Fact("support", _SCORE),
        Fact("satisfaction", _SCORE),
        Fact("note", _text, required=False),
    ),
    # days of the evidence, both included
    (HOLD, OPENED): (Fact("from", _day), Fact("to", _day), Fact("reason", _text)),
    (HOLD, RELEASED): (Fact("reason", _text),),
    # Of a hold there is no mistake: it is released, and has held until then.
    **{(register, WITHDRAWN): (Fact("reason", _text),) for register in REGISTERS if register != HOLD},
}
"""Facts by register and event, in the order in which they are kept."""

assert {register for register, _ in FORMS} == set(REGISTERS)
assert all((register, OPENED) in FORMS for register in REGISTERS)


def filled(register: str, event: str, facts: Mapping[str, str]) -> Filled:
    """The facts of an event, judged. Raises WrongEntry."""
    if register not in REGISTERS:
        raise WrongEntry(f"no register {register!r}: there are {', '.join(REGISTERS)}")
    form = FORMS.get((register, event))
    if form is None:
        events = ", ".join(each for of, each in FORMS if of == register)
        raise WrongEntry(f"{register}: no event {event!r}: there are {events}")
    where = f"{register}, {event}"
    names = [fact.name for fact in form]
    for name in facts:
        if name not in names:
            raise WrongEntry(f"{where}: no fact {name!r}: allowed are {', '.join(names) or 'none'}")
    kept: list[tuple[str, str]] = []
    typed: list[str] = []
    masked = False
    for fact in form:
        if fact.name not in facts:
            if fact.required:
                raise WrongEntry(f"{where}: {fact.name} is missing")
            continue
        value = facts[fact.name]
        try:
            kept.append((fact.name, fact.kept(value)))
        except ValueError as error:
            raise WrongEntry(f"{where}: {fact.name}: {error}") from None
        if fact.kept is _text:
            typed.append(value)
            masked |= kept[-1][1] != value
    if (register, event) == (MAINTENANCE, OPENED):
        times = dict(kept)
        if times["from"] >= times["to"]:
            raise WrongEntry(f"{where}: to: allowed is a time after {times['from']}")
    if (register, event) == (HOLD, OPENED):
        days = dict(kept)
        if days["from"] > days["to"]:
            raise WrongEntry(f"{where}: to: allowed is a day from {days['from']} on")
    return Filled(kept, "\n".join(typed) if masked else "")
