"""Worlds for tests: one for a test, or one that the tests of a module share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.world import World

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a world with the arguments of World; all of them end with the test."""
    worlds: list[World] = []

    def make(*arguments: object, **options: object) -> World:
        directory = tmp_path / str(len(worlds))
        directory.mkdir()
        worlds.append(World(directory, *arguments, **options))  # type: ignore[arg-type]
        return worlds[-1]

    yield make
    for world in reversed(worlds):
        world.end()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A gateway that is ready, in a world of its own."""
    world = make_world()
    world.start()
    return world


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway that is ready, for all tests of the module."""
    with World(tmp_path_factory.mktemp("world")) as world:
        world.start()
        yield world
