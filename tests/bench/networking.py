"""`net_converge`, `net_noop`, `rule_change`, `net_remote_5000`: a host's networking, from nothing, again, and changed.

In namespaces of the benchmark's own, by hostd's driver as the daemon calls it. The baselines are what a person would
script: `ip -batch`, `bridge -batch` and `nft -f` with the same objects, each run as one process, and dnsmasq started as
often. The baseline of the no-op is the script run again over what is there, its complaints ignored.
"""

from __future__ import annotations

import ipaddress
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs

from hostd.drivers import Step
from hostd.network import names
from hostd.network.driver import NetworkingDriver
from hostd.spec import (
    Direction,
    GroupSpec,
    NetworkingSpec,
    NetworkSpec,
    Peer,
    PortAddress,
    PortSpec,
    RemotePort,
    RuleSpec,
    SegmentType,
    SubnetSpec,
    Underlay,
)
from tests.bench.common import record
from tests.e2e.sandbox import isolated

NETWORKS, PORTS, RULES, REMOTE = 50, 100, 10, 5000
ROUNDS = 3
CHANGES = 15
HOST = str(UUID(int=1))
VTEP, PEER = "192.0.2.1", "192.0.2.2"


def run() -> None:
    small = document(networks=NETWORKS, ports=PORTS, rules=RULES)
    converged, again, scripted, scripted_again, changed, bare_change = [], [], [], [], [], []
    for _ in range(ROUNDS):
        with isolated(), tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            underlay()
            with Driver(Path(scratch)) as host:
                converged.append(_timed(lambda: host.apply(small)))
                again.append(_timed(lambda: host.apply(small)))
                for number in range(CHANGES):
                    spec = with_rule(small, number)
                    changed.append(_timed(lambda: host.apply(spec)))  # noqa: B023 - called at once
                    bare_change.append(_timed(lambda: _one_rule(number)))  # noqa: B023
                host.apply(NetworkingSpec(uuid=HOST))
        with isolated(), tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            underlay()
            script = _Script(small, Path(scratch))
            scripted.append(_timed(script.run))
            scripted_again.append(_timed(script.run_again))
            script.stop()
    _record("net_converge", converged, scripted)
    _record("net_noop", again, scripted_again)
    _record("rule_change", changed, bare_change)
    _remote()


def _remote() -> None:
    spec = document(networks=NETWORKS, ports=PORTS, rules=RULES, remote=REMOTE)
    ours, bare = [], []
    for _ in range(ROUNDS):
        with isolated(), tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            underlay()
            with Driver(Path(scratch)) as host:
                host.apply(document(networks=NETWORKS, ports=PORTS, rules=RULES))
                ours.append(_timed(lambda: host.apply(spec)))
                host.apply(NetworkingSpec(uuid=HOST))
        with isolated(), tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            underlay()
            script = _Script(spec, Path(scratch))
            script.links()
            bare.append(_timed(script.forwarding))
    _record(f"net_remote_{REMOTE}", ours, bare)


def _record(name: str, ours: list[float], bare: list[float]) -> None:
    record(name, 1000 * statistics.median(ours), "ms", 1000 * statistics.median(bare), len(ours))


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def underlay() -> None:
    for command in (
        ["ip", "link", "add", "under0", "type", "veth", "peer", "name", "under1"],
        ["ip", "address", "add", f"{VTEP}/24", "dev", "under0"],
        ["ip", "link", "set", "under0", "up"],
        ["ip", "link", "set", "under1", "up"],
    ):
        subprocess.run(command, check=True)


class Driver:
    """hostd's driver, called as the daemon's applier calls it."""

    def __init__(self, scratch: Path) -> None:
        self._driver = NetworkingDriver(state=scratch / "state", run=scratch / "run")

    def __enter__(self) -> Driver:
        self._driver.start(lambda happened: None, lambda uuid: None)
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.stop()

    def apply(self, spec: NetworkingSpec) -> tuple[Step, ...]:
        steps = self._driver.plan(spec, self._driver.seen(spec.uuid))
        for step in steps:
            self._driver.execute(step, spec, _NOBODY)
        return steps


class _Nobody:
    cache: Any = None

    def progress(self, percent: int) -> None: ...


_NOBODY = _Nobody()


# ---------------------------------------------------------------------------- what is asked for


def document(*, networks: int, ports: int, rules: int, remote: int = 0) -> NetworkingSpec:
    """`ports` guests over `networks` networks, two groups of `rules` rules, and `remote` ports on another host."""
    groups = tuple(
        GroupSpec(uuid=_uuid(3, group), rules=tuple(_rule(group, number) for number in range(rules)))
        for group in range(2)
    )
    far: dict[int, list[RemotePort]] = {number: [] for number in range(networks)}
    for number in range(remote):
        net = number % networks
        far[net].append(RemotePort(mac=_mac(9, number), vtep=PEER, ips=(_ip(net, 120 + number // networks),)))
    return NetworkingSpec(
        uuid=HOST,
        underlay=Underlay(vtep=VTEP, vteps=(PEER,)),
        networks=tuple(
            NetworkSpec(
                uuid=_uuid(1, net), type=SegmentType.VXLAN, segment=1000 + net, mtu=1450,
                subnets=(_subnet(net),),
                peers=(Peer(host=str(UUID(int=2)), vtep=PEER),) if remote else (),
                remote=tuple(far[net]),
            )
            for net in range(networks)
        ),
        ports=tuple(
            PortSpec(
                uuid=_uuid(4, number), network=_uuid(1, net), device=_uuid(5, number), mac=_mac(1, number),
                addresses=(PortAddress(subnet=_uuid(2, net), ip=_ip(net, 10 + number // networks)),),
                groups=(_uuid(3, number % 2),),
            )
            for number in range(ports)
            for net in (number % networks,)
        ),
        groups=groups,
    )  # fmt: skip


def _subnet(net: int) -> SubnetSpec:
    return SubnetSpec(id=_uuid(2, net), cidr=_cidr(net), gateway=_ip(net, 1), dhcp=True, service_ip=_ip(net, 2))


def with_rule(spec: NetworkingSpec, number: int) -> NetworkingSpec:
    """The same with one more rule in the first group."""
    first, *others = spec.groups
    more = attrs.evolve(first, rules=(*first.rules, _rule(0, 1000 + number)))
    return attrs.evolve(spec, groups=(more, *others))


def with_open_group(spec: NetworkingSpec) -> NetworkingSpec:
    """The same with everything allowed, by rules that come last."""
    everything = tuple(
        RuleSpec(uuid=_uuid(8, number), direction=direction, version=4) for number, direction in enumerate(Direction)
    )
    groups = tuple(attrs.evolve(group, rules=(*group.rules, *everything)) for group in spec.groups)
    return attrs.evolve(spec, groups=groups)


def _rule(group: int, number: int) -> RuleSpec:
    port = 1000 + 10 * number + group
    return RuleSpec(
        uuid=_uuid(6 + group, number), direction=Direction.INGRESS, version=4, protocol="tcp", first=port, last=port,
        cidr="198.51.100.0/24",
    )  # fmt: skip


def _uuid(kind: int, number: int) -> str:
    # The first eleven digits name interfaces: the number has to be in them.
    return str(UUID(hex=f"{kind:03x}{number:08x}" + "0" * 21))


def _cidr(net: int) -> str:
    return f"10.{net}.0.0/16"


def _ip(net: int, number: int) -> str:
    return str(ipaddress.IPv4Network(_cidr(net))[number])


def _mac(kind: int, number: int) -> str:
    return f"fa:16:{kind:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


# ---------------------------------------------------------------------------- what a person would script


class _Script:
    def __init__(self, spec: NetworkingSpec, scratch: Path) -> None:
        self._spec = spec
        self._scratch = scratch
        self._servers: list[Path] = []

    def run(self, *, again: bool = False) -> None:
        self.links(again=again)
        self.forwarding()
        self._firewall()
        if not again:
            self._dhcp()

    def run_again(self) -> None:
        self.run(again=True)

    def links(self, *, again: bool = False) -> None:
        lines, inside = [], []
        for net in self._spec.networks:
            bridge, vxlan, leg, space = (
                name(net.uuid) for name in (names.bridge, names.vxlan, names.leg, names.namespace)
            )
            if not again:
                subprocess.run(["ip", "netns", "add", space], check=True)
            lines += [
                f"link add {bridge} type bridge mcast_snooping 0 nf_call_iptables 1",
                f"link set {bridge} mtu 1450 up",
                f"link add {vxlan} type vxlan id {net.segment} local {VTEP} dstport 4789 nolearning",
                f"link set {vxlan} mtu 1450 master {bridge} up",
                f"link set {vxlan} type bridge_slave learning off neigh_suppress on flood off",
                f"link add {leg} type veth peer name svc netns {space}",
                f"link set {leg} mtu 1450 master {bridge} up",
            ]
            address = f"{net.subnets[0].service_ip}/16"
            inside.append((space, f"address add {address} dev svc\nlink set svc up\nlink set lo up\n"))
        self._batch(["ip", "-force", "-batch", "-"], "\n".join(lines))
        for space, text in inside:
            self._batch(["ip", "-n", space, "-force", "-batch", "-"], text)

    def forwarding(self) -> None:
        fdb, neighbours = [], []
        for net in self._spec.networks:
            for port in net.remote:
                vxlan = names.vxlan(net.uuid)
                fdb.append(f"fdb replace {port.mac} dev {vxlan} dst {port.vtep} self static")
                fdb.append(f"fdb replace {port.mac} dev {vxlan} master static")
                neighbours.append(
                    f"neigh replace {port.ips[0]} lladdr {port.mac} dev {names.bridge(net.uuid)} nud permanent"
                )
        self._batch(["bridge", "-batch", "-"], "\n".join(fdb))
        self._batch(["ip", "-batch", "-"], "\n".join(neighbours))

    def _firewall(self) -> None:
        lines = ["table bridge bare", "delete table bridge bare", "table bridge bare {"]
        jumps = []
        for port in self._spec.ports:
            tap = names.tap(port.uuid)
            lines.append(f"chain p_{tap[4:]} {{ ether saddr != {port.mac} counter drop")
            group = next(group for group in self._spec.groups if group.uuid == port.groups[0])
            for rule in group.rules:
                lines.append(f"ip saddr {rule.cidr} tcp dport {rule.first} accept")
            lines.append("counter drop }")
            jumps.append(f'"{tap}" : goto p_{tap[4:]}')
        lines.append(f"map to {{ type ifname : verdict; elements = {{ {', '.join(jumps)} }}; }}")
        lines.append("chain fwd { type filter hook forward priority -200; oifname vmap @to; } }")
        self._batch(["nft", "-f", "-"], "\n".join(lines))

    def _dhcp(self) -> None:
        for net in self._spec.networks:
            space = names.namespace(net.uuid)
            pid = self._scratch / f"{space}.pid"
            subprocess.run(
                ["ip", "netns", "exec", space, "dnsmasq", "--conf-file=/dev/null", "--port=0", "--interface=svc",
                 "--bind-interfaces", "--leasefile-ro", f"--pid-file={pid}",
                 f"--dhcp-range={net.subnets[0].service_ip},static"],
                check=True,
            )  # fmt: skip
            self._servers.append(pid)

    def stop(self) -> None:
        for pid in self._servers:
            subprocess.run(["kill", pid.read_text().strip()], check=True)

    def _batch(self, command: list[str], text: str) -> None:
        subprocess.run(command, input=text + "\n", text=True, capture_output=True, check=False)


def _one_rule(number: int) -> None:
    """One rule more, as a person adds it."""
    command = "add table bridge bare; add chain bridge bare one; add rule bridge bare one tcp dport {} accept"
    subprocess.run(["nft", command.format(2000 + number)], check=True)
