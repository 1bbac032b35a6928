"""What is deleted is exactly what was named; what appears under its name is whole."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hostd.spec import DiskSeen, ErrorCode, HostError
from hostd.storage.instances import EPHEMERAL, ROOT, Instances, publish, virtual_size
from tests.hostd.specs import UUID

OTHER = "99999999-2222-4333-8444-555555555555"


@pytest.fixture
def instances(tmp_path: Path) -> Instances:
    return Instances(state=tmp_path / "state", run=tmp_path / "run")


@pytest.mark.parametrize(
    "uuid",
    [
        "",
        ".",
        "..",
        "../x",
        UUID.upper().replace("1", "A"),
        UUID[:-1],
        UUID + "/",
        UUID.replace("-", ""),
        UUID + "\n",
        "*",
    ],
)
def test_only_a_canonical_uuid_names_a_directory(instances: Instances, uuid: str) -> None:
    for asks in (instances.directory, instances.empty, instances.remove, instances.make, instances.console_socket):
        with pytest.raises(HostError) as refused:
            asks(uuid)
        assert refused.value.code is ErrorCode.PROTOCOL


def test_deleting_takes_the_named_instance_and_no_other(instances: Instances, tmp_path: Path) -> None:
    for uuid in (UUID, OTHER):
        (instances.make(uuid) / ROOT).write_text("disk")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    directory = instances.directory(UUID)
    (directory / "link").symlink_to(outside)
    (directory / "loop").symlink_to(directory)
    (directory / "deep" / "er").mkdir(parents=True)
    instances.empty(UUID)
    assert instances.names(UUID) == frozenset()
    instances.remove(UUID)
    assert instances.names(UUID) is None
    assert instances.names(OTHER) == {ROOT}
    assert (outside / "kept").exists()
    instances.empty(UUID)
    instances.remove(UUID)


def test_a_link_in_the_place_of_an_instance_is_not_followed(instances: Instances, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    instances.prepare()
    instances.directory(UUID).symlink_to(outside)
    with pytest.raises(HostError, match="not a directory"):
        instances.empty(UUID)
    assert (outside / "kept").exists()


def test_directories_can_be_traversed_and_not_listed(instances: Instances) -> None:
    assert {path.stat().st_mode & 0o777 for path in (instances.root, instances.make(UUID))} == {0o711}


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "disk"

    def fails(part: Path) -> None:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(HostError) as full:
        publish(path, fails, needed=12345)
    assert full.value.code is ErrorCode.DISK_FULL
    assert "12345 needed" in full.value.error.message
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "disk.part").write_text("of a crashed attempt, longer than what follows")
    publish(path, lambda part: part.write_text("whole") and None)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("disk", "whole")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_publishing_a_link_leaves_its_target_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.touch(mode=0o444)
    publish(tmp_path / "base", lambda part: part.symlink_to(shared))
    assert shared.stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "base").readlink() == shared


def test_disks_are_listed_by_role(instances: Instances) -> None:
    assert list(instances.disks()) == []
    directory = instances.make(UUID)
    with (directory / EPHEMERAL).open("wb") as file:
        file.truncate(1 << 20)
    (directory / "root.qcow2.part").touch()
    (directory / "swap.raw").symlink_to("/etc/passwd")
    (instances.root / "not-an-instance").mkdir()
    assert list(instances.disks()) == [
        DiskSeen(instance=UUID, role="ephemeral", path=str(directory / EPHEMERAL), size=1 << 20, allocated=0)
    ]


def test_a_raw_disk_that_looks_like_qcow2_is_as_large_as_it_is(tmp_path: Path) -> None:
    header = b"QFI\xfb" + bytes(20) + (1 << 40).to_bytes(8, "big")
    for name, size in (("a.raw", len(header)), ("a.qcow2", 1 << 40)):
        (tmp_path / name).write_bytes(header)
        assert virtual_size(tmp_path / name) == size
