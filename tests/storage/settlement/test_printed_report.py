"""The printed report and assessment, read back by another library: figures, pages, and the font."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import pypdf
import pytest

from storage.settlement import fonts
from storage.settlement.assessment import (
    ASSESSMENT_FORMAT,
    Assessment,
    FaultsCounted,
    FaultsInTime,
    Heading,
    Rated,
    Unrated,
)
from storage.settlement.calendar import moment_us
from storage.settlement.fonts import FontMissing
from storage.settlement.incidents import Clocks
from storage.settlement.penalties import Late, Penalties
from storage.settlement.printed_report import printed_report
from storage.settlement.quality import Availability, Coverage, Delays
from storage.settlement.report import (
    FORMAT,
    Announcement,
    Incident,
    MonthlyRate,
    Prevention,
    Report,
    Stretch,
    Withdrawal,
)
from storage.settlement.service import Exemption
from storage.settlement.statement import Source
from storage.settlement.tables import DoesNotAddUp
from tests.storage.settlement.sample_statement import DIGEST, sample_statement
from tests.storage.settlement.story import Story
from tests.storage.settlement.test_report import assessment_of

MONTHS: Final = ("2025-12", *(f"2026-{number:02d}" for number in range(1, 12)))
CARRIERS: Final = {"broadnet": 21_000, "mobile": 651_000, "telecom": 168_000, "unicom": 210_000}


def sample_report(**changes: Any) -> Report:
    report = Report(
        format=FORMAT,
        final=True,
        known_until="2026-11-30 23:59:59",
        evidence=sample_statement().evidence,
        sources=(Source(name="contract", sha256=DIGEST),),
        first_month=MONTHS[0],
        last_month=MONTHS[-1],
        party_a="河南省公安厅",
        party_b="中国移动通信集团河南有限公司",
        contract="河南省公安厅购买短信服务项目合同（包1）",
        stretches=(stretch(),),
        coverage=(
            Coverage(
                "cmcc", "mobile", 7_812_004, 7_790_441, Delays(7_790_441, 2.0, 30.4, 611.5, 86_012.3, 0)
            ),
            Coverage("cucc", "unicom", 2_520_118, 0, Delays(0, 0.0, 0.0, 0.0, 0.0, 0)),
        ),
        links=(Availability("cmcc", 999_871, 3, 43_205), Availability("cucc", 1_000_000, 0, 0)),
        incidents=(
            incident(104, clocks=Clocks(60, "in time", 481, "late"), subcontractor="郑州某网络有限公司"),
            incident(17_220, by="alarm", what="cmcc: no link bound"),
            incident(40_112_009, by="b", clocks=Clocks(29_640, "late", 29_640, "running")),
        ),
        maintenance=(
            Announcement(
                entry=311,
                what="短信网关割接",
                announced="2026-06-01 00:00:00",
                written="2026-06-01 00:00:00",
                began="2026-06-03 01:10:00",
                ended="",
                notice_hours=49,
                notice_min_hours=72,
            ),
        ),
        force_majeure=(
            Prevention(
                entry=512,
                what="暴雨致机房断电",
                began="2026-07-20 08:00:00",
                ended="2026-07-21 09:30:00",
                written="2026-07-20 08:30:00",
                last_written="2026-07-21 10:00:00",
                proven="",
            ),
        ),
        penalties=sample_penalties(),
        withdrawals=(),
    )
    return msgspec.structs.replace(report, **changes)


def stretch(**changes: Any) -> Stretch:
    service = sample_statement().service[0]
    made = Stretch(
        first_month=MONTHS[0],
        last_month=MONTHS[-1],
        rates=tuple(_rates()),
        service=msgspec.structs.replace(service, first_month=MONTHS[0], last_month=MONTHS[-1]),
        report_limit_minutes=5,
        reports=Delays(7_790_002, 0.1, 0.4, 12.5, 7_211.9, 431),
    )
    return msgspec.structs.replace(made, **changes)


def with_rates(*rates: MonthlyRate) -> Report:
    return sample_report(stretches=(stretch(rates=rates),))


def sample_penalties(**changes: Any) -> Penalties:
    made = Penalties(
        late=(
            late(601, "统计门户"),
            late(602, "查询页面", due="2026-06-28", done="", days=2, amount=10_000_100, penalty=200_000),
        ),
        penalty=5_000_000,
        before=0,
        due_before=0,
        cap_share="1.000000",
        cap=None,
        due=5_000_000,
    )
    return msgspec.structs.replace(made, **changes)


def late(entry: int, service: str, **changes: Any) -> Late:
    made = Late(
        entry=entry,
        service=service,
        due="2026-06-01",
        done="2026-06-05",
        days=4,
        days_before=0,
        days_spared=0,
        per_day="0.010000",
        amount=120_000_000,
        penalty=4_800_000,
    )
    return msgspec.structs.replace(made, **changes)


def _rates() -> list[MonthlyRate]:
    rows = []
    for number, month in enumerate(MONTHS):
        for carrier, units in (*CARRIERS.items(), ("", sum(CARRIERS.values()))):
            rate = 980_818 + 911 * number
            rows.append(
                MonthlyRate(
                    month=month,
                    carrier=carrier,
                    accepted=units + number,
                    delivered=units * rate // 1_000_000,
                    rate=f"0.{rate:06d}",
                    rate_without_terminal=f"0.{rate + 8_400:06d}",
                )
            )
    return rows


def incident(entry: int, **changes: Any) -> Incident:
    made = Incident(
        entry=entry,
        opened="2026-06-10 10:00:00",
        written="2026-06-10 10:05:00",
        last_written="2026-06-11 09:00:00",
        by="a",
        what="下发积压",
        clocks=Clocks(30, "in time", 120, "in time"),
        respond_limit_minutes=60,
        restore_limit_minutes=480,
        subcontractor="",
    )
    return msgspec.structs.replace(made, **changes)


def empty_report() -> Report:
    """Of months in which nothing was sent and nothing entered."""
    service = sample_statement(complaints=0).service[0]
    rates = tuple(msgspec.structs.replace(rate, successful=0, total=0, rate="") for rate in service.rates)
    nothing = Delays(0, 0.0, 0.0, 0.0, 0.0, 0)
    empty = stretch(
        rates=tuple(
            MonthlyRate(month=month, carrier="", accepted=0, delivered=0, rate="", rate_without_terminal="")
            for month in MONTHS
        ),
        service=msgspec.structs.replace(service, rates=rates, rate_met=True),
        reports=nothing,
    )
    return sample_report(
        stretches=(empty,),
        coverage=(),
        links=(),
        incidents=(),
        maintenance=(),
        force_majeure=(),
        penalties=sample_penalties(late=(), penalty=0, due=0),
    )


def sample_assessment(report: Report | None = None, **changes: Any) -> Assessment:
    made = Assessment(
        format=ASSESSMENT_FORMAT,
        year=3,
        headings=(
            Heading(name="faults", weight=25, score=85, basis=FaultsCounted(3, 5)),
            Heading(name="resolution", weight=25, score=33, basis=FaultsInTime(3, 1)),
            Heading(name="support", weight=25, score=80, basis=Rated("王某", "2026-11-20")),
            Heading(name="satisfaction", weight=25, score=71, basis=Rated("王某", "2026-11-20")),
        ),
        score=67,
        pass_score=60,
        passed=True,
        report=report or sample_report(),
    )
    return msgspec.structs.replace(made, **changes)


def unrated() -> Assessment:
    whole = sample_assessment()
    support = Heading(name="support", weight=25, score=None, basis=Unrated())
    headings = (*whole.headings[:2], support, whole.headings[3])
    return sample_assessment(headings=headings, score=None, passed=None)


SAMPLE: Final = sample_report()
ASSESSMENT: Final = sample_assessment()


@pytest.fixture(scope="module")
def octets() -> bytes:
    return printed_report(ASSESSMENT)


@pytest.fixture(scope="module")
def pages(octets: bytes) -> list[str]:
    return texts(octets)


def texts(octets: bytes) -> list[str]:
    """Of each page, without spaces and ends of lines, which are where the layout put them."""
    return ["".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(octets)).pages]


def text_of(what: Report | Assessment) -> str:
    return "".join(texts(printed_report(what)))


# -- the assessment ------------------------------------------------------------------------------------------


def test_every_page_names_the_assessment_and_its_place(pages: list[str]) -> None:
    digest = sha256(ASSESSMENT.encode()).hexdigest()
    for number, page in enumerate(pages, 1):
        assert f"第{number}页共{len(pages)}页" in page
        assert "年度考核验收材料（第3合同年）2025年12月至2026年11月" in page
        assert f"摘要{digest[:16]}" in page


def test_the_first_page_is_the_one_that_is_sealed(pages: list[str]) -> None:
    for text in (
        "河南省公安厅购买短信服务项目合同（包1）",
        "中国移动通信集团河南有限公司",
        DIGEST,
        "证据日志hn-gw-1",
        "计入记录数41,907,332",
        sha256(ASSESSMENT.encode()).hexdigest(),
        "故障次数故障3次，每次扣5分25%8521.25",
        "故障解决故障3次，其中按时响应且按时恢复1次25%338.25",
        "技术支持服务由王某于2026-11-20评分25%8020.00",
        "服务满意度由王某于2026-11-20评分25%7117.75",
        "合计100%67.25",
        "综合得分加权得分之和，舍去小数67",
        "合格分数线60",
        "考核结论合格",
        "约定不超过10起：未达标",
        "考核结论：合格。",
        "甲方（盖章）",
        "乙方（盖章）",
    ):
        assert text in pages[0]
    assert not [page for page in pages[1:] if "（盖章）" in page]
    assert "附件服务质量报告" in pages[1]


@pytest.mark.parametrize(
    ("assessment", "told"),
    [
        (
            sample_assessment(pass_score=70, passed=False),
            ("合格分数线70", "考核结论不合格（限期整改）", "考核结论：不合格（限期整改）。"),
        ),
        (
            unrated(),
            (
                "技术支持服务尚无人评分25%未评—",
                "合计100%—",
                "综合得分有未评项目，待评待评",
                "考核结论：待评。",
            ),
        ),
    ],
)
def test_conclusions(assessment: Assessment, told: tuple[str, ...]) -> None:
    page = texts(printed_report(assessment))[0]
    for text in told:
        assert text in page


def test_the_reasons_of_an_assessment_are_all_in_chinese(tmp_path: Path) -> None:
    with Story(tmp_path, "2025-12-01") as story:
        story.at("2026-01-10 10:00:00")
        first = assessment_of(story, 3)
        entry = story.noted("incident")
        story.at("2026-01-10 10:30:00").noted("incident", "restored", entry)
        story.entered("rating", year="3", support="80", satisfaction="70")
        second = assessment_of(story, 3)
    for assessment, told in (
        (first, ("故障0次，每次扣5分", "故障解决没有故障25%100", "尚无人评分", "待评")),
        (second, ("故障1次，每次扣5分", "故障1次，其中按时响应且按时恢复1次", "于2026-01-10评分25%80")),
    ):
        page = texts(printed_report(assessment))[0]
        assert [text for text in told if text not in page] == []


# -- the report ----------------------------------------------------------------------------------------------


def test_a_report_begins_with_what_it_is_about() -> None:
    pages = texts(printed_report(SAMPLE))
    for text in ("服务质量报告", "统计月份2025年12月至2026年11月", "证据日志hn-gw-1", DIGEST):
        assert text in pages[0]
    assert not [page for page in pages if "（盖章）" in page or "考核" in page]


@pytest.mark.parametrize(
    "text",
    [
        # 一
        "字面口径（用户终端原因计为失败）7,335,4437,478,89998.0818%约定口径",
        "剔除用户终端原因口径7,335,4437,381,44699.3767%仅供对照",
        "2025-12-01至2026-11-30投诉11起（其中乙方原因9起），约定不超过10起：未达标",
        "两项指标达到其一即为达标；统计期内未达标",
        # 二
        "月份运营商受理成功字面口径（约定）剔除终端原因（对照）",
        "2025年12月中国移动651,000638,51298.0818%98.9218%",
        "2026年11月中国广电21,01120,80799.0839%99.9239%",
        "2026年11月合计1,050,0111,040,38099.0839%99.9239%",
        "字面口径成功率（约定口径）剔除用户终端原因成功率约定不低于99%",
        # 三
        "cmcc中国移动7,812,0047,790,44199.7239%2.030.4611.586,012.3",
        "cucc中国联通2,520,11800.0000%————",
        "2025年12月至2026年11月5分钟7,790,0024310.0055%0.10.412.57,211.9",
        # 四
        "cmcc99.9871%312小时00分05秒",
        "cucc100.0000%00小时00分00秒",
        # 五
        "共3次。响应：按时2次，超时1次，进行中0次；恢复：按时1次，超时1次，进行中1次。",
        "1042026-06-1010:00:00发生2026-06-1010:05:00录入2026-06-1109:00:00末条下发积压甲方",
        "1小时00分/1小时00分按时8小时01分/8小时00分超时",
        "172202026-06-1010:00:00发生2026-06-1010:05:00录入2026-06-1109:00:00末条cmcc:nolinkbound告警—0小时30分/1小时00分按时2小时00分/8小时00分按时",
        "乙方—494小时00分/1小时00分超时494小时00分/8小时00分进行中",
        # 六
        "311短信网关割接2026-06-0100:00:002026-06-0301:10:00未登记49/72不足",
        # 七
        "512暴雨致机房断电2026-07-2008:00:002026-07-2109:30:002026-07-2008:30:00首条2026-07-2110:00:00末条未登记",
        # 八
        "601统计门户2026-06-012026-06-0512,000.00×4×1%=480.004480.00",
        "602查询页面2026-06-28未完成1,000.01×2×1%=20.0002220.00",
        "本期违约金合计500.00元",
        "合同文本未载合同金额",
        "本期应付违约金500.00元",
    ],
)
def test_every_figure_is_there(pages: list[str], text: str) -> None:
    assert text in "".join(pages)


def test_the_cap_holds() -> None:
    # 300 yuan at the most, 200 of which were due before.
    capped = sample_penalties(before=2_000_000, due_before=2_000_000, cap=3_000_000, due=1_000_000)
    text = text_of(sample_report(penalties=capped))
    assert "本期违约金合计500.00元" in text
    assert "此前累计违约金200.00元" in text
    assert "违约金上限300.00元" in text
    assert "此前应付违约金200.00元" in text
    assert "本期应付违约金100.00元" in text


def test_days_of_earlier_reports_and_of_force_majeure_are_told() -> None:
    delayed = late(601, "统计门户", days=31, days_before=30, days_spared=2, penalty=1_200_000)
    text = text_of(
        sample_report(penalties=sample_penalties(late=(delayed,), penalty=1_200_000, due=1_200_000))
    )
    assert "12,000.00×1×1%=120.00" in text
    assert "统计门户（不计不可抗力2天）" in text
    assert "31−30" in text


def test_an_announcement_that_was_entered_later_says_when() -> None:
    work = msgspec.structs.replace(SAMPLE.maintenance[0], written="2026-06-20 09:00:00")
    assert "2026-06-0100:00:002026-06-2009:00:00录入" in text_of(sample_report(maintenance=(work,)))


def test_what_is_given_back_is_below_nothing() -> None:
    delayed = late(601, "统计门户", days=0, days_before=4, penalty=-4_800_000)
    given_back = sample_penalties(
        late=(delayed,), penalty=-4_800_000, before=4_800_000, due_before=4_800_000, due=-4_800_000
    )
    text = text_of(sample_report(penalties=given_back))
    assert "12,000.00×-4×1%=-480.00" in text
    assert "本期应付违约金-480.00元" in text


def test_each_delay_has_the_share_of_its_day() -> None:
    both = late(601, "统计门户", per_day="0.020000", penalty=9_600_000), late(602, "查询页面")
    text = text_of(sample_report(penalties=sample_penalties(late=both, penalty=14_400_000, due=14_400_000)))
    assert "12,000.00×4×2%=960.004960.00" in text
    assert "12,000.00×4×1%=480.004480.00" in text


def test_what_the_terms_decide_is_shown_for_the_months_in_which_they_hold() -> None:
    service = stretch().service
    first = stretch(
        last_month="2026-05",
        rates=tuple(row for row in SAMPLE.stretches[0].rates if row.month < "2026-06"),
        service=msgspec.structs.replace(service, last_month="2026-05"),
    )
    second = stretch(
        first_month="2026-06",
        rates=tuple(row for row in SAMPLE.stretches[0].rates if row.month >= "2026-06"),
        service=msgspec.structs.replace(
            service, first_month="2026-06", contractual="without_terminal", rate_min="0.980000"
        ),
        report_limit_minutes=15,
        reports=Delays(100, 0.1, 0.4, 12.5, 999.9, 3),
    )
    report = sample_report(stretches=(first, second))
    text = text_of(report)
    before, after = "2025年12月至2026年5月", "2026年6月至2026年11月"
    for told in (
        f"{before}（其间合同参数不变）：",
        f"{after}（其间合同参数不变）：",
        "字面口径（约定）剔除终端原因（对照）",
        "字面口径（对照）剔除终端原因（约定）",
        "约定不低于99%",
        "约定不低于98%",
        f"{before}5分钟7,790,0024310.0055%",
        f"{after}15分钟10033.0000%",
    ):
        assert told in text
    assert text.count("2026年6月合计") == 1
    sealed = texts(printed_report(sample_assessment(report)))[0]
    assert f"{after}两项指标达到其一即为达标；统计期内未达标" in sealed
    assert "乙方（盖章）" in sealed


def test_nothing_is_said_where_there_is_nothing() -> None:
    text = text_of(empty_report())
    assert text.count("无") == 6 + text.count("无链路") + text.count("无结果") + text.count("无从")
    assert "2026年11月合计00——" in text
    assert "5分钟00—————" in text
    assert "受理数量" not in text  # no chart


def test_what_was_taken_back_is_listed_with_who_did_it_and_why() -> None:
    taken_back = Withdrawal(
        register="incident",
        entry=17_300,
        what="cmcc: no link is bound",
        opened="2026-06-10 10:00:00",
        withdrawn="2026-11-20 09:00:00",
        who="wang",
        reason="a test",
    )
    text = text_of(sample_report(withdrawals=(taken_back,)))
    assert "九、撤销的登记" in text
    assert "17300故障cmcc:nolinkisbound2026-06-1010:00:002026-11-2009:00:00wangatest" in text
    assert "撤销的登记" not in text_of(SAMPLE)


def test_what_is_exempt_is_listed_with_its_proof() -> None:
    us = moment_us("2026-07-20 08:00:00")
    flood = Exemption(
        register="force majeure",
        entry=512,
        began_us=us,
        ended_us=0,
        proven_us=0,
        written_us=us + 10**9,
        last_written_us=us + 2 * 10**9,
    )
    work = msgspec.structs.replace(flood, register="maintenance", entry=311, ended_us=us + 3_600_000_000)
    service = msgspec.structs.replace(stretch().service, exempt=(work, flood), left_out=7)
    text = text_of(sample_report(stretches=(stretch(service=service),)))
    written = "登记于2026-07-2008:16:40，末条2026-07-2008:33:20"
    assert f"（1）计划检修（登记号311）：2026-07-2008:00:00至2026-07-2009:00:00；{written}" in text
    assert f"不可抗力（登记号512）：2026-07-2008:00:00至未结束；{written}；证明文件未登记" in text


def many_incidents() -> Report:
    return sample_report(incidents=tuple(incident(10**9 + number) for number in range(200)))


def test_two_hundred_faults_are_all_listed_and_their_header_is_on_each_page() -> None:
    pages = texts(printed_report(many_incidents()))
    listed = [page for page in pages if "下发积压" in page]
    assert len(listed) > 3
    assert all("编号时间故障发现分包商响应/时限响应恢复/时限恢复" in page for page in listed)
    text = "".join(listed)
    assert [str(10**9 + number) for number in range(200) if str(10**9 + number) not in text] == []


def test_texts_are_no_markup_and_are_not_cut() -> None:
    markup = "<b>&amp;</b><font size=99>"
    text = "".join(f"{number:03d}" for number in range(166))  # about as long as a register allows
    found = text_of(
        sample_report(
            incidents=(incident(1, what=markup * 3, subcontractor=markup), incident(2, subcontractor=text)),
            maintenance=(msgspec.structs.replace(SAMPLE.maintenance[0], what=markup + text),),
            force_majeure=(msgspec.structs.replace(SAMPLE.force_majeure[0], what=markup + text),),
            party_a=markup,
            evidence=msgspec.structs.replace(SAMPLE.evidence, log=markup),
        )
    )
    plain = "".join(markup.split())
    assert plain * 3 in found
    assert found.count(plain) >= 8
    # A long text is broken into lines by columns, between which other columns may be read.
    assert text in found


@pytest.mark.parametrize(
    "report",
    [
        with_rates(*_rates() * 3),  # three years of them
        with_rates(*_rates()[:5]),
        with_rates(),
        with_rates(*(row for row in _rates() if row.month != "2026-03")),
        with_rates(
            *(
                msgspec.structs.replace(row, rate="", rate_without_terminal="")
                if row.month == "2026-03"
                else row
                for row in _rates()
            )
        ),
        with_rates(
            MonthlyRate(
                month="2026-06",
                carrier="",
                accepted=1,
                delivered=0,
                rate="0.000000",
                rate_without_terminal="",
            )
        ),
        sample_report(
            incidents=tuple(
                incident(number, what="故" * 500, subcontractor="包" * 500) for number in range(3)
            )
        ),
    ],
)
def test_what_is_unusual_is_printed_too(report: Report) -> None:
    for what in (report, sample_assessment(report)):
        pages = texts(printed_report(what))
        assert f"第{len(pages)}页共{len(pages)}页" in pages[-1]


# -- the file ------------------------------------------------------------------------------------------------


def test_the_font_is_embedded_and_its_text_can_be_extracted(octets: bytes) -> None:
    reader = pypdf.PdfReader(io.BytesIO(octets))
    found: list[Any] = [
        font.get_object()
        for page in reader.pages
        for font in page["/Resources"]["/Font"].values()  # type: ignore[index]
    ]
    assert found
    for font in found:
        assert "/FontFile2" in font["/FontDescriptor"]
        assert "/ToUnicode" in font
        assert font["/BaseFont"][7:8] == "+"  # a subset
    assert len(octets) < 1_000_000
    assert not [page for page in reader.pages if page.images]  # charts are drawn, not painted


def test_the_same_report_gives_the_same_octets(octets: bytes) -> None:
    assert printed_report(ASSESSMENT) == octets


@pytest.mark.parametrize(
    "contradictory",
    [
        sample_report(penalties=sample_penalties(penalty=1)),
        sample_report(penalties=sample_penalties(due=1)),
        sample_report(penalties=sample_penalties(cap=1)),
        sample_report(penalties=sample_penalties(due_before=100)),
        sample_report(penalties=sample_penalties(before=100)),
        sample_assessment(score=68),
        sample_assessment(score=None),
    ],
)
def test_a_report_that_contradicts_itself_is_not_printed(contradictory: Report | Assessment) -> None:
    with pytest.raises(DoesNotAddUp):
        printed_report(contradictory)


def test_without_a_font_it_says_which_package_has_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fonts, "PATHS", (tmp_path / "none.ttc",))
    with pytest.raises(FontMissing, match=r"^no Chinese font: run `apt-get install"):
        printed_report(SAMPLE)


def test_a_report_of_months_that_are_not_over_says_so() -> None:
    said = text_of(sample_report(final=False, known_until="2026-11-26 12:30:00"))
    assert "尚未结束，各项数字截至2026-11-2612:30:00。" in said
    assert "未定稿" not in text_of(sample_report())
