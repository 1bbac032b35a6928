"""One cloud for all end-to-end tests: two hosts of the lab, enrolled by the real `host add` once a session.

Every test gets it without instances, with both hosts up, and must leave it so that `verify` finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cloud import NANO, Cloud
from tests.lab.guest import GuestImage
from tests.lab.hosts import Lab

EAST, WEST = "east", "west"

SETTINGS = {"shutdown_timeout": 20, "serve_idle": 3600}


@pytest.fixture(scope="session")
def spine(lab: Lab, guest_image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The session's cloud. Tests ask for `cloud`, which puts it in order before and after each."""
    machines = lab.up([EAST, WEST])
    spine = Cloud(tmp_path_factory.mktemp("spine"))
    spine.configure(**SETTINGS)
    try:
        spine.enrol(lab, machines)
        spine.add_guest(guest_image)
        spine.add_flavor(NANO, ram_mb=128)
        spine.allow_ping()
        yield spine
    finally:
        spine.close()


@pytest.fixture
def cloud(spine: Cloud) -> Iterator[Cloud]:
    """The cloud, empty and whole; checked and emptied again afterwards."""
    restore(spine)
    yield spine
    restore(spine)
    spine.clear()
    assert spine.verify() == []
    assert spine.findings() == []


def restore(cloud: Cloud) -> None:
    """Both hosts have power and cable, and an engine runs."""
    for host in cloud.hosts.values():
        if not host.powered:
            host.start()
        host.heal()
    cloud.start_engine()
    for name in cloud.hosts:
        cloud.until_up(name)
