"""Politeness has a time limit, and what happens by itself meanwhile is no error."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from hostd.compute import power
from hostd.compute.domain import Domain
from hostd.spec import ErrorCode, HostError, PowerState
from tests.hostd.specs import UUID


@attrs.define
class Guest:
    """Stands in for libvirt with one guest. `obeys` is how many presses of the button it takes."""

    on: bool = True
    saved: bool = False
    obeys: int = 1
    calls: list[str] = attrs.field(factory=list)
    resets: int = 0

    def look(self, uuid: str) -> Domain:
        state = PowerState.RUNNING if self.on else PowerState.SHUTDOWN
        return Domain(uuid=uuid, name="", power=state, active=self.on, persistent=True, saved=self.saved, metadata={})

    def shutdown(self, uuid: str) -> None:
        if self._pressed("shutdown"):
            self.on = False

    def reboot(self, uuid: str) -> None:
        if self._pressed("reboot"):
            self.resets += 1

    def _pressed(self, what: str) -> bool:
        if not self.on:
            raise HostError(ErrorCode.BAD_STATE, "domain is not running")
        self.calls.append(what)
        return self.calls.count(what) >= self.obeys

    def reboots(self, uuid: str) -> int:
        return self.resets

    def destroy(self, uuid: str) -> None:
        self.calls.append("destroy")
        if not self.on:
            raise HostError(ErrorCode.BAD_STATE, "domain is not running")
        self.on = False

    def drop_save(self, uuid: str) -> None:
        self.calls.append("drop_save")
        self.saved = False

    def create(self, uuid: str) -> None:
        self.calls.append("create")
        self.on = True

    def wait(self, test: Callable[[], bool], *, timeout: float) -> bool:
        return test()


@pytest.mark.parametrize(
    ("guest", "patience", "calls"),
    [
        (Guest(), 60, ["shutdown"]),
        (Guest(obeys=3), 60, ["shutdown"] * 3),
        (Guest(), 0, ["destroy"]),
        (Guest(on=False), 60, []),
        (Guest(on=False, saved=True), 0, []),
    ],
)
def test_off(guest: Guest, patience: float, calls: list[str]) -> None:
    power.off(guest, UUID, patience=patience)  # type: ignore[arg-type]
    assert (guest.calls, guest.on) == (calls, False)


def test_a_deaf_guest_is_cut_when_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 7))
    monkeypatch.setattr(power.time, "monotonic", lambda: float(next(now)))
    guest = Guest(obeys=99)
    power.off(guest, UUID, patience=20)  # type: ignore[arg-type]
    assert guest.calls == ["shutdown", "shutdown", "destroy"]


def test_soft_reboot_needs_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert power.reboot_soft(Guest(), UUID, patience=60)  # type: ignore[arg-type]
    deaf = Guest(obeys=99)
    now = iter(range(0, 1000, 7))
    monkeypatch.setattr(power.time, "monotonic", lambda: float(next(now)))
    assert not power.reboot_soft(deaf, UUID, patience=10)  # type: ignore[arg-type]
    assert deaf.calls == ["reboot"]


def test_hard_reboot_drops_saved_memory_and_starts_a_guest_that_is_off() -> None:
    guest = Guest(on=False, saved=True)
    power.reboot_hard(guest, UUID)  # type: ignore[arg-type]
    assert guest.calls == ["drop_save", "create"]


def test_a_guest_that_goes_off_under_our_hand_is_off() -> None:
    class Racing(Guest):
        def look(self, uuid: str) -> Domain:
            seen = super().look(uuid)
            self.on = False
            return seen

    guest = Racing()
    power.cut(guest, UUID)  # type: ignore[arg-type]
    assert guest.calls == ["destroy"]
