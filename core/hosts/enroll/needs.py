"""What a host must have to run guests, judged from facts alone: no input, no output, no order of events."""

from __future__ import annotations

from typing import Final

from core.hosts.enroll.look import Facts
from core.hosts.enroll.report import Row, Verdict

ARCHITECTURES: Final = ("x86_64", "aarch64")

PYTHON_LEAST: Final = (3, 11)

FREE_LEAST_KIB: Final = 1 << 20
"""1 GiB: an image and a small guest."""

CLOCK_SKEW: Final = 30
"""Seconds of difference that are worth a warning: events of two hosts then sort wrongly."""

TOOLS: Final = {
    "qemu-img": ("disks", "qemu-utils", "qemu-img"),
    "qemu-nbd": ("disks", "qemu-utils", "qemu-img"),
    "mkfs.ext4": ("disks", "e2fsprogs", "e2fsprogs"),
    "mkfs.vfat": ("disks", "dosfstools", "dosfstools"),
    "mkswap": ("disks", "util-linux", "util-linux"),
    "prlimit": ("disks", "util-linux", "util-linux-core"),
    "nsenter": ("networks", "util-linux", "util-linux-core"),
    "dnsmasq": ("networks", "dnsmasq-base", "dnsmasq"),
    "nft": ("networks", "nftables", "nftables"),
    "ip": ("networks", "iproute2", "iproute"),
}
"""Each tool: the row it belongs to, apt's package, dnf's package."""

STORAGE: Final = {
    "nfs": {"mount.nfs": ("nfs-common", "nfs-utils")},
    "lvm": {"lvs": ("lvm2", "lvm2"), "thin_delta": ("thin-provisioning-tools", "device-mapper-persistent-data")},
    "iscsi": {"block-iscsi": ("qemu-block-extra", "qemu-block-iscsi")},
    "rbd": {"rbd": ("ceph-common", "ceph-common"), "block-rbd": ("qemu-block-extra", "qemu-block-rbd")},
}
"""Storage drivers that need more than every host has: each tool, apt's package and dnf's.

They are told of and not installed: which backends a host shall reach is said later, if ever. `block-` are QEMU's own.
"""

QEMU_PACKAGES: Final = {
    ("x86_64", "apt-get"): "qemu-system-x86",
    ("aarch64", "apt-get"): "qemu-system-arm",
    ("x86_64", "dnf"): "qemu-kvm",
    ("aarch64", "dnf"): "qemu-kvm",
}
LIBVIRT_PACKAGES: Final = {"apt-get": "libvirt-daemon-system", "dnf": "libvirt-daemon-kvm"}

KERNEL: Final = ("netns", "bridge", "veth", "tun", "nf_tables")
"""Features that every network of guests stands on."""

ROOT_LOGIN: Final = ("yes", "prohibit-password", "without-password", "forced-commands-only")
"""Values of PermitRootLogin under which the cloud's key works."""


def judge(facts: Facts, *, now: float, over_ssh: bool) -> list[Row]:
    """The table of what was found. `now` is the controller's time in seconds since the epoch."""
    rows = [
        Row("system", f"{facts.release or 'unknown distribution'}, kernel {facts.kernel}"),
        _architecture(facts),
        _python(facts),
        _libvirt(facts),
        _qemu(facts),
        _tools(facts, "disks"),
        _ntfs(facts),
        _nbd(facts),
        _storage(facts),
        _tools(facts, "networks"),
        *_kernel(facts),
        _kvm(facts),
        _disk(facts),
        _identity(facts),
        _clock(facts, now),
    ]
    if over_ssh:
        rows.append(_sshd(facts))
    return rows


def _architecture(facts: Facts) -> Row:
    if facts.arch in ARCHITECTURES:
        return Row("architecture", facts.arch)
    return Row("architecture", f"{facts.arch}, and guests run on {' or '.join(ARCHITECTURES)} hosts only", Verdict.FAIL)


def _installable(facts: Facts, check: str, found: str, packages: tuple[str, ...]) -> Row:
    if facts.packager in LIBVIRT_PACKAGES:
        return Row(check, found, Verdict.MISSING, packages)
    return Row(check, f"{found}, and there is neither apt nor dnf to install it with", Verdict.FAIL)


def _python(facts: Facts) -> Row:
    if not facts.python:
        return _installable(facts, "python3", "no /usr/bin/python3", ("python3",))
    try:
        version = tuple(int(part) for part in facts.python.split("."))
    except ValueError:
        return Row("python3", f"/usr/bin/python3 does not run: {facts.python}", Verdict.FAIL)
    if version < PYTHON_LEAST:
        least = ".".join(str(part) for part in PYTHON_LEAST)
        return Row(
            "python3",
            f"/usr/bin/python3 is {facts.python}, and hostd needs {least} or newer "
            "(Debian 12, Ubuntu 24.04, Fedora 37, RHEL 10, or later)",
            Verdict.FAIL,
        )
    return Row("python3", facts.python)


def _libvirt(facts: Facts) -> Row:
    lacking: dict[str, str] = {}
    if facts.libvirt_module != "yes":
        lacking["python3-libvirt"] = "python3-libvirt"
    if not facts.libvirtd:
        lacking["libvirtd"] = LIBVIRT_PACKAGES.get(facts.packager, "libvirt")
    if lacking:
        return _installable(facts, "libvirt", f"no {', no '.join(lacking)}", tuple(lacking.values()))
    return Row("libvirt", facts.libvirt or "installed, not running: will be started")


def _qemu(facts: Facts) -> Row:
    if facts.qemu:
        return Row("qemu", facts.qemu)
    package = QEMU_PACKAGES.get((facts.arch, facts.packager), "qemu")
    return _installable(facts, "qemu", f"no qemu-system-{facts.arch}", (package,))


def _tools(facts: Facts, check: str) -> Row:
    tools = {tool: packages for tool, (row, *packages) in TOOLS.items() if row == check}
    lacking = [tool for tool in tools if not facts.tools.get(tool)]
    if not lacking:
        return Row(f"tools for {check}", ", ".join(tools))
    packages = {tools[tool][0 if facts.packager == "apt-get" else 1]: None for tool in lacking}
    return _installable(facts, f"tools for {check}", f"no {', no '.join(lacking)}", tuple(packages))


def _ntfs(facts: Facts) -> Row:
    if facts.tools.get("mkfs.ntfs"):
        return Row("tools for Windows", "mkfs.ntfs")
    without = "no mkfs.ntfs: Windows guests get no ephemeral disk here"
    if facts.packager == "apt-get":
        return Row("tools for Windows", without, Verdict.MISSING, ("ntfs-3g",))
    # Not in Red Hat's own repositories: a reason to warn, and none to refuse the host.
    return Row("tools for Windows", without, Verdict.WARN)


def _nbd(facts: Facts) -> Row:
    if facts.nbd_module == "yes":
        return Row("tools for backups", "python3-libnbd")
    without = "no python3-libnbd: volumes cannot be read for backups and images, nor restored, here"
    return _installable(facts, "tools for backups", without, ("python3-libnbd",))


def _storage(facts: Facts) -> Row:
    able, unable = ["file"], []
    for driver, tools in STORAGE.items():
        names = [names[facts.packager == "dnf"] for tool, names in tools.items() if not facts.tools.get(tool)]
        if names:
            unable.append(f"{driver} ({', '.join(names)})")
        else:
            able.append(driver)
    found = ", ".join(able)
    return Row("storage drivers", f"{found}; installed when wanted: {', '.join(unable)}" if unable else found)


def _kernel(facts: Facts) -> list[Row]:
    tries = {name: getattr(facts, name) for name in KERNEL}
    refused = [name for name, answer in tries.items() if answer == "no"]
    if refused:
        modules = " ".join(name for name in refused if name != "netns")
        found = f"no {', no '.join(refused)}"
        return [Row("kernel", found + (f" (try: modprobe -a {modules})" if modules else ""), Verdict.FAIL)]
    # What lacks its tool is tried again once that is installed.
    rows = [Row("kernel", ", ".join(name for name, answer in tries.items() if answer == "yes"))]
    if facts.vxlan == "no":
        rows.append(Row("vxlan", "no: networks cannot span hosts", Verdict.WARN))
    return rows


def _kvm(facts: Facts) -> Row:
    if facts.kvm == "yes":
        return Row("/dev/kvm", "there; hostd proves it with a probe guest")
    return Row("/dev/kvm", "none: guests are emulated (TCG), which is much slower", Verdict.WARN)


def _disk(facts: Facts) -> Row:
    free = int(facts.free_kib)
    found = f"{free / (1 << 20):.1f} GiB free"
    if free < FREE_LEAST_KIB:
        return Row("disk", f"{found} for guests, and at least 1 GiB is needed", Verdict.FAIL)
    return Row("disk", found)


def _identity(facts: Facts) -> Row:
    if facts.machine_id:
        return Row("machine-id", facts.machine_id)
    return Row("machine-id", "none: run systemd-machine-id-setup, libvirt knows hosts by it", Verdict.WARN)


def _clock(facts: Facts, now: float) -> Row:
    skew = int(facts.clock) - now
    if abs(skew) > CLOCK_SKEW:
        return Row("clock", f"{abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}: run an NTP client", Verdict.WARN)
    return Row("clock", "in step")


def _sshd(facts: Facts) -> Row:
    if facts.pubkey_authentication == "no":
        return Row("sshd", "PubkeyAuthentication no: the cloud's key could not log in", Verdict.FAIL)
    if facts.permit_root_login and facts.permit_root_login not in ROOT_LOGIN:
        return Row(
            "sshd",
            f"PermitRootLogin {facts.permit_root_login}: the cloud's key could not log in "
            "(forced-commands-only is enough for it)",
            Verdict.FAIL,
        )
    return Row("sshd", "takes root's keys" if facts.permit_root_login else "did not tell its configuration")
