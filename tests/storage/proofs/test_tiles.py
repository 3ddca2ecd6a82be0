"""The tree on disk: laid out as the specification says, read back, and grown on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.proofs.merkle import leaf_hash, root_of, tree_root
from storage.proofs.tiles import WIDTH, StoredTree, TileMissing, Tiles, tile_path

LEAVES = [leaf_hash(b"%d" % number) for number in range(70_000)]


@pytest.mark.parametrize(
    ("place", "width", "name"),
    [
        (0, WIDTH, "000"),
        (7, 12, "007.p/12"),
        (999, WIDTH, "999"),
        (1_000, WIDTH, "x001/000"),
        (1_234_067, WIDTH, "x001/x234/067"),  # the example of C2SP tlog-tiles
        (1_234_067, 255, "x001/x234/067.p/255"),
    ],
)
def test_a_tile_has_the_name_that_the_specification_gives_it(place: int, width: int, name: str) -> None:
    assert tile_path(Path("tile"), 3, place, width) == Path("tile/3") / name


def files(directory: Path) -> dict[str, int]:
    """The tiles there are, with their hashes."""
    return {
        str(path.relative_to(directory)): path.stat().st_size // 32
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_tree_of_70_000_has_the_tiles_that_the_specification_counts(tmp_path: Path) -> None:
    tree = StoredTree(tmp_path)
    tree.extend(LEAVES)
    tree.save()
    assert tree.root() == root_of(LEAVES)
    expected = {f"0/{place:03d}": 256 for place in range(273)}
    expected |= {"0/273.p/112": 112, "1/000": 256, "1/001.p/17": 17, "2/000.p/1": 1}
    assert files(tmp_path) == expected


SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_is_read_back_and_grows_on(size: int, tmp_path: Path) -> None:
    tree = StoredTree(tmp_path)
    tree.extend(LEAVES[:size])
    tree.save()
    again = StoredTree.load(tmp_path, size)
    assert again.root() == tree.root() == root_of(LEAVES[:size])
    assert tree_root(size, Tiles(tmp_path, size).subtree) == tree.root()
    for more in (LEAVES[size : size + 1], LEAVES[size + 1 : size + 300]):
        again.extend(more)
        assert again.root() == root_of(LEAVES[: again.size])


def test_roots_along_the_way_are_those_of_trees_built_at_once(tmp_path: Path) -> None:
    tree = StoredTree(tmp_path)
    for size in range(1, 700):
        tree.extend(LEAVES[size - 1 : size])
        assert tree.root() == root_of(LEAVES[:size])


def test_what_was_written_of_a_tile_goes_when_it_is_full(tmp_path: Path) -> None:
    tree = StoredTree(tmp_path)
    for size in (3, 200, 256, 300):
        tree.extend(LEAVES[tree.size : size])
        tree.save()
    assert files(tmp_path) == {"0/000": 256, "0/001.p/44": 44, "1/000.p/1": 1}


def test_a_smaller_tree_is_read_from_tiles_that_have_become_full(tmp_path: Path) -> None:
    tree = StoredTree(tmp_path)
    tree.extend(LEAVES[:600])
    tree.save()
    assert tree_root(500, Tiles(tmp_path, 500).subtree) == root_of(LEAVES[:500])


@pytest.mark.parametrize("name", ["0/001", "0/002.p/88", "1/000.p/2"])
@pytest.mark.parametrize("octets", [None, 31, 32])
def test_a_tile_that_is_missing_or_too_short_is_named(name: str, octets: int | None, tmp_path: Path) -> None:
    tree = StoredTree(tmp_path)
    tree.extend(LEAVES[:600])
    tree.save()
    if octets is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(bytes(octets))
    tiles = Tiles(tmp_path, 600)
    with pytest.raises(TileMissing, match=name):
        [tiles.subtree(0, place) for place in (0, 256, 512)] + [tiles.subtree(8, 0)]
