"""Ports as people ask for them: made ahead of a server, changed while one uses them, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlmodel import Session, col

from core import names
from core.audit import change, record
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid
from core.identity import quotas
from core.identity.policy import authorize
from core.network import addresses, finding, macs, networks
from core.network.addresses import Asked
from core.network.ports import checks, plugging
from core.network.security_groups import default_group, resolve
from core.network.tables import (
    DHCP,
    FLOATING_IP,
    HOST_GATEWAY,
    ROUTER_GATEWAY,
    ROUTER_INTERFACE,
    FixedIP,
    FloatingIP,
    Network,
    Port,
    PortSecurityGroup,
)
from core.sql import select

_HELD_BY = {
    DHCP: ("the network's DHCP service", "skydeck subnet set --no-dhcp"),
    ROUTER_INTERFACE: ("a router", "skydeck router remove port"),
    ROUTER_GATEWAY: ("a router's gateway", "skydeck router unset --external-gateway"),
    FLOATING_IP: ("a floating IP", "skydeck floating ip delete"),
    HOST_GATEWAY: ("a host's way out", "It goes with the routers that need it."),
}
"""Device owner to who that is, and the verb that ends it."""

Pairs = Sequence[tuple[str, str | None]]


def find(session: Session, ctx: Context, id_or_name: str) -> Port:
    """By id, or a name unique in the project. Raises NotFound, Invalid."""
    authorize(ctx, "network:list")
    return finding.find(session, ctx, Port, id_or_name, noun="port")


def add(
    session: Session,
    ctx: Context,
    *,
    network: str,
    name: str = "",
    fixed_ips: Sequence[Asked] = (),
    no_fixed_ip: bool = False,
    mac: str | None = None,
    security_groups: Sequence[str] | None = None,
    allowed_address_pairs: Pairs = (),
    port_security: bool | None = None,
    admin_state_up: bool = True,
    ingress_kbit: int | None = None,
    egress_kbit: int | None = None,
    dns_name: str = "",
    description: str = "",
) -> Port:
    """A port of the caller's own, to be used by a server later, and kept when that goes.

    Without `fixed_ips` it gets what `addresses.choose` gives; without `security_groups`, and with port security, the
    default group. Raises Invalid, NotFound, Forbidden, QuotaExceeded, Conflict for what is taken or exhausted.
    """
    authorize(ctx, "network:create")
    where = networks.find(session, ctx, network)
    networks.check_usable(session, ctx, where)
    security = where.port_security_enabled if port_security is None else port_security
    _check_owner_alone(ctx, where, mac=mac, pairs=allowed_address_pairs, unsecured=port_security is False)
    _check_security(security, groups=security_groups or (), pairs=allowed_address_pairs)
    values: dict[str, Any] = {
        "name": names.check(name, "port") if name else "",
        "dns_name": checks.dns_name(dns_name),
        "allowed_address_pairs": checks.pairs(allowed_address_pairs),
        "ingress_kbit": checks.kbit(ingress_kbit, "ingress"),
        "egress_kbit": checks.kbit(egress_kbit, "egress"),
    }
    hardware = macs.free(session) if mac is None else _free_mac(session, mac)
    groups = _groups(session, ctx.project_id, security, security_groups)
    quotas.check(session, ctx, ports=1)
    fixed = [] if no_fixed_ip else addresses.choose(session, where.id, mac=hardware, asked=fixed_ips or None)
    port = plugging.create(
        session,
        project_id=ctx.project_id,
        network_id=where.id,
        fixed=fixed,
        owner="",
        device_id="",
        mac=hardware,
        groups=groups,
        port_security_enabled=security,
        admin_state_up=admin_state_up,
        description=description,
        **values,
    )
    plugging.touch(session, [port], groups=groups)
    after = {"network_id": where.id, "mac": port.mac, "fixed_ips": [ip for _, ip in fixed], "security_groups": groups}
    record(session, ctx, port, kind="port", action="create", after=after)
    return port


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    fixed_ips: Sequence[Asked] | None = None,
    no_fixed_ip: bool = False,
    mac: str | None = None,
    security_groups: Sequence[str] | None = None,
    allowed_address_pairs: Pairs | None = None,
    port_security: bool | None = None,
    admin_state_up: bool | None = None,
    ingress_kbit: int | None = None,
    egress_kbit: int | None = None,
    dns_name: str | None = None,
    description: str | None = None,
) -> Port:
    """Change what is not None; empty means none, and a limit of 0 no limit. Addresses named again are kept.

    As in neutron a bound port keeps its MAC, and may get other addresses; its guest learns them by DHCP.
    Raises Conflict for what is taken, bound or has a floating IP, Invalid, NotFound, Forbidden.
    """
    authorize(ctx, "network:set")
    port = find(session, ctx, id_or_name)
    network = session.get(Network, port.network_id)
    assert network is not None  # a foreign key holds it
    wired = (fixed_ips, mac, security_groups, allowed_address_pairs, port_security)
    if no_fixed_ip or any(value is not None for value in wired):
        _check_not_held(port, "changed")
    _check_owner_alone(ctx, network, mac=mac, pairs=allowed_address_pairs, unsecured=port_security is False)
    hardware = port.mac if mac is None else checks.mac(mac)
    if hardware != port.mac:
        if port.host_id is not None:
            raise Conflict(f"port {port.id} is bound: its MAC stays", hint="Take it off its server first.")
        _free_mac(session, hardware)
    security = port.port_security_enabled if port_security is None else port_security
    pairs = None if allowed_address_pairs is None else checks.pairs(allowed_address_pairs)
    had_groups = plugging.groups_of(session, port.id)
    if security_groups is None and (had_groups or not security or port.port_security_enabled):
        groups = had_groups
    else:
        groups = sorted(_groups(session, port.project_id, security, security_groups))
    _check_security(security, groups=groups, pairs=port.allowed_address_pairs if pairs is None else pairs)
    had = plugging.fixed_ips(session, port.id)
    fixed = _other_addresses(session, port, hardware, fixed_ips, no_fixed_ip=no_fixed_ip, had=had)
    values: dict[str, Any] = {
        "name": names.check(name, "port") if name else name,
        "mac": hardware,
        "port_security_enabled": security,
        "allowed_address_pairs": pairs,
        "admin_state_up": admin_state_up,
        "dns_name": None if dns_name is None else checks.dns_name(dns_name),
        "description": description,
    }
    values = {field: value for field, value in values.items() if value is not None}
    for field, limit in (("ingress_kbit", ingress_kbit), ("egress_kbit", egress_kbit)):
        if limit is not None:
            values[field] = checks.kbit(limit, field.partition("_")[0])
    if groups != had_groups:
        plugging.touch(session, [port])  # whoever knew it as a member
    _replace(session, port, fixed=fixed, had=had, groups=groups, had_groups=had_groups)
    beside = {
        "fixed_ips": ([ip for _, ip in had], [ip for _, ip in fixed]),
        "security_groups": (had_groups, groups),
    }
    if change(session, ctx, port, kind="port", values=values, beside=beside):
        if not port.admin_state_up:
            port.status = "DOWN"
            session.flush()
        plugging.touch(session, [port], pending=[port.id] if port.host_id else [])
    return port


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """The port; its floating IPs stay the project's. Raises Conflict for a server's or a service's, NotFound."""
    authorize(ctx, "network:delete")
    port = find(session, ctx, id_or_name)
    _check_not_held(port, "deleted")
    if port.device_id:
        raise Conflict(
            f"port {port.id} is in use by server {port.device_id}", hint="skydeck server remove port, then delete it."
        )
    plugging.touch(session, [port])
    plugging.remove(session, port)
    record(session, ctx, port, kind="port", action="delete")


# ---------------------------------------------------------------------------- what may be


def _check_not_held(port: Port, what: str) -> None:
    if port.device_owner in _HELD_BY:
        holder, hint = _HELD_BY[port.device_owner]
        raise Conflict(f"port {port.id} belongs to {holder} and cannot be {what} here", hint=hint)


def _check_owner_alone(
    ctx: Context, network: Network, *, mac: str | None, pairs: Pairs | None, unsecured: bool
) -> None:
    """On another's network a guest could take over its neighbours with these (neutron's rule network_owner)."""
    if ctx.is_admin or network.project_id == ctx.project_id:
        return
    if mac is not None or pairs or unsecured:
        raise Forbidden(
            f"on network {network.name} MAC addresses, address pairs and port security are its owner's to choose",
            hint="It is shared with you: leave them out.",
        )


def _check_security(security: bool, *, groups: Sequence[str], pairs: Sequence[Any]) -> None:
    if not security and (groups or pairs):
        what = "security groups" if groups else "allowed address pairs"
        raise Invalid(f"a port without port security has no {what}", hint="Take them off it in the same command.")


def _groups(session: Session, project_id: str, security: bool, asked: Sequence[str] | None) -> list[str]:
    if asked is not None:
        return resolve(session, project_id, asked)
    return [default_group(session, project_id).id] if security else []


def _free_mac(session: Session, text: str) -> str:
    found = checks.mac(text)
    if session.execute(select(Port.id).where(col(Port.mac) == found)).first() is not None:
        raise Conflict(f"MAC {found} is taken by another port", hint="Leave it out, and one is made.")
    return found


def _other_addresses(
    session: Session,
    port: Port,
    mac: str,
    asked: Sequence[Asked] | None,
    *,
    no_fixed_ip: bool,
    had: addresses.Chosen,
) -> addresses.Chosen:
    """What the port shall have instead of `had`. Raises Conflict when a floating IP is on what goes."""
    if no_fixed_ip:
        found: addresses.Chosen = []
    elif asked is not None:
        found = addresses.choose(session, port.network_id, mac=mac, asked=asked, kept=had)
    elif mac != port.mac:
        own = {subnet.id for subnet in addresses.of_network(session, port.network_id) if addresses.derived(subnet)}
        stay = [(subnet_id, ip) for subnet_id, ip in had if subnet_id not in own]
        found = addresses.choose(session, port.network_id, mac=mac, asked=stay, kept=had) if had else []
    else:
        return had
    gone = [ip for subnet_id, ip in had if (subnet_id, ip) not in found]
    query = select(FloatingIP.address).where(col(FloatingIP.port_id) == port.id, col(FloatingIP.fixed_ip).in_(gone))
    if (floating := session.execute(query).scalars().first()) is not None:
        raise Conflict(f"floating IP {floating} is on an address that would go", hint="Disassociate it first.")
    return sorted(found, key=lambda pair: pair[1])


def _replace(
    session: Session,
    port: Port,
    *,
    fixed: addresses.Chosen,
    had: addresses.Chosen,
    groups: Sequence[str],
    had_groups: Sequence[str],
) -> None:
    gone = [ip for subnet_id, ip in had if (subnet_id, ip) not in fixed]
    left = [group for group in had_groups if group not in groups]
    session.execute(sql_delete(FixedIP).where(col(FixedIP.port_id) == port.id, col(FixedIP.ip).in_(gone)))
    session.execute(
        sql_delete(PortSecurityGroup).where(
            col(PortSecurityGroup.port_id) == port.id, col(PortSecurityGroup.security_group_id).in_(left)
        )
    )
    plugging.give(session, port, [pair for pair in fixed if pair not in had])
    plugging.join(session, port, [group for group in groups if group not in had_groups])
