"""VMDK, one sparse file with its descriptor inside (VMware "Virtual Disk Format 5.0").

A descriptor is a small text that may name any file of the machine as an extent or as a parent; QEMU opens what it
names. So only the two subformats that live in one file pass, and the text is read by a grammar that knows every line.
"""

from __future__ import annotations

import re
import struct
from typing import Final

import attrs

from core.images.inspector.model import (
    SECTOR,
    ImageRejected,
    Inspected,
    Window,
    check_virtual_size,
    is_power_of_two,
)
from hostd.spec import DiskFormat

MAGIC: Final = b"KDMV"
_DESCRIPTOR_MAGIC: Final = b"# disk descriptorfile"
_HEADER: Final = struct.Struct("<4sIIQQQQIQQQB4cH")
_KNOWN_FLAGS: Final = 0x1 | 0x2 | 0x4 | 0x10000 | 0x20000
_GD_AT_END: Final = 0xFFFFFFFFFFFFFFFF
_MAX_DESCRIPTOR: Final = 64 * 1024
_MAX_GRAIN_SECTORS: Final = 1 << 21
_CREATE_TYPES: Final = {"monolithicsparse": "monolithicSparse", "streamoptimized": "streamOptimized"}
_NO_PARENT: Final = 0xFFFFFFFF
_CID_DIGITS: Final = 8

_EXTENT: Final = re.compile(r'(?:RW|RDONLY|NOACCESS) +([0-9]{1,18}) +([A-Z0-9]+)(?: +"([^"]*)")?(?: +[0-9]+)?')
_EXTENT_START: Final = re.compile(r"\s*(?:RW|RDONLY|NOACCESS)\b", re.IGNORECASE)
_SETTING: Final = re.compile(r"([A-Za-z0-9_.:\-]+)\s*=\s*(.*)")
_NAMES_A_FILE: Final = ("parentfilenamehint", "changetrackpath")

_RECREATE: Final = "write it as one file: qemu-img convert -O vmdk -o subformat=streamOptimized SOURCE COPY"


@attrs.frozen(kw_only=True)
class _Sparse:
    """The fields of a sparse extent header that matter, in sectors where not said otherwise."""

    version: int
    flags: int
    capacity: int
    grain: int
    descriptor_offset: int
    descriptor_size: int
    entries_per_table: int
    directory_offset: int
    compression: int


def signature(window: Window) -> bool:
    # A bare descriptor is VMDK as well, though never one that passes; COWD is its ESX 2 ancestor.
    return window.peek(0, 4) in (MAGIC, b"COWD") or window.peek(0, 21).lower() == _DESCRIPTOR_MAGIC


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    if window.peek(0, 4) != MAGIC:
        raise ImageRejected("the vmdk is a descriptor that names its extents in other files", _RECREATE)
    header = _sparse(window, 0)
    create_type = _check_descriptor(window, header)
    if (header.directory_offset == _GD_AT_END) and create_type != "streamOptimized":
        raise ImageRejected("only a streamOptimized vmdk keeps its grain directory at the end", _RECREATE)
    if header.directory_offset == _GD_AT_END:
        _check_footer(window, header)
    elif not window.holds(header.directory_offset * SECTOR, 4) or header.directory_offset == 0:
        raise ImageRejected("the vmdk grain directory lies outside the file", _RECREATE)
    virtual_size = header.capacity * SECTOR
    check_virtual_size(virtual_size)
    return Inspected(
        format=DiskFormat.VMDK,
        virtual_size=virtual_size,
        size=window.size,
        details={"create_type": create_type, "grain_size": header.grain * SECTOR, "version": header.version},
    )


def _sparse(window: Window, offset: int) -> _Sparse:
    fields = _HEADER.unpack(window.read(offset, _HEADER.size, what="vmdk header"))
    header = _Sparse(
        version=fields[1],
        flags=fields[2],
        capacity=fields[3],
        grain=fields[4],
        descriptor_offset=fields[5],
        descriptor_size=fields[6],
        entries_per_table=fields[7],
        directory_offset=fields[9],
        compression=fields[16],
    )
    if fields[0] != MAGIC or not 1 <= header.version <= 3:
        raise ImageRejected(f"vmdk version {header.version} is not supported", _RECREATE)
    if header.flags & ~_KNOWN_FLAGS or header.compression > 1:
        raise ImageRejected(f"the vmdk uses unknown features ({header.flags:#x})", _RECREATE)
    if header.capacity == 0:
        # QEMU would then believe the embedded text, extents and all.
        raise ImageRejected("the vmdk header declares no capacity", _RECREATE)
    if not is_power_of_two(header.grain) or not 8 <= header.grain <= _MAX_GRAIN_SECTORS:
        raise ImageRejected(f"vmdk grain of {header.grain} sectors is not sane", _RECREATE)
    if not 0 < header.entries_per_table <= 512:
        raise ImageRejected(f"vmdk grain tables of {header.entries_per_table} entries are not sane", _RECREATE)
    return header


def _check_footer(window: Window, header: _Sparse) -> None:
    """The header's second copy, before the end mark: QEMU uses it in the first one's place."""
    footer = _sparse(window, window.size - 2 * SECTOR)
    if attrs.evolve(footer, directory_offset=header.directory_offset) != header:
        raise ImageRejected("the vmdk footer contradicts its header", _RECREATE)
    if not 0 < footer.directory_offset * SECTOR < window.size:
        raise ImageRejected("the vmdk grain directory lies outside the file", _RECREATE)


def _check_descriptor(window: Window, header: _Sparse) -> str:
    """The embedded descriptor's create type, once every line of it is known to be harmless."""
    length = header.descriptor_size * SECTOR
    if header.descriptor_offset == 0 or not 0 < length <= _MAX_DESCRIPTOR:
        raise ImageRejected(f"the vmdk has no embedded descriptor of sane size ({length} bytes)", _RECREATE)
    raw = window.read(header.descriptor_offset * SECTOR, length, what="vmdk descriptor")
    text, _, padding = raw.partition(b"\0")
    residue = padding.strip(b"\0")
    # QEMU rewrites the content id in place: a shorter one leaves the last bytes of the text standing behind its end.
    if residue and not (len(residue) < _CID_DIGITS and text.endswith(residue)):
        raise ImageRejected("the vmdk descriptor hides text after its end", _RECREATE)
    if not text.lower().startswith(_DESCRIPTOR_MAGIC):
        raise ImageRejected("the vmdk descriptor does not begin with its title", _RECREATE)
    # Windows writers use their own code page; every byte is a character here and only ASCII has meaning.
    settings, extents = _read_descriptor(text.decode("latin-1"))
    create_type = _CREATE_TYPES.get(settings.get("createtype", "").lower())
    if create_type is None:
        raise ImageRejected(f"vmdk subformat {settings.get('createtype', 'unknown')!a} is not supported", _RECREATE)
    if settings.get("parentcid", "ffffffff").lower() != f"{_NO_PARENT:x}":
        raise ImageRejected("the vmdk is a difference to a parent disk", f"flatten it: {_RECREATE}")
    if len(extents) != 1:
        raise ImageRejected(f"the vmdk has {len(extents)} extents where one is allowed", _RECREATE)
    sectors, kind, name = extents[0]
    if kind != "SPARSE":
        raise ImageRejected(f"a vmdk extent of type {kind} reads another file", _RECREATE)
    if "/" in name or "\\" in name or name.startswith("."):
        raise ImageRejected("the vmdk extent names a path", _RECREATE)
    if sectors != header.capacity:
        raise ImageRejected(
            f"the vmdk extent of {sectors} sectors contradicts the header's {header.capacity}", _RECREATE
        )
    return create_type


def _read_descriptor(text: str) -> tuple[dict[str, str], list[tuple[int, str, str]]]:
    """Settings by lower-case name, and extents as (sectors, type, file name)."""
    settings: dict[str, str] = {}
    extents: list[tuple[int, str, str]] = []
    for raw in text.split("\n"):
        line = raw.rstrip("\r").strip(" \t")
        if not line or line.startswith("#"):
            continue
        if _EXTENT_START.match(line):
            found = _EXTENT.fullmatch(line)
            if found is None:
                raise ImageRejected("the vmdk descriptor has an extent line that cannot be read", _RECREATE)
            extents.append((int(found[1]), found[2], found[3] or ""))
            continue
        setting = _SETTING.fullmatch(line)
        if setting is None:
            raise ImageRejected("the vmdk descriptor has a line that cannot be read", _RECREATE)
        key = setting[1].lower()
        if key in _NAMES_A_FILE:
            raise ImageRejected(f"the vmdk descriptor names another file ({setting[1]})", f"flatten it: {_RECREATE}")
        if key in settings:
            raise ImageRejected(f"the vmdk descriptor sets {key} twice", _RECREATE)
        settings[key] = setting[2].strip().strip('"')
    return settings, extents
