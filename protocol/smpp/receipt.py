"""Delivery receipts: read whatever carriers write, write what SMPP 3.4 Appendix B says.

Appendix B is a habit, not a format. Receipts come without `sub` and `dlvrd`, with keys in another order or
another case, with seconds in the dates, with four-digit or alphanumeric `err`, with Chinese codes such as
`MK:0001` in `stat`, with the facts in TLVs and no text, or with a text and no TLVs. So there are two readers:
one regular expression for the canonical order, which nearly every receipt has, and behind it a tokenizer that
looks for the known keys. Where the first one matches, both give the same (a test holds them together).

What is read is kept raw: a code that nobody knows is `unmapped` and no error. Whether a `deliver_sm` *is* a
receipt is never judged here, since a handset can type the same text: `esm_class` decides, before the call.
"""

import re
from typing import Final

import msgspec

from protocol.smpp.codes import MessageState, TlvTag
from protocol.smpp.limits import MESSAGE_ID_OCTETS

# Plain integers for the hot path: an attribute of an enumeration costs a look-up more.
_RECEIPTED_MESSAGE_ID: Final = int(TlvTag.RECEIPTED_MESSAGE_ID)
_NETWORK_ERROR_CODE: Final = int(TlvTag.NETWORK_ERROR_CODE)
_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)
_MESSAGE_STATE: Final = int(TlvTag.MESSAGE_STATE)
_MESSAGE_STATE_MAX: Final = int(max(MessageState))

# The number of SCHEDULED too, which is no outcome: `is_final` tells them apart by the word.
UNMAPPED: Final = 0

# SMPP 3.4 Appendix B and §5.2.28. The long words and FAILED are what carriers write besides; `SGIP:0` and
# `0:0` are SGIP's State 0 (delivered), `1:0` its State 1 (waiting), passed on as text. A refusal of SGIP
# (`2:25`) and a code of CMPP (`MK:0001`) are not mapped: the carrier's own code table has their meaning.
_STATE_OF_STAT: Final[dict[bytes, int]] = {
    word: int(state)
    for word, state in (
        (b"ENROUTE", MessageState.ENROUTE),
        (b"DELIVRD", MessageState.DELIVERED),
        (b"EXPIRED", MessageState.EXPIRED),
        (b"DELETED", MessageState.DELETED),
        (b"UNDELIV", MessageState.UNDELIVERABLE),
        (b"ACCEPTD", MessageState.ACCEPTED),
        (b"UNKNOWN", MessageState.UNKNOWN),
        (b"REJECTD", MessageState.REJECTED),
        (b"SKIPPED", MessageState.SKIPPED),
        (b"FAILED", MessageState.UNDELIVERABLE),
        (b"DELIVERED", MessageState.DELIVERED),
        (b"UNDELIVERABLE", MessageState.UNDELIVERABLE),
        (b"UNDELIVERED", MessageState.UNDELIVERABLE),
        (b"ACCEPTED", MessageState.ACCEPTED),
        (b"REJECTED", MessageState.REJECTED),
        (b"SGIP:0", MessageState.DELIVERED),
        (b"0:0", MessageState.DELIVERED),
        (b"1:0", MessageState.ENROUTE),
    )
}
_STAT_OF_STATE: Final[tuple[bytes, ...]] = (
    b"",
    b"ENROUTE",
    b"DELIVRD",
    b"EXPIRED",
    b"DELETED",
    b"UNDELIV",
    b"ACCEPTD",
    b"UNKNOWN",
    b"REJECTD",
    b"SKIPPED",
)
_SCHEDULED_WORDS: Final = (b"SCHEDULED", b"SCHEDLD")
_INTERMEDIATE_STATES: Final = frozenset({int(MessageState.ENROUTE), int(MessageState.ACCEPTED)})


class Receipt(msgspec.Struct, gc=False):
    """One delivery receipt. Octets are the carrier's own; what it did not say is empty.

    `message_id`: never empty; the TLV receipted_message_id wins over the text.
    `stat`, `err`, `submit_date`, `done_date`, `sub`, `dlvrd`: from the text only, surrounding blanks removed.
    `text`: everything behind `text:`, untouched; of a text with no known key, the whole of it.
    `message_state`: SMPP 3.4 §5.2.28; the TLV wins over the word in `stat`; `UNMAPPED` (0) when neither says.
    `network_error_code`: the value of the TLV (network type, two octets of code), SMPP 3.4 §5.3.2.31.
    """

    message_id: bytes
    stat: bytes = b""
    err: bytes = b""
    submit_date: bytes = b""
    done_date: bytes = b""
    sub: bytes = b""
    dlvrd: bytes = b""
    text: bytes = b""
    message_state: int = UNMAPPED
    network_error_code: bytes = b""


# The canonical order. What a value may hold is narrower than what the tokenizer allows, so that a receipt
# which could be read in two ways is left to the tokenizer.
_CANONICAL: Final = re.compile(
    rb"id:([^\s,;|&:=\0]+) "
    rb"(?:sub:([0-9]+) dlvrd:([0-9]+) )?"
    rb"submit date:([0-9]+) done date:([0-9]+) "
    rb"stat:([0-9A-Za-z_:-]+) err:([0-9A-Za-z]*)"
    rb"(?: [Tt]ext:(.*))?",
    re.DOTALL,
)

# A key counts at the start or behind a separator: the colon of `stat:ID:0076` begins no id.
_KEY: Final = re.compile(
    rb"(?<![^\s,;|&\0])"
    rb"(?:(?P<message_id>id)|(?P<sub>sub)|(?P<dlvrd>dlvrd)"
    rb"|(?P<submit_date>submit[\s_-]{0,4}date)|(?P<done_date>done[\s_-]{0,4}date)"
    rb"|(?P<stat>stat(?:us)?)|(?P<err>err(?:or)?)|(?P<text>text))"
    rb"\s{0,4}[:=]",
    re.IGNORECASE,
)
# `stat: ID:0076`: behind a blank a carrier's code would look like a key, were it not for its shape.
_CARRIER_CODE: Final = re.compile(rb"\s*[A-Z]{2}:[0-9]{4}(?![0-9A-Za-z])")
# A value ends at a blank, or where a key that we do not know begins behind another separator.
_VALUE_END: Final = re.compile(rb"[\s\0]|[,;|&][A-Za-z_]{1,32}[:=]")
# Dates alone may hold blanks: some carriers write `2026-01-31 12:00:00`.
_DATE: Final = re.compile(rb"[0-9][0-9 :/T.+-]*")
_SEPARATORS: Final = b" \t\r\n\v\f,;|&\0"


def read_receipt(short_message: bytes, tlvs: tuple[tuple[int, bytes], ...]) -> Receipt | None:
    """Reads the receipt that a PDU marked as one carries; None when nothing in it names a message.

    Receipts are ASCII whatever data_coding says (field lesson 34); one in UCS-2 is read too if its first
    octets show it, and its `text` then comes in UTF-8. An empty short_message is looked for in the TLV
    message_payload. Never raises: a TLV of a length it cannot have counts as missing.
    """
    match = _CANONICAL.fullmatch(short_message)
    if match is None:
        return _read_tolerantly(short_message, tlvs)
    message_id, sub, dlvrd, submit_date, done_date, stat, err, text = match.groups(b"")
    state = _STATE_OF_STAT.get(stat)
    if state is None:
        state = message_state_of(stat)
    receipt = Receipt(message_id, stat, err, submit_date, done_date, sub, dlvrd, text, state)
    if tlvs:
        _apply_tlvs(receipt, tlvs)
    return receipt


def _read_tolerantly(short_message: bytes, tlvs: tuple[tuple[int, bytes], ...]) -> Receipt | None:
    text = short_message
    if not text:
        text = next((value for tag, value in tlvs if tag == _MESSAGE_PAYLOAD), b"")
    receipt = _tokenize(_from_ucs2(text))
    _apply_tlvs(receipt, tlvs)
    return receipt if receipt.message_id else None


def _apply_tlvs(receipt: Receipt, tlvs: tuple[tuple[int, bytes], ...]) -> None:
    for tag, value in tlvs:
        if tag == _MESSAGE_STATE:
            # State 0 (SCHEDULED) names no outcome that the word in the text could not name better.
            if len(value) == 1 and 0 < value[0] <= _MESSAGE_STATE_MAX:
                receipt.message_state = value[0]
        elif tag == _RECEIPTED_MESSAGE_ID:
            # A C-octet string, from some carriers padded; the id itself holds neither blanks nor NULs.
            receipt.message_id = value.strip(b"\0 ") or receipt.message_id
        elif tag == _NETWORK_ERROR_CODE and len(value) == 3:
            receipt.network_error_code = value


def _from_ucs2(octets: bytes) -> bytes:
    """ASCII from UCS-2 in either order of octets, if the first sixteen show it; anything else as it came."""
    head = octets[:16]
    if len(head) < 8 or not 0 <= len(head) - 2 * head.count(0) <= 1:
        return octets
    if not any(head[::2]):
        return octets.decode("utf-16-be", "replace").encode()
    if not any(head[1::2]):
        return octets.decode("utf-16-le", "replace").encode()
    return octets


def _tokenize(octets: bytes) -> Receipt:
    """The known keys in any order and case; the first of each counts, and `text` ends the search."""
    values: dict[str, bytes] = {}
    text = b""
    name, value_start, search_from = "", 0, 0
    while match := _KEY.search(octets, search_from):
        search_from = match.end()
        key = match.lastgroup
        assert key is not None  # every alternative is a named group
        if key == name or key in values:
            continue
        if name:
            values[name] = _value(name, octets[value_start : match.start()])
        name, value_start = key, search_from
        if key == "text":
            text = octets[search_from:]
            break
        if key in ("stat", "err") and (code := _CARRIER_CODE.match(octets, search_from)):
            search_from = code.end()
    else:
        if name:
            values[name] = _value(name, octets[value_start:])
        else:
            text = octets
    stat = values.get("stat", b"")
    return Receipt(
        values.get("message_id", b""),
        stat,
        values.get("err", b""),
        values.get("submit_date", b""),
        values.get("done_date", b""),
        values.get("sub", b""),
        values.get("dlvrd", b""),
        text,
        message_state_of(stat),
    )


def _value(name: str, octets: bytes) -> bytes:
    value = octets.strip(_SEPARATORS)
    if name in ("submit_date", "done_date") and (date := _DATE.match(value)):
        return date[0].rstrip()
    if end := _VALUE_END.search(value):
        value = value[: end.start()]
    return value.rstrip(_SEPARATORS)


def message_state_of(stat: bytes) -> int:
    """The message_state of the word in `stat`, in any case, also as `UNDELIV_601`; UNMAPPED for all else."""
    word = stat.upper()
    state = _STATE_OF_STAT.get(word)
    if state is None:
        # SMGP's stat and err, shown as one.
        state = _STATE_OF_STAT.get(word.partition(b"_")[0], UNMAPPED)
    return state


def stat_of(message_state: int) -> bytes:
    """The word of Appendix B for a message_state; empty for UNMAPPED, ValueError for what is no state."""
    if not 0 <= message_state <= _MESSAGE_STATE_MAX:
        raise ValueError(f"message_state {message_state} is not within 0..{_MESSAGE_STATE_MAX}")
    return _STAT_OF_STATE[message_state]


def is_final(receipt: Receipt) -> bool:
    """Whether the receipt ends its part: ENROUTE, ACCEPTED, SCHEDULED do not, nor does one without a state.

    A code that is none of the words is the carrier's final reason (CMPP 3.0 table 1), except for the family
    `ML:nnnn`, in which Huawei's message centres say ACCEPTD with a reason.
    """
    state = receipt.message_state
    if state:
        return state not in _INTERMEDIATE_STATES
    stat = receipt.stat.upper()
    return stat != b"" and stat not in _SCHEDULED_WORDS and not stat.startswith(b"ML:")


# What Appendix B prints is `stat` of 7 octets and `err` of 3. Carriers write UNDELIV_601 and four-digit or
# alphanumeric codes (field lesson 6), and an application is owed the carrier's own reason: these two bounds
# are wider.
MESSAGE_ID_LENGTH_MAX: Final = MESSAGE_ID_OCTETS - 1  # without the NUL
STAT_LENGTH_MAX: Final = 16
ERR_LENGTH_MAX: Final = 8
TEXT_LENGTH_MAX: Final = 20
_FORMAT: Final = b"id:%b sub:%b dlvrd:%b submit date:%b done date:%b stat:%b err:%b text:%b"
_BLANK: Final = re.compile(rb"[\x00-\x20\x7f-\xff]")

# The longest receipt fits a short_message (254 octets, SMPP 3.4 §5.2.22): `%b` takes two octets of the
# format, `sub` and `dlvrd` six, the dates 24.
_LENGTH_MAX: Final = 30 + MESSAGE_ID_LENGTH_MAX + STAT_LENGTH_MAX + ERR_LENGTH_MAX + TEXT_LENGTH_MAX
assert len(_FORMAT) - 2 * _FORMAT.count(b"%b") + _LENGTH_MAX <= 254


def write_receipt(
    message_id: bytes,
    sub: bytes,
    dlvrd: bytes,
    submit_date: bytes,
    done_date: bytes,
    stat: bytes,
    err: bytes,
    text: bytes = b"",
) -> bytes:
    """The short_message of a receipt, SMPP 3.4 Appendix B, in its order and with all of its keys.

    `sub` and `dlvrd` are three digits, the dates YYMMDDhhmm or YYMMDDhhmmss; `message_id`, `stat` and `err`
    are printable ASCII without blanks, 1 to 64, 1 to 16 and 1 to 8 octets; `text` is at most 20 octets of
    anything. ValueError, naming the field, for all else: such a receipt is passed on as it came.
    """
    if not (
        0 < len(message_id) <= MESSAGE_ID_LENGTH_MAX
        and len(sub) == 3
        and len(dlvrd) == 3
        and len(submit_date) in (10, 12)
        and len(done_date) in (10, 12)
        and 0 < len(stat) <= STAT_LENGTH_MAX
        and 0 < len(err) <= ERR_LENGTH_MAX
        and len(text) <= TEXT_LENGTH_MAX
        and (sub + dlvrd + submit_date + done_date).isdigit()
        and _BLANK.search(message_id + stat + err) is None
    ):
        raise ValueError(_refusal(message_id, sub, dlvrd, submit_date, done_date, stat, err, text))
    return _FORMAT % (message_id, sub, dlvrd, submit_date, done_date, stat, err, text)


def _refusal(
    message_id: bytes,
    sub: bytes,
    dlvrd: bytes,
    submit_date: bytes,
    done_date: bytes,
    stat: bytes,
    err: bytes,
    text: bytes,
) -> str:
    for name, value in (("sub", sub), ("dlvrd", dlvrd)):
        if len(value) != 3 or not value.isdigit():
            return f"{name} {value!r} is not three digits"
    for name, value in (("submit date", submit_date), ("done date", done_date)):
        if len(value) not in (10, 12) or not value.isdigit():
            return f"{name} {value!r} is neither YYMMDDhhmm nor YYMMDDhhmmss"
    for name, value, longest in (
        ("message_id", message_id, MESSAGE_ID_LENGTH_MAX),
        ("stat", stat, STAT_LENGTH_MAX),
        ("err", err, ERR_LENGTH_MAX),
    ):
        if not 0 < len(value) <= longest or _BLANK.search(value):
            return f"{name} {value!r} is not 1 to {longest} printable octets without blanks"
    return f"text of {len(text)} octets is longer than {TEXT_LENGTH_MAX}"  # not quoted: it is content


# Message ids across notations (field lesson 2). A carrier may answer `submit_sm` with 0001A2B3 and write
# 107187 into the receipt. The contract:
#
#     store:   exact[raw] and derived[canonical_id(raw)] for the id of the response
#     look up: exact[raw], then derived[canonical_id(c)] for each c in id_candidates(raw of the receipt)
#
# A hit in `derived` is a proposal: it counts only if the destination agrees, since 10 may be ten or sixteen.
#
# A number has at most 31 digits, whatever its base: 32 hexadecimal digits are a UUID without its dashes, more
# are a digest, and a leading zero of those belongs to the id. What is no hexadecimal number is compared
# without regard to case, and otherwise left as it is.
_NUMBER: Final = re.compile(rb"[0-9a-f]{1,31}")


def canonical_id(raw: bytes) -> bytes:
    """The key of an id in the derived index: in lower case, and a number without leading zeros."""
    folded = raw.lower()
    if folded[:1] == b"0" and _NUMBER.fullmatch(folded):
        return folded.lstrip(b"0") or b"0"
    return folded


def id_candidates(raw: bytes) -> tuple[bytes, ...]:
    """The forms in which the carrier may have given this id before, the exact one first, none twice.

    After the raw id: in lower case, without leading zeros, read as hexadecimal and written in decimal, read
    as decimal and written in hexadecimal. Between one and five; ids that are no number have at most two.
    """
    folded = raw.lower()
    if not _NUMBER.fullmatch(folded):
        return (raw,) if folded == raw else (raw, folded)
    candidates = {
        raw: None,
        folded: None,
        folded.lstrip(b"0") or b"0": None,
        b"%d" % int(folded, 16): None,
    }
    if folded.isdigit():
        candidates[b"%x" % int(folded)] = None
    return tuple(candidates)
