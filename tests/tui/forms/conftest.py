"""A cloud that the tests of forms share: forms are rehearsed in it, so that it stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from core.config import Config
from core.identity import projects, quotas
from core.store import Store
from core.volumes.tables import Backup
from tests.tui import seed


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Store]]:
    """Eight instances and what they need, with room for more."""
    config, store, ctx = seed.fresh(tmp_path_factory.mktemp("forms"))
    seed.populate(store, ctx, instances=8)
    with store.write() as session:
        limits = {"instances": 40, "cores": 80, "ram": 200_000, "volumes": 40, "gigabytes": 4000}
        session.execute(update(Backup).values(manifest="0" * 64))
        projects.create(session, ctx, name="other")
        quotas.update(session, ctx, ctx.project_id, ctx.project_name, limits)
    # Where the seeded backups are.
    yield dataclasses.replace(config, backups={"main": {"type": "file", "path": str(config.home / "main")}}), store
    store.close()
