"""A port that nobody listens on."""

from __future__ import annotations

import socket


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
