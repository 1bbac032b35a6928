"""A disk as libvirt's XML says it, written and read. Pure.

The whole chain under a disk is written out, each file with its format, so that libvirt and QEMU probe nothing; QEMU's
locks on image files stay on, so that no two guests write to one. What is read back are disks that we wrote, or that
libvirt changed since (a snapshot's new layer): of others only what is needed to leave them alone.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from hostd.compute.guest_disks import Disk
from hostd.compute.xml_text import add
from hostd.drivers import DiskSource
from hostd.spec import DiskLimits

LIMITS: Final = {
    "total_bytes": "total_bytes_sec",
    "read_bytes": "read_bytes_sec",
    "write_bytes": "write_bytes_sec",
    "total_iops": "total_iops_sec",
    "read_iops": "read_iops_sec",
    "write_iops": "write_iops_sec",
}
"""libvirt's names of our limits, in the XML and in calls."""

SECRETS: Final = {"iscsi": "iscsi", "rbd": "ceph"}
"""The kind of secret each protocol's user is proven with."""

_ATTRIBUTE: Final = {"file": "file", "block": "dev"}
"""Which attribute of <source> names what is no network's."""

_VOLUME: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@attrs.frozen(kw_only=True)
class Plugged:
    """A disk that a domain has."""

    target: str
    bus: str
    source: DiskSource
    limits: DiskLimits
    copying: str = ""
    """The job that copies it away or down: `active-commit`, `copy`, ...; empty: none."""
    copied: bool = False
    """That job is through, and only keeps step with the guest until it is ended."""

    @property
    def chain(self) -> tuple[DiskSource, ...]:
        """What is opened, the topmost first."""
        return tuple(_chain(self.source))


def _chain(source: DiskSource | None) -> Iterator[DiskSource]:
    while source is not None:
        yield source
        source = source.backing


def render(disk: Disk, cache: str) -> ET.Element:
    """The <disk>. `cache` is the mode of files, by what their file system can; all else is opened without cache."""
    kind = _type(disk.source)
    element = ET.Element("disk", {"type": kind, "device": "cdrom" if disk.cdrom else "disk"})
    driver = add(element, "driver", {"name": "qemu", "type": disk.source.format})
    if not disk.cdrom:
        driver.set("cache", cache if kind == "file" else "none")
        driver.set("discard", "unmap")
    _source(element, disk.source)
    if not disk.cdrom:
        _backing(element, disk.source.backing, shared=disk.backing_is_shared)
    add(element, "target", {"dev": disk.target, "bus": disk.bus})
    if disk.limits != DiskLimits():
        tune = add(element, "iotune")
        for field, name in LIMITS.items():
            if value := getattr(disk.limits, field):
                add(tune, name, text=str(value))
    if disk.cdrom or disk.read_only:
        add(element, "readonly")
    if disk.shareable:
        add(element, "shareable")
    if disk.serial:
        add(element, "serial", text=disk.serial)
    if disk.boot is not None:
        add(element, "boot", {"order": str(disk.boot)})
    return element


def text(disk: Disk, cache: str) -> str:
    """The disk by itself, as it is plugged in to a running guest: libvirt takes no place in the boot order there."""
    return ET.tostring(render(attrs.evolve(disk, boot=None), cache), encoding="unicode")


def resourced(xml: str, sources: Mapping[str, DiskSource]) -> str | None:
    """A domain's XML with volumes opened as `sources` says now; None when it says so already."""
    domain = ET.fromstring(xml)
    changed = False
    for volume, element in _volumes(domain):
        source = sources.get(volume)
        if source is None or source == _read_source(element):
            continue
        changed = True
        element.set("type", _type(source))
        for old in (*element.findall("source"), *element.findall("backingStore")):
            element.remove(old)
        driver = element.find("driver")
        if driver is None:
            driver = add(element, "driver", {"name": "qemu"})
        driver.set("type", source.format)
        _source(element, source)
        _backing(element, source.backing, shared=False)
    return ET.tostring(domain, encoding="unicode") if changed else None


def plugged(xml: str) -> dict[str, Plugged]:
    """The volumes that a domain's XML holds, by uuid."""
    return {volume: _read(element) for volume, element in _volumes(ET.fromstring(xml))}


def by_serial(xml: str, serial: str) -> Plugged | None:
    """The disk with this serial, a volume's or not."""
    for element in ET.fromstring(xml).iterfind("devices/disk"):
        if element.findtext("serial") == serial:
            return _read(element)
    return None


def all_targets(xml: str) -> tuple[str, ...]:
    """The name of every disk and drive of a domain."""
    found = (target.get("dev") for target in ET.fromstring(xml).iterfind("devices/disk/target"))
    return tuple(name for name in found if name)


def device(xml: str, volume: str) -> str | None:
    """A volume's <disk> out of a running domain's XML: how it is named to be pulled out. None: not there."""
    for found, element in _volumes(ET.fromstring(xml)):
        if found == volume:
            return ET.tostring(element, encoding="unicode")
    return None


def _volumes(domain: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    for element in domain.iterfind("devices/disk"):
        serial = element.findtext("serial", "")
        if _VOLUME.fullmatch(serial):
            yield serial, element


def _type(source: DiskSource) -> str:
    return source.type if source.type in _ATTRIBUTE else "network"


def _source(parent: ET.Element, source: DiskSource) -> ET.Element:
    if source.type in _ATTRIBUTE:
        return add(parent, "source", {_ATTRIBUTE[source.type]: source.name})
    element = add(parent, "source", {"protocol": source.type, "name": source.name})
    for name, port in source.hosts:
        add(element, "host", {"name": name, "port": str(port)})
    if initiator := source.options.get("initiator-name"):
        add(add(element, "initiator"), "iqn", {"name": initiator})
    if config := source.options.get("config"):
        add(element, "config", {"file": config})
    user, secret = source.options.get("user"), source.options.get("secret")
    if user and secret:
        auth = add(element, "auth", {"username": user})
        add(auth, "secret", {"type": SECRETS[source.type], "uuid": secret})
    return element


def _backing(parent: ET.Element, source: DiskSource | None, *, shared: bool) -> None:
    if source is None:
        add(parent, "backingStore")  # empty: the chain ends here, and nobody looks whether it does
        return
    backing = add(parent, "backingStore", {"type": _type(source)})
    add(backing, "format", {"type": source.format})
    element = _source(backing, source)
    if shared:
        add(element, "seclabel", {"model": "dac", "relabel": "no"})
    _backing(backing, source.backing, shared=shared)


def _read(element: ET.Element) -> Plugged:
    target, tune, mirror = element.find("target"), element.find("iotune"), element.find("mirror")
    limits = {field: int(tune.findtext(name, "0")) for field, name in LIMITS.items()} if tune is not None else {}
    return Plugged(
        target=target.get("dev", "") if target is not None else "",
        bus=target.get("bus", "") if target is not None else "",
        source=_read_source(element),
        limits=DiskLimits(**limits),
        copying=mirror.get("job", "copy") if mirror is not None else "",
        copied=mirror is not None and mirror.get("ready") == "yes",
    )


def _read_source(element: ET.Element) -> DiskSource:
    """Of a <disk>, or of a <backingStore> in it."""
    driver = element.find("driver" if element.tag == "disk" else "format")
    backing = element.find("backingStore")
    source = element.find("source")
    found = source if source is not None else ET.Element("source")
    kind = element.get("type", "file")
    options = {}
    if (initiator := found.find("initiator/iqn")) is not None:
        options["initiator-name"] = initiator.get("name", "")
    if (config := found.find("config")) is not None:
        options["config"] = config.get("file", "")
    if (auth := found.find("auth")) is not None and (secret := auth.find("secret")) is not None:
        options |= {"user": auth.get("username", ""), "secret": secret.get("uuid", "")}
    return DiskSource(
        type=found.get("protocol", "") if kind == "network" else kind,
        format=driver.get("type", "raw") if driver is not None else "raw",
        name=found.get("name", "") if kind == "network" else found.get(_ATTRIBUTE.get(kind, "file"), ""),
        hosts=tuple((host.get("name", ""), int(host.get("port", "0"))) for host in found.iterfind("host")),
        options=options,
        backing=_read_source(backing) if backing is not None and len(backing) else None,
    )
