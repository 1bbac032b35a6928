"""Starting, stopping, pausing, suspending, rebooting: one step on the host, and what its outcome means."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.compute.instances import states
from core.compute.instances.table import Instance
from core.errors import Failed, HostFailed
from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work
from hostd.spec import Act, Acted, ErrorCode

_REACHED = {
    # want to (vm_state, power_state) when the host has converged
    "running": (states.ACTIVE, 1),
    "stopped": (states.STOPPED, 4),
    "paused": (states.PAUSED, 3),
    "suspended": (states.SUSPENDED, 7),
}

_WANTED = {states.STOPPED: "stopped", states.PAUSED: "paused", states.SUSPENDED: "suspended"}

SOFT_REBOOT = 120
"""Seconds a guest gets to obey a soft reboot before it becomes a hard one (nova waits as long)."""


async def _host(work: Work) -> str:
    host_id = await work.read(lambda session: parts.instance_of(session, work).host_id)
    if host_id is None:
        raise Failed("the instance is on no host", hint="Its create failed: delete it.")
    return str(host_id)


def _ends_in(want: str) -> Any:
    def complete(session: Session, work: Work) -> None:
        vm_state, power_state = _REACHED[want]
        instance = parts.instance_of(session, work)
        parts.settle(session, instance, vm_state=vm_state, power_state=power_state)
        instance.fault = None

    return complete


def _back(session: Session, instance: Instance) -> None:
    """The verb came to nothing: the wish is what the instance was before (nova reverts the task state likewise)."""
    if instance.want != "absent":
        instance.want = _WANTED.get(instance.vm_state, "running")
    parts.settle(session, instance, vm_state=instance.vm_state)


def _failed(session: Session, work: Work, error: dict[str, Any]) -> None:
    instance = parts.instance_of(session, work)
    _back(session, instance)
    instance.fault = {**error, "operation": work.operation.id}
    session.flush()


def _cancelled(session: Session, work: Work) -> None:
    _back(session, parts.instance_of(session, work))


def kind(want: str) -> Kind:
    """A change of power state: the host converges to `want`."""

    async def apply(work: Work) -> None:
        host_id = await _host(work)
        await parts.converge_instance(
            work, host_id, note="power", want=want, deadline=parts.SLOW + work.config.shutdown_timeout
        )

    return Kind(steps=(Step(name=want, run=apply),), complete=_ends_in(want), failed=_failed, cancelled=_cancelled)


def _reboot(verb: str) -> Kind:
    async def act(work: Work) -> None:
        host_id = await _host(work)
        # The operation's id is the request id: however often it is asked, the guest reboots once.
        body = Act(request=work.operation.id, verb=verb, uuid=work.operation.object_id, args={"timeout": SOFT_REBOOT})
        try:
            acted: Acted = await work.hosts.get(host_id).call("act", body, deadline=parts.SLOW)
        except HostFailed as bad:
            if verb != "reboot_hard" or bad.code != ErrorCode.NOT_FOUND:
                raise
            # A hard reboot is also the way back for a guest whose definition is lost: make it anew.
            await parts.converge_instance(work, host_id, note="power", want="running")
        else:
            work.note(acted=acted.detail)

    return Kind(
        steps=(Step(name=verb.replace("_", "-"), run=act),),
        complete=_ends_in("running"),
        failed=_failed,
        cancelled=_cancelled,
    )


REBOOT_SOFT = _reboot("reboot_soft")
REBOOT_HARD = _reboot("reboot_hard")
