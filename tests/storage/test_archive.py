"""Old segments leave and come back: whatever is done when, the evidence has no gap, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from storage import archive as archive_module
from storage.archive import Detached, Needed, archive, detach, index_of_day, restore
from storage.archive_directory import ArchiveError, Manifest, check_archive, read_manifest
from storage.durable import DISK, Disk
from storage.errors import CorruptEvidence, DurabilityLost, LogInUse, NoSuchRecord
from storage.history import VerifyReport
from storage.lock import lock_file
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import COSIGNED_NAME, extent, published, signed
from storage.proofs.note import LOG, Signer
from storage.proofs.verify_tree import Proofs
from storage.reader import LogReader
from storage.records import Noted, encode
from storage.segment import SegmentReader, segment_path, segment_paths
from storage.verify import verify
from tests.storage.proofs.test_verify_tree import DAY_US, SIGNER, Signed
from tests.storage.scaffold import NOON_US, FailingDisk, LogDriver, record, stored

KEY = SIGNER.verifier
EVERYTHING = 1 << 40


def batch(first: int, count: int) -> list[bytes]:
    return [record(number) for number in range(first, first + count)]


class Shelf(Signed):
    """A signed log of five segments, the last of which goes on, and where its archives stand.

    Its segments begin with records 1, 301, 561, 901 and 1001, and each batch is signed on a day of its own.
    """

    SIZES = (300, 260, 340, 100, 50)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.destination = directory / "archive"
        first = 1
        batches = []
        for size in self.SIZES:
            batches.append(batch(first, size))
            first += size
        self.write(*batches, turn=True)
        self.keep_low_water(EVERYTHING)
        self.sign(NOON_US + 9 * DAY_US)

    def keep_low_water(self, index: int) -> None:
        """A restart needs records from here on, at most from the end: begin a segment that says so."""
        with LogDriver(self.evidence) as driver:
            driver.log.recover()
            driver.low_water = min(index, driver.log.next_index)
            driver.write(record(9000))
            driver.turn(record(9001))
        for spare in self.evidence.glob("spare.*"):
            spare.unlink()

    def archive(self, before: int = 901, name: str = "archive", disk: Disk = DISK) -> Manifest:
        self.destination = self.evidence.parent / name
        return archive(self.evidence, self.proofs, KEY, self.destination, before, disk=disk)

    def detach(self, *needed: Needed, disk: Disk = DISK) -> Detached:
        return detach(self.evidence, self.destination, KEY, needed, disk=disk)

    def restore(self, disk: Disk = DISK) -> int:
        return restore(self.destination, self.evidence, KEY, disk=disk)

    def archived(self) -> VerifyReport:
        """The archive, verified alone."""
        return verify(self.destination / "evidence", proofs=Proofs(self.destination / "proofs", KEY))

    def octets(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in segment_paths(self.evidence)}

    def names(self) -> list[int]:
        return [int(path.stem) for path in segment_paths(self.evidence)]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


# -- the whole way -------------------------------------------------------------------------------------------


def test_archived_detached_verified_restored(shelf: Shelf) -> None:
    before, records = shelf.octets(), stored(shelf.evidence)
    made = shelf.archive()
    assert (made.first_index, made.last_index, made.signed) == (1, 900, 900)
    assert made.segments == [segment_path(Path(), first).name for first in (1, 301, 561)]
    assert shelf.octets() == before

    assert shelf.detach() == Detached(3, 901, "")
    assert shelf.names()[0] == 901
    for report, first, last in ((shelf.archived(), 1, 900), (shelf.verify(), 901, len(records))):
        assert report.sound
        assert (report.first_index, report.next_index - 1) == (first, last)
        assert report.proven is not None
        assert report.proven.size == last

    assert shelf.restore() == 3
    assert shelf.octets() == before
    assert shelf.verify().sound
    assert stored(shelf.evidence) == records


def test_the_log_goes_on_without_what_is_detached(shelf: Shelf) -> None:
    shelf.archive()
    shelf.detach()
    shelf.write(batch(2000, 300))
    report = shelf.verify()
    assert report.sound
    assert report.first_index == 901
    with LogReader(shelf.evidence) as reader, pytest.raises(NoSuchRecord):
        reader.find(900)
    shelf.restore()
    assert shelf.verify().sound
    with LogReader(shelf.evidence) as reader:
        assert reader.find(900) == record(900)


@pytest.mark.parametrize("before", [301, 560, 561, 1001, EVERYTHING])
def test_each_bound_gives_an_archive_that_is_verified_alone(before: int, shelf: Shelf) -> None:
    made = shelf.archive(before)
    assert made.last_index < before
    report = shelf.archived()
    assert report.sound
    assert report.proven is not None
    assert report.proven.size >= made.last_index
    assert check_archive(shelf.destination, KEY) == made


def test_archives_follow_each_other(shelf: Shelf) -> None:
    before = shelf.octets()
    first = shelf.archive(561, "first")
    shelf.detach()
    second = shelf.archive(1001, "second")
    assert (second.first_index, second.chain_in) == (first.last_index + 1, first.chain_out)
    assert shelf.archived().sound
    shelf.detach()
    assert shelf.names()[0] == 1001
    shelf.destination = shelf.evidence.parent / "first"
    with pytest.raises(ArchiveError, match="restore the archives in between first"):
        shelf.restore()
    for name in ("second", "first"):
        shelf.destination = shelf.evidence.parent / name
        shelf.restore()
    assert shelf.octets() == before


def test_where_no_checkpoint_ends_with_a_segment_the_beginning_of_the_next_is_taken_along(
    tmp_path: Path,
) -> None:
    shelf = Signed(tmp_path)
    shelf.evidence.mkdir()
    with LogDriver(shelf.evidence) as driver:
        driver.log.recover()
        driver.write(*batch(1, 200))
        shelf.sign()
        driver.write(*batch(201, 300))
        driver.turn(*batch(501, 20))
        shelf.sign()  # the first one that covers record 500
        driver.write(*batch(521, 20))
        driver.turn(*batch(541, 20))
        shelf.sign()
        destination = tmp_path / "archive"
        made = archive(shelf.evidence, shelf.proofs, KEY, destination, 501)
        assert (made.last_index, made.signed, len(made.segments)) == (500, 520, 1)
        report = verify(destination / "evidence", proofs=Proofs(destination / "proofs", KEY))
        assert report.sound
        assert (report.next_index, report.segments) == (521, 2)
        driver.low_water = driver.log.next_index
        driver.write(record(561))
        driver.turn(record(562))
        whole = segment_paths(shelf.evidence)[0].read_bytes()
        assert detach(shelf.evidence, destination, KEY, ()) == Detached(1, 501, "")
    assert restore(destination, shelf.evidence, KEY) == 1
    assert segment_paths(shelf.evidence)[0].read_bytes() == whole


def test_cosignatures_go_with_it_as_far_as_it_reaches(tmp_path: Path) -> None:
    shelf = Signed(tmp_path)
    shelf.write(batch(1, 300), batch(301, 10), turn=True)
    with LogDriver(shelf.evidence) as driver:
        driver.log.recover()
        driver.turn(record(400))
    shelf.cosign()
    shelf.sign()
    for bound, expected in ((301, 0), (311, 1)):
        destination = tmp_path / str(bound)
        archive(shelf.evidence, shelf.proofs, KEY, destination, bound)
        assert len(list((destination / "proofs" / COSIGNED_NAME).glob("*"))) == expected


def test_a_day_as_a_bound(tmp_path: Path) -> None:
    now_us = [NOON_US]
    with LogDriver(tmp_path / "evidence", clock_us=lambda: now_us[0]) as driver:
        driver.log.recover()
        driver.write(record(1))
        now_us[0] += DAY_US
        driver.turn(record(2))
        driver.turn(record(3))
        now_us[0] += DAY_US
        driver.turn(record(4))
    midnight_us = NOON_US - NOON_US % DAY_US + DAY_US - 8 * 3_600_000_000
    days = [midnight_us + number * DAY_US for number in (-1, 0, 1, 2)]
    assert [index_of_day(tmp_path / "evidence", day) for day in days] == [1, 2, 4, 4]


def test_checkpoints_of_a_tile_that_was_full_before_the_first_record_ask_for_nothing(tmp_path: Path) -> None:
    """3 and 263 records were signed, in different tiles: the second one was never 3 hashes wide."""
    shelf = Signed(tmp_path)
    shelf.write(batch(1, 3), batch(4, 260), batch(264, 2), turn=True)
    segment_path(shelf.evidence, 1).unlink()
    segment_path(shelf.evidence, 4).unlink()
    report = shelf.verify()
    assert report.damage is None
    assert report.first_index == 264


# -- what is refused -----------------------------------------------------------------------------------------


def test_nothing_old_enough(shelf: Shelf) -> None:
    with pytest.raises(ArchiveError, match=r"none of \d+ finished segments ends before the bound"):
        shelf.archive(300)
    assert not shelf.destination.exists()


def test_what_no_checkpoint_covers(tmp_path: Path) -> None:
    shelf = Signed(tmp_path)
    shelf.write(batch(1, 20))
    with LogDriver(shelf.evidence) as driver:
        driver.log.recover()
        driver.write(record(21))
        driver.turn(record(22))
    with pytest.raises(ArchiveError, match="record 21 is in no checkpoint yet: `jingxin ledger` signs it"):
        archive(shelf.evidence, shelf.proofs, KEY, tmp_path / "archive", EVERYTHING)


@pytest.mark.parametrize(
    ("name", "reason"), [("archive", "name another"), ("archive.part", "remove what was left")]
)
def test_a_destination_that_is_taken(name: str, reason: str, shelf: Shelf) -> None:
    (shelf.evidence.parent / name).mkdir()
    with pytest.raises(ArchiveError, match=reason):
        shelf.archive()


def test_the_key_of_another(shelf: Shelf) -> None:
    other = Signer("hn-gw-1", LOG, bytes(range(5, 37))).verifier
    with pytest.raises(CorruptEvidence, match="is that the log's key"):
        archive(shelf.evidence, shelf.proofs, other, shelf.destination, 901)
    shelf.archive()
    with pytest.raises(CorruptEvidence, match="is that the log's key"):
        detach(shelf.evidence, shelf.destination, other, ())
    assert shelf.names()[0] == 1


def test_evidence_that_is_damaged_is_not_archived(shelf: Shelf) -> None:
    path = segment_paths(shelf.evidence)[1]
    octets = bytearray(path.read_bytes())
    octets[6000] ^= 1
    path.write_bytes(octets)
    with pytest.raises(CorruptEvidence):
        shelf.archive()
    assert sorted(each.name for each in shelf.evidence.parent.iterdir()) == ["evidence", "proofs"]


def _flip(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)


def _manifest(directory: Path, **changed: object) -> None:
    path = directory / "manifest.json"
    facts = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**facts, **changed}))


DAMAGES: list[Callable[[Path], object]] = [
    lambda directory: _flip(segment_paths(directory / "evidence")[1]),
    lambda directory: segment_paths(directory / "evidence")[2].unlink(),
    lambda directory: _flip(directory / "proofs/tile/0/001"),
    lambda directory: _flip(directory / "proofs/checkpoint"),
    lambda directory: shutil.rmtree(directory / "proofs"),
    lambda directory: (directory / "log.pub").unlink(),
    lambda directory: (directory / "manifest.json").write_bytes(b"{}"),
    lambda directory: _manifest(directory, last_index=1000),
    lambda directory: _manifest(directory, chain_out="00" * 32),
    lambda directory: _manifest(directory, segments=[]),
    lambda directory: _manifest(directory, sha256={}),
    lambda directory: _manifest(directory, version=2),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_archive_that_is_not_as_it_was_made_takes_nothing_away_and_puts_nothing_back(
    damage: Callable[[Path], object], shelf: Shelf
) -> None:
    shelf.archive()
    before = shelf.octets()
    damage(shelf.destination)
    for act in (shelf.detach, shelf.restore):
        with pytest.raises(CorruptEvidence):
            act()
    assert shelf.octets() == before


def test_no_archive_at_all(shelf: Shelf) -> None:
    with pytest.raises(ArchiveError, match=r"is no archive: name a directory with a manifest\.json"):
        shelf.detach()


def test_the_archive_of_another_log(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Shelf(tmp_path_factory.mktemp("other"))
    other.archive()
    shelf.destination = other.destination
    for act in (shelf.detach, shelf.restore):
        with pytest.raises(ArchiveError, match="the archive is of another log, hn-gw-1"):
            act()


def test_one_at_a_time(shelf: Shelf) -> None:
    shelf.archive()
    lock = lock_file(shelf.evidence / archive_module.LOCK_NAME)
    for act in (shelf.detach, shelf.restore):
        with pytest.raises(LogInUse):
            act()
    os.close(lock)
    assert shelf.detach().segments == 3


# -- what keeps a segment ------------------------------------------------------------------------------------


def test_what_others_have_not_taken_in_stays(shelf: Shelf) -> None:
    shelf.archive()
    with pytest.raises(ArchiveError, match=r"ledger.db needs records from 300 on.* ends with 300: try again"):
        shelf.detach(Needed(300, "ledger.db"), Needed(700, "numbers.db"))
    done = shelf.detach(Needed(901, "ledger.db"), Needed(561, "numbers.db"))
    assert (done.segments, done.first_index) == (2, 561)
    assert "numbers.db needs records from 561 on" in done.kept
    assert shelf.verify().sound
    assert shelf.detach() == Detached(1, 901, "")
    assert shelf.detach() == Detached(0, 901, "")  # repeated


def test_what_a_restart_needs_stays(tmp_path: Path) -> None:
    shelf = Signed(tmp_path)
    shelf.write(batch(1, 300), batch(301, 300), batch(601, 5), turn=True)
    destination = tmp_path / "archive"
    archive(shelf.evidence, shelf.proofs, KEY, destination, 601)
    with pytest.raises(ArchiveError, match="a restart of the gateway needs records from 1 on"):
        detach(shelf.evidence, destination, KEY, ())
    with LogDriver(shelf.evidence) as driver:
        driver.log.recover()
        driver.low_water = 301
        driver.write(record(606))
        driver.turn(record(607))
        done = detach(shelf.evidence, destination, KEY, ())
    assert (done.segments, done.first_index) == (1, 301)
    with LogDriver(shelf.evidence) as driver:
        assert driver.log.recover() == 301
        assert next(driver.log.replay(301)) == (301, record(301))


def test_a_segment_that_is_not_the_same_in_the_archive_stays(shelf: Shelf) -> None:
    shelf.archive()
    path = segment_paths(shelf.evidence)[1]
    path.write_bytes(path.read_bytes() + bytes(10))
    done = shelf.detach()
    assert (done.segments, done.first_index) == (1, 301)
    assert "the archive has other octets under this name" in done.kept


def hold(first: str, last: str) -> bytes:
    facts = [("from", first), ("to", last), ("reason", "case 17")]
    return encode(Noted(NOON_US, "hold", 0, "opened", NOON_US, "wang", facts, b"", b""))


def released(entry: int) -> bytes:
    return encode(
        Noted(NOON_US, "hold", entry, "released", NOON_US, "wang", [("reason", "settled")], b"", b"")
    )


def write(shelf: Shelf, octets: bytes) -> int:
    with LogDriver(shelf.evidence) as driver:
        driver.log.recover()
        return driver.write(octets)


def test_what_is_on_hold_is_archived_and_not_detached(shelf: Shelf) -> None:
    entry = write(shelf, hold("2026-09-21", "2026-12-31"))  # the segments are all of this day
    shelf.archive()
    before = shelf.octets()
    refusal = rf"entry {entry} holds 2026-09-21 to 2026-12-31 \(case 17\): `jingxin evidence release {entry}`"
    with pytest.raises(ArchiveError, match=refusal):
        shelf.detach()
    assert shelf.octets() == before
    write(shelf, released(entry))
    assert shelf.detach().segments == 3


def test_other_days_than_those_on_hold_are_detached(shelf: Shelf) -> None:
    write(shelf, hold("2026-09-22", "2026-12-31"))
    shelf.archive()
    assert shelf.detach().segments == 3


def test_the_record_of_an_open_hold_is_never_detached(tmp_path: Path) -> None:
    shelf = Signed(tmp_path)
    shelf.write(batch(1, 5), [hold("2020-01-01", "2020-01-31"), record(7)], batch(8, 5), turn=True)
    with LogDriver(shelf.evidence) as driver:
        driver.log.recover()
        driver.low_water = driver.log.next_index
        driver.write(record(13))
        driver.turn(record(14))
        shelf.sign()
        destination = tmp_path / "archive"
        archive(shelf.evidence, shelf.proofs, KEY, destination, 13)
        done = detach(shelf.evidence, destination, KEY, ())
        assert (done.segments, done.first_index) == (1, 6)
        assert "the record that opened a hold stays with it: entry 6 holds" in done.kept
        driver.write(released(6))
        assert detach(shelf.evidence, destination, KEY, ()).segments == 1


# -- crashes -------------------------------------------------------------------------------------------------


class Steps(FailingDisk):
    def __init__(self, fail_at: int, *, kept: bool) -> None:
        super().__init__(fail_at, kept=kept, thread="MainThread")


def each_step(act: Callable[[Disk], object], prepare: Callable[[], None]) -> Iterator[tuple[int, bool, Disk]]:
    """Carry out `act` and let each of its steps fail in turn, lost or kept; `prepare` comes before each."""
    prepare()
    counting = Steps(-1, kept=False)
    act(counting)
    assert len(counting.steps) > 3
    for fail_at in range(len(counting.steps)):
        for kept in (False, True):
            prepare()
            disk = Steps(fail_at, kept=kept)
            with pytest.raises(DurabilityLost):
                act(disk)
            yield fail_at, kept, disk


def small(directory: Path) -> Shelf:
    class Small(Shelf):
        SIZES = (3, 260, 2, 4, 1)

    return Small(directory)


def test_a_crash_while_archiving_leaves_the_evidence_and_no_half_archive(tmp_path: Path) -> None:
    shelf = small(tmp_path)
    before = shelf.octets()

    def prepare() -> None:
        shutil.rmtree(tmp_path / "archive", ignore_errors=True)

    for _ in each_step(lambda disk: shelf.archive(266, disk=disk), prepare):
        assert shelf.octets() == before
        assert not (tmp_path / "archive.part").exists()
        if (tmp_path / "archive").exists():  # its name may be lost, but whatever has it is whole
            check_archive(tmp_path / "archive", KEY)


def test_a_crash_while_detaching_leaves_no_gap_and_can_be_repeated(tmp_path: Path) -> None:
    shelf = small(tmp_path)
    before = shelf.octets()
    shelf.archive(266)

    def prepare() -> None:
        for name, octets in before.items():
            (shelf.evidence / name).write_bytes(octets)

    left = set()
    for _ in each_step(lambda disk: shelf.detach(disk=disk), prepare):
        names = shelf.octets()
        left.add(len(names))
        assert list(names) == list(before)[len(before) - len(names) :]
        assert shelf.verify().sound
        assert shelf.archived().sound
        shelf.detach()
        assert shelf.names()[0] == 266
    assert left == {len(before), len(before) - 1, len(before) - 2, len(before) - 3}


def test_a_crash_while_restoring_leaves_no_gap_and_can_be_repeated(tmp_path: Path) -> None:
    shelf = small(tmp_path)
    before = shelf.octets()
    shelf.archive(266)

    def prepare() -> None:
        shelf.detach()

    for _ in each_step(lambda disk: shelf.restore(disk=disk), prepare):
        names = shelf.octets()
        assert list(names) == list(before)[len(before) - len(names) :]
        assert shelf.verify().sound
        shelf.restore()
        assert shelf.octets() == before


def test_the_moment_between_unlink_and_sync_is_harmless(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each removal is on disk before the next one, so a crash can take back only the last."""
    shelf.archive()
    order: list[str] = []
    unlink = Path.unlink

    def noted(path: Path, missing_ok: bool = False) -> None:
        order.append(path.name)
        unlink(path, missing_ok)

    class Noting(Disk):
        def sync_directory(self, directory: Path) -> None:
            order.append("sync")
            super().sync_directory(directory)

    monkeypatch.setattr(Path, "unlink", noted)
    shelf.detach(disk=Noting())
    names = read_manifest(shelf.destination).segments
    assert order == ["sync", names[0], "sync", names[1], "sync", names[2], "sync"]


def test_what_is_in_the_archive_is_what_was_signed(shelf: Shelf) -> None:
    """The checkpoints of an archive are the first ones of the log, and its last one is shown."""
    shelf.archive()
    ours = [entry.note for entry in signed(extent(shelf.proofs), KEY.name)]
    theirs = [entry.note for entry in signed(extent(shelf.destination / "proofs"), KEY.name)]
    assert theirs == ours[: len(theirs)]
    assert published(shelf.destination / "proofs") == theirs[-1]
    assert Checkpoint.parse(theirs[-1].text).size == 900
    with SegmentReader(segment_path(shelf.evidence, 901)) as reader:
        assert reader.header.chain.hex() == read_manifest(shelf.destination).chain_out
