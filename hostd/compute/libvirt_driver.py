"""libvirt, wrapped once: connection, events, and the calls we make. The only file that imports it.

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

import attrs
import libvirt

from hostd.compute import disk_xml
from hostd.compute.changes import Changes
from hostd.compute.domain import Domain, stats_of
from hostd.compute.domain_xml import NAMESPACE, PREFIX, macs, read_metadata
from hostd.metrics.counting import guest_sample_of
from hostd.spec import ErrorCode, GuestSample, GuestStats, HostError, PowerState

T = TypeVar("T")

KEEPALIVE: Final = (5, 3)
"""Seconds between probes, and unanswered probes after which a hung libvirtd counts as gone."""

REBOOT_QUIET: Final = 5.0
"""One reset of a guest gives several REBOOT events within its boot: those within this many seconds are one."""

AGENT_PATIENCE: Final = 10
"""Seconds a guest's agent gets to answer."""

MEMORY_TOLD: Final = 10
"""Seconds between two times that a guest says how much of its memory is in use."""

RETRY: Final = (0.2, 5.0)
"""Seconds between attempts to connect: first and longest."""

_STATS: Final = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)

_GONE: Final = frozenset({libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC})

_STATES: Final = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    # Still a QEMU process that holds its disks open.
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}

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


class Libvirt:
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
        self._processors: dict[str, tuple[int, int]] = {}

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
            domains = {domain.UUIDString(): _facts(domain) for domain in connection.listAllDomains()}
        except libvirt.libvirtError:
            self._close(connection)
            raise
        self._connection = connection
        self._why_down = ""
        if self._told_down:
            self._told_down = False
            self._on_link(True, f"connected to {self._uri}")
        self._catch_up({uuid: facts.power for uuid, facts in domains.items() if facts.owned})
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

    # ------------------------------------------------------------------ reading

    def look(self, uuid: str) -> Domain | None:
        """The domain with this uuid, or None."""
        with self._talking() as connection:
            try:
                return _facts(connection.lookupByUUIDString(uuid))
            except libvirt.libvirtError as bad:
                if bad.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise

    def all(self, *, stats: bool) -> tuple[list[Domain], list[str]]:
        """Every domain there is, ours or not, and what could not be learnt. Statistics where asked for."""
        found: list[Domain] = []
        trouble: list[str] = []
        with self._talking() as connection:
            counted: dict[str, GuestStats] = {}
            if stats:
                try:
                    counted = _all_stats(connection)
                except libvirt.libvirtError as bad:
                    # Numbers are a convenience: a driver that has none still lists its domains.
                    trouble.append(f"statistics: {bad.get_error_message()}")
            for handle in connection.listAllDomains():
                try:
                    facts = _facts(handle)
                except libvirt.libvirtError as bad:
                    if bad.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                        continue  # undefined while we looked
                    raise
                found.append(attrs.evolve(facts, stats=counted.get(facts.uuid)))
        return found, trouble

    def measure(self, clock: Callable[[], float]) -> tuple[GuestSample, ...]:
        """The counters of each guest of ours that is on, by one call for all of them."""
        with self._talking() as connection:
            began = clock()
            counted = _counted(connection)
            # The call reads one guest after the other: the middle is off by half of what it takes, and evenly so.
            at_us = int((began + clock()) / 2 * 1_000_000)
            samples = (
                guest_sample_of(handle.UUIDString(), numbers, at_us=at_us, vcpus=self._vcpus(handle))
                for handle, numbers in counted
                if handle.name() == PREFIX + handle.UUIDString()
            )
            return tuple(sample for sample in samples if sample is not None)

    def _vcpus(self, handle: Any) -> int:
        """Asked once for each start of a guest: its number, by which libvirt knows the running one, is new then."""
        uuid, number = handle.UUIDString(), handle.ID()
        known = self._processors.get(uuid)
        if known is None or known[0] != number:
            known = self._processors[uuid] = (number, int(handle.info()[3]))
            # A guest without a driver for it stays silent, and libvirt may be busy with this one: both may be.
            with suppress(libvirt.libvirtError):
                handle.setMemoryStatsPeriod(MEMORY_TOLD, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return known[1]

    def xml(self, uuid: str) -> str:
        """The persistent definition."""
        return self._of(uuid, lambda domain: str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))

    def live_xml(self, uuid: str) -> str:
        """The running guest as it is now, whatever its definition says."""
        return self._of(uuid, lambda domain: str(domain.XMLDesc(0)))

    def machine_capabilities(self, *, machine: str, kvm: bool) -> str:
        """libvirt's XML about an unversioned machine type; its <machine> is the canonical name."""
        with self._talking() as connection:
            return str(connection.getDomainCapabilities(None, "x86_64", machine, "kvm" if kvm else "qemu"))

    def active_xml(self) -> list[tuple[str, str]]:
        """uuid of every running or paused guest, and what it is now."""
        found: list[tuple[str, str]] = []
        with self._talking() as connection:
            for handle in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                try:
                    found.append((handle.UUIDString(), str(handle.XMLDesc(0))))
                except libvirt.libvirtError as bad:
                    if bad.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                        raise  # otherwise it went while we looked
        return found

    def capacity(self, uuid: str, target: str) -> int:
        """Bytes of a running guest's disk."""
        return int(self._of(uuid, lambda domain: domain.blockInfo(target))[0])

    def copying(self, uuid: str, target: str) -> tuple[int, int] | None:
        """How far a running guest's disk is copied, of how much; None: nothing copies it."""
        now = self._of(uuid, lambda domain: domain.blockJobInfo(target, 0))
        return (int(now["cur"]), int(now["end"])) if now else None

    def backup(self, uuid: str) -> str | None:
        """The <domainbackup> that is under way of a running guest; None: none is."""

        def ask(domain: Any) -> str | None:
            try:
                return str(domain.backupGetXMLDesc(0))
            except libvirt.libvirtError as bad:
                if bad.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, libvirt.VIR_ERR_OPERATION_INVALID):
                    return None
                raise

        return self._of(uuid, ask)

    def backup_percent(self, uuid: str) -> int:
        """How far the job of a running guest is."""
        now = self._of(uuid, lambda domain: domain.jobStats(0))
        return int(100 * now.get("disk_processed", 0) // (now.get("disk_total") or 1))

    def backup_failure(self, uuid: str) -> str | None:
        """Why the last job of a running guest broke off; None: it came to its end."""
        last = self._of(uuid, lambda domain: domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED))
        if last.get("type") == libvirt.VIR_DOMAIN_JOB_COMPLETED:
            return None
        return str(last.get("errmsg") or "it was cancelled")

    # ------------------------------------------------------------------ changing

    def define(self, xml: str) -> None:
        """Make or replace a persistent definition. A running guest keeps its hardware until it stops.

        Not validated against libvirt's schema: that costs more than all the rest of a define, and the tests do it.
        """
        with self._talking() as connection:
            connection.defineXML(xml)

    def undefine(self, uuid: str) -> None:
        """Forget the domain with its saved memory, firmware variables and snapshot records; disks stay."""
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        )
        self._of(uuid, lambda domain: domain.undefineFlags(flags))
        self._known.pop(uuid, None)
        self._rebooted.pop(uuid, None)
        self._reboots.pop(uuid, None)
        self._processors.pop(uuid, None)

    def create(self, uuid: str) -> None:
        """Start it; from its saved memory when there is some."""
        self._of(uuid, lambda domain: domain.create())

    def attach(self, uuid: str, device: str) -> None:
        """Plug a device in to a running guest; its definition is not changed."""
        self._of(uuid, lambda domain: domain.attachDeviceFlags(device, libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def detach(self, uuid: str, device: str) -> None:
        """Ask a running guest to let go of a device. It is gone once the guest has: `look` tells."""
        self._of(uuid, lambda domain: domain.detachDeviceFlags(device, libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def settle(self, uuid: str) -> None:
        """Returns when no change of a running guest is under way: a device that is gone from its XML is closed then."""
        # The numbers do not matter: asking for them waits for whoever changes the domain.
        self._of(uuid, lambda domain: domain.memoryStats())

    def limit(self, uuid: str, target: str, limits: dict[str, int]) -> None:
        """Set a running guest's block I/O limits of one disk, by libvirt's names; 0: none."""
        self._of(uuid, lambda domain: domain.setBlockIoTune(target, limits, libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def resize(self, uuid: str, target: str, size: int) -> None:
        """Grow a running guest's disk to `size` bytes, and tell the guest."""
        self._of(uuid, lambda domain: domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES))

    def overlay(self, uuid: str, snapshot: str, *, quiesce: bool) -> None:
        """Have a running guest write to other files, which are there already, as a <domainsnapshot> says; `quiesce`:
        its agent freezes its file systems meanwhile, or nothing happens."""
        flags = (
            libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        )

        def take(domain: Any) -> None:
            if quiesce:
                domain.agentSetResponseTimeout(AGENT_PATIENCE, 0)
            domain.snapshotCreateXML(snapshot, flags | (libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE if quiesce else 0))

        self._of(uuid, take)

    def commit(self, uuid: str, target: str, *, base: str, top: str | None) -> None:
        """Begin to copy what is in `top` and between down into `base`; None: the file the guest writes to, which is
        then kept in step until `pivot`."""
        flags = 0 if top else libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
        self._of(uuid, lambda domain: domain.blockCommit(target, base, top, 0, flags))

    def pivot(self, uuid: str, target: str) -> None:
        """Have the guest write to the copy from now on. Returns when it does."""
        self._of(uuid, lambda domain: domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT))

    def freeze(self, uuid: str) -> None:
        """Have a guest's agent freeze its file systems. Raises HostError when it does not answer in time."""

        def ask(domain: Any) -> None:
            domain.agentSetResponseTimeout(AGENT_PATIENCE, 0)
            domain.fsFreeze(None, 0)

        self._of(uuid, ask)

    def thaw(self, uuid: str) -> None:
        """Undo `freeze`. Raises HostError when the agent does not answer."""
        self._of(uuid, lambda domain: domain.fsThaw(None, 0))

    def begin_backup(self, uuid: str, backup: str) -> None:
        """Begin to copy a running guest's disks as they are now, into files that are there already, as a
        <domainbackup> says."""
        self._of(uuid, lambda domain: domain.backupBegin(backup, None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL))

    def abort_job(self, uuid: str) -> None:
        """Break off the job of a running guest."""
        self._of(uuid, lambda domain: domain.abortJob())

    def destroy(self, uuid: str) -> None:
        """Cut the power."""
        self._of(uuid, lambda domain: domain.destroy())

    def shutdown(self, uuid: str) -> None:
        """Press the power button."""
        self._of(uuid, lambda domain: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

    def reboot(self, uuid: str) -> None:
        """Press the power button, and start again when the guest has obeyed."""
        self._of(uuid, lambda domain: domain.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN))

    def pause(self, uuid: str) -> None:
        self._of(uuid, lambda domain: domain.suspend())

    def unpause(self, uuid: str) -> None:
        self._of(uuid, lambda domain: domain.resume())

    def save(self, uuid: str) -> None:
        """Memory to disk, power off; `create` goes on from there, running."""
        self._of(uuid, lambda domain: domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING))

    def saved_xml(self, uuid: str) -> str:
        """What its saved memory would go on as."""
        return self._of(uuid, lambda domain: str(domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)))

    def define_saved(self, uuid: str, xml: str) -> None:
        """Change where its saved memory finds its disks."""
        self._of(uuid, lambda domain: domain.managedSaveDefineXML(xml))

    def drop_save(self, uuid: str) -> None:
        """Forget the saved memory, so that the next start boots."""
        self._of(uuid, lambda domain: domain.managedSaveRemove())

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


def _facts(handle: Any) -> Domain:
    state, reason = handle.state()
    active = state not in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)
    saved = not active and bool(handle.hasManagedSaveImage())
    power = _STATES.get(state, PowerState.NOSTATE)
    if saved:
        power = PowerState.SUSPENDED
    elif state == libvirt.VIR_DOMAIN_SHUTOFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED:
        power = PowerState.CRASHED
    xml = handle.XMLDesc(0)
    return Domain(
        uuid=handle.UUIDString(),
        name=handle.name(),
        power=power,
        active=active,
        persistent=bool(handle.isPersistent()),
        saved=saved,
        metadata=_metadata(handle),
        macs=macs(xml) if active else None,
        volumes=tuple(disk_xml.plugged(xml)),
    )


def _metadata(handle: Any) -> dict[str, str]:
    try:
        text = handle.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    except libvirt.libvirtError as bad:
        if bad.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_OPERATION_INVALID):
            return {}  # none of ours, or a domain without a persistent definition
        raise
    return read_metadata(text)


def _all_stats(connection: Any) -> dict[str, GuestStats]:
    return {handle.UUIDString(): stats_of(numbers) for handle, numbers in _counted(connection)}


def _counted(connection: Any) -> list[tuple[Any, dict[str, int]]]:
    # NOWAIT: a guest that is being started or saved must not delay the others' numbers.
    flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    found: list[tuple[Any, dict[str, int]]] = connection.getAllDomainStats(_STATS, flags)
    return found
