"""What `verify` says of networking: nothing while all is well, and each wrong by its name."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from core import verify
from core.hosts.table import Host
from core.network import ports
from core.network.fabric import HostNetworking
from core.network.tables import HOST_GATEWAY, FixedIP, FloatingIP, Network, Port
from tests.core.network.lan import Lan
from tests.core.world import World


def titles(lan: Lan) -> list[str]:
    with lan.world.store.read() as session:
        facts = verify.gather(session, lan.world.config, {})
    return [violation.title for check in verify.CHECKS for violation in check(facts)]


@pytest.fixture
def lan(world: World) -> Lan:
    lan = Lan(world)
    lan.network()
    lan.outside()
    lan.router("r", "lan", external_gateway="public")
    lan.floating(port=lan.guest(host=1).id)
    lan.guest(host=2)
    lan.confirm()
    return lan


def test_all_is_well(lan: Lan) -> None:
    assert titles(lan) == []


def test_a_change_is_given_its_time(lan: Lan) -> None:
    lan.guest(host=1)
    assert titles(lan) == []
    _set(lan, HostNetworking, HostNetworking.host_id, lan.hosts[0], changed_at=1)
    assert titles(lan) == ["host h1 has not confirmed its networking"]
    _set(lan, Host, Host.id, lan.hosts[0], state="down")
    assert titles(lan) == [], "a dead host cannot"


def _set(lan: Lan, table: Any, column: Any, value: Any, **values: Any) -> None:
    with lan.world.store.write() as session:
        session.execute(update(table).where(col(column) == value).values(**values))


def test_what_is_wrong_is_named(lan: Lan) -> None:
    (floating,) = lan.world.rows(FloatingIP)
    (address,) = [row for row in lan.world.rows(FixedIP) if row.ip == "10.0.0.3"]
    for table, column, value, broken, mended, says in (
        (Network, Network.name, "lan", {"mtu": 1400}, {"mtu": 1450}, "was told another networking"),
        (
            FloatingIP,
            FloatingIP.id,
            floating.id,
            {"router_id": None},
            {"router_id": floating.router_id},
            "no router leads",
        ),
        (
            FixedIP,
            FixedIP.ip,
            "10.0.0.4",
            {"ip": "10.0.9.4"},
            None,
            "address 10.0.9.4 is not in its subnet 10.0.0.0/24",
        ),
        (
            FixedIP,
            FixedIP.ip,
            address.ip,
            {"network_id": "x"},
            {"network_id": address.network_id},
            "another network than",
        ),
    ):
        _set(lan, table, column, value, **broken)
        assert any(says in title for title in titles(lan)), says
        if mended:
            _set(lan, table, column, value, **mended)
        else:
            _set(lan, FixedIP, FixedIP.ip, "10.0.9.4", ip="10.0.0.4")
        assert titles(lan) == []


def test_an_address_that_no_host_needs(lan: Lan) -> None:
    (port,) = [
        port for port in lan.world.rows(Port) if port.device_owner == HOST_GATEWAY and port.host_id == lan.hosts[1]
    ]
    _set(lan, Port, Port.id, port.id, device_id="5ca1ab1e-0000-4000-8000-000000000001")
    assert any("holds an address that it does not need" in title for title in titles(lan))


def test_a_floating_ip_left_by_its_port(lan: Lan) -> None:
    (floating,) = lan.world.rows(FloatingIP)
    (port,) = [port for port in lan.world.rows(Port) if port.id == floating.port_id]
    with lan.world.store.write() as session:
        ports.release(session, port.device_id)
    lan.confirm()
    assert titles(lan) == []
    _set(lan, FloatingIP, FloatingIP.id, floating.id, status="ACTIVE")
    assert titles(lan) == [f"floating IP {floating.address} is ACTIVE on no port"]
