"""Drivers whose guests and networks are small JSON files, or nothing but a dictionary.

They behave as the real ones do towards the daemon, so that its own promises (generations, journal,
crashes, queues) are tested on any machine, by anybody, in milliseconds. `fake` stands on them too.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final

from hostd.drivers import ConsolePaths, Happened, NetworkingObserved, Step, StepContext
from hostd.spec import (
    Accel,
    DiskSeen,
    DomainSeen,
    ErrorCode,
    EventKind,
    Hop,
    HostError,
    ImageRef,
    InstanceSpec,
    LinkSeen,
    Metadata,
    NetworkingSeen,
    NetworkingSpec,
    NetworkSeen,
    ObjectKind,
    PowerState,
    Trace,
    Traced,
    Verdict,
    Want,
    dump,
)

Record = dict[str, Any]
"""What there is of one guest: {files, name, power, quarantined}; of the networking: what each step keeps."""

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


class Directory(MutableMapping[str, Record]):
    """Records that survive the process, one file each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, uuid: str) -> Record:
        try:
            record: Record = json.loads((self._path / uuid).read_text())
        except FileNotFoundError:
            raise KeyError(uuid) from None
        return record

    def __setitem__(self, uuid: str, record: Record) -> None:
        fresh = self._path / f".{uuid}"
        fresh.write_text(json.dumps(record))
        fresh.rename(self._path / uuid)

    def __delitem__(self, uuid: str) -> None:
        (self._path / uuid).unlink()

    def __iter__(self) -> Iterator[str]:
        return (name for name in sorted(os.listdir(self._path)) if not name.startswith("."))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class MemoryGuests:
    """drivers.Guests over records."""

    kind = ObjectKind.INSTANCE
    steps = ("disks", "define", "start", "stop", "pause", "suspend", "undefine", "delete_disks")

    def __init__(self, records: MutableMapping[str, Record], *, consoles: Path) -> None:
        """`consoles` is a directory for sockets and logs; its path must be short (108 bytes in all)."""
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
        if here.get("name") != spec.name or here.get("quarantined"):
            steps.append(Step("define"))
        if spec.want is Want.PRESENT:
            return tuple(steps)
        power = PowerState(here.get("power") or PowerState.SHUTDOWN)
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
                self._change(spec.uuid, files=True)
                context.progress(100)
            case "define":
                power = self._records.get(spec.uuid, {}).get("power") or PowerState.SHUTDOWN.value
                self._change(spec.uuid, name=spec.name, power=power, quarantined=False)
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


class MemoryNetworking:
    """drivers.Networking over records: the document of the host, part by part as the real driver has them."""

    kind = ObjectKind.NETWORKING
    steps = ("firewall", "links", "routers", "remove")

    def __init__(self, records: MutableMapping[str, Record]) -> None:
        self._records = records

    def start(self, on_event: Callable[[Happened], None], metadata_of: Callable[[str], Metadata | None]) -> None:
        """Nothing happens here by itself."""

    def stop(self) -> None:
        """Nothing runs here."""

    def seen(self, uuid: str) -> Record | None:
        return self._records.get(uuid)

    def plan(self, spec: NetworkingSpec, seen: Record | None) -> tuple[Step, ...]:
        if spec.want is Want.ABSENT:
            return (Step("remove"),) if seen is not None else ()
        here = seen or {}
        return tuple(Step(name) for name in ("firewall", "links", "routers") if here.get(name) != _part(spec, name))

    def execute(self, step: Step, spec: NetworkingSpec, context: StepContext) -> None:
        if step.name == "remove":
            self._records.pop(spec.uuid, None)
        else:
            self._records[spec.uuid] = self._records.get(spec.uuid, {}) | {step.name: _part(spec, step.name)}

    def result(self, spec: NetworkingSpec) -> tuple[PowerState | None, dict[str, Any]]:
        return None, {}

    def observe(self) -> NetworkingObserved:
        uuids = [network["uuid"] for record in self._records.values() for network in record.get("links", ())]
        return NetworkingObserved(
            networking=NetworkingSeen(generation=None, healthy=True, backend="memory"),
            networks=tuple(NetworkSeen(uuid=uuid, healthy=True) for uuid in uuids),
            links=tuple(LinkSeen(name=f"skb-{uuid[:8]}", kind="bridge", network=uuid, up=True) for uuid in uuids),
        )

    def trace(self, asked: Trace) -> Traced:
        for record in self._records.values():
            for port in record.get("firewall", {}).get("ports", ()):
                if port["uuid"] == asked.port:
                    return Traced(hops=(Hop(kind="tap", name=f"skt-{asked.port[:8]}", verdict=Verdict.PASS),))
        raise HostError(ErrorCode.NOT_FOUND, f"port {asked.port} is not on this host")


def _part(spec: NetworkingSpec, name: str) -> Any:
    """What a step of MemoryNetworking keeps of the document."""
    plain = dump(spec)
    match name:
        case "firewall":
            return {"ports": plain["ports"], "groups": plain["groups"]}
        case "links":
            return plain["networks"]
        case _:
            return {key: plain[key] for key in ("routers", "gateways", "floating")}


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
