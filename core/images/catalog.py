"""Well-known cloud images, for those with internet: where each is, and where its publisher keeps its checksum.

Nothing of them is trusted for being listed: they are fetched, compared and inspected like every other URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from core.errors import NotFound


@attrs.frozen(kw_only=True)
class Entry:
    """One image that can be had by its name."""

    name: str
    title: str
    url: str
    checksum_url: str = ""
    """A list of checksums that names the file, for images that are renewed in place."""
    digest: str = ""
    """The checksum itself, for images that never change."""
    disk_format: str = "qcow2"
    min_disk_gb: int = 0
    min_ram_mb: int = 512
    login: str = ""
    """The user that cloud-init makes there."""
    properties: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def architecture(self) -> str:
        return self.properties.get("architecture", "")

    @property
    def checksum(self) -> str:
        """What the image must be compared with: a digest, or the URL of a list of them."""
        return self.digest or self.checksum_url


def _linux(distribution: str, version: str) -> dict[str, str]:
    return {"os_type": "linux", "os_distro": distribution, "os_version": version, "architecture": "x86_64"}


_UBUNTU: Final = "https://cloud-images.ubuntu.com"
_DEBIAN: Final = "https://cloud.debian.org/images/cloud"
_FEDORA: Final = "https://download.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/x86_64/images"
_ROCKY: Final = "https://dl.rockylinux.org/pub/rocky/9/images/x86_64/Rocky-9-GenericCloud-Base.latest.x86_64.qcow2"
_ALMA: Final = "https://repo.almalinux.org/almalinux/9/cloud/x86_64/images"
_ALPINE: Final = (
    "https://dl-cdn.alpinelinux.org/alpine/v3.22/releases/cloud/generic_alpine-3.22.2-x86_64-bios-cloudinit-r0.qcow2"
)

_ENTRIES: Final = (
    Entry(
        name="debian-12",
        title="Debian 12 (bookworm)",
        url=f"{_DEBIAN}/bookworm/latest/debian-12-genericcloud-amd64.qcow2",
        checksum_url=f"{_DEBIAN}/bookworm/latest/SHA512SUMS",
        min_disk_gb=3,
        login="debian",
        properties=_linux("debian", "12"),
    ),
    Entry(
        name="debian-13",
        title="Debian 13 (trixie)",
        url=f"{_DEBIAN}/trixie/latest/debian-13-genericcloud-amd64.qcow2",
        checksum_url=f"{_DEBIAN}/trixie/latest/SHA512SUMS",
        min_disk_gb=3,
        login="debian",
        properties=_linux("debian", "13"),
    ),
    Entry(
        name="ubuntu-22.04",
        title="Ubuntu 22.04 LTS (Jammy Jellyfish)",
        url=f"{_UBUNTU}/jammy/current/jammy-server-cloudimg-amd64.img",
        checksum_url=f"{_UBUNTU}/jammy/current/SHA256SUMS",
        min_disk_gb=3,
        login="ubuntu",
        properties=_linux("ubuntu", "22.04"),
    ),
    Entry(
        name="ubuntu-24.04",
        title="Ubuntu 24.04 LTS (Noble Numbat)",
        url=f"{_UBUNTU}/noble/current/noble-server-cloudimg-amd64.img",
        checksum_url=f"{_UBUNTU}/noble/current/SHA256SUMS",
        min_disk_gb=4,
        login="ubuntu",
        properties=_linux("ubuntu", "24.04"),
    ),
    Entry(
        name="fedora-43",
        title="Fedora Cloud 43",
        url=f"{_FEDORA}/Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2",
        checksum_url=f"{_FEDORA}/Fedora-Cloud-43-1.6-x86_64-CHECKSUM",
        min_disk_gb=5,
        min_ram_mb=1024,
        login="fedora",
        properties=_linux("fedora", "43"),
    ),
    Entry(
        name="rocky-9",
        title="Rocky Linux 9",
        url=_ROCKY,
        checksum_url=f"{_ROCKY}.CHECKSUM",
        min_disk_gb=10,
        min_ram_mb=1024,
        login="rocky",
        properties=_linux("rocky", "9"),
    ),
    Entry(
        name="alma-9",
        title="AlmaLinux 9",
        url=f"{_ALMA}/AlmaLinux-9-GenericCloud-latest.x86_64.qcow2",
        checksum_url=f"{_ALMA}/CHECKSUM",
        min_disk_gb=10,
        min_ram_mb=1024,
        login="almalinux",
        properties=_linux("almalinux", "9"),
    ),
    Entry(
        name="alpine-3.22",
        title="Alpine Linux 3.22",
        url=_ALPINE,
        checksum_url=f"{_ALPINE}.sha512",
        min_disk_gb=1,
        min_ram_mb=128,
        login="alpine",
        properties=_linux("alpine", "3.22"),
    ),
    Entry(
        name="cirros",
        title="CirrOS 0.6.2, a small guest for tests",
        url="https://download.cirros-cloud.net/0.6.2/cirros-0.6.2-x86_64-disk.img",
        # Its publisher lists MD5 alone; this is the file of that release.
        digest="07e44a73e54c94d988028515403c1ed762055e01b83a767edf3c2b387f78ce00",
        min_disk_gb=1,
        min_ram_mb=128,
        login="cirros",
        properties=_linux("cirros", "0.6.2"),
    ),
)


def entries() -> tuple[Entry, ...]:
    """All there are, by name."""
    return tuple(sorted(_ENTRIES, key=lambda entry: entry.name))


def find(name: str) -> Entry:
    """Raises NotFound, naming all there are."""
    for entry in _ENTRIES:
        if entry.name == name:
            return entry
    raise NotFound(f"the catalog has no image {name!r}", hint=f"It has {', '.join(one.name for one in entries())}.")
