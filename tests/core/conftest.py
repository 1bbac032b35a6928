"""Fixtures of core's tests: every test that asks for `world` or `store` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import cloud
from core.config import Config
from core.identity import policy
from core.store import Store
from tests.core import postgres as pg
from tests.core.postgres import MEMORY, Postgres
from tests.core.world import World

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for this session. Skips where PostgreSQL is not installed."""
    if not pg.available():
        pytest.skip("PostgreSQL is not installed")
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh cloud's database file, to be copied: migrating once is enough."""
    home = tmp_path_factory.mktemp("template")
    config = Config(home=home, database_url=f"sqlite:///{home / 'skydeck.db'}")
    store = cloud.open_store(config)
    store.checkpoint()
    store.close()
    return home / "skydeck.db"


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, as a database's name."""
    name = postgres.create()
    cloud.open_store(Config(home=tmp_path_factory.mktemp("pg"), database_url=postgres.url(name))).close()
    return name


def fresh_database(request: pytest.FixtureRequest, home: Path) -> str:
    """The URL of a new cloud's database of the kind that `request.param` names."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), home / "skydeck.db")
        return f"sqlite:///{home / 'skydeck.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.create(template=request.getfixturevalue("postgres_template")))


@pytest.fixture
def home() -> Iterator[Path]:
    """The cloud's data directory, in memory where that is possible: these tests commit thousands of times."""
    with tempfile.TemporaryDirectory(prefix="sky-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as home:
        yield Path(home)


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, home: Path) -> str:
    return fresh_database(request, home)


@pytest.fixture
def config(home: Path, database_url: str) -> Config:
    return Config(home=home, database_url=database_url)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    store = cloud.open_store(config)
    yield store
    store.close()


@pytest.fixture
def world(config: Config, store: Store) -> World:
    return World(config, store)


@pytest.fixture(autouse=True)
def _code_policy() -> Iterator[None]:
    """Overrides that a test loaded do not reach the next."""
    yield
    policy.load_file(Path("/nonexistent"))
