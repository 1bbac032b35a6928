"""The driver of volumes: makes them, fills them, grows them, turns them back and deletes them, in any backend."""

from __future__ import annotations

from typing import Any, Final

from hostd.drivers import DiskSource, Step, StepContext
from hostd.spec import (
    DiskFormat,
    ErrorCode,
    HostError,
    ImageRef,
    ObjectKind,
    PowerState,
    SourceKind,
    VolumeSeen,
    VolumeSource,
    VolumeSpec,
    Want,
)
from hostd.storage.instances import checked
from hostd.storage.volumes.backend import Backend, OverImages
from hostd.storage.volumes.volumes import Volumes

GIB: Final = 1 << 30

STEPS: Final = ("delete", "create", "revert", "extend")

_FORMATS: Final[dict[DiskFormat, str]] = {
    DiskFormat.RAW: "raw",
    DiskFormat.ISO: "raw",
    DiskFormat.QCOW2: "qcow2",
    DiskFormat.VMDK: "vmdk",
    DiskFormat.VHD: "vpc",
    DiskFormat.VHDX: "vhdx",
    DiskFormat.VDI: "vdi",
}
"""QEMU's name of each image format that holds a disk."""


def plan(spec: VolumeSpec, seen: VolumeSeen | None) -> tuple[Step, ...]:
    """The steps, in the order of STEPS. Raises HostError(PROTOCOL) for a spec that cannot be.

    An absent volume is always deleted: what is left of a half-made one is not seen. Nor is it seen whether a volume
    was turned back already: `revert_to` is for one apply, after which core leaves it out.
    """
    if spec.want is Want.ABSENT:
        return (Step("delete"),)
    if spec.want is not Want.PRESENT:
        raise HostError(ErrorCode.PROTOCOL, f"a volume cannot be {spec.want}")
    if seen is None:
        return (Step("create", {"lost": spec.made}),)
    revert = (Step("revert"),) if spec.revert_to is not None else ()
    return (*revert, Step("extend")) if seen.size < spec.size_gb * GIB else revert


class VolumeDriver:
    """hostd.drivers.PlacedDriver of volumes. Thread-safe."""

    kind = ObjectKind.VOLUME
    steps = STEPS

    def __init__(self, volumes: Volumes) -> None:
        self.volumes: Final = volumes

    def look(self, spec: VolumeSpec) -> VolumeSeen | None:
        """None when it is not there, or not whole. Raises HostError(STORAGE) when its backend cannot be reached."""
        return self._backend(spec).seen(checked(spec.uuid))

    def plan(self, spec: VolumeSpec, seen: VolumeSeen | None) -> tuple[Step, ...]:
        return plan(spec, seen)

    def execute(self, step: Step, spec: VolumeSpec, context: StepContext) -> None:
        with self.volumes.turn(spec.uuid):
            match step.name:
                case "delete":
                    self._backend(spec).delete(spec.uuid)
                    context.cache.release(spec.uuid)
                case "create":
                    self._create(step, spec, context)
                case "revert":
                    assert spec.revert_to is not None
                    self._backend(spec).revert(spec.uuid, checked(spec.revert_to))
                case _:
                    self._backend(spec).extend(spec.uuid, spec.size_gb * GIB)

    def result(self, spec: VolumeSpec) -> tuple[PowerState | None, dict[str, Any]]:
        """{size, allocated} in bytes of a volume that is there."""
        seen = None if spec.want is Want.ABSENT else self.look(spec)
        return None, {} if seen is None else {"size": seen.size, "allocated": seen.allocated}

    # ------------------------------------------------------------------------ making

    def _backend(self, spec: VolumeSpec) -> Backend:
        return self.volumes.backend(spec.backend)

    def _create(self, step: Step, spec: VolumeSpec, context: StepContext) -> None:
        if step.args["lost"]:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"volume {spec.uuid} is gone from its backend",
                hint="a new one would be empty: bring it back, restore a backup, or delete the volume",
            )
        backend = self._backend(spec)
        if backend.seen(spec.uuid) is not None:
            return
        size = spec.size_gb * GIB
        match spec.source:
            case None:
                backend.create(spec.uuid, size, progress=context.progress)
            case VolumeSource(kind=SourceKind.IMAGE, image=ImageRef() as image):
                self._from_image(spec, image, context)
            case VolumeSource(kind=SourceKind.VOLUME, volume=str(volume)) as source:
                disk = self._of(spec, source).source(checked(volume))
                backend.create_from(spec.uuid, size, disk, progress=context.progress)
            case VolumeSource(kind=SourceKind.SNAPSHOT, volume=str(volume), snapshot=str(snapshot)) as source:
                self._from_snapshot(spec, source, (checked(volume), checked(snapshot)), context)
            case _:
                raise HostError(ErrorCode.PROTOCOL, f"volume {spec.uuid} has a source without its {spec.source.kind}")

    def _from_image(self, spec: VolumeSpec, image: ImageRef, context: StepContext) -> None:
        backend, size = self._backend(spec), spec.size_gb * GIB
        if image.format not in _FORMATS:
            raise HostError(ErrorCode.BAD_STATE, f"an image of format {image.format} is no disk")
        if size < image.virtual_size:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"the image is {image.virtual_size} bytes large, the volume only {size}",
                hint="make a larger volume",
            )
        # Held also while it is only copied: it shall not be pruned under the copy.
        context.cache.hold(spec.uuid, [image.digest])
        source = DiskSource(type="file", format=_FORMATS[image.format], name=str(context.cache.path_of(image.digest)))
        if isinstance(backend, OverImages) and source.format in backend.over:
            backend.create_over(spec.uuid, size, source, digest=image.digest)
            return
        backend.create_from(spec.uuid, size, source, progress=context.progress)
        context.cache.release(spec.uuid)

    def _from_snapshot(
        self, spec: VolumeSpec, source: VolumeSource, named: tuple[str, str], context: StepContext
    ) -> None:
        backend, size = self._backend(spec), spec.size_gb * GIB
        volume, snapshot = named
        if source.backend is not None and source.backend.uuid != spec.backend.uuid:
            frozen = self._of(spec, source).frozen(volume, snapshot)
            backend.create_from(spec.uuid, size, frozen, progress=context.progress)
            return
        if isinstance(backend, OverImages) and (digest := backend.image(volume)) is not None:
            context.cache.hold(spec.uuid, [digest])
        with self.volumes.turn(volume):
            backend.clone(spec.uuid, size, of=volume, snapshot=snapshot, progress=context.progress)

    def _of(self, spec: VolumeSpec, source: VolumeSource) -> Backend:
        """Where the source is."""
        return self.volumes.backend(source.backend or spec.backend)
