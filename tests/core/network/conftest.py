"""Fixtures of networking's tests."""

from __future__ import annotations

import pytest

from tests.core.network.land import Land
from tests.core.world import World


@pytest.fixture
def land(world: World) -> Land:
    return Land(world)
