"""Backups of real volumes, written by real guests: whole, what changed, in use, restored, damaged, full, and proven."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col

from core import config
from core.compute.instances.block_devices import BlockDevice
from core.errors import Conflict
from core.operations.operations import Operation
from core.sql import select
from core.volumes import backups
from core.volumes.tables import Backup, Volume
from tests.e2e.cloud import NANO, Cloud
from tests.e2e.conftest import SETTINGS
from tests.e2e.test_volumes import device

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

MIB = 1 << 20
SMALL = 24
"""MiB of the repository that is too small."""

SETTING = """
drill_flavor = "{flavor}"
drill_timeout = 120
[backups.main]
driver = "file"
path = "{folder}/main"
[backups.small]
driver = "file"
path = "{folder}/small"
"""


class Desk:
    """A cloud with repositories of its own."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.main, self.small = folder / "main", folder / "small"

    def start(self, volume: str, **asked: Any) -> tuple[Backup, Operation]:
        with self.cloud.store.write() as session:
            return backups.create(session, self.cloud.ctx, self.cloud.config, volume=volume, **asked)

    def backup(self, volume: str, **asked: Any) -> Backup:
        made, operation = self.start(volume, **asked)
        self.cloud.succeeded(operation.id, patience=180)
        return self.row(made.id)

    def start_restore(self, backup: Backup, **asked: Any) -> tuple[Volume, Operation]:
        with self.cloud.store.write() as session:
            return backups.restore(session, self.cloud.ctx, self.cloud.config, backup.id, **asked)

    def restore(self, backup: Backup, **asked: Any) -> str:
        volume, operation = self.start_restore(backup, **asked)
        self.cloud.succeeded(operation.id, patience=180)
        return volume.id

    def row(self, id: str) -> Backup:
        with self.cloud.store.read() as session:
            return session.get_one(Backup, id)

    def chunks(self, repository: Path) -> list[Path]:
        return [path for path in (repository / "chunks").rglob("*") if path.is_file()]

    def clear(self) -> None:
        """Newest first: an increment goes before what it was made from."""
        with self.cloud.store.read() as session:
            query = select(Backup.id).where(col(Backup.deleted_at) == 0).order_by(col(Backup.created_at).desc())
            left = list(session.execute(query).scalars())
        for id in left:
            self.cloud.succeeded(self.cloud.ask(backups.delete, id).id)


@pytest.fixture
def desk(cloud: Cloud, tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}m", "tmpfs", str(tmp_path / "small")], check=True)
    cloud.configure(**SETTINGS)
    with (cloud.config.home / "config.toml").open("a") as file:
        file.write(SETTING.format(flavor=NANO, folder=tmp_path))
    cloud.config = config.load(cloud.environ)
    cloud.start_engine()
    for name in cloud.hosts:
        cloud.until_up(name)
    desk = Desk(cloud, tmp_path)
    try:
        yield desk
        desk.clear()
        assert (desk.chunks(desk.main), desk.chunks(desk.small)) == ([], [])
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)
        cloud.configure(**SETTINGS)


def digest(cloud: Cloud, server: str, volume: str, *, mib: int = 64) -> str:
    """Of the first MiB of a disk, as a guest reads it."""
    return cloud.sh(server, f"dd if={device(volume)} bs=1M count={mib} 2>/dev/null | md5sum | cut -c1-32")


def fill(cloud: Cloud, server: str, volume: str, *, seek: int, mib: int) -> None:
    """Noise, from a place in MiB on."""
    where = f"of={device(volume)} bs=1M seek={seek} count={mib}"
    cloud.sh(
        server, f"dd if=/dev/urandom {where} conv=fsync,notrunc 2>/dev/null; sync; echo 3 > /proc/sys/vm/drop_caches"
    )


def test_under_a_guest_then_what_changed_then_restored(cloud: Cloud, desk: Desk) -> None:
    data = cloud.add_volume("data")
    cloud.launch("one", host=cloud.host_of(data))
    cloud.booted("one")
    cloud.attach("one", "data")
    fill(cloud, "one", data, seek=0, mib=30)
    before = digest(cloud, "one", data)
    with pytest.raises(Conflict, match="in-use"):
        desk.start("data")
    full = desk.backup("data", force=True)
    assert (full.status, full.container, full.object_count) == ("available", "main", 30)
    assert cloud.volume(data).status == "in-use"

    fill(cloud, "one", data, seek=12, mib=1)
    after = digest(cloud, "one", data)
    more = desk.backup("data", force=True, incremental=True)
    assert (more.parent_id, more.object_count) == (full.id, 30)
    assert MIB <= more.stored_bytes < 2.5 * MIB, "its cost follows the change"

    # Both are whole: restored to new volumes, which the guest reads.
    found = {}
    for name, backup in (("then", full), ("now", more)):
        made = desk.restore(backup, name=name)
        if cloud.host_of(made) != cloud.host_of(data):
            cloud.launch("two", host=cloud.host_of(made))
            cloud.booted("two")
        reader = "one" if cloud.host_of(made) == cloud.host_of(data) else "two"
        cloud.attach(reader, name, read_only=True)
        found[name] = digest(cloud, reader, made)
    assert found == {"then": before, "now": after}

    # Into the volume itself, once nobody has it.
    with pytest.raises(Conflict):
        desk.start_restore(full, volume="data")
    cloud.detach("one", "data")
    desk.restore(full, volume="data")
    cloud.attach("one", "data")
    assert digest(cloud, "one", data) == before
    for name in ("then", "now", "data"):
        for attachment in cloud.attachments(next(id for id in cloud.volumes() if cloud.volume(id).name == name)):
            cloud.detach(attachment.instance_id, name)


def test_damage_and_a_full_repository(cloud: Cloud, desk: Desk) -> None:
    data = cloud.add_volume("data")
    cloud.launch("one", host=cloud.host_of(data))
    cloud.booted("one")
    cloud.attach("one", "data")
    fill(cloud, "one", data, seek=0, mib=8)
    good = desk.backup("data", force=True, container="small")
    cloud.succeeded(cloud.ask(backups.verify, good.id).id)
    kept = sorted(desk.chunks(desk.small))

    fill(cloud, "one", data, seek=8, mib=30)
    bad, operation = desk.start("data", force=True, container="small", incremental=True)
    ended = cloud.ended(operation.id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert f"{desk.small} is full" in ended.error["title"]
    assert desk.row(bad.id).status == "error"
    assert cloud.volume(data).status == "in-use"
    assert sorted(desk.chunks(desk.small)) == kept, "what it took it gave back"
    cloud.succeeded(cloud.ask(backups.verify, good.id).id)

    chunk = kept[3]
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:1000] + b"?" + whole[1001:])
    found = cloud.ended(cloud.ask(backups.verify, good.id).id)
    assert found.state == "failed"
    assert found.error is not None
    assert f"backup {good.id} cannot be read at byte " in found.error["title"]
    with pytest.raises(Conflict, match="is error"):
        desk.start_restore(good)
    chunk.write_bytes(whole)
    cloud.succeeded(cloud.ask(backups.verify, good.id).id)
    cloud.detach("one", "data")


@pytest.mark.parametrize("label", ["freeze:after", "copy:before", "copy:after", "let_go:after"])
def test_an_engine_killed_on_the_way(cloud: Cloud, desk: Desk, label: str) -> None:
    image = cloud.add_volume("root", image="tiny")
    first = desk.backup("root")
    file = cloud.arm(f"backup.create.{label}")
    made, operation = desk.start("root", incremental=True)
    cloud.until(lambda: not file.exists(), "the engine has died", every=0.01)
    cloud.until_engine_ended()
    cloud.start_engine()
    cloud.succeeded(operation.id)
    assert desk.row(made.id).object_count == first.object_count
    assert cloud.volume(image).status == "available"
    for backup in (first, made):
        cloud.succeeded(cloud.ask(backups.verify, backup.id).id)


def streaming(cloud: Cloud, host: str) -> list[str]:
    """The processes by which a host has disks open for streams."""
    found = []
    for process in cloud.inside(host, "/proc").iterdir():
        with contextlib.suppress(OSError):  # it ended
            if process.name.isdigit() and b"qemu-nbd" in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def test_a_daemon_killed_while_it_streams(cloud: Cloud, desk: Desk) -> None:
    host = cloud.host_of(cloud.add_volume("root", image="tiny"))
    made, operation = desk.start("root")
    cloud.until(lambda: bool(streaming(cloud, host)), "the disk is read", every=0.001)
    cloud.kill_hostd(host)
    cloud.succeeded(operation.id)
    cloud.succeeded(cloud.ask(backups.verify, made.id).id)
    _, operation = desk.start_restore(desk.row(made.id), volume="root")
    cloud.until(lambda: bool(streaming(cloud, host)), "the disk is written", every=0.001)
    cloud.kill_hostd(host)
    cloud.succeeded(operation.id)
    root = BlockDevice(source_type="volume", uuid="root", boot_index=0)
    cloud.launch("one", host=host, image=None, block_devices=(root,))
    cloud.booted("one")
    assert streaming(cloud, host) == []


def test_a_drill_boots_what_was_restored(cloud: Cloud, desk: Desk) -> None:
    root = cloud.add_volume("root", image="tiny")
    assert cloud.volume(root).bootable
    made = desk.backup("root")
    operation: Operation = cloud.ask(backups.drill, cloud.config, made.id)
    cloud.succeeded(operation.id, patience=180)
    made = desk.row(made.id)
    assert made.proven_at is not None
    assert cloud.volume(root).proven_at == made.proven_at
    assert cloud.instances() == []
    assert cloud.volumes() == [root]
    assert not [network for network in cloud.networks() if network.name.startswith("drill")]
