"""Objects as files: the suite of all stores, and what only a directory can meet."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import Invalid, Unavailable
from core.objects import Full, ObjectStore, open_store
from core.objects.files import FileObjects
from core.objects.s3 import S3Objects
from tests.core.objects.suite import StoreSuite


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> Iterator[ObjectStore]:
    yield FileObjects(root)
    assert not list((root / ".incoming").glob("*")), "what was interrupted is left"


class TestFiles(StoreSuite):
    pass


def test_only_the_owner_may_read(store: ObjectStore, root: Path) -> None:
    store.put("a/b", b"x")
    assert stat.S_IMODE((root / ".incoming").stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o700


def test_what_dead_writers_left_is_tidied_and_the_living_go_on(store: ObjectStore, root: Path) -> None:
    store.tidy()
    store.put("kept", b"x")
    (root / ".incoming" / "dead").write_bytes(b"half")
    with (root / ".incoming" / "living").open("wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        store.tidy()
        assert [path.name for path in (root / ".incoming").iterdir()] == ["living"]
    store.tidy()
    assert list(store.list()) == ["kept"]


def test_a_full_disk_says_so_and_keeps_nothing(store: ObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store.put("a", b"x")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Full, match="is full"):
        store.put("b", io.BytesIO(b"y"))
    assert list(store.list()) == ["a"]


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for ask in (lambda store: store.put("a", b""), lambda store: store.read("a")):
        with pytest.raises(Unavailable, match="Not a directory"):
            ask(FileObjects(tmp_path / "file"))


def test_a_table_names_a_store(tmp_path: Path) -> None:
    secret = tmp_path / "keys"
    secret.write_text('access_key = "a"\nsecret_key = "s"\n')
    secret.chmod(0o600)
    s3 = {"driver": "s3", "endpoint": "https://s3.example:9000", "bucket": "b", "secret_file": str(secret)}
    assert isinstance(open_store({"driver": "file", "path": str(tmp_path)}, named="x"), FileObjects)
    found = open_store({**s3, "region": "r", "prefix": "/p/"}, named="x")
    assert isinstance(found, S3Objects)
    assert str(found) == "bucket b at https://s3.example:9000"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"driver": "ftp"}, "unknown driver 'ftp'"),
        ({"driver": "file"}, "path is missing"),
        ({"driver": "file", "path": "relative"}, "must begin with /"),
        ({"driver": "file", "path": "/x", "bucket": "b"}, "unknown setting 'bucket'"),
        ({"driver": "s3", "endpoint": "http://h", "bucket": "b"}, "secret_file is missing"),
        ({"driver": "s3", "endpoint": "h:1", "bucket": "b", "secret_file": "/x"}, "must begin with http"),
        ({"driver": "s3", "endpoint": "http://h", "bucket": "b", "secret_file": "/nowhere"}, "cannot be read"),
        ({"driver": "s3", "endpoint": "http://h", "bucket": "b", "secret_file": "OPEN"}, "readable by others"),
        ({"driver": "s3", "endpoint": "http://h", "bucket": "b", "secret_file": "EMPTY"}, "does not hold the keys"),
    ],
)
def test_a_table_that_names_none_is_refused(tmp_path: Path, table: dict[str, str], why: str) -> None:
    for name, mode in (("OPEN", 0o644), ("EMPTY", 0o600)):
        (tmp_path / name).write_text('access_key = "a"\n')
        (tmp_path / name).chmod(mode)
    if table.get("secret_file", "").isupper():
        table = {**table, "secret_file": str(tmp_path / table["secret_file"])}
    with pytest.raises(Invalid, match=why) as refused:
        open_store(table, named="backups.x")
    assert str(refused.value).startswith("backups.x: ")
