"""The host's image cache: read-only files named by the sha256 of what they hold.

    images/DIGEST             complete, verified, synced; 0444
    images/DIGEST.part        on its way; resumable
    images/refs/DIGEST.UUID   this instance's files stand on that image

References are files beside the images and not rows in the journal: a lost journal must not make a
backing file look unused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from hostd.crash import CrashPoints
from hostd.spec import CachedImage, ErrorCode, HostError, Pruned, Receive, Received

PARTIAL_KEPT: Final = 24 * 3600
"""Seconds after which `prune` drops a partial file that nobody went on with."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHUNK: Final = 1 << 20


class ImageCache:
    """Thread-safe. Offers drivers what `drivers.Images` says."""

    def __init__(self, root: Path, *, clock: Callable[[], float], crash: CrashPoints) -> None:
        self._root = root
        self._refs = root / "refs"
        self._clock = clock
        self._crash = crash
        self._lock = threading.RLock()
        self._receiving: set[str] = set()
        # Traversable by QEMU's user, listable by root alone.
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._refs.mkdir(mode=0o700, exist_ok=True)

    @property
    def root(self) -> Path:
        """The directory of it all."""
        return self._root

    # ------------------------------------------------------------------------ for steps

    def path_of(self, digest: str) -> Path:
        """The verified file. Raises HostError(IMAGE_MISSING)."""
        path = self._root / _checked(digest)
        if not path.exists():
            raise HostError(
                ErrorCode.IMAGE_MISSING,
                f"image {digest[:12]} is not in this host's cache",
                hint="carry the image to the host and apply again",
            )
        return path

    def hold(self, instance: str, digests: Iterable[str]) -> None:
        """Set which images the instance stands on. Raises HostError(IMAGE_MISSING)."""
        wanted = set(digests)
        with self._lock:
            now = self._clock()
            for path in [self.path_of(digest) for digest in wanted]:
                os.utime(path, (now, now))  # the access time serves as "least recently used"
            held = {digest for digest, holder in self._references() if holder == instance}
            for digest in wanted - held:
                self._reference(digest, instance).touch()
            for digest in held - wanted:
                self._reference(digest, instance).unlink()
            if wanted != held:
                _sync_directory(self._refs)

    def release(self, instance: str) -> None:
        """Hold nothing for the instance any more."""
        self.hold(instance, ())

    # ------------------------------------------------------------------------ for observers

    def images(self) -> tuple[CachedImage, ...]:
        """Complete images first, partial ones (not verified, `size` so far) after."""
        with self._lock:
            refs: dict[str, int] = {}
            for digest, _ in self._references():
                refs[digest] = refs.get(digest, 0) + 1
            found = [
                CachedImage(
                    digest=path.name.removesuffix(".part"),
                    size=path.stat().st_size,
                    verified=not path.name.endswith(".part"),
                    refs=refs.get(path.name, 0),
                )
                for path in self._root.iterdir()
                if path.is_file()
            ]
        return tuple(sorted(found, key=lambda image: (not image.verified, image.digest)))

    def prune(self, keep_bytes: int, digests: tuple[str, ...], keep: tuple[str, ...] = ()) -> Pruned:
        """Remove `digests`, then the least recently used, until `keep_bytes` remain; never what is held, nor `keep`."""
        removed: list[str] = []
        freed = 0
        with self._lock:
            held = {digest for digest, _ in self._references()} | {*keep}
            files = {path.name: path.stat() for path in self._root.iterdir() if path.is_file()}
            total = sum(stat.st_size for stat in files.values())
            for name, stat in sorted(files.items(), key=lambda item: (item[0] not in digests, item[1].st_atime)):
                if name.endswith(".part"):
                    abandoned = name.removesuffix(".part") not in self._receiving
                    goes = abandoned and stat.st_mtime < self._clock() - PARTIAL_KEPT
                else:
                    goes = name not in held and (name in digests or total - freed > keep_bytes)
                if goes:
                    (self._root / name).unlink()
                    freed += stat.st_size
                    removed.append(name)
        return Pruned(removed=tuple(removed), bytes_freed=freed)

    # ------------------------------------------------------------------------ receiving

    @contextlib.contextmanager
    def receive(self, asked: Receive) -> Iterator[Incoming]:
        """Take in one image; the caller makes sure that each digest has one receiver at a time.

        Hashes what an earlier attempt left, so it may take a second per GiB.
        Raises HostError: PROTOCOL, DISK_FULL.
        """
        final = self._root / _checked(asked.digest)
        if asked.size < 0:
            raise HostError(ErrorCode.PROTOCOL, f"image size {asked.size}")
        if final.exists():
            if final.stat().st_size != asked.size:
                raise HostError(
                    ErrorCode.DIGEST_MISMATCH,
                    f"image {asked.digest[:12]} has {final.stat().st_size} bytes, not {asked.size}",
                )
            yield Incoming(asked, final, file=None, crash=self._crash)
            return
        part = final.with_name(f"{final.name}.part")
        with self._lock:
            self._receiving.add(asked.digest)
        try:
            with _no_room(asked, part), open(_touched(part), "r+b", buffering=0) as file:
                here = os.fstat(file.fileno()).st_size
                if here > asked.size:
                    file.truncate(here := 0)
                _check_room(part, asked.size - here)
                incoming = Incoming(asked, final, file=file.fileno(), crash=self._crash)
                if incoming.offset == asked.size:
                    incoming.finish()
                yield incoming
        finally:
            with self._lock:
                self._receiving.discard(asked.digest)

    def _references(self) -> list[tuple[str, str]]:
        return [(digest, holder) for digest, _, holder in (name.partition(".") for name in os.listdir(self._refs))]

    def _reference(self, digest: str, instance: str) -> Path:
        if "/" in instance:
            raise HostError(ErrorCode.PROTOCOL, f"{instance!r} is not a uuid")
        return self._refs / f"{digest}.{instance}"


class Incoming:
    """One image on its way into the cache."""

    def __init__(self, asked: Receive, final: Path, *, file: int | None, crash: CrashPoints) -> None:
        self._asked = asked
        self._final = final
        self._file = file
        self._crash = crash
        self._sha = hashlib.sha256()
        self.offset = asked.size
        """Bytes that are here: where the sender goes on; the whole size when the image is complete."""
        if file is not None:
            self.offset = 0
            buffer = memoryview(bytearray(_CHUNK))
            while count := os.preadv(file, [buffer], self.offset):
                self._sha.update(buffer[:count])
                self.offset += count

    @property
    def complete(self) -> bool:
        """Verified and in place; nothing more is taken in."""
        return self._file is None

    def write(self, chunk: memoryview) -> None:
        """Append bytes. Raises HostError: DIGEST_MISMATCH when there are too many, DISK_FULL."""
        if self._file is None or self.offset + len(chunk) > self._asked.size:
            raise HostError(ErrorCode.DIGEST_MISMATCH, f"more than {self._asked.size} bytes were sent")
        first = self.offset == 0
        while chunk:
            # Never appended: whoever else might write this image writes the same bytes to the same place.
            count = os.pwrite(self._file, chunk, self.offset)
            self._sha.update(chunk[:count])
            self.offset += count
            chunk = chunk[count:]
        if first:
            self._crash.at("image:partial")

    def finish(self) -> Received:
        """Verify, sync and name the file. A second call, and one on a complete image, changes nothing.

        Raises HostError: PROTOCOL when bytes are missing (the partial file is kept), DIGEST_MISMATCH
        (it is dropped), DISK_FULL.
        """
        if self._file is not None:
            if self.offset < self._asked.size:
                raise HostError(
                    ErrorCode.PROTOCOL,
                    f"the image ended after {self.offset} of {self._asked.size} bytes",
                    hint="send the rest: what is here is kept",
                )
            part = self._final.with_name(f"{self._final.name}.part")
            if self._sha.hexdigest() != self._asked.digest:
                part.unlink()
                raise HostError(
                    ErrorCode.DIGEST_MISMATCH,
                    f"the bytes sent have sha256 {self._sha.hexdigest()[:12]}, not {self._asked.digest[:12]}",
                    hint="the image changed or was damaged: add it again",
                )
            os.fchmod(self._file, 0o444)
            os.fsync(self._file)
            self._crash.at("image:verified")
            try:
                part.rename(self._final)
            except FileNotFoundError:
                # Whoever else took it in was faster: the bytes are the same.
                if not self._final.exists():
                    raise
            _sync_directory(self._final.parent)
            self._crash.at("image:renamed")
            self._file = None
        return Received(digest=self._asked.digest, size=self._asked.size, verified=True)


def _checked(digest: str) -> str:
    # Names become paths: nothing but a digest may pass.
    if not _DIGEST.fullmatch(digest):
        raise HostError(ErrorCode.PROTOCOL, f"{digest!r} is not a sha256")
    return digest


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _touched(path: Path) -> Path:
    path.touch()
    return path


def _free(path: Path) -> int:
    system = os.statvfs(path.parent)
    return system.f_bavail * system.f_frsize


def _check_room(part: Path, needed: int) -> None:
    free = _free(part)
    if needed > free:
        raise _full(part, needed, free)


@contextlib.contextmanager
def _no_room(asked: Receive, part: Path) -> Iterator[None]:
    """Turns a full disk into DISK_FULL and drops the partial file: running guests need the room more."""
    try:
        yield
    except OSError as bad:
        if bad.errno not in _NO_ROOM:
            raise
        here = part.stat().st_size
        part.unlink()
        raise _full(part, asked.size - here, _free(part)) from bad


def _full(part: Path, needed: int, free: int) -> HostError:
    return HostError(
        ErrorCode.DISK_FULL,
        f"the image needs {needed / 1e6:.1f} MB more, {part.parent} has {free / 1e6:.1f} MB left",
        hint="prune the host's image cache, delete instances, or give the host more disk",
    )
