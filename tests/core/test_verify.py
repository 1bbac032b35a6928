"""What `verify` and the findings say of volumes: nothing while all is well, and each wrong by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from core import verify
from core.compute.instances.table import Instance
from core.hosts import drift
from core.hosts.drift import Finding
from core.hosts.table import Host
from core.sql import select
from core.store import now
from core.verify import volumes as checks
from core.volumes import attachments
from core.volumes.tables import BackendHost, Volume
from hostd.spec import Accel, Capacity, DomainSeen, Observation, PowerState
from tests.core.compute.stores import reaches, volume
from tests.core.world import World

CAPACITY = Capacity(arch="x86_64", cpu_model="", vcpus=8, ram_mb=32768, ram_free_mb=1, disk_gb=400, disk_free_gb=400)

STRAY = "5caff01d-0000-4000-8000-000000000000"


class Scene:
    """Server `web` on h1 has volume `data`; `db` runs beside it; the host has looked at its pool since."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.image()
        self.host = world.host("h1")
        reaches(world, self.host)
        self.servers = {name: world.settled(name=name).id for name in ("web", "db")}
        self.data = volume(world, host=self.host)
        self.has: dict[str, tuple[str, ...] | None] = {"web": (self.data,), "db": ()}
        with world.store.write() as session:
            instance = session.get_one(Instance, self.servers["web"])
            one = attachments.reserve(session, instance, session.get_one(Volume, self.data))
            attachments.begin(session, one)
            attachments.finish_attach(session, one)
        self.look({self.data})

    def look(self, there: set[str]) -> None:
        """The host has seen these volumes, after everything that happened."""
        with self.world.store.write() as session:
            (seen,) = session.execute(select(BackendHost)).scalars()
            seen.volumes = [{"uuid": uuid, "size": 1, "allocated": 1, "snapshots": []} for uuid in sorted(there)]
            seen.seen_at = now(session) + 1_000_000

    def observed(self) -> Observation:
        domains = tuple(
            DomainSeen(uuid=uuid, name=name, power=PowerState.RUNNING, owned=True, generation=0, volumes=self.has[name])
            for name, uuid in self.servers.items()
        )
        return Observation(
            at=1, capacity=CAPACITY, accel=Accel(mode="tcg", reason=""), domains=domains, disks=(), images=(),
            networks=(), links=(),
        )  # fmt: skip

    def violations(self) -> list[tuple[int, str]]:
        with self.world.store.read() as session:
            facts = verify.gather(session, self.world.config, {self.host: self.observed()})
        found = [
            one for check in (checks.one_guest_per_volume, checks.attachments, checks.stored) for one in check(facts)
        ]
        return [(one.invariant, one.title.replace(self.data, "data")) for one in found]

    def change(self, what: Callable[[Session], Any]) -> None:
        with self.world.store.write() as session:
            what(session)

    def status(self, status: str) -> None:
        self.change(lambda session: setattr(session.get_one(Volume, self.data), "status", status))

    def gone(self, server: str) -> None:
        self.world.change(self.servers[server], deleted_at=1)

    def attachment(self, **fields: Any) -> None:
        def write(session: Session) -> None:
            (one,) = attachments.of_volume(session, self.data)
            for field, value in fields.items():
                setattr(one, field, value)

        self.change(write)


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def test_all_is_well(scene: Scene) -> None:
    assert scene.violations() == []
    scene.has = {"web": None, "db": None}  # a host that does not tell
    assert scene.violations() == []


WRONG: dict[str, tuple[Callable[[Scene], None], list[tuple[int, str]]]] = {
    "two guests have it": (
        lambda scene: scene.has.update(db=(scene.data,)),
        [
            (1, "volume data is in 2 guests"),
            (11, "db has volume data, which is not attached to it"),
        ],
    ),
    "its guest does not have it": (
        lambda scene: scene.has.update(web=()),
        [(11, "volume data is attached to web, whose guest does not have it")],
    ),
    "it is free while a guest has it": (
        lambda scene: scene.status("available"),
        [(1, "volume data is available while web has it")],
    ),
    "nobody has it": (
        lambda scene: (scene.attachment(detached_at=1, status="detached"), scene.has.update(web=()))[1],
        [(11, "volume data is in-use, and nobody has it")],
    ),
    "it hangs half way": (
        lambda scene: (scene.attachment(status="attaching"), scene.status("attaching"))[1],
        [(11, "volume data is attaching for web, and nothing works on it")],
    ),
    "its server is gone": (
        lambda scene: scene.gone("web"),
        [(11, "volume data is attached, and a server of the two is gone")],
    ),
    "its backend lacks it": (
        lambda scene: scene.look(set()),
        [(8, "volume data is not on backend local on h1")],
    ),
    "its backend has another": (
        lambda scene: scene.look({scene.data, STRAY}),
        [(11, f"backend local on h1 has volume {STRAY}, which should not be there")],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_wrong_is_told(scene: Scene, wrong: str) -> None:
    make, told = WRONG[wrong]
    make(scene)
    assert scene.violations() == told


def test_what_changed_since_the_look_is_not_compared(scene: Scene) -> None:
    scene.look(set())
    scene.change(lambda session: setattr(session.get_one(Volume, scene.data), "updated_at", now(session) + 2_000_000))
    assert scene.violations() == []


def test_a_shared_volume_may_be_in_several_guests(scene: Scene) -> None:
    scene.change(lambda session: setattr(session.get_one(Volume, scene.data), "multiattach", True))
    scene.has["db"] = (scene.data,)
    assert scene.violations() == [(11, "db has volume data, which is not attached to it")]


def test_findings_show_what_is_lost_and_what_nobody_knows(scene: Scene) -> None:
    def compared() -> dict[str, str]:
        with scene.world.store.write() as session:
            host = session.get_one(Host, scene.host)
            drift.compare(session, host, scene.observed(), drift.stamp(session, scene.host))
        found = [row for row in scene.world.rows(Finding) if row.kind.startswith("volume_") and not row.resolved_at]
        return {row.kind: f"{row.title} {row.act}".strip() for row in found}

    assert compared() == {}
    scene.look({STRAY})
    assert compared() == {
        "volume_missing": "volume data is in-use here, and backend local on host h1 does not have it",
        "volume_unknown": f"backend local on host h1 has volume {STRAY}, but no volume of that id is known",
    }
    scene.look({scene.data})
    assert compared() == {}
