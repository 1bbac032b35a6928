"""Deleting a project with all it owns, in the order in which its verbs allow it."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.context import Context
from core.hosts.table import Host
from core.identity import projects
from core.identity.policy import authorize
from core.identity.projects import Project
from core.images import images
from core.images.images.table import Image
from core.network import floating_ips, networks, routers, security_groups
from core.network.routers.access import interfaces
from core.network.tables import FloatingIP, Network, Port, Router, SecurityGroup
from core.plans.model import Blocker, Plan, Step
from core.plans.networks import strangers
from core.plans.steps import Obstacles, delete_port, delete_server, step
from core.sql import select
from core.volumes import backups, snapshots, volumes
from core.volumes.guards import GUARDS, IN_USE
from core.volumes.tables import Backup, Snapshot, Volume

_SERVERS, _COPIES, _VOLUMES, _PARTING, _WIRES, _NETWORKS, _REST, _PROJECT = range(0, 8000, 1000)
"""The phases, with room between them."""

_GOES = (*GUARDS["delete"].states, IN_USE)
"""What a volume may be: one that a server has is free when the server is gone."""


def delete(session: Session, ctx: Context, id_or_name: str) -> Plan:
    """Raises NotFound, Forbidden."""
    authorize(ctx, "project:delete")
    project = projects.find(session, ctx, id_or_name)
    blockers = Obstacles(session)
    if project.id == ctx.project_id:
        blockers.add(Blocker(what="this is the project you work in", hint="Enter another one first."))
    steps = [
        *_servers(session, project, blockers),
        *_storage(session, project, blockers),
        *_networking(session, ctx, project, blockers),
        *_images(session, project, blockers),
        step(_PROJECT, "delete", "project", project, projects.delete, "with its default group, quotas and roles"),
    ]
    all_it_owns = " and all it owns" if len(steps) > 1 else ""
    return Plan(
        name="project.delete",
        object_id=project.id,
        word=project.name,
        title=f"delete project {project.name}{all_it_owns}",
        steps=tuple(sorted(steps, key=lambda one: one.phase)),
        blockers=blockers.all(),
        keeps=("its events and operations, as a record",),
    )


def _of(session: Session, table: Any, project: Project, *narrowed: Any, order: Any = None) -> list[Any]:
    query = select(table).where(col(table.project_id) == project.id, *narrowed)
    return list(session.execute(query.order_by(col(table.name) if order is None else order)).scalars())


def _servers(session: Session, project: Project, blockers: Obstacles) -> list[Step]:
    hosts = dict(session.execute(select(Host.id, Host.name)).all())
    steps = []
    for row in _of(session, Instance, project, col(Instance.deleted_at) == 0):
        steps.append(delete_server(_SERVERS, row, hosts.get(row.host_id, "")))
        blockers.waits(row)
    return steps


def _storage(session: Session, project: Project, blockers: Obstacles) -> list[Step]:
    steps = []
    kept = _of(session, Backup, project, col(Backup.deleted_at) == 0, order=col(Backup.created_at).desc())
    chained = {row.parent_id for row in kept} | {row.id for row in kept if row.parent_id}
    for at, row in enumerate(kept):
        # An increment goes before what it stands on: of a chain each has a phase of its own, newest first.
        phase = _COPIES + (1 + at if row.id in chained else 0)
        steps.append(step(phase, "delete", "backup", row, backups.delete, f"{row.size_gb} GiB of {row.volume_name}"))
    for row in _of(session, Snapshot, project, col(Snapshot.deleted_at) == 0, ~col(Snapshot.hidden)):
        steps.append(step(_VOLUMES - 1, "delete", "snapshot", row, snapshots.delete, f"{row.size_gb} GiB"))
    for row in _of(session, Volume, project, col(Volume.deleted_at) == 0):
        steps.append(step(_VOLUMES, "delete", "volume", row, volumes.delete, f"{row.size_gb} GiB, {row.status}"))
        if row.status not in _GOES:
            what = f"volume {row.name or row.id[:8]} is {row.status}"
            blockers.add(Blocker(what=what, hint="Wait for what runs on it, or take the transfer back."))
    return steps


def _networking(session: Session, ctx: Context, project: Project, blockers: Obstacles) -> list[Step]:
    steps: list[Step] = []
    for row in _of(session, FloatingIP, project, order=col(FloatingIP.address)):
        steps.append(step(_PARTING, "delete", "floating IP", row, floating_ips.delete, "the address is given back"))
    for row in _of(session, Router, project):
        for on in interfaces(session, row.id):
            note = f"{on.ip} of subnet {on.subnet.name}"
            steps.append(step(_WIRES, "part", "router", row, routers.remove_port, note, port=on.port.id))
        steps.append(step(_WIRES + 1, "delete", "router", row, routers.delete))
    own = ~col(Port.device_owner).startswith("network:") & ~col(Port.made_for_device)
    for row in _of(session, Port, project, own):
        steps.append(delete_port(_WIRES + 2, row))
    for row in _of(session, Network, project):
        steps.append(step(_NETWORKS, "delete", "network", row, networks.delete, "with its subnets"))
        strangers(session, row, project.id, blockers)
    for row in _of(session, SecurityGroup, project, col(SecurityGroup.name) != "default"):
        steps.append(step(_REST, "delete", "security group", row, security_groups.delete, "with its rules"))
    return steps


def _images(session: Session, project: Project, blockers: Obstacles) -> list[Step]:
    steps = []
    for row in _of(session, Image, project, col(Image.status) != "deleted"):
        note = "servers made from it go on" if row.visibility == "public" else ""
        steps.append(step(_REST, "delete", "image", row, images.delete, note))
        if row.protected:
            blockers.add(
                Blocker(what=f"image {row.name} is protected", hint=f"skydeck image set --unprotected {row.name}")
            )
    return steps
