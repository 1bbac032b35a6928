"""Project networking on three hosts, as projects and their guests see it: who can talk to whom, and who cannot.

Guests are namespaces (see `stations`) where only packets matter; the engine, SSH, hostd, nft, VXLAN, dnsmasq and
routers are the real ones.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from sqlmodel import Session

from core.context import Context
from core.hosts import hosts
from core.network import auto, floating_ips, networks, ports, routers, security_groups, subnets
from core.network.routers.access import interfaces as attached_to
from core.network.tables import FloatingIP, Network, Router
from core.sql import select
from hostd.network import names
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import EAST, WEST
from tests.e2e.stations import Station, Stations, counter
from tests.lab import outside
from tests.lab.hosts import Lab

pytestmark = pytest.mark.e2e

NORTH = "north"


@pytest.fixture(scope="module")
def trio(spine: Cloud, lab: Lab) -> Iterator[Cloud]:
    """The session's cloud with a third host, all on the outside's segment."""
    spine.enrol(lab, lab.up([NORTH]))
    for name in (EAST, WEST, NORTH):
        spine.ask(hosts.update_host, name, physnets={"ext": outside.CARD})
    yield spine
    spine.skydeck("host", "remove", NORTH, "--yes")
    del spine.hosts[NORTH]


@pytest.fixture
def stations(trio: Cloud, cloud: Cloud) -> Iterator[Stations]:
    made = Stations(trio)
    yield made
    made.clear()
    _clear_networks(trio)
    trio.until_told()


def _clear_networks(cloud: Cloud) -> None:
    """Take away what tests made, of all projects, in the order guards ask for."""
    with cloud.store.write() as session:
        ctx = cloud.ctx

        def every(table: type) -> list[str]:
            return [row.id for row in session.execute(select(table)).scalars()]

        for uuid in every(FloatingIP):
            floating_ips.delete(session, ctx, uuid)
        for uuid in every(Router):
            routers.unset_gateway(session, ctx, uuid)
            for port in {attached.port.id for attached in attached_to(session, uuid)}:
                routers.remove_port(session, ctx, uuid, port)
            routers.delete(session, ctx, uuid)
        for uuid in every(Network):
            networks.delete(session, ctx, uuid)


def network(cloud: Cloud, name: str, cidr: str | None, *more: str, ctx: Context | None = None) -> str:
    """A network with a subnet of each block; the id."""
    who = ctx or cloud.ctx

    def make(session: Session) -> str:
        made = networks.create(session, who, cloud.config, name=name)
        for number, block in enumerate((cidr, *more)):
            if block is not None:
                six = ":" in block
                subnets.create(
                    session, who, name=f"{name}-{number}", network=made.id, project_id=made.project_id, cidr=block,
                    ipv6_mode="slaac" if six else None,
                )  # fmt: skip
        return made.id

    with cloud.store.write() as session:
        return make(session)


def public(cloud: Cloud) -> str:
    """The default external network, on the outside's segment."""
    with cloud.store.write() as session:
        made = auto.auto(
            session, cloud.ctx, cloud.config, physical_network="ext", cidr=outside.CIDR, gateway=outside.GATEWAY,
            pool=("203.0.113.100", "203.0.113.199"),
        )  # fmt: skip
        return made.id


def routed(cloud: Cloud, *blocks: tuple[str, str], external: bool = True) -> list[str]:
    """Networks of these names and blocks, joined by one router; the ids."""
    if external:
        public(cloud)
    ids = [network(cloud, name, cidr) for name, cidr in blocks]
    with cloud.store.write() as session:
        router = routers.create(session, cloud.ctx, name="edge", external_gateway="public" if external else None)
        for name, _ in blocks:
            routers.add_subnet(session, cloud.ctx, router.id, f"{name}-0")
    cloud.until_told()
    return ids


def open_group(cloud: Cloud, name: str, *rules: dict[str, object], ctx: Context | None = None) -> str:
    """A security group with these rules besides its own two; the id."""
    who = ctx or cloud.ctx
    with cloud.store.write() as session:
        group = security_groups.create(session, who, name=name)
        for rule in rules:
            security_groups.add_rule(session, who, group.id, **rule)
        return group.id


@pytest.fixture
def anybody(trio: Cloud, stations: Stations) -> Iterator[str]:
    """A security group that lets everything in."""
    group = open_group(trio, "anybody", {"ethertype": "IPv4"}, {"ethertype": "IPv6"})
    yield group
    stations.clear()
    with trio.store.write() as session:
        security_groups.delete(session, trio.ctx, group)


def floating(cloud: Cloud, station: Station) -> str:
    """A floating IP on a station's port; the address."""
    with cloud.store.write() as session:
        made = floating_ips.create(session, cloud.ctx, network="public", port=station.port)
    cloud.until_told()
    return made.address


def pings(argv: list[str], *, count: int, interval: float) -> subprocess.Popen[str]:
    """A ping under way, its summary to come."""
    return subprocess.Popen(
        [*argv[:-1], "ping", "-q", "-c", str(count), "-i", str(interval), argv[-1]], stdout=subprocess.PIPE, text=True
    )


def lost(ping: subprocess.Popen[str]) -> int:
    """How many of its packets had no answer, once it has ended."""
    with ping:
        said, _ = ping.communicate(timeout=120)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    return int(found[1]) - int(found[2])


# ---------------------------------------------------------------------------- one network


def test_one_network_on_three_hosts(trio: Cloud, stations: Stations, anybody: str) -> None:
    net = network(trio, "wide", "10.20.0.0/24")
    east, west, north = (
        stations.add(host, net, security_groups=(anybody,), dns_name=f"{host}-guest") for host in (EAST, WEST, NORTH)
    )
    for one in (east, west, north):
        for other in (east, west, north):
            assert one.hears(other.ip, size=1450 - 28), (one.host.name, other.host.name)
    assert not east.hears(west.ip, size=1451 - 28)
    with west.serves(8080, "hello"):
        assert east.talks(west.ip, 8080) == "hello"
        assert north.talks(west.ip, 8080) == "hello"

    # A known neighbour is answered here: only the ping itself crosses the underlay.
    tunnel = names.vxlan(net)
    east.forget_neighbours()
    before = counter(east.host, tunnel)
    assert east.hears(west.ip)
    assert counter(east.host, tunnel) - before == 1
    # DHCP never crosses.
    before = counter(east.host, tunnel)
    east.lease()
    assert counter(east.host, tunnel) == before
    assert east.run(["busybox", "nslookup", "west-guest", trio.service_address(net)]).count(west.ip) == 1


def test_two_projects_with_the_same_addresses(trio: Cloud, stations: Stations) -> None:
    red, blue = trio.project("red"), trio.project("blue")
    nets = {who.project_name: network(trio, "same", "10.0.0.0/24", ctx=who) for who in (red, blue)}
    rule = {"protocol": "icmp"}
    groups = {who.project_name: open_group(trio, "ping", rule, ctx=who) for who in (red, blue)}

    def add(host: str, who: Context, ip: str) -> Station:
        name = who.project_name
        return stations.add(host, nets[name], ctx=who, security_groups=(groups[name],), fixed_ips=((None, ip),))

    red_east, red_west = add(EAST, red, "10.0.0.11"), add(WEST, red, "10.0.0.12")
    blue_east, blue_west = add(EAST, blue, "10.0.0.11"), add(WEST, blue, "10.0.0.13")
    assert red_east.hears("10.0.0.12")
    assert not red_east.hears("10.0.0.13")
    assert blue_east.hears("10.0.0.13")
    assert not blue_east.hears("10.0.0.12")
    assert not blue_west.hears("10.0.0.12")
    assert not red_west.hears("10.0.0.13")


# ---------------------------------------------------------------------------- routers and floating IPs


def test_a_router_joins_two_subnets_and_leads_out(trio: Cloud, stations: Stations, anybody: str) -> None:
    left, right = routed(trio, ("left", "10.21.0.0/24"), ("right", "10.22.0.0/24"))
    a = stations.add(EAST, left, security_groups=(anybody,))
    b = stations.add(WEST, right, security_groups=(anybody,))
    c = stations.add(EAST, right, security_groups=(anybody,))
    assert a.hears(b.ip, size=1450 - 28)
    assert b.hears(a.ip)
    assert a.hears(c.ip)
    for one in (a, b, c):
        assert one.hears(outside.INTERNET)
        assert one.hears(outside.GATEWAY)
    # Nobody outside reaches a guest that has no floating IP.
    trio.outside.run(["ip", "route", "replace", "10.21.0.0/24", "via", trio.snat_address(EAST)])
    try:
        assert trio.outside.run(["ping", "-c1", "-W1", a.ip], check=False).returncode != 0
    finally:
        trio.outside.run(["ip", "route", "delete", "10.21.0.0/24"])


def test_floating_ips_are_reached_from_everywhere(trio: Cloud, stations: Stations, anybody: str) -> None:
    (net,) = routed(trio, ("inner", "10.23.0.0/24"))
    a = stations.add(EAST, net, security_groups=(anybody,))
    near = stations.add(EAST, net, security_groups=(anybody,))
    far = stations.add(WEST, net, security_groups=(anybody,))
    plain = stations.add(WEST, net, security_groups=(anybody,))
    public_a, public_near, public_far = (floating(trio, one) for one in (a, near, far))

    def from_outside(address: str) -> bool:
        return trio.outside.run(["ping", "-c1", "-W1", address], check=False).returncode == 0

    assert from_outside(public_a)
    assert from_outside(public_far)
    assert a.hears(public_a), "its own"
    assert near.hears(public_a), "another with one, same host"
    assert far.hears(public_a), "another with one, other host"
    assert plain.hears(public_far), "one without, same host"
    assert plain.hears(public_a), "one without, other host"
    assert a.hears(public_near)
    assert a.hears(public_far)
    assert a.hears(outside.INTERNET)


def test_a_floating_ip_moves_between_hosts(trio: Cloud, stations: Stations, anybody: str) -> None:
    (net,) = routed(trio, ("inner", "10.24.0.0/24"))
    a = stations.add(EAST, net, security_groups=(anybody,))
    b = stations.add(WEST, net, security_groups=(anybody,))
    address = floating(trio, a)
    ping = pings(trio.outside.enter([address]), count=200, interval=0.02)
    time.sleep(1)  # the move happens under way
    with trio.store.write() as session:
        floating_ips.associate(session, trio.ctx, address, b.port)
    assert lost(ping) <= 50  # a second of them


# ---------------------------------------------------------------------------- security groups


def test_rules_come_and_go_on_running_guests(trio: Cloud, stations: Stations) -> None:
    net = network(trio, "guarded", "10.25.0.0/24")
    group = open_group(trio, "web")
    client = stations.add(EAST, net, security_groups=(group,))
    server = stations.add(WEST, net, security_groups=(group,))
    with server.serves(8080, "hello"):
        assert client.talks(server.ip, 8080) == "", "nothing comes in by default"
        with trio.store.write() as session:
            rule = security_groups.add_rule(
                session, trio.ctx, group, protocol="tcp", port_min=8080, port_max=8080, remote_ip="10.25.0.0/24"
            )
        trio.until_told()
        assert client.talks(server.ip, 8080) == "hello"
        with trio.store.write() as session:
            security_groups.delete_rule(session, trio.ctx, rule.id)
        trio.until_told()
        assert client.talks(server.ip, 8080) == ""
    # A flow under way ends with the rule that allowed it.
    with trio.store.write() as session:
        rule = security_groups.add_rule(session, trio.ctx, group, protocol="icmp")
    trio.until_told()
    ping = pings(client.enter([server.ip]), count=60, interval=0.05)
    time.sleep(1)
    with trio.store.write() as session:
        security_groups.delete_rule(session, trio.ctx, rule.id)
    assert lost(ping) >= 20
    stations.clear()
    with trio.store.write() as session:
        security_groups.delete(session, trio.ctx, group)


def test_a_remote_group_follows_its_members(trio: Cloud, stations: Stations) -> None:
    net = network(trio, "members", "10.26.0.0/24")
    friends = open_group(trio, "friends")
    inner = open_group(trio, "inner", {"protocol": "icmp", "remote_group": "friends"})
    guarded = stations.add(EAST, net, security_groups=(inner,))
    friend = stations.add(WEST, net, security_groups=(friends,))
    stranger = stations.add(WEST, net, security_groups=(inner,))
    assert friend.hears(guarded.ip)
    assert not stranger.hears(guarded.ip)
    with trio.store.write() as session:
        ports.set(session, trio.ctx, stranger.port, security_groups=("friends",))
    trio.until_told()
    assert stranger.hears(guarded.ip)
    stations.clear()
    with trio.store.write() as session:
        for group in (inner, friends):
            security_groups.delete(session, trio.ctx, group)


# ---------------------------------------------------------------------------- what must not be noticed


def test_guests_do_not_notice_hostd(trio: Cloud, stations: Stations, anybody: str) -> None:
    net = network(trio, "steady", "10.27.0.0/24")
    a = stations.add(EAST, net, security_groups=(anybody,))
    b = stations.add(WEST, net, security_groups=(anybody,))
    ping = pings(a.enter([b.ip]), count=600, interval=0.1)
    for _ in range(3):
        for name in (EAST, WEST):
            trio.kill_hostd(name)
            trio.until_down(name)
            trio.until_up(name)
    assert lost(ping) == 0


def test_a_host_comes_back_without_its_controller(trio: Cloud, stations: Stations, anybody: str) -> None:
    net = network(trio, "rebooted", "10.28.0.0/24")
    a = stations.add(EAST, net, security_groups=(anybody,))
    b = stations.add(WEST, net, security_groups=(anybody,))
    assert a.hears(b.ip)
    trio.stop_engine()
    b.host.kill_power()
    b.host.start()
    b.host.run(["sh", "-c", "hostd relay </dev/null >/dev/null 2>&1 || true"])
    trio.until(
        lambda: b.host.run(["ip", "link", "show", names.bridge(net)], check=False).returncode == 0,
        "the bridge is back",
    )
    b.plug()
    b.lease()
    assert a.hears(b.ip)
    trio.start_engine()
    for name in trio.hosts:
        trio.until_up(name)


def test_a_dead_host_delays_nobody(trio: Cloud, stations: Stations, anybody: str) -> None:
    net = network(trio, "lively", "10.29.0.0/24")
    stations.add(NORTH, net, security_groups=(anybody,))
    trio.hosts[NORTH].cut()
    try:
        trio.until_down(NORTH)
        a = stations.add(EAST, net, security_groups=(anybody,))  # ACTIVE, or this would not return
        said = trio.skydeck("port", "show", a.port, "-f", "json").stdout
        assert NORTH in said, "what is pending is shown"
    finally:
        trio.hosts[NORTH].heal()
    trio.until_up(NORTH)
    trio.until_told()
