"""Images in an object store: kept there, at hand within bounds, fetched again, removed; by several processes at a
time."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from core.config import Config
from core.errors import Invalid, NotFound
from core.images import bring, images
from core.images.images import Image
from core.images.stores import ImageStore, Stores
from core.images.stores.objects import object_name
from tests.core.world import World

MIB = 1 << 20
DATA = os.urandom(MIB)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def database_url(home: Path, request: pytest.FixtureRequest) -> str:
    """SQLite alone: the database decides little here."""
    shutil.copy(request.getfixturevalue("sqlite_template"), home / "skydeck.db")
    return f"sqlite:///{home / 'skydeck.db'}"


@pytest.fixture
def config(config: Config) -> Config:
    return with_store(config)


def with_store(config: Config, **more: object) -> Config:
    """One object store, in a directory: the contract is what matters here."""
    options = {"driver": "file", "path": str(config.home / "objects")}
    (config.home / "objects").mkdir(exist_ok=True)
    return dataclasses.replace(config, image_stores={"fast": options}, image_store="fast", **more)  # type: ignore[arg-type]


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))


def take(world: World, config: Config, data: bytes = DATA, *, name: str = "i", store: str = "file") -> Image:
    source = config.home / "source"
    source.write_bytes(data)
    with world.store.write() as session:
        image = bring.start(session, world.admin, name=name, disk_format="raw", path=source, store=store)
    return bring.bring(world.store, config, world.admin, image.id, path=source)


def test_an_image_is_kept_in_the_store_of_the_configuration(world: World, config: Config, tmp_path: Path) -> None:
    image = take(world, config)
    assert (image.status, image.store, image.digest) == ("active", "fast", DIGEST)
    assert files_in(config.images_dir) == [], "it is at hand elsewhere"
    assert DIGEST in files_in(config.home / "objects")
    assert Stores(config).path(DIGEST).read_bytes() == DATA
    # What is at hand may go: it is fetched, and compared.
    ImageStore(config.home / "image-cache/fast").delete(DIGEST)
    assert Stores(config).path(DIGEST).read_bytes() == DATA
    bring.save(world.store, config, world.admin, "i", path=tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == DATA

    again = take(world, config, name="again")
    bring.remove(world.store, config, world.admin, "i")
    assert Stores(config).holds(DIGEST, "fast"), "another stands on it"
    bring.remove(world.store, config, world.admin, again.id)
    assert not Stores(config).holds(DIGEST, "fast")
    with pytest.raises(NotFound):
        Stores(config).path(DIGEST)


def test_the_same_bytes_in_two_stores_are_two(world: World, config: Config) -> None:
    plain = dataclasses.replace(config, image_store="file")
    first = take(world, plain, name="first")
    second = take(world, config, name="second")
    assert (first.store, second.store) == ("file", "fast")
    bring.remove(world.store, config, world.admin, "second")
    assert Stores(config).holds(DIGEST, "file")
    assert not Stores(config).holds(DIGEST, "fast")


def test_a_store_that_is_not_configured_is_refused(world: World, config: Config) -> None:
    with pytest.raises(Invalid, match="no image store 'slow'"):
        take(world, config, store="slow")
    with pytest.raises(Invalid, match="no image store 'slow'"):
        take(world, dataclasses.replace(config, image_store="slow"))
    with world.store.read() as session:
        assert images.find(session, world.admin, "i").status == "queued"


def test_what_is_at_hand_is_bounded_by_the_least_recently_used(world: World, config: Config) -> None:
    small = with_store(config, image_store_cache_bytes=2 * MIB + 1000)
    digests = [str(take(world, small, os.urandom(MIB), name=f"i{number}").digest) for number in range(3)]
    cache = ImageStore(config.home / "image-cache/fast")
    assert set(cache.digests()) == {*digests[1:]}
    os.utime(cache.path(digests[1]), (1, 1))
    Stores(small).path(digests[0])
    assert set(cache.digests()) == {digests[0], digests[2]}


def test_bytes_that_changed_in_the_store_go_to_no_host(world: World, config: Config) -> None:
    take(world, config)
    (config.home / "objects" / object_name(DIGEST)).write_bytes(b"x" * MIB)
    ImageStore(config.home / "image-cache/fast").delete(DIGEST)
    with pytest.raises(Invalid, match="expected"):
        Stores(config).path(DIGEST)
    assert files_in(config.home / "image-cache/fast") == []


def _client(config: Config, number: int, failed: multiprocessing.Queue[str]) -> None:
    """Bring images that others bring as well, and read what is there, as one of eight controllers' processes."""
    try:
        stores = Stores(config)
        for turn in range(6):
            data = bytes([turn]) * (MIB + turn)
            source = config.home / f"source-{number}"
            source.write_bytes(data)
            stored = stores.files.put_file(source)
            with stores.steady("fast"):
                stores.keep(stored, "fast")
            assert stores.path(stored.digest).read_bytes() == data
            again = Stores(config).path(stored.digest)
            assert hashlib.sha256(again.read_bytes()).hexdigest() == stored.digest
    except BaseException as bad:
        failed.put(f"{number}: {bad!r}")
        raise


def test_eight_clients_at_once(config: Config) -> None:
    context = multiprocessing.get_context("forkserver")
    failed: multiprocessing.Queue[str] = context.Queue()
    clients = [context.Process(target=_client, args=(config, number, failed)) for number in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)
    assert [client.exitcode for client in clients] == [0] * 8, failed.get_nowait()
    stores = Stores(config)
    assert len(stores.files.digests()) == 6
    assert stores.files.usage().partials == 0
    for digest in stores.files.digests():
        assert hashlib.sha256(stores.path(digest).read_bytes()).hexdigest() == digest
        assert stores.holds(digest, "fast")
