"""Instances as lists and pages show them."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Select, func
from sqlmodel import Session, col

from core.compute.instances import states
from core.compute.instances.table import Instance
from core.context import Context
from core.hosts.hosts import Host
from core.identity.projects import Project
from core.listing import Listing, Row
from core.network.tables import FixedIP, Network, Port
from core.operations.operations import Operation, State
from core.sql import select
from core.volumes import attachments
from core.volumes.tables import Volume


def _from(query: Select[Any]) -> Select[Any]:
    return (
        query.select_from(Instance)
        .join(Project, col(Project.id) == col(Instance.project_id))
        .outerjoin(Host, col(Host.id) == col(Instance.host_id))
    )


def _scope(ctx: Context) -> Any:
    live = col(Instance.deleted_at) == 0
    return live if ctx.all_projects else live & (col(Instance.project_id) == ctx.project_id)


def _enrich(session: Session, rows: list[Row]) -> None:
    """Addresses and the running operation, one query each for the whole page."""
    ids = [row["id"] for row in rows]
    found: dict[str, list[tuple[str, str]]] = {}
    for device, network, ip in session.execute(
        select(Port.device_id, Network.name, FixedIP.ip)
        .where(
            col(Port.device_id).in_(ids),
            col(FixedIP.port_id) == col(Port.id),
            col(Network.id) == col(Port.network_id),
        )
        .order_by(col(Port.created_at), col(FixedIP.ip))
    ):
        found.setdefault(device, []).append((network, ip))
    running: dict[str, tuple[str, str, int, str]] = {}
    for object_id, kind, step, progress, state in session.execute(
        select(Operation.object_id, Operation.kind, Operation.step, Operation.progress, Operation.state)
        .where(col(Operation.object_id).in_(ids), col(Operation.state).in_([State.READY, State.RUNNING, State.BLOCKED]))
        .order_by(col(Operation.seq))
    ):
        running.setdefault(object_id, (kind, step, progress, state))
    for row in rows:
        addresses = found.get(row["id"], [])
        row["addresses"] = addresses
        row["ip"] = addresses[0][1] if addresses else ""
        row["operation"], row["step"], row["progress"], row["operation_state"] = running.get(row["id"], ("", "", 0, ""))


LISTING = Listing(
    kind="instance",
    rule="instance:list",
    columns={
        "id": col(Instance.id),
        "name": col(Instance.name),
        "status": states.status_column(col(Instance.vm_state), col(Instance.task_state)),
        "vm_state": col(Instance.vm_state),
        "task_state": col(Instance.task_state),
        "power_state": col(Instance.power_state),
        "flavor": col(Instance.flavor_name),
        "image": col(Instance.image_name),
        "host": func.coalesce(col(Host.name), ""),
        "availability_zone": func.coalesce(col(Host.availability_zone), ""),
        "project": col(Project.name),
        "project_id": col(Instance.project_id),
        "vcpus": col(Instance.vcpus),
        "ram_mb": col(Instance.ram_mb),
        "root_gb": col(Instance.root_gb),
        "key_name": col(Instance.key_name),
        "locked": col(Instance.locked),
        "locked_by": col(Instance.locked_by),
        "locked_reason": col(Instance.locked_reason),
        "fault": col(Instance.fault),
        "created_at": col(Instance.created_at),
        "launched_at": col(Instance.launched_at),
    },
    source=_from,
    scope=_scope,
    search=("name", "id"),
    sort="name",
    enrich=_enrich,
)


def show(session: Session, instance: Instance) -> Row:
    """Everything about one instance that a person may see: secrets and injected bytes stay out."""
    row = _plain(instance)
    host = session.get(Host, instance.host_id) if instance.host_id else None
    project = session.get(Project, instance.project_id)
    row |= {
        "status": instance.status,
        "host": host.name if host else "",
        "project": project.name if project else "",
        "power": states.POWER_WORD.get(instance.power_state, "NOSTATE"),
        "has_user_data": instance.user_data is not None,
    }
    ports = session.execute(
        select(Port, Network.name)
        .where(col(Port.device_id) == instance.id, col(Network.id) == col(Port.network_id))
        .order_by(col(Port.created_at), col(Port.id))
    ).all()
    row["ports"] = [
        {
            "id": port.id,
            "network": network,
            "mac": port.mac,
            "ips": list(session.execute(select(FixedIP.ip).where(col(FixedIP.port_id) == port.id)).scalars()),
            "status": port.status,
        }
        for port, network in ports
    ]
    row["addresses"] = [(port["network"], ip) for port in row["ports"] for ip in port["ips"]]
    row["volumes_attached"] = [
        {
            "id": volume.id,
            "name": volume.name,
            "device": one.device,
            "status": one.status,
            "delete_on_termination": one.delete_on_termination,
        }
        for one in attachments.of_instance(session, instance.id)
        for volume in [session.get_one(Volume, one.volume_id)]
    ]
    return row


_HIDDEN = {"user_data", "public_key", "files", "want"}


def _plain(instance: Instance) -> Row:
    """The row's own columns as plain values."""
    return {key: value for key, value in instance.model_dump().items() if key not in _HIDDEN}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """The header's numbers: instances by status in a project."""

    by_status: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


def summary(session: Session, ctx: Context) -> Summary:
    status = states.status_column(col(Instance.vm_state), col(Instance.task_state))
    rows = session.execute(select(status, func.count()).where(_scope(ctx)).group_by(status)).all()
    return Summary(by_status=dict(rows))
