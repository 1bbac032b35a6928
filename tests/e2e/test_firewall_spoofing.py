"""What guests and other hosts may not send: forged frames on a real bridge."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import attrs
import pytest

from hostd.network import names
from hostd.network.firewall.spoofing import link_local
from hostd.spec import AddressPair, NetworkingSpec, RouterLeg, RouterSpec
from tests.e2e import bridged, frames
from tests.e2e.bridged import (
    NET,
    OUT,
    A,
    B,
    C,
    Guest,
    Host,
    Wire,
    cable,
    closed,
    document,
    group,
    opened,
    rule,
)
from tests.e2e.frames import ARP, BROADCAST, IP4, IP6, NONE, STRANGER, arp, frame

pytestmark = pytest.mark.e2e

A4, A6 = (address.ip for address in A.addresses)
B4, B6 = (address.ip for address in B.addresses)
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
LINK_LOCAL = str(link_local(A.mac))
DHCP_OFFER = frames.udp(67, 68)

GATEWAY6 = bytes(4) + ipaddress.IPv6Address("fd00:a::1").packed
BEYOND = "255.255.255.255"
B6_BYTES = ipaddress.IPv6Address(B6).packed
CLAIM = struct.pack("!I", 0x20000000) + B6_BYTES + b"\2\1" + frames.octets(A.mac)
PLAIN = frames.udp(9, 9)


@pytest.fixture
def host() -> Iterator[Host]:
    yield from bridged.hosts()


@pytest.fixture
def trio(host: Host) -> tuple[Guest, Guest, Guest]:
    return host.plug_all()


# ---------------------------------------------------------------------------- anti-spoofing

FORGED = {
    "MAC": ("spoofed MAC", frame(B.mac, STRANGER, IP4, frames.ip4(A4, B4, 17, PLAIN))),
    "MAC of B": ("spoofed MAC", frame(BROADCAST, B.mac, ARP, arp(1, (B.mac, B4), (NONE, "10.0.0.1")))),
    "IPv4": ("spoofed IPv4", frame(B.mac, A.mac, IP4, frames.ip4("10.0.0.99", B4, 17, PLAIN))),
    "IPv4 of B, to all": ("spoofed IPv4", frame(BROADCAST, A.mac, IP4, frames.ip4(B4, BEYOND, 17, PLAIN))),
    "IPv6": ("spoofed IPv6", frame(B.mac, A.mac, IP6, frames.ip6("fd00:a::99", B6, 17, PLAIN))),
    "IPv6 link-local": ("spoofed IPv6", frame(B.mac, A.mac, IP6, frames.ip6("fe80::99", B6, 17, PLAIN))),
    "ARP reply": ("spoofed ARP", frame(C.mac, A.mac, ARP, arp(2, (A.mac, B4), (C.mac, "10.0.0.12")))),
    "gratuitous ARP": ("spoofed ARP", frame(BROADCAST, A.mac, ARP, arp(1, (A.mac, "10.0.0.1"), (NONE, "10.0.0.1")))),
    "ARP sender MAC": ("spoofed ARP", frame(BROADCAST, A.mac, ARP, arp(1, (B.mac, A4), (NONE, "10.0.0.1")))),
    "ND advertisement": (
        "spoofed neighbour", frame(ALL_NODES_MAC, A.mac, IP6, frames.icmp6(A6, ALL_NODES, 136, CLAIM))
    ),
    "ND claim": (
        "spoofed neighbour", frame(ALL_NODES_MAC, A.mac, IP6, frames.icmp6("::", ALL_NODES, 135, bytes(4) + B6_BYTES))
    ),
    "router advertisement": (
        "spoofed router", frame(ALL_NODES_MAC, A.mac, IP6, frames.icmp6(LINK_LOCAL, ALL_NODES, 134, bytes(12)))
    ),
    "redirect": ("spoofed router", frame(B.mac, A.mac, IP6, frames.icmp6(LINK_LOCAL, B6, 137, bytes(36)))),
    "DHCP server": ("spoofed DHCP server", frame(BROADCAST, A.mac, IP4, frames.ip4(A4, BEYOND, 17, DHCP_OFFER))),
    "DHCPv6 server": (
        "spoofed DHCP server",
        frame(ALL_NODES_MAC, A.mac, IP6, frames.ip6(LINK_LOCAL, ALL_NODES, 17, frames.udp(547, 546))),
    ),
    "VLAN tag": (
        "neither IP nor ARP",
        frame(BROADCAST, A.mac, 0x8100, struct.pack("!HH", 7, ARP) + arp(1, (A.mac, A4), (NONE, "10.0.0.1"))),
    ),
    "another protocol": ("neither IP nor ARP", frame(BROADCAST, A.mac, 0x88CC, bytes(46))),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_what_is_forged_is_dropped_and_counted(host: Host, trio: tuple[Guest, Guest, Guest], what: str) -> None:
    a, b, c = trio
    everything = (rule(1), rule(2, version=6))
    host.apply(opened(*everything))
    comment, forged = FORGED[what]
    honest = frame(BROADCAST, a.mac, ARP, arp(1, (a.mac, a.ip()), (NONE, "10.0.0.250")))
    with a.wire() as forger, b.wire() as victim, c.wire() as witness:
        forger.send(forged)
        forger.send(honest)
        for listener in (victim, witness):
            assert not [data for data in listener.heard_until(honest) if data[6:12] == forged[6:12]]
    assert host.counted(comment) == 1


def test_a_router_hidden_in_fragments_is_dropped_when_whole(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio
    host.apply(opened(rule(1, version=6)))
    whole = frames.icmp6(LINK_LOCAL, ALL_NODES, 134, bytes(12))[40:]
    options = struct.pack("!BB", 58, 0) + b"\1\4" + bytes(4)  # destination options, then ICMPv6

    def fragment(offset: int, more: bool, body: bytes) -> bytes:
        head = struct.pack("!BBHI", 60, 0, offset | more, 7)
        return frame(ALL_NODES_MAC, a.mac, IP6, frames.ip6(LINK_LOCAL, ALL_NODES, 44, head + body))

    honest = frame(BROADCAST, a.mac, ARP, arp(1, (a.mac, a.ip()), (NONE, "10.0.0.250")))
    with a.wire() as forger, b.wire() as victim:
        forger.send(fragment(0, True, options))
        forger.send(fragment(8, False, whole))
        forger.send(honest)
        assert not [data for data in victim.heard_until(honest) if data[6:12] == frames.octets(a.mac)]


def test_nothing_reaches_the_host(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, _, _ = trio
    bridged.run("ip", "address", "add", "10.0.0.200/24", "dev", names.bridge(NET.uuid))
    assert not a.hears("10.0.0.200")
    assert host.counted("to the host") >= 1


def test_allowed_address_pairs(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio
    spec = opened(rule(1), rule(2, version=6))

    def allowing(*pairs: AddressPair) -> NetworkingSpec:
        return attrs.evolve(spec, ports=(attrs.evolve(A, pairs=pairs), *spec.ports[1:]))

    host.apply(spec)
    for address in ("10.0.0.40/24", "10.0.0.50/24", "fd00:a::50/64"):
        a.address(address)
    assert not a.reaches(b, 7000, source="10.0.0.50")
    assert not a.reaches(b, 7000, version=6, source="fd00:a::50")
    host.apply(
        allowing(AddressPair(cidr="10.0.0.50"), AddressPair(cidr="fd00:a::50/124"), AddressPair(cidr="fd00:a::50/128"))
    )
    assert a.reaches(b, 7000, source="10.0.0.50")
    assert a.reaches(b, 7000, version=6, source="fd00:a::50")
    assert not a.reaches(b, 7000, source="10.0.0.40")
    host.apply(allowing(AddressPair(cidr="10.0.0.40/29"), AddressPair(cidr="10.0.0.40/30")))
    assert a.reaches(b, 7000, source="10.0.0.40")
    assert not a.reaches(b, 7000, source="10.0.0.50")
    # A pair with a MAC of its own.
    host.apply(allowing(AddressPair(cidr="10.0.0.60", mac=STRANGER)))
    honest = frame(BROADCAST, STRANGER, ARP, arp(1, (STRANGER, "10.0.0.60"), (BROADCAST, "10.0.0.60")))
    with a.wire() as sender, b.wire() as other:
        sender.send(honest)
        assert other.heard_until(honest) is not None


def test_without_port_security_everything_passes(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, c = trio
    spec = closed(attrs.evolve(A, security=False, groups=()), attrs.evolve(B, security=False, groups=()), C)
    host.apply(spec)
    assert a.reaches(b, 7000)
    assert not a.reaches(c, 7000), "the other one has its security"
    assert c.reaches(a, 7000)
    with a.wire() as sender, b.wire() as other:
        for what, (_, forged) in FORGED.items():
            if what in ("MAC of B", "VLAN tag", "ARP reply"):
                continue  # the bridge would take A for B; a tag is not heard; and the reply is for C
            sender.send(forged)
            assert other.heard_until(forged) is not None


def test_disabled_and_unknown_ports_pass_nothing(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio
    spec = opened(rule(1))
    host.apply(spec)
    assert a.reaches(b, 7000)
    disabled = attrs.evolve(spec, ports=(spec.ports[0], attrs.evolve(spec.ports[1], enabled=False), spec.ports[2]))
    unknown = attrs.evolve(spec, ports=(spec.ports[0], spec.ports[2]))
    for changed in (disabled, unknown):
        host.apply(spec)
        assert a.reaches(b, 7000)
        with a.serves(80), b.wire() as inside:
            host.apply(changed)
            assert not a.reaches(b, 7000)
            request = frame(BROADCAST, b.mac, ARP, arp(1, (b.mac, b.ip()), (BROADCAST, a.ip())))
            with a.wire() as other, host.guests[C.uuid].wire() as third:
                inside.send(request)
                marker = frame(BROADCAST, C.mac, ARP, arp(1, (C.mac, "10.0.0.12"), (BROADCAST, "10.0.0.250")))
                third.send(marker)
                assert not [data for data in other.heard_until(marker) if data[6:12] == frames.octets(b.mac)]
                with pytest.raises(TimeoutError):
                    inside.heard_until(marker)


# ---------------------------------------------------------------------------- between hosts


@pytest.fixture
def tunnel(host: Host) -> Iterator[tuple[Guest, Wire, Wire, RouterLeg]]:
    """A guest; the far end of the network's tunnel; the inside of a router's leg; and that leg."""
    leg = RouterLeg(
        port=bridged.uuid(7, 1), network=NET.uuid, mac="fa:16:3e:aa:00:01", addresses=("10.0.0.1/24", "fd00:a::1/64")
    )
    router = RouterSpec(uuid=bridged.uuid(8, 1), legs=(leg,))
    inner = group(3, *OUT, rule(1), rule(2, version=6))
    host.apply(document((NET,), (attrs.evolve(A, groups=(inner.uuid,)),), (inner,), routers=(router,)))
    bridge = host.bridge(NET)
    a = host.plug(A, NET)
    cable(names.vxlan(NET.uuid), bridge, "far", "eth0", STRANGER)
    cable(names.router_leg(leg.port), bridge, "router", "eth0", leg.mac)
    with Wire("far") as far, Wire("router") as inside:
        yield a, far, inside, leg


def test_what_is_every_hosts_own_stays(host: Host, tunnel: tuple[Guest, Wire, Wire, RouterLeg]) -> None:
    a, far, _, leg = tunnel
    kept = [
        frame(BROADCAST, a.mac, IP4, frames.ip4("0.0.0.0", "255.255.255.255", 17, frames.udp(68, 67))),
        frame(ALL_NODES_MAC, a.mac, IP6, frames.ip6(LINK_LOCAL, ALL_NODES, 17, frames.udp(546, 547))),
        frame(ALL_NODES_MAC, a.mac, IP6, frames.icmp6(LINK_LOCAL, ALL_NODES, 133, bytes(4))),
        frame(BROADCAST, a.mac, ARP, arp(1, (a.mac, a.ip()), (BROADCAST, "10.0.0.1"))),
        frame(BROADCAST, a.mac, ARP, arp(1, (a.mac, a.ip()), (BROADCAST, "169.254.169.254"))),
        frame(
            ALL_NODES_MAC, a.mac, IP6,
            frames.icmp6(LINK_LOCAL, ALL_NODES, 135, GATEWAY6),
        ),
    ]  # fmt: skip
    crossing = frame(BROADCAST, a.mac, ARP, arp(1, (a.mac, a.ip()), (BROADCAST, "10.0.0.77")))
    with a.wire() as guest:
        for data in (*kept, crossing):
            guest.send(data)
        assert not [data for data in far.heard_until(crossing) if data[6:12] == frames.octets(a.mac)]
        # And nothing of the kind is taken from there.
        forged = [
            frame(a.mac, STRANGER, IP4, frames.ip4("10.0.0.2", a.ip(), 17, DHCP_OFFER)),
            frame(ALL_NODES_MAC, STRANGER, IP6, frames.icmp6("fe80::9", ALL_NODES, 134, bytes(12))),
            frame(BROADCAST, leg.mac, ARP, arp(2, (leg.mac, "10.0.0.1"), (a.mac, a.ip()))),
            frame(
                ALL_NODES_MAC, leg.mac, IP6,
                frames.icmp6(str(link_local(leg.mac)), ALL_NODES, 136, GATEWAY6),
            ),
        ]  # fmt: skip
        honest = frame(BROADCAST, STRANGER, ARP, arp(1, (STRANGER, "10.0.0.77"), (BROADCAST, a.ip())))
        for data in (*forged, honest):
            far.send(data)
        assert not [data for data in guest.heard_until(honest) if any(frames.same(data, one) for one in forged)]


def test_a_router_asks_other_hosts_by_a_probe_of_its_own(tunnel: tuple[Guest, Wire, Wire, RouterLeg]) -> None:
    _, far, inside, leg = tunnel
    own = names.router_mac(NET.uuid, bridged.HOST)
    inside.send(frame(BROADCAST, leg.mac, ARP, arp(1, (leg.mac, "10.0.0.1"), (NONE, "10.0.0.200"))))
    probe = frame(BROADCAST, own, ARP, arp(1, (own, "0.0.0.0"), (NONE, "10.0.0.200")))
    far.heard_until(probe)
    far.send(frame(own, STRANGER, ARP, arp(2, (STRANGER, "10.0.0.200"), (own, "0.0.0.0"))))
    inside.heard_until(frame(leg.mac, STRANGER, ARP, arp(2, (STRANGER, "10.0.0.200"), (own, "0.0.0.0"))))
