"""Routers as guests meet them: two hosts with the real driver, an outside, and namespaces for guests.

One router joins the networks `left` and `right`, and has its gateway on the external network. Guests have no security
groups here: what is tried is the way, not the wall.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_interface
from itertools import pairwise

import attrs
import pytest

from hostd.network import names
from hostd.spec import (
    FloatingSpec,
    GatewaySpec,
    NetworkingSpec,
    NetworkSpec,
    Peer,
    PortAddress,
    PortSpec,
    RemotePort,
    Route,
    RouterLeg,
    RouterSpec,
    SegmentType,
    SubnetSpec,
    Trace,
    Underlay,
    Want,
)
from tests.e2e.emulated import CARD, GATEWAY, INTERNET, EmulatedHost, Guest, Lab
from tests.e2e.sandbox import isolated

pytestmark = pytest.mark.e2e

EAST, WEST = "east", "west"
HOSTS = {EAST: "00000000-0000-4000-8000-00000000000e", WEST: "00000000-0000-4000-8000-000000000003"}
SEEN_AS = {EAST: "203.0.113.201", WEST: "203.0.113.202"}
ROUTER = "07000000-0000-4000-8000-000000000001"
LEFT = "1ef70000-0000-4000-8000-000000000001"
RIGHT = "419b0000-0000-4000-8000-000000000002"
OUTSIDE = "0f000000-0000-4000-8000-000000000003"
LEGS = {LEFT: "1e900000-0000-4000-8000-000000000001", RIGHT: "1e900002-0000-4000-8000-000000000002"}
BLOCKS = {LEFT: "10.1.0", RIGHT: "10.2.0"}


def port(number: int, network: str = LEFT) -> PortSpec:
    """Of the guest with this number, which is also the end of its address."""
    return PortSpec(
        uuid=f"aaaaaa{number:02d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
        network=network,
        device=f"dddddd{number:02d}-dddd-4ddd-8ddd-dddddddddddd",
        mac=f"fa:16:3e:00:00:{number:02x}",
        addresses=(PortAddress(subnet=f"four-{network}", ip=f"{BLOCKS[network]}.{number}"),),
        security=False,
    )


def floating(number: int, of: PortSpec) -> FloatingSpec:
    return FloatingSpec(
        uuid=f"f10a00{number:02d}-0000-4000-8000-000000000001",
        router=ROUTER,
        network=OUTSIDE,
        address=f"203.0.113.{number}",
        prefix=24,
        nexthop=GATEWAY,
        fixed=of.addresses[0].ip,
        port=of.uuid,
    )


@attrs.define
class Cloud:
    """What is wished for; `tell` says it to both hosts, each its own share."""

    lab: Lab
    at: dict[str, str] = attrs.field(factory=dict)
    """Port to its host."""
    ports: dict[str, PortSpec] = attrs.field(factory=dict)
    floating: dict[str, FloatingSpec] = attrs.field(factory=dict)
    """By address."""
    snat: bool = True
    routes: tuple[Route, ...] = ()
    six: bool = False
    flood: bool = False

    def tell(self, *hosts: str) -> None:
        for host in hosts or HOSTS:
            self.lab[host].apply(self.document(host))

    def add(self, number: int, host: str, network: str = LEFT, *, public: int | None = None) -> Guest:
        """A guest, known to both hosts and plugged in; `public`: the end of its floating IP."""
        made = port(number, network)
        self.ports[made.uuid], self.at[made.uuid] = made, host
        if public is not None:
            self.float(public, made)
        self.tell()
        own = f"{made.addresses[0].ip}/24"
        return self.lab[host].guest(made, addresses=[own], gateway=f"{BLOCKS[network]}.1")

    def float(self, number: int, of: PortSpec) -> str:
        made = floating(number, of)
        self.floating[made.address] = made
        return made.address

    def document(self, host: str) -> NetworkingSpec:
        (other,) = (name for name in HOSTS if name != host)
        here = tuple(one for one in self.ports.values() if self.at[one.uuid] == host)
        mine = {one.uuid for one in here}
        return NetworkingSpec(
            uuid=HOSTS[host],
            underlay=Underlay(vtep=self.lab[host].vtep, vteps=(self.lab[other].vtep,), physnets={"ext": CARD}),
            networks=(*(self._network(uuid, segment, other) for segment, uuid in enumerate(BLOCKS, 1001)), _outside()),
            ports=here,
            routers=(self._router(),),
            gateways=(
                GatewaySpec(
                    network=OUTSIDE,
                    address=f"{SEEN_AS[host]}/24",
                    mac=names.mac(f"gateway/{host}", OUTSIDE),
                    nexthop=GATEWAY,
                ),
            ),
            floating=tuple(one for one in self.floating.values() if one.port in mine),
        )

    def _network(self, uuid: str, segment: int, other: str) -> NetworkSpec:
        vtep = self.lab[other].vtep
        subnets = [
            SubnetSpec(
                id=f"four-{uuid}", cidr=f"{BLOCKS[uuid]}.0/24", gateway=f"{BLOCKS[uuid]}.1", dhcp=False, service_ip=None
            )
        ]
        if self.six and uuid == LEFT:
            subnets.append(
                SubnetSpec(
                    id="six",
                    cidr="fd00:1::/64",
                    gateway="fd00:1::1",
                    dhcp=False,
                    service_ip=None,
                    advertise=True,
                    dns_servers=("fd00:9::53",),
                )
            )
        return NetworkSpec(
            uuid=uuid,
            type=SegmentType.VXLAN,
            segment=segment,
            mtu=1450,
            flood=self.flood,
            subnets=tuple(subnets),
            peers=(Peer(host=HOSTS[other], vtep=vtep),),
            remote=tuple(
                RemotePort(mac=one.mac, vtep=vtep, ips=(one.addresses[0].ip,))
                for one in self.ports.values()
                if one.network == uuid and self.at[one.uuid] == other
            ),
        )

    def _router(self) -> RouterSpec:
        more = {LEFT: ("fd00:1::1/64",) if self.six else (), RIGHT: ()}
        legs = tuple(
            RouterLeg(
                port=leg, network=uuid, mac=names.mac("leg", uuid), addresses=(f"{BLOCKS[uuid]}.1/24", *more[uuid])
            )
            for uuid, leg in LEGS.items()
        )
        return RouterSpec(uuid=ROUTER, legs=legs, external=OUTSIDE, snat=self.snat, routes=self.routes)

    # ------------------------------------------------------------------ the outside

    def reaches(self, address: str) -> bool:
        """Whether the outside hears an address."""
        ping = ["ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", address]
        return self.lab.outside(ping, check=False).returncode == 0

    def seen_as(self, guest: Guest) -> str:
        """The address that a guest's packet has outside."""
        listen = (
            "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('',7777)); s.settimeout(5)\n"
            "print('up',flush=True); print(s.recvfrom(9)[1][0])"
        )
        server = subprocess.Popen(
            self.lab.enter_outside(["python3", "-c", listen]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        say = f"import socket; socket.socket(socket.AF_INET,socket.SOCK_DGRAM).sendto(b'x',('{INTERNET}',7777))"
        guest.run(["python3", "-c", say])
        said, _ = server.communicate(timeout=10)
        return said.strip()

    def pinging(self, address: str, *, count: int, interval: float) -> subprocess.Popen[str]:
        """From the outside, until all is sent."""
        ping = ["ping", "-q", "-c", str(count), "-i", str(interval), "-W", "1", address]
        return subprocess.Popen(self.lab.enter_outside(ping), stdout=subprocess.PIPE, text=True)


def lost(ping: subprocess.Popen[str]) -> int:
    said, _ = ping.communicate(timeout=60)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    return int(found[1]) - int(found[2])


def _outside() -> NetworkSpec:
    subnet = SubnetSpec(id="out", cidr="203.0.113.0/24", gateway=GATEWAY, dhcp=False, service_ip=None)
    return NetworkSpec(
        uuid=OUTSIDE, type=SegmentType.FLAT, segment=None, physnet="ext", mtu=1500, external=True, subnets=(subnet,)
    )


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with isolated(), Lab(*HOSTS) as lab:
        yield Cloud(lab)


def inside(host: EmulatedHost, space: str, argv: Sequence[str]) -> str:
    return host.run(["ip", "netns", "exec", space, *argv]).stdout


def leg_inside(guest: Guest) -> str:
    return names.router_inside(LEGS[guest.port.network])


# ---------------------------------------------------------------------------- ways


def test_subnets_meet_on_one_host_and_between_hosts(cloud: Cloud) -> None:
    a, b, c = cloud.add(11, EAST), cloud.add(12, WEST, RIGHT), cloud.add(13, EAST, RIGHT)
    assert a.hears("10.2.0.12", size=1422)
    assert a.hears("10.2.0.13", size=1422)
    assert b.hears("10.1.0.11")
    assert c.hears("10.1.0.11")
    assert a.hears("10.1.0.1")
    tracked = inside(cloud.lab[EAST], names.router(ROUTER), ["cat", "/proc/net/nf_conntrack"])
    assert "10.2.0.12" not in tracked, "half of a connection is not tracked"


def test_guests_leave_by_their_hosts_address(cloud: Cloud) -> None:
    a, b = cloud.add(11, EAST), cloud.add(12, WEST, RIGHT)
    assert a.hears(INTERNET)
    assert cloud.seen_as(a) == SEEN_AS[EAST]
    assert cloud.seen_as(b) == SEEN_AS[WEST]


def test_nobody_comes_in_without_a_floating_ip(cloud: Cloud) -> None:
    cloud.add(11, EAST)
    b = cloud.add(12, EAST, public=50)
    assert cloud.reaches("203.0.113.50")
    assert b.hears(INTERNET)
    for way in (SEEN_AS[EAST], "203.0.113.50"):
        # The outside sends what is for a guest to the host's address, or to a router's card.
        cloud.lab.outside(["ip", "route", "replace", "10.1.0.0/24", "via", way])
        assert not cloud.reaches("10.1.0.11"), way


def test_floating_ips_are_reached_from_everywhere(cloud: Cloud) -> None:
    a = cloud.add(11, EAST, public=51)
    near = cloud.add(12, EAST, RIGHT, public=52)
    far = cloud.add(13, WEST, public=53)
    plain_near, plain_far = cloud.add(14, EAST), cloud.add(15, WEST, RIGHT)
    public, public_far = "203.0.113.51", "203.0.113.53"
    assert cloud.reaches(public)
    assert cloud.reaches(public_far)
    assert a.hears(public), "its own"
    assert near.hears(public), "from another with one, same host"
    assert far.hears(public), "from another with one, other host"
    assert a.hears(public_far)
    assert plain_near.hears(public), "from one without, same network and host"
    assert plain_far.hears(public), "from one without, other host"
    assert plain_far.hears(public_far), "from one without, same host"
    assert cloud.seen_as(a) == public
    assert cloud.seen_as(plain_near) == SEEN_AS[EAST]


def test_a_floating_ip_moves_and_is_given_back(cloud: Cloud) -> None:
    a, b = cloud.add(11, EAST, public=51), cloud.add(12, WEST)
    address = "203.0.113.51"
    assert cloud.reaches(address)
    ping = cloud.pinging(address, count=200, interval=0.02)
    cloud.float(51, b.port)
    cloud.tell(WEST, EAST)
    assert lost(ping) <= 50, "a second of them"
    assert cloud.seen_as(b) == address
    assert cloud.seen_as(a) == SEEN_AS[EAST], "its old flows are forgotten, too"
    del cloud.floating[address]
    cloud.tell()
    assert not cloud.reaches(address)
    assert cloud.seen_as(b) == SEEN_AS[WEST]


def test_an_address_that_appears_is_announced_three_times(cloud: Cloud) -> None:
    sniff = ["timeout", "20", "tcpdump", "-l", "-n", "-tt", "-c", "3", "-i", "outside"]
    heard = subprocess.Popen(
        cloud.lab.enter_outside([*sniff, "arp and arp[6:2] == 1 and arp[24:4] == 0xcb007133"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert heard.stderr is not None
    while "listening" not in heard.stderr.readline():
        pass
    began = time.monotonic()
    cloud.add(11, EAST, public=51)
    assert time.monotonic() - began < 5, "nobody waits for it"
    said, _ = heard.communicate()
    times = [float(line.split()[0]) for line in said.splitlines() if "tell 203.0.113.51" in line]
    assert len(times) == 3
    assert all(later - earlier >= 1 for earlier, later in pairwise(times)), times


def test_a_floating_ip_moves_between_guests_of_one_host(cloud: Cloud) -> None:
    a, b = cloud.add(11, EAST, public=51), cloud.add(12, EAST)
    flow = "s.setsockopt(1,2,1); s.bind(('',5555)); s.sendto(b'x',('{}',6666))"
    ask = ["python3", "-c", "import socket; s=socket.socket(2,2); " + flow.format("203.0.113.51")]
    cloud.lab.outside(ask)
    b.run(["python3", "-c", "import socket; s=socket.socket(2,2); " + flow.format(INTERNET)])
    cloud.float(51, b.port)
    cloud.tell(EAST)
    space = names.router(ROUTER)
    tracked = inside(cloud.lab[EAST], space, ["cat", "/proc/net/nf_conntrack"])
    assert "src=10.1.0.11" not in tracked, "what came in by the address went to its old guest"
    assert "src=10.1.0.12" not in tracked, "what its new guest had under way was seen as the host"
    assert cloud.seen_as(b) == "203.0.113.51"
    assert cloud.seen_as(a) == SEEN_AS[EAST]


def test_a_project_cannot_swallow_what_others_send_out(cloud: Cloud) -> None:
    a = cloud.add(11, EAST)
    # Another project's router translates nothing, and its network has the internet's addresses.
    document = cloud.document(EAST)
    leg = RouterLeg(
        port="1e900009-0000-4000-8000-000000000009", network=RIGHT, mac="02:5d:00:00:00:09",
        addresses=("198.51.100.1/24",),
    )  # fmt: skip
    thief = RouterSpec(uuid="07000009-0000-4000-8000-000000000009", legs=(leg,), external=OUTSIDE, snat=False)
    (router,) = document.routers
    honest = attrs.evolve(router, legs=tuple(leg for leg in router.legs if leg.network == LEFT))
    cloud.lab[EAST].apply(attrs.evolve(document, routers=(honest, thief)))
    assert a.hears(INTERNET)
    assert cloud.seen_as(a) == SEEN_AS[EAST]


def test_a_router_finds_an_address_that_moves_between_hosts(cloud: Cloud) -> None:
    cloud.flood = True
    a, b, c = cloud.add(11, EAST, RIGHT), cloud.add(12, WEST), cloud.add(13, EAST)
    for holder, other in ((b, c), (c, b)):
        other.run(["ip", "address", "delete", "10.1.0.99/24", "dev", "eth0"], check=False)
        holder.run(["ip", "address", "add", "10.1.0.99/24", "dev", "eth0"])
        inside(cloud.lab[EAST], names.router(ROUTER), ["ip", "neigh", "flush", "all"])
        assert a.hears("10.1.0.99"), holder.host.name


def test_floating_ips_of_two_subnets_leave_each_by_its_own_gateway(cloud: Cloud) -> None:
    cloud.lab.outside(["ip", "address", "add", "192.0.2.1/24", "dev", "outside"])
    a, b = cloud.add(11, EAST, public=51), cloud.add(12, EAST)
    other = attrs.evolve(floating(52, b.port), address="192.0.2.52", nexthop="192.0.2.1")
    cloud.floating[other.address] = other
    cloud.tell()
    for guest, public, hop in ((a, "203.0.113.51", GATEWAY), (b, "192.0.2.52", "192.0.2.1")):
        assert cloud.reaches(public)
        assert cloud.seen_as(guest) == public
        way = ["ip", "route", "get", INTERNET, "from", guest.port.addresses[0].ip, "iif", leg_inside(guest)]
        assert f"via {hop} " in inside(cloud.lab[EAST], names.router(ROUTER), way)


def test_without_translation_packets_are_routed_as_they_are(cloud: Cloud) -> None:
    cloud.snat = False
    a = cloud.add(11, EAST)
    cloud.lab.outside(["ip", "route", "replace", "10.1.0.0/24", "via", SEEN_AS[EAST]])
    assert cloud.seen_as(a) == "10.1.0.11"
    assert cloud.reaches("10.1.0.11")
    cloud.snat = True
    cloud.tell()
    assert cloud.seen_as(a) == SEEN_AS[EAST]
    assert not cloud.reaches("10.1.0.11")


def test_static_routes_lead_over_a_guest(cloud: Cloud) -> None:
    cloud.routes = (Route(destination="192.168.77.0/24", nexthop="10.2.0.12"),)
    a, hop = cloud.add(11, EAST), cloud.add(12, WEST, RIGHT)
    hop.run(["ip", "address", "add", "192.168.77.1/32", "dev", "lo"])
    assert a.hears("192.168.77.1")
    cloud.routes = ()
    cloud.tell()
    assert not a.hears("192.168.77.1")


def test_guests_make_their_ipv6_address_of_what_the_router_says(cloud: Cloud) -> None:
    cloud.six = True
    a, b = cloud.add(11, EAST), cloud.add(12, WEST)

    def settled(guest: Guest) -> str:
        until = time.monotonic() + 15
        while time.monotonic() < until:
            shown = json.loads(guest.run(["ip", "-6", "-j", "address", "show", "dev", "eth0"]).stdout)
            for one in shown[0]["addr_info"]:
                if one["local"].startswith("fd00:1:") and not one.get("tentative"):
                    return str(one["local"])
            time.sleep(0.1)  # the kernel tells nobody
        raise AssertionError("no address")

    settled(a)
    settled(b)
    (default,) = json.loads(a.run(["ip", "-6", "-j", "route", "show", "default"]).stdout)
    assert default["gateway"].startswith("fe80::")
    assert default["gateway"] == json.loads(b.run(["ip", "-6", "-j", "route", "show", "default"]).stdout)[0]["gateway"]
    assert a.run(["cat", "/proc/sys/net/ipv6/conf/eth0/mtu"]).stdout.strip() == "1450"
    assert a.hears("fd00:1::1")


# ---------------------------------------------------------------------------- convergence


def test_nothing_is_left_to_do_and_hostd_may_go_and_come(cloud: Cloud) -> None:
    a = cloud.add(11, EAST, public=51)
    host, document = cloud.lab[EAST], cloud.document(EAST)
    transit = inside(host, names.router(ROUTER), ["ip", "-br", "address", "show", "dev", "sn"])
    host.stop(kill=True)
    assert set(host.plan(document)) <= {"metadata"}, "listeners end with the process, and nothing else does"
    host.apply(document)
    assert inside(host, names.router(ROUTER), ["ip", "-br", "address", "show", "dev", "sn"]) == transit
    seen = host.observe()["networking"]
    assert seen["healthy"], seen
    assert a.hears(INTERNET)


def test_a_document_taken_back_after_a_crash_is_made_whole(cloud: Cloud) -> None:
    a = cloud.add(11, EAST, public=51)
    host, document = cloud.lab[EAST], cloud.document(EAST)
    # Half of another document was done: the way back must not believe that all is as it was.
    broken = attrs.evolve(document.floating[0], address="203.0.113.52", nexthop="203.0.113.9")
    host.crash_inside(attrs.evolve(document, floating=(broken,)), "hostd.network.routers.making", "router_rules")
    host.apply(document)
    assert cloud.reaches("203.0.113.51")
    assert cloud.seen_as(a) == "203.0.113.51"


@pytest.mark.parametrize("step", ["gateways", "after gateways", "routers", "after routers"])
def test_a_crash_is_made_good(cloud: Cloud, step: str) -> None:
    made = port(11)
    cloud.ports[made.uuid], cloud.at[made.uuid] = made, EAST
    cloud.float(51, made)
    host = cloud.lab[EAST]
    host.crash_at(cloud.document(EAST), step)
    cloud.tell()
    host.guest(made, addresses=["10.1.0.11/24"], gateway="10.1.0.1")
    assert cloud.reaches("203.0.113.51")


@pytest.mark.parametrize(
    "damage",
    [
        f"ip netns delete {names.gateway(OUTSIDE)}",
        f"ip netns delete {names.router(ROUTER)}",
        f"ip link delete {names.gateway_leg(OUTSIDE)}",
        f"ip link delete {names.router_leg(LEGS[LEFT])}",
        f"ip link delete {names.router_external(ROUTER)}",
        f"ip -n {names.router(ROUTER)} link delete sn",
    ],
)
def test_what_was_broken_is_seen_and_mended(cloud: Cloud, damage: str) -> None:
    a, b = cloud.add(11, EAST, public=51), cloud.add(12, EAST)
    host, document = cloud.lab[EAST], cloud.document(EAST)
    host.sh(damage)
    assert not host.observe()["networking"]["healthy"]
    host.apply(document)
    assert host.observe()["networking"]["healthy"]
    assert a.hears(INTERNET)
    assert b.hears(INTERNET)
    assert cloud.reaches("203.0.113.51")


@pytest.mark.parametrize(
    "change",
    [
        f"ip -n {names.router(ROUTER)} rule delete priority 200",
        f"ip -n {names.router(ROUTER)} route delete default",
        f"ip -n {names.router(ROUTER)} address delete 203.0.113.51/32 dev qx",
        f"ip netns exec {names.router(ROUTER)} nft flush chain inet skydeck outwards",
        f"ip netns exec {names.gateway(OUTSIDE)} nft flush ruleset",
    ],
)
def test_an_observation_sees_what_was_changed_inside(cloud: Cloud, change: str) -> None:
    cloud.add(11, EAST, public=51)
    host = cloud.lab[EAST]
    assert host.observe()["networking"]["healthy"]
    host.sh(change)
    assert not host.observe()["networking"]["healthy"]


def test_everything_goes_with_the_document(cloud: Cloud) -> None:
    cloud.six = True
    cloud.add(11, EAST, public=51)
    host = cloud.lab[EAST]
    host.apply(attrs.evolve(cloud.document(EAST), want=Want.ABSENT))
    left = host.sh("ls /run/netns; ip -br link").split()
    assert not [word for word in left if word.startswith(("skr-", "skg-", "skx-", "ske-"))]
    assert "dnsmasq" not in host.sh("cat /proc/[0-9]*/comm")


def test_a_router_that_loses_a_leg_keeps_the_others(cloud: Cloud) -> None:
    a, b = cloud.add(11, EAST), cloud.add(12, EAST, RIGHT)
    host, whole = cloud.lab[EAST], cloud.document(EAST)
    (router,) = whole.routers
    legs = tuple(leg for leg in router.legs if leg.network == LEFT)
    host.apply(attrs.evolve(whole, routers=(attrs.evolve(router, legs=legs),)))
    assert a.hears(INTERNET)
    assert not b.hears("10.1.0.11")
    host.apply(whole)
    assert b.hears("10.1.0.11")


# ---------------------------------------------------------------------------- seeing it


def test_a_trace_names_the_translation(cloud: Cloud) -> None:
    a, b = cloud.add(11, EAST, public=51), cloud.add(12, EAST)
    assert a.hears(INTERNET)
    assert b.hears(INTERNET)
    host = cloud.lab[EAST]
    by_floating = host.trace(Trace(port=a.port.uuid, outgoing=True, address=INTERNET))
    shared = host.trace(Trace(port=b.port.uuid, outgoing=True, address=INTERNET))
    for hops, own in ((by_floating, "203.0.113.51"), (shared, SEEN_AS[EAST])):
        assert all(hop["verdict"] == "pass" for hop in hops), hops
        (nat,) = (hop for hop in hops if hop["kind"] == "nat")
        assert own in nat["configured"]
        assert nat["packets"] > 0
    assert ip_interface(f"{SEEN_AS[EAST]}/24").ip.exploded in str(shared)
