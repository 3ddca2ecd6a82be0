"""The parameters of a contract, table by table, each with the reading that holds unless something is agreed.

The text leaves much open that a settlement must decide: what a 条 is, which messages count, what 或者 joins.
Each such decision is a key here, with the literal or the customary reading as its default and the clause that
it belongs to beside it, 四.12 for 第四条12款. Money is whole numbers of 0.0001 yuan.
"""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2099
"""SMPP writes two digits for a year (3.4 §7.1.1), so no message is outside this century."""

# The types of values. A description is the wording of the error; bounds without one describe themselves.
_LINE: Final = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"  # statements are tables: no text may end their lines
Text = Annotated[
    str, Meta(pattern=rf"^{_LINE}{{1,200}}\Z", description="a text of 1 to 200 characters on one line")
]
TextOrEmpty = Annotated[
    str, Meta(pattern=rf"^{_LINE}{{0,200}}\Z", description="a text of at most 200 characters on one line")
]
Day = Annotated[
    date, Meta(description=f"a day from {YEAR_MIN} to {YEAR_MAX} without quotes, such as 2023-12-01")
]
FirstOfMonth = Annotated[
    date,
    Meta(description=f"the first day of a month from {YEAR_MIN} to {YEAR_MAX} without quotes, as 2023-12-01"),
]
# At most one yuan, above every tariff.
Price = Annotated[int, Meta(ge=0, le=10_000, description="a whole number of 0.0001 yuan from 0 to 10000")]
Amount = Annotated[
    Annotated[int, Meta(ge=1, le=10**14)] | None,
    Meta(description="a whole number of 0.0001 yuan from 1 to 100000000000000"),
]  # ten thousand million yuan
Share = Annotated[
    Fraction, Meta(description='a decimal from 0 to 1 with at most 6 decimals, in quotes, such as "0.99"')
]
Percent = Annotated[int, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Minutes = Annotated[int, Meta(ge=1, le=44_640)]  # a month
Hours = Annotated[int, Meta(ge=0, le=8_784)]  # a year
Days = Annotated[int, Meta(ge=1, le=3_650)]
Months = Annotated[int, Meta(ge=1, le=60)]
DaysBefore = Annotated[
    tuple[Days, ...], Meta(description="a list of whole numbers from 1 to 3650, the largest first")
]

Unit = Literal["part", "message"]
CountOn = Literal["accepted", "delivered", "submitted"]
Rounding = Literal["half_up", "half_even", "down"]

PRICE_MT: Final = 300
"""3分/条 (二.2), in 0.0001 yuan."""


class Billing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[billing]: what is paid for, and how much for each."""

    unit: Unit = "part"  # 二.2 条: carriers charge each part of a long text
    count_on: CountOn = "accepted"  # 四.15 发送数量: by the gateway, which is where our evidence begins
    price_mt: Price = PRICE_MT
    price_mo: Price  # 二.3: A pays for replies too; the file may leave it out: as price_mt
    tax_included: bool = True  # 二.2 names one price and no tax
    # What an application itself cancelled before it left: nothing was sent (四.15 发送数量).
    cancelled: Literal["free", "charged"] = "free"


class Settlement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[settlement]: how time is cut into the periods that are paid for. No amendment moves them: a message
    would fall into two periods or into none."""

    months: Months = 6  # 二.2: 每6个月支付一次
    # The first day of period 1. The text names no day: 十一.2 begins the term in December 2023.
    anchor: FirstOfMonth = date(2023, 12, 1)
    # What is known of a message later than so many hours after its period's end does not count: as long as a
    # report may take before its message counts as unknown (四.15 及时反馈 has no figure).
    cutoff_hours: Hours = 72


class Sla(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[sla]: the two indicators of 四.12, and what is counted in them."""

    success_rate_min: Share = Fraction(99, 100)  # 达到99%以上: 99 % itself is enough
    complaints_max: Count = 10  # 不超过10起: 10 are allowed
    combine: Literal["any", "all"] = "any"  # 或者: one of the two is enough
    complaint_window: Literal["rolling_12m", "contract_year"] = "rolling_12m"  # 连续12个月内
    complaint_count: Literal["all", "attributed"] = "all"  # 客户投诉, whoever was the cause
    include_mo: bool = True  # 收发: replies too
    exclude_terminal: bool = False  # the bracket of 四.12 makes B answer for handsets
    unknown: Literal["failure", "excluded"] = "failure"  # without a report nothing proves success
    exclude_planned: bool = False  # 四.7 asks for notice and exempts nothing
    exclude_force_majeure: bool = True  # 九.2: who is prevented does not breach
    force_majeure_needs_proof: bool = False  # 九.2 asks for proof within 30 days, and names no consequence
    rate_window: Literal["settlement", "month"] = "settlement"  # 本期短信收发失败率


class Reduction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[reduction]: how the reduction of 四.12 becomes a sum of money."""

    rounding: Rounding = "half_up"  # 四舍五入
    to: Annotated[int, Meta(ge=1, le=10_000)] = 100  # 0.0001 yuan: one fen, the smallest sum that is paid


class Recon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[recon]: whose a message is when carriers are compared (四.1)."""

    # By prefix, a number that was ported would stay with its first carrier for ever.
    carrier_basis: Literal["reported", "prefix"] = "reported"


class Penalty(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[penalty]: of late performance."""

    per_day: Share = Fraction(1, 100)  # 十三.3: 1 % of the amount of the service that is late
    cap: Share = Fraction(1)  # 十三.4: all damages together, of the contract amount


class Incident(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[incident]: the clock of a fault (四.1)."""

    respond_minutes: Minutes = 60  # 1小时之内做出响应
    restore_minutes: Minutes = 480  # 8小时内恢复
    clock_start: Literal["alarm", "report", "earliest"] = "earliest"  # 系统发生故障时, whoever saw it first


class Maintenance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[maintenance]: planned work (四.7)."""

    min_notice_hours: Hours = 72  # 提前通知 has no figure


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[report]: how soon A learns what became of a message (四.15)."""

    max_delay_minutes: Minutes = 5  # 及时反馈 has no figure
    unknown_after_hours: Hours = 72  # CMPP lets a report take 48 hours; one day more for late ones


class Assessment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[assessment]: the yearly one of 三.9, whose headings have these weights; they sum to 100."""

    months: Months = 12
    faults: Percent = 25  # 故障次数; the text weighs none above another
    resolution: Percent = 25  # 故障解决
    support: Percent = 25  # 技术支持服务
    satisfaction: Percent = 25  # 服务满意度
    # What a fault takes off the 100 points of its heading, which has no scale in the text.
    points_per_fault: Percent = 5
    pass_score: Percent = 60  # of 100: 及格


class Alarms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[alarms]: how early somebody is told."""

    term_end_days: DaysBefore = (90, 30, 7)  # a renewal is agreed and signed (十三.9): that takes months
    complaints_at: Count = 8  # two before the last one that 四.12 allows
    success_margin: Share = Fraction(2, 1000)  # so close to sla.success_rate_min something can still be done


class Terms(Struct, frozen=True, kw_only=True):
    """What can be amended, as it is in force on a day."""

    billing: Billing
    sla: Sla
    reduction: Reduction
    penalty: Penalty
    incident: Incident
    maintenance: Maintenance
    report: Report
    recon: Recon
