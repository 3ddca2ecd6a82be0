"""Charts of a statement as vector drawings, for print. Widths and heights are points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, cast

from reportlab.graphics.charts.barcharts import HorizontalBarChart, VerticalBarChart
from reportlab.graphics.charts.linecharts import HorizontalLineChart
from reportlab.graphics.shapes import Circle, Drawing, Rect, String
from reportlab.graphics.widgets.markers import makeMarker
from reportlab.lib.colors import HexColor

from storage.settlement import wording
from storage.settlement.tables import CHARTED_MAX, Failures, Row

_BAR: Final = HexColor("#9DC3E6")
_LINE: Final = HexColor("#C55A11")
_GRID: Final = HexColor("#D9D9D9")
_FONT_SIZE: Final = 7
_HEIGHT: Final = 150
_SIDE: Final = 52  # for the labels of an axis
_STRAIGHT_MAX: Final = 6  # names side by side; more of them are written at a slant


def volume_chart(font: str, rows: Sequence[Row], width: float) -> Drawing:
    """Columns of accepted units, and the share that succeeded as a line on an axis of its own, of the first
    CHARTED_MAX rows. There is at least one row."""
    charted = rows[:CHARTED_MAX]
    slanted = len(charted) > _STRAIGHT_MAX
    bars: Any = VerticalBarChart()
    line: Any = HorizontalLineChart()
    for chart in (bars, line):
        chart.x, chart.width = _SIDE, width - 2 * _SIDE
        chart.y = 40 if slanted else 18
        chart.height = _HEIGHT - chart.y - 24
    _set_columns(bars, font, charted, slanted=slanted)
    _set_rates(line, font, charted)
    drawing = _drawing(font, width, _HEIGHT)
    drawing.add(bars)
    if any(row.rate for row in charted):
        drawing.add(line)
    _add_legend(drawing, font, width)
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


def _set_columns(chart: Any, font: str, rows: Sequence[Row], *, slanted: bool) -> None:
    chart.data = [[row.figures.accepted for row in rows]]
    chart.bars[0].fillColor = _BAR
    chart.bars[0].strokeColor = None
    chart.groupSpacing = 12
    chart.categoryAxis.categoryNames = [row.name for row in rows]
    _set_font(chart.categoryAxis.labels, font)
    if slanted:
        chart.categoryAxis.labels.angle = 30
        chart.categoryAxis.labels.boxAnchor = "ne"
    chart.valueAxis.valueMin = 0
    chart.valueAxis.valueMax = max(1, *(row.figures.accepted for row in rows)) * 1.05
    chart.valueAxis.labelTextFormat = _number
    chart.valueAxis.visibleGrid = True
    chart.valueAxis.gridStrokeColor = _GRID
    _set_font(chart.valueAxis.labels, font)


def _set_rates(chart: Any, font: str, rows: Sequence[Row]) -> None:
    shares = [float(Decimal(row.rate) * 100) if row.rate else None for row in rows]
    low = max(0, math.floor(min((share for share in shares if share is not None), default=100)) - 1)
    chart.data = [shares]
    chart.lines[0].strokeColor = None if _has_lone_point(shares) else _LINE
    chart.lines[0].symbol = _point()
    chart.lineLabelFormat = "values"
    chart.lineLabelArray = [[wording.percent(row.rate) if row.rate else None for row in rows]]
    _set_font(chart.lineLabels, font)
    chart.lineLabelNudge = 7
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


def _has_lone_point(shares: Sequence[float | None]) -> bool:
    """Between two gaps: it would make a line of one point, which reportlab refuses to draw."""
    padded = (None, *shares, None)
    return any(
        share is not None and before is None and after is None
        for before, share, after in zip(padded, padded[1:], padded[2:], strict=False)
    )


def _point() -> Any:
    point: Any = makeMarker("FilledCircle", size=4)  # type: ignore[no-untyped-call]
    point.fillColor = _LINE
    point.strokeColor = None
    return point


def _add_legend(drawing: Drawing, font: str, width: float) -> None:
    y = _HEIGHT - 9
    bar, point = Rect(_SIDE, y, 8, 6), Circle(width / 2, y + 3, 2.5)
    for shape, color in ((bar, _BAR), (point, _LINE)):
        shape.fillColor = color
        shape.strokeColor = None
        drawing.add(shape)
    for x, text in ((_SIDE + 12, "受理数量（条，左轴）"), (width / 2 + 8, "成功率（右轴，不从零起）")):
        drawing.add(String(x, y, text, fontName=font, fontSize=_FONT_SIZE))


def _set_font(labels: Any, font: str) -> None:
    labels.fontName = font
    labels.fontSize = _FONT_SIZE


def _number(value: float) -> str:
    return f"{value:,.0f}"
