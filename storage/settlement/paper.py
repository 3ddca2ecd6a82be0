"""A4 pages of a PDF, upright and across, with lines above and below the text and their number in all.

Widths and heights are points.
"""

from __future__ import annotations

import io
from typing import Any, Final

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

from storage.settlement import wording

MARGIN: Final = 14 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
WIDTH_ACROSS: Final = A4[1] - 2 * MARGIN
RULE: Final = HexColor("#7F7F7F")
RED: Final = HexColor("#C00000")

# Names of the page templates.
UPRIGHT: Final = "upright"
ACROSS: Final = "across"

_EDGE: Final = 9 * mm  # from the edge of the paper to the lines above and below the text


def new_document(octets: io.BytesIO, font: str, title: str, author: str, subject: str) -> BaseDocTemplate:
    """An empty document that the same story always fills with the same octets. It begins upright."""
    document = BaseDocTemplate(
        octets,
        pagesize=A4,
        title=title,
        author=author,
        subject=subject,
        lang="zh-CN",
        invariant=1,
        initialFontName=font,  # no page names a font that is not embedded
    )
    document.addPageTemplates(
        [
            PageTemplate(
                name,
                [Frame(MARGIN, MARGIN, size[0] - 2 * MARGIN, size[1] - 2 * MARGIN - 4 * mm, 0, 0, 0, 0)],
                pagesize=size,
            )
            for name, size in ((UPRIGHT, A4), (ACROSS, landscape(A4)))
        ]
    )
    return document


class Edges:
    """The lines above and below the text, and the mark of a draft across it."""

    def __init__(self, *, font: str, left: str, right: str, draft: bool) -> None:
        self._font = font
        self._left = left
        self._right = right
        self._draft = draft

    def draw(self, canvas: Canvas, page: int, pages: int, width: float, height: float) -> None:
        canvas.saveState()
        canvas.setFont(self._font, 8)
        canvas.setFillColor(RULE)
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.4)
        top = height - _EDGE
        canvas.drawString(MARGIN, top, self._left)
        canvas.drawRightString(width - MARGIN, top, self._right)
        canvas.line(MARGIN, top - 4, width - MARGIN, top - 4)
        canvas.drawCentredString(width / 2, _EDGE - 4, f"第 {page} 页 共 {pages} 页")
        if self._draft:
            canvas.setFillColor(RED)
            self._draw_watermark(canvas, width, height)
        canvas.restoreState()

    def _draw_watermark(self, canvas: Canvas, width: float, height: float) -> None:
        canvas.translate(width / 2, height / 2)
        canvas.rotate(45)
        canvas.setFillAlpha(0.12)
        canvas.setFont(self._font, 120)
        canvas.drawCentredString(0, -40, wording.DRAFT)


class NumberedCanvas(Canvas):
    """Keeps its pages until their number is known, then draws the edges of each."""

    def __init__(self, edges: Edges, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._edges = edges
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - of reportlab
        self._kept.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined]  # not in the stubs

    def save(self) -> None:
        kept = self._kept
        for page, state in enumerate(kept, 1):
            self.__dict__.update(state)
            width, height = state["_pagesize"]
            self._edges.draw(self, page, len(kept), width, height)
            super().showPage()
        super().save()
