"""Setting back what a `<noun>.set` event changed, when nobody has changed it since."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from sqlmodel import Session

from core.compute import flavors
from core.config import Config
from core.context import Context
from core.errors import Conflict, NotFound
from core.events import Event
from core.hosts import hosts
from core.hosts.table import Host
from core.identity import projects
from core.identity.projects import Project
from core.images import images
from core.images.images.table import Image
from core.network import floating_ips, networks, ports, routers, security_groups, subnets
from core.network.tables import FloatingIP, Network, Port, Router, SecurityGroup, Subnet
from core.undo.model import Inverse, Irreversible
from core.volumes import backends, backups, snapshots, types, volumes
from core.volumes.tables import Backend, Backup, Snapshot, Volume, VolumeType


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setter:
    """How a noun's fields are set."""

    table: Any
    verb: Callable[..., object]
    """(session, context, id, **fields)."""
    fields: dict[str, str]
    """Field of the event to the verb's parameter. A field that is not here cannot be set back."""
    beside: frozenset[str] = frozenset()
    """Fields that are kept in other tables: whether they were changed since is not looked at."""


def _same(*names: str, **others: str) -> dict[str, str]:
    return {name: name for name in names} | others


SETTERS: Final[dict[str, Setter]] = {
    "network": Setter(
        table=Network,
        verb=networks.set,
        fields=_same(
            *("name", "description", "shared", "external", "admin_state_up", "mtu", "dns_domain", "flood"),
            is_default="default",
            port_security_enabled="port_security",
        ),
    ),
    "subnet": Setter(
        table=Subnet, verb=subnets.set, fields=_same("name", "description", enable_dhcp="dhcp", dns_nameservers="dns")
    ),
    "port": Setter(
        table=Port,
        verb=ports.set,
        fields=_same(
            *("name", "description", "admin_state_up", "dns_name", "allowed_address_pairs", "security_groups"),
            *("ingress_kbit", "egress_kbit"),
            port_security_enabled="port_security",
        ),
        beside=frozenset({"security_groups"}),
    ),
    "router": Setter(table=Router, verb=routers.set, fields=_same("name", "description", "admin_state_up")),
    "security_group": Setter(table=SecurityGroup, verb=security_groups.set, fields=_same("name", "description")),
    "floating_ip": Setter(table=FloatingIP, verb=floating_ips.set, fields=_same("description")),
    "volume": Setter(table=Volume, verb=volumes.set, fields=_same("name", "description", "bootable", "read_only")),
    "snapshot": Setter(table=Snapshot, verb=snapshots.set, fields=_same("name", "description")),
    "backup": Setter(table=Backup, verb=backups.set, fields=_same("name", "description")),
    "volume_type": Setter(table=VolumeType, verb=types.set, fields=_same("name", "description")),
    "backend": Setter(table=Backend, verb=backends.set, fields=_same("description", "enabled", "disabled_reason")),
    "image": Setter(
        table=Image,
        verb=images.set,
        fields=_same("name", "visibility", "protected", "hidden", "min_disk_gb", "min_ram_mb"),
    ),
    "host": Setter(
        table=Host, verb=hosts.update_host, fields=_same("name", "enabled", "disabled_reason", "availability_zone")
    ),
    "project": Setter(table=Project, verb=projects.update, fields=_same("name", "description", "enabled")),
    "flavor": Setter(table=flavors.Flavor, verb=flavors.update, fields=_same("description")),
}


def set_back(session: Session, event: Event) -> Inverse:
    """The fields as they were. Raises Irreversible when one of them cannot be set."""
    kind = event.action.rpartition(".")[0]
    setter = SETTERS[kind]
    after = event.after or {}
    before = {key: value for key, value in (event.before or {}).items() if value != after.get(key)}
    fixed = [key for key in before if key not in setter.fields]
    if fixed or not before:
        what = ", ".join(fixed) or "nothing"
        raise Irreversible(f"{what.replace('_', ' ')} cannot be set back from here", "e edits it.")

    def run(session: Session, ctx: Context, config: Config) -> object:
        row = session.get(setter.table, event.object_id, populate_existing=True)
        if row is None:
            raise NotFound(f"{event.object_name} is gone", hint="Nothing was undone.")
        for key in before:
            if key not in setter.beside and getattr(row, key) != after.get(key):
                raise Conflict(
                    f"{key.replace('_', ' ')} of {event.object_name} was changed since", hint="e sets it by hand."
                )
        asked = {setter.fields[key]: _asked(value) for key, value in before.items()}
        return setter.verb(session, ctx, event.object_id, **asked)

    listed = ", ".join(key.replace("_", " ") for key in before)
    return Inverse(says=f"set {listed} of {event.object_name} back", run=run)


def _asked(value: Any) -> Any:
    """As the verbs take it: JSON knows no tuples, and what was not set is empty or no limit."""
    if value is None:
        return 0
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value
