"""The calls: each one's argument and answer, the events a host sends, and the frames they travel in."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import attrs

from hostd.spec.consoles import Connect, Console, LogRead, LogsFound, ReadLog, SearchLogs
from hostd.spec.desired import ObjectKind
from hostd.spec.errors import WireError
from hostd.spec.metrics import Measured, Metrics
from hostd.spec.seen import Accel, Observation, PowerState
from hostd.spec.storage import Read, Reading, Write, Writing
from hostd.spec.tracing import Trace, Traced

PROTOCOL: Final = 4
"""Bumped when a type here changes in a way the other side could not load."""

MAX_FRAME: Final = 4 * 1024 * 1024
"""Bytes of one JSON frame. Raw stream frames are at most this long as well."""

HEADER: Final = 4
"""Bytes of the big-endian length before every frame."""


STATUS: Final = "status"
"""Purpose of a hello that pins no cloud, claims no term and may change nothing."""


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
    """`dump` of the kind's spec; its digest decides whether two applies are the same."""


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


ACTS: Final = ("reboot_soft", "reboot_hard", "console_log", "power_off_found", "adopt", "storage_seen")
"""Verbs of `act`. `console_log` reads {lines} and answers {text}; `reboot_soft` falls back to hard after
`args.timeout` seconds and answers {fell_back}; `power_off_found` cuts a guest that a finding names; `storage_seen`,
of the host's own uuid, reads {backends: [BackendSpec, …]} and answers {backends: [BackendSeen, …]}."""


PEER_ACTS: Final = ("image_ask", "image_offer", "image_take", "image_withdraw")
"""Further verbs of `act`, of the host's own uuid, for copies of images from host to host: see hostd/peers.py. Asked for
again they are done again, which is the same as once."""


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
class Prune:
    """Shrink the image cache: unreferenced images go, least recently used first."""

    keep_bytes: int
    digests: tuple[str, ...] = ()
    """These first, when unreferenced (their image was deleted)."""
    keep: tuple[str, ...] = ()
    """These never: they are pinned."""


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
    "connect": (Connect, Empty),
    "read_log": (ReadLog, LogRead),
    "search_logs": (SearchLogs, LogsFound),
    "prune": (Prune, Pruned),
    "trace": (Trace, Traced),
    "metrics": (Metrics, Measured),
    "read": (Read, Reading),
    "write": (Write, Writing),
}
"""Each call by name, with the type of its argument and of its answer."""


class EventKind(StrEnum):
    LIFECYCLE = "lifecycle"
    """A guest changed power state, by our doing or its own: {power, reason}."""
    PROGRESS = "progress"
    """A step of a running apply began: {generation, step, percent}. Not stored, never replayed."""
    RESULT = "result"
    """An apply ended, perhaps while nobody listened: {generation, ok, error?}."""
    CONSOLE = "console"
    """A guest wrote what a person should know of to its console: {pattern, line, times}; see hostd/logs/patterns.py."""
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
