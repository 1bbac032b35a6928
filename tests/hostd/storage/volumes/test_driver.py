"""The drivers of volumes and snapshots: sources, what they hold of the image cache, and what they refuse."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.cache import ImageCache
from hostd.crash import NEVER
from hostd.drivers import DiskSource, LiveDisks
from hostd.memory import MemoryPools
from hostd.spec import (
    BackendSpec,
    DiskFormat,
    ErrorCode,
    HostError,
    ImageRef,
    Receive,
    SnapshotSpec,
    SourceKind,
    VolumeDisk,
    VolumeSource,
    VolumeSpec,
    Want,
)
from hostd.storage.volumes.backend import Backend
from hostd.storage.volumes.driver import GIB, VolumeDriver
from hostd.storage.volumes.registry import make
from hostd.storage.volumes.snapshots import SnapshotDriver
from hostd.storage.volumes.volumes import Volumes
from tests.contract.backends.stores import MIB, holds, size, write

ONE = "11111111-0000-4000-8000-000000000001"
TWO = "22222222-0000-4000-8000-000000000001"
OLD = "aaaaaaaa-0000-4000-8000-000000000001"
LOCAL = BackendSpec(uuid="44444444-0000-4000-8000-000000000001", driver="file")
RAW = BackendSpec(uuid="44444444-0000-4000-8000-000000000002", driver="file", options={"format": "raw"})
FAR = BackendSpec(uuid="44444444-0000-4000-8000-000000000003", driver="rbd")


@attrs.define
class Desk:
    """The drivers over real files, for the backend FAR over memory's, with the daemon's part played by hand."""

    volumes: Volumes
    cache: ImageCache
    told: list[int] = attrs.field(factory=list)

    def progress(self, percent: int) -> None:
        self.told.append(percent)

    def apply(self, spec: VolumeSpec | SnapshotSpec) -> tuple[list[str], dict[str, Any]]:
        driver: Any = VolumeDriver(self.volumes) if isinstance(spec, VolumeSpec) else SnapshotDriver(self.volumes)
        steps = driver.plan(spec, driver.look(spec))
        for step in steps:
            driver.execute(step, spec, self)
        return [step.name for step in steps], driver.result(spec)[1]

    def source(self, volume: str, backend: BackendSpec = LOCAL) -> DiskSource:
        return self.volumes.source(VolumeDisk(volume=volume, backend=backend))

    def held(self) -> int:
        (image,) = self.cache.images()
        return image.refs

    def refused(self, spec: VolumeSpec | SnapshotSpec) -> ErrorCode:
        with pytest.raises(HostError) as caught:
            self.apply(spec)
        return caught.value.code


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    pools = MemoryPools(own=tmp_path / "far", shared=tmp_path / "far")

    def backends(spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> Backend:
        maker = pools.make if spec.driver == "rbd" else make
        return maker(spec, state=state, run=run, live=live)

    cache = ImageCache(tmp_path / "images", clock=time.time, crash=NEVER)
    return Desk(Volumes(state=tmp_path, run=tmp_path, backends=backends, patience=2.0), cache)


@pytest.fixture
def image(desk: Desk, tmp_path: Path) -> ImageRef:
    """A qcow2 image of 32 MiB in the cache, which holds sevens in its second MiB."""
    return add(desk, tmp_path / "image.qcow2", DiskFormat.QCOW2)


def add(desk: Desk, path: Path, kind: DiskFormat) -> ImageRef:
    subprocess.run(["qemu-img", "create", "-q", "-f", kind.value, str(path), "32M"], check=True)
    subprocess.run(
        ["qemu-io", "-f", kind.value, "-c", "write -P 7 1M 1M", str(path)], check=True, stdout=subprocess.DEVNULL
    )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    with desk.cache.receive(Receive(digest=digest, size=len(data))) as incoming:
        incoming.write(memoryview(data))
        incoming.finish()
    path.unlink()
    return ImageRef(digest=digest, format=kind, size=len(data), virtual_size=32 * MIB)


def volume(uuid: str = ONE, *, size_gb: int = 1, backend: BackendSpec = LOCAL, **more: Any) -> VolumeSpec:
    return VolumeSpec(uuid=uuid, want=Want.PRESENT, backend=backend, size_gb=size_gb, **more)


def snapshot(uuid: str = OLD, *, of: str = ONE, want: Want = Want.PRESENT) -> SnapshotSpec:
    return SnapshotSpec(uuid=uuid, want=want, volume=of, backend=LOCAL)


def absent(spec: VolumeSpec) -> VolumeSpec:
    return attrs.evolve(spec, want=Want.ABSENT)


def from_image(ref: ImageRef, **more: Any) -> VolumeSpec:
    return volume(source=VolumeSource(kind=SourceKind.IMAGE, image=ref), **more)


def test_a_volume_has_a_life(desk: Desk) -> None:
    steps, detail = desk.apply(volume())
    assert (steps, detail["size"]) == (["create"], GIB)
    assert desk.apply(volume())[0] == []
    write(desk.source(ONE), 0, 1)
    assert desk.apply(snapshot()) == (["snapshot"], {"size": GIB, "quiesced": None})
    assert desk.apply(snapshot())[0] == []
    write(desk.source(ONE), 0, 2)
    steps, detail = desk.apply(volume(size_gb=2, revert_to=OLD))
    assert (steps, detail["size"]) == (["revert", "extend"], 2 * GIB)
    assert holds(desk.source(ONE), 0, 1)
    assert desk.refused(absent(volume())) is ErrorCode.BAD_STATE
    assert desk.apply(snapshot(want=Want.ABSENT)) == (["delete"], {})
    assert desk.apply(absent(volume())) == (["delete"], {})
    assert desk.apply(snapshot(want=Want.ABSENT))[0] == []
    assert desk.refused(snapshot()) is ErrorCode.NOT_FOUND
    assert desk.refused(volume(made=True)) is ErrorCode.BAD_STATE


def test_a_local_volume_stands_on_the_cached_image_and_so_do_its_clones(desk: Desk, image: ImageRef) -> None:
    desk.apply(from_image(image))
    assert (size(desk.source(ONE)), desk.held()) == (GIB, 1)
    desk.apply(snapshot())
    origin = VolumeSource(kind=SourceKind.SNAPSHOT, volume=ONE, snapshot=OLD)
    desk.apply(volume(TWO, source=origin))
    assert desk.held() == 2
    desk.apply(snapshot(want=Want.ABSENT))
    desk.apply(absent(volume()))
    assert desk.held() == 1
    assert desk.cache.prune(0, ()).removed == ()
    assert holds(desk.source(TWO), MIB, 7)
    desk.apply(absent(volume(TWO)))
    assert desk.held() == 0


@pytest.mark.parametrize("kind", [DiskFormat.QCOW2, DiskFormat.VMDK, DiskFormat.RAW], ids=str)
@pytest.mark.parametrize("backend", [LOCAL, RAW], ids=["qcow2", "raw"])
def test_what_cannot_stand_on_an_image_has_a_copy(
    desk: Desk, tmp_path: Path, kind: DiskFormat, backend: BackendSpec
) -> None:
    ref = add(desk, tmp_path / "image", kind)
    desk.apply(from_image(ref, backend=backend))
    assert desk.held() == (backend is LOCAL and kind is not DiskFormat.VMDK)
    assert size(desk.source(ONE, backend)) == GIB
    assert holds(desk.source(ONE, backend), 0, 0)
    assert holds(desk.source(ONE, backend), MIB, 7)
    assert holds(desk.source(ONE, backend), 2 * MIB, 0, 48 * MIB)


def test_volumes_and_snapshots_of_other_backends_are_copied(desk: Desk) -> None:
    desk.apply(volume(backend=FAR))
    write(desk.source(ONE, FAR), 0, 3)
    desk.apply(volume(TWO, source=VolumeSource(kind=SourceKind.VOLUME, volume=ONE, backend=FAR)))
    assert holds(desk.source(TWO), 0, 3)
    assert desk.told[-1] == 100
    desk.apply(absent(volume(TWO)))
    desk.apply(attrs.evolve(snapshot(), backend=FAR))
    write(desk.source(ONE, FAR), 0, 4)
    origin = VolumeSource(kind=SourceKind.SNAPSHOT, volume=ONE, snapshot=OLD, backend=FAR)
    desk.apply(volume(TWO, source=origin))
    assert holds(desk.source(TWO), 0, 3)


def test_what_cannot_be_is_refused(desk: Desk, image: ImageRef) -> None:
    assert desk.refused(attrs.evolve(volume(), want=Want.RUNNING)) is ErrorCode.PROTOCOL
    assert desk.refused(volume("../x")) is ErrorCode.PROTOCOL
    assert desk.refused(volume(backend=attrs.evolve(LOCAL, driver="tape"))) is ErrorCode.PROTOCOL
    assert desk.refused(volume(source=VolumeSource(kind=SourceKind.IMAGE))) is ErrorCode.PROTOCOL
    assert desk.refused(from_image(attrs.evolve(image, format=DiskFormat.AKI))) is ErrorCode.BAD_STATE
    assert desk.refused(from_image(attrs.evolve(image, virtual_size=GIB + 1))) is ErrorCode.BAD_STATE
    assert desk.refused(from_image(attrs.evolve(image, digest="0" * 64))) is ErrorCode.IMAGE_MISSING
    assert desk.refused(volume(source=VolumeSource(kind=SourceKind.VOLUME, volume=TWO))) is ErrorCode.NOT_FOUND
    assert desk.volumes.backend(LOCAL).seen(ONE) is None


def test_backends_are_looked_at_side_by_side_and_one_that_hangs_keeps_nobody(desk: Desk, tmp_path: Path) -> None:
    hangs = threading.Event()

    class Hanging:
        def pool(self) -> None:
            hangs.wait()

    def backends(spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> Any:
        return Hanging() if spec.driver == "rbd" else make(spec, state=state, run=run, live=live)

    desk.apply(volume())
    looking = Volumes(state=tmp_path, run=tmp_path, backends=backends, patience=0.5)
    gone = attrs.evolve(LOCAL, uuid=TWO, options={"path": str(tmp_path / "gone")})
    began = time.monotonic()
    try:
        here, missing, silent = looking.seen([LOCAL, gone, FAR])
    finally:
        hangs.set()
    assert time.monotonic() - began < 5
    assert (here.reachable, [seen.uuid for seen in here.volumes]) == (True, [ONE])
    assert "snapshot" in here.capabilities
    assert 0 < here.free <= here.total
    for seen in (missing, silent):
        assert (seen.reachable, bool(seen.detail), bool(seen.hint)) == (False, True, True)


def test_nobody_changes_a_volume_while_a_guest_begins_to_open_it(desk: Desk) -> None:
    desk.apply(volume())
    with desk.volumes.opening(ONE):
        taking = threading.Thread(target=desk.apply, args=(snapshot(),))
        taking.start()
        taking.join(0.2)
        assert taking.is_alive()
        assert desk.source(ONE).backing is None
    taking.join()
    assert desk.source(ONE).backing is not None
