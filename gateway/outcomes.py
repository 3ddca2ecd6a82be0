"""What a carrier's status means, and what is to be done about it: a table of data, not code.

A carrier refuses a part with a command_status in its response, or later with the codes of a receipt. Codes
are built by family (`MK:0012`, `SGIP:25`, `UNDELIV_601`), differ by carrier and province, and public lists
contradict each other; so they stand in a table that ships with the gateway, and an operator's file of the
same columns ranks above it, row by row.

A row is found so. In each file are asked, in this order, the rows of the carrier account, of its network, of
`platform` (codes that aggregators made) and of `any`; within those of one name the first that matches, in the
order of the file. Broadnet's numbers run over Mobile's systems, so Mobile's rows follow its own; they also
follow wherever a code has the form of CMPP, which no other network coins and any may pass on. A
command_status is asked of the account, the network and `smpp`.

A receipt offers several codes. `err` is asked first where `stat` is a bare word such as UNDELIV, since the
word says less, and there an `any` row does not count: it would be about the word. Where `stat` is itself a
carrier's code, it comes first. The word of the receipt's state is asked last.

Where sources disagree the row has the confidence `low`, and never leads to another route or parks a link.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache, partial
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self, get_args

import msgspec

from protocol.smpp.codes import CommandStatus, MessageState, status_name
from protocol.smpp.receipt import UNMAPPED, message_state_of, stat_of

Confidence = Literal["high", "med", "low"]

NETWORKS: Final = ("mobile", "unicom", "telecom", "broadnet")

# Results of the native protocols are data for their links; no look-up of SMPP asks them.
_SHIPPED_NAMES: Final = (*NETWORKS, "platform", "any", "smpp", "cmpp_result", "smgp_status")

_HEADING: Final = ["carrier", "code", "class", "sub", "retry", "conf", "meaning"]

# The form of `carrier.name` in the configuration.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CODE: Final = re.compile(r"[!-~]{1,32}")
_WILD: Final = re.compile(r"[*?\[]")

# A code that comes for the first time is held against every row of its carrier, at 0.2 to 0.5 µs each. The
# longest list of one carrier that is known has some 400 codes; four of them fit, and such a code costs a
# millisecond at most.
ROWS_MAX: Final = 2_000

# Verdicts remembered for statuses, and as many for receipts. Codes are the peer's to invent, so the least
# recently used goes. A carrier uses some dozens of codes; 2,048 are four carriers that use their whole list,
# and with 0.3 KB a key less than 1 MB.
VERDICTS_MAX: Final = 2_048

# `stat` and `err` together. Carriers write up to 16 and 8 octets; what is longer is no code, and as a key
# would let a peer fill the memory after all.
CODE_OCTETS_MAX: Final = 64


class OutcomeTableError(Exception):
    """A table cannot be used. The message is one line: file, line, what is allowed."""


class UnknownStatus(ValueError):
    """No command_status is written so. The message says what is allowed."""


class Cause(StrEnum):
    """Whom or what a failure is due to: the column `class`."""

    OK = "ok"
    PENDING = "pending"
    TERMINAL = "terminal"
    INVALID = "invalid"
    CONTENT = "content"
    BLACKLIST = "blacklist"
    POLICY = "policy"
    ROUTE = "route"
    GATEWAY = "gateway"
    THROTTLED = "throttled"
    EXPIRED = "expired"
    PORTED = "ported"
    PARAM = "param"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What the gateway does about it."""

    SUCCESS = "success"
    PENDING = "pending"  # no outcome yet
    LATER = "later"  # send again, on a schedule
    OTHER_ROUTE = "other_route"  # send again, another way
    FINAL = "final"  # this part has failed
    PARK = "park"  # our account there is refused: no link of it until an operator or a rebind helps


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a status means by the row that decided."""

    action: Action
    cause: Cause
    sub: str  # a finer cause in the words of the table; may be empty
    confidence: Confidence
    meaning: str
    source: str  # `shipped table line 12`, `codes.csv line 3`
    row: str  # carrier and code of the row as its file has them; empty where no row decided


class Explanation(msgspec.Struct, frozen=True):
    """How a code was read, and every row that matched, in rank order: the first one decided."""

    codes: tuple[str, ...]
    verdict: Verdict
    lower: tuple[Verdict, ...]


class _Row(NamedTuple):
    matches: Callable[[str], object]
    verdict: Verdict


class _File(NamedTuple):
    """The rows of one file in its order, by the name in the column `carrier`."""

    receipts: Mapping[str, Sequence[_Row]]
    statuses: Mapping[str, Sequence[_Row]]


class _Reading(NamedTuple):
    """What a receipt offers: groups of codes in the order in which they are asked."""

    state: int
    groups: tuple[tuple[tuple[str, ...], bool], ...]  # with each: whether `any` rows count


_ACTIONS: Final = {
    "no": Action.FINAL,
    "later": Action.LATER,
    # Another link at once is what dispatch does with whatever is sent later.
    "now": Action.LATER,
    "alt": Action.OTHER_ROUTE,
    "park": Action.PARK,
}

_NO_ROW: Final = Verdict(
    Action.FINAL, Cause.UNKNOWN, "", "low", "in no table: ask the carrier for its list", "no row", ""
)
_NO_ROW_DELIVERED: Final = Verdict(
    Action.SUCCESS, Cause.OK, "", "high", "delivered by its message_state", "no row", ""
)
_NO_ROW_PENDING: Final = Verdict(
    Action.PENDING, Cause.PENDING, "", "high", "intermediate by its message_state", "no row", ""
)


class OutcomeTable:
    """The shipped rows and the operator's; immutable, so one instance serves every thread."""

    __slots__ = ("_files", "_receipt", "_status", "accounts", "operator_lines")

    def __init__(self, files: Sequence[_File], operator_lines: tuple[str, ...]) -> None:
        """`files` in the order of their rank; operator_lines: what the operator's file said."""
        self.operator_lines: Final = operator_lines
        self._files: Final = files
        self._status: Final = lru_cache(VERDICTS_MAX)(partial(_status_verdict, files))
        self._receipt: Final = lru_cache(VERDICTS_MAX)(partial(_receipt_verdict, files))
        self.accounts: Final = frozenset(
            name for file in files for rows in file for name in rows if name not in _SHIPPED_NAMES
        )
        """The carrier accounts that rows name; one that is not configured is misspelt, and never matches."""

    @classmethod
    def load(cls, operator_file: Path | None = None) -> Self:
        """The table that ships (`gateway/data/status_codes.csv`), below the operator's file.

        The file is UTF-8, with the heading and columns of the shipped one. Codes may be patterns of fnmatch;
        one for a command_status is over the name, or over 0x and eight digits. Raises OutcomeTableError.
        """
        text = resources.files("gateway.data").joinpath("status_codes.csv").read_text(encoding="utf-8")
        if operator_file is None:
            return cls.from_csv(text.splitlines())
        return cls.from_csv(text.splitlines(), _lines(operator_file), operator_file)

    @classmethod
    def from_csv(
        cls,
        shipped: Iterable[str],
        operator: Sequence[str] | None = None,
        operator_file: Path = Path("codes.csv"),
    ) -> Self:
        """A table from lines of CSV with a heading. Raises OutcomeTableError, which names file and line."""
        files = [_file(shipped, "shipped table", "shipped table", is_shipped=True)]
        if operator is not None:
            files.insert(0, _file(operator, str(operator_file), operator_file.name, is_shipped=False))
        return cls(tuple(files), tuple(operator or ()))

    def of_status(self, carrier: str, network: str, command_status: int) -> Verdict:
        """What the command_status of a submit_sm_resp means, 0 to 0xFFFFFFFF. `carrier`: our account."""
        return self._status(carrier, network, command_status)

    def of_receipt(self, carrier: str, network: str, stat: bytes, err: bytes, message_state: int) -> Verdict:
        """What a delivery receipt means. The arguments are those of `protocol.smpp.receipt.Receipt`, raw.

        `message_state` (SMPP 3.4 §5.2.28) has the last word on whether this is a success, a failure or no
        outcome yet: rows that say otherwise do not count. Where it is UNMAPPED, the word in `stat` has it.
        """
        if len(stat) + len(err) > CODE_OCTETS_MAX:
            stat = err = b""
        return self._receipt(carrier, network, stat, err, message_state)

    def explain(self, carrier: str, network: str, code: str) -> Explanation:
        """Every row that matches `code`, as people write one: a `stat`, an `err`, or a command_status.

        A command_status begins with ESME_ or 0x; digits alone are the `err` of a receipt that says UNDELIV.
        Raises UnknownStatus where it begins so and is none.
        """
        if _is_status(code):
            status = _status(code)
            codes = _status_codes(status)
            decided = _status_verdict(self._files, carrier, network, status)
            matched = _status_verdicts(self._files, carrier, network, status)
        else:
            stat, err = ("UNDELIV", code) if code.strip().isdigit() else (code, "")
            receipt = network, stat.encode(), err.encode(), UNMAPPED
            groups = _read(*receipt).groups
            codes = tuple(dict.fromkeys(chain.from_iterable(group for group, _ in groups)))
            decided = _receipt_verdict(self._files, carrier, *receipt)
            matched = _receipt_verdicts(self._files, carrier, *receipt)
        # A wide pattern may match more than one of the codes.
        return Explanation(codes, decided, tuple(dict.fromkeys(matched))[1:])


# -- looking up ----------------------------------------------------------------------------------------------


def _status_verdict(files: Sequence[_File], carrier: str, network: str, status: int) -> Verdict:
    without_row = _NO_ROW if status else _NO_ROW_DELIVERED
    return next(_status_verdicts(files, carrier, network, status), without_row)


def _status_verdicts(files: Sequence[_File], carrier: str, network: str, status: int) -> Iterator[Verdict]:
    state = MessageState.REJECTED if status else MessageState.DELIVERED
    names = (*_names(carrier, network), "smpp")
    found = _search([file.statuses for file in files], names, _status_codes(status))
    return (verdict for verdict in found if _agrees(verdict.cause, state))


def _receipt_verdict(
    files: Sequence[_File], carrier: str, network: str, stat: bytes, err: bytes, message_state: int
) -> Verdict:
    found = next(_receipt_verdicts(files, carrier, network, stat, err, message_state), None)
    if found is not None:
        return found
    match message_state or message_state_of(stat):
        case MessageState.DELIVERED:
            return _NO_ROW_DELIVERED
        case MessageState.ENROUTE | MessageState.ACCEPTED:
            return _NO_ROW_PENDING
        case _:
            return _NO_ROW


def _receipt_verdicts(
    files: Sequence[_File], carrier: str, network: str, stat: bytes, err: bytes, message_state: int
) -> Iterator[Verdict]:
    reading = _read(network, stat, err, message_state)
    tables = [file.receipts for file in files]
    for codes, with_any in reading.groups:
        is_cmpp = any(map(_CMPP.fullmatch, codes))
        names = (*_names(carrier, network, is_cmpp=is_cmpp), "platform", *(("any",) if with_any else ()))
        for verdict in _search(tables, names, codes):
            if _agrees(verdict.cause, reading.state):
                yield verdict


def _names(account: str, network: str, *, is_cmpp: bool = False) -> tuple[str, ...]:
    # An account that is called `unicom` has no rows of its own: those are about the network.
    own = () if account in _SHIPPED_NAMES else (account,)
    if network != "mobile" and (network == "broadnet" or is_cmpp):
        return (*own, network, "mobile")
    return (*own, network)


def _search(
    tables: Iterable[Mapping[str, Sequence[_Row]]], names: Sequence[str], codes: Sequence[str]
) -> Iterator[Verdict]:
    for table in tables:
        for name in names:
            for row in table.get(name, ()):
                for code in codes:
                    if row.matches(code):
                        yield row.verdict
                        break


def _agrees(cause: Cause, state: int) -> bool:
    """A wide pattern, or an `err` beside another word, must not turn a failure into a success or back."""
    if state == UNMAPPED:
        return True
    if state == MessageState.DELIVERED:
        return cause is Cause.OK
    if state in (MessageState.ENROUTE, MessageState.ACCEPTED):
        return cause is Cause.PENDING
    return cause not in (Cause.OK, Cause.PENDING)


# -- reading codes -------------------------------------------------------------------------------------------

# CMPP 3.0 table 1. Some carriers write MK00001 for it: a 0 where the colon was.
_CMPP: Final = re.compile(r"([A-Z]{2})[:0]?([0-9]{4})")
# SGIP's State 2 (failed) and its ErrorCode, an octet that some write with a sign. 2:0 is left alone: SGIP:0
# stands for State 0, delivered.
_SGIP: Final = re.compile(r"(?:SGIP:|2:(?!-?0+$))(-?[0-9]{1,3})")
_SGIP_ERROR: Final = re.compile(r"-?[0-9]{1,3}")


def normalised(code: str) -> str:
    """The one form in which a code of a receipt is compared: `MK:0001`, `SGIP:25`, all else in upper case."""
    text = code.strip(" \t\r\n\0").upper()
    if cmpp := _CMPP.fullmatch(text):
        return f"{cmpp[1]}:{cmpp[2]}"
    if sgip := _SGIP.fullmatch(text):
        return _sgip(sgip[1])
    return text


def _sgip(error: str) -> str:
    return f"SGIP:{int(error) % 256 if error[0] == '-' else int(error)}"


def _text(octets: bytes) -> str:
    """A code as text; empty where the octets are no printable ASCII, and so no code."""
    text = normalised(octets.decode("ascii", "replace"))
    return text if text.isascii() and text.isprintable() else ""


def _read(network: str, stat: bytes, err: bytes, message_state: int) -> _Reading:
    text = _text(stat)
    spoken = message_state_of(text.encode())
    state = message_state or spoken
    word = stat_of(state).decode()
    reason = _text(err)
    if not reason.strip("0"):
        # SMGP's stat and err in one: UNDELIV_601.
        reason = normalised(text.partition("_")[2]) if spoken else ""
    errs = _err_codes(network, word, reason) if reason.strip("0") else ()
    if text and not spoken:
        groups = [((text,), True), (errs, False), ((word,), True)]
    else:
        # The state may be that of a TLV, against the word in the text: then the word is no code of it.
        words = (text, word) if text and spoken == state else (word,)
        groups = [(errs, False), (tuple(dict.fromkeys(words)), True)]
    return _Reading(state, tuple((codes, with_any) for codes, with_any in groups if any(codes)))


def _err_codes(network: str, word: str, reason: str) -> tuple[str, ...]:
    """`err` in the forms in which tables have it, none twice."""
    codes: dict[str, None] = {}
    if word and reason.isdigit():
        codes[f"{word}_{reason:0>3}"] = None
    if network == "unicom" and word == "UNDELIV" and _SGIP_ERROR.fullmatch(reason):
        codes[_sgip(reason)] = None
    codes[reason] = None
    return tuple(codes)


def _is_status(code: str) -> bool:
    return code.strip().upper().startswith(("ESME_", "0X"))


def _status(code: str) -> int:
    """The number of a command_status by name, of either version, or in hexadecimal. Raises UnknownStatus."""
    text = code.strip().upper()
    if text in CommandStatus.__members__:
        return CommandStatus[text]
    if re.fullmatch(r"0X[0-9A-F]{1,8}", text):
        return int(text, 16)
    raise UnknownStatus(
        f"{code!r}, allowed are a name of SMPP 3.4 or 5.0 such as ESME_RTHROTTLED, or 0x and 1 to 8"
        " hexadecimal digits"
    )


def _status_codes(status: int) -> tuple[str, ...]:
    """By name and by number, so that a pattern may be written over either."""
    name, number = status_name(status), f"0x{status:08X}"
    return (name, number) if name.startswith("ESME_") else (number,)


# -- files ---------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    try:
        # A table saved by Excel begins with a mark of its encoding.
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise OutcomeTableError(f"{path}: no such file: make it, or correct its name") from None
    except OSError as error:
        raise OutcomeTableError(f"{path}: {error.strerror}: name a readable file") from error
    except UnicodeDecodeError as error:
        raise OutcomeTableError(f"{path}: not UTF-8 at octet {error.start}: save it as UTF-8") from error


def _file(lines: Iterable[str], where: str, label: str, *, is_shipped: bool) -> _File:
    """`where`: the file in errors; `label`: in verdicts."""
    # Strict, or a quote that is never closed would swallow the rows behind it without a word.
    rows = csv.reader(lines, strict=True)
    receipts: dict[str, list[_Row]] = {}
    statuses: dict[str, list[_Row]] = {}
    seen: dict[tuple[str, str], int] = {}
    try:
        heading = [cell.strip() for cell in next(rows, [])]
        if heading != _HEADING:
            raise OutcomeTableError(f"{heading}, allowed is {','.join(_HEADING)}")
        for cells in rows:
            if not any(cells):
                continue
            if len(seen) == ROWS_MAX:
                raise OutcomeTableError(f"one row more than the {ROWS_MAX} that are allowed")
            carrier, code, is_status, verdict = _row(cells, f"{label} line {rows.line_num}", is_shipped)
            first = seen.setdefault((carrier, code), rows.line_num)
            if first != rows.line_num:
                raise OutcomeTableError(f"{verdict.row} stands in line {first}, allowed is once")
            of_carrier = (statuses if is_status else receipts).setdefault(carrier, [])
            matches = re.compile(translate(code)).match if _WILD.search(code) else code.__eq__
            of_carrier.append(_Row(matches, verdict))
    except (OutcomeTableError, csv.Error) as error:
        raise OutcomeTableError(f"{where}: line {max(rows.line_num, 1)}: {error}") from None
    return _File(receipts, statuses)


def _row(cells: list[str], source: str, is_shipped: bool) -> tuple[str, str, bool, Verdict]:
    """Carrier, code in the form that is compared, whether it is a command_status, and the verdict."""
    if len(cells) != len(_HEADING):
        raise OutcomeTableError(
            f"{len(cells)} columns, allowed is {len(_HEADING)}: quote a meaning that holds a comma"
        )
    cells = [cell.strip() for cell in cells]
    carrier, written, cause, sub, retry, confidence, meaning = cells
    if not all(cell.isprintable() for cell in cells):
        raise OutcomeTableError("control characters, allowed is plain text")
    if is_shipped and carrier not in _SHIPPED_NAMES:
        raise OutcomeTableError(f"carrier {carrier!r}, allowed are {', '.join(_SHIPPED_NAMES)}")
    if not _NAME.fullmatch(carrier):
        raise OutcomeTableError(
            f"carrier {carrier!r}, allowed is a [[carrier]] or {', '.join(_SHIPPED_NAMES)}"
        )
    is_status = carrier == "smpp" or _is_status(written)
    code = _row_code(written, is_status)
    verdict = _verdict(cause, sub, retry, confidence, meaning, source, f"{carrier} {written}")
    if retry == "park" and is_shipped and not is_status:
        raise OutcomeTableError("retry park, allowed in rows of smpp and in an operator's file")
    if is_status and code != "ESME_ROK" and verdict.cause in (Cause.OK, Cause.PENDING):
        raise OutcomeTableError(f"class {cause} of {written}, allowed for ESME_ROK alone")
    return carrier, code, is_status, verdict


def _row_code(written: str, is_status: bool) -> str:
    if not _CODE.fullmatch(written):
        raise OutcomeTableError(
            f"code {written!r}, allowed are 1 to 32 printable ASCII characters without blanks"
        )
    if _WILD.search(written):
        return written.upper().replace("0X", "0x") if is_status else written.upper()
    if not is_status:
        return normalised(written)
    try:
        return _status_codes(_status(written))[0]
    except UnknownStatus as error:
        raise OutcomeTableError(f"code {error}") from None


def _verdict(
    cause: str, sub: str, retry: str, confidence: str, meaning: str, source: str, row: str
) -> Verdict:
    for column, value, allowed in (
        ("class", cause, tuple(Cause)),
        ("retry", retry, tuple(_ACTIONS)),
        ("conf", confidence, get_args(Confidence)),
    ):
        if value not in allowed:
            raise OutcomeTableError(f"{column} {value!r}, allowed are {', '.join(allowed)}")
    action = _ACTIONS[retry]
    if cause == Cause.OK:
        action = Action.SUCCESS
    elif cause == Cause.PENDING:
        action = Action.PENDING
    elif confidence == "low" and action in (Action.OTHER_ROUTE, Action.PARK):
        action = Action.FINAL
    return Verdict(action, Cause(cause), sub, msgspec.convert(confidence, Confidence), meaning, source, row)
