"""Whoever dies is started again, ever later when it dies at once, and nobody who may end."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from hostd.network.services import keeper
from hostd.network.services.keeper import Keeper
from hostd.spec import ErrorCode, HostError

PATIENCE = 10.0


class Sleepers:
    """Processes that do nothing until they are killed, and what was asked about them."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.revived: list[str] = []
        self.answer: Callable[[], int | None] = lambda: self.one().pid
        self.changed = threading.Condition()
        self.keeper = Keeper(self._revive)
        self.keeper.start()

    def one(self) -> subprocess.Popen[bytes]:
        self.processes.append(subprocess.Popen(["sleep", "600"]))
        return self.processes[-1]

    def _revive(self, name: str) -> int | None:
        with self.changed:
            self.revived.append(name)
            self.changed.notify_all()
            return self.answer()

    def wait(self, times: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.revived) >= times, PATIENCE)

    def end(self) -> None:
        self.keeper.stop()
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    sleepers = Sleepers()
    yield sleepers
    sleepers.end()


def test_the_dead_are_revived_and_kept_again(sleepers: Sleepers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_delay", lambda deaths: 0.0)
    sleepers.keeper.watch("a", sleepers.one().pid)
    for times in (1, 2):
        sleepers.processes[-1].kill()
        sleepers.wait(times)
    assert sleepers.revived == ["a", "a"]


def test_one_that_was_dead_before_it_was_watched(sleepers: Sleepers) -> None:
    gone = sleepers.one()
    gone.kill()
    gone.wait()
    sleepers.keeper.watch("a", gone.pid)
    sleepers.wait(1)


def test_who_is_forgotten_may_end(sleepers: Sleepers) -> None:
    first, second = sleepers.one(), sleepers.one()
    sleepers.keeper.watch("a", first.pid)
    sleepers.keeper.watch("b", second.pid)
    sleepers.keeper.forget("a")
    sleepers.keeper.forget("a")
    first.kill()
    first.wait()
    second.kill()
    sleepers.wait(1)
    assert sleepers.revived == ["b"]


def test_who_cannot_be_revived_is_tried_again(sleepers: Sleepers, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []

    def no_delay(deaths: int) -> float:
        waits.append(deaths)
        return 0.0

    def refuse() -> int | None:
        if len(sleepers.revived) < 3:
            raise HostError(ErrorCode.NETWORK, "no")
        return None

    monkeypatch.setattr(keeper, "_delay", no_delay)
    sleepers.answer = refuse
    sleepers.keeper.watch("a", sleepers.one().pid)
    sleepers.processes[-1].kill()
    sleepers.wait(3)
    assert waits == [1, 2, 3]


def test_the_wait_grows_and_has_an_end() -> None:
    assert [keeper._delay(deaths) for deaths in (1, 2, 3, 4, 9)] == [0.0, 1.0, 2.0, 4.0, keeper.LONGEST]


def test_stopping_what_never_started() -> None:
    Keeper(lambda name: None).stop()
