"""A repository of backups: chunks by what they hold, manifests by what they list, in any object store.

    chunks/ab/abcd…            one chunk, packed; its name is the sha256 of its plain contents
    manifests/BACKUP/DIGEST    a complete backup; written last, named by the sha256 of its bytes
    running/BACKUP-…           a lease: somebody is writing this backup
    sweeping/…                 a lease: somebody is deleting what nothing refers to
    unswept                    something was left to sweep when nobody could

A chunk is stored once however many backups name it, and is never changed. What a backup that failed has stored is no
backup's, and goes with the next sweep. Between a writer, who counts on chunks that it found, and a sweeper, who
deletes chunks that no manifest names, the leases decide: each announces itself before it looks for the other, so at
least one of the two sees the other, and gives way. This needs a store that lists what was put (all of ours do), clocks
that differ by less than MARGIN, and nothing else: no locks, no database.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

import zstandard

from core.errors import Failed, NotFound, Unavailable, Unknown
from core.objects import Full, ObjectStore
from core.volumes.backups.manifest import Manifest

CHUNK: Final = 1 << 20
"""Bytes of a chunk. A fourth of it goes into a directory as fast and follows small writes here and there four times as
closely, but costs four times as many requests where every object is one (tests/bench/backups.py measures them)."""

LEASE: Final = 600.0
"""Seconds a writer's announcement holds without being renewed: chunks of a dead one are kept for so long."""

SWEEPING: Final = 120.0
"""Seconds of a sweeper's: for so long a dead one holds up whoever begins a backup."""

_WAIT: Final = 0.25
_LEVEL: Final = 3
_AT_ONCE: Final = 200
"""Chunks deleted between two looks for writers."""

_UNSWEPT: Final = "unswept"


class Damaged(Failed):
    """A backup cannot be read: what the repository holds of it is not what was stored."""


class TooLate(Unknown):
    """A lease ran out, or nearly: others may have acted on that, and what was done under it is begun anew."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep gave back."""

    chunks: int
    bytes: int


class Repository:
    """One container of backups. Blocking; thread-safe; several processes may work on the same one."""

    def __init__(
        self, store: ObjectStore, *, clock: Callable[[], float] = time.time, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = store
        self._clock = clock
        self._pause = pause

    def __str__(self) -> str:
        return str(self._store)

    # ------------------------------------------------------------------ writing

    def begin(self, backup: str) -> Writer:
        """Announce that this backup is being written. Waits for sweepers to give way, which they do soon.

        Leases of earlier attempts at the same backup are taken for dead.
        """
        self._drop(f"running/{backup}-")
        lease = self._announce(f"running/{backup}-{secrets.token_hex(4)}", LEASE)
        try:
            while self._alive("sweeping/"):
                self._pause(_WAIT)
                lease.renew()
        except BaseException:
            lease.end()
            raise
        return Writer(self, self._store, lease)

    def forget(self, backup: str) -> None:
        """This backup is no more, complete or not; `sweep` gives its room back. Idempotent."""
        self._drop(f"manifests/{backup}/")
        self._drop(f"running/{backup}-")
        self._leave_unswept()

    # ------------------------------------------------------------------ reading

    def manifest(self, backup: str, digest: str) -> Manifest:
        """Raises Damaged when it is gone, or not what was stored."""
        try:
            packed = self._store.read(f"manifests/{backup}/{digest}")
        except NotFound as gone:
            raise Damaged(f"backup {backup} is not in {self}", hint="It cannot be restored: delete it.") from gone
        return self._parsed(backup, digest, packed)

    def _parsed(self, backup: str, digest: str, packed: bytes) -> Manifest:
        try:
            if hashlib.sha256(packed).hexdigest() != digest:
                raise ValueError("its bytes have changed")
            return Manifest.unpacked(packed)
        except (ValueError, TypeError, KeyError) as bad:
            raise Damaged(
                f"the manifest of backup {backup} in {self} is damaged: {bad}", hint="Make a new full backup."
            ) from bad

    def chunk(self, manifest: Manifest, number: int) -> bytes:
        """The contents of one chunk of a backup. Raises Damaged naming the backup and the offset."""
        digest, length = manifest.chunks[number], manifest.length(number)
        name = _name(digest)
        try:
            plain = zstandard.ZstdDecompressor().decompress(self._store.read(name), max_output_size=length)
            if len(plain) != length or hashlib.sha256(plain).digest() != digest:
                raise ValueError("it holds something else")
        except (NotFound, ValueError, zstandard.ZstdError) as bad:
            why = "is gone" if isinstance(bad, NotFound) else "is damaged"
            raise Damaged(
                f"backup {manifest.backup} cannot be read at byte {number * manifest.chunk}: chunk {digest.hex()[:16]}"
                f" in {self} {why}",
                hint="Make a new full backup: it stores the chunk anew.",
            ) from bad
        return plain

    # ------------------------------------------------------------------ sweeping

    def sweep(self) -> Swept | None:
        """Delete every chunk that no manifest names; None when a backup is being written: later, then."""
        lease = self._announce(f"sweeping/{secrets.token_hex(4)}", SWEEPING)
        try:
            self._alive("sweeping/")  # dead ones are dropped; side by side with others is no harm
            if self._alive("running/"):
                self._leave_unswept()
                return None
            self._store.delete(_UNSWEPT)
            self._store.tidy()
            return self._sweep(lease)
        finally:
            lease.end()

    def sweep_if_wanted(self) -> Swept | None:
        """What an earlier sweep had to leave, if it did."""
        return self.sweep() if self._store.exists(_UNSWEPT) else None

    def _leave_unswept(self) -> None:
        with contextlib.suppress(Full):  # the next failure or deletion sweeps as well
            self._store.put(_UNSWEPT, b"")

    def _sweep(self, lease: Lease) -> Swept | None:
        named = self._named(lease)
        chunks = freed = 0
        for name in list(self._store.list("chunks/")):
            if name in named:
                continue
            if chunks % _AT_ONCE == 0:
                lease.renew()
                if self._alive("running/"):
                    self._leave_unswept()
                    return None
            with contextlib.suppress(NotFound):  # another sweeper was faster
                freed += self._store.size(name)
            self._store.delete(name)
            chunks += 1
        return Swept(chunks=chunks, bytes=freed)

    def _named(self, lease: Lease) -> set[str]:
        """The names of all chunks that some manifest lists. Raises Damaged for a manifest that cannot be read: what it
        lists is unknown, and nothing must be deleted."""
        named: set[str] = set()
        for name in list(self._store.list("manifests/")):
            lease.renew()
            _, backup, digest = name.split("/")
            with contextlib.suppress(NotFound):  # deleted meanwhile
                named.update(map(_name, self._parsed(backup, digest, self._store.read(name)).chunks.values()))
        return named

    # ------------------------------------------------------------------ leases

    def _announce(self, name: str, lasts: float) -> Lease:
        lease = Lease(self._store, name, self._clock, lasts=lasts)
        lease.renew()
        return lease

    def _alive(self, prefix: str) -> bool:
        """Whether somebody's announcement holds; those that ran out are dropped."""
        found = False
        for name in list(self._store.list(prefix)):
            try:
                until = float(json.loads(self._store.read(name))["until"])
            except NotFound:
                continue
            if until > self._clock():
                found = True
            else:
                self._store.delete(name)
        return found

    def _drop(self, prefix: str) -> None:
        for name in list(self._store.list(prefix)):
            self._store.delete(name)


class Lease:
    """An announcement, kept up by whoever made it."""

    def __init__(self, store: ObjectStore, name: str, clock: Callable[[], float], *, lasts: float) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._lasts = lasts
        self._until = 0.0
        self._lock = threading.Lock()

    def renew(self) -> None:
        """Unless it was renewed just now. Raises TooLate."""
        with self._lock:
            now = self._clock()
            if self._until and now > self._until - self._lasts / 3:
                raise TooLate("the repository was not told in time that this goes on", hint="It is begun anew.")
            if now > self._until - 0.9 * self._lasts:
                self._store.put(self._name, json.dumps({"until": now + self._lasts}).encode())
                self._until = now + self._lasts

    def end(self) -> None:
        self._store.delete(self._name)


class Writer:
    """A backup being written. Thread-safe."""

    def __init__(self, repository: Repository, store: ObjectStore, lease: Lease) -> None:
        self._repository = repository
        self._store = store
        self._lease = lease

    def put(self, plain: bytes | bytearray) -> tuple[bytes, int]:
        """Store one chunk, unless it is there; its digest, and the bytes that were added. Raises Full."""
        self._lease.renew()
        digest = hashlib.sha256(plain).digest()
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(plain)
        name = _name(digest)
        with contextlib.suppress(NotFound):
            # One that was cut short by a failing disk is put again.
            if self._store.size(name) == len(packed):
                return digest, 0
        return digest, self._store.put(name, packed)

    def finish(self, manifest: Manifest) -> str:
        """All chunks are there: make it a backup. Its digest."""
        packed = manifest.packed()
        digest = hashlib.sha256(packed).hexdigest()
        self._lease.renew()
        self._store.put(f"manifests/{manifest.backup}/{digest}", packed)
        return digest

    def end(self) -> None:
        """Whether it was finished or not: nobody writes it any more."""
        with contextlib.suppress(Unavailable):  # it runs out by itself
            self._lease.end()


def _name(digest: bytes) -> str:
    text = digest.hex()
    return f"chunks/{text[:2]}/{text}"
