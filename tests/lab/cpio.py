"""Archives in cpio's newc format, the one a kernel unpacks as its first root file system.

The same tree always gives the same bytes: no times, owners or inode numbers of the machine get in.
Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

from pathlib import Path


def pack(tree: Path) -> bytes:
    """The archive of every directory, file and symbolic link below `tree`, all owned by root."""
    out = bytearray()
    for number, path in enumerate(sorted(tree.rglob("*")), start=1):
        status = path.lstat()
        if path.is_symlink():
            data = str(path.readlink()).encode()
        elif path.is_dir():
            data = b""
        else:
            data = path.read_bytes()
        _add(out, path.relative_to(tree).as_posix(), number=number, mode=status.st_mode, data=data)
    _add(out, "TRAILER!!!", number=0, mode=0, data=b"")
    return bytes(out)


def _add(out: bytearray, name: str, *, number: int, mode: int, data: bytes) -> None:
    encoded = name.encode() + b"\0"
    links = 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    out += bytes(-len(out) % 4)
    out += data
    out += bytes(-len(out) % 4)
