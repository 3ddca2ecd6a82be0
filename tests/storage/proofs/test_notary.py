"""The notary signs what extends the last it signed, and nothing else, wherever it was stopped before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.durable import Disk
from storage.errors import CorruptEvidence, DurabilityLost, KeyFileError, LogInUse, NoRoom, NoSuchRecord
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import (
    CHECKPOINT_NAME,
    Checkpoints,
    day_paths,
    extent,
    newest_up_to,
    signed,
)
from storage.proofs.merkle import leaf_hash, root_of
from storage.proofs.notary import TILE_NAME, EvidenceChanged, Notary
from storage.proofs.note import LOG, Note, Signer
from storage.segment import segment_path
from tests.storage.scaffold import NOON_US, LogDriver, record, stored

SIGNER = Signer("hn-gw-1", LOG, bytes(range(32)))
DAY_US = 86_400_000_000


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@pytest.fixture
def proofs(tmp_path: Path) -> Path:
    return tmp_path / "proofs"


@pytest.fixture
def driver(evidence: Path) -> Iterator[LogDriver]:
    evidence.mkdir()
    with LogDriver(evidence) as log:
        log.log.recover()
        yield log


def notary(evidence: Path, proofs: Path, signer: Signer = SIGNER) -> Notary:
    return Notary(evidence, proofs, "hn-gw-1", signer)


def sign(evidence: Path, proofs: Path, now_us: int = NOON_US) -> Checkpoint | None:
    """Start a notary, let it take up what there is, and end it."""
    with notary(evidence, proofs) as each:
        each.recover()
        while each.step(now_us):
            pass
        return each.signed


def root(evidence: Path, size: int) -> bytes:
    return root_of([leaf_hash(octets) for octets in stored(evidence)[:size]])


def published(proofs: Path) -> Checkpoint:
    note = Note.parse((proofs / CHECKPOINT_NAME).read_bytes())
    assert set(note.signed_by((SIGNER.verifier,))) == {SIGNER.verifier}
    return Checkpoint.parse(note.text)


def history(proofs: Path) -> list[int]:
    """The sizes that were signed."""
    return [Checkpoint.parse(entry.note.text).size for entry in signed(extent(proofs), "hn-gw-1")]


def test_it_signs_what_is_durable_and_nothing_twice(driver: LogDriver, evidence: Path, proofs: Path) -> None:
    driver.write(record(1), record(2))
    with notary(evidence, proofs) as each:
        each.recover()
        assert each.behind == 2
        assert each.step(NOON_US)
        assert (each.behind, each.size) == (0, 2)
        assert not each.step(NOON_US)
        driver.log.append(record(3))  # not durable
        assert not each.step(NOON_US)
        driver.log.commit(None)
        driver.step()
        assert each.step(NOON_US)
    assert published(proofs) == Checkpoint("hn-gw-1", 3, root(evidence, 3))
    assert history(proofs) == [2, 3]


def test_it_goes_on_where_it_was(driver: LogDriver, evidence: Path, proofs: Path) -> None:
    for number in range(1, 700, 90):
        driver.write(*(record(number + each) for each in range(90)))
        if number % 4 == 1:
            driver.turn(record(number + 90))
        last = sign(evidence, proofs)
        assert last is not None
        assert last.root == root(evidence, last.size)
    assert history(proofs) == sorted(set(history(proofs)))
    assert published(proofs).size == len(stored(evidence))


def test_a_day_in_shanghai_has_a_file(driver: LogDriver, evidence: Path, proofs: Path) -> None:
    for day in range(3):
        driver.write(record(day))
        sign(evidence, proofs, NOON_US + day * DAY_US)
    assert [path.name for path in day_paths(proofs)] == ["2026-09-21", "2026-09-22", "2026-09-23"]
    driver.write(record(4))
    sign(evidence, proofs, NOON_US)  # the clock went back: the order of signing counts
    assert history(proofs) == [1, 2, 3, 4]
    assert len(day_paths(proofs)) == 3


def test_only_one_signs(driver: LogDriver, evidence: Path, proofs: Path) -> None:
    with notary(evidence, proofs), pytest.raises(LogInUse, match="another ledger process"):
        notary(evidence, proofs)
    notary(evidence, proofs).close()


@pytest.mark.parametrize("damage", ["gone", "flipped", "short", "edge flipped", "other size"])
def test_tiles_that_are_wrong_are_made_again(
    damage: str, driver: LogDriver, evidence: Path, proofs: Path
) -> None:
    driver.write(*(record(number) for number in range(600)))
    sign(evidence, proofs)
    tiles = proofs / TILE_NAME
    before = {path: path.read_bytes() for path in tiles.rglob("*") if path.is_file()}
    edge = tiles / "0" / "002.p" / "88"
    match damage:
        case "gone":
            shutil.rmtree(tiles)
        case "flipped":
            (tiles / "1" / "000.p" / "2").write_bytes(bytes(64))
        case "short":
            (tiles / "1" / "000.p" / "2").write_bytes(bytes(32))
        case "edge flipped":
            edge.write_bytes(bytes([edge.read_bytes()[0] ^ 1]) + edge.read_bytes()[1:])
        case "other size":
            os.rename(edge, edge.with_name("87"))
    driver.write(record(601))
    assert sign(evidence, proofs) == Checkpoint("hn-gw-1", 601, root(evidence, 601))
    after = {path: path.read_bytes() for path in tiles.rglob("*") if path.is_file()}
    assert all(after[path] == octets for path, octets in before.items() if path in after)


def test_tiles_that_cannot_be_made_again_are_asked_for(
    driver: LogDriver, evidence: Path, proofs: Path
) -> None:
    driver.write(record(1))
    driver.turn(record(2))
    sign(evidence, proofs)
    shutil.rmtree(proofs / TILE_NAME)
    segment_path(evidence, 1).unlink()
    with notary(evidence, proofs) as each, pytest.raises(EvidenceChanged, match="restore the tiles"):
        each.recover()


def test_other_records_in_the_place_of_those_signed_are_not_signed(
    driver: LogDriver, evidence: Path, proofs: Path, tmp_path: Path
) -> None:
    driver.write(record(1), record(2))
    sign(evidence, proofs)
    shutil.rmtree(proofs / TILE_NAME)
    other = tmp_path / "other"
    other.mkdir()
    with LogDriver(other) as log:
        log.log.recover()
        log.write(record(1), record(3), record(4))
    with notary(other, proofs) as each, pytest.raises(EvidenceChanged, match="not those that were signed"):
        each.recover()
    assert history(proofs) == [2]


def test_a_log_that_has_become_shorter_is_not_signed(
    driver: LogDriver, evidence: Path, proofs: Path, tmp_path: Path
) -> None:
    driver.write(record(1))
    copy = tmp_path / "copy"
    shutil.copytree(evidence, copy, ignore=shutil.ignore_patterns("spare.*"))
    driver.write(record(2), record(3))
    sign(evidence, proofs)
    with notary(copy, proofs) as each, pytest.raises(EvidenceChanged, match="records 2 to 3 were signed"):
        each.recover()


@pytest.mark.parametrize("octets", range(0, 208, 9))
def test_a_checkpoint_that_a_crash_cut_short_was_seen_by_nobody(
    octets: int, driver: LogDriver, evidence: Path, proofs: Path
) -> None:
    driver.write(record(1))
    sign(evidence, proofs)
    [day] = day_paths(proofs)
    first, shown = day.read_bytes(), (proofs / CHECKPOINT_NAME).read_bytes()
    driver.write(record(2))
    sign(evidence, proofs)
    whole = day.read_bytes()
    assert octets < len(whole) - len(first)
    day.write_bytes(whole[: len(first) + octets])
    (proofs / CHECKPOINT_NAME).write_bytes(shown)
    assert sign(evidence, proofs) == Checkpoint("hn-gw-1", 2, root(evidence, 2))
    assert history(proofs) == [1, 2]
    assert day.read_bytes() == whole


class BrokenDisk(Exception):
    """The power goes here."""


@pytest.mark.parametrize("step", ["write_at", "sync_data"])
def test_nobody_sees_a_checkpoint_before_it_is_durable(
    step: str, driver: LogDriver, evidence: Path, proofs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write(record(1))
    sign(evidence, proofs)
    before = (proofs / CHECKPOINT_NAME).read_bytes()
    driver.write(record(2))

    def fail(*_: object) -> None:
        raise DurabilityLost(proofs, step, OSError(5, "the disk is gone"))

    with notary(evidence, proofs) as each:
        each.recover()
        monkeypatch.setattr(f"storage.durable.Disk.{step}", fail)
        with pytest.raises(DurabilityLost):
            each.step(NOON_US)
        monkeypatch.undo()
    assert (proofs / CHECKPOINT_NAME).read_bytes() == before
    assert sign(evidence, proofs) == Checkpoint("hn-gw-1", 2, root(evidence, 2))


def test_what_was_signed_and_not_yet_shown_is_shown_by_the_next_start(
    driver: LogDriver, evidence: Path, proofs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write(record(1))

    def die(*_: object) -> None:
        raise BrokenDisk

    with notary(evidence, proofs) as each:
        monkeypatch.setattr(Checkpoints, "_publish", die)
        with pytest.raises(BrokenDisk):
            each.step(NOON_US)
        monkeypatch.undo()
    assert not (proofs / CHECKPOINT_NAME).exists()
    with notary(evidence, proofs) as each:
        each.recover()
    assert published(proofs).size == 1


@pytest.mark.parametrize("name", ["hn-gw-1", "hn-gw-2"], ids=["another key", "another name"])
def test_it_goes_on_under_its_own_name_and_key_only(
    name: str, driver: LogDriver, evidence: Path, proofs: Path
) -> None:
    driver.write(record(1))
    sign(evidence, proofs)
    other = Signer(name, LOG, bytes(32))
    with Notary(evidence, proofs, name, other) as each:
        with pytest.raises(EvidenceChanged, match=f"was not signed by {name}"):
            each.recover()


def test_a_key_that_was_made_for_another_log_signs_nothing(evidence: Path, proofs: Path) -> None:
    with pytest.raises(KeyFileError, match="is that of hn-gw-1, and this log is called hn-gw-2"):
        Notary(evidence, proofs, "hn-gw-2", SIGNER)
    assert not proofs.exists()


@pytest.mark.parametrize("loss", ["the day", "all days", "its last octet", "the newest in it"])
def test_what_was_shown_is_never_signed_in_another_way(
    loss: str, driver: LogDriver, evidence: Path, proofs: Path, tmp_path: Path
) -> None:
    """Checkpoints were lost after somebody had seen them; the records behind them are others by now."""
    for number in range(3):
        driver.write(record(number))
        sign(evidence, proofs, NOON_US + number // 2 * DAY_US)
    shown = (proofs / CHECKPOINT_NAME).read_bytes()
    first, second = day_paths(proofs)
    octets = second.read_bytes()
    match loss:
        case "the day":
            second.unlink()
        case "all days":
            first.unlink()
            second.unlink()
        case "its last octet":
            second.write_bytes(octets[:-1] + b"x")
        case "the newest in it":
            second.write_bytes(octets[: octets.index(b"\n\n") + 2])
    before = {path: path.read_bytes() for path in day_paths(proofs)}
    with notary(evidence, proofs) as each, pytest.raises(EvidenceChanged, match="of 3 records was shown"):
        each.recover()
    assert (proofs / CHECKPOINT_NAME).read_bytes() == shown
    assert {path: path.read_bytes() for path in day_paths(proofs)} == before


@pytest.mark.parametrize("octets", [None, b"", b"hn-gw-1\n3"], ids=["missing", "empty", "cut short"])
def test_what_a_crash_left_of_the_shown_one_is_put_right(
    octets: bytes | None, driver: LogDriver, evidence: Path, proofs: Path
) -> None:
    driver.write(record(1))
    sign(evidence, proofs)
    before = (proofs / CHECKPOINT_NAME).read_bytes()
    if octets is None:
        (proofs / CHECKPOINT_NAME).unlink()
    else:
        (proofs / CHECKPOINT_NAME).write_bytes(octets)
    sign(evidence, proofs)
    assert (proofs / CHECKPOINT_NAME).read_bytes() == before


def test_no_tile_is_left_to_the_power_when_a_checkpoint_is_signed(
    driver: LogDriver, evidence: Path, proofs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write(*(record(number) for number in range(600)))
    synced: list[str] = []

    def note_it(_: Disk, path: Path, __: int) -> None:
        if path.is_relative_to(proofs):
            synced.append(str(path.relative_to(proofs)))

    monkeypatch.setattr("storage.durable.Disk.sync_data", note_it)
    sign(evidence, proofs)
    monkeypatch.undo()
    assert synced == [
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "checkpoints/2026-09-21",
    ]


def test_a_full_disk_when_it_is_shown(
    driver: LogDriver, evidence: Path, proofs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write(*(record(number) for number in range(600)))
    write = Path.write_bytes

    def full(path: Path, octets: bytes) -> int:
        if path.name == f"{CHECKPOINT_NAME}.part":
            raise OSError(28, "No space left on device")
        return write(path, octets)

    monkeypatch.setattr(Path, "write_bytes", full)
    with notary(evidence, proofs) as each, pytest.raises(NoRoom, match="no disk space for a checkpoint"):
        each.step(NOON_US)
    monkeypatch.undo()
    # It was signed, and seen by nobody: the next start shows it.
    assert not (proofs / CHECKPOINT_NAME).exists()
    with notary(evidence, proofs) as each:
        each.recover()
    assert f"\n{600}\n" in (proofs / CHECKPOINT_NAME).read_text()


@pytest.mark.parametrize("place", ["0/000.part", "0/001.part", "0/002.p/88.part", "1/000.p/2.part"])
def test_a_full_disk_ends_it_with_the_name_of_the_file(
    place: str, driver: LogDriver, evidence: Path, proofs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write(*(record(number) for number in range(600)))
    write = Path.write_bytes

    def full(path: Path, octets: bytes) -> int:
        if str(path).endswith(place):
            raise OSError(28, "No space left on device")
        return write(path, octets)

    monkeypatch.setattr(Path, "write_bytes", full)
    with notary(evidence, proofs) as each, pytest.raises(NoRoom, match=place.removesuffix(".part")):
        each.step(NOON_US)
    monkeypatch.undo()
    assert not (proofs / CHECKPOINT_NAME).exists()
    assert sign(evidence, proofs) == Checkpoint("hn-gw-1", 600, root(evidence, 600))


def test_what_was_written_of_a_tile_goes_also_after_a_restart(
    driver: LogDriver, evidence: Path, proofs: Path
) -> None:
    driver.write(*(record(number) for number in range(100)))
    sign(evidence, proofs)
    driver.write(*(record(number) for number in range(200)))
    sign(evidence, proofs)
    names = sorted(path.name for path in (proofs / TILE_NAME / "0").iterdir())
    assert names == ["000", "001.p"]


@pytest.fixture
def three_days(driver: LogDriver, evidence: Path, proofs: Path) -> list[Path]:
    """Files of three days, each with two checkpoints."""
    for number in range(6):
        driver.write(record(number))
        sign(evidence, proofs, NOON_US + number // 2 * DAY_US)
    return day_paths(proofs)


def test_no_octet_of_a_day_can_be_another(three_days: list[Path], proofs: Path) -> None:
    whole = list(signed(extent(proofs), "hn-gw-1"))
    for path in three_days:
        octets = path.read_bytes()
        for place in range(len(octets)):
            path.write_bytes(bytes([*octets[:place], octets[place] ^ 1, *octets[place + 1 :]]))
            try:
                found = list(signed(extent(proofs), "hn-gw-1"))
            except CorruptEvidence:
                continue
            # Nothing but the end of the very last looks as if it had been cut short.
            assert path is three_days[-1]
            assert found == whole[:-1]
        path.write_bytes(octets)


@pytest.mark.parametrize("place", range(3))
def test_no_octet_of_a_day_can_be_missing_or_too_many(
    place: int, three_days: list[Path], proofs: Path
) -> None:
    whole = list(signed(extent(proofs), "hn-gw-1"))
    path = three_days[place]
    octets = path.read_bytes()
    for at in range(len(octets)):
        for wrong in (octets[:at] + octets[at + 1 :], octets[: at + 1] + b"\n" + octets[at + 1 :]):
            path.write_bytes(wrong)
            try:
                found = list(signed(extent(proofs), "hn-gw-1"))
            except CorruptEvidence:
                continue
            assert place == 2
            assert found == whole[: len(found)] != whole or wrong.startswith(octets)


def test_no_checkpoint_can_be_taken_out_put_in_or_moved(three_days: list[Path], proofs: Path) -> None:
    octets = {path: path.read_bytes() for path in three_days}
    entries = list(signed(extent(proofs), "hn-gw-1"))
    for path in three_days:
        first, second = [entry.offset for entry in entries if entry.path == path]
        head, one, two = octets[path][:first], octets[path][first:second], octets[path][second:]
        for wrong in (head + two, head + two + one, head + one + one + two, one + two, head + one):
            if path is three_days[-1] and wrong == head + one:
                continue  # the last of all: only who has seen it can tell (the published one, a witness)
            path.write_bytes(wrong)
            with pytest.raises(CorruptEvidence):
                list(signed(extent(proofs), "hn-gw-1"))
        path.write_bytes(octets[path])
    three_days[1].unlink()
    with pytest.raises(CorruptEvidence, match="does not continue the checkpoints of the day before"):
        list(signed(extent(proofs), "hn-gw-1"))


def test_the_first_days_may_be_gone(three_days: list[Path], proofs: Path) -> None:
    three_days[0].unlink()
    assert history(proofs) == [3, 4, 5, 6]
    three_days[1].unlink()
    assert history(proofs) == [5, 6]


def test_a_day_cut_short_before_others_is_damage(three_days: list[Path], proofs: Path) -> None:
    three_days[0].write_bytes(three_days[0].read_bytes()[:-1])
    with pytest.raises(CorruptEvidence, match="cut short, and later ones follow"):
        history(proofs)


def test_a_crash_while_a_day_begins_leaves_the_one_before_it(
    three_days: list[Path], evidence: Path, proofs: Path, driver: LogDriver
) -> None:
    empty = three_days[-1].with_name("2026-09-24")
    for octets in (b"", b"AAAA"):
        empty.write_bytes(octets)
        assert sign(evidence, proofs, NOON_US + 3 * DAY_US) == published(proofs)
        assert history(proofs) == [1, 2, 3, 4, 5, 6]
    driver.write(record(7))
    sign(evidence, proofs, NOON_US + 3 * DAY_US)
    assert history(proofs) == [1, 2, 3, 4, 5, 6, 7]
    assert day_paths(proofs)[-1] == empty


def test_the_newest_checkpoint_up_to_a_size(driver: LogDriver, evidence: Path, proofs: Path) -> None:
    sizes: list[int] = []
    for day in range(3):
        for _ in range(2):
            driver.write(record(len(sizes)))
            signed_now = sign(evidence, proofs, NOON_US + day * DAY_US)
            assert signed_now is not None
            sizes.append(signed_now.size)
    assert sizes == [1, 2, 3, 4, 5, 6]
    assert [newest_up_to(proofs, size).size for size in (1, 2, 3, 4, 6, 99)] == [1, 2, 3, 4, 6, 6]
    with pytest.raises(NoSuchRecord, match="nothing of the first 0 records is signed"):
        newest_up_to(proofs, 0)
