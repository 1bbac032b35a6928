"""How volumes, what is made of them, and the places they are kept in are listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Select, String, func, literal
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.context import Context
from core.hosts.table import Host
from core.identity.projects import Project
from core.listing import Listing, Row, of_project, own
from core.operations.operations import OPEN, Operation
from core.sql import select
from core.volumes import types
from core.volumes.tables import (
    SHARED_DRIVERS,
    Backend,
    BackendHost,
    Backup,
    QosSpec,
    Snapshot,
    Volume,
    VolumeAttachment,
    VolumeTransfer,
    VolumeType,
    VolumeTypeAccess,
)

_AT_ONCE = 500
"""Values of one IN list: databases limit them."""

_TASK = ("operation", "step", "progress", "operation_state", "started_at")


def _found(session: Session, query: Select[Any], column: Any, rows: list[Row]) -> Iterator[Any]:
    """What `query` finds where `column` is the id of one of these rows."""
    wanted = [row["id"] for row in rows]
    for start in range(0, len(wanted), _AT_ONCE):
        yield from session.execute(query.where(column.in_(wanted[start : start + _AT_ONCE])))


def _with_operation(session: Session, rows: list[Row]) -> None:
    """What runs on it or waits: `operation` (its kind), `step`, `progress`, `operation_state`, `started_at`."""
    query = (
        select(
            Operation.object_id,
            Operation.kind,
            Operation.step,
            Operation.progress,
            Operation.state,
            Operation.started_at,
        )
        .where(col(Operation.state).in_(OPEN))
        .order_by(col(Operation.seq))
    )
    running: dict[str, tuple[Any, ...]] = {}
    for object_id, *told in _found(session, query, col(Operation.object_id), rows):
        running.setdefault(object_id, tuple(told))
    for row in rows:
        row |= dict(zip(_TASK, running.get(row["id"], ("", "", 0, "", None)), strict=True))


def _live(table: Any) -> Callable[[Context], Any]:
    def scope(ctx: Context) -> Any:
        there = col(table.deleted_at) == 0
        return there if ctx.all_projects else there & (col(table.project_id) == ctx.project_id)

    return scope


def _count(table: Any, *where: Any, of: Any) -> Any:
    return select(func.count()).select_from(table).where(*where).correlate(of).scalar_subquery()


# ---------------------------------------------------------------------------- volumes


def _volume_source(query: Select[Any]) -> Select[Any]:
    return (
        of_project(Volume)(query)
        .outerjoin(VolumeType, col(VolumeType.id) == col(Volume.type_id))
        .outerjoin(Backend, col(Backend.id) == col(Volume.backend_id))
        .outerjoin(Host, col(Host.id) == col(Volume.host_id))
    )


_ATTACHMENTS = (
    select(
        VolumeAttachment.id,
        VolumeAttachment.volume_id,
        VolumeAttachment.instance_id.label("server_id"),  # type: ignore[attr-defined]
        func.coalesce(Instance.name, "").label("server"),
        func.coalesce(Host.name, "").label("host"),
        VolumeAttachment.device,
        VolumeAttachment.status,
        VolumeAttachment.read_only,
        VolumeAttachment.delete_on_termination,
    )
    .outerjoin(Instance, col(Instance.id) == col(VolumeAttachment.instance_id))
    .outerjoin(Host, col(Host.id) == col(Instance.host_id))
    .where(col(VolumeAttachment.detached_at) == 0)
    .order_by(col(VolumeAttachment.number), col(VolumeAttachment.id))
)


def _with_attachments(session: Session, rows: list[Row]) -> None:
    """`attachments`: [{id, volume_id, server_id, server, host, device, status, read_only, delete_on_termination}, …],
    and what runs on the volume."""
    found: dict[str, list[Row]] = {}
    for one in _found(session, _ATTACHMENTS, col(VolumeAttachment.volume_id), rows):
        found.setdefault(one.volume_id, []).append(dict(one._mapping))
    for row in rows:
        row["attachments"] = found.get(row["id"], [])
    _with_operation(session, rows)


VOLUMES = Listing(
    kind="volume",
    rule="volume:list",
    columns={
        "id": col(Volume.id),
        "name": col(Volume.name),
        "status": col(Volume.status),
        "previous_status": col(Volume.previous_status),
        "size_gb": col(Volume.size_gb),
        "type": func.coalesce(col(VolumeType.name), ""),
        "type_id": col(Volume.type_id),
        "bootable": col(Volume.bootable),
        "read_only": col(Volume.read_only),
        "multiattach": col(Volume.multiattach),
        "availability_zone": col(Volume.availability_zone),
        "backend": func.coalesce(col(Backend.name), ""),
        "backend_id": col(Volume.backend_id),
        "host": func.coalesce(col(Host.name), ""),
        "host_id": col(Volume.host_id),
        "source_kind": col(Volume.source_kind),
        "source_id": col(Volume.source_id),
        "snapshots": _count(
            Snapshot,
            col(Snapshot.volume_id) == col(Volume.id),
            col(Snapshot.deleted_at) == 0,
            ~col(Snapshot.hidden),
            of=Volume,
        ),
        "image_properties": col(Volume.image_properties),
        "properties": col(Volume.properties),
        "fault": col(Volume.fault),
        "description": col(Volume.description),
        "proven_at": col(Volume.proven_at),
        "project": func.coalesce(col(Project.name), ""),
        "project_id": col(Volume.project_id),
        "user_id": col(Volume.user_id),
        "created_at": col(Volume.created_at),
        "updated_at": col(Volume.updated_at),
    },
    source=_volume_source,
    scope=_live(Volume),
    search=("name", "id"),
    enrich=_with_attachments,
)


def _attachment_source(query: Select[Any]) -> Select[Any]:
    return (
        query.select_from(VolumeAttachment)
        .outerjoin(Volume, col(Volume.id) == col(VolumeAttachment.volume_id))
        .outerjoin(Instance, col(Instance.id) == col(VolumeAttachment.instance_id))
        .outerjoin(Host, col(Host.id) == col(Instance.host_id))
    )


def _attachment_scope(ctx: Context) -> Any:
    there = col(VolumeAttachment.detached_at) == 0
    return there if ctx.all_projects else there & (col(Volume.project_id) == ctx.project_id)


ATTACHMENTS = Listing(
    kind="attachment",
    rule="volume:list",
    columns={
        "id": col(VolumeAttachment.id),
        "volume_id": col(VolumeAttachment.volume_id),
        "volume": func.coalesce(col(Volume.name), ""),
        "server_id": col(VolumeAttachment.instance_id),
        "server": func.coalesce(col(Instance.name), ""),
        "host": func.coalesce(col(Host.name), ""),
        "status": col(VolumeAttachment.status),
        "device": col(VolumeAttachment.device),
        "bus": col(VolumeAttachment.bus),
        "boot_index": col(VolumeAttachment.boot_index),
        "read_only": col(VolumeAttachment.read_only),
        "delete_on_termination": col(VolumeAttachment.delete_on_termination),
        "tag": col(VolumeAttachment.tag),
        "size_gb": func.coalesce(col(Volume.size_gb), 0),
        "project_id": func.coalesce(col(Volume.project_id), ""),
        "attached_at": col(VolumeAttachment.attached_at),
    },
    source=_attachment_source,
    scope=_attachment_scope,
    name="volume",
    search=("volume", "server", "volume_id", "server_id"),
    sort="server,device",
)

TRANSFERS = Listing(
    kind="transfer",
    rule="volume:list",
    columns={
        "id": col(VolumeTransfer.id),
        "name": col(VolumeTransfer.name),
        "volume_id": col(VolumeTransfer.volume_id),
        "volume": func.coalesce(col(Volume.name), ""),
        "size_gb": func.coalesce(col(Volume.size_gb), 0),
        "project": func.coalesce(col(Project.name), ""),
        "project_id": col(VolumeTransfer.project_id),
        "created_at": col(VolumeTransfer.created_at),
    },
    source=lambda query: of_project(VolumeTransfer)(query).outerjoin(
        Volume, col(Volume.id) == col(VolumeTransfer.volume_id)
    ),
    scope=own(col(VolumeTransfer.project_id)),
    search=("name", "volume", "id"),
    sort="-created_at",
)

# ---------------------------------------------------------------------------- snapshots and backups

SNAPSHOTS = Listing(
    kind="snapshot",
    rule="snapshot:list",
    columns={
        "id": col(Snapshot.id),
        "name": col(Snapshot.name),
        "status": col(Snapshot.status),
        "size_gb": col(Snapshot.size_gb),
        "volume": func.coalesce(col(Volume.name), ""),
        "volume_id": col(Snapshot.volume_id),
        "volume_status": func.coalesce(col(Volume.status), ""),
        "quiesced": col(Snapshot.quiesced),
        "properties": col(Snapshot.properties),
        "fault": col(Snapshot.fault),
        "description": col(Snapshot.description),
        "project": func.coalesce(col(Project.name), ""),
        "project_id": col(Snapshot.project_id),
        "user_id": col(Snapshot.user_id),
        "number": col(Snapshot.number),
        "created_at": col(Snapshot.created_at),
        "updated_at": col(Snapshot.updated_at),
    },
    source=lambda query: of_project(Snapshot)(query).outerjoin(Volume, col(Volume.id) == col(Snapshot.volume_id)),
    scope=lambda ctx: _live(Snapshot)(ctx) & ~col(Snapshot.hidden),
    search=("name", "volume", "id"),
    enrich=_with_operation,
)

_child = Backup.__table__.alias("child")  # type: ignore[attr-defined]

BACKUPS = Listing(
    kind="backup",
    rule="backup:list",
    columns={
        "id": col(Backup.id),
        "name": col(Backup.name),
        "status": col(Backup.status),
        "size_gb": col(Backup.size_gb),
        "volume_id": col(Backup.volume_id),
        "volume_name": col(Backup.volume_name),
        "snapshot_id": col(Backup.snapshot_id),
        "parent_id": col(Backup.parent_id),
        "incremental": col(Backup.parent_id).is_not(None),
        "dependants": _count(_child, _child.c.parent_id == col(Backup.id), _child.c.deleted_at == 0, of=Backup),
        "container": col(Backup.container),
        "object_count": col(Backup.object_count),
        "stored_bytes": col(Backup.stored_bytes),
        "fault": col(Backup.fault),
        "description": col(Backup.description),
        "verified_at": col(Backup.verified_at),
        "proven_at": col(Backup.proven_at),
        "proven": col(Backup.proven_at).is_not(None),
        "data_at": col(Backup.data_at),
        "project": func.coalesce(col(Project.name), ""),
        "project_id": col(Backup.project_id),
        "user_id": col(Backup.user_id),
        "created_at": col(Backup.created_at),
        "updated_at": col(Backup.updated_at),
    },
    source=of_project(Backup),
    scope=_live(Backup),
    search=("name", "volume_name", "id"),
    sort="-created_at",
    enrich=_with_operation,
)

# ---------------------------------------------------------------------------- types and QoS


def _with_projects(session: Session, rows: list[Row]) -> None:
    """`projects`: names of those that may use a type that is not public."""
    query = (
        select(VolumeTypeAccess.type_id, Project.name)
        .join(Project, col(Project.id) == col(VolumeTypeAccess.project_id))
        .order_by(col(Project.name))
    )
    found: dict[str, list[str]] = {}
    for type_id, name in _found(session, query, col(VolumeTypeAccess.type_id), rows):
        found.setdefault(type_id, []).append(name)
    for row in rows:
        row["projects"] = found.get(row["id"], [])


TYPES = Listing(
    kind="volume_type",
    rule="volume_type:list",
    columns={
        "id": col(VolumeType.id),
        "name": col(VolumeType.name),
        "description": col(VolumeType.description),
        "is_public": col(VolumeType.is_public),
        "is_default": col(VolumeType.is_default),
        "extra_specs": col(VolumeType.extra_specs),
        "qos": func.coalesce(col(QosSpec.name), ""),
        "qos_id": col(VolumeType.qos_id),
        "volumes": _count(
            Volume, col(Volume.type_id) == col(VolumeType.id), col(Volume.deleted_at) == 0, of=VolumeType
        ),
        "created_at": col(VolumeType.created_at),
    },
    source=lambda query: query.select_from(VolumeType).outerjoin(QosSpec, col(QosSpec.id) == col(VolumeType.qos_id)),
    scope=types.visible,
    search=("name", "description"),
    enrich=_with_projects,
)


def _with_types(session: Session, rows: list[Row]) -> None:
    """`types`: names of those it is associated with."""
    query = select(VolumeType.qos_id, VolumeType.name).order_by(col(VolumeType.name))
    found: dict[str, list[str]] = {}
    for qos_id, name in _found(session, query, col(VolumeType.qos_id), rows):
        found.setdefault(qos_id, []).append(name)
    for row in rows:
        row["types"] = found.get(row["id"], [])


QOS = Listing(
    kind="qos",
    rule="volume_type:list",
    columns={
        "id": col(QosSpec.id),
        "name": col(QosSpec.name),
        "consumer": col(QosSpec.consumer),
        "specs": col(QosSpec.specs),
        "created_at": col(QosSpec.created_at),
    },
    source=lambda query: query.select_from(QosSpec),
    scope=lambda ctx: True,
    enrich=_with_types,
)

# ---------------------------------------------------------------------------- backends


def _with_hosts(session: Session, rows: list[Row]) -> None:
    """`reached`: names of the hosts that reach it; `total_bytes` and `free_bytes`, of a shared one as the host says
    that looked last, of a local one of all hosts together."""
    query = (
        select(BackendHost.backend_id, Host.name, BackendHost.total_bytes, BackendHost.free_bytes)
        .join(Host, col(Host.id) == col(BackendHost.host_id))
        .where(col(BackendHost.reachable), col(Host.state) == "up")
        .order_by(col(BackendHost.seen_at))
    )
    found: dict[str, list[Any]] = {}
    for one in _found(session, query, col(BackendHost.backend_id), rows):
        found.setdefault(one.backend_id, []).append(one)
    for row in rows:
        mine = found.get(row["id"], [])
        counted = mine[-1:] if row["driver"] in SHARED_DRIVERS else mine
        row["reached"] = sorted(one.name for one in mine)
        row["total_bytes"] = sum(one.total_bytes for one in counted)
        row["free_bytes"] = sum(one.free_bytes for one in counted)


def _volumes_in(backend: Any, *where: Any, of: Any) -> Any:
    return _count(Volume, col(Volume.backend_id) == backend, col(Volume.deleted_at) == 0, *where, of=of)


BACKENDS = Listing(
    kind="backend",
    rule="backend:list",
    columns={
        "id": col(Backend.id),
        "name": col(Backend.name),
        "driver": col(Backend.driver),
        "shared": col(Backend.driver).in_(SHARED_DRIVERS),
        "enabled": col(Backend.enabled),
        "disabled_reason": col(Backend.disabled_reason),
        "availability_zone": col(Backend.availability_zone),
        "hosts": col(Backend.hosts),
        "options": col(Backend.options),
        "max_over_subscription": col(Backend.max_over_subscription),
        "reserved_percent": col(Backend.reserved_percent),
        "volumes": _volumes_in(col(Backend.id), of=Backend),
        "description": col(Backend.description),
        "created_at": col(Backend.created_at),
    },
    source=lambda query: query.select_from(Backend),
    scope=lambda ctx: True,
    search=("name", "driver", "description"),
    enrich=_with_hosts,
)

BACKEND_HOSTS = Listing(
    kind="backend_host",
    rule="backend:list",
    columns={
        "id": col(BackendHost.backend_id) + literal("/", String) + col(BackendHost.host_id),
        "backend_id": col(BackendHost.backend_id),
        "backend": func.coalesce(col(Backend.name), ""),
        "driver": func.coalesce(col(Backend.driver), ""),
        "shared": func.coalesce(col(Backend.driver), "").in_(SHARED_DRIVERS),
        "host_id": col(BackendHost.host_id),
        "host": func.coalesce(col(Host.name), ""),
        "enabled": col(Backend.enabled),
        "reachable": col(BackendHost.reachable),
        "detail": col(BackendHost.detail),
        "hint": col(BackendHost.hint),
        "total_bytes": col(BackendHost.total_bytes),
        "free_bytes": col(BackendHost.free_bytes),
        "capabilities": col(BackendHost.capabilities),
        "volumes": col(BackendHost.volumes),
        "max_over_subscription": func.coalesce(col(Backend.max_over_subscription), 1.0),
        "reserved_percent": func.coalesce(col(Backend.reserved_percent), 0),
        "seen_at": col(BackendHost.seen_at),
    },
    source=lambda query: (
        query.select_from(BackendHost)
        .outerjoin(Backend, col(Backend.id) == col(BackendHost.backend_id))
        .outerjoin(Host, col(Host.id) == col(BackendHost.host_id))
    ),
    scope=lambda ctx: True,
    name="backend",
    search=("backend", "host", "driver"),
    sort="host,backend",
)

LISTINGS = (VOLUMES, SNAPSHOTS, BACKUPS, TYPES, QOS, TRANSFERS, BACKENDS, BACKEND_HOSTS, ATTACHMENTS)
