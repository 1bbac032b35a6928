"""A volume in a directory: its layers, and the manifest that says what they are to each other.

    DIR/<volume uuid>/volume.json        the manifest: as long as it is there, the volume is whole
                      disk.<n>.qcow2     a layer; each but the lowest keeps what changed over the one below
                      base.<digest>      a symbolic link to the cached image that the lowest layer stands on
                      disk.0.raw         of a backend with format raw: the only file

The uppermost layer is what guests write to. A snapshot is a layer that nobody writes to any more. A volume made from
another's snapshot has the same files under names of its own (hard links): a file that has several names is never
changed. A layer that is neither the uppermost nor a snapshot's is left over, and is merged into the one above it.

Pure but for reading: `backends.files` does what changes anything.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

import attrs

from hostd.drivers import DiskSource
from hostd.spec import ErrorCode, HostError, dump, load
from hostd.storage.instances import virtual_size

MANIFEST: Final = "volume.json"

VERSION: Final = 1

LAYER: Final = re.compile(r"disk\.(\d{1,9})\.(?:qcow2|raw)")


@attrs.frozen(kw_only=True)
class Image:
    """What the lowest layer stands on."""

    digest: str
    format: str

    @property
    def file(self) -> str:
        return f"base.{self.digest[:16]}"


@attrs.frozen(kw_only=True)
class Frozen:
    """A snapshot."""

    uuid: str
    layer: str


@attrs.frozen(kw_only=True)
class Merge:
    """Two layers, one above the other, on their way to being one."""

    top: str
    base: str


@attrs.frozen(kw_only=True)
class Manifest:
    """What volume.json says."""

    version: int = VERSION
    format: str
    layers: tuple[str, ...]
    """File names, lowest first."""
    snapshots: tuple[Frozen, ...] = ()
    """Oldest first."""
    image: Image | None = None
    taking: Frozen | None = None
    """A snapshot being taken under a guest, which writes to `layer` already, or not yet: an empty layer that exists,
    over the uppermost one."""
    merging: Merge | None = None
    """Of the uppermost layer into the one below, under a guest that writes to `base` when it is done."""
    lowering: Merge | None = None
    """What nobody has open: when it is done, `base` has taken the name of `top`."""

    @property
    def top(self) -> str:
        return self.layers[-1]

    @property
    def left_over(self) -> tuple[str, ...]:
        """Layers that only hold what those above them do not, uppermost first."""
        kept = {snapshot.layer for snapshot in self.snapshots}
        return tuple(layer for layer in reversed(self.layers[:-1]) if layer not in kept)

    def above(self, layer: str) -> str:
        return self.layers[self.layers.index(layer) + 1]

    def layer_of(self, snapshot: str) -> str | None:
        return next((frozen.layer for frozen in self.snapshots if frozen.uuid == snapshot), None)

    def taken(self, snapshot: str, layer: str) -> Manifest:
        """With the uppermost layer as a snapshot's, and `layer` over it."""
        frozen = Frozen(uuid=snapshot, layer=self.top)
        layers = (*self.layers, layer)
        return attrs.evolve(self.settled(), layers=layers, snapshots=(*self.snapshots, frozen))

    def without(self, gone: str, *, instead: str) -> Manifest:
        """After two layers became one: whatever was in `gone` is in `instead`."""
        return attrs.evolve(
            self.settled(),
            layers=tuple(layer for layer in self.layers if layer != gone),
            snapshots=tuple(
                attrs.evolve(frozen, layer=instead) if frozen.layer == gone else frozen for frozen in self.snapshots
            ),
        )

    def settled(self) -> Manifest:
        """With nothing under way."""
        return attrs.evolve(self, taking=None, merging=None, lowering=None)


def read(directory: Path) -> Manifest | None:
    """None where there is no volume, or no whole one. Raises HostError(STORAGE) for a manifest that makes no sense."""
    try:
        plain = json.loads((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as bad:
        raise _damaged(directory, str(bad)) from bad
    except NotADirectoryError as bad:
        raise _damaged(directory, str(bad)) from bad
    try:
        found = load(Manifest, plain)
    except HostError as bad:
        raise _damaged(directory, bad.error.message) from bad
    named = {*found.layers, *(frozen.layer for frozen in found.snapshots)}
    if found.version != VERSION or not found.layers or not all(map(LAYER.fullmatch, named)):
        raise _damaged(directory, f"version {found.version}, layers {', '.join(found.layers)}")
    if (lowering := found.lowering) is not None and not (directory / lowering.base).exists():
        return found.without(lowering.base, instead=lowering.top)
    return found


def is_ours(name: str) -> bool:
    """Whether a file that no manifest names is what a crash left."""
    return LAYER.fullmatch(name.removesuffix(".part")) is not None or name == f"{MANIFEST}.part"


def text(manifest: Manifest) -> str:
    """The contents of volume.json."""
    return json.dumps(dump(manifest), indent=1) + "\n"


def chain(directory: Path, manifest: Manifest, layer: str) -> DiskSource:
    """How QEMU opens one layer, with all that is below it."""
    backing = None
    if (image := manifest.image) is not None:
        backing = DiskSource(type="file", format=image.format, name=str(directory / image.file))
    for name in manifest.layers[: manifest.layers.index(layer) + 1]:
        backing = DiskSource(type="file", format=manifest.format, name=str(directory / name), backing=backing)
    assert backing is not None
    return backing


def size(directory: Path, layer: str) -> int:
    """Bytes a guest sees of it."""
    return virtual_size(directory / layer)


def allocated(directory: Path) -> int:
    """Bytes that all its files take, those it shares with others included."""
    with os.scandir(directory) as entries:
        return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)


def next_layer(manifest: Manifest) -> str:
    """A name that no layer has."""
    numbers = [int(found[1]) for layer in manifest.layers if (found := LAYER.fullmatch(layer))]
    return f"disk.{max(numbers) + 1}.{manifest.format}"


def _damaged(directory: Path, why: str) -> HostError:
    return HostError(
        ErrorCode.STORAGE,
        f"{directory / MANIFEST} cannot be believed: {why}",
        hint="the volume is left alone: look at the file, or restore a backup",
    )
