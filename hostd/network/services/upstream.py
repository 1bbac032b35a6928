"""Foreign names: whom a network's DNS asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Final

RESOLV_CONF: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second says whom systemd-resolved asks, where the first names systemd-resolved alone."""


def resolvers(told: Iterable[str], *, files: Iterable[Path] = RESOLV_CONF) -> tuple[str, ...]:
    """The cloud's name servers, or else the host's own that are reached from elsewhere too. IPv4: the way out is."""
    chosen = _usable(told)
    for file in files:
        chosen = chosen or _usable(_nameservers(file))
    return chosen


def _nameservers(file: Path) -> list[str]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]


def _usable(servers: Iterable[str]) -> tuple[str, ...]:
    found = []
    for server in servers:
        try:
            address = ipaddress.ip_address(server)
        except ValueError:
            continue
        if address.version == 4 and not address.is_loopback and not address.is_unspecified:
            found.append(str(address))
    return tuple(found)
