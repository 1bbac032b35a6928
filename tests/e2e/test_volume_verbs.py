"""What is made of volumes on real hosts: snapshots, clones and copies hold what was written by their moment."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import col

from core.sql import select
from core.volumes import backends, snapshots, types, volumes
from core.volumes.tables import Backend, BackendHost
from hostd.relay import STATE
from tests.e2e.cloud import Cloud
from tests.e2e.test_volumes import once, read, size, write

pytestmark = pytest.mark.e2e

GIB = 1 << 30

SECOND = f"{STATE}/second"
"""A directory of a host's."""


def test_what_was_at_a_moment_is_read_later(cloud: Cloud) -> None:
    data = cloud.add_volume("data")
    host = cloud.host_of(data)
    cloud.launch("one", host=host)
    cloud.booted("one")
    cloud.attach("one", "data")
    write(cloud, "one", data, "first")
    cloud.snapshot("data", "first", force=True)
    write(cloud, "one", data, "second")
    copy = cloud.add_volume("copy", size_gb=2, source="data")  # of a volume that a guest writes
    clone = cloud.add_volume("clone", size_gb=None, snapshot="first")
    assert (cloud.volume(copy).size_gb, cloud.volume(clone).size_gb) == (2, 1)
    write(cloud, "one", data, "third")
    cloud.succeeded(cloud.ask(volumes.extend, "data", size_gb=2).id)
    assert size(cloud, "one", data) == 2 * GIB
    once(cloud)
    assert len(cloud.snapshots(data)) == 1, "what the copy was made through is gone"

    cloud.attach("one", "copy")
    cloud.attach("one", "clone")
    assert read(cloud, "one", data) == "third"
    assert read(cloud, "one", copy) == "second"
    assert read(cloud, "one", clone) == "first"
    assert size(cloud, "one", copy) == 2 * GIB
    for name in ("data", "copy", "clone"):
        cloud.detach("one", name)

    cloud.snapshot("data", "third")
    cloud.attach("one", "data")
    write(cloud, "one", data, "fourth")
    cloud.detach("one", "data")
    cloud.succeeded(cloud.ask(volumes.revert, "data", snapshot="third").id)
    cloud.succeeded(cloud.ask(snapshots.delete, "first").id)
    cloud.attach("one", "data")
    assert read(cloud, "one", data) == "third"
    cloud.detach("one", "data")
    once(cloud)
    for name in ("data", "copy", "clone"):
        cloud.succeeded(cloud.ask(volumes.delete, name, cascade=True).id)
    assert cloud.volumes() == []
    left = {path.name for path in cloud.inside(host, f"{STATE}/volumes").rglob("*") if path.is_dir()}
    assert not left & {data, copy, clone}, "nothing is left on the host"


def test_a_volume_moves_to_another_backend(cloud: Cloud) -> None:
    data = cloud.add_volume("data")
    host = cloud.host_of(data)
    cloud.inside(host, SECOND).mkdir()
    cloud.ask(backends.create, name="second", driver="file", options={"path": SECOND})
    cloud.ask(types.create, name="second", extra_specs={"volume_backend_name": "second"})
    cloud.until(lambda: cloud.store_has(_reached("second")), "the new backend is reached")
    cloud.launch("one", host=host)
    cloud.booted("one")
    cloud.attach("one", "data")
    write(cloud, "one", data, "here")
    cloud.detach("one", "data")
    moved = cloud.ask(volumes.retype, cloud.config, "data", type="second", migration_policy="on-demand")
    cloud.succeeded(moved.id)
    cloud.attach("one", "data")
    assert read(cloud, "one", data) == "here"
    assert [path.startswith(f"{host}:{SECOND}/{data}/") for path in cloud.open_for_writing() if data in path] == [True]
    assert not list(cloud.inside(host, f"{STATE}/volumes").glob(f"*/{data}"))
    cloud.detach("one", "data")
    once(cloud)
    cloud.succeeded(cloud.ask(volumes.delete, "data").id)
    assert not (cloud.inside(host, SECOND) / data).exists()
    cloud.ask(backends.set, "second", enabled=False)  # other tests' volumes stay out of it


def _reached(backend: str) -> Any:
    return (
        select(BackendHost.host_id)
        .join(Backend, col(Backend.id) == col(BackendHost.backend_id))
        .where(col(Backend.name) == backend, col(BackendHost.reachable))
    )
