"""The wrapper against libvirt's own test hypervisor: real calls, real events, no guests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostd.compute.domain_xml import NAMESPACE, PREFIX
from hostd.compute.libvirt_driver.guests import Libvirt
from hostd.spec import ErrorCode, HostError, PowerState
from tests.hostd.specs import UUID

XML = f"""<domain type="test"><name>{PREFIX}{UUID}</name><uuid>{UUID}</uuid>
<metadata><s:instance xmlns:s="{NAMESPACE}" uuid="{UUID}" machine="m" digest="d"><s:name>web</s:name></s:instance>
</metadata>
<memory unit="MiB">64</memory><os><type>hvm</type></os></domain>"""

FOREIGN = """<domain type="test"><name>db</name><memory unit="MiB">64</memory><os><type>hvm</type></os></domain>"""


class Told:
    """Collects what the wrapper tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.powers: list[tuple[str, PowerState, str]] = []
        self.links: list[tuple[bool, str]] = []
        self._news = threading.Condition()

    def power(self, uuid: str, power: PowerState, reason: str) -> None:
        with self._news:
            self.powers.append((uuid, power, reason))
            self._news.notify_all()

    def link(self, up: bool, detail: str) -> None:
        with self._news:
            self.links.append((up, detail))
            self._news.notify_all()

    def until(self, power: PowerState, reason: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: (UUID, power, reason) in self.powers, timeout=10), self.powers


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def libvirt(told: Told, tmp_path: Path) -> Iterator[Libvirt]:
    node = tmp_path / "node.xml"
    # From a file of its own, a test hypervisor is private to its connection.
    node.write_text(f"<node>{FOREIGN}</node>")
    wrapper = Libvirt(f"test://{node}", on_power=told.power, on_link=told.link)
    wrapper.start()
    yield wrapper
    wrapper.stop()


def test_a_guest_lives_and_every_change_is_told(libvirt: Libvirt, told: Told) -> None:
    assert libvirt.look(UUID) is None
    libvirt.define(XML)
    defined = libvirt.look(UUID)
    assert defined is not None
    assert (defined.power, defined.active, defined.owned) == (PowerState.SHUTDOWN, False, True)
    assert defined.metadata == {"uuid": UUID, "machine": "m", "digest": "d"}
    libvirt.create(UUID)
    told.until(PowerState.RUNNING, "booted")
    libvirt.pause(UUID)
    told.until(PowerState.PAUSED, "paused")
    libvirt.unpause(UUID)
    told.until(PowerState.RUNNING, "unpaused")
    libvirt.save(UUID)
    told.until(PowerState.SUSPENDED, "saved")
    saved = libvirt.look(UUID)
    assert saved is not None
    assert (saved.power, saved.active, saved.saved) == (PowerState.SUSPENDED, False, True)
    libvirt.create(UUID)
    restored = libvirt.look(UUID)
    assert restored is not None
    assert (restored.power, restored.saved) == (PowerState.RUNNING, False)
    libvirt.destroy(UUID)
    told.until(PowerState.SHUTDOWN, "destroyed")


def test_a_wait_ends_with_the_event(libvirt: Libvirt) -> None:
    libvirt.define(XML)
    libvirt.create(UUID)
    threading.Timer(0.05, libvirt.destroy, args=(UUID,)).start()

    def is_off() -> bool:
        domain = libvirt.look(UUID)
        return domain is not None and not domain.active

    assert libvirt.wait(is_off, timeout=10)
    assert not libvirt.wait(lambda: False, timeout=0.01)


def test_errors_say_what_happened(libvirt: Libvirt) -> None:
    with pytest.raises(HostError) as missing:
        libvirt.create(UUID)
    assert missing.value.code is ErrorCode.NOT_FOUND
    libvirt.define(XML)
    with pytest.raises(HostError) as off:
        libvirt.destroy(UUID)
    assert off.value.code is ErrorCode.BAD_STATE
    with pytest.raises(HostError) as nonsense:
        libvirt.define("<domain/>")
    assert nonsense.value.code is ErrorCode.LIBVIRT
    assert nonsense.value.error.message


def test_foreign_domains_are_listed_as_such(libvirt: Libvirt) -> None:
    libvirt.define(XML)
    domains, trouble = libvirt.all(stats=True)
    assert {domain.name: domain.owned for domain in domains} == {"db": False, PREFIX + UUID: True}
    assert all(domain.metadata == {} for domain in domains if not domain.owned)
    assert trouble == []


def test_a_libvirtd_that_is_down_is_told_once_and_named(told: Told, tmp_path: Path) -> None:
    wrapper = Libvirt(f"qemu+unix:///system?socket={tmp_path}/none", on_power=told.power, on_link=told.link)
    wrapper.start()
    with pytest.raises(HostError) as down:
        wrapper.look(UUID)
    wrapper.stop()
    assert down.value.code is ErrorCode.LIBVIRT_DOWN
    assert "none" in down.value.error.message
    assert [up for up, _ in told.links] == [False]


def test_versions_are_dotted(libvirt: Libvirt) -> None:
    assert set(libvirt.versions()) == {"libvirt", "qemu"}
    assert all(part.isdigit() for part in libvirt.versions()["libvirt"].split("."))
