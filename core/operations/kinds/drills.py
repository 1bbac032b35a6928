"""backup.drill: a backup proven by booting it.

Restored to a volume for the while, started as a server of the ordinary kind on a network that nothing else is on and no
router leads to, and watched until its console says that it is up. What was made for it is deleted again, however it
ends: each step undoes its own. The parts are ordinary objects of the project, made by the ordinary verbs, with
operations of their own; the drill waits for those.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from sqlmodel import Session, col

from core.compute import placement
from core.compute.flavors import Flavor
from core.compute.instances import create
from core.compute.instances import verbs as instances
from core.compute.instances.block_devices import BlockDevice
from core.compute.instances.create import CreateSpec
from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.errors import Conflict, Failed, HostFailed
from core.identity.projects import Project
from core.network import networks, subnets
from core.network.tables import Network
from core.operations import operations
from core.operations.operations import OPEN, Operation, State
from core.operations.work import Kind, Step, Work
from core.sql import select
from core.store import now
from core.volumes import backups, volumes
from core.volumes.tables import Backup, Volume
from hostd.spec import Act

CIDR: Final = "192.168.255.0/28"
"""Of the drill's network: it is on no router, so it may be used anywhere else as well."""

_POLL: Final = 0.5
_LOOK: Final = 2.0
"""Seconds between two looks at an operation, and at a console."""

_LINES: Final = 200
_QUICK: Final = 60.0


def _context(session: Session, work: Work) -> Context:
    """The engine, in the project of the backup."""
    backup = _backup(session, work)
    project = session.get_one(Project, backup.project_id)
    return Context(
        user_id=work.operation.user_id,
        user_name=work.operation.user_name,
        project_id=project.id,
        project_name=project.name,
        roles=frozenset({"admin"}),
        source="serve",
        request_id=work.operation.request_id,
    )


def _backup(session: Session, work: Work) -> Backup:
    return session.get_one(Backup, work.operation.object_id, populate_existing=True)


def _name(work: Work) -> str:
    return f"drill-{work.operation.object_id[:8]}"


# ---------------------------------------------------------------------------- waiting for operations


async def _ended(work: Work, id: str) -> Operation:
    """The operation, once it has ended or waits for a person."""
    while True:
        row = await work.read(lambda session: _operation(session, id))
        if row.state not in OPEN or row.state == State.BLOCKED:
            return row
        await asyncio.sleep(_POLL)


async def _succeeded(work: Work, id: str) -> None:
    row = await _ended(work, id)
    if row.state != State.SUCCEEDED:
        error = row.error or {}
        raise Failed(_why(row), hint=error.get("hint", ""))


def _why(row: Operation) -> str:
    return f"{row.kind} of the drill: {(row.error or {}).get('title') or row.state}"


def _operation(session: Session, id: str) -> Operation:
    query = select(Operation).where(col(Operation.id) == id).execution_options(populate_existing=True)
    return session.execute(query).scalar_one()


async def _delete(work: Work, verb: Callable[[Session, Context], Operation | None]) -> None:
    """Delete one of the drill's objects and wait until it is gone. Raises HostFailed when it cannot be: that is tried
    again, and in the end a person is told, for it must not stay."""

    def ask(session: Session) -> str | None:
        try:
            operation = verb(session, _context(session, work))
        except Conflict as held:
            raise HostFailed(held.title, hint=held.hint, transient=True) from held
        return None if operation is None else operation.id

    if (id := await work.write(ask)) is not None:
        row = await _ended(work, id)
        if row.state != State.SUCCEEDED:
            raise HostFailed(_why(row), hint=(row.error or {}).get("hint", ""), transient=True)


# ---------------------------------------------------------------------------- the steps


async def _restore(work: Work) -> None:
    def ask(session: Session) -> None:
        volume, operation = backups.restore(
            session, _context(session, work), work.config, work.operation.object_id, name=_name(work)
        )
        work.note(volume=volume.id, restore=operation.id)

    if "volume" not in work.data:
        await work.write(ask)
    await _succeeded(work, str(work.data["restore"]))


async def _unrestore(work: Work) -> None:
    if (id := work.data.get("volume")) is None:
        return
    await _stop(work, work.data.get("restore"))

    def delete(session: Session, ctx: Context) -> Operation | None:
        volume = session.get(Volume, id, populate_existing=True)
        return None if volume is None or volume.deleted_at else volumes.delete(session, ctx, id, force=True)

    await _delete(work, delete)


async def _network(work: Work) -> None:
    def make(session: Session) -> None:
        ctx = _context(session, work)
        network = networks.create(
            session, ctx, work.config, name=_name(work), description="of a restore drill; it goes with it"
        )
        subnets.create(
            session, ctx, name=_name(work), network=network.id, project_id=ctx.project_id, cidr=CIDR, no_gateway=True
        )
        work.note(network=network.id)

    if "network" not in work.data:
        await work.write(make)


async def _unnetwork(work: Work) -> None:
    if (id := work.data.get("network")) is None:
        return

    def delete(session: Session, ctx: Context) -> None:
        if session.get(Network, id) is not None:
            networks.delete(session, ctx, id)

    await _delete(work, delete)


async def _boot(work: Work) -> None:
    def launch(session: Session) -> None:
        ctx = _context(session, work)
        root = BlockDevice(source_type="volume", uuid=work.data["volume"], destination_type="volume", boot_index=0)
        spec = CreateSpec(
            name=_name(work),
            flavor=_flavor(session, work.config, session.get_one(Volume, str(work.data["volume"]))),
            networks=(str(work.data["network"]),),
            block_devices=(root,),
            properties={"drill_of": work.operation.object_id},
        )
        made = create.accept(session, work.config, ctx, spec, placement.look(session))
        work.note(instance=made.instances[0].id, create=made.operations[0].id)

    if "instance" not in work.data:
        await work.write(launch)
    await _succeeded(work, str(work.data["create"]))


def _flavor(session: Session, config: Config, volume: Volume) -> str:
    """The configured one, or the smallest that the image allows."""
    if config.drill_flavor:
        return config.drill_flavor
    least = int(volume.image_properties.get("min_ram") or 0)
    query = select(Flavor.id).where(col(Flavor.is_public), col(Flavor.ram_mb) >= max(1, least))
    found: str | None = session.execute(query.order_by(col(Flavor.ram_mb), col(Flavor.vcpus)).limit(1)).scalar()
    if found is None:
        raise Failed(
            f"no flavor has the {least} MiB that the image needs", hint="Set drill_flavor in the configuration."
        )
    return found


async def _unboot(work: Work) -> None:
    if (id := work.data.get("instance")) is None:
        return
    await _stop(work, work.data.get("create"))

    def delete(session: Session, ctx: Context) -> Operation | None:
        instance = session.get(Instance, id, populate_existing=True)
        return None if instance is None or instance.deleted_at else instances.delete(session, ctx, id)

    await _delete(work, delete)


async def _stop(work: Work, id: str | None) -> None:
    """An operation that still runs is cancelled, and waited for."""

    def cancel(session: Session) -> None:
        if id is not None and _operation(session, id).state in OPEN:
            operations.request_cancel(session, _operation(session, id))

    await work.write(cancel)
    if id is not None:
        await _ended(work, id)


async def _watch(work: Work) -> None:
    pattern = re.compile(work.config.drill_pattern, re.MULTILINE)
    instance = await work.read(lambda session: session.get_one(Instance, str(work.data["instance"])))
    assert instance.host_id is not None
    text, loop = "", asyncio.get_running_loop()
    until = loop.time() + work.config.drill_timeout
    while loop.time() < until:
        text = await _console(work, instance.host_id, instance.id)
        if pattern.search(text):
            await work.write(lambda session: work.note(proven=now(session)))
            return
        await asyncio.sleep(_LOOK)
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    raise Failed(
        f"it did not come up within {work.config.drill_timeout} s",
        hint=f"The last its console said: {last[:120]!r}." if last else "Its console said nothing.",
    )


async def _console(work: Work, host_id: str, instance_id: str) -> str:
    request = await work.read(lambda session: work.runner.store.clock.uuid())
    body = Act(request=request, verb="console_log", uuid=instance_id, args={"lines": _LINES})
    acted = await work.hosts.get(host_id).call("act", body, deadline=_QUICK)
    return str(acted.detail["text"]).replace("\r", "")


async def _clean(work: Work) -> None:
    await _unboot(work)
    await _unnetwork(work)
    await _unrestore(work)


# ---------------------------------------------------------------------------- its end


def _complete(session: Session, work: Work) -> None:
    backup = _backup(session, work)
    backup.proven_at = backup.updated_at = int(work.data["proven"])
    backup.fault = None
    volume = session.get(Volume, backup.volume_id)
    if volume is not None and not volume.deleted_at:
        volume.proven_at = backup.proven_at
    session.flush()


def _failed(session: Session, work: Work, error: dict[str, Any]) -> None:
    if work.data.get("proven"):
        _complete(session, work)  # it did boot; what could not be cleaned up is the operation's to tell
        return
    backup = _backup(session, work)
    backup.fault, backup.updated_at = {**error, "operation": work.operation.id}, now(session)
    session.flush()


def _cancelled(session: Session, work: Work) -> None:
    """It is as proven as it was before."""


DRILL = Kind(
    steps=(
        Step(name="restore", run=_restore, undo=_unrestore, weight=5, interruptible=True),
        Step(name="network", run=_network, undo=_unnetwork),
        Step(name="boot", run=_boot, undo=_unboot, weight=2, interruptible=True),
        Step(name="watch", run=_watch, weight=4, interruptible=True),
        Step(name="clean", run=_clean, weight=2),
    ),
    complete=_complete,
    failed=_failed,
    cancelled=_cancelled,
)
