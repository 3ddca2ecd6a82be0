"""The contract's file: what the shipped and the shortest one give, and the one line for each wrong one."""
# ruff: noqa: E501  (a row of the case table holds a whole error line)

import hashlib
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Literal

import msgspec
import pytest

import storage.settlement
from storage.settlement.amounts import rounded
from storage.settlement.calendar import parse_period
from storage.settlement.contract import (
    PARAMETERS,
    Amendment,
    Contract,
    ContractError,
    Origin,
    Renewal,
    read_contract,
    shipped_contract,
)
from storage.settlement.terms import (
    Alarms,
    Assessment,
    Billing,
    Incident,
    Maintenance,
    Penalty,
    Recon,
    Reduction,
    Report,
    Settlement,
    Sla,
    Terms,
)

SHIPPED = Path(storage.settlement.__file__).with_name("contract.toml")

SHORTEST = """\
[contract]
title = "合同"
party_a = "甲"
party_b = "乙"
start = 2023-12-01
end = 2026-11-30
"""
ORIGIN = """\
[[origin]]
key = "billing.price_mt"
clause = "二.2"
document = "合同正文"
"""
BILLING = f"""\
[billing]
price_mt = 400
{ORIGIN}
"""
CHEAPER = """\
[[amendment]]
effective = 2024-06-01
document = "补充协议一"
clause = "一"
[amendment.billing]
price_mt = 280
"""
STRICTER = """\
[[amendment]]
effective = 2025-12-01
document = "补充协议二"
clause = "三"
[amendment.billing]
price_mo = 100
[amendment.sla]
success_rate_min = "0.995"
combine = "all"
[amendment.incident]
respond_minutes = 30
"""


def read(directory: Path, text: str) -> Contract:
    path = directory / "contract.toml"
    path.write_text(text, encoding="utf-8")
    return read_contract(path)


def refused(directory: Path, content: bytes) -> str:
    """The error line without the name of the file, which each must begin with."""
    path = directory / "contract.toml"
    path.write_bytes(content)
    with pytest.raises(ContractError) as error:
        read_contract(path)
    message = str(error.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_the_shipped_contract() -> None:
    contract = shipped_contract()
    assert (contract.title, contract.number) == ("河南省公安厅购买短信服务项目合同（包1）", "")
    assert (contract.party_a, contract.party_b) == ("河南省公安厅", "中国移动通信集团河南有限公司")
    assert (contract.start, contract.end, contract.term_end) == (
        *(date(2023, 12, 1), date(2026, 11, 30), date(2026, 11, 30)),
    )
    assert contract.amount is None
    assert contract.digest == hashlib.sha256(SHIPPED.read_bytes()).digest()
    assert contract.settlement == Settlement(months=6, anchor=date(2023, 12, 1), cutoff_hours=72)
    assert contract.signed == Terms(
        billing=Billing(
            unit="part",
            count_on="accepted",
            price_mt=300,
            price_mo=300,
            tax_included=True,
            cancelled="free",
        ),
        sla=Sla(
            success_rate_min=Fraction(99, 100),
            complaints_max=10,
            combine="any",
            complaint_window="rolling_12m",
            complaint_count="all",
            include_mo=True,
            exclude_terminal=False,
            unknown="failure",
            exclude_planned=False,
            exclude_force_majeure=True,
            force_majeure_needs_proof=False,
            rate_window="settlement",
        ),
        reduction=Reduction(rounding="half_up", to=100),
        penalty=Penalty(per_day=Fraction(1, 100), cap=Fraction(1)),
        incident=Incident(respond_minutes=60, restore_minutes=480, clock_start="earliest"),
        maintenance=Maintenance(min_notice_hours=72),
        report=Report(max_delay_minutes=5, unknown_after_hours=72),
        recon=Recon(carrier_basis="reported"),
    )
    assert contract.assessment == Assessment(
        months=12, faults=25, resolution=25, support=25, satisfaction=25, points_per_fault=5, pass_score=60
    )
    assert contract.alarms == Alarms(
        term_end_days=(90, 30, 7), complaints_at=8, success_margin=Fraction(2, 1000)
    )
    assert contract.categories == {"office": "内部办公", "convenience": "便民服务", "document": "证件办理"}
    assert contract.renewals == ()
    assert contract.amendments == ()


def test_the_shipped_contract_gives_every_parameter_and_its_origin() -> None:
    contract = shipped_contract()
    assert PARAMETERS - set(contract.origins) == {"contract.amount"}  # which the text does not have
    assert contract.origin("billing.price_mt") == Origin(
        key="billing.price_mt", clause="二.2", document="合同正文", note=""
    )
    assert contract.origin("sla.combine") == Origin(
        key="sla.combine", clause="四.12", document="合同正文", note="“或者”按字面，达到其一即可"
    )
    assert contract.origin("contract.amount") == Origin(key="contract.amount", clause="", document="default")


def test_what_is_left_out_is_as_in_the_shipped_contract(tmp_path: Path) -> None:
    contract, shipped = read(tmp_path, SHORTEST), shipped_contract()
    for name in ("settlement", "signed", "assessment", "alarms", "categories", "amount", "number"):
        assert getattr(contract, name) == getattr(shipped, name)
    assert {contract.origin(key).document for key in PARAMETERS} == {"default"}


def test_the_price_of_replies_follows_until_it_is_given(tmp_path: Path) -> None:
    contract = read(tmp_path, SHORTEST + BILLING + CHEAPER + STRICTER)
    days = (date(2024, 5, 31), date(2024, 6, 1), date(2025, 11, 30), date(2025, 12, 1))
    billing = [contract.terms(day).billing for day in days]
    assert [(terms.price_mt, terms.price_mo) for terms in billing] == [
        *((400, 400), (280, 280), (280, 280), (280, 100))
    ]


def test_an_amendment_changes_what_it_names_from_its_day_on(tmp_path: Path) -> None:
    contract = read(tmp_path, SHORTEST + CHEAPER + STRICTER)
    first, second = contract.terms(date(2024, 6, 1)), contract.terms(date(2025, 12, 1))
    assert contract.terms(date(2020, 1, 1)) == contract.terms(date(2024, 5, 31)) == contract.signed
    assert first == msgspec.structs.replace(contract.signed, billing=Billing(price_mt=280, price_mo=280))
    assert second == msgspec.structs.replace(
        contract.signed,
        billing=Billing(price_mt=280, price_mo=100),
        sla=Sla(success_rate_min=Fraction(995, 1000), combine="all"),
        incident=Incident(respond_minutes=30),
    )
    assert contract.terms(date(2099, 12, 31)) == second
    assert contract.amendments == (
        Amendment(
            effective=date(2024, 6, 1),
            document="补充协议一",
            clause="一",
            changed=frozenset({"billing.price_mt"}),
            terms=first,
        ),
        Amendment(
            effective=date(2025, 12, 1),
            document="补充协议二",
            clause="三",
            changed=frozenset(
                {"billing.price_mo", "sla.success_rate_min", "sla.combine", "incident.respond_minutes"}
            ),
            terms=second,
        ),
    )


@pytest.mark.parametrize(
    ("key", "day", "document"),
    [
        ("billing.price_mt", None, "合同正文"),
        ("billing.price_mt", date(2024, 5, 31), "合同正文"),
        ("billing.price_mt", date(2024, 6, 1), "补充协议一"),
        ("billing.price_mt", date(2026, 1, 1), "补充协议一"),
        ("sla.combine", date(2025, 11, 30), "default"),
        ("sla.combine", date(2025, 12, 1), "补充协议二"),
        ("sla.unknown", date(2025, 12, 1), "default"),
    ],
)
def test_a_parameter_stands_on_what_changed_it_last(
    tmp_path: Path, key: str, day: date | None, document: str
) -> None:
    contract = read(tmp_path, SHORTEST + BILLING + CHEAPER + STRICTER)
    assert contract.origin(key, day).document == document


def test_an_origin_is_asked_for_by_a_key_that_there_is() -> None:
    with pytest.raises(AssertionError, match=r"billing\.prize"):
        shipped_contract().origin("billing.prize")


def test_renewals_extend_the_term(tmp_path: Path) -> None:
    contract = read(
        tmp_path,
        SHORTEST
        + '[[renewal]]\nend = 2027-02-28\ndocument = "续签一"\n'
        + '[[renewal]]\nend = 2028-02-29\ndocument = "续签二"\n',
    )
    assert contract.renewals == (
        Renewal(end=date(2027, 2, 28), document="续签一"),
        Renewal(end=date(2028, 2, 29), document="续签二"),
    )
    assert (contract.end, contract.term_end) == (date(2026, 11, 30), date(2028, 2, 29))


def test_other_values_than_the_shipped(tmp_path: Path) -> None:
    contract = read(
        tmp_path,
        SHORTEST
        + 'number = "豫公-2023-1"\namount = 12345678900\n'
        + '[categories]\nalarm_1 = "告警"\n[recon]\ncarrier_basis = "prefix"\n'
        + "[assessment]\nfaults = 40\nresolution = 30\nsupport = 20\nsatisfaction = 10\n"
        + "[alarms]\nterm_end_days = []\n"
        + '[[origin]]\nkey = "categories"\nclause = "二.1"\ndocument = "业务受理单"\nnote = "一"\n',
    )
    assert (contract.number, contract.amount) == ("豫公-2023-1", 12_345_678_900)
    assert contract.categories == {"alarm_1": "告警"}
    assert contract.signed.recon.carrier_basis == "prefix"
    assert contract.assessment == Assessment(faults=40, resolution=30, support=20, satisfaction=10)
    assert contract.alarms.term_end_days == ()
    assert contract.origin("categories") == Origin(
        key="categories", clause="二.1", document="业务受理单", note="一"
    )


def test_a_byte_order_mark_is_of_the_digest_and_not_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    octets = b"\xef\xbb\xbf" + SHORTEST.encode()
    path.write_bytes(octets)
    contract = read_contract(path)
    assert contract.title == "合同"
    assert contract.digest == hashlib.sha256(octets).digest()


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_contract(tmp_path / "contract.toml")


TABLES = (
    "contract, settlement, billing, sla, reduction, penalty, incident, maintenance, report, recon, assessment,"
    " alarms, categories, renewal, origin, amendment"
)
TERMS = "billing, sla, reduction, penalty, incident, maintenance, report, recon"
TEXT = "a text of 1 to 200 characters on one line"
DAY = "a day from 2000 to 2099 without quotes, such as 2023-12-01"
FIRST = "the first day of a month from 2000 to 2099 without quotes, as 2023-12-01"
SHARE = 'a decimal from 0 to 1 with at most 6 decimals, in quotes, such as "0.99"'
PRICE = "a whole number of 0.0001 yuan from 0 to 10000"
AMOUNT = "a whole number of 0.0001 yuan from 1 to 100000000000000"

WRONG = [
    # What is no TOML at all.
    ("[contract", "not TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ("a = 1\na = 2\n", "not TOML: Cannot overwrite a value (at line 2, column 6)"),
    (f"a = {'9' * 5000}", "a number with too many digits: none needs more than 15"),
    # Tables.
    ("", f"contract.title: missing: allowed is {TEXT}"),
    ("[tariff]\n", f"tariff: unknown table: allowed are {TABLES}"),
    ('"a\\nb" = 1\n', f"'a\\nb': unknown table: allowed are {TABLES}"),
    ("contract = 3\n", "contract: allowed is a table of keys and values"),
    ("[[contract]]\n", "contract: allowed is a table of keys and values"),
    (SHORTEST + "[renewal]\n", "renewal: allowed are tables that begin with [[renewal]]"),
    ("origin = [1]\n" + SHORTEST, "origin[1]: allowed is a table of keys and values"),
    # [contract].
    (SHORTEST.replace('party_b = "乙"\n', ""), f"contract.party_b: missing: allowed is {TEXT}"),
    (SHORTEST.replace("start = 2023-12-01\n", ""), f"contract.start: missing: allowed is {DAY}"),
    (SHORTEST.replace('"合同"', '""'), f"contract.title: allowed is {TEXT}, not ''"),
    (SHORTEST.replace('"合同"', '"a\\n"'), f"contract.title: allowed is {TEXT}, not 'a\\n'"),
    (
        SHORTEST.replace('"合同"', f'"{"x" * 201}"'),
        f"contract.title: allowed is {TEXT}, not '{'x' * 56}...",
    ),
    (SHORTEST.replace("2023-12-01", '"2023-12-01"'), f"contract.start: allowed is {DAY}, not '2023-12-01'"),
    (
        SHORTEST.replace("2023-12-01", "2023-12-01T08:00:00"),
        f"contract.start: allowed is {DAY}, not 2023-12-01 08:00:00",
    ),
    (SHORTEST.replace("2026-11-30", "2100-01-01"), f"contract.end: allowed is {DAY}, not 2100-01-01"),
    (
        SHORTEST.replace("2026-11-30", "2023-11-30"),
        "contract.end: allowed is a day from 2023-12-01, not 2023-11-30",
    ),
    (SHORTEST + "amount = 0\n", f"contract.amount: allowed is {AMOUNT}, not 0"),
    (SHORTEST + "amount = 1.5\n", f"contract.amount: allowed is {AMOUNT}, not 1.5"),
    (
        SHORTEST + "number = 7\n",
        "contract.number: allowed is a text of at most 200 characters on one line, not 7",
    ),
    (
        SHORTEST + "products = []\n",
        "contract.products: unknown key: allowed are title, number, party_a, party_b, start, end, amount",
    ),
    # Values.
    (SHORTEST + "[billing]\nprice_mt = 300.0\n", f"billing.price_mt: allowed is {PRICE}, not 300.0"),
    (SHORTEST + "[billing]\nprice_mt = -1\n", f"billing.price_mt: allowed is {PRICE}, not -1"),
    (SHORTEST + "[billing]\nprice_mo = 10001\n", f"billing.price_mo: allowed is {PRICE}, not 10001"),
    (
        SHORTEST + f"[billing]\nprice_mt = 0x{'f' * 5000}\n",
        f"billing.price_mt: allowed is {PRICE}, not a number with too many digits",
    ),
    (
        SHORTEST + '[billing]\nunit = "Part"\n',
        "billing.unit: allowed is one of part, message, not 'Part'",
    ),
    (
        SHORTEST + '[billing]\ncount_on = "sent"\n',
        "billing.count_on: allowed is one of accepted, delivered, submitted, not 'sent'",
    ),
    (
        SHORTEST + '[billing]\ntax_included = "yes"\n',
        "billing.tax_included: allowed is true or false, not 'yes'",
    ),
    (
        SHORTEST + "[billing]\nprice = 3\n",
        "billing.price: unknown key: allowed are unit, count_on, price_mt, price_mo, tax_included, cancelled",
    ),
    (
        SHORTEST + "[sla]\nsuccess_rate_min = 0.99\n",
        f"sla.success_rate_min: allowed is {SHARE}, not 0.99",
    ),
    *(
        (
            SHORTEST + f'[sla]\nsuccess_rate_min = "{text}"\n',
            f"sla.success_rate_min: allowed is {SHARE}, not {text!r}",
        )
        for text in (
            "99",
            "1.01",
            "99/100",
            ".99",
            "0.",
            "-0.5",
            "0.9999999",
            "9e-1",
            " 0.99",
            "0.９９",
            "nan",
        )
    ),
    (
        SHORTEST + "[sla]\ncombine = true\n",
        "sla.combine: allowed is one of any, all, not true",
    ),
    (
        SHORTEST + "[sla]\ncomplaints_max = true\n",
        "sla.complaints_max: allowed is a whole number from 0 to 1000000, not true",
    ),
    (
        SHORTEST + "[reduction]\nto = 0\n",
        "reduction.to: allowed is a whole number from 1 to 10000, not 0",
    ),
    (
        SHORTEST + '[reduction]\nrounding = "up"\n',
        "reduction.rounding: allowed is one of half_up, half_even, down, not 'up'",
    ),
    (SHORTEST + '[penalty]\ncap = "2"\n', f"penalty.cap: allowed is {SHARE}, not '2'"),
    (
        SHORTEST + "[settlement]\nmonths = 0\n",
        "settlement.months: allowed is a whole number from 1 to 60, not 0",
    ),
    (
        SHORTEST + "[settlement]\ncutoff_hours = 8785\n",
        "settlement.cutoff_hours: allowed is a whole number from 0 to 8784, not 8785",
    ),
    (
        SHORTEST + '[settlement]\nanchor = "2023-12"\n',
        f"settlement.anchor: allowed is {FIRST}, not '2023-12'",
    ),
    (
        SHORTEST + "[incident]\nrespond_minutes = 0\n",
        "incident.respond_minutes: allowed is a whole number from 1 to 44640, not 0",
    ),
    (
        SHORTEST + "[arrears]\none_product_days = 90\n",
        f"arrears: unknown table: allowed are {TABLES}",
    ),
    (
        SHORTEST + "[alarms]\nsuccess_margin = 0.002\n",
        f"alarms.success_margin: allowed is {SHARE}, not 0.002",
    ),
    (
        SHORTEST + "[alarms]\nterm_end_days = [30, 0]\n",
        "alarms.term_end_days: allowed is a list of whole numbers from 1 to 3650, the largest first, not [30, 0]",
    ),
    (
        SHORTEST + "[assessment]\npass_score = 101\n",
        "assessment.pass_score: allowed is a whole number from 0 to 100, not 101",
    ),
    (SHORTEST + "[categories]\n", "categories: it is empty: allowed is one category or more"),
    (
        SHORTEST + '[categories]\nAd = "广告"\n',
        "categories.Ad: allowed as a key are 1 to 32 small letters, digits and _, a letter first",
    ),
    (SHORTEST + "[categories]\nad = 1\n", f"categories.ad: allowed is {TEXT}, not 1"),
    # What no single key can tell.
    (
        SHORTEST + '[settlement]\nanchor = 2023-11-02\n[[origin]]\nkey = "settlement.anchor"\n'
        'clause = "二.2"\ndocument = "合同正文"\n',
        f"settlement.anchor: allowed is {FIRST}, not 2023-11-02",
    ),
    (
        SHORTEST + '[settlement]\nanchor = 2024-01-01\n[[origin]]\nkey = "settlement.anchor"\n'
        'clause = "二.2"\ndocument = "合同正文"\n',
        "settlement.anchor: allowed is a day up to contract.start, 2023-12-01, not 2024-01-01",
    ),
    (
        SHORTEST + "[sla]\nforce_majeure_needs_proof = true\n[[origin]]\n"
        'key = "sla.force_majeure_needs_proof"\nclause = "九.2"\ndocument = "合同正文"\n',
        "settlement.cutoff_hours: with sla.force_majeure_needs_proof allowed is 744 or more, not 72",
    ),
    (
        SHORTEST + "[assessment]\nfaults = 20\n",
        "assessment: faults, resolution, support and satisfaction sum to 95: allowed is 100",
    ),
    (
        SHORTEST + "[alarms]\nterm_end_days = [30, 30]\n",
        "alarms.term_end_days: 30 after 30: allowed is the largest first",
    ),
    # [[renewal]].
    (
        SHORTEST + '[[renewal]]\nend = 2026-11-30\ndocument = "续"\n',
        "renewal[2026-11-30].end: allowed is a day after 2026-11-30",
    ),
    (
        SHORTEST
        + '[[renewal]]\nend = 2028-11-30\ndocument = "续"\n[[renewal]]\nend = 2027-11-30\ndocument = "续"\n',
        "renewal[2027-11-30].end: allowed is a day after 2028-11-30",
    ),
    (
        SHORTEST + "[[renewal]]\nend = 2027-11-30\n",
        f"renewal[2027-11-30].document: missing: allowed is {TEXT}",
    ),
    (SHORTEST + '[[renewal]]\ndocument = "续"\n', f"renewal[1].end: missing: allowed is {DAY}"),
    # [[origin]].
    *(
        (
            SHORTEST + f"[{table}]\n{key} = {value}\n",
            f'{table}.{key}: no origin: give an [[origin]] with key = "{table}.{key}", clause and document,'
            " which says what it stands on",
        )
        for table, key, value in [
            ("billing", "price_mt", "300"),
            ("settlement", "months", "6"),
            ("sla", "combine", '"any"'),
            ("reduction", "to", "100"),
            ("penalty", "cap", '"1"'),
        ]
    ),
    (
        SHORTEST + ORIGIN,
        "origin[billing.price_mt].key: allowed is TABLE.KEY of a key that this file gives",
    ),
    (
        SHORTEST + BILLING.replace('"billing.price_mt"', '"billing.prize_mt"'),
        "origin[billing.prize_mt].key: allowed is TABLE.KEY of a key that this file gives",
    ),
    (
        SHORTEST + BILLING + ORIGIN,
        "origin[billing.price_mt].key: it has an origin already: allowed is one",
    ),
    (
        SHORTEST + BILLING.replace('clause = "二.2"\n', ""),
        "origin[billing.price_mt].clause: missing: allowed is a text of 1 to 200 characters on one line",
    ),
    (
        SHORTEST + BILLING.replace('"二.2"', '""'),
        "origin[billing.price_mt].clause: allowed is a text of 1 to 200 characters on one line, not ''",
    ),
    (SHORTEST + "[[origin]]\n", f"origin[1].key: missing: allowed is {TEXT}"),
    (
        SHORTEST + '[[origin]]\nkey = ""\n',
        f"origin[1].key: allowed is {TEXT}, not ''",
    ),
    # [[amendment]].
    (
        SHORTEST + CHEAPER.replace("2024-06-01", "2024-06-02"),
        "amendment[2024-06-02].effective: allowed is the first day of a settlement period, here 2024-06-01 or"
        " 2024-12-01, not 2024-06-02",
    ),
    (
        SHORTEST + CHEAPER.replace("2024-06-01", "2024-05-01"),
        "amendment[2024-05-01].effective: allowed is the first day of a settlement period, here 2023-12-01 or"
        " 2024-06-01, not 2024-05-01",
    ),
    (
        SHORTEST + CHEAPER.replace("2024-06-01", "2023-06-01"),
        "amendment[2023-06-01].effective: no settlement period contains 2023-06: allowed is a month from 2023-12",
    ),
    (
        SHORTEST + CHEAPER + CHEAPER,
        "amendment[2024-06-01].effective: allowed is a day after 2024-06-01, of the amendment before it",
    ),
    (
        SHORTEST + STRICTER + CHEAPER,
        "amendment[2024-06-01].effective: allowed is a day after 2025-12-01, of the amendment before it",
    ),
    # Replies have a price of their own, in the file or by an earlier amendment.
    (
        SHORTEST + BILLING.replace("400", "400\nprice_mo = 100") + ORIGIN.replace("_mt", "_mo") + CHEAPER,
        "amendment[2024-06-01].billing.price_mt: replies have a price of their own, 100, which does not"
        " follow: give price_mo as well",
    ),
    (
        SHORTEST
        + CHEAPER.replace("price_mt = 280", "price_mt = 280\nprice_mo = 100")
        + STRICTER
        + CHEAPER.replace("2024-06-01", "2026-06-01"),
        "amendment[2026-06-01].billing.price_mt: replies have a price of their own, 100, which does not"
        " follow: give price_mo as well",
    ),
    (
        SHORTEST + CHEAPER.replace("280", '"280"'),
        f"amendment[2024-06-01].billing.price_mt: allowed is {PRICE}, not '280'",
    ),
    (
        SHORTEST + CHEAPER.replace("price_mt", "prize"),
        "amendment[2024-06-01].billing.prize: unknown key: allowed are unit, count_on, price_mt, price_mo,"
        " tax_included, cancelled",
    ),
    (
        SHORTEST + CHEAPER.replace("amendment.billing", "amendment.settlement"),
        f"amendment[2024-06-01].settlement: unknown key: allowed are effective, document, clause, {TERMS}",
    ),
    (
        SHORTEST + CHEAPER.replace("price_mt = 280\n", ""),
        f"amendment[2024-06-01]: it changes nothing: allowed are keys of {TERMS}",
    ),
    (
        SHORTEST + CHEAPER.replace('clause = "一"\n', ""),
        f"amendment[2024-06-01].clause: missing: allowed is {TEXT}",
    ),
    (
        SHORTEST + CHEAPER.replace("effective = 2024-06-01\n", ""),
        f"amendment[1].effective: missing: allowed is {DAY}",
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_every_error_names_the_key_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    assert refused(tmp_path, text.encode()) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'title = "\xff"\n', "not UTF-8 at octet 9: save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "nested too deeply: tables hold values and lists of them"),
    ],
)
def test_octets_that_are_no_text(tmp_path: Path, content: bytes, expected: str) -> None:
    assert refused(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("amount", "to", "half_up", "half_even", "down"),
    [
        (Fraction(0), 100, 0, 0, 0),
        (Fraction(100), 100, 100, 100, 100),
        (Fraction(149), 100, 100, 100, 100),
        (Fraction(49_999_999, 1_000_000), 100, 0, 0, 0),
        # Exactly half: 50 of 100.
        (Fraction(50), 100, 100, 0, 0),
        (Fraction(150), 100, 200, 200, 100),
        (Fraction(250), 100, 300, 200, 200),
        (Fraction(50_000_001, 1_000_000), 100, 100, 100, 0),
        (Fraction(199), 100, 200, 200, 100),
        # 0.0001 yuan itself.
        (Fraction(1, 2), 1, 1, 0, 0),
        (Fraction(3, 2), 1, 2, 2, 1),
        (Fraction(1, 3), 1, 0, 0, 0),
        (Fraction(2, 3), 1, 1, 1, 0),
        # An odd unit has its half between two whole numbers.
        (Fraction(1), 3, 0, 0, 0),
        (Fraction(3, 2), 3, 3, 0, 0),
        (Fraction(2), 3, 3, 3, 0),
        # Beyond what a float holds.
        (Fraction(10**20 + 50), 100, 10**20 + 100, 10**20, 10**20),
    ],
)
def test_rounding(amount: Fraction, to: int, half_up: int, half_even: int, down: int) -> None:
    assert rounded(amount, to, "half_up") == half_up
    assert rounded(amount, to, "half_even") == half_even
    assert rounded(amount, to, "down") == down


def test_a_sum_is_an_integer() -> None:
    assert type(rounded(Fraction(50), 100, "half_up")) is int


@pytest.mark.parametrize("rounding", ["half_up", "half_even", "down"])
@pytest.mark.parametrize(("amount", "to"), [(Fraction(-1), 100), (Fraction(-1, 10**9), 1), (Fraction(1), 0)])
def test_nothing_below_zero_is_rounded(
    amount: Fraction, to: int, rounding: Literal["half_up", "half_even", "down"]
) -> None:
    with pytest.raises(AssertionError):
        rounded(amount, to, rounding)


def test_terms_that_change_within_months_are_told(tmp_path: Path) -> None:
    contract = read(tmp_path, SHORTEST + BILLING + CHEAPER)
    settlement = contract.settlement
    assert contract.terms_of(parse_period("1", settlement)).billing.price_mt == 400
    assert contract.terms_of(parse_period("2", settlement)).billing.price_mt == 280
    with pytest.raises(ContractError, match=r"2024-05\.\.2024-06: the terms change with 2024-06: settle the"):
        contract.terms_of(parse_period("2024-05..2024-06", settlement))
