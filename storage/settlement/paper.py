"""A4 pages of a PDF, upright and across, with lines above and below the text and their number in all, and the
blocks that stand on them.

Widths and heights are points.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, LongTable, PageTemplate, Paragraph, Table

from storage.settlement import wording

MARGIN: Final = 14 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
WIDTH_ACROSS: Final = A4[1] - 2 * MARGIN
RULE: Final = HexColor("#7F7F7F")
RED: Final = HexColor("#C00000")
TOTAL: Final = HexColor("#D9E2EC")
"""The ground of what matters in a table."""

# Names of the page templates.
UPRIGHT: Final = "upright"
ACROSS: Final = "across"

_BLUE: Final = HexColor("#1F4E79")
_PALE: Final = HexColor("#F2F2F2")

_PADDING: Final = 3.0
_NAME_WIDTH: Final = 126  # of the names beside texts

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


class Blocks:
    """What a page is made of, in one font: there is no bold, so what matters is larger or has a ground. Texts
    are shown as they are, never as markup."""

    def __init__(self, font: str) -> None:
        self._font = font
        self._text = ParagraphStyle("text", fontName=font, fontSize=9, leading=13, wordWrap="CJK")
        self._small = ParagraphStyle(
            "small", self._text, fontSize=7.5, leading=10, spaceBefore=2, spaceAfter=3
        )
        self._warning = ParagraphStyle("warning", self._text, textColor=RED)
        self._title = ParagraphStyle(
            "title", self._text, fontSize=20, leading=30, alignment=1, textColor=_BLUE
        )
        self._heading = ParagraphStyle(
            "heading",
            self._text,
            fontSize=12,
            leading=16,
            spaceBefore=10,
            spaceAfter=4,
            textColor=_BLUE,
            keepWithNext=1,
        )

    def title(self, text: str) -> Paragraph:
        return Paragraph(escape(text), self._title)

    def section(self, text: str) -> Paragraph:
        """A heading, which stays with what follows it."""
        return Paragraph(escape(text), self._heading)

    def sentence(self, text: str) -> Paragraph:
        return Paragraph(escape(text), self._text)

    def note(self, text: str) -> Paragraph:
        return Paragraph(escape(text), self._small)

    def warning(self, text: str) -> Paragraph:
        return Paragraph(escape(text), self._warning)

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> Table:
        """A name, and beside it a text of any length."""
        table = Table(
            [[self.sentence(name), self.sentence(text)] for name, text in pairs],
            [_NAME_WIDTH, WIDTH - _NAME_WIDTH],
        )
        table.setStyle(
            [
                ("FONT", (0, 0), (-1, -1), self._font, 9),
                ("GRID", (0, 0), (-1, -1), 0.4, RULE),
                ("BACKGROUND", (0, 0), (0, -1), _PALE),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        )
        return table

    def table(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        *,
        texts: int = 1,
        size: float = 7.5,
        total: bool = False,
    ) -> Table:
        """The first columns are texts, the others numbers; the header is on every page of the table."""
        cells = [list(headings), *([*self._fitted(row[:texts], widths, size), *row[texts:]] for row in rows)]
        table = LongTable(cells, widths, repeatRows=1)
        table.setStyle(
            [
                ("FONT", (0, 0), (-1, -1), self._font, size),
                ("GRID", (0, 0), (-1, -1), 0.4, RULE),
                ("BACKGROUND", (0, 0), (-1, 0), _BLUE),
                ("TEXTCOLOR", (0, 0), (-1, 0), white),
                ("ALIGN", (0, 0), (-1, 0), "CENTER"),
                ("ALIGN", (texts, 1), (-1, -1), "RIGHT"),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("LEFTPADDING", (0, 0), (-1, -1), _PADDING),
                ("RIGHTPADDING", (0, 0), (-1, -1), _PADDING),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
            ]
        )
        if total:
            table.setStyle([("BACKGROUND", (0, -1), (-1, -1), TOTAL)])
        return table

    def seals(self) -> Table:
        """Where both parties sign and seal."""
        date = "日期：　　　　年　　月　　日"
        signed = "经办人（签字）："
        table = Table(
            [["甲方（盖章）", "乙方（盖章）"], [signed, signed], [date, date]],
            [WIDTH / 2, WIDTH / 2],
            [110, 28, 28],
        )
        table.setStyle(
            [
                ("FONT", (0, 0), (-1, -1), self._font, 10),
                ("GRID", (0, 0), (-1, -1), 0.5, RULE),
                ("VALIGN", (0, 0), (-1, 0), "TOP"),
                ("VALIGN", (0, 1), (-1, -1), "MIDDLE"),
            ]
        )
        return table

    def _fitted(self, texts: Sequence[str], widths: Sequence[float], size: float) -> list[Any]:
        """Texts as they are where they fit their column; only the others are set as paragraphs, which cost
        ten times as much."""
        style = ParagraphStyle("cell", self._text, fontSize=size, leading=size * 1.3)
        return [
            text
            if stringWidth(text, self._font, size) <= width - 2 * _PADDING
            else Paragraph(escape(text), style)
            for text, width in zip(texts, widths, strict=False)
        ]
