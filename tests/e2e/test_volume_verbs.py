"""What is made of volumes on real hosts: snapshots, clones and copies hold what was written by their moment."""

from __future__ import annotations

import pytest

from core.volumes import snapshots, volumes
from hostd.relay import STATE
from tests.e2e.cloud import Cloud
from tests.e2e.test_volumes import once, read, size, write

pytestmark = pytest.mark.e2e

GIB = 1 << 30


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
