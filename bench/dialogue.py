"""How a process of the bench talks with whoever started it: JSON lines out, JSON lines in.

Standard input that ends means that the starter is gone, and the process ends too, so that nothing is left
behind whatever happens to the starter.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from threading import Thread
from typing import Any, Final

import msgspec

_LINE_OCTETS_MAX: Final = 1 << 20


def say(line: msgspec.Struct | dict[str, Any]) -> None:
    """Writes one line of JSON to standard output at once."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def listen(
    loop: asyncio.AbstractEventLoop, command: Callable[[dict[str, Any]], None], stop: Callable[[], None]
) -> None:
    """Calls `command` on the loop for each line of standard input, `stop` at its end and at a signal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    Thread(target=_read, args=(loop, command, stop), name="stdin", daemon=True).start()


def _read(
    loop: asyncio.AbstractEventLoop, command: Callable[[dict[str, Any]], None], stop: Callable[[], None]
) -> None:
    # Straight from the descriptor: a thread that waits in a buffered reader makes the interpreter's end fail.
    rest = b""
    while (data := os.read(0, 65536)) and len(rest) < _LINE_OCTETS_MAX:
        *lines, rest = (rest + data).split(b"\n")
        for line in filter(None, lines):
            try:
                loop.call_soon_threadsafe(command, msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.DecodeError as error:
                print(f"not a command: {error}", file=sys.stderr, flush=True)
            except RuntimeError:  # the loop has ended meanwhile
                return
    try:
        loop.call_soon_threadsafe(stop)
    except RuntimeError:
        return


def calm_collector() -> None:
    """Keep the garbage collector out of the measurement: there are no cycles on the hot paths."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
