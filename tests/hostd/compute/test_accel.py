"""KVM is believed only when a kernel was seen to boot; the emulators here are real processes that play the parts."""

from __future__ import annotations

import grp
import os
import time
from pathlib import Path

import pytest

from hostd.compute.accel import Probe, newest_kernel, open_to_qemu
from hostd.spec import Accel


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.touch()
    return path


def emulator(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo '[    0.000000] Linux version 6.1.0'; exit 0", "kvm: probe booted in 0.8 s"),
        ("echo '[    0.000000] Linux version 6.1.0'; exit 1", "tcg (kvm present, probe failed)"),
        ("echo 'Could not access KVM kernel module' >&2; exit 1", "tcg (kvm present, probe failed)"),
        ("echo SeaBIOS; exit 0", "tcg (kvm present, probe failed)"),
    ],
)
def test_the_probe_decides(device: Path, kernel: Path, script: str, reason: str) -> None:
    clock = iter((5.0, 5.84))
    probe = Probe(device=device, kernels=(kernel,), emulator=emulator(script), clock=lambda: next(clock))
    assert probe.run() == Accel(mode=reason[:3], reason=reason)


def test_a_guest_that_hangs_is_killed_and_nothing_of_it_stays(device: Path, kernel: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; echo 'Linux version'; exec sleep 60"
    began = time.monotonic()
    accel = Probe(device=device, kernels=(kernel,), emulator=emulator(script), timeout=0.3).run()
    assert accel.reason == "tcg (kvm present, probe failed)"
    assert time.monotonic() - began < 10
    assert not Path("/proc", pid.read_text().strip()).exists()


def test_without_the_means_nothing_is_run(device: Path, kernel: Path, tmp_path: Path) -> None:
    never = emulator("exit 99")
    nothing = Probe(device=tmp_path / "none", kernels=(kernel,), emulator=never)
    assert nothing.run().reason == f"tcg (no {tmp_path}/none)"
    bare = Probe(device=device, kernels=(tmp_path / "boot",), emulator=never)
    assert bare.run().reason == "tcg (kvm present, no kernel to probe with)"


def test_the_newest_kernel_is_newest_by_number(tmp_path: Path) -> None:
    for version in ("6.1.0-9", "6.1.0-10", "5.10.0-30"):
        (tmp_path / f"vmlinuz-{version}").touch()
    assert newest_kernel((tmp_path / "probe" / "vmlinuz", tmp_path)) == tmp_path / "vmlinuz-6.1.0-10"
    given = tmp_path / "given"
    given.touch()
    assert newest_kernel((given, tmp_path)) == given
    assert newest_kernel((tmp_path / "none",)) is None


def test_a_device_only_root_may_open_is_given_to_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "kvm"
    device.touch(mode=0o600)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("hostd.compute.accel.os.chown", lambda path, user, group: given.append((user, group)))
    group = grp.getgrgid(os.getgid()).gr_name
    if device.stat().st_gid == 0:  # as under root, whom udev would have corrected
        assert open_to_qemu(device, group=group)
        assert given
        assert device.stat().st_mode & 0o777 == 0o660
    assert not open_to_qemu(device, group=group)  # its group may open it, or it belongs to another
    assert not open_to_qemu(tmp_path / "none", group=group)
    assert not open_to_qemu(device, group="no-such-group")
