"""Networks: their segments, who may use them, what may change, and what keeps them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded, SkydeckError
from core.network import networks, ports, rbac, subnets
from core.network.tables import FixedIP, Port, RbacPolicy, Subnet
from core.sql import select
from tests.core.network.land import Land


def configure(land: Land, **settings: Any) -> None:
    land.world.config = dataclasses.replace(land.world.config, **settings)


def test_defaults(land: Land) -> None:
    made = land.network()
    assert (made.network_type, made.physical_network, made.segmentation_id, made.mtu) == ("vxlan", "", 1001, 1450)
    assert (made.status, made.shared, made.external, made.port_security_enabled) == ("ACTIVE", False, False, True)
    (event,) = land.world.events("network.create")
    assert event.after == {
        "network_type": "vxlan", "segmentation_id": 1001, "mtu": 1450, "shared": False, "external": False,
    }  # fmt: skip


def test_segments_are_the_lowest_free_ones(land: Land) -> None:
    configure(land, vni_ranges="5:6,9:9", network_vlan_ranges="ext:100:101, other:7:7")
    assert [land.network(str(number)).segmentation_id for number in range(3)] == [5, 6, 9]
    with pytest.raises(Conflict, match="every vxlan segment that is set aside is taken"):
        land.network("more")
    land.do(networks.delete, "1")
    assert land.network("again").segmentation_id == 6
    vlan = {"network_type": "vlan", "physical_network": "ext"}
    assert [land.network(f"v{number}", **vlan).segmentation_id for number in range(2)] == [100, 101]
    with pytest.raises(Conflict, match="every vlan segment that is set aside for ext is taken"):
        land.network("more", **vlan)
    assert land.network("w", network_type="vlan", physical_network="other").segmentation_id == 7


def test_segments_as_an_admin_says(land: Land) -> None:
    assert land.network("a", segmentation_id=77).segmentation_id == 77
    vlan = land.network("b", network_type="vlan", physical_network="ext", segmentation_id=77)
    assert (vlan.segmentation_id, vlan.mtu) == (77, 1500)
    flat = land.network("c", network_type="flat", physical_network="ext")
    assert (flat.segmentation_id, flat.mtu) == (None, 1500)
    configure(land, underlay_mtu=9000)
    assert land.network("d").mtu == 8950
    for taken in (
        {"segmentation_id": 77},
        {"network_type": "vlan", "physical_network": "ext", "segmentation_id": 77},
        {"network_type": "flat", "physical_network": "ext"},
    ):
        with pytest.raises(Conflict, match="is taken by another"):
            land.network("e", **taken)


REFUSED: list[tuple[dict[str, Any], type[SkydeckError], str]] = [
    ({"name": " "}, Invalid, "needs a name"),
    ({"mtu": 67}, Invalid, "an MTU cannot be 67"),
    ({"mtu": 1451}, Invalid, "an MTU cannot be 1451"),
    ({"mtu": 1501, "network_type": "flat", "physical_network": "ext"}, Invalid, "an MTU cannot be 1501"),
    ({"network_type": "gre"}, Invalid, "'gre' is not a network type"),
    ({"network_type": "vlan"}, Invalid, "a vlan network needs a physical network"),
    ({"network_type": "flat", "physical_network": "a b"}, Invalid, "needs a physical network, not 'a b'"),
    ({"physical_network": "ext"}, Invalid, "a vxlan network has no physical network"),
    ({"network_type": "vlan", "physical_network": "ext"}, Invalid, "no VLAN ids are set aside"),
    ({"network_type": "vlan", "physical_network": "ext", "segmentation_id": 4095}, Invalid, "cannot have segment"),
    ({"network_type": "flat", "physical_network": "ext", "segmentation_id": 1}, Invalid, "a flat network has no"),
    ({"segmentation_id": 0}, Invalid, "cannot have segment 0"),
    ({"segmentation_id": 1 << 24}, Invalid, "cannot have segment"),
    ({"default": True}, Invalid, "only an external network can be the default"),
    ({"dns_domain": "a b"}, Invalid, "'a b' is not a DNS domain"),
    ({"dns_domain": "-a.example"}, Invalid, "is not a DNS domain"),
]


@pytest.mark.parametrize(
    ("fields", "error", "says"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_refused(land: Land, fields: dict[str, Any], error: type[SkydeckError], says: str) -> None:
    with pytest.raises(error) as refused:
        land.network(**fields)
    assert says in refused.value.title
    assert land.counts()["Network"] == 0


@pytest.mark.parametrize("setting", ["1", "5:1", "a:b", "0:9", "1:99999999"])
def test_a_range_that_is_none(land: Land, setting: str) -> None:
    configure(land, vni_ranges=setting)
    with pytest.raises(Invalid, match="the setting vni_ranges holds"):
        land.network()


def test_what_is_the_operators_alone(land: Land) -> None:
    member = land.world.someone()
    for fields in (
        {"external": True},
        {"shared": True},
        {"segmentation_id": 5},
        {"network_type": "flat", "physical_network": "ext"},
    ):
        with pytest.raises(Forbidden, match=r"policy network:(external|share_all|provider)"):
            land.network(ctx=member, **fields)
    land.network(ctx=member)
    for fields in ({"external": True}, {"shared": True}, {"default": True}):
        with pytest.raises(Forbidden):
            land.do(networks.set, "lan", ctx=member, **fields)
    with pytest.raises(Forbidden):
        land.network(ctx=land.world.someone("reader"))


def test_one_default_external_network(land: Land) -> None:
    land.network("public", external=True, default=True)
    with pytest.raises(Conflict, match="network public is the default external network"):
        land.network("other", external=True, default=True)
    land.network("other", external=True)
    with pytest.raises(Conflict, match="network public is the default"):
        land.do(networks.set, "other", default=True)
    land.do(networks.set, "public", external=False)
    assert land.do(networks.set, "other", default=True).is_default
    assert [row.object_id for row in land.world.rows(RbacPolicy)] == [land.do(networks.find, "other").id]


def test_set(land: Land) -> None:
    host = land.world.host()
    land.subnet()
    land.guest(host)
    before = land.generations()[host]
    changed = land.do(
        networks.set, "lan", name="wan", description="d", mtu=1400, dns_domain="Lab.Example.", flood=True,
        port_security=False, admin_state_up=False,
    )  # fmt: skip
    assert (changed.name, changed.mtu, changed.dns_domain, changed.flood) == ("wan", 1400, "lab.example", True)
    (event,) = land.world.events("network.set")
    assert event.before == {
        "name": "lan", "description": "", "mtu": 1450, "dns_domain": "", "flood": False,
        "port_security_enabled": True, "admin_state_up": True,
    }  # fmt: skip
    assert land.generations()[host] > before
    assert not land.port("wan").port_security_enabled
    told = land.generations()[host]
    land.do(networks.set, "wan", mtu=1400)
    assert land.generations()[host] == told, "what changes nothing is told to nobody"
    with pytest.raises(Invalid, match="an MTU cannot be 1451"):
        land.do(networks.set, "wan", mtu=1451)
    assert land.do(networks.set, "wan", mtu=8950, underlay_mtu=9000).mtu == 8950


def test_ipv6_needs_its_mtu(land: Land) -> None:
    land.subnet("fd00::/64")
    with pytest.raises(Conflict, match="has IPv6 subnets"):
        land.do(networks.set, "lan", mtu=1279)
    land.network("small", mtu=1000)
    with pytest.raises(Invalid, match="has an MTU of 1000"):
        land.subnet("fd01::/64", network="small")


def test_who_sees_a_network(land: Land) -> None:
    one, two = land.world.someone(project="one"), land.world.someone(project="two")
    mine = land.network("mine", ctx=one)
    land.network("shared", shared=True)
    land.network("public", external=True)

    def seen(ctx: Any) -> list[str]:
        with land.world.store.read() as session:
            names = (networks.find(session, ctx, name).name for name in ("shared", "public"))
            return list(names)

    assert seen(one) == seen(two) == ["shared", "public"]
    for verb in (networks.find, networks.set, networks.delete):
        with pytest.raises(NotFound):
            land.do(verb, mine.id, ctx=two)
    for verb in (networks.set, networks.delete):
        with pytest.raises(NotFound, match="of yours"):
            land.do(verb, "shared", ctx=two)
    assert land.do(networks.find, mine.id).id == mine.id
    with pytest.raises(NotFound):
        land.do(networks.find, "mine")  # a name means the project's own, also to an admin
    land.do(rbac.create, ctx=one, network="mine", action="access_as_shared", target_project=two.project_id)
    assert land.do(networks.find, "mine", ctx=two).id == mine.id


def test_a_name_that_two_have(land: Land) -> None:
    land.network("lan")
    land.network("lan")
    with pytest.raises(Invalid, match="2 networks are named 'lan'"):
        land.do(networks.find, "lan")


def test_quota(land: Land) -> None:
    land.quota(networks=1)
    land.network()
    with pytest.raises(QuotaExceeded):
        land.network("more")


def test_what_is_in_use_cannot_go(land: Land) -> None:
    land.subnet()
    land.port()
    for verb, name in ((networks.delete, "lan"), (subnets.delete, "s")):
        with pytest.raises(Conflict, match=r"still has 1 (ports|addresses)"):
            land.do(verb, name)


def test_a_network_goes_with_all_that_is_its_own(land: Land) -> None:
    land.subnet(network="lan")
    land.subnet("10.1.0.0/24", network="lan", name="t")
    land.do(networks.set, "lan", shared=True)
    land.do(networks.delete, "lan")
    assert {table: land.world.rows(table) for table in (Port, FixedIP, Subnet, RbacPolicy)} == {
        Port: [], FixedIP: [], Subnet: [], RbacPolicy: [],
    }  # fmt: skip
    assert len(land.world.events("network.delete")) == 1


def test_a_way_out_that_is_used_stays(land: Land) -> None:
    public = land.network("public", external=True)
    router = land.router(network=public.id, ctx=land.world.someone())
    for act in (lambda: land.do(networks.set, "public", external=False), lambda: land.do(networks.delete, "public")):
        with pytest.raises(Conflict, match="still has 1 routers' gateways"):
            act()
    with land.world.store.write() as session:
        session.delete(session.merge(router))
    land.do(networks.set, "public", external=False)
    land.do(networks.delete, "public")


def test_what_is_shared_stays_while_others_use_it(land: Land) -> None:
    other = land.world.someone()
    land.subnet()
    land.do(networks.set, "lan", shared=True)
    port = land.port(ctx=other)
    with pytest.raises(Conflict, match="is in use by demo"):
        land.do(networks.set, "lan", shared=False)
    land.do(ports.delete, port.id)
    assert not land.do(networks.set, "lan", shared=False).shared
    with pytest.raises(NotFound):
        land.port(ctx=other)


def test_the_network_of_a_launch(land: Land) -> None:
    land.world.host()
    land.world.image()
    first, second = land.world.one(name="a"), land.world.one(name="b")
    with land.world.store.read() as session:
        names = session.execute(select(Port.network_id).where(Port.device_id.in_([first.id, second.id]))).scalars()
        assert len(set(names)) == 1
        (port,) = ports.of_device(session, first.id)
        assert port.made_for_device
        assert ports.addresses(session, port.id) == ["10.0.0.3"]
