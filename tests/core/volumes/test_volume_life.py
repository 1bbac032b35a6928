"""A volume's full life against a model: whatever is asked in whatever order, and whatever fails, the database, the host
and what is written in the volumes are what the model says, and what the model refuses is refused.

The engine and a host in memory carry out every accepted verb before the next is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core import cloud
from core.compute.instances import volumes as guests
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, QuotaExceeded, SkydeckError
from core.identity import quotas
from core.volumes import snapshots, transfers, types, volumes
from core.volumes.tables import Backend, Snapshot, Volume, VolumeAttachment, VolumeTransfer, VolumeType
from hostd.spec import ErrorCode, HostError
from tests.core.operations.rig import Rig
from tests.core.volumes.stock import Stock
from tests.core.world import GIB, World

T = TypeVar("T")

LIMITS = {"volumes": 5, "snapshots": 4, "gigabytes": 16, "volumes_other": 2}
SERVERS = ("one", "two")
CHOICE = st.integers(0, 7)
SIZE = st.integers(1, 4)
BROKEN = HostError(ErrorCode.STORAGE, "the disk is on fire")


@dataclasses.dataclass
class Model:
    """A volume, as a person would keep it on paper."""

    size: int
    status: str = "available"
    written: int = 0
    type: str = types.DEFAULT
    holders: set[str] = dataclasses.field(default_factory=set)
    snapshots: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Id to {size, written, status}, oldest first."""
    key: str = ""
    """Of the transfer that offers it."""


class Life(RuleBasedStateMachine):
    template: Path
    """A fresh cloud's database file."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory(prefix="sky-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        path = Path(self.home.name)
        shutil.copy(self.template, path / "skydeck.db")
        config = Config(home=path, database_url=f"sqlite:///{path / 'skydeck.db'}")
        self.world = World(config, cloud.open_store(config))
        self.stock = Stock(self.world)
        self.loop = asyncio.new_event_loop()
        self.volumes: dict[str, Model] = {}
        self.pen = 0
        """The newest number written into a volume."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.me, self.you = self.world.someone("member"), self.world.someone("member", project="other")
        self.world.image()

        async def start() -> Rig:
            rig = Rig(self.world)
            await rig.add()
            rig.start()
            for name in SERVERS:
                await rig.create(ctx=self.me, name=name)
            return rig

        self.rig = self.run(start())
        (self.host,) = self.rig.hosts.values()
        (self.local,) = (row.id for row in self.world.rows(Backend))
        with self.world.store.write() as session:
            types.create(session, self.world.admin, name="other")
            quotas.update(session, self.world.admin, self.me.project_id, "demo", LIMITS)

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self.run(self.rig.stop())
        self.loop.close()
        self.world.store.close()
        self.home.cleanup()

    # ------------------------------------------------------------------ asking

    def ask(
        self, expected: type[SkydeckError] | None, verb: Any, *args: Any, ctx: Context | None = None, **asked: Any
    ) -> Any:
        """Have a verb accepted and carried out, or refused as the model foresees: then None."""
        if expected is not None:
            with pytest.raises(expected), self.world.store.write() as session:
                verb(session, ctx or self.me, *args, **asked)
            return None
        with self.world.store.write() as session:
            answer = verb(session, ctx or self.me, *args, **asked)
        self.run(self.rig.idle())
        return answer

    def pick(self, choice: int) -> tuple[str, Model]:
        return list(self.volumes.items())[choice % len(self.volumes)]

    def snapshot(self, choice: int) -> tuple[str, Model, str]:
        """(volume, its model, one of its snapshots)"""
        found = [(id, model, one) for id, model in self.volumes.items() for one in model.snapshots]
        return found[choice % len(found)]

    @property
    def any_snapshot(self) -> bool:
        return any(model.snapshots for model in self.volumes.values())

    def used(self, what: str) -> int:
        taken = [one for model in self.volumes.values() for one in model.snapshots.values()]
        return {
            "volumes": len(self.volumes),
            "snapshots": len(taken),
            "gigabytes": sum(m.size for m in self.volumes.values()) + sum(one["size"] for one in taken),
            "volumes_other": sum(m.type == "other" for m in self.volumes.values()),
        }[what]

    def full(self, **more: int) -> bool:
        return any(self.used(what) + n > LIMITS[what] for what, n in more.items())

    def data(self, volume: str) -> Path:
        return self.host.fake.pools.own / self.local / volume / "data"

    # ------------------------------------------------------------------ rules

    @rule(size=SIZE)
    def create(self, size: int) -> None:
        expected = QuotaExceeded if self.full(volumes=1, gigabytes=size) else None
        if made := self.ask(expected, volumes.create, self.world.config, size_gb=size):
            self.volumes[made[0].id] = Model(size=size)

    @rule()
    def create_from_image(self) -> None:
        expected = QuotaExceeded if self.full(volumes=1, gigabytes=1) else None
        if made := self.ask(expected, volumes.create, self.world.config, image="tiny"):
            self.volumes[made[0].id] = Model(size=1, written=int.from_bytes(b"bytes\0\0\0", "little"))

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE, size=SIZE)
    def copy(self, choice: int, size: int) -> None:
        source, model = self.pick(choice)
        expected: type[SkydeckError] | None = None
        if model.status not in ("available", "in-use"):
            expected = Conflict
        elif size < model.size:
            expected = Invalid
        elif self.full(volumes=1, gigabytes=size, volumes_other=int(model.type == "other")):
            expected = QuotaExceeded
        if made := self.ask(expected, volumes.create, self.world.config, source=source, size_gb=size):
            self.volumes[made[0].id] = Model(size=size, written=model.written, type=model.type)

    @precondition(lambda self: self.any_snapshot)
    @rule(choice=CHOICE)
    def create_from_snapshot(self, choice: int) -> None:
        _, model, taken = self.snapshot(choice)
        one = model.snapshots[taken]
        expected: type[SkydeckError] | None = None
        if one["status"] != "available":
            expected = Conflict
        elif self.full(volumes=1, gigabytes=one["size"], volumes_other=int(model.type == "other")):
            expected = QuotaExceeded
        if made := self.ask(expected, volumes.create, self.world.config, snapshot=taken):
            self.volumes[made[0].id] = Model(size=one["size"], written=one["written"], type=model.type)

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE)
    def write(self, choice: int) -> None:
        volume, model = self.pick(choice)
        self.pen += 1
        model.written = self.pen
        with self.data(volume).open("r+b") as file:
            file.write(self.pen.to_bytes(8, "little"))

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE, more=SIZE, broken=st.booleans())
    def extend(self, choice: int, more: int, broken: bool) -> None:
        volume, model = self.pick(choice)
        expected: type[SkydeckError] | None = None
        if self.full(gigabytes=more):
            expected = QuotaExceeded
        elif model.status not in ("available", "in-use"):
            expected = Conflict
        with self.trouble(broken):
            if self.ask(expected, volumes.extend, volume, size_gb=model.size + more) is None:
                return
        if not broken:
            model.size += more
        elif model.status == "available":
            model.status = "error_extending"

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE, force=st.booleans())
    def take_snapshot(self, choice: int, force: bool) -> None:
        volume, model = self.pick(choice)
        expected: type[SkydeckError] | None = None
        if self.full(snapshots=1, gigabytes=model.size):
            expected = QuotaExceeded
        elif not (model.status == "available" or (force and model.status == "in-use")):
            expected = Conflict
        if made := self.ask(expected, snapshots.create, volume=volume, force=force):
            model.snapshots[made[0].id] = {"size": model.size, "written": model.written, "status": "available"}

    @precondition(lambda self: self.any_snapshot)
    @rule(choice=CHOICE, broken=st.booleans())
    def delete_snapshot(self, choice: int, broken: bool) -> None:
        _, model, taken = self.snapshot(choice)
        with self.trouble(broken):
            self.ask(None, snapshots.delete, taken)
        if broken:
            model.snapshots[taken]["status"] = "error_deleting"
        else:
            del model.snapshots[taken]

    @precondition(lambda self: self.any_snapshot)
    @rule(choice=CHOICE)
    def revert(self, choice: int) -> None:
        volume, model, taken = self.snapshot(choice)
        one = model.snapshots[taken]
        expected: type[SkydeckError] | None = None
        if taken != list(model.snapshots)[-1] or one["status"] != "available":
            expected = Conflict
        elif one["size"] != model.size:
            expected = Invalid
        elif model.status != "available":
            expected = Conflict
        if self.ask(expected, volumes.revert, volume, snapshot=taken):
            model.written = one["written"]

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE, to=st.sampled_from((types.DEFAULT, "other")))
    def retype(self, choice: int, to: str) -> None:
        volume, model = self.pick(choice)
        expected: type[SkydeckError] | None = None
        if to == model.type:
            expected = Invalid
        elif to == "other" and self.full(volumes_other=1):
            expected = QuotaExceeded
        elif model.status not in ("available", "in-use"):
            expected = Conflict
        if self.ask(expected, volumes.retype, self.world.config, volume, type=to):
            model.type = to

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE, cascade=st.booleans(), broken=st.booleans())
    def delete(self, choice: int, cascade: bool, broken: bool) -> None:
        volume, model = self.pick(choice)
        deletable = model.status in ("available", "error_extending", "error_deleting")
        expected = None if deletable and (cascade or not model.snapshots) else Conflict
        with self.trouble(broken):
            if self.ask(expected, volumes.delete, volume, cascade=cascade) is None:
                return
        if broken:
            model.status = "error_deleting"
            for one in model.snapshots.values():
                one["status"] = "error_deleting"
        else:
            del self.volumes[volume]

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE, server=st.sampled_from(SERVERS))
    def attach(self, choice: int, server: str) -> None:
        volume, model = self.pick(choice)
        expected = None if model.status == "available" else Conflict
        if self.ask(expected, guests.attach, self.world.config, server, volume=volume):
            model.status, model.holders = "in-use", {server}

    @precondition(lambda self: any(model.status == "available" for model in self.volumes.values()))
    @rule(choice=CHOICE)
    def race_for_it(self, choice: int) -> None:
        """Two sessions want the same volume for two servers: one wins, the other is told who has it."""
        free = [(id, model) for id, model in self.volumes.items() if model.status == "available"]
        volume, model = free[choice % len(free)]
        outcomes: dict[str, Any] = {}
        ready = threading.Barrier(len(SERVERS))

        def want(server: str) -> None:
            ready.wait()
            try:
                with self.world.store.write() as session:
                    outcomes[server] = guests.attach(session, self.me, self.world.config, server, volume=volume)
            except Conflict as refused:
                outcomes[server] = refused

        racers = [threading.Thread(target=want, args=(server,)) for server in SERVERS]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        (winner,) = (server for server, outcome in outcomes.items() if not isinstance(outcome, Conflict))
        (loser,) = (outcome for outcome in outcomes.values() if isinstance(outcome, Conflict))
        assert f"is being attached to {winner}" in loser.title
        self.run(self.rig.idle())
        model.status, model.holders = "in-use", {winner}

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE)
    def detach(self, choice: int) -> None:
        volume, model = self.pick(choice)
        for server in sorted(model.holders):
            self.ask(None, guests.detach, server, volume=volume)
            model.status, model.holders = "available", set()

    @precondition(lambda self: self.volumes)
    @rule(choice=CHOICE)
    def offer(self, choice: int) -> None:
        volume, model = self.pick(choice)
        expected = None if model.status == "available" and not model.snapshots else Conflict
        if made := self.ask(expected, transfers.create, volume=volume):
            model.status, model.key = "awaiting-transfer", made[1]

    @precondition(lambda self: any(model.key for model in self.volumes.values()))
    @rule(choice=CHOICE, taken=st.booleans())
    def end_offer(self, choice: int, taken: bool) -> None:
        """Taken, and given back by its new owner; or withdrawn."""
        offered = [(id, model) for id, model in self.volumes.items() if model.key]
        volume, model = offered[choice % len(offered)]
        (offer,) = (row for row in self.world.rows(VolumeTransfer) if row.volume_id == volume)
        if taken:
            self.ask(None, transfers.accept, offer.id, auth_key=model.key, ctx=self.you)
            back, key = self.ask(None, transfers.create, volume=volume, ctx=self.you)
            self.ask(None, transfers.accept, back.id, auth_key=key)
        else:
            self.ask(None, transfers.delete, offer.id)
        model.status, model.key = "available", ""

    @contextlib.contextmanager
    def trouble(self, broken: bool) -> Any:
        """The backend fails whatever is asked of it meanwhile."""
        if broken:
            self.host.fake.pools.down[self.local] = BROKEN
        yield
        self.host.fake.pools.down.clear()

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        live = [row for row in self.world.rows(Volume) if not row.deleted_at]
        named = {row.id: row.name for row in self.world.rows(VolumeType)}
        assert {row.id: (row.size_gb, row.status, named[row.type_id]) for row in live} == {
            id: (model.size, model.status, model.type) for id, model in self.volumes.items()
        }
        taken = [row for row in self.world.rows(Snapshot, Snapshot.number) if not row.deleted_at]
        assert {row.id: (row.volume_id, row.size_gb, row.status) for row in taken} == {
            one: (id, told["size"], told["status"])
            for id, model in self.volumes.items()
            for one, told in model.snapshots.items()
        }, "and nothing hidden is left"
        servers = {row.id: row.name for row in self.world.live()}
        held: dict[str, set[str]] = {}
        for row in self.world.rows(VolumeAttachment):
            if not row.detached_at:
                held.setdefault(row.volume_id, set()).add(servers[row.instance_id])
        assert held == {id: model.holders for id, model in self.volumes.items() if model.holders}

    @invariant()
    def the_host_has_what_the_model_says(self) -> None:
        if not hasattr(self, "host"):
            return
        root = self.host.fake.pools.own / self.local
        assert {path.name for path in root.glob("*")} == set(self.volumes)
        for id, model in self.volumes.items():
            assert self.data(id).stat().st_size >= model.size * GIB
            assert self.read(self.data(id)) == model.written
            for one, told in model.snapshots.items():
                if told["status"] == "available":
                    assert self.read(root / id / f"{one}.snap") == told["written"]

    @staticmethod
    def read(path: Path) -> int:
        with path.open("rb") as file:
            return int.from_bytes(file.read(8), "little")

    @invariant()
    def quotas_are_counted_live(self) -> None:
        if hasattr(self, "host"):
            with self.world.store.read() as session:
                shown = {row.resource: row.used for row in quotas.show(session, self.me, self.me.project_id)}
            assert {what: shown[what] for what in LIMITS} == {what: self.used(what) for what in LIMITS}
            assert all(self.used(what) <= most for what, most in LIMITS.items())


@pytest.mark.parametrize(
    ("examples", "steps"), [pytest.param(4, 25, id="quick"), pytest.param(40, 50, id="long", marks=pytest.mark.e2e)]
)
def test_a_volumes_full_life(sqlite_template: Path, examples: int, steps: int) -> None:
    Life.template = sqlite_template
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
