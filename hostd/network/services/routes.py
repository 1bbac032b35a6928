"""The routes and the address that services need, beside what their leg has."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address
from typing import Final

from hostd.network import names, namespaces, rtnetlink
from hostd.spec import ErrorCode, HostError

PROTOCOL: Final = 171
"""Marks our routes."""

_DESTINATION, _LINK, _GATEWAY = 1, 4, 5
_MAIN, _LOCAL = 254, 255
_TO_OTHERS, _TO_US = (0, 1), (254, 2)
"""Scope and type of a route: universe and unicast, host and local."""
_LOOPBACK = 1
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EACCES)
"""What a kernel says that has none, or has it switched off."""


def lead_out(namespace: str, gateway: str | None) -> None:
    """Make this the default route over the service leg; None: there shall be none. Raises HostError(NETWORK)."""
    try:
        with namespaces.inside(namespace):
            route = _header(0, _MAIN, _TO_OTHERS) + rtnetlink.number(_LINK, socket.if_nametoindex(names.SERVICE))
            if gateway is None:
                rtnetlink.change([(rtnetlink.DELROUTE, 0, route)], fine=[errno.ESRCH])
            else:
                route += rtnetlink.attribute(_GATEWAY, IPv4Address(gateway).packed)
                rtnetlink.change([(rtnetlink.NEWROUTE, rtnetlink.CREATE | rtnetlink.REPLACE, route)])
    except OSError as bad:
        raise HostError(ErrorCode.NETWORK, f"the default route of {namespace}: {bad}") from bad


def take_in(namespace: str, address: str) -> None:
    """Have a namespace take packets to an address for its own, without having it on a link. Raises OSError."""
    route = _header(32, _LOCAL, _TO_US) + rtnetlink.number(_LINK, _LOOPBACK)
    route += rtnetlink.attribute(_DESTINATION, IPv4Address(address).packed)
    with namespaces.inside(namespace):
        rtnetlink.change([(rtnetlink.NEWROUTE, rtnetlink.CREATE | rtnetlink.REPLACE, route)])


def call(namespace: str, address: str) -> None:
    """Give the service leg a link-local address (IPv6). Raises OSError."""
    with namespaces.inside(namespace):
        rtnetlink.change([rtnetlink.address(socket.if_nametoindex(names.SERVICE), f"{address}/64")], fine=_NO_IPV6)


def _header(length: int, table: int, kind: tuple[int, int]) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, table, PROTOCOL, *kind, 0)
