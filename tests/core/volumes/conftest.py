"""Every test of volumes has places to keep them in."""

from __future__ import annotations

import pytest

from tests.core.volumes.stock import Stock
from tests.core.world import World


@pytest.fixture
def stock(world: World) -> Stock:
    return Stock(world)
