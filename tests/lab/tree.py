"""The private files of a lab host: what makes two hosts on one kernel two machines.

`write` fills a directory on the machine; `boot` binds the parts named here over the host's own view
of the file system. Everything else (/usr, /lib, ...) is the machine's.
"""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path
from typing import Final

DIRECTORIES: Final = (
    "etc/libvirt",
    "etc/skydeck",
    "etc/ssh",
    "etc/systemd/system",
    "opt",
    "root",
    "usr/local",
    "var/cache/libvirt",
    "var/lib/libvirt",
    "var/lib/skydeck",
    "var/log/libvirt",
    "var/tmp",
    "tmp",  # last: the sources of the others may lie below the machine's /tmp
)
"""Bound over the same path in the host. They outlive a power failure, as a disk does."""

OVERLAID: Final = ("var/lib",)
"""Seen through an overlay of the host's own, so that what is made or removed there is the host's business alone: a
directory removed by the machine would take away the mount that hosts have over it."""

FILES: Final = ("etc/machine-id", "etc/hostname", "etc/hosts", "etc/resolv.conf")

ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
"""What every process in a host starts with."""

LIBVIRTD_CONF: Final = """\
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid_source = "machine-id"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

# user: with another one that may not open /dev/kvm, libvirt probes its capabilities anew at every define (7 s each).
# ownership: hosts share a kernel, and libvirt's notes of file owners in extended attributes would meet.
QEMU_CONF: Final = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "logd"
migration_address = "0.0.0.0"
migration_host = "{address}"
"""

SSHD_CONF: Final = """\
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100:30:200
Subsystem sftp internal-sftp
"""


def write(root: Path, *, name: str, address: str, authorized_key: str) -> None:
    """Fill `root` for a new host. An existing tree keeps its identity and what the host stored in it."""
    for directory in DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    if (root / "etc/machine-id").exists():
        return
    (root / "root").chmod(0o700)
    (root / "tmp").chmod(0o1777)
    (root / "var/tmp").chmod(0o1777)
    for directory in ("usr/local/bin", "usr/local/sbin", "usr/local/lib"):
        (root / directory).mkdir()
    files = {
        "etc/hostname": f"{name}\n",
        "etc/hosts": "127.0.0.1 localhost\n",
        "etc/resolv.conf": "# none\n",
        "etc/libvirt/libvirtd.conf": LIBVIRTD_CONF,
        "etc/libvirt/qemu.conf": QEMU_CONF.format(address=address),
        "etc/ssh/sshd_config": SSHD_CONF.format(address=address),
    }
    for path, text in files.items():
        (root / path).write_text(text)
    keys = root / "root/.ssh/authorized_keys"
    keys.parent.mkdir(mode=0o700)
    keys.write_text(authorized_key)
    keys.chmod(0o600)
    keygen(root / "etc/ssh/ssh_host_ed25519_key", comment=f"root@{name}")
    # Last: it marks the tree as complete.
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")


def write_hosts(root: Path, addresses: dict[str, str]) -> None:
    """Name every host of the lab in /etc/hosts. libvirt waits ten seconds a guest when its own name is missing.

    Written in place: a running host sees the file through a bind mount, which follows the inode.
    """
    lines = ["127.0.0.1 localhost", *(f"{address} {name} {name}.lab" for name, address in addresses.items())]
    (root / "etc/hosts").write_text("\n".join(lines) + "\n")


def keygen(path: Path, *, comment: str) -> None:
    """Make an ed25519 key pair without passphrase at `path` and `path`.pub."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)
