"""`volume_create_host`, `volume_from_image`: what a host takes to make a volume, empty or from an image it has cached.

The baselines are `qemu-img create` of the same size, without and over the same image (-b), which sync nothing.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from hostd.cache import ImageCache
from hostd.crash import NEVER
from hostd.spec import BackendSpec, DiskFormat, ImageRef, Receive, SourceKind, VolumeSource, VolumeSpec, Want
from hostd.storage.volumes.driver import VolumeDriver
from hostd.storage.volumes.volumes import Volumes
from tests.bench.common import record
from tests.bench.ground import median, took

ROUNDS = 40

SIZE_GB = 20

BACKEND = BackendSpec(uuid=str(uuid.uuid4()), driver="file")


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="skydeck-bench-", dir="/var/tmp") as folder:
        desk = _Desk(Path(folder))
        image = desk.add_image()
        source = VolumeSource(kind=SourceKind.IMAGE, image=image)
        base = str(desk.cache.path_of(image.digest))
        for name, origin, backing in (
            ("volume_create_host", None, ()),
            ("volume_from_image", source, ("-b", base, "-F", "qcow2")),
        ):
            ours, theirs = [], []
            # In turns: what else the machine does falls on both.
            for number in range(ROUNDS):
                ours.append(took(lambda origin=origin: desk.create(origin)))
                target = f"{folder}/{name}-{number}.qcow2"
                argv = ["qemu-img", "create", "-q", "-f", "qcow2", *backing, target, f"{SIZE_GB}G"]
                theirs.append(took(lambda argv=argv: subprocess.run(argv, check=True)))
            record(name, 1000 * median(ours), "ms", 1000 * median(theirs), ROUNDS)


class _Desk:
    """The driver of volumes, with the daemon's part played by hand."""

    def __init__(self, state: Path) -> None:
        self.cache = ImageCache(state / "images", clock=time.time, crash=NEVER)
        self._driver = VolumeDriver(Volumes(state=state, run=state))
        self._state = state

    def progress(self, percent: int) -> None: ...

    def create(self, source: VolumeSource | None) -> None:
        volume = str(uuid.uuid4())
        spec = VolumeSpec(uuid=volume, want=Want.PRESENT, backend=BACKEND, size_gb=SIZE_GB, source=source)
        for step in self._driver.plan(spec, self._driver.look(spec)):
            self._driver.execute(step, spec, self)
        self._driver.result(spec)

    def add_image(self) -> ImageRef:
        """A qcow2 image of 2 GiB, of which 64 MiB are data."""
        path = self._state / "image.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "2G"], check=True)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 64M", str(path)], check=True)
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with self.cache.receive(Receive(digest=digest, size=len(data))) as incoming:
            for at in range(0, len(data), 1 << 20):
                incoming.write(memoryview(data)[at : at + (1 << 20)])
            incoming.finish()
        return ImageRef(digest=digest, format=DiskFormat.QCOW2, size=len(data), virtual_size=2 << 30)
