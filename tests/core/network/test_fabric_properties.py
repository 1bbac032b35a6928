"""Whatever is done to networks, in whatever order: hosts are told of all that changes for them, what they are told is
sound, and they come to the same end from wherever they were."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import cloud
from core.config import Config
from core.errors import Refused
from core.hosts import hosts
from core.hosts.table import Host
from core.network import fabric, floating_ips, networks, ports, routers, security_groups, subnets
from core.network.fabric import NetworkingPending
from core.network.tables import (
    GUEST,
    HOST_GATEWAY,
    FloatingIP,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from core.operations.kinds import parts
from hostd.memory import MemoryNetworking
from hostd.spec import NetworkingSpec, digest, dump
from tests.core.network.lan import Lan
from tests.core.postgres import MEMORY
from tests.core.world import World

CIDRS = ("10.0.0.0/24", "10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24", "fd00:1::/64", "198.51.100.0/29")


class Doing:
    """One verb a call, chosen by dice: every choice is among what there is, and may well be refused."""

    def __init__(self, lan: Lan, dice: random.Random) -> None:
        self.lan = lan
        self.dice = dice
        self.names = (f"x{number}" for number in itertools.count())

    def any(self, table: Any, *, which: Callable[[Any], bool] = lambda row: True) -> Any:
        rows = [row for row in self.lan.world.rows(table, table.id) if which(row)]
        if not rows:
            raise Nothing
        return self.dice.choice(rows)

    def guest(self) -> Port:
        return self.any(Port, which=lambda port: port.device_owner.startswith(GUEST))  # type: ignore[no-any-return]

    def host(self) -> int:
        return self.dice.randrange(len(self.lan.hosts)) + 1

    # ------------------------------------------------------------------ verbs

    def network(self) -> None:
        self.lan.network(next(self.names), self.dice.choice(CIDRS))

    def outside(self) -> None:
        self.lan.outside(next(self.names), self.dice.choice(("203.0.113.0/24", "198.51.100.0/29")))

    def change_network(self) -> None:
        change = self.dice.choice(
            ({"mtu": 1400}, {"flood": True}, {"dns_domain": "lab.example"}, {"admin_state_up": False}, {"name": "n"})
        )
        self.lan.do(networks.set, self.any(Network).id, **change)

    def delete_network(self) -> None:
        self.lan.do(networks.delete, self.any(Network).id)

    def subnet(self) -> None:
        network = self.any(Network)
        self.lan.do(
            subnets.create, name=next(self.names), network=network.id, project_id=network.project_id,
            cidr=self.dice.choice(CIDRS), dhcp=self.dice.random() < 0.7,
        )  # fmt: skip

    def change_subnet(self) -> None:
        change = self.dice.choice(({"dns": ("9.9.9.9",)}, {"dhcp": False}, {"dhcp": True}, {"no_gateway": True}))
        self.lan.do(subnets.set, self.any(Subnet).id, **change)

    def delete_subnet(self) -> None:
        self.lan.do(subnets.delete, self.any(Subnet).id)

    def router(self) -> None:
        self.lan.router(next(self.names))

    def change_router(self) -> None:
        change = self.dice.choice(
            (
                {"admin_state_up": self.dice.random() < 0.5},
                {"enable_snat": self.dice.random() < 0.5},
                {"routes": (("192.0.2.0/24", "10.0.0.77"),)},
                {"routes": ()},
            )
        )
        self.lan.do(routers.set, self.any(Router).id, **change)

    def join(self) -> None:
        self.lan.do(routers.add_subnet, self.any(Router).id, self.any(Subnet).id)

    def part(self) -> None:
        self.lan.do(routers.remove_subnet, self.any(Router).id, self.any(Subnet).id)

    def gateway(self) -> None:
        outside = self.any(Network, which=lambda network: network.external)
        self.lan.do(routers.set_gateway, self.any(Router).id, outside.id)

    def no_gateway(self) -> None:
        self.lan.do(routers.unset_gateway, self.any(Router).id)

    def delete_router(self) -> None:
        self.lan.do(routers.delete, self.any(Router).id)

    def plug(self) -> None:
        group = [self.any(SecurityGroup).id] if self.dice.random() < 0.5 else None
        self.lan.guest(
            self.any(Network).id, self.host(), groups=group, dns_name=self.dice.choice(("", next(self.names)))
        )

    def move(self) -> None:
        port, host = self.guest(), self.lan.hosts[self.host() - 1]
        with self.lan.world.store.write() as session:
            ports.bind(session, port.device_id, host)

    def unplug(self) -> None:
        port = self.guest()
        with self.lan.world.store.write() as session:
            parts.unbind(session, port.device_id)

    def delete_guest(self) -> None:
        port = self.guest()
        with self.lan.world.store.write() as session:
            ports.release(session, port.device_id)

    def change_port(self) -> None:
        change = self.dice.choice(
            (
                {"admin_state_up": self.dice.random() < 0.5},
                {"allowed_address_pairs": (("10.0.0.200", None),)},
                {"security_groups": [self.any(SecurityGroup).id]},
                {"ingress_kbit": 1000},
                {"security_groups": (), "allowed_address_pairs": (), "port_security": False},
            )
        )
        self.lan.do(ports.set, self.guest().id, **change)

    def group(self) -> None:
        self.lan.do(security_groups.create, name=next(self.names))

    def rule(self) -> None:
        remote = self.any(SecurityGroup).id if self.dice.random() < 0.5 else None
        self.lan.do(
            security_groups.add_rule, self.any(SecurityGroup).id, protocol="tcp", port_min=22, port_max=22,
            remote_group=remote,
        )  # fmt: skip

    def delete_rule(self) -> None:
        self.lan.do(security_groups.delete_rule, self.any(SecurityGroupRule).id)

    def delete_group(self) -> None:
        self.lan.do(security_groups.delete, self.any(SecurityGroup).id)

    def float(self) -> None:
        self.lan.floating(self.any(Network, which=lambda network: network.external).id, port=self.guest().id)

    def move_floating(self) -> None:
        self.lan.do(floating_ips.associate, self.any(FloatingIP).id, self.guest().id)

    def take_off_floating(self) -> None:
        self.lan.do(floating_ips.disassociate, self.any(FloatingIP).id)

    def delete_floating(self) -> None:
        self.lan.do(floating_ips.delete, self.any(FloatingIP).id)

    def host_changes(self) -> None:
        number = self.host()
        vtep = self.dice.choice(("", f"192.168.100.{number}", f"192.168.101.{number}"))
        change = self.dice.choice(({"vtep": vtep}, {"physnets": {"ext": "eth2"}}))
        self.lan.do(hosts.update_host, f"h{number}", **change)

    def confirm(self) -> None:
        self.lan.confirm(self.host())


class Nothing(Exception):
    """There is none of what a verb is about."""


LIKELY = {"plug": 5, "join": 4, "gateway": 2, "float": 2, "network": 2, "rule": 2, "confirm": 2, "router": 2, "move": 2}
"""What makes something to look at comes more often."""
VERBS = [
    name
    for name, what in vars(Doing).items()
    if callable(what) and not name.startswith("_") and name not in ("any", "guest", "host")
    for _ in range(LIKELY.get(name, 1))
]


@pytest.fixture(scope="module")
def template(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud with something in it already, for sequences to get somewhere soon."""
    home = tmp_path_factory.mktemp("networks")
    lan = _cloud(home, sqlite_template, hosts=3)
    lan.network("one", "10.0.0.0/24")
    lan.network("two", "10.1.0.0/24")
    lan.outside()
    lan.router("r", "one", external_gateway="public")
    lan.floating(port=lan.guest("one", 1).id)
    lan.guest("one", 2)
    lan.world.store.checkpoint()
    lan.world.store.close()
    return home / "skydeck.db"


def _cloud(home: Path, template: Path, *, hosts: int) -> Lan:
    shutil.copy(template, home / "skydeck.db")
    config = Config(home=home, database_url=f"sqlite:///{home / 'skydeck.db'}")
    world = World(config, cloud.open_store(config))
    lan = Lan(world, hosts=hosts)
    if not hosts:
        lan.hosts = [row.id for row in world.rows(Host, Host.name)]
    return lan


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(VERBS), min_size=5, max_size=30), st.integers(0, 2**32))
def test_hosts_are_told_of_all_that_changes_for_them(template: Path, verbs: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="sky-", dir=MEMORY if Path(MEMORY).is_dir() else None) as home:
        lan = _cloud(Path(home), template, hosts=0)
        try:
            _run(lan, verbs, random.Random(seed))
        finally:
            lan.world.store.close()


def _run(lan: Lan, verbs: list[str], dice: random.Random) -> None:
    doing = Doing(lan, dice)
    history: list[dict[int, NetworkingSpec]] = [_documents(lan)]
    before, generations = _digests(history[0]), lan.generations()
    for verb in verbs:
        try:
            getattr(doing, verb)()
        except (Refused, Nothing):
            assert lan.generations() == generations, f"{verb} was refused, and told hosts"
        documents = _documents(lan)
        after, now = _digests(documents), lan.generations()
        for number, host_id in enumerate(lan.hosts, start=1):
            if after[number] != before[number]:
                assert now.get(host_id, 0) > generations.get(host_id, 0), f"{verb} changes h{number} untold"
        history.append(documents)
        before, generations = after, now
    lan.confirm()
    assert _digests(_documents(lan)) == before, "what is freed on confirming was in no document"
    _check_settled(lan)
    for number in range(1, len(lan.hosts) + 1):
        _check_converges([documents[number] for documents in history], dice)


def _documents(lan: Lan) -> dict[int, NetworkingSpec]:
    return {number: lan.told(number) for number in range(1, len(lan.hosts) + 1)}


def _digests(documents: dict[int, NetworkingSpec]) -> dict[int, str]:
    return {number: digest(dump(spec)) for number, spec in documents.items()}


def _check_settled(lan: Lan) -> None:
    """All hosts are up and have confirmed: nothing waits, and hosts hold just the addresses they need."""
    assert lan.world.rows(NetworkingPending) == []
    for port in lan.world.rows(Port):
        if port.device_owner.startswith(GUEST):
            assert port.status == ("ACTIVE" if port.host_id and port.admin_state_up else "DOWN")
    plugged = {port.id for port in lan.world.rows(Port) if port.host_id}
    for floating in lan.world.rows(FloatingIP):
        assert floating.status == ("ACTIVE" if floating.port_id in plugged else "DOWN")
    for router in lan.world.rows(Router):
        assert router.status == ("ACTIVE" if router.admin_state_up else "DOWN")
    held = {(port.device_id, port.network_id) for port in lan.world.rows(Port) if port.device_owner == HOST_GATEWAY}
    with lan.world.store.read() as session:
        needed = {(host, network) for host in lan.hosts for network in fabric.gateways_needed(session, host)}
    ipv6_only = {network.id for network in lan.world.rows(Network)} - {
        subnet.network_id for subnet in lan.world.rows(Subnet) if subnet.ip_version == 4
    }
    assert held <= needed
    assert {network for _, network in needed - held} <= ipv6_only


def _check_converges(history: list[NetworkingSpec], dice: random.Random) -> None:
    """A host that stopped anywhere on the way to any earlier document ends as one that was only told the last."""
    last = history[-1]
    fresh: dict[str, dict[str, Any]] = {}
    _carry_out(MemoryNetworking(fresh), last, 99)
    for earlier in history[:-1]:
        records: dict[str, dict[str, Any]] = {}
        driver = MemoryNetworking(records)
        _carry_out(driver, earlier, dice.randrange(4))
        _carry_out(driver, last, 99)
        assert records == fresh
        assert driver.plan(last, driver.seen(last.uuid)) == ()


def _carry_out(driver: MemoryNetworking, spec: NetworkingSpec, most: int) -> None:
    for step in driver.plan(spec, driver.seen(spec.uuid))[:most]:
        driver.execute(step, spec, None)  # type: ignore[arg-type]
