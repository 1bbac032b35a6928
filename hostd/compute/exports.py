"""Copies of guests' disks as they were at one moment: made, read by whoever wants them elsewhere, and deleted.

    STATE/exports/<uuid>/disk.qcow2         whole as soon as it has this name, without a backing file
                         disk.qcow2.part    being copied
                         export.json        {quiesced, size}, written before the name

A guest that runs is copied by QEMU itself (libvirt's backup in push mode), which keeps what is overwritten until it is
copied. One that is off is copied by qemu-img. A copy that broke off is made anew, from a later moment.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import attrs

from hostd.compute import disk_xml
from hostd.compute.disk_xml import Plugged
from hostd.compute.domain_xml import asked_volumes
from hostd.compute.xml_text import add
from hostd.drivers import DiskSource, Step, StepContext
from hostd.spec import ErrorCode, ExportSpec, HostError, ObjectKind, PowerState, VolumeDisk, Want
from hostd.storage import qcow2
from hostd.storage.commands import NO_SPACE, disk_full
from hostd.storage.instances import checked, publish, sync
from hostd.storage.volumes import blockdev
from hostd.storage.volumes.backends import tools

if TYPE_CHECKING:
    from hostd.compute.driver import GuestDriver
    from hostd.compute.libvirt_driver.guests import Libvirt

DISK: Final = "disk.qcow2"
PART: Final = "disk.qcow2.part"
ABOUT: Final = "export.json"

ROOT: Final = "root"
"""What `ExportSpec.disk` calls the root disk, whatever it is kept in."""

OVERHEAD: Final = 4 << 20
"""Bytes a copy takes beside the data: headers and tables."""

LOOK_EVERY: Final = 1.0
"""Seconds between reports of progress."""

OTHERS_PATIENCE: Final = 3600.0
"""Seconds a copy waits for another copy of the same guest that a hostd before this one began."""


@attrs.frozen(kw_only=True)
class ExportSeen:
    """What is there of one export."""

    there: bool
    """Its directory, with whatever is in it."""
    whole: bool


class ExportDriver:
    """`drivers.Driver` of exports. Thread-safe; one step at a time per export is the caller's care."""

    kind = ObjectKind.EXPORT
    steps = ("export", "delete")

    def __init__(self, *, state: Path, guests: GuestDriver) -> None:
        """Touches nothing. `state` is hostd's directory."""
        self._root = state / "exports"
        self._guests = guests
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self._taking_turns = threading.Lock()

    def seen(self, uuid: str) -> ExportSeen:
        directory = self._directory(uuid)
        return ExportSeen(there=directory.exists(), whole=(directory / DISK).exists())

    def plan(self, spec: ExportSpec, seen: ExportSeen) -> tuple[Step, ...]:
        if spec.want is Want.ABSENT:
            return (Step("delete"),) if seen.there else ()
        return () if seen.whole else (Step("export"),)

    def execute(self, step: Step, spec: ExportSpec, context: StepContext) -> None:
        """Raises HostError: NOT_FOUND for a guest or disk that is not here, DISK_FULL, BAD_STATE, STORAGE, LIBVIRT."""
        if step.name == "delete":
            with self._turn(spec.instance):
                self._break_off(spec)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._directory(spec.uuid))
            return
        with self._turn(spec.instance):
            self._break_off(spec)
            try:
                quiesced, size = self._copy(spec, context)
            except HostError as bad:
                if bad.code is not ErrorCode.LIBVIRT_DOWN:  # QEMU may still write it then
                    (self._directory(spec.uuid) / PART).unlink(missing_ok=True)
                raise
        self._publish(spec.uuid, {"quiesced": quiesced, "size": size})

    def result(self, spec: ExportSpec) -> tuple[PowerState | None, dict[str, Any]]:
        """No power, and {quiesced, size} of one that is whole."""
        try:
            return None, json.loads((self._directory(spec.uuid) / ABOUT).read_text())
        except FileNotFoundError:
            return None, {}

    def path_of(self, uuid: str) -> Path:
        """The whole copy, qcow2 without a backing file. Raises HostError(NOT_FOUND)."""
        path = self._directory(uuid) / DISK
        if not path.exists():
            raise HostError(ErrorCode.NOT_FOUND, f"no export {uuid} on this host")
        return path

    def source(self, uuid: str) -> DiskSource:
        """How the copy is opened to be read. Raises HostError(NOT_FOUND)."""
        return DiskSource(type="file", format="qcow2", name=str(self.path_of(uuid)))

    # ------------------------------------------------------------------ inside

    def _directory(self, uuid: str) -> Path:
        return self._root / checked(uuid)

    @contextlib.contextmanager
    def _turn(self, instance: str) -> Iterator[None]:
        """A guest is copied once at a time: QEMU's side of it is one job of the whole guest."""
        with self._taking_turns:
            turn = self._turns.setdefault(instance, _Turn())
        with turn.lock:
            yield

    def _copy(self, spec: ExportSpec, context: StepContext) -> tuple[bool, int]:
        """Write the part. Whether file systems were frozen, and bytes of the disk."""
        guest = self._guests.libvirt.look(spec.instance)
        if guest is None:
            raise HostError(ErrorCode.NOT_FOUND, f"no instance {spec.instance} on this host")
        directory = self._directory(spec.uuid)
        for parent in (self._root, directory):
            parent.mkdir(parents=True, exist_ok=True)
            parent.chmod(0o711)
        (directory / DISK).unlink(missing_ok=True)
        part = directory / PART
        if guest.active:
            xml = self._guests.libvirt.live_xml(spec.instance)
            disk = _disk(xml, spec)
            size = self._guests.libvirt.capacity(spec.instance, disk.target)
            _make_room(part, disk.source, size)
            push = _Push(libvirt=self._guests.libvirt, uuid=spec.instance, disk=disk, size=size, part=part)
            return push.run(xml, quiesce=spec.quiesce, progress=context.progress), size
        xml = self._guests.libvirt.xml(spec.instance)
        asked = _asked(xml, spec)
        with self._guests.storage.opening(*((asked.volume,) if asked else ())):
            # Of a volume as its backend has it now, which the definition may not know.
            source = self._guests.storage.source(asked) if asked else _disk(xml, spec).source
            size = _size(source)
            _make_room(part, source, size)
            target = DiskSource(type="file", format="qcow2", name=str(part))
            tools.copy(source, target, size=size, progress=context.progress)
        return False, size

    def _break_off(self, spec: ExportSpec) -> None:
        """End the copy that a hostd before this one left running, and let others' come to their end."""
        guest = self._guests.libvirt.look(spec.instance)
        if guest is None or not guest.active:
            return
        if (running := self._guests.libvirt.backup(spec.instance)) is None:
            return
        if str(self._directory(spec.uuid)) in running:
            try:
                self._guests.libvirt.abort_job(spec.instance)
            except HostError:
                if self._guests.libvirt.backup(spec.instance) is not None:
                    raise  # else it came to its end by itself, just now
        if not self._guests.libvirt.wait(
            lambda: self._guests.libvirt.backup(spec.instance) is None, timeout=OTHERS_PATIENCE
        ):
            raise HostError(
                ErrorCode.BAD_STATE, f"another copy of {spec.instance} is still being made", hint="try again later"
            )

    def _publish(self, uuid: str, about: dict[str, Any]) -> None:
        directory = self._directory(uuid)
        part = directory / PART
        part.chmod(0o600)
        sync(part)
        publish(directory / ABOUT, functools.partial(_write, about))
        os.rename(part, directory / DISK)
        sync(directory)


class _Turn:
    """A lock that a weak dictionary can hold."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@attrs.frozen(kw_only=True)
class _Push:
    """Copies one disk of a running guest."""

    libvirt: Libvirt
    uuid: str
    """The guest's."""
    disk: Plugged
    size: int
    part: Path

    def run(self, xml: str, *, quiesce: bool, progress: Callable[[int], None]) -> bool:
        """Whether the guest's file systems were frozen as it began. Raises HostError(DISK_FULL, STORAGE, LIBVIRT)."""
        frozen = quiesce and self._freeze()
        try:
            self.libvirt.begin_backup(self.uuid, _backup(xml, self.disk.target, self.part))
        finally:
            if quiesce:
                self._thaw()  # also after an answer that came too late
        while not self.libvirt.wait(lambda: self.libvirt.backup(self.uuid) is None, timeout=LOOK_EVERY):
            progress(self.libvirt.backup_percent(self.uuid))
        if why := self._failure():
            if NO_SPACE in why:
                raise disk_full(self.part.parent, _needed(self.disk.source, self.size))
            raise HostError(ErrorCode.STORAGE, f"the copy of {self.uuid} broke off: {why}", hint="try again")
        return frozen

    def _failure(self) -> str | None:
        guest = self.libvirt.look(self.uuid)
        if guest is None or not guest.active:
            return "the guest was switched off"
        return self.libvirt.backup_failure(self.uuid)

    def _freeze(self) -> bool:
        try:
            self.libvirt.freeze(self.uuid)
        except HostError as bad:
            if bad.code is ErrorCode.LIBVIRT_DOWN:
                raise
            return False
        return True

    def _thaw(self) -> None:
        # Nobody to thaw it: then nobody froze it either.
        with contextlib.suppress(HostError):
            self.libvirt.thaw(self.uuid)


def _asked(xml: str, spec: ExportSpec) -> VolumeDisk | None:
    """The volume that is meant; None for a disk of the guest's own."""
    for asked in asked_volumes(xml):
        if asked.volume == spec.disk or (spec.disk == ROOT and asked.boot_index == 0):
            return asked
    return None


def _disk(xml: str, spec: ExportSpec) -> Plugged:
    asked = _asked(xml, spec)
    serial = f"root-{spec.instance[:8]}" if spec.disk == ROOT else spec.disk
    found = disk_xml.by_serial(xml, asked.volume if asked else serial)
    if found is None:
        raise HostError(ErrorCode.NOT_FOUND, f"instance {spec.instance} has no disk {spec.disk}")
    return found


def _size(source: DiskSource) -> int:
    """Bytes of a disk that nobody has open. Raises HostError(STORAGE)."""
    top = attrs.evolve(source, backing=None)  # `info` opens nothing else
    try:
        told = tools.ask(
            *("qemu-img", "info", "--output=json", blockdev.name(top)), timeout=60, unanswered="qemu-img info"
        )
    except tools.ToolFailed as bad:
        raise HostError(ErrorCode.STORAGE, str(bad), hint="its disk must be in reach, and open nowhere else") from bad
    return int(json.loads(told)["virtual-size"])


def _write(about: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(about))


def _make_room(part: Path, source: DiskSource, size: int) -> None:
    """An empty disk of `size` bytes. Raises HostError(DISK_FULL) when there is no room for what the copy will hold."""
    part.unlink(missing_ok=True)
    room = os.statvfs(part.parent)
    if (needed := _needed(source, size)) > room.f_bavail * room.f_frsize:
        raise disk_full(part.parent, needed)
    qcow2.create(part, size=size)
    part.chmod(0o600)


def _needed(source: DiskSource, size: int) -> int:
    """Bytes that a copy takes at most: what the files of the chain hold, as far as they are files."""
    total = 0
    link: DiskSource | None = source
    while link is not None:
        if link.type != "file":
            return size + OVERHEAD
        total += os.stat(link.name).st_blocks * 512
        link = link.backing
    return min(total, size) + OVERHEAD


def _backup(xml: str, target: str, part: Path) -> str:
    """A <domainbackup> of one disk, into a file that is there."""
    root = ET.Element("domainbackup", {"mode": "push"})
    disks = add(root, "disks")
    for name in disk_xml.all_targets(xml):
        if name != target:
            add(disks, "disk", {"name": name, "backup": "no"})
            continue
        disk = add(disks, "disk", {"name": name, "backup": "yes", "type": "file"})
        add(disk, "driver", {"type": "qcow2"})
        add(disk, "target", {"file": str(part)})
    return ET.tostring(root, encoding="unicode")
