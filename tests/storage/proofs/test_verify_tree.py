"""What is signed cannot be changed, taken away, put in or moved unseen, whoever recomputed what."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.history import VerifyReport
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import CHECKPOINT_NAME, COSIGNED_NAME, day_paths, newest_with
from storage.proofs.cosigned import keep
from storage.proofs.merkle import leaf_hash, root_of
from storage.proofs.notary import TILE_NAME, Notary
from storage.proofs.note import LOG, WITNESS, Note, Signer
from storage.proofs.tiles import Tiles
from storage.proofs.verify_tree import Proofs, TreeCheck
from storage.proofs.witness import Witness
from storage.segment import SEGMENT_HEADER_OCTETS, segment_path
from storage.verify import verify
from tests.storage.scaffold import NOON_US, LogDriver, record, stored

SIGNER = Signer("hn-gw-1", LOG, bytes(range(32)))
WITNESS_SIGNER = Signer("party-a", WITNESS, bytes(range(1, 33)))
NOW_S = NOON_US // 1_000_000
DAY_US = 86_400_000_000


class Signed:
    """A log with its proofs, as files of a directory."""

    def __init__(self, directory: Path) -> None:
        self.evidence = directory / "evidence"
        self.proofs = directory / "proofs"

    def write(self, *batches: list[bytes], turn: bool = False) -> None:
        """Write batches, sign after each."""
        self.evidence.mkdir(exist_ok=True)
        with LogDriver(self.evidence) as driver:
            driver.log.recover()
            for number, batch in enumerate(batches):
                if turn and number:
                    driver.turn(*batch)
                else:
                    driver.write(*batch)
                self.sign(NOON_US + number * DAY_US)
        for spare in self.evidence.glob("spare.*"):
            spare.unlink()

    def sign(self, now_us: int = NOON_US) -> None:
        with Notary(self.evidence, self.proofs, "hn-gw-1", SIGNER) as notary:
            notary.recover()
            while notary.step(now_us):
                pass

    def published(self) -> Note:
        return Note.parse((self.proofs / CHECKPOINT_NAME).read_bytes())

    def cosign(self) -> None:
        note = self.published()
        tiles = Tiles(self.proofs / TILE_NAME, Checkpoint.parse(note.text).size)
        with Witness(self.proofs.parent / "witness", WITNESS_SIGNER) as witness:
            cosigned = witness.cosign(note, SIGNER.verifier, tiles.subtree, NOW_S)
        keep(self.proofs, cosigned.encode(), SIGNER.verifier, (WITNESS_SIGNER.verifier,))

    def verify(self) -> VerifyReport:
        proofs = Proofs(self.proofs, SIGNER.verifier, (WITNESS_SIGNER.verifier,))
        return verify(self.evidence, proofs=proofs)

    def files(self) -> Iterator[Path]:
        for directory in (self.evidence, self.proofs):
            yield from (path for path in sorted(directory.rglob("*")) if path.is_file())


def batches(*sizes: int) -> list[list[bytes]]:
    numbers = iter(range(10**9))
    return [[record(next(numbers)) for _ in range(size)] for size in sizes]


@pytest.fixture
def small(tmp_path: Path) -> Signed:
    """Nine records in two segments, four checkpoints of four days, cosigned."""
    log = Signed(tmp_path)
    log.write(*batches(2, 3, 1, 3), turn=True)
    log.cosign()
    return log


def reason(log: Signed) -> str:
    damage = log.verify().damage
    return "" if damage is None else damage.reason


def test_a_signed_log_is_sound_and_says_how_far_it_is_proven(tmp_path: Path) -> None:
    log = Signed(tmp_path)
    log.write(*batches(1, 255, 300, 1, 66_000))
    log.cosign()
    report = log.verify()
    assert report.damage is None
    proven = report.proven
    assert proven is not None
    assert (proven.checkpoints, proven.size) == (5, 66_557)
    assert proven.witnessed == {"party-a": (66_557, NOW_S)}
    assert proven.tiles == sum(1 for path in (log.proofs / TILE_NAME).rglob("*") if path.is_file())


def test_records_that_are_not_signed_yet_are_no_fault(tmp_path: Path) -> None:
    log = Signed(tmp_path)
    log.write(*batches(300))
    with LogDriver(log.evidence) as driver:
        driver.log.recover()
        driver.write(*(record(number) for number in range(300, 700)))
    report = log.verify()
    assert (report.damage, report.records) == (None, 700)
    assert report.proven is not None
    assert report.proven.size == 300
    (log.proofs / TILE_NAME / "0" / "001.p" / "44").unlink()
    assert reason(log) == "the tile is missing"


def found_out(log: Signed, path: Path) -> bool:
    """Whether verify finds that something is wrong with this file.

    Where it is the name in a witness's line, the line is that of a witness whom nobody knows: then there is
    none who has seen the log, which verify shows.
    """
    report = log.verify()
    if path.parent.name == COSIGNED_NAME and report.proven is not None and not report.proven.witnessed:
        return True
    return report.damage is not None


def test_every_flipped_octet_is_found(small: Signed) -> None:
    assert small.verify().sound
    for path in small.files():
        octets = path.read_bytes()
        if path.name in ("lock", "durable"):
            continue
        places = list(range(len(octets.rstrip(b"\0"))))
        if path.suffix == ".seg":  # its header is one block under one checksum, and zeros end the file
            places = [*range(0, SEGMENT_HEADER_OCTETS, 97), *places[SEGMENT_HEADER_OCTETS:]]
        for place in places:
            path.write_bytes(bytes([*octets[:place], octets[place] ^ 0x04, *octets[place + 1 :]]))
            assert found_out(small, path), (path, place)
        path.write_bytes(octets)


def test_every_octet_taken_out_or_put_in_is_found(small: Signed) -> None:
    for path in small.files():
        octets = path.read_bytes()
        if path.name in ("lock", "durable") or path.suffix == ".seg":
            continue
        for place in range(len(octets)):
            for wrong in (octets[:place] + octets[place + 1 :], octets[:place] + b"A" + octets[place:]):
                path.write_bytes(wrong)
                assert found_out(small, path), (path, place)
        path.write_bytes(octets + b"A")
        assert found_out(small, path), path
        path.write_bytes(octets)


def test_every_missing_file_is_found(small: Signed) -> None:
    for path in small.files():
        if path.name in ("lock", "durable") or path.parent.name == COSIGNED_NAME:
            continue
        octets = path.read_bytes()
        path.unlink()
        report = small.verify()
        first_day = path == day_paths(small.proofs)[0].with_name("2026-09-21")
        assert report.damage is not None or first_day or report.first_index > 1, path
        path.write_bytes(octets)
    assert small.verify().sound


@pytest.mark.parametrize("seed", range(40))
def test_flipped_octets_of_a_large_log_are_found(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = large(tmp_path_factory)
    chance = random.Random(seed)
    path = chance.choice([path for path in log.files() if path.name not in ("lock", "durable")])
    octets = path.read_bytes()
    end = len(octets.rstrip(b"\0"))
    place = chance.randrange(end)
    try:
        path.write_bytes(
            octets[:place] + bytes([octets[place] ^ 1 << chance.randrange(8)]) + octets[place + 1 :]
        )
        assert log.verify().damage is not None, (path, place)
    finally:
        path.write_bytes(octets)


_LARGE: list[Signed] = []


def large(factory: pytest.TempPathFactory) -> Signed:
    """Made once: 3,000 records in ten segments."""
    if not _LARGE:
        log = Signed(factory.mktemp("large"))
        log.write(*batches(*[300] * 10), turn=True)
        assert log.verify().sound
        _LARGE.append(log)
    return _LARGE[0]


def rewritten(log: Signed, change: Callable[[list[bytes]], list[bytes]], tmp_path: Path) -> None:
    """Put another history in the place of the log, with all of its chains and checksums recomputed."""
    records = change(stored(log.evidence))
    shutil.rmtree(log.evidence)
    log.evidence.mkdir()
    with LogDriver(log.evidence) as driver:
        driver.log.recover()
        driver.write(*records)


REWRITTEN: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "another record": (
        lambda records: [*records[:4], record(99), *records[5:]],
        "record 5 is not the one that was signed",
    ),
    "one taken out": (lambda records: records[:4] + records[5:], "record 5 is not the one that was signed"),
    "one put in": (
        lambda records: [*records[:4], record(99), *records[4:]],
        "record 5 is not the one that was signed",
    ),
    "two moved": (
        lambda records: [*records[:4], records[5], records[4], *records[6:]],
        "record 5 is not the one that was signed",
    ),
    "the last taken away": (lambda records: records[:-1], "records 9 to 9 were signed and are gone"),
    "all taken away but one": (lambda records: records[:1], "records 2 to 9 were signed and are gone"),
}


@pytest.mark.parametrize(("change", "why"), REWRITTEN.values(), ids=REWRITTEN)
@pytest.mark.parametrize("tiles", ["kept", "made again"])
def test_another_history_is_found_however_well_it_was_made(
    tiles: str, change: Callable[[list[bytes]], list[bytes]], why: str, small: Signed, tmp_path: Path
) -> None:
    rewritten(small, change, tmp_path)
    if tiles == "made again":
        shutil.rmtree(small.proofs / TILE_NAME)
        with Notary(small.evidence, tmp_path / "forged", "hn-gw-1", SIGNER) as notary:
            notary.step(NOON_US)
        shutil.copytree(tmp_path / "forged" / TILE_NAME, small.proofs / TILE_NAME)
        if "gone" not in why:
            why = "is not of these records: from record 3 on"
    assert why in reason(small)


def test_a_history_signed_anew_by_the_log_is_found_by_what_the_witness_has_seen(
    small: Signed, tmp_path: Path
) -> None:
    """The log's own key signs what its owner wants; the other party has seen something else."""
    rewritten(small, lambda records: [*records[:4], record(99), *records[5:]], tmp_path)
    seen = tmp_path / "seen"
    (small.proofs / COSIGNED_NAME).rename(seen)
    shutil.rmtree(small.proofs)
    small.sign()
    seen.rename(small.proofs / COSIGNED_NAME)
    assert "the log of 9 records that a witness has seen is another one" in reason(small)


def test_checkpoints_without_the_newest_are_found_by_what_the_witness_has_seen(small: Signed) -> None:
    *_, last_day = day_paths(small.proofs)
    last_day.unlink()
    text = Note.parse(next((small.proofs / COSIGNED_NAME).iterdir()).read_bytes()).text
    assert Checkpoint.parse(text).size == 9
    older = root_of([leaf_hash(octets) for octets in stored(small.evidence)[:6]])
    again = Checkpoint("hn-gw-1", 6, older).text()
    (small.proofs / CHECKPOINT_NAME).write_bytes(Note(again, (SIGNER.sign(again),)).encode())
    assert "party-a has seen 9 records, and 6 are signed here" in reason(small)


def test_the_first_segments_may_be_gone_while_their_tiles_are_there(small: Signed) -> None:
    segment_path(small.evidence, 1).unlink()
    report = small.verify()
    assert (report.damage, report.first_index) == (None, 3)
    assert report.proven is not None
    assert (report.proven.checkpoints, report.proven.size) == (4, 9)
    edge = small.proofs / TILE_NAME / "0" / "000.p" / "9"
    octets = edge.read_bytes()
    for path in edge.parent.iterdir():
        path.write_bytes(bytes([octets[0] ^ 1]) + path.read_bytes()[1:])
    assert small.verify().damage is not None


def test_of_a_witness_the_newest_word_is_kept(tmp_path: Path) -> None:
    log = Signed(tmp_path)
    log.write(*batches(3))
    log.cosign()
    older = next((log.proofs / COSIGNED_NAME).iterdir()).read_bytes()
    with LogDriver(log.evidence) as driver:
        driver.log.recover()
        driver.write(record(4))
        log.sign()
    log.cosign()
    keys = (SIGNER.verifier, (WITNESS_SIGNER.verifier,))
    assert keep(log.proofs, older, *keys) == {"party-a": 4}
    assert newest_with(log.proofs, 4)[1] == 4
    proven = log.verify().proven
    assert proven is not None
    assert proven.witnessed == {"party-a": (4, NOW_S)}


@pytest.mark.parametrize(
    "name",
    ["0/001", "0/000.p/10", "0/000.p/x", "7/000", "note", "0/x000/000", "99999999999/000", "0/" + "9" * 200],
)
def test_a_tile_that_the_tree_has_not_is_found(name: str, small: Signed) -> None:
    path = small.proofs / TILE_NAME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(8192))
    assert reason(small) in ("the tree has no such tile", "the tile is wider than the log is long")


def test_a_directory_in_the_place_of_a_file_is_named(small: Signed) -> None:
    for path in (small.proofs / TILE_NAME / "0" / "000.p" / "9", *(small.proofs / COSIGNED_NAME).iterdir()):
        octets = path.read_bytes()
        path.unlink()
        path.mkdir()
        damage = small.verify().damage
        assert damage is not None
        assert (damage.path, damage.reason) == (path, "Is a directory")
        path.rmdir()
        path.write_bytes(octets)


def test_tiles_of_records_that_are_gone_are_checked_too(tmp_path: Path) -> None:
    log = Signed(tmp_path)
    log.write(*batches(600, 10), turn=True)
    segment_path(log.evidence, 1).unlink()
    assert (log.verify().damage, log.verify().first_index) == (None, 601)
    for name in ("000", "001"):
        tile = log.proofs / TILE_NAME / "0" / name
        octets = tile.read_bytes()
        tile.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
        assert reason(log) == "the tile does not lead to the one above it"
        tile.unlink()
        assert reason(log).endswith(f"{tile} is missing")
        tile.write_bytes(octets)


def test_the_first_days_may_be_archived_whatever_a_witness_saw_then(tmp_path: Path) -> None:
    log = Signed(tmp_path)
    log.write(*batches(3))
    log.cosign()
    with LogDriver(log.evidence) as driver:
        driver.log.recover()
        driver.write(record(4))
        log.sign(NOON_US + DAY_US)
    first, _ = day_paths(log.proofs)
    first.unlink()
    report = log.verify()
    assert report.damage is None
    assert report.proven is not None
    assert (report.proven.checkpoints, report.proven.witnessed) == (1, {"party-a": (3, NOW_S)})


@pytest.mark.parametrize("moment", ["signed and not shown", "an older one is shown"])
def test_a_crash_between_signing_and_showing_is_no_fault(moment: str, tmp_path: Path) -> None:
    log = Signed(tmp_path)
    log.write(*batches(3))
    shown = (log.proofs / CHECKPOINT_NAME).read_bytes()
    with LogDriver(log.evidence) as driver:
        driver.log.recover()
        driver.write(record(4))
        log.sign()
    (log.proofs / CHECKPOINT_NAME).write_bytes(shown)
    assert log.verify().damage is None
    (log.proofs / CHECKPOINT_NAME).unlink()
    assert reason(log) == "it is missing (the next start of `jingxin ledger` writes it)"


def test_what_a_crash_left_beside_a_cosignature_is_no_fault(small: Signed) -> None:
    [kept] = (small.proofs / COSIGNED_NAME).iterdir()
    kept.with_name(f"{kept.name}.tmp").write_bytes(kept.read_bytes()[:20])
    assert small.verify().damage is None


class Meanwhile:
    """A ledger that is at work while verify looks."""

    def __init__(self, log: Signed) -> None:
        self.log = log
        self.driver = LogDriver(log.evidence)
        self.driver.log.recover()
        self.notary = Notary(log.evidence, log.proofs, "hn-gw-1", SIGNER)
        self.notary.recover()

    def signs(self, count: int) -> None:
        self.driver.write(*(record(number) for number in range(count)))
        self.notary.step(NOON_US)

    def ends(self) -> None:
        self.notary.close()
        self.driver.log.close()


@pytest.mark.parametrize("before", [100, 250, 256, 300])
@pytest.mark.parametrize("more", [20, 200, 600])
@pytest.mark.parametrize("step", ["_check_partial", "_check_at", "finish"])
def test_a_ledger_at_work_is_no_fault(
    step: str, more: int, before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles grow wider and become full, and checkpoints are added, while verify is at its work."""
    log = Signed(tmp_path)
    log.write(*batches(before))
    ledger = Meanwhile(log)
    proofs = Proofs(log.proofs, SIGNER.verifier)
    plain = getattr(TreeCheck, step)
    done: list[None] = []

    def and_the_ledger(tree: TreeCheck, *arguments: object) -> object:
        if not done:
            done.append(None)
            ledger.signs(more)
        return plain(tree, *arguments)

    monkeypatch.setattr(TreeCheck, step, and_the_ledger)
    report = verify(log.evidence, proofs=proofs)
    ledger.ends()
    assert done
    assert report.damage is None
    assert report.proven is not None
    assert report.proven.size == before


def test_a_ledger_that_goes_on_signing_is_no_fault(small: Signed) -> None:
    proofs = Proofs(small.proofs, SIGNER.verifier)
    with LogDriver(small.evidence) as driver:
        driver.log.recover()
        driver.write(record(50), record(51))
        small.sign(NOON_US + 9 * DAY_US)
        report = verify(small.evidence, proofs=proofs)
    assert report.damage is None
    assert report.proven is not None
    assert report.proven.size == 9


def test_another_key_has_signed_nothing_here(small: Signed) -> None:
    other = Signer("hn-gw-1", LOG, bytes(32)).verifier
    report = verify(small.evidence, proofs=Proofs(small.proofs, other))
    assert report.damage is not None
    assert "is not signed by hn-gw-1" in report.damage.reason
