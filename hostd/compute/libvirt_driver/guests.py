"""Guests: read, measured, defined, switched, plugged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import attrs
import libvirt

from hostd.compute.domain import Domain
from hostd.compute.domain_xml import PREFIX
from hostd.compute.libvirt_driver.disks import DiskCalls
from hostd.compute.libvirt_driver.facts import all_stats, counted, facts
from hostd.metrics.counting import guest_sample_of
from hostd.spec import GuestSample, GuestStats, PowerState

MEMORY_TOLD: Final = 10
"""Seconds between two times that a guest says how much of its memory is in use."""


class Libvirt(DiskCalls):
    """libvirt, wrapped once: every call that we make."""

    def __init__(
        self,
        uri: str,
        *,
        on_power: Callable[[str, PowerState, str], None],
        on_link: Callable[[bool, str], None],
    ) -> None:
        """`on_power(uuid, power, reason)` and `on_link(up, detail)` come from our threads and must not block."""
        super().__init__(uri, on_power=on_power, on_link=on_link)
        self._processors: dict[str, tuple[int, int]] = {}
        """uuid to libvirt's number of the running guest, and its virtual processors."""

    # ------------------------------------------------------------------ reading

    def look(self, uuid: str) -> Domain | None:
        """The domain with this uuid, or None."""
        with self._talking() as connection:
            try:
                return facts(connection.lookupByUUIDString(uuid))
            except libvirt.libvirtError as bad:
                if bad.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise

    def all(self, *, stats: bool) -> tuple[list[Domain], list[str]]:
        """Every domain there is, ours or not, and what could not be learnt. Statistics where asked for."""
        found: list[Domain] = []
        trouble: list[str] = []
        with self._talking() as connection:
            numbers: dict[str, GuestStats] = {}
            if stats:
                try:
                    numbers = all_stats(connection)
                except libvirt.libvirtError as bad:
                    # Numbers are a convenience: a driver that has none still lists its domains.
                    trouble.append(f"statistics: {bad.get_error_message()}")
            for handle in connection.listAllDomains():
                try:
                    domain = facts(handle)
                except libvirt.libvirtError as bad:
                    if bad.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                        continue  # undefined while we looked
                    raise
                found.append(attrs.evolve(domain, stats=numbers.get(domain.uuid)))
        return found, trouble

    def measure(self, clock: Callable[[], float]) -> tuple[GuestSample, ...]:
        """The counters of each guest of ours that is on, by one call for all of them."""
        with self._talking() as connection:
            began = clock()
            guests = counted(connection)
            # The call reads one guest after the other: the middle is off by half of what it takes, and evenly so.
            at_us = int((began + clock()) / 2 * 1_000_000)
            samples = (
                guest_sample_of(handle.UUIDString(), numbers, at_us=at_us, vcpus=self._vcpus(handle))
                for handle, numbers in guests
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
        self._forget(uuid)
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
