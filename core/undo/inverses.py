"""Inverse operations: audit event to the verb that takes it back. One explicit map; what is not in it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlmodel import Session, col

from core.compute.instances import interfaces as server_interfaces
from core.compute.instances import verbs as servers
from core.compute.instances import volumes as server_volumes
from core.compute.instances.nics import Nic
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid
from core.events import Event
from core.identity import quotas
from core.images import images
from core.network import floating_ips, routers, security_groups
from core.network.tables import FloatingIP, Port, Subnet
from core.sql import select
from core.undo import fields
from core.undo.model import Inverse, Irreversible
from core.volumes.tables import VolumeAttachment

Maker = Callable[[Session, Event], Inverse]


def _power(verb: str, *, asks: bool = False) -> Maker:
    def make(session: Session, event: Event) -> Inverse:
        return Inverse(
            says=f"{verb} {event.object_name}",
            asks=asks,
            run=lambda session, ctx, config: servers.power(session, ctx, event.object_id, verb),
        )

    return make


def _unlock(session: Session, event: Event) -> Inverse:
    return Inverse(
        says=f"unlock {event.object_name}",
        asks=False,
        run=lambda session, ctx, config: servers.unlock(session, ctx, event.object_id),
    )


def _lock(session: Session, event: Event) -> Inverse:
    return Inverse(
        says=f"lock {event.object_name}",
        asks=False,
        run=lambda session, ctx, config: servers.lock(session, ctx, event.object_id),
        loses="the reason it was locked for",
    )


def _rename(session: Session, event: Event) -> Inverse:
    old, new = str((event.before or {})["name"]), str((event.after or {})["name"])

    def run(session: Session, ctx: Context, config: Config) -> object:
        found = servers.find(session, ctx, event.object_id)
        if found.name != new:
            raise Conflict(f"{found.name} was renamed since", hint="Its name is somebody's later choice.")
        return servers.rename(session, ctx, event.object_id, old)

    return Inverse(says=f"call {new} {old} again", asks=False, run=run)


def _metadata(session: Session, event: Event) -> Inverse:
    before = dict((event.before or {})["properties"])
    after = dict((event.after or {})["properties"])

    def run(session: Session, ctx: Context, config: Config) -> object:
        found = servers.find(session, ctx, event.object_id)
        if found.properties != after:
            raise Conflict(f"the properties of {found.name} were changed since", hint="Set them by hand.")
        gone = tuple(key for key in after if key not in before)
        return servers.set_properties(session, ctx, event.object_id, before, unset=gone)

    return Inverse(says=f"give {event.object_name} its properties back", run=run)


def _detach_port(session: Session, event: Event) -> Inverse:
    port = str((event.after or {})["port_id"])
    return Inverse(
        says=f"detach the interface from {event.object_name}",
        run=lambda session, ctx, config: server_interfaces.detach(session, ctx, event.object_id, port),
    )


def _attach_port(session: Session, event: Event) -> Inverse:
    after = event.after or {}
    kept = session.get(Port, str(after["port_id"])) is not None
    nic = Nic(port=str(after["port_id"])) if kept else Nic(network=str(after["network_id"]))
    return Inverse(
        says=f"attach {event.object_name} to that network again",
        asks=False,
        loses="" if kept else "its address and MAC on that network: it gets new ones",
        run=lambda session, ctx, config: server_interfaces.attach(session, ctx, event.object_id, nic),
    )


def _detach_volume(session: Session, event: Event) -> Inverse:
    volume = str((event.after or {})["volume_id"])
    return Inverse(
        says=f"detach the volume from {event.object_name}",
        run=lambda session, ctx, config: server_volumes.detach(session, ctx, event.object_id, volume=volume),
    )


def _attach_volume(session: Session, event: Event) -> Inverse:
    after = event.after or {}
    volume, device = str(after["volume_id"]), str(after.get("device") or "")
    had = session.execute(
        select(VolumeAttachment)
        .where(col(VolumeAttachment.instance_id) == event.object_id, col(VolumeAttachment.volume_id) == volume)
        .order_by(col(VolumeAttachment.number).desc())
    ).scalars().first()  # fmt: skip
    more = {} if had is None else {"read_only": had.read_only, "tag": had.tag}
    return Inverse(
        says=f"attach the volume to {event.object_name} again",
        asks=False,
        run=lambda session, ctx, config: server_volumes.attach(
            session, ctx, config, event.object_id, volume=volume, device=device, **more
        ),
    )


def _floating_ip(session: Session, event: Event) -> Inverse:
    before, after = event.before or {}, event.after or {}
    port, fixed = before.get("port_id"), before.get("fixed_ip")

    def run(session: Session, ctx: Context, config: Config) -> object:
        row = floating_ips.find(session, ctx, event.object_id)
        if row.port_id != after.get("port_id"):
            raise Conflict(f"{row.address} was put elsewhere since", hint="Put it where it belongs by hand.")
        if port is None:
            return floating_ips.disassociate(session, ctx, event.object_id)
        return floating_ips.associate(session, ctx, event.object_id, str(port), fixed_ip=fixed)

    name = _floating_address(session, event)
    return Inverse(says=f"take {name} off its port" if port is None else f"put {name} back on {fixed}", run=run)


def _floating_address(session: Session, event: Event) -> str:
    row = session.get(FloatingIP, event.object_id)
    return row.address if row is not None else event.object_name


def _remove_rule(session: Session, event: Event) -> Inverse:
    return Inverse(
        says="take the security group rule away again",
        dangerous=True,
        run=lambda session, ctx, config: security_groups.delete_rule(session, ctx, event.object_id),
    )


_RULE: Final = {
    "direction": "direction",
    "ethertype": "ethertype",
    "protocol": "protocol",
    "port_range_min": "port_min",
    "port_range_max": "port_max",
    "remote_ip_prefix": "remote_ip",
    "remote_group_id": "remote_group",
}
"""How the event calls what `add_rule` takes."""


def _add_rule(session: Session, event: Event) -> Inverse:
    before = dict(event.before or {})
    group = str(before.pop("security_group_id"))
    asked = {_RULE[key]: value for key, value in before.items() if key in _RULE}
    return Inverse(
        says="add the security group rule again",
        loses="its id and description",
        run=lambda session, ctx, config: security_groups.add_rule(session, ctx, group, **asked),
    )


def _part(session: Session, event: Event) -> Inverse:
    port = str((event.after or {})["port_id"])
    return Inverse(
        says=f"take {', '.join((event.after or {}).get('subnets', ()))} off router {event.object_name}",
        run=lambda session, ctx, config: routers.remove_port(session, ctx, event.object_id, port),
    )


def _join(session: Session, event: Event) -> Inverse:
    blocks = list((event.before or {}).get("subnets", ()))
    query = select(Subnet.id).where(col(Subnet.cidr).in_(blocks), col(Subnet.project_id) == event.project_id)
    ids = list(session.execute(query).scalars())
    if len(ids) != len(blocks):
        raise Irreversible("which subnets were joined cannot be told any more", "A in :routers joins them.")

    def run(session: Session, ctx: Context, config: Config) -> object:
        return [routers.add_subnet(session, ctx, event.object_id, id) for id in ids]

    return Inverse(says=f"join {', '.join(blocks)} to router {event.object_name} again", asks=False, run=run)


def _gateway(session: Session, event: Event) -> Inverse:
    before = event.before or {}
    outside, snat = before.get("external_network_id"), before.get("enable_snat")

    def run(session: Session, ctx: Context, config: Config) -> object:
        if outside is None:
            return routers.unset_gateway(session, ctx, event.object_id)
        # Only what differs is asked for: whether addresses are translated is the operator's alone.
        differs = (event.after or {}).get("enable_snat") != snat
        return routers.set_gateway(session, ctx, event.object_id, str(outside), enable_snat=snat if differs else None)

    what = "close the way out of" if outside is None else "give its way out back to"
    return Inverse(says=f"{what} router {event.object_name}", loses="the gateway's address", run=run)


def _quota(session: Session, event: Event) -> Inverse:
    before = {str(key): int(value) for key, value in (event.before or {}).items()}
    return Inverse(
        says=f"give project {event.object_name} its quotas back",
        run=lambda session, ctx, config: quotas.update(session, ctx, event.object_id, event.object_name, before),
    )


def _activate(verb: str) -> Maker:
    def make(session: Session, event: Event) -> Inverse:
        return Inverse(
            says=f"{verb} image {event.object_name}",
            run=lambda session, ctx, config: getattr(images, verb)(session, ctx, event.object_id),
        )

    return make


INVERSES: Final[dict[str, Maker]] = {
    "instance.stop": _power("start"),
    "instance.start": _power("stop", asks=True),
    "instance.pause": _power("unpause"),
    "instance.unpause": _power("pause"),
    "instance.suspend": _power("resume"),
    "instance.resume": _power("suspend", asks=True),
    "instance.lock": _unlock,
    "instance.unlock": _lock,
    "instance.rename": _rename,
    "instance.metadata": _metadata,
    "instance.attach_interface": _detach_port,
    "instance.detach_interface": _attach_port,
    "instance.attach_volume": _detach_volume,
    "instance.detach_volume": _attach_volume,
    "floating_ip.associate": _floating_ip,
    "floating_ip.disassociate": _floating_ip,
    "security_group_rule.create": _remove_rule,
    "security_group_rule.delete": _add_rule,
    "router.add_interface": _part,
    "router.remove_interface": _join,
    "router.set_gateway": _gateway,
    "quota.set": _quota,
    "image.deactivate": _activate("reactivate"),
    "image.reactivate": _activate("deactivate"),
    **{f"{kind}.set": fields.set_back for kind in fields.SETTERS},
}
"""Action of an event to what takes it back."""

_BECAUSE: Final = {
    "delete": ("what is deleted is gone", "Make it anew; backups and images bring data back."),
    "create": ("a new object is taken away by deleting it", "X on it does, and asks as it should."),
    "reboot_soft": ("a reboot has happened", ""),
    "reboot_hard": ("a reboot has happened", ""),
    "extend": ("a volume only grows", ""),
    "revert": ("what was written since the snapshot is gone", "Only a later snapshot or backup has it."),
    "restore": ("what was on the volume is overwritten", "Only a snapshot or backup has it."),
    "console": ("looking changed nothing", ""),
}
"""The last part of an action to why it cannot be taken back, and what there is instead."""


def inverse(session: Session, event: Event) -> Inverse:
    """What takes the event back. Raises Invalid with the reason when nothing does."""
    make = INVERSES.get(event.action)
    noun, _, act = event.action.rpartition(".")
    if make is None:
        why, hint = _BECAUSE.get(act, (f"nothing takes back {act.replace('_', ' ')} of {noun.replace('_', ' ')}", ""))
        raise Invalid(why, hint=hint)
    try:
        return make(session, event)
    except Irreversible as no:
        raise Invalid(no.why, hint=no.hint) from no
    except (KeyError, TypeError, ValueError) as short:
        # An event of an older version may tell less than the inverse needs.
        raise Invalid(
            "what was recorded does not tell how it was before", hint="Look at v, and set it by hand."
        ) from short
