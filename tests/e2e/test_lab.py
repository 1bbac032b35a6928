"""The lab keeps its promises: hosts are separate machines, power and cables can be cut, nothing is left behind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab import cgroups
from tests.lab.guest import GuestImage
from tests.lab.hosts import Lab, LabHost

pytestmark = pytest.mark.e2e

DOMAIN = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>128</memory>
<os><type arch='x86_64' machine='q35'>hvm</type>
<kernel>{kernel}</kernel><initrd>{ramdisk}</initrd><cmdline>{cmdline}</cmdline></os>
<features><acpi/></features><cpu mode='custom' match='exact'><model>qemu64</model></cpu>
<devices><serial type='file'><source path='/var/log/libvirt/{name}.log'/></serial></devices></domain>
"""


def test_hosts_are_machines_of_their_own(lab_hosts: tuple[LabHost, LabHost]) -> None:
    a, b = lab_hosts
    assert a.run(["hostname"]).stdout == "a\n"
    assert a.run(["cat", "/etc/machine-id"]).stdout != b.run(["cat", "/etc/machine-id"]).stdout
    a.run(["touch", "/var/lib/skydeck/only-here"])
    assert b.run(["ls", "/var/lib/skydeck"]).stdout == ""
    assert not Path("/var/lib/skydeck/only-here").exists()
    assert a.run(["ping", "-c", "1", "-W", "2", "b"]).returncode == 0


def test_ssh_reaches_a_host_with_its_own_key(lab_hosts: tuple[LabHost, LabHost]) -> None:
    done = subprocess.run(lab_hosts[0].ssh("hostname"), capture_output=True, text=True, check=True)
    assert done.stdout == "a\n"


def test_a_power_failure_takes_guests_along_and_keeps_the_disk(
    lab_hosts: tuple[LabHost, LabHost], guest_image: GuestImage
) -> None:
    a, b = lab_hosts
    for host in (a, b):
        for file in (guest_image.kernel, guest_image.ramdisk):
            shutil.copy(file, host.root / "var/lib/libvirt")
    xml = DOMAIN.format(
        name="g",
        kernel=f"/var/lib/libvirt/{guest_image.kernel.name}",
        ramdisk=f"/var/lib/libvirt/{guest_image.ramdisk.name}",
        cmdline=guest_image.cmdline,
    )
    for host in (a, b):  # the same name on both at once
        host.run(["virsh", "define", "/dev/stdin"], input=xml)
        host.run(["virsh", "start", "g"])
    assert subprocess.run(
        ["virsh", "-c", a.libvirt_uri, "domstate", "g"], capture_output=True, text=True, check=True
    ).stdout.startswith("running")
    a.kill_power()
    assert not a.powered
    assert b.run(["virsh", "domstate", "g"]).stdout.startswith("running")
    a.start()
    assert a.run(["virsh", "domstate", "g"]).stdout.startswith("shut off")
    for host in (a, b):
        host.run(["virsh", "destroy", "g"], check=False)
        host.run(["virsh", "undefine", "g"])


def test_cable_and_full_disk(lab_hosts: tuple[LabHost, LabHost]) -> None:
    a, _ = lab_hosts
    ping = ["ping", "-c", "3", "-i", "0.3", "-W", "1", a.address]
    a.cut()
    assert subprocess.run(ping, capture_output=True, check=False).returncode != 0
    a.heal()
    assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
    a.tmpfs("/var/lib/skydeck/small", "1m")
    done = a.run(["dd", "if=/dev/zero", "of=/var/lib/skydeck/small/x", "bs=1M", "count=2"], check=False)
    assert "No space left" in done.stderr


def test_another_process_can_clear_a_lab_away(tmp_path: Path) -> None:
    Lab(tmp_path / "lab").up(["x"])
    taken_over = Lab(tmp_path / "lab")
    host = taken_over["x"]
    pid = host.pid
    taken_over.down()
    assert not (tmp_path / "lab").exists()
    assert not Path("/sys/class/net", taken_over.bridge).exists()
    assert not Path("/sys/class/net", host.link).exists()
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert not list(cgroups.ROOT.rglob(host.cgroup))
