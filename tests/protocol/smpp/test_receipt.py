"""Receipts: every form that carriers were seen to write (field lessons 2 and 6), and the one we write."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.smpp import receipt as receipt_module
from protocol.smpp.receipt import (
    ERR_LENGTH_MAX,
    MESSAGE_ID_LENGTH_MAX,
    STAT_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    Receipt,
    canonical_id,
    id_candidates,
    is_final,
    message_state_of,
    read_receipt,
    stat_of,
    write_receipt,
)

CANONICAL = (
    b"id:0123456789 sub:001 dlvrd:001 submit date:2611230912 done date:2611230913 "
    b"stat:DELIVRD err:000 text:Your code is 1234567"
)
READ = Receipt(
    message_id=b"0123456789",
    stat=b"DELIVRD",
    err=b"000",
    submit_date=b"2611230912",
    done_date=b"2611230913",
    sub=b"001",
    dlvrd=b"001",
    text=b"Your code is 1234567",
    message_state=2,
)

TAIL = b" sub:001 dlvrd:001 submit date:2611230912 done date:2611230913 stat:DELIVRD err:000 text:"


def changed(**fields: bytes | int) -> Receipt:
    """READ with other values in some fields."""
    return msgspec.structs.replace(READ, **fields)


FORMS: list[tuple[str, bytes, Receipt]] = [
    ("canonical", CANONICAL, READ),
    ("capital Text", CANONICAL.replace(b"text:", b"Text:"), READ),
    ("no text key", CANONICAL.partition(b" text:")[0], changed(text=b"")),
    ("empty text", CANONICAL.partition(b"Your")[0], changed(text=b"")),
    ("no sub and dlvrd", CANONICAL.replace(b" sub:001 dlvrd:001", b""), changed(sub=b"", dlvrd=b"")),
    ("no dlvrd", CANONICAL.replace(b" dlvrd:001", b""), changed(dlvrd=b"")),
    (
        "seconds in the dates",
        CANONICAL.replace(b"0912", b"091201").replace(b"0913", b"091359"),
        changed(submit_date=b"261123091201", done_date=b"261123091359"),
    ),
    (
        "dates with punctuation",
        CANONICAL.replace(b"2611230912", b"2026-11-23 09:12:01"),
        changed(submit_date=b"2026-11-23 09:12:01"),
    ),
    ("four-digit err", CANONICAL.replace(b"err:000", b"err:0055"), changed(err=b"0055")),
    ("alphanumeric err", CANONICAL.replace(b"err:000", b"err:00A"), changed(err=b"00A")),
    ("code in err", CANONICAL.replace(b"err:000", b"err:DB:0141"), changed(err=b"DB:0141")),
    ("empty err", CANONICAL.replace(b"err:000", b"err:"), changed(err=b"")),
    ("no err", CANONICAL.replace(b" err:000", b""), changed(err=b"")),
    ("FAILED", CANONICAL.replace(b"DELIVRD", b"FAILED"), changed(stat=b"FAILED", message_state=5)),
    ("CMPP code", CANONICAL.replace(b"DELIVRD", b"MK:0001"), changed(stat=b"MK:0001", message_state=0)),
    ("CMPP code MI", CANONICAL.replace(b"DELIVRD", b"MI:0000"), changed(stat=b"MI:0000", message_state=0)),
    ("CMPP code ID", CANONICAL.replace(b"DELIVRD", b"ID:0076"), changed(stat=b"ID:0076", message_state=0)),
    ("SGIP code", CANONICAL.replace(b"DELIVRD", b"SGIP:25"), changed(stat=b"SGIP:25", message_state=0)),
    ("SGIP state", CANONICAL.replace(b"DELIVRD", b"2:25"), changed(stat=b"2:25", message_state=0)),
    ("SGIP delivered", CANONICAL.replace(b"DELIVRD", b"0:0"), changed(stat=b"0:0", message_state=2)),
    (
        "SMGP code",
        CANONICAL.replace(b"DELIVRD", b"UNDELIV_601"),
        changed(stat=b"UNDELIV_601", message_state=5),
    ),
    ("platform code", CANONICAL.replace(b"DELIVRD", b"W-BLACK"), changed(stat=b"W-BLACK", message_state=0)),
    ("lower-case stat", CANONICAL.replace(b"DELIVRD", b"delivrd"), changed(stat=b"delivrd")),
    (
        "any case of keys",
        b"ID:0123456789 Sub:001 DLVRD:001 Submit Date:2611230912 Done_Date:2611230913 "
        b"Stat:DELIVRD ERR:000 TEXT:Your code is 1234567",
        READ,
    ),
    (
        "underscores",
        CANONICAL.replace(b"submit date", b"Submit_Date").replace(b"done date", b"done_date"),
        READ,
    ),
    (
        "joined keys",
        CANONICAL.replace(b"submit date", b"submitdate").replace(b"done date", b"DoneDate"),
        READ,
    ),
    (
        "another order",
        b"stat:DELIVRD err:000 done date:2611230913 submit date:2611230912 dlvrd:001 sub:001 "
        b"id:0123456789 text:Your code is 1234567",
        READ,
    ),
    ("extra blanks", CANONICAL.replace(b" ", b"  ").replace(b"Your  code  is  ", b"Your code is "), READ),
    (
        "blanks behind colons",
        re.sub(rb"(id|sub|dlvrd|date|stat|err):", rb"\1: ", CANONICAL),
        READ,
    ),
    ("ID code behind a blank", b"stat: ID:0076 id:77", Receipt(b"77", stat=b"ID:0076")),
    (
        "commas",
        b"id:0123456789,sub:001,dlvrd:001,submit date:2611230912,done date:2611230913,"
        b"stat:DELIVRD,err:000,text:Your code is 1234567",
        READ,
    ),
    (
        "semicolons and blanks",
        b"id:0123456789; sub:001; dlvrd:001; submit date:2611230912; done date:2611230913; "
        b"stat:DELIVRD; err:000; text:Your code is 1234567",
        READ,
    ),
    (
        "lines",
        b"id:0123456789\r\nsub:001\r\ndlvrd:001\r\nsubmit date:2611230912\r\ndone date:2611230913\r\n"
        b"stat:DELIVRD\r\nerr:000\r\ntext:Your code is 1234567",
        READ,
    ),
    (
        "equals signs and bars",
        b"id=0123456789|sub=001|dlvrd=001|submit date=2611230912|done date=2611230913|"
        b"stat=DELIVRD|err=000|text=Your code is 1234567",
        READ,
    ),
    ("unknown keys", b"id:77 smsc:5 stat:EXPIRED", Receipt(b"77", stat=b"EXPIRED", message_state=3)),
    ("unknown keys, commas", b"id:77,smsc:5,stat:EXPIRED", Receipt(b"77", stat=b"EXPIRED", message_state=3)),
    ("an id with a comma", b"id:7,7 stat:EXPIRED", Receipt(b"7,7", stat=b"EXPIRED", message_state=3)),
    ("NUL at the end", b"id:77 stat:EXPIRED\0", Receipt(b"77", stat=b"EXPIRED", message_state=3)),
    ("the first of two", b"id:77 id:78 stat:EXPIRED", Receipt(b"77", stat=b"EXPIRED", message_state=3)),
    ("id only", b"id:77", Receipt(b"77")),
    (
        "keys in the text",
        CANONICAL.partition(b"Your")[0] + b"id:9 stat:UNDELIV text:no",
        changed(text=b"id:9 stat:UNDELIV text:no"),
    ),
    (
        "keys in the text, tokenized",
        b"id:77;stat:EXPIRED;text: id:9; stat:DELIVRD",
        Receipt(b"77", stat=b"EXPIRED", text=b" id:9; stat:DELIVRD", message_state=3),
    ),
    ("line breaks in the text", CANONICAL + b"\nid:9", changed(text=READ.text + b"\nid:9")),
    (
        "Chinese text in GBK",
        CANONICAL.partition(b"Your")[0] + "验证码".encode("gbk"),
        changed(text="验证码".encode("gbk")),
    ),
    ("UCS-2", CANONICAL.decode().encode("utf-16-be"), READ),
    ("UCS-2, octets reversed", CANONICAL.decode().encode("utf-16-le"), READ),
    (
        "UCS-2 with Chinese text",
        (CANONICAL.decode().partition("Your")[0] + "验证码").encode("utf-16-be"),
        changed(text="验证码".encode()),
    ),
    (
        "UCS-2, cut within a unit",
        b"id:77 sub:001".decode().encode("utf-16-be") + b"\0",
        Receipt(b"77", sub=b"001\xef\xbf\xbd"),
    ),
    (
        "UUID",
        b"id:0B5F1A52-7C3E-4D8A-9F10-00A1B2C3D4E5" + TAIL,
        changed(message_id=b"0B5F1A52-7C3E-4D8A-9F10-00A1B2C3D4E5", text=b""),
    ),
    ("hexadecimal id", b"id:00FFa03b" + TAIL, changed(message_id=b"00FFa03b", text=b"")),
    ("20 digits", b"id:18446744073709551616" + TAIL, changed(message_id=b"18446744073709551616", text=b"")),
    ("base64 id", b"id:q83v+/8=" + TAIL, changed(message_id=b"q83v+/8=", text=b"")),
]


@pytest.mark.parametrize(
    ("octets", "expected"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS]
)
def test_forms(octets: bytes, expected: Receipt) -> None:
    assert read_receipt(octets, ()) == expected
    assert read_receipt(b"", ((0x0424, octets),)) == expected


@pytest.mark.parametrize(
    ("octets", "tlvs", "expected"),
    [
        (CANONICAL, ((0x001E, b"AB12\0"),), changed(message_id=b"AB12")),
        (CANONICAL, ((0x001E, b"AB12"),), changed(message_id=b"AB12")),
        (CANONICAL, ((0x001E, b"\0"),), READ),
        (CANONICAL, ((0x0427, b"\x05"),), changed(message_state=5)),
        # Neither is a state that a byte of this meaning can hold: the word in the text stands.
        (CANONICAL, ((0x0427, b"\x00"),), READ),
        (CANONICAL, ((0x0427, b"\x0a"),), READ),
        (CANONICAL, ((0x0427, b""),), READ),
        (CANONICAL, ((0x0427, b"\0\0\0\5"),), READ),
        (CANONICAL, ((0x0423, b"\3\0\x15"),), changed(network_error_code=b"\3\0\x15")),
        (CANONICAL, ((0x0423, b"\0\x15"),), READ),
        (CANONICAL, ((0x1501, b"vendor"),), READ),
        (
            CANONICAL.replace(b"DELIVRD", b"MK:0001"),
            ((0x0427, b"\x05"),),
            changed(stat=b"MK:0001", message_state=5),
        ),
        # TLVs alone
        (
            b"",
            ((0x001E, b"77\0"), (0x0427, b"\x02"), (0x0423, b"\3\0\0")),
            Receipt(b"77", message_state=2, network_error_code=b"\3\0\0"),
        ),
        (b"", ((0x001E, b"77\0"),), Receipt(b"77")),
        (b"delivered!", ((0x001E, b"77\0"),), Receipt(b"77", text=b"delivered!")),
        # Nothing names a message.
        (b"", (), None),
        (b"", ((0x0427, b"\x02"),), None),
        (b"stat:DELIVRD err:000", (), None),
        (b"id: stat:DELIVRD", (), None),
        (b"paid:77", (), None),
        (b"text:id:77", (), None),
        ("验证码".encode("utf-16-be"), (), None),
    ],
)
def test_tlvs(octets: bytes, tlvs: tuple[tuple[int, bytes], ...], expected: Receipt | None) -> None:
    assert read_receipt(octets, tlvs) == expected


digits = st.from_regex(rb"[0-9]{1,12}", fullmatch=True)


@given(
    message_id=st.from_regex(rb"[^\s,;|&:=\0]{1,64}", fullmatch=True),
    sub=digits,
    dates=st.tuples(digits, digits),
    stat=st.from_regex(rb"[0-9A-Za-z_:-]{1,12}|stat:ID:[0-9]{4}", fullmatch=True),
    err=st.from_regex(rb"[0-9A-Za-z]{0,8}", fullmatch=True),
    text=st.none() | st.binary(max_size=40) | st.just(b" id:9 stat:X text:y"),
    with_sub=st.booleans(),
)
def test_both_readers_agree(
    message_id: bytes,
    sub: bytes,
    dates: tuple[bytes, bytes],
    stat: bytes,
    err: bytes,
    text: bytes | None,
    with_sub: bool,
) -> None:
    octets = b"id:%b " % message_id
    if with_sub:
        octets += b"sub:%b dlvrd:%b " % (sub, sub)
    octets += b"submit date:%b done date:%b stat:%b err:%b" % (*dates, stat, err)
    if text is not None:
        octets += b" text:" + text
    assert receipt_module._CANONICAL.fullmatch(octets)
    assert read_receipt(octets, ()) == receipt_module._read_tolerantly(octets, ())


@given(
    octets=st.binary(max_size=120)
    | st.lists(
        st.sampled_from(
            [b"id", b":", b"stat", b" ", b"text", b"err", b"ID:0076", b"submit", b"date", b"\0", b",", b"1"]
        )
    ).map(b"".join),
    tlvs=st.lists(
        st.tuples(st.sampled_from([0x001E, 0x0423, 0x0424, 0x0427, 1]), st.binary(max_size=9)), max_size=4
    ).map(tuple),
)
def test_any_octets_give_a_receipt_or_none(octets: bytes, tlvs: tuple[tuple[int, bytes], ...]) -> None:
    receipt = read_receipt(octets, tlvs)
    assert receipt is None or receipt.message_id != b""


@pytest.mark.parametrize(
    ("stat", "state", "final"),
    [
        (b"ENROUTE", 1, False),
        (b"DELIVRD", 2, True),
        (b"EXPIRED", 3, True),
        (b"DELETED", 4, True),
        (b"UNDELIV", 5, True),
        (b"ACCEPTD", 6, False),
        (b"UNKNOWN", 7, True),
        (b"REJECTD", 8, True),
        (b"SKIPPED", 9, True),
        (b"SCHEDULED", 0, False),
        (b"FAILED", 5, True),
        (b"Delivered", 2, True),
        (b"undeliv", 5, True),
        (b"DELIVRD_000", 2, True),
        (b"EXPIRED_760", 3, True),
        (b"SGIP:0", 2, True),
        (b"SGIP:25", 0, True),
        (b"0:0", 2, True),
        (b"1:0", 1, False),
        (b"2:25", 0, True),
        (b"MK:0001", 0, True),
        (b"MI:0000", 0, True),
        (b"MN:0017", 0, True),
        # Huawei's family for ACCEPTD with a reason.
        (b"ML:0001", 0, False),
        (b"ml:0001", 0, False),
        (b"KEYWORD", 0, True),
        (b"ERR_NUM", 0, True),
        (b"", 0, False),
    ],
)
def test_state_and_finality(stat: bytes, state: int, final: bool) -> None:
    assert message_state_of(stat) == state
    assert is_final(Receipt(b"77", stat=stat, message_state=state)) is final


def test_finality_follows_the_tlv() -> None:
    assert is_final(Receipt(b"77", message_state=2))
    assert not is_final(Receipt(b"77", stat=b"MK:0001", message_state=6))


def test_words_of_states() -> None:
    assert [stat_of(state) for state in range(10)] == [
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
    ]
    assert [message_state_of(stat_of(state)) for state in range(10)] == list(range(10))
    for state in (-1, 10):
        with pytest.raises(ValueError, match=f"message_state {state} is not within 0..9"):
            stat_of(state)


def test_written_as_in_appendix_b() -> None:
    written = write_receipt(
        b"0123456789",
        b"001",
        b"001",
        b"2611230912",
        b"2611230913",
        b"DELIVRD",
        b"000",
        b"Your code is 1234567",
    )
    assert written == CANONICAL
    assert write_receipt(b"7", b"001", b"000", b"261123091201", b"261123091359", b"MK:0001", b"00A1") == (
        b"id:7 sub:001 dlvrd:000 submit date:261123091201 done date:261123091359 stat:MK:0001 err:00A1 text:"
    )


def test_longest_receipt_fits_a_short_message() -> None:
    written = write_receipt(
        b"i" * MESSAGE_ID_LENGTH_MAX,
        b"001",
        b"001",
        b"261123091201",
        b"261123091359",
        b"S" * STAT_LENGTH_MAX,
        b"e" * ERR_LENGTH_MAX,
        b"t" * TEXT_LENGTH_MAX,
    )
    assert len(written) == 194


GOOD: dict[str, bytes] = {
    "message_id": b"77",
    "sub": b"001",
    "dlvrd": b"001",
    "submit_date": b"2611230912",
    "done_date": b"2611230913",
    "stat": b"DELIVRD",
    "err": b"000",
    "text": b"",
}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("message_id", b"", "message_id b'' is not 1 to 64 printable octets without blanks"),
        ("message_id", b"a" * 65, "is not 1 to 64 printable octets"),
        ("message_id", b"a b", "message_id b'a b' is not 1 to 64 printable octets without blanks"),
        ("message_id", b"a\0", "is not 1 to 64 printable octets"),
        ("sub", b"01", "sub b'01' is not three digits"),
        ("dlvrd", b"0x1", "dlvrd b'0x1' is not three digits"),
        ("submit_date", b"26112309", "submit date b'26112309' is neither YYMMDDhhmm nor YYMMDDhhmmss"),
        ("submit_date", b"26112309120", "submit date b'26112309120' is neither"),
        ("done_date", b"261123 913", "done date b'261123 913' is neither"),
        ("stat", b"", "stat b'' is not 1 to 16 printable octets without blanks"),
        ("stat", b"S" * 17, "is not 1 to 16 printable octets"),
        ("stat", b"NOT NOW", "stat b'NOT NOW' is not 1 to 16"),
        ("err", b"", "err b'' is not 1 to 8 printable octets without blanks"),
        ("err", b"123456789", "is not 1 to 8 printable octets"),
        ("err", b"\xff", "is not 1 to 8 printable octets"),
        ("text", b"t" * 21, "text of 21 octets is longer than 20"),
    ],
)
def test_not_written(field: str, value: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        write_receipt(**{**GOOD, field: value})


@given(
    message_id=st.from_regex(rb"[!-~]{1,64}", fullmatch=True),
    stat=st.from_regex(rb"[A-Z]{7}|M[A-Z]:[0-9]{4}", fullmatch=True),
    err=st.from_regex(rb"[0-9A-Z]{1,8}", fullmatch=True),
    text=st.binary(max_size=20),
)
def test_what_is_written_is_read(message_id: bytes, stat: bytes, err: bytes, text: bytes) -> None:
    written = write_receipt(message_id, b"001", b"000", b"2611230912", b"261123091359", stat, err, text)
    receipt = read_receipt(written, ())
    # Separators at the end of an id, and keys behind them, are the only thing that the tolerance costs.
    if re.search(rb"[,;|&]($|[A-Za-z_]+[:=])|^[,;|&]", message_id) is None:
        assert receipt == Receipt(
            message_id,
            stat,
            err,
            b"2611230912",
            b"261123091359",
            b"001",
            b"000",
            text,
            message_state_of(stat),
        )


@pytest.mark.parametrize(
    ("raw", "canonical", "candidates"),
    [
        (b"1234567890", b"1234567890", (b"1234567890", b"78187493520", b"499602d2")),
        (b"499602D2", b"499602d2", (b"499602D2", b"499602d2", b"1234567890")),
        (b"000499602d2", b"499602d2", (b"000499602d2", b"499602d2", b"1234567890")),
        (b"00000010", b"10", (b"00000010", b"10", b"16", b"a")),
        (b"0", b"0", (b"0",)),
        (b"000", b"0", (b"000", b"0")),
        (b"7", b"7", (b"7",)),
        # 64 bits and more
        (
            b"18446744073709551616",
            b"18446744073709551616",
            (b"18446744073709551616", b"114598615266301018707478", b"10000000000000000"),
        ),
        (
            b"FFFFFFFFFFFFFFFF",
            b"ffffffffffffffff",
            (b"FFFFFFFFFFFFFFFF", b"ffffffffffffffff", b"18446744073709551615"),
        ),
        # UUIDs, with and without dashes; digests; opaque ids: their zeros are theirs.
        (
            b"0B5F1A52-7C3E-4D8A-9F10-00A1B2C3D4E5",
            b"0b5f1a52-7c3e-4d8a-9f10-00a1b2c3d4e5",
            (b"0B5F1A52-7C3E-4D8A-9F10-00A1B2C3D4E5", b"0b5f1a52-7c3e-4d8a-9f10-00a1b2c3d4e5"),
        ),
        (
            b"0b5f1a527c3e4d8a9f1000a1b2c3d4e5",
            b"0b5f1a527c3e4d8a9f1000a1b2c3d4e5",
            (b"0b5f1a527c3e4d8a9f1000a1b2c3d4e5",),
        ),
        (b"00" * 32, b"00" * 32, (b"00" * 32,)),
        (b"00Msg-7", b"00msg-7", (b"00Msg-7", b"00msg-7")),
        (b"0 1", b"0 1", (b"0 1",)),
        (b"", b"", (b"",)),
        (b"\xff\x00", b"\xff\x00", (b"\xff\x00",)),
    ],
)
def test_id_notations(raw: bytes, canonical: bytes, candidates: tuple[bytes, ...]) -> None:
    assert canonical_id(raw) == canonical
    assert id_candidates(raw) == candidates


def finds(stored: bytes, received: bytes) -> bool:
    return canonical_id(stored) in {canonical_id(candidate) for candidate in id_candidates(received)}


@given(number=st.integers(0, 10**20), width=st.integers(1, 24), data=st.data())
def test_a_number_is_found_in_every_notation(number: int, width: int, data: st.DataObject) -> None:
    notations = (
        b"%d" % number,
        b"%0*d" % (width, number),
        b"%x" % number,
        b"%X" % number,
        b"%0*X" % (width, number),
    )
    stored, received = data.draw(st.permutations(notations))[:2]
    assert finds(stored, received)


@pytest.mark.parametrize(
    ("stored", "received"),
    [
        (b"00msg7", b"msg7"),
        (b"0b5f1a52-7c3e", b"b5f1a52-7c3e"),
        (b"00" * 16, b"0"),
        (b"10", b"17"),
        (b"a", b"11"),
    ],
)
def test_other_ids_are_not_found(stored: bytes, received: bytes) -> None:
    assert not finds(stored, received)
