"""An interface plugged in to a real guest while it runs, used, and pulled out again."""

from __future__ import annotations

import itertools
import re

import pytest

from core.compute.instances import interfaces
from core.compute.instances.nics import Nic
from core.network import networks, ports, subnets
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import EAST

pytestmark = pytest.mark.e2e

SECOND = "second"
QUESTIONS = itertools.count(100)


@pytest.fixture
def second(cloud: Cloud) -> None:
    with cloud.store.write() as session:
        if not any(row.name == SECOND for row in cloud.networks()):
            made = networks.create(session, cloud.ctx, cloud.config, name=SECOND)
            subnets.create(
                session, cloud.ctx, name=SECOND, network=made.id, project_id=made.project_id, cidr="10.44.0.0/24"
            )


def cards(cloud: Cloud, name: str) -> int:
    """How many network cards the guest's own kernel has."""
    # What the console said before is heard again: the number tells this question from the last.
    asked = next(QUESTIONS)
    heard = cloud.type(name, f"echo cards=$(grep -c eth /proc/net/dev)-$(({asked}+0))\n", f"-{asked}\r")
    found = re.search(rf"cards=(\d+)-{asked}\r", heard)
    assert found, heard
    return int(found[1])


def test_a_running_guest_gets_a_second_card_and_loses_it(cloud: Cloud, second: None) -> None:
    cloud.launch("one", host=EAST)
    cloud.booted("one")
    assert cards(cloud, "one") == 1
    operation = cloud.ask(interfaces.attach, "one", Nic(network=SECOND))
    cloud.succeeded(operation.id)
    cloud.until(lambda: cards(cloud, "one") == 2, "the guest sees the card", every=0.5)
    address = next(ip for port in cloud.ports("one") for ip in cloud.addresses(port.id) if ip.startswith("10.44."))
    cloud.type("one", f"ip link set eth1 up; ip address add {address}/24 dev eth1; echo done-$((1+1))\n", "done-2")
    service = cloud.service_address(cloud.network_id(SECOND))
    assert "1 packets received" in cloud.type("one", f"ping -c 1 -W 3 {service}\n", "packets received")
    assert cloud.verify() == []

    cloud.succeeded(cloud.ask(interfaces.detach, "one", address).id)
    cloud.until(lambda: cards(cloud, "one") == 1, "the card is gone", every=0.5)
    assert len(cloud.ports("one")) == 1
    # The address is free, and for the next one.
    with cloud.store.write() as session:
        port = ports.add(session, cloud.ctx, network=SECOND, fixed_ips=((None, address),))
        ports.delete(session, cloud.ctx, port.id)


def test_a_port_of_ones_own_outlives_the_server(cloud: Cloud, second: None) -> None:
    with cloud.store.write() as session:
        port = ports.add(session, cloud.ctx, network=SECOND, name="mine").id
    cloud.launch("two", host=EAST, nics=(Nic(port=port),))
    cloud.until_wired(port)
    cloud.delete("two")
    with cloud.store.write() as session:
        found = ports.find(session, cloud.ctx, port)
        assert (found.device_id, found.host_id, found.status) == ("", None, "DOWN")
        ports.delete(session, cloud.ctx, port)
