"""`backup_*`: what a backup of a 1 % change costs against a full one, how fast contents are read, stored and written
back, and what size of chunk that is best done in.

A volume of a lab host, half of it noise; backups by the engine, end to end, into a directory of the controller. The
baselines are taken in turns in the same run: `cp` and `qemu-img convert` of as many bytes on the host.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
from sqlmodel import col

from core.hosts.bulk import BulkLink, Extent
from core.objects.files import FileObjects
from core.sql import select
from core.volumes import backends, backups
from core.volumes.backups import copying
from core.volumes.backups.manifest import Manifest
from core.volumes.backups.repository import Repository
from core.volumes.tables import Backend, BackendHost, Backup
from hostd.spec import Read, Write
from tests.bench.common import record
from tests.bench.ground import Ground, ground, median, took

SIZE = int(os.environ.get("BENCH_BACKUP_MIB", "256"))
"""MiB of noise in a volume of 1 GiB."""

ROUNDS = 3
BLOCK = 64 * 1024
"""Bytes of one change of a guest that writes here and there."""

SIZES = {"256k": 1 << 18, "1m": 1 << 20, "2m": 1 << 21}
MIB = 1 << 20


def run() -> None:
    with ground() as on, tempfile.TemporaryDirectory(prefix="skydeck-bench-") as folder:
        on.cloud.until(lambda: reached(on), "the host has looked at its storage")
        volume = on.cloud.add_volume("data")
        write(on, volume, range(0, SIZE * MIB, MIB), MIB)
        _copies(on, volume)
        _engine(on, volume)
        _chunks(on, volume, Path(folder))


# ---------------------------------------------------------------------------- the ground


def as_controller(on: Ground, work: Callable[[BulkLink], Any]) -> Any:
    """What `work` answers, with the bulk connection of a controller of its own; the engine runs again afterwards."""

    async def main() -> Any:
        bulk = BulkLink(on.target, cloud=on.identity, term=term, host=on.row.id)
        try:
            return await work(bulk)
        finally:
            await bulk.close()

    term = on.take_over()
    try:
        return asyncio.run(main())
    finally:
        on.cloud.start_engine()
        on.cloud.until_up("bench")


def reached(on: Ground) -> bool:
    with on.cloud.store.read() as session:
        return session.execute(select(BackendHost).where(col(BackendHost.reachable))).first() is not None


def backend(on: Ground) -> Any:
    with on.cloud.store.read() as session:
        return backends.spec_of(session.execute(select(Backend)).scalar_one())


def write(on: Ground, volume: str, offsets: Iterable[int], length: int) -> None:
    """Noise, as a guest would write it."""
    dice = random.Random(os.urandom(8))

    async def noise() -> AsyncIterator[Extent]:
        for offset in offsets:
            yield Extent(offset, length, dice.randbytes(length))

    asked = Write(volume=volume, backend=backend(on))
    as_controller(on, lambda bulk: bulk.write_extents(asked, noise()))


# ---------------------------------------------------------------------------- figures


def _copies(on: Ground, volume: str) -> None:
    """Reading and writing a disk, against cp and qemu-img on the host, of files that nobody syncs or checks."""
    spec = backend(on)
    reads: list[float] = []
    writes: list[float] = []

    async def read(bulk: BulkLink) -> list[Extent]:
        async with bulk.read_extents(Read(subject="volume", uuid=volume, backend=spec)) as (_, extents):
            return [extent async for extent in extents]

    async def both(bulk: BulkLink) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(ROUNDS):
            began = loop.time()
            found = await read(bulk)
            reads.append(loop.time() - began)

            async def again(found: list[Extent] = found) -> AsyncIterator[Extent]:
                for extent in found:
                    yield extent

            began = loop.time()
            await bulk.write_extents(Write(volume=volume, backend=spec), again())
            writes.append(loop.time() - began)

    as_controller(on, both)
    path = f"/var/lib/skydeck/volumes/{spec.uuid}/{volume}/disk.0.qcow2"
    copy = ["sh", "-c", f"cp {path} /var/lib/copy && sync /var/lib/copy && rm /var/lib/copy"]
    convert = ["sh", "-c", f"qemu-img convert -f qcow2 -O raw {path} /var/lib/copy && rm /var/lib/copy"]
    copied = [took(lambda: on.host.run(copy)) for _ in range(ROUNDS)]
    converted = [took(lambda: on.host.run(convert)) for _ in range(ROUNDS)]
    record("volume_read", SIZE / median(reads), "MiB/s", SIZE / median(converted), ROUNDS)
    record("volume_write", SIZE / median(writes), "MiB/s", SIZE / median(copied), ROUNDS)


def _engine(on: Ground, volume: str) -> None:
    """By the verb, until the operation has ended. Each full one finds nothing stored, as a first one does."""
    fulls: list[float] = []
    deltas: list[float] = []
    restores: list[float] = []
    added = 0
    for _ in range(ROUNDS):
        full = _timed(on, fulls, volume)
        write(on, volume, random.sample(range(0, SIZE * MIB, MIB), max(1, SIZE // 100)), MIB)
        more = _timed(on, deltas, volume, incremental=True)
        added = more.stored_bytes

        def restore(more: Backup = more) -> None:
            with on.cloud.store.write() as session:
                _, operation = backups.restore(session, on.cloud.ctx, on.cloud.config, more.id, volume=volume)
            on.cloud.succeeded(operation.id, patience=300)

        restores.append(took(restore))
        for backup in (more, full):
            on.cloud.succeeded(on.cloud.ask(backups.delete, backup.id).id, patience=300)
    record("backup_full", SIZE / median(fulls), "MiB/s", None, ROUNDS)
    record("backup_1pct", median(deltas), "s", median(fulls), ROUNDS)
    record("backup_1pct_bytes", added / MIB, "MiB", float(SIZE), ROUNDS)
    record("backup_restore", SIZE / median(restores), "MiB/s", None, ROUNDS)


def _timed(on: Ground, times: list[float], volume: str, **asked: Any) -> Backup:
    found: list[Backup] = []

    def backup() -> None:
        with on.cloud.store.write() as session:
            made, operation = backups.create(session, on.cloud.ctx, on.cloud.config, volume=volume, **asked)
        on.cloud.succeeded(operation.id, patience=300)
        found.append(made)

    times.append(took(backup))
    with on.cloud.store.read() as session:
        return session.get_one(Backup, found[0].id)


def _chunks(on: Ground, volume: str, folder: Path) -> None:
    """Sizes of chunks: how long a full copy takes, and how much a change of 1 % in small blocks here and there adds."""
    spec = backend(on)
    fulls: dict[str, list[float]] = {name: [] for name in SIZES}
    adds: dict[str, int] = {}
    before: dict[str, Manifest] = {}

    async def store(bulk: BulkLink, name: str, round: int) -> None:
        chunk = SIZES[name]
        repository = Repository(FileObjects(folder / f"{name}-{round}"))
        asked = Read(subject="volume", uuid=volume, backend=spec, chunk=chunk)
        loop = asyncio.get_running_loop()
        began = loop.time()
        about = Manifest(backup="b", volume=volume, size=0, chunk=chunk, at=0, parent=None, chunks={})
        stored = await copying.store(
            repository,
            lambda begin: bulk.read_extents(attrs.evolve(asked, begin=begin)),
            about=about,
            parent=None,
            progress=lambda *_: None,
        )
        fulls[name].append(loop.time() - began)
        adds[name] = stored.added
        before[name] = repository.manifest("b", stored.digest)

    async def all_sizes(bulk: BulkLink) -> None:
        for round in range(2):
            for name in SIZES:
                await store(bulk, name, round)

    as_controller(on, all_sizes)
    changed = random.sample(range(0, SIZE * MIB, BLOCK), SIZE * MIB // 100 // BLOCK)
    for name, chunk in SIZES.items():
        touched = len({offset // chunk for offset in changed}) * chunk
        record(f"chunk_{name}_full", SIZE / median(fulls[name]), "MiB/s", None, 2)
        record(f"chunk_{name}_1pct", touched / MIB, "MiB", SIZE / 100, 1)
