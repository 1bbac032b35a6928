"""What a launch is plugged in to, and what is plugged in and pulled out later: rules, addresses, whose port it is."""

from __future__ import annotations

import pytest

from core.compute.instances import interfaces
from core.compute.instances.nics import Nic
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded, Refused
from core.identity import quotas
from core.network import networks, ports, security_groups, subnets
from core.network.tables import FixedIP, Port
from core.operations.operations import Operation
from tests.core.world import World


@pytest.fixture
def placed(world: World) -> World:
    """A host, an image, and two networks."""
    world.host("h1")
    world.image()
    with world.store.write() as session:
        for name, cidr in (("lan", "10.1.0.0/24"), ("dmz", "10.2.0.0/29")):
            made = networks.create(session, world.admin, world.config, name=name)
            subnets.create(session, world.admin, name=name, network=made.id, project_id=made.project_id, cidr=cidr)
    return world


def own_port(world: World, network: str = "dmz") -> str:
    with world.store.write() as session:
        return ports.add(session, world.admin, network=network, name="mine").id


def plugged(world: World, name: str = "web") -> list[tuple[str, list[str]]]:
    """(network, addresses) of a server's ports, in their order."""
    with world.store.read() as session:
        mine = ports.of_device(session, world.instance(name).id)
        return [
            (networks.find(session, world.admin, port.network_id).name, ports.addresses(session, port.id))
            for port in mine
        ]


def test_a_launch_takes_networks_addresses_and_own_ports(placed: World) -> None:
    port = own_port(placed)
    placed.settled(nics=(Nic(network="lan", fixed_ip="10.1.0.50"), Nic(network="lan"), Nic(port=port)))
    assert dict(plugged(placed)).keys() == {"lan", "dmz"}
    assert ["10.1.0.50"] in [ips for _, ips in plugged(placed)]
    assert len(plugged(placed)) == 3
    with placed.store.read() as session:
        mine = session.get_one(Port, port)
        assert mine.device_id == placed.instance("web").id
        assert not mine.made_for_device


def test_security_groups_go_to_the_ports_that_are_made(placed: World) -> None:
    port = own_port(placed)
    with placed.store.write() as session:
        group = security_groups.create(session, placed.admin, name="web").id
        default = security_groups.default_group(session, placed.admin.project_id).id
    placed.settled(networks=("lan",), nics=(Nic(port=port),), security_groups=("web",))
    with placed.store.read() as session:
        for one in ports.of_device(session, placed.instance("web").id):
            assert ports.groups_of(session, one.id) == ([default] if one.id == port else [group])


@pytest.mark.parametrize(
    ("nic", "error", "words"),
    [
        (Nic(network="none-such"), NotFound, "none-such"),
        (Nic(port="none-such"), NotFound, "none-such"),
        (Nic(), Invalid, "network or a port"),
        (Nic(network="lan", port="mine"), Invalid, "already"),
        (Nic(network="lan", fixed_ip="10.9.0.1"), Invalid, "no subnet"),
    ],
)
def test_what_cannot_be_plugged_in_leaves_nothing(placed: World, nic: Nic, error: type[Refused], words: str) -> None:
    own_port(placed)
    before = len(placed.rows(Port)), len(placed.rows(FixedIP))
    with pytest.raises(error, match=words):
        placed.create(nics=(nic,))
    assert (len(placed.rows(Port)), len(placed.rows(FixedIP))) == before
    assert placed.live() == []


def test_a_port_is_plugged_in_once(placed: World) -> None:
    port = own_port(placed)
    with pytest.raises(Invalid, match="only once"):
        placed.create(nics=(Nic(port=port), Nic(port=port)))
    with pytest.raises(Invalid, match="several instances"):
        placed.create(nics=(Nic(port=port),), min_count=2, max_count=2)
    placed.settled(nics=(Nic(port=port),))
    with pytest.raises(Conflict, match="in use"):
        placed.create(name="other", nics=(Nic(port=port),))


def test_an_attach_is_a_port_an_address_and_an_operation(placed: World) -> None:
    placed.settled(networks=("lan",))
    with placed.store.write() as session:
        operation = interfaces.attach(session, placed.admin, "web", Nic(network="dmz", fixed_ip="10.2.0.5"))
    assert operation.kind == "instance.attach_interface"
    assert sorted(plugged(placed)) == [("dmz", ["10.2.0.5"]), ("lan", ["10.1.0.3"])]
    with placed.store.write() as session, pytest.raises(Conflict):
        interfaces.attach(session, placed.admin, "web", Nic(network="dmz", fixed_ip="10.2.0.5"))


def test_an_attach_counts_against_the_quota_of_ports(placed: World) -> None:
    placed.settled(networks=("lan",))
    port = own_port(placed)
    with placed.store.write() as session:
        used = quotas.used(session, placed.admin.project_id, "ports")
        quotas.update(session, placed.admin, placed.admin.project_id, "admin", {"ports": used})
    with placed.store.write() as session, pytest.raises(QuotaExceeded):
        interfaces.attach(session, placed.admin, "web", Nic(network="dmz"))
    with placed.store.write() as session:
        interfaces.attach(session, placed.admin, "web", Nic(port=port))


def test_a_detach_names_a_port_or_an_address(placed: World) -> None:
    placed.settled(networks=("lan", "dmz"))
    with placed.store.write() as session:
        by_address = interfaces.detach(session, placed.admin, "web", "10.1.0.3")
        (by_network,) = interfaces.detach_network(session, placed.admin, "web", "dmz")
    assert {by_address.kind, by_network.kind} == {"instance.detach_interface"}
    with placed.store.write() as session, pytest.raises(NotFound, match=r"10\.7\.7\.7"):
        interfaces.detach(session, placed.admin, "web", "10.7.7.7")


@pytest.mark.parametrize("vm_state", ["suspended", "error", "building"])
def test_nothing_is_plugged_in_to_what_cannot_take_it(placed: World, vm_state: str) -> None:
    placed.settled(networks=("lan",), vm_state=vm_state)
    with placed.store.write() as session, pytest.raises(Conflict):
        interfaces.attach(session, placed.admin, "web", Nic(network="dmz"))
    assert [one for one in placed.rows(Operation) if one.kind == "instance.attach_interface"] == []


def test_a_group_of_a_server_is_one_of_all_its_ports(placed: World) -> None:
    placed.settled(networks=("lan", "dmz"))
    with placed.store.write() as session:
        group = security_groups.create(session, placed.admin, name="web").id
        interfaces.add_group(session, placed.admin, "web", "web")
        mine = ports.of_device(session, placed.instance("web").id)
        assert all(group in ports.groups_of(session, port.id) for port in mine)
        interfaces.remove_group(session, placed.admin, "web", "web")
        assert not any(group in ports.groups_of(session, port.id) for port in mine)
        with pytest.raises(NotFound):
            interfaces.remove_group(session, placed.admin, "web", "web")
