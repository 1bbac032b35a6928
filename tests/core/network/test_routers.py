"""Routers: what may be joined, what holds what, and which hosts hear of it."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded, SkydeckError
from core.identity import quotas
from core.network import fabric, floating_ips, networks, ports, routers, subnets
from core.network.fabric import NetworkingPending
from core.network.tables import HOST_GATEWAY, ROUTER_GATEWAY, ROUTER_INTERFACE, Port, Router
from tests.core.network.lan import Lan
from tests.core.world import World, as_role


@pytest.fixture
def lan(world: World) -> Lan:
    lan = Lan(world, hosts=3)
    lan.network("one", "10.0.0.0/24")
    lan.network("two", "10.1.0.0/24")
    return lan


def refused(lan: Lan, error: type[SkydeckError], says: str, verb: Any, *args: Any, **fields: Any) -> None:
    before = lan.generations()
    with pytest.raises(error, match=says):
        lan.do(verb, *args, **fields)
    assert lan.generations() == before


def test_an_interface_has_the_gateways_address(lan: Lan) -> None:
    router = lan.router("r", "one", "two")
    assert lan.owned(ROUTER_INTERFACE) == [(router.id, "10.0.0.1"), (router.id, "10.1.0.1")]
    assert [event.after for event in lan.world.events("router.create")] == [
        {"name": "r", "enable_snat": True, "admin_state_up": True}
    ]
    assert [event.after["subnets"] for event in lan.world.events("router.add_interface")] == [  # type: ignore[index]
        ["10.0.0.0/24"],
        ["10.1.0.0/24"],
    ]


def test_a_port_joins_with_its_own_address(lan: Lan) -> None:
    router = lan.router("r")
    port = lan.do(ports.add, network="one", fixed_ips=((None, "10.0.0.77"),))
    lan.do(routers.add_port, "r", port.id)
    assert lan.owned(ROUTER_INTERFACE) == [(router.id, "10.0.0.77")]
    refused(lan, Conflict, "is in use by network:router_interface", routers.add_port, "r", port.id)
    lan.do(routers.remove_port, "r", port.id)
    assert lan.owned(ROUTER_INTERFACE) == []


def test_what_cannot_be_joined(lan: Lan) -> None:
    lan.network("same", "10.0.0.0/25")
    lan.network("none", None)
    lan.outside()
    lan.router("r", "one")
    lan.router("other", external_gateway="public")
    with lan.world.store.write() as session:
        where = networks.find(session, lan.ctx, "none")
        subnets.create(
            session,
            lan.ctx,
            name="none",
            network=where.id,
            project_id=where.project_id,
            cidr="10.9.0.0/24",
            no_gateway=True,
        )
    refused(lan, Conflict, "is on router r already", routers.add_subnet, "r", "one")
    refused(lan, Conflict, r"overlaps one \(10.0.0.0/24\)", routers.add_subnet, "r", "same")
    refused(lan, Conflict, "gateway address 10.0.0.1 of subnet one is taken", routers.add_subnet, "other", "one")
    refused(lan, Invalid, "has no gateway address", routers.add_subnet, "r", "none")
    refused(lan, Conflict, "network public is external", routers.add_subnet, "r", "public")
    refused(lan, NotFound, "no subnet", routers.add_subnet, "r", "nowhere")
    lan.network("wire", "10.8.0.0/24", network_type="vlan", physical_network="ext", segmentation_id=7)
    refused(lan, Conflict, "a vlan network", routers.add_subnet, "r", "wire")
    bare = lan.do(ports.add, network="two", no_fixed_ip=True)
    refused(lan, Invalid, "has no address", routers.add_port, "r", bare.id)


def test_anothers_subnet_is_joined_by_a_port_only(lan: Lan) -> None:
    lan.network("shared", "10.5.0.0/24", shared=True)
    member, reader = lan.world.someone("member"), lan.world.someone("reader")
    stranger = lan.world.someone("member", project="other")
    with lan.world.store.write() as session:
        routers.create(session, member, name="mine")
    with pytest.raises(Forbidden, match="its owner's to give"), lan.world.store.write() as session:
        routers.add_subnet(session, member, "mine", "shared")
    with lan.world.store.write() as session:
        port = ports.add(session, member, network="shared")
        routers.add_port(session, member, "mine", port.id)
    with pytest.raises(NotFound), lan.world.store.read() as session:
        routers.find(session, stranger, "mine")
    with pytest.raises(Forbidden, match="router:create"), lan.world.store.write() as session:
        routers.create(session, reader, name="no")


def test_a_router_quota(lan: Lan) -> None:
    with lan.world.store.write() as session:
        quotas.update(session, lan.ctx, lan.ctx.project_id, "admin", {"routers": 1})
    lan.router("r")
    refused(lan, QuotaExceeded, "routers: 1 of 1", routers.create, name="s")


def test_hosts_of_both_sides_hear_of_a_join_and_turn_it_active(lan: Lan) -> None:
    lan.guest("one", 1)
    lan.guest("two", 2)
    router = lan.router("r", "one")
    lan.confirm()
    assert lan.touched(routers.add_subnet, "r", "two") == {1, 2}
    (port,) = [port for port in lan.world.rows(Port) if port.device_owner == ROUTER_INTERFACE and port.status == "DOWN"]
    lan.confirm(1)
    assert lan.status(port) == "DOWN"
    with lan.world.store.read() as session:
        assert fabric.pending_on(session, port.id) == ["h2"]
    lan.confirm(2)
    assert (lan.status(port), lan.status(router)) == ("ACTIVE", "ACTIVE")
    spec = lan.told(1)
    assert [network.uuid for network in spec.networks] == sorted(network.uuid for network in lan.told(2).networks), (
        "each has both networks"
    )
    assert lan.told(3).networks == ()
    assert lan.touched(routers.remove_subnet, "r", "two") == {1, 2}
    assert len(lan.told(1).networks) == 1


def test_a_gateway_holds_an_address_and_gives_each_host_one(lan: Lan) -> None:
    public = lan.outside()
    lan.guest("one", 1)
    lan.guest("two", 2)
    router = lan.router("r", "one", external_gateway="public")
    assert lan.owned(ROUTER_GATEWAY) == [(router.id, "203.0.113.2")]
    assert lan.owned(HOST_GATEWAY) == [(lan.hosts[0], "203.0.113.3")]
    (gateway,) = lan.told(1).gateways
    assert (gateway.network, gateway.address, gateway.nexthop) == (public.id, "203.0.113.3/24", "203.0.113.1")
    lan.do(routers.add_subnet, "r", "two")
    assert len(lan.owned(HOST_GATEWAY)) == 2, "the other host's guests go out by it now"
    lan.guest("one", 3)
    assert len(lan.owned(HOST_GATEWAY)) == 3
    lan.do(routers.unset_gateway, "r")
    assert lan.owned(ROUTER_GATEWAY) == []
    assert len(lan.owned(HOST_GATEWAY)) == 3, "until the hosts have let go of them"
    lan.confirm(1, 2)
    assert [device for device, _ in lan.owned(HOST_GATEWAY)] == [lan.hosts[2]]
    refused(lan, Conflict, "router r has no gateway", routers.unset_gateway, "r")


def test_a_gateway_moves_to_another_network(lan: Lan) -> None:
    lan.outside()
    lan.outside("other", "198.51.100.0/24")
    lan.guest("one", 1)
    lan.router("r", "one", external_gateway="public")
    lan.do(routers.set_gateway, "r", "other")
    lan.confirm()
    assert [ip for _, ip in lan.owned(ROUTER_GATEWAY)] == ["198.51.100.2"]
    assert [ip for _, ip in lan.owned(HOST_GATEWAY)] == ["198.51.100.3"]


def test_without_snat_hosts_need_no_address(lan: Lan) -> None:
    lan.outside()
    lan.guest("one", 1)
    lan.router("r", "one", external_gateway="public", enable_snat=False)
    assert lan.owned(HOST_GATEWAY) == []
    lan.do(routers.set, "r", enable_snat=True)
    assert len(lan.owned(HOST_GATEWAY)) == 1
    lan.do(routers.set_gateway, "r", "public", enable_snat=False)
    lan.confirm()
    assert lan.owned(HOST_GATEWAY) == []


def test_an_exhausted_outside_refuses_the_guest_that_would_need_it(lan: Lan) -> None:
    lan.outside(pools=(("203.0.113.10", "203.0.113.11"),))
    lan.router("r", "one", external_gateway="public")
    lan.guest("one", 1)
    made = len(lan.world.rows(Port))
    with pytest.raises(Conflict, match="network public has no free address for host h2"):
        lan.guest("one", 2)
    assert len(lan.world.rows(Port)) == made
    lan.guest("one", 1)


def test_what_a_gateway_must_be(lan: Lan) -> None:
    lan.router("r", "one")
    refused(lan, Invalid, "network two is not external", routers.set_gateway, "r", "two")
    lan.outside("clash", "10.0.0.0/16")
    refused(lan, Conflict, r"overlaps one \(10.0.0.0/24\)", routers.set_gateway, "r", "clash")
    with lan.world.store.write() as session:
        networks.create(
            session, lan.ctx, lan.world.config, name="bare", external=True, network_type="flat", physical_network="bare"
        )
    refused(lan, Invalid, "network bare has no subnet", routers.set_gateway, "r", "bare")


def test_floating_ips_hold_interface_and_gateway(lan: Lan) -> None:
    lan.outside()
    lan.outside("other", "198.51.100.0/24")
    lan.router("r", "one", "two", external_gateway="public")
    address = lan.floating(port=lan.guest("one").id).address
    for verb, args in (
        (routers.remove_subnet, ("r", "one")),
        (routers.unset_gateway, ("r",)),
        (routers.set_gateway, ("r", "other")),
    ):
        refused(lan, Conflict, f"while floating IPs need it: {address}", verb, *args)
    lan.do(routers.remove_subnet, "r", "two")
    lan.do(floating_ips.disassociate, address)
    lan.do(routers.remove_subnet, "r", "one")


def test_routes_lead_over_the_routers_networks(lan: Lan) -> None:
    lan.router("r", "one")
    for to, via, says in (
        ("192.0.2.0/24", "10.1.0.5", "is on no network of router r"),
        ("192.0.2.0/24", "10.0.0.1", "is router r itself"),
        ("fd00::/64", "10.0.0.5", "cannot lead to"),
        ("192.0.2.1/24", "10.0.0.5", "host bits"),
        ("192.0.2.0/24", "x", "not an IP address"),
    ):
        refused(lan, Invalid, says, routers.set, "r", routes=((to, via),))
    lan.guest("one", 1)
    assert lan.touched(routers.set, "r", routes=(("192.0.2.0/24", "10.0.0.5"),)) == {1}
    ((route,),) = (router.routes for router in lan.told(1).routers)
    assert (route.destination, route.nexthop) == ("192.0.2.0/24", "10.0.0.5")
    refused(lan, Conflict, "has a route to 192.0.2.0/24", routers.remove_subnet, "r", "one")
    lan.do(routers.set, "r", routes=())
    lan.do(routers.remove_subnet, "r", "one")


def test_a_router_that_is_switched_off_is_on_no_host(lan: Lan) -> None:
    lan.outside()
    lan.guest("one", 1)
    router = lan.router("r", "one", external_gateway="public")
    lan.confirm()
    assert lan.touched(routers.set, "r", admin_state_up=False) == {1}
    assert (lan.told(1).routers, lan.told(1).gateways) == ((), ())
    lan.confirm()
    assert lan.status(router) == "DOWN"
    assert lan.owned(HOST_GATEWAY) == []
    lan.do(routers.set, "r", admin_state_up=True)
    assert lan.status(router) == "DOWN"
    lan.confirm()
    assert lan.status(router) == "ACTIVE"
    assert len(lan.owned(HOST_GATEWAY)) == 1


def test_a_router_goes_when_it_joins_nothing(lan: Lan) -> None:
    lan.outside()
    lan.guest("one")
    lan.router("r", "one", external_gateway="public")
    refused(lan, Conflict, "still joins one", routers.delete, "r")
    lan.do(routers.remove_subnet, "r", "one")
    lan.do(routers.delete, "r")
    assert lan.world.rows(Router) == []
    assert lan.owned(ROUTER_GATEWAY) == []
    lan.confirm()
    assert lan.world.rows(NetworkingPending) == []


def test_a_change_of_words_touches_nobody(lan: Lan) -> None:
    lan.guest("one")
    lan.router("r", "one")
    assert lan.touched(routers.set, "r", name="s", description="mine") == set()
    assert lan.do(routers.find, "s").description == "mine"


def test_only_the_operator_leaves_addresses_untranslated(lan: Lan) -> None:
    lan.router("r", "one")
    member = as_role(lan.ctx, "member")
    with lan.world.store.write() as session:
        with pytest.raises(Forbidden, match="no_snat"):
            routers.set(session, member, "r", enable_snat=False)
        with pytest.raises(Forbidden, match="no_snat"):
            routers.create(session, member, name="other", enable_snat=False)
        routers.set(session, member, "r", enable_snat=True)
        routers.set(session, lan.ctx, "r", enable_snat=False)
