"""Claims, leases and epochs: what makes two engines harmless."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from core.errors import Conflict, Forbidden, NotFound, Superseded
from core.operations import operations
from core.operations.operations import LEASE, Operation, State
from core.store import Clock
from tests.core.world import World, as_role


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time(world: World) -> Time:
    time = Time()
    world.store.clock = Clock(now=time)
    return time


def enqueue(world: World, *objects: str, lane: str = "") -> list[Operation]:
    with world.store.write() as session:
        return [
            operations.enqueue(
                session, world.admin, "instance.stop",
                object_kind="instance", object_id=name, object_name=name, project_id=world.admin.project_id, lane=lane,
            )
            for name in objects
        ]  # fmt: skip


def claim(world: World, owner: str = "a", full: frozenset[str] = frozenset()) -> Operation | None:
    with world.store.write() as session:
        return operations.claim(session, owner=owner, lanes_full=full)


def claimed(world: World, owner: str = "a") -> Operation:
    operation = claim(world, owner)
    assert operation is not None
    return operation


def test_the_oldest_is_claimed_first_and_one_at_a_time_per_object(world: World, time: Time) -> None:
    first, second, other = enqueue(world, "x", "x", "y")
    assert claimed(world).id == first.id
    assert claimed(world).id == other.id
    assert claim(world) is None, "the second on x waits for the first"
    with world.store.write() as session:
        running = session.get(Operation, first.seq)
        assert running is not None
        operations.finish(session, running, State.SUCCEEDED)
    assert claimed(world).id == second.id


@pytest.mark.parametrize("state", [State.READY, State.BLOCKED, State.RUNNING])
def test_whatever_is_open_holds_the_next_back(world: World, time: Time, state: State) -> None:
    first, _ = enqueue(world, "x", "x")
    with world.store.write() as session:
        row = session.get(Operation, first.seq)
        assert row is not None
        row.state, row.not_before, row.lease_until = state, time.at * 2e6, time.at * 2e6  # type: ignore[assignment]
        row.not_before, row.lease_until = int(row.not_before), int(row.lease_until)
    assert claim(world) is None


def test_the_database_refuses_two_running_on_one_object(world: World) -> None:
    first, second = enqueue(world, "x", "x")
    with world.store.write() as session:
        session.get(Operation, first.seq).state = State.RUNNING  # type: ignore[union-attr]
    with pytest.raises(IntegrityError), world.store.write() as session:
        session.get(Operation, second.seq).state = State.RUNNING  # type: ignore[union-attr]


def test_a_full_lane_delays_no_other(world: World, time: Time) -> None:
    enqueue(world, "x", lane="h1")
    (other,) = enqueue(world, "y", lane="h2")
    operation = claim(world, full=frozenset({"h1"}))
    assert operation is not None
    assert operation.id == other.id
    assert claim(world, full=frozenset({"h1", "h2"})) is None


def test_backoff(world: World, time: Time) -> None:
    enqueue(world, "x")
    operation = claimed(world)
    with world.store.write() as session:
        operations.put_back(session, operation, delay=5_000_000, error={"title": "no"})
    assert claim(world) is None
    time.at += 4.9
    assert claim(world) is None
    time.at += 0.2
    assert claimed(world).error == {"title": "no"}


def test_a_lease_that_ran_out_is_taken_over(world: World, time: Time) -> None:
    enqueue(world, "x")
    first = claimed(world, "a")
    time.at += LEASE / 1e6 - 1
    assert claim(world, "b") is None
    with world.store.write() as session:
        operations.renew(session, first)
    time.at += LEASE / 1e6 - 1
    assert claim(world, "b") is None
    time.at += 2
    second = claimed(world, "b")
    assert (second.id, second.epoch) == (first.id, first.epoch + 1)


def test_a_stale_worker_changes_nothing(world: World, time: Time) -> None:
    enqueue(world, "x")
    stale = claimed(world, "a")
    time.at += LEASE / 1e6 + 1
    fresh = claimed(world, "b")

    def writes(session: Session, operation: Operation) -> None:
        operations.write(session, operation, step="mine")

    for act in (
        writes,
        operations.renew,
        lambda session, operation: operations.finish(session, operation, State.SUCCEEDED),
        lambda session, operation: operations.put_back(session, operation, delay=0, error=None),
    ):
        with pytest.raises(Superseded), world.store.write() as session:
            act(session, stale)
    row = world.operation(fresh.id)
    assert (row.owner, row.step, row.state) == ("b", "", "running")
    with world.store.write() as session:
        operations.finish(session, fresh, State.SUCCEEDED)
    assert (world.operation(fresh.id).state, world.operation(fresh.id).progress) == ("succeeded", 100)
    with pytest.raises(Superseded), world.store.write() as session:
        writes(session, fresh)


def test_even_the_same_owner_is_stale_with_an_old_epoch(world: World, time: Time) -> None:
    enqueue(world, "x")
    stale = claimed(world, "a")
    time.at += LEASE / 1e6 + 1
    claimed(world, "a")
    with pytest.raises(Superseded), world.store.write() as session:
        operations.write(session, stale, step="mine")


def test_a_transaction_of_a_stale_worker_is_undone_as_a_whole(world: World, time: Time) -> None:
    enqueue(world, "x")
    stale = claimed(world, "a")
    time.at += LEASE / 1e6 + 1
    claimed(world, "b")

    def act(session: Session) -> None:
        operations.enqueue(
            session, world.admin, "instance.stop",
            object_kind="instance", object_id="z", object_name="z", project_id=world.admin.project_id,
        )  # fmt: skip
        operations.finish(session, stale, State.SUCCEEDED)

    with pytest.raises(Superseded), world.store.write() as session:
        act(session)
    assert [operation.object_id for operation in world.operations()] == ["x"]


def test_a_lone_new_engine_takes_everything_over(world: World, time: Time) -> None:
    enqueue(world, "x", "y")
    claimed(world, "a")
    claimed(world, "b")
    with world.store.write() as session:
        assert operations.orphan(session, "b") == 1
    assert claimed(world, "b").object_id == "x"


def test_a_host_that_is_back_revives_what_waited_for_it(world: World, time: Time) -> None:
    enqueue(world, "x", "y", lane="h1")
    (elsewhere,) = enqueue(world, "z", lane="h2")
    with world.store.write() as session:
        for operation in world.operations():
            row = session.get(Operation, operation.seq)
            assert row is not None
            row.state, row.attempt = State.BLOCKED, 8
        row.state, row.not_before = State.BLOCKED, 0
    with world.store.write() as session:
        operations.revive(session, "h1")
    states = {operation.object_id: (operation.state, operation.attempt) for operation in world.operations()}
    assert states == {"x": ("ready", 0), "y": ("ready", 0), "z": ("blocked", 8)}
    assert world.operation(elsewhere.id).state == "blocked"


def test_cancel_and_retry_by_state(world: World, time: Time) -> None:
    allowed = {
        # state: (cancel, retry)
        State.READY: (True, True),
        State.RUNNING: (True, False),
        State.BLOCKED: (True, True),
        State.SUCCEEDED: (False, False),
        State.FAILED: (False, False),
        State.CANCELLED: (False, False),
    }
    for state, verdicts in allowed.items():
        for verb, may in zip((operations.cancel, operations.retry), verdicts, strict=True):
            (operation,) = enqueue(world, f"{state}-{verb.__name__}")
            with world.store.write() as session:
                session.get(Operation, operation.seq).state = state  # type: ignore[union-attr]
            if may:
                with world.store.write() as session:
                    verb(session, world.admin, operation.id)
                wanted = state if state is State.RUNNING else State.READY
                assert world.operation(operation.id).state == wanted
                assert world.operation(operation.id).cancel == (verb is operations.cancel)
            else:
                with pytest.raises(Conflict), world.store.write() as session:
                    verb(session, world.admin, operation.id)


def test_finding_one_by_its_beginning(world: World) -> None:
    (operation,) = enqueue(world, "x")
    with world.store.write() as session:
        assert operations.find(session, world.admin, operation.id[:8]).seq == operation.seq
        for missing in ("zz", "%", ""):
            if missing == "" and len(world.operations()) == 1:
                continue
            with pytest.raises(NotFound):
                operations.find(session, world.admin, missing)
        with pytest.raises(Forbidden):
            operations.cancel(session, as_role(world.admin, "reader"), operation.id)
