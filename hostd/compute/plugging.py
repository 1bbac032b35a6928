"""Steps that change what a running guest has: interfaces and volumes come and go, limits change.

Each looks first, and does nothing that is done already. A device is gone once the guest has let go of it: QEMU asks it
by ACPI or the PCI bus, and a guest that has not booted does not hear, so it is asked several times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from hostd.compute import disk_xml, domain_xml
from hostd.compute.guest_disks import volume
from hostd.compute.hardware import HOT_PLUGGED, SCSI, bus_of
from hostd.drivers import DiskSource, Step, Storage
from hostd.spec import ErrorCode, HostError, InstanceSpec, PowerState

if TYPE_CHECKING:
    from hostd.compute.libvirt_driver.guests import Libvirt

TRIES: Final = 3
PATIENCE: Final = 8.0
"""How often a guest is asked to let go of a device, and seconds it gets each time."""


@attrs.frozen(kw_only=True)
class Plugging:
    """Plugs devices in to one running guest and pulls them out."""

    libvirt: Libvirt
    storage: Storage
    spec: InstanceSpec
    cache: str
    """Cache mode of files."""

    # ------------------------------------------------------------------ interfaces

    def attach_nics(self, step: Step) -> None:
        for nic in self.spec.nics:
            if nic.mac.lower() in step.args["macs"] and nic.mac.lower() not in self._macs():
                self.libvirt.attach(self.spec.uuid, domain_xml.interface(nic, self.spec.hardware.vif_model))

    def detach_nics(self, step: Step) -> None:
        for mac in step.args["macs"]:
            self._pull_nic(mac)

    def _pull_nic(self, mac: str) -> None:
        self._pull(
            f"interface {mac}",
            find=lambda: domain_xml.plugged(self.libvirt.live_xml(self.spec.uuid), mac),
            gone=lambda: mac not in self._macs(),
        )

    def _macs(self) -> frozenset[str]:
        """Of the interfaces the guest has now; none when it is off."""
        domain = self.libvirt.look(self.spec.uuid)
        return (domain.macs if domain is not None else None) or frozenset()

    # ------------------------------------------------------------------ volumes

    def attach_disks(self, step: Step) -> None:
        """Plug volumes in, each under the name that the plan gave it. Raises what `Storage.source` raises, and
        HostError(BAD_STATE) for a bus that takes no disks now; the guest is as it was then."""
        targets: dict[str, str] = step.args["targets"]
        for asked in self.spec.volumes:
            if asked.volume not in targets or asked.volume in self._volumes():
                continue
            bus = bus_of(self.spec, asked.bus)
            if bus not in HOT_PLUGGED:
                raise HostError(
                    ErrorCode.BAD_STATE,
                    f"a running guest takes no disk on {bus}: volume {asked.volume}",
                    hint="stop the instance, and attach again: it starts with it",
                )
            if bus == SCSI and not domain_xml.has_scsi(self.libvirt.live_xml(self.spec.uuid)):
                self.libvirt.attach(self.spec.uuid, domain_xml.SCSI_CONTROLLER)
            with self.storage.opening(asked.volume):
                disk = volume(self.spec, asked, self.storage.source(asked), target=targets[asked.volume])
                self._plug_in(asked.volume, disk_xml.text(disk, self.cache))

    def _plug_in(self, uuid: str, device: str) -> None:
        try:
            self.libvirt.attach(self.spec.uuid, device)
        except HostError as bad:
            if bad.code is ErrorCode.LIBVIRT_DOWN:
                raise
            raise _not_attached(uuid, bad) from bad
        if uuid not in self._volumes():
            raise HostError(ErrorCode.LIBVIRT, f"volume {uuid} is not there after it was plugged in", hint="try again")

    def detach_disks(self, step: Step, sources: Mapping[str, Callable[[], DiskSource]]) -> None:
        """Pull volumes out, and return when QEMU has closed them. `sources` asks where each is.

        Raises HostError(STORAGE) when a volume's backend cannot be reached: a guest that is waiting for it could not
        let go and would hang; HostError(BAD_STATE) for a guest that does not let go.
        """
        for uuid in step.args["volumes"]:
            if uuid not in self._volumes():
                continue
            _reach(sources.get(uuid))
            self._pull_disk(uuid)
        # Gone from the guest's XML is not closed yet.
        try:
            self.libvirt.settle(self.spec.uuid)
        except HostError as bad:
            if bad.code not in (ErrorCode.BAD_STATE, ErrorCode.NOT_FOUND):  # it is off, and has nothing open
                raise

    def _pull_disk(self, uuid: str) -> None:
        self._pull(
            f"volume {uuid}",
            find=lambda: disk_xml.device(self.libvirt.live_xml(self.spec.uuid), uuid),
            gone=lambda: uuid not in self._volumes(),
        )

    def limit_disks(self, step: Step) -> None:
        live = self._volumes()
        for asked in self.spec.volumes:
            if asked.volume in step.args["volumes"] and asked.volume in live:
                limits = {name: getattr(asked.limits, field) for field, name in disk_xml.LIMITS.items()}
                self.libvirt.limit(self.spec.uuid, live[asked.volume].target, limits)

    def _volumes(self) -> dict[str, disk_xml.Plugged]:
        """Those the guest has now; none when it is off."""
        return disk_xml.plugged(self.libvirt.live_xml(self.spec.uuid)) if self._runs() else {}

    # ------------------------------------------------------------------ both

    def _runs(self) -> bool:
        domain = self.libvirt.look(self.spec.uuid)
        return domain is not None and domain.active

    def _pull(self, what: str, *, find: Callable[[], str | None], gone: Callable[[], bool]) -> None:
        domain = self.libvirt.look(self.spec.uuid)
        if domain is not None and domain.power is PowerState.PAUSED:
            raise HostError(
                ErrorCode.BAD_STATE, f"a paused guest cannot let go of its {what}", hint="unpause it, and detach again"
            )
        if not any(self._let_go(find, gone) for _ in range(TRIES)):
            raise HostError(
                ErrorCode.BAD_STATE,
                f"the guest does not let go of its {what}",
                hint="It must have booted, with PCI hot-plug. Detach again later, or stop it first: it starts without.",
            )

    def _let_go(self, find: Callable[[], str | None], gone: Callable[[], bool]) -> bool:
        """Ask the guest for a device; whether it gave it within its time."""
        if not self._runs() or (device := find()) is None:
            return True
        try:
            self.libvirt.detach(self.spec.uuid, device)
        except HostError as bad:
            if "unplug" not in bad.error.message and not gone():  # it was asked already, and has not let go yet
                raise
        return self.libvirt.wait(gone, timeout=PATIENCE)


def _reach(source: Callable[[], DiskSource] | None) -> None:
    if source is None:
        return
    try:
        source()
    except HostError as bad:
        if bad.code is ErrorCode.STORAGE:
            raise


def _not_attached(uuid: str, bad: HostError) -> HostError:
    message = bad.error.message
    if bad.code is ErrorCode.BAD_STATE and " lock" in message:
        return HostError(ErrorCode.BAD_STATE, f"volume {uuid} is in use: {message}", hint=bad.error.hint)
    if "No more available PCI slots" in message:
        hint = "stop and start the instance: it gets room for more"
        return HostError(ErrorCode.BAD_STATE, f"no room for volume {uuid}: {message}", hint=hint)
    return HostError(bad.code, f"volume {uuid}: {message}", hint=bad.error.hint)
