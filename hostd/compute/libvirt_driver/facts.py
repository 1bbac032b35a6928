"""What libvirt knows of its domains, as our own types."""

from __future__ import annotations

from typing import Any, Final

import libvirt

from hostd.compute import disk_xml
from hostd.compute.domain import Domain, stats_of
from hostd.compute.domain_xml import NAMESPACE, macs, read_metadata
from hostd.spec import GuestStats, PowerState

_STATS: Final = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)

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


def facts(handle: Any) -> Domain:
    """The domain behind a handle. Raises libvirtError."""
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


def all_stats(connection: Any) -> dict[str, GuestStats]:
    """uuid to the numbers of every domain that is on. Raises libvirtError."""
    return {handle.UUIDString(): stats_of(numbers) for handle, numbers in counted(connection)}


def counted(connection: Any) -> list[tuple[Any, dict[str, int]]]:
    """Handle and counters, by libvirt's names, of every domain that is on. Raises libvirtError."""
    # NOWAIT: a guest that is being started or saved must not delay the others' numbers.
    flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    found: list[tuple[Any, dict[str, int]]] = connection.getAllDomainStats(_STATS, flags)
    return found
