"""`jingxin evidence`: what it says of a sound log, of one message, and of a damaged file."""

import errno
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.cli import run
from gateway.message import MessageIds
from storage.log import EvidenceLog
from storage.records import Accepted, Dispatched, Receipt, Record, Reported, Sent, encode
from storage.segment import SegmentReader, segment_paths

TIME_US = 1_795_000_000_123_456  # 2026-11-18 19:06:40.123 in Asia/Shanghai

CONFIG = """\
[gateway]
name = "hn-gw-1"
state_dir = "var"
[evidence]
master_key_file = "secrets/master"
"""


def accepted(content: bytes = b"") -> Accepted:
    return Accepted(TIME_US, "hukou", 1, 0, "cmcc", bytes(16), 1, 1, 0, 0, content)


def receipt(number: int) -> Receipt:
    return Receipt(
        TIME_US,
        number,
        "cmcc",
        0,
        b"A7",
        2,
        b"DELIVRD",
        b"000",
        b"2611181906",
        b"2611181906",
        True,
        bytes(16),
        b"",
    )


RECORDS = [
    accepted(),
    accepted(),
    Dispatched(TIME_US, [("cmcc", 0, [1, 2])]),
    Sent(1, TIME_US, 0, b"A7"),
    Sent(2, TIME_US, 0, b"A8"),
    receipt(1),
    Reported(6, TIME_US, "hukou", 1, 0),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gw.toml"
    path.write_text(CONFIG)
    return path


def written(config: Path, *batches: Iterable[Record]) -> Path:
    """The evidence directory with these batches of records."""
    directory = config.parent / "var/evidence"
    directory.parent.mkdir()
    durable = threading.Event()
    log = EvidenceLog(
        directory,
        None,
        1 << 20,
        lambda: 1,
        lambda callback: callback(),
        lambda effects: durable.set(),
        lambda failure: pytest.fail(str(failure)),
    )
    log.recover()
    for records in batches:
        for record in records:
            log.append(encode(record))
        durable.clear()
        log.commit(None)
        assert durable.wait(10)
    log.close()
    return directory


def message_id(directory: Path, number: int) -> str:
    with SegmentReader(segment_paths(directory)[0]) as reader:
        return MessageIds(reader.header.identity).text(number).decode()


def test_a_sound_log(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(config, RECORDS)
    assert run(["evidence", "verify", "-c", str(config)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "sound"
    assert lines[2] == "records   7 in 1 batches"
    assert lines[4:] == [
        "messages  2 accepted (2 parts), 1 open",
        "outcomes  1 delivered",
        "uncertain 0",
        "receipts  0 match nothing",
        "proven    nothing: no checkpoint was looked at",
    ]
    assert captured.err == ""


def test_a_sound_log_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(config, RECORDS)
    assert run(["evidence", "verify", "-c", str(config), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sound"], report["damage"], report["fault_count"]) == (True, None, 0)
    assert (report["records"], report["outcomes"]) == (7, {"delivered": 1})


def test_damage_is_named_by_path_and_offset(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # In the last batch it would be a torn tail, which is what a crash leaves.
    directory = written(config, RECORDS, [accepted()])
    path = segment_paths(directory)[0]
    octets = bytearray(path.read_bytes())
    place = octets.index(b"DELIVRD")
    octets[place] ^= 1
    path.write_bytes(octets)
    assert run(["evidence", "verify", "-c", str(config)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("NOT SOUND\n")
    assert captured.err.startswith(f"jingxin: {path}: at octet 4096: ")
    assert captured.err.endswith(": restore the file from a copy\n")
    assert captured.err.count("\n") == 1


def test_a_contradiction_is_named_by_its_record(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = written(config, [*RECORDS, receipt(1)])
    assert run(["evidence", "verify", "-c", str(config)]) == 1
    captured = capsys.readouterr()
    assert "fault     record 8: a second final outcome of 1" in captured.out.splitlines()
    assert captured.err == (
        f"jingxin: {directory}: 1 contradictions, the first in record 8: a second final outcome of 1:"
        " keep the files as they are and report it\n"
    )


def test_evidence_that_may_not_be_read_is_not_called_missing(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may read everything, so the refusal is made here."""
    evidence = config.parent / "var" / "evidence"

    def refuse(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    for command in (["verify"], ["show", "1"]):
        assert run(["evidence", *command, "-c", str(config)]) == 1
        said = capsys.readouterr().err
        assert said == f"jingxin: {evidence}: Permission denied: let this user read it\n"


def test_the_records_of_a_message(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = written(config, [accepted(b"sealed text"), *RECORDS[1:]])
    assert run(["evidence", "show", "-c", str(config), message_id(directory, 1)]) == 0
    lines = capsys.readouterr().out.splitlines()
    time = "2026-11-18T19:06:40.123+08:00"
    assert [line.split()[:3] for line in lines] == [
        ["1", time, "accepted"],
        ["3", time, "dispatched"],
        ["4", time, "sent"],
        ["6", time, "receipt"],
        ["7", time, "reported"],
    ]
    assert "content=11 octets sealed" in lines[0]
    assert "sealed text" not in lines[0]
    assert "carrier_id=A7" in lines[2]


def test_the_records_of_a_message_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(config, RECORDS)
    assert run(["evidence", "show", "-c", str(config), "--json", "2"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [(record["index"], record["type"]) for record in records] == [
        (2, "accepted"),
        (3, "dispatched"),
        (5, "sent"),
    ]


NOT_FOUND = [
    ("99", "the log has no record 99"),
    ("3", "record 3 is a Dispatched, not an accepted part"),
    ("hukou", "hukou: no message id of this gateway: give it as submit_sm_resp had it"),
]


@pytest.mark.parametrize(("message", "error"), NOT_FOUND)
def test_a_message_that_is_not_there(
    config: Path, capsys: pytest.CaptureFixture[str], message: str, error: str
) -> None:
    written(config, RECORDS)
    assert run(["evidence", "show", "-c", str(config), message]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"jingxin: {error}\n")
