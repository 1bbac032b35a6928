"""What the daemon asks of the parts that touch a host: one driver per kind of object.

The daemon (server, apply, journal) knows order, generations and crashes; a driver knows libvirt, files
or netlink. Between them stand these types alone, so that each side is tested without the other. A
driver reads (`seen`), decides purely (`plan`) and acts in named steps (`execute`).

All methods block unless said otherwise; the daemon calls them in threads, at most one at a time per object
and several at once for different objects. Whatever fails is raised as HostError.

`hostd serve` builds them: see `serve.drivers`. Construction must be quick and must not touch the host; libraries
that load slowly are imported by `start`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import attrs

from hostd.spec import (
    Accel,
    DiskSeen,
    DomainSeen,
    EventKind,
    ExportSpec,
    GuestSample,
    InstanceSpec,
    LinkSeen,
    Metadata,
    NetworkingSeen,
    NetworkingSpec,
    NetworkSeen,
    ObjectKind,
    PowerState,
    SnapshotSpec,
    Trace,
    Traced,
    VolumeDisk,
    VolumeSpec,
)

SpecT = TypeVar("SpecT", contravariant=True)
SeenT = TypeVar("SeenT")

Spec = InstanceSpec | NetworkingSpec | VolumeSpec | SnapshotSpec | ExportSpec

SPECS: Final[dict[ObjectKind, type[Spec]]] = {
    ObjectKind.INSTANCE: InstanceSpec,
    ObjectKind.NETWORKING: NetworkingSpec,
    ObjectKind.VOLUME: VolumeSpec,
    ObjectKind.SNAPSHOT: SnapshotSpec,
    ObjectKind.EXPORT: ExportSpec,
}
"""What the spec of each kind is loaded as."""


@attrs.frozen
class Step:
    """One thing to do, by name; `args` are what `plan` found out and `execute` needs."""

    name: str
    """One of the driver's `steps`."""
    args: dict[str, Any] = attrs.field(factory=dict)


class Images(Protocol):
    """The host's image cache, as steps may use it. Thread-safe."""

    def path_of(self, digest: str) -> Path:
        """The verified read-only file with this sha256. Raises HostError(IMAGE_MISSING)."""

    def hold(self, instance: str, digests: Iterable[str]) -> None:
        """Set, durably, which images the instance's files stand on; held images are never pruned.

        Raises HostError(IMAGE_MISSING) and changes nothing when one of them is not here.
        """

    def release(self, instance: str) -> None:
        """The instance's files are gone: hold nothing for it any more."""


class StepContext(Protocol):
    """What a step may use of the daemon. Thread-safe."""

    @property
    def cache(self) -> Images: ...

    def progress(self, percent: int) -> None:
        """Tell watchers how far this step is, 0 to 100."""


class Driver(Protocol[SpecT, SeenT]):
    """Converges one kind of object."""

    @property
    def kind(self) -> ObjectKind: ...

    @property
    def steps(self) -> tuple[str, ...]:
        """Every step name `plan` may ever give, in order: the crash tests enumerate them."""

    def seen(self, uuid: str) -> SeenT:
        """What is really there for one object, there or not."""

    def plan(self, spec: SpecT, seen: SeenT) -> tuple[Step, ...]:
        """What leads from `seen` to `spec`, in order. Pure; empty when converged."""

    def execute(self, step: Step, spec: SpecT, context: StepContext) -> None:
        """Do one step. Idempotent: it may have been done, wholly or in part, before a crash."""

    def result(self, spec: SpecT) -> tuple[PowerState | None, dict[str, Any]]:
        """What `Applied` says once the plan was carried out: power state and details."""


class PlacedDriver(Protocol[SpecT, SeenT]):
    """As `Driver`, for objects of which the spec alone says where they are: the look is given the spec."""

    @property
    def kind(self) -> ObjectKind: ...

    @property
    def steps(self) -> tuple[str, ...]: ...

    def look(self, spec: SpecT) -> SeenT:
        """What is really there of the object that the spec names, there or not."""

    def plan(self, spec: SpecT, seen: SeenT) -> tuple[Step, ...]: ...

    def execute(self, step: Step, spec: SpecT, context: StepContext) -> None: ...

    def result(self, spec: SpecT) -> tuple[PowerState | None, dict[str, Any]]: ...


AnyDriver = Driver[Any, Any] | PlacedDriver[Any, Any]


@attrs.frozen(kw_only=True)
class Happened:
    """Something the daemon did not ask for; it is numbered, dated and stored as an Event."""

    kind: EventKind
    uuid: str | None
    detail: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ConsolePaths:
    """Where a guest's serial console is."""

    socket: Path
    """UNIX stream socket QEMU listens on; it takes one client at a time and goes away with the guest."""
    log: Path
    """What the guest has written so far; may not exist yet."""


class Guests(Driver[InstanceSpec, Any], Protocol):
    """The guest driver: instances, and what is known of guests beyond convergence."""

    def start(self, on_event: Callable[[Happened], None]) -> None:
        """Connect, or keep trying in the background. `on_event` may be called from any thread.

        Must not raise when libvirtd is down: calls then raise HostError(LIBVIRT_DOWN) until it is back.
        """

    def stop(self) -> None:
        """Disconnect and end own threads. Guests run on."""

    def probe(self) -> Accel:
        """Find out whether guests run under KVM here; may take a minute. Asked once per boot."""

    def use(self, accel: Accel) -> None:
        """What `probe` found, now or earlier in this boot. Until told, a step that needs it may wait."""

    def versions(self) -> dict[str, str]:
        """`libvirt` and `qemu`, as far as known at once. Never raises."""

    def act(self, verb: str, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        """One of spec.ACTS; the detail of `Acted`. Raises HostError(NOT_FOUND, BAD_STATE, ...)."""

    def observe(self, *, stats: bool) -> tuple[tuple[DomainSeen, ...], tuple[DiskSeen, ...], tuple[str, ...]]:
        """Domains (without generation: the journal knows it), files and problems. Does not raise."""

    def measure(self, clock: Callable[[], float]) -> tuple[GuestSample, ...]:
        """What each guest of ours that is on has used so far. Cheap: asked once a second, for all at once."""

    def quarantine(self, uuid: str) -> None:
        """Stop a guest of ours and keep it from starting, files untouched. Idempotent."""

    def console(self, uuid: str) -> ConsolePaths:
        """Where the guest's serial console is. Raises HostError(NOT_FOUND)."""

    def log(self, uuid: str) -> Path | None:
        """Where a guest's console log is, or what was kept of it after the guest was deleted; None: there is none."""

    def logs(self) -> Mapping[str, Path]:
        """Where the log of each guest of this host is, by uuid; the files may not exist yet."""

    def tidy_logs(self) -> None:
        """Let go of the logs of deleted guests that were kept long enough. Raises OSError."""

    def display(self, uuid: str) -> Path:
        """The UNIX socket of a running guest's VNC server. Raises HostError(NOT_FOUND), BAD_STATE for a guest that is
        off or has no display."""


@attrs.frozen(kw_only=True)
class NetworkingObserved:
    """What an observation tells of the networking; the generation is the journal's to know."""

    networking: NetworkingSeen
    networks: tuple[NetworkSeen, ...] = ()
    links: tuple[LinkSeen, ...] = ()
    problems: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class DiskSource:
    """How QEMU opens a disk: a source of libvirt's XML, with the whole chain under it, so that nothing is probed."""

    type: str
    """file, block, or network's protocol: iscsi, rbd."""
    format: str
    """raw or qcow2."""
    name: str
    """A path; of rbd pool/image, of iscsi iqn/lun."""
    hosts: tuple[tuple[str, int], ...] = ()
    """Address and port of network sources."""
    options: dict[str, str] = attrs.field(factory=dict)
    """`config` (a ceph.conf), `user`, `secret` (the uuid libvirt knows it by)."""
    backing: DiskSource | None = None


class Storage(Protocol):
    """What the guest driver asks of the volumes."""

    def source(self, disk: VolumeDisk) -> DiskSource:
        """What a guest opens now. Raises HostError(NOT_FOUND) for a volume that is not there, STORAGE for a backend
        that cannot be reached."""

    def opening(self, *volumes: str) -> AbstractContextManager[None]:
        """What `source` says of these volumes stays so meanwhile: to be held from asking until a guest has them open.
        Raises HostError(BAD_STATE) for one that is being worked on for longer than a start can wait."""


class LiveDisks(Protocol):
    """What the volumes ask of the guests: work on a disk that a running guest has open. Thread-safe.

    Disks are named by their volume's uuid. All raise HostError(BAD_STATE) when no running guest of this host has it.
    """

    def holder(self, volume: str) -> str | None:
        """The instance whose running (or paused) guest has the volume open here; None: nobody has."""

    def opens(self, volume: str) -> Path | None:
        """The file that a guest of this host, running or not, has as that volume by its definition; None when no
        definition names the volume. Raises nothing else than LIBVIRT_DOWN."""

    def resize(self, volume: str, size: int) -> None:
        """Grow a disk to `size` bytes; the guest sees it. For formats QEMU grows by itself, and after raw ones grew."""

    def overlay(self, volume: str, top: Path, *, quiesce: bool) -> bool:
        """From now on the guest writes to `top`, an empty qcow2 file that was made over its present file. Answers
        whether the guest's file systems were frozen meanwhile. Idempotent."""

    def still(self, volume: str, *, quiesce: bool) -> AbstractContextManager[bool | None]:
        """For as long as it takes a backend to take a snapshot by itself: whether the guest's file systems are frozen;
        None when nobody has the volume open. Raises nothing else than LIBVIRT_DOWN."""

    def merge(self, volume: str, *, top: Path, base: Path, progress: Callable[[int], None]) -> None:
        """Commit `top`, and all between, down into `base`; when `top` is what the guest writes to, it writes to `base`
        from then on. Returns when that is so; the files are left. Idempotent."""


class Networking(Driver[NetworkingSpec, Any], Protocol):
    """The networking driver: all of this host's networks, routers and firewalls, as one document."""

    def start(self, on_event: Callable[[Happened], None], metadata_of: Callable[[str], Metadata | None]) -> None:
        """Prepare, quickly. `on_event` may be called from any thread; `metadata_of` answers what an instance of this
        host is told about itself, by its uuid; it blocks, and may be called from any thread but the event loop's."""

    def stop(self) -> None:
        """End own threads. Networks, routers and DHCP servers stay."""

    def observe(self) -> NetworkingObserved:
        """Does not raise: what could not be read is a problem."""

    def trace(self, asked: Trace) -> Traced:
        """This host's hops of a path. Raises HostError(NOT_FOUND) for a port that is not here."""

    def dial(self, network: str, address: str, port: int) -> socket.socket:
        """A TCP connection to a guest from inside its network, whatever else has the same address elsewhere.

        Raises HostError(NOT_FOUND) for a network that is not here, NETWORK when nobody answers or it is refused.
        """
