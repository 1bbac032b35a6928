"""Makes an instance's disks: the root overlay, the formatted ephemeral disk, swap, and the boot files.

Formats are always named, never probed: a raw disk is the guest's to write, and a qcow2 header written
there by the guest must not be believed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hostd.drivers import Images
from hostd.spec import DiskFormat, ErrorCode, HostError, ImageRef, InstanceSpec
from hostd.storage import commands, qcow2
from hostd.storage.instances import EPHEMERAL, ROOT, SWAP, base_file, boot_files, place, sync

GIB: Final = 1 << 30
MIB: Final = 1 << 20

# What making an empty disk writes: headers and tables. Only told to the person whose disk is full.
_OVERHEAD: Final = 4 * MIB

_NOT_DISKS: Final = frozenset({DiskFormat.AKI, DiskFormat.ARI})

BACKING_FORMATS: Final[dict[DiskFormat, str]] = {kind: kind.value for kind in DiskFormat if kind not in _NOT_DISKS} | {
    DiskFormat.ISO: "raw",
    DiskFormat.VHDX: "qcow2",
}
"""QEMU's name of the format of the file that a root disk stands on, by its image's."""

_CONVERTED: Final = frozenset({DiskFormat.VHDX})
"""Formats that QEMU reads and libvirt does not know as a backing file's: the instance gets its base as qcow2."""

_PACE: Final = 20 * MIB
"""Bytes a second at which even a slow host converts an image."""

MAKE_FILE_SYSTEM: Final[dict[str, tuple[str, ...]]] = {
    "linux": ("mkfs.ext4", "-q", "-F", "-E", "lazy_journal_init=1", "-L", "ephemeral0"),
    "windows": ("mkfs.ntfs", "--quiet", "--fast", "--force", "--label", "ephemeral0"),
}
"""By os_type; any other gets VFAT (nova/privsep/fs.py)."""

MAKE_VFAT: Final = ("mkfs.vfat", "-n", "ephemeral0")


def wanted(spec: InstanceSpec) -> tuple[str, ...]:
    """The names of the disk and boot files this instance needs; each stands on those before it."""
    kernel, ramdisk = boot_files(spec)
    names = (
        base_file(spec) if has_root(spec) else None,
        ROOT if has_root(spec) else None,
        EPHEMERAL if spec.ephemeral_gb else None,
        SWAP if spec.swap_mb else None,
        kernel,
        ramdisk,
    )
    return tuple(name for name in names if name)


def has_root(spec: InstanceSpec) -> bool:
    """Whether the root disk is a file of the instance's own: not of a guest that boots from a volume, or has none."""
    boots_from_volume = any(disk.boot_index == 0 for disk in spec.volumes)
    return not boots_from_volume and bool(spec.image or spec.root_gb)


def images(spec: InstanceSpec) -> tuple[str, ...]:
    """The digests of the cached images this instance's files stand on."""
    image = spec.image if has_root(spec) else None
    return tuple(ref.digest for ref in (image, spec.kernel, spec.ramdisk) if ref)


def root_bytes(spec: InstanceSpec) -> int:
    """Virtual size of the root disk. Raises HostError(BAD_STATE) when the image is no disk or larger than that."""
    size = spec.root_gb * GIB
    if spec.image is None:
        return size
    if spec.image.format not in BACKING_FORMATS:
        raise HostError(ErrorCode.BAD_STATE, f"an image of format {spec.image.format} is no disk")
    if size == 0:
        return spec.image.virtual_size
    if size < spec.image.virtual_size:
        raise HostError(
            ErrorCode.BAD_STATE,
            f"the image is {spec.image.virtual_size} bytes large, the root disk only {size}",
            hint="choose a flavor with a larger disk",
        )
    return size


def make(directory: Path, spec: InstanceSpec, cache: Images, *, progress: Callable[[int], None]) -> None:
    """Make every disk of `spec` that `directory` lacks; those that are there are left alone.

    Raises HostError(IMAGE_MISSING, DISK_FULL, BAD_STATE, INTERNAL).
    """
    missing = [name for name in wanted(spec) if not (directory / name).exists()]
    kernel, ramdisk = boot_files(spec)
    makers: dict[str, Callable[[Path], None]] = {
        ROOT: lambda part: _root(part, spec),
        EPHEMERAL: lambda part: _ephemeral(part, spec),
        SWAP: lambda part: _swap(part, spec),
    }
    if (base := base_file(spec)) and spec.image:
        makers[base] = (_converter if spec.image.format in _CONVERTED else _linker)(spec.image, cache)
    for name, ref in ((kernel, spec.kernel), (ramdisk, spec.ramdisk)):
        if name and ref:
            makers[name] = _copier(ref, cache)
    for done, name in enumerate(missing, start=1):
        place(directory / name, makers[name], needed=_OVERHEAD)
        progress(100 * done // len(missing))
    if missing:
        sync(directory)


def _root(part: Path, spec: InstanceSpec) -> None:
    backing = None
    if (base := base_file(spec)) and spec.image:
        backing = (str(part.parent / base), BACKING_FORMATS[spec.image.format])
    qcow2.create(part, size=root_bytes(spec), backing=backing)


def _ephemeral(part: Path, spec: InstanceSpec) -> None:
    _sparse(part, spec.ephemeral_gb * GIB)
    argv = MAKE_FILE_SYSTEM.get(spec.os_type or "", MAKE_VFAT)
    commands.run((*argv, str(part)), where=part.parent, needed=_OVERHEAD, timeout=300)


def _swap(part: Path, spec: InstanceSpec) -> None:
    _sparse(part, spec.swap_mb * MIB)
    commands.run(("mkswap", "-L", "swap0", str(part)), where=part.parent, needed=_OVERHEAD)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _linker(ref: ImageRef, cache: Images) -> Callable[[Path], None]:
    # By name and not as a second file: however large, it costs nothing, on another file system too.
    return lambda part: part.symlink_to(cache.path_of(ref.digest))


def _converter(ref: ImageRef, cache: Images) -> Callable[[Path], None]:
    def convert(part: Path) -> None:
        argv = ("qemu-img", "convert", "-f", ref.format.value, "-O", "qcow2", str(cache.path_of(ref.digest)), str(part))
        commands.run(argv, where=part.parent, needed=ref.size, timeout=60 + ref.virtual_size / _PACE)

    return convert


def _copier(ref: ImageRef, cache: Images) -> Callable[[Path], None]:
    # libvirt gives boot files to the guest's QEMU for good as it starts: a link would give it everybody's.
    def copy(part: Path) -> None:
        shutil.copyfile(cache.path_of(ref.digest), part)

    return copy
