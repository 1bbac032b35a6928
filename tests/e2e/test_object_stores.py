"""Objects in a real S3 service: Ceph's gateway."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio

from core.errors import Unavailable
from core.objects import ObjectStore, open_store
from tests.core.objects.suite import StoreSuite
from tests.core.volumes.backups.test_repository import CHUNK, SIZE, World
from tests.lab.ceph import S3, Ceph

pytestmark = pytest.mark.e2e

_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with Ceph(tmp_path_factory.mktemp("ceph")) as ceph:
        found = ceph.s3()
        client = Minio(
            found.endpoint.partition("://")[2],
            access_key=found.access_key,
            secret_key=found.secret_key,
            secure=False,
        )
        client.make_bucket("objects")
        yield found


def table(s3: S3, folder: Path, **changes: str) -> dict[str, str]:
    keys = folder / "keys.toml"
    keys.write_text(f'access_key = "{s3.access_key}"\nsecret_key = "{s3.secret_key}"\n')
    keys.chmod(0o600)
    return {"driver": "s3", "endpoint": s3.endpoint, "bucket": "objects", "secret_file": str(keys), **changes}


@pytest.fixture
def store(s3: S3, tmp_path: Path) -> ObjectStore:
    """An empty one: a prefix of its own in one bucket."""
    return open_store(table(s3, tmp_path, prefix=f"test-{next(_numbers)}"), named="x")


class TestS3(StoreSuite):
    pass


def test_backups_are_kept_there(store: ObjectStore, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files = store  # type: ignore[assignment]
    world.write(0, os.urandom(SIZE))
    world.backup("full")
    world.write(3 * CHUNK, b"changed")
    more = world.backup("more", incremental=True)
    assert 0 < more.added < 2 * CHUNK
    world.backup("gone")
    world.repository().forget("gone")
    del world.made["gone"]
    world.check()


def test_what_cannot_be_used_says_why(s3: S3, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no bucket nowhere"):
        open_store(table(s3, tmp_path, bucket="nowhere"), named="x").put("a", b"x")
    given = table(s3, tmp_path)
    (tmp_path / "keys.toml").write_text(f'access_key = "{s3.access_key}"\nsecret_key = "wrong"\n')
    with pytest.raises(Unavailable, match="does not let us in: SignatureDoesNotMatch"):
        open_store(given, named="x").read("a")
    with pytest.raises(Unavailable, match="cannot be reached"):
        open_store({**given, "endpoint": "http://127.0.0.1:9"}, named="x").read("a")
