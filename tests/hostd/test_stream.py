"""Contents of disks in and out: a real qemu-nbd, hostd's server on a socket, core's bulk link at its other end."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import Failed, Unknown
from core.hosts.bulk import BulkLink, Extent, save_extents
from hostd.cache import ImageCache
from hostd.crash import NEVER
from hostd.drivers import DiskSource
from hostd.server import Server, listen
from hostd.service import Session
from hostd.spec import (
    PROTOCOL,
    Accel,
    BackendSpec,
    ErrorCode,
    Hello,
    HelloReply,
    HostError,
    Read,
    Streamed,
    Write,
)
from hostd.storage.volumes.backend import Can
from hostd.storage.volumes.backend import Extent as Range
from hostd.streams import nbd, plain
from hostd.streams.contents import HostDisks, Open
from hostd.streams.disks import rounded

MIB = 1 << 20
SIZE = 64 * MIB + 512
BACKEND = BackendSpec(uuid="b", driver="file")


@pytest.fixture(scope="module")
def libnbd() -> None:
    """The distribution's python3-libnbd, which hosts have, in this Python."""
    for name, file in (("libnbdmod", "libnbdmod.cpython-311-x86_64-linux-gnu.so"), ("nbd", "nbd.py")):
        if name in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(name, f"/usr/lib/python3/dist-packages/{file}")
        if spec is None or spec.loader is None or not os.path.exists(str(spec.origin)):
            pytest.skip("python3-libnbd is not installed")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


class Disks:
    """A backend and a host of one directory: volume v is v.qcow2 (or v.raw), snapshot s is s.*."""

    can = frozenset(Can)

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ranges: Iterable[Range] | None = None
        self.held: dict[str, str] = {}

    def source(self, volume: str) -> DiskSource:
        for format in ("qcow2", "raw"):
            if (path := self.root / f"{volume}.{format}").exists():
                return DiskSource(type="file", format=format, name=str(path))
        return DiskSource(type="file", format="raw", name=str(self.root / volume))

    def frozen(self, volume: str, snapshot: str) -> DiskSource:
        return self.source(snapshot)

    def changed(self, volume: str, snapshot: str, *, since: str) -> Iterable[Range] | None:
        if since == "gone":
            raise HostError(ErrorCode.NOT_FOUND, "gone")
        return self.ranges


class Service:
    """As much of HostService as streams touch."""

    def __init__(self, root: Path, disks: Disks, open: Open) -> None:
        self.images = ImageCache(root / "images", clock=lambda: 0.0, crash=NEVER)
        self.disks = HostDisks(
            backend=lambda spec: disks,  # type: ignore[arg-type,return-value]
            export=lambda uuid: disks.source(uuid),
            holder=disks.held.get,
            run=root / "run",
            open=open,
        )

    console = None

    def check(self, session: Session, call: str) -> None: ...

    async def hello(self, hello: Hello) -> tuple[Session, HelloReply]:
        return Session(1), HelloReply(
            protocol=PROTOCOL, host="h", hostname="h", boot_id="", journal_id="", term=1, version="",
            accel=Accel(mode="tcg", reason=""), versions={}, last_seq=0,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def serving(root: Path, disks: Disks, open: Open) -> AsyncIterator[BulkLink]:
    service: Any = Service(root, disks, open)
    listening = listen(root / "hostd.sock")
    task = asyncio.create_task(Server(service).serve(listening))
    link = BulkLink(root / "hostd.sock", cloud="c", term=1, host="h")
    try:
        yield link
    finally:
        await link.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listening.close()
        assert not list((root / "run").glob("*")), "sockets are left"


@pytest.fixture
async def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


@pytest.fixture
async def link(tmp_path: Path, disks: Disks, libnbd: None) -> AsyncIterator[BulkLink]:
    async with serving(tmp_path, disks, nbd.opened) as opened:
        yield opened


def raw(path: Path, data: dict[int, bytes], size: int = SIZE) -> bytes:
    """A raw file with this data and holes; its contents."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, chunk in data.items():
            file.seek(offset)
            file.write(chunk)
    return path.read_bytes()


def qcow2(path: Path, data: dict[int, bytes], size: int = SIZE) -> bytes:
    plain_file = path.with_suffix(".tmp")
    contents = raw(plain_file, data, size)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(plain_file), str(path)], check=True)
    plain_file.unlink()
    return contents


async def read(link: BulkLink, uuid: str = "s", **more: Any) -> tuple[bool, list[Extent]]:
    asked = Read(subject=more.pop("subject", "snapshot"), uuid=uuid, volume="v", backend=BACKEND, **more)
    async with link.read_extents(asked) as (reading, extents):
        assert reading.size == SIZE
        return reading.since, [extent async for extent in extents]


def put_together(extents: Iterable[Extent], contents: bytearray | None = None) -> bytes:
    contents = contents or bytearray(SIZE)
    for extent in extents:
        contents[extent.offset : extent.offset + extent.length] = extent.data or bytes(extent.length)
    return bytes(contents)


async def test_a_disk_is_read_in_whole_chunks_and_runs_of_zeros(disks: Disks, link: BulkLink) -> None:
    noise = random.Random(1).randbytes
    contents = qcow2(disks.root / "s.qcow2", {0: noise(5), 10 * MIB - 3: noise(6), SIZE - 100: noise(100)})
    since, extents = await read(link, chunk=MIB)
    assert not since
    assert put_together(extents) == contents
    assert [(each.offset, each.length, each.data is not None) for each in extents] == [
        (0, MIB, True),
        (MIB, 8 * MIB, False),
        (9 * MIB, MIB, True),
        (10 * MIB, MIB, True),
        (11 * MIB, 53 * MIB, False),
        (64 * MIB, 512, True),
    ]


async def test_only_what_may_have_changed_is_read(disks: Disks, link: BulkLink) -> None:
    contents = qcow2(disks.root / "s.qcow2", {MIB: b"a" * 3 * MIB, 60 * MIB: b"b" * MIB})
    disks.ranges = [Range(offset=60 * MIB + 5, length=1, zero=False), Range(offset=2 * MIB - 1, length=2, zero=False)]
    since, extents = await read(link, since="old", chunk=MIB)
    assert since
    assert [(each.offset, each.length) for each in extents] == [(MIB, MIB), (2 * MIB, MIB), (60 * MIB, MIB)]
    assert all(each.data == contents[each.offset : each.offset + MIB] for each in extents)
    for ranges, older in ((None, "old"), ([], "gone")):
        disks.ranges = ranges
        since, extents = await read(link, since=older)
        assert not since
        assert put_together(extents) == contents


async def test_reading_goes_on_where_it_was_cut(disks: Disks, link: BulkLink) -> None:
    qcow2(disks.root / "s.qcow2", {MIB: b"a" * 3 * MIB, 60 * MIB: b"b" * MIB})
    _, whole = await read(link, chunk=MIB)
    for begin in (0, 2 * MIB, 60 * MIB, 64 * MIB):
        _, rest = await read(link, chunk=MIB, begin=begin)
        assert put_together(rest)[begin:] == put_together(whole)[begin:]
        assert rest[0].offset == begin
    disks.ranges = [Range(offset=2 * MIB, length=2 * MIB, zero=False)]
    _, rest = await read(link, since="old", chunk=MIB, begin=3 * MIB)
    assert [(each.offset, each.length) for each in rest] == [(3 * MIB, MIB)]


async def test_a_volume_is_written_and_nothing_else_of_it(disks: Disks, link: BulkLink) -> None:
    contents = bytearray(qcow2(disks.root / "v.qcow2", {MIB: b"a" * 3 * MIB, 60 * MIB: b"b" * MIB}))
    sent = [Extent(2 * MIB, MIB, b"c" * MIB), Extent(3 * MIB, 59 * MIB), Extent(SIZE - 512, 512, b"d" * 512)]

    async def extents() -> AsyncIterator[Extent]:
        for extent in sent:
            yield extent

    assert await link.write_extents(Write(volume="v", backend=BACKEND), extents()) == Streamed(bytes=MIB + 512)
    _, found = await read(link, "v", subject="volume")
    assert put_together(found) == put_together(sent, contents)


async def test_what_somebody_has_open_is_refused(disks: Disks, link: BulkLink) -> None:
    qcow2(disks.root / "v.qcow2", {0: b"a"})
    source = disks.source("v")

    async def nothing() -> AsyncIterator[Extent]:
        return
        yield

    with nbd.opened(source, read_only=False, run=disks.root / "other"):
        writing = link.write_extents(Write(volume="v", backend=BACKEND), nothing())
        for attempt in (writing, read(link, "v", subject="volume")):
            with pytest.raises(HostError) as refused:
                await attempt
            assert refused.value.code is ErrorCode.BAD_STATE
    disks.held["v"] = "web"
    with pytest.raises(HostError, match="instance web has volume v open"):
        await link.write_extents(Write(volume="v", backend=BACKEND), nothing())
    del disks.held["v"]
    assert await link.write_extents(Write(volume="v", backend=BACKEND), nothing()) == Streamed(bytes=0)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Read(subject="snapshot", uuid="nowhere", volume="v", backend=BACKEND), ErrorCode.NOT_FOUND),
        (Read(subject="snapshot", uuid="s", volume="v"), ErrorCode.PROTOCOL),
        (Read(subject="floppy", uuid="s", volume="v", backend=BACKEND), ErrorCode.PROTOCOL),
        (Read(subject="snapshot", uuid="s", volume="v", backend=BACKEND, chunk=5 << 20), ErrorCode.PROTOCOL),
    ],
)
async def test_what_is_no_disk_is_refused(disks: Disks, link: BulkLink, asked: Read, code: ErrorCode) -> None:
    raw(disks.root / "s.raw", {})
    with pytest.raises(HostError) as refused:
        async with link.read_extents(asked):
            pass
    assert refused.value.code is code


async def test_bytes_beyond_the_end_are_refused_and_the_next_write_is_taken(disks: Disks, link: BulkLink) -> None:
    raw(disks.root / "v.raw", {})

    async def extents(last: int) -> AsyncIterator[Extent]:
        for offset in range(0, last, MIB):
            yield Extent(offset, MIB, b"x" * MIB)

    with pytest.raises(HostError, match="the volume has"):
        await link.write_extents(Write(volume="v", backend=BACKEND), extents(200 * MIB))
    assert (await link.write_extents(Write(volume="v", backend=BACKEND), extents(3 * MIB))).bytes == 3 * MIB


async def test_a_reader_that_goes_away_ends_it(disks: Disks, link: BulkLink) -> None:
    qcow2(disks.root / "s.qcow2", dict.fromkeys(range(0, 64 * MIB, MIB), b"y" * MIB))
    asked = Read(subject="snapshot", uuid="s", volume="v", backend=BACKEND, chunk=MIB)
    async with link.read_extents(asked) as (_, extents):
        assert (await anext(extents)).offset == 0
        source = disks.source("s")
        with (
            pytest.raises(HostError, match="somebody has the disk open"),
            nbd.opened(source, read_only=False, run=disks.root / "o"),
        ):
            pass
    async with asyncio.timeout(10):
        while True:  # the daemon hears of it in its own time
            with contextlib.suppress(HostError), nbd.opened(source, read_only=False, run=disks.root / "o"):
                break
            await asyncio.sleep(0.02)


async def test_who_writes_again_takes_the_place_of_the_stream_of_before(disks: Disks, link: BulkLink) -> None:
    raw(disks.root / "v.raw", {})
    stuck = asyncio.Event()

    async def first() -> AsyncIterator[Extent]:
        yield Extent(0, MIB, b"1" * MIB)
        stuck.set()
        await asyncio.Event().wait()

    async def second() -> AsyncIterator[Extent]:
        yield Extent(0, MIB, b"2" * MIB)

    writing = asyncio.create_task(link.write_extents(Write(volume="v", backend=BACKEND), first()))
    await stuck.wait()
    assert (await link.write_extents(Write(volume="v", backend=BACKEND), second())).bytes == MIB
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert (disks.root / "v.raw").read_bytes()[:MIB] == b"2" * MIB


async def _read_and_cut(root: Path, disks: Disks, asked: Read) -> None:
    async with serving(root, disks, plain.opened) as link, link.read_extents(asked) as (_, extents):
        async for _extent in extents:
            await link.close()


async def test_a_cut_while_extents_are_taken_is_unknown(tmp_path: Path, disks: Disks) -> None:
    raw(disks.root / "s.raw", {0: b"y" * 30 * MIB})
    asked = Read(subject="snapshot", uuid="s", volume="v", backend=BACKEND)
    with pytest.raises(Unknown):
        await _read_and_cut(tmp_path, disks, asked)


async def test_a_disk_is_saved_as_a_sparse_file(tmp_path: Path, disks: Disks) -> None:
    contents = raw(disks.root / "s.raw", {3 * MIB: b"y" * 10, SIZE - 1: b"z"})
    told: list[tuple[int, int]] = []
    async with serving(tmp_path, disks, plain.opened) as link:
        asked = Read(subject="export", uuid="s")
        async with link.read_extents(asked) as (reading, extents):
            await save_extents(tmp_path / "saved", reading, extents, lambda *done: told.append(done))
    assert (tmp_path / "saved").read_bytes() == contents
    assert (tmp_path / "saved").stat().st_blocks * 512 < 3 * MIB
    assert told[-1] == (SIZE, SIZE)


async def test_a_disk_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def extents() -> AsyncIterator[Extent]:
        yield Extent(0, MIB, b"x" * MIB)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.hosts.bulk.extents.os.pwrite", full)
    reading: Any = SimpleNamespace(size=SIZE)
    with pytest.raises(Failed, match="no room"):
        await save_extents(tmp_path / "saved", reading, extents(), lambda *_: None)
    assert not (tmp_path / "saved").exists()


def test_ranges_are_rounded_to_chunks_and_joined() -> None:
    def of(*ranges: tuple[int, int]) -> list[tuple[int, int]]:
        return list(rounded([Range(offset=o, length=n, zero=False) for o, n in ranges], chunk=10, size=95))

    assert of() == []
    assert of((0, 1)) == [(0, 10)]
    assert of((91, 1), (5, 10), (21, 1)) == [(0, 30), (90, 95)]
    assert of((0, 95)) == [(0, 95)]
    assert of((3, 50), (4, 2)) == [(0, 60)]
