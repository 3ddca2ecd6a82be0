"""The log: one event a line, JSON on stderr, without numbers, texts and passwords.

    {"time":"2026-11-23T14:05:06.789Z","level":"warning","event":"link_lost","link":"cmcc/0","reason":"…"}

Redaction is no habit of the caller but a step that every line passes: what looks like a mobile number is
masked wherever it stands, also inside sentences and tracebacks, and values under the names of secrets and
texts are taken out. The lines of the libraries (asyncio's own above all) take the same way.

A stderr that nobody reads (a stuck terminal, a full pipe, journald restarting) must not stop the loop. Lines
go into a bounded buffer, a thread writes them, and when the buffer is full new lines are dropped and
counted; the count is a line of its own as soon as there is room. The log is for operators; evidence has its
own file and drops nothing.
"""

import logging
import os
import re
import select
import threading
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.number_plan import mask

LEVELS: Final = ("debug", "info", "warning", "error")

# A minute at 150 lines a second, and 10 MB at most at a thousand octets a line.
LINES_MAX: Final = 10_000

# A traceback with its frames. What is longer is cut, so that the buffer is bounded in octets too.
VALUE_CHARACTERS_MAX: Final = 8192

# Nested further than this, a value is written as the name of its type.
_DEPTH_MAX: Final = 4

# How long a regular end waits for stderr.
CLOSE_WAIT_S: Final = 2.0

# Names whose values are never logged: what somebody wrote to somebody, what opens a door, and octets of
# PDUs, which contain both. The last word of a name counts too: `bind_password`, `message_text`, but not
# `password_file`.
_SECRET_NAMES: Final = frozenset(
    {"text", "short_message", "message_payload", "content", "password", "passphrase", "secret", "token"}
    | {"master_key", "frame", "pdu", "raw", "body"}
)

# A mobile number by itself: 11 digits from 13 to 19 in the groups in which people write them, or 13 of a
# thing, with an optional country code or trunk 0. Longer runs of digits are message ids and times.
_GAP: Final = r"[ \u00a0\u3000\-\u2010-\u2015\uff0d]{0,2}"
_NUMBER: Final = re.compile(
    rf"(?<![0-9])((?:(?:\+|00)?86{_GAP})?0?)"
    rf"(1[3-9][0-9](?:{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}|[0-9]{_GAP}[0-9]{{3}}{_GAP}[0-9]{{4}}|{_GAP}[0-9]{{3}}{_GAP}[0-9]{{5}})"
    r"|1064[0-9]{9}|14[0-9]{11})(?![0-9])"
)

# The number of an identity card (GB 11643): district, day of birth, order, check.
_IDENTITY: Final = re.compile(
    r"(?<![0-9])[1-8][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx](?![0-9])"
)
_CHECK_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS: Final = "10X98765432"

# Full-width digits are as readable as others; a line has them in ASCII.
_TO_ASCII: Final = str.maketrans("０１２３４５６７８９＋", "0123456789+")


def start(fd: int, level: str, *, console: bool) -> "LogWriter":
    """Configures structlog and the standard library's logging; returns the writer behind both.

    `fd`: usually that of stderr. `level`: one of LEVELS. `console`: lines for people and no JSON. The caller
    closes the writer at the end of the process, also where it ends because of a failed write or sync.
    """
    assert level in LEVELS, f"level {level!r} is none of {LEVELS}"
    number = logging.getLevelNamesMapping()[level.upper()]
    writer = LogWriter(fd)
    render: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=os.isatty(fd), timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
        )
        if console
        else _render_json
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _order_and_date,
            redact,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: writer,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    # Libraries speak at warning and above, whatever our own level: asyncio's debug lines are none of an
    # operator's.
    root.setLevel(max(number, logging.WARNING))
    return writer


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that masks numbers in every value, and takes out what _SECRET_NAMES names."""
    return _redact_mapping(event, 0)


def mask_numbers(text: str) -> str:
    """`text` with every mobile number in it as `138****5678`, and every number of an identity card as its
    first three and last two digits."""
    text = _IDENTITY.sub(_mask_identity, text.translate(_TO_ASCII))
    return _NUMBER.sub(lambda match: match[1] + mask(match[2].encode()), text)


def _mask_identity(match: re.Match[str]) -> str:
    """What has another check digit is an id of somebody's."""
    number = match[0]
    weighed = sum(weight * int(digit) for weight, digit in zip(_CHECK_WEIGHTS, number, strict=False))
    if _CHECK_DIGITS[weighed % 11] != number[-1].upper():
        return number
    return f"{number[:3]}{'*' * 13}{number[-2:]}"


def _redact_mapping(mapping: MutableMapping[str, Any], depth: int) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in mapping.items():
        name = mask_numbers(str(key))
        words = name.lower()
        secret = words in _SECRET_NAMES or words.rpartition("_")[2] in _SECRET_NAMES
        if not secret:
            clean[name] = _redact_value(value, depth)
    return clean


def _redact_value(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # A number in an int is as readable as in a string. So counts of 11 digits are logged in larger
        # units. Our encoder refuses what is above 64 bits.
        text = str(int(value)) if isinstance(value, int) else repr(value)
        masked = mask_numbers(text)
        return value if masked == text and (isinstance(value, float) or value.bit_length() < 64) else masked
    if isinstance(value, bytes):
        return _redact_value(value.decode("utf-8", "backslashreplace"), depth)
    if isinstance(value, str):
        # A lone surrogate (a file name that is no UTF-8) cannot be written as JSON.
        return mask_numbers(value.encode("utf-8", "backslashreplace").decode())[:VALUE_CHARACTERS_MAX]
    if isinstance(value, BaseException):
        return _redact_value(f"{type(value).__name__}: {value}", depth)
    if isinstance(value, os.PathLike):
        return _redact_value(os.fsdecode(value), depth)
    if depth < _DEPTH_MAX:
        if isinstance(value, dict):
            return _redact_mapping(value, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return [_redact_value(element, depth + 1) for element in value]
    # The text of any other object may hold anything: that of a PDU holds the message.
    return f"<{type(value).__name__}>"


def _order_and_date(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Time, level and event first: a line is read from the left."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": now, "level": event.pop("level"), "event": event.pop("event", ""), **event}


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event).decode()


_STRUCTLOG_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class _Bridge(logging.Handler):
    """Hands the lines of the standard library's logging to structlog, with their logger's name."""

    def emit(self, record: logging.LogRecord) -> None:
        # Libraries may have levels of their own; structlog has five.
        level = max(number for number in _STRUCTLOG_LEVELS if number <= max(record.levelno, logging.DEBUG))
        structlog.get_logger().log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)


class LogWriter:
    """The buffer before a descriptor and the thread behind it, with the methods of a structlog logger."""

    def __init__(self, fd: int, lines_max: int = LINES_MAX) -> None:
        self._fd: Final = fd
        self._lines_max: Final = lines_max
        self._lines: list[str] = []
        self._dropped_since = 0
        self._closing = False
        self._wake: Final = threading.Condition()
        self.dropped = 0
        """Lines that were dropped since the start, for the metrics."""
        self._thread: Final = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def msg(self, line: str) -> None:
        """Takes a line, in any thread, without waiting for the descriptor."""
        with self._wake:
            if len(self._lines) >= self._lines_max:
                self._dropped_since += 1
                self.dropped += 1
            else:
                self._lines.append(line)
                self._wake.notify()

    # What structlog's filtering logger calls, by level.
    log = debug = info = warning = error = critical = exception = msg

    def close(self) -> None:
        """Writes what waits and ends the thread; gives up on a stuck descriptor after CLOSE_WAIT_S."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(CLOSE_WAIT_S)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._lines or self._closing)
                lines, self._lines = self._lines, []
                dropped, self._dropped_since = self._dropped_since, 0
            if not lines:
                return
            self._write("".join(f"{line}\n" for line in lines).encode())
            if dropped:
                structlog.get_logger().warning("log_lines_dropped", lines=dropped, lines_max=self._lines_max)

    def _write(self, octets: bytes) -> None:
        # The descriptor and not `sys.stderr`: a daemon thread that holds the lock of a Python file at the
        # end of the process aborts the interpreter.
        while octets:
            try:
                octets = octets[os.write(self._fd, octets) :]
            except BlockingIOError:
                # Somebody who shares the terminal has set it non-blocking.
                select.select([], [self._fd], [])
            except OSError:
                return  # nobody is there to read, and nobody to tell
