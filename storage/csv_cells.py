"""Texts of others in a CSV file that a person opens in a spreadsheet program."""

from __future__ import annotations

from typing import Final

# With these a program begins a formula (OWASP, CSV injection), the wide ones where Chinese is typed; what
# somebody wrote in a message must not become one.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


def defused(text: str) -> str:
    """The text as no program computes it."""
    return f"'{text}" if text.startswith(_FORMULA) else text
