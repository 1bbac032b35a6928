"""Gratuitous ARP: the outside is told on which card a floating IP is now.

Said three times: who hears of an address within a second of its last news passes over it (Linux, arp_process).
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
from ipaddress import IPv4Address
from typing import Final

from hostd.network import namespaces

log = logging.getLogger(__name__)

TIMES: Final = 3
APART: Final = 1.1
"""Seconds."""

_EVERYBODY: Final = b"\xff" * 6
_ARP: Final = 0x0806


def announce(namespace: str, link: str, mac: str, addresses: list[str]) -> None:
    """Say, now and twice more, that these addresses are at this MAC. Returns once it was said the first time."""
    try:
        with namespaces.inside(namespace):
            card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
            card.bind((link, _ARP))
    except OSError as bad:
        log.warning("%s is not announced in %s: %s", ", ".join(addresses), namespace, bad)
        return
    frames = [_frame(bytes.fromhex(mac.replace(":", "")), IPv4Address(address)) for address in addresses]
    _say(card, frames, TIMES)


def _say(card: socket.socket, frames: list[bytes], times: int) -> None:
    try:
        for frame in frames:
            card.send(frame)
    except OSError as bad:
        log.info("announcing ends: %s", bad)  # the link went meanwhile
        times = 1
    if times == 1:
        card.close()
        return
    again = threading.Timer(APART, _say, (card, frames, times - 1))
    again.daemon = True
    again.start()


def _frame(mac: bytes, address: IPv4Address) -> bytes:
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address.packed + bytes(6) + address.packed
    return _EVERYBODY + mac + struct.pack("!H", _ARP) + request
