"""The kernel's tracked connections, listed and deleted by ctnetlink: no `conntrack` command is needed on a host.

Messages are built by hand (linux/netfilter/nfnetlink_conntrack.h): of each connection only a few fields matter, there
may be a hundred thousand, and a general decoder takes 20 times as long.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Container, Iterable, Iterator
from contextlib import nullcontext
from typing import Final

import attrs

from hostd.network import namespaces
from hostd.network.document import Address
from hostd.spec import ErrorCode, HostError

_NETFILTER: Final = 12
_SUBSYSTEM: Final = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_NESTED: Final = 0x8000
_TYPE: Final = 0x3FFF

_TUPLE, _ZONE = 1, 18
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUMBER, _PROTO_DESTINATION = 1, 3
_ICMP_TYPES: Final = (5, 8)
_ICMP_CODES: Final = (6, 9)

_HEADER: Final = struct.Struct("=IHHIIBBH")
"""nlmsghdr and nfgenmsg."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERRNO: Final = struct.Struct("=i")
_PORT: Final = struct.Struct("!H")
_BUFFER: Final = 1 << 18
_BATCH: Final = 64
"""Deletions on their way at a time: their answers fit into any socket's buffer."""


@attrs.frozen(kw_only=True)
class Flow:
    """One tracked connection, as its first packet was."""

    zone: int
    source: Address
    destination: Address
    protocol: int
    first: int | None = None
    """Destination port, or ICMP type."""
    code: int | None = None
    """Of ICMP."""
    key: bytes = attrs.field(default=b"", repr=False)
    """What the kernel knows it by."""


def flows(zones: Container[int], *, namespace: str | None = None) -> list[Flow]:
    """The connections of these zones, in a named namespace or else the calling thread's.

    Blocks; a hundred thousand take a fraction of a second. Raises HostError(NETWORK).
    """
    with namespaces.inside(namespace) if namespace is not None else nullcontext(), _socket() as netlink:
        netlink.send(_message(_GET, _REQUEST | _DUMP, 1, b""))
        found: list[Flow] = []
        while True:
            data = netlink.recv(_BUFFER)
            for kind, body in _messages(data):
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    raise _refused("reading connections", -_ERRNO.unpack_from(body)[0])
                flow = _flow(body, zones)
                if flow is not None:
                    found.append(flow)


def delete(gone: Iterable[Flow], *, namespace: str | None = None) -> int:
    """Forget these connections; their next packets are judged anew. How many there still were.

    Blocks. Raises HostError(NETWORK).
    """
    messages = [
        _message(
            _DELETE,
            _REQUEST | _ACK,
            number,
            _attribute(_TUPLE | _NESTED, flow.key) + _attribute(_ZONE, _PORT.pack(flow.zone)),
            family=socket.AF_INET if flow.source.version == 4 else socket.AF_INET6,
        )
        for number, flow in enumerate(gone, 1)
    ]
    deleted = 0
    with namespaces.inside(namespace) if namespace is not None else nullcontext(), _socket() as netlink:
        for start in range(0, len(messages), _BATCH):
            batch = messages[start : start + _BATCH]
            netlink.send(b"".join(batch))
            answered = 0
            while answered < len(batch):
                for _, body in _messages(netlink.recv(_BUFFER)):
                    answered += 1
                    number = -_ERRNO.unpack_from(body)[0]
                    if number not in (0, errno.ENOENT):
                        raise _refused("deleting a connection", number)
                    deleted += number == 0
    return deleted


def _socket() -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    except OSError as error:
        raise _refused("opening netlink", error.errno or errno.EIO) from error
    made.settimeout(10)
    return made


def _refused(doing: str, number: int) -> HostError:
    return HostError(ErrorCode.NETWORK, f"conntrack: {doing}: {os.strerror(number)}")


def _message(kind: int, flags: int, number: int, body: bytes, *, family: int = socket.AF_UNSPEC) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0, family, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _messages(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Type and body (what follows nlmsghdr) of each message."""
    view = memoryview(data)
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        yield kind, view[at + 16 : at + length]
        at += length + (-length % 4)


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & _TYPE, data[at + 4 : at + length]
        at += length + (-length % 4)


def _flow(body: memoryview, zones: Container[int]) -> Flow | None:
    key: memoryview | None = None
    zone = 0
    for kind, value in _attributes(body[4:]):
        if kind == _TUPLE:
            key = value
        elif kind == _ZONE:
            zone = _PORT.unpack(value)[0]
    if key is None or zone not in zones:
        return None
    ends: list[Address] = []
    protocol, first, code = 0, None, None
    for kind, value in _attributes(key):
        if kind == _TUPLE_IP:
            ends = [ipaddress.ip_address(bytes(end)) for _, end in _attributes(value)]
        elif kind == _TUPLE_PROTO:
            for field, held in _attributes(value):
                if field == _PROTO_NUMBER:
                    protocol = held[0]
                elif field == _PROTO_DESTINATION:
                    first = _PORT.unpack(held)[0]
                elif field in _ICMP_TYPES:
                    first = held[0]
                elif field in _ICMP_CODES:
                    code = held[0]
    source, destination = ends
    return Flow(
        zone=zone, source=source, destination=destination, protocol=protocol, first=first, code=code, key=bytes(key)
    )
