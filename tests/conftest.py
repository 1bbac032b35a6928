"""Fixtures that every test may ask for: emulated hosts and the guest that runs on them.

Tests that start hosts are marked e2e and need root. Without root they are deselected, and the summary says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import GuestImage, build
from tests.lab.hosts import REPOSITORY, Lab, LabHost

LABS = REPOSITORY / ".lab"
NOT_ROOT = "e2e tests were left out: they need root (namespaces, mounts, libvirtd)"
_LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    left_out = [item for item in items if item.get_closest_marker("e2e")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        config.stash[_LEFT_OUT] = len(left_out)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    # Nothing but e2e was asked for, and all of it was left out, aloud.
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and _LEFT_OUT in session.config.stash:
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if count := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.section("left out", yellow=True)
        terminalreporter.line(f"{count} {NOT_ROOT}")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """An empty lab of this session's own; `lab.up(names)` makes hosts. Gone afterwards."""
    for leftover in LABS.glob("test-*"):
        # A session that was killed could not clean up behind itself.
        if not Path("/proc", leftover.name.removeprefix("test-")).exists():
            Lab(leftover).down()
    lab = Lab(LABS / f"test-{os.getpid()}")
    yield lab
    lab.down()


@pytest.fixture
def lab_hosts(lab: Lab) -> tuple[LabHost, LabHost]:
    """Two hosts, `a` and `b`, with power and cable whatever the test before did to them."""
    a, b = lab.up(["a", "b"])
    a.heal()
    b.heal()
    return a, b


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    """Kernel, ramdisk and root disk of the tests' guest, built at first use and cached."""
    return build()
