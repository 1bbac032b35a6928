"""Provider networks in VLANs of a trunk. Run by test_other_kernel: this machine's kernel has no VLANs."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.network import firewall, names
from hostd.network.driver import NetworkingDriver
from hostd.spec import (
    Direction,
    GroupSpec,
    NetworkingSpec,
    NetworkSpec,
    PortAddress,
    PortSpec,
    RuleSpec,
    SegmentType,
    SubnetSpec,
    Underlay,
    Want,
)
from tests.e2e.bridged import uuid
from tests.e2e.sandbox import isolated

HOST = uuid(0, 1)
GROUP = uuid(3, 1)


class Unwatched:
    cache: Any = None

    def progress(self, percent: int) -> None: ...


def sh(command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command.split(), check=check, capture_output=True, text=True)


def block(number: int) -> SubnetSpec:
    return SubnetSpec(id=uuid(2, number), cidr=f"10.{number}.0.0/24", gateway=None, dhcp=False, service_ip=None)


def vlan(number: int, tag: int) -> NetworkSpec:
    return NetworkSpec(
        uuid=uuid(1, number), type=SegmentType.VLAN, segment=tag, physnet="trunk", mtu=1500,
        subnets=(block(number),),
    )  # fmt: skip


def port(number: int) -> PortSpec:
    return PortSpec(
        uuid=uuid(4, number), network=uuid(1, number), device=uuid(5, number), mac=f"fa:16:3e:00:00:0{number}",
        addresses=(PortAddress(subnet=uuid(2, number), ip=f"10.{number}.0.10"),), groups=(GROUP,),
    )  # fmt: skip


def document() -> NetworkingSpec:
    open_to_all = tuple(
        RuleSpec(uuid=uuid(6, at), direction=direction, version=4) for at, direction in enumerate(Direction)
    )
    return NetworkingSpec(
        uuid=HOST,
        underlay=Underlay(physnets={"trunk": "eth9"}),
        networks=(vlan(1, 100), vlan(2, 200)),
        ports=(port(1), port(2)),
        groups=(GroupSpec(uuid=GROUP, rules=open_to_all),),
    )


@pytest.mark.e2e
def test_guests_are_in_the_vlan_of_their_network() -> None:
    with isolated(), tempfile.TemporaryDirectory() as scratch:
        print(f"backend {firewall.backend().value}")
        # The switch: a trunk with a tagged neighbour in VLAN 100.
        sh("ip netns add switch")
        sh("ip link add eth9 type veth peer name trunk netns switch")
        sh("ip link set eth9 up")
        sh("ip -n switch link set trunk up")
        sh("ip -n switch link add link trunk name v100 type vlan id 100")
        sh("ip -n switch link set v100 up")
        sh("ip -n switch address add 10.1.0.99/24 dev v100")
        sh("ip -n switch address add 10.2.0.99/24 dev v100")
        driver = NetworkingDriver(state=Path(scratch) / "state", run=Path(scratch) / "run")
        driver.start(lambda happened: None, lambda device: None)
        try:
            spec = document()
            for step in driver.plan(spec, driver.seen(HOST)):
                driver.execute(step, spec, Unwatched())
            assert driver.plan(spec, driver.seen(HOST)) == ()
            assert driver.observe().networking.healthy
            for number in (1, 2):
                guest(number)
            assert reaches(1, "10.1.0.99"), "tagged, on the trunk"
            assert not reaches(2, "10.2.0.99"), "the neighbour is in another VLAN"
            # Another tag: the VLAN is made anew.
            moved = attrs.evolve(spec, networks=(vlan(1, 101), vlan(2, 100)))
            for step in driver.plan(moved, driver.seen(HOST)):
                driver.execute(step, moved, Unwatched())
            assert reaches(2, "10.2.0.99")
            assert not reaches(1, "10.1.0.99")
            gone = NetworkingSpec(uuid=HOST, want=Want.ABSENT)
            for number in (1, 2):
                sh(f"ip link delete {names.tap(port(number).uuid)}")
            for step in driver.plan(gone, driver.seen(HOST)):
                driver.execute(step, gone, Unwatched())
            assert "skl-" not in sh("ip link").stdout
        finally:
            driver.stop()


def guest(number: int) -> None:
    tap = names.tap(port(number).uuid)
    sh(f"ip netns add g{number}")
    sh(f"ip link add {tap} type veth peer name eth0 netns g{number} address {port(number).mac}")
    sh(f"ip link set {tap} master {names.bridge(uuid(1, number))} up")
    sh(f"ip -n g{number} address add 10.{number}.0.10/24 dev eth0")
    sh(f"ip -n g{number} link set eth0 up")


def reaches(number: int, address: str) -> bool:
    return sh(f"ip netns exec g{number} ping -q -c 2 -i 0.5 -W 2 {address}", check=False).returncode == 0
