"""Who keeps the volumes of an iSCSI target, and what its daemon tells. Real ones: tests/contract/backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostd.spec import BackendSpec, ErrorCode, HostError
from hostd.storage.volumes.backend import Pool
from hostd.storage.volumes.backends.iscsi import IscsiBackend
from hostd.storage.volumes.backends.tgt import Target, parse
from hostd.storage.volumes.volumes import Nobody

VOLUME = "11111111-0000-4000-8000-000000000001"

SHOWN = """\
Target 1: iqn.2024-01.skydeck:volume-a
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 4
            Initiator: iqn.2008-11.org.linux-kvm:guest alias: none
            Connection: 0
                IP Address: 192.0.2.7
    LUN information:
        LUN: 0
            Type: controller
            Backing store path: None
        LUN: 1
            Type: disk
            Backing store type: rdwr
            Backing store path: /srv/volumes/volume-a/disk.raw
            Backing store flags:
    Account information:
    ACL information:
        ALL
Target 7: iqn.2024-01.skydeck:volume-b
    System information:
        Driver: iscsi
    I_T nexus information:
    LUN information:
        LUN: 0
            Type: controller
            Backing store path: None
    Account information:
    ACL information:
"""
"""Of tgt 1.0.85, shortened."""


def backend(place: Path, **options: str) -> IscsiBackend:
    spec = BackendSpec(uuid=VOLUME, driver="iscsi", options={"portal": "127.0.0.1", "path": str(place), **options})
    return IscsiBackend(spec, state=place, run=place, live=Nobody())


def test_what_the_daemon_shows_is_read() -> None:
    assert parse(SHOWN) == {
        "iqn.2024-01.skydeck:volume-a": Target(1, "/srv/volumes/volume-a/disk.raw", ("192.0.2.7",)),
        "iqn.2024-01.skydeck:volume-b": Target(7),
    }
    assert parse("") == {}


@pytest.mark.parametrize(
    "options",
    [
        {"portal": "storage.example"}, {"portal": ""}, {"iqn": "iqn.x"}, {"control": "x"}, {"path": "here"},
        {"path": "/a,b"}, {"initiators": "192.0.2.0/24,;"},
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(HostError) as caught:
        backend(tmp_path, **options)
    assert caught.value.code is ErrorCode.PROTOCOL


def test_without_its_daemon_the_keeper_says_so(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        backend(tmp_path, control="32766").pool()
    assert caught.value.code is ErrorCode.STORAGE
    assert caught.value.error.hint


def test_who_does_not_keep_it_changes_nothing(tmp_path: Path) -> None:
    # TEST-NET-1: an address that no host has.
    other = backend(tmp_path, portal="192.0.2.1:3260")
    for work in (
        lambda: other.create(VOLUME, 1 << 20, progress=lambda percent: None),
        lambda: other.delete(VOLUME),
        lambda: other.seen(VOLUME),
    ):
        with pytest.raises(HostError, match="kept by the host that has this address") as caught:
            work()
        assert caught.value.code is ErrorCode.BAD_STATE
    assert list(other.volumes()) == []


def test_who_does_not_keep_it_knows_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = backend(tmp_path, portal="192.0.2.1:3260")
    monkeypatch.setattr(IscsiBackend, "_reach", lambda self: None)
    assert other.pool() == Pool(total=0, free=0)
