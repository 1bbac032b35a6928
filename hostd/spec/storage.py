"""What volumes and their snapshots shall be, and what a host tells of the places they are kept in."""

from __future__ import annotations

from enum import StrEnum

import attrs

from hostd.spec.desired import BackendSpec, ImageRef, Want


class SourceKind(StrEnum):
    """What a new volume is filled from."""

    IMAGE = "image"
    VOLUME = "volume"
    """Another volume as it is now; nothing may be writing it."""
    SNAPSHOT = "snapshot"


@attrs.frozen(kw_only=True)
class VolumeSource:
    """Where the first contents of a volume come from."""

    kind: SourceKind
    image: ImageRef | None = None
    """Of the host's cache."""
    volume: str | None = None
    """uuid of the volume, also of the one that a snapshot is of."""
    snapshot: str | None = None
    backend: BackendSpec | None = None
    """Of that volume; None: the new volume's own."""


@attrs.frozen(kw_only=True)
class VolumeSpec:
    """A volume as its project wants it. `want` is PRESENT or ABSENT; absent deletes it, and only it."""

    uuid: str
    want: Want
    backend: BackendSpec
    size_gb: int
    """Of a volume that is there: grown to this, never shrunk, also under a guest that has it open on this host."""
    source: VolumeSource | None = None
    """Looked at when the volume is made, and never again."""
    made: bool = False
    """It was made before: when it is not there it is lost, and an empty one in its place would hide that."""
    revert_to: str | None = None
    """uuid of its newest snapshot, as which it shall be: what was written since is dropped. Nobody may have it open."""


@attrs.frozen(kw_only=True)
class SnapshotSpec:
    """A volume as it was at one moment. `want` is PRESENT or ABSENT."""

    uuid: str
    want: Want
    volume: str
    backend: BackendSpec
    quiesce: bool = False
    """Have the guest agent freeze file systems meanwhile, where one answers; the result says {quiesced: bool}."""


@attrs.frozen(kw_only=True)
class ExportSpec:
    """A copy of one disk of a guest, as it was at one moment, running or not: made, read, and made absent again."""

    uuid: str
    want: Want
    instance: str
    disk: str = "root"
    """`root`, or the uuid of a volume attached to it."""
    quiesce: bool = False


@attrs.frozen(kw_only=True)
class VolumeSeen:
    """A volume found in a backend, whoever knows of it."""

    uuid: str
    size: int
    """Bytes a guest sees."""
    allocated: int
    """Bytes it takes."""
    snapshots: tuple[str, ...] = ()
    """uuids, oldest first."""


@attrs.frozen(kw_only=True)
class BackendSeen:
    """One backend, as this host reaches it. Answer of the act `storage_seen`."""

    uuid: str
    reachable: bool
    detail: str = ""
    """Why it is not, for a person."""
    hint: str = ""
    total: int = 0
    """Bytes of the whole pool."""
    free: int = 0
    volumes: tuple[VolumeSeen, ...] = ()
    capabilities: tuple[str, ...] = ()
    """Of `snapshot`, `live_snapshot` (under a guest), `revert`, `clone`, `changed` (what changed between two snapshots
    can be told), `thin`."""


@attrs.frozen(kw_only=True)
class Read:
    """Bulk: stream the contents of a snapshot, of a volume that nobody writes, or of an export.

    After `Reading`, raw frames follow: 8 bytes offset (big-endian) and 8 bytes length, then that many bytes of data; a
    frame of the 16 bytes alone says that this range holds zeros. Ranges come in order, whole `chunk`s but the last one.
    The empty frame ends them, and a Reply of `Streamed` with the same id follows.
    """

    subject: str
    """volume, snapshot or export"""
    uuid: str
    volume: str | None = None
    """Of a snapshot."""
    backend: BackendSpec | None = None
    """None for an export."""
    since: str | None = None
    """uuid of an older snapshot of the volume: only chunks that may differ from it are sent. Where the backend cannot
    tell, all are."""
    chunk: int = 1 << 20
    begin: int = 0
    """The byte, of a whole chunk, that is read first: what came before a cut need not come again."""


@attrs.frozen(kw_only=True)
class Reading:
    size: int
    """Bytes of the whole disk."""
    since: bool
    """Whether only what changed since `Read.since` follows."""


@attrs.frozen(kw_only=True)
class Write:
    """Bulk: overwrite parts of a volume that nobody has open. Frames as `Read` streams them, the other way."""

    volume: str
    backend: BackendSpec


@attrs.frozen(kw_only=True)
class Writing:
    size: int
    """Bytes of the volume."""


@attrs.frozen(kw_only=True)
class Streamed:
    """The end of a stream of extents: all of it is read, or written and on the disk."""

    bytes: int
    """Of data, zeros left out."""
