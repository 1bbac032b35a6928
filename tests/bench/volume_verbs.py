"""`volume_create`, `volume_snapshot`: from the verb until the volume (a snapshot of it) is available.

The whole way: transaction, engine, SSH, hostd, and back. The baselines are `qemu-img create` and `qemu-img snapshot -c`
of a volume of the same size, typed on the host.
"""

from __future__ import annotations

import statistics

from core.identity import quotas
from tests.bench.common import quantile, record
from tests.bench.ground import Ground, ground, took

ROUNDS = 20
SIZE_GB = 20
STATE = "/var/lib/skydeck"


def run() -> None:
    with ground() as place:
        cloud = place.cloud
        with cloud.store.write() as session:
            unlimited = dict.fromkeys(("volumes", "snapshots", "gigabytes"), quotas.UNLIMITED)
            quotas.update(session, cloud.ctx, cloud.ctx.project_id, cloud.ctx.project_name, unlimited)
        cloud.until(lambda: bool(cloud.reach("local")), "the host's own directory was looked at")
        rounds = [_round(place, number) for number in range(ROUNDS)]
        create, snapshot, bare_create, bare_snapshot = zip(*rounds, strict=True)
        for name, ours, bare in (
            ("volume_create", create, bare_create),
            ("volume_snapshot", snapshot, bare_snapshot),
        ):
            record(name, 1000 * statistics.median(ours), "ms", 1000 * statistics.median(bare), ROUNDS)
            record(f"{name}_p90", 1000 * quantile(ours, 0.9), "ms", 1000 * quantile(bare, 0.9), ROUNDS)


def _round(place: Ground, number: int) -> tuple[float, float, float, float]:
    """Seconds of a create, of a snapshot, and of both as typed."""
    made: list[str] = []
    disk = f"{STATE}/bench-{number}.qcow2"
    create = took(lambda: made.append(place.cloud.add_volume(f"v{number}", size_gb=SIZE_GB)))
    snapshot = took(lambda: place.cloud.snapshot(made[0], f"s{number}"))
    bare_create = took(lambda: _typed(place, "create", "-q", "-f", "qcow2", disk, f"{SIZE_GB}G"))
    bare_snapshot = took(lambda: _typed(place, "snapshot", "-c", "s", disk))
    return create, snapshot, bare_create, bare_snapshot


def _typed(place: Ground, *words: str) -> None:
    place.host.run(["qemu-img", *words])
