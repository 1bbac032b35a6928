"""The guest driver against a real libvirtd: a guest's whole life, its console, its own doings, a libvirtd that dies."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.cache import ImageCache
from hostd.compute.accel import Probe
from hostd.compute.driver import GuestDriver
from hostd.crash import NEVER
from hostd.drivers import Happened
from hostd.spec import (
    Accel,
    DiskFormat,
    ErrorCode,
    EventKind,
    HostError,
    ImageRef,
    InstanceSpec,
    PowerState,
    Want,
)
from tests.hostd.specs import UUID, instance, metadata, nic
from tests.lab.guest import GuestImage
from tests.lab.hosts import REPOSITORY, LabHost

pytestmark = pytest.mark.e2e

BRIDGE = "skb-00000001111"
PATIENCE = 60.0


@attrs.define
class Desk:
    """A driver, its host and everything it told, with the daemon's part played by hand."""

    driver: GuestDriver
    host: LabHost
    cache: ImageCache
    spec: InstanceSpec
    told: list[Happened]
    news: threading.Condition

    def progress(self, percent: int) -> None: ...

    def apply(self, **changes: Any) -> list[str]:
        """Converge, see that nothing is left to do, and answer the steps."""
        spec = attrs.evolve(self.spec, **changes)
        steps = self.driver.plan(spec, self.driver.seen(spec.uuid))
        for step in steps:
            self.driver.execute(step, spec, self)
        assert self.driver.plan(spec, self.driver.seen(spec.uuid)) == ()
        return [step.name for step in steps]

    def power(self) -> PowerState | None:
        return self.driver.result(self.spec)[0]

    def until_told(self, test: Callable[[Happened], bool], *, since: int = 0, within: float = PATIENCE) -> None:
        with self.news:
            assert self.news.wait_for(lambda: any(map(test, self.told[since:])), timeout=within), self.told[since:]

    def log(self) -> str:
        text: str = self.driver.act("console_log", self.spec.uuid, {})["text"]
        return text

    def until_ready(self, *, boots: int = 1) -> None:
        """Wait for the prompt of the n-th boot. The log is a file that virtlogd writes: one can only look again."""
        end = time.monotonic() + PATIENCE
        while len(parts := self.log().split("SKYDECK ready")) <= boots or "# " not in parts[-1]:
            assert time.monotonic() < end, self.log()
            time.sleep(0.1)

    def type(self, line: str, *, answer: str = "") -> None:
        """Type into the console, and read until the answer came, or at least the echo.

        QEMU drops what a client sent just before it went.
        """
        with socket.socket(socket.AF_UNIX) as console:
            console.settimeout(PATIENCE)
            console.connect(str(self.driver.console(self.spec.uuid).socket))
            console.sendall(line.encode() + b"\n")
            read = b""
            while (answer or line).encode() not in read:
                part = console.recv(4096)
                assert part, read
                read += part


def is_power(power: PowerState) -> Callable[[Happened], bool]:
    return lambda event: event.kind is EventKind.LIFECYCLE and event.detail["power"] == power


@pytest.fixture
def desk(lab_hosts: tuple[LabHost, LabHost], guest_image: GuestImage) -> Iterator[Desk]:
    host = lab_hosts[0]
    # A place that the host sees under the same name, and short: a UNIX socket's path holds 107 characters.
    with tempfile.TemporaryDirectory(prefix="g", dir=host.lab.directory.parent) as directory:
        state, run = Path(directory, "state"), Path(directory, "run")
        state.mkdir()
        cache = ImageCache(state / "images", clock=time.time, crash=NEVER)
        told: list[Happened] = []
        news = threading.Condition()

        def tell(event: Happened) -> None:
            with news:
                told.append(event)
                news.notify_all()

        driver = GuestDriver(state=state, run=run, uri=host.libvirt_uri)
        driver.start(tell)
        driver.use(Accel(mode="tcg", reason="tcg (kvm present, probe failed)"))
        spec = instance(
            image=_carried(state, guest_image, "disk", DiskFormat.QCOW2, virtual_size=32 << 20),
            kernel=_carried(state, guest_image, "kernel", DiskFormat.AKI),
            ramdisk=_carried(state, guest_image, "ramdisk", DiskFormat.ARI),
            cmdline=guest_image.cmdline,
            config_drive=True,
            metadata=metadata(user_data=base64.b64encode(b"user-data-was-read\n").decode()),
            ephemeral_gb=1,
            swap_mb=64,
            os_type="linux",
            nics=(nic(),),
            stop_timeout=30,
        )
        host.run(["ip", "link", "add", BRIDGE, "mtu", "1450", "type", "bridge"])
        desk = Desk(driver=driver, host=host, cache=cache, spec=spec, told=told, news=news)
        try:
            yield desk
        finally:
            desk.apply(want=Want.ABSENT)
            driver.stop()
            host.run(["ip", "link", "delete", BRIDGE])


def _carried(state: Path, guest: GuestImage, part: str, kind: DiskFormat, *, virtual_size: int = 0) -> ImageRef:
    source: Path = getattr(guest, part)
    digest = guest.sha256(part)
    shutil.copyfile(source, state / "images" / digest)
    size = source.stat().st_size
    return ImageRef(digest=digest, format=kind, size=size, virtual_size=virtual_size or size)


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
