"""A server's interfaces while it lives: ports plugged in and pulled out, and their security groups."""

from __future__ import annotations

from sqlmodel import Session

from core import events
from core.compute.instances import guards, nics, verbs
from core.compute.instances.nics import Nic
from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Conflict, Invalid, NotFound, Refused
from core.identity import quotas
from core.network import floating_ips, networks, ports, security_groups
from core.network.tables import Port
from core.operations import operations
from core.operations.operations import Operation


def attach(session: Session, ctx: Context, id_or_name: str, nic: Nic) -> Operation:
    """Plug an interface in to a server, running or not. Raises as its guard, `nics.resolve` and the quotas do."""
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    guards.check(ctx, instance, "attach_interface")
    (found,) = nics.resolve(session, ctx, [nic])
    if found.network is not None:
        quotas.check(session, ctx, ports=1)
    (port,) = nics.plug(session, instance, [found], groups=None)
    if instance.host_id is not None:
        ports.bind(session, instance.id, instance.host_id)
    return _enqueue(session, ctx, instance, port, "attach_interface")


def detach(session: Session, ctx: Context, id_or_name: str, port: str) -> Operation:
    """Pull an interface out of a server: by its port, or by one of its addresses. Raises NotFound, or as its guard."""
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    guards.check(ctx, instance, "detach_interface")
    return _enqueue(session, ctx, instance, _own(session, instance, port), "detach_interface")


def detach_network(session: Session, ctx: Context, id_or_name: str, network: str) -> list[Operation]:
    """Pull every interface on a network out of a server. Raises NotFound when it has none."""
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    guards.check(ctx, instance, "detach_interface")
    on = networks.find(session, ctx, network)
    mine = [port for port in ports.of_device(session, instance.id) if port.network_id == on.id]
    if not mine:
        raise NotFound(f"{instance.name} has no interface on network {on.name}")
    return [_enqueue(session, ctx, instance, port, "detach_interface") for port in mine]


def _own(session: Session, instance: Instance, wanted: str) -> Port:
    for port in ports.of_device(session, instance.id):
        if wanted in (port.id, port.name) or wanted in ports.addresses(session, port.id):
            return port
    raise NotFound(f"{instance.name} has no port or address {wanted!r}", hint="skydeck server show lists them.")


def add_group(session: Session, ctx: Context, id_or_name: str, group: str) -> None:
    """All of a server's ports are in this security group as well."""
    _regroup(session, ctx, id_or_name, group, add=True)


def remove_group(session: Session, ctx: Context, id_or_name: str, group: str) -> None:
    """None of a server's ports is in this security group any more. Raises NotFound when none was."""
    _regroup(session, ctx, id_or_name, group, add=False)


def add_floating_ip(
    session: Session, ctx: Context, id_or_name: str, address: str, *, fixed_ip: str | None = None
) -> None:
    """Put a floating IP on the server's interface that a router leads to its network from: the first that can have it.

    Raises Conflict, with the last interface's reason, when none can.
    """
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    mine = [
        port
        for port in ports.of_device(session, instance.id)
        if fixed_ip is None or fixed_ip in ports.addresses(session, port.id)
    ]
    if not mine:
        raise NotFound(f"{instance.name} has no interface {'with ' + fixed_ip if fixed_ip else ''}".rstrip())
    refused: Refused | None = None
    for port in mine:
        try:
            floating_ips.associate(session, ctx, address, port.id, fixed_ip=fixed_ip)
        except (Conflict, Invalid, NotFound) as bad:
            refused = bad
        else:
            return
    assert refused is not None  # there was an interface, and it did not succeed
    raise refused


def remove_floating_ip(session: Session, ctx: Context, id_or_name: str, address: str) -> None:
    """Take a floating IP off the server. Raises NotFound when it is not on it."""
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    found = floating_ips.find(session, ctx, address)
    if found.port_id not in {port.id for port in ports.of_device(session, instance.id)}:
        raise NotFound(f"{instance.name} does not have {address}", hint="skydeck server show lists what it has.")
    floating_ips.disassociate(session, ctx, found.id)


def _regroup(session: Session, ctx: Context, id_or_name: str, group: str, *, add: bool) -> None:
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    found = security_groups.find(session, ctx, group)
    mine = ports.of_device(session, instance.id)
    had = {port.id: ports.groups_of(session, port.id) for port in mine}
    if not add and not any(found.id in groups for groups in had.values()):
        raise NotFound(f"{instance.name} is not in security group {found.name}")
    for port in mine:
        if port.port_security_enabled and (found.id in had[port.id]) is not add:
            kept = [one for one in had[port.id] if one != found.id]
            ports.set(session, ctx, port.id, security_groups=[*kept, found.id] if add else kept)


def _enqueue(session: Session, ctx: Context, instance: Instance, port: Port, what: str) -> Operation:
    operation = operations.enqueue(
        session,
        ctx,
        f"instance.{what}",
        object_kind="instance",
        object_id=instance.id,
        object_name=instance.name,
        project_id=instance.project_id,
        lane=instance.host_id or "",
        args={"port": port.id},
        data={"port": port.id},
    )
    events.record(
        session,
        ctx,
        f"instance.{what}",
        kind="instance",
        id=instance.id,
        name=instance.name,
        project_id=instance.project_id,
        after={"port_id": port.id, "network_id": port.network_id},
    )
    return operation
