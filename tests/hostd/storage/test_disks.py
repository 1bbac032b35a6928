"""Disks made by the real tools."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hostd.spec import DiskFormat, ErrorCode, HostError, ImageRef
from hostd.storage import commands, disks
from hostd.storage.instances import EPHEMERAL, ROOT, SWAP, virtual_size
from tests.hostd.specs import image, instance

MIB = 1 << 20


class Cache:
    """Images in a directory, by digest."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path_of(self, digest: str) -> Path:
        path = self._root / digest
        if not path.exists():
            raise HostError(ErrorCode.IMAGE_MISSING, digest)
        return path

    def hold(self, instance: str, digests: Iterable[str]) -> None: ...

    def release(self, instance: str) -> None: ...


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    root = tmp_path / "images"
    root.mkdir()
    return Cache(root)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "instance"
    path.mkdir()
    return path


def make(directory: Path, cache: Cache, **spec: Any) -> list[int]:
    done: list[int] = []
    disks.make(directory, instance(**spec), cache, progress=done.append)
    return done


def blkid(path: Path, tag: str) -> str:
    probed = subprocess.run(["blkid", "-p", "-s", tag, "-o", "value", path], capture_output=True, text=True, check=True)
    return probed.stdout.strip()


def cached(cache: Cache, kind: DiskFormat) -> ImageRef:
    path = cache._root / ("d" * 64)
    made = {DiskFormat.ISO: "raw"}.get(kind, kind.value)
    subprocess.run(["qemu-img", "create", "-q", "-f", made, path, "8M"], check=True)
    path.chmod(0o444)
    return image("d", kind=kind, virtual_size=8 * MIB)


@pytest.mark.parametrize("kind", [kind for kind in DiskFormat if kind not in (DiskFormat.AKI, DiskFormat.ARI)])
def test_a_root_disk_stands_on_its_image_by_an_explicit_format(directory: Path, cache: Cache, kind: DiskFormat) -> None:
    assert make(directory, cache, image=cached(cache, kind), root_gb=1) == [50, 100]
    told = subprocess.run(
        ["qemu-img", "info", "--output=json", directory / ROOT], capture_output=True, text=True, check=True
    )
    info = json.loads(told.stdout)
    assert info["virtual-size"] == virtual_size(directory / ROOT) == 1 << 30
    assert info["backing-filename-format"] == disks.BACKING_FORMATS[kind]
    base = Path(info["backing-filename"])
    if kind is DiskFormat.VHDX:  # which libvirt cannot put a disk on: the instance has it as qcow2
        assert not base.is_symlink()
        assert base.read_bytes()[:4] == b"QFI\xfb"
    else:
        assert base.readlink() == cache.path_of("d" * 64)
    assert cache.path_of("d" * 64).stat().st_mode & 0o777 == 0o444


def test_without_a_size_the_root_disk_is_as_large_as_the_image(directory: Path, cache: Cache) -> None:
    make(directory, cache, image=cached(cache, DiskFormat.QCOW2), root_gb=0)
    assert virtual_size(directory / ROOT) == 8 * MIB


@pytest.mark.parametrize(
    ("os_type", "kind"), [("linux", "ext4"), ("windows", "ntfs"), ("plan9", "vfat"), (None, "vfat")]
)
def test_the_ephemeral_disk_is_formatted_by_os_type(
    directory: Path, cache: Cache, os_type: str | None, kind: str
) -> None:
    make(directory, cache, root_gb=0, ephemeral_gb=1, os_type=os_type)
    disk = directory / EPHEMERAL
    assert (blkid(disk, "TYPE"), blkid(disk, "LABEL")) == (kind, "ephemeral0")
    assert disk.stat().st_size == 1 << 30
    assert disk.stat().st_blocks * 512 < 64 * MIB


def test_swap_is_swap(directory: Path, cache: Cache) -> None:
    make(directory, cache, root_gb=0, swap_mb=16)
    assert (blkid(directory / SWAP, "TYPE"), blkid(directory / SWAP, "LABEL")) == ("swap", "swap0")
    assert (directory / SWAP).stat().st_size == 16 * MIB


def test_boot_files_are_the_guests_own(directory: Path, cache: Cache) -> None:
    for letter in "bc":
        (cache._root / (letter * 64)).write_text(letter)
    make(directory, cache, root_gb=0, kernel=image("b"), ramdisk=image("c"))
    assert {path.name: path.read_text() for path in directory.iterdir()} == {
        "kernel." + "b" * 16: "b",
        "ramdisk." + "c" * 16: "c",
    }
    assert all(path.stat().st_nlink == 1 for path in directory.iterdir())


def test_what_is_there_is_left_alone(directory: Path, cache: Cache) -> None:
    make(directory, cache, root_gb=1)
    before = (directory / ROOT).stat()
    assert make(directory, cache, root_gb=1, swap_mb=1) == [100]
    assert (directory / ROOT).stat() == before


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        (image(virtual_size=2 << 30), "the image is 2147483648 bytes large, the root disk only 1073741824"),
        (image(kind=DiskFormat.AKI), "an image of format aki is no disk"),
    ],
)
def test_an_image_that_cannot_be_the_root_disk_is_refused(
    directory: Path, cache: Cache, ref: ImageRef, why: str
) -> None:
    with pytest.raises(HostError) as refused:
        disks.root_bytes(instance(image=ref, root_gb=1))
    assert (refused.value.code, refused.value.error.message) == (ErrorCode.BAD_STATE, why)


def test_a_missing_image_is_named_and_leaves_nothing(directory: Path, cache: Cache) -> None:
    with pytest.raises(HostError) as missing:
        make(directory, cache, image=image())
    assert missing.value.code is ErrorCode.IMAGE_MISSING
    assert list(directory.iterdir()) == []


def test_a_missing_tool_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands._ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(HostError) as missing:
        commands.run(("mkfs.ntfs", "x"), where=tmp_path, needed=1)
    assert missing.value.error.message == "mkfs.ntfs is not installed on this host"
    assert "ntfs-3g" in missing.value.error.hint


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("echo one >&2; echo two >&2; exit 3", ErrorCode.INTERNAL, "mkswap failed: two"),
        ("exit 3", ErrorCode.INTERNAL, "mkswap failed: exit status 3"),
        ("echo 'write: No space left on device' >&2; exit 1", ErrorCode.DISK_FULL, "disk full"),
        ("exec sleep 30", ErrorCode.INTERNAL, "mkswap did not end within 0 s"),
    ],
)
def test_what_a_tool_says_becomes_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: ErrorCode, message: str
) -> None:
    tool = tmp_path / "mkswap"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setitem(commands._ENVIRONMENT, "PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(HostError) as failed:
        commands.run(("mkswap",), where=tmp_path, needed=1, timeout=0.4)
    assert failed.value.code is code
    assert failed.value.error.message.startswith(message)
