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


class Obstacles:
    """What stands in the way of many objects, told once for all that the same thing stands in the way of."""

    def __init__(self, session: Session) -> None:
        self._down: dict[str, str] = dict(
            session.execute(select(Host.id, Host.name).where(col(Host.state) != "up")).all()
        )
        self._told: list[Blocker] = []
        self._refused: dict[tuple[str, str, str], list[str]] = {}
        self._waiting: dict[str, list[str]] = {}

    def add(self, blocker: Blocker) -> None:
        self._told.append(blocker)

    def refused(self, ctx: Context, instance: Instance, verb: str) -> None:
        """If the instance's guard says no."""
        if (why := guards.reason(ctx, instance, verb)) is not None:
            reason = why[0].removeprefix(instance.name).strip()
            self._refused.setdefault((verb.replace("_", " "), reason, why[1]), []).append(instance.name)

    def waits(self, instance: Instance) -> None:
        """If the instance's host does not answer."""
        if (host := self._down.get(instance.host_id or "")) is not None:
            self._waiting.setdefault(host, []).append(instance.name)

    def all(self) -> tuple[Blocker, ...]:
        """Those that forbid the plan, and those worth knowing."""
        refused = (
            Blocker(what=f"cannot {verb} {_listed(names)}: {reason}", hint=hint)
            for (verb, reason, hint), names in self._refused.items()
        )
        waiting = (
            Blocker(
                what=f"{_listed(names)} on {host}, which does not answer: what is done to them waits until it is back",
                hint=f"Bring {host} back first, or be patient.",
                hard=False,
            )
            for host, names in self._waiting.items()
        )
        return (*self._told, *refused, *waiting)


def _listed(names: list[str]) -> str:
    """`web-01, web-02, web-03 and 8 more`."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


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
