"""Security groups: the rules they come with, the rules that make sense, and what holds them."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded, SkydeckError
from core.identity import projects
from core.network import networks, ports, rbac, security_groups
from core.network.tables import RbacPolicy, SecurityGroup, SecurityGroupRule
from tests.core.network.land import Land

OUT = [("egress", ethertype, None, None, None, None, None) for ethertype in ("IPv4", "IPv6")]


def add(land: Land, group: str = "web", **values: Any) -> SecurityGroupRule:
    return land.do(security_groups.add_rule, group, **values)


def test_a_new_group_lets_everything_out(land: Land) -> None:
    made = land.group()
    assert land.rules(made.id) == OUT


def test_the_default_group(land: Land) -> None:
    """semantics H, word for word."""
    with land.world.store.write() as session:
        made = security_groups.default_group(session, land.admin.project_id)
        assert security_groups.default_group(session, land.admin.project_id).id == made.id
    assert land.rules(made.id) == [
        *OUT,
        ("ingress", "IPv4", None, None, None, None, made.id),
        ("ingress", "IPv6", None, None, None, None, made.id),
    ]
    with pytest.raises(Conflict, match="keeps its name"):
        land.do(security_groups.set, "default", name="mine")
    land.do(security_groups.set, "default", description="d")
    with pytest.raises(Conflict, match="has its default security group already"):
        land.group("Default")
    land.group("web")
    with pytest.raises(Conflict, match="no other group has it"):
        land.do(security_groups.set, "web", name="default")
    member = land.world.someone("manager", project="admin")
    with pytest.raises(Forbidden, match="cannot be deleted"):
        land.do(security_groups.delete, "default", ctx=member)
    land.do(security_groups.delete, "default")


def test_a_rule_for_the_default_group_before_anything_else(land: Land) -> None:
    rule = add(land, "default", protocol="tcp", port_min=22)
    assert len(land.rules(rule.security_group_id)) == 5


KEPT: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({}, ("ingress", "IPv4", None, None, None, None)),
    ({"protocol": "ANY"}, ("ingress", "IPv4", None, None, None, None)),
    ({"protocol": "tcp", "port_min": 22}, ("ingress", "IPv4", "tcp", 22, 22, None)),
    ({"protocol": "6", "port_min": 1, "port_max": 65535}, ("ingress", "IPv4", "tcp", 1, 65535, None)),
    ({"protocol": "UDPlite", "port_min": 5, "port_max": 6}, ("ingress", "IPv4", "udplite", 5, 6, None)),
    ({"protocol": "254", "direction": "egress"}, ("egress", "IPv4", "254", None, None, None)),
    ({"protocol": "vrrp"}, ("ingress", "IPv4", "vrrp", None, None, None)),
    ({"protocol": "icmp", "port_min": 8, "port_max": 0}, ("ingress", "IPv4", "icmp", 8, 0, None)),
    ({"protocol": "icmp", "port_min": 8}, ("ingress", "IPv4", "icmp", 8, None, None)),
    ({"protocol": "icmp", "ethertype": "IPv6"}, ("ingress", "IPv6", "ipv6-icmp", None, None, None)),
    ({"protocol": "icmpv6", "ethertype": "IPv6"}, ("ingress", "IPv6", "ipv6-icmp", None, None, None)),
    ({"protocol": "58", "ethertype": "IPv6"}, ("ingress", "IPv6", "ipv6-icmp", None, None, None)),
    ({"remote_ip": "10.1.2.3"}, ("ingress", "IPv4", None, None, None, "10.1.2.3/32")),
    ({"remote_ip": "10.1.2.3/8"}, ("ingress", "IPv4", None, None, None, "10.0.0.0/8")),
    ({"remote_ip": "0.0.0.0/0"}, ("ingress", "IPv4", None, None, None, "0.0.0.0/0")),
    ({"remote_ip": "FD00::1/64", "ethertype": "IPv6"}, ("ingress", "IPv6", None, None, None, "fd00::/64")),
]


@pytest.mark.parametrize(("asked", "kept"), KEPT, ids=str)
def test_rules(land: Land, asked: dict[str, Any], kept: tuple[Any, ...]) -> None:
    group = land.group()
    rule = add(land, **asked)
    assert (*kept, None) in land.rules(group.id)
    with pytest.raises(Conflict, match="security group web has this rule"):
        add(land, **asked)
    (event,) = land.world.events("security_group_rule.create")
    assert event.after["direction"] == kept[0]
    land.do(security_groups.delete_rule, rule.id)
    assert land.rules(group.id) == OUT


REFUSED: list[tuple[dict[str, Any], type[SkydeckError], str]] = [
    ({"direction": "in"}, Invalid, "'in' is not a direction"),
    ({"ethertype": "IPX"}, Invalid, "'IPX' is not an ethertype"),
    ({"protocol": "tcpp"}, Invalid, "unknown protocol 'tcpp'"),
    ({"protocol": "256"}, Invalid, "256 is not a protocol number"),
    ({"protocol": "-1"}, Invalid, "unknown protocol '-1'"),
    ({"protocol": "٣"}, Invalid, "unknown protocol"),
    ({"protocol": "ipv6-icmp"}, Invalid, "does not go with IPv4"),
    ({"protocol": "1", "ethertype": "IPv6"}, Invalid, "does not go with IPv6"),
    ({"port_min": 1}, Invalid, "protocol any has no ports"),
    ({"protocol": "gre", "port_min": 1}, Invalid, "protocol gre has no ports"),
    ({"protocol": "tcp", "port_min": 0}, Invalid, "is not a range of ports"),
    ({"protocol": "tcp", "port_min": 2, "port_max": 1}, Invalid, "2 to 1 is not a range"),
    ({"protocol": "tcp", "port_min": 1, "port_max": 65536}, Invalid, "is not a range"),
    ({"protocol": "tcp", "port_max": 5}, Invalid, "needs its first port"),
    ({"protocol": "icmp", "port_max": 5}, Invalid, "an ICMP code needs a type"),
    ({"protocol": "icmp", "port_min": 256}, Invalid, "an ICMP type cannot be 256"),
    ({"protocol": "icmp", "port_min": 1, "port_max": -1}, Invalid, "an ICMP code cannot be -1"),
    ({"remote_ip": "10.0.0.0/33"}, Invalid, "is not a remote address"),
    ({"remote_ip": "fd00::/64"}, Invalid, "fd00::/64 is not IPv4"),
    ({"remote_ip": "10.0.0.0/8", "ethertype": "IPv6"}, Invalid, "10.0.0.0/8 is not IPv6"),
    ({"remote_ip": "10.0.0.0/8", "remote_group": "web"}, Invalid, "for addresses or for a group"),
    ({"remote_group": "theirs"}, NotFound, "no security group 'theirs'"),
    ({"group": "nobody"}, NotFound, "no security group 'nobody'"),
]


@pytest.mark.parametrize(("asked", "error", "says"), REFUSED, ids=lambda it: it if isinstance(it, str) else "")
def test_refused(land: Land, asked: dict[str, Any], error: type[SkydeckError], says: str) -> None:
    group = land.group()
    land.group("theirs", ctx=land.world.someone())
    with pytest.raises(error) as refused:
        add(land, **asked)
    assert says in refused.value.title
    assert land.rules(group.id) == OUT


def test_what_uses_a_group_holds_it(land: Land) -> None:
    land.subnet()
    web, db = land.group("web"), land.group("db")
    rule = add(land, "db", protocol="tcp", port_min=5432, remote_group="web")
    assert ("ingress", "IPv4", "tcp", 5432, 5432, None, web.id) in land.rules(db.id)
    add(land, "web", remote_group="web")  # its own naming itself holds nothing
    with pytest.raises(Conflict, match="is named by rules of db"):
        land.do(security_groups.delete, "web")
    land.do(security_groups.delete_rule, rule.id)
    port = land.port(security_groups=("web",))
    with pytest.raises(Conflict, match="is used by 1 ports"):
        land.do(security_groups.delete, "web")
    land.do(ports.set, port.id, security_groups=())
    land.do(security_groups.delete, "web")
    assert land.rules(web.id) == []


def test_who_is_told(land: Land) -> None:
    h1, h2 = land.world.host("h1"), land.world.host("h2")
    land.subnet()
    land.subnet("10.1.0.0/24", network="dmz")
    land.group("web")
    web, _ = land.guest(h1), land.guest(h2, network="dmz")
    told = land.generations()
    rule = add(land, "web", protocol="tcp", port_min=80)
    assert land.generations() == told, "nobody is in it yet"
    land.do(ports.set, web.id, security_groups=("web",))
    add(land, "default", remote_group="web")
    told = land.generations()
    land.do(security_groups.delete_rule, rule.id)
    assert land.generations() == {h1: told[h1] + 1, h2: told[h2] + 1}, "the default group names it, which h2 has"
    land.do(security_groups.set, "web", description="x")
    assert land.generations()[h1] == told[h1] + 1


def test_whose_a_group_is(land: Land) -> None:
    other = land.world.someone()
    group = land.group()
    rule = add(land, protocol="tcp")
    for act in (
        lambda: land.do(security_groups.find, group.id, ctx=other),
        lambda: land.do(security_groups.set, group.id, ctx=other),
        lambda: land.do(security_groups.delete, group.id, ctx=other),
        lambda: land.do(security_groups.add_rule, group.id, ctx=other),
        lambda: land.do(security_groups.find_rule, rule.id, ctx=other),
        lambda: land.do(security_groups.delete_rule, rule.id, ctx=other),
        lambda: land.do(security_groups.find_rule, "x"),
    ):
        with pytest.raises(NotFound):
            act()
    reader = land.world.someone("reader", project="admin")
    assert land.do(security_groups.find, "web", ctx=reader).id == group.id
    with pytest.raises(Forbidden):
        land.do(security_groups.add_rule, "web", ctx=reader)


def test_quotas(land: Land) -> None:
    land.quota(security_groups=1, security_group_rules=3)
    land.group("web")
    with pytest.raises(QuotaExceeded, match="security_groups: 1 of 1"):
        land.group("db")
    add(land, protocol="tcp")
    with pytest.raises(QuotaExceeded, match="security_group_rules: 3 of 3"):
        add(land, protocol="udp")


# ---------------------------------------------------------------------------- sharing, and the end of a project


def test_sharing(land: Land) -> None:
    one, two = land.world.someone(project="one"), land.world.someone(project="two")
    land.subnet(ctx=one)

    def share(**values: Any) -> RbacPolicy:
        asked = {"network": "lan", "action": rbac.SHARED, "target_project": two.project_id} | values
        return land.do(rbac.create, ctx=asked.pop("ctx", one), **asked)

    policy = share()
    port = land.port(ctx=two)
    for values, error, says in (
        ({}, Conflict, "is shared so already"),
        ({"action": "access_as_friend"}, Invalid, "is not an action"),
        ({"action": rbac.EXTERNAL}, Forbidden, "network:external"),
        ({"target_project": "*"}, Forbidden, "network:share_all"),
        ({"target_project": "two"}, NotFound, "no project 'two'"),
        ({"network": "x"}, NotFound, "no network 'x'"),
        ({"ctx": two, "target_project": one.project_id}, NotFound, "of yours"),
    ):
        with pytest.raises(error, match=says):
            share(**values)
    with pytest.raises(Conflict, match="is in use by two"):
        land.do(rbac.delete, policy.id, ctx=one)
    with pytest.raises(NotFound):
        land.do(rbac.delete, policy.id, ctx=two)
    for_all = share(ctx=land.admin, network=policy.object_id, target_project="*")
    assert land.do(networks.find, "lan", ctx=one).shared
    land.do(rbac.delete, policy.id, ctx=one)  # it is everybody's anyway
    with pytest.raises(Conflict, match="is in use by two"):
        land.do(rbac.delete, for_all.id)
    land.do(ports.delete, port.id, ctx=two)
    land.do(rbac.delete, for_all.id)
    assert not land.do(networks.find, "lan", ctx=one).shared
    assert land.world.rows(RbacPolicy) == []
    assert len(land.world.events("rbac_policy.create")) == len(land.world.events("rbac_policy.delete")) == 2


def test_an_external_network_of_some(land: Land) -> None:
    one, two = land.world.someone(project="one"), land.world.someone(project="two")
    made = land.network("uplink")
    policy = land.do(rbac.create, network="uplink", action=rbac.EXTERNAL, target_project="one")
    assert land.do(networks.find, "uplink", ctx=one).external
    with pytest.raises(NotFound):
        land.do(networks.find, "uplink", ctx=two)
    land.router(network=made.id, ctx=one)
    with pytest.raises(Conflict, match="is in use by one"):
        land.do(rbac.delete, policy.id)


def test_quota_of_policies(land: Land) -> None:
    land.quota(rbac_policies=0)
    land.network()
    with pytest.raises(QuotaExceeded):
        land.do(rbac.create, network="lan", action=rbac.SHARED, target_project="demo")


def test_a_project_goes_when_nothing_is_left_but_its_default_group(land: Land) -> None:
    other = land.world.someone(project="brief")
    land.subnet(ctx=other)
    port, group = land.port(ctx=other), land.group(ctx=other)
    with pytest.raises(Conflict, match="still has 1 networks, 1 ports, 1 security groups"):
        land.do(projects.delete, "brief")
    land.do(ports.delete, port.id)
    land.do(networks.delete, port.network_id)
    land.do(security_groups.delete, group.id)
    land.network("shared")
    land.do(rbac.create, network="shared", action=rbac.SHARED, target_project="brief")
    assert [row.name for row in land.world.rows(SecurityGroup)] == ["default"]
    land.do(projects.delete, "brief")
    for table in (SecurityGroup, SecurityGroupRule, RbacPolicy):
        assert land.world.rows(table) == []
