"""What every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path, typer.Option("-c", "--config", metavar="FILE", help="The configuration.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as one line of JSON.")]
MonthsOption = Annotated[
    str,
    typer.Option(
        "--period", metavar="PERIOD", help="6 (the sixth period), 2026-06 (that month), or 2026-06..2026-08."
    ),
]
