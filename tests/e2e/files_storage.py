"""The smallest storage there is: volumes are qcow2 or raw files that the test makes, and may be out of reach."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import attrs

from hostd.drivers import DiskSource
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeDisk

LOCAL = BackendSpec(uuid="b0000000-1111-4222-8333-444444444444", driver="file")


@attrs.define
class Files:
    """`hostd.drivers.Storage` over files by hand."""

    directory: Path
    sources: dict[str, DiskSource] = attrs.field(factory=dict)
    down: bool = False

    def source(self, disk: VolumeDisk) -> DiskSource:
        if self.down:
            raise HostError(ErrorCode.STORAGE, f"backend {disk.backend.uuid} is away")
        if disk.volume not in self.sources:
            raise HostError(ErrorCode.NOT_FOUND, f"volume {disk.volume} is not on this host")
        return self.sources[disk.volume]

    def opening(self, *volumes: str) -> AbstractContextManager[None]:
        return nullcontext()

    def make(self, volume: str, *, size: str = "64M", kind: str = "qcow2") -> VolumeDisk:
        """An empty volume."""
        path = self.directory / f"{volume}.0.{kind}"
        qemu_img("create", "-q", "-f", kind, str(path), size)
        self.sources[volume] = DiskSource(type="file", format=kind, name=str(path))
        return VolumeDisk(volume=volume, backend=LOCAL)

    def layer(self, volume: str) -> Path:
        """An empty file over the present layer, not in use yet."""
        below = Path(self.sources[volume].name)
        number = int(below.name.split(".")[1]) + 1
        path = below.with_name(f"{volume}.{number}.qcow2")
        qemu_img("create", "-q", "-f", "qcow2", "-b", below.name, "-F", self.sources[volume].format, str(path))
        return path

    def layered(self, volume: str, path: Path) -> None:
        """The guest writes to that file now."""
        below = self.sources[volume]
        self.sources[volume] = DiskSource(type="file", format="qcow2", name=str(path), backing=below)


def qemu_img(*arguments: str) -> str:
    """Its output. Raises CalledProcessError."""
    return subprocess.run(("qemu-img", *arguments), check=True, capture_output=True, text=True, timeout=120).stdout
