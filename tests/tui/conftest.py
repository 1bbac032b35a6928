"""A seeded cloud for each test, copied from one made once: migrations take longer than most tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import cloud
from core.config import Config
from core.store import Store
from tests.tui import seed


@pytest.fixture(scope="session")
def seeded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("seeded")
    _, store, ctx = seed.fresh(home)
    seed.populate(store, ctx)
    store.checkpoint()
    store.close()
    return home


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("empty")
    _, store, _ = seed.fresh(home)
    store.checkpoint()
    store.close()
    return home


def _copied(source: Path, home: Path) -> Iterator[tuple[Config, Store]]:
    shutil.copytree(source, home, dirs_exist_ok=True)
    config = seed.config(home)
    store = cloud.open_store(config, clock=seed.frozen_clock(11))
    yield config, store
    store.close()


@pytest.fixture
def seeded(seeded_home: Path, tmp_path: Path) -> Iterator[tuple[Config, Store]]:
    """24 instances in every state on three hosts, at a frozen moment."""
    yield from _copied(seeded_home, tmp_path / "home")


@pytest.fixture
def empty(empty_home: Path, tmp_path: Path) -> Iterator[tuple[Config, Store]]:
    """A cloud as the first start finds it."""
    yield from _copied(empty_home, tmp_path / "home")
