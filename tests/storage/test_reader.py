"""Reading from outside: never ahead of the disk, never past the end, any record by its index."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from storage.errors import CorruptEvidence, NoSuchRecord
from storage.reader import DurableMark, LogReader
from storage.segment import SEGMENT_HEADER_OCTETS, segment_path, segment_paths
from tests.storage.scaffold import LogDriver, record


def test_an_empty_directory_has_no_records(tmp_path: Path) -> None:
    with LogReader(tmp_path) as reader:
        assert (reader.first_index, reader.next_index, list(reader.records(1))) == (1, 1, [])
        with pytest.raises(NoSuchRecord):
            reader.find(1)


def test_a_reader_follows_the_writer_and_stays_behind_the_disk(tmp_path: Path) -> None:
    with LogReader(tmp_path) as reader, LogDriver(tmp_path) as driver:
        driver.log.recover()
        seen: list[tuple[int, bytes]] = []
        for number in range(1, 60):
            driver.log.append(record(number, 20_000))  # about 51 a segment
            driver.log.commit(None)
            step = driver.posted.get(timeout=20)
            # Synced, but the loop has not heard of it yet: so has nobody else.
            assert reader.next_index == len(seen) + 1
            assert list(reader.records(len(seen) + 1)) == []
            with pytest.raises(NoSuchRecord):
                reader.find(len(seen) + 1)
            step()
            seen += reader.records(len(seen) + 1)
            assert seen[-1] == (number, record(number, 20_000))
            assert reader.find(number) == record(number, 20_000)
        assert len(segment_paths(tmp_path)) == 2
        assert [index for index, _ in seen] == list(range(1, 60))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A log of 12 segments with frames of 1 to 40 records."""
    directory = tmp_path_factory.mktemp("many")
    chance = random.Random(1)
    records: list[bytes] = []
    with LogDriver(directory) as driver:
        driver.log.recover()
        for place in range(60):
            batch = [record(len(records) + 1 + more, 40) for more in range(chance.randint(1, 40))]
            (driver.turn if place % 5 == 4 else driver.write)(*batch)
            records += batch
    assert len(segment_paths(directory)) == 13
    return directory, records


@pytest.mark.parametrize("with_mark", [True, False])
def test_ranges(many: tuple[Path, list[bytes]], with_mark: bool) -> None:
    directory, records = many
    mark = directory / "durable"
    if not with_mark:
        mark.rename(directory / "away")
    chance = random.Random(2)
    with LogReader(directory) as reader:
        end = len(records) + 1
        assert reader.next_index == end
        bounds: list[tuple[int, int | None]] = [(1, None), (1, end), (end, None), (end, end), (5, 6), (7, 7)]
        pairs = [sorted(chance.sample(range(1, end), 2)) for _ in range(100)]
        bounds += [(first, stop) for first, stop in pairs]
        for first, stop in bounds:
            expected = list(enumerate(records, 1))[first - 1 : None if stop is None else stop - 1]
            assert list(reader.records(first, stop)) == expected
    if not with_mark:
        (directory / "away").rename(mark)


def test_any_record_by_its_index(many: tuple[Path, list[bytes]]) -> None:
    directory, records = many
    chance = random.Random(3)
    with LogReader(directory) as reader:
        for index in chance.choices(range(1, len(records) + 1), k=2000):
            assert reader.find(index) == records[index - 1]
        for index in (0, -1, len(records) + 1, 10**9):
            with pytest.raises(NoSuchRecord):
                reader.find(index)
        assert len(reader._open) == 8


def test_what_was_taken_away_is_no_record(many: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    directory, records = many
    for path in segment_paths(directory)[3:]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with LogReader(tmp_path) as reader:
        first = reader.first_index
        assert first > 1
        assert reader.find(first) == records[first - 1]
        assert [octets for _, octets in reader.records(first)] == records[first - 1 :]
        with pytest.raises(NoSuchRecord, match=f"it begins at {first}"):
            reader.find(first - 1)
        with pytest.raises(NoSuchRecord):
            list(reader.records(1))


def test_a_durable_record_that_cannot_be_read_is_corruption(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(1))
        driver.write(record(2))
    path = segment_path(tmp_path, 1)
    with path.open("r+b") as file:
        file.seek(SEGMENT_HEADER_OCTETS + 80)
        file.write(b"?")
    with LogReader(tmp_path) as reader:
        with pytest.raises(CorruptEvidence, match="record 1 cannot be read"):
            reader.find(1)
        with pytest.raises(CorruptEvidence, match="record 1 was durable and cannot be read") as caught:
            list(reader.records(1))
        assert (caught.value.path, caught.value.offset) == (path, SEGMENT_HEADER_OCTETS)
        assert reader.find(2) == record(2)


MARKS = [b"", b"short", bytes(16), (5).to_bytes(8, "little") * 2]


@pytest.mark.parametrize("octets", MARKS)
def test_a_mark_that_is_none_is_not_believed(tmp_path: Path, octets: bytes) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(1), record(2))
    (tmp_path / "durable").write_bytes(octets)
    mark = DurableMark(tmp_path, writable=False)
    assert mark.get() == 0
    mark.close()
    with LogReader(tmp_path) as reader:
        assert reader.next_index == 3
