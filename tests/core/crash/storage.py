"""What the crash matrix does to volumes, their snapshots and guests with volumes: one scenario for each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlmodel import Session, col

from core.compute.instances import snapshots as server_snapshots
from core.compute.instances import volumes as server_volumes
from core.images import caching
from core.images.images import Image
from core.operations.operations import Operation
from core.sql import select
from core.volumes import attachments, backends, backups, qos, snapshots, types, upload, volumes
from core.volumes.tables import Backend, BackendHost, Backup, Snapshot, Volume
from tests.core.crash.cloudlet import Cloudlet

OTHER = "other"
"""A second backend on the same host, and the type that asks for it."""


class Scenario(NamedTuple):
    prepare: Callable[[Cloudlet], None]
    ask: Callable[[Cloudlet], Operation]
    ends: dict[str, str | None]
    """What the volume and its snapshot are in the end; None: gone."""
    cancelled: dict[str, str | None] | None = None
    """And when it was cancelled half way, once undone."""


def write(cloudlet: Cloudlet, verb: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    with cloudlet.store.write() as session:
        return verb(session, cloudlet.world.admin, *arguments, **more)


def statuses(cloudlet: Cloudlet) -> dict[str, str | None]:
    """Of the newest of each; None: it is gone, or there was none."""

    def last(session: Session, table: Any) -> str | None:
        row = session.execute(select(table).order_by(col(table.created_at).desc()).limit(1)).scalar_one_or_none()
        return None if row is None or row.deleted_at else str(row.status)

    with cloudlet.store.read() as session:
        return {
            "volume": last(session, Volume),
            "snapshot": last(session, Snapshot),
            "backup": last(session, Backup),
            "image": session.execute(
                select(Image.status).order_by(col(Image.created_at).desc()).limit(1)
            ).scalar_one_or_none(),
        }


def reached(cloudlet: Cloudlet, backend: str = "local") -> None:
    """Wait until the host has found the backend."""

    def found() -> bool:
        with cloudlet.store.read() as session:
            wanted = select(Backend.id).where(col(Backend.name) == backend).scalar_subquery()
            query = select(BackendHost.reachable).where(col(BackendHost.backend_id) == wanted)
            return bool(session.execute(query).scalar_one_or_none())

    cloudlet.until(found, f"backend {backend} is not reached")


def done(cloudlet: Cloudlet, operation: Operation) -> None:
    ended = cloudlet.ended(operation)
    assert (ended.state, ended.error) == ("succeeded", None)


def a_volume(cloudlet: Cloudlet) -> None:
    reached(cloudlet)
    _, operation = write(cloudlet, volumes.create, cloudlet.world.config, name="data", size_gb=1)
    done(cloudlet, operation)


def a_snapshot(cloudlet: Cloudlet) -> None:
    a_volume(cloudlet)
    _, operation = write(cloudlet, snapshots.create, volume="data", name="then")
    done(cloudlet, operation)


def _backup(cloudlet: Cloudlet) -> Operation:
    return _second(write(cloudlet, backups.create, cloudlet.world.config, volume="data", name="copy"))


def a_backup(cloudlet: Cloudlet) -> None:
    a_volume(cloudlet)
    done(cloudlet, _backup(cloudlet))


def a_server(cloudlet: Cloudlet) -> None:
    done(cloudlet, cloudlet.create())


def both(cloudlet: Cloudlet) -> None:
    a_volume(cloudlet)
    a_server(cloudlet)


def attached(cloudlet: Cloudlet) -> None:
    both(cloudlet)
    done(cloudlet, attach(cloudlet))


def two_backends(cloudlet: Cloudlet) -> None:
    a_volume(cloudlet)
    with cloudlet.store.read() as session:
        there = session.execute(select(Backend.id).where(col(Backend.name) == OTHER)).first()
    if there is None:
        options = {"path": str(cloudlet.home / OTHER)}
        write(cloudlet, backends.create, name=OTHER, driver="file", options=options)
        write(cloudlet, types.create, name=OTHER, extra_specs={"volume_backend_name": OTHER})
    reached(cloudlet, OTHER)


def an_image(cloudlet: Cloudlet) -> None:
    cloudlet.image()


def attach(cloudlet: Cloudlet) -> Operation:
    answer: Operation = write(cloudlet, server_volumes.attach, cloudlet.world.config, "web", volume="data")
    return answer


def _from_image(cloudlet: Cloudlet) -> Operation:
    reached(cloudlet)
    _, operation = write(
        cloudlet, volumes.create, cloudlet.world.config, name="data", size_gb=1, image=cloudlet.image()
    )
    return operation  # type: ignore[no-any-return]


def _limit(cloudlet: Cloudlet) -> Operation:
    """The type's QoS changes, and with it the guest: an update of it."""
    name = f"q{cloudlet.world.store.clock.hex()[:8]}"
    write(cloudlet, qos.create, name=name, specs={"total_iops_sec": str(500 + int(name[1:], 16) % 500)})
    write(cloudlet, qos.associate, name, types.DEFAULT)
    return cloudlet.world.operations()[-1]


def _look(cloudlet: Cloudlet) -> Operation:
    """Another name changes nothing; other options have every host look."""
    options = {"path": str(cloudlet.home / f"o{cloudlet.world.store.clock.hex()[:8]}")}
    name = f"b{cloudlet.world.store.clock.hex()[:8]}"
    write(cloudlet, backends.create, name=name, driver="file", options=options)
    return cloudlet.world.operations()[-1]


def _prefetch(cloudlet: Cloudlet) -> Operation:
    (operation,) = write(cloudlet, caching.prefetch, f"image-{cloudlet.images_made}")
    return operation  # type: ignore[no-any-return]


def _second(answer: tuple[Any, Operation]) -> Operation:
    return answer[1]


SCENARIOS: dict[str, Scenario] = {
    "instance.attach_volume": Scenario(both, attach, {"volume": "in-use"}, {"volume": "available"}),
    "instance.detach_volume": Scenario(
        attached,
        lambda cloudlet: write(cloudlet, server_volumes.detach, "web", volume="data"),
        {"volume": "available"},
        {"volume": "in-use"},
    ),
    "volume.create": Scenario(lambda cloudlet: None, _from_image, {"volume": "available"}, {"volume": "error"}),
    "volume.delete": Scenario(a_volume, lambda cloudlet: write(cloudlet, volumes.delete, "data"), {"volume": None}),
    "volume.extend": Scenario(
        a_volume, lambda cloudlet: write(cloudlet, volumes.extend, "data", size_gb=2), {"volume": "available"}
    ),
    "volume.revert": Scenario(
        a_snapshot,
        lambda cloudlet: write(cloudlet, volumes.revert, "data", snapshot="then"),
        {"volume": "available", "snapshot": "available"},
    ),
    "volume.retype": Scenario(
        two_backends,
        lambda cloudlet: write(
            cloudlet, volumes.retype, cloudlet.world.config, "data", type=OTHER, migration_policy="on-demand"
        ),
        {"volume": "available"},
        {"volume": "available"},
    ),
    "snapshot.create": Scenario(
        a_volume,
        lambda cloudlet: _second(write(cloudlet, snapshots.create, volume="data", name="then")),
        {"volume": "available", "snapshot": "available"},
        {"volume": "available", "snapshot": "error"},
    ),
    "snapshot.delete": Scenario(
        a_snapshot, lambda cloudlet: write(cloudlet, snapshots.delete, "then"), {"volume": "available"}
    ),
    "volume.upload": Scenario(
        a_volume,
        lambda cloudlet: _second(
            write(cloudlet, upload.upload, cloudlet.world.config, "data", image_name="of-data", disk_format="raw")
        ),
        {"volume": "available", "image": "active"},
        {"volume": "available"},
    ),
    "instance.create_image": Scenario(
        a_server,
        lambda cloudlet: _second(
            write(cloudlet, server_snapshots.create_image, cloudlet.world.config, "web", name="of-web")
        ),
        {"image": "active"},
        {},
    ),
    "backup.create": Scenario(
        a_volume, _backup, {"volume": "available", "backup": "available"}, {"volume": "available", "backup": "error"}
    ),
    "backup.delete": Scenario(
        a_backup, lambda cloudlet: write(cloudlet, backups.delete, "copy"), {"volume": "available", "backup": None}
    ),
    "backup.verify": Scenario(
        a_backup,
        lambda cloudlet: write(cloudlet, backups.verify, "copy"),
        {"volume": "available", "backup": "available"},
    ),
    "backup.restore": Scenario(
        a_backup,
        lambda cloudlet: _second(write(cloudlet, backups.restore, cloudlet.world.config, "copy", volume="data")),
        {"volume": "available", "backup": "available"},
    ),
    "backend.look": Scenario(lambda cloudlet: None, _look, {}),
    "image.prefetch": Scenario(an_image, _prefetch, {}),
    "host.prune_images": Scenario(an_image, lambda cloudlet: write(cloudlet, caching.prune, cloudlet.host_id), {}),
    "volume.limits": Scenario(attached, _limit, {"volume": "in-use"}),
}
"""By kind; `volume.limits` is an update of a guest for its volume's sake."""


def clear(cloudlet: Cloudlet) -> None:
    """No volume is left, and no backup. Their servers are gone already, with what goes along with them."""
    cloudlet.until(
        lambda: all(row.state not in ("ready", "running") for row in cloudlet.world.rows(Operation)),
        "volumes that go with their servers do not",
    )
    with cloudlet.store.read() as session:
        copies = list(session.execute(select(Backup.id).where(col(Backup.deleted_at) == 0)).scalars())
    for id in copies:
        done(cloudlet, write(cloudlet, backups.delete, id, force=True))
    with cloudlet.store.read() as session:
        left = list(session.execute(select(Volume.id).where(col(Volume.deleted_at) == 0)).scalars())
    for id in left:
        done(cloudlet, write(cloudlet, volumes.delete, id, cascade=True))


def check(session: Session, cloudlet: Cloudlet, guests: dict[str, set[str]]) -> None:
    """Guests (by id, with what they have) and directories have exactly the volumes that the database says."""
    living = list(session.execute(select(Volume).where(col(Volume.deleted_at) == 0)).scalars())
    for instance_id, has in guests.items():
        mine = attachments.of_instance(session, instance_id)
        assert {one.volume_id for one in mine} == has
        assert {one.status for one in mine} <= {"attached"}
    for row in living:
        assert row.status not in ("attaching", "detaching", "creating", "deleting", "extending", "retyping"), row.status
        assert (row.status == "in-use") == bool(attachments.of_volume(session, row.id))
    kept: dict[str, set[str]] = {}
    for row in living:
        if row.status != "error":
            kept.setdefault(row.backend_id, set()).add(row.id)
    pools = cloudlet.home / "hs" / "memory" / "volumes"
    there = {pool.name: {one.name for one in pool.iterdir()} for pool in pools.iterdir()} if pools.exists() else {}
    assert {pool: has for pool, has in there.items() if has} == kept, "no volume is lost, and none is left"
