"""Kernels for direct boot (AKI): an x86 bzImage (linux/Documentation/arch/x86/boot.rst) or an ELF file."""

from __future__ import annotations

import struct
from typing import Final

from core.images.inspector.model import ImageRejected, Inspected, Window
from hostd.spec import DiskFormat

_BOOT_FLAG_AT: Final = 0x1FE
_SETUP_AT: Final = 0x202
_ELF: Final = b"\x7fELF"
_EXECUTABLE, _SHARED = 2, 3


def signature(window: Window) -> bool:
    return window.peek(0, 4) == _ELF or _is_bzimage(window)


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    if _is_bzimage(window):
        version = struct.unpack("<H", window.read(_SETUP_AT + 4, 2, what="bzImage boot protocol"))[0]
        if version < 0x200:
            raise ImageRejected(f"kernel boot protocol {version:#x} is too old", "use a kernel of Linux 2.6 or newer")
        return _inspected(window, f"bzImage, boot protocol {version >> 8}.{version & 0xFF:02}")
    header = window.read(0, 20, what="ELF header")
    width, order = header[4], header[5]
    if width not in (1, 2) or order not in (1, 2):
        raise ImageRejected("the ELF header is damaged", "fetch the file again")
    kind, machine = struct.unpack("<HH" if order == 1 else ">HH", header[16:20])
    if kind not in (_EXECUTABLE, _SHARED):
        raise ImageRejected(f"an ELF file of type {kind} is no kernel", "use the vmlinux or bzImage of the kernel")
    return _inspected(window, f"ELF, machine {machine}")


def _is_bzimage(window: Window) -> bool:
    return window.peek(_BOOT_FLAG_AT, 2) == b"\x55\xaa" and window.peek(_SETUP_AT, 4) == b"HdrS"


def _inspected(window: Window, kind: str) -> Inspected:
    return Inspected(format=DiskFormat.AKI, virtual_size=window.size, size=window.size, details={"kind": kind})
