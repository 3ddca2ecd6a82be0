"""One sealer for all worlds: making its keys costs syncs, and worlds do not share content."""

import pytest

from storage.seal import Sealer
from tests.gateway.world import World, new_sealer


@pytest.fixture(scope="session")
def sealer(tmp_path_factory: pytest.TempPathFactory) -> Sealer:
    return new_sealer(tmp_path_factory.mktemp("evidence"))


@pytest.fixture
def world(sealer: Sealer) -> World:
    """One account, one carrier with one link; nobody is bound."""
    return World(sealer)
