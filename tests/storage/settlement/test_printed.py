"""The printed statement, read back by another library: its pages, its text, and the font it carries."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pypdf
import pytest

from storage.settlement import fonts
from storage.settlement.fonts import FontMissing
from storage.settlement.printed import printed
from storage.settlement.tables import DoesNotAddUp
from tests.storage.settlement.sample_statement import (
    DIGEST,
    empty_statement,
    monthly,
    only_denied,
    sample_statement,
    with_account,
    with_many_accounts,
)

SAMPLE = sample_statement()


@pytest.fixture(scope="module")
def octets() -> bytes:
    return printed(SAMPLE, 1, DIGEST, None)


@pytest.fixture(scope="module")
def pages(octets: bytes) -> list[str]:
    return texts(octets)


def texts(octets: bytes) -> list[str]:
    """Of each page, without spaces and ends of lines, which are where the layout put them."""
    return ["".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(octets)).pages]


def page_with(pages: list[str], text: str) -> str:
    (page,) = (page for page in pages if text in page)
    return page


def test_every_page_names_the_statement_and_its_place(pages: list[str]) -> None:
    assert len(pages) == 13
    for number, page in enumerate(pages, 1):
        assert f"第{number}页共13页" in page
        assert "短信结算清单第6期（2026年6月至2026年11月）第1版" in page
        assert f"摘要{DIGEST[:16]}" in page


def test_the_first_page_says_what_is_to_be_paid(pages: list[str]) -> None:
    for text in (
        "河南省公安厅购买短信服务项目合同（包1）",
        "应付金额221,674.202,692.77224,366.97",
        "减免（合同四.12）4,221.13",
        "实付金额220,145.84",
        "人民币贰拾贰万零壹佰肆拾伍元捌角肆分",
        "按受理数量7,389,14089,759224,366.97采用",
        "按成功数量7,245,68489,759220,063.29仅供对照",
        "按提交数量7,395,34289,759224,553.03仅供对照",
    ):
        assert text in pages[0]


def test_the_signature_page_has_the_reduction_and_the_seals(pages: list[str]) -> None:
    page = page_with(pages, "甲方（盖章）")
    for text in (
        "字面口径（用户终端原因计为失败）7,335,4437,478,89998.0818%约定口径",
        "剔除用户终端原因口径7,335,4437,381,44699.3767%仅供对照",
        "减免费用=本期实际成功收发短信费用×本期短信收发失败率",
        "下行7,245,684×0.03元+上行89,759×0.03元=220,063.29元",
        "143,456÷7,478,899=1.9181%",
        "减免费用=220,063.29元×143,456÷7,478,899=4,221.129250元",
        "四舍五入到0.01元：减免费用=4,221.13元",
        "乙方（盖章）",
        "本期实付金额220,145.84元",
        DIGEST,
    ):
        assert text in page


def test_a_service_as_agreed_reduces_nothing() -> None:
    page = page_with(texts(printed(sample_statement(complaints=10), 1, DIGEST, None)), "甲方（盖章）")
    assert "投诉10起（其中乙方原因9起），约定不超过10起：达标" in page
    assert "两项指标达到其一即为达标；本期达标，不减免" in page
    assert "减免费用=" not in page


def test_tables_are_there_by_every_key(pages: list[str]) -> None:
    text = "".join(pages)
    for row in (
        "中国移动4,603,72104,603,7211,1194,514,88382,4045,3154,602,602138,078.0698.0941%",
        "未归属6,2026,2020000000.00—",
        "churujing408,835852407,98390399,8297,614450407,89312,236.7998.0230%",
        "便民服务5,917,7432,6415,915,1021,4375,800,681106,1606,8245,913,665177,409.9598.0894%",
        "2026年9月1,143,4509691,142,4812731,119,64421,2541,3101,142,20834,266.2498.0245%",
        "上行89,759089,759089,7590089,7592,692.77100.0000%",
        "终端原因40,99214,64511,0301,25567,922",
        "合计7,486,8886,2027,480,6861,7877,335,443134,8818,5757,478,899224,366.9798.0818%",
        "billing.price_mt下行单价0.03元/条二.2合同正文",
    ):
        assert row in text


def test_the_evidence_page_says_how_to_compute_it_again(pages: list[str]) -> None:
    page = page_with(pages, "附表四")
    for text in ("jingxinstatementverify", SAMPLE.evidence.root, SAMPLE.sources[1].sha256, "41,907,332"):
        assert text in page


def test_the_header_of_a_table_is_on_each_of_its_pages(pages: list[str]) -> None:
    lines = [page for page in pages if "2026-" in page and "重复回执" in page]
    assert len(lines) == 6
    assert all(
        "月份方向运营商账号类别提交拒绝受理取消送出成功失败未知不确定待发重复回执" in page for page in lines
    )
    assert sum(page.count("下行") + page.count("上行") for page in lines) == len(SAMPLE.lines)


def test_the_font_is_embedded_and_its_text_can_be_extracted(octets: bytes) -> None:
    reader = pypdf.PdfReader(io.BytesIO(octets))
    found = [font for page in reader.pages for font in fonts_of(page)]
    assert found
    for font in found:
        assert "/FontFile2" in font["/FontDescriptor"]
        assert "/ToUnicode" in font
        assert font["/BaseFont"][7:8] == "+"  # a subset
    assert len(octets) < 1_000_000  # the font alone has five million


def fonts_of(page: Any) -> list[Any]:
    return [font.get_object() for font in page["/Resources"]["/Font"].values()]


def test_charts_are_drawn_not_painted(octets: bytes) -> None:
    assert not [page for page in pypdf.PdfReader(io.BytesIO(octets)).pages if page.images]


def test_the_same_statement_gives_the_same_octets(octets: bytes) -> None:
    assert printed(SAMPLE, 1, DIGEST, None) == octets


def test_a_draft_says_so_across_every_page(pages: list[str]) -> None:
    drafts = texts(printed(sample_statement(final=False), 2, DIGEST, None))
    assert all(page.count("未定稿") >= 2 for page in drafts)  # the version, and the mark
    assert not [page for page in pages if "未定稿" in page]


def test_names_from_data_are_no_markup() -> None:
    name = "<b>&amp;</b><font size=99>" * 2  # too long for its column, so it is set as a paragraph
    text = "".join(texts(printed(with_account(SAMPLE, "oa", name), 1, DIGEST, None)))
    assert "<b>&amp;</b>" in text


@pytest.mark.parametrize(
    "statement", [empty_statement(), with_many_accounts(SAMPLE), only_denied(SAMPLE), monthly(SAMPLE)]
)
def test_what_is_unusual_is_printed_too(statement: Any) -> None:
    pages = texts(printed(statement, 1, DIGEST, None))
    assert f"第{len(pages)}页共{len(pages)}页" in pages[-1]
    assert sum("甲方（盖章）" in page for page in pages) == 1


def test_each_month_that_is_judged_has_its_arithmetic() -> None:
    text = "".join(texts(printed(monthly(SAMPLE), 1, DIGEST, None)))
    for month in ("2026年6月", "2026年11月"):
        assert f"三、服务质量（合同四.12），{month}" in text
    assert text.count("减免计算（5）") == 6


def test_a_statement_that_contradicts_itself_is_not_printed() -> None:
    with pytest.raises(DoesNotAddUp):
        printed(msgspec.structs.replace(SAMPLE, due=SAMPLE.due - 100), 1, DIGEST, None)


def test_without_a_font_it_says_which_package_has_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fonts, "PATHS", (tmp_path / "none.ttc",))
    with pytest.raises(FontMissing, match=r"^no Chinese font: run `apt-get install fonts-wqy-microhei`"):
        printed(SAMPLE, 1, DIGEST, None)


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.ttf"
    path.write_text("no font")
    for each in (path, tmp_path / "absent.ttf"):
        with pytest.raises(FontMissing, match=f"^{each}: no TrueType font: run `apt-get install"):
            printed(SAMPLE, 1, DIGEST, each)


def test_a_font_without_chinese_is_refused() -> None:
    # reportlab ships it.
    path = Path(pytest.importorskip("reportlab").__file__).parent / "fonts" / "Vera.ttf"
    with pytest.raises(FontMissing, match="no glyph for 结算"):
        printed(SAMPLE, 1, DIGEST, path)
