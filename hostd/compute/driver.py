"""The guest driver: converges instances on this host, and tells what is known of guests beyond that.

`plan` decides, the steps here act; each looks first and does nothing that is done already, because it may have been
done before a crash. `plugging` changes what a running guest has, `power` switches one off, `acts` does what is no
state, `live_disks` works on disks for the volumes; `libvirt_driver` alone speaks to libvirt, and is imported as the
driver starts.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hostd.compute import disk_xml, power
from hostd.compute.accel import Probe, open_to_qemu
from hostd.compute.acts import Acts, look
from hostd.compute.domain import Domain
from hostd.compute.domain_xml import Places, Volumes, asked_volumes, display_socket, quarantined, render
from hostd.compute.hardware import FAMILIES
from hostd.compute.live_disks import RunningDisks
from hostd.compute.plan import STEPS, GuestSeen, VolumesSeen, known_volumes, machinery, plan
from hostd.compute.plugging import Plugging
from hostd.drivers import ConsolePaths, DiskSource, Happened, Step, StepContext, Storage
from hostd.logs.files import Kept, parts
from hostd.spec import (
    Accel,
    DiskSeen,
    DomainSeen,
    ErrorCode,
    EventKind,
    GuestSample,
    HostError,
    InstanceSpec,
    ObjectKind,
    PowerState,
    VolumeDisk,
    Want,
)
from hostd.storage import config_drive, disks
from hostd.storage.instances import CONFIG, CONFIG_DIGEST, CONSOLE, SEED, Instances, publish

if TYPE_CHECKING:
    from hostd.compute.libvirt_driver.guests import Libvirt

URI: Final = "qemu:///system"

ACCEL_PATIENCE: Final = 60.0
"""Seconds a define waits for the KVM probe that runs as the host starts."""

QUARANTINE_PATIENCE: Final = 60.0
"""Seconds a guest that nobody lists gets to switch itself off."""


class GuestDriver:
    """What `hostd.drivers.Guests` asks for. Thread-safe; one step at a time per instance is the caller's care."""

    kind = ObjectKind.INSTANCE
    steps = STEPS

    def __init__(
        self, *, state: Path, run: Path, storage: Storage | None = None, uri: str = URI, probe: Probe | None = None
    ) -> None:
        """Touches nothing. `state` and `run` are hostd's directories; `uri` is libvirt's; `storage` knows volumes."""
        self.storage: Storage = storage or _NoStorage()
        """May be set later, before guests have volumes."""
        self.live_disks: Final = RunningDisks(lambda: self.libvirt)
        """What the volumes ask of running guests."""
        self._instances = Instances(state=state, run=run)
        self._kept = Kept(state / "logs", CONSOLE)
        self._uri = uri
        self._probe = probe or Probe(kernels=(state / "probe" / "vmlinuz", Path("/boot")))
        self._libvirt_or_none: Libvirt | None = None
        self._accel: Accel | None = None
        self._accel_known = threading.Event()
        self._machines: dict[str, str] = {}
        self._cache = "none"
        self._acts = Acts(libvirt=lambda: self.libvirt, instances=self._instances, starting=self._open_as_now)
        self._steps: dict[str, Callable[[Step, InstanceSpec, StepContext], None]] = {
            "cut": self._cut,
            "undefine": self._undefine,
            "erase": self._erase,
            "disks": self._make_disks,
            "config_drive": self._write_config_drive,
            "detach_disks": self._detach_disks,
            "attach_disks": lambda step, spec, _: self._plugging(spec).attach_disks(step),
            "limit_disks": lambda step, spec, _: self._plugging(spec).limit_disks(step),
            "define": self._define,
            "detach_nics": lambda step, spec, _: self._plugging(spec).detach_nics(step),
            "attach_nics": lambda step, spec, _: self._plugging(spec).attach_nics(step),
            "start": self._start,
            "resume": self._start,
            "unpause": self._unpause,
            "pause": self._pause,
            "suspend": self._suspend,
            "stop": self._stop,
        }

    # ------------------------------------------------------------------ life

    def start(self, on_event: Callable[[Happened], None]) -> None:
        """Connect, or keep trying: a libvirtd that is down does not raise. Raises OSError for a bad state directory."""
        from hostd.compute.libvirt_driver.guests import Libvirt

        self._instances.prepare()
        open_to_qemu()
        self._cache = "none" if _has_direct_io(self._instances.root) else "writeback"

        def on_power(uuid: str, now: PowerState, reason: str) -> None:
            on_event(Happened(kind=EventKind.LIFECYCLE, uuid=uuid, detail={"power": now.value, "reason": reason}))

        def on_link(up: bool, detail: str) -> None:
            what = "libvirt_up" if up else "libvirt_down"
            on_event(Happened(kind=EventKind.HOST, uuid=None, detail={"what": what, "detail": detail}))

        self._libvirt_or_none = Libvirt(self._uri, on_power=on_power, on_link=on_link)
        self._libvirt_or_none.start()

    def stop(self) -> None:
        """Disconnect and end own threads. Guests run on. A driver that is stopped stays stopped."""
        if self._libvirt_or_none:
            self._libvirt_or_none.stop()

    def probe(self) -> Accel:
        """Boot a kernel under KVM to see whether guests would; about ten seconds where they would not."""
        return self._probe.run()

    def use(self, accel: Accel) -> None:
        self._accel = accel
        self._accel_known.set()

    def versions(self) -> dict[str, str]:
        return self._libvirt_or_none.versions() if self._libvirt_or_none else {}

    @property
    def libvirt(self) -> Libvirt:
        """Raises HostError(LIBVIRT_DOWN) before `start`."""
        if self._libvirt_or_none is None:
            raise HostError(ErrorCode.LIBVIRT_DOWN, "hostd has not begun to connect to libvirtd yet")
        return self._libvirt_or_none

    # ------------------------------------------------------------------ converging

    def seen(self, uuid: str) -> GuestSeen:
        """Domain, files, volumes and what the host would give it. Raises HostError(LIBVIRT_DOWN)."""
        directory = self._instances.directory(uuid)
        domain = self.libvirt.look(uuid)
        return GuestSeen(
            domain=domain,
            files=self._instances.names(uuid),
            config=_read(directory / CONFIG_DIGEST),
            accel=self._accel,
            machines=self._newest_machines(),
            cache=self._cache,
            places=Places(directory=directory, console_socket=self._instances.console_socket(uuid)),
            volumes=self._volumes(domain) if domain is not None and domain.owned else VolumesSeen(),
        )

    def _volumes(self, domain: Domain) -> VolumesSeen:
        xml = self.libvirt.xml(domain.uuid)
        live = disk_xml.plugged(self.libvirt.live_xml(domain.uuid)) if domain.active else None
        asked = {disk.volume: disk for disk in asked_volumes(xml)}
        sources: dict[str, DiskSource] = {}
        problems: dict[str, HostError] = {}
        for volume, disk in asked.items():
            if volume not in (live or {}):
                try:
                    sources[volume] = self.storage.source(disk)
                except HostError as bad:
                    problems[volume] = bad
        return VolumesSeen(defined=disk_xml.plugged(xml), asked=asked, live=live, sources=sources, problems=problems)

    def plan(self, spec: InstanceSpec, seen: GuestSeen) -> tuple[Step, ...]:
        return plan(spec, seen)

    def execute(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        self._steps[step.name](step, spec, context)

    def result(self, spec: InstanceSpec) -> tuple[PowerState | None, dict[str, Any]]:
        """Power state (None when absent) and {accel, machine} of a guest that is defined."""
        domain = self.libvirt.look(spec.uuid)
        if spec.want is Want.ABSENT or domain is None:
            return None, {}
        accel = self._accel.mode if self._accel else ""
        return domain.power, {"accel": accel, "machine": domain.metadata.get("machine", "")}

    def _cut(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        power.cut(self.libvirt, spec.uuid)

    def _undefine(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        # A domain without a persistent definition is gone once it is cut.
        if (domain := self.libvirt.look(spec.uuid)) and domain.persistent:
            self.libvirt.undefine(spec.uuid)

    def _erase(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        if self.libvirt.look(spec.uuid):
            raise HostError(ErrorCode.BAD_STATE, "the domain is defined again: its files are not deleted under it")
        self._kept.take(spec.uuid, self._instances.console_log(spec.uuid), now=time.time())
        self._instances.empty(spec.uuid)
        context.cache.release(spec.uuid)
        # Last, so that a crash before it leaves a directory and the next apply releases the images.
        self._instances.remove(spec.uuid)

    def _make_disks(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        if step.args.get("lost"):
            raise HostError(
                ErrorCode.BAD_STATE,
                f"the root disk of {spec.uuid} is gone from {self._instances.directory(spec.uuid)}",
                hint="a new one would be empty: put the file back, or delete the instance",
            )
        if disks.has_root(spec):
            disks.root_bytes(spec)
        context.cache.hold(spec.uuid, disks.images(spec))
        disks.make(self._instances.make(spec.uuid), spec, context.cache, progress=context.progress)

    def _plugging(self, spec: InstanceSpec) -> Plugging:
        return Plugging(libvirt=self.libvirt, storage=self.storage, spec=spec, cache=self._cache)

    def _detach_disks(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        asked = asked_volumes(self.libvirt.xml(spec.uuid))
        sources = {disk.volume: functools.partial(self.storage.source, disk) for disk in asked}
        self._plugging(spec).detach_disks(step, sources)

    def _write_config_drive(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        if not spec.config_drive or spec.metadata is None:
            return
        directory = self._instances.make(spec.uuid)
        files = config_drive.contents(spec, spec.metadata)
        size = 2 * sum(map(len, files.values())) + (1 << 20)
        (directory / CONFIG_DIGEST).unlink(missing_ok=True)
        for name, label in ((CONFIG, config_drive.OPENSTACK_LABEL), (SEED, config_drive.NOCLOUD_LABEL)):
            publish(directory / name, _writer(label, files), needed=size)
        publish(directory / CONFIG_DIGEST, _digest_writer(files), needed=size)

    def _define(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        if not self._accel_known.wait(ACCEL_PATIENCE) or self._accel is None:
            raise HostError(ErrorCode.INTERNAL, "it is not known yet whether guests run under KVM here")
        seen = self.seen(spec.uuid)
        known = known_volumes(spec, seen)
        fresh = {disk.volume: self.storage.source(disk) for disk in spec.volumes if disk.volume not in known.sources}
        volumes = Volumes(sources={**known.sources, **fresh}, targets=known.targets)
        self.libvirt.define(render(spec, machinery(spec, seen, self._accel), seen.places, volumes))

    def _start(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        self._instances.prepare()
        if not (domain := look(self.libvirt, spec.uuid)).active:
            with self._open_as_now(domain):
                self.libvirt.create(spec.uuid)

    @contextmanager
    def _open_as_now(self, domain: Domain) -> Iterator[None]:
        """A guest that starts meanwhile opens each volume as it is now: a snapshot may have put a new layer on it since
        it was defined, and a guest that wrote to the old one would spoil both.

        Raises what `Storage.source` and `Storage.opening` raise.
        """
        xml = self.libvirt.xml(domain.uuid)
        asked = asked_volumes(xml)
        with self.storage.opening(*(disk.volume for disk in asked)):
            sources = {disk.volume: self.storage.source(disk) for disk in asked}
            if (changed := disk_xml.resourced(xml, sources)) is not None:
                self.libvirt.define(changed)
            if sources and domain.saved:
                saved = disk_xml.resourced(self.libvirt.saved_xml(domain.uuid), sources)
                if saved is not None:
                    self.libvirt.define_saved(domain.uuid, saved)
            yield

    def _unpause(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        if look(self.libvirt, spec.uuid).power is PowerState.PAUSED:
            self.libvirt.unpause(spec.uuid)

    def _pause(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        if look(self.libvirt, spec.uuid).power is PowerState.RUNNING:
            self.libvirt.pause(spec.uuid)

    def _suspend(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        if look(self.libvirt, spec.uuid).active:
            self.libvirt.save(spec.uuid)

    def _stop(self, step: Step, spec: InstanceSpec, context: StepContext) -> None:
        power.off(self.libvirt, spec.uuid, patience=0 if spec.hard else spec.stop_timeout)

    def _newest_machines(self) -> dict[str, str]:
        if not self._machines:
            kvm = self._accel is not None and self._accel.mode == "kvm"
            for kind in FAMILIES:
                answer = ET.fromstring(self.libvirt.machine_capabilities(machine=kind, kvm=kvm))
                self._machines[kind] = answer.findtext("machine") or kind
        return self._machines

    # ------------------------------------------------------------------ beyond convergence

    def act(self, verb: str, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        """Do one of spec.ACTS. Raises HostError: NOT_FOUND, BAD_STATE, PROTOCOL for an unknown verb or argument."""
        return self._acts.do(verb, uuid, args)

    def observe(self, *, stats: bool) -> tuple[tuple[DomainSeen, ...], tuple[DiskSeen, ...], tuple[str, ...]]:
        """Every domain, every file of an instance, and what could not be seen. Does not raise."""
        problems: list[str] = []
        domains: tuple[DomainSeen, ...] = ()
        files: tuple[DiskSeen, ...] = ()
        try:
            found, trouble = self.libvirt.all(stats=stats)
            domains = tuple(_seen(domain) for domain in found)
            problems.extend(trouble)
        except HostError as bad:
            problems.append(str(bad))
        try:
            files = tuple(self._instances.disks())
        except OSError as bad:
            problems.append(f"instance files: {bad}")
        return domains, files, tuple(problems)

    def measure(self, clock: Callable[[], float]) -> tuple[GuestSample, ...]:
        """Counters of all guests of ours that are on. Raises HostError(LIBVIRT_DOWN)."""
        return self.libvirt.measure(clock)

    def quarantine(self, uuid: str) -> None:
        """Switch a guest of ours off and mark it, so that no act starts it until it is applied or adopted again."""
        domain = look(self.libvirt, uuid)
        if not domain.owned:
            raise HostError(ErrorCode.BAD_STATE, f"domain {domain.name!r} was not made by skydeck")
        # Marked first: whatever happens from here on, nobody starts it by mistake.
        if domain.persistent and not domain.quarantined:
            self.libvirt.define(quarantined(self.libvirt.xml(uuid)))
        if domain.active:
            if domain.power is PowerState.PAUSED:
                self.libvirt.unpause(uuid)
            power.off(self.libvirt, uuid, patience=QUARANTINE_PATIENCE)

    def console(self, uuid: str) -> ConsolePaths:
        if self._instances.names(uuid) is None:
            raise HostError(ErrorCode.NOT_FOUND, f"no instance {uuid} on this host")
        return ConsolePaths(socket=self._instances.console_socket(uuid), log=self._instances.console_log(uuid))

    def log(self, uuid: str) -> Path | None:
        log = self._instances.console_log(uuid)
        if self._instances.names(uuid) is not None:
            return log
        kept = self._kept.log(uuid)
        return kept if parts(kept) else None

    def logs(self) -> Mapping[str, Path]:
        return {uuid: self._instances.console_log(uuid) for uuid in self._instances.uuids()}

    def tidy_logs(self) -> None:
        self._kept.prune(now=time.time())

    def display(self, uuid: str) -> Path:
        if not look(self.libvirt, uuid).active:
            raise HostError(ErrorCode.BAD_STATE, "the guest is off: it shows nothing", hint="start it first")
        path = display_socket(self.libvirt.live_xml(uuid))
        if path is None:
            raise HostError(
                ErrorCode.BAD_STATE,
                "the guest has no display",
                hint="give its image the property hw_video_model=virtio and make it anew; its console is always there",
            )
        return path


class _NoStorage:
    """Of a host whose daemon knows no volumes."""

    def source(self, disk: VolumeDisk) -> DiskSource:
        raise HostError(ErrorCode.STORAGE, f"this host keeps no volumes: {disk.volume} cannot be opened")

    def opening(self, *volumes: str) -> AbstractContextManager[None]:
        return nullcontext()


def _seen(domain: Domain) -> DomainSeen:
    return DomainSeen(
        uuid=domain.uuid,
        name=domain.name,
        power=domain.power,
        owned=domain.owned,
        generation=None,
        quarantined=domain.quarantined,
        stats=domain.stats,
        volumes=domain.volumes,
    )


def _writer(label: str, files: dict[str, bytes]) -> Callable[[Path], None]:
    return lambda part: config_drive.write_iso(part, label, files)


def _digest_writer(files: dict[str, bytes]) -> Callable[[Path], None]:
    def write(part: Path) -> None:
        part.write_text(config_drive.digest(files))

    return write


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _has_direct_io(directory: Path) -> bool:
    probe = directory / ".direct-io"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
