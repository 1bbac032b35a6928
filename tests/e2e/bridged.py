"""Guests that are namespaces on a bridge of the test's own, behind hostd's firewall and nothing else of hostd.

All sockets are this process's, opened inside the guests: what is sent and heard needs no other program.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import subprocess
from contextlib import suppress
from uuid import UUID

import attrs

from hostd.network import names, namespaces, nft
from hostd.network.document import Document
from hostd.network.firewall import Backend, Firewall, backend
from hostd.network.firewall.rules import BRIDGE
from hostd.network.part import World
from hostd.spec import (
    Direction,
    GroupSpec,
    NetworkingSpec,
    NetworkSpec,
    PortAddress,
    PortSpec,
    RuleSpec,
    SegmentType,
    SubnetSpec,
    Underlay,
)

NOTHING = World(links={}, namespaces=frozenset())
PATIENCE = float(os.environ.get("SKYDECK_PATIENCE", "0.25"))
"""Seconds in which a packet on this machine arrives, or does not; an emulated one needs more."""


def uuid(kind: int, number: int) -> str:
    """The first eleven digits name interfaces: they tell objects apart."""
    return str(UUID(hex=f"{kind:03x}{number:08x}" + "0" * 21))


HOST = uuid(0, 1)


def network(number: int, four: str = "10.0.0", six: str = "fd00:a:") -> NetworkSpec:
    subnets = (
        SubnetSpec(id=uuid(2, 2 * number), cidr=f"{four}.0/24", gateway=f"{four}.1", dhcp=False, service_ip=None),
        SubnetSpec(id=uuid(2, 2 * number + 1), cidr=f"{six}:/64", gateway=None, dhcp=False, service_ip=None),
    )
    return NetworkSpec(uuid=uuid(1, number), type=SegmentType.VXLAN, segment=100 + number, mtu=1450, subnets=subnets)


def port(number: int, on: NetworkSpec, *groups: str, host: int | None = None) -> PortSpec:
    """A port with an address of each subnet, both ending in `host`."""
    last = number if host is None else host
    addresses = tuple(
        PortAddress(subnet=subnet.id, ip=str(ipaddress.ip_network(subnet.cidr)[last])) for subnet in on.subnets
    )
    return PortSpec(
        uuid=uuid(4, number), network=on.uuid, device=uuid(5, number), mac=f"fa:16:3e:00:00:{number:02x}",
        addresses=addresses, groups=groups,
    )  # fmt: skip


def rule(number: int, direction: str = "ingress", version: int = 4, **more: object) -> RuleSpec:
    return RuleSpec(uuid=uuid(6, number), direction=Direction(direction), version=version, **more)  # type: ignore[arg-type]


OUT = (rule(900, "egress"), rule(901, "egress", 6))
"""Everything out, as a new security group has it."""


def group(number: int, *rules: RuleSpec, members: tuple[str, ...] = ()) -> GroupSpec:
    return GroupSpec(uuid=uuid(3, number), rules=rules, members=members)


def document(
    networks: tuple[NetworkSpec, ...], ports: tuple[PortSpec, ...], groups: tuple[GroupSpec, ...], **more: object
) -> NetworkingSpec:
    return NetworkingSpec(
        uuid=HOST,
        underlay=Underlay(),
        networks=networks,
        ports=ports,
        groups=groups,
        **more,  # type: ignore[arg-type]
    )


class Host:
    """The rules of one host, and bridges for its guests. In the calling thread's namespace."""

    def __init__(self) -> None:
        self.firewall = Firewall()
        self.guests: dict[str, Guest] = {}

    def apply(self, spec: NetworkingSpec) -> tuple[str, ...]:
        """As the driver does; the steps that were taken."""
        wanted = Document(spec)
        steps = self.firewall.plan(wanted, self.firewall.seen(wanted, NOTHING, deep=False))
        for step in steps:
            self.firewall.execute(step, wanted)
        assert self.firewall.plan(wanted, self.firewall.seen(wanted, NOTHING, deep=True)) == ()
        return tuple(step.name for step in steps)

    def bridge(self, on: NetworkSpec) -> str:
        name = names.bridge(on.uuid)
        calls = str(int(backend() is Backend.BR_NETFILTER))
        kind = ["type", "bridge", "mcast_snooping", "0", "nf_call_iptables", calls, "nf_call_ip6tables", calls]
        run("ip", "link", "add", name, "address", names.mac("bridge", on.uuid), *kind)
        run("ip", "link", "set", name, "addrgenmode", "none", "up")
        return name

    def plug(self, at: PortSpec, on: NetworkSpec) -> Guest:
        """The port's guest, on its network's bridge."""
        guest = Guest(f"g-{names.short(at.uuid)}", at, on)
        cable(names.tap(at.uuid), names.bridge(on.uuid), guest.namespace, "eth0", guest.mac)
        for address, subnet in zip(at.addresses, on.subnets, strict=False):
            guest.address(f"{address.ip}/{ipaddress.ip_network(subnet.cidr).prefixlen}")
        self.guests[at.uuid] = guest
        return guest

    def counted(self, comment: str) -> int:
        """Packets that rules with this comment matched, in our bridge table."""
        found = 0
        for item in nft.list_table(*BRIDGE) or ():
            if item.get("rule", {}).get("comment") == comment:
                found += sum(part["counter"]["packets"] for part in item["rule"]["expr"] if "counter" in part)
        return found


def cable(near: str, bridge: str, namespace: str, far: str, mac: str) -> None:
    """A cable from a bridge into a new namespace."""
    namespaces.create(namespace)
    run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "address", mac, "netns", namespace)
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", namespace, "link", "set", far, "addrgenmode", "none", "up")
    run("ip", "link", "set", near, "master", bridge, "addrgenmode", "none", "up")


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


@attrs.define
class Guest:
    namespace: str
    port: PortSpec
    network: NetworkSpec

    @property
    def mac(self) -> str:
        return self.port.mac.lower()

    def ip(self, version: int = 4) -> str:
        return next(a.ip for a in self.port.addresses if ipaddress.ip_address(a.ip).version == version)

    def address(self, address: str) -> None:
        flags = ["nodad"] if ":" in address else []
        run("ip", "-n", self.namespace, "address", "add", address, "dev", "eth0", *flags)

    def socket(self, kind: socket.SocketKind, version: int = 4) -> socket.socket:
        with namespaces.inside(self.namespace):
            made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        made.settimeout(PATIENCE)
        return made

    def wire(self) -> Wire:
        return Wire(self.namespace)

    def serves(self, at: int, version: int = 4) -> socket.socket:
        """A TCP server."""
        server = self.socket(socket.SOCK_STREAM, version)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::" if version == 6 else "", at))
        server.listen()
        return server

    def connects(self, address: str, to: int) -> socket.socket | None:
        """A connection, if there is a way."""
        made = self.socket(socket.SOCK_STREAM, ipaddress.ip_address(address).version)
        with suppress(TimeoutError):
            made.connect((address, to))
            return made
        made.close()
        return None

    def reaches(self, other: Guest, at: int, *, version: int = 4, size: int = 4, source: str | None = None) -> bool:
        """Whether a datagram arrives there, whole; and its answer comes back."""
        for one in (self, other):
            # Nobody waits for the kernel to ask again for a neighbour that did not answer before.
            run("ip", "-n", one.namespace, "neigh", "flush", "all")
        asked = os.urandom(size)
        with other.socket(socket.SOCK_DGRAM, version) as server, self.socket(socket.SOCK_DGRAM, version) as client:
            server.bind((other.ip(version), at))
            if source is not None:
                client.bind((source, 0))
            try:
                client.sendto(asked, (other.ip(version), at))
                heard, sender = server.recvfrom(65536)
            except TimeoutError:
                return False
            server.sendto(heard, sender)
            return client.recv(65536) == asked == heard

    def hears(self, address: str) -> bool:
        """Whether a ping is answered."""
        ping = self.pings(address, count=1, interval=0.1)
        ping.communicate()
        return ping.returncode == 0

    def pings(self, address: str, *, count: int, interval: float) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["nsenter", f"--net={namespaces.path(self.namespace)}", "ping", "-q", "-c", str(count), "-i",
             str(interval), "-W", "1", address],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip


class Wire:
    """Frames as they are, sent and heard at a guest's end of its cable."""

    def __init__(self, namespace: str, interface: str = "eth0") -> None:
        with namespaces.inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.bind((interface, 0))
        self._socket.settimeout(1)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    def heard_until(self, marker: bytes) -> list[bytes]:
        """All frames up to one that is known to pass. Raises TimeoutError when it does not come."""
        found = []
        while True:
            data, (_, _, direction, _, _) = self._socket.recvfrom(65536)
            # Guests' kernels report the groups they listen to (MLD), whenever they like.
            if direction == socket.PACKET_OUTGOING or data[:6] == octets("33:33:00:00:00:16"):
                continue
            if same(data, marker):
                return found
            found.append(data)


# ---------------------------------------------------------------------------- frames by hand

BROADCAST = "ff:ff:ff:ff:ff:ff"


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
