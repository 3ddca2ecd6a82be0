"""Why a part failed, by the table of status codes (statement-format.md, "Causes")."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

# SMPP 3.4 section 5.1.3 and SMPP 5.0 section 4.7.6, which renames 0xC0 to 0xC4.
STATUS_NAMES = {
    0x00: "ESME_ROK",
    0x01: "ESME_RINVMSGLEN",
    0x02: "ESME_RINVCMDLEN",
    0x03: "ESME_RINVCMDID",
    0x04: "ESME_RINVBNDSTS",
    0x05: "ESME_RALYBND",
    0x06: "ESME_RINVPRTFLG",
    0x07: "ESME_RINVREGDLVFLG",
    0x08: "ESME_RSYSERR",
    0x0A: "ESME_RINVSRCADR",
    0x0B: "ESME_RINVDSTADR",
    0x0C: "ESME_RINVMSGID",
    0x0D: "ESME_RBINDFAIL",
    0x0E: "ESME_RINVPASWD",
    0x0F: "ESME_RINVSYSID",
    0x11: "ESME_RCANCELFAIL",
    0x13: "ESME_RREPLACEFAIL",
    0x14: "ESME_RMSGQFUL",
    0x15: "ESME_RINVSERTYP",
    0x33: "ESME_RINVNUMDESTS",
    0x34: "ESME_RINVDLNAME",
    0x40: "ESME_RINVDESTFLAG",
    0x42: "ESME_RINVSUBREP",
    0x43: "ESME_RINVESMCLASS",
    0x44: "ESME_RCNTSUBDL",
    0x45: "ESME_RSUBMITFAIL",
    0x48: "ESME_RINVSRCTON",
    0x49: "ESME_RINVSRCNPI",
    0x50: "ESME_RINVDSTTON",
    0x51: "ESME_RINVDSTNPI",
    0x53: "ESME_RINVSYSTYP",
    0x54: "ESME_RINVREPFLAG",
    0x55: "ESME_RINVNUMMSGS",
    0x58: "ESME_RTHROTTLED",
    0x61: "ESME_RINVSCHED",
    0x62: "ESME_RINVEXPIRY",
    0x63: "ESME_RINVDFTMSGID",
    0x64: "ESME_RX_T_APPN",
    0x65: "ESME_RX_P_APPN",
    0x66: "ESME_RX_R_APPN",
    0x67: "ESME_RQUERYFAIL",
    0xC0: "ESME_RINVTLVSTREAM",
    0xC1: "ESME_RTLVNOTALLWD",
    0xC2: "ESME_RINVTLVLEN",
    0xC3: "ESME_RMISSINGTLV",
    0xC4: "ESME_RINVTLVVAL",
    0xFE: "ESME_RDELIVERYFAILURE",
    0xFF: "ESME_RUNKNOWNERR",
    0x100: "ESME_RSERTYPUNAUTH",
    0x101: "ESME_RPROHIBITED",
    0x102: "ESME_RSERTYPUNAVAIL",
    0x103: "ESME_RSERTYPDENIED",
    0x104: "ESME_RINVDCS",
    0x105: "ESME_RINVSRCADDRSUBUNIT",
    0x106: "ESME_RINVDSTADDRSUBUNIT",
}

WORDS = {
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}
# What carriers write besides. The document names seven words alone.
SPOKEN = {word: state for state, word in WORDS.items()} | {
    "DELIVERED": 2,
    "SGIP:0": 2,
    "0:0": 2,
    "1:0": 1,
    "FAILED": 5,
    "UNDELIVERABLE": 5,
    "UNDELIVERED": 5,
    "ACCEPTED": 6,
    "REJECTED": 8,
}
SOURCES = ("mobile", "unicom", "telecom", "broadnet", "platform", "any", "smpp", "cmpp_result", "smgp_status")

CMPP = re.compile("[A-Z]{2}:[0-9]{4}")
ON_THE_WAY = (1, 6)
REJECTED = 8


def fits(kind: str, state: int) -> bool:
    """Whether a row of this class may say why a part failed whose receipt has this state."""
    if state == 0:
        return True
    return kind == "pending" if state in ON_THE_WAY else kind not in ("ok", "pending")


@dataclass(frozen=True)
class Row:
    """A line of the file: whose code, the code (a pattern), and the class that is the cause."""

    source: str
    code: str
    kind: str


def read(path: Path) -> list[Row]:
    """The rows of a file in their order."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(row["carrier"], row["code"].upper(), row["class"]) for row in csv.DictReader(file)]


def first_row(
    rows: Sequence[Row], sources: Iterable[str], codes: Iterable[str], message_state: int
) -> str | None:
    """The class of the first row that counts, for each source in turn."""
    wanted = [code for code in codes if code]
    for source in sources:
        for row in rows:
            if row.source != source or not fits(row.kind, message_state):
                continue
            if any(fnmatchcase(code, row.code) for code in wanted):
                return row.kind
    return None


def asked(account: str, network: str, *, mobile: bool) -> list[str]:
    """Whose rows are asked: an account that is called as a network has none of its own."""
    own = [] if account in SOURCES else [account]
    return [*own, network, *(["mobile"] if mobile or network == "broadnet" else [])]


def of_refused(rows: Sequence[Row], account: str, network: str, status: int) -> str:
    """The cause of a part that a Refused ended."""
    codes = [STATUS_NAMES.get(status, ""), f"0X{status:08X}"]
    sources = [*asked(account, network, mobile=False), "smpp"]
    return first_row(rows, sources, codes, REJECTED) or "unknown"


def plain(data: str) -> str:
    """A code as it is compared; empty where it is no printable ASCII."""
    code = data.strip(" \t\r\n\0").upper()
    if not (code.isascii() and code.isprintable()):
        return ""
    if cmpp := re.fullmatch("([A-Z]{2})[:0]?([0-9]{4})", code):
        return f"{cmpp[1]}:{cmpp[2]}"
    sgip = re.fullmatch("(2|SGIP):(-?[0-9]{1,3})", code)
    if sgip and (sgip[1] == "SGIP" or int(sgip[2])):
        return sgip_code(sgip[2])
    return code


def sgip_code(number: str) -> str:
    """A code of SGIP: one octet, which some write with a sign."""
    return f"SGIP:{int(number) % 256 if number.startswith('-') else int(number)}"


def of_receipt(
    rows: Sequence[Row], account: str, network: str, message_state: int, stat_octets: bytes, err_octets: bytes
) -> str:
    """The cause of a part that a Receipt ended, by its own words or by a Matched."""
    stat, err = plain(stat_octets.decode("latin-1")), plain(err_octets.decode("latin-1"))
    spoken = SPOKEN.get(stat) or SPOKEN.get(stat.partition("_")[0]) or 0
    state = message_state or spoken
    word = WORDS.get(state, "")
    if not err.strip("0"):
        err = plain(stat.partition("_")[2]) if spoken else ""
    codes_of_err = []
    if err.strip("0"):
        if err.isdecimal() and word:
            codes_of_err.append(f"{word}_{err:0>3}")
        if network == "unicom" and word == "UNDELIV" and re.fullmatch("-?[0-9]{1,3}", err):
            codes_of_err.append(sgip_code(err))
        codes_of_err.append(err)

    def ask(codes: Sequence[str], *, anybody: bool) -> str | None:
        mobile = any(CMPP.fullmatch(code) for code in codes)
        sources = [*asked(account, network, mobile=mobile), "platform", *(["any"] if anybody else [])]
        return first_row(rows, sources, codes, state)

    if stat and not spoken:
        cause = ask([stat], anybody=True) or ask(codes_of_err, anybody=False) or ask([word], anybody=True)
    else:
        words = [stat, word] if spoken == state else [word]
        cause = ask(codes_of_err, anybody=False) or ask(words, anybody=True)
    return cause or ("pending" if state in ON_THE_WAY else "unknown")
