"""What Ceph's commands say, understood; the real ones are asked in tests/contract/backends and tests/e2e."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from hostd.drivers import DiskSource
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeSeen
from hostd.storage.volumes.backend import Pool
from hostd.storage.volumes.backends import rbd
from hostd.storage.volumes.backends.rbd import RbdBackend
from hostd.storage.volumes.backends.tools import ToolFailed
from hostd.storage.volumes.volumes import Nobody

BACKEND = "44444444-0000-4000-8000-000000000001"
VOLUME = "11111111-0000-4000-8000-000000000001"
OLD = "aaaaaaaa-0000-4000-8000-000000000001"
NEW = "bbbbbbbb-0000-4000-8000-000000000001"

USED = {
    "images": [
        {"name": f"volume-{VOLUME}", "snapshot": f"snapshot-{NEW}", "snapshot_id": 9, "provisioned_size": 64,
         "used_size": 8},
        {"name": f"volume-{VOLUME}", "snapshot": f"snapshot-{OLD}", "snapshot_id": 4, "provisioned_size": 64,
         "used_size": 4},
        {"name": f"volume-{VOLUME}", "provisioned_size": 128, "used_size": 2},
        {"name": f"volume-{VOLUME}.0a1b2c3d", "provisioned_size": 128, "used_size": 2},
        {"name": "somebody-elses", "provisioned_size": 128, "used_size": 2},
    ]
}  # fmt: skip


def backend(path: Path, **options: str) -> RbdBackend:
    spec = BackendSpec(uuid=BACKEND, driver="rbd", options={"pool": "volumes", **options})
    return RbdBackend(spec, state=path, run=path, live=Nobody())


def answering(monkeypatch: pytest.MonkeyPatch, answer: str | ToolFailed) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []

    def ask(*argv: str, **limits: object) -> str:
        asked.append(argv)
        if isinstance(answer, ToolFailed):
            raise answer
        return answer

    monkeypatch.setattr(rbd, "ask", ask)
    return asked


@pytest.mark.parametrize(
    "options",
    [{"pool": ""}, {"pool": "-x"}, {"user": "a b"}, {"conf": "etc/ceph.conf"}, {"keyring": "/a\nkey = x"}],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(HostError) as caught:
        backend(tmp_path, **options)
    assert caught.value.code is ErrorCode.PROTOCOL


def test_only_whole_volumes_of_ours_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, json.dumps(USED))
    assert list(backend(tmp_path, user="cloud", keyring="/etc/key").volumes()) == [
        VolumeSeen(uuid=VOLUME, size=128, allocated=14, snapshots=(OLD, NEW))
    ]
    assert asked[0][:7] == ("rbd", "--conf", rbd.CONF, "--id", "cloud", "--keyring", "/etc/key")


def test_the_room_is_what_ceph_would_still_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"stored": 30, "max_avail": 70, "bytes_used": 90}
    answering(monkeypatch, json.dumps({"pools": [{"name": "volumes", "stats": stats}]}))
    assert backend(tmp_path).pool() == Pool(total=100, free=70)
    with pytest.raises(HostError, match="no pool other") as caught:
        backend(tmp_path, pool="other").pool()
    assert "ceph osd pool create other" in caught.value.error.hint


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (110, "rbd: couldn't connect to the cluster!", ErrorCode.STORAGE),
        (28, "rbd: create error: (28) No space left on device", ErrorCode.DISK_FULL),
        (122, "rbd: create error: (122) Disk quota exceeded", ErrorCode.DISK_FULL),
        (16, "rbd: error: image still has watchers", ErrorCode.BAD_STATE),
        (2, "rbd: error opening pool 'volumes': (2) No such file or directory", ErrorCode.STORAGE),
    ],
)
def test_what_ceph_complains_of_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str, code: ErrorCode
) -> None:
    answering(monkeypatch, ToolFailed("rbd", status, said))
    with pytest.raises(HostError) as caught:
        backend(tmp_path).seen(VOLUME)
    assert caught.value.code is code
    assert caught.value.error.hint


def test_a_volume_that_is_not_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, ToolFailed("rbd", 2, f"specified image volume-{VOLUME} is not found."))
    assert backend(tmp_path).seen(VOLUME) is None
    with pytest.raises(HostError) as caught:
        backend(tmp_path).source(VOLUME)
    assert caught.value.code is ErrorCode.NOT_FOUND


class Agent(Nobody):
    """A guest whose agent answers."""

    def still(self, volume: str, *, quiesce: bool) -> contextlib.AbstractContextManager[bool | None]:
        return contextlib.nullcontext(quiesce)


def test_a_guest_is_frozen_for_a_snapshot_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, json.dumps(USED))
    spec = BackendSpec(uuid=BACKEND, driver="rbd", options={"pool": "volumes"})
    quiet = RbdBackend(spec, state=tmp_path, run=tmp_path, live=Agent())
    assert quiet.snapshot(VOLUME, BACKEND, quiesce=True) is True
    assert asked[-1][-2:] == ("--no-progress", f"volumes/volume-{VOLUME}@snapshot-{BACKEND}")
    assert quiet.snapshot(VOLUME, OLD, quiesce=True) is False
    assert asked[-1][-1] == f"volumes/volume-{VOLUME}", "it was looked at, and nothing was taken"


def test_qemu_reads_who_it_is_from_a_configuration_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, json.dumps(USED))
    conf = tmp_path / "ceph.conf"
    conf.write_text("[global]\nmon host = 192.0.2.1\n")
    plain = backend(tmp_path, conf=str(conf))
    assert plain.source(VOLUME) == DiskSource(
        type="rbd", format="raw", name=f"volumes/volume-{VOLUME}", options={"config": str(conf)}
    )
    named = backend(tmp_path, conf=str(conf), user="cloud", keyring="/etc/key").frozen(VOLUME, NEW)
    assert named.name == f"volumes/volume-{VOLUME}@snapshot-{NEW}"
    own = Path(named.options["config"])
    assert named.options == {"config": str(own), "user": "cloud", "secret": BACKEND}
    assert own.read_text() == conf.read_text() + "\n[client.cloud]\nkeyring = /etc/key\n"
