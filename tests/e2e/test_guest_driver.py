"""The guest driver against a real libvirtd: a guest's whole life, its console, its own doings, a libvirtd that dies."""

from __future__ import annotations

import base64
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from hostd.compute.accel import Probe
from hostd.drivers import Happened
from hostd.spec import ErrorCode, EventKind, HostError, PowerState, Want
from tests.e2e.desk import Desk, seated
from tests.hostd.specs import UUID, metadata, nic
from tests.lab.guest import GuestImage
from tests.lab.hosts import REPOSITORY, LabHost

pytestmark = pytest.mark.e2e

BRIDGE = "skb-00000001111"


def is_power(power: PowerState) -> Callable[[Happened], bool]:
    return lambda event: event.kind is EventKind.LIFECYCLE and event.detail["power"] == power


@pytest.fixture
def desk(lab_hosts: tuple[LabHost, LabHost], guest_image: GuestImage) -> Iterator[Desk]:
    host = lab_hosts[0]
    host.run(["ip", "link", "add", BRIDGE, "mtu", "1450", "type", "bridge"])
    try:
        with seated(
            host,
            guest_image,
            config_drive=True,
            metadata=metadata(user_data=base64.b64encode(b"user-data-was-read\n").decode()),
            ephemeral_gb=1,
            swap_mb=64,
            os_type="linux",
            nics=(nic(),),
            stop_timeout=30,
        ) as desk:
            yield desk
    finally:
        host.run(["ip", "link", "delete", BRIDGE])


def test_the_whole_life_of_a_guest(desk: Desk) -> None:
    assert desk.apply() == ["disks", "config_drive", "define", "start"]
    assert desk.power() is PowerState.RUNNING
    desk.until_ready()
    assert "SKYDECK hostname web" in desk.log()
    assert "user-data-was-read" in desk.log()
    desk.type("cat /sys/block/vd?/serial; echo do''ne", answer="done")
    assert all(f"{role}-{UUID[:8]}" in desk.log() for role in ("root", "ephemeral0", "swap"))
    machine = desk.driver.result(desk.spec)[1]["machine"]
    assert machine.startswith("pc-q35-")

    assert desk.apply(want=Want.PAUSED) == ["pause"]
    assert desk.apply() == ["unpause"]
    assert desk.apply(want=Want.SUSPENDED) == ["suspend"]
    assert desk.power() is PowerState.SUSPENDED
    assert desk.apply() == ["resume"]
    desk.type("echo still ali''ve", answer="still alive")

    assert desk.driver.act("reboot_soft", UUID, {}) == {"fell_back": False}
    desk.until_ready(boots=2)
    desk.type("echo reboo''ted", answer="rebooted")

    assert desk.apply(want=Want.STOPPED) == ["stop"]
    assert desk.apply(want=Want.STOPPED, ram_mb=160) == ["define"]
    assert desk.driver.act("reboot_hard", UUID, {}) == {}
    desk.until_ready(boots=3)

    domains, disks, problems = desk.driver.observe(stats=True)
    assert [(domain.uuid, domain.power, domain.owned) for domain in domains] == [(UUID, PowerState.RUNNING, True)]
    assert domains[0].stats is not None
    assert domains[0].stats.cpu_time_ns > 0
    assert {disk.role: disk.size for disk in disks if disk.role in ("root", "ephemeral", "swap")} == {
        "root": 1 << 30,
        "ephemeral": 1 << 30,
        "swap": 64 << 20,
    }
    assert problems == ()

    assert desk.apply(want=Want.ABSENT) == ["cut", "undefine", "erase"]
    assert desk.driver.observe(stats=True) == ((), (), ())
    assert desk.apply(want=Want.ABSENT) == []


def test_what_a_guest_does_itself_is_told_at_once(desk: Desk) -> None:
    desk.apply()
    desk.until_ready()
    before = len(desk.told)
    desk.type("reboot -f")
    desk.until_told(lambda event: event.detail.get("reason") == "rebooted", since=before)
    desk.until_ready(boots=2)
    before = len(desk.told)
    desk.type("poweroff -f")
    desk.until_told(is_power(PowerState.SHUTDOWN), since=before, within=2)


def test_a_deaf_guest_is_rebooted_and_stopped_the_hard_way(desk: Desk) -> None:
    desk.apply()
    desk.until_ready()
    desk.type("kill $(pidof acpid); echo de''af", answer="deaf")
    assert desk.driver.act("reboot_soft", UUID, {"timeout": 1}) == {"fell_back": True}
    desk.until_ready(boots=2)
    desk.type("kill $(pidof acpid); echo dea''fer", answer="deafer")
    assert desk.apply(want=Want.STOPPED, stop_timeout=1) == ["stop"]
    assert desk.power() is PowerState.SHUTDOWN


def test_a_libvirtd_that_dies_takes_no_guest_and_hides_nothing(desk: Desk) -> None:
    desk.apply()
    desk.until_ready()
    desk.host.run(["sh", "-c", "kill -9 $(cat /run/libvirtd.pid)"])
    desk.until_told(lambda event: event.detail.get("what") == "libvirt_down")
    with pytest.raises(HostError) as down:
        desk.driver.seen(UUID)
    assert down.value.code is ErrorCode.LIBVIRT_DOWN
    _, disks, problems = desk.driver.observe(stats=True)
    assert disks
    assert "libvirtd does not answer" in problems[0]
    before = len(desk.told)
    desk.type("poweroff -f")
    desk.host.run(["libvirtd", "-d", "-p", "/run/libvirtd.pid"])
    desk.until_told(lambda event: event.detail.get("what") == "libvirt_up", since=before)
    desk.until_told(is_power(PowerState.SHUTDOWN), since=before)
    assert desk.power() is PowerState.SHUTDOWN


def test_quarantine_keeps_a_guest_from_starting_until_it_is_wanted_again(desk: Desk) -> None:
    desk.apply()
    desk.until_ready()
    desk.driver.quarantine(UUID)
    desk.driver.quarantine(UUID)
    domains, disks, _ = desk.driver.observe(stats=False)
    assert [(domain.power, domain.quarantined) for domain in domains] == [(PowerState.SHUTDOWN, True)]
    assert disks
    with pytest.raises(HostError, match="quarantined"):
        desk.driver.act("reboot_hard", UUID, {})
    assert desk.driver.act("adopt", UUID, {}) == {"power": "shutdown"}
    assert not desk.driver.observe(stats=False)[0][0].quarantined
    desk.driver.quarantine(UUID)
    assert desk.apply() == ["define", "start"]


def test_a_missing_bridge_and_a_lost_root_disk_are_named(desk: Desk) -> None:
    desk.apply(want=Want.STOPPED)
    with pytest.raises(HostError) as no_bridge:
        desk.apply(nics=(nic(2),))
    assert no_bridge.value.code is ErrorCode.NETWORK
    assert "skb-00000002111" in no_bridge.value.error.message
    (disk,) = (disk for disk in desk.driver.observe(stats=False)[1] if disk.role == "root")
    Path(disk.path).unlink()
    with pytest.raises(HostError, match="is gone"):
        desk.apply()


def test_a_foreign_guest_is_seen_and_left_alone(desk: Desk) -> None:
    foreign = UUID.replace("1", "7")
    xml = f"""<domain type="qemu"><name>db</name><uuid>{foreign}</uuid><memory unit="MiB">64</memory>
      <os><type arch="x86_64" machine="q35">hvm</type></os></domain>"""
    desk.host.run(["virsh", "create", "/dev/stdin"], input=xml)
    try:
        domains, _, _ = desk.driver.observe(stats=False)
        assert [(domain.uuid, domain.owned) for domain in domains] == [(foreign, False)]
        for want in (Want.RUNNING, Want.ABSENT):
            with pytest.raises(HostError, match="not made by skydeck"):
                desk.driver.plan(attrs.evolve(desk.spec, uuid=foreign, want=want), desk.driver.seen(foreign))
        with pytest.raises(HostError, match="not made by skydeck"):
            desk.driver.quarantine(foreign)
    finally:
        assert desk.driver.act("power_off_found", foreign, {}) == {"was": "running"}
    assert desk.driver.observe(stats=False)[0] == ()


def test_the_probe_gives_an_answer_in_time(guest_image: GuestImage) -> None:
    began = time.monotonic()
    accel = Probe(kernels=(guest_image.kernel,)).run()
    assert time.monotonic() - began < 20
    assert accel.mode in ("kvm", "tcg")
    assert accel.reason.startswith(accel.mode)


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    # In a mount namespace of its own, so that no mount can be left behind.
    script = textwrap.dedent(
        f"""
        import subprocess
        from pathlib import Path
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k,nr_inodes=64", "tmpfs", "{tmp_path}"], check=True)
        from hostd.spec import HostError
        from hostd.storage import disks
        from tests.hostd.specs import instance
        for spec in (instance(), instance(root_gb=0, ephemeral_gb=1, os_type="linux")):
            try:
                disks.make(Path("{tmp_path}"), spec, None, progress=print)
            except HostError as full:
                print(full.code, full)
            assert list(Path("{tmp_path}").iterdir()) == []
        """
    )
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        assert line.startswith("disk_full disk full: "), done.stdout
        assert line.endswith(" needed")
    assert len(done.stdout.splitlines()) == 2
