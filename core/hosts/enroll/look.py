"""What a host has, read by one script that changes nothing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import attrs

from core.errors import Unavailable
from core.hosts.enroll.layout import PYTHON, Layout
from core.hosts.enroll.target import Sudo, Target, script

SCRIPT: Final = Path(__file__).with_name("look.sh")


@attrs.frozen(kw_only=True)
class Facts:
    """The script's answers, as text. Empty: there is none, or it could not be asked; `yes`/`no` for a try."""

    arch: str = ""
    kernel: str = ""
    hostname: str = ""
    distribution: str = ""
    """os-release's ID: debian, ubuntu, fedora, rhel, …"""
    release: str = ""
    """os-release's PRETTY_NAME."""
    packager: str = ""
    """apt-get, dnf or none."""
    init: str = ""
    """systemd or other."""
    machine_id: str = ""
    clock: str = ""
    """Seconds since the epoch, by the host."""
    python: str = ""
    libvirt_module: str = ""
    nbd_module: str = ""
    libvirt: str = ""
    """The running libvirtd's version."""
    libvirtd: str = ""
    """The program, running or not."""
    cloud: str = ""
    """The cloud that hostd's journal is pinned to."""
    qemu: str = ""
    """Version."""
    tools: dict[str, str] = attrs.field(factory=dict)
    """Each of needs.TOOLS, and of needs.STORAGE, to its path."""
    netns: str = ""
    bridge: str = ""
    veth: str = ""
    vxlan: str = ""
    tun: str = ""
    nf_tables: str = ""
    kvm: str = ""
    free_kib: str = ""
    """Free under the state directory."""
    authorized_keys_file: str = ""
    """sshd's AuthorizedKeysFile for root; empty when sshd would not tell."""
    permit_root_login: str = ""
    pubkey_authentication: str = ""
    root_home: str = "/root"


def parse(text: str) -> Facts:
    """The script's output as facts: keys that are no field of Facts are tools."""
    known = {field.name for field in attrs.fields(Facts)} - {"tools"}
    fields: dict[str, str] = {}
    tools: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            (fields if key in known else tools)[key] = value.strip()
    return Facts(tools=tools, **fields)


def become_root(target: Target) -> Target:
    """The target with root's rights. Raises Unavailable naming both ways to give them."""
    uid = target.run(["id", "-u"])
    if not uid.ok:
        raise Unavailable(
            f"{target.name} takes the login and runs no command: {uid.said}",
            hint="The login needs a POSIX shell; log in by hand to see what it says.",
        )
    if uid.out.strip() == "0":
        return target
    root = Sudo(target)
    tried = root.run(["true"])
    if not tried.ok:
        raise Unavailable(
            f"{target.name} is not root (uid {uid.out.strip()}) and may not use sudo without a password: {tried.said}",
            hint="Log in as root, or allow it: `NOPASSWD:ALL` for this user in /etc/sudoers.d.",
        )
    return root


def look(root: Target, layout: Layout) -> Facts:
    """Raises Unavailable when the script itself does not run."""
    result = script(root, SCRIPT.read_text(), layout.state, PYTHON, timeout=120)
    facts = parse(result.out)
    if not facts.arch or not facts.free_kib:
        raise Unavailable(
            f"{root.name} could not be looked at: {result.said}",
            hint=f"It needs sh, uname, df, awk and sed; try {shlex.quote('sh -c uname')} there.",
        )
    return facts
