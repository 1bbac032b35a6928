"""Guests that are namespaces on a bridge of the test's own, behind hostd's firewall and nothing else of hostd.

All sockets are this process's, opened inside the guests: what is sent and heard needs no other program.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
from collections.abc import Iterator
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
from tests.e2e.frames import octets, same
from tests.e2e.sandbox import isolated

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


NET = network(1)
CLOSED = group(1, *OUT)
"""Everything out, nothing in."""
A, B, C = (port(number, NET, CLOSED.uuid) for number in (10, 11, 12))


def closed(*ports: PortSpec) -> NetworkingSpec:
    """These ports on one network, or else A, B and C; nothing is let in."""
    return document((NET,), ports or (A, B, C), (CLOSED,))


def opened(*rules: RuleSpec, members: tuple[str, ...] = ()) -> NetworkingSpec:
    """B lets in what these rules say; a rule may name the group `group(2)`, that has these members."""
    inner, friends = group(3, *OUT, *rules), group(2, *OUT, members=members)
    changed = attrs.evolve(B, groups=(inner.uuid,))
    return document((NET,), (A, changed, C), (CLOSED, inner, friends))


EXPECTED = "SKYDECK_BACKEND"
"""Environment variable: how the kernel shall be found to recognise replies."""


def hosts() -> Iterator[Host]:
    """A host in namespaces of its own."""
    with isolated():
        assert backend().value == os.environ.get(EXPECTED, backend().value)
        yield Host()


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

    def plug_all(self) -> tuple[Guest, Guest, Guest]:
        """Guests A, B and C on their network, nothing let in."""
        self.apply(closed())
        self.bridge(NET)
        return self.plug(A, NET), self.plug(B, NET), self.plug(C, NET)

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
