"""What the tests of networking share: verbs called in transactions of their own, and looks at what they left."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.context import Context
from core.identity import quotas
from core.network import networks, ports, security_groups, subnets
from core.network.fabric import HostNetworking
from core.network.tables import FixedIP, FloatingIP, Network, Port, Router, SecurityGroup, SecurityGroupRule, Subnet
from core.sql import select
from tests.core.world import World


class Land:
    """A world seen through its network verbs. `ctx` is who acts: the admin unless a call says otherwise."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.admin = world.admin

    def do(self, verb: Any, *args: Any, ctx: Context | None = None, **values: Any) -> Any:
        """One verb in one transaction."""
        with self.world.store.write() as session:
            return verb(session, ctx or self.admin, *args, **values)

    def network(self, name: str = "lan", *, ctx: Context | None = None, **values: Any) -> Network:
        return self.do(networks.create, self.world.config, ctx=ctx, name=name, **values)

    def subnet(
        self, cidr: str = "10.0.0.0/24", *, network: str = "lan", ctx: Context | None = None, **values: Any
    ) -> Subnet:
        """A subnet, and the network too when it is missing."""
        ctx = ctx or self.admin
        with self.world.store.write() as session:
            found = session.execute(
                select(Network).where((col(Network.name) == network) | (col(Network.id) == network))
            ).scalar_one_or_none()
            found = found or networks.create(session, ctx, self.world.config, name=network)
            values = {"name": "s", "network": found.id, "project_id": found.project_id, "cidr": cidr} | values
            return subnets.create(session, ctx, **values)

    def port(self, network: str = "lan", *, ctx: Context | None = None, **values: Any) -> Port:
        return self.do(ports.add, ctx=ctx, network=network, **values)

    def group(self, name: str = "web", *, ctx: Context | None = None) -> SecurityGroup:
        return self.do(security_groups.create, ctx=ctx, name=name)

    def quota(self, ctx: Context | None = None, **limits: int) -> None:
        ctx = ctx or self.admin
        self.do(quotas.update, ctx.project_id, ctx.project_name, limits)

    def guest(self, host: str, *, network: str = "lan", ctx: Context | None = None, device: str = "") -> Port:
        """A server's port, made by its launch and bound."""
        ctx = ctx or self.admin
        with self.world.store.write() as session:
            found = networks.find(session, ctx, network)
            device = device or self.world.store.clock.uuid()
            port = ports.plug(
                session, found, project_id=ctx.project_id, device_id=device, owner="compute:nova", dns_name="web"
            )
            ports.bind(session, device, host)
            return port

    def router(self, *, network: str | None = None, ctx: Context | None = None) -> Router:
        """A router's row, with its gateway on a network."""
        ctx = ctx or self.admin
        with self.world.store.write() as session:
            row = Router(
                id=self.world.store.clock.uuid(),
                name="r",
                project_id=ctx.project_id,
                external_network_id=network,
                created_at=1,
            )
            session.add(row)
            return row

    def floating(self, network: Network, port: Port, fixed: str, *, ctx: Context | None = None) -> FloatingIP:
        """A floating IP's row, on a port."""
        with self.world.store.write() as session:
            row = FloatingIP(
                id=self.world.store.clock.uuid(),
                project_id=(ctx or self.admin).project_id,
                network_id=network.id,
                address="203.0.113.9",
                port_id=port.id,
                fixed_ip=fixed,
                status="ACTIVE",
                created_at=1,
            )
            session.add(row)
            return row

    def ips(self, port: Port) -> list[str]:
        with self.world.store.read() as session:
            return ports.addresses(session, port.id)

    def groups(self, port: Port) -> list[str]:
        """Names of the groups a port is in."""
        with self.world.store.read() as session:
            ids = ports.groups_of(session, port.id)
            return sorted(session.execute(select(SecurityGroup.name).where(col(SecurityGroup.id).in_(ids))).scalars())

    def rules(self, group: str) -> list[tuple[Any, ...]]:
        """(direction, ethertype, protocol, first, last, prefix, remote group) of a group's rules, sorted."""
        rows = [row for row in self.world.rows(SecurityGroupRule) if row.security_group_id == group]
        return sorted(
            (
                (
                    row.direction, row.ethertype, row.protocol, row.port_range_min, row.port_range_max,
                    row.remote_ip_prefix, row.remote_group_id,
                )
                for row in rows
            ),
            key=str,
        )  # fmt: skip

    def generations(self) -> dict[str, int]:
        """Host to how often its document changed."""
        return {row.host_id: row.generation for row in self.world.rows(HostNetworking)}

    def counts(self) -> dict[str, int]:
        return {table.__name__: len(self.world.rows(table)) for table in (Network, Subnet, Port, FixedIP)}


def bind_by_hand(session: Session, port: Port, host: str, device: str) -> None:
    """A server takes a user's port."""
    port = session.get(Port, port.id) or port
    port.device_id, port.device_owner = device, "compute:nova"
    session.flush()
    ports.bind(session, device, host)
