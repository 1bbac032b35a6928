"""The tests' guest: a Debian or Ubuntu kernel, a busybox ramdisk and a small root disk, built from packages.

    image = build()
    image.kernel, image.ramdisk, image.disk, image.sha256("disk")

It boots under TCG in two or three seconds with 128 MB, takes its address and MTU from DHCP, reads a
config drive, obeys the power button, tells its progress on the serial console in lines that begin
with `SKYDECK`, and ends in a root shell there. What is in it: `guestfs/`.

Built once and kept under a key of everything that goes in; the same inputs give the same bytes.
Needs apt-get (download only), dpkg, busybox-static, mke2fs, debugfs, qemu-img; no root.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import cpio, debs
from tests.lab.hosts import REPOSITORY

CACHE: Final = REPOSITORY / ".lab" / "cache"
GUESTFS: Final = Path(__file__).parent / "guestfs"
DISK_MIB: Final = 32
EPOCH: Final = "1700000000"
"""Every time stamp inside the root disk."""

KERNELS: Final = ("linux-image-cloud-amd64", "linux-image-virtual")
"""Meta packages to take the kernel of: Debian's, then Ubuntu's."""

MODULES: Final = {
    "base": ("virtio_pci", "button", "evdev", "ext4", "crc32c_generic"),
    "virtio-0x0001": ("virtio_net",),
    "virtio-0x0002": ("virtio_blk", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"),
    "virtio-0x0003": ("virtio_console",),
    "virtio-0x0004": ("virtio-rng",),
    "virtio-0x0005": ("virtio_balloon",),
    "virtio-0x0008": ("virtio_scsi", "sd_mod", "sr_mod", "isofs"),
}
"""Kernel modules by the device that wants them (device ids: virtio 1.2, section 5). Built-in ones are left out."""


class GuestError(Exception):
    """The guest could not be built; the message holds the cause."""


@dataclass(frozen=True)
class GuestImage:
    """The built files."""

    kernel: Path
    """bzImage: what glance calls aki."""
    ramdisk: Path
    """gzipped cpio: ari. Boots by itself, without a disk, too."""
    disk: Path
    """qcow2, ext4 without partitions, labelled `skydeck-guest`. Needs kernel and ramdisk to boot."""
    cmdline: str = "console=ttyS0 quiet panic=1"

    def sha256(self, part: str) -> str:
        """The digest of `kernel`, `ramdisk` or `disk`, 64 hex digits."""
        with getattr(self, part).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def build(cache: Path = CACHE) -> GuestImage:
    """The guest, from `cache` or built into it. Safe when several processes ask at once.

    Raises GuestError when no kernel package can be had or a tool fails.
    """
    cache.mkdir(parents=True, exist_ok=True)
    package = kernel_package(cache)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise GuestError("busybox is missing: install busybox-static")
    target = cache / f"guest-{_key(package, Path(busybox))}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            work = Path(scratch)
            made = work / "made"
            made.mkdir()
            kernel = work / "kernel"
            for deb in sorted(package.glob("*.deb")):
                _run("dpkg", "-x", str(deb), str(kernel))
            shutil.copyfile(next(kernel.glob("boot/vmlinuz-*")), made / "vmlinuz")
            base = _userland(work / "base", Path(busybox))
            _make_disk(base, made / "disk.qcow2", work)
            _make_ramdisk(base, kernel, made / "ramdisk.gz")
            try:
                made.rename(target)
            except OSError:  # somebody else was faster; theirs is the same
                if not target.exists():
                    raise
    return GuestImage(kernel=target / "vmlinuz", ramdisk=target / "ramdisk.gz", disk=target / "disk.qcow2")


def _key(package: Path, busybox: Path) -> str:
    digest = hashlib.sha256()
    sources = [*sorted(package.glob("*.deb")), busybox, Path(__file__), *sorted(GUESTFS.rglob("*"))]
    for source in sources:
        if source.is_file():
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def kernel_package(cache: Path) -> Path:
    """A directory with the kernel's packages. Downloaded once: a new kernel is no reason to build another guest."""
    target = cache / "kernel"
    if target.exists():
        return target
    try:
        return debs.fetch(_find_kernel(), target)
    except debs.DownloadError as bad:
        raise GuestError(str(bad)) from bad


def _find_kernel() -> list[str]:
    for meta in KERNELS:
        found = debs.needs(meta, r"linux-(?:image|modules)-\d\S+")
        if found:
            return found
    raise GuestError(f"none of {', '.join(KERNELS)} is known to apt: run apt-get update")


def _userland(base: Path, busybox: Path) -> Path:
    """What the ramdisk and the root disk share: busybox under all its names, and the scripts."""
    shutil.copytree(GUESTFS, base)
    for directory in ("bin", "dev", "proc", "sys", "root", "run", "tmp", "mnt", "var"):
        (base / directory).mkdir(exist_ok=True)
    shutil.copyfile(busybox, base / "bin/busybox")
    (base / "bin/busybox").chmod(0o755)
    for applet in _run(str(busybox), "--list").split():
        if applet != "busybox" and not (base / "sbin" / applet).exists():
            (base / "bin" / applet).symlink_to("busybox")
    return base


def _make_ramdisk(base: Path, kernel: Path, target: Path) -> None:
    modules = base / "modules"
    modules.mkdir()
    for feature, wanted in MODULES.items():
        order: dict[str, None] = {}
        for name in wanted:
            for file in with_dependencies(kernel, name):
                plain = module_bytes(file)
                short = file.name.partition(".ko")[0] + ".ko"
                (modules / short).write_bytes(plain)
                order.setdefault(short)
        (modules / f"{feature}.list").write_text("".join(f"{file}\n" for file in order))
    target.write_bytes(gzip.compress(cpio.pack(base), mtime=0))


def with_dependencies(kernel: Path, name: str) -> Iterator[Path]:
    """Module files in loading order. A module that has no file is built into the kernel."""
    file = _module_file(kernel, name)
    if file is None:
        return
    # The packages carry no modules.dep: depmod writes it after installation. The modules name what they need.
    needs = re.search(rb"(?:^|\0)depends=([^\0]*)\0", module_bytes(file))
    for dependency in filter(None, needs[1].decode().split(",") if needs else []):
        yield from with_dependencies(kernel, dependency)
    yield file


def _module_file(kernel: Path, name: str) -> Path | None:
    pattern = re.sub("[-_]", "[-_]", name)
    return next(iter(sorted(kernel.glob(f"**/modules/**/{pattern}.ko*"))), None)


def module_bytes(file: Path) -> bytes:
    match file.suffix:
        case ".xz":
            return lzma.decompress(file.read_bytes())
        case ".zst":
            return subprocess.run(["zstd", "-dcq", str(file)], capture_output=True, check=True).stdout
        case _:
            return file.read_bytes()


def _make_disk(base: Path, target: Path, work: Path) -> None:
    raw = work / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    fixed = {"E2FSPROGS_FAKE_TIME": EPOCH}
    identity = "5ad0c1e4-0000-4000-8000-000000000001"
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-L", "skydeck-guest", "-U", identity,
         "-E", f"hash_seed={identity},root_owner=0:0", "-d", str(base), str(raw), environment=fixed)  # fmt: skip
    # mke2fs copies times and owners of this machine; the image shall hold none of them.
    fields = ("atime", "mtime", "ctime", "crtime")
    paths = ["/", *(f"/{path.relative_to(base)}" for path in sorted(base.rglob("*")))]
    script = work / "debugfs"
    script.write_text(
        "".join(
            "".join(f'set_inode_field "{path}" {field} @{EPOCH}\n' for field in fields)
            + "".join(
                f'set_inode_field "{path}" {field} 0\n' for field in ("uid", "gid", *(f"{f}_extra" for f in fields))
            )
            for path in paths
        )
    )
    _run("debugfs", "-w", "-f", str(script), str(raw), environment=fixed)
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(raw), str(target))


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GuestError(f"{' '.join(command[:4])}: {done.stderr.strip()[-500:]}")
    return done.stdout
