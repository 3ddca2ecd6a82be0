"""Charts of statements and reports as vector drawings, for print. Widths and heights are points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from reportlab.graphics.charts.barcharts import HorizontalBarChart, VerticalBarChart
from reportlab.graphics.charts.linecharts import HorizontalLineChart
from reportlab.graphics.shapes import Circle, Drawing, Line, Rect, String
from reportlab.graphics.widgets.markers import makeMarker
from reportlab.lib.colors import Color, HexColor
from reportlab.pdfbase.pdfmetrics import stringWidth

from storage.settlement import wording
from storage.settlement.report import MonthlyRate
from storage.settlement.service import Service
from storage.settlement.tables import CHARTED_MAX, Failures, Row

_BAR: Final = HexColor("#9DC3E6")
_LINE: Final = HexColor("#C55A11")
_OTHER_LINE: Final = HexColor("#548235")
_LIMIT: Final = HexColor("#C00000")
_GRID: Final = HexColor("#D9D9D9")
_FONT_SIZE: Final = 7
_HEIGHT: Final = 150
_SIDE: Final = 52  # for the labels of an axis
_STRAIGHT_MAX: Final = 6  # names side by side; more of them are written at a slant


class _Shares(NamedTuple):
    """A line of shares, "" where there is none. nudge: from a point up to its label, or down."""

    name: str
    shares: Sequence[str]
    labels: Sequence[str]
    color: Color
    nudge: int


def volume_chart(font: str, rows: Sequence[Row], width: float) -> Drawing:
    """Columns of accepted units, and the share that succeeded as a line on an axis of its own, of the first
    CHARTED_MAX rows. There is at least one row."""
    charted = rows[:CHARTED_MAX]
    rates = [row.rate for row in charted]
    labels = [wording.percent(rate) for rate in rates]
    line = _Shares("成功率（右轴，不从零起）", rates, labels, _LINE, 7)
    volumes = [row.figures.accepted for row in charted]
    return _columns_and_lines(font, [row.name for row in charted], volumes, [line], "", width)


def rates_chart(font: str, months: Sequence[MonthlyRate], service: Service, width: float) -> Drawing:
    """Columns of accepted messages by month, both rates as lines, and the least that is promised. There is
    one month at least, and CHARTED_MAX at most; `months` are of all carriers together."""
    lines = []
    # What the literal rate counts as failure the other leaves out: it is never above it.
    for name, color, nudge, shares in (
        ("literal", _LINE, -8, [month.rate for month in months]),
        ("without_terminal", _OTHER_LINE, 7, [month.rate_without_terminal for month in months]),
    ):
        agreed = "（约定口径）" if name == service.contractual else ""
        labels = [wording.short_percent(share) for share in shares]
        lines.append(_Shares(f"{wording.SHORT_RATES[name]}{agreed}", shares, labels, color, nudge))
    names = [wording.month_name(month.month) for month in months]
    volumes = [month.accepted for month in months]
    return _columns_and_lines(font, names, volumes, lines, service.rate_min, width)


def _columns_and_lines(
    font: str,
    names: Sequence[str],
    volumes: Sequence[int],
    lines: Sequence[_Shares],
    share_min: str,
    width: float,
) -> Drawing:
    """share_min: where a line goes across; "": none does."""
    slanted = len(names) > _STRAIGHT_MAX
    bars: Any = VerticalBarChart()
    chart: Any = HorizontalLineChart()
    for each in (bars, chart):
        each.x, each.width = _SIDE, width - 2 * _SIDE
        each.y = 40 if slanted else 18
        each.height = _HEIGHT - each.y - 24
    _set_columns(bars, font, names, volumes, slanted=slanted)
    drawing = _drawing(font, width, _HEIGHT)
    drawing.add(bars)
    if any(share for line in lines for share in line.shares):
        _set_lines(chart, font, lines, share_min)
        if share_min:
            drawing.add(_limit(chart, share_min))
        drawing.add(chart)
    _add_legend(drawing, font, lines, share_min)
    return drawing


def failures_chart(font: str, failures: Failures, width: float) -> Drawing:
    """A bar for each cause, the most frequent on top. There is at least one."""
    rows = failures.rows[::-1]
    chart: Any = HorizontalBarChart()
    chart.x, chart.y = 100, 4
    chart.width, chart.height = width - 100 - _SIDE, 15 * len(rows)
    chart.data = [[row.total for row in rows]]
    chart.bars[0].fillColor = _BAR
    chart.bars[0].strokeColor = None
    chart.barLabelFormat = _number
    _set_font(chart.barLabels, font)
    chart.barLabels.boxAnchor = "w"
    chart.barLabels.dx = 3
    chart.categoryAxis.categoryNames = [row.name for row in rows]
    _set_font(chart.categoryAxis.labels, font)
    chart.categoryAxis.labels.boxAnchor = "e"
    chart.categoryAxis.labels.dx = -4
    chart.valueAxis.valueMin = 0
    chart.valueAxis.visible = False
    drawing = _drawing(font, width, chart.height + 8)
    drawing.add(chart)
    return drawing


def _drawing(font: str, width: float, height: float) -> Drawing:
    """It would name a font of its own otherwise, which is not embedded."""
    drawing: Any = Drawing(width, height)
    drawing.initialFontName = font
    return cast(Drawing, drawing)


def _set_columns(
    chart: Any, font: str, names: Sequence[str], volumes: Sequence[int], *, slanted: bool
) -> None:
    chart.data = [list(volumes)]
    chart.bars[0].fillColor = _BAR
    chart.bars[0].strokeColor = None
    chart.groupSpacing = 12
    chart.categoryAxis.categoryNames = list(names)
    _set_font(chart.categoryAxis.labels, font)
    if slanted:
        chart.categoryAxis.labels.angle = 30
        chart.categoryAxis.labels.boxAnchor = "ne"
    chart.valueAxis.valueMin = 0
    chart.valueAxis.valueMax = max(1, *volumes) * 1.05
    chart.valueAxis.labelTextFormat = _number
    chart.valueAxis.visibleGrid = True
    chart.valueAxis.gridStrokeColor = _GRID
    _set_font(chart.valueAxis.labels, font)


def _set_lines(chart: Any, font: str, lines: Sequence[_Shares], share_min: str) -> None:
    data = [[_hundredths(share) if share else None for share in line.shares] for line in lines]
    shown = [value for row in data for value in row if value is not None]
    shown += [_hundredths(share_min)] if share_min else []
    low = max(0, math.floor(min(shown)) - 1)
    chart.data = data
    chart.lineLabelFormat = "values"
    chart.lineLabelNudge = 0
    chart.lineLabelArray = []
    _set_font(chart.lineLabels, font)
    for number, line in enumerate(lines):
        chart.lines[number].strokeColor = line.color if _is_line(data[number]) else None
        chart.lines[number].symbol = _point(line.color)
        labels = [label if share else None for label, share in zip(line.labels, line.shares, strict=True)]
        chart.lineLabelArray.append(labels)
        for place in range(len(labels)):
            chart.lineLabels[number, place].dy = line.nudge
    chart.categoryAxis.visible = False
    chart.valueAxis.joinAxis = chart.categoryAxis
    chart.valueAxis.joinAxisMode = "right"
    chart.valueAxis.valueMin, chart.valueAxis.valueMax = low, 100
    chart.valueAxis.valueSteps = [low + (100 - low) * quarter / 4 for quarter in range(5)]
    chart.valueAxis.labelTextFormat = "%.2f%%"
    chart.valueAxis.tickLeft, chart.valueAxis.tickRight = 0, 4
    chart.valueAxis.labels.boxAnchor = "w"
    chart.valueAxis.labels.dx = 6
    _set_font(chart.valueAxis.labels, font)


def _hundredths(share: str) -> float:
    return float(Decimal(share) * 100)


def _limit(chart: Any, share_min: str) -> Line:
    low, high = chart.valueAxis.valueMin, chart.valueAxis.valueMax
    y = chart.y + chart.height * (_hundredths(share_min) - low) / (high - low)
    return _dashed(chart.x, chart.x + chart.width, y)


def _dashed(left: float, right: float, y: float) -> Line:
    line: Any = Line(left, y, right, y)
    line.strokeColor = _LIMIT
    line.strokeWidth = 0.7
    line.strokeDashArray = [3, 2]
    return cast(Line, line)


def _is_line(shares: Sequence[float | None]) -> bool:
    """reportlab refuses to draw a line of no points, or of one, as it stands between two gaps."""
    padded = (None, *shares, None)
    return any(share is not None for share in shares) and not any(
        share is not None and before is None and after is None
        for before, share, after in zip(padded, padded[1:], padded[2:], strict=False)
    )


def _point(color: Color) -> Any:
    point: Any = makeMarker("FilledCircle", size=4)  # type: ignore[no-untyped-call]
    point.fillColor = color
    point.strokeColor = None
    return point


def _add_legend(drawing: Drawing, font: str, lines: Sequence[_Shares], share_min: str) -> None:
    """A mark and a text for the columns and for each line, from left to right."""
    y = _HEIGHT - 9
    bar: Any = Rect(_SIDE, y, 8, 6)
    bar.fillColor, bar.strokeColor = _BAR, None
    drawing.add(bar)
    x = _add_name(drawing, font, "受理数量（条，左轴）", _SIDE, y)
    for line in lines:
        point: Any = Circle(x + 4, y + 3, 2.5)
        point.fillColor, point.strokeColor = line.color, None
        drawing.add(point)
        x = _add_name(drawing, font, line.name, x, y)
    if share_min:
        drawing.add(_dashed(x - 3, x + 9, y + 3))
        _add_name(drawing, font, f"约定不低于 {wording.plain_percent(share_min)}", x, y)


def _add_name(drawing: Drawing, font: str, text: str, x: float, y: float) -> float:
    """Where the next mark goes."""
    drawing.add(String(x + 12, y, text, fontName=font, fontSize=_FONT_SIZE))
    return x + 12 + stringWidth(text, font, _FONT_SIZE) + 14


def _set_font(labels: Any, font: str) -> None:
    labels.fontName = font
    labels.fontSize = _FONT_SIZE


def _number(value: float) -> str:
    return f"{value:,.0f}"
