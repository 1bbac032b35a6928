"""What must never become an image, by every way in that bytes have from outside: refused, and nothing is left."""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import zstandard

from core.config import load
from core.errors import Invalid
from core.identity import quotas
from core.images import bring
from core.images.images import Image
from core.images.stores import ImageStore
from tests.core.images.site import Site, serving
from tests.core.world import MIB, World

LIMIT: Final = 64 * MIB
"""The project's image_size."""


@pytest.fixture
def database_url(home: Path, request: pytest.FixtureRequest) -> str:
    """SQLite alone: the database decides nothing here."""
    shutil.copy(request.getfixturevalue("sqlite_template"), home / "skydeck.db")
    return f"sqlite:///{home / 'skydeck.db'}"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def created(path: Path, kind: str, *options: str, size: str = "8M") -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, *options, str(path), size], check=True)
    return path.read_bytes()


def patched(data: bytes, offset: int, patch: bytes) -> bytes:
    return data[:offset] + patch + data[offset + len(patch) :]


def corpus(folder: Path) -> dict[str, tuple[str, bytes]]:
    """What it is to (the format it is declared as, its bytes)."""
    plain = created(folder / "plain", "qcow2")
    flat = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 16384 FLAT "/etc/shadow" 0\n'
    backed = ("-u", "-b", "/etc/shadow", "-F", "raw")
    zeros = bytes(3 * LIMIT)
    return {
        "a backing file": ("qcow2", created(folder / "backed", "qcow2", *backed)),
        "a json: backing file": (
            "qcow2",
            created(
                folder / "json", "qcow2", "-u", "-b", 'json:{"driver":"file","filename":"/etc/shadow"}', "-F", "raw"
            ),
        ),
        "a data file": ("qcow2", created(folder / "split", "qcow2", "-o", f"data_file={folder / 'data'}")),
        "vmdk extents": ("vmdk", flat),
        "vmdk extents as raw": ("raw", flat),
        "qcow2 as raw": ("raw", plain),
        "unknown features": ("qcow2", patched(plain, 72, struct.pack(">Q", 1 << 40))),
        "an oversized header": ("qcow2", patched(plain, 36, struct.pack(">I", 0xFFFFFFFF))),
        "a virtual size bomb": ("qcow2", created(folder / "huge", "qcow2", size="4T")),
        "cut short": ("qcow2", plain[:70000]),
        "cut in the header": ("qcow2", plain[:60]),
        "nothing": ("qcow2", b""),
        "a gzip bomb": ("raw", gzip.compress(zeros)),
        "an xz bomb": ("raw", lzma.compress(zeros, preset=0)),
        "a zstd bomb": ("raw", zstandard.ZstdCompressor().compress(zeros)),
        "a packed backing file": ("qcow2", gzip.compress((folder / "backed").read_bytes())),
        "packed garbage": ("qcow2", b"\x1f\x8b" + bytes(1000)),
    }


def test_every_hostile_image_is_refused_by_every_way_in(world: World, site: Site, tmp_path: Path) -> None:
    (world.config.home / "config.toml").write_text('image_import_allow = "127.0.0.1"')
    config = load({"SKYDECK_HOME": str(world.config.home)})
    files = ImageStore(config.images_dir)
    with world.store.write() as session:
        quotas.update(session, world.admin, world.admin.project_id, "admin", {"image_size": LIMIT})
    for what, (disk_format, data) in corpus(tmp_path).items():
        (tmp_path / "brought").write_bytes(data)
        site.pages["/brought"] = data
        for source in ({"path": tmp_path / "brought"}, {"url": site.url("/brought")}):
            with world.store.write() as session:
                image = bring.start(session, world.admin, name=what, disk_format=disk_format, **source)  # type: ignore[arg-type]
            with pytest.raises(Invalid) as refused:
                bring.bring(world.store, config, world.admin, image.id, **source)  # type: ignore[arg-type]
            assert refused.value.hint, what
            with world.store.read() as session:
                killed = session.get_one(Image, image.id)
            assert (killed.status, killed.digest, killed.error) == ("killed", None, refused.value.title), what
            usage = files.usage()
            assert (usage.images, usage.partials, usage.partial_bytes) == (0, 0, 0), what
    assert "backing" in next(row.error for row in world.rows(Image) if row.name == "a packed backing file")
