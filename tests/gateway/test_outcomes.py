"""What statuses and receipts mean by the shipped table, by an operator's above it, and by neither."""
# ruff: noqa: E501  (a row of a case table stays on its line)

import csv
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import outcomes
from gateway.outcomes import (
    CODE_OCTETS_MAX,
    ROWS_MAX,
    VERDICTS_MAX,
    Action,
    Cause,
    OutcomeTable,
    OutcomeTableError,
    UnknownStatus,
    Verdict,
    normalised,
)
from protocol.smpp.codes import CommandStatus, MessageState, status_name

TABLE = OutcomeTable.load()
SHIPPED = (
    resources.files("gateway.data").joinpath("status_codes.csv").read_text(encoding="utf-8").splitlines()
)
HEADING = "carrier,code,class,sub,retry,conf,meaning"

UNMAPPED, ENROUTE, DELIVERED, EXPIRED, DELETED, UNDELIV, ACCEPTED, UNKNOWN, REJECTED, SKIPPED = range(10)
SUCCESS, PENDING, LATER, OTHER_ROUTE, FINAL, PARK = Action


def gist(verdict: Verdict) -> tuple[Action, str, str, str]:
    return verdict.action, verdict.cause.value, verdict.confidence, verdict.row


def table(*operator: str) -> OutcomeTable:
    return OutcomeTable.from_csv(SHIPPED, [HEADING, *operator])


# -- receipts by the shipped table ---------------------------------------------------------------------------

# network, stat, err, message_state; action, cause, confidence, row
RECEIPTS: list[tuple[str, bytes, bytes, int, Action, str, str, str]] = [
    # The words of every network.
    ("mobile", b"DELIVRD", b"000", DELIVERED, SUCCESS, "ok", "high", "any DELIVRD"),
    ("mobile", b"ENROUTE", b"", ENROUTE, PENDING, "pending", "high", "any ENROUTE"),
    ("mobile", b"ACCEPTD", b"", ACCEPTED, PENDING, "pending", "high", "any ACCEPTD"),
    ("mobile", b"EXPIRED", b"000", EXPIRED, LATER, "expired", "high", "any EXPIRED"),
    ("mobile", b"DELETED", b"", DELETED, FINAL, "gateway", "med", "any DELETED"),
    ("mobile", b"UNDELIV", b"000", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    ("mobile", b"REJECTD", b"", REJECTED, FINAL, "gateway", "med", "any REJECTD"),
    ("mobile", b"UNKNOWN", b"", UNKNOWN, FINAL, "unknown", "high", "any UNKNOWN"),
    ("mobile", b"SKIPPED", b"", SKIPPED, FINAL, "gateway", "med", "any SKIPPED"),
    ("mobile", b"SCHEDULED", b"", UNMAPPED, PENDING, "pending", "high", "any SCHEDULED"),
    ("mobile", b"schedld", b"", UNMAPPED, PENDING, "pending", "med", "any SCHEDLD"),
    ("mobile", b"FAILED", b"", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    ("mobile", b"undelivered", b"", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    # Only the TLV speaks, or it speaks against the text.
    ("mobile", b"", b"", DELIVERED, SUCCESS, "ok", "high", "any DELIVRD"),
    ("mobile", b"", b"", EXPIRED, LATER, "expired", "high", "any EXPIRED"),
    ("mobile", b"UNDELIV", b"", EXPIRED, LATER, "expired", "high", "any EXPIRED"),
    ("mobile", b"DELIVRD", b"", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    ("mobile", b"MK:0001", b"", DELIVERED, SUCCESS, "ok", "high", "any DELIVRD"),
    ("mobile", b"UNDELIV", b"MK:0001", ACCEPTED, PENDING, "pending", "high", "any ACCEPTD"),
    # Codes of CMPP, in stat, in err, in each notation.
    ("mobile", b"MK:0001", b"", UNMAPPED, FINAL, "invalid", "high", "mobile M[IKMN]:0001"),
    ("mobile", b"MK:0001", b"", UNDELIV, FINAL, "invalid", "high", "mobile M[IKMN]:0001"),
    ("mobile", b"mk:0024 \0", b"", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"MK00024", b"", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"UNDELIV", b"MK:0024", UNDELIV, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"UNDELIV", b"MK0024", UNDELIV, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"UNDELIV_MK:0024", b"", UNDELIV, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"", b"MK:0024", UNDELIV, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"WHAT", b"MK:0024", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"MK:0024", b"MK:0001", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    # The exact row stands before the family's.
    ("mobile", b"MB:1044", b"", UNMAPPED, OTHER_ROUTE, "route", "high", "mobile MB:1044"),
    ("mobile", b"MB:4711", b"", UNMAPPED, FINAL, "gateway", "high", "mobile MB:*"),
    ("mobile", b"IB:0072", b"", UNMAPPED, OTHER_ROUTE, "route", "high", "mobile I[BD]:0072"),
    ("mobile", b"IB:4711", b"", UNMAPPED, OTHER_ROUTE, "gateway", "high", "mobile IB:*"),
    ("mobile", b"ID:0076", b"", UNMAPPED, FINAL, "content", "high", "mobile ID:0076"),
    ("mobile", b"DB:0141", b"", UNMAPPED, FINAL, "blacklist", "high", "mobile DB:0141"),
    ("mobile", b"DB:0142", b"", UNMAPPED, LATER, "throttled", "high", "mobile DB:0142"),
    ("mobile", b"MI:4711", b"", UNMAPPED, LATER, "expired", "med", "mobile MI:*"),
    ("mobile", b"ML:0008", b"", UNMAPPED, PENDING, "pending", "med", "mobile ML:*"),
    # Sources disagree: the row says `alt`, and nothing is sent another way on its word.
    ("mobile", b"MH:0007", b"", UNMAPPED, FINAL, "ported", "low", "mobile MH:0007"),
    ("mobile", b"MK:0010", b"", UNMAPPED, LATER, "gateway", "low", "mobile M[IKMN]:0010"),
    ("unicom", b"SGIP:70", b"", UNMAPPED, FINAL, "gateway", "low", "unicom SGIP:70"),
    # Broadnet runs over Mobile's systems, and anyone may pass on a code of CMPP.
    ("broadnet", b"MK:0024", b"", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("broadnet", b"UNDELIV", b"NP:0001", UNDELIV, OTHER_ROUTE, "ported", "med", "mobile NP:*"),
    ("telecom", b"MK:0024", b"", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("telecom", b"UNDELIV", b"MK:0024", UNDELIV, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("unicom", b"MK00024", b"", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    # SGIP: State 2 and its code in every notation; a code under another state is none.
    ("unicom", b"2:25", b"", UNMAPPED, LATER, "terminal", "high", "unicom SGIP:25"),
    ("unicom", b"SGIP:25", b"", UNMAPPED, LATER, "terminal", "high", "unicom SGIP:25"),
    ("unicom", b"sgip:025", b"", UNMAPPED, LATER, "terminal", "high", "unicom SGIP:25"),
    ("unicom", b"UNDELIV", b"025", UNDELIV, LATER, "terminal", "high", "unicom SGIP:25"),
    ("unicom", b"UNDELIV", b"2:25", UNDELIV, LATER, "terminal", "high", "unicom SGIP:25"),
    ("unicom", b"", b"29", UNDELIV, FINAL, "invalid", "high", "unicom SGIP:29"),
    ("unicom", b"EXPIRED", b"29", EXPIRED, LATER, "expired", "high", "any EXPIRED"),
    ("unicom", b"UNDELIV", b"-103", UNDELIV, FINAL, "unknown", "low", "unicom SGIP:*"),
    ("unicom", b"SGIP:0", b"", DELIVERED, SUCCESS, "ok", "high", "unicom SGIP:0"),
    ("unicom", b"0:0", b"", DELIVERED, SUCCESS, "ok", "high", "any DELIVRD"),
    ("unicom", b"1:0", b"", ENROUTE, PENDING, "pending", "high", "any ENROUTE"),
    ("unicom", b"2:0", b"", UNMAPPED, FINAL, "unknown", "low", ""),
    ("unicom", b"UNDELIV", b"SGIP:0", UNDELIV, FINAL, "unknown", "low", "unicom SGIP:*"),
    ("mobile", b"UNDELIV", b"025", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    # SMGP: stat and err in two and in one.
    ("telecom", b"UNDELIV", b"601", UNDELIV, LATER, "terminal", "low", "telecom *_601"),
    ("telecom", b"UNDELIV_601", b"", UNDELIV, LATER, "terminal", "low", "telecom *_601"),
    ("telecom", b"UNDELIV_601", b"000", UNDELIV, LATER, "terminal", "low", "telecom *_601"),
    ("telecom", b"REJECTD", b"5", REJECTED, FINAL, "blacklist", "high", "telecom *_005"),
    ("telecom", b"FAILED", b"888", UNDELIV, FINAL, "terminal", "low", "telecom UNDELIV_*"),
    ("telecom", b"EXPIRED", b"888", EXPIRED, LATER, "expired", "high", "telecom EXPIRED_*"),
    ("telecom", b"UNDELIV", b"000", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    ("telecom", b"DELIVRD", b"000", DELIVERED, SUCCESS, "ok", "high", "any DELIVRD"),
    ("telecom", b"DELIVRD_000", b"", DELIVERED, SUCCESS, "ok", "high", "telecom DELIVRD_000"),
    ("telecom", b"DELIVRD", b"005", DELIVERED, SUCCESS, "ok", "high", "any DELIVRD"),
    ("mobile", b"UNDELIV", b"601", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    # Words that aggregators made.
    ("mobile", b"BLACK", b"", UNMAPPED, FINAL, "blacklist", "high", "platform BLACK"),
    ("telecom", b"REJECTD", b"TUIDING", REJECTED, FINAL, "blacklist", "med", "platform TUIDING"),
    ("unicom", b"NOROUTE", b"", UNMAPPED, OTHER_ROUTE, "route", "high", "platform NOROUTE"),
    # An `err` that is a word of `any` would say no more than `stat` does.
    ("mobile", b"REJECTD", b"EXPIRED", REJECTED, FINAL, "gateway", "med", "any REJECTD"),
    # Nothing that could be read.
    ("mobile", b"", b"", UNMAPPED, FINAL, "unknown", "low", ""),
    ("mobile", b"WHAT", b"EVER", UNMAPPED, FINAL, "unknown", "low", ""),
    ("mobile", b"WHAT", b"EVER", EXPIRED, LATER, "expired", "high", "any EXPIRED"),
    ("mobile", b"\xe9\xbb\x91", b"\x03\x00\x45", UNMAPPED, FINAL, "unknown", "low", ""),
    ("mobile", b"UNDELIV", b"\x03\x00\x45", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
    ("mobile", b"MK:0024" + b" " * (CODE_OCTETS_MAX - 7), b"", UNMAPPED, LATER, "terminal", "high", "mobile M[IKMN]:0024"),
    ("mobile", b"MK:0024" + b" " * (CODE_OCTETS_MAX - 6), b"", UNMAPPED, FINAL, "unknown", "low", ""),
    ("mobile", b"MK:0024", b" " * (CODE_OCTETS_MAX - 6), EXPIRED, LATER, "expired", "high", "any EXPIRED"),
    ("satnet", b"UNDELIV", b"601", UNDELIV, FINAL, "terminal", "med", "any UNDELIV"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("network", "stat", "err", "state", "action", "cause", "confidence", "row"), RECEIPTS
)
def test_of_receipt(
    network: str, stat: bytes, err: bytes, state: int, action: Action, cause: str, confidence: str, row: str
) -> None:
    wanted = (action, cause, confidence, row)
    assert gist(TABLE.of_receipt("some", network, stat, err, state)) == wanted
    assert gist(TABLE.of_receipt("some", network, stat, err, state)) == wanted  # as remembered


@given(
    st.sampled_from(["mobile", "unicom", "telecom", "broadnet"]),
    st.binary(max_size=20) | st.sampled_from([b"DELIVRD", b"UNDELIV", b"MK:0001", b"SGIP:0", b"ML:0001"]),
    st.binary(max_size=10) | st.sampled_from([b"000", b"601", b"SGIP:0", b"ML:0001", b"DELIVRD_000"]),
    st.integers(0, max(MessageState)),
)
@example("telecom", b"_000", b"", UNMAPPED)
@example("unicom", b"2:-0", b"-0", UNDELIV)
def test_a_receipt_succeeds_only_where_its_state_says_so(
    network: str, stat: bytes, err: bytes, state: int
) -> None:
    verdict = TABLE.of_receipt("some", network, stat, err, state)
    if state:
        assert (verdict.action is SUCCESS) == (state == DELIVERED)
        assert (verdict.action is PENDING) == (state in (ENROUTE, ACCEPTED))


NORMALISED = {
    "mk:0001": "MK:0001",
    " MK:0001\0\0": "MK:0001",
    "MK00001": "MK:0001",
    "MK0001": "MK:0001",
    "MK10001": "MK10001",
    "MK:001": "MK:001",
    "MK:00001": "MK:00001",
    "2:25": "SGIP:25",
    "2:025": "SGIP:25",
    "SGIP:-103": "SGIP:153",
    "SGIP:0": "SGIP:0",
    "2:0": "2:0",
    "2:00": "2:00",
    "2:-0": "2:-0",
    "1:0": "1:0",
    "0:0": "0:0",
    "undeliv_601": "UNDELIV_601",
    "W-BLACK": "W-BLACK",
    "": "",
}


@pytest.mark.parametrize(("code", "form"), NORMALISED.items())
def test_normalised(code: str, form: str) -> None:
    assert normalised(code) == form
    assert normalised(form) == form


# -- statuses by the shipped table ---------------------------------------------------------------------------

STATUSES: dict[tuple[Action, str, str], list[str]] = {
    (SUCCESS, "ok", "high"): ["ROK"],
    (LATER, "throttled", "high"): ["RTHROTTLED", "RMSGQFUL"],
    (LATER, "gateway", "high"): ["RSYSERR", "RX_T_APPN", "RSERTYPUNAVAIL"],
    (FINAL, "gateway", "med"): ["RSUBMITFAIL", "RDELIVERYFAILURE"],
    (PARK, "gateway", "high"): ["RINVBNDSTS"],
    (PARK, "gateway", "med"): ["RINVSYSID", "RINVPASWD", "RBINDFAIL"],
    (FINAL, "policy", "high"): ["RX_P_APPN", "RX_R_APPN", "RSERTYPUNAUTH", "RPROHIBITED", "RSERTYPDENIED"],
    (FINAL, "invalid", "high"): ["RINVDSTADR"],
    (FINAL, "param", "high"): [
        *("RINVDSTTON", "RINVDSTNPI", "RINVDSTADDRSUBUNIT"),
        *("RINVSRCADR", "RINVSRCTON", "RINVSRCNPI", "RINVSRCADDRSUBUNIT"),
        *("RINVMSGLEN", "RINVCMDLEN", "RINVCMDID", "RINVPRTFLG", "RINVREGDLVFLG", "RINVSERTYP"),
        *("RINVSUBREP", "RINVREPFLAG", "RINVESMCLASS", "RINVNUMMSGS", "RINVSCHED", "RINVEXPIRY"),
        *("RINVDFTMSGID", "RINVDCS"),
        *("RINVTLVSTREAM", "RTLVNOTALLWD", "RINVTLVLEN", "RMISSINGTLV", "RINVTLVVAL"),
    ],
    (FINAL, "unknown", "high"): ["RUNKNOWNERR"],
    # Answers to other requests: to bind, query, cancel, replace, submit_multi and broadcasts.
    (FINAL, "unknown", "low"): [
        *("RALYBND", "RINVSYSTYP", "RQUERYFAIL", "RINVMSGID", "RCANCELFAIL", "RREPLACEFAIL"),
        *("RINVNUMDESTS", "RINVDLNAME", "RINVDESTFLAG", "RCNTSUBDL"),
        *("RINVBCASTFREQINT", "RINVBCASTALIAS_NAME", "RINVBCASTAREAFMT", "RINVNUMBCAST_AREAS"),
        *("RINVBCASTCNTTYPE", "RINVBCASTMSGCLASS", "RBCASTFAIL", "RBCASTQUERYFAIL", "RBCASTCANCELFAIL"),
        *("RINVBCAST_REP", "RINVBCASTSRVGRP", "RINVBCASTCHANIND"),
    ],
}


def test_every_named_status_has_its_verdict() -> None:
    wanted = {f"ESME_{name}": verdict for verdict, names in STATUSES.items() for name in names}
    found = {status.name: gist(TABLE.of_status("cmcc", "mobile", status))[:3] for status in CommandStatus}
    assert found == wanted


@pytest.mark.parametrize(
    ("status", "row"),
    [
        (0x00000400, "smpp 0x000004*"),
        (0x000004FF, "smpp 0x000004*"),
        (0x00000500, "smpp 0x*"),
        (0x00000009, "smpp 0x*"),
        (0x40000000, "smpp 0x*"),
        (0xFFFFFFFF, "smpp 0x*"),
    ],
)
def test_a_status_without_a_name(status: int, row: str) -> None:
    assert gist(TABLE.of_status("cmcc", "mobile", status)) == (FINAL, "unknown", "low", row)


# -- an operator's file --------------------------------------------------------------------------------------

# rows, network, stat, err, message_state; action, source and row. The account is always cmcc.
RANKS: list[tuple[list[str], str, bytes, bytes, int, Action, str, str]] = [
    # The operator's file before the shipped one, whatever the name in it.
    (["any,MK:0001,terminal,,later,med,"], "mobile", b"MK:0001", b"", UNMAPPED, LATER, "codes.csv line 2", "any MK:0001"),
    (["mobile,MK:0001,terminal,,later,med,"], "mobile", b"MK:0001", b"", UNMAPPED, LATER, "codes.csv line 2", "mobile MK:0001"),
    # Row by row: others stay as they are shipped.
    (["any,MK:0001,terminal,,later,med,"], "mobile", b"MK:0012", b"", UNMAPPED, FINAL, "shipped table line 107", "mobile M[IKMN]:0012"),
    # Account, network, platform, any, in whatever order they stand.
    (["any,X1,ok,,no,high,", "platform,X1,policy,,no,high,", "mobile,X1,route,,alt,high,", "cmcc,X1,gateway,,park,high,"], "mobile", b"X1", b"", UNMAPPED, PARK, "codes.csv line 5", "cmcc X1"),
    (["any,X1,ok,,no,high,", "platform,X1,policy,,no,high,", "mobile,X1,route,,alt,high,", "cucc,X1,gateway,,park,high,"], "mobile", b"X1", b"", UNMAPPED, OTHER_ROUTE, "codes.csv line 4", "mobile X1"),
    (["any,X1,ok,,no,high,", "platform,X1,policy,,no,high,", "mobile,X1,route,,alt,high,"], "telecom", b"X1", b"", UNMAPPED, FINAL, "codes.csv line 3", "platform X1"),
    (["any,X1,ok,,no,high,", "unicom,X1,route,,alt,high,"], "telecom", b"X1", b"", UNMAPPED, SUCCESS, "codes.csv line 2", "any X1"),
    # Broadnet's own, then Mobile's, then the rest.
    (["platform,X1,policy,,no,high,", "mobile,X1,route,,alt,high,", "broadnet,X1,terminal,,later,high,"], "broadnet", b"X1", b"", UNMAPPED, LATER, "codes.csv line 4", "broadnet X1"),
    (["platform,X1,policy,,no,high,", "mobile,X1,route,,alt,high,"], "broadnet", b"X1", b"", UNMAPPED, OTHER_ROUTE, "codes.csv line 3", "mobile X1"),
    (["broadnet,X1,terminal,,later,high,"], "mobile", b"X1", b"", UNMAPPED, FINAL, "no row", ""),
    # A code of CMPP that another network passes on: its own rows first.
    (["telecom,MK:0001,terminal,,later,high,", "mobile,MK:0001,route,,alt,high,"], "telecom", b"MK:0001", b"", UNMAPPED, LATER, "codes.csv line 2", "telecom MK:0001"),
    # The first that matches, in the order of the file.
    (["cmcc,X*,terminal,,later,high,", "cmcc,X1,policy,,no,high,"], "mobile", b"X1", b"", UNMAPPED, LATER, "codes.csv line 2", "cmcc X*"),
    (["cmcc,X1,policy,,no,high,", "cmcc,X*,terminal,,later,high,"], "mobile", b"X1", b"", UNMAPPED, FINAL, "codes.csv line 2", "cmcc X1"),
    (["cmcc,x[12]?,terminal,,later,high,"], "mobile", b"X2z", b"", UNMAPPED, LATER, "codes.csv line 2", "cmcc x[12]?"),
    (["cmcc,x[12]?,terminal,,later,high,"], "mobile", b"X3z", b"", UNMAPPED, FINAL, "no row", ""),
    # Written in any notation, found in any.
    (["cmcc,mk00001,terminal,,later,high,"], "mobile", b"MK:0001", b"", UNMAPPED, LATER, "codes.csv line 2", "cmcc mk00001"),
    (["cucc,2:29,terminal,,later,high,", "any,2:29,terminal,,later,high,"], "unicom", b"SGIP:29", b"", UNMAPPED, LATER, "codes.csv line 3", "any 2:29"),
    # `err` by itself, and joined to the word; `any` counts for the word alone.
    (["cmcc,069,blacklist,,no,high,"], "mobile", b"UNDELIV", b"069", UNDELIV, FINAL, "codes.csv line 2", "cmcc 069"),
    (["cmcc,UNDELIV_069,terminal,,later,high,"], "mobile", b"FAILED", b"69", UNDELIV, LATER, "codes.csv line 2", "cmcc UNDELIV_069"),
    (["any,069,terminal,,later,high,"], "mobile", b"UNDELIV", b"069", UNDELIV, FINAL, "shipped table line 279", "any UNDELIV"),
    (["any,UNDELIV,terminal,,later,high,"], "mobile", b"UNDELIV", b"MK:0001", UNDELIV, FINAL, "shipped table line 96", "mobile M[IKMN]:0001"),
    (["any,UNDELIV,terminal,,later,high,"], "mobile", b"UNDELIV", b"000", UNDELIV, LATER, "codes.csv line 2", "any UNDELIV"),
    (["cmcc,UNDELIV,terminal,,later,high,"], "mobile", b"", b"", UNDELIV, LATER, "codes.csv line 2", "cmcc UNDELIV"),
    (["cmcc,FAILED,terminal,,later,high,"], "mobile", b"FAILED", b"", UNDELIV, LATER, "codes.csv line 2", "cmcc FAILED"),
    # A code of its own comes before the word of the state, even in another file.
    (["cmcc,UNDELIV,terminal,,later,high,"], "mobile", b"MK:0001", b"", UNDELIV, FINAL, "shipped table line 96", "mobile M[IKMN]:0001"),
    # The state has the last word over what a wide pattern says.
    (["cmcc,*,ok,,no,high,"], "mobile", b"UNDELIV", b"069", UNDELIV, FINAL, "shipped table line 279", "any UNDELIV"),
    (["cmcc,*,terminal,,later,high,"], "mobile", b"DELIVRD", b"069", DELIVERED, SUCCESS, "shipped table line 272", "any DELIVRD"),
    (["cmcc,*,terminal,,later,high,"], "mobile", b"ACCEPTD", b"", ACCEPTED, PENDING, "shipped table line 273", "any ACCEPTD"),
    # What retry and confidence make of it.
    (["cmcc,X1,terminal,,now,high,"], "mobile", b"X1", b"", UNMAPPED, LATER, "codes.csv line 2", "cmcc X1"),
    (["cmcc,X1,route,,alt,med,"], "mobile", b"X1", b"", UNMAPPED, OTHER_ROUTE, "codes.csv line 2", "cmcc X1"),
    (["cmcc,X1,route,,alt,low,"], "mobile", b"X1", b"", UNMAPPED, FINAL, "codes.csv line 2", "cmcc X1"),
    (["cmcc,X1,gateway,,park,low,"], "mobile", b"X1", b"", UNMAPPED, FINAL, "codes.csv line 2", "cmcc X1"),
    (["cmcc,X1,gateway,,later,low,"], "mobile", b"X1", b"", UNMAPPED, LATER, "codes.csv line 2", "cmcc X1"),
    (["cmcc,X1,pending,,later,high,"], "mobile", b"X1", b"", UNMAPPED, PENDING, "codes.csv line 2", "cmcc X1"),
    (["cmcc,X1,ok,,park,low,"], "mobile", b"X1", b"", UNMAPPED, SUCCESS, "codes.csv line 2", "cmcc X1"),
    # Blank lines are no rows and count as lines; blanks around a value are none of it.
    (["", ",,,,,,", " cmcc , X1 , terminal , , later , high , "], "mobile", b"X1", b"", UNMAPPED, LATER, "codes.csv line 4", "cmcc X1"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "network", "stat", "err", "state", "action", "source", "row"), RANKS)
def test_an_operators_rows_and_the_shipped_ones(
    rows: list[str], network: str, stat: bytes, err: bytes, state: int, action: Action, source: str, row: str
) -> None:
    verdict = table(*rows).of_receipt("cmcc", network, stat, err, state)
    assert (verdict.action, verdict.source, verdict.row) == (action, source, row)


# rows, status; action and row
STATUS_RANKS: list[tuple[list[str], int, Action, str]] = [
    (["cmcc,ESME_RSUBMITFAIL,gateway,,later,high,"], 0x45, LATER, "cmcc ESME_RSUBMITFAIL"),
    (["cucc,ESME_RSUBMITFAIL,gateway,,later,high,"], 0x45, FINAL, "smpp ESME_RSUBMITFAIL"),
    (["mobile,ESME_RSUBMITFAIL,gateway,,later,high,"], 0x45, LATER, "mobile ESME_RSUBMITFAIL"),
    (["smpp,ESME_RSUBMITFAIL,gateway,,alt,high,"], 0x45, OTHER_ROUTE, "smpp ESME_RSUBMITFAIL"),
    (["smpp,0x45,gateway,,later,high,", "cmcc,0x45,gateway,,park,high,"], 0x45, PARK, "cmcc 0x45"),
    (["cmcc,0x00000045,gateway,,later,high,"], 0x45, LATER, "cmcc 0x00000045"),
    (["cmcc,esme_rsubmitfail,gateway,,later,high,"], 0x45, LATER, "cmcc esme_rsubmitfail"),
    (["cmcc,ESME_RINVPARLEN,gateway,,later,high,"], 0xC2, LATER, "cmcc ESME_RINVPARLEN"),  # 3.4's name
    (["cmcc,0x40a,throttled,,later,high,"], 0x40A, LATER, "cmcc 0x40a"),
    (["cmcc,0x40a,throttled,,later,high,"], 0x40B, FINAL, "smpp 0x000004*"),
    (["cmcc,0x0000040[a-c],throttled,,later,high,"], 0x40B, LATER, "cmcc 0x0000040[a-c]"),
    (["cmcc,ESME_RX_?_APPN,gateway,,later,high,"], 0x65, LATER, "cmcc ESME_RX_?_APPN"),
    # Neither `any`, nor a row for the codes of receipts.
    (["any,ESME_RSUBMITFAIL,gateway,,later,high,"], 0x45, FINAL, "smpp ESME_RSUBMITFAIL"),
    (["cmcc,*,gateway,,later,high,"], 0x45, FINAL, "smpp ESME_RSUBMITFAIL"),
    # No pattern makes a failure of ESME_ROK.
    (["smpp,*,gateway,,later,high,"], 0x45, LATER, "smpp *"),
    (["smpp,*,gateway,,later,high,"], 0x00, SUCCESS, "smpp ESME_ROK"),
]


@pytest.mark.parametrize(("rows", "status", "action", "row"), STATUS_RANKS)
def test_an_operators_rows_for_statuses(rows: list[str], status: int, action: Action, row: str) -> None:
    verdict = table(*rows).of_status("cmcc", "mobile", status)
    assert (verdict.action, verdict.row) == (action, row)


def test_broadnet_asks_mobiles_rows_for_statuses_too() -> None:
    rows = table("mobile,0x401,gateway,,later,high,", "broadnet,0x402,gateway,,alt,high,")
    found = [rows.of_status("cbn", "broadnet", status).action for status in (0x401, 0x402, 0x403)]
    assert found == [LATER, OTHER_ROUTE, FINAL]


def test_a_table_without_the_row_answers_by_the_state() -> None:
    bare = OutcomeTable.from_csv([HEADING])
    states = [bare.of_receipt("cmcc", "mobile", b"", b"", state) for state in MessageState]
    actions = [verdict.action for verdict in states]
    assert actions == [FINAL, PENDING, SUCCESS, FINAL, FINAL, FINAL, PENDING, FINAL, FINAL, FINAL]
    assert bare.of_receipt("cmcc", "mobile", b"DELIVRD", b"", UNMAPPED).action is SUCCESS
    assert [bare.of_status("cmcc", "mobile", status).action for status in (0, 8)] == [SUCCESS, FINAL]


def test_a_whole_verdict() -> None:
    verdict = table("cmcc,MK:0015,content,province,no,high,规则拦截").of_receipt(
        "cmcc", "mobile", b"MK:0015", b"", UNMAPPED
    )
    assert verdict == Verdict(
        FINAL, Cause.CONTENT, "province", "high", "规则拦截", "codes.csv line 2", "cmcc MK:0015"
    )


def test_an_account_with_the_name_of_a_network_has_no_rows_of_its_own() -> None:
    assert gist(TABLE.of_receipt("telecom", "mobile", b"UNDELIV", b"601", UNDELIV))[3] == "any UNDELIV"
    assert gist(TABLE.of_receipt("telecom", "telecom", b"UNDELIV", b"601", UNDELIV))[3] == "telecom *_601"
    assert gist(TABLE.of_receipt("cmpp_result", "mobile", b"8", b"", UNMAPPED))[3] == ""
    rows = table("telecom,ESME_RSUBMITFAIL,gateway,,later,high,")
    assert gist(rows.of_status("telecom", "mobile", 0x45))[3] == "smpp ESME_RSUBMITFAIL"


def test_the_accounts_that_rows_name() -> None:
    rows = ["cmcc,X1,ok,,no,high,", "moblie,0x401,gateway,,later,high,", "any,X1,ok,,no,high,"]
    assert table(*rows).accounts == {"cmcc", "moblie"}
    assert TABLE.accounts == set()


# -- what people see -----------------------------------------------------------------------------------------

# name, network, code; the codes it was read as; the rows that match, the deciding one first
EXPLAINED: list[tuple[str, str, str, list[str], list[str]]] = [
    ("cmcc", "mobile", "MK:0012", ["MK:0012"], ["mobile M[IKMN]:0012", "mobile MK:*"]),
    ("cmcc", "mobile", "mk00001", ["MK:0001"], ["cmcc MK:0001", "mobile M[IKMN]:0001", "mobile MK:*"]),
    ("ct", "telecom", "UNDELIV_601", ["UNDELIV_601", "601", "UNDELIV"], ["telecom *_601", "telecom UNDELIV_*", "any UNDELIV"]),
    ("ct", "telecom", "601", ["UNDELIV_601", "601", "UNDELIV"], ["telecom *_601", "telecom UNDELIV_*", "any UNDELIV"]),
    ("cucc", "unicom", "25", ["UNDELIV_025", "SGIP:25", "25", "UNDELIV"], ["unicom SGIP:25", "unicom SGIP:*", "any UNDELIV"]),
    ("cmcc", "mobile", "WHAT", ["WHAT"], [""]),
    ("cmcc", "mobile", "黑名单", [], [""]),
    ("cmcc", "mobile", "", [], [""]),
    ("cmcc", "mobile", "ESME_RTHROTTLED", ["ESME_RTHROTTLED", "0x00000058"], ["smpp ESME_RTHROTTLED", "smpp 0x*"]),
    ("cmcc", "mobile", "0x58", ["ESME_RTHROTTLED", "0x00000058"], ["smpp ESME_RTHROTTLED", "smpp 0x*"]),
    ("cmcc", "mobile", "0x401", ["0x00000401"], ["cmcc 0x401", "smpp 0x000004*", "smpp 0x*"]),
    ("cmcc", "mobile", "ESME_ROK", ["ESME_ROK", "0x00000000"], ["smpp ESME_ROK"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "network", "code", "codes", "rows"), EXPLAINED)
def test_explain(name: str, network: str, code: str, codes: list[str], rows: list[str]) -> None:
    own = table("cmcc,MK:0001,terminal,,later,high,", "cmcc,0x401,gateway,,park,high,")
    explanation = own.explain(name, network, code)
    assert list(explanation.codes) == codes
    assert [verdict.row for verdict in (explanation.verdict, *explanation.lower)] == rows


@pytest.mark.parametrize("code", ["ESME_RTHROTLED", "0x", "0x123456789", "0xZZ", "ESME_"])
def test_a_status_that_is_none_is_not_explained(code: str) -> None:
    with pytest.raises(UnknownStatus) as caught:
        TABLE.explain("cmcc", "mobile", code)
    assert str(caught.value) == (
        f"{code!r}, allowed are a name of SMPP 3.4 or 5.0 such as ESME_RTHROTTLED, or 0x and 1 to 8"
        " hexadecimal digits"
    )


# -- the shipped table itself --------------------------------------------------------------------------------


def test_the_shipped_table() -> None:
    rows = list(csv.DictReader(SHIPPED))
    assert Counter(row["carrier"] for row in rows) == {
        "mobile": 181,
        "unicom": 46,
        "telecom": 26,
        "platform": 17,
        "any": 11,
        "cmpp_result": 15,
        "smgp_status": 22,
        "smpp": 47,
    }
    # A later row for what an earlier one takes already would never be found.
    for row in rows:
        if row["carrier"] in ("mobile", "unicom", "telecom", "platform", "any") and "*" not in row["code"]:
            code = row["code"].replace("[IKMN]", "K").replace("[BD]", "B")
            assert TABLE.explain("-", row["carrier"], code).verdict.row == f"{row['carrier']} {row['code']}"


def test_names_of_statuses_are_those_of_the_codec() -> None:
    codes = [row["code"] for row in csv.DictReader(SHIPPED) if row["carrier"] == "smpp"]
    assert [code for code in codes if code.startswith("ESME_")] == [
        status_name(CommandStatus[code]) for code in codes if code.startswith("ESME_")
    ]


# -- files that cannot be used -------------------------------------------------------------------------------

ROW = "cmcc,X1,policy,,no,high,"
WRONG: list[tuple[list[str], str]] = [
    ([], f"line 1: [], allowed is {HEADING}"),
    (["carrier,code"], f"line 1: ['carrier', 'code'], allowed is {HEADING}"),
    ([HEADING, "cmcc,X1,policy,,no,high"], "line 2: 6 columns, allowed is 7: quote a meaning that holds a comma"),
    ([HEADING, "cmcc,X1,policy,,no,high,off, or full"], "line 2: 8 columns, allowed is 7: quote a meaning that holds a comma"),
    ([HEADING, ROW, "my carrier,X1,policy,,no,high,"], "line 3: carrier 'my carrier', allowed is a [[carrier]] or mobile, unicom, telecom, broadnet, platform, any, smpp, cmpp_result, smgp_status"),
    ([HEADING, ",X1,policy,,no,high,"], "line 2: carrier '', allowed is a [[carrier]] or mobile, unicom, telecom, broadnet, platform, any, smpp, cmpp_result, smgp_status"),
    ([HEADING, "cmcc,,policy,,no,high,"], "line 2: code '', allowed are 1 to 32 printable ASCII characters without blanks"),
    ([HEADING, "cmcc,MK 1,policy,,no,high,"], "line 2: code 'MK 1', allowed are 1 to 32 printable ASCII characters without blanks"),
    ([HEADING, f"cmcc,{'X' * 33},policy,,no,high,"], f"line 2: code '{'X' * 33}', allowed are 1 to 32 printable ASCII characters without blanks"),
    ([HEADING, "cmcc,ESME_RTHROTLED,policy,,no,high,"], "line 2: code 'ESME_RTHROTLED', allowed are a name of SMPP 3.4 or 5.0 such as ESME_RTHROTTLED, or 0x and 1 to 8 hexadecimal digits"),
    ([HEADING, "smpp,MK:0001,policy,,no,high,"], "line 2: code 'MK:0001', allowed are a name of SMPP 3.4 or 5.0 such as ESME_RTHROTTLED, or 0x and 1 to 8 hexadecimal digits"),
    ([HEADING, "cmcc,X1,spam,,no,high,"], "line 2: class 'spam', allowed are ok, pending, terminal, invalid, content, blacklist, policy, route, gateway, throttled, expired, ported, param, unknown"),
    ([HEADING, "cmcc,X1,policy,,never,high,"], "line 2: retry 'never', allowed are no, later, now, alt, park"),
    ([HEADING, "cmcc,X1,policy,,no,sure,"], "line 2: conf 'sure', allowed are high, med, low"),
    ([HEADING, "cmcc,X1,policy,,no,high,\x1b[31mred"], "line 2: control characters, allowed is plain text"),
    ([HEADING, "cmcc,ESME_RALYBND,ok,,no,high,"], "line 2: class ok of ESME_RALYBND, allowed for ESME_ROK alone"),
    ([HEADING, "smpp,*,pending,,no,high,"], "line 2: class pending of *, allowed for ESME_ROK alone"),
    ([HEADING, "cmcc,MK:0001,policy,,no,high,", "", "cmcc,mk00001,route,,alt,high,"], "line 4: cmcc mk00001 stands in line 2, allowed is once"),
    ([HEADING, "cmcc,0x58,policy,,no,high,", "cmcc,ESME_RTHROTTLED,route,,alt,high,"], "line 3: cmcc ESME_RTHROTTLED stands in line 2, allowed is once"),
    ([HEADING, 'cmcc,X1,policy,,no,high,"off', ROW], "line 3: unexpected end of data"),
    ([HEADING, *(f"cmcc,X{number},policy,,no,high," for number in range(ROWS_MAX + 1))], "line 2002: one row more than the 2000 that are allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "error"), WRONG)
def test_a_file_with_an_error_is_refused_with_its_line(lines: Sequence[str], error: str) -> None:
    with pytest.raises(OutcomeTableError) as caught:
        OutcomeTable.from_csv(SHIPPED, lines)
    assert str(caught.value) == f"codes.csv: {error}"


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("cmcc,X1,policy,,no,high,", "carrier 'cmcc', allowed are mobile, unicom, telecom, broadnet, platform, any, smpp, cmpp_result, smgp_status"),
        ("mobile,X1,policy,,park,high,", "retry park, allowed in rows of smpp and in an operator's file"),
    ],
)  # fmt: skip
def test_what_the_shipped_table_may_not_hold(row: str, error: str) -> None:
    with pytest.raises(OutcomeTableError) as caught:
        OutcomeTable.from_csv([HEADING, row])
    assert str(caught.value) == f"shipped table: line 2: {error}"


def test_a_file_as_excel_saves_it(tmp_path: Path) -> None:
    path = tmp_path / "henan.csv"
    path.write_bytes(f"\ufeff{HEADING}\r\ncmcc,MK:0015,content,,no,high,规则拦截\r\n".encode())
    verdict = OutcomeTable.load(path).of_receipt("cmcc", "mobile", b"MK:0015", b"", UNMAPPED)
    assert (verdict.cause, verdict.meaning, verdict.source) == ("content", "规则拦截", "henan.csv line 2")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "henan.csv"

    def refusal() -> str:
        with pytest.raises(OutcomeTableError) as caught:
            OutcomeTable.load(path)
        return str(caught.value)

    assert refusal() == f"{path}: no such file: make it, or correct its name"
    path.write_bytes(f"{HEADING}\ncmcc,X1,content,,no,high,规则".encode("gb18030"))
    assert refusal() == f"{path}: not UTF-8 at octet 67: save it as UTF-8"
    path.write_text(f"{HEADING}\ncmcc")
    assert refusal() == f"{path}: line 2: 1 columns, allowed is 7: quote a meaning that holds a comma"
    path.unlink()
    path.mkdir()
    assert refusal() == f"{path}: Is a directory: name a readable file"


# -- what is remembered --------------------------------------------------------------------------------------


def test_invented_codes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()

    def count(name: str) -> None:
        original = getattr(outcomes, name)

        def counted(*arguments: object) -> object:
            asked[name] += 1
            return original(*arguments)

        monkeypatch.setattr(outcomes, name, counted)

    count("_receipt_verdict")
    count("_status_verdict")
    small = OutcomeTable.from_csv([HEADING, "any,X0,terminal,,later,high,"])
    for _ in range(2):
        # The code in use stays, however many others pass.
        for number in range(VERDICTS_MAX + 10):
            assert small.of_receipt("cmcc", "mobile", b"X%d" % number, b"", UNMAPPED).action in (LATER, FINAL)
            assert small.of_receipt("cmcc", "mobile", b"X0", b"", UNMAPPED).action is LATER
            assert small.of_status("cmcc", "mobile", 0x1000 + number).action is FINAL
    assert asked == {
        "_receipt_verdict": 2 * (VERDICTS_MAX + 9) + 1,
        "_status_verdict": 2 * (VERDICTS_MAX + 10),
    }
