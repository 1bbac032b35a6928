"""The operator's one command, and the network a project gets by itself."""

from __future__ import annotations

import pytest

from core.errors import Conflict, Forbidden, Invalid
from core.network import auto, networks
from core.network.tables import ROUTER_GATEWAY, ROUTER_INTERFACE, Network, Router, Subnet
from tests.core.network.lan import Lan
from tests.core.world import World


def make(lan: Lan, **fields: object) -> Network:
    fields = {"physical_network": "ext", "cidr": "203.0.113.0/24", **fields}
    made: Network = lan.do(auto.auto, lan.world.config, **fields)
    return made


def test_one_command_makes_the_way_out(world: World) -> None:
    lan = Lan(world)
    made = make(lan, gateway="203.0.113.254", pool=("203.0.113.100", "203.0.113.199"))
    assert (made.external, made.is_default, made.network_type, made.physical_network) == (True, True, "flat", "ext")
    (subnet,) = world.rows(Subnet)
    assert (subnet.gateway_ip, subnet.enable_dhcp, subnet.allocation_pools) == (
        "203.0.113.254",
        False,
        [["203.0.113.100", "203.0.113.199"]],
    )
    with pytest.raises(Conflict):
        make(lan, name="another", segmentation_id=7)


def test_a_vlan_of_a_physical_network(world: World) -> None:
    made = make(Lan(world), segmentation_id=42)
    assert (made.network_type, made.segmentation_id) == ("vlan", 42)


def test_some_host_must_lead_there(world: World) -> None:
    lan = Lan(world)
    with pytest.raises(Conflict, match="no host has a way to physical network 'other'") as refused:
        make(lan, physical_network="other")
    assert refused.value.hint == ("skydeck host set --physnet other=INTERFACE h1, or use one that hosts have: ext.")
    assert world.rows(Network) == []
    member = world.someone()
    with pytest.raises(Forbidden), world.store.write() as session:
        auto.auto(session, member, world.config, physical_network="ext", cidr="203.0.113.0/24")


def test_a_first_launch_finds_a_network_and_the_way_out(world: World) -> None:
    lan = Lan(world)
    make(lan)
    for role in ("one", "two"):
        someone = world.someone("member", project=role)
        with world.store.write() as session:
            first = networks.default_for(session, someone, world.config)
            assert networks.default_for(session, someone, world.config).id == first.id
    assert {network.name for network in world.rows(Network)} == {"public", "default"}
    assert [router.name for router in world.rows(Router)] == ["default", "default"]
    assert sorted(ip for _, ip in lan.owned(ROUTER_GATEWAY)) == ["203.0.113.2", "203.0.113.3"]
    assert [ip for _, ip in lan.owned(ROUTER_INTERFACE)] == ["10.0.0.1", "10.0.0.1"]


def test_without_a_way_out_there_is_just_a_network(world: World) -> None:
    lan = Lan(world)
    lan.outside()  # external, but not the default
    member = world.someone()
    with world.store.write() as session:
        networks.default_for(session, member, world.config)
    assert world.rows(Router) == []


def test_a_project_with_several_chooses(world: World) -> None:
    lan = Lan(world)
    lan.network("a")
    lan.network("b")
    with pytest.raises(Invalid, match="has 2 networks"):
        lan.do(networks.default_for, world.config)
