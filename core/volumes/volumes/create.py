"""Creating volumes: everything is checked, counted, placed and promised in one transaction.

The order is cinder's: policy, values, source, quota, then placement. An acknowledged create is a row, an operation and
an audit event, or it is nothing at all. One that no backend can take is refused with its funnel; `create_kept` keeps
that as a failed operation besides.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlmodel import Session

from core import audit, events, names
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, NoValidHost
from core.identity.policy import authorize
from core.images import images
from core.operations import operations
from core.operations.operations import Operation, State
from core.store import Store, clock_of, now
from core.volumes import access, guards, placement, properties, snapshots, types, usage
from core.volumes.placement import Request
from core.volumes.placement.model import GIB
from core.volumes.tables import Snapshot, Volume, VolumeType

DEFAULT_ZONE = "nova"

LARGEST_GB = 1 << 20
"""1 PiB: larger numbers are typing mistakes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
    """What a volume is made from."""

    kind: str = ""
    id: str = ""
    name: str = ""
    least_gb: int = 1
    bootable: bool = False
    image_properties: dict[str, str] = dataclasses.field(default_factory=dict)
    volume: Volume | None = None
    """Of a volume, or the one that a snapshot is of."""
    type_id: str | None = None
    """The type that a volume made from it has unless another is asked for."""


def create_kept(store: Store, config: Config, ctx: Context, **asked: Any) -> tuple[Volume, Operation]:
    """`create` in a transaction of its own. A refusal by placement undoes it; what placement learnt is kept as a failed
    operation, which the NoValidHost names."""
    try:
        with store.write() as session:
            return create(session, ctx, config, **asked)
    except NoValidHost as refused:
        with store.write() as session:
            refused.operation_id = _keep_refusal(session, ctx, asked, refused).id
        raise


def create(
    session: Session,
    ctx: Context,
    config: Config,
    *,
    name: str = "",
    size_gb: int | None = None,
    image: str | None = None,
    snapshot: str | None = None,
    source: str | None = None,
    type: str | None = None,
    availability_zone: str | None = None,
    description: str = "",
    properties: dict[str, str] | None = None,
    bootable: bool | None = None,
    read_only: bool = False,
) -> tuple[Volume, Operation]:
    """A volume: empty, or from at most one of an image, a snapshot and another volume (names or ids). `size_gb` may be
    left out where there is a source: as large as that.

    Raises Invalid, NotFound, Conflict, Forbidden, QuotaExceeded; NoValidHost with the funnel; Unavailable when no host
    can act for it.
    """
    authorize(ctx, "volume:create")
    made_from = _source(session, ctx, image=image, snapshot=snapshot, source=source)
    volume, funnel = _accept(
        session, ctx, config, made_from, host_id=None, name=name, size_gb=size_gb, type=type, zone=availability_zone,
        description=description, given=properties, bootable=bootable, read_only=read_only,
    )  # fmt: skip
    data: dict[str, Any] = {"funnel": funnel, "zone": availability_zone}
    if made_from.kind == "volume":
        assert made_from.volume is not None
        data["through"] = snapshots.hidden(session, ctx, made_from.volume).id
    backends_ = {volume.backend_id} | ({made_from.volume.backend_id} if made_from.volume else set())
    lane = volume.host_id or _source_host(made_from) or placement.choose_actor(session, backends_)
    asked = {"size_gb": volume.size_gb, "source": made_from.kind, "source_id": made_from.id, "type": type or ""}
    return volume, access.enqueue(session, ctx, volume, "create", lane=lane, args=asked, data=data)


def prepare(
    session: Session,
    ctx: Context,
    config: Config,
    *,
    host_id: str,
    name: str = "",
    size_gb: int | None = None,
    image: str | None = None,
    snapshot: str | None = None,
    type: str | None = None,
    description: str = "",
    bootable: bool | None = None,
) -> Volume:
    """A volume for a guest of that host, made with the guest: where the host reaches it, a local one on that host.

    Checked, counted and promised as by `create`, but no operation of its own: whoever asks makes it
    (`kinds.volumes.make_volume`). Raises as `create`."""
    authorize(ctx, "volume:create")
    made_from = _source(session, ctx, image=image, snapshot=snapshot, source=None)
    volume, _ = _accept(
        session, ctx, config, made_from, host_id=host_id, name=name, size_gb=size_gb, type=type, zone=None,
        description=description, given=None, bootable=bootable, read_only=False,
    )  # fmt: skip
    return volume


def _accept(
    session: Session,
    ctx: Context,
    config: Config,
    made_from: _Source,
    *,
    host_id: str | None,
    name: str,
    size_gb: int | None,
    type: str | None,
    zone: str | None,
    description: str,
    given: dict[str, str] | None,
    bootable: bool | None,
    read_only: bool,
) -> tuple[Volume, dict[str, Any]]:
    if name:
        names.check(name, "volume")
    size = _size(made_from, size_gb)
    kept = properties.merged({}, given)
    of_type = _type(session, ctx, made_from, type)
    usage.check_size(session, ctx.project_id, size)
    usage.check(session, ctx, ctx.project_id, type=of_type, volumes=1, gigabytes=size)
    near = made_from.volume
    request = Request(
        size_gb=size,
        extra_specs=of_type.extra_specs,
        zone=zone,
        host=_one_host(host_id, _source_host(made_from)),
        near=None if near is None or near.host_id else frozenset(placement.reach(session, near.backend_id)),
    )
    backend, holder, funnel = placement.place(session, config, request)
    at = now(session)
    volume = Volume(
        id=clock_of(session).uuid(),
        name=name,
        description=description,
        project_id=ctx.project_id,
        user_id=ctx.user_id,
        size_gb=size,
        type_id=of_type.id,
        backend_id=backend.id,
        host_id=holder,
        availability_zone=zone or placement.zone_of(session, backend, holder) or DEFAULT_ZONE,
        bootable=made_from.bootable if bootable is None else bootable,
        read_only=read_only,
        multiattach=types.wants(of_type.extra_specs, "multiattach"),
        source_kind=made_from.kind,
        source_id=made_from.id,
        image_properties=made_from.image_properties,
        properties=kept,
        created_at=at,
        updated_at=at,
    )
    session.add(volume)
    session.flush()
    after = {"size_gb": size, "type": of_type.name, "backend": backend.name}
    if made_from.kind:
        after["source"] = f"{made_from.kind} {made_from.name or made_from.id}"
    audit.record(session, ctx, volume, kind="volume", action="create", after=after)
    return volume, funnel.to_json()


def _one_host(*wanted: str | None) -> str | None:
    """The host that must reach the volume. Raises Conflict when two different ones must."""
    named = {host for host in wanted if host}
    if len(named) > 1:
        raise Conflict(
            "what the volume is made from is on another host than its guest",
            hint="Make the volume first, or choose a type whose backend is shared.",
        )
    return named.pop() if named else None


def _source_host(made_from: _Source) -> str | None:
    return made_from.volume.host_id if made_from.volume is not None else None


def _size(made_from: _Source, size_gb: int | None) -> int:
    size = size_gb if size_gb is not None else (made_from.least_gb if made_from.kind else None)
    if size is None:
        raise Invalid("an empty volume needs a size", hint="--size GIB")
    if not 1 <= size <= LARGEST_GB:
        raise Invalid(f"a volume cannot have {size} GiB", hint=f"1 to {LARGEST_GB}.")
    if size < made_from.least_gb:
        raise Invalid(
            f"{made_from.kind} {made_from.name or made_from.id} needs {made_from.least_gb} GiB, {size} are wanted",
            hint="Choose a larger size.",
        )
    return size


def _type(session: Session, ctx: Context, made_from: _Source, wanted: str | None) -> VolumeType:
    """The one asked for; else that of the source volume, else the image's wish, else the default."""
    if not wanted and made_from.type_id is not None:
        inherited = session.get(VolumeType, made_from.type_id)
        if inherited is not None:
            return inherited
    return types.chosen(session, ctx, wanted or made_from.image_properties.get("cinder_img_volume_type"))


def _source(session: Session, ctx: Context, *, image: str | None, snapshot: str | None, source: str | None) -> _Source:
    if sum(one is not None for one in (image, snapshot, source)) > 1:
        raise Invalid("a volume is made from one thing", hint="Of image, snapshot and source, name one.")
    if image is not None:
        return _of_image(session, ctx, image)
    if snapshot is not None:
        return _of_snapshot(session, ctx, snapshots.find(session, ctx, snapshot))
    if source is not None:
        return _of_volume(session, ctx, access.find(session, ctx, source))
    return _Source()


def _of_image(session: Session, ctx: Context, wanted: str) -> _Source:
    image = images.find(session, ctx, wanted)
    if image.status != "active":
        raise Invalid(f"image {image.name} is {image.status}", hint="Only an active image can be copied to a volume.")
    if image.disk_format in ("aki", "ari"):
        raise Invalid(f"image {image.name} is a kernel or ramdisk, no disk")
    if image.digest is None:
        raise Invalid(
            f"image {image.name} has no data of its own: it maps to volume snapshots",
            hint="Make the volume from the snapshot.",
        )
    told = {
        "image_id": image.id,
        "image_name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": str(image.min_disk_gb),
        "min_ram": str(image.min_ram_mb),
        "size": str(image.size or 0),
        "checksum": image.digest,
    }
    return _Source(
        kind="image",
        id=image.id,
        name=image.name,
        least_gb=max(1, image.min_disk_gb, -(-(image.virtual_size or 0) // GIB)),
        bootable=True,
        image_properties={**image.properties, **told},
    )


def _of_snapshot(session: Session, ctx: Context, snapshot: Snapshot) -> _Source:
    if snapshot.status != "available":
        raise Conflict(f"snapshot {guards.called(snapshot)} is {snapshot.status}, it must be available")
    volume = session.get_one(Volume, snapshot.volume_id)
    _own(ctx, snapshot, "snapshot")
    return _Source(
        kind="snapshot",
        id=snapshot.id,
        name=snapshot.name,
        least_gb=snapshot.size_gb,
        bootable=volume.bootable,
        image_properties=volume.image_properties,
        volume=volume,
        type_id=volume.type_id,
    )


def _of_volume(session: Session, ctx: Context, volume: Volume) -> _Source:
    _own(ctx, volume, "volume")
    guards.begin(session, ctx, volume, "clone")
    return _Source(
        kind="volume",
        id=volume.id,
        name=volume.name,
        least_gb=volume.size_gb,
        bootable=volume.bootable,
        image_properties=volume.image_properties,
        volume=volume,
        type_id=volume.type_id,
    )


def _own(ctx: Context, thing: Volume | Snapshot, what: str) -> None:
    """An admin sees every project's, and yet copies nobody's data into another project."""
    if thing.project_id != ctx.project_id:
        raise Invalid(
            f"{what} {guards.called(thing)} is another project's",
            hint="skydeck volume transfer request create moves one.",
        )


def _keep_refusal(session: Session, ctx: Context, asked: dict[str, Any], refused: NoValidHost) -> Operation:
    name = str(asked.get("name", ""))
    operation = operations.enqueue(
        session,
        ctx,
        "volume.create",
        object_kind="volume",
        object_id=clock_of(session).uuid(),
        object_name=name,
        project_id=ctx.project_id,
        args={key: str(value) for key, value in asked.items()},
        data={"funnel": refused.funnel},
    )
    operation.state, operation.error = State.FAILED, refused.to_json()
    operation.ended_at, operation.step = now(session), "placement"
    session.flush()
    session.info.pop("enqueued")
    events.record(
        session,
        ctx,
        "volume.create_refused",
        kind="operation",
        id=operation.id,
        name=name,
        project_id=ctx.project_id,
        after={"error": refused.title},
    )
    return operation
