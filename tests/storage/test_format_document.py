"""The format document suffices to read a log: its reader reads ours, its table is that of the records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.records import AnyRecord
from storage.segment import SEGMENT_HEADER_OCTETS, segment_path
from tests.storage.scaffold import LogDriver, record

DOCUMENT = (Path(__file__).parents[2] / "docs" / "evidence-format.md").read_text()


@pytest.fixture
def documented_records() -> Callable[[Path], Iterator[tuple[int, bytes]]]:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 1
    names: dict[str, Any] = {}
    exec(blocks[0], names)  # noqa: S102 — our own document
    found: Callable[[Path], Iterator[tuple[int, bytes]]] = names["records"]
    return found


def test_the_documented_reader_reads_a_log(
    tmp_path: Path, documented_records: Callable[[Path], Iterator[tuple[int, bytes]]]
) -> None:
    records = [record(number) for number in range(1, 31)]
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(*records[:10])
        driver.turn(*records[10:15])
        driver.write(*records[15:20])
        driver.turn(*records[20:])
        with segment_path(tmp_path, 21).open("r+b") as file:
            file.seek(5000)
            file.write(b"JXBF torn")
    assert list(documented_records(tmp_path)) == list(enumerate(records, 1))
    path = segment_path(tmp_path, 1)
    good = path.read_bytes()
    path.write_bytes(good[: SEGMENT_HEADER_OCTETS + 80] + b"?" + good[SEGMENT_HEADER_OCTETS + 81 :])
    with pytest.raises(AssertionError):
        list(documented_records(tmp_path))


def test_the_table_of_records_is_complete() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (time_us u.*?|\w+ u, time_us u.*?) \| ", DOCUMENT, re.MULTILINE)
    documented = {
        name: (int(tag), re.findall(r"(\w+) (?:u|t|b|f|\[)", re.sub(r"\[\[.*?\]\]", "[", fields)))
        for tag, name, fields in rows
    }
    ours = {
        kind.__name__: (kind.__struct_config__.tag, list(kind.__struct_fields__))
        for kind in AnyRecord.__args__
    }
    assert documented == ours
