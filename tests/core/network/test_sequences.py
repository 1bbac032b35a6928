"""Sequences of network verbs against a model: whatever is asked in whatever order, the database says what the model
says, and refuses what the model refuses."""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core import cloud
from core.config import Config
from core.errors import Conflict, Invalid, QuotaExceeded, SkydeckError
from core.identity import quotas
from core.network import networks, ports, security_groups, subnets
from core.network.tables import (
    DHCP,
    FixedIP,
    Network,
    Port,
    PortSecurityGroup,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from core.store import Store
from tests.core.network.land import Land
from tests.core.world import World

LIMITS = {"networks": 3, "subnets": 4, "ports": 8, "security_groups": 4, "security_group_rules": 12}
BLOCKS = ("10.0.0.0/29", "10.0.0.0/28", "10.0.1.0/29", "fd00::/125", "fd01::/64")
ADVERTISED = "fd01::/64"
CHOICE = st.integers(0, 7)


class Verbs(RuleBasedStateMachine):
    template: Path
    """A fresh cloud's database file."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        path = Path(self.home.name)
        shutil.copy(self.template, path / "skydeck.db")
        config = Config(home=path, database_url=f"sqlite:///{path / 'skydeck.db'}")
        self.store: Store = cloud.open_store(config)
        self.land = Land(World(config, self.store))
        # The model: what a person would keep on paper.
        self.blocks: dict[str, dict[str, str]] = {}
        """Network to its subnets and their blocks."""
        self.served: dict[str, str] = {}
        """Subnet to its DHCP server's address."""
        self.ports: dict[str, dict[str, Any]] = {}
        """Port to {network, ips, groups, device}."""
        self.groups: dict[str, list[str | None]] = {}
        """Group to the other side of each rule beside the two it comes with (None: anybody)."""
        self.told: dict[str, int] = {}

    @initialize()
    def begin(self) -> None:
        self.hosts = [self.land.world.host(f"h{number}") for number in range(2)]
        self.land.quota(**LIMITS)

    def teardown(self) -> None:
        self.store.close()
        self.home.cleanup()

    @contextlib.contextmanager
    def expecting(self, *errors: type[SkydeckError] | None) -> Iterator[None]:
        """The first of these that the model foresees is what is raised; None: nothing is."""
        wanted = next((error for error in errors if error is not None), None)
        if wanted is None:
            yield
            return
        with pytest.raises(wanted):
            yield

    # ------------------------------------------------------------------ the model's arithmetic

    def taken(self, network: str) -> set[str]:
        here = {ip for port in self.ports.values() if port["network"] == network for ip in port["ips"]}
        return here | {self.served[subnet] for subnet in self.blocks[network] if subnet in self.served}

    def lowest(self, network: str, subnet: str) -> str | None:
        """By looking at every address, which the product does not."""
        block = ipaddress.ip_network(self.blocks[network][subnet])
        taken = self.taken(network)
        first, last = int(block[2]), int(block[-2] if block.version == 4 else block[-1])
        candidates = (str(type(block[0])(number)) for number in range(first, min(last, first + 40) + 1))
        return next((ip for ip in candidates if ip not in taken), None)

    def automatic(self, network: str) -> list[str] | None:
        """What a port gets that asks for nothing, without what it derives; None when a family is exhausted."""
        found: list[str] = []
        for version in (4, 6):
            subnets_ = [
                uuid for uuid, cidr in self.blocks[network].items()
                if ipaddress.ip_network(cidr).version == version and cidr != ADVERTISED
            ]  # fmt: skip
            free = [ip for uuid in subnets_ if (ip := self.lowest(network, uuid))]
            if subnets_ and not free:
                return None
            found += free[:1]
        return found

    def used(self, what: str) -> int:
        dhcp = sum(any(subnet in self.served for subnet in blocks) for blocks in self.blocks.values())
        return {
            "networks": len(self.blocks),
            "subnets": sum(map(len, self.blocks.values())),
            "ports": len(self.ports) + dhcp,
            "security_groups": len(self.groups),
            "security_group_rules": sum(2 + len(rules) for rules in self.groups.values()),
        }[what]

    def full(self, **more: int) -> type[SkydeckError] | None:
        return QuotaExceeded if any(self.used(what) + n > LIMITS[what] for what, n in more.items()) else None

    def note(self, port: Port, groups: list[str] | None = None) -> None:
        self.ports[port.id] = {
            "network": port.network_id, "ips": set(self.land.ips(port)), "device": port.device_id, "groups": groups,
        }  # fmt: skip

    def pick(self, among: Any, choice: int) -> str:
        found = list(among)
        return found[choice % len(found)]

    # ------------------------------------------------------------------ what people do

    @rule()
    def make_network(self) -> None:
        with self.expecting(self.full(networks=1)):
            self.blocks[self.land.network().id] = {}

    @precondition(lambda self: self.blocks)
    @rule(choice=CHOICE, cidr=st.sampled_from(BLOCKS), dhcp=st.booleans())
    def make_subnet(self, choice: int, cidr: str, dhcp: bool) -> None:
        network, mode = self.pick(self.blocks, choice), "slaac" if cidr == ADVERTISED else None
        others = [ipaddress.ip_network(other) for other in self.blocks[network].values()]
        block = ipaddress.ip_network(cidr)
        overlap = Conflict if any(o.version == block.version and o.overlaps(block) for o in others) else None
        wrong = Invalid if mode and not dhcp else None
        with self.expecting(overlap, wrong, self.full(subnets=1)):
            made = self.land.subnet(cidr, network=network, dhcp=dhcp, ipv6_mode=mode)
            self.blocks[network][made.id] = cidr
            if dhcp:
                self.served[made.id] = str(block[2])
            for uuid, port in self.ports.items():
                if mode and port["network"] == network:
                    port["ips"].add(self.derived(made, uuid))

    def derived(self, subnet: Subnet, port: str) -> str:
        with self.store.read() as session:
            return subnets.addresses.eui64(subnet, session.get_one(Port, port).mac)

    @precondition(lambda self: self.blocks)
    @rule(choice=CHOICE, launch=st.booleans())
    def make_port(self, choice: int, launch: bool) -> None:
        network = self.pick(self.blocks, choice)
        expected = self.automatic(network)
        full = None if launch else self.full(ports=1)  # of a launch, the instance's create counts
        with self.expecting(full, Conflict if expected is None else None):
            if launch:
                port = self.land.guest(self.hosts[choice % 2], network=network)
            else:
                port = self.land.port(network)
            self.note(port)
            chosen = [ip for ip in self.land.ips(port) if not ip.startswith("fd01:")]
            assert sorted(chosen) == sorted(expected or [])

    @precondition(lambda self: self.ports)
    @rule(choice=CHOICE, last=st.integers(0, 16))
    def move_port(self, choice: int, last: int) -> None:
        uuid, wanted = self.pick(self.ports, choice), f"10.0.0.{last}"
        port = self.ports[uuid]
        blocks = [ipaddress.ip_network(cidr) for cidr in self.blocks[port["network"]].values()]
        block = next((b for b in blocks if ipaddress.ip_address(wanted) in b), None)
        unusable = block is None or wanted in (str(block[0]), str(block[-1]))
        taken = wanted in self.taken(port["network"]) - port["ips"] or last == 1
        with self.expecting(Invalid if unusable else None, Conflict if taken else None):
            self.land.do(ports.set, uuid, fixed_ips=((None, wanted),))
            assert wanted in self.land.ips(Port(id=uuid))
            port["ips"] = {wanted} | {ip for ip in self.land.ips(Port(id=uuid)) if ip.startswith("fd01:")}

    @precondition(lambda self: self.ports)
    @rule(choice=CHOICE)
    def delete_port(self, choice: int) -> None:
        uuid = self.pick(self.ports, choice)
        device = self.ports[uuid]["device"]
        with self.expecting(Conflict if device else None):
            self.land.do(ports.delete, uuid)
            del self.ports[uuid]
        if device:
            with self.store.write() as session:
                ports.release(session, device)
            del self.ports[uuid]

    @precondition(lambda self: self.blocks)
    @rule(choice=CHOICE)
    def delete_network(self, choice: int) -> None:
        network = self.pick(self.blocks, choice)
        held = any(port["network"] == network for port in self.ports.values())
        with self.expecting(Conflict if held else None):
            self.land.do(networks.delete, network)
            for subnet in self.blocks.pop(network):
                self.served.pop(subnet, None)

    @precondition(lambda self: any(self.blocks.values()))
    @rule(choice=CHOICE)
    def delete_subnet(self, choice: int) -> None:
        network, subnet = self.pick(((n, s) for n, blocks in self.blocks.items() for s in blocks), choice)
        block = ipaddress.ip_network(self.blocks[network][subnet])
        mine = [port for port in self.ports.values() if port["network"] == network]
        inside = [ip for port in mine for ip in port["ips"] if ipaddress.ip_address(ip) in block]
        with self.expecting(Conflict if inside and str(block) != ADVERTISED else None):
            self.land.do(subnets.delete, subnet)
            del self.blocks[network][subnet]
            self.served.pop(subnet, None)
            for port in mine:
                port["ips"] -= set(inside)

    @rule()
    def make_group(self) -> None:
        self.sync_default()
        with self.expecting(self.full(security_groups=1, security_group_rules=2)):
            self.groups[self.land.group(f"g{len(self.groups)}").id] = []

    @precondition(lambda self: self.groups)
    @rule(choice=CHOICE, other=CHOICE, named=st.booleans())
    def make_rule(self, choice: int, other: int, named: bool) -> None:
        self.sync_default()
        group = self.pick(self.groups, choice)
        remote = self.pick(self.groups, other) if named else None
        same = Conflict if remote in self.groups[group] else None
        with self.expecting(same, self.full(security_group_rules=1)):
            self.land.do(security_groups.add_rule, group, protocol="tcp", port_min=80, remote_group=remote)
            self.groups[group].append(remote)

    @precondition(lambda self: self.groups and self.ports)
    @rule(choice=CHOICE, group=CHOICE)
    def join_group(self, choice: int, group: int) -> None:
        uuid, joined = self.pick(self.ports, choice), self.pick(self.groups, group)
        self.land.do(ports.set, uuid, security_groups=(joined,))
        self.ports[uuid]["groups"] = [joined]

    @precondition(lambda self: self.groups)
    @rule(choice=CHOICE)
    def delete_group(self, choice: int) -> None:
        self.sync_default()
        group = self.pick(self.groups, choice)
        member = any(port["groups"] == [group] for port in self.ports.values())
        named = any(group in rules for uuid, rules in self.groups.items() if uuid != group)
        with self.expecting(Conflict if member or named else None):
            self.land.do(security_groups.delete, group)
            del self.groups[group]

    def sync_default(self) -> None:
        """The default group comes by itself with the first port, and counts from then on."""
        for row in self.land.world.rows(SecurityGroup):
            if row.name == "default" and row.id not in self.groups:
                self.groups[row.id] = [row.id + "/4", row.id + "/6"]
        default = next((uuid for uuid, rules in self.groups.items() if uuid + "/4" in rules), None)
        for port in self.ports.values():
            if port["groups"] is None:
                port["groups"] = [default]

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def the_database_says_the_same(self) -> None:
        rows = self.land.world.rows
        assert {row.id for row in rows(Network)} == set(self.blocks)
        assert {row.id: row.cidr for row in rows(Subnet)} == {
            uuid: cidr for blocks in self.blocks.values() for uuid, cidr in blocks.items()
        }
        users = [row for row in rows(Port) if row.device_owner != DHCP]
        assert {row.id: row.network_id for row in users} == {u: port["network"] for u, port in self.ports.items()}
        addresses: dict[str, set[str]] = {}
        for row in rows(FixedIP):
            addresses.setdefault(row.port_id, set()).add(row.ip)
            assert ipaddress.ip_address(row.ip) in ipaddress.ip_network(self.blocks[row.network_id][row.subnet_id])
        assert {row.id: addresses.pop(row.id, set()) for row in users} == {u: p["ips"] for u, p in self.ports.items()}
        assert set().union(*addresses.values()) == set(self.served.values()), "what is left is the DHCP servers'"
        self.sync_default()
        member: dict[str, list[str]] = {}
        for row in rows(PortSecurityGroup):
            member.setdefault(row.port_id, []).append(row.security_group_id)
        assert member == {uuid: port["groups"] for uuid, port in self.ports.items()}
        assert {row.id for row in rows(SecurityGroup)} == set(self.groups)
        assert len(rows(SecurityGroupRule)) == self.used("security_group_rules")

    @invariant()
    def quotas_are_counted_live(self) -> None:
        self.sync_default()
        with self.store.read() as session:
            shown = {
                usage.resource: usage.used
                for usage in quotas.show(session, self.land.admin, self.land.admin.project_id)
            }
        assert {what: shown[what] for what in LIMITS} == {what: self.used(what) for what in LIMITS}

    @invariant()
    def hosts_are_told_ever_newer_things(self) -> None:
        now = self.land.generations()
        assert all(now[host] >= generation for host, generation in self.told.items())
        self.told = now


def test_sequences(sqlite_template: Path) -> None:
    Verbs.template = sqlite_template
    run_state_machine_as_test(
        Verbs,
        settings=settings(
            max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
