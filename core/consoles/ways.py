"""Which addresses lead to a guest, the likeliest first, and whom to log in as."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Final

from sqlmodel import Session, col

from core.compute.instances import guards, verbs
from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Conflict, Forbidden
from core.network.tables import FixedIP, FloatingIP, Network, Port
from core.sql import select

LOCAL: Final = ("cli", "app")
"""Where a request may come from that opens ways into guests from this machine: its own people, no remote session."""

ADMIN_USER: Final = "os_admin_user"
"""The image property that names the user to log in as."""

_USERS: Final[dict[str, str]] = {
    "almalinux": "almalinux",
    "alpine": "alpine",
    "amazon": "ec2-user",
    "arch": "arch",
    "centos": "cloud-user",
    "cirros": "cirros",
    "coreos": "core",
    "debian": "debian",
    "fedora": "fedora",
    "freebsd": "freebsd",
    "opensuse": "opensuse",
    "rhel": "cloud-user",
    "rocky": "rocky",
    "sles": "sles",
    "ubuntu": "ubuntu",
}
"""Of cloud images, by the image property os_distro."""


class Kind(StrEnum):
    FLOATING = "floating"
    PROVIDER = "provider"
    """On a network that the operator's own routers may lead to."""
    INSIDE = "inside"
    """Through the guest's host, from inside its network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    kind: Kind
    address: str
    network_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A guest to log in to."""

    id: str
    name: str
    user: str
    """Empty: the image does not say."""
    ways: tuple[Way, ...]
    """The likeliest first; the last ones are INSIDE and work wherever the guest's host is connected."""


def local(ctx: Context) -> None:
    """Raises Forbidden for a session of somebody who is not at this machine."""
    if ctx.source not in LOCAL:
        raise Forbidden("ways into guests are opened from this machine only", hint="Use your own ssh or viewer.")


def find(session: Session, ctx: Context, name: str) -> Target:
    """The instance (id or name) and the ways to it. Raises NotFound, Forbidden, Conflict for one that is off or has no
    address."""
    local(ctx)
    instance = verbs.find(session, ctx, name, rule=guards.GUARDS["ssh"].rule)
    guards.check(ctx, instance, "ssh")
    ways = _ways(session, instance.id)
    if not ways:
        raise Conflict(f"{instance.name} has no address", hint="It is on no network: its console still reaches it (o).")
    return Target(id=instance.id, name=instance.name, user=user_of(instance), ways=ways)


def user_of(instance: Instance) -> str:
    """Whom its image says to log in as; empty when it does not."""
    told = instance.image_properties
    user = told.get(ADMIN_USER) or _USERS.get(told.get("os_distro", "").lower(), "")
    # It ends up among ssh's arguments.
    return user if user.replace("-", "").replace("_", "").replace(".", "").isalnum() and user[0] != "-" else ""


def inside(session: Session, ctx: Context, name: str, address: str, port: int) -> tuple[Instance, Way]:
    """The way through the host to one of the instance's own addresses. Raises as `find`, and Conflict for an address
    that is not its own."""
    target = find(session, ctx, name)
    for way in target.ways:
        if way.kind is Kind.INSIDE and (not address or way.address == address):
            break
    else:
        raise Conflict(f"{address} is no address of {target.name}", hint="skydeck server show lists them.")
    instance = session.get(Instance, target.id)
    assert instance is not None
    return instance, way


def _ways(session: Session, instance_id: str) -> tuple[Way, ...]:
    ports = (
        select(Port.id, Port.network_id, Network.network_type, Network.external)
        .where(col(Port.device_id) == instance_id, col(Network.id) == col(Port.network_id))
        .order_by(col(Port.created_at), col(Port.id))
    )
    floating: list[Way] = []
    provider: list[Way] = []
    own: list[Way] = []
    for port_id, network_id, kind, external in session.execute(ports).all():
        for (address,) in session.execute(
            select(FloatingIP.address).where(col(FloatingIP.port_id) == port_id).order_by(col(FloatingIP.address))
        ):
            floating.append(Way(kind=Kind.FLOATING, address=address, network_id=network_id))
        for (address,) in session.execute(select(FixedIP.ip).where(col(FixedIP.port_id) == port_id)):
            own.append(Way(kind=Kind.INSIDE, address=address, network_id=network_id))
            if external or kind in ("flat", "vlan"):
                provider.append(Way(kind=Kind.PROVIDER, address=address, network_id=network_id))
    # IPv4 first: a guest that has both nearly always has that one working.
    own.sort(key=lambda way: ":" in way.address)
    return (*floating, *provider, *own)
