"""Why a server has no host or does not run, and the smallest change that would fit.

The funnel is what was so when the create was refused; remedies are looked for among the hosts as they are now, so that
a remedy that somebody has brought about meanwhile is told first.
"""

from __future__ import annotations

import ast
import dataclasses
from typing import Any

from sqlmodel import Session, col

from core.compute import placement
from core.compute.flavors import Flavor, visible
from core.compute.instances import verbs
from core.compute.instances.table import Instance
from core.compute.scheduler.model import HostView, Request
from core.compute.scheduler.remedies import Means, Remedy, Size, nearest, remedies
from core.context import Context
from core.errors import NotFound, Refused
from core.hosts.table import Claim
from core.identity.policy import allowed, authorize
from core.images.images.table import Image
from core.operations.operations import Operation, State
from core.sql import select

MOST = 3
"""Remedies told at most: the smallest is what is asked for, two more are a choice."""

_CREATE = "instance.create"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Why:
    """What is wrong with a server, or with the create of one."""

    name: str
    state: str
    """Its status, or that there is no server."""
    title: str
    """The cause; empty when nothing is wrong."""
    hint: str
    step: str = ""
    """Where its create stopped."""
    funnel: dict[str, Any] = dataclasses.field(default_factory=dict)
    """As core.compute.scheduler.model.Funnel.to_json; empty when no placing failed."""
    remedies: tuple[Remedy, ...] = ()
    """Each alone would do; the smallest first."""
    obstacles: tuple[tuple[str, str], ...] = ()
    """When no single change would do: (filter, why) of the host that is nearest to fitting."""
    nearest: str = ""
    """That host."""
    operation: str = ""
    """Id of the operation that failed or waits."""


def of_server(session: Session, ctx: Context, id_or_name: str) -> Why:
    """Of a server by id or name, or of the last refused create under that name. Raises NotFound."""
    try:
        instance = verbs.find(session, ctx, id_or_name)
    except NotFound:
        refused = _refused(session, ctx, id_or_name)
        if refused is None:
            raise
        return of_operation(session, ctx, refused)
    last = _last(session, instance.id)
    fault = instance.fault or {}
    waiting = last is not None and last.state == State.BLOCKED
    if not fault and not waiting:
        return Why(name=instance.name, state=instance.status, title="", hint="")
    assert last is not None or fault
    error = (last.error or {}) if last is not None and waiting else fault
    found = Why(
        name=instance.name,
        state=instance.status,
        title=str(error.get("title", "")),
        hint=str(error.get("hint", "")),
        step=last.step if last is not None else "",
        operation=last.id if last is not None else "",
    )
    create = _last(session, instance.id, kind=_CREATE)
    funnel = _funnel(create) if create is not None else {}
    if instance.host_id is not None or not funnel or funnel.get("ranked"):
        return found
    return _with_remedies(session, ctx, found, funnel, _request(session, ctx, create, instance))


def of_operation(session: Session, ctx: Context, operation: Operation) -> Why:
    """Of a create that was refused or failed."""
    error, funnel = operation.error or {}, _funnel(operation)
    found = Why(
        name=operation.object_name,
        state=f"create {operation.state}",
        title=str(error.get("title", "")),
        hint=str(error.get("hint", "")),
        step=operation.step,
        operation=operation.id,
    )
    if operation.kind != _CREATE or not error or not funnel or funnel.get("ranked"):
        return found
    instance = session.get(Instance, operation.object_id)
    return _with_remedies(session, ctx, found, funnel, _request(session, ctx, operation, instance))


def _with_remedies(session: Session, ctx: Context, found: Why, funnel: dict[str, Any], request: Request | None) -> Why:
    found = dataclasses.replace(found, funnel=funnel)
    if request is None:
        return found
    hosts = placement.look(session, affinity_of=ctx.project_id).views
    told = [_named(session, ctx, one, hosts) for one in remedies(request, hosts, _sizes(session, ctx, found))]
    if told or not hosts:
        return dataclasses.replace(found, remedies=tuple(told[:MOST]))
    host, why = nearest(request, hosts) or ("", {})
    return dataclasses.replace(found, nearest=host, obstacles=tuple(why.items()))


def _named(session: Session, ctx: Context, remedy: Remedy, hosts: list[HostView]) -> Remedy:
    """What only an operator may do is said so; what is to be freed gets the name of something that would free it."""
    if remedy.means in (Means.HOST, Means.FREE) and not allowed(ctx, "host:manage"):
        # Which hosts there are, and what else is on them, is the operator's to know.
        if remedy.means is Means.FREE:
            return dataclasses.replace(remedy, act="Delete something of yours, or ask an admin to make room.")
        return dataclasses.replace(remedy, act=f"Ask an admin: {remedy.act}")
    if remedy.means is not Means.FREE:
        return remedy
    host_id = next(host.id for host in hosts if host.name == remedy.host)
    query = (
        select(Instance.name)
        .join(Claim, col(Claim.instance_id) == col(Instance.id))
        .where(
            col(Claim.host_id) == host_id,
            col(Instance.deleted_at) == 0,
            *(col(getattr(Claim, need)) >= amount for need, amount in remedy.short.items()),
        )
        .order_by(*(col(getattr(Claim, need)) for need in remedy.short), col(Instance.name))
        .limit(1)
    )
    name = session.execute(query).scalar_one_or_none()
    if name is None:
        return remedy
    return dataclasses.replace(remedy, act=f"{name} on {remedy.host} holds that much: delete it.")


def _sizes(session: Session, ctx: Context, found: Why) -> list[Size]:
    """Flavors the caller may launch with, as far as the image of the failed create lets it."""
    image = session.execute(
        select(Image).join(Instance, col(Instance.image_id) == col(Image.id)).where(col(Instance.name) == found.name)
    ).scalars().first()  # fmt: skip
    least_ram = image.min_ram_mb if image is not None else 0
    least_disk = image.min_disk_gb if image is not None else 0
    return [
        Size(one.name, one.vcpus, one.ram_mb, one.disk_gb + one.ephemeral_gb + -(-one.swap_mb // 1024))
        for one in session.execute(select(Flavor).where(visible(ctx))).scalars()
        if one.ram_mb >= least_ram and (one.disk_gb == 0 or one.disk_gb >= least_disk)
    ]


def _request(session: Session, ctx: Context, create: Operation | None, instance: Instance | None) -> Request | None:
    """What the scheduler was asked; None when it can no longer be told."""
    if create is None:
        return None
    if asked := _funnel(create).get("asked"):
        return dataclasses.replace(Request.from_json(asked), avoid=frozenset())
    zone, host = create.data.get("zone"), create.data.get("forced")
    if instance is not None:
        try:
            return placement.request_for(session, instance, zone=zone, host=host)
        except Refused:
            return None  # a hint names something that is gone
    return _as_typed(session, ctx, create)


def _as_typed(session: Session, ctx: Context, create: Operation) -> Request | None:
    """From the words the operation keeps: all values are text there."""
    asked = create.args.get("flavor")
    flavor = session.execute(select(Flavor).where((col(Flavor.name) == asked) | (col(Flavor.id) == asked))).scalar()
    if flavor is None or ast.literal_eval(create.args.get("hints") or "{}"):
        return None
    zone, _, host = str(create.args.get("availability_zone") or "").removeprefix("None").partition(":")
    return Request(
        project_id=create.project_id,
        vcpus=flavor.vcpus,
        ram_mb=flavor.ram_mb,
        disk_gb=flavor.disk_gb + flavor.ephemeral_gb + -(-flavor.swap_mb // 1024),
        zone=zone or None,
        host=host or None,
        extra_specs=flavor.extra_specs,
    )


def _funnel(operation: Operation) -> dict[str, Any]:
    found = (operation.error or {}).get("funnel") or operation.data.get("funnel") or {}
    return found if isinstance(found, dict) else {}


def _last(session: Session, object_id: str, *, kind: str | None = None) -> Operation | None:
    query = select(Operation).where(
        col(Operation.object_id) == object_id,
        col(Operation.kind) == kind if kind else col(Operation.state).in_([State.FAILED, State.BLOCKED]),
    )
    return session.execute(query.order_by(col(Operation.seq).desc()).limit(1)).scalar_one_or_none()


def _refused(session: Session, ctx: Context, name: str) -> Operation | None:
    authorize(ctx, "operation:list")
    query = select(Operation).where(
        col(Operation.kind) == _CREATE, col(Operation.state) == State.FAILED, col(Operation.object_name) == name
    )
    if not ctx.is_admin:
        query = query.where(col(Operation.project_id) == ctx.project_id)
    return session.execute(query.order_by(col(Operation.seq).desc()).limit(1)).scalar_one_or_none()
