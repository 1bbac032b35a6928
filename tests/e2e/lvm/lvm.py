"""The contract of backends, held by LVM's thin volumes. Run by test_backends: this machine's kernel has no device
mapper. The machine's second disk is the volume group."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostd.spec import BackendSpec
from hostd.storage.volumes.backends import lvm
from hostd.storage.volumes.backends.tools import ToolFailed
from hostd.storage.volumes.registry import make as make_backend
from hostd.storage.volumes.volumes import Nobody
from tests.contract.backends.stores import BACKEND, Make
from tests.contract.backends.test_backends import *  # noqa: F403 - the suite itself
from tests.hostd.storage.volumes.backends.lvm_life import GROUP, POOL, live

CONF = """\
activation { udev_sync = 0 udev_rules = 0 verify_udev_operations = 1 }
backup { backup = 0 archive = 0 }
"""
"""Of a machine without udev: LVM makes its device files itself."""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    Path("/etc/lvm").mkdir(exist_ok=True)
    Path("/etc/lvm/lvm.conf").write_text(CONF)
    for command in (
        f"vgcreate {GROUP} /dev/vdb",
        f"lvcreate --type thin-pool --size 400M --poolmetadatasize 8M --name {POOL} {GROUP}",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
    spec = BackendSpec(uuid=BACKEND, driver="lvm", options={"vg": GROUP, "pool": POOL})
    try:
        yield lambda: make_backend(spec, state=tmp_path, run=tmp_path, live=Nobody())
    finally:
        subprocess.run(["vgremove", "--force", "--force", "--yes", GROUP], check=True, capture_output=True)


def test_a_life_for_the_record(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says each command and its answer on the console: tests/hostd/storage/volumes/backends/lvm.jsonl is made of it."""
    ask = lvm.ask

    def recorded(*argv: str, timeout: float, unanswered: str, hint: str = "") -> str:
        status, said, failed = 0, "", None
        try:
            said = ask(*argv, timeout=timeout, unanswered=unanswered, hint=hint)
        except ToolFailed as bad:
            status, said, failed = bad.status, bad.said, bad
        print("\nRECORD", json.dumps([argv, status, said]))
        if failed:
            raise failed
        return said

    def write(device: str, offset: int) -> None:
        with open(device, "r+b") as disk:
            disk.seek(offset)
            disk.write(b"x" * (1 << 20))

    monkeypatch.setattr(lvm, "ask", recorded)
    backend = make()
    assert isinstance(backend, lvm.LvmBackend)
    live(backend, write)
