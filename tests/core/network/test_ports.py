"""Ports: what is asked of them and refused, what may change while a server uses them, and what deletes them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded, SkydeckError
from core.network import networks, ports, security_groups
from core.network.fabric import NetworkingPending
from core.network.tables import (
    FLOATING_IP,
    ROUTER_GATEWAY,
    ROUTER_INTERFACE,
    FixedIP,
    FloatingIP,
    Port,
    PortSecurityGroup,
)
from tests.core.network.land import Land, bind_by_hand


@pytest.fixture(autouse=True)
def _lan(land: Land) -> None:
    land.subnet()


def test_defaults(land: Land) -> None:
    port = land.port()
    assert port.mac.startswith("fa:16:3e:")
    assert (port.status, port.device_id, port.device_owner, port.made_for_device) == ("DOWN", "", "", False)
    assert (port.admin_state_up, port.port_security_enabled, port.allowed_address_pairs) == (True, True, [])
    assert (land.ips(port), land.groups(port)) == (["10.0.0.3"], ["default"])
    (event,) = land.world.events("port.create")
    assert (event.object_name, event.after["fixed_ips"]) == (port.id, ["10.0.0.3"])


def test_as_asked(land: Land) -> None:
    land.group("web")
    land.subnet("10.0.1.0/24", name="t")
    port = land.port(
        name="vip", fixed_ips=((None, "10.0.0.77"), ("t", None), ("t", None), ("s", "10.0.0.78")),
        mac="02-00-00-AB-CD-EF", security_groups=("web", "default", "web"),
        allowed_address_pairs=(("10.0.0.200/32", None), ("10.9.0.1/16", "02:00:00:00:00:01")),
        ingress_kbit=1000, egress_kbit=0, dns_name="Vip", description="d", admin_state_up=False,
    )  # fmt: skip
    assert (port.mac, port.dns_name, port.ingress_kbit, port.egress_kbit) == ("02:00:00:ab:cd:ef", "vip", 1000, None)
    assert port.allowed_address_pairs == [
        {"ip_address": "10.0.0.200"},
        {"ip_address": "10.9.0.0/16", "mac_address": "02:00:00:00:00:01"},
    ]
    assert land.ips(port) == ["10.0.0.77", "10.0.0.78", "10.0.1.3", "10.0.1.4"]
    assert land.groups(port) == ["default", "web"]
    assert land.do(ports.find, "vip").id == land.do(ports.find, port.id).id == port.id


REFUSED: list[tuple[dict[str, Any], type[SkydeckError], str]] = [
    ({"network": "wan"}, NotFound, "no network 'wan'"),
    ({"name": " x"}, Invalid, "needs a name without blanks"),
    ({"mac": "fa:16:3e:00:00"}, Invalid, "is not a MAC address"),
    ({"mac": "01:00:5e:00:00:01"}, Invalid, "is a group's"),
    ({"mac": "00:00:00:00:00:00"}, Invalid, "cannot be all zeros"),
    ({"fixed_ips": ((None, None),)}, Invalid, "needs a subnet or an address"),
    ({"fixed_ips": (("u", None),)}, Invalid, "the network has no subnet 'u'"),
    ({"fixed_ips": ((None, "10.0.7.1"),)}, Invalid, "is in no subnet of the network"),
    ({"fixed_ips": (("s", "10.0.7.1"),)}, Invalid, "is not a usable address of 10.0.0.0/24"),
    ({"fixed_ips": ((None, "10.0.0.255"),)}, Invalid, "is not a usable address"),
    ({"fixed_ips": ((None, "x"),)}, Invalid, "address 'x' is not an IP address"),
    ({"fixed_ips": ((None, "10.0.0.1"),)}, Conflict, "address 10.0.0.1 is taken"),
    ({"fixed_ips": ((None, "10.0.0.2"),)}, Conflict, "address 10.0.0.2 is taken"),
    ({"fixed_ips": ((None, "10.0.0.9"), ("s", "10.0.0.9"))}, Invalid, "asked for twice"),
    ({"security_groups": ("web",)}, NotFound, "no security group 'web'"),
    ({"security_groups": ("default",), "port_security": False}, Invalid, "has no security groups"),
    ({"allowed_address_pairs": (("10.0.0.9", None),), "port_security": False}, Invalid, "has no allowed address pairs"),
    ({"allowed_address_pairs": (("x", None),)}, Invalid, "'x' is not a address or block"),
    ({"allowed_address_pairs": (("10.0.0.9", "x"),)}, Invalid, "'x' is not a MAC address"),
    ({"allowed_address_pairs": (("10.0.0.9", None), ("10.0.0.9/32", None))}, Invalid, "is given twice"),
    ({"allowed_address_pairs": tuple((f"10.0.0.{n}", None) for n in range(11))}, Invalid, "11 allowed address pairs"),
    ({"ingress_kbit": -1}, Invalid, "a limit of -1 kbit/s ingress"),
    ({"egress_kbit": 1 << 31}, Invalid, "kbit/s egress"),
    ({"dns_name": "a.b"}, Invalid, "'a.b' is not a host name"),
]


@pytest.mark.parametrize(("fields", "error", "says"), REFUSED, ids=lambda it: it if isinstance(it, str) else "")
def test_refused(land: Land, fields: dict[str, Any], error: type[SkydeckError], says: str) -> None:
    before = land.counts()
    with pytest.raises(error) as refused:
        land.port(**fields)
    assert says in refused.value.title
    assert land.counts() == before


def test_one_mac_and_one_address_only_once(land: Land) -> None:
    first = land.port(mac="02:00:00:00:00:01")
    with pytest.raises(Conflict, match="MAC 02:00:00:00:00:01 is taken"):
        land.port(mac="02:00:00:00:00:01")
    # Past all checks, the database itself refuses.
    with pytest.raises(Conflict, match="exists already"), land.world.store.write() as session:
        ports.create(
            session, project_id=first.project_id, network_id=first.network_id, fixed={}, owner="", device_id="",
            mac=first.mac,
        )  # fmt: skip
    (row,) = [row for row in land.world.rows(FixedIP) if row.port_id == first.id]
    server = next(port for port in land.world.rows(Port) if port.id != first.id)
    with pytest.raises(IntegrityError), land.world.store.write() as session:
        session.add(FixedIP(port_id=server.id, ip=row.ip, subnet_id=row.subnet_id, network_id=row.network_id))


def test_no_port_security(land: Land) -> None:
    port = land.port(port_security=False)
    assert land.groups(port) == []
    land.do(networks.set, "lan", port_security=False)
    assert land.groups(land.port()) == []
    assert land.groups(land.port(port_security=True)) == ["default"]
    assert land.groups(land.port(port_security=True, security_groups=())) == []


def test_quota(land: Land) -> None:
    land.quota(ports=2)  # the DHCP server's port counts, as in neutron
    land.port()
    with pytest.raises(QuotaExceeded):
        land.port()


def test_whose_a_port_is(land: Land) -> None:
    one, two = land.world.someone(project="one"), land.world.someone(project="two")
    land.do(networks.set, "lan", shared=True)
    port = land.port(ctx=one, name="mine")
    assert land.groups(port) == ["default"]
    for verb in (ports.find, ports.set, ports.delete):
        with pytest.raises(NotFound):
            land.do(verb, port.id, ctx=two)
    with pytest.raises(NotFound):
        land.do(ports.find, "mine")  # a name means the project's own
    with pytest.raises(NotFound):
        land.do(ports.find, "")
    land.do(ports.set, port.id, name="yours")
    for fields in (
        {"mac": "02:00:00:00:00:01"},
        {"port_security": False},
        {"allowed_address_pairs": (("10.0.0.9", None),)},
    ):
        with pytest.raises(Forbidden, match="are its owner's to choose"):
            land.port(ctx=two, **fields)
        with pytest.raises(Forbidden, match="are its owner's to choose"):
            land.do(ports.set, port.id, ctx=one, **fields)
    land.network("public", external=True)
    with pytest.raises(Forbidden, match="is for routers and floating IPs"):
        land.port("public", ctx=two)
    assert land.port("public").network_id


def test_set(land: Land) -> None:
    land.group("web")
    port = land.port(name="a")
    changed = land.do(
        ports.set, "a", name="b", fixed_ips=((None, "10.0.0.9"), (None, "10.0.0.3")), mac="02:00:00:00:00:01",
        security_groups=("web",), allowed_address_pairs=(("10.0.0.200", None),), ingress_kbit=5, egress_kbit=6,
        dns_name="x", description="y",
    )  # fmt: skip
    assert (changed.mac, changed.ingress_kbit, changed.egress_kbit, changed.dns_name) == (
        "02:00:00:00:00:01",
        5,
        6,
        "x",
    )
    assert (land.ips(port), land.groups(port)) == (["10.0.0.3", "10.0.0.9"], ["web"])
    (event,) = land.world.events("port.set")
    assert event.before["fixed_ips"] == ["10.0.0.3"]
    assert event.after["fixed_ips"] == ["10.0.0.3", "10.0.0.9"]
    land.do(ports.set, "b", fixed_ips=(("s", None),), ingress_kbit=0, security_groups=())
    assert (land.ips(port), land.groups(port)) == (["10.0.0.3"], [])
    assert land.world.rows(Port)[0].ingress_kbit is None
    land.do(ports.set, "b", no_fixed_ip=True, name="")
    assert land.ips(port) == []
    assert len(land.world.events("port.set")) == 3
    land.do(ports.set, port.id, egress_kbit=6)
    assert len(land.world.events("port.set")) == 3, "what changes nothing leaves no event"


def test_port_security_on_and_off(land: Land) -> None:
    port = land.port()
    with pytest.raises(Invalid, match="has no security groups"):
        land.do(ports.set, port.id, port_security=False)
    land.do(ports.set, port.id, port_security=False, security_groups=())
    with pytest.raises(Invalid, match="has no allowed address pairs"):
        land.do(ports.set, port.id, allowed_address_pairs=(("10.0.0.9", None),))
    land.do(ports.set, port.id, port_security=True)
    assert land.groups(port) == ["default"]


def test_a_bound_port(land: Land) -> None:
    h1, h2 = land.world.host("h1"), land.world.host("h2")
    neighbour = land.guest(h2)
    port = land.guest(h1)
    assert (port.status, port.host_id) == ("DOWN", h1)
    assert {(row.object_id, row.host_id) for row in land.world.rows(NetworkingPending)} == {
        (neighbour.id, h2), (port.id, h1), (port.id, h2),
    }  # fmt: skip
    with pytest.raises(Conflict, match="is bound: its MAC stays"):
        land.do(ports.set, port.id, mac="02:00:00:00:00:01")
    told = land.generations()
    land.do(ports.set, port.id, fixed_ips=((None, "10.0.0.50"),))
    assert land.ips(port) == ["10.0.0.50"]
    assert all(land.generations()[host] > told[host] for host in (h1, h2)), "both hosts are told"
    land.do(ports.set, port.id, admin_state_up=False)
    assert land.do(ports.find, port.id).status == "DOWN"
    with pytest.raises(Conflict, match="is in use by server"):
        land.do(ports.delete, port.id)


def test_a_server_moves(land: Land) -> None:
    h1, h2, h3 = (land.world.host(name) for name in ("h1", "h2", "h3"))
    land.guest(h3)
    port = land.guest(h1)
    told = land.generations()
    with land.world.store.write() as session:
        ports.bind(session, port.device_id, h2)
    now = land.generations()
    assert all(now[host] > told.get(host, 0) for host in (h1, h2, h3)), "where it was, is, and where others are"


@pytest.mark.parametrize("owner", [ROUTER_INTERFACE, ROUTER_GATEWAY, FLOATING_IP, "network:dhcp"])
def test_services_keep_their_ports(land: Land, owner: str) -> None:
    with land.world.store.write() as session:
        network = networks.find(session, land.admin, "lan")
        port = ports.create(
            session, project_id=network.project_id, network_id=network.id, fixed={}, owner=owner, device_id="d"
        )
        assert ports.groups_of(session, port.id) == []
    with pytest.raises(Conflict, match=r"belongs to .* and cannot be deleted here"):
        land.do(ports.delete, port.id)
    for change in ({"no_fixed_ip": True}, {"security_groups": ()}, {"port_security": False}):
        with pytest.raises(Conflict, match="cannot be changed here"):
            land.do(ports.set, port.id, **change)
    assert land.do(ports.set, port.id, name="mine").name == "mine"


def test_a_floating_ip_outlives_its_port(land: Land) -> None:
    public = land.network("public", external=True)
    port = land.port()
    land.floating(public, port, "10.0.0.3")
    with pytest.raises(Conflict, match=r"floating IP 203.0.113.9 is on an address that would go"):
        land.do(ports.set, port.id, no_fixed_ip=True)
    land.do(ports.delete, port.id)
    (left,) = land.world.rows(FloatingIP)
    assert (left.port_id, left.fixed_ip, left.router_id, left.status) == (None, None, None, "DOWN")
    assert [row for row in land.world.rows(FixedIP) if row.port_id == port.id] == []
    assert land.world.rows(PortSecurityGroup) == []


def test_a_deleted_server_gives_back_what_was_made_for_it(land: Land) -> None:
    h1, h2 = land.world.host("h1"), land.world.host("h2")
    land.guest(h2)
    users = land.port(name="kept")
    device = land.world.store.clock.uuid()
    made = land.guest(h1, device=device)
    with land.world.store.write() as session:
        bind_by_hand(session, users, h1, device)
    public = land.network("public", external=True)
    land.floating(public, made, land.ips(made)[0])
    told = land.generations()
    with land.world.store.write() as session:
        ports.release(session, device)
    kept = land.do(ports.find, "kept")
    assert (kept.device_id, kept.device_owner, kept.host_id, kept.status) == ("", "", None, "DOWN")
    assert land.ips(kept) == ["10.0.0.4"]
    with pytest.raises(NotFound):
        land.do(ports.find, made.id)
    assert land.world.rows(FloatingIP)[0].port_id is None
    assert all(land.generations()[host] > told[host] for host in (h1, h2))
    assert {row.object_id for row in land.world.rows(NetworkingPending)} & {made.id, kept.id} == set()
    with land.world.store.write() as session:
        ports.release(session, device)  # twice equals once
    land.do(ports.delete, "kept")


def test_plugged_without_port_security(land: Land) -> None:
    host = land.world.host()
    land.do(networks.set, "lan", port_security=False)
    port = land.guest(host)
    assert (port.port_security_enabled, land.groups(port), port.made_for_device) == (False, [], True)


def test_the_default_group_is_made_on_first_use(land: Land) -> None:
    other = land.world.someone()
    land.do(networks.set, "lan", shared=True)
    land.port(ctx=other)
    land.port(ctx=other)
    assert land.do(security_groups.find, "default", ctx=other).project_id == other.project_id
