"""Reads an image's headers before any other program does, and says whether it is what it was declared to be.

An image is a stranger's file. The formats' own features (backing files, data files, extents, parents) let it name any
path of the machine that opens it, and a file may satisfy two formats at once, so that one program checks the first and
another opens the second (CVE-2015-1850, CVE-2022-47951, CVE-2024-32498). Hence: the format is declared, never guessed;
the header must match it; no other format's signature may be there; everything that names another file is refused.

One module per format, each with `signature(window)` and `parse(window)`; this one holds the rule between them.
Compare oslo_utils.imageutils.format_inspector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final, NamedTuple

from core.images.inspector import iso, kernel, qcow2, ramdisk, raw, vdi, vhd, vhdx, vmdk
from core.images.inspector.foreign import foreign
from core.images.inspector.model import ImageRejected, Inspected, Window
from hostd.spec import DiskFormat

__all__ = ["FORMATS", "ImageRejected", "Inspected", "format_named", "inspect"]


class _Format(NamedTuple):
    signature: Callable[[Window], bool]
    parse: Callable[[Window], Inspected]


_SIGNED: Final = {
    DiskFormat.QCOW2: _Format(qcow2.signature, qcow2.parse),
    DiskFormat.VMDK: _Format(vmdk.signature, vmdk.parse),
    DiskFormat.VHD: _Format(vhd.signature, vhd.parse),
    DiskFormat.VHDX: _Format(vhdx.signature, vhdx.parse),
    DiskFormat.VDI: _Format(vdi.signature, vdi.parse),
    DiskFormat.ISO: _Format(iso.signature, iso.parse),
    DiskFormat.AKI: _Format(kernel.signature, kernel.parse),
    DiskFormat.ARI: _Format(ramdisk.signature, ramdisk.parse),
}
"""Every format that announces itself; raw is what none of them is."""

FORMATS: Final = (DiskFormat.RAW, *_SIGNED)
"""Formats that may be declared."""

_FIRMWARE_BOOTS: Final = frozenset({DiskFormat.RAW, DiskFormat.ISO, DiskFormat.AKI, DiskFormat.VHD})
"""Formats whose first sector may hold a partition table: plain disks, hybrid ISOs, EFI-stub kernels, fixed VHDs."""

_ALIASES: Final = {"vhd": DiskFormat.VHD}


def format_named(declared: str) -> DiskFormat:
    """The format of that name; OpenStack's `vhd` is QEMU's `vpc`. Raises ImageRejected."""
    name = declared.lower()
    if name in _ALIASES:
        return _ALIASES[name]
    try:
        return DiskFormat(name)
    except ValueError:
        known = ", ".join(sorted({*FORMATS, *_ALIASES} - {DiskFormat.VHD.value}))
        raise ImageRejected(f"{declared!a} is no image format", f"declare one of {known}") from None


def inspect(file: BinaryIO, *, declared: str) -> Inspected:
    """What the seekable `file` holds, if it is safely of the `declared` format.

    Reads at most a few MiB and moves the file's position. Raises ImageRejected.
    """
    wanted = format_named(declared)
    window = Window(file)
    if found := foreign(window):
        raise ImageRejected(f"the file carries the signature of {found[0]}", found[1])
    seen = [kind for kind, known in _SIGNED.items() if known.signature(window)]
    others = [kind for kind in seen if kind is not wanted]
    if wanted is DiskFormat.RAW:
        if others:
            raise ImageRejected(f"the file is declared raw and looks like {_names(others)}", _hint(others))
        return raw.parse(window)
    if wanted not in seen:
        looks = f"and looks like {_names(others)}" if others else "and has no such header"
        raise ImageRejected(f"the file is declared {_name(wanted)} {looks}", _hint(others or [DiskFormat.RAW]))
    if others:
        raise ImageRejected(
            f"the file is {_name(wanted)} and {_names(others)} at once",
            "such a file shows different contents to different programs: re-create it with qemu-img convert",
        )
    if wanted not in _FIRMWARE_BOOTS and (table := raw.partition_table(window)):
        raise ImageRejected(
            f"the file is {_name(wanted)} and a disk with a {table} partition table at once",
            "such a file shows different contents to different programs: re-create it with qemu-img convert",
        )
    return _SIGNED[wanted].parse(window)


def _name(kind: DiskFormat) -> str:
    return "vhd" if kind is DiskFormat.VHD else kind.value


def _names(kinds: list[DiskFormat]) -> str:
    return " and ".join(_name(kind) for kind in kinds)


def _hint(kinds: list[DiskFormat]) -> str:
    if DiskFormat.ARI in kinds:
        return "if it is a compressed disk, decompress it first; if it is a ramdisk, declare it ari"
    return f"declare it {_name(kinds[0])}, if that is what it is meant to be"
