"""instance.create: images to the host, new volumes made, its network, the guest started; or all of it undone, and
tried elsewhere."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.compute import placement
from core.compute.instances import launch_volumes, states, wire
from core.errors import Conflict, HostFailed, Invalid, NoValidHost
from core.hosts import hosts
from core.network import ports
from core.operations import operations
from core.operations.kinds import parts, volumes
from core.operations.work import Kind, Step, Work
from core.store import now
from core.volumes import attachments
from hostd.spec import ErrorCode, ImageRef


async def _where(work: Work) -> str:
    """The instance's host."""
    host_id = await work.read(lambda session: parts.instance_of(session, work).host_id)
    assert host_id is not None  # a create is accepted with its host
    return host_id


async def _refs(work: Work) -> list[ImageRef]:
    return await work.read(
        lambda session: wire.images_of(wire.spec(session, work.config, parts.instance_of(session, work)))
    )


async def _images(work: Work) -> None:
    host_id = await _where(work)
    await parts.carry_images(work, host_id, await _refs(work))


async def _volumes(work: Work) -> None:
    """The new ones are made; from here on the host is told of all of them."""
    for volume_id in _made(work):
        await volumes.make_volume(work, volume_id)

    def begin(session: Session) -> None:
        for attachment in attachments.of_instance(session, work.operation.object_id):
            attachments.begin(session, attachment)

    if await work.read(lambda session: bool(attachments.of_instance(session, work.operation.object_id))):
        await work.write(begin)


async def _unmake_volumes(work: Work) -> None:
    for volume_id in reversed(_made(work)):
        await volumes.unmake_volume(work, volume_id)


def _made(work: Work) -> list[str]:
    """Ids of the volumes that are made for this launch."""
    return list(work.data.get("volumes", []))


async def _network(work: Work) -> None:
    await work.networking.publish(await _where(work))


async def _spawn(work: Work) -> None:
    host_id = await _where(work)
    try:
        applied = await parts.converge_instance(work, host_id, note="spawn", want="running")
    except HostFailed as bad:
        if bad.code != ErrorCode.IMAGE_MISSING:
            raise
        # Pruned from the host's cache after it was carried: carry it again.
        refs = await _refs(work)
        for ref in refs:
            work.hosts.get(host_id).forget_image(ref.digest)
        await parts.carry_images(work, host_id, refs)
        applied = await parts.converge_instance(work, host_id, note="spawn", want="running")
    work.note(power=parts.power_number(applied))


async def _unspawn(work: Work) -> None:
    host_id = await _where(work)
    await parts.converge_instance(work, host_id, note="unspawn", want="absent")


def _show(session: Session, work: Work, step: Step) -> None:
    instance = parts.instance_of(session, work)
    if step.task is not None and instance.want != "absent":  # once its deletion was asked for it stays `deleting`
        instance.task_state = step.task
        session.flush()


def _complete(session: Session, work: Work) -> None:
    instance = parts.instance_of(session, work)
    parts.settle(session, instance, vm_state=states.ACTIVE, power_state=work.data.get("power") or 1)
    instance.launched_at, instance.fault = now(session), None
    for attachment in attachments.of_instance(session, instance.id):
        attachments.finish_attach(session, attachment)
    host = parts.host_of(session, instance)
    if host is not None:
        host.failed_builds = 0


def _elsewhere(session: Session, work: Work, error: dict[str, Any]) -> bool:
    """Another host, at most `schedule_attempts` in all. The failed one keeps its failure in its weight."""
    instance = parts.instance_of(session, work)
    host = parts.host_of(session, instance)
    if host is not None:
        host.failed_builds += 1
    hosts.release(session, instance_id=instance.id)
    tried = [*work.data.get("tried", [])]
    instance.host_id = None
    session.flush()
    useless = instance.want == "absent" or error.get("code") == ErrorCode.DIGEST_MISMATCH
    if useless or len(tried) >= work.config.schedule_attempts:
        return False
    try:
        with session.begin_nested():
            request = placement.request_for(
                session,
                instance,
                zone=work.data.get("zone"),
                host=work.data.get("forced"),
                avoid=frozenset(tried),
                volumes=launch_volumes.needs_again(session, instance, _made(work)),
            )
            host_id, funnel = placement.place(session, instance, request, scheduler=work.config.scheduler)
            instance.host_id, instance.task_state = host_id, states.SCHEDULING
            ports.bind(session, instance.id, host_id)
            launch_volumes.follow(session, _made(work), host_id)
    except NoValidHost as none:
        work.note(funnel=none.funnel)
        return False
    except (Invalid, Conflict):
        return False  # an instance that a hint names is gone, or that host's way out has no address left
    kept = {key: value for key, value in work.data.items() if key in ("zone", "forced", "volumes")}
    work.operation.data = {**kept, "funnel": funnel.to_json(), "tried": [*tried, host_id]}
    operations.write(session, work.operation, lane=host_id)
    return True


def _failed(session: Session, work: Work, error: dict[str, Any]) -> None:
    instance = parts.instance_of(session, work)
    hosts.release(session, instance_id=instance.id)
    parts.unbind(session, instance.id)
    launch_volumes.take_back(session, instance, _made(work))
    parts.settle(session, instance, vm_state=states.ERROR, power_state=0)
    instance.host_id = None
    instance.fault = {**error, "operation": work.operation.id}
    session.flush()


def _cancelled(session: Session, work: Work) -> None:
    _failed(session, work, {"type": "Cancelled", "title": "the create was cancelled", "hint": "Delete it."})


KIND = Kind(
    steps=(
        Step(name="images", run=_images, task=states.BLOCK_DEVICE_MAPPING, weight=5, interruptible=True),
        Step(name="volumes", run=_volumes, undo=_unmake_volumes, task=states.BLOCK_DEVICE_MAPPING, weight=2),
        Step(name="network", run=_network, undo=parts.unplug, task=states.NETWORKING, weight=1),
        Step(name="spawn", run=_spawn, undo=_unspawn, task=states.SPAWNING, weight=4),
    ),
    complete=_complete,
    failed=_failed,
    cancelled=_cancelled,
    elsewhere=_elsewhere,
    show=_show,
)
