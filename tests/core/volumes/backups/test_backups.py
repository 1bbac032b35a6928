"""Backups through verbs and engine, over hosts in memory: states, guards, quotas, and what is read and restored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import Conflict, HostFailed, Invalid, NotFound, QuotaExceeded
from core.hosts.bulk import Extent
from core.identity import quotas
from core.operations import operations
from core.sql import select
from core.volumes import backups, snapshots, volumes
from core.volumes.backups import containers
from core.volumes.tables import BackendHost, Backup, Snapshot, Volume
from hostd.drivers import DiskSource
from hostd.spec import BackendSpec, ErrorCode, HostError, Read
from tests.core.operations.rig import running
from tests.core.volumes.stock import Stock
from tests.core.volumes.test_kinds import Bench
from tests.core.world import World

MIB = 1 << 20


@pytest.fixture
def database_url(home: Path, request: pytest.FixtureRequest) -> str:
    """SQLite alone: nothing here is new to a database."""
    shutil.copy(request.getfixturevalue("sqlite_template"), home / "skydeck.db")
    return f"sqlite:///{home / 'skydeck.db'}"


class Lab(Bench):
    """A bench with backups, and hands on the bytes of volumes."""

    def path(self, volume: Volume) -> Path:
        """Of the file that the host keeps a volume in."""
        source: DiskSource = (
            self.host(volume).fake.volumes.backend(BackendSpec(uuid=volume.backend_id, driver="file")).source(volume.id)
        )
        return Path(source.name)

    def host(self, volume: Volume) -> Any:
        return self.rig.get(str(volume.host_id))

    def write(self, volume: Volume, offset: int, data: bytes) -> None:
        with self.path(volume).open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def contents(self, volume: Volume) -> list[tuple[int, bytes]]:
        """What is not zero, by MiB."""
        found, at = [], 0
        with self.path(volume).open("rb") as file:
            while True:
                try:
                    at = os.lseek(file.fileno(), at, os.SEEK_DATA) // MIB
                except OSError:  # ENXIO: nothing but a hole follows
                    return found
                if (data := os.pread(file.fileno(), MIB, at * MIB)) != bytes(MIB):
                    found.append((at, data))
                at = (at + 1) * MIB

    async def backup(self, volume: Volume, *, state: str = "succeeded", **asked: Any) -> Backup:
        ended = await self.done(backups.create, self.world.config, volume=volume.id, state=state, **asked)
        return self.get(Backup, ended.object_id)

    async def restore(self, backup: Backup, *, state: str = "succeeded", **asked: Any) -> Volume:
        ended = await self.done(backups.restore, self.world.config, backup.id, state=state, **asked)
        return self.get(Volume, ended.object_id)

    def ask(self, verb: Any, *args: Any, **asked: Any) -> Any:
        with self.world.store.write() as session:
            return verb(session, self.world.admin, *args, **asked)

    def hidden(self, volume: Volume) -> list[str]:
        return [row.id for row in self.world.rows(Snapshot) if row.volume_id == volume.id and not row.deleted_at]

    @property
    def chunks(self) -> list[Path]:
        return list((self.world.config.backups_dir / "chunks").rglob("??????*"))


@pytest.fixture
async def lab(world: World, stock: Stock) -> AsyncIterator[Lab]:
    async with running(world) as rig:
        yield Lab(rig, stock)


async def test_full_then_what_changed_then_restored(lab: Lab) -> None:
    noise = random.Random(1).randbytes
    volume = await lab.volume(name="data", bootable=True, properties={"a": "b"})
    lab.write(volume, 0, noise(4 * MIB))
    lab.write(volume, 700 * MIB, noise(MIB))
    first = lab.contents(volume)
    full = await lab.backup(volume, name="full")
    assert (full.status, full.parent_id, full.object_count, full.size_gb) == ("available", None, 5, 1)
    assert full.stored_bytes > 5 * MIB
    assert full.data_at is not None
    assert lab.get(Volume, volume.id).status == "available"
    assert lab.hidden(volume) == [full.base_snapshot_id]

    lab.write(volume, 2 * MIB + 5, b"changed")
    lab.write(volume, 3 * MIB, bytes(MIB))
    second = lab.contents(volume)
    more = await lab.backup(volume, incremental=True)
    assert (more.status, more.parent_id, more.object_count) == ("available", full.id, 4)
    assert MIB < more.stored_bytes < 1.1 * MIB
    assert lab.hidden(volume) == [more.base_snapshot_id], "of the older ones nothing is kept"
    assert len(lab.chunks) == 6

    made = await lab.restore(full)
    assert (made.name, made.status, made.source_kind, made.source_id) == ("data", "available", "backup", full.id)
    assert (made.bootable, made.properties) == (True, {"a": "b"})
    assert lab.contents(made) == first
    back = await lab.restore(more, volume=volume.id)
    assert back.id == volume.id
    assert lab.contents(volume) == second
    # Into one that holds something: its zeros as well.
    lab.write(made, 900 * MIB, b"rubbish")
    assert lab.contents(await lab.restore(more, volume=made.id)) == second
    assert {lab.get(Backup, row.id).status for row in (full, more)} == {"available"}


async def test_of_a_users_snapshot(lab: Lab) -> None:
    volume = await lab.volume()
    lab.write(volume, 0, b"then")
    taken = await lab.snapshot(volume)
    lab.write(volume, 0, b"now!")
    made = await lab.backup(volume, snapshot=taken.id)
    assert (made.snapshot_id, made.base_snapshot_id, made.data_at) == (taken.id, None, taken.created_at)
    assert lab.get(Snapshot, taken.id).status == "available"
    assert lab.contents(await lab.restore(made, name="old"))[0][1].startswith(b"then")
    more = await lab.backup(volume, incremental=True)
    assert lab.contents(await lab.restore(more))[0][1].startswith(b"now!")
    # An increment of an older moment than its parent's is read whole, and right.
    again = await lab.backup(volume, incremental=True, snapshot=taken.id)
    assert lab.contents(await lab.restore(again))[0][1].startswith(b"then")
    other = await lab.volume(name="other")
    with pytest.raises(Invalid, match="is not of volume"):
        lab.ask(backups.create, lab.world.config, volume=other.id, snapshot=taken.id)


async def test_guards(lab: Lab) -> None:
    volume = await lab.volume()
    with pytest.raises(Conflict, match="no backup of volume data in default to increment on"):
        lab.ask(backups.create, lab.world.config, volume=volume.id, incremental=True)
    with pytest.raises(Invalid, match="no container 'elsewhere'"):
        lab.ask(backups.create, lab.world.config, volume=volume.id, container="elsewhere")
    guest = await lab.rig.create(name="web")
    lab.stock.attach(volume, guest.id)
    with pytest.raises(Conflict, match="is in-use"):
        lab.ask(backups.create, lab.world.config, volume=volume.id)
    full = await lab.backup(volume, force=True)
    assert lab.get(Volume, volume.id).status == "in-use"
    with pytest.raises(Conflict, match="it must be available"):
        lab.ask(backups.restore, lab.world.config, full.id, volume=volume.id)
    lab.stock.detach(volume)
    more = await lab.backup(volume, incremental=True, name="more")
    with pytest.raises(Conflict, match="backup more is an increment of backup"):
        lab.ask(backups.delete, full.id)
    small = await lab.volume(name="small")
    lab.stock.put(volume.id, size_gb=2)
    large = await lab.backup(volume)
    with pytest.raises(Invalid, match="has 1 GiB, the backup 2"):
        lab.ask(backups.restore, lab.world.config, large.id, volume=small.id)
    for gone in (more, full, large):
        await lab.done(backups.delete, gone.id)
        with pytest.raises(NotFound):
            lab.ask(backups.find, gone.id)
    assert (lab.chunks, lab.hidden(volume)) == ([], [])


async def test_quotas(lab: Lab) -> None:
    volume = await lab.volume()
    await lab.backup(volume)
    for resource, limit in (("backups", 1), ("backup_gigabytes", 1)):
        lab.ask(quotas.update, lab.world.admin.project_id, "admin", {resource: limit})
        with pytest.raises(QuotaExceeded, match=f"quota exceeded for {resource}: 1 of 1"):
            lab.ask(backups.create, lab.world.config, volume=volume.id)
        lab.ask(quotas.update, lab.world.admin.project_id, "admin", {resource: -1})


async def test_a_backup_outlives_its_volume(lab: Lab) -> None:
    volume = await lab.volume()
    lab.write(volume, 5 * MIB, b"kept")
    made = await lab.backup(volume)
    before = lab.contents(volume)
    await lab.done(volumes.delete, volume.id)
    assert lab.contents(await lab.restore(made)) == before
    await lab.done(backups.delete, made.id)


async def test_a_volume_that_grew(lab: Lab) -> None:
    volume = await lab.volume()
    lab.write(volume, 1023 * MIB, b"the end")
    full = await lab.backup(volume)
    await lab.done(volumes.extend, volume.id, size_gb=2)
    lab.write(volume, 2047 * MIB, b"the new end")
    more = await lab.backup(volume, incremental=True)
    assert (full.size_gb, more.size_gb, more.object_count) == (1, 2, 2)
    assert [at for at, _ in lab.contents(await lab.restore(more))] == [1023, 2047]
    # The older one fits into what is larger, whose rest stays.
    await lab.restore(full, volume=volume.id)
    assert [at for at, _ in lab.contents(volume)] == [1023, 2047]


async def test_a_failed_backup_harms_nothing(lab: Lab) -> None:
    volume = await lab.volume()
    lab.write(volume, 0, b"one")
    full = await lab.backup(volume)
    kept = lab.chunks
    lab.write(volume, MIB, b"two")
    lab.write(volume, 2 * MIB, b"three")
    host = lab.host(volume)
    whole = host.read

    @contextlib.asynccontextmanager
    async def breaks(asked: Read) -> AsyncIterator[Any]:
        async def some(extents: AsyncIterator[Extent]) -> AsyncIterator[Extent]:
            yield await anext(extents)
            raise HostFailed("the disk is on fire")

        async with whole(asked) as (reading, extents):
            yield reading, some(extents)

    host.read = breaks
    bad = await lab.backup(volume, incremental=True, state="failed")
    host.read = whole
    assert bad.status == "error"
    assert bad.fault is not None
    assert bad.fault["title"] == "the disk is on fire"
    assert lab.hidden(volume) == [full.base_snapshot_id]
    assert lab.get(Volume, volume.id).status == "available"
    assert lab.chunks == kept
    more = await lab.backup(volume, incremental=True)
    assert more.parent_id == full.id
    await lab.done(backups.delete, bad.id)
    assert len(lab.contents(await lab.restore(more))) == 3


async def test_a_cancelled_backup_leaves_nothing(lab: Lab) -> None:
    volume = await lab.volume()
    for at in range(8):
        lab.write(volume, at * MIB, bytes([at + 1]) * 100)
    host = lab.host(volume)
    whole, copying = host.read, asyncio.Event()

    @contextlib.asynccontextmanager
    async def waits(asked: Read) -> AsyncIterator[Any]:
        async def some(extents: AsyncIterator[Extent]) -> AsyncIterator[Extent]:
            for _ in range(6):
                yield await anext(extents)
            copying.set()
            await asyncio.Event().wait()

        async with whole(asked) as (reading, extents):
            yield reading, some(extents)

    host.read = waits
    with lab.world.store.write() as session:
        made, operation = backups.create(session, lab.world.admin, lab.world.config, volume=volume.id)
    lab.rig.engine.wake()
    await copying.wait()
    lab.ask(operations.cancel, operation.id)
    ended = await lab.rig.ended(operation)
    assert ended.state == "cancelled"
    assert (lab.get(Backup, made.id).status, lab.get(Volume, volume.id).status) == ("error", "available")
    assert (lab.chunks, lab.hidden(volume)) == ([], [])
    assert not list((lab.world.config.backups_dir / "running").glob("*"))


async def test_damage_is_found_and_refused(lab: Lab) -> None:
    volume = await lab.volume()
    lab.write(volume, 3 * MIB, b"precious")
    made = await lab.backup(volume)
    await lab.done(backups.verify, made.id)
    assert lab.get(Backup, made.id).verified_at is not None
    (chunk,) = lab.chunks
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1] + b"!")
    before = lab.contents(volume)
    ended = await lab.done(backups.restore, lab.world.config, made.id, volume=volume.id, state="failed")
    assert f"backup {made.id} cannot be read at byte {3 * MIB}" in ended.error["title"]
    assert lab.get(Volume, volume.id).status == "available", "it was checked before it was overwritten"
    assert lab.contents(volume) == before
    broken = await lab.restore(made, state="failed")
    assert broken.status == "error_restoring"
    await lab.done(backups.verify, made.id, state="failed")
    bad = lab.get(Backup, made.id)
    assert bad.status == "error"
    assert f"at byte {3 * MIB}" in bad.fault["title"]
    with pytest.raises(Conflict, match="is error"):
        lab.ask(backups.restore, lab.world.config, made.id)
    chunk.write_bytes(whole)
    await lab.done(backups.verify, made.id)
    assert lab.get(Backup, made.id).status == "available"


async def test_restore_to_a_volume_that_could_not_be_made(lab: Lab) -> None:
    made = await lab.backup(await lab.volume())
    lab.rig.hosts["h1"].fake.fail_next("create", HostError(ErrorCode.DISK_FULL, "no room"))
    volume = await lab.restore(made, state="failed", name="new")
    assert volume.status == "error"
    assert lab.get(Backup, made.id).status == "available"


async def test_snapshots_of_the_user_stay(lab: Lab) -> None:
    volume = await lab.volume()
    await lab.backup(volume)
    own = await lab.snapshot(volume)
    made = await lab.backup(volume, incremental=True)
    assert sorted(lab.hidden(volume)) == sorted([own.id, str(made.base_snapshot_id)])
    with lab.world.store.read() as session:
        assert [row.id for row in snapshots.of_volume(session, volume.id) if not row.hidden] == [own.id]
        assert quotas.used(session, volume.project_id, "snapshots") == 1


async def test_a_backend_that_cannot_tell_what_changed_keeps_no_snapshots(lab: Lab) -> None:
    """Read whole each time; what is stored already is stored once."""
    volume = await lab.volume()
    lab.write(volume, 0, b"a")
    guest = await lab.rig.create(name="web")
    with lab.world.store.write() as session:
        for row in session.execute(select(BackendHost)).scalars():
            row.capabilities = ["snapshot", "live_snapshot"]
    first = await lab.backup(volume)
    assert (first.base_snapshot_id, lab.hidden(volume)) == (None, [])
    lab.stock.attach(volume, guest.id)
    lab.write(volume, MIB, b"b")
    second = await lab.backup(volume, incremental=True, force=True)
    assert (second.parent_id, second.base_snapshot_id, lab.hidden(volume)) == (first.id, None, [])
    assert [at for at, _ in lab.contents(await lab.restore(second))] == [0, 1]
    with lab.world.store.write() as session:
        for row in session.execute(select(BackendHost)).scalars():
            row.capabilities = ["snapshot"]
    with pytest.raises(Invalid, match="takes no snapshots of such"):
        lab.ask(backups.create, lab.world.config, volume=volume.id, force=True)


def test_containers(world: World) -> None:
    assert containers.named(world.config, None) == "default"
    assert str(containers.opened(world.config, "default")) == str(world.config.home / "backups")
