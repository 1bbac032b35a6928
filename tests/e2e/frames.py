"""Ethernet frames by hand: what a guest's own kernel would never send."""

from __future__ import annotations

import ipaddress
import struct

IP4, ARP, IP6 = 0x0800, 0x0806, 0x86DD
BROADCAST = "ff:ff:ff:ff:ff:ff"
STRANGER = "fa:16:3e:99:99:99"
"""Nobody's card."""
NONE = "00:00:00:00:00:00"


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(destination: str, source: str, kind: int, body: bytes) -> bytes:
    return (octets(destination) + octets(source) + struct.pack("!H", kind) + body).ljust(60, b"\0")


def same(one: bytes, other: bytes) -> bool:
    """Whether two frames are one, with its padding or without: a bridge that looks into a packet takes it away."""
    return one.rstrip(b"\0") == other.rstrip(b"\0")


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """Each side as hardware and IPv4 address."""
    sides = b"".join(octets(mac) + ipaddress.IPv4Address(ip).packed for mac, ip in (sender, target))
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + sides


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip4(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    ends = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0)
    return head[:10] + struct.pack("!H", checksum(head + ends)) + ends + body


def ip6(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    ends = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 255) + ends + body


def udp(source: int, destination: int, body: bytes = b"data") -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(body), 0) + body


def icmp6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    """With its header and checksum."""
    plain = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    pseudo += struct.pack("!II", len(plain), 58)
    whole = plain[:2] + struct.pack("!H", checksum(pseudo + plain)) + plain[4:]
    return ip6(source, destination, 58, whole)


def pseudo(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    """What a transport's checksum covers besides itself."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    lengths = struct.pack("!BBH", 0, protocol, len(body)) if len(ends) == 8 else struct.pack("!II", len(body), protocol)
    return ends + lengths + body


def packet(source: str, destination: str, protocol: int, first: int | None) -> bytes:
    """An IP packet that begins something: a TCP segment, a datagram, an ICMP message or four bytes of anything else."""
    first = 0 if first is None else first
    if protocol == 6:
        body, at = struct.pack("!HHIIBBHHH", 4321, first, 1, 0, 0x50, 2, 1024, 0, 0), 16
    elif protocol == 17:
        body, at = struct.pack("!HHHH", 4321, first, 12, 0) + b"data", 6
    elif protocol in (1, 58):
        body, at = struct.pack("!BBHHH", first, 0, 0, 77, 1), 2
    else:
        body, at = bytes(4), -1
    if at >= 0:
        covered = body if protocol == 1 else pseudo(source, destination, protocol, body)
        body = body[:at] + struct.pack("!H", checksum(covered)) + body[at + 2 :]
    return (ip6 if ":" in source else ip4)(source, destination, protocol, body)
