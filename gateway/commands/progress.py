"""How far something is that takes long, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_bar(what: str, *, octets: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to call with (done, total), in octets or in records. It draws on stderr, and where
    that is no terminal, nothing."""
    console = Console(stderr=True)
    amount = DownloadColumn(binary_units=True) if octets else MofNCompleteColumn()
    columns = (TextColumn(what), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
