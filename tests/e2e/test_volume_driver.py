"""Volumes in files under real guests, on full disks, and on shares that come and go."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSpec, ErrorCode, HostError, SnapshotSpec, VolumeDisk, VolumeSpec, Want
from hostd.storage.volumes.backend import Backend
from hostd.storage.volumes.backends.files import FileBackend
from hostd.storage.volumes.driver import VolumeDriver
from hostd.storage.volumes.effects import Effects
from hostd.storage.volumes.registry import make
from hostd.storage.volumes.snapshots import SnapshotDriver
from hostd.storage.volumes.volumes import Nobody, Volumes
from tests.contract.backends.stores import MIB, holds, write
from tests.e2e.desk import Desk, seated
from tests.hostd.storage.volumes.test_files import Bomb, Crash
from tests.lab.guest import GuestImage
from tests.lab.hosts import Lab, LabHost

pytestmark = pytest.mark.e2e

LOCAL = BackendSpec(uuid="44444444-0000-4000-8000-000000000001", driver="file")
ONE = "11111111-0000-4000-8000-000000000001"
TWO = "22222222-0000-4000-8000-000000000001"
OLD = "aaaaaaaa-0000-4000-8000-000000000001"
NEW = "bbbbbbbb-0000-4000-8000-000000000001"
DISK = VolumeDisk(volume=ONE, backend=LOCAL)


@attrs.define
class Bench:
    """A guest driver and the drivers of volumes, which know each other as in the daemon."""

    desk: Desk
    volumes: Volumes
    bomb: Callable[[str], None] = attrs.field(default=lambda _: None)

    def volume(self, **changes: Any) -> list[str]:
        spec = VolumeSpec(uuid=ONE, want=Want.PRESENT, backend=LOCAL, size_gb=1)
        return self._apply(VolumeDriver(self.volumes), attrs.evolve(spec, **changes))

    def snapshot(self, uuid: str, want: Want = Want.PRESENT, *, quiesce: bool = False) -> list[str]:
        spec = SnapshotSpec(uuid=uuid, want=want, volume=ONE, backend=LOCAL, quiesce=quiesce)
        return self._apply(SnapshotDriver(self.volumes), spec)

    def guest(self, *disks: VolumeDisk, want: Want = Want.RUNNING, **changes: Any) -> list[str]:
        return self.desk.apply(want=want, volumes=disks, **changes)

    def shell(self, line: str) -> None:
        """Have the guest do it, and fail when it fails; $d is the volume's device."""
        found = f"d=/dev/$(grep -ls {ONE[:20]} /sys/block/*/serial | cut -d/ -f4) && [ -b $d ]"
        self.desk.type(
            f"until {found}; do :; done; if {line}; then echo all''-fine; else echo fai''led; fi", answer="all-fine"
        )

    def put(self, at: int, text: str) -> None:
        """Have the guest write it, at so many MiB."""
        self.shell(f"echo {text} | dd of=$d bs=1M seek={at} conv=fsync 2>/dev/null")

    def reads(self, at: int, text: str) -> None:
        """The guest reads it there, from the disk."""
        there = f"dd if=$d bs=1M skip={at} count=1 2>/dev/null | head -c 40 | grep -q {text}"
        self.shell(f"echo 3 >/proc/sys/vm/drop_caches; {there}")

    def backend(self) -> Backend:
        return self.volumes.backend(LOCAL)

    def source(self) -> DiskSource:
        return self.volumes.source(DISK)

    def _apply(self, driver: Any, spec: Any) -> list[str]:
        steps = driver.plan(spec, driver.look(spec))
        for step in steps:
            driver.execute(step, spec, self.desk)
        return [step.name for step in steps]


@pytest.fixture
def bench(lab: Lab, lab_hosts: tuple[LabHost, LabHost], guest_image: GuestImage) -> Iterator[Bench]:
    # Hosts have a /tmp of their own.
    with tempfile.TemporaryDirectory(prefix="v", dir=lab.directory.parent) as directory:
        held: list[Bench] = []

        def backends(spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> Backend:
            effects = Effects(lambda what: held[0].bomb(what))
            return FileBackend(spec, state=state, run=run, live=live, effects=effects)

        volumes = Volumes(state=Path(directory), run=Path(directory), backends=backends)
        with seated(lab_hosts[0], guest_image, storage=volumes) as desk:
            volumes.live = desk.driver.live_disks
            held.append(Bench(desk, volumes))
            yield held[0]


def test_snapshots_come_and_go_under_a_guest_that_writes(bench: Bench) -> None:
    bench.volume()
    bench.guest(DISK)
    bench.desk.until_ready()
    bench.put(0, "first")
    assert bench.snapshot(OLD) == ["snapshot"]
    bench.put(1, "second")
    bench.snapshot(NEW, quiesce=True)  # no agent answers: it is taken all the same
    bench.put(2, "third")
    assert bench.volume(size_gb=2) == ["extend"]
    bench.shell("until [ $(cat /sys/block/${d#/dev/}/size) = 4194304 ]; do :; done")
    bench.put(1500, "beyond")

    bench.backend().clone(TWO, 1 << 30, of=ONE, snapshot=NEW, progress=print)
    source = bench.backend().source(TWO)
    write(source, 5 * MIB, 5)
    for refused in (lambda: bench.volume(want=Want.ABSENT), lambda: bench.volume(size_gb=2, revert_to=NEW)):
        with pytest.raises(HostError) as caught:
            refused()
        assert caught.value.code is ErrorCode.BAD_STATE

    # The clone stands on both: under the guest they are only forgotten.
    for snapshot in (OLD, NEW):
        assert bench.snapshot(snapshot, Want.ABSENT) == ["delete"]
    assert len(_chain(bench.source())) == 3
    bench.put(3, "fourth")
    bench.guest(DISK, want=Want.STOPPED, hard=True)
    bench.snapshot(NEW)
    bench.snapshot(NEW, Want.ABSENT)  # which merges what was left over as well
    assert len(_chain(bench.source())) == 1
    assert holds(bench.backend().source(TWO), 5 * MIB, 5)
    assert holds(bench.backend().source(TWO), 2 * MIB, 0)

    assert bench.guest(DISK)[-1] == "start"
    bench.desk.until_ready(boots=2)
    for at, text in ((0, "first"), (1, "second"), (2, "third"), (3, "fourth"), (1500, "beyond")):
        bench.reads(at, text)
    # Nobody else stands on these: they are merged under the guest, the inner and the uppermost.
    for snapshot in (OLD, NEW):
        bench.snapshot(snapshot)
        bench.put(4, snapshot[:8])
    for snapshot in (OLD, NEW):
        bench.snapshot(snapshot, Want.ABSENT)
    assert len(_chain(bench.source())) == 1
    bench.reads(4, NEW[:8])
    bench.guest(want=Want.PRESENT)
    assert bench.volume(want=Want.ABSENT) == ["delete"]
    bench.backend().delete(TWO)
    assert list(bench.backend().volumes()) == []


def test_killed_at_any_change_under_a_guest_it_is_made_good(bench: Bench) -> None:
    bench.volume()
    bench.guest(DISK)
    bench.desk.until_ready()
    bench.put(0, "kept")
    for want in (Want.PRESENT, Want.ABSENT):
        for count in itertools.count():
            bench.bomb = Bomb(count)
            try:
                bench.snapshot(OLD, want)
                over = True
            except Crash:
                over = False
            bench.bomb = lambda _: None
            bench.put(1, f"{want}-{count}")  # the daemon is dead, and the guest goes on
            bench.snapshot(OLD, want)
            bench.reads(0, "kept")
            bench.reads(1, f"{want}-{count}")
            if over:
                break
            # Back to where it began.
            bench.snapshot(OLD, Want.ABSENT if want is Want.PRESENT else Want.PRESENT)
        assert count > 2


@pytest.mark.parametrize("again", [False, True], ids=["started at once", "asked again first"])
def test_what_a_guest_wrote_after_a_merge_that_nobody_noted_is_kept(bench: Bench, again: bool) -> None:
    def merged(what: str) -> None:
        if what == "live merge":
            raise Crash

    bench.volume()
    bench.guest(DISK)
    bench.desk.until_ready()
    bench.put(0, "before")
    bench.snapshot(OLD)
    bench.put(0, "between")
    bench.bomb = merged
    with pytest.raises(Crash):
        bench.snapshot(OLD, Want.ABSENT)
    bench.bomb = lambda _: None
    bench.put(0, "after")  # into the lower layer, while the manifest names the upper one
    bench.guest(DISK, want=Want.STOPPED, hard=True)
    if again:
        bench.snapshot(OLD, Want.ABSENT)
    bench.guest(DISK)
    bench.desk.until_ready(boots=2)
    bench.reads(0, "after")
    bench.snapshot(OLD, Want.ABSENT)
    bench.reads(0, "after")
    assert len(_chain(bench.source())) == 1


@contextmanager
def mounted(directory: Path, *, size: str = "200M") -> Iterator[Path]:
    """A small file system of one's own."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_is_told_and_the_room_is_given_back(tmp_path: Path) -> None:
    source = DiskSource(type="file", format="raw", name=str(tmp_path / "big"))
    with Path(source.name).open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(MIB))
    with mounted(tmp_path / "full", size="64M") as path:
        spec = attrs.evolve(LOCAL, options={"path": str(path)})
        files = make(spec, state=tmp_path, run=tmp_path, live=Nobody())
        before = files.pool().free
        for _ in range(2):
            with pytest.raises(HostError) as caught:
                files.create_from(ONE, 128 * MIB, source, progress=lambda _: None)
            assert caught.value.code is ErrorCode.DISK_FULL
        files.delete(ONE)
        assert files.pool().free == before
        # A merge that does not fit leaves the volume, and what was not asked away.
        files.create(ONE, 128 * MIB, progress=lambda _: None)
        write(files.source(ONE), 0, 1, 20 * MIB)
        files.snapshot(ONE, OLD, quiesce=False)
        write(files.source(ONE), 30 * MIB, 2, 20 * MIB)
        files.snapshot(ONE, NEW, quiesce=False)
        write(files.source(ONE), 60 * MIB, 3, 15 * MIB)
        with pytest.raises(HostError) as caught:
            files.delete_snapshot(ONE, OLD, progress=lambda _: None)
        assert caught.value.code is ErrorCode.DISK_FULL
        for at, pattern in ((0, 1), (30, 2), (60, 3)):
            assert holds(files.source(ONE), at * MIB, pattern, 15 * MIB)
        assert holds(files.frozen(ONE, NEW), 30 * MIB, 2, 20 * MIB)
        subprocess.run(["mount", "-o", "remount,size=200M", str(path)], check=True)
        files.delete_snapshot(ONE, OLD, progress=lambda _: None)
        assert holds(files.frozen(ONE, NEW), 0, 1, 20 * MIB)


def test_a_share_is_known_by_its_marker(tmp_path: Path) -> None:
    path = tmp_path / "share"
    path.mkdir()
    spec = attrs.evolve(LOCAL, driver="nfs", options={"path": str(path)})

    def files(uuid: str = LOCAL.uuid) -> Backend:
        return make(attrs.evolve(spec, uuid=uuid), state=tmp_path, run=tmp_path, live=Nobody())

    with mounted(path):
        files().create(ONE, 8 * MIB, progress=lambda _: None)
        with pytest.raises(HostError, match="belongs to backend"):
            files(TWO).pool()
    for work in (lambda: files().pool(), lambda: files().seen(ONE), lambda: files().delete(ONE)):
        with pytest.raises(HostError) as caught:
            work()
        assert (caught.value.code, bool(caught.value.error.hint)) == (ErrorCode.STORAGE, True)
    with mounted(path):  # another one in its place
        (path / "of-somebody").touch()
        with pytest.raises(HostError, match="not the directory of this backend"):
            files().create(ONE, 8 * MIB, progress=lambda _: None)


def test_an_export_that_cannot_be_mounted_is_told(tmp_path: Path) -> None:
    options = {"export": "127.0.0.1:/nowhere", "mount_options": "vers=4.2,soft,timeo=10,retry=0"}
    spec = attrs.evolve(LOCAL, driver="nfs", options=options)
    volumes = Volumes(state=tmp_path, run=tmp_path)
    (seen,) = volumes.seen([spec])
    assert (seen.reachable, "127.0.0.1:/nowhere" in seen.detail, "mount -t nfs" in seen.hint) == (False, True, True)


def _chain(source: DiskSource | None) -> list[str]:
    """The files a disk is made of, the image it stands on left out."""
    found = []
    while source is not None:
        found.append(source.name)
        source = source.backing
    return found
