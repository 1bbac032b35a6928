"""Steps that several plans take: deletes of each noun, as their verbs do them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlmodel import Session, col

from core.compute.instances import guards, verbs
from core.compute.instances.table import Instance
from core.context import Context
from core.hosts.table import Host
from core.network import floating_ips, ports
from core.network.tables import FloatingIP, Port
from core.plans.model import Blocker, Step
from core.sql import select


def step(phase: int, act: str, kind: str, row: Any, verb: Callable[..., object], note: str = "", **more: Any) -> Step:
    """`verb(session, ctx, id, **more)` on a row that has an id, and a name or not."""
    name = getattr(row, "name", "") or getattr(row, "address", "") or str(row.id)[:8]

    def run(session: Any, ctx: Any) -> object:
        return verb(session, ctx, row.id, **more)

    return Step(phase=phase, act=act, kind=kind, id=row.id, name=name, note=note, run=run)


def down_hosts(session: Session) -> dict[str, str]:
    """Id to name of the hosts that do not answer."""
    return dict(session.execute(select(Host.id, Host.name).where(col(Host.state) != "up")).all())


def waits_for_host(what: str, name: str, host: str) -> Blocker:
    return Blocker(
        what=f"{what} {name} is on {host}, which does not answer: what is done to it waits until the host is back",
        hint=f"Bring {host} back first, or be patient.",
        hard=False,
    )


def guarded(ctx: Context, instance: Instance, verb: str) -> Blocker | None:
    """The instance's guard says no."""
    why = guards.reason(ctx, instance, verb)
    return (
        None if why is None else Blocker(what=f"cannot {verb.replace('_', ' ')} {instance.name}: {why[0]}", hint=why[1])
    )


def server_note(instance: Instance, host: str) -> str:
    return f"{instance.status}{' on ' + host if host else ''}, with its disks"


def delete_server(phase: int, instance: Instance, host: str) -> Step:
    return step(phase, "delete", "server", instance, verbs.delete, server_note(instance, host))


def free_floating_ips(session: Session, phase: int, port_ids: list[str]) -> list[Step]:
    """Floating IPs on these ports are taken off; they stay their project's."""
    query = select(FloatingIP).where(col(FloatingIP.port_id).in_(port_ids)).order_by(col(FloatingIP.address))
    return [
        step(phase, "take off", "floating IP", row, floating_ips.disassociate, f"from {row.fixed_ip}; it is kept")
        for row in session.execute(query).scalars()
    ]


def delete_port(phase: int, port: Port, note: str = "") -> Step:
    return step(phase, "delete", "port", port, ports.delete, note or port.mac)
