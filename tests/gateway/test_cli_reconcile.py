"""`jingxin statement reconcile`: from a bill and the ledger to a dispute file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from openpyxl import load_workbook

from gateway.cli import run
from storage.keys import Keyring, initialise_master_key, read_master_key
from tests.storage.settlement.billing import HEADING, LAN, LAYOUT, MEI, csv_bill, row, xlsx_bill
from tests.storage.settlement.story import Story

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "."
[evidence]
master_key_file = "secrets/master"
"""
Reconcile = Callable[..., int]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two messages of cmcc on 1 June: one to LAN that failed, one to MEI whose id begins with a `=`."""
    initialise_master_key(tmp_path / "secrets/master")
    path = tmp_path / "gw.toml"
    path.write_text(CONFIG)
    (tmp_path / "bills.toml").write_text(LAYOUT)
    with Story(tmp_path) as story:
        keyring = Keyring(tmp_path / "evidence/keys", read_master_key(tmp_path / "secrets/master"))
        story.at("2026-06-01 08:00:00")
        for number, carrier_id, stat in ((LAN, b"A1", b"MK:0012"), (MEI, b"=A2", b"DELIVRD")):
            part = story.accept(number_hash=keyring.number_hash(number.encode()))
            story.dispatch(part)
            story.sent(part, carrier_id=carrier_id)
            story.receipt(part, stat, carrier_id=carrier_id)
        story.project()
    return path


@pytest.fixture
def reconcile(config: Path) -> Reconcile:
    def call(*more: str, period: str = "2026-06", bill: str = "bill.csv", carrier: str = "cmcc") -> int:
        directory = config.parent
        named = ["--columns", str(directory / "bills.toml"), "--bill", str(directory / bill)]
        where = ["-c", str(config), "-o", str(directory / "out")]
        return run(
            ["statement", "reconcile", *where, "--carrier", carrier, "--period", period, *named, *more]
        )

    return call


ROWS = (HEADING, row("A1"), row("+B1", "18900000001", parts=2, amount="0.06"))


def test_a_dispute_file(config: Path, reconcile: Reconcile, capsys: pytest.CaptureFixture[str]) -> None:
    csv_bill(config.parent / "bill.csv", ROWS)
    assert reconcile("--json") == 0
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert captured.err.startswith(
        "jingxin: not final: the evidence has not gone beyond the time up to which"
    )
    findings = {found.pop("kind"): tuple(found.values()) for found in said.pop("findings")}
    assert said == {
        "carrier": "cmcc",
        "months": "2026-06..2026-06",
        "ours": 2,
        "theirs": 2,
        "our_amount_yuan": "0.0600",
        "their_amount_yuan": "0.0900",
        "matched_by_id": 1,
        "matched_by_notation": 0,
        "matched_by_number": 0,
        "clock_median_s": 0.0,
        "clock_warning": False,
        "directory": str(config.parent / "out"),
    }
    none = (0, 0, "0.0000")
    assert findings == {
        "missing_there": (1, 1, "0.0300"),
        "missing_here": (1, 2, "0.0600"),
        "status_differs": (1, 1, "0.0300"),
        "parts_differ": none,
        "billed_twice": none,
        "amount_differs": none,
        "other_months": none,
    }
    out = config.parent / "out"
    assert out.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in out.iterdir()) == [
        "disputes.csv",
        "disputes.xlsx",
        "reconciliation.json",
    ]
    kept = json.loads((out / "reconciliation.json").read_bytes())
    assert [source["name"] for source in kept["sources"]] == ["bill", "layout", "contract"]


def test_the_sheets(config: Path, reconcile: Reconcile) -> None:
    xlsx_bill(config.parent / "bill.xlsx", ROWS)
    assert reconcile(bill="bill.xlsx", carrier="mobile", period="6") == 1  # no [bill.mobile] in the file
    assert reconcile(bill="bill.xlsx", period="6") == 0
    book = load_workbook(config.parent / "out/disputes.xlsx")
    assert book.sheetnames == [
        *("核对汇总", "时钟偏差", "对方缺单", "我方缺单", "状态不一致", "条数不一致"),
        *("重复计费", "金额不一致", "账期外"),
    ]
    heading, ours = book["对方缺单"].iter_rows()
    cells = {name.value: cell for name, cell in zip(heading, ours, strict=True)}
    # A text of the carrier is a text, whatever it begins with.
    assert (cells["我方消息标识"].value, cells["我方消息标识"].data_type) == ("=A2", "s")
    assert [cells[name].value for name in ("号码", "我方时间", "我方状态", "状态码", "涉及金额（元）")] == [
        *(None, "2026-06-01 08:00:00", "成功", "DELIVRD", 0.03)
    ]
    _, theirs = book["我方缺单"].iter_rows(values_only=True)
    assert theirs[1] == "189****0001"
    summary = list(book["核对汇总"].iter_rows(values_only=True))
    assert ("运营商", "cmcc（通道：cmcc）", None, None, None, None) in summary
    assert ("状态不一致", 1, 1, 0.03, None, "双方记录的状态不同") in summary
    book.close()


@pytest.mark.parametrize(("more", "shown"), [([], "189****0001"), (["--reveal"], "18900000001")])
def test_numbers_are_masked(config: Path, reconcile: Reconcile, more: list[str], shown: str) -> None:
    csv_bill(config.parent / "bill.csv", ROWS)
    assert reconcile(*more) == 0
    text = (config.parent / "out/disputes.csv").read_text(encoding="utf-8-sig")
    rows = {row["类别"]: row for row in csv.DictReader(io.StringIO(text))}
    assert rows["我方缺单"]["号码"] == shown
    assert rows["我方缺单"]["账单消息标识"] == "'+B1"
    assert rows["对方缺单"]["我方消息标识"] == "'=A2"
    assert (rows["状态不一致"]["我方状态"], rows["状态不一致"]["账单状态"]) == ("失败", "成功")


def test_a_clock_that_is_ahead(
    config: Path, reconcile: Reconcile, capsys: pytest.CaptureFixture[str]
) -> None:
    csv_bill(config.parent / "bill.csv", [HEADING, row("A1", time="2026-06-01 08:02:00", status="failed")])
    assert reconcile() == 0
    said = capsys.readouterr()
    assert "clock median s       120" in said.out
    assert said.err.splitlines()[-1].startswith("jingxin: the carrier's clock and ours differ by more than a")
    book = load_workbook(config.parent / "out/disputes.xlsx", read_only=True)
    rows = book["时钟偏差"].iter_rows(min_row=2, values_only=True)
    assert [(row[0], row[4], row[7]) for row in rows] == [
        ("全部", 120, "偏差"),
        ("2026-06-01", 120, "偏差"),
    ]
    book.close()


def test_nothing_is_left_of_what_is_refused(
    config: Path, reconcile: Reconcile, capsys: pytest.CaptureFixture[str]
) -> None:
    path = csv_bill(config.parent / "bill.csv", [HEADING, row("A1", parts="x")])
    assert reconcile() == 1
    assert capsys.readouterr().err == (
        f"jingxin: {path}: row 2: column parts: allowed is a whole number of parts from 1 to 255, or"
        " nothing\n"
    )
    assert list(config.parent.glob("out*")) == []


REFUSED = [
    (["--carrier", "cmc"], "no carrier 'cmc' in the ledger: there are cbn, cmcc, ctcc, cucc,"),
    (["--period", "2026-13"], "no period '2026-13': allowed are a number such as 6, a month such as"),
    (
        ["--tolerance-minutes", "0"],
        "Invalid value for '--tolerance-minutes': ",
    ),
]


@pytest.mark.parametrize(("more", "wrong"), REFUSED)
def test_what_is_refused(
    config: Path, reconcile: Reconcile, capsys: pytest.CaptureFixture[str], more: list[str], wrong: str
) -> None:
    csv_bill(config.parent / "bill.csv", ROWS)
    assert reconcile(*more) != 0
    assert capsys.readouterr().err.startswith(f"jingxin: {wrong}")


def test_a_directory_with_something_in_it(
    config: Path, reconcile: Reconcile, capsys: pytest.CaptureFixture[str]
) -> None:
    csv_bill(config.parent / "bill.csv", ROWS)
    (config.parent / "out").mkdir()
    assert reconcile() == 0
    kept = (config.parent / "out/disputes.csv").read_bytes()
    capsys.readouterr()
    assert reconcile() == 1
    assert capsys.readouterr().err == (
        f"jingxin: {config.parent}/out: there is something already: allowed is a new directory\n"
    )
    assert (config.parent / "out/disputes.csv").read_bytes() == kept
