"""What the keys of statements and reports are called in Chinese print, and how numbers are written there.

A key that has no name here is printed as it is: a statement of tomorrow is still readable today.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Final

from msgspec import Struct

from storage.settlement.assessment import Basis, FaultsCounted, FaultsInTime, Rated, Unrated
from storage.settlement.capital import capital
from storage.settlement.statement import Statement, Term

TITLE: Final = "短信结算清单"
DRAFT: Final = "未定稿"
DRAFT_REASON: Final = "未定稿：证据日志尚未越过本期截止时间，数字仍可能变化，不得据以付款。"
UNASSIGNED: Final = "未归属"
NO_SHARE: Final = "—"  # the share of nothing
RATE_NOTE: Final = "各表成功率 = 成功 ÷（受理 － 取消），仅供分析；考核以“服务质量”所列约定口径为准。"

VERIFYING: Final = (
    "取得与本清单对应的 JSON 文件、证据日志和合同文件，核对其 SHA-256 与本页所列一致。",
    "运行 jingxin statement verify：程序先按签名检查点核对日志前若干条记录的根，再只用这些记录、按合同参数"
    "重新计算全部数字。",
    "重新算出的 JSON 与所持 JSON 逐字节一致即为通过；任一记录、参数或口径不同，摘要即不同，"
    "本文件只是该 JSON 的打印形式。",
)
"""How the other party computes a statement again, a sentence a step."""

CARRIERS: Final = {
    "mobile": "中国移动",
    "unicom": "中国联通",
    "telecom": "中国电信",
    "broadnet": "中国广电",
}
DIRECTIONS: Final = {"mt": "下行", "mo": "上行"}
CAUSES: Final = {
    "terminal": "终端原因",
    "invalid": "空号或号码错误",
    "content": "内容拦截",
    "blacklist": "黑名单",
    "policy": "业务权限",
    "route": "路由",
    "gateway": "网关或运营商系统",
    "throttled": "流控",
    "expired": "超过有效期",
    "ported": "携号转网",
    "param": "参数错误",
    "unknown": "其他",
}
UNITS: Final = {"part": "条（按分段计）", "message": "条（按整条短信计）"}
COUNTED_ON: Final = {"accepted": "按受理数量", "delivered": "按成功数量", "submitted": "按提交数量"}
RATES: Final = {"literal": "字面口径（用户终端原因计为失败）", "without_terminal": "剔除用户终端原因口径"}
SHORT_RATES: Final = {"literal": "字面口径成功率", "without_terminal": "剔除用户终端原因成功率"}
COMBINED: Final = {"any": "两项指标达到其一即为达标", "all": "两项指标均达到才为达标"}
MET: Final = {True: "达标", False: "未达标"}
ROUNDED: Final = {"half_up": "四舍五入", "half_even": "四舍六入五成双", "down": "舍去"}

# Of a report on the service, and of the yearly assessment.
REPORT_TITLE: Final = "服务质量报告"
ASSESSMENT_TITLE: Final = "年度考核验收材料"
NONE: Final = "无"  # a table without rows
NOT_RECORDED: Final = "未登记"
VERDICTS: Final = {"in time": "按时", "late": "超时", "running": "进行中"}
SEEN_BY: Final = {"alarm": "告警", "a": "甲方", "b": "乙方"}
HEADINGS: Final = {  # 三.9
    "faults": "故障次数",
    "resolution": "故障解决",
    "support": "技术支持服务",
    "satisfaction": "服务满意度",
}
PASSED: Final = {True: "合格", False: "不合格（限期整改）", None: "待评"}

# How a score came about: the sentences of the report, and what is printed for them.
REGISTERS: Final = {
    "complaint": "投诉",
    "incident": "故障",
    "maintenance": "计划检修",
    "force majeure": "不可抗力",
    "delay": "逾期",
    "rating": "评分",
}
_YES_NO: Final = {"true": "是", "false": "否"}
_YUAN: Final = "元"
_YUAN_EACH: Final = "元/条"


class TermWording(Struct, frozen=True):
    """A parameter of the contract: its name, the names of its values, or the unit behind its number."""

    name: str
    values: Mapping[str, str] = {}
    unit: str = ""  # 元 and 元/条: the value is 0.0001 yuan; %: it is a share


TERMS: Final = {
    "settlement.months": TermWording("结算周期", unit="个月"),
    "settlement.anchor": TermWording("第1期起始日"),
    "settlement.cutoff_hours": TermWording("期末后状态截止时限", unit="小时"),
    "billing.unit": TermWording(
        "计费单位", {"part": "按分段计条", "message": "按整条短信计条（应用自行拆分的，各段分别计条）"}
    ),
    "billing.count_on": TermWording("计费口径", COUNTED_ON),
    "billing.price_mt": TermWording("下行单价", unit=_YUAN_EACH),
    "billing.price_mo": TermWording("上行单价", unit=_YUAN_EACH),
    "billing.tax_included": TermWording("单价含税", _YES_NO),
    "billing.cancelled": TermWording("发出前撤销的短信", {"free": "不计费", "charged": "计费"}),
    "sla.success_rate_min": TermWording("成功率指标（不低于）", unit="%"),
    "sla.complaints_max": TermWording("投诉指标（不超过）", unit="起"),
    "sla.combine": TermWording("两项指标的关系", COMBINED),
    "sla.complaint_window": TermWording(
        "投诉统计窗口", {"rolling_12m": "滚动12个月", "contract_year": "合同年度"}
    ),
    "sla.complaint_count": TermWording("计入的投诉", {"all": "全部投诉", "attributed": "仅因乙方原因的投诉"}),
    "sla.include_mo": TermWording("成功率计入上行", _YES_NO),
    "sla.exclude_terminal": TermWording("剔除用户终端原因", _YES_NO),
    "sla.unknown": TermWording("无状态报告的短信", {"failure": "计为失败", "excluded": "不计入"}),
    "sla.exclude_planned": TermWording("剔除计划维护时段", _YES_NO),
    "sla.exclude_force_majeure": TermWording("剔除不可抗力时段", _YES_NO),
    "sla.force_majeure_needs_proof": TermWording("不可抗力须按期提供证明", _YES_NO),
    "sla.rate_window": TermWording("成功率统计窗口", {"settlement": "结算期", "month": "自然月"}),
    "reduction.rounding": TermWording("减免金额舍入方式", ROUNDED),
    "reduction.to": TermWording("减免金额精度", unit=_YUAN),
    "maintenance.min_notice_hours": TermWording("计划维护提前通知", unit="小时"),
    "recon.carrier_basis": TermWording("运营商归属依据", {"reported": "实际承接的运营商", "prefix": "号段"}),
}


def carrier_name(key: str) -> str:
    return CARRIERS.get(key, key) or UNASSIGNED


def category_name(statement: Statement, key: str) -> str:
    return statement.categories.get(key, key) or UNASSIGNED


def cause_name(key: str) -> str:
    return CAUSES.get(key, key)


def term_name(key: str) -> str:
    return TERMS[key].name if key in TERMS else key


def term_value(term: Term) -> str:
    """The value as people write it."""
    wording = TERMS.get(term.key, TermWording(term.key))
    match wording.unit:
        case "":
            return wording.values.get(term.value, term.value)
        case "%":
            return plain_percent(term.value)
        case "元" | "元/条":
            return f"{shortest(yuan(int(term.value)))} {wording.unit}"
        case unit:
            return f"{term.value} {unit}"


def term_of(statement: Statement, key: str) -> str:
    """The value of one parameter as people write it; "" where the statement does not have it."""
    return next((term_value(term) for term in statement.terms if term.key == key), "")


def month_name(month: str) -> str:
    """2026年6月 of 2026-06."""
    year, number = month.split("-")
    return f"{year}年{int(number)}月"


def months_name(first: str, last: str) -> str:
    return month_name(first) if first == last else f"{month_name(first)}至{month_name(last)}"


def period_name(statement: Statement) -> str:
    months = months_name(statement.first_month, statement.last_month)
    return f"第{statement.period}期（{months}）" if statement.period else months


def prices(statement: Statement) -> str:
    """What a message and a reply cost."""
    mt, mo = (shortest(yuan(price)) for price in (statement.price_mt, statement.price_mo))
    return f"下行 {mt} 元/条，上行 {mo} 元/条，{'含税' if statement.tax_included else '不含税'}"


def version_name(statement: Statement, version: int) -> str:
    return f"第 {version} 版{'' if statement.final else f'（{DRAFT}）'}"


def capitals(amount: int) -> str:
    """人民币 in capital numerals. They know no less than a fen: what is below is rounded, and said to be."""
    rounded = "" if is_whole_fen(amount) else "（四舍五入到分）"
    return f"人民币{capital((amount + 50) // 100)}{rounded}"


def yuan(amount: int) -> Decimal:
    """Yuan of 0.0001 yuan, exactly, always with four decimals."""
    return Decimal(amount).scaleb(-4)


def is_whole_fen(amount: int) -> bool:
    return amount % 100 == 0


def money(amount: int) -> str:
    """Yuan with separators and two decimals, or four where two would not be exact."""
    return f"{yuan(amount):,.2f}" if is_whole_fen(amount) else f"{yuan(amount):,.4f}"


def money_of_line(amount: int) -> str:
    return f"{yuan(amount):,.4f}"


def shortest(number: Decimal) -> str:
    """Without zeros at the end: 0.03, 1."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: str) -> str:
    """98.7654% of 0.987654: all decimals that a share has, so that nothing is rounded up to what was
    promised. NO_SHARE for ""."""
    return f"{Decimal(share) * 100:.4f}%" if share else NO_SHARE


def plain_percent(share: str) -> str:
    """99% of 0.990000."""
    return f"{shortest(Decimal(share) * 100)}%"


def short_percent(share: str) -> str:
    """98.76% of 0.987654, cut: for charts, whose tables have all decimals."""
    cut = (Decimal(share) * 100).quantize(Decimal("0.01"), ROUND_DOWN) if share else None
    return NO_SHARE if cut is None else f"{cut}%"


def minutes(count: int) -> str:
    """8小时01分 of 481."""
    return f"{count // 60:,}小时{count % 60:02d}分"


def seconds(count: int) -> str:
    """12小时00分05秒 of 43,205."""
    return f"{minutes(count // 60)}{count % 60:02d}秒"


def basis(basis: Basis) -> str:
    """How a score came about."""
    match basis:
        case FaultsCounted(faults, points):
            return f"故障 {faults:,} 次，每次扣 {points} 分"
        case FaultsInTime(0):
            return "没有故障"
        case FaultsInTime(faults, in_time):
            return f"故障 {faults:,} 次，其中按时响应且按时恢复 {in_time:,} 次"
        case Rated(who, day):
            return f"由 {who} 于 {day} 评分"
        case Unrated():
            return "尚无人评分"
