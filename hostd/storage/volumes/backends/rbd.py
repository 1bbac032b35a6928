"""Volumes as images of a Ceph pool, through Ceph's own commands; snapshots and clones are Ceph's.

Options: `pool`; `user`, as whom (without `client.`; empty: a cluster without authentication); `conf`, the cluster's
configuration on the host (/etc/ceph/ceph.conf); `keyring`, a file on the host with the user's key (empty: where Ceph
looks by itself); `secret`, the uuid by which libvirt knows the key for guests (the backend's own uuid).

An image is called `volume-<uuid>`, its snapshots `snapshot-<uuid>`. While it is made it is called
`volume-<uuid>.<random>`, and a rename makes it whole: what a crash leaves is never taken for a volume. Others' images
in the pool are left alone. Clones are of the second format (Ceph 13, 2018): a snapshot may be deleted under them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeSeen
from hostd.storage.instances import checked
from hostd.storage.volumes.backend import Can, Extent, Pool, Progress
from hostd.storage.volumes.backends.tools import NO_SPACE, ToolFailed, ask, copy

CONF: Final = "/etc/ceph/ceph.conf"

FEATURES: Final = "layering,exclusive-lock,object-map,fast-diff,deep-flatten"
"""Of every image: fast-diff tells what changed without reading, exclusive-lock keeps the object map true."""

PATIENCE: Final = 6
"""Seconds for a monitor or OSD to answer one question."""

COMMAND: Final = 7.5
"""Seconds for a command that asks a few."""

FULL: Final = 2.5
"""Seconds for the question whether the pool is full, after others were not answered."""

_LIMITS: Final = tuple(
    part
    for limit in ("--rados-mon-op-timeout", "--rados-osd-op-timeout", "--client-mount-timeout")
    for part in (limit, str(PATIENCE))
)

WORK: Final = 24 * 3600.0
"""Seconds for a command that moves data inside the cluster; each OSD has its PATIENCE nevertheless."""

HINT: Final = "look at the cluster with `ceph -s` on this host"

_NOT_FOUND, _EXISTS, _BUSY, _NO_SPACE, _NOT_EMPTY, _TIMED_OUT, _QUOTA = 2, 17, 16, 28, 39, 110, 122
"""errno.h: what rbd ends with."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_IMAGE: Final = re.compile(r"volume-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_SNAPSHOT: Final = re.compile(r"snapshot-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class RbdBackend:
    """hostd.storage.volumes.backend.Backend over a pool."""

    can = frozenset(Can)

    def __init__(self, spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> None:
        """Raises HostError(PROTOCOL) for options that cannot be."""
        options = {"conf": CONF, "user": "", "keyring": "", "secret": spec.uuid, **spec.options}
        for name in ("pool", "user"):
            if (value := options.get(name, "")) and not _NAME.fullmatch(value):
                raise HostError(ErrorCode.PROTOCOL, f"rbd backend: {name} cannot be {value!r}")
        if not options.get("pool"):
            raise HostError(ErrorCode.PROTOCOL, "rbd backend: no pool", hint="set the option pool")
        for name in ("conf", "keyring"):
            if options[name] and not (options[name].startswith("/") and options[name].isprintable()):
                raise HostError(ErrorCode.PROTOCOL, f"rbd backend: {name} is no absolute path")
        self._pool = options["pool"]
        self._user = options["user"]
        self._conf = options["conf"]
        self._keyring = options["keyring"]
        self._secret = options["secret"]
        self._own_conf = run / "ceph" / f"{spec.uuid}.conf"
        self._live = live

    # ------------------------------------------------------------------------ looking

    def pool(self) -> Pool:
        try:
            told = self._ask("ceph", "--connect-timeout", str(PATIENCE), "df", "--format", "json", timeout=COMMAND)
        except ToolFailed as bad:
            raise self._error(bad) from bad
        for pool in json.loads(told)["pools"]:
            if pool["name"] == self._pool:
                free = int(pool["stats"]["max_avail"])
                return Pool(total=int(pool["stats"]["stored"]) + free, free=free)
        raise HostError(
            ErrorCode.STORAGE,
            f"the Ceph cluster has no pool {self._pool}",
            hint=f"make it: ceph osd pool create {self._pool} && rbd pool init {self._pool}",
        )

    def volumes(self) -> Iterable[VolumeSeen]:
        used = json.loads(self._must("du", "--format", "json", "--pool", self._pool) or "{}").get("images", [])
        by_image: dict[str, list[dict[str, Any]]] = {}
        for row in used:
            by_image.setdefault(row["name"], []).append(row)
        for image, rows in by_image.items():
            if (whole := _IMAGE.fullmatch(image)) and (seen := _seen(whole[1], rows)):
                yield seen

    def seen(self, volume: str) -> VolumeSeen | None:
        try:
            used = json.loads(self._rbd("du", "--format", "json", self._image(volume)))["images"]
        except ToolFailed as bad:
            if bad.status == _NOT_FOUND and "opening pool" not in bad.said:
                return None
            raise self._error(bad) from bad
        return _seen(volume, used)

    # ------------------------------------------------------------------------ making

    def create(self, volume: str, size: int, *, progress: Progress) -> None:
        if self.seen(volume) is None:
            self._become(volume, self._part(volume, size))

    def create_from(self, volume: str, size: int, source: DiskSource, *, progress: Progress) -> None:
        if self.seen(volume) is not None:
            return
        part = self._part(volume, size)
        try:
            copy(source, self._source(part), size=size, progress=progress)
        except HostError as bad:
            self._remove_parts(volume)
            if bad.code is ErrorCode.STORAGE and self._is_full():
                raise self._full() from bad
            raise
        self._become(volume, part)

    def clone(self, volume: str, size: int, *, of: str, snapshot: str, progress: Progress) -> None:
        if self.seen(volume) is not None:
            return
        self._remove_parts(volume)
        part = self._part_name(volume)
        at = f"{self._image(of)}@snapshot-{checked(snapshot)}"
        try:
            self._rbd("--rbd-default-clone-format", "2", "clone", "--image-feature", FEATURES, at, part)
        except ToolFailed as bad:
            if bad.status == _NOT_FOUND:
                raise HostError(ErrorCode.NOT_FOUND, f"volume {of} has no snapshot {snapshot}") from bad
            raise self._error(bad) from bad
        made = json.loads(self._must("info", "--format", "json", part))
        if made["size"] < size:
            self._must("resize", "--no-progress", "--size", f"{size}B", part)
        self._become(volume, part)

    def _part(self, volume: str, size: int) -> str:
        """An empty image that will be the volume."""
        self._remove_parts(volume)
        part = self._part_name(volume)
        self._must("create", "--image-feature", FEATURES, "--size", f"{size}B", part)
        return part

    def _part_name(self, volume: str) -> str:
        # Another each time: the one of a copy that was killed counts as open for half a minute.
        return f"{self._image(volume)}.{secrets.token_hex(4)}"

    def _become(self, volume: str, part: str) -> None:
        self._must("rename", part, self._image(volume))

    # ------------------------------------------------------------------------ changing

    def delete(self, volume: str) -> None:
        seen = self.seen(volume)
        if seen is not None:
            if seen.snapshots:
                raise HostError(
                    ErrorCode.BAD_STATE,
                    f"volume {volume} has {len(seen.snapshots)} snapshots",
                    hint="delete its snapshots first",
                )
            self._closed(volume)
            for child in json.loads(self._must("children", "--all", "--format", "json", self._image(volume))):
                # What stands on a snapshot that is deleted already gets a copy of its own of what it still shares.
                names = (child["pool"], child["pool_namespace"], child["image"])
                self._must("flatten", "--no-progress", "/".join(filter(None, names)), timeout=WORK)
            # At once, also of a full pool: Ceph lets nothing else be written to one.
            self._must("rm", "--no-progress", self._image(volume), timeout=WORK)
        left = self._remove_parts(volume)
        if left:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"what is left of volume {volume} is still open: {left[0]}",
                hint="a client that was killed counts as one for half a minute; try again then",
            )

    def extend(self, volume: str, size: int) -> None:
        seen = self._there(volume)
        if seen.size < size:
            self._must("resize", "--no-progress", "--size", f"{size}B", self._image(volume))
        if self._live.holder(volume) is not None:
            self._live.resize(volume, max(size, seen.size))

    def snapshot(self, volume: str, snapshot: str, *, quiesce: bool) -> bool | None:
        # What was taken before a crash is there, and whether it was frozen went with it.
        there = snapshot in self._there(volume).snapshots
        with self._live.still(volume, quiesce=quiesce and not there) as frozen:
            if not there:
                self._must("snap", "create", "--no-progress", f"{self._image(volume)}@snapshot-{checked(snapshot)}")
        return frozen

    def delete_snapshot(self, volume: str, snapshot: str, *, progress: Progress) -> None:
        seen = self.seen(volume)
        if seen is not None and snapshot in seen.snapshots:
            at = f"{self._image(volume)}@snapshot-{checked(snapshot)}"
            self._must("snap", "rm", "--no-progress", at, timeout=WORK)

    def revert(self, volume: str, snapshot: str) -> None:
        seen = self._there(volume)
        if not seen.snapshots or seen.snapshots[-1] != snapshot:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"{snapshot} is not the newest snapshot of volume {volume}",
                hint="a volume is turned back to its newest snapshot only",
            )
        self._closed(volume)
        at = f"{self._image(volume)}@snapshot-{checked(snapshot)}"
        self._must("snap", "rollback", "--no-progress", at, timeout=WORK)
        # The snapshot's size came back too, and a volume never shrinks.
        self.extend(volume, seen.size)

    # ------------------------------------------------------------------------ opening

    def source(self, volume: str) -> DiskSource:
        self._there(volume)
        return self._source(self._image(volume))

    def frozen(self, volume: str, snapshot: str) -> DiskSource:
        if snapshot not in self._there(volume).snapshots:
            raise HostError(ErrorCode.NOT_FOUND, f"volume {volume} has no snapshot {snapshot}")
        return self._source(f"{self._image(volume)}@snapshot-{snapshot}")

    def changed(self, volume: str, snapshot: str, *, since: str) -> Iterable[Extent] | None:
        snapshots = self._there(volume).snapshots
        if snapshot not in snapshots or since not in snapshots or snapshots.index(since) >= snapshots.index(snapshot):
            return None
        at = f"{self._image(volume)}@snapshot-{snapshot}"
        told = self._must(
            "diff", "--whole-object", "--from-snap", f"snapshot-{since}", "--format", "json", at, timeout=WORK
        )
        return tuple(
            Extent(offset=row["offset"], length=row["length"], zero=row["exists"] == "false")
            for row in json.loads(told or "[]")
        )

    def _source(self, image: str) -> DiskSource:
        options = {"config": self._qemu_conf()}
        if self._user:
            options |= {"user": self._user, "secret": self._secret}
        # No hosts: the configuration names them, and in all their protocols.
        return DiskSource(type="rbd", format="raw", name=image, options=options)

    def _qemu_conf(self) -> str:
        """The configuration that QEMU reads; it takes the keyring's name from nowhere else."""
        if not self._keyring:
            return self._conf
        try:
            text = Path(self._conf).read_text()
        except OSError as bad:
            raise HostError(ErrorCode.STORAGE, f"{self._conf}: {bad.strerror}", hint="copy it to this host") from bad
        text += f"\n[client.{self._user or 'admin'}]\nkeyring = {self._keyring}\n"
        own = self._own_conf
        if not own.exists() or own.read_text() != text:
            own.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            part = own.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
            part.write_text(text)
            part.chmod(0o644)
            part.replace(own)
        return str(own)

    # ------------------------------------------------------------------------ asking

    def _image(self, volume: str) -> str:
        return f"{self._pool}/volume-{checked(volume)}"

    def _there(self, volume: str) -> VolumeSeen:
        seen = self.seen(volume)
        if seen is None:
            raise HostError(ErrorCode.NOT_FOUND, f"pool {self._pool} has no volume {volume}")
        return seen

    def _closed(self, volume: str) -> None:
        """Raises HostError(BAD_STATE) while somebody has it open."""
        watchers = json.loads(self._must("status", "--format", "json", self._image(volume)))["watchers"]
        if watchers:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"volume {volume} is open at {watchers[0]['address']}",
                hint="detach it; a client that was killed counts as one for half a minute",
            )

    def _remove_parts(self, volume: str) -> list[str]:
        """Remove what was made by halves; what is left because somebody has it open."""
        left = []
        for part in self._parts(volume):
            try:
                self._rbd("rm", "--no-progress", f"{self._pool}/{part}", timeout=WORK)
            except ToolFailed as bad:
                if bad.status == _BUSY:
                    left.append(part)
                elif bad.status != _NOT_FOUND:
                    raise self._error(bad) from bad
        return left

    def _parts(self, volume: str) -> Iterator[str]:
        for image in json.loads(self._must("ls", "--format", "json", self._pool)):
            if image.startswith(f"volume-{checked(volume)}."):
                yield image

    def _must(self, *arguments: str, timeout: float = COMMAND) -> str:
        try:
            return self._rbd(*arguments, timeout=timeout)
        except ToolFailed as bad:
            raise self._error(bad) from bad

    def _rbd(self, *arguments: str, timeout: float = COMMAND) -> str:
        """Raises ToolFailed; HostError(STORAGE) when nobody answers."""
        waits = ("--rados-mon-op-timeout", "--rados-osd-op-timeout", "--client-mount-timeout")
        return self._ask(
            "rbd", *(part for wait in waits for part in (wait, str(PATIENCE))), *arguments, timeout=timeout
        )

    def _ask(self, tool: str, *arguments: str, timeout: float) -> str:
        identity = ["--conf", self._conf]
        if self._user:
            identity += ["--id", self._user]
        if self._keyring:
            identity += ["--keyring", self._keyring]
        return ask(tool, *identity, *arguments, timeout=timeout, unanswered="the Ceph cluster", hint=HINT)

    def _error(self, bad: ToolFailed) -> HostError:
        if bad.status in (_NO_SPACE, _QUOTA) or any(full in bad.said for full in NO_SPACE):
            return self._full()
        if bad.status == _TIMED_OUT or "timed out" in bad.said:
            if self._is_full():
                return self._full()
            return HostError(ErrorCode.STORAGE, "the Ceph cluster does not answer", hint=HINT)
        if bad.status == _BUSY:
            return HostError(ErrorCode.BAD_STATE, f"somebody has it open: {bad.last}", hint="detach it first")
        return HostError(ErrorCode.STORAGE, str(bad), hint=HINT)

    def _is_full(self) -> bool:
        """Whether that is the cause: a full pool does not refuse a write, it lets it wait for room."""
        try:
            told = self._ask(
                "ceph", "--connect-timeout", "2", "osd", "pool", "ls", "detail", "--format", "json", timeout=FULL
            )
        except (ToolFailed, HostError):  # nobody answers: that is the cause
            return False
        flags = {pool["pool_name"]: pool["flags_names"].split(",") for pool in json.loads(told)}
        return bool({"full", "full_quota"} & set(flags.get(self._pool, ())))

    def _full(self) -> HostError:
        return HostError(
            ErrorCode.DISK_FULL,
            f"disk full: the pool {self._pool} has no room",
            hint="delete volumes, raise the quota of the pool, or add OSDs",
        )


def _seen(volume: str, rows: list[dict[str, Any]]) -> VolumeSeen | None:
    """Of what `rbd du` tells of one image: a row for each snapshot, and one for the image as it is now."""
    now = [row for row in rows if "snapshot" not in row]
    if not now:
        return None
    frozen = sorted((row for row in rows if "snapshot" in row), key=lambda row: row["snapshot_id"])
    names = (_SNAPSHOT.fullmatch(row["snapshot"]) for row in frozen)
    return VolumeSeen(
        uuid=volume,
        size=now[0]["provisioned_size"],
        allocated=sum(row["used_size"] for row in rows),
        snapshots=tuple(name[1] for name in names if name),
    )
