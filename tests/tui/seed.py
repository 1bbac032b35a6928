"""A cloud to look at: hosts, images and any number of instances, inserted in bulk, with ids and times that never vary.

Used by the app's tests, its benchmarks and by hand: `python -m tests.tui.seed HOME [INSTANCES]`.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, update
from sqlmodel import Session, col

from core import cloud
from core.compute.instances.table import Instance
from core.compute.keypairs import Keypair
from core.config import Config
from core.context import Context
from core.events import Event
from core.hosts.hosts import Host
from core.images.images import Image
from core.network import floating_ips, networks, ports, routers, security_groups, subnets
from core.network.fabric import HostNetworking, NetworkingPending
from core.network.tables import FloatingIP, Network, Port, Router
from core.operations.operations import Operation
from core.sql import select
from core.store import Clock, Store
from tests.tui import storage

NOW = 1_790_000_000
"""The frozen moment, in seconds."""

STATES: tuple[tuple[str, str | None], ...] = (
    ("active", None),
    ("active", None),
    ("building", "spawning"),
    ("error", None),
    ("stopped", None),
    ("paused", None),
)
NAMES = ("web", "db", "edge", "lb", "batch", "cache")
FLAVORS = (("2", "m1.small", 2048, 20, 1), ("1", "m1.tiny", 512, 1, 1), ("4", "m1.large", 8192, 80, 4))

FUNNEL = {
    "total": 3,
    "counts": [["enabled", 3], ["up", 2], ["ram", 0]],
    "rejected": {
        "kvm01": {"filter": "ram", "why": "RAM: needs 8192 MiB, free 2048 MiB of 32256 MiB"},
        "kvm02": {"filter": "ram", "why": "RAM: needs 8192 MiB, free 512 MiB of 32256 MiB"},
        "kvm03": {"filter": "up", "why": "down: no answer for 14 s"},
    },
    "ranked": [],
}

NO_HOST = {
    "type": "NoValidHost",
    "title": "no valid host was found: 3 hosts, filtered: 2 by ram, 1 by up",
    "hint": "For example kvm01: RAM: needs 8192 MiB, free 2048 MiB of 32256 MiB.",
}


def frozen_clock(seed: int = 7) -> Clock:
    """A clock that stands still, and ids that repeat."""
    return Clock(now=lambda: float(NOW), seed=random.Random(seed))


def config(home: Path) -> Config:
    return Config(home=home, database_url=f"sqlite:///{home / 'skydeck.db'}")


def ago(seconds: int) -> int:
    """Microseconds since the epoch, this many seconds before the frozen moment."""
    return (NOW - seconds) * 1_000_000


def fresh(home: Path, *, clock: Clock | None = None) -> tuple[Config, Store, Context]:
    """An empty cloud, as `skydeck` finds it at the first start."""
    settings = config(home)
    store = cloud.open_store(settings, clock=clock or frozen_clock())
    with store.read() as session:
        ctx = cloud.context(session, settings, source="app")
    # What is seeded is one request, which the audit trail shows: always the same.
    return settings, store, dataclasses.replace(ctx, request_id="req-5eed5eed-0000-4000-8000-000000000000")


def host(session: Session, name: str, *, state: str = "up", **values: Any) -> Host:
    """A host with 16 vCPUs, 32 GiB and 500 GB."""
    number = int(name.removeprefix("kvm"))
    row = Host(
        id=f"00000000-0000-4000-8000-0000000{number:05}",
        name=name,
        address=f"192.0.{2 + number // 250}.{number % 250}",
        state=state,
        state_reason="" if state == "up" else "no answer for 14 s",
        cpu_model="EPYC-Rome",
        accel="kvm: guests run under it",
        versions={"hostd": "0.1.0", "libvirt": "9.0.0", "qemu": "7.2.11"},
        vcpus=16,
        ram_mb=32768,
        disk_gb=500,
        created_at=ago(90 * 86400),
        seen_at=ago(1 if state == "up" else 3600),
        **values,
    )
    row.refresh_caps()
    session.add(row)
    session.flush()
    return row


def image(session: Session, ctx: Context, name: str, **values: Any) -> Image:
    row = Image(
        id=f"1111{len(name):04d}-0000-4000-8000-{abs(hash_of(name)) % 10**12:012d}",
        name=name,
        project_id=ctx.project_id,
        status="active",
        disk_format="qcow2",
        size=612 << 20,
        virtual_size=3 << 30,
        digest="ab" * 32,
        min_disk_gb=0,
        created_at=ago(30 * 86400),
        updated_at=ago(30 * 86400),
        **values,
    )
    session.add(row)
    session.flush()
    return row


def hash_of(text: str) -> int:
    """Like hash(), the same in every process."""
    return int.from_bytes(text.encode()[-5:], "big")


def populate(store: Store, ctx: Context, *, instances: int = 24, socket: str = "") -> None:
    """Three hosts, two images, a key, a network, `instances` instances in every state, and some history.

    With `socket` the hosts are local ones at that path: an engine that meets this cloud then sends nothing anywhere.
    """
    with store.write() as session:
        hosts = [
            host(session, "kvm01", physnets={"physnet1": "eth1"}),
            host(session, "kvm02", physnets={"physnet1": "eth1"}),
            host(session, "kvm03", state="down"),
        ]
        if socket:
            for one in hosts:
                one.address, one.socket = "", socket
        image(session, ctx, "ubuntu-24.04", visibility="public")
        image(session, ctx, "debian-13")
        session.add(
            Keypair(
                user_id=ctx.user_id,
                name="alice-ed25519",
                fingerprint="SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDaHslTzkPuWt5uUt0",
                public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ alice@desk",
                created_at=ago(60 * 86400),
            )
        )
        network = networks.create(session, ctx, config(Path("/nonexistent")), name="app")
        network.created_at = ago(80 * 86400)
        subnets.create(session, ctx, name="app", network=network.id, project_id=ctx.project_id, cidr="10.0.0.0/16")
        rows = [_instance(ctx, index, hosts) for index in range(instances)]
        for start in range(0, len(rows), 2000):
            session.execute(insert(Instance.__table__), rows[start : start + 2000])
        _ports(session, ctx, network, rows[:200])
        _surroundings(session, ctx, network, rows[:200])
        storage.fill(session, ctx, hosts=hosts, servers=rows[:200])
        _history(session, ctx, rows)


def instance_id(index: int) -> str:
    """The id of the instance that was made as the nth."""
    return f"{0x1A2B3C4D + index * 7919:08x}-77aa-4e0e-9d01-{index:012x}"


def _instance(ctx: Context, index: int, hosts: list[Host]) -> dict[str, Any]:
    vm_state, task_state = STATES[index % len(STATES)]
    flavor_id, flavor, ram_mb, root_gb, vcpus = FLAVORS[index % len(FLAVORS)]
    age = (12 * 86400, 8, 120, 90 * 86400)[index % 4]
    placed = vm_state != "error"
    return {
        "id": instance_id(index),
        "name": f"{NAMES[index % len(NAMES)]}-{index:02d}",
        "project_id": ctx.project_id,
        "user_id": ctx.user_id,
        "hostname": f"{NAMES[index % len(NAMES)]}-{index:02d}",
        "vm_state": vm_state,
        "task_state": task_state,
        "power_state": {"active": 1, "stopped": 4, "paused": 3}.get(vm_state, 0),
        "host_id": hosts[index % 2].id if placed else None,
        "flavor_id": flavor_id,
        "flavor_name": flavor,
        "vcpus": vcpus,
        "ram_mb": ram_mb,
        "root_gb": root_gb,
        "ephemeral_gb": 0,
        "swap_mb": 0,
        "extra_specs": {},
        "image_name": "ubuntu-24.04" if index % 3 else "debian-13",
        "image_properties": {},
        "key_name": "alice-ed25519",
        "config_drive": False,
        "files": {},
        "properties": {"tier": "web", "env": "prod"},
        "hints": {},
        "locked": index % 7 == 5,
        "locked_by": "owner" if index % 7 == 5 else None,
        "want": "running",
        "generation": 1,
        "launch_index": 0,
        "reservation_id": f"r-{index:08x}",
        "fault": dict(NO_HOST) if vm_state == "error" else None,
        "created_at": ago(age),
        "updated_at": ago(age),
        "launched_at": None if vm_state in ("building", "error") else ago(age - 2),
        "deleted_at": 0,
    }


def _ports(session: Session, ctx: Context, network: Network, rows: list[dict[str, Any]]) -> None:
    block = subnets.of_network(session, network.id)[0]
    for index, row in enumerate(rows):
        if row["vm_state"] in ("active", "stopped", "paused"):
            ports.create(
                session,
                project_id=ctx.project_id,
                network_id=network.id,
                fixed={block.id: f"10.0.1.{index + 11}"},
                owner="compute:nova",
                device_id=row["id"],
            ).status = "ACTIVE"
    session.flush()


def _surroundings(session: Session, ctx: Context, network: Network, rows: list[dict[str, Any]]) -> None:
    """A way out, a router to it, a network that stays alone, groups with rules, floating IPs: one waits for a host."""
    settings = config(Path("/nonexistent"))
    public = networks.create(
        session, ctx, settings, name="public", external=True, default=True, network_type="flat",
        physical_network="physnet1",
    )  # fmt: skip
    backup = networks.create(session, ctx, settings, name="backup", description="nightly, leads nowhere")
    for where, cidr, dhcp in ((public, "203.0.113.0/24", False), (backup, "172.16.0.0/24", True)):
        subnets.create(session, ctx, name=where.name, network=where.id, project_id=ctx.project_id, cidr=cidr, dhcp=dhcp)
    router = routers.create(session, ctx, name="gate", external_gateway=public.id)
    routers.add_subnet(session, ctx, router.id, subnets.of_network(session, network.id)[0].id)
    for group, protocol, port in (("default", "tcp", 22), ("default", "icmp", None)):
        security_groups.add_rule(session, ctx, group, protocol=protocol, port_min=port)
    web = security_groups.create(session, ctx, name="web", description="what the world may reach")
    for port in (80, 443):
        security_groups.add_rule(session, ctx, web.id, protocol="tcp", port_min=port)
    security_groups.add_rule(session, ctx, web.id, protocol="tcp", port_min=8000, port_max=8100, remote_group="default")
    plugged = [port for row in rows for port in ports.of_device(session, row["id"])]
    hosts = {row["id"]: row["host_id"] for row in rows}
    for port in plugged:
        port.host_id = hosts[port.device_id]
    session.flush()
    floating_ips.create(session, ctx, network=public.id)
    for port in plugged[:2]:
        floating_ips.create(session, ctx, network=public.id, port=port.id)
    if plugged:
        ports.set(session, ctx, plugged[0].id, security_groups=["default", "web"])
        alone = subnets.of_network(session, backup.id)[0]
        ports.create(
            session, project_id=ctx.project_id, network_id=backup.id, fixed={alone.id: "172.16.0.9"},
            owner="compute:nova", device_id=plugged[0].device_id, host_id=plugged[0].host_id,
        )  # fmt: skip
    _settled(session)


def _settled(session: Session) -> None:
    """All hosts have confirmed, but for the second floating IP."""
    session.flush()
    session.execute(delete(NetworkingPending))
    session.execute(update(HostNetworking).values(applied=HostNetworking.generation, changed_at=ago(40)))
    session.expire_all()
    for table in (Port, Router, FloatingIP):
        session.execute(update(table).values(status="ACTIVE"))
    session.execute(update(FloatingIP).where(col(FloatingIP.port_id).is_(None)).values(status="DOWN"))
    floats = session.execute(select(FloatingIP).order_by(col(FloatingIP.address))).scalars().all()
    if len(floats) > 2:
        last = floats[-1]
        last.status = "DOWN"
        kvm02 = session.execute(select(Host.id).where(col(Host.name) == "kvm02")).scalar_one()
        late = session.get_one(HostNetworking, kvm02)
        late.applied = late.generation - 1
        session.add(NetworkingPending(object_id=last.id, host_id=kvm02, generation=late.generation))
    session.flush()


def _operation(ctx: Context, seq: int, row: dict[str, Any], kind: str, state: str, **values: Any) -> Operation:
    return Operation(
        id=f"0b{seq:06x}-1111-4222-8333-{seq:012x}",
        kind=kind,
        object_kind="instance",
        object_id=row["id"],
        object_name=row["name"],
        project_id=ctx.project_id,
        user_id=ctx.user_id,
        user_name=ctx.user_name,
        request_id=f"req-00000000-0000-4000-8000-{seq:012x}",
        source="cli",
        state=state,
        lane=row["host_id"] or "",
        **values,
    )


def _history(session: Session, ctx: Context, rows: list[dict[str, Any]]) -> None:
    """A finished create, a failed one with its funnel, and one that runs."""
    made = [
        ("active", "succeeded", {"progress": 100, "step": "boot", "started_at": ago(8), "ended_at": ago(0)}),
        (
            "error",
            "failed",
            {
                "step": "scheduling",
                "error": NO_HOST,
                "data": {"funnel": FUNNEL},
                "started_at": ago(120),
                "ended_at": ago(119),
            },
        ),
        ("building", "running", {"progress": 40, "step": "spawning", "started_at": ago(7)}),
    ]
    for seq, (vm_state, state, values) in enumerate(made, 1):
        row = next((row for row in rows if row["vm_state"] == vm_state), None)
        if row is None:
            continue
        session.add(_operation(ctx, seq, row, "instance.create", state, created_at=row["created_at"], **values))
        session.add(
            Event(
                at=row["created_at"],
                action="instance.create",
                object_kind="instance",
                object_id=row["id"],
                object_name=row["name"],
                project_id=ctx.project_id,
                user_name=ctx.user_name,
                user_id=ctx.user_id,
                request_id=f"req-{seq}",
                source="cli",
                after={"flavor": row["flavor_name"], "image": row["image_name"]},
            )
        )


def main() -> None:
    """Fill a home for looking at by hand."""
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        raise SystemExit("usage: python -m tests.tui.seed HOME [INSTANCES]")
    _, store, ctx = fresh(Path(sys.argv[1]))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    populate(store, ctx, instances=count, socket=f"{sys.argv[1]}/absent.sock")
    store.close()


if __name__ == "__main__":
    main()
