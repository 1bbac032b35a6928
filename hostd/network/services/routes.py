"""The two routes that services need, straight to the kernel (rtnetlink(7)): one message each.

A library would first read every link of the namespace, and there are as many namespaces as networks.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv4Address
from typing import Final

from hostd.network import names, namespaces
from hostd.spec import ErrorCode, HostError

PROTOCOL: Final = 171
"""Marks our routes."""

_NEW, _DELETE = 24, 25
_ACK, _REPLACE = 0x1 | 0x4, 0x100 | 0x400
"""NLM_F_REQUEST | NLM_F_ACK, and NLM_F_REPLACE | NLM_F_CREATE."""
_DESTINATION, _LINK, _GATEWAY = 1, 4, 5
_MAIN, _LOCAL = 254, 255
_TO_OTHERS, _TO_US = (0, 1), (254, 2)
"""Scope and type of a route: universe and unicast, host and local."""
_LOOPBACK = 1


def lead_out(namespace: str, gateway: str | None) -> None:
    """Make this the default route over the service leg; None: there shall be none. Raises HostError(NETWORK)."""
    header = _header(0, _MAIN, _TO_OTHERS)
    try:
        with namespaces.inside(namespace):
            link = _attribute(_LINK, struct.pack("=I", socket.if_nametoindex(names.SERVICE)))
        if gateway is None:
            _ask(namespace, _DELETE, header + link, fine=errno.ESRCH)
        else:
            _ask(namespace, _NEW, header + link + _attribute(_GATEWAY, IPv4Address(gateway).packed))
    except OSError as bad:
        raise HostError(ErrorCode.NETWORK, f"the default route of {namespace}: {bad}") from bad


def take_in(namespace: str, address: str) -> None:
    """Have a namespace take packets to an address for its own, without having it on a link. Raises OSError."""
    link = _attribute(_LINK, struct.pack("=I", _LOOPBACK))
    destination = _attribute(_DESTINATION, IPv4Address(address).packed)
    _ask(namespace, _NEW, _header(32, _LOCAL, _TO_US) + destination + link)


def _header(length: int, table: int, kind: tuple[int, int]) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, table, PROTOCOL, *kind, 0)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def _ask(namespace: str, kind: int, route: bytes, *, fine: int = 0) -> None:
    flags = _ACK if kind == _DELETE else _ACK | _REPLACE
    with namespaces.inside(namespace):
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    with kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(route), kind, flags, 1, 0) + route)
        number = -struct.unpack_from("=i", kernel.recv(4096), 16)[0]
    if number not in (0, fine):
        raise OSError(number, os.strerror(number))
