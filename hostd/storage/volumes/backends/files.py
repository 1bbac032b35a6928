"""Volumes as files: `file`, in a directory of this host, and `nfs`, in a directory that several hosts share.

Options of both: `format`, qcow2 (the default) or raw. Raw volumes have no snapshots.
Options of `file`: `path`, a directory that is there (else hostd makes its own, STATE/volumes/<backend uuid>).
Options of `nfs`: `export` (host:/path), which this host mounts, with `mount_options`; or `path`, a shared directory
that somebody else mounts. See `mounts`.

How layers stand to each other is in `layers`. A change becomes true in the moment in which the manifest is replaced;
everything before can be done again, everything after is tidying.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeSeen
from hostd.storage import qcow2, sparse
from hostd.storage.instances import checked
from hostd.storage.volumes import layers, qemu_img
from hostd.storage.volumes.backend import Can, Extent, Pool, Progress
from hostd.storage.volumes.backends.tools import copy
from hostd.storage.volumes.effects import Effects
from hostd.storage.volumes.layers import MANIFEST, Image, Manifest, Merge
from hostd.storage.volumes.locks import written
from hostd.storage.volumes.mounts import Shared, own_directory

_LAYERED: Final = frozenset(Can)
_RAW: Final = frozenset({Can.THIN})

_FORMATS: Final = ("qcow2", "raw")


class _Files:
    """A directory of volumes. Thread-safe for different volumes."""

    def __init__(self, spec: BackendSpec, *, live: LiveDisks, effects: Effects | None = None) -> None:
        self._format = spec.options.get("format", "qcow2")
        if self._format not in _FORMATS:
            raise HostError(ErrorCode.PROTOCOL, f"volumes have no format {self._format!r}", hint="qcow2 or raw")
        self._live = live
        self._do = effects or Effects()

    def _root(self) -> Path:
        """Where the volumes are, reached for. Raises HostError(STORAGE)."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ looking

    @property
    def can(self) -> frozenset[Can]:
        return _LAYERED if self._format == "qcow2" else _RAW

    def pool(self) -> Pool:
        stats = os.statvfs(self._root())
        return Pool(total=stats.f_blocks * stats.f_frsize, free=stats.f_bavail * stats.f_frsize)

    def volumes(self) -> Iterable[VolumeSeen]:
        root = self._root()
        for name in sorted(os.listdir(root)):
            # No volume's name, one that `seen` says more of, or one that is being deleted.
            with contextlib.suppress(HostError, FileNotFoundError):
                if (root / name / MANIFEST).exists() and (seen := self.seen(checked(name))) is not None:
                    yield seen

    def seen(self, volume: str) -> VolumeSeen | None:
        directory = self._of(volume)
        if (manifest := layers.read(directory)) is None:
            return None
        return VolumeSeen(
            uuid=volume,
            size=layers.size(directory, self._uppermost(manifest)),
            allocated=layers.allocated(directory),
            snapshots=tuple(frozen.uuid for frozen in manifest.snapshots),
        )

    def source(self, volume: str) -> DiskSource:
        directory, manifest = self._whole(volume)
        if manifest.merging is not None and self._live.holder(volume) is None:
            manifest = self._as_left(volume, directory, manifest)
        # A layer that is being put on top is empty or written to: the guest's in either case.
        return layers.chain(directory, _with_taking(manifest), self._uppermost(manifest))

    def frozen(self, volume: str, snapshot: str) -> DiskSource:
        directory, manifest = self._whole(volume)
        return layers.chain(directory, manifest, self._layer(volume, manifest, snapshot))

    def changed(self, volume: str, snapshot: str, *, since: str) -> Iterable[Extent] | None:
        directory, manifest = self._whole(volume)
        new, old = (self._layer(volume, manifest, name) for name in (snapshot, since))
        above = manifest.layers.index(new) - manifest.layers.index(old)
        if above < 0:
            return None
        found = list(qemu_img.allocated(layers.chain(directory, manifest, new), above=above, where=directory))
        grown = layers.size(directory, old)
        if (size := layers.size(directory, new)) > grown:
            # It is zeros as far as nothing was written there, which was told above.
            found.append(Extent(offset=grown, length=size - grown, zero=False))
        return found

    # ------------------------------------------------------------------------ making and deleting

    def create(self, volume: str, size: int, *, progress: Progress) -> None:
        if self.seen(volume) is not None:
            return
        directory = self._fresh(volume)
        self._do.put(directory / self._lowest, lambda part: self._empty(part, size))
        self._write(directory, Manifest(format=self._format, layers=(self._lowest,)))

    def create_from(self, volume: str, size: int, source: DiskSource, *, progress: Progress) -> None:
        if self.seen(volume) is not None:
            return
        directory = self._fresh(volume)

        def fill(part: Path) -> None:
            self._empty(part, size)
            target = DiskSource(type="file", format=self._format, name=str(part))
            copy(source, target, size=size, progress=progress)

        self._do.put(directory / self._lowest, fill, needed=size)
        self._write(directory, Manifest(format=self._format, layers=(self._lowest,)))

    def clone(self, volume: str, size: int, *, of: str, snapshot: str, progress: Progress) -> None:
        if self.seen(volume) is not None:
            return
        origin, theirs = self._whole(of)
        layer = self._layer(of, theirs, snapshot)
        below = theirs.layers[: theirs.layers.index(layer) + 1]
        directory = self._fresh(volume)
        for name in below:
            self._do.link(origin / name, directory / name)
        if theirs.image is not None:
            self._do.symlink((origin / theirs.image.file).readlink(), directory / theirs.image.file)
        manifest = Manifest(format=self._format, layers=below, image=theirs.image)
        top = layers.next_layer(manifest)
        self._overlay(directory, layer, top, size=max(size, layers.size(directory, layer)))
        # Who deletes the snapshot says so before it changes a file: what was linked before that, it leaves alone.
        if self._layer(of, self._whole(of)[1], snapshot) != layer:
            raise HostError(ErrorCode.BAD_STATE, f"snapshot {snapshot} changed while it was cloned", hint="try again")
        self._write(directory, attrs.evolve(manifest, layers=(*below, top)))

    def delete(self, volume: str) -> None:
        directory = self._of(volume)
        if (manifest := layers.read(directory)) is not None:
            if manifest.snapshots:
                raise HostError(
                    ErrorCode.BAD_STATE,
                    f"volume {volume} has {len(manifest.snapshots)} snapshots",
                    hint="delete its snapshots first",
                )
            self._idle(volume, directory, manifest)
            self._do.remove(directory, [MANIFEST])
        self._do.empty(directory)
        self._do.rmdir(directory)

    def extend(self, volume: str, size: int) -> None:
        directory, manifest = self._settled(volume)
        if layers.size(directory, manifest.top) >= size:
            return
        if self._live.holder(volume) is None:
            self._idle(volume, directory, manifest)
            disk = layers.chain(directory, manifest, manifest.top)
            self._do.run("resize", lambda: qemu_img.resize(disk, size, where=directory))
            return
        if self._format == "raw":
            self._do.run("truncate", lambda: os.truncate(directory / manifest.top, size))
        self._do.run("live resize", lambda: self._live.resize(volume, size))

    # ------------------------------------------------------------------------ snapshots

    def snapshot(self, volume: str, snapshot: str, *, quiesce: bool) -> bool | None:
        directory, manifest = self._settled(volume)
        if manifest.layer_of(snapshot) is not None:
            return None
        if self._format != "qcow2":
            raise HostError(
                ErrorCode.BAD_STATE, "volumes of format raw have no snapshots", hint="retype it to a qcow2 backend"
            )
        top = layers.next_layer(manifest)
        held = self._live.holder(volume) is not None
        if not held:
            self._idle(volume, directory, manifest)
        self._overlay(directory, manifest.top, top, size=layers.size(directory, manifest.top))
        if not held:
            self._write(directory, manifest.taken(snapshot, top))
            return None
        self._write(directory, attrs.evolve(manifest, taking=layers.Frozen(uuid=snapshot, layer=top)))
        return self._take(volume, directory, quiesce=quiesce)

    def delete_snapshot(self, volume: str, snapshot: str, *, progress: Progress) -> None:
        directory, manifest = self._settled(volume)
        if manifest.layer_of(snapshot) is not None:
            kept = tuple(frozen for frozen in manifest.snapshots if frozen.uuid != snapshot)
            manifest = attrs.evolve(manifest, snapshots=kept)
            self._write(directory, manifest)
        self._merge_left_over(volume, directory, manifest, progress=progress)

    def revert(self, volume: str, snapshot: str) -> None:
        directory, manifest = self._settled(volume)
        layer = self._layer(volume, manifest, snapshot)
        if manifest.snapshots[-1].uuid != snapshot:
            raise HostError(ErrorCode.BAD_STATE, f"snapshot {snapshot} is not the newest of volume {volume}")
        self._idle(volume, directory, manifest)
        kept = manifest.layers[: manifest.layers.index(layer) + 1]
        top = layers.next_layer(manifest)
        self._overlay(directory, layer, top, size=layers.size(directory, manifest.top))
        self._write(directory, attrs.evolve(manifest.settled(), layers=(*kept, top)))
        self._do.remove(directory, [name for name in manifest.layers if name not in kept])

    # ------------------------------------------------------------------------ layers

    def _take(self, volume: str, directory: Path, *, quiesce: bool) -> bool | None:
        """Finish a snapshot under a guest: also under one that has gone meanwhile, or that was moved over already."""
        manifest = layers.read(directory)
        assert manifest is not None
        assert manifest.taking is not None
        taking, frozen = manifest.taking, None
        if self._live.holder(volume) is not None:
            frozen = self._live.overlay(volume, directory / taking.layer, quiesce=quiesce)
        self._write(directory, manifest.taken(taking.uuid, taking.layer))
        return frozen

    def _settled(self, volume: str) -> tuple[Path, Manifest]:
        """A volume of which nothing is half done any more. Raises HostError: NOT_FOUND, what finishing it raises."""
        directory, manifest = self._whole(volume)
        if manifest.taking is not None:
            self._take(volume, directory, quiesce=False)
        elif manifest.merging is not None:
            self._merge_uppermost(volume, directory, manifest, manifest.merging, lambda _: None)
        else:
            named = {*manifest.layers, *((manifest.image.file,) if manifest.image else ())}
            ours = [name for name in os.listdir(directory) if layers.is_ours(name)]
            self._do.remove(directory, [name for name in ours if name not in named])
            return directory, manifest
        return self._settled(volume)

    def _merge_left_over(self, volume: str, directory: Path, manifest: Manifest, *, progress: Progress) -> None:
        for layer in manifest.left_over:
            above = manifest.above(layer)
            if self._live.holder(volume) is None:
                self._idle(volume, directory, manifest)
                manifest = self._merge_offline(directory, manifest, Merge(top=above, base=layer), progress)
                continue
            if (directory / layer).stat().st_nlink > 1:
                continue  # a clone stands on it as well: it is merged when no guest has it open
            if above == manifest.top:
                self._write(directory, attrs.evolve(manifest, merging=Merge(top=above, base=layer)))
                manifest = self._merge_uppermost(volume, directory, manifest, Merge(top=above, base=layer), progress)
                self._do.remove(directory, [above])
                continue
            self._merge_live(volume, directory, Merge(top=above, base=layer), progress)
            manifest = manifest.without(above, instead=layer)
            self._write(directory, manifest)
            self._do.remove(directory, [above])

    def _merge_uppermost(
        self, volume: str, directory: Path, manifest: Manifest, merge: Merge, progress: Progress
    ) -> Manifest:
        """Merge what a guest writes to, or did when this was begun, into the layer below."""
        if self._live.holder(volume) is not None:
            self._merge_live(volume, directory, merge, progress)
            merged = manifest.without(merge.top, instead=merge.base)
        else:
            merged = self._as_left(volume, directory, manifest)
        self._write(directory, merged)
        return merged

    def _merge_live(self, volume: str, directory: Path, merge: Merge, progress: Progress) -> None:
        top, base = directory / merge.top, directory / merge.base
        self._do.run("live merge", lambda: self._live.merge(volume, top=top, base=base, progress=progress))

    def _as_left(self, volume: str, directory: Path, manifest: Manifest) -> Manifest:
        """What a guest that went while nobody looked has left: it wrote to what its definition names."""
        if (merge := manifest.merging) is None:
            return manifest
        if self._live.opens(volume) == directory / merge.base:
            return manifest.without(merge.top, instead=merge.base)
        return attrs.evolve(manifest, merging=None)

    def _merge_offline(self, directory: Path, manifest: Manifest, merge: Merge, progress: Progress) -> Manifest:
        """Bring what is in the upper layer down into the lower one, which then takes its name. What the volume holds is
        the same at any moment."""
        if (directory / merge.base).stat().st_nlink > 1:
            self._separate(directory, merge.base)
        self._write(directory, attrs.evolve(manifest, lowering=merge))
        disk = layers.chain(directory, manifest, merge.top)
        room = layers.size(directory, merge.top)
        self._do.run("commit", lambda: qemu_img.commit(disk, size=room, progress=progress))
        self._do.replace(directory / merge.base, directory / merge.top)
        manifest = manifest.without(merge.base, instead=merge.top)
        self._write(directory, manifest)
        return manifest

    def _separate(self, directory: Path, layer: str) -> None:
        """Have a file of one's own where a clone has the same one."""
        path = directory / layer
        self._do.put(path, lambda part: sparse.copy(path, part), needed=path.stat().st_blocks * 512)

    def _overlay(self, directory: Path, below: str, name: str, *, size: int) -> None:
        self._do.put(directory / name, lambda part: qcow2.create(part, size=size, backing=(below, "qcow2")))

    def _empty(self, part: Path, size: int) -> None:
        if self._format == "qcow2":
            qcow2.create(part, size=size)
        else:
            sparse.create(part, size)

    # ------------------------------------------------------------------------ files

    @property
    def _lowest(self) -> str:
        return f"disk.0.{self._format}"

    def _of(self, volume: str) -> Path:
        return self._root() / checked(volume)

    def _fresh(self, volume: str) -> Path:
        """The directory of a volume that is to be made, without what an earlier attempt left."""
        directory = self._of(volume)
        self._do.empty(directory)
        self._do.directory(directory)
        return directory

    def _write(self, directory: Path, manifest: Manifest) -> None:
        self._do.put(directory / MANIFEST, lambda part: _put_text(part, layers.text(manifest)))

    def _whole(self, volume: str) -> tuple[Path, Manifest]:
        directory = self._of(volume)
        if (manifest := layers.read(directory)) is None:
            raise HostError(ErrorCode.NOT_FOUND, f"there is no volume {volume} in {directory.parent}")
        return directory, manifest

    def _layer(self, volume: str, manifest: Manifest, snapshot: str) -> str:
        if (layer := manifest.layer_of(snapshot)) is None:
            raise HostError(ErrorCode.NOT_FOUND, f"volume {volume} has no snapshot {snapshot}")
        return layer

    def _uppermost(self, manifest: Manifest) -> str:
        return manifest.top if manifest.taking is None else manifest.taking.layer

    def _idle(self, volume: str, directory: Path, manifest: Manifest) -> None:
        """Raises HostError(BAD_STATE) when somebody has the volume open."""
        holder = self._live.holder(volume)
        if holder is None and not written(directory / self._uppermost(manifest)):
            return
        who = f"instance {holder}" if holder is not None else "another process, perhaps of another host,"
        raise HostError(ErrorCode.BAD_STATE, f"{who} has volume {volume} open", hint="detach it, or stop that guest")


class FileBackend(_Files):
    """`file`: storage.volumes.backend.Backend and OverImages."""

    def __init__(
        self, spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks, effects: Effects | None = None
    ) -> None:
        """Raises HostError(PROTOCOL) for options that cannot be."""
        super().__init__(spec, live=live, effects=effects)
        self._directory = own_directory(spec, state)

    def _root(self) -> Path:
        return self._directory.reach()

    @property
    def over(self) -> frozenset[str]:
        return frozenset(_FORMATS) if self._format == "qcow2" else frozenset()

    def create_over(self, volume: str, size: int, image: DiskSource, *, digest: str) -> None:
        if self.seen(volume) is not None:
            return
        directory = self._fresh(volume)
        base = Image(digest=digest, format=image.format)
        self._do.symlink(Path(image.name), directory / base.file)
        below = (base.file, image.format)
        self._do.put(directory / self._lowest, lambda part: qcow2.create(part, size=size, backing=below))
        self._write(directory, Manifest(format=self._format, layers=(self._lowest,), image=base))

    def image(self, volume: str) -> str | None:
        manifest = layers.read(self._of(volume))
        return manifest.image.digest if manifest is not None and manifest.image is not None else None


class NfsBackend(_Files):
    """`nfs`: storage.volumes.backend.Backend."""

    def __init__(
        self, spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks, effects: Effects | None = None
    ) -> None:
        """Raises HostError(PROTOCOL) for options that cannot be."""
        super().__init__(spec, live=live, effects=effects)
        self._shared = Shared.of(spec, state)

    def _root(self) -> Path:
        return self._shared.reach()


def _with_taking(manifest: Manifest) -> Manifest:
    if manifest.taking is None:
        return manifest
    return attrs.evolve(manifest, layers=(*manifest.layers, manifest.taking.layer))


def _put_text(path: Path, text: str) -> None:
    path.write_text(text)
