"""The interfaces a server is asked to have: networks and ports, looked up, made and taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sqlmodel import Session

from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.errors import Invalid
from core.network import networks, ports, subnets
from core.network.tables import GUEST, Network, Port


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nic:
    """One interface, as asked for: on a network, perhaps with this address, or a port of the user's own."""

    network: str | None = None
    port: str | None = None
    fixed_ip: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plug:
    """An interface with every name looked up: exactly one of network and port."""

    network: Network | None = None
    port: Port | None = None
    fixed_ip: str | None = None


def resolve(session: Session, ctx: Context, nics: Sequence[Nic]) -> list[Plug]:
    """What is to be plugged in. Raises NotFound, Invalid, Conflict, Forbidden for what may not be."""
    found = []
    for nic in nics:
        if nic.port is not None:
            if nic.network is not None or nic.fixed_ip is not None:
                raise Invalid("a port has its network and its addresses already", hint="Name the port alone.")
            found.append(Plug(port=ports.find(session, ctx, nic.port)))
            continue
        if nic.network is None:
            raise Invalid("an interface needs a network or a port")
        network = networks.find(session, ctx, nic.network)
        networks.check_usable(session, ctx, network)
        if not subnets.of_network(session, network.id):
            raise Invalid(
                f"network {network.name} has no subnet", hint=f"skydeck subnet create --network {network.name}"
            )
        found.append(Plug(network=network, fixed_ip=nic.fixed_ip))
    taken = [plug.port.id for plug in found if plug.port is not None]
    if len(set(taken)) < len(taken):
        raise Invalid("a port can be plugged in only once")
    return found


def plug(session: Session, instance: Instance, found: Sequence[Plug], *, groups: Sequence[str] | None) -> list[Port]:
    """Make and take the ports. Security groups (ids; None: the default one) go to those that are made, as in nova."""
    owner = f"{GUEST}{instance.availability_zone or 'nova'}"
    plugged = []
    for one in found:
        if one.port is not None:
            ports.take(session, one.port, device_id=instance.id, owner=owner, dns_name=instance.hostname)
            plugged.append(one.port)
            continue
        assert one.network is not None  # exactly one of the two
        plugged.append(
            ports.plug(
                session,
                one.network,
                project_id=instance.project_id,
                device_id=instance.id,
                owner=owner,
                fixed_ip=one.fixed_ip,
                groups=groups,
                dns_name=instance.hostname,
            )
        )
    return plugged


def default_nics(session: Session, ctx: Context, config: Config) -> list[Nic]:
    """What a launch gets that names no network: the project's own."""
    return [Nic(network=networks.default_for(session, ctx, config).id)]
