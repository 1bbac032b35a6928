"""The storage of the seeded cloud: volumes in every state, what was kept of them, and what hosts hold.

Inserted as rows, as an engine would have left them, with ids that never vary."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, col

from core.context import Context
from core.hosts.hosts import Host
from core.identity.projects import Project
from core.images.images import Image
from core.operations.operations import Operation
from core.sql import select
from core.volumes.tables import (
    Backend,
    BackendHost,
    Backup,
    CachedImageRow,
    ImageMember,
    QosSpec,
    Snapshot,
    Volume,
    VolumeAttachment,
    VolumeType,
)

NOW = 1_790_000_000
GIB = 1 << 30
DAY = 86400


def ago(seconds: int) -> int:
    """Microseconds, as in `seed`."""
    return (NOW - seconds) * 1_000_000


def id_of(kind: int, number: int) -> str:
    return f"{0xA0 + kind:02x}{number:06x}-5555-4000-8000-{number:012x}"


def fill(session: Session, ctx: Context, *, hosts: list[Host], servers: list[dict[str, Any]]) -> None:
    """Two backends, three types, nine volumes, their snapshots and backups, image caches, a shared image."""
    local = session.execute(select(Backend)).scalars().one()
    local.id, local.created_at = id_of(1, 1), ago(90 * DAY)
    ceph = Backend(
        id=id_of(1, 2), name="ceph", driver="rbd", options={"pool": "volumes"}, description="three replicas",
        created_at=ago(80 * DAY),
    )  # fmt: skip
    session.add(ceph)
    qos = QosSpec(id=id_of(2, 1), name="gold", specs={"total_iops_sec": "2000"}, created_at=ago(80 * DAY))
    session.add(qos)
    session.flush()
    plain = session.execute(select(VolumeType)).scalars().one()
    plain.id, plain.created_at = id_of(3, 1), ago(90 * DAY)
    ssd = _type(2, "ssd", "fast, limited", {"volume_backend_name": "ceph"}, qos_id=qos.id)
    both = _type(3, "cluster", "for several at once", {"volume_backend_name": "ceph", "multiattach": "<is> True"})
    session.add_all([ssd, both])
    session.flush()
    running = [row for row in servers if row["vm_state"] in ("active", "stopped", "paused")]
    volumes = _volumes(ctx, hosts, local.id, ceph.id, {"plain": plain.id, "ssd": ssd.id, "cluster": both.id})
    session.execute(insert(Volume.__table__), volumes)
    if len(running) > 2:
        session.execute(insert(VolumeAttachment.__table__), _attachments(running))
    session.add_all(_snapshots(ctx))
    session.add_all(_backups(ctx))
    session.add_all(_seen(hosts, local.id, ceph.id))
    session.add(_copying(ctx, hosts[0].id))
    _images(session, ctx, hosts)
    session.flush()


def _type(number: int, name: str, description: str, specs: dict[str, str], **more: Any) -> VolumeType:
    return VolumeType(
        id=id_of(3, number), name=name, description=description, extra_specs=specs, created_at=ago(80 * DAY), **more
    )


def _volumes(ctx: Context, hosts: list[Host], local: str, ceph: str, types: dict[str, str]) -> list[dict[str, Any]]:
    kept_full = {
        "title": "backend local can promise 3 GiB more, 100 are needed",
        "hint": "Make room there, or retype the volume to another backend.",
    }
    made = [
        # name, GiB, status, type, shared, more
        ("db-data", 100, "in-use", "ssd", True, {"proven_at": ago(3 * DAY), "description": "the shop's orders"}),
        (
            "web-root",
            20,
            "in-use",
            "plain",
            False,
            {"bootable": True, "source_kind": "image", "source_id": id_of(9, 1)},
        ),
        ("scratch", 100, "available", "plain", False, {}),
        ("golden", 20, "available", "ssd", True, {"bootable": True, "properties": {"tier": "base"}}),
        ("shared-disk", 50, "in-use", "cluster", True, {"multiattach": True}),
        ("restored", 100, "restoring-backup", "plain", False, {"source_kind": "backup", "source_id": id_of(6, 1)}),
        ("too-large", 200, "error_extending", "plain", False, {"fault": kept_full}),
        ("old-logs", 10, "awaiting-transfer", "plain", False, {}),
        ("", 1, "available", "plain", False, {"read_only": True}),
    ]
    rows = []
    for number, (name, size, status, type, shared, more) in enumerate(made, 1):
        age = (40, 90, 0.2, 30, 12, 0.001, 2, 200, 1)[number - 1] * DAY
        rows.append(
            {
                "id": id_of(4, number), "name": name, "description": "", "project_id": ctx.project_id,
                "user_id": ctx.user_id, "size_gb": size, "status": status, "previous_status": "",
                "type_id": types[type], "backend_id": ceph if shared else local,
                "host_id": None if shared else hosts[0].id, "availability_zone": "nova", "bootable": False,
                "read_only": False, "multiattach": False, "source_kind": "", "source_id": "", "image_properties": {},
                "properties": {}, "generation": 1, "fault": None, "proven_at": None, "created_at": ago(int(age)),
                "updated_at": ago(int(age)), "deleted_at": 0,
            }
            | more
        )  # fmt: skip
    return rows


def _attachments(running: list[dict[str, Any]]) -> list[dict[str, Any]]:
    held = [(1, 0, "/dev/vdb", None), (2, 0, "/dev/vda", 0), (5, 1, "/dev/vdb", None), (5, 2, "/dev/vdb", None)]
    return [
        {
            "id": id_of(5, number), "volume_id": id_of(4, volume), "instance_id": running[server]["id"],
            "slot": id_of(5, number) if volume == 5 else id_of(4, volume), "status": "attached", "device": device,
            "number": 0 if boot == 0 else number, "boot_index": boot, "bus": "", "read_only": False,
            "delete_on_termination": boot == 0, "tag": "", "attached_at": ago(5 * DAY), "detached_at": 0,
        }
        for number, (volume, server, device, boot) in enumerate(held, 1)
    ]  # fmt: skip


def _snapshots(ctx: Context) -> list[Snapshot]:
    made = [("db-before-upgrade", 1, 100, "available", True), ("golden-1", 4, 20, "available", None),
            ("db-nightly", 1, 100, "creating", None)]  # fmt: skip
    return [
        Snapshot(
            id=id_of(6, 16 + number), name=name, project_id=ctx.project_id, user_id=ctx.user_id,
            volume_id=id_of(4, volume), size_gb=size, status=status, quiesced=quiesced, number=number,
            created_at=ago(DAY * (4 - number)), updated_at=ago(DAY * (4 - number)),
        )
        for number, (name, volume, size, status, quiesced) in enumerate(made, 1)
    ]  # fmt: skip


def _backups(ctx: Context) -> list[Backup]:
    made = [
        # name, volume, parent, status, stored, proven
        ("db-sunday", 1, None, "available", 41 * GIB, ago(3 * DAY)),
        ("db-monday", 1, 1, "available", 700 << 20, None),
        ("web", 2, None, "error", 0, None),
    ]
    broken = {"title": "the repository is full", "hint": "Make room in /srv/backups, then back it up again."}
    return [
        Backup(
            id=id_of(6, number), name=name, project_id=ctx.project_id, user_id=ctx.user_id, volume_id=id_of(4, volume),
            volume_name={1: "db-data", 2: "web-root"}[volume], parent_id=id_of(6, parent) if parent else None,
            size_gb={1: 100, 2: 20}[volume], status=status, container="main", object_count=stored >> 20,
            stored_bytes=stored, fault=broken if status == "error" else None, verified_at=proven, proven_at=proven,
            data_at=ago(DAY * (5 - number)), created_at=ago(DAY * (5 - number)), updated_at=ago(DAY * (5 - number)),
        )
        for number, (name, volume, parent, status, stored, proven) in enumerate(made, 1)
    ]  # fmt: skip


def _seen(hosts: list[Host], local: str, ceph: str) -> list[BackendHost]:
    """kvm01's pool is nearly full and holds a volume nobody knows of; kvm03 is down and was never looked at."""
    lost = {"uuid": "deadbeef-0000-4000-8000-000000000001", "size": 40 * GIB, "allocated": 9 * GIB, "snapshots": []}
    held = [{"uuid": id_of(4, number), "size": GIB, "allocated": GIB, "snapshots": []} for number in (2, 3, 6, 7, 8, 9)]
    capable = ["snapshot", "live_snapshot", "revert", "clone", "changed", "thin"]
    both = [(ceph, hosts[0], 4 << 40, 3 << 40, []), (ceph, hosts[1], 4 << 40, 3 << 40, [])]
    own = [(local, hosts[0], 500 * GIB, 60 * GIB, [*held, lost]), (local, hosts[1], 500 * GIB, 410 * GIB, [])]
    rows = [
        BackendHost(
            backend_id=backend, host_id=host.id, reachable=True, total_bytes=total, free_bytes=free,
            capabilities=capable, volumes=volumes, seen_at=ago(20),
        )
        for backend, host, total, free, volumes in (*own, *both)
    ]  # fmt: skip
    rows[-1].reachable, rows[-1].total_bytes, rows[-1].free_bytes = False, 0, 0
    rows[-1].detail, rows[-1].hint = "no monitor answers", "ceph -s on kvm02 tells why."
    return rows


def _copying(ctx: Context, host: str) -> Operation:
    """A restore at 35 %, begun a minute ago."""
    return Operation(
        id="0b0000ff-1111-4222-8333-0000000000ff", seq=100, kind="backup.restore", object_kind="volume",
        object_id=id_of(4, 6), object_name="restored", project_id=ctx.project_id, user_id=ctx.user_id,
        user_name=ctx.user_name, request_id="req-00000000-0000-4000-8000-0000000000ff", source="cli", state="running",
        lane=host, step="write", progress=35, created_at=ago(61), started_at=ago(60),
        data={"copied": {"done": 35 * GIB, "total": 100 * GIB, "rate": 597 << 20, "remaining": 111}},
    )  # fmt: skip


def _images(session: Session, ctx: Context, hosts: list[Host]) -> None:
    ubuntu = session.execute(select(Image).where(col(Image.name) == "ubuntu-24.04")).scalar_one()
    debian = session.execute(select(Image).where(col(Image.name) == "debian-13")).scalar_one()
    debian.digest, debian.visibility = "cd" * 32, "shared"
    for host, image, refs, pinned in ((0, ubuntu, 5, True), (0, debian, 0, False), (1, ubuntu, 4, False)):
        session.add(
            CachedImageRow(
                host_id=hosts[host].id, digest=str(image.digest), size=image.size or 0, present=True, refs=refs,
                pinned=pinned, seen_at=ago(20),
            )
        )  # fmt: skip
    demo = session.execute(select(Project).where(col(Project.name) == "demo")).scalar_one()
    session.add(ImageMember(image_id=debian.id, project_id=demo.id, created_at=ago(2 * DAY), updated_at=ago(2 * DAY)))
