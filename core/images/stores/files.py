"""Image files on the controller, each named by the sha256 of its bytes, so that no two hold the same and none changes.

    DIRECTORY/ab/ab12…          complete, mode 0444
    DIRECTORY/partial/UPLOAD    on its way in; kept through every failure, so that the next attempt continues
    DIRECTORY/partial/UPLOAD.note   what that attempt needs to know

What a file holds is not this module's business: see core/images/inspector and core/images/qemu_img.py.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import attrs

from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.images import checksums

Progress = Callable[[int, int | None], None]
"""Called with (bytes done, bytes in all or None when unknown), after each CHUNK."""

CHUNK: Final = 1024 * 1024
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_UPLOAD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,79}")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@attrs.frozen(kw_only=True)
class Stored:
    """A complete image file."""

    digest: str
    """sha256, 64 hex digits."""
    size: int
    path: Path


@attrs.frozen(kw_only=True)
class Usage:
    """What the store holds, in files and bytes."""

    images: int
    image_bytes: int
    partials: int
    partial_bytes: int
    free: int
    """Bytes left on its file system."""


class ImageStore:
    """Image files by digest. Safe for several processes at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._partials = directory / "partial"
        self._partials.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)

    def path(self, digest: str) -> Path:
        """Where the image is. Raises NotFound."""
        path = self._place(digest)
        if not path.exists():
            raise NotFound(f"the image store has no file {digest[:12]}", hint="add the image again")
        return path

    def holds(self, digest: str) -> bool:
        return self._place(digest).exists()

    def open(self, digest: str) -> BinaryIO:
        """The image's bytes. Raises NotFound."""
        return self.path(digest).open("rb")

    def delete(self, digest: str) -> bool:
        """Forget the file; whether there was one. That no image record uses it is for the caller to know."""
        try:
            self._place(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def digests(self, *, before: float | None = None) -> list[str]:
        """Every image there is; with `before` (seconds since the epoch) those that nobody has read or brought since."""
        found = []
        for path in self._directory.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if before is None or max(stat.st_atime, stat.st_mtime) < before:
                    found.append(path.name)
        return found

    def usage(self) -> Usage:
        images = [path.stat().st_size for path in self._directory.glob("[0-9a-f][0-9a-f]/*")]
        partials = [path.stat().st_size for path in self._partials.iterdir() if path.suffix != ".note"]
        return Usage(
            images=len(images),
            image_bytes=sum(images),
            partials=len(partials),
            partial_bytes=sum(partials),
            free=shutil.disk_usage(self._directory).free,
        )

    def partial(self, upload: str, *, total: int | None = None) -> Partial:
        """The upload of that id, to be continued where it is; made when there is none.

        `total` bytes are expected, where that is known. Raises Conflict while another process writes it, Unavailable
        when the store has no room for the rest, Invalid for an id that is none.
        """
        if not _UPLOAD.fullmatch(upload):
            raise Invalid(f"{upload!a} is no upload id", hint="use letters, digits and dashes")
        return Partial(self._partials / upload, place=self._place, total=total)

    def remove_stale(self, *, before: float) -> int:
        """Drop uploads that nobody has written since `before` (seconds since the epoch); returns the bytes freed."""
        freed = 0
        for path in self._partials.iterdir():
            stat = path.stat()
            if stat.st_mtime < before:
                path.unlink(missing_ok=True)
                freed += stat.st_size
        return freed

    def put_file(
        self, path: Path, *, sha256: str | None = None, limit: int | None = None, progress: Progress | None = None
    ) -> Stored:
        """Take a copy of a local file of at most `limit` bytes, whose digest must be `sha256` where one is given;
        of 128 hex digits it is a sha512.

        Raises NotFound, Invalid when it is too large or not a file, Unavailable when the store is full.
        """
        if path.exists() and not path.is_file():
            raise Invalid(f"{path} is no regular file", hint="name an image file")
        try:
            source = path.open("rb")
        except FileNotFoundError as bad:
            raise NotFound(f"there is no file {path}", hint="check the path") from bad
        except OSError as bad:
            raise Invalid(f"{path} cannot be read: {bad.strerror}", hint="name a readable file") from bad
        with source:
            total = os.fstat(source.fileno()).st_size
            check_limit(total, limit)
            partial = self.partial(f"file-{secrets.token_hex(8)}", total=total)
            # A local file is simply copied again: nobody could name this upload to continue it.
            with partial, _discarded_on_error(partial):
                while chunk := source.read(CHUNK):
                    partial.write(chunk)
                    check_limit(partial.size, limit)
                    if progress is not None:
                        progress(partial.size, total)
                return partial.commit(expected=sha256)

    @staticmethod
    def digest_of(path: Path) -> str:
        """The sha256 a file would be kept by."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def place(self, path: Path, digest: str) -> Stored:
        """Make a finished file of this file system, whose digest is known, an image, without a copy. Once more changes
        nothing. Raises NotFound."""
        final = self._place(digest)
        with contextlib.suppress(FileNotFoundError):
            with path.open("rb") as file:
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            final.parent.mkdir(mode=0o700, exist_ok=True)
            path.rename(final)
            _sync_directory(final.parent)
        return Stored(digest=digest, size=self.path(digest).stat().st_size, path=final)

    def link(self, stored: Stored) -> None:
        """Have an image of another directory of this file system here as well, without a copy."""
        place = self._place(stored.digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(stored.path, place)

    def scratch(self, name: str) -> Path:
        """A place for a file that is being made, to be placed or removed; `remove_stale` drops forgotten ones."""
        if not _UPLOAD.fullmatch(name):
            raise Invalid(f"{name!a} is no upload id", hint="use letters, digits and dashes")
        return self._partials / name

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise NotFound(f"{digest!a} is no image digest", hint="a digest is 64 hex digits")
        return self._directory / digest[:2] / digest


class Partial:
    """An upload that is being written, by this process alone. A context manager: leaving it keeps what was written."""

    def __init__(self, path: Path, *, place: Callable[[str], Path], total: int | None) -> None:
        self._path = path
        self._note = path.with_name(f"{path.name}.note")
        self._place = place
        self._total = total
        self._file = _locked(path)
        try:
            self._sha = hashlib.file_digest(self._file, "sha256")
            self.size = self._file.tell()
            """Bytes written so far, in this attempt and earlier ones."""
            if total is not None:
                self.expect(total)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def expect(self, total: int) -> None:
        """So many bytes are to come in all. Raises Unavailable when there is no room for the rest."""
        self._total = total
        if total - self.size > shutil.disk_usage(self._path.parent).free:
            raise self._no_room()

    @property
    def note(self) -> str | None:
        """What an earlier attempt wanted to remember, e.g. which version of a file it was fetching."""
        try:
            return self._note.read_text()
        except FileNotFoundError:
            return None

    @note.setter
    def note(self, text: str | None) -> None:
        if text is None:
            self._note.unlink(missing_ok=True)
        else:
            self._note.write_text(text)

    def write(self, data: bytes) -> None:
        """Append. Raises Unavailable when the store is full; what fitted is kept."""
        rest = memoryview(data)
        while rest:
            try:
                count = self._file.write(rest)
            except OSError as bad:
                if bad.errno in _FULL:
                    raise self._no_room(len(rest)) from bad
                raise
            self._sha.update(rest[:count])
            self.size += count
            rest = rest[count:]

    def restart(self) -> None:
        """Drop what was written and begin at byte 0."""
        self._file.seek(0)
        self._file.truncate()
        self.note = None
        self._sha = hashlib.sha256()
        self.size = 0

    def commit(self, *, expected: str | None = None) -> Stored:
        """Make it an image of the store. Raises Invalid, and drops the upload, when its sha256 or sha512 is not
        `expected`."""
        digest = self._sha.hexdigest()
        if expected is not None:
            name = checksums.algorithm(expected)
            found = digest if name == "sha256" else checksums.of_file(self._path, name)
            if found != expected.lower():
                self.discard()
                raise Invalid(
                    f"the image's {name} is {found}, expected {expected}",
                    hint="the source serves other bytes than you were told of: compare both",
                )
        final = self._place(digest)
        final.parent.mkdir(mode=0o700, exist_ok=True)
        os.fchmod(self._file.fileno(), 0o444)
        try:
            os.fsync(self._file.fileno())
        except OSError as bad:  # delayed allocation finds out late
            if bad.errno in _FULL:
                raise self._no_room() from bad
            raise
        self._path.rename(final)
        self.note = None
        _sync_directory(final.parent)
        return Stored(digest=digest, size=self.size, path=final)

    def discard(self) -> None:
        """Drop the upload."""
        self._path.unlink(missing_ok=True)
        self.note = None

    def _no_room(self, at_least: int = 0) -> Unavailable:
        needed = self._total - self.size if self._total is not None else at_least
        more = "" if self._total is not None else "at least "
        free = shutil.disk_usage(self._path.parent).free
        return Unavailable(
            f"the image store has no room: {more}{needed} bytes are needed, {free} are free",
            hint=f"free some space under {self._path.parent.parent} and add the image again",
        )


def check_limit(size: int, limit: int | None) -> None:
    """Raises Invalid for an image beyond `limit` bytes."""
    if limit is not None and size > limit:
        raise Invalid(f"the image has {size} bytes or more, the limit is {limit}", hint="use a smaller image")


@contextlib.contextmanager
def _discarded_on_error(partial: Partial) -> Iterator[None]:
    try:
        yield
    except BaseException:
        partial.discard()
        raise


def _locked(path: Path) -> FileIO:
    """The upload's file, opened for this process alone. Raises Conflict."""
    while True:
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as bad:
            file.close()
            raise Conflict("this upload is already running", hint="wait for it, or end the other one") from bad
        # Whoever held the lock before may have made the file an image of the store: that one is not ours to write.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
