"""Which image stores there are, and which one has an image's bytes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from core.config import Config
from core.errors import Invalid, NotFound, Unavailable
from core.images.stores.files import ImageStore, Progress, Stored
from core.images.stores.objects import ObjectImages
from core.objects import ObjectStore, open_store

FILE: Final = "file"
"""The store in the controller's home, which every cloud has."""


class Stores:
    """All stores of a configuration. Object stores are connected to when they are first used."""

    def __init__(self, config: Config) -> None:
        self.files: Final = ImageStore(config.images_dir)
        """Where all bytes come in and are inspected, and where those of the store `file` stay."""
        self._config = config
        self._objects: dict[str, ObjectImages] = {}

    @property
    def default(self) -> str:
        """The store of new images. Raises Invalid when the configuration names one that is not there."""
        return self.check(self._config.image_store)

    def check(self, name: str) -> str:
        """The name, when there is such a store. Raises Invalid."""
        if name != FILE and name not in self._config.image_stores:
            raise Invalid(
                f"there is no image store {name!r}", hint=f"There are {', '.join([FILE, *self._config.image_stores])}."
            )
        return name

    def keep(self, stored: Stored, store: str, *, progress: Progress | None = None) -> None:
        """Bytes that came in, into the store of that name. Those of an object store are at hand besides, and their
        file here is for the caller to remove. Raises Invalid, Unavailable."""
        if store != FILE:
            self._object(store).put(stored, progress=progress)

    def path(self, digest: str) -> Path:
        """A file with these bytes, fetched when it is not at hand. May block. Raises NotFound, Unavailable."""
        with contextlib.suppress(NotFound):
            return self.files.path(digest)
        for name in self._config.image_stores:
            with contextlib.suppress(NotFound):
                return self._object(name).path(digest)
        raise NotFound(f"no image store has {digest[:12]}", hint="add the image again")

    def holds(self, digest: str, store: str) -> bool:
        """Whether a store has these bytes. Raises Invalid, Unavailable."""
        return self.files.holds(digest) if store == FILE else self._object(store).holds(digest)

    def delete(self, digest: str, store: str) -> bool:
        """Forget these bytes there; whether there were any. Raises Invalid, Unavailable."""
        return self.files.delete(digest) if store == FILE else self._object(store).delete(digest)

    @contextlib.contextmanager
    def steady(self, store: str, *, alone: bool = False) -> Iterator[None]:
        """Meanwhile nothing is removed from an object store, or (`alone`) nothing is brought: what is kept there and
        what records say of it are no one transaction. Raises Unavailable when `alone` cannot be had now."""
        if store == FILE:
            yield
            return
        directory = self._config.home / "image-cache"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / f"{self.check(store)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
            yield
        except BlockingIOError as busy:
            raise Unavailable(f"images are being brought to store {store}") from busy
        finally:
            os.close(lock)

    def _object(self, name: str) -> ObjectImages:
        found = self._objects.get(self.check(name))
        if found is None:
            cache = ImageStore(self._config.home / "image-cache" / name)
            objects: ObjectStore = open_store(self._config.image_stores[name], named=f"image_stores.{name}")
            found = self._objects[name] = ObjectImages(objects, cache, cache_bytes=self._config.image_store_cache_bytes)
        return found
