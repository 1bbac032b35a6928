"""The world outside a lab's cloud: one Ethernet segment that every host has a second card on.

    host a  ext0 --+
    host b  ext0 --+-- outside (bridge, 203.0.113.1/24) -- lo 198.51.100.10, a server of the internet
    host c  ext0 --+

It is a namespace of its own, so that nothing of it meets the machine's network. Provider networks are
put on `ext0`; their gateway is 203.0.113.1.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

CARD = "ext0"
"""The hosts' side of the cable."""

CIDR = "203.0.113.0/24"
GATEWAY = "203.0.113.1"
INTERNET = "198.51.100.10"
"""An address beyond the gateway."""

BRIDGE = "outside"


class Outside:
    """The segment of one lab, found again by the lab's key."""

    def __init__(self, key: str) -> None:
        self.namespace = f"labout-{key}"

    @property
    def there(self) -> bool:
        return Path("/run/netns", self.namespace).exists()

    def up(self) -> None:
        """Make the segment, unless it is there."""
        if self.there:
            return
        _ip("netns", "add", self.namespace)
        self._ip("link", "set", "lo", "up")
        self._ip("address", "add", f"{INTERNET}/32", "dev", "lo")
        self._ip("link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0")
        self._ip("link", "set", BRIDGE, "up")
        self._ip("address", "add", f"{GATEWAY}/24", "dev", BRIDGE)

    def down(self) -> None:
        if self.there:
            _ip("netns", "delete", self.namespace)

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command as a machine of the outside. Raises CalledProcessError."""
        command = self.enter(argv)
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=timeout)

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` there."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *argv]

    def _ip(self, *arguments: str) -> None:
        _ip("-n", self.namespace, *arguments)


def wire(*, namespace: str, link: str, mac: str, pid: str) -> None:
    """Lay a cable from the segment to a host, given by its PID 1; an old one of that name is replaced."""
    subprocess.run(["ip", "-n", namespace, "link", "delete", link], capture_output=True, check=False)
    _ip("-n", namespace, "link", "add", link, "type", "veth", "peer", "name", CARD, "address", mac, "netns", pid)
    _ip("-n", namespace, "link", "set", link, "master", BRIDGE, "addrgenmode", "none", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
