"""hostd's networking driver on a real kernel: made, found again, mended, taken away; nobody else's is touched."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.network import names, namespaces, rtnetlink
from hostd.network.driver import NetworkingDriver
from hostd.spec import HostError, NetworkingSpec, NetworkSpec, Peer, RemotePort, SegmentType, Underlay, Want
from tests.e2e.sandbox import isolated
from tests.hostd.network.services.documents import HOST, NETWORK, document, network, port, routed

pytestmark = pytest.mark.e2e

OTHER = "0b000000-0000-4000-8000-000000000002"
UNDERLAY = Underlay(vtep="192.0.2.1", vteps=("192.0.2.2",), physnets={"ext": "card"})
SPEC = attrs.evolve(document().spec, underlay=UNDERLAY)
ABSENT = NetworkingSpec(uuid=HOST, want=Want.ABSENT)
TAP = names.tap(port().uuid)


class Unwatched:
    """A StepContext nobody looks at."""

    cache: Any = None

    def progress(self, percent: int) -> None: ...


class Hostd:
    def __init__(self) -> None:
        self.driver = NetworkingDriver(state=Path("/run/state"), run=Path("/run/skydeck"))
        self.driver.start(lambda happened: None, lambda device: None)

    def apply(self, spec: NetworkingSpec) -> list[str]:
        """Converge, as the daemon does, and name the steps that were taken."""
        steps = self.driver.plan(spec, self.driver.seen(spec.uuid))
        for step in steps:
            self.driver.execute(step, spec, Unwatched())
        return [step.name for step in steps]

    def healthy(self) -> bool:
        return self.driver.observe().networking.healthy


@pytest.fixture
def hostd() -> Iterator[Hostd]:
    with isolated():
        for command in (
            "ip link add card type veth peer name switch",
            "ip link set switch up",
            "ip link add under type veth peer name cable",
            "ip address add 192.0.2.1/24 dev under",
            "ip link set under up",
        ):
            sh(command)
        hostd = Hostd()
        try:
            yield hostd
            hostd.apply(ABSENT)
        finally:
            hostd.driver.stop()


def sh(command: str, *, check: bool = True) -> str:
    done = subprocess.run(command.split(), check=False, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def test_a_document_is_made_once(hostd: Hostd) -> None:
    assert hostd.apply(SPEC) == ["record", "firewall", "links", "forwarding", "dhcp", "metadata"]
    assert hostd.apply(SPEC) == []
    seen = hostd.driver.observe()
    assert seen.networking.healthy
    assert [one.uuid for one in seen.networks] == [NETWORK]
    assert {link.name for link in seen.links} >= {names.bridge(NETWORK), names.vxlan(NETWORK), names.leg(NETWORK)}


@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete {bridge}",
        "ip link delete {tunnel}",
        "ip link delete {leg}",
        "ip netns delete {space}",
        "ip link set {bridge} down",
        "ip link set {bridge} address 02:00:00:00:00:09",
        "ip link set {tunnel} nomaster",
        "bridge link set dev {tunnel} learning on",
        "ip neigh flush dev {bridge} nud permanent",
        "ip neigh add 10.0.0.200 lladdr fa:16:3e:00:09:09 nud permanent dev {bridge}",
        "nft delete table bridge skydeck",
    ],
)
def test_what_was_damaged_is_seen_and_mended(hostd: Hostd, damage: str) -> None:
    hostd.apply(SPEC)
    bridge, tunnel, leg = (name(NETWORK) for name in (names.bridge, names.vxlan, names.leg))
    sh(damage.format(bridge=bridge, tunnel=tunnel, leg=leg, space=names.namespace(NETWORK)))
    assert not hostd.healthy()
    assert hostd.apply(SPEC)
    assert hostd.healthy()
    assert hostd.apply(SPEC) == []


def test_a_service_leg_is_mended_inside(hostd: Hostd) -> None:
    hostd.apply(SPEC)
    sh(f"ip -n {names.namespace(NETWORK)} address delete 10.0.0.2/24 dev svc")
    assert not hostd.healthy(), "a look reads what an apply may believe"


def test_after_a_reboot_all_of_it_is_made_again(hostd: Hostd) -> None:
    hostd.apply(SPEC)
    for link in (names.bridge(NETWORK), names.vxlan(NETWORK), names.leg(NETWORK)):
        sh(f"ip link delete {link}", check=False)
    sh(f"ip netns delete {names.namespace(NETWORK)}")
    sh("nft flush ruleset")
    again = hostd.apply(SPEC)
    assert "record" not in again
    assert hostd.healthy()


def test_only_what_is_ours_goes(hostd: Hostd) -> None:
    sh("ip link add br0 type bridge")
    sh("ip link add skb-hand type bridge")
    sh("ip netns add mine")
    sh("nft add table inet mine")
    sh(f"ip link add {names.bridge(OTHER)} type bridge")
    hostd.apply(SPEC)
    assert names.bridge(OTHER) not in rtnetlink.links(), "ours, and of no document"
    hostd.apply(ABSENT)
    left = rtnetlink.links()
    assert {"br0", "skb-hand"} <= left.keys()
    assert not [name for name in left if names.OURS.fullmatch(name)]
    assert namespaces.names() == {"mine"}
    assert "inet mine" in sh("nft list tables")
    assert "skydeck" not in sh("nft list tables")


def test_a_network_goes_when_its_last_guest_was_unplugged(hostd: Hostd) -> None:
    hostd.apply(SPEC)
    plug(TAP)
    without = NetworkingSpec(uuid=HOST, underlay=UNDERLAY)
    hostd.apply(without)
    assert names.bridge(NETWORK) in rtnetlink.links(), "a guest is still plugged in"
    assert TAP in hostd.driver.observe().networking.detail
    sh(f"ip link delete {TAP}")
    assert "links_remove" in hostd.apply(without)
    assert names.bridge(NETWORK) not in rtnetlink.links()


def test_another_network_of_the_same_short_name_is_refused(hostd: Hostd) -> None:
    twin = NETWORK[:-12] + "ffffffffffff"
    hostd.apply(SPEC)
    other = attrs.evolve(
        SPEC,
        networks=(network(uuid=twin),),
        ports=(port(network=twin),),
    )
    with pytest.raises(HostError, match="belongs to another network"):
        hostd.apply(other)


def test_forwarding_follows_the_document(hostd: Hostd) -> None:
    far = RemotePort(mac="fa:16:3e:00:00:77", vtep="192.0.2.2", ips=("10.0.0.77",))
    peers = (Peer(host=OTHER, vtep="192.0.2.2"),)
    with_far = attrs.evolve(SPEC, networks=(network(peers=peers, remote=(far,)),))
    hostd.apply(with_far)
    tunnel, bridge = names.vxlan(NETWORK), names.bridge(NETWORK)
    assert "fa:16:3e:00:00:77 dst 192.0.2.2" in sh(f"bridge fdb show dev {tunnel}")
    assert "10.0.0.77 lladdr fa:16:3e:00:00:77 PERMANENT" in sh(f"ip neigh show dev {bridge} nud permanent")
    assert hostd.apply(attrs.evolve(SPEC, networks=(network(),))) == ["record", "forwarding"]
    assert "fa:16:3e:00:00:77" not in sh(f"bridge fdb show dev {tunnel}")
    assert "10.0.0.77" not in sh(f"ip neigh show dev {bridge} nud permanent")


# ---------------------------------------------------------------------------- ways out


def flat(interface: str) -> NetworkingSpec:
    net: NetworkSpec = network(type=SegmentType.FLAT, segment=None, physnet="ext", mtu=1500)
    return attrs.evolve(SPEC, underlay=Underlay(physnets={"ext": interface}), networks=(net,))


def test_a_flat_network_takes_a_card(hostd: Hostd) -> None:
    hostd.apply(flat("card"))
    links = rtnetlink.links()
    assert links["card"].master == links[names.bridge(NETWORK)].index
    hostd.apply(ABSENT)
    assert rtnetlink.links()["card"].master == 0, "it is free again"


def test_a_flat_network_joins_the_operators_bridge(hostd: Hostd) -> None:
    sh("ip link add br0 type bridge")
    sh("ip link set br0 up")
    hostd.apply(flat("br0"))
    links = rtnetlink.links()
    assert links[names.uplink_far(NETWORK)].master == links["br0"].index
    assert hostd.apply(flat("br0")) == []
    hostd.apply(ABSENT)
    assert "br0" in rtnetlink.links()
    assert names.uplink_far(NETWORK) not in rtnetlink.links()


def test_a_card_with_the_hosts_own_address_is_refused(hostd: Hostd) -> None:
    with pytest.raises(HostError, match="carries this host's own addresses") as refused:
        hostd.apply(flat("under"))
    assert "bridge of your own" in refused.value.error.hint
    assert rtnetlink.links()["under"].master == 0


def test_what_cannot_be_is_told_after_all_the_rest_was_done(hostd: Hostd) -> None:
    with pytest.raises(HostError, match="nowhere is not on this host"):
        hostd.apply(flat("nowhere"))
    assert names.namespace(NETWORK) in namespaces.names()
    checks = {check.name: check for check in hostd.driver.observe().networking.checks}
    assert not checks["uplink ext"].ok
    assert "--physnet" in checks["uplink ext"].hint


def test_a_foreign_firewall_is_told_of(hostd: Hostd) -> None:
    hostd.apply(SPEC)
    assert all(check.ok for check in hostd.driver.observe().networking.checks)
    sh("nft add table ip filter")
    subprocess.run(
        ["nft", "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"], check=True
    )
    checks = {check.name: check for check in hostd.driver.observe().networking.checks}
    assert "ip filter FORWARD" in checks["forward_drop"].detail


def test_an_underlay_too_small_is_told_of(hostd: Hostd) -> None:
    sh("ip link set under mtu 1400")
    hostd.apply(attrs.evolve(SPEC, networks=(network(peers=(Peer(host=OTHER, vtep="192.0.2.2"),)),)))
    checks = {check.name: check for check in hostd.driver.observe().networking.checks}
    assert "tunnels need 1500" in checks["mtu"].detail


def test_a_router_comes_and_goes(hostd: Hostd) -> None:
    spec = routed().spec
    nets = tuple(attrs.evolve(one, physnet="ext") if one.external else one for one in spec.networks)
    spec = attrs.evolve(spec, networks=nets, underlay=UNDERLAY)
    assert "routers" in hostd.apply(spec)
    assert hostd.apply(spec) == []
    assert hostd.healthy()
    plain = attrs.evolve(SPEC, networks=nets[:1])
    assert "routers_remove" in hostd.apply(plain)
    assert not [name for name in namespaces.names() if name.startswith(("skr-", "skg-"))]


# ---------------------------------------------------------------------------- limits


def plug(tap: str) -> None:
    """A tap, as libvirt would make it, with a guest of its own."""
    sh("ip netns add guest")
    sh(f"ip link add {tap} type veth peer name eth0 netns guest address {port().mac}")
    sh(f"ip link set {tap} mtu 1450 master {names.bridge(NETWORK)} up")
    sh("ip -n guest link set eth0 mtu 1450 up")
    sh("ip -n guest address add 10.0.0.10/24 dev eth0")


def test_limits_hold_on_a_tap_that_appears_later(hostd: Hostd) -> None:
    limited = port(ingress_kbit=8000, egress_kbit=4000, security=False)
    hostd.apply(attrs.evolve(SPEC, ports=(limited,)))
    plug(TAP)
    until(lambda: "tbf" in sh(f"tc qdisc show dev {TAP}"))
    until(lambda: any(name.startswith("skq-") for name in rtnetlink.links()[TAP].alternatives))
    server = names.namespace(NETWORK)
    assert rate(server, "10.0.0.2", "guest", "10.0.0.10") == pytest.approx(8.0, rel=0.4)
    assert rate("guest", "10.0.0.10", server, "10.0.0.2") == pytest.approx(4.0, rel=0.4)
    hostd.apply(attrs.evolve(SPEC, ports=(port(security=False),)))
    assert "tbf" not in sh(f"tc qdisc show dev {TAP}")
    assert rate(server, "10.0.0.2", "guest", "10.0.0.10") > 50


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rate(sender: str, _: str, receiver: str, address: str) -> float:
    """Mbit/s of a TCP stream of half a megabyte, from one namespace to another; the burst is let pass first."""
    with namespaces.inside(receiver):
        listening = socket.create_server((address, 5001))
    with namespaces.inside(sender):
        stream = socket.create_connection((address, 5001), timeout=10)
    other, _peer = listening.accept()
    amount, burst = 768 * 1024, 128 * 1024

    def send() -> None:
        stream.sendall(bytes(amount))
        stream.shutdown(socket.SHUT_WR)

    with listening, stream, other:
        thread = threading.Thread(target=send)
        thread.start()
        heard, began = 0, 0.0
        while data := other.recv(1 << 16):
            heard += len(data)
            if heard >= burst and not began:
                began, counted = time.perf_counter(), heard
        took = time.perf_counter() - began
        thread.join()
    return (heard - counted) * 8 / took / 1e6


def test_every_address_is_looked_at_before_anything_is_done(hostd: Hostd) -> None:
    twice = attrs.evolve(SPEC, ports=(port(), port(2, mac=port().mac)))
    with pytest.raises(HostError, match=re.escape(port().mac)):
        hostd.apply(twice)
    assert names.bridge(NETWORK) not in rtnetlink.links()
