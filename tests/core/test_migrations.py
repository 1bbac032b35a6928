"""The schema: what migrations make is what the tables say; newer ones are refused; a copy is made before an upgrade."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import text

from core import cloud, migrations
from core.compute.flavors import Flavor
from core.config import Config
from core.errors import Unavailable
from core.identity.projects import Project
from core.sql import select
from core.store import Store
from core.tables import METADATA
from tests.core.postgres import Postgres


def test_upgraded_equals_declared(store: Store) -> None:
    with store.engine.connect() as connection:
        # Defaults differ: a column that came to rows which were there needed one, and the tables fill in their own.
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_the_head_is_the_newest_migration(store: Store) -> None:
    versions = Path(migrations.__file__).parent / "versions"
    assert max(path.name[:4] for path in versions.glob("[0-9]*.py")) == cloud.HEAD
    with store.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == cloud.HEAD


def test_a_fresh_cloud_holds_its_first_objects(store: Store) -> None:
    with store.read() as session:
        assert set(session.execute(select(Project.name)).scalars()) == {"admin", "demo"}
        flavors = {
            row.name: (row.ram_mb, row.disk_gb, row.vcpus, row.ephemeral_gb, row.is_public)
            for row in session.execute(select(Flavor)).scalars()
        }
    assert flavors == {
        "m1.tiny": (512, 1, 1, 0, True),
        "m1.small": (2048, 20, 1, 0, True),
        "m1.medium": (4096, 40, 2, 0, True),
        "m1.large": (8192, 80, 4, 0, True),
        "m1.xlarge": (16384, 160, 8, 0, True),
    }


def at_version(store: Store, version: str) -> None:
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def test_a_newer_schema_is_refused(store: Store, config: Config) -> None:
    at_version(store, "9999")
    with pytest.raises(Unavailable) as refused:
        cloud.open_store(config)
    assert refused.value.title == f"the database is newer (9999) than this skydeck ({cloud.HEAD})"


def test_a_copy_is_made_before_an_upgrade(tmp_path: Path) -> None:
    config = Config(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'skydeck.db'}")
    store = cloud.open_store(config)
    at_version(store, "0000")  # still in the WAL: the copy must have it all the same
    with pytest.raises(CommandError, match="0000"):
        cloud.migrate(store)
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / f"skydeck.db.before-{cloud.HEAD}")) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == ("0000",)
        assert copy.execute("SELECT count(*) FROM flavor").fetchone() == (5,)


def test_a_first_opening_that_was_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema and the first objects come together or not at all."""
    config = Config(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'skydeck.db'}")

    def cut(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cloud, "fill", cut)
        with pytest.raises(KeyboardInterrupt):
            cloud.open_store(config)
    store = cloud.open_store(config)
    with store.read() as session:
        assert cloud.identity(session)
    store.close()


def _open(home: Path, url: str, results: multiprocessing.Queue[str]) -> None:
    try:
        store = cloud.open_store(Config(home=home, database_url=url))
        with store.read() as session:
            results.put(cloud.identity(session))
        store.close()
    except BaseException as bad:
        results.put(f"failed: {bad!r}"[:300])
        raise


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_first_commands_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'skydeck.db'}"
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.create())
    forking = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = forking.Queue()
    processes = [forking.Process(target=_open, args=(tmp_path, url, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1, found
    assert "failed" not in found.pop()
