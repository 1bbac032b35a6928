"""A second kernel to run tests on: Debian's own, in a machine of its own, for what this machine's kernel lacks.

    done = run([sys.executable, "-m", "pytest", ...])     # as root, on Debian's cloud kernel, emulated

It has VLANs, VLAN filtering and connection tracking in bridges. The machine's disk is a copy of the commands, of
Python and of this checkout's code; nothing it does reaches this machine. Boots in some ten seconds, and computes about
twenty times slower than this machine.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import cpio, debs, guest
from tests.lab.hosts import REPOSITORY

COMMANDS: Final = (
    "ip", "bridge", "tc", "nft", "nsenter", "ping", "dnsmasq", "mount", "umount", "ldconfig",
)  # fmt: skip
LIBRARIES: Final = ("libnftables.so.1",)
"""Loaded by name, and so named by nobody's list of needs."""

PACKAGES: Final = ("attr", "attrs", "cattr", "cattrs", "pyroute2", "pytest", "_pytest", "pluggy", "iniconfig",
                   "packaging", "pygments", "typing_extensions.py", "py.py")  # fmt: skip
"""Of the virtual environment: what hostd and its tests import."""

MODULES: Final = (
    "virtio_pci", "virtio_blk", "ext4", "crc32c_generic", "bridge", "br_netfilter", "nf_conntrack_bridge", "nf_tables",
    "nf_conntrack_netlink", "nft_ct", "nft_meta_bridge", "nft_reject_bridge", "nft_chain_nat", "nft_masq", "nft_nat",
    "nft_fib", "nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6", "nft_redir", "nft_limit", "nft_objref", "vxlan", "veth",
    "8021q", "ifb", "sch_tbf", "sch_ingress", "cls_u32", "act_mirred", "tun", "dummy", "af_packet",
)  # fmt: skip

INIT: Final = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS0 2>&1
while read -r module; do insmod "/modules/$module"; done </modules/list
mount -t ext4 /dev/vda /newroot
for directory in proc sys dev; do mount --move /$directory /newroot/$directory; done
exec switch_root /newroot /init
"""

MAIN: Final = """#!{shell}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
mount -t tmpfs run /run; mkdir -p /run/netns /run/lock
ldconfig; ip link set lo up
cd {directory}
{command}
echo "ENDED $?"
poweroff -f
"""


@dataclass(frozen=True)
class Done:
    status: int
    """As the command ended; -1 when the machine did not come that far."""
    output: str
    """Of the command, and of the kernel."""


@dataclass(frozen=True)
class Extra:
    """What a command needs there beyond what all have."""

    modules: Sequence[str] = ()
    """Of the kernel."""
    commands: Sequence[str] = ()
    """Of this machine."""
    files: Sequence[Path] = ()
    """Of this machine, programs or not, at the places they have here."""
    packages: Sequence[str] = ()
    """Debian packages whose files are unpacked there. They are not installed on this machine."""
    scratch_mib: int = 0
    """Size of an empty second disk, /dev/vdb; 0: none."""


def run(command: Sequence[str], *, timeout: float = 300, extra: Extra = Extra()) -> Done:
    """Run a command in this checkout's directory on the other kernel, and wait for its end."""
    cache = guest.CACHE
    cache.mkdir(parents=True, exist_ok=True)
    package = guest.kernel_package(cache)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        work = Path(scratch)
        kernel = work / "kernel"
        for deb in sorted(package.glob("*.deb")):
            subprocess.run(["dpkg", "-x", deb, kernel], check=True)
        ramdisk = work / "ramdisk.gz"
        ramdisk.write_bytes(gzip.compress(cpio.pack(_early(work / "early", kernel, extra.modules)), 1, mtime=0))
        disks = [_disk(work, command, extra)]
        if extra.scratch_mib:
            disks.append(work / "scratch.raw")
            _empty(disks[-1], extra.scratch_mib << 20)
        return _boot(next(kernel.glob("boot/vmlinuz-*")), ramdisk, disks, timeout=timeout)


def _boot(kernel: Path, ramdisk: Path, disks: Sequence[Path], *, timeout: float) -> Done:
    machine = [
        "qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-machine", "q35,accel=tcg",
        "-cpu", "max", "-m", "1024", "-kernel", str(kernel), "-initrd", str(ramdisk),
        # On a busy machine the timer's ticks come too late for the kernel's trial of it, which it takes for a defect.
        "-append", "console=ttyS0 quiet panic=1 no_timer_check",
        "-serial", "stdio",
        *(part for disk in disks for part in ("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe")),
    ]  # fmt: skip
    try:
        heard = subprocess.run(machine, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        said = heard.stdout + heard.stderr
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"") + f"\nnot done within {timeout:.0f} s".encode()
    output = said.decode(errors="replace").replace("\r", "")
    ended = re.search(r"^ENDED (\d+)$", output, re.MULTILINE)
    return Done(status=int(ended[1]) if ended else -1, output=output)


def _early(tree: Path, kernel: Path, modules: Iterable[str]) -> Path:
    """What is there before the disk: busybox and the kernel's modules."""
    for directory in ("bin", "dev", "proc", "sys", "newroot", "modules"):
        (tree / directory).mkdir(parents=True)
    _busybox(tree / "bin")
    order: dict[str, None] = {}
    for name in (*MODULES, *modules):
        for file in guest.with_dependencies(kernel, name):
            short = file.name.partition(".ko")[0] + ".ko"
            (tree / "modules" / short).write_bytes(guest.module_bytes(file))
            order.setdefault(short)
    (tree / "modules/list").write_text("".join(f"{name}\n" for name in order))
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    return tree


def _busybox(directory: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise guest.GuestError("busybox is missing: install busybox-static")
    shutil.copyfile(busybox, directory / "busybox")
    (directory / "busybox").chmod(0o755)
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (directory / applet).symlink_to("busybox")


def _disk(work: Path, command: Sequence[str], extra: Extra) -> Path:
    """An ext4 file system with what the command needs, at the places it has here."""
    tree = work / "tree"
    for directory in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "root", "var/lib", "usr/local/bin"):
        (tree / directory).mkdir(parents=True)
    for file in ("passwd", "group", "protocols", "services", "nsswitch.conf", "ld.so.conf"):
        if Path("/etc", file).exists():
            shutil.copy(Path("/etc", file), tree / "etc")
    if Path("/etc/ld.so.conf.d").exists():
        shutil.copytree("/etc/ld.so.conf.d", tree / "etc/ld.so.conf.d")
    _busybox(tree / "bin")
    python = Path(sys.executable)
    # Not busybox's shell: it prefers its own ip to the real one.
    shell = Path("/bin/sh").resolve()
    commands = (_which(name) for name in (*COMMANDS, *extra.commands))
    for binary in (*commands, *extra.files, shell, python.resolve(), *_shared(LIBRARIES)):
        _install(tree, binary)
    if extra.packages:
        # Their libraries are those that this machine has.
        for package in sorted(_packages(extra.packages).glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, work / "unpacked"], check=True)
        for file in sorted((work / "unpacked").rglob("*bin/*")):
            _unpack(tree, file, Path("/", file.relative_to(work / "unpacked")))
    _python(tree, python)
    for part in ("hostd", "tests", "pyproject.toml"):
        _copy(REPOSITORY / part, tree)
    (tree / "init").write_text(MAIN.format(directory=REPOSITORY, command=" ".join(command), shell=shell))
    (tree / "init").chmod(0o755)
    image = work / "disk.raw"
    _empty(image, 1 << 30)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", tree, image], check=True)
    return image


def _python(tree: Path, python: Path) -> None:
    """The interpreter's own library, and of the virtual environment what is needed."""
    _copy(Path(sysconfig.get_path("stdlib")), tree, without=("test", "idlelib", "tkinter", "lib2to3", "dist-packages"))
    for extension in Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so"):
        for library in _needs(extension):
            _install(tree, library)
    environment = python.parent.parent
    shutil.copytree(python.parent, tree / str(python.parent).lstrip("/"), symlinks=True)
    link = python
    while link.is_symlink():
        link = link.parent / link.readlink()
        target = tree / str(link).lstrip("/")
        if not target.exists():
            target.symlink_to(python.resolve())
    shutil.copy(environment / "pyvenv.cfg", tree / str(environment).lstrip("/"))
    site = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES:
        for found in (site / name, *site.glob(f"{name}-*.dist-info")):
            if found.exists():
                _copy(found, tree)


def _copy(source: Path, tree: Path, *, without: Iterable[str] = ()) -> None:
    target = tree / str(source).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(
            source, target, symlinks=True, dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", "__snapshots__", "results.jsonl", *without),
        )  # fmt: skip
    else:
        shutil.copy(source, target)


def _install(tree: Path, binary: Path) -> None:
    for file in (binary, *_needs(binary)):
        target = tree / str(file).lstrip("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def _packages(names: Sequence[str]) -> Path:
    target = guest.CACHE / "-".join(["debs", *names])
    return target if target.exists() else debs.fetch(names, target)


def _unpack(tree: Path, file: Path, place: Path) -> None:
    target = tree / str(place).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target, follow_symlinks=False)
    for library in _needs(file):
        _install(tree, library)


def _empty(file: Path, size: int) -> None:
    with file.open("wb") as disk:
        disk.truncate(size)


def _needs(binary: Path) -> list[Path]:
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]


def _which(name: str) -> Path:
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise guest.GuestError(f"{name} is missing")
    return Path(found)


def _shared(names: Iterable[str]) -> list[Path]:
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return [Path(found[1]) for name in names if (found := re.search(rf"\s{re.escape(name)} .*=> (\S+)", known))]
