"""Images on real hosts: a running guest becomes one that boots elsewhere, a volume does, and an object store keeps
them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio

from core.compute.instances import snapshots
from core.compute.instances.block_devices import MAPPING, BlockDevice
from core.images import bring, caching, images
from core.images.fanout import SMALLEST
from core.images.images import Image
from core.images.stores import Stores
from core.sql import select
from core.volumes import upload
from core.volumes.tables import CachedImageRow
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import EAST, SETTINGS, WEST
from tests.lab.ceph import Ceph
from tests.lab.guest import GuestImage

pytestmark = pytest.mark.e2e


def image(cloud: Cloud, name: str) -> Image:
    return cloud.row(images.find, name)


def held(cloud: Cloud, name: str) -> set[str]:
    """Hosts that hold the image, as their caches say."""
    digest = image(cloud, name).digest
    seen = cloud.observe()
    return {
        host
        for host in cloud.hosts
        if any(one.digest == digest and one.verified for one in seen[cloud.host(host).id].images)
    }


def nothing_left(cloud: Cloud) -> None:
    """No half of an image, here or on a host, and no export."""
    assert Stores(cloud.config).files.usage().partials == 0
    for host in cloud.hosts:
        assert list(cloud.inside(host, "/var/lib/skydeck/exports").glob("*")) == []
    assert cloud.verify() == []


def test_a_running_guest_becomes_an_image_that_boots_elsewhere(cloud: Cloud) -> None:
    cloud.launch("one", host=EAST)
    cloud.booted("one")
    cloud.sh("one", "echo kept > /kept; sync")
    made, operation = cloud.ask(snapshots.create_image, cloud.config, "one", name="taken")
    cloud.succeeded(operation.id)
    taken = image(cloud, "taken")
    assert (taken.status, taken.instance_id) == ("active", cloud.instance("one").id)
    assert (taken.properties["kernel_id"], taken.id) == (image(cloud, "tiny-kernel").id, made.id)
    assert cloud.status("one") == "ACTIVE"
    assert cloud.sh("one", "cat /kept") == "kept", "the guest has gone on meanwhile"
    nothing_left(cloud)

    for operation in cloud.ask(caching.prefetch, "taken"):
        cloud.succeeded(operation.id)
    assert held(cloud, "taken") == {EAST, WEST}
    cloud.launch("two", host=WEST, image="taken")
    cloud.booted("two")
    assert cloud.sh("two", "cat /kept") == "kept"

    # What nobody stands on is pruned, what is pinned is not, and what a guest stands on neither.
    cloud.ask(caching.pin, "tiny-kernel", hosts=[WEST])
    for host in (EAST, WEST):
        cloud.succeeded(cloud.ask(caching.prune, host).id)
    assert held(cloud, "taken") == {WEST}
    cloud.delete("two")
    cloud.succeeded(cloud.ask(caching.prune, WEST).id)
    assert held(cloud, "taken") == set()
    assert WEST in held(cloud, "tiny-kernel")
    cloud.ask(caching.unpin, "tiny-kernel")

    cloud.power("one", "stop")
    made, operation = cloud.ask(snapshots.create_image, cloud.config, "one", name="still")
    cloud.succeeded(operation.id)
    cloud.launch("three", host=WEST, image="still")
    cloud.booted("three")
    assert cloud.sh("three", "cat /kept") == "kept"
    for name in ("taken", "still"):
        bring.remove(cloud.store, cloud.config, cloud.ctx, name)


def test_a_guest_on_a_volume_becomes_snapshots_that_boot(cloud: Cloud) -> None:
    root = BlockDevice(
        source_type="image", uuid="tiny", destination_type="volume", boot_index=0, size_gb=1, delete_on_termination=True
    )
    cloud.launch("one", host=EAST, image=None, block_devices=(root,))
    cloud.booted("one")
    cloud.sh("one", "echo kept > /kept; sync")
    made, operation = cloud.ask(snapshots.create_image, cloud.config, "one", name="mapped")
    cloud.succeeded(operation.id)
    assert (image(cloud, "mapped").size, made.digest) == (0, None)
    assert MAPPING in image(cloud, "mapped").properties
    cloud.sh("one", "echo changed > /kept; sync")
    cloud.launch("two", image="mapped")
    cloud.booted("two")
    assert cloud.sh("two", "cat /kept") == "kept"
    nothing_left(cloud)
    bring.remove(cloud.store, cloud.config, cloud.ctx, "mapped")


def test_a_volume_becomes_an_image_that_boots(cloud: Cloud, tmp_path: Path) -> None:
    data = cloud.add_volume("data", size_gb=1, image="tiny")
    copied, operation = cloud.ask(upload.upload, cloud.config, "data", image_name="copied")
    cloud.succeeded(operation.id)
    assert cloud.volume(data).status == "available"
    cloud.launch("one", image="copied", host=cloud.host_of(data))
    cloud.booted("one")
    cloud.attach("one", "data")
    cloud.sh(
        "one", f"echo live | dd of=/dev/$(grep -l {data[:20]} /sys/block/*/serial | cut -d/ -f4) conv=fsync,notrunc"
    )
    forced, operation = cloud.ask(
        upload.upload, cloud.config, "data", image_name="forced", disk_format="raw", force=True
    )
    cloud.succeeded(operation.id)
    assert cloud.volume(data).status == "in-use"
    with Stores(cloud.config).path(str(image(cloud, "forced").digest)).open("rb") as file:
        assert file.read(4) == b"live"
    nothing_left(cloud)
    # What pretends to be an image with a file of the controller's behind it stays a disk, or is none.
    trap = tmp_path / "trap"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", str(trap), "1M"], check=True
    )
    header = "".join(f"\\x{byte:02x}" for byte in trap.read_bytes()[:104])
    cloud.sh(
        "one",
        f"printf '{header}' | dd of=/dev/$(grep -l {data[:20]} /sys/block/*/serial | cut -d/ -f4) conv=fsync,notrunc",
    )
    refused, operation = cloud.ask(
        upload.upload, cloud.config, "data", image_name="trap", disk_format="raw", force=True
    )
    assert cloud.ended(operation.id).state == "failed"
    killed = image(cloud, "trap")
    assert (killed.status, killed.digest) == ("killed", None)
    assert "qcow2" in killed.error
    nothing_left(cloud)
    for name in ("copied", "forced", "trap"):
        bring.remove(cloud.store, cloud.config, cloud.ctx, name)
    assert {copied.id, forced.id, refused.id}


@pytest.fixture
def object_store(cloud: Cloud, tmp_path: Path) -> Iterator[Cloud]:
    """The cloud with a real S3 service as the store of new images."""
    with Ceph(tmp_path / "ceph") as ceph:
        s3 = ceph.s3()
        client = Minio(
            s3.endpoint.partition("://")[2], access_key=s3.access_key, secret_key=s3.secret_key, secure=False
        )
        client.make_bucket("images")
        keys = tmp_path / "keys.toml"
        keys.write_text(f'access_key = "{s3.access_key}"\nsecret_key = "{s3.secret_key}"\n')
        keys.chmod(0o600)
        options = {"driver": "s3", "endpoint": s3.endpoint, "bucket": "images", "secret_file": str(keys)}
        settings = {f"image_stores.ceph.{key}": f'"{value}"' for key, value in options.items()}
        cloud.configure(**SETTINGS, **settings, image_store='"ceph"')  # type: ignore[arg-type]
        try:
            cloud.restart_engine()
            yield cloud
        finally:
            cloud.configure(**SETTINGS)
            cloud.restart_engine()


def test_a_guest_boots_from_an_image_in_an_object_store(object_store: Cloud, guest_image: GuestImage) -> None:
    cloud = object_store
    parts = {key: image(cloud, "tiny").properties[key] for key in ("kernel_id", "ramdisk_id", "os_command_line")}
    with cloud.store.write() as session:
        row = bring.start(
            session, cloud.ctx, name="far", disk_format="qcow2", path=guest_image.disk, properties={**parts, "x": "y"}
        )
    # Other bytes than the cloud's own image, or nothing would have to be fetched.
    bring.bring(cloud.store, cloud.config, cloud.ctx, row.id, path=guest_image.disk)
    far = image(cloud, "far")
    assert (far.status, far.store) == ("active", "ceph")
    stores = Stores(cloud.config)
    assert stores.holds(str(far.digest), "ceph")
    cloud.launch("one", host=EAST, image="far")
    cloud.booted("one")
    made, operation = cloud.ask(snapshots.create_image, cloud.config, "one", name="taken")
    cloud.succeeded(operation.id)
    taken = image(cloud, "taken")
    assert (taken.store, stores.holds(str(taken.digest), "ceph"), made.id) == ("ceph", True, taken.id)
    # A controller that has nothing at hand fetches it for the host.
    shutil.rmtree(cloud.config.home / "image-cache")
    assert not stores.files.holds(str(taken.digest))
    cloud.launch("two", host=WEST, image="taken")
    cloud.booted("two")
    with cloud.store.read() as session:
        rows = session.execute(select(CachedImageRow)).scalars().all()
    assert {row.host_id for row in rows if row.digest == taken.digest} <= {cloud.host(WEST).id}
    cloud.clear()
    for name in ("far", "taken"):
        bring.remove(cloud.store, cloud.config, cloud.ctx, name)
    assert not stores.holds(str(taken.digest), "ceph")


def test_a_host_gives_an_image_to_another(cloud: Cloud, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        for _ in range(SMALLEST >> 20):
            file.write(os.urandom(1 << 20))
    cloud.add_image("large", large, disk_format="raw")
    digest = str(image(cloud, "large").digest)
    (first,) = cloud.ask(caching.prefetch, "large", hosts=[EAST])
    cloud.succeeded(first.id)
    # The controller has it no more: only a host can give it.
    Stores(cloud.config).files.delete(digest)
    keys = cloud.inside(EAST, "/root/.ssh/authorized_keys")
    before = keys.read_text()
    (second,) = cloud.ask(caching.prefetch, "large", hosts=[WEST])
    cloud.succeeded(second.id)
    assert held(cloud, "large") == {EAST, WEST}
    assert keys.read_text() == before, "the key is gone with the copy"
    assert list(cloud.inside(WEST, "/var/lib/skydeck/images/peers").glob("[0-9a-f]*")) == []
    bring.remove(cloud.store, cloud.config, cloud.ctx, "large")
    for host in (EAST, WEST):
        cloud.succeeded(cloud.ask(caching.prune, host).id)
