"""A Chinese font that a PDF can carry: found where Debian puts one, or given."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont

from storage.settlement.errors import SettlementError

# The package that is advised first; all have TrueType outlines, which are what reportlab embeds (Noto CJK has
# not). Of a collection the first font is taken.
_PACKAGE: Final = "fonts-wqy-microhei"
PATHS: Final = tuple(
    Path("/usr/share/fonts/truetype") / name
    for name in (
        "wqy/wqy-microhei.ttc",  # fonts-wqy-microhei
        "wqy/wqy-zenhei.ttc",  # fonts-wqy-zenhei
        "arphic/uming.ttc",  # fonts-arphic-uming
        "arphic-gbsn00lp/gbsn00lp.ttf",  # fonts-arphic-gbsn00lp
    )
)

# A font without these cannot print a statement: simplified characters, capital numerals, signs.
_NEEDED: Final = "结算清单厅运营商贰肆玖（）；×÷"


class FontMissing(SettlementError):
    """There is no font to print with. The message is one line that says what to install."""


def register_font(path: Path | None) -> str:
    """The name under which reportlab knows the font of the file, or the first of PATHS that is there.

    Raises FontMissing.
    """
    if path is None:
        path = next((each for each in PATHS if each.is_file()), None)
    if path is None:
        raise FontMissing(f"no Chinese font: run `apt-get install {_PACKAGE}`, or name a TrueType font")
    if str(path) not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(_loaded(path))
    return str(path)


def _loaded(path: Path) -> TTFont:
    try:
        font = TTFont(str(path), str(path))
    except (TTFError, OSError) as error:
        raise FontMissing(
            f"{path}: no TrueType font: run `apt-get install {_PACKAGE}`, or name another"
        ) from error
    lacking = [character for character in _NEEDED if ord(character) not in font.face.charToGlyph]
    if lacking:
        raise FontMissing(
            f"{path}: no glyph for {''.join(lacking)}: run `apt-get install {_PACKAGE}`, or name another"
        )
    return font
