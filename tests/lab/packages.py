"""The system packages that skydeck's demo and tests need: checked, and installed where apt can.

Run by make with the system's python before there is a virtual environment: standard library only,
and nothing of ours. With apt and root (or sudo) the missing ones are installed, without their
recommendations and without starting any daemon; elsewhere the list is printed and the exit status is 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {
    "qemu-system-x86": "qemu-system-x86_64",
    "qemu-utils": "qemu-img",
    "libvirt-daemon-system": "libvirtd",
    "libvirt-clients": "virsh",
    "libvirt-dev": "/usr/include/libvirt/libvirt.h",
    "pkg-config": "pkg-config",
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "python3-libvirt": "",
    "dnsmasq-base": "dnsmasq",
    "nftables": "nft",
    "iproute2": "ip",
    "iputils-ping": "ping",
    "openssh-client": "ssh",
    "openssh-server": "/usr/sbin/sshd",
    "busybox-static": "busybox",
    "e2fsprogs": "mke2fs",
    "dosfstools": "mkfs.vfat",
    "ntfs-3g": "mkntfs",
    "zstd": "zstd",
    "python3-libnbd": "",
    "qemu-block-extra": "",
    "tgt": "tgtd",
    "lvm2": "lvm",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "ceph-common": "rbd",
    "radosgw": "radosgw",
    "tmux": "tmux",
    "postgresql": "",
}
"""Debian's and Ubuntu's name, and a command or file that proves it there on other systems (empty: cannot be told)."""

POLICY = Path("/usr/sbin/policy-rc.d")


def main() -> int:
    needed = {**PACKAGES, **_for_this_python()}
    apt = shutil.which("apt-get") and shutil.which("dpkg-query")
    missing = _not_installed(needed) if apt else [name for name, proof in needed.items() if not _there(proof)]
    if not missing:
        return 0
    prefix = _as_root()
    if not apt or prefix is None:
        print("These packages are missing (Debian's names):", *missing, sep="\n  ", file=sys.stderr)
        if apt:
            print(
                f"Install them as root:\n  apt-get install --no-install-recommends {' '.join(missing)}", file=sys.stderr
            )
        return 1
    print("Installing", *missing, flush=True)
    return _install(missing, prefix)


def _for_this_python() -> dict[str, str]:
    """What turns the running python into one that can make environments and compile extensions."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    header = Path(sysconfig.get_path("include"), "Python.h")
    wanted = {}
    if not header.exists():
        wanted[f"{version}-dev"] = str(header)
    if find_spec("ensurepip") is None:
        wanted[f"{version}-venv"] = str(Path(sysconfig.get_path("stdlib"), "ensurepip"))
    return wanted


def _not_installed(needed: dict[str, str]) -> list[str]:
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *needed],
        capture_output=True,
        text=True,
        check=False,  # it fails when it does not know one of them, which is an answer too
    ).stdout
    installed = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return [name for name in needed if name not in installed]


def _there(proof: str) -> bool:
    return not proof or (Path(proof).exists() if proof.startswith("/") else shutil.which(proof) is not None)


def _as_root() -> list[str] | None:
    """What to put before a command so that it runs as root; None when we may not."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = ["sudo", "true"] if sys.stdin.isatty() else ["sudo", "-n", "true"]
    return ["sudo"] if subprocess.run(asked, check=False, stderr=subprocess.DEVNULL).returncode == 0 else None


def _install(missing: list[str], prefix: list[str]) -> int:
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    # Debian's answer to "may this daemon start now?" (invoke-rc.d): no. The lab starts its own.
    forbid = not POLICY.exists()
    if forbid:
        with tempfile.NamedTemporaryFile("w", suffix=".policy-rc.d") as file:
            file.write("#!/bin/sh\nexit 101\n")
            file.flush()
            subprocess.run([*prefix, "install", "-m", "755", file.name, str(POLICY)], check=True)
    try:
        subprocess.run([*apt, "update"], check=False)  # a mirror may be down, and the lists still good
        return subprocess.run([*apt, "install", "--no-install-recommends", *missing], check=False).returncode
    finally:
        if forbid:
            subprocess.run([*prefix, "rm", "-f", str(POLICY)], check=True)


if __name__ == "__main__":
    sys.exit(main())
