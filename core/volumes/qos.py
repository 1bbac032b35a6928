"""QoS specs: what a type's volumes may do in a second. QEMU holds each attachment to them (`front-end`); a change is
told to the hosts of those that are attached at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlmodel import Session, col

from core import audit, names
from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity.policy import authorize
from core.sql import select
from core.store import clock_of, now
from core.volumes import properties, types
from core.volumes.tables import QosSpec, Volume, VolumeAttachment, VolumeType
from hostd.spec import DiskLimits

CONSUMERS: Final = ("front-end", "back-end", "both")

SPECS: Final = (
    "total_iops_sec",
    "read_iops_sec",
    "write_iops_sec",
    "total_bytes_sec",
    "read_bytes_sec",
    "write_bytes_sec",
    "total_iops_sec_per_gb",
    "total_bytes_sec_per_gb",
)


def create(
    session: Session, ctx: Context, *, name: str, consumer: str = "front-end", specs: dict[str, str] | None = None
) -> QosSpec:
    """Raises Invalid, Conflict for a name taken."""
    authorize(ctx, "volume_type:manage")
    names.check(name, "QoS spec")
    if consumer not in CONSUMERS:
        raise Invalid(f"unknown consumer {consumer!r}", hint=f"One of {', '.join(CONSUMERS)}.")
    if session.execute(select(QosSpec.id).where(col(QosSpec.name) == name)).first():
        raise Conflict(f"a QoS spec named {name!r} exists", hint="Choose another name.")
    spec = QosSpec(
        id=clock_of(session).uuid(),
        name=name,
        consumer=consumer,
        specs=_checked({}, specs or {}),
        created_at=now(session),
    )
    session.add(spec)
    session.flush()
    audit.record(session, ctx, spec, kind="qos", action="create", after={"consumer": consumer, "specs": spec.specs})
    return spec


def set(session: Session, ctx: Context, id_or_name: str, *, specs: dict[str, str]) -> QosSpec:
    """Add or change specs; attached volumes obey at once. Raises Invalid, NotFound."""
    authorize(ctx, "volume_type:manage")
    spec = find(session, ctx, id_or_name)
    return _change(session, ctx, spec, _checked(spec.specs, specs))


def unset(session: Session, ctx: Context, id_or_name: str, *, specs: tuple[str, ...]) -> QosSpec:
    authorize(ctx, "volume_type:manage")
    spec = find(session, ctx, id_or_name)
    return _change(session, ctx, spec, _checked(spec.specs, {}, unset=specs))


def delete(session: Session, ctx: Context, id_or_name: str, *, force: bool = False) -> None:
    """Raises Conflict while types are associated with it, unless `force`: they are limited no more then."""
    authorize(ctx, "volume_type:manage")
    spec = find(session, ctx, id_or_name)
    associated = _types_of(session, spec)
    if associated and not force:
        raise Conflict(
            f"QoS spec {spec.name} is associated with {', '.join(one.name for one in associated)}",
            hint="Disassociate it first.",
        )
    for type in associated:
        _associate(session, ctx, type, None)
    session.delete(spec)
    session.flush()
    audit.record(session, ctx, spec, kind="qos", action="delete")


def find(session: Session, ctx: Context, id_or_name: str) -> QosSpec:
    authorize(ctx, "volume_type:list")
    query = select(QosSpec).where((col(QosSpec.id) == id_or_name) | (col(QosSpec.name) == id_or_name))
    row = session.execute(query).scalars().first()
    if row is None:
        raise NotFound(f"no QoS spec {id_or_name!r}", hint="skydeck volume qos list shows them.")
    return row


def associate(session: Session, ctx: Context, qos: str, type: str) -> VolumeType:
    """The type's volumes are held to it, those that are attached at once. A type has at most one."""
    authorize(ctx, "volume_type:manage")
    spec = find(session, ctx, qos)
    return _associate(session, ctx, types.find(session, ctx, type), spec.id)


def disassociate(session: Session, ctx: Context, qos: str, type: str | None = None) -> None:
    """One type, or None: all of them. Raises Conflict for a type that is not associated with it."""
    authorize(ctx, "volume_type:manage")
    spec = find(session, ctx, qos)
    chosen = _types_of(session, spec) if type is None else [types.find(session, ctx, type)]
    for one in chosen:
        if one.qos_id != spec.id:
            raise Conflict(f"type {one.name} is not associated with QoS spec {spec.name}")
        _associate(session, ctx, one, None)


def limits(session: Session, volume: Volume) -> DiskLimits:
    """What QEMU holds an attachment of the volume to."""
    query = (
        select(QosSpec.specs)
        .join(VolumeType, col(VolumeType.qos_id) == col(QosSpec.id))
        .where(col(VolumeType.id) == volume.type_id)
    )
    specs = session.execute(query).scalar_one_or_none()
    return limits_of(specs or {}, volume.size_gb)


def limits_of(specs: dict[str, str], size_gb: int) -> DiskLimits:
    """Specs as numbers; those per GiB for a volume of this size."""
    number = {key: int(value) for key, value in specs.items()}
    for what in ("iops", "bytes"):
        per_gb = number.pop(f"total_{what}_sec_per_gb", 0)
        if per_gb:
            number[f"total_{what}_sec"] = per_gb * size_gb
    return DiskLimits(**{key.removesuffix("_sec"): value for key, value in number.items()})


def grows(session: Session, volume: Volume) -> bool:
    """Whether a larger volume may do more."""
    type = session.get(VolumeType, volume.type_id) if volume.type_id else None
    spec = session.get(QosSpec, type.qos_id) if type is not None and type.qos_id else None
    return spec is not None and any(key.endswith("_per_gb") for key in spec.specs)


def tell_guests(session: Session, ctx: Context, volumes: Iterable[str]) -> None:
    """Have the hosts of these volumes' guests told what their disks are now."""
    # The instances' verbs stand on volumes in their turn.
    from core.compute.instances import verbs

    query = (
        select(Instance)
        .where(
            col(Instance.deleted_at) == 0,
            col(Instance.id).in_(
                select(VolumeAttachment.instance_id).where(
                    col(VolumeAttachment.volume_id).in_(list(volumes)), col(VolumeAttachment.detached_at) == 0
                )
            ),
        )
        .order_by(col(Instance.id))
    )
    for instance in session.execute(query).scalars():
        verbs.update(session, ctx, instance)


def _checked(had: dict[str, str], given: dict[str, str], *, unset: tuple[str, ...] = ()) -> dict[str, str]:
    """Raises Invalid for an unknown spec, what is no number, and a total beside its parts (QEMU takes only one)."""
    specs = properties.merged(had, given, unset=unset, what="QoS spec")
    for key, value in specs.items():
        if key not in SPECS:
            raise Invalid(f"unknown QoS spec {key!r}", hint=f"Known: {', '.join(SPECS)}.")
        if not (value.isascii() and value.isdigit() and len(value) <= 15):
            raise Invalid(f"{key} is a number, {value[:40]!r} is not")
    for what in ("iops", "bytes"):
        totals = [key for key in (f"total_{what}_sec", f"total_{what}_sec_per_gb") if key in specs]
        parts = [key for key in (f"read_{what}_sec", f"write_{what}_sec") if key in specs]
        if len(totals) > 1 or (totals and parts):
            raise Invalid(f"{totals[0]} cannot stand beside {(totals[1:] + parts)[0]}", hint="Unset one of them.")
    return specs


def _change(session: Session, ctx: Context, spec: QosSpec, specs: dict[str, str]) -> QosSpec:
    if audit.change(session, ctx, spec, kind="qos", values={"specs": specs}):
        _tell(session, ctx, [one.id for one in _types_of(session, spec)])
    return spec


def _associate(session: Session, ctx: Context, type: VolumeType, qos_id: str | None) -> VolumeType:
    if audit.change(session, ctx, type, kind="volume_type", values={"qos_id": qos_id}):
        _tell(session, ctx, [type.id])
    return type


def _tell(session: Session, ctx: Context, type_ids: list[str]) -> None:
    query = select(Volume.id).where(col(Volume.type_id).in_(type_ids), col(Volume.deleted_at) == 0)
    tell_guests(session, ctx, session.execute(query).scalars())


def _types_of(session: Session, spec: QosSpec) -> list[VolumeType]:
    query = select(VolumeType).where(col(VolumeType.qos_id) == spec.id).order_by(col(VolumeType.name))
    return list(session.execute(query).scalars())
