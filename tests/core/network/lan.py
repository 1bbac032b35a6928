"""A cloud of networks without instances: guests are ports that are plugged in, hosts are documents."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.context import Context
from core.network import fabric, floating_ips, networks, ports, routers, subnets
from core.network.fabric import HostNetworking, settling
from core.network.ports import plugging
from core.network.tables import FloatingIP, Network, Port, Router, Subnet
from core.sql import select
from hostd.network.document import Document
from hostd.spec import NetworkingSpec, digest, dump
from tests.core.world import World


class Lan:
    """Hosts h1… with tunnel endpoints 192.168.100.1…, which are up; verbs as their admin."""

    def __init__(self, world: World, *, hosts: int = 2) -> None:
        self.world = world
        self.ctx: Context = world.admin
        self.hosts = [
            world.host(f"h{number}", vtep=f"192.168.100.{number}", physnets={"ext": "eth1"})
            for number in range(1, hosts + 1)
        ]

    # ------------------------------------------------------------------ things

    def network(self, name: str = "lan", cidr: str | None = "10.0.0.0/24", **fields: Any) -> Network:
        with self.world.store.write() as session:
            made = networks.create(session, self.ctx, self.world.config, name=name, **fields)
            if cidr is not None:
                subnets.create(session, self.ctx, name=name, network=made.id, project_id=made.project_id, cidr=cidr)
            return made

    def outside(self, name: str = "public", cidr: str = "203.0.113.0/24", **subnet: Any) -> Network:
        """An external network, flat on the physical network `ext`, without DHCP."""
        with self.world.store.write() as session:
            made = networks.create(
                session, self.ctx, self.world.config,
                name=name, external=True, network_type="flat", physical_network="ext" if name == "public" else name,
            )  # fmt: skip
            subnets.create(
                session,
                self.ctx,
                name=name,
                network=made.id,
                project_id=made.project_id,
                cidr=cidr,
                dhcp=False,
                **subnet,
            )
            return made

    def router(self, name: str = "r", *joins: str, **fields: Any) -> Router:
        with self.world.store.write() as session:
            made = routers.create(session, self.ctx, name=name, **fields)
            for subnet in joins:
                routers.add_subnet(session, self.ctx, made.id, subnet)
            return made

    def guest(self, network: str = "lan", host: int = 1, *, groups: list[str] | None = None, **fields: Any) -> Port:
        """A guest's port, bound."""
        with self.world.store.write() as session:
            where = networks.find(session, self.ctx, network)
            device = self.world.store.clock.uuid()
            port = plugging.plug(
                session, where, project_id=self.ctx.project_id, device_id=device, owner="compute:nova", groups=groups,
                **fields,
            )  # fmt: skip
            ports.bind(session, device, self.hosts[host - 1])
            return port

    def floating(self, network: str = "public", **fields: Any) -> FloatingIP:
        with self.world.store.write() as session:
            return floating_ips.create(session, self.ctx, network=network, **fields)

    def do(self, verb: Any, *args: Any, **fields: Any) -> Any:
        """One verb in a transaction of its own."""
        with self.world.store.write() as session:
            return verb(session, self.ctx, *args, **fields)

    # ------------------------------------------------------------------ what hosts are told

    def told(self, host: int = 1) -> NetworkingSpec:
        """The document of a host, which hostd would take."""
        with self.world.store.read() as session:
            spec = fabric.document(session, self.world.config, self.hosts[host - 1])
        return Document(spec).spec

    def digests(self) -> dict[str, str]:
        return {host: digest(dump(self.told(number))) for number, host in enumerate(self.hosts, start=1)}

    def generations(self) -> dict[str, int]:
        return {row.host_id: row.generation for row in self.world.rows(HostNetworking)}

    def touched(self, verb: Any, *args: Any, **fields: Any) -> set[int]:
        """The numbers of the hosts that a verb touches."""
        before = self.generations()
        self.do(verb, *args, **fields)
        after = self.generations()
        return {number for number, host in enumerate(self.hosts, start=1) if after.get(host, 0) != before.get(host, 0)}

    def confirm(self, *hosts: int) -> None:
        """These hosts (all, when none is named) have what they are told now."""
        for number in hosts or range(1, len(self.hosts) + 1):
            host_id = self.hosts[number - 1]
            with self.world.store.write() as session:
                row = session.get(HostNetworking, host_id)
                if row is not None:
                    found = digest(dump(fabric.document(session, self.world.config, host_id)))
                    settling.confirm(session, host_id, row.generation, found)

    def status(self, row: Any) -> str:
        with self.world.store.read() as session:
            return str(session.get(type(row), row.id).status)  # type: ignore[union-attr]

    def owned(self, owner: str) -> list[tuple[str, str]]:
        """(device, address) of the ports with this owner."""
        with self.world.store.read() as session:
            return sorted((port.device_id, ip) for port, ip in _addresses(session) if port.device_owner == owner)


def _addresses(session: Session) -> list[tuple[Port, str]]:
    rows = session.execute(select(Port)).scalars().all()
    return [(port, ip) for port in rows for ip in plugging.addresses(session, port.id)]


def subnet_of(session: Session, name: str) -> Subnet:
    row: Subnet = session.execute(select(Subnet).where(col(Subnet.name) == name)).scalar_one()
    return row
