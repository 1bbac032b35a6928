"""The store under contention, with real processes; and what else it promises."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from core import cloud
from core.compute.instances import create
from core.compute.instances.create import CreateSpec
from core.config import Config
from core.context import Context
from core.errors import NoValidHost, Unavailable
from core.identity import quotas
from core.identity.projects import Project
from core.store import Store
from tests.core.world import World

forking = multiprocessing.get_context("fork")

WRITERS = 8
ROOM = 10
TRIES = 3


@contextlib.contextmanager
def processes(target: Any, *args: Any, count: int) -> Iterator[list[Connection]]:
    """`count` processes running target(pipe, *args); all of them gone afterwards."""
    running, pipes = [], []
    for _ in range(count):
        ours, theirs = forking.Pipe()
        process = forking.Process(target=target, args=(theirs, *args))
        process.start()
        theirs.close()
        running.append(process)
        pipes.append(ours)
    try:
        yield pipes
    finally:
        for process in running:
            process.kill()
            process.join()
        for pipe in pipes:
            pipe.close()


def _create_many(pipe: Connection, config: Config, ctx: Context) -> None:
    store = cloud.open_store(config)
    pipe.send(os.getpid())
    pipe.recv()  # all begin together
    outcomes = []
    for number in range(TRIES):
        began = time.monotonic()
        try:
            spec = CreateSpec(name=f"w-{os.getpid()}-{number}", flavor="m1.tiny", image="tiny", networks=("none",))
            create.create(store, config, ctx, spec)
            outcomes.append((time.monotonic() - began, None))
        except NoValidHost as refused:
            outcomes.append((time.monotonic() - began, refused.funnel))
    pipe.send(outcomes)
    store.close()


def test_eight_processes_and_room_for_ten(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.host(ram_mb=512 + ROOM * 512)
    world.image()
    with world.store.write() as session:
        quotas.update(session, world.admin, world.admin.project_id, "admin", {"instances": -1, "cores": -1, "ram": -1})
    with processes(_create_many, world.config, world.admin, count=WRITERS) as pipes:
        for pipe in pipes:
            pipe.recv()
        for pipe in pipes:
            pipe.send("go")
        outcomes = [outcome for pipe in pipes for outcome in pipe.recv()]
    placed = [took for took, funnel in outcomes if funnel is None]
    funnels = [funnel for _, funnel in outcomes if funnel is not None]
    assert len(placed) == ROOM
    assert len(funnels) == WRITERS * TRIES - ROOM
    for funnel in funnels:
        assert funnel["rejected"]["h1"] == {
            "filter": "ram",
            "why": f"RAM: needs 512 MiB, free 0 MiB of {ROOM * 512} MiB",
        }
    world.check_claims()
    states = [operation.state for operation in world.operations()]
    assert (states.count("ready"), states.count("failed")) == (ROOM, WRITERS * TRIES - ROOM)
    with capsys.disabled():
        kind = "sqlite" if world.store.is_sqlite else "postgresql"
        median, worst = statistics.median(placed) * 1000, max(placed) * 1000
        print(f"\n  {WRITERS} writers, {kind}: accepted in {median:.0f} ms (median), {worst:.0f} ms (worst)")


def _die_inside(pipe: Connection, config: Config) -> None:
    store = cloud.open_store(config)
    with store.write() as session:
        session.add(Project(id="f" * 32, name="half"))
        session.flush()
        pipe.send("inside")
        signal.pause()


def test_a_writer_killed_inside_a_transaction_blocks_nobody(world: World) -> None:
    with processes(_die_inside, world.config, count=1) as (pipe,):
        assert pipe.recv() == "inside"
        (child,) = multiprocessing.active_children() or [None]
        if child is not None and child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
    began = time.monotonic()
    with world.store.write() as session:
        session.add(Project(id="e" * 32, name="whole"))
    assert time.monotonic() - began < 20, "a lock that nobody holds is not waited for"
    assert {"whole"} == {project.name for project in world.rows(Project)} - {"admin", "demo"}


def test_a_writer_waits_for_the_other(world: World) -> None:
    with processes(_die_inside, world.config, count=1) as (pipe,):
        assert pipe.recv() == "inside"
        with world.store.read() as session:  # a reader does not
            assert cloud.identity(session)


def test_a_reader_cannot_write(world: World) -> None:
    with world.store.read() as session:
        session.add(Project(id="f" * 32, name="no"))
        with pytest.raises(DatabaseError):
            session.flush()


def test_an_exception_undoes_all(world: World) -> None:

    def half(session: Session) -> None:
        session.add(Project(id="f" * 32, name="half"))
        session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), world.store.write() as session:
        half(session)
    assert "half" not in {project.name for project in world.rows(Project)}


def test_a_read_is_one_snapshot(world: World) -> None:
    with world.store.read() as session:
        before = cloud.identity(session)
        with world.store.write() as writing:
            writing.add(Project(id="f" * 32, name="later"))
        assert session.get(Project, "f" * 32) is None
        assert cloud.identity(session) == before


def test_the_version_changes_with_every_commit_of_anybody(world: World) -> None:
    other = Store(world.config.database_url)
    seen = world.store.version()
    assert world.store.version() == seen
    for store in (other, world.store):
        with store.write() as session:
            session.add(Project(id=store.clock.hex(), name=store.clock.hex()))
        fresh = world.store.version()
        assert fresh != seen
        seen = fresh
    other.close()


def test_the_bell_rings_once_per_commit_that_enqueued(world: World) -> None:
    rung: list[int] = []
    world.store.on_commit = lambda: rung.append(1)
    world.host()  # the engine shall connect to it
    assert len(rung) == 1
    world.image()
    assert len(rung) == 1
    world.create()
    assert len(rung) == 2
    with pytest.raises(NoValidHost):
        world.create(availability_zone="nova:none")
    assert len(rung) == 2


def test_the_database_is_its_owners_alone(world: World) -> None:
    if world.store.path is None:
        pytest.skip("a file's mode")
    fresh = dataclasses.replace(world.config, home=world.config.home / "new")
    fresh = dataclasses.replace(fresh, database_url=f"sqlite:///{fresh.home / 'skydeck.db'}")
    cloud.open_store(fresh).close()
    assert fresh.home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "postgresql+psycopg:///x?host=/nonexistent&connect_timeout=1"]
)
def test_a_database_that_cannot_be_opened(tmp_path: Any, url: str) -> None:
    with pytest.raises(Unavailable):
        cloud.open_store(Config(home=tmp_path, database_url=url))


def test_checkpoints_leave_the_data(world: World) -> None:
    with world.store.write() as session:
        session.add(Project(id="f" * 32, name="kept"))
    world.store.checkpoint()
    assert "kept" in {project.name for project in world.rows(Project)}


def test_the_engine_lease(world: World) -> None:
    store = world.store
    with store.write() as session:
        first = cloud.take_lease(session, owner="a", lasts=60_000_000)
        assert first is not None
        assert cloud.take_lease(session, owner="b", lasts=60_000_000) is None
        assert cloud.renew_lease(session, first, lasts=60_000_000)
        assert cloud.engine_alive(session)
        second = cloud.take_lease(session, owner="b", lasts=1, force=True)
        assert second is not None
        assert second.term == first.term + 1
        assert not cloud.renew_lease(session, first, lasts=60_000_000)
        cloud.give_up_lease(session, first)  # not its own any more: nothing happens
        time.sleep(0.001)
        third = cloud.take_lease(session, owner="c", lasts=60_000_000)
        assert third is not None, "a lease that ran out is free"
        cloud.give_up_lease(session, third)
        assert not cloud.engine_alive(session)
