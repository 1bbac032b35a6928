"""The held connection to libvirt: opened again whenever it is lost, its events, its failures as HostError.

Two threads of our own live here. The event thread runs libvirt's default event loop, which must be registered
before the first connection opens; it delivers lifecycle events and notices a lost link. The keeper opens the
connection again whenever it is lost, and then compares power states with those last known, so that what
happened in between is told late and not never.

Every failure leaves as HostError: LIBVIRT_DOWN when the connection is gone (the outcome of the call is then
unknown), otherwise what libvirt said, under the code that tells a person where to look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import libvirt

from hostd.compute.changes import Changes
from hostd.compute.domain_xml import PREFIX
from hostd.compute.libvirt_driver.facts import facts
from hostd.spec import ErrorCode, HostError, PowerState

T = TypeVar("T")

KEEPALIVE: Final = (5, 3)
"""Seconds between probes, and unanswered probes after which a hung libvirtd counts as gone."""

REBOOT_QUIET: Final = 5.0
"""One reset of a guest gives several REBOOT events within its boot: those within this many seconds are one."""

RETRY: Final = (0.2, 5.0)
"""Seconds between attempts to connect: first and longest."""

_GONE: Final = frozenset({libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC})

_EVENTS: Final = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: (PowerState.RUNNING, ("booted", "migrated", "restored", "snapshot", "wakeup")),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: (
        PowerState.PAUSED,
        (
            "paused",
            "migrated",
            "ioerror",
            "watchdog",
            "restored",
            "snapshot",
            "api_error",
            "postcopy",
            "postcopy_failed",
        ),
    ),
    libvirt.VIR_DOMAIN_EVENT_RESUMED: (PowerState.RUNNING, ("unpaused", "migrated", "snapshot", "postcopy")),
    libvirt.VIR_DOMAIN_EVENT_STOPPED: (
        PowerState.SHUTDOWN,
        ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "snapshot"),
    ),
    libvirt.VIR_DOMAIN_EVENT_CRASHED: (PowerState.CRASHED, ("panicked", "crashloaded")),
}
"""The power state each lifecycle event leaves, and the names of its details in libvirt's order."""

_STOPPED_AS: Final = {"saved": PowerState.SUSPENDED, "crashed": PowerState.CRASHED}


class Connection:
    """One held connection. All calls block and are thread-safe."""

    def __init__(
        self,
        uri: str,
        *,
        on_power: Callable[[str, PowerState, str], None],
        on_link: Callable[[bool, str], None],
    ) -> None:
        """`on_power(uuid, power, reason)` and `on_link(up, detail)` come from our threads and must not block."""
        self._uri = uri
        self._on_power = on_power
        self._on_link = on_link
        self._connection: Any = None
        self._why_down = "not connected yet"
        self._told_down = False
        self._stopping = threading.Event()
        self._lost = threading.Event()
        self._tried = threading.Event()
        self._changes = Changes()
        self._known: dict[str, PowerState] = {}
        self._rebooted: dict[str, float] = {}
        self._reboots: dict[str, int] = {}
        self._callbacks: list[int] = []
        self._threads: list[threading.Thread] = []
        self._versions: dict[str, str] = {}

    # ------------------------------------------------------------------ connection

    def start(self) -> None:
        """Start both threads and give the first attempt to connect a moment. A libvirtd that is down does not raise."""
        _register()
        for name, body in (("libvirt-events", self._run_events), ("libvirt-keeper", self._keep)):
            thread = threading.Thread(target=body, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self._tried.wait(5.0)

    def stop(self) -> None:
        """Close the connection and end both threads."""
        self._stopping.set()
        self._lost.set()
        keeper = self._threads[1]
        keeper.join(timeout=10)
        libvirt.virEventAddTimeout(0, _once, None)
        self._threads[0].join(timeout=10)

    def versions(self) -> dict[str, str]:
        """libvirt and qemu as dotted numbers; empty until connected once."""
        return dict(self._versions)

    def _run_events(self) -> None:
        while not self._stopping.is_set():
            libvirt.virEventRunDefaultImpl()

    def _keep(self) -> None:
        pause = RETRY[0]
        while not self._stopping.is_set():
            self._lost.clear()
            try:
                connection = self._open()
            except libvirt.libvirtError as bad:
                self._down(bad.get_error_message() or str(bad))
                self._tried.set()
                self._stopping.wait(pause)
                pause = min(pause * 2, RETRY[1])
                continue
            pause = RETRY[0]
            self._tried.set()
            self._lost.wait()
            self._connection = None
            self._close(connection)

    def _open(self) -> Any:
        connection = libvirt.open(self._uri)
        try:
            connection.registerCloseCallback(self._closed, None)
            _keep_alive(connection)
            self._callbacks = [
                connection.domainEventRegisterAny(None, event, callback, None)
                for event, callback in (
                    (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
                    (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reboot),
                    (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._device),
                    (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, self._device),
                    (libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, self._job),
                    (libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._job),
                )
            ]
            self._versions = {"libvirt": _dotted(connection.getLibVersion()), "qemu": _dotted(connection.getVersion())}
            domains = {domain.UUIDString(): facts(domain) for domain in connection.listAllDomains()}
        except libvirt.libvirtError:
            self._close(connection)
            raise
        self._connection = connection
        self._why_down = ""
        if self._told_down:
            self._told_down = False
            self._on_link(True, f"connected to {self._uri}")
        self._catch_up({uuid: domain.power for uuid, domain in domains.items() if domain.owned})
        return connection

    def _catch_up(self, powers: dict[str, PowerState]) -> None:
        missed = {uuid: power for uuid, power in powers.items() if self._known.get(uuid, power) != power}
        self._known = dict(powers)
        for uuid, power in missed.items():
            self._tell(uuid, power, "found after reconnect")
        self._changes.wake()

    def _closed(self, connection: Any, reason: int, _opaque: object) -> None:
        self._down(_CLOSE_REASONS.get(reason, "connection closed"))
        self._connection = None
        self._lost.set()
        self._changes.wake()

    def _down(self, why: str) -> None:
        if self._stopping.is_set():
            return
        self._why_down = why
        if not self._told_down:
            self._told_down = True
            self._on_link(False, why)

    def _close(self, connection: Any) -> None:
        # Callbacks hold the connection: with one left, close would keep it open. A dead link refuses all this.
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            with suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(callback)
        with suppress(libvirt.libvirtError):
            connection.unregisterCloseCallback()
        with suppress(libvirt.libvirtError):
            connection.close()

    # ------------------------------------------------------------------ events

    def _lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: object) -> None:
        uuid = domain.UUIDString()
        # Every start resumes as well; that is news only of a guest that stood paused.
        part_of_start = event == libvirt.VIR_DOMAIN_EVENT_RESUMED and self._known.get(uuid) is not PowerState.PAUSED
        if event in _EVENTS and domain.name().startswith(PREFIX) and not part_of_start:
            power, reasons = _EVENTS[event]
            reason = reasons[detail] if 0 <= detail < len(reasons) else f"detail {detail}"
            if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
                power = _STOPPED_AS.get(reason, power)
            self._tell(uuid, power, reason)
        self._changes.wake()

    def _reboot(self, _connection: Any, domain: Any, _opaque: object) -> None:
        uuid, now = domain.UUIDString(), time.monotonic()
        self._reboots[uuid] = self._reboots.get(uuid, 0) + 1
        quiet = now - self._rebooted.get(uuid, -REBOOT_QUIET) >= REBOOT_QUIET
        self._rebooted[uuid] = now
        if quiet and domain.name().startswith(PREFIX):
            self._tell(uuid, PowerState.RUNNING, "rebooted")
        self._changes.wake()

    def _device(self, _connection: Any, _domain: Any, _alias: str, _opaque: object) -> None:
        self._changes.wake()

    def _job(self, *_what: Any) -> None:
        self._changes.wake()

    def _tell(self, uuid: str, power: PowerState, reason: str) -> None:
        self._known[uuid] = power
        self._on_power(uuid, power, reason)

    def wait(self, test: Callable[[], bool], *, timeout: float) -> bool:
        """Whether `test` came true within `timeout` seconds; asked anew after each event. Raises what `test` raises."""
        return self._changes.wait(test, timeout=timeout)

    def reboots(self, uuid: str) -> int:
        """REBOOT events of this guest since we started: a growing number is evidence of a reset."""
        return self._reboots.get(uuid, 0)

    def _forget(self, uuid: str) -> None:
        """A guest that is no more."""
        self._known.pop(uuid, None)
        self._rebooted.pop(uuid, None)
        self._reboots.pop(uuid, None)

    # ------------------------------------------------------------------ calling

    def _of(self, uuid: str, act: Callable[[Any], T]) -> T:
        with self._talking() as connection:
            return act(connection.lookupByUUIDString(uuid))

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        connection = self._connection
        if connection is None:
            raise self._is_down(self._why_down)
        try:
            yield connection
        except libvirt.libvirtError as bad:
            raise self._translated(connection, bad) from bad

    def _is_down(self, why: str) -> HostError:
        return HostError(
            ErrorCode.LIBVIRT_DOWN,
            f"libvirtd does not answer on {self._uri}: {why or 'connection lost'}",
            hint="hostd reconnects by itself; if it stays so, look at libvirtd's service and log on the host",
        )

    def _translated(self, connection: Any, bad: Any) -> HostError:
        code, message = bad.get_error_code(), bad.get_error_message() or str(bad)
        if connection is not self._connection or code in _GONE or not _alive(connection):
            return self._is_down(message)
        if code == libvirt.VIR_ERR_NO_DOMAIN:
            return HostError(ErrorCode.NOT_FOUND, message)
        if code == libvirt.VIR_ERR_OPERATION_INVALID:
            return HostError(ErrorCode.BAD_STATE, message)
        if "Failed to get" in message and " lock" in message:
            hint = "another guest, or a tool on this host, has the disk open: it is written by one at a time"
            return HostError(ErrorCode.BAD_STATE, message, hint=hint)
        if "No space left on device" in message:
            return HostError(ErrorCode.DISK_FULL, message, hint="free space on the host")
        if "interface" in message and ("No such device" in message or "MTU" in message):
            return HostError(ErrorCode.NETWORK, message, hint="the guest's network is not on this host: apply it first")
        return HostError(ErrorCode.LIBVIRT, message)


_CLOSE_REASONS: Final = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "I/O error",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirtd ended",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "libvirtd hangs",
    libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "closed by us",
}

_registering = threading.Lock()
_registered = False


def _register() -> None:
    """Once per process: the event loop, and silence on stderr, where libvirt prints every error a second time."""
    global _registered
    with _registering:
        if not _registered:
            libvirt.virEventRegisterDefaultImpl()
            libvirt.registerErrorHandler(_ignore, None)
            _registered = True


def _ignore(_context: object, _error: object) -> None:
    """The same error is raised as well."""


def _once(timer: int, _opaque: object) -> None:
    libvirt.virEventRemoveTimeout(timer)


def _keep_alive(connection: Any) -> None:
    try:
        connection.setKeepAlive(*KEEPALIVE)
    except libvirt.libvirtError as bad:
        # A hypervisor inside this process has no link that could hang.
        if bad.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise


def _alive(connection: Any) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
