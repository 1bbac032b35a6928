"""Volumes and servers made into images by the engine, over hosts in memory and with the real qemu-img; and what hosts
hold of images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.compute.instances import snapshots
from core.compute.instances import volumes as guests
from core.compute.instances.block_devices import MAPPING, BlockDevice
from core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from core.identity import quotas
from core.images import bring, caching, images
from core.images.images import Image
from core.images.stores import ImageStore
from core.operations import operations
from core.volumes import upload
from core.volumes.tables import CachedImageRow, Snapshot, Volume
from hostd.spec import ErrorCode, HostError
from tests.core.operations.rig import Rig, running
from tests.core.volumes.stock import Stock
from tests.core.world import GIB, MIB, World


@pytest.fixture
def database_url(home: Path, request: pytest.FixtureRequest) -> str:
    """SQLite alone: what PostgreSQL could do otherwise, the verbs' own tests see."""
    shutil.copy(request.getfixturevalue("sqlite_template"), home / "skydeck.db")
    return f"sqlite:///{home / 'skydeck.db'}"


@pytest.fixture
def stock(world: World) -> Stock:
    return Stock(world)


class Bench:
    """A rig, its stock, and what is left behind."""

    def __init__(self, rig: Rig, stock: Stock) -> None:
        self.rig, self.stock, self.world = rig, stock, rig.world
        self.files = ImageStore(rig.world.config.images_dir)

    async def volume(self, data: bytes = b"", **asked: Any) -> Volume:
        volume, operation = self.stock.create(**asked)
        assert (await self.rig.ended(operation)).state == "succeeded"
        if data:
            found = next(self.rig.hosts["h1"].fake.pools.own.glob(f"*/{volume.id}/data"))
            with found.open("r+b") as file:
                file.write(data)
        return self.stock.volume(volume.id)

    def ask(self, verb: Any, *args: Any, **asked: Any) -> Any:
        with self.world.store.write() as session:
            return verb(session, self.world.admin, *args, **asked)

    async def made(self, verb: Any, *args: Any, state: str = "succeeded", **asked: Any) -> Image:
        """Ask for an image, and have it as it is when the operation has ended."""
        image, operation = self.ask(verb, self.world.config, *args, **asked)
        assert image.status == "saving"
        ended = await self.rig.ended(operation)
        assert ended.state == state, ended.error
        return self.image(image.id)

    def image(self, id: str) -> Image:
        with self.world.store.read() as session:
            return session.get_one(Image, id)

    def contents(self, image: Image, tmp_path: Path) -> bytes:
        raw = tmp_path / "raw"
        kind = {"vhd": "vpc"}.get(image.disk_format, image.disk_format)
        path = self.files.path(str(image.digest))
        subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", str(path), str(raw)], check=True)
        with raw.open("rb") as file:
            return file.read(4 * MIB)

    def check_clean(self, *, stored: int) -> None:
        """Nothing of the way is left: here, or on the host."""
        assert (self.files.usage().images, self.files.usage().partials) == (stored, 0)
        assert [row.status for row in self.world.rows(Snapshot) if row.hidden and not row.deleted_at] == []
        for link in self.rig.hosts.values():
            assert list(Path(link.fake.pools.own).parent.glob("exports/*")) == []


DATA = os.urandom(MIB)


@pytest.mark.parametrize("disk_format", ["raw", "qcow2", "vhdx"])
async def test_a_volume_becomes_an_image(world: World, stock: Stock, tmp_path: Path, disk_format: str) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        volume = await bench.volume(DATA, image="tiny")
        image = await bench.made(upload.upload, volume.id, image_name="copy", disk_format=disk_format)
        assert (image.status, image.disk_format, image.virtual_size) == ("active", disk_format, GIB)
        assert (image.source, image.visibility) == (f"volume {volume.id}", "private")
        assert "image_id" not in image.properties
        assert bench.contents(image, tmp_path)[: len(DATA)] == DATA
        assert stock.volume(volume.id).status == "available"
        bench.check_clean(stored=1)


async def test_a_volume_in_use_is_read_as_it_was_at_one_moment(world: World, stock: Stock, tmp_path: Path) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        volume = await bench.volume(DATA)
        await rig.create(name="web")
        await rig.ended(bench.ask(guests.attach, world.config, "web", volume=volume.id))
        with pytest.raises(Conflict, match="in-use"):
            bench.ask(upload.upload, world.config, volume.id, image_name="copy")
        image = await bench.made(upload.upload, volume.id, image_name="copy", force=True)
        assert bench.contents(image, tmp_path)[: len(DATA)] == DATA
        assert stock.volume(volume.id).status == "in-use"
        assert len([row for row in world.rows(Snapshot) if row.hidden]) == 1
        bench.check_clean(stored=1)


async def test_what_may_be_uploaded(world: World, stock: Stock) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        volume = await bench.volume()
        with pytest.raises(Invalid, match="'aki'"):
            bench.ask(upload.upload, world.config, volume.id, image_name="x", disk_format="aki")
        other = world.someone("member")
        reader = world.someone("reader", project="admin")
        with world.store.write() as session:
            with pytest.raises(NotFound):
                upload.upload(session, other, world.config, volume.id, image_name="x")
            with pytest.raises(Forbidden):
                upload.upload(session, reader, world.config, volume.id, image_name="x")
            quotas.update(session, world.admin, world.admin.project_id, "admin", {"image_size": MIB})
        with pytest.raises(Invalid, match="at most"):
            bench.ask(upload.upload, world.config, volume.id, image_name="x")
        assert stock.volume(volume.id).status == "available"
        assert [row.name for row in world.rows(Image)] == ["tiny"]


def hostile(tmp_path: Path) -> dict[str, bytes]:
    """What a guest may write onto its disk in the hope that somebody believes it."""

    def made(kind: str, *options: str) -> bytes:
        path = tmp_path / kind
        subprocess.run(["qemu-img", "create", "-q", "-f", kind, *options, str(path), "8M"], check=True)
        data = path.read_bytes()
        path.unlink()
        return data

    backed = made("qcow2", "-o", "backing_file=/etc/shadow,backing_fmt=raw", "-u")
    outside = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/shadow" 0\n'
    return {"qcow2": made("qcow2"), "backing file": backed, "vmdk": made("vmdk"), "vdi": made("vdi"), "extent": outside}


async def test_a_disk_that_pretends_to_be_an_image_is_refused(world: World, stock: Stock, tmp_path: Path) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        for what, data in hostile(tmp_path).items():
            volume = await bench.volume(data)
            image = await bench.made(upload.upload, volume.id, image_name=what, disk_format="raw", state="failed")
            assert (image.status, image.digest) == ("killed", None), what
            assert image.error
            after = stock.volume(volume.id)
            assert after.status == "available"
            assert after.fault is not None
            bench.check_clean(stored=0)
        # Inside an image of ours it is what it is: bytes of a disk.
        image = await bench.made(upload.upload, volume.id, image_name="inside", disk_format="qcow2")
        assert bench.contents(image, tmp_path)[: len(data)] == data


async def test_a_failure_kills_the_image_and_leaves_nothing(
    world: World,
    stock: Stock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        volume = await bench.volume(DATA)
        await rig.create(name="web")
        host = rig.hosts["h1"].fake
        host.fail_next("export", HostError(ErrorCode.STORAGE, "the disk is on fire"))
        image = await bench.made(snapshots.create_image, "web", name="i", state="failed")
        assert image.status == "killed"
        assert "fire" in image.error
        assert (world.instance("web").vm_state, world.instance("web").task_state) == ("active", None)
        monkeypatch.setattr("core.images.convert.MEMORY", 1 << 20)  # qemu-img cannot even start
        image = await bench.made(upload.upload, volume.id, image_name="i", state="failed")
        assert "could not be made" in image.error
        assert stock.volume(volume.id).status == "available"
        image = await bench.made(snapshots.create_image, "web", name="i", state="failed")
        assert image.status == "killed"
        monkeypatch.undo()

        def full(directory: Path) -> None:
            raise Unavailable("only 1 MiB left", hint="Free some space.")

        monkeypatch.setattr("core.images.unpack.check_room", full)
        image = await bench.made(upload.upload, volume.id, image_name="i", state="failed")
        assert "no room" in image.error
        bench.check_clean(stored=0)


async def test_a_server_becomes_an_image(world: World, stock: Stock, tmp_path: Path) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        bench.ask(images.set, "tiny", properties={"os_type": "linux"}, min_ram_mb=64)
        instance = await rig.create(name="web")
        held = rig.hosts["h1"].fake.hold("export")
        image, operation = bench.ask(snapshots.create_image, world.config, "web", name="i", properties={"a": "b"})
        rig.engine.wake()
        assert world.instance("web").task_state == "image_snapshot"
        with pytest.raises(Conflict, match="busy"):
            bench.ask(snapshots.create_image, world.config, "web", name="again")
        held.set()
        assert (await rig.ended(operation)).state == "succeeded"
        shown = world.instance("web")
        assert (shown.vm_state, shown.task_state, shown.want) == ("active", None, "running")
        image = bench.image(image.id)
        assert (image.status, image.instance_id, image.min_ram_mb) == ("active", instance.id, 64)
        assert image.min_disk_gb == instance.root_gb
        assert image.properties == {
            "a": "b",
            "os_type": "linux",
            "image_type": "snapshot",
            "instance_uuid": instance.id,
            "base_image_ref": instance.image_id,
            "user_id": world.admin.user_id,
        }
        assert bench.contents(image, tmp_path)[:5] == b"bytes"
        bench.check_clean(stored=1)
        await rig.ended(world.power("stop"))
        again = await bench.made(snapshots.create_image, "web", name="stopped")
        assert again.digest == image.digest or again.virtual_size == image.virtual_size
        with world.store.write() as session:
            bring_delete = images.delete(session, world.admin, "i")
        assert bring_delete.status == "deleted"


async def test_a_server_on_a_volume_becomes_a_list_of_snapshots(world: World, stock: Stock) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        root = BlockDevice(source_type="image", uuid="tiny", destination_type="volume", boot_index=0, size_gb=2)
        await rig.create(name="web", image=None, block_devices=(root,))
        data = await bench.volume(name="more")
        await rig.ended(bench.ask(guests.attach, world.config, "web", volume=data.id))
        image = await bench.made(snapshots.create_image, "web", name="i")
        assert (image.status, image.size, image.digest) == ("active", 0, None)
        assert (image.properties["bdm_v2"], image.properties["root_device_name"]) == ("True", "/dev/vda")
        mapping = json.loads(image.properties[MAPPING])
        taken = {row.id: row for row in world.rows(Snapshot)}
        assert [(one["boot_index"], one["volume_size"]) for one in mapping] == [(0, 2), (None, 1)]
        assert {taken[one["snapshot_id"]].status for one in mapping} == {"available"}
        assert {row.hidden for row in taken.values()} == {False}
        bench.check_clean(stored=0)
        copy = await rig.create(name="copy", image="i")
        assert copy.vm_state == "active"
        assert copy.root_gb == 0


async def test_a_cancel_kills_the_image(world: World, stock: Stock) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        await rig.create(name="web")
        held = rig.hosts["h1"].fake.hold("export")
        image, operation = bench.ask(snapshots.create_image, world.config, "web", name="i")
        rig.engine.wake()
        await rig.until(lambda: world.operation(operation.id).step == "freeze")
        bench.ask(operations.cancel, operation.id)
        held.set()
        assert (await rig.ended(operation)).state == "cancelled"
        assert bench.image(image.id).status == "killed"
        assert world.instance("web").task_state is None
        bench.check_clean(stored=0)


# ---------------------------------------------------------------------------- caches


async def test_images_are_brought_to_hosts_kept_there_and_pruned(world: World) -> None:
    async with running(world, hosts=2) as rig:
        digest = str(next(row for row in world.rows(Image)).digest)

        def rows() -> dict[str, tuple[bool, bool]]:
            names = {link.id: name for name, link in rig.hosts.items()}
            return {names[row.host_id]: (row.present, row.pinned) for row in world.rows(CachedImageRow)}

        def ask(verb: Any, *args: Any, **more: Any) -> Any:
            with world.store.write() as session:
                return verb(session, world.admin, *args, **more)

        member = world.someone("member")
        with world.store.write() as session, pytest.raises(Forbidden):
            caching.prefetch(session, member, "tiny")
        asked = ask(caching.prefetch, "tiny")
        assert ask(caching.prefetch, "tiny") == [], "they are on their way"
        assert [(await rig.ended(one)).state for one in asked] == ["succeeded"] * 2
        assert rows() == {"h1": (True, False), "h2": (True, False)}
        assert ask(caching.prefetch, "tiny") == []
        assert ask(caching.pin, "tiny", hosts=["h1"]) == []
        for host in ("h1", "h2"):
            await rig.ended(ask(caching.prune, host))
        assert rows() == {"h1": (True, True)}
        held = {name: [image.digest for image in link.fake.images.images()] for name, link in rig.hosts.items()}
        assert held == {"h1": [digest], "h2": []}
        # Somebody emptied the directory: what is pinned comes back by itself.
        rig.hosts["h1"].fake.images.prune(0, ())
        rig.hosts["h1"].knows_images(set())
        with world.store.write() as session:
            caching.observed(session, rig.hosts["h1"].id, [])
        assert rows() == {"h1": (False, True)}
        await rig.idle()
        assert rows() == {"h1": (True, True)}
        ask(caching.unpin, "tiny")
        await rig.ended(ask(caching.prune, "h1"))
        assert rows() == {}


def test_the_bytes_of_a_volume_s_image_stay_while_it_is_filled(world: World, stock: Stock) -> None:
    host = world.host()
    stock.seen("local", host)
    world.image("disk", data=b"data")
    files = ImageStore(world.config.images_dir)
    (world.config.home / "data").write_bytes(b"data")
    digest = files.put_file(world.config.home / "data").digest
    volume, _ = stock.create(image="disk")
    with world.store.write() as session:
        images.delete(session, world.admin, "disk")
    assert bring.sweep(world.store, world.config) == 0
    stock.put(volume.id, status="available")
    assert bring.sweep(world.store, world.config) == 1
    assert not files.holds(digest)
