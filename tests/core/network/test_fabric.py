"""What hosts are told: each only what it can reach, whole, the same each time; and who hears of what."""

from __future__ import annotations

import pytest

from core.errors import Conflict, Invalid
from core.hosts import hosts
from core.network import fabric, floating_ips, networks, ports, routers, security_groups, subnets
from core.network.fabric import HostNetworking, NetworkingPending, settling
from core.network.tables import HOST_GATEWAY
from hostd.spec import Peer, RemotePort, Want
from tests.core.network.lan import Lan
from tests.core.world import World


@pytest.fixture
def lan(world: World) -> Lan:
    lan = Lan(world, hosts=3)
    lan.network("one", "10.0.0.0/24")
    lan.network("two", "10.1.0.0/24")
    return lan


def test_a_host_without_guests_has_no_networks(lan: Lan) -> None:
    spec = lan.told(1)
    assert (spec.networks, spec.ports, spec.groups, spec.routers) == ((), (), (), ())
    assert (spec.underlay.vtep, spec.underlay.vteps, spec.underlay.physnets) == ("192.168.100.1", (), {"ext": "eth1"})


def test_an_unknown_host_shall_have_nothing(lan: Lan) -> None:
    with lan.world.store.read() as session:
        gone = fabric.document(session, lan.world.config, "5ca1ab1e-0000-4000-8000-000000000001")
    assert gone.want is Want.ABSENT


def test_a_network_with_its_ports_here_and_there(lan: Lan) -> None:
    here, there = lan.guest("one", 1, dns_name="a"), lan.guest("one", 2, dns_name="b")
    (network,) = lan.told(1).networks
    (subnet,) = network.subnets
    assert (subnet.cidr, subnet.gateway, subnet.service_ip) == ("10.0.0.0/24", "10.0.0.1", "10.0.0.2")
    assert network.peers == (Peer(host=lan.hosts[1], vtep="192.168.100.2"),)
    assert network.remote == (RemotePort(mac=there.mac, vtep="192.168.100.2", ips=("10.0.0.4",)),)
    assert sorted((record.name, record.ip) for record in network.names) == [("a", "10.0.0.3"), ("b", "10.0.0.4")]
    assert [port.uuid for port in lan.told(1).ports] == [here.id]
    assert lan.told(1).underlay.vteps == ("192.168.100.2",)
    assert lan.told(3).networks == ()


def test_the_same_wishes_have_the_same_digest(lan: Lan) -> None:
    lan.outside()
    lan.router("r", "one", "two", external_gateway="public")
    for number in range(6):
        lan.guest(("one", "two")[number % 2], number % 3 + 1)
    assert lan.digests() == lan.digests()


def test_a_guest_outside_sees_nothing_of_those_who_go_out_by_it(lan: Lan) -> None:
    public = lan.outside()
    lan.router("r", "one", external_gateway="public")
    lan.guest("one", 1)
    lan.guest("public", 2)
    assert [network.uuid for network in lan.told(2).networks] == [public.id]
    assert lan.told(2).routers == ()


def test_members_of_groups_are_told_where_a_rule_names_them(lan: Lan) -> None:
    with lan.world.store.write() as session:
        web = security_groups.create(session, lan.ctx, name="web")
        db = security_groups.create(session, lan.ctx, name="db")
        security_groups.add_rule(
            session, lan.ctx, db.id, protocol="tcp", port_min=5432, port_max=5432, remote_group="web"
        )
    lan.guest("one", 1, groups=[db.id])
    member = lan.guest("two", 2, groups=[web.id])
    groups = {group.uuid: group for group in lan.told(1).groups}
    assert groups[web.id].members == ("10.1.0.3",), "on another host, and another network"
    assert groups[db.id].members == ()
    assert lan.touched(ports.set, member.id, allowed_address_pairs=(("10.1.0.200", None),)) == {1, 2}
    assert {group.uuid: group for group in lan.told(1).groups}[web.id].members == ("10.1.0.200", "10.1.0.3")
    with lan.world.store.write() as session:
        ports.release(session, member.device_id)
    assert {group.uuid: group for group in lan.told(1).groups}[web.id].members == ()


def test_a_port_or_a_network_that_is_switched_off_passes_nothing(lan: Lan) -> None:
    port = lan.guest("one", 1)
    lan.confirm()
    assert lan.status(port) == "ACTIVE"
    assert lan.touched(networks.set, "one", admin_state_up=False) == {1}
    assert [port.enabled for port in lan.told(1).ports] == [False]
    lan.do(networks.set, "one", admin_state_up=True)
    lan.do(ports.set, port.id, admin_state_up=False)
    assert [port.enabled for port in lan.told(1).ports] == [False]
    lan.confirm()
    assert lan.status(port) == "DOWN"


def test_only_hosts_that_are_reached_are_touched(lan: Lan) -> None:
    lan.guest("one", 1)
    lan.guest("two", 2)
    assert lan.touched(subnets.set, "one", dns=("9.9.9.9",)) == {1}
    lan.outside()
    lan.router("r", "one", external_gateway="public")
    assert lan.touched(subnets.set, "public", pools=(("203.0.113.50", "203.0.113.99"),)) == {1}
    floating = lan.floating()
    assert lan.touched(floating_ips.set, floating.id, description="x") == set()
    assert lan.touched(networks.set, "two", flood=True) == {2}


def test_a_port_is_active_when_all_living_hosts_have_confirmed(lan: Lan) -> None:
    lan.guest("one", 2)
    lan.guest("one", 3)
    lan.confirm()
    port = lan.guest("one", 1)
    lan.confirm(1, 2)
    assert lan.status(port) == "DOWN"
    with lan.world.store.read() as session:
        assert fabric.pending(session, port.id) == [("h3", "being told", "")]
    with lan.world.store.write() as session:
        host = hosts.find(session, lan.ctx, "h3")
        host.state, host.state_reason = "down", "no route to host"
        session.flush()
        fabric.host_gone(session, host.id)
    assert lan.status(port) == "ACTIVE", "a dead host delays nobody"
    with lan.world.store.read() as session:
        assert [waiting[:2] for waiting in fabric.pending(session, port.id)] == [("h3", "down: no route to host")]
    lan.confirm(3)
    assert lan.world.rows(NetworkingPending) == []


def test_a_confirmation_of_what_was_before_settles_nothing_new(lan: Lan) -> None:
    first = lan.guest("one", 1)
    generation = lan.generations()[lan.hosts[0]]
    second = lan.guest("one", 1)
    with lan.world.store.write() as session:
        settling.confirm(session, lan.hosts[0], generation, "digest")
    assert (lan.status(first), lan.status(second)) == ("ACTIVE", "DOWN")
    lan.confirm()
    with lan.world.store.write() as session:
        settling.confirm(session, lan.hosts[0], generation, "an answer that comes late")
    (row,) = lan.world.rows(HostNetworking)
    assert row.applied == row.generation


# ---------------------------------------------------------------------------- hosts


def test_a_tunnel_endpoint_is_told_to_all_that_share_networks(lan: Lan) -> None:
    lan.guest("one", 1)
    lan.guest("one", 2)
    lan.guest("two", 3)
    assert lan.touched(hosts.update_host, "h1", vtep="10.99.0.1") == {1, 2}
    assert [peer.vtep for network in lan.told(2).networks for peer in network.peers] == ["10.99.0.1"]
    assert lan.touched(hosts.update_host, "h1", physnets={"ext": "br-ext"}) == {1, 2}
    assert lan.told(1).underlay.physnets == {"ext": "br-ext"}
    for change, error, says in (
        ({"vtep": "h1"}, Invalid, "is not an IP address"),
        ({"vtep": "224.0.0.1"}, Invalid, "cannot be a tunnel endpoint"),
        ({"vtep": "192.168.100.2"}, Conflict, "is the tunnel endpoint of host h2"),
        ({"physnets": {"ext": "a name too long for one"}}, Invalid, "is no interface name"),
        ({"physnets": {"a b": "eth1"}}, Invalid, "cannot be a physical network's name"),
        ({"physnets": {"a": "eth1", "b": "eth1"}}, Invalid, "leads to two physical networks"),
    ):
        with pytest.raises(error, match=says):
            lan.do(hosts.update_host, "h1", **change)


def test_a_host_that_moves_is_found_at_its_new_address(lan: Lan) -> None:
    lan.do(hosts.update_host, "h1", vtep="")
    lan.guest("one", 1)
    lan.guest("one", 2)
    touched = lan.touched(
        hosts.enroll, lan.world.config,
        id=lan.hosts[0], name="h1", address="192.0.2.7", port=22, ssh_user="root", host_key="", socket="",
        availability_zone="nova",
    )  # fmt: skip
    assert touched == {1, 2}
    assert lan.told(1).underlay.vtep == "192.0.2.7"


def test_a_removed_host_leaves_nothing_behind(lan: Lan) -> None:
    lan.outside()
    lan.router("r", "one", external_gateway="public")
    port = lan.guest("one", 1)
    with lan.world.store.write() as session:
        ports.release(session, port.device_id)
    assert lan.owned(HOST_GATEWAY)
    lan.do(hosts.remove, "h1")
    assert lan.owned(HOST_GATEWAY) == []
    assert lan.world.rows(NetworkingPending) == []
    assert [row.host_id for row in lan.world.rows(HostNetworking)] == []


def test_routers_lead_a_host_to_networks_without_guests_here(lan: Lan) -> None:
    lan.router("r", "one", "two")
    lan.guest("one", 1)
    far = lan.guest("two", 2)
    first = lan.told(1)
    assert len(first.networks) == 2
    assert [remote.mac for network in first.networks for remote in network.remote] == [far.mac]
    (router,) = first.routers
    assert sorted(leg.addresses for leg in router.legs) == [("10.0.0.1/24",), ("10.1.0.1/24",)]
    assert router.legs == lan.told(2).routers[0].legs, "the same address and MAC on every host"
    assert lan.do(routers.find, "r").status == "ACTIVE"
