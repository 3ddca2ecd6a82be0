"""Numbers as people write them, and whose prefix they have, by our table and by libphonenumber."""

from collections import defaultdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber
from phonenumbers.carrier import name_for_valid_number

from gateway.number_plan import NumberPlan, NumberPlanError, Segment, mask, normalise

PLAN = NumberPlan.load()
HEADING = "prefix,length,carrier,kind,source"

WRITTEN = {
    # The country code, the trunk 0.
    b"13812345678": b"13812345678",
    b"8613812345678": b"13812345678",
    b"+8613812345678": b"13812345678",
    b"008613812345678": b"13812345678",
    b"013812345678": b"13812345678",
    b"+86013812345678": b"13812345678",
    # Things have 13 digits, handsets 11, and 146 and 148 are both.
    b"1064712345678": b"1064712345678",
    b"861064712345678": b"1064712345678",
    b"+861410123456789": b"1410123456789",
    b"1481234567890": b"1481234567890",
    b"14812345678": b"14812345678",
    # A prefix that nobody has been allotted yet is a number still.
    b"15412345678": b"15412345678",
    # Blanks, dashes, marks of a contact list.
    b" 138 1234 5678 ": b"13812345678",
    b"138-1234-5678": b"13812345678",
    b"+86 138-1234-5678": b"13812345678",
    b"138\t12345678": b"13812345678",
    "138\u30001234\uff0d5678".encode(): b"13812345678",
    "138\u20131234\u20145678".encode(): b"13812345678",
    "\u202d+86 138 1234 5678\u202c".encode(): b"13812345678",
    # Full-width, in UTF-8 and in GB 18030, and mixed.
    "１３８１２３４５６７８".encode(): b"13812345678",
    "＋８６１３８１２３４５６７８".encode(): b"13812345678",
    "１３８12345678".encode(): b"13812345678",
    "１３８１２３４５６７８".encode("gb18030"): b"13812345678",
    "＋８６　１３８－１２３４－５６７８".encode("gb18030"): b"13812345678",
    # No number of a Chinese mobile.
    b"": b"",
    b"1": b"",
    b"1381234567": b"",
    b"138123456789": b"",
    b"13812345678901": b"",
    b"12812345678": b"",
    b"23812345678": b"",
    b"10690110123": b"",
    b"1069011012345": b"",
    b"10086": b"",
    b"02087654321": b"",
    b"861381234567": b"",
    b"86": b"",
    # A plus or 00 without 86 is another country: +1 381 is North America's.
    b"+13812345678": b"",
    b"0013812345678": b"",
    b"+85291234567": b"",
    b"138+12345678": b"",
    b"++8613812345678": b"",
    # Digits that are none of ours, other octets, the end of line that `$` would let through.
    "١٣٨١٢٣٤٥٦٧٨".encode(): b"",
    b"1381234567x": b"",
    b"13812345678\n": b"",
    b"13812345678\x00": b"",
    b"\xff\xfe13812345678": b"",
    b"13812345678" + b" " * 53: b"13812345678",
    b"13812345678" + b" " * 54: b"",
}


@pytest.mark.parametrize(("address", "number"), WRITTEN.items())
def test_normalise(address: bytes, number: bytes) -> None:
    assert normalise(address) == number


@given(st.binary(max_size=80) | st.text(alphabet="0168+- ８６１\u202d", max_size=20).map(str.encode))
@example(b"\xa3\xb1")
@example(b"\xef\xbc")
def test_normalise_gives_a_number_or_nothing_and_never_raises(address: bytes) -> None:
    number = normalise(address)
    assert number == b"" or (number.isdigit() and len(number) in (11, 13))
    assert normalise(number) == number


@given(st.from_regex(rb"1[3-9][0-9]{9}", fullmatch=True), st.data())
def test_separators_anywhere_change_nothing(number: bytes, data: st.DataObject) -> None:
    text = number.decode()
    for separator in data.draw(st.lists(st.sampled_from(" -\u3000\u2013"), max_size=6)):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + separator + text[at:]
    assert normalise(text.encode()) == number
    assert normalise(text.encode("gb18030")) == number


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        (b"13812345678", "138****5678"),
        (b"+86 138-1234-5678", "138****5678"),
        (b"1064712345678", "10647****5678"),
        (b"10690110", "****"),
        (b"", "****"),
        (b"1381234567", "****"),
    ],
)
def test_mask(number: bytes, masked: str) -> None:
    assert mask(number) == masked


@pytest.mark.parametrize(
    ("number", "segment"),
    [
        (b"13812345678", Segment("mobile", "public", b"138")),
        (b"13412345678", Segment("mobile", "public", b"134")),
        (b"13492345678", Segment("telecom", "satellite", b"1349")),
        (b"13012345678", Segment("unicom", "public", b"130")),
        (b"13312345678", Segment("telecom", "public", b"133")),
        (b"19212345678", Segment("broadnet", "public", b"192")),
        (b"16102345678", Segment("broadnet", "public", b"1610")),
        (b"16192345678", Segment("satnet", "satellite", b"1619")),
        (b"17052345678", Segment("mobile", "mvno", b"1705")),
        (b"17405234567", Segment("telecom", "satellite", b"17405")),
        (b"17406234567", Segment("other", "emergency", b"17406")),
        # The length is part of the key.
        (b"14612345678", Segment("unicom", "iot", b"146")),
        (b"1461234567890", Segment("unicom", "iot", b"146")),
        (b"1410123456789", Segment("telecom", "iot", b"1410")),
        (b"14101234567", None),
        (b"1064712345678", Segment("mobile", "m2m", b"10647")),
        (b"1381234567890", None),
        # Not allotted.
        (b"14212345678", None),
        (b"15412345678", None),
        (b"16122345678", None),
        (b"17413345678", None),
        # Not in the form of `normalise`.
        (b"", None),
        (b"8613812345678", None),
        (b"138", None),
    ],
)
def test_lookup(number: bytes, segment: Segment | None) -> None:
    assert PLAN.lookup(number) == segment


def test_every_row_of_the_packaged_table_is_the_answer_for_its_own_numbers() -> None:
    assert len(PLAN.segments) == 90
    for (prefix, length), segment in PLAN.segments.items():
        longer = [
            p for p, digits in PLAN.segments if digits == length and p != prefix and p.startswith(prefix)
        ]
        free = [
            number
            for number in (prefix + b"%08d" % (rest * 10**7) for rest in range(10))
            if not any(number.startswith(p) for p in longer)
        ]
        assert free
        for number in free:
            assert PLAN.lookup(number.ljust(length, b"0")[:length]) == segment


# Where ours and libphonenumber (phonenumbers 9.0.43) differ, by our prefix. Everything else must agree.
UNKNOWN_TO_LIBPHONENUMBER = {b"1349", b"146", b"148", b"149", b"162", b"165"}
OTHERWISE_IN_LIBPHONENUMBER = {
    # 1619 is the satellite operator's in the Ministry's table; libphonenumber gives the whole of 161 to
    # Broadnet.
    b"1619": "China Broadnet",
    # Emergency and satellite numbers of other holders; libphonenumber gives the whole of 174 to Telecom.
    **dict.fromkeys((b"1740%d" % digit for digit in range(6, 10)), "China Telecom"),
    **dict.fromkeys((b"1741%d" % digit for digit in range(3)), "China Telecom"),
    b"1749": "China Telecom",
}
# Five-digit prefixes that no carrier has been allotted by the Ministry, which libphonenumber swallows with
# its shorter prefixes 15, 161 and 174.
ALLOTTED_BY_LIBPHONENUMBER_ONLY = {
    **dict.fromkeys((b"154%02d" % rest for rest in range(100)), "China Mobile"),
    **dict.fromkeys((b"161%02d" % rest for rest in range(10, 90)), "China Broadnet"),
    **dict.fromkeys((b"174%02d" % rest for rest in range(13, 90)), "China Telecom"),
}
CARRIER_OF_NAME = {
    "China Mobile": "mobile",
    "China Unicom": "unicom",
    "China Telecom": "telecom",
    "China Broadnet": "broadnet",
}


def test_agrees_with_libphonenumber_but_for_the_known_gaps() -> None:
    """Every five-digit prefix from 13000 to 19999, as `name_for_valid_number` sees it.

    That function does not ask whether libphonenumber takes the number for a valid mobile one, which it
    denies to 146, 148, 149 and most of 174: the plan never refuses a number on that ground.
    """
    unknown: dict[bytes, int] = defaultdict(int)
    otherwise: dict[bytes, str] = {}
    theirs_only: dict[bytes, str] = {}
    agreed = 0
    for start in range(13000, 20000):
        number = b"%d500000" % start
        name = name_for_valid_number(PhoneNumber(country_code=86, national_number=int(number)), "en")
        segment = PLAN.lookup(number)
        if segment is None:
            if name:
                theirs_only[number[:5]] = name
        elif not name:
            unknown[segment.prefix] += 1
        elif CARRIER_OF_NAME[name] != segment.carrier:
            otherwise[segment.prefix] = name
        else:
            agreed += 1
    assert set(unknown) == UNKNOWN_TO_LIBPHONENUMBER
    assert otherwise == OTHERWISE_IN_LIBPHONENUMBER
    assert theirs_only == ALLOTTED_BY_LIBPHONENUMBER_ONLY
    assert agreed == 5006


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], "line 1: []"),
        (["prefix,carrier"], "line 1: ['prefix', 'carrier']"),
        ([HEADING, "138,11,mobile,public"], "line 2: 4 columns, allowed is 5"),
        ([HEADING, "138x,11,mobile,public,s"], "line 2: prefix '138x', allowed are 1 to 5 digits"),
        ([HEADING, "138123,11,mobile,public,s"], "line 2: prefix '138123'"),
        ([HEADING, ",11,mobile,public,s"], "line 2: prefix ''"),
        ([HEADING, "138,12,mobile,public,s"], "line 2: length '12', allowed are 11 and 13"),
        ([HEADING, "138,11,vodafone,public,s"], "line 2: 'vodafone', 'public', allowed are ('mobile'"),
        ([HEADING, "138,11,mobile,secret,s"], "line 2: 'mobile', 'secret', allowed are ('mobile'"),
        (
            [HEADING, "138,11,mobile,public,s", "138,11,unicom,public,s"],
            "line 3: 138 with 11 digits stands twice",
        ),
    ],
)
def test_a_table_with_an_error_is_refused_with_its_line(lines: list[str], text: str) -> None:
    with pytest.raises(NumberPlanError) as caught:
        NumberPlan.from_csv(lines)
    assert str(caught.value).startswith(text)


def test_the_longest_prefix_wins_whatever_the_order_of_the_lines() -> None:
    rows = ["17,11,mobile,public,s", "17405,11,telecom,satellite,s", "174,11,unicom,public,s"]
    for lines in (rows, rows[::-1]):
        plan = NumberPlan.from_csv([HEADING, *lines])
        numbers = [b"17505000000", b"17404000000", b"17405000000"]
        assert [segment.carrier for n in numbers if (segment := plan.lookup(n))] == [
            "mobile",
            "unicom",
            "telecom",
        ]
