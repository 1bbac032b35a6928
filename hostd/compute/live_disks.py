"""Work on volumes that running guests have open: `hostd.drivers.LiveDisks`, over libvirt's block jobs.

QEMU has the files, so QEMU changes them. Nothing of it is kept here: where a guest's disk stands is read from the guest
each time, so that a call which is repeated after a crash, of ours or of libvirtd, goes on from what is so. libvirt
changes a guest's definition along with the guest.
"""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hostd.compute import disk_xml
from hostd.compute.disk_xml import Plugged
from hostd.compute.xml_text import add
from hostd.spec import ErrorCode, HostError

if TYPE_CHECKING:
    from hostd.compute.libvirt_driver.guests import Libvirt

LOOK_EVERY: Final = 1.0
"""Seconds between reports of progress."""

SETTLING: Final = 5.0
"""Seconds in which libvirt's word about a disk follows the end of a job on it."""


def _quietly(percent: int) -> None: ...


class RunningDisks:
    """The volumes of this host's running and paused guests, by the volumes' uuids. Thread-safe."""

    def __init__(self, libvirt: Callable[[], Libvirt]) -> None:
        """`libvirt` raises HostError(LIBVIRT_DOWN) while there is none."""
        self._get = libvirt

    def holder(self, volume: str) -> str | None:
        """The guest that has it open; the first of several. Raises HostError(LIBVIRT_DOWN)."""
        return next((uuid for uuid, _ in self._holders(volume)), None)

    def opens(self, volume: str) -> Path | None:
        """The file that is this volume in a guest's definition, whether it runs or not; None in no guest's."""
        libvirt = self._get()
        for domain in libvirt.all(stats=False)[0]:
            if domain.persistent and volume in (xml := libvirt.xml(domain.uuid)):
                disk = disk_xml.plugged(xml).get(volume)
                if disk is not None:
                    return Path(disk.source.name)
        return None

    def resize(self, volume: str, size: int) -> None:
        """Grow to `size` bytes, never shrink. Raises HostError(BAD_STATE) when no guest has it open."""
        holders = self._holders(volume)
        if not holders:
            raise _nobody(volume)
        for uuid, disk in holders:
            # Also of one that has the size: a raw disk that grew under QEMU is told to the guest by this.
            if self._get().capacity(uuid, disk.target) <= size:
                self._get().resize(uuid, disk.target, size)

    def overlay(self, volume: str, top: Path, *, quiesce: bool) -> bool:
        """Have the guest write to `top`, an empty qcow2 file over its present one; whether its file systems were frozen
        meanwhile. A guest whose agent does not answer is not frozen: its disk is as after a power failure.

        Raises HostError(BAD_STATE) when no guest has it open, HostError(LIBVIRT).
        """
        uuid, disk = self._held(volume)
        if str(top) in (source.name for source in disk.chain):
            return False  # done before a crash, and whether it was frozen went with it
        change = _switching(self._get().live_xml(uuid), disk.target, top)
        if quiesce:
            try:
                self._get().overlay(uuid, change, quiesce=True)
                return True
            except HostError as bad:
                if bad.code is ErrorCode.LIBVIRT_DOWN:
                    raise
                if self._holds(uuid, volume, top):
                    return False  # it was frozen and taken, and may not have thawed by itself
        self._get().overlay(uuid, change, quiesce=False)
        return False

    @contextlib.contextmanager
    def still(self, volume: str, *, quiesce: bool) -> Iterator[bool | None]:
        """Have the guest's agent freeze its file systems while the block runs; whether it did, None without a guest.
        One whose agent does not answer is not frozen. Raises HostError(LIBVIRT_DOWN)."""
        uuid = self.holder(volume)
        if uuid is None or not quiesce:
            yield None if uuid is None else False
            return
        frozen = False
        try:
            self._get().freeze(uuid)
            frozen = True
        except HostError as bad:
            if bad.code is ErrorCode.LIBVIRT_DOWN:
                raise
        try:
            yield frozen
        finally:
            # Also after an answer that came too late; with nobody to thaw it, nobody froze it either.
            with contextlib.suppress(HostError):
                self._get().thaw(uuid)

    def merge(self, volume: str, *, top: Path, base: Path, progress: Callable[[int], None] = _quietly) -> None:
        """Commit `top`, and all between, down into `base`, and have the guest stand on `base`.

        Raises HostError(BAD_STATE) when no guest has it open, or not that way; HostError(STORAGE) when it failed.
        """
        libvirt = self._get()
        uuid, _ = self._held(volume)
        begun = False
        while True:
            disk = self._of(uuid, volume)
            if not _stands_on(disk, top, base):
                return
            now = libvirt.copying(uuid, disk.target)
            if now is None and begun:
                if self._settled(uuid, volume, top):
                    continue
                raise HostError(
                    ErrorCode.STORAGE,
                    f"volume {volume}: merging {top.name} into {base.name} broke off",
                    hint="see the guest's log under /var/log/libvirt/qemu on the host; the data is whole, try again",
                )
            if now is None:
                # The guest writes to the topmost: that one is left by a pivot at the end, and no other.
                active = disk.source.name == str(top)
                libvirt.commit(uuid, disk.target, base=str(base), top=None if active else str(top))
                begun = True
            elif disk.copied:
                libvirt.pivot(uuid, disk.target)
            else:
                progress(100 * now[0] // now[1] if now[1] else 0)
                libvirt.wait(lambda: self._turned(uuid, volume), timeout=LOOK_EVERY)

    # ------------------------------------------------------------------ looking

    def _turned(self, uuid: str, volume: str) -> bool:
        """Whether a job on the disk is ready or over."""
        disk = self._of(uuid, volume)
        return disk.copied or self._get().copying(uuid, disk.target) is None

    def _settled(self, uuid: str, volume: str, top: Path) -> bool:
        return self._get().wait(lambda: not self._holds(uuid, volume, top), timeout=SETTLING)

    def _holds(self, uuid: str, volume: str, file: Path) -> bool:
        return str(file) in (source.name for source in self._of(uuid, volume).chain)

    def _of(self, uuid: str, volume: str) -> Plugged:
        """A volume as this guest has it now. Raises HostError(BAD_STATE) when it no longer has."""
        domain = self._get().look(uuid)
        disk = disk_xml.plugged(self._get().live_xml(uuid)).get(volume) if domain and domain.active else None
        if disk is None:
            raise _nobody(volume)
        return disk

    def _held(self, volume: str) -> tuple[str, Plugged]:
        holders = self._holders(volume)
        if not holders:
            raise _nobody(volume)
        return holders[0]

    def _holders(self, volume: str) -> list[tuple[str, Plugged]]:
        # Parsing costs more than fetching, and most guests are not the one.
        found = [(uuid, disk_xml.plugged(xml).get(volume)) for uuid, xml in self._get().active_xml() if volume in xml]
        return [(uuid, disk) for uuid, disk in found if disk is not None]


def _nobody(volume: str) -> HostError:
    return HostError(
        ErrorCode.BAD_STATE,
        f"no running guest of this host has volume {volume}",
        hint="its guest stopped, or moved: try again",
    )


def _stands_on(disk: Plugged, top: Path, base: Path) -> bool:
    """Whether `top` is still above `base`. Raises HostError(BAD_STATE) for a chain without `base` where it belongs."""
    files = [source.name for source in disk.chain]
    if str(top) not in files and str(base) in files:
        return False
    if str(top) not in files or str(base) not in files[files.index(str(top)) + 1 :]:
        raise HostError(ErrorCode.BAD_STATE, f"the guest's disk does not stand on {top} over {base}: {files}")
    return True


def _switching(xml: str, target: str, top: Path) -> str:
    """A <domainsnapshot> that puts `top` over one disk, and leaves the others alone."""
    root = ET.Element("domainsnapshot")
    disks = add(root, "disks")
    for name in disk_xml.all_targets(xml):
        if name != target:
            add(disks, "disk", {"name": name, "snapshot": "no"})
            continue
        disk = add(disks, "disk", {"name": name, "snapshot": "external", "type": "file"})
        add(disk, "driver", {"type": "qcow2"})
        add(disk, "source", {"file": str(top)})
    return ET.tostring(root, encoding="unicode")
