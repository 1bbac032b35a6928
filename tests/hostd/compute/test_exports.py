"""What leads to a copy of a disk, and what it must have room for. Of real guests: tests/e2e/test_guest_disks."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hostd.compute import exports
from hostd.compute.driver import GuestDriver
from hostd.compute.exports import DISK, PART, ExportDriver
from hostd.drivers import DiskSource, Step
from hostd.spec import ErrorCode, ExportSpec, HostError, Want
from tests.hostd.specs import UUID

COPY = "ffffffff-1111-4222-8333-444444444444"


@pytest.fixture
def driver(tmp_path: Path) -> ExportDriver:
    return ExportDriver(state=tmp_path, guests=GuestDriver(state=tmp_path, run=tmp_path))


def spec(want: Want) -> ExportSpec:
    return ExportSpec(uuid=COPY, want=want, instance=UUID)


def test_a_copy_counts_once_it_is_whole(driver: ExportDriver, tmp_path: Path) -> None:
    directory = tmp_path / "exports" / COPY
    assert driver.plan(spec(Want.PRESENT), driver.seen(COPY)) == (Step("export"),)
    assert driver.plan(spec(Want.ABSENT), driver.seen(COPY)) == ()
    assert driver.result(spec(Want.PRESENT)) == (None, {})
    directory.mkdir(parents=True)
    (directory / PART).write_bytes(b"half")
    assert driver.plan(spec(Want.PRESENT), driver.seen(COPY)) == (Step("export"),)
    assert driver.plan(spec(Want.ABSENT), driver.seen(COPY)) == (Step("delete"),)
    with pytest.raises(HostError) as missing:
        driver.source(COPY)
    assert missing.value.code is ErrorCode.NOT_FOUND
    (directory / DISK).write_bytes(b"whole")
    assert driver.plan(spec(Want.PRESENT), driver.seen(COPY)) == ()
    assert driver.source(COPY) == DiskSource(type="file", format="qcow2", name=str(driver.path_of(COPY)))
    with pytest.raises(HostError):
        driver.path_of("../images")


def test_a_copy_is_not_begun_without_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, top, part = tmp_path / "base", tmp_path / "top", tmp_path / PART
    base.write_bytes(os.urandom(1 << 20))
    top.write_bytes(os.urandom(1 << 20))
    chain = DiskSource(
        type="file", format="qcow2", name=str(top), backing=DiskSource(type="file", format="raw", name=str(base))
    )
    room = SimpleNamespace(f_bavail=5 << 20, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    with pytest.raises(HostError, match=f"{6 << 20} needed") as full:
        exports._make_room(part, chain, 1 << 30)
    assert full.value.code is ErrorCode.DISK_FULL
    assert not part.exists()
    # No more than the disk is large; and of what is no file, all of it.
    exports._make_room(part, chain, 1 << 20)
    assert part.exists()
    with pytest.raises(HostError, match="needed"):
        exports._make_room(part, DiskSource(type="block", format="raw", name="/dev/vg/a"), 2 << 20)
