"""The wire: every type that crosses between the controller and a host, both ways.

This is the only file of hostd that core imports. Types are frozen attrs classes; `dump` and `load`
turn them into plain JSON values and back, and `load` refuses a field it does not know, so that a
controller and a host that disagree find out at the first call and not at the tenth.

Framing: four bytes of length (big-endian), then that many bytes of UTF-8 JSON, 4 MiB at most. On a
connection a client sends `Request` frames and reads `Reply` and `Event` frames. `receive` and
`console` turn the connection into a byte stream after their reply: from then on a frame carries raw
bytes, and an empty frame ends that direction.

Units: memory in MiB, disks in GiB (flavors) or bytes (files), times in seconds since the epoch, UTC.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, Final, TypeVar

import attrs
import cattrs

PROTOCOL: Final = 1
"""Bumped when a type here changes in a way the other side could not load."""

MAX_FRAME: Final = 4 * 1024 * 1024
"""Bytes of one JSON frame. Raw stream frames are at most this long as well."""

HEADER: Final = 4
"""Bytes of the big-endian length before every frame."""


STATUS: Final = "status"
"""Purpose of a hello that pins no cloud, claims no term and may change nothing."""


# ---------------------------------------------------------------------------- what is wanted


class Want(StrEnum):
    """What an object shall be on its host. Absence is a state, and the only one that deletes."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    PRESENT = "present"
    """For networks: they do not run, they are."""
    ABSENT = "absent"


class ObjectKind(StrEnum):
    """The kinds `apply` converges."""

    INSTANCE = "instance"
    NETWORK = "network"


class DiskFormat(StrEnum):
    """Image formats as the host's QEMU is told them; never probed on the host."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHD = "vpc"
    VHDX = "vhdx"
    VDI = "vdi"
    ISO = "iso"
    AKI = "aki"
    ARI = "ari"


@attrs.frozen(kw_only=True)
class ImageRef:
    """A file of the host's image cache, named by what it holds."""

    digest: str
    """sha256, 64 hex digits, of the file's bytes."""
    format: DiskFormat
    size: int
    """Bytes of the file."""
    virtual_size: int
    """Bytes a guest would see; equals `size` for raw, kernels and ramdisks."""


@attrs.frozen(kw_only=True)
class Nic:
    """One interface of a guest: a port of core's, bound to this host."""

    port_id: str
    network_id: str
    mac: str
    mtu: int
    ips: tuple[str, ...]
    """Addresses the guest is given, without prefix length."""


@attrs.frozen(kw_only=True)
class ConfigDrive:
    """What the guest is told about itself, in OpenStack's format and NoCloud's on one disk."""

    hostname: str
    meta: dict[str, str]
    public_keys: dict[str, str]
    """Keypair name to OpenSSH public key line."""
    user_data: str | None
    """Base64 of the user's bytes; None when there are none."""
    network_data: dict[str, Any]
    """OpenStack's network_data.json: links, networks, services."""
    availability_zone: str
    project_id: str
    files: dict[str, str] = attrs.field(factory=dict)
    """Injected files: path to base64 contents."""


@attrs.frozen(kw_only=True)
class InstanceSpec:
    """A guest as its project wants it on this host."""

    uuid: str
    want: Want
    name: str
    """The display name: never a domain name, never a path."""
    project_id: str
    vcpus: int
    ram_mb: int
    root_gb: int
    """Size of the root overlay; 0 means the image's own virtual size."""
    ephemeral_gb: int = 0
    swap_mb: int = 0
    os_type: str | None = None
    """`linux`, `windows` or unknown: chooses the ephemeral disk's file system."""
    image: ImageRef | None = None
    """The root disk's backing file; None for a guest that boots from kernel and ramdisk alone."""
    kernel: ImageRef | None = None
    ramdisk: ImageRef | None = None
    cmdline: str = ""
    nics: tuple[Nic, ...] = ()
    config_drive: ConfigDrive | None = None
    stop_timeout: int = 60
    """Seconds a guest gets to obey ACPI power off before it is cut (nova's shutdown_timeout)."""
    hard: bool = False
    """For want=stopped: cut the power at once."""


@attrs.frozen(kw_only=True)
class DhcpHost:
    """One fixed lease: who gets which address, and behind which port it is allowed."""

    port_id: str
    mac: str
    ip: str
    hostname: str


@attrs.frozen(kw_only=True)
class SubnetSpec:
    id: str
    cidr: str
    gateway: str | None
    dhcp: bool
    service_ip: str | None
    """Where DHCP (and later DNS, metadata) answers; the same on every host. None without DHCP."""
    dns_servers: tuple[str, ...] = ()
    hosts: tuple[DhcpHost, ...] = ()
    """The ports of this network that live on this host."""


@attrs.frozen(kw_only=True)
class NetworkSpec:
    """A project network's share on this host."""

    uuid: str
    want: Want
    mtu: int
    subnets: tuple[SubnetSpec, ...] = ()


# ---------------------------------------------------------------------------- what is seen


class PowerState(StrEnum):
    """Nova's power states by name (nova/compute/power_state.py); core stores nova's numbers."""

    NOSTATE = "nostate"
    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    SUSPENDED = "suspended"


@attrs.frozen(kw_only=True)
class GuestStats:
    """Counters since the guest started; rates are the reader's business."""

    cpu_time_ns: int = 0
    memory_mb: int = 0
    """Resident on the host."""
    disk_read_bytes: int = 0
    disk_write_bytes: int = 0
    net_rx_bytes: int = 0
    net_tx_bytes: int = 0


@attrs.frozen(kw_only=True)
class DomainSeen:
    """One libvirt domain. `owned` is false for a guest somebody made without skydeck."""

    uuid: str
    name: str
    power: PowerState
    owned: bool
    generation: int | None
    """The generation last applied, from the journal; None when the journal does not know it."""
    quarantined: bool = False
    stats: GuestStats | None = None


@attrs.frozen(kw_only=True)
class DiskSeen:
    """One file under the host's instance store."""

    instance: str
    role: str
    """root, ephemeral, swap, config, save, console."""
    path: str
    size: int
    """Virtual bytes for a disk image, bytes on disk for others."""
    allocated: int


@attrs.frozen(kw_only=True)
class CachedImage:
    digest: str
    size: int
    verified: bool
    refs: int
    """Instances on this host whose chain stands on it."""


@attrs.frozen(kw_only=True)
class LinkSeen:
    """One network object of ours: a bridge, a tap, a service leg."""

    name: str
    kind: str
    network: str | None
    up: bool


@attrs.frozen(kw_only=True)
class NetworkSeen:
    uuid: str
    generation: int | None
    healthy: bool
    """Bridge, service leg and DHCP server are all there as last applied."""
    detail: str = ""


@attrs.frozen(kw_only=True)
class Capacity:
    """What the host has. Reserved amounts and ratios are core's business."""

    arch: str
    cpu_model: str
    vcpus: int
    ram_mb: int
    ram_free_mb: int
    disk_gb: int
    """Of the file system that holds the instances."""
    disk_free_gb: int
    load1: float = 0.0
    uptime: int = 0


@attrs.frozen(kw_only=True)
class Accel:
    """How guests run here. `kvm` only after a probe guest was seen to boot under it."""

    mode: str
    """kvm or tcg."""
    reason: str
    """`kvm: probe booted in 0.8 s`, `tcg (kvm present, probe failed)`, `tcg (no /dev/kvm)`."""


@attrs.frozen(kw_only=True)
class Observation:
    """What is really there, at one moment."""

    at: float
    capacity: Capacity
    accel: Accel
    domains: tuple[DomainSeen, ...]
    disks: tuple[DiskSeen, ...]
    images: tuple[CachedImage, ...]
    networks: tuple[NetworkSeen, ...]
    links: tuple[LinkSeen, ...]
    problems: tuple[str, ...] = ()
    """What could not be observed and why, e.g. that libvirtd does not answer."""


# ---------------------------------------------------------------------------- the calls


@attrs.frozen(kw_only=True)
class Hello:
    """The first call on every connection."""

    protocol: int
    cloud: str
    """The store's uuid. A host belongs to one cloud; a second one is refused."""
    term: int
    """The engine's term: a host that has seen a higher one refuses this controller as stale."""
    host: str | None
    """The host uuid the controller believes it speaks to; None while enrolling."""
    purpose: str = "calls"
    """calls or bulk: bulk connections do not claim the watch. STATUS reads only, for no cloud."""


@attrs.frozen(kw_only=True)
class HelloReply:
    protocol: int
    host: str
    hostname: str
    boot_id: str
    journal_id: str
    """Changes when the journal was lost: every stored generation is then unknown."""
    term: int
    version: str
    accel: Accel
    versions: dict[str, str]
    """kernel, libvirt, qemu, python, distribution."""
    last_seq: int
    """The newest event's number."""


@attrs.frozen(kw_only=True)
class Apply:
    """Converge one object. The answer comes when it is converged or has failed."""

    kind: ObjectKind
    uuid: str
    generation: int
    spec: dict[str, Any]
    """`dump` of InstanceSpec or NetworkSpec; its digest decides whether two applies are the same."""


@attrs.frozen(kw_only=True)
class Applied:
    uuid: str
    generation: int
    steps: tuple[str, ...]
    """What this apply really did, by step name; empty when all was so already."""
    power: PowerState | None = None
    detail: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Act:
    """What is no state. The request id makes a repeat return the first answer."""

    request: str
    verb: str
    """One of ACTS."""
    uuid: str
    args: dict[str, Any] = attrs.field(factory=dict)


ACTS: Final = ("reboot_soft", "reboot_hard", "console_log", "power_off_found", "adopt")
"""Verbs of `act`. `console_log` reads {lines} and answers {text}; `reboot_soft` falls back to hard after
`args.timeout` seconds and answers {fell_back}; `power_off_found` cuts a guest that a finding names."""


@attrs.frozen(kw_only=True)
class Acted:
    request: str
    detail: dict[str, Any]


@attrs.frozen(kw_only=True)
class Known:
    kind: ObjectKind
    uuid: str
    generation: int
    """The newest generation the controller has given out for it."""


@attrs.frozen(kw_only=True)
class Sync:
    """Everything this host shall hold. What is unlisted is stopped and quarantined, never deleted."""

    objects: tuple[Known, ...]


@attrs.frozen(kw_only=True)
class Synced:
    behind: tuple[Known, ...]
    """Listed objects whose generation here is older or unknown (0): apply these."""
    quarantined: tuple[str, ...]
    """Guests of ours that were not listed: now stopped, kept, and out of the way."""


@attrs.frozen(kw_only=True)
class Observe:
    stats: bool = True
    """Per-guest statistics cost about 4 ms a guest; a plain drift check may leave them out."""


@attrs.frozen(kw_only=True)
class Watch:
    from_seq: int
    """Events with a greater number follow, oldest first, then live ones."""


@attrs.frozen(kw_only=True)
class Ack:
    seq: int
    """Events up to and including this one may be forgotten."""


@attrs.frozen(kw_only=True)
class Receive:
    """Bulk: take an image into the cache. The reply tells from which offset to send."""

    digest: str
    size: int


@attrs.frozen(kw_only=True)
class Receiving:
    offset: int
    """Bytes already here from an earlier attempt; equals size when the image is complete and verified."""


@attrs.frozen(kw_only=True)
class Received:
    """Sent as a Reply frame with the same id after the sender's empty frame."""

    digest: str
    size: int
    verified: bool


@attrs.frozen(kw_only=True)
class Console:
    """Bulk: attach to a guest's serial console. Several may watch; all see the same bytes."""

    uuid: str
    write: bool = True
    history: int = 2000
    """Bytes of the log sent first, so that the screen is not blank."""


@attrs.frozen(kw_only=True)
class Prune:
    """Shrink the image cache: unreferenced images go, least recently used first."""

    keep_bytes: int
    digests: tuple[str, ...] = ()
    """These first, when unreferenced (their image was deleted)."""


@attrs.frozen(kw_only=True)
class Pruned:
    removed: tuple[str, ...]
    bytes_freed: int


@attrs.frozen(kw_only=True)
class Empty:
    """Nothing to say."""


CALLS: Final[dict[str, tuple[type, type]]] = {
    "hello": (Hello, HelloReply),
    "ping": (Empty, Empty),
    "sync": (Sync, Synced),
    "apply": (Apply, Applied),
    "act": (Act, Acted),
    "observe": (Observe, Observation),
    "watch": (Watch, Empty),
    "ack": (Ack, Empty),
    "receive": (Receive, Receiving),
    "console": (Console, Empty),
    "prune": (Prune, Pruned),
}
"""Each call by name, with the type of its argument and of its answer."""


# ---------------------------------------------------------------------------- events


class EventKind(StrEnum):
    LIFECYCLE = "lifecycle"
    """A guest changed power state, by our doing or its own: {power, reason}."""
    PROGRESS = "progress"
    """A step of a running apply began: {generation, step, percent}. Not stored, never replayed."""
    RESULT = "result"
    """An apply ended, perhaps while nobody listened: {generation, ok, error?}."""
    HOST = "host"
    """libvirtd went away or came back, the disk filled up: {what, detail}."""


@attrs.frozen(kw_only=True)
class Event:
    seq: int
    """Increases by one, never reused; 0 for progress, which is not stored."""
    at: float
    kind: EventKind
    uuid: str | None
    detail: dict[str, Any] = attrs.field(factory=dict)


# ---------------------------------------------------------------------------- envelopes and errors


class ErrorCode(StrEnum):
    """Why a host said no. Codes up to `CONFLICT` are refusals: nothing happened."""

    PROTOCOL = "protocol"
    """A frame or field that this side does not know."""
    STALE_CONTROLLER = "stale_controller"
    WRONG_CLOUD = "wrong_cloud"
    WRONG_HOST = "wrong_host"
    OLD_GENERATION = "old_generation"
    CONFLICT = "conflict"
    """The same generation with another digest."""
    NOT_FOUND = "not_found"
    BAD_STATE = "bad_state"
    """The guest is not in a state in which this can be done."""
    IMAGE_MISSING = "image_missing"
    """The cache lacks an image the spec names: carry it and apply again."""
    DIGEST_MISMATCH = "digest_mismatch"
    DISK_FULL = "disk_full"
    LIBVIRT_DOWN = "libvirt_down"
    LIBVIRT = "libvirt"
    NETWORK = "network"
    INTERNAL = "internal"


TRANSIENT: Final = frozenset({ErrorCode.LIBVIRT_DOWN, ErrorCode.IMAGE_MISSING})
"""Errors that the same call may well not meet again in a few seconds, on the same host."""


@attrs.frozen(kw_only=True)
class WireError:
    code: ErrorCode
    message: str
    """Names the cause, for a person."""
    hint: str = ""
    """The next act, for a person."""
    step: str | None = None
    """The step of an apply that failed."""


class HostError(Exception):
    """A host's refusal or failure, raised on both sides of the wire; `error` is what crosses it."""

    def __init__(self, code: ErrorCode, message: str, *, hint: str = "", step: str | None = None) -> None:
        super().__init__(message)
        self.error = WireError(code=code, message=message, hint=hint, step=step)

    @property
    def code(self) -> ErrorCode:
        return self.error.code


@attrs.frozen(kw_only=True)
class Request:
    id: int
    call: str
    body: dict[str, Any]


@attrs.frozen(kw_only=True)
class Reply:
    id: int
    ok: dict[str, Any] | None = None
    error: WireError | None = None


@attrs.frozen(kw_only=True)
class Pushed:
    """An event on its way to a watcher."""

    event: Event


# ---------------------------------------------------------------------------- to and from JSON

_converter = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)
T = TypeVar("T")


def _exact(value: Any, kind: type) -> Any:
    # cattrs would turn "3" into 3; on the wire that is a sign of two sides that disagree.
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value


for _kind in (int, str, bool, float):
    _converter.register_structure_hook(_kind, _exact)
_converter.register_structure_hook(StrEnum, lambda value, kind: kind(value))
_converter.register_unstructure_hook(StrEnum, lambda value: value.value)


def dump(value: Any) -> dict[str, Any]:
    """A wire value as plain JSON values."""
    plain: dict[str, Any] = _converter.unstructure(value)
    return plain


def load(kind: type[T], plain: Any) -> T:
    """A plain JSON value as `kind`.

    Raises HostError(PROTOCOL) naming what is wrong: an unknown field, a missing one, a wrong type.
    """
    try:
        return _converter.structure(plain, kind)
    except cattrs.BaseValidationError as bad:
        raise HostError(ErrorCode.PROTOCOL, f"{kind.__name__}: {'; '.join(cattrs.transform_error(bad))}") from bad
    except (ValueError, TypeError, KeyError, AttributeError) as bad:
        raise HostError(ErrorCode.PROTOCOL, f"{kind.__name__}: {bad!r}") from bad


def digest(spec: dict[str, Any]) -> str:
    """sha256 over the canonical JSON of a dumped spec: equal exactly when two applies ask the same."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def encode(value: Any) -> bytes:
    """One frame, header included. Raises HostError(PROTOCOL) when it would exceed MAX_FRAME."""
    body = json.dumps(dump(value), separators=(",", ":")).encode()
    return frame(body)


def frame(body: bytes) -> bytes:
    """`body` with its length before it."""
    if len(body) > MAX_FRAME:
        raise HostError(ErrorCode.PROTOCOL, f"frame of {len(body)} bytes exceeds {MAX_FRAME}")
    return len(body).to_bytes(HEADER, "big") + body


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object of one frame's body. Raises HostError(PROTOCOL)."""
    try:
        plain = json.loads(body)
    except ValueError as bad:
        raise HostError(ErrorCode.PROTOCOL, f"frame is not JSON: {bad}") from bad
    if not isinstance(plain, dict):
        raise HostError(ErrorCode.PROTOCOL, "frame is not a JSON object")
    return plain
