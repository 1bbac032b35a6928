"""What the invariants are checked over: the database and every host, gathered at one moment."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.config import Config
from core.hosts.hosts import Claim, Host
from core.network import fabric
from core.network.fabric import HostNetworking
from core.network.tables import HOST_GATEWAY, FixedIP, FloatingIP, Port, Router, Subnet
from core.operations.operations import OPEN, Operation
from core.sql import select
from core.store import now
from core.volumes import stored
from core.volumes.stored import Stored
from core.volumes.tables import Volume, VolumeAttachment
from hostd.spec import Observation, digest, dump


@dataclasses.dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that must always hold, and does not."""

    invariant: int
    """Its number in the design, 1 to 11; 0: it could not be checked."""
    title: str
    evidence: str = ""


class Address(NamedTuple):
    """A fixed IP with what it belongs to."""

    network_id: str
    ip: str
    port_network: str | None
    """None when the port does not exist."""
    subnet_network: str
    cidr: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything the checks look at, gathered at one moment."""

    instances: dict[str, Instance]
    """Not deleted."""
    hosts: dict[str, Host]
    claims: list[Claim]
    operations: list[Operation]
    """Open ones."""
    creates: dict[str, str]
    """Accepted instance.create: operation id to instance id."""
    known_instances: frozenset[str]
    """Ids of every instance row, deleted ones too."""
    addresses: list[Address]
    networks_on: frozenset[tuple[str, str]]
    """(network id, host id) of what each host shall carry."""
    networking: dict[str, HostNetworking]
    """By host."""
    told: dict[str, str]
    """Host to the digest of what it would be told of its networking now."""
    floating: list[FloatingIP]
    ways_out: frozenset[tuple[str, str | None]]
    """(router id, external network id) of every router."""
    gateways: list[tuple[str, str, bool]]
    """(host id, external network id, whether the host needs it) of addresses that guests are seen as."""
    seen: dict[str, Observation]
    volumes: dict[str, Volume]
    """Not deleted."""
    attachments: list[VolumeAttachment]
    """Living ones."""
    pools: list[Stored]
    """Backends as they were seen last, against the volumes that should be there."""
    busy: frozenset[str]
    """Objects with an open operation: what a host has of them may differ for now."""
    at: int
    """When this was gathered, in microseconds since the epoch."""


def gather(session: Session, config: Config, seen: dict[str, Observation]) -> Facts:
    """The database's side of the facts, in one snapshot."""

    def rows(table: Any, *where: Any) -> list[Any]:
        return list(session.execute(select(table).where(*where)).scalars())

    addresses = session.execute(
        select(FixedIP.network_id, FixedIP.ip, Port.network_id, Subnet.network_id, Subnet.cidr)
        .join(Subnet, col(Subnet.id) == col(FixedIP.subnet_id))
        .outerjoin(Port, col(Port.id) == col(FixedIP.port_id))
    ).all()
    networking = {row.host_id: row for row in rows(HostNetworking)}
    gateways = session.execute(
        select(Port.device_id, Port.network_id).where(col(Port.device_owner) == HOST_GATEWAY)
    ).all()
    needed = {host: fabric.gateways_needed(session, host) for host in {host for host, _ in gateways}}
    open_operations = rows(Operation, col(Operation.state).in_(OPEN))
    creates = session.execute(
        select(Operation.id, Operation.object_id).where(
            col(Operation.kind) == "instance.create", col(Operation.lane) != ""
        )
    ).all()
    documents = {host: fabric.document(session, config, host) for host in networking}
    return Facts(
        instances={row.id: row for row in rows(Instance, col(Instance.deleted_at) == 0)},
        hosts={row.id: row for row in rows(Host)},
        claims=rows(Claim),
        operations=open_operations,
        creates=dict(creates),
        known_instances=frozenset(session.execute(select(Instance.id)).scalars()),
        addresses=[Address(*row) for row in addresses],
        networks_on=frozenset((network.uuid, host) for host, spec in documents.items() for network in spec.networks),
        networking=networking,
        told={host: digest(dump(spec)) for host, spec in documents.items()},
        floating=rows(FloatingIP),
        ways_out=frozenset((row.id, row.external_network_id) for row in rows(Router)),
        gateways=[(host, network, network in needed[host]) for host, network in gateways],
        volumes={row.id: row for row in rows(Volume, col(Volume.deleted_at) == 0)},
        attachments=rows(VolumeAttachment, col(VolumeAttachment.detached_at) == 0),
        pools=stored.compare(session),
        seen=seen,
        busy=frozenset(operation.object_id for operation in open_operations),
        at=now(session),
    )


def host_name(facts: Facts, host_id: str | None) -> str:
    host = facts.hosts.get(host_id or "")
    return host.name if host else str(host_id)


def volume_name(facts: Facts, volume_id: str) -> str:
    volume = facts.volumes.get(volume_id)
    return volume.name or volume_id if volume else volume_id
