"""Settings of the host that its bridges depend on.

Loading br_netfilter makes the kernel show every bridge's frames to iptables, and this switch overrides what each
bridge says for itself; rules of others would then decide on guests' frames. It is kept off, and bridges that need it
say so themselves.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path("/proc/sys/net/bridge")
OFF: Final = ("bridge-nf-call-arptables", "bridge-nf-call-iptables", "bridge-nf-call-ip6tables")


def read() -> dict[str, str]:
    """Name to value; empty where br_netfilter is not loaded."""
    found = {}
    for name in OFF:
        with suppress(FileNotFoundError):
            found[name] = (DIRECTORY / name).read_text().strip()
    return found


def wrong(found: Mapping[str, str]) -> bool:
    return any(value != "0" for value in found.values())


def write() -> None:
    for name in read():
        (DIRECTORY / name).write_text("0\n")


def load_module() -> None:
    """Have br_netfilter there, where it is a module."""
    if not DIRECTORY.exists():
        with suppress(FileNotFoundError):
            subprocess.run(["modprobe", "br_netfilter"], capture_output=True, check=False)
