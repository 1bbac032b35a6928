"""Guests that are nothing but records, with consoles that answer and disks that can be plugged in."""

from __future__ import annotations

import contextlib
import socket
import threading
import zlib
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from hostd.drivers import ConsolePaths, Happened, Images, Step, StepContext, Storage
from hostd.memory.records import Record
from hostd.spec import (
    Accel,
    DiskSeen,
    DomainSeen,
    ErrorCode,
    EventKind,
    GuestSample,
    HostError,
    ImageRef,
    InstanceSpec,
    ObjectKind,
    PowerState,
    VolumeDisk,
    Want,
    dump,
    load,
)

_POWER: Final = {
    Want.RUNNING: PowerState.RUNNING,
    Want.STOPPED: PowerState.SHUTDOWN,
    Want.PAUSED: PowerState.PAUSED,
    Want.SUSPENDED: PowerState.SUSPENDED,
}

_STEP_TO: Final = {
    PowerState.RUNNING: "start",
    PowerState.SHUTDOWN: "stop",
    PowerState.PAUSED: "pause",
    PowerState.SUSPENDED: "suspend",
}


_OPEN: Final = frozenset({PowerState.RUNNING.value, PowerState.PAUSED.value})
"""Power states in which a guest has its disks open."""

_GIB: Final = 1 << 30


class MemoryGuests:
    """drivers.Guests and drivers.LiveDisks over records: {files, root, name, power, quarantined, volumes}, of which
    `root` is {size, digest} and `volumes` what VolumeDisks are dumped as."""

    kind = ObjectKind.INSTANCE
    steps = (
        "disks",
        "define",
        "detach_disks",
        "attach_disks",
        "limit_disks",
        "start",
        "stop",
        "pause",
        "suspend",
        "undefine",
        "delete_disks",
    )

    def __init__(self, records: MutableMapping[str, Record], *, consoles: Path, storage: Storage | None = None) -> None:
        """`consoles` is a directory for sockets and logs; its path must be short (108 bytes in all).

        `storage` is asked for every volume that is plugged in; None plugs in whatever is named.
        """
        self._storage = storage
        self._records = records
        self._consoles = consoles
        self._ports: dict[str, _EchoConsole] = {}
        self._lock = threading.Lock()
        self._on_event: Callable[[Happened], None] = lambda _: None

    def start(self, on_event: Callable[[Happened], None]) -> None:
        self._on_event = on_event

    def stop(self) -> None:
        for port in self._ports.values():
            port.close()

    def probe(self) -> Accel:
        return Accel(mode="tcg", reason="tcg (in memory)")

    def use(self, accel: Accel) -> None:
        """Nothing here depends on it."""

    def versions(self) -> dict[str, str]:
        return {"libvirt": "none", "qemu": "none"}

    # ------------------------------------------------------------------------ convergence

    def seen(self, uuid: str) -> Record | None:
        return self._records.get(uuid)

    def plan(self, spec: InstanceSpec, seen: Record | None) -> tuple[Step, ...]:
        here = seen or {}
        if spec.want is Want.ABSENT:
            undefine = (Step("undefine"),) if here.get("power") else ()
            return (*undefine, Step("delete_disks")) if here else ()
        steps = []
        if not here.get("files"):
            steps.append(Step("disks"))
        power = PowerState(here.get("power") or PowerState.SHUTDOWN)
        plugging = _plugging(spec, here)
        if here.get("name") != spec.name or here.get("quarantined") or (plugging and power.value not in _OPEN):
            steps.append(Step("define"))
        if power.value in _OPEN:
            steps += [Step(name) for name in plugging]
        if spec.want is Want.PRESENT:
            return tuple(steps)
        wanted = _POWER[spec.want]
        if wanted in (PowerState.PAUSED, PowerState.SUSPENDED) and power is PowerState.SHUTDOWN:
            steps.append(Step("start"))
        if power is not wanted:
            steps.append(Step(_STEP_TO[wanted]))
        return tuple(steps)

    def execute(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        match step.name:
            case "disks":
                context.cache.hold(spec.uuid, [ref.digest for ref in _images(spec)])
                digest = None if spec.image is None else spec.image.digest
                self._change(spec.uuid, files=True, root={"size": spec.root_gb * _GIB, "digest": digest})
                context.progress(100)
            case "define":
                record = self._records.get(spec.uuid, {})
                power = record.get("power") or PowerState.SHUTDOWN.value
                self._change(spec.uuid, name=spec.name, power=power, quarantined=False)
                if power not in _OPEN:
                    self._plug(spec)
            case "detach_disks":
                wanted = {disk.volume for disk in spec.volumes}
                kept = [known for known in self._volumes(spec.uuid) if known.volume in wanted]
                self._change(spec.uuid, volumes=[dump(known) for known in kept])
            case "attach_disks" | "limit_disks":
                self._plug(spec)
            case "undefine":
                self._change(spec.uuid, power=None)
            case "delete_disks":
                self._records.pop(spec.uuid, None)
                context.cache.release(spec.uuid)
            case name:
                power = next(power for power, step_name in _STEP_TO.items() if step_name == name)
                self.set_power(spec.uuid, power, reason="asked")

    def result(self, spec: InstanceSpec) -> tuple[PowerState | None, dict[str, Any]]:
        power = self._records.get(spec.uuid, {}).get("power")
        return (None if power is None else PowerState(power)), {}

    # ------------------------------------------------------------------------ beyond convergence

    def act(self, verb: str, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        record = self._find(uuid)
        if verb == "console_log":
            lines = self._log(uuid).read_text().splitlines() if self._log(uuid).exists() else []
            return {"text": "\n".join(lines[-int(args.get("lines", 100)) :])}
        if verb == "power_off_found":
            self.set_power(uuid, PowerState.SHUTDOWN, reason="cut")
            return {}
        if verb == "adopt":
            return {}
        if record["power"] != PowerState.RUNNING.value and verb == "reboot_soft":
            raise HostError(ErrorCode.BAD_STATE, f"guest {uuid} is {record['power']}")
        self._change(uuid, reboots=record.get("reboots", 0) + 1)
        self.set_power(uuid, PowerState.RUNNING, reason="reboot")
        return {"fell_back": False} if verb == "reboot_soft" else {}

    def observe(self, *, stats: bool) -> tuple[tuple[DomainSeen, ...], tuple[DiskSeen, ...], tuple[str, ...]]:
        with self._lock:
            records = dict(self._records)
        domains = tuple(
            DomainSeen(
                uuid=uuid,
                name=f"sky-{uuid}",
                power=PowerState(record["power"]),
                owned=True,
                generation=None,
                quarantined=bool(record.get("quarantined")),
                volumes=tuple(disk["volume"] for disk in record.get("volumes", ())),
            )
            for uuid, record in records.items()
            if record.get("power")
        )
        disks = tuple(
            DiskSeen(instance=uuid, role="root", path=f"/memory/{uuid}", size=0, allocated=0)
            for uuid, record in records.items()
            if record.get("files")
        )
        return domains, disks, ()

    def measure(self, clock: Callable[[], float]) -> tuple[GuestSample, ...]:
        """Guests that run use more and more, each at a steady rate of its own; a quarter to a half of their one CPU."""
        at_us = int(clock() * 1_000_000)
        with self._lock:
            running = [uuid for uuid, record in self._records.items() if record.get("power") == PowerState.RUNNING]
        return tuple(_sample(uuid, at_us) for uuid in running)

    # ------------------------------------------------------------------------ disks

    def is_on(self, uuid: str) -> bool:
        """Whether there is a guest that has its disks open."""
        return self._records.get(uuid, {}).get("power") in _OPEN

    def disk(self, uuid: str, name: str, cache: Images) -> tuple[Path | None, int]:
        """The file with a disk's first bytes (None: all zeros) and its size; `name` as in ExportSpec.

        Raises HostError(NOT_FOUND).
        """
        record = self._find(uuid)
        if name == "root":
            root = record.get("root") or {"size": 0, "digest": None}
            return (cache.path_of(root["digest"]) if root["digest"] else None), root["size"]
        for disk in self._volumes(uuid):
            if disk.volume == name and self._storage is not None:
                path = Path(self._storage.source(disk).name)
                return path, path.stat().st_size
        raise HostError(ErrorCode.NOT_FOUND, f"guest {uuid} has no disk {name}")

    def holder(self, volume: str) -> str | None:
        with self._lock:
            uuids = list(self._records)
        for uuid in uuids:
            if self.is_on(uuid) and any(disk.volume == volume for disk in self._volumes(uuid)):
                return uuid
        return None

    def opens(self, volume: str) -> Path | None:
        for uuid in list(self._records):
            for disk in self._volumes(uuid):
                if disk.volume == volume and self._storage is not None:
                    return Path(self._storage.source(disk).name)
        return None

    def resize(self, volume: str, size: int) -> None:
        self._held(volume)

    def overlay(self, volume: str, top: Path, *, quiesce: bool) -> bool:
        self._held(volume)
        return quiesce

    def still(self, volume: str, *, quiesce: bool) -> contextlib.AbstractContextManager[bool | None]:
        return contextlib.nullcontext(None if self.holder(volume) is None else quiesce)

    def merge(self, volume: str, *, top: Path, base: Path, progress: Callable[[int], None]) -> None:
        self._held(volume)

    def _held(self, volume: str) -> None:
        if self.holder(volume) is None:
            raise HostError(ErrorCode.BAD_STATE, f"no running guest of this host has volume {volume}")

    def _volumes(self, uuid: str) -> tuple[VolumeDisk, ...]:
        return _plugged(self._records.get(uuid, {}))

    def _plug(self, spec: InstanceSpec) -> None:
        if self._storage is not None:
            for disk in spec.volumes:
                self._storage.source(disk)
        self._change(spec.uuid, volumes=[dump(disk) for disk in spec.volumes])

    # ------------------------------------------------------------------------ beyond convergence, of the daemon's

    def quarantine(self, uuid: str) -> None:
        self._find(uuid)
        self._change(uuid, quarantined=True)
        self.set_power(uuid, PowerState.SHUTDOWN, reason="quarantined")

    def console(self, uuid: str) -> ConsolePaths:
        """The memory guest says back what it is told, like a terminal in echo mode."""
        self._find(uuid)
        path = self._consoles / f"{uuid[:8]}.sock"
        with self._lock:
            if uuid not in self._ports:
                self._ports[uuid] = _EchoConsole(path, self._log(uuid))
        return ConsolePaths(socket=path, log=self._log(uuid))

    def log(self, uuid: str) -> Path | None:
        return self._log(uuid) if self._log(uuid).exists() else None

    def logs(self) -> Mapping[str, Path]:
        return {uuid: self._log(uuid) for uuid in list(self._records)}

    def tidy_logs(self) -> None:
        """Nothing is kept of deleted guests."""

    def display(self, uuid: str) -> Path:
        """Whatever listens beside the guest's console: a test's."""
        if self._find(uuid)["power"] != PowerState.RUNNING.value:
            raise HostError(ErrorCode.BAD_STATE, "the guest is off: it shows nothing")
        path = self._consoles / f"{uuid[:8]}.vnc"
        if not path.exists():
            raise HostError(ErrorCode.BAD_STATE, "the guest has no display")
        return path

    def set_power(self, uuid: str, power: PowerState, *, reason: str) -> None:
        """The guest changes power state: by a step, or for tests by its own doing."""
        before = self._records.get(uuid, {}).get("power")
        self._change(uuid, power=power.value)
        if before != power.value or reason == "reboot":
            detail = {"power": power.value, "reason": reason}
            self._on_event(Happened(kind=EventKind.LIFECYCLE, uuid=uuid, detail=detail))

    def _find(self, uuid: str) -> Record:
        record = self._records.get(uuid)
        if not record or not record.get("power"):
            raise HostError(ErrorCode.NOT_FOUND, f"no guest {uuid} on this host")
        return record

    def _change(self, uuid: str, **changes: Any) -> None:
        with self._lock:
            self._records[uuid] = self._records.get(uuid, {}) | changes

    def _log(self, uuid: str) -> Path:
        return self._consoles / f"{uuid[:8]}.log"


def _sample(uuid: str, at_us: int) -> GuestSample:
    share = zlib.crc32(uuid.encode()) % 1000
    return GuestSample(
        uuid=uuid,
        at_us=at_us,
        cpu_ns=at_us * (250 + share // 4),
        vcpus=1,
        memory_used=(64 << 20) + (share << 10),
        memory_max=128 << 20,
        memory_guest=True,
        disk_read_bytes=at_us * share // 1000,
        disk_write_bytes=at_us * share // 500,
        disk_read_ops=at_us * share // 1_000_000,
        disk_write_ops=at_us * share // 500_000,
        net_rx_bytes=at_us * share // 2000,
        net_tx_bytes=at_us * share // 4000,
        net_rx_packets=at_us * share // 2_000_000,
        net_tx_packets=at_us * share // 4_000_000,
    )


def _plugged(record: Record) -> tuple[VolumeDisk, ...]:
    return tuple(load(VolumeDisk, disk) for disk in record.get("volumes", ()))


def _plugging(spec: InstanceSpec, here: Record) -> tuple[str, ...]:
    """Steps that bring a running guest's disks to what they shall be."""
    known = {disk.volume: disk for disk in _plugged(here)}
    wanted = {disk.volume: disk for disk in spec.volumes}
    steps = (
        ("detach_disks", known.keys() - wanted.keys()),
        ("attach_disks", wanted.keys() - known.keys()),
        ("limit_disks", [uuid for uuid in known.keys() & wanted.keys() if known[uuid] != wanted[uuid]]),
    )
    return tuple(name for name, changed in steps if changed)


class _EchoConsole:
    """A guest's serial socket: one client at a time, and a log of all that was said."""

    def __init__(self, path: Path, log: Path) -> None:
        path.unlink(missing_ok=True)
        self._log = log
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen(1)
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="console", daemon=True)
        self._thread.start()

    def close(self) -> None:
        # shutdown and not close alone: that wakes the thread, which then closes what it holds.
        for sock in (self._listening, self._client):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                self._client, _ = self._listening.accept()
            except OSError:
                return
            with self._client, self._log.open("ab", buffering=0) as log:
                try:
                    while data := self._client.recv(4096):
                        log.write(data)
                        self._client.sendall(data)
                except OSError:
                    pass
            self._client = None


def _images(spec: InstanceSpec) -> list[ImageRef]:
    return [ref for ref in (spec.image, spec.kernel, spec.ramdisk) if ref is not None]
