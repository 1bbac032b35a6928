"""Directories that volumes are kept in, and how it is known that they are the ones meant.

A mount that is missing leaves an empty directory in its place: volumes would seem lost, and new ones would fill the
host's own disk. Two backends in one directory would delete each other's volumes. So a directory that is not hostd's own
carries a file with the backend's uuid. It is written once, to a shared directory only when that is mounted and has
nothing else in it; from then on a directory without it is not the one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from uuid import uuid4

import attrs

from hostd.spec import BackendSpec, ErrorCode, HostError
from hostd.storage import commands
from hostd.storage.instances import checked

MARKER: Final = ".skydeck-backend"

PATIENCE: Final = 8.0
"""Seconds for a server to answer a mount."""

_EXPORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):(/[^\s,\x00-\x1f]*)")
_OPTIONS: Final = re.compile(r"[A-Za-z0-9_=.:,%/-]*")


@attrs.frozen(kw_only=True)
class Directory:
    """A directory of this host's own, which may be on a disk of its own."""

    backend: str
    path: Path
    claimed: Path | None
    """A file that says, on hostd's own disk, that the directory was marked once; None for one that hostd makes."""

    def reach(self) -> Path:
        """The directory, known to be the one. Raises HostError(STORAGE)."""
        if self.claimed is None:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            return self.path
        if not self.path.is_dir():
            raise HostError(
                ErrorCode.STORAGE, f"there is no directory {self.path}", hint=f"make it on the host: mkdir {self.path}"
            )
        if (found := _marked(self.path)) is None:
            if self.claimed.exists():
                raise HostError(
                    ErrorCode.STORAGE,
                    f"{self.path} is not the directory of this backend: it has no {MARKER}",
                    hint=f"is its disk mounted at {self.path}?",
                )
            found = _mark(self.path, self.backend)
        _belongs(self.path, found, self.backend)
        if not self.claimed.exists():
            self.claimed.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.claimed.touch()
        return self.path


def own_directory(spec: BackendSpec, state: Path) -> Directory:
    """Of a `file` backend. Raises HostError(PROTOCOL)."""
    uuid = checked(spec.uuid)
    if (path := _path(spec)) is not None:
        return Directory(backend=uuid, path=path, claimed=state / "backends" / uuid)
    return Directory(backend=uuid, path=state / "volumes" / uuid, claimed=None)


@attrs.frozen(kw_only=True)
class Shared:
    """A directory of several hosts, mounted by hostd or by somebody else."""

    backend: str
    path: Path
    export: str = ""
    """What hostd mounts there; empty: somebody else mounts."""
    options: str = ""

    @classmethod
    def of(cls, spec: BackendSpec, state: Path) -> Shared:
        """Raises HostError(PROTOCOL) for options that cannot be."""
        path, export = _path(spec), spec.options.get("export", "")
        if (path is None) == (not export):
            raise HostError(ErrorCode.PROTOCOL, "an nfs backend has an export to mount, or the path of one mounted")
        options = spec.options.get("mount_options", "")
        if (export and not _EXPORT.fullmatch(export)) or not _OPTIONS.fullmatch(options):
            raise HostError(
                ErrorCode.PROTOCOL, f"{export!r} with options {options!r} cannot be mounted", hint="host:/path"
            )
        where = path or state / "mounts" / checked(spec.uuid)
        return cls(backend=spec.uuid, path=where, export=export, options=options)

    def reach(self) -> Path:
        """The directory, mounted and known to be the one. Raises HostError(STORAGE)."""
        if self.export and not is_mounted(self.path):
            self._mount()
        if (found := _marked(self.path, hint=self._hint())) is None:
            found = self._claim()
        _belongs(self.path, found, self.backend)
        return self.path

    def _claim(self) -> str:
        """Make the directory this backend's, when it is mounted and nobody's; whose it then is."""
        if not self.path.is_dir() or mount_point(self.path) == Path("/"):
            raise HostError(ErrorCode.STORAGE, f"nothing is mounted at {self.path}", hint=self._hint())
        if os.listdir(self.path):
            raise HostError(
                ErrorCode.STORAGE,
                f"{self.path} is not the directory of this backend: it has files, and no {MARKER}",
                hint="mount the right one, or give the backend an empty directory",
            )
        return _mark(self.path, self.backend)

    def _mount(self) -> None:
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        told = ("-o", self.options) if self.options else ()
        try:
            commands.run(
                ("mount", "-t", "nfs", *told, "--", self.export, str(self.path)),
                where=self.path.parent,
                needed=0,
                timeout=PATIENCE,
            )
        except HostError as bad:
            raise HostError(ErrorCode.STORAGE, f"{self.export}: {bad.error.message}", hint=self._hint()) from bad

    def _hint(self) -> str:
        if self.export:
            return f"from this host, try: mount -t nfs {self.export} {self.path} (package nfs-common)"
        return f"mount the shared directory at {self.path}"


def _marked(path: Path, *, hint: str = "") -> str | None:
    """Whose directory it is; None when that is not said. Raises HostError(STORAGE) when it cannot be read."""
    try:
        return (path / MARKER).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as bad:
        raise HostError(ErrorCode.STORAGE, f"{path}: {bad.strerror}", hint=hint) from bad


def _mark(path: Path, backend: str) -> str:
    """Say whose it is; of several that do so at once, one wins, and is answered. Raises HostError(STORAGE)."""
    fresh = path / f"{MARKER}.{uuid4()}"
    try:
        fresh.write_text(f"{backend}\n")
        try:
            os.link(fresh, path / MARKER)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return (path / MARKER).read_text().strip()
    except OSError as bad:
        raise HostError(
            ErrorCode.STORAGE, f"{path} cannot be written: {bad.strerror}", hint="root of this host must be able to"
        ) from bad


def _belongs(path: Path, found: str, backend: str) -> None:
    if found != backend:
        raise HostError(
            ErrorCode.STORAGE,
            f"{path} belongs to backend {found}, not to {backend}",
            hint="give each backend a directory of its own",
        )


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at exactly this place."""
    return mount_point(path) == Path(os.path.realpath(path))


def mount_point(path: Path) -> Path:
    """Where the file system that `path` is on is mounted, bind mounts included, without touching it."""
    wanted = Path(os.path.realpath(path))
    points = {Path(_unescaped(line.split()[4])) for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return next((at for at in (wanted, *wanted.parents) if at in points), Path("/"))


def _unescaped(text: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _path(spec: BackendSpec) -> Path | None:
    text = spec.options.get("path", "")
    if not text:
        return None
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts or not text.isprintable() or path == Path("/"):
        raise HostError(ErrorCode.PROTOCOL, f"{text!r} is no absolute path of a directory for volumes")
    return path
