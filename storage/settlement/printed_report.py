"""A report on the service, or the yearly assessment, as a PDF to be printed; the assessment to be sealed.

It looks like the statement and is made of the same blocks. The assessment has its scores, its conclusion and
the places for the seals on the first page, and the report that it rests on behind it. Every page names the
first digits of the hash of the JSON. What the terms decide is shown for each stretch of months in which they
hold.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, PageBreak, Spacer, Table

from storage.settlement import wording
from storage.settlement.amounts import FEN, cut_decimal
from storage.settlement.assessment import Assessment
from storage.settlement.charts import rates_chart
from storage.settlement.fonts import register_font
from storage.settlement.paper import RED, TOTAL, WIDTH, Blocks, Edges, NumberedCanvas, new_document
from storage.settlement.penalties import Late, Penalties
from storage.settlement.printed import rates_table
from storage.settlement.quality import Coverage, Delays
from storage.settlement.report import Announcement, Incident, MonthlyRate, Report, Stretch
from storage.settlement.service import RateName, Service
from storage.settlement.tables import CHARTED_MAX, DoesNotAddUp, exemptions, indicators, ranked

# Columns in points.
_SCORE_WIDTHS: Final = (104, 212, 50, 80, 68)
_RATE_WIDTHS: Final = (70, 86, 80, 80, 99, 99)
_COVERAGE_WIDTHS: Final = (84, 58, 66, 66, 58, 44, 44, 44, 50)
_REPORT_WIDTHS: Final = (112, 46, 72, 46, 54, 44, 44, 44, 52)
_LINK_WIDTHS: Final = (190, 108, 108, 108)
_INCIDENT_WIDTHS: Final = (50, 104, 94, 30, 62, 56, 31, 56, 31)
_WORK_WIDTHS: Final = (50, 160, 78, 78, 78, 40, 31)
_PREVENTED_WIDTHS: Final = (50, 126, 78, 78, 104, 78)
_WITHDRAWAL_WIDTHS: Final = (50, 48, 118, 78, 78, 48, 94)
_LATE_WIDTHS: Final = (50, 92, 52, 52, 146, 50, 72)
assert all(
    sum(widths) <= WIDTH
    for widths in (
        _SCORE_WIDTHS,
        _RATE_WIDTHS,
        _COVERAGE_WIDTHS,
        _REPORT_WIDTHS,
        _LINK_WIDTHS,
        _INCIDENT_WIDTHS,
        _WORK_WIDTHS,
        _PREVENTED_WIDTHS,
        _LATE_WIDTHS,
        _WITHDRAWAL_WIDTHS,
    )
)

_HUNDRED: Final = 100

# What a section needs to begin on a page: its heading, its notes, the header of its table and a row.
_SECTION_HEIGHT: Final = 110


def printed_report(what: Report | Assessment, font: Path | None = None) -> bytes:
    """The octets of the PDF. font: a TrueType file, or one of the usual places.

    Raises FontMissing, and DoesNotAddUp where a sum is not that of its parts.
    """
    report = what.report if isinstance(what, Assessment) else what
    _check_penalties(report.penalties)
    name = register_font(font)
    months = wording.months_name(report.first_month, report.last_month)
    title = f"{_title(what)}　{months}"
    digest = sha256(what.encode()).hexdigest()
    octets = io.BytesIO()
    document = new_document(octets, name, title=title, author=report.party_b, subject=f"SHA-256 {digest}")
    edges = Edges(font=name, left=title, right=f"摘要 {digest[:16]}", draft=not report.final)
    blocks = Blocks(name)
    facts = _facts(report, months, digest)
    story: list[Flowable] = [blocks.title(_title(what))]
    if not report.final:
        story.append(
            blocks.warning(
                f"{wording.DRAFT}：统计月份及其后状态报告的等待期尚未结束，"
                f"各项数字截至 {report.known_until}。"
            )
        )
    story.append(blocks.pairs(facts))
    if isinstance(what, Assessment):
        story += [*_assessment(blocks, what), PageBreak(), blocks.title(f"附件　{wording.REPORT_TITLE}")]
    story += _Story(blocks, report, name).flowables()
    document.build(story, canvasmaker=partial(NumberedCanvas, edges))
    return octets.getvalue()


def _title(what: Report | Assessment) -> str:
    if isinstance(what, Assessment):
        return f"{wording.ASSESSMENT_TITLE}（第{what.year}合同年）"
    return wording.REPORT_TITLE


def _facts(report: Report, months: str, digest: str) -> Sequence[tuple[str, str]]:
    return (
        ("合同名称", report.contract),
        ("合同文件 SHA-256", next(each.sha256 for each in report.sources if each.name == "contract")),
        ("甲方", report.party_a),
        ("乙方", report.party_b),
        ("统计月份", months),
        ("证据日志", report.evidence.log),
        ("计入记录数", f"{report.evidence.records:,}"),
        ("检查点根哈希", report.evidence.root),
        ("证据截至", report.evidence.known_before),
        ("JSON 报告 SHA-256", digest),
    )


# -- the page that is sealed ---------------------------------------------------------------------------------


def _assessment(blocks: Blocks, assessment: Assessment) -> Iterable[Flowable]:
    yield blocks.section("考核评分（合同三.9）")
    yield _scores(blocks, assessment)
    yield Spacer(0, 4)
    stretches = assessment.report.stretches
    if len(stretches) == 1:
        yield blocks.pairs(_judged(stretches[0].service))
    else:  # what is sealed fits on one page
        yield blocks.pairs([(_months(stretch), _conclusion(stretch.service)) for stretch in stretches])
    sealed = (
        f"双方确认本年度考核验收材料及所附《{wording.REPORT_TITLE}》，考核结论："
        f"{wording.PASSED[assessment.passed]}。"
    )
    yield KeepTogether([blocks.section("双方确认"), blocks.sentence(sealed), Spacer(0, 6), blocks.seals()])


def _scores(blocks: Blocks, assessment: Assessment) -> Table:
    """Raises DoesNotAddUp."""
    headings = assessment.headings
    weighted = None
    if all(heading.score is not None for heading in headings):
        weighted = sum(heading.weight * (heading.score or 0) for heading in headings)
    if assessment.score != (None if weighted is None else weighted // _HUNDRED):
        raise DoesNotAddUp("score is not the weighted mean of the headings")
    rows = [
        (
            wording.HEADINGS.get(heading.name, heading.name),
            wording.basis(heading.basis),
            f"{heading.weight}%",
            "未评" if heading.score is None else str(heading.score),
            _points(None if heading.score is None else heading.weight * heading.score),
        )
        for heading in headings
    ]
    score = "待评" if assessment.score is None else str(assessment.score)
    cut = "有未评项目，待评" if assessment.score is None else "加权得分之和，舍去小数"
    table = blocks.table(
        ("考核项目", "评分依据", "权重", "评分（百分制）", "加权得分"),
        [
            *rows,
            ("合计", "", f"{sum(heading.weight for heading in headings)}%", "", _points(weighted)),
            ("综合得分", cut, "", "", score),
            ("合格分数线", "", "", "", str(assessment.pass_score)),
            ("考核结论", wording.PASSED[assessment.passed], "", "", ""),
        ],
        _SCORE_WIDTHS,
        texts=2,
        size=9,
    )
    table.setStyle(
        [
            ("SPAN", (1, -1), (-1, -1)),
            ("BACKGROUND", (0, -1), (-1, -1), TOTAL),
            ("FONTSIZE", (0, -1), (-1, -1), 11),
            ("TOPPADDING", (0, -1), (-1, -1), 5),
            ("BOTTOMPADDING", (0, -1), (-1, -1), 6),
        ]
    )
    return table


def _points(hundredths: int | None) -> str:
    return wording.NO_SHARE if hundredths is None else f"{Decimal(hundredths).scaleb(-2):.2f}"


# -- the service ---------------------------------------------------------------------------------------------


class _Story:
    """The parts of a report, in the order of print."""

    def __init__(self, blocks: Blocks, report: Report, font: str) -> None:
        self._blocks = blocks
        self._report = report
        self._font = font

    def flowables(self) -> list[Flowable]:
        return [
            *self._indicators(),
            *self._rates(),
            *self._receipts(),
            *self._links(),
            *self._incidents(),
            *self._maintenance(),
            *self._force_majeure(),
            *self._late(),
            *self._withdrawals(),
        ]

    def _indicators(self) -> Iterable[Flowable]:
        yield self._blocks.section("一、服务质量指标（合同四.12）")
        for stretch in self._report.stretches:
            yield from self._named(stretch)
            yield rates_table(self._blocks, stretch.service)
            yield Spacer(0, 4)
            exempt = ((each.point, each.text) for each in exemptions(stretch.service))
            yield self._blocks.pairs((*_judged(stretch.service), *exempt))
        yield self._blocks.note("减免费用按结算期计算，见短信结算清单。")

    def _rates(self) -> Iterable[Flowable]:
        yield from self._section("二、分月、分运营商成功率（合同四.12）")
        yield self._blocks.note(
            "受理、成功为下行条数；成功率按合同参数计算（上行、撤销、无结果短信的计法），不剔除约定免责时段。"
        )
        for stretch in self._report.stretches:
            yield from self._named(stretch)
            together = [each for each in stretch.rates if not each.carrier]
            if any(month.accepted for month in together):
                for first in range(0, len(together), CHARTED_MAX):
                    months = together[first : first + CHARTED_MAX]
                    yield Spacer(0, 6)
                    yield rates_chart(self._font, months, stretch.service, WIDTH)
                yield self._blocks.note("图为各运营商合计；成功率为右轴，不从零起，只列两位小数，其后舍去。")
            yield Spacer(0, 6)
            yield self._rates_table(stretch)

    def _rates_table(self, stretch: Stretch) -> Table:
        names: tuple[RateName, RateName] = "literal", "without_terminal"
        agreed = stretch.service.contractual
        short = {"literal": "字面口径", "without_terminal": "剔除终端原因"}
        headings = (f"{short[name]}（{'约定' if name == agreed else '对照'}）" for name in names)
        rank = ranked(wording.CARRIERS)
        rows = sorted(stretch.rates, key=lambda each: (each.month, rank(each.carrier), each.carrier))
        table = self._listed(
            ("月份", "运营商", "受理", "成功", *headings), [_rate(row) for row in rows], _RATE_WIDTHS, 2
        )
        table.setStyle(
            [
                ("BACKGROUND", (0, number), (-1, number), TOTAL)
                for number, row in enumerate(rows, 1)
                if not row.carrier
            ]
        )
        return table

    def _receipts(self) -> Iterable[Flowable]:
        report = self._report
        yield from self._section("三、状态报告（合同四.1、四.15）")
        yield self._blocks.note(
            "运营商回执：从运营商应答到最终状态报告的时间，单位为秒；p95 为 95% 在此时间之内。"
            "覆盖率 = 有状态报告的条数 ÷ 送出条数。"
        )
        yield self._listed(
            ("运营商账号", "运营商", "送出", "有状态报告", "覆盖率", "p50", "p95", "p99", "最长"),
            [_coverage(each) for each in report.coverage],
            _COVERAGE_WIDTHS,
            2,
        )
        yield Spacer(0, 8)
        yield KeepTogether(
            [
                self._blocks.note(
                    "推送应用：从网关收到状态报告到应用确认收到的时间，单位为秒；时限见合同四.15。"
                ),
                self._blocks.table(
                    ("统计月份", "时限", "已送达应用", "超时", "超时占比", "p50", "p95", "p99", "最长"),
                    [
                        (
                            _months(each),
                            f"{each.report_limit_minutes:,} 分钟",
                            f"{each.reports.count:,}",
                            f"{each.reports.late:,}",
                            _share(each.reports.late, each.reports.count),
                            *_delays(each.reports),
                        )
                        for each in self._report.stretches
                    ],
                    _REPORT_WIDTHS,
                    texts=2,
                ),
            ]
        )

    def _links(self) -> Iterable[Flowable]:
        yield from self._section("四、链路可用性（合同四.16）")
        yield self._blocks.note("在线：该账号至少有一条链路与运营商连通。中断：最后一条链路断开。")
        yield self._listed(
            ("运营商账号", "在线时间占比", "中断次数", "最长无链路时间"),
            [
                (
                    each.carrier,
                    wording.percent(str(Decimal(each.bound).scaleb(-6))),
                    f"{each.lost:,}",
                    wording.seconds(each.longest_s),
                )
                for each in self._report.links
            ],
            _LINK_WIDTHS,
        )

    def _incidents(self) -> Iterable[Flowable]:
        incidents = self._report.incidents
        yield from self._section("五、故障登记（合同四.1）")
        yield self._blocks.note(
            "用时从登记的发生时间起算，不足一分钟按一分钟计；进行中的计至统计截止时；其后为约定的时限。"
            "录入、末条：登记首条、末条的录入时间。编号为证据日志记录号。"
        )
        if incidents:
            yield self._blocks.note(_incident_sums(incidents))
        table = self._listed(
            ("编号", "时间", "故障", "发现", "分包商", "响应/时限", "响应", "恢复/时限", "恢复"),
            [_incident(each) for each in incidents],
            _INCIDENT_WIDTHS,
            5,
        )
        table.setStyle([("ALIGN", (column, 1), (column, -1), "CENTER") for column in (6, 8)])
        table.setStyle(
            [
                ("TEXTCOLOR", (column, number), (column, number), RED)
                for number, each in enumerate(incidents, 1)
                for column, verdict in ((6, each.clocks.responded), (8, each.clocks.restored))
                if verdict == "late"
            ]
        )
        yield table

    def _maintenance(self) -> Iterable[Flowable]:
        works = self._report.maintenance
        yield from self._section("六、计划检修（合同四.7）")
        yield self._blocks.note(
            "提前：从通知（录入在后的，从录入）到计划开始的整小时数，其后为约定的最少小时数。"
        )
        table = self._listed(
            ("编号", "事项", "通知时间", "实际开始", "实际结束", "提前/约定", "判定"),
            [
                (
                    str(each.entry),
                    each.what,
                    _announced(each),
                    each.began or wording.NOT_RECORDED,
                    each.ended or wording.NOT_RECORDED,
                    f"{each.notice_hours:,}/{each.notice_min_hours:,}",
                    "符合" if each.notice_hours >= each.notice_min_hours else "不足",
                )
                for each in works
            ],
            _WORK_WIDTHS,
            5,
        )
        table.setStyle([("ALIGN", (6, 1), (6, -1), "CENTER")])
        table.setStyle(
            [
                ("TEXTCOLOR", (6, number), (6, number), RED)
                for number, each in enumerate(works, 1)
                if each.notice_hours < each.notice_min_hours
            ]
        )
        yield table

    def _force_majeure(self) -> Iterable[Flowable]:
        yield from self._section("七、不可抗力（合同九.2）")
        yield self._blocks.note("合同正文九.2：发生后三十日内提供权威证明文件和书面说明。")
        yield self._listed(
            ("编号", "事由", "开始", "结束", "登记", "证明文件"),
            [
                (
                    str(each.entry),
                    each.what,
                    each.began,
                    each.ended or wording.NOT_RECORDED,
                    f"{each.written} 首条 {each.last_written} 末条",
                    each.proven or wording.NOT_RECORDED,
                )
                for each in self._report.force_majeure
            ],
            _PREVENTED_WIDTHS,
            6,
        )

    def _late(self) -> Iterable[Flowable]:
        penalties = self._report.penalties
        yield from self._section("八、逾期违约金（合同十三.3、十三.4）")
        yield self._blocks.note(
            "每逾期一天支付逾期完成服务对应的合同金额的约定比例。金额单位为元；违约金按合同参数舍入。"
            "逾期天数计至统计截止，减去此前月份的报告已计的天数；此前月份报告截止后才登记的，计入本报告。"
        )
        yield self._listed(
            ("编号", "服务", "应完成日", "完成日", "金额 × 天数 × 每日比例", "逾期天数", "违约金"),
            [
                (
                    str(each.entry),
                    _service(each),
                    each.due,
                    each.done or "未完成",
                    _arithmetic(each),
                    _days(each),
                    wording.money(each.penalty),
                )
                for each in penalties.late
            ],
            _LATE_WIDTHS,
            5,
        )
        yield Spacer(0, 4)
        sums = (
            ("本期违约金合计", f"{wording.money(penalties.penalty)} 元"),
            ("此前累计违约金", f"{wording.money(penalties.before)} 元"),
            ("累计违约金上限", _cap(penalties)),
            ("此前应付违约金", f"{wording.money(penalties.due_before)} 元"),
            ("本期应付违约金", f"{wording.money(penalties.due)} 元（累计不超过上限，减去此前应付）"),
        )
        yield KeepTogether([self._blocks.pairs(sums)])

    def _withdrawals(self) -> Iterable[Flowable]:
        """Where there are none, nothing has to be looked at."""
        withdrawals = self._report.withdrawals
        if not withdrawals:
            return
        yield from self._section("九、撤销的登记")
        yield self._blocks.note("以下登记因误登撤销，不计入上述各项；证据日志中保留原登记和撤销记录。")
        yield self._listed(
            ("编号", "登记簿", "事项", "发生时间", "撤销时间", "撤销人", "撤销原因"),
            [
                (
                    str(each.entry),
                    wording.REGISTERS[each.register],
                    each.what,
                    each.opened,
                    each.withdrawn,
                    each.who,
                    each.reason,
                )
                for each in withdrawals
            ],
            _WITHDRAWAL_WIDTHS,
            7,
        )

    def _named(self, stretch: Stretch) -> Iterable[Flowable]:
        """Which months it has, unless there is only one."""
        if len(self._report.stretches) > 1:
            yield CondPageBreak(_SECTION_HEIGHT)
            yield self._blocks.note(f"{_months(stretch)}（其间合同参数不变）：")

    def _section(self, text: str) -> Iterable[Flowable]:
        """A heading, on the next page if its table could not begin on this one."""
        yield CondPageBreak(_SECTION_HEIGHT)
        yield self._blocks.section(text)

    def _listed(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        texts: int = 1,
    ) -> Table:
        """A table that says so where it has no rows."""
        shown = rows or [(wording.NONE, *([""] * (len(headings) - 1)))]
        table = self._blocks.table(headings, shown, widths, texts=texts)
        if not rows:
            table.setStyle([("SPAN", (0, 1), (-1, 1)), ("ALIGN", (0, 1), (-1, 1), "CENTER")])
        return table


def _months(stretch: Stretch) -> str:
    return wording.months_name(stretch.first_month, stretch.last_month)


def _judged(service: Service) -> Sequence[tuple[str, str]]:
    """The indicators of 四.12 and what they come to."""
    return (*((each.point, each.text) for each in indicators(service)), ("指标结论", _conclusion(service)))


def _conclusion(service: Service) -> str:
    return f"{wording.COMBINED[service.combine]}；统计期内{wording.MET[service.met]}"


# -- rows ----------------------------------------------------------------------------------------------------


def _rate(row: MonthlyRate) -> Sequence[str]:
    return (
        wording.month_name(row.month),
        wording.carrier_name(row.carrier) if row.carrier else "合计",
        f"{row.accepted:,}",
        f"{row.delivered:,}",
        wording.percent(row.rate),
        wording.percent(row.rate_without_terminal),
    )


def _coverage(row: Coverage) -> Sequence[str]:
    return (
        row.carrier,
        wording.carrier_name(row.network),
        f"{row.sent:,}",
        f"{row.reported:,}",
        _share(row.reported, row.sent),
        *_delays(row.receipt),
    )


def _delays(delays: Delays) -> Sequence[str]:
    if not delays.count:
        return (wording.NO_SHARE,) * 4
    return tuple(f"{each:,.1f}" for each in (delays.p50_s, delays.p95_s, delays.p99_s, delays.longest_s))


def _share(part: int, whole: int) -> str:
    return wording.percent(cut_decimal(Fraction(part, whole)) if whole else "")


def _incident(incident: Incident) -> Sequence[str]:
    clocks = incident.clocks
    return (
        str(incident.entry),
        f"{incident.opened} 发生 {incident.written} 录入 {incident.last_written} 末条",  # a line each
        incident.what,
        wording.SEEN_BY.get(incident.by, incident.by) or wording.NO_SHARE,
        incident.subcontractor or wording.NO_SHARE,
        _of_limit(clocks.respond_minutes, incident.respond_limit_minutes),
        wording.VERDICTS[clocks.responded],
        _of_limit(clocks.restore_minutes, incident.restore_limit_minutes),
        wording.VERDICTS[clocks.restored],
    )


def _of_limit(minutes: int, limit_minutes: int) -> str:
    return f"{wording.minutes(minutes)}\n/ {wording.minutes(limit_minutes)}"


def _incident_sums(incidents: Sequence[Incident]) -> str:
    def told(verdicts: Sequence[str]) -> str:
        return "，".join(f"{name} {verdicts.count(key):,} 次" for key, name in wording.VERDICTS.items())

    responded = told([each.clocks.responded for each in incidents])
    restored = told([each.clocks.restored for each in incidents])
    return f"共 {len(incidents):,} 次。响应：{responded}；恢复：{restored}。"


def _announced(work: Announcement) -> str:
    """With when it was entered, where that was later."""
    return work.announced if work.written <= work.announced else f"{work.announced} {work.written} 录入"


# -- what lateness costs -------------------------------------------------------------------------------------


def _check_penalties(penalties: Penalties) -> None:
    """Raises DoesNotAddUp."""
    if sum(each.penalty for each in penalties.late) != penalties.penalty:
        raise DoesNotAddUp("penalty is not the sum of what was late")
    together = penalties.before + penalties.penalty
    most = together if penalties.cap is None else penalties.cap
    if abs(min(together, most) - penalties.due_before - penalties.due) >= FEN:
        raise DoesNotAddUp("due is not all penalties up to their cap, less what was due before")


def _service(late: Late) -> str:
    return f"{late.service}（不计不可抗力 {late.days_spared:,} 天）" if late.days_spared else late.service


def _days(late: Late) -> str:
    return f"{late.days:,} − {late.days_before:,}" if late.days_before else f"{late.days:,}"


def _arithmetic(late: Late) -> str:
    """The product is exact; the penalty beside it is rounded."""
    days = late.days - late.days_before
    product = wording.yuan(late.amount) * days * Decimal(late.per_day)
    whole_fen = product == product.quantize(Decimal("0.01"))
    shown = f"{product:,.2f}" if whole_fen else wording.shortest(product)
    return f"{wording.money(late.amount)} × {days:,} × {wording.plain_percent(late.per_day)} = {shown}"


def _cap(penalties: Penalties) -> str:
    share = f"合同金额的{wording.plain_percent(penalties.cap_share)}，合同十三.4"
    if penalties.cap is None:
        return f"合同文本未载合同金额，上限（{share}）无从计算"
    return f"{wording.money(penalties.cap)} 元（{share}）"
