"""Creating instances: everything is checked, counted, placed and promised in one transaction.

The order is nova's: policy, values, quota, then placement. An acknowledged create is a row, a claim on a host, ports
with addresses, an operation and an audit event, or it is nothing at all. A create that no host can take is refused
with its funnel, which stays readable as a failed operation.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
from typing import Any

from sqlmodel import Session, col

from core import events, names
from core.compute import flavors, keypairs, placement
from core.compute.flavors import Flavor
from core.compute.instances import block_devices, launch_volumes, nics, states
from core.compute.instances.block_devices import BlockDevice, Layout
from core.compute.instances.nics import Nic
from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.errors import Invalid, NoValidHost, QuotaExceeded, Refused, SkydeckError
from core.identity import quotas
from core.identity.policy import authorize
from core.network import ports, security_groups
from core.operations import operations
from core.operations.operations import Operation, State
from core.sql import select
from core.store import Store, clock_of, now

USER_DATA_LIMIT = 65535
"""Bytes of base64 (nova's limit)."""

FROM_VOLUME = "N/A (booted from volume)"
"""What the client shows where an image would stand."""

MOST_AT_ONCE = 100
"""Instances of one request: one transaction must stay short."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateSpec:
    """A create, as asked for. Names and ids are as a person typed them."""

    name: str
    names: tuple[str, ...] = ()
    """Of several that are called one by one; then as many are made, and `name` is the first of them."""
    flavor: str
    image: str | None = None
    """None: a block device is booted from."""
    block_devices: tuple[BlockDevice, ...] = ()
    """Disks besides the root disk that `image` makes, or one of them in its place."""
    networks: tuple[str, ...] = ()
    """One NIC each; empty: the project's default network. `none` alone: no NIC."""
    fixed_ip: str | None = None
    """Of the one network that is named."""
    nics: tuple[Nic, ...] = ()
    """Besides `networks`, in this order: networks with addresses, and ports of the user's own."""
    security_groups: tuple[str, ...] = ()
    """Of the ports the launch makes; empty: the default one."""
    key_name: str | None = None
    user_data: bytes | None = None
    config_drive: bool = False
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    properties: dict[str, str] = dataclasses.field(default_factory=dict)
    hints: dict[str, str] = dataclasses.field(default_factory=dict)
    availability_zone: str | None = None
    """ZONE, or ZONE:HOST (admin) to force a host."""
    min_count: int = 1
    max_count: int = 1
    idempotency_key: str | None = None

    def body(self) -> dict[str, Any]:
        """What an idempotency key is bound to, and what the operation keeps: bytes only by their digest, for they may
        hold secrets."""
        plain = dataclasses.asdict(self)
        del plain["idempotency_key"]
        plain["user_data"] = None if self.user_data is None else _digest(self.user_data)
        plain["files"] = {path: _digest(content) for path, content in self.files.items()}
        return {key: str(value) for key, value in plain.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Created:
    instances: tuple[Instance, ...]
    operations: tuple[Operation, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Parts:
    """A spec with every name looked up and every rule checked."""

    flavor: Flavor
    layout: Layout
    public_key: str | None
    user_data: str | None
    files: dict[str, str]
    zone: str | None
    host: str | None


def create(store: Store, config: Config, ctx: Context, spec: CreateSpec) -> Created:
    """Accept 1 to n instances. All `max_count` when quota and hosts allow, never fewer than `min_count`.

    Raises Invalid, NotFound, Conflict, Forbidden, QuotaExceeded; NoValidHost after keeping the funnel.
    """
    with store.read() as session:
        seen = _think_ahead(session, config, ctx, spec)
    try:
        with store.write() as session:
            return accept(session, config, ctx, spec, seen)
    except NoValidHost as refused:
        # The refusal undid the transaction; what it learnt is kept in one of its own.
        with store.write() as session:
            refused.operation_id = _keep_refusal(session, ctx, spec, refused).id
        raise


def _think_ahead(session: Session, config: Config, ctx: Context, spec: CreateSpec) -> placement.Seen:
    """Look at the hosts and choose among them before the one writer is held: of many creates at once each then waits
    only for the others' claims. What it finds to refuse is refused in the transaction, if it is still so then."""
    seen = placement.look(session, affinity_of=ctx.project_id if spec.hints else None)
    with contextlib.suppress(Refused):
        parts = _check(session, ctx, spec)
        likely = _row(session, ctx, spec, parts, index=0, count=1, reservation="")
        volumes = launch_volumes.needs(session, parts.layout)
        request = placement.request_for(session, likely, zone=parts.zone, host=parts.host, volumes=volumes)
        seen.choose(request, scheduler=config.scheduler, dice=clock_of(session).random)
    return seen


def accept(session: Session, config: Config, ctx: Context, spec: CreateSpec, seen: placement.Seen) -> Created:
    """`create` inside an open transaction; `seen` may be from before it."""
    authorize(ctx, "instance:create")
    earlier = operations.repeated(session, ctx, spec.idempotency_key, spec.body())
    if earlier is not None:
        return _again(session, earlier)
    parts = _check(session, ctx, spec)
    plugs = _plugs(session, config, ctx, spec)
    groups = security_groups.resolve(session, ctx.project_id, spec.security_groups) if spec.security_groups else None
    made = sum(plug.port is None for plug in plugs)
    count = _within_quota(session, ctx, spec, parts, nics=made)
    volumes = launch_volumes.needs(session, parts.layout)
    reservation = f"r-{clock_of(session).hex()[:8]}"
    instances: list[Instance] = []
    enqueued: list[Operation] = []
    for index in range(count):
        instance = _row(session, ctx, spec, parts, index=index, count=count, reservation=reservation)
        try:
            request = placement.request_for(session, instance, zone=parts.zone, host=parts.host, volumes=volumes)
            host_id, funnel = placement.place(session, instance, request, scheduler=config.scheduler, seen=seen)
        except NoValidHost:
            if len(instances) >= spec.min_count:
                break
            raise
        instance.host_id = host_id
        session.add(instance)
        session.flush()
        nics.plug(session, instance, plugs, groups=groups)
        ports.bind(session, instance.id, host_id)
        made_volumes = launch_volumes.give(session, ctx, config, instance, parts.layout)
        operation = operations.enqueue(
            session,
            ctx,
            "instance.create",
            object_kind="instance",
            object_id=instance.id,
            object_name=instance.name,
            project_id=instance.project_id,
            lane=host_id,
            args=spec.body(),
            data={
                "funnel": funnel.to_json(),
                "zone": parts.zone,
                "forced": parts.host,
                "tried": [host_id],
                "volumes": made_volumes,
            },
            idempotency_key=spec.idempotency_key if index == 0 else None,
        )
        events.record(
            session,
            ctx,
            "instance.create",
            kind="instance",
            id=instance.id,
            name=instance.name,
            project_id=instance.project_id,
            after={"flavor": instance.flavor_name, "image": instance.image_name, "host_id": host_id},
        )
        instances.append(instance)
        enqueued.append(operation)
    session.flush()
    return Created(instances=tuple(instances), operations=tuple(enqueued))


def _again(session: Session, first: Operation) -> Created:
    """What the request whose first operation this is was answered with."""
    rows = session.execute(
        select(Instance, Operation)
        .where(
            col(Instance.reservation_id)
            == select(Instance.reservation_id).where(col(Instance.id) == first.object_id).scalar_subquery(),
            col(Operation.object_id) == col(Instance.id),
            col(Operation.kind) == first.kind,
        )
        .order_by(col(Instance.launch_index))
    ).all()
    return Created(instances=tuple(row[0] for row in rows), operations=tuple(row[1] for row in rows))


def _check(session: Session, ctx: Context, spec: CreateSpec) -> _Parts:
    for name in spec.names or (spec.name,):
        names.check(name, "server")
    if spec.names and not len(spec.names) == spec.min_count == spec.max_count:
        raise Invalid(f"{len(spec.names)} names were given for another number", hint="Leave the number out.")
    if not 1 <= spec.min_count <= spec.max_count <= MOST_AT_ONCE:
        raise Invalid(
            f"cannot make {spec.min_count} to {spec.max_count} at once", hint=f"1 <= min <= max <= {MOST_AT_ONCE}."
        )
    if spec.fixed_ip and spec.max_count > 1:
        raise Invalid("one address cannot serve several instances", hint="Leave --fixed-ip out, or make one.")
    flavor = flavors.find(session, ctx, spec.flavor)
    layout = block_devices.resolve(session, ctx, spec.block_devices, image=spec.image, flavor=flavor)
    if spec.max_count > 1 and any(disk.volume and not disk.volume.multiattach for disk in layout.disks):
        raise Invalid("one volume cannot serve several instances", hint="Leave it out, or make one.")
    zone, host = _zone(ctx, spec.availability_zone)
    return _Parts(
        flavor=flavor,
        layout=layout,
        public_key=keypairs.find(session, ctx, spec.key_name).public_key if spec.key_name else None,
        user_data=_user_data(spec.user_data),
        files=_files(session, ctx, spec.files),
        zone=zone,
        host=host,
    )


def _plugs(session: Session, config: Config, ctx: Context, spec: CreateSpec) -> list[nics.Plug]:
    """What to plug in. Makes the project's default network when it is needed for the first time."""
    asked = [Nic(network=network) for network in spec.networks if network != "none"]
    if not spec.networks and not spec.nics:
        asked = nics.default_nics(session, ctx, config)
    if spec.fixed_ip is not None:
        if len(asked) != 1:
            raise Invalid("an address belongs to one network", hint="Name the network it is for.")
        asked = [dataclasses.replace(asked[0], fixed_ip=spec.fixed_ip)]
    found = nics.resolve(session, ctx, [*asked, *spec.nics])
    if spec.max_count > 1 and any(plug.port is not None or plug.fixed_ip is not None for plug in found):
        raise Invalid("one port or address cannot serve several instances", hint="Leave it out, or make one.")
    return found


def _zone(ctx: Context, text: str | None) -> tuple[str | None, str | None]:
    """ZONE[:HOST] taken apart. Forcing a host is the operator's."""
    if not text:
        return None, None
    zone, _, host = text.partition(":")
    if host:
        authorize(ctx, "instance:force_host")
    return zone or None, host or None


def _user_data(data: bytes | None) -> str | None:
    if data is None:
        return None
    encoded = base64.b64encode(data).decode()
    if len(encoded) > USER_DATA_LIMIT:
        raise Invalid(f"user data is {len(encoded)} bytes in base64, at most {USER_DATA_LIMIT}")
    return encoded


def _files(session: Session, ctx: Context, files: dict[str, bytes]) -> dict[str, str]:
    limits = quotas.limits(session, ctx.project_id)

    def check(resource: str, amount: int) -> None:
        if limits[resource] != quotas.UNLIMITED and amount > limits[resource]:
            raise QuotaExceeded(f"{resource}: {amount} of at most {limits[resource]}")

    check("injected_files", len(files))
    for path, content in files.items():
        check("injected_file_path_bytes", len(path.encode()))
        check("injected_file_content_bytes", len(content))
    return {path: base64.b64encode(content).decode() for path, content in files.items()}


def _within_quota(session: Session, ctx: Context, spec: CreateSpec, parts: _Parts, *, nics: int) -> int:
    """How many may be made: as many as the quota has room for, at least min_count. Raises QuotaExceeded."""
    each = {
        "instances": 1,
        "cores": parts.flavor.vcpus,
        "ram": parts.flavor.ram_mb,
        "ports": nics,
        **launch_volumes.quota(session, ctx, parts.layout),
    }
    count = spec.max_count
    for resource, amount in each.items():
        left = quotas.room(session, ctx.project_id, resource)
        if left is not None and amount:
            count = min(count, left // amount)
    if count < spec.min_count:
        quotas.check(session, ctx, **{resource: amount * spec.min_count for resource, amount in each.items()})
    check_properties(session, ctx, spec.properties)
    return count


def check_properties(session: Session, ctx: Context, properties: dict[str, str]) -> None:
    """A server's metadata: count by quota, keys and values of at most 255 characters."""
    limit = quotas.limits(session, ctx.project_id)["metadata_items"]
    if limit != quotas.UNLIMITED and len(properties) > limit:
        raise QuotaExceeded(f"metadata_items: {len(properties)} of at most {limit}")
    for key, value in properties.items():
        if not key or len(key) > names.LONGEST or len(value) > names.LONGEST:
            raise Invalid(f"metadata {key[:40]!r}: keys and values have 1 to {names.LONGEST} characters")


def _row(
    session: Session, ctx: Context, spec: CreateSpec, parts: _Parts, *, index: int, count: int, reservation: str
) -> Instance:
    # nova numbers the members of one request: web-1, web-2, …
    name = f"{spec.name}-{index + 1}" if count > 1 else spec.name
    if spec.names:
        name = spec.names[index]
    at = now(session)
    layout, flavor = parts.layout, parts.flavor
    image = layout.image
    instance_id = clock_of(session).uuid()
    return Instance(
        id=instance_id,
        name=name,
        project_id=ctx.project_id,
        user_id=ctx.user_id,
        hostname=names.hostname(name, f"server-{instance_id[:8]}"),
        availability_zone=parts.zone,
        flavor_id=flavor.id,
        flavor_name=flavor.name,
        vcpus=flavor.vcpus,
        ram_mb=flavor.ram_mb,
        root_gb=flavor.disk_gb if image else 0,
        ephemeral_gb=layout.ephemeral_gb,
        swap_mb=layout.swap_mb,
        extra_specs=dict(flavor.extra_specs),
        image_id=image.id if image else None,
        image_name=image.name if image else FROM_VOLUME,
        kernel_id=layout.properties.get("kernel_id"),
        ramdisk_id=layout.properties.get("ramdisk_id"),
        image_properties=layout.properties,
        key_name=spec.key_name,
        public_key=parts.public_key,
        user_data=parts.user_data,
        config_drive=spec.config_drive,
        files=parts.files,
        properties=dict(spec.properties),
        hints=dict(spec.hints),
        launch_index=index,
        reservation_id=reservation,
        created_at=at,
        updated_at=at,
    )


def _keep_refusal(session: Session, ctx: Context, spec: CreateSpec, refused: SkydeckError) -> Operation:
    operation = operations.enqueue(
        session,
        ctx,
        "instance.create",
        object_kind="instance",
        object_id=clock_of(session).uuid(),
        object_name=spec.name,
        project_id=ctx.project_id,
        args=spec.body(),
        data={"funnel": getattr(refused, "funnel", {})},
    )
    operation.state, operation.error = State.FAILED, refused.to_json()
    operation.ended_at, operation.step = now(session), states.SCHEDULING
    session.flush()
    session.info.pop("enqueued")
    events.record(
        session,
        ctx,
        "instance.create_refused",
        kind="operation",
        id=operation.id,
        name=spec.name,
        project_id=ctx.project_id,
        after={"error": refused.title},
    )
    return operation
