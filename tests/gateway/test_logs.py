"""What a line may hold, read back from the descriptor: no number, no text, no password."""

import logging
import os
import re
import select
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway import logs
from gateway.logs import LogWriter


class Log:
    """A configured log, and the reading end of its descriptor."""

    def __init__(self, level: str = "info", *, console: bool = False) -> None:
        self.reader, self.fd = os.pipe()
        self.writer = logs.start(self.fd, level, console=console)

    def text(self) -> str:
        """Everything that was logged; the log is closed by it."""
        self.writer.close()
        os.close(self.fd)
        with open(self.reader, encoding="utf-8") as reader:
            return reader.read()

    def lines(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.text().splitlines()]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class Submit(msgspec.Struct):
    short_message: bytes = b"the code is 4711"


class Colour(IntEnum):
    RED = 1


SECRET = "p4ssw0rd"

# (what is given to the logger, what the line has)
EVENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"link": "cmcc/0", "parts": 3, "bound": True, "rate": 0.5, "reason": None}, {}),
    # Numbers, in every type and form.
    ({"destination": "13812345678"}, {"destination": "138****5678"}),
    ({"destination": b"8613812345678"}, {"destination": "86138****5678"}),
    ({"destination": 13812345678}, {"destination": "138****5678"}),
    ({"destination": 13812345678.0}, {"destination": "138****5678.0"}),
    ({"destination": 8613812345678}, {"destination": "86138****5678"}),
    ({"destination": "+86 138-1234-5678"}, {"destination": "+86 138****5678"}),
    ({"destination": "0086138 1234 5678"}, {"destination": "0086138****5678"}),
    ({"destination": "013812345678"}, {"destination": "0138****5678"}),
    ({"destination": "1381 234 5678"}, {"destination": "138****5678"}),
    ({"destination": "138 123 45678"}, {"destination": "138****5678"}),
    ({"destination": "＋８６１３８１２３４５６７８"}, {"destination": "+86138****5678"}),
    ({"destination": "138－1234–5678"}, {"destination": "138****5678"}),
    ({"destination": "1064712345678"}, {"destination": "10647****5678"}),
    (
        {"detail": "no route for 13812345678, 13912345678."},
        {"detail": "no route for 138****5678, 139****5678."},
    ),
    ({"detail": "号码13812345678无路由"}, {"detail": "号码138****5678无路由"}),
    ({"detail": "tel:13812345678;x"}, {"detail": "tel:138****5678;x"}),
    ({"numbers": ["13812345678", ("13912345678",)]}, {"numbers": ["138****5678", ["139****5678"]]}),
    ({"by_number": {"13812345678": 1}}, {"by_number": {"138****5678": 1}}),
    ({"error": ValueError("bad 13812345678")}, {"error": "ValueError: bad 138****5678"}),
    ({"path": Path("/spool/13812345678")}, {"path": "/spool/138****5678"}),
    # What is no number stays: ids, times, access numbers.
    ({"message_id": "1234567890123456789"}, {}),
    ({"message_id": "0123456789abcdef13812345678901"}, {}),
    ({"time_us": 1763906706789012, "time_ms": 1763906706789}, {}),
    ({"source": "10690110123", "id": "10690110138123456"}, {}),
    ({"uuid": "6f1c2b1e-8d0a-4c8e-9d3b-138123456789"}, {}),
    # Texts and doors.
    (
        {
            "text": SECRET,
            "short_message": SECRET,
            "message_payload": SECRET,
            "content": SECRET,
            "password": SECRET,
        },
        {},
    ),
    (
        {
            "bind_password": SECRET,
            "message_text": SECRET,
            "Password": SECRET,
            "frame": SECRET,
            "raw_pdu": SECRET,
        },
        {},
    ),
    ({"peer": {"system_id": "hukou", "password": SECRET}}, {"peer": {"system_id": "hukou"}}),
    ({"peers": [{"password": SECRET}]}, {"peers": [{}]}),
    ({"password_file": "secrets/hukou", "text_length": 70}, {}),
    # What is no plain value is named by its type, since its text may hold anything.
    ({"pdu_seen": Submit()}, {"pdu_seen": "<Submit>"}),
    ({"deep": [[[[["x"]]]]]}, {"deep": [[[["<list>"]]]]}),
    (
        {"colour": Colour.RED, "set": {7}, "octets": b"\xff\x00", "large": 1 << 70},
        {"colour": 1, "set": [7], "octets": "\\xff\x00", "large": str(1 << 70)},
    ),
    ({"file": "\udcff.log", "long": "x" * 9000}, {"file": "\\udcff.log", "long": "x" * 8192}),
    ({"lines": "one\ntwo\r\nthree"}, {}),
]
_GONE = re.compile(r"(?i)(^|_)(text|short_message|message_payload|content|password|frame|pdu)$")


@pytest.mark.parametrize(("values", "changed"), EVENTS)
def test_a_line(values: dict[str, Any], changed: dict[str, Any]) -> None:
    log = Log()
    structlog.get_logger().info("something_happened", **values)
    (line,) = log.lines()
    assert list(line)[:3] == ["time", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert (line.pop("level"), line.pop("event")) == ("info", "something_happened")
    kept = {name: value for name, value in values.items() if not _GONE.search(name)}
    assert line == kept | changed


@pytest.mark.parametrize("console", [False, True])
def test_nothing_personal_in_the_whole_output(console: bool) -> None:
    log = Log(console=console)
    for values, _ in EVENTS:
        structlog.get_logger().warning("call 13812345678", **values)
    text = log.text()
    assert SECRET not in text
    assert "4711" not in text
    assert "the code" not in text
    assert not re.search(r"(?<!\d)1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)", text)
    assert text.count("call 138****5678") == len(EVENTS)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("身份证11010519491231002X。", "身份证110*************2X。"),
        ("44052418800101001x, 110105194912310047", "44052418800101001x, 110105194912310047"),
        ("440524198001010013", "440*************13"),
        ("carrier_id 020001202611261234", "carrier_id 020001202611261234"),
        ("id 410105199013010012", "id 410105199013010012"),  # there is no month 13
        ("id 4101051990010100121", "id 4101051990010100121"),  # longer
    ],
)
def test_numbers_of_identity_cards_are_masked(text: str, masked: str) -> None:
    assert logs.mask_numbers(text) == masked


@given(
    before=st.text(alphabet="ab :号(+\n", max_size=4),
    prefix=st.sampled_from(["", "86", "+86", "0086", "0", "+86 "]),
    number=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True),
    after=st.text(alphabet="ab :号),\n", max_size=4),
)
def test_a_number_in_any_sentence_is_masked(before: str, prefix: str, number: str, after: str) -> None:
    masked = f"{number[:3]}****{number[-4:]}"
    assert logs.mask_numbers(before + prefix + number + after) == before + prefix + masked + after


def test_a_traceback_is_one_line_without_numbers_and_locals() -> None:
    log = Log()
    password = SECRET
    try:
        raise RuntimeError("13812345678 refused")
    except RuntimeError:
        structlog.get_logger().exception("bind_failed", size=len(password))
    (line,) = log.lines()
    assert line["exception"].endswith("RuntimeError: 138****5678 refused")
    assert line["level"] == "error"
    assert SECRET not in line["exception"]


def test_levels_and_the_lines_of_libraries() -> None:
    log = Log("info")
    structlog.get_logger().debug("unseen")
    structlog.get_logger().info("seen")
    logging.getLogger("asyncio").info("unseen")
    logging.getLogger("asyncio").warning("slow callback for %s", "13812345678")
    logging.getLogger("other").log(35, "between two levels")
    try:
        raise RuntimeError("lost")
    except RuntimeError:
        logging.getLogger("asyncio").exception("task exception was never retrieved")
    lines = log.lines()
    assert [(line["level"], line["event"], line.get("logger")) for line in lines] == [
        ("info", "seen", None),
        ("warning", "slow callback for 138****5678", "asyncio"),
        ("warning", "between two levels", "other"),
        ("error", "task exception was never retrieved", "asyncio"),
    ]
    assert lines[3]["exception"].endswith("RuntimeError: lost")


def test_a_stuck_descriptor_drops_lines_counts_them_and_says_so() -> None:
    reader, fd = os.pipe()
    writer = LogWriter(fd, lines_max=100)
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=lambda *_: writer)
    # 64 KiB fit into the pipe; the thread takes that line and stands.
    writer.msg("x" * 100_000)
    while not select.select([reader], [], [], 0)[0]:
        pass
    for number in range(150):
        writer.msg(f"line {number}")
    assert writer.dropped == 50
    received = b""
    while b"log_lines_dropped" not in received:
        received += os.read(reader, 65536)
    lines = received.decode().splitlines()
    assert lines[0] == "x" * 100_000
    assert lines[1:101] == [f"line {number}" for number in range(100)]
    assert msgspec.json.decode(lines[101]) == {"event": "log_lines_dropped", "lines": 50, "lines_max": 100}
    assert len(lines) == 102
    writer.close()
    os.close(fd)
    os.close(reader)


def test_close_gives_up_on_a_stuck_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "CLOSE_WAIT_S", 0.1)
    reader, fd = os.pipe()
    writer = LogWriter(fd)
    writer.msg("x" * 100_000)
    writer.close()
    assert writer._thread.is_alive()
    os.close(reader)  # the writer's system call fails now, and its thread ends
    writer._thread.join(5)
    assert not writer._thread.is_alive()
    os.close(fd)


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing() -> None:
    reader, fd = os.pipe()
    os.set_blocking(fd, False)
    writer = LogWriter(fd)
    writer.msg("x" * 1_000_000)
    received = 0
    while received < 1_000_001:
        received += len(os.read(reader, 65536))
    writer.close()
    os.close(fd)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_close_writes_what_waits() -> None:
    log = Log()
    for number in range(500):
        structlog.get_logger().info("numbered", number=number)
    assert [line["number"] for line in log.lines()] == list(range(500))
