"""Settings of a routing namespace: it forwards, answers for its own addresses alone, and checks nobody's way back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_DIRECTORY: Final = Path("/proc/sys/net")

FORWARDING: Final = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/all/accept_ra": "0",
    "ipv6/conf/default/accept_ra": "0",
}

_OF_EACH: Final = {"rp_filter": "0", "arp_ignore": "1", "arp_announce": "2", "send_redirects": "0"}


def prepare() -> None:
    """For the namespace this thread is in, before it has links: they take over what is set here. Raises OSError."""
    for name, value in FORWARDING.items():
        _write(_DIRECTORY / name, value)
    for link in ("all", "default"):
        settle(link)


def settle(link: str) -> None:
    """The same for one link, which may have been there before."""
    for name, value in _OF_EACH.items():
        _write(_DIRECTORY / "ipv4/conf" / link / name, value)


def read() -> dict[str, str]:
    """What is set for the namespace as a whole, as far as the kernel has it."""
    every = [*FORWARDING, *(f"ipv4/conf/all/{name}" for name in _OF_EACH)]
    return {name: (_DIRECTORY / name).read_text().strip() for name in every if (_DIRECTORY / name).exists()}


def _write(path: Path, value: str) -> None:
    if path.exists() and path.read_text().strip() != value:  # a kernel may have no IPv6
        path.write_text(value)
